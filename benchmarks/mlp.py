"""A multilayer perceptron of MNIST's size."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import supervised
from benchmarks.measure import Row, Target


def row(
    sizes: Sequence[int] = (784, 256, 128, 10), batch_size: int = 128, units: int = 64, num_batches: int = 8
) -> Row:
    """Dense layers with ReLU, cross-entropy, Adam.

    Args:
      sizes: inputs, hidden units by layer, classes.
      batch_size: examples per step.
      units: steps per block.
      num_batches: batches in turn, and steps in one program for the scanned side.
    """
    rng = np.random.default_rng(0)
    inputs, labels = supervised.random_batches(rng, num_batches, batch_size, tuple(sizes[:1]), sizes[-1])
    layers = supervised.random_layers(rng, list(itertools.pairwise(sizes)), gain=2.0)
    problem = supervised.Problem(inputs, labels, layers, "adam", 1e-4)

    def ours() -> Any:
        from jaxdl.models.dense import MLP

        return MLP(sizes[1:-1], sizes[-1])

    def plain() -> Any:
        from flax import linen

        class MLP(linen.Module):
            @linen.compact
            def __call__(self, x):
                for size in sizes[1:-1]:
                    x = linen.relu(linen.Dense(size)(x))
                return linen.Dense(sizes[-1])(x)

        return MLP()

    def torch() -> Any:
        from torch import nn

        layers = []
        for i, o in itertools.pairwise(sizes):
            layers += [nn.Linear(i, o), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def keras() -> Any:
        import keras

        hidden = [keras.layers.Dense(size, activation="relu") for size in sizes[1:-1]]
        return keras.Sequential([keras.Input(sizes[:1]), *hidden, keras.layers.Dense(sizes[-1])])

    default = supervised.jaxdl(ours, problem)
    flax_with_norms = supervised.linen(plain, problem, report_norms=True)
    bare = supervised.jaxdl(ours, problem, report_norms=False)
    tuned = supervised.jaxdl_scanned(ours, problem, report_norms=False, ynn=False)
    return Row(
        name="mlp",
        trains=f"MLP {'-'.join(map(str, sizes))}, ReLU, batch {batch_size}, cross-entropy, Adam",
        sides=(
            default,
            bare,
            tuned,
            supervised.linen(plain, problem),
            flax_with_norms,
            supervised.torch(torch, problem),
            supervised.torch(torch, problem, fused=True),
            supervised.keras(keras, problem),
        ),
        targets=(
            Target(
                "never slower than plain Flax at the same work, within 3 %", "flax", bare.name, at_least=0.97
            ),
            Target(
                "never slower than plain Flax that reports both norms too, within 3 %",
                flax_with_norms.name,
                default.name,
                at_least=0.97,
            ),
            Target(
                "1.5 times the speed of PyTorch at the same work, as this library would train it",
                "torch",
                tuned.name,
                at_least=1.5,
            ),
        ),
        units=units,
        check_units=num_batches,
    )
