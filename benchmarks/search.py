"""A population of a thousand for a thousand generations: this library's search, evosax's and SciPy's.

Each side is a whole run from its own random start, with the same scheme and settings; the random numbers differ. What
is compared is 1 + the best value found, so all sides must have found the minimum, 0.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import Row, Run, Side, Target

EDGE = 5.0  # of the box, in every coordinate
CHUNK = 100  # generations in one program of evosax's, whose loop is the user's
WEIGHT, CROSSOVER = 0.5, 0.7  # of differential evolution
SPREAD = 3.0  # first standard deviation of CMA-ES


def _ours(make: Callable[[Any], Any], function: str, dimensions: int, generations: int) -> Side:
    def build() -> Run:
        import jax

        from jaxdl import search

        method, value_fn = make(EDGE * np.ones(dimensions)), getattr(search, function)
        solve = jax.jit(lambda key: search.run(method, value_fn, key, iterations=generations).value)
        key = jax.random.key(0)

        def run(units: int) -> float:
            return 1 + min(float(solve(jax.random.fold_in(key, i))) for i in range(units // generations))

        return run

    return Side("jaxdl", build, quantum=generations)


def _evosax(make: Callable[[Any], tuple[Any, Any, Any]], function: str, chunk: int) -> Side:
    """`make` takes a key and gives the algorithm, its parameters and its first state."""

    def build() -> Run:
        import jax

        from jaxdl import search

        value_fn = jax.vmap(getattr(search, function))
        algorithm, params, first = make(value_fn)

        def generation(state: Any, key: Any) -> tuple[Any, None]:
            asked, told = jax.random.split(key)
            points, state = algorithm.ask(asked, state, params)
            return algorithm.tell(told, points, value_fn(points), state, params)[0], None

        generations = jax.jit(lambda state, keys: jax.lax.scan(generation, state, keys)[0], donate_argnums=0)
        start = jax.jit(first)

        def run(units: int) -> float:
            key = jax.random.key(0)
            state = start(key)
            for i in range(units // chunk):
                state = generations(state, jax.random.split(jax.random.fold_in(key, i), chunk))
            return 1 + float(state.best_fitness)

        return run

    return Side("evosax", build, needs=("evosax",), quantum=chunk)


def _scipy_differential_evolution(dimensions: int, population: int) -> Side:
    def build() -> Run:
        import scipy.optimize

        def ackley(x: np.ndarray) -> np.ndarray:
            root, wave = np.sqrt(np.mean(x**2, axis=0)), np.cos(2 * np.pi * x).mean(axis=0)
            return -20 * np.exp(-0.2 * root) - np.exp(wave) + 20 + np.e

        def run(units: int) -> float:
            found = scipy.optimize.differential_evolution(
                ackley,
                [(-EDGE, EDGE)] * dimensions,
                strategy="rand1bin",
                maxiter=units - 1,
                popsize=population // dimensions,
                tol=0,
                mutation=WEIGHT,
                recombination=CROSSOVER,
                rng=0,
                polish=False,
                init="random",
                updating="deferred",
                vectorized=True,
            )
            return 1 + found.fun

        return run

    return Side("scipy", build, needs=("scipy",), quantum=10)


def differential_evolution_row(
    population: int = 1000, generations: int = 1000, dimensions: int = 10, chunk: int = CHUNK
) -> Row:
    """DE/rand/1/bin on Ackley's function."""

    def ours(edge: Any) -> Any:
        from jaxdl import search

        return search.differential_evolution(-edge, edge, population, WEIGHT, CROSSOVER)

    def theirs(value_fn: Any) -> tuple[Any, Any, Any]:
        import jax
        import jax.numpy as jnp
        from evosax.algorithms.population_based.differential_evolution import DifferentialEvolution

        algorithm = DifferentialEvolution(population, jnp.zeros(dimensions))
        params = algorithm.default_params.replace(
            elitism=False,
            crossover_rate=CROSSOVER,
            differential_weight=WEIGHT,
            differential_weight_min=WEIGHT,
            differential_weight_max=WEIGHT,
        )

        def first(key: Any) -> Any:
            points = jax.random.uniform(key, (population, dimensions), minval=-EDGE, maxval=EDGE)
            return algorithm.init(key, points, value_fn(points), params)

        return algorithm, params, first

    return Row(
        name="differential_evolution",
        trains=f"DE/rand/1/bin on Ackley's function in {dimensions}-D, {population:,} individuals",
        sides=[
            _ours(ours, "ackley", dimensions, generations),
            _evosax(theirs, "ackley", chunk),
            _scipy_differential_evolution(dimensions, population),
        ],
        targets=[
            Target("never slower than evosax, within 3 %", "evosax", "jaxdl", at_least=0.97),
            Target("10 times the speed of SciPy", "scipy", "jaxdl", at_least=10.0),
        ],
        unit="generation",
        units=generations,
        whole=True,
    )


def cma_es_row(
    population: int = 1000, generations: int = 1000, dimensions: int = 20, chunk: int = CHUNK
) -> Row:
    """CMA-ES with negative weights on Rosenbrock's function."""

    def ours(edge: Any) -> Any:
        from jaxdl import search

        return search.cma_es(-edge, edge, population, SPREAD / (2 * EDGE))

    def theirs(value_fn: Any) -> tuple[Any, Any, Any]:
        import jax
        import jax.numpy as jnp
        from evosax.algorithms.distribution_based.cma_es import CMA_ES

        del value_fn
        algorithm = CMA_ES(population, jnp.zeros(dimensions))
        params = algorithm.default_params.replace(std_init=jnp.asarray(SPREAD))

        def first(key: Any) -> Any:
            mean = jax.random.uniform(key, (dimensions,), minval=-EDGE, maxval=EDGE)
            return algorithm.init(key, mean, params)

        return algorithm, params, first

    return Row(
        name="cma_es",
        trains=f"CMA-ES on Rosenbrock's function in {dimensions}-D, {population:,} individuals",
        sides=[
            _ours(ours, "rosenbrock", dimensions, generations),
            _evosax(theirs, "rosenbrock", chunk),
        ],
        targets=[Target("never slower than evosax, within 3 %", "evosax", "jaxdl", at_least=0.97)],
        unit="generation",
        units=generations,
        whole=True,
    )


def population_rows() -> list[Row]:
    """Two methods that others have too."""
    return [differential_evolution_row(), cma_es_row()]
