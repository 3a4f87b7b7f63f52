"""Masked and causal convolutions: what an output depends on, by Jacobian; linen and PyTorch with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def sees(function, x):
    """bool[outputs..., inputs...] of one example: where the Jacobian is not 0."""
    return np.asarray(jax.jit(jax.jacrev(lambda x: function(x[None])[0]))(x)) != 0


def masked_kernel(kernel, mask, colors):
    """A loop over the weights, straight from the definition."""
    kernel = np.array(kernel)
    rows, columns, channels, features = kernel.shape
    for i, j, c, f in np.ndindex(*kernel.shape):
        place, centre = (i, j), (rows // 2, columns // 2)
        seen, made = c // (channels // colors), f // (features // colors)
        hidden = place > centre or (place == centre and (seen >= made if mask == "A" else seen > made))
        if hidden:
            kernel[i, j, c, f] = 0
    return kernel


@pytest.mark.parametrize(
    ("mask", "colors", "window", "dilation"),
    [
        pytest.param("A", 1, (3, 5), 1, id="A"),
        pytest.param("B", 3, (3, 3), (2, 1), id="B-of-colors"),
        pytest.param("A", 3, (3, 3), 1, id="A-of-colors", marks=pytest.mark.slow),
        pytest.param("B", 1, (5, 1), 1, id="B", marks=pytest.mark.slow),
    ],
)
def test_masked_conv_equals_linens_with_a_mask(mask, colors, window, dilation, key):
    x, kernel, bias = normal(0, 2, 5, 6, 3), normal(1, *window, 3, 6), normal(2, 6)
    ours = nn.MaskedConv(6, window, mask, colors, dilation)
    hidden = masked_kernel(jnp.ones(kernel.shape), mask, colors)
    theirs = linen.Conv(6, window, kernel_dilation=dilation, mask=hidden)
    shapes = [jax.tree.map(jnp.shape, jax.eval_shape(layer.init, key, x)) for layer in (ours, theirs)]
    assert shapes[0] == shapes[1]

    def run(layer):
        def loss(p, x):
            y = layer.apply({"params": p}, x)
            return (y**2).sum(), y

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))({"kernel": kernel, "bias": bias}, x)

    ((_, y), (grads, dx)), ((_, other_y), (other_grads, other_dx)) = run(ours), run(theirs)
    np.testing.assert_allclose(y, other_y, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(dx, other_dx, rtol=1e-5, atol=5e-4)
    np.testing.assert_allclose(grads["kernel"], other_grads["kernel"], rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(grads["kernel"][hidden == 0], 0)
    np.testing.assert_allclose(grads["bias"], other_grads["bias"], rtol=1e-5, atol=1e-3)


def test_first_layer_sees_exactly_the_window_before_its_pixel():
    layer = nn.MaskedConv(1, 3, "A", use_bias=False)
    x = normal(0, 4, 5, 1)
    seen = sees(lambda x: layer.apply({"params": {"kernel": normal(1, 3, 3, 1, 1)}}, x), x)[:, :, 0, :, :, 0]
    for i, j in np.ndindex(4, 5):
        expected = np.zeros((4, 5), bool)
        for p, q in ((-1, -1), (-1, 0), (-1, 1), (0, -1)):
            if i + p >= 0 and 0 <= j + q < 5:
                expected[i + p, j + q] = True
        np.testing.assert_array_equal(seen[i, j], expected)


def test_a_stack_sees_all_channels_before_and_nothing_after():
    """Colours one after the other: red sees earlier pixels, green also red, blue also both."""
    layers = [nn.MaskedConv(6, 3, "A", 3, use_bias=False), nn.MaskedConv(3, 3, "B", 3, use_bias=False)]
    x = normal(0, 4, 4, 3)
    kernels = [normal(1, 3, 3, 3, 6), normal(2, 3, 3, 6, 3)]

    def stack(x):
        for layer, kernel in zip(layers, kernels):
            x = layer.apply({"params": {"kernel": kernel}}, x)
        return x

    seen, order = sees(stack, x).reshape(48, 48), np.arange(48)
    assert not seen[order[:, None] <= order[None]].any()
    pixel = 3 * (2 * 4 + 2)
    np.testing.assert_array_equal(seen[pixel : pixel + 3, pixel : pixel + 3], np.tri(3, k=-1))
    assert seen[pixel, 3 * 4 : 3 * 8].all()  # the row above


def test_rows_below_are_not_computed():
    """Not even multiplied by zeros, which would let through what is not a number."""
    x = normal(0, 1, 4, 7, 7).at[:, 2].set(jnp.nan)
    params = {"kernel": normal(1, 3, 3, 7, 4), "bias": jnp.zeros(4)}
    y = jax.jit(nn.MaskedConv(4, 3, "A").apply)({"params": params}, x)
    np.testing.assert_array_equal(np.isfinite(y).all((0, 2, 3)), [True, True, False, False])


@pytest.mark.parametrize(
    ("channels", "groups", "window", "dilation"), [(3, 1, 3, 2), (4, 2, 2, 1)], ids=["dilated", "groups"]
)
def test_causal_conv_matches_torch(channels, groups, window, dilation, key):
    torch = pytest.importorskip("torch")
    x, kernel, bias = normal(0, 2, 7, channels), normal(1, window, channels // groups, 4), normal(2, 4)
    there = [
        torch.tensor(np.asarray(a, np.float64), requires_grad=True)
        for a in (x.transpose(0, 2, 1), kernel.transpose(2, 1, 0), bias)
    ]
    padded = torch.nn.functional.pad(there[0], ((window - 1) * dilation, 0))
    y = torch.nn.functional.conv1d(padded, there[1], there[2], dilation=dilation, groups=groups)
    g = np.random.default_rng(3).normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(g, dtype=torch.float64))
    layer = nn.CausalConv(4, window, dilation, groups)
    theirs = linen.Conv(4, (window,), padding="CAUSAL", feature_group_count=groups)
    shapes = [jax.tree.map(jnp.shape, jax.eval_shape(one.init, key, x)) for one in (layer, theirs)]
    assert shapes[0] == shapes[1]

    @jax.jit
    def run(p, x, g):
        y, pullback = jax.vjp(lambda p, x: layer.apply({"params": p}, x), p, x)
        return y, pullback(g)

    got, (grads, dx) = run({"kernel": kernel, "bias": bias}, x, g.transpose(0, 2, 1))
    pairs = [
        (got.transpose(0, 2, 1), y.detach()),
        (dx.transpose(0, 2, 1), there[0].grad),
        (grads["kernel"].transpose(2, 1, 0), there[1].grad),
        (grads["bias"], there[2].grad),
    ]
    for ours, expected in pairs:
        expected = expected.numpy()
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


def test_dilated_stack_sees_exactly_its_past():
    """Kernel 2 with dilations 1, 2, 4: the last (2 - 1) (2^3 - 1) + 1 = 8 steps, and no later one."""
    x = normal(0, 12, 1)
    layers = [nn.CausalConv(1, 2, 2**i, use_bias=False) for i in range(3)]
    kernels = [normal(i + 1, 2, 1, 1) for i in range(3)]

    def stack(x):
        for layer, kernel in zip(layers, kernels):
            x = layer.apply({"params": {"kernel": kernel}}, x)
        return x

    seen = sees(stack, x)[:, 0, :, 0]
    age = np.arange(12)[:, None] - np.arange(12)[None]
    np.testing.assert_array_equal(seen, (age >= 0) & (age < 8))


def test_parameter_counts(key):
    def count(layer, x):
        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(layer.init, key, x)))

    assert count(nn.MaskedConv(8, 7, "A"), jnp.ones((1, 9, 9, 3))) == nn.conv_param_count(3, 8, 7)
    assert count(nn.CausalConv(8, 2, groups=2), jnp.ones((1, 9, 4))) == nn.conv_param_count(4, 8, (2,), 2)


IMAGE, SOUND = jnp.ones((1, 6, 6, 3)), jnp.ones((1, 6, 3))


@pytest.mark.parametrize(
    ("layer", "x", "error", "match"),
    [
        pytest.param(nn.MaskedConv(4, 4, "A"), IMAGE, ValueError, "kernel_size must be odd", id="even"),
        pytest.param(nn.MaskedConv(4, 3, "C"), IMAGE, ValueError, "mask must be one of 'A', 'B'", id="mask"),
        pytest.param(nn.MaskedConv(4, 3, "A", 3), IMAGE, ValueError, "multiple of colors", id="colors"),
        pytest.param(nn.MaskedConv(4, 3, "A", 0), IMAGE, ValueError, "colors must be at least 1", id="none"),
        pytest.param(nn.MaskedConv(4, 3, "A"), SOUND, ValueError, "x must have rank 4", id="rank"),
        pytest.param(nn.CausalConv(4, 2), IMAGE, ValueError, "x must have rank 3", id="causal-rank"),
        pytest.param(nn.CausalConv(4, 0), SOUND, ValueError, "kernel_size must be at least 1", id="size"),
        pytest.param(nn.CausalConv(4, 2, 0), SOUND, ValueError, "dilation must be at least 1", id="dilation"),
        pytest.param(nn.CausalConv(4, 2), SOUND.astype(int), TypeError, "x must be floating", id="dtype"),
    ],
)
def test_bad_input(layer, x, error, match, key):
    with pytest.raises(error, match=match):
        jax.eval_shape(layer.init, key, x)
