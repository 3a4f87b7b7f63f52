"""Median, morphology and boundaries against scipy.ndimage and scikit-image, and the algebra of morphology."""

import jax
import numpy as np
import pytest

from jaxdl.data import boundary, closing, dilate, erode, median_filter, opening

IMAGE = np.random.default_rng(0).uniform(size=(12, 10, 3)).astype(np.float32)
BYTES = np.random.default_rng(1).integers(0, 256, (12, 10, 3), np.uint8)
MASK = np.random.default_rng(2).uniform(size=(12, 10)) < 0.8
CROSS = ((0, 1, 0), (1, 1, 1), (0, 1, 0))
# Neither symmetric nor square, so that a mirrored element would show.
HOOK = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]], bool)


@pytest.mark.parametrize("size", [3, (1, 5)])
def test_median_equals_scipy(size):
    ndimage = pytest.importorskip("scipy.ndimage")
    window = (size, size) if isinstance(size, int) else size
    for image, got in zip(
        (IMAGE, BYTES), jax.jit(lambda *xs: [median_filter(x, size) for x in xs])(IMAGE, BYTES)
    ):
        want = ndimage.median_filter(image, size=(*window, 1), mode="nearest")
        np.testing.assert_array_equal(got, want)
        assert got.dtype == image.dtype


def test_median_removes_lone_dots_and_keeps_an_edge():
    image = np.zeros((9, 9, 1), np.float32)
    image[:, 5:] = 1
    dotted = image.copy()
    dotted[[1, 4, 7], [2, 7, 4]] = 1 - dotted[[1, 4, 7], [2, 7, 4]]
    np.testing.assert_array_equal(median_filter(dotted), image)


@pytest.mark.parametrize("structure", [3, HOOK], ids=["square", "hook"])
def test_morphology_equals_scipy(structure):
    ndimage = pytest.importorskip("scipy.ndimage")
    element = np.ones((3, 3), bool) if isinstance(structure, int) else np.asarray(structure, bool)
    eroded, dilated, masked, opened, closed = jax.jit(
        lambda x, m: (
            erode(x, structure),
            dilate(x, structure),
            (erode(m, structure), dilate(m, structure)),
            opening(x, structure),
            closing(x, structure),
        )
    )(BYTES, MASK)
    bright, dark = {"mode": "constant", "cval": 255}, {"mode": "constant", "cval": 0}
    for c in range(3):
        x = BYTES[..., c]
        low = ndimage.grey_erosion(x, footprint=element, **bright)
        high = ndimage.grey_dilation(x, footprint=element, **dark)
        np.testing.assert_array_equal(eroded[..., c], low)
        np.testing.assert_array_equal(dilated[..., c], high)
        np.testing.assert_array_equal(opened[..., c], ndimage.grey_dilation(low, footprint=element, **dark))
        np.testing.assert_array_equal(closed[..., c], ndimage.grey_erosion(high, footprint=element, **bright))
    np.testing.assert_array_equal(masked[0], ndimage.binary_erosion(MASK, element, border_value=1))
    np.testing.assert_array_equal(masked[1], ndimage.binary_dilation(MASK, element))


def test_morphology_equals_scikit_image():
    morphology = pytest.importorskip("skimage.morphology")
    footprint = np.asarray(CROSS, bool)
    for ours, theirs in ((erode, morphology.erosion), (dilate, morphology.dilation)):
        got = jax.jit(lambda x, ours=ours: ours(x, CROSS))(IMAGE[..., 0])
        np.testing.assert_array_equal(got, theirs(IMAGE[..., 0], footprint, mode="ignore"))


def test_laws_of_morphology():
    @jax.jit
    def laws(x, y):
        once, full = opening(x, HOOK), closing(x, HOOK)
        return {
            "opening is not brighter": (once <= x).all(),
            "closing is not darker": (full >= x).all(),
            "opening twice is once": (opening(once, HOOK) == once).all(),
            "closing twice is once": (closing(full, HOOK) == full).all(),
            "closing is the opening of the negative, with the element turned": (
                255 - opening(255 - x, HOOK[::-1, ::-1]) == full
            ).all(),
            "adjunction": (dilate(x, HOOK) <= y).all() == (x <= erode(y, HOOK)).all(),
        }

    for y in (BYTES, np.asarray(dilate(BYTES, HOOK))):
        for name, holds in laws(BYTES, y).items():
            assert bool(holds), name


@pytest.mark.parametrize(("structure", "connectivity"), [(3, 2), (CROSS, 1)])
def test_boundary_equals_scikit_image(structure, connectivity):
    segmentation = pytest.importorskip("skimage.segmentation")
    want = segmentation.find_boundaries(MASK, connectivity=connectivity, mode="inner")
    np.testing.assert_array_equal(boundary(MASK, structure), want)


def test_the_boundary_of_a_square_is_its_rim():
    mask = np.zeros((7, 7, 1), bool)
    mask[1:6, 1:6] = True
    want = mask.copy()
    want[2:5, 2:5] = False
    np.testing.assert_array_equal(boundary(mask), want)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: median_filter(IMAGE, 4), ValueError, r"size must be odd, to have a middle, got \(4, 4\)"),
    (lambda: erode(IMAGE, 2), ValueError, "structure must be odd"),
    (lambda: erode(IMAGE, 0), ValueError, "structure must be at least 1"),
    (lambda: dilate(IMAGE, [[1, 0, 1]]), ValueError, "structure must hold its middle"),
    (lambda: opening(IMAGE[None], 3), ValueError, "image must have rank 2 or 3"),
    (lambda: closing(IMAGE.astype(complex)), TypeError, "image must be integers or floating point"),
    (lambda: boundary(BYTES), TypeError, "mask must be bool, got uint8"),
])  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
