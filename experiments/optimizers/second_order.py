"""Newton doubles its correct digits with every step, and no method needs 1.4 times the iterations of SciPy's.

    python -m experiments.optimizers.second_order

Data: test functions (Rosenbrock, Himmelblau, Beale, Boyd and Vandenberghe's 9.20), small quadratic programs, and a
logistic regression of 1,437 embedded digits, 0 to 4 against 5 to 9; the 360 held-out ones judge it.

From random starts each method and SciPy's count iterations until no entry of the gradient exceeds 1e-6, in float64.
On the convex function of Boyd and Vandenberghe, whose minimum is at (-ln 2 / 2, 0), errors show the three kinds of
convergence: gradient descent contracts by one factor, BFGS by ever smaller ones, Newton squares its error. Newton on
x^3 - 2 x^2 + 2 from 3 ends at the worked number 1.3333333423743772. Constrained quadratics with solutions in closed
form are solved by Lagrange multipliers, the augmented Lagrangian and projected gradients; the Karush-Kuhn-Tucker
residual tells that they are. The same optimizers then drive an ordinary train step.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.nets import Repeated
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, optim, search, train, viz
from jaxdl.types import Array
from jaxdl.viz import canvas

GOLDEN = Claim("distance of Newton's end on the cubic from 1.3333333423743772", 1e-15, "lower")
SCIPY = Claim("iterations over SciPy's, geometric mean over the problems, slowest method", 1.4, "lower")
ARRIVED = Claim("runs that reach a gradient of 1e-6, percent", 99.0)
QUADRATIC = Claim("order of convergence of Newton's method, median over the starts", 1.8)
SUPERLINEAR = Claim("factor of the error in the last step of BFGS, median over the starts", 0.1, "lower")
LINEAR = Claim("deviation of gradient descent's factor from the published one, in percent", 1.0, "lower")
CONSTRAINED = Claim(
    "largest distance of a constrained solution or multiplier from the known one", 1e-6, "lower"
)
RESIDUAL = Claim("largest Karush-Kuhn-Tucker residual of the constrained solutions", 1e-6, "lower")
STEP = Claim("loss above the lowest after training with L-BFGS, over that with Adam", 0.1, "lower")

TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    functions: tuple[str, ...] = ("Rosenbrock", "Himmelblau", "Beale", "logistic")
    """What iterations are counted on."""
    num_starts: int = 40
    """Random starts on each function of two numbers; a tenth of it on the logistic regression."""
    max_iterations: int = 500
    """Iterations after which a start is given up."""
    num_updates: int = 40
    """Updates of the ordinary train step."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", functions=("Himmelblau",), num_starts=2, num_updates=2),
    "full": Config(preset="full", num_starts=1000),
}


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is minimized, the corners between which starts lie, and the residuals whose squares add up to it."""

    value: Callable[[Array], Array]
    lower: np.ndarray
    upper: np.ndarray
    residuals: Callable[[Array], Array] | None = None


def logistic_loss(weights: Array, batch: Any) -> Array:
    """Mean logistic loss of a linear score, with a little ridge."""
    margins = batch["y"] * (batch["x"] @ weights)
    return jnp.mean(jnp.logaddexp(0.0, -margins)) + 5e-4 * jnp.vdot(weights, weights)


def digit_rows(split: Literal["train", "test"], dtype: Any = np.float64) -> dict[str, np.ndarray]:
    """Pixels with a column of ones, [N, 65], and 1 for 5 to 9, -1 for 0 to 4, [N]."""
    digits = data.digits(split)
    pixels = np.asarray(data.scale_pixels(digits["image"], max_value=16)).reshape(-1, 64)
    rows = {"x": np.c_[pixels, np.ones(len(pixels))], "y": np.where(digits["label"] >= 5, 1, -1)}
    return {name: values.astype(dtype) for name, values in rows.items()}


def problems() -> dict[str, Problem]:
    """The functions of two numbers, and a logistic regression of 65."""
    rows = jax.tree.map(jnp.asarray, digit_rows("train"))
    return {
        "Rosenbrock": Problem(
            search.rosenbrock,
            np.full(2, -2.0),
            np.full(2, 2.0),
            lambda x: jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]]),
        ),
        "Himmelblau": Problem(
            search.himmelblau,
            np.full(2, -4.0),
            np.full(2, 4.0),
            lambda x: jnp.stack([x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7]),
        ),
        "Beale": Problem(
            search.beale,
            np.array([0.0, -1.0]),
            np.array([4.0, 1.0]),
            lambda x: jnp.stack([c - x[0] * (1 - x[1] ** k) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]),
        ),
        "logistic": Problem(partial(logistic_loss, batch=rows), np.full(65, -0.1), np.full(65, 0.1)),
    }


def methods(problem: Problem) -> dict[str, tuple[Any, str]]:
    """Every method that suits a problem: the transformation, and the name of SciPy's."""
    line = optim.wolfe_line_search()
    found: dict[str, tuple[Any, str]] = {
        "conjugate gradient": (optim.conjugate_gradient(), "CG"),
        "L-BFGS": (optim.lbfgs(), "L-BFGS-B"),
        "BFGS": (optim.bfgs(), "BFGS"),
        "Hessian-free": (optim.hessian_free(), "Newton-CG"),
        "Newton": (optim.newton(min_curvature=1e-6, linesearch=line), "trust-exact"),
    }
    if problem.residuals is not None:
        found["Gauss-Newton"] = (optim.gauss_newton(problem.residuals, linesearch=line), "least_squares")
    return found


