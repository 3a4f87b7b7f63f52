"""Raw files as published: IDX (the MNIST family) and CIFAR's binary records. n: examples."""

import dataclasses
import gzip
import math
import pathlib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Image:
    """A uint8 image [H, W, C]."""

    shape: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Label:
    """A class; `names` in the order of their numbers, or None where the files know only numbers."""

    count: int
    names: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Number:
    """A scalar of the dtype."""

    dtype: str


@dataclasses.dataclass(frozen=True)
class Text:
    """A string in UTF-8."""


Example = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RawSet:
    """Parsed raw files, not yet read: features by name, and per split a function that yields its examples.

    Attributes:
      features: by name.
      splits: "train", "test", "validation" to generators; what can be checked cheaply has been checked.
      ordered: keep the files' order on disk (rows of a table, lines of a text) rather than TFDS's hashed one.
    """

    features: Mapping[str, Image | Label | Number | Text]
    splits: Mapping[str, Callable[[], Iterator[Example]]]
    ordered: bool = False


SPLIT_OF = {
    "train": "train",
    "training": "train",
    "test": "test",
    "t10k": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}

IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_FILE = re.compile(
    rf"^(?:.*[-_])?({'|'.join(SPLIT_OF)})[-_](images|labels)[-.]idx[1-4][-.]ubyte(\.gz)?$", re.IGNORECASE
)


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Reads an IDX file: two zero bytes, a type, a rank, big-endian sizes, values in C order.

    Args:
      path: the file; one that ends in .gz is decompressed in memory, any other is mapped, not loaded.

    Returns:
      The array, of the file's type and shape.

    Raises:
      ValueError: an empty or truncated file, a wrong magic number, bytes left over, corrupt compression. The
        message names the file, what is expected and what is there.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, section "the IDX file
      format".
    """
    if path.suffix == ".gz":
        try:
            data = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not a whole gzip file ({error}): download it again") from error
    else:
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    if not data.size:
        raise ValueError(f"{path} is empty: download it again")
    magic = bytes(data[:4])
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_DTYPES or not magic[3]:
        raise ValueError(
            f"{path} has the magic number 0x{magic.hex()}, an IDX file begins with 0x0000, a type and a rank "
            "(0x00000803 for images, 0x00000801 for labels): it is another kind of file, or still compressed"
        )
    dtype, rank = np.dtype(IDX_DTYPES[magic[2]]), magic[3]
    header = 4 + 4 * rank
    if data.size < header:
        raise ValueError(f"{path} is truncated: its header takes {header} bytes, the file has {data.size}")
    shape = tuple(int.from_bytes(bytes(data[4 + 4 * i : 8 + 4 * i]), "big") for i in range(rank))
    expected = header + math.prod(shape) * dtype.itemsize
    if data.size != expected:
        kind = "truncated" if data.size < expected else "corrupt"
        raise ValueError(
            f"{path} is {kind}: an array {shape} takes {expected} bytes, the file has {data.size}"
        )
    return data[header:].view(dtype).reshape(shape)


def find_idx(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of a folder with names like train-images-idx3-ubyte, t10k-labels.idx1-ubyte.gz."""
    return [path for path in sorted(folder.iterdir()) if _IDX_FILE.match(path.name)]


