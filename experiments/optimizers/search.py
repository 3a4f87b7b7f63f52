"""Who finds a minimum without derivatives: CMA-ES Rosenbrock's, differential evolution Rastrigin's, random search none.

    python -m experiments.optimizers.search

Data: test functions (sphere, Rastrigin, Rosenbrock, Ackley, Branin, Hartmann), five cities, and random cities.

Every method of `jaxdl.search` gets 20,000 evaluations of four functions of ten numbers, from 30 seeds, all of them in
one program for each method. The minimum lies at another random place for every seed, so that no method gains from the
middle of the box; a run that ends below 0.01 is a success. Where evaluations are dear, Bayesian optimization is set
against random search at 40 of Branin's and 80 of Hartmann's function. Starts from a Latin hypercube with BFGS behind
them solve Rastrigin's function of two numbers only if there are many. Ants find the shortest tour of five cities, 13,
and come within 5 % of nearest neighbours improved by 2-opt and Or-opt on 50 random cities.
"""

import dataclasses
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.nets import Repeated
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import optim, search
from jaxdl.types import Array
from jaxdl.viz import canvas

RASTRIGIN = Claim("runs of differential evolution that solve Rastrigin's function, percent", 95.0)
ROSENBROCK = Claim("runs of CMA-ES that solve Rosenbrock's, percent", 90.0)
SPHERE = Claim("runs that solve the sphere, the least of the eight methods that learn, percent", 90.0)
BLIND = Claim("runs of random and grid search that solve any of the four, percent", 0.0, "lower")
RESTARTS = Claim("trials of many starts that solve Rastrigin's function of two numbers, percent", 80.0)
# A run that ends in Hartmann's second well is 0.12 above the deepest, an eighth of what random search leaves.
BAYES = Claim(
    "Bayesian optimization's distance from the minimum over random search's, the larger median", 0.25, "lower"
)
FIVE = Claim("colonies that find the tour of length 13, percent", 100.0)
FIFTY = Claim("tour of ants over that of the strong heuristic, 50 cities, the worst map", 1.05, "lower")

DIMENSIONS, SUCCESS = 10, 0.01
STEPS_PER_CALL = 20
BOX = np.full(DIMENSIONS, -5.12), np.full(DIMENSIONS, 5.12)
SQUARE = np.full(2, -5.12), np.full(2, 5.12)
# Made when they are needed: a method holds arrays, which would start JAX before the devices are known.
METHODS = {
    "random": partial(search.random_search, *BOX, 50),
    "grid": partial(search.grid_search, *BOX, 3, 50),
    "genetic": partial(search.genetic_algorithm, *BOX, 50, mutation_rate=0.5),
    "differential evolution": partial(search.differential_evolution, *BOX, 50, crossover=0.2),
    "particle swarm": partial(search.particle_swarm, *BOX, 50, 0.7, 1.5, 1.5),
    "evolution strategy": partial(search.evolution_strategy, *BOX),
    "CMA-ES": partial(search.cma_es, *BOX, 50),
    "annealing": partial(search.simulated_annealing, *BOX, 10, 10.0, 0.995),
    "tabu": partial(search.tabu_search, *BOX, 50),
    "iterated local search": partial(search.iterated_local_search, *BOX),
}
# Each is lowest, 0, at the origin.
FUNCTIONS = {
    "sphere": search.sphere,
    "Rastrigin": search.rastrigin,
    "Rosenbrock": lambda x: search.rosenbrock(x + 1),
    "Ackley": search.ackley,
}


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to run on the functions of ten numbers; random, differential evolution and CMA-ES among them."""
    num_seeds: int = 30
    """Runs of every method on every function."""
    num_evaluations: int = 20_000
    """Of each function in a run; a multiple of 1,000."""
    num_trials: int = 30
    """Trials of each number of starts."""
    starts: tuple[int, ...] = (1, 10, 100, 300)
    """How many starts from the hypercube a trial has."""
    bayes_seeds: int = 10
    """Runs of Bayesian optimization and of random search."""
    bayes_evaluations: tuple[int, int] = (40, 80)
    """Of Branin's and of Hartmann's function."""
    num_maps: int = 3
    """Maps of random cities."""
    num_cities: int = 50
    """Cities on each."""
    num_colonies: int = 6
    """Colonies on each; the best tour counts."""
    ant_steps: int = 200
    """Steps of 50 ants in each colony; a multiple of 20."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        preset="smoke",
        methods=("random", "differential evolution", "CMA-ES"),
        num_seeds=2,
        num_evaluations=1000,
        num_trials=2,
        starts=(1, 2),
        bayes_seeds=2,
        bayes_evaluations=(8, 15),
        num_maps=1,
        num_cities=8,
        num_colonies=1,
        ant_steps=20,
    ),
    "full": Config(preset="full", num_seeds=100, num_evaluations=200_000, bayes_seeds=30, num_colonies=20),
}


