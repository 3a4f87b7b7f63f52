"""The worked example of backpropagation: error 0.298371109 falls to 0.291027774 in one step and 3.510188e-5 in 10,000.

    python -m experiments.dense.backprop_by_hand

Data: worked (one row, two inputs, two targets)

A 2-2-2 sigmoid net with given weights learns one row by gradient descent at rate 0.5, biases fixed, in float64, with
the four equations written out (rules.manual_backprop) and no automatic differentiation. Every number of the first step
is printed beside the published one. Simultaneous updates take all gradients at the same weights. The program that
printed 0.291027924 in wide circulation updates in place from the last layer to the first, so the hidden layer's
gradient goes through weights already changed; that sequential variant runs beside it, and so does one that also moves
the biases. The same rule gives the gradients of random nets, where automatic differentiation agrees to the last digits.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.nets import Repeated
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import losses, nn, optim, rules, train
from jaxdl.models.dense import MLP
from jaxdl.types import Array
from jaxdl.viz import canvas

# Half a unit of the last printed digit.
BEFORE = Claim("error before the first step, distance from 0.298371109", 5e-10, "lower")
ONE_STEP = Claim("error after one simultaneous step, distance from 0.291027774", 5e-10, "lower")
MANY_STEPS = Claim("error after 10,000 simultaneous steps, distance from 3.510188e-5", 5e-12, "lower")
IN_PLACE = Claim("error after one sequential step, distance from 0.291027924", 5e-10, "lower")
AUTODIFF = Claim(
    "gradients of random nets, largest relative distance from automatic differentiation", 1e-10, "lower"
)


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_updates: int = 10_000
    """Steps of gradient descent; a multiple of 10."""
    learning_rate: float = 0.5
    """Rate of gradient descent; the published numbers are those of 0.5."""
    num_nets: int = 100
    """Random nets of each shape whose gradients are compared with automatic differentiation."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_updates=50, num_nets=3),
    "full": Config(preset="full", num_nets=10_000),
}
UPDATES_PER_CALL = 10

ROW = {"x": np.array([[0.05, 0.10]]), "y": np.array([[0.01, 0.99]])}
# Columns are units: w1, w2 lead to the first hidden unit, w5, w6 to the first output.
START = {
    "Dense_0": {"kernel": np.array([[0.15, 0.25], [0.20, 0.30]]), "bias": np.array([0.35, 0.35])},
    "Dense_1": {"kernel": np.array([[0.40, 0.50], [0.45, 0.55]]), "bias": np.array([0.60, 0.60])},
}
# What was published, or derived where the source lost a figure, for the step by simultaneous updates.
PUBLISHED = {
    "hidden": [0.593269992107, 0.596884378260],
    "outputs": [0.751365069552, 0.772928465321],
    "deltas of the outputs": [0.138498561629, -0.038098236517],
    "deltas of the hidden units": [0.008771354689, 0.009954254705],
    "dE/dw1 ... w4": [0.000438567734, 0.000877135469, 0.000497712735, 0.000995425471],
    "dE/dw5 ... w8": [0.082167040564, 0.082667627848, -0.022602540477, -0.022740242216],
    "new w1 ... w4": [0.149780716133, 0.199561432266, 0.249751143632, 0.299502287265],
    "new w5 ... w8": [0.358916479718, 0.408666186076, 0.511301270239, 0.561370121108],
}
SHAPES = ((3, 1), (2, 2, 2), (4, 5, 3), (1, 6, 6, 1), (5, 3, 4, 2, 2))


def layers(params, x) -> list:
    """Values of every layer, first to last."""
    values = []
    for layer in params.values():
        x = jax.nn.sigmoid(x @ layer["kernel"] + layer["bias"][None])
        values.append(x)
    return values


def by_unit(tree) -> dict[str, np.ndarray]:
    """w1 to w4 and w5 to w8 in the order of the example."""
    return {name: np.ravel(np.asarray(layer["kernel"]).T) for name, layer in tree.items()}


