"""Batch, mini-batch and stochastic gradient descent end within 0.01 of the least-squares line, where the noise is 1.

    python -m experiments.dense.gradient_descent_line

Data: synthetic, 100 points around y = 4 + 3 x with noise of spread 1; 200 rows of ten correlated columns, four of which
matter; and the points of three published worked examples.

The line of the normal equation is the reference. Gradient descent reaches it with all points in every update; with some
or one of them, at a constant rate, it goes on trembling around it, and comes to rest where the rate falls to nothing.
Twenty orders of the points run in one program each. Then what a price on the weights does: ridge regression by the
normal equation and the lasso by proximal gradient steps, each at fifty prices in one program, beside scikit-learn's own
solvers.

The worked examples are repeated from their random streams: 1,000 passes of stochastic descent; and descent on a plane,
first as printed, where targets [N] against predictions [N, 1] broadcast to [N, N] and only the mean can be learnt, then
with the shapes set right. `losses.squared_error` refuses the former.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.populations import Populations
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, optim, viz
from jaxdl.models.dense import LinearRegression
from jaxdl.objectives import regression
from jaxdl.types import Array, Params
from jaxdl.viz import canvas

REACHED = Claim(
    "distance of the furthest of the three from the least-squares line, in spreads of the noise",
    0.01,
    "lower",
)
TREMBLES = Claim("distance of one point at a time at a constant rate, over that at a falling one", 5.0)
PRINTED = Claim("largest relative distance from ten printed costs of the worked example", 1e-9, "lower")
PLANE = Claim("largest distance from the six known weights of the worked planes", 2e-6, "lower")
RIDGE = Claim("largest distance of a ridge weight from scikit-learn's, of weights up to 5", 1e-6, "lower")
LASSO = Claim("largest distance of a lasso weight from scikit-learn's, of weights up to 5", 1e-6, "lower")
RATE = 0.1
WEIGHTS = np.array([5.0, 0, 0, -3, 0, 0, 2, 0, 0, 1])
COSTS = (
    *(1.581821686856939, 1.5664692700155733, 1.4445422391173144, 1.7037674963102662, 0.9101999515899212),
    *(0.8184497904316664, 0.8352333304446237, 0.8542729530055074, 1.0508310318687628, 0.8261971232182218),
)


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_points: int = 100
    """Points around the line."""
    num_passes: int = 400
    """Passes over them."""
    batch_size: int = 20
    """Points per update of mini-batch descent."""
    num_orders: int = 20
    """Orders of the points that each method runs through."""
    num_prices: int = 50
    """Prices of the weights along the ridge and lasso paths."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_passes=10, num_orders=2, num_prices=5),
    "full": Config(preset="full", num_passes=4000, num_orders=200, num_prices=200),
}


def predictions(params: Params, x: np.ndarray) -> Any:
    """The line, or lines [M, ...], of `LinearRegression` at x [N]: [..., N]."""
    layer = params["Dense_0"]
    return layer["kernel"][..., 0] * x + layer["bias"]


