"""Metrics of images beyond the table of streams: worked numbers, equal images, settings."""

import numpy as np
import pytest

from jaxdl import metrics

RNG = np.random.default_rng(2)
IMAGES = RNG.random((3, 12, 12, 1)).astype(np.float32)


def test_peak_ratio_worked_number():
    """000-G19: a mean squared error of 0.01 is 20 dB."""
    np.testing.assert_allclose(metrics.psnr(IMAGES + 0.1, IMAGES, data_range=1.0), 20, rtol=1e-5)
    np.testing.assert_allclose(metrics.psnr(255 * IMAGES + 25.5, 255 * IMAGES, data_range=255), 20, rtol=1e-5)


def test_equal_images_and_none():
    assert metrics.psnr(IMAGES, IMAGES, data_range=1.0) == np.inf
    np.testing.assert_allclose(metrics.ssim(IMAGES, IMAGES, data_range=1.0), 1, rtol=1e-6)
    nothing = np.zeros(3, bool)
    for metric in (metrics.psnr, metrics.ssim):
        assert np.isnan(metric(IMAGES, IMAGES, where=nothing, data_range=1.0))


def test_windows_are_settings():
    similarity = pytest.importorskip("skimage.metrics").structural_similarity
    other = np.clip(IMAGES + 0.2 * RNG.normal(size=IMAGES.shape), 0, 1).astype(np.float32)
    settings = {
        "gaussian_weights": True,
        "use_sample_covariance": False,
        "channel_axis": -1,
        "data_range": 2.0,
    }
    # It cuts the window at 3.5 deviations: 7 pixels wide for 0.9.
    expected = [
        similarity(a.astype(np.float64), b.astype(np.float64), sigma=0.9, K1=0.02, K2=0.1, **settings)
        for a, b in zip(other, IMAGES)
    ]
    got = metrics.ssim(other, IMAGES, data_range=2.0, window_size=7, sigma=0.9, k1=0.02, k2=0.1)
    np.testing.assert_allclose(got, np.mean(expected), rtol=1e-5)


def test_reconstruction_error_of_each_example():
    other = RNG.random(IMAGES.shape).astype(np.float32)
    expected = np.square(other.astype(np.float64) - IMAGES).reshape(3, -1).mean(1)
    np.testing.assert_allclose(metrics.reconstruction_error(other, IMAGES), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "code", "ratio"),
    [
        pytest.param((512, 512, 3), (64, 64), 192, id="000-G7 colour"),
        pytest.param((512, 512, 3), 64, 12_288, id="000-G7 colour, 64 units"),
        pytest.param((256, 256), (128, 128), 4, id="000-G7 grey"),
        pytest.param((256, 256), 128, 512, id="000-G7 grey, 128 units"),
        pytest.param(784, 2, 392, id="002-G6"),
        pytest.param(np.int64(6), (3,), 2, id="a NumPy number"),
    ],
)
def test_compression_ratio(inputs, code, ratio):
    assert metrics.compression_ratio(inputs, code) == ratio
    if inputs == 784:
        assert round(100 * (1 - 1 / ratio), 4) == 99.7449


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.psnr(IMAGES, IMAGES), TypeError, "data_range"),
        (lambda: metrics.psnr(IMAGES, IMAGES, data_range=0), ValueError, "data_range must be positive"),
        (lambda: metrics.psnr(IMAGES, IMAGES[:2], data_range=1.0), ValueError, "must have the shape"),
        (
            lambda: metrics.ssim(IMAGES[:, :9], IMAGES[:, :9], data_range=1.0),
            ValueError,
            "window_size must be odd",
        ),
        (
            lambda: metrics.reconstruction_error(IMAGES[0, 0, 0], IMAGES[0, 0, 0]),
            ValueError,
            r"shape \[B, ...\]",
        ),
        (lambda: metrics.compression_ratio((4, 0), 1), ValueError, "input_shape axis 1 must be at least 1"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
