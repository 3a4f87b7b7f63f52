"""One image as details of growing size, and back: the Laplacian pyramid and the Haar wavelets. On the device.

The pyramid holds a third more numbers than the image and its bands look like the picture; the wavelets hold as many
and do not overlap. H, W, C: height, width, channels.
"""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data.pixel_ranges import picture, wide
from jaxdl.types import Array

Details = tuple[Array, Array, Array]


@functools.lru_cache(maxsize=64)
def _smooth(size: int) -> np.ndarray:
    """[1, 4, 6, 4, 1] / 16 along an axis of this length, mirrored about its ends, as a matrix."""
    matrix = np.zeros((size, size), np.float32)
    mirrored = np.pad(np.arange(size), 2, mode="reflect")
    for k, weight in enumerate((1, 4, 6, 4, 1)):
        matrix[np.arange(size), mirrored[k : k + size]] += weight / 16
    return matrix


def _along_both(down: np.ndarray, image: Array, right: np.ndarray) -> Array:
    """A product for each axis, whose weights must not be rounded to what a fast one would like."""
    return jnp.einsum("ij,jkc,lk->ilc", down, image, right, precision="highest")


def _reduce(image: Array) -> Array:
    """Burt and Adelson's REDUCE: smoothed, every second row and column, [ceil(H / 2), ceil(W / 2), C]."""
    height, width, _ = image.shape
    return _along_both(_smooth(height)[::2], image, _smooth(width)[::2])


def _expand(image: Array, shape: Sequence[int]) -> Array:
    """Burt and Adelson's EXPAND: zeros between the pixels, then smoothed with twice the weight along each axis."""
    return _along_both(2 * _smooth(shape[0])[:, ::2], image, 2 * _smooth(shape[1])[:, ::2])


def laplacian_pyramid(image: Array, levels: int) -> tuple[Array, ...]:
    """Band-pass pictures an octave apart, and the small smooth picture that is left.

    `I_0 = image, I_{k+1} = reduce(I_k), h_k = I_k - expand(I_{k+1})`; the result is h_0, ..., h_{levels-1}, I_levels.
    Reduce smooths with [1, 4, 6, 4, 1] / 16 along both axes, mirrored about the border, and drops every second pixel;
    expand puts zeros in between and smooths with four times that.

    Args:
      image: float or integer [H, W, C].
      levels: number of bands, at least 1; each needs 3 pixels along both axes to halve.

    Returns:
      levels + 1 arrays, float32 at least; sizes halve, rounded up.

    Raises:
      ValueError: wrong rank, or more levels than the image has octaves.
      TypeError: neither integers nor floating point.

    Source: P. J. Burt and E. H. Adelson, "The Laplacian Pyramid as a Compact Image Code", 1983, with a = 3/8; E.
    Denton et al., "Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks", 2015, eq. 3 and 4.
    """
    current = wide(picture(image))
    checks.at_least(1, levels=levels)
    octaves, size = 0, min(current.shape[:2])
    while size >= 3:
        octaves, size = octaves + 1, -(-size // 2)
    if levels > octaves:
        raise ValueError(f"levels must be at most {octaves} for shape {current.shape}, got {levels}")
    bands = []
    for _ in range(levels):
        smaller = _reduce(current)
        bands.append(current - _expand(smaller, current.shape))
        current = smaller
    return (*bands, current)


def laplacian_reconstruct(pyramid: Sequence[Array]) -> Array:
    """The image of a pyramid: `I_k = expand(I_{k+1}) + h_k`, from the smallest up.

    Args:
      pyramid: float arrays from `laplacian_pyramid`, or such as a net made for each level.

    Returns:
      float [H, W, C]. `laplacian_pyramid` computed the same `expand`, so the image comes back but for the rounding of
      one subtraction and one addition for each level, whatever the smoothing lost.

    Raises:
      ValueError: fewer than two arrays, or a size that is not half of the next, rounded up.

    Source: as `laplacian_pyramid`.
    """
    if len(pyramid) < 2:
        raise ValueError(f"pyramid must have two levels or more, got {len(pyramid)}")
    *bands, current = pyramid
    for band in reversed(bands):
        checks.rank(3, band=band, current=current)
        checks.shape((-(-band.shape[0] // 2), -(-band.shape[1] // 2), band.shape[2]), smaller_level=current)
        current = _expand(current, band.shape) + band
    return current


def wavelet_transform(image: Array, levels: int = 1) -> tuple[Array, tuple[Details, ...]]:
    """The orthonormal Haar wavelets: an image half as large, and what it lacks in three directions.

    Of each square of pixels a b over c d: smooth part (a + b + c + d) / 2, horizontal details (a + b - c - d) / 2
    (what changes downwards), vertical (a - b + c - d) / 2, diagonal (a - b - c + d) / 2; the smooth part is split
    again at the next level. Sums of squares do not change.

    Args:
      image: float or integer [H, W, C]; 2^levels divides H and W.
      levels: at least 1.

    Returns:
      The smooth part [H / 2^levels, W / 2^levels, C], and for each level, from coarse to fine, its details
      (horizontal, vertical, diagonal), three arrays of one size; float32 at least. These are, in order, the entries
      of pywt.wavedec2(image, "haar", axes=(0, 1)).

    Raises:
      ValueError: wrong rank, or a size that 2^levels does not divide.
      TypeError: neither integers nor floating point.

    Source: A. Haar, "Zur Theorie der orthogonalen Funktionensysteme", 1910; S. Mallat, "A theory for multiresolution
    signal decomposition", 1989.
    """
    smooth = wide(picture(image))
    checks.at_least(1, levels=levels)
    checks.divisible(2**levels, "2^levels", height=smooth.shape[0], width=smooth.shape[1])
    details: list[Details] = []
    for _ in range(levels):
        above, below = smooth[::2], smooth[1::2]
        total, change = above + below, above - below
        horizontal = (change[:, ::2] + change[:, 1::2]) / 2
        vertical = (total[:, ::2] - total[:, 1::2]) / 2
        diagonal = (change[:, ::2] - change[:, 1::2]) / 2
        details.insert(0, (horizontal, vertical, diagonal))
        smooth = (total[:, ::2] + total[:, 1::2]) / 2
    return smooth, tuple(details)


def inverse_wavelet_transform(smooth: Array, details: Sequence[Details]) -> Array:
    """The image of its Haar wavelets; small details may have been set to zero, to compress or to denoise.

    Args:
      smooth: float [h, w, C], as from `wavelet_transform`.
      details: three arrays for each level, from coarse to fine.

    Returns:
      float [H, W, C], the image but for rounding.

    Raises:
      ValueError: no details, or shapes that differ at one level.
    """
    if not details:
        raise ValueError("details must have a level, got none")
    for horizontal, vertical, diagonal in details:
        checks.rank(3, smooth=smooth)
        checks.same_shape(smooth=smooth, horizontal=horizontal, vertical=vertical, diagonal=diagonal)
        left = (smooth + vertical, horizontal + diagonal)
        right = (smooth - vertical, horizontal - diagonal)
        # Each pair is the half sum and half difference of a pixel and the one below it.
        columns = [jnp.stack([half + d, half - d], axis=1) / 2 for half, d in (left, right)]
        height, width, channels = smooth.shape
        smooth = jnp.stack(columns, axis=3).reshape(2 * height, 2 * width, channels)
    return smooth
