"""Running sums and averages of gradients: their dtype and their bias.

An accumulator adds small terms to a large one, (1 - b2) g^2 to v above all. bfloat16 has eight bits for that
and float16 ends at 65,504, so accumulators are float32 under either, whatever the parameters are.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl.optim.paths import check_floating
from jaxdl.types import Array, Dtype, Params


def accumulator(params: Params, fill: Any = 0.0, dtype: Dtype | None = None) -> Params:
    """Arrays shaped like `params` and filled with one number.

    Args:
      params: pytree of floating arrays.
      fill: number, or float[].
      dtype: of every leaf; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      TypeError: a leaf is not real floating point; the message has its path.
    """
    check_floating(params)
    return jax.tree.map(
        lambda p: jnp.full_like(p, fill, dtype=dtype or jnp.promote_types(p.dtype, jnp.float32)), params
    )


def cast_like(tree: Params, reference: Params) -> Params:
    """Every leaf in the dtype of the leaf beside it."""
    return jax.tree.map(lambda x, r: x.astype(r.dtype), tree, reference)


def widened(x: Array) -> Array:
    """`x` in float32, or in its own dtype where that is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def squares(tree: Params) -> Params:
    """Every entry squared; widened first, because 300^2 already overflows float16."""
    return jax.tree.map(lambda x: jnp.square(widened(x)), tree)


def moving_average(decay: Any, average: Params, values: Params) -> Params:
    """decay * average + (1 - decay) * values, leaf by leaf; the dtype is the wider one."""
    return jax.tree.map(lambda a, x: decay * a + (1 - decay) * x, average, values)


def look_ahead(decay: Any, average: Params, values: Params, count: Array) -> Params:
    """The moving average one step on, bias-corrected, as if the next value were the last one, leaf by leaf.

    decay a_t / (1 - decay^{t+1}) + (1 - decay) x_t / (1 - decay^t)

    Args:
      decay: number in [0, 1), or float[].
      average: a_t.
      values: x_t.
      count: t, int32[], at least 1.
    """
    # Both quotients are numbers, so each array is multiplied once.
    share = decay / weight_sum(decay, next_count(count))
    rest = (1 - decay) / weight_sum(decay, count)
    return jax.tree.map(lambda a, x: share * a + rest * x, average, values)


def weight_sum(decay: Any, count: Array) -> Array:
    """1 - decay^count: what the weights in a moving average of `count` terms that began at 0 add up to.

    Computed as -expm1(count log(decay)). The plain form loses 1e-5 of its value in float32 at count 1 and
    decay 0.999, where 0.999 itself is already rounded.

    Args:
      decay: number in [0, 1), or float[].
      count: terms so far, int32[], at least 1.

    Returns:
      float[] in (0, 1].
    """
    if isinstance(decay, jax.Array):
        return -jnp.expm1(count * jnp.log(decay))
    return -jnp.expm1(count * (math.log(decay) if decay else -math.inf))


def next_count(count: Array) -> Array:
    """count + 1, int32[], which stays at the largest int32 instead of turning negative."""
    return jnp.asarray(optax.safe_increment(count))
