"""Losses of detectors: what it is, where it is, which pixels are its own.

B is the batch, N the regions, anchors or default boxes of an image, K the number of classes. Predictions come first,
in the order class, box; truths second, in the same order. Half precision is computed and returned in float32. A
label that cannot be gives NaN. `where` is bool; masked losses and their gradients are 0.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.boxes import box_smooth_l1, check_boxes, overlap
from jaxdl.losses.classification import (
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from jaxdl.losses.masking import at_label, check_labels, check_where, examplewise, poisoned, widened
from jaxdl.types import Array


def detection_loss(
    class_logits: Array,
    boxes: Array,
    labels: Array,
    target_boxes: Array,
    where: Array | None = None,
    *,
    box_weight: float = 1.0,
    beta: float = 1.0,
) -> Array:
    """Cross-entropy of a region's class, plus the error of its box where it is not background.

    l = CE(class_logits, y) + box_weight [y > 0] smooth_l1(boxes, target_boxes)

    Args:
      class_logits: float [..., K]; class 0 is background.
      boxes: four numbers for each region, of the class in question where the net has some for each, float
        [..., 4].
      labels: y, int [...], in [0, K).
      target_boxes: in the same code as the boxes, [..., 4]; anything finite where y is 0.
      where: bool [...], or None for all.
      box_weight: at least 0.
      beta: of `box_smooth_l1`.

    Returns:
      float [...]: nats, plus the weighted unit of the boxes. NaN where the label is outside [0, K).

    Raises:
      TypeError: logits or boxes are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not fit, or a setting is out of range.

    Source: Girshick, "Fast R-CNN", 2015, equation 1.
    """
    p, t = check_boxes(boxes=boxes, target_boxes=target_boxes)
    checks.same_shape(class_logits_without_its_last_axis=class_logits[..., 0], boxes_without_theirs=p[..., 0])
    checks.non_negative(box_weight=box_weight)
    kind = softmax_cross_entropy_with_integer_labels(class_logits, labels, where)
    objects = jnp.asarray(labels) > 0
    if where is not None:
        objects &= where
    return kind + box_weight * box_smooth_l1(p, t, objects, beta=beta)


def mask_loss(mask_logits: Array, masks: Array, labels: Array, where: Array | None = None) -> Array:
    """Mean cross-entropy of which pixels of a region belong to its object, by the mask of the right class.

    l = mean over pixels of `sigmoid_binary_cross_entropy`(mask_logits[..., y], masks)

    The other classes' masks get no gradient, so classes do not compete for pixels.

    Args:
      mask_logits: float [..., H, W, K].
      masks: 1 where the object is, 0 elsewhere, float, int or bool [..., H, W].
      labels: y, int [...], in [0, K).
      where: bool [...] (the regions that have an object), or None for all.

    Returns:
      Nats, float [...]. NaN where the label is outside [0, K) or a mask outside [0, 1].

    Raises:
      TypeError: logits are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not fit.

    Source: He, Gkioxari, Dollár and Girshick, "Mask R-CNN", 2017, section 3.
    """
    checks.floating(mask_logits=mask_logits)
    checks.integer(labels=labels)
    shape = jnp.shape(labels)
    checks.shape((*shape, None, None, None), mask_logits=mask_logits)
    checks.shape(jnp.shape(mask_logits)[:-1], masks=masks)

    def formula(x: Array, masks: Array, labels: Array) -> Array:
        of_pixels = jnp.broadcast_to(labels[..., None, None], x.shape[:-1])
        return jnp.mean(sigmoid_binary_cross_entropy(at_label(x, of_pixels), masks), axis=(-2, -1))

    x = widened(mask_logits)
    masks = jnp.asarray(masks).astype(x.dtype)
    return examplewise(formula, x, masks, jnp.asarray(labels), where=where, shape=shape)


def yolo_loss(
    boxes: Array,
    confidences: Array,
    class_scores: Array,
    target_boxes: Array,
    labels: Array,
    where: Array | None = None,
    *,
    box_weight: float = 5.0,
    empty_weight: float = 0.5,
) -> Array:
    """Sum of squared errors over a grid: of the box that fits best in cells with an object, of all confidences.

    l = sum over cells with an object of
          box_weight ((x - x')^2 + (y - y')^2 + (rw - sqrt w')^2 + (rh - sqrt h')^2)
          + (confidence - IoU)^2 + sum_k (score_k - [k = label])^2
        + empty_weight sum over all other boxes of confidence^2

    A cell's best box is the one of highest IoU with the true box (the first of equals); which one it is, and
    the IoU it should be confident of, get no gradient.

    Args:
      boxes: (x, y, rw, rh), float [B, S, S, N, 4]: the centre in cells from the cell's corner, and the square
        roots of width and height as shares of the image: roots, because their own gradient is finite at 0.
      confidences: that there is an object, times how well the box fits it, float [B, S, S, N].
      class_scores: float [B, S, S, K].
      target_boxes: (x', y', w', h') of the object whose centre is in the cell, [B, S, S, 4]; w' and h' at
        least 0, as shares of the image, not roots; anything finite where there is none.
      labels: int [B, S, S], in [0, K), or -1 where there is no object.
      where: bool [B], or None for all.
      box_weight: at least 0.
      empty_weight: at least 0: less than 1, since most boxes are empty.

    Returns:
      float [B]. NaN where a label is outside [-1, K) or a true width or height is negative.

    Raises:
      TypeError: predictions are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not fit, or a weight is negative.

    Source: Redmon, Divvala, Girshick and Farhadi, "You Only Look Once", 2016, equation 3.
    """
    checks.floating(boxes=boxes, confidences=confidences)
    check_labels(class_scores=class_scores, labels=labels)
    checks.rank(3, labels=labels)
    grid = jnp.shape(labels)
    checks.shape((*grid, None), confidences=confidences)
    checks.shape((*jnp.shape(confidences), 4), boxes=boxes)
    checks.shape((*grid, 4), target_boxes=target_boxes)
    checks.non_negative(box_weight=box_weight, empty_weight=empty_weight)

    def corners(centre: Array, size: Array) -> Array:
        # Rows are the first axis of the grid, so a cell is 1 / columns wide and 1 / rows high.
        middle = jnp.stack([centre[..., 0] / grid[2], centre[..., 1] / grid[1]], axis=-1)
        return jnp.concatenate([middle - size / 2, middle + size / 2], axis=-1)

    def formula(boxes: Array, confidence: Array, scores: Array, truth: Array, labels: Array) -> Array:
        filled = labels >= 0
        possible = (labels >= -1) & (labels < scores.shape[-1])
        possible &= jnp.all(truth[..., 2:] >= 0, axis=-1) | ~filled
        truth = jnp.where(filled[..., None], truth, 0)
        size = jnp.maximum(truth[..., 2:], 0)
        predicted = corners(boxes[..., :2], jnp.square(boxes[..., 2:]))
        true = jnp.broadcast_to(corners(truth[..., :2], size)[..., None, :], predicted.shape)
        iou = jax.lax.stop_gradient(overlap(predicted, true)[0])
        best = filled[..., None] & jax.nn.one_hot(jnp.argmax(iou, axis=-1), iou.shape[-1], dtype=bool)
        wanted = jnp.concatenate([truth[..., :2], jnp.sqrt(size)], axis=-1)[..., None, :]
        place = jnp.sum(jnp.square(boxes - wanted), axis=-1)
        one_hot = jax.nn.one_hot(labels, scores.shape[-1], dtype=scores.dtype)
        kind = jnp.sum(jnp.square(scores - one_hot), axis=-1)
        found = jnp.where(best, box_weight * place + jnp.square(confidence - iou), 0)
        empty = jnp.where(best, 0, empty_weight * jnp.square(confidence))
        of_cell = jnp.sum(found + empty, axis=-1) + jnp.where(filled, kind, 0)
        return jnp.sum(poisoned(of_cell, possible), axis=(1, 2))

    boxes, confidences, class_scores = widened(boxes), widened(confidences), widened(class_scores)
    target_boxes = jnp.asarray(target_boxes).astype(boxes.dtype)
    return examplewise(
        formula,
        boxes,
        confidences,
        class_scores,
        target_boxes,
        jnp.asarray(labels),
        where=where,
        shape=grid[:1],
    )


def ssd_loss(
    class_logits: Array,
    boxes: Array,
    labels: Array,
    target_boxes: Array,
    where: Array | None = None,
    *,
    box_weight: float = 1.0,
    negatives: int = 3,
) -> Array:
    """`detection_loss` of an image's default boxes: all that match an object, and the worst of the others.

    l = (sum over matched of CE + box_weight smooth_l1, plus sum over chosen others of CE) / M

    M boxes match an object; of the others the min(negatives M, all) of largest cross-entropy are chosen.

    Args:
      class_logits: float [B, N, K]; class 0 is background.
      boxes: offsets, float [B, N, 4].
      labels: of the matched object, 0 where there is none, int [B, N], in [0, K).
      target_boxes: offsets of the matched object in the same code, [B, N, 4]; anything finite where there is
        none.
      where: bool [B], or [B, N] (boxes, which then neither match nor are chosen), or None for all.
      box_weight: at least 0.
      negatives: how many others for each match, at least 0.

    Returns:
      float [B]; 0 for an image without any match. NaN where a label is outside [0, K).

    Raises:
      TypeError: logits or boxes are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not fit, or a setting is out of range.

    Source: Liu et al., "SSD: Single Shot MultiBox Detector", 2016, equations 1 to 3.
    """
    checks.rank(3, class_logits=class_logits)
    check_labels(class_logits=class_logits, labels=labels)
    p, t = check_boxes(boxes=boxes, target_boxes=target_boxes)
    checks.same_shape(labels=labels, boxes_without_their_last_axis=p[..., 0])
    checks.non_negative(box_weight=box_weight, negatives=negatives)
    size = jnp.shape(labels)
    kept = None
    if where is not None:
        check_where(where, size[:1], size)
        missing = len(size) - jnp.ndim(where)
        kept = jnp.broadcast_to(jnp.reshape(where, jnp.shape(where) + (1,) * missing), size)
    kind = softmax_cross_entropy_with_integer_labels(class_logits, labels, kept)
    present = jnp.ones(size, bool) if kept is None else kept
    matched = present & (jnp.asarray(labels) > 0)
    number = jnp.sum(matched, axis=-1)
    # The rank of each candidate among the others, worst first: a sort, then its inverse.
    worst_first = jnp.argsort(jnp.where(present & ~matched, -jax.lax.stop_gradient(kind), jnp.inf), axis=-1)
    rank = jnp.argsort(worst_first, axis=-1)
    chosen = present & ~matched & (rank < negatives * number[:, None])
    place = box_smooth_l1(p, t, matched)
    bad = jnp.isnan(kind)  # an impossible label, matched or not
    total = jnp.sum(jnp.where(matched | chosen | bad, kind, 0) + box_weight * place, axis=-1)
    return jnp.where(number > 0, total / jnp.maximum(number, 1), jnp.where(jnp.any(bad, axis=-1), total, 0))
