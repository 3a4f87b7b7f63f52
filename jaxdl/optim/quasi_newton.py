"""Curvature learned from the gradients seen so far: BFGS, its limited-memory form, conjugate gradients.

Symbols: theta parameters, g gradient at theta; s_t = theta_{t+1} - theta_t the last step, y_t = g_{t+1} - g_t
what it did to the gradient. Both are read off at the next update, from the parameters that come in, so that
any line search, clipping or projection may follow. All of it takes full gradients of one loss: noise from
minibatches goes straight into y.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import accumulator, cast_like, next_count
from jaxdl.optim.line_search import descend_along, needs_loss, wolfe_line_search
from jaxdl.optim.paths import check_not_empty
from jaxdl.optim.vectors import flatten, inner, length, plus, widen
from jaxdl.types import Array, Params


def _curves(s: Params, y: Params) -> Array:
    """Whether the pair tells of positive curvature, beyond what rounding can feign, bool[]."""
    product = inner(s, y)
    return product > jnp.finfo(product.dtype).eps * length(s) * length(y)


def _first_scale(grad: Params) -> Array:
    """min(1, 1 / |g|): the first step, of which nothing is known, is no longer than 1."""
    return jnp.minimum(1, 1 / length(grad))


class ScaleByBfgsState(NamedTuple):
    count: Array  # int32[]
    pairs: Array  # int32[], accepted so far
    params: Array  # theta_{t-1}, float[n]
    grads: Array  # g_{t-1}, float[n]
    inverse_hessian: Array  # float[n, n]


def scale_by_bfgs(scale_init_precond: bool = True) -> optax.GradientTransformation:
    """Multiplies the gradient by an estimate of the inverse Hessian, kept as a matrix.

    H_{t+1} = (I - rho s y') H_t (I - rho y s') + rho s s',  rho = 1 / <s, y>
    u_t = H_t g_t

    A pair with <s, y> <= 0, which no positive definite matrix explains, leaves H as it is. n parameters take
    n^2 numbers; from a few thousand on `scale_by_lbfgs` is the one to take.

    Args:
      scale_init_precond: H_0 = min(1, 1 / |g_0|) I, and <s, y> / <y, y> I before the first pair enters; False
        is H_0 = I.

    Raises:
      TypeError: a parameter is not floating point.
      ValueError: `update` was called without params, or there are none.

    Source: Broyden 1970, Fletcher 1970, Goldfarb 1970, Shanno 1970, as in Nocedal & Wright, "Numerical
    optimization", 2006, equations 6.17 and 6.20.
    """

    def init_fn(params):
        check_not_empty(params)
        vector, _ = flatten(accumulator(params))
        zero = jnp.zeros((), jnp.int32)
        return ScaleByBfgsState(zero, zero, vector, vector, jnp.eye(vector.size, dtype=vector.dtype))

    def update_fn(updates, state, params=None):
        needs_loss(params)
        (theta, _), (g, back) = flatten(params), flatten(updates)
        s, y, inverse = theta - state.params, g - state.grads, state.inverse_hessian
        product = inner(s, y)
        known = (state.count > 0) & _curves(s, y)
        rho = jnp.where(known, 1 / jnp.where(known, product, 1), 0)
        if scale_init_precond:
            scale = jnp.where(known, product / jnp.where(known, inner(y, y), 1), _first_scale(g))
            inverse = jnp.where(state.pairs == 0, scale * jnp.eye(g.size, dtype=g.dtype), inverse)
        hy = inverse @ y
        cross = jnp.outer(s, hy)
        inverse = inverse + rho * ((1 + rho * inner(y, hy)) * jnp.outer(s, s) - cross - cross.T)
        count, pairs = next_count(state.count), state.pairs + known
        return back(inverse @ g), ScaleByBfgsState(count, pairs, theta, g, inverse)

    return optax.GradientTransformation(init_fn, update_fn)


class ScaleByLbfgsState(NamedTuple):
    count: Array  # int32[]
    pairs: Array  # int32[], accepted so far
    params: Params  # theta_{t-1}, like params, float32 or wider
    grads: Params  # g_{t-1}, like params, float32 or wider
    steps: Params  # s, like params with a leading axis [memory_size]
    changes: Params  # y, likewise
    rho: Array  # 1 / <s, y>, float[memory_size], 0 where there is no pair
    scale: Array  # of the identity at the core, float[]


def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> optax.GradientTransformation:
    """Multiplies the gradient by the inverse Hessian that the last few pairs (s, y) amount to.

    q = g;  for the pairs, newest first:  a_i = rho_i <s_i, q>,  q = q - a_i y_i
    u = gamma q;  oldest first:  u = u + (a_i - rho_i <y_i, u>) s_i

    with rho_i = 1 / <s_i, y_i> and gamma = <s, y> / <y, y> of the newest pair. That is BFGS begun at gamma I
    with `memory_size` pairs, in 4 n memory_size multiplications. A pair with <s, y> <= 0 is left out.

    Args:
      memory_size: >= 1, pairs kept.
      scale_init_precond: False keeps gamma = 1; True also shortens the first step to a length of 1 at most.

    Raises:
      ValueError: memory_size < 1; `update` was called without params, or there are none.

    Source: Liu & Nocedal, "On the limited memory BFGS method for large scale optimization", 1989; Nocedal &
    Wright, "Numerical optimization", 2006, algorithm 7.4.
    Differs from `optax.scale_by_lbfgs` for pairs with <s, y> <= 0, which that keeps, with what they make of the
    direction; and in keeping float32 memory of bfloat16 parameters.
    """
    checks.at_least(1, memory_size=memory_size)

    def init_fn(params):
        check_not_empty(params)
        zeros = accumulator(params)
        memory = jax.tree.map(lambda x: jnp.zeros((memory_size, *x.shape), x.dtype), zeros)
        rho = jnp.zeros(memory_size, length(zeros).dtype)
        zero = jnp.zeros((), jnp.int32)
        return ScaleByLbfgsState(zero, zero, zeros, zeros, memory, memory, rho, jnp.ones((), rho.dtype))

    def update_fn(updates, state, params=None):
        needs_loss(params)
        theta, g = widen(params), widen(updates)
        s, y = plus(theta, -1, state.params), plus(g, -1, state.grads)
        known = (state.count > 0) & _curves(s, y)
        slot = state.pairs % memory_size

        def store(memory, x):
            return memory.at[slot].set(jnp.where(known, x, memory[slot]))

        steps, changes = jax.tree.map(store, state.steps, s), jax.tree.map(store, state.changes, y)
        product = jnp.where(known, inner(s, y), 1)
        rho = store(state.rho, 1 / product)
        pairs = state.pairs + known
        scale = jnp.ones_like(state.scale)
        if scale_init_precond:
            scale = jnp.where(known, product / jnp.where(known, inner(y, y), 1), state.scale)
            scale = jnp.where(state.count == 0, _first_scale(g), scale)
        newest_first = (pairs - 1 - jnp.arange(memory_size)) % memory_size

        def pair(i):
            return jax.tree.map(lambda m: m[i], steps), jax.tree.map(lambda m: m[i], changes)

        def backward(q, i):
            s, y = pair(i)
            a = rho[i] * inner(s, q)
            return plus(q, -a, y), a

        def forward(u, row):
            i, a = row
            s, y = pair(i)
            return plus(u, a - rho[i] * inner(y, u), s), None

        q, a = jax.lax.scan(backward, g, newest_first)
        u = jax.tree.map(lambda x: scale * x, q)
        u, _ = jax.lax.scan(forward, u, (newest_first, a), reverse=True)
        return cast_like(u, updates), ScaleByLbfgsState(
            next_count(state.count), pairs, theta, g, steps, changes, rho, scale
        )

    return optax.GradientTransformation(init_fn, update_fn)


class ScaleByConjugateGradientState(NamedTuple):
    count: Array  # int32[]
    grads: Params  # g_{t-1}, like params, float32 or wider
    direction: Params  # u_{t-1}, likewise


def scale_by_conjugate_gradient() -> optax.GradientTransformation:
    """Adds to the gradient as much of the last direction as makes the two conjugate.

    u_t = g_t + beta_t u_{t-1},  beta_t = max(0, <g_t, g_t - g_{t-1}> / <g_{t-1}, g_{t-1}>)

    Where u_t climbs hardly better than across the gradient, <g_t, u_t> < |g_t|^2 / 100, it starts anew from g_t.
    On a quadratic, with exact steps, n steps end at the minimum.

    Source: Polak & Ribiere, "Note sur la convergence de methodes de directions conjuguees", 1969; the maximum
    with 0: Gilbert & Nocedal, "Global convergence properties of conjugate gradient methods for optimization",
    1992; Nocedal & Wright, "Numerical optimization", 2006, equations 5.44 and 5.45.
    """

    def init_fn(params):
        check_not_empty(params)
        zeros = accumulator(params)
        return ScaleByConjugateGradientState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update_fn(updates, state, params=None):
        del params
        g = widen(updates)
        before = inner(state.grads, state.grads)
        beta = inner(g, plus(g, -1, state.grads)) / jnp.where(before == 0, 1, before)
        beta = jnp.where((state.count == 0) | (before == 0), 0, jnp.maximum(beta, 0))
        mixed = plus(g, beta, state.direction)
        restart = inner(g, mixed) < 0.01 * inner(g, g)
        direction = jax.tree.map(lambda x, u: jnp.where(restart, x, u), g, mixed)
        return cast_like(direction, updates), ScaleByConjugateGradientState(
            next_count(state.count), g, direction
        )

    return optax.GradientTransformation(init_fn, update_fn)


def bfgs(
    learning_rate: optax.ScalarOrSchedule | None = None,
    scale_init_precond: bool = True,
    linesearch: optax.GradientTransformation | None = wolfe_line_search(),  # noqa: B008 - immutable
) -> optax.GradientTransformationExtraArgs:
    """Quasi-Newton descent with a full matrix: the fewest iterations, for up to a few thousand parameters.

    theta_{t+1} = theta_t - a_t H_t g_t,  H_t as in `scale_by_bfgs`, a_t from the line search

    Args:
      learning_rate: a number or schedule that multiplies the step before the search; None is 1.
      scale_init_precond: start from a scaled identity; see `scale_by_bfgs`.
      linesearch: last link; None steps with the learning rate alone.

    Raises:
      TypeError: a parameter is not floating point.

    Source: Nocedal & Wright, "Numerical optimization", 2006, algorithm 6.1.
    Differs from SciPy's BFGS, which keeps H_0 = I; `scale_init_precond=False` does so too.
    """
    return descend_along(scale_by_bfgs(scale_init_precond), learning_rate, linesearch)


def lbfgs(
    learning_rate: optax.ScalarOrSchedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: optax.GradientTransformation | None = wolfe_line_search(),  # noqa: B008 - immutable
) -> optax.GradientTransformationExtraArgs:
    """Quasi-Newton descent that remembers a few pairs instead of a matrix: for any number of parameters.

    theta_{t+1} = theta_t - a_t H_t g_t,  H_t as in `scale_by_lbfgs`, a_t from the line search

    Args:
      learning_rate: a number or schedule that multiplies the step before the search; None is 1.
      memory_size: >= 1, pairs kept.
      scale_init_precond: start from a scaled identity; see `scale_by_lbfgs`.
      linesearch: last link; None steps with the learning rate alone.

    Raises:
      ValueError: memory_size < 1, or there are no parameters.
      TypeError: a parameter is not floating point.

    Source: Liu & Nocedal 1989; Nocedal & Wright, "Numerical optimization", 2006, algorithm 7.5.
    Same signature as `optax.lbfgs`, with `wolfe_line_search` in the place of its zoom search.
    """
    return descend_along(scale_by_lbfgs(memory_size, scale_init_precond), learning_rate, linesearch)


def conjugate_gradient(
    learning_rate: optax.ScalarOrSchedule | None = None,
    linesearch: optax.GradientTransformation | None = wolfe_line_search(  # noqa: B008 - immutable
        curv_rtol=0.4, initial_guess_strategy="interpolate"
    ),
) -> optax.GradientTransformationExtraArgs:
    """Nonlinear conjugate gradients: the least memory, two vectors, for smooth full-batch losses.

    theta_{t+1} = theta_t - a_t u_t,  u_t = g_t + beta_t u_{t-1} as in `scale_by_conjugate_gradient`

    Args:
      learning_rate: a number or schedule that multiplies the step before the search; None is 1.
      linesearch: last link, with c2 < 1/2; None steps with the learning rate alone.

    Raises:
      TypeError: a parameter is not floating point.

    Source: Nocedal & Wright, "Numerical optimization", 2006, algorithm 5.4 with equation 5.45.
    """
    return descend_along(scale_by_conjugate_gradient(), learning_rate, linesearch)
