"""Softmax, log-softmax and log-sum-exp over axes: published values, SciPy, gradients of PyTorch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxdl import nn


def test_softmax_values():  # 002-7As
    x = np.array([1.0, 2.0, 3.0], np.float32)
    softmax, log_softmax, *sums = jax.jit(
        lambda x: (nn.softmax(x), nn.log_softmax(x), nn.log_sum_exp(x), nn.log_sum_exp_plus(x))
    )(x)
    np.testing.assert_allclose(softmax, [0.0900306, 0.2447285, 0.6652410], atol=1e-7)
    np.testing.assert_allclose(log_softmax, x - 3.4076060, atol=1e-6)
    np.testing.assert_allclose(sums, [3.4076060, 3.4401897], rtol=1e-6)


def test_softmax_jacobians():
    x = np.array([0.3, -1.2, 2.0, 0.1], np.float32)
    functions = (nn.softmax, nn.log_softmax, nn.log_sum_exp)
    p, jacobian, of_logs, of_sum = jax.jit(
        lambda x: [nn.softmax(x), *(jax.jacobian(f)(x) for f in functions)]
    )(x)
    np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), atol=1e-6)
    np.testing.assert_allclose(of_logs, np.eye(4) - np.asarray(p)[None], atol=1e-6)
    np.testing.assert_allclose(of_sum, p, atol=1e-6)  # 002-G38


def with_a_zero_more(x, axis):
    axes = axis if isinstance(axis, tuple) else (axis,)
    flat = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(*(np.delete(x.shape, axes)), -1)
    return special.logsumexp(np.insert(flat, 0, 0, axis=-1), axis=-1)


OVER_AXES = {
    "softmax": (nn.softmax, special.softmax),
    "log_softmax": (nn.log_softmax, special.log_softmax),
    "log_sum_exp": (nn.log_sum_exp, special.logsumexp),
    "log_sum_exp_plus": (nn.log_sum_exp_plus, with_a_zero_more),
}
ROWS = np.random.default_rng(0).normal(scale=3, size=(3, 4)).astype(np.float32)
ROWS[0] = [-1e4, 0, 1e4, 1e4]
AXES = (-1, 0, (0, 1))
WEIGHTS = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


def weights_like(y):
    return WEIGHTS.ravel()[: int(np.prod(y.shape))].reshape(tuple(y.shape))


@pytest.fixture(scope="module")
def over_axes():
    """name, axis -> (values, gradient of their weighted sum); for the last axis also by vmap and in bfloat16."""

    def everything(x):
        def row(f, axis):
            values, pullback = jax.vjp(lambda x: f(x, axis), x)
            gradient = pullback(jnp.asarray(weights_like(values)))[0]
            if axis != -1:
                return values, gradient
            return values, gradient, jax.vmap(f)(x), f(x.astype(jnp.bfloat16))

        return [row(OVER_AXES[name][0], axis) for name, axis in itertools.product(OVER_AXES, AXES)]

    return dict(zip(itertools.product(OVER_AXES, AXES), jax.jit(everything)(ROWS)))


@pytest.mark.parametrize("name", OVER_AXES)
def test_softmax_family_matches_scipy(name, over_axes):
    ours, theirs = OVER_AXES[name]
    for axis in AXES:
        expected = theirs(ROWS.astype(np.float64), axis)
        np.testing.assert_allclose(over_axes[name, axis][0], expected, rtol=2e-6, atol=1e-6)
    values, _, mapped, half = over_axes[name, -1]
    np.testing.assert_allclose(mapped, values, rtol=1e-6)
    np.testing.assert_allclose(ours(jnp.asarray(ROWS)), values, rtol=1e-6)
    rounded = theirs(ROWS.astype(jnp.bfloat16).astype(np.float64), -1)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), rounded, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", OVER_AXES)
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_softmax_family_gradients_match_torch(name, axis, over_axes):
    torch = pytest.importorskip("torch")
    there = torch.tensor(ROWS.astype(np.float64), requires_grad=True)
    if name.startswith("log_sum_exp"):
        y = torch.logsumexp(there, axis)
        y = torch.nn.functional.softplus(y) if name.endswith("plus") else y
    else:
        x = there.reshape(1, 12) if axis == (0, 1) else there
        y = getattr(torch, name)(x, -1 if axis == (0, 1) else axis).reshape(3, 4)
    (y * torch.tensor(weights_like(y).astype(np.float64))).sum().backward()
    np.testing.assert_allclose(over_axes[name, axis][1], there.grad.numpy(), rtol=1e-5, atol=2e-6)


def test_log_sum_exp_keeps_axes_and_is_softplus_for_one():
    x = jnp.array([[0.7], [-1e4], [1e4]])
    got, one, softplus = jax.jit(
        lambda x: (
            nn.log_sum_exp_plus(x, keepdims=True),
            nn.log_sum_exp(x, (0, 1), keepdims=True),
            nn.softplus(x),
        )
    )(x)
    np.testing.assert_allclose(got, softplus, rtol=1e-6)
    np.testing.assert_allclose(one, [[1e4]])


def test_log_sum_exp_of_nothing():
    x = jnp.array([[-jnp.inf, -jnp.inf], [-jnp.inf, 0.5]])

    @jax.jit
    def both(x):
        pairs = [jax.vjp(f, x) for f in (nn.log_sum_exp, nn.log_sum_exp_plus)]
        return [(y, pullback(jnp.ones(2))[0]) for y, pullback in pairs]

    (plain, slope), (plus, slope_plus) = both(x)
    np.testing.assert_allclose(plain, [-np.inf, 0.5])
    np.testing.assert_allclose(slope, [[0, 0], [0, 1]])
    np.testing.assert_allclose(plus, [0, np.log1p(np.exp(0.5))], rtol=1e-6)
    np.testing.assert_allclose(slope_plus, [[0, 0], [0, special.expit(0.5)]], rtol=1e-6)
