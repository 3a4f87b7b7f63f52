"""Checkpoints that are whole or absent, and say clearly what is wrong with one that does not fit."""

import json
import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxdl import checks, files

FORMAT = 1  # raised when the layout of a checkpoint changes


class Restored(NamedTuple):
    """What a checkpoint held: the step, the state, and the memories by name."""

    step: int
    state: Any
    memory: dict[str, Any]


def _signature(tree: Any) -> dict[str, str]:
    """Path of every leaf with its shape and dtype."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _describe_difference(saved: dict[str, str], wanted: dict[str, str]) -> str:
    lines = [
        f"{name}: {saved[name]} saved, {wanted[name]} wanted"
        for name in saved
        if wanted.get(name, saved[name]) != saved[name]
    ]
    lines += [f"{name}: {saved[name]} saved, absent here" for name in saved if name not in wanted]
    lines += [f"{name}: {wanted[name]} wanted, not saved" for name in wanted if name not in saved]
    more = f" and {len(lines) - 4} more" if len(lines) > 4 else ""
    return "; ".join(lines[:4]) + more


def _split(value: Any, arrays: list[np.ndarray]) -> Any:
    """JSON with the arrays taken out and numbered."""
    if isinstance(value, (jax.Array, np.ndarray)):
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, Mapping):
        return {"map": {name: _split(item, arrays) for name, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return {"list": [_split(item, arrays) for item in value]}
    return {"value": value}


def _join(value: Any, arrays: list[np.ndarray]) -> Any:
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "map":
        return {name: _join(item, arrays) for name, item in content.items()}
    if kind == "list":
        return [_join(item, arrays) for item in content]
    return content


class Checkpointer:
    """Saves the state of a run every so many steps, keeps the latest and the best, and restores them (host).

    Writing is asynchronous (Orbax): training goes on while the files are written, and a folder takes its name only when
    it is whole, so an interruption at any moment leaves the previous checkpoints. A checkpoint that was damaged later
    is passed over, with a warning, for the one before it.

    Args:
      folder: where the checkpoints go, one folder a step; made when needed. Buckets (`gs://...`) work too.
      every: steps between checkpoints, at least 1.
      keep: how many of the latest to keep, at least 2, so that one is whole while the next is written.
      monitor: metric that says which state is best, such as "validation/accuracy"; None keeps no best one. A step
        that improves it is saved at once.
      mode: "max" or "min", the better direction of `monitor`.
    """

    def __init__(
        self,
        folder: files.Path,
        *,
        every: int = 1000,
        keep: int = 2,
        monitor: str | None = None,
        mode: str = "max",
    ):
        checks.at_least(1, every=every)
        checks.at_least(2, keep=keep)
        checks.one_of(("min", "max"), mode=mode)
        self.folder = epath.Path(folder) if "://" in str(folder) else epath.Path(folder).absolute()
        self.every, self.keep, self.monitor = every, keep, monitor
        self._direction = 1.0 if mode == "max" else -1.0
        self.best_value: float | None = None
        self.best_step: int | None = None
        self._damaged: set[int] = set()
        self._manager: Any = None

    def _open(self) -> Any:
        if self._manager is None:
            import orbax.checkpoint as ocp  # a second of import, only for runs that save

            with self._errors("write"):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._manager = ocp.CheckpointManager(
                    self.folder,
                    options=ocp.CheckpointManagerOptions(
                        cleanup_tmp_directories=True, save_root_metadata=False
                    ),
                )
        return self._manager

    def _errors(self, verb: str):
        return _NamedErrors(f"cannot {verb} the checkpoint folder {self.folder}")

    @property
    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.is_dir() and p.name.isdigit())

    def improves(self, metrics: Mapping[str, Any]) -> bool:
        """Whether these metrics hold the best value of the monitored metric so far."""
        if self.monitor is None or self.monitor not in metrics:
            return False
        value = float(metrics[self.monitor])
        return math.isfinite(value) and (
            self.best_value is None or self._direction * (value - self.best_value) > 0
        )

    def save(
        self,
        step: int,
        state: Any,
        memory: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Saves `state` and the memories under `step`; returns before the files are written.

        Args:
          step: name of the checkpoint; a whole one that stands is left as it is.
          state: pytree of arrays, typed keys among them.
          memory: what else is needed to go on, by name: JSON values and arrays, nested.
          metrics: decide whether this one is the best.

        Raises:
          OSError: the folder cannot be written or the disk is full; may name the previous save, as writing is
            asynchronous.
        """
        import orbax.checkpoint as ocp

        manager = self._open()
        if step in self._damaged:  # nothing is lost: it could not be read
            manager.delete(step)
            self._damaged.discard(step)
        if step in manager.all_steps():  # those still being written included
            return
        if metrics is not None and self.monitor is not None and self.improves(metrics):
            self.best_value, self.best_step = float(metrics[self.monitor]), step
        arrays: list[np.ndarray] = []
        about = {
            "format": FORMAT,
            "signature": _signature(state),
            "memory": _split(dict(memory or {}), arrays),
            "best": {"monitor": self.monitor, "value": self.best_value, "step": self.best_step},
        }
        if jax.default_backend() == "cpu":
            # On CPU the writer thread reads the very buffers that the next step may donate.
            state = jax.tree.map(jnp.copy, state)
        items = {"state": ocp.args.StandardSave({"tree": state}), "about": ocp.args.JsonSave(about)}
        if arrays:
            items["arrays"] = ocp.args.StandardSave({str(i): array for i, array in enumerate(arrays)})
        with self._errors("write"):
            manager.save(step, args=ocp.args.Composite(**items), force=True)
            self._delete_old()

    def _delete_old(self) -> None:
        # Orbax's own list is the same in every process; a look at the folder need not be while one is written.
        for step in sorted(self._manager.all_steps())[: -self.keep]:
            if step != self.best_step:
                self._manager.delete(step)

    def wait(self) -> None:
        """Returns when every file is written; raises OSError when one could not be."""
        if self._manager is not None:
            with self._errors("write"):
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go of the threads."""
        if self._manager is not None:
            try:
                self.wait()
            finally:
                self._manager.close()
                self._manager = None

    def restore(self, like: Any, step: int | None = None) -> Restored:
        """Loads the latest whole checkpoint, or that of `step`.

        Args:
          like: a state with the structure, shapes, dtypes and shardings wanted, for example a fresh one.
          step: which one; None takes the latest and, where that is damaged, the one before it.

        Raises:
          FileNotFoundError: there is none.
          ValueError: it belongs to another model or optimizer (the first differences are named), to another version of
            the format, or every one is damaged.
        """
        steps = self.steps if step is None else [s for s in self.steps if s == step]
        if not steps:
            which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise FileNotFoundError(
                f"{which} in {self.folder}; there are {self.steps or 'none'}. Train without --resume first"
            )
        damaged = []
        for candidate in reversed(steps):
            try:
                return self._restore(candidate, like)
            except _DoesNotFit as error:
                raise ValueError(str(error)) from None
            except Exception as error:  # Orbax raises many kinds for damaged files
                self._damaged.add(candidate)
                damaged.append(
                    f"step {candidate} ({type(error).__name__}: {str(error).splitlines()[0][:200]})"
                )
                if candidate != steps[0]:
                    warnings.warn(
                        f"checkpoint of step {candidate} in {self.folder} is damaged; taking the one before it",
                        stacklevel=2,
                    )
        raise ValueError(
            f"every checkpoint in {self.folder} is damaged: {'; '.join(damaged)}. Remove the folder and train again"
        )

    def restore_best(self, like: Any) -> Restored:
        """Loads the best checkpoint by the monitored metric, or the latest where none was monitored."""
        for step in reversed(self.steps):
            try:
                best = self._about(step)["best"]["step"]
            except (OSError, ValueError, KeyError):
                continue
            return self.restore(like, best if best in self.steps else step)
        return self.restore(like)

    def _about(self, step: int) -> dict[str, Any]:
        return json.loads((self.folder / str(step) / "about" / "metadata").read_text())

    def _restore(self, step: int, like: Any) -> Restored:
        import orbax.checkpoint as ocp

        about = self._about(step)
        if about.get("format") != FORMAT:
            raise _DoesNotFit(
                f"checkpoint of step {step} in {self.folder} has format {about.get('format')}, "
                f"this version reads {FORMAT}: use the version of jaxdl that wrote it, or train again"
            )
        if about["signature"] != _signature(like):
            raise _DoesNotFit(
                f"checkpoint of step {step} in {self.folder} is of another model or optimizer: "
                f"{_describe_difference(about['signature'], _signature(like))}. "
                "Give the settings of that run, or another output folder"
            )
        manager = self._open()
        items = {"state": ocp.args.StandardRestore({"tree": jax.tree.map(_abstract, like)})}
        if (self.folder / str(step) / "arrays").exists():
            items["arrays"] = ocp.args.StandardRestore()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # sharding of the bookkeeping arrays, which are read onto the host
            loaded = manager.restore(step, args=ocp.args.Composite(**items))
        arrays = loaded.get("arrays") or {}
        memory = _join(about["memory"], [np.asarray(arrays[str(i)]) for i in range(len(arrays))])
        self.best_value, self.best_step = about["best"]["value"], about["best"]["step"]
        return Restored(step, loaded["state"]["tree"], memory)


def _abstract(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))


class _DoesNotFit(Exception):
    """The checkpoint is whole, but not one of this run."""


class _NamedErrors:
    """Turns the file system's errors into ones that name the folder and the remedy."""

    def __init__(self, what: str):
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise OSError(
                cause.errno,
                f"{self.what}: {cause.strerror or cause}. Free some space or choose another --output-dir",
            ) from error
        # TensorStore reports a full disk as a ValueError with the system's words in it.
        words = str(error) if error is not None else ""
        if any(
            sign in words
            for sign in ("No space left", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "File too large")
        ):
            raise OSError(
                f"{self.what}: {words.splitlines()[0][:300]}. Free some space or choose another --output-dir"
            ) from error