def one_bias_per_layer() -> optax.GradientTransformation:
    """The example has one bias for all units of a layer: its gradient is the sum of theirs."""

    def shared(grads: Any, params: Any) -> Any:
        del params
        return {
            name: {**layer, "bias": jnp.full_like(layer["bias"], layer["bias"].sum())}
            for name, layer in grads.items()
        }

    return optax.stateless(shared)


def variants(rate: float) -> dict[str, tuple]:
    """Name, then the rule, the optimizer, and the published errors after 1 and 10,000 steps."""
    weights_only = optax.chain(optim.gradient_descent(rate), optim.freeze("bias$"))
    everything = optax.chain(one_bias_per_layer(), optim.gradient_descent(rate))
    in_place = rules.manual_backprop(sequential_learning_rate=rate)
    return {
        "simultaneous": (rules.manual_backprop(), weights_only, 0.291027774, 3.510188e-5),
        "sequential": (in_place, weights_only, 0.291027923905, 3.5084786e-5),
        "biases too": (rules.manual_backprop(), everything, 0.285750886699, 4.355e-6),
    }


def first_step(rule, rate: float) -> dict[str, np.ndarray]:
    """All numbers of the worked step, by the names of PUBLISHED."""
    _, grads = rule(START, {}, ROW, None)
    hidden, outputs = layers(START, ROW["x"])
    gradient, weights = by_unit(grads), by_unit(START)
    return {
        "hidden": np.asarray(hidden[0]),
        "outputs": np.asarray(outputs[0]),
        "deltas of the outputs": np.asarray(grads["Dense_1"]["bias"]),  # a bias gradient is its unit's delta
        "deltas of the hidden units": np.asarray(grads["Dense_0"]["bias"]),
        "dE/dw1 ... w4": gradient["Dense_0"],
        "dE/dw5 ... w8": gradient["Dense_1"],
        "new w1 ... w4": weights["Dense_0"] - rate * gradient["Dense_0"],
        "new w5 ... w8": weights["Dense_1"] - rate * gradient["Dense_1"],
    }


def distance_from_autodiff(config: Config) -> float:
    """The largest difference from automatic differentiation over all random nets, relative to the largest gradient."""
    worst = 0.0
    for number, (inputs, *hidden, outputs) in enumerate(SHAPES):
        model = MLP(hidden, outputs, activation=nn.sigmoid, kernel_init=nn.normal_init(1.0))

        def objective(params, model_state, batch, key, model=model):
            z: Array = model.apply({"params": params}, batch["x"], train=True)  # pyrefly: ignore[bad-assignment]
            return jnp.sum(losses.half_squared_error(nn.sigmoid(z), batch["y"])), (model_state, {})

        def gradient(rule, key, model=model, inputs=inputs, outputs=outputs):
            keys = jax.random.split(key, 3)
            batch = {
                "x": jax.random.normal(keys[0], (4, inputs)),
                "y": jax.random.uniform(keys[1], (4, outputs)),
            }
            params = model.init(keys[2], batch["x"], train=False)["params"]
            leaves = jax.tree.leaves(rule(params, {}, batch, key)[1])
            return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])

        keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), number), config.num_nets)
        # Compiled apart, so that neither is made of the other.
        by_hand, automatic = (
            np.asarray(jax.jit(jax.vmap(functools.partial(gradient, rule)))(keys))
            for rule in (rules.manual_backprop(), train.backprop(objective))
        )
        relative = np.abs(by_hand - automatic).max(axis=1) / np.abs(automatic).max(axis=1)
        worst = max(worst, float(relative.max()))
    return worst


class Trained(NamedTuple):
    """Errors before and after numbers of updates, and the last outputs."""

    updates: np.ndarray
    errors: np.ndarray
    outputs: tuple[float, float]


