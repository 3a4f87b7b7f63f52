"""Steps that look at the sign of the gradient: its size is left out, or only decides with earlier signs.

Symbols: theta parameters, g gradient at theta, eta learning rate; everything is elementwise.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import accumulator, cast_like, moving_average
from jaxdl.optim.decay import add_decayed_weights
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Dtype, Params


def scale_by_sign() -> optax.GradientTransformation:
    """Keeps the sign of every entry.

    u_t = sign(g_t), 0 where g_t = 0

    Source: Bernstein et al., "signSGD: compressed optimisation for non-convex problems", 2018, algorithm 1,
    arXiv:1802.04434.
    """
    return optax.stateless(lambda updates, params: jax.tree.map(jnp.sign, updates))


def signsgd(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Moves every parameter by the same amount, against its gradient.

    theta_{t+1} = theta_t - eta sign(g_t)

    At a constant eta it ends within eta of a minimum, not at it.

    Args:
      learning_rate: eta >= 0 in parameter units per step, number or schedule.

    Raises:
      ValueError: the learning rate is negative or not finite.

    Source: Bernstein et al. 2018, algorithm 1. Same as `optax.sign_sgd`.
    """
    return optax.chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


class ScaleByLionState(NamedTuple):
    mu: Params  # m_t, like params, `mu_dtype`, or float32 or wider


def scale_by_lion(
    b1: float = 0.9, b2: float = 0.99, mu_dtype: Dtype | None = None
) -> optax.GradientTransformation:
    """Takes the sign of the momentum after it saw the gradient with one weight, and keeps it with another.

    u_t = sign(b1 m_{t-1} + (1 - b1) g_t)
    m_t = b2 m_{t-1} + (1 - b2) g_t

    Args:
      b1: weight of the past in the step, in [0, 1).
      b2: weight of the past in the memory, in [0, 1).
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: b1 or b2 outside [0, 1).

    Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023, program 1, arXiv:2302.06675.
    """
    checks.decay(b1=b1, b2=b2)

    def init_fn(params):
        return ScaleByLionState(accumulator(params, dtype=mu_dtype))

    def update_fn(updates, state, params=None):
        del params
        direction = jax.tree.map(jnp.sign, moving_average(b1, state.mu, updates))
        mu = moving_average(b2, state.mu, updates)
        return cast_like(direction, updates), ScaleByLionState(cast_like(mu, state.mu))

    return optax.GradientTransformation(init_fn, update_fn)


def lion(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.99,
    mu_dtype: Dtype | None = None,
    weight_decay: optax.ScalarOrSchedule = 1e-3,
    mask: Any = None,
) -> optax.GradientTransformation:
    """Evolved sign momentum: one accumulator, and steps of one size for all parameters.

    theta_{t+1} = theta_t - eta (sign(b1 m_{t-1} + (1 - b1) g_t) + weight_decay theta_t)
    m_t = b2 m_{t-1} + (1 - b2) g_t

    Args:
      learning_rate: eta >= 0 in parameter units per step, number or schedule; 3 to 10 times below Adam's.
      b1: weight of the past in the step, in [0, 1).
      b2: weight of the past in the memory, in [0, 1).
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.
      weight_decay: >= 0, number or schedule, decoupled; as much above Adam's as eta is below.
      mask: pytree of bool like params, or a function from params to one: which parameters decay. None is all.

    Raises:
      ValueError: a setting is out of its range.

    Source: Chen et al. 2023, program 1. The defaults are those of Optax; PyTorch has no
    twin.
    """
    return optax.chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


class ScaleByRpropState(NamedTuple):
    step_size: Params  # Delta_t, like params, float32 or wider
    sign: Params  # of the last gradient that counted, -1, 0 or 1, like params, float32 or wider


def scale_by_rprop(
    learning_rate: float,
    eta_minus: float = 0.5,
    eta_plus: float = 1.2,
    min_step_size: float = 1e-6,
    max_step_size: float = 50.0,
) -> optax.GradientTransformation:
    """Replaces each entry by a step of its own size, which grows while the sign stays and shrinks when it turns.

    s_t = sign(g_t) sign(g'_{t-1})
    Delta_t = min(eta_plus Delta_{t-1}, max_step_size) where s_t > 0, max(eta_minus Delta_{t-1}, min_step_size)
      where s_t < 0, Delta_{t-1} where s_t = 0
    g'_t = 0 where s_t < 0, else g_t
    u_t = Delta_t sign(g'_t)

    Where the sign turned, the parameter rests for one step and the next gradient counts as the first.

    Args:
      learning_rate: Delta_0, in parameter units; between min_step_size and max_step_size.
      eta_minus: in (0, 1).
      eta_plus: > 1.
      min_step_size: > 0.
      max_step_size: > min_step_size.

    Raises:
      ValueError: a setting is out of its range, or the bounds cross.

    Source: Riedmiller & Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm",
    1993; without weight backtracking: Igel & Huesken, "Improving the Rprop learning algorithm", 2000 (iRprop-).
    The recurrence of PyTorch. Differs from Optax 0.2.8, which applies every step one step late and none at first
    (google-deepmind/optax#1725).
    """
    checks.non_negative(learning_rate=learning_rate)
    checks.positive(min_step_size=min_step_size, eta_minus=eta_minus)
    checks.positive(**{"max_step_size - min_step_size": max_step_size - min_step_size})
    checks.non_negative(
        **{
            "learning_rate - min_step_size": learning_rate - min_step_size,
            "max_step_size - learning_rate": max_step_size - learning_rate,
        }
    )
    checks.decay(eta_minus=eta_minus)
    checks.positive(**{"eta_plus - 1": eta_plus - 1})

    def init_fn(params):
        return ScaleByRpropState(accumulator(params, learning_rate), accumulator(params))

    def update_fn(updates, state, params=None):
        del params
        sign = jax.tree.map(lambda g, previous: jnp.sign(g).astype(previous.dtype), updates, state.sign)
        agreement = jax.tree.map(jnp.multiply, sign, state.sign)

        def resized(step, s):
            moved = jnp.clip(step * jnp.where(s > 0, eta_plus, eta_minus), min_step_size, max_step_size)
            return jnp.where(s == 0, step, moved).astype(step.dtype)

        step_size = jax.tree.map(resized, state.step_size, agreement)
        sign = jax.tree.map(lambda x, s: jnp.where(s < 0, jnp.zeros_like(x), x), sign, agreement)
        direction = jax.tree.map(jnp.multiply, step_size, sign)
        return cast_like(direction, updates), ScaleByRpropState(step_size, sign)

    return optax.GradientTransformation(init_fn, update_fn)


