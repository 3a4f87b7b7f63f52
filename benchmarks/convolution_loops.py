"""The guard: nothing here puts a convolution's gradient into a compiled loop on CPU, where it crawls.

`scan_steps` and `microbatched` loop over steps and slices; on CPU they unroll what would be slow. Beside them
stands a bare `lax.scan` of the same step, to show what is avoided.
"""

from typing import Any

import numpy as np

from benchmarks import supervised
from benchmarks.measure import Row, Target


def _problem(num_batches: int, batch_size: int) -> supervised.Problem:
    rng = np.random.default_rng(0)
    inputs, labels = supervised.random_batches(rng, num_batches, batch_size, (16, 16, 3), 10)
    layers = supervised.random_layers(rng, [(3, 3, 3, 16), (3, 3, 16, 32), (32, 10)], gain=2.0)
    return supervised.Problem(inputs, labels, layers, "momentum", 1e-2)


def _model() -> Any:
    from flax import linen

    from jaxdl import nn

    class ConvolutionalNet(linen.Module):
        @linen.compact
        def __call__(self, x, *, train: bool):
            del train
            x = linen.relu(nn.Conv(16, (3, 3))(x))
            x = linen.relu(nn.Conv(32, (3, 3))(x))
            return nn.Dense(10)(x.mean(axis=(1, 2)))

    return ConvolutionalNet()


def steps_row(num_steps: int = 4, batch_size: int = 32, units: int = 16) -> Row:
    """Several steps in one program against one call per step."""
    problem = _problem(num_steps, batch_size)
    single, scanned = supervised.jaxdl(_model, problem), supervised.jaxdl_scanned(_model, problem)
    return Row(
        name="conv_in_scan",
        trains=f"3-16-32 convolutions on 16x16, batch {batch_size}: {num_steps} steps by scan_steps",
        sides=(single, scanned, supervised.naive_scanned(_model, problem)),
        targets=(
            Target("scan_steps costs no more than single steps", scanned.name, single.name, at_most=1.25),
        ),
        units=units,
        check_units=num_steps,
        tolerance=5e-5,
    )


def microbatches_row(num_microbatches: int = 4, batch_size: int = 128, units: int = 4) -> Row:
    """One update from several slices of the batch against one from the whole batch."""
    problem = _problem(2, batch_size)
    whole = supervised.jaxdl(_model, problem)
    sliced = supervised.jaxdl(_model, problem, num_microbatches=num_microbatches)
    return Row(
        name="conv_in_microbatches",
        trains=f"3-16-32 convolutions on 16x16, batch {batch_size} in {num_microbatches} microbatches",
        sides=(whole, sliced),
        targets=(
            Target("microbatches cost little more than the batch", sliced.name, whole.name, at_most=1.25),
        ),
        units=units,
        check_units=4,
        tolerance=5e-5,
    )
