"""Noise on gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import next_count
from jaxdl.types import Array


class AddGradientNoiseState(NamedTuple):
    count: Array  # int32[], updates so far
    key: Array  # PRNG key


def add_gradient_noise(eta: float, gamma: float, key: Array) -> optax.GradientTransformation:
    """Adds Gaussian noise that dies away to every gradient; the first link of a chain.

    g <- g + n,  n ~ N(0, eta / (1 + t)^gamma), t = 0, 1, ... the number of earlier updates

    The draw of update t depends on the key and t alone, so a run that is resumed sees the same noise. Noise on the
    weights, which is there in the forward pass too, is `nn.weight_noise`.

    Args:
      eta: variance of the first update's noise, > 0, in squared units of the gradient.
      gamma: how fast it dies away, >= 0; 0.55 in the source.
      key: PRNG key.

    Raises:
      ValueError: eta is not positive and finite, or gamma is negative.

    Source: Neelakantan et al., "Adding gradient noise improves learning for very deep networks", 2015, section 3,
    arXiv:1511.06807.
    Differs from `optax.add_noise` in how keys follow from one another; the distribution is the same.
    """
    checks.positive(eta=eta)
    checks.non_negative(gamma=gamma)

    def update_fn(updates, state, params=None):
        del params
        count = next_count(state.count)
        stddev = jnp.sqrt(eta / count.astype(jnp.float32) ** gamma)
        leaves, structure = jax.tree.flatten(updates)
        keys = jax.random.split(jax.random.fold_in(state.key, state.count), max(len(leaves), 1))
        noisy = [(g + stddev * jax.random.normal(k, g.shape)).astype(g.dtype) for g, k in zip(leaves, keys)]
        return structure.unflatten(noisy), AddGradientNoiseState(count, state.key)

    return optax.GradientTransformation(
        lambda params: AddGradientNoiseState(jnp.zeros((), jnp.int32), key), update_fn
    )
