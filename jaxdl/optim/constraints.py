"""Last links of a chain that keep the parameters in a set: the update ends at the nearest point of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.types import Array


def _projected(project: Callable[[Array], Array]) -> optax.GradientTransformation:
    """u <- project(theta + u) - theta, for every leaf."""

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("params must be given to update: a constraint is on where the update ends")
        moved = jax.tree.map(lambda u, p: (project(p + u) - p).astype(u.dtype), updates, params)
        return moved, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)


def max_norm_projection(max_norm: float) -> optax.GradientTransformation:
    """Limits the norm of every unit's incoming weights; the last link of a chain.

    w_f <- (w_f + u_f) min(1, max_norm / |w_f + u_f|),  w_f = kernel[..., f]

    Kernels are the arrays of two axes or more, their units the last axis; biases and scales stay free. The norm
    holds up to the rounding of theta + u.

        optax.chain(optim.adam(1e-3), optim.max_norm_projection(2.0))

    This is the constraint behind every update; `nn.max_norm` is the projection of one kernel by itself, for a loop
    of one's own.

    Args:
      max_norm: > 0, in units of the weights.

    Raises:
      ValueError: max_norm is not positive and finite, or update is called without params.

    Source: Srebro & Shraibman, "Rank, trace-norm and max-norm", 2005; Srivastava et al., "Dropout", 2014, section
    5.1.
    Differs from `optax.projections`: those are functions of the parameters, to be called after the update.
    """
    checks.positive(max_norm=max_norm)

    def project(w: Array) -> Array:
        if w.ndim < 2:
            return w
        norm = jnp.linalg.norm(w.astype(jnp.float32).reshape(-1, w.shape[-1]), axis=0)
        scale = jnp.where(norm > max_norm, max_norm / jnp.where(norm > 0, norm, 1), 1)
        return (w * jnp.expand_dims(scale, tuple(range(w.ndim - 1)))).astype(w.dtype)

    return _projected(project)


def weight_clipping(max_value: float) -> optax.GradientTransformation:
    """Limits every parameter; the last link of a chain, as the first Wasserstein critics had it.

    theta <- min(max(theta + u, -max_value), max_value), elementwise, biases too

        optax.chain(optim.rmsprop(5e-5), optim.weight_clipping(0.01))

    `clip_by_value` limits the gradient instead, and leaves the parameters free.

    Args:
      max_value: c, > 0.

    Raises:
      ValueError: max_value is not positive and finite, or update is called without params.

    Source: Arjovsky, Chintala & Bottou, "Wasserstein GAN", 2017, algorithm 1 (c = 0.01).
    """
    checks.positive(max_value=max_value)
    return _projected(lambda w: jnp.clip(w, -max_value, max_value))
