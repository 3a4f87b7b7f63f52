"""Newton, quasi-Newton, conjugate gradients, least squares: against SciPy, closed forms and worked numbers."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.sparse.linalg

from jaxdl import optim
from jaxdl.search import beale, himmelblau, rosenbrock

# Each program runs once, so it is compiled without what would make it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
jit = functools.partial(jax.jit, compiler_options=QUICK)

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(40, 2))
LABELS = np.sign(FEATURES @ [1.0, -2.0] + RNG.normal(size=40))


def logistic(w):
    """Mean logistic loss with a little ridge, two weights."""
    return jnp.mean(jnp.logaddexp(0.0, -LABELS * (FEATURES @ w))) + 0.01 * jnp.sum(jnp.square(w))


# The curvature of a quadratic in four dimensions, its slope and its minimum.
ROOT = RNG.normal(size=(4, 4))
MATRIX, SLOPE = ROOT @ ROOT.T + np.eye(4), RNG.normal(size=4)
LOWEST = np.linalg.solve(MATRIX, SLOPE)


def quadratic(x):
    return jnp.vdot(x, MATRIX.astype(x.dtype) @ x) / 2 - jnp.vdot(SLOPE.astype(x.dtype), x)


def exact_line_search():
    """Goes to the minimum of the quadratic along the direction."""

    def update(updates, state, params):
        matrix = jnp.asarray(MATRIX, params.dtype)
        gradient = matrix @ params - SLOPE
        rate = -jnp.vdot(gradient, updates) / jnp.vdot(updates, matrix @ updates)
        return rate * updates, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


PROBLEMS = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0]),
    "himmelblau": (himmelblau, [0.0, 0.0]),
    "beale": (beale, [1.0, 1.0]),
    "logistic": (logistic, [3.0, 3.0]),
}
METHODS = [
    pytest.param(optim.bfgs(), "BFGS", id="bfgs"),
    pytest.param(optim.lbfgs(), "L-BFGS-B", id="lbfgs"),
    pytest.param(optim.conjugate_gradient(), "CG", id="conjugate_gradient"),
    pytest.param(optim.hessian_free(), "Newton-CG", id="hessian_free"),
    pytest.param(
        optim.newton(min_curvature=1e-6, linesearch=optim.wolfe_line_search()),
        "trust-exact",
        id="newton",
    ),
]


@functools.cache
def problem_derivatives():
    """(value, gradient, Hessian) of every problem, in one compiled program."""
    functions = [f for f, _ in PROBLEMS.values()]

    def chosen(x, i):
        return jax.lax.switch(i, functions, x)

    def derivatives(x, i):
        return *jax.value_and_grad(chosen)(x, i), jax.hessian(chosen)(x, i)

    return jit(derivatives)


@pytest.mark.parametrize(("tx", "method"), METHODS)
def test_minima_and_iterations_as_scipy(tx, method):
    with jax.enable_x64(True):

        @jit
        def run(start, i):
            functions = [f for f, _ in PROBLEMS.values()]
            return optim.minimize(
                lambda x: jax.lax.switch(i, functions, x),
                start,
                tx,
                max_iterations=200,
                keep_trajectory=False,
            )

        for i, (name, (_, start)) in enumerate(PROBLEMS.items()):
            ours = run(jnp.asarray(start), i)
            value, gradient, hessian = (
                lambda x, part=part, i=i: np.asarray(problem_derivatives()(jnp.asarray(x), i)[part])
                for part in range(3)
            )
            theirs = scipy.optimize.minimize(
                value,
                start,
                jac=gradient,
                hess=hessian if method in ("Newton-CG", "trust-exact") else None,
                method=method,
                options={} if method == "Newton-CG" else {"gtol": 1e-6},
            )
            assert ours.converged, name
            assert ours.grad_norm < 1e-6
            np.testing.assert_allclose(ours.params, theirs.x, atol=2e-4, err_msg=name)
            np.testing.assert_allclose(ours.value, theirs.fun, atol=1e-8, err_msg=name)
            assert int(ours.iterations) <= 1.35 * theirs.nit + 2, (name, ours.iterations, theirs.nit)


def rosenbrock_path():
    """Points that SciPy's BFGS goes through, their gradients, and the inverse Hessian it ends with."""
    points = [np.array([-1.2, 1.0, 0.5])]
    done = scipy.optimize.minimize(
        scipy.optimize.rosen,
        points[0],
        jac=scipy.optimize.rosen_der,
        method="BFGS",
        callback=lambda x: points.append(x.copy()),
        options={"maxiter": 12},
    )
    return np.array(points), np.array([scipy.optimize.rosen_der(p) for p in points]), done.hess_inv


