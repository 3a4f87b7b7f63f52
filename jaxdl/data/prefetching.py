"""The next batches on the device before they are asked for, by one background thread."""

import queue
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxdl import checks

_BATCH, _ERROR, _END = "batch", "error", "end"


def _place(batch: Any, sharding: Any) -> Any:
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if getattr(dtype, "kind", "") in "OSU":
            raise TypeError(
                f"{jax.tree_util.keystr(path)} holds text or objects, which no device stores: "
                "drop or encode it in the transform of Batches, or load the set with keys=(...)"
            )
    if sharding is None:
        return jax.device_put(batch)
    if sharding.is_fully_addressable:
        _check_shares(batch, sharding)
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)


def _check_shares(batch: Any, sharding: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        try:
            sharding.shard_shape(np.shape(leaf))
        except ValueError:
            count = sharding.num_devices
            raise ValueError(
                f"batch{jax.tree_util.keystr(path)} has shape {np.shape(leaf)}, which {count} devices cannot share "
                f"equally: choose a batch size that is a multiple of {count}, or fewer devices"
            ) from None


def _fetch(
    iterator, state_of, sharding, ready: queue.Queue, slots: threading.Semaphore, stop: threading.Event
):
    """Runs in the thread. It must not refer to the `DevicePrefetch`, or that could never be collected."""
    while True:
        slots.acquire()
        if stop.is_set():
            return
        try:
            batch = next(iterator)
        except StopIteration:
            ready.put((_END, None, None))
            return
        except BaseException as error:
            ready.put((_ERROR, error, None))
            return
        try:
            state = None if state_of is None else state_of()
            ready.put((_BATCH, _place(batch, sharding), state))
        except BaseException as error:
            ready.put((_ERROR, error, None))
            return


def _stop(stop: threading.Event, slots: threading.Semaphore, thread: threading.Thread) -> None:
    stop.set()
    slots.release()
    if thread is not threading.current_thread():
        thread.join(timeout=5.0)


class DevicePrefetch:
    """See `prefetch_to_device`."""

    def __init__(self, batches: Any, size: int, sharding: Any):
        checks.at_least(1, size=size)
        self._batches, self._size, self._sharding = batches, size, sharding
        self._finish: weakref.finalize | None = None  # None while no thread runs
        self._ended = False

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> "DevicePrefetch":
        self._ended = False
        return self

    def _start(self) -> None:
        iterator = iter(self._batches)
        state_of = getattr(self._batches, "state", None)
        self._state = None if state_of is None else state_of()
        self._ready: queue.Queue = queue.Queue()
        self._slots = threading.Semaphore(self._size)
        stop = threading.Event()
        self._thread = threading.Thread(
            target=_fetch,
            args=(iterator, state_of, self._sharding, self._ready, self._slots, stop),
            name="prefetch_to_device",
            daemon=True,
        )
        self._thread.start()
        self._finish = weakref.finalize(self, _stop, stop, self._slots, self._thread)

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        if self._finish is None:
            self._start()
        kind, value, state = self._ready.get()
        if kind == _BATCH:
            self._slots.release()
            self._state = state
            return value
        self._end_thread()
        self._ended = True
        if kind == _ERROR:
            raise value
        raise StopIteration

    def _end_thread(self) -> None:
        if self._finish is not None:
            self._finish()
            self._finish = None
            self._thread.join()

    def close(self) -> None:
        """Ends the thread and drops what it fetched ahead; iterating goes on behind the last batch yielded.

        What was fetched ahead is lost where `batches` has no `restore`.
        """
        if self._finish is not None:
            self._end_thread()
            if self._state is not None:
                self._batches.restore(self._state)

    def state(self) -> dict[str, Any]:
        """The position behind the last batch that was yielded, whatever was fetched ahead.

        Raises:
          TypeError: `batches` has no state.
        """
        if not hasattr(self._batches, "state"):
            raise TypeError(
                f"{type(self._batches).__name__} has no state(): prefetch from a Batches to resume"
            )
        return self._batches.state() if self._finish is None or self._state is None else self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Drops what was fetched ahead and moves `batches` to the position.

        Raises:
          TypeError: `batches` has no state.
          ValueError: the state does not fit.
        """
        self.state()
        self.close()
        self._batches.restore(state)
        self._ended = False


def prefetch_to_device(batches: Iterable[Any], size: int = 2, sharding: Any = None) -> DevicePrefetch:
    """Reads batches in a background thread and puts them on the device ahead of their use.

    Args:
      batches: an iterable of pytrees of arrays, such as `Batches`.
      size: batches on the device ahead of the one in use, at least 1.
      sharding: a `jax.sharding.Sharding` for every leaf; None for the default device. One that spans
        processes joins the slices that each process read into global arrays.

    Returns:
      An iterator of the same batches as `jax.Array`s, with the `len()`, `state()` and `restore()` of
      `batches`: the state refers to the last batch yielded. An error in the thread is raised at the batch it
      belongs to. The thread ends with the data, at `close()`, and when the iterator is dropped.

    Raises:
      ValueError: `size` below 1; when iterated: a batch that the devices cannot share equally.
      TypeError: when iterated: a leaf of text or objects.
    """
    return DevicePrefetch(batches, size, sharding)
