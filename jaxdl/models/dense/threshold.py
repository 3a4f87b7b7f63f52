"""Units that fire or not, with weights that are set and not learned.

Shapes: B batch, ... any input axes (flattened), n their product, K units.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxdl import checks, nn
from jaxdl.types import Array


class McCullochPitts(linen.Module):
    """A layer of threshold-logic units: each fires where enough of its inputs do, and none of those that forbid it.

    y_k = 1 where sum_i w_ik x_i >= theta_k and no inhibitory input is active, 0 elsewhere

    It has no parameters and no gradient. Of n binary inputs of weight 1, theta = 1 is OR, n is AND and
    ceil((n + 1) / 2) their majority. Two layers compute any Boolean function, XOR for one:

        hidden = McCullochPitts((0.5, 1.5), ((1, 1), (1, 1)))    # OR and AND
        output = McCullochPitts(0.5, ((1,), (-2,)))              # OR but not AND

    Attributes:
      threshold: theta, a number for one unit, or K numbers.
      weights: w, n rows of K numbers; None for 1 everywhere.
      inhibitory: numbers of the inputs that forbid all units to fire while they are active (above 0), whatever their
        weight.

    Source: McCulloch & Pitts, "A logical calculus of the ideas immanent in nervous activity", 1943.
    Differs from it in the weights, which there are 1, or repeated synapses. Some texts print the threshold 0; it fits
    only where an input of 1 with weight -theta is counted in.
    """

    threshold: float | Sequence[float]
    weights: Sequence[Sequence[float]] | None = None
    inhibitory: Sequence[int] = ()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to 0 or 1, [B, K], like x. `train` changes nothing.

        Raises:
          ValueError: the weights are not [n, K], or an inhibitory input is not one of the n.
          TypeError: x is not floating point.
        """
        del train
        checks.floating(x=x)
        x = nn.flatten(x)
        threshold = np.atleast_1d(np.asarray(self.threshold, float))
        checks.rank(1, threshold=threshold)
        shape = (x.shape[1], len(threshold))
        weights = np.ones(shape) if self.weights is None else np.asarray(self.weights, float)
        checks.shape(shape, weights=weights)
        for i in self.inhibitory:
            checks.between(0, shape[0] - 1, inhibitory=i)
        net = x @ jnp.asarray(weights, x.dtype)
        fires = nn.binary_step(net, jnp.asarray(threshold, x.dtype)[None])
        if not self.inhibitory:
            return fires
        forbidden = jnp.any(x[:, np.array(self.inhibitory)] > 0, axis=1, keepdims=True)
        return jnp.where(forbidden, jnp.zeros_like(fires), fires)
