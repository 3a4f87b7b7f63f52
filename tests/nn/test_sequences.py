"""Masks of padded sequences, and turning the sequences round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


@pytest.mark.parametrize(
    ("lengths", "max_length"),
    [
        pytest.param([0, 2, 3], 3, id="list"),
        pytest.param(np.array([[1, 4], [0, 2]], np.int8), 4, id="two-axes"),
        pytest.param(np.array(2), 5, id="scalar"),
        pytest.param(np.zeros((0,), int), 3, id="no-sequence"),
        pytest.param([0, 0], 0, id="no-steps"),
    ],
)
def test_sequence_mask_by_counting(lengths, max_length):
    expected = np.zeros((*np.shape(lengths), max_length), bool)
    for place in np.ndindex(*np.shape(lengths)):
        expected[place][: np.asarray(lengths)[place]] = True
    for given in (lengths, jnp.asarray(lengths)):
        got = nn.sequence_mask(given, max_length)
        assert got.dtype == bool
        np.testing.assert_array_equal(got, expected)


def test_a_traced_length_out_of_range_counts_as_the_nearest():
    mask = jax.jit(lambda n: nn.sequence_mask(n, 3))(jnp.array([-1, 5]))
    np.testing.assert_array_equal(mask, [[0, 0, 0], [1, 1, 1]])


def test_reversed_sequences_keep_their_padding():  # 000-G15
    words = ["I", "will", "swim", "today"]
    numbers = np.tile(np.arange(4), (3, 1))
    turned, whole = jax.jit(lambda x, n: (nn.reverse_sequences(x, n), nn.reverse_sequences(x)))(
        numbers, jnp.array([4, 2, 0])
    )
    assert [words[i] for i in turned[0]] == ["today", "swim", "will", "I"]
    np.testing.assert_array_equal(turned, [[3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3]])
    np.testing.assert_array_equal(whole, numbers[:, ::-1])


def test_reversing_twice_gives_the_sequences_back():
    x = np.random.default_rng(0).normal(size=(4, 5, 2, 3)).astype(np.float32)
    lengths, weight = np.array([5, 0, 3, 1]), x * x

    @jax.jit
    def run(x):
        y, pullback = jax.vjp(lambda x: nn.reverse_sequences(x, lengths), x)
        return nn.reverse_sequences(y, lengths), pullback(weight)[0], nn.reverse_sequences(weight, lengths)

    back, gradient, turned = run(x)
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(gradient, turned)  # the reversal is its own transpose


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(lambda: nn.sequence_mask([1.5], 3), TypeError, "lengths must be integers", id="float"),
        pytest.param(
            lambda: nn.sequence_mask([4], 3), ValueError, "lengths must be between 0 and 3", id="long"
        ),
        pytest.param(
            lambda: nn.sequence_mask([-1], 3), ValueError, "lengths must be between 0", id="negative"
        ),
        pytest.param(
            lambda: nn.sequence_mask([1], -1), ValueError, "max_length must be at least 0", id="max"
        ),
        pytest.param(lambda: nn.reverse_sequences(np.ones(3)), ValueError, "x must have the axes", id="rank"),
        pytest.param(
            lambda: nn.reverse_sequences(np.ones((2, 3)), np.array([1, 2, 3])),
            ValueError,
            r"lengths must have shape \(2\)",
            id="shape",
        ),
        pytest.param(
            lambda: nn.reverse_sequences(np.ones((2, 3)), np.array([1, 4])),
            ValueError,
            "lengths must be",
            id="above",
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
