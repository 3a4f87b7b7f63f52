"""Elementwise losses on real values against Optax, PyTorch, float64 and worked numbers."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradient(loss, p, t):
    value, pull = jax.vjp(lambda p: loss(p, t), p)
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