def fed(transformations, points, gradients):
    """[(directions [T, n], last state)] of transformations that are shown a path."""

    @jit
    def run(points, gradients):
        def body(states, row):
            point, gradient = row
            done = [tx.update(gradient, state, point) for tx, state in zip(transformations, states)]
            return [state for _, state in done], [direction for direction, _ in done]

        states = [tx.init(points[0]) for tx in transformations]
        return jax.lax.scan(body, states, (points, gradients))

    states, directions = run(jnp.asarray(points), jnp.asarray(gradients))
    return list(zip(directions, states))


def test_bfgs_and_lbfgs_along_a_path():
    points, gradients, inverse = rosenbrock_path()
    with jax.enable_x64(True):
        plain, limited, scaled, library, full = fed(
            [
                optim.scale_by_bfgs(scale_init_precond=False),
                optim.scale_by_lbfgs(5, scale_init_precond=False),
                optim.scale_by_lbfgs(5),
                optax.scale_by_lbfgs(5),
                optim.scale_by_bfgs(),
            ],
            points,
            gradients,
        )
        np.testing.assert_allclose(plain[1].inverse_hessian, inverse, rtol=1e-9)
        np.testing.assert_allclose(plain[0][-1], inverse @ gradients[-1], rtol=1e-9)
        # Five pairs from H = I, as SciPy multiplies them out.
        s, y = np.diff(points, axis=0)[-5:], np.diff(gradients, axis=0)[-5:]
        product = scipy.optimize.LbfgsInvHessProduct(s, y)
        np.testing.assert_allclose(limited[0][-1], product.dot(gradients[-1]), rtol=1e-9)
        assert int(limited[1].pairs) == 12
        np.testing.assert_allclose(scaled[0], library[0], rtol=1e-9)
        # With no pair and with one both are a multiple of the identity, updated once.
        np.testing.assert_allclose(full[0][:2], scaled[0][:2], rtol=1e-12)


def test_pairs_without_curvature_are_left_out():
    # The third gradient turns against the step; what follows must be as if the point had been skipped.
    points = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    gradients = np.array([[1.0, 1.0], [2.0, 1.5], [1.0, 1.0]])
    s, y = points[1] - points[0], gradients[1] - gradients[0]
    rho, v = 1 / (s @ y), np.eye(2) - np.outer(s, y) / (s @ y)
    inverse = v * (s @ y) / (y @ y) @ v.T + rho * np.outer(s, s)
    with jax.enable_x64(True):
        for directions, state in fed([optim.scale_by_bfgs(), optim.scale_by_lbfgs(3)], points, gradients):
            assert int(state.pairs) == 1
            np.testing.assert_allclose(directions[1:], gradients[1:] @ inverse, rtol=1e-12)


def test_quadratics_end_in_n_steps_with_exact_steps():
    with jax.enable_x64(True):
        start = jnp.asarray([4.0, -3.0, 2.0, 1.0])
        search = exact_line_search()
        ends = {}
        for name, tx in {
            "conjugate_gradient": optim.conjugate_gradient(linesearch=search),
            "bfgs": optim.bfgs(linesearch=search),
            "lbfgs": optim.lbfgs(linesearch=search),
        }.items():
            run = jit(functools.partial(optim.minimize, quadratic, tx=tx, max_iterations=5, tolerance=1e-9))
            ends[name] = run(start)
            assert int(ends[name].iterations) == 4, name
            np.testing.assert_allclose(ends[name].params, LOWEST, atol=1e-10)
        # On a quadratic with exact steps all three walk the same way.
        walks = [end.trajectory for end in ends.values()]
        np.testing.assert_allclose(walks[0], walks[1], atol=1e-9)
        np.testing.assert_allclose(walks[0], walks[2], atol=1e-9)
        # One update later it has seen all four directions.
        path = np.asarray(walks[1][:5])
        ((_, state),) = fed([optim.scale_by_bfgs()], path, path @ MATRIX - SLOPE)
        np.testing.assert_allclose(state.inverse_hessian, np.linalg.inv(MATRIX), atol=1e-9)


