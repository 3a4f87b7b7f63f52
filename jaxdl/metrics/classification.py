"""Metrics of predicted classes.

N is any batch shape, K the number of classes. Predictions are either scores (logits or probabilities), float
[N, K], of which the largest counts and the first of equal ones, or classes, int [N]. Labels are int [N].
"""

import jax
import jax.numpy as jnp

from jaxdl import checks, losses
from jaxdl.losses.masking import class_indices
from jaxdl.metrics.streaming import Mean, Metric, Parts, count, counted, mean_of, no_hits, no_values
from jaxdl.types import Array


def predicted_classes(predictions: Array, labels: Array, where: Array | None) -> tuple[Array, Array, Array]:
    """Predicted classes, right classes, and which of them count, all [N]."""
    checks.integer(labels=labels)
    labels = class_indices(labels)
    predictions = jnp.asarray(predictions)
    if jnp.issubdtype(predictions.dtype, jnp.floating):
        _check_scores(predictions, labels)
        nan = jnp.any(jnp.isnan(predictions), axis=-1)
        no_class = jnp.iinfo(jnp.int32).min  # equal to no label, padding such as -1 included
        predictions = jnp.where(nan, no_class, jnp.argmax(predictions, axis=-1))
    else:
        checks.integer(predictions=predictions)
        checks.same_shape(predictions=predictions, labels=labels)
        predictions = class_indices(predictions)
    return predictions, labels, counted(labels.shape, where)


def _check_scores(scores: Array, labels: Array) -> None:
    if scores.ndim < 1 or scores.shape[:-1] != labels.shape:
        raise ValueError(
            f"scores must have the shape of labels and a last axis of classes, got scores {scores.shape} and "
            f"labels {labels.shape}"
        )


def _hits(predictions: Array, labels: Array, where: Array | None) -> Mean:
    predicted, labels, chosen = predicted_classes(predictions, labels, where)
    return Mean(count((predicted == labels) & chosen), count(chosen))


def negative_log_likelihood(logits: Array, labels: Array, where: Array | None) -> Mean:
    """Nats of the right classes."""
    return mean_of(losses.softmax_cross_entropy_with_integer_labels(logits, labels), where)


@Metric
def accuracy() -> Parts:
    """Share of examples whose predicted class is the right one.

    sum(prediction == label) / N

        metrics.accuracy(logits, labels)                 # float32[]
        metrics.accuracy(classes, labels, where=mask)

    Args:
      predictions: scores, float [N, K], or classes, int [N].
      labels: int [N].
      where: bool [N], which examples count, or None for all.

    Returns:
      float32[] in [0, 1]; NaN when nothing counts. An example with a NaN score is a miss. The counts behind
      it are exact integers.

    Raises:
      TypeError: labels are not integers, or where is not bool.
      ValueError: the shapes do not agree.
    """
    return Parts(no_hits, _hits, Mean.value)


@Metric
def error_rate() -> Parts:
    """Share of examples whose predicted class is wrong: 1 - accuracy.

    Args, Returns, Raises: as for `accuracy`.
    """

    def misses(predictions: Array, labels: Array, where: Array | None) -> Mean:
        hits, examples = _hits(predictions, labels, where)
        return Mean(examples - hits, examples)

    return Parts(no_hits, misses, Mean.value)


@Metric
def top_k_accuracy(*, k: int = 5) -> Parts:
    """Share of examples whose right class is among the k with the largest scores.

    Of equal scores the lower class comes first, so k = 1 is `accuracy`.

        metrics.top_k_accuracy(logits, labels, k=3)

    Args:
      scores: logits or probabilities, float [N, K].
      labels: int [N].
      where: bool [N], which examples count, or None for all.
      k: at least 1, at most K.

    Returns:
      float32[] in [0, 1]; NaN when nothing counts. An example with a NaN score or a label outside [0, K) is a
      miss.

    Raises:
      TypeError: scores are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not agree, or k is out of range.
    """
    checks.at_least(1, k=k)

    def measure(scores: Array, labels: Array, where: Array | None) -> Mean:
        checks.floating(scores=scores)
        checks.integer(labels=labels)
        scores, labels = jnp.asarray(scores), class_indices(labels)
        _check_scores(scores, labels)
        num_classes = scores.shape[-1]
        checks.between(1, num_classes, k=k)
        chosen = counted(labels.shape, where)
        possible = (labels >= 0) & (labels < num_classes) & ~jnp.any(jnp.isnan(scores), axis=-1)
        label = jnp.where(possible, labels, 0)[..., None]
        own = jnp.take_along_axis(scores, label, axis=-1)
        classes = jax.lax.broadcasted_iota(label.dtype, scores.shape, scores.ndim - 1)
        ahead = (scores > own) | ((scores == own) & (classes < label))
        hits = possible & (jnp.sum(ahead, axis=-1) < k)
        return Mean(count(hits & chosen), count(chosen))

    return Parts(no_hits, measure, Mean.value)


@Metric
def log_loss() -> Parts:
    """Mean negative log-likelihood of the right class under the softmax of the logits.

    -(1/N) sum_n log softmax(x_n)[y_n]; `perplexity` is its exponential, `bits_per_character` the same in bits.

    Args:
      logits: float [N, K].
      labels: int [N], in [0, K).
      where: bool [N], which examples count, or None for all.

    Returns:
      Nats per example, float32[]; NaN when nothing counts or a label is outside [0, K).

    Raises:
      TypeError: logits are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not agree.

    Differs from scikit-learn's function of this name, which takes probabilities.
    """

    return Parts(no_values, negative_log_likelihood, Mean.value)
