"""Sequences of ids as arrays of one length, on the host. N: sequences, T: steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl import checks


def pad_sequences(
    sequences: Sequence[Any],
    length: int | None = None,
    *,
    padding: str = "post",
    truncating: str = "post",
    value: int = 0,
) -> np.ndarray:
    """Makes sequences equally long: cuts what is too long, fills what is too short.

    Args:
      sequences: N sequences of integers, [T_i].
      length: T, at least 1; None for the longest.
      padding: "post" fills after the end, "pre" before the beginning.
      truncating: "post" cuts the end off, "pre" the beginning.
      value: what fills.

    Returns:
      int32 [N, T]. `ids != value` is the mask of what is real, if no sequence holds the value itself.

    Raises:
      ValueError: a sequence that is not of rank 1, neither "post" nor "pre".
      TypeError: not integers.

    Differs from Keras' function of this name, whose defaults are "pre" and "pre": with the real steps first, as here,
    a recurrent net needs lengths only, and a causal one no mask at all.
    """
    checks.one_of(("post", "pre"), padding=padding)
    checks.one_of(("post", "pre"), truncating=truncating)
    rows = [np.asarray(sequence) for sequence in sequences]
    for row in rows:
        checks.rank(1, sequences=row)
        if row.size:
            checks.integer(sequences=row)
    if length is None:
        length = max((len(row) for row in rows), default=0)
    else:
        checks.at_least(1, length=length)
    padded = np.full((len(rows), length), value, np.int32)
    for place, row in enumerate(rows):
        row = row[:length] if truncating == "post" else row[max(len(row) - length, 0) :]
        if row.size:
            padded[place, slice(len(row)) if padding == "post" else slice(-len(row), None)] = row
    return padded


def text_windows(
    tokens: Any, length: int, *, step: int = 1, all_steps: bool = False
) -> dict[str, np.ndarray]:
    """Cuts one long sequence into windows, each with the token that comes next.

    x_i = tokens[i step : i step + length], y_i = tokens[i step + length];  with all_steps y_i is x_i one step later

    A text of n tokens has (n - length - 1) // step + 1 windows. The best accuracy on y that a net can reach on such a
    text is the share of windows whose y is the most frequent one after their x.

    Args:
      tokens: int [n], n above `length`.
      length: T, at least 1.
      step: from one window to the next, at least 1; `length` for windows that do not overlap.
      all_steps: whether every step has a target (language models), or the last alone.

    Returns:
      `x` int32 [N, T]; `y` int32 [N], or [N, T] with `all_steps`.

    Raises:
      ValueError: not rank 1, or too short for a window.
      TypeError: not integers.
    """
    tokens = np.asarray(tokens)
    checks.rank(1, tokens=tokens)
    checks.integer(tokens=tokens)
    checks.at_least(1, length=length, step=step)
    checks.at_least(length + 1, number_of_tokens=len(tokens))
    windows = np.lib.stride_tricks.sliding_window_view(tokens.astype(np.int32), length + 1)[::step]
    # Copies: a view would be read-only, and would hold on to the whole text.
    return {"x": windows[:, :-1].copy(), "y": (windows[:, 1:] if all_steps else windows[:, -1]).copy()}
