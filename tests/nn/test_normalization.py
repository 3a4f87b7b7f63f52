"""Normalization of single examples, and what all normalization layers share: accuracy, derivatives, precision.

Oracles: PyTorch, linen, and the plain formulas in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(got, expected, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, expected)


def derivatives(layer, *args):
    """Output and derivatives by parameters and inputs, in one program."""

    @jax.jit
    def run(params, weight, *args):
        y, pullback = jax.vjp(lambda p, *args: layer.apply({"params": p}, *args), params, *args)
        return y, *pullback(weight)

    return run(*args)


IMAGE, ROWS = (2, 3, 4, 6), (4, 5, 6)


@pytest.mark.parametrize(
    ("layer", "shape", "make", "parameters"),
    [
        pytest.param(nn.LayerNorm(), ROWS, lambda t: t.nn.LayerNorm(6, 1e-6), (6,), id="layer"),
        pytest.param(
            nn.LayerNorm(num_axes=3, eps=1e-5),
            IMAGE,
            lambda t: t.nn.LayerNorm(IMAGE[1:]),
            IMAGE[1:],
            id="3-axes",
        ),
        pytest.param(nn.RMSNorm(), ROWS, lambda t: t.nn.RMSNorm(6, 1e-6), (6,), id="rms"),
        pytest.param(nn.GroupNorm(3), IMAGE, lambda t: t.nn.GroupNorm(3, 6, 1e-6), (6,), id="group"),
        pytest.param(nn.GroupNorm(1), ROWS, lambda t: t.nn.GroupNorm(1, 6, 1e-6), (6,), id="one-group"),
        pytest.param(nn.GroupNorm(2), (4, 6), lambda t: t.nn.GroupNorm(2, 6, 1e-6), (6,), id="no-positions"),
        pytest.param(
            nn.InstanceNorm(), IMAGE, lambda t: t.nn.InstanceNorm2d(6, 1e-6, affine=True), (6,), id="instance"
        ),
    ],
)
def test_matches_torch(layer, shape, make, parameters):
    torch = pytest.importorskip("torch")
    there, x, weight = make(torch), 2 * normal(0, *shape) + 1, normal(1, *shape)
    names = ["scale", "bias"][: len(list(there.parameters()))]
    params = {name: normal(i, *parameters) for i, name in enumerate(names, start=2)}
    for theirs, ours in zip(there.parameters(), params.values()):
        theirs.data.copy_(torch.tensor(ours))
    # Group and instance norm have their channels in front there.
    order = (0, len(shape) - 1, *range(1, len(shape) - 1))
    first = order if isinstance(layer, (nn.GroupNorm, nn.InstanceNorm)) else tuple(range(len(shape)))
    back = np.argsort(first)
    x_there = torch.tensor(x.transpose(first).copy(), requires_grad=True)
    expected = there(x_there)
    expected.backward(torch.tensor(weight.transpose(first).copy()))
    y, grads, dx = derivatives(layer, params, weight, x)
    close(y, expected.detach().numpy().transpose(back))
    close(dx, x_there.grad.numpy().transpose(back))
    close(grads, {name: p.grad.numpy() for name, p in zip(names, there.parameters())})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(nn.LayerNorm(), linen.LayerNorm(), id="layer"),
        pytest.param(
            nn.LayerNorm(num_axes=2),
            linen.LayerNorm(reduction_axes=(-2, -1), feature_axes=(-2, -1)),
            id="two-axes",
        ),
        pytest.param(nn.RMSNorm(), linen.RMSNorm(), id="rms"),
        pytest.param(nn.GroupNorm(2), linen.GroupNorm(2), id="group"),
        pytest.param(nn.InstanceNorm(), linen.InstanceNorm(), id="instance"),
    ],
)
def test_loads_linens_parameters_and_equals_it(ours, theirs, key):
    x = normal(0, *IMAGE)
    created = jax.eval_shape(theirs.init, key, x)
    assert jax.eval_shape(ours.init, key, x) == created
    params = jax.tree.map(lambda a: normal(1, *a.shape), created)
    close(*jax.jit(lambda params: (ours.apply(params, x), theirs.apply(params, x)))(params))


# Every layer with its plain formula on [2, 3, 4, 6]: x, scale, bias, second input -> y.


def plain(axes, eps, groups=None, center=True):
    def formula(x, scale, bias, extra):
        shape = x.shape
        z = x if groups is None else x.reshape(*shape[:-1], groups, -1)
        mean = z.mean(axes, keepdims=True) if center else 0
        var = ((z - mean) ** 2).mean(axes, keepdims=True)
        return ((z - mean) / (var + eps) ** 0.5).reshape(shape) * scale + bias

    return formula


def styled(x, scale, bias, style):
    mean, deviation = (a.reshape(2, 1, 1, 6) for a in (style.mean((1, 2)), (style.var((1, 2)) + 1e-5) ** 0.5))
    return plain((1, 2), 1e-5)(x, deviation, mean, None)


def by_vector(x, scale, bias, w):
    affine = (w @ scale.reshape(3, 12) + bias[None]).reshape(2, 1, 1, 12)
    return plain((1, 2), 1e-5)(x, 1 + affine[..., :6], affine[..., 6:], None)


ONE = (1, 1, 1, 6)
BATCH_STATS = {"mean": np.zeros(6, np.float32), "var": np.ones(6, np.float32)}


def parameters(scale, bias):
    return {"scale": scale.reshape(-1), "bias": bias.reshape(-1)}


# layer, formula, shapes of scale, bias and second input, their place in "params"
LAYERS = {
    "batch": (nn.BatchNorm(), plain((0, 1, 2), 1e-5), ONE, ONE, None, parameters),
    "conditional": (
        nn.ConditionalBatchNorm(2),
        plain((0, 1, 2), 1e-5),
        (2, 1, 1, 6),
        (2, 1, 1, 6),
        "labels",
        lambda scale, bias: {"scale": scale[:, 0, 0], "bias": bias[:, 0, 0]},
    ),
    "layer": (nn.LayerNorm(), plain(-1, 1e-6), ONE, ONE, None, parameters),
    "rms": (
        nn.RMSNorm(),
        lambda x, scale, bias, extra: plain(-1, 1e-6, center=False)(x, scale, 0 * bias, extra),
        ONE,
        ONE,
        None,
        lambda scale, bias: {"scale": scale.reshape(-1)},
    ),
    "pixel": (
        nn.PixelNorm(),
        lambda x, scale, bias, extra: plain(-1, 1e-8, center=False)(x, 1, 0, extra),
        ONE,
        ONE,
        None,
        lambda scale, bias: {},
    ),
    "group": (nn.GroupNorm(2), plain((1, 2, 4), 1e-6, groups=2), ONE, ONE, None, parameters),
    "instance": (nn.InstanceNorm(), plain((1, 2), 1e-6), ONE, ONE, None, parameters),
    "adaptive": (
        nn.AdaptiveInstanceNorm(),
        styled,
        ONE,
        ONE,
        (2, 2, 3, 6),
        lambda scale, bias: {},
    ),
    "adaptive-vector": (
        nn.AdaptiveInstanceNorm(),
        by_vector,
        (3, 12),
        (12,),
        (2, 3),
        lambda scale, bias: {"kernel": scale, "bias": bias},
    ),
}
EACH_LAYER = pytest.mark.parametrize("name", LAYERS)


def forms(name, dtype=np.float64):
    """The layer and its formula as functions of the same arguments, and arguments."""
    layer, formula, scale_shape, bias_shape, extra, place = LAYERS[name]
    labels = extra == "labels"
    settings = {"train": True, "mutable": ["batch_stats"]} if name in ("batch", "conditional") else {}

    def ours(x, scale, bias, extra):
        args = (x,) if LAYERS[name][4] is None else (x, jnp.arange(2) if labels else extra)
        y = layer.apply({"params": place(scale, bias), "batch_stats": BATCH_STATS}, *args, **settings)
        return y[0] if settings else y

    shapes = (IMAGE, scale_shape, bias_shape, (1,) if extra is None or labels else extra)
    args = [normal(i, *shape).astype(dtype) for i, shape in enumerate(shapes)]
    return ours, formula, args


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=pytest.mark.slow if name in ("conditional", "adaptive-vector", "pixel") else ()
        )
        for name in LAYERS
    ],
)
def test_equals_the_plain_formula_in_every_derivative(name):
    with jax.enable_x64(True):
        ours, formula, args = forms(name)
        vectors = [np.float64(normal(10 + i, *a.shape)) for i, a in enumerate(args)]
        weight = np.float64(normal(20, *IMAGE))

        def everything(f):
            def loss(args):
                return (jnp.tanh(f(*args)) * weight).sum()

            y, slope = jax.jvp(lambda args: f(*args), (args,), (vectors,))
            gradient, curvature = jax.jvp(jax.grad(loss), (args,), (vectors,))
            both = [jnp.stack([a, v]) for a, v in zip(args, vectors)]
            return y, slope, gradient, curvature, jax.vmap(jax.grad(loss))(both)

        got, expected = jax.jit(lambda: (everything(ours), everything(formula)))()
        close(got, expected, 1e-9)


@EACH_LAYER
def test_precision(name):
    """Eager, far from 0, in half precision, and with constant inputs."""
    ours, formula, args = forms(name, np.float32)
    x, *others = args
    far = x + np.float32(1e3)
    rounded = np.float32(jnp.asarray(x + 100, jnp.bfloat16))

    @jax.jit
    def run():
        half = [jnp.asarray(a, jnp.bfloat16) for a in args]

        def loss(args):
            return (ours(*args) ** 2).sum()

        constant = [jax.value_and_grad(loss)([jnp.full(IMAGE, value), *others]) for value in (0.0, 1e10)]
        return (
            ours(*args),
            ours(far, *others),
            ours(rounded, *others),
            ours(*half),
            ours(jnp.asarray(rounded, jnp.bfloat16), *others),
            constant,
        )

    y, y_far, y_rounded, half, half_rounded, constant = run()
    close(ours(*args), y, 1e-6)
    expected = formula(*map(np.float64, (far, *others)))
    np.testing.assert_allclose(y_far, expected, rtol=2e-6, atol=2e-6)
    assert abs(expected).max() > 0.5
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), y, rtol=0.05, atol=0.05)
    # Statistics in bfloat16 would not see a deviation of 1 at 100, nor sum 100 values.
    np.testing.assert_allclose(half_rounded.astype(jnp.float32), y_rounded, rtol=0.01, atol=0.01)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(constant))


@pytest.mark.parametrize("place", [0, 5, 16, 31], ids=lambda place: f"outlier-at-{place}")
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_no_outlier_spoils_the_variance(place, offset):
    """The shift is a mean of a few values: also one that is far from all others, at or beside those places."""
    x = (normal(0, 512) + offset).astype(np.float32)
    x[place] = offset + 1e3
    z = np.float64(x) - np.float64(x).mean()
    expected = z / np.sqrt((z**2).mean() + 1e-6)

    @jax.jit
    def run(x):
        images = x.reshape(1, 64, 8)
        return (
            nn.LayerNorm(use_scale=False, use_bias=False).apply({}, x),
            nn.GroupNorm(1, use_scale=False, use_bias=False).apply({}, images),
            nn.BatchNorm(use_scale=False, use_bias=False, eps=1e-6).apply(
                {"batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)}},
                x[:, None],
                train=True,
                mutable=["batch_stats"],
            )[0],
        )

    for y in run(x):
        np.testing.assert_allclose(y.reshape(-1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        pytest.param(nn.LayerNorm(dtype=jnp.bfloat16), "bfloat16", id="layer"),
        pytest.param(nn.RMSNorm(dtype=jnp.bfloat16), "bfloat16", id="rms"),
        pytest.param(nn.GroupNorm(2, dtype=jnp.bfloat16), "bfloat16", id="group"),
        pytest.param(nn.InstanceNorm(dtype=jnp.bfloat16), "bfloat16", id="instance"),
        pytest.param(nn.LayerNorm(), "float32", id="promoted"),
        pytest.param(nn.LayerNorm(param_dtype=jnp.bfloat16), "bfloat16", id="param-dtype"),
    ],
)
def test_dtype_of_the_result(layer, expected, key):
    y = jax.eval_shape(lambda: layer.init_with_output(key, jnp.ones(IMAGE, jnp.bfloat16)))[0]
    assert y.dtype == expected


def test_parameters_can_be_left_out(key):
    for layer in (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm):
        settings = {"num_groups": 2} if layer is nn.GroupNorm else {}
        for names in (set(), {"scale"}, {"bias"}):
            one = layer(use_scale="scale" in names, use_bias="bias" in names, **settings)
            variables = jax.eval_shape(one.init, key, jnp.ones(IMAGE))
            assert set(variables.get("params", {})) == names
    assert not jax.eval_shape(nn.RMSNorm(use_scale=False).init, key, jnp.ones(IMAGE))


X = jnp.ones(IMAGE)


@pytest.mark.parametrize(
    ("layer", "args", "error", "match"),
    [
        pytest.param(nn.LayerNorm(), (X.astype(int),), TypeError, "x must be floating", id="dtype"),
        pytest.param(nn.LayerNorm(num_axes=5), (X,), ValueError, "x must have at least 5 axes", id="axes"),
        pytest.param(nn.RMSNorm(num_axes=0), (X,), ValueError, "num_axes must be at least 1", id="no-axes"),
        pytest.param(nn.LayerNorm(eps=-1.0), (X,), ValueError, "eps must be finite", id="eps"),
        pytest.param(nn.PixelNorm(), (jnp.float32(1),), ValueError, "at least 1 axes", id="scalar"),
        pytest.param(nn.GroupNorm(4), (X,), ValueError, "channels must be a multiple", id="groups"),
        pytest.param(nn.GroupNorm(0), (X,), ValueError, "num_groups must be at least 1", id="no-groups"),
        pytest.param(nn.GroupNorm(1), (jnp.ones(6),), ValueError, "x must have a batch axis", id="batch"),
        pytest.param(
            nn.InstanceNorm(), (jnp.ones((2, 6)),), ValueError, "at least 2 positions", id="positions"
        ),
        pytest.param(
            nn.InstanceNorm(), (jnp.ones((2, 1, 1, 6)),), ValueError, "at least 2 positions", id="pixel"
        ),
        pytest.param(
            nn.AdaptiveInstanceNorm(), (X, X[..., :5]), ValueError, "style must have shape", id="style"
        ),
        pytest.param(
            nn.AdaptiveInstanceNorm(), (X, jnp.ones((3, 2))), ValueError, "must agree", id="style-batch"
        ),
        pytest.param(
            nn.AdaptiveInstanceNorm(),
            (X, jnp.ones((2, 2), int)),
            TypeError,
            "style must be",
            id="style-dtype",
        ),
        pytest.param(
            nn.AdaptiveInstanceNorm(),
            (X, jnp.ones((2, 2, 2))),
            ValueError,
            "style must have rank",
            id="style-rank",
        ),
    ],
)
def test_bad_input(layer, args, error, match, key):
    with pytest.raises(error, match=match):
        layer.init(key, *args)
