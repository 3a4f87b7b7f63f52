"""Tones against NumPy's Fourier transform."""

import jax
import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.tones import SAMPLE_RATE, tone_frequency


def tones(key, noise):
    return data.tone_sequences(key, 40, max_tokens=4, noise=noise)


def test_the_strongest_frequency_of_each_tone_is_its_symbol(made):
    table = made(tones, 0.0)
    x, tokens, lengths = table["x"][..., 0], table["tokens"], table["lengths"]
    assert x.shape == (40, 3200)
    frequencies = tone_frequency()
    np.testing.assert_allclose(frequencies[[0, 6]], [400, 800], rtol=1e-6)
    np.testing.assert_allclose(frequencies[1:] / frequencies[:-1], 2 ** (1 / 6), rtol=1e-5)
    for row in range(40):
        assert (tokens[row, lengths[row] :] == 0).all()
        sounds, last = np.zeros(3200, np.int32), 0
        for token, start, stop in list(zip(tokens[row], table["start"][row], table["stop"][row]))[
            : lengths[row]
        ]:
            assert 80 <= start - last <= 240
            assert 280 <= stop - start <= 560
            spectrum = np.abs(np.fft.rfft(x[row, start:stop], 8192))
            strongest = spectrum.argmax() * SAMPLE_RATE / 8192
            assert np.abs(np.log(frequencies / strongest)).argmin() + 1 == token
            assert abs(strongest / frequencies[token - 1] - 1) < 0.02
            assert 0.45 < np.abs(x[row, start:stop]).max() <= 1
            sounds[start:stop], last = token, stop
        np.testing.assert_array_equal(table["alignment"][row], sounds)
        assert (x[row][sounds == 0] == 0).all()
    assert set(lengths) == {1, 2, 3, 4}
    assert set(np.unique(tokens)) == set(range(9))
    noisy = made(tones, 0.2)
    np.testing.assert_allclose((noisy["x"][..., 0] - x).std(), 0.2, rtol=0.02)


def test_errors():
    with pytest.raises(ValueError, match="num_symbols must be between 1 and 12"):
        data.tone_sequences(jax.random.key(0), 2, num_symbols=13)
    with pytest.raises(ValueError, match="max_tokens must be at least 1"):
        data.tone_sequences(jax.random.key(0), 2, max_tokens=0)
