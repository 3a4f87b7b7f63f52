"""Sinusoidal, learned and rotary positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


def test_sinusoids_in_float64():
    """Vaswani et al. 2017, section 3.5, entry by entry."""
    table = np.array(
        [
            [(np.sin, np.cos)[i % 2](t / 10_000 ** (2 * (i // 2) / 6)) for i in range(6)]
            for t in (0, 1, 2, 777)
        ]
    )
    positions = np.array([0, 1, 2, 777])
    np.testing.assert_allclose(nn.sinusoidal_embedding(positions, 6), table, atol=1e-7)
    np.testing.assert_allclose(
        jax.jit(partial(nn.sinusoidal_embedding, features=6))(jnp.asarray(positions)), table, atol=1e-4
    )
    half = nn.sinusoidal_embedding(np.array([0.5]), 2, base=100.0)
    np.testing.assert_allclose(half, [[0.4794255, 0.8775826]], atol=1e-7)


def test_a_shift_of_sinusoids_turns_each_pair():
    e = np.asarray(nn.sinusoidal_embedding(np.arange(40), 8))
    matrix = np.zeros((8, 8))
    for i in range(4):
        c, s = np.cos(7 * 10_000 ** (-2 * i / 8)), np.sin(7 * 10_000 ** (-2 * i / 8))
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, -s], [s, c]]
    np.testing.assert_allclose(e[:33] @ matrix, e[7:], atol=1e-6)


def test_sinusoidal_positions_are_added():
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    layer = nn.SinusoidalPositions()
    assert layer.init(jax.random.key(0), x) == {}
    expected = x + np.asarray(nn.sinusoidal_embedding(np.arange(5), 4))[None]
    apply = jax.jit(partial(layer.apply, {}))
    np.testing.assert_allclose(apply(x), expected, atol=1e-6)
    np.testing.assert_allclose(apply(x[:, 3:], jnp.arange(3, 5)), expected[:, 3:], atol=1e-6)
    assert layer.apply({}, jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16


def test_learned_positions():
    x, table = np.zeros((2, 3, 4), np.float32), np.arange(20, dtype=np.float32).reshape(5, 4)
    layer, variables = nn.LearnedPositions(5), {"params": {"embedding": table}}
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, shapes) == {"params": {"embedding": (5, 4)}}
    apply = jax.jit(layer.apply)
    np.testing.assert_array_equal(apply(variables, x), np.broadcast_to(table[:3], x.shape))
    np.testing.assert_array_equal(apply(variables, x, jnp.arange(2, 5)), np.broadcast_to(table[2:], x.shape))
    each = apply(variables, x, jnp.array([[0, 1, 4], [5, -1, 2]]))
    np.testing.assert_array_equal(each[0], table[[0, 1, 4]])
    np.testing.assert_array_equal(np.isnan(each[1]).all(-1), [True, True, False])
    grads = jax.jit(jax.grad(lambda v: layer.apply(v, x).sum()))(variables)["params"]["embedding"]
    np.testing.assert_array_equal(grads, np.array([2, 2, 2, 0, 0], np.float32)[:, None] * np.ones((1, 4)))


def test_rotary_embedding_is_a_complex_product():
    """Su et al. 2021, equation 34."""
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 8)).astype(np.float32)
    angle = np.arange(5)[:, None] * 100.0 ** (-2 * np.arange(4) / 8)
    z = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angle)[None, :, None]
    expected = np.concatenate([z.real, z.imag], -1)
    y = jax.jit(partial(nn.rotary_embedding, base=100.0))(x)
    np.testing.assert_allclose(y, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-6)
    late = jax.jit(partial(nn.rotary_embedding, base=100.0))(x[:, 2:], jnp.arange(2, 5))
    np.testing.assert_allclose(late, expected[:, 2:], atol=1e-6)
    assert nn.rotary_embedding(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16


def test_rotary_products_depend_on_distances_only():
    q, k = np.random.default_rng(1).normal(size=(2, 1, 6, 1, 8)).astype(np.float32)

    @jax.jit
    def products(positions):
        a, b = (nn.rotary_embedding(x, positions)[0, :, 0] for x in (q, k))
        return a @ b.T

    here, shifted = products(jnp.arange(6)), products(jnp.arange(6) + 50)
    np.testing.assert_allclose(here, shifted, atol=2e-5)
    assert np.abs(here - products(2 * jnp.arange(6))).max() > 0.1


def rotated(*shape, **settings):
    return nn.rotary_embedding(jnp.zeros(shape), **settings)


@pytest.mark.parametrize(
    ("f", "error", "match"),
    [
        pytest.param(
            partial(nn.sinusoidal_embedding, np.arange(3), 5), ValueError, "features must be", id="odd"
        ),
        pytest.param(
            partial(rotated, 2, 5, 1, 7), ValueError, "features must be a multiple of two", id="rotary-odd"
        ),
        pytest.param(partial(rotated, 5, 8), ValueError, "x must have the axes", id="rotary-rank"),
        pytest.param(partial(rotated, 2, 5, 1, 8, base=0.0), ValueError, "base must be positive", id="base"),
        pytest.param(
            partial(rotated, 2, 5, 1, 8, positions=jnp.arange(4)),
            ValueError,
            "positions must have shape",
            id="count",
        ),
        pytest.param(
            partial(rotated, 2, 5, 1, 8, positions=jnp.zeros(5)),
            TypeError,
            "positions must be integers",
            id="dtype",
        ),
        pytest.param(
            partial(nn.LearnedPositions(3).init, jax.random.key(0), jnp.zeros((1, 4, 2))),
            ValueError,
            "at most max_length = 3 positions, got 4",
            id="too-long",
        ),
        pytest.param(
            partial(nn.SinusoidalPositions().apply, {}, jnp.zeros(4)),
            ValueError,
            "x must have the axes",
            id="rank",
        ),
    ],
)
def test_bad_input(f, error, match):
    with pytest.raises(error, match=match):
        f()
