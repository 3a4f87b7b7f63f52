"""At condition number 1,000 momentum needs a tenth of gradient descent's updates; Nesterov's overshoots 0.8 as far.

    python -m experiments.optimizers.paths

Data: test functions (Rosenbrock, Beale, Himmelblau, Rastrigin), random quadratics, and one piecewise parabola.

On quadratics of condition number kappa, at the settings that are best by theory, every method must contract by its
published factor: gradient descent (kappa - 1) / (kappa + 1), the heavy ball (sqrt(kappa) - 1) / (sqrt(kappa) + 1),
Nesterov 1 - 1 / sqrt(kappa). At equal settings the look-ahead damps steep directions more, so Nesterov's iterates
overshoot less. On Lessard, Recht and Packard's strongly convex function (2016, section 4.6) the heavy ball, at the
settings best for quadratics, circles for ever through three known points, where the other two arrive.

On the four functions every method gets the best of many learning rates over random starts; a table and contours show
how long each takes to a gradient below 1e-3 and where it ends: "at rest" are the starts that get there, "lowest" those
of them at a global minimum, "updates" their median, "path" and what follows are of the path drawn. A grid of starts on
Himmelblau's function shows which of the four minima each is drawn to. On Rastrigin's, gradient descent with a rate
below 1 / L ends in the minimum of the cell where it began, which is what `optimizers.search` is for.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.nets import Repeated
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import optim, search, train, viz
from jaxdl.types import Array
from jaxdl.viz import canvas

FACTOR = Claim(
    "largest deviation of a measured contraction per update from the published one, in percent of it",
    5.0,
    "lower",
)
SPEED = Claim("updates of gradient descent over those of the slower momentum, largest condition number", 10.0)
OVERSHOOT = Claim("Nesterov's overshoot over the heavy ball's, the largest over curvatures", 0.8, "lower")
CYCLE = Claim("distance of the heavy ball from its published cycle, after 1,000 updates", 1e-6, "lower")
ARRIVED = Claim("distance of Nesterov from that function's minimum, after 1,000 updates", 1e-6, "lower")
CELLS = Claim("of random starts on Rastrigin, gradient descent ends in the cell it began in, percent", 99.0)

UPDATES_PER_CALL = 100
DECAY = 0.9  # of momentum, wherever it is not set by theory


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    functions: tuple[str, ...] = ("Rosenbrock", "Beale", "Himmelblau", "Rastrigin")
    """Functions of two numbers to walk on; Himmelblau among them."""
    num_starts: int = 20
    """Random starts per function, method and learning rate."""
    num_rates: int = 32
    """Learning rates tried, evenly spaced in their logarithm."""
    max_updates: int = 2000
    """Updates after which a start that has not arrived is given up."""
    condition_numbers: tuple[int, ...] = (10, 30, 100, 300, 1000)
    """Of the random quadratics; rising."""
    grid: int = 161
    """Starts along each side of Himmelblau's plane."""
    grid_updates: int = 1000
    """Updates of each of them; a multiple of 100."""
    num_cell_starts: int = 2000
    """Random starts on Rastrigin's function."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        preset="smoke",
        functions=("Himmelblau",),
        num_starts=2,
        num_rates=3,
        max_updates=50,
        condition_numbers=(10, 30),
        grid=11,
        grid_updates=100,
        num_cell_starts=20,
    ),
    "full": Config(preset="full", num_starts=128, num_rates=80, max_updates=20_000, grid=641),
}


Box = tuple[tuple[float, float], tuple[float, float]]  # ((lowest x, highest x), (lowest y, highest y))


@dataclasses.dataclass(frozen=True)
class Surface:
    """A function of two numbers, where it is lowest, and how it is looked at.

    Attributes:
      start: of the path that is drawn.
      box: where random starts lie.
      view: what is drawn.
    """

    value: Callable[[Array], Array]
    minima: tuple[tuple[float, float], ...]
    start: tuple[float, float]
    box: Box
    view: Box


SURFACES = {
    "Rosenbrock": Surface(
        search.rosenbrock, ((1.0, 1.0),), (-1.2, 1.0), ((-2, 2), (-1, 3)), ((-1.6, 1.6), (-0.6, 2.1))
    ),
    "Beale": Surface(search.beale, ((3.0, 0.5),), (1.0, 1.0), ((0, 4), (-1, 1)), ((0, 4), (-1.5, 1.5))),
    "Himmelblau": Surface(
        search.himmelblau,
        ((3.0, 2.0), (-2.805118, 3.131313), (-3.779310, -3.283186), (3.584428, -1.848127)),
        (-0.4, -1.5),
        ((-5, 5), (-5, 5)),
        ((-5, 5), (-5, 5)),
    ),
    "Rastrigin": Surface(
        search.rastrigin, ((0.0, 0.0),), (1.65, 2.4), ((-5.12, 5.12), (-5.12, 5.12)), ((-0.6, 3), (-0.6, 3))
    ),
}
METHODS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "gradient descent": optim.gradient_descent,
    "momentum": lambda rate: optim.momentum(rate, DECAY),
    "Nesterov": lambda rate: optim.nesterov(rate, DECAY),
    "AdaGrad": optim.adagrad,
    "RMSProp": optim.rmsprop,
    "Adam": optim.adam,
}


def best_settings(kappa: float) -> dict[str, tuple[optax.GradientTransformation, float]]:
    """For curvatures from 1 to kappa: each method at its best settings, and the factor it then contracts by."""
    root = float(np.sqrt(kappa))
    slow = (root - 1) / (root + 1)
    return {
        "gradient descent": (optim.gradient_descent(2 / (kappa + 1)), (kappa - 1) / (kappa + 1)),
        "momentum": (optim.momentum(4 / (root + 1) ** 2, slow**2), slow),
        "Nesterov": (optim.nesterov(1 / kappa, slow), 1 - 1 / root),
    }


def quadratics(config: Config) -> list[dict]:
    """Contraction and updates of every method on random quadratics of every condition number; rows of a table."""
    turn_key, start_key = jax.random.split(jax.random.key(config.seed))
    axes = jnp.linalg.qr(jax.random.normal(turn_key, (config.num_starts, 20, 20)))[0]
    starts = jax.random.normal(start_key, (config.num_starts, 20))
    rows = []
    for kappa in config.condition_numbers:
        matrices = jnp.einsum("sij,j,skj->sik", axes, jnp.geomspace(1.0, kappa, 20), axes)
        # All starts are one problem: what moves an entry depends on that start's own gradient alone.
        value = lambda x: jnp.einsum("si,sij,sj->", x, matrices, x) / 2  # noqa: B023
        for name, (tx, factor) in best_settings(kappa).items():
            steps = int(40 / -np.log(factor))
            end = jax.jit(lambda x: optim.minimize(value, x, tx, max_iterations=steps, tolerance=0.0))(starts)  # noqa: B023
            error = np.linalg.norm(end.trajectory, axis=-1)
            # Late, where the slowest direction alone is left.
            measured = (error[-1] / error[steps // 2]) ** (1 / (steps - steps // 2))
            deviation = np.abs(np.log(measured) / np.log(factor) - 1)
            rows.append(
                {
                    "method": name,
                    "condition number": kappa,
                    "factor per update": float(np.median(measured)),
                    "by theory": factor,
                    "worst deviation %": float(100 * deviation.max()),
                    "updates to 1e-6": float(np.median(np.argmax(error <= 1e-6 * error[:1], axis=0))),
                }
            )
    return rows


def swings(curvatures: np.ndarray) -> dict[str, np.ndarray]:
    """The iterates of both momenta from 1 on h x^2 / 2, for every curvature times rate h; [401, curvatures]."""
    h = jnp.asarray(curvatures)
    value = lambda x: jnp.vdot(h, jnp.square(x)) / 2
    ball, ahead = (
        optim.minimize(
            value, jnp.ones_like(h), METHODS[name](1.0), max_iterations=400, tolerance=0.0
        ).trajectory
        for name in ("momentum", "Nesterov")
    )
    # Behind Nesterov's look-ahead points phi stand the iterates theta_{t+1} = phi_t - g(phi_t).
    iterates = jnp.concatenate([ahead[:1], ahead[:-1] * (1 - h)[None]])
    return {"momentum": np.asarray(ball), "Nesterov": np.asarray(iterates)}


def three_parabolas(x: Array) -> Array:
    """Convex, with curvatures 25, 1, 25 and its minimum at 0: the heavy ball's trap."""
    steep, flat = 12.5 * jnp.square(x), jnp.square(x) / 2 + 24 * x - 12
    return jnp.where(x < 1, steep, jnp.where(x < 2, flat, steep - 24 * x + 36))


