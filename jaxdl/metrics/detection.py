"""Metrics of boxes with a class and a score.

B images, D detections and G true boxes an image, K classes, T thresholds. Boxes are (x0, y0, x1, y1), x0 <= x1 and
y0 <= y1, in any unit. Images with fewer boxes are padded with boxes of class -1.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.boxes import box_area, intersection, overlap
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
    """Every detection so far, right, wrong or neither at each threshold, and how many were to be found."""

    scores: Array  # float32[N]
    classes: Array  # int32[N], -1 where there is none
    right: Array  # bool[N, T]
    wrong: Array  # bool[N, T]
    truths: Array  # int32[K]
    impossible: Array  # int32[], NaN scores and classes that do not exist


class Binned(NamedTuple):
    """The same, counted by score. Sums."""

    right: Array  # int32[K, T, num_bins]
    wrong: Array  # int32[K, T, num_bins]
    truths: Array  # int32[K]
    impossible: Array  # int32[], also scores that have no bin


class Found(NamedTuple):
    """How many true boxes were found and how many were to be. Sums."""

    right: Array  # int32[K, T]
    truths: Array  # int32[K]
    impossible: Array  # int32[], NaN scores and classes that do not exist


class Truths(NamedTuple):
    """True boxes, checked and widened."""

    boxes: Array  # float[B, G, 4]
    classes: Array  # int[B, G], -1 for none
    crowd: Array  # bool[B, G]
    areas: Array  # float[B, G]


def _in_range(areas: Array, area_range: tuple[float, float] | None) -> Array:
    if area_range is None:
        return jnp.ones(areas.shape, bool)
    return (areas >= area_range[0]) & (areas <= area_range[1])


def _judge(boxes, scores, classes, truths, *, limits, max_detections, area_range):
    """Detections of one image from the highest score down, each taking the free true box that it overlaps most."""
    order = jnp.argsort(-jnp.where(classes < 0, -jnp.inf, scores))
    boxes, scores, classes = boxes[order], scores[order], classes[order]
    ahead = jnp.cumsum(classes[:, None] == classes[None], axis=0).diagonal()
    classes = jnp.where(ahead <= max_detections, classes, -1)
    overlaps = box_iou(boxes, truths.boxes)
    # A crowd is no box to match but a region to lie in: what counts is the share of the detection's own area.
    areas = box_area(boxes)
    within = intersection(boxes[:, None], truths.boxes[None]) / jnp.where(areas > 0, areas, 1)[:, None]
    overlaps = jnp.where(truths.crowd[None], within, overlaps)
    counts = ~truths.crowd & _in_range(truths.areas, area_range)
    last = len(truths.classes) - 1

    def judge(taken: Array, detection: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        shares, own = detection
        free = (~taken | truths.crowd[None]) & own[None] & (shares[None] >= jnp.asarray(limits)[:, None])
        right = jnp.any(free & counts[None], axis=1)
        free &= counts[None] | ~right[:, None]  # boxes that do not count are left to those that find no other
        # The last of equal overlaps, as pycocotools.
        choice = last - jnp.argmax(jnp.where(free, shares[None], -1)[:, ::-1], axis=1)
        found = jnp.any(free, axis=1)
        return taken | (found[:, None] & (jnp.arange(last + 1)[None] == choice[:, None])), (right, found)

    own = (classes[:, None] == truths.classes[None]) & (classes[:, None] >= 0)
    # From the boxes, not a constant, so that inside `shard_map` it varies over devices as what is carried on does.
    nothing_taken = jnp.broadcast_to(truths.crowd & False, (len(limits), last + 1))
    right, found = jax.lax.scan(judge, nothing_taken, (overlaps, own))[1]
    return scores, classes, right, ~found & _in_range(areas, area_range)[:, None]


@functools.partial(jax.jit, static_argnames=("num_classes", "limits", "max_detections", "area_range"))
def _stored(boxes, scores, classes, truths, chosen, *, num_classes, limits, max_detections, area_range):
    classes = jnp.where(chosen[:, None], classes, -1)
    truths = truths._replace(classes=jnp.where(chosen[:, None], truths.classes, -1))
    impossible = count((truths.classes < -1) | (truths.classes >= num_classes))
    impossible += count((classes < -1) | (classes >= num_classes) | (jnp.isnan(scores) & (classes >= 0)))
    counts = jnp.where(~truths.crowd & _in_range(truths.areas, area_range), truths.classes, -1)
    number = jnp.sum(counts.reshape(-1, 1) == jnp.arange(num_classes)[None], axis=0, dtype=jnp.int32)
    # One box of no class more, so that the images may have none.
    truths = jax.tree.map(lambda x: jnp.pad(x, [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2)), truths)
    truths = truths._replace(classes=truths.classes.at[:, -1].set(-1))
    judge = functools.partial(_judge, limits=limits, max_detections=max_detections, area_range=area_range)
    scores, classes, *judged = jax.vmap(judge)(boxes, scores, classes, truths)
    right, wrong = (x.reshape(-1, len(limits)) for x in judged)
    return Stored(scores.ravel(), classes.ravel(), right, wrong, number, impossible)


@functools.partial(jax.jit, static_argnames="num_bins")
def _binned(state: Stored, num_bins: int) -> Binned:
    num_classes, num_limits = state.truths.shape[0], state.right.shape[1]
    bins = in_bins(state.scores, num_bins)
    lost = count((state.classes >= 0) & (bins == num_bins) & ~jnp.isnan(state.scores))

    def histogram(judged: Array) -> Array:
        # Class -1 goes to the last place, which is cut off with the last bin.
        empty = jnp.zeros((num_classes + 1, num_limits, num_bins + 1), jnp.int32)
        return empty.at[state.classes, :, bins].add(judged.astype(jnp.int32))[:-1, :, :-1]

    return Binned(histogram(state.right), histogram(state.wrong), state.truths, state.impossible + lost)


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
        falling = (x.transpose(0, 2, 1)[:, ::-1] for x in (state.right, state.wrong))
        right, wrong = (jnp.cumsum(x, axis=1, dtype=jnp.int32) for x in falling)
        return jax.vmap(_over_limits)(right, wrong, state.truths)
    order = jnp.argsort(-jnp.where(state.classes < 0, -jnp.inf, state.scores))
    classes, right, wrong = state.classes[order][:, None], state.right[order], state.wrong[order]

    def of_class(at: tuple[Array, Array]) -> Array:
        own, truths = classes == at[0], at[1]
        return _over_limits(_so_far(own & right), _so_far(own & wrong), truths)

    # One class after the other: all together would hold detections times classes times thresholds.
    return jax.lax.map(of_class, (jnp.arange(state.truths.shape[0]), state.truths))


COCO = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def _measure(
    num_classes: int,
    thresholds: tuple[float, ...],
    max_detections: int,
    area_range: tuple[float, float] | None,
    average: str | None,
) -> Callable[[Any, Any, Array | None], Stored]:
    """Checks the settings and returns what judges the detections of a batch."""
    checks.at_least(1, num_classes=num_classes, max_detections=max_detections)
    checks.one_of(("macro", None), average=average)
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise ValueError(f"thresholds must be above 0 and at most 1, and at least one, got {thresholds}")
    if area_range is not None and not 0 <= area_range[0] <= area_range[1]:
        raise ValueError(f"area_range must be (least, largest), at least 0 and rising, got {area_range}")
    settings = {"max_detections": max_detections, "area_range": area_range and tuple(area_range)}

    def measure(predictions: Any, targets: Any, where: Array | None) -> Stored:
        (boxes, scores, classes), (true_boxes, true_classes, *more) = predictions, targets
        checks.floating(boxes=boxes, scores=scores, true_boxes=true_boxes)
        checks.integer(classes=classes, true_classes=true_classes)
        checks.rank(3, boxes=boxes, true_boxes=true_boxes)
        checks.shape((*np.shape(boxes)[:2], 4), boxes=boxes)
        checks.shape((np.shape(boxes)[0], *np.shape(true_boxes)[1:2], 4), true_boxes=true_boxes)
        checks.shape(np.shape(boxes)[:2], scores=scores, classes=classes)
        checks.shape(np.shape(true_boxes)[:2], true_classes=true_classes)
        if len(more) > 2:
            raise ValueError(
                f"targets must be boxes, classes, crowd and areas at most, got {2 + len(more)} arrays"
            )
        crowd = more[0] if more else jnp.zeros(np.shape(true_classes), bool)
        checks.boolean(crowd=crowd)
        areas = widened(more[1]) if len(more) > 1 else box_area(widened(true_boxes))
        checks.shape(np.shape(true_classes), crowd=crowd, areas=areas)
        return _stored(
            *(widened(boxes), widened(scores), class_indices(classes)),
            Truths(widened(true_boxes), class_indices(true_classes), jnp.asarray(crowd), areas),
            counted(np.shape(boxes)[:1], where),
            num_classes=num_classes,
            limits=tuple(thresholds),
            **settings,
        )

    return measure


def _over_classes(each: Array, state: Stored | Binned | Found, average: str | None) -> Array:
    there = state.truths > 0
    each = jnp.where(there & (state.impossible == 0), each, jnp.nan)
    return each if average is None else jnp.mean(each, where=there)


@Metric
def mean_average_precision(
    *,
    num_classes: int,
    thresholds: tuple[float, ...] = COCO,
    max_detections: int = 100,
    area_range: tuple[float, float] | None = None,
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
        small = metrics.mean_average_precision.bind(num_classes=80, area_range=(0, 32**2))

    Crowds are regions full of objects that no one has told apart: a detection that takes no other box and lies in
    one, by the share of its own area, is neither right nor wrong, and a crowd need not be found. Nor need boxes
    outside the range of areas be; a detection of one, or one of such an area that takes nothing, is not judged.

    Args:
      predictions: boxes, float [B, D, 4]; scores, float [B, D]; classes, int [B, D], -1 for none.
      targets: boxes, float [B, G, 4]; classes, int [B, G], -1 for none; then, if there are crowds, which boxes
        are, bool [B, G]; then, if an object is smaller than its box, the areas of the objects, float [B, G].
      where: bool [B], which images count, or None for all.
      num_classes: K, at least 1.
      thresholds: overlaps that count as found, above 0, at most 1.
      max_detections: per image and class, those with the highest scores.
      area_range: least and largest area of the boxes that count, both included, or None for all; COCO's small
        ones are (0, 32**2), its medium (32**2, 96**2), its large (96**2, 1e10).
      average: "macro", mean over the classes with true boxes; None, one value for each class.
      num_bins: None is exact and stores every detection, so the state grows with each merge; at least 2
        streams in fixed size, with scores in [0, 1] of which all in one bin are a tie.

    Returns:
      float32[] or [K], in [0, 1]. NaN for a class without true boxes, and for the mean when there are none at all;
      NaN when a score is NaN or has no bin, or a class is outside [-1, K).

    Raises:
      TypeError: boxes or scores are not floating point, classes are not integers, or crowd or where is not bool.
      ValueError: the shapes do not agree, or a setting is impossible.

    Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010, section 4.2, for
    interpolated precision; Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and its evaluation code for
    the rest.

    Differs from pycocotools: a recall that equals one of the 101 counts as reached, which in that code depends on
    rounding.
    """
    measure = _measure(num_classes, thresholds, max_detections, area_range, average)
    if num_bins is not None:
        checks.at_least(2, num_bins=num_bins)

    def binned(predictions: Any, targets: Any, where: Array | None) -> Binned:
        return _binned(measure(predictions, targets, where), num_bins)

    def merge(a: Stored, b: Stored) -> Stored:
        return Stored(*append(a[:4], b[:4]), *add(a[4:], b[4:]))

    def finish(state: Stored | Binned) -> Array:
        return _over_classes(_precisions(state), state, average)

    def zero() -> Stored | Binned:
        truths, impossible = jnp.zeros(num_classes, jnp.int32), jnp.zeros((), jnp.int32)
        if num_bins is None:
            right, wrong = (jnp.zeros((0, len(thresholds)), bool) for _ in range(2))
            return Stored(jnp.zeros(0), jnp.zeros(0, jnp.int32), right, wrong, truths, impossible)
        right, wrong = (jnp.zeros((num_classes, len(thresholds), num_bins), jnp.int32) for _ in range(2))
        return Binned(right, wrong, truths, impossible)

    return Parts(zero, measure, finish, merge) if num_bins is None else Parts(zero, binned, finish)


