"""The Gaussian process against scikit-learn, the acquisition against SciPy, the search against random points."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from jaxdl import search

# Each program runs once, so it is compiled without what would make it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
jit = functools.partial(jax.jit, compiler_options=QUICK)

RNG = np.random.default_rng(0)
POINTS, QUERIES = RNG.random((12, 2)), RNG.random((7, 2))
VALUES = np.sin(5 * POINTS[:, 0]) + POINTS[:, 1] ** 2
VALUES = VALUES - VALUES.mean()


@pytest.mark.parametrize(("length_scale", "variance", "noise"), [(0.4, 1.7, 1e-3), (1.5, 0.3, 0.05)])
def test_posterior_and_likelihood_as_scikit_learn(length_scale, variance, noise):
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    kernels = gaussian_process.kernels
    theirs = gaussian_process.GaussianProcessRegressor(
        kernels.ConstantKernel(variance) * kernels.Matern(length_scale, nu=2.5),
        alpha=variance * noise,
        optimizer=None,
    ).fit(POINTS, VALUES)
    mean, std = theirs.predict(QUERIES, return_std=True)

    @jit
    def ours(points, values, where):
        process = search.gaussian_process(points, values, length_scale, variance, noise, where)
        free = search.gaussian_process(points, values, length_scale, None, noise, where)
        return *search.posterior(process, jnp.asarray(QUERIES)), process.log_likelihood, free

    with jax.enable_x64(True):
        # Rows that are not known, whatever stands in them, change nothing.
        extra = np.concatenate([POINTS[:5], np.full((3, 2), 0.5), POINTS[5:]])
        values = np.concatenate([VALUES[:5], [np.inf, np.nan, 1e9], VALUES[5:]])
        where = np.array([True] * 5 + [False] * 3 + [True] * 7)
        got_mean, got_std, likelihood, free = ours(
            jnp.asarray(extra), jnp.asarray(values), jnp.asarray(where)
        )
        np.testing.assert_allclose(got_mean, mean, rtol=1e-8)
        np.testing.assert_allclose(got_std, std, rtol=1e-8)
        np.testing.assert_allclose(likelihood, theirs.log_marginal_likelihood_value_, rtol=1e-10)
        # The variance of highest likelihood: K / s^2 is the same for all of them.
        k = (theirs.kernel_(POINTS) + variance * noise * np.eye(12)) / variance
        np.testing.assert_allclose(free.variance, VALUES @ np.linalg.solve(k, VALUES) / 12, rtol=1e-8)
        assert free.log_likelihood >= likelihood


def test_expected_improvement_as_scipy_and_by_integration():
    mean, std, best = np.array([0.3, -0.2, 1.0, 0.5, 0.2, 50]), np.array([0.5, 0.1, 0.2, 0.0, 0.0, 1.0]), 0.4
    with np.errstate(divide="ignore"):
        z = (best - mean) / std
    want = np.where(
        std > 0,
        (best - mean) * scipy.stats.norm.cdf(z) + std * scipy.stats.norm.pdf(z),
        np.maximum(best - mean, 0),
    )

    @jit
    def both(mean, std):
        total = lambda mean, std: search.expected_improvement(mean, std, best).sum()  # noqa: E731
        return search.expected_improvement(mean, std, best), *jax.grad(total, argnums=(0, 1))(mean, std)

    with jax.enable_x64(True):
        got, by_mean, by_std = both(jnp.asarray(mean), jnp.asarray(std))
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-300)
    assert (np.asarray(got) >= 0).all()
    np.testing.assert_allclose(by_mean[:3], -scipy.stats.norm.cdf(z[:3]), rtol=1e-10)
    np.testing.assert_allclose(by_std[:3], scipy.stats.norm.pdf(z[:3]), rtol=1e-10)
    assert np.isfinite(by_mean).all()
    integral, _ = scipy.integrate.quad(
        lambda y: max(best - y, 0) * scipy.stats.norm.pdf(y, 0.3, 0.5), -5, best
    )
    np.testing.assert_allclose(got[0], integral, rtol=1e-8)


def test_bad_input():
    process = jax.eval_shape(lambda x: search.gaussian_process(x, jnp.zeros(2), 1.0), jnp.ones((2, 3)))
    for match, call in (
        ("values must have shape", lambda: search.gaussian_process(jnp.ones((2, 3)), jnp.zeros(3), 1.0)),
        ("points must have rank 2", lambda: search.gaussian_process(jnp.ones(2), jnp.zeros(2), 1.0)),
        ("queries must have shape", lambda: search.posterior(process, jnp.ones((1, 2)))),
        ("std must have the shape", lambda: search.expected_improvement(jnp.ones(2), jnp.ones(3), 0.0)),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def branin(x):
    a, b = 15 * x[0] - 5, 15 * x[1]
    valley = b - 5.1 / (4 * jnp.pi**2) * a**2 + 5 / jnp.pi * a - 6
    return valley**2 + 10 * (1 - 1 / (8 * jnp.pi)) * jnp.cos(a) + 10


HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ],
    np.float32,
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ],
    np.float32,
)


def hartmann(x):
    heights = jnp.array([1.0, 1.2, 3.0, 3.2])
    return -jnp.vdot(heights, jnp.exp(-jnp.sum(HARTMANN_A * jnp.square(x[None] - HARTMANN_P), axis=1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "dimensions", "steps", "minimum", "within"),
    [
        pytest.param(branin, 2, 40, 0.397887, 0.05, id="branin"),
        pytest.param(hartmann, 6, 80, -3.32237, 0.3, id="hartmann"),
    ],
)
def test_beats_random_search_at_equal_evaluations(function, dimensions, steps, minimum, within):
    box = np.zeros(dimensions), np.ones(dimensions)
    keys = jax.random.split(jax.random.key(0), 10)

    def run(method):
        solve = functools.partial(search.run, method, function, iterations=steps)
        return np.asarray(search.multiple_restarts(solve, keys).every.value)

    learned = run(search.bayesian_optimization(*box, capacity=steps))
    blind = run(search.random_search(*box))
    assert np.median(learned) < minimum + within
    assert learned.max() < np.median(blind)
    assert (learned < blind).mean() > 0.9