PUBLISHED_CYCLE = np.array([-2208, 792, 2592]) / 1225


def trapped(config: Config) -> dict[str, np.ndarray]:
    """Every method at its best settings for quadratics on the three parabolas, from 3.07 to 3.46; [1001, starts]."""
    starts = jax.random.uniform(jax.random.key(config.seed), (config.num_starts,), minval=3.07, maxval=3.46)
    value = lambda x: jnp.sum(three_parabolas(x))
    return {
        name: np.asarray(optim.minimize(value, starts, tx, max_iterations=1000, tolerance=0.0).trajectory)
        for name, (tx, _) in best_settings(25.0).items()
    }


def random_starts(key: Array, surface: Surface, count: int) -> Array:
    """Points of the surface's box, [count, 2]."""
    lower, upper = np.transpose(surface.box).astype(np.float32)
    return lower[None] + jax.random.uniform(key, (count, 2)) * (upper - lower)[None]


def descend(surface: Surface, name: str, config: Config, *, path: bool = False) -> Callable[[Any, Any], Any]:
    """From a start and a learning rate to a `Minimum`."""
    return lambda start, rate: optim.minimize(
        surface.value,
        start,
        METHODS[name](rate),
        max_iterations=config.max_updates,
        tolerance=1e-3,
        keep_trajectory=path,
    )


