"""A 2-4-1 sigmoid net learns XOR by hand-written backpropagation from at least 97 of 100 random starts.

    python -m experiments.dense.xor_backprop

Data: synthetic (the four rows of XOR and XNOR; five labelled points)

All starts train in one vmapped program: 10,000 epochs of gradient descent at rate 0.1 on the half squared error summed
over the rows. A start counts as solved when its mean squared error ends below 0.02. XNOR likewise, and a 2-8-1 ReLU
classifier of five points by Adam, which counts as solved when it classifies all five.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.nets import Repeated
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, nn, optim, rules, train, viz
from jaxdl.models.dense import MLP
from jaxdl.types import Array

XOR = Claim("of 100 random starts that learn XOR, percent", 97.0)
XNOR = Claim("of 100 random starts that learn XNOR, percent", 97.0)
POINTS = Claim("of 100 random starts that classify the five points, percent", 97.0)

FIVE_POINTS = {
    "x": np.array([[0.1, 0.5], [0.2, 0.4], [0.3, 0.3], [0.4, 0.2], [0.5, 0.1]], np.float32),
    "y": np.array([[0], [0], [1], [1], [1]], np.float32),
}


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_starts: int = 100
    """Nets trained side by side, from as many random starts."""
    num_epochs: int = 10_000
    """Full-batch updates of the gates; a multiple of 100."""
    learning_rate: float = 0.1
    """Rate of gradient descent on the summed error."""
    hidden: int = 4
    """Hidden units of the gate nets."""
    classifier_epochs: int = 2_000
    """Full-batch updates of the classifier of five points; a multiple of 100."""
    classifier_rate: float = 0.01
    """Adam's rate for it."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_starts=4, num_epochs=200, classifier_epochs=200),
    "full": Config(preset="full", num_starts=10_000),
}
EPOCHS_PER_CALL = 100


def train_population(run: Run, part: str, model, grad_fn, tx, batch, num_starts: int, num_epochs: int):
    """Trains nets from many starts in one program; returns the stacked states and the last metrics of each."""
    create = lambda key: train.create_train_state(key, model.init(key, batch["x"], train=False), tx)
    states = jax.jit(jax.vmap(create))(jax.random.split(jax.random.key(run.config.seed), num_starts))
    population = train.population_step(train.make_update(grad_fn, tx))

    def summarised(states, batches):
        states, metrics = train.scan_steps(population, EPOCHS_PER_CALL)(states, batches)
        names = [name for name in metrics if name.startswith(("loss", "grad_norm", "accuracy"))]
        middle = {name: jnp.median(metrics[name]) for name in names}
        return states, {**middle, "loss/worst": jnp.max(metrics["loss"])}

    # The rows are the same in every epoch, so the epochs of one call share one copy.
    epochs = jax.tree.map(lambda x: np.broadcast_to(x, (EPOCHS_PER_CALL, *x.shape)), batch)
    states, history = run.fit(
        jax.jit(summarised, donate_argnums=0),
        states,
        Repeated(epochs),
        num_steps=num_epochs // EPOCHS_PER_CALL,
        log_every=max(1, num_epochs // EPOCHS_PER_CALL // 10),
        part=part,
    )
    return states, history


def gate_net(hidden: int) -> MLP:
    """2-h-1 sigmoid net with standard normal weights; its output unit's sigmoid is applied by the rule."""
    return MLP((hidden,), num_classes=1, activation=nn.sigmoid, kernel_init=nn.normal_init(1.0))


def outputs_of(model, states, x):
    """Sigmoid outputs of all nets, [starts, rows]."""
    logits = jax.vmap(lambda params: model.apply({"params": params}, x, train=False))(states.params)
    return np.asarray(nn.sigmoid(logits[..., 0]))


def main(config: Config) -> int:
    """Trains the three populations and counts the starts that solve each problem."""
    for name in ("num_epochs", "classifier_epochs"):
        if getattr(config, name) % EPOCHS_PER_CALL:
            raise ValueError(f"{name} must be a multiple of {EPOCHS_PER_CALL}, got {getattr(config, name)}")
    run = Run("dense.xor_backprop", config)
    rows, measured = [], []
    for claim, name in ((XOR, "xor"), (XNOR, "xnor")):
        model, batch = gate_net(config.hidden), gate(name)
        tx = optim.gradient_descent(config.learning_rate)
        states, history = train_population(
            run, name, model, rules.manual_backprop(), tx, batch, config.num_starts, config.num_epochs
        )
        error = np.mean((outputs_of(model, states, batch["x"]) - batch["y"][:, 0]) ** 2, axis=1)
        solved = 100 * float(np.mean(error < 0.02))
        measured.append((claim, solved))
        rows.append(row(name, config, history, solved, float(np.median(error)), float(error.max())))
        if name == "xor":
            best = jax.tree.map(lambda x: x[np.argsort(error)[len(error) // 2]], states.params)  # noqa: B023
            run.figure("learning_curves", lambda: viz.learning_curves(history))  # noqa: B023
            run.figure("decision_boundary", lambda: boundary(model, best, batch))  # noqa: B023
    model = MLP((8,), num_classes=1)

    def cross_entropy(params, model_state, batch, key):
        logits: Array = model.apply({"params": params}, batch["x"], train=True)  # pyrefly: ignore[bad-assignment]
        return jnp.mean(losses.sigmoid_binary_cross_entropy(logits, batch["y"])), (model_state, {})

    states, history = train_population(
        run,
        "five-points",
        model,
        train.backprop(cross_entropy),
        optim.adam(config.classifier_rate),
        FIVE_POINTS,
        config.num_starts,
        config.classifier_epochs,
    )
    right = np.mean((outputs_of(model, states, FIVE_POINTS["x"]) > 0.5) == FIVE_POINTS["y"][:, 0], axis=1)
    solved = 100 * float(np.mean(right == 1))
    measured.append((POINTS, solved))
    rows.append(
        row("five points", config, history, solved, 1 - float(np.median(right)), 1 - float(right.min()))
    )
    return run.finish(measured, rows, try_next=["python -m experiments.dense.xor_backprop --num-starts=1000"])


def gate(name: str) -> dict[str, np.ndarray]:
    """The four rows of a gate."""
    table = data.logic_gates()
    return {"x": table["x"], "y": table[name]}


def row(name, config, history, solved, middle, worst) -> dict:
    """One line of the results table."""
    return {
        "problem": name,
        "starts": config.num_starts,
        "solved %": solved,
        "median error": middle,
        "worst error": worst,
        "seconds": history.last("seconds"),
        "of it first call": history.first_step_seconds,
    }


def boundary(model, params, batch):
    """Where the median net says yes."""

    def scores(x):
        yes = nn.sigmoid(model.apply({"params": params}, jnp.asarray(x, jnp.float32), train=False))
        return np.concatenate([1 - yes, yes], axis=1)

    return viz.decision_boundary(scores, batch["x"], batch["y"][:, 0].astype(int))


if __name__ == "__main__":
    launch(main, PRESETS)
