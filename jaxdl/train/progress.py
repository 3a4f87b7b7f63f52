"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping

Report = Callable[[int, Mapping[str, float]], None]

_SHOWN = 4  # metrics in the line; the rest is in the history


def _metrics_text(values: Mapping[str, float]) -> str:
    names = [name for name in values if name not in ("grad_norm", "update_norm", "learning_rate", "seconds")]
    names.sort(key=lambda name: "loss" not in name.split("/"))  # the loss first
    return "  ".join(f"{name} {values[name]:.4g}" for name in names[:_SHOWN])


def _count_text(unit: str, i: int, num_steps: int, steps_per_epoch: int | None) -> str:
    if unit == "epoch" and steps_per_epoch:
        return f"epoch {-(-i // steps_per_epoch)}/{-(-num_steps // steps_per_epoch)}"
    return f"{unit if unit != 'epoch' else 'step'} {i}/{num_steps}"


@contextlib.contextmanager
def make_progress(
    unit: str | None, start: int, num_steps: int, steps_per_epoch: int | None
) -> Iterator[Report]:
    """Gives `report(i, values)`: call it after every step; `values` are the logged metrics, or empty."""
    if unit is None:
        yield lambda i, values: None
    elif sys.stderr.isatty():
        with _bar(unit, start, num_steps, steps_per_epoch) as report:
            yield report
    else:
        yield _lines(unit, start, num_steps, steps_per_epoch)


def _lines(unit: str, start: int, num_steps: int, steps_per_epoch: int | None) -> Report:
    began = time.perf_counter()

    def report(i: int, values: Mapping[str, float]) -> None:
        if not values:
            return
        rate = (i - start) / max(time.perf_counter() - began, 1e-9)
        left = (num_steps - i) / rate
        count = _count_text(unit, i, num_steps, steps_per_epoch)
        print(
            f"{count}  {_metrics_text(values)}  {rate:.3g} steps/s  {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return report


@contextlib.contextmanager
def _bar(unit: str, start: int, num_steps: int, steps_per_epoch: int | None) -> Iterator[Report]:
    from rich import progress as bars
    from rich.console import Console

    bar = bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=24),
        bars.TextColumn("{task.fields[metrics]}"),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        refresh_per_second=5,
    )
    began = time.perf_counter()
    with bar:
        task = bar.add_task(
            _count_text(unit, start, num_steps, steps_per_epoch),
            total=num_steps,
            completed=start,
            metrics="",
            rate="",
        )

        def report(i: int, values: Mapping[str, float]) -> None:
            bar.update(task, completed=i, description=_count_text(unit, i, num_steps, steps_per_epoch))
            if values:
                rate = (i - start) / max(time.perf_counter() - began, 1e-9)
                bar.update(task, metrics=_metrics_text(values), rate=f"{rate:.3g} steps/s")

        yield report
