"""The perceptron rule learns AND, OR, NAND and NOR within 25 epochs from each of 100 starts, and never XOR or XNOR.

    python -m experiments.dense.logic_gates

Data: synthetic (the four rows of six gates; five points beside a line)

The first start is 0, the others are normal, rounded to multiples of 1/64. Rows come one by one, always in the same
order, and every update adds or subtracts a row, so float32 computes the weights exactly. On XOR and XNOR they come back
to where they were with errors on the way; what follows is then the same for ever: a proof by running that no epoch
without an error will come. Beside it nets whose weights are set by hand, McCulloch-Pitts units and ReLU, which do
compute XOR; and two trained nets of three layers, one ReLU, one linear, whose border is a straight line again however
many layers it has.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.nets import Repeated
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, nn, optim, rules, train, viz
from jaxdl.models.dense import MLP, McCullochPitts, Perceptron
from jaxdl.types import Array
from jaxdl.viz import canvas

LEARNED = Claim("epochs until the slowest start has learned the hardest of AND, OR, NAND, NOR", 25, "lower")
CYCLES = Claim("starts whose weights on XOR and XNOR provably repeat with errors for ever, in percent", 100.0)
SET = Claim("rows that the nets set by hand get right, in percent", 100.0)
BENT = Claim("starts from which the ReLU net learns XOR, in percent", 90.0)
STRAIGHT = Claim("rows of XOR that the best linear net gets right, in percent", 75.0, "lower")

GATES = ("and", "or", "xor", "nand", "nor", "xnor")
SEPARABLE = ("and", "or", "nand", "nor")


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_starts: int = 100
    """Perceptrons trained side by side, the first from weights of 0."""
    max_epochs: int = 30
    """Epochs after which a gate is given up."""
    search: int = 200
    """Further epochs in which the weights of a gate that was given up must come back."""
    num_nets: int = 20
    """Trained nets of three layers of each kind, from as many starts."""
    num_updates: int = 1000
    """Their full-batch updates; a multiple of 100."""
    learning_rate: float = 0.02
    """Adam's rate for them."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_starts=5, num_nets=2, num_updates=200),
    "full": Config(preset="full", num_starts=10_000, num_nets=1000),
}
UPDATES_PER_CALL = 100


def gate(name: str) -> dict[str, np.ndarray]:
    """The four rows of a gate."""
    table = data.logic_gates()
    return {"x": table["x"], "y": table[name]}


def perceptrons(config: Config) -> dict:
    """Parameters of all starts: exact in float32, and so is every sum of them and of rows."""
    weights = jax.random.normal(jax.random.key(config.seed), (config.num_starts, 3)).at[0].set(0)
    weights = jnp.round(64 * weights) / 64
    return {"Dense_0": {"kernel": weights[:, :2, None], "bias": weights[:, 2:]}}


def lines(params) -> Array:
    """Weights of all starts as rows (w1, w2, b)."""
    layer = params["Dense_0"]
    return jnp.concatenate([layer["kernel"][..., 0], layer["bias"]], axis=-1)


