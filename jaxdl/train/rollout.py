"""Learning from an environment: act, then reuse the supervised update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxdl import checks, loops
from jaxdl.train.stepping import average_metrics
from jaxdl.types import Array, Metrics, Step

# (learner, env_state, key) -> (env_state, transitions, metrics)
Collect = Callable[[Any, Any, Array], tuple[Any, Any, Metrics]]


@struct.dataclass
class AgentState:
    """A learner and the world it acts in.

    Attributes:
      learner: `TrainState`, or a state that nests one, such as `TargetState`.
      env_state: the environments' state, any pytree; with replay `(env_state, buffer)`.
      key: root key. Each step uses `fold_in(key, step)`.
      step: number of steps taken, int32[].
    """

    learner: Any
    env_state: Any
    key: Array
    step: Array


def create_agent_state(key: Array, learner: Any, env_state: Any) -> AgentState:
    """Builds a state at step 0. Buffers are copied, so donating it deletes nothing that the caller holds.

    Args:
      key: root of all noise in acting; a typed key, `jax.random.key(seed)`, and not the learner's, which
        would draw the same noise.
      learner: what the update moves.
      env_state: the environments' first state; with replay `(env_state, buffer)`.
    """
    state = AgentState(learner, env_state, key, jnp.zeros((), jnp.int32))
    # Naming the dtype makes Python numbers strongly typed, as a step returns them: else it compiles twice.
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype=jnp.asarray(leaf).dtype, copy=True), state)


def make_on_policy_step(
    collect: Collect,
    update: Callable[[Any, Any], tuple[Any, Metrics]],
    *,
    epochs: int,
    num_minibatches: int = 1,
) -> Step:
    """Returns a step: act with the present policy, then pass over that trajectory `epochs` times.

    Args:
      collect: `(learner, env_state, key) -> (env_state, trajectory, metrics)`; trajectory leaves [N, ...], N
        being time times environments, or sequences. What is computed once for a trajectory, such as
        advantages, belongs here.
      update: `(learner, minibatch) -> (learner, metrics)`, the ordinary update.
      epochs: passes over each trajectory, at least 1: 1 is REINFORCE or A2C, more is PPO.
      num_minibatches: equal parts of a trajectory, each its own update; divides N. Every epoch shuffles anew;
        the whole (1) is not shuffled.

    Returns:
      A step on `AgentState` that ignores its batch: data come from the environment. Metrics are those of
      `collect` and the means of the updates', but `learning_rate` is the last one.

    Raises:
      ValueError: a setting is below 1, or `num_minibatches` does not divide N (at trace time).

    Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017, algorithm 1, arXiv:1707.06347.
    """
    checks.at_least(1, epochs=epochs, num_minibatches=num_minibatches)

    def step(state: AgentState, batch: Any = None) -> tuple[AgentState, Metrics]:
        del batch
        collect_key, shuffle_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        env_state, trajectory, info = collect(state.learner, state.env_state, collect_key)
        if num_minibatches == 1:
            learner, metrics = loops.scan(
                lambda learner, _: update(learner, trajectory), state.learner, length=epochs
            )
        else:
            leaves = jax.tree.leaves_with_path(trajectory)
            checks.same_leading(**{f"trajectory{jax.tree_util.keystr(path)}": leaf for path, leaf in leaves})
            size = leaves[0][1].shape[0]
            checks.divisible(num_minibatches, "num_minibatches", trajectory_length=size)
            orders = jax.vmap(lambda key: jax.random.permutation(key, size))(
                jax.random.split(shuffle_key, epochs)
            )
            learner, metrics = loops.scan(
                lambda learner, rows: update(learner, jax.tree.map(lambda x: x[rows], trajectory)),
                state.learner,
                orders.reshape(epochs * num_minibatches, size // num_minibatches),
            )
        return AgentState(learner, env_state, state.key, state.step + 1), {**average_metrics(metrics), **info}

    return step


def make_replay_step(
    collect: Collect,
    add: Callable[[Any, Any], Any],
    sample: Callable[[Any, Array], Any],
    update: Callable[[Any, Any], tuple[Any, Metrics]],
    *,
    updates_per_step: int = 1,
    warmup: int = 0,
) -> Step:
    """Returns a step: act, write what happened into a buffer, learn from what the buffer gives back.

    Args:
      collect: `(learner, env_state, key) -> (env_state, transitions, metrics)`.
      add: `(buffer, transitions) -> buffer`; the buffer is a pytree of arrays of fixed size.
      sample: `(buffer, key) -> batch`.
      update: `(learner, batch) -> (learner, metrics)`; with `make_target_step` this is DQN.
      updates_per_step: updates after each acting, at least 1.
      warmup: number of first steps that act and write but do not learn. The updates' metrics are 0 in them.

    Returns:
      A step on `AgentState` with `env_state = (env_state, buffer)`, that ignores its batch. Metrics are those
      of `collect` and the means of the updates', but `learning_rate` is the last one.

    Raises:
      ValueError: a setting is out of range.

    Source: Mnih et al., "Human-level control through deep reinforcement learning", 2015, algorithm 1.
    """
    checks.at_least(1, updates_per_step=updates_per_step)
    checks.at_least(0, warmup=warmup)

    def step(state: AgentState, batch: Any = None) -> tuple[AgentState, Metrics]:
        del batch
        collect_key, sample_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        env_state, buffer = state.env_state
        env_state, transitions, info = collect(state.learner, env_state, collect_key)
        buffer = add(buffer, transitions)

        def learn(learner, buffer):
            keys = jax.random.split(sample_key, updates_per_step)
            learner, metrics = loops.scan(
                lambda learner, key: update(learner, sample(buffer, key)), learner, keys
            )
            return learner, average_metrics(metrics)

        def wait(learner, buffer):
            _, metrics = jax.eval_shape(learn, learner, buffer)
            return learner, jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), metrics)

        if warmup:
            learner, metrics = loops.cond(state.step >= warmup, learn, wait, state.learner, buffer)
        else:
            learner, metrics = learn(state.learner, buffer)
        return AgentState(learner, (env_state, buffer), state.key, state.step + 1), {**metrics, **info}

    return step
