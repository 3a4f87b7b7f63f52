"""Limits on the gradient: links for the front of a chain."""

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.types import Array, Params


def _sum_of_squares(leaves: list[Array]) -> Array:
    return jnp.stack([jnp.sum(jnp.square(x)) for x in leaves]).sum()


def _norm_by_the_largest(leaves: list[Array]) -> Array:
    largest = jnp.stack([jnp.max(jnp.abs(x)) for x in leaves]).max()
    unit = jnp.where(jnp.isfinite(largest) & (largest > 0), largest, 1)
    return unit * jnp.sqrt(_sum_of_squares([x / unit for x in leaves]))


@jax.jit  # one program also where the update runs uncompiled
def _norm(tree: Params) -> Array:
    """L2 norm over all leaves, float32[] or wider, exact wherever it can be represented.

    The sum of squares is used where it neither overflowed nor came near vanishing. Elsewhere a second pass
    divides by the largest entry first; it costs nothing until it is needed.
    """
    leaves = [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in jax.tree.leaves(tree) if x.size]
    if not leaves:
        return jnp.zeros(())
    total = _sum_of_squares(leaves)
    return jax.lax.cond(
        (total > 1e-20) & (total < jnp.inf), lambda: jnp.sqrt(total), lambda: _norm_by_the_largest(leaves)
    )


def _shrink(tree: Params, norm: Array, max_norm: float) -> Params:
    scale = jnp.minimum(1, max_norm / norm)
    return jax.tree.map(lambda x: (scale * x).astype(x.dtype), tree)


def _stateless(function) -> optax.GradientTransformation:
    return optax.stateless(lambda updates, params: function(updates))


def clip_by_value(max_delta: float) -> optax.GradientTransformation:
    """Limits every entry of the gradient.

    g <- min(max(g, -max_delta), max_delta), elementwise; the direction may change.

    Args:
      max_delta: > 0, in units of the gradient.

    Raises:
      ValueError: max_delta is not positive and finite.
    """
    checks.positive(max_delta=max_delta)
    return _stateless(
        lambda updates: jax.tree.map(lambda g: jnp.clip(g, -max_delta, max_delta).astype(g.dtype), updates)
    )


def clip_by_norm(max_norm: float) -> optax.GradientTransformation:
    """Limits the norm of every tensor by itself.

    g_i <- g_i min(1, max_norm / |g_i|), for each leaf i

    Directions within a tensor stay; the direction of the whole gradient may change. A leaf that holds NaN or
    infinity is NaN afterwards, at least at those entries.

    Args:
      max_norm: > 0, in units of the gradient.

    Raises:
      ValueError: max_norm is not positive and finite.
    """
    checks.positive(max_norm=max_norm)
    return _stateless(lambda updates: jax.tree.map(lambda g: _shrink(g, _norm(g), max_norm), updates))


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Limits the norm of the gradient as a whole; its direction stays.

    g <- g min(1, max_norm / |g|),  |g|^2 the sum of squares over all leaves

    A gradient that holds NaN or infinity is NaN afterwards, at least at those entries.

    Args:
      max_norm: > 0, in units of the gradient.

    Raises:
      ValueError: max_norm is not positive and finite.

    Source: Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", 2013,
    algorithm 1, arXiv:1211.5063.
    Differs from Optax and PyTorch where squares overflow or vanish (float16 above 255, float32 above 1e19 or
    below 1e-19): the norm is exact there too.
    """
    checks.positive(max_norm=max_norm)
    return _stateless(lambda updates: _shrink(updates, _norm(updates), max_norm))