def test_golden_004a_7_11_newton():
    def cubic(x):
        return x**3 - 2 * x**2 + 2

    with jax.enable_x64(True):
        end = optim.minimize(cubic, jnp.asarray(3.0), optim.newton(), tolerance=1e-6)
        want = [3, 1.9285714286, 1.4737196765, 1.3455433896, 1.3334431364, 1.3333333423743772]
        assert int(end.iterations) == 5
        assert end.converged
        np.testing.assert_allclose(end.trajectory[:6], want, atol=1.01e-10)
        np.testing.assert_allclose(end.params, 1.3333333423743772, rtol=1e-15)
        np.testing.assert_allclose(end.params, 4 / 3, atol=1e-8)
        np.testing.assert_allclose(end.value, 22 / 27, rtol=1e-12)


@functools.partial(jit, static_argnums=(0, 1))
def one_update(tx, value_fn, x):
    value, grad = jax.value_and_grad(value_fn)(x)
    return tx.update(grad, tx.init(x), x, value=value, grad=grad, value_fn=value_fn)


def saddle(x):
    return x[0] ** 2 - 3 * x[1] ** 2 + x[0] * x[1] + 0.001 * x[2] ** 2


def test_newton_steps():
    x = np.array([1.0, 0.5, 2.0])
    hessian = np.array([[2.0, 1.0, 0.0], [1.0, -6.0, 0.0], [0.0, 0.0, 0.002]])
    with jax.enable_x64(True):
        start = jnp.asarray([4.0, -3.0, 2.0, 1.0])
        bare, safe = optim.newton(), optim.newton(min_curvature=0.01)
        for tx in (bare, safe):
            np.testing.assert_allclose(start + one_update(tx, quadratic, start)[0], LOWEST, atol=1e-12)
        h, q = np.linalg.eigh(hessian)
        want = -q @ ((q.T @ (hessian @ x)) / np.maximum(np.abs(h), 0.01))
        np.testing.assert_allclose(one_update(safe, saddle, jnp.asarray(x))[0], want, rtol=1e-12)
        # Bare, it goes to the saddle itself.
        np.testing.assert_allclose(one_update(bare, saddle, jnp.asarray(x))[0], -x, rtol=1e-12)


def test_hessian_free_solves_as_far_as_scipy_does():
    x = np.array([4.0, -3.0, 2.0, 1.0])
    gradient = MATRIX @ x - SLOPE

    with jax.enable_x64(True):
        for damping, steps in ((0.0, 2), (0.7, 50)):
            tx = optim.scale_by_hessian_free(steps, damping)
            direction, state = one_update(tx, quadratic, jnp.asarray(x))
            counted = []
            want, _ = scipy.sparse.linalg.cg(
                MATRIX + damping * np.eye(4),
                gradient,
                rtol=min(0.5, np.sqrt(np.linalg.norm(gradient))),
                maxiter=steps,
                callback=counted.append,
            )
            np.testing.assert_allclose(direction, want, rtol=1e-10)
            assert int(state.cg_iterations) == len(counted)
        # The parabola was the loss, damped: the change exceeds what it foretold, and the damping shrinks.
        np.testing.assert_allclose(state.damping, 0.7 * 2 / 3, rtol=1e-12)
        # From 0.5 on log cosh(3x) Newton's step shoots far over the minimum, and the damping grows.
        tx = optim.scale_by_hessian_free(5, 0.01)
        steep = jnp.asarray([0.8])
        _, state = one_update(tx, lambda x: jnp.sum(jnp.log(jnp.cosh(3 * x))), steep)
        np.testing.assert_allclose(state.damping, 0.015, rtol=1e-12)
        # Down a ridge at once the direction is the gradient.
        direction, state = one_update(optim.scale_by_hessian_free(), lambda x: -jnp.sum(jnp.square(x)), steep)
        np.testing.assert_allclose(direction, -2 * steep, rtol=1e-12)
        assert int(state.cg_iterations) == 1


