"""Adafactor: a second moment kept as the averages of its rows and columns.

Symbols: theta one parameter array, g its gradient, eta learning rate; RMS(x) = sqrt(mean(x^2)).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import next_count, widened
from jaxdl.optim.decay import add_decayed_weights
from jaxdl.optim.first_order import scale_by_ema_momentum
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.paths import check_floating
from jaxdl.types import Array, Dtype, Params


def _rms(x: Array) -> Array:
    return jnp.sqrt(jnp.mean(jnp.square(widened(x)))) if x.size else jnp.zeros(())


def _factored_axes(shape: tuple[int, ...], factored: bool, min_size: int) -> tuple[int, int] | None:
    """The two longest axes, the longest last; None where the second moment is kept whole."""
    if not factored or len(shape) < 2:
        return None
    *_, second, first = sorted(range(len(shape)), key=shape.__getitem__)
    return (second, first) if shape[second] >= min_size else None


class ScaleByFactoredRmsState(NamedTuple):
    count: Array  # int32[]
    v_row: Params  # like params without the longest axis, float32 or wider; [1] where not factored
    v_col: Params  # like params without the second longest axis, float32 or wider; [1] where not factored
    v: Params  # like params, float32 or wider; [1] where factored


def scale_by_factored_rms(
    factored: bool = True,
    decay_rate: float = 0.8,
    step_offset: int = 0,
    min_dim_size_to_factor: int = 128,
    epsilon: float = 1e-30,
) -> optax.GradientTransformation:
    """Divides by the root of a running mean square that is kept as an outer product.

    b_t = 1 - max(t - step_offset, 1)^-decay_rate
    R_t = b_t R_{t-1} + (1 - b_t) mean over columns of (g_t^2 + epsilon)
    C_t = b_t C_{t-1} + (1 - b_t) mean over rows of (g_t^2 + epsilon)
    u_t = g_t / sqrt(R_t C_t / mean(R_t)),  or g_t / sqrt(V_t) with V_t kept whole

    The decay b_t grows from 0 to 1, so there is no bias to correct.

    Args:
      factored: False keeps every second moment whole.
      decay_rate: in (0, 1].
      step_offset: count of a restored state from which t starts again, >= 0.
      min_dim_size_to_factor: arrays whose second longest axis is shorter are kept whole, >= 1.
      epsilon: > 0, added to the squared gradient.

    Raises:
      ValueError: a setting is out of its range.
      TypeError: at `init`, a parameter is not floating point.

    Source: Shazeer & Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018, algorithm 4,
    arXiv:1804.04235.
    Differs from PyTorch, which factors the last two axes whatever their length, and which bounds the estimate
    from below instead of adding epsilon.
    """
    checks.positive(decay_rate=decay_rate, epsilon=epsilon)
    checks.between(0, 1, decay_rate=decay_rate)
    checks.at_least(0, step_offset=step_offset)
    checks.at_least(1, min_dim_size_to_factor=min_dim_size_to_factor)

    def axes_of(x):
        return _factored_axes(x.shape, factored, min_dim_size_to_factor)

    def init_fn(params):
        check_floating(params)

        def zeros(p, shape_of):
            axes = axes_of(p)
            dtype = jnp.promote_types(p.dtype, jnp.float32)
            return jnp.zeros(shape_of(p.shape, axes), dtype)

        def without(which):
            return lambda shape, axes: (
                (1,) if axes is None else tuple(n for i, n in enumerate(shape) if i != axes[which])
            )

        return ScaleByFactoredRmsState(
            jnp.zeros((), jnp.int32),
            jax.tree.map(lambda p: zeros(p, without(1)), params),
            jax.tree.map(lambda p: zeros(p, without(0)), params),
            jax.tree.map(lambda p: zeros(p, lambda shape, axes: shape if axes is None else (1,)), params),
        )

    def update_fn(updates, state, params=None):
        del params
        count = next_count(state.count)
        t = jnp.maximum(count - step_offset, 1).astype(jnp.result_type(float))
        gain = jnp.power(t, -decay_rate)

        def average(old, new):  # gain is 1 - b_t
            return (old + gain * (new - old)).astype(old.dtype)

        def one(g, v_row, v_col, v):
            square = jnp.square(widened(g)) + epsilon
            axes = axes_of(g)
            if axes is None:
                v = average(v, square)
                return (g * jax.lax.rsqrt(v)).astype(g.dtype), v_row, v_col, v
            second, first = axes
            v_row = average(v_row, square.mean(axis=first))
            v_col = average(v_col, square.mean(axis=second))
            mean = v_row.mean(axis=second - (second > first), keepdims=True)
            direction = g * jnp.expand_dims(jax.lax.rsqrt(v_row / mean), first)
            direction = direction * jnp.expand_dims(jax.lax.rsqrt(v_col), second)
            return direction.astype(g.dtype), v_row, v_col, v

        leaves, structure = jax.tree.flatten(updates)
        kept = [structure.flatten_up_to(tree) for tree in (state.v_row, state.v_col, state.v)]
        results = [one(*each) for each in zip(leaves, *kept)]
        direction, v_row, v_col, v = (
            structure.unflatten([result[i] for result in results]) for i in range(4)
        )
        return direction, ScaleByFactoredRmsState(count, v_row, v_col, v)

    return optax.GradientTransformation(init_fn, update_fn)


def _clip_by_rms(threshold: float) -> optax.GradientTransformation:
    """u <- u / max(1, RMS(u) / threshold), for every array."""
    checks.positive(clipping_threshold=threshold)

    def clip(u):
        return (u / jnp.maximum(1, _rms(u) / threshold)).astype(u.dtype)

    return optax.stateless(lambda updates, params: jax.tree.map(clip, updates))


def _scale_by_parameter_rms(min_scale: float = 1e-3) -> optax.GradientTransformation:
    """u <- u max(min_scale, RMS(theta)), for every array."""

    def update(updates, params):
        if params is None:
            raise ValueError("params must be given to update: the step is a share of their size")
        return jax.tree.map(
            lambda u, p: (u * jnp.maximum(_rms(p), min_scale)).astype(u.dtype), updates, params
        )

    return optax.stateless(update)


def adafactor(
    learning_rate: optax.ScalarOrSchedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: float = 0.8,
    decay_offset: int = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: float | None = 1.0,
    momentum: float | None = None,
    dtype_momentum: Dtype = jnp.float32,
    weight_decay_rate: optax.ScalarOrSchedule | None = None,
    eps: float = 1e-30,
    factored: bool = True,
    weight_decay_mask: Any = None,
) -> optax.GradientTransformation:
    """Adam without momentum in the memory of one row and one column per matrix, with steps relative to the weights.

    u_t = g_t / sqrt(V_t),  V_t factored as in `scale_by_factored_rms`
    u_t <- u_t / max(1, RMS(u_t) / clipping_threshold)
    theta_{t+1} = theta_t - eta max(1e-3, RMS(theta_t)) u_t - weight_decay_rate theta_t

    With momentum a running average of the steps, eta included, is taken instead of the step.

    Args:
      learning_rate: eta >= 0, in units of the parameters' RMS, number or schedule; None is 1, for a chain that
        scales the steps itself.
      min_dim_size_to_factor: arrays whose second longest axis is shorter keep V whole, >= 1.
      decay_rate: c in (0, 1]; V decays by 1 - t^-c.
      decay_offset: count of a restored state from which t starts again, >= 0.
      multiply_by_parameter_scale: False leaves RMS(theta_t) out.
      clipping_threshold: d > 0, or None for no clipping.
      momentum: decay of the average step, in [0, 1), or None.
      dtype_momentum: of that average.
      weight_decay_rate: >= 0, number or schedule, or None; eta does not multiply it.
      eps: > 0, added to the squared gradient.
      factored: False keeps every V whole.
      weight_decay_mask: pytree of bool like params, or a function from params to one; None is all.

    Raises:
      ValueError: a setting is out of its range; `update` was called without params where the step is relative.

    Source: Shazeer & Stern 2018, algorithms 4 and 5, whose eta is min(1e-2, 1 / sqrt(t)).
    Differs from PyTorch, which caps eta at 1 / sqrt(t) and decays by eta times the weights. See
    `scale_by_factored_rms` for the rest.
    """
    links = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        links.append(_clip_by_rms(clipping_threshold))
    if learning_rate is not None:
        # Not the last link: the average and the decay behind it are in units of the parameters.
        links.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        links.append(_scale_by_parameter_rms())
    if momentum is not None:
        checks.decay(momentum=momentum)
        links.append(scale_by_ema_momentum(momentum, dtype_momentum))
    if weight_decay_rate is not None:
        links.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return optax.chain(*links, optax.scale(-1.0))
