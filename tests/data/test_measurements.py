"""Series brought together against SciPy's interpolation; counters against hand-worked cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import gaugify, synchronize

nan = np.nan


@pytest.mark.parametrize("how", ["linear", "previous"])
def test_equal_to_scipy(how):
    interpolate = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(0)
    wanted = np.concatenate([np.linspace(-1, 11, 60), [0.0, 10.0]])
    series = {}
    for name in ("a", "b"):
        times = np.sort(np.concatenate([[0.0, 10.0], rng.uniform(0, 10, 20)]))
        series[name] = (times, rng.normal(size=22))
    read = synchronize(series, wanted, how=how)
    for name, (times, values) in series.items():
        theirs = interpolate.interp1d(times, values, kind=how, bounds_error=False)(wanted)
        np.testing.assert_allclose(read[name], theirs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(synchronize(series, series["a"][0], how=how)["a"], series["a"][1])


def test_gaps_and_missing_measurements():
    series = {"x": ([0, 1, 2, 6, 7], [0.0, nan, 4.0, 8.0, nan]), "none": ([0, 1], [nan, nan])}
    read = synchronize(series, [0, 1, 2, 3, 6, 6.5, 7])
    np.testing.assert_array_equal(read["x"], [0, 2, 4, 5, 8, nan, nan])
    assert np.isnan(read["none"]).all()
    read = synchronize(series, [0, 1, 2, 3, 6], max_gap=2)["x"]
    np.testing.assert_array_equal(read, [0, 2, 4, nan, 8])
    read = synchronize(series, [0, 1, 2.5, 5.5, 6], how="previous", max_gap=1.0)["x"]
    np.testing.assert_array_equal(read, [0, 0, 4, nan, 8])
    np.testing.assert_array_equal(synchronize({"one": ([3.0], [5.0])}, [2, 3, 4])["one"], [nan, 5, nan])


@pytest.mark.parametrize(
    ("counter", "setting", "expected"),
    [
        pytest.param([5, 8, 8, 15], {}, [3, 0, 7], id="002-D13g"),
        pytest.param([250, 254, 2, 3], {"modulus": 256}, [4, 4, 1], id="runs over"),
        pytest.param([7, 9, 2, 5], {"resets": True}, [2, 2, 3], id="begins again"),
        pytest.param([1.5, nan, 2.5, 4.0], {}, [nan, nan, 1.5], id="missing"),
        pytest.param(np.array([3, 200], np.uint8), {}, [197], id="unsigned"),
        pytest.param([[1, 2, 4], [0, 0, 9]], {}, [[1, 2], [0, 9]], id="two counters"),
        pytest.param([[1, 5], [2, 9], [4, 9]], {"axis": 0}, [[1, 4], [2, 0]], id="time first"),
    ],
)
def test_gaugify(counter, setting, expected):
    np.testing.assert_array_equal(gaugify(counter, **setting), expected)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.integers(0, 255))
def test_gaugify_undoes_a_counter_that_runs_over(growth, start):
    counter = (start + np.concatenate([[0], np.cumsum(growth)])) % 256
    assert gaugify(counter, modulus=256).tolist() == growth


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda: gaugify([3, 2]), ValueError, "counter falls after place 0", id="falls"),
        pytest.param(
            lambda: gaugify([[1, 2], [5, 2]]), ValueError, r"after place \[1, 0\]", id="falls in a row"
        ),
        pytest.param(lambda: gaugify([3]), ValueError, "at least two values", id="short"),
        pytest.param(lambda: gaugify([3, 300], modulus=256), ValueError, r"lie in \[0, 256\)", id="range"),
        pytest.param(
            lambda: gaugify([3, 3], modulus=9, resets=True), ValueError, "not be given together", id="both"
        ),
        pytest.param(lambda: gaugify(["a", "b"]), TypeError, "counter must be numbers", id="text"),
        pytest.param(
            lambda: synchronize({"a": ([0, 0], [1, 2])}, [0]),
            ValueError,
            "times of a must increase",
            id="order",
        ),
        pytest.param(
            lambda: synchronize({"a": ([0, 1], [1])}, [0]), ValueError, "must have the shape", id="length"
        ),
        pytest.param(lambda: synchronize({"a": ([0, nan], [1, 2])}, [0]), ValueError, "place 1", id="NaN"),
        pytest.param(lambda: synchronize({"a": ([], [])}, [0]), ValueError, "at least one time", id="empty"),
        pytest.param(lambda: synchronize({}, [0], how="cubic"), ValueError, "how must be one of", id="how"),
        pytest.param(lambda: synchronize({}, [0], max_gap=0), ValueError, "max_gap", id="gap"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
