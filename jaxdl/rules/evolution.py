"""Gradients without derivatives: of the loss as random steps around the parameters see it."""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import GradFn, Objective


def evolution_gradient(objective: Objective, *, sigma: float = 0.1, num_directions: int = 32) -> GradFn:
    """Gradient of the loss smoothed by a normal distribution, from the loss alone.

    g = (1/n) sum over i = 1..n of (L(theta + sigma e_i) - L(theta - sigma e_i)) / (2 sigma) e_i,  e_i ~ N(0, I)

    Its mean is the gradient of E[L(theta + sigma e)], which exists where L has steps and is L's own gradient where L
    is quadratic. Each direction is tried both ways (antithetic pairs), so what L has in common on both sides cancels:
    for linear and quadratic L each slope is exact, whatever sigma. The variance of the estimate is about |g|^2 D / n
    for D parameters, so rates must be smaller than with a true gradient by about n / D. A step costs 2 n + 1
    evaluations, all at once; `train.microbatched` makes them fewer at a time and draws new directions for each slice.
    All evaluations of a step see the same batch, model state and noise.

    Args:
      objective: `(params, model_state, *args, key) -> (loss, (model_state, metrics))`; needs no derivative.
      sigma: length of a step in each parameter, > 0.
      num_directions: n, at least 1.

    Returns:
      An estimator with the signature of `jax.value_and_grad(objective, has_aux=True)`. Loss, metrics and model state
      are those of theta itself.

    Raises:
      ValueError: a setting out of its range; at the call, no parameters.
      TypeError: at the call, parameters are not floating point.

    Source: Salimans et al., "Evolution strategies as a scalable alternative to reinforcement learning", 2017, algorithm
    1, arXiv:1703.03864; Nesterov & Spokoiny, "Random gradient-free minimization of convex functions", 2017; pairs:
    Brockhoff et al., "Mirrored sampling and sequential selection for evolution strategies", 2010.
    Differs from the programs of Salimans et al. in taking the losses as they are, not their ranks: ranks are robust
    against outliers, but what they estimate is no gradient.
    """
    checks.positive(sigma=sigma)
    checks.at_least(1, num_directions=num_directions)

    def fn(params, model_state, *args):
        *rest, key = args
        paths, structure = jax.tree_util.tree_flatten_with_path(params)
        if not paths:
            raise ValueError(f"params must hold at least one array, got {params!r}")
        for path, leaf in paths:
            checks.floating(**{jax.tree_util.keystr(path, simple=True, separator="/") or "params": leaf})
        noise_key, key = jax.random.split(key)
        noise = [
            jax.random.normal(
                leaf_key, (num_directions, *leaf.shape), jnp.promote_types(leaf.dtype, jnp.float32)
            )
            for leaf_key, (_, leaf) in zip(jax.random.split(noise_key, len(paths)), paths)
        ]
        directions = jax.tree.unflatten(structure, noise)

        def loss_at(direction, step):
            moved = jax.tree.map(lambda p, e: p + (step * e).astype(p.dtype), params, direction)
            return objective(moved, model_state, *rest, key)[0]

        slopes = jax.vmap(lambda e: (loss_at(e, sigma) - loss_at(e, -sigma)) / (2 * sigma))(directions)
        grads = jax.tree.map(
            lambda e, p: (jnp.tensordot(slopes.astype(e.dtype), e, 1) / num_directions).astype(p.dtype),
            directions,
            params,
        )
        return objective(params, model_state, *rest, key), grads

    return fn