def test_gauss_newton_against_least_squares():
    t = np.linspace(0, 2, 15)
    y = 2.5 * np.exp(-1.3 * t) + 0.1 * np.sin(9 * t)

    def residuals(p):
        return p["a"] * jnp.exp(-p["rate"] * t) - y

    def loss(p):
        return jnp.sum(jnp.square(residuals(p))) / 2

    def flat(p):
        return p[0] * np.exp(-p[1] * t) - y

    theirs = scipy.optimize.least_squares(flat, [1.0, 1.0], method="lm", xtol=1e-14, ftol=1e-14)
    with jax.enable_x64(True):
        start = {"a": jnp.asarray(1.0), "rate": jnp.asarray(1.0)}
        end = jit(lambda p: optim.minimize(loss, p, optim.gauss_newton(residuals), tolerance=1e-9))(start)
        assert end.converged
        assert int(end.iterations) <= 12
        np.testing.assert_allclose([end.params["a"], end.params["rate"]], theirs.x, rtol=1e-8)
        jacobian = np.stack([np.exp(-t), -t * np.exp(-t)], axis=1)
        for damping in (0.0, 0.3):
            tx = optim.gauss_newton(residuals, damping=damping)
            updates, _ = one_update(tx, loss, start)
            step = np.linalg.solve(jacobian.T @ jacobian + damping * np.eye(2), jacobian.T @ flat([1.0, 1.0]))
            np.testing.assert_allclose([updates["a"], updates["rate"]], -step, rtol=1e-10)
        # More parameters than residuals: the shortest step that solves the equations.
        wide = RNG.normal(size=(2, 5))
        updates, _ = one_update(optim.gauss_newton(lambda w: wide @ w - 1), jnp.sum, jnp.zeros(5))
        np.testing.assert_allclose(updates, np.linalg.pinv(wide) @ np.ones(2), rtol=1e-10)


solve = jit(optim.normal_equation)


def test_normal_equation_goldens():
    stream = np.random.RandomState(42)
    x = 2 * stream.rand(100, 1)
    y = 4 + 3 * x + stream.randn(100, 1)
    design = np.hstack([np.ones((100, 1)), x])
    with jax.enable_x64(True):
        theta = solve(jnp.asarray(design), jnp.asarray(y))  # 004a-7.13o
        np.testing.assert_allclose(theta[:, 0], [4.21509616, 2.77011339], atol=1.01e-8)
        np.testing.assert_allclose(np.mean((design @ theta - y) ** 2), 0.8065845640, atol=1.01e-10)
        # 004a-7.16a: two points of equal weight on each axis of the Gaussian have its moments exactly.
        spread = np.linalg.cholesky([[1, 0.95], [0.95, 1.2]]) @ np.array([[1, -1, 1, -1], [1, 1, -1, -1]])
        x, y = spread + np.array([[5], [6]])
        theta = solve(jnp.stack([jnp.ones(4), jnp.asarray(x)], axis=1), jnp.asarray(y))
        np.testing.assert_allclose(theta, [1.25, 0.95], rtol=1e-12)
        np.testing.assert_allclose(np.mean((y - theta[0] - theta[1] * x) ** 2), 0.2975, rtol=1e-10)


