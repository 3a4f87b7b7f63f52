"""The pyramid against a SciPy transcription, the wavelets against the Haar matrix; both undone."""

import jax
import numpy as np
import pytest

from jaxdl.data import (
    inverse_wavelet_transform,
    laplacian_pyramid,
    laplacian_reconstruct,
    wavelet_transform,
)

IMAGE = np.random.default_rng(0).uniform(size=(12, 20, 3)).astype(np.float32)
ODD = np.random.default_rng(1).uniform(size=(13, 9, 1)).astype(np.float32)
BUILD = jax.jit(laplacian_pyramid, static_argnums=1)
REBUILD = jax.jit(laplacian_reconstruct)


def smooth(image):
    """Burt and Adelson's filter in float64, mirrored about the border."""
    ndimage = pytest.importorskip("scipy.ndimage")
    for axis in (0, 1):
        image = ndimage.correlate1d(image, np.array([1, 4, 6, 4, 1]) / 16, axis=axis, mode="mirror")
    return image


def pyramid(image, levels):
    bands = []
    for _ in range(levels):
        smaller = smooth(image)[::2, ::2]
        spread = np.zeros(image.shape)
        spread[::2, ::2] = 4 * smaller
        bands.append(image - smooth(spread))
        image = smaller
    return [*bands, image]


@pytest.mark.parametrize(("image", "levels"), [(IMAGE, 2), (ODD, 3)], ids=["even", "odd"])
def test_pyramid_equals_scipy_and_comes_back_002_4741(image, levels):
    built = BUILD(image, levels)
    for got, want in zip(built, pyramid(image.astype(np.float64), levels), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
    # One subtraction and one addition for each level round.
    np.testing.assert_allclose(REBUILD(built), image, rtol=0, atol=levels * np.finfo(np.float32).eps)


def test_pyramid_of_few_bits_comes_back_exactly_002_4741():
    # Weights are multiples of 1/256, so a level of 8-bit pixels has 16 bits and float32 rounds nothing.
    image = np.random.default_rng(2).integers(0, 256, (12, 20, 3), np.uint8)
    np.testing.assert_array_equal(REBUILD(BUILD(image, 1)), image)


def test_a_flat_picture_has_no_details():
    *bands, rest = BUILD(np.full((12, 20, 3), 0.75, np.float32), 2)
    for band in bands:
        np.testing.assert_array_equal(band, np.zeros_like(band))
    np.testing.assert_array_equal(rest, np.full((3, 5, 3), 0.75))


def haar(size):
    """The orthonormal Haar matrix of one level: half sums above half differences."""
    sums = np.kron(np.eye(size // 2), [1, 1]) / np.sqrt(2)
    return np.r_[sums, np.kron(np.eye(size // 2), [1, -1]) / np.sqrt(2)]


def test_wavelets_equal_the_haar_matrix_and_come_back():
    transform = jax.jit(wavelet_transform, static_argnums=1)
    got, details = transform(IMAGE, 2)
    want = IMAGE.astype(np.float64)
    for horizontal, vertical, diagonal in details[::-1]:
        height, width, _ = want.shape
        both = np.einsum("ij,jkc,lk->ilc", haar(height), want, haar(width))
        down, right = height // 2, width // 2
        np.testing.assert_allclose(vertical, both[:down, right:], atol=1e-6)
        np.testing.assert_allclose(horizontal, both[down:, :right], atol=1e-6)
        np.testing.assert_allclose(diagonal, both[down:, right:], atol=1e-6)
        want = both[:down, :right]
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(jax.jit(inverse_wavelet_transform)(got, details), IMAGE, atol=1e-6)
    energy = sum(float((x**2).sum()) for x in jax.tree.leaves((got, details)))
    np.testing.assert_allclose(energy, (IMAGE.astype(np.float64) ** 2).sum(), rtol=1e-6)


def test_haar_by_hand():
    smooth_part, [(horizontal, vertical, diagonal)] = wavelet_transform(
        np.float32([[9, 7], [3, 5]])[..., None]
    )
    values = [float(x[0, 0, 0]) for x in (smooth_part, horizontal, vertical, diagonal)]
    assert values == [12, 4, 0, 2]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: laplacian_pyramid(ODD, 5), "levels must be at most 3 for shape"),
    (lambda: laplacian_pyramid(ODD[0], 1), "image must have rank 3"),
    (lambda: laplacian_reconstruct([ODD]), "pyramid must have two levels or more"),
    (lambda: laplacian_reconstruct([ODD, ODD]), r"smaller_level must have shape \(7, 5, 1\)"),
    (lambda: wavelet_transform(IMAGE, 3), r"height must be a multiple of 2\^levels, got 12 and 8"),
    (lambda: inverse_wavelet_transform(IMAGE, ()), "details must have a level"),
    (lambda: inverse_wavelet_transform(IMAGE, [(ODD, ODD, ODD)]), "horizontal must have the shape of smooth"),
])  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
