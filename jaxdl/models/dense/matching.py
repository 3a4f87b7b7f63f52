"""Nets that tell how well two things go together: two inputs, or an input and the description of a class.

Shapes: B batch, ... any input axes, F features of an embedding, M classes, A features of a description.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen

from jaxdl import checks, nn
from jaxdl.types import Array, Dtype


def euclidean(a: Array, b: Array) -> Array:
    """sqrt(|a - b|^2 + 1e-12), float [B]: the distance, with a finite gradient where both are the same."""
    return jnp.sqrt(jnp.sum(jnp.square(a - b), axis=-1) + 1e-12)


class SiameseNetwork(linen.Module):
    """Twins with the same weights, and the distance of what they make of two inputs.

    d(x, x') = distance(f(x), f(x'))

    It learns what makes two things alike, not what they are, so it also compares things of classes that it never
    saw. For pairs: `losses.contrastive(d, alike)`. To train on triplets or on labelled batches, take the embedding
    alone:

        objective = objectives.metric_learning(model, losses.nt_xent, method="embed")

    Attributes:
      encoder: f, called as `encoder(x, train=train)`, returning [B, F].
      distance: from two embeddings [B, F] to [B].
      normalize: whether embeddings are scaled to length 1, which bounds their distance by 2.

    Source: Bromley et al., "Signature Verification using a 'Siamese' Time Delay Neural Network", 1993; with the
    Euclidean
    distance: Chopra, Hadsell & LeCun, "Learning a Similarity Metric Discriminatively", 2005.
    """

    encoder: linen.Module
    distance: Callable[[Array, Array], Array] = euclidean
    normalize: bool = False

    def embed(self, x: Array, *, train: bool) -> Array:
        """The embedding, float [B, F], of [B, ...]."""
        z = self.encoder(x, train=train)
        if not self.normalize:
            return z
        squares = jnp.sum(jnp.square(z), axis=-1, keepdims=True)
        return z / jnp.sqrt(jnp.maximum(squares, 1e-12))

    def __call__(self, first: Array, second: Array, *, train: bool) -> Array:
        """Maps two inputs [B, ...] to their distances, float [B].

        Raises:
          ValueError: the inputs differ in shape.
        """
        checks.same_shape(first=first, second=second)
        # One call for both, so batch statistics are those of all.
        both = self.embed(jnp.concatenate([first, second]), train=train)
        return self.distance(*jnp.split(both, 2))


class ZeroShotNetwork(linen.Module):
    """Scores of an input against classes that are told by a description, also ones that it was never trained on.

    F(x, t) = f(x) . (t V),  P(class m | x, descriptions T) = softmax(F(x, T))_m

    The descriptions are an argument of the call, as many as there are classes to choose from: train with those of
      the known
    classes, then ask with those of others. It can only tell what the descriptions tell.

        logits = model.apply(variables, x, descriptions, train=False)        # [B, M]

    Attributes:
      encoder: f, called as `encoder(x, train=train)`, returning [B, F].
      features: F, at least 1.
      dtype: computation dtype of the map of descriptions; parameters stay float32.

    Source: Akata et al., "Label-Embedding for Image Classification", 2016, equation 4, arXiv:1503.08677.
    """

    encoder: linen.Module
    features: int
    dtype: Dtype | None = None

    @linen.compact
    def __call__(self, x: Array, descriptions: Array, *, train: bool) -> Array:
        """Maps inputs [B, ...] and descriptions float [M, A] to logits, float [B, M].

        Raises:
          ValueError: descriptions are not [M, A], or the encoder returns another width than `features`.
          TypeError: descriptions are not floating point.
        """
        checks.floating(descriptions=descriptions)
        checks.rank(2, descriptions=descriptions)
        z = self.encoder(x, train=train)
        checks.shape((x.shape[0], self.features), encoder=z)
        layer = nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="descriptions")
        return jnp.matmul(z, layer(descriptions).T)
