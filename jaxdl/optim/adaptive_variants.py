"""Adam and RMSProp with one thing changed: a look-ahead, steps without units, a warm-up, a memory.

Symbols: theta parameters, g gradient at theta, eta learning rate; m and v running averages of g and g^2, zero at
first; squares, roots and quotients are elementwise.
"""

import math
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
from jaxdl.optim.adaptive import ScaleByAdamState, scale_by_adam
from jaxdl.optim.decay import coupled_l2
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Array, Dtype, Params


class ScaleByAdadeltaState(NamedTuple):
    squared_gradient: Params  # E[g^2], like params, float32 or wider
    squared_update: Params  # E[u^2], like params, float32 or wider


def scale_by_adadelta(rho: float = 0.9, eps: float = 1e-6) -> optax.GradientTransformation:
    """Multiplies the gradient by the ratio of how far the steps went to how large the gradients were.

    E[g^2]_t = rho E[g^2]_{t-1} + (1 - rho) g_t^2
    u_t = g_t sqrt(E[u^2]_{t-1} + eps) / sqrt(E[g^2]_t + eps)
    E[u^2]_t = rho E[u^2]_{t-1} + (1 - rho) u_t^2

    The eps of the numerator is what starts it: without one, the first step and all others are 0.

    Args:
      rho: decay of both averages, in [0, 1).
      eps: > 0, inside both roots.

    Raises:
      ValueError: rho outside [0, 1), or eps not positive and finite.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1, arXiv:1212.5701; there rho is
    0.95 and eps 1e-6.
    """
    checks.decay(rho=rho)
    checks.positive(eps=eps)

    def init_fn(params):
        return ScaleByAdadeltaState(accumulator(params), accumulator(params))

    def update_fn(updates, state, params=None):
        del params
        e_g = moving_average(rho, state.squared_gradient, squares(updates))
        steps = jax.tree.map(
            lambda g, v, x: g * (jnp.sqrt(x + eps) / jnp.sqrt(v + eps)), updates, e_g, state.squared_update
        )
        e_u = moving_average(rho, state.squared_update, squares(steps))
        return cast_like(steps, updates), ScaleByAdadeltaState(
            cast_like(e_g, state.squared_gradient), cast_like(e_u, state.squared_update)
        )

    return optax.GradientTransformation(init_fn, update_fn)


