"""Imputation against scikit-learn and pandas-like interpolation by hand."""

import numpy as np
import pytest

from jaxdl.data import impute

nan = np.nan
RNG = np.random.default_rng(0)


def with_holes(shape, values, marker, rng):
    x = rng.choice(values, shape)
    x[rng.random(shape) < 0.3] = marker
    x[0] = values[0]
    return x


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("how", "theirs"), [("mean", "mean"), ("mode", "most_frequent")])
def test_equal_to_scikit_learn(how, theirs, dtype):
    sklearn = pytest.importorskip("sklearn.impute")
    train, test = (with_holes((40, 5), np.arange(4.0), nan, RNG).astype(dtype) for _ in range(2))
    oracle = sklearn.SimpleImputer(strategy=theirs).fit(train)
    fill = impute(train, how)
    for x in (train, test):
        before = x.copy()
        assert fill(x).dtype == dtype
        np.testing.assert_allclose(fill(x), oracle.transform(x), rtol=1e-6)
        np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(fill.fill, oracle.statistics_, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "marker", "dtype"),
    [
        pytest.param([3, 1, 2], -1, np.int32, id="integers"),
        pytest.param(["red", "blue", "green"], "", "<U5", id="text"),
        pytest.param(["red", "blue", "green"], None, object, id="objects"),
    ],
)
def test_modes_of_categories_equal_scikit_learn(values, marker, dtype):
    sklearn = pytest.importorskip("sklearn.impute")
    train, test = (with_holes((30, 3), np.array(values, dtype), marker, RNG) for _ in range(2))
    fill = impute(train, "mode", missing=marker)
    assert fill(test).dtype == train.dtype
    if train.dtype.kind == "U":  # which the oracle takes as objects only
        train, test = train.astype(object), test.astype(object)
    oracle = sklearn.SimpleImputer(strategy="most_frequent", missing_values=marker).fit(train)
    np.testing.assert_array_equal(fill(test), oracle.transform(test))


def test_text_is_not_cut():
    assert impute(["green", "green", "red"], "mode", missing="")(["red", ""]).tolist() == ["red", "green"]


def test_interpolated_goes_straight_and_stops_at_the_ends():
    train = np.array([[1.0, 4.0], [3.0, nan], [nan, 8.0]])
    fill = impute(train, "interpolated")
    x = np.array([[nan, nan], [2.0, nan], [nan, nan], [nan, nan], [8.0, nan], [nan, nan]])
    np.testing.assert_allclose(fill(x)[:, 0], [2, 2, 4, 6, 8, 8])
    np.testing.assert_allclose(fill(x)[:, 1], 6)  # nothing to go by but the training mean
    np.testing.assert_allclose(impute([1.0, nan, 4.0], "interpolated")([nan, 1.0, nan, 2.0]), [1, 1, 1.5, 2])


def test_integers_are_filled_with_means_as_floats():
    filled = impute([[1], [2], [-1]], "mean", missing=-1)([[-1], [5]])
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled, [[1.5], [5]])


def test_only_the_training_set_is_looked_at():
    fill = impute(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(fill([nan, 100.0]), [2, 100])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda: impute([[nan, 1.0]]), ValueError, "everything in column 0 is missing", id="nothing"
        ),
        pytest.param(lambda: impute(np.zeros((0, 2))), ValueError, "at least one row", id="no rows"),
        pytest.param(lambda: impute([1.0], "median"), ValueError, "how must be one of", id="how"),
        pytest.param(
            lambda: impute(["a"], missing=""), TypeError, "train must be numbers for how='mean'", id="text"
        ),
        pytest.param(lambda: impute([1, 2]), TypeError, "must be floating point to hold NaN", id="marker"),
        pytest.param(
            lambda: impute([[1.0, 2.0]])([[1.0]]), ValueError, r"x must have shape \(any, 2\)", id="columns"
        ),
        pytest.param(lambda: impute([[[1.0]]]), ValueError, "train must have rank 1 or 2", id="rank"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
