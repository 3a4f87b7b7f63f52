"""Optimization without derivatives: `init(key)`, `ask`, `tell` on arrays, and `run`, which is compiled whole.

    found = search.run(search.cma_es(lower, upper), search.rosenbrock, key, iterations=200)
    found.point, found.value, found.values

A method fits in `jax.jit` and `jax.vmap` like any function; `multiple_restarts` is that `vmap` over keys or
starts. Everything is minimized.
"""

from jaxdl.search.ants import ant_colony
from jaxdl.search.ask_tell import Found, Restarts, SearchMethod, multiple_restarts, run
from jaxdl.search.bayesian import (
    GaussianProcess,
    bayesian_optimization,
    expected_improvement,
    gaussian_process,
    posterior,
)
from jaxdl.search.distributions import cma_es, evolution_strategy
from jaxdl.search.functions import (
    ackley,
    beale,
    five_cities,
    himmelblau,
    rastrigin,
    rosenbrock,
    sphere,
    tour_length,
)
from jaxdl.search.populations import differential_evolution, genetic_algorithm, particle_swarm
from jaxdl.search.sampling import grid_search, latin_hypercube, random_search
from jaxdl.search.trajectories import iterated_local_search, simulated_annealing, tabu_search

__all__ = [
    "Found",
    "GaussianProcess",
    "Restarts",
    "SearchMethod",
    "ackley",
    "ant_colony",
    "bayesian_optimization",
    "beale",
    "cma_es",
    "differential_evolution",
    "evolution_strategy",
    "expected_improvement",
    "five_cities",
    "gaussian_process",
    "genetic_algorithm",
    "grid_search",
    "himmelblau",
    "iterated_local_search",
    "latin_hypercube",
    "multiple_restarts",
    "particle_swarm",
    "posterior",
    "random_search",
    "rastrigin",
    "rosenbrock",
    "run",
    "simulated_annealing",
    "sphere",
    "tabu_search",
    "tour_length",
]
