"""Transposed convolution: PyTorch in one to three axes, the adjoint of a convolution, worked numbers, linen."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def in_torchs_order(kernel, groups):
    """[k..., C / G, F] as PyTorch's [C, F / G, k...]."""
    *window, c, f = kernel.shape
    apart = np.asarray(kernel).reshape(*window, c, groups, f // groups)
    return np.moveaxis(apart, (-2, -3, -1), (0, 1, 2)).reshape(groups * c, f // groups, *window)


def check(x, kernel, strides, padding, output_padding, dilation, groups):
    """Values and gradients equal PyTorch's in float64, to 1e-5 of the largest."""
    torch = pytest.importorskip("torch")
    rank, bias = x.ndim - 2, normal(2, kernel.shape[-1])
    there = [
        torch.tensor(np.asarray(a, np.float64), requires_grad=True)
        for a in (np.moveaxis(x, -1, 1), in_torchs_order(kernel, groups), bias)
    ]
    function = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    y = function(*there, strides, padding, output_padding, groups, dilation)
    g = np.random.default_rng(3).normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(g, dtype=torch.float64))
    layer = nn.ConvTranspose(len(bias), kernel.shape[:-2], strides, padding, output_padding, dilation, groups)

    @jax.jit
    def run(p, x, g):
        y, pullback = jax.vjp(lambda p, x: layer.apply({"params": p}, x), p, x)
        return y, pullback(g)

    got, (grads, dx) = run({"kernel": kernel, "bias": bias}, x, np.moveaxis(g, 1, -1))
    ours = (np.moveaxis(got, -1, 1), np.moveaxis(dx, -1, 1), in_torchs_order(grads["kernel"], groups))
    for a, b in zip((*ours, grads["bias"]), (y.detach(), *(t.grad for t in there))):
        b = b.numpy()
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(abs(b).max(), 1))


@pytest.mark.parametrize(
    ("sizes", "window", "strides", "padding", "output_padding", "dilation", "groups"),
    [
        pytest.param((4, 5), (4, 4), 2, 1, 0, 1, 1, id="dcgan"),
        pytest.param((3, 4), (3, 4), (2, 3), (0, 1), (1, 2), 1, 2, id="output-padding-and-groups"),
        pytest.param((7,), (3,), 2, 1, 0, 2, 1, id="one-axis-dilated"),
        pytest.param((3, 2, 3), (2, 2, 2), 2, 0, 0, (1, 2, 1), 1, id="three-axes"),
        pytest.param((4, 4), (3, 3), 1, 2, 1, 2, 1, id="no-stride-dilated"),
        pytest.param((4, 5), (2, 2), 3, 0, 2, 1, 4, id="gaps-depthwise"),
        pytest.param((3, 2, 3), (3, 2, 3), 2, 1, 1, 1, 2, id="three-axes-phases", marks=pytest.mark.slow),
        pytest.param((4, 4), (3, 3), 1, 1, 0, 1, 4, id="no-stride-depthwise", marks=pytest.mark.slow),
    ],
)
def test_matches_torch(sizes, window, strides, padding, output_padding, dilation, groups):
    x, kernel = normal(0, 2, *sizes, 4), normal(1, *window, 4 // groups, 8)
    check(x, kernel, strides, padding, output_padding, dilation, groups)


@st.composite
def transposed(draw):
    rank = draw(st.sampled_from([1, 2]))

    def one(*values):
        return tuple(draw(st.sampled_from(values)) for _ in range(rank))

    sizes, window, strides, dilation, padding = one(1, 4), one(1, 2, 3), one(1, 2, 3), one(1, 1, 2), one(0, 1)
    output_padding = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(strides, dilation))
    lengths = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1 + o
        for n, s, p, d, k, o in zip(sizes, strides, padding, dilation, window, output_padding)
    ]
    hypothesis.assume(min(lengths) > 0)
    groups = draw(st.sampled_from([1, 2, 4]))
    kernel = normal(1, *window, 4 // groups, 4)
    return normal(0, 2, *sizes, 4), kernel, strides, padding, output_padding, dilation, groups


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
@hypothesis.given(transposed())
def test_any_is_torchs(case):
    check(*case)


@pytest.mark.slow
@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(transposed())
def test_any_of_many_is_torchs(case):
    check(*case)


def transpose(x, kernel, **settings):
    layer = nn.ConvTranspose(kernel.shape[-1], kernel.shape[:-2], use_bias=False, **settings)
    return layer.apply({"params": {"kernel": kernel}}, x)


def test_worked_numbers():  # 002-D15, 002-G8
    x, kernel = jnp.array([[1.0, 2], [3, 4]]), jnp.arange(1.0, 10).reshape(3, 3)
    y = transpose(x[None, :, :, None], kernel[:, :, None, None], strides=2, padding="VALID")
    expected = [
        [1, 2, 5, 4, 6],
        [4, 5, 14, 10, 12],
        [10, 14, 36, 24, 30],
        [12, 15, 34, 20, 24],
        [21, 24, 55, 32, 36],
    ]
    np.testing.assert_array_equal(y[0, :, :, 0], expected)
    image = jnp.arange(25.0).reshape(1, 5, 5, 1)
    forward = nn.Conv(1, 3, 2, "VALID", use_bias=False).apply(
        {"params": {"kernel": kernel[:, :, None, None]}}, image
    )
    np.testing.assert_array_equal(forward[0, :, :, 0], [[366, 456], [816, 906]])
    assert (forward[0, :, :, 0] * x).sum() == (image * y).sum() == 7350
    ones = transpose(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)), strides=2, padding="VALID")[0, :, :, 0]
    np.testing.assert_array_equal(ones, np.outer(*[[1, 1, 2, 1, 1]] * 2))


