"""Sound as frequencies over time, on the device. T samples, F frames, n samples in a frame."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.types import Array


def sound(signal: Array) -> Array:
    """`signal` as an array.

    Raises:
      ValueError: not of rank 1, or no sample.
      TypeError: not floating point (divide integers by their largest value first).
    """
    signal = jnp.asarray(signal)
    checks.rank(1, signal=signal)
    checks.floating(signal=signal)
    if not len(signal):
        raise ValueError("signal must have a sample, got none")
    return signal


def hann(size: int) -> np.ndarray:
    """The periodic raised cosine, sin^2(pi i / n), float64 [n]."""
    return np.sin(np.pi * np.arange(size) / size) ** 2


def frames(signal: Array, frame_size: int, hop: int) -> Array:
    """Spectra of overlapping frames under a Hann window, complex64 at least [F, n // 2 + 1]."""
    start = hop * np.arange(1 + (len(signal) - frame_size) // hop)
    pieces = signal[start[:, None] + np.arange(frame_size)[None]]
    return jnp.fft.rfft(pieces * jnp.asarray(hann(frame_size), signal.dtype)[None])


def spectrogram(signal: Array, frame_size: int = 256, hop: int = 128) -> Array:
    """The power of each frequency over time.

    `S[f, k] = |sum over i < n of w_i x[f hop + i] exp(-2 pi j k i / n)|^2`, w_i = sin^2(pi i / n), the Hann window.
    Row k is the frequency k / n of the sampling rate.

    Args:
      signal: float [T], T at least `frame_size`.
      frame_size: n, at least 2: long frames tell close frequencies apart, short ones moments.
      hop: samples from one frame to the next, at least 1.

    Returns:
      float32 at least [F, n // 2 + 1], F = 1 + (T - n) // hop, time first as sequences are; power, in units of the
      signal squared. A sine of amplitude a has (a n / 4)^2 at its frequency.

    Raises:
      ValueError: wrong rank, a setting out of range, or a signal shorter than a frame.
      TypeError: not floating point.

    Equal to |torch.stft(..., center=False, normalized=False)|^2, and to |scipy.signal.stft|^2 (boundary=None,
    padded=False) times (n / 2)^2, the squared sum of the window, by which SciPy divides.
    """
    signal = sound(signal)
    checks.at_least(2, frame_size=frame_size)
    checks.at_least(1, hop=hop)
    if len(signal) < frame_size:
        raise ValueError(f"signal must be at least frame_size long, got {len(signal)} and {frame_size}")
    spectra = frames(signal.astype(jnp.promote_types(signal.dtype, jnp.float32)), frame_size, hop)
    return spectra.real**2 + spectra.imag**2


@functools.lru_cache(maxsize=16)
def mel_filters(
    num_mels: int, frame_size: int, sample_rate: float, min_frequency: float, max_frequency: float
) -> np.ndarray:
    """Triangles of height 1 whose corners are evenly spaced in mel, float64 [n // 2 + 1, M]."""

    def mel(frequency):
        return 2595 * np.log10(1 + np.asarray(frequency) / 700)

    corners = 700 * (10 ** (np.linspace(mel(min_frequency), mel(max_frequency), num_mels + 2) / 2595) - 1)
    frequency = np.arange(frame_size // 2 + 1)[:, None] * (sample_rate / frame_size)
    low, middle, high = corners[None, :-2], corners[None, 1:-1], corners[None, 2:]
    rise, fall = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    return np.maximum(0, np.minimum(rise, fall))


def mel_spectrogram(
    signal: Array,
    sample_rate: float,
    num_mels: int = 40,
    frame_size: int = 512,
    hop: int = 128,
    min_frequency: float = 0.0,
    max_frequency: float | None = None,
) -> Array:
    """The power in bands that the ear finds equally wide: `spectrogram` times triangular filters.

    mel(f) = 2595 log10(1 + f / 700), the HTK scale. Filter m rises from 0 at corner m to 1 at corner m + 1 and falls to
    0 at corner m + 2, straight in Hz; the M + 2 corners are evenly spaced in mel.

    Args:
      signal: float [T], T at least `frame_size`.
      sample_rate: samples per second, positive.
      num_mels: M, at least 1.
      frame_size: n, as in `spectrogram`.
      hop: samples from one frame to the next.
      min_frequency: of the first corner, in Hz, at least 0.
      max_frequency: of the last; above the first and at most half the sample rate, which None stands for.

    Returns:
      float32 at least [F, M], power. Nets usually take the logarithm, of the result plus a floor such as 1e-6.

    Raises:
      ValueError: wrong rank, a setting out of range, a signal shorter than a frame, or filters so narrow that one
        holds none of the n // 2 + 1 frequencies.
      TypeError: not floating point.

    Source: S. Young et al., The HTK Book, chapter 5; D. O'Shaughnessy, Speech Communication, 1987 (the scale).
    Equal to torchaudio's defaults (htk, no norm). librosa's default is Slaney's scale with filters of area 1; this
    one is its filters.mel(htk=True, norm=None).
    """
    checks.positive(sample_rate=sample_rate)
    checks.at_least(1, num_mels=num_mels)
    half = sample_rate / 2
    highest = half if max_frequency is None else max_frequency
    checks.between(0, half, min_frequency=min_frequency, max_frequency=highest)
    if not min_frequency < highest:
        raise ValueError(f"max_frequency must be above min_frequency, got {highest} and {min_frequency}")
    power = spectrogram(signal, frame_size, hop)
    filters = mel_filters(num_mels, frame_size, float(sample_rate), float(min_frequency), float(highest))
    if not filters.any(0).all():
        raise ValueError(
            f"num_mels must leave every filter a frequency, got {num_mels} filters for frames of {frame_size}"
        )
    return jnp.matmul(power, jnp.asarray(filters, power.dtype), precision="highest")
