"""Categories as numbers, and classes of equal size, on the host. N: rows, D: columns."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl import checks


def _columns(x: Any, name: str) -> np.ndarray:
    x = np.asarray(x)
    checks.rank((1, 2), **{name: x})
    gone = np.zeros(x.shape, bool)
    if np.issubdtype(x.dtype, np.floating):
        gone = np.isnan(x)
    elif x.dtype == object:  # NaN is the only thing that is not itself
        gone = np.array([value is None or value != value for value in x.flat], bool).reshape(x.shape)
    if gone.any():
        row = int(np.argwhere(gone)[0, 0])
        raise ValueError(f"{name} has a missing value in row {row}: impute it, or make it a category")
    return x


@dataclasses.dataclass(frozen=True, eq=False)
class CategoryCodes:
    """The map from categories to codes, with `inverse` back.

    Attributes:
      categories: those of each column, sorted; the code is the place.
      unknown: code of a category that the training set does not have; None forbids them.
      shape: what follows N in the training set: () or (D,).
    """

    categories: tuple[np.ndarray, ...]
    unknown: int | None
    shape: tuple[int, ...]

    def __call__(self, x: Any) -> np.ndarray:
        """Codes int32 of the shape of `x`.

        Raises:
          ValueError: another number of columns; a missing value; a category that is not known, where `unknown` is None
            (names it, its row and column).
        """
        x = _columns(x, "x")
        checks.shape((None, *self.shape), x=x)
        codes = np.empty(x.shape, np.int32).reshape(len(x), -1)
        for place, (column, known) in enumerate(zip(x.reshape(len(x), -1).T, self.categories)):
            code = np.clip(np.searchsorted(known, column), 0, len(known) - 1)
            strange = known[code] != column
            if strange.any() and self.unknown is None:
                row = int(np.argmax(strange))
                value = column[row : row + 1].tolist()[0]
                raise ValueError(
                    f"x: {value!r} in row {row}, column {place} is no category of the training set"
                )
            codes[:, place] = np.where(strange, -1 if self.unknown is None else self.unknown, code)
        return codes.reshape(x.shape)

    def inverse(self, codes: Any) -> np.ndarray:
        """The categories of codes int [N] or [N, D].

        Raises:
          ValueError: another number of columns, or a code without a category (also that of the unknown).
          TypeError: not integers.
        """
        codes = np.asarray(codes)
        checks.integer(codes=codes)
        checks.shape((None, *self.shape), codes=codes)
        columns = []
        for place, (column, known) in enumerate(zip(codes.reshape(len(codes), -1).T, self.categories)):
            if column.size and not (column.min() >= 0 and column.max() < len(known)):
                raise ValueError(f"codes of column {place} must lie in [0, {len(known)})")
            columns.append(known[column])
        return np.stack(columns, axis=1).reshape(codes.shape)


def category_codes(train: Any, *, unknown: int | None = None) -> CategoryCodes:
    """Fits a number for each category: its place among the sorted categories of its column in the training set.

        codes = category_codes(train["colour"])       # red, green, red -> 1, 0, 1
        train["colour"], test["colour"] = codes(train["colour"]), codes(test["colour"])

    The numbers have no order that means anything: an embedding or `one_hot` takes them, a linear layer should not.

    Args:
      train: the training set alone, [N, D] or [N]: text, integers, bool or objects that can be sorted.
      unknown: code for categories that come up later, for instance -1 or the number of categories; None to
        refuse them.

    Returns:
      The fitted `CategoryCodes`, a function.

    Raises:
      ValueError: no rows, or a missing value (NaN or None).
      TypeError: categories that cannot be sorted (names the column); `unknown` is not an integer.
    """
    train = _columns(train, "train")
    if not len(train):
        raise ValueError(f"train must hold at least one row, got shape {train.shape}")
    if unknown is not None:
        checks.integer(unknown=np.asarray(unknown))
    categories = []
    for place, column in enumerate(train.reshape(len(train), -1).T):
        try:
            categories.append(np.unique(column))
        except TypeError as error:
            raise TypeError(f"train: the categories of column {place} cannot be sorted: {error}") from None
    return CategoryCodes(tuple(categories), unknown, train.shape[1:])


def oversample(arrays: Mapping[str, Any], label: str = "y", *, seed: int = 0) -> dict[str, np.ndarray]:
    """Repeats rows of the smaller classes at random until every class has as many as the largest.

    Split first and oversample the training part alone: done before, copies of a row land on both sides, and the test
    measures memory.

        train, test = train_test_split(arrays)
        train = oversample(train)

    Args:
      arrays: equally long arrays [N, ...] by name.
      label: the key of the classes [N].
      seed: of `np.random.default_rng`.

    Returns:
      A dict like `arrays`: every row at least once, copies drawn with replacement, all rows shuffled.

    Raises:
      ValueError: an unknown key, no rows, unequal lengths, or classes that are not of rank 1.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    checks.one_of(tuple(arrays), label=label)
    checks.rank(1, **{label: arrays[label]})
    checks.same_leading(1, **arrays)
    if not arrays[label].size:
        raise ValueError(f"{label} must hold at least one row, got none")
    rng = np.random.default_rng(seed)
    _, classes, counts = np.unique(arrays[label], return_inverse=True, return_counts=True)
    rows = [np.arange(len(classes))]
    for k, count in enumerate(counts):
        rows.append(rng.choice(np.flatnonzero(classes == k), counts.max() - count))
    order = rng.permutation(np.concatenate(rows))
    return {name: array[order] for name, array in arrays.items()}