def idx_set(files: list[pathlib.Path]) -> RawSet:
    """Pairs images with labels by split.

    Raises:
      ValueError: images without labels or the reverse, two files for one part, unequal lengths, a wrong rank
        or type, splits with images of different sizes, no example.
    """
    found: dict[tuple[str, str], pathlib.Path] = {}
    for path in files:
        match = _IDX_FILE.match(path.name)
        assert match is not None, "the caller chose the files by this pattern"
        split, part, _ = match.groups()
        key = SPLIT_OF[split.lower()], part.lower()
        if key in found:
            raise ValueError(f"{found[key]} and {path} both hold the {key[0]} {key[1]}: keep one of them")
        found[key] = path
    pairs, shapes, count = {}, {}, 0
    for split in sorted({split for split, _ in found}, reverse=True):
        for part in ("images", "labels"):
            if (split, part) not in found:
                have = next(path for (s, _), path in found.items() if s == split)
                raise ValueError(f"{have} has no file of {split} {part} beside it in {have.parent}")
        image_path, label_path = found[split, "images"], found[split, "labels"]
        images, labels = read_idx(image_path), read_idx(label_path)
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(
                f"{image_path} must hold bytes [n, H, W] or [n, H, W, C], got {images.dtype} {images.shape}"
            )
        if labels.dtype != np.uint8 or labels.ndim != 1:
            raise ValueError(f"{label_path} must hold bytes [n], got {labels.dtype} {labels.shape}")
        if len(images) != len(labels):
            raise ValueError(
                f"images and labels differ in length: {image_path} holds {len(images)}, "
                f"{label_path} {len(labels)}"
            )
        if not len(images):
            raise ValueError(f"{image_path} holds no images")
        images = images[..., None] if images.ndim == 3 else images
        pairs[split], shapes[split] = (images, labels), images.shape[1:]
        count = max(count, int(labels.max()) + 1)
    if len(set(shapes.values())) > 1:
        raise ValueError(f"the splits have images of different sizes: {shapes}")

    def examples(split: str) -> Iterator[Example]:
        for image, label in zip(*pairs[split]):
            yield {"image": np.asarray(image), "label": int(label)}

    return RawSet(
        {"image": Image(next(iter(shapes.values()))), "label": Label(count)},
        {split: lambda split=split: examples(split) for split in pairs},
    )


# Files by split; bytes of labels before the 3072 of the image; features of those bytes; their files of names.
_CIFAR_10 = (
    {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
    {"label": (10, "batches.meta.txt")},
)
_CIFAR_100 = (
    {"train": ["train.bin"], "test": ["test.bin"]},
    {"coarse_label": (20, "coarse_label_names.txt"), "label": (100, "fine_label_names.txt")},
)


def is_cifar(folder: pathlib.Path) -> bool:
    """Whether the folder holds files of CIFAR-10's or CIFAR-100's binary version."""
    names = {path.name for path in folder.iterdir()}
    return any(
        file in names for files, _ in (_CIFAR_10, _CIFAR_100) for part in files.values() for file in part
    )


def cifar_set(folder: pathlib.Path) -> RawSet:
    """Reads records of label bytes and 3072 pixels, 32 x 32 of red, then green, then blue.

    Raises:
      ValueError: a missing or empty file, one that is not a whole number of records, a label out of range.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "binary version".
    """
    files, labels = _CIFAR_10 if (folder / "data_batch_1.bin").exists() else _CIFAR_100
    if not any((folder / name).exists() for part in files.values() for name in part):
        files, labels = _CIFAR_10
    size = len(labels) + 3072
    records: dict[str, list[np.ndarray]] = {}
    for split, names in files.items():
        for name in names:
            path = folder / name
            if not path.exists():
                raise ValueError(f"{path} is missing: the set consists of {files['train'] + files['test']}")
            length = path.stat().st_size
            if not length or length % size:
                raise ValueError(
                    f"{path} is truncated or corrupt: records take {size} bytes, the file has {length}"
                )
            records.setdefault(split, []).append(np.memmap(path, np.uint8, "r").reshape(-1, size))
            for i, (feature, (count, _)) in enumerate(labels.items()):
                highest = int(records[split][-1][:, i].max())
                if highest >= count:
                    raise ValueError(f"{path} is corrupt: {feature} must be below {count}, got {highest}")

    def names_of(count: int, file: str) -> tuple[str, ...] | None:
        path = folder / file
        names = tuple(path.read_text(encoding="utf-8").split()) if path.exists() else None
        if names is not None and len(names) != count:
            raise ValueError(f"{path} must name {count} classes, got {len(names)}")
        return names

    def examples(split: str) -> Iterator[Example]:
        index = 0
        for block in records[split]:
            for record in block:
                image = np.asarray(record[len(labels) :]).reshape(3, 32, 32).transpose(1, 2, 0)
                example = {feature: int(record[i]) for i, feature in enumerate(labels)}
                yield {"id": f"{split}_{index:05d}", "image": image} | example
                index += 1

    features = {feature: Label(count, names_of(count, file)) for feature, (count, file) in labels.items()}
    return RawSet(
        {"id": Text(), "image": Image((32, 32, 3))} | features,
        {split: lambda split=split: examples(split) for split in records},
    )
