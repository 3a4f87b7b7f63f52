"""Changes of sound: a phase vocoder in NumPy, tones whose frequency is known, and the promised draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import add_noise, change_pitch, change_speed, time_shift
from jaxdl.data.waveforms import read_at, time_stretch

SIGNAL = np.random.default_rng(0).normal(size=1000).astype(np.float32)
KEYS = jax.random.split(jax.random.key(4), 400)
TIME = np.arange(4000)


def tone(frequency, length):
    """A sine that starts and ends softly; frequency in periods per sample."""
    time = np.arange(length)
    return (np.sin(2 * np.pi * frequency * time) * np.sin(np.pi * time / length) ** 0.5).astype(np.float32)


def loudest(signal):
    """Frequency of the strongest part, to a fraction of a bin."""
    signal = np.asarray(signal, np.float64)
    power = np.log(np.abs(np.fft.rfft(signal * np.hanning(len(signal)))) + 1e-12)
    k = int(power.argmax())
    a, b, c = power[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) / len(signal)


def end(signal):
    """The last moment that is not almost silent."""
    return np.flatnonzero(np.abs(signal) > 0.1)[-1]


def test_shifts_are_uniform_and_silence_moves_in():
    stats = pytest.importorskip("scipy.stats")
    signal = 1 + np.arange(6, dtype=np.float32)
    got = np.asarray(jax.jit(jax.vmap(lambda k: time_shift(k, signal, 2)))(KEYS))
    want = {
        tuple(np.r_[np.zeros(max(s, 0)), signal[max(-s, 0) : 6 - max(s, 0)], np.zeros(max(-s, 0))]): s
        for s in range(-2, 3)
    }
    counts = np.bincount([want[tuple(row)] + 2 for row in got])
    assert stats.chisquare(counts).pvalue > 1e-3


def test_noise_is_white_normal_and_as_far_below_as_drawn():
    stats = pytest.importorskip("scipy.stats")
    noisy = jax.jit(jax.vmap(lambda k, x: add_noise(k, x, 5, 25), (0, None)))
    assert not np.asarray(noisy(KEYS, 0 * SIGNAL)).any()
    added = np.asarray(noisy(KEYS, 3 * SIGNAL)) - 3 * SIGNAL
    power = (added.astype(np.float64) ** 2).mean(1)
    decibels = 10 * np.log10((9 * SIGNAL.astype(np.float64) ** 2).mean() / power)
    # A thousand samples know their own power to about 0.2 of 20 decibels.
    assert stats.kstest((decibels - 5) / 20, "uniform").statistic < 0.08
    assert stats.kstest(added[0] / np.sqrt(power[0]), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(added[0, 1:], added[0, :-1])[0, 1]) < 0.1


def vocoder(signal, rate, length, size):
    """Time stretching as textbooks and librosa write it: a loop over output frames, float64."""
    hop, window = size // 4, 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    padded = np.pad(signal.astype(np.float64), size // 2)
    starts = range(0, len(padded) - size + 1, hop)
    spectra = np.array([np.fft.rfft(window * padded[i : i + size]) for i in starts])
    expected = 2 * np.pi * hop * np.arange(size // 2 + 1) / size
    phase = np.angle(spectra[0])
    count = len(spectra)
    spectra = np.pad(spectra, ((0, 2), (0, 0)))
    frames = []
    for step in np.arange(0, count, rate):
        here, part = int(step), step % 1
        size_now = (1 - part) * np.abs(spectra[here]) + part * np.abs(spectra[here + 1])
        frames.append(size_now * np.exp(1j * phase))
        excess = np.angle(spectra[here + 1]) - np.angle(spectra[here]) - expected
        phase = phase + expected + excess - 2 * np.pi * np.round(excess / (2 * np.pi))
    total, weight = np.zeros((2, hop * (len(frames) - 1) + size))
    for i, frame in enumerate(frames):
        total[i * hop : i * hop + size] += window * np.fft.irfft(frame, size)
        weight[i * hop : i * hop + size] += window**2
    middle = (total / np.where(weight > 1e-6, weight, 1))[size // 2 :]
    silence = np.zeros(length)
    kept = min(length, int(np.ceil(len(signal) / rate)))
    silence[:kept] = middle[:kept]
    return silence


STRETCH = jax.jit(time_stretch, static_argnums=(2, 3))


# Whose multiples are exact, so that no frame is found before or after the border by a rounding.
@pytest.mark.parametrize("rate", [1.0, 0.8125, 1.3125])
def test_stretch_equals_the_textbook_vocoder(rate):
    got = STRETCH(SIGNAL, rate, 1100, 64)
    np.testing.assert_allclose(got, vocoder(SIGNAL, rate, 1100, 64), atol=2e-5)


def test_rate_one_gives_the_signal_back():
    got = np.asarray(STRETCH(SIGNAL, 1.0, 1100, 64))
    np.testing.assert_allclose(got, np.pad(SIGNAL, (0, 100)), atol=1e-5)


def test_speed_changes_the_length_and_not_the_pitch():
    stats = pytest.importorskip("scipy.stats")
    sound = np.pad(tone(0.05, 2000), (0, 2000))
    got = np.asarray(jax.jit(jax.vmap(lambda k: change_speed(k, sound, 0.6, 1.6, 256)))(KEYS[:60]))
    rates = 0.6 + np.asarray(jax.vmap(lambda k: jax.random.uniform(k))(KEYS[:60]))
    assert stats.kstest(rates - 0.6, "uniform").pvalue > 1e-3
    np.testing.assert_allclose([end(x) for x in got], 2000 / rates, atol=256)  # within a frame
    np.testing.assert_allclose([loudest(x) for x in got], 0.05, rtol=0.01)


def test_pitch_changes_the_frequency_and_not_the_length():
    sound = np.pad(tone(0.05, 2000), (0, 2000))
    got = np.asarray(jax.jit(jax.vmap(lambda k: change_pitch(k, sound, 7.0, 256)))(KEYS[:40]))
    factor = [loudest(x) / 0.05 for x in got]
    semitones = 12 * np.log2(factor)
    drawn = 7 * np.asarray(jax.vmap(lambda k: jax.random.uniform(k, minval=-1, maxval=1))(KEYS[:40]))
    np.testing.assert_allclose(semitones, drawn, atol=0.05)
    np.testing.assert_allclose([end(x) for x in got], end(sound), atol=256)


def test_reading_between_samples_keeps_tones_and_removes_what_would_fold():
    read = jax.jit(read_at, static_argnums=(2, 3))
    low, high = np.sin(2 * np.pi * 0.11 * TIME), np.sin(2 * np.pi * 0.45 * TIME)
    for step in (0.8, 1.0, 1.3):
        got = np.asarray(read(jnp.asarray(low, jnp.float32), step, 2000, 1.3))
        want = np.sin(2 * np.pi * 0.11 * step * np.arange(2000))
        np.testing.assert_allclose(got[50:], want[50:], atol=3e-3)
    # 0.45 x 1.3 is above one half: it would come back as 0.415.
    assert np.abs(read(jnp.asarray(high, jnp.float32), 1.3, 2000, 1.3)[50:]).max() < 3e-3


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda k: time_shift(k, SIGNAL, -1), ValueError, "max_shift must be at least 0"),
    (lambda k: time_shift(k, SIGNAL.astype(int), 1), TypeError, "signal must be floating point"),
    (lambda k: add_noise(k, SIGNAL, 20, 10), ValueError, "max_decibels must be at least 20"),
    (lambda k: add_noise(k, SIGNAL[:0]), ValueError, "signal must have a sample"),
    (lambda k: change_speed(k, SIGNAL, 0.0), ValueError, "min_rate must be positive"),
    (lambda k: change_speed(k, SIGNAL, frame_size=100), ValueError, "frame_size must be a multiple of 8"),
    (lambda k: change_pitch(k, SIGNAL, 30), ValueError, "max_semitones must be between 0 and 24"),
    (lambda k: change_pitch(k, SIGNAL[None]), ValueError, "signal must have rank 1"),
])  # fmt: skip
def test_bad_input(call, error, message, key):
    with pytest.raises(error, match=message):
        call(key)
