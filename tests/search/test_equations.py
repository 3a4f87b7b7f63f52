"""One step of each method against its published equations, in float64 NumPy, by enumeration or by frequency."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxdl import search

# Each program runs once, so it is compiled without what would make it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
jit = functools.partial(jax.jit, compiler_options=QUICK)

KEY = jax.random.key(5)
LOWER, UPPER = np.array([-2.0, -1.0, -5.0]), np.array([4.0, 3.0, 0.5])
WIDTH = UPPER - LOWER


def steps(method, value_fn, count, **start):
    """[(state, points, values, next state)] of the first steps."""

    @jit
    def step(state):
        points = method.ask(state)
        values = value_fn(points)
        return points, values, method.tell(state, points, values)

    state, done = jit(method.init)(KEY, **start), []
    for _ in range(count):
        points, values, following = step(state)
        done.append((state, np.asarray(points, np.float64), np.asarray(values, np.float64), following))
        state = following
    return done


class TutorialCma:
    """Hansen's tutorial, arXiv:1604.00772, appendix A and table 1, line by line."""

    def __init__(self, mean, sigma, size):
        n = mean.size
        self.n, self.m, self.sigma, self.g = n, mean, sigma, 0
        self.c, self.p_sigma, self.p_c = np.eye(n), np.zeros(n), np.zeros(n)
        self.mu = size // 2
        w = np.array([math.log((size + 1) / 2) - math.log(i) for i in range(1, size + 1)])
        self.mu_eff = w[: self.mu].sum() ** 2 / (w[: self.mu] ** 2).sum()
        mu_minus = w[self.mu :].sum() ** 2 / (w[self.mu :] ** 2).sum()
        self.c_c = (4 + self.mu_eff / n) / (n + 4 + 2 * self.mu_eff / n)
        self.c_1 = 2 / ((n + 1.3) ** 2 + self.mu_eff)
        self.c_mu = min(
            1 - self.c_1, 2 * (0.25 + self.mu_eff + 1 / self.mu_eff - 2) / ((n + 2) ** 2 + self.mu_eff)
        )
        self.c_s = (self.mu_eff + 2) / (n + self.mu_eff + 5)
        self.d_s = 1 + 2 * max(0, math.sqrt((self.mu_eff - 1) / (n + 1)) - 1) + self.c_s
        alphas = (
            1 + self.c_1 / self.c_mu,
            1 + 2 * mu_minus / (self.mu_eff + 2),
            (1 - self.c_1 - self.c_mu) / (n * self.c_mu),
        )
        self.w = [x / w[w > 0].sum() if x >= 0 else min(alphas) * x / abs(w[w < 0].sum()) for x in w]
        self.e = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))

    def tell(self, points, values):
        self.g += 1
        y = [(points[i] - self.m) / self.sigma for i in np.argsort(values)]
        mean_y = sum(w * v for w, v in zip(self.w[: self.mu], y))
        squares, axes = np.linalg.eigh(self.c)
        root = axes @ np.diag(squares**-0.5) @ axes.T
        self.m = self.m + self.sigma * mean_y
        self.p_sigma = (1 - self.c_s) * self.p_sigma + math.sqrt(
            self.c_s * (2 - self.c_s) * self.mu_eff
        ) * root @ mean_y
        norm = np.linalg.norm(self.p_sigma)
        self.sigma = self.sigma * math.exp(self.c_s / self.d_s * (norm / self.e - 1))
        short = norm / math.sqrt(1 - (1 - self.c_s) ** (2 * self.g)) < (1.4 + 2 / (self.n + 1)) * self.e
        self.p_c = (1 - self.c_c) * self.p_c + short * math.sqrt(
            self.c_c * (2 - self.c_c) * self.mu_eff
        ) * mean_y
        delta = (1 - short) * self.c_c * (2 - self.c_c)
        c = (1 + self.c_1 * delta - self.c_1 - self.c_mu * sum(self.w)) * self.c
        c = c + self.c_1 * np.outer(self.p_c, self.p_c)
        for w, v in zip(self.w, y):
            scale = 1 if w >= 0 else self.n / np.linalg.norm(root @ v) ** 2
            c = c + self.c_mu * w * scale * np.outer(v, v)
        self.c = c


