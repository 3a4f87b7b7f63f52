"""A normal distribution that learns where the good points are, and how wide to look.

Lengths are fractions of the box. Symbols: m mean, sigma step size, D dimensions, lambda = P points per step, the
mu best of which count; x_{i:lambda} the i-th best.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.search.ask_tell import Box, SearchMethod, better, box, first_best, normals, worst_if_nan
from jaxdl.types import Array


def _fractions(bounds: Box, points: Array) -> Array:
    return (points - bounds.row(bounds.lower, points)) / bounds.row(bounds.width, points)


class EvolutionStrategyState(NamedTuple):
    key: Array
    step: Array  # int32[]
    mean: Array  # in fractions of the box, float[D]
    step_size: Array  # sigma, likewise, float[]
    best_point: Array
    best_value: Array


def evolution_strategy(
    lower: Any,
    upper: Any,
    population_size: int = 40,
    num_parents: int | None = None,
    step_size: float = 0.2,
) -> SearchMethod:
    """Offspring around a mean, each with its own step size, which is selected along with the point.

    sigma_i = sigma exp(tau N_i(0, 1)),  x_i = m + sigma_i N_i(0, I),  tau = 1 / sqrt(2 D)
    m <- mean of x_{1:lambda} ... x_{mu:lambda},  sigma <- geometric mean of their sigma_i

    The strategy (mu/mu, lambda) with self-adaptation. One sigma serves all directions; `cma_es` learns each. The
    gradient that an evolution strategy estimates, for networks, is `rules.evolution_gradient`.

    Args:
      lower: float[D].
      upper: float[D]; points end at the edge.
      population_size: lambda >= 2.
      num_parents: mu in 1 ... lambda - 1; None is lambda / 4.
      step_size: first sigma > 0.

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Rechenberg 1973; Schwefel 1977; Beyer & Schwefel, "Evolution strategies: a comprehensive
    introduction", 2002, figure 1 and section 4.2.
    """
    bounds = box(lower, upper)
    checks.at_least(2, population_size=population_size)
    parents = max(1, population_size // 4) if num_parents is None else num_parents
    checks.between(1, population_size - 1, num_parents=parents)
    checks.positive(step_size=step_size)
    learning_rate = 1 / math.sqrt(2 * bounds.size)

    def init(key: Array, start: Array | None = None) -> EvolutionStrategyState:
        key, start_key = jax.random.split(key)
        mean = _fractions(bounds, bounds.first(start_key, start))
        sigma = jnp.asarray(step_size, bounds.dtype)
        best = first_best(bounds.size, bounds.dtype)
        return EvolutionStrategyState(key, jnp.zeros((), jnp.int32), mean, sigma, *best)

    def offspring(state: EvolutionStrategyState) -> tuple[Array, Array]:
        size_key, point_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        sizes = jax.random.normal(size_key, (population_size,), bounds.dtype)
        sizes = state.step_size * jnp.exp(learning_rate * sizes)
        noise = normals(point_key, population_size, bounds.size, dtype=bounds.dtype)
        return bounds.scale(state.mean[None] + sizes[:, None] * noise), sizes

    def ask(state: EvolutionStrategyState) -> Array:
        return offspring(state)[0]

    def tell(state: EvolutionStrategyState, points: Array, values: Array) -> EvolutionStrategyState:
        values = worst_if_nan(values)
        chosen = jnp.argsort(values)[:parents]
        sizes = offspring(state)[1]
        return EvolutionStrategyState(
            state.key,
            state.step + 1,
            _fractions(bounds, points[chosen]).mean(axis=0),
            jnp.exp(jnp.log(sizes[chosen]).mean()),
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)


class CmaEsState(NamedTuple):
    key: Array
    step: Array  # int32[]
    mean: Array  # m, in fractions of the box, float[D]
    step_size: Array  # sigma, float[]
    covariance: Array  # C, float[D, D]
    step_path: Array  # p_sigma, float[D]
    covariance_path: Array  # p_c, float[D]
    best_point: Array
    best_value: Array


def _recombination_weights(size: int, dimensions: int) -> tuple[np.ndarray, float, dict[str, float]]:
    """Weights w_i, mu_eff and the learning rates of table 1."""
    raw = math.log((size + 1) / 2) - np.log(np.arange(1, size + 1))
    mu = size // 2
    best, rest = raw[:mu], raw[mu:]
    mu_eff = best.sum() ** 2 / (best**2).sum()
    n = dimensions
    c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)
    c_mu = min(1 - c_1, 2 * (1 / 4 + mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + mu_eff))
    c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
    rates = {
        "c_1": c_1,
        "c_mu": c_mu,
        "c_c": (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n),
        "c_sigma": c_sigma,
        "d_sigma": 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma,
    }
    mu_eff_rest = rest.sum() ** 2 / (rest**2).sum()
    # The sum of the negative weights: no more than keeps C positive definite and its trace steady.
    limit = min(1 + c_1 / c_mu, 1 + 2 * mu_eff_rest / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu))
    negative = raw < 0
    weights = np.where(negative, limit * raw / -raw[negative].sum(), raw / raw[~negative].sum())
    return weights, float(mu_eff), rates


def cma_es(
    lower: Any, upper: Any, population_size: int | None = None, step_size: float = 0.3
) -> SearchMethod:
    """Adapts a normal distribution to the shape of the function: the first choice from about 5 to 100 dimensions.

    x_i = m + sigma y_i,  y_i ~ N(0, C),  w_1 >= ... >= w_mu > 0 >= ... >= w_lambda,  <y> = sum_{i<=mu} w_i y_{i:lambda}
    m <- m + sigma <y>
    p_sigma <- (1 - c_sigma) p_sigma + sqrt(c_sigma (2 - c_sigma) mu_eff) C^-1/2 <y>
    sigma <- sigma exp(c_sigma / d_sigma (|p_sigma| / E|N(0, I)| - 1))
    p_c <- (1 - c_c) p_c + h sqrt(c_c (2 - c_c) mu_eff) <y>
    C <- (1 + c_1 (1 - h) c_c (2 - c_c) - c_1 - c_mu sum_i w_i) C
         + c_1 p_c p_c' + c_mu sum_i w_i^o y_{i:lambda} y_{i:lambda}'

    w_i^o is w_i, or w_i D / |C^-1/2 y_{i:lambda}|^2 where w_i < 0; h is 0 where p_sigma is long, else 1. Invariant to
    monotone changes of the values and, away from the edges, to rotations of the box.

    Args:
      lower: float[D].
      upper: float[D]; points end at the edge, and the distribution learns from them as they ended. Coordinates
        are scaled to the box, so C = I at first is as wide in each as the box.
      population_size: lambda >= 4; None is 4 + floor(3 ln D). Larger ones see through many local minima.
      step_size: first sigma > 0.

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Hansen, "The CMA evolution strategy: a tutorial", 2016, arXiv:1604.00772, equations 5, 9, 43 to 47 and
    49 to 58, table 1, with negative weights.
    Differs in the edges, which the tutorial does not have; and in decomposing C every step.
    """
    bounds = box(lower, upper)
    n = bounds.size
    size = 4 + int(3 * math.log(n)) if population_size is None else population_size
    checks.at_least(4, population_size=size)
    checks.positive(step_size=step_size)
    host_weights, mu_eff, rates = _recombination_weights(size, n)
    c_1, c_mu, c_c, c_sigma = (rates[name] for name in ("c_1", "c_mu", "c_c", "c_sigma"))
    mu = size // 2
    expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
    weights = jnp.asarray(host_weights, bounds.dtype)

    def init(key: Array, start: Array | None = None) -> CmaEsState:
        key, start_key = jax.random.split(key)
        zeros = jnp.zeros(n, bounds.dtype)
        return CmaEsState(
            key,
            jnp.zeros((), jnp.int32),
            _fractions(bounds, bounds.first(start_key, start)),
            jnp.asarray(step_size, bounds.dtype),
            jnp.eye(n, dtype=bounds.dtype),
            zeros,
            zeros,
            *first_best(n, bounds.dtype),
        )

    def spread(state: CmaEsState) -> tuple[Array, Array]:
        """C = B diag(d^2) B': the axes B and their lengths d."""
        squares, axes = jnp.linalg.eigh(state.covariance)
        # Rounding may leave a tiny eigenvalue below 0.
        return axes, jnp.sqrt(jnp.maximum(squares, jnp.finfo(squares.dtype).eps * squares[-1]))

    def in_range(sigma: Array, covariance: Array, path: Array) -> tuple[Array, Array, Array]:
        """The same distribution, where C tends to 0 and sigma to infinity, as they do in large populations.

        Only sigma^2 C and sigma p_c count. What one gives the other is a power of 2, so nothing is rounded.
        """
        size = jnp.trace(covariance) / n
        half_exponent = jnp.frexp(size)[1] // 2
        shift = jnp.where((size > 2.0**-20) & (size < 2.0**20), 0, half_exponent)
        covariance, path = jnp.ldexp(covariance, -2 * shift), jnp.ldexp(path, -shift)
        # Once all points are one, sigma falls for ever; at 0 it would make 0 / 0 of their distances from the mean.
        return jnp.maximum(jnp.ldexp(sigma, shift), jnp.finfo(sigma.dtype).tiny ** 0.5), covariance, path

    def ask(state: CmaEsState) -> Array:
        axes, lengths = spread(state)
        noise = normals(jax.random.fold_in(state.key, state.step), size, n, dtype=bounds.dtype)
        return bounds.scale(state.mean[None] + state.step_size * (noise * lengths[None]) @ axes.T)

    def tell(state: CmaEsState, points: Array, values: Array) -> CmaEsState:
        values = worst_if_nan(values)
        ranked = points[jnp.argsort(values)]
        y = (_fractions(bounds, ranked) - state.mean[None]) / state.step_size
        axes, lengths = spread(state)
        mean_y = weights[:mu] @ y[:mu]
        whitened = axes @ ((axes.T @ mean_y) / lengths)
        step_path = (1 - c_sigma) * state.step_path
        step_path += math.sqrt(c_sigma * (2 - c_sigma) * mu_eff) * whitened
        path_length = jnp.linalg.norm(step_path)
        sigma = state.step_size * jnp.exp(c_sigma / rates["d_sigma"] * (path_length / expected - 1))
        typical = jnp.sqrt(-jnp.expm1(2 * (state.step + 1) * math.log1p(-c_sigma)))
        h = jnp.where(path_length / typical < (1.4 + 2 / (n + 1)) * expected, 1, 0)
        covariance_path = (1 - c_c) * state.covariance_path
        covariance_path += h * math.sqrt(c_c * (2 - c_c) * mu_eff) * mean_y
        # |C^-1/2 y| by the axes; the length is that of the coordinates along them.
        squares = jnp.sum(jnp.square((y @ axes) / lengths[None]), axis=1)
        signed = weights * jnp.where(weights < 0, n / jnp.where(squares > 0, squares, 1), 1)
        kept = 1 + c_1 * (1 - h) * c_c * (2 - c_c) - c_1 - c_mu * host_weights.sum()
        covariance = kept * state.covariance + c_1 * jnp.outer(covariance_path, covariance_path)
        covariance += c_mu * (signed[:, None] * y).T @ y
        sigma, covariance, covariance_path = in_range(sigma, covariance, covariance_path)
        return CmaEsState(
            state.key,
            state.step + 1,
            state.mean + state.step_size * mean_y,
            sigma,
            (covariance + covariance.T) / 2,
            step_path,
            covariance_path,
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)
