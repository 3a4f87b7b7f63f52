"""Rates that differ from layer to layer: by the norms of weights and steps, or by name.

Symbols: theta_i one parameter array ("layer"), g_i its gradient, eta learning rate; |.| is the L2 norm of the whole
array, so every array moves by a share of its own size.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import widened
from jaxdl.optim.adaptive import scale_by_adam
from jaxdl.optim.decay import add_decayed_weights, coupled_l2
from jaxdl.optim.first_order import scale_by_momentum, scale_by_nesterov
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.paths import by_path
from jaxdl.types import Array


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(widened(x))))


def scale_by_trust_ratio(
    min_norm: float = 0.0, trust_coefficient: float = 1.0, eps: float = 0.0
) -> optax.GradientTransformation:
    """Gives every layer's step the length of its weights.

    u_i <- u_i trust_coefficient |theta_i| / (|u_i| + eps),  u_i where |theta_i| or |u_i| is 0

    Args:
      min_norm: lower bound of both norms, >= 0.
      trust_coefficient: > 0.
      eps: >= 0.

    Raises:
      ValueError: a setting is out of its range; `update` was called without params.

    Source: You, Gitman & Ginsburg, "Large batch training of convolutional networks", 2017, equation 6,
    arXiv:1708.03888.
    """
    checks.non_negative(min_norm=min_norm, eps=eps)
    checks.positive(trust_coefficient=trust_coefficient)

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("params must be given to update: a trust ratio compares the update with them")

        def scaled(u, p):
            weights, step = jnp.maximum(_norm(p), min_norm), jnp.maximum(_norm(u), min_norm)
            still = (weights == 0) | (step == 0)
            ratio = trust_coefficient * weights / (jnp.where(still, 1, step) + eps)
            return (u * jnp.where(still, 1, ratio)).astype(u.dtype)

        return jax.tree.map(scaled, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)


def lamb(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    eps_root: float = 0.0,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> optax.GradientTransformation:
    """Adam whose step in every layer is as long as eta times that layer's weights. For very large batches.

    r_t = u_t + weight_decay theta_t,  u_t as in Adam
    theta_{i,t+1} = theta_{i,t} - eta r_{i,t} |theta_{i,t}| / |r_{i,t}|

    Args:
      learning_rate: eta >= 0, in units of the weights' norm per step, number or schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0, outside the root.
      eps_root: >= 0, inside the root.
      weight_decay: >= 0, number or schedule; part of the step whose norm is compared.
      mask: pytree of bool like params, or a function from params to one: which parameters decay. None is all.

    Raises:
      ValueError: a setting is out of its range; `update` was called without params.

    Source: You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2020, algorithm
    2, arXiv:1904.00962, with phi the identity.
    Differs from the authors' code, which leaves the trust ratio out for biases and norm scales: put those into an
    `adamw` of their own with `optax.partition`. PyTorch has no twin.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


def lars(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = True,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
    trust_ratio_mask: Any = True,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Momentum whose gradient has, in every layer, a length in proportion to that layer's weights.

    d_t = g_t + weight_decay theta_t
    v_{i,t} = momentum v_{i,t-1} + eta trust_coefficient d_{i,t} |theta_{i,t}| / (|d_{i,t}| + eps)
    theta_{t+1} = theta_t - v_t

    Args:
      learning_rate: eta >= 0, number or schedule. It enters the velocity, as published.
      weight_decay: >= 0, number or schedule, coupled: part of the gradient, as in `coupled_l2`.
      weight_decay_mask: pytree of bool like params or a prefix of it, or a function from params to one: which
        parameters decay.
      trust_coefficient: > 0.
      eps: >= 0.
      trust_ratio_mask: as weight_decay_mask: which parameters get the ratio; the others keep their gradient.
      momentum: in [0, 1).
      nesterov: look ahead, as in `nesterov`.

    Raises:
      ValueError: a setting is out of its range; `update` was called without params.

    Source: You, Gitman & Ginsburg 2017, algorithm 1.
    Differs from the paper in the ratio's denominator, |d| there being |g| + weight_decay |theta|. Same as Optax;
    PyTorch has no twin.
    """
    checks.decay(momentum=momentum)
    scale = scale_by_nesterov if nesterov else scale_by_momentum
    return optax.chain(
        coupled_l2(weight_decay, weight_decay_mask),
        optax.masked(scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),  # not last: it enters the velocity
        scale(momentum),
        optax.scale(-1.0),
    )


def layerwise_learning_rates(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the steps of groups of parameters, chosen by path; the last link of a chain.

    u_i <- factor u_i,  the factor of the first pattern that matches the path of parameter i, 1 where none does

        optax.chain(optim.adamw(1e-3), optim.layerwise_learning_rates({"^encoder/": 0.1, "bias$": 2.0}))

    Behind the learning rate, a factor scales everything, decoupled decay too, as the rates of PyTorch's parameter
    groups do. In front of Adam it would do nothing, because Adam divides it out. For a group with an optimizer of
    its own, take `optax.partition`; for one that must not move, `freeze`.

    Args:
      factors: {regular expression, searched for anywhere in the path: number >= 0}.

    Raises:
      ValueError: a factor is negative or not finite; at `init`, a pattern matches no parameter.
      re.error: a pattern is not a regular expression.

    Source: Howard & Ruder, "Universal language model fine-tuning for text classification", 2018, section 3.2
    (discriminative fine-tuning), arXiv:1801.06146.
    """
    for pattern, factor in factors.items():
        checks.non_negative(**{f"factor of {pattern!r}": factor})
    return by_path(factors, 1.0, lambda u, factor: (factor * u).astype(u.dtype))
