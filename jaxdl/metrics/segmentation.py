"""Metrics of label maps: what each pixel, or other place, is taken for.

Predictions are scores, float [..., H, W, K], of which the largest counts, or classes, int [..., H, W]; labels are int
[..., H, W]. The pixels of all images are counted together, exactly up to 2^31; `where` leaves out those without
a label, as in `where=labels != 255`.
"""

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.metrics.classification import accuracy
from jaxdl.metrics.confusion import averaged, confusion_counts, inside, mean_of_occurring
from jaxdl.metrics.streaming import Metric, Parts
from jaxdl.types import Array


@Metric
def pixel_accuracy() -> Parts:
    """Share of pixels whose predicted class is the right one.

    sum(prediction == label) / N

    It is `accuracy` of maps. A large background makes it high whatever becomes of the small classes, which
    `mean_iou` counts alike.

    Args:
      predictions: scores, float [..., H, W, K], or classes, int [..., H, W].
      labels: int [..., H, W].
      where: bool [..., H, W], which pixels count, or None for all.

    Returns:
      float32[] in [0, 1]; NaN when nothing counts.

    Raises:
      TypeError: labels are not integers, or where is not bool.
      ValueError: the shapes do not agree, or labels are no maps.
    """

    def measure(predictions: Array, labels: Array, where: Array | None):
        if jnp.ndim(labels) < 2:
            raise ValueError(f"labels must be maps [..., H, W], got shape {jnp.shape(labels)}")
        return accuracy.measure(predictions, labels, where=where)

    return accuracy.parts._replace(measure=measure)


def _overlaps(matrix: Array) -> Array:
    both = jnp.diagonal(matrix)
    either = jnp.sum(matrix, axis=0) + jnp.sum(matrix, axis=1) - both
    return both / jnp.maximum(either, 1)


@Metric
def iou(*, num_classes: int) -> Parts:
    """Intersection over union of the predicted and the true pixels of each class, also called Jaccard index.

    |P and T| / |P or T| = TP / (TP + FP + FN)

        metrics.iou(masks > 0, true_masks, num_classes=2)[1]       # of one object's mask, as int arrays

    It is `dice_score` d on another scale, d / (2 - d), and `mean_iou` is its mean over classes. Boxes are compared by
    `box_iou`.

    Args:
      predictions: scores, float [..., K], or classes, int [...].
      labels: int [...].
      where: bool [...], which pixels count, or None for all.
      num_classes: K, at least 2.

    Returns:
      float32 [K] in [0, 1]; 0 for a class that neither occurs nor was predicted.

    Raises:
      TypeError: labels are not integers, or where is not bool.
      ValueError: the shapes do not agree; or, when computed outside a traced function, a class is outside [0,
        K).
    """
    zero, measure = confusion_counts(num_classes)
    return Parts(zero, measure, lambda counts: _overlaps(inside(counts)))


@Metric
def mean_iou(*, num_classes: int) -> Parts:
    """Mean of `iou` over the classes that occur, in labels or predictions.

    Args, Raises: as for `iou`.

    Returns:
      float32[] in [0, 1]; NaN when nothing counts.
    """
    zero, measure = confusion_counts(num_classes)

    def finish(counts: Array) -> Array:
        matrix = inside(counts)
        return mean_of_occurring(_overlaps(matrix), matrix)

    return Parts(zero, measure, finish)


@Metric
def dice_score(*, num_classes: int, average: str | None = "macro") -> Parts:
    """Size of the intersection of predicted and true pixels, over the mean of their sizes.

    2 |P and T| / (|P| + |T|) = 2 TP / (2 TP + FP + FN)

    It is `f1_score` under the name it has for maps; with the share of overlap j of `iou`, 2 j / (1 + j).

    Args, Raises: as for `iou`.
      average: "macro", mean over the classes that occur in labels or predictions; None, one value for each class.

    Returns:
      float32[] or [K], in [0, 1]; 0 for a class that neither occurs nor was predicted, and NaN for the mean when
      nothing counts.

    Source: Dice, "Measures of the Amount of Ecologic Association Between Species", 1945, on the coincidence index.
    """
    checks.one_of(("macro", None), average=average)
    return averaged(2, num_classes, average)
