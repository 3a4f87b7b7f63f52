"""Activations with parameters: PyTorch, linen, scikit-learn, worked numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


@pytest.mark.parametrize("per_channel", [False, True], ids=["one", "per-channel"])
def test_prelu_matches_torch(per_channel):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, weight = rng.normal(scale=3, size=(2, 6, 4)).astype(np.float32)
    x[0] = [-1e4, 1e4, 1e-4, -1e-4]
    slope = np.array([0.25, -0.5, 1.5, 0.0] if per_channel else 0.3, np.float32)
    there = [torch.tensor(x.astype(np.float64), requires_grad=True)]
    there.append(torch.tensor(np.atleast_1d(slope).astype(np.float64), requires_grad=True))
    y = torch.nn.functional.prelu(*there)
    (y * torch.tensor(weight.astype(np.float64))).sum().backward()

    @jax.jit
    def both(slope, x):
        layer = nn.PReLU(per_channel)
        values, pullback = jax.vjp(lambda s, x: layer.apply({"params": {"negative_slope": s}}, x), slope, x)
        return values, *pullback(jnp.asarray(weight))

    values, slope_gradient, x_gradient = both(slope, x)
    np.testing.assert_allclose(values, y.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(x_gradient, there[0].grad.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope_gradient.ravel(), there[1].grad.numpy(), rtol=1e-5)
    assert slope_gradient.shape == slope.shape


def test_prelu_takes_linens_parameters_and_starts_at_a_quarter(key):
    x = jnp.array([[-2.0, 0.0, 3.0]])
    variables = linen.PReLU(negative_slope_init=0.1).init(key, x)
    np.testing.assert_allclose(nn.PReLU().apply(variables, x), [[-0.2, 0, 3]], rtol=1e-6)
    ours = nn.PReLU().init(key, x)
    assert jax.tree.structure(ours) == jax.tree.structure(variables)
    assert ours["params"]["negative_slope"] == 0.25
    assert nn.PReLU(per_channel=True).init(key, x)["params"]["negative_slope"].shape == (3,)


def test_prelu_sums_its_slopes_gradient_in_float32():
    x = jnp.full((4096,), -1, jnp.bfloat16)  # a bfloat16 sum of ones stops at 256

    @jax.jit
    def both(slope):
        y, pullback = jax.vjp(lambda s: nn.PReLU().apply({"params": {"negative_slope": s}}, x), slope)
        return y, pullback(jnp.ones_like(y))[0]

    y, gradient = both(jnp.float32(0.25))
    assert y.dtype == jnp.bfloat16
    assert gradient == -4096


def test_maxout_matches_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, kernel, bias, weight = (
        rng.normal(size=s).astype(np.float32) for s in ((2, 5, 4), (4, 9), (9,), (2, 5, 3))
    )
    there = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (x, kernel, bias)]
    y = (there[0] @ there[1] + there[2]).reshape(2, 5, 3, 3).amax(-1)
    (y * torch.tensor(weight.astype(np.float64))).sum().backward()

    @jax.jit
    def both(x, kernel, bias):
        def f(x, kernel, bias):
            return nn.Maxout(3, 3).apply({"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}, x)

        values, pullback = jax.vjp(f, x, kernel, bias)
        return values, pullback(jnp.asarray(weight))

    values, gradients = both(x, kernel, bias)
    np.testing.assert_allclose(values, y.detach().numpy(), rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(gradients, there):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-5, atol=2e-6)


def test_maxout_of_two_pieces_is_a_prelu():
    x = np.linspace(-3, 3, 8, dtype=np.float32)[:, None]
    params = {"Dense_0": {"kernel": jnp.array([[1.0, 0.3]]), "bias": jnp.zeros(2)}}
    y = jax.jit(lambda x: nn.Maxout(1).apply({"params": params}, x))(x)
    np.testing.assert_allclose(y, np.maximum(x, 0.3 * x), rtol=1e-6)


@pytest.mark.parametrize(("inputs", "degree"), [(1, 4), (2, 2), (3, 3), (5, 1)])
def test_polynomial_features_are_scikit_learns(inputs, degree):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x = np.random.default_rng(0).normal(size=(6, inputs)).astype(np.float32)
    expected = preprocessing.PolynomialFeatures(degree, include_bias=False).fit_transform(
        x.astype(np.float64)
    )
    features = jax.jit(lambda x: nn.polynomial_features(x, degree))
    np.testing.assert_allclose(features(x), expected, rtol=1e-5)
    np.testing.assert_allclose(features(x.reshape(2, 3, inputs)).reshape(6, -1), expected, rtol=1e-5)


def test_polynomial_unit_is_ivakhnenkos():
    a0, a1, a2, a3, a4, a5 = 0.5, -1.0, 2.0, 0.3, -0.7, 1.1  # a0 + a1 u + a2 v + a3 u v + a4 u^2 + a5 v^2
    params = {
        "kernel": np.array([[a1], [a2], [a4], [a3], [a5]], np.float32),
        "bias": np.array([a0], np.float32),
    }
    x = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    x[0] = 0  # where a power has a derivative that a division by the input would lose

    @jax.jit
    def both(x):
        y, pullback = jax.vjp(lambda x: nn.PolynomialUnit(1).apply({"params": {"Dense_0": params}}, x), x)
        return y, pullback(jnp.ones_like(y))[0]

    y, gradient = both(x)
    u, v = x.astype(np.float64).T
    np.testing.assert_allclose(y[:, 0], a0 + a1 * u + a2 * v + a3 * u * v + a4 * u**2 + a5 * v**2, rtol=1e-5)
    slopes = np.stack([a1 + a3 * v + 2 * a4 * u, a2 + a3 * u + 2 * a5 * v], -1)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-6)


def test_one_polynomial_unit_computes_xor():
    params = {"kernel": jnp.array([[1.0], [1], [0], [-2], [0]]), "bias": jnp.zeros(1)}
    x = jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    y = jax.jit(lambda x: nn.PolynomialUnit(1).apply({"params": {"Dense_0": params}}, x)[:, 0])(x)
    np.testing.assert_array_equal(y, [0, 1, 1, 0])


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        pytest.param(nn.Maxout(3, 4), {"kernel": (5, 12), "bias": (12,)}, id="Maxout"),
        pytest.param(nn.PolynomialUnit(3, 3, use_bias=False), {"kernel": (55, 3)}, id="PolynomialUnit"),
    ],
)
def test_parameters_and_bfloat16(layer, shapes, key):
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)

    @jax.jit
    def everything(x):
        variables = layer.init(key, x)
        half = layer.clone(dtype=jnp.bfloat16).apply(variables, x)
        return (
            variables["params"],
            layer.apply(variables, x),
            half,
            jax.vmap(lambda x: layer.apply(variables, x))(x),
        )

    params, y, half, mapped = everything(x)
    assert jax.tree.map(jnp.shape, params) == {"Dense_0": shapes}
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), y, rtol=0.05, atol=0.1)
    np.testing.assert_allclose(mapped, y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.apply({"params": params}, x), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(
            lambda k: nn.PReLU(True).init(k, jnp.float32(1)), ValueError, "last axis", id="prelu-scalar"
        ),
        pytest.param(
            lambda k: nn.PReLU().init(k, np.arange(3)), TypeError, "x must be floating", id="prelu-int"
        ),
        pytest.param(
            lambda k: nn.Maxout(3, 0).init(k, np.ones((2, 3))), ValueError, "num_pieces", id="pieces"
        ),
        pytest.param(lambda k: nn.Maxout(0).init(k, np.ones((2, 3))), ValueError, "features", id="features"),
        pytest.param(
            lambda k: nn.Maxout(3).init(k, np.arange(3)), TypeError, "x must be floating", id="maxout"
        ),
        pytest.param(
            lambda k: nn.PolynomialUnit(1, 0).init(k, np.ones(3)), ValueError, "degree", id="degree"
        ),
        pytest.param(
            lambda k: nn.polynomial_features(np.arange(3)), TypeError, "x must be", id="features-int"
        ),
        pytest.param(lambda k: nn.polynomial_features(np.float32(1)), ValueError, "one axis", id="scalar"),
    ],
)
def test_bad_input(call, error, match, key):
    with pytest.raises(error, match=match):
        call(key)
