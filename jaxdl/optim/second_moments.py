"""Adam with something else in the place of its second moment.

Symbols: theta parameters, g gradient at theta, eta learning rate; m_t = b1 m_{t-1} + (1 - b1) g_t, a running
average of g; squares, roots, quotients and maxima are elementwise.
"""

from collections.abc import Callable

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
from jaxdl.optim.adaptive import ScaleByAdamState
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Array, Params


def _by_second_moment(
    b1: float,
    next_nu: Callable[[Params, Params, Params], Params],
    numerator: Callable[[Params, Params, Array], Params],
    denominator: Callable[[Array, Array], Array],
    initial_value: float = 0.0,
) -> optax.GradientTransformation:
    """u_t = numerator(g, m, t) / denominator(nu, t) with nu_t = next_nu(nu_{t-1}, g, m_t)."""

    def init_fn(params):
        return ScaleByAdamState(
            jnp.zeros((), jnp.int32), accumulator(params, initial_value), accumulator(params, initial_value)
        )

    def update_fn(updates, state, params=None):
        del params
        count = next_count(state.count)
        mu = moving_average(b1, state.mu, updates)
        nu = next_nu(state.nu, updates, mu)
        direction = jax.tree.map(
            lambda m, v, g: (m / denominator(v, count)).astype(g.dtype),
            numerator(updates, mu, count),
            nu,
            updates,
        )
        return direction, ScaleByAdamState(count, cast_like(mu, state.mu), cast_like(nu, state.nu))

    return optax.GradientTransformation(init_fn, update_fn)


def _corrected(b1: float) -> Callable[[Params, Params, Array], Params]:
    return lambda updates, mu, count: jax.tree.map(lambda m: m / weight_sum(b1, count), mu)


