"""Acting and learning: what is seen, in which order, how often, and that it learns."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.train.gradients import backprop
from jaxdl.train.rollout import create_agent_state, make_on_policy_step, make_replay_step
from jaxdl.train.state import create_train_state
from jaxdl.train.target import create_target_state, make_target_step
from jaxdl.train.update import make_update

REWARDS = jnp.asarray([0.1, 0.8, 0.3])


def pull_arms(learner, env_state, key):
    """64 pulls of a three-armed bandit; a pull pays 1 with the probability in REWARDS."""
    act, pay = jax.random.split(key)
    actions = jax.random.categorical(act, learner.params, shape=(64,))
    rewards = jax.random.bernoulli(pay, REWARDS[actions]).astype(jnp.float32)
    trajectory = {"action": actions, "advantage": rewards - rewards.mean()}
    return env_state + 64, trajectory, {"reward": rewards.mean()}


def reinforce(params, model_state, batch, key):
    log_probability = jax.nn.log_softmax(params)[batch["action"]]
    return -jnp.mean(batch["advantage"] * log_probability), (model_state, {})


@pytest.mark.parametrize(("epochs", "num_minibatches"), [(1, 1), (2, 4)])
def test_policy_gradient_finds_the_best_arm(key, epochs, num_minibatches):
    tx = optax.sgd(1.0)
    learner = create_train_state(key, {"params": jnp.zeros(3)}, tx)
    state = create_agent_state(jax.random.key(1), learner, jnp.zeros((), jnp.int32))
    step = make_on_policy_step(
        pull_arms, make_update(backprop(reinforce), tx), epochs=epochs, num_minibatches=num_minibatches
    )
    step, rewards = jax.jit(step, donate_argnums=0), []
    for _ in range(120):
        state, metrics = step(state)
        rewards.append(float(metrics["reward"]))
    assert rewards[0] < 0.6
    assert np.mean(rewards[-20:]) > 0.73
    assert jnp.argmax(state.learner.params) == 1
    assert state.learner.step == 120 * epochs * num_minibatches
    assert state.env_state == 120 * 64
    assert state.step == 120


def test_each_epoch_sees_every_row_once_in_another_order(key):
    def collect(learner, env_state, key):
        rows = jnp.arange(12)
        return env_state, {"row": rows, "same": rows}, {}

    def record(learner, batch):
        seen, count = learner
        return (seen.at[count].set(batch["row"]), count + 1), {"gap": jnp.sum(batch["row"] - batch["same"])}

    step = make_on_policy_step(collect, record, epochs=3, num_minibatches=4)
    learner = (jnp.full((12, 3), -1), jnp.zeros((), jnp.int32))
    state, metrics = jax.jit(step)(create_agent_state(key, learner, ()))
    seen = np.asarray(state.learner[0]).reshape(3, 12)
    np.testing.assert_array_equal(np.sort(seen, axis=1), [np.arange(12)] * 3)
    assert len({tuple(row) for row in seen} | {tuple(range(12))}) == 4
    assert metrics["gap"] == 0
    again, _ = jax.jit(step)(state.replace(learner=learner))
    assert not np.array_equal(again.learner[0], state.learner[0])


def test_one_epoch_of_the_whole_is_the_ordinary_update(key):
    tx = optax.adam(0.1)
    update = make_update(backprop(reinforce), tx)
    learner = create_train_state(key, {"params": jnp.asarray([0.1, 0.2, 0.3])}, tx)
    after, metrics = make_on_policy_step(pull_arms, update, epochs=1)(create_agent_state(key, learner, 0))
    collect_key, _ = jax.random.split(jax.random.fold_in(key, 0))
    want, want_metrics = update(learner, pull_arms(learner, 0, collect_key)[1])
    chex.assert_trees_all_close(after.learner.params, want.params, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], want_metrics["loss"], rtol=1e-6)


# A walk on states 0..4: right (1) or left (0); stepping right from 4 ends with reward 1 and starts again at
# 0. The best policy goes right: Q(s, right) = 0.9^(4 - s), Q(s, left) = 0.9 max Q(max(s - 1, 0)).
BEST_RIGHT = 0.9 ** (4 - np.arange(5))
BEST_LEFT = 0.9 * BEST_RIGHT[np.maximum(np.arange(5) - 1, 0)]


def walk(learner, position, key):
    """Eight walkers, one step each, at random; Q-learning learns of the best policy from any."""
    action = jax.random.bernoulli(key, 0.6, position.shape).astype(jnp.int32)
    end = (position == 4) & (action == 1)
    after = jnp.clip(position + 2 * action - 1, 0, 4)
    transitions = {"s": position, "a": action, "r": end.astype(jnp.float32), "end": end, "next": after}
    return jnp.where(end, 0, after), transitions, {"ended": end.mean()}


def empty_buffer(capacity=64):
    integers, floats = jnp.zeros(capacity, jnp.int32), jnp.zeros(capacity)
    rows = {"s": integers, "a": integers, "r": floats, "end": integers.astype(bool), "next": integers}
    return {"rows": rows, "count": jnp.zeros((), jnp.int32)}


def add(buffer, transitions):
    size = transitions["s"].shape[0]
    where = (buffer["count"] + jnp.arange(size)) % buffer["rows"]["s"].shape[0]
    rows = jax.tree.map(lambda old, new: old.at[where].set(new), buffer["rows"], transitions)
    return {"rows": rows, "count": buffer["count"] + size}


def sample(buffer, key):
    full = jnp.minimum(buffer["count"], buffer["rows"]["s"].shape[0])
    rows = jax.random.randint(key, (32,), 0, full)
    return jax.tree.map(lambda x: x[rows], buffer["rows"])


def q_learning(params, model_state, target, batch, key):
    bootstrap = jnp.where(batch["end"], 0.0, 0.9 * target[batch["next"]].max(axis=-1))
    error = batch["r"] + bootstrap - params[batch["s"], batch["a"]]
    return jnp.mean(error**2), (model_state, {})


def q_state(key, tx):
    learner = create_target_state(create_train_state(key, {"params": jnp.zeros((5, 2))}, tx))
    return create_agent_state(jax.random.fold_in(key, 1), learner, (jnp.zeros(8, jnp.int32), empty_buffer()))


@pytest.mark.parametrize("warmup", [0, 20])
def test_replayed_q_learning_finds_the_values(key, warmup):
    tx = optax.sgd(2.0)
    update = make_target_step(make_update(backprop(q_learning), tx), 1.0, period=10)
    step = jax.jit(
        make_replay_step(walk, add, sample, update, updates_per_step=2, warmup=warmup), donate_argnums=0
    )
    state = q_state(key, tx)
    for _ in range(600):
        state, metrics = step(state)
    want = np.stack([BEST_LEFT, BEST_RIGHT], axis=-1)
    np.testing.assert_allclose(state.learner.online.params, want, atol=0.02)
    assert state.learner.online.step == 2 * (600 - warmup)
    assert state.env_state[1]["count"] == 8 * 600
    assert {"loss", "ended"} <= set(metrics)


def test_warmup_acts_and_writes_but_does_not_learn(key):
    tx = optax.sgd(0.5)
    update = make_target_step(make_update(backprop(q_learning), tx), 1.0)
    waiting, eager = (
        jax.jit(make_replay_step(walk, add, sample, update, warmup=warmup)) for warmup in (3, 0)
    )
    state = first = q_state(key, tx)
    for i in range(3):
        assert state.step == i
        (position, _), before = state.env_state, state
        state, metrics = waiting(state)
        chex.assert_trees_all_equal(state.learner.online.params, first.learner.online.params)
        assert state.learner.online.step == 0
        assert metrics["loss"] == 0
        assert not np.array_equal(state.env_state[0], position)
        assert state.env_state[1]["count"] == before.env_state[1]["count"] + 8
    state = state.replace(learner=state.learner.replace(target=state.learner.target + 1.0))
    learnt, metrics = waiting(state)
    want, want_metrics = eager(state)
    chex.assert_trees_all_close(learnt.learner.online.params, want.learner.online.params, rtol=1e-6)
    assert metrics["loss"] == want_metrics["loss"] > 0


def test_resume_draws_the_same_world(key):
    tx = optax.sgd(0.5)
    step = make_replay_step(walk, add, sample, make_target_step(make_update(backprop(q_learning), tx), 0.1))
    step, state = jax.jit(step), q_state(key, tx)
    for _ in range(4):
        state, _ = step(state)
        copy = jax.tree.map(jnp.copy, state)
    a, b = step(state)[0], step(copy)[0]
    chex.assert_trees_all_equal((a.env_state, a.learner.target), (b.env_state, b.learner.target))
    assert not np.array_equal(step(a)[0].env_state[0], a.env_state[0])


def test_agents_of_many_seeds_in_one_program(key):
    tx = optax.sgd(0.5)
    update = make_target_step(make_update(backprop(q_learning), tx), 0.1)
    step = make_replay_step(walk, add, sample, update, warmup=1)
    states = jax.vmap(lambda key: q_state(key, tx))(jax.random.split(key, 3))
    single = q_state(jax.random.split(key, 3)[1], tx)
    for _ in range(3):
        states, _ = jax.jit(jax.vmap(step))(states)
        single, _ = jax.jit(step)(single)
    np.testing.assert_allclose(states.learner.online.params[1], single.learner.online.params, rtol=1e-6)
    np.testing.assert_array_equal(states.env_state[0][1], single.env_state[0])


def test_creation_copies_what_the_caller_holds(key):
    position = jnp.zeros(8, jnp.int32)
    tx = optax.sgd(0.5)
    learner = create_target_state(create_train_state(key, {"params": jnp.zeros((5, 2))}, tx))
    step = make_replay_step(walk, add, sample, make_target_step(make_update(backprop(q_learning), tx), 0.1))
    jax.jit(step, donate_argnums=0)(create_agent_state(key, learner, (position, empty_buffer())))
    np.testing.assert_array_equal(position, 0)
    np.testing.assert_array_equal(learner.target, 0)
    jax.random.normal(key)


def test_compiles_once(key):
    chex.clear_trace_counter()
    tx = optax.sgd(0.5)
    update = make_target_step(make_update(backprop(q_learning), tx), 0.1)
    step = jax.jit(chex.assert_max_traces(make_replay_step(walk, add, sample, update, warmup=2), n=1))
    state = q_state(key, tx)
    for _ in range(4):
        state, _ = step(state)


def test_rejects_bad_settings(key):
    for settings, message in [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": 1, "num_minibatches": 0}, "num_minibatches must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_on_policy_step(pull_arms, None, **settings)
    step = make_on_policy_step(pull_arms, None, epochs=1, num_minibatches=5)
    learner = create_train_state(key, {"params": jnp.zeros(3)}, optax.sgd(0.1))
    with pytest.raises(ValueError, match="multiple of num_minibatches, got 64 and 5"):
        step(create_agent_state(key, learner, 0))
    ragged = lambda learner, env, key: (env, {"a": jnp.zeros(4), "b": jnp.zeros(6)}, {})  # noqa: E731
    with pytest.raises(ValueError, match=r"trajectory\['b'\]"):
        make_on_policy_step(ragged, None, epochs=1, num_minibatches=2)(create_agent_state(key, learner, 0))
    for settings, message in [({"updates_per_step": 0}, "updates_per_step"), ({"warmup": -1}, "warmup")]:
        with pytest.raises(ValueError, match=message):
            make_replay_step(walk, add, sample, None, **settings)
