"""Fixed kernels for pictures, to slide over them with `cross_correlate`.

Rows run downwards (axis 0) and columns to the right (axis 1). A picture in colours or a batch of them is filtered
map by map with `jax.vmap`.
"""

import functools
import math

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.nn.convolution import Size, kernel_window, per_axis
from jaxdl.types import Array, Dtype


def sobel_x(dtype: Dtype = jnp.float32) -> Array:
    """The derivative to the right, smoothed downwards: answers to vertical edges.

    [1, 2, 1]^T [-1, 0, 1] = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]: eight times the slope of a ramp.

    Args:
      dtype: of the result.

    Returns:
      [3, 3].

    Source: Sobel and Feldman, "A 3x3 Isotropic Gradient Operator for Image Processing", 1968. Some texts make it
    from [1, 0, -1], which gives its negative.
    """
    return jnp.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype)


def sobel_y(dtype: Dtype = jnp.float32) -> Array:
    """The derivative upwards, smoothed to the right: answers to horizontal edges.

    [1, 0, -1]^T [1, 2, 1] = [[1, 2, 1], [0, 0, 0], [-1, -2, -1]].

    Args:
      dtype: of the result.

    Returns:
      [3, 3].

    Source: as `sobel_x`.
    Differs from scipy.ndimage.sobel(x, axis=0), which is its negative: positive where it is brighter below.
    """
    return jnp.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], dtype)


def edge_kernel(kind: str = "vertical", dtype: Dtype = jnp.float32) -> Array:
    """Finds edges, without smoothing.

    'vertical': rows 1 0 -1, positive where it is brighter on the left. 'eight_neighbour': 8 times a pixel less its
    neighbours, for edges of all directions; 0 where the picture is flat.

    Args:
      kind: 'vertical' or 'eight_neighbour'.
      dtype: of the result.

    Returns:
      [3, 3], of sum 0.

    Raises:
      ValueError: another kind.
    """
    checks.one_of(("vertical", "eight_neighbour"), kind=kind)
    if kind == "vertical":
        return jnp.array([[1, 0, -1]] * 3, dtype)
    return jnp.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype)


def sharpen_kernel(dtype: Dtype = jnp.float32) -> Array:
    """Adds to each pixel what it differs from its four neighbours.

    [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]: the picture less its Laplacian.

    Args:
      dtype: of the result.

    Returns:
      [3, 3], of sum 1.
    """
    return jnp.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], dtype)


def box_kernel(kernel_size: Size = 3, dtype: Dtype = jnp.float32) -> Array:
    """The mean of a window, the plainest blur.

    Args:
      kernel_size: k; one integer is a square kernel on two axes, a sequence has one for each axis.
      dtype: of the result.

    Returns:
      [k...], all 1 / prod k.

    Raises:
      ValueError: a size below 1.
    """
    window = kernel_window(kernel_size)
    return jnp.full(window, 1 / math.prod(window), dtype)


def _offsets(size: int, dtype: Dtype) -> Array:
    """Distances of a window's places from its middle, in at least float32."""
    return jnp.arange(size, dtype=jnp.promote_types(dtype, jnp.float32)) - (size - 1) / 2


def gaussian_kernel(kernel_size: Size, sigma: float | Array, dtype: Dtype = jnp.float32) -> Array:
    """A blur that weighs by distance.

    w[i, j] proportional to exp(-(i^2 + j^2) / (2 sigma^2)), i and j counted from the middle, of sum 1.

    Args:
      kernel_size: k; one integer is a square kernel on two axes, a sequence has one for each axis. 6 sigma + 1
        leaves out less than 0.3 percent on each axis.
      sigma: standard deviation in pixels, positive; may be traced and differentiated.
      dtype: of the result.

    Returns:
      [k...].

    Raises:
      ValueError: a size below 1, or sigma is not positive.
    """
    checks.positive(sigma=sigma)
    bells = [jnp.exp(-(_offsets(size, dtype) ** 2) / (2 * sigma**2)) for size in kernel_window(kernel_size)]
    kernel = functools.reduce(jnp.multiply.outer, [bell / jnp.sum(bell) for bell in bells])
    return kernel.astype(dtype)


def gabor_kernel(
    kernel_size: Size,
    wavelength: float | Array,
    theta: float | Array,
    sigma: float | Array,
    aspect: float | Array = 1.0,
    phase: float | Array = 0.0,
    dtype: Dtype = jnp.float32,
) -> Array:
    """A wave under a Gaussian: answers to texture of one width and direction.

    w = exp(-(u^2 + (aspect v)^2) / (2 sigma^2)) cos(2 pi u / wavelength + phase), where u = x cos(theta) + y
    sin(theta) and v = y cos(theta) - x sin(theta), with x to the right and y downwards from the middle.

    Two kernels with phases 0 and pi / 2 give the energy of a texture, whatever its position:
    sqrt(y_0^2 + y_90^2).

    Args:
      kernel_size: k, one integer or (rows, columns).
      wavelength: of the wave in pixels, positive, at least 2 to be seen.
      theta: direction in which the wave runs, in radians; 0 is to the right (vertical stripes).
      sigma: width of the Gaussian along the wave in pixels, positive.
      aspect: its width along the wave over that across, positive.
      phase: of the wave in the middle, in radians.
      dtype: of the result.

    Returns:
      [k, k], not normalised: 1 in the middle at phase 0.

    Raises:
      ValueError: not two sizes, or a setting is out of range.

    Source: Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
    two-dimensional visual cortical filters", 1985, in the real form of Petkov and Kruizinga, 1997.
    Differs from skimage.filters.gabor_kernel: given size, real, and without the factor 1 / (2 pi sigma_x
    sigma_y).
    """
    rows, columns = per_axis(kernel_size, 2, "kernel_size")
    checks.positive(wavelength=wavelength, sigma=sigma, aspect=aspect)
    y, x = jnp.meshgrid(_offsets(rows, dtype), _offsets(columns, dtype), indexing="ij")
    u = x * jnp.cos(theta) + y * jnp.sin(theta)
    v = y * jnp.cos(theta) - x * jnp.sin(theta)
    envelope = jnp.exp(-(u**2 + (aspect * v) ** 2) / (2 * sigma**2))
    return (envelope * jnp.cos(2 * jnp.pi * u / wavelength + phase)).astype(dtype)
