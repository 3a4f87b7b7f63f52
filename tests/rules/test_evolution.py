"""Gradients by random steps: exact slopes, means within their standard errors, smoothed steps in closed form."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxdl import optim, rules, train

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
A = RNG.normal(size=(5, 5))
A = A @ A.T
POINT = {"a": RNG.normal(size=(2, 2)), "b": RNG.normal()}
SLOPE = RNG.normal(size=5)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def vector(params):
    return jnp.concatenate([jnp.ravel(params["a"]), jnp.ravel(params["b"])])


def tree(vector):
    return {"a": vector[:4].reshape(2, 2), "b": vector[4]}


def objective(function):
    def fn(params, model_state, key):
        del key
        return function(vector(params)), (model_state, {})

    return fn


def linear(slope):
    return objective(lambda x: x @ slope)


def quadratic(x):
    return x @ A @ x / 2 + x @ SLOPE


def estimate(objective, key=KEY, **settings):
    params = jax.tree.map(jnp.asarray, POINT)
    return vector(rules.evolution_gradient(objective, **settings)(params, {}, key)[1])


def test_slopes_are_exact_for_linear_and_quadratic_losses(x64):
    """Every estimate is P g with one P for one key, P = (1/n) sum of e e^T, whatever sigma and the curvature."""
    projection = jnp.stack(
        [estimate(linear(jnp.eye(5)[i]), sigma=0.1, num_directions=3) for i in range(5)], axis=1
    )
    assert np.linalg.matrix_rank(projection) == 3
    np.testing.assert_allclose(projection, projection.T, atol=1e-12)
    assert np.linalg.eigvalsh(projection).min() > -1e-12
    x = vector(jax.tree.map(jnp.asarray, POINT))
    for sigma in (1e-3, 0.3, 20.0):
        settings = {"sigma": sigma, "num_directions": 3}
        np.testing.assert_allclose(estimate(linear(SLOPE), **settings), projection @ SLOPE, rtol=1e-8)
        want = projection @ (A @ x + SLOPE)
        np.testing.assert_allclose(estimate(objective(quadratic), **settings), want, rtol=1e-8)


def scores(estimates, want):
    """Of the mean of independent estimates from what it should be, in standard errors."""
    estimates = np.asarray(estimates, np.float64)
    return np.abs((estimates.mean(axis=0) - want) / (estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))))


@pytest.mark.parametrize("num_directions", [1, 8])
def test_unbiased_for_a_quadratic_with_the_variance_of_theory(num_directions):
    keys = jax.random.split(jax.random.key(1), 4000)
    values = jax.jit(
        jax.vmap(lambda key: estimate(objective(quadratic), key, sigma=0.5, num_directions=num_directions))
    )(keys)
    want = A @ np.concatenate([POINT["a"].ravel(), [POINT["b"]]]) + SLOPE
    assert scores(values, want).max() < 4.0
    # E |P g - g|^2 = |g|^2 (D + 1) / n
    squares = np.square(np.asarray(values) - want).sum(axis=1)
    error = squares.std() / np.sqrt(len(squares))
    assert abs(squares.mean() - 6 * want @ want / num_directions) < 4.0 * error


def test_estimates_the_gradient_of_the_smoothed_loss():
    """A step, whose own gradient is 0: E[1(x + sigma e > 0)] is Phi(x / sigma), its slope phi(x / sigma) / sigma."""

    def step(params, model_state, key):
        del key
        return jnp.mean(jnp.where(params > 0, 1.0, 0.0)), (model_state, {})

    points = jnp.array([-0.4, 0.0, 0.1, 0.7])
    rule = rules.evolution_gradient(step, sigma=0.3, num_directions=4)
    values = jax.jit(jax.vmap(lambda key: rule(points, {}, key)[1]))(jax.random.split(KEY, 5000))
    assert scores(values, norm.pdf(points / 0.3) / 0.3 / 4).max() < 4.0
    np.testing.assert_array_equal(train.backprop(step)(points, {}, KEY)[1], 0)


def test_loss_state_and_metrics_are_of_the_parameters_themselves():
    """And all evaluations see one batch, one state and one noise: here a difference would swamp the slope."""

    def noisy(params, model_state, batch, key):
        noise = 1e4 * jax.random.normal(key, ())
        loss = jnp.sum(params * batch) + noise + 1e3 * model_state["offset"]
        return loss, ({"offset": model_state["offset"] + 1}, {"noise": noise})

    params, batch = jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0])
    rule = rules.evolution_gradient(noisy, sigma=1.0, num_directions=2000)
    (loss, (state, metrics)), grads = jax.jit(rule)(params, {"offset": jnp.float32(1)}, batch, KEY)
    np.testing.assert_allclose(loss, 1.0 + metrics["noise"] + 1e3, rtol=1e-6)
    assert state["offset"] == 2
    np.testing.assert_allclose(grads, batch, atol=0.4)
    assert grads.dtype == jnp.float32


def test_learns_by_counting_mistakes():
    """The share of rows on the wrong side of a line, whose gradient is 0 everywhere; eight random starts at once."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    net = x @ [2.0, -1.0] + 0.5
    x, y = jnp.asarray(x[abs(net) > 0.2], jnp.float32), jnp.asarray(net[abs(net) > 0.2] > 0)

    def mistakes(params, model_state, key):
        del key
        return jnp.mean((x @ params["w"] + params["b"] > 0) != y, dtype=jnp.float32), (model_state, {})

    tx = optim.adam(0.05)
    update = train.make_update(rules.evolution_gradient(mistakes, sigma=0.2, num_directions=16), tx)

    def learn(key):
        params = {"w": jax.random.normal(key, (2,)), "b": jnp.zeros(())}
        state = train.create_train_state(key, {"params": params}, tx)
        return jax.lax.scan(lambda state, _: update(state), state, length=200)[1]["loss"]

    shares = np.asarray(jax.jit(jax.vmap(learn))(jax.random.split(KEY, 8)))
    assert shares[:, 0].max() > 0.4
    assert shares[:, -20:].min(axis=1).max() <= 0.02


def test_dtypes_of_the_parameters_are_kept():
    params = {"a": jnp.ones((2, 2), jnp.bfloat16), "b": jnp.ones(())}
    rule = rules.evolution_gradient(linear(jnp.ones(5)), num_directions=4)
    (_, _), grads = rule(params, {}, KEY)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: estimate(linear(1), sigma=0.0), ValueError, "sigma must be positive and finite, got 0.0"),
        (
            lambda: estimate(linear(1), sigma=float("nan")),
            ValueError,
            "sigma must be positive and finite, got nan",
        ),
        (
            lambda: estimate(linear(1), num_directions=0),
            ValueError,
            "num_directions must be at least 1, got 0",
        ),
        (
            lambda: rules.evolution_gradient(linear(1))({}, {}, KEY),
            ValueError,
            "params must hold at least one array, got {}",
        ),
        (
            lambda: rules.evolution_gradient(linear(1))(
                {"layer": {"count": jnp.zeros(2, jnp.int32)}}, {}, KEY
            ),
            TypeError,
            "layer/count must be floating point, got int32",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
