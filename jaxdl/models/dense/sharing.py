"""Nets for several tasks: one trunk for all, a net for each that stays near the others, columns that build on the
last.

Shapes: B batch, ... any input axes (flattened), D their product, K_t outputs of task t.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import nn
from jaxdl.models.dense.feedforward import MLP
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array, Dtype, Params


class MultiTaskNetwork(linen.Module):
    """Hard sharing: all tasks have the same hidden layers, and each its own head.

    h = trunk(x), y_t = head_t(h), trunk and heads as in `MLP`

    What one task has too few examples to learn, another may teach. It helps where the tasks need the same features
    of x, and hurts where they do not. Train it with `objectives.multi_task`.

    Attributes:
      features: widths of the shared hidden layers, first to last.
      outputs: number of outputs K_t of each task, by name.
      head_features: widths of each task's own hidden layers; empty leaves linear heads.
      activation: after every hidden layer.
      dropout_rate: probability of dropping a hidden unit while training, in [0, 1).
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W of every layer.
      bias_init: initial b of every layer.

    Source: Caruana, "Multitask Learning", 1997.
    """

    features: Sequence[int]
    outputs: Mapping[str, int]
    head_features: Sequence[int] = ()
    activation: Callable[[Array], Array] = nn.relu
    dropout_rate: float = 0.0
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.lecun_normal()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Array]:
        """Maps float [B, ...] to logits or values [B, K_t] of every task, by name."""
        settings = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": self.bias_init}
        x = nn.flatten(x)
        for i, features in enumerate(self.features):
            x = self.activation(nn.Dense(features, name=f"trunk_{i}", **settings)(x))
            x = nn.Dropout(self.dropout_rate)(x, train=train)
        return {
            task: MLP(
                self.head_features, size, self.activation, self.dropout_rate, name=f"head_{task}", **settings
            )(x, train=train)
            for task, size in self.outputs.items()
        }


class SoftSharedNetworks(linen.Module):
    """Soft sharing: each task has a net of its own, and their hidden layers are kept near each other.

    y_t = MLP_t(x);  to the tasks' losses add `sharing_penalty`, strength sum_{s < t} |theta_s - theta_t|^2

    With strength 0 the nets are separate, with a large one they share their hidden layers as `MultiTaskNetwork`
    does; between lies how much the tasks have in common.

        penalty = model.sharing_penalty(params, 0.01)

    Attributes:
      features: widths of the hidden layers of every net, first to last.
      outputs: number of outputs K_t of each task, by name.
      activation: after every hidden layer.
      dropout_rate: probability of dropping a hidden unit while training, in [0, 1).
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W of every layer.
      bias_init: initial b of every layer.

    Source: Duong et al., "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network
    Parser", 2015, equation 3.
    """

    features: Sequence[int]
    outputs: Mapping[str, int]
    activation: Callable[[Array], Array] = nn.relu
    dropout_rate: float = 0.0
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.lecun_normal()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Array]:
        """Maps float [B, ...] to logits or values [B, K_t] of every task, by name."""
        settings = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": self.bias_init}
        return {
            task: MLP(self.features, size, self.activation, self.dropout_rate, name=task, **settings)(
                x, train=train
            )
            for task, size in self.outputs.items()
        }

    def sharing_penalty(self, params: Params, strength: float | Array) -> Array:
        """Squared distance of the hidden layers of every two nets, times the strength; a pure function, float32[].

        Args:
          params: of this module.
          strength: at least 0.
        """
        hidden = {
            task: {f"Dense_{i}": params[task][f"Dense_{i}"] for i in range(len(self.features))}
            for task in self.outputs
        }
        pairs = [nn.soft_sharing_penalty(hidden[a], hidden[b], strength) for a, b in combinations(hidden, 2)]
        return sum(pairs, jnp.zeros(()))


class _Column(linen.Module):
    """One column of `ProgressiveNetwork`: dense layers that also see the layers before them in older columns."""

    features: Sequence[int]
    num_classes: int
    activation: Callable[[Array], Array]
    dtype: Dtype | None
    kernel_init: Initializer
    bias_init: Initializer

    @linen.compact
    def __call__(self, x: Array, older: Sequence[Sequence[Array]]) -> tuple[Array, list[Array]]:
        """Outputs [B, K] and hidden layers, from the inputs [B, D] and the older columns' hidden layers."""
        hidden = []
        for i, features in enumerate([*self.features, self.num_classes]):
            z = nn.Dense(
                features,
                dtype=self.dtype,
                kernel_init=self.kernel_init,
                bias_init=self.bias_init,
                name=f"layer_{i}",
            )(hidden[-1] if hidden else x)
            if i > 0:
                for j, column in enumerate(older):
                    lateral = nn.Dense(
                        features, False, self.dtype, kernel_init=self.kernel_init, name=f"layer_{i}_from_{j}"
                    )
                    z = z + lateral(column[i - 1])
            hidden.append(self.activation(z) if i < len(self.features) else z)
        return hidden.pop(), hidden


class ProgressiveNetwork(linen.Module):
    """A column for each task in turn: the new one reads the old ones, which stay as they are.

    h_i^k = f(h_{i-1}^k W_i^k + b_i^k + sum_{j<k} h_{i-1}^j U_i^{kj}),  h_0 = x

    Columns before the last are behind `stop_gradient`, so an old task is never forgotten. A net with one more
    column is a larger module; `train.transfer` copies the columns that it has already. Keep their parameters from
    an optimizer that moves without a gradient (decay, momentum) by `train.freeze_parameters(tx, "^column_0/")`.

    Attributes:
      features: widths of the hidden layers of every column, first to last.
      num_classes: number of outputs of each column; as many as there are columns, the newest last.
      activation: f, after every hidden layer.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W and U.
      bias_init: initial b.

    Source: Rusu et al., "Progressive Neural Networks", 2016, equation 1, arXiv:1606.04671.
    Differs from it in the lateral connections: plain matrices, without the adapters of equation 2.
    """

    features: Sequence[int]
    num_classes: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.lecun_normal()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool, column: int = -1) -> Array:
        """Maps float [B, ...] to logits or values [B, K] of one column. `train` changes nothing.

        Args:
          column: whose outputs; -1 for the newest, with which `init` makes all columns. Those after it are not
            computed.

        Raises:
          ValueError: there is no column, or not this one.
        """
        del train
        count = len(self.num_classes)
        if not -count <= column < count:
            raise ValueError(f"column must be one of {count}, got {column}")
        last = column % count
        x = nn.flatten(x)
        outputs, older = [], []
        for k, size in enumerate(self.num_classes[: last + 1]):
            y, hidden = _Column(
                self.features,
                size,
                self.activation,
                self.dtype,
                self.kernel_init,
                self.bias_init,
                name=f"column_{k}",
            )(x, older)
            outputs.append(y)
            older.append([jax.lax.stop_gradient(h) for h in hidden])
        return outputs[last]
