"""Projections behind an update against Optax's projections, PyTorch's renorm, and their own definition."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import nn, optim

RNG = np.random.default_rng(0)
PARAMS = {
    "dense": {
        "kernel": RNG.normal(size=(6, 5)).astype(np.float32),
        "bias": RNG.normal(size=5).astype(np.float32),
    },
    "conv": {"kernel": RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)},
}
UPDATES = jax.tree.map(lambda p: RNG.normal(size=p.shape).astype(np.float32), PARAMS)


def moved(tx, params=PARAMS, updates=UPDATES):
    return optax.apply_updates(params, jax.jit(tx.update)(updates, tx.init(params), params)[0])


def test_max_norm_equals_torch_renorm_and_the_layer_function():
    torch = pytest.importorskip("torch")
    free = jax.tree.map(np.add, PARAMS, UPDATES)
    for layer, limit in (("dense", 3.5), ("conv", 6.0)):
        after = moved(optim.max_norm_projection(limit))
        w, ours = free[layer]["kernel"], after[layer]["kernel"]
        theirs = torch.renorm(torch.tensor(w), p=2, dim=w.ndim - 1, maxnorm=limit).numpy()
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(ours, nn.max_norm(jnp.asarray(w), limit), rtol=2e-6, atol=1e-6)
        norms = np.sqrt((w.astype(np.float64) ** 2).sum(axis=tuple(range(w.ndim - 1))))
        assert norms.min() < limit < norms.max(), "both cases must be there"
    np.testing.assert_allclose(after["dense"]["bias"], free["dense"]["bias"], rtol=1e-6)


def test_golden_002_D13c_and_004b_max_norm():
    """Columns (3, 4) and (0.3, 0.4) at most 2 long; nothing of it is the update's."""
    kernel = np.array([[3.0, 0.3], [4.0, 0.4]], np.float32)
    after = moved(optim.max_norm_projection(2.0), {"kernel": kernel}, {"kernel": np.zeros_like(kernel)})
    np.testing.assert_allclose(after["kernel"], [[1.2, 0.3], [1.6, 0.4]], rtol=1e-6)
    after = moved(optim.max_norm_projection(2.0), {"kernel": np.zeros_like(kernel)}, {"kernel": kernel})
    np.testing.assert_allclose(after["kernel"], [[1.2, 0.3], [1.6, 0.4]], rtol=1e-6)


def test_weight_clipping_equals_optax_projection():
    after = moved(optim.weight_clipping(0.5))
    free = jax.tree.map(np.add, PARAMS, UPDATES)
    low, high = (jax.tree.map(lambda p: np.full_like(p, bound), free) for bound in (-0.5, 0.5))  # noqa: B023
    expected = optax.projections.projection_box(free, low, high)
    chex.assert_trees_all_close(after, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("make", [optim.max_norm_projection, optim.weight_clipping])
def test_links(make):
    tx = optax.chain(optim.adam(0.3), make(0.4))
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(3):
        updates, state = jax.jit(tx.update)(UPDATES, state, params)
        params = optax.apply_updates(params, updates)
    chex.assert_tree_all_finite(params)
    half = jax.tree.map(lambda p: jnp.asarray(p, jnp.bfloat16), PARAMS)
    chex.assert_trees_all_equal_dtypes(moved(make(0.4), half, half), half)
    zero = jax.tree.map(np.zeros_like, PARAMS)
    chex.assert_trees_all_equal(moved(make(0.4), zero, zero), zero)
    with pytest.raises(ValueError, match="must be"):
        make(0.0)
    with pytest.raises(ValueError, match="params must be given"):
        make(1.0).update(UPDATES, make(1.0).init(PARAMS))
