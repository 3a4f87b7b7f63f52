"""Held-out parts of a data set, at random or by class proportions. N: examples."""

import math
from collections.abc import Mapping

import numpy as np

from jaxdl import checks

Arrays = Mapping[str, np.ndarray]


def _count(size: float | int, n: int, name: str) -> int:
    if isinstance(size, (bool, np.bool_)) or not isinstance(size, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a fraction (float) or a number of examples (int), got {size!r}")
    if isinstance(size, (int, np.integer)):
        checks.at_least(1, **{name: size})
        return int(size)
    if not 0 < size < 1:
        raise ValueError(f"{name} must lie between 0 and 1 as a fraction, got {size}")
    return math.ceil(size * n)


def _apportion(total: int, counts: np.ndarray) -> np.ndarray:
    """Splits `total` in proportion to `counts` by largest remainders; the lower class wins a tie."""
    shares = total * counts / counts.sum()
    floors = np.floor(shares).astype(int)
    by_remainder = np.argsort(-(shares - floors), kind="stable")
    floors[by_remainder[: total - floors.sum()]] += 1
    return floors


def train_test_split(
    arrays: Arrays,
    *,
    test_size: float | int = 0.2,
    validation_size: float | int | None = None,
    seed: int = 0,
    stratify: str | None = None,
) -> tuple[dict[str, np.ndarray], ...]:
    """Splits arrays by a seeded permutation of their rows: disjoint parts that together hold every row once.

    Args:
      arrays: equally long arrays [N, ...] by name.
      test_size: fraction of N in (0, 1), rounded up, or number of examples.
      validation_size: the same for a validation part, also of the whole N; None for none.
      seed: of `np.random.default_rng`.
      stratify: key of an array of classes [N]. Every part then has each class in the proportion that it has
        in the whole, to the nearest example (largest remainders).

    Returns:
      `(train, test)`, or `(train, validation, test)` with a `validation_size`: dicts like `arrays`, rows
      shuffled.

    Raises:
      ValueError: no arrays, unequal lengths, nothing left to train on, a fraction outside (0, 1), an unknown
        `stratify` key, or a class or part too small to be spread.
      TypeError: a size that is neither int nor float.

    Differs from scikit-learn, which draws at random which of two equal remainders is rounded up.
    Data that are read lazily are split by name instead: `load("mnist", split="train[:80%]")`.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    if not arrays:
        raise ValueError("arrays must hold at least one array, got an empty dict")
    checks.same_leading(1, **arrays)
    n = len(next(iter(arrays.values())))
    sizes = [_count(test_size, n, "test_size")]
    if validation_size is not None:
        sizes.append(_count(validation_size, n, "validation_size"))
    if sum(sizes) >= n:
        raise ValueError(
            f"the held-out parts ({' + '.join(map(str, sizes))}) leave nothing of {n} to train on"
        )

    if stratify is None:
        classes, counts = np.zeros(n, int), np.array([n])
    else:
        checks.one_of(tuple(arrays), stratify=stratify)
        checks.rank(1, **{stratify: arrays[stratify]})
        names, classes, counts = np.unique(arrays[stratify], return_inverse=True, return_counts=True)
        parts = len(sizes) + 1
        if counts.min() < parts:
            raise ValueError(
                f"stratify: class {names[counts.argmin()]} has {counts.min()} examples, "
                f"too few for {parts} parts"
            )
        if min(*sizes, n - sum(sizes)) < len(names):
            raise ValueError(
                f"stratify: a part of {min(*sizes, n - sum(sizes))} cannot hold {len(names)} classes"
            )

    remaining = np.random.default_rng(seed).permutation(n)
    left = counts.copy()
    held_out = []
    for size in sizes:
        quota = _apportion(size, left)
        order = np.argsort(classes[remaining], kind="stable")
        starts = np.cumsum(left) - left
        rank_in_class = np.empty(len(remaining), int)
        rank_in_class[order] = np.arange(len(remaining)) - np.repeat(starts, left)
        taken = rank_in_class < quota[classes[remaining]]
        held_out.append(remaining[taken])
        remaining = remaining[~taken]
        left = left - quota
    rows = [remaining, *reversed(held_out)]
    return tuple({name: array[index] for name, array in arrays.items()} for index in rows)
