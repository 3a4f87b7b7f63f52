"""LeNet-5 on images of MNIST's size: two convolutions with pooling, three dense layers, 61,706 parameters."""

from typing import Any

import numpy as np

from benchmarks import supervised
from benchmarks.measure import Row, Target


def _row(name: str, activation: str, pool: str, batch_size: int, units: int, num_batches: int) -> Row:
    rng = np.random.default_rng(0)
    inputs, labels = supervised.random_batches(rng, num_batches, batch_size, (28, 28, 1), 10)
    shapes = [(5, 5, 1, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10)]
    gain, learning_rate = (2.0, 3e-3) if activation == "relu" else (1.0, 1e-2)
    layers = supervised.random_layers(rng, shapes, gain)
    problem = supervised.Problem(inputs, labels, layers, "momentum", learning_rate)

    def ours() -> Any:
        from jaxdl import nn
        from jaxdl.models.vision import LeNet5

        pools = {"max": nn.max_pool, "average": nn.average_pool}
        return LeNet5(activation=getattr(nn, activation), pool=pools[pool])

    def plain() -> Any:
        from flax import linen

        squash = getattr(linen, activation)
        pooled = {"max": linen.max_pool, "average": linen.avg_pool}[pool]

        class LeNet5(linen.Module):
            @linen.compact
            def __call__(self, x):
                x = squash(linen.Conv(6, (5, 5), padding="SAME")(x))
                x = pooled(x, (2, 2), strides=(2, 2))
                x = squash(linen.Conv(16, (5, 5), padding="VALID")(x))
                x = pooled(x, (2, 2), strides=(2, 2))
                x = x.reshape(x.shape[0], -1)
                x = squash(linen.Dense(120)(x))
                x = squash(linen.Dense(84)(x))
                return linen.Dense(10)(x)

        return LeNet5()

    def torch() -> Any:
        from torch import nn

        squash = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
        pooled = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[pool]
        return nn.Sequential(
            *(nn.Conv2d(1, 6, 5, padding=2), squash(), pooled(2)),
            *(nn.Conv2d(6, 16, 5), squash(), pooled(2), nn.Flatten()),
            *(nn.Linear(400, 120), squash(), nn.Linear(120, 84), squash(), nn.Linear(84, 10)),
        )

    def keras() -> Any:
        from keras import Input, Sequential, layers

        pooled = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[pool]
        return Sequential(
            [
                Input((28, 28, 1)),
                layers.Conv2D(6, 5, padding="same", activation=activation),
                pooled(2),
                layers.Conv2D(16, 5, activation=activation),
                pooled(2),
                layers.Flatten(),
                layers.Dense(120, activation=activation),
                layers.Dense(84, activation=activation),
                layers.Dense(10),
            ]
        )

    channels_last = supervised.torch(torch, problem, channels_last=True, flattened=(5, 5, 16))
    return Row(
        name=name,
        trains=f"LeNet-5, {activation}, {pool} pooling, 28x28x1, batch {batch_size}, cross-entropy, momentum",
        sides=(
            supervised.jaxdl(ours, problem),
            supervised.linen(plain, problem),
            channels_last,
            supervised.torch(torch, problem, flattened=(5, 5, 16)),
            supervised.keras(keras, problem),
        ),
        targets=(
            Target("never slower than plain Flax, within 3 %", "flax", "jaxdl", at_least=0.97),
            Target(
                "0.9 times PyTorch's speed, channels_last (aim 1.0)",
                channels_last.name,
                "jaxdl",
                at_least=0.9,
            ),
        ),
        units=units,
        check_units=num_batches,
    )


def row(batch_size: int = 128, units: int = 16, num_batches: int = 8) -> Row:
    """The model's defaults, ReLU and maximum.

    Args:
      batch_size: examples per step.
      units: steps per block.
      num_batches: batches in turn.
    """
    return _row("lenet", "relu", "max", batch_size, units, num_batches)


def tanh_row(batch_size: int = 128, units: int = 16, num_batches: int = 8) -> Row:
    """The form nearer to the paper, tanh and mean; arguments as those of `row`."""
    return _row("lenet_tanh", "tanh", "average", batch_size, units, num_batches)