def train_variant(run: Run, name: str, rule, tx) -> Trained:
    """All updates of one variant from the start of the example."""
    config, update = run.config, train.make_update(rule, tx)
    state = train.create_train_state(jax.random.key(config.seed), {"params": START}, tx)

    def error(state):
        return rule(state.params, {}, ROW, None)[0][0]

    def call(state, batch):
        """So many updates, and the error after the last of them."""
        state, _ = jax.lax.scan(
            lambda state, _: (update(state, batch)[0], None), state, length=UPDATES_PER_CALL
        )
        first, second = layers(state.params, batch["x"])[-1][0]
        return state, {"loss": error(state), "output/first": first, "output/second": second}

    at_first = [float(error(state)), float(error(update(state, ROW)[0]))]
    _, history = run.fit(
        jax.jit(call, donate_argnums=0),
        state,
        Repeated(ROW),
        num_steps=config.num_updates // UPDATES_PER_CALL,
        log_every=1,
        part=name.replace(" ", "-"),
        progress=None,  # it takes a second
    )
    calls, errors = history["loss"]
    return Trained(
        np.array([0, 1, *(UPDATES_PER_CALL * np.array(calls))]),
        np.array([*at_first, *errors]),
        (history.last("output/first"), history.last("output/second")),
    )


def main(config: Config) -> int:
    """Prints the worked step, runs the three variants, and compares random nets with automatic differentiation."""
    if config.num_updates % UPDATES_PER_CALL:
        raise ValueError(f"num_updates must be a multiple of {UPDATES_PER_CALL}, got {config.num_updates}")
    with jax.enable_x64(True):
        return run_in_float64(config)


def run_in_float64(config: Config) -> int:
    """What `main` does; the published numbers have more digits than float32."""
    run = Run("dense.backprop_by_hand", config)
    worked = first_step(rules.manual_backprop(), config.learning_rate)
    run.table(
        "the first step",
        [
            {
                "numbers": name,
                "here": ", ".join(f"{value:.12f}" for value in values),
                "largest distance from those published": f"{np.abs(values - PUBLISHED[name]).max():.1g}",
            }
            for name, values in worked.items()
        ],
    )
    rows, trained = [], {}
    for name, (rule, tx, after_one, after_all) in variants(config.learning_rate).items():
        result = trained[name] = train_variant(run, name, rule, tx)
        last = f"{result.errors[-1]:.6e}", f"{after_all:.6e}"
        for number, error, published in (
            (1, f"{result.errors[1]:.9f}", f"{after_one:.9f}"),
            (config.num_updates, last[0], last[1] if config.num_updates == 10_000 else ""),
        ):
            rows.append({"updates": name, "steps": number, "error": error, "published": published})
        rows[-1]["outputs"] = ", ".join(f"{y:.9f}" for y in result.outputs)
        rows[-2]["outputs"] = ""
    before, after = trained["simultaneous"].errors[:2]
    run.figure("one_step", lambda: step_figure(worked, before, after, config.learning_rate))
    run.figure("errors", lambda: errors_figure(trained))
    return run.finish(
        [
            (ONE_STEP, float(abs(after - 0.291027774))),
            (BEFORE, float(abs(before - 0.298371109))),
            (MANY_STEPS, float(abs(trained["simultaneous"].errors[-1] - 3.510188e-5))),
            (IN_PLACE, float(abs(trained["sequential"].errors[1] - 0.291027924))),
            (AUTODIFF, distance_from_autodiff(config)),
        ],
        rows,
        try_next=["python -m experiments.dense.xor_backprop"],
    )


WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
PLACES = [[(0.0, 1.0), (0.0, 0.0)], [(1.0, 1.0), (1.0, 0.0)], [(2.0, 1.0), (2.0, 0.0)]]


