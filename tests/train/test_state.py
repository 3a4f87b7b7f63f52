"""The state of one network: arrays only, and no alias of what the caller holds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import train


def test_fields_and_step_zero():
    variables = {"params": {"w": jnp.ones(3)}, "batch_stats": {"mean": jnp.zeros(2)}}
    state = train.create_train_state(jax.random.key(7), variables, optax.adam(0.1))
    assert isinstance(state, train.TrainState)
    assert int(state.step) == 0
    assert state.step.dtype == jnp.int32
    assert set(state.model_state) == {"batch_stats"}
    np.testing.assert_array_equal(jax.random.key_data(state.key), jax.random.key_data(jax.random.key(7)))
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, optax.adam(0.1).init(variables["params"]))


def test_donating_it_leaves_the_callers_arrays_alone():
    params, key = {"w": jnp.ones(3)}, jax.random.key(0)
    state = train.create_train_state(key, {"params": params}, optax.sgd(0.1, momentum=0.9))
    jax.jit(lambda s: jax.tree.map(lambda x: x, s), donate_argnums=0)(state)
    np.testing.assert_array_equal(params["w"], np.ones(3))
    jax.random.normal(key)


def test_two_states_of_equal_nets_share_one_program():
    """Functions are in closures, not in the state, so a fresh optimizer does not compile the step again."""
    traces = []

    @jax.jit
    def step(state):
        traces.append(1)
        return state.replace(step=state.step + 1)

    for _ in range(2):
        step(train.create_train_state(jax.random.key(0), {"params": {"w": jnp.ones(3)}}, optax.adam(1e-3)))
    step(
        train.create_train_state(
            jax.random.key(0), {"params": {"w": jnp.asarray([1.0, 2.0, 3.0])}}, optax.adam(1e-3)
        )
    )
    assert len(traces) == 1


def test_weak_types_are_made_strong():
    state = train.create_train_state(jax.random.key(0), {"params": {"w": jnp.asarray(0.5)}}, optax.sgd(0.1))
    assert not any(jax.typeof(leaf).weak_type for leaf in jax.tree.leaves(state))


def test_variables_without_params():
    with pytest.raises(ValueError, match=r'must have a key "params", got \[.batch_stats.\]'):
        train.create_train_state(jax.random.key(0), {"batch_stats": {}}, optax.sgd(0.1))