def scipy_iterations(problem: Problem, name: str, start: np.ndarray, limit: int) -> float:
    """Iterations of SciPy's method until no entry of the gradient exceeds the tolerance; NaN where none comes there."""
    from scipy import optimize  # JAX itself requires it

    host = lambda f: lambda x: np.asarray(f(x))
    value, gradient, hessian = map(host, derivatives(problem.value))
    if problem.residuals is not None and name == "least_squares":
        residuals, jacobian = map(host, derivatives(problem.residuals, jax.jacfwd)[:2])
        # Its gradient is half of ours. A step that it takes back evaluates no Jacobian.
        stop: dict[str, Any] = {"gtol": TOLERANCE / 2, "ftol": None, "xtol": None, "max_nfev": limit}
        done = optimize.least_squares(residuals, start, jacobian, **stop)
        return done.njev - 1 if done.status > 0 else np.nan
    arrived = []
    stop = {"Newton-CG": {"xtol": 1e-14}, "L-BFGS-B": {"gtol": TOLERANCE, "ftol": 0.0}}
    optimize.minimize(
        value,
        start,
        jac=gradient,
        hess=hessian if name in ("Newton-CG", "trust-exact") else None,
        method=name,
        callback=lambda x, *rest: arrived.append(np.abs(gradient(x)).max() < TOLERANCE),
        options={"maxiter": limit, **stop.get(name, {"gtol": TOLERANCE})},
    )
    return 1 + arrived.index(True) if True in arrived else np.nan


@functools.cache
def derivatives(f: Callable, differentiate: Callable = jax.grad) -> tuple[Callable, Callable, Callable]:
    """A function, its first and its second derivative, compiled."""
    return jax.jit(f), jax.jit(differentiate(f)), jax.jit(jax.jacfwd(differentiate(f)))


