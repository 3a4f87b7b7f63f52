"""Of 26 optimizers, each tuned by one sweep, the worst reads 93 % of held-out digits; Nesterov momentum and Adam need
at most 0.7 of the updates of gradient descent.

    python -m experiments.optimizers.race
    python -m experiments.optimizers.race --dataset=mnist

Data: embedded, 1,149 of the training digits to fit, 288 to tune the learning rates by, the 360 held-out ones to judge
by; or real (mnist: 2,000 training, 1,000 validation and all 10,000 test digits; twenty minutes). Import
MNIST once: python -m jaxdl.data import mnist FOLDER

Every first-order optimizer of `jaxdl.optim` trains one net, 64-32-32-10 of ReLU units, at a constant rate for the same
number of passes over the digits. All its learning rates, over three decades, and three seeds for each train in one
program; at the rate with the lowest validation loss in the end, as many nets again start from fresh seeds and are
judged on the held-out digits. (Half a point more or less there comes from the choice between rates that are about as
good.) Speed is judged apart, by the updates until the mean training loss of 20 batches is below 0.1, at whichever rate
is fastest.

`gradient_descent` is what `sgd` is without momentum, `momentum` and `nesterov` are what it is with it. Resilient
backpropagation (`rprop`) is made for whole batches, whose signs do not turn by chance: it has its place among the 26 on
them, one update a pass, and runs on small batches beside them to show the harm.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
import optax

from experiments.populations import Populations, classifier_look
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, optim
from jaxdl.models.dense import MLP
from jaxdl.objectives import classification
from jaxdl.types import Array
from jaxdl.viz import canvas

WORST = {
    "digits": Claim("held-out digits read by the worst tuned optimizer, mean of its nets, in percent", 93.0),
    "mnist": Claim("the same of MNIST's test digits", 85.0),
}
FASTER = Claim(
    "updates to the target training loss over those of gradient descent, the slower of Nesterov and Adam",
    0.7,
    "lower",
)
WINDOW = 20  # batches whose mean is the training loss of an update
LOSS = losses.softmax_cross_entropy_with_integer_labels
PLAIN = "gradient_descent"
QUICK = ("nesterov", "adam")
MISUSED = "rprop"


@dataclasses.dataclass(frozen=True)
class Entrant:
    """An optimizer of the race.

    Attributes:
      family: the panel of the figures that it is drawn in.
      make: from a learning rate to the optimizer.
      middle: of the rates that are tried, on a logarithmic scale.
      whole: one update per pass, on all digits at once.
    """

    family: str
    make: Callable[[Any], optax.GradientTransformation]
    middle: float
    whole: bool = False


def sharpness_aware(rate: Any) -> optax.GradientTransformation:
    """Momentum by the gradient at the worst point within 0.05."""
    uphill = optax.chain(optim.scale_to_norm(1.0), optim.sgd(0.05))
    return optim.sam(optim.momentum(rate), uphill, opaque_mode=True)


# Settings other than the rate are the defaults, but where a comment says why.
MOMENTUM, RATES, ADAM, LAYERS = "momentum", "a rate per weight", "Adam and its kin", "signs and layers"
ENTRANTS = {
    PLAIN: Entrant(MOMENTUM, optim.gradient_descent, 0.3),
    "momentum": Entrant(MOMENTUM, optim.momentum, 0.05),
    "ema_momentum": Entrant(MOMENTUM, optim.ema_momentum, 0.5),
    "nesterov": Entrant(MOMENTUM, optim.nesterov, 0.05),
    "sam": Entrant(MOMENTUM, sharpness_aware, 0.05),
    "lookahead": Entrant(MOMENTUM, lambda rate: optim.lookahead(optim.momentum(rate), 5, 0.5), 0.1),
    "adagrad": Entrant(RATES, optim.adagrad, 0.1),
    "adadelta": Entrant(RATES, optim.adadelta, 3.0),
    "rmsprop": Entrant(RATES, optim.rmsprop, 3e-3),
    # Factored from 32 rows on: the layers here are small.
    "adafactor": Entrant(RATES, partial(optim.adafactor, min_dim_size_to_factor=32), 0.03),
    "delta_bar_delta": Entrant(RATES, optim.delta_bar_delta, 0.1),
    "adam": Entrant(ADAM, optim.adam, 5e-3),
    "adamw": Entrant(ADAM, optim.adamw, 5e-3),
    "adamax": Entrant(ADAM, optim.adamax, 1e-2),
    "nadam": Entrant(ADAM, optim.nadam, 5e-3),
    "amsgrad": Entrant(ADAM, optim.amsgrad, 1e-2),
    "radam": Entrant(ADAM, optim.radam, 1e-2),
    "adabelief": Entrant(ADAM, optim.adabelief, 5e-3),
    "adamomentum": Entrant(ADAM, optim.adamomentum, 3e-3),
    "yogi": Entrant(ADAM, optim.yogi, 1e-2),
    "signsgd": Entrant(LAYERS, optim.signsgd, 1e-3),
    "lion": Entrant(LAYERS, optim.lion, 1e-3),
    MISUSED: Entrant(LAYERS, optim.rprop, 1e-3),
    "rprop, whole batches": Entrant(LAYERS, optim.rprop, 1e-3, whole=True),
    # The rate times the trust coefficient is what counts; one of them is enough to tune.
    "lars": Entrant(LAYERS, partial(optim.lars, trust_coefficient=1.0), 3e-3),
    "lamb": Entrant(LAYERS, optim.lamb, 1e-2),
    # Steps with the size of Adam's, so that one rate suits the matrices and the biases, which Adam takes.
    "muon": Entrant(LAYERS, partial(optim.muon, consistent_rms=0.2), 5e-3),
}


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    dataset: Literal["digits", "mnist"] = "digits"
    """The 1,797 digits that ship with the package, 360 of them held out; or mnist, imported before."""
    optimizers: tuple[str, ...] = tuple(ENTRANTS)
    """Which optimizers run; gradient_descent, nesterov and adam must be among them."""
    num_training: int = 2000
    """How many of the training digits of mnist are used."""
    num_passes: int = 40
    """Passes over the training digits."""
    batch_size: int = 64
    """Digits per update."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers."""
    num_rates: int = 16
    """Learning rates tried for each optimizer, over a factor of 1,000."""
    num_seeds: int = 3
    """Nets trained at each of these rates; at the best rate, as many as at all of them."""
    target_loss: float = 0.1
    """Training loss, averaged over 20 batches, that the updates are counted to."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        preset="smoke",
        optimizers=(PLAIN, *QUICK),
        num_passes=2,
        hidden=(8,),
        num_rates=3,
        num_seeds=1,
    ),
    "full": Config(preset="full", num_passes=200, num_rates=64, num_seeds=10),
}


def read_data(config: Config) -> tuple[dict, dict, dict]:
    """Training, validation and test digits, pixels in [0, 1]."""
    if config.dataset == "digits":
        splits, scale, few = [data.digits(split) for split in ("train", "test")], 16, 288
    else:
        splits, scale, few = (
            [data.as_arrays(data.load("mnist", split, config.data_dir)) for split in ("train", "test")],
            255,
            1000,
        )
    known, test = (
        {"image": data.scale_pixels(part["image"], max_value=scale), "label": part["label"]}
        for part in splits
    )
    training, validation = data.train_test_split(known, test_size=few, seed=config.seed, stratify="label")
    if config.dataset == "mnist":
        training = {name: values[: config.num_training] for name, values in training.items()}
    return training, validation, test


def race(
    run: Run, name: str, nets: Populations, held_out: Callable[[Any], Array]
) -> tuple[dict[str, dict], dict[str, Any]]:
    """Tunes one optimizer and trains it at the best rate; its rows of both tables, and what the figures show of it."""
    config, entrant = run.config, ENTRANTS[name]
    part = name.replace(", ", "-").replace(" ", "-")
    rates = entrant.middle * np.geomspace(1000**-0.5, 1000**0.5, config.num_rates)
    sweep = nets.train_grid(f"{part}-sweep", entrant.make, rates, config.num_seeds)
    loss = sweep.looks["loss"][..., -1].mean(axis=1)
    best = int(np.argmin(np.where(np.isfinite(loss), loss, np.inf)))
    # A loss for each update, which is the mean over the last batches: from `window` updates on.
    window = 1 if entrant.whole else min(WINDOW, sweep.losses.shape[-1])
    smooth = sweep.smooth_losses(window)
    below = smooth < config.target_loss
    updates = np.where(below.any(axis=-1), below.argmax(axis=-1) + window, np.inf).mean(axis=1)
    arrives = bool(np.isfinite(updates.min()))
    fastest = int(updates.argmin()) if arrives else best
    # As many nets again, from other seeds: the program is compiled already.
    count = len(rates) * config.num_seeds
    seeds = config.num_seeds + np.arange(count)
    tuned = nets.train(f"{part}-tuned", entrant.make, np.full(count, rates[best]), seeds)
    right = 100 * np.asarray(held_out(tuned.params))
    rows = {
        "judged": {
            "optimizer": name,
            "best rate": float(rates[best]),
            "train loss": float(tuned.smooth_losses(window)[:, -1].mean()),
            "held-out %": float(right.mean()),
            "± of a net": float(right.std(ddof=1)),
            "seconds": sweep.seconds + tuned.seconds,
        },
        "speed": {
            "optimizer": name,
            "fastest rate": float(rates[fastest]),
            f"updates to {config.target_loss:g}": float(updates.min()) if arrives else "never",
            "good rates, decades": float(3 * np.sum(loss < 1.25 * loss[best]) / (len(rates) - 1)),
        },
    }
    curve = np.median(smooth[fastest], axis=0)
    return rows, {
        "updates": float(updates.min()),
        "right": right,
        "sweep": (rates / rates[best], loss),
        "curve": ((window + np.arange(len(curve))) / sweep.updates_per_pass, curve),
    }


def main(config: Config) -> int:
    """Races all optimizers; tunes on validation digits, judges on test digits."""
    if not {PLAIN, *QUICK} <= set(config.optimizers) <= set(ENTRANTS):
        raise ValueError(
            f"optimizers must hold {', '.join((PLAIN, *QUICK))} and others of {', '.join(ENTRANTS)}; "
            f"got {', '.join(config.optimizers)}"
        )
    training, validation, test = read_data(config)
    run = Run("optimizers.race", config)
    model, one = MLP(config.hidden, 10), training["image"][:1]
    look = classifier_look(model, LOSS)
    nets = {
        whole: Populations(
            run,
            lambda key: model.init(key, one, train=False),
            classification(model, LOSS),
            training,
            num_passes=config.num_passes,
            batch_size=None if whole else config.batch_size,
            look=look,
            looked_at=validation,
        )
        for whole in (False, True)
    }
    held_out = jax.jit(jax.vmap(lambda params: look(params, test)["accuracy"]))
    judged, speed, results = [], [], {}
    for name in config.optimizers:
        rows, results[name] = race(run, name, nets[ENTRANTS[name].whole], held_out)
        judged.append(rows["judged"])
        speed.append(rows["speed"])
        run.console.print(f"{name}: {rows['judged']['held-out %']:.2f} % held out", highlight=False)
    judged.sort(key=lambda row: -row["held-out %"])
    speed.sort(key=lambda row: results[row["optimizer"]]["updates"])
    run.figure("learning_curves", lambda: learning_curves(results, config.target_loss))
    run.figure("learning_rates", lambda: learning_rates(results))
    run.figure("held_out", lambda: held_out_digits([row["optimizer"] for row in judged], results))
    run.table(f"speed: training loss below {config.target_loss:g}", speed)
    worst = min(row["held-out %"] for row in judged if row["optimizer"] != MISUSED)
    slower = max(results[name]["updates"] for name in QUICK) / results[PLAIN]["updates"]
    return run.finish(
        [(WORST[config.dataset], worst), (FASTER, slower)],
        judged,
        try_next=[
            "python -m experiments.optimizers.learning_rate_sweep",
            "python -m experiments.optimizers.race --batch-size=512",
        ],
    )


def panels_by_family(results: Mapping[str, Any], key: str, title: str, x: str, y: str, lowest: float):
    """A figure with one axes for each family: what `results[name][key]` holds of each optimizer, (x, y).

    Plain gradient descent stands in all of them.
    """
    from matplotlib import ticker

    families: dict[str, list[str]] = {}
    for name, entrant in ENTRANTS.items():
        if name != PLAIN:
            families.setdefault(entrant.family, []).append(name)
    families = {family: names for family, names in families.items() if set(names) & set(results)}
    figure, axes = canvas.panels(len(families), columns=2, width=4.6, height=3.3)
    for panel, (family, names) in zip(axes, families.items()):
        panel.plot(*results[PLAIN][key], label=PLAIN, color=canvas.FAINT, linewidth=3.5)
        for i, name in enumerate(names):  # one look in all figures, whoever is missing
            if name in results:
                color, line, _ = canvas.look(i)
                panel.plot(*results[name][key], label=name, color=color, linestyle=line, linewidth=1.5)
        panel.set_yscale("log")
        panel.set_ylim(lowest, 3)
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
        canvas.style(panel, title=f"{title}: {family}", x=x, y=y)
    canvas.legends_below(figure)
    return figure


def learning_curves(results: Mapping[str, Any], target: float):
    """Training loss at the fastest rate of each optimizer, median of the seeds, until nearly all are at the target."""
    figure = panels_by_family(
        results, "curve", "the race", "passes over the digits", "mean training loss of 20 batches", target / 2
    )
    arrivals = [
        x[y < target][0] for x, y in (result["curve"] for result in results.values()) if y.min() < target
    ]
    for axes in figure.axes:
        axes.axhline(target, color=canvas.INK, linewidth=0.8)
        if arrivals:
            axes.set_xlim(0, 1.1 * max(arrivals))
    return figure


def learning_rates(results: Mapping[str, Any]):
    """Validation loss of the sweep against the learning rate, in multiples of the best one."""
    shown = {name: result for name, result in results.items() if name != MISUSED}  # it is off the scale
    lowest = min(np.nanmin(result["sweep"][1]) for result in shown.values())
    figure = panels_by_family(
        shown,
        "sweep",
        "all rates",
        "learning rate over the best one",
        "validation loss at the end",
        0.9 * lowest,
    )
    for axes in figure.axes:
        axes.set_xscale("log")
    return figure


def held_out_digits(names: list[str], results: Mapping[str, Any]):
    """Held-out accuracy of every tuned net, in the order of the names from above."""
    figure, (axes,) = canvas.panels(1, columns=1, width=6.4, height=0.6 + 0.2 * len(names))
    for i, name in enumerate(names):
        right = results[name]["right"]
        axes.plot(right, np.full(len(right), i), "|", color=canvas.COLORS[0], alpha=0.35, markersize=8)
        axes.plot(right.mean(), i, "o", color=canvas.COLORS[1], markersize=5)
    axes.plot([], [], "|", color=canvas.COLORS[0], label="one net")
    axes.plot([], [], "o", color=canvas.COLORS[1], label="mean")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    canvas.style(axes, title="held-out digits by optimizer, each at its tuned rate", x="read right, %")
    canvas.legends_below(figure)
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
