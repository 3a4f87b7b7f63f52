"""Points laid out without regard to what was found: at random, on a grid, in strata.

Symbols: D dimensions, P points per step.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.search.ask_tell import Box, SearchMethod, better, box, first_best, uniforms, worst_if_nan
from jaxdl.types import Array


class SamplingState(NamedTuple):
    key: Array
    next: Array  # int32[], number of the next step, or of the next point of a grid
    best_point: Array  # float[D]
    best_value: Array  # float[]


def _without_memory(
    bounds: Box, ask: Callable[[SamplingState], Array], advance: Callable[[Array], Array]
) -> SearchMethod:
    def init(key: Array) -> SamplingState:
        return SamplingState(key, jnp.zeros((), jnp.int32), *first_best(bounds.size, bounds.dtype))

    def tell(state: SamplingState, points: Array, values: Array) -> SamplingState:
        values = worst_if_nan(values)
        best = better(state.best_point, state.best_value, points, values)
        return SamplingState(state.key, advance(state.next), *best)

    return SearchMethod(init, ask, tell)


def random_search(lower: Any, upper: Any, population_size: int = 1) -> SearchMethod:
    """Uniform points in a box, each for itself: what every other method has to beat.

    x ~ U(lower, upper)

    With few coordinates that matter among many it beats a grid of as many points, which tries each of them at few
    places.

    Args:
      lower: float[D].
      upper: float[D].
      population_size: P >= 1, points per step.

    Raises:
      ValueError: the bounds cross, or population_size < 1.

    Source: Bergstra & Bengio, "Random search for hyper-parameter optimization", 2012.
    """
    bounds = box(lower, upper)
    checks.at_least(1, population_size=population_size)

    def ask(state: SamplingState) -> Array:
        return bounds.uniform(jax.random.fold_in(state.key, state.next), population_size)

    return _without_memory(bounds, ask, lambda i: i + 1)


def grid_search(
    lower: Any, upper: Any, points_per_axis: int | tuple[int, ...], population_size: int = 1
) -> SearchMethod:
    """Every point of a regular grid, the last coordinate running fastest; the edges of the box belong to it.

    x_i in {lower_i + k (upper_i - lower_i) / (n_i - 1), k = 0 ... n_i - 1};  the middle for n_i = 1

    prod_i n_i / P steps, rounded up, visit all; then it begins anew. The key of `init` is not used.

    Args:
      lower: float[D].
      upper: float[D].
      points_per_axis: n_i >= 1, one number or D.
      population_size: P >= 1, points per step.

    Raises:
      ValueError: the bounds cross, a number is below 1, or the grid has 2^30 points or more.
    """
    bounds = box(lower, upper)
    checks.at_least(1, population_size=population_size)
    counts = (points_per_axis,) * bounds.size if isinstance(points_per_axis, int) else tuple(points_per_axis)
    checks.shape((bounds.size,), points_per_axis=counts)
    for count in counts:
        checks.at_least(1, points_per_axis=count)
    total = math.prod(counts)
    if total >= 2**30:
        raise ValueError(f"points_per_axis must make fewer than 2^30 points, got {total}")

    def ask(state: SamplingState) -> Array:
        indices = (state.next + jnp.arange(population_size)) % total
        places = jnp.unravel_index(indices, counts)
        fractions = [p / (n - 1) if n > 1 else jnp.full(p.shape, 0.5) for p, n in zip(places, counts)]
        return bounds.scale(jnp.stack(fractions, axis=-1).astype(bounds.dtype))

    return _without_memory(bounds, ask, lambda i: (i + population_size) % total)


def latin_hypercube(key: Array, count: int, lower: Any, upper: Any) -> Array:
    """Points of which every coordinate, seen alone, is spread evenly: starts for local optimizers.

    x_{k,i} = lower_i + (pi_i(k) + u_{k,i}) / n (upper_i - lower_i),  pi_i random permutations of 0 ... n - 1

    Each of the n slices of each axis holds exactly one of the n points.

    Args:
      key: random key.
      count: n >= 1.
      lower: float[D].
      upper: float[D].

    Returns:
      float[n, D].

    Raises:
      ValueError: the bounds cross, or count < 1.

    Source: McKay, Beckman & Conover, "A comparison of three methods for selecting values of input variables in
    the analysis of output from a computer code", 1979.
    """
    bounds = box(lower, upper)
    checks.at_least(1, count=count)
    shuffled, places = uniforms(key, 2, count, bounds.size, dtype=bounds.dtype)
    return bounds.scale((jnp.argsort(shuffled, axis=0) + places) / count)
