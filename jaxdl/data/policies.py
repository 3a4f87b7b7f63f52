"""Many changes at random: RandAugment, and a set made larger by stored copies."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data.augmentation import about_centre
from jaxdl.data.colors import blend, luminance
from jaxdl.data.intensities import histogram_equalize, stretch
from jaxdl.data.neighbourhoods import weighted_sum
from jaxdl.data.pixel_ranges import narrow, picture, white, wide
from jaxdl.types import Array

# Name of each operation, and the kind of computation it is one case of.
OPERATIONS = {
    "identity": "affine",
    "shear_x": "affine",
    "shear_y": "affine",
    "translate_x": "affine",
    "translate_y": "affine",
    "rotate": "affine",
    "brightness": "blend",
    "color": "blend",
    "contrast": "blend",
    "sharpness": "blend",
    "posterize": "posterize",
    "solarize": "solarize",
    "autocontrast": "autocontrast",
    "equalize": "equalize",
}
_KINDS = tuple(dict.fromkeys(OPERATIONS.values()))


def _affine(pixels: Array, operation: Array, strength: Array, fill: float) -> Array:
    height, width, _ = pixels.shape
    angle, shear, far = jnp.deg2rad(30.0) * strength, 0.3 * strength, 150 / 331 * strength
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # From output to input coordinates (row, column), and a shift in pixels: one resampling for all five.
    matrices = jnp.stack([
        *(jnp.eye(2), jnp.array([[1, 0], [shear, 1]]), jnp.array([[1, shear], [0, 1]])),
        *(jnp.eye(2), jnp.eye(2), jnp.array([[cos, sin], [-sin, cos]])),
    ])  # fmt: skip
    shifts = jnp.zeros((6, 2)).at[3, 1].set(-far * width).at[4, 0].set(-far * height)
    return about_centre(pixels, matrices[operation], fill, shifts[operation])


def _blend(pixels: Array, operation: Array, strength: Array) -> Array:
    """Towards black, grey, the mean grey or a smooth picture, or away from it."""
    grey = jnp.broadcast_to(luminance(pixels), pixels.shape)
    weights = jnp.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], pixels.dtype) / 13
    smooth = pixels.at[1:-1, 1:-1].set(weighted_sum(pixels, weights)[1:-1, 1:-1])
    mean = jnp.broadcast_to(jnp.mean(grey), pixels.shape)
    other = jax.lax.select_n(operation, jnp.zeros_like(pixels), grey, mean, smooth)
    return blend(pixels, other, 1 + 0.9 * strength, 1.0)


def _posterize(pixels: Array, strength: Array) -> Array:
    step = 2 ** jnp.round(4 * jnp.abs(strength))
    return jnp.floor(jnp.round(255 * pixels) / step) * step / 255


def apply_operation(pixels: Array, operation: Array, strength: Array, fill: float = 0.0) -> Array:
    """One of `OPERATIONS` by its number, on float [H, W, C] in [0, 1], with a strength in [-1, 1].

    The sign counts where both directions differ: left and right, darker and brighter. Under `jax.vmap`, where a branch
    costs as much as taking all, the fourteen share six computations.
    """
    kinds = np.array([_KINDS.index(kind) for kind in OPERATIONS.values()], np.int32)
    first_blend = list(OPERATIONS).index("brightness")
    strength = jnp.asarray(strength, pixels.dtype)
    cases = {
        "affine": _affine(pixels, jnp.clip(operation, 0, first_blend - 1), strength, fill),
        "blend": _blend(pixels, jnp.clip(operation - first_blend, 0, 3), strength),
        "posterize": _posterize(pixels, strength),
        "solarize": jnp.where(pixels > 1 - jnp.abs(strength), 1 - pixels, pixels),
        "autocontrast": stretch(
            pixels, pixels.min((0, 1), keepdims=True), pixels.max((0, 1), keepdims=True), 1.0
        ),
        "equalize": histogram_equalize(pixels),
    }
    return jax.lax.select_n(jnp.asarray(kinds)[operation], *(cases[kind] for kind in _KINDS))


def rand_augment(
    key: Array,
    image: Array,
    num_layers: int = 2,
    magnitude: float = 9.0,
    fill: float = 0.0,
    max_value: float | None = None,
) -> Array:
    """RandAugment: a few of fourteen changes, chosen at random and made one after the other, all equally strong.

    With m = magnitude / 30 and a random sign s: identity; shear_x, shear_y by s 0.3 m; translate_x, translate_y by
    s 0.453 m of the width or height; rotate by s 30 m degrees; brightness, color, contrast, sharpness, each
    `d + (1 + s 0.9 m) (x - d)` with d black, the grey picture, its mean, a smoothed one; posterize to
    8 - round(4 m) bits; solarize (the negative of what is above 1 - m); autocontrast and equalize of each channel.

    Args:
      key: a JAX key.
      image: float or integer [H, W, C]; color does nothing to one channel.
      num_layers: changes, at least 1.
      magnitude: from 0 to 30.
      fill: value of what comes into view, of the image's range.
      max_value: white; None stands for 1 of floats, 255 of uint8. Black is 0.

    Returns:
      Like `image`, within [0, white].

    Raises:
      ValueError: wrong rank, a setting out of range, or white is not known.
      TypeError: neither integers nor floating point.

    Source: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", 2019,
    arXiv:1909.13719; ranges as in torchvision's RandAugment.
    Differs from torchvision: bilinear, shears about the centre, shifts by parts of a pixel, `histogram_equalize` in
    place of Pillow's table, and at strength 0 solarize leaves white alone.
    """
    image = picture(image)
    checks.at_least(1, num_layers=num_layers)
    checks.between(0, 30, magnitude=magnitude)
    top = white(image, max_value)

    def layer(pixels: Array, drawn: Array) -> tuple[Array, None]:
        operation = jnp.floor(drawn[0] * len(OPERATIONS)).astype(jnp.int32)
        strength = jnp.where(drawn[1] < 0.5, -magnitude / 30, magnitude / 30)
        return apply_operation(pixels, operation, strength, fill / top), None

    pixels = jnp.clip(wide(image) / top, 0, 1)
    pixels, _ = jax.lax.scan(layer, pixels, jax.random.uniform(key, (num_layers, 2)))
    return narrow(pixels * top, image)


def augmented_copies(
    key: Array,
    batch: Mapping[str, Any],
    change: Callable[[Array, Array], Array],
    num_copies: int,
    name: str = "image",
) -> dict[str, Array]:
    """A larger set, stored: the examples, and `num_copies` changed copies of each.

        train = augmented_copies(key, train, random_rotate, num_copies=3)

    Each copy is drawn once and seen again in every epoch. Changes made on the fly, `jax.vmap(change)` with new keys
    inside the step, cost no memory and never repeat; stored ones cost no time, and can be looked at and written down.

    Args:
      key: a JAX key; each copy of each example gets its own.
      batch: arrays [N, ...] by name.
      change: `(key, example) -> example` of the same shape and dtype, such as `random_flip`.
      num_copies: at least 1.
      name: of the array to change; the rows of the others are repeated.

    Returns:
      Arrays [(1 + num_copies) N, ...]: the originals in order, then the first copy of each, and so on.

    Raises:
      ValueError: no such array, arrays of different length, no copy, or a change of shape.
      TypeError: a change of dtype.
    """
    checks.one_of(tuple(batch), name=name)
    checks.same_leading(1, **batch)
    checks.at_least(1, num_copies=num_copies)
    examples = jnp.asarray(batch[name])
    keys = jax.random.split(key, (num_copies, len(examples)))
    changed = jax.eval_shape(jax.vmap(change), keys[0], examples)
    if changed.shape != examples.shape:
        raise ValueError(f"change must keep the shape, got {changed.shape[1:]} from {examples.shape[1:]}")
    if changed.dtype != examples.dtype:
        raise TypeError(f"change must keep the dtype, got {changed.dtype} from {examples.dtype}")
    change_all = jax.jit(jax.vmap(change))
    copies = [examples, *(change_all(one, examples) for one in keys)]
    repeated = {
        other: jnp.concatenate([jnp.asarray(rows)] * (1 + num_copies)) for other, rows in batch.items()
    }
    return {**repeated, name: jnp.concatenate(copies)}
