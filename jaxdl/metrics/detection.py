"""Metrics of boxes with a class and a score.

B images, D detections and G true boxes an image, K classes, T thresholds. Boxes are (x0, y0, x1, y1), x0 <= x1 and
y0 <= y1, in any unit. Images with fewer boxes are padded with boxes of class -1.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.boxes import overlap
from jaxdl.losses.masking import class_indices, widened
from jaxdl.metrics.ranking import append, in_bins
from jaxdl.metrics.streaming import Metric, Parts, add, count, counted
from jaxdl.types import Array


def box_iou(boxes: Array, others: Array) -> Array:
    """Intersection over union of each box with each other box.

    |A and B| / |A or B|, with areas (x1 - x0)(y1 - y0)

    Args:
      boxes: float [..., D, 4], each (x0, y0, x1, y1).
      others: float [..., G, 4], with the same leading axes.

    Returns:
      float [..., D, G] in [0, 1]; 0 for two boxes without an area. A box inside out has none.

    Raises:
      TypeError: boxes are not floating point.
      ValueError: a last axis is not 4, or the leading axes differ.
    """
    checks.floating(boxes=boxes, others=others)
    for name, x in (("boxes", boxes), ("others", others)):
        if np.ndim(x) < 2 or np.shape(x)[-1] != 4:
            raise ValueError(f"{name} must have shape (..., boxes, 4), got {np.shape(x)}")
    if np.shape(boxes)[:-2] != np.shape(others)[:-2]:
        raise ValueError(
            f"boxes and others must agree in their leading axes, got {np.shape(boxes)} and {np.shape(others)}"
        )
    return overlap(widened(boxes)[..., :, None, :], widened(others)[..., None, :, :])[0]


class Stored(NamedTuple):
    """Every detection so far, right or wrong at each threshold, and how many were to be found."""

    scores: Array  # float32[N]
    classes: Array  # int32[N], -1 where there is none
    right: Array  # bool[N, T]
    truths: Array  # int32[K]
    impossible: Array  # int32[], NaN scores and classes that do not exist


class Binned(NamedTuple):
    """The same, counted by score. Sums."""

    right: Array  # int32[K, T, num_bins]
    all: Array  # int32[K, num_bins]
    truths: Array  # int32[K]
    impossible: Array  # int32[], also scores that have no bin


def _judge(boxes, scores, classes, true_boxes, true_classes, *, limits, max_detections):
    """Detections of one image from the highest score down, each taking the free true box that it overlaps most."""
    order = jnp.argsort(-jnp.where(classes < 0, -jnp.inf, scores))
    boxes, scores, classes = boxes[order], scores[order], classes[order]
    ahead = jnp.cumsum(classes[:, None] == classes[None], axis=0).diagonal()
    classes = jnp.where(ahead <= max_detections, classes, -1)
    overlaps = box_iou(boxes, true_boxes)
    last = true_boxes.shape[0] - 1

    def judge(taken: Array, detection: tuple[Array, Array]) -> tuple[Array, Array]:
        shares, own = detection
        free = ~taken & own[None] & (shares[None] >= jnp.asarray(limits)[:, None])
        # The last of equal overlaps, as pycocotools.
        choice = last - jnp.argmax(jnp.where(free, shares[None], -1)[:, ::-1], axis=1)
        found = jnp.any(free, axis=1)
        return taken | (found[:, None] & (jnp.arange(last + 1)[None] == choice[:, None])), found

    own = (classes[:, None] == true_classes[None]) & (classes[:, None] >= 0)
    nothing_taken = jnp.zeros((len(limits), last + 1), bool)
    return scores, classes, jax.lax.scan(judge, nothing_taken, (overlaps, own))[1]


@functools.partial(jax.jit, static_argnames=("num_classes", "limits", "max_detections"))
def _stored(boxes, scores, classes, true_boxes, true_classes, chosen, *, num_classes, limits, max_detections):
    classes = jnp.where(chosen[:, None], classes, -1)
    true_classes = jnp.where(chosen[:, None], true_classes, -1)
    impossible = count((true_classes < -1) | (true_classes >= num_classes))
    impossible += count((classes < -1) | (classes >= num_classes) | (jnp.isnan(scores) & (classes >= 0)))
    truths = jnp.sum(true_classes.reshape(-1, 1) == jnp.arange(num_classes)[None], axis=0, dtype=jnp.int32)
    # One box of no class more, so that the images may have none.
    true_boxes = jnp.pad(true_boxes, ((0, 0), (0, 1), (0, 0)))
    true_classes = jnp.pad(true_classes, ((0, 0), (0, 1)), constant_values=-1)
    judge = functools.partial(_judge, limits=limits, max_detections=max_detections)
    scores, classes, right = jax.vmap(judge)(boxes, scores, classes, true_boxes, true_classes)
    return Stored(scores.ravel(), classes.ravel(), right.reshape(-1, len(limits)), truths, impossible)


@functools.partial(jax.jit, static_argnames="num_bins")
def _binned(state: Stored, num_bins: int) -> Binned:
    num_classes, num_limits = state.truths.shape[0], state.right.shape[1]
    bins = in_bins(state.scores, num_bins)
    lost = count((state.classes >= 0) & (bins == num_bins) & ~jnp.isnan(state.scores))
    right = jnp.zeros((num_classes + 1, num_limits, num_bins + 1), jnp.int32)
    every = jnp.zeros((num_classes + 1, num_bins + 1), jnp.int32)
    # Class -1 goes to the last place, which is cut off with the last bin.
    right = right.at[state.classes, :, bins].add(state.right.astype(jnp.int32))[:-1, :, :-1]
    every = every.at[state.classes, bins].add(1)[:-1, :-1]
    return Binned(right, every, state.truths, state.impossible + lost)


def _so_far(x: Array) -> Array:
    return jnp.cumsum(x, axis=0, dtype=jnp.int32)


def _interpolated(right: Array, wrong: Array, truths: Array) -> Array:
    """Mean of the best precision at a recall of at least 0, 0.01, ... 1, from counts [M] from the top score down."""
    precision = right / jnp.maximum(right + wrong, 1)
    best = jax.lax.cummax(jnp.concatenate([precision, jnp.zeros(1)]), reverse=True)
    # As whole numbers of true boxes: a recall of 0.35 is 7 of 20 whatever the rounding of either.
    enough = (jnp.arange(101) * truths + 99) // 100
    return jnp.mean(best[jnp.searchsorted(right, enough)])


def _over_limits(right: Array, wrong: Array, truths: Array) -> Array:
    """The mean over thresholds, from counts [M, T]."""
    return jnp.mean(jax.vmap(_interpolated, in_axes=(1, 1, None))(right, wrong, truths))


@jax.jit
def _precisions(state: Stored | Binned) -> Array:
    """Average precision of each class."""
    if isinstance(state, Binned):
        right, every = state.right.transpose(0, 2, 1)[:, ::-1], state.all[:, ::-1, None]
        right, wrong = (jnp.cumsum(x, axis=1, dtype=jnp.int32) for x in (right, every - right))
        return jax.vmap(_over_limits)(right, wrong, state.truths)
    order = jnp.argsort(-jnp.where(state.classes < 0, -jnp.inf, state.scores))
    classes, right = state.classes[order][:, None], state.right[order]

    def of_class(at: tuple[Array, Array]) -> Array:
        own, truths = classes == at[0], at[1]
        return _over_limits(_so_far(own & right), _so_far(own & ~right), truths)

    # One class after the other: all together would hold detections times classes times thresholds.
    return jax.lax.map(of_class, (jnp.arange(state.truths.shape[0]), state.truths))


COCO = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@Metric
def mean_average_precision(
    *,
    num_classes: int,
    thresholds: tuple[float, ...] = COCO,
    max_detections: int = 100,
    average: str | None = "macro",
    num_bins: int | None = None,
) -> Parts:
    """Average precision of detected boxes, meaned over thresholds of overlap and classes, as COCO does.

    In each image and class the detections, from the highest score down, take the free true box with the largest
    `box_iou`, if that reaches the threshold; one that takes none is wrong. With the detections of all images in the
    order of their scores, P(r) is the precision where a share r of the true boxes is found, and

    AP = (1/101) sum_{r = 0, 0.01, ..., 1} max_{r' >= r} P(r')

        predictions = (boxes, scores, classes)          # padded with class -1
        metrics.mean_average_precision(predictions, (true_boxes, true_classes), num_classes=20)
        metrics.mean_average_precision(predictions, truths, num_classes=20, thresholds=(0.5,))     # mAP@0.5

    Args:
      predictions: boxes, float [B, D, 4]; scores, float [B, D]; classes, int [B, D], -1 for none.
      targets: boxes, float [B, G, 4]; classes, int [B, G], -1 for none.
      where: bool [B], which images count, or None for all.
      num_classes: K, at least 1.
      thresholds: overlaps that count as found, above 0, at most 1.
      max_detections: per image and class, those with the highest scores.
      average: "macro", mean over the classes with true boxes; None, one value for each class.
      num_bins: None is exact and stores every detection, so the state grows with each merge; at least 2
        streams in fixed size, with scores in [0, 1] of which all in one bin are a tie.

    Returns:
      float32[] or [K], in [0, 1]. NaN for a class without true boxes, and for the mean when there are none at all;
      NaN when a score is NaN or has no bin, or a class is outside [-1, K).

    Raises:
      TypeError: boxes or scores are not floating point, classes are not integers, or where is not bool.
      ValueError: the shapes do not agree, or a setting is impossible.

    Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010, section 4.2, for
    interpolated precision; Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and its evaluation code for
    the rest.

    Differs from pycocotools: no crowd regions and no sizes apart; a recall that equals one of the 101 counts as
    reached, which in that code depends on rounding.
    """
    checks.at_least(1, num_classes=num_classes, max_detections=max_detections)
    checks.one_of(("macro", None), average=average)
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise ValueError(f"thresholds must be above 0 and at most 1, and at least one, got {thresholds}")
    if num_bins is not None:
        checks.at_least(2, num_bins=num_bins)
    limits = tuple(thresholds)

    def measure(predictions: Any, targets: Any, where: Array | None) -> Stored | Binned:
        (boxes, scores, classes), (true_boxes, true_classes) = predictions, targets
        checks.floating(boxes=boxes, scores=scores, true_boxes=true_boxes)
        checks.integer(classes=classes, true_classes=true_classes)
        checks.rank(3, boxes=boxes, true_boxes=true_boxes)
        checks.shape((*np.shape(boxes)[:2], 4), boxes=boxes)
        checks.shape((np.shape(boxes)[0], *np.shape(true_boxes)[1:2], 4), true_boxes=true_boxes)
        checks.shape(np.shape(boxes)[:2], scores=scores, classes=classes)
        checks.shape(np.shape(true_boxes)[:2], true_classes=true_classes)
        state = _stored(
            *(widened(boxes), widened(scores), class_indices(classes)),
            *(widened(true_boxes), class_indices(true_classes)),
            counted(np.shape(boxes)[:1], where),
            num_classes=num_classes,
            limits=limits,
            max_detections=max_detections,
        )
        return state if num_bins is None else _binned(state, num_bins)

    def merge(a: Stored, b: Stored) -> Stored:
        return Stored(*append(a[:3], b[:3]), *add(a[3:], b[3:]))

    def finish(state: Stored | Binned) -> Array:
        there = state.truths > 0
        each = jnp.where(there & (state.impossible == 0), _precisions(state), jnp.nan)
        return each if average is None else jnp.mean(each, where=there)

    def zero() -> Stored | Binned:
        truths, impossible = jnp.zeros(num_classes, jnp.int32), jnp.zeros((), jnp.int32)
        if num_bins is None:
            right = jnp.zeros((0, len(limits)), bool)
            return Stored(jnp.zeros(0), jnp.zeros(0, jnp.int32), right, truths, impossible)
        right = jnp.zeros((num_classes, len(limits), num_bins), jnp.int32)
        return Binned(right, jnp.zeros((num_classes, num_bins), jnp.int32), truths, impossible)

    return Parts(zero, measure, finish, merge if num_bins is None else add)