def success_rates(config: Config) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Every method on every function: rows of a table, and the best value by evaluation, [4, seeds, steps]."""
    key, place_key = jax.random.split(jax.random.key(config.seed))
    keys = jax.random.split(key, config.num_seeds)
    places = jax.random.uniform(place_key, (config.num_seeds, DIMENSIONS), minval=-2.0, maxval=2.0)
    rows, curves = [], {}
    for name in config.methods:
        method = METHODS[name]()
        asked = jax.eval_shape(lambda key: method.ask(method.init(key)), keys[0]).shape[0]  # noqa: B023
        steps = config.num_evaluations // asked

        def one(i, key, place, method=method, steps=steps):
            value = lambda x: jax.lax.switch(i, list(FUNCTIONS.values()), x - place)
            return search.run(method, value, key, iterations=steps).values

        every = jax.vmap(jax.vmap(one, (None, 0, 0)), (0, None, None))
        began = time.perf_counter()
        values = np.asarray(jax.jit(every)(jnp.arange(len(FUNCTIONS)), keys, places))
        curves[name] = values
        solved = 100 * (values[..., -1] < SUCCESS).mean(axis=1)
        rows.append(
            {
                "method": name,
                **{f"{f} %": round(float(share), 1) for f, share in zip(FUNCTIONS, solved)},
                **{
                    f"{f}, median": float(f"{v:.2g}")
                    for f, v in zip(FUNCTIONS, np.median(values[..., -1], 1))
                },
                "seconds": round(time.perf_counter() - began, 1),
            }
        )
    return rows, curves


def restarts(config: Config) -> list[dict]:
    """BFGS from starts of a Latin hypercube on Rastrigin's function of two numbers; rows of a table."""
    local = partial(
        optim.minimize,
        search.rastrigin,
        tx=optim.bfgs(),
        max_iterations=50,
        tolerance=1e-4,
        keep_trajectory=False,
    )
    rows = []
    for count in config.starts:

        def trial(key, count=count):
            return search.multiple_restarts(local, search.latin_hypercube(key, count, *SQUARE)).best.value

        keys = jax.random.split(jax.random.key(config.seed + 1), config.num_trials)
        best = np.asarray(jax.jit(jax.vmap(trial))(keys))
        solved = 100 * float((best < SUCCESS).mean())
        rows.append({"starts": count, "solved %": solved, "median value": float(np.median(best))})
    return rows


def branin(x: Array) -> Array:
    """Three minima of equal depth, 0.397887, in the unit square."""
    a, b = 15 * x[0] - 5, 15 * x[1]
    valley = b - 5.1 / (4 * jnp.pi**2) * a**2 + 5 / jnp.pi * a - 6
    return valley**2 + 10 * (1 - 1 / (8 * jnp.pi)) * jnp.cos(a) + 10


