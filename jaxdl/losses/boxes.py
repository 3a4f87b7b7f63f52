"""Losses on boxes: coordinate by coordinate, and by overlap.

A box is (x0, y0, x1, y1): left, top, right and bottom, in any unit, x1 >= x0 and y1 >= y0. [...] is any shape of
boxes. Predicted boxes come first, true ones second. Half precision is computed and returned in float32. A true box
inside out makes its loss and gradient NaN; a predicted one has no area. `where` is bool [...]; masked losses and
their gradients are 0.
"""

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import examplewise, poisoned, together
from jaxdl.losses.regression import huber
from jaxdl.types import Array


def check_boxes(**arrays: Array) -> tuple[Array, ...]:
    """Boxes in one float dtype; raises ValueError unless the shapes are equal and end in 4."""
    boxes = together(**arrays)
    checks.shape((*boxes[0].shape[:-1], 4), **{next(iter(arrays)): boxes[0]})
    return boxes


def box_smooth_l1(
    predictions: Array, targets: Array, where: Array | None = None, *, beta: float = 1.0
) -> Array:
    """Quadratic for small errors of a box, linear for large ones, summed over its four numbers.

    With r = p - t:  l = sum over 4 of r^2 / (2 beta) where |r| <= beta, else |r| - beta / 2

    `huber` divided by beta. The numbers may be corners, or offsets relative to an anchor.

    Args:
      predictions: p, float [..., 4].
      targets: t, real numbers [..., 4].
      where: bool [...], or None for all.
      beta: where the two parts meet; positive.

    Returns:
      float [...], in the unit of the numbers.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ or do not end in 4, or beta is not positive.

    Source: Girshick, "Fast R-CNN", 2015, equations 2 and 3.
    """
    p, t = check_boxes(predictions=predictions, targets=targets)
    checks.positive(beta=beta)

    def formula(p: Array, t: Array) -> Array:
        return jnp.sum(huber(p, t, delta=beta), axis=-1) / beta

    return examplewise(formula, p, t, where=where, shape=p.shape[:-1])


def _area(top_left: Array, bottom_right: Array) -> Array:
    sides = jnp.maximum(bottom_right - top_left, 0)
    return sides[..., 0] * sides[..., 1]


def box_area(box: Array) -> Array:
    """Width times height, 0 for a box inside out."""
    return _area(box[..., :2], box[..., 2:])


def intersection(p: Array, t: Array) -> Array:
    """The area that two boxes share."""
    return _area(jnp.maximum(p[..., :2], t[..., :2]), jnp.minimum(p[..., 2:], t[..., 2:]))


def overlap(p: Array, t: Array) -> tuple[Array, Array]:
    """Intersection over union of boxes, 0 where the union is empty, and the union."""
    shared = intersection(p, t)
    union = box_area(p) + box_area(t) - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0), union


def _upright(t: Array) -> Array:
    return jnp.all(t[..., 2:] >= t[..., :2], axis=-1)


def iou_loss(boxes: Array, targets: Array, where: Array | None = None) -> Array:
    """One less the overlap of two boxes as a share of their union.

    l = 1 - |A and B| / |A or B|

    No gradient where the boxes do not touch: `giou_loss` has one there.

    Args:
      boxes: predicted, float [..., 4], as (x0, y0, x1, y1).
      targets: true, real numbers [..., 4].
      where: bool [...], or None for all.

    Returns:
      float [...], in [0, 1]; 1 where there is no area. NaN where a true box is inside out.

    Raises:
      TypeError: boxes are not floating point, or where is not bool.
      ValueError: the shapes differ or do not end in 4.

    Source: Yu et al., "UnitBox", 2016, section 3.1 (which takes the negative logarithm of the overlap).
    """
    p, t = check_boxes(boxes=boxes, targets=targets)
    return examplewise(
        lambda p, t: poisoned(1 - overlap(p, t)[0], _upright(t)), p, t, where=where, shape=p.shape[:-1]
    )


def giou_loss(boxes: Array, targets: Array, where: Array | None = None) -> Array:
    """`iou_loss` plus how empty the smallest box around both is, so that distant boxes attract each other.

    l = 1 - IoU + (|C| - |A or B|) / |C|,  C the smallest box around both

    Args:
      boxes: predicted, float [..., 4], as (x0, y0, x1, y1).
      targets: true, real numbers [..., 4].
      where: bool [...], or None for all.

    Returns:
      float [...], in [0, 2]; 1 where there is no area at all. NaN where a true box is inside out.

    Raises:
      TypeError: boxes are not floating point, or where is not bool.
      ValueError: the shapes differ or do not end in 4.

    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019, algorithm 1.
    """
    p, t = check_boxes(boxes=boxes, targets=targets)

    def formula(p: Array, t: Array) -> Array:
        iou, union = overlap(p, t)
        around = _area(jnp.minimum(p[..., :2], t[..., :2]), jnp.maximum(p[..., 2:], t[..., 2:]))
        empty = jnp.where(around > 0, (around - union) / jnp.where(around > 0, around, 1), 0)
        return poisoned(1 - iou + empty, _upright(t))

    return examplewise(formula, p, t, where=where, shape=p.shape[:-1])
