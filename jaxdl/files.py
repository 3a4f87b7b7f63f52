"""Files that are whole or absent: written beside their place, then renamed."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

Path = str | os.PathLike[str]


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the same folder; it takes the place of `path` when the block ends well.

    Raises:
      OSError: the folder cannot be written or the disk is full. The message names the file; what stood there stays.
    """
    path = pathlib.Path(path)
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=f".part{path.suffix}"
        )
        os.close(handle)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(part, 0o666 & ~umask)  # mkstemp makes files for the owner alone
        yield pathlib.Path(part)
        with open(part, "rb") as written:
            os.fsync(written.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _named(error, path) from error
    finally:
        if part is not None:
            pathlib.Path(part).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, in UTF-8."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a binary file atomically."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=True) + "\n")


def append_line(path: Path, line: str) -> None:
    """Adds a line to a text file, made when it is not there.

    Raises:
      OSError: the file cannot be written; the message names it.
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise _named(error, path) from error


def _named(error: OSError, path: pathlib.Path) -> OSError:
    reason = error.strerror or error
    return OSError(error.errno, f"cannot write {path}: {reason}. Free some space or choose another folder")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not JSON; the message names it.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