def hartmann(x: Array) -> Array:
    """Four wells in the unit cube of six numbers, the deepest -3.32237."""
    widths = [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
    places = [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
    square = jnp.square(x[None] - 1e-4 * jnp.asarray(places, jnp.float32))
    depths = jnp.exp(-jnp.sum(jnp.asarray(widths, jnp.float32) * square, axis=1))
    return -jnp.vdot(jnp.array([1.0, 1.2, 3.0, 3.2]), depths)


def bayesian(config: Config) -> tuple[list[dict], dict]:
    """Bayesian optimization and random search: rows of a table, and distances from the minimum, [seeds, steps]."""
    keys = jax.random.split(jax.random.key(config.seed + 2), config.bayes_seeds)
    rows, curves = [], {}
    known = (("Branin", branin, 2, 0.397887), ("Hartmann", hartmann, 6, -3.32237))
    for (name, value, size, lowest), count in zip(known, config.bayes_evaluations):
        box = np.zeros(size), np.ones(size)
        for kind, method in (
            (
                "Bayesian",
                search.bayesian_optimization(*box, capacity=count, num_initial=min(2 * size + 1, count)),
            ),
            ("random", search.random_search(*box)),
        ):
            solve = partial(search.run, method, value, iterations=count)
            found = search.multiple_restarts(solve, keys).every.values
            curves[name, kind] = np.maximum(np.asarray(found) - lowest, 1e-6)
            low, middle, high = np.quantile(curves[name, kind][:, -1], (0, 0.5, 1))
            row = {"function": name, "method": kind, "evaluations": count, "best": float(low)}
            rows.append({**row, "median": float(middle), "worst": float(high)})
    return rows, curves


def length(tour: np.ndarray, distances: np.ndarray) -> float:
    """Of a closed tour."""
    return float(distances[tour, np.roll(tour, -1)].sum())


def improved(tour: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """A tour that no exchange of two edges and no move of up to three cities in a row makes shorter."""
    while True:
        ahead = np.roll(tour, -1)
        edges, crossed = distances[tour, ahead], distances[tour[:, None], tour[None]]
        gain = np.triu(edges[:, None] + edges[None] - crossed - distances[ahead[:, None], ahead[None]], 1)
        i, j = np.unravel_index(np.argmax(gain), gain.shape)
        if gain[i, j] > 1e-9:
            tour = np.concatenate([tour[: i + 1], tour[i + 1 : j + 1][::-1], tour[j + 1 :]])
            continue
        best, moved = 1e-9, None
        for count in range(1, min(4, len(tour) - 2)):
            for start in range(len(tour)):
                row, rest = np.split(np.roll(tour, -start), [count])
                cut = distances[rest[-1], row[0]] + distances[row[-1], rest[0]] - distances[rest[-1], rest[0]]
                for segment in (row, row[::-1]):
                    a, b = rest[:-1], rest[1:]
                    added = distances[a, segment[0]] + distances[segment[-1], b] - distances[a, b]
                    k = int(np.argmin(added))
                    if cut - added[k] > best:
                        best, moved = cut - added[k], np.concatenate([rest[: k + 1], segment, rest[k + 1 :]])
        if moved is None:
            return tour
        tour = moved


def nearest_neighbours(start: int, distances: np.ndarray) -> np.ndarray:
    """The tour that always goes on to the nearest city not yet visited."""
    tour, left = [start], set(range(len(distances))) - {start}
    while left:
        tour.append(min(left, key=lambda city: distances[tour[-1], city]))
        left.remove(tour[-1])
    return np.array(tour)


def five_cities(config: Config) -> float:
    """Of colonies of ten ants on the five cities, those that find a tour of length 13 within 100 steps, in percent."""
    distances = search.five_cities()
    value = partial(search.tour_length, distances)
    solve = partial(search.run, search.ant_colony(distances), value, iterations=100)
    found = jax.jit(jax.vmap(solve))(jax.random.split(jax.random.key(config.seed), config.num_seeds))
    return 100 * float((found.value == 13).mean())


def ants(run: Run) -> tuple[list[dict], list[tuple]]:
    """Ants against the heuristic on maps of random cities: rows of a table, and (places, tours, history) of each map.

    Asking and telling is a step like any other, so `fit` runs the colonies, and an interrupted run resumes.
    """
    config = run.config
    rng = np.random.default_rng(config.seed)
    rows, maps = [], []
    for number in range(config.num_maps):
        places = rng.random((config.num_cities, 2))
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
        heuristic = min(
            (improved(nearest_neighbours(city, distances), distances) for city in range(config.num_cities)),
            key=partial(length, distances=distances),
        )
        method = search.ant_colony(distances.astype(np.float32), population_size=50)
        value = partial(search.tour_length, jnp.asarray(distances, jnp.float32))

        def step(state, _, method=method, value=value):
            points = method.ask(state)
            state = method.tell(state, points, jax.vmap(value)(points))
            return state, state.best_value

        def call(states, batch, step=step):
            many = lambda state: jax.lax.scan(step, state, length=STEPS_PER_CALL)
            states, lengths = jax.vmap(many)(states)
            return states, {"length": jnp.min(lengths), "length/median": jnp.median(lengths[:, -1])}

        keys = jax.random.split(jax.random.key(config.seed + number), config.num_colonies)
        states, history = run.fit(
            jax.jit(call, donate_argnums=0),
            jax.vmap(method.init)(keys),
            Repeated({}),
            num_steps=config.ant_steps // STEPS_PER_CALL,
            log_every=1,
            part=f"map-{number}",
            progress=None,
        )
        found = np.asarray(states.best_point)[int(np.argmin(states.best_value))]
        reached, wanted = length(found, distances), length(heuristic, distances)
        row = {"map": str(number), "heuristic": wanted, "ants": reached, "ratio": reached / wanted}
        rows.append({**row, "median colony": float(np.median(states.best_value)) / wanted})
        maps.append((places, heuristic, found, history))
    return rows, maps


def main(config: Config) -> int:
    """Runs every comparison."""
    for name, unit in (("num_evaluations", 1000), ("ant_steps", STEPS_PER_CALL)):
        if getattr(config, name) % unit:
            raise ValueError(f"{name} must be a multiple of {unit}, got {getattr(config, name)}")
    if not {"random", "differential evolution", "CMA-ES"} <= set(config.methods) <= set(METHODS):
        raise ValueError(
            f"methods must be of {list(METHODS)} and hold those of the claims, got {config.methods}"
        )
    run = Run("optimizers.search", config)
    began = time.perf_counter()
    rows, curves = success_rates(config)
    many = restarts(config)
    five = five_cities(config)
    tours, maps = ants(run)
    dear, regrets = bayesian(config)
    run.seconds = time.perf_counter() - began
    run.table("BFGS from a Latin hypercube, Rastrigin, two numbers", many)
    run.table("distance from the minimum", dear)
    run.table(f"{config.num_cities} cities", tours)
    run.figure("convergence", lambda: convergence(curves, config))
    run.figure("populations", lambda: populations(config))
    run.figure("bayesian", lambda: regret_panels(regrets))
    run.figure("tours", lambda: tour_panels(maps[0], config))
    solved = {row["method"]: [row[f"{name} %"] for name in FUNCTIONS] for row in rows}
    blind = solved["random"] + solved.get("grid", [])
    medians = {(row["function"], row["method"]): row["median"] for row in dear}
    return run.finish(
        [
            (RASTRIGIN, solved["differential evolution"][1]),
            (ROSENBROCK, solved["CMA-ES"][2]),
            (SPHERE, min(shares[0] for name, shares in solved.items() if name not in ("random", "grid"))),
            (BLIND, max(blind)),
            (RESTARTS, many[-1]["solved %"]),
            (BAYES, max(medians[f, "Bayesian"] / medians[f, "random"] for f in ("Branin", "Hartmann"))),
            (FIVE, five),
            (FIFTY, max(row["ratio"] for row in tours)),
        ],
        rows,
        try_next=["python -m experiments.optimizers.paths", "python -m experiments.optimizers.second_order"],
    )


def band(axes: Any, x: np.ndarray, values: np.ndarray, index: int, name: str) -> None:
    """The median over the seeds, and the quarters around it."""
    color, line, _ = canvas.look(index)
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    axes.loglog(x, middle, color=color, linestyle=line, linewidth=1.5, label=name)
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def convergence(curves: dict[str, np.ndarray], config: Config):
    """The best value by the number of evaluations, for every method, one panel for each function."""
    figure, panels = canvas.panels(len(FUNCTIONS), columns=2, width=4.6, height=3.4)
    for i, (axes, name) in enumerate(zip(panels, FUNCTIONS)):
        for k, (method, values) in enumerate(curves.items()):
            steps = values.shape[-1]
            x = np.arange(1, steps + 1) * (config.num_evaluations // steps)
            band(axes, x, np.maximum(values[i], 1e-9), k, method if i == 0 else "")
        axes.axhline(SUCCESS, color=canvas.FAINT, linewidth=1)
        canvas.style(axes, title=f"{name}, ten numbers", x="evaluations", y="best value")
    canvas.shared_legend(figure)
    return figure


def populations(config: Config):
    """What four methods ask for on Rastrigin's function of two numbers, as they go on."""
    methods = {
        "genetic": search.genetic_algorithm(*SQUARE, 30, 0.5),
        "differential evolution": search.differential_evolution(*SQUARE, 30),
        "particle swarm": search.particle_swarm(*SQUARE, 30),
        "CMA-ES": search.cma_es(*SQUARE, 30),
    }
    shown = (0, 4, 12, 30)
    figure, panels = canvas.panels(len(methods) * len(shown), columns=len(shown), width=2.3, height=2.3)
    side = np.linspace(-5.12, 5.12, 121)
    plane = np.stack(np.meshgrid(side, side), axis=-1)
    heights = np.asarray(search.rastrigin(jnp.asarray(plane)))
    for row, (name, method) in enumerate(methods.items()):

        def step(state, _, method=method):
            points = method.ask(state)
            return method.tell(state, points, search.rastrigin(points)), points

        start = method.init(jax.random.key(config.seed))
        points = np.asarray(jax.jit(lambda s, step=step: jax.lax.scan(step, s, length=31)[1])(start))
        for column, generation in enumerate(shown):
            axes = panels[row * len(shown) + column]
            axes.contourf(side, side, heights, 8, cmap="Greys_r", alpha=0.35)
            axes.plot(*points[generation].T, ".", color=canvas.COLORS[1], markersize=5)
            axes.set_xlim(-5.3, 5.3)
            axes.set_ylim(-5.3, 5.3)
            canvas.bare(axes, title=f"{name}, step {generation}")
    return figure


def regret_panels(regrets: dict):
    """The distance from the minimum by the number of evaluations."""
    names = list(dict.fromkeys(name for name, _ in regrets))
    figure, panels = canvas.panels(len(names), columns=2, width=4.4, height=3.2)
    for axes, name in zip(panels, names):
        for i, kind in enumerate(("Bayesian", "random")):
            values = regrets[name, kind]
            band(axes, np.arange(1, values.shape[1] + 1), values, i, kind)
        axes.set_xscale("linear")
        canvas.style(axes, title=name, x="evaluations", y="distance from the minimum")
    canvas.legends_below(figure)
    return figure


def tour_panels(drawn: tuple, config: Config):
    """The heuristic's tour and the ants', and how the colonies came to it."""
    places, heuristic, found, history = drawn
    figure, panels = canvas.panels(3, columns=3, width=3.6, height=3.4)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    for axes, title, tour in zip(panels, ("nearest neighbours, 2-opt, Or-opt", "ants"), (heuristic, found)):
        closed = places[np.append(tour, tour[0])]
        axes.plot(*closed.T, "-o", color=canvas.COLORS[0], markersize=4, linewidth=1.4)
        axes.set_aspect("equal")
        canvas.bare(axes, title=f"{title}: {length(tour, distances):.3f}")
    for i, (name, label) in enumerate((("length", "best colony"), ("length/median", "median colony"))):
        steps, values = history[name]
        color, line, marker = canvas.look(i)
        x = np.array(steps) * STEPS_PER_CALL
        panels[2].plot(x, values, color=color, linestyle=line, marker=marker, markersize=4, label=label)
    panels[2].axhline(length(heuristic, distances), color=canvas.INK, linewidth=1, label="heuristic")
    canvas.style(panels[2], title=f"{config.num_cities} random cities", x="step of 50 ants", y="tour length")
    panels[2].legend(frameon=False, fontsize=canvas.TICK)
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
