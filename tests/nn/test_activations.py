"""Elementwise activations, rectifiers and steps: published values, closed forms, PyTorch.

One program computes values and derivatives of all of them at the points where something can go wrong.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxdl import nn

EDGES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 25.0, 90.0, 1e4]
POINTS = np.array([*EDGES, *(-x for x in EDGES), *np.random.default_rng(0).normal(0, 2, 18)], np.float32)


def normal_density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def tanh_gelu(x):
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    t = np.tanh(inner)
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * slope


def exponential_branch(x, scale, alpha):
    below = alpha * np.expm1(np.minimum(x, 0))
    return scale * np.where(x > 0, x, below), scale * np.where(x > 0, 1, below + alpha)


def mish(x):
    t = np.tanh(np.logaddexp(0, x))
    return x * t, t + x * (1 - t**2) * special.expit(x)


def sigmoid(x, a, bipolar=False):
    s = special.expit(a * x)
    return (
        (np.tanh(a * x / 2), 2 * a * s * special.expit(-a * x))
        if bipolar
        else (s, a * s * special.expit(-a * x))
    )


def flat(values):
    return values, np.zeros_like(values)


# Each row: ours, and value and derivative from the docstring's formulas, in float64.
TABLE = {
    "identity": (nn.identity, lambda x: (x, np.ones_like(x))),
    "sigmoid": (nn.sigmoid, lambda x: sigmoid(x, 1)),
    "sigmoid-3": (lambda x: nn.sigmoid(x, 3.0), lambda x: sigmoid(x, 3)),
    "bipolar_sigmoid": (nn.bipolar_sigmoid, lambda x: sigmoid(x, 1, bipolar=True)),
    "bipolar_sigmoid-3": (lambda x: nn.bipolar_sigmoid(x, 3.0), lambda x: sigmoid(x, 3, bipolar=True)),
    "tanh": (nn.tanh, lambda x: sigmoid(x, 2, bipolar=True)),
    "algebraic_sigmoid": (nn.algebraic_sigmoid, lambda x: (x / np.sqrt(1 + x**2), (1 + x**2) ** -1.5)),
    "relu": (nn.relu, lambda x: (np.maximum(x, 0), np.where(x > 0, 1, 0))),
    "relu-half": (lambda x: nn.relu(x, 0.5), lambda x: (np.maximum(x, 0), (np.sign(x) + 1) / 2)),
    "relu-one": (lambda x: nn.relu(x, 1.0), lambda x: (np.maximum(x, 0), np.where(x >= 0, 1, 0))),
    "leaky_relu": (nn.leaky_relu, lambda x: (np.where(x >= 0, x, 0.01 * x), np.where(x >= 0, 1, 0.01))),
    "elu": (nn.elu, lambda x: exponential_branch(x, 1, 1)),
    "elu-half": (lambda x: nn.elu(x, 0.5), lambda x: exponential_branch(x, 1, 0.5)),
    "selu": (nn.selu, lambda x: exponential_branch(x, 1.0507009873554805, 1.6732632423543772)),
    "gelu": (nn.gelu, lambda x: (x * special.ndtr(x), special.ndtr(x) + x * normal_density(x))),
    "gelu-tanh": (lambda x: nn.gelu(x, approximate=True), tanh_gelu),
    "silu": (nn.silu, lambda x: (x * special.expit(x), special.expit(x) * (1 + x * special.expit(-x)))),
    "mish": (nn.mish, mish),
    "softplus": (nn.softplus, lambda x: (np.logaddexp(0, x), special.expit(x))),
    "softplus-2": (
        lambda x: nn.softplus(x, 2.0),
        lambda x: (np.logaddexp(0, 2 * x) / 2, special.expit(2 * x)),
    ),
    "binary_step": (nn.binary_step, lambda x: flat(np.heaviside(x, 1))),
    "binary_step-1": (lambda x: nn.binary_step(x, 1.0), lambda x: flat(np.heaviside(x - 1, 1))),
    "bipolar_step": (nn.bipolar_step, lambda x: flat(2 * np.heaviside(x, 1) - 1)),
    "bipolar_step-half": (
        lambda x: nn.bipolar_step(x, 0.5),
        lambda x: flat(2 * np.heaviside(x - 0.5, 1) - 1),
    ),
    "three_level_step": (
        lambda x: nn.three_level_step(x, 0.5),
        lambda x: flat(np.heaviside(x - 0.5, 0) - np.heaviside(-x - 0.5, 0)),
    ),
    "three_level_step-0": (lambda x: nn.three_level_step(x, 0.0), lambda x: flat(np.sign(x))),
    "signum": (nn.signum, lambda x: flat(np.sign(x))),
    "ramp": (nn.ramp, lambda x: (np.clip(x, 0, 1), np.where((x > 0) & (x < 1), 1, 0))),
    "hard_tanh": (nn.hard_tanh, lambda x: (np.clip(x, -1, 1), np.where(abs(x) < 1, 1, 0))),
    "hard_sigmoid": (nn.hard_sigmoid, lambda x: (np.clip(x / 6 + 0.5, 0, 1), np.where(abs(x) < 3, 1 / 6, 0))),
}
NAMES = [name for name in TABLE if "-" not in name]


def at(points, values):
    return np.asarray(values)[[np.flatnonzero(x == POINTS)[0] for x in points]]


@pytest.fixture(scope="module")
def computed():
    """name -> (values, reverse derivative, forward derivative, second derivative, values by vmap, in bfloat16)."""

    def everything(x):
        def row(f):
            def slope(x):
                return jax.vjp(f, x)[1](jnp.ones_like(x))[0]

            ones = jnp.ones_like(x)
            reverse, second = jax.jvp(slope, (x,), (ones,))
            half = f(x.astype(jnp.bfloat16))
            return f(x), reverse, jax.jvp(f, (x,), (ones,))[1], second, jax.vmap(f)(x), half

        return {name: row(f) for name, (f, _) in TABLE.items()}

    return jax.jit(everything)(POINTS)


@pytest.mark.parametrize("name", TABLE)
def test_values_and_derivatives_are_the_closed_forms(name, computed):
    values, slopes = TABLE[name][1](POINTS.astype(np.float64))
    y, reverse, forward, second, mapped, half = computed[name]
    np.testing.assert_allclose(y, values, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(reverse, slopes, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(forward, reverse, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(mapped, y)
    assert np.isfinite(second).all()
    assert half.dtype == jnp.bfloat16
    rounded = TABLE[name][1](POINTS.astype(jnp.bfloat16).astype(np.float64))[0]
    np.testing.assert_allclose(half.astype(np.float32), rounded, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", NAMES)
def test_eager_equals_jit(name, computed):
    y = TABLE[name][0](jnp.asarray(POINTS))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, computed[name][0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        pytest.param("sigmoid", "sigmoid", id="sigmoid"),
        pytest.param("tanh", "tanh", id="tanh"),
        pytest.param("relu", "relu", id="relu"),
        pytest.param("leaky_relu", "leaky_relu", id="leaky_relu"),
        pytest.param("elu", "elu", id="elu"),
        pytest.param("elu-half", ("elu", 0.5), id="elu-half"),
        pytest.param("selu", "selu", id="selu"),
        pytest.param("gelu", "gelu", id="gelu"),
        pytest.param("gelu-tanh", ("gelu", {"approximate": "tanh"}), id="gelu-tanh"),
        pytest.param("silu", "silu", id="silu"),
        pytest.param("mish", "mish", id="mish"),
        pytest.param("softplus", "softplus", id="softplus"),
        pytest.param("softplus-2", ("softplus", 2.0), id="softplus-2"),
        pytest.param("hard_tanh", "hardtanh", id="hard_tanh"),
        pytest.param("ramp", ("hardtanh", 0.0, 1.0), id="ramp"),
        pytest.param("hard_sigmoid", "hardsigmoid", id="hard_sigmoid"),
        pytest.param("signum", "sign", id="signum"),
    ],
)
def test_matches_torch(name, theirs, computed):
    torch = pytest.importorskip("torch")
    theirs, *args = theirs if isinstance(theirs, tuple) else (theirs,)
    settings = args.pop() if args and isinstance(args[-1], dict) else {}
    function = torch.sign if theirs == "sign" else getattr(torch.nn.functional, theirs)
    there = torch.tensor(POINTS.astype(np.float64), requires_grad=True)
    y = function(there, *args, **settings)
    y.sum().backward()
    slopes = there.grad.numpy().copy()
    if name == "leaky_relu":  # documented: the other side's slope at exactly 0
        slopes[POINTS == 0] = 1
    np.testing.assert_allclose(computed[name][0], y.detach().numpy(), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(computed[name][1], slopes, rtol=1e-5, atol=1e-6)


SEVEN = [-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]
VALUES = {  # 002-7A
    "sigmoid": [0.0474259, 0.2689414, 0.3775407, 0.5, 0.6224593, 0.7310586, 0.8807971],
    "bipolar_sigmoid": [-0.9051483, -0.4621172, -0.2449187, 0.0, 0.2449187, 0.4621172, 0.7615942],
    "tanh": [-0.9950548, -0.7615942, -0.4621172, 0.0, 0.4621172, 0.7615942, 0.9640276],
    "softplus": [0.0485874, 0.3132617, 0.4740770, 0.6931472, 0.9740770, 1.3132617, 2.1269280],
    "softplus-2": [0.0012378, 0.0634640, 0.1566308, 0.3465736, 0.6566308, 1.0634640, 2.0090750],
    "gelu": [-0.0040497, -0.1586553, -0.1542688, 0.0, 0.3457312, 0.8413447, 1.9544997],
    "elu": [-0.9502129, -0.6321206, -0.3934693, 0.0, 0.5, 1.0, 2.0],
    "leaky_relu": [-0.03, -0.01, -0.005, 0.0, 0.5, 1.0, 2.0],
    "ramp": [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.0],
    "hard_tanh": [-1.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.0],
    "relu": [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 2.0],
    "identity": SEVEN,
}


@pytest.mark.parametrize("name", VALUES)
def test_table_of_values(name, computed):
    np.testing.assert_allclose(at(SEVEN, computed[name][0]), VALUES[name], atol=1e-7, rtol=1e-6)


FIVE = {  # 004a-3
    "sigmoid": [0.11920292, 0.26894142, 0.5, 0.73105858, 0.88079708],
    "tanh": [-0.96402758, -0.76159416, 0, 0.76159416, 0.96402758],
    "softplus": [0.12692801, 0.31326169, 0.69314718, 1.31326169, 2.12692801],
    "elu": [-0.86466472, -0.63212056, 0, 1, 2],
    "softmax": [0.01165623, 0.03168492, 0.08612854, 0.23412166, 0.63640865],
}


@pytest.mark.parametrize("name", FIVE)
def test_five_points(name, computed):
    points = np.arange(-2.0, 3.0, dtype=np.float32)
    got = nn.softmax(points) if name == "softmax" else at(points, computed[name][0])
    np.testing.assert_allclose(got, FIVE[name], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(
    ("steepness", "unipolar", "unipolar_slope", "bipolar", "bipolar_slope"),
    [
        pytest.param(1.0, 0.6294831, 0.2332341, 0.2589662, 0.4664682, id="001-G1"),
        pytest.param(0.5, 0.5658650, 0.1228309, 0.1317300, 0.2456618, id="001-G1d-half"),
        pytest.param(2.0, 0.7426905, 0.3822026, 0.4853811, 0.7644052, id="001-G1d-two"),
    ],
)
def test_neuron_with_steepness(steepness, unipolar, unipolar_slope, bipolar, bipolar_slope):
    net = np.float32(np.dot([0.8, 0.6, 0.4], [0.1, 0.3, -0.2]) + 0.35)
    np.testing.assert_allclose(net, 0.53, rtol=1e-6)
    got = neuron(net, steepness)
    np.testing.assert_allclose(got, [(unipolar, unipolar_slope), (bipolar, bipolar_slope)], atol=2e-7)


@jax.jit
def neuron(net, steepness):
    return [jax.value_and_grad(f)(net, steepness) for f in (nn.sigmoid, nn.bipolar_sigmoid)]


def test_derivative_bounds(computed):  # 000-3, 002-G21, 002-G22, 004b-3
    assert computed["sigmoid"][1].max() == pytest.approx(0.25)
    assert computed["tanh"][1].max() == pytest.approx(1.0)
    np.testing.assert_allclose(computed["sigmoid"][1][np.abs(POINTS) == 3], 0.04518, atol=1e-5)
    zero = POINTS == 0
    np.testing.assert_allclose(computed["sigmoid"][1][zero] ** 10, 9.5367e-7, rtol=1e-4)  # ten layers deep
    np.testing.assert_allclose(computed["sigmoid-3"][1][zero], 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(computed["bipolar_sigmoid-3"][1][zero], 3 / 2, rtol=1e-6)


def test_algebraic_sigmoid_values(computed):  # 002-G23
    f, slope = (at([0.5, 1.0, 2.0, -1.5, 0.0], values) for values in computed["algebraic_sigmoid"][:2])
    np.testing.assert_allclose(f, [0.4472136, 0.7071068, 0.8944272, -0.8320503, 0], atol=1e-7)
    np.testing.assert_allclose(slope, [0.7155418, 0.3535534, 0.0894427, 0.1706770, 1], atol=1e-7)


def test_algebraic_sigmoid_where_squares_overflow():
    @jax.jit
    def both(x):
        f, pullback = jax.vjp(nn.algebraic_sigmoid, x)
        return f, pullback(jnp.ones_like(x))[0]

    largest = [np.array([-1, 1], dtype) * jnp.finfo(dtype).max for dtype in (jnp.float32, jnp.float16)]
    for f, slope in (both(x) for x in largest):
        np.testing.assert_array_equal(f, [-1, 1])
        np.testing.assert_array_equal(slope, [0, 0])


def test_steep_bipolar_sigmoid_is_signum():  # 002-G22: at 0 the limit is 0
    x = jnp.array([-2.0, -0.01, 0.0, 0.01, 2.0])
    np.testing.assert_array_equal(np.sign(x), nn.bipolar_sigmoid(x, 1e5))
    np.testing.assert_array_equal(np.sign(x), nn.signum(x))


def test_selu_value(computed):  # 004b-selu
    np.testing.assert_allclose(at([-1.0], computed["selu"][0]), -1.1113307, rtol=1e-6)


def test_selu_keeps_mean_and_variance():
    rng = np.random.default_rng(0)
    x, kernels = rng.normal(size=(500, 300)), rng.normal(scale=300**-0.5, size=(12, 300, 300))
    deep = jax.jit(lambda x, kernels: jax.lax.scan(lambda x, w: (nn.selu(x @ w), None), x, kernels)[0])
    x = np.asarray(deep(x.astype(np.float32), kernels.astype(np.float32)))
    assert abs(x.mean()) < 0.1
    assert abs(x.var() - 1) < 0.15


def test_approximate_gelu_is_near():
    x = np.linspace(-6, 6, 4001, dtype=np.float32)
    error = jax.jit(lambda x: abs(nn.gelu(x) - nn.gelu(x, approximate=True)).max())(x)
    assert 1e-4 < error < 5e-4


def test_approximate_gelu_does_not_overflow_in_float16():
    slope = jax.jit(jax.vmap(jax.grad(lambda x: nn.gelu(x, approximate=True))))
    slopes = slope(np.array([-6e4, -50, 50, 6e4], np.float16))
    np.testing.assert_array_equal(slopes, [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("function", "least", "at"),
    [
        pytest.param(nn.gelu, -0.16997, -0.7518, id="gelu"),
        pytest.param(nn.silu, -0.278465, -1.27846, id="silu"),
        pytest.param(nn.mish, -0.308843, -1.19243, id="mish"),
    ],
)
def test_least_value(function, least, at):
    x = np.linspace(-4, 0, 40001, dtype=np.float32)
    y = np.asarray(jax.jit(function)(x))
    assert y.min() == pytest.approx(least, abs=1e-5)
    assert x[y.argmin()] == pytest.approx(at, abs=5e-3)


def test_steps_at_their_thresholds():
    x = np.array([-0.3, -0.2, 0.0, 0.2, 0.3], np.float32)

    @jax.jit
    def steps(x):
        return (
            nn.binary_step(x, 0.2),
            nn.bipolar_step(x, 0.2),
            nn.three_level_step(x, 0.2),
            nn.binary_step(x, x),
        )

    expected = [0, 0, 0, 1, 1], [-1, -1, -1, 1, 1], [-1, 0, 0, 0, 1], [1, 1, 1, 1, 1]
    np.testing.assert_array_equal(steps(x), expected)


def test_perceptron_with_a_dead_zone():  # 002-D1: bipolar AND, weights (1, 1), bias -1
    x = jnp.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    np.testing.assert_array_equal(nn.three_level_step(x @ jnp.ones(2) - 1, 0.2), [1, -1, -1, -1])


@pytest.mark.parametrize("name", TABLE)
def test_nan_stays_nan(name):
    assert np.isnan(TABLE[name][0](jnp.full(40, jnp.nan, jnp.float32))).all()


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_relu_slope_at_zero(slope):
    assert jax.grad(lambda x: nn.relu(x, slope))(0.0) == slope


def test_default_relu_is_jaxs():
    ours, theirs = (str(jax.make_jaxpr(f)(POINTS)) for f in (nn.relu, jax.nn.relu))
    assert ours == theirs


@pytest.mark.parametrize("name", [*NAMES, "softmax", "log_softmax", "log_sum_exp", "log_sum_exp_plus"])
def test_integers_are_refused(name):
    if name == "identity":
        return
    settings = {"threshold": 0.5} if name == "three_level_step" else {}
    for wrong in (np.arange(3), np.ones(3, bool)):
        with pytest.raises(TypeError, match="x must be floating point"):
            getattr(nn, name)(wrong, **settings)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        pytest.param(lambda: nn.sigmoid(1.0, 0.0), "steepness must be positive", id="steepness"),
        pytest.param(lambda: nn.bipolar_sigmoid(1.0, -1.0), "steepness", id="bipolar-steepness"),
        pytest.param(lambda: nn.softplus(1.0, -2.0), "sharpness", id="sharpness"),
        pytest.param(lambda: nn.relu(1.0, 1.5), "derivative_at_zero", id="relu-slope"),
        pytest.param(lambda: nn.leaky_relu(1.0, -0.1), "negative_slope", id="leaky-slope"),
        pytest.param(lambda: nn.elu(1.0, -0.1), "alpha must be finite and at least 0", id="elu-alpha"),
        pytest.param(lambda: nn.three_level_step(1.0, -0.1), "threshold must be", id="dead-zone"),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call()
