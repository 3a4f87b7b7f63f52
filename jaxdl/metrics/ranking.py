"""Metrics of how well scores put positives before negatives, at every threshold at once.

N is any batch shape. Scores are float [N], larger for positives; labels are bool [N], or int [N] of 0 and 1. For
one class against the rest pass `scores[..., k]` and `labels == k`.

Exact values need every score. With `num_bins=None` the state is the stored set: merging concatenates, so it grows
and every update has a new shape, which suits a host loop. With `num_bins` the state is two histograms of
scores in [0, 1], of fixed size, sums that add up over batches and devices; all scores of a bin are then one tie. The
area moves by at most half the share of pairs (positive, negative) that fall into one bin.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import widened
from jaxdl.metrics.streaming import Metric, Parts, add, counted
from jaxdl.types import Array


class Stored(NamedTuple):
    """Every score so far."""

    scores: Array  # float32[N], NaN where the label is impossible
    positive: Array  # bool[N]
    counted: Array  # bool[N]


class Thresholds(NamedTuple):
    """How many positives and negatives score at least each threshold, from infinity down."""

    positives: Array  # int32[M], first 0, last all
    negatives: Array  # int32[M]
    values: Array  # float32[M]
    possible: Array  # bool[]: no NaN, no label but 0 and 1, no score without a bin


def _stored(scores: Array, labels: Array, where: Array | None) -> Stored:
    checks.floating(scores=scores)
    labels = jnp.asarray(labels)
    if labels.dtype != bool:
        checks.integer(labels=labels)
    checks.same_shape(scores=scores, labels=labels)
    scores, chosen = widened(scores), counted(labels.shape, where)
    scores = jnp.where((labels == 0) | (labels == 1), scores, jnp.nan)
    return Stored(scores.ravel(), (labels == 1).ravel(), chosen.ravel())


@jax.jit
def _sorted(state: Stored) -> Thresholds:
    possible = ~jnp.any(jnp.isnan(state.scores) & state.counted)
    scores = jnp.where(state.counted & ~jnp.isnan(state.scores), state.scores, -jnp.inf)
    order = jnp.argsort(-scores)
    scores = scores[order]
    # Of equal scores only the last has seen all: each threshold takes its counts.
    ends = jnp.concatenate([scores[1:] != scores[:-1], jnp.ones(len(scores[:1]), bool)])
    last = jax.lax.cummin(jnp.where(ends, jnp.arange(len(scores)), len(scores)), reverse=True)

    def reached(members: Array) -> Array:
        counts = jnp.cumsum((members & state.counted)[order], dtype=jnp.int32)
        return jnp.concatenate([jnp.zeros(1, jnp.int32), counts[last]])

    values = jnp.concatenate([jnp.full(1, jnp.inf, scores.dtype), scores])
    return Thresholds(reached(state.positive), reached(~state.positive), values, possible)


def in_bins(scores: Array, num_bins: int) -> Array:
    """The bin of each score in [0, 1]; num_bins, one past the last, for what has none."""
    inside = (scores >= 0) & (scores <= 1)
    bins = jnp.minimum(jnp.where(inside, scores, 0) * num_bins, num_bins - 1).astype(jnp.int32)
    return jnp.where(inside, bins, num_bins)


@jax.jit
def _binned(counts: Array) -> Thresholds:
    num_bins = counts.shape[1] - 1

    def reached(histogram: Array) -> Array:
        return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(histogram[num_bins - 1 :: -1])])

    edges = jnp.arange(num_bins - 1, -1, -1) / num_bins
    values = jnp.concatenate([jnp.full(1, jnp.inf), edges])
    return Thresholds(reached(counts[1]), reached(counts[0]), values, jnp.sum(counts[:, num_bins]) == 0)


def append(a: Any, b: Any) -> Any:
    """The merge of states that store: b after a, leaf by leaf."""
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)


def _parts(num_bins: int | None, finish: Callable[[Thresholds], Any]) -> Parts:
    if num_bins is None:
        none = lambda: Stored(jnp.zeros(0), jnp.zeros(0, bool), jnp.zeros(0, bool))  # noqa: E731
        return Parts(none, _stored, lambda state: finish(_sorted(state)), append)
    checks.at_least(2, num_bins=num_bins)

    def measure(scores: Array, labels: Array, where: Array | None) -> Array:
        state = _stored(scores, labels, where)
        cells = in_bins(state.scores, num_bins)
        empty = jnp.zeros((2, num_bins + 1), jnp.int32)
        return empty.at[state.positive.astype(jnp.int32), cells].add(state.counted.astype(jnp.int32))

    zero = lambda: jnp.zeros((2, num_bins + 1), jnp.int32)  # noqa: E731
    return Parts(zero, measure, lambda counts: finish(_binned(counts)), add)


class RocCurve(NamedTuple):
    """Points of the curve, from (0, 0) to (1, 1).

    Attributes:
      false_positive_rate: share of the negatives that score at least the threshold, float32 [M].
      true_positive_rate: share of the positives that do, float32 [M].
      thresholds: float32 [M], falling, the first infinite.
    """

    false_positive_rate: Array
    true_positive_rate: Array
    thresholds: Array


@jax.jit
def _rates(curve: Thresholds) -> RocCurve:
    def rate(counts: Array) -> Array:
        return jnp.where(curve.possible, counts / counts[-1], jnp.nan)

    return RocCurve(rate(curve.negatives), rate(curve.positives), curve.values)


@jax.jit
def _area(curve: Thresholds) -> Array:
    positives, negatives = curve.positives, curve.negatives
    # Differences of integers: those of rates near 1 would keep few digits.
    heights = (positives[1:] + positives[:-1]) / (2 * positives[-1])
    area = jnp.sum(jnp.diff(negatives) / negatives[-1] * heights)
    both = (positives[-1] > 0) & (negatives[-1] > 0)
    return jnp.where(curve.possible & both, area, jnp.nan)


@jax.jit
def _mean_precision(curve: Thresholds) -> Array:
    positives, negatives = curve.positives, curve.negatives
    precision = positives / jnp.maximum(positives + negatives, 1)
    gained = jnp.diff(positives) / jnp.maximum(positives[-1], 1)
    something = curve.possible & (positives[-1] + negatives[-1] > 0)
    return jnp.where(something, jnp.sum(gained * precision[1:]), jnp.nan)


@Metric
def roc_auc(*, num_bins: int | None = None) -> Parts:
    """Chance that a positive scores above a negative: the area under `roc_curve`.

    P(s+ > s-) + P(s+ = s-) / 2

        metrics.roc_auc(scores, labels)
        metric = metrics.roc_auc.bind(num_bins=1000)          # streams in a step; scores in [0, 1]

    0.5 is chance, whatever the share of positives; where positives are rare and only the top counts, take
    `average_precision`.

    Args:
      scores: float [N], any real numbers; in [0, 1] with num_bins.
      labels: bool [N], or int [N] of 0 and 1.
      where: bool [N], which examples count, or None for all.
      num_bins: None is exact and stores every score; at least 2 streams in fixed size.

    Returns:
      float32[] in [0, 1]. NaN when there is no positive or no negative, a score is NaN or has no bin, or a label
      is not 0 or 1.

    Raises:
      TypeError: scores are not floating point, labels are real numbers, or where is not bool.
      ValueError: the shapes differ, or num_bins is too small.

    Source: Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC)
    Curve", 1982, on the area as a probability.
    """
    return _parts(num_bins, _area)


@Metric
def roc_curve(*, num_bins: int | None = None) -> Parts:
    """True against false positive rate at every threshold.

        curve = metrics.roc_curve(scores, labels)
        plt.plot(curve.false_positive_rate, curve.true_positive_rate)

    Args, Raises: as for `roc_auc`.

    Returns:
      A `RocCurve` of N + 1 points, or num_bins + 1. Equal scores repeat their one point, and masked ones the last,
      (1, 1), at -inf. A rate of a class that is missing is NaN, as are both where `roc_auc` names a bad input.

    Differs from scikit-learn, which leaves points out, so that the number of points depends on the values.
    """
    return _parts(num_bins, _rates)


@Metric
def average_precision(*, num_bins: int | None = None) -> Parts:
    """Precision at each threshold, averaged over the recall that the threshold gains.

    sum_n (R_n - R_{n-1}) P_n

    The area below the precision-recall curve, without interpolation. By chance it is the share of positives.

    Args, Raises: as for `roc_auc`.

    Returns:
      float32[] in [0, 1]; 0 when there is no positive. NaN when nothing counts, a score is NaN or has no bin,
      or a label is not 0 or 1.

    Differs from `mean_average_precision`, which matches boxes and interpolates.
    """
    return _parts(num_bins, _mean_precision)
