"""Initializers: published limits and the moments of large draws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

CONV = (3, 3, 20, 40)  # fan_in 180, fan_out 360
DENSE = (300, 200)


@pytest.mark.parametrize(
    ("fan_in", "fan_out", "limit"),
    [
        pytest.param(18, 10, 0.4629100, id="004b-init-18-10"),
        pytest.param(10, 10, 0.5477226, id="004b-init-10-10"),
        pytest.param(10, 1, 0.7385489, id="004b-init-10-1"),
    ],
)
def test_glorot_limits(fan_in, fan_out, limit):
    draws = jax.vmap(lambda key: nn.glorot_uniform()(key, (fan_in, fan_out)))(
        jax.random.split(jax.random.key(0), 2000)
    )
    assert abs(draws).max() <= limit * (1 + 1e-6)
    assert abs(draws).max() == pytest.approx(limit, rel=2e-3)


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
    "init",
    [nn.zeros_init(), nn.normal_init(), nn.uniform_init(), nn.he_uniform(), nn.torch_default_init()],
)
def test_dtype_and_key(init, key):
    w = init(key, (4, 6), jnp.bfloat16)
    assert w.dtype == jnp.bfloat16
    np.testing.assert_array_equal(w, init(key, (4, 6), jnp.bfloat16))
    if w.any():
        assert (w != init(jax.random.key(1), (4, 6), jnp.bfloat16)).any()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        pytest.param(lambda: nn.normal_init(-1.0), "stddev must be at least 0", id="stddev"),
        pytest.param(lambda: nn.uniform_init(1.0, 1.0), "high must be above low", id="empty-range"),
        pytest.param(lambda: nn.torch_default_init(0), "fan_in must be at least 1", id="fan"),
        pytest.param(
            lambda: nn.torch_default_init()(jax.random.key(0), (3,)), "fan_in must be given", id="bias"
        ),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call()
