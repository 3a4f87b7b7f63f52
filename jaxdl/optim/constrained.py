"""Minima under constraints: Lagrange multipliers, the augmented Lagrangian, projections, and the test of an end.

Symbols: f the loss, h(x) = 0 equalities with multipliers lambda, c(x) <= 0 inequalities with multipliers mu >= 0.
Lagrangian L(x, lambda, mu) = f(x) + <lambda, h(x)> + <mu, c(x)>.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.line_search import needs_loss
from jaxdl.optim.minimization import minimize
from jaxdl.optim.paths import check_not_empty
from jaxdl.optim.quasi_newton import lbfgs
from jaxdl.optim.vectors import flatten, largest
from jaxdl.types import Array, Params

Constraint = Callable[[Params], Array]


def _constraint(name: str, constraint_fn: Constraint | None) -> Constraint:
    """float[m] of the parameters; m = 0 for no constraint."""
    if constraint_fn is None:
        return lambda params: jnp.zeros(0)

    def values(params: Params) -> Array:
        value = constraint_fn(params)
        checks.rank((0, 1), **{name: value})
        checks.floating(**{name: value})
        return value.reshape(-1)

    return values


class KKTResidual(NamedTuple):
    """How far a point is from the Karush-Kuhn-Tucker conditions: largest absolute entries, all 0 at a solution."""

    stationarity: Array  # float[], of grad f + <lambda, grad h> + <mu, grad c>, in units of f per unit of x
    equality: Array  # float[], of h, in its units
    inequality: Array  # float[], of max(c, 0), in its units
    dual: Array  # float[], of max(-mu, 0)
    complementarity: Array  # float[], of mu c, in units of f


def kkt_residual(
    value_fn: Callable[[Params], Array],
    params: Params,
    *,
    equality_fn: Constraint | None = None,
    inequality_fn: Constraint | None = None,
    equality_multipliers: Array | None = None,
    inequality_multipliers: Array | None = None,
) -> KKTResidual:
    """Tests a constrained minimum by the conditions that every (regular) one meets.

    grad f + sum_i lambda_i grad h_i + sum_j mu_j grad c_j = 0;  h = 0;  c <= 0;  mu >= 0;  mu_j c_j = 0

    For a convex f, convex c and affine h they suffice as well.

    Args:
      value_fn: f, parameters to float[].
      params: the point.
      equality_fn: h, parameters to float[] or float[m]; None is none.
      inequality_fn: c, parameters to float[] or float[k], allowed where <= 0; None is none.
      equality_multipliers: lambda, float[] or float[m].
      inequality_multipliers: mu, float[] or float[k].

    Returns:
      A `KKTResidual`.

    Raises:
      ValueError: the multipliers do not have the shape of the constraints, or come without them; there are no
        parameters.

    Source: Karush 1939; Kuhn & Tucker 1951; Nocedal & Wright, "Numerical optimization", 2006, equation 12.34.
    """

    def paired(name, constraint_fn, multipliers):
        values = _constraint(f"{name}_fn", constraint_fn)
        found = jax.eval_shape(values, params)
        given = jnp.zeros(0, found.dtype) if multipliers is None else jnp.asarray(multipliers).reshape(-1)
        if given.shape != found.shape:
            raise ValueError(
                f"{name}_multipliers must be one per constraint, {found.shape[0]}, got {given.shape[0]}"
            )
        return values, given

    check_not_empty(params)
    equality, lambda_ = paired("equality", equality_fn, equality_multipliers)
    inequality, mu = paired("inequality", inequality_fn, inequality_multipliers)

    def lagrangian(params):
        h, c = equality(params), inequality(params)
        return value_fn(params) + jnp.vdot(lambda_, h) + jnp.vdot(mu, c), (h, c)

    gradient, (h, c) = jax.grad(lagrangian, has_aux=True)(params)
    return KKTResidual(
        largest(gradient), largest(h), largest(jax.nn.relu(c)), largest(jax.nn.relu(-mu)), largest(mu * c)
    )


class ConstrainedMinimum(NamedTuple):
    """Where a constrained minimization ended."""

    params: Params
    value: Array  # f there, float[]
    equality_multipliers: Array  # lambda, float[m]
    inequality_multipliers: Array  # mu, float[k]
    residual: KKTResidual
    iterations: Array  # int32[], Newton steps, or updates of the multipliers
    converged: Array  # bool[], whether no entry of the residual exceeds the tolerance


def _finished(value_fn, params, h, c, lambda_, mu, iterations, tolerance) -> ConstrainedMinimum:
    residual = kkt_residual(
        value_fn,
        params,
        equality_fn=h,
        inequality_fn=c,
        equality_multipliers=lambda_,
        inequality_multipliers=mu,
    )
    met = jnp.stack(residual).max() <= tolerance
    return ConstrainedMinimum(params, value_fn(params), lambda_, mu, residual, iterations, met)


def lagrange_multipliers(
    value_fn: Callable[[Params], Array],
    equality_fn: Constraint,
    params: Params,
    *,
    max_iterations: int = 50,
    tolerance: float = 1e-5,
) -> ConstrainedMinimum:
    """Solves for the point and the multipliers at which the Lagrangian is stationary, by Newton's method.

    [ H   A' ] [ step   ]     [ grad f ]
    [ A   0  ] [ lambda ] = - [ h      ],   A = dh/dx, H = second derivatives of f + <lambda, h> in x

    lambda begins as the least-squares solution of grad L = 0. A quadratic under linear equalities takes one step.
    Elsewhere the start decides which stationary point is found, a maximum or a saddle as readily as a minimum;
    `augmented_lagrangian` goes downhill, from anywhere, and takes inequalities.

    Args:
      value_fn: f, parameters to float[].
      equality_fn: h, parameters to float[] or float[m], with independent gradients.
      params: start, pytree of floating arrays.
      max_iterations: >= 1, Newton steps.
      tolerance: >= 0, on the largest entry of grad L and of h.

    Returns:
      A `ConstrainedMinimum`. lambda_i is -df*/db_i, what the best value loses per unit by which h_i = b_i is
      relaxed.

    Raises:
      ValueError: a setting is out of its range, or there are no parameters.

    Source: Lagrange 1788; Nocedal & Wright, "Numerical optimization", 2006, equation 18.6.
    """
    checks.at_least(1, max_iterations=max_iterations)
    checks.non_negative(tolerance=tolerance)
    check_not_empty(params)
    equality = _constraint("equality_fn", equality_fn)
    start, restore = flatten(params)
    h_shape = jax.eval_shape(equality, params)

    def h(x):
        return equality(restore(x))

    def lagrangian(x, lambda_):
        return value_fn(restore(x)) + jnp.vdot(lambda_, h(x))

    def stationarity(x, lambda_):
        return jnp.maximum(largest(jax.grad(lagrangian)(x, lambda_)), largest(h(x)))

    def body(carry):
        x, lambda_, count = carry
        a = jax.jacrev(h)(x)
        corner = jnp.zeros((a.shape[0], a.shape[0]), x.dtype)
        matrix = jnp.block([[jax.hessian(lagrangian)(x, lambda_), a.T], [a, corner]])
        right = -jnp.concatenate([jax.grad(lagrangian)(x, jnp.zeros_like(lambda_)), h(x)])
        solution = jnp.linalg.solve(matrix, right.astype(x.dtype))
        return x + solution[: x.size], solution[x.size :], count + 1

    def unfinished(carry):
        x, lambda_, count = carry
        return (stationarity(x, lambda_) > tolerance) & (count < max_iterations)

    # From lambda = 0 a linear f would make the matrix singular; this is the best fit of grad L = 0 at the start.
    slope = jax.grad(lagrangian)(start, jnp.zeros(h_shape.shape, start.dtype))
    first = jnp.linalg.lstsq(jax.jacrev(h)(start).T, -slope)[0]
    carry = (start, first.astype(start.dtype), jnp.zeros((), jnp.int32))
    x, lambda_, count = jax.lax.while_loop(unfinished, body, carry)
    return _finished(value_fn, restore(x), equality, None, lambda_, jnp.zeros(0, x.dtype), count, tolerance)


def augmented_lagrangian(
    value_fn: Callable[[Params], Array],
    params: Params,
    *,
    equality_fn: Constraint | None = None,
    inequality_fn: Constraint | None = None,
    tx: optax.GradientTransformation | None = None,
    max_iterations: int = 20,
    inner_iterations: int = 100,
    penalty: float = 10.0,
    growth: float = 10.0,
    tolerance: float = 1e-5,
) -> ConstrainedMinimum:
    """Minimizes under constraints by a sequence of minimizations without.

    x <- argmin f + <lambda, h> + rho/2 |h|^2 + (|max(0, mu + rho c)|^2 - |mu|^2) / (2 rho)
    lambda <- lambda + rho h(x),  mu <- max(0, mu + rho c(x))
    rho <- growth rho where the violation, max(|h|, |max(c, -mu / rho)|), did not fall to a quarter

    Because the multipliers learn, rho stays moderate; a penalty alone would have to grow without limit.

    Args:
      value_fn: f, parameters to float[].
      params: start, pytree of floating arrays; it need not be feasible.
      equality_fn: h, parameters to float[] or float[m]; None is none.
      inequality_fn: c, parameters to float[] or float[k], allowed where <= 0; None is none.
      tx: what minimizes each time; None is `lbfgs()`.
      max_iterations: >= 1, updates of the multipliers.
      inner_iterations: >= 1, of `tx` between them.
      penalty: first rho > 0, in units of f per squared unit of the constraints.
      growth: >= 1.
      tolerance: >= 0, on every entry of the `KKTResidual`.

    Returns:
      A `ConstrainedMinimum`.

    Raises:
      ValueError: a setting is out of its range, there is no constraint, or there are no parameters.

    Source: Hestenes 1969; Powell 1969; Rockafellar 1973 (inequalities); Nocedal & Wright, "Numerical
    optimization", 2006, algorithm 17.4; the test of the violation: Birgin & Martinez, "Practical augmented
    Lagrangian methods", 2014, algorithm 4.1.
    """
    checks.at_least(1, max_iterations=max_iterations, inner_iterations=inner_iterations, growth=growth)
    checks.positive(penalty=penalty)
    checks.non_negative(tolerance=tolerance)
    if equality_fn is None and inequality_fn is None:
        raise ValueError("equality_fn or inequality_fn must be given; without constraints take minimize")
    check_not_empty(params)
    tx = lbfgs() if tx is None else tx
    equality = _constraint("equality_fn", equality_fn)
    inequality = _constraint("inequality_fn", inequality_fn)
    params = jax.tree.map(jnp.asarray, params)
    dtype = jax.eval_shape(value_fn, params).dtype

    def multipliers(constraint):
        return jnp.zeros(jax.eval_shape(constraint, params).shape, dtype)

    def body(carry):
        end, rho, violation = carry
        lambda_, mu = end.equality_multipliers, end.inequality_multipliers

        def augmented(params):
            h, c = equality(params), inequality(params)
            penalties = jnp.sum(jnp.square(h)), jnp.sum(jnp.square(jax.nn.relu(mu + rho * c)))
            inequalities = (penalties[1] - jnp.sum(jnp.square(mu))) / (2 * rho)
            return value_fn(params) + jnp.vdot(lambda_, h) + rho / 2 * penalties[0] + inequalities

        x = minimize(
            augmented,
            end.params,
            tx,
            max_iterations=inner_iterations,
            tolerance=tolerance / 2,
            keep_trajectory=False,
        ).params
        h, c = equality(x), inequality(x)
        now = jnp.maximum(largest(h), largest(jnp.maximum(c, -mu / rho))).astype(dtype)
        end = _finished(
            value_fn,
            x,
            equality,
            inequality,
            (lambda_ + rho * h).astype(dtype),
            jax.nn.relu(mu + rho * c).astype(dtype),
            end.iterations + 1,
            tolerance,
        )
        return end, jnp.where(now > violation / 4, growth * rho, rho), now

    def unfinished(carry):
        end, _, _ = carry
        return ~end.converged & (end.iterations < max_iterations)

    begin = _finished(
        value_fn,
        params,
        equality,
        inequality,
        multipliers(equality),
        multipliers(inequality),
        jnp.zeros((), jnp.int32),
        tolerance,
    )
    start = (begin, jnp.asarray(penalty, dtype), jnp.asarray(jnp.inf, dtype))
    end, _, _ = jax.lax.while_loop(unfinished, body, start)
    return end


def projected_gradient(
    learning_rate: optax.ScalarOrSchedule, projection_fn: Callable[[Params], Params]
) -> optax.GradientTransformation:
    """Gradient descent that returns to the allowed set after every step.

    theta_{t+1} = P(theta_t - eta g_t),  P(x) the point of the set nearest to x

    For a loss whose gradient is Lipschitz with constant l and a convex set it converges with eta <= 1 / l. The
    gradient does not vanish at the end, the step does: `minimize(..., step_tolerance=1e-6)`.

        tx = optim.projected_gradient(0.1, optax.projections.projection_simplex)

    It is for sets with a cheap projection; `augmented_lagrangian` takes constraints as equations.
    `max_norm_projection` and `weight_clipping` are the same idea as a last link behind any optimizer.

    Args:
      learning_rate: eta >= 0, number or schedule.
      projection_fn: P, of the whole pytree of parameters, such as those of `optax.projections`.

    Raises:
      ValueError: the rate is negative or not finite; `update` was called without params.

    Source: Goldstein 1964; Levitin & Polyak 1966; Nocedal & Wright, "Numerical optimization", 2006, section
    16.7.
    """

    def update_fn(updates, state, params: Any = None):
        needs_loss(params)
        nearest = projection_fn(optax.apply_updates(params, updates))
        return jax.tree.map(lambda x, p: (x - p).astype(p.dtype), nearest, params), state

    project = optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)
    return optax.chain(scale_by_learning_rate(learning_rate), project)
