"""Sequences of tones: speech without the words, made from a key, with what was said and when.

Pure, jittable with static sizes, and vmappable over the key. N: sequences, K: tones, T: samples.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array

SAMPLE_RATE = 4000  # Hz
SLOT = 800  # samples that a tone with the silence before it may take


def tone_frequency(num_symbols: int = 8) -> np.ndarray:
    """Hz of the symbols 1 to num_symbols: whole tones upwards from 400 Hz, float32 [num_symbols]."""
    checks.between(1, 12, num_symbols=num_symbols)
    return (400 * 2 ** (np.arange(num_symbols) / 6)).astype(np.float32)


def tone_sequences(
    key: Array, size: int, *, max_tokens: int = 6, num_symbols: int = 8, noise: float = 0.1
) -> dict[str, Array]:
    """Recordings of one to `max_tokens` tones, spoken at no fixed pace, and the symbols that they stand for.

    x = sum over k of a sin(pi p) sin(2 pi f_k (t - start_k) / SAMPLE_RATE + phase_k) + noise n_t,  p: the share of
    tone k that has passed

    Between two tones there is silence, so equal symbols in a row are two tones. Silences last 80 to 240 samples, tones
    280 to 560 (70 to 140 ms), amplitudes a are 0.5 to 1. Without noise the symbols follow without error from the
    strongest frequency of each tone; neighbouring symbols are a whole tone (12 %) apart.

    Args:
      key: PRNG key.
      size: recordings N, at least 1.
      max_tokens: K, at least 1.
      num_symbols: 1 to 12; the highest symbol of 12 is at 1425 Hz.
      noise: standard deviation of what is added to every sample, at least 0.

    Returns:
      `x` float32 [N, T, 1], T = 800 K samples at 4000 Hz; `tokens` int32 [N, K], 1 to num_symbols, then 0: the blank
      of CTC; `lengths` int32 [N], symbols in each; `start` and `stop` int32 [N, K], the samples of each tone, 0 for
      none; `alignment` int32 [N, T], the symbol that sounds, 0 in silence.
    """
    checks.at_least(1, size=size, max_tokens=max_tokens)
    checks.non_negative(noise=noise)
    frequencies = jnp.concatenate([jnp.zeros(1), jnp.asarray(tone_frequency(num_symbols))])
    numbers_key, noise_key = jax.random.split(key)
    numbers = draws.uniform(numbers_key, (6, size, max_tokens))

    def between(low: int, high: int, u: Array) -> Array:
        return low + jnp.floor((high - low + 1) * u).astype(jnp.int32)

    lengths = between(1, max_tokens, numbers[0, :, 0])
    present = jnp.arange(max_tokens)[None] < lengths[:, None]
    tokens = jnp.where(present, between(1, num_symbols, numbers[1]), 0)
    silence, duration = between(80, 240, numbers[2]), between(280, 560, numbers[3])
    amplitude, phase = 0.5 + 0.5 * numbers[4], 2 * jnp.pi * numbers[5]
    stop = jnp.cumsum(silence + duration, axis=1)
    start = stop - duration

    time = jnp.arange(SLOT * max_tokens)[None, None]
    sounds = (time >= start[..., None]) & (time < stop[..., None]) & present[..., None]
    passed = (time - start[..., None]).astype(jnp.float32)
    envelope = amplitude[..., None] * jnp.sin(jnp.pi * passed / duration[..., None])
    turns = 2 * jnp.pi * frequencies[tokens][..., None] * passed / SAMPLE_RATE
    wave = jnp.sum(jnp.where(sounds, envelope * jnp.sin(turns + phase[..., None]), 0), axis=1)
    return {
        "x": (wave + noise * draws.normal(noise_key, wave.shape))[..., None],
        "tokens": tokens,
        "lengths": lengths,
        "start": jnp.where(present, start, 0),
        "stop": jnp.where(present, stop, 0),
        "alignment": jnp.sum(sounds * tokens[..., None], axis=1, dtype=jnp.int32),
    }
