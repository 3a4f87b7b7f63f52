"""Which updates, and which parameters, are let through."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import next_count
from jaxdl.optim.paths import Pattern, check_matches, matcher, path_of
from jaxdl.types import Array, Params


class SkipNonfiniteState(NamedTuple):
    consecutive: Array  # int32[], non-finite gradients in a row up to now
    total: Array  # int32[], non-finite gradients so far
    inner: optax.OptState


def skip_nonfinite(
    inner: optax.GradientTransformation, max_consecutive_errors: int
) -> optax.GradientTransformationExtraArgs:
    """Leaves parameters and optimizer as they are where a gradient holds NaN or infinity.

    After `max_consecutive_errors` such gradients in a row the next goes through, so that a run that is broken
    for good ends in NaN parameters, which a check finds, and not in a silent standstill.

    Take this one to endure a bad batch now and then. Take `train.make_update(..., skip_nonfinite=True)` where
    overflows are to be expected, as loss scaling in float16 has them: it has no limit, keeps the model state
    (batch statistics) clean as well, and reports `skipped`. Up to the limit both give the same parameters.

    Args:
      inner: the chain to protect. Its whole state is protected, so this is a wrapper and not a link.
      max_consecutive_errors: >= 0.

    Returns:
      A transformation; its state counts the skipped gradients, `consecutive` and `total`, int32[].

    Raises:
      ValueError: max_consecutive_errors is negative.

    Same rule as `optax.apply_if_finite`.
    """
    checks.at_least(0, max_consecutive_errors=max_consecutive_errors)
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        zero = jnp.zeros((), jnp.int32)
        return SkipNonfiniteState(zero, zero, inner.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        leaves = [jnp.isfinite(g).all() for g in jax.tree.leaves(updates)]
        finite = jnp.stack(leaves).all() if leaves else jnp.ones((), bool)
        consecutive = jnp.where(finite, 0, next_count(state.consecutive))
        total = jnp.where(finite, state.total, next_count(state.total))
        updates, inner_state = jax.lax.cond(
            finite | (consecutive > max_consecutive_errors),
            lambda: inner.update(updates, state.inner, params, **extra_args),
            lambda: (jax.tree.map(jnp.zeros_like, updates), state.inner),
        )
        return updates, SkipNonfiniteState(consecutive, total, inner_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def freeze(pattern: Pattern) -> optax.GradientTransformation:
    """Zeroes the updates of the parameters whose path matches.

    delta_i <- 0 where pattern matches the path of parameter i, such as "encoder/Dense_0/kernel"

    Place it last: behind it, weight decay or noise would move the parameters again. Links in front of it
    still see the frozen gradients, so these count in a global norm and keep moments.

    Take this one for a link among others: parameters that are cheap to carry along, or an optimizer whose
    state must not change its shape when they thaw. Take `train.freeze_parameters`, which leaves the matching
    parameters out of the optimizer altogether, for most of a network, as in fine-tuning: it spends neither
    memory nor time on their moments, and they count in no norm.

    Args:
      pattern: regular expression, searched for anywhere in the path (`re.search`), or a function from path to
        bool.

    Raises:
      ValueError: at `init`, the pattern matches no parameter.
      re.error: the pattern is not a regular expression.
    """
    matches = matcher(pattern)

    def init_fn(params: Params):
        check_matches(pattern, params)
        return optax.EmptyState()

    def update_fn(updates, state, params=None):
        del params
        updates = jax.tree_util.tree_map_with_path(
            lambda path, u: jnp.zeros_like(u) if matches(path_of(path)) else u, updates
        )
        return updates, state

    return optax.GradientTransformation(init_fn, update_fn)
