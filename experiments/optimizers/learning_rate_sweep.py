"""Gradient descent converges up to a rate of 2 over the curvature and no further: on x² up to 1, to 0.1 %; softmax
regression of the digits, to 1 %.

    python -m experiments.optimizers.learning_rate_sweep

Data: synthetic (x², quadratic functions of 20 numbers), and embedded (the training digits; the nets of the sweep are
judged on the 360 held-out ones).

The edge is found from outside, by sweeps of 64 rates in one program, each between the neighbours of the last one's
edge. It is compared with what makes the steps along the steepest direction grow: 2 / lambda, with momentum mu
2 (1 + mu) / lambda, Nesterov's 2 (1 + mu) / ((1 + 2 mu) lambda), lambda the largest eigenvalue of the Hessian by power
iteration: on quadratic functions and, near its minimum, on softmax regression. In a tanh net there is no one lambda:
training drives it up until it meets 2 / rate, and holds it there (Cohen et al., "Gradient descent on neural networks
typically occurs at the edge of stability", 2021).

Then 64 rates times eight seeds of a ReLU net train in one program, by gradient descent and by delta-bar-delta, which
gives every weight a rate of its own and so is less particular about the first one. Last, every schedule of
`jaxdl.optim`, by small batches of softmax regression, whose exact minimum tells how much loss each leaves: at a high
rate a constant one cannot settle for the noise of its batches, one that falls to nothing can; at a low rate it is
falling that costs.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.populations import Populations, classifier_look
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, nn, optim, train
from jaxdl.models.dense import MLP, SoftmaxRegression
from jaxdl.objectives import classification, regression
from jaxdl.types import Array, Params
from jaxdl.viz import canvas

SQUARE = Claim("distance of the measured edge of x² from 1, in percent", 0.1, "lower")
QUADRATIC = Claim("distance of an edge from its formula, worst of four optimizers, in percent", 0.5, "lower")
SOFTMAX = Claim("distance of softmax regression's edge from 2 over the curvature, in percent", 1.0, "lower")
STABILITY = Claim(
    "distance of the tanh net's curvature from 2 over the rate, at rates 1.5 and 2, in percent", 5.0, "lower"
)
FROM_FAR = Claim("lowest rate that reads 90 % of held-out digits, without over with delta-bar-delta", 1.7)
SETTLES = Claim("loss left at half the edge, a rate that falls as a cosine over a constant one", 0.1, "lower")
NUM_RATES = 64
MU = 0.9  # momentum
RATES = (0.5, 1.0, 1.5, 2.0)  # of the tanh net
L2 = 1e-3  # of the softmax regression: makes its minimum a point, with some curvature in every direction
LOSS = losses.softmax_cross_entropy_with_integer_labels


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_seeds: int = 8
    """Nets at each of the 64 rates, and for each schedule."""
    num_passes: int = 30
    """Passes of each net over the training digits."""
    batch_size: int = 64
    """Digits per update of the nets; the regression takes a quarter."""
    edge_updates: int = 500
    """Updates of softmax regression that show whether a rate is beyond the edge."""
    stability_updates: int = 4000
    """Updates of the tanh net; a multiple of 50."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        preset="smoke", num_seeds=1, num_passes=2, batch_size=256, edge_updates=10, stability_updates=100
    ),
    "full": Config(preset="full", num_seeds=50, num_passes=200, edge_updates=5000, stability_updates=20_000),
}


def edge(diverges: Callable[[Array], Array], low: float, high: float, rounds: int) -> float:
    """The rate at which divergence begins, to (high - low) / 63^rounds.

    Args:
      diverges: from rates, float32[64], to bool[64].
      low, high: rates below and above it.
      rounds: sweeps; each lies between the neighbours of the edge that the one before found.
    """
    for _ in range(rounds):
        rates = np.linspace(low, high, NUM_RATES)
        beyond = np.asarray(diverges(jnp.asarray(rates, jnp.float32)))
        if beyond[0] or not beyond[-1]:
            raise ValueError(f"the edge must lie between {low} and {high}; divergence: {beyond.tolist()}")
        first = int(beyond.argmax())
        low, high = rates[first - 1], rates[first]
    return float(low + high) / 2


