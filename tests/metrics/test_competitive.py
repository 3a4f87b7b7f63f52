"""Metrics of maps: neighbours by hand, ties, bad shapes. Values against SciPy are in the table of streams."""

import numpy as np
import pytest

from jaxdl import metrics

LINE = np.float32([[0.0], [1.0], [2.0], [3.0]])
INPUTS = np.float32([[0.1], [0.9], [2.6]])


def test_a_map_in_order_and_one_that_is_not():
    ordered, folded = LINE, np.float32([[0.0], [2.0], [1.0], [3.0]])  # units 0 and 1 of the line are 2 apart
    assert metrics.topographic_error(INPUTS, LINE, ordered) == 0
    np.testing.assert_allclose(metrics.topographic_error(INPUTS, LINE, folded), 1.0)
    np.testing.assert_allclose(metrics.quantization_error(INPUTS, LINE), (0.1 + 0.1 + 0.4) / 3, rtol=1e-5)


def test_diagonal_neighbours_are_a_setting():
    positions = np.int32([[0, 0], [1, 1], [5, 5], [9, 9]])
    assert metrics.topographic_error(INPUTS[:1], LINE, positions) == 0
    assert metrics.topographic_error(INPUTS[:1], LINE, positions, reach=1.0) == 1


def test_ties_go_to_the_first_unit_and_nothing_is_nan():
    twice = np.float32([[0.0], [0.0], [0.0]])
    assert metrics.topographic_error(INPUTS, twice, np.float32([[0], [1], [5]])) == 0
    nothing = np.zeros(3, bool)
    assert np.isnan(metrics.quantization_error(INPUTS, LINE, where=nothing))
    assert np.isnan(metrics.topographic_error(INPUTS, LINE, LINE, where=nothing))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.quantization_error(INPUTS, LINE.T), ValueError, "weights must have shape"),
        (lambda: metrics.quantization_error(INPUTS > 0, LINE), TypeError, "inputs must be floating"),
        (
            lambda: metrics.topographic_error(INPUTS, LINE[:1], LINE[:1]),
            ValueError,
            "number of units must be",
        ),
        (
            lambda: metrics.topographic_error(INPUTS, LINE, LINE[:3]),
            ValueError,
            "weights and positions must agree",
        ),
        (lambda: metrics.topographic_error.bind(reach=0), ValueError, "reach must be positive"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