@pytest.mark.parametrize(("window", "strides"), [(3, 2), (2, 3)], ids=str)
def test_same_multiplies_the_size_and_is_the_adjoint_of_conv(window, strides):
    """<Conv(z), x> = <z, ConvTranspose(x)> for the same kernel, C and F exchanged."""
    x, kernel = normal(0, 2, 4, 3), normal(1, window, 3, 2)
    z = normal(2, 2, 4 * strides, 2)

    @jax.jit
    def both(x, z, kernel):
        y = transpose(x, kernel, strides=strides)
        conv = nn.Conv(3, (window,), strides, use_bias=False)
        there = conv.apply({"params": {"kernel": jnp.swapaxes(kernel, 1, 2)}}, z)
        return y, (there * x).sum(), (y * z).sum()

    y, there, here = both(x, z, kernel)
    assert y.shape == (2, 4 * strides, 2)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_equals_linens_with_the_kernel_turned(padding, key):
    x = normal(0, 2, 4, 3, 2)
    theirs = linen.ConvTranspose(3, (3, 4), (2, 3), padding)
    ours = nn.ConvTranspose(3, (3, 4), (2, 3), padding)
    shapes = [jax.tree.map(jnp.shape, jax.eval_shape(layer.init, key, x)) for layer in (ours, theirs)]
    assert shapes[0] == shapes[1]
    kernel, bias = normal(1, 3, 4, 2, 3), normal(2, 3)

    @jax.jit
    def both(kernel, bias, x):
        turned = {"kernel": jnp.flip(kernel, (0, 1)), "bias": bias}
        as_is = {"kernel": kernel, "bias": bias}
        return ours.apply({"params": turned}, x), theirs.apply({"params": as_is}, x)

    np.testing.assert_allclose(*both(kernel, bias, x), rtol=1e-5, atol=1e-5)


def test_parameter_count(key):
    shapes = jax.eval_shape(nn.ConvTranspose(8, 3, groups=2).init, key, jnp.ones((1, 4, 4, 6)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == nn.conv_param_count(6, 8, 3, groups=2)


IMAGE = jnp.ones((1, 4, 4, 2))


@pytest.mark.parametrize(
    ("layer", "x", "error", "match"),
    [
        pytest.param(nn.ConvTranspose(4, 3), IMAGE[0], ValueError, "x must have rank 4", id="rank"),
        pytest.param(nn.ConvTranspose(4, 3), IMAGE.astype(int), TypeError, "x must be floating", id="dtype"),
        pytest.param(nn.ConvTranspose(4, 3, groups=4), IMAGE, ValueError, "multiple of groups", id="groups"),
        pytest.param(nn.ConvTranspose(4, 3, 0), IMAGE, ValueError, "strides must be at least 1", id="zero"),
        pytest.param(nn.ConvTranspose(4, 3, 2, "same"), IMAGE, ValueError, "padding must be", id="padding"),
        pytest.param(nn.ConvTranspose(4, 3, 2, -1), IMAGE, ValueError, "padding must be", id="negative"),
        pytest.param(nn.ConvTranspose(4, 3, 1, 3), IMAGE, ValueError, "padding must leave", id="nothing"),
        pytest.param(
            nn.ConvTranspose(4, 3, 2, 0, 2), IMAGE, ValueError, "output_padding must be below", id="large"
        ),
        pytest.param(
            nn.ConvTranspose(4, 3, 2, "SAME", 1), IMAGE, ValueError, "output_padding must be 0", id="same"
        ),
    ],
)
def test_bad_input(layer, x, error, match, key):
    with pytest.raises(error, match=match):
        jax.eval_shape(layer.init, key, x)