def adadelta(
    learning_rate: optax.ScalarOrSchedule | None = None,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
) -> optax.GradientTransformation:
    """Steps in the units of the parameters, sized by earlier steps, so that no learning rate is needed.

    theta_{t+1} = theta_t - eta g_t sqrt(E[u^2]_{t-1} + eps) / sqrt(E[g^2]_t + eps)

    Args:
      learning_rate: eta >= 0, number or schedule; None is 1, the published method.
      rho: decay of both averages, in [0, 1).
      eps: > 0, inside both roots.
      weight_decay: >= 0, number or schedule, coupled: part of the gradient, as in `coupled_l2`.
      weight_decay_mask: pytree of bool like params, or a function from params to one; None is all.

    Raises:
      ValueError: a setting is out of its range.

    Source: Zeiler 2012, with rho 0.95 there; the defaults here are those of Optax and PyTorch.
    Differs from `optax.adadelta` where the learning rate is None, which fails there; and from Keras, whose
    learning rate is 1e-3 and whose eps is 1e-7.
    """
    return optax.chain(
        coupled_l2(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(1.0 if learning_rate is None else learning_rate),
    )


def nadam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Dtype | None = None,
    *,
    nesterov: bool = True,
) -> optax.GradientTransformation:
    """Adam with Nesterov momentum: the numerator looks one step ahead.

    m_t = b1 m_{t-1} + (1 - b1) g_t,  v_t = b2 v_{t-1} + (1 - b2) g_t^2
    n_t = b1 m_t / (1 - b1^{t+1}) + (1 - b1) g_t / (1 - b1^t)
    theta_{t+1} = theta_t - eta n_t / (sqrt(v_t / (1 - b2^t) + eps_root) + eps)

    Args:
      learning_rate: eta >= 0 in parameter units per step, number or schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.
      nesterov: False makes it Adam, as in Optax.

    Raises:
      ValueError: a setting is out of its range.

    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 2, at a constant b1 and without the
    factor b2 that stands there beside v.
    Differs from PyTorch and Keras, where the weight of the momentum climbs on a schedule, b1 (1 - 0.5 * 0.96^{t
    psi}), beside moments that decay by b1; no psi makes the two one.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


def effective_length(b2: Any, count: Array) -> Array:
    """How many gradients a bias-corrected second moment averages: rho_t of rectified Adam.

    rho_t = rho_inf - 2 t b2^t / (1 - b2^t),  rho_inf = 2 / (1 - b2) - 1

    With z = -log(b2) / 2 that is coth z - 2 t / expm1(2 t z). At first both terms are near 2,000 and their difference
    near 5, where rectified Adam decides what to do: there t + L(z) - t L(t z) is taken instead, with the series of
    L(z) = coth z - 1/z.

    Args:
      b2: decay in (0, 1), or float[].
      count: t >= 1, int32[].

    Returns:
      float[], at least 1.
    """
    # A number is not rounded first: the logarithm of one near 1 would lose three digits.
    z = (
        -jnp.log(b2) / 2
        if isinstance(b2, jax.Array)
        else jnp.asarray(-math.log(b2) / 2, jnp.result_type(float))
    )
    t = jnp.asarray(count, z.dtype)
    early = t * z < 0.25

    def series(y):
        y = jnp.where(early, y, 0.0)
        terms = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875, 4 / 18243225)
        return y * sum(term * y ** (2 * n) for n, term in enumerate(terms))

    late = 1 / jnp.tanh(z) - 2 * t / jnp.expm1(2 * t * z)
    return jnp.where(early, t + series(z) - t * series(t * z), late)


def scale_by_radam(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    threshold: float = 5.0,
    *,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Adam that waits for its second moment: momentum alone at first, then a rectified quotient.

    rho_inf = 2 / (1 - b2) - 1,  rho_t = rho_inf - 2 t b2^t / (1 - b2^t)
    rho_t < threshold:  u_t = m_t / (1 - b1^t)
    else:               u_t = r_t (m_t / (1 - b1^t)) / (sqrt(v_t / (1 - b2^t) + eps_root) + eps),
                        r_t = sqrt((rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t))

    Args:
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in (0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      threshold: of rho_t, >= 4, below which r_t is not real.
      nesterov: the look-ahead numerator of `nadam`.

    Raises:
      ValueError: a setting is out of its range.

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", 2020, algorithm 2,
    arXiv:1908.03265, where the threshold is 4 and there is no eps; 5 is that of the authors' code.
    Differs from PyTorch in the place of eps: there v_t is corrected after eps was added to its root. And from
    Optax in float32, where rho_t loses its last digits to cancellation: parameters differ by 1e-4 after 100 steps.
    """
    checks.decay(b1=b1, b2=b2)
    checks.positive(b2=b2)
    checks.non_negative(eps=eps, eps_root=eps_root)
    checks.at_least(4, threshold=threshold)

    def init_fn(params):
        return ScaleByAdamState(jnp.zeros((), jnp.int32), accumulator(params), accumulator(params))

    def update_fn(updates, state, params=None):
        del params
        count = next_count(state.count)
        mu = moving_average(b1, state.mu, updates)
        nu = moving_average(b2, state.nu, squares(updates))
        mu_weight, nu_weight = weight_sum(b1, count), weight_sum(b2, count)
        rho, rho_inf = effective_length(b2, count), 2 / (1 - b2) - 1
        rectified = rho >= threshold
        tame = jnp.where(rectified, rho, threshold)
        ratio = (tame - 4) * (tame - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * tame)
        r = jnp.sqrt(jnp.where(rectified, ratio, 1))
        if nesterov:
            mu_hat = look_ahead(b1, mu, updates, count)
        else:
            mu_hat = jax.tree.map(lambda m: m / mu_weight, mu)

        def direction(g, m_hat, v):
            adapted = r * m_hat / (jnp.sqrt(v / nu_weight + eps_root) + eps)
            return jnp.where(rectified, adapted, m_hat).astype(g.dtype)

        return jax.tree.map(direction, updates, mu_hat, nu), ScaleByAdamState(
            count, cast_like(mu, state.mu), cast_like(nu, state.nu)
        )

    return optax.GradientTransformation(init_fn, update_fn)


