"""Few, expensive evaluations: a Gaussian process over what is known says where to look next."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.scipy.stats import norm

from jaxdl import checks
from jaxdl.search.ask_tell import SearchMethod, better, box, first_best, normals, uniforms, worst_if_nan
from jaxdl.search.sampling import latin_hypercube
from jaxdl.types import Array


def _matern(a: Array, b: Array, length_scale: Any) -> Array:
    """Matern kernel of smoothness 5/2 and variance 1, between rows: float[A, B]."""
    square = jnp.sum(jnp.square((a[:, None] - b[None]) / length_scale), axis=-1)
    r = jnp.sqrt(5 * square)
    return (1 + r + 5 / 3 * square) * jnp.exp(-r)


class GaussianProcess(NamedTuple):
    """A Gaussian process given some values."""

    points: Array  # float[N, D]
    where: Array  # bool[N], which of them are known
    length_scale: Array  # float[]
    variance: Array  # of the process, in squared units of the values, float[]
    factor: Array  # lower Cholesky factor of the correlations, noise included, float[N, N]
    weights: Array  # correlations^-1 values, float[N]
    log_likelihood: Array  # of the values, nats, float[]


def gaussian_process(
    points: Array,
    values: Array,
    length_scale: Any,
    variance: Any = None,
    noise: Any = 1e-4,
    where: Array | None = None,
) -> GaussianProcess:
    """Conditions a Gaussian process of mean 0 on values: a distribution over functions through them.

    k(a, b) = s^2 (1 + r + r^2 / 3) exp(-r),  r = sqrt(5) |a - b| / l
    log p(y) = -(y' K^-1 y + log det K + N log 2 pi) / 2,  K = k(X, X) + s^2 noise I

    Args:
      points: X, float[N, D].
      values: y, float[N], centred.
      length_scale: l > 0, in units of the points.
      variance: s^2 > 0; None takes the one of highest likelihood, y' (K / s^2)^-1 y / N.
      noise: > 0, variance of the observations in units of s^2; also keeps K invertible.
      where: bool[N], which points are known; None is all.

    Returns:
      A `GaussianProcess` for `posterior`.

    Raises:
      ValueError: shapes that do not fit.

    Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, algorithm 2.1, equation 4.17.
    """
    checks.rank(2, points=points)
    checks.shape(points.shape[:1], values=values)
    where = jnp.ones(values.shape, bool) if where is None else where
    checks.shape(points.shape[:1], where=where)
    both = where[:, None] & where[None]
    identity = jnp.eye(values.shape[0], dtype=points.dtype)
    # A point that is not known becomes a row of the identity: independent of all others, with value 0.
    correlations = jnp.where(both, _matern(points, points, length_scale) + noise * identity, identity)
    y = jnp.where(where, values, 0)
    factor = jnp.linalg.cholesky(correlations)
    weights = cho_solve((factor, True), y)
    count = jnp.sum(where)
    fit = jnp.vdot(y, weights)
    variance = fit / count if variance is None else jnp.asarray(variance, points.dtype)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor))) + count * jnp.log(variance)
    log_likelihood = -(fit / variance + log_det + count * math.log(2 * math.pi)) / 2
    length_scale = jnp.asarray(length_scale, points.dtype)
    return GaussianProcess(points, where, length_scale, variance, factor, weights, log_likelihood)


def posterior(process: GaussianProcess, queries: Array) -> tuple[Array, Array]:
    """What a Gaussian process expects elsewhere.

    mean = k(x, X) K^-1 y,  std^2 = k(x, x) - k(x, X) K^-1 k(X, x)

    Args:
      process: from `gaussian_process`.
      queries: x, float[M, D].

    Returns:
      Mean and standard deviation of the function itself, without noise, float[M] each, in units of the values.

    Source: Rasmussen & Williams 2006, equations 2.25 and 2.26.
    """
    checks.shape((None, process.points.shape[1]), queries=queries)
    cross = jnp.where(process.where[:, None], _matern(process.points, queries, process.length_scale), 0)
    explained = jnp.sum(jnp.square(solve_triangular(process.factor, cross, lower=True)), axis=0)
    return process.weights @ cross, jnp.sqrt(process.variance * jnp.maximum(1 - explained, 0))


def expected_improvement(mean: Array, std: Array, best_value: Any) -> Array:
    """How much lower than the best value so far a normally distributed value is expected to be.

    E max(best - Y, 0) = (best - mean) Phi(z) + std phi(z),  z = (best - mean) / std;  max(best - mean, 0) for std = 0

    Args:
      mean: of Y, float[...].
      std: of Y, float[...], >= 0.
      best_value: lowest value so far, float[].

    Returns:
      float[...] >= 0, in units of the values.

    Source: Mockus 1978; Jones, Schonlau & Welch, "Efficient global optimization of expensive black-box
    functions", 1998, equation 15.
    """
    checks.same_shape(mean=mean, std=std)
    gain = best_value - mean
    positive = jnp.where(std > 0, std, 1)
    z = gain / positive
    return jnp.where(
        std > 0, jnp.maximum(gain * norm.cdf(z) + positive * norm.pdf(z), 0), jnp.maximum(gain, 0)
    )


class BayesianState(NamedTuple):
    key: Array
    step: Array  # int32[], evaluations told
    points: Array  # in fractions of the box, float[N, D]
    values: Array  # float[N]; +inf where the evaluation failed
    best_point: Array
    best_value: Array


def bayesian_optimization(
    lower: Any,
    upper: Any,
    capacity: int = 100,
    num_initial: int | None = None,
    num_candidates: int = 1000,
    noise: float = 1e-4,
) -> SearchMethod:
    """Looks where a Gaussian process expects the largest improvement: for functions worth minutes a call.

    x = argmax EI(x) over random candidates, half of the box, half around the best point at distances 10^-1 ... 10^-3
    EI as in `expected_improvement`, of the process given all values so far, scaled to mean 0 and deviation 1

    The first points are a Latin hypercube. The length scale is the one of highest likelihood among 16 from 0.05 to
    5 diagonals per root of D, the variance follows. A step costs capacity^3; P = 1.

    Args:
      lower: float[D].
      upper: float[D].
      capacity: N >= 1, evaluations that are remembered; the oldest make room for more.
      num_initial: in 1 ... N, points before the process is asked; None is 2 D + 1.
      num_candidates: >= 2, among which the next point is chosen.
      noise: > 0, variance of the observations in units of that of the process.

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Mockus 1978; Jones, Schonlau & Welch, "Efficient global optimization of expensive black-box
    functions", 1998; Snoek, Larochelle & Adams, "Practical Bayesian optimization of machine learning
    algorithms", 2012 (the kernel).
    """
    bounds = box(lower, upper)
    n = bounds.size
    initial = 2 * n + 1 if num_initial is None else num_initial
    checks.at_least(1, capacity=capacity)
    checks.between(1, capacity, num_initial=initial)
    checks.at_least(2, num_candidates=num_candidates)
    checks.positive(noise=noise)
    scales = jnp.geomspace(0.05, 5, 16, dtype=bounds.dtype) * math.sqrt(n)

    def init(key: Array) -> BayesianState:
        key, design_key = jax.random.split(key)
        # The first points wait where they will be known once their values are told.
        design = latin_hypercube(
            design_key, initial, jnp.zeros_like(bounds.lower), jnp.ones_like(bounds.lower)
        )
        points = jnp.zeros((capacity, n), bounds.dtype).at[:initial].set(design)
        values = jnp.full(capacity, jnp.inf, bounds.dtype)
        best = first_best(n, bounds.dtype)
        return BayesianState(key, jnp.zeros((), jnp.int32), points, values, *best)

    def from_process(state: BayesianState) -> Array:
        known = jnp.isfinite(state.values)
        count = jnp.maximum(jnp.sum(known), 1)
        y = jnp.where(known, state.values, 0)
        center = jnp.sum(y) / count
        deviation = jnp.sqrt(jnp.sum(jnp.where(known, jnp.square(y - center), 0)) / count)
        y = (y - center) / jnp.where(deviation > 0, deviation, 1)

        def condition(scale):
            return gaussian_process(state.points, y, scale, noise=noise, where=known)

        likelihoods = jax.vmap(lambda scale: condition(scale).log_likelihood)(scales)
        process = condition(scales[jnp.argmax(worst_if_nan(-likelihoods) * -1)])
        uniform_key, near_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        near = num_candidates // 2
        everywhere = uniforms(uniform_key, num_candidates - near, n, dtype=bounds.dtype)
        best = state.points[jnp.argmin(state.values)]
        distances = jnp.geomspace(0.1, 0.001, near, dtype=bounds.dtype)[:, None]
        around = best[None] + distances * normals(near_key, near, n, dtype=bounds.dtype)
        candidates = jnp.concatenate([everywhere, jnp.clip(around, 0, 1)])
        mean, std = posterior(process, candidates)
        gains = expected_improvement(mean, std, jnp.min(jnp.where(known, y, jnp.inf)))
        return candidates[jnp.argmax(gains)]

    def ask(state: BayesianState) -> Array:
        first = state.points[jnp.minimum(state.step, initial - 1)]
        point = jnp.where(state.step < initial, first, from_process(state))
        return bounds.scale(point)[None]

    def tell(state: BayesianState, points: Array, values: Array) -> BayesianState:
        values = worst_if_nan(values)
        slot = state.step % capacity
        return BayesianState(
            state.key,
            state.step + 1,
            state.points.at[slot].set((points[0] - bounds.lower) / bounds.width),
            state.values.at[slot].set(values[0].astype(bounds.dtype)),
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)
