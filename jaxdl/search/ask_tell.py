"""What every search method is, how one runs, and what they share: boxes, the best so far.

A method is three pure functions. `ask` reads its randomness from the key and the step in the state, so it gives
the same points however often it is called, and `tell` can reconstruct how they came about.

    method = search.differential_evolution(lower, upper)
    state = method.init(key)
    points = method.ask(state)                    # [P, D], to be evaluated here or in a laboratory
    state = method.tell(state, points, values)    # [P]

Symbols: D dimensions, P points per step.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks, loops
from jaxdl.types import Array


class SearchMethod(NamedTuple):
    """A derivative-free search in the form init, ask, tell.

    Every state has `best_point` and `best_value`, the best of all that was told, float[] or +inf before.
    """

    init: Callable[..., Any]  # key -> state; methods that move one point also take `start`, float[D]
    ask: Callable[[Any], Array]  # state -> points [P, D]
    tell: Callable[[Any, Array, Array], Any]  # (state, points, values float[P]) -> state


class Found(NamedTuple):
    """Where a search ended."""

    point: Array  # the best point, [D]
    value: Array  # float[], there
    values: Array  # float[iterations], the best value after each step
    state: Any


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames=("iterations",))
def run(
    method: SearchMethod,
    value_fn: Callable[[Array], Array],
    key: Array,
    *,
    iterations: int,
    start: Array | None = None,
) -> Found:
    """Runs a search method on a function, the whole of it in one compiled program.

        found = search.run(search.particle_swarm(lower, upper), search.rastrigin, key, iterations=100)

    It costs iterations times P evaluations. Called again with the same `method` and `value_fn` objects it does not
    compile again. A population of runs is `jax.vmap(lambda key: search.run(method, f, key, iterations=n))(keys)`.

    Args:
      method: what to ask and to tell.
      value_fn: one point to the value to be minimized, float[]; NaN counts as +inf.
      key: of the whole run.
      iterations: >= 1, steps of ask and tell.
      start: first point, float[D], for methods that move one; None is a random one.

    Returns:
      A `Found`; `values` never rises.

    Raises:
      ValueError: iterations < 1.
    """
    checks.at_least(1, iterations=iterations)
    state = method.init(key) if start is None else method.init(key, start)

    def body(state, _):
        points = method.ask(state)
        state = method.tell(state, points, jax.vmap(value_fn)(points))
        return state, state.best_value

    state, values = loops.scan(body, state, length=iterations)
    return Found(state.best_point, state.best_value, values, state)


class Restarts(NamedTuple):
    """The results of several solves."""

    best: Any  # the result with the lowest value
    every: Any  # all results, stacked: leaves have a leading axis [R]


def multiple_restarts(solve: Callable[[Any], Any], starts: Any) -> Restarts:
    """Solves from many starts at once and keeps the best end: the remedy for local minima.

    best = argmin_r solve(starts_r).value

        keys = jax.random.split(key, 10)
        search.multiple_restarts(lambda k: search.run(method, f, k, iterations=100), keys)
        starts = search.latin_hypercube(key, 10, lower, upper)
        search.multiple_restarts(lambda x: optim.minimize(f, x, optim.bfgs()), starts)

    Args:
      solve: one start to a result with a field `value`, float[], such as a `Found` or `optim.Minimum`.
      starts: keys, points or a pytree of them with a leading axis [R].

    Returns:
      `Restarts`. A value that is NaN counts as +inf.
    """
    every = jax.vmap(solve)(starts)
    best = jnp.argmin(worst_if_nan(every.value))
    return Restarts(jax.tree.map(lambda x: x[best], every), every)


def worst_if_nan(values: Array) -> Array:
    """+inf where a value is NaN: a failed evaluation never wins, and never stays unnoticed in a comparison."""
    return jnp.where(jnp.isnan(values), jnp.inf, values)


def better(best_point: Array, best_value: Array, points: Array, values: Array) -> tuple[Array, Array]:
    """The best of what was known and of what has just been told: (point [D], value float[])."""
    i = jnp.argmin(values)
    improved = values[i] < best_value
    return jnp.where(improved, points[i], best_point), jnp.where(improved, values[i], best_value)


class Box(NamedTuple):
    """lower <= x <= upper, per coordinate."""

    lower: Array  # float[D]
    upper: Array  # float[D]

    @property
    def size(self) -> int:
        return self.lower.shape[0]

    @property
    def dtype(self) -> Any:
        return self.lower.dtype

    @property
    def width(self) -> Array:
        return self.upper - self.lower

    def clip(self, points: Array) -> Array:
        """The nearest allowed points to points [..., D]."""
        return jnp.clip(points, self.row(self.lower, points), self.row(self.upper, points))

    def scale(self, fractions: Array) -> Array:
        """Points [..., D] at fractions in [0, 1] of the box."""
        points = self.row(self.lower, fractions) + fractions * self.row(self.width, fractions)
        return self.clip(points)  # rounding may step over an edge

    def stretch(self, fractions: Array) -> Array:
        """Displacements [..., D] in fractions of the box, in units of the coordinates."""
        return fractions * self.row(self.width, fractions)

    def uniform(self, key: Array, *shape: int) -> Array:
        """Random points [*shape, D]."""
        return self.scale(uniforms(key, *shape, self.size, dtype=self.dtype))

    def first(self, key: Array, start: Any = None) -> Array:
        """The start, moved into the box, or a random point, float[D]."""
        if start is None:
            return self.uniform(key)
        checks.shape((self.size,), start=start)
        return self.clip(jnp.asarray(start, self.dtype))

    @staticmethod
    def row(x: Array, like: Array) -> Array:
        return x.reshape((1,) * (like.ndim - 1) + x.shape)


def box(lower: Any, upper: Any) -> Box:
    """Checks the bounds of a search.

    Raises:
      ValueError: not two vectors of one length, without coordinates, not finite, or lower >= upper somewhere.
    """
    lower, upper = (x if isinstance(x, jax.Array) else np.asarray(x) for x in (lower, upper))
    checks.rank(1, lower=lower, upper=upper)
    checks.same_shape(lower=lower, upper=upper)
    checks.at_least(1, dimensions=np.shape(lower)[0])
    if not any(isinstance(x, jax.core.Tracer) for x in (lower, upper)):
        low, high = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(f"lower must be below upper, both finite, got {low} and {high}")
    dtype = jnp.promote_types(jnp.result_type(lower, upper), jnp.float32)
    return Box(jnp.asarray(lower, dtype), jnp.asarray(upper, dtype))


def first_best(size: int, dtype: Any) -> tuple[Array, Array]:
    """`best_point` and `best_value` before anything was told: NaN and +inf."""
    return jnp.full(size, jnp.nan, dtype), jnp.asarray(jnp.inf, dtype)


def uniforms(key: Array, *shape: int, dtype: Any) -> Array:
    """`jax.random.uniform(key, shape, dtype)`, drawn as one row.

    The numbers are the same; XLA compiles it for a CPU five times faster than a draw of several axes.
    """
    return jax.random.uniform(key, (math.prod(shape),), dtype).reshape(shape)


def normals(key: Array, *shape: int, dtype: Any) -> Array:
    """`jax.random.normal(key, shape, dtype)`, drawn as one row; see `uniforms`."""
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def index_below(size: int, fraction: Array) -> Array:
    """floor(fraction size): from uniform numbers in [0, 1) to uniform indices below `size`, int32[...]."""
    return jnp.minimum((fraction * size).astype(jnp.int32), size - 1)


def distinct(fractions: Array, size: int, taken: Array | None = None) -> list[Array]:
    """Different indices below `size` from uniform numbers, one for each column.

    Each index counts only what is left, then steps over what is not, in rising order; no permutation of all has to
    be sorted.

    Args:
      fractions: float[M, count], uniform in [0, 1).
      size: more than `count`.
      taken: an index that is none of them, int32[M], or None.

    Returns:
      `count` arrays int32[M], different in every row.
    """
    chosen, used = [], [] if taken is None else [taken]
    for column in fractions.T:
        index = index_below(size - len(used), column)
        for other in used:
            index = index + (index >= other)
        chosen.append(index)
        rest, used_before, used = index, used, []
        for other in used_before:
            used.append(jnp.minimum(rest, other))
            rest = jnp.maximum(rest, other)
        used.append(rest)
    return chosen