def compare(surface: Surface, config: Config) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Every method at the best of many rates, from random starts; its rows, and its path from the surface's start.

    The best rate brings nine of ten starts to rest soonest; where none does that, nine of ten end lowest.
    """
    rates = jnp.geomspace(1e-5, 1.0, config.num_rates)
    starts = random_starts(jax.random.key(config.seed), surface, config.num_starts)
    rows, paths = [], {}
    for name in METHODS:
        solve = descend(surface, name, config)
        ends = jax.jit(jax.vmap(jax.vmap(solve, in_axes=(0, None)), in_axes=(None, 0)))(starts, rates)
        arrived = np.asarray(ends.converged)
        updates = np.where(arrived, ends.iterations, config.max_updates)
        values = np.where(np.isfinite(ends.value), ends.value, np.inf)
        worst = [np.quantile(x, 0.9, axis=1, method="lower") for x in (values, updates)]
        best = np.lexsort(worst)[0]
        walk = jax.jit(descend(surface, name, config, path=True))(jnp.asarray(surface.start), rates[best])
        paths[name] = np.asarray(walk.trajectory)[: int(walk.iterations) + 1]
        away = np.linalg.norm(ends.params[best][:, None] - np.array(surface.minima)[None], axis=-1).min(
            axis=1
        )
        x, y = np.round(np.asarray(walk.params), 2) + 0.0  # no minus zero
        rows.append(
            {
                "method": name,
                "rate": float(f"{rates[best]:.2g}"),
                "at rest %": round(100 * float(arrived[best].mean())),
                "lowest %": round(100 * float((arrived[best] & (away < 0.1)).mean())),
                "updates": int(np.median(updates[best])),
                "path": int(walk.iterations),
                "value": float(f"{walk.value:.2g}"),
                "at": f"{x:g}, {y:g}",
            }
        )
    return rows, paths


def basins(run: Run, rates: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Which of Himmelblau's minima every start of a grid comes to, -1 for none; by method, [grid, grid].

    One step moves all starts: each is a train state without a net, and the function is its objective.
    """
    config, surface = run.config, SURFACES["Himmelblau"]
    side = np.linspace(-5, 5, config.grid, dtype=np.float32)
    starts = jnp.asarray(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2))
    found = {}
    for name, rate in rates.items():
        tx = METHODS[name](rate)
        create = lambda start: train.create_train_state(jax.random.key(0), {"params": start}, tx)  # noqa: B023
        objective = lambda params, model_state, batch, key: (surface.value(params), (model_state, {}))
        population = train.population_step(train.make_update(train.backprop(objective), tx))

        def call(states, batch):
            states, metrics = jax.lax.scan(
                lambda states, _: population(states, batch),  # noqa: B023
                states,
                length=UPDATES_PER_CALL,
            )
            return states, {"at rest": jnp.mean(metrics["grad_norm"][-1] < 1e-2)}

        states, _ = run.fit(
            jax.jit(call, donate_argnums=0),
            jax.jit(jax.vmap(create))(starts),
            Repeated({}),
            num_steps=config.grid_updates // UPDATES_PER_CALL,
            log_every=1,
            part=f"himmelblau-{name}".replace(" ", "-"),
            progress=None,
        )
        away = np.linalg.norm(np.asarray(states.params)[:, None] - np.array(surface.minima)[None], axis=-1)
        nearest = np.where(away.min(axis=1) < 0.1, away.argmin(axis=1), -1)
        found[name] = nearest.reshape(config.grid, config.grid)
    return found


