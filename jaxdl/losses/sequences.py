"""Losses of sequences, summed over time, and of mixtures of distributions.

B is the batch, T the steps. Predictions come first, targets second. Half precision is computed and returned in
float32. `where` is bool: of shape [B, T] it leaves steps out (padding), of shape [B] whole sequences; masked losses
and their gradients are 0. Divide a total by the number of steps for a mean over time.
"""

import math

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.classification import softmax_cross_entropy_with_integer_labels
from jaxdl.losses.masking import check_where, examplewise, together, widened
from jaxdl.types import Array


def _steps(where: Array | None, shape: tuple[int, ...]) -> Array | None:
    """The mask as one of steps [B, T]."""
    if where is None:
        return None
    check_where(where, shape[:1], shape)
    return where if jnp.ndim(where) == 2 else jnp.broadcast_to(jnp.asarray(where)[:, None], shape)


def sequence_cross_entropy(
    logits: Array, labels: Array, where: Array | None = None, *, per_step: bool = False
) -> Array:
    """Negative log-likelihood of a sequence of classes, one predicted at each step.

    l = sum_t (log sum_k exp(x_tk) - x_ty)

    Args:
      logits: x, float [B, T, K].
      labels: y, int [B, T], in [0, K); padding may hold anything.
      where: bool [B, T] or [B], or None for all.
      per_step: return the terms, not their sum.

    Returns:
      Nats, float [B], or [B, T] per step. NaN where a label is outside [0, K).

    Raises:
      TypeError: logits are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not fit.
    """
    checks.rank(3, logits=logits)
    checks.rank(2, labels=labels)
    nats = softmax_cross_entropy_with_integer_labels(logits, labels, _steps(where, jnp.shape(labels)))
    return nats if per_step else jnp.sum(nats, axis=1)


def sequence_squared_error(
    predictions: Array, targets: Array, where: Array | None = None, *, per_step: bool = False
) -> Array:
    """Squared error of a sequence of numbers or vectors: E = sum_t E_t, E_t = |d_t - y_t|^2.

    Args:
      predictions: y, float [B, T] or [B, T, ...].
      targets: d, real numbers of the same shape.
      where: bool [B, T] or [B], or None for all.
      per_step: return E_t, not E.

    Returns:
      float [B], or [B, T] per step, in the square of the targets' unit.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, or there are no two axes of batch and time.
    """
    y, d = together(predictions=predictions, targets=targets)
    if y.ndim < 2:
        raise ValueError(f"predictions must have axes of batch and time, got shape {y.shape}")

    def formula(y: Array, d: Array) -> Array:
        return jnp.sum(jnp.square(d - y), axis=tuple(range(2, y.ndim)))

    steps = examplewise(formula, y, d, where=_steps(where, y.shape[:2]), shape=y.shape[:2])
    return steps if per_step else jnp.sum(steps, axis=1)


def mixture_density_nll(
    logits: Array,
    means: Array,
    log_scales: Array,
    targets: Array,
    where: Array | None = None,
    *,
    correlations: Array | None = None,
) -> Array:
    """Negative log-likelihood of a vector under a mixture of normal distributions.

    l = -log sum_m softmax(x)_m N(t; mean_m, scale_m), with independent coordinates; with correlations r (D = 2),
    N = exp(-Z / (2 (1 - r^2))) / (2 pi s_1 s_2 sqrt(1 - r^2)), Z = z_1^2 + z_2^2 - 2 r z_1 z_2, z = (t - mean) / s

    Handwriting adds the end of the stroke: `sigmoid_binary_cross_entropy` of its logit.

    Args:
      logits: x, of the components, float [..., M].
      means: float [..., M, D].
      log_scales: log s, logarithms of the standard deviations, float [..., M, D]; below -44 or so 1 / s^2
        overflows in float32, and so does the loss.
      targets: t, real numbers [..., D].
      where: bool [...], or None for all.
      correlations: r, inside (-1, 1), float [..., M], for D = 2; or None for 0.

    Returns:
      Nats, float [...]. NaN where a correlation is not inside (-1, 1).

    Raises:
      TypeError: a prediction is not floating point, or where is not bool.
      ValueError: the shapes do not fit, or there are correlations and D is not 2.

    Source: Bishop, "Mixture Density Networks", 1994, equations 22 and 29; with correlations, Graves,
    "Generating Sequences With Recurrent Neural Networks", 2013, equations 24 to 26.
    """
    checks.floating(log_scales=log_scales, logits=logits)
    m, log_s = together(means=means, log_scales=log_scales)
    x, t = widened(logits), jnp.asarray(targets).astype(m.dtype)
    checks.shape((*x.shape, None), means=m)
    size = m.shape[-1]
    checks.shape((*x.shape[:-1], size), targets=t)
    arrays = [x, m, log_s, t]
    if correlations is not None:
        checks.floating(correlations=correlations)
        checks.shape((*x.shape, 2), means_with_correlations=m)
        checks.same_shape(logits=x, correlations=correlations)
        # Hidden as 0: a correlation of 1 has no density.
        r = widened(correlations)
        if where is not None:
            check_where(where, x.shape[:-1])
            r = jnp.where(jnp.expand_dims(where, -1), r, 0)
    else:
        r = None

    def formula(x: Array, m: Array, log_s: Array, t: Array) -> Array:
        z = (t[..., None, :] - m) * jnp.exp(-log_s)
        square = jnp.sum(jnp.square(z), axis=-1)
        log_size = jnp.sum(log_s, axis=-1) + 0.5 * size * math.log(2 * math.pi)
        if r is not None:
            possible = jnp.abs(r) < 1
            rest = jnp.where(possible, 1 - jnp.square(r), jnp.nan)
            square = (square - 2 * r * z[..., 0] * z[..., 1]) / rest
            log_size += 0.5 * jnp.log(rest)
        return -jax.nn.logsumexp(jax.nn.log_softmax(x) - 0.5 * square - log_size, axis=-1)

    return examplewise(formula, *arrays, where=where, shape=x.shape[:-1])