@pytest.mark.parametrize("size", [None, 13])
def test_cma_es_is_the_tutorials(size):
    start = np.array([1.0, 1.5, -3.0])
    with jax.enable_x64(True):
        method = search.cma_es(LOWER, UPPER, size, step_size=0.1)
        done = steps(method, lambda x: jnp.sum(x**2 * jnp.array([[1, 30, 4.0]]), axis=-1), 6, start=start)
        paper = TutorialCma((start - LOWER) / WIDTH, 0.1, done[0][1].shape[0])
        assert done[0][1].shape[0] == (size or 4 + int(3 * math.log(3)))
        for _, points, values, state in done:
            paper.tell((points - LOWER) / WIDTH, values)
            for got, want in (
                (state.mean, paper.m),
                (state.step_size, paper.sigma),
                (state.covariance, paper.c),
                (state.step_path, paper.p_sigma),
                (state.covariance_path, paper.p_c),
            ):
                np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_cma_es_samples_its_distribution():
    method = search.cma_es(np.full(2, -100.0), np.full(2, 100.0), 20000)
    state = method.init(KEY, np.array([20.0, -10.0]))
    covariance = np.array([[4.0, 1.5], [1.5, 1.0]])
    state = state._replace(step_size=jnp.asarray(0.01), covariance=jnp.asarray(covariance))
    points = np.asarray(jit(method.ask)(state))
    np.testing.assert_allclose(np.mean(points, axis=0), [20, -10], atol=0.1)
    np.testing.assert_allclose(np.cov(points.T), 4 * covariance, rtol=0.05)  # (0.01 * 200)^2


def test_evolution_strategy_selects_points_with_their_step_sizes():
    with jax.enable_x64(True):
        start = np.array([1.0, 1.0, -2.0])
        method = search.evolution_strategy(-100 + 0 * LOWER, 100 + 0 * LOWER, 12, 4, step_size=0.05)
        done = steps(method, lambda x: jnp.sum(x**2, axis=-1), 3, start=start)
        for state, points, values, following in done:
            chosen = np.argsort(values)[:4]
            fractions = (points + 100) / 200
            np.testing.assert_allclose(following.mean, fractions[chosen].mean(axis=0), rtol=1e-12)
            # Two step sizes divide out of the noise: offspring are m + sigma_i z with log(sigma_i / sigma) ~ tau N.
            size_key = jax.random.split(jax.random.fold_in(state.key, state.step))[0]
            sizes = state.step_size * np.exp(jax.random.normal(size_key, (12,), jnp.float64) / math.sqrt(6))
            np.testing.assert_allclose(
                following.step_size, scipy.stats.gmean(np.asarray(sizes)[chosen]), rtol=1e-12
            )
        big = search.evolution_strategy(-100 + 0 * LOWER, 100 + 0 * LOWER, 50000, step_size=0.01)
        noise = np.asarray(jit(lambda key: big.ask(big.init(key, 0 * LOWER)))(KEY))
        # The spread of a log-normal mixture: 4 exp(2 tau^2), tau^2 = 1/6.
        np.testing.assert_allclose(noise.var(axis=0), 4 * math.exp(1 / 3), rtol=0.03)


def test_differential_evolution_by_enumeration():
    """Every trial is the target with coordinates of one mutant, of all that three others can make."""
    with jax.enable_x64(True):
        method = search.differential_evolution(LOWER, UPPER, 5, weight=0.6, crossover=0.5)
        done = steps(method, lambda x: jnp.sum(x**2, axis=-1), 12)
        np.testing.assert_array_equal(done[0][1], done[0][0].points)
        taken = []
        for state, trials, values, following in done[1:]:
            population = np.asarray(state.points)
            for i, trial in enumerate(trials):
                others = itertools.permutations([k for k in range(5) if k != i], 3)
                mutants = [
                    np.clip(population[a] + 0.6 * (population[b] - population[c]), LOWER, UPPER)
                    for a, b, c in others
                ]
                kept = np.isclose(trial, population[i], rtol=0, atol=1e-13)
                fits = [np.allclose(trial[~kept], m[~kept], rtol=0, atol=1e-12) for m in mutants]
                assert any(fits)
                taken.append((~kept).sum())
            better = values <= np.asarray(state.values)
            np.testing.assert_array_equal(following.points, np.where(better[:, None], trials, population))
            np.testing.assert_array_equal(following.values, np.where(better, values, state.values))
        assert min(taken) >= 1
        # One coordinate for certain, each other with probability one half.
        np.testing.assert_allclose(np.mean(taken), 2, atol=0.3)