def cells(points: np.ndarray) -> np.ndarray:
    """The cell of Rastrigin's egg box that points lie in: which integer its minimum belongs to, by coordinate."""
    edges = np.arange(6) + 0.5
    for _ in range(20):  # f'(x) = 2 x + 20 pi sin(2 pi x) = 0 between two minima
        edges = np.arange(6) + 0.5 + np.arcsin(edges / (10 * np.pi)) / (2 * np.pi)
    return (np.sign(points) * np.searchsorted(edges, np.abs(points))).astype(int)


def share_kept(config: Config) -> float:
    """Of random starts on Rastrigin's function, those that gradient descent leaves in their cell, in percent."""
    surface = SURFACES["Rastrigin"]
    starts = random_starts(jax.random.key(config.seed + 1), surface, config.num_cell_starts)
    rate = 0.9 / (2 + 40 * np.pi**2)  # below 1 / L, L the largest curvature: no step leads past a minimum
    ends = jax.jit(jax.vmap(lambda x: descend(surface, "gradient descent", config)(x, rate)))(starts)
    return 100 * float((cells(np.asarray(starts)) == cells(np.asarray(ends.params))).all(axis=1).mean())


def main(config: Config) -> int:
    """Measures the theory, then walks over the four functions."""
    if config.grid_updates % UPDATES_PER_CALL:
        raise ValueError(f"grid_updates must be a multiple of {UPDATES_PER_CALL}, got {config.grid_updates}")
    if not {"Himmelblau"} <= set(config.functions) <= set(SURFACES):
        raise ValueError(f"functions must be of {list(SURFACES)}, with Himmelblau, got {config.functions}")
    run = Run("optimizers.paths", config)
    began = time.perf_counter()
    curvatures = np.geomspace(0.004, 1, 60)
    with jax.enable_x64(True):  # errors are followed down to 1e-9 and below
        theory = quadratics(config)
        swung = swings(curvatures)
        circling = trapped(config)
    beyond = {name: -paths.min(axis=0) for name, paths in swung.items()}
    run.table("random quadratics at the best settings", theory)
    run.figure(
        "momentum_against_nesterov", lambda: theory_panels(theory, curvatures, swung, beyond, circling)
    )
    run.figure("valley", valley)
    rows = []
    for name in config.functions:
        surface = SURFACES[name]
        found, paths = compare(surface, config)
        rows += [{"function": name, **row} for row in found]
        draw = partial(viz.optimizer_paths, surface.value, paths, minima=surface.minima, limits=surface.view)
        run.figure(f"paths_{name.lower()}", partial(draw, name=name))
    rates = {row["method"]: row["rate"] for row in rows if row["function"] == "Himmelblau"}
    ends = basins(run, rates)
    run.figure("basins", lambda: basin_maps(ends, rates))
    kept = share_kept(config)
    run.seconds = time.perf_counter() - began
    largest = {row["method"]: row["updates to 1e-6"] for row in theory[-3:]}
    last = circling["momentum"][-3:]
    return run.finish(
        [
            (FACTOR, max(row["worst deviation %"] for row in theory)),
            (SPEED, largest["gradient descent"] / max(largest["momentum"], largest["Nesterov"])),
            (OVERSHOOT, float(np.max(beyond["Nesterov"] / beyond["momentum"]))),
            (CYCLE, float(np.abs(np.sort(last, axis=0) - PUBLISHED_CYCLE[:, None]).max())),
            (ARRIVED, float(np.abs(circling["Nesterov"][-1]).max())),
            (CELLS, kept),
        ],
        rows,
        try_next=["python -m experiments.optimizers.second_order", "python -m experiments.optimizers.search"],
    )


