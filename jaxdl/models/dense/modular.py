"""Several nets as one: modules that each see a part of the inputs, experts that each see all of it.

Shapes: B batch, ... any input axes (flattened), D their product, E experts or modules, K outputs.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxdl import checks, nn
from jaxdl.types import Array, Dtype


class ModularNetwork(linen.Module):
    """Independent nets, each with its own inputs and its own part of the task, and what puts their answers together.

    y_e = f_e(x[columns_e])
    concatenate: y = (y_1, ..., y_E);  mean: y = mean_e y_e;  gated: y = sum_e g_e(x) y_e, g = softmax(x V + c);
    linear: y = (y_1, ..., y_E) W + b

    No module sees another's inputs or answers. With "linear", and only then, there is a layer behind them.

    Attributes:
      modules: the nets f_e, called as `f(x, train=train)` with float [B, D_e], returning [B, K_e].
      columns: for each module, the numbers of the inputs that it sees.
      combine: "concatenate", "mean", "gated" (both need equal K_e) or "linear".
      num_classes: K, of "linear"; None for the others, which have it from the modules.
      dtype: computation dtype of what puts the answers together; parameters stay float32.

    Source: Happel & Murre, "Design and Evolution of Modular Neural Network Architectures", 1994.
    """

    modules: Sequence[linen.Module]
    columns: Sequence[Sequence[int]]
    combine: str = "concatenate"
    num_classes: int | None = None
    dtype: Dtype | None = None

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to logits or values [B, K].

        Raises:
          ValueError: not as many lists of columns as modules, a column that x does not have, an unknown `combine`,
            num_classes given or missing against it, or modules whose outputs cannot be added.
        """
        checks.one_of(("concatenate", "mean", "gated", "linear"), combine=self.combine)
        if len(self.columns) != len(self.modules) or not self.modules:
            raise ValueError(
                f"columns must have one list for each module, got {len(self.columns)} for {len(self.modules)}"
            )
        if (self.combine == "linear") != (self.num_classes is not None):
            raise ValueError(
                f"num_classes must be given for combine='linear' and for no other, "
                f"got {self.num_classes} with {self.combine!r}"
            )
        x = nn.flatten(x)
        outputs = []
        for module, columns in zip(self.modules, self.columns):
            checks.between(0, x.shape[-1] - 1, **{f"columns[{len(outputs)}]": min(columns)})
            checks.between(0, x.shape[-1] - 1, **{f"columns[{len(outputs)}]": max(columns)})
            outputs.append(module(x[:, np.asarray(columns)], train=train))
        if self.combine in ("concatenate", "linear"):
            y = jnp.concatenate(outputs, axis=-1)
            return (
                y
                if self.num_classes is None
                else nn.Dense(self.num_classes, dtype=self.dtype, name="combiner")(y)
            )
        checks.same_shape(**{f"modules[{i}]": y for i, y in enumerate(outputs)})
        stacked = jnp.stack(outputs, axis=1)
        if self.combine == "mean":
            return jnp.mean(stacked, axis=1)
        gates = nn.softmax(nn.Dense(len(outputs), dtype=self.dtype, name="gate")(x))
        return jnp.sum(gates[..., None] * stacked, axis=1)


class MixtureOfExperts(linen.Module):
    """Nets of one kind that learn to share the inputs among them, and a gate that learns who is to be asked.

    y(x) = sum_e g_e(x) f_e(x),  g(x) = softmax(x V + c)

    With one expert it is that expert. A loss on y makes the experts cooperate. They compete, and each keeps to a
    part of the inputs of its own, with the likelihood of the source, -log sum_e g_e exp(-|t - f_e|^2 / 2), from
    `gates` and `expert_outputs`.

    The experts' parameters are one stacked tree [E, ...], computed as one batched product.

    Attributes:
      expert: the net, called as `expert(x, train=train)`, returning [B, K]; each copy has its own parameters.
      num_experts: E, at least 1.
      num_active: how many experts have a say for each input, those with the largest gates, which then sum to 1;
        None for all. The others are computed all the same: this is for what they learn, not for speed.
      dtype: computation dtype of the gate; parameters stay float32.

    Source: Jacobs, Jordan, Nowlan & Hinton, "Adaptive Mixtures of Local Experts", 1991, equations 1.1 to 1.3;
    num_active: Shazeer et al., "Outrageously Large Neural Networks", 2017, equations 3 and 5, without noise.
    """

    expert: linen.Module
    num_experts: int
    num_active: int | None = None
    dtype: Dtype | None = None

    def setup(self):
        checks.at_least(1, num_experts=self.num_experts)
        if self.num_active is not None:
            checks.between(1, self.num_experts, num_active=self.num_active)
        self.gate = nn.Dense(self.num_experts, dtype=self.dtype)

    def gates(self, x: Array) -> Array:
        """Each expert's share in the answer, float [B, E], at least 0 with sum 1, from float [B, ...]."""
        scores = self.gate(nn.flatten(x))
        if self.num_active is not None:
            least = jax.lax.top_k(scores, self.num_active)[0][..., -1:]
            scores = jnp.where(scores >= least, scores, -jnp.inf)
        return nn.softmax(scores)

    def expert_outputs(self, x: Array, *, train: bool) -> Array:
        """What every expert answers, float [B, E, K], from float [B, ...]."""
        every = linen.vmap(
            lambda expert, x: expert(x, train=train),
            in_axes=None,
            out_axes=1,
            axis_size=self.num_experts,
            variable_axes={True: 0},
            split_rngs={"params": True, "dropout": True},
        )
        return every(self.expert, x)

    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to logits or values [B, K].

        Raises:
          ValueError: num_experts is below 1, or num_active outside [1, E].
        """
        return jnp.sum(self.gates(x)[..., None] * self.expert_outputs(x, train=train), axis=1)
