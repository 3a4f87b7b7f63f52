"""Flips, crops, erased rectangles, sizes: against NumPy, Pillow, SciPy, and the distributions they promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import pad_to_size, random_crop, random_erasing, random_flip, resize

IMAGE = np.random.default_rng(0).uniform(size=(12, 10, 3)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(7), 2000)


def test_flips_have_their_probabilities_and_are_independent():
    image = np.arange(4.0, dtype=np.float32).reshape(2, 2, 1)
    flips = jax.jit(jax.vmap(random_flip, (0, None, None, None)))
    first = np.asarray(flips(KEYS, image, 0.3, 0.6))[:, 0, 0, 0]
    shares = [np.mean(first == corner) for corner in range(4)]  # none, left-right, top-bottom, both
    np.testing.assert_allclose(shares, [0.7 * 0.4, 0.3 * 0.4, 0.7 * 0.6, 0.3 * 0.6], atol=0.04)
    for sides, want in (
        ((0.0, 0.0), image),
        ((1.0, 0.0), image[:, ::-1]),
        ((0.0, 1.0), image[::-1]),
        ((1.0, 1.0), image[::-1, ::-1]),
    ):
        assert (np.asarray(flips(KEYS, image, *sides)) == want).all(), sides


def test_crops_are_windows_of_the_padded_image_at_uniform_places():
    stats = pytest.importorskip("scipy.stats")
    image = 1 + np.arange(20, dtype=np.int32).reshape(5, 4, 1)
    crop = jax.jit(jax.vmap(lambda k: random_crop(k, image, (4, 3), padding=1, fill=-7)))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=-7)
    windows = {padded[r : r + 4, c : c + 3].tobytes(): (r, c) for r in range(4) for c in range(4)}
    counts = np.zeros((4, 4))
    for one in np.asarray(crop(KEYS)):
        counts[windows[one.tobytes()]] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def rectangle(mask):
    """Place and sides of the one rectangle of a mask; fails where it is none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert mask.sum() == height * width
    return rows[0], columns[0], height, width


def test_erased_rectangles():
    stats = pytest.importorskip("scipy.stats")
    image = np.full((60, 40, 1), 300, np.int32)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None, None, None, None))
    def erase(key, *settings):
        return random_erasing(key, image, *settings, max_value=200)

    noise = np.asarray(erase(KEYS[:1000], 0.7, 0.1, 0.2, 2.0))
    masks = noise[..., 0] != 300
    hit = masks.any((1, 2))
    assert abs(hit.mean() - 0.7) < 0.05
    top, left, height, width = np.array([rectangle(mask) for mask in masks[hit]]).T
    area, aspect = height * width / 2400, np.log(height / width) / np.log(2)
    # Rounded sides move the area by up to half a row and half a column.
    assert stats.kstest((area - 0.1) / 0.1, "uniform").statistic < 0.08
    assert stats.kstest((aspect + 1) / 2, "uniform").statistic < 0.08
    rng = np.random.default_rng(0)  # spreads whole numbers over the unit interval
    for place, free in ((top, 61 - height), (left, 41 - width)):
        assert stats.kstest((place + rng.uniform(size=place.size)) / free, "uniform").pvalue > 1e-3
    # Random values cover the range, without an end that is more common.
    values = noise[noise != 300]
    assert (values.min(), values.max()) == (0, 200)
    assert abs(values.mean() - 100) < 1

    # 2,160 of 2,400 pixels are at most 60 high, so at least 36 wide, and at most 40 wide, so at least 54 high.
    tight = np.asarray(erase(KEYS[:1000], 1.0, 0.9, 0.9, 1.2))[:20, ..., 0] != 300
    assert {rectangle(mask)[2:] for mask in tight} == {(54, 40)}


def test_resize_equals_pillow_and_scipy():
    pillow, ndimage = pytest.importorskip("PIL.Image"), pytest.importorskip("scipy.ndimage")
    methods = ("nearest", "bilinear", "bicubic", "lanczos")
    # At these sizes no pixel's middle falls on a border between two, which rounding would decide.
    size = (8, 16)

    @jax.jit
    def resized(image):
        return [resize(image, size, method) for method in methods], resize(image, size, antialias=False)

    results, sharp = resized(IMAGE[..., :1])
    for method, result in zip(methods, results):
        resampling = getattr(pillow.Resampling, method.upper())
        want = pillow.fromarray(IMAGE[..., 0]).resize(size[::-1], resampling)
        np.testing.assert_allclose(result[..., 0], np.asarray(want), atol=2e-6, err_msg=method)
    places = [(np.arange(m) + 0.5) * n / m - 0.5 for m, n in zip(size, IMAGE.shape)]
    grid = np.meshgrid(*places, indexing="ij")
    want = ndimage.map_coordinates(IMAGE[..., 0].astype(np.float64), grid, order=1, mode="nearest")
    np.testing.assert_allclose(sharp[..., 0], want, atol=1e-6)


def test_resized_bytes_are_rounded_and_do_not_wrap():
    image = np.zeros((6, 6, 1), np.uint8)
    image[:, 3:] = 255
    both = jax.jit(lambda x: [resize(x.astype(d), (6, 12), "bicubic") for d in (jnp.uint8, jnp.float32)])
    got, floats = map(np.asarray, both(image))
    assert got.dtype == np.uint8
    assert floats.max() > 256  # overshoots
    np.testing.assert_array_equal(got, np.clip(np.round(floats), 0, 255))


def test_pad_to_size_puts_the_odd_pixel_below_and_right():
    want = np.pad(IMAGE, ((1, 2), (3, 3), (0, 0)), constant_values=0.5)
    np.testing.assert_array_equal(pad_to_size(IMAGE, (15, 16), 0.5), want)


@pytest.mark.parametrize(("call", "message"), [
    (lambda k: random_flip(k, IMAGE, 1.5), "horizontal must be between 0 and 1, got 1.5"),
    (lambda k: random_flip(k, IMAGE[0]), "image must have rank 3"),
    (lambda k: random_crop(k, IMAGE, 13), r"size must fit the image with its padding, got \(13, 13\)"),
    (lambda k: random_crop(k, IMAGE, 5, -1), "padding must be at least 0"),
    (lambda k: random_erasing(k, IMAGE, min_area=0.3, max_area=0.2), "max_area must be at least 0.3, got 0.2"),
    (lambda k: random_erasing(k, IMAGE, max_aspect=0.5), "max_aspect must be at least 1"),
    (lambda k: random_erasing(k, IMAGE.astype(int)), "max_value must be given for int"),
    (lambda k: resize(IMAGE, (0, 3)), "size must be at least 1"),
    (lambda k: resize(IMAGE, 3, "cubic"), "method must be one of 'nearest', 'bilinear'"),
    (lambda k: pad_to_size(IMAGE, (11, 20)), "size must be at least that of the image"),
])  # fmt: skip
def test_bad_input(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)
