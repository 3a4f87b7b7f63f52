"""Populations that breed: genetic algorithm, differential evolution, particle swarm.

Symbols: P individuals, D dimensions or genes, f the value to be minimized (fitness is -f).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.search.ask_tell import (
    SearchMethod,
    better,
    box,
    distinct,
    first_best,
    index_below,
    uniforms,
    worst_if_nan,
)
from jaxdl.types import Array


class GeneticState(NamedTuple):
    key: Array
    step: Array  # int32[]
    points: Array  # the generation to be evaluated, float[P, D]
    best_point: Array
    best_value: Array


def genetic_algorithm(
    lower: Any, upper: Any, population_size: int = 50, mutation_rate: float = 0.05
) -> SearchMethod:
    """Half survives, pairs of survivors cross, now and then a gene changes.

    survivors: the better half of the generation
    child = (mother_1 ... mother_c, father_{c+1} ... father_D),  c uniform in 1 ... D - 1
    with probability mutation_rate one gene of the child <- U(lower, upper)

    The survivors are evaluated again along with their children, as is fit where f is noisy; the best never gets
    worse.

    Args:
      lower: float[D].
      upper: float[D].
      population_size: P >= 4.
      mutation_rate: in [0, 1], per child. As no gene is ever shifted by a little, the last digits come from it
        alone.

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Holland, "Adaptation in natural and artificial systems", 1975; Goldberg 1989; truncation selection as
    in Muhlenbein & Schlierkamp-Voosen 1993.
    """
    bounds = box(lower, upper)
    checks.at_least(4, population_size=population_size)
    checks.between(0, 1, mutation_rate=mutation_rate)
    survivors = population_size // 2

    def bred(key: Array, parents: Array) -> Array:
        children = population_size - survivors
        draw = uniforms(key, children, 6, dtype=bounds.dtype)
        mothers, fathers = distinct(draw[:, :2], survivors)
        genes = jnp.arange(bounds.size)[None]
        cut = 1 + index_below(max(bounds.size - 1, 1), draw[:, 2:3])
        crossed = jnp.where(genes < cut, parents[mothers], parents[fathers])
        mutates = (genes == index_below(bounds.size, draw[:, 3:4])) & (draw[:, 4:5] < mutation_rate)
        return jnp.where(mutates, bounds.scale(jnp.broadcast_to(draw[:, 5:6], crossed.shape)), crossed)

    def init(key: Array) -> GeneticState:
        key, start_key = jax.random.split(key)
        points = bounds.uniform(start_key, population_size)
        return GeneticState(key, jnp.zeros((), jnp.int32), points, *first_best(bounds.size, bounds.dtype))

    def ask(state: GeneticState) -> Array:
        return state.points

    def tell(state: GeneticState, points: Array, values: Array) -> GeneticState:
        values = worst_if_nan(values)
        parents = points[jnp.argsort(values)[:survivors]]
        children = bred(jax.random.fold_in(state.key, state.step), parents)
        return GeneticState(
            state.key,
            state.step + 1,
            jnp.concatenate([parents, children]),
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)


class DifferentialEvolutionState(NamedTuple):
    key: Array
    step: Array  # int32[]
    points: Array  # float[P, D]
    values: Array  # float[P]; +inf before the first tell
    best_point: Array
    best_value: Array


def differential_evolution(
    lower: Any,
    upper: Any,
    population_size: int = 50,
    weight: float = 0.5,
    crossover: float = 0.7,
) -> SearchMethod:
    """Moves every individual by differences between others, which shrink as the population contracts.

    mutant_i = clip(x_a + F (x_b - x_c)),  a, b, c different from each other and from i
    trial_ij = mutant_ij where U(0, 1) < CR or j = j_i, else x_ij,  j_i random
    x_i <- trial_i if f(trial_i) <= f(x_i)

    The scheme DE/rand/1/bin. The first step evaluates the population itself.

    Args:
      lower: float[D].
      upper: float[D].
      population_size: P >= 4, some 5 to 10 per dimension.
      weight: F > 0, usually 0.4 to 1.
      crossover: CR in [0, 1]; near 0 for separable functions, near 1 otherwise.

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Storn & Price, "Differential evolution: a simple and efficient heuristic for global optimization over
    continuous spaces", 1997.
    Differs from implementations without j_i, where a trial may equal its target.
    """
    bounds = box(lower, upper)
    checks.at_least(4, population_size=population_size)
    checks.positive(weight=weight)
    checks.between(0, 1, crossover=crossover)

    def init(key: Array) -> DifferentialEvolutionState:
        key, start_key = jax.random.split(key)
        points = bounds.uniform(start_key, population_size)
        values = jnp.full(population_size, jnp.inf, bounds.dtype)
        return DifferentialEvolutionState(
            key, jnp.zeros((), jnp.int32), points, values, *first_best(bounds.size, bounds.dtype)
        )

    def ask(state: DifferentialEvolutionState) -> Array:
        key = jax.random.fold_in(state.key, state.step)
        draw = uniforms(key, population_size, bounds.size + 4, dtype=bounds.dtype)
        others = distinct(draw[:, :3], population_size, taken=jnp.arange(population_size))
        a, b, c = (state.points[i] for i in others)
        gene, crosses = draw[:, 3:4], draw[:, 4:] < crossover
        mutants = bounds.clip(a + weight * (b - c))
        forced = jnp.arange(bounds.size)[None] == index_below(bounds.size, gene)
        trials = jnp.where(crosses | forced, mutants, state.points)
        return jnp.where(state.step == 0, state.points, trials)

    def tell(state: DifferentialEvolutionState, points: Array, values: Array) -> DifferentialEvolutionState:
        values = worst_if_nan(values)
        replaced = values <= state.values
        return DifferentialEvolutionState(
            state.key,
            state.step + 1,
            jnp.where(replaced[:, None], points, state.points),
            jnp.where(replaced, values, state.values),
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)


class ParticleSwarmState(NamedTuple):
    key: Array
    step: Array  # int32[]
    points: Array  # float[P, D]
    velocities: Array  # float[P, D]
    own_points: Array  # the best place of each particle, float[P, D]
    own_values: Array  # float[P]
    best_point: Array  # of the swarm
    best_value: Array


def particle_swarm(
    lower: Any,
    upper: Any,
    population_size: int = 30,
    inertia: float = 0.5,
    cognitive: float = 1.0,
    social: float = 1.5,
) -> SearchMethod:
    """Particles that fly on, each drawn to its own best place and to the swarm's.

    v <- w v + c1 r1 (own - x) + c2 r2 (best - x),  r1, r2 ~ U(0, 1) per particle and dimension
    x <- clip(x + v);  at first x ~ U(lower, upper), v ~ U(-1, 1)

    Args:
      lower: float[D].
      upper: float[D].
      population_size: P >= 1.
      inertia: w in [0, 1).
      cognitive: c1 >= 0.
      social: c2 >= 0. It contracts where c1 + c2 < 24 (1 - w^2) / (7 - 5 w).

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Kennedy & Eberhart, "Particle swarm optimization", 1995; the inertia: Shi & Eberhart, "A modified
    particle swarm optimizer", 1998; the condition: Poli 2009.
    """
    bounds = box(lower, upper)
    checks.at_least(1, population_size=population_size)
    checks.decay(inertia=inertia)
    checks.non_negative(cognitive=cognitive, social=social)

    def init(key: Array) -> ParticleSwarmState:
        key, points_key, velocities_key = jax.random.split(key, 3)
        points = bounds.uniform(points_key, population_size)
        velocities = 2 * uniforms(velocities_key, *points.shape, dtype=bounds.dtype) - 1
        values = jnp.full(population_size, jnp.inf, bounds.dtype)
        best = first_best(bounds.size, bounds.dtype)
        return ParticleSwarmState(key, jnp.zeros((), jnp.int32), points, velocities, points, values, *best)

    def ask(state: ParticleSwarmState) -> Array:
        return state.points

    def tell(state: ParticleSwarmState, points: Array, values: Array) -> ParticleSwarmState:
        values = worst_if_nan(values)
        improved = values < state.own_values
        own_points = jnp.where(improved[:, None], points, state.own_points)
        own_values = jnp.where(improved, values, state.own_values)
        best_point, best_value = better(state.best_point, state.best_value, points, values)
        key = jax.random.fold_in(state.key, state.step)
        to_own, to_best = uniforms(key, 2, *points.shape, dtype=bounds.dtype)
        # Before any finite value there is no best place, and no pull to it.
        goal = jnp.where(jnp.isinf(best_value), points, best_point[None])
        pull = cognitive * to_own * (own_points - points) + social * to_best * (goal - points)
        velocities = inertia * state.velocities + pull
        return ParticleSwarmState(
            state.key,
            state.step + 1,
            bounds.clip(points + velocities),
            velocities,
            own_points,
            own_values,
            best_point,
            best_value,
        )

    return SearchMethod(init, ask, tell)