@Metric
def mean_average_recall(
    *,
    num_classes: int,
    thresholds: tuple[float, ...] = COCO,
    max_detections: int = 100,
    area_range: tuple[float, float] | None = None,
    average: str | None = "macro",
) -> Parts:
    """Share of the true boxes that are found, whatever the scores, meaned over thresholds of overlap and classes.

    AR = mean over thresholds of (true boxes that a detection takes) / (true boxes)

        metrics.mean_average_recall(predictions, truths, num_classes=80, max_detections=1)         # AR@1
        metrics.mean_average_recall(predictions, truths, num_classes=80, area_range=(0, 32**2))    # of small ones

    Which takes which, crowds and areas are as in `mean_average_precision`, which also minds what is found wrongly.

    Args, Raises: as for `mean_average_precision`.

    Returns:
      float32[] or [K], in [0, 1]. NaN for a class without true boxes, and for the mean when there are none at all;
      NaN when a score is NaN, or a class is outside [-1, K).

    Source: Hosang, Benenson, Dollár and Schiele, "What Makes for Effective Detection Proposals?", 2016, section 5, for
    the mean over thresholds; COCO's evaluation code for the rest.
    """
    judged = _measure(num_classes, thresholds, max_detections, area_range, average)

    def measure(predictions: Any, targets: Any, where: Array | None) -> Found:
        state = judged(predictions, targets, where)
        # Class -1 goes to the last place, which is cut off.
        empty = jnp.zeros((num_classes + 1, len(thresholds)), jnp.int32)
        right = empty.at[state.classes].add(state.right.astype(jnp.int32))[:-1]
        return Found(right, state.truths, state.impossible)

    def finish(state: Found) -> Array:
        each = jnp.mean(state.right / jnp.maximum(state.truths, 1)[:, None], axis=1)
        return _over_classes(each, state, average)

    def zero() -> Found:
        right = jnp.zeros((num_classes, len(thresholds)), jnp.int32)
        return Found(right, jnp.zeros(num_classes, jnp.int32), jnp.zeros((), jnp.int32))

    return Parts(zero, measure, finish)
