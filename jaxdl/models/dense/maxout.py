"""Layers that learn their own activation.

Shapes: B batch, ... any input axes (flattened), D their product, F_l widths, P pieces, K outputs.
"""

from collections.abc import Sequence

from flax import linen

from jaxdl import nn
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array, Dtype


class MaxoutNetwork(linen.Module):
    """A feed-forward net whose hidden units take the largest of several affine maps.

    h_l = dropout(max_p (h_{l-1} W_lp + b_lp)), logits = h_L W + b

    Two hidden units with enough pieces approximate any continuous function, as the difference of two convex ones.

    Attributes:
      features: widths F_l of the hidden layers, first to last.
      num_classes: K, number of outputs.
      num_pieces: P, affine maps of a hidden unit; 1 leaves a linear net.
      dropout_rate: probability of dropping a hidden unit while training, in [0, 1); the source has 0.5.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W of every layer.
      bias_init: initial b of every layer.

    Source: Goodfellow et al., "Maxout Networks", 2013, section 3; two units: theorem 4.3, arXiv:1302.4389.
    Differs from it in the place of dropout: behind hidden layers only, not before the first.
    """

    features: Sequence[int]
    num_classes: int
    num_pieces: int = 2
    dropout_rate: float = 0.0
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.lecun_normal()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to logits [B, K]."""
        settings = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": self.bias_init}
        x = nn.flatten(x)
        for features in self.features:
            x = nn.Maxout(features, self.num_pieces, **settings)(x)
            x = nn.Dropout(self.dropout_rate)(x, train=train)
        return nn.Dense(self.num_classes, **settings)(x)
