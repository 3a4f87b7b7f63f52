"""Constrained minima with known points and multipliers: linear algebra, textbooks, SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from jaxdl import optim

# Each program runs once, so it is compiled without what would make it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
jit = functools.partial(jax.jit, compiler_options=QUICK)

RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(4, 4))
MATRIX, SLOPE = ROOT @ ROOT.T + np.eye(4), RNG.normal(size=4)
ROWS, RIGHT = RNG.normal(size=(2, 4)), RNG.normal(size=2)
# Stationarity and feasibility of the quadratic under ROWS x = RIGHT are one linear system.
SOLUTION = np.linalg.solve(
    np.block([[MATRIX, ROWS.T], [ROWS, np.zeros((2, 2))]]), np.concatenate([SLOPE, RIGHT])
)


def quadratic(x):
    return jnp.vdot(x, MATRIX @ x) / 2 - jnp.vdot(SLOPE, x)


def equations(x):
    return ROWS @ x - RIGHT


def test_a_quadratic_under_equations_by_linear_algebra():
    with jax.enable_x64(True):
        end = jit(lambda x: optim.lagrange_multipliers(quadratic, equations, x))(jnp.ones(4))
        np.testing.assert_allclose(end.params, SOLUTION[:4], atol=1e-10)
        np.testing.assert_allclose(end.equality_multipliers, SOLUTION[4:], atol=1e-10)
        assert int(end.iterations) == 1
        assert end.converged
        assert max(end.residual) < 1e-10
        end = jit(lambda x: optim.augmented_lagrangian(quadratic, x, equality_fn=equations, tolerance=1e-7))(
            jnp.ones(4)
        )
        np.testing.assert_allclose(end.params, SOLUTION[:4], atol=1e-6)
        np.testing.assert_allclose(end.equality_multipliers, SOLUTION[4:], atol=1e-5)
        assert end.converged
        np.testing.assert_allclose(end.value, quadratic(SOLUTION[:4]), atol=1e-6)


def on_circle(p):
    return p["x"] ** 2 + p["y"] ** 2 - 2


def linear(p):
    return p["x"] + p["y"]


def test_a_line_on_a_circle():
    """x + y on x^2 + y^2 = 2: lowest at (-1, -1) with multiplier 1/2, highest at (1, 1) with -1/2."""
    solve = jit(lambda p: optim.lagrange_multipliers(linear, on_circle, p))
    for start, sign in ((-1.5, -1.0), (0.8, 1.0)):
        end = solve({"x": jnp.asarray(start), "y": jnp.asarray(start / 2)})
        np.testing.assert_allclose([end.params["x"], end.params["y"]], sign, atol=1e-5)
        np.testing.assert_allclose(end.equality_multipliers, [-sign / 2], atol=1e-5)
        assert end.converged
        assert end.inequality_multipliers.shape == (0,)
    # The Lagrangian's Newton method went uphill from the second start; this does not.
    end = jit(lambda p: optim.augmented_lagrangian(linear, p, equality_fn=on_circle))(
        {"x": jnp.asarray(0.8), "y": jnp.asarray(0.4)}
    )
    np.testing.assert_allclose([end.params["x"], end.params["y"]], -1, atol=1e-4)
    np.testing.assert_allclose(end.equality_multipliers, [0.5], atol=1e-4)


def rosen_suzuki(x):
    a, b, c, d = x
    return a**2 + b**2 + 2 * c**2 + d**2 - 5 * a - 5 * b - 21 * c + 7 * d


def rosen_suzuki_limits(x):
    a, b, c, d = x
    return jnp.stack(
        [
            a**2 + b**2 + c**2 + d**2 + a - b + c - d - 8,
            a**2 + 2 * b**2 + c**2 + 2 * d**2 - a - d - 10,
            2 * a**2 + b**2 + c**2 + 2 * a - b - d - 5,
        ]
    )


def test_inequalities_of_rosen_and_suzuki():
    """Hock and Schittkowski's problem 43: minimum -44 at (0, 1, 2, -1), multipliers (1, 0, 2)."""
    with jax.enable_x64(True):
        solve = jit(
            lambda x: optim.augmented_lagrangian(
                rosen_suzuki, x, inequality_fn=rosen_suzuki_limits, tolerance=1e-6
            )
        )
        end = solve(jnp.zeros(4))
        assert end.converged
        np.testing.assert_allclose(end.params, [0, 1, 2, -1], atol=1e-5)
        np.testing.assert_allclose(end.inequality_multipliers, [1, 0, 2], atol=1e-4)
        np.testing.assert_allclose(end.value, -44, atol=1e-5)
        residual = optim.kkt_residual(
            rosen_suzuki,
            jnp.asarray([0.0, 1, 2, -1]),
            inequality_fn=rosen_suzuki_limits,
            inequality_multipliers=jnp.asarray([1.0, 0, 2]),
        )
        np.testing.assert_allclose(residual, 0, atol=1e-12)


@pytest.mark.slow
def test_equalities_and_inequalities_together_as_scipy():
    """Hock and Schittkowski's problem 71, with its bounds as inequalities."""

    def value(x):
        return x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2]

    def product_and_bounds(x):
        return jnp.concatenate([25 - jnp.prod(x)[None], 1 - x, x - 5])

    def ball(x):
        return jnp.sum(jnp.square(x)) - 40

    start = [1.0, 5.0, 5.0, 1.0]
    theirs = scipy.optimize.minimize(
        value,
        start,
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": lambda x: np.prod(x) - 25},
            {"type": "eq", "fun": lambda x: np.sum(x**2) - 40},
        ],
        bounds=[(1, 5)] * 4,
    )
    with jax.enable_x64(True):
        end = optim.augmented_lagrangian(
            value, jnp.asarray(start), equality_fn=ball, inequality_fn=product_and_bounds, tolerance=1e-6
        )
        assert end.converged
        np.testing.assert_allclose(end.params, theirs.x, atol=1e-4)
        np.testing.assert_allclose(end.value, theirs.fun, atol=1e-4)


