"""Attention of a recurrent decoder, with scores that are trained or bare products.

Shapes: ... any leading axes (a batch), T queries, S keys, Q features of a query, K of a key, V of a value, F hidden
features of the score.

Both layers take one query for each example or a sequence of them, and always return their weights, which they have
anyway. Within Transformers take `MultiHeadAttention`.
"""

import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.attention import fit_to_scores, masked_softmax
from jaxdl.nn.dense import Dense
from jaxdl.nn.initializers import Initializer, lecun_normal
from jaxdl.types import Array, Dtype


def _check(query: Array, keys: Array, values: Array) -> None:
    checks.floating(query=query, keys=keys, values=values)
    if keys.ndim < 2:
        raise ValueError(f"keys must have the axes [..., S, K], got shape {keys.shape}")
    checks.rank((keys.ndim - 1, keys.ndim), query=query)
    checks.same_leading(keys.ndim - 2, query=query, keys=keys)
    checks.shape((*keys.shape[:-1], None), values=values)


def _mean_of(values: Array, scores: Array, mask: Array | None, query: Array) -> tuple[Array, Array]:
    """The values weighted by the softmax of scores [..., T, S], without the axis T if the query has none."""
    single = query.ndim == values.ndim - 1
    if single:
        scores = scores[..., 0, :]
    if mask is not None:
        checks.boolean(mask=mask)
        mask = fit_to_scores(mask, scores.shape, "mask")
    weights = masked_softmax(scores, mask)
    many = weights[..., None, :] if single else weights
    context = jnp.einsum("...ts,...sv->...tv", many, values)
    return (context[..., 0, :] if single else context), weights


def _tanh_scores(query: Array, keys: Array, score: Dense) -> Array:
    """v . tanh(query + key) for every pair, [..., T, S]."""
    return score(jnp.tanh(query[..., :, None, :] + keys[..., None, :, :]))[..., 0]


class AdditiveAttention(linen.Module):
    """Attention whose score is a net with one hidden layer.

    a_ts = softmax_s(v . tanh(W q_t + U k_s)) over the keys that the mask allows, c_t = sum_s a_ts value_s. A
    query that may attend to no key gets zeros. Take it where queries and keys have different sizes, or for
    Bahdanau's decoder; `MultiplicativeAttention` is cheaper: it forms no [..., T, S, F].

    The parameters are `query` (W, `kernel` [Q, F]), `key` (U, `kernel` [K, F]) and `score` (v, `kernel` [F, 1]),
    without biases: (Q + K + 1) F numbers.

    Attributes:
      features: F, at least 1.
      dtype: computation dtype; None promotes inputs with parameters. The softmax is in float32.
      param_dtype: dtype of the parameters.
      kernel_init: initial kernels.

    Source: Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and Translate", 2015, appendix
    A.1.2, arXiv:1409.0473.
    """

    features: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()

    def setup(self):
        self.query = self._dense(self.features)
        self.key = self._dense(self.features)
        self.score = self._dense(1)

    def _dense(self, features: int) -> Dense:
        return Dense(features, False, self.dtype, self.param_dtype, self.kernel_init)

    def project(self, keys: Array) -> Array:
        """U k_s, float [..., S, F]: what a loop over queries computes once."""
        return self.key(keys)

    def __call__(
        self,
        query: Array,
        keys: Array,
        values: Array | None = None,
        mask: Array | None = None,
        *,
        projected: Array | None = None,
    ) -> tuple[Array, Array]:
        """The context and the weights.

        Args:
          query: float [..., Q], one for each example, or [..., T, Q]: the decoder's last state.
          keys: float [..., S, K]: the encoder's outputs.
          values: float [..., S, V]; None for the keys.
          mask: bool, broadcastable to the weights; True: may attend. For padding, `valid` [B, S] with one query,
            `valid[:, None]` with T.
          projected: `project(keys)`, if it is at hand.

        Returns:
          float [..., V] and [..., S], or [..., T, V] and [..., T, S].

        Raises:
          TypeError: a wrong dtype.
          ValueError: shapes that do not fit together, or features is below 1.
        """
        values = keys if values is None else values
        _check(query, keys, values)
        many = query if query.ndim == keys.ndim else query[..., None, :]
        projected = self.project(keys) if projected is None else projected
        checks.shape((*keys.shape[:-1], self.features), projected=projected)
        return _mean_of(values, _tanh_scores(self.query(many), projected, self.score), mask, query)


