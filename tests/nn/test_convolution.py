"""Convolution layers: PyTorch, linen and a NumPy loop."""

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


@pytest.mark.parametrize("channels", [3, 8], ids=["banded", "xla"])
@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        pytest.param({"padding": "VALID"}, {}, id="valid"),
        pytest.param({"padding": 2}, {"padding": 2}, id="padding"),
        pytest.param(
            {"padding": (2, 1), "strides": (2, 1)}, {"padding": (2, 1), "stride": (2, 1)}, id="strides"
        ),
        pytest.param({"padding": "SAME", "dilation": 2}, {"padding": "same", "dilation": 2}, id="dilation"),
    ],
)
def test_conv_matches_torch(channels, settings, theirs):
    torch = pytest.importorskip("torch")
    x, kernel, bias = normal(0, 2, 9, 8, channels), normal(1, 3, 3, channels, 4), normal(2, 4)
    there = [
        torch.tensor(np.array(a), requires_grad=True)
        for a in (x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), bias)
    ]
    y = torch.nn.functional.conv2d(*there, **theirs)
    weight = np.random.default_rng(3).normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(weight))
    layer = nn.Conv(4, 3, **settings)

    @jax.jit
    def run(p, x, g):
        y, pullback = jax.vjp(lambda p, x: layer.apply({"params": p}, x), p, x)
        return y, *pullback(g)

    got, grads, dx = run({"kernel": kernel, "bias": bias}, x, jnp.asarray(weight.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(got.transpose(0, 3, 1, 2), y.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dx.transpose(0, 3, 1, 2), there[0].grad.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        grads["kernel"].transpose(3, 2, 0, 1), there[1].grad.numpy(), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(grads["bias"], there[2].grad.numpy(), rtol=1e-4, atol=1e-4)


def check_conv(x, kernel, bias, strides, padding, dilation, groups):
    """Values and gradients equal PyTorch's in float64, to 1e-5 of the largest."""
    torch = pytest.importorskip("torch")
    rank = x.ndim - 2
    first, last = (lambda a: np.moveaxis(a, -1, 1)), (lambda a: np.moveaxis(a, 1, -1))
    weights_first = (-1, -2, *range(rank))
    there = [
        torch.tensor(np.asarray(a, np.float64), requires_grad=True)
        for a in (first(x), kernel.transpose(weights_first), bias)
    ]
    function = getattr(torch.nn.functional, f"conv{rank}d")
    y = function(*there, stride=strides, padding=padding, dilation=dilation, groups=groups)
    g = np.random.default_rng(3).normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(g, dtype=torch.float64))
    layer = nn.Conv(len(bias), kernel.shape[:-2], strides, padding, dilation, groups)

    @jax.jit
    def run(p, x, g):
        y, pullback = jax.vjp(lambda p, x: layer.apply({"params": p}, x), p, x)
        return y, pullback(g)

    got, (grads, dx) = run({"kernel": kernel, "bias": bias}, x, last(g))
    expected = [last(y.detach().numpy()), last(there[0].grad.numpy())]
    expected += [there[1].grad.numpy().transpose(*range(2, rank + 2), 1, 0), there[2].grad.numpy()]
    for ours, theirs in zip((got, dx, grads["kernel"], grads["bias"]), expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(abs(theirs).max(), 1))


@pytest.mark.parametrize(("groups", "features"), [(2, 6), (4, 8)], ids=["grouped", "depthwise"])
def test_groups_match_torch(groups, features):
    x, kernel = normal(0, 2, 7, 6, 4), normal(1, 3, 3, 4 // groups, features)
    check_conv(x, kernel, normal(2, features), 1, 1, 1, groups)


@st.composite
def convolutions(draw):
    rank = draw(st.sampled_from([1, 2]))

    def one(*values):
        return tuple(draw(st.sampled_from(values)) for _ in range(rank))

    sizes, window, strides, dilation, padding = one(5, 8), one(1, 2, 3), one(1, 2, 3), one(1, 2), one(0, 1, 2)
    hypothesis.assume(all((k - 1) * d < n + 2 * p for n, k, d, p in zip(sizes, window, dilation, padding)))
    groups = draw(st.sampled_from([1, 2, 4]))
    channels = draw(st.sampled_from([4, 8])) if groups > 1 else draw(st.sampled_from([1, 3, 8]))
    kernel = normal(1, *window, channels // groups, 4)
    return normal(0, 2, *sizes, channels), kernel, normal(2, 4), strides, padding, dilation, groups


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
@hypothesis.given(convolutions())
def test_any_convolution_is_torchs(case):
    check_conv(*case)


@pytest.mark.slow
@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(convolutions())
def test_any_of_many_convolutions_is_torchs(case):
    check_conv(*case)


@pytest.mark.parametrize(
    ("channels", "strides", "padding"),
    [
        pytest.param(2, 2, "SAME", id="banded-strides-same"),
        pytest.param(8, 1, ((1, 2), (0, 1)), id="xla-pairs"),
        pytest.param(8, 2, "SAME", id="xla-strides-same", marks=pytest.mark.slow),
        pytest.param(2, 1, "VALID", id="banded-valid", marks=pytest.mark.slow),
        pytest.param(2, 2, ((1, 2), (0, 1)), id="banded-strides-pairs", marks=pytest.mark.slow),
    ],
)
def test_conv_equals_linens(channels, strides, padding, key):
    x = normal(0, 2, 8, 9, channels)
    ours, theirs = nn.Conv(5, (3, 4), strides, padding), linen.Conv(5, (3, 4), strides, padding)
    shapes = jax.eval_shape(ours.init, key, x)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, jax.eval_shape(theirs.init, key, x))
    variables = {"params": {"kernel": 0.3 * normal(1, 3, 4, channels, 5), "bias": normal(2, 5)}}

    def run(layer):
        return jax.jit(jax.value_and_grad(lambda v, x: (layer.apply(v, x) ** 2).sum(), (0, 1)))(variables, x)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4), run(ours), run(theirs))


def test_conv_is_a_loop_over_windows():
    x, kernel = normal(0, 1, 5, 6, 2), normal(1, 3, 2, 2, 3)
    y = np.zeros((3, 5, 3))
    for i, j, f in np.ndindex(y.shape):
        y[i, j, f] = (np.asarray(x)[0, i : i + 3, j : j + 2] * np.asarray(kernel)[..., f]).sum()
    layer = nn.Conv(3, (3, 2), padding="VALID", use_bias=False)
    np.testing.assert_allclose(layer.apply({"params": {"kernel": kernel}}, x)[0], y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 8], ids=["banded", "xla"])
