"""Elementwise losses on real values against Optax, PyTorch, float64 and worked numbers."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from jaxdl import losses


def numpy_huber(p, t, delta=1.0):
    r = np.abs(p - t)
    return np.where(r <= delta, r**2 / 2, delta * (r - delta / 2))


# ours, Optax's, the equation, the derivative, PyTorch's name
LOSSES = [
    pytest.param(
        losses.squared_error,
        optax.squared_error,
        lambda p, t: (p - t) ** 2,
        lambda p, t: 2 * (p - t),
        lambda f: f.mse_loss,
        id="squared_error",
    ),
    pytest.param(
        losses.half_squared_error,
        optax.l2_loss,
        lambda p, t: (p - t) ** 2 / 2,
        lambda p, t: p - t,
        lambda f: lambda p, t, reduction: 0.5 * f.mse_loss(p, t, reduction=reduction),
        id="half_squared_error",
    ),
    pytest.param(
        losses.absolute_error,
        lambda p, t: jnp.abs(p - t),
        lambda p, t: np.abs(p - t),
        lambda p, t: np.sign(p - t),
        lambda f: f.l1_loss,
        id="absolute_error",
    ),
    pytest.param(
        losses.huber,
        optax.huber_loss,
        numpy_huber,
        lambda p, t: np.clip(p - t, -1, 1),
        lambda f: f.huber_loss,
        id="huber",
    ),
]
ROWS = pytest.mark.parametrize(("loss", "library", "equation", "derivative", "torch_loss"), LOSSES)


# Compiled quickly rather than well: each program runs once.
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@functools.partial(jax.jit, static_argnums=0, compiler_options=FAST)
def value_and_gradient(loss, p, *rest):
    value, pull = jax.vjp(lambda p: loss(p, *rest), p)
    return value, pull(jnp.ones_like(value))[0]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 3)).astype(np.float32) * 2, rng.normal(size=(7, 3)).astype(np.float32)


@ROWS
def test_values_and_gradients(pair, loss, library, equation, derivative, torch_loss):
    p, t = pair
    value, gradient = value_and_gradient(loss, p, t)
    chex.assert_shape([value, gradient], (7, 3))
    for got, expected in zip((value, gradient), value_and_gradient(library, p, t)):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    p64, t64 = p.astype(np.float64), t.astype(np.float64)
    np.testing.assert_allclose(value, equation(p64, t64), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(gradient, derivative(p64, t64), rtol=1e-6)


@ROWS
def test_matches_torch(pair, loss, library, equation, derivative, torch_loss):
    torch = pytest.importorskip("torch")
    p, t = torch.tensor(pair[0], requires_grad=True), torch.tensor(pair[1])
    value = torch_loss(torch.nn.functional)(p, t, reduction="none")
    value.sum().backward()
    got, gradient = value_and_gradient(loss, *pair)
    np.testing.assert_allclose(got, value.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(gradient, p.grad.numpy(), rtol=1e-6)


@pytest.mark.slow  # the derivatives above are closed forms
@ROWS
def test_numerical_gradient(pair, loss, library, equation, derivative, torch_loss):
    chex.assert_numerical_grads(lambda p, t: loss(p, t).mean(), pair, order=1, atol=2e-3)


@ROWS
def test_masked_values_and_gradients_are_zero_even_for_nan(
    pair, loss, library, equation, derivative, torch_loss
):
    p, t = pair
    where = np.arange(21).reshape(7, 3) % 2 == 0
    p, t = np.where(where, p, np.nan), np.where(where, t, np.inf)
    value, gradients = jax.jit(jax.value_and_grad(lambda p, t: loss(p, t, where).sum(), argnums=(0, 1)))(p, t)
    kept = loss(p[where], t[where])
    np.testing.assert_allclose(value, kept.sum(), rtol=1e-6)
    for gradient in gradients:
        assert (np.asarray(gradient)[~where] == 0).all()
        assert np.isfinite(gradient).all()
    assert (loss(p, t, where=np.zeros_like(where)) == 0).all()


@ROWS
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_extremes_are_finite(loss, library, equation, derivative, torch_loss, dtype):
    p = jnp.array([1e4, -1e4, 0, 1e4], dtype)
    t = jnp.array([-1e4, 1e4, 0, 1e4], dtype)
    value, gradient = value_and_gradient(loss, p, t)
    assert value.dtype == jnp.float32
    assert gradient.dtype == dtype
    chex.assert_tree_all_finite((value, gradient))
    np.testing.assert_allclose(value, equation(np.float64(p), np.float64(t)), rtol=1e-6)


@ROWS
def test_shapes_must_be_equal(loss, library, equation, derivative, torch_loss):
    with pytest.raises(ValueError, match=r"targets must have the shape of predictions, \(5, 1\), got \(5,\)"):
        loss(jnp.ones((5, 1)), jnp.ones(5))
    with pytest.raises(ValueError, match="targets"):
        loss(jnp.ones(5), 1.0)
    with pytest.raises(TypeError, match="predictions must be floating point, got int32"):
        loss(jnp.ones(5, jnp.int32), jnp.ones(5))
    with pytest.raises(ValueError, match=r"where must have shape \(5, 2\), got \(5,\)"):
        loss(jnp.ones((5, 2)), jnp.ones((5, 2)), where=jnp.ones(5, bool))
    with pytest.raises(TypeError, match="where must be bool"):
        loss(jnp.ones(5), jnp.ones(5), where=jnp.ones(5))


@ROWS
def test_integer_targets_and_vmap(pair, loss, library, equation, derivative, torch_loss):
    p, _ = pair
    t = np.arange(21, dtype=np.int32).reshape(7, 3) % 4
    whole = loss(p, t)
    np.testing.assert_allclose(whole, loss(p, t.astype(np.float32)))
    np.testing.assert_array_equal(jax.vmap(loss)(p, t), whole)


@pytest.mark.parametrize(("delta", "expected"), [(1.0, [0.125, 1.5, 2.5]), (2.0, [0.125, 2.0, 4.0])])
def test_huber_worked_numbers(delta, expected):
    """004a-4.1."""
    np.testing.assert_allclose(losses.huber(jnp.array([0.5, 2.0, -3.0]), jnp.zeros(3), delta=delta), expected)


def test_huber_delta_matches_torch_and_is_checked():
    torch = pytest.importorskip("torch")
    p = np.linspace(-4, 4, 33, dtype=np.float32)
    expected = torch.nn.functional.huber_loss(torch.tensor(p), torch.zeros(33), delta=2.5, reduction="none")
    np.testing.assert_allclose(losses.huber(p, np.zeros_like(p), delta=2.5), expected.numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match="delta must be positive and finite, got 0"):
        losses.huber(p, p, delta=0)
    with pytest.raises(
        TypeError, match="where must be bool"
    ):  # a delta in the mask's place is not taken for one
        losses.huber(p, p, 2.5)


def test_printed_squared_errors():
    """001-G14."""
    y, label = jnp.array([0.7, 0.2, 0.1]), jnp.array([1.0, 0, 0])
    np.testing.assert_allclose(losses.squared_error(y, label).mean(), 0.0466667, atol=5e-8)
    np.testing.assert_allclose(losses.half_squared_error(y, label).sum(), 0.07, rtol=1e-6)


def test_broadcast_run_is_impossible():
    """004a-7.12b: y (n,) against predictions (n, 1) trained towards the mean."""
    with pytest.raises(ValueError, match="targets must have the shape of predictions"):
        losses.squared_error(jnp.zeros((1000, 1)), jnp.zeros(1000))


# The losses below are held against float64 transcriptions; see conftest.py for what `agrees` checks.

RNG = np.random.default_rng(3)
P, T = 2 * RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
COUNTS = RNG.integers(0, 6, (4, 3)).astype(np.float64)
POSITIVE = RNG.uniform(0.2, 4, (4, 3))
FAR = np.full((4, 3), 1e4)
ZEROS = np.zeros((4, 3))


SOME = np.arange(12).reshape(4, 3) % 4 > 0


def cosine(p, t, epsilon=0.0):
    return np.array([1 - a @ b / np.sqrt(max(a @ a, epsilon) * max(b @ b, epsilon)) for a, b in zip(p, t)])


TRANSCRIBED = {
    "log_cosh": (
        losses.log_cosh,
        (P, T),
        lambda p, t: np.log(np.cosh(p - t)),
        {"optax": optax.log_cosh, "extremes": [(FAR, -FAR), (-FAR, FAR), (ZEROS, ZEROS)]},
    ),
    "quantile_loss": (
        functools.partial(losses.quantile_loss, quantile=0.9),
        (P, T),
        lambda p, t: np.where(t > p, 0.9 * (t - p), 0.1 * (p - t)),
        {"extremes": [(FAR, -FAR), (ZEROS, ZEROS)]},
    ),
    "mean_squared_logarithmic_error": (
        losses.mean_squared_logarithmic_error,
        (POSITIVE, COUNTS),
        lambda p, t: (np.log(1 + p) - np.log(1 + t)) ** 2,
        {"extremes": [(FAR, ZEROS), (ZEROS, FAR)]},
    ),
    "mean_absolute_percentage_error": (
        losses.mean_absolute_percentage_error,
        (P, POSITIVE),
        lambda p, t: 100 * abs(p - t) / abs(t),
        {"extremes": [(FAR, POSITIVE), (ZEROS, FAR)], "atol": 1e-4},
    ),
    "poisson_nll": (
        losses.poisson_nll,
        (P, COUNTS),
        lambda x, t: np.exp(x) - t * x,
        {
            "which": [0],
            "torch": lambda f, x, t: f.poisson_nll_loss(x, t, reduction="none"),
            "extremes": [(-FAR, COUNTS), (ZEROS, ZEROS), (ZEROS + 80, FAR)],
        },
    ),
    "poisson_nll of a rate": (
        functools.partial(losses.poisson_nll, log_input=False),
        (POSITIVE, COUNTS),
        lambda x, t: x - t * np.log(x),
        {
            "which": [0],
            "torch": lambda f, x, t: f.poisson_nll_loss(x, t, log_input=False, eps=0, reduction="none"),
            "extremes": [(ZEROS, ZEROS), (FAR, COUNTS), (ZEROS, COUNTS)],
        },
    ),
    "poisson_nll full": (
        functools.partial(losses.poisson_nll, full=True),
        (P, COUNTS),
        lambda x, t: -scipy.stats.poisson.logpmf(t, np.exp(x)),
        {"which": [0]},
    ),
    "gaussian_nll": (
        functools.partial(losses.gaussian_nll, full=True),
        (P, T, T[::-1]),
        lambda p, t, s: -scipy.stats.norm.logpdf(t, p, np.exp(s / 2)),
        {
            "torch": lambda f, p, t, s: f.gaussian_nll_loss(p, t, s.exp(), full=True, reduction="none"),
            "extremes": [(FAR, -FAR, ZEROS), (FAR, ZEROS, FAR), (ZEROS, ZEROS, ZEROS - 80)],
        },
    ),
    "cosine_distance": (
        losses.cosine_distance,
        (P, T),
        cosine,
        {
            "optax": optax.cosine_distance,
            "torch": lambda f, p, t: 1 - f.cosine_similarity(p, t),
            "extremes": [(ZEROS, T), (ZEROS, ZEROS), (FAR, -FAR)],
        },
    ),
    "cosine_distance epsilon": (
        functools.partial(losses.cosine_distance, epsilon=2.0),
        (P, T),
        functools.partial(cosine, epsilon=2.0),
        {"optax": functools.partial(optax.cosine_distance, epsilon=2.0), "extremes": [(ZEROS, ZEROS)]},
    ),
    "cosine_distance some coordinates": (
        functools.partial(losses.cosine_distance, where=SOME),
        (P, T),
        lambda p, t: cosine(p * SOME, t * SOME),
        {"maskable": False, "optax": functools.partial(optax.cosine_distance, where=SOME)},
    ),
    "charbonnier": (
        losses.charbonnier,
        (P, T),
        lambda p, t: np.sqrt((p - t) ** 2 + 1e-6),
        {"extremes": [(FAR, -FAR), (ZEROS, ZEROS)]},
    ),
}


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), TRANSCRIBED.values(), ids=TRANSCRIBED)
def test_transcription(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


@pytest.mark.parametrize("quantile", [0.1, 0.75])
def test_quantile_loss_matches_scikit_learn(quantile):
    from sklearn.metrics import mean_pinball_loss

    p, t = np.float32(P).ravel(), np.float32(T).ravel()
    loss = functools.partial(losses.quantile_loss, quantile=quantile)
    np.testing.assert_allclose(np.mean(loss(p, t)), mean_pinball_loss(t, p, alpha=quantile), rtol=1e-6)


def test_percentages():
    """001-G14."""
    percent = losses.mean_absolute_percentage_error(jnp.array([110.0, 180, 400]), jnp.array([100, 200, 400]))
    np.testing.assert_allclose(percent.mean(), 6.6666667, rtol=1e-6)


def test_small_errors_keep_their_digits():
    r = np.array([1e-6, 1e-4, 1e-2, 0.5, 1, 1.5, 30], np.float32)
    exact = np.float64(r)
    exact = np.where(exact < 1e-3, exact**2 / 2, np.log(np.cosh(exact)))
    np.testing.assert_allclose(losses.log_cosh(r, np.zeros_like(r)), exact, rtol=1e-6)
    second = jax.jit(jax.vmap(jax.grad(jax.grad(lambda x: losses.log_cosh(x, jnp.zeros_like(x))))))
    curvature = second(jnp.array([0.0, 0.5, 2.0]))
    np.testing.assert_allclose(curvature, 1 / np.cosh([0, 0.5, 2]) ** 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "p", "t"),
    [
        (losses.poisson_nll, 0.5, -1.0),
        (functools.partial(losses.poisson_nll, log_input=False), -0.5, 1.0),
        (losses.mean_absolute_percentage_error, 0.5, 0.0),
        (losses.mean_squared_logarithmic_error, 0.5, -1.0),
        (losses.mean_squared_logarithmic_error, -1.5, 1.0),
    ],
)
def test_impossible_numbers_give_nan_in_value_and_gradient(loss, p, t):
    value, gradient = value_and_gradient(loss, jnp.array([p, 0.5]), jnp.array([t, 1.0]))
    assert np.isnan([value[0], gradient[0]]).all()
    assert np.isfinite([value[1], gradient[1]]).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.quantile_loss(P, T, quantile=1.5), ValueError, "quantile must be between 0 and 1"),
        (
            lambda: losses.gaussian_nll(P, T, T[0]),
            ValueError,
            "log_variance must have the shape of predictions",
        ),
        (lambda: losses.gaussian_nll(P, T, COUNTS.astype(int)), TypeError, "log_variance must be floating"),
        (lambda: losses.cosine_distance(1.0, 1.0), ValueError, "predictions must have a last axis"),
        (lambda: losses.cosine_distance(P, T, epsilon=-1), ValueError, "epsilon"),
        (
            lambda: losses.cosine_distance(P, T, np.ones(3, bool)),
            ValueError,
            r"\(4,\) or \(4, 3\), got \(3,\)",
        ),
        (lambda: losses.charbonnier(P, T, eps=0), ValueError, "eps must be positive"),
        (lambda: losses.poisson_nll(P, T[:2]), ValueError, "targets must have the shape of log_rates"),
        (lambda: losses.log_cosh(COUNTS.astype(int), T), TypeError, "predictions must be floating point"),
    ],
)
def test_wrong_settings_shapes_and_dtypes(call, error, message):
    with pytest.raises(error, match=message):
        call()
