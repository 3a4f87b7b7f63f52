"""Every shape feature against scikit-image, and shapes whose numbers are known."""

import jax
import numpy as np
import pytest

from jaxdl.data import shape_features

FEATURES = jax.jit(jax.vmap(shape_features))
row, column = np.mgrid[:32, :32]
MASKS = {
    "ellipse": ((row - 14) * 0.9 + (column - 16) * 0.5) ** 2 / 100
    + ((column - 16) * 0.9 - (row - 14) * 0.5) ** 2 / 25
    <= 1,
    "square": (np.abs(row - 12) <= 4) & (np.abs(column - 20) <= 4),
    "line": (row == 7) & (column > 3) & (column < 20),
    "diagonal": (row == column) & (row < 20),
    "hook": (row > 5) & (row < 25) & (column > 5) & ((column < 10) | ((row > 20) & (column < 22))),
    "ragged": (np.random.default_rng(0).uniform(size=(32, 32)) < 0.6) & (row > 8) & (column < 20),
    "point": (row == 3) & (column == 30),
    "frame": row + column >= 0,
    "empty": row < 0,
}
TABLE = {}


def features():
    if not TABLE:
        rows = jax.device_get(FEATURES(np.stack(list(MASKS.values()))))
        TABLE.update({name: {k: v[i] for k, v in rows.items()} for i, name in enumerate(MASKS)})
    return TABLE


@pytest.mark.parametrize("name", [name for name in MASKS if name != "empty"])
def test_features_equal_scikit_image(name):
    measure = pytest.importorskip("skimage.measure")
    (want,) = measure.regionprops(MASKS[name].astype(int))
    got = features()[name]
    for ours, theirs in (
        ("area", want.area),
        ("centroid", want.centroid),
        ("bounding_box", want.bbox),
        ("extent", want.extent),
        ("major_axis", want.axis_major_length),
        ("minor_axis", want.axis_minor_length),
        ("perimeter", want.perimeter),
        ("hu_moments", want.moments_hu),
    ):
        np.testing.assert_allclose(got[ours], theirs, rtol=2e-5, atol=1e-6, err_msg=ours)
    # The root turns a rounding of 1e-7 below it into 3e-4 where the axes are equal.
    np.testing.assert_allclose(got["eccentricity"] ** 2, want.eccentricity**2, atol=1e-6)
    if abs(want.axis_major_length - want.axis_minor_length) > 1e-3:
        turned = (got["orientation"] - want.orientation + np.pi / 2) % np.pi - np.pi / 2
        np.testing.assert_allclose(turned, 0, atol=1e-5)


def test_known_shapes():
    square, line, empty = (features()[name] for name in ("square", "line", "empty"))
    assert (square["area"], square["extent"], square["perimeter"]) == (81, 1, 32)
    np.testing.assert_allclose(square["compactness"], 4 * np.pi * 81 / 32**2, rtol=1e-6)
    np.testing.assert_allclose(square["major_axis"], 4 * np.sqrt((81 - 1) / 12), rtol=1e-6)
    assert (line["eccentricity"], line["minor_axis"]) == (1, 0)
    assert abs(line["orientation"]) == np.float32(np.pi / 2)
    for name, value in empty.items():
        np.testing.assert_array_equal(value, np.zeros_like(value), err_msg=name)


def test_hu_moments_ignore_place_direction_and_size_and_mirroring_but_for_a_sign():
    hook = MASKS["hook"]
    changed = [np.roll(hook, (3, 5), (0, 1)), np.rot90(hook), hook.T]
    moments = np.asarray(FEATURES(np.stack([hook, *changed] + [hook] * 5))["hu_moments"])
    np.testing.assert_allclose(moments[1:3], moments[[0, 0]], rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(moments[3], moments[0] * [1, 1, 1, 1, 1, 1, -1], rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(("mask", "error", "message"), [
    (np.ones((3, 3)), TypeError, "mask must be bool"),
    (np.ones((3, 3, 1), bool), ValueError, "mask must have rank 2"),
])  # fmt: skip
def test_bad_input(mask, error, message):
    with pytest.raises(error, match=message):
        shape_features(mask)
