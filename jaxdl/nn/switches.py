"""Maximum pooling that remembers where its values came from, and the way back.

Shapes: B batch, ... one to three spatial axes, C channels.
"""

import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl import checks
from jaxdl.nn.convolution import Padding, Size
from jaxdl.nn.pooling import window_settings
from jaxdl.types import Array


def max_pool_with_switches(
    x: Array, window: Size, strides: Size | None = None, padding: Padding = "VALID"
) -> tuple[Array, Array]:
    """The largest value of each window, and where in x it stands.

    y = x[switch] with switch the first place, in reading order, that holds the largest value of the window. The
    gradient goes to that place alone, where `max_pool` shares it among equals; take `max_pool` unless the
    places are wanted.

    Args:
      x, window, strides, padding: as in `max_pool`.

    Returns:
      The values, float [B, ..., C] as `max_pool` gives them, and the switches, int32 of the same shape: the
      place in x's spatial axes, counted with the last axis running fastest, as PyTorch's `return_indices`.

    Raises:
      TypeError: x is not floating point.
      ValueError: as `max_pool`.
    """
    windows, steps, pairs = window_settings(x, window, strides, padding)
    sizes = x.shape[1:-1]
    x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), [(0, 0, 0), *((*pair, 0) for pair in pairs), (0, 0, 0)])
    outs = [(n - f) // s + 1 for n, f, s in zip(x.shape[1:-1], windows, steps)]
    largest, switches, found = None, None, np.zeros((1, *outs, 1), bool)
    for offsets in itertools.product(*map(range, windows)):
        place = x
        for axis, (o, n, s) in enumerate(zip(offsets, outs, steps), start=1):
            place = lax.slice_in_dim(place, o, o + (n - 1) * s + 1, s, axis)
        grid = np.meshgrid(
            *(np.arange(n) * s + o - low for n, s, o, (low, _) in zip(outs, steps, offsets, pairs)),
            indexing="ij",
        )
        inside = np.all([(g >= 0) & (g < n) for g, n in zip(grid, sizes)], axis=0)[None, ..., None]
        index = np.ravel_multi_index(grid, sizes, mode="clip")[None, ..., None].astype(np.int32)
        if largest is None or switches is None:
            largest, switches = place, jnp.broadcast_to(index, place.shape)
        else:
            # A value that is not a number is the maximum, as in `max_pool`.
            better = inside & (~found | (place > largest) | jnp.isnan(place))
            largest, switches = jnp.where(better, place, largest), jnp.where(better, index, switches)
        found = found | inside
    assert largest is not None
    assert switches is not None
    return largest, switches


def max_unpool(x: Array, switches: Array, sizes: Sequence[int]) -> Array:
    """Puts every value back at its switch, and 0 everywhere else.

    y[switch[i]] += x[i] in each example and map: the transpose of taking values at the switches, and so of
    the derivative of the pooling that gave them.

    Args:
      x: float [B, ..., C], values for the pooling's outputs.
      switches: int32 of x's shape, from `max_pool_with_switches`; those outside the new sizes are left out.
      sizes: the spatial sizes before the pooling.

    Returns:
      float [B, *sizes, C].

    Raises:
      TypeError: x is not floating point, or switches are not integers.
      ValueError: wrong rank, x and switches differ in shape, or sizes has not one size for each axis.

    Source: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section 2.1,
    arXiv:1311.2901.
    Differs from PyTorch where windows overlap and share a maximum: here their values are added, there any of
    them stays.
    """
    checks.floating(x=x)
    checks.integer(switches=switches)
    checks.rank((3, 4, 5), x=x)
    checks.same_shape(x=x, switches=switches)
    if len(sizes) != x.ndim - 2:
        raise ValueError(f"sizes must have one size for each of {x.ndim - 2} axes, got {tuple(sizes)}")
    checks.at_least(1, sizes=min(sizes))
    batch, channels = x.shape[0], x.shape[-1]
    example, channel = np.arange(batch).reshape(-1, 1, 1), np.arange(channels).reshape(1, 1, -1)
    flat = jnp.zeros((batch, math.prod(sizes), channels), x.dtype)
    flat = flat.at[example, switches.reshape(batch, -1, channels), channel].add(
        x.reshape(batch, -1, channels), mode="drop"
    )
    return flat.reshape(batch, *sizes, channels)
