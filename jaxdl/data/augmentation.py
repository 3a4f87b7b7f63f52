"""Random changes of one image, on the device: `(key, image)` in, an image of the same shape out.

Each is pure and differentiable in the image; `jax.vmap(random_rotate)(keys, images)` changes every image of a
batch in its own way. H, W, C: height, width, channels.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def affine_transform(image: Array, matrix: Array, offset: Array, fill: float = 0.0) -> Array:
    """Resamples an image bilinearly: `output(p) = image(matrix p + offset)`, with p = (row, column).

    Args:
      image: float or integer [H, W, C].
      matrix: float [2, 2], from output to input coordinates.
      offset: float [2], in pixels.
      fill: value of everything outside the image.

    Returns:
      [H, W, C] of the image's dtype, interpolated in float32 at least; integers are rounded.

    Raises:
      ValueError: `image` is not of rank 3, `matrix` or `offset` has a wrong shape.
    """
    checks.rank(3, image=image)
    checks.shape((2, 2), matrix=matrix)
    checks.shape((2,), offset=offset)
    image = jnp.asarray(image)
    height, width, _ = image.shape
    dtype = jnp.promote_types(image.dtype, jnp.float32)
    pixels = image.astype(dtype)

    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")).astype(dtype)
    source = (
        jnp.tensordot(matrix.astype(dtype), grid, 1, precision="highest")
        + offset.astype(dtype)[:, None, None]
    )
    corner = jnp.floor(source)
    weight = source - corner
    rows, columns = corner.astype(jnp.int32)

    def at(down: int, right: int) -> Array:
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        value = pixels[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
        vertical = weight[0] if down else 1 - weight[0]
        horizontal = weight[1] if right else 1 - weight[1]
        return (vertical * horizontal)[..., None] * jnp.where(
            inside[..., None], value, jnp.asarray(fill, dtype)
        )

    result = at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)
    if jnp.issubdtype(image.dtype, jnp.integer):
        result = jnp.round(result)
    return result.astype(image.dtype)


def about_centre(image: Array, matrix: Array, fill: float, shift: Array | None = None) -> Array:
    """`affine_transform` that leaves the centre of the picture where it is, then reads `shift` pixels further."""
    centre = (jnp.array(image.shape[:2], jnp.float32) - 1) / 2
    offset = centre - jnp.dot(matrix, centre, precision="highest")
    return affine_transform(image, matrix, offset if shift is None else offset + shift, fill)


def random_rotate(key: Array, image: Array, max_degrees: float = 10.0, fill: float = 0.0) -> Array:
    """Rotates about the centre, counter-clockwise, by an angle uniform in [-max_degrees, max_degrees].

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      max_degrees: at least 0.
      fill: value of the corners that come into view.

    Returns:
      [H, W, C] of the image's dtype, bilinearly interpolated.

    Raises:
      ValueError: wrong rank or negative angle.
    """
    checks.rank(3, image=image)
    checks.at_least(0, max_degrees=max_degrees)
    angle = jnp.deg2rad(jax.random.uniform(key, minval=-max_degrees, maxval=max_degrees))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # Rows count downwards, so turning the picture counter-clockwise reads each pixel from a point turned
    # clockwise.
    return about_centre(image, jnp.array([[cos, sin], [-sin, cos]]), fill)


def random_translate(key: Array, image: Array, max_fraction: float = 0.1, fill: float = 0.0) -> Array:
    """Shifts down and right by fractions of height and width, each uniform in [-max_fraction, max_fraction].

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      max_fraction: in [0, 1].
      fill: value of the edges that come into view.

    Returns:
      [H, W, C] of the image's dtype; shifts are real numbers of pixels, bilinearly interpolated.

    Raises:
      ValueError: wrong rank, or a fraction outside [0, 1].
    """
    checks.rank(3, image=image)
    checks.between(0, 1, max_fraction=max_fraction)
    shift = jax.random.uniform(key, (2,), minval=-max_fraction, maxval=max_fraction)
    return affine_transform(image, jnp.eye(2), -shift * jnp.array(image.shape[:2], jnp.float32), fill)


def random_zoom(key: Array, image: Array, max_fraction: float = 0.1, fill: float = 0.0) -> Array:
    """Magnifies about the centre by a factor uniform in [1 - max_fraction, 1 + max_fraction].

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      max_fraction: in [0, 1); a factor below 1 shrinks the picture.
      fill: value of the frame that comes into view around a shrunken picture.

    Returns:
      [H, W, C] of the image's dtype, bilinearly interpolated, with the same factor along both axes.

    Raises:
      ValueError: wrong rank, or a fraction outside [0, 1).
    """
    checks.rank(3, image=image)
    checks.at_least(0, max_fraction=max_fraction)
    if not max_fraction < 1:
        raise ValueError(f"max_fraction must be below 1, got {max_fraction}")
    factor = jax.random.uniform(key, minval=1 - max_fraction, maxval=1 + max_fraction)
    return about_centre(image, jnp.eye(2) / factor, fill)


def random_stretch(key: Array, image: Array, max_fraction: float = 0.1, fill: float = 0.0) -> Array:
    """Stretches height and width about the centre, each by its own factor in [1 - max_fraction, 1 + max_fraction].

    `random_zoom` takes one factor for both, so that squares stay squares.

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      max_fraction: in [0, 1); a factor below 1 squeezes the picture.
      fill: value of the margins that come into view beside a squeezed picture.

    Returns:
      [H, W, C] of the image's dtype, bilinearly interpolated.

    Raises:
      ValueError: wrong rank, or a fraction outside [0, 1).
    """
    checks.rank(3, image=image)
    checks.decay(max_fraction=max_fraction)
    factors = jax.random.uniform(key, (2,), minval=1 - max_fraction, maxval=1 + max_fraction)
    return about_centre(image, jnp.diag(1 / factors), fill)
