"""The last link of every chain: where the sign flips."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import next_count
from jaxdl.optim.paths import check_floating
from jaxdl.types import Array


class ScaleByLearningRateState(NamedTuple):
    count: Array  # int32[], updates so far
    learning_rate: Array  # float[], of the last update


def scale_by_learning_rate(
    learning_rate: optax.ScalarOrSchedule, *, flip_sign: bool = True
) -> optax.GradientTransformation:
    """Takes a step of the learning rate's size against the direction.

    delta_t = -learning_rate(t) u_t,  t = 0, 1, 2, ...

    The product is formed in float32 or wider and rounded once, to the dtype of u.

    Args:
      learning_rate: number >= 0 in parameter units per step, float[], or a schedule from the number of
        updates taken so far, int32[], to such a rate.
      flip_sign: False leaves the sign, which climbs instead of descending.

    Returns:
      A transformation. Its state holds the rate of the last update as `learning_rate`, float[], so a step can
      report it, whatever schedule it came from.

    Raises:
      ValueError: the rate is a number that is negative or not finite.
      TypeError: at `init`, a parameter is not floating point; the message has its path.

    Differs from `optax.scale_by_learning_rate`, which keeps no rate and, for a number, no state; the updates
    are the same.
    """
    if not callable(learning_rate):
        checks.non_negative(learning_rate=learning_rate)
    sign = -1 if flip_sign else 1

    def rate(count):
        value = learning_rate(count) if callable(learning_rate) else learning_rate
        return jnp.asarray(value, jnp.result_type(float))

    def init_fn(params):
        check_floating(
            params
        )  # integers would round every step, and without moments no other link looks at them
        count = jnp.zeros((), jnp.int32)
        return ScaleByLearningRateState(count, rate(count))

    def update_fn(updates, state, params=None):
        del params
        value = rate(state.count)
        updates = jax.tree.map(lambda u: (sign * value * u).astype(u.dtype), updates)
        return updates, ScaleByLearningRateState(next_count(state.count), value)

    return optax.GradientTransformation(init_fn, update_fn)