def scale_by_adamax(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Divides the average gradient by a decaying maximum of its size.

    n_t = max(b2 n_{t-1}, |g_t| + eps)
    u_t = (m_t / (1 - b1^t)) / n_t

    A maximum needs no bias correction.

    Args:
      b1: decay of the first moment, in [0, 1).
      b2: decay of the maximum, in [0, 1).
      eps: > 0; keeps the quotient finite where no gradient has come yet.

    Raises:
      ValueError: b1 or b2 outside [0, 1), or eps not positive and finite.

    Source: Kingma & Ba, "Adam: a method for stochastic optimization", 2015, algorithm 2, arXiv:1412.6980; without
    eps there.
    """
    checks.decay(b1=b1, b2=b2)
    checks.positive(eps=eps)
    return _by_second_moment(
        b1,
        lambda nu, g, mu: jax.tree.map(
            lambda n, x: jnp.maximum(b2 * n, jnp.abs(x.astype(n.dtype)) + eps), nu, g
        ),
        _corrected(b1),
        lambda n, count: n,
    )


def adamax(
    learning_rate: optax.ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam in the infinity norm.

    n_t = max(b2 n_{t-1}, |g_t| + eps)
    theta_{t+1} = theta_t - eta (m_t / (1 - b1^t)) / n_t

    Args:
      learning_rate: eta >= 0 in parameter units per step, number or schedule; 2e-3 in the source.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the maximum, in [0, 1).
      eps: > 0.

    Raises:
      ValueError: a setting is out of its range.

    Source: Kingma & Ba 2015, algorithm 2. The recurrence of Optax and PyTorch; Keras adds eps to the maximum
    when it divides.
    """
    return optax.chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def scale_by_belief(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-16,
    eps_root: float = 1e-16,
    *,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Divides the average gradient by how far the gradients were from that average.

    s_t = b2 s_{t-1} + (1 - b2) (g_t - m_t)^2 + eps_root
    u_t = (m_t / (1 - b1^t)) / (sqrt(s_t / (1 - b2^t)) + eps)

    Args:
      b1: decay of the first moment, in [0, 1).
      b2: decay of the belief, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, added to s at every step, so that it sums to eps_root / (1 - b2).
      nesterov: the look-ahead numerator of `nadam`.

    Raises:
      ValueError: b1 or b2 outside [0, 1), or eps or eps_root negative or not finite.

    Source: Zhuang et al., "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients", 2020,
    algorithm 2, arXiv:2010.07468, with one eps for both places.
    """
    checks.decay(b1=b1, b2=b2)
    checks.non_negative(eps=eps, eps_root=eps_root)

    def belief(nu, updates, mu):
        surprise = squares(jax.tree.map(lambda g, m: g - m, updates, mu))
        return jax.tree.map(lambda s: s + eps_root, moving_average(b2, nu, surprise))

    return _by_second_moment(
        b1,
        belief,
        (lambda updates, mu, count: look_ahead(b1, mu, updates, count)) if nesterov else _corrected(b1),
        lambda s, count: jnp.sqrt(s / weight_sum(b2, count)) + eps,
    )


def adabelief(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-16,
    eps_root: float = 1e-16,
    *,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Adam that steps far where gradients come as expected, and little where they surprise.

    s_t = b2 s_{t-1} + (1 - b2) (g_t - m_t)^2 + eps_root
    theta_{t+1} = theta_t - eta (m_t / (1 - b1^t)) / (sqrt(s_t / (1 - b2^t)) + eps)

    Steps are not bounded by eta: under a gradient that does not change, s tends to rounding error and eps.

    Args:
      learning_rate: eta >= 0, number or schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the belief, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, added to s at every step.
      nesterov: the look-ahead numerator of `nadam`.

    Raises:
      ValueError: a setting is out of its range.

    Source: Zhuang et al. 2020, algorithm 2. PyTorch has no twin.
    """
    return optax.chain(
        scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate)
    )


def scale_by_adamomentum(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-16
) -> optax.GradientTransformation:
    """Divides the average gradient by the root mean square of that average.

    v_t = b2 v_{t-1} + (1 - b2) m_t^2 + eps
    u_t = (m_t / (1 - b1^t)) / sqrt(v_t / (1 - b2^t))

    The first step is 1 / (1 - b1) times as long as Adam's, because m_1 in v is not corrected.

    Args:
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second, in [0, 1).
      eps: > 0, added to v at every step.

    Raises:
      ValueError: b1 or b2 outside [0, 1), or eps not positive and finite.

    Source: Wang et al., "Rethinking Adam: a twofold exponential moving average approach", 2021, algorithm 1,
    arXiv:2106.11514.
    """
    checks.decay(b1=b1, b2=b2)
    checks.positive(eps=eps)
    return _by_second_moment(
        b1,
        lambda nu, g, mu: jax.tree.map(lambda v: v + eps, moving_average(b2, nu, squares(mu))),
        _corrected(b1),
        lambda v, count: jnp.sqrt(v / weight_sum(b2, count)),
    )


def adamomentum(
    learning_rate: optax.ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-16
) -> optax.GradientTransformation:
    """Adam whose second moment is that of its own first moment.

    v_t = b2 v_{t-1} + (1 - b2) m_t^2 + eps
    theta_{t+1} = theta_t - eta (m_t / (1 - b1^t)) / sqrt(v_t / (1 - b2^t))

    Args:
      learning_rate: eta >= 0, number or schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second, in [0, 1).
      eps: > 0, added to v at every step.

    Raises:
      ValueError: a setting is out of its range.

    Source: Wang et al. 2021, algorithm 1. Neither Optax nor PyTorch has a twin.
    """
    return optax.chain(scale_by_adamomentum(b1, b2, eps), scale_by_learning_rate(learning_rate))


def scale_by_yogi(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-3,
    eps_root: float = 0.0,
    initial_accumulator_value: float = 1e-6,
) -> optax.GradientTransformation:
    """Divides by the root of a second moment that moves by an amount, not by a share.

    v_t = v_{t-1} - (1 - b2) sign(v_{t-1} - g_t^2) g_t^2
    u_t = (m_t / (1 - b1^t)) / (sqrt(v_t / (1 - b2^t) + eps_root) + eps)

    After large gradients v falls slowly, so the rate does not jump up as Adam's does.

    Args:
      b1: decay of the first moment, in [0, 1).
      b2: in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      initial_accumulator_value: m_0 and v_0, >= 0.

    Raises:
      ValueError: b1 or b2 outside [0, 1), or another setting negative or not finite.

    Source: Zaheer et al., "Adaptive methods for nonconvex optimization", 2018, algorithm 2, where m_0 is 0.
    Same as Optax, m_0 included, so a parameter without a gradient moves a little at first, by less than 1e-3 eta.
    """
    checks.decay(b1=b1, b2=b2)
    checks.non_negative(eps=eps, eps_root=eps_root, initial_accumulator_value=initial_accumulator_value)
    return _by_second_moment(
        b1,
        lambda nu, g, mu: jax.tree.map(lambda v, s: v - (1 - b2) * jnp.sign(v - s) * s, nu, squares(g)),
        _corrected(b1),
        lambda v, count: jnp.sqrt(v / weight_sum(b2, count) + eps_root) + eps,
        initial_accumulator_value,
    )


def yogi(
    learning_rate: optax.ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-3
) -> optax.GradientTransformation:
    """Adam with a second moment that is in no hurry to forget.

    v_t = v_{t-1} - (1 - b2) sign(v_{t-1} - g_t^2) g_t^2
    theta_{t+1} = theta_t - eta (m_t / (1 - b1^t)) / (sqrt(v_t / (1 - b2^t)) + eps)

    Args:
      learning_rate: eta >= 0, number or schedule; 1e-2 in the source.
      b1: decay of the first moment, in [0, 1).
      b2: in [0, 1).
      eps: >= 0, outside the root.

    Raises:
      ValueError: a setting is out of its range.

    Source: Zaheer et al. 2018, algorithm 2. PyTorch has no twin. See `scale_by_yogi` for the start.
    """
    return optax.chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))
