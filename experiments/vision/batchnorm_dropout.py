"""Batch norm reaches 90 % of the test digits in at most 0.7 of the updates; dropout narrows the gap to the test set.

    python -m experiments.vision.batchnorm_dropout
    python -m experiments.vision.batchnorm_dropout --dataset=digits

Data: real (mnist; 2,000 training digits, so that there is something to overfit, and all 10,000 test digits), or the
embedded digits. Import MNIST once: python -m jaxdl.data import mnist FOLDER

The same convolutional net four times, with and without batch norm, with and without dropout of its dense layer, by
plain gradient descent with momentum. Besides accuracy over updates (on the first 1,000 test digits): the gap between
training and test loss, the similarity of the dense layer's units (co-adaptation), the norms of their weights, and the
share of units that never fire.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from experiments.classification import fresh_state
from experiments.nets import train_net
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, metrics, nn, optim, train, viz
from jaxdl.objectives import classification, classification_metrics
from jaxdl.types import Array

SPEED = Claim("updates to 90 % of the test digits, batch norm over none, mean of the seeds", 0.7, "lower")
GAP = Claim(
    "gap between test and training loss, dropout over none (no batch norm), mean of the seeds", 0.9, "lower"
)
BETTER = Claim("test errors with both over test errors with neither, mean of the seeds", 0.9, "lower")
DENSE = "hidden"
UPDATES = 10  # between two looks


class ConvNet(linen.Module):
    """Two convolutions of 3×3 with pooling, a dense layer of 128 units, ten logits."""

    batch_norm: bool
    dropout_rate: float

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, H, W, C] to logits [B, 10]."""

        def activated(x: Array) -> Array:
            x = nn.BatchNorm(momentum=0.9)(x, train=train) if self.batch_norm else x
            return nn.relu(x)

        for features in (16, 32):
            x = nn.max_pool(activated(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
        x = activated(nn.Dense(128, name=DENSE)(nn.flatten(x)))
        self.sow("intermediates", "code", x)
        x = nn.Dropout(self.dropout_rate)(x, train=train)
        return nn.Dense(10)(x)


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    dataset: Literal["mnist", "digits"] = "mnist"
    """mnist, imported before; or the 1,797 digits that ship with the package, 360 of them held out."""
    num_training: int = 2000
    """How many of the training digits of mnist are used."""
    num_seeds: int = 3
    """Runs of each net."""
    num_epochs: int = 20
    """Passes over the training digits."""
    batch_size: int = 50
    """Digits per update."""
    learning_rate: float = 0.01
    """Rate of gradient descent with momentum 0.9."""
    dropout_rate: float = 0.5
    """Share of the dense layer's units that is dropped."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", dataset="digits", num_seeds=1, num_epochs=1),
    "full": Config(preset="full", num_training=10_000, num_seeds=10, num_epochs=60),
}


def read_data(config: Config) -> tuple[dict, dict]:
    """Training and test digits, pixels in [0, 1]."""
    if config.dataset == "digits":
        splits, scale = [data.digits("train"), data.digits("test")], 16
    else:
        splits, scale = (
            [data.as_arrays(data.load("mnist", split, config.data_dir)) for split in ("train", "test")],
            255,
        )
        few = min(config.num_training, len(splits[0]["label"]))
        splits[0] = {name: values[:few] for name, values in splits[0].items()}
    training, test = (
        {"image": data.scale_pixels(part["image"], max_value=scale), "label": part["label"]}
        for part in splits
    )
    return training, test


def measured_net(
    run: Run, name: str, model: ConvNet, seed: int, training: dict, test: dict
) -> tuple[dict, Any, dict]:
    """Trains one net; what was measured, its history, and the co-adaptation of its units."""
    config = run.config
    loss = losses.softmax_cross_entropy_with_integer_labels
    measure = classification_metrics(model, loss)
    tx = optim.momentum(config.learning_rate, decay=0.9)

    def look(part, state):
        batches = data.Batches(part, min(500, len(part["label"])), shuffle=False, num_epochs=1)
        return train.evaluate(measure, state.params, state.model_state, batches)

    few = {name: values[:1000] for name, values in test.items()}
    state, history = train_net(
        run,
        f"{name}-seed-{seed}".replace(", ", "-").replace(" ", "-"),
        fresh_state(config, model, tx, seed, training["image"].shape[1:]),
        classification(model, loss),
        tx,
        training,
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
        look=lambda state: look(few, state),
        updates_per_call=UPDATES,
        look_every=1,
        seed=seed,
    )
    seen, held_out = look(training, state), look(test, state)
    variables = {"params": state.params, **state.model_state}
    layers = jax.jit(lambda x: nn.layer_outputs(model, variables, x, train=False))(test["image"][:1000])
    similar = np.asarray(metrics.co_adaptation(state.params[DENSE]["kernel"]))
    norms = metrics.weight_norms(state.params, per_unit=True)[f"{DENSE}/kernel"]
    steps, accuracy = history["validation/accuracy"]
    reached = np.flatnonzero(np.asarray(accuracy) >= 0.9)
    return (
        {
            "test accuracy %": 100 * held_out["accuracy"],
            "test loss": held_out["loss"],
            "train loss": seen["loss"],
            "updates to 90 %": float(UPDATES * (steps[reached[0]] if len(reached) else steps[-1] + 1)),
            "mean |cosine| of units": float(np.mean(np.abs(similar[np.triu_indices(len(similar), 1)]))),
            "weight norm": float(jnp.mean(norms)),
            "dead units %": 100 * float(metrics.dead_relu_fraction(layers["code"])),
            "seconds": history.last("seconds"),
        },
        history,
        {name: np.abs(similar - np.eye(len(similar)))},
    )


def main(config: Config) -> int:
    """Trains the four nets from every seed."""
    training, test = read_data(config)
    run = Run("vision.batchnorm_dropout", config)
    nets = {
        "neither": ConvNet(False, 0.0),
        "dropout": ConvNet(False, config.dropout_rate),
        "batch norm": ConvNet(True, 0.0),
        "both": ConvNet(True, config.dropout_rate),
    }
    means, curves, similar = {}, {}, {}
    for name, model in nets.items():
        measured = []
        for seed in range(config.seed, config.seed + config.num_seeds):
            row, history, alike = measured_net(run, name, model, seed, training, test)
            measured.append(row)
            if seed == config.seed:
                curves |= {f"{name}/validation/{m}": history[f"validation/{m}"] for m in ("loss", "accuracy")}
                similar |= alike
        means[name] = {key: float(np.mean([row[key] for row in measured])) for key in measured[0]}
    rows = [{"net": name, **mean} for name, mean in means.items()]
    gap = {name: mean["test loss"] - mean["train loss"] for name, mean in means.items()}
    updates = {name: mean["updates to 90 %"] for name, mean in means.items()}
    errors = {name: 100 - mean["test accuracy %"] for name, mean in means.items()}
    run.figure("test_curves", lambda: viz.learning_curves(curves))
    # One scale for all nets, from the most alike pair of units in any of them.
    alike = np.stack(list(similar.values()))
    run.figure("co_adaptation", lambda: viz.image_grid(alike / alike.max(), titles=list(similar), columns=4))
    return run.finish(
        [
            (SPEED, updates["batch norm"] / updates["neither"]),
            (GAP, gap["dropout"] / gap["neither"]),
            (BETTER, errors["both"] / errors["neither"]),
        ],
        rows,
        try_next=["python -m experiments.vision.batchnorm_dropout --learning-rate=0.1"],
    )


if __name__ == "__main__":
    launch(main, PRESETS)
