"""The slow copy: how it moves, that it is not differentiated, and that learning with it works."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.train.gradients import backprop
from jaxdl.train.state import create_train_state
from jaxdl.train.target import TargetState, create_target_state, make_target_step
from jaxdl.train.update import make_update


def follow_data(params, model_state, target, batch, key):
    """Pulls the parameters to the batch's mean and to the target."""
    del key
    loss = jnp.sum((params["w"] - batch.mean(axis=0)) ** 2) + 0.1 * jnp.sum((params["w"] - target["w"]) ** 2)
    return loss, (model_state, {"target": target["w"].sum()})


def start(key, tx):
    return create_target_state(create_train_state(key, {"params": {"w": jnp.asarray([1.0, -1.0])}}, tx))


def run(step, state, num_steps=7):
    trace = [state]
    for i in range(num_steps):
        state, _ = step(state, jnp.full((4, 2), float(i)))
        trace.append(state)
    return trace


@pytest.mark.parametrize(
    ("step_size", "period"),
    [(0.1, 1), (1.0, 1), (1.0, 3), (0.5, 2)],
    ids=["average", "follow", "hard copy", "soft copy"],
)
def test_target_equals_the_loop(key, step_size, period):
    tx = optax.sgd(0.1)
    step = make_target_step(make_update(backprop(follow_data), tx), step_size, period=period)
    trace = run(jax.jit(step), start(key, tx))
    want = np.asarray(trace[0].target["w"])
    for i, state in enumerate(trace[1:], start=1):
        if i % period == 0:
            want = (1 - step_size) * want + step_size * np.asarray(state.online.params["w"])
        np.testing.assert_allclose(state.target["w"], want, rtol=1e-5, atol=1e-6)
        if step_size == 1 and i % period == 0:
            chex.assert_trees_all_equal(state.target, state.online.params)
        elif period > 1 and i % period:
            chex.assert_trees_all_equal(state.target, trace[i - 1].target)


def test_step_size_may_be_a_schedule(key):
    tx, schedule = optax.sgd(0.1), optax.cosine_decay_schedule(0.5, 6)
    trace = run(jax.jit(make_target_step(make_update(backprop(follow_data), tx), schedule)), start(key, tx))
    want = np.asarray(trace[0].target["w"])
    for i, state in enumerate(trace[1:], start=1):
        size = 0.25 * (1 + np.cos(np.pi * min(i, 6) / 6))
        want = (1 - size) * want + size * np.asarray(state.online.params["w"])
        np.testing.assert_allclose(state.target["w"], want, rtol=1e-5, atol=1e-6)


def test_target_is_read_but_not_differentiated(key):
    tx = optax.sgd(0.1)
    update, state = make_update(backprop(follow_data), tx), start(key, tx)
    batch = jnp.zeros((4, 2))
    after, metrics = make_target_step(update, 1e-3)(state, batch)
    want, _ = update(state.online, state.target, batch)
    chex.assert_trees_all_close(after.online.params, want.params, rtol=1e-6)
    # The whole gradient with respect to the target would have been nonzero.
    other = TargetState(state.online, {"w": state.target["w"] + 1})
    assert (
        make_target_step(update, 1e-3)(other, batch)[0].online.params["w"][0] != after.online.params["w"][0]
    )
    moved = jax.tree.map(lambda t, p: t + 1e-3 * (p - t), state.target, after.online.params)
    chex.assert_trees_all_close(after.target, moved, rtol=1e-6)
    assert "target" in metrics


@pytest.mark.parametrize("step_size", [0.1, 1.0])
def test_donation_meets_no_alias(key, step_size):
    """A target that were the online parameters, and not a copy, could not be donated."""
    tx = optax.sgd(0.1)
    step = make_target_step(make_update(backprop(follow_data), tx), step_size)
    state = start(key, tx)
    assert state.target["w"].unsafe_buffer_pointer() != state.online.params["w"].unsafe_buffer_pointer()
    trace = jax.jit(step, donate_argnums=0)
    for _ in range(3):
        state, _ = trace(state, jnp.zeros((4, 2)))
    assert state.online.step == 3


def test_keeps_dtypes_and_compiles_once(key):
    chex.clear_trace_counter()
    tx = optax.sgd(0.1)
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    state = create_target_state(create_train_state(key, {"params": params}, tx))
    step = make_target_step(make_update(backprop(follow_data), tx), optax.constant_schedule(0.1), period=2)
    step = jax.jit(chex.assert_max_traces(step, n=1))
    for _ in range(3):
        after, _ = step(state, jnp.zeros((4, 2), jnp.bfloat16))
        chex.assert_trees_all_equal_shapes_and_dtypes(after.target, state.target)
        state = after


@pytest.mark.parametrize(("step_size", "period"), [(1.0, 20), (0.05, 1)], ids=["hard copy", "average"])
def test_learns_the_values_of_a_chain(key, step_size, period):
    """TD(0) on a walk 0 -> 1 -> ... -> 4 -> end with reward 1 at the end: V(s) = 0.9^(4 - s)."""

    def td(params, model_state, target, batch, key):
        bootstrap = jnp.where(batch["end"], 0.0, 0.9 * target[jnp.minimum(batch["s"] + 1, 4)])
        error = batch["end"] + bootstrap - params[batch["s"]]
        return jnp.mean(error**2), (model_state, {})

    tx = optax.sgd(0.5)
    states = jnp.arange(5)
    batch = {"s": states, "end": states == 4}
    state = create_target_state(create_train_state(key, {"params": jnp.zeros(5)}, tx))
    step = jax.jit(make_target_step(make_update(backprop(td), tx), step_size, period=period))
    for _ in range(400):
        state, _ = step(state, batch)
    np.testing.assert_allclose(state.online.params, 0.9 ** (4 - np.arange(5)), atol=1e-3)
    np.testing.assert_allclose(state.target, 0.9 ** (4 - np.arange(5)), atol=2e-3)


@pytest.mark.parametrize(
    ("step_size", "period", "message"),
    [(0, 1, "step_size"), (1.5, 1, "step_size"), (-0.1, 1, "step_size"), (0.5, 0, "period")],
)
def test_rejects_bad_settings(step_size, period, message):
    with pytest.raises(ValueError, match=message):
        make_target_step(lambda *args: args, step_size, period=period)
