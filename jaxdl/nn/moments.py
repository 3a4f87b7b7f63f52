"""Mean and variance in one pass over the data, as accurate as in two.

Shapes: B batch, ... any number of further axes, C channels, G groups of them.

The textbook's one pass, E[x^2] - E[x]^2, cancels where the mean is large beside the spread. Here a shift k is
subtracted first: with z = x - k the variance is E[z^2] - E[z]^2 for any k, and nothing cancels when k is near
the mean. k is the mean of a sixteenth of the values, so (k - mean)^2 is at most 16 times the variance, whatever
the data (Cauchy-Schwarz), and the rounding error of the variance at most 17 times that of two passes. As the
result does not depend on k, no derivative goes through it. Reading a sixteenth twice is cheaper than reading
everything twice.

All of it keeps the axes of the input. Rows [N, C] would be the same numbers, but XLA's CPU compiler then keeps the
input, its square and the cotangent in both shapes, which cost batch, group and layer norm a third of their time.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxdl.types import Array, Dtype

PART = 16


def widened(x: Array) -> Array:
    """x in float32, or in its own dtype where that is wider: statistics are not taken in half precision."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def mean_over(x: Array, axes: int | Sequence[int]) -> Array:
    """The mean over some axes, which stay with length 1."""
    return jnp.mean(x, axes, keepdims=True)


def rough_mean(x: Array, axes: Sequence[int]) -> Array:
    """The mean over the first sixteenth along the first of some axes: a shift, not a statistic."""
    part = lax.slice_in_dim(lax.stop_gradient(x), 0, -(-x.shape[axes[0]] // PART), axis=axes[0])
    return mean_over(part, axes)


def variance(mean: Array, mean_square: Array) -> Array:
    """E[z^2] - E[z]^2, without the negative values that rounding may leave."""
    value = mean_square - jnp.square(mean)
    # A maximum would halve the derivative where the variance is exactly 0.
    return jnp.where(value < 0, 0, value)


def group_moments(x: Array, groups: int) -> tuple[Array, Array, Array]:
    """Statistics of G groups of channels for each example.

    The positions are summed first, for each channel; the few channel sums of a group after that.

    Args:
      x: float32 or wider, [B, ..., C].
      groups: G, a divisor of C.

    Returns:
      z = x - k [B, ..., C], and the mean and the variance of z, [B, 1, ..., 1, C] each.
    """
    positions = tuple(range(1, x.ndim - 1))

    def over_group(value: Array) -> Array:
        grouped = value.reshape(x.shape[0], groups, -1)
        return jnp.broadcast_to(mean_over(grouped, 2), grouped.shape).reshape(value.shape)

    # Without positions a channel is one value, and the shift its own mean over the group.
    z = x - over_group(rough_mean(x, positions) if positions else lax.stop_gradient(x))
    mean = over_group(mean_over(z, positions))
    return z, mean, variance(mean, over_group(mean_over(jnp.square(z), positions)))


def aligned(parameter: Array, z: Array) -> Array:
    """A parameter of z's trailing axes with the rank and the dtype of z."""
    return parameter.reshape((1,) * (z.ndim - parameter.ndim) + parameter.shape).astype(z.dtype)


def standardized(
    z: Array, mean: Array, var: Array, scale: Array | None, bias: Array | None, eps: float
) -> Array:
    """scale (z - mean) / sqrt(var + eps) + bias as one multiply-add.

    Mean and variance have the rank of z, and length 1 where they are shared; scale and bias too, or they are [C].
    """
    factor = lax.rsqrt(var + eps)
    factor = factor if scale is None else factor * aligned(scale, z)
    offset = -mean * factor
    offset = offset if bias is None else offset + aligned(bias, z)
    return z * factor + offset


def result_dtype(dtype: Dtype | None, *inputs: Array | None) -> Dtype:
    """What a layer returns: its computation dtype, or what inputs and parameters promote to."""
    return linen.dtypes.canonicalize_dtype(*inputs, dtype=dtype)
