"""Layers that may let their input pass.

Shapes: B batch, ... any input axes (flattened), D their product, F width, L layers, K outputs.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen

from jaxdl import checks, nn
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array, Dtype


class HighwayNetwork(linen.Module):
    """A deep net of one width in which every layer learns how much of its input to keep.

    h_0 = f(x W + b)
    h_l = t_l f(h_{l-1} W_l + b_l) + (1 - t_l) h_{l-1},  t_l = sigmoid(h_{l-1} V_l + c_l)
    logits = h_L W + b

    The gates' biases c start below 0, so at first nearly everything passes and gradients reach the first layer
    however many there are. With closed gates, t = 0, it is a net of one hidden layer.

    Attributes:
      width: F, units of every layer.
      depth: L, number of gated layers, at least 0.
      num_classes: K, number of outputs.
      activation: f.
      gate_bias: initial c, below 0; the deeper, the lower.
      dropout_rate: probability of dropping a unit behind a gated layer while training, in [0, 1).
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W and V of every layer.
      bias_init: initial b of every layer.

    Source: Srivastava, Greff & Schmidhuber, "Training Very Deep Networks", 2015, equation 3, arXiv:1507.06228.
    """

    width: int
    depth: int
    num_classes: int
    activation: Callable[[Array], Array] = nn.relu
    gate_bias: float = -2.0
    dropout_rate: float = 0.0
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.lecun_normal()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to logits [B, K].

        Raises:
          ValueError: depth is below 0.
        """
        checks.at_least(0, depth=self.depth)

        def dense(features: int, name: str, bias_init: Initializer = self.bias_init) -> linen.Module:
            return nn.Dense(
                features, dtype=self.dtype, kernel_init=self.kernel_init, bias_init=bias_init, name=name
            )

        def closed(key: Array, shape, dtype=jnp.float32) -> Array:
            return jnp.full(shape, self.gate_bias, dtype)

        h = self.activation(dense(self.width, "input")(nn.flatten(x)))
        for i in range(self.depth):
            gate = nn.sigmoid(dense(self.width, f"gate_{i}", closed)(h))
            h = gate * self.activation(dense(self.width, f"layer_{i}")(h)) + (1 - gate) * h
            h = nn.Dropout(self.dropout_rate)(h, train=train)
        return dense(self.num_classes, "output")(h)
