"""Limits on the gradient: links for the front of a chain.

By value or by norm; of every entry, unit, tensor, named group, or of the gradient as a whole. Inside a network,
`nn.gradient_clip_identity` limits what flows back through one activation.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import widened
from jaxdl.optim.paths import by_path
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
    leaves = [widened(x) for x in jax.tree.leaves(tree) if x.size]
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


def _limit(g: Array, max_delta: float) -> Array:
    return jnp.clip(g, -max_delta, max_delta).astype(g.dtype)


def clip_by_value(max_delta: float) -> optax.GradientTransformation:
    """Limits every entry of the gradient.

    g <- min(max(g, -max_delta), max_delta), elementwise; the direction may change.

    Args:
      max_delta: > 0, in units of the gradient.

    Raises:
      ValueError: max_delta is not positive and finite.
    """
    checks.positive(max_delta=max_delta)
    return _stateless(lambda updates: jax.tree.map(lambda g: _limit(g, max_delta), updates))


def clip_by_group(max_deltas: Mapping[str, float]) -> optax.GradientTransformation:
    """Limits every entry of the gradient, each group of parameters by its own bound.

    g_i <- min(max(g_i, -c), c), elementwise, c that of the first pattern that matches the path of parameter i

        optim.clip_by_group({"^output/": 100.0, "": 10.0})     # the empty pattern matches the rest

    Parameters that no pattern matches are left alone. For groups limited by their norm, mask a norm:
    `optax.masked(optim.clip_by_global_norm(1.0), optim.path_mask("^decoder/"))`.

    Args:
      max_deltas: {regular expression, searched for anywhere in the path: c > 0, in units of the gradient}.

    Raises:
      ValueError: a bound is not positive and finite; at `init`, a pattern matches no parameter.
      re.error: a pattern is not a regular expression.

    Source: Graves, "Generating sequences with recurrent neural networks", 2013, section 2.1, where derivatives are
    held within 100 at the outputs and 10 in the LSTM layers, arXiv:1308.0850.
    Differs from the source in the place: there the derivatives are clipped inside the backward pass, in front of
    the weights, as `nn.gradient_clip_identity` does.
    """
    for pattern, max_delta in max_deltas.items():
        checks.positive(**{f"bound of {pattern!r}": max_delta})
    return by_path(max_deltas, None, lambda g, c: g if c is None else _limit(g, c))


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


def scale_to_norm(norm: float) -> optax.GradientTransformation:
    """Gives the gradient as a whole one and the same norm; its direction stays.

    g <- g norm / |g|,  |g|^2 the sum of squares over all leaves; a gradient of 0 stays 0

    Small gradients grow, which `clip_by_global_norm` leaves alone; behind it a step has the length of the learning
    rate times `norm`.

    Args:
      norm: > 0, in units of the gradient.

    Raises:
      ValueError: norm is not positive and finite.
    """
    checks.positive(norm=norm)

    def rescale(updates):
        length = _norm(updates)
        # Divided before it is multiplied: norm / length overflows where the gradient is tiny.
        unit = jnp.where(length == 0, jnp.ones_like(length), length)
        return jax.tree.map(lambda g: (norm * (widened(g) / unit)).astype(g.dtype), updates)

    return _stateless(rescale)


def _unit_norm(x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """L2 norm of the weights into each unit, shaped to broadcast against x."""
    if axis is None:
        if sum(size != 1 for size in x.shape) <= 1:
            axis = tuple(range(x.ndim))
        else:
            axis = 0 if x.ndim <= 3 else tuple(range(x.ndim - 1))
    return jnp.sqrt(jnp.sum(jnp.square(widened(x)), axis=axis, keepdims=True))


def adaptive_clip(
    clipping: float, eps: float = 1e-3, axis: int | tuple[int, ...] | None = None
) -> optax.GradientTransformation:
    """Limits the gradient of every unit to a share of that unit's weights.

    g_f <- g_f min(1, clipping max(|w_f|, eps) / |g_f|),  w_f the weights into unit f

    Units are the last axis of dense and convolution kernels [..., in, out]; of arrays of three axes, such as
    attention's [in, heads, head], the last two; vectors count as a whole.

    Args:
      clipping: lambda > 0, gradient norm per weight norm; 0.01 to 0.16 in the source.
      eps: > 0: what a smaller weight norm counts as, so that weights of 0 can start.
      axis: axes to sum over, instead of those.

    Raises:
      ValueError: a setting is not positive and finite; `update` was called without params.

    Source: Brock et al., "High-performance large-scale image recognition without normalization", 2021, equation 3,
    arXiv:2102.06171.
    Same as `optax.adaptive_grad_clip`, and for arrays of six axes and more, which are refused there.
    """
    checks.positive(clipping=clipping, eps=eps)

    def clip(g, w):
        norm, limit = _unit_norm(g, axis), clipping * jnp.maximum(_unit_norm(w, axis), eps)
        # min(1, limit / norm), also for a norm of 0 or NaN; one division per unit, so that XLA makes none per entry.
        return (g * (limit / jnp.maximum(norm, limit))).astype(g.dtype)

    def update(updates, params):
        if params is None:
            raise ValueError("params must be given to update: the limit is a share of their norm")
        return jax.tree.map(clip, updates, params)

    return optax.stateless(update)
