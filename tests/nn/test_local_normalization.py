"""Local response and contrast normalization: PyTorch, and loops over windows in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def derivatives(layer, x, weight):
    y, pullback = jax.vjp(lambda x: layer.apply({}, x), x)
    return y, pullback(weight)[0]


@pytest.mark.parametrize(
    ("size", "alpha", "beta", "k"),
    [
        pytest.param(5, 1e-4, 0.75, 2.0, id="alexnet"),
        pytest.param(4, 0.3, 0.5, 1.0, id="even"),
        pytest.param(9, 0.2, 1.5, 0.1, id="wider-than-the-channels"),
    ],
)
def test_local_response_matches_torch(size, alpha, beta, k):
    torch = pytest.importorskip("torch")
    x, weight = 3 * normal(0, 2, 3, 4, 7), normal(1, 2, 3, 4, 7)
    there = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    expected = torch.nn.LocalResponseNorm(size, alpha * size, beta, k)(there)
    expected.backward(torch.tensor(weight.transpose(0, 3, 1, 2).copy()))
    layer = nn.LocalResponseNorm(size, alpha, beta, k)
    y, dx = jax.jit(lambda x, weight: derivatives(layer, x, weight))(x, weight)
    np.testing.assert_allclose(y.transpose(0, 3, 1, 2), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx.transpose(0, 3, 1, 2), there.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_local_response_in_the_papers_constants():
    x = np.float64([1.0, 2.0, 3.0, 4.0])
    sums = np.array([14.0, 30.0, 30.0, 29.0])  # of squares, two channels to either side
    y = nn.LocalResponseNorm().apply({}, jnp.float32(x))
    np.testing.assert_allclose(y, x / (2 + 1e-4 * sums) ** 0.75, rtol=1e-6)


def contrast_normalized(x, kernel_size, sigma, eps=1e-4):
    """The definition, window by window."""
    reach = kernel_size // 2
    height, width = x.shape[1:3]

    def local_mean(value):
        out = np.zeros((*value.shape[:3], 1))
        for i, j in np.ndindex(height, width):
            rows, columns = (
                np.arange(max(p - reach, 0), min(p + reach + 1, n)) for p, n in ((i, height), (j, width))
            )
            w = np.exp(-((rows[:, None] - i) ** 2 + (columns - j) ** 2) / (2 * sigma**2))
            window = value[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean(3)
            out[:, i, j, 0] = (w / w.sum() * window).sum((1, 2))
        return out

    v = x - local_mean(x)
    deviation = np.sqrt(local_mean(v**2))
    return v / np.maximum(np.maximum(deviation, deviation.mean((1, 2), keepdims=True)), eps)


@pytest.mark.parametrize(
    ("layer", "sigma"),
    [
        pytest.param(nn.LocalContrastNorm(), 2.25, id="9"),
        pytest.param(nn.LocalContrastNorm(3, 1.0), 1.0, id="3"),
    ],
)
def test_local_contrast_equals_its_definition(layer, sigma):
    x, weight, direction = (normal(i, 2, 6, 11, 3) for i in range(3))
    x = x + 1e3 * (np.arange(2) == 1)[:, None, None, None].astype(np.float32)
    kernel_size = layer.kernel_size
    y, dx = jax.jit(lambda: derivatives(layer, x, weight))()
    np.testing.assert_allclose(
        y, contrast_normalized(np.float64(x), kernel_size, sigma), rtol=1e-5, atol=1e-5
    )
    step = 1e-6 * direction
    ahead, behind = (
        contrast_normalized(np.float64(x) + s, kernel_size, sigma) for s in (step, -np.float64(step))
    )
    slope = ((ahead - behind) / 2e-6 * weight).sum()
    np.testing.assert_allclose((np.float64(dx) * direction).sum(), slope, rtol=1e-4)


def test_an_image_without_contrast_gives_zeros_and_finite_derivatives():
    run = jax.jit(lambda x: derivatives(nn.LocalContrastNorm(), x, x + 1))
    for value in (0.0, 1e4):
        y, dx = run(jnp.full((1, 6, 11, 3), value))
        np.testing.assert_allclose(y, 0, atol=1e-5)
        assert np.isfinite(dx).all()


@pytest.mark.parametrize(
    "layer", [nn.LocalResponseNorm(), nn.LocalContrastNorm()], ids=lambda l: type(l).__name__
)
def test_eager_jit_vmap_and_half_precision_agree(layer):
    x = normal(0, 2, 2, 6, 5, 3)

    @jax.jit
    def run(x):
        half = x.astype(jnp.bfloat16)
        return (
            layer.apply({}, x[0]),
            layer.apply({}, x[1]),
            jax.vmap(lambda x: layer.apply({}, x))(x),
            layer.apply({}, half[0]),
            layer.apply({}, half[0].astype(jnp.float32)),
        )

    first, second, mapped, half, rounded = run(jnp.asarray(x))
    np.testing.assert_allclose(layer.apply({}, x[0]), first, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mapped, jnp.stack([first, second]), rtol=1e-5, atol=1e-6)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), rounded, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    ("layer", "x", "error", "match"),
    [
        pytest.param(nn.LocalResponseNorm(0), jnp.ones(3), ValueError, "size must be at least 1", id="size"),
        pytest.param(nn.LocalResponseNorm(k=0.0), jnp.ones(3), ValueError, "k must be positive", id="k"),
        pytest.param(nn.LocalResponseNorm(alpha=-1.0), jnp.ones(3), ValueError, "alpha must be", id="alpha"),
        pytest.param(nn.LocalResponseNorm(), jnp.float32(1), ValueError, "a channel axis", id="scalar"),
        pytest.param(nn.LocalResponseNorm(), jnp.ones(3, int), TypeError, "x must be floating", id="dtype"),
        pytest.param(
            nn.LocalContrastNorm(), jnp.ones((6, 6, 1)), ValueError, "x must have rank 4", id="rank"
        ),
        pytest.param(
            nn.LocalContrastNorm(4), jnp.ones((1, 6, 6, 1)), ValueError, "kernel_size must be odd", id="even"
        ),
        pytest.param(
            nn.LocalContrastNorm(3, 0.0), jnp.ones((1, 6, 6, 1)), ValueError, "sigma must be", id="sigma"
        ),
    ],
)
def test_bad_input(layer, x, error, match):
    with pytest.raises(error, match=match):
        layer.apply({}, x)