def curvature(cost: Callable[[Params], Array], params: Params, key: Array, iterations: int) -> Array:
    """Largest eigenvalue, by absolute value, of the Hessian: power iteration with Hessian-vector products."""
    slope = jax.grad(cost)

    def body(vector, _):
        product = jax.jvp(slope, (params,), (vector,))[1]
        size = optax.tree.norm(product)
        return jax.tree.map(lambda x: x / size, product), optax.tree.vdot(vector, product)

    leaves, tree = jax.tree.flatten(params)
    start = [jax.random.normal(k, x.shape) for k, x in zip(jax.random.split(key, len(leaves)), leaves)]
    start = tree.unflatten(start)
    unit = jax.tree.map(lambda x: x / optax.tree.norm(start), start)
    return jax.lax.scan(body, unit, length=iterations)[1][-1]


def run_away(
    cost: Callable[[Params], Array], start: Params, minimum: Params, make: Callable[[Any], Any], updates: int
) -> Callable[[Array], Array]:
    """From rates to whether an optimizer, after so many updates, is further from the minimum than at its start."""

    def one(rate: Array) -> Array:
        end = optim.minimize(
            cost, start, make(rate), max_iterations=updates, tolerance=0.0, keep_trajectory=False
        )
        before, after = (optax.tree.norm(jax.tree.map(jnp.subtract, x, minimum)) for x in (start, end.params))
        return ~(after < before)  # not a number is beyond, too

    return jax.jit(jax.vmap(one))


def worked_example() -> dict[str, str]:
    """Fifty updates at rate 0.1 on x² from 5, in float64, beside the printed result."""
    with jax.enable_x64(True):
        tx = optim.gradient_descent(0.1)
        end = optim.minimize(lambda x: x**2, jnp.float64(5.0), tx, max_iterations=50, tolerance=0.0)
        return {
            "here": f"{end.params:.16g}",
            "printed": "7.136238463529802e-05",
            "5 · 0.8⁵⁰": f"{5 * 0.8**50:.16g}",
        }


