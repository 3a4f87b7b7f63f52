"""Learning rates as functions of the number of updates taken.

Every schedule returns a pure function from a count t, int[] or an array of them, to values of that shape,
float32. Counts start at 0, so the first update uses the value at 0. A schedule is good for anything that
takes one, such as weight decay.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxdl import checks
from jaxdl.types import Array


def _progress(count: ArrayLike, steps: ArrayLike) -> Array:
    """count / steps held within [0, 1]."""
    return jnp.clip(count, 0, steps) / jnp.asarray(steps)


def constant(value: float) -> optax.Schedule:
    """The same value at every step.

    Args:
      value: finite, >= 0.

    Raises:
      ValueError: value is negative or not finite.
    """
    checks.non_negative(value=value)
    return lambda count: jnp.full(jnp.shape(count), value, jnp.result_type(float))


def step_decay(init_value: float, transition_steps: int, decay_rate: float) -> optax.Schedule:
    """Multiplies by a factor every so many steps.

    init_value decay_rate^floor(t / transition_steps)

    Args:
      init_value: finite, >= 0.
      transition_steps: steps between drops, >= 1.
      decay_rate: factor of each drop, > 0.

    Raises:
      ValueError: a setting is out of its range.

    Same as PyTorch's `StepLR(step_size=transition_steps, gamma=decay_rate)`. `exponential_decay` with `staircase` is
    this with a late start and a bound; `piecewise_constant` drops at steps and by factors of your choice.
    """
    checks.non_negative(init_value=init_value)
    checks.at_least(1, transition_steps=transition_steps)
    checks.positive(decay_rate=decay_rate)
    return lambda count: init_value * jnp.power(decay_rate, jnp.floor_divide(count, transition_steps) * 1.0)


def piecewise_constant(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> optax.Schedule:
    """Multiplies by given factors at given steps.

    init_value times the product of the scales of all boundaries b with t >= b

    Args:
      init_value: finite, >= 0.
      boundaries_and_scales: {step >= 0: factor >= 0}.

    Raises:
      ValueError: a setting is out of its range.
    """
    boundaries_and_scales = dict(boundaries_and_scales or {})
    checks.non_negative(init_value=init_value)
    for boundary, scale in boundaries_and_scales.items():
        checks.at_least(0, boundary=boundary)
        checks.non_negative(**{f"scale at {boundary}": scale})

    def schedule(count):
        value = constant(init_value)(count)
        for boundary, scale in boundaries_and_scales.items():
            value = jnp.where(jnp.asarray(count) >= boundary, value * scale, value)
        return value

    return schedule


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> optax.Schedule:
    """Multiplies by the same small factor at every step.

    init_value decay_rate^(max(t - transition_begin, 0) / transition_steps)

    The form init_value e^{-k t} has transition_steps 1 and decay_rate e^{-k}.

    Args:
      init_value: finite, >= 0.
      transition_steps: steps per factor of decay_rate, >= 1.
      decay_rate: > 0.
      transition_begin: first step of the decay, >= 0.
      staircase: round the exponent down.
      end_value: bound that the value does not pass, below for decay_rate < 1, above otherwise.

    Raises:
      ValueError: a setting is out of its range.

    Differs from `optax.exponential_decay`, which turns transition_steps <= 0, decay_rate 0 and a negative
    transition_begin into a constant.
    """
    checks.non_negative(init_value=init_value)
    checks.at_least(1, transition_steps=transition_steps)
    checks.positive(decay_rate=decay_rate)
    checks.at_least(0, transition_begin=transition_begin)
    if end_value is not None:
        checks.non_negative(end_value=end_value)

    def schedule(count):
        exponent = jnp.maximum(jnp.asarray(count) - transition_begin, 0) / transition_steps
        value = init_value * jnp.power(decay_rate, jnp.floor(exponent) if staircase else exponent)
        if end_value is None:
            return value
        shrinking = jnp.asarray(decay_rate) < 1
        return jnp.where(shrinking, jnp.maximum(value, end_value), jnp.minimum(value, end_value))

    return schedule


def polynomial_decay(
    init_value: float, end_value: float, power: float, transition_steps: int, transition_begin: int = 0
) -> optax.Schedule:
    """Goes from one value to another along a power of the steps that are left.

    end_value + (init_value - end_value) (1 - p)^power
    p = (t - transition_begin) / transition_steps, held within [0, 1]

    Args:
      init_value: finite, >= 0.
      end_value: finite, >= 0.
      power: > 0; 1 is a straight line.
      transition_steps: T, >= 1.
      transition_begin: first step of the decay, >= 0.

    Raises:
      ValueError: a setting is out of its range.

    Same as `optax.polynomial_schedule`.
    """
    checks.non_negative(init_value=init_value, end_value=end_value)
    checks.positive(power=power)
    checks.at_least(1, transition_steps=transition_steps)
    checks.at_least(0, transition_begin=transition_begin)

    def schedule(count):
        progress = _progress(jnp.asarray(count) - transition_begin, transition_steps)
        return end_value + (init_value - end_value) * jnp.power(1 - progress, power)

    return schedule


def linear_warmup(init_value: float, peak_value: float, warmup_steps: int) -> optax.Schedule:
    """Climbs in a straight line, then stays.

    init_value + (peak_value - init_value) min(t / warmup_steps, 1)

    Args:
      init_value: finite, >= 0. The first update uses it, so 0 makes that update a null step.
      peak_value: finite, >= 0.
      warmup_steps: >= 1.

    Raises:
      ValueError: a setting is out of its range.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2, arXiv:1706.02677.
    Same as `optax.warmup_constant_schedule`.
    """
    checks.non_negative(init_value=init_value, peak_value=peak_value)
    checks.at_least(1, warmup_steps=warmup_steps)
    return lambda count: init_value + (peak_value - init_value) * _progress(count, warmup_steps)


def cosine_decay(
    init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0
) -> optax.Schedule:
    """Falls along half a period of a cosine, then stays.

    init_value ((1 - alpha) c^exponent + alpha),  c = (1 + cos(pi min(t / decay_steps, 1))) / 2

    Args:
      init_value: finite, >= 0.
      decay_steps: >= 1.
      alpha: last value as a share of the first, >= 0.
      exponent: > 0.

    Raises:
      ValueError: a setting is out of its range.

    Source: Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, equation 5,
    without restarts, arXiv:1608.03983.
    Same as `optax.cosine_decay_schedule`.
    Differs from PyTorch's `CosineAnnealingLR`, which climbs back behind T_max; up to there they are one.
    """
    checks.non_negative(init_value=init_value, alpha=alpha)
    checks.at_least(1, decay_steps=decay_steps)
    checks.positive(exponent=exponent)

    def schedule(count):
        wave = 0.5 * (1 + jnp.cos(jnp.pi * _progress(count, decay_steps)))
        return init_value * ((1 - alpha) * jnp.power(wave, exponent) + alpha)

    return schedule


def warmup_cosine(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> optax.Schedule:
    """Climbs in a straight line, then falls along half a period of a cosine.

    t < warmup_steps:  init_value + (peak_value - init_value) t / warmup_steps
    else:              end_value + (peak_value - end_value) c^exponent,
                       c = (1 + cos(pi p)) / 2,  p = min((t - warmup_steps) / (decay_steps - warmup_steps), 1)

    Args:
      init_value: finite, >= 0.
      peak_value: finite, >= 0.
      warmup_steps: >= 0.
      decay_steps: steps in all, warm-up included, > warmup_steps.
      end_value: finite, >= 0.
      exponent: > 0.

    Raises:
      ValueError: a setting is out of its range.

    Source: Goyal et al. 2017, section 2.2; Loshchilov & Hutter 2017, equation 5.
    Same as `optax.warmup_cosine_decay_schedule`.
    """
    checks.non_negative(init_value=init_value, peak_value=peak_value, end_value=end_value)
    checks.at_least(0, warmup_steps=warmup_steps)
    checks.positive(exponent=exponent, **{"decay_steps - warmup_steps": decay_steps - warmup_steps})

    def schedule(count):
        count = jnp.asarray(count)
        climb = init_value + (peak_value - init_value) * _progress(count, jnp.maximum(warmup_steps, 1))
        wave = 0.5 * (1 + jnp.cos(jnp.pi * _progress(count - warmup_steps, decay_steps - warmup_steps)))
        fall = end_value + (peak_value - end_value) * jnp.power(wave, exponent)
        return jnp.where(count < warmup_steps, climb, fall)

    return schedule


def time_based_decay(init_value: float, decay_rate: float) -> optax.Schedule:
    """Falls as one over the time.

    init_value / (1 + decay_rate t)

    Its sum diverges and the sum of its squares does not, which is what stochastic approximation asks of a rate.

    Args:
      init_value: finite, >= 0.
      decay_rate: k >= 0, per step; after 1 / k steps the value has halved.

    Raises:
      ValueError: a setting is out of its range.

    Source: Robbins & Monro, "A stochastic approximation method", 1951. Keras calls it `InverseTimeDecay`; PyTorch's
    `ASGD` has it inside, with alpha 1 and lambd = decay_rate / init_value.
    """
    checks.non_negative(init_value=init_value, decay_rate=decay_rate)
    return lambda count: init_value / (1 + decay_rate * jnp.asarray(count, jnp.result_type(float)))


def noam(features: int, warmup_steps: int, factor: float = 1.0) -> optax.Schedule:
    """Climbs in a straight line, then falls as one over the root of the time: the rate of the first Transformer.

    factor features^-0.5 min(s^-0.5, s warmup_steps^-1.5),  s = t + 1

    Its peak is factor / sqrt(features warmup_steps), at s = warmup_steps.

    Args:
      features: width of the model, >= 1; 512 in the source.
      warmup_steps: >= 1; 4000 in the source.
      factor: > 0.

    Raises:
      ValueError: a setting is out of its range.

    Source: Vaswani et al., "Attention is all you need", 2017, equation 3, arXiv:1706.03762. Steps are counted from
    1 there.
    """
    checks.at_least(1, features=features, warmup_steps=warmup_steps)
    checks.positive(factor=factor)

    def schedule(count):
        step = jnp.asarray(count, jnp.result_type(float)) + 1
        rise = step * jnp.power(jnp.asarray(warmup_steps, step.dtype), -1.5)
        return factor * jnp.minimum(jax.lax.rsqrt(step), rise) / jnp.sqrt(jnp.asarray(features, step.dtype))

    return schedule
