"""How much one image resembles another: pixel by pixel, in structure, in the features of a net, in style.

B is the batch, H and W the rows and columns, C the channels. Outputs come first, references second. Features are an
array or any pytree of arrays with a leading batch axis, one for each layer; the layers' losses are added. Half
precision is computed and returned in float32. `where` is bool of the result's shape; masked losses and their
gradients are 0.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import (
    check_pair,
    check_where,
    elementwise,
    examplewise,
    mean_per_example,
    together,
    widened,
    without,
)
from jaxdl.losses.structural_similarity import structural_similarity
from jaxdl.types import Array

Features = Any  # an array [B, ...], or a pytree of them


def charbonnier(
    predictions: Array, targets: Array, where: Array | None = None, *, eps: float = 1e-3
) -> Array:
    """The absolute error with its corner rounded off.

    l = sqrt((p - t)^2 + eps^2)

    Args:
      predictions: float [...].
      targets: real numbers [...].
      where: bool [...], or None for all.
      eps: the loss of no error, in the targets' unit; positive.

    Returns:
      float [...], in the targets' unit.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, or eps is not positive.

    Source: Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed
    imaging", 1994; Lai et al., "Deep Laplacian Pyramid Networks", 2017, section 3.3.
    """
    check_pair(predictions=predictions, targets=targets)
    checks.positive(eps=eps)
    return elementwise(lambda p, t: jnp.sqrt(jnp.square(p - t) + eps**2), predictions, targets, where)


def ssim_loss(
    images: Array,
    references: Array,
    where: Array | None = None,
    *,
    data_range: float,
    window_size: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Array:
    """One less the structural similarity of two images: luminance, contrast and structure in Gaussian windows.

    l = 1 - mean (2 mu_x mu_y + c1)(2 sigma_xy + c2) / ((mu_x^2 + mu_y^2 + c1)(sigma_x^2 + sigma_y^2 + c2)),
    with c1 = (k1 data_range)^2, c2 = (k2 data_range)^2, over all whole windows and channels

    The similarity itself, to report, is `jaxdl.metrics.ssim`.

    Args:
      images: x, float [B, H, W, C].
      references: y, numbers [B, H, W, C].
      where: bool [B], or None for all.
      data_range: what separates black from white: 1 for images in [0, 1], 2 for [-1, 1], 255 for bytes.
      window_size: odd, at most H and W.
      sigma: standard deviation of the window in pixels.
      k1, k2: keep flat windows from dividing by zero; positive.

    Returns:
      float [B], in [0, 2); 0 for equal images.

    Raises:
      TypeError: images are not floating point, or where is not bool.
      ValueError: the shapes differ, are not [B, H, W, C] or smaller than the window, or a setting is wrong.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004, equation 13.
    """
    x, y = together(images=images, references=references)
    checks.rank(4, images=x)

    def formula(x: Array, y: Array) -> Array:
        return 1 - structural_similarity(
            x, y, data_range=data_range, window_size=window_size, sigma=sigma, k1=k1, k2=k2
        )

    return examplewise(formula, x, y, where=where, shape=x.shape[:1])


def _over_layers(
    layer_loss: Callable[[Array, Array], Array], features: Features, references: Features, where: Array | None
) -> Array:
    """The sum over layers of a loss of two arrays [B, ...], one value for each example."""
    layers, tree = jax.tree.flatten(features)
    if jax.tree.structure(references) != tree:
        raise ValueError(
            f"references must have the structure of features, {tree}, got {jax.tree.structure(references)}"
        )
    if not layers:
        raise ValueError("features must have at least one layer, got none")
    losses = []
    for i, (layer, reference) in enumerate(zip(layers, jax.tree.leaves(references))):
        f, r = together(**{f"features_{i}": layer, f"references_{i}": reference})
        if f.ndim < 2:
            raise ValueError(f"features_{i} must have a batch axis and others, got shape {f.shape}")
        losses.append(examplewise(layer_loss, f, r, where=where, shape=f.shape[:1]))
        checks.same_shape(**{"batch_of_features_0": losses[0], f"batch_of_features_{i}": losses[-1]})
    return functools.reduce(jnp.add, losses)


def perceptual(
    features: Callable[[Array], Features], images: Array, references: Array, where: Array | None = None
) -> Array:
    """Squared distance of two images as a net sees them.

    l = sum_j |phi_j(x) - phi_j(y)|^2 / n_j,  n_j the number of features in layer j

    The net is a pretrained classifier, or a discriminator that learned the artefacts of one task. Its weights are
    in `features` and get no gradient. Where the features are at hand already, take `feature_matching`.

    Args:
      features: images [B, H, W, C] to an array [B, ...] or a pytree of them, one for each layer.
      images: x, float [B, H, W, C].
      references: y, [B, H, W, C].
      where: bool [B], or None for all.

    Returns:
      float [B], in squared features.

    Raises:
      TypeError: images or features are not floating point, or where is not bool.
      ValueError: the shapes differ, or a layer has nothing besides a batch axis.

    Source: Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution",
    2016, equation 2.
    """
    check_pair(images=images, references=references)
    x = jnp.asarray(images)

    def formula(x: Array, y: Array) -> Array:
        return _over_layers(lambda f, r: mean_per_example(jnp.square(f - r)), features(x), features(y), None)

    # Masked before the net, which would turn NaN into NaN gradients, as well as after it.
    return examplewise(formula, x, jnp.asarray(references).astype(x.dtype), where=where, shape=x.shape[:1])


def feature_matching(features: Features, references: Features, where: Array | None = None) -> Array:
    """Mean absolute difference of the features of two images, layer by layer.

    l = sum_j |f_j - r_j|_1 / n_j,  n_j the number of features in layer j

    With a discriminator's features of a generated and a real image, what a generator may minimise beside its
    adversarial loss; with those of a discriminator trained on one image and its distortions, a loss learned
    from that image. The references are usually held fixed. `perceptual` squares, and applies the net itself.

    Args:
      features: of the outputs, an array float [B, ...] or a pytree of them.
      references: of the same structure and shapes.
      where: bool [B], or None for all.

    Returns:
      float [B], in features.

    Raises:
      TypeError: features are not floating point, or where is not bool.
      ValueError: structures or shapes differ, or a layer has nothing besides a batch axis.

    Source: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs", 2018,
    equation 4. Salimans et al., "Improved Techniques for Training GANs", 2016, section 3.1, match the means of
    two batches: `squared_error` of those.
    """
    return _over_layers(lambda f, r: mean_per_example(jnp.abs(f - r)), features, references, where)


def gram_style(features: Features, references: Features, where: Array | None = None) -> Array:
    """Squared difference of which features occur together, wherever they occur: the style of an image.

    l = sum_j |G(f_j) - G(r_j)|^2,  G(f)_cd = sum_hw f_hwc f_hwd / (H W C)

    Args:
      features: of the outputs, an array float [B, H, W, C] or a pytree of them.
      references: features of the style, of the same structure; height and width may be others.
      where: bool [B], or None for all.

    Returns:
      float [B], in features to the fourth power.

    Raises:
      TypeError: features are not floating point, or where is not bool.
      ValueError: structures, batch sizes or channels differ, or a layer is not [B, H, W, C].

    Source: Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution",
    2016, equations 3 and 4. Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural
    Networks", 2016, equation 4, take a quarter of it.
    """

    def gram(x: Array) -> Array:
        checks.rank(4, features=x)
        checks.floating(features=x)
        x = widened(x)
        b, h, w, c = x.shape
        flat = x.reshape(b, h * w, c)
        return jnp.einsum("bpc,bpd->bcd", flat, flat, precision="highest") / (h * w * c)

    def masked(x: Array) -> Array:
        x = jnp.asarray(x)
        return x if where is None else without(where, x)

    if where is not None:
        for x in (*jax.tree.leaves(features), *jax.tree.leaves(references)):
            check_where(where, jnp.shape(x)[:1])
    of_outputs, of_references = jax.tree.map(lambda x: gram(masked(x)), (features, references))
    return _over_layers(
        lambda f, r: jnp.sum(jnp.square(f - r), axis=(1, 2)), of_outputs, of_references, where
    )
