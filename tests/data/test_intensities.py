"""Values changed pixel by pixel, against scikit-image, NumPy, Pillow and a published table."""

import jax
import numpy as np
import pytest

from jaxdl.data import (
    binarize,
    complement,
    contrast_stretch,
    histogram_equalize,
    quantize_levels,
    scale_pixels,
)

IMAGE = np.random.default_rng(0).uniform(0.1, 0.8, size=(12, 10, 3)).astype(np.float32)
BYTES = np.random.default_rng(1).integers(0, 256, (12, 10, 3), np.uint8)


def test_binarize_is_above_the_threshold():
    image = np.array([[[0.0], [0.5], [0.50001], [1.0]]], np.float32)
    got = jax.jit(binarize)(image, 0.5)
    assert got.dtype == bool
    np.testing.assert_array_equal(got.ravel(), [False, False, True, True])
    np.testing.assert_array_equal(binarize(BYTES, 127), BYTES > 127)


def test_complement():
    np.testing.assert_array_equal(complement(BYTES), 255 - BYTES)
    np.testing.assert_allclose(complement(IMAGE), 1 - IMAGE, atol=1e-7)
    np.testing.assert_array_equal(complement(BYTES // 16, 16), 16 - BYTES // 16)
    np.testing.assert_array_equal(complement(IMAGE > 0.5), IMAGE <= 0.5)


def test_contrast_stretch_equals_scikit_image():
    exposure = pytest.importorskip("skimage.exposure")
    both = jax.jit(lambda x: (contrast_stretch(x), contrast_stretch(x, 5, 90)))
    for image in (IMAGE, BYTES):
        for got, ends in zip(both(image), ((0, 100), (5, 90))):
            want = exposure.rescale_intensity(image, in_range=tuple(np.percentile(image, ends)))
            # Bytes: scikit-image cuts the fraction off, we round.
            np.testing.assert_allclose(got, want, atol=1 if image is BYTES else 1e-6)
            assert got.dtype == image.dtype


def test_a_flat_picture_has_no_contrast_to_stretch():
    flat = np.full((3, 4, 1), 0.3, np.float32)
    np.testing.assert_array_equal(contrast_stretch(flat), flat)


def test_levels_of_8_bits_004b_2_1():
    image = np.array([[[0.0], [127 / 255], [0.5], [1.0], [-3.0], [2.0]]], np.float32)
    got = quantize_levels(image, 256)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got.ravel(), [0, 127, 127, 255, 0, 255])


@pytest.mark.parametrize("levels", [2, 4, 256, 65_536])
def test_levels_are_the_nearest_and_come_back(levels):
    got = np.asarray(quantize_levels(IMAGE, levels))
    assert got.dtype == (np.uint8 if levels <= 256 else np.uint16)
    np.testing.assert_array_equal(got, np.round(IMAGE.astype(np.float64) * (levels - 1)))
    back = scale_pixels(got, max_value=levels - 1)
    np.testing.assert_allclose(back, IMAGE, atol=0.5001 / (levels - 1))
    np.testing.assert_array_equal(quantize_levels(back, levels), got)


def test_two_levels_are_black_and_white():
    np.testing.assert_array_equal(quantize_levels(IMAGE, 2) == 1, binarize(IMAGE, 0.5))
    np.testing.assert_array_equal(quantize_levels(BYTES, 256), BYTES)


# The 8 x 8 example of https://en.wikipedia.org/wiki/Histogram_equalization, and its table of equalized values.
EXAMPLE = np.array([
    [52, 55, 61, 59, 79, 61, 76, 61],
    [62, 59, 55, 104, 94, 85, 59, 71],
    [63, 65, 66, 113, 144, 104, 63, 72],
    [64, 70, 70, 126, 154, 109, 71, 69],
    [67, 73, 68, 106, 122, 88, 68, 68],
    [68, 79, 60, 70, 77, 66, 58, 75],
    [69, 85, 64, 58, 55, 61, 65, 83],
    [70, 87, 69, 68, 65, 73, 78, 90],
], np.uint8)[..., None]  # fmt: skip
EQUALIZED = np.array([
    [0, 12, 53, 32, 190, 53, 174, 53],
    [57, 32, 12, 227, 219, 202, 32, 154],
    [65, 85, 93, 239, 251, 227, 65, 158],
    [73, 146, 146, 247, 255, 235, 154, 130],
    [97, 166, 117, 231, 243, 210, 117, 117],
    [117, 190, 36, 146, 178, 93, 20, 170],
    [130, 202, 73, 20, 12, 53, 85, 194],
    [146, 206, 130, 117, 85, 166, 182, 215],
], np.uint8)[..., None]  # fmt: skip
EQUALIZE = jax.jit(histogram_equalize)


def test_equalized_example():
    np.testing.assert_array_equal(EQUALIZE(EXAMPLE), EQUALIZED)


def test_equalized_histogram_equals_scikit_image():
    exposure = pytest.importorskip("skimage.exposure")
    for c in range(3):
        share = exposure.equalize_hist(BYTES[..., c])
        want = (share - share.min()) / (1 - share.min()) * 255
        np.testing.assert_array_equal(np.asarray(EQUALIZE(BYTES))[..., c], np.round(want))


def test_equalized_values_are_ranks():
    ranks = np.random.default_rng(0).permutation(120).reshape(12, 10, 1).astype(np.float32) / 119
    got = jax.jit(lambda x: histogram_equalize(x, 65_536))(ranks**2)
    np.testing.assert_allclose(got, ranks, atol=1e-6)


def test_one_value_has_nothing_to_be_spread_over():
    np.testing.assert_array_equal(EQUALIZE(np.full((8, 8, 1), 77, np.uint8)), np.full((8, 8, 1), 77))


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: binarize(IMAGE[0], 0.5), ValueError, "image must have rank 3"),
    (lambda: complement(BYTES.astype(np.int32)), ValueError, "max_value must be given for int32"),
    (lambda: contrast_stretch(IMAGE, 50, 50), ValueError, "low must be below high, got 50 and 50"),
    (lambda: contrast_stretch(IMAGE, -1), ValueError, "low must be between 0 and 100"),
    (lambda: quantize_levels(IMAGE, 1), ValueError, "levels must be between 2 and 65536, got 1"),
    (lambda: histogram_equalize(IMAGE > 0.5), TypeError, "image must be integers or floating point"),
    (lambda: quantize_levels(IMAGE[:0], 4), ValueError, "image must have a pixel"),
])  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
