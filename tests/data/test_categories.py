"""Codes against scikit-learn; oversampling by counting, and what it does before a split."""

import numpy as np
import pytest

from jaxdl.data import category_codes, oversample, train_test_split

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        pytest.param(["red", "green", "blue", "Blue"], "<U5", id="text"),
        pytest.param(["red", "green", "blue"], object, id="objects"),
        pytest.param([30, -2, 7], np.int64, id="integers"),
        pytest.param([True, False], bool, id="bool"),
    ],
)
def test_equal_to_scikit_learn(values, dtype):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    train, test = (RNG.choice(np.array(values, dtype), (30, 3)) for _ in range(2))
    codes = category_codes(train)
    oracle = preprocessing.OrdinalEncoder().fit(train)
    assert codes(test).dtype == np.int32
    np.testing.assert_array_equal(codes(test), oracle.transform(test))
    np.testing.assert_array_equal(codes.inverse(codes(test)), test)
    column = category_codes(train[:, 0])
    np.testing.assert_array_equal(column(test[:, 0]), codes(test)[:, 0])
    np.testing.assert_array_equal(column.inverse(column(test[:, 0])), test[:, 0])


def test_categories_that_come_up_later():
    train = np.array(["b", "a", "b"])
    np.testing.assert_array_equal(category_codes(train, unknown=-1)(["a", "c", ""]), [0, -1, -1])
    np.testing.assert_array_equal(category_codes(train, unknown=2)(["z", "b"]), [2, 1])
    with pytest.raises(ValueError, match="'c' in row 1, column 0 is no category"):
        category_codes(train)(["a", "c"])


def test_oversampling_balances_and_loses_nothing():
    y = RNG.permutation(np.repeat([0, 1, 2], [50, 7, 1]))
    arrays = {"x": np.arange(58), "y": y}
    even = oversample(arrays, seed=1)
    assert np.bincount(even["y"]).tolist() == [50] * 3
    np.testing.assert_array_equal(even["y"], y[even["x"]])  # rows stay together
    copies = np.bincount(even["x"], minlength=58)
    assert copies.min() == 1
    assert (copies[y == 0] == 1).all()
    assert copies[y == 2].item() == 50
    assert len(np.unique(copies[y == 1])) > 1  # drawn, not dealt
    assert not np.array_equal(even["y"], np.sort(even["y"]))
    again, other = oversample(arrays, seed=1), oversample(arrays, seed=2)
    np.testing.assert_array_equal(even["x"], again["x"])
    assert not np.array_equal(even["x"], other["x"])
    # 004b 7.11: 1,373 of the larger class make 2,746 rows.
    assert len(oversample({"y": np.repeat([0, 1], [1373, 90])})["y"]) == 2746


def test_before_the_split_it_puts_copies_on_both_sides():
    arrays = {"x": np.arange(400), "y": (np.arange(400) < 40).astype(int)}
    train, test = train_test_split(oversample(arrays), test_size=0.25)
    assert np.isin(test["x"], train["x"]).mean() > 0.4
    train, test = train_test_split(arrays, test_size=0.25)
    assert not np.isin(test["x"], oversample(train)["x"]).any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda: category_codes([1.0, np.nan]), ValueError, "missing value in row 1", id="NaN"),
        pytest.param(lambda: category_codes(np.array(["a", None], object)), ValueError, "row 1", id="None"),
        pytest.param(
            lambda: category_codes(np.array(["a", 1], object)), TypeError, "column 0 cannot be", id="mixed"
        ),
        pytest.param(lambda: category_codes(np.zeros((0, 1))), ValueError, "at least one row", id="no rows"),
        pytest.param(
            lambda: category_codes(["a"], unknown=0.5), TypeError, "unknown must be integers", id="unknown"
        ),
        pytest.param(
            lambda: category_codes([["a", "b"]])(["a"]), ValueError, r"shape \(any, 2\)", id="columns"
        ),
        pytest.param(lambda: category_codes(["a"]).inverse([1]), ValueError, r"lie in \[0, 1\)", id="code"),
        pytest.param(
            lambda: oversample({"x": [1]}), ValueError, "label must be one of 'x', got 'y'", id="label"
        ),
        pytest.param(lambda: oversample({"y": []}), ValueError, "at least one row", id="empty"),
        pytest.param(
            lambda: oversample({"y": [1], "x": [1, 2]}), ValueError, "agree in the first axis", id="lengths"
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