def quadratic_edges(seed: int) -> list[dict[str, Any]]:
    """Edges of x² and of a quadratic function of 20 numbers, for four optimizers, beside their formulas."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    hessian = jnp.asarray(axes * np.geomspace(0.1, 10, 20) @ axes.T, jnp.float32)
    bowl = lambda x: x @ hessian @ x / 2
    start = jnp.asarray(rng.normal(size=20), jnp.float32)
    limit = 2 / float(curvature(bowl, start, jax.random.key(seed), 300))
    descent, square = optim.gradient_descent, lambda x: x[0] ** 2
    return [
        {
            "function": "x²" if cost is square else "20 numbers",
            "optimizer": name,
            "formula": formula,
            "edge": edge(run_away(cost, begin, 0 * begin, make, 4000), 0.01, 20.0, 4),
        }
        for cost, begin, name, make, formula in (
            (square, jnp.full(1, 5.0), "gradient_descent", descent, 1.0),
            (bowl, start, "gradient_descent", descent, limit),
            (bowl, start, "momentum", partial(optim.momentum, decay=MU), (1 + MU) * limit),
            (bowl, start, "ema_momentum", partial(optim.ema_momentum, decay=MU), (1 + MU) / (1 - MU) * limit),
            (bowl, start, "nesterov", partial(optim.nesterov, decay=MU), (1 + MU) / (1 + 2 * MU) * limit),
        )
    ]


def penalised(params: Params, model_state: Any, batch: Any, key: Array):
    """Objective of softmax regression with an L2 penalty on its weights."""
    loss, rest = classification(SoftmaxRegression(10), LOSS)(params, model_state, batch, key)
    return loss + L2 / 2 * jnp.sum(params["Dense_0"]["kernel"] ** 2), rest


def penalised_cost(params: Params, rows: Any) -> Array:
    """The same, of all rows."""
    return penalised(params, {}, rows, jax.random.key(0))[0]


def softmax_edge(config: Config, training: dict) -> tuple[dict[str, Any], dict[str, Any]]:
    """Softmax regression's exact minimum and the edge near it: table row, and what figures and schedules need."""
    cost = partial(penalised_cost, rows=jax.device_put(training))
    zero = SoftmaxRegression(10).init(jax.random.key(0), training["image"][:1], train=False)["params"]
    lowest = jax.jit(
        lambda start: optim.minimize(cost, start, optim.lbfgs(), max_iterations=1000, keep_trajectory=False)
    )(zero)
    keys = jax.random.split(jax.random.key(config.seed))
    measure = jax.jit(lambda params: curvature(cost, params, keys[0], 300))
    here, there = float(measure(zero)), float(measure(lowest.params))
    near = jax.tree.map(lambda x: x + 1e-3 * jax.random.normal(keys[1], x.shape), lowest.params)
    beyond = run_away(cost, near, lowest.params, optim.gradient_descent, config.edge_updates)
    row = {
        "function": "softmax regression",
        "optimizer": "gradient_descent",
        "formula": 2 / there,
        "edge": edge(beyond, 0.5, 20.0, 2),
    }
    rates = np.geomspace(0.02 / there, 10 / there, NUM_RATES)
    from_zero = lambda rate: optim.minimize(
        cost, zero, optim.gradient_descent(rate), max_iterations=300, tolerance=0.0, keep_trajectory=False
    )
    ends = np.asarray(jax.jit(jax.vmap(from_zero))(jnp.asarray(rates, jnp.float32)).value)
    return row, {
        "lowest": float(lowest.value),
        "edge": 2 / there,
        "edge at the start": 2 / here,
        "rates": rates,
        "left": ends - float(lowest.value),
    }


