"""Threshold-logic units: gates as published, Boolean functions of many inputs, what is refused."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data
from jaxdl.models.dense.threshold import McCullochPitts


def outputs(model, x, dtype=jnp.float32):
    return np.asarray(model.apply({}, jnp.asarray(x, dtype), train=False), np.float32)


GATES = data.logic_gates()


@pytest.mark.parametrize(
    ("layers", "gate"),
    [
        pytest.param([McCullochPitts(2)], "and", id="001-1.1-and"),
        pytest.param([McCullochPitts(1)], "or", id="001-1.1-or"),
        pytest.param([McCullochPitts(-1, ((-1,), (-1,)))], "nand", id="nand"),
        pytest.param([McCullochPitts(0, ((-1,), (-1,)))], "nor", id="nor"),
        pytest.param([McCullochPitts(0, inhibitory=(0, 1))], "nor", id="nor-by-inhibition"),
        pytest.param(
            [McCullochPitts((0.5, 1.5), ((1, 1), (1, 1))), McCullochPitts(0.5, ((1,), (-2,)))],
            "xor",
            id="002-D20-xor",
        ),
        pytest.param(
            [McCullochPitts((1, 2)), McCullochPitts(1, inhibitory=(1,), weights=((1,), (0,)))],
            "xor",
            id="xor",
        ),
        pytest.param(
            [McCullochPitts((0.5, 1.5), ((1, 1), (1, 1))), McCullochPitts(0, ((-1,), (2,)))],
            "xnor",
            id="xnor",
        ),
    ],
)
def test_gates(layers, gate):
    x = GATES["x"]
    for layer in layers:
        x = outputs(layer, x)
    np.testing.assert_array_equal(x, GATES[gate])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_golden_001_1_1_and_or_and_majority_of_n_inputs(n):
    x = np.array(list(itertools.product((0, 1), repeat=n)))
    active = x.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(outputs(McCullochPitts(n), x), active == n)
    np.testing.assert_array_equal(outputs(McCullochPitts(1), x), active > 0)
    majority = math.ceil((n + 1) / 2)
    np.testing.assert_array_equal(outputs(McCullochPitts(majority), x), active > n - active)
    np.testing.assert_array_equal(outputs(McCullochPitts((1, majority, n)), x), active >= [1, majority, n])


def test_golden_001_1_1_an_active_inhibitory_input_gives_0():
    x = np.array(list(itertools.product((0, 1), repeat=3)))
    want = (x[:, :1] + x[:, 2:] >= 1) & (x[:, 1:2] == 0)
    np.testing.assert_array_equal(outputs(McCullochPitts(1, inhibitory=(1,)), x), want)


def test_golden_001_1_1_the_printed_threshold_of_0_needs_the_absorbed_input():
    x = GATES["x"]
    np.testing.assert_array_equal(outputs(McCullochPitts(0), x), np.ones((4, 1)))
    absorbed = np.concatenate([np.ones((4, 1)), x], axis=1)
    np.testing.assert_array_equal(outputs(McCullochPitts(0, ((-2,), (1,), (1,))), absorbed), GATES["and"])


def test_it_has_no_parameters_keeps_the_dtype_and_compiles(key):
    model = McCullochPitts((1, 2), ((1, 1), (1, 1)))
    x = jnp.asarray(GATES["x"])
    assert model.init(key, x, train=False) == {}
    for dtype in (jnp.float32, jnp.bfloat16):
        y = jax.jit(lambda x: model.apply({}, x, train=True))(x.astype(dtype))
        assert (y.shape, y.dtype) == ((4, 2), dtype)
        np.testing.assert_array_equal(y, np.concatenate([GATES["or"], GATES["and"]], axis=1))
    images = jnp.ones((3, 2, 2, 1))
    np.testing.assert_array_equal(
        model.clone(weights=None, threshold=4).apply({}, images, train=False), np.ones((3, 1))
    )
    assert hash(model) == hash(model.clone())


@pytest.mark.parametrize(
    ("model", "dtype", "error", "message"),
    [
        (
            McCullochPitts(1, ((1,), (1,), (1,))),
            float,
            ValueError,
            r"weights must have shape \(2, 1\), got \(3, 1\)",
        ),
        (
            McCullochPitts((1, 2), ((1,), (1,))),
            float,
            ValueError,
            r"weights must have shape \(2, 2\), got \(2, 1\)",
        ),
        (McCullochPitts(((1,),)), float, ValueError, r"threshold must have rank 1, got shape \(1, 1\)"),
        (McCullochPitts(1, inhibitory=(2,)), float, ValueError, "inhibitory must be between 0 and 1, got 2"),
        (
            McCullochPitts(1, inhibitory=(-1,)),
            float,
            ValueError,
            "inhibitory must be between 0 and 1, got -1",
        ),
        (McCullochPitts(1), int, TypeError, "x must be floating point, got int32"),
    ],
)
def test_mistakes_are_named(model, dtype, error, message):
    with pytest.raises(error, match=message):
        model.apply({}, jnp.zeros((1, 2), dtype), train=False)
