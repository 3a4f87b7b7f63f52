"""The values of one image, changed pixel by pixel: negative, contrast, fewer levels. On the device.

H, W, C: height, width, channels. Black is 0; white is 1 for floats and 255 for uint8, unless `max_value` says
otherwise.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data.pixel_ranges import narrow, picture, white, wide
from jaxdl.types import Array


def binarize(image: Array, threshold: float | Array) -> Array:
    """Black and white: `image > threshold`.

    Args:
      image: float or integer [H, W, C].
      threshold: a value of the image's range, which may be traced: `otsu_threshold` finds one.

    Returns:
      bool [H, W, C], False for black, True for white.

    Raises:
      ValueError: wrong rank.
      TypeError: neither integers nor floating point.

    `threshold_segment` makes one mask of a grey picture, with several thresholds or its own.
    """
    image = picture(image)
    return wide(image) > threshold


def complement(image: Array, max_value: float | None = None) -> Array:
    """The negative: `white - image`; of a mask, what it leaves out.

    Args:
      image: bool, float or integer [H, W, C].
      max_value: white; None stands for 1 of floats, 255 of uint8.

    Returns:
      Like `image`.

    Raises:
      ValueError: wrong rank, or white is not known.
      TypeError: `image` is complex.
    """
    checks.rank(3, image=image)
    if jnp.asarray(image).dtype == jnp.bool_:
        return ~jnp.asarray(image)
    image = picture(image)
    return narrow(white(image, max_value) - wide(image), image)


def stretch(pixels: Array, low: Array, high: Array, top: float) -> Array:
    """Maps [low, high] to [0, top] and cuts off the rest; where low equals high, nothing changes."""
    spread = high - low
    flat = spread <= 0
    scaled = (pixels - low) / jnp.where(flat, 1, spread) * top
    return jnp.where(flat, pixels, jnp.clip(scaled, 0, top))


def contrast_stretch(
    image: Array, low: float = 0.0, high: float = 100.0, max_value: float | None = None
) -> Array:
    """Spreads the values that occur over the whole range from black to white.

    `white (x - p) / (q - p)`, p and q the percentiles `low` and `high` of the picture, cut off to [0, white]. All
    channels share p and q, which keeps the hue. A picture of one value does not change.

    Args:
      image: float or integer [H, W, C].
      low: percentile that becomes black, in [0, 100); 0 is the darkest value.
      high: percentile that becomes white, in (low, 100].
      max_value: white; None stands for 1 of floats, 255 of uint8.

    Returns:
      Like `image`.

    Raises:
      ValueError: wrong rank, percentiles out of order or range, or white is not known.
      TypeError: neither integers nor floating point.

    `histogram_equalize` changes the contrast of each brightness by how common it is.
    """
    image = picture(image)
    checks.between(0, 100, low=low, high=high)
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    pixels = wide(image)
    p = jnp.min(pixels) if low == 0 else jnp.percentile(pixels, low)
    q = jnp.max(pixels) if high == 100 else jnp.percentile(pixels, high)
    return narrow(stretch(pixels, p, q, white(image, max_value)), image)


def quantize_levels(image: Array, levels: int, max_value: float | None = None) -> Array:
    """The nearest of `levels` equal steps from black to white, by its number.

    `ceil((levels - 1) x / white - 1/2)`, halves go down: 256 levels have 0 for black, 127 for grey and 255 for white,
    and 2 levels are `binarize` at the middle.

    Args:
      image: float or integer [H, W, C].
      levels: from 2 to 65,536.
      max_value: white; None stands for 1 of floats, 255 of uint8.

    Returns:
      [H, W, C] in [0, levels - 1], uint8 up to 256 levels and else uint16. Values outside [0, white] get the nearest
      level. `scale_pixels(result, max_value=levels - 1)` brings it back to [0, 1].

    Raises:
      ValueError: wrong rank, a number of levels out of range, or white is not known.
      TypeError: neither integers nor floating point.
    """
    image = picture(image)
    checks.between(2, 65_536, levels=levels)
    level = jnp.ceil(wide(image) * ((levels - 1) / white(image, max_value)) - 0.5)
    return jnp.clip(level, 0, levels - 1).astype(jnp.uint8 if levels <= 256 else jnp.uint16)


def _equalize_channel(level: Array, levels: int) -> Array:
    """int [H, W] in [0, levels) to float [H, W] in [0, 1]."""
    counts = jnp.zeros(levels, jnp.int32).at[level.reshape(-1)].add(1)
    up_to = jnp.cumsum(counts)
    first = up_to[jnp.min(level)]
    rest = level.size - first
    # One value alone has nothing to be spread over: it stays.
    spread = (up_to - first) / jnp.maximum(rest, 1)
    same = jnp.arange(levels) / (levels - 1)
    return jnp.where(rest > 0, spread, same)[level]


def histogram_equalize(image: Array, levels: int = 256, max_value: float | None = None) -> Array:
    """Makes every brightness about equally common, in each channel.

    `white (n(x) - n_0) / (H W - n_0)`, n(x) the number of pixels not brighter than x, and n_0 that of the darkest
    ones, which become black; the brightest become white. A channel of one value does not change but for its level.

    Args:
      image: float or integer [H, W, C].
      levels: steps of brightness to count in (see `quantize_levels`), from 2 to 65,536.
      max_value: white; None stands for 1 of floats, 255 of uint8.

    Returns:
      Like `image`.

    Raises:
      ValueError: wrong rank, a number of levels out of range, or white is not known.
      TypeError: neither integers nor floating point.

    Source: R. C. Gonzalez and R. E. Woods, Digital Image Processing, section 3.3, with the darkest value taken
    to black, as OpenCV does; skimage.exposure.equalize_hist is n(x) / (H W).
    """
    image = picture(image)
    level = quantize_levels(image, levels, max_value).astype(jnp.int32)
    spread = jax.vmap(lambda channel: _equalize_channel(channel, levels), -1, -1)(level)
    return narrow(spread * white(image, max_value), image)