def theory_panels(theory: list[dict], curvatures: np.ndarray, swung: dict, beyond: dict, circling: dict):
    """Updates by condition number, one swing, overshoot by curvature, and the heavy ball's cycle."""
    figure, (scaling, swing, over, cycle) = canvas.panels(4, columns=2, width=4.6, height=3.4)
    shown = int(np.argmin(np.abs(curvatures - 0.2)))
    for i, name in enumerate(best_settings(10.0)):
        color, line, marker = canvas.look(i)
        drawn = {"color": color, "linestyle": line, "label": name}
        marked = {**drawn, "marker": marker, "markersize": 3}
        rows = [row for row in theory if row["method"] == name]
        scaling.loglog(
            *([row[key] for row in rows] for key in ("condition number", "updates to 1e-6")), **marked
        )
        cycle.plot(circling[name][:60, 0], **marked)
        if name in swung:
            swing.plot(swung[name][:60, shown], **marked)
            over.semilogx(curvatures, beyond[name], **drawn)
    for point in PUBLISHED_CYCLE:
        cycle.axhline(point, color=canvas.FAINT, linewidth=0.8, zorder=0)
    for axes, title, x, y in (
        (scaling, "random quadratics, best settings", "condition number", "updates to 1e-6"),
        (swing, "equal settings, curvature × rate = 0.2", "update", "distance from the minimum"),
        (over, "largest overshoot, decay 0.9", "curvature × rate", "part of the first distance"),
        (cycle, "three parabolas, settings best for quadratics", "update", "x"),
    ):
        canvas.style(axes, title=title, x=x, y=y)
    canvas.legends_below(figure)
    return figure


def valley():
    """Three methods with one learning rate in a straight valley, twenty times as steep across as along."""
    value = lambda x: jnp.square(x[0]) / 2 + 10 * jnp.square(x[1])
    start = jnp.asarray([-9.0, 1.0])
    paths = {
        name: optim.minimize(value, start, METHODS[name](0.045), max_iterations=50).trajectory
        for name in ("gradient descent", "momentum", "Nesterov")
    }
    return viz.optimizer_paths(value, paths, minima=[[0.0, 0.0]], name="$x_1^2 / 2 + 10 x_2^2$")


def basin_maps(ends: dict[str, np.ndarray], rates: Mapping[str, float]):
    """The plane of starts, coloured by the minimum that each comes to."""
    from matplotlib.colors import ListedColormap

    figure, panels = canvas.panels(len(ends), columns=3, width=2.9, height=3.0)
    colors = ListedColormap(["black", *canvas.COLORS[:4]])
    minima = np.transpose(SURFACES["Himmelblau"].minima)
    for axes, (name, nearest) in zip(panels, ends.items()):
        axes.imshow(nearest, colors, vmin=-1.5, vmax=3.5, origin="lower", extent=(-5, 5, -5, 5))
        axes.plot(*minima, "*", color="white", markersize=9, markeredgecolor="black")
        canvas.style(axes, title=f"{name}, rate {rates[name]:g}", x="$x_1$", y="$x_2$")
        axes.grid(False)
    figure.suptitle(
        "Himmelblau: which minimum each start comes to; black: none", fontsize=canvas.TITLE, color=canvas.INK
    )
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
