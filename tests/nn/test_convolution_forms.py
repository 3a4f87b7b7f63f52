"""The forms of a convolution compared: values, all derivatives, vmap, and which one is taken where."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import backends, nn
from jaxdl.nn import convolution, convolution_forms


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# input [B, ..., C], kernel [..., C, F], strides, padding, dilation
GEOMETRIES = [
    pytest.param((2, 12, 12, 1), (5, 5, 1, 6), 1, 2, 1, id="c1-of-lenet", marks=pytest.mark.slow),
    pytest.param((2, 14, 14, 6), (5, 5, 6, 16), 1, "VALID", 1, id="c3-of-lenet", marks=pytest.mark.slow),
    pytest.param((2, 11, 13, 3), (3, 3, 3, 4), 1, "SAME", 1, id="prime-width", marks=pytest.mark.slow),
    pytest.param((2, 9, 10, 3), (3, 5, 3, 4), (2, 3), "SAME", 1, id="strides"),
    pytest.param((2, 16, 16, 3), (4, 4, 3, 5), 4, "VALID", 1, id="patchify", marks=pytest.mark.slow),
    pytest.param((2, 9, 9, 2), (2, 2, 2, 3), 3, "VALID", 1, id="stride-above-kernel", marks=pytest.mark.slow),
    pytest.param((2, 9, 11, 2), (3, 3, 2, 3), 1, "SAME", 2, id="dilated", marks=pytest.mark.slow),
    pytest.param((2, 12, 11, 2), (3, 2, 2, 3), (1, 2), ((1, 0), (0, 2)), (2, 3), id="everything"),
    pytest.param(
        (2, 5, 5, 3), (5, 5, 3, 4), 1, "VALID", 1, id="kernel-of-image-size", marks=pytest.mark.slow
    ),
    pytest.param((1, 4, 3, 2), (3, 3, 2, 2), 1, 3, 1, id="wide-padding"),
    pytest.param((2, 6, 7, 2), (3, 1, 2, 3), 1, "SAME", 1, id="column", marks=pytest.mark.slow),
    pytest.param((2, 17, 4), (3, 4, 5), 2, "SAME", 2, id="one-axis"),
    pytest.param((2, 4, 5, 6, 2), (2, 3, 3, 2, 3), 1, "SAME", 1, id="three-axes"),
]


def assert_same(got, expected):
    """To 1e-5 of the largest value of each array."""

    def same(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(abs(np.asarray(b)).max(), 1))

    jax.tree.map(same, got, expected)


def check_banded(shape, kernel_shape, strides, padding, dilation, tiles):
    x, kernel = normal(0, *shape), normal(1, *kernel_shape)
    rank = len(shape) - 2
    window = kernel_shape[:-2]
    strides = convolution.per_axis(strides, rank, "strides")
    dilation = convolution.per_axis(dilation, rank, "dilation")
    pairs = convolution.padding_pairs(padding, shape[1:-1], window, strides, dilation)

    def forms(x, kernel, weight, form, *more):
        def convolve(x, kernel):
            return form(x, kernel, strides, pairs, dilation, *more)

        y, pullback = jax.vjp(convolve, x, kernel)
        _, tangent = jax.jvp(convolve, (x, kernel), (x * x, kernel * kernel))
        return y, pullback(weight), tangent

    plain = convolution_forms.lax_convolution
    outs = jax.eval_shape(lambda: plain(x, kernel, strides, pairs, dilation, 1))
    run = jax.jit(forms, static_argnums=(3, 4))
    weight = normal(2, *outs.shape)
    expected = run(x, kernel, weight, plain, 1)
    for tile in tiles:
        assert_same(run(x, kernel, weight, convolution_forms.banded_convolution, tile), expected)


GEOMETRY = ("shape", "kernel_shape", "strides", "padding", "dilation")


@pytest.mark.parametrize(GEOMETRY, GEOMETRIES)
def test_banded_form_equals_xlas(shape, kernel_shape, strides, padding, dilation):
    check_banded(shape, kernel_shape, strides, padding, dilation, (None,))


@pytest.mark.slow
@pytest.mark.parametrize(GEOMETRY, GEOMETRIES)
def test_banded_form_of_any_tile_equals_xlas(shape, kernel_shape, strides, padding, dilation):
    check_banded(shape, kernel_shape, strides, padding, dilation, (1, 100))


def test_banded_form_in_float64():
    """Not one weight misplaced: to eleven digits, for tiles of every kind."""
    pairs, ones = ((2, 1), (0, 2)), (1, 1)
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, kernel = jnp.asarray(rng.normal(size=(2, 9, 9, 4))), jnp.asarray(rng.normal(size=(5, 5, 4, 3)))

        @partial(jax.jit, static_argnums=0)
        def of(form, *more):
            def loss(x, kernel):
                return (form(x, kernel, ones, pairs, ones, *more) ** 3).sum()

            return jax.value_and_grad(loss, (0, 1))(x, kernel)

        expected = of(lambda *args: convolution_forms.lax_convolution(*args, 1))
        for tile in (None, 1, 100):
            got = of(lambda *args, tile=tile: convolution_forms.banded_convolution(*args, tile))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-8), got, expected)


def derivatives(form, x, kernel, weight):
    """Values, both gradients, forward mode, a Hessian-vector product, and vmap over kernels."""

    def loss(x, kernel):
        return (form(x, kernel) ** 3 * weight).sum()

    direction = (jnp.flip(x, 1), jnp.flip(kernel, 0))
    gradients, hessian = jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), direction)
    _, tangent = jax.jvp(form, (x, kernel), direction)
    several = jax.vmap(jax.grad(lambda kernel: loss(x, kernel)))(jnp.stack([kernel, direction[1]]))
    return form(x, kernel), gradients, tangent, hessian, several


def compare_forms(fast, plain, x, kernel):
    """Both ways, each compiled by itself so that neither can borrow from the other."""
    kernel = 0.3 * kernel  # cubes of larger values hide the small ones
    weight = normal(2, *jax.eval_shape(plain, x, kernel).shape)
    results = [
        jax.jit(lambda x, kernel, weight, form=form: derivatives(form, x, kernel, weight))(x, kernel, weight)
        for form in (fast, plain)
    ]
    assert_same(*results)


# input, kernel, strides, padding, dilation, groups
GROUPED = [
    pytest.param((2, 6, 7, 3), (3, 2, 1, 3), (2, 1), ((1, 1), (0, 2)), (1, 2), 3, id="depthwise"),
    pytest.param((2, 9, 2), (3, 1, 4), (1,), ((2, 0),), (1,), 2, id="depthwise-of-two-maps"),
    pytest.param((2, 5, 6, 12), (3, 3, 2, 6), (1, 2), ((1, 1), (1, 0)), (1, 1), 6, id="joined"),
    pytest.param(
        (1, 5, 4, 66),
        (2, 1, 33, 4),
        (1, 1),
        ((0, 1), (0, 0)),
        (2, 1),
        2,
        id="one-by-one",
        marks=pytest.mark.slow,
    ),
    pytest.param((1, 5, 64), (2, 16, 8), (2,), ((1, 0),), (1,), 4, id="two-blocks-of-two"),
]


@pytest.mark.parametrize(("shape", "kernel_shape", "strides", "padding", "dilation", "groups"), GROUPED)
def test_grouped_forms_equal_xlas(shape, kernel_shape, strides, padding, dilation, groups):
    x, kernel = normal(0, *shape), normal(1, *kernel_shape)
    compare_forms(
        lambda x, kernel: convolution_forms.convolution(x, kernel, strides, padding, dilation, groups),
        lambda x, kernel: convolution_forms.lax_convolution(x, kernel, strides, padding, dilation, groups),
        x,
        kernel,
    )


# input, kernel, strides, what is cut, output padding, groups
TRANSPOSED = [
    pytest.param((2, 4, 3, 4), (3, 3, 4, 2), (2, 2), ((1, 1), (1, 1)), (1, 0), 1, id="dcgan"),
    pytest.param((2, 3, 2, 2), (2, 5, 2, 3), (3, 2), ((0, 0), (2, 1)), (2, 1), 1, id="gaps"),
    pytest.param((2, 4, 4), (4, 2, 6), (2,), ((0, 3),), (0,), 2, id="groups", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("shape", "kernel_shape", "strides", "cut", "extra", "groups"), TRANSPOSED)
def test_phases_equal_xlas(shape, kernel_shape, strides, cut, extra, groups):
    x, kernel = normal(0, *shape), normal(1, *kernel_shape)
    ones = (1,) * len(strides)

    def plain(x, kernel):
        with backends.plain_forms():
            return convolution_forms.transposed_convolution(x, kernel, strides, cut, ones, groups, extra)

    def fast(x, kernel):
        return convolution_forms.transposed_convolution(x, kernel, strides, cut, ones, groups, extra)

    assert holds_convolution(plain, x, kernel)
    assert not holds_convolution(fast, x, kernel)
    compare_forms(fast, plain, x, kernel)


def test_fast_forms_accumulate_in_float32():
    """A sum of 600 ones, of which bfloat16 itself would stop counting at 256."""
    x, kernel = jnp.ones((1, 600, 2), jnp.bfloat16), jnp.ones((600, 1, 2), jnp.bfloat16)
    y = jax.jit(lambda x, k: convolution_forms.shifted_convolution(x, k, (1,), ((0, 0),), (1,)))(x, kernel)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(y, np.float32), 600)


def holds_convolution(function, *args):
    return "conv_general_dilated" in str(jax.make_jaxpr(function)(*args))


def in_gradient(layer, *shape):
    x = jnp.ones(shape)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    return holds_convolution(jax.grad(lambda v, x: layer.apply(v, x).sum()), variables, x)


@pytest.mark.parametrize(
    ("layer", "shape", "left"),
    [
        pytest.param(nn.Conv(4, 3), (2, 6, 6, 1), False, id="one-channel"),
        pytest.param(nn.Conv(4, 3), (2, 6, 6, 6), False, id="six-channels"),
        pytest.param(nn.Conv(4, 3), (2, 6, 6, 7), True, id="seven-channels"),
        pytest.param(nn.DepthwiseConv(3), (2, 6, 6, 7), False, id="depthwise"),
        pytest.param(nn.Conv(4, 3, groups=2), (2, 6, 6, 4), False, id="groups-joined-to-few-channels"),
        pytest.param(nn.GroupedConv(8, 3, groups=2), (2, 6, 6, 8), True, id="groups"),
        pytest.param(nn.ConvTranspose(4, 3, 2), (2, 6, 6, 8), False, id="transposed"),
        pytest.param(nn.ConvTranspose(4, 3), (2, 6, 6, 8), True, id="transposed-without-stride"),
        # One slice for every two samples of a recording would be too many for the compiler.
        pytest.param(nn.CausalConv(4, 2), (1, 16_000, 1), True, id="recording"),
    ],
)
def test_what_is_left_to_xla_on_cpu(layer, shape, left):
    """The gradient of XLA's own convolution is slow in a loop on CPU; the other forms hold none."""
    assert in_gradient(layer, *shape) is left


