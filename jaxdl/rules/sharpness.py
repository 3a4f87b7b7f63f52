"""Sharpness-aware minimization as a gradient estimator."""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import GradFn


def sharpness_aware(grad_fn: GradFn, rho: float = 0.05) -> GradFn:
    """Gradient at the point within reach where, to first order, the loss is highest.

    e = rho g(theta) / |g(theta)|,  |.| over all parameters
    estimate = g(theta + e)

    Descending by it minimizes the highest loss in a ball, so it looks for flat minima. A step costs two gradients.
    Both are of the same batch and the same noise. Loss, metrics and model state (batch statistics) are those of
    theta; what the second pass makes of them is dropped.

    How it composes decides what is perturbed: `sharpness_aware(microbatched(f, n))` climbs by the gradient of the
    whole batch, `microbatched(sharpness_aware(f), n)` by each slice's own, and so over devices with `averaged_over`.

    Take this one in a step that is made with `train.make_update`, where any optimizer goes behind it. Take
    `optim.sam` where only the optimizer can be exchanged, in a loop that someone else wrote.

    Args:
      grad_fn: estimator such as `train.backprop(objective)`.
      rho: radius > 0, in units of the parameters' norm.

    Returns:
      An estimator with the signature of `grad_fn`. A gradient of 0 is its own estimate.

    Raises:
      ValueError: rho is not positive and finite.

    Source: Foret et al., "Sharpness-aware minimization for efficiently improving generalization", 2021, algorithm 1,
    with the second-order term of equation 3 left out as there, arXiv:2010.01412.
    """
    checks.positive(rho=rho)

    def fn(params, *args):
        result, grads = grad_fn(params, *args)
        leaves = [g.astype(jnp.promote_types(g.dtype, jnp.float32)) for g in jax.tree.leaves(grads)]
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in leaves))
        scale = rho / jnp.where(norm == 0, jnp.ones_like(norm), norm)
        uphill = jax.tree.map(lambda p, g: (p + scale * g).astype(p.dtype), params, grads)
        return result, grad_fn(uphill, *args)[1]

    return fn
