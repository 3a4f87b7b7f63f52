"""Feed-forward networks: no hidden layer, or any number of them.

Shapes: B batch, ... any input axes (flattened, so images may come as they are), D their product, K outputs.
All return net inputs of the last layer (logits); a step, a sigmoid or a softmax on them is the caller's.
"""

from collections.abc import Callable, Sequence

from flax import linen

from jaxdl import nn
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array, Dtype


class Perceptron(linen.Module):
    """Linear threshold units; the threshold is left to the caller.

    net = x W + b; a unit fires where net is above 0 (or at 0, by the rule that trains it).

    Attributes:
      features: K, number of units.
      use_bias: whether to add b, which is minus the threshold.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W; zeros, the start of the classical rule.
      bias_init: initial b.

    Source: Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the
    Brain", 1958.
    """

    features: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.zeros_init()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to net inputs [B, K]. `train` changes nothing."""
        del train
        layer = nn.Dense(
            self.features, self.use_bias, self.dtype, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        return layer(nn.flatten(x))


class SoftmaxRegression(linen.Module):
    """Multinomial logistic regression.

    log p(k | x) = log_softmax(x W + b)_k; this returns x W + b.

    Attributes:
      num_classes: K.
      use_bias: whether to add b.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W; zeros, as the loss is convex.
      bias_init: initial b.
    """

    num_classes: int
    use_bias: bool = True
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.zeros_init()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to logits [B, K]. `train` changes nothing."""
        del train
        layer = nn.Dense(
            self.num_classes,
            self.use_bias,
            self.dtype,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
        )
        return layer(nn.flatten(x))


class MLP(linen.Module):
    """Multilayer perceptron.

    h_l = dropout(f(h_{l-1} W_l + b_l)), logits = h_L W + b.

    Attributes:
      features: widths of the hidden layers, first to last; empty leaves one linear layer.
      num_classes: K, number of outputs (1 for a binary logit or a scalar regression).
      activation: f, after every hidden layer and not after the last.
      dropout_rate: probability of dropping a hidden unit while training, in [0, 1).
      use_bias: whether every layer adds b.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W of every layer.
      bias_init: initial b of every layer.

    Source: Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", 1986.
    """

    features: Sequence[int]
    num_classes: int
    activation: Callable[[Array], Array] = nn.relu
    dropout_rate: float = 0.0
    use_bias: bool = True
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.lecun_normal()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to logits [B, K]."""

        def dense(features: int) -> linen.Module:
            return nn.Dense(
                features, self.use_bias, self.dtype, kernel_init=self.kernel_init, bias_init=self.bias_init
            )

        x = nn.flatten(x)
        for features in self.features:
            x = self.activation(dense(features)(x))
            x = nn.Dropout(self.dropout_rate)(x, train=train)
        return dense(self.num_classes)(x)