def descend(
    run: Run, points: dict[str, np.ndarray], line: np.ndarray
) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Every way of taking the points; table rows, and how far its lines are from the best one after each pass."""
    config, model = run.config, LinearRegression(1)
    x, size = points["x"][:, 0], len(points["x"])
    best = line[0] + line[1] * x

    def falling(updates: int, rate: Any) -> optax.GradientTransformation:
        return optim.gradient_descent(optim.cosine_decay(rate, updates))

    rows, curves = [], {}
    for name, batch_size, fixed in (
        ("all points", size, True),
        (f"{config.batch_size} points", config.batch_size, True),
        (f"{config.batch_size} points, falling rate", config.batch_size, False),
        ("one point", 1, True),
        ("one point, falling rate", 1, False),
    ):
        lines = Populations(
            run,
            lambda key: model.init(key, points["x"][:1], train=False),
            regression(model, losses.squared_error),
            points,
            num_passes=config.num_passes,
            batch_size=batch_size,
            look=lambda params, rows: {"distance": jnp.sqrt(jnp.mean((predictions(params, x) - best) ** 2))},
        )
        optimizer = optim.gradient_descent if fixed else partial(falling, lines.num_updates)
        orders = np.arange(config.num_orders)
        found = lines.train(
            name.replace(", ", "-").replace(" ", "-"), optimizer, np.full(len(orders), RATE), orders
        )
        ends = predictions(found.params, x)
        rows.append(
            {
                "each update": name,
                "updates": lines.num_updates,
                "slope": float(found.params["Dense_0"]["kernel"].mean()),
                "intercept": float(found.params["Dense_0"]["bias"].mean()),
                "distance": float(np.sqrt(np.mean((ends - best) ** 2))),
                "noise": float(np.sqrt(np.mean(ends.var(axis=0)))),
                "seconds": found.seconds,
            }
        )
        curves[name] = np.sqrt(np.mean(found.looks["distance"] ** 2, axis=0))
    return rows, curves


def path(points: dict[str, np.ndarray], batch_size: int, updates: int, seed: int) -> np.ndarray:
    """Slope and intercept before and after each of the first updates, [updates + 1, 2]."""
    rng, size = np.random.default_rng(seed), len(points["x"])
    passes = -(-updates * batch_size // size)
    order = np.concatenate([rng.permutation(size) for _ in range(passes)])[: updates * batch_size]
    x, y = (points[name][order, 0].reshape(updates, batch_size) for name in ("x", "y"))
    tx = optim.gradient_descent(RATE)

    def update(carry, batch):
        line, state = carry
        slope = jax.grad(lambda line: jnp.mean((line[0] * batch[0] + line[1] - batch[1]) ** 2))(line)
        step, state = tx.update(slope, state)
        return (line + step, state), line + step

    start = jnp.zeros(2)
    _, visited = jax.lax.scan(update, (start, tx.init(start)), (x, y))
    return np.concatenate([np.zeros((1, 2)), visited])


def worked_stochastic() -> tuple[float, list[dict]]:
    """The worked example of one point at a time, from its stream: how far its costs are from the printed ones; rows."""
    stream = np.random.RandomState(42)
    x = 2 * stream.rand(100, 1)
    y = 4 + 3 * x + stream.randn(100, 1)
    design, start = np.hstack([np.ones((100, 1)), x]), stream.randn(2, 1)
    order = np.concatenate([stream.permutation(100) for _ in range(1000)])
    with jax.enable_x64(True):
        tx = optim.sgd(RATE)

        def update(carry, row):
            theta, state = carry
            slope = jax.grad(lambda theta: jnp.sum((row[0] @ theta - row[1]) ** 2))(theta)
            step, state = tx.update(slope, state)
            return (theta + step, state), theta + step

        carry = (jnp.asarray(start), tx.init(jnp.asarray(start)))
        _, after = jax.lax.scan(update, carry, (design[order][:, None], y[order][:, None]))
        after = np.asarray(after)[99::100, :, 0]  # at the end of each pass
        exact = np.asarray(optim.normal_equation(jnp.asarray(design), jnp.asarray(y)))[:, 0]
    cost = lambda theta: float(np.mean((design @ theta - y[:, 0]) ** 2))
    costs = np.array([cost(theta) for theta in after[::100]])
    rows = [
        {"worked example": name, "intercept": theta[0], "slope": theta[1], "cost": cost(np.array(theta))}
        for name, theta in (
            ("1,000 passes, one point at a time", after[-1].tolist()),
            ("the same, as printed (of another run)", [4.35097872, 3.45754277]),
            ("normal equation", exact.tolist()),
        )
    ]
    return float(np.max(np.abs(costs / np.array(COSTS) - 1))), rows


def plane_stream() -> tuple[np.ndarray, np.ndarray]:
    """The inputs of the worked plane, [1000, 2], and its first weights and bias, [3], from their random stream.

    The generator of a well-known library, seed 42: 24 bits of a word make a uniform number; blocks of sixteen become
    normal by Box and Muller's rule, the eight cosines first; the pair of weights is made of 53 bits each.
    """
    stream = np.random.RandomState(42)
    words = lambda count: stream.randint(0, 2**32, count, dtype=np.uint32).astype(np.uint64)
    uniform = ((words(2000) & 0xFFFFFF) / 2.0**24).reshape(-1, 2, 8)
    radius, angle = np.sqrt(-2 * np.log1p(-uniform[:, 0])), 2 * np.pi * uniform[:, 1]
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(1000, 2)
    words(3)  # the layer's own initial weights, which are not used
    high, low = words(4).reshape(2, 2).T
    angle, radius = (((high << np.uint64(32)) | low) & np.uint64(2**53 - 1)) / 2.0**53
    radius = np.sqrt(-2 * np.log1p(-radius))
    weights = radius * np.cos(2 * np.pi * angle), radius * np.sin(2 * np.pi * angle)
    return x, np.array([*weights, (words(1)[0] & np.uint64(0xFFFFFF)) / 2.0**24])


def worked_plane() -> tuple[float, list[dict]]:
    """A thousand updates at rate 0.001 of the worked plane, with targets that broadcast and with targets that fit.

    Returns:
      The largest distance of a weight or bias from the printed or otherwise known one, and table rows.
    """
    x, start = plane_stream()
    y = x @ [1.3, -1.0] - 3.5
    known = {
        "targets that broadcast": [-0.0371125, 0.05568104, -2.9878428],  # as printed
        "shapes set right": [1.052251, -0.795964, -2.965297],
    }
    off, rows = [], []
    with jax.enable_x64(True):
        output = lambda theta: x @ theta[:2] + theta[2]
        for name, cost in (
            ("targets that broadcast", lambda theta: jnp.mean((y[None] - output(theta)[:, None]) ** 2)),
            ("shapes set right", lambda theta: jnp.mean((output(theta) - y) ** 2)),
        ):
            tx = optim.gradient_descent(0.001)
            end = optim.minimize(cost, jnp.asarray(start), tx, max_iterations=1000, tolerance=0.0)
            off.append(np.abs(end.params - np.array(known[name])).max())
            weights = dict(zip(("weight 1", "weight 2", "bias"), end.params.tolist()))
            costs = {"first cost": float(end.values[0]), "last": float(end.values[999])}
            rows.append({"worked plane": name, **weights, **costs})
    return float(max(off)), rows


def worked_gaussian(seed: int) -> list[dict]:
    """The worked example of 8,000 correlated pairs, a tenth held out, beside what the whole population has."""
    pairs = jax.device_get(data.correlated_gaussian(jax.random.key(seed), 8000))
    design = np.concatenate([np.ones_like(pairs["x"]), pairs["x"]], axis=1)
    theta = np.asarray(optim.normal_equation(jnp.asarray(design[:7200]), jnp.asarray(pairs["y"][:7200])))
    error = float(np.abs(design[7200:] @ theta - pairs["y"][7200:]).mean())
    here = {"intercept": float(theta[0, 0]), "slope": float(theta[1, 0]), "mean absolute error": error}
    known = {"intercept": 1.25, "slope": 0.95, "mean absolute error": 0.4352}
    return [{"correlated pairs": "normal equation", **here}, {"correlated pairs": "population", **known}]


def shrunk_to_zero(amount: Array) -> optax.GradientTransformation:
    """Last link of a chain, the proximal step of amount |theta|: so much towards 0, and to 0 where that is nearer."""

    def shrink(u: Array, p: Array) -> Array:
        moved = p + u
        return jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - amount, 0) - p

    return optax.stateless(lambda updates, params: jax.tree.map(shrink, updates, params))


def regularization_paths(config: Config) -> dict[str, dict[str, np.ndarray]]:
    """Weights of ridge and lasso at every price, ours and scikit-learn's.

    ridge: argmin |X w - y|^2 + price |w|^2;  lasso: argmin |X w - y|^2 / (2 N) + price sum |w|
    """
    try:
        from sklearn import linear_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "ridge and lasso are compared with scikit-learn's: pip install scikit-learn"
        ) from error
    rng = np.random.default_rng(config.seed)
    count, size = 200, len(WEIGHTS)
    mixing = np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(np.arange(size), np.arange(size))))
    x = data.standardize(raw := rng.normal(size=(count, size)) @ mixing.T)(raw)
    y = x @ WEIGHTS + 3 * rng.normal(size=count)
    y -= y.mean()
    prices = {
        "ridge": np.geomspace(1, 1e5, config.num_prices),
        "lasso": np.geomspace(1e-3, 1, config.num_prices) * np.abs(x.T @ y).max() / count,
    }
    with jax.enable_x64(True):
        features, targets = jnp.asarray(x, jnp.float64), jnp.asarray(y, jnp.float64)
        rate = count / float(jnp.linalg.norm(features, ord=2)) ** 2  # 1 over the curvature

        def lasso(price: Array) -> Array:
            tx = optax.chain(optim.gradient_descent(rate), shrunk_to_zero(rate * price))
            cost = lambda w: jnp.sum((features @ w - targets) ** 2) / (2 * count)
            return optim.minimize(
                cost,
                jnp.zeros(size),
                tx,
                max_iterations=10_000,
                tolerance=0.0,
                step_tolerance=1e-10,
                keep_trajectory=False,
            ).params

        solvers = {"ridge": partial(optim.normal_equation, features, targets), "lasso": lasso}
        ours = {
            name: np.asarray(jax.jit(jax.vmap(solver))(jnp.asarray(prices[name])))
            for name, solver in solvers.items()
        }
    theirs = {
        "ridge": [
            linear_model.Ridge(price, fit_intercept=False).fit(x, y).coef_ for price in prices["ridge"]
        ],
        "lasso": [
            linear_model.Lasso(price, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(x, y).coef_
            for price in prices["lasso"]
        ],
    }
    return {
        name: {"prices": prices[name], "ours": ours[name], "theirs": np.stack(theirs[name])}
        for name in prices
    }


def main(config: Config) -> int:
    """Fits the line in every way, repeats the worked examples, draws the regularization paths."""
    paths = regularization_paths(config)
    run = Run("dense.gradient_descent_line", config)
    key = jax.random.key(config.seed)
    points = jax.device_get(
        data.linear_regression_data(
            key, config.num_points, weights=(3.0,), bias=4.0, noise=1.0, interval=(0, 2)
        )
    )
    design = jnp.stack([jnp.ones(config.num_points), points["x"][:, 0]], axis=1)
    line = np.asarray(optim.normal_equation(design, points["y"]))[:, 0]
    rows, curves = descend(run, points, line)
    exact = {"slope": float(line[1]), "intercept": float(line[0]), "distance": 0.0, "noise": 0.0}
    rows.append({**dict.fromkeys(rows[0], "-"), "each update": "normal equation", **exact})
    costs_off, stochastic = worked_stochastic()
    weights_off, planes = worked_plane()
    run.table("worked example: y = 4 + 3 x and noise, 100 points", stochastic)
    run.table("worked example: 1,000 updates at rate 0.001", planes)
    run.table("worked example: 7,200 of 8,000 pairs fitted, the rest held out", worked_gaussian(config.seed))
    solved = [regularization_row(name, path) for name, path in paths.items()]
    run.table("regularization paths", solved)
    run.figure("paths", lambda: draw_paths(points, line, config))
    run.figure("distance", lambda: draw_distance(curves))
    run.figure("lines", lambda: draw_lines(points, rows))
    run.figure("regularization", lambda: draw_regularization(paths))
    distance = {row["each update"]: row["distance"] for row in rows}
    falling = f"{config.batch_size} points, falling rate"
    return run.finish(
        [
            (REACHED, max(distance[name] for name in ("all points", falling, "one point, falling rate"))),
            (TREMBLES, distance["one point"] / distance["one point, falling rate"]),
            (PRINTED, costs_off),
            (PLANE, weights_off),
            (RIDGE, solved[0]["largest difference"]),
            (LASSO, solved[1]["largest difference"]),
        ],
        rows,
        try_next=["python -m experiments.optimizers.learning_rate_sweep"],
    )


def regularization_row(name: str, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """One line of the table of paths."""
    zeros = (found["ours"] == 0).sum(axis=1)
    return {
        "method": name,
        "prices": len(found["prices"]),
        "largest weight": float(np.abs(found["ours"]).max()),
        "zeros at the lowest price": int(zeros[0]),
        "at the highest": int(zeros[-1]),
        "largest difference": float(np.abs(found["ours"] - found["theirs"]).max()),
    }


def draw_paths(points: dict[str, np.ndarray], line: np.ndarray, config: Config):
    """The first 100 updates of each way, over the mean squared error of all points."""
    x, y = points["x"][:, 0], points["y"][:, 0]
    cost = lambda at: jnp.mean((at[1] * x + at[0] - y) ** 2)
    ways = {"all points": len(x), f"{config.batch_size} points": config.batch_size, "one point": 1}
    # The line and the axes have the intercept first.
    paths = {name: path(points, size, 100, config.seed)[:, ::-1] for name, size in ways.items()}
    figure = viz.optimizer_paths(cost, paths, minima=line[None], name="the mean squared error")
    figure.axes[0].set_title(f"100 updates at rate {RATE:g}", fontsize=canvas.TITLE)
    figure.axes[0].set_xlabel("intercept")
    figure.axes[0].set_ylabel("slope")
    return figure


def draw_distance(curves: dict[str, np.ndarray]):
    """How far the lines are from the best one, after each pass."""
    figure, (axes,) = canvas.panels(1, columns=1, width=6.0, height=3.6)
    for i, (name, distance) in enumerate(curves.items()):
        color, line, _ = canvas.look(i)
        axes.plot(
            1 + np.arange(len(distance)), distance, color=color, linestyle=line, label=name, linewidth=1.5
        )
    axes.set_yscale("log")
    title = "how far from the least-squares line"
    canvas.style(axes, title=title, x="passes over the points", y="distance, in spreads of the noise")
    canvas.legends_below(figure)
    return figure


def draw_lines(points: dict[str, np.ndarray], rows: list[dict]):
    """The points and the mean line of each way."""
    ends = np.array([0.0, 2.0])
    fits: Any = {row["each update"]: (ends, row["intercept"] + row["slope"] * ends) for row in rows}
    return viz.fitted_line(points["x"][:, 0], points["y"][:, 0], fits)


def draw_regularization(paths: dict[str, dict[str, np.ndarray]]):
    """Every weight against the price: lines ours, dots scikit-learn's."""
    figure, panels = canvas.panels(2, columns=2, width=4.6, height=3.4)
    for axes, (name, found) in zip(panels, paths.items()):
        for i in range(found["ours"].shape[1]):
            matters = WEIGHTS[i] != 0
            color = canvas.look(int(np.count_nonzero(WEIGHTS[:i]))).color if matters else canvas.FAINT
            label = f"true weight {WEIGHTS[i]:g}" if matters else ("true weight 0" if i == 1 else None)
            axes.plot(found["prices"], found["ours"][:, i], color=color, linewidth=1.6, label=label)
            axes.plot(found["prices"][::4], found["theirs"][::4, i], ".", color=color, markersize=5)
        axes.plot([], [], ".", color=canvas.INK, label="scikit-learn")
        axes.set_xscale("log")
        canvas.style(axes, title=name, x="price of the weights", y="weight")
    canvas.legends_below(figure)
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
