"""Losses on label maps: cross-entropy summed over pixels, and overlaps of regions.

B is the batch, K the number of classes; between them stand any axes of pixels. One value for each example. Half
precision is computed and returned in float32. `where` is bool: of shape [B] it makes masked losses and their
gradients 0; with the axes of the pixels it leaves pixels out, and of the predictions' full shape, pixels of some
classes.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.classification import softmax_cross_entropy_with_integer_labels
from jaxdl.losses.masking import (
    check_labels,
    check_where,
    examplewise,
    poisoned,
    probable,
    together,
    widened,
    without,
)
from jaxdl.types import Array


def pixelwise_cross_entropy(logits: Array, labels: Array, where: Array | None = None) -> Array:
    """Negative log-likelihood of an image's label map: the sum over its pixels.

    l = sum_i (log sum_k exp(x_ik) - x_iy)

    One value for each pixel is `softmax_cross_entropy_with_integer_labels` on the same arrays.

    Args:
      logits: x, float [B, ..., K].
      labels: y, the right class of each pixel, int [B, ...], in [0, K).
      where: bool [B] or [B, ...] (pixels; those left out may hold any label, 255 for example), or None for all.

    Returns:
      Nats for each image, float [B]; pixels log K for equal logits. NaN where a label is outside [0, K).

    Raises:
      TypeError: logits are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not fit, or there is no batch axis.
    """
    check_labels(logits=logits, labels=labels)
    if jnp.ndim(labels) < 1:
        raise ValueError("labels must have a batch axis, got shape ()")
    if where is not None:
        check_where(where, jnp.shape(labels)[:1], jnp.shape(labels))
        missing = jnp.ndim(labels) - jnp.ndim(where)
        where = jnp.broadcast_to(jnp.reshape(where, jnp.shape(where) + (1,) * missing), jnp.shape(labels))
    nats = softmax_cross_entropy_with_integer_labels(logits, labels, where)
    return jnp.sum(nats, axis=tuple(range(1, nats.ndim)))


def tversky(
    predictions: Array,
    targets: Array,
    where: Array | None = None,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
    apply_softmax: bool = True,
) -> Array:
    """One less the overlap of two regions, with a price each for what is wrongly in and wrongly out.

    l = mean over classes of 1 - (I + smooth) / (I + alpha (P - I) + beta (T - I) + smooth), with the overlap
    I = sum p t, P = sum p and T = sum t over the pixels

    alpha = beta = 1/2 is `dice`, alpha = beta = 1 is `jaccard`.

    Args:
      predictions: logits, float [B, ..., K]: a softmax over classes, or a sigmoid where K is 1, makes them p;
        or p itself, in [0, 1], if apply_softmax is False.
      targets: t in [0, 1], usually one-hot, float, int or bool [B, ..., K].
      where: bool [B], [B, ...] (pixels) or [B, ..., K] (a class without any pixel left has no part in the
        mean; none left gives 0), or None for all.
      alpha: price of what is predicted and should not be, at least 0.
      beta: price of what should be predicted and is not, at least 0.
      smooth: added above and below, at least 0: a class that is neither there nor predicted is no mistake. At
        0 such a class (P = T = 0) has loss 0 and no gradient.
      apply_softmax: whether the predictions are logits.

    Returns:
      float [B], in [0, 1). NaN where a target, or a prediction that is no logit, is outside [0, 1].

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, there is no batch or no class axis, or a setting is negative.

    Source: Salehi, Erdogmus and Gholipour, "Tversky loss function for image segmentation", 2017, equation 4.
    Differs from optax.losses.dice_loss: `where`; probabilities are not asked to sum to 1.
    """
    p, t = together(predictions=predictions, targets=targets)
    checks.non_negative(alpha=alpha, beta=beta, smooth=smooth)
    if p.ndim < 2:
        raise ValueError(f"predictions must have a batch axis and an axis of classes, got shape {p.shape}")
    kept = None
    if where is not None:
        check_where(where, p.shape[:1], p.shape[:-1], p.shape)
        p, t = without(where, p), without(where, t)
        kept = jnp.broadcast_to(
            jnp.reshape(where, jnp.shape(where) + (1,) * (p.ndim - jnp.ndim(where))), p.shape
        )
    possible = probable(t, targets)
    if apply_softmax:
        p = jax.nn.sigmoid(p) if p.shape[-1] == 1 else jax.nn.softmax(p, where=_some(kept))
    else:
        possible &= probable(p, predictions)
    pixels = tuple(range(1, p.ndim - 1))

    def total(x: Array) -> Array:
        return jnp.sum(x if kept is None else jnp.where(kept, x, 0), axis=pixels)

    overlap = total(p * t)
    below = overlap + alpha * (total(p) - overlap) + beta * (total(t) - overlap) + smooth
    cost = jnp.where(below > 0, 1 - (overlap + smooth) / jnp.where(below > 0, below, 1), 0)
    if kept is None:
        loss = jnp.mean(cost, axis=-1)
    else:
        classes = jnp.any(kept, axis=pixels)
        loss = jnp.sum(jnp.where(classes, cost, 0), axis=-1) / jnp.maximum(jnp.sum(classes, axis=-1), 1)
    return poisoned(loss, jnp.all(possible, axis=(*pixels, -1)))


def _some(kept: Array | None) -> Array | None:
    """The classes of each pixel, all of them where none is kept: a softmax over nothing has no gradient."""
    return None if kept is None else kept | ~jnp.any(kept, axis=-1, keepdims=True)


def dice(
    predictions: Array,
    targets: Array,
    where: Array | None = None,
    *,
    smooth: float = 1.0,
    apply_softmax: bool = True,
) -> Array:
    """One less twice the overlap of two regions as a share of both.

    l = mean over classes of 1 - (2 sum p t + 2 smooth) / (sum p + sum t + 2 smooth)

    `tversky` at alpha = beta = 1/2. A region of any size counts the same, where cross-entropy counts pixels.

    Args:
      predictions: logits, float [B, ..., K], or probabilities if apply_softmax is False; see `tversky`.
      targets: in [0, 1], usually one-hot, [B, ..., K].
      where: bool [B], [B, ...] or [B, ..., K], or None for all; see `tversky`.
      smooth: at least 0.
      apply_softmax: whether the predictions are logits.

    Returns:
      float [B], in [0, 1). NaN where a target, or a prediction that is no logit, is outside [0, 1].

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, there is no batch or no class axis, or smooth is negative.

    Source: Milletari, Navab and Ahmadi, "V-Net", 2016, section 3; with plain sums below instead of squares, as
    in optax.losses.dice_loss.
    """
    return tversky(predictions, targets, where, smooth=smooth, apply_softmax=apply_softmax)


def jaccard(
    predictions: Array,
    targets: Array,
    where: Array | None = None,
    *,
    smooth: float = 1.0,
    apply_softmax: bool = True,
) -> Array:
    """One less the overlap of two regions as a share of their union.

    l = mean over classes of 1 - (sum p t + smooth) / (sum p + sum t - sum p t + smooth)

    `tversky` at alpha = beta = 1; larger than `dice`, and falling steeper near 0.

    Args:
      predictions: logits, float [B, ..., K], or probabilities if apply_softmax is False; see `tversky`.
      targets: in [0, 1], usually one-hot, [B, ..., K].
      where: bool [B], [B, ...] or [B, ..., K], or None for all; see `tversky`.
      smooth: at least 0.
      apply_softmax: whether the predictions are logits.

    Returns:
      float [B], in [0, 1). NaN where a target, or a prediction that is no logit, is outside [0, 1].

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, there is no batch or no class axis, or smooth is negative.

    Source: Rahman and Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image
    Segmentation", 2016, equations 3 to 5.
    """
    return tversky(
        predictions, targets, where, alpha=1.0, beta=1.0, smooth=smooth, apply_softmax=apply_softmax
    )


def total_variation(images: Array, where: Array | None = None, *, squared: bool = True) -> Array:
    """How much neighbouring pixels differ, summed over an image: what smoothing minimises.

    l = sum_ij (y_{i,j+1} - y_ij)^2 + (y_{i+1,j} - y_ij)^2, or the same with absolute values if not squared

    Args:
      images: y, float [B, H, W, C].
      where: bool [B], or None for all.
      squared: squares blur edges; absolute values keep them.

    Returns:
      float [B], in the (squared) unit of the images; 0 for one colour.

    Raises:
      TypeError: images are not floating point, or where is not bool.
      ValueError: images are not [B, H, W, C].

    Source: Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms", 1992; squared,
    Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them", 2015, equation 3.
    """
    checks.floating(images=images)
    checks.rank(4, images=images)

    def formula(y: Array) -> Array:
        across, down = y[:, :, 1:] - y[:, :, :-1], y[:, 1:] - y[:, :-1]
        size = jnp.square if squared else jnp.abs
        return jnp.sum(size(across), axis=(1, 2, 3)) + jnp.sum(size(down), axis=(1, 2, 3))

    return examplewise(formula, widened(images), where=where, shape=jnp.shape(images)[:1])
