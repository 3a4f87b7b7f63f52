"""The loop around an optimizer: worked numbers, stopping, trajectories, many starts at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from jaxdl import optim
from jaxdl.search import himmelblau

# Each program runs once, so it is compiled without what would make it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
jit = functools.partial(jax.jit, compiler_options=QUICK)


def test_golden_001_G2_gradient_descent_on_one_weight():
    with jax.enable_x64(True):
        end = optim.minimize(
            lambda w: 0.5 * (6 - 2 * w) ** 2, jnp.asarray(5.0), optim.gradient_descent(0.1), max_iterations=7
        )
        want = [5, 4.2, 3.72, 3.432, 3.2592, 3.15552, 3.093312, 3.0559872]
        np.testing.assert_allclose(end.trajectory, want, rtol=1e-14)
        losses = [8, 2.88, 1.0368, 0.373248, 0.13436928, 0.0483729408]
        np.testing.assert_allclose(end.values[:6], losses, rtol=1e-12)
        assert int(end.iterations) == 7
        assert not end.converged


def test_golden_004a_7_6_the_tolerance_is_not_reached():
    with jax.enable_x64(True):

        @jit
        def run(rate):
            tx = optim.gradient_descent(rate)
            return optim.minimize(jnp.square, jnp.asarray(5.0), tx, max_iterations=50, step_tolerance=1e-6)

        end = run(0.1)
        np.testing.assert_allclose(end.params, 7.136238463529802e-05, rtol=1e-13)
        assert int(end.iterations) == 50
        assert not end.converged
        # It converges where 0 < lr < 1: the factor per step is 1 - 2 lr. At one half the first step ends it.
        assert abs(run(0.99).params) < 5 < abs(run(1.01).params)
        end = run(0.5)
        assert int(end.iterations) == 1
        assert end.converged


@functools.cache
def descend(tolerance=0.05, step_tolerance=0.0):
    tx = optim.adam(0.1)
    return jit(
        lambda x: optim.minimize(
            himmelblau, x, tx, max_iterations=400, tolerance=tolerance, step_tolerance=step_tolerance
        )
    )


def test_many_starts_are_the_same_as_one_at_a_time_and_as_optax_by_hand():
    starts = jnp.array([[0.0, 0.0], [-3.0, 3.0], [-3.0, -3.0], [3.0, -2.0]])
    together = jax.vmap(descend())(starts)
    minima = [(3, 2), (-2.805118, 3.131312), (-3.779310, -3.283186), (3.584428, -1.848126)]
    np.testing.assert_allclose(together.params, minima, atol=0.01)
    assert together.converged.all()
    assert len(set(together.iterations.tolist())) == 3
    alone = [descend()(start) for start in starts]
    for i, end in enumerate(alone):
        assert int(end.iterations) == int(together.iterations[i])
        np.testing.assert_allclose(end.trajectory, together.trajectory[i], atol=1e-4)
    # SciPy's gradients and Optax's Adam, step by step.
    end, tx = alone[1], optax.adam(0.1)
    x, state = np.array(starts[1]), tx.init(starts[1])
    for step in range(int(end.iterations)):
        np.testing.assert_allclose(end.trajectory[step], x, atol=1e-4)
        np.testing.assert_allclose(end.values[step], himmelblau(x), atol=1e-3)
        a, b = x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7
        gradient = np.array([4 * x[0] * a + 2 * b, 2 * a + 4 * x[1] * b], np.float32)
        assert np.abs(gradient).max() >= 0.05
        updates, state = tx.update(gradient, state)
        x = x + np.asarray(updates)
    np.testing.assert_allclose(end.params, x, atol=1e-4)
    assert end.grad_norm < 0.05
    # Behind the end the trajectory stays there.
    np.testing.assert_array_equal(
        end.trajectory[int(end.iterations) :], np.tile(end.params, (401 - step - 1, 1))
    )
    assert (end.values[int(end.iterations) :] == end.value).all()


def test_a_start_at_the_minimum_and_the_two_tolerances():
    end = descend()(jnp.array([3.0, 2.0]))
    assert int(end.iterations) == 0
    assert end.converged
    np.testing.assert_array_equal(end.params, [3, 2])
    end = descend(tolerance=0.0, step_tolerance=0.01)(jnp.array([0.0, 0.0]))
    steps = np.abs(np.diff(end.trajectory, axis=0)).max(axis=1)[: int(end.iterations)]
    assert end.converged
    assert (steps[:-1] >= 0.01 - 1e-6).all()
    assert steps[-1] < 0.01


def test_without_a_trajectory_and_with_pieces_of_parameters():
    def loss(p):
        return jnp.sum(jnp.square(p["w"] - 1)) + jnp.square(p["b"])

    start = {"w": jnp.zeros((2, 2)), "b": jnp.asarray(3.0)}
    end = jit(
        lambda p: optim.minimize(
            loss, p, optim.gradient_descent(0.25), max_iterations=9, keep_trajectory=False
        )
    )(start)
    assert end.trajectory is None
    np.testing.assert_allclose(end.params["w"], 1 - 0.5**9, rtol=1e-6)
    np.testing.assert_allclose(end.values, 0.25 ** np.arange(10) * 13, rtol=1e-5)
    kept = jax.eval_shape(lambda p: optim.minimize(loss, p, optim.adam(0.1), max_iterations=9), start)
    assert kept.trajectory["w"].shape == (10, 2, 2)
    assert kept.trajectory["b"].shape == (10,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tx",
    [
        pytest.param(optim.gradient_descent(0.01), id="gradient_descent"),
        pytest.param(optim.momentum(0.005), id="momentum"),
        pytest.param(optim.nesterov(0.005), id="nesterov"),
        pytest.param(optim.adagrad(0.5), id="adagrad"),
        pytest.param(optim.adamw(0.05, weight_decay=0.0), id="adamw"),
        pytest.param(optax.sgd(0.01), id="optax-sgd"),
        pytest.param(optax.lbfgs(), id="optax-lbfgs"),
        pytest.param(optax.chain(optim.clip_by_global_norm(1.0), optim.adam(0.05)), id="chain"),
        pytest.param(optax.inject_hyperparams(optax.adam)(learning_rate=0.05), id="injected"),
    ],
)
def test_drives_every_kind_of_optimizer(tx):
    end = optim.minimize(himmelblau, jnp.array([1.0, 1.0]), tx, max_iterations=1000, tolerance=1e-2)
    want = scipy.optimize.minimize(himmelblau, [1.0, 1.0], method="Nelder-Mead").x
    np.testing.assert_allclose(end.params, want, atol=1e-3)
    assert end.converged


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        pytest.param(ValueError, "max_iterations must be at least 1", {"max_iterations": 0}, id="iterations"),
        pytest.param(
            ValueError, "tolerance must be finite and at least 0", {"tolerance": -1.0}, id="tolerance"
        ),
        pytest.param(ValueError, "step_tolerance", {"step_tolerance": float("nan")}, id="step-tolerance"),
        pytest.param(ValueError, "value must have shape", {"value_fn": lambda x: x}, id="not-one-number"),
        pytest.param(TypeError, "params must be floating", {"params": jnp.ones(2, jnp.int32)}, id="integers"),
    ],
)
def test_bad_input(error, match, call):
    given = {"value_fn": himmelblau, "params": jnp.ones(2), "tx": optim.adam(0.1)} | call
    with pytest.raises(error, match=match):
        optim.minimize(**given)
