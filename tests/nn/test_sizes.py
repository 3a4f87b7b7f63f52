"""Sizes and parameter counts: published numbers, and the shapes that the layers really give."""

import itertools
import math

import jax
import jax.numpy as jnp
import pytest

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
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call()