def test_shift_equivariance(channels, key):
    x = jnp.zeros((1, 12, 12, channels)).at[:, 3:9, 3:9].set(normal(0, 1, 6, 6, channels))
    layer = nn.Conv(4, 3)
    variables = layer.init(key, x)
    shifted = layer.apply(variables, jnp.roll(x, (2, -1), (1, 2)))
    np.testing.assert_allclose(shifted, jnp.roll(layer.apply(variables, x), (2, -1), (1, 2)), atol=1e-5)
    turned = layer.apply(variables, jnp.rot90(x, axes=(1, 2)))
    assert abs(turned - jnp.rot90(layer.apply(variables, x), axes=(1, 2))).max() > 0.1


def test_kernel_as_large_as_the_image_is_a_dense_layer(key):
    x = normal(0, 3, 5, 5, 2)
    kernel, bias = normal(1, 5, 5, 2, 7), normal(2, 7)
    y = nn.Conv(7, 5, padding="VALID").apply({"params": {"kernel": kernel, "bias": bias}}, x)
    dense = nn.Dense(7).apply({"params": {"kernel": kernel.reshape(50, 7), "bias": bias}}, nn.flatten(x))
    np.testing.assert_allclose(y[:, 0, 0], dense, rtol=1e-4, atol=1e-5)


def test_jit_vmap_and_scan_agree():
    layer, x = nn.Conv(4, 3), normal(0, 2, 6, 6, 2)
    stacked = {"params": {"kernel": normal(1, 3, 3, 3, 2, 4), "bias": normal(2, 3, 4)}}
    apply = jax.jit(layer.apply)
    one_by_one = np.stack([apply(jax.tree.map(lambda a, i=i: a[i], stacked), x) for i in range(3)])
    np.testing.assert_allclose(jax.jit(jax.vmap(layer.apply, (0, None)))(stacked, x), one_by_one, atol=1e-5)
    _, scanned = jax.lax.scan(lambda c, v: (c, layer.apply(v, x)), None, stacked)
    np.testing.assert_allclose(scanned, one_by_one, atol=1e-5)


TABLE = ((True, False, True), (True, True, False))


