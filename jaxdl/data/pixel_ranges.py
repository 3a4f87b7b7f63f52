"""What the numbers of a picture mean: where black and white are, and the way from its dtype and back."""

import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.types import Array


def picture(image: Array, rank: int | tuple[int, ...] = 3) -> Array:
    """`image` as an array of numbers.

    Raises:
      ValueError: another rank, or no pixel.
      TypeError: neither integers nor floating point.
    """
    checks.rank(rank, image=image)
    image = jnp.asarray(image)
    if not (jnp.issubdtype(image.dtype, jnp.integer) or jnp.issubdtype(image.dtype, jnp.floating)):
        raise TypeError(f"image must be integers or floating point, got {image.dtype}")
    if 0 in image.shape:
        raise ValueError(f"image must have a pixel, got shape {image.shape}")
    return image


def white(image: Array, max_value: float | None) -> float:
    """The brightest possible pixel: `max_value`, or else 1 of floats and 255 of uint8. Black is 0.

    Raises:
      ValueError: `max_value` is not positive, or left out for other integers, which do not tell.
    """
    if max_value is not None:
        checks.positive(max_value=max_value)
        return float(max_value)
    if jnp.issubdtype(image.dtype, jnp.floating):
        return 1.0
    if image.dtype == np.uint8:
        return 255.0
    raise ValueError(f"max_value must be given for {image.dtype}: only float (1) and uint8 (255) imply one")


def wide(image: Array) -> Array:
    """The image in float32 at least, to compute with."""
    return image.astype(jnp.promote_types(image.dtype, jnp.float32))


def narrow(pixels: Array, image: Array) -> Array:
    """Back to the dtype of `image`; integers are rounded, and kept inside their dtype."""
    if jnp.issubdtype(image.dtype, jnp.integer):
        limits = jnp.iinfo(image.dtype)
        pixels = jnp.clip(jnp.round(pixels), limits.min, limits.max)
    return pixels.astype(image.dtype)