class MultiplicativeAttention(linen.Module):
    """Attention whose score is a product of query and key, or a net that sees both side by side.

    a_ts = softmax_s(score(q_t, k_s)) over the keys that the mask allows, c_t = sum_s a_ts value_s, with the score
      "dot": q . k, without parameters; Q = K
      "general": q . W k, `key` (`kernel` [K, Q], W transposed)
      "concat": v . tanh(W [q; k]), `concat` (`kernel` [Q + K, F]) and `score` (`kernel` [F, 1])

    "concat" is `AdditiveAttention` with W and U in one matrix; the papers differ in the state that asks, the
    decoder's new one here, its last one there. A query that may attend to no key gets zeros. Scores are not scaled;
    see `scaled_dot_product_attention` for that.

    Attributes:
      score: "dot", "general" or "concat".
      features: F, for "concat" only.
      dtype: computation dtype; None promotes inputs with parameters. The softmax is in float32.
      param_dtype: dtype of the parameters.
      kernel_init: initial kernels.

    Source: Luong et al., "Effective Approaches to Attention-based Neural Machine Translation", 2015, section 3.1,
    arXiv:1508.04025.
    """

    score: str = "general"
    features: int | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()

    @linen.compact
    def __call__(
        self, query: Array, keys: Array, values: Array | None = None, mask: Array | None = None
    ) -> tuple[Array, Array]:
        """The context and the weights.

        Args:
          query: float [..., Q], one for each example, or [..., T, Q]: the decoder's state.
          keys: float [..., S, K]: the encoder's outputs.
          values: float [..., S, V]; None for the keys.
          mask: bool, broadcastable to the weights; True: may attend. For padding, `valid` [B, S] with one query,
            `valid[:, None]` with T.

        Returns:
          float [..., V] and [..., S], or [..., T, V] and [..., T, S].

        Raises:
          TypeError: a wrong dtype.
          ValueError: shapes that do not fit together, an unknown score, or features given for another score than
            "concat" or missing there.
        """
        checks.one_of(("dot", "general", "concat"), score=self.score)
        if (self.score == "concat") != (self.features is not None):
            raise ValueError(f"features must be given for 'concat' and only there, got {self.features}")
        values = keys if values is None else values
        _check(query, keys, values)
        many = query if query.ndim == keys.ndim else query[..., None, :]

        def dense(features: int, name: str) -> Dense:
            return Dense(features, False, self.dtype, self.param_dtype, self.kernel_init, name=name)

        if self.features is not None:
            concat, width = dense(self.features, "concat"), query.shape[-1]
            # W [q; 0] + W [0; k]: T + S rows go through the matrix, not T S.
            left = concat(jnp.pad(many, [(0, 0)] * (many.ndim - 1) + [(0, keys.shape[-1])]))
            right = concat(jnp.pad(keys, [(0, 0)] * (keys.ndim - 1) + [(width, 0)]))
            return _mean_of(values, _tanh_scores(left, right, dense(1, "score")), mask, query)
        if self.score == "general":
            keys = dense(query.shape[-1], "key")(keys)
        elif query.shape[-1] != keys.shape[-1]:
            raise ValueError(f"query must have the features of keys, {keys.shape[-1]}, got {query.shape[-1]}")
        scores = jnp.einsum("...tq,...sq->...ts", *linen.dtypes.promote_dtype(many, keys, dtype=self.dtype))
        return _mean_of(values, scores, mask, query)
