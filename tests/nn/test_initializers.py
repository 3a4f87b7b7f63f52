"""Initializers: published limits and the moments of large draws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

CONV = (3, 3, 20, 40)  # fan_in 180, fan_out 360
DENSE = (300, 200)


def test_glorot_limits():  # 004b-init
    limits = {(18, 10): 0.4629100, (10, 10): 0.5477226, (10, 1): 0.7385489}

    draw = jax.jit(lambda key: [nn.glorot_uniform()(key, shape) for shape in limits])
    draws = [draw(jax.random.key(seed)) for seed in range(300)]
    for values, limit in zip(zip(*draws), limits.values()):
        assert np.abs(values).max() <= limit * (1 + 1e-6)
        assert np.abs(values).max() == pytest.approx(limit, rel=2e-3)


@pytest.mark.parametrize(
    ("init", "shape", "variance", "limit"),
    [
        pytest.param(nn.glorot_uniform(), CONV, 2 / 540, math.sqrt(6 / 540), id="glorot_uniform"),
        pytest.param(nn.glorot_normal(), CONV, 2 / 540, None, id="glorot_normal"),
        pytest.param(nn.he_uniform(), CONV, 2 / 180, math.sqrt(6 / 180), id="he_uniform"),
        pytest.param(nn.he_normal(), CONV, 2 / 180, None, id="he_normal"),
        pytest.param(nn.lecun_normal(), CONV, 1 / 180, None, id="lecun_normal"),
        pytest.param(nn.lecun_normal(), DENSE, 1 / 300, None, id="lecun_normal-dense"),
        pytest.param(nn.torch_default_init(), CONV, 1 / 540, 180**-0.5, id="torch_default"),
        pytest.param(nn.torch_default_init(25), (50000,), 1 / 75, 0.2, id="torch_default-bias"),
        pytest.param(nn.uniform_init(-0.3, 0.3), DENSE, 0.03, 0.3, id="uniform"),
        pytest.param(nn.normal_init(0.5), DENSE, 0.25, None, id="normal"),
    ],
)
def test_moments_and_limits(init, shape, variance, limit, key):
    w = np.asarray(init(key, shape), np.float64)
    spread = math.sqrt(variance)
    assert w.shape == shape
    assert abs(w.mean()) < 4 * spread / math.sqrt(w.size)
    np.testing.assert_allclose(w.var(), variance, rtol=0.03)
    if limit is not None:
        assert abs(w).max() <= limit
        assert abs(w).max() > 0.999 * limit


@pytest.mark.parametrize("init", [nn.he_normal(), nn.lecun_normal(), nn.glorot_normal()])
def test_normal_families_are_cut_at_two_deviations(init, key):
    w = np.asarray(init(key, DENSE))
    cut = 2 / 0.87962566103423978  # deviations of the standard normal, before the rescaling to unit variance
    assert abs(w).max() / w.std() == pytest.approx(cut, rel=0.02)


def test_normal_is_not_cut_and_has_a_mean(key):
    w = np.asarray(nn.normal_init(2.0, mean=3.0)(key, (200, 300)))
    assert abs(w - 3).max() > 3.5 * 2
    assert w.mean() == pytest.approx(3, abs=0.05)


def test_torch_default_is_torchs():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Conv2d(20, 40, 3).weight.detach().numpy()
    ours = np.asarray(nn.torch_default_init()(jax.random.key(1), CONV))
    assert abs(theirs).max() == pytest.approx(abs(ours).max(), rel=1e-3)
    assert theirs.std() == pytest.approx(ours.std(), rel=0.05)


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        pytest.param((8, 5), True, id="tall"),
        pytest.param((5, 8), False, id="wide"),
        pytest.param((3, 3, 2, 7), True, id="conv"),
    ],
)
def test_orthogonal(shape, columns, key):
    w = jax.jit(lambda key: nn.orthogonal(1.5)(key, shape))(key)
    assert w.shape == shape
    matrix = np.asarray(w, np.float64).reshape(-1, shape[-1])
    gram = matrix.T @ matrix if columns else matrix @ matrix.T
    np.testing.assert_allclose(gram, 2.25 * np.eye(len(gram)), atol=1e-5)
    # Scaled and counted as in PyTorch, whose matrix is ours transposed: [F, C, H, W].
    torch = pytest.importorskip("torch")
    theirs = (
        torch.nn.init.orthogonal_(torch.empty(shape[-1], *shape[:-1]), 1.5).numpy().reshape(shape[-1], -1).T
    )
    np.testing.assert_allclose(theirs.T @ theirs if columns else theirs @ theirs.T, gram, atol=1e-5)


@pytest.mark.slow
def test_orthogonal_is_uniform_over_rotations(key):
    """Every entry of a uniform n x n rotation has mean 0 and variance 1/n; a QR without care for signs has not."""
    draws = jax.jit(jax.vmap(lambda key: nn.orthogonal()(key, (3, 3))))(jax.random.split(key, 4000))
    draws = np.asarray(draws, np.float64)
    assert (abs(draws.mean(0)) < 5 * np.sqrt(1 / 3 / 4000)).all()
    np.testing.assert_allclose(draws.var(0), 1 / 3, rtol=0.1)


def test_identity_is_torchs_eye(key):
    torch = pytest.importorskip("torch")
    shapes = (4, 4), (5, 3), (3, 5)
    for w in jax.jit(lambda: [nn.identity_init()(key, shape) for shape in shapes])():
        np.testing.assert_array_equal(w, torch.nn.init.eye_(torch.empty(w.shape)))


@pytest.mark.parametrize(
    ("kernel_size", "channels", "features"),
    [
        pytest.param((5, 1), 2, 3, id="oblong"),
        pytest.param((2, 4), 3, 3, id="even"),
        pytest.param((3,), 4, 2, id="1-D"),
    ],
)
def test_identity_of_a_convolution_passes_its_maps(kernel_size, channels, features, key):
    x = np.random.default_rng(0).normal(size=(2, *(6 for _ in kernel_size), channels)).astype(np.float32)

    @jax.jit
    def both(x):
        kernel = nn.identity_init(2.0)(key, (*kernel_size, channels, features))
        layer = nn.Conv(features, kernel_size, use_bias=False)
        return kernel, layer.apply({"params": {"kernel": kernel}}, x)

    kernel, y = both(x)
    expected = np.zeros(y.shape, np.float32)
    common = min(channels, features)
    expected[..., :common] = 2 * x[..., :common]
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    if kernel_size == (5, 1):  # in windows of odd size the middle is the one of PyTorch
        torch = pytest.importorskip("torch")
        theirs = torch.nn.init.dirac_(torch.empty(features, channels, *kernel_size)).numpy()
        np.testing.assert_array_equal(np.asarray(kernel) / 2, np.moveaxis(theirs, (0, 1), (-1, -2)))


def test_identity_recurrence_keeps_gradients_over_a_hundred_steps(key):  # 000 section 6: the remedy of IRNN
    def last(h, w):
        return jax.lax.scan(lambda h, _: (nn.relu(h @ w), None), h, None, length=100)[0]

    @jax.jit
    def both(h):
        gradient = jax.grad(lambda h, w: last(h, w).sum())
        return [gradient(h, init(key, (5, 5))) for init in (nn.identity_init(), nn.normal_init())]

    identity, small = both(np.full(5, 0.3, np.float32))
    np.testing.assert_array_equal(identity, 1)
    assert np.abs(small).max() < 1e-20


@pytest.mark.parametrize(
    "init",
    [
        nn.zeros_init(),
        nn.normal_init(),
        nn.uniform_init(),
        nn.he_uniform(),
        nn.torch_default_init(),
        nn.orthogonal(),
    ],
)
def test_dtype_and_key(init, key):
    draw = jax.jit(lambda key: init(key, (4, 6), jnp.bfloat16))
    first, again, other = (np.asarray(draw(k)) for k in (key, key, jax.random.key(1)))
    assert first.dtype == jnp.bfloat16
    np.testing.assert_array_equal(first, again)
    if first.any():
        assert (first != other).any()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        pytest.param(lambda: nn.normal_init(-1.0), "stddev must be at least 0", id="stddev"),
        pytest.param(lambda: nn.uniform_init(1.0, 1.0), "high must be above low", id="empty-range"),
        pytest.param(lambda: nn.torch_default_init(0), "fan_in must be at least 1", id="fan"),
        pytest.param(
            lambda: nn.torch_default_init()(jax.random.key(0), (3,)), "fan_in must be given", id="bias"
        ),
        pytest.param(lambda: nn.orthogonal(-1.0), "scale must be", id="orthogonal-scale"),
        pytest.param(lambda: nn.orthogonal()(jax.random.key(0), (3,)), "two axes", id="orthogonal-vector"),
        pytest.param(lambda: nn.identity_init(math.inf), "scale must be finite", id="identity-scale"),
        pytest.param(lambda: nn.identity_init()(jax.random.key(0), (3,)), "two axes", id="identity-vector"),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call()
