"""A learning rate that waits for the loss instead of the clock."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.types import Array


class ReduceOnPlateauState(NamedTuple):
    scale: Array  # float32[], what updates are multiplied by
    best_value: Array  # float32[], the lowest mean value so far
    plateau_count: Array  # int32[], means in a row without improvement
    cooldown_count: Array  # int32[], means until plateaus count again
    count: Array  # int32[], values in the current mean
    avg_value: Array  # float32[], mean of those values


def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    accumulation_size: int = 1,
    min_scale: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Shrinks the steps whenever the loss has not improved for a while; the last link of a chain.

    u <- scale u,  scale_0 = 1
    scale <- max(factor scale, min_scale) after `patience` values in a row that were not below
    (1 - rtol) best - atol; then `cooldown` values are not counted

    `update` takes the loss as the extra argument `value`, which `train.make_update` passes. That is the loss of one
    batch: set `accumulation_size` to the batches of an epoch, so that means over epochs are compared. For a
    validation loss, call `update` with it.

        tx = optax.chain(optim.adam(1e-3), optim.reduce_on_plateau(accumulation_size=steps_per_epoch))

    The `learning_rate` of a step's metrics is that of the optimizer in front; times `scale`, in the state
    (`optax.tree.get(opt_state, "scale")`), it is the one in force.

    Args:
      factor: in (0, 1).
      patience: values without improvement before a reduction, >= 1.
      rtol: improvement that counts, as a share of the best value, in [0, 1].
      atol: improvement that counts, in units of the value, >= 0; rtol and atol are not both 0.
      cooldown: >= 0.
      accumulation_size: values per mean, >= 1.
      min_scale: in [0, 1].

    Raises:
      ValueError: a setting is out of its range; `update` was called without a value.

    Same rule as `optax.contrib.reduce_on_plateau`.
    Differs from PyTorch's `ReduceLROnPlateau`, whose patience p is p + 1 here: it waits for one value more.
    """
    checks.positive(factor=factor)
    checks.decay(factor=factor)
    checks.at_least(1, patience=patience, accumulation_size=accumulation_size)
    checks.at_least(0, cooldown=cooldown)
    checks.non_negative(atol=atol)
    checks.between(0, 1, rtol=rtol, min_scale=min_scale)
    checks.positive(**{"rtol + atol": rtol + atol})

    def init_fn(params):
        del params
        zero = jnp.zeros((), jnp.int32)
        return ReduceOnPlateauState(
            jnp.ones((), jnp.float32),
            jnp.full((), jnp.inf, jnp.float32),
            zero,
            jnp.zeros_like(zero),
            jnp.zeros_like(zero),
            jnp.zeros((), jnp.float32),
        )

    def judged(state: ReduceOnPlateauState) -> ReduceOnPlateauState:
        improved = state.avg_value < (1 - rtol) * state.best_value - atol
        cooling = state.cooldown_count > 0
        plateau = jnp.where(improved | cooling, 0, state.plateau_count + 1)
        reduce = plateau >= patience
        return ReduceOnPlateauState(
            jnp.where(reduce, jnp.maximum(state.scale * factor, min_scale), state.scale),
            jnp.where(improved, state.avg_value, state.best_value),
            jnp.where(reduce, 0, plateau),
            jnp.where(reduce, cooldown, jnp.maximum(state.cooldown_count - 1, 0)),
            jnp.zeros_like(state.count),
            jnp.zeros_like(state.avg_value),
        )

    def update_fn(updates, state, params=None, *, value=None, **extra_args):
        del params, extra_args
        if value is None:
            raise ValueError("value, the loss, must be given to update: update(updates, state, value=loss)")
        count = state.count + 1
        mean = state.avg_value + (jnp.asarray(value, jnp.float32) - state.avg_value) / count
        state = state._replace(count=count, avg_value=mean)
        full = count >= accumulation_size
        state = jax.tree.map(lambda new, old: jnp.where(full, new, old), judged(state), state)
        return jax.tree.map(lambda u: (state.scale * u).astype(u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
