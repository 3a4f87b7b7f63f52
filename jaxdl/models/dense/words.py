"""Vectors of words from the words around them.

Shapes: B batch, N words of a text, V words of the vocabulary, D features, W words of a window, C candidates.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxdl import checks, nn
from jaxdl.types import Array, Dtype


class Word2Vec(linen.Module):
    """Two tables of word vectors, fitted so that a word's vector tells which words stand near it.

    skip-gram: h = e_word;  CBOW: h = mean of e_w over the words w around the gap
    score of a candidate c: h . o_c

    With all words as candidates a softmax gives P(c | word), exact and slow. Negative sampling instead tells the
    true candidate from k drawn ones, by `losses.sigmoid_binary_cross_entropy` on labels (1, 0, ..., 0), summed
    over the candidates:

        drawn = negative_samples(key, counts, (B, k))
        logits = model.apply(variables, center, jnp.concatenate([context[:, None], drawn], axis=1), train=True)

    The vectors to keep are `params["inputs"]["embedding"]`, [V, D].

    Attributes:
      vocab_size: V.
      features: D.
      dtype: computation dtype; parameters stay float32.

    Source: Mikolov et al., "Efficient Estimation of Word Representations in Vector Space", 2013 (skip-gram, CBOW),
    arXiv:1301.3781; "Distributed Representations of Words and Phrases and their Compositionality", 2013, equation
    4 (negative sampling), arXiv:1310.4546. Initial values: word2vec.c.
    """

    vocab_size: int
    features: int
    dtype: Dtype | None = None

    def setup(self):
        checks.at_least(1, vocab_size=self.vocab_size, features=self.features)
        half = 0.5 / self.features
        size = (self.vocab_size, self.features)
        self.inputs = nn.Embed(*size, dtype=self.dtype, embedding_init=nn.uniform_init(-half, half))
        self.outputs = nn.Embed(*size, dtype=self.dtype, embedding_init=nn.zeros_init())

    def __call__(
        self, words: Array, candidates: Array | None = None, *, train: bool, mask: Array | None = None
    ) -> Array:
        """Scores the candidates for each word or window. `train` changes nothing.

        Args:
          words: int [B], one word each (skip-gram), or int [B, W], the words around a gap (CBOW).
          candidates: int [B, C]; None for the whole vocabulary, C = V.
          mask: bool [B, W], which words of a window there are; None for all. A window without any has h = 0.

        Returns:
          Logits, float [B, C].

        Raises:
          ValueError: shapes that do not fit, or a mask without a window.
          TypeError: words or candidates are not integers, or the mask is not bool.
        """
        del train
        checks.integer(words=words)
        checks.rank((1, 2), words=words)
        h = self.inputs(words)
        if words.ndim == 2:
            present = jnp.ones(words.shape, bool) if mask is None else mask
            checks.boolean(mask=present)
            checks.shape(words.shape, mask=present)
            count = jnp.maximum(jnp.sum(present, axis=1), 1)[:, None]
            h = jnp.sum(jnp.where(present[..., None], h, 0), axis=1) / count.astype(h.dtype)
        elif mask is not None:
            raise ValueError("mask must be None where words are single ones, [B]")
        if candidates is None:
            return self.outputs.attend(h)
        checks.integer(candidates=candidates)
        checks.shape((words.shape[0], None), candidates=candidates)
        return jnp.einsum("bd,bcd->bc", h, self.outputs(candidates))


def _text(tokens: Sequence[int] | np.ndarray, window: int) -> np.ndarray:
    tokens = np.asarray(tokens)
    checks.integer(tokens=tokens)
    checks.rank(1, tokens=tokens)
    checks.at_least(1, window=window)
    return tokens.astype(np.int32)


def skip_gram_pairs(tokens: Sequence[int] | np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Every word of a text with every word at most `window` places away, on the host.

    Args:
      tokens: int [N], a text as numbers of words.
      window: places to both sides, at least 1.

    Returns:
      Centres and contexts, int32 [P] each, ordered by the centre's place, then the context's; P = 2 N window -
      window (window + 1) for N > window.

    Raises:
      ValueError: tokens are not [N], or window is below 1.
      TypeError: tokens are not integers.
    """
    contexts, mask, centers = context_windows(tokens, window)
    return np.repeat(centers, mask.sum(axis=1)), contexts[mask]


def context_windows(
    tokens: Sequence[int] | np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every word of a text with the words around it, for CBOW, on the host.

    Args:
      tokens: int [N], a text as numbers of words.
      window: places to both sides, at least 1.

    Returns:
      Contexts int32 [N, 2 window], left to right, 0 beyond the ends of the text; mask bool [N, 2 window], what
      lies within it; centres int32 [N].

    Raises: as for `skip_gram_pairs`.
    """
    tokens = _text(tokens, window)
    offsets = np.array([*range(-window, 0), *range(1, window + 1)])
    places = np.arange(len(tokens))[:, None] + offsets
    mask = (places >= 0) & (places < len(tokens))
    contexts = np.zeros(places.shape, np.int32)
    contexts[mask] = tokens[places[mask]]
    return contexts, mask, tokens


def negative_samples(key: Array, counts: Array, shape: Sequence[int], power: float = 0.75) -> Array:
    """Words drawn by how often they occur, the rare ones more often than that.

    P(w) = count_w^power / sum_v count_v^power, independent draws with replacement

    A draw may be the true word; with a large vocabulary that is rare, and does no harm.

    Args:
      key: PRNG key.
      counts: how often each word occurs, numbers of at least 0, [V]; one that never does is never drawn.
      shape: of the result.
      power: 1 for the frequencies themselves, 0 for equal chances.

    Returns:
      int32 [*shape] in [0, V).

    Raises:
      ValueError: counts are not [V].

    Source: Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", 2013,
    section 2.2.
    """
    checks.rank(1, counts=counts)
    counts = jnp.asarray(counts, jnp.float32)
    weights = jnp.where(counts > 0, jnp.where(counts > 0, counts, 1) ** power, 0)
    up_to = jnp.cumsum(weights)
    drawn = jnp.searchsorted(up_to, jax.random.uniform(key, tuple(shape)) * up_to[-1], side="right")
    # Rounding may carry the product up to the sum itself; the last word that occurs then is the one.
    last = len(counts) - 1 - jnp.argmax(weights[::-1] > 0)
    return jnp.minimum(drawn, last).astype(jnp.int32)
