"""Missing values, filled with what the training set knows, on the host. N: rows, D: columns."""

import dataclasses
from typing import Any

import numpy as np

from jaxdl import checks


def _missing(x: np.ndarray, marker: Any) -> np.ndarray:
    if isinstance(marker, float) and np.isnan(marker):
        return np.isnan(x)
    if x.dtype == object:
        return np.array([value is marker or value == marker for value in x.flat], bool).reshape(x.shape)
    return np.zeros(x.shape, bool) if marker is None else x == marker


def _table(x: Any, name: str, marker: Any, how: str) -> np.ndarray:
    x = np.asarray(x)
    checks.rank((1, 2), **{name: x})
    numbers = np.issubdtype(x.dtype, np.number)
    if not numbers and how != "mode":
        raise TypeError(f"{name} must be numbers for how={how!r}, got {x.dtype}")
    is_nan = isinstance(marker, float) and np.isnan(marker)
    if is_nan and not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"{name} must be floating point to hold NaN, got {x.dtype}: name the missing value")
    return x


@dataclasses.dataclass(frozen=True, eq=False)
class Imputation:
    """The map that fills what is missing.

    Attributes:
      fill: what the training set puts into each column, [D], or [] for a single column.
      how: "mean", "mode" or "interpolated".
      missing: what marks a missing value.
    """

    fill: np.ndarray
    how: str
    missing: Any

    def __call__(self, x: Any) -> np.ndarray:
        """Returns a copy of `x` with nothing missing; what was there stays as it was.

        Raises:
          ValueError: `x` has another number of columns than the training set.
          TypeError: a dtype that cannot hold the marker, or no numbers where means are to be put.
        """
        x = _table(x, "x", self.missing, self.how)
        checks.shape((None, *self.fill.shape), x=x)
        gone = _missing(x, self.missing)
        if self.how != "mode" and np.issubdtype(x.dtype, np.integer):
            x = x.astype(np.float32)  # a mean of integers is none
        # Text grows with what is put in; numbers keep their dtype.
        fill = self.fill.astype(x.dtype) if np.issubdtype(x.dtype, np.number) else self.fill
        filled = np.where(gone, fill, x)
        if self.how == "interpolated":
            columns, holes = filled.reshape(len(x), -1), gone.reshape(len(x), -1)
            rows = np.arange(len(x))
            for column, hole in zip(columns.T, holes.T):
                if hole.any() and not hole.all():
                    column[hole] = np.interp(rows[hole], rows[~hole], column[~hole])
        return filled


def impute(train: Any, how: str = "mean", *, missing: Any = np.nan) -> Imputation:
    """Fits what to put where a value is missing, column by column.

    mean: the training mean. mode: the most frequent training value, the smallest of several. interpolated: the
    straight line between the neighbours above and below in the same set, whose rows are equal steps in time; before
    the first and after the last one that value; the training mean where a column has nothing at all.

        fill = impute(train["x"], "mode", missing=-1)
        train["x"], test["x"] = fill(train["x"]), fill(test["x"])

    Args:
      train: the training set alone, [N, D] or [N]; numbers, for the mode also text or objects.
      how: "mean", "mode" or "interpolated".
      missing: what marks a missing value: NaN, a number such as -1, "" or None.

    Returns:
      The fitted `Imputation`, a function. It keeps the dtype; integers become float32 unless filled with modes.

    Raises:
      ValueError: an unknown `how`, no rows, or a column of which nothing is known (names it).
      TypeError: not numbers where means are wanted; a dtype that cannot hold the marker.

    A missing value can say something itself: keep `np.isnan(x)` as a column then. Rows of unequal steps in time:
    `synchronize` first.
    """
    checks.one_of(("mean", "mode", "interpolated"), how=how)
    train = _table(train, "train", missing, how)
    if not len(train):
        raise ValueError(f"train must hold at least one row, got shape {train.shape}")
    fills = []
    for place, column in enumerate(train.reshape(len(train), -1).T):
        known = column[~_missing(column, missing)]
        if not known.size:
            raise ValueError(f"train: everything in column {place} is missing: leave it out")
        if how == "mode":
            values, counts = np.unique(known, return_counts=True)
            fills.append(values[np.argmax(counts)])
        else:
            fills.append(known.mean(dtype=np.float64))
    fill = np.array(fills, train.dtype if how == "mode" else np.float64)
    return Imputation(fill.reshape(train.shape[1:]), how, missing)
