"""Raw files into a TensorFlow Datasets directory: checked, written aside, then moved into place whole."""

import contextlib
import errno
import importlib.util
import io
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.data import folders
from jaxdl.data.raw import Image, Label, Number, RawSet, Text
from jaxdl.data.sources import default_data_dir, tfds
from jaxdl.files import Path

_OWN_VERSION = "1.0.0"


def _tfds_feature(feature: Image | Label | Number | Text) -> Any:
    library = tfds()
    match feature:
        case Image(shape):
            return library.features.Image(shape=shape)
        case Label(count, names):
            return (
                library.features.ClassLabel(names=names)
                if names
                else library.features.ClassLabel(num_classes=count)
            )
        case Number(dtype):
            return library.features.Scalar(dtype=np.dtype(dtype))
        case Text():
            return library.features.Text()


def _published(name: str, raw: RawSet, scratch: pathlib.Path) -> tuple[str, Mapping[str, Any]] | None:
    """The version and features that TFDS gives the set, where it knows the name and the files have them."""
    library = tfds()
    try:
        cls = library.builder_cls(name)
        if cls.builder_configs:
            return None
        info = cls(data_dir=str(scratch)).info
    except Exception:  # any failure of a foreign builder means the same: nothing to agree with
        return None
    if set(info.features) != set(raw.features):
        return None
    features = dict(info.features)
    for key, feature in raw.features.items():
        published = info.features[key]
        ours = _tfds_feature(feature)
        if (
            type(published) is not type(ours)
            or published.shape != ours.shape
            or published.np_dtype != ours.np_dtype
        ):
            return None
        if isinstance(feature, Label):
            numbered = [str(i) for i in range(published.num_classes)]
            if feature.names is not None and published.names not in (numbered, list(feature.names)):
                return None
            if feature.count > published.num_classes:
                raise ValueError(
                    f"{name} has {published.num_classes} classes, the files have labels up to "
                    f"{feature.count - 1}: import them under another name"
                )
            if feature.names is not None:
                features[key] = _tfds_feature(
                    feature
                )  # some sets get their class names only while they download
    return str(info.version), features


def _write(name: str, raw: RawSet, scratch: pathlib.Path) -> pathlib.Path:
    library = tfds()
    version, features = _published(name, raw, scratch) or (
        _OWN_VERSION,
        {key: _tfds_feature(feature) for key, feature in raw.features.items()},
    )

    class RawBuilder(library.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = library.core.Version(version)

        def _info(self):
            inputs = next((key for key in ("image", "text") if key in features), None)
            return library.core.DatasetInfo(
                builder=self,
                features=library.features.FeaturesDict(features),
                supervised_keys=(inputs, "label") if inputs and "label" in features else None,
                disable_shuffling=raw.ordered,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in raw.splits}

        def _generate_examples(self, split):
            yield from enumerate(raw.splits[split]())

    RawBuilder.name = name
    builder = RawBuilder(data_dir=str(scratch), file_format="array_record")
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download, which this is not
        builder.download_and_prepare()
    return pathlib.Path(builder.data_dir)


def import_raw(
    name: str, folder: Path, data_dir: Path | None = None, *, whole_text: bool = False
) -> pathlib.Path:
    """Turns raw files, as published or as your own, into a data set that `load(name)` reads.

    Knows IDX files (MNIST and its family, plain or .gz), CIFAR-10 and CIFAR-100 in the binary version,
    folders of images or texts by class, CSV tables and plain text. Where TFDS knows `name` and the files have
    its features, the result carries TFDS's version and class names, so TFDS reads it as its own. Files
    are checked before the first byte is written (the pixels of pictures while they are written); the set
    appears at once and whole, or not at all.

    Args:
      name: lower case letters, digits and underscores.
      folder: the folder with the raw files, or a .tar.gz or .zip archive of it.
      data_dir: where to put `name/version/`; None for `JAXDL_DATA_DIR`, or `~/.cache/jaxdl` if unset.
      whole_text: one example per text file instead of one per line.

    Returns:
      The folder of the set.

    Raises:
      FileNotFoundError: no such folder.
      FileExistsError: the set is there already; nothing is overwritten.
      ImportError: TensorFlow, which writes the records, or Pillow, which reads images, is not installed.
      ValueError: malformed name, unknown kind of files, or files that are corrupt; names the file and the
        fault.
      OSError: the data directory cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"name must be lower case letters, digits and underscores, got {name!r}")
    folder = pathlib.Path(folder).expanduser()
    root = pathlib.Path(data_dir).expanduser() if data_dir is not None else default_data_dir()
    is_archive = folder.is_file() and folder.name.lower().endswith(folders.ARCHIVE_SUFFIXES)
    if not (folder.is_dir() or is_archive):
        raise FileNotFoundError(
            f"{folder} is neither a folder nor an archive ({', '.join(folders.ARCHIVE_SUFFIXES)}). "
            f"It should be a folder that holds one of\n{folders.EXPECTED}"
        )
    if any(info for depth in ("*", "*/*") for info in root.glob(f"{name}/{depth}/dataset_info.json")):
        raise FileExistsError(
            f"{root / name} exists already and is not overwritten: "
            "delete that folder first, or choose another name or data directory"
        )
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            "writing a data set needs TensorFlow (reading does not): pip install 'jaxdl[import]'"
        )

    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(tempfile.mkdtemp(dir=root, prefix=f".{name}.", suffix=".part"))
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write to {root}: {error.strerror}. Choose another --data-dir"
        ) from error
    try:
        if is_archive:
            unpacked = scratch / "unpacked"
            unpacked.mkdir()
            folders.unpack(folder, unpacked)
            folder = unpacked
        raw = folders.parse_folder(folder, whole_text=whole_text)
        written = _write(name, raw, scratch)
        target = root / name / written.name
        target.parent.mkdir(exist_ok=True)
        os.rename(written, target)
    except Exception as error:  # the writers of TFDS report a full disk in exceptions of several types
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if os.strerror(code) in str(error):
                raise OSError(
                    code,
                    f"cannot write to {root}: {os.strerror(code)}. "
                    "Free some space or choose another --data-dir",
                ) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target
