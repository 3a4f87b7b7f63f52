"""Activations: published values, closed-form derivatives, PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

POINTS = [-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]
VALUES = {
    "sigmoid": [0.0474259, 0.2689414, 0.3775407, 0.5, 0.6224593, 0.7310586, 0.8807971],
    "bipolar_sigmoid": [-0.9051483, -0.4621172, -0.2449187, 0.0, 0.2449187, 0.4621172, 0.7615942],
    "tanh": [-0.9950548, -0.7615942, -0.4621172, 0.0, 0.4621172, 0.7615942, 0.9640276],
    "softplus": [0.0485874, 0.3132617, 0.4740770, 0.6931472, 0.9740770, 1.3132617, 2.1269280],
    "leaky_relu": [-0.03, -0.01, -0.005, 0.0, 0.5, 1.0, 2.0],
    "relu": [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 2.0],
    "identity": POINTS,
}


@pytest.mark.parametrize("name", VALUES)
def test_table_of_values(name):
    got = getattr(nn, name)(jnp.array(POINTS))
    np.testing.assert_allclose(got, VALUES[name], atol=1e-7, rtol=1e-6)


def test_sharp_softplus_values():
    expected = [0.0012378, 0.0634640, 0.1566308, 0.3465736, 0.6566308, 1.0634640, 2.0090750]
    np.testing.assert_allclose(nn.softplus(jnp.array(POINTS), 2.0), expected, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(
    ("steepness", "unipolar", "unipolar_slope", "bipolar", "bipolar_slope"),
    [
        pytest.param(1.0, 0.6294831, 0.2332341, 0.2589662, 0.4664682, id="001-G1"),
        pytest.param(0.5, 0.5658650, 0.1228309, 0.1317300, 0.2456618, id="001-G1d-half"),
        pytest.param(2.0, 0.7426905, 0.3822026, 0.4853811, 0.7644052, id="001-G1d-two"),
    ],
)
def test_neuron_with_steepness(steepness, unipolar, unipolar_slope, bipolar, bipolar_slope):
    net = jnp.dot(jnp.array([0.8, 0.6, 0.4]), jnp.array([0.1, 0.3, -0.2])) + 0.35
    np.testing.assert_allclose(net, 0.53, rtol=1e-6)
    for function, value, slope in (
        (nn.sigmoid, unipolar, unipolar_slope),
        (nn.bipolar_sigmoid, bipolar, bipolar_slope),
    ):
        got = jax.value_and_grad(function)(net, steepness)
        np.testing.assert_allclose(got, (value, slope), atol=2e-7)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        pytest.param(nn.identity, jnp.ones_like, id="identity"),
        pytest.param(
            lambda x: nn.sigmoid(x, 3.0),
            lambda x: 3 * nn.sigmoid(x, 3.0) * (1 - nn.sigmoid(x, 3.0)),
            id="sigmoid",
        ),
        pytest.param(
            lambda x: nn.bipolar_sigmoid(x, 3.0),
            lambda x: 1.5 * (1 + nn.bipolar_sigmoid(x, 3.0)) * (1 - nn.bipolar_sigmoid(x, 3.0)),
            id="bipolar_sigmoid",
        ),
        pytest.param(nn.tanh, lambda x: 1 - nn.tanh(x) ** 2, id="tanh"),
        pytest.param(nn.relu, lambda x: (x > 0).astype(x.dtype), id="relu"),
        pytest.param(lambda x: nn.relu(x, 0.5), lambda x: 0.5 * (jnp.sign(x) + 1), id="relu-half-at-zero"),
        pytest.param(nn.leaky_relu, lambda x: jnp.where(x >= 0, 1.0, 0.01), id="leaky_relu"),
        pytest.param(
            lambda x: nn.softplus(x, 2.0), lambda x: nn.sigmoid(x, 2.0), id="softplus-derivative-is-sigmoid"
        ),
    ],
)
def test_closed_form_derivative(function, derivative):
    x = jnp.array([*POINTS, 20.0, -20.0])
    np.testing.assert_allclose(jax.vmap(jax.grad(function))(x), derivative(x), atol=1e-6)
    _, forward = jax.jvp(function, (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(forward, derivative(x), atol=1e-6)


def test_derivative_bounds():
    x = jnp.linspace(-6.0, 6.0, 241)
    assert jax.vmap(jax.grad(nn.sigmoid))(x).max() == pytest.approx(0.25)
    assert jax.vmap(jax.grad(nn.tanh))(x).max() == pytest.approx(1.0)
    np.testing.assert_allclose(jax.grad(nn.sigmoid)(3.0), 0.04518, atol=1e-5)
    np.testing.assert_allclose(jax.grad(lambda x: nn.sigmoid(x, 0.7))(0.0), 0.7 / 4, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: nn.bipolar_sigmoid(x, 0.7))(0.0), 0.7 / 2, rtol=1e-6)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_relu_slope_at_zero(slope):
    assert jax.grad(lambda x: nn.relu(x, slope))(0.0) == slope
    assert jax.jit(jax.grad(lambda x: nn.relu(x, slope)))(-1.0) == 0.0
    assert nn.relu(jnp.float32(-1.0), slope) == 0.0
    assert nn.relu(jnp.bfloat16(2.0), slope).dtype == jnp.bfloat16


def test_softmax_values():
    x = jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(nn.softmax(x), [0.0900306, 0.2447285, 0.6652410], atol=1e-7)
    five = [0.01165623, 0.03168492, 0.08612854, 0.23412166, 0.63640865]
    np.testing.assert_allclose(nn.softmax(jnp.arange(-2.0, 3.0)), five, atol=1e-7)
    np.testing.assert_allclose(nn.log_softmax(x), x - 3.4076060, atol=1e-6)


def test_softmax_jacobian():
    x = jnp.array([0.3, -1.2, 2.0, 0.1])
    p = nn.softmax(x)
    np.testing.assert_allclose(jax.jacobian(nn.softmax)(x), jnp.diag(p) - p[:, None] * p[None], atol=1e-6)
    np.testing.assert_allclose(jax.jacobian(nn.log_softmax)(x), jnp.eye(4) - p[None], atol=1e-6)


@pytest.mark.parametrize(
    "function", [nn.softmax, nn.log_softmax, nn.softplus, nn.sigmoid, nn.bipolar_sigmoid]
)
def test_extremes_are_finite(function):
    x = jnp.array([-1e4, 0.0, 1e4])
    assert np.isfinite(function(x)).all()
    assert np.isfinite(jax.grad(lambda x: function(x)[1])(x)).all()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(nn.sigmoid, "sigmoid", id="sigmoid"),
        pytest.param(nn.tanh, "tanh", id="tanh"),
        pytest.param(nn.relu, "relu", id="relu"),
        pytest.param(nn.leaky_relu, "leaky_relu", id="leaky_relu"),
        pytest.param(nn.softplus, "softplus", id="softplus"),
        pytest.param(nn.softmax, "softmax", id="softmax"),
        pytest.param(nn.log_softmax, "log_softmax", id="log_softmax"),
    ],
)
def test_matches_torch(ours, theirs):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, weight = rng.normal(scale=3, size=(2, 4, 5)).astype(np.float32)
    there = torch.tensor(x, requires_grad=True)
    function = getattr(torch.nn.functional, theirs)
    y = function(there, dim=-1) if "softmax" in theirs else function(there)
    (y * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(ours(jnp.asarray(x)), y.detach().numpy(), rtol=2e-6, atol=2e-6)
    gradient = jax.grad(lambda x: (ours(x) * weight).sum())(jnp.asarray(x))
    np.testing.assert_allclose(gradient, there.grad.numpy(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(lambda: nn.relu(jnp.arange(3)), TypeError, "x must be floating point", id="int"),
        pytest.param(lambda: nn.softmax(jnp.ones(2, bool)), TypeError, "x must be floating point", id="bool"),
        pytest.param(lambda: nn.sigmoid(1.0, 0.0), ValueError, "steepness must be positive", id="steepness"),
        pytest.param(lambda: nn.bipolar_sigmoid(1.0, -1.0), ValueError, "steepness", id="bipolar-steepness"),
        pytest.param(lambda: nn.softplus(1.0, -2.0), ValueError, "sharpness", id="sharpness"),
        pytest.param(lambda: nn.relu(1.0, 1.5), ValueError, "derivative_at_zero", id="relu-slope"),
        pytest.param(lambda: nn.leaky_relu(1.0, -0.1), ValueError, "negative_slope", id="leaky-slope"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
