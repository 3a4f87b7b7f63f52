"""Success rates in ten dimensions beside evosax and SciPy, at equal evaluations of the same 30 shifted functions.

The rows of `test_methods.py` say what our own rates were counted to be; these set them beside what others reach.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxdl import search

DIMENSIONS, SEEDS, EVALUATIONS = 10, 30, 20_000
BOX = -5.12 * np.ones(DIMENSIONS), 5.12 * np.ones(DIMENSIONS)
# Each is lowest, 0, at the origin. A run succeeds below the level: the last digits, or a good local minimum.
FUNCTIONS = (search.sphere, search.rastrigin, lambda x: search.rosenbrock(x + 1), search.ackley)
LEVELS = np.array([1e-3, 5.0, 9.0, 0.1])
# Two counts out of 30 of equal methods differ by more than this once in some hundred times.
CHANCE = 9


@functools.cache
def instances():
    """Keys, and where the minimum lies: elsewhere for every seed, so that the middle of the box helps nobody."""
    keys = jax.random.split(jax.random.key(0), SEEDS)
    return keys, jax.random.uniform(jax.random.key(1), (SEEDS, DIMENSIONS), minval=-2.0, maxval=2.0)


def counted(run):
    """Runs that succeed on each function, int[4]; `run(value_fn, key)` gives the best value."""
    keys, places = instances()

    def one(i, key, place):
        return run(lambda x: jax.lax.switch(i, FUNCTIONS, x - place), key)

    every = jax.jit(jax.vmap(jax.vmap(one, (None, 0, 0)), (0, None, None)))
    best = np.asarray(every(jnp.arange(len(FUNCTIONS)), keys, places))
    return (best < LEVELS[:, None]).sum(axis=1)


def ours(method, population_size):
    steps = EVALUATIONS // population_size
    return counted(lambda f, key: search.run(method, f, key, iterations=steps).value)


def evosax_run(algorithm, params, f, key):
    start_key, init_key, run_key = jax.random.split(key, 3)
    size = algorithm.population_size
    low, high = BOX[0][0], BOX[1][0]
    many = jax.vmap(f)
    if hasattr(algorithm.default_params, "std_init") or type(algorithm).__name__ == "SimulatedAnnealing":
        mean = jax.random.uniform(start_key, (DIMENSIONS,), minval=low, maxval=high)
        state = algorithm.init(init_key, mean, params)
    else:
        points = jax.random.uniform(start_key, (size, DIMENSIONS), minval=low, maxval=high)
        state = algorithm.init(init_key, points, many(points), params)

    def step(carry, key):
        state, best = carry
        ask_key, tell_key = jax.random.split(key)
        points, state = algorithm.ask(ask_key, state, params)
        values = many(points)
        state, _ = algorithm.tell(tell_key, points, values, state, params)
        return (state, jnp.minimum(best, jnp.min(jnp.where(jnp.isnan(values), jnp.inf, values)))), None

    keys = jax.random.split(run_key, EVALUATIONS // size)
    return jax.lax.scan(step, (state, jnp.asarray(jnp.inf)), keys)[0][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "population_size", "name", "changes"),
    [
        pytest.param(search.cma_es(*BOX), 10, "CMA_ES", {}, id="cma"),
        pytest.param(search.cma_es(*BOX, 50), 50, "CMA_ES", {"std_init": 3.07}, id="cma-large"),
        pytest.param(
            search.differential_evolution(*BOX, 50, 0.5, 0.7),
            50,
            "DifferentialEvolution",
            {
                "elitism": False,
                "crossover_rate": 0.7,
                "differential_weight": 0.5,
                "differential_weight_min": 0.5,
                "differential_weight_max": 0.5,
            },
            id="differential",
        ),
        pytest.param(
            search.particle_swarm(*BOX, 50, 0.7, 1.5, 1.5),
            50,
            "PSO",
            {"inertia_coeff": 0.7, "cognitive_coeff": 1.5, "social_coeff": 1.5},
            id="swarm",
        ),
        pytest.param(search.genetic_algorithm(*BOX), 50, "SimpleGA", {}, id="genetic"),
        pytest.param(
            search.simulated_annealing(*BOX, 10, 10.0, 0.995), 10, "SimulatedAnnealing", {}, id="annealing"
        ),
        pytest.param(
            search.evolution_strategy(*BOX),
            40,
            "SimpleES",
            {"std_init": 2.0},
            # (30, 24, 20, 30) against (30, 1, 30, 30): one step size for all coordinates against one for each.
            marks=pytest.mark.xfail(
                strict=True, reason="behind on Rosenbrock's function, ahead on Rastrigin's"
            ),
            id="strategy",
        ),
    ],
)
def test_no_worse_than_evosax(method, population_size, name, changes):
    algorithms = pytest.importorskip("evosax.algorithms")
    theirs = getattr(algorithms, name)(population_size, jnp.zeros(DIMENSIONS))
    params = theirs.default_params.replace(**changes)
    with jax.numpy_rank_promotion("allow"):  # evosax adds vectors to matrices
        want = counted(functools.partial(evosax_run, theirs, params))
    got = ours(method, population_size)
    assert (got >= want - CHANCE).all(), (got, want)
    assert got.sum() >= want.sum() - CHANCE, (got, want)


@pytest.mark.slow
def test_blind_search_never_succeeds():
    """What the others are measured against: 20,000 points of ten numbers are nothing."""
    for method in (search.random_search(*BOX, 50), search.grid_search(*BOX, 3, 50)):
        assert ours(method, 50).tolist() == [0, 0, 0, 0]


def annealed(value, seed, **options):
    """SciPy's annealing with as many evaluations."""
    return scipy.optimize.dual_annealing(value, list(zip(*BOX)), maxfun=EVALUATIONS, rng=seed, **options).fun


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True, reason="(30, 0, 30, 16) of 30 against 10 of 10 everywhere: SciPy visits with heavy tails"
)
def test_annealing_no_worse_than_scipys_alone():
    """`dual_annealing` without its local search, on ten of the seeds; with it, it is a multistart of L-BFGS."""
    method = search.simulated_annealing(*BOX, 10, 10.0, 0.995)
    places = np.asarray(instances()[1], float)[:10]
    functions = (
        lambda x: np.sum(x**2),
        lambda x: 10 * x.size + np.sum(x**2 - 10 * np.cos(2 * np.pi * x)),
        lambda x: scipy.optimize.rosen(x + 1),
        lambda x: (
            -20 * np.exp(-0.2 * np.sqrt(np.mean(x**2))) - np.exp(np.mean(np.cos(2 * np.pi * x))) + 20 + np.e
        ),
    )
    want = np.array(
        [
            sum(
                annealed(lambda x, p=p, f=f: f(x - p), seed, no_local_search=True, maxiter=EVALUATIONS // 20)
                < level
                for seed, p in enumerate(places)
            )
            for f, level in zip(functions, LEVELS)
        ]
    )
    got = ours(method, 10)
    assert (got / SEEDS >= want / len(places) - 0.3).all(), (got, want)