def test_normal_equation_against_numpy_and_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = RNG.normal(size=(30, 4)), RNG.normal(size=(30, 2))
    x32, y32 = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    # The Jacobian in the targets is the pseudoinverse.
    jacobian = jit(jax.jacrev(optim.normal_equation, 1))(x32, y32[:, 0])
    theta = solve(x32, y32)
    np.testing.assert_allclose(theta, np.linalg.lstsq(x, y)[0], atol=1e-5)
    np.testing.assert_allclose(jacobian, np.linalg.pinv(x), atol=1e-5)
    ridge = linear_model.Ridge(alpha=2.0, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(solve(x32, y32, 2.0).T, ridge.coef_, atol=1e-5)
    ridge = linear_model.Ridge(alpha=2.0).fit(x, y)
    ones = jnp.concatenate([jnp.ones((30, 1)), x32], axis=1)
    theta = solve(ones, y32, jnp.array([0.0, 2, 2, 2, 2]))
    np.testing.assert_allclose(theta[0], ridge.intercept_, atol=1e-5)
    np.testing.assert_allclose(theta[1:].T, ridge.coef_, atol=1e-5)
    # Columns that differ by 1e-3: X'X in float32 is singular, X is not.
    near = np.stack([np.ones(30), 1 + 1e-3 * x[:, 0]], axis=1).astype(np.float32)
    theta = solve(jnp.asarray(near), jnp.asarray(near @ np.array([1, 2], np.float32)), 0.0)
    np.testing.assert_allclose(theta, [1, 2], atol=2e-3)
    # A column twice: the shortest solution shares the weight.
    theta = solve(jnp.concatenate([x32[:, :1]] * 2, axis=1), 3 * x32[:, 0], 0.0)
    np.testing.assert_allclose(theta, [1.5, 1.5], atol=1e-5)


def tree_residuals(p):
    return jnp.concatenate([p["a"] - 1, 2 * (p["b"] + p["a"][0])[None]])


def tree_loss(p):
    return jnp.sum(jnp.square(tree_residuals(p))) / 2


EVERY = {
    "newton": optim.newton(),
    "bfgs": optim.bfgs(linesearch=None),
    "lbfgs": optim.lbfgs(linesearch=None),
    "conjugate_gradient": optim.conjugate_gradient(),
    "hessian_free": optim.hessian_free(damping=1e-3, linesearch=None),
    "gauss_newton": optim.gauss_newton(tree_residuals),
}


START = {"a": jnp.array([3.0, -2.0]), "b": jnp.asarray(1.0)}


def test_trees_and_their_dtypes():
    """One update of a tree in float32 and in bfloat16, whose memory stays float32."""

    @jit
    def update(params):
        value, grad = jax.value_and_grad(tree_loss)(params)
        given = {"value": value, "grad": grad, "value_fn": tree_loss}
        return {name: tx.update(grad, tx.init(params), params, **given) for name, tx in EVERY.items()}

    want = update(START)
    for name in ("newton", "gauss_newton"):
        ends = optax.apply_updates(START, want[name][0])
        chex.assert_trees_all_close(ends, {"a": np.ones(2), "b": -np.ones(())}, atol=1e-5)
    # Along the gradient (18, -3, 16), no farther than 1.
    for name in ("bfgs", "lbfgs"):
        direction = {"a": -np.array([18, -3]) / np.sqrt(589), "b": np.asarray(-16 / np.sqrt(589))}
        chex.assert_trees_all_close(want[name][0], direction, rtol=1e-5)
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), START)
    for name, (updates, state) in update(low).items():
        chex.assert_trees_all_equal_shapes_and_dtypes(updates, low)
        chex.assert_trees_all_close(jax.tree.map(jnp.float32, updates), want[name][0], rtol=0.02)
        assert all(x.dtype != jnp.bfloat16 for x in jax.tree.leaves(state)), name


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_trees_reach_the_minimum(name):
    starts = jax.tree.map(lambda x: jnp.stack([x, x + 1]), START)
    run = jit(jax.vmap(lambda p: optim.minimize(tree_loss, p, EVERY[name], tolerance=1e-4)))
    ends = run(starts)
    assert ends.converged.all()
    np.testing.assert_allclose(ends.params["a"], 1, atol=1e-3)
    np.testing.assert_allclose(ends.params["b"], -1, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(
            lambda: optim.newton(min_curvature=0.0), "min_curvature must be positive", id="curvature"
        ),
        pytest.param(
            lambda: optim.lbfgs(memory_size=0), "memory_size must be at least 1, got 0", id="memory"
        ),
        pytest.param(lambda: optim.bfgs(-1.0), "learning_rate must be finite and at least 0", id="rate"),
        pytest.param(lambda: optim.gauss_newton(lambda p: p, damping=-1.0), "damping", id="damping"),
        pytest.param(lambda: optim.hessian_free(max_cg_iterations=0), "max_cg_iterations", id="products"),
        pytest.param(
            lambda: optim.scale_by_newton().update(jnp.ones(1), optax.EmptyState(), jnp.ones(1)),
            "value_fn missing",
            id="newton-needs-the-loss",
        ),
        pytest.param(
            lambda: optim.normal_equation(jnp.ones((3, 2)), jnp.ones(2)), "first axis", id="rows-differ"
        ),
        pytest.param(
            lambda: optim.normal_equation(jnp.ones((3, 2)), jnp.ones(3), -1.0), "l2", id="negative-ridge"
        ),
        pytest.param(
            lambda: optim.normal_equation(jnp.ones((3, 2)), jnp.ones(3), jnp.ones(3)), "l2", id="ridge-shape"
        ),
    ],
)
def test_bad_settings(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_integers_are_refused():
    with pytest.raises(TypeError, match="params must be floating point, got int32"):
        optim.bfgs().init(jnp.ones(2, jnp.int32))
    with pytest.raises(TypeError, match="features must be floating point"):
        optim.normal_equation(jnp.ones((3, 2), jnp.int32), jnp.ones(3))
