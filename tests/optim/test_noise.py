"""Gradient noise: its variance against the equation, its distribution against Optax's and SciPy's normal."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim

SIZE = 40_000
GRADS = {"w": jnp.full((SIZE,), 2.0), "b": jnp.zeros((SIZE,), jnp.bfloat16)}


def noises(tx, steps):
    state, drawn = tx.init(GRADS), []
    for _ in range(steps):
        updates, state = jax.jit(tx.update)(GRADS, state)
        drawn.append(np.asarray(updates["w"], np.float64) - 2)
    return drawn, updates


def test_distribution(key):
    stats = pytest.importorskip("scipy.stats")
    ours, updates = noises(optim.add_gradient_noise(0.3, 0.55, key), 4)
    theirs, _ = noises(optax.add_noise(0.3, 0.55, key=key), 4)
    for t, (noise, other) in enumerate(zip(ours, theirs)):
        variance = 0.3 / (1 + t) ** 0.55
        # The standard error of a variance is sqrt(2 / N) of it: 0.7 %.
        np.testing.assert_allclose([noise.var(), other.var()], variance, rtol=0.03)
        assert stats.kstest(noise / np.sqrt(variance), "norm").pvalue > 1e-3
        assert stats.ks_2samp(noise, other).pvalue > 1e-3
    assert abs(np.corrcoef(ours[0], ours[1])[0, 1]) < 0.02, "each update draws afresh"
    chex.assert_trees_all_equal_dtypes(updates, GRADS)


def test_the_key_decides_and_every_leaf_draws_its_own(key):
    grads = {"a": jnp.zeros(50), "b": jnp.zeros(50)}
    draw = lambda k: optim.add_gradient_noise(1.0, 0.5, k)  # noqa: E731
    first, again, other = (
        tx.update(grads, tx.init(grads))[0] for tx in (draw(key), draw(key), draw(jax.random.key(5)))
    )
    chex.assert_trees_all_equal(first, again)
    assert np.abs(first["a"] - other["a"]).min() > 0
    assert np.abs(first["a"] - first["b"]).min() > 0


def test_errors(key):
    with pytest.raises(ValueError, match="eta must be"):
        optim.add_gradient_noise(0.0, 0.55, key)
    with pytest.raises(ValueError, match="gamma must"):
        optim.add_gradient_noise(0.1, -1.0, key)