def replayed(update, states, rows, num_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights after and errors at every update of further epochs, [epochs, 4, starts, 3] and [epochs, 4, starts]."""

    def one(states, row):
        states, metrics = update(states, row)
        return states, (lines(states.params), metrics["errors"])

    def epochs(states):
        return jax.lax.scan(lambda states, _: jax.lax.scan(one, states, rows), states, length=num_epochs)[1]

    return jax.device_get(jax.jit(epochs)(states))


def learn_gate(run: Run, name: str, step, states):
    """Trains all starts until none makes an error in an epoch, or the epochs are over."""
    rows = jax.tree.map(lambda leaf: leaf[:, None], gate(name))
    states, history = run.fit(
        step,
        states,
        Repeated(rows),
        num_steps=run.config.max_epochs,
        log_every=1,
        part=name,
        hooks=[train.StoppingCriterion(monitor="errors/worst", error_limit=0)],
        progress=None,  # it takes a tenth of a second
    )
    return states, history, rows


def train_nets(run: Run, part: str, activation):
    """2-8-8-1 nets on XOR from many starts: scores of points for the middle one, rows each gets right, the history."""
    config, batch, model = run.config, gate("xor"), MLP((8, 8), 1, activation=activation)

    def cross_entropy(params, model_state, batch, key):
        logits: Array = model.apply({"params": params}, batch["x"], train=True)  # pyrefly: ignore[bad-assignment]
        return jnp.mean(losses.sigmoid_binary_cross_entropy(logits, batch["y"])), (model_state, {})

    tx = optim.adam(config.learning_rate)
    create = lambda key: train.create_train_state(key, model.init(key, batch["x"], train=False), tx)
    states = jax.jit(jax.vmap(create))(jax.random.split(jax.random.key(config.seed), config.num_nets))
    population = train.population_step(train.make_update(train.backprop(cross_entropy), tx))

    def call(states, batch):
        states, metrics = jax.lax.scan(
            lambda states, _: population(states, batch), states, length=UPDATES_PER_CALL
        )
        return states, {"loss": jnp.median(metrics["loss"][-1]), "loss/worst": jnp.max(metrics["loss"][-1])}

    states, history = run.fit(
        jax.jit(call, donate_argnums=0),
        states,
        Repeated(batch),
        num_steps=config.num_updates // UPDATES_PER_CALL,
        log_every=1,
        part=part,
    )

    def scores(params, x):
        if activation is nn.identity:
            kernel, bias = collapsed(params)
            return (x @ kernel + bias)[:, 0]
        return np.asarray(model.apply({"params": params}, x, train=False))[:, 0]

    nets = [
        jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), states.params) for i in range(config.num_nets)
    ]
    right = np.array([np.mean((scores(params, batch["x"]) > 0) == batch["y"][:, 0]) for params in nets])
    middle = nets[np.argsort(right)[len(right) // 2]]
    return functools.partial(scores, middle), right, history


def collapsed(params) -> tuple[np.ndarray, np.ndarray]:
    """The one layer that linear layers make: kernel [2, 1] and bias [1].

    In float64: what they learn on XOR is to answer 1/2, and in float32 the signs would be those of rounding errors.
    """
    kernel, bias = np.eye(2), np.zeros(2)
    for i in range(len(params)):
        layer = jax.tree.map(np.float64, params[f"Dense_{i}"])
        kernel, bias = kernel @ layer["kernel"], bias @ layer["kernel"] + layer["bias"]
    return kernel, bias


def dense(*layers):
    """Parameters from pairs of kernel and bias."""
    return {
        f"Dense_{i}": {"kernel": np.array(kernel, np.float32), "bias": np.array(bias, np.float32)}
        for i, (kernel, bias) in enumerate(layers)
    }


def nets_by_hand() -> dict[str, tuple]:
    """Name, then the function of points [M, 2] and the gate that it computes."""

    def units(*layers):
        def fires(x):
            for layer in layers:
                x = layer.apply({}, x, train=False)
            return np.asarray(x[:, 0])

        return fires

    def relu(output_kernel, output_bias):
        params = dense(([[1, 1], [1, 1]], [0, -1]), (output_kernel, output_bias))

        def output(x):
            net: Array = MLP((2,), 1).apply({"params": params}, x, train=False)  # pyrefly: ignore[bad-assignment]
            return np.asarray(nn.relu(net)[:, 0])

        return output

    both = McCullochPitts((0.5, 1.5), ((1, 1), (1, 1)))  # OR and AND of the inputs
    return {
        "threshold 2": (units(McCullochPitts(2)), "and"),
        "threshold 1": (units(McCullochPitts(1)), "or"),
        "OR but not AND": (units(both, McCullochPitts(0.5, ((1,), (-2,)))), "xor"),
        "weights -1": (units(McCullochPitts(-1, ((-1,), (-1,)))), "nand"),
        "both inhibit": (units(McCullochPitts(-1, inhibitory=(0, 1))), "nor"),
        "AND or not OR": (units(both, McCullochPitts(0, ((-1,), (2,)))), "xnor"),
        "ReLU, h1 - 2 h2": (relu([[1], [-2]], [0]), "xor"),
        "ReLU, 1 - h1 + 2 h2": (relu([[-1], [2]], [1]), "xnor"),
    }


# A line drawn by hand and the points it separates, the last one new.
LINE = dense(([[1 / 2], [1 / 4]], [-2]))
POINTS = np.array([[5, 2], [-1, 12], [3, -5], [-2, -1], [3, -2]], np.float32)
ABOVE = np.array([1, 1, 0, 0, 0])


def main(config: Config) -> int:
    """Trains the perceptrons on six gates, sets nets by hand, and trains nets with and without a nonlinearity."""
    if config.num_updates % UPDATES_PER_CALL:
        raise ValueError(f"num_updates must be a multiple of {UPDATES_PER_CALL}, got {config.num_updates}")
    run = Run("dense.logic_gates", config)
    tx = optim.gradient_descent(1.0)
    create = jax.jit(jax.vmap(lambda key, params: train.create_train_state(key, {"params": params}, tx)))
    keys = jax.random.split(jax.random.key(config.seed), config.num_starts)
    update = train.population_step(train.make_update(rules.perceptron_rule(coding="binary"), tx))

    def epoch(states, rows):
        states, metrics = train.scan_steps(update, 4)(states, rows)
        errors = 4 * metrics["errors"]  # of an epoch: the metrics are means over its updates
        return states, {"errors": errors.mean(), "errors/worst": errors.max(), "errors/from zero": errors[0]}

    step = jax.jit(epoch)
    rows, curves, slowest, repeating, paths = [], {}, [], [], {}
    for name in GATES:
        start = create(keys, perceptrons(config))
        states, history, batch = learn_gate(run, name, step, start)
        epochs = len(history["errors"][0])
        learned = history["errors/worst"][1][-1] == 0
        from_zero = np.asarray(history["errors/from zero"][1])
        # Which starts come back to the weights they have now, and after how many epochs, all of them with errors.
        path, errors = replayed(update, states, batch, config.search)
        back = (path[:, -1] == np.asarray(lines(states.params))).all(axis=2)
        period = np.where(back.any(axis=0), 1 + back.argmax(axis=0), np.inf)
        if name in SEPARABLE:
            slowest.append(epochs if learned else np.inf)
        else:
            repeating.append(np.isfinite(period) & (errors.sum(axis=1) > 0).all(axis=0))
        curves[f"{name.upper()}/errors"] = history["errors"]
        needed = 1 + int(np.argmax(from_zero == 0)) if from_zero.min() == 0 else epochs
        paths[name] = replayed(update, start, batch, needed)[0][:, :, 0]
        rows.append(
            {
                "gate": name.upper(),
                "slowest start": f"{epochs} epochs" if learned else "never",
                "from 0": f"{needed} epochs" if from_zero.min() == 0 else "never",
                "updates": int(from_zero.sum()) if from_zero.min() == 0 else "for ever",
                "w1, w2, b": ", ".join(f"{w:g}" for w in paths[name][-1, -1]),
                "comes back after": "stays" if learned else f"{period.max():g} epoch(s)",
                "seconds": history.last("seconds"),
            }
        )
    run.figure("perceptron", lambda: perceptron_figure(paths))
    run.figure("errors", lambda: errors_figure(curves, config.num_starts))

    by_hand = nets_by_hand()
    results = {
        name: (net(gate(of)["x"]) > 0.5) == (gate(of)["y"][:, 0] > 0.5) for name, (net, of) in by_hand.items()
    }
    drawn = np.asarray(Perceptron().apply({"params": LINE}, POINTS, train=False))[:, 0]
    results["-2 + x1 / 2 + x2 / 4 on five points"] = (drawn > 0) == ABOVE
    run.table(
        "set by hand", [{"net": name, "rows right": f"{r.sum()} of {len(r)}"} for name, r in results.items()]
    )
    run.figure("set_by_hand", lambda: by_hand_figure(by_hand))

    nets = {
        name: train_nets(run, f"{name}-nets", activation)
        for name, activation in (("ReLU", nn.relu), ("linear", nn.identity))
    }
    run.table(
        "2-8-8-1 on XOR",
        [
            {
                "net": name,
                "starts that learn it %": 100 * float(np.mean(right == 1)),
                "rows right, best start %": 100 * float(right.max()),
                "median loss": history.last("loss"),
            }
            for name, (_, right, history) in nets.items()
        ],
    )
    run.figure("straight_or_bent", lambda: nets_figure(nets))
    return run.finish(
        [
            (LEARNED, float(max(slowest))),
            (CYCLES, 100 * float(np.mean(repeating))),
            (SET, 100 * float(np.mean(np.concatenate(list(results.values()))))),
            (BENT, 100 * float(np.mean(nets["ReLU"][1] == 1))),
            (STRAIGHT, 100 * float(nets["linear"][1].max())),
        ],
        rows,
        try_next=[
            "python -m experiments.dense.logic_gates --num-starts=10000",
            "python -m experiments.dense.xor_backprop",
        ],
    )


SIDE = (-0.5, 1.5)


def draw_gate(axes, name: str, score, title: str) -> None:
    """The four rows of a gate, on the regions where a score [M] of points [M, 2] is above and below 1/2."""
    # Grids that hardly meet the lines through the corners, where a unit is at its threshold.
    first, second = (np.linspace(*SIDE, count, dtype=np.float32) for count in (400, 431))
    points = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    yes = (np.asarray(score(points)) > 0.5).reshape(431, 400)
    colors = [canvas.look(i).color for i in range(2)]
    axes.contourf(first, second, yes, [-0.5, 0.5, 1.5], colors=colors, alpha=0.22)
    axes.contour(first, second, yes, [0.5], colors=canvas.INK, linewidths=0.8)
    rows = gate(name)
    canvas.scatter(axes, rows["x"], rows["y"][:, 0].astype(int), ["output 0", "output 1"])
    canvas.style(axes, title=title, x="$x_1$", y="$x_2$")
    axes.set(xlim=SIDE, ylim=SIDE, xticks=(0, 1), yticks=(0, 1), aspect="equal")
    axes.grid(False)


def one_legend(figure) -> None:
    """What the first panel names, at the foot of the figure."""
    for axes in figure.axes[1:]:
        for artist in [*axes.collections, *axes.lines]:
            artist.set_label("_")
    canvas.shared_legend(figure)


def errors_figure(curves: dict, num_starts: int):
    """How many of the four rows are wrong, epoch by epoch."""
    figure = viz.learning_curves(curves, metrics=("errors",))
    (axes,) = figure.axes
    canvas.style(
        axes, title=f"wrong answers in an epoch, mean of {num_starts} starts", x="epoch", y="of 4 rows"
    )
    return figure


def perceptron_figure(paths: dict[str, np.ndarray]):
    """The lines of a perceptron that starts at 0: after each epoch; on XOR and XNOR after each update of the last."""
    figure, panels = canvas.panels(6, columns=3, width=2.7, height=3.1)
    for axes, name in zip(panels, GATES):
        path, separable = paths[name], name in SEPARABLE
        end = path[-1, -1]
        title = (
            f"{name.upper()}: learned in epoch {len(path)}"
            if separable
            else f"{name.upper()}: these lines for ever"
        )
        draw_gate(axes, name, lambda x: (x @ end[:2] + end[2] >= 0) * 1.0, title)  # noqa: B023
        earlier = path[:-1, -1] if separable else path[-1]
        for i, (w1, w2, b) in enumerate(earlier):
            if w1 or w2:
                # The point of the line w1 x1 + w2 x2 + b = 0 nearest to 0, and two far away on both sides of it.
                foot = -b * np.array([w1, w2]) / (w1**2 + w2**2)
                along = foot[:, None] + np.array([[-w2], [w1]]) / np.hypot(w1, w2) * [[-9, 9]]
                alpha = 0.15 + 0.55 * (i + 1) / len(earlier)
                axes.plot(
                    *along,
                    color=canvas.INK,
                    linewidth=1.0,
                    alpha=alpha,
                    linestyle=canvas.look(1).line,
                    label="earlier line" if i == len(earlier) - 1 else "_",
                )
        axes.set(xlim=SIDE, ylim=SIDE)
    one_legend(figure)
    return figure


def by_hand_figure(nets: dict[str, tuple]):
    """What the nets set by hand compute between the rows."""
    figure, panels = canvas.panels(len(nets), columns=4, width=2.5, height=2.95)
    for axes, (name, (net, of)) in zip(panels, nets.items()):
        draw_gate(axes, of, net, f"{of.upper()}: {name}")
    one_legend(figure)
    return figure


def nets_figure(nets: dict[str, tuple]):
    """Where the middle net of each kind says yes."""
    figure, panels = canvas.panels(len(nets), columns=2, width=3.2, height=3.7)
    for axes, (name, (scores, right, _)) in zip(panels, nets.items()):
        title = f"three {name} layers: {4 * np.median(right):g} of 4 rows right"
        draw_gate(axes, "xor", lambda x: 0.5 + scores(x), title)  # noqa: B023
    one_legend(figure)
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
