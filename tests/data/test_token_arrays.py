"""Padding against Keras; windows against the worked sentences."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Tokenizer, pad_sequences, text_windows

RAGGED = [[1, 2, 3], [], [4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        pytest.param({}, [[1, 2, 3, 0, 0], [0] * 5, [4, 0, 0, 0, 0], [5, 6, 7, 8, 9]], id="longest"),
        pytest.param({"length": 2}, [[1, 2], [0, 0], [4, 0], [5, 6]], id="cut at the end"),
        pytest.param(
            {"length": 2, "truncating": "pre"}, [[2, 3], [0, 0], [4, 0], [8, 9]], id="cut at the front"
        ),
        pytest.param(
            {"length": 4, "padding": "pre"}, [[0, 1, 2, 3], [0] * 4, [0, 0, 0, 4], [5, 6, 7, 8]], id="pre"
        ),
        pytest.param({"length": 1, "value": -1}, [[1], [-1], [4], [5]], id="value"),
    ],
)
def test_padding_by_hand(settings_, expected):
    padded = pad_sequences(RAGGED, **settings_)
    assert padded.dtype == np.int32
    np.testing.assert_array_equal(padded, expected)


@pytest.mark.slow
def test_padding_equals_keras():
    keras = pytest.importorskip("keras")
    for length in (None, 1, 3, 7):
        for padding in ("pre", "post"):
            for truncating in ("pre", "post"):
                theirs = keras.utils.pad_sequences(
                    RAGGED, length, padding=padding, truncating=truncating, value=9
                )
                ours = pad_sequences(RAGGED, length, padding=padding, truncating=truncating, value=9)
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("text", "windows", "contexts", "right"),
    [
        pytest.param("This is Tech a software training institute", 39, 38, 38, id="004b-7.8"),
        pytest.param("This is GeeksforGeeks a software training institute", 48, 44, 46, id="004b-7.9"),
    ],
)
def test_windows_of_the_worked_sentences(text, windows, contexts, right):
    table = text_windows(Tokenizer.characters(text).encode(text), 3)
    assert table["x"].shape == (windows, 3)
    assert table["y"].shape == (windows,)
    followers = collections.defaultdict(collections.Counter)
    for x, y in zip(table["x"].tolist(), table["y"].tolist()):
        followers[tuple(x)][y] += 1
    assert len(followers) == contexts
    assert sum(counter.most_common(1)[0][1] for counter in followers.values()) == right
    if windows == 39:
        assert [(x.tolist(), int(y)) for x, y in zip(table["x"][:3], table["y"])] == [
            ([1, 7, 8], 12),
            ([7, 8, 12], 0),
            ([8, 12, 0], 8),
        ]


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 30), st.integers(1, 29), st.integers(1, 7))
def test_windows_of_any_length_and_step(n, length, step):
    tokens = np.arange(10, 10 + n)
    if length >= n:
        with pytest.raises(ValueError, match="number_of_tokens must be at least"):
            text_windows(tokens, length, step=step)
        return
    starts = range(0, n - length, step)
    table, steps = (
        text_windows(tokens, length, step=step),
        text_windows(tokens, length, step=step, all_steps=True),
    )
    assert (
        table["x"].tolist() == steps["x"].tolist() == [list(range(10 + i, 10 + i + length)) for i in starts]
    )
    assert table["y"].tolist() == [10 + i + length for i in starts]
    assert len(table["y"]) == (n - length - 1) // step + 1
    np.testing.assert_array_equal(steps["y"], steps["x"] + 1)
    table["x"][:] = 0  # copies: the text stays as it was
    assert tokens[0] == 10


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda: pad_sequences([[1.5]]), TypeError, "sequences must be integers", id="float"),
        pytest.param(lambda: pad_sequences([[[1]]]), ValueError, "sequences must have rank 1", id="rank"),
        pytest.param(lambda: pad_sequences([[1]], 0), ValueError, "length must be at least 1", id="length"),
        pytest.param(
            lambda: pad_sequences([[1]], padding="left"), ValueError, "padding must be one of", id="side"
        ),
        pytest.param(lambda: text_windows([1.0, 2.0], 1), TypeError, "tokens must be integers", id="tokens"),
        pytest.param(
            lambda: text_windows([1, 2], 1, step=0), ValueError, "step must be at least 1", id="step"
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
