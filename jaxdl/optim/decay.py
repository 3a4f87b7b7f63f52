"""Weight decay, coupled to the gradient or apart from it: one formula, two places in a chain.

In front of `scale_by_*` the decay is part of the gradient: momentum sums it and Adam divides it. Behind, it
shrinks the weights alone. For plain gradient descent the two are one. A mask says which weights decay;
`path_mask("kernel$")` is the one without biases and norm scales.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import next_count
from jaxdl.types import Array


class WeightDecayState(NamedTuple):
    count: Array  # int32[], updates so far


def _add_weights(strength: optax.ScalarOrSchedule, mask: Any) -> optax.GradientTransformation:
    # XLA does not leave out a product with 0, whose factor might be infinite: it is a pass over the parameters.
    nothing = isinstance(strength, int | float) and strength == 0

    def init_fn(params):
        del params
        return WeightDecayState(jnp.zeros((), jnp.int32))

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("weight decay needs the parameters: call update(updates, state, params)")
        if not nothing:
            value = strength(state.count) if callable(strength) else strength
            updates = jax.tree.map(lambda u, p: (u + value * p).astype(u.dtype), updates, params)
        return updates, WeightDecayState(next_count(state.count))

    tx = optax.GradientTransformation(init_fn, update_fn)
    return tx if mask is None else optax.masked(tx, mask)


def add_decayed_weights(
    weight_decay: optax.ScalarOrSchedule = 0.0, mask: Any = None
) -> optax.GradientTransformation:
    """Decoupled weight decay: adds a share of the weights behind the moments.

    u_t <- u_t + weight_decay theta_t

    Place it between `scale_by_*` and the learning rate.

    Args:
      weight_decay: >= 0, number or schedule of the number of updates taken so far.
      mask: pytree of bool like params, or a function from params to one: which parameters decay. None is all.

    Raises:
      ValueError: weight_decay is negative or not finite; `update` was called without params.

    Source: Loshchilov & Hutter, "Decoupled weight decay regularization", 2019, arXiv:1711.05101.
    """
    if not callable(weight_decay):
        checks.non_negative(weight_decay=weight_decay)
    return _add_weights(weight_decay, mask)


def coupled_l2(strength: optax.ScalarOrSchedule, mask: Any = None) -> optax.GradientTransformation:
    """L2 regularization: adds the gradient of a squared norm in front of the moments.

    g_t <- g_t + strength theta_t, the gradient of L + (strength / 2) |theta|^2

    Place it behind clipping and in front of `scale_by_*`, as in `optax.chain(coupled_l2(1e-4), adam(1e-3))`.

    Args:
      strength: lambda >= 0, number or schedule of the number of updates taken so far.
      mask: pytree of bool like params, or a function from params to one: which parameters count. None is all.

    Raises:
      ValueError: strength is negative or not finite; `update` was called without params.

    Source: Hoerl & Kennard, "Ridge regression", 1970; it is `weight_decay` of PyTorch's SGD, Adagrad, RMSprop
    and Adam.
    Differs from `add_decayed_weights` only in its place, which is a different algorithm wherever the gradient
    is scaled. The loss that a step reports does not contain the term; a penalty in the objective would.
    """
    if not callable(strength):
        checks.non_negative(strength=strength)
    return _add_weights(strength, mask)
