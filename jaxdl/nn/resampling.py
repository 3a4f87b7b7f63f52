"""Images made larger, by repeating values or by lines between them.

Shapes: B batch, ... one to three spatial axes, C channels; n the size of an axis, m its new size.

A smaller image skips values, so these do not make one: pool instead.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl import checks
from jaxdl.nn.convolution import Size, per_axis
from jaxdl.types import Array


def _new_sizes(x: Array, scale: Size | None, sizes: Sequence[int] | None) -> tuple[int, ...]:
    checks.floating(x=x)
    checks.rank((3, 4, 5), x=x)
    old = x.shape[1:-1]
    if (scale is None) == (sizes is None):
        raise ValueError(f"one of scale and sizes must be given, got {scale} and {sizes}")
    if scale is not None:
        return tuple(n * s for n, s in zip(old, per_axis(scale, len(old), "scale")))
    new = per_axis(tuple(sizes or ()), len(old), "sizes")
    if any(m < n for n, m in zip(old, new)):
        raise ValueError(f"sizes must be at least those of x, got {new} for {old}")
    return new


def upsample_nearest(x: Array, scale: Size | None = None, *, sizes: Sequence[int] | None = None) -> Array:
    """Repeats every value.

    y[i] = x[floor(i n / m)] along each axis; for m = s n every value stands s times.

    Args:
      x: float [B, ..., C].
      scale: s, one integer or one for each axis, at least 1.
      sizes: the new sizes instead, one for each axis, at least the old.

    Returns:
      float [B, ..., C] of the new sizes.

    Raises:
      TypeError: x is not floating point.
      ValueError: wrong rank, both or neither of scale and sizes, or a size out of range.

    Differs from jax.image.resize, whose 'nearest' rounds at the middle of a pixel; equal to PyTorch's 'nearest'.
    """
    for axis, m in enumerate(_new_sizes(x, scale, sizes), start=1):
        n = x.shape[axis]
        if m % n == 0:
            x = jnp.repeat(x, m // n, axis)  # no gather, and a sum as its gradient
        else:
            x = jnp.take(x, np.arange(m) * n // m, axis)
    return x


def _line_weights(n: int, m: int, align_corners: bool) -> np.ndarray:
    """[n, m]: how much of each old value is in each new one."""
    if align_corners:
        place = np.arange(m) * ((n - 1) / max(m - 1, 1))
    else:
        place = np.clip((np.arange(m) + 0.5) * (n / m) - 0.5, 0, n - 1)
    return np.maximum(1 - np.abs(place[None] - np.arange(n)[:, None]), 0)


def upsample_bilinear(
    x: Array, scale: Size | None = None, *, sizes: Sequence[int] | None = None, align_corners: bool = False
) -> Array:
    """Draws lines between neighbouring values, along one axis after the other.

    y[i] = (1 - t) x[floor(u)] + t x[floor(u) + 1], t = u - floor(u), along each axis. By default values are the
    middles of pixels, u = (i + 1/2) n / m - 1/2, and what lies outside the outermost middles is as they are.
    With `align_corners` the first and the last value stay at the ends, u = i (n - 1) / (m - 1).

    Linear for one spatial axis, bilinear for two, trilinear for three. It is one matrix product per axis.

    Args:
      x: float [B, ..., C].
      scale: s, one integer or one for each axis, at least 1.
      sizes: the new sizes instead, one for each axis, at least the old.
      align_corners: which of the two places to take.

    Returns:
      float [B, ..., C] of the new sizes.

    Raises:
      TypeError: x is not floating point.
      ValueError: wrong rank, both or neither of scale and sizes, or a size out of range.
    """
    dtype, wide = x.dtype, jnp.promote_types(x.dtype, jnp.float32)
    for axis, m in enumerate(_new_sizes(x, scale, sizes), start=1):
        if m != x.shape[axis]:
            weights = jnp.asarray(_line_weights(x.shape[axis], m, align_corners), wide)
            # Weights of an interpolation must not be rounded to what a fast product would like.
            y = jnp.tensordot(x.astype(wide), weights, (axis, 0), precision=lax.Precision.HIGHEST)
            x = jnp.moveaxis(y, -1, axis)
    return x.astype(dtype)
