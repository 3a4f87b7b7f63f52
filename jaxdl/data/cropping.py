"""Parts and sizes of one image: mirrored, cut out, erased, enlarged, framed. On the device, `[H, W, C]` in.

What is random takes `(key, image)`; `jax.vmap(random_crop, (0, 0, None))(keys, images, size)` cuts every image of
a batch elsewhere. H, W, C: height, width, channels.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data.pixel_ranges import narrow, picture, white, wide
from jaxdl.nn.convolution import per_axis
from jaxdl.types import Array

Size = int | tuple[int, int]

# Names of `jax.image.resize`.
_METHODS = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic", "lanczos": "lanczos3"}


def place(uniform: Array, free: int | Array) -> Array:
    """One of the places 0, ..., free for a number uniform in [0, 1), int32: cheaper than an integer drawn for it."""
    return jnp.floor(uniform * (free + 1)).astype(jnp.int32)


def read_pixels(image: Array, rows: Array, columns: Array) -> Array:
    """The pixels at these rows and columns, [len(rows), len(columns), C]; both must lie inside the image."""
    image = image.at[rows].get(mode="promise_in_bounds")
    return image.at[:, columns].get(mode="promise_in_bounds")


def random_flip(key: Array, image: Array, horizontal: float = 0.5, vertical: float = 0.0) -> Array:
    """Mirrors left and right with one probability, top and bottom with another, independently.

    Args:
      key: a JAX key.
      image: any dtype [H, W, C].
      horizontal: probability that left and right change places, in [0, 1].
      vertical: probability that top and bottom do.

    Returns:
      Like `image`.

    Raises:
      ValueError: wrong rank, or a probability outside [0, 1].
    """
    checks.rank(3, image=image)
    checks.between(0, 1, horizontal=horizontal, vertical=vertical)
    image = jnp.asarray(image)
    left_right, top_bottom = jax.random.uniform(key, (2,)) < jnp.array([horizontal, vertical])
    rows, columns = jnp.arange(image.shape[0]), jnp.arange(image.shape[1])
    # Choosing between a picture and its mirror image, XLA's CPU backend computes both for every pixel, with all that
    # came before: a crop four times.
    rows = jnp.where(top_bottom, rows[::-1], rows)
    columns = jnp.where(left_right, columns[::-1], columns)
    return read_pixels(image, rows, columns)


def random_crop(key: Array, image: Array, size: Size, padding: int = 0, fill: float = 0.0) -> Array:
    """Cuts out a window at a place that is uniform over all that fit.

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      size: of the window; one integer or (height, width).
      padding: pixels to add on all four sides first; 4 with the image's own size is usual for 32x32 pictures.
      fill: value of those pixels.

    Returns:
      [height, width, C] of the image's dtype.

    Raises:
      ValueError: wrong rank, negative padding, or a window larger than the padded image.
      TypeError: neither integers nor floating point.
    """
    image = picture(image)
    height, width = per_axis(size, 2, "size")
    checks.at_least(0, padding=padding)
    free = image.shape[0] + 2 * padding - height, image.shape[1] + 2 * padding - width
    if min(free) < 0:
        raise ValueError(
            f"size must fit the image with its padding, got {(height, width)} on {image.shape[:2]}"
            f" with padding {padding}"
        )
    down, right = jax.random.uniform(key, (2,))
    rows = place(down, free[0]) - padding + jnp.arange(height)
    columns = place(right, free[1]) - padding + jnp.arange(width)
    nearest = [jnp.clip(at, 0, length - 1) for at, length in zip((rows, columns), image.shape)]
    window = read_pixels(image, *nearest)
    # Of a slice of a padded copy, XLA's CPU backend makes two passes more.
    outside = (rows != nearest[0])[:, None, None] | (columns != nearest[1])[None, :, None]
    return jnp.where(outside, jnp.asarray(fill, image.dtype), window)


def random_erasing(
    key: Array,
    image: Array,
    probability: float = 0.5,
    min_area: float = 0.02,
    max_area: float = 0.33,
    max_aspect: float = 3.3,
    fill: float | None = None,
    max_value: float | None = None,
) -> Array:
    """Covers a rectangle, so that a net cannot rely on one part of the picture.

    Area S = s H W with s uniform in [min_area, max_area]; height sqrt(S r) and width sqrt(S / r), rounded, with log r
    uniform in [-log max_aspect, log max_aspect]; the place uniform over all that fit.

    Args:
      key: a JAX key.
      image: float or integer [H, W, C].
      probability: that anything is erased, in [0, 1].
      min_area: least share of the image, in (0, 1].
      max_area: largest share, in [min_area, 1].
      max_aspect: most height over width, or width over height; at least 1.
      fill: what to cover it with; None draws every value uniformly between black and white.
      max_value: white; None stands for 1 of floats, 255 of uint8. Used by the drawn values only.

    Returns:
      Like `image`.

    Raises:
      ValueError: wrong rank or a setting out of range.
      TypeError: neither integers nor floating point.

    Source: Zhong et al., "Random Erasing Data Augmentation", 2017, arXiv:1708.04896, algorithm 1.
    Differs from it: tall and wide are equally likely (log r is uniform, not r), as in torchvision, whose defaults
    these are. Shapes that do not fit are not drawn again, which a compiled program could do only by a loop: the aspect
    comes from the part of its range that fits, or, where none does, is the nearest that does.
    """
    image = picture(image)
    checks.between(0, 1, probability=probability, max_area=max_area)
    checks.positive(min_area=min_area)
    checks.at_least(min_area, max_area=max_area)
    checks.at_least(1, max_aspect=max_aspect)
    height, width, _ = image.shape
    top = white(image, max_value) if fill is None else 0.0
    rectangle_key, fill_key = jax.random.split(key)
    whether, share, tall, down, right = jax.random.uniform(rectangle_key, (5,))

    area = (min_area + (max_area - min_area) * share) * height * width
    # The shapes that fit: sqrt(S r) <= H and sqrt(S / r) <= W.
    widest, tallest = jnp.log(area / width**2), jnp.log(height**2 / area)
    limit = jnp.log(max_aspect)
    low, high = jnp.clip(-limit, widest, tallest), jnp.clip(limit, widest, tallest)
    aspect = jnp.exp(low + (high - low) * tall)
    rows = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, height).astype(jnp.int32)
    columns = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, width).astype(jnp.int32)
    row = jnp.arange(height)[:, None] - place(down, height - rows)
    column = jnp.arange(width)[None] - place(right, width - columns)
    erased = (row >= 0) & (row < rows) & (column >= 0) & (column < columns) & (whether < probability)
    if fill is None:
        cover = jax.random.uniform(fill_key, image.shape, wide(image).dtype) * top
    else:
        cover = jnp.full(image.shape, fill, wide(image).dtype)
    return jnp.where(erased[..., None], narrow(cover, image), image)


def resize(image: Array, size: Size, method: str = "bilinear", antialias: bool = True) -> Array:
    """Samples the same picture with another number of pixels.

    Pixel centres are half a pixel from the border: output i looks at input (i + 1/2) n / m - 1/2. When shrinking, the
    filter is widened by n / m, so that every pixel counts (antialiasing); at the border it is cut off and normalised.

    Args:
      image: float or integer [H, W, C].
      size: the new one; one integer or (height, width).
      method: 'nearest', 'bilinear', 'bicubic' (Keys, a = -1/2) or 'lanczos' (three lobes). The last two may go beyond
        the values of the image.
      antialias: False looks only at the nearest pixels when shrinking, and drops fine detail.

    Returns:
      [height, width, C] of the image's dtype; integers are rounded and kept in their dtype.

    Raises:
      ValueError: wrong rank, a size below 1, or another method.
      TypeError: neither integers nor floating point.

    Equal to Pillow's `resize` of float images with antialiasing, to PyTorch's `interpolate` (align_corners=False)
    without for 'bilinear' ('bicubic' has a = -3/4 there). A layer that enlarges feature maps in a model is
    `jaxdl.nn.upsample_bilinear`.
    """
    image = picture(image)
    height, width = per_axis(size, 2, "size")
    checks.one_of(tuple(_METHODS), method=method)
    shape = (height, width, image.shape[2])
    if method == "nearest":
        return jax.image.resize(image, shape, "nearest")
    return narrow(jax.image.resize(wide(image), shape, _METHODS[method], antialias=antialias), image)


def pad_to_size(image: Array, size: Size, fill: float = 0.0) -> Array:
    """Puts the picture in the middle of a larger one; an odd pixel goes below and to the right.

    Args:
      image: float or integer [H, W, C].
      size: the new one, not smaller; one integer or (height, width).
      fill: value of the frame.

    Returns:
      [height, width, C] of the image's dtype.

    Raises:
      ValueError: wrong rank, or a size smaller than the image.
      TypeError: neither integers nor floating point.
    """
    image = picture(image)
    missing = [new - old for new, old in zip(per_axis(size, 2, "size"), image.shape)]
    if min(missing) < 0:
        raise ValueError(f"size must be at least that of the image, got {size} for {image.shape[:2]}")
    border = [(extra // 2, extra - extra // 2) for extra in missing] + [(0, 0)]
    return jnp.pad(image, border, constant_values=jnp.asarray(fill, image.dtype))
