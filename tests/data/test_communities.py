"""Graphs of communities against the binomial distribution and a spectral partition."""

import jax
import numpy as np
import pytest

from jaxdl import data


def graphs(key, inside, between):
    return data.graphs(key, 200, inside=inside, between=between)


def test_edges_and_the_best_guess(made):
    stats = pytest.importorskip("scipy.stats")
    table = made(graphs, 0.25, 0.035)
    edges, y = table["adjacency"], table["y"]
    assert set(np.unique(edges)) == {0, 1}
    np.testing.assert_array_equal(edges, edges.transpose(0, 2, 1))
    assert not np.diagonal(edges, axis1=1, axis2=2).any()
    np.testing.assert_array_equal(y.sum(1), 17)
    same = y[:, :, None] == y[:, None, :]
    off = ~np.eye(34, dtype=bool)
    np.testing.assert_allclose(edges[same & off].mean(), 0.25, atol=0.01)
    np.testing.assert_allclose(edges[~same].mean(), 0.035, atol=0.004)
    # 272 inside and 289 between: 78.115 edges, with a standard error of 0.55.
    np.testing.assert_allclose(edges.sum((1, 2)).mean() / 2, 78.1, atol=2.2)

    inside, between = np.log(0.25 / 0.035), np.log(0.75 / 0.965)
    own, other = np.arange(17)[:, None], np.arange(18)[None]
    sums = own * inside + (16 - own) * between - other * inside - (17 - other) * between
    exact = (stats.binom.pmf(own, 16, 0.25) * stats.binom.pmf(other, 17, 0.035))[sums > 0].sum()
    np.testing.assert_allclose(exact, 0.986, atol=0.0005)  # what the docstring states
    score = np.where(edges == 1, inside, between) * off
    own_sum, other_sum = (score * same).sum(2), (score * ~same).sum(2)
    np.testing.assert_allclose((own_sum > other_sum).mean(), exact, atol=0.006)


def test_the_spectrum_finds_the_communities(made):
    table = made(graphs, 0.6, 0.05)
    _, vectors = np.linalg.eigh(table["adjacency"][:40].astype(np.float64))
    guess = vectors[:, :, -2] > 0
    right = (guess == table["y"][:40]).mean(1)
    assert np.maximum(right, 1 - right).mean() > 0.97


def test_errors(key):
    with pytest.raises(ValueError, match="num_nodes must be at least 3, got 2"):
        data.graphs(key, 1, num_nodes=2, num_communities=3)
    with pytest.raises(ValueError, match="inside must be between 0 and 1"):
        data.graphs(jax.random.key(0), 1, inside=2)
