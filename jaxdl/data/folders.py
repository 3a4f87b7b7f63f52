"""Raw folders: one folder per class, archives unpacked with care, and which kind of files a folder holds."""

import pathlib
import shutil
import tarfile
import zipfile
from collections.abc import Iterator

import numpy as np

from jaxdl.data import raw, tables
from jaxdl.data.raw import SPLIT_OF, Example, Image, Label, RawSet, Text

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    return [
        path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__MACOSX", "Thumbs.db"))
    ]


def _image(path: pathlib.Path):
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    try:
        return pillow.open(path)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} is not an image that Pillow can read: {error}") from error


# Lossless rewrites to bytes per channel; modes with other depths or colour spaces would lose something.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}


def _image_shape(path: pathlib.Path) -> tuple[int, int, int]:
    with _image(path) as image:
        if image.mode not in _MODES:
            raise ValueError(f"{path} has the mode {image.mode}: convert it to 8 bits of grey, RGB or RGBA")
        if getattr(image, "n_frames", 1) > 1 or "transparency" in image.info:
            raise ValueError(
                f"{path} has several frames or a transparent colour: convert it to plain RGB or RGBA"
            )
        return image.height, image.width, len(_MODES[image.mode])


def _pixels(path: pathlib.Path) -> np.ndarray:
    with _image(path) as image:
        try:
            pixels = np.asarray(image.convert(_MODES[image.mode]))
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{path} is truncated or corrupt: {error}") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _class_files(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    classes = {}
    for sub in _visible(folder):
        if sub.is_dir():
            files = _visible(sub)
            if not files:
                raise ValueError(f"{sub} is empty: a class folder holds its examples")
            classes[sub.name] = files
    if len(classes) < 2:
        raise ValueError(f"{folder} must hold two or more folders, one per class, got {sorted(classes)}")
    return classes


def class_folders_set(folder: pathlib.Path) -> RawSet:
    """Reads `class/file` or `split/class/file`: images of one size, or text files.

    Raises:
      ValueError: fewer than two classes, splits of different classes, an empty class, images of unequal
        sizes, a file that is neither image nor text; names the file.
    """
    subfolders = [path for path in _visible(folder) if path.is_dir()]
    named = {SPLIT_OF[path.name.lower()]: path for path in subfolders if path.name.lower() in SPLIT_OF}
    if named and len(named) < len(subfolders):
        others = sorted(path.name for path in subfolders if path.name.lower() not in SPLIT_OF)
        raise ValueError(f"{folder} mixes split folders with others: {', '.join(others)}")
    splits = {split: _class_files(path) for split, path in named.items()} or {"train": _class_files(folder)}

    names = tuple(sorted(next(iter(splits.values()))))
    for split, classes in splits.items():
        if tuple(sorted(classes)) != names:
            differing = sorted(set(classes) ^ set(names))
            raise ValueError(
                f"the splits of {folder} have different classes: {', '.join(differing)} (in {split})"
            )
    files = [path for classes in splits.values() for paths in classes.values() for path in paths]
    kinds = {path.suffix.lower() == ".txt" for path in files}
    for path in files:
        if not path.is_file() or path.suffix.lower() not in (*IMAGE_SUFFIXES, ".txt"):
            raise ValueError(f"{path} is neither an image ({', '.join(IMAGE_SUFFIXES)}) nor a .txt file")
    if len(kinds) > 1:
        raise ValueError(f"{folder} mixes images and text files")
    is_text = kinds == {True}
    label = Label(len(names), names)
    if is_text:
        features = {"text": Text(), "label": label}
    else:
        shape = _image_shape(files[0])
        for path in files[1:]:
            if (other := _image_shape(path)) != shape:
                raise ValueError(
                    f"images must be of one size: {files[0]} is {shape}, {path} is {other} "
                    "(height, width, channels); resize them first"
                )
        features = {"image": Image(shape), "label": label}

    def examples(classes: dict[str, list[pathlib.Path]]) -> Iterator[Example]:
        for number, name in enumerate(names):
            for path in classes[name]:
                content = {"text": tables.read_text(path)} if is_text else {"image": _pixels(path)}
                yield content | {"label": number}

    return RawSet(features, {split: lambda c=classes: examples(c) for split, classes in splits.items()})


