"""Data sets by name from a TensorFlow Datasets directory, read without TensorFlow."""

import importlib.util
import json
import logging
import operator
import os
import pathlib
import re
import socket
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from jaxdl import checks
from jaxdl.files import Path

RAW_FILES = {
    "mnist": (
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
    ),
    "cifar10": "data_batch_1.bin to data_batch_5.bin, test_batch.bin, batches.meta.txt",
    "cifar100": "train.bin, test.bin, fine_label_names.txt, coarse_label_names.txt",
    "imdb_reviews": "train/neg, train/pos, test/neg, test/pos with .txt files",
}
RAW_FILES |= dict.fromkeys(("fashion_mnist", "kmnist"), RAW_FILES["mnist"] + " (or .gz)")

_NAME = re.compile(r"(?P<name>[a-z]\w*)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII)


def default_data_dir() -> pathlib.Path:
    """The environment's `JAXDL_DATA_DIR`, or `~/.cache/jaxdl`."""
    return pathlib.Path(os.environ.get("JAXDL_DATA_DIR") or "~/.cache/jaxdl").expanduser()


def find_prepared(root: pathlib.Path, name: str, config: str | None = None, version: str | None = None):
    """The folder of a prepared set, newest version first, or None.

    Raises:
      ValueError: several configurations are there and none was named.
    """
    found: dict[str, list[pathlib.Path]] = {}
    for pattern in ("*/dataset_info.json", "*/*/dataset_info.json"):
        for info in (root / name).glob(pattern):
            folder = info.parent
            if re.fullmatch(r"\d+\.\d+\.\d+", folder.name) and version in (None, folder.name):
                found.setdefault("" if folder.parent == root / name else folder.parent.name, []).append(
                    folder
                )
    if config is not None:
        found = {config: found[config]} if config in found else {}
    if len(found) > 1:
        listed = ", ".join(f"{name}/{c}" if c else name for c in sorted(found))
        raise ValueError(f"{root / name} holds several configurations: name one of {listed}")
    folders = next(iter(found.values()), [])
    return max(folders, key=lambda folder: [int(part) for part in folder.name.split(".")], default=None)


class _WithoutOpenCVAdvice(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "OpenCV is not installed" not in record.getMessage()


def tfds() -> Any:
    """`tensorflow_datasets`, imported when first needed."""
    import tensorflow_datasets

    logger = logging.getLogger("absl")
    if not any(isinstance(f, _WithoutOpenCVAdvice) for f in logger.filters):
        logger.addFilter(_WithoutOpenCVAdvice())
    return tensorflow_datasets


def _random_access(folder: pathlib.Path) -> bool:
    return json.loads((folder / "dataset_info.json").read_text(encoding="utf-8")).get("fileFormat") in (
        "array_record",
        "parquet",
    )


class PreparedSet(Sequence):
    """A split of a prepared set: its examples as dicts of NumPy values, each read when it is asked for.

    Differs from the source of TFDS that it wraps, where a scalar comes as a Python number without its dtype.

    Attributes:
      dataset_info: TFDS's description; `dataset_info.features["label"].names` are the names of the classes.
    """

    def __init__(self, source: Any, keys: Sequence[str]):
        self._source, self._keys = source, tuple(keys)
        self.dataset_info = source.dataset_info

    def __len__(self) -> int:
        return len(self._source)

    def _typed(self, example: dict[str, Any]) -> dict[str, Any]:
        def typed(key: str) -> Any:
            value = example[key]
            if isinstance(value, (bool, int, float)):
                return np.dtype(self.dataset_info.features[key].np_dtype).type(value)
            return value

        return {key: typed(key) for key in self._keys}

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:  # pyrefly: ignore[bad-override] - no slices
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of a set of {len(self)}")
        return self._typed(self._source[index % len(self)])

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The examples at the indices, read together."""
        return [self._typed(example) for example in self._source.__getitems__(indices)]


def _open(folder: pathlib.Path, split: str, keys: Sequence[str] | None) -> PreparedSet:
    builder = tfds().builder_from_directory(folder)
    known = tuple(sorted(builder.info.splits))
    if (wanted := re.split(r"[\[+]", split)[0]) not in (*known, "all"):
        raise ValueError(f"split {wanted!r} is not in {folder}: it holds {', '.join(known)}")
    for info in builder.info.splits.values():
        for path in info.filepaths:
            if not pathlib.Path(path).is_file():
                raise FileNotFoundError(
                    f"{path} is missing: the set is incomplete. Delete {folder} and import it again"
                )
    features = tuple(sorted(builder.info.features))
    for key in keys or ():
        checks.one_of(features, keys=key)
    keys = features if keys is None else tuple(keys)
    # Undecoded values are not worth the time: `_typed` leaves them out.
    decoders = {key: tfds().decode.SkipDecoding() for key in features if key not in keys} or None
    return PreparedSet(builder.as_data_source(split, decoders=decoders), keys)


def _online() -> bool:
    """Whether a download can be tried: offline, TFDS would retry for minutes and leave half-made folders."""
    if os.environ.get("JAXDL_OFFLINE"):
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")):
        return True
    try:
        socket.create_connection(("storage.googleapis.com", 443), timeout=5).close()
    except OSError:
        return False
    return True


def _download(name: str, config: str | None, root: pathlib.Path) -> str | None:
    """Lets TFDS download and prepare a set under `root`; returns why it cannot, None when it did."""
    library = tfds()
    try:
        library.builder_cls(name)
    except Exception:
        return f"TensorFlow Datasets does not know the name {name}"
    if importlib.util.find_spec("tensorflow") is None:
        return "TensorFlow Datasets could download it only with TensorFlow: pip install 'jaxdl[import]'"
    if not _online():
        return "there is no network to download it (or JAXDL_OFFLINE is set)"
    try:
        builder = library.builder(
            f"{name}/{config}" if config else name, data_dir=str(root), file_format="array_record"
        )
        builder.download_and_prepare()
    except Exception as error:
        return f"TensorFlow Datasets could not download it ({type(error).__name__}: {str(error)[:200]})"
    return None


def load(
    name: str, split: str = "train", data_dir: Path | None = None, *, keys: Sequence[str] | None = None
) -> PreparedSet:
    """Opens a data set for random access; an example is read when it is asked for, never all at once.

    Looks in `data_dir`; without one, in `JAXDL_DATA_DIR` (`~/.cache/jaxdl` if unset), then in TFDS's own
    folder. What is found is read without TensorFlow. What is not, TFDS downloads and prepares, if it knows
    the name and TensorFlow and a network are there.

        source = load("mnist", "train[:50000]")
        batches = Batches(source, 128)          # reads lazily
        batches = Batches(as_arrays(source), 128)  # in memory

    Args:
      name: as TFDS writes it: "mnist", "imdb_reviews/plain_text", "mnist:3.0.1".
      split: "train", "test", "validation", a slice such as "train[:80%]", or a sum of those.
      data_dir: the folder with the sets.
      keys: features to read, None for all; for instance without CIFAR's `id`, which is text.

    Returns:
      A sequence of dicts of NumPy values by TFDS's names, with `dataset_info` (class names:
      `source.dataset_info.features["label"].names`).

    Raises:
      FileNotFoundError: the set is nowhere; says where it was looked for, why it was not downloaded, and the
        commands that mend it.
      ValueError: malformed name, unknown split or key, several configurations, a set in a format without
        random access.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(f"name must look like mnist, imdb_reviews/plain_text or mnist:3.0.1, got {name!r}")
    base, config, version = match["name"], match["config"], match["version"]
    root = pathlib.Path(data_dir).expanduser() if data_dir is not None else default_data_dir()
    roots = [root]
    if data_dir is None:
        roots.append(pathlib.Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser())
    found = [folder for r in roots if (folder := find_prepared(r, base, config, version)) is not None]
    for folder in found:
        if _random_access(folder):
            return _open(folder, split, keys)
    if found:
        target = root / base / (config or "") / found[0].name
        raise ValueError(
            f"{found[0]} is stored in a format without random access. Convert it:\n"
            f"  tfds convert_format --dataset_version_dir={found[0]} --out_file_format=array_record "
            f"--out_dir={target}"
        )
    reason = _download(base, config, root)
    if reason is None and (folder := find_prepared(root, base, config, version)) is not None:
        return _open(folder, split, keys)
    places = " and ".join(str(r / base) for r in roots)
    at = "" if data_dir is None else f" --data-dir {root}"
    files = RAW_FILES.get(base, "IDX, CIFAR, class folders, CSV or text")
    raise FileNotFoundError(
        f"the data set {name!r} is not in {places}; {reason or 'the download is of another version'}.\n"
        f"Import it from a folder FOLDER with its raw files ({files}):\n"
        f"  python -m jaxdl.data import {base} FOLDER{at}\n"
        "or say where it is: export JAXDL_DATA_DIR=DIR"
    )
