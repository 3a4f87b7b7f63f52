"""Random changes of one sound, on the device: `(key, signal)` in, a signal of the same length out.

`jax.vmap(change_pitch)(keys, signals)` changes every sound of a batch in its own way. T samples, F frames, n samples
in a frame.
"""

import math

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data.cropping import place
from jaxdl.data.spectra import frames, hann, sound
from jaxdl.types import Array


def time_shift(key: Array, signal: Array, max_shift: int) -> Array:
    """Moves a sound earlier or later: by whole samples, uniform in [-max_shift, max_shift]; silence moves in.

    Args:
      key: a JAX key.
      signal: float [T].
      max_shift: in samples, at least 0: seconds times the sampling rate.

    Returns:
      Like `signal`; positive shifts are later.

    Raises:
      ValueError: wrong rank or a negative shift.
      TypeError: not floating point.
    """
    signal = sound(signal)
    checks.at_least(0, max_shift=max_shift)
    start = place(jax.random.uniform(key), 2 * max_shift)
    return jax.lax.dynamic_slice(jnp.pad(signal, max_shift), (start,), signal.shape)


def add_noise(key: Array, signal: Array, min_decibels: float = 10.0, max_decibels: float = 40.0) -> Array:
    """Adds white Gaussian noise, at a random distance below the sound.

    `y = x + sigma e`, e ~ N(0, 1), sigma^2 = mean(x^2) / 10^(r / 10), the ratio r uniform in [min_decibels,
    max_decibels].

    Args:
      key: a JAX key.
      signal: float [T].
      min_decibels: least ratio of signal to noise: the most noise. 0 is as loud as the signal.
      max_decibels: largest ratio, at least the least.

    Returns:
      Like `signal`; silence stays silent.

    Raises:
      ValueError: wrong rank or a largest ratio below the least.
      TypeError: not floating point.

    Noise of a fixed size on any array is `jaxdl.nn.GaussianNoise`.
    """
    signal = sound(signal)
    checks.at_least(min_decibels, max_decibels=max_decibels)
    ratio_key, noise_key = jax.random.split(key)
    wide = signal.astype(jnp.promote_types(signal.dtype, jnp.float32))
    ratio = jax.random.uniform(ratio_key, minval=min_decibels, maxval=max_decibels)
    sigma = jnp.sqrt(jnp.mean(wide**2)) * 10 ** (-ratio / 20)
    noisy = wide + sigma * jax.random.normal(noise_key, wide.shape, wide.dtype)
    return noisy.astype(signal.dtype)


def _overlap_add(pieces: Array, hop: int) -> Array:
    """Sum of frames [F, n], each `hop` later, [(F - 1) hop + n]; hop divides n."""
    count, size = pieces.shape
    parts = size // hop
    blocks = pieces.reshape(count, parts, hop)
    shifted = (jnp.pad(blocks[:, i], ((i, parts - 1 - i), (0, 0))) for i in range(parts))
    return sum(shifted, jnp.zeros((count + parts - 1, hop), pieces.dtype)).reshape(-1)


