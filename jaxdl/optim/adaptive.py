"""Steps scaled, parameter by parameter, by what the gradient has been so far.

Symbols: theta parameters, g gradient at theta, eta learning rate; m and v running moments of g, zero at
first; squares, roots and quotients are elementwise.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import (
    accumulator,
    cast_like,
    look_ahead,
    moving_average,
    next_count,
    squares,
    weight_sum,
)
from jaxdl.optim.decay import add_decayed_weights
from jaxdl.optim.first_order import scale_by_momentum, scale_by_nesterov
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Array, Dtype, Params


class ScaleByAdagradState(NamedTuple):
    sum_of_squares: Params  # G_t, like params, float32 or wider


def scale_by_adagrad(
    initial_accumulator_value: float = 0.1, eps: float = 1e-7
) -> optax.GradientTransformation:
    """Divides by the root of the sum of all squared gradients.

    G_t = G_{t-1} + g_t^2
    u_t = g_t / sqrt(G_t + eps),  0 where G_t = 0

    Args:
      initial_accumulator_value: G_0 >= 0.
      eps: >= 0, inside the root.

    Raises:
      ValueError: a setting is negative or not finite.

    Source: Duchi, Hazan & Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011, JMLR 12, the diagonal form.
    Differs from PyTorch, which adds eps outside the root; and from the paper in G_0 = 0.1, as in Optax.
    """
    checks.non_negative(initial_accumulator_value=initial_accumulator_value, eps=eps)

    def init_fn(params):
        return ScaleByAdagradState(accumulator(params, initial_accumulator_value))

    def update_fn(updates, state, params=None):
        del params
        total = jax.tree.map(jnp.add, state.sum_of_squares, squares(updates))
        direction = jax.tree.map(
            lambda g, s: jnp.where(s == 0, 0, g * jax.lax.rsqrt(s + eps)).astype(g.dtype), updates, total
        )
        return direction, ScaleByAdagradState(cast_like(total, state.sum_of_squares))

    return optax.GradientTransformation(init_fn, update_fn)


class ScaleByRmspropState(NamedTuple):
    count: Array  # int32[]
    nu: Params  # v_t, like params, float32 or wider
    mu: Params  # m_t, like params, float32 or wider; None unless centered


def scale_by_rmsprop(
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    bias_correction: bool = False,
) -> optax.GradientTransformation:
    """Divides by the root of a moving average of squared gradients.

    v_t = decay v_{t-1} + (1 - decay) g_t^2
    u_t = g_t / sqrt(v_t + eps)

    Centered, a moving average m_t of the gradient is kept as well and v_t - m_t^2, a running variance, stands
    in the place of v_t. With bias correction, v_t and m_t are first divided by 1 - decay^t.

    Args:
      decay: in [0, 1).
      eps: >= 0.
      initial_scale: v_0 >= 0.
      eps_in_sqrt: False divides by sqrt(v_t) + eps, as PyTorch does.
      centered: divide by the standard deviation instead of the root mean square.
      bias_correction: as in Adam.

    Raises:
      ValueError: decay outside [0, 1), or eps or initial_scale negative or not finite.

    Source: Tieleman & Hinton, "Lecture 6.5: RMSProp", 2012; centered: Graves, "Generating sequences with
    recurrent neural networks", 2013, equations 38 to 43, arXiv:1308.0850.
    Differs from Optax and PyTorch where rounding makes v_t - m_t^2 negative: it counts as 0 here, NaN there.
    """
    checks.decay(decay=decay)
    checks.non_negative(eps=eps, initial_scale=initial_scale)

    def init_fn(params):
        nu = accumulator(params, initial_scale)
        return ScaleByRmspropState(jnp.zeros((), jnp.int32), nu, accumulator(params) if centered else None)

    def update_fn(updates, state, params=None):
        del params
        count = next_count(state.count)
        weight = weight_sum(decay, count) if bias_correction else 1
        nu = moving_average(decay, state.nu, squares(updates))
        power = jax.tree.map(lambda v: v / weight, nu)
        mu = None
        if centered:
            mu = moving_average(decay, state.mu, updates)
            power = jax.tree.map(lambda v, m: jnp.maximum(v - jnp.square(m / weight), 0), power, mu)
            mu = cast_like(mu, state.mu)

        def direction(g, v):
            scaled = g * jax.lax.rsqrt(v + eps) if eps_in_sqrt else g / (jnp.sqrt(v) + eps)
            return scaled.astype(g.dtype)

        return jax.tree.map(direction, updates, power), ScaleByRmspropState(
            count, cast_like(nu, state.nu), mu
        )

    return optax.GradientTransformation(init_fn, update_fn)


class ScaleByAdamState(NamedTuple):
    count: Array  # int32[]
    mu: Params  # first moment m_t, like params, `mu_dtype`, or float32 or wider
    nu: Params  # second raw moment v_t, like params, float32 or wider


def scale_by_adam(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Dtype | None = None,
    *,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Divides an average of the gradient by the root of an average of its square, both bias-corrected.

    m_t = b1 m_{t-1} + (1 - b1) g_t
    v_t = b2 v_{t-1} + (1 - b2) g_t^2
    u_t = (m_t / (1 - b1^t)) / (sqrt(v_t / (1 - b2^t) + eps_root) + eps)

    With Nesterov momentum the numerator is b1 m_t / (1 - b1^{t+1}) + (1 - b1) g_t / (1 - b1^t).

    Args:
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root; positive where the update itself is differentiated.
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.
      nesterov: the look-ahead numerator.

    Raises:
      ValueError: b1 or b2 outside [0, 1), or eps or eps_root negative or not finite.

    Source: Kingma & Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1, arXiv:1412.6980;
    with Nesterov momentum: Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    Differs from Keras, whose eps is 1e-7; from Optax in the dtype of the moments under bfloat16 and float16
    parameters, float32 here, the parameter's own there.
    """
    checks.decay(b1=b1, b2=b2)
    checks.non_negative(eps=eps, eps_root=eps_root)

    def init_fn(params):
        return ScaleByAdamState(
            jnp.zeros((), jnp.int32), accumulator(params, dtype=mu_dtype), accumulator(params)
        )

    def update_fn(updates, state, params=None):
        del params
        count = next_count(state.count)
        mu = moving_average(b1, state.mu, updates)
        nu = moving_average(b2, state.nu, squares(updates))
        mu_weight, nu_weight = weight_sum(b1, count), weight_sum(b2, count)
        if nesterov:
            mu_hat = look_ahead(b1, mu, updates, count)
        else:
            mu_hat = jax.tree.map(lambda m: m / mu_weight, mu)
        direction = jax.tree.map(
            lambda m, v, g: (m / (jnp.sqrt(v / nu_weight + eps_root) + eps)).astype(g.dtype),
            mu_hat,
            nu,
            updates,
        )
        return direction, ScaleByAdamState(count, cast_like(mu, state.mu), cast_like(nu, state.nu))

    return optax.GradientTransformation(init_fn, update_fn)


