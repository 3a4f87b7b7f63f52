"""Metrics of images against the images they should be, and of the codes they are made from. B images."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxdl import checks, losses
from jaxdl.losses.masking import mean_per_example
from jaxdl.losses.structural_similarity import structural_similarity
from jaxdl.metrics.streaming import Mean, Metric, Parts, mean_of, no_values
from jaxdl.types import Array


@Metric
def psnr(*, data_range: float) -> Parts:
    """Peak signal-to-noise ratio of each image, meaned over the images.

    10 log10(L^2 / MSE), L the data range, MSE over one image

        metrics.psnr(images, references, data_range=1.0)

    20 is a root mean squared error of a tenth of the range, 40 of a hundredth. It ranks images as the squared
    error does; `ssim` is nearer to what is seen.

    Args:
      images: float [B, ...].
      references: real numbers of the same shape.
      where: bool [B], which images count, or None for all.
      data_range: L, what separates black from white: 1 for images in [0, 1], 2 for [-1, 1], 255 for bytes.

    Returns:
      Decibels, float32[]; infinite when an image equals its reference, NaN when nothing counts.

    Raises:
      TypeError: images are not floating point, or where is not bool.
      ValueError: the shapes differ, there is no axis besides B, or data_range is not positive.

    Differs from a PSNR of all pixels of a set, which the worst images decide: this is the mean of decibels.
    """
    checks.positive(data_range=data_range)

    def measure(images: Array, references: Array, where: Array | None) -> Mean:
        errors = reconstruction_error(images, references)
        return mean_of(20 * math.log10(data_range) - 10 * jnp.log10(errors), where)

    return Parts(no_values, measure, Mean.value)


@Metric
def ssim(
    *, data_range: float, window_size: int = 11, sigma: float = 1.5, k1: float = 0.01, k2: float = 0.03
) -> Parts:
    """Structural similarity of each image and its reference, meaned over the images.

    In each Gaussian window  (2 mu_x mu_y + c1)(2 sigma_xy + c2) /
    ((mu_x^2 + mu_y^2 + c1)(sigma_x^2 + sigma_y^2 + c2)),  with c1 = (k1 L)^2, c2 = (k2 L)^2 and the data range L

        metrics.ssim(images, references, data_range=1.0)

    To train on it take `losses.ssim_loss`.

    Args:
      images: float [B, H, W, C].
      references: real numbers of the same shape.
      where: bool [B], which images count, or None for all.
      data_range: L, what separates black from white: 1 for images in [0, 1], 2 for [-1, 1], 255 for bytes.
      window_size: odd, at most H and W.
      sigma: standard deviation of the window, in pixels.
      k1, k2: keep flat windows from dividing by zero; positive.

    Returns:
      float32[] in (-1, 1]; NaN when nothing counts.

    Raises:
      TypeError: images are not floating point, or where is not bool.
      ValueError: the shapes differ, are not [B, H, W, C] or smaller than the window, or a setting is wrong.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004, equations 13 and 17.
    """

    def measure(images: Array, references: Array, where: Array | None) -> Mean:
        each = structural_similarity(
            images,
            references,
            data_range=data_range,
            window_size=window_size,
            sigma=sigma,
            k1=k1,
            k2=k2,
        )
        return mean_of(each, where)

    return Parts(no_values, measure, Mean.value)


def reconstruction_error(reconstructions: Array, inputs: Array) -> Array:
    """Mean squared error of each example: how badly a model that knows the normal ones rebuilds it.

    e_n = mean_i (r_ni - x_ni)^2

    As an anomaly score, larger for what is stranger; `anomaly_threshold` says what is too large. Of the decoded
    code it compares pictures; `latent_distance` compares codes.

    Args:
      reconstructions: float [B, ...].
      inputs: real numbers of the same shape.

    Returns:
      float [B], in the square of the inputs' unit.

    Raises:
      TypeError: reconstructions are not floating point.
      ValueError: the shapes differ, or there is no axis besides B.
    """
    errors = losses.squared_error(reconstructions, inputs)
    if errors.ndim < 2:
        raise ValueError(f"reconstructions must have shape [B, ...], got {errors.shape}")
    return mean_per_example(errors)


def compression_ratio(input_shape: int | Sequence[int], code_shape: int | Sequence[int]) -> float:
    """How many numbers go in for each that the code holds.

    r = |input| / |code|; 1 - 1 / r is the share of the data that is saved.

        metrics.compression_ratio((512, 512, 3), (64, 64))        # 192
        metrics.compression_ratio(784, 2)                         # 392, of 784 numbers 99.74 % are saved

    It counts numbers, not bits: multiply by the ratio of their widths, such as 8 / 32 for bytes against a float32
    code.

    Args:
      input_shape: of one example, or its number of elements.
      code_shape: of its code, or its number of elements. A picture of 64 x 64 has 4,096 elements; a bottleneck
        of 64 units has 64.

    Returns:
      A Python float above 0, without unit.

    Raises:
      ValueError: a size is not positive.
    """
    sizes = []
    for name, shape in (("input_shape", input_shape), ("code_shape", code_shape)):
        axes = np.atleast_1d(shape).tolist()
        checks.at_least(1, **{f"{name} axis {i}": size for i, size in enumerate(axes)})
        sizes.append(math.prod(axes))
    return sizes[0] / sizes[1]
