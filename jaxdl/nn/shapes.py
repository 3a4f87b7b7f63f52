"""Functions that only move values between axes.

Shapes: B batch.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def flatten(x: Array) -> Array:
    """Joins all axes but the first.

    Args:
      x: any dtype, [B, ...].

    Returns:
      [B, product of the rest], the last axis running fastest: for [B, H, W, C] the order is row, column,
      channel, where PyTorch's is channel, row, column.

    Raises:
      ValueError: x is a scalar.
    """
    if jnp.ndim(x) == 0:
        raise ValueError("x must have at least one axis, got a scalar")
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def unflatten(x: Array, shape: Sequence[int]) -> Array:
    """Divides the values of each example among several axes: the inverse of `flatten`.

    Args:
      x: any dtype, [B, N].
      shape: the axes of one example, whose product is N; () for one number per example.

    Returns:
      [B, *shape], the last axis running fastest.

    Raises:
      ValueError: x has not two axes, or the product of shape is not N.
    """
    checks.rank(2, x=x)
    if any(size < 0 for size in shape) or math.prod(shape) != x.shape[1]:
        raise ValueError(f"shape must have {x.shape[1]} values, got {tuple(shape)}")
    return x.reshape(x.shape[0], *shape)


def repeat_vector(x: Array, count: int) -> Array:
    """The same vector at every time step, as the input of a decoder.

    y[b, t] = x[b] for 0 <= t < count.

    Args:
      x: any dtype, [B, ...].
      count: number of steps, at least 1.

    Returns:
      [B, count, ...].

    Raises:
      ValueError: x is a scalar, or count is below 1.
    """
    checks.at_least(1, count=count)
    if jnp.ndim(x) == 0:
        raise ValueError("x must have at least one axis, got a scalar")
    return jnp.broadcast_to(x[:, None], (x.shape[0], count, *x.shape[1:]))
