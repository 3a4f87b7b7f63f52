"""The loop around an optimizer when the loss is a function and there is no data to go through."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.paths import check_floating, check_not_empty
from jaxdl.optim.vectors import largest
from jaxdl.types import Array, Params


class Minimum(NamedTuple):
    """Where a minimization ended, and how it got there."""

    params: Params
    value: Array  # float[], there
    grad_norm: Array  # float[], largest absolute entry of the gradient there
    iterations: Array  # int32[], updates made
    converged: Array  # bool[], whether a tolerance was met
    values: Array  # float[max_iterations + 1], start first, the end repeated behind it
    trajectory: Params  # likewise, params with a leading axis [max_iterations + 1]; None without one
    opt_state: optax.OptState


class _Progress(NamedTuple):
    params: Params
    opt_state: optax.OptState
    value: Array
    grads: Params
    step: Array  # float[], largest absolute entry of the last update
    iterations: Array
    values: Array
    trajectory: Params


def minimize(
    value_fn: Callable[[Params], Array],
    params: Params,
    tx: optax.GradientTransformation,
    *,
    max_iterations: int = 100,
    tolerance: float = 1e-6,
    step_tolerance: float = 0.0,
    keep_trajectory: bool = True,
) -> Minimum:
    """Runs an optimizer on a function until the gradient vanishes.

    theta_{t+1} = theta_t + tx(g_t),  until max |g_t| < tolerance or max |theta_{t+1} - theta_t| < step_tolerance

    One `while` loop, so it can be jitted, and vmapped over starts, learning rates or problems; it is not
    differentiated in reverse. `tx` gets `value`, `grad` and `value_fn`, which line searches and Newton's method
    ask for. Where the loss comes in batches, take `train.make_update` and `train.fit`: at one batch over and over
    they make the same steps.

        starts = search.latin_hypercube(key, 20, lower, upper)
        ends = jax.jit(jax.vmap(lambda x: optim.minimize(search.himmelblau, x, optim.bfgs())))(starts)

    Args:
      value_fn: parameters to loss, float[].
      params: start, pytree of floating arrays.
      tx: any Optax transformation.
      max_iterations: >= 1.
      tolerance: >= 0, on the gradient; 0 never stops.
      step_tolerance: >= 0, on the update; 0 never stops. What stops projected steps, whose gradient stays.
      keep_trajectory: False saves the memory of all iterates; the values are kept.

    Returns:
      A `Minimum`; `trajectory` and `values` begin at the start.

    Raises:
      ValueError: a setting is out of its range, there are no parameters, or value_fn does not return one number.
      TypeError: a parameter or the loss is not floating point.
    """
    checks.at_least(1, max_iterations=max_iterations)
    checks.non_negative(tolerance=tolerance, step_tolerance=step_tolerance)
    check_not_empty(params)
    check_floating(params)
    loss = jax.eval_shape(value_fn, params)
    checks.shape((), value=loss)
    checks.floating(value=loss)
    tx = optax.with_extra_args_support(tx)
    params = jax.tree.map(jnp.asarray, params)
    value_and_grad = jax.value_and_grad(value_fn)

    def history(x):
        return jnp.broadcast_to(x, (max_iterations + 1, *x.shape))

    def write(history, params, iteration):
        return jax.tree.map(lambda h, x: h.at[iteration].set(x), history, params)

    def converged(progress: _Progress) -> Array:
        return (largest(progress.grads) < tolerance) | (progress.step < step_tolerance)

    def unfinished(progress: _Progress) -> Array:
        return ~converged(progress) & (progress.iterations < max_iterations)

    def body(progress: _Progress) -> _Progress:
        updates, opt_state = tx.update(
            progress.grads,
            progress.opt_state,
            progress.params,
            value=progress.value,
            grad=progress.grads,
            value_fn=value_fn,
        )
        params: Any = optax.apply_updates(progress.params, updates)
        value, grads = value_and_grad(params)
        iterations = progress.iterations + 1
        return _Progress(
            params,
            opt_state,
            value,
            grads,
            largest(updates),
            iterations,
            progress.values.at[iterations].set(value),
            write(progress.trajectory, params, iterations) if keep_trajectory else None,
        )

    value, grads = value_and_grad(params)
    start = _Progress(
        params,
        tx.init(params),
        value,
        grads,
        jnp.full_like(largest(params), jnp.inf),
        jnp.zeros((), jnp.int32),
        history(value),
        jax.tree.map(history, params) if keep_trajectory else None,
    )
    end = jax.lax.while_loop(unfinished, body, start)

    def to_the_end(h, last):
        later = jnp.arange(max_iterations + 1) > end.iterations
        return jnp.where(later.reshape(-1, *(1,) * last.ndim), last[None], h)

    return Minimum(
        params=end.params,
        value=end.value,
        grad_norm=largest(end.grads),
        iterations=end.iterations,
        converged=converged(end),
        values=to_the_end(end.values, end.value),
        trajectory=jax.tree.map(to_the_end, end.trajectory, end.params) if keep_trajectory else None,
        opt_state=end.opt_state,
    )
