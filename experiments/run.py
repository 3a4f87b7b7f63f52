"""The folder of a run and the check of its claim; and what is done with a finished run.

python -m experiments.run RUN_FOLDER                     what a run did: its settings, claim and result
python -m experiments.run RUN_FOLDER --predict=FILE      apply its best checkpoint to your own image or table
"""

import contextlib
import dataclasses
import datetime
import importlib
import importlib.util
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import jaxdl
from experiments.settings import EXIT_CLAIM, Settings, reported_errors
from jaxdl import checks, files, train
from jaxdl.types import Array, ModelState, Params, Step


@dataclasses.dataclass(frozen=True)
class Claim:
    """A number that a run must reach on held-out data.

    Attributes:
      text: one sentence.
      expected: the bar, in the unit that the sentence says.
      better: whether `measured` must be at least ("higher") or at most ("lower") the bar.
    """

    text: str
    expected: float
    better: Literal["higher", "lower"] = "higher"

    def met(self, measured: float) -> bool:
        """Whether the measured value reaches the bar; NaN does not."""
        return measured >= self.expected if self.better == "higher" else measured <= self.expected


@dataclasses.dataclass(frozen=True)
class Applied:
    """A trained model as `--predict` needs it.

    Attributes:
      state: a fresh state with the structure of the checkpoint.
      apply: `(params, model_state, batch) -> logits [B, K]`.
      read: from a file to a batch; raises ValueError for one that does not fit.
      class_names: K names.
      part: which of the run's checkpoints, where it trained several nets.
    """

    state: Any
    apply: Callable[[Params, ModelState, Mapping[str, Any]], Array]
    read: Callable[[pathlib.Path], Mapping[str, np.ndarray]]
    class_names: Sequence[str]
    part: str = ""


