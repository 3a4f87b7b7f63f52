"""Test functions and tours: worked numbers, known minima, enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxdl import search


def test_golden_004a_7_7_and_7_9():
    found = jnp.array([0.14922262, 0.31997868, 0.21888492, 0.35663834, 0.50370858])
    np.testing.assert_allclose(search.sphere(found), 0.5534775933, rtol=1e-6)
    swarm = [0.994959137, 0.994958215, 0.994963784, 4.88302863e-06, -2.98485629]
    swarm += [1.91165848e-06, -0.994978336, 0.994958557, 1.98991050, -1.98991238]
    with jax.enable_x64(True):
        np.testing.assert_allclose(search.rastrigin(jnp.array(swarm)), 21.8890589965, atol=1.01e-10)
        assert search.rastrigin(jnp.zeros(10)) == 0


FUNCTIONS = {
    # name: (a minimum, NumPy's value of one point x float64[D])
    "sphere": (np.zeros(3), lambda x: (x**2).sum()),
    "rastrigin": (np.zeros(3), lambda x: 10 * x.size + (x**2 - 10 * np.cos(2 * np.pi * x)).sum()),
    "rosenbrock": (np.ones(3), scipy.optimize.rosen),
    "ackley": (
        np.zeros(3),
        lambda x: (
            -20 * np.exp(-0.2 * np.sqrt((x**2).mean())) - np.exp(np.cos(2 * np.pi * x).mean()) + 20 + np.e
        ),
    ),
    "himmelblau": (
        np.array([-2.805118086952745, 3.131312518250573]),
        lambda x: (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2,
    ),
    "beale": (
        np.array([3.0, 0.5]),
        lambda x: sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_minima_and_gradients(name):
    minimum, reference = FUNCTIONS[name]
    function = getattr(search, name)
    x = np.random.default_rng(0).uniform(-3, 3, (5, minimum.size))
    with jax.enable_x64(True):
        points = jnp.asarray(np.concatenate([x, minimum[None]]))
        values, gradients = jax.jit(jax.vmap(jax.value_and_grad(function)))(points)
        np.testing.assert_allclose(function(points), values, rtol=1e-12, atol=1e-28)
    np.testing.assert_allclose(values[:5], [reference(row) for row in x], rtol=1e-9)
    np.testing.assert_allclose(values[5], 0, atol=1e-9)
    for row, gradient in zip(x, gradients):
        numeric = scipy.optimize.approx_fprime(row, reference, 1e-7)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradients[5], 0, atol=1e-9)


def test_golden_004a_7_10_all_tours_of_five_cities():
    distances = search.five_cities()
    tours = np.array(list(itertools.permutations(range(5))), np.int32)
    lengths = np.asarray(search.tour_length(distances, jnp.asarray(tours)))
    assert search.tour_length(distances, jnp.array([3, 2, 0, 1, 4])) == 13
    assert lengths.min() == 13
    assert lengths.max() == 27
    # Two cycles, each with five beginnings and two directions.
    assert (lengths == 13).sum() == 20
    canonical = {tuple(t) for t in tours[(lengths == 13) & (tours[:, 0] == 0) & (tours[:, 1] == 1)]}
    assert canonical == {(0, 1, 4, 2, 3), (0, 1, 4, 3, 2)}
    by_hand = [sum(np.asarray(distances)[t[i], t[(i + 1) % 5]] for i in range(5)) for t in tours]
    np.testing.assert_array_equal(lengths, by_hand)


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        pytest.param(
            ValueError, "dimensions must be", lambda: search.rosenbrock(jnp.ones(1)), id="rosenbrock"
        ),
        pytest.param(ValueError, "must have shape", lambda: search.beale(jnp.ones(3)), id="beale"),
        pytest.param(
            ValueError, "must have shape", lambda: search.himmelblau(jnp.ones((4, 3))), id="himmelblau"
        ),
        pytest.param(
            ValueError,
            "distances must have shape",
            lambda: search.tour_length(jnp.ones((3, 2)), jnp.arange(3)),
            id="not-square",
        ),
        pytest.param(
            ValueError,
            "tour must name 5 cities",
            lambda: search.tour_length(search.five_cities(), jnp.arange(4)),
            id="short-tour",
        ),
        pytest.param(
            TypeError,
            "tour must be integers",
            lambda: search.tour_length(search.five_cities(), jnp.ones(5)),
            id="float-tour",
        ),
    ],
)
def test_bad_input(error, match, call):
    with pytest.raises(error, match=match):
        call()