@pytest.mark.parametrize(
    ("point", "mu", "want"),
    [
        # x^2 under 1 - x <= 0: solved by x = 1, mu = 2. Then each condition broken by a known amount.
        pytest.param(1.0, 2.0, (0, 0, 0, 0), id="solved"),
        pytest.param(1.5, 3.0, (0, 0, 0, 1.5), id="slack-and-multiplier"),
        pytest.param(0.25, 0.5, (0, 0.75, 0, 0.375), id="outside"),
        pytest.param(1.0, -1.0, (3, 0, 1, 0), id="negative-multiplier"),
    ],
)
def test_every_condition_has_its_residual(point, mu, want):
    residual = optim.kkt_residual(
        jnp.square,
        jnp.asarray(point),
        inequality_fn=lambda x: 1 - x,
        inequality_multipliers=jnp.asarray(mu),
    )
    got = (residual.stationarity, residual.inequality, residual.dual, residual.complementarity)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert residual.equality == 0


def test_projected_gradient_on_three_sets():
    target = jnp.array([0.9, 0.6, -0.3])

    def distance(x):
        return jnp.sum(jnp.square(x - target)) / 2

    @jit
    def run(start):
        def on(projection):
            tx = optim.projected_gradient(0.5, projection)
            return optim.minimize(distance, start, tx, step_tolerance=1e-7)

        return (
            on(optax.projections.projection_simplex),
            on(optax.projections.projection_non_negative),
            on(lambda x: optax.projections.projection_l2_ball(x, 0.5)),
        )

    ends = run(jnp.array([1.0, 0.0, 0.0]))
    simplex, positive, ball = (np.asarray(end.params) for end in ends)
    assert all(end.converged for end in ends)
    # The nearest point of the simplex moves the positive entries by the same amount, 0.25.
    np.testing.assert_allclose(simplex, [0.65, 0.35, 0], atol=1e-6)
    np.testing.assert_allclose(positive, [0.9, 0.6, 0], atol=1e-6)
    np.testing.assert_allclose(ball, 0.5 * target / jnp.linalg.norm(target), atol=1e-6)
    for end in ends[:2]:
        assert (end.trajectory >= 0).all()
    np.testing.assert_allclose(ends[0].trajectory.sum(axis=1), 1, atol=1e-6)


def test_projected_gradient_solves_non_negative_least_squares():
    a, b = RNG.normal(size=(12, 5)), RNG.normal(size=12)
    want, _ = scipy.optimize.nnls(a, b)
    assert (want == 0).any()
    with jax.enable_x64(True):
        tx = optim.projected_gradient(
            1 / np.linalg.norm(a, 2) ** 2, optax.projections.projection_non_negative
        )
        run = jit(
            lambda x: optim.minimize(
                lambda x: jnp.sum(jnp.square(a @ x - b)) / 2,
                x,
                tx,
                max_iterations=2000,
                step_tolerance=1e-12,
                keep_trajectory=False,
            )
        )
        np.testing.assert_allclose(run(jnp.ones(5)).params, want, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(
            lambda: optim.augmented_lagrangian(jnp.sum, jnp.ones(2)), "must be given", id="no-constraint"
        ),
        pytest.param(
            lambda: optim.augmented_lagrangian(jnp.sum, jnp.ones(2), equality_fn=jnp.sum, penalty=0.0),
            "penalty must be positive",
            id="penalty",
        ),
        pytest.param(
            lambda: optim.augmented_lagrangian(jnp.sum, jnp.ones(2), equality_fn=jnp.sum, growth=0.5),
            "growth must be at least 1",
            id="growth",
        ),
        pytest.param(
            lambda: optim.lagrange_multipliers(jnp.sum, jnp.sum, jnp.ones(2), max_iterations=0),
            "max_iterations",
            id="iterations",
        ),
        pytest.param(
            lambda: optim.lagrange_multipliers(jnp.sum, lambda x: x[None], jnp.ones(2)),
            "equality_fn must have rank 0 or 1",
            id="constraint-rank",
        ),
        pytest.param(
            lambda: optim.kkt_residual(
                jnp.sum, jnp.ones(2), equality_fn=jnp.sum, equality_multipliers=jnp.ones(2)
            ),
            "equality_multipliers must be one per constraint, 1, got 2",
            id="multipliers",
        ),
        pytest.param(
            lambda: optim.kkt_residual(jnp.sum, jnp.ones(2), inequality_multipliers=jnp.ones(1)),
            "inequality_multipliers must be one per constraint, 0, got 1",
            id="multipliers-alone",
        ),
        pytest.param(lambda: optim.projected_gradient(-0.1, lambda x: x), "learning_rate", id="rate"),
        pytest.param(
            lambda: optim.projected_gradient(0.1, lambda x: x).update(
                jnp.ones(1), optim.projected_gradient(0.1, lambda x: x).init(jnp.ones(1))
            ),
            "params missing",
            id="params",
        ),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(ValueError, match=match):
        make()
