"""Drawn faces with known age, pose, expression and look, and the face after any change of them.

Pure, jittable with static sizes, and vmappable over the key. N: pictures, H = W: image size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array

PARTS = ("background", "clothes", "skin", "hair", "white of the eye", "pupil", "mouth", "wrinkle")
# A person: skin, hair, clothes (red, green, blue each), half width of the face, half distance of the eyes.
LOOKS = np.array(
    [
        [0.96, 0.80, 0.69, 0.25, 0.13, 0.05, 0.80, 0.10, 0.10, 0.46, 0.20],
        [0.55, 0.36, 0.24, 0.05, 0.05, 0.08, 0.95, 0.75, 0.10, 0.54, 0.24],
        [0.88, 0.67, 0.50, 0.80, 0.55, 0.15, 0.10, 0.30, 0.75, 0.50, 0.17],
        [0.99, 0.86, 0.78, 0.70, 0.22, 0.08, 0.10, 0.55, 0.25, 0.56, 0.26],
    ],
    np.float32,
)
_GREY = np.array([0.86, 0.86, 0.88], np.float32)
_FIXED = np.array([[0.35, 0.45, 0.55], [1, 1, 1], [0.05, 0.05, 0.1], [0.75, 0.15, 0.2]], np.float32)


def draw_face(
    age: Array, pose: Array, expression: Array, look: Array, *, image_size: int = 32
) -> dict[str, Array]:
    """Draws faces: the exact answer to "the same face, but older, turned, smiling, or another person's".

    Age turns the hair grey, lets it recede and, from 0.5 on, draws wrinkles across the forehead; the pose shifts eyes
    and mouth sideways over the head and hides part of the hair; the expression bends the mouth.

    Args:
      age: float [...], 0 young to 1 old.
      pose: float [...], -1 looking to the left of the picture, 0 to the front, 1 to the right.
      expression: float [...], -1 sad to 1 glad.
      look: int [...], the person, index into `LOOKS`.
      image_size: H, at least 24.

    Returns:
      `x` float32 [..., H, H, 3] in [0, 1]; `parts` int32 [..., H, H], index into `PARTS`: the label map.
    """
    checks.at_least(24, image_size=image_size)
    checks.integer(look=look)
    checks.same_shape(age=age, pose=pose, expression=expression, look=look)
    age, pose, expression = (jnp.asarray(p, jnp.float32)[..., None, None] for p in (age, pose, expression))
    person = jnp.asarray(LOOKS)[look][..., None, None, :]
    width, between = person[..., 9], person[..., 10]
    centers = 2 * (jnp.arange(image_size) + 0.5) / image_size - 1
    x, y = jnp.meshgrid(centers, -centers)  # y upwards, both from -1 to 1
    x, y = (jnp.broadcast_to(p, (*np.shape(look), image_size, image_size)) for p in (x, y))

    def disc(center_x: Array, center_y: float, half_width: Array | float, half_height: float) -> Array:
        return jnp.square((x - center_x) / half_width) + jnp.square((y - center_y) / half_height) <= 1

    turned = 0.22 * pose
    head = disc(jnp.float32(0), 0.0, width, 0.68)
    hair = disc(jnp.float32(0), 0.12, width + 0.12, 0.72) & (y > -0.25)
    forehead = 0.3 + 0.2 * age
    clothes = disc(jnp.float32(0), -1.15, 0.85, 0.6)
    white = disc(turned - between, 0.1, 0.11, 0.09) | disc(turned + between, 0.1, 0.11, 0.09)
    pupil = disc(1.3 * turned - between, 0.1, 0.05, 0.07) | disc(1.3 * turned + between, 0.1, 0.05, 0.07)
    along = (x - turned) / 0.2
    bend = -0.36 + 0.1 * expression * (jnp.square(along) - 0.5)
    mouth = (jnp.abs(along) <= 1) & (jnp.abs(y - bend) <= 0.045)
    wrinkle = (age >= 0.5) & (jnp.abs(y - 0.27) <= 0.034) & (jnp.abs(x - turned) <= 0.22)
    skin = head & (y <= forehead)
    layers = [pupil & head, white & head, mouth & head, wrinkle & head, skin, hair | head, clothes]
    parts = jnp.select(layers, [5, 4, 6, 7, 2, 3, 1], 0)

    def plain(color: np.ndarray) -> Array:
        return jnp.broadcast_to(color, (*np.shape(look), 3))

    person, age = person[..., 0, 0, :], age[..., 0]
    skin_color, hair_color, clothes_color = person[..., :3], person[..., 3:6], person[..., 6:9]
    hair_color = age * plain(_GREY) + (1 - age) * hair_color
    backdrop, eye, black, lips = (plain(color) for color in _FIXED)
    palette = [backdrop, clothes_color, skin_color, hair_color, eye, black, lips, 0.65 * skin_color]
    palette = jnp.stack(palette, axis=-2)
    return {
        "x": jnp.einsum("...hwp,...pc->...hwc", jax.nn.one_hot(parts, len(PARTS)), palette),
        "parts": parts,
    }


def drawn_faces(key: Array, size: int, *, image_size: int = 32) -> dict[str, Array]:
    """Faces of four people, of any age, pose and expression.

    age ~ U[0, 1), pose and expression ~ U[-1, 1), look uniform, all independent

    What a net makes of a face (older, from the front, another person's with the same pose) is judged against
    `draw_face` of the changed numbers: the exact answer, with an error of 0. The look is certain from a single pixel of
    the clothes.

    Args:
      key: PRNG key.
      size: pictures N, at least 1.
      image_size: H, at least 24.

    Returns:
      `x` float32 [N, H, H, 3] in [0, 1]; `parts` int32 [N, H, H], index into `PARTS`; `age`, `pose` and `expression`
      float32 [N]; `look` int32 [N], index into `LOOKS`.
    """
    checks.at_least(1, size=size)
    numbers = draws.uniform(key, (size, 4))
    age, pose, expression = numbers[:, 0], 2 * numbers[:, 1] - 1, 2 * numbers[:, 2] - 1
    look = draws.below(len(LOOKS), numbers[:, 3])
    drawn = draw_face(age, pose, expression, look, image_size=image_size)
    return {**drawn, "age": age, "pose": pose, "expression": expression, "look": look}
