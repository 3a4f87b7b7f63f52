"""Noise, blur, sharpness and marks against SciPy, and the distributions they promise."""

import chex
import jax
import numpy as np
import pytest

from jaxdl.data import gaussian_blur, salt_and_pepper, sharpen, watermark

IMAGE = np.random.default_rng(0).uniform(size=(12, 10, 3)).astype(np.float32)


KEYS = jax.random.split(jax.random.key(5), 400)


def test_salt_and_pepper_change_their_shares_of_pixels():
    image = np.full((50, 40, 3), 0.4, np.float32)
    corrupt = jax.jit(jax.vmap(lambda k, a, s: salt_and_pepper(k, image, a, s), (0, None, None)))
    noisy = np.asarray(corrupt(KEYS[:10], 0.3, 0.25))
    assert (noisy == noisy[..., :1]).all()  # a dot is grey
    values, counts = np.unique(noisy[..., 0], return_counts=True)
    np.testing.assert_array_equal(values, np.float32([0, 0.4, 1]))
    np.testing.assert_allclose(counts / counts.sum(), [0.3 * 0.75, 0.7, 0.3 * 0.25], atol=0.015)
    for settings, want in (((0.0, 0.5), 0.4), ((1.0, 1.0), 1.0), ((1.0, 0.0), 0.0)):
        assert (np.asarray(corrupt(KEYS[:10], *settings)) == np.float32(want)).all()


def test_blur_equals_scipy_by_a_width_drawn_uniformly():
    ndimage, stats = pytest.importorskip("scipy.ndimage"), pytest.importorskip("scipy.stats")
    blur = jax.jit(jax.vmap(lambda k, x: gaussian_blur(k, x, 0.5, 1.5), (0, None)))
    dot = np.zeros((12, 10, 3), np.float32)
    dot[6, 5] = 1
    # The bell's width, from the ratio of its middle to the pixel beside it.
    middle, beside = np.asarray(blur(KEYS, dot))[:, 6, 5:7, 0].T.astype(np.float64)
    sigma = np.sqrt(1 / (2 * np.log(middle / beside)))
    assert stats.kstest(sigma - 0.5, "uniform").pvalue > 1e-3
    for got, width in zip(np.asarray(blur(KEYS, IMAGE))[:5], sigma):
        want = ndimage.gaussian_filter(IMAGE.astype(np.float64), width, mode="nearest", radius=5, axes=(0, 1))
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_sharpen_equals_scipy_by_an_amount_drawn_uniformly():
    ndimage, stats = pytest.importorskip("scipy.ndimage"), pytest.importorskip("scipy.stats")
    change = jax.jit(jax.vmap(lambda k, x, most: sharpen(k, x, most), (0, None, None)))
    image = 0.4 + 0.1 * IMAGE  # stays inside [0, 1]
    kernel = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])[..., None]
    added = ndimage.correlate(image.astype(np.float64), kernel, mode="nearest")
    sharp = np.asarray(change(KEYS, image, 0.8))
    amounts = ((sharp - image) * added).sum((1, 2, 3)) / (added**2).sum()
    np.testing.assert_allclose(sharp, image + amounts[:, None, None, None] * added, atol=1e-6)
    assert stats.kstest(amounts / 0.8, "uniform").pvalue > 1e-3
    # Beyond black and white there is nothing.
    assert set(np.unique(change(KEYS[:1], np.round(IMAGE), 5000.0))) == {0, 1}


MARK = np.float32([[1, 0.5, 0], [0, 0.25, 1]])


def test_marks_lie_at_uniform_places_over_the_picture():
    stats = pytest.importorskip("scipy.stats")
    want = []
    for row in range(4):
        for column in range(2):
            cover = np.zeros((5, 4, 1))
            cover[row : row + 2, column : column + 3, 0] = 0.8 * MARK
            want.append((1 - cover) * IMAGE[:5, :4] + cover * 0.9)
    lay = jax.jit(jax.vmap(lambda k: watermark(k, IMAGE[:5, :4], MARK, 0.8, 0.9)))
    marked = np.asarray(lay(KEYS))
    distance = np.stack([np.abs(marked - w).max((1, 2, 3)) for w in want])
    assert distance.min(0).max() < 1e-6  # each is one of them
    assert stats.chisquare(np.bincount(distance.argmin(0), minlength=8)).pvalue > 1e-3


def test_ink_is_white_unless_told_and_masks_are_marks(key):
    image = np.full((2, 3, 1), 10, np.uint8)
    got = jax.jit(watermark)(key, image, MARK == 1)
    np.testing.assert_array_equal(got[..., 0], [[132, 10, 10], [10, 10, 132]])


@pytest.mark.slow
def test_gradient_with_respect_to_the_image(key):
    image = 0.4 + 0.1 * IMAGE[:3, :4, :1]

    @jax.jit
    def loss(x):
        return (watermark(key, sharpen(key, gaussian_blur(key, x, 0.3, 0.33)), MARK) ** 2).sum()

    chex.assert_numerical_grads(loss, (image,), order=1, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda k: salt_and_pepper(k, IMAGE, 1.5), ValueError, "amount must be between 0 and 1"),
    (lambda k: gaussian_blur(k, IMAGE, 0.0), ValueError, "min_sigma must be positive"),
    (lambda k: gaussian_blur(k, IMAGE, 2.0, 1.0), ValueError, "max_sigma must be at least 2.0"),
    (lambda k: gaussian_blur(k, IMAGE[0]), ValueError, "image must have rank 3"),
    (lambda k: sharpen(k, IMAGE, -1.0), ValueError, "max_amount must be finite and at least 0"),
    (lambda k: watermark(k, IMAGE[:1], MARK), ValueError, "mark must fit the image"),
    (lambda k: watermark(k, IMAGE, MARK, 2.0), ValueError, "opacity must be between 0 and 1"),
    (lambda k: watermark(k, IMAGE, MARK.astype(int)), TypeError, "mark must be floating point"),
    (lambda k: watermark(k, IMAGE.astype(complex), MARK), TypeError, "image must be integers or floating"),
])  # fmt: skip
def test_bad_input(call, error, message, key):
    with pytest.raises(error, match=message):
        call(key)
