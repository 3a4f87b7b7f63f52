"""Colours against Pillow, NumPy, all 65,536 packed values, and the published constants."""

import jax
import numpy as np
import pytest

from jaxdl.data import (
    color_histogram,
    color_jitter,
    grayscale_to_rgb,
    pack_rgb565,
    quantize_levels,
    to_grayscale,
    unpack_rgb565,
)

IMAGE = np.random.default_rng(0).uniform(size=(12, 10, 3)).astype(np.float32)
BYTES = np.random.default_rng(1).integers(0, 256, (12, 10, 3), np.uint8)


def test_grey_is_the_weighted_sum_004b_2_1():
    want = IMAGE.astype(np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(to_grayscale(IMAGE)[..., 0], want, atol=1e-6)
    primaries = np.eye(3, dtype=np.float32)[None]
    np.testing.assert_allclose(to_grayscale(primaries).ravel(), [0.299, 0.587, 0.114], atol=1e-7)


def test_grey_bytes_equal_pillow():
    pillow = pytest.importorskip("PIL.Image")
    got = np.asarray(to_grayscale(BYTES))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got[..., 0], np.asarray(pillow.fromarray(BYTES).convert("L")))


def test_grey_of_repeated_grey_is_itself():
    np.testing.assert_array_equal(to_grayscale(grayscale_to_rgb(BYTES[..., :1])), BYTES[..., :1])
    np.testing.assert_array_equal(grayscale_to_rgb(BYTES[..., :1]), np.repeat(BYTES[..., :1], 3, -1))


def test_all_65536_packed_colours_come_back_004b_2_1():
    packed = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    colours = np.asarray(unpack_rgb565(packed))
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 65_536
    np.testing.assert_array_equal(pack_rgb565(colours), packed)


@pytest.mark.parametrize(
    ("rgb", "packed"),
    [
        pytest.param((0, 0, 0), 0x0000, id="black"),
        pytest.param((255, 255, 255), 0xFFFF, id="white"),
        pytest.param((255, 0, 0), 0xF800, id="red"),
        pytest.param((0, 255, 0), 0x07E0, id="green"),
        pytest.param((0, 0, 255), 0x001F, id="blue"),
        pytest.param((127, 127, 127), 0b01111_011111_01111, id="grey"),
    ],
)
def test_named_colours_pack_as_everywhere(rgb, packed):
    got = pack_rgb565(np.array(rgb, np.uint8).reshape(1, 1, 3))
    assert got.dtype == np.uint16
    assert int(got[0, 0]) == packed


def test_packing_equals_numpy_and_loses_less_than_a_step():
    r, g, b = np.moveaxis(BYTES.astype(np.int64), -1, 0)
    np.testing.assert_array_equal(pack_rgb565(BYTES), r // 8 * 2048 + g // 4 * 32 + b // 8)
    error = np.abs(np.asarray(unpack_rgb565(pack_rgb565(BYTES))).astype(int) - BYTES)
    assert (error.max((0, 1)) <= [7, 3, 7]).all()
    np.testing.assert_array_equal(pack_rgb565(quantize_levels(np.ones((1, 1, 3)), 256)), [[0xFFFF]])


@pytest.mark.parametrize(
    ("image", "top"),
    [
        pytest.param(BYTES, 255, id="uint8"),
        pytest.param(IMAGE, 1, id="float"),
        pytest.param(np.float32([0, 0.25, 0.5, 0.9999, 1, 1]).reshape(1, 2, 3), 1, id="ends"),
    ],
)
def test_histogram_equals_numpy(image, top):
    got = jax.jit(lambda x: color_histogram(x, 8))(image)
    want = [np.histogram(image[..., c], 8, (0, top))[0] / image[..., c].size for c in range(3)]
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(np.sum(got, 1), 1, atol=1e-6)


def test_values_outside_the_range_are_not_counted():
    image = np.float32([-0.1, 0.1, 0.6, 1.2]).reshape(2, 2, 1)
    np.testing.assert_allclose(color_histogram(image, 2), [[0.25, 0.25]])


JITTER = jax.jit(color_jitter)
JITTER_ALL = jax.jit(jax.vmap(color_jitter, (0, None, None, None, None)))


def test_brightness_and_contrast_equal_pillow(key):
    pillow, enhance = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageEnhance")
    bright, contrast, *_ = 1 + 0.6 * np.asarray(jax.random.uniform(key, (5,), minval=-1, maxval=1))
    want = enhance.Brightness(pillow.fromarray(BYTES)).enhance(bright)
    want = np.asarray(enhance.Contrast(want).enhance(contrast)).astype(int)
    # Pillow rounds the mean and, after each of the two, every value.
    assert np.abs(np.asarray(JITTER(key, BYTES, 0.6, 0.6, 0.0)).astype(int) - want).max() <= 2


def test_jitter_equals_numpy(key):
    factors = np.asarray(jax.random.uniform(key, (5,), minval=-1, maxval=1), np.float64)
    x = np.clip(IMAGE * (1 + 0.5 * factors[0]), 0, 1)
    mean = (x @ [0.299, 0.587, 0.114]).mean()
    x = np.clip(mean + (1 + 0.4 * factors[1]) * (x - mean), 0, 1)
    x = np.clip(x * (1 + 0.3 * factors[2:]), 0, 1)
    np.testing.assert_allclose(JITTER_ALL(key[None], IMAGE, 0.5, 0.4, 0.3)[0], x, atol=2e-6)


def test_factors_are_uniform_and_independent():
    stats = pytest.importorskip("scipy.stats")
    image = np.full((12, 10, 3), 0.4, np.float32)
    keys = jax.random.split(jax.random.key(3), 1000)
    bright = np.asarray(JITTER_ALL(keys, image, 0.5, 0.0, 0.0))[:, 0, 0]
    np.testing.assert_allclose(bright[:, 0], bright[:, 2], atol=1e-6)
    gains = np.asarray(JITTER_ALL(keys, image, 0.0, 0.9, 0.5))[:, 0, 0]
    factors = np.c_[bright[:, :1], gains]
    for factor in factors.T:
        assert stats.kstest(factor / 0.4 - 0.5, "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 0.12


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda k: to_grayscale(IMAGE[..., :2]), ValueError, r"image must have shape \(any, any, 3\)"),
    (lambda k: to_grayscale(IMAGE > 0), TypeError, "image must be integers or floating point, got bool"),
    (lambda k: grayscale_to_rgb(IMAGE), ValueError, r"image must have shape \(any, any, 1\)"),
    (lambda k: pack_rgb565(IMAGE), TypeError, "image must be uint8, got float32"),
    (lambda k: unpack_rgb565(BYTES[..., 0]), TypeError, "packed must be uint16, got uint8"),
    (lambda k: color_histogram(IMAGE, 0), ValueError, "num_bins must be at least 1"),
    (lambda k: color_histogram(IMAGE.astype(np.int32)), ValueError, "max_value must be given for int32"),
    (lambda k: color_jitter(k, IMAGE, 1.5), ValueError, "brightness must be between 0 and 1"),
    (lambda k: color_jitter(k, IMAGE, max_value=0), ValueError, "max_value must be positive"),
])  # fmt: skip
def test_bad_input(call, error, message, key):
    with pytest.raises(error, match=message):
        call(key)
