"""Means and squared deviations as states: exact under merging, where sums of squares far from 0 would cancel.

N rows, D features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.metrics.streaming import count
from jaxdl.types import Array


class Moments(NamedTuple):
    """Of numbers [N], or of rows [N, D]."""

    count: Array  # int32[]
    mean: Array  # [] or [D]
    squares: Array  # [], sum of (x - mean)^2; or [D, D], sum of the outer products of x - mean


def no_moments(*shape: int) -> Moments:
    """Of no numbers, or of no rows of the shape [D]."""
    return Moments(jnp.zeros((), jnp.int32), jnp.zeros(shape), jnp.zeros(shape * 2))


def _products(x: Array) -> Array:
    """Sum of squares of [N], or of outer products of [N, D]."""
    # HIGHEST: accelerators would multiply in fewer bits than the sum is kept in.
    return jnp.matmul(x.T, x, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def moments(x: Array, chosen: Array) -> Moments:
    """Of the chosen (bool [N]) among numbers [N] or rows [N, D]; what is not chosen may be NaN."""
    examples = count(chosen)
    if not len(x):
        return no_moments(*x.shape[1:])
    chosen = chosen.reshape(-1, *(1,) * (x.ndim - 1))
    # Deviations from some x rather than from 0: the spread of equal numbers is exactly 0, and numbers far from
    # 0 keep their last digits.
    start = x[jnp.argmax(chosen)]
    apart = jnp.where(chosen, x - start[None], 0)
    mean = jnp.sum(apart, axis=0) / jnp.maximum(examples, 1)
    return Moments(
        examples,
        jnp.where(examples > 0, start + mean, 0),
        _products(jnp.where(chosen, apart - mean[None], 0)),
    )


@jax.jit
def merge_moments(a: Moments, b: Moments) -> Moments:
    """Of the numbers of both.

    Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", 1979, equation 2.1.
    """
    both = a.count + b.count
    share = b.count / jnp.maximum(both, 1)
    apart = b.mean - a.mean
    return Moments(
        both, a.mean + apart * share, a.squares + b.squares + _products(apart[None]) * (a.count * share)
    )
