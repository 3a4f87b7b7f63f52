"""Losses on class scores and probabilities.

B is any batch shape, K the number of classes. Scores, logits or probabilities come first, labels or targets
second. Cross-entropies are in nats. Half-precision inputs are computed and returned in float32, and values
and gradients are finite for any finite input.

Labels that cannot be (a class outside [0, K), a probability outside [0, 1], a sign other than -1 and 1) are
found when the numbers are known, not while a function is traced: the loss of that example and the gradients
that it sends back are NaN, so training stops; nothing is clamped.

`where` is bool. Of the result's shape, it makes masked losses and their gradients 0, whatever stands there.
Of the shape of the logits, where that differs, it leaves those classes out, as if they were not among the K.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import check_pair, check_where, class_indices, elementwise, poisoned, widened
from jaxdl.types import Array


def _probable(p: Array, given: Array) -> Array:
    """Whether each number is a probability, up to the rounding of a mean in the dtype it was given in."""
    dtype = jnp.asarray(given).dtype
    slack = 8 * float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
    return jnp.abs(p - 0.5) <= 0.5 + slack


def sigmoid_binary_cross_entropy(logits: Array, labels: Array, where: Array | None = None) -> Array:
    """Negative log-likelihood of a yes or no, or of K of them, from logits.

    l = -y log sigmoid(x) - (1 - y) log sigmoid(-x)

    Args:
      logits: x, float [...].
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
        return poisoned(loss, _probable(y, labels))

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
        return poisoned(loss, _probable(p, probabilities) & _probable(y, labels))

    return elementwise(formula, probabilities, labels, where)


def _split_where(where: Array | None, shape: tuple[int, ...]) -> tuple[Array | None, Array | None]:
    """The mask as (rows kept [B], classes kept [B, K]); at most one is not None."""
    if where is None:
        return None, None
    check_where(where, shape[:-1], shape)
    return (where, None) if jnp.shape(where) == shape[:-1] else (None, jnp.asarray(where))


def _never_empty(classes: Array | None) -> Array | None:
    """The classes kept, or all in a row that keeps none: a softmax over nothing has no gradient."""
    return None if classes is None else classes | ~jnp.any(classes, axis=-1, keepdims=True)


def softmax_cross_entropy(logits: Array, labels: Array, where: Array | None = None) -> Array:
    """Cross-entropy of a distribution over classes relative to the softmax of logits.

    l = -sum_k y_k log softmax(x)_k

    Args:
      logits: x, float [B, K]; -inf rules a class out, which is fine where its label is 0.
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
    rows, classes = _split_where(where, x.shape)
    kept = rows[..., None] if rows is not None else classes
    if kept is not None:
        x, y = jnp.where(kept, x, 0), jnp.where(kept, y, 0)
    log_p = jax.nn.log_softmax(x, where=_never_empty(classes))
    certain = (y == 0) & jnp.isneginf(log_p)  # 0 log 0 = 0
    loss = -jnp.sum(y * jnp.where(certain, 0, log_p), axis=-1)
    return poisoned(loss, jnp.all(_probable(y, labels), axis=-1))


def softmax_cross_entropy_with_integer_labels(
    logits: Array, labels: Array, where: Array | None = None
) -> Array:
    """Negative log-likelihood of the right class under the softmax of logits.

    l = log sum_k exp(x_k) - x_y

    Args:
      logits: x, float [B, K].
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
    checks.floating(logits=logits)
    checks.integer(labels=labels)
    if jnp.ndim(logits) < 1 or jnp.shape(labels) != jnp.shape(logits)[:-1]:
        raise ValueError(
            f"labels must have the shape of logits without its last axis, got labels {jnp.shape(labels)} and "
            f"logits {jnp.shape(logits)}"
        )
    logits, labels = widened(logits), class_indices(labels)
    rows, classes = _split_where(where, logits.shape)
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
    rows, classes = _split_where(where, p.shape)
    kept = rows[..., None] if rows is not None else classes
    if kept is not None:
        p, y = jnp.where(kept, p, 0), jnp.where(kept, y, 0)
    loss = -jnp.sum(y * jnp.log(jnp.maximum(p, floor)), axis=-1)
    if classes is not None:
        loss += jnp.sum(y, axis=-1) * jnp.log(jnp.maximum(jnp.sum(p, axis=-1), floor))
    return poisoned(loss, jnp.all(_probable(p, probabilities) & _probable(y, labels), axis=-1))


def _sign(t: Array) -> Array:
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
        margin = _sign(t) * s
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
        margin = _sign(t) * s
        return jnp.where(margin >= 1, 0, 1 - margin)

    return elementwise(formula, scores, targets, where)
