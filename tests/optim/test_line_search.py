"""Line searches against SciPy's and Optax's, and behind optimizers that were not made for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import _linesearch, rosen, rosen_der

from jaxdl import optim
from jaxdl.search import rosenbrock
from jaxdl.train import TrainState, make_update

# Each program runs once, so it is compiled without what would make it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
jit = functools.partial(jax.jit, compiler_options=QUICK)


def searched(tx, value_fn):
    """(params, direction) -> (step length, found) of one search."""

    def run(x, u):
        value, grad = jax.value_and_grad(value_fn)(x)
        updates, state = tx.update(u, tx.init(x), x, value=value, grad=grad, value_fn=value_fn)
        return updates, state

    return run


def test_wolfe_takes_the_steps_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) * 2
    gradients = np.stack([rosen_der(p) for p in x])
    u = -gradients * 10.0 ** rng.uniform(-5, 0, size=(60, 1))
    u[::3] += rng.normal(size=u[::3].shape) * np.linalg.norm(u[::3], axis=1, keepdims=True) * 0.3
    settings = {"slope_rtol": 1e-4, "curv_rtol": 0.4}
    tx = optim.wolfe_line_search(approx_dec_rtol=0.0, max_linesearch_steps=40, **settings)
    with jax.enable_x64(True):
        updates, state = jit(jax.vmap(searched(tx, rosenbrock)))(jnp.asarray(x), jnp.asarray(u))
    same = 0
    for i in range(60):
        want, calls, *_ = _linesearch.line_search_wolfe2(rosen, rosen_der, x[i], u[i], c1=1e-4, c2=0.4)
        same += np.isclose(state.learning_rate[i], want, rtol=1e-9) and state.evaluations[i] == calls - 1
        rate, slope, end = float(state.learning_rate[i]), gradients[i] @ u[i], x[i] + np.asarray(updates[i])
        assert state.found[i]
        assert rosen(end) <= rosen(x[i]) + 1e-4 * rate * slope
        assert abs(rosen_der(end) @ u[i]) <= 0.4 * abs(slope)
    # In the other six SciPy takes a point next to an end of a bracket, or beyond it: its margin has the sign of
    # high - low, so it excludes nothing where the lower end of the bracket is the farther one.
    assert same == 54


def test_backtracking_takes_the_steps_of_optax():
    ours = optax.chain(optim.gradient_descent(1.0), optim.backtracking_line_search(30))
    theirs = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(30))

    def run(tx, start):
        def body(carry, _):
            x, state = carry
            value, grad = jax.value_and_grad(rosenbrock)(x)
            updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=rosenbrock)
            return (optax.apply_updates(x, updates), state), state[-1].learning_rate

        return jax.lax.scan(body, (start, tx.init(start)), length=20)

    with jax.enable_x64(True):
        start = jnp.array([-1.2, 1.0])
        (got, _), rates = jit(run, static_argnums=0)(ours, start)
        (want, _), their_rates = jit(run, static_argnums=0)(theirs, start)
        np.testing.assert_allclose(rates, their_rates, rtol=1e-12)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        assert len(set(np.asarray(rates))) > 3


@pytest.mark.parametrize(
    "tx", [optim.wolfe_line_search(), optim.backtracking_line_search(60)], ids=["wolfe", "backtracking"]
)
def test_edges_of_the_domain_and_directions_that_climb(tx):
    # From 2 a step of -20 leaves the domain of the logarithm, where the loss is NaN and its slope too.
    run = jit(jax.vmap(searched(tx, lambda x: x - jnp.log(x)), in_axes=(None, 0)))
    updates, state = run(jnp.asarray(2.0), jnp.array([-20.0, -1e3, 0.5, jnp.inf]))
    np.testing.assert_array_equal(state.found, [True, True, False, False])
    ends = 2.0 + np.asarray(updates)
    assert (ends[:2] - np.log(ends[:2]) < 2 - np.log(2)).all()
    np.testing.assert_array_equal(state.learning_rate[2:], 0)
    np.testing.assert_array_equal(updates[2:], 0)


def test_wolfe_bounds_and_first_trials():
    def parabola(x):
        return 50.0 * jnp.sum(jnp.square(x))

    def rate(x, u, **settings):
        _, state = jit(searched(optim.wolfe_line_search(**settings), parabola))(x, u)
        return float(state.learning_rate), bool(state.found)

    x = jnp.array([1.0])
    # The minimum lies at a step of 1000; the longest allowed one is taken, and known not to be flat enough.
    assert rate(x, jnp.array([-0.001]), max_learning_rate=4.0) == (4.0, False)
    # Without a last value, as if the loss had just fallen by half the gradient's length: 1.01 |g| / (g'g).
    got, found = rate(x, jnp.array([-100.0]), initial_guess_strategy="interpolate")
    np.testing.assert_allclose(got, 1.01 / 100, rtol=1e-5)
    assert found
    state = optim.wolfe_line_search().init(x)._replace(learning_rate=jnp.asarray(0.01))
    tx = optim.wolfe_line_search(initial_guess_strategy="keep")
    _, state = tx.update(jnp.array([-100.0]), state, x, value=parabola(x), grad=100 * x, value_fn=parabola)
    np.testing.assert_allclose(state.learning_rate, 0.01)  # exactly the minimum, at the first trial
    assert int(state.evaluations) == 1


def test_backtracking_behind_adam_never_climbs_and_composes_with_optax():
    tx = optax.chain(optim.adam(1.0), optim.backtracking_line_search())
    start = jnp.array([-1.2, 1.0])
    run = jit(lambda x, tx: optim.minimize(rosenbrock, x, tx, tolerance=1e-3), static_argnums=1)
    values = np.asarray(run(start, tx).values)
    assert (np.diff(values) <= 0).all()
    assert values[-1] < values[0] / 5
    # Optax's direction with our search.
    tx = optax.lbfgs(linesearch=optim.wolfe_line_search())
    np.testing.assert_allclose(run(start, tx).params, 1, atol=1e-3)


def test_a_train_step_hands_over_the_loss_and_reports_the_step_length():
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5], np.float32)

    def grad_fn(params, model_state, batch, key):
        loss, grads = jax.value_and_grad(lambda w: jnp.mean(jnp.square(batch[0] @ w - batch[1])))(params)
        return (loss, (model_state, {})), grads

    tx = optim.bfgs()
    update = jit(make_update(grad_fn, tx))
    params = jnp.zeros(3)
    state = TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params), jax.random.key(0))
    for _ in range(12):
        state, metrics = update(state, (x, y))
    np.testing.assert_allclose(state.params, [1, -2, 0.5], atol=1e-4)
    assert metrics["learning_rate"].shape == ()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(
            lambda: optim.wolfe_line_search(0), "max_linesearch_steps must be at least 1", id="steps"
        ),
        pytest.param(lambda: optim.wolfe_line_search(slope_rtol=0.0), "slope_rtol must be positive", id="c1"),
        pytest.param(lambda: optim.wolfe_line_search(slope_rtol=0.5, curv_rtol=0.4), "curv_rtol", id="c1-c2"),
        pytest.param(lambda: optim.wolfe_line_search(curv_rtol=1.5), "curv_rtol must be between", id="c2"),
        pytest.param(lambda: optim.wolfe_line_search(increase_factor=1.0), "above 1, got 1.0", id="growth"),
        pytest.param(
            lambda: optim.wolfe_line_search(initial_guess_strategy="two"), "must be one of", id="guess"
        ),
        pytest.param(lambda: optim.backtracking_line_search(-1), "at least 0", id="backtracking-steps"),
        pytest.param(
            lambda: optim.backtracking_line_search(decrease_factor=1.0), "decrease_factor", id="decrease"
        ),
        pytest.param(
            lambda: optim.backtracking_line_search(increase_factor=0.5), "increase_factor", id="increase"
        ),
        pytest.param(
            lambda: optim.wolfe_line_search().update(jnp.ones(2), None, jnp.ones(2)),
            "value, grad, value_fn missing",
            id="nothing-given",
        ),
    ],
)
def test_bad_settings(make, match):
    with pytest.raises(ValueError, match=match):
        make()