def stability(config: Config, training: dict) -> dict[float, dict[str, np.ndarray]]:
    """Loss and curvature along the training of a tanh net by whole batches, for several rates in one program."""
    every = 50
    if config.stability_updates % every:
        raise ValueError(f"stability_updates must be a multiple of {every}, got {config.stability_updates}")
    few = training["image"][:400]
    rows = {"x": few - few.mean(axis=0), "y": np.eye(10, dtype=np.float32)[training["label"][:400]]}
    model = MLP((32, 32), 10, activation=nn.tanh)
    objective = regression(model, losses.squared_error)
    key = jax.random.key(config.seed)
    variables = model.init(key, rows["x"][:1], train=False)

    def one(rate: Array):
        tx = optim.gradient_descent(rate)
        update = train.make_update(train.backprop(objective), tx, report_norms=False)

        def stretch(state, _):
            state, metrics = jax.lax.scan(lambda state, _: update(state, rows), state, length=every)
            cost = lambda params: objective(params, {}, rows, key)[0]
            return state, (metrics["loss"][-1], curvature(cost, state.params, key, 30))

        state = train.create_train_state(key, variables, tx)
        return jax.lax.scan(stretch, state, length=config.stability_updates // every)[1]

    loss, curved = jax.device_get(jax.jit(jax.vmap(one))(jnp.asarray(RATES)))
    updates = every * (1 + np.arange(loss.shape[1]))
    return {
        rate: {"updates": updates, "loss": loss[i], "curvature": curved[i]} for i, rate in enumerate(RATES)
    }


def schedules(peak: float, updates: int) -> dict[str, optax.Schedule]:
    """Every schedule of `jaxdl.optim`, of so many updates, with its highest rate at `peak`."""
    tenth = max(1, updates // 10)
    return {
        "constant": optim.constant(peak),
        "linear_warmup": optim.linear_warmup(0.0, peak, tenth),
        "step_decay": optim.step_decay(peak, max(1, updates // 5), 0.4),
        "piecewise_constant": optim.piecewise_constant(peak, {updates // 2: 0.1, 4 * updates // 5: 0.1}),
        "exponential_decay": optim.exponential_decay(peak, updates, 0.01),
        "time_based_decay": optim.time_based_decay(peak, 20 / updates),
        "polynomial_decay": optim.polynomial_decay(peak, 0.0, 2.0, updates),
        "cosine_decay": optim.cosine_decay(peak, updates),
        "warmup_cosine": optim.warmup_cosine(0.0, peak, tenth, updates),
        "cosine_restarts": optim.cosine_restarts(peak, -(-updates // 7), 2),
        "cyclic, triangular": optim.cyclic(peak / 10, peak, tenth),
        "cyclic, triangular2": optim.cyclic(peak / 10, peak, tenth, mode="triangular2"),
        "cyclic, exp_range": optim.cyclic(
            peak / 10, peak, tenth, mode="exp_range", gamma=0.01 ** (1 / updates)
        ),
        "one_cycle": optim.one_cycle(updates, peak),
        "noam": optim.noam(1, tenth, peak * tenth**0.5),
    }


def by_update(values: Array) -> optax.GradientTransformation:
    """Gradient descent at a rate for each update, float32[updates]: one program for all schedules."""
    return optim.gradient_descent(lambda count: values[count])


def sweep(run: Run, training: dict, test: dict) -> tuple[list[dict], dict[str, Any]]:
    """64 rates times the seeds of a ReLU net, under gradient descent and delta-bar-delta; rows, and what is drawn."""
    config, model = run.config, MLP((32, 32), 10)
    nets = Populations(
        run,
        lambda key: model.init(key, training["image"][:1], train=False),
        classification(model, LOSS),
        training,
        num_passes=config.num_passes,
        batch_size=config.batch_size,
        look=classifier_look(model, LOSS),
        looked_at=test,
    )
    rates, rows, drawn = np.geomspace(1e-3, 10, NUM_RATES), [], {}
    for name in ("gradient_descent", "delta_bar_delta"):
        found = nets.train_grid(name, getattr(optim, name), rates, config.num_seeds)
        loss, accuracy = found.looks["loss"][..., -1], 100 * found.looks["accuracy"][..., -1]
        # A rate at which one seed of eight fails is beyond the edge.
        reads = np.flatnonzero(accuracy.min(axis=1) >= 90)
        rows.append(
            {
                "optimizer": name,
                "nets": loss.size,
                "lowest rate that reads 90 %": float(rates[reads[0]]) if len(reads) else float("nan"),
                "highest": float(rates[reads[-1]]) if len(reads) else float("nan"),
                "seconds": found.seconds,
            }
        )
        drawn[name] = (rates, found.smooth_losses(nets.updates_per_pass)[..., -1], accuracy)
    return rows, drawn


def compare_schedules(run: Run, training: dict, lowest: float, peaks: np.ndarray) -> dict[str, np.ndarray]:
    """Trains softmax regression by small batches under every schedule from every peak, and by delta-bar-delta.

    Returns:
      For each schedule and peak the loss of all digits at the end above the lowest there is, mean of the seeds.
    """
    config = run.config
    regressions = Populations(
        run,
        lambda key: SoftmaxRegression(10).init(key, training["image"][:1], train=False),
        penalised,
        training,
        num_passes=config.num_passes,
        batch_size=config.batch_size // 4,
        look=lambda params, rows: {"cost": penalised_cost(params, rows)},
    )

    def left(part: str, optimizer: Callable[[Any], Any], rates: np.ndarray) -> np.ndarray:
        found = regressions.train_grid(f"regression-{part}", optimizer, rates, config.num_seeds)
        return found.looks["cost"][..., -1].mean(axis=1) - lowest

    updates = regressions.num_updates
    drawn = [schedules(peak, updates) for peak in peaks]
    values = [schedule(np.arange(updates)) for of_peak in drawn for schedule in of_peak.values()]
    scheduled = left("schedules", by_update, np.stack(values)).reshape(len(peaks), -1)
    return {
        **dict(zip(drawn[0], scheduled.T)),
        "reduce_on_plateau": left("plateau", partial(on_plateau, regressions.updates_per_pass), peaks),
        "delta_bar_delta": left("delta_bar_delta", optim.delta_bar_delta, peaks),
    }


def on_plateau(updates_per_pass: int, rate: Array) -> optax.GradientTransformation:
    """Gradient descent whose rate halves when the mean loss of a pass has not fallen twice."""
    patience = optim.reduce_on_plateau(factor=0.5, patience=2, accumulation_size=updates_per_pass)
    return optax.chain(optim.gradient_descent(rate), patience)


def main(config: Config) -> int:
    """Finds the edges, then sweeps, then compares schedules."""
    training, test = (
        {**part, "image": data.scale_pixels(part["image"], max_value=16)}
        for part in map(data.digits, ("train", "test"))
    )
    run = Run("optimizers.learning_rate_sweep", config)
    edges = quadratic_edges(config.seed)
    softmax, near = softmax_edge(config, training)
    edges.append(softmax)
    for row in edges:
        row["off %"] = 100 * abs(row["edge"] / row["formula"] - 1)
    run.table("x² from 5, fifty updates at rate 0.1", [worked_example()])
    run.table("the edge of divergence", edges)
    run.figure("edge_of_divergence", lambda: draw_edges(near))
    curved = stability(config, training)
    run.figure("edge_of_stability", lambda: draw_stability(curved))
    # The lower two rates may not come to their edge in time.
    last = slice(-len(curved[RATES[0]]["curvature"]) // 4, None)
    met = [np.mean(curved[rate]["curvature"][last]) * rate / 2 for rate in RATES[2:]]
    rows, swept = sweep(run, training, test)
    run.table(f"{NUM_RATES} rates of a net, the worst of {config.num_seeds} seeds", rows)
    run.figure("sweep", lambda: draw_sweep(swept))
    shares = 2.0 ** np.arange(-6, 1)
    left = compare_schedules(run, training, near["lowest"], shares * softmax["formula"])
    run.figure("schedules", draw_schedules)
    run.figure("loss_left", lambda: draw_loss_left(shares, left))
    table = [
        {
            "schedule": name,
            **{f"at 1/{round(1 / shares[i])} of the edge": float(values[i]) for i in (1, 3, 5)},
            "at its best": float(np.nanmin(values)),
        }
        for name, values in left.items()
    ]
    without, with_gains = (row["lowest rate that reads 90 %"] for row in rows)
    return run.finish(
        [
            (SQUARE, edges[0]["off %"]),
            (QUADRATIC, max(row["off %"] for row in edges[1:-1])),
            (SOFTMAX, softmax["off %"]),
            (STABILITY, 100 * float(np.max(np.abs(np.array(met) - 1)))),
            (FROM_FAR, without / with_gains),
            (SETTLES, float(left["cosine_decay"][5] / left["constant"][5])),
        ],
        sorted(table, key=lambda row: row["at 1/2 of the edge"]),
        try_next=["python -m experiments.optimizers.race"],
    )


def draw_edges(near: dict[str, Any]):
    """How far x² and softmax regression are from their minima after some updates, against the rate."""
    figure, (square, softmax) = canvas.panels(2, columns=2, width=4.6, height=3.4)
    rates = np.linspace(0.02, 1.2, NUM_RATES)
    descend = lambda rate: optim.minimize(
        lambda x: x**2, jnp.float32(5), optim.gradient_descent(rate), max_iterations=50, tolerance=0.0
    )
    ends = np.abs(jax.vmap(descend)(jnp.asarray(rates, jnp.float32)).params)
    square.plot(
        rates, 5 * np.abs(1 - 2 * rates) ** 50, color=canvas.FAINT, linewidth=3, label="5 |1 - 2 rate|⁵⁰"
    )
    square.plot(rates, ends, "o", color=canvas.COLORS[0], markersize=3, label="after 50 updates")
    square.axvline(1, color=canvas.COLORS[1], label="2 over the curvature")
    square.axhline(5, color=canvas.INK, linewidth=0.8, linestyle=":", label="start")
    square.set_ylim(1e-9, 1e9)
    canvas.style(square, title="gradient descent on x² from 5", x="learning rate", y="|x|")
    softmax.plot(
        near["rates"], near["left"], "o-", markersize=3, linewidth=1, label="after 300 updates from 0"
    )
    softmax.axvline(near["edge"], color=canvas.COLORS[1], label="2 over the curvature at the minimum")
    start = {"color": canvas.COLORS[2], "linestyle": "--", "label": "2 over the curvature at 0"}
    softmax.axvline(near["edge at the start"], **start)
    softmax.set_xscale("log")
    title = "softmax regression of the digits, whole batches"
    canvas.style(softmax, title=title, x="learning rate", y="loss above the lowest")
    for axes in (square, softmax):
        axes.set_yscale("log")
    canvas.legends_below(figure)
    return figure


def draw_stability(curved: dict[float, dict[str, np.ndarray]]):
    """Loss and curvature of a tanh net along training, with 2 / rate."""
    figure, panels = canvas.panels(2, columns=2, width=4.6, height=3.4)
    for i, (rate, path) in enumerate(curved.items()):
        color, line, _ = canvas.look(i)
        for axes, key in zip(panels, ("loss", "curvature")):
            axes.plot(path["updates"], path[key], color=color, linestyle=line, label=f"rate {rate:g}")
        panels[1].axhline(2 / rate, color=color, linewidth=0.8)
    panels[0].set_yscale("log")
    canvas.style(panels[0], title="a tanh net, whole batches", x="update", y="squared error")
    title = "its curvature, and 2 / rate (thin)"
    canvas.style(panels[1], title=title, x="update", y="largest eigenvalue of the Hessian")
    canvas.legends_below(figure)
    return figure


def draw_sweep(swept: dict[str, Any]):
    """Training loss and held-out accuracy against the rate: the median of the seeds, and all between them."""
    figure, panels = canvas.panels(2, columns=2, width=4.6, height=3.4)
    for i, (name, (rates, *measured)) in enumerate(swept.items()):
        color, line, _ = canvas.look(i)
        for axes, values in zip(panels, measured):
            known = np.isfinite(values).all(axis=1)
            seeds = np.sort(values[known], axis=1).T
            axes.fill_between(rates[known], seeds[0], seeds[-1], color=color, alpha=0.2, linewidth=0)
            axes.plot(rates[known], np.median(seeds, axis=0), color=color, linestyle=line, label=name)
    for axes, y in zip(panels, ("training loss of the last pass", "held-out digits read right, %")):
        axes.set_xscale("log")
        canvas.style(axes, title="a ReLU net of the digits", x="learning rate", y=y)
    panels[0].set_yscale("log")
    panels[0].set_ylim(top=10)
    canvas.legends_below(figure)
    return figure


def draw_schedules():
    """Every schedule over 1,000 updates."""
    drawn = schedules(1.0, 1000)
    figure, panels = canvas.panels(len(drawn), columns=4, width=2.2, height=1.6)
    for axes, (name, schedule) in zip(panels, drawn.items()):
        axes.plot(np.asarray(schedule(np.arange(1000))), color=canvas.COLORS[0])
        axes.set_ylim(-0.05, 1.1)
        canvas.style(axes, title=name)
    return figure


def draw_loss_left(shares: np.ndarray, left: dict[str, np.ndarray]):
    """The loss that each schedule leaves, against its highest rate over the edge."""
    figure, (axes,) = canvas.panels(1, columns=1, width=6.4, height=4.2)
    for i, (name, values) in enumerate(left.items()):
        color, line, marker = canvas.look(i)
        look: Any = {"color": color, "linestyle": line, "marker": marker, "markersize": 4, "linewidth": 1.4}
        axes.plot(shares, values, label=name, **look)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    title = "softmax regression by small batches: what each schedule leaves"
    canvas.style(axes, title=title, x="highest rate over the edge of divergence", y="loss above the lowest")
    canvas.legends_below(figure)
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