def against_scipy(config: Config) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Iterations from every start, ours and SciPy's, by problem and method; NaN where it does not arrive."""
    counts = {}
    rng, known = np.random.default_rng(config.seed), problems()
    for problem_name in config.functions:
        problem = known[problem_name]
        number = config.num_starts if problem.residuals else max(1, config.num_starts // 10)
        starts = rng.uniform(problem.lower, problem.upper, (number, problem.lower.size))
        for name, (tx, reference) in methods(problem).items():
            settings = {"max_iterations": config.max_iterations, "tolerance": TOLERANCE}
            solve = partial(optim.minimize, problem.value, tx=tx, keep_trajectory=False, **settings)
            ends = jax.jit(jax.vmap(solve))(jnp.asarray(starts))
            theirs = [scipy_iterations(problem, reference, x, config.max_iterations) for x in starts]
            counts[problem_name, name] = (
                np.where(ends.converged, ends.iterations, np.nan),
                np.array(theirs, float),
            )
    return counts


def exponentials(x: Array) -> Array:
    """Boyd and Vandenberghe's 9.20, "Convex optimization", 2004: convex, lowest at (-ln 2 / 2, 0)."""
    return jnp.exp(x[0] + 3 * x[1] - 0.1) + jnp.exp(x[0] - 3 * x[1] - 0.1) + jnp.exp(-x[0] - 0.1)


LOWEST = np.array([-np.log(2) / 2, 0.0])
CURVATURES = np.exp(-0.1) * np.sqrt(2) * np.array([2.0, 9.0])  # eigenvalues of the Hessian there
DESCENT_RATE = 0.5 / CURVATURES.max()  # the curvature doubles and more on the way from the farthest start


def error_curves(config: Config) -> dict[str, list[np.ndarray]]:
    """Distances from the minimum, iterate by iterate, down to rounding; for every method, from every start."""
    away = jax.random.uniform(jax.random.key(config.seed), (config.num_starts, 2), minval=-0.5, maxval=0.5)
    starts = jnp.asarray(LOWEST)[None] + away
    curves = {}
    for name, tx in {
        "gradient descent": optim.gradient_descent(DESCENT_RATE),
        "BFGS": optim.bfgs(),
        "Hessian-free": optim.hessian_free(),
        "Newton": optim.newton(linesearch=optim.wolfe_line_search()),
    }.items():
        solve = partial(optim.minimize, exponentials, tx=tx, max_iterations=400, tolerance=1e-14)
        ends = jax.jit(jax.vmap(solve))(starts)
        errors = np.linalg.norm(ends.trajectory - LOWEST[None, None], axis=-1)
        # What follows the first error at the level of rounding is rounding.
        curves[name] = [
            row[: 1 + int(np.argmax(row < 1e-13))] if row.min() < 1e-13 else row for row in errors
        ]
    return curves


def orders(curves: dict[str, list[np.ndarray]]) -> list[dict]:
    """Order of convergence and last factor, from the last three errors above rounding; rows of a table.

    e_{k+1} = c e_k^p:  p = log(e_{k+1} / e_k) / log(e_k / e_{k-1})
    """
    rows = []
    for name, errors in curves.items():
        late = np.log([row[row > 1e-13][-3:] for row in errors if (row > 1e-13).sum() >= 3])
        before, last = np.diff(late, axis=1).T
        rows.append(
            {
                "method": name,
                "order": float(np.median(last / before)),
                "last factor": float(np.median(np.exp(last))),
                "iterations to 1e-13": float(np.median([len(row) - 1 for row in errors])),
            }
        )
    return rows


def newton_on_a_cubic() -> np.ndarray:
    """Newton's iterates on x^3 - 2 x^2 + 2 from 3."""
    end = optim.minimize(lambda x: x**3 - 2 * x**2 + 2, jnp.asarray(3.0), optim.newton(), tolerance=TOLERANCE)
    return np.asarray(end.trajectory)[: int(end.iterations) + 1]


# Nocedal and Wright, "Numerical optimization", 2006, example 16.4: minimize |x - (1, 2.5)|^2 under five lines, the
# first of which is in the way. The answer is (1.4, 1.7), with multiplier 0.8.
LINES = np.array([[-1.0, 2.0], [1.0, 2.0], [1.0, -2.0], [-1.0, 0.0], [0.0, -1.0]])
OFFSETS = np.array([2.0, 6.0, 2.0, 0.0, 0.0])
# A quadratic that is lowest at (2, 0), in the box from -1 to 1. The answer, by hand, is (1, 0.5), with multiplier 1.5.
BOXED, CENTER = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([2.0, 0.0])


def constrained(config: Config) -> tuple[list[dict], np.ndarray]:
    """Quadratic programs with known solutions; rows of a table, and the path of projected gradients."""
    rng = np.random.default_rng(config.seed)
    root, equations, slope, right = (rng.normal(size=size) for size in ((10, 10), (3, 10), 10, 3))
    matrix = root @ root.T + np.eye(10)
    # Stationarity and feasibility are one linear system.
    system = np.block([[matrix, equations.T], [equations, np.zeros((3, 3))]])
    point, multipliers = np.split(np.linalg.solve(system, np.concatenate([slope, right])), [10])
    quadratic = lambda x: jnp.vdot(x, matrix @ x) / 2 - jnp.vdot(slope, x)
    plane = lambda x: equations @ x - right
    textbook = lambda x: jnp.sum(jnp.square(x - np.array([1.0, 2.5])))
    lines = lambda x: LINES @ x - OFFSETS
    boxed = lambda x: jnp.vdot(x - CENTER, BOXED @ (x - CENTER)) / 2
    walls = lambda x: jnp.concatenate([x - 1, -1 - x])
    rows = []

    def add(problem, method, end, found, residual, point, multipliers):
        rows.append(
            {
                "problem": problem,
                "method": method,
                "error of the point": float(np.abs(end.params - np.array(point)).max()),
                "of the multipliers": float(np.abs(found - np.array(multipliers)).max()),
                "KKT residual": float(max(residual)),
                "iterations": int(end.iterations),
            }
        )

    start, tight = jnp.ones(10), {"tolerance": 1e-8}
    end = optim.lagrange_multipliers(quadratic, plane, start, **tight)
    solved = end.equality_multipliers, end.residual, point, multipliers
    add("three equations", "Lagrange multipliers", end, *solved)
    end = optim.augmented_lagrangian(quadratic, start, equality_fn=plane, inner_iterations=300, **tight)
    solved = end.equality_multipliers, end.residual, point, multipliers
    add("three equations", "augmented Lagrangian", end, *solved)
    end = optim.augmented_lagrangian(textbook, jnp.zeros(2), inequality_fn=lines, **tight)
    solved = end.inequality_multipliers, end.residual, [1.4, 1.7], [0.8, 0, 0, 0, 0]
    add("example 16.4", "augmented Lagrangian", end, *solved)
    tx = optim.projected_gradient(1 / 3, lambda x: jnp.clip(x, -1, 1))  # 3 is the largest curvature
    end = optim.minimize(boxed, jnp.asarray([-0.8, -0.6]), tx, step_tolerance=1e-12)
    # A wall's multiplier is the slope that presses against it.
    slopes = jax.grad(boxed)(end.params)
    pressed = jnp.where(walls(end.params) >= 0, jnp.concatenate([-slopes, slopes]), 0)
    residual = optim.kkt_residual(boxed, end.params, inequality_fn=walls, inequality_multipliers=pressed)
    add("box", "projected gradient", end, pressed, residual, [1, 0.5], [1.5, 0, 0, 0])
    return rows, np.asarray(end.trajectory)


def train_digits(run: Run) -> tuple[list[dict], dict]:
    """The logistic regression by ordinary full-batch train steps, in float32; rows of a table, and curves."""
    training, held_out = (digit_rows("train", np.float32), digit_rows("test", np.float32))
    with jax.enable_x64(True):
        exact = partial(logistic_loss, batch=jax.tree.map(jnp.asarray, digit_rows("train")))
        newton = optim.newton(linesearch=optim.wolfe_line_search())
        lowest = float(optim.minimize(exact, jnp.zeros(65), newton, tolerance=1e-10).value)
    objective = lambda params, model_state, batch, key: (logistic_loss(params, batch), (model_state, {}))
    rows, curves = [], {}
    for name, tx in {
        "gradient descent": optim.gradient_descent(0.3),
        "Adam": optim.adam(0.1),
        "L-BFGS": optim.lbfgs(),
        "Hessian-free": optim.hessian_free(),
    }.items():
        state, history = run.fit(
            jax.jit(train.make_update(train.backprop(objective), tx), donate_argnums=0),
            train.create_train_state(jax.random.key(run.config.seed), {"params": jnp.zeros(65)}, tx),
            Repeated(training),
            num_steps=run.config.num_updates,
            log_every=1,
            part=name.replace(" ", "-"),
            progress=None,
        )
        steps, losses = history["loss"]
        curves[f"{name}/loss"] = steps, np.maximum(np.array(losses) - lowest, 1e-8)  # beyond: rounding
        right = (held_out["x"] @ np.asarray(state.params) > 0) == (held_out["y"] > 0)
        rows.append(
            {
                "optimizer": name,
                "loss above the lowest": max(float(logistic_loss(state.params, training)) - lowest, 0.0),
                "held-out digits right %": 100 * float(right.mean()),
                "seconds": history.last("seconds"),
            }
        )
    return rows, curves


def main(config: Config) -> int:
    """Counts iterations, measures orders, solves the constrained problems, then trains."""
    known = ("Rosenbrock", "Himmelblau", "Beale", "logistic")
    if not config.functions or not set(config.functions) <= set(known):
        raise ValueError(f"functions must be of {known}, got {config.functions}")
    run = Run("optimizers.second_order", config)
    began = time.perf_counter()
    with jax.enable_x64(True):
        counts = against_scipy(config)
        curves = error_curves(config)
        newton = newton_on_a_cubic()
        programs, inside = constrained(config)
    kinds = orders(curves)
    trained, losses = train_digits(run)
    run.seconds = time.perf_counter() - began
    run.table("kinds of convergence", kinds)
    run.table("constrained quadratics", programs)
    run.table("training on digits", trained)
    run.figure("iterations", lambda: iteration_panels(counts))
    run.figure("convergence", lambda: convergence(curves))
    run.figure("constrained", lambda: constrained_panels(inside))
    run.figure("training", lambda: training_curves(losses))
    rows = [
        {
            "problem": problem,
            "method": name,
            "iterations": float(np.nanmean(ours)),
            "SciPy's": float(np.nanmean(theirs)),
            "arrive %": 100 * float(np.isfinite(ours).mean()),
            "SciPy's arrive %": 100 * float(np.isfinite(theirs).mean()),
        }
        for (problem, name), (ours, theirs) in counts.items()
    ]
    ratios: dict[str, list[float]] = {}
    for (_, name), (ours, theirs) in counts.items():
        ratios.setdefault(name, []).append(float(np.log(np.nanmean(ours) / np.nanmean(theirs))))
    order, factor = ({row["method"]: row[key] for row in kinds} for key in ("order", "last factor"))
    excess = {row["optimizer"]: row["loss above the lowest"] for row in trained}
    expected = 1 - DESCENT_RATE * CURVATURES.min()
    return run.finish(
        [
            (SCIPY, float(np.exp(max(map(np.mean, ratios.values()))))),
            (
                ARRIVED,
                100 * float(np.mean(np.isfinite(np.concatenate([ours for ours, _ in counts.values()])))),
            ),
            (GOLDEN, float(abs(newton[-1] - 1.3333333423743772))),
            (QUADRATIC, order["Newton"]),
            (SUPERLINEAR, factor["BFGS"]),
            (LINEAR, float(100 * abs(factor["gradient descent"] / expected - 1))),
            (CONSTRAINED, max(max(row["error of the point"], row["of the multipliers"]) for row in programs)),
            (RESIDUAL, max(row["KKT residual"] for row in programs)),
            (STEP, excess["L-BFGS"] / excess["Adam"]),
        ],
        rows,
        try_next=["python -m experiments.optimizers.paths", "python -m experiments.optimizers.search"],
    )


def iteration_panels(counts: dict):
    """Iterations to a gradient of 1e-6, ours and SciPy's: the median and nine tenths of the starts."""
    names = list(dict.fromkeys(problem for problem, _ in counts))
    ticks = [3, 5, 10, 20, 50, 100, 200]
    figure, panels = canvas.panels(len(names), columns=2, width=4.6, height=2.6)
    for axes, problem in zip(panels, names):
        listed = [method for name, method in counts if name == problem]
        for i, side in enumerate(("jaxdl", "SciPy")):
            color, _, marker = canvas.look(i)
            low, middle, high = np.transpose(
                [np.nanquantile(counts[problem, name][i], (0.05, 0.5, 0.95)) for name in listed]
            )
            rows = np.arange(len(listed)) + (0.12 if i else -0.12)
            axes.hlines(rows, low, high, color=color, linewidth=1.2)
            axes.plot(middle, rows, marker, color=color, markersize=5, label=side)
        axes.set_yticks(range(len(listed)), listed)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xticks(ticks, list(map(str, ticks)))
        axes.minorticks_off()
        axes.set_xlim(*{"Rosenbrock": (1.5, 120), "logistic": (3, 250)}.get(problem, (2.5, 30)))
        canvas.style(axes, title=problem, x="iterations")
    canvas.legends_below(figure)
    return figure


def convergence(curves: dict[str, list[np.ndarray]]):
    """Distance from the minimum by iteration: every start faint, the middle one strong."""
    figure, (axes,) = canvas.panels(1, columns=1, width=6.4, height=4.2)
    for i, (name, errors) in enumerate(curves.items()):
        color, line, marker = canvas.look(i)
        for row in errors:
            axes.semilogy(row, color=color, linewidth=0.6, alpha=0.25)
        middle = sorted(errors, key=len)[len(errors) // 2]
        axes.semilogy(middle, color=color, linestyle=line, marker=marker, markersize=3.5, label=name)
    axes.set_xlim(0, 40)
    axes.set_ylim(1e-14, 2)
    canvas.style(axes, title="linear, superlinear, quadratic", x="iteration", y="distance from the minimum")
    canvas.legends_below(figure)
    return figure


def constrained_panels(inside: np.ndarray):
    """Example 16.4 with the two gradients that balance, and the way of projected gradients along a wall."""
    figure, (left, right) = canvas.panels(2, columns=2, width=4.4, height=3.8)
    plane = np.stack(np.meshgrid(np.linspace(-0.4, 4.4, 200), np.linspace(-0.4, 3.4, 200)))
    left.fill([0, 2, 4, 2, 0], [0, 0, 1, 2, 1], color="#DDE8F0", zorder=0)
    left.contour(*plane, np.hypot(plane[0] - 1, plane[1] - 2.5) ** 2, 12, colors=canvas.FAINT, linewidths=0.8)
    downhill = np.array([-0.8, 1.6])
    for force, color, name in (
        (downhill, canvas.COLORS[0], "downhill"),
        (-downhill, canvas.COLORS[2], "push of the line, 0.8 × its normal"),
    ):
        arrow = {"angles": "xy", "scale_units": "xy", "scale": 2, "width": 0.008, "zorder": 3}
        left.quiver(1.4, 1.7, *force, color=color, label=name, **arrow)
    left.plot(1.4, 1.7, "o", color=canvas.COLORS[1], label="lowest allowed", linestyle="none")
    left.plot(1, 2.5, "*", color=canvas.INK, markersize=11, label="lowest of all", linestyle="none")
    plane = np.stack(np.meshgrid(np.linspace(-1.2, 2.4, 200), np.linspace(-1.3, 1.5, 200)))
    away = plane - CENTER[:, None, None]
    right.fill([-1, 1, 1, -1], [-1, -1, 1, 1], color="#DDE8F0", zorder=0)
    heights = np.einsum("ikl,ij,jkl->kl", away, BOXED, away) / 2
    right.contour(*plane, heights, 12, colors=canvas.FAINT, linewidths=0.8)
    right.plot(*inside.T, "-o", color=canvas.COLORS[1], markersize=3.5, label="projected gradient descent")
    right.plot(*CENTER, "*", color=canvas.INK, markersize=11, label="lowest of all", linestyle="none")
    for axes, title in ((left, "example 16.4: the forces balance"), (right, "along the wall of a box")):
        canvas.style(axes, title=title, x="$x_1$", y="$x_2$")
        axes.set_aspect("equal")
        axes.grid(False)
    canvas.legends_below(figure)
    return figure


def training_curves(losses: dict):
    """How far the loss is above the lowest, by update."""
    figure = viz.learning_curves(losses, log_loss=True)
    figure.axes[0].set_title("logistic regression: loss above the lowest", fontsize=canvas.TITLE)
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
