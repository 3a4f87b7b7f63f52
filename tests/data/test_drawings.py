"""Figures against their areas, scikit-image's regions and NumPy's shifts."""

import jax
import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.drawings import COLORS, DIRECTIONS, SHAPES, inside_shape

AREAS = [np.pi, 4, 2, 2, 20 / 9, 2.56, 0.75 * np.pi, 0.375 * np.pi, 1.1817488, 2.79]


def shapes(key, noise):
    return data.shapes(key, 64, image_size=48, max_objects=5, noise=noise)


def moving(key, noise):
    return data.moving_shapes(key, 200, num_frames=4, image_size=14, noise=noise)


def test_areas():
    n = 400
    v, u = np.mgrid[1 : -1 : n * 1j, -1 : 1 : n * 1j].astype(np.float32)
    shape = np.arange(len(SHAPES))[:, None, None]
    u, v = (np.broadcast_to(p, (len(SHAPES), n, n)) for p in (u, v))
    inside = np.asarray(jax.jit(inside_shape)(shape, u, v))
    np.testing.assert_allclose(4 * inside.mean((1, 2)), AREAS, rtol=0.01)
    triangle = inside[SHAPES.index("triangle")].sum(1)
    assert triangle[10] < triangle[-10]  # it stands on its side


def test_everything_can_be_read_off_the_picture(made):
    pictures = made(shapes, 0.0, seed=1)
    measure = pytest.importorskip("skimage.measure")
    x, segments = pictures["x"], pictures["segments"]
    colors = np.array(
        [[1, 0, 0], [0, 0.7, 0], [0.1, 0.2, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0.5, 0]]
    )
    np.testing.assert_array_equal(segments > 0, x.max(-1) > 0.2)  # what the docstring says of the background
    background = np.where(segments[..., None] > 0, np.nan, x)
    assert np.nanmax(np.nanmax(background, (1, 2, 3)) - np.nanmin(background, (1, 2, 3))) == 0
    counts = []
    for row in range(len(x)):
        present = pictures["classes"][row] >= 0
        counts.append(int(present.sum()))
        regions = measure.regionprops(measure.label(pictures["masks"][row].any(0), connectivity=2))
        assert len(regions) == counts[-1]  # none touches another, none falls apart
        found = sorted((r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]) for r in regions)
        assert found == sorted(map(tuple, pictures["boxes"][row][present].astype(int).tolist()))
        for m in np.flatnonzero(present):
            mask = pictures["masks"][row, m]
            size, color, shape = pictures["scene"][row, m]
            np.testing.assert_allclose(
                x[row][mask], np.broadcast_to(colors[color], (mask.sum(), 3)), atol=1e-6
            )
            assert (segments[row][mask] == shape + 1).all()
            assert pictures["classes"][row, m] == shape
            x0, y0, x1, y1 = pictures["boxes"][row, m]
            # Half sides are 0.25 to 0.31 of a cell for small figures and 0.37 to 0.43 for large ones.
            if SHAPES[shape] in ("circle", "square", "frame"):
                low, high = ((0.25, 0.31), (0.37, 0.43))[size]
                assert 32 * low - 1.01 <= max(x1 - x0, y1 - y0) <= 32 * high + 1.01
        assert not pictures["masks"][row, ~present].any()
        assert (pictures["boxes"][row, ~present] == 0).all()
        assert (pictures["scene"][row, ~present] == -1).all()
    assert set(counts) == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(pictures["y"], pictures["classes"][:, 0])
    assert len(np.unique(pictures["scene"][..., 1][pictures["classes"] >= 0])) == len(COLORS)
    assert set(np.unique(pictures["classes"])) == set(range(-1, len(SHAPES)))
    noisy = made(shapes, 0.1, seed=1)
    np.testing.assert_allclose((noisy["x"] - x).std(), 0.1, rtol=0.01)


@pytest.mark.slow
def test_classes_can_be_told_apart_by_simple_shape_features(made):
    """The class is in the picture: share of the box, centre of mass and centre pixel, by nearest neighbour."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    table = made(lambda key: data.shapes(key, 600, image_size=32, noise=0.02))
    features = []
    for mask, (x0, y0, x1, y1) in zip(table["masks"][:, 0], table["boxes"][:, 0].astype(int)):
        part = mask[y0:y1, x0:x1].astype(float)
        rows, columns = np.linspace(0, len(part) - 1, 9).round(), np.linspace(0, part.shape[1] - 1, 9).round()
        features.append(part[np.ix_(rows.astype(int), columns.astype(int))].ravel())
    fitted = neighbors.KNeighborsClassifier(3).fit(features[:450], table["y"][:450])
    assert fitted.score(features[450:], table["y"][450:]) > 0.97


def test_moving_shapes_move_as_they_say(made):
    table = made(moving, 0.0)
    x, y = table["x"][..., 0], table["y"]
    assert x.shape == (200, 4, 14, 14)
    step = {"right": (0, 1), "up": (-1, 0), "left": (0, -1), "down": (1, 0)}
    for clip, direction, speed in zip(x, y, table["speed"]):
        down, right = step[DIRECTIONS[direction]]
        for t in range(4):
            np.testing.assert_array_equal(
                clip[t], np.roll(clip[0], (t * speed * down, t * speed * right), (0, 1))
            )
    centers = table["center"]
    assert centers.min() >= 0
    assert centers.max() < 14
    moved = (centers[:, 1:] - centers[:, :-1] + 7) % 14 - 7
    expected = np.array([[1, 0], [0, -1], [-1, 0], [0, 1]])[y] * table["speed"][:, None]
    np.testing.assert_allclose(moved, np.broadcast_to(expected[:, None], moved.shape), atol=1e-5)
    # The circle's mean direction on the closed plane is its centre.
    circles = table["shape"] == SHAPES.index("circle")
    wave = np.exp(2j * np.pi * (np.arange(14) + 0.5) / 14)
    for axis, place in ((1, 1), (2, 0)):
        angle = np.angle((x[circles, 0].sum(3 - axis) * wave).sum(1))
        error = (angle / (2 * np.pi) * 14 - centers[circles, 0, place] + 7) % 14 - 7
        assert np.abs(error).max() < 0.5
    # A single frame says nothing: places are uniform in every direction.
    for direction in range(4):
        assert abs(centers[y == direction].mean() - 7) < 2.2
    assert set(np.unique(table["speed"])) == {1, 2}
    noisy = made(moving, 0.3)
    np.testing.assert_allclose((noisy["x"] - table["x"]).std(), 0.3, rtol=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda k: data.shapes(k, 2, image_size=15), "image_size must be at least 16", id="small"
        ),
        pytest.param(lambda k: data.shapes(k, 2, max_objects=5), "image_size must be at least 48", id="grid"),
        pytest.param(
            lambda k: data.moving_shapes(k, 2, num_frames=1), "num_frames must be at least 2", id="frames"
        ),
        pytest.param(lambda k: data.moving_shapes(k, 2, noise=-0.1), "noise", id="noise"),
    ],
)
def test_errors(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)
