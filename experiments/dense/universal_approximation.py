"""One hidden layer fits a curve better the wider it is: held-out error below 3 % of the curve's spread at 64 units.

    python -m experiments.dense.universal_approximation

Data: synthetic, 256 noise-free points of one fixed curve; 1,000 points between them are held out.

f(x) = sin(3 x) + 0.5 sin(7 x + 1) + 0.5 |x|, x in [-2, 2], by nets 1-h-1 of tanh units with h = 1, 2, 4, ... trained by
Adam on all points at once, from several starts in one program for each width. Beside them the same number of hidden
units without a nonlinearity, which however wide is a straight line. The theorem (Cybenko 1989; Hornik 1991) promises
that a good net exists for every error, not that training finds it: hence the starts, and the median over them. From
about 16 units on it is the training that limits the fit, and the error no longer falls with every doubling.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.nets import Repeated
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import losses, nn, optim, train, viz
from jaxdl.models.dense import MLP
from jaxdl.objectives import regression

ERROR = Claim(
    "median held-out error (RMS) at 64 hidden units, in percent of the curve's spread", 3.0, "lower"
)
FALLS = Claim("share of the doublings from 1 to 16 units at which the median error falls, in percent", 100.0)
GAIN = Claim("how many times the error of the best straight line is that of 64 hidden units", 25.0)
UPDATES_PER_CALL = 500


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    widths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Hidden units of the nets; 1 to 64 in doublings must be among them."""
    num_starts: int = 8
    """Nets of each width, from different initial weights."""
    num_updates: int = 20_000
    """Full-batch updates of each net; a multiple of 500."""
    learning_rate: float = 0.01
    """Adam's rate at the start; it follows a cosine to 0."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_starts=2, num_updates=1000),
    "full": Config(preset="full", num_starts=32, num_updates=100_000),
}


def curve(x: np.ndarray) -> np.ndarray:
    """The function to learn."""
    return np.sin(3 * x) + 0.5 * np.sin(7 * x + 1) + 0.5 * np.abs(x)


def table(x: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs and targets, float32 [N, 1]."""
    return {"x": x[:, None].astype(np.float32), "y": curve(x)[:, None].astype(np.float32)}


def train_width(run: Run, name: str, model: MLP, training):
    """Trains a net from every start in one program; returns the stacked states and the history."""
    config = run.config
    tx = optim.adam(optim.cosine_decay(config.learning_rate, config.num_updates))
    create = lambda key: train.create_train_state(key, model.init(key, training["x"], train=False), tx)
    states = jax.jit(jax.vmap(create))(jax.random.split(jax.random.key(config.seed), config.num_starts))
    update = train.make_update(train.backprop(regression(model, losses.squared_error)), tx)
    # One update of all starts, many times: the points are the same each time and stand in memory once.
    population = train.population_step(update)

    def call(states, batch):
        states, metrics = jax.lax.scan(
            lambda states, _: population(states, batch), states, length=UPDATES_PER_CALL
        )
        return states, {"loss": jnp.median(metrics["loss"][-1]), "loss/best": jnp.min(metrics["loss"][-1])}

    calls = config.num_updates // UPDATES_PER_CALL
    return run.fit(
        jax.jit(call, donate_argnums=0),
        states,
        Repeated(training),
        num_steps=calls,
        log_every=max(1, calls // 20),
        part=name,
    )


def main(config: Config) -> int:
    """Trains nets of every width, and the linear twin of one of them."""
    if config.num_updates % UPDATES_PER_CALL:
        raise ValueError(f"num_updates must be a multiple of {UPDATES_PER_CALL}, got {config.num_updates}")
    doublings = [2**i for i in range(7)]
    if not set(doublings) <= set(config.widths):
        raise ValueError(f"widths must hold {doublings}, got {config.widths}")
    training = table(np.linspace(-2, 2, 256))
    held_out = table(np.random.default_rng(config.seed).uniform(-2, 2, 1000))
    spread = held_out["y"].std()
    run = Run("dense.universal_approximation", config)

    def predicted(model, states, x):
        return np.asarray(
            jax.vmap(lambda params: model.apply({"params": params}, x, train=False))(states.params)
        )

    rows, errors, fits = [], {}, {}
    grid = np.linspace(-2, 2, 400)
    linear = ("32 linear units", MLP((32,), 1, activation=nn.identity))
    for name, model in [
        *((f"{h} tanh units", MLP((h,), 1, activation=nn.tanh)) for h in config.widths),
        linear,
    ]:
        states, history = train_width(run, name.replace(" ", "-"), model, training)
        wrong = predicted(model, states, held_out["x"]) - held_out["y"]
        rms = 100 * np.sqrt(np.mean(wrong[..., 0] ** 2, axis=1)) / spread
        errors[name] = rms
        rows.append(
            {
                "net": name,
                "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(states.params)),
                "median error %": float(np.median(rms)),
                "best start %": float(rms.min()),
                "worst start %": float(rms.max()),
                "seconds": history.last("seconds"),
            }
        )
        if name in ("2 tanh units", "8 tanh units", "64 tanh units", linear[0]):
            middle = int(np.argsort(rms)[len(rms) // 2])
            fits[name] = (grid, predicted(model, states, table(grid)["x"])[middle, :, 0])
    by_width = {h: errors[f"{h} tanh units"] for h in config.widths}
    medians = [float(np.median(by_width[h])) for h in doublings]
    line = np.polyfit(training["x"][:, 0], training["y"][:, 0], 1)
    straight = 100 * np.sqrt(np.mean((np.polyval(line, held_out["x"]) - held_out["y"]) ** 2)) / spread
    rows.append(
        {**dict.fromkeys(rows[0], ""), "net": "least squares line", "median error %": float(straight)}
    )
    run.figure("fits", lambda: viz.fitted_line(training["x"][:, 0], training["y"][:, 0], fits))
    run.figure("error_by_width", lambda: error_by_width(by_width, straight))
    fell = [wider < narrower for narrower, wider in itertools.pairwise(medians[:5])]
    return run.finish(
        [(ERROR, medians[-1]), (FALLS, 100 * float(np.mean(fell))), (GAIN, float(straight / medians[-1]))],
        rows,
        try_next=["python -m experiments.dense.universal_approximation --preset=full"],
    )


def error_by_width(errors: dict[int, np.ndarray], straight: float):
    """The held-out error of every start, and the median, against the width; both axes logarithmic."""
    widths = sorted(errors)
    figure = viz.fitted_line(
        np.repeat(widths, [len(errors[h]) for h in widths]),
        np.concatenate([errors[h] for h in widths]),
        {
            "median over the starts": (widths, [np.median(errors[h]) for h in widths]),
            "least squares line": (widths, [straight] * len(widths)),
        },
        x_name="hidden units",
        y_name="held-out error, % of the spread",
        data_name="one start",
    )
    (axes,) = figure.axes
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
