"""Curvature computed and not learned: the Hessian, its product with a vector, or the Jacobian of residuals.

Symbols: theta parameters, n their number, g gradient, H Hessian of the loss, r residuals, J = dr / dtheta.
Newton and Hessian-free take H from `value_fn`, so they need `update(..., value=, grad=, value_fn=)`, as
`optim.minimize` and `train.make_update` call it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import cast_like
from jaxdl.optim.line_search import descend_along, needs_loss, wolfe_line_search
from jaxdl.optim.vectors import flatten, inner, length, moved, plus, widen
from jaxdl.types import Array, Params


def scale_by_newton(min_curvature: float | None = None) -> optax.GradientTransformationExtraArgs:
    """Divides the gradient by the Hessian.

    u = H^-1 g,  or, with H = Q diag(h) Q',  u = Q diag(1 / max(|h|, min_curvature)) Q' g

    Args:
      min_curvature: > 0, makes every direction one of descent; None divides by the Hessian as it is, which near
        a saddle or a maximum leads there.

    Raises:
      ValueError: min_curvature is not positive; `update` lacks params or value_fn.
    """
    if min_curvature is not None:
        checks.positive(min_curvature=min_curvature)

    def update_fn(updates, state, params: Any = None, *, value_fn: Any = None, **extra_args):
        del extra_args
        needs_loss(params, value_fn=value_fn)
        theta, restore = flatten(params)
        g, back = flatten(updates)
        hessian = jax.hessian(lambda x: value_fn(restore(x)))(theta)
        if min_curvature is None:
            return back(jnp.linalg.solve(hessian, g)), state
        values, vectors = jnp.linalg.eigh(hessian)
        return back(vectors @ ((vectors.T @ g) / jnp.maximum(jnp.abs(values), min_curvature))), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)


def newton(
    learning_rate: optax.ScalarOrSchedule | None = None,
    min_curvature: float | None = None,
    linesearch: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Newton's method: steps to the minimum of the parabola that touches the loss here.

    theta_{t+1} = theta_t - a_t H_t^-1 g_t

    Bare, as by default, it needs one step on a quadratic and doubles the correct digits with each step near a
    minimum, but from afar may run to a saddle, a maximum or nowhere. Made for a start anywhere:

        optim.newton(min_curvature=1e-6, linesearch=optim.wolfe_line_search())

    It forms H, n^2 numbers at the price of n gradients, and solves in n^3; `hessian_free` forms neither.

    Args:
      learning_rate: number or schedule a_t; None is 1.
      min_curvature: > 0, floor of the Hessian's absolute eigenvalues, or None for the Hessian as it is.
      linesearch: last link, or None.

    Raises:
      ValueError: min_curvature is not positive; `update` lacks params or value_fn.

    Source: Nocedal & Wright, "Numerical optimization", 2006, equation 3.38; the changed eigenvalues: section
    3.4; their absolute values: Dauphin et al., "Identifying and attacking the saddle point problem", 2014.
    """
    return descend_along(scale_by_newton(min_curvature), learning_rate, linesearch)


def _least_squares(matrix: Array, target: Array, l2: Array) -> Array:
    """argmin_x |matrix x - target|^2 + sum_i l2_i x_i^2, of least length where it is not unique.

    l2 joins as rows below the matrix: a product matrix' matrix would square the condition number.
    """
    rows = jnp.concatenate([matrix, jnp.diag(jnp.sqrt(l2))])
    zeros = jnp.zeros((l2.size, *target.shape[1:]), target.dtype)
    return jnp.linalg.lstsq(rows, jnp.concatenate([target, zeros]))[0]


def scale_by_gauss_newton(
    residual_fn: Callable[[Params], Array], damping: float = 0.0
) -> optax.GradientTransformation:
    """Replaces the gradient by the step of a linear least-squares problem.

    u = argmin_u |r - J u|^2 + damping |u|^2 = (J'J + damping I)^-1 J'r

    The gradient that comes in is not used: links that change it have no effect in front.

    Args:
      residual_fn: parameters to r, float[...].
      damping: >= 0, shortens the step and turns it towards the gradient.

    Raises:
      ValueError: damping is negative or not finite; `update` was called without params.
    """
    checks.non_negative(damping=damping)

    def update_fn(updates, state, params=None):
        needs_loss(params)
        theta, restore = flatten(params)
        _, back = flatten(updates)

        def residuals(x):
            r = widen(residual_fn(restore(x))).reshape(-1)
            return r, r

        shape = jax.eval_shape(residuals, theta)[0]
        # One pass per column or per row of the Jacobian, whichever are fewer.
        differentiate = jax.jacfwd if theta.size <= shape.size else jax.jacrev
        jacobian, r = differentiate(residuals, has_aux=True)(theta)
        return back(_least_squares(jacobian, r, jnp.full_like(theta, damping))), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)


