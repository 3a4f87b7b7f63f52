"""Over 100 steps a plain recurrent net forgets; an LSTM or a GRU adds with an error below 0.01, and copies 99 %.

    python -m experiments.sequence.long_gap

Data: synthetic, the adding problem (data.adding_problem; without memory the squared error is 1/6) and copying three
symbols of four over a gap (data.copy_memory; chance is 25 %), fresh sequences for training, 1,000 held out.

Every cell learns each task at several lags, with Adam and the gradient clipped to norm 1; training ends early where the
held-out bar is reached. Before any training, how much of the last state's gradient arrives at the inputs of k steps
before: for a tanh, a sigmoid and a ReLU net whose recurrent matrix is an orthogonal one times 0.9, 1 and 1.1, or the
identity.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen

from experiments.run import Claim, Run
from experiments.settings import Settings, compile_step, create_state, estimator, launch
from jaxdl import data, losses, nn, optim, train, viz
from jaxdl.objectives import regression
from jaxdl.types import Array

ADDED = Claim("squared error of the worse of LSTM and GRU, adding over the longest lag", 0.01, "lower")
FORGOT = Claim("squared error of the plain tanh net, adding over the longest lag", 0.1)
COPIED = Claim("symbols copied by the worse of LSTM and GRU over the longest gap, in percent", 99.0)
FADED = Claim("gradient over 30 steps over that of 1 step, tanh with 0.9 × orthogonal", 0.1, "lower")
SYMBOLS, COPIES = 4, 3
ADDING_BAR, COPYING_BAR = 0.005, 0.995


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    lags: tuple[int, ...] = (10, 30, 100)
    """Lengths of the adding sequences and gaps of the copied ones."""
    hidden: int = 64
    """Units of every cell."""
    num_updates: int = 6000
    """Updates of each net, at most."""
    batch_size: int = 64
    """Sequences per update."""
    learning_rate: float = 3e-3
    """Adam's rate."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", lags=(3, 6), num_updates=4, batch_size=8, hidden=8),
    "full": Config(preset="full", lags=(10, 30, 100, 200, 400), num_updates=20_000, hidden=128),
}

CELLS: dict[str, Callable[[int], Any]] = {
    "tanh": nn.SimpleCell,
    "ReLU, identity": lambda hidden: nn.SimpleCell(
        hidden, activation_fn=nn.relu, recurrent_kernel_init=nn.identity_init()
    ),
    "LSTM": nn.LSTMCell,
    "GRU": nn.GRUCell,
}


