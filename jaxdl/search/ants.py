"""Ants that look for the shortest tour. Symbols: N cities, P ants."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.search.ask_tell import SearchMethod, better, worst_if_nan
from jaxdl.types import Array


class AntColonyState(NamedTuple):
    key: Array
    step: Array  # int32[]
    log_pheromone: Array  # log tau, from the row's city to the column's, float[N, N]
    best_point: Array  # the shortest tour, int32[N]
    best_value: Array  # its length


def ant_colony(
    distances: Array,
    population_size: int = 10,
    pheromone_exponent: float = 1.0,
    distance_exponent: float = 5.0,
    evaporation: float = 0.1,
    deposit: float = 10.0,
) -> SearchMethod:
    """Shortest closed tour through all cities, by ants that follow each other's scent.

    P(next = j) ~ tau_ij^alpha (1 / d_ij)^beta over the cities not yet visited, from a random first one
    tau <- (1 - rho) tau, then tau_ij <- tau_ij + Q / length along every ant's tour, in its direction;
    tau = 1 / N at first

    Its points are tours, int32[P, N], and its values their lengths:

        search.run(search.ant_colony(d), lambda tour: search.tour_length(d, tour), key, iterations=100)

    tau is kept as its logarithm, so that scent which evaporates for a thousand steps stays a number.

    Args:
      distances: d, from the row's city to the column's, float[N, N], >= 0; it need not be symmetric.
      population_size: P >= 1, ants.
      pheromone_exponent: alpha >= 0.
      distance_exponent: beta >= 0.
      evaporation: rho in (0, 1).
      deposit: Q > 0, in the unit of the distances.

    Raises:
      ValueError: distances is not square, has fewer than two cities, a negative, infinite or NaN entry, or a
        setting is out of its range.

    Source: Dorigo, Maniezzo & Colorni, "Ant system: optimization by a colony of cooperating agents", 1996 (the
    ant-cycle rule).
    """
    cities = np.shape(distances)[0] if np.ndim(distances) else 0
    checks.shape((cities, cities), distances=distances)
    checks.at_least(2, cities=cities)
    if not isinstance(distances, jax.core.Tracer):
        entries = np.asarray(distances)
        if not (np.isfinite(entries).all() and (entries >= 0).all()):
            raise ValueError(f"distances must be finite and at least 0, got {entries.min()} as the smallest")
    checks.at_least(1, population_size=population_size)
    checks.non_negative(pheromone_exponent=pheromone_exponent, distance_exponent=distance_exponent)
    checks.positive(evaporation=evaporation, deposit=deposit)
    checks.decay(evaporation=evaporation)
    dtype = jnp.promote_types(jnp.result_type(distances), jnp.float32)
    near = jnp.zeros((cities, cities), dtype)
    if distance_exponent:
        near = -distance_exponent * jnp.log(jnp.asarray(distances, dtype))

    def init(key: Array) -> AntColonyState:
        log_pheromone = jnp.full((cities, cities), -np.log(cities), dtype)
        tour = jnp.full(cities, -1, jnp.int32)
        return AntColonyState(key, jnp.zeros((), jnp.int32), log_pheromone, tour, jnp.asarray(jnp.inf, dtype))

    def ask(state: AntColonyState) -> Array:
        attraction = pheromone_exponent * state.log_pheromone + near

        key = jax.random.fold_in(state.key, state.step)
        ants = jnp.arange(population_size)

        def step(carry, i):
            city, visited = carry
            logits = jnp.where(visited, -jnp.inf, jnp.where(i == 0, 0, attraction[city]))
            luck = jax.random.gumbel(jax.random.fold_in(key, i), (population_size * cities,), dtype)
            city = jnp.argmax(logits + luck.reshape(logits.shape), axis=1).astype(jnp.int32)
            return (city, visited.at[ants, city].set(True)), city

        nowhere = jnp.zeros(population_size, jnp.int32), jnp.zeros((population_size, cities), bool)
        return jax.lax.scan(step, nowhere, jnp.arange(cities))[1].T

    def tell(state: AntColonyState, points: Array, values: Array) -> AntColonyState:
        values = worst_if_nan(values)
        added = jnp.broadcast_to((deposit / values).astype(dtype)[:, None], points.shape)
        scent = jnp.zeros((cities, cities), dtype).at[points, jnp.roll(points, -1, axis=1)].add(added)
        return AntColonyState(
            state.key,
            state.step + 1,
            jnp.logaddexp(state.log_pheromone + jnp.log1p(-evaporation), jnp.log(scent)),
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)
