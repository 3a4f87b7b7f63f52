"""One point that moves: annealing, tabu lists, and local search kicked out of its minima.

Lengths (steps, radii, kicks) are fractions of the box, 0 to 1. Symbols: x the current point, f its value, D
dimensions, P points per step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.search.ask_tell import SearchMethod, better, box, first_best, normals, uniforms, worst_if_nan
from jaxdl.types import Array


class AnnealingState(NamedTuple):
    key: Array
    step: Array  # int32[]
    points: Array  # where each chain is, float[P, D]
    values: Array  # float[P]; +inf before the first tell
    best_point: Array
    best_value: Array


def simulated_annealing(
    lower: Any,
    upper: Any,
    population_size: int = 1,
    initial_temperature: float = 1.0,
    cooling: float = 0.99,
    step_size: float = 0.1,
) -> SearchMethod:
    """Walks at random, uphill too while it is hot, ever less as it cools.

    x' = x + step_size sqrt(T_t / T_0) (upper - lower) N(0, I),  T_t = cooling^t T_0
    x <- x' with probability min(1, exp(-(f(x') - f(x)) / T_t))

    Steps shrink with the root of the temperature, as does what the walk covers of a parabola at that temperature.

    Args:
      lower: float[D].
      upper: float[D]; steps end at the edge.
      population_size: P >= 1, independent chains.
      initial_temperature: T_0 > 0, in units of f: about the height of the hills to be climbed.
      cooling: in (0, 1]; cooling^iterations should end far below the differences that matter.
      step_size: > 0.

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Kirkpatrick, Gelatt & Vecchi, "Optimization by simulated annealing", 1983; Metropolis et al. 1953.
    """
    bounds = box(lower, upper)
    checks.at_least(1, population_size=population_size)
    checks.positive(initial_temperature=initial_temperature, cooling=cooling, step_size=step_size)
    checks.between(0, 1, cooling=cooling)

    def keys(state):
        return jax.random.split(jax.random.fold_in(state.key, state.step))

    def relative_temperature(state):
        # The first step only evaluates the starts.
        return jnp.asarray(cooling, bounds.dtype) ** jnp.maximum(state.step - 1, 0)

    def init(key: Array, start: Array | None = None) -> AnnealingState:
        key, start_key = jax.random.split(key)
        if start is None:
            points = bounds.uniform(start_key, population_size)
        else:
            points = jnp.tile(bounds.first(start_key, start), (population_size, 1))
        values = jnp.full(population_size, jnp.inf, bounds.dtype)
        best = first_best(bounds.size, bounds.dtype)
        return AnnealingState(key, jnp.zeros((), jnp.int32), points, values, *best)

    def ask(state: AnnealingState) -> Array:
        noise = normals(keys(state)[0], *state.points.shape, dtype=bounds.dtype)
        moved = state.points + bounds.stretch(step_size * jnp.sqrt(relative_temperature(state)) * noise)
        return jnp.where(state.step == 0, state.points, bounds.clip(moved))

    def tell(state: AnnealingState, points: Array, values: Array) -> AnnealingState:
        values = worst_if_nan(values)
        temperature = initial_temperature * relative_temperature(state)
        chance = uniforms(keys(state)[1], population_size, dtype=bounds.dtype)
        # A rise of inf - inf is NaN and not accepted.
        accepted = (values <= state.values) | (chance < jnp.exp(-(values - state.values) / temperature))
        return AnnealingState(
            state.key,
            state.step + 1,
            jnp.where(accepted[:, None], points, state.points),
            jnp.where(accepted, values, state.values),
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)


class TabuState(NamedTuple):
    key: Array
    step: Array  # int32[]
    point: Array  # current, float[D]
    tabu: Array  # points left behind, float[tabu_size, D]; NaN where there is none yet
    best_point: Array
    best_value: Array


def tabu_search(
    lower: Any,
    upper: Any,
    population_size: int = 20,
    tabu_size: int = 20,
    tabu_radius: float = 0.02,
    step_size: float = 0.25,
    smallest_step: float = 1e-5,
) -> SearchMethod:
    """Moves to the best neighbour, even if it is worse, but not back to where it has been.

    neighbours x_j = x + r_j e_j,  r_j from step_size down to smallest_step, e_j random directions of length 1
    x <- the best x_j farther than tabu_radius from the last `tabu_size` points,
         or the best of all x_j if it is better than anything found so far (aspiration)

    The prohibition drives it out of minima; within tabu_radius of a minimum only aspiration moves it on, which the
    short steps provide for. Where no neighbour is allowed it stays.

    Args:
      lower: float[D].
      upper: float[D]; neighbours end at the edge.
      population_size: P >= 2, neighbours per step.
      tabu_size: >= 1, length of the tabu list.
      tabu_radius: > 0, in the largest coordinate.
      step_size: > 0, of the farthest neighbour.
      smallest_step: > 0, of the nearest.

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Glover, "Tabu search, part I", 1989; on continuous coordinates, with neighbours in shells of geometric
    radii: Chelouah & Siarry, "Tabu search applied to global optimization", 2000.
    Differs from the latter in its one phase: diversification and intensification are the far and near shells.
    """
    bounds = box(lower, upper)
    checks.at_least(2, population_size=population_size)
    checks.at_least(1, tabu_size=tabu_size)
    checks.positive(tabu_radius=tabu_radius, step_size=step_size, smallest_step=smallest_step)

    def init(key: Array, start: Array | None = None) -> TabuState:
        key, start_key = jax.random.split(key)
        point = bounds.first(start_key, start)
        tabu = jnp.full((tabu_size, bounds.size), jnp.nan, bounds.dtype)
        best = first_best(bounds.size, bounds.dtype)
        return TabuState(key, jnp.zeros((), jnp.int32), point, tabu, *best)

    def ask(state: TabuState) -> Array:
        key = jax.random.fold_in(state.key, state.step)
        direction = normals(key, population_size, bounds.size, dtype=bounds.dtype)
        direction /= jnp.linalg.norm(direction, axis=-1, keepdims=True)
        radii = jnp.geomspace(step_size, smallest_step, population_size, dtype=bounds.dtype)
        return bounds.clip(state.point[None] + bounds.stretch(radii[:, None] * direction))

    def tell(state: TabuState, points: Array, values: Array) -> TabuState:
        values = worst_if_nan(values)
        apart = jnp.abs(points[:, None] - state.tabu[None]) / bounds.width[None, None]
        forbidden = (jnp.max(apart, axis=-1) <= tabu_radius).any(axis=-1)  # False where there is none yet
        allowed = jnp.where(forbidden & (values >= state.best_value), jnp.inf, values)
        i = jnp.argmin(allowed)
        point = jnp.where(jnp.isinf(allowed[i]), state.point, points[i])
        return TabuState(
            state.key,
            state.step + 1,
            point,
            state.tabu.at[state.step % tabu_size].set(state.point),
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)


class IteratedLocalSearchState(NamedTuple):
    key: Array
    step: Array  # int32[]
    home: Array  # the local minimum that is kicked, float[D]
    home_value: Array  # float[]
    point: Array  # where the local search is, float[D]
    value: Array  # float[]
    radius: Array  # of its steps, float[]
    best_point: Array
    best_value: Array


def iterated_local_search(
    lower: Any,
    upper: Any,
    population_size: int = 20,
    local_steps: int = 50,
    kick: float = 0.1,
    step_size: float = 0.02,
) -> SearchMethod:
    """Descends to a local minimum, kicks the point out of it, descends again, and keeps the better of the two.

    kick: x <- the best of P points home + kick (upper - lower) N(0, I)
    local search, local_steps - 1 times: x' = the best of P points x + r (upper - lower) N(0, I);
        better: x <- x', r <- 2 r; else r <- r / 2, from r = step_size
    home <- x if f(x) < f(home)

    Args:
      lower: float[D].
      upper: float[D]; steps end at the edge.
      population_size: P >= 1.
      local_steps: >= 2, steps from one kick to the next.
      kick: > 0, far enough to leave a minimum, near enough to remain in its region.
      step_size: > 0, first one of each local search.

    Raises:
      ValueError: the bounds cross, or a setting is out of its range.

    Source: Lourenco, Martin & Stutzle, "Iterated local search", 2003.
    """
    bounds = box(lower, upper)
    checks.at_least(1, population_size=population_size)
    checks.at_least(2, local_steps=local_steps)
    checks.positive(kick=kick, step_size=step_size)

    def init(key: Array, start: Array | None = None) -> IteratedLocalSearchState:
        key, start_key = jax.random.split(key)
        point = bounds.first(start_key, start)
        worst = jnp.asarray(jnp.inf, bounds.dtype)
        radius = jnp.asarray(step_size, bounds.dtype)
        best = first_best(bounds.size, bounds.dtype)
        return IteratedLocalSearchState(
            key, jnp.zeros((), jnp.int32), point, worst, point, worst, radius, *best
        )

    def ask(state: IteratedLocalSearchState) -> Array:
        key = jax.random.fold_in(state.key, state.step)
        noise = normals(key, population_size, bounds.size, dtype=bounds.dtype)
        kicked = state.step % local_steps == 0
        center, spread = jnp.where(kicked, state.home, state.point), jnp.where(kicked, kick, state.radius)
        return bounds.clip(center[None] + bounds.stretch(spread * noise))

    def tell(state: IteratedLocalSearchState, points: Array, values: Array) -> IteratedLocalSearchState:
        values = worst_if_nan(values)
        i = jnp.argmin(values)
        kicked = state.step % local_steps == 0
        improved = values[i] < state.value
        moves = kicked | improved
        point, value = jnp.where(moves, points[i], state.point), jnp.where(moves, values[i], state.value)
        radius = jnp.where(kicked, step_size, state.radius * jnp.where(improved, 2, 0.5))
        home_is_worse = ((state.step + 1) % local_steps == 0) & (value < state.home_value)
        return IteratedLocalSearchState(
            state.key,
            state.step + 1,
            jnp.where(home_is_worse, point, state.home),
            jnp.where(home_is_worse, value, state.home_value),
            point,
            value,
            radius,
            *better(state.best_point, state.best_value, points, values),
        )

    return SearchMethod(init, ask, tell)
