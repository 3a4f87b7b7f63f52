"""The settings that all experiments share, and the command line made of them."""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import tyro
from rich.console import Console
from rich.markup import escape

from jaxdl import checks, train
from jaxdl.types import Array, GradFn, Objective

EXIT_ERROR, EXIT_USAGE, EXIT_CLAIM = 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that mean the same in every experiment."""

    preset: Literal["default", "smoke", "full"] = "default"
    """Which defaults to start from. default: minutes on two CPU cores. smoke: a few steps, no claim is checked.
    full: reaches the published figure."""
    seed: int = 0
    """Root of all randomness: initial parameters, order of the data, noise."""
    output_dir: pathlib.Path | None = None
    """The run's folder. None: runs/EXPERIMENT/DATE-TIME, or with --resume the newest one there."""
    data_dir: pathlib.Path | None = None
    """Where imported data sets lie. None: JAXDL_DATA_DIR, else ~/.cache/jaxdl."""
    resume: bool = False
    """Continue the run in output_dir from its last checkpoint, bit for bit as if it had not been interrupted."""
    devices: int | None = None
    """Devices to split each batch over. None: all there are. More than there are on CPU: simulated ones."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the computation; parameters stay float32. float16 scales the loss dynamically."""
    coordinator: str | None = None
    """HOST:PORT of process 0 when several processes train together. None: SLURM, Kubernetes and TPU pods are asked."""
    num_processes: int = 1
    """How many processes train together."""
    process_id: int | None = None
    """This process's number, from 0, when several train together."""


def estimator(objective: Objective, config: Settings) -> GradFn:
    """The gradient estimator of the precision asked for."""
    if config.precision == "float32":
        return train.backprop(objective)
    return train.mixed_precision(objective, config.precision)


def create_state(key: Array, variables: Mapping[str, Any], tx: Any, config: Settings) -> train.TrainState:
    """A train state, with a loss scale where the precision needs one."""
    extra = train.loss_scale() if config.precision == "float16" else {}
    return train.create_train_state(key, {**variables, **extra}, tx)


def compile_step(grad_fn: GradFn, tx: Any, config: Settings) -> train.ShardedStep:
    """The finished step: update, split over the devices, compiled, donated."""
    update = train.make_update(grad_fn, tx, skip_nonfinite=config.precision == "float16")
    return train.shard_step(update, train.data_mesh(config.devices))


def launch(main: Callable[[Any], int], presets: Mapping[str, Settings]) -> None:
    """The command line of an experiment: parses the settings, runs `main`, turns errors into one message.

    Exit codes: 0 claim met, 1 an error, 2 wrong arguments, 3 claim not met, 130 and 143 interrupted.
    """
    name = "default"
    # The preset decides the defaults of all other settings, so it is read first.
    for before, argument in zip([*sys.argv, ""], [*sys.argv[1:], ""]):
        if argument.startswith("--preset="):
            name = argument.split("=", 1)[1]
        elif before == "--preset":
            name = argument
    default = presets.get(name, presets["default"])
    config = tyro.cli(
        type(default),
        default=default,
        description=sys.modules["__main__"].__doc__,
        prog=f"python -m {_main_module()}",
    )
    if config.preset not in presets:
        sys.exit(
            _complain(
                f"this experiment has no preset {config.preset!r}; it has {', '.join(presets)}", EXIT_USAGE
            )
        )
    with reported_errors():
        prepare_devices(config)
        code = main(config)
        sys.exit(code)


@contextlib.contextmanager
def reported_errors():
    """Turns the errors that a user can mend into one message and an exit code. `JAXDL_TRACEBACK=1` shows all."""
    try:
        yield
    except train.TrainingInterrupted as error:
        again = " ".join(["python -m", _main_module(), *sys.argv[1:]])
        again += "" if "--resume" in sys.argv else " --resume"
        sys.exit(_complain(f"{error}; the state is saved. Continue with: {again}", 128 + error.signal_number))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted", 130))
    except (OSError, ValueError, TypeError, FloatingPointError, ModuleNotFoundError) as error:
        if os.environ.get("JAXDL_TRACEBACK"):
            raise
        message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _complain(message, EXIT_ERROR)
        Console(stderr=True).print("JAXDL_TRACEBACK=1 before the command shows where", style="dim")
        sys.exit(EXIT_ERROR)


def _main_module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec else sys.argv[0]


def prepare_devices(config: Settings) -> None:
    """Joins the processes and makes the simulated devices; must come before the first use of JAX's backend."""
    if config.devices is not None:
        checks.at_least(1, devices=config.devices)
        checks.at_least(1, num_processes=config.num_processes)
        platforms = os.environ.get("JAX_PLATFORMS") or ("cpu" if not _accelerator_installed() else "")
        if platforms == "cpu":
            checks.divisible(config.num_processes, "--num-processes", devices=config.devices)
            jax.config.update("jax_num_cpu_devices", config.devices // config.num_processes)
    together = config.num_processes > 1 or config.coordinator is not None
    train.initialize_distributed(
        config.coordinator,
        config.num_processes if together else None,
        config.process_id if together else None,
    )


def _accelerator_installed() -> bool:
    return any(
        importlib.util.find_spec(name)
        for name in ("jax_cuda12_plugin", "jax_cuda13_plugin", "libtpu", "jax_rocm7_plugin")
    )


def _complain(message: str, code: int) -> int:
    prefix = "[bold red]error:[/bold red] " if code in (EXIT_ERROR, EXIT_USAGE) else ""
    Console(stderr=True).print(prefix + escape(message), soft_wrap=True, highlight=False)
    return code
