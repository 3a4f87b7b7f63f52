"""Clusters: scikit-learn from the same centres, seeding by enumeration, real digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data
from jaxdl.models.competitive import KMeans
from jaxdl.models.competitive.clustering import _spread_out

# Compiled without what would make it fast: each program runs once.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def quick(function, *args):
    """The result of a program that runs once."""
    return jax.jit(function, compiler_options=QUICK)(*args)


def applied(model, variables, *xs, **options):
    """`model.apply` as one program."""
    return quick(lambda variables, xs: model.apply(variables, *xs, **options), variables, xs)


def inertia(x, centers):
    return ((np.float64(x)[:, None] - np.float64(centers)[None]) ** 2).sum(-1).min(1).sum()


def test_fit_equals_sklearn_from_given_centres():
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(200, 3)) + rng.integers(0, 3, (200, 1)) + 50)
    start = x[:5]
    variables = jax.jit(lambda x: KMeans(5).fit(x, centers=start))(x)
    oracle = cluster.KMeans(5, init=np.float64(start), n_init=1, tol=0).fit(np.float64(x))
    np.testing.assert_allclose(variables["params"]["centers"], oracle.cluster_centers_, rtol=1e-5)
    labels = applied(KMeans(5), variables, x, method="assign")
    assert labels.dtype == jnp.int32
    np.testing.assert_array_equal(labels, oracle.labels_)
    distances = applied(KMeans(5), variables, x, train=False)
    np.testing.assert_allclose(distances, oracle.transform(np.float64(x)), rtol=1e-3, atol=1e-4)
    one = quick(lambda x: KMeans(5, max_steps=1).fit(x, centers=start), x)["params"]["centers"]
    nearest = ((np.float64(x)[:, None] - start) ** 2).sum(-1).argmin(1)
    np.testing.assert_allclose(one, [x[nearest == k].mean(0) for k in range(5)], rtol=1e-5)


def test_distances_have_slopes_at_a_centre_too():
    params = {"centers": jnp.array([[1.0, 2.0], [4.0, 6.0]])}
    call = lambda x: KMeans(2).apply({"params": params}, x, train=False)  # noqa: E731
    value, slope = quick(lambda x: (call(x), jax.jacobian(call)(x)[0, :, 0]), jnp.array([[1.0, 2.0]]))
    np.testing.assert_allclose(value, [[0, 5]], atol=1e-6)
    np.testing.assert_allclose(slope, [[0, 0], [-0.6, -0.8]], atol=1e-6)


def test_next_centre_is_drawn_in_proportion_to_the_squared_distance():
    """Four points on a line, two centres: all pairs by enumeration."""
    x = jnp.array([[0.0], [1.0], [3.0], [7.0]])
    expected = np.zeros((4, 4))
    for first in range(4):
        squares = (np.asarray(x)[:, 0] - x[first, 0]) ** 2
        expected[first] = squares / squares.sum() / 4
    keys = jax.random.split(jax.random.key(0), 20_000)
    centers = np.asarray(jax.jit(jax.vmap(lambda key: _spread_out(key, x, 2)))(keys))[..., 0]
    places = np.searchsorted([0, 1, 3, 7], centers)
    share = np.zeros((4, 4))
    np.add.at(share, (places[:, 0], places[:, 1]), 1 / len(keys))
    np.testing.assert_allclose(share, expected, atol=0.012)


def test_digits_are_clustered_as_well_as_by_sklearn(key):
    cluster = pytest.importorskip("sklearn.cluster")
    x = data.digits("test")["image"].reshape(-1, 64).astype(np.float32) / 16
    centers = jax.jit(lambda key: KMeans(10, num_starts=8).fit(x, key=key))(key)["params"]["centers"]
    oracle = cluster.KMeans(10, n_init=8, random_state=0).fit(x)
    assert inertia(x, centers) < 1.02 * oracle.inertia_
    # No row wants to leave, and every centre is the mean of its rows.
    labels = np.asarray(applied(KMeans(10), {"params": {"centers": centers}}, x, method="assign"))
    np.testing.assert_allclose(centers, [x[labels == k].mean(0) for k in range(10)], atol=1e-5)
    fit = lambda x: KMeans(10, max_steps=3).fit(x, centers=x[:10].reshape(10, 64))["params"]["centers"]  # noqa: E731
    np.testing.assert_array_equal(quick(fit, x.reshape(-1, 8, 8, 1)), quick(fit, x))


def test_fewer_different_rows_than_clusters(key):
    x = jnp.repeat(jnp.array([[0.0, 0.0], [1.0, 1.0]]), 4, axis=0)
    centers = quick(lambda key: KMeans(4).fit(x, key=key), key)["params"]["centers"]
    assert np.isfinite(centers).all()
    assert inertia(x, centers) == 0
    # A centre that has no rows stays.
    far = jnp.array([[0.0, 0.0], [9.0, 9.0]])
    stayed = quick(lambda far: KMeans(2).fit(jnp.zeros((3, 2)), centers=far), far)["params"]["centers"]
    np.testing.assert_allclose(stayed, far, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda x, key: KMeans(2).fit(x), ValueError, "got neither", id="neither"),
        pytest.param(lambda x, key: KMeans(2).fit(x, key=key, centers=x[:2]), ValueError, "both", id="both"),
        pytest.param(lambda x, key: KMeans(9).fit(x, key=key), ValueError, "number of rows", id="rows"),
        pytest.param(lambda x, key: KMeans(2).fit(x, centers=x[:3]), ValueError, r"\(2, 3\)", id="centres"),
        pytest.param(lambda x, key: KMeans(2, 0).fit(x, key=key), ValueError, "num_starts", id="starts"),
        pytest.param(lambda x, key: KMeans(2).fit(x > 0, key=key), TypeError, "x must be", id="bool"),
    ],
)
def test_errors(call, error, message, key):
    with pytest.raises(error, match=message):
        call(jnp.ones((5, 3)), key)
