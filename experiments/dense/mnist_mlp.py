"""A ReLU net 784-256-128-10 reads at least 98.0 % of MNIST's test digits, its sigmoid twin more than 92.57 %.

    python -m experiments.dense.mnist_mlp
    python -m experiments.dense.mnist_mlp --dataset=digits

Data: real (mnist), or the embedded digits. Import MNIST once: python -m jaxdl.data import mnist FOLDER

Beside them softmax regression, 784-64-10 with Adagrad, and 784-128-64-10 with RMSProp and early stopping on a fifth of
the training digits. 92.57 % is the printed figure of a tutorial with the sigmoid net. The test digits are read once, at
the end.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
import optax

from experiments.classification import draw_classifier, fresh_state, logits_of
from experiments.inputs import center_ink, read_images
from experiments.nets import UPDATES_PER_CALL, num_calls, train_net
from experiments.run import Applied, Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, nn, optim, train, viz
from jaxdl.models.dense import MLP, SoftmaxRegression
from jaxdl.objectives import classification, classification_metrics

CLAIMS = {
    "mnist": (
        Claim("MNIST test digits read correctly by the ReLU net, in percent", 98.0),
        Claim("MNIST test digits read correctly by the sigmoid net, in percent", 92.57),
    ),
    "digits": (
        Claim("held-out embedded digits read correctly by the ReLU net, in percent", 97.0),
        Claim("held-out embedded digits read correctly by the sigmoid net, in percent", 92.57),
    ),
}
EPOCHS = {"mnist": 15, "digits": 100}
CLASSES = [str(digit) for digit in range(10)]


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    dataset: Literal["mnist", "digits"] = "mnist"
    """mnist, imported before; or the 1,797 digits that ship with the package, 360 of them held out."""
    num_epochs: int | None = None
    """Passes over the training digits for each net; early stopping may end sooner. None: 15 of mnist, 100 of digits."""
    batch_size: int = 128
    """Digits per update."""
    patience: int = 3
    """Epochs without a better validation loss that the RMSProp net may take."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", dataset="digits", num_epochs=1, batch_size=32),
    "full": Config(preset="full", num_epochs=60),
}


@dataclasses.dataclass(frozen=True)
class Net:
    """A row of the table: what is trained, and how."""

    name: str
    model: Any
    optimizer: Callable[[int], optax.GradientTransformation]  # from the number of updates
    early_stopping: bool = False


def cosine(rate: float, steps: int):
    """A short warmup, then down to 0."""
    return optim.warmup_cosine(0.0, rate, max(1, steps // 20), max(steps, 2))


NETS = (
    Net("softmax regression", SoftmaxRegression(10), lambda steps: optim.adam(cosine(2e-3, steps))),
    Net("784-64-10 Adagrad", MLP((64,), 10), lambda steps: optim.adagrad(0.05)),
    Net("784-128-64-10 RMSProp", MLP((128, 64), 10), lambda steps: optim.rmsprop(1e-3), early_stopping=True),
    Net(
        "784-256-128-10 sigmoid",
        MLP((256, 128), 10, activation=nn.sigmoid),
        lambda steps: optim.adam(cosine(3e-3, steps)),
    ),
    Net(
        "784-256-128-10 ReLU",
        MLP((256, 128), 10, dropout_rate=0.2),
        lambda steps: optim.adamw(cosine(2e-3, steps), weight_decay=0.02),
    ),
)


def read_data(config: Config) -> tuple[dict, dict, dict]:
    """Training (four fifths), validation (one fifth) and test digits, pixels in [0, 1]."""
    if config.dataset == "digits":
        splits, scale = (data.digits("train"), data.digits("test")), 16
    else:
        splits = tuple(
            data.as_arrays(data.load("mnist", split, config.data_dir)) for split in ("train", "test")
        )
        scale = 255
    known, test = (
        {"image": data.scale_pixels(part["image"], max_value=scale), "label": part["label"]}
        for part in splits
    )
    training, validation = data.train_test_split(known, test_size=0.2, seed=config.seed, stratify="label")
    return training, validation, test


def num_updates(config: Config, num_training: int) -> int:
    """Updates of each net, for the schedules."""
    epochs = config.num_epochs or EPOCHS[config.dataset]
    return UPDATES_PER_CALL * num_calls(epochs, num_training, config.batch_size)


def applied(config: Config) -> Applied:
    """The ReLU net, for a user's own images."""
    net = NETS[-1]
    side, box = (28, 20) if config.dataset == "mnist" else (8, 8)
    updates = num_updates(config, 48_000 if config.dataset == "mnist" else 1_149)
    state = fresh_state(config, net.model, net.optimizer(updates), config.seed, (side, side, 1))

    def read(path):
        by_mass = config.dataset == "mnist"
        return {
            "image": np.stack([center_ink(image, side, box, by_mass=by_mass) for image in read_images(path)])
        }

    return Applied(state, logits_of(net.model), read, CLASSES, part=net.name.replace(" ", "-"))


def main(config: Config) -> int:
    """Trains every net of the table and reports all of them."""
    training, validation, test = read_data(config)
    run = Run("dense.mnist_mlp", config)
    test_batches = data.Batches(test, min(500, len(test["label"])), shuffle=False, num_epochs=1)
    checked = data.Batches(validation, min(500, len(validation["label"])), shuffle=False, num_epochs=1)
    updates = num_updates(config, len(training["label"]))
    epochs = config.num_epochs or EPOCHS[config.dataset]
    rows, accuracy, trained = [], {}, {}
    for net in NETS:
        tx = net.optimizer(updates)
        state = fresh_state(config, net.model, tx, config.seed, training["image"].shape[1:])
        loss = losses.softmax_cross_entropy_with_integer_labels
        measure = classification_metrics(net.model, loss)
        patience = [train.EarlyStopping("validation/loss", patience=config.patience)]
        state, history = train_net(
            run,
            net.name.replace(" ", "-"),
            state,
            classification(net.model, loss),
            tx,
            training,
            num_epochs=epochs,
            batch_size=config.batch_size,
            look=lambda state: train.evaluate(measure, state.params, state.model_state, checked),  # noqa: B023
            hooks=patience if net.early_stopping else [],
        )
        result = train.evaluate(measure, state.params, state.model_state, test_batches)
        trained[net.name], accuracy[net.name] = state, 100 * result["accuracy"]
        rows.append(
            {
                "net": net.name.replace("784", str(training["image"][0].size)),
                "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
                "test accuracy %": 100 * result["accuracy"],
                "test loss": result["loss"],
                "updates": history["loss"][0][-1] * UPDATES_PER_CALL,
                "seconds": history.last("seconds"),
            }
        )
        slug = net.name.replace(" ", "-")
        run.figure(f"learning_curves_{slug}", lambda: viz.learning_curves(history))  # noqa: B023
    shown = NETS[-1]
    draw_classifier(run, shown.model, trained[shown.name], test, CLASSES, min(500, len(test["label"])))
    relu, sigmoid = CLAIMS[config.dataset]
    return run.finish(
        [(relu, accuracy["784-256-128-10 ReLU"]), (sigmoid, accuracy["784-256-128-10 sigmoid"])],
        rows,
        try_next=[
            f"python -m experiments.run {run.folder} --predict=FILE",
            "python -m experiments.vision.lenet_mnist",
        ],
    )


if __name__ == "__main__":
    launch(main, PRESETS)
