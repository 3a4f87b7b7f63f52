"""Vectors for integers.

Shapes: ... any axes, V entries, D features.
"""

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array, Dtype


class Embed(linen.Module):
    """A table of trained vectors, one for each token.

    y = E[token], with `embedding` E [V, D]; `attend` is the way back, logits = x E^T, for models whose output
    layer shares the table (Press & Wolf 2017).

    Attributes:
      num_embeddings: V, at least 1.
      features: D, at least 1.
      mask_zero: whether token 0 is padding. Its vector then is 0 and gets no gradient from the lookup. Hide it from
        attention by `padding_mask(tokens != 0)`, from a recurrent layer by `tokens != 0`.
      dtype: computation dtype; None takes that of the parameter.
      param_dtype: dtype of `embedding`.
      embedding_init: initial E; None draws from N(0, 1 / D).

    Differs from linen.Embed in tokens outside [0, V), negative ones among them, which give NaN; from
    torch.nn.Embedding, whose padding_idx may be another number, in the initial scale (1 there).
    """

    num_embeddings: int
    features: int
    mask_zero: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    embedding_init: Initializer | None = None

    def setup(self):
        checks.at_least(1, num_embeddings=self.num_embeddings, features=self.features)
        init = self.embedding_init or jax.nn.initializers.normal(self.features**-0.5)

        def start(*args) -> Array:
            table = init(*args)
            return table.at[0].set(0) if self.mask_zero else table

        self.embedding = self.param(
            "embedding", start, (self.num_embeddings, self.features), self.param_dtype
        )

    def __call__(self, tokens: Array) -> Array:
        """Maps integers [...] in [0, V) to [..., D].

        Raises:
          TypeError: tokens are not integers.
          ValueError: num_embeddings or features is below 1.
        """
        checks.integer(tokens=tokens)
        (table,) = linen.dtypes.promote_dtype(self.embedding, dtype=self.dtype, inexact=False)
        y = table.at[tokens].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        return jnp.where((tokens == 0)[..., None], 0, y) if self.mask_zero else y

    def attend(self, x: Array) -> Array:
        """Logits of every token, float [..., V], from float [..., D].

        Raises:
          TypeError: x is not floating point.
          ValueError: the last axis of x is not D.
        """
        checks.floating(x=x)
        checks.shape((*jnp.shape(x)[:-1], self.features), x=x)
        x, table = linen.dtypes.promote_dtype(x, self.embedding, dtype=self.dtype)
        return jnp.matmul(x.reshape(-1, self.features), table.T).reshape(*x.shape[:-1], self.num_embeddings)
