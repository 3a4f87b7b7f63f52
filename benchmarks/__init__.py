"""Side by side: the same nets trained here, in plain Flax, in PyTorch and in Keras.

    python -m benchmarks                      every row, at most 30 minutes
    python -m benchmarks --row mlp lenet      some rows, at most one minute each
    python -m benchmarks --list               what there is

The sides of a row start from the same weights and see the same batches; a row first checks that their losses
agree, so that one computation is timed and not two. Then they take turns in short blocks, in random order, with
the garbage collector off. Printed are medians, ratios of medians, and the quartiles of the ratios within a turn; the
first call, which compiles, is timed apart. Milliseconds are the machine's; ratios travel better. Results go
to `benchmarks/results.json`, merged by row.

PyTorch runs eagerly, on all cores, as its own training loops are written. Nets with convolutions run in both
of its memory layouts; where the optimizer is much of a step, its fused form runs beside the default. Keras 3
runs on its JAX backend through `fit`, which is faster than its `train_on_batch`. JAX uses the CPU unless
JAX_PLATFORMS says otherwise.

Other processes spoil the numbers, PyTorch's most: its threads spin at barriers, and with too few free cores a
step of two milliseconds takes a hundred. So the share of the cores that others used is measured and recorded.

A new row: a function that returns a `Row` (`measure.py`), listed in `rows.py`. `supervised.py` makes the
sides of any classifier.
"""
