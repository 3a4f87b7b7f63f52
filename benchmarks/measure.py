"""What a row of the table is, and how its sides are timed."""

import contextlib
import dataclasses
import gc
import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import machine

# Trains so many units (steps, epochs), waits until they are done, and returns a loss to compare, float [] or
# [N]: the mean over these units, or the last one where a row's blocks are whole runs.
Run = Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class Side:
    """One way to do the row's work.

    Attributes:
      name: column of the table.
      build: makes the net and its data; frameworks are imported here, not before.
      needs: importable packages without which the side is reported as not installed.
      quantum: units that one call does at least: 8 where eight steps are one program.
    """

    name: str
    build: Callable[[], Run]
    needs: tuple[str, ...] = ()
    quantum: int = 1


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on the time of one side over the time of another.

    Attributes:
      text: what is claimed.
      over: side whose time is divided.
      under: side by whose time it is divided.
      at_least: lower bound of the ratio, or None.
      at_most: upper bound of the ratio, or None.
    """

    text: str
    over: str
    under: str
    at_least: float | None = None
    at_most: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
      name: what `--row` takes.
      trains: the net, the data, the optimizer.
      sides: the first is ours, to which the others are compared.
      targets: what is to be reached.
      unit: what a time is per.
      units: units in one block.
      whole: a block is one training run from the first weights to the last, and its results are compared;
        otherwise a block continues the training, and mean losses over the second `check_units` are compared.
      check_units: see `whole`; a multiple of every quantum.
      tolerance: largest relative difference between the losses of two sides.
      limit: seconds after which no further turn is begun. A side whose block would take longer is left out.
    """

    name: str
    trains: str
    sides: Sequence[Side]
    targets: Sequence[Target] = ()
    unit: str = "step"
    units: int = 64
    whole: bool = False
    check_units: int = 8
    tolerance: float = 1e-3
    limit: float = 45.0


class DisagreementError(AssertionError):
    """Two sides of a row do not compute the same thing, so their times say nothing."""


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _no_compilation_cache() -> Iterator[None]:
    """A program found on disk would make the first call look fast."""
    enabled = jax.config.jax_enable_compilation_cache  # pyrefly: ignore[missing-attribute] - made at run time
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX reads the setting once, at the first compilation
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()


def _seconds(run: Run, units: int) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run(units)
    return time.perf_counter() - start, result


def _disagreement(row: Row, losses: dict[str, np.ndarray]) -> float:
    """The largest relative difference from the first side.

    Raises:
      DisagreementError: it is above the row's tolerance, or a loss is not finite.
    """
    reference, expected = next(iter(losses.items()))
    worst = 0.0
    for name, got in losses.items():
        if not np.all(np.isfinite(got)):
            raise DisagreementError(f"row {row.name}: the loss of {name} is {got}")
        difference = float(np.max(np.abs(got - expected) / np.maximum(np.abs(expected), 1e-6)))
        if difference > row.tolerance:
            raise DisagreementError(
                f"row {row.name}: {name} and {reference} do not compute the same: losses {got} and "
                f"{expected}, relative difference {difference:.2g}, allowed {row.tolerance:.2g}"
            )
        worst = max(worst, difference)
    return worst


def _quartiles(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(q) for q in np.quantile(values, (0.25, 0.75))]


def _ratio(over: np.ndarray, under: np.ndarray) -> dict[str, Any]:
    """Ratio of the medians, and the quartiles of the ratios within one turn."""
    return {"ratio": float(np.median(over) / np.median(under)), "quartiles": _quartiles(over / under)}


def _judge(target: Target, times: dict[str, np.ndarray]) -> dict[str, Any]:
    bounds = {"at_least": target.at_least, "at_most": target.at_most}
    judged = {
        "text": target.text,
        "over": target.over,
        "under": target.under,
        **{name: bound for name, bound in bounds.items() if bound is not None},
    }
    if target.over not in times or target.under not in times:
        return {**judged, "met": None}
    measured = _ratio(times[target.over], times[target.under])
    met = (target.at_least is None or measured["ratio"] >= target.at_least) and (
        target.at_most is None or measured["ratio"] <= target.at_most
    )
    return {**judged, **measured, "met": met}