class Run:
    """One run's folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, figures/, result.json.

    A run that trains several nets has metrics/NET.jsonl, tensorboard/NET and checkpoints/NET for each.
    """

    def __init__(self, name: str, config: Settings):
        self.name = name
        self.config: Any = config  # the experiment's own settings
        self.console = Console(stderr=False, quiet=jax.process_index() != 0)
        self.folder = _run_folder(name, config)
        self.writes = jax.process_index() == 0
        self.seconds = 0.0
        self.tables: dict[str, list[dict[str, Any]]] = {}
        about = {"experiment": name, "settings": _plain(config), "versions": _versions()}
        path = self.folder / "config.json"
        if self.writes:  # the other processes may come later and find what this one wrote
            if not path.exists():
                files.write_json(path, about)
            elif config.resume:
                _check_same_settings(files.read_json(path), about, path)
            else:
                raise FileExistsError(
                    f"{self.folder} holds a run already; add --resume to continue it, or choose another --output-dir"
                )
        self.console.print(f"run folder: [bold]{self.folder}[/bold]")

    def fit(
        self,
        step: Step,
        state: Any,
        batches: Any,
        *,
        num_steps: int,
        part: str = "",
        monitor: str | None = None,
        mode: str = "max",
        save_every: int = 1000,
        **options: Any,
    ) -> tuple[Any, train.History]:
        """`train.fit` with this folder's history, TensorBoard events and checkpoints; resumes when asked to.

        Args:
          part: name of the net, where a run trains several.
          monitor, mode: what `--predict` takes for the best checkpoint; None takes the last one.
          save_every: steps between checkpoints.
          options: passed to `train.fit`.
        """
        log = self.folder / (f"metrics/{part}.jsonl" if part else "metrics.jsonl")
        history = train.History(log if self.writes else None)
        checkpointer = train.Checkpointer(
            self.checkpoints(part), every=save_every, monitor=monitor, mode=mode
        )
        if history.path is not None and not checkpointer.steps:  # a run cut off before its first checkpoint
            history.path.unlink(missing_ok=True)
        with _tensorboard(self.folder / "tensorboard" / part if self.writes else None) as loggers:
            state, history = train.fit(
                step,
                state,
                batches,
                num_steps=num_steps,
                history=history,
                checkpointer=checkpointer,
                resume=self.config.resume,
                loggers=loggers,
                **options,
            )
        self.seconds += history.last("seconds")
        return state, history

    def checkpoints(self, part: str = "") -> pathlib.Path:
        """Folder of the checkpoints of a net."""
        return self.folder / "checkpoints" / part

    def figure(self, name: str, draw: Callable[[], Any]) -> None:
        """Writes `figures/NAME.png` from a function that returns a Matplotlib figure; says so where it is missing."""
        if not self.writes:
            return
        if importlib.util.find_spec("matplotlib") is None:
            self.console.print(f"no figures/{name}.png: pip install 'jaxdl\\[plots]'")
            return
        with files.atomic_path(self.folder / "figures" / f"{name}.png") as path:
            draw().savefig(path, dpi=120)

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Prints a table besides the main one, and keeps it for result.json."""
        self.tables[title] = [dict(row) for row in rows]
        self.console.print(_table(title, rows))

    def finish(
        self,
        measured: Sequence[tuple[Claim, float]],
        table: Sequence[Mapping[str, Any]] = (),
        try_next: Sequence[str] = (),
    ) -> int:
        """Checks the claims, writes result.json, prints the tables; returns the exit code.

        Args:
          measured: each claim with its measured value, the main one first. A smoke run checks none.
          table: rows of the results table.
          try_next: commands to print.
        """
        entries = [
            {
                "claim": claim.text,
                "expected": claim.expected,
                "measured": value,
                "passed": None if self.config.preset == "smoke" else claim.met(value),
                "seconds": round(self.seconds, 3),
                "seed": self.config.seed,
            }
            for claim, value in measured
        ]
        result = {**entries[0], "also": entries[1:], "table": list(table), "machine": _machine()}
        if self.tables:
            result["tables"] = self.tables
        if self.writes:
            files.write_json(self.folder / "result.json", result)
        if table:
            self.console.print(_table(f"{self.name}", table))
        self.console.print(_claims_table(entries))
        figures = sorted(p.name for p in (self.folder / "figures").glob("*.png"))
        if figures:
            self.console.print(f"pictures in {self.folder / 'figures'}: {', '.join(figures)}")
        if try_next:
            self.console.print("try next:")
            for command in try_next:
                self.console.print(f"  [bold]{command}[/bold]", soft_wrap=True)
        return EXIT_CLAIM if any(entry["passed"] is False for entry in entries) else 0


def _run_folder(name: str, config: Settings) -> pathlib.Path:
    if config.output_dir is not None:
        folder = config.output_dir
        if config.resume and not (folder / "config.json").exists():
            raise FileNotFoundError(f"{folder} holds no run to resume; leave out --resume to start one there")
        return folder
    root = pathlib.Path("runs") / name
    if config.resume:
        runs = sorted(path.parent for path in root.glob("*/config.json"))
        if not runs:
            raise FileNotFoundError(f"there is no run in {root} to resume; leave out --resume to start one")
        return runs[-1]
    if config.num_processes > 1:
        raise ValueError("several processes write to one folder: give all of them the same --output-dir")
    return root / datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _plain(config: Settings) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, pathlib.Path) else value
        for name, value in dataclasses.asdict(config).items()
    }


# What may change between a run and its continuation without changing its numbers.
_FREE = ("resume", "output_dir", "data_dir", "devices", "coordinator", "num_processes", "process_id")


def _check_same_settings(old: Mapping[str, Any], new: Mapping[str, Any], path: pathlib.Path) -> None:
    if old["experiment"] != new["experiment"]:
        raise ValueError(
            f"{path} is a run of {old['experiment']}, not of {new['experiment']}; choose another --output-dir"
        )
    different = [
        f"--{name.replace('_', '-')} was {old['settings'].get(name)}, is {value}"
        for name, value in new["settings"].items()
        if name not in _FREE and old["settings"].get(name) != _json_like(value)
    ]
    if different:
        raise ValueError(f"cannot resume {path.parent} with other settings: {'; '.join(different)}")


def _json_like(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _versions() -> dict[str, str]:
    from importlib import metadata

    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "jaxdl": jaxdl.__version__,
        "python": platform.python_version(),
        **{n: metadata.version(n) for n in names},
    }


def _machine() -> dict[str, Any]:
    devices = jax.devices()
    return {
        "devices": len(devices),
        "kind": devices[0].device_kind,
        "cores": os.cpu_count(),
        "processes": jax.process_count(),
    }


@contextlib.contextmanager
def _tensorboard(folder: pathlib.Path | None):
    if folder is None or importlib.util.find_spec("tensorboardX") is None:
        yield []
        return
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder))

    def log(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    try:
        yield [log]
    finally:
        writer.close()


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    return table


def _claims_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="claim")
    for name in ("claim", "expected", "measured", "passed"):
        table.add_column(name, justify="left" if name == "claim" else "right", overflow="fold")
    for entry in entries:
        passed = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "not checked"}[entry["passed"]]
        table.add_row(entry["claim"], f"{entry['expected']:g}", f"{entry['measured']:.6g}", passed)
    return table


@dataclasses.dataclass(frozen=True)
class Apply:
    """Shows a finished run, or applies it to a file of yours."""

    run_folder: tyro.conf.Positional[pathlib.Path]
    """Folder of the run, such as runs/vision.lenet_digits/2026-01-31_12-00-00."""
    predict: pathlib.Path | None = None
    """An image (PNG, JPEG), an array (.npy) or a table (.csv) to apply the run's best checkpoint to."""
    top: int = 3
    """How many classes to print for each row."""


