"""Sizes and parameter counts: published numbers, and the shapes that the layers really give."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import nn


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param((8, 3), 6, id="001-G6"),
        pytest.param((8, 3, 1, 1), 8, id="001-G6-padded"),
        pytest.param((227, 11, 4), 55, id="alexnet-conv1"),
        pytest.param((27, 5, 1, 2), 27, id="alexnet-conv2"),
        pytest.param((13, 3, 1, 1), 13, id="alexnet-conv3"),
        pytest.param((32, 5), 28, id="lenet-c1"),
        pytest.param((14, 5), 10, id="lenet-c3"),
        pytest.param((5, 5), 1, id="lenet-c5"),
        pytest.param((32, 2, 1, "SAME"), 32, id="001-G7-even-kernel"),
        pytest.param((32, 5, 1, "VALID"), 28, id="001-G7-valid"),
        pytest.param((6, 3), 4, id="002-G3"),
        pytest.param((7, 3, 2), 3, id="002-G4"),
        pytest.param((5, 3, 2), 2, id="002-G5"),
        pytest.param((8, 3, 1, 0), 6, id="002-G9"),
        pytest.param((6, 3, 2), 2, id="k3s2-6"),
        pytest.param((7, 3, 2), 3, id="k3s2-7"),
        pytest.param((8, 3, 2), 3, id="k3s2-8"),
        pytest.param((224, 3, 2), 111, id="k3s2-224"),
        pytest.param((6, 3, 2, 1), 3, id="k3s2p1-6"),
        pytest.param((8, 3, 2, 1), 4, id="k3s2p1-8"),
        pytest.param((224, 3, 2, 1), 112, id="k3s2p1-224"),
        pytest.param((34, 3), 32, id="34-3"),
        pytest.param((34, 5), 30, id="34-5"),
        pytest.param((34, 7), 28, id="34-7"),
        pytest.param((5, 3, 1, 0, 2), 1, id="dilated-field-5"),
        pytest.param((7, 3, 2, (0, 1)), 3, id="asymmetric"),
    ],
)
def test_conv_output_size(args, expected):
    assert nn.conv_output_size(*args) == expected


@pytest.mark.parametrize(
    ("sizes", "window", "stride"),
    [
        pytest.param((55, 27, 13, 6), 3, 2, id="alexnet"),  # its convolutions between the pools keep the size
        pytest.param((28, 14), 2, None, id="lenet-s2"),
        pytest.param((10, 5), 2, None, id="lenet-s4"),
        pytest.param((224, 112, 56, 28, 14, 7), 2, 2, id="vgg"),
        pytest.param((28, 13, 6), 3, 2, id="000-G6"),
    ],
)
def test_pool_output_size(sizes, window, stride):
    for size, expected in itertools.pairwise(sizes):
        assert nn.pool_output_size(size, window, stride) == expected


def test_both_forms_of_the_pool_size():  # 004b-2.4
    assert nn.pool_output_size(4, 2, 2) == 2
    for n, s in itertools.product(range(1, 60), range(1, 9)):
        for f in range(1, min(n, 9) + 1):
            assert nn.pool_output_size(n, f, s) == math.ceil((n - f + 1) / s)


@pytest.mark.parametrize(("ceil", "padding"), [(False, 0), (False, 1), (True, 0), (True, 1)])
def test_pool_size_is_torchs(ceil, padding):
    torch = pytest.importorskip("torch")
    for n, f, s in itertools.product(range(3, 9), (2, 3), (1, 2, 3)):
        y = torch.nn.functional.max_pool1d(torch.zeros(1, 1, n), f, s, padding, ceil_mode=ceil)
        assert nn.pool_output_size(n, f, s, padding, ceil=ceil) == y.shape[-1]


@pytest.mark.parametrize("padding", ["SAME", "VALID", 1, (2, 0)])
def test_sizes_are_what_the_layers_give(padding):
    for n, k, s, d in itertools.product((5, 8), (2, 3), (1, 2), (1, 2)):
        x = jax.ShapeDtypeStruct((1, n, 1), jnp.float32)
        pairs = padding if isinstance(padding, (str, int)) else (padding,)
        layer = nn.Conv(1, (k,), s, pairs, d)
        y = jax.eval_shape(lambda x, layer=layer: layer.init_with_output(jax.random.key(0), x)[0], x)
        assert y.shape[1] == nn.conv_output_size(n, k, s, padding, d)
        if padding != (2, 0) or k > 2:
            y = jax.eval_shape(lambda x, k=k, s=s, pairs=pairs: nn.max_pool(x, k, s, pairs), x)
            assert y.shape[1] == nn.pool_output_size(n, k, s, padding)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param((3, 12, 2), 156, id="001-G7-k2"),
        pytest.param((3, 12, 3), 336, id="001-G7-k3"),
        pytest.param((3, 12, 5), 912, id="001-G7-k5"),
        pytest.param((3, 10, 5), 760, id="004b-7.3"),
        pytest.param((1, 1, 5), 26, id="002-G17-bias"),
        pytest.param((1, 1, 5, 1, False), 25, id="002-G17"),
        pytest.param((3, 2, 3), 56, id="002-1.4"),
        pytest.param((192, 32, 5, 1, False), 153_600, id="002-D17"),
        pytest.param((96, 256, 5, 2), 5 * 5 * 48 * 256 + 256, id="grouped"),
        pytest.param((4, 8, (3,)), 3 * 4 * 8 + 8, id="one-axis"),
    ],
)
def test_conv_param_count(args, expected):
    assert nn.conv_param_count(*args) == expected
    in_features, features, size, groups, use_bias = (*args, *(1, True)[len(args) - 3 :])
    rank = 2 if isinstance(size, int) else len(size)
    layer = nn.Conv(features, size, groups=groups, use_bias=use_bias)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, *(8,) * rank, in_features)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected


def test_published_products():
    assert (
        nn.conv_param_count(192, 16, 1, use_bias=False) + nn.conv_param_count(16, 32, 5, use_bias=False)
        == 15_872
    )  # 002-D17, reduced by 1x1
    bottleneck = [(256, 64, 1), (64, 64, 3), (64, 256, 1)]
    assert sum(nn.conv_param_count(*args, use_bias=False) for args in bottleneck) == 69_632  # 002-G29
    assert 2 * nn.conv_param_count(256, 256, 3, use_bias=False) == 1_179_648


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param((3072, 10), 30_730, id="001-G7"),
        pytest.param((4, 3), 15, id="004b-7.7"),
        pytest.param((100 * 100, 1000, False), 10_000_000, id="002-G15"),
        pytest.param((100 * 100, 1, False), 10_000, id="002-G16"),
    ],
)
def test_dense_param_count(args, expected):
    assert nn.dense_param_count(*args) == expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 6), st.integers(0, 6), st.integers(1, 4))
def test_any_size_is_torchs(n, k, s, p, d):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x, kernel = torch.empty(1, 1, n, device="meta"), torch.empty(1, 1, k, device="meta")
    if d * (k - 1) + 1 <= n + 2 * p:
        y = functional.conv1d(x, kernel, None, s, p, d)
        assert nn.conv_output_size(n, k, s, p, d) == y.shape[-1]
        o = y.shape[-1]
        before, behind = nn.padding_for_output(n, o, k, s, d)
        assert 0 <= behind - before <= 1
        assert before + behind <= 2 * p
        assert functional.conv1d(functional.pad(x, (before, behind)), kernel, None, s, 0, d).shape[-1] == o
        if before + behind and d * (k - 1) + 1 <= n + before + behind - 1:
            one_less = functional.pad(x, (before, behind - 1))
            assert functional.conv1d(one_less, kernel, None, s, 0, d).shape[-1] == o - 1
    else:
        with pytest.raises(ValueError, match="kernel_size must fit"):
            nn.conv_output_size(n, k, s, p, d)
    if 2 * p <= k <= n + 2 * p:
        for ceil in (False, True):
            y = functional.max_pool1d(x, k, s, p, ceil_mode=ceil)
            assert nn.pool_output_size(n, k, s, p, ceil=ceil) == y.shape[-1]
    for extra in range(max(s, d)):
        length = (n - 1) * s + d * (k - 1) + 1 - 2 * p + extra
        if length < 1:
            with pytest.raises(ValueError, match="padding must leave"):
                nn.transposed_conv_output_size(n, k, s, p, d, extra)
            continue
        y = functional.conv_transpose1d(x, kernel, None, s, p, extra, 1, d)
        assert nn.transposed_conv_output_size(n, k, s, p, d, extra) == y.shape[-1]
        if extra < s and d * (k - 1) + 1 <= length + 2 * p:
            assert nn.conv_output_size(length, k, s, p, d) == n  # it leads back


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param((2, 3, 2), 5, id="002-G8"),
        pytest.param((4, 4, 2, 1), 8, id="004b-7.21-dcgan"),
        pytest.param((7, 5, 2, "SAME"), 14, id="004b-7.21-fashion"),
        pytest.param((2, 3, 2, "VALID"), 5, id="valid"),
        pytest.param((14, 3, 2, (0, 1)), 28, id="asymmetric"),
    ],
)
def test_transposed_conv_output_size(args, expected):
    assert nn.transposed_conv_output_size(*args) == expected
    size, *settings = args
    assert nn.conv_output_size(expected, *settings) == size


def test_same_padding():  # 002-G27, 004a-7.14a, 004b-7.1
    assert [nn.same_padding(k) for k in (1, 3, 5, 7)] == [0, 1, 2, 3]
    assert nn.same_padding(2, 2) == 1
    for k, d in itertools.product((1, 3, 4, 7), (2, 4)):
        assert nn.conv_output_size(20, k, 1, nn.same_padding(k, d), d) == 20


def test_padding_for_output():
    assert nn.padding_for_output(8, 8, 3) == (1, 1)  # 001-G6
    assert nn.padding_for_output(8, 6, 3) == (0, 0)
    for n, k, s, d in itertools.product((5, 8, 13), (1, 2, 3, 6), (1, 2, 3), (1, 2)):
        pair = nn.padding_for_output(n, -(-n // s), k, s, d)
        window = d * (k - 1) + 1
        got = nn.conv_output_size(n, k, s, "SAME", d)
        assert nn.conv_output_size(n, k, s, pair, d) == got == -(-n // s)
        assert sum(pair) == max((got - 1) * s + window - n, 0)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param((3, 1, 2), 5, id="002-G7"),
        pytest.param(((4,) * 5, (2, 2, 2, 1, 1)), 70, id="004b-7.21-patchgan"),
        pytest.param(((4,) * 5, (2, 2, 2, 2, 1)), 94, id="004b-7.21-four-strides"),
        pytest.param(((3, 3),), 5, id="two-3-see-5"),
        pytest.param(((2,) * 4, 1, (1, 2, 4, 8)), 16, id="wavenet-block"),
        pytest.param(((5, 2, 5, 2), (1, 2, 1, 2)), 16, id="lenet-5-up-to-s4"),
    ],
)
def test_receptive_field(args, expected):
    torch = pytest.importorskip("torch")
    assert nn.receptive_field(*args) == expected
    kernels, strides, dilation = (*args, 1, 1)[:3]
    kernels = (kernels,) if isinstance(kernels, int) else kernels
    x = torch.zeros(1, 1, 2 * expected, dtype=torch.float64, requires_grad=True)
    y = x
    for k, s, d in zip(kernels, *(np.broadcast_to(v, len(kernels)).tolist() for v in (strides, dilation))):
        y = torch.nn.functional.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), stride=s, dilation=d)
    y[0, 0, 0].backward()
    (seen,) = np.nonzero(x.grad.numpy()[0, 0])
    assert seen[-1] - seen[0] + 1 == expected


def test_published_pixel_usage():  # 004a-7.14b, 004b-7.2
    rows = [[1, 2, 3, 3, 3, 3, 2, 1], [2, 4, 6, 6, 6, 6, 4, 2], *[[3, 6, 9, 9, 9, 9, 6, 3]] * 2]
    usage = nn.pixel_usage(8, 3)
    np.testing.assert_array_equal(usage, rows + rows[::-1])
    assert usage.sum() == 324
    padded = nn.pixel_usage(8, 3, padding=1)
    assert (padded[0, 0], padded[0, 4], padded[4, 4], padded.sum()) == (4, 6, 9, 484)


@pytest.mark.parametrize(
    ("size", "static"),
    [
        pytest.param((9,), {"kernel_size": (3,), "strides": 2, "padding": ((0, 2),)}, id="one-axis"),
        pytest.param((7, 8), {"kernel_size": 2, "strides": (3, 2), "dilation": (1, 2)}, id="unused-pixels"),
        pytest.param(
            (5, 6, 4), {"kernel_size": (2, 3, 1), "padding": (1, 0, 2), "dilation": 2}, id="three-axes"
        ),
        pytest.param((7, 6), {"kernel_size": 4, "padding": "SAME", "strides": 2}, id="same"),
    ],
)
def test_pixel_usage_is_the_gradient_of_a_sum(size, static):
    torch = pytest.importorskip("torch")
    rank = len(size)
    kernel, strides, dilation = (
        np.broadcast_to(static.get(name, 1), rank).tolist() for name in ("kernel_size", "strides", "dilation")
    )
    padding = static.get("padding", 0)
    if padding == "SAME":
        padding = [nn.padding_for_output(n, -(-n // s), k, s) for n, k, s in zip(size, kernel, strides)]
    pairs = [(p, p) if isinstance(p, int) else p for p in ((padding,) * rank if padding == 0 else padding)]
    x = torch.zeros(1, 1, *size, requires_grad=True)
    padded = torch.nn.functional.pad(x, list(itertools.chain(*reversed(pairs))))
    convolution = getattr(torch.nn.functional, f"conv{rank}d")
    convolution(padded, torch.ones(1, 1, *kernel), stride=strides, dilation=dilation).sum().backward()
    np.testing.assert_array_equal(nn.pixel_usage(size, **static), x.grad[0, 0].numpy())


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param((3, 2, "lstm"), 48, id="002-G30"),
        pytest.param((3, 2, "gru"), 36, id="000-1.10"),
        pytest.param((3, 2, "gru", 1, 2), 3 * (3 + 2 + 2) * 2, id="reset-after"),
        pytest.param((10, 20), 725 - 105, id="001-1.17-without-its-output"),
        pytest.param((4, 8, "simple", 3), 394 - 18, id="001-1.21-without-its-output"),
        pytest.param((3, 2, "minimal_gated"), 24, id="two-blocks"),
    ],
)
def test_recurrent_param_count(args, expected):
    assert nn.recurrent_param_count(*args) == expected


def test_recurrent_param_count_with_a_dense_layer():
    assert nn.recurrent_param_count(10, 20) + nn.dense_param_count(20, 5) == 725  # 001-1.17
    assert nn.recurrent_param_count(4, 8, num_layers=3) + nn.dense_param_count(8, 2) == 394  # 001-1.21


@pytest.mark.parametrize(("cell", "name"), [("simple", "RNN"), ("lstm", "LSTM"), ("gru", "GRU")])
def test_recurrent_param_count_is_torchs(cell, name):
    torch = pytest.importorskip("torch")
    for d, h, layers, bias in itertools.product((3, 7), (2, 5), (1, 3), (False, True)):
        net = getattr(torch.nn, name)(d, h, layers, bias=bias, device="meta")
        expected = sum(parameter.numel() for parameter in net.parameters())
        assert nn.recurrent_param_count(d, h, cell, layers, 2 * bias) == expected


@pytest.mark.parametrize(
    ("call", "match"),
    [
        pytest.param(lambda: nn.conv_output_size(3, 5), "kernel_size must fit", id="kernel"),
        pytest.param(lambda: nn.conv_output_size(8, 3, 0), "stride must be at least 1", id="stride"),
        pytest.param(lambda: nn.conv_output_size(8, 3, 1, "same"), "padding must be one of", id="padding"),
        pytest.param(lambda: nn.conv_output_size(8, 3, 1, -1), "padding must be at least 0", id="negative"),
        pytest.param(lambda: nn.pool_output_size(2, 3), "window must fit", id="window"),
        pytest.param(lambda: nn.conv_param_count(3, 4, 3, 2), "in_features must be a multiple", id="groups"),
        pytest.param(lambda: nn.dense_param_count(0, 4), "in_features must be at least 1", id="dense"),
        pytest.param(
            lambda: nn.transposed_conv_output_size(2, 3, 2, 0, 1, 2),
            "output_padding must be between",
            id="output",
        ),
        pytest.param(
            lambda: nn.transposed_conv_output_size(2, 3, 2, "SAME", 1, 1), "output_padding", id="output-same"
        ),
        pytest.param(lambda: nn.same_padding(4), "must be a multiple of the two sides", id="even"),
        pytest.param(lambda: nn.padding_for_output(10, 5, 3), "output_size must be at least", id="longer"),
        pytest.param(
            lambda: nn.receptive_field((3, 3), (1,)), "strides must be an integer or one", id="layers"
        ),
        pytest.param(lambda: nn.receptive_field((3, 0)), "kernel_size must be at least 1", id="field"),
        pytest.param(lambda: nn.pixel_usage((8, 8), (3,)), "every setting must be", id="usage-axes"),
        pytest.param(lambda: nn.pixel_usage(2, 3), "kernel_size must fit", id="usage-size"),
        pytest.param(lambda: nn.recurrent_param_count(3, 2, "lstn"), "cell must be one of", id="cell"),
        pytest.param(lambda: nn.recurrent_param_count(3, 2, num_biases=3), "num_biases must be", id="biases"),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call()
