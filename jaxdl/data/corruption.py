"""Random damage to one image, and blur and sharpness: `(key, image)` in, an image like it out, on the device.

They make training pictures harder, or the inputs of a net that is to restore the original. H, W, C: height, width,
channels. Black is 0; white is 1 for floats and 255 for uint8, unless `max_value` says otherwise.
"""

import math

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data.cropping import place
from jaxdl.data.neighbourhoods import weighted_sum
from jaxdl.data.pixel_ranges import narrow, picture, white, wide
from jaxdl.nn import gaussian_kernel, sharpen_kernel
from jaxdl.types import Array


def salt_and_pepper(
    key: Array, image: Array, amount: float = 0.05, salt: float = 0.5, max_value: float | None = None
) -> Array:
    """Turns pixels white (salt) or black (pepper), each independently.

    P(white) = amount salt, P(black) = amount (1 - salt), in all channels together.

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      amount: share of pixels that change, in [0, 1].
      salt: share of those that become white, in [0, 1].
      max_value: white; None stands for 1 of floats, 255 of uint8.

    Returns:
      Like `image`.

    Raises:
      ValueError: wrong rank, a share outside [0, 1], or white is not known.
      TypeError: neither integers nor floating point.

    `median_filter` removes it. Small noise on every value is `jaxdl.nn.GaussianNoise`.
    Differs from skimage.util.random_noise, which draws for each channel.
    """
    image = picture(image)
    checks.between(0, 1, amount=amount, salt=salt)
    drawn = jax.random.uniform(key, (*image.shape[:2], 1))
    dot = jnp.where(drawn < amount * salt, white(image, max_value), 0.0)
    return jnp.where(drawn < amount, narrow(dot, image), image)


def gaussian_blur(key: Array, image: Array, min_sigma: float = 0.1, max_sigma: float = 2.0) -> Array:
    """Averages each pixel with those around it, weighed by a bell of a random width.

    `y(p) = sum over q of w(q) image(p + q)`, w proportional to exp(-|q|^2 / (2 sigma^2)) up to 3 max_sigma, of sum 1,
    sigma uniform in [min_sigma, max_sigma].

    Args:
      key: a JAX key.
      image: float or integer [H, W, C]. Outside, the border is repeated.
      min_sigma: least standard deviation in pixels, positive; 0.1 changes nothing.
      max_sigma: largest, at least `min_sigma`; the same for a blur that is not random.

    Returns:
      Like `image`.

    Raises:
      ValueError: wrong rank, or a setting out of range.
      TypeError: neither integers nor floating point.

    The kernel itself, to put into a model, is `jaxdl.nn.gaussian_kernel`.
    """
    image = picture(image)
    checks.positive(min_sigma=min_sigma, max_sigma=max_sigma)
    checks.at_least(min_sigma, max_sigma=max_sigma)
    pixels = wide(image)
    sigma = jax.random.uniform(key, minval=min_sigma, maxval=max_sigma)
    bell = gaussian_kernel((2 * math.ceil(3 * max_sigma) + 1,), sigma, pixels.dtype)
    # The bell of two axes is the product of two of one.
    return narrow(weighted_sum(weighted_sum(pixels, bell[:, None]), bell[None]), image)


def sharpen(key: Array, image: Array, max_amount: float = 1.0, max_value: float | None = None) -> Array:
    """Adds to each pixel some of what it differs from its four neighbours.

    `y = x + a (4 x - up - down - left - right)`, a uniform in [0, max_amount], kept in [0, white].

    Args:
      key: a JAX key.
      image: float or integer [H, W, C]. Outside, the border is repeated.
      max_amount: at least 0; 1 is the kernel [[0, -1, 0], [-1, 5, -1], [0, -1, 0]].
      max_value: white; None stands for 1 of floats, 255 of uint8.

    Returns:
      Like `image`, within [0, white].

    Raises:
      ValueError: wrong rank, a negative amount, or white is not known.
      TypeError: neither integers nor floating point.

    The kernel itself, to put into a model, is `jaxdl.nn.sharpen_kernel`.
    """
    image = picture(image)
    checks.non_negative(max_amount=max_amount)
    pixels = wide(image)
    amount = jax.random.uniform(key, maxval=max_amount)
    sharp = weighted_sum(pixels, sharpen_kernel(pixels.dtype))
    changed = pixels + amount * (sharp - pixels)
    return narrow(jnp.clip(changed, 0, white(image, max_value)), image)


def watermark(
    key: Array, image: Array, mark: Array, opacity: float = 0.5, value: float | None = None
) -> Array:
    """Lays a mark over the picture, at a place that is uniform over all that fit.

    `y = x + opacity mark (value - x)` where the mark lies, x elsewhere.

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      mark: float or bool [h, w], how much of each pixel it covers, in [0, 1]; not larger than the image.
      opacity: in [0, 1]; 1 hides what is below.
      value: of the mark's ink; None stands for white, 1 of floats and 255 of uint8.

    Returns:
      Like `image`.

    Raises:
      ValueError: wrong rank, a mark larger than the image, an opacity outside [0, 1], or white is not known.
      TypeError: the image is neither integers nor floating point, or the mark is neither float nor bool.
    """
    image, mark = picture(image), jnp.asarray(mark)
    checks.rank(2, mark=mark)
    checks.between(0, 1, opacity=opacity)
    if mark.dtype != jnp.bool_:
        checks.floating(mark=mark)
    free = [whole - part for whole, part in zip(image.shape, mark.shape)]
    if min(free) < 0:
        raise ValueError(f"mark must fit the image, got shapes {mark.shape} and {image.shape}")
    ink = white(image, None) if value is None else value
    down, right = jax.random.uniform(key, (2,))
    start = (place(down, free[0]), place(right, free[1]))
    pixels = wide(image)
    cover = jnp.zeros(image.shape[:2], pixels.dtype)
    cover = jax.lax.dynamic_update_slice(cover, mark.astype(pixels.dtype), start)
    return narrow(pixels + opacity * cover[..., None] * (ink - pixels), image)
