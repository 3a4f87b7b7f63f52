"""Scaling against scikit-learn and printed numbers."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxdl.data import mean_normalize, min_max_scale, one_hot, scale_pixels, standardize

TRAIN = np.random.default_rng(0).normal(3, [1, 10, 0.1, 0], (50, 4))
OTHER = np.random.default_rng(1).normal(0, 5, (7, 4))


@pytest.mark.parametrize(("fit", "expected"), [
    pytest.param(standardize, [-1.414214, -0.707107, 0, 0.707107, 1.414214], id="000-G13 z-score"),
    pytest.param(mean_normalize, [-0.5, -0.25, 0, 0.25, 0.5], id="000-G13 mean"),
    pytest.param(min_max_scale, [0, 0.25, 0.5, 0.75, 1], id="000-G13 min-max"),
])  # fmt: skip
def test_printed_numbers(fit, expected):
    x = np.arange(1, 6)
    np.testing.assert_allclose(fit(x)(x), expected, atol=5e-7)
    assert fit(x)(x).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("fit", "oracle"),
    [
        pytest.param(standardize, ("StandardScaler", {}), id="standardize"),
        pytest.param(min_max_scale, ("MinMaxScaler", {}), id="min_max"),
        pytest.param(
            lambda x: min_max_scale(x, -1, 2),
            ("MinMaxScaler", {"feature_range": (-1, 2)}),
            id="min_max -1..2",
        ),
    ],
)
def test_equal_to_scikit_learn_with_a_constant_column(fit, oracle, dtype):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    train, other = TRAIN.astype(dtype), OTHER.astype(dtype)
    ours, theirs = fit(train), getattr(preprocessing, oracle[0])(**oracle[1]).fit(train)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    for x in (train, other):
        assert ours(x).dtype == dtype
        np.testing.assert_allclose(ours(x), theirs.transform(x), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(ours.inverse(ours(x)), x, rtol=tolerance * 10, atol=tolerance * 10)


def test_mean_normalize_in_float64():
    expected = (OTHER - TRAIN.mean(0)) / np.where(np.ptp(TRAIN, 0) == 0, 1, np.ptp(TRAIN, 0))
    np.testing.assert_allclose(mean_normalize(TRAIN)(OTHER), expected, rtol=1e-12)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 3)), elements=st.floats(-1e6, 1e6)))
def test_any_table_is_scaled_finitely_and_back(x):
    for fit in (standardize, min_max_scale, mean_normalize):
        scale = fit(x)
        assert np.isfinite(scale(x)).all()
        np.testing.assert_allclose(scale.inverse(scale(x)), x, rtol=1e-9, atol=1e-6)
    assert np.all((min_max_scale(x)(x) >= -1e-9) & (min_max_scale(x)(x) <= 1 + 1e-9))


def test_statistics_per_channel():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    scaled = standardize(images, axis=(0, 1, 2))(images)
    np.testing.assert_allclose(scaled.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std((0, 1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_scale_pixels(array):
    image = array(np.array([[0, 51, 255]], np.uint8))
    for low, high, expected in ((0, 1, [[0, 0.2, 1]]), (-1, 1, [[-1, -0.6, 1]])):
        scaled = scale_pixels(image, low, high)
        assert type(scaled) is type(image)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, expected, atol=1e-7)
    assert scale_pixels(np.array([16], np.uint8), max_value=16)[0] == 1.0
    assert scale_pixels(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_one_hot_equals_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    labels = np.array([2, 0, 1, 1])
    np.testing.assert_array_equal(one_hot(labels, 3), preprocessing.label_binarize(labels, classes=[0, 1, 2]))
    assert one_hot(labels.reshape(2, 2), 4).shape == (2, 2, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda: standardize(np.zeros((0, 2))), ValueError, "at least one example", id="empty"),
        pytest.param(
            lambda: standardize([[1.0], [np.nan]]), ValueError, "train holds NaN .* row 1", id="NaN"
        ),
        pytest.param(lambda: standardize(np.array(["a"])), TypeError, "train must be numbers", id="text"),
        pytest.param(
            lambda: standardize(TRAIN)(OTHER[:, :3]),
            ValueError,
            r"x must have shape \(any, 4\)",
            id="columns",
        ),
        pytest.param(
            lambda: standardize(TRAIN)(OTHER[0]), ValueError, r"x must have shape \(any, 4\)", id="one row"
        ),
        pytest.param(lambda: min_max_scale(TRAIN, 1, 1), ValueError, "high must be above low", id="no range"),
        pytest.param(lambda: scale_pixels(TRAIN, 1, 0), ValueError, "high must be above low", id="inverted"),
        pytest.param(
            lambda: scale_pixels(TRAIN, max_value=0), ValueError, "max_value must be positive", id="max_value"
        ),
        pytest.param(
            lambda: one_hot([0, 3], 3), ValueError, r"labels must lie in \[0, 3\), got 3", id="label"
        ),
        pytest.param(lambda: one_hot([-1], 3), ValueError, "got -1", id="negative label"),
        pytest.param(lambda: one_hot([0.5], 3), TypeError, "labels must be integers", id="float label"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