def radam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    threshold: float = 5.0,
    *,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Rectified Adam: a warm-up that follows from how many gradients the second moment has seen.

    theta_{t+1} = theta_t - eta u_t,  u_t = m_t / (1 - b1^t) for the first 5 steps, r_t times Adam's after them

    The first steps are as long as the gradient and not bounded by eta.

    Args:
      learning_rate: eta >= 0, number or schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in (0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      threshold: of rho_t, >= 4.
      nesterov: the look-ahead numerator of `nadam`.

    Raises:
      ValueError: a setting is out of its range.

    Source: Liu et al. 2020, algorithm 2. See `scale_by_radam` for rho_t, r_t and what differs elsewhere.
    """
    return optax.chain(
        scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


class ScaleByAmsgradState(NamedTuple):
    count: Array  # int32[]
    mu: Params  # first moment m_t, like params, `mu_dtype`, or float32 or wider
    nu: Params  # second raw moment v_t, like params, float32 or wider
    nu_max: Params  # the largest v_t so far, like params, float32 or wider


def scale_by_amsgrad(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Dtype | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> optax.GradientTransformation:
    """Divides by the root of the largest second moment so far, so that no rate ever grows.

    n_t = max(n_{t-1}, v_t / (1 - b2^t)),  v_t = b2 v_{t-1} + (1 - b2) g_t^2
    u_t = (m_t / (1 - b1^t)) / (sqrt(n_t + eps_root) + eps)

    Args:
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.
      bias_correction_mu: False takes m_t for m_t / (1 - b1^t).
      bias_correction_nu: False takes v_t for v_t / (1 - b2^t).

    Raises:
      ValueError: b1 or b2 outside [0, 1), or eps or eps_root negative or not finite.

    Source: Reddi, Kale & Kumar, "On the convergence of Adam and beyond", 2018, algorithm 2, arXiv:1904.09237,
    where neither moment is corrected and eps is 0.
    Differs from PyTorch, which takes the maximum first and corrects it afterwards, max(v) / (1 - b2^t): there the
    rate does grow, as the correction dies away.
    """
    checks.decay(b1=b1, b2=b2)
    checks.non_negative(eps=eps, eps_root=eps_root)

    def init_fn(params):
        return ScaleByAmsgradState(
            jnp.zeros((), jnp.int32),
            accumulator(params, dtype=mu_dtype),
            accumulator(params),
            accumulator(params),
        )

    def update_fn(updates, state, params=None):
        del params
        count = next_count(state.count)
        mu = moving_average(b1, state.mu, updates)
        nu = moving_average(b2, state.nu, squares(updates))
        mu_weight = weight_sum(b1, count) if bias_correction_mu else 1
        nu_weight = weight_sum(b2, count) if bias_correction_nu else 1
        nu_max = jax.tree.map(lambda n, v: jnp.maximum(n, v / nu_weight), state.nu_max, nu)
        direction = jax.tree.map(
            lambda m, n, g: (m / mu_weight / (jnp.sqrt(n + eps_root) + eps)).astype(g.dtype),
            mu,
            nu_max,
            updates,
        )
        return direction, ScaleByAmsgradState(
            count, cast_like(mu, state.mu), cast_like(nu, state.nu), cast_like(nu_max, state.nu_max)
        )

    return optax.GradientTransformation(init_fn, update_fn)


def amsgrad(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Dtype | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> optax.GradientTransformation:
    """Adam with a memory of the largest second moment.

    theta_{t+1} = theta_t - eta (m_t / (1 - b1^t)) / (sqrt(n_t + eps_root) + eps),
    n_t = max(n_{t-1}, v_t / (1 - b2^t))

    Args:
      learning_rate: eta >= 0 in parameter units per step, number or schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.
      bias_correction_mu: False takes m_t for m_t / (1 - b1^t).
      bias_correction_nu: False takes v_t for v_t / (1 - b2^t).

    Raises:
      ValueError: a setting is out of its range.

    Source: Reddi, Kale & Kumar 2018, algorithm 2. See `scale_by_amsgrad` for what differs elsewhere.
    """
    return optax.chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu),
        scale_by_learning_rate(learning_rate),
    )
