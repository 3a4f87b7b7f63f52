"""Padded sequences: which steps count, and turning them round without moving the padding.

Shapes: B batch, T time steps; ... any further axes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.types import Array


def sequence_mask(lengths: Array, max_length: int) -> Array:
    """Which steps of sequences that are padded at their end are real.

    m[b, t] = (t < length_b).

    Args:
      lengths: integers [...], each from 0 to T. A NumPy array or a list is checked; in a traced array a number
        above T counts as T, and one below 0 as 0.
      max_length: T, at least 0.

    Returns:
      bool [..., T].

    Raises:
      TypeError: lengths are not integers.
      ValueError: a length is known to lie outside its range, or max_length is negative.
    """
    checks.at_least(0, max_length=max_length)
    if not isinstance(lengths, jax.Array):
        known = np.asarray(lengths)
        checks.integer(lengths=known)
        if known.size:
            checks.between(0, max_length, lengths=int(known.min()))
            checks.between(0, max_length, lengths=int(known.max()))
    lengths = jnp.asarray(lengths)
    checks.integer(lengths=lengths)
    steps = jnp.arange(max_length, dtype=lengths.dtype).reshape((1,) * lengths.ndim + (-1,))
    return steps < lengths[..., None]


def reverse_sequences(x: Array, lengths: Array | None = None) -> Array:
    """Sequences from their last step to their first; padding stays where it is, at the end.

    y[b, t] = x[b, length_b - 1 - t] for t < length_b, and x[b, t] behind.

    Args:
      x: any dtype, [B, T, ...].
      lengths: integers [B], each from 0 to T; None means that all sequences are T long.

    Returns:
      Like x. Applied twice it gives x back.

    Raises:
      TypeError: lengths are not integers.
      ValueError: x has fewer than two axes, lengths has not the shape [B], or a length is known to be above T.
    """
    if x.ndim < 2:
        raise ValueError(f"x must have the axes [B, T, ...], got shape {x.shape}")
    if lengths is None:
        return jnp.flip(x, 1)
    checks.shape((x.shape[0],), lengths=lengths)
    real = sequence_mask(lengths, x.shape[1])
    steps = jnp.arange(x.shape[1])[None]
    source = jnp.where(real, jnp.asarray(lengths)[:, None] - 1 - steps, steps)
    return jnp.take_along_axis(x, source.reshape(source.shape + (1,) * (x.ndim - 2)), axis=1)
