"""Batches in an order that the seed alone decides, so any position can be found again."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxdl import checks
from jaxdl.data.reading import Batch, rows_of


class Batches:
    """An endless or finite stream of dict batches that resumes at the exact batch.

    Epoch e visits the rows in the order `np.random.default_rng([seed, e]).permutation(N)`, so the stream
    depends on the settings and the position alone, never on what was read before or on how many processes
    read.

        for batch in Batches(digits("train"), 128, num_epochs=10): ...

    A `Batches` has one position. A loop that is left early goes on at the next batch when it is iterated
    again, so a training loop can pause; once a finite stream has ended, iterating starts it anew from epoch
    0, so an evaluation set (`num_epochs=1`) is used again and again. `len()` is the number of batches of an
    epoch, whatever `stack` is.

    Args:
      source: a dict of equally long arrays [N, ...], gathered by NumPy; or a random-access sequence of dict
        examples (`load`), read batch by batch, with `__getitems__` where it has one. Never read whole.
      batch_size: B, rows of a batch over all processes.
      seed: of the permutations.
      shuffle: False for the order of the source.
      drop_last: leave out the last N mod B rows of each epoch's order; False to yield them as a smaller
        batch. None leaves them out of a shuffled stream, where every row gets its turn in another epoch, and of a
        stacked one; it yields them in the order of the source, where an evaluation must see every row.
      num_epochs: how many times through the data; None for ever.
      transform: `batch -> batch`, run on the host on what this process reads, before stacking.
      stack: k, to yield leaves [k, B, ...] of k consecutive batches for `train.scan_steps`. A stack may span
        two epochs; the batches left at the end of the last one, fewer than k, are dropped. Needs whole
        batches.
      process_index: which process this is; None asks JAX.
      process_count: how many processes share each batch; None asks JAX. Process p gets rows [p B/P, (p+1)
        B/P) of every batch; of a smaller last batch those that exist, which may be none.

    Raises:
      ValueError: an empty source, arrays of different lengths, NaN or infinity (names the key and first row;
        lazily read data are checked as they are read), a batch larger than the data, `process_count` that
        does not divide the batch, `stack` with smaller last batches.
      TypeError: a source that has no random access.
    """

    def __init__(
        self,
        source: Any,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool | None = None,
        num_epochs: int | None = None,
        transform: Callable[[Batch], Batch] | None = None,
        stack: int | None = None,
        process_index: int | None = None,
        process_count: int | None = None,
    ):
        checks.at_least(1, batch_size=batch_size)
        checks.at_least(0, seed=seed)
        if num_epochs is not None:
            checks.at_least(1, num_epochs=num_epochs)
        rows = rows_of(source)
        n = len(rows)
        if n == 0:
            raise ValueError("source is empty: it has no examples")
        if drop_last is None:
            drop_last = shuffle or stack is not None
        if drop_last and batch_size > n:
            raise ValueError(
                f"batch_size is larger than the data: got {batch_size} for {n} examples; "
                "take a smaller batch, or drop_last=False for one small batch an epoch"
            )
        process_count = jax.process_count() if process_count is None else process_count
        process_index = jax.process_index() if process_index is None else process_index
        checks.at_least(1, process_count=process_count)
        checks.divisible(process_count, "process_count", batch_size=batch_size)
        checks.between(0, process_count - 1, process_index=process_index)
        if stack is not None:
            checks.at_least(1, stack=stack)
            if not drop_last and n % batch_size:
                raise ValueError(
                    f"stack needs batches of one size: {n} examples leave a last batch of {n % batch_size} "
                    f"of {batch_size}; set drop_last=True"
                )
            available = None if num_epochs is None else num_epochs * (n // batch_size)
            if available is not None and stack > available:
                raise ValueError(f"stack must be at most the {available} batches there are, got {stack}")
        self._rows = rows
        self._settings = {
            "seed": int(seed),
            "batch_size": int(batch_size),
            "shuffle": bool(shuffle),
            "drop_last": bool(drop_last),
            "num_examples": n,
        }
        self._num_epochs = num_epochs
        self._transform = transform
        self._stack = stack
        self._process = (process_index, process_count)
        self._epoch, self._batch = 0, 0  # of the next batch
        self._ended = False
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        n, b = self._settings["num_examples"], self._settings["batch_size"]
        return n // b if self._settings["drop_last"] else -(-n // b)

    def __iter__(self) -> Iterator[Batch]:
        if self._ended:
            self._epoch, self._batch, self._ended = 0, 0, False
        return self

    def __next__(self) -> Batch:
        if self._ended:
            raise StopIteration
        count = self._stack or 1
        if self._num_epochs is not None:
            left = (self._num_epochs - self._epoch) * len(self) - self._batch
            if left < count:
                self._ended = True
                raise StopIteration
        # The position moves only when all reads went well, so a failed read can be tried again.
        position = self._epoch, self._batch
        batches = []
        for _ in range(count):
            batches.append(self._read(*position))
            position = self._after(*position)
        self._epoch, self._batch = position
        if self._stack is None:
            return batches[0]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)

    def _after(self, epoch: int, batch: int) -> tuple[int, int]:
        return (epoch, batch + 1) if batch + 1 < len(self) else (epoch + 1, 0)

    def _read(self, epoch: int, batch: int) -> Batch:
        size = self._settings["batch_size"]
        index, count = self._process
        local = size // count
        start = batch * size + index * local
        result = self._rows.read(self._epoch_order(epoch)[start : start + local])
        return result if self._transform is None else self._transform(result)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            n = self._settings["num_examples"]
            if self._settings["shuffle"]:
                order = np.random.default_rng([self._settings["seed"], epoch]).permutation(n)
            else:
                order = np.arange(n)
            self._order = epoch, order
        return self._order[1]

    def state(self) -> dict[str, Any]:
        """The position of the next batch and the settings that it depends on: a dict that JSON can hold.

        Neither `stack` nor the processes are among them: a run may resume on another number of processes.
        """
        return {"epoch": self._epoch, "batch": self._batch, **self._settings}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Moves to the position of a `state()`.

        Raises:
          ValueError: a state of other settings or other data, or not a state; nothing has moved then.
        """
        if missing := [key for key in ("epoch", "batch", *self._settings) if key not in state]:
            raise ValueError(f"not a state of Batches: {', '.join(missing)} missing, got {sorted(state)}")
        for name, value in self._settings.items():
            if state[name] != value:
                raise ValueError(
                    f"the state was made with {name}={state[name]}, here it is {value}: "
                    "resume with the settings and data of the interrupted run"
                )
        epoch, batch = int(state["epoch"]), int(state["batch"])
        checks.at_least(0, epoch=epoch)
        checks.between(0, len(self) - 1, batch=batch)
        self._epoch, self._batch, self._ended = epoch, batch, False
