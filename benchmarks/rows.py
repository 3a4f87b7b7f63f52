"""The table: every row that `python -m benchmarks` knows."""

from benchmarks import (
    convolution_loops,
    input_pipelines,
    layers,
    learning_rates,
    lenet,
    losses,
    mlp,
    sequence_layers,
    xor,
)

ROWS = (
    mlp.row(),
    lenet.row(),
    lenet.tanh_row(),
    xor.row(),
    xor.seeds_row(),
    learning_rates.row(),
    convolution_loops.steps_row(),
    convolution_loops.microbatches_row(),
    layers.dense_row(),
    layers.mlp_block_row(),
    *layers.convolution_rows(),
    *layers.norm_rows(),
    sequence_layers.attention_row(),
    sequence_layers.transformer_block_row(),
    *sequence_layers.recurrent_rows(),
    losses.cross_entropy_row(),
    losses.ctc_row(),
    losses.ssim_row(),
    input_pipelines.cifar10_row(),
    input_pipelines.mnist_row(),
)
