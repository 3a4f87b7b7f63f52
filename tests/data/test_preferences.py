"""Ratings: their structure in NumPy, and the worked table."""

import jax
import numpy as np
import pytest

from jaxdl import data


def test_ratings_have_the_stated_structure_and_errors(made):
    table = made(lambda key: data.ratings(key, 1500, num_items=30))
    x, mask, y = table["x"], table["mask"], table["y"].astype(np.float64)
    expected = table["expected"].astype(np.float64)
    np.testing.assert_array_equal(x, np.where(mask, table["y"], 0))
    np.testing.assert_allclose(mask.mean(), 0.3, atol=0.01)
    np.testing.assert_allclose((y - expected).std(), 0.3, rtol=0.02)
    # Users' and items' means taken off, three dimensions of taste are left.
    tastes = expected - expected.mean(1, keepdims=True) - expected.mean(0) + expected.mean()
    values = np.linalg.svd(tastes, compute_uv=False)
    assert values[3] < 1e-4 * values[2]
    # Thirty items: the mean square of |q|^2 / rank is one up to a standard error of 0.15.
    item_means = np.where(mask, y, 0).sum(0) / mask.sum(0)
    error = np.sqrt(np.square(y - item_means)[~mask].mean())
    kinds = np.var(tastes, axis=0).mean()
    np.testing.assert_allclose(error, np.sqrt(0.09 + kinds + 0.09), rtol=0.02)
    np.testing.assert_allclose(kinds, 1, atol=0.45)
    np.testing.assert_allclose(expected.mean(), 3, atol=0.4)


def test_worked_table():
    """002-G24."""
    table = data.movie_ratings()
    assert table["mask"].sum() == 25
    assert (np.argwhere(~table["mask"]) + 1).tolist() == [[1, 3], [3, 1], [3, 6], [5, 2], [5, 5]]
    np.testing.assert_array_equal(np.isnan(table["x"]), ~table["mask"])
    np.testing.assert_allclose(np.nanmean(table["x"], axis=0), [0.5, 0.5, 0.75, 0.6, 0.5, 0.75], rtol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="observed must be between 0 and 1"):
        data.ratings(jax.random.key(0), 2, observed=1.5)
    with pytest.raises(ValueError, match="rank must be at least 1"):
        data.ratings(jax.random.key(0), 2, rank=0)
