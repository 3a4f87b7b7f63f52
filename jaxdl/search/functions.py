"""Functions with known minima to try a method on, and one tour.

All but the tour take points float[..., D] and return float[...], without a unit. Each says where its minimum is.
"""

import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.types import Array


def sphere(x: Array) -> Array:
    """The easiest: f(x) = sum_i x_i^2, with f = 0 at 0, usually searched in [-5.12, 5.12]^D.

    Source: De Jong, "An analysis of the behavior of a class of genetic adaptive systems", 1975, F1.
    """
    return jnp.sum(jnp.square(x), axis=-1)


def rastrigin(x: Array) -> Array:
    """A bowl under an egg box: f(x) = 10 D + sum_i (x_i^2 - 10 cos(2 pi x_i)), with f = 0 at 0.

    A local minimum near every integer point; usually searched in [-5.12, 5.12]^D.

    Source: Rastrigin, "Systems of extremal control", 1974; for D > 2 Muhlenbein, Schomisch & Born 1991.
    """
    return 10 * x.shape[-1] + jnp.sum(jnp.square(x) - 10 * jnp.cos(2 * jnp.pi * x), axis=-1)


def rosenbrock(x: Array) -> Array:
    """A bent valley: f(x) = sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, with f = 0 at (1, ..., 1).

    D >= 2. From four dimensions on it has a second minimum near (-1, 1, ..., 1), with f about 4. Usually
    searched in [-5, 10]^D, or descended from (-1.2, 1).

    Source: Rosenbrock, "An automatic method for finding the greatest or least value of a function", 1960.
    """
    checks.at_least(2, dimensions=x.shape[-1])
    valley = x[..., 1:] - jnp.square(x[..., :-1])
    return jnp.sum(100 * jnp.square(valley) + jnp.square(1 - x[..., :-1]), axis=-1)


def ackley(x: Array) -> Array:
    """A funnel in a pitted plain, with f = 0 at 0, usually searched in [-32.768, 32.768]^D.

    f(x) = -20 exp(-0.2 sqrt(mean_i x_i^2)) - exp(mean_i cos(2 pi x_i)) + 20 + e

    It has a corner at the minimum; the gradient there is set to 0.

    Source: Ackley, "A connectionist machine for genetic hillclimbing", 1987; in this form Back 1996.
    """
    square = jnp.mean(jnp.square(x), axis=-1)
    root = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    # cos(2a) - 1 = -2 sin(a)^2: both terms are differences from the minimum, where large numbers would cancel.
    waves = jnp.mean(-2 * jnp.square(jnp.sin(jnp.pi * x)), axis=-1)
    return -20 * jnp.expm1(-0.2 * root) - jnp.e * jnp.expm1(waves)


def himmelblau(x: Array) -> Array:
    """Four minima of equal depth: f(x, y) = (x^2 + y - 11)^2 + (x + y^2 - 7)^2.

    f = 0 at (3, 2), (-2.805118, 3.131313), (-3.779310, -3.283186), (3.584428, -1.848127); usually searched in
    [-5, 5]^2.

    Source: Himmelblau, "Applied nonlinear programming", 1972.
    """
    checks.shape((2,), point=x[(0,) * (x.ndim - 1)])
    a, b = x[..., 0], x[..., 1]
    return jnp.square(jnp.square(a) + b - 11) + jnp.square(a + jnp.square(b) - 7)


def beale(x: Array) -> Array:
    """Flat, with steep corners: f(x, y) = sum_{k=1,2,3} (c_k - x (1 - y^k))^2, c = (1.5, 2.25, 2.625).

    f = 0 at (3, 0.5); usually searched in [-4.5, 4.5]^2, or descended from (1, 1).

    Source: Beale, "On an iterative method for finding a local minimum of a function of more than one variable",
    1958.
    """
    checks.shape((2,), point=x[(0,) * (x.ndim - 1)])
    a, b = x[..., 0], x[..., 1]
    terms = [jnp.square(c - a * (1 - b**k)) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    return terms[0] + terms[1] + terms[2]


def tour_length(distances: Array, tour: Array) -> Array:
    """Length of a closed tour: sum_i distances[tour_i, tour_{i+1}], with the way back to the first city.

    Args:
      distances: from the row's city to the column's, float[N, N].
      tour: order of the cities, int[..., N]; not checked for being a permutation.

    Returns:
      float[...], in the unit of the distances.

    Raises:
      ValueError: distances is not square, or tour does not name N cities.
      TypeError: tour does not hold integers.
    """
    checks.shape((np.shape(distances)[0],) * 2, distances=distances)
    checks.integer(tour=tour)
    if np.shape(tour)[-1:] != np.shape(distances)[:1]:
        raise ValueError(f"tour must name {np.shape(distances)[0]} cities, got shape {np.shape(tour)}")
    return jnp.sum(jnp.asarray(distances)[tour, jnp.roll(tour, -1, axis=-1)], axis=-1)


def five_cities() -> Array:
    """Distances between five cities, float[5, 5], whose shortest tour has length 13 and whose longest 27.

    Two cycles are shortest: 0 1 4 2 3 and 0 1 4 3 2.
    """
    return jnp.array(
        [[0, 2, 2, 5, 7], [2, 0, 4, 8, 2], [2, 4, 0, 1, 3], [5, 8, 1, 0, 6], [7, 2, 3, 6, 0]],
        jnp.result_type(float),
    )
