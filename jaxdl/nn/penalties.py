"""Penalties on weights and on sensitivity, to add to a loss, and the projection onto bounded weights.

Those on weights take a pytree and return float32[] in the units of the loss, summed in float32 at least. Where
a `mask` is taken, it is a pytree of bool like params or a prefix of it, or a function from params to one: which
leaves count, None for all. Biases and normalisation scales usually do not:

    kernels = lambda params: jax.tree.map(lambda w: w.ndim >= 2, params)
    loss = loss + nn.l2_penalty(params, 1e-4, mask=kernels)
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array, Params


def _widened(w: Array) -> Array:
    w = jnp.asarray(w)
    return w.astype(jnp.promote_types(w.dtype, jnp.float32))


def _magnitude(w: Array) -> Array:
    return w * jnp.sign(w)  # the slope of jnp.abs at 0 is 1, which would drive weights away from 0


def _total(term: Callable[..., Array], *trees: Params, mask: Any = None) -> Array:
    """Sum of a term over all entries of the leaves that the mask keeps."""

    checks.floating(**{f"params[{i}]": w for i, w in enumerate(jax.tree.leaves(trees))})

    def summed(*subtrees: Params) -> Array:
        terms = jax.tree.map(lambda *leaves: jnp.sum(term(*map(_widened, leaves))), *subtrees)
        return sum(jax.tree.leaves(terms), jnp.zeros(()))

    if mask is None:
        return summed(*trees)
    mask = mask(*trees) if callable(mask) else mask
    kept = jax.tree.map(lambda keep, *subtrees: summed(*subtrees) if keep else jnp.zeros(()), mask, *trees)
    return sum(jax.tree.leaves(kept), jnp.zeros(()))


def l1_penalty(params: Params, strength: float | Array, mask: Any = None) -> Array:
    """Sum of magnitudes: pulls every weight to 0 with the same force, so that many end near it.

    strength sum |w|; the gradient is strength sign(w), 0 at w = 0.

    On activations instead of weights it makes a sparse autoencoder. Gradient steps do not reach 0 exactly.

    Args:
      params: pytree of float arrays.
      strength: at least 0.
      mask: which leaves count.

    Returns:
      float32[], in the units of the loss.

    Raises:
      TypeError: a leaf is not floating point.
      ValueError: strength is negative or not finite, or mask and params have different structures.

    Source: Tibshirani, "Regression shrinkage and selection via the lasso", 1996.
    """
    checks.non_negative(strength=strength)
    return strength * _total(_magnitude, params, mask=mask)


def l2_penalty(params: Params, strength: float | Array, mask: Any = None) -> Array:
    """Half the sum of squares: pulls every weight to 0 in proportion to its size.

    (strength / 2) sum w^2; the gradient is strength w.

    Take this where the reported loss shall contain the term, or where gradients of the term shall be clipped
    with the rest. `optim.coupled_l2(strength)` gives the optimizer the same gradient without computing the
    term. `optim.add_decayed_weights` and `optim.adamw` shrink weights behind the moments, which is another
    algorithm wherever gradients are scaled, and the better one with Adam.

    Args:
      params: pytree of float arrays.
      strength: lambda, at least 0.
      mask: which leaves count.

    Returns:
      float32[], in the units of the loss.

    Raises:
      TypeError: a leaf is not floating point.
      ValueError: strength is negative or not finite, or mask and params have different structures.

    Source: Hoerl & Kennard, "Ridge regression", 1970.
    Differs from Keras' L2, which has no factor 1/2.
    """
    checks.non_negative(strength=strength)
    return 0.5 * strength * _total(jnp.square, params, mask=mask)


def elastic_net_penalty(params: Params, l1: float | Array, l2: float | Array, mask: Any = None) -> Array:
    """Magnitudes and squares: sparse as the lasso, but correlated weights share.

    l1 sum |w| + l2 sum w^2 (some texts misprint |w| in both terms); the gradient is l1 sign(w) + 2 l2 w. It is
    `l1_penalty(params, l1) + l2_penalty(params, 2 * l2)`.

    Args:
      params: pytree of float arrays.
      l1: strength of the magnitudes, at least 0.
      l2: strength of the squares, at least 0; without the factor 1/2 of `l2_penalty`.
      mask: which leaves count.

    Returns:
      float32[], in the units of the loss.

    Raises:
      TypeError: a leaf is not floating point.
      ValueError: a strength is negative or not finite, or mask and params have different structures.

    Source: Zou & Hastie, "Regularization and variable selection via the elastic net", 2005, equation 3.
    """
    checks.non_negative(l1=l1, l2=l2)
    return _total(lambda w: l1 * _magnitude(w) + l2 * jnp.square(w), params, mask=mask)


def soft_sharing_penalty(params_a: Params, params_b: Params, strength: float | Array) -> Array:
    """Keeps the weights of two models close: each has its own task, what they learn is shared.

    strength sum_i |A_i - B_i|_F^2, over the leaves i. Give it the subtrees that are shared, such as
    `params["trunk"]` of both; for a strength of its own for each layer, call it for each layer.

    Args:
      params_a: pytree of float arrays A_i.
      params_b: B_i, of the same structure and shapes.
      strength: at least 0.

    Returns:
      float32[], in the units of the loss.

    Raises:
      TypeError: a leaf is not floating point.
      ValueError: strength is negative or not finite, or structures or shapes differ.

    Source: Duong et al., "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network
    Parser", 2015, equation 3.
    """
    checks.non_negative(strength=strength)

    def squared_distance(a: Array, b: Array) -> Array:
        checks.same_shape(params_a=a, params_b=b)
        return jnp.square(a - b)

    return strength * _total(squared_distance, params_a, params_b)


def jacobian_penalty(
    function: Callable[[Array], Array], x: Array, key: Array | None = None, num_projections: int = 1
) -> Array:
    """How strongly a function reacts to small changes of its input, for each example.

    |dy/dx|_F^2 = sum_ij (dy_i / dx_j)^2

    Exactly it takes one backward pass, and one more copy of x, for each output. With a key it is estimated
    without bias from random signs v, the mean over v of |v^T dy/dx|^2, by one backward pass for each v: take
    that for classifiers and large nets. `losses.contractive_penalty` is the exact one with a mask, for codes of
    autoencoders, and `losses.sigmoid_contractive_penalty` and its kin are its closed forms for one layer, by far
    the cheapest where they hold.

    Args:
      function: from float [B, ...] to float [B, ...], each row of the result from its own row of x alone (no
        batch statistics); `lambda x: model.apply(variables, x, train=False)`.
      x: float [B, ...].
      key: a JAX key for the estimate; None for the exact value.
      num_projections: how many v the estimate takes, at least 1.

    Returns:
      float32 [B], in squared units of y over those of x.

    Raises:
      TypeError: x or the result is not floating point.
      ValueError: x and the result have no first axis in common, or num_projections is below 1.

    Source: Rifai et al., "Contractive Auto-Encoders", 2011, equation 1; Hoffman, Roberts & Yaida, "Robust
    Learning with Jacobian Regularization", 2019, equation 8, arXiv:1908.02729.
    Differs from Hoffman in the projections: random signs, whose variance is smaller, not unit vectors.
    """
    checks.floating(x=x)
    checks.at_least(1, num_projections=num_projections)
    y, pullback = jax.vjp(function, x)
    checks.floating(function=y)
    if y.ndim == 0 or x.ndim == 0:
        raise ValueError(f"x and function(x) must have a first axis of examples, got {x.shape} and {y.shape}")
    checks.same_leading(1, x=x, function=y)
    if key is None:
        num_outputs = math.prod(y.shape[1:])
        basis = jnp.eye(num_outputs, dtype=y.dtype).reshape(num_outputs, 1, *y.shape[1:])
        directions = jnp.broadcast_to(basis, (num_outputs, *y.shape))
        weight = 1.0
    else:
        directions = jax.random.rademacher(key, (num_projections, *y.shape), y.dtype)
        weight = 1 / num_projections
    (rows,) = jax.vmap(pullback)(directions)
    return weight * jnp.sum(jnp.square(_widened(rows)), axis=(0, *range(2, rows.ndim)))


def max_norm(kernel: Array, limit: float | Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """The nearest weights whose norm does not exceed a limit, for each unit.

    w_f <- w_f min(1, limit / |w_f|), with w_f the incoming weights of unit f.

    This is the projection itself, of one kernel, for a loop or a constraint inside a layer;
    `optim.max_norm_projection` applies it behind every update of an optimizer. Unlike `l2_penalty` it leaves
    weights within the limit alone.

    Args:
      kernel: w, float [..., I, F].
      limit: above 0, in the units of the weights.
      axis: the axes of one unit's weights; None for all but the last.

    Returns:
      Like kernel.

    Raises:
      TypeError: kernel is not floating point.
      ValueError: limit is not positive and finite, or axis is None and kernel has fewer than two axes.

    Source: Srebro & Shraibman, "Rank, Trace-Norm and Max-Norm", 2005; Srivastava et al., "Dropout", 2014,
    section 5.1.
    Differs from Keras' MaxNorm: no epsilon, so weights within the limit stay to the last bit; all but the last
    axis by default, which is right for convolutions too.
    """
    checks.floating(kernel=kernel)
    checks.positive(limit=limit)
    wide = _widened(kernel)
    if axis is None:
        if wide.ndim < 2:
            raise ValueError(f"axis must be given for a kernel of shape {wide.shape}, which shows no units")
        axis = tuple(range(wide.ndim - 1))
    # In units of the largest weight no square overflows; the result does not depend on the unit.
    unit = jax.lax.stop_gradient(jnp.max(jnp.abs(wide), axis, keepdims=True))
    unit = jnp.where(unit > 0, unit, 1)
    squares = jnp.sum(jnp.square(wide / unit), axis, keepdims=True)
    outside = squares > jnp.square(limit / unit)
    norm = unit * jnp.sqrt(jnp.where(outside, squares, 1))
    return jnp.where(outside, wide * (limit / norm), wide).astype(jnp.asarray(kernel).dtype)
