"""Large weights or unscaled targets make training diverge; clipping, a norm limit or scaling each cure it.

    python -m experiments.dense.exploding_gradients

Data: synthetic, a regression of 1,000 rows of 20 columns whose targets have a spread near 200, and 2,746 credit
applications (data.credit_applications) as they are, incomes in the hundred thousands beside zeros and ones. A quarter
of each is held out.

The regression net, 25 ReLU units trained by gradient descent with momentum, meets NaN within a few updates, and
training stops there; clipped to norm 1, clipped by value, or with scaled targets, the same net explains nearly all of
the held-out variance. The classifier, two layers of ten tanh units with standard normal weights on unscaled columns at
rate 1, saturates and learns nothing. With standardised columns, Glorot's weights, every unit's weights limited to norm
2 and gradients to norm 1, the same layers do.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.classification import fresh_state
from experiments.nets import UPDATES_PER_CALL, train_net
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, nn, optim, train, viz
from jaxdl.models.dense import MLP
from jaxdl.objectives import classification, classification_metrics, regression, regression_metrics

DIVERGES = Claim("updates until the plain regression net meets a number that is not finite", 100.0, "lower")
CURED = Claim("held-out variance explained by the worst of the three cured regression nets, in percent", 98.0)
STUCK = Claim(
    "held-out accuracy of the classifier with large weights, above the larger class, in percent", 5.0, "lower"
)
LEARNS = Claim("held-out accuracy of the classifier with the cures, in percent", 85.0)


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_rows: int = 1000
    """Rows of the regression, a quarter of them held out."""
    num_applications: int = 2746
    """Rows of the credit table, a quarter of them held out."""
    num_epochs: int = 100
    """Passes over the training rows."""
    batch_size: int = 32
    """Rows per update."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_rows=200, num_applications=400, num_epochs=4),
    "full": Config(preset="full", num_epochs=1000),
}


HE = nn.he_uniform()


@dataclasses.dataclass(frozen=True)
class Net:
    """A row of the table: what is trained, on which targets or columns, and how."""

    name: str
    tx: Callable[[], optax.GradientTransformation]
    scaled: bool = False
    kernel_init: Callable = HE


def descent() -> optax.GradientTransformation:
    """Gradient descent with momentum, as all regression nets are trained."""
    return optim.momentum(0.01, decay=0.9)


REGRESSION = (
    Net("plain", descent),
    Net("clipped to norm 1", lambda: optax.chain(optim.clip_by_global_norm(1.0), descent())),
    Net("clipped by value 5", lambda: optax.chain(optim.clip_by_value(5.0), descent())),
    Net("scaled targets", descent, scaled=True),
)
CLASSIFIERS = (
    Net("large weights, rate 1", lambda: optim.sgd(1.0), kernel_init=nn.normal_init(1.0)),
    Net(
        "Glorot, scaled, max-norm, clipped",
        lambda: optax.chain(
            optim.clip_by_global_norm(1.0), optim.adam(0.001), optim.max_norm_projection(2.0)
        ),
        scaled=True,
        kernel_init=nn.glorot_uniform(),
    ),
)


