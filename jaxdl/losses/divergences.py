"""How far one distribution over classes is from another, and from a teacher's.

B is any batch shape, K the number of classes. What the model predicts comes first, as logarithms, which lose
nothing to underflow: `jax.nn.log_softmax(logits)`. Results are in nats and never broadcast. A probability
outside [0, 1] makes the loss of its row and the gradient NaN. `where` is bool: of shape [B] it makes the losses
of masked rows and their gradients 0; of shape [B, K] it leaves classes out of the sum.
"""

import math

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import examplewise, log_or_zero, poisoned, probable, split_where, together
from jaxdl.types import Array


def _summed(formula, log_predictions: Array, targets: Array, where: Array | None) -> Array:
    """The sum over classes of `formula(log q, p)`, with 0 where log q is minus infinity and p is 0."""
    log_q, p = together(log_predictions=log_predictions, targets=targets)
    if log_q.ndim < 1:
        raise ValueError("log_predictions must have a last axis of classes, got shape ()")
    rows, classes = split_where(where, log_q.shape)
    if classes is not None:
        log_q, p = jnp.where(classes, log_q, 0), jnp.where(classes, p, 0)

    def loss(log_q: Array, p: Array) -> Array:
        absent = (p == 0) & jnp.isneginf(log_q)
        terms = jnp.where(absent, 0, formula(jnp.where(absent, 0, log_q), p))
        if classes is not None:
            terms = jnp.where(classes, terms, 0)
        return poisoned(jnp.sum(terms, axis=-1), jnp.all(probable(p, targets), axis=-1))

    return examplewise(loss, log_q, p, where=rows, shape=log_q.shape[:-1])


def kl_divergence(log_predictions: Array, targets: Array, where: Array | None = None) -> Array:
    """Nats lost by coding what the targets draw with a code made for the predictions.

    KL(p || q) = sum_k p_k (log p_k - log q_k), with 0 log 0 = 0

    The cross-entropy less the entropy of the targets, so 0 where they agree. For both ways at once, and a
    bounded value where the supports differ, take `js_divergence`.

    Args:
      log_predictions: log q, float [B, K]; -inf is fine where the target is 0.
      targets: p, probabilities, real numbers [B, K].
      where: bool [B] or [B, K], or None for all.

    Returns:
      Nats, float [B]. NaN where a target is outside [0, 1].

    Raises:
      TypeError: log_predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, or there is no class axis.

    Source: Kullback and Leibler, "On Information and Sufficiency", 1951, equation 2.4.
    Differs from optax.kl_divergence: nothing is broadcast, and a class that neither side has costs 0, not NaN;
    from torch.nn.functional.kl_div, which does not sum.
    """
    return _summed(lambda log_q, p: p * (log_or_zero(p) - log_q), log_predictions, targets, where)


def js_divergence(log_predictions: Array, targets: Array, where: Array | None = None) -> Array:
    """Mean divergence of two distributions from their average: symmetric, and at most log 2.

    JS = KL(p || m) / 2 + KL(q || m) / 2,  m = (p + q) / 2

    Its square root is a metric. The gradient at a predicted probability of 0 is 0.

    Args:
      log_predictions: log q, float [B, K].
      targets: p, probabilities, real numbers [B, K].
      where: bool [B] or [B, K], or None for all.

    Returns:
      Nats, float [B], in [0, log 2] over all classes. NaN where a target is outside [0, 1].

    Raises:
      TypeError: log_predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, or there is no class axis.

    Source: Lin, "Divergence Measures Based on the Shannon Entropy", 1991, equation 4.1.
    """

    def formula(log_q: Array, p: Array) -> Array:
        q = jnp.exp(log_q)
        log_m = log_or_zero(p + q) - math.log(2)
        return 0.5 * p * (log_or_zero(p) - log_m) + 0.5 * q * jnp.where(q > 0, log_q - log_m, 0)

    return _summed(formula, log_predictions, targets, where)


def distillation(
    logits: Array, teacher_logits: Array, where: Array | None = None, *, temperature: float = 1.0
) -> Array:
    """How far a student's softened distribution is from its teacher's, with the gradient's size kept.

    l = T^2 KL(softmax(teacher / T) || softmax(logits / T))

    No gradient reaches the teacher. The factor T^2 keeps the gradient level as T changes, so the loss can be
    added to `softmax_cross_entropy_with_integer_labels` with a fixed weight.

    Args:
      logits: the student's, float [B, K].
      teacher_logits: float [B, K].
      where: bool [B] or [B, K], or None for all.
      temperature: T, positive.

    Returns:
      T^2 nats, float [B]; 0 where both distributions are equal.

    Raises:
      TypeError: logits or teacher_logits are not floating point, or where is not bool.
      ValueError: the shapes differ, there is no class axis, or the temperature is not positive.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    Differs from the source by the teacher's entropy, a constant: there the cross-entropy is taken.
    """
    checks.floating(teacher_logits=teacher_logits)
    x, teacher = together(logits=logits, teacher_logits=teacher_logits)
    checks.positive(temperature=temperature)
    if x.ndim < 1:
        raise ValueError("logits must have a last axis of classes, got shape ()")
    rows, classes = split_where(where, x.shape)
    if classes is not None:
        # A row that keeps no class keeps all here, and its terms are left out below.
        among = classes | ~jnp.any(classes, axis=-1, keepdims=True)
        x, teacher = jnp.where(classes, x, 0), jnp.where(classes, teacher, 0)
    else:
        among = None

    def loss(x: Array, teacher: Array) -> Array:
        log_q = jax.nn.log_softmax(x / temperature, where=among)
        log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher) / temperature, where=among)
        p = jnp.exp(log_p)
        terms = p * jnp.where(p > 0, log_p - log_q, 0)
        if classes is not None:
            terms = jnp.where(classes, terms, 0)
        return jnp.square(temperature) * jnp.sum(terms, axis=-1)

    return examplewise(loss, x, teacher, where=rows, shape=x.shape[:-1])
