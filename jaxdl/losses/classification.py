"""Cross-entropies, from logits or from probabilities.

B is any batch shape, K the number of classes. Logits or probabilities come first, labels second, results are
in nats. Half-precision inputs are computed and returned in float32, and values and gradients are finite for
any finite input.

Labels that cannot be (a class outside [0, K), a probability outside [0, 1]) are found when the numbers are
known, not while a function is traced: the loss of that example and the gradients that it sends back are NaN, so
training stops; nothing is clamped.

Probabilities given as logits are logits too, if poor ones: the loss is finite, and never comes near 0. No shape or
dtype tells; `checked` looks at the numbers. Logits given as probabilities give NaN.

`where` is bool. Of the result's shape, it makes masked losses and their gradients 0, whatever stands there.
Of the shape of the logits, where that differs, it leaves those classes out, as if they were not among the K.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import (
    check_labels,
    check_pair,
    class_indices,
    elementwise,
    poisoned,
    probable,
    split_where,
    widened,
)
from jaxdl.types import Array


def sigmoid_binary_cross_entropy(logits: Array, labels: Array, where: Array | None = None) -> Array:
    """Negative log-likelihood of a yes or no, or of K of them, from logits.

    l = -y log sigmoid(x) - (1 - y) log sigmoid(-x)

    Args:
      logits: x, float [...]; given probabilities, it takes them for logits: `checked` finds that.
      labels: y, probability of yes in [0, 1], float, int or bool [...]; soft labels are allowed.
      where: bool [...], or None for all.

    Returns:
      Nats, float [...]; log 2 = 0.693 at logit 0. NaN where the label is outside [0, 1].

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Differs from optax.sigmoid_binary_cross_entropy: nothing is broadcast, and impossible labels give NaN.
    """
    check_pair(logits=logits, labels=labels)

    def formula(x: Array, y: Array) -> Array:
        loss = y * jax.nn.softplus(-x) + (1 - y) * jax.nn.softplus(x)
        return poisoned(loss, probable(y, labels))

    return elementwise(formula, logits, labels, where)


def binary_cross_entropy(probabilities: Array, labels: Array, where: Array | None = None) -> Array:
    """Negative log-likelihood of a yes or no from the probability of yes.

    l = -y log p - (1 - y) log(1 - p)

    Prefer `sigmoid_binary_cross_entropy`: the sigmoid has already rounded away what tells large logits apart.
    Each logarithm is taken of at least the smallest normal number of the input's dtype, so a certain mistake
    costs 87.3 nats in float32 and bfloat16 and 9.7 in float16; at that floor the gradient is 0.

    Args:
      probabilities: p in [0, 1], float [...].
      labels: y in [0, 1], float, int or bool [...].
      where: bool [...], or None for all.

    Returns:
      Nats, float [...]. NaN where p or y is outside [0, 1], as it is when logits are passed by mistake.

    Raises:
      TypeError: probabilities are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Differs from torch.nn.BCELoss, whose floor is -100 for the logarithm and 1e-12 in the gradient's
    denominator.
    """
    check_pair(probabilities=probabilities, labels=labels)
    floor = float(jnp.finfo(jnp.asarray(probabilities).dtype).tiny)

    def formula(p: Array, y: Array) -> Array:
        loss = -y * jnp.log(jnp.maximum(p, floor)) - (1 - y) * jnp.log(jnp.maximum(1 - p, floor))
        return poisoned(loss, probable(p, probabilities) & probable(y, labels))

    return elementwise(formula, probabilities, labels, where)


def _never_empty(classes: Array | None) -> Array | None:
    """The classes kept, or all in a row that keeps none: a softmax over nothing has no gradient."""
    return None if classes is None else classes | ~jnp.any(classes, axis=-1, keepdims=True)


def softmax_cross_entropy(logits: Array, labels: Array, where: Array | None = None) -> Array:
    """Cross-entropy of a distribution over classes relative to the softmax of logits.

    l = -sum_k y_k log softmax(x)_k

    Args:
      logits: x, float [B, K]; -inf rules a class out, which is fine where its label is 0. Given probabilities, it
        takes them for logits: `checked` finds that.
      labels: y, one-hot rows or any distribution over the classes, float, int or bool [B, K], in [0, 1].
      where: bool [B] (rows) or [B, K] (classes; the share of a label on a class left out is dropped, and a
        row with no class left has loss 0), or None for all.

    Returns:
      Nats, float [B]; log K for equal logits. NaN where a label is outside [0, 1].

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: the shapes differ, or there is no class axis.

    Differs from optax.softmax_cross_entropy: nothing is broadcast, and impossible labels give NaN.
    """
    check_pair(logits=logits, labels=labels)
    if jnp.ndim(logits) < 1:
        raise ValueError("logits must have a last axis of classes, got shape ()")
    x = widened(logits)
    y = jnp.asarray(labels).astype(x.dtype)
    rows, classes = split_where(where, x.shape)
    kept = rows[..., None] if rows is not None else classes
    if kept is not None:
        x, y = jnp.where(kept, x, 0), jnp.where(kept, y, 0)
    log_p = jax.nn.log_softmax(x, where=_never_empty(classes))
    certain = (y == 0) & jnp.isneginf(log_p)  # 0 log 0 = 0
    loss = -jnp.sum(y * jnp.where(certain, 0, log_p), axis=-1)
    return poisoned(loss, jnp.all(probable(y, labels), axis=-1))


def softmax_cross_entropy_with_integer_labels(
    logits: Array, labels: Array, where: Array | None = None
) -> Array:
    """Negative log-likelihood of the right class under the softmax of logits.

    l = log sum_k exp(x_k) - x_y

    Args:
      logits: x, float [B, K]; given probabilities, it takes them for logits: `checked` finds that.
      labels: y, the right class, int [B], in [0, K).
      where: bool [B] (rows) or [B, K] (classes; a row with no class left has loss 0), or None for all. A
        masked row may hold any label, -1 for example.

    Returns:
      Nats, float [B]; log K for equal logits. NaN where the label is outside [0, K) or left out.

    Raises:
      TypeError: logits are not floating point, labels are not integers, or where is not bool.
      ValueError: the batch shapes differ.

    Differs from optax.softmax_cross_entropy_with_integer_labels: there -1 counts from the end, as indices do,
    and a class left out may be the label.
    """
    check_labels(logits=logits, labels=labels)
    logits, labels = widened(logits), class_indices(labels)
    rows, classes = split_where(where, logits.shape)
    if rows is not None:
        logits, labels = jnp.where(rows[..., None], logits, 0), jnp.where(rows, labels, 0)
    if classes is not None:
        logits = jnp.where(classes, logits, 0)
    possible = (labels >= 0) & (labels < logits.shape[-1])
    index = jnp.where(possible, labels, 0)[..., None]
    # Both terms less the largest logit: at 1e4, float32 keeps three digits of log 2 in their difference.
    among = _never_empty(classes)
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, where=among, initial=-jnp.inf))
    chosen = (jnp.take_along_axis(logits, index, axis=-1) - largest)[..., 0]
    loss = jnp.log(jnp.sum(jnp.exp(logits - largest), axis=-1, where=among)) - chosen
    if classes is not None:
        rows = jnp.any(classes, axis=-1)
        loss = jnp.where(rows, loss, 0)
        possible &= jnp.take_along_axis(classes, index, axis=-1)[..., 0]
    if rows is not None:
        possible |= ~rows
        loss = jnp.where(rows, loss, 0)
    return poisoned(loss, possible)


def categorical_cross_entropy(probabilities: Array, labels: Array, where: Array | None = None) -> Array:
    """Cross-entropy of a distribution over classes relative to predicted probabilities.

    l = -sum_k y_k log p_k

    Prefer `softmax_cross_entropy` on logits. Each logarithm is taken of at least the smallest normal number
    of the input's dtype (87.3 nats in float32 and bfloat16, 9.7 in float16); at that floor the gradient is 0.

    Args:
      probabilities: p, rows that sum to 1, float [B, K].
      labels: y, one-hot rows or any distribution over the classes, float, int or bool [B, K].
      where: bool [B] (rows) or [B, K] (classes; the probabilities of the rest are scaled to sum to 1, and a
        row with no class left has loss 0), or None for all.

    Returns:
      Nats, float [B]. NaN where p or y is outside [0, 1].

    Raises:
      TypeError: probabilities are not floating point, or where is not bool.
      ValueError: the shapes differ, or there is no class axis.

    Differs from Keras's function of this name: rows are not rescaled to sum to 1 unless classes are left out.
    """
    check_pair(probabilities=probabilities, labels=labels)
    if jnp.ndim(probabilities) < 1:
        raise ValueError("probabilities must have a last axis of classes, got shape ()")
    floor = float(jnp.finfo(jnp.asarray(probabilities).dtype).tiny)
    p = widened(probabilities)
    y = jnp.asarray(labels).astype(p.dtype)
    rows, classes = split_where(where, p.shape)
    kept = rows[..., None] if rows is not None else classes
    if kept is not None:
        p, y = jnp.where(kept, p, 0), jnp.where(kept, y, 0)
    loss = -jnp.sum(y * jnp.log(jnp.maximum(p, floor)), axis=-1)
    if classes is not None:
        loss += jnp.sum(y, axis=-1) * jnp.log(jnp.maximum(jnp.sum(p, axis=-1), floor))
    return poisoned(loss, jnp.all(probable(p, probabilities) & probable(y, labels), axis=-1))


def focal_loss(
    logits: Array,
    labels: Array,
    where: Array | None = None,
    *,
    alpha: float | None = None,
    gamma: float = 2.0,
) -> Array:
    """Cross-entropy of a yes or no that a confident right answer hardly moves, for rare classes.

    l = (1 - p_t)^gamma (-y log sigmoid(x) - (1 - y) log sigmoid(-x)), with 1 - p_t = y sigmoid(-x) +
    (1 - y) sigmoid(x), times alpha y + (1 - alpha)(1 - y) where alpha is given.

    gamma = 0 without alpha is `sigmoid_binary_cross_entropy`. For K classes the labels are one-hot rows.

    Args:
      logits: x, float [...]; given probabilities, it takes them for logits: `checked` finds that.
      labels: y, probability of yes in [0, 1], float, int or bool [...].
      where: bool [...], or None for all.
      alpha: weight of yes in [0, 1] (no has 1 - alpha), or None for none; 0.25 in the source.
      gamma: how fast the weight of easy examples falls, at least 0.

    Returns:
      Weighted nats, float [...]. NaN where the label is outside [0, 1].

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: the shapes differ, or a setting is out of range.

    Source: Lin, Goyal, Girshick, He and Dollár, "Focal Loss for Dense Object Detection", 2017, equation 5.
    Differs from optax.sigmoid_focal_loss: nothing is broadcast, and impossible labels give NaN.
    """
    check_pair(logits=logits, labels=labels)
    checks.at_least(0, gamma=gamma)
    if alpha is not None:
        checks.between(0, 1, alpha=alpha)

    def formula(x: Array, y: Array) -> Array:
        loss = y * jax.nn.softplus(-x) + (1 - y) * jax.nn.softplus(x)
        # A power of the probability itself has an infinite derivative at 0 where gamma is below 1. The larger of the
        # terms that count is taken out; the other may be of any size only where its share is 0.
        no, yes = jax.nn.log_sigmoid(-x), jax.nn.log_sigmoid(x)
        largest = jnp.maximum(jnp.where(y > 0, no, -jnp.inf), jnp.where(y < 1, yes, -jnp.inf))
        largest = jax.lax.stop_gradient(largest)
        no, yes = (jnp.exp(jnp.minimum(term - largest, 80)) for term in (no, yes))
        loss *= jnp.exp(gamma * (largest + jnp.log(y * no + (1 - y) * yes)))
        if alpha is not None:
            loss *= alpha * y + (1 - alpha) * (1 - y)
        return poisoned(loss, probable(y, labels))

    return elementwise(formula, logits, labels, where)
