"""Two domains of pictures of the same world, with the translation of every picture.

Pure, jittable with static sizes, and vmappable over the key. N: pictures, H = W: image size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array

# Sky, sun, ground, crown, trunk: red, green, blue.
_SUMMER = np.array(
    [[0.35, 0.65, 1], [1, 0.9, 0.2], [0.3, 0.7, 0.2], [0.05, 0.4, 0.1], [0.45, 0.3, 0.1]], np.float32
)
_WINTER = np.array(
    [[0.7, 0.72, 0.78], [1, 1, 0.9], [0.95, 0.97, 1], [0.55, 0.65, 0.7], [0.3, 0.22, 0.2]], np.float32
)


def draw_landscape(scene: Array, *, winter: bool, image_size: int = 32) -> Array:
    """The picture of a scene in summer or in winter: a sun over a hill with a tree on it.

    The two differ in every colour, and a round crown in summer is a pointed one in winter.

    Args:
      scene: float [..., 6] in [0, 1]: the sun's place across and up, the ground's height at the left and at the right
        edge, the tree's place across, its size.
      winter: whether it is winter.
      image_size: H, at least 16.

    Returns:
      float32 [..., H, H, 3] in [0, 1].
    """
    checks.at_least(16, image_size=image_size)
    checks.shape((*scene.shape[:-1], 6), scene=scene)
    sun_x, sun_y, left, right, tree_x, tree = (scene[..., k, None, None] for k in range(6))
    centers = (jnp.arange(image_size) + 0.5) / image_size
    x, y = jnp.meshgrid(centers, 1 - centers)  # y upwards
    x, y = (jnp.broadcast_to(p, (*scene.shape[:-1], image_size, image_size)) for p in (x, y))
    low, high = 0.15 + 0.25 * left, 0.15 + 0.25 * right
    tree_x = 0.2 + 0.6 * tree_x
    foot = low + (high - low) * tree_x
    radius = 0.1 + 0.08 * tree
    up, across = (
        (y - foot - 0.1) / (2 * radius),
        jnp.abs(x - tree_x) / radius,
    )  # 0 to 1 over the crown's height
    crown = (up >= 0) & (up <= 1)
    crown &= (across <= 1 - up) if winter else (jnp.square(across) + jnp.square(2 * up - 1) <= 1)
    trunk = (across * radius <= 0.035) & (y >= foot - 0.05) & (up <= 0.1)
    sun = jnp.square(x - 0.1 - 0.8 * sun_x) + jnp.square(y - 0.75 - 0.15 * sun_y) <= 0.08**2
    layers = [crown, trunk, y <= low + (high - low) * x, sun]
    kind = jnp.select(layers, [3, 4, 2, 1], 0)
    return jnp.asarray(_WINTER if winter else _SUMMER)[kind]


def two_domains(key: Array, size: int, *, image_size: int = 32) -> dict[str, Array]:
    """Unpaired pictures of summer and of winter: what an image translator learns from without a pair.

    The scenes of the two domains are independent draws from one distribution, uniform in `draw_landscape`'s six
    numbers, so no row of `a` belongs to the same row of `b`; but the right translation of each is known and is
    returned for the test: a translator's error against it can be 0.

    Args:
      key: PRNG key.
      size: pictures N of each domain, at least 1.
      image_size: H, at least 16.

    Returns:
      `a`, summer, and `b`, winter, float32 [N, H, H, 3] in [0, 1]; `a_to_b` and `b_to_a`, the same scenes in the other
      domain; `a_scene` and `b_scene` float32 [N, 6].
    """
    checks.at_least(1, size=size)
    a_key, b_key = jax.random.split(key)
    a_scene, b_scene = draws.uniform(a_key, (size, 6)), draws.uniform(b_key, (size, 6))
    return {
        "a": draw_landscape(a_scene, winter=False, image_size=image_size),
        "b": draw_landscape(b_scene, winter=True, image_size=image_size),
        "a_to_b": draw_landscape(a_scene, winter=True, image_size=image_size),
        "b_to_a": draw_landscape(b_scene, winter=False, image_size=image_size),
        "a_scene": a_scene,
        "b_scene": b_scene,
    }
