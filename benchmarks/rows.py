"""The table: every row that `python -m benchmarks` knows."""

from benchmarks import convolution_loops, learning_rates, lenet, mlp, xor

ROWS = (
    mlp.row(),
    lenet.row(),
    lenet.tanh_row(),
    xor.row(),
    xor.seeds_row(),
    learning_rates.row(),
    convolution_loops.steps_row(),
    convolution_loops.microbatches_row(),
)