def test_particle_swarm_moves_as_published():
    with jax.enable_x64(True):
        method = search.particle_swarm(LOWER, UPPER, 6, 0.6, 0.9, 1.4)
        done = steps(method, lambda x: jnp.sum(x**2, axis=-1), 5)
        own, own_values, best, best_value = np.zeros((6, 3)), np.full(6, np.inf), None, np.inf
        for state, points, values, following in done:
            improved = values < own_values
            own, own_values = np.where(improved[:, None], points, own), np.minimum(values, own_values)
            if values.min() < best_value:
                best, best_value = points[values.argmin()], values.min()
            draw = jax.random.uniform(jax.random.fold_in(state.key, state.step), (36,), jnp.float64)
            r1, r2 = np.asarray(draw).reshape(2, 6, 3)
            v = 0.6 * np.asarray(state.velocities) + 0.9 * r1 * (own - points) + 1.4 * r2 * (best - points)
            np.testing.assert_allclose(following.velocities, v, rtol=1e-12)
            np.testing.assert_allclose(following.points, np.clip(points + v, LOWER, UPPER), rtol=1e-12)
        assert np.abs(done[0][0].velocities).max() <= 1


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_genetic_algorithm_crosses_survivors(rate):
    method = search.genetic_algorithm(LOWER, UPPER, 9, rate)
    mutations, cuts = [], []
    for state, points, values, following in steps(method, lambda x: jnp.sum(x**2, axis=-1), 12):
        np.testing.assert_array_equal(points, state.points)
        parents, children = np.asarray(following.points)[:4], np.asarray(following.points)[4:]
        np.testing.assert_array_equal(parents, points[np.argsort(values)[:4]].astype(np.float32))
        assert children.shape == (5, 3)
        for child in children:
            differing = {
                (cut, int((child != np.concatenate([a[:cut], b[cut:]])).sum()))
                for a, b in itertools.permutations(parents, 2)
                for cut in (1, 2)
            }
            fewest = min(count for _, count in differing)
            mutations.append(fewest)
            cuts += [cut for cut, count in differing if count == fewest]
    assert set(cuts) == {1, 2}
    assert max(mutations) == rate  # no gene at rate 0, one at rate 1 unless a parent has it too


def test_annealing_accepts_by_metropolis():
    """From value 1, proposals of value 2 at temperature 1.5 and then 1.5 * 0.8; better ones always."""
    size = 40000
    method = search.simulated_annealing(LOWER, UPPER, size, initial_temperature=1.5, cooling=0.8)
    ask, tell = jit(method.ask), jit(method.tell)
    start = jit(method.init)(KEY)._replace(values=jnp.ones(size))
    for step, temperature in ((1, 1.5), (2, 1.2)):
        state = start._replace(step=jnp.asarray(step))
        points = ask(state)
        moved = np.asarray(tell(state, points, jnp.full(size, 2.0)).values == 2)
        want = math.exp(-1 / temperature)
        assert abs(moved.mean() - want) < 4 * math.sqrt(want * (1 - want) / size)
        assert (np.asarray(tell(state, points, jnp.full(size, 0.5)).values) == 0.5).all()
    # Steps have the width step_size sqrt(T / T0) of the box, where the edge is far.
    inner = start._replace(
        step=jnp.asarray(2), points=jnp.asarray(np.tile(np.float32([1, 1, -2]), (size, 1)))
    )
    spread = (np.asarray(ask(inner)) - [1.0, 1, -2]).std(axis=0)
    np.testing.assert_allclose(spread, 0.1 * math.sqrt(0.8) * WIDTH, rtol=0.02)