def draw_net(axes, title: str, nodes: list[list[str]], edges: list[list[str]]) -> None:
    """A 2-2-2 net: text in and under its units, and on its connections in the order w1, w2, w3, w4 of each layer."""
    for layer, texts in enumerate(edges):
        for i, text in enumerate(texts):
            (x0, y0), (x1, y1) = PLACES[layer][i % 2], PLACES[layer + 1][i // 2]
            axes.plot([x0, x1], [y0, y1], color=canvas.FAINT, linewidth=1.2, zorder=1)
            at = 0.31 if i % 2 == i // 2 else 0.36  # crossing connections are labelled away from the crossing
            axes.text(
                x0 + at * (x1 - x0),
                y0 + at * (y1 - y0),
                text,
                ha="center",
                va="center",
                fontsize=7.5,
                color=canvas.INK,
                bbox=WHITE,
                zorder=2,
            )
    for layer, texts in enumerate(nodes):
        for (x, y), text in zip(PLACES[layer], texts):
            name, *below = text.split("\n", 1)
            axes.plot(
                x, y, "o", markersize=27, color="white", markeredgecolor=canvas.look(layer).color, zorder=3
            )
            axes.text(x, y, name, ha="center", va="center", fontsize=9, color=canvas.INK, zorder=4)
            axes.text(
                x,
                y - 0.18,
                *below,
                ha="center",
                va="top",
                bbox=WHITE,
                fontsize=7.5,
                color=canvas.INK,
                zorder=2,
            )
    canvas.style(axes, title=title)
    canvas.bare(axes)
    axes.set(xlim=(-0.25, 2.3), ylim=(-0.42, 1.25))


def step_figure(worked, before: float, after: float, rate: float):
    """The worked step as two pictures of the net: forward with the weights, backward with the gradients."""
    figure, (forward, backward) = canvas.panels(2, columns=1, width=7.6, height=3.4)
    hidden, outputs = worked["hidden"], worked["outputs"]
    weights = np.concatenate(list(by_unit(START).values()))
    new = np.concatenate([worked["new w1 ... w4"], worked["new w5 ... w8"]])
    gradient = np.concatenate([worked["dE/dw1 ... w4"], worked["dE/dw5 ... w8"]])
    labels = [
        f"$w_{i}$ {old:g} → {changed:.6f}" for i, (old, changed) in enumerate(zip(weights, new), start=1)
    ]
    draw_net(
        forward,
        f"forward, and the weights before and after one step at rate {rate:g}: error {before:.9f} → {after:.9f}",
        [
            [f"$x_{i + 1}$\n{ROW['x'][0, i]:g}" for i in range(2)],
            [f"$h_{i + 1}$\n{hidden[i]:.6f}" for i in range(2)],
            [f"$y_{i + 1}$\n{outputs[i]:.6f}, target {ROW['y'][0, i]:g}" for i in range(2)],
        ],
        [labels[:4], labels[4:]],
    )
    labels = [f"$\\partial E / \\partial w_{i}$ = {value:.6f}" for i, value in enumerate(gradient, start=1)]
    draw_net(
        backward,
        r"backward: $\delta$ = $\partial E / \partial z$ of every unit, and the gradient of every weight",
        [
            ["$x_1$\n ", "$x_2$\n "],
            [f"$h_{i + 1}$\n$\\delta$ = {worked['deltas of the hidden units'][i]:.6f}" for i in range(2)],
            [f"$y_{i + 1}$\n$\\delta$ = {worked['deltas of the outputs'][i]:.6f}" for i in range(2)],
        ],
        [labels[:4], labels[4:]],
    )
    return figure


def errors_figure(trained: dict[str, Trained]):
    """The error of every variant, and how far sequential updates are from simultaneous ones."""
    figure, (errors, difference) = canvas.panels(2, columns=2, width=4.2, height=3.4)
    for i, (name, result) in enumerate(trained.items()):
        color, line, _ = canvas.look(i)
        # A logarithmic axis has no 0.
        errors.loglog(
            result.updates[1:], result.errors[1:], color=color, linestyle=line, linewidth=1.6, label=name
        )
    canvas.style(errors, title="error", x="updates", y="half squared error")
    relative = np.abs(trained["sequential"].errors / trained["simultaneous"].errors - 1)[1:]
    difference.loglog(trained["sequential"].updates[1:], relative, color=canvas.look(1).color, linewidth=1.6)
    canvas.style(
        difference, title="sequential against simultaneous", x="updates", y="relative difference of the error"
    )
    canvas.legends_below(figure)
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
