"""Optimizers around an optimizer: when it steps, from where, and what becomes of the result.

Symbols: theta parameters, delta what the wrapped optimizer would add to them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks, loops
from jaxdl.optim.accumulators import cast_like, next_count, weight_sum, widened
from jaxdl.types import Array, Dtype, Params


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


class LookaheadState(NamedTuple):
    fast_state: optax.OptState
    slow: Params  # slow weights, like params, float32 or wider
    steps_since_sync: Array  # int32[]


def lookahead(
    fast_optimizer: optax.GradientTransformation,
    sync_period: int,
    slow_step_size: float,
    reset_state: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Lets a fast optimizer explore for k steps, then goes part of the way and starts again from there.

    theta <- theta + delta                              every step
    phi <- phi + slow_step_size (theta - phi), theta <- phi      every sync_period-th step, phi_0 = theta_0

    The parameters that a step trains are the fast weights theta; they equal the slow weights phi after every
    sync_period-th step. In between phi, which generalizes better, is in the state as `slow`:
    `optax.tree.get(opt_state, "slow")`. `exponential_moving_average` keeps an average too, and never moves the
    parameters to it.

    Args:
      fast_optimizer: any chain.
      sync_period: k >= 1; 5 to 10 in the source.
      slow_step_size: alpha in (0, 1]; 0.5 to 0.8 in the source.
      reset_state: start the fast optimizer's state anew after every synchronization.

    Raises:
      ValueError: sync_period or slow_step_size is out of range; `update` was called without params.

    Source: Zhang et al., "Lookahead optimizer: k steps forward, 1 step back", 2019, algorithm 1, arXiv:1907.08610.
    Differs from `optax.lookahead`, whose parameters are a pair of fast and slow weights: here they are the fast
    weights alone, as any step has them. The two sequences are the same.
    """
    checks.at_least(1, sync_period=sync_period)
    checks.positive(slow_step_size=slow_step_size)
    checks.between(0, 1, slow_step_size=slow_step_size)
    fast_optimizer = optax.with_extra_args_support(fast_optimizer)

    def init_fn(params):
        # A copy: one buffer cannot be donated twice.
        slow = jax.tree.map(lambda p: jnp.array(widened(p), copy=True), params)
        return LookaheadState(fast_optimizer.init(params), slow, jnp.zeros((), jnp.int32))

    def update_fn(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("params must be given to update: slow weights follow them")
        updates, fast_state = fast_optimizer.update(updates, state.fast_state, params, **extra_args)
        sync = state.steps_since_sync == sync_period - 1
        moved = jax.tree.map(
            lambda p, u, s: s + slow_step_size * (widened(p) + u - s), params, updates, state.slow
        )
        slow = _where(sync, cast_like(moved, state.slow), state.slow)
        back = jax.tree.map(lambda s, p, u: (s - p).astype(u.dtype), moved, params, updates)
        if reset_state:
            fast_state = _where(sync, fast_optimizer.init(params), fast_state)
        steps = jnp.where(sync, 0, state.steps_since_sync + 1)
        return _where(sync, back, updates), LookaheadState(fast_state, slow, steps)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class AccumulateState(NamedTuple):
    mini_step: Array  # int32[], gradients in the mean so far
    gradient_step: Array  # int32[], updates of the inner optimizer so far
    mean: Params  # of those gradients, like params, float32 or wider
    inner: optax.OptState


def accumulate(
    inner: optax.GradientTransformation, every_k_schedule: int | Callable[[Array], Array]
) -> optax.GradientTransformationExtraArgs:
    """Steps once every k gradients, along their mean; the parameters rest in between.

    delta = inner((g_1 + ... + g_k) / k) at the k-th gradient, 0 before

    Take this one where the k gradients come from k calls of a step: the data arrive in small batches, or k changes
    in the course of training. Take `train.microbatched` where one batch only is too large for the memory: it slices
    the batch inside one step, keeps no second copy of the parameters between steps, and counts one step per update.
    Both give the same parameters. Links that count or average updates belong inside `inner`.

    Args:
      inner: any chain.
      every_k_schedule: k >= 1, or a function from the number of updates so far, int32[], to k, int32[].

    Raises:
      ValueError: k is below 1.

    Differs from `optax.MultiSteps` in being a transformation, not a class around one; and `inner` sees a mean in
    float32 rounded once to the gradient's dtype.
    """
    if not callable(every_k_schedule):
        checks.at_least(1, every_k_schedule=every_k_schedule)
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        zero = jnp.zeros((), jnp.int32)
        mean = jax.tree.map(lambda p: jnp.zeros_like(widened(p)), params)
        return AccumulateState(zero, jnp.zeros((), jnp.int32), mean, inner.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        k = every_k_schedule(state.gradient_step) if callable(every_k_schedule) else every_k_schedule
        count = state.mini_step + 1
        mean = jax.tree.map(lambda a, g: (a + (g - a) / count).astype(a.dtype), state.mean, updates)

        def step():
            delta, inner_state = inner.update(cast_like(mean, updates), state.inner, params, **extra_args)
            return cast_like(delta, updates), AccumulateState(
                jnp.zeros_like(count),
                next_count(state.gradient_step),
                jax.tree.map(jnp.zeros_like, mean),
                inner_state,
            )

        def rest():
            return jax.tree.map(jnp.zeros_like, updates), state._replace(mini_step=count, mean=mean)

        return loops.cond(count >= k, step, rest)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class ExponentialMovingAverageState(NamedTuple):
    count: Array  # int32[], updates so far
    averaged_params: Params  # like params, `accumulator_dtype`, or float32 or wider


def exponential_moving_average(
    decay: float, debias: bool = True, accumulator_dtype: Dtype | None = None
) -> optax.GradientTransformation:
    """Keeps a moving average of the parameters and leaves the updates alone; the last link of a chain.

    a_t = decay a_{t-1} + (1 - decay) theta_t,  divided by 1 - decay^t where it is debiased

    Debiased, only theta_1, theta_2, ... count; otherwise the average starts at theta_0. The state holds what is to
    be used, the division done:

        tx = optax.chain(optim.adam(1e-3), optim.exponential_moving_average(0.999))
        averaged = optax.tree.get(opt_state, "averaged_params")

    Take this one to evaluate with averaged weights. Take `train.make_target_step` where the loss needs the average
    too (teachers, target networks): it passes the copy to the objective. Without the division the two averages are
    one. The average of the gradients is `ema_momentum`.

    Args:
      decay: in [0, 1).
      debias: leave the first parameters out.
      accumulator_dtype: of the average; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: decay outside [0, 1); `update` was called without params.

    Source: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992, with exponential
    weights.
    Differs from `optax.ema`, which has these arguments and averages what it is given instead: fed with parameters,
    debiased, it is this average.
    """
    checks.decay(decay=decay)

    def init_fn(params):
        def copy(p):
            return jnp.array(p, accumulator_dtype or jnp.promote_types(p.dtype, jnp.float32), copy=True)

        return ExponentialMovingAverageState(jnp.zeros((), jnp.int32), jax.tree.map(copy, params))

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("params must be given to update: the average is over them")
        count = next_count(state.count)
        share = (1 - decay) / weight_sum(decay, count) if debias else 1 - decay

        def follow(a, p, u):
            # Parameters as `apply_updates` will leave them, rounding included.
            return (a + share * (widened((p + u).astype(p.dtype)) - a)).astype(a.dtype)

        average = jax.tree.map(follow, state.averaged_params, params, updates)
        return updates, ExponentialMovingAverageState(count, average)

    return optax.GradientTransformation(init_fn, update_fn)


class SamState(NamedTuple):
    steps_since_sync: Array  # int32[]
    opt_state: optax.OptState
    adv_state: optax.OptState
    cache: Params  # where the ascent began, like params; None in opaque mode


def sam(
    optimizer: optax.GradientTransformation,
    adv_optimizer: optax.GradientTransformation,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Sharpness-aware minimization: descends by the gradient at a point uphill of the parameters.

    e = rho g(theta) / |g(theta)|
    theta <- theta + delta(g(theta + e))

        uphill = optax.chain(optim.scale_to_norm(1.0), optim.sgd(rho))
        tx = optim.sam(optim.sgd(0.1, 0.9), uphill)

    Transparent, a call takes one gradient: sync_period - 1 calls climb and the next one steps, from where the climb
    began. Parameters that are read in between stand uphill, and every batch serves one gradient. Opaque, a call
    climbs and steps, with gradients of its own: from `grad_fn`, an extra argument (params, i) -> gradient, or else by
    differentiating `value_fn`, params -> loss, which `train.make_update` passes.

    Take `rules.sharpness_aware` for a step of one's own, which is a gradient estimator: the same numbers, metrics of
    the unperturbed parameters, microbatches and devices as they compose, no state. Take this one where only the
    optimizer can be exchanged.

    Args:
      optimizer: takes the step.
      adv_optimizer: climbs. It is written as an optimizer that descends; its sign is turned here.
      sync_period: gradients per step, >= 1; 2 is the source's. 1 is `optimizer` alone.
      reset_state: start `adv_optimizer` anew for every step.
      opaque_mode: climb and step in one call.
      batch_axis_name: axis to average the gradients of opaque mode over, under `pmap` or `shard_map`.

    Returns:
      A transformation. Its state holds the rates of both optimizers, so a step reports `learning_rate/0`, the
      optimizer's, and `learning_rate/1`, the climber's.

    Raises:
      ValueError: sync_period is below 1; `update` was called without params, or in opaque mode without a function.

    Source: Foret et al., "Sharpness-aware minimization for efficiently improving generalization", 2021, algorithm 1,
    arXiv:2010.01412. Same as `optax.contrib.sam`, whose opaque mode knows `grad_fn` alone.
    """
    checks.at_least(1, sync_period=sync_period)
    optimizer, adv_optimizer = map(optax.with_extra_args_support, (optimizer, adv_optimizer))

    def init_fn(params):
        cache = None if opaque_mode else jax.tree.map(lambda p: jnp.array(p, copy=True), params)
        return SamState(jnp.zeros((), jnp.int32), optimizer.init(params), adv_optimizer.init(params), cache)

    def uphill(grads, state, params):
        updates, state = adv_optimizer.update(grads, state, params)
        return jax.tree.map(jnp.negative, updates), state

    def transparent(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("params must be given to update: a step starts where the climb began")
        first, last = state.steps_since_sync == 0, state.steps_since_sync == sync_period - 1
        cache = _where(first, params, state.cache)
        climb, adv_state = uphill(updates, state.adv_state, params)
        delta, opt_state = optimizer.update(updates, state.opt_state, cache, **extra_args)
        delta = jax.tree.map(lambda c, p, u: (c - p + u).astype(u.dtype), cache, params, delta)
        start = adv_optimizer.init(params) if reset_state else state.adv_state
        return _where(last, delta, climb), SamState(
            jnp.where(last, 0, state.steps_since_sync + 1),
            _where(last, opt_state, state.opt_state),
            _where(last, start, adv_state),
            cache,
        )

    def opaque(updates, state, params=None, *, grad_fn=None, value_fn=None, **extra_args):
        if grad_fn is None and value_fn is not None:
            slope = jax.grad(value_fn)

            def grad_fn(point, i):
                return slope(point)

        if params is None or grad_fn is None:
            raise ValueError("params and one of grad_fn and value_fn must be given to update in opaque mode")
        point, adv_state = params, state.adv_state
        for i in range(sync_period - 1):
            climb, adv_state = uphill(updates, adv_state, point)
            point = optax.apply_updates(point, climb)
            updates = grad_fn(point, i)
            if batch_axis_name is not None:
                updates = jax.lax.pmean(updates, axis_name=batch_axis_name)
        adv_state = adv_optimizer.init(params) if reset_state else adv_state
        delta, opt_state = optimizer.update(updates, state.opt_state, params, **extra_args)
        return delta, SamState(state.steps_since_sync, opt_state, adv_state, None)

    return optax.GradientTransformationExtraArgs(init_fn, opaque if opaque_mode else transparent)