def test_tabu_search_does_not_go_back():
    method = search.tabu_search(LOWER, UPPER, 12, tabu_size=5, tabu_radius=0.05)
    visited, aspirations = [], 0
    for state, points, values, following in steps(method, lambda x: jnp.sum(x**2, axis=-1), 40):
        here = np.asarray(state.point)
        near = [any(np.abs((p - v) / WIDTH).max() <= 0.05 + 1e-6 for v in visited[-5:]) for p in points]
        allowed = [v if not t or v < state.best_value else np.inf for v, t in zip(values, near)]
        want = here if np.isinf(min(allowed)) else points[int(np.argmin(allowed))]
        np.testing.assert_allclose(following.point, want, atol=1e-6)
        aspirations += near[int(np.argmin(allowed))] and not np.isinf(min(allowed))
        visited.append(here)
        # Neighbours lie in shells, the far ones first.
        radii = np.linalg.norm((points - here) / WIDTH, axis=1)
        assert (radii <= np.geomspace(0.25, 1e-5, 12) * 1.01 + 1e-6).all()
    assert aspirations > 3


def test_iterated_local_search_kicks_descends_and_accepts():
    method = search.iterated_local_search(LOWER, UPPER, 8, local_steps=6)
    done = steps(method, search.rastrigin, 30)
    homes = []
    for step, (state, points, values, following) in enumerate(done):
        best = values.min()
        if step % 6 == 0:
            homes.append(float(state.home_value))
            assert following.value == best
            assert following.radius == np.float32(0.02)
        else:
            improved = best < state.value
            assert following.value == (best if improved else state.value)
            assert following.radius == state.radius * (2 if improved else 0.5)
            spread = np.abs((points - np.asarray(state.point)) / WIDTH).max()
            assert spread < 6 * float(state.radius)
        if step % 6 == 5:
            assert following.home_value == min(following.value, state.home_value)
    assert homes[0] == np.inf
    assert (np.diff(homes[1:]) <= 0).all()
    assert len(set(homes)) > 2


def test_samplers():
    found = [
        points for _, points, _, _ in steps(search.grid_search(LOWER, UPPER, (3, 1, 4), 5), search.sphere, 3)
    ]
    axes = [np.linspace(-2, 4, 3), [1.0], np.linspace(-5, 0.5, 4)]
    grid = np.array(list(itertools.product(*axes)))
    np.testing.assert_allclose(np.concatenate(found), np.concatenate([grid, grid[:3]]), atol=1e-6)
    points = np.asarray(jit(lambda key: search.latin_hypercube(key, 50, LOWER, UPPER))(KEY))
    slices = np.floor((points - LOWER) / WIDTH * 50).astype(int)
    np.testing.assert_array_equal(np.sort(slices, axis=0), np.tile(np.arange(50)[:, None], 3))
    # Strata are combined at random, and places within them are uniform.
    assert np.abs(np.corrcoef(slices.T) - np.eye(3)).max() < 0.4
    places = (points - LOWER) / WIDTH * 50 % 1
    assert scipy.stats.kstest(places.ravel(), "uniform").pvalue > 0.01
    assert scipy.stats.qmc.discrepancy((points - LOWER) / WIDTH) < 0.01
    method = search.random_search(LOWER, UPPER, 2000)
    points = np.asarray(jit(lambda key: method.ask(method.init(key)))(KEY))
    fractions = (points - LOWER) / WIDTH
    for column in fractions.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 0.01


DISTANCES = np.array([[0, 2, 9, 4], [1, 0, 6, 3], [7, 5, 0, 8], [6, 3, 2, 0]], float)  # not symmetric