def regression_rows(config: Config) -> dict[str, np.ndarray]:
    """Twenty columns, ten of which matter, with coefficients up to 100 and a little noise."""
    rng = np.random.default_rng(config.seed)
    x = rng.normal(size=(config.num_rows, 20))
    y = x[:, :10] @ rng.uniform(0, 100, (10, 1)) + 0.1 * rng.normal(size=(config.num_rows, 1))
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def train_regression(run: Run, net: Net, training: dict, held_out: dict) -> tuple[dict, train.History | None]:
    """Trains one regression net; its table row, and what it logged where it came to the end."""
    config = run.config
    # Fitted on the training rows.
    scale = data.standardize(training["y"]) if net.scaled else lambda y: y
    rows = [{"x": part["x"], "y": scale(part["y"])} for part in (training, held_out)]
    model, tx = MLP((25,), 1, kernel_init=net.kernel_init), net.tx()
    row = {"net": net.name, "explained %": "-", "updates": 0, "ended by": "its last epoch"}

    def count(step, state, metrics):
        row["updates"] = step * UPDATES_PER_CALL

    try:
        state, history = train_net(
            run,
            "regression-" + net.name.replace(" ", "-"),
            fresh_state(config, model, tx, config.seed, training["x"].shape[1:]),
            regression(model, losses.squared_error),
            tx,
            rows[0],
            num_epochs=config.num_epochs,
            batch_size=config.batch_size,
            hooks=[count],
        )
    except FloatingPointError as error:
        run.console.print(f"{net.name}: {error}", style="yellow", highlight=False, markup=False)
        return {**row, "ended by": "a number that is not finite"}, None
    batches = data.Batches(rows[1], len(rows[1]["y"]), shuffle=False, num_epochs=1)
    measure = regression_metrics(model, losses.squared_error)
    error = train.evaluate(measure, state.params, state.model_state, batches)["squared_error"]
    return {**row, "explained %": float(100 * (1 - error / np.var(rows[1]["y"])))}, history


def train_classifier(run: Run, net: Net, training: dict, held_out: dict) -> tuple[dict, train.History]:
    """Trains one classifier of credit applications; its table row, and what it logged."""
    config = run.config
    scale = data.standardize(training["image"]) if net.scaled else lambda x: x
    rows = [{**part, "image": scale(part["image"])} for part in (training, held_out)]
    model, tx = MLP((10, 10), 2, activation=nn.tanh, kernel_init=net.kernel_init), net.tx()
    loss = losses.softmax_cross_entropy_with_integer_labels
    state, history = train_net(
        run,
        "classifier-" + net.name.replace(",", "").replace(" ", "-"),
        fresh_state(config, model, tx, config.seed, training["image"].shape[1:]),
        classification(model, loss),
        tx,
        rows[0],
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
    )
    batches = data.Batches(rows[1], len(rows[1]["label"]), shuffle=False, num_epochs=1)
    result = train.evaluate(classification_metrics(model, loss), state.params, state.model_state, batches)
    hidden = np.abs(np.asarray(jnp.tanh(rows[1]["image"] @ state.params["Dense_0"]["kernel"])))
    return {
        "classifier": net.name,
        "test accuracy %": 100 * result["accuracy"],
        "test loss": result["loss"],
        "saturated first-layer units %": 100 * float(np.mean(hidden > 0.999)),
    }, history


def main(config: Config) -> int:
    """Trains the regression nets, then the classifiers."""
    run = Run("dense.exploding_gradients", config)
    training, held_out = data.train_test_split(regression_rows(config), test_size=0.25, seed=config.seed)
    rows, curves = [], {}
    for net in REGRESSION:
        row, history = train_regression(run, net, training, held_out)
        rows.append(row)
        if history is not None:
            curves[f"{net.name}/loss"] = history["loss"]
    run.table("regression", rows)
    table = data.credit_applications(jax.random.key(config.seed), config.num_applications)
    table = {"image": np.asarray(table["x"]), "label": np.asarray(table["y"])}
    training, held_out = data.train_test_split(table, test_size=0.25, seed=config.seed, stratify="label")
    larger = 100 * max(np.mean(held_out["label"]), 1 - np.mean(held_out["label"]))
    verdicts = []
    for net in CLASSIFIERS:
        row, history = train_classifier(run, net, training, held_out)
        verdicts.append(row)
        curves |= {f"{net.name}/accuracy": history["accuracy"]}
    run.figure("learning_curves", lambda: viz.learning_curves(curves, log_loss=True))
    diverged = rows[0]["updates"] if rows[0]["explained %"] == "-" else float("inf")
    return run.finish(
        [
            (DIVERGES, float(diverged)),
            (CURED, min(row["explained %"] if row["explained %"] != "-" else 0.0 for row in rows[1:])),
            (STUCK, float(verdicts[0]["test accuracy %"] - larger)),
            (LEARNS, verdicts[1]["test accuracy %"]),
        ],
        verdicts,
        try_next=["python -m experiments.dense.vanishing_gradients"],
    )


if __name__ == "__main__":
    launch(main, PRESETS)
