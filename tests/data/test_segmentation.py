"""Thresholds, edges and clusters against scikit-image, SciPy and scikit-learn."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import cluster_segment, edge_segment, otsu_threshold, threshold_segment
from jaxdl.data.segmentation import fill_holes, lloyd, slope, spread_out

RNG = np.random.default_rng(0)
TWO = np.where(
    RNG.uniform(size=(12, 10, 1)) < 0.4, RNG.normal(60, 20, (12, 10, 1)), RNG.normal(170, 25, (12, 10, 1))
)
BYTES = np.clip(TWO, 0, 255).astype(np.uint8)
FLOATS = (TWO / 255).astype(np.float32)
OTSU, SEGMENT = jax.jit(otsu_threshold), jax.jit(threshold_segment)


@pytest.mark.parametrize("image", [BYTES, FLOATS], ids=["uint8", "float"])
def test_otsu_equals_scikit_image(image):
    filters = pytest.importorskip("skimage.filters")
    np.testing.assert_allclose(OTSU(image), filters.threshold_otsu(image), rtol=1e-6)


def test_otsu_is_the_best_of_all_thresholds():
    values = BYTES.ravel().astype(np.float64)

    def between(t):
        dark, bright = values[values <= t], values[values > t]
        return len(dark) * len(bright) * (dark.mean() - bright.mean()) ** 2

    limits = range(int(values.min()), int(values.max()))
    assert int(OTSU(BYTES)) == max(limits, key=between)
    # A common offset moves the threshold and nothing else.
    np.testing.assert_allclose(OTSU(FLOATS + 100), OTSU(FLOATS) + 100, atol=1e-4)


def test_one_value_is_one_region():
    flat = np.full((12, 10, 1), 0.3, np.float32)
    assert OTSU(flat) == np.float32(0.3)
    np.testing.assert_array_equal(SEGMENT(flat), np.zeros((12, 10)))


def test_regions_are_the_number_of_thresholds_below():
    np.testing.assert_array_equal(SEGMENT(BYTES), BYTES[..., 0] > int(OTSU(BYTES)))
    got = SEGMENT(BYTES, np.array([50, 100, 200]))
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, np.digitize(BYTES[..., 0], [50, 100, 200], right=True))


def test_slope_equals_scikit_image():
    filters = pytest.importorskip("skimage.filters")
    want = filters.sobel(FLOATS[..., 0].astype(np.float64), mode="nearest") / np.sqrt(2)
    np.testing.assert_allclose(jax.jit(slope)(FLOATS), want, atol=1e-6)
    ramp = np.arange(10.0, dtype=np.float32)[None, :, None] * np.full((12, 1, 1), 3, np.float32)
    np.testing.assert_allclose(np.asarray(jax.jit(slope)(ramp))[:, 1:-1], 3)  # per pixel


def test_holes_equal_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    masks = np.random.default_rng(1).uniform(size=(20, 12, 10)) < 0.55
    got = jax.jit(jax.vmap(fill_holes))(masks)
    np.testing.assert_array_equal(got, [ndimage.binary_fill_holes(mask) for mask in masks])
    assert (np.asarray(got).sum((1, 2)) > masks.sum((1, 2))).any()


def test_outlines_enclose_their_thing_on_an_uneven_ground():
    row, column = np.mgrid[:24, :20]
    disc = (row - 11) ** 2 + (column - 9) ** 2 <= 36
    image = (0.02 * row + 0.4 * disc).astype(np.float32)[..., None]
    filled, lines, above = map(
        np.asarray,
        jax.jit(lambda x: (edge_segment(x), edge_segment(x, filled=False), threshold_segment(x)))(image),
    )
    assert filled[disc].all()
    assert filled.sum() < 1.6 * disc.sum()  # no more than a rim about a pixel wide
    assert lines.sum() < filled.sum()
    # Above one threshold, the lower ground counts as part of the thing.
    assert (above != disc).any()


COLOURS = np.random.default_rng(3).normal(0.5, 0.2, (12, 10, 3)).astype(np.float32)


def test_steps_of_k_means_equal_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    points, start = COLOURS.reshape(-1, 3), COLOURS[0, :4]
    for steps in (1, 4):
        settings = {"init": start, "n_init": 1, "max_iter": steps, "tol": 0, "algorithm": "lloyd"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            want = cluster.KMeans(4, **settings).fit(points).cluster_centers_
        np.testing.assert_allclose(lloyd(points, start, steps), want, atol=1e-5)


def test_first_centres_are_drawn_by_squared_distance():
    stats = pytest.importorskip("scipy.stats")
    points = jnp.array([0.0, 1.0, 3.0])[:, None]
    keys = jax.random.split(jax.random.key(0), 1500)
    pairs = np.asarray(jax.jit(jax.vmap(lambda k: spread_out(k, points, 2)))(keys))[..., 0]
    # From 0: 1 with 1/10, 3 with 9/10; from 1: 0 with 1/5, 3 with 4/5; from 3: 0 with 9/13, 1 with 4/13.
    want = {(0, 1): 1 / 30, (0, 3): 9 / 30, (1, 0): 1 / 15, (1, 3): 4 / 15, (3, 0): 3 / 13, (3, 1): 4 / 39}
    counts = [int((pairs == pair).all(1).sum()) for pair in want]
    assert sum(counts) == 1500
    assert stats.chisquare(counts, 1500 * np.array(list(want.values()))).pvalue > 1e-3


def test_clusters_find_the_colours_of_a_noisy_flag(key):
    colours = np.array([[0.1, 0.2, 0.1], [0.9, 0.2, 0.2], [0.9, 0.9, 0.8]])
    flag = np.repeat([0, 1, 2], 4)[:, None] * np.ones((1, 10), int)
    image = (colours[flag] + np.random.default_rng(4).normal(0, 0.03, (12, 10, 3))).astype(np.float32)
    segment = jax.jit(cluster_segment, static_argnums=(2, 3))
    labels, found = segment(key, image, 3, 20)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, flag)  # in order of brightness
    means = [image[flag == k].astype(np.float64).mean(0) for k in range(3)]
    np.testing.assert_allclose(found, means, atol=1e-5)
    few, _ = segment(key, np.zeros((12, 10, 3), np.float32), 3, 20)
    assert (np.asarray(few) == few[0, 0]).all()


@pytest.mark.parametrize(("call", "message"), [
    (lambda k: otsu_threshold(COLOURS), r"image must have shape \(any, any, 1\)"),
    (lambda k: otsu_threshold(FLOATS, 1), "num_bins must be at least 2"),
    (lambda k: threshold_segment(FLOATS, np.ones((2, 2))), "thresholds must have rank 0 or 1"),
    (lambda k: edge_segment(FLOATS[:2]), "image height must be at least 3, got 2"),
    (lambda k: cluster_segment(k, COLOURS, 0), "num_clusters must be at least 1"),
])  # fmt: skip
def test_bad_input(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)
