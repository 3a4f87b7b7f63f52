"""Ten regularizers narrow the gap between training and test loss, to 0.85 in the mean; more units lower the bias.

    python -m experiments.dense.generalization

Data: embedded, 120 of the training digits to fit, 400 others to choose by, the 360 held-out ones to judge by.

A net 64-100-10 that fits 120 digits perfectly is trained again with L1, L2 and elastic net penalties, dropout, early
stopping, and Gaussian noise on inputs, activations, weights and gradients or wrong labels, each in several amounts.
The amount is chosen by the validation loss; the gap is that of the test digits. For the curve of under- and
overfitting, nets of 1 to 256 hidden units are trained on ten different sets of 120 digits, and their squared error is
split into bias and variance.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

from experiments.nets import Repeated
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, metrics, nn, optim, train, viz
from jaxdl.models.dense import MLP
from jaxdl.objectives import classification
from jaxdl.types import Array, Objective

GAP = Claim("gap between test and training loss, mean of the ten regularizers over none", 0.85, "lower")
WORST = Claim("the same of the least effective one", 1.0, "lower")
BEST = Claim("test loss with the best regularizer over the test loss with none", 0.8, "lower")
BIAS = Claim("squared bias of the test predictions, 64 hidden units over 1", 0.25, "lower")
UPDATES_PER_CALL = 50
LOSS = losses.softmax_cross_entropy_with_integer_labels


class NoisyNet(linen.Module):
    """One hidden layer of ReLU units, with noise where it is asked for, while training only."""

    hidden: int = 100
    input_noise: float = 0.0
    activation_noise: float = 0.0
    dropout_rate: float = 0.0

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, 8, 8, 1] to logits [B, 10]."""
        x = nn.GaussianNoise(self.input_noise)(nn.flatten(x), train=train)
        x = nn.GaussianNoise(self.activation_noise)(nn.relu(nn.Dense(self.hidden)(x)), train=train)
        return nn.Dense(10)(nn.Dropout(self.dropout_rate)(x, train=train))


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_training: int = 120
    """Digits that the nets are fitted to."""
    num_updates: int = 2000
    """Full-batch updates of each net; a multiple of 50."""
    num_starts: int = 4
    """Nets for each amount of each regularizer, from different initial weights, in one program."""
    num_amounts: int = 3
    """How many amounts of each regularizer are tried, at most 3."""
    widths: tuple[int, ...] = (1, 2, 4, 8, 16, 64, 256)
    """Hidden units of the nets for bias and variance; 1 and 64 must be among them."""
    num_sets: int = 10
    """Training sets for bias and variance."""
    learning_rate: float = 3e-3
    """Adam's rate."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_updates=50, num_starts=2, num_sets=2, num_amounts=1, widths=(1, 64)),
    "full": Config(preset="full", num_starts=20, num_sets=50, num_updates=5000),
}


@dataclasses.dataclass(frozen=True)
class Regularizer:
    """A way to train, for one amount.

    Attributes:
      amounts: what is tried.
      model: from the amount to the net.
      change: from the objective and the amount to the objective with the regularizer.
      link: from the amount to a first link of the optimizer.
      stops: whether each net's parameters with the lowest validation loss are taken.
    """

    amounts: tuple[float, ...]
    model: Callable[[Any], NoisyNet] = lambda amount: NoisyNet()
    change: Callable[[Objective, Any], Objective] = lambda objective, amount: objective
    link: Callable[[Any], optax.GradientTransformation] = lambda amount: optax.identity()
    stops: bool = False


def penalized(penalty: Callable[[Any, float], Array]) -> Callable[[Objective, float], Objective]:
    """Adds a penalty on the kernels to an objective."""

    def change(objective: Objective, amount: float) -> Objective:
        def changed(params, model_state, batch, key):
            loss, rest = objective(params, model_state, batch, key)
            kernels = {name: layer["kernel"] for name, layer in params.items()}
            return loss + penalty(kernels, amount), rest

        return changed

    return change


def noisy_weights(objective: Objective, amount: float) -> Objective:
    """Takes the loss at a point near the parameters."""

    def changed(params, model_state, batch, key):
        noise_key, key = jax.random.split(key)
        return objective(nn.weight_noise(noise_key, params, amount), model_state, batch, key)

    return changed


def noisy_labels(objective: Objective, amount: float) -> Objective:
    """Draws some labels anew, wrongly, at every update."""

    def changed(params, model_state, batch, key):
        noise_key, key = jax.random.split(key)
        label = nn.label_noise(noise_key, batch["label"], amount, 10)
        return objective(params, model_state, {**batch, "label": label}, key)

    return changed


REGULARIZERS = {
    "L1": Regularizer((1e-4, 1e-3, 3e-3), change=penalized(nn.l1_penalty)),
    "L2": Regularizer((1e-3, 1e-2, 3e-2), change=penalized(nn.l2_penalty)),
    "elastic net": Regularizer(
        (1e-4, 1e-3, 3e-3), change=penalized(lambda w, amount: nn.elastic_net_penalty(w, amount, 5 * amount))
    ),
    "dropout": Regularizer((0.25, 0.5, 0.75), model=lambda amount: NoisyNet(dropout_rate=amount)),
    "early stopping": Regularizer((0.0,), stops=True),
    "input noise": Regularizer((0.1, 0.3, 0.6), model=lambda amount: NoisyNet(input_noise=amount)),
    "activation noise": Regularizer((0.3, 1.0, 2.0), model=lambda amount: NoisyNet(activation_noise=amount)),
    "weight noise": Regularizer((0.03, 0.1, 0.2), change=noisy_weights),
    "gradient noise": Regularizer(
        (1e-4, 1e-3, 1e-2), link=lambda amount: optim.add_gradient_noise(amount, 0.55, jax.random.key(7))
    ),
    "label noise": Regularizer((0.05, 0.1, 0.3), change=noisy_labels),
}


def read_data(config: Config) -> tuple[dict, dict, dict, dict]:
    """The digits to fit, to choose by, to judge by, and the rest that other training sets are drawn from."""
    parts = [data.digits(split) for split in ("train", "test")]
    known, test = ({**part, "image": data.scale_pixels(part["image"], max_value=16)} for part in parts)
    pool, validation = data.train_test_split(known, test_size=400, seed=0, stratify="label")
    order = np.random.default_rng(config.seed).permutation(len(pool["label"]))
    training = {name: values[order[: config.num_training]] for name, values in pool.items()}
    return training, validation, test, pool


def mean_losses(model: linen.Module, params: Any, batch: dict) -> Array:
    """Loss of every net of a population on one batch, [nets]."""

    def loss(params):
        logits: Any = model.apply({"params": params}, batch["image"], train=False)
        return jnp.mean(LOSS(logits, batch["label"]))

    return jax.vmap(loss)(params)


def train_population(
    run: Run, part: str, model: linen.Module, objective: Objective, tx: Any, training: dict, checked: dict
) -> tuple[dict[str, Any], train.History]:
    """Trains nets in one program, from several starts on one training set, or each on its own where there are several.

    Returns:
      The population: "states" after the last update, and "best", every net's parameters where its validation loss was
      lowest; and the history of the median losses.
    """
    config = run.config
    own = training["label"].ndim == 2
    count = len(training["label"]) if own else config.num_starts
    create = lambda key: train.create_train_state(key, model.init(key, checked["image"][:1], train=False), tx)
    states = jax.jit(jax.vmap(create))(jax.random.split(jax.random.key(config.seed), count))
    # A copy: the step's buffers are donated.
    population = {
        "states": states,
        "best": jax.tree.map(jnp.copy, states.params),
        "lowest": jnp.full(count, jnp.inf),
    }
    update = train.make_update(train.backprop(objective), tx)
    each = jax.vmap(update, in_axes=(0, 0 if own else None))

    def call(population, batches):
        batch, checked = batches
        states, logged = jax.lax.scan(
            lambda states, _: each(states, batch), population["states"], length=UPDATES_PER_CALL
        )
        validation = mean_losses(model, states.params, checked)
        better = validation < population["lowest"]
        keep = lambda new, old: jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
        population = {
            "states": states,
            "best": jax.tree.map(keep, states.params, population["best"]),
            "lowest": jnp.minimum(validation, population["lowest"]),
        }
        return population, {"loss": jnp.median(logged["loss"][-1]), "validation/loss": jnp.median(validation)}

    return run.fit(
        jax.jit(call, donate_argnums=0),
        population,
        Repeated((training, checked)),
        num_steps=config.num_updates // UPDATES_PER_CALL,
        log_every=1,
        part=part,
        progress=None,
    )


def sweep(run: Run, training: dict, validation: dict, test: dict) -> tuple[list[dict], dict]:
    """Every regularizer at the amount with the lowest validation loss, after the net without any; rows and curves."""
    rows, curves = [], {}
    for name, regularizer in {"none": Regularizer((0.0,)), **REGULARIZERS}.items():
        tried = []
        for amount in regularizer.amounts[: run.config.num_amounts]:
            model = regularizer.model(amount)
            tx = optax.chain(regularizer.link(amount), optim.adam(run.config.learning_rate))
            objective = regularizer.change(classification(model, LOSS), amount)
            part = f"{name}-{amount:g}".replace(" ", "-")
            population, history = train_population(run, part, model, objective, tx, training, validation)
            params = population["best"] if regularizer.stops else population["states"].params
            on = jax.jit(partial(mean_losses, model))
            seen, chosen, held_out = (
                float(np.mean(on(params, batch))) for batch in (training, validation, test)
            )
            row = {
                "regularizer": name,
                "amount": amount,
                "train loss": seen,
                "test loss": held_out,
                "gap": held_out - seen,
                "test accuracy %": accuracy(model, params, test),
                "seconds": history.last("seconds"),
            }
            tried.append((chosen, row, history))
        _, row, history = min(tried, key=lambda entry: entry[0])
        rows.append(row)
        if name in ("none", "L2", "dropout", "weight noise"):
            curves[f"{name}/loss"] = history["validation/loss"]
    return rows, curves


def accuracy(model: linen.Module, params: Any, batch: dict) -> float:
    """Mean over the population, in percent."""
    logits = jax.vmap(lambda p: model.apply({"params": p}, batch["image"], train=False))(params)
    return float(np.mean(jax.vmap(lambda x: metrics.accuracy(x, batch["label"]))(logits))) * 100


def by_capacity(run: Run, pool: dict, validation: dict, test: dict) -> tuple[list[dict], dict[int, Any]]:
    """Losses, bias and variance of nets of rising width, each trained on its own set; rows and errors by width."""
    config = run.config
    rng = np.random.default_rng(config.seed + 1)
    drawn = [
        rng.choice(len(pool["label"]), config.num_training, replace=False) for _ in range(config.num_sets)
    ]
    sets = {name: np.stack([values[rows] for rows in drawn]) for name, values in pool.items()}
    truth = np.eye(10, dtype=np.float32)[test["label"]]
    rows, errors = [], {}
    for width in config.widths:
        model = MLP((width,), 10)
        population, history = train_population(
            run,
            f"width-{width}",
            model,
            classification(model, LOSS),
            optim.adam(config.learning_rate),
            sets,
            validation,
        )
        params = population["states"].params
        logits = jax.vmap(lambda p: model.apply({"params": p}, test["image"], train=False))(params)  # noqa: B023
        errors[width] = metrics.bias_variance(nn.softmax(jnp.asarray(logits)), truth)
        rows.append(
            {
                "hidden units": width,
                "train loss": history.last("loss"),
                "test loss": float(np.mean(mean_losses(model, params, test))),
                "test accuracy %": accuracy(model, params, test),
                "squared bias": float(errors[width].squared_bias),
                "variance": float(errors[width].variance),
            }
        )
    return rows, errors


def main(config: Config) -> int:
    """Trains all nets; chooses amounts on validation digits, judges on test digits."""
    if config.num_updates % UPDATES_PER_CALL:
        raise ValueError(f"num_updates must be a multiple of {UPDATES_PER_CALL}, got {config.num_updates}")
    if not {1, 64} <= set(config.widths):
        raise ValueError(f"widths must hold 1 and 64, got {config.widths}")
    training, validation, test, pool = read_data(config)
    run = Run("dense.generalization", config)
    rows, curves = sweep(run, training, validation, test)
    capacity, errors = by_capacity(run, pool, validation, test)
    run.table("capacity", capacity)
    run.figure("validation_loss", lambda: viz.learning_curves(curves))
    run.figure("capacity", lambda: capacity_curves(capacity))
    none, others = rows[0], rows[1:]
    return run.finish(
        [
            (GAP, float(np.mean([row["gap"] for row in others])) / none["gap"]),
            (WORST, max(row["gap"] for row in others) / none["gap"]),
            (BEST, min(row["test loss"] for row in others) / none["test loss"]),
            (BIAS, float(errors[64].squared_bias / errors[1].squared_bias)),
        ],
        rows,
        try_next=["python -m experiments.dense.generalization --num-training=60"],
    )


def capacity_curves(rows: list[dict]):
    """Training and test loss, bias and variance against the number of hidden units."""
    widths = [row["hidden units"] for row in rows]
    curves = {
        **{
            f"{name.split()[0]}/loss": (widths, [row[name] for row in rows])
            for name in ("train loss", "test loss")
        },
        **{f"{name}/error": (widths, [row[name] for row in rows]) for name in ("squared bias", "variance")},
    }
    figure = viz.learning_curves(curves, metrics=("loss", "error"))
    for axes in figure.axes:
        axes.set_xscale("log", base=2)
        axes.set_xlabel("hidden units")
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
