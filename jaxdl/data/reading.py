"""Rows of a data set by index: from arrays in memory, or from a source that reads each example when asked."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

Batch = dict[str, Any]


class Rows(Protocol):
    """What `Batches` reads from: a length, and the rows at given indices, stacked."""

    def __len__(self) -> int: ...

    def read(self, index: np.ndarray) -> Batch: ...


def _is_float(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _first_bad_row(array: np.ndarray) -> int | None:
    for start in range(
        0, len(array), 65_536
    ):  # in blocks: `isfinite` of the whole would need a second copy of it
        finite = np.isfinite(array[start : start + 65_536])
        if not finite.all():
            return start + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
    return None


def _refuse_non_finite(name: str, row: int) -> None:
    raise ValueError(
        f"{name} holds NaN or infinity, first in row {row}: clean or impute the data before batching"
    )


class ArrayRows:
    """Rows of equally long arrays. A `np.memmap` stays on disk; its rows are checked as they are read."""

    def __init__(self, arrays: Mapping[str, Any]):
        if not arrays:
            raise ValueError("source is empty: a dict of arrays needs at least one key")
        self.arrays = {
            name: array if isinstance(array, np.memmap) else np.asarray(array)
            for name, array in arrays.items()
        }
        for name, array in self.arrays.items():
            if array.ndim == 0 or array.dtype == object:
                raise ValueError(
                    f"{name} must be an array [N, ...], got shape {array.shape}, dtype {array.dtype}"
                )
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"the arrays of a source must be equally long, got {listed}")
        self.length = next(iter(lengths.values()))
        for name, array in self.arrays.items():
            if _is_float(array) and not isinstance(array, np.memmap):
                row = _first_bad_row(array)
                if row is not None:
                    _refuse_non_finite(name, row)

    def __len__(self) -> int:
        return self.length

    def read(self, index: np.ndarray) -> Batch:
        batch = {name: np.asarray(array[index]) for name, array in self.arrays.items()}
        for name, array in self.arrays.items():
            if isinstance(array, np.memmap) and _is_float(array):
                row = _first_bad_row(batch[name])
                if row is not None:
                    _refuse_non_finite(name, int(index[row]))
        return batch


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(getattr(part, "key", part)) for part in path)


def _column(name: str, values: tuple[Any, ...]) -> np.ndarray:
    if isinstance(values[0], (str, bytes)):
        return np.array(values, dtype=object)  # NumPy's fixed-width strings would drop trailing zero bytes
    try:
        return np.stack([np.asarray(value) for value in values])
    except ValueError:
        shapes = sorted({np.shape(value) for value in values})
        raise ValueError(
            f"{name} cannot be batched: its examples have the shapes {', '.join(map(str, shapes[:4]))}"
        ) from None


def stack_examples(examples: Sequence[Any]) -> Batch:
    """Stacks examples with equal keys and shapes along a new first axis.

    Args:
      examples: at least one; dicts, also nested, of arrays, numbers or text.

    Returns:
      A dict like the examples, leaves [len(examples), ...]; text becomes an array of objects.

    Raises:
      ValueError: different keys or shapes; names the key.
    """
    first = jax.tree_util.tree_structure(examples[0])
    for example in examples[1:]:
        if jax.tree_util.tree_structure(example) != first:
            keys = [
                [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(e)]
                for e in (examples[0], example)
            ]
            raise ValueError(f"examples have different keys: {keys[0]} and {keys[1]}")
    leaves = [jax.tree_util.tree_leaves_with_path(example) for example in examples]
    columns = []
    for same in zip(*leaves):
        columns.append(_column(_name(same[0][0]), tuple(value for _, value in same)))
    return jax.tree_util.tree_unflatten(first, columns)


class ExampleRows:
    """Rows of a random-access sequence of dict examples; nothing is read before it is asked for."""

    def __init__(self, source: Any):
        if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
            raise TypeError(
                "source must be a dict of arrays or a random-access sequence of dicts, "
                f"got {type(source).__name__}"
            )
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: np.ndarray) -> Batch:
        if not len(index):  # one example tells the keys and shapes of none
            return jax.tree.map(lambda leaf: leaf[:0], self.read(np.zeros(1, int)))
        indices = [int(i) for i in index]
        if hasattr(self.source, "__getitems__"):
            examples = self.source.__getitems__(indices)
        else:
            examples = [self.source[i] for i in indices]
        if not isinstance(examples[0], Mapping):
            raise TypeError(f"an example of the source must be a dict, got {type(examples[0]).__name__}")
        batch = stack_examples(examples)
        for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
            if _is_float(leaf):
                row = _first_bad_row(leaf)
                if row is not None:
                    _refuse_non_finite(_name(path), indices[row])
        return batch


def rows_of(source: Any) -> Rows:
    """Wraps a dict of arrays or a random-access sequence."""
    return ArrayRows(source) if isinstance(source, Mapping) else ExampleRows(source)


def as_arrays(source: Any) -> Batch:
    """Reads a whole source into memory, for sets that fit.

    MNIST's 60,000 training digits are 47 MB and take seconds.

    Args:
      source: a random-access sequence of dict examples, such as `load` returns.

    Returns:
      A dict of arrays [N, ...] in the source's order, with the source's dtypes.

    Raises:
      ValueError: an empty source, examples of unequal shapes, NaN or infinity (names the key and row).
      TypeError: not a source.
    """
    rows = ExampleRows(source)
    n = len(rows)
    if n == 0:
        raise ValueError("source is empty")
    arrays: Any = None
    for start in range(0, n, 1024):
        index = np.arange(start, min(start + 1024, n))
        block = rows.read(index)
        if arrays is None:
            arrays = jax.tree.map(lambda leaf: np.empty((n, *leaf.shape[1:]), leaf.dtype), block)
        for (path, array), leaf in zip(jax.tree_util.tree_leaves_with_path(arrays), jax.tree.leaves(block)):
            if leaf.shape[1:] != array.shape[1:]:
                raise ValueError(
                    f"{_name(path)} has shape {leaf.shape[1:]} from row {start} on, {array.shape[1:]} before"
                )
            array[start : start + len(index)] = leaf
    return arrays
