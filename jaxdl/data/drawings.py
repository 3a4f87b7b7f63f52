"""Pictures of plane figures, made from a key, with everything that is to be seen on them.

All functions are pure, jittable with static sizes, and vmappable over the key. A pixel belongs to a figure when its
centre does: no pixel is in between, so masks and boxes are exact. N: pictures, M: figures, H = W: image size, T:
frames.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array

SHAPES = ("circle", "square", "triangle", "diamond", "plus", "cross", "ring", "star", "crescent", "frame")
COLORS = ("red", "green", "blue", "yellow", "magenta", "cyan", "white", "orange")
SIZES = ("small", "large")
DIRECTIONS = ("right", "up", "left", "down")
_RGB = np.array(
    [[1, 0, 0], [0, 0.7, 0], [0.1, 0.2, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0.5, 0]],
    np.float32,
)
_BACKGROUND = 0.2  # the brightest, below every figure's brightest channel


def inside_shape(shape: Array, u: Array, v: Array) -> Array:
    """Whether points belong to a figure that fills the square from -1 to 1.

    circle u^2 + v^2 <= 1; square; triangle |u| <= (1 - v) / 2; diamond |u| + |v| <= 1; plus |u| or |v| <= 1/3;
    cross ||u| - |v|| <= 0.4; ring 1/4 <= u^2 + v^2 <= 1; star |u|^(2/3) + |v|^(2/3) <= 1; crescent: circle without the
    circle around (0.6, 0); frame: square without max(|u|, |v|) < 0.55

    Args:
      shape: int, index into `SHAPES`; broadcast against the points.
      u: to the right, float.
      v: upwards, float.

    Returns:
      bool, of the points' shape. Areas: pi, 4, 2, 2, 20/9, 2.56, 3 pi / 4, 3 pi / 8, 1.1817, 2.79.
    """
    a, b, square = jnp.abs(u), jnp.abs(v), jnp.square(u) + jnp.square(v)
    most = jnp.maximum(a, b)
    box = most <= 1
    figures = [
        square <= 1,
        box,
        box & (a <= (1 - v) / 2),
        a + b <= 1,
        box & (jnp.minimum(a, b) <= 1 / 3),
        box & (jnp.abs(a - b) <= 0.4),
        (square <= 1) & (square >= 0.25),
        jnp.cbrt(jnp.square(a)) + jnp.cbrt(jnp.square(b)) <= 1,
        (square <= 1) & (jnp.square(u - 0.6) + jnp.square(v) > 1),
        box & (most >= 0.55),
    ]
    return jnp.select([shape == k for k in range(len(SHAPES))], figures, False)


def _box(mask: Array) -> Array:
    """(x0, y0, x1, y1) of the pixels of each mask [..., H, W], the last ones included: int32 [..., 4]; 0 for none."""
    size = mask.shape[-1]
    edges = []
    for axis in (-2, -1):  # over rows, what is left are columns: x
        there = jnp.any(mask, axis=axis)
        first = jnp.argmax(there, axis=-1)
        last = size - jnp.argmax(there[..., ::-1], axis=-1)
        edges.append((first, jnp.where(jnp.any(there, axis=-1), last, 0)))
    (x0, x1), (y0, y1) = edges
    return jnp.stack([x0, y0, x1, y1], axis=-1).astype(jnp.int32)


def shapes(
    key: Array, size: int, *, image_size: int = 32, max_objects: int = 1, noise: float = 0.02
) -> dict[str, Array]:
    """Pictures of one or more of ten figures, each small or large, of one of eight colours.

    Each figure lies somewhere in its own cell of a square grid, so none covers another; their number is uniform from 1
    to `max_objects`. Everything that a net may be asked for is returned, and without noise all of it can be read off
    the picture without error: the background is grey and at most 0.2 bright, every figure has a channel at 0.7
    or more.

    Args:
      key: PRNG key.
      size: pictures N, at least 1.
      image_size: H, at least 16 for each row of cells: 16, or 32 for 2 to 4 figures, 48 for 5 to 9.
      max_objects: M, at least 1.
      noise: standard deviation of what is added to every value, at least 0.

    Returns:
      `x` float32 [N, H, H, 3], in [0, 1] but for the noise.
      `y` int32 [N], the class of the first figure (of the only one, for M = 1), an index into `SHAPES`.
      `classes` int32 [N, M], -1 where there is no figure, and `boxes` float32 [N, M, 4], (x0, y0, x1, y1) in pixels,
      x to the right and y downwards, the tightest around the mask; 0 where there is no figure.
      `masks` bool [N, M, H, H], the pixels of each figure; `segments` int32 [N, H, H], 0 for background, else
      class + 1.
      `scene` int32 [N, M, 3], size, colour and class (`SIZES`, `COLORS`, `SHAPES`), -1 where there is no figure: what
      `scene_captions` puts into words.
    """
    checks.at_least(1, size=size, max_objects=max_objects)
    checks.non_negative(noise=noise)
    grid = math.isqrt(max_objects - 1) + 1
    checks.at_least(16 * grid, image_size=image_size)
    cell = image_size / grid
    numbers_key, noise_key = jax.random.split(key)
    numbers = draws.uniform(numbers_key, (size, 6 * max_objects + grid * grid + 2))
    of_object, of_cell, of_picture = jnp.split(
        numbers, [6 * max_objects, 6 * max_objects + grid * grid], axis=1
    )
    *choices, across, down = jnp.moveaxis(of_object.reshape(size, max_objects, 6), -1, 0)
    present = jnp.arange(max_objects)[None] < 1 + draws.below(max_objects, of_picture[:, :1])
    shape, color, large = (draws.below(n, u) for n, u in zip((len(SHAPES), len(COLORS), len(SIZES)), choices))
    # Half the side, in cells; the gap between small and large is as wide as either's range.
    radius = cell * (0.25 + 0.06 * choices[3] + 0.12 * large)
    place = jnp.argsort(of_cell, axis=1)[:, :max_objects]
    corner = jnp.stack([place % grid, place // grid], axis=-1) * cell
    free = cell - 2 * radius[..., None] - 2  # a pixel at each side, so that neighbours never touch
    center = corner + 1 + radius[..., None] + free * jnp.stack([across, down], axis=-1)

    pixels = jnp.arange(image_size)[None, None] + 0.5
    u = (pixels - center[..., :1]) / radius[..., None]
    v = (center[..., 1:] - pixels) / radius[..., None]
    u, v = jnp.broadcast_arrays(u[:, :, None, :], v[:, :, :, None])
    masks = inside_shape(shape[..., None, None], u, v) & present[..., None, None]
    classes = jnp.where(present, shape, -1)
    background = _BACKGROUND * of_picture[:, 1, None, None, None]
    painted = jnp.einsum("nmhw,nmc->nhwc", masks.astype(jnp.float32), jnp.asarray(_RGB)[color])
    x = jnp.where(jnp.any(masks, axis=1)[..., None], painted, background)
    scene = jnp.stack([large, color, shape], axis=-1)
    return {
        "x": x + noise * draws.normal(noise_key, x.shape),
        "y": classes[:, 0],
        "classes": classes,
        "boxes": _box(masks).astype(jnp.float32),
        "masks": masks,
        "segments": jnp.sum(masks * (shape + 1)[..., None, None], axis=1, dtype=jnp.int32),
        "scene": jnp.where(present[..., None], scene, -1),
    }


def moving_shapes(
    key: Array, size: int, *, num_frames: int = 8, image_size: int = 16, noise: float = 0.0
) -> dict[str, Array]:
    """Clips of one figure that moves right, up, left or down, and comes back in where it goes out.

    frame t = frame 0 shifted around the edges by t speed pixels

    The place in the first frame is uniform on the closed plane, so a single frame says nothing about the direction:
    the best accuracy from one is 1/4, from two it is 1. Without noise every frame follows exactly from the first two.

    Args:
      key: PRNG key.
      size: clips N, at least 1.
      num_frames: T, at least 2.
      image_size: H, at least 12.
      noise: standard deviation of what is added to every value, at least 0.

    Returns:
      `x` float32 [N, T, H, H, 1], 1 inside and 0 outside but for the noise; `y` int32 [N], index into `DIRECTIONS`;
      `speed` int32 [N], 1 or 2 pixels a frame; `shape` int32 [N], index into `SHAPES`; `center` float32 [N, T, 2],
      (x, y) in pixels, x to the right and y downwards, in [0, H).
    """
    checks.at_least(1, size=size)
    checks.at_least(2, num_frames=num_frames)
    checks.at_least(12, image_size=image_size)
    checks.non_negative(noise=noise)
    numbers_key, noise_key = jax.random.split(key)
    numbers = draws.uniform(numbers_key, (size, 6))
    y, speed, shape = (
        draws.below(4, numbers[:, 0]),
        1 + draws.below(2, numbers[:, 1]),
        draws.below(len(SHAPES), numbers[:, 2]),
    )
    radius = image_size * (0.22 + 0.13 * numbers[:, 3])
    start = image_size * numbers[:, None, 4:]
    step = jnp.array([[1, 0], [0, -1], [-1, 0], [0, 1]])[y] * speed[:, None]
    center = (start + jnp.arange(num_frames)[None, :, None] * step[:, None]) % image_size

    # The first frame is drawn once and shifted: a place that is rounded anew in each frame could change its outline.
    pixels = jnp.arange(image_size)[None, None] + 0.5
    offset = (pixels - start[:, 0, :, None] + image_size / 2) % image_size - image_size / 2
    u, v = offset[:, 0] / radius[:, None], -offset[:, 1] / radius[:, None]
    u, v = jnp.broadcast_arrays(u[:, None, :], v[:, :, None])
    first = inside_shape(shape[:, None, None], u, v).astype(jnp.float32)

    def clip(frame: Array, step: Array) -> Array:
        return jax.vmap(lambda t: jnp.roll(frame, (t * step[1], t * step[0]), (0, 1)))(jnp.arange(num_frames))

    x = jax.vmap(clip)(first, step)[..., None]
    return {
        "x": x + noise * draws.normal(noise_key, x.shape),
        "y": y,
        "speed": speed,
        "shape": shape,
        "center": center,
    }
