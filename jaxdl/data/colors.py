"""Colours of one image on the device: grey, packed, counted, and changed at random.

H, W, C: height, width, channels. Black is 0; white is 1 for floats and 255 for uint8, unless `max_value` says
otherwise.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data.pixel_ranges import narrow, picture, white, wide
from jaxdl.types import Array


def luminance(pixels: Array) -> Array:
    """Grey value float [H, W, 1]: 0.299 R + 0.587 G + 0.114 B of three channels, the mean of another number."""
    if pixels.shape[-1] != 3:
        return jnp.mean(pixels, axis=-1, keepdims=True)
    # Not a matrix product, which an accelerator may round to fewer digits.
    weighed = pixels * jnp.array([0.299, 0.587, 0.114], pixels.dtype).reshape(1, 1, 3)
    return jnp.sum(weighed, axis=-1, keepdims=True)


def to_grayscale(image: Array) -> Array:
    """How bright each pixel looks: `0.299 R + 0.587 G + 0.114 B`.

    Args:
      image: float or integer [H, W, 3], red, green, blue.

    Returns:
      [H, W, 1] of the image's dtype; integers are rounded.

    Raises:
      ValueError: not three channels.
      TypeError: neither integers nor floating point.

    Source: ITU-R BT.601, as in JPEG, Pillow and OpenCV. scikit-image weighs by BT.709 (0.2125, 0.7154, 0.0721).
    """
    checks.shape((None, None, 3), image=image)
    image = picture(image)
    return narrow(luminance(wide(image)), image)


def grayscale_to_rgb(image: Array) -> Array:
    """Three equal channels from one, for a net that wants colours; `to_grayscale` undoes it.

    Args:
      image: any dtype [H, W, 1].

    Returns:
      [H, W, 3] of the image's dtype.

    Raises:
      ValueError: not one channel.
    """
    checks.shape((None, None, 1), image=image)
    return jnp.repeat(jnp.asarray(image), 3, axis=-1)


def pack_rgb565(image: Array) -> Array:
    """Colour in 16 bits, one of 65,536: the five highest bits of red, six of green, five of blue.

    `(R >> 3) << 11 | (G >> 2) << 5 | B >> 3`

    Args:
      image: uint8 [H, W, 3]. A float image becomes one by `quantize_levels(image, 256)`.

    Returns:
      uint16 [H, W].

    Raises:
      ValueError: not three channels.
      TypeError: not uint8.
    """
    image = jnp.asarray(image)
    if image.dtype != jnp.uint8:
        raise TypeError(f"image must be uint8, got {image.dtype} (see quantize_levels)")
    checks.shape((None, None, 3), image=image)
    red, green, blue = jnp.moveaxis(image.astype(jnp.uint16), -1, 0)
    return (red >> 3) << 11 | (green >> 2) << 5 | (blue >> 3)


def unpack_rgb565(packed: Array) -> Array:
    """The 24-bit colour of a 16-bit one: highest bits repeated below, so that white comes out white.

    Args:
      packed: uint16 [H, W].

    Returns:
      uint8 [H, W, 3]. `pack_rgb565` brings back every one of the 65,536 values.

    Raises:
      ValueError: wrong rank.
      TypeError: not uint16.
    """
    packed = jnp.asarray(packed)
    checks.rank(2, packed=packed)
    if packed.dtype != jnp.uint16:
        raise TypeError(f"packed must be uint16, got {packed.dtype}")
    red, green, blue = packed >> 11, (packed >> 5) & 63, packed & 31
    channels = [red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2]
    return jnp.stack(channels, axis=-1).astype(jnp.uint8)


def color_histogram(image: Array, num_bins: int = 16, max_value: float | None = None) -> Array:
    """How often each brightness occurs in each channel: a description of a picture that ignores where things are.

    `h[c, k]` is the share of pixels whose value in channel c lies in the k-th of K equal parts of [0, white], the
    last with its upper end.

    Args:
      image: float or integer [H, W, C].
      num_bins: K, at least 1.
      max_value: white; None stands for 1 of floats, 255 of uint8.

    Returns:
      float32 [C, K]; each row sums to 1, or less by the share of values outside [0, white].

    Raises:
      ValueError: wrong rank, fewer than one part, or white is not known.
      TypeError: neither integers nor floating point.
    """
    image = picture(image)
    checks.at_least(1, num_bins=num_bins)
    top = white(image, max_value)
    pixels = wide(image).reshape(-1, image.shape[-1])
    part = jnp.floor(pixels * (num_bins / top))
    part = jnp.where(pixels == top, num_bins - 1, part)
    hits = part[..., None] == jnp.arange(num_bins, dtype=part.dtype).reshape(1, 1, -1)
    return jnp.mean(hits, axis=0, dtype=jnp.float32)


def blend(pixels: Array, other: Array, factor: Array | float, top: float) -> Array:
    """`other + factor (pixels - other)`, kept in [0, top]: factors above 1 lead away from `other`."""
    return jnp.clip(other + factor * (pixels - other), 0, top)


def color_jitter(
    key: Array,
    image: Array,
    brightness: float = 0.2,
    contrast: float = 0.2,
    channels: float = 0.1,
    max_value: float | None = None,
) -> Array:
    """Changes brightness, contrast and the balance of the channels, in this order.

    Brightness: `b x`. Contrast: `m + c (x - m)`, m the mean grey value of the picture. Channels: `g_k x_k`, each
    channel by its own factor. Every factor is uniform in [1 - setting, 1 + setting], and after each of the three,
    values are kept in [0, white].

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      brightness: largest change of b, in [0, 1]; 0 for none.
      contrast: largest change of c, in [0, 1].
      channels: largest change of each g_k, in [0, 1].
      max_value: white; None stands for 1 of floats, 255 of uint8.

    Returns:
      Like `image`, within [0, white].

    Raises:
      ValueError: wrong rank, a setting outside [0, 1], or white is not known.
      TypeError: neither integers nor floating point.

    Differs from torchvision's ColorJitter: fixed order, and factors for the channels in place of saturation and
    hue.
    """
    image = picture(image)
    checks.between(0, 1, brightness=brightness, contrast=contrast, channels=channels)
    top = white(image, max_value)
    factors = jax.random.uniform(key, (2 + image.shape[-1],), minval=-1, maxval=1)
    bright = 1 + brightness * factors[0]
    pixels = blend(wide(image), jnp.zeros(image.shape), bright, top)
    mean = jnp.mean(luminance(pixels), keepdims=True)
    pixels = blend(pixels, mean, 1 + contrast * factors[1], top)
    gains = (1 + channels * factors[2:]).reshape(1, 1, -1)
    return narrow(jnp.clip(gains * pixels, 0, top), image)
