"""Making two domains look alike, and the margins of capsules.

B is any batch shape. Half precision is computed and returned in float32. `where` is bool of the result's shape;
masked losses and their gradients are 0.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import check_labels, class_indices, examplewise, poisoned, split_where, widened
from jaxdl.types import Array


def domain_confusion(domain_logits: Array, where: Array | None = None) -> Array:
    """Cross-entropy of a domain classifier's answer relative to not knowing, for the features to minimise.

    l = -mean_d log softmax(x)_d; least, log D, where every domain is as likely

    The classifier itself minimises `softmax_cross_entropy_with_integer_labels` on the same logits, with the
    features held fixed. Reversing the gradient of that between features and classifier is the other way; this
    one keeps its gradient where the classifier is sure.

    Args:
      domain_logits: x, float [B, D], one for each domain.
      where: bool [B] (rows) or [B, D] (domains; a row that keeps none has loss 0), or None for all.

    Returns:
      Nats, float [B].

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: there is no axis of domains.

    Source: Tzeng, Hoffman, Darrell and Saenko, "Simultaneous Deep Transfer Across Domains and Tasks", 2015,
    equation 3.
    """
    checks.floating(domain_logits=domain_logits)
    if jnp.ndim(domain_logits) < 1:
        raise ValueError("domain_logits must have a last axis of domains, got shape ()")
    x = widened(domain_logits)
    rows, domains = split_where(where, x.shape)
    if domains is not None:
        x = jnp.where(domains, x, 0)
        among = domains | ~jnp.any(domains, axis=-1, keepdims=True)

    def formula(x: Array) -> Array:
        if domains is None:
            return -jnp.mean(jax.nn.log_softmax(x), axis=-1)
        total = -jnp.sum(jnp.where(domains, jax.nn.log_softmax(x, where=among), 0), axis=-1)
        return total / jnp.maximum(jnp.sum(domains, axis=-1), 1)

    return examplewise(formula, x, where=rows, shape=x.shape[:-1])


def maximum_mean_discrepancy(
    x: Array, y: Array, *, bandwidths: Sequence[float] = (1.0,), unbiased: bool = False
) -> Array:
    """Squared distance between the means of two samples in the space of a Gaussian kernel.

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),  k(a, b) = sum_w exp(-|a - b|^2 / (2 w^2))

    It compares sets, so it is one number, not one for each example, and takes no mask. Bandwidths near the
    median distance between examples see most; several, a factor of 2 apart, spare the choice.

    Args:
      x: features of one domain, float [N, D].
      y: of the other, float [M, D].
      bandwidths: w, in the features' unit; positive.
      unbiased: leave each example's kernel with itself out of the means (N and M at least 2), so that the
        expectation is 0 for equal distributions and values can be negative.

    Returns:
      float []; at least 0 (up to rounding) and 0 for equal sets, unless unbiased.

    Raises:
      TypeError: x or y are not floating point.
      ValueError: they are not matrices of one width, or a bandwidth is not positive.

    Source: Gretton et al., "A Kernel Two-Sample Test", 2012, equations 5 (biased) and 3; in a network, Long et
    al., "Learning Transferable Features with Deep Adaptation Networks", 2015.
    """
    checks.floating(x=x, y=y)
    checks.rank(2, x=x, y=y)
    checks.shape((None, jnp.shape(x)[1]), y=y)
    checks.at_least(1, number_of_bandwidths=len(bandwidths))
    for width in bandwidths:
        checks.positive(bandwidths=width)
    checks.at_least(2 if unbiased else 1, examples_of_x=len(x), examples_of_y=len(y))
    x, y = widened(x), widened(y)

    def kernel(a: Array, b: Array) -> Array:
        # Differences, not the binomial: |a|^2 - 2 a.b + |b|^2 loses all digits for near points far from 0.
        square = jnp.sum(jnp.square(a[:, None, :] - b[None, :, :]), axis=-1)
        return sum((jnp.exp(-square / (2 * w * w)) for w in bandwidths), jnp.zeros_like(square))

    def within(a: Array) -> Array:
        k, n = kernel(a, a), len(a)
        if not unbiased:
            return jnp.mean(k)
        return jnp.sum(jnp.where(jnp.eye(n, dtype=bool), 0, k)) / (n * (n - 1))

    return within(x) + within(y) - 2 * jnp.mean(kernel(x, y))


def capsule_margin(
    lengths: Array,
    labels: Array,
    where: Array | None = None,
    *,
    present: float = 0.9,
    absent: float = 0.1,
    absent_weight: float = 0.5,
) -> Array:
    """Asks the right class's capsule to be long and every other to be short.

    l = max(0, present - |v_y|)^2 + absent_weight sum_{k != y} max(0, |v_k| - absent)^2

    Args:
      lengths: |v| of each class's capsule, in [0, 1], float [B, K].
      labels: y, int [B], in [0, K).
      where: bool [B], or [B, K] (classes left out have no part in the sum), or None for all.
      present: length that is long enough.
      absent: length that is short enough.
      absent_weight: of the other classes, at least 0: less than 1, lest all lengths shrink at first.

    Returns:
      float [B]. NaN where the label is outside [0, K).

    Raises:
      TypeError: lengths are not floating point, labels are not integers, or where is not bool.
      ValueError: the batch shapes differ, or not 0 <= absent <= present <= 1.

    Source: Sabour, Frosst and Hinton, "Dynamic Routing Between Capsules", 2017, equation 4.
    """
    check_labels(lengths=lengths, labels=labels)
    checks.between(0, 1, present=present)
    checks.between(0, present, absent=absent)
    checks.non_negative(absent_weight=absent_weight)
    sizes = widened(lengths)
    rows, classes = split_where(where, sizes.shape)
    if classes is not None:
        sizes = jnp.where(classes, sizes, 0)

    def formula(size: Array, labels: Array) -> Array:
        labels = class_indices(labels)
        right = jax.nn.one_hot(labels, size.shape[-1], dtype=bool)
        short = jnp.square(jnp.maximum(0, present - size))
        long = absent_weight * jnp.square(jnp.maximum(0, size - absent))
        terms = jnp.where(right, short, long)
        if classes is not None:
            terms = jnp.where(classes, terms, 0)
        return poisoned(jnp.sum(terms, axis=-1), (labels >= 0) & (labels < size.shape[-1]))

    return examplewise(formula, sizes, jnp.asarray(labels), where=rows, shape=sizes.shape[:-1])