def _prepared(row: Row, record: dict[str, Any], side: Side) -> Run | None:
    """Builds a side and makes its first call; None, with a reason in the record, where it cannot run."""
    absent = [package for package in side.needs if importlib.util.find_spec(package) is None]
    if absent:
        record["sides"][side.name] = {"missing": f"{' and '.join(absent)} not installed"}
        return None
    run = side.build()
    first, _ = _seconds(run, side.quantum)
    record["sides"][side.name] = {"first_call_seconds": first}
    return run


def _window(row: Row, side: Side, run: Run) -> np.ndarray:
    """Mean loss over the second window of units: all sides have trained equally, on every batch."""
    if row.check_units > side.quantum:
        run(row.check_units - side.quantum)  # the first call was the beginning of the first window
    return np.asarray(run(row.check_units), np.float64)


def _expected_seconds(row: Row, side: Side, run: Run) -> float:
    """Of one block, from a short piece of one."""
    units = math.ceil(max(row.units // 64, 1) / side.quantum) * side.quantum
    return _seconds(run, units)[0] / units * row.units


def measure(row: Row, repeats: int) -> dict[str, Any]:
    """Runs a row and returns its record, ready for JSON.

    Args:
      row: what to run.
      repeats: turns, at least one; each side does one block in each. Fewer where the row's time limit comes
        first.

    Returns:
      Per side the seconds of the first call and, per unit, median and quartiles, and its time over the first
      side's; the targets and whether they are met; how far the losses are apart; the machine's matmul rate
      before and after; the share of the cores that other processes used.

    Raises:
      DisagreementError: the sides do not compute the same.
    """
    began = time.perf_counter()
    record: dict[str, Any] = {"trains": row.trains, "unit": row.unit, "sides": {}}
    rates = machine.matmul_rates()
    watch = machine.Watch()
    with _no_compilation_cache(), _no_garbage_collection():
        runs: dict[str, tuple[Side, Run]] = {}
        losses: dict[str, np.ndarray] = {}
        for side in row.sides:
            run = _prepared(row, record, side)
            if run is None:
                continue
            if not row.whole:
                losses[side.name] = _window(row, side, run)
            expected = _expected_seconds(row, side, run)
            if expected > row.limit and runs:  # never the first side, which all are compared to
                record["sides"][side.name]["missing"] = f"too slow, about {expected:.0f} s a block"
                continue
            runs[side.name] = side, run
        if not row.whole:
            record["loss_difference"] = _disagreement(row, losses)

        times: dict[str, list[float]] = {name: [] for name in runs}
        shuffle = np.random.default_rng(0)  # so that no side always follows the same other one
        last = 0.0
        for turn in range(repeats):
            start = time.perf_counter()
            if turn and start - began + last > row.limit:
                break
            for name in shuffle.permutation(list(runs)):
                side, run = runs[name]
                gc.collect()
                # Steady state is what training is: the first steps after another side's refill caches, wake threads,
                # and meet the threads that the other has left spinning. With one step LeNet-5 read 25 % slower.
                run(math.ceil(row.units / 2 / side.quantum) * side.quantum if not row.whole else side.quantum)
                seconds, result = _seconds(run, row.units)
                times[name].append(seconds / row.units)
                if row.whole and turn == 0:
                    losses[name] = np.asarray(result, np.float64)
            if row.whole and turn == 0:
                record["loss_difference"] = _disagreement(row, {name: losses[name] for name in runs})
            last = time.perf_counter() - start

    reference, arrays = row.sides[0].name, {name: np.asarray(values) for name, values in times.items()}
    for name, values in arrays.items():
        record["sides"][name] |= {
            "median_seconds": float(np.median(values)),
            "quartile_seconds": _quartiles(values),
            "units_per_block": row.units,
            "blocks": len(values),
            f"over_{reference}": _ratio(values, arrays[reference]),
        }
    record["targets"] = [_judge(target, arrays) for target in row.targets]
    record["others_share_of_cores"] = watch.others()
    after = machine.matmul_rates()
    record["matmul_gflops"] = {name: [rates[name], after[name]] for name in rates}
    record["seconds"] = time.perf_counter() - began
    return record
