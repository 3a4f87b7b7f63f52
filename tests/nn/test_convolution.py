"""Convolution layers: PyTorch, linen and a NumPy loop; the two forms of the computation compared."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import backends, nn
from jaxdl.nn import convolution


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# input [B, ..., C], kernel [..., C, F], strides, padding, dilation
GEOMETRIES = [
    pytest.param((2, 12, 12, 1), (5, 5, 1, 6), 1, 2, 1, id="c1-of-lenet"),
    pytest.param((2, 14, 14, 6), (5, 5, 6, 16), 1, "VALID", 1, id="c3-of-lenet"),
    pytest.param((2, 11, 13, 3), (3, 3, 3, 4), 1, "SAME", 1, id="prime-width"),
    pytest.param((2, 9, 10, 3), (3, 5, 3, 4), (2, 3), "SAME", 1, id="strides"),
    pytest.param((2, 16, 16, 3), (4, 4, 3, 5), 4, "VALID", 1, id="patchify"),
    pytest.param((2, 9, 9, 2), (2, 2, 2, 3), 3, "VALID", 1, id="stride-above-kernel"),
    pytest.param((2, 9, 11, 2), (3, 3, 2, 3), 1, "SAME", 2, id="dilated"),
    pytest.param((2, 12, 11, 2), (3, 2, 2, 3), (1, 2), ((1, 0), (0, 2)), (2, 3), id="everything"),
    pytest.param((2, 5, 5, 3), (5, 5, 3, 4), 1, "VALID", 1, id="kernel-of-image-size"),
    pytest.param((1, 4, 3, 2), (3, 3, 2, 2), 1, 3, 1, id="wide-padding"),
    pytest.param((2, 6, 7, 2), (3, 1, 2, 3), 1, "SAME", 1, id="column"),
    pytest.param((2, 17, 4), (3, 4, 5), 2, "SAME", 2, id="one-axis"),
    pytest.param((2, 4, 5, 6, 2), (2, 3, 3, 2, 3), 1, "SAME", 1, id="three-axes"),
]


@pytest.mark.parametrize(("shape", "kernel_shape", "strides", "padding", "dilation"), GEOMETRIES)
def test_banded_form_equals_xlas(shape, kernel_shape, strides, padding, dilation):
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

    outs = jax.eval_shape(lambda: convolution._lax_convolution(x, kernel, strides, pairs, dilation, 1))
    run = jax.jit(forms, static_argnums=(3, 4))
    weight = normal(2, *outs.shape)
    expected = run(x, kernel, weight, convolution._lax_convolution, 1)
    for tile in (None, 1, 100):
        got = run(x, kernel, weight, convolution._banded_convolution, tile)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4), got, expected)


def test_banded_form_in_float64():
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(np.random.default_rng(i).normal(size=s))
            for i, s in enumerate(((3, 14, 14, 6), (5, 5, 6, 16)))
        )
        pairs = ((2, 1), (0, 2))

        def of(form, *more):
            return jax.value_and_grad(
                lambda x, k: jnp.sin(form(x, k, (1, 1), pairs, (1, 1), *more)).sum(), (0, 1)
            )(x, kernel)

        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11),
            of(convolution._banded_convolution),
            of(convolution._lax_convolution, 1),
        )


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


@pytest.mark.parametrize("groups", [2, 4], ids=["grouped", "depthwise"])
def test_groups_match_torch(groups):
    torch = pytest.importorskip("torch")
    x, kernel = normal(0, 2, 7, 7, 4), normal(1, 3, 3, 4 // groups, 8)
    there = [
        torch.tensor(np.array(x.transpose(0, 3, 1, 2))),
        torch.tensor(np.array(kernel.transpose(3, 2, 0, 1))),
    ]
    y = torch.nn.functional.conv2d(*there, padding=1, groups=groups)
    got = nn.Conv(8, 3, padding=1, groups=groups, use_bias=False).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(got.transpose(0, 3, 1, 2), y.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 8], ids=["banded", "xla"])
@pytest.mark.parametrize(
    ("strides", "padding"), list(itertools.product((1, 2), ("SAME", "VALID", ((1, 2), (0, 1))))), ids=str
)
def test_conv_equals_linens(channels, strides, padding, key):
    x = jax.random.normal(key, (2, 8, 9, channels))
    ours = nn.Conv(5, (3, 4), strides, padding, bias_init=nn.normal_init(1.0))
    theirs = linen.Conv(5, (3, 4), strides, padding)
    variables = ours.init(key, x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, theirs.init(key, x))

    def run(layer):
        return jax.jit(jax.value_and_grad(lambda v, x: jnp.sin(layer.apply(v, x)).sum(), (0, 1)))(
            variables, x
        )

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


def holds_convolution(function, *args):
    return "conv_general_dilated" in str(jax.make_jaxpr(function)(*args))


def test_few_channels_leave_no_convolution_to_xla(key):
    """On CPU the gradient of XLA's convolution is slow in a loop; the banded form has none there."""

    def in_gradient(channels, groups=1):
        layer, x = nn.Conv(4, 3, groups=groups), jnp.ones((2, 6, 6, channels))
        variables = jax.eval_shape(layer.init, key, x)
        return holds_convolution(jax.grad(lambda v, x: layer.apply(v, x).sum()), variables, x)

    assert not in_gradient(1)
    assert not in_gradient(convolution.BANDED_CHANNELS)
    assert in_gradient(convolution.BANDED_CHANNELS + 1)
    assert in_gradient(2, groups=2)


def test_other_backends_use_xlas(monkeypatch, key):
    layer, x = nn.Conv(4, 3), jnp.ones((1, 6, 6, 1))
    variables = layer.init(key, x)
    here = layer.apply(variables, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert holds_convolution(layer.apply, variables, x)
    np.testing.assert_allclose(layer.apply(variables, x), here, atol=1e-5)


def test_plain_forms_are_traced_where_asked_for(key):
    layer, x = nn.Conv(4, 3), jnp.ones((1, 6, 6, 1))
    variables = layer.init(key, x)
    assert not holds_convolution(layer.apply, variables, x)
    with backends.plain_forms():
        assert holds_convolution(layer.apply, variables, x)
    assert not holds_convolution(layer.apply, variables, x)


def test_jit_vmap_and_scan_agree(key):
    layer, x = nn.Conv(4, 3), normal(0, 2, 6, 6, 2)
    stacked = jax.vmap(lambda key: layer.init(key, x))(jax.random.split(key, 3))
    one_by_one = jnp.stack([layer.apply(jax.tree.map(lambda a, i=i: a[i], stacked), x) for i in range(3)])
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