@pytest.mark.parametrize(
    "layer",
    [nn.Conv(4, 3), nn.DepthwiseConv(3), nn.Conv(4, 3, groups=2), nn.ConvTranspose(4, 3, 2)],
    ids=["few-channels", "depthwise", "groups", "transposed"],
)
def test_other_backends_and_plain_forms_use_xlas(layer, monkeypatch):
    assert not in_gradient(layer, 1, 6, 6, 2)
    with backends.plain_forms():
        assert in_gradient(layer, 1, 6, 6, 2)
    assert not in_gradient(layer, 1, 6, 6, 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert in_gradient(layer, 1, 6, 6, 2)


def test_blocks_keep_what_is_not_finite_among_joined_groups():
    """Neither other blocks nor other places see it."""
    x = normal(0, 1, 4, 64).at[0, 0, 0].set(jnp.inf)
    kernel = normal(1, 1, 16, 4)
    y = jax.jit(lambda x, kernel: convolution_forms.convolution(x, kernel, (1,), ((0, 0),), (1,), 4))(
        x, kernel
    )
    finite = np.isfinite(y)[0]
    np.testing.assert_array_equal(finite, [[False, False, True, True]] + [[True] * 4] * 3)


def test_blocks_are_neither_too_thin_nor_too_many():
    def blocks(channels, groups):
        x, kernel = jnp.ones((1, 4, channels)), jnp.ones((2, channels // groups, groups))
        jaxpr = jax.make_jaxpr(
            lambda x, kernel: convolution_forms.convolution(x, kernel, (1,), ((0, 0),), (1,), groups)
        )(x, kernel)
        return str(jaxpr).count("conv_general_dilated")

    assert blocks(128, 32) == 128 // convolution_forms.BLOCK_CHANNELS
    assert blocks(96, 2) == 2  # large enough each
    assert blocks(4096, 128) == convolution_forms.MOST_BLOCKS
    assert blocks(8, 4) == 1  # all in one