@pytest.mark.parametrize("use_bias", [True, False])
def test_partial_conv_is_a_conv_with_missing_weights(use_bias, key):
    x = normal(0, 2, 6, 6, 2)
    layer = nn.PartialConv(TABLE, 3, use_bias=use_bias, bias_init=nn.normal_init(1.0))
    variables = layer.init(key, x)
    assert variables["params"]["kernel"].shape == (3, 3, 4)
    full = np.zeros((3, 3, 2, 3), np.float32)
    for n, (c, f) in enumerate(((0, 0), (0, 2), (1, 0), (1, 1))):
        full[:, :, c, f] = variables["params"]["kernel"][:, :, n]
    params = {**variables["params"], "kernel": jnp.asarray(full)}
    whole = nn.Conv(3, 3, use_bias=use_bias)
    np.testing.assert_allclose(layer.apply(variables, x), whole.apply({"params": params}, x), atol=1e-5)

    def gradient(layer, params):
        return jax.grad(lambda p: jnp.sin(layer.apply({"params": p}, x)).sum())(params)["kernel"]

    expected = gradient(whole, params)
    got = gradient(layer, variables["params"])
    for n, (c, f) in enumerate(((0, 0), (0, 2), (1, 0), (1, 1))):
        np.testing.assert_allclose(got[:, :, n], expected[:, :, c, f], rtol=1e-4, atol=1e-4)


def test_partial_conv_ignores_what_is_not_connected(key):
    x = normal(0, 1, 6, 6, 2)
    layer = nn.PartialConv(TABLE, 3)
    variables = layer.init(key, x)
    changed = layer.apply(variables, x.at[..., 1].add(1.0)) - layer.apply(variables, x)
    assert (abs(changed).max((0, 1, 2)) > 0).tolist() == [True, True, False]


def test_partial_conv_starts_as_its_initializer(key):
    layer = nn.PartialConv(
        TABLE, 3, kernel_init=lambda key, shape, dtype: jnp.arange(54.0).reshape(shape).astype(dtype)
    )
    kernel = layer.init(key, jnp.ones((1, 6, 6, 2)))["params"]["kernel"]
    np.testing.assert_array_equal(kernel[0, 0], [0, 2, 3, 4])


IMAGE = jnp.ones((1, 6, 6, 2))


@pytest.mark.parametrize(
    ("layer", "x", "error", "match"),
    [
        pytest.param(nn.Conv(4, 3), jnp.ones((6, 6, 2)), ValueError, "x must have rank 4", id="rank"),
        pytest.param(
            nn.Conv(4, 3), jnp.ones((1, 6, 6, 2), jnp.uint8), TypeError, "x must be floating", id="dtype"
        ),
        pytest.param(nn.Conv(0, 3), IMAGE, ValueError, "features must be at least 1", id="features"),
        pytest.param(nn.Conv(4, 0), IMAGE, ValueError, "kernel_size must be at least 1", id="kernel"),
        pytest.param(nn.Conv(4, 3, 0), IMAGE, ValueError, "strides must be at least 1", id="strides"),
        pytest.param(
            nn.Conv(4, 3, (1, 2, 3)), IMAGE, ValueError, "strides must be an integer or 2", id="axes"
        ),
        pytest.param(
            nn.Conv(4, 3, padding="same"), IMAGE, ValueError, "padding must be one of", id="padding"
        ),
        pytest.param(
            nn.Conv(4, 3, padding=-1), IMAGE, ValueError, "padding must be at least 0", id="negative"
        ),
        pytest.param(
            nn.Conv(4, 3, padding=(1, 1, 1)), IMAGE, ValueError, "one pair for each of 2", id="pairs"
        ),
        pytest.param(
            nn.Conv(4, 7, padding="VALID"), IMAGE, ValueError, "kernel_size must fit", id="too-large"
        ),
        pytest.param(nn.Conv(4, 3, groups=3), IMAGE, ValueError, "must be a multiple of groups", id="groups"),
        pytest.param(nn.GroupedConv(3, 3, 2), IMAGE, ValueError, "features must be a multiple", id="grouped"),
        pytest.param(nn.Conv(4, (3,) * 4), IMAGE, ValueError, "one to three axes", id="four-axes"),
        pytest.param(
            nn.PartialConv(((True,),), 3), IMAGE, ValueError, "connections must have shape", id="table-rows"
        ),
        pytest.param(
            nn.PartialConv(((True, False), (True, False)), 3),
            IMAGE,
            ValueError,
            "at least one",
            id="table-empty",
        ),
    ],
)
def test_bad_input(layer, x, error, match, key):
    with pytest.raises(error, match=match):
        layer.init(key, x)