def load_run(folder: pathlib.Path) -> tuple[Any, Settings]:
    """The experiment's module and the settings of a run."""
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no config.json")
    about = files.read_json(path)
    module = importlib.import_module(f"experiments.{about['experiment']}")
    config_type = type(module.PRESETS["default"])
    fields = {field.name: field for field in dataclasses.fields(config_type)}
    unknown = sorted(set(about["settings"]) - set(fields))
    if unknown:
        raise ValueError(f"{path} has settings that this version does not know: {', '.join(unknown)}")
    values = {
        name: pathlib.Path(value)
        if name in ("output_dir", "data_dir") and value is not None
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in about["settings"].items()
    }
    return module, config_type(**values)


def apply_run(arguments: Apply) -> int:
    """What `python -m experiments.run` does."""
    console = Console()
    module, config = load_run(arguments.run_folder)
    if arguments.predict is None:
        settings = [{"setting": name, "value": str(value)} for name, value in _plain(config).items()]
        console.print(_table(f"{arguments.run_folder}", settings))
        path = arguments.run_folder / "result.json"
        if path.exists():
            result = files.read_json(path)
            console.print(_claims_table([result, *result["also"]]))
        else:
            console.print("not finished: no result.json yet")
        return 0
    if not arguments.predict.exists():
        raise FileNotFoundError(f"there is no file {arguments.predict}")
    checks.at_least(1, top=arguments.top)
    if not hasattr(module, "applied"):
        raise ValueError(f"{module.__name__} has no model to apply to a file")
    applied = module.applied(config)
    batch = applied.read(arguments.predict)
    checkpointer = train.Checkpointer(arguments.run_folder / "checkpoints" / applied.part)
    restored = checkpointer.restore_best(applied.state)
    checkpointer.close()
    prediction = train.predict(applied.apply, restored.state.params, restored.state.model_state, [batch])
    rows = []
    for i, probabilities in enumerate(np.asarray(prediction.probabilities)):
        order = np.argsort(-probabilities)[: arguments.top]
        likely = ", ".join(f"{applied.class_names[k]} {probabilities[k]:.3f}" for k in order)
        rows.append({"row": i, "class": applied.class_names[order[0]], "probabilities": likely})
    console.print(_table(f"{arguments.predict} by step {restored.step} of {arguments.run_folder}", rows))
    return 0


def main() -> None:
    """The command line of this module."""
    arguments = tyro.cli(Apply, description=__doc__, prog="python -m experiments.run")
    with reported_errors():
        sys.exit(apply_run(arguments))


if __name__ == "__main__":
    main()
