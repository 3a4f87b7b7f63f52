"""The only Python loop. It knows nothing but the step protocol."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from jaxdl import checks
from jaxdl.train.checkpoint import Checkpointer
from jaxdl.train.history import History
from jaxdl.train.hooks import Hook, Stop
from jaxdl.train.progress import make_progress
from jaxdl.types import Step

Logger = Callable[[int, Mapping[str, float]], None]


class TrainingInterrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM came; the state was saved first where there is a checkpointer.

    Attributes:
      step: the last finished step.
      signal_number: what came.
    """

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"interrupted by {signal.Signals(signal_number).name} after step {step}")
        self.step, self.signal_number = step, signal_number


def fit(
    step: Step,
    state: Any,
    batches: Iterable[Any],
    *,
    num_steps: int,
    hooks: Sequence[Hook] = (),
    loggers: Sequence[Logger] = (),
    log_every: int = 100,
    history: History | None = None,
    checkpointer: Checkpointer | None = None,
    resume: bool = False,
    progress: str | None = "step",
    steps_per_epoch: int | None = None,
) -> tuple[Any, History]:
    """Runs a step over batches and returns the last state and the history (host).

    Metrics leave the device only when they are logged, evaluated or saved with, so the host runs ahead in between.

    Args:
      step: `(state, batch) -> (state, metrics)`, compiled by the caller: `jax.jit(step, donate_argnums=0)` or
        `shard_step(step, mesh)`. With donation the given `state` is used up.
      state: any pytree of arrays.
      batches: iterable of batches; one with `state()` and `restore()`, such as `data.Batches`, resumes exactly.
      num_steps: calls of `step` in all, those before an interruption included; at least 1.
      hooks: called after every step as `hook(i, state, metrics)`, in order; see `train.hooks`.
      loggers: called with the metrics as floats whenever a row is logged, for TensorBoard and the like.
      log_every: steps between logged rows; the last step is always logged.
      history: receives the rows; a fresh one when None.
      checkpointer: saves state, data position, hooks' memories and history every `checkpointer.every` steps, at the
        end, and when SIGTERM or SIGINT comes. None saves nothing.
      resume: continue from the checkpointer's latest; starts afresh when there is none.
      progress: what the bar counts: "step", "epoch", "episode", or None for silence. Without a terminal, plain lines.
      steps_per_epoch: with progress="epoch"; taken from `len(batches)` when None.

    Returns:
      The state after the last step, or that of the hook that stopped training; and the history.

    Raises:
      FloatingPointError: a metric is not finite when it is logged or saved; names step, metric and last checkpoint.
      ValueError: the batches end too early, or a setting is impossible.
      TrainingInterrupted: a signal asked to stop. It is a KeyboardInterrupt.
    """
    checks.at_least(1, num_steps=num_steps, log_every=log_every)
    checks.one_of(("step", "epoch", "episode", None), progress=progress)
    history = History() if history is None else history
    memories = dict(_memories(batches, hooks, history))
    start = 0
    if resume and checkpointer is not None and checkpointer.steps:
        start, state, memory = checkpointer.restore(state)
        for name, thing in memories.items():
            if name in memory:
                thing.restore(memory[name])
        if history.stopped is not None:  # a hook had ended that run
            return state, history

    def save(i: int, state: Any, metrics: Mapping[str, Any] = {}) -> None:
        if checkpointer is not None:
            checkpointer.save(i, state, {name: thing.state() for name, thing in memories.items()}, metrics)

    def finite(i: int, metrics: Mapping[str, Any]) -> dict[str, float]:
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        bad = {name: value for name, value in values.items() if not math.isfinite(value)}
        if bad:
            raise FloatingPointError(_not_finite(i, bad, checkpointer))
        return values

    clock = time.perf_counter() - (history.rows[-1].get("seconds", 0.0) if history.rows else 0.0)
    steps_per_epoch = steps_per_epoch or _length(batches)
    stop: Stop | None = None
    row: dict[str, Any] = {}
    i = start
    with contextlib.ExitStack() as stack:
        if checkpointer is not None:
            stack.callback(checkpointer.close)
        received = stack.enter_context(_signals())
        report = stack.enter_context(make_progress(progress, start, num_steps, steps_per_epoch))
        source = iter(batches) if start < num_steps else iter(())
        for i in range(start + 1, num_steps + 1):
            try:
                batch = next(source)
            except StopIteration:
                raise ValueError(
                    f"the batches ended after {i - 1} of {num_steps} steps; give more epochs or fewer steps"
                ) from None
            began = time.perf_counter()
            state, metrics = step(state, batch)
            if i == start + 1:  # the one wait outside of logging: tells compilation from training
                jax.block_until_ready(state)
                history.first_step_seconds = history.first_step_seconds or time.perf_counter() - began
            row = dict(metrics)
            for hook in hooks:
                answer = hook(i, state, row)
                stop = stop or answer
            last = i == num_steps or stop is not None
            if last or i % log_every == 0:
                values = finite(i, row)
            else:  # what a hook added is known to the host already
                values = finite(i, {name: row[name] for name in row if name not in metrics})
            if values:
                values["seconds"] = round(time.perf_counter() - clock, 3)
                history.append(i, values)
                for logger in loggers:
                    logger(i, values)
            report(i, values)
            if stop is not None:
                break
            improved = checkpointer is not None and checkpointer.improves(row)
            if checkpointer is not None and (i % checkpointer.every == 0 or improved or received):
                finite(i, metrics)
                save(i, state, row)
            if received:
                if checkpointer is not None:
                    checkpointer.wait()
                raise TrainingInterrupted(i, received[0])
        if stop is not None:
            history.stopped = stop.reason
            if stop.state is not None:
                state = stop.state
        if i > start:
            save(i, state, row)
    return state, history


def _memories(batches: Any, hooks: Sequence[Hook], history: History) -> Iterator[tuple[str, Any]]:
    for name, thing in [
        ("batches", batches),
        *((f"hook/{i}", hook) for i, hook in enumerate(hooks)),
        ("history", history),
    ]:
        if hasattr(thing, "state") and hasattr(thing, "restore"):
            yield name, thing


def _length(batches: Any) -> int | None:
    try:
        return len(batches)
    except TypeError:
        return None


def _not_finite(i: int, bad: Mapping[str, float], checkpointer: Checkpointer | None) -> str:
    named = ", ".join(f"{name} is {value}" for name, value in bad.items())
    message = (
        f"step {i}: {named}. Lower the learning rate, clip the gradient, or look in the data for NaN and for labels "
        "outside the model's classes"
    )
    if checkpointer is not None:
        checkpointer.wait()
    if checkpointer is not None and checkpointer.steps:
        message += f"; the last good checkpoint is step {checkpointer.steps[-1]} in {checkpointer.folder}"
    return message


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT, so that the step in progress ends first; a second SIGINT acts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may install handlers
        return

    def note(number, frame):
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
