"""Drawn faces: what each number changes in the picture, and what it leaves alone."""

import jax
import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.faces import LOOKS, PARTS

HAIR, PUPIL, MOUTH, WRINKLE = (PARTS.index(p) for p in ("hair", "pupil", "mouth", "wrinkle"))
SIZE = 48


def draw(age, pose, expression, look):
    inputs = [np.broadcast_to(np.float32(p), (5,)) for p in (age, pose, expression)]
    drawn = DRAW(*inputs, np.broadcast_to(np.int32(look), (5,)))
    return {name: np.asarray(values) for name, values in drawn.items()}


DRAW = jax.jit(
    lambda age, pose, expression, look: data.draw_face(age, pose, expression, look, image_size=SIZE)
)
RAMP = np.linspace(0, 1, 5, dtype=np.float32)


def centre(mask):
    return np.array([np.nonzero(m)[1].mean() for m in mask])


def test_age_greys_the_hair_and_draws_wrinkles():
    face = draw(RAMP, 0, 0, 0)
    np.testing.assert_array_equal((face["parts"] == WRINKLE).any((1, 2)), RAMP >= 0.5)
    colors = np.array([x[p == HAIR].mean(0) for x, p in zip(face["x"], face["parts"])])
    expected = RAMP[:, None] * [0.86, 0.86, 0.88] + (1 - RAMP[:, None]) * LOOKS[0, 3:6]
    np.testing.assert_allclose(colors, expected, atol=1e-5)
    hair = (face["parts"] == HAIR).sum((1, 2))
    assert (np.diff(hair) <= 0).all()
    assert hair[-1] < hair[0]


def test_pose_moves_the_eyes_and_expression_bends_the_mouth():
    face = draw(0, 2 * RAMP - 1, 0, 2)
    assert (np.diff(centre(face["parts"] == PUPIL)) > 1).all()
    np.testing.assert_allclose(centre(face["parts"][2:3] == PUPIL), (SIZE - 1) / 2, atol=0.01)
    np.testing.assert_array_equal(face["x"][0], face["x"][-1][:, ::-1])  # left is right, mirrored
    face = draw(0, 0, 2 * RAMP - 1, 2)
    rows = np.arange(SIZE)[:, None]
    corner, middle = [], []
    for parts in face["parts"] == MOUTH:
        columns = np.flatnonzero(parts.any(0))
        at = [
            (rows[:, 0] * parts[:, c]).sum() / parts[:, c].sum()
            for c in (columns[0], columns[len(columns) // 2])
        ]
        corner.append(at[0])
        middle.append(at[1])
    smile = np.array(middle) - np.array(corner)  # rows count downwards: above 0, the corners are higher
    assert (np.diff(smile) >= 0).all()
    assert smile[0] < -1
    assert smile[-1] > 1


def test_look_is_certain_from_the_clothes_and_all_else_is_free(made):
    table = made(lambda key: data.drawn_faces(key, 400, image_size=SIZE))
    assert table["x"].min() >= 0
    assert table["x"].max() <= 1 + 1e-6
    clothes = table["x"][:, -1, SIZE // 2]
    np.testing.assert_allclose(clothes, LOOKS[table["look"], 6:9], atol=1e-6)
    assert len(np.unique(LOOKS[:, 6:9], axis=0)) == len(LOOKS)
    numbers = np.stack([table[name] for name in ("age", "pose", "expression", "look")])
    np.testing.assert_allclose(numbers.mean(1), [0.5, 0, 0, 1.5], atol=0.2)
    assert np.abs(np.corrcoef(numbers) - np.eye(4)).max() < 0.2
    # The answer to any edit is draw_face of the changed numbers, so of the same numbers it is the picture.
    again = draw(*(table[name][:5] for name in ("age", "pose", "expression", "look")))
    np.testing.assert_array_equal(again["parts"], table["parts"][:5])
    np.testing.assert_allclose(again["x"], table["x"][:5], atol=1e-6)
    assert set(np.unique(table["parts"])) == set(range(len(PARTS)))


def test_errors():
    one = np.zeros(1, np.float32)
    with pytest.raises(TypeError, match="look must be integers"):
        data.draw_face(one, one, one, one)
    with pytest.raises(ValueError, match="pose must have the shape of age"):
        data.draw_face(one, np.zeros(2, np.float32), one, np.zeros(1, np.int32))
    with pytest.raises(ValueError, match="image_size must be at least 24"):
        data.drawn_faces(jax.random.key(0), 2, image_size=16)
