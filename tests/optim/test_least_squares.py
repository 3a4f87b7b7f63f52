"""Gauss-Newton on the test functions that are sums of squares, beside SciPy's Levenberg-Marquardt and trust region."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxdl import optim, search

RESIDUALS = {
    # name: (residuals r with |r|^2 the function, start, minima)
    "rosenbrock": (lambda x, xp: xp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]]), [-1.2, 1.0], [(1, 1)]),
    "himmelblau": (
        lambda x, xp: xp.stack([x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7]),
        [1.0, 1.0],
        [(3, 2), (-2.805118, 3.131313), (-3.779310, -3.283186), (3.584428, -1.848127)],
    ),
    "beale": (
        lambda x, xp: xp.stack([c - x[0] * (1 - x[1] ** k) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]),
        [1.0, 0.8],
        [(3, 0.5)],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RESIDUALS)
def test_gauss_newton_takes_no_more_steps_than_scipy(name):
    residuals, start, minima = RESIDUALS[name]
    ours = functools.partial(residuals, xp=jnp)

    def loss(x):
        return jnp.sum(jnp.square(ours(x))) / 2

    tx = optim.gauss_newton(ours, linesearch=optim.wolfe_line_search())
    with jax.enable_x64(True):
        x = jnp.asarray(start)
        np.testing.assert_allclose(2 * loss(x), getattr(search, name)(x), rtol=1e-12)
        end = jax.jit(lambda x: optim.minimize(loss, x, tx, max_iterations=50, tolerance=1e-8))(x)
    assert end.converged
    assert np.abs(np.asarray(end.params) - np.array(minima)).max(axis=1).min() < 1e-5
    assert float(end.value) < 1e-15
    evaluations = []
    for method in ("lm", "trf"):
        theirs = scipy.optimize.least_squares(residuals, start, args=(np,), method=method, gtol=1e-8)
        assert np.abs(theirs.x - np.array(minima)).max(axis=1).min() < 1e-5
        evaluations.append(theirs.nfev)
    assert int(end.iterations) <= min(evaluations), (int(end.iterations), evaluations)
