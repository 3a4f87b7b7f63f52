"""Flips and crops add at least three points of test accuracy on CIFAR-10; drawn anew, more than a stored copy adds.

    python -m experiments.vision.augmentation

Data: real (cifar10; 2,500 of the training images, so that there is something to gain, and all 10,000 test images).
Import it once: python -m jaxdl.data import cifar10 FOLDER

The same convolutional net for the same number of updates: on the images as they are, under each augmentation alone,
under flips and crops together, drawn anew in every batch or stored as copies. The figures show what each augmentation
of `jaxdl.data` makes of pictures and sounds, the tables what it makes of texts.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen

from experiments import galleries
from experiments.classification import augmented, fresh_state
from experiments.nets import UPDATES_PER_CALL, num_calls, train_net
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, nn, optim, train, viz
from jaxdl.objectives import classification, classification_metrics
from jaxdl.types import Array

GAIN = Claim("points of test accuracy that flips and crops add, mean of the seeds", 3.0)
FRESH = Claim(
    "points of test accuracy, drawn anew over one stored copy of each image, mean of the seeds", 0.5
)
NOTHING, TOGETHER, STORED = "nothing", "flip and crop", "flip and crop, stored"


class ConvNet(linen.Module):
    """Three convolutions of 3×3 that halve the picture, with batch norm; ten logits."""

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, H, W, C] to logits [B, 10]."""
        for features in (16, 32, 64):
            x = nn.Conv(features, (3, 3), strides=(2, 2))(x)
            x = nn.relu(nn.BatchNorm(momentum=0.9)(x, train=train))
        return nn.Dense(10)(nn.flatten(x))


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_training: int = 2500
    """How many of the training images are used."""
    num_epochs: int = 20
    """Passes over the training images; over stored copies as many fewer as there are copies."""
    batch_size: int = 64
    """Images per update."""
    learning_rate: float = 3e-3
    """Adam's peak rate, lowered to 0 along a cosine."""
    num_seeds: int = 1
    """Nets of those that the claims are about; of each single augmentation there is one."""
    copies: tuple[int, ...] = (1, 4)
    """Stored copies of each image, besides itself; the fewest first."""
    augmentations: tuple[str, ...] = tuple(galleries.IMAGES)
    """Those to measure alone."""
    draw_all: bool = True
    """Draw the other galleries: of operations on pictures, of sounds and texts."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        preset="smoke",
        num_epochs=1,
        num_seeds=1,
        batch_size=16,
        augmentations=("random_flip",),
        draw_all=False,
    ),
    "full": Config(preset="full", num_training=50_000, num_epochs=100, num_seeds=5),
}


def flip_and_crop(key: Array, image: Array) -> Array:
    """Half of the images mirrored, all of them shifted by up to four pixels."""
    flip_key, crop_key = jax.random.split(key)
    return galleries.IMAGES["random_crop"](crop_key, data.random_flip(flip_key, image))


def examples(split: str, config: Config) -> dict[str, np.ndarray]:
    """One split in memory, pixels in [0, 1]."""
    arrays = data.as_arrays(data.load("cifar10", split, config.data_dir, keys=("image", "label")))
    return {"image": data.scale_pixels(arrays["image"]), "label": arrays["label"]}


def trained(
    run: Run, name: str, change: Callable[[Array, Array], Array] | None, training: Any, test: Any, seed: int
) -> tuple[dict[str, float], train.History]:
    """Trains one net for the updates that the original images take; its row of the table, its history."""
    config = run.config
    model, loss = ConvNet(), losses.softmax_cross_entropy_with_integer_labels
    rows = len(training["label"])
    # As many updates as on the images alone, whatever is stored besides.
    epochs = max(1, round(config.num_epochs * config.num_training / rows))
    calls = num_calls(epochs, rows, config.batch_size)
    tx = optim.adam(optim.cosine_decay(config.learning_rate, calls * UPDATES_PER_CALL))
    objective = classification(model, loss)
    measure = classification_metrics(model, loss)
    batches = data.Batches(test, 500, shuffle=False, num_epochs=1)

    def look(state):
        return train.evaluate(measure, state.params, state.model_state, batches)

    state, history = train_net(
        run,
        f"{name}-seed-{seed}".replace(", ", "-").replace(" ", "-"),
        fresh_state(config, model, tx, seed, training["image"].shape[1:]),
        objective if change is None else augmented(objective, change),
        tx,
        training,
        num_epochs=epochs,
        batch_size=config.batch_size,
        look=look,
        look_every=max(1, calls // 5),
        seed=seed,
    )
    result = look(state)
    return {
        "test %": 100 * result["accuracy"],
        "test loss": result["loss"],
        "train %": 100 * history.last("accuracy"),
        "seconds": history.last("seconds"),
    }, history


def main(config: Config) -> int:
    """Trains the nets, draws the galleries."""
    training, test = examples(f"train[:{config.num_training}]", config), examples("test", config)
    run = Run("vision.augmentation", config)
    gallery_key, copies_key = jax.random.split(jax.random.key(config.seed))
    shown = test["image"][:8]
    changes = {name: galleries.IMAGES[name] for name in config.augmentations}
    run.figure("image_changes", lambda: galleries.image_changes(gallery_key, shown, changes))
    if config.draw_all:
        run.figure("image_operations", lambda: galleries.image_operations(gallery_key, shown[0]))
        run.figure("sound_changes", lambda: galleries.sound_changes(gallery_key))
        run.table("texts", galleries.text_changes(gallery_key))

    stored = {f"{TOGETHER}, {copies} stored": copies for copies in config.copies}
    nets = {NOTHING: None, TOGETHER: flip_and_crop, **dict.fromkeys(stored), **changes}
    rows, curves, accuracy = [], {}, {}
    for name, change in nets.items():
        measured, images = [], training
        for seed in range(config.seed, config.seed + (1 if name in changes else config.num_seeds)):
            if name in stored:
                key = jax.random.fold_in(copies_key, seed)
                larger = data.augmented_copies(key, training, flip_and_crop, stored[name])
                images = jax.device_get(larger)
            row, history = trained(run, name, change, images, test, seed)
            measured.append(row)
            if seed == config.seed and name not in changes:
                curves |= {f"{name}/test/{m}": history[f"validation/{m}"] for m in ("loss", "accuracy")}
        mean = {key: float(np.mean([row[key] for row in measured])) for key in measured[0]}
        accuracy[name] = mean["test %"]
        memory = images["image"].nbytes / 2**20
        rows.append({"augmentation": name, "gain": mean["test %"] - accuracy[NOTHING], **mean, "MiB": memory})
    run.figure("test_curves", lambda: viz.learning_curves(curves))
    return run.finish(
        [
            (GAIN, accuracy[TOGETHER] - accuracy[NOTHING]),
            (FRESH, accuracy[TOGETHER] - accuracy[next(iter(stored))]),
        ],
        rows,
        try_next=["python -m experiments.vision.augmentation --num-training=1000 --num-epochs=100"],
    )


if __name__ == "__main__":
    launch(main, PRESETS)
