"""Schedules that rise again: warm restarts, triangles, one cycle.

As in `schedules`, each returns a function from a count t, int[] or an array of them, to values of that shape,
float32. Where a cycle starts is integer arithmetic, so no step falls on its wrong side by rounding.
"""

import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import checks
from jaxdl.types import Array


def _share(part: Array, whole: Array | int) -> Array:
    """part / whole in float32, or wider under x64."""
    return part.astype(jnp.result_type(float)) / whole


def _half_cosine(progress: Array, start: float, end: float) -> Array:
    return end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))


def cosine_restarts(
    init_value: float, decay_steps: int, multiplier: int = 1, end_value: float = 0.0
) -> optax.Schedule:
    """Falls along half a period of a cosine, jumps back up and falls again, each time for longer.

    end_value + (init_value - end_value) (1 + cos(pi T / T_i)) / 2
    T steps since the last restart, T_i = decay_steps multiplier^i the length of cycle i = 0, 1, 2, ...

    Args:
      init_value: where every cycle starts, finite, >= 0.
      decay_steps: T_0 >= 1, length of the first cycle.
      multiplier: >= 1, whole.
      end_value: finite, >= 0; a cycle ends one step short of it.

    Raises:
      ValueError: a setting is out of its range.

    Source: Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, equation 5,
    arXiv:1608.03983.
    Same as PyTorch's `CosineAnnealingWarmRestarts(T_0=decay_steps, T_mult=multiplier, eta_min=end_value)`, and as
    `optax.sgdr_schedule`, to which every cycle is given by itself.
    """
    checks.non_negative(init_value=init_value, end_value=end_value)
    checks.at_least(1, decay_steps=decay_steps, multiplier=multiplier)
    if multiplier == 1:

        def position(count):
            return count % decay_steps, decay_steps
    else:
        # All cycles that begin before the count ends, at 2^31; 31 at most.
        lengths, starts = [decay_steps], [0]
        while starts[-1] + lengths[-1] <= np.iinfo(np.int32).max:
            starts.append(starts[-1] + lengths[-1])
            lengths.append(lengths[-1] * multiplier)
        first, length = jnp.asarray(starts, jnp.int32), jnp.asarray(lengths, jnp.float32)

        def position(count):
            cycle = jnp.searchsorted(first, count, side="right") - 1
            return count - first[cycle], length[cycle]

    def schedule(count):
        since, whole = position(jnp.asarray(count))
        return _half_cosine(_share(since, whole), init_value, end_value)

    return schedule


def cyclic(
    init_value: float,
    peak_value: float,
    steps_up: int,
    steps_down: int | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
) -> optax.Schedule:
    """Climbs in a straight line and falls in one, again and again.

    init_value + (peak_value - init_value) scale h,  h from 0 to 1 in steps_up steps and back in steps_down
    scale = 1              "triangular"
            2^-cycle       "triangular2", cycle = 0, 1, 2, ...
            gamma^t        "exp_range"

    Args:
      init_value: finite, >= 0.
      peak_value: finite, >= 0; of the first cycle.
      steps_up: >= 1.
      steps_down: >= 1; None takes steps_up.
      mode: how the peak changes.
      gamma: > 0, of "exp_range"; per step.

    Raises:
      ValueError: a setting is out of its range, or the mode unknown.

    Source: Smith, "Cyclical learning rates for training neural networks", 2017, section 3, arXiv:1506.01186.
    Same as PyTorch's `CyclicLR` without its cycle of momenta; Optax has no twin.
    """
    steps_down = steps_up if steps_down is None else steps_down
    checks.non_negative(init_value=init_value, peak_value=peak_value)
    checks.at_least(1, steps_up=steps_up, steps_down=steps_down)
    checks.one_of(("triangular", "triangular2", "exp_range"), mode=mode)
    checks.positive(gamma=gamma)
    period = steps_up + steps_down

    def schedule(count):
        count = jnp.asarray(count)
        since = count % period
        height = jnp.where(since <= steps_up, _share(since, steps_up), _share(period - since, steps_down))
        if mode == "triangular2":
            height = height * jnp.exp2(-_share(count // period, 1))
        elif mode == "exp_range":
            height = height * jnp.power(gamma, _share(count, 1))
        return init_value + (peak_value - init_value) * height

    return schedule


def one_cycle(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> optax.Schedule:
    """Climbs to a large value along half a cosine, falls along another to almost nothing, then stays.

    t < S:   from peak_value / div_factor to peak_value,  S = floor(pct_start transition_steps)
    t >= S:  from peak_value to peak_value / (div_factor final_div_factor), at t = transition_steps

    Args:
      transition_steps: >= 2.
      peak_value: finite, >= 0.
      pct_start: share of the steps that climb; S is at least 1 and below transition_steps.
      div_factor: peak over first value, > 0.
      final_div_factor: first value over last, > 0.

    Raises:
      ValueError: a setting is out of its range.

    Source: Smith & Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    2018, arXiv:1708.07120, with cosines for its straight lines.
    Same as `optax.cosine_onecycle_schedule`. PyTorch's `OneCycleLR(total_steps=N + 1)` ends at step N too, and
    peaks at pct_start (N + 1) - 1, which need not be a whole step.
    """
    checks.at_least(2, transition_steps=transition_steps)
    checks.non_negative(peak_value=peak_value)
    checks.positive(div_factor=div_factor, final_div_factor=final_div_factor)
    climb = int(pct_start * transition_steps)
    checks.between(1, transition_steps - 1, **{"pct_start * transition_steps": climb})
    first = peak_value / div_factor
    last = first / final_div_factor

    def schedule(count):
        count = jnp.asarray(count)
        up = _share(jnp.clip(count, 0, climb), climb)
        down = _share(jnp.clip(count - climb, 0, transition_steps - climb), transition_steps - climb)
        return jnp.where(
            count < climb, _half_cosine(up, first, peak_value), _half_cosine(down, peak_value, last)
        )

    return schedule