def test_ants_choose_and_mark_as_published():
    size = 40000
    method = search.ant_colony(DISTANCES, size, 0.7, 2.0, 0.3, 5.0)
    state = method.init(KEY)
    scent = np.array([[1, 2, 1, 3], [1, 1, 4, 1], [2, 1, 1, 1], [1, 5, 1, 1]]) / 3.0
    state = state._replace(log_pheromone=jnp.log(jnp.asarray(scent, jnp.float32)))
    tours = np.asarray(jit(method.ask)(state))
    with np.errstate(divide="ignore"):
        weight = scent**0.7 * DISTANCES**-2.0
    counts = {}
    for tour in map(tuple, tours):
        counts[tour] = counts.get(tour, 0) + 1
    for tour in itertools.permutations(range(4)):
        chance, left = 1 / 4, set(range(4)) - {tour[0]}
        for a, b in itertools.pairwise(tour):
            chance *= weight[a, b] / sum(weight[a, j] for j in left)
            left.remove(b)
        deviation = math.sqrt(chance * (1 - chance) / size)
        assert abs(counts.get(tour, 0) / size - chance) < 4.5 * deviation, tour
    few = tours[:3]
    lengths = np.array([sum(DISTANCES[t[i], t[(i + 1) % 4]] for i in range(4)) for t in few])
    np.testing.assert_allclose(search.tour_length(jnp.asarray(DISTANCES), jnp.asarray(few)), lengths)
    want = 0.7 * scent
    for tour, length in zip(few, lengths):
        for i in range(4):
            want[tour[i], tour[(i + 1) % 4]] += 5 / length
    state = method.tell(state, jnp.asarray(few), jnp.asarray(lengths))
    np.testing.assert_allclose(np.exp(state.log_pheromone), want, rtol=1e-5)
    assert state.best_value == lengths.min()
    np.testing.assert_array_equal(state.best_point, few[lengths.argmin()])


def test_golden_004a_7_10_ants_find_the_shortest_tour():
    distances = search.five_cities()
    method = search.ant_colony(distances)
    keys = jax.random.split(KEY, 5)
    run = functools.partial(
        search.run, method, functools.partial(search.tour_length, distances), iterations=100
    )
    found = jit(jax.vmap(run))(keys)
    np.testing.assert_array_equal(found.value, 13)  # the least of all 120 by enumeration, in test_functions
    np.testing.assert_array_equal(search.tour_length(distances, found.point), 13)
    np.testing.assert_array_equal(np.sort(found.point, axis=1), np.tile(np.arange(5), (5, 1)))
    # A thousand steps of evaporation leave numbers, and cities at one place are visited in turn.
    together = np.array([[0, 0, 3], [0, 0, 4], [3, 4, 0.0]])
    lonely = search.ant_colony(together, 1, evaporation=0.9)
    done = jit(
        functools.partial(
            search.run, lonely, functools.partial(search.tour_length, jnp.asarray(together)), iterations=1000
        )
    )(KEY)
    assert done.value == 7
    assert np.isfinite(done.state.log_pheromone).all()


@pytest.mark.slow
def test_fifty_cities_within_five_percent_of_two_opt():
    rng = np.random.default_rng(0)
    places = rng.random((50, 2))
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)

    def two_opt(tour):
        improved = True
        while improved:
            improved = False
            for i in range(49):
                for j in range(i + 2, 50 - (i == 0)):
                    a, b, c, d = tour[i], tour[i + 1], tour[j], tour[(j + 1) % 50]
                    if distances[a, c] + distances[b, d] < distances[a, b] + distances[c, d] - 1e-12:
                        tour[i + 1 : j + 1] = tour[i + 1 : j + 1][::-1]
                        improved = True
        return sum(distances[tour[i], tour[(i + 1) % 50]] for i in range(50))

    strong = min(two_opt(rng.permutation(50)) for _ in range(60))
    found = search.run(
        search.ant_colony(distances, 50),
        functools.partial(search.tour_length, jnp.asarray(distances)),
        KEY,
        iterations=300,
    )
    assert found.value < 1.05 * strong


def test_cma_es_stays_alive_in_large_populations():
    """With a thousand points C falls and sigma rises, step by step, until float32 has no number for them.

    What C gives sigma is a power of 2, which rounds nothing, so the points are the same.
    """
    method = search.cma_es(-5 * np.ones(5), 5 * np.ones(5), 1000)
    found = jit(functools.partial(search.run, method, search.rosenbrock, iterations=300))(KEY)
    state = found.state
    size = float(jnp.trace(state.covariance)) / 5
    assert 2.0**-21 < size < 2.0**21
    assert bool(jnp.isfinite(state.covariance).all() & jnp.isfinite(state.mean).all() & (state.step_size > 0))
    np.testing.assert_allclose(state.mean * 10 - 5, 1, atol=1e-4)
    assert found.value < 1e-9