class Rememberer(linen.Module):
    """A recurrent net with an answer at the last step, or at all of them."""

    cell: Callable[[int], Any]
    hidden: int
    outputs: int
    num_tokens: int = 0
    last: bool = False

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, T, D] or tokens [B, T] to [B, O] or [B, T, O]."""
        x = jax.nn.one_hot(x, self.num_tokens) if self.num_tokens else x
        carry, h = nn.RNN(self.cell(self.hidden))(x)
        del carry
        return nn.Dense(self.outputs)(h[:, -1] if self.last else h)


class Fresh:
    """Sequences that no step has seen before, made on the device; resumes at the exact batch."""

    def __init__(self, make: Callable[[Array], dict[str, Array]], seed: int):
        self.make, self.key, self.taken = jax.jit(make), jax.random.key(seed), 0

    def __iter__(self):
        while True:
            self.taken += 1
            yield self.make(jax.random.fold_in(self.key, self.taken))

    def state(self) -> dict[str, int]:
        """How many batches were taken."""
        return {"taken": self.taken}

    def restore(self, state: dict[str, int]) -> None:
        """Goes on behind them."""
        self.taken = int(state["taken"])


def copying(model: Any):
    """Cross-entropy over all steps, and the share of the copied symbols that are right."""

    def objective(params, model_state, batch, key):
        del key
        logits = model.apply({"params": params}, batch["x"], train=True)
        loss = losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
        right = jnp.mean(jnp.argmax(logits[:, -COPIES:], -1) == batch["y"][:, -COPIES:])
        return jnp.mean(loss), (model_state, {"copied": right})

    return objective


def train_cell(run: Run, task: str, cell: str, lag: int) -> tuple[dict, Any]:
    """Trains one cell on one task over one lag; its table row, and its held-out curve."""
    config = run.config
    if task == "adding":
        make = lambda key, size: data.adding_problem(key, size, lag)
        model = Rememberer(CELLS[cell], config.hidden, 1, last=True)
        objective, name = regression(model, losses.squared_error), "squared_error"
    else:
        make = lambda key, size: data.copy_memory(key, size, lag, num_symbols=SYMBOLS, num_copied=COPIES)
        model = Rememberer(CELLS[cell], config.hidden, SYMBOLS + 1, num_tokens=SYMBOLS + 2)
        objective, name = copying(model), "copied"
    held_out = make(jax.random.key(config.seed + 10_000), 1000)
    tx = optax.chain(optim.clip_by_global_norm(1.0), optim.adam(config.learning_rate))
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    state = create_state(train_key, model.init(init_key, held_out["x"][:1], train=False), tx, config)

    @jax.jit
    def measured(state):
        return {name: objective(state.params, state.model_state, held_out, state.key)[1][1][name]}

    def reached(step, state, metrics):
        value = metrics.get(f"validation/{name}")
        if value is None:
            return None
        value = float(value)
        done = value < ADDING_BAR if task == "adding" else value > COPYING_BAR
        return train.Stop("the held-out bar is reached") if done else None

    every = max(1, config.num_updates // 30)
    state, history = run.fit(
        compile_step(estimator(objective, config), tx, config),
        state,
        Fresh(lambda key: make(key, config.batch_size), config.seed),
        num_steps=config.num_updates,
        part=f"{task}-{cell}-{lag}".replace(", ", "-"),
        hooks=[train.make_evaluation(measured, every=every), reached],
        log_every=every,
    )
    steps, values = history[f"validation/{name}"]
    row = {
        "task": task,
        "cell": cell,
        "lag": lag,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "squared error" if task == "adding" else "copied %": values[-1] * (1 if task == "adding" else 100),
        "updates": steps[-1],
        "seconds": history.last("seconds"),
    }
    return row, (steps, values)


def gradient_by_lag(steps: int, hidden: int, seed: int) -> dict[str, dict[int, float]]:
    """Norm of the derivative of the last state by the input of k steps before, for untrained nets."""
    x = jax.random.normal(jax.random.key(seed), (1, steps, hidden))
    nets = {
        f"{name}, {scale:g} × orthogonal": (activation, scaled(nn.orthogonal(), scale))
        for name, activation, scales in (
            ("tanh", nn.tanh, (0.9, 1.0, 1.1)),
            ("sigmoid", nn.sigmoid, (1.0,)),
            ("ReLU", nn.relu, (1.1,)),
        )
        for scale in scales
    } | {"ReLU, identity": (nn.relu, nn.identity_init())}
    direction = jax.random.normal(jax.random.key(seed + 2), (hidden,))
    norms = {}
    for name, (activation, recurrent) in nets.items():
        # Small inputs: the study is of the recurrence, not of saturation by the data.
        cell = nn.SimpleCell(
            hidden,
            activation_fn=activation,
            recurrent_kernel_init=recurrent,
            kernel_init=nn.normal_init(1e-4),
        )
        layer = nn.RNN(cell)
        variables = layer.init(jax.random.key(seed + 1), x)

        def last(x, layer=layer, variables=variables):
            outputs: Any = layer.apply(variables, x)
            return jnp.vdot(outputs[1][0, -1], direction)

        grads = jax.jit(jax.grad(last))(x)[0]
        norms[name] = {k + 1: float(jnp.linalg.norm(grads[steps - 1 - k])) for k in range(steps)}
    return norms


def scaled(init: Any, scale: float) -> Any:
    """An initializer times a number."""
    return lambda *arguments: scale * init(*arguments)


def main(config: Config) -> int:
    """Trains every cell on both tasks over every lag."""
    run = Run("sequence.long_gap", config)
    flow = gradient_by_lag(60, config.hidden, config.seed)
    run.figure("gradient_by_lag", lambda: viz.gradient_flow(flow, x_name="steps back in time"))
    rows: dict[str, list[dict]] = {"adding": [], "copying": []}
    curves, results = {}, {}
    for task in rows:
        for lag in config.lags:
            for cell in CELLS:
                row, curve = train_cell(run, task, cell, lag)
                rows[task].append(row)
                results[task, cell, lag] = row["squared error" if task == "adding" else "copied %"]
                if lag == max(config.lags):
                    curves[f"{cell}/{'loss' if task == 'adding' else 'accuracy'}"] = curve
    run.table("copying", rows["copying"])
    run.figure("longest_lag", lambda: viz.learning_curves(curves))
    longest, plain = max(config.lags), flow["tanh, 0.9 × orthogonal"]
    back = min(30, len(plain))
    return run.finish(
        [
            (ADDED, max(results["adding", cell, longest] for cell in ("LSTM", "GRU"))),
            (FORGOT, results["adding", "tanh", longest]),
            (COPIED, min(results["copying", cell, longest] for cell in ("LSTM", "GRU"))),
            (FADED, plain[back] / plain[1]),
        ],
        rows["adding"],
        try_next=["python -m experiments.sequence.truncated_bptt"],
    )


if __name__ == "__main__":
    launch(main, PRESETS)