def time_stretch(signal: Array, rate: float | Array, length: int, frame_size: int = 512) -> Array:
    """Plays a sound faster or slower at the same pitch, by a phase vocoder: float32 [length].

    Output frame i lies at input frame t = rate i: its magnitudes are interpolated between frames floor(t) and
    floor(t) + 1, and the phases go on by what they advance between those two. Frames overlap by three quarters; their
    inverse transforms are added under the window and divided by the sum of its squares.
    """
    hop = frame_size // 4
    spectra = frames(jnp.pad(signal, frame_size // 2), frame_size, hop)
    last = len(spectra)
    spectra = jnp.pad(spectra, ((0, 2), (0, 0)))  # silence after the end
    steps = rate * jnp.arange(2 + -(-length // hop), dtype=jnp.float32)
    here = jnp.minimum(steps, last).astype(jnp.int32)
    part = (steps - here)[:, None]
    before, after = spectra[here], spectra[here + 1]
    size = (1 - part) * jnp.abs(before) + part * jnp.abs(after)
    # Whole turns are dropped at once: the sum of the advances would outgrow the digits of a float32.
    advance = jnp.angle(after) - jnp.angle(before)
    turns = 2 * jnp.pi
    phase = jnp.angle(spectra[:1]) + jnp.cumsum(advance - turns * jnp.round(advance / turns), axis=0)
    phase = jnp.concatenate([jnp.angle(spectra[:1]), phase[:-1]])
    window = jnp.asarray(hann(frame_size), jnp.float32)[None] * (steps < last)[:, None]
    total = _overlap_add(jnp.fft.irfft(size * jnp.exp(1j * phase), frame_size) * window, hop)
    weight = _overlap_add(window**2, hop)
    stretched = (total / jnp.where(weight > 1e-6, weight, 1))[frame_size // 2 :][:length]
    # Past its end a sound has only the rims of windows, which the division would blow up.
    return jnp.where(jnp.arange(length) < len(signal) / rate, stretched, 0)


def read_at(signal: Array, step: Array, length: int, max_step: float) -> Array:
    """`y[i] = x(i step)`, x band-limited: the signal through a low-pass filter, float32 [length].

    The filter is sinc under a Hann window, 16 of its zeros wide on each side; for steps above 1 it cuts off at 1 / step
    of the highest frequency, which the new samples could not tell from lower ones. `step` is at most `max_step`.
    """
    zeros = 16
    cutoff = jnp.minimum(1.0, 1 / step)
    reach = math.ceil(zeros * max(1.0, max_step))
    place = step * jnp.arange(length, dtype=jnp.float32)
    whole = jnp.floor(place)
    around = jnp.arange(1 - reach, reach + 1)
    distance = cutoff * ((place - whole)[:, None] - around[None])
    bell = jnp.where(jnp.abs(distance) < zeros, jnp.cos(jnp.pi * distance / (2 * zeros)) ** 2, 0)
    index = whole.astype(jnp.int32)[:, None] + around[None]
    inside = (index >= 0) & (index < len(signal))
    values = jnp.where(inside, signal[jnp.clip(index, 0, len(signal) - 1)], 0)
    return jnp.sum(values * cutoff * jnp.sinc(distance) * bell, axis=1)


def _frame(frame_size: int) -> None:
    checks.at_least(8, frame_size=frame_size)
    checks.divisible(8, "8", frame_size=frame_size)


def change_speed(
    key: Array, signal: Array, min_rate: float = 0.8, max_rate: float = 1.25, frame_size: int = 512
) -> Array:
    """Plays a sound faster or slower without changing its pitch, by a rate uniform in [min_rate, max_rate].

    A phase vocoder: output frame i takes its magnitudes from input frame `rate i`, interpolated, and its phases go on
    by what they advance there. A faster sound is over earlier, then silence follows; of a slower one the end is cut.
    Slowed tones waver a little in loudness, because neighbouring frequencies that share one do not stay in phase.

    Args:
      key: a JAX key.
      signal: float [T].
      min_rate: least speed, positive; 1 is unchanged.
      max_rate: largest, at least the least.
      frame_size: n, a multiple of 8, in samples: some ten periods of the lowest tone, but shorter than a syllable
        (512 at 16,000 samples per second).

    Returns:
      Like `signal`.

    Raises:
      ValueError: wrong rank or a setting out of range.
      TypeError: not floating point.

    Source: J. L. Flanagan and R. M. Golden, "Phase Vocoder", 1966; equal to librosa.effects.time_stretch
    with a hop of n / 4.
    """
    signal = sound(signal)
    checks.positive(min_rate=min_rate, max_rate=max_rate)
    checks.at_least(min_rate, max_rate=max_rate)
    _frame(frame_size)
    rate = jax.random.uniform(key, minval=min_rate, maxval=max_rate)
    wide = signal.astype(jnp.float32)
    return time_stretch(wide, rate, len(signal), frame_size).astype(signal.dtype)


def change_pitch(key: Array, signal: Array, max_semitones: float = 4.0, frame_size: int = 512) -> Array:
    """Makes a sound higher or lower without changing its speed.

    Every frequency times f = 2^(s / 12), s uniform in [-max_semitones, max_semitones]: slowed down to f times its
    length at the same pitch (see `change_speed`), then sampled at every f-th place through a windowed sinc.

    Args:
      key: a JAX key.
      signal: float [T].
      max_semitones: in [0, 24]; 12 are an octave, twice the frequency.
      frame_size: n, as in `change_speed`.

    Returns:
      Like `signal`; frequencies beyond half the sampling rate are gone.

    Raises:
      ValueError: wrong rank or a setting out of range.
      TypeError: not floating point.

    Source: as `change_speed`; J. O. Smith, Digital Audio Resampling, 2002, for the windowed sinc.
    """
    signal = sound(signal)
    checks.between(0, 24, max_semitones=max_semitones)
    _frame(frame_size)
    most = 2 ** (max_semitones / 12)
    factor = 2 ** (jax.random.uniform(key, minval=-max_semitones, maxval=max_semitones) / 12)
    slowed = time_stretch(signal.astype(jnp.float32), 1 / factor, math.ceil(most * len(signal)), frame_size)
    return read_at(slowed, factor, len(signal), most).astype(signal.dtype)