def gauss_newton(
    residual_fn: Callable[[Params], Array],
    learning_rate: optax.ScalarOrSchedule | None = None,
    damping: float = 0.0,
    linesearch: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Newton's method for sums of squares, with J'J in the place of the Hessian.

    theta_{t+1} = theta_t - a_t (J'J + damping I)^-1 J'r,  loss |r|^2 / 2 or a multiple of it

    One step solves a linear regression. Where residuals at the minimum are small it converges as Newton's method
    does, without second derivatives and never towards a saddle. With damping it is the step of Levenberg and
    Marquardt at a fixed damping.

        optim.minimize(lambda p: jnp.sum(residuals(p) ** 2) / 2, start, optim.gauss_newton(residuals))

    Args:
      residual_fn: parameters to r, float[...], fixed when the optimizer is made.
      learning_rate: number or schedule a_t; None is 1.
      damping: >= 0, in units of the squared Jacobian.
      linesearch: last link, or None.

    Raises:
      ValueError: damping is negative or not finite; `update` was called without params.

    Source: Nocedal & Wright, "Numerical optimization", 2006, equations 10.23 and 10.34.
    """
    return descend_along(scale_by_gauss_newton(residual_fn, damping), learning_rate, linesearch)


class ScaleByHessianFreeState(NamedTuple):
    damping: Array  # float[], of the next update
    cg_iterations: Array  # int32[], of the last


class _Solve(NamedTuple):
    """Conjugate gradients on (H + damping I) u = g."""

    solution: Params
    residual: Params  # g - (H + damping I) solution
    direction: Params
    squared: Array  # |residual|^2
    iterations: Array
    bent: Array  # bool[], a direction of negative curvature was met


def scale_by_hessian_free(
    max_cg_iterations: int = 50, damping: float = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Divides the gradient by the damped Hessian without forming it, by conjugate gradients.

    (H + damping I) u = g, until |g - (H + damping I) u| <= min(1/2, sqrt(|g|)) |g|

    A direction d with <d, (H + damping I) d> <= 0 ends the solve with what it has, or with g at the very first.
    A positive damping adapts: with rho the ratio of the loss's change under the full step to the one that the
    parabola foretold, damping grows by 3/2 where rho < 1/4 and shrinks by 2/3 where rho > 3/4.

    Args:
      max_cg_iterations: >= 1, Hessian-vector products per update.
      damping: >= 0, at the first update.

    Raises:
      ValueError: a setting is out of its range; `update` lacks params, value or value_fn.
    """
    checks.at_least(1, max_cg_iterations=max_cg_iterations)
    checks.non_negative(damping=damping)

    def init_fn(params):
        del params
        zero = jnp.zeros((), jnp.int32)
        return ScaleByHessianFreeState(jnp.asarray(damping, jnp.result_type(float)), zero)

    def update_fn(
        updates, state, params: Any = None, *, value: Any = None, value_fn: Any = None, **extra_args
    ):
        del extra_args
        needs_loss(params, value=value, value_fn=value_fn)
        g = widen(updates)
        # Linearized once: each product is then one pass through the stored program.
        _, product = jax.linearize(jax.grad(value_fn), params)

        def curve(d):
            return plus(widen(product(cast_like(d, params))), state.damping, d)

        tolerance = jnp.minimum(0.5, jnp.sqrt(length(g))) * length(g)

        def body(solve: _Solve) -> _Solve:
            d = solve.direction
            bd = curve(d)
            curvature = inner(d, bd)
            bent = ~(curvature > 0)
            step = jnp.where(bent, 0, solve.squared / jnp.where(bent, 1, curvature))
            residual = plus(solve.residual, -step, bd)
            squared = inner(residual, residual)
            return _Solve(
                solution=plus(solve.solution, step, d),
                residual=residual,
                direction=plus(residual, squared / solve.squared, d),
                squared=squared,
                iterations=solve.iterations + 1,
                bent=bent,
            )

        def unfinished(solve: _Solve):
            open_ = (solve.squared > tolerance**2) & (solve.iterations < max_cg_iterations)
            return open_ & ~solve.bent

        nothing = jax.tree.map(jnp.zeros_like, g)
        start = _Solve(nothing, g, g, inner(g, g), jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        solve = jax.lax.while_loop(unfinished, body, start)
        bent_at_once = solve.bent & (solve.iterations == 1)
        u = jax.tree.map(lambda x, s: jnp.where(bent_at_once, x, s), g, solve.solution)
        direction, next_damping = cast_like(u, updates), state.damping
        if damping:
            # <u, (H + damping I) u> = <u, g - residual>
            foretold = jnp.where(bent_at_once, -inner(u, g), -inner(u, plus(g, 1, solve.residual)) / 2)
            ratio = (value_fn(moved(params, -1, u)) - value) / foretold
            factor = jnp.where(ratio > 0.75, 2 / 3, jnp.where(ratio >= 0.25, 1.0, 1.5))  # NaN grows
            next_damping = (state.damping * factor).astype(state.damping.dtype)
        return direction, ScaleByHessianFreeState(next_damping, solve.iterations)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def hessian_free(
    learning_rate: optax.ScalarOrSchedule | None = None,
    max_cg_iterations: int = 50,
    damping: float = 0.0,
    linesearch: optax.GradientTransformation | None = wolfe_line_search(),  # noqa: B008 - immutable
) -> optax.GradientTransformationExtraArgs:
    """Newton's method with products of the Hessian and a vector in the place of the Hessian.

    theta_{t+1} = theta_t - a_t u_t,  (H_t + damping_t I) u_t = g_t solved by conjugate gradients, roughly far
    from the minimum and ever better near it

    Memory grows with n and not n^2, and each product costs about two gradients; it notices negative curvature and
    goes down along it. `newton` is better where the Hessian fits, `lbfgs` where the loss is cheap.

    Args:
      learning_rate: a number or schedule that multiplies the step before the search; None is 1.
      max_cg_iterations: >= 1, products per update.
      damping: >= 0, at the start; positive adapts from update to update, as networks need it.
      linesearch: last link, or None.

    Raises:
      ValueError: a setting is out of its range; `update` lacks params, value or value_fn.

    Source: Nocedal & Wright, "Numerical optimization", 2006, algorithm 7.1; Martens, "Deep learning via
    Hessian-free optimization", 2010, with the damping of its section 4.1.
    Differs from Martens in the Hessian itself, where that takes the Gauss-Newton matrix, and in the rule that ends
    a solve, which is Nocedal and Wright's.
    """
    return descend_along(scale_by_hessian_free(max_cg_iterations, damping), learning_rate, linesearch)


def normal_equation(features: Array, targets: Array, l2: Any = 0.0) -> Array:
    """Weights of the least-squares line or plane, in one step.

    theta = argmin |X theta - y|^2 + sum_i l2_i theta_i^2 = (X'X + diag(l2))^-1 X'y

    A column of ones among the features gives an intercept; its entry of `l2` set to 0 leaves it unshrunk.
    Where columns depend on each other and nothing is shrunk, the solution of least length.

    Args:
      features: X, float[N, D].
      targets: y, float[N] or float[N, K].
      l2: >= 0, one number, or one per feature, float[D]: ridge regression.

    Returns:
      theta, float[D] or float[D, K], in units of the targets per unit of the features.

    Raises:
      ValueError: a shape does not fit, or l2 is a negative number.
      TypeError: an array is not floating point.

    Source: Legendre 1805; Hoerl & Kennard, "Ridge regression", 1970.
    Solved by singular values of X itself: the product X'X would lose twice the digits. For that reason the result
    stays accurate where (X'X)^-1 X'y in float32 does not.
    """
    checks.rank(2, features=features)
    checks.rank((1, 2), targets=targets)
    checks.same_leading(features=features, targets=targets)
    checks.floating(features=features, targets=targets)
    checks.rank((0, 1), l2=l2)
    if jnp.ndim(l2) == 0:
        checks.non_negative(l2=l2)
    else:
        checks.shape((features.shape[1],), l2=l2)
    x, y = widen((features, targets))
    dtype = jnp.promote_types(x.dtype, y.dtype)
    shrinkage = jnp.broadcast_to(jnp.asarray(l2, dtype), (x.shape[1],))
    return _least_squares(x.astype(dtype), y.astype(dtype), shrinkage)