def unpack(archive: pathlib.Path, target: pathlib.Path) -> None:
    """Unpacks a tar or zip archive into an empty folder, and nothing outside it.

    Raises:
      ValueError: an archive that is corrupt, or with a member whose path leaves the folder, or that is a link
        or a device. Nothing is unpacked then.
    """
    root = target.resolve()

    def check(name: str, plain: bool) -> None:
        if not plain:
            raise ValueError(f"{archive} is not safe to unpack: {name!r} is a link or a device")
        if not (root / name).resolve().is_relative_to(root):
            raise ValueError(f"{archive} is not safe to unpack: {name!r} lies outside the folder")

    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for info in zipped.infolist():
                    # The upper half holds Unix modes; 0xA000 marks a symbolic link.
                    check(info.filename, (info.external_attr >> 16) & 0xF000 != 0xA000)
                zipped.extractall(root)
        else:
            with tarfile.open(archive) as tar:
                members = tar.getmembers()
                for member in members:
                    check(member.name, member.isfile() or member.isdir())
                for member in members:
                    place = root / member.name
                    if member.isdir():
                        place.mkdir(parents=True, exist_ok=True)
                        continue
                    place.parent.mkdir(parents=True, exist_ok=True)
                    content = tar.extractfile(member)
                    assert content is not None, "only files and folders were let through"
                    with content, place.open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{archive} is corrupt or not an archive: {error}") from error


def refuse_links_outside(folder: pathlib.Path) -> None:
    """Raises ValueError for a file or folder below `folder` that is a link to somewhere outside it."""
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ValueError(
                f"{path} links to {path.resolve()}, outside {folder}: copy the file there instead"
            )


EXPECTED = """\
  train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-...   IDX, plain or .gz (MNIST and its family)
  data_batch_1.bin ... data_batch_5.bin, test_batch.bin        CIFAR-10 binary; train.bin, test.bin: CIFAR-100
  CLASS/FILE or train/CLASS/FILE, test/CLASS/FILE              images of one size, or .txt files
  NAME.csv, or train.csv, test.csv, validation.csv             tables with a header; a column `label` is the
  class
  NAME.txt, or train.txt, test.txt, validation.txt             text, one example a line"""


def parse_folder(folder: pathlib.Path, *, whole_text: bool = False) -> RawSet:
    """Finds out which kind of raw files a folder holds, and parses them.

    Raises:
      ValueError: no known kind, two kinds at once, links that lead outside, or whatever is wrong with the
        files.
    """
    refuse_links_outside(folder)
    while (
        len(inside := _visible(folder)) == 1 and inside[0].is_dir() and inside[0].name.lower() not in SPLIT_OF
    ):
        folder = inside[0]
    if not inside:
        raise ValueError(f"{folder} is empty. It should hold one of\n{EXPECTED}")
    if idx_files := raw.find_idx(folder):
        return raw.idx_set(idx_files)
    if raw.is_cifar(folder):
        return raw.cifar_set(folder)
    csv_files = [path for path in inside if path.suffix.lower() == ".csv"]
    text_files = [path for path in inside if path.suffix.lower() == ".txt"]
    subfolders = [path for path in inside if path.is_dir()]
    if csv_files and subfolders:
        raise ValueError(f"{folder} holds tables and folders: keep {csv_files[0].name} or the class folders")
    if csv_files:
        return tables.csv_set(csv_files)
    if subfolders:
        return class_folders_set(folder)
    if text_files:
        return tables.text_set(text_files, whole_text=whole_text)
    raise ValueError(
        f"{folder} holds no raw files of a known kind ({inside[0].name} ...). Known are\n{EXPECTED}"
    )
