"""LeNet-5 reads at least 98.0 % of 360 held-out handwritten digits, each of three seeds, in under a minute of training.

    python -m experiments.vision.lenet_digits

Data: embedded digits (1,797 real ones from 43 people, 8x8; 360 held out by class proportions, split seed 0)

The images are enlarged to 24x24 in a frame of 28x28 and turned, shifted and scaled a little in every step. The held-out
digits are looked at for the curves and the result only: nothing is chosen by them. The net is of LeCun et al. 1998.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np

from experiments.classification import fresh_state, logits_of, train_seeds
from experiments.inputs import center_ink, read_images
from experiments.run import Applied, Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, optim
from jaxdl.models.vision import LeNet5

CLAIM = Claim("held-out digits read correctly, worst of the seeds, in percent", 98.0)
CLASSES = [str(digit) for digit in range(10)]


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_seeds: int = 3
    """Nets to train, from seed, seed + 1, ..."""
    num_steps: int = 880
    """Updates; 22 are an epoch."""
    batch_size: int = 64
    """Digits per update, over all devices."""
    learning_rate: float = 3e-3
    """Adam's peak rate, warmed up over a tenth of the steps, then lowered to 0 along a cosine."""
    weight_decay: float = 1e-2
    """Decoupled decay, as a multiple of the rate."""
    max_degrees: float = 10.0
    """Largest turn of a training digit, in degrees."""
    max_shift: float = 2.0
    """Largest shift of a training digit, in pixels of 28."""
    max_zoom: float = 0.1
    """Largest change of size of a training digit, as a fraction."""
    sparse_c3: bool = False
    """Connect C3 by the table of the paper (60,806 parameters) instead of fully (61,706)."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_seeds=1, num_steps=2, batch_size=16),
    "full": Config(preset="full", num_seeds=10, num_steps=4400),
}


def frame(images: np.ndarray) -> np.ndarray:
    """uint8 [N, 8, 8, 1] of ink counts to float32 [N, 28, 28, 1] in [0, 1]."""
    pixels = data.scale_pixels(images, max_value=16)
    large = jax.image.resize(pixels, (len(pixels), 24, 24, 1), "linear")
    return np.pad(np.asarray(large), ((0, 0), (2, 2), (2, 2), (0, 0)))


def examples(split: Literal["train", "test"]) -> dict[str, np.ndarray]:
    """One split, framed."""
    arrays = data.digits(split)
    return {"image": frame(arrays["image"]), "label": arrays["label"]}


def build(config: Config):
    """Model and optimizer."""
    model = LeNet5(num_classes=10, sparse_c3=config.sparse_c3)
    warmup = max(1, config.num_steps // 10)
    schedule = optim.warmup_cosine(0.0, config.learning_rate, warmup, max(config.num_steps, warmup + 1))
    tx = optim.adamw(schedule, weight_decay=config.weight_decay)
    return model, tx


def applied(config: Config) -> Applied:
    """The first seed's net, for a user's own images."""
    model, tx = build(config)
    state = fresh_state(config, model, tx, config.seed, (28, 28, 1))

    def read(path):
        return {"image": np.stack([center_ink(image, 28, 24, by_mass=False) for image in read_images(path)])}

    return Applied(state, logits_of(model), read, CLASSES, part=f"seed-{config.seed}")


def main(config: Config) -> int:
    """Trains a net for each seed and reports all of them."""
    run = Run("vision.lenet_digits", config)
    model, tx = build(config)

    def change(key, image):
        turn, shift, zoom = jax.random.split(key, 3)
        image = data.random_rotate(turn, image, config.max_degrees)
        image = data.random_translate(shift, image, config.max_shift / image.shape[0])
        return data.random_zoom(zoom, image, config.max_zoom)

    rows = train_seeds(
        run,
        model,
        tx,
        change,
        examples("train"),
        examples("test"),
        CLASSES,
        evaluate_every=110,
        log_every=22,
        held_out_batch=120,
    )
    worst = min(row["test accuracy %"] for row in rows)
    return run.finish(
        [(CLAIM, worst)],
        rows,
        try_next=[
            f"python -m experiments.run {run.folder}",
            f"python -m experiments.run {run.folder} --predict=FILE   # your own digit: PNG, JPEG, .npy or .csv",
            "python -m experiments.vision.lenet_digits --help",
            "python -m experiments",
        ],
    )


if __name__ == "__main__":
    launch(main, PRESETS)
