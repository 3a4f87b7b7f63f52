"""Raw text: tables as CSV files, and plain text."""

import csv
import pathlib
import re
from collections.abc import Iterator

from jaxdl.data.raw import SPLIT_OF, Example, Label, Number, RawSet, Text

_INTEGER = re.compile(r"[+-]?\d+")


def by_split(files: list[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Files by the split that they are named after; a single file of another name is "train".

    Raises:
      ValueError: several files that are not named after splits, or two for one split.
    """
    if len(files) == 1 and files[0].stem.lower() not in SPLIT_OF:
        return {"train": files[0]}
    splits: dict[str, pathlib.Path] = {}
    for path in files:
        split = SPLIT_OF.get(path.stem.lower())
        if split is None:
            suffix = path.suffix
            raise ValueError(
                f"{path} is none of train{suffix}, test{suffix}, validation{suffix}: "
                "keep one file, or name the files after their splits"
            )
        if split in splits:
            raise ValueError(f"{splits[split]} and {path} both hold the {split} split: keep one of them")
        splits[split] = path
    return splits


def _rows(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not CSV in UTF-8, near line {reader.line_num}: {error}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _header(path: pathlib.Path) -> list[str]:
    _, header = next(_rows(path), (0, None))
    if header is None:
        raise ValueError(f"{path} is empty: a table begins with a header line")
    if any(not name or _is_number(name) for name in header):
        raise ValueError(
            f"{path} has no header: its first line must name the columns, got {','.join(header)[:80]!r}"
        )
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"{path} names a column twice: {', '.join(repeated)}")
    if slashed := [name for name in header if "/" in name]:
        raise ValueError(f"{path}: a column name must not hold a slash, got {slashed[0]!r}")
    return header


class _Column:
    """What the cells of a column have in common so far."""

    def __init__(self):
        self.integers = self.numbers = True
        self.empty = False
        self.low = self.high = 0
        self.values: set[str] | None = set()

    def see(self, cell: str) -> None:
        if self.values is not None:
            self.values.add(cell)
            if len(self.values) > 10_000:
                self.values = None
        if not cell:
            self.empty = True
        elif self.integers and _INTEGER.fullmatch(cell):
            self.low, self.high = min(self.low, int(cell)), max(self.high, int(cell))
        else:
            self.integers = False
            self.numbers = self.numbers and _is_number(cell)


def _feature(name: str, column: _Column, path: pathlib.Path) -> Label | Number | Text:
    if name == "label":
        if column.empty:
            raise ValueError(f"{path}: the column label has an empty cell")
        if column.integers and column.low >= 0:
            return Label(column.high + 1)
        if not column.numbers:
            if column.values is None:
                raise ValueError(f"{path}: the column label has more than 10000 different values")
            return Label(len(column.values), tuple(sorted(column.values)))
    if not column.numbers:
        return Text()
    if column.integers and not column.empty:
        if not (column.low >= -(2**63) and column.high < 2**63):
            raise ValueError(f"{path}: the column {name} holds an integer of more than 64 bits")
        return Number("int32" if column.low >= -(2**31) and column.high < 2**31 else "int64")
    return Number("float32")


def csv_set(files: list[pathlib.Path]) -> RawSet:
    """Reads tables with a header, comma separated, in UTF-8; the type of a column is that of all its cells.

    Integers become int32 (int64 where they need it); other numbers float32, an empty cell among them NaN; the
    rest text. A column `label` becomes the class: numbers from 0 as they are, text in alphabetical order.

    Raises:
      ValueError: no header, a row of another length, different headers, no row, not CSV; names the file and
        line.
    """
    splits = by_split(files)
    first = next(iter(splits.values()))
    header = _header(first)
    columns = [_Column() for _ in header]
    for path in splits.values():
        if (other := _header(path)) != header:
            raise ValueError(f"{path} has the columns {', '.join(other)}, {first} has {', '.join(header)}")
        rows = _rows(path)
        next(rows)
        line = None
        for line, row in rows:
            if len(row) != len(header):
                raise ValueError(
                    f"{path}, line {line}: {len(row)} cells under a header of {len(header)} columns"
                )
            for column, cell in zip(columns, row):
                column.see(cell)
        if line is None:
            raise ValueError(f"{path} has a header but no rows")
    features = {name: _feature(name, column, first) for name, column in zip(header, columns)}

    def value(name: str, cell: str):
        match features[name]:
            case Label(names=None):
                return int(cell)
            case Number(dtype="float32"):
                return float(cell or "nan")
            case Number():
                return int(cell)
        return cell

    def examples(path: pathlib.Path) -> Iterator[Example]:
        rows = _rows(path)
        next(rows)
        for _, row in rows:
            yield {name: value(name, cell) for name, cell in zip(header, row)}

    return RawSet(features, {s: lambda path=path: examples(path) for s, path in splits.items()}, ordered=True)


def read_text(path: pathlib.Path) -> str:
    """Reads a file of UTF-8 text.

    Raises:
      ValueError: another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}") from error


def text_set(files: list[pathlib.Path], *, whole_text: bool = False) -> RawSet:
    """Reads plain text: every line that is not blank is an example `text`, or each file as a whole is one.

    Raises:
      ValueError: an empty file, or text in another encoding than UTF-8.
    """
    splits = by_split(files)
    for path in splits.values():
        if not read_text(path).strip():
            raise ValueError(f"{path} is empty")

    def examples(path: pathlib.Path) -> Iterator[Example]:
        text = read_text(path)
        if whole_text:
            yield {"text": text}
        else:
            yield from ({"text": line} for line in text.splitlines() if line.strip())

    return RawSet(
        {"text": Text()}, {s: lambda path=path: examples(path) for s, path in splits.items()}, ordered=True
    )