def adagrad(
    learning_rate: optax.ScalarOrSchedule, initial_accumulator_value: float = 0.1, eps: float = 1e-7
) -> optax.GradientTransformation:
    """Gradient descent whose rate, for each parameter, falls with the sum of its squared gradients.

    G_t = G_{t-1} + g_t^2
    theta_{t+1} = theta_t - eta g_t / sqrt(G_t + eps)

    Args:
      learning_rate: eta >= 0, number or schedule.
      initial_accumulator_value: G_0 >= 0.
      eps: >= 0, inside the root.

    Raises:
      ValueError: a setting is negative or not finite.

    Source: Duchi, Hazan & Singer 2011. See `scale_by_adagrad` for what differs elsewhere.
    """
    return optax.chain(
        scale_by_adagrad(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate)
    )


def rmsprop(
    learning_rate: optax.ScalarOrSchedule,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: float | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> optax.GradientTransformation:
    """Gradient descent with each gradient divided by its own recent root mean square.

    v_t = decay v_{t-1} + (1 - decay) g_t^2
    theta_{t+1} = theta_t - eta g_t / sqrt(v_t + eps)

    Args:
      learning_rate: eta >= 0, number or schedule.
      decay: in [0, 1).
      eps: >= 0.
      initial_scale: v_0 >= 0.
      eps_in_sqrt: False divides by sqrt(v_t) + eps, as PyTorch does.
      centered: divide by the standard deviation instead.
      momentum: mu in [0, 1) of a velocity over the scaled gradients, or None.
      nesterov: make it Nesterov momentum; needs `momentum`.
      bias_correction: as in Adam.

    Raises:
      ValueError: a setting is out of its range, or nesterov lacks momentum.

    Source: Tieleman & Hinton 2012. See `scale_by_rmsprop` for what differs elsewhere.
    Differs from `optax.rmsprop` with momentum under a schedule: there the learning rate enters the velocity,
    here, as in PyTorch, it multiplies the velocity. At constant eta the two are one.
    """
    links = [scale_by_rmsprop(decay, eps, initial_scale, eps_in_sqrt, centered, bias_correction)]
    if momentum is not None:
        checks.decay(momentum=momentum)
        links.append(scale_by_nesterov(momentum) if nesterov else scale_by_momentum(momentum))
    elif nesterov:
        raise ValueError("nesterov=True needs momentum in [0, 1), got momentum=None")
    return optax.chain(*links, scale_by_learning_rate(learning_rate))


def adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Dtype | None = None,
    *,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Adaptive moment estimation: momentum and RMSProp, both corrected for their start at 0.

    m_t = b1 m_{t-1} + (1 - b1) g_t,  v_t = b2 v_{t-1} + (1 - b2) g_t^2
    theta_{t+1} = theta_t - eta (m_t / (1 - b1^t)) / (sqrt(v_t / (1 - b2^t) + eps_root) + eps)

    No parameter moves much further than eta in one step.

    Args:
      learning_rate: eta >= 0 in parameter units per step, number or schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.
      nesterov: Dozat's look-ahead numerator.

    Raises:
      ValueError: a setting is out of its range.

    Source: Kingma & Ba 2015, algorithm 1. See `scale_by_adam` for what differs elsewhere.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Dtype | None = None,
    weight_decay: optax.ScalarOrSchedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Adam with weight decay that the moments do not see.

    theta_{t+1} = theta_t - eta (u_t + weight_decay theta_t),  u_t as in Adam

    Args:
      learning_rate: eta >= 0 in parameter units per step, number or schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.
      weight_decay: >= 0, number or schedule; eta weight_decay is the share of a weight lost per step.
      mask: pytree of bool like params, or a function from params to one: which parameters decay. None is all.
      nesterov: Dozat's look-ahead numerator.

    Raises:
      ValueError: a setting is out of its range.

    Source: Loshchilov & Hutter, "Decoupled weight decay regularization", 2019, algorithm 2, arXiv:1711.05101.
    Differs from the paper, where the decay is multiplied by the schedule alone and not by eta; this is the
    form of Optax and PyTorch. PyTorch's default decay is 1e-2.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
