"""The rows of single layers and losses: all sides compute the same values and gradients."""

import jax
import numpy as np
import pytest

from benchmarks import layers, losses, sequence_layers
from benchmarks.measure import Target

TARGET = Target("none", "flax", "jaxdl")
TINY = [
    layers.dense_row(2, 3, 4, 5),
    layers.mlp_block_row(2, 3, 4, 6),
    layers.convolution_row("stem", 2, 6, 1, 3, 3, TARGET, stem=True, units=1),
    layers.convolution_row("block", 2, 6, 4, 3, 3, TARGET, stem=False, units=1),
    *layers.norm_rows(),
    sequence_layers.attention_row(2, 9, 2, 4),
    sequence_layers.transformer_block_row(2, 7, 8, 2, 16),
    sequence_layers.recurrent_row("lstm", 2, 5, 3, 4, 1),
    sequence_layers.recurrent_row("gru", 2, 5, 3, 4, 1),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", TINY, ids=lambda row: row.name)
@jax.numpy_rank_promotion("allow")  # the other frameworks rely on it
def test_sides_agree(row):
    pytest.importorskip("torch")
    results = {side.name: side.build()(1) for side in row.sides}
    assert {"jaxdl", "flax", "torch"} <= set(results)
    loss, kernels, inputs = results["flax"]
    assert abs(loss) > 1e-9
    assert kernels > 0 or "norm" in row.name or row.name == "attention"
    assert inputs > 0 or row.name == "stem"
    for name, result in results.items():
        np.testing.assert_allclose(result, results["flax"], rtol=2e-4, atol=1e-6, err_msg=name)


LOSSES = [losses.cross_entropy_row(4, 30), losses.ctc_row(3, 12, 5, 4), losses.ssim_row(2, 16)]


@pytest.mark.slow
@pytest.mark.parametrize("row", LOSSES, ids=lambda row: row.name)
@jax.numpy_rank_promotion("allow")
def test_losses_agree(row):
    pytest.importorskip("torch")
    results = {side.name: side.build()(1) for side in row.sides}
    value, gradient = results["torch"]
    assert value > 0
    assert gradient > 0
    for name, result in results.items():
        np.testing.assert_allclose(result, results["torch"], rtol=2e-4, err_msg=name)
