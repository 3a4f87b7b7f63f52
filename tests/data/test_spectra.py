"""Spectra against PyTorch and SciPy, mel filters against the definition in float64."""

import jax
import numpy as np
import pytest

from jaxdl.data import mel_spectrogram, spectrogram
from jaxdl.data.spectra import mel_filters

SIGNAL = np.random.default_rng(0).normal(size=1000).astype(np.float32)


def test_spectrogram_equals_scipy():
    signal = pytest.importorskip("scipy.signal")
    _, _, spectra = signal.stft(
        SIGNAL.astype(np.float64), window="hann", nperseg=128, noverlap=128 - 48, boundary=None, padded=False
    )
    got = jax.jit(lambda x: spectrogram(x, 128, 48))(SIGNAL)
    assert got.shape == (1 + (1000 - 128) // 48, 65)
    np.testing.assert_allclose(got, np.abs(spectra.T) ** 2 * 64**2, rtol=1e-4, atol=1e-3)
    psd = signal.spectrogram(
        SIGNAL.astype(np.float64), 1.0, "hann", 128, 80, detrend=False, scaling="spectrum", mode="psd"
    )[2]
    one_sided = np.r_[1, np.full(63, 2), 1]
    np.testing.assert_allclose(np.asarray(got) * one_sided / 64**2, psd.T, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_spectrogram_equals_torch():
    torch = pytest.importorskip("torch")
    want = torch.stft(
        torch.tensor(SIGNAL), 128, 48, window=torch.hann_window(128), center=False, return_complex=True
    )
    got = jax.jit(lambda x: spectrogram(x, 128, 48))(SIGNAL)
    np.testing.assert_allclose(got, (want.abs() ** 2).T.numpy(), rtol=1e-4, atol=1e-3)


def test_a_sine_stands_at_its_frequency_with_its_power():
    sine = (0.7 * np.sin(2 * np.pi * 20 / 128 * np.arange(1000))).astype(np.float32)
    power = np.asarray(jax.jit(lambda x: spectrogram(x, 128, 48))(sine))
    assert (power.argmax(1) == 20).all()
    np.testing.assert_allclose(power[:, 20], (0.7 * 128 / 4) ** 2, rtol=1e-4)


def triangles(num_mels, size, rate, low, high):
    """Filters by their definition, one number at a time."""

    def mel(f):
        return 2595 * np.log10(1 + f / 700)

    corners = [
        700 * (10 ** ((mel(low) + (mel(high) - mel(low)) * m / (num_mels + 1)) / 2595) - 1)
        for m in range(num_mels + 2)
    ]
    filters = np.zeros((size // 2 + 1, num_mels))
    for m in range(num_mels):
        for k in range(size // 2 + 1):
            f = k * rate / size
            if corners[m] <= f <= corners[m + 1]:
                filters[k, m] = (f - corners[m]) / (corners[m + 1] - corners[m])
            elif corners[m + 1] < f <= corners[m + 2]:
                filters[k, m] = (corners[m + 2] - f) / (corners[m + 2] - corners[m + 1])
    return filters


def test_mel_filters_are_triangles_on_the_htk_scale():
    want = triangles(12, 256, 8000, 100, 3500)
    np.testing.assert_allclose(mel_filters(12, 256, 8000.0, 100.0, 3500.0), want, atol=1e-12)
    # 1,000 Hz are 1,000 mel, the point that fixes the scale.
    np.testing.assert_allclose(2595 * np.log10(1 + 1000 / 700), 1000, atol=0.02)
    # Between the first and the last middle, neighbours add up to one.
    frequency = np.arange(129) * 8000 / 256
    inner = (frequency > 300) & (frequency < 2900)
    np.testing.assert_allclose(want[inner].sum(1), 1, atol=1e-12)


def test_mel_spectrogram_is_the_filtered_power():
    got = jax.jit(lambda x: mel_spectrogram(x, 8000, 12, 256, 128, 100, 3500))(SIGNAL)
    frames = np.stack([SIGNAL[i : i + 256] for i in range(0, 1000 - 255, 128)]).astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    np.testing.assert_allclose(got, power @ triangles(12, 256, 8000, 100, 3500), rtol=1e-5)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: spectrogram(SIGNAL[:100]), ValueError, "signal must be at least frame_size long, got 100 and 256"),
    (lambda: spectrogram(SIGNAL[None]), ValueError, "signal must have rank 1"),
    (lambda: spectrogram(SIGNAL, 128, 0), ValueError, "hop must be at least 1"),
    (lambda: spectrogram(np.arange(1000)), TypeError, "signal must be floating point"),
    (lambda: mel_spectrogram(SIGNAL, 0), ValueError, "sample_rate must be positive"),
    (lambda: mel_spectrogram(SIGNAL, 8000, max_frequency=5000), ValueError, "max_frequency must be between 0 and 4000"),
    (lambda: mel_spectrogram(SIGNAL, 8000, min_frequency=4000), ValueError, "max_frequency must be above"),
    (lambda: mel_spectrogram(SIGNAL, 8000, 128, 256), ValueError, "num_mels must leave every filter a frequency"),
])  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
