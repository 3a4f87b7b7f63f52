"""Losses on signed scores and margins: as far as the right side of a line goes, and no further.

B is any batch shape, K the number of classes. Scores come first, targets or labels second. Half-precision inputs
are computed and returned in float32. A target that cannot be (a sign other than -1 and 1, a class outside
[0, K)) makes the loss of that example and its gradient NaN. `where` is bool of the result's shape; masked losses
and their gradients are 0.
"""

import jax
import jax.numpy as jnp

from jaxdl.losses.masking import (
    at_label,
    check_labels,
    check_pair,
    class_indices,
    elementwise,
    examplewise,
    poisoned,
    split_where,
    widened,
)
from jaxdl.types import Array


def sign(t: Array) -> Array:
    """The target, NaN unless it is -1 or 1. The comparisons below never take NaN for the right side."""
    return jnp.where(jnp.abs(t) == 1, t, jnp.nan)


def perceptron_loss(scores: Array, targets: Array, where: Array | None = None) -> Array:
    """How far a score is on the wrong side of zero.

    l = max(0, -t s). Its gradient is -t where t s <= 0 and 0 elsewhere: with s = w . x, descent at learning
    rate 1 is the perceptron rule, w <- w + t x after each mistake. A score of 0 is a mistake, so training can
    start at w = 0.

    Args:
      scores: s, float [...].
      targets: t, -1 or 1, float or int [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in the scores' unit. NaN where the target is neither -1 nor 1.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Rosenblatt, "The Perceptron", 1958; as a loss, Bishop, "Pattern Recognition and Machine Learning",
    2006, equation 4.54.
    Differs from optax.losses.perceptron_loss in the gradient at score 0, which there is half as large.
    """
    check_pair(scores=scores, targets=targets)

    def formula(s: Array, t: Array) -> Array:
        margin = sign(t) * s
        return jnp.where(margin > 0, 0, -margin)

    return elementwise(formula, scores, targets, where)


def hinge(scores: Array, targets: Array, where: Array | None = None) -> Array:
    """How far a score falls short of a margin of 1 on its side of zero.

    l = max(0, 1 - t s). Its gradient is -t where t s < 1 and 0 elsewhere.

    Args:
      scores: s, float [...].
      targets: t, -1 or 1, float or int [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in margins. NaN where the target is neither -1 nor 1.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Cortes and Vapnik, "Support-Vector Networks", 1995, section 3 (its slack variable).
    """
    check_pair(scores=scores, targets=targets)

    def formula(s: Array, t: Array) -> Array:
        margin = sign(t) * s
        return jnp.where(margin >= 1, 0, 1 - margin)

    return elementwise(formula, scores, targets, where)


def squared_hinge(scores: Array, targets: Array, where: Array | None = None) -> Array:
    """The square of how far a score falls short of a margin of 1, smooth where `hinge` has a corner.

    l = max(0, 1 - t s)^2

    Args:
      scores: s, float [...].
      targets: t, -1 or 1, float or int [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in squared margins. NaN where the target is neither -1 nor 1.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Tang, "Deep Learning using Linear Support Vector Machines", 2013, equation 6.
    """
    return jnp.square(hinge(scores, targets, where))


def multiclass_hinge(scores: Array, labels: Array, where: Array | None = None) -> Array:
    """How far the right class falls short of leading every other class by 1.

    l = max(0, 1 + max_{k != y} s_k - s_y)

    Args:
      scores: s, float [B, K].
      labels: y, the right class, int [B], in [0, K).
      where: bool [B] (rows) or [B, K] (classes; a right class without rivals has loss 0), or None for all.

    Returns:
      float [B], in margins. NaN where the label is outside [0, K) or left out.

    Raises:
      TypeError: scores are not floating point, labels are not integers, or where is not bool.
      ValueError: the batch shapes differ.

    Source: Crammer and Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector
    Machines", 2001, equation 3.
    Differs from torch.nn.MultiMarginLoss, which averages over the classes instead of taking the worst rival;
    from optax.losses.multiclass_hinge_loss, which gives an impossible label the largest score plus 1.
    """
    check_labels(scores=scores, labels=labels)
    s = widened(scores)
    rows, classes = split_where(where, s.shape)

    def formula(s: Array, labels: Array) -> Array:
        rivals = ~jax.nn.one_hot(class_indices(labels), s.shape[-1], dtype=bool)
        if classes is not None:
            rivals &= classes
            s = jnp.where(classes, s, 0)
        margin = at_label(s, labels) - jnp.max(s, axis=-1, where=rivals, initial=-jnp.inf)
        loss = jnp.where(margin >= 1, 0, 1 - margin)
        if classes is not None:
            empty = ~jnp.any(classes, axis=-1)
            right_is_in = jnp.any(classes & ~rivals, axis=-1)
            loss = poisoned(jnp.where(empty, 0, loss), right_is_in | empty)
        return loss

    return examplewise(formula, s, jnp.asarray(labels), where=rows, shape=s.shape[:-1])