def rprop(
    learning_rate: float,
    eta_minus: float = 0.5,
    eta_plus: float = 1.2,
    min_step_size: float = 1e-6,
    max_step_size: float = 50.0,
) -> optax.GradientTransformation:
    """Resilient backpropagation: a step size for every parameter, from signs alone. For whole batches.

    theta_{t+1} = theta_t - Delta_t sign(g'_t),  Delta_t and g'_t as in `scale_by_rprop`

    Signs of gradients of small batches turn by chance, which shrinks every step; take `lion` or `adam` there.
    The step sizes are its learning rates, one per parameter, in the state as `step_size`; the metrics of a step
    report none.

    Args:
      learning_rate: Delta_0, in parameter units; between min_step_size and max_step_size. Not a schedule: the
        method is one.
      eta_minus: in (0, 1).
      eta_plus: > 1.
      min_step_size: > 0.
      max_step_size: > min_step_size.

    Raises:
      ValueError: a setting is out of its range, or the bounds cross.

    Source: Riedmiller & Braun 1993; Igel & Huesken 2000. See `scale_by_rprop` for what differs elsewhere.
    """
    return optax.chain(
        scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size), optax.scale(-1.0)
    )


class ScaleByDeltaBarDeltaState(NamedTuple):
    gain: Params  # like params, float32 or wider, > 0
    average: Params  # running average of the gradient, like params, float32 or wider


def scale_by_delta_bar_delta(
    kappa: float = 0.1, phi: float = 0.1, decay: float = 0.7
) -> optax.GradientTransformation:
    """Gives each entry a gain that grows by an amount while the gradient keeps its sign, and shrinks by a share.

    gain_t = gain_{t-1} + kappa      where a_{t-1} g_t > 0
             gain_{t-1} (1 - phi)    where a_{t-1} g_t < 0
             gain_{t-1}              else,  gain_0 = 1
    u_t = gain_t g_t
    a_t = decay a_{t-1} + (1 - decay) g_t,  a_0 = 0

    Args:
      kappa: >= 0, in multiples of the first learning rate.
      phi: in [0, 1).
      decay: of the average, in [0, 1); theta in the source.

    Raises:
      ValueError: kappa negative or not finite, or phi or decay outside [0, 1).

    Source: Jacobs, "Increased rates of convergence through learning rate adaptation", 1988, the delta-bar-delta
    rule. There each weight has a rate; here the rate is eta gain, so kappa is the source's divided by eta.
    """
    checks.non_negative(kappa=kappa)
    checks.decay(phi=phi, decay=decay)

    def init_fn(params):
        return ScaleByDeltaBarDeltaState(accumulator(params, 1.0), accumulator(params))

    def update_fn(updates, state, params=None):
        del params

        def adapted(gain, average, g):
            agreement = jnp.sign(average) * jnp.sign(g)
            lower = jnp.where(agreement < 0, gain * (1 - phi), gain)
            return jnp.where(agreement > 0, gain + kappa, lower).astype(gain.dtype)

        gain = jax.tree.map(adapted, state.gain, state.average, updates)
        direction = jax.tree.map(lambda k, g: (k * g).astype(g.dtype), gain, updates)
        average = cast_like(moving_average(decay, state.average, updates), state.average)
        return direction, ScaleByDeltaBarDeltaState(gain, average)

    return optax.GradientTransformation(init_fn, update_fn)


def delta_bar_delta(
    learning_rate: optax.ScalarOrSchedule, kappa: float = 0.1, phi: float = 0.1, decay: float = 0.7
) -> optax.GradientTransformation:
    """Gradient descent with a learning rate per weight: up slowly while the slope keeps its sign, down fast.

    theta_{t+1} = theta_t - eta gain_t g_t,  gain_t as in `scale_by_delta_bar_delta`

    Args:
      learning_rate: eta >= 0, of every weight at first; number or schedule.
      kappa: what a gain grows by, >= 0.
      phi: share of itself that a gain shrinks by, in [0, 1).
      decay: of the average gradient that the sign is compared with, in [0, 1).

    Raises:
      ValueError: a setting is out of its range.

    Source: Jacobs 1988, without momentum. Neither Optax nor PyTorch has a twin.
    """
    return optax.chain(scale_by_delta_bar_delta(kappa, phi, decay), scale_by_learning_rate(learning_rate))
