"""The one formula of structural similarity, as a similarity: `losses.ssim_loss` and `metrics.ssim` are made of it.

B is the batch, H and W the rows and columns of an image, C its channels.
"""

import functools

import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.masking import check_pair, widened
from jaxdl.types import Array


def _down(x: Array, weights: np.ndarray) -> Array:
    """Every window of rows, weighted and summed, [..., H, W] to [..., H - size + 1, W]: shifted copies, which fuse
    into one loop over whole rows."""
    rows = x.shape[-2] - len(weights) + 1
    copies = (float(w) * x[..., i : i + rows, :] for i, w in enumerate(weights))
    return functools.reduce(jnp.add, copies)


def _across(x: Array, weights: np.ndarray) -> Array:
    """The same for columns: products with a band matrix, tile by tile.

    Shifted copies are slow here: the transpose of a slice of columns is a padding that no CPU vectorizes.
    """
    size, columns = len(weights), x.shape[-1] - len(weights) + 1
    tile = max(65 - size, size)
    count = -(-columns // tile)
    band = np.zeros((tile + size - 1, tile))
    for i, w in enumerate(weights):
        band[np.arange(tile) + i, np.arange(tile)] = w
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, (count + 1) * tile - x.shape[-1])])
    blocks = x.reshape(*x.shape[:-1], count + 1, tile)
    tiles = jnp.concatenate([blocks[..., :-1, :], blocks[..., 1:, : size - 1]], axis=-1)
    sums = jnp.matmul(tiles, jnp.asarray(band, x.dtype), precision="highest")
    return sums.reshape(*x.shape[:-1], count * tile)[..., :columns]


def structural_similarity(
    images: Array,
    references: Array,
    *,
    data_range: float,
    window_size: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Array:
    """Mean structural similarity of two images over all whole Gaussian windows and channels.

    SSIM = (2 mu_x mu_y + c1)(2 sigma_xy + c2) / ((mu_x^2 + mu_y^2 + c1)(sigma_x^2 + sigma_y^2 + c2)) in each
    window, with c1 = (k1 L)^2, c2 = (k2 L)^2, the data range L and Gaussian-weighted moments of weight 1.

    Args:
      images: x, float [B, H, W, C].
      references: y, numbers [B, H, W, C].
      data_range: L, what separates black from white: 1 for images in [0, 1], 2 for [-1, 1], 255 for bytes.
      window_size: odd, at most H and W.
      sigma: standard deviation of the window in pixels.
      k1, k2: keep flat windows from dividing by zero; positive.

    Returns:
      float [B], in (-1, 1]; 1 for equal images.

    Raises:
      TypeError: images are not floating point.
      ValueError: the shapes differ, are not [B, H, W, C] or smaller than the window, or a setting is wrong.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004, equation 13.
    Differs from skimage.metrics.structural_similarity at its defaults: that has a uniform 7 by 7 window and
    the n - 1 variance; with gaussian_weights=True, use_sample_covariance=False it agrees.
    """
    check_pair(images=images, references=references)
    checks.rank(4, images=images)
    checks.positive(data_range=data_range, sigma=sigma, k1=k1, k2=k2)
    if window_size < 1 or window_size % 2 == 0 or window_size > min(images.shape[1:3]):
        raise ValueError(
            f"window_size must be odd and at most the height and width of images, {images.shape[1:3]}, got "
            f"{window_size}"
        )
    x = jnp.moveaxis(widened(images), -1, 1)
    y = jnp.moveaxis(jnp.asarray(references).astype(x.dtype), -1, 1)
    offsets = np.arange(window_size) - window_size // 2
    weights = np.exp(-0.5 * np.square(offsets / sigma))
    weights /= weights.sum()

    def mean(image: Array) -> Array:
        return _down(_across(image, weights), weights)

    mean_x, mean_y = mean(x), mean(y)
    product, squares = mean_x * mean_y, jnp.square(mean_x) + jnp.square(mean_y)
    covariance = mean(x * y) - product
    variances = mean(jnp.square(x) + jnp.square(y)) - squares
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    luminance = (2 * product + c1) / (squares + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))
