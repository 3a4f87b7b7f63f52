"""A copy of the parameters that moves slowly: teachers, target networks, averaged weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxdl import checks
from jaxdl.train.state import TrainState
from jaxdl.types import Metrics, Params


@struct.dataclass
class TargetState:
    """A network that learns and the copy that follows it.

    Attributes:
      online: what the optimizer moves.
      target: the copy, like `online.params`.
    """

    online: TrainState
    target: Params


def create_target_state(online: TrainState) -> TargetState:
    """Starts the target at the online parameters: as a copy, because one buffer cannot be donated twice."""
    return TargetState(online, jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), online.params))


def make_target_step(
    update: Callable[..., tuple[TrainState, Metrics]], step_size: optax.ScalarOrSchedule, *, period: int = 1
) -> Callable[..., tuple[TargetState, Metrics]]:
    """Returns a step: update `online` given `target`, then move `target` towards it.

    target <- step_size online + (1 - step_size) target,  every `period` updates

    A small step size at every update is an exponential moving average with decay 1 - step_size (mean teacher,
    BYOL); step size 1 every few thousand updates is the hard copy of DQN.

    Take this where the objective reads the target; `optim.exponential_moving_average` where averaged parameters
    are only evaluated.

    Args:
      update: `(online, target, *args) -> (online, metrics)`, such as `make_update(backprop(objective), tx)`
        with an objective `(params, model_state, target, batch, key)`. The target is an argument that is not
        differentiated.
      step_size: in (0, 1], or a schedule of `online.step`, which counts from 1 here.
      period: number of updates between two moves of the target, at least 1.

    Returns:
      `step(state, *args) -> (state, metrics)`; with one argument, the batch, it is a finished step.

    Raises:
      ValueError: `step_size` or `period` is out of range.

    Source: Tarvainen & Valpola, "Mean teachers are better role models", 2017, equation 2, arXiv:1703.01780
      (alpha is 1 - step_size); Mnih et al., "Human-level control through deep reinforcement learning", 2015,
      algorithm 1.
    """
    if not callable(step_size):
        checks.positive(step_size=step_size)
        checks.between(0, 1, step_size=step_size)
    checks.at_least(1, period=period)

    def step(state: TargetState, *args: Any) -> tuple[TargetState, Metrics]:
        online, metrics = update(state.online, state.target, *args)
        size = jnp.asarray(step_size(online.step) if callable(step_size) else step_size)
        if period > 1:
            size = jnp.where(online.step % period == 0, size, jnp.zeros_like(size))

        def follow(target, new):
            moved = target + size.astype(target.dtype) * (new - target)
            # Exact at both ends: untouched between moves, and a hard copy to the last bit.
            return jnp.where(size == 0, target, jnp.where(size == 1, new, moved))

        return TargetState(online, jax.tree.map(follow, state.target, online.params)), metrics

    return step
