"""Attention of several heads, with trained projections and a cache for decoding.

Shapes: B batch, ... any leading axes, T queries, S keys, D features of the input, H heads, K heads of keys and
values, d features of a head, F features of the output, N places of a cache.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxdl import checks
from jaxdl.nn.attention import causal_mask, fit_to_scores, scaled_dot_product_attention
from jaxdl.nn.dense import Dense
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.nn.positions import rotary_embedding
from jaxdl.types import Array, Dtype


class AttentionCache(NamedTuple):
    """The keys and values of what one attention layer has seen, in buffers of fixed size."""

    keys: Array  # [B, N, K, d]
    values: Array  # [B, N, K, d]
    length: Array  # int32[], how many of the N places are filled


def create_attention_cache(
    batch_size: int, max_length: int, num_heads: int, head_dim: int, dtype: Dtype = jnp.float32
) -> AttentionCache:
    """An empty cache for one `MultiHeadAttention`.

    It goes into the layer's call and comes back filled. As it is a value, not a variable of the module, decoding
    is a pure function: it can be scanned, branched by beam search (gather keys and values along the batch), or
    stacked by vmap for layers that are scanned.

    Args:
      batch_size: B.
      max_length: N, the most positions that all calls together will write.
      num_heads: K, the layer's heads of keys and values.
      head_dim: d.
      dtype: the layer's computation dtype.

    Returns:
      `AttentionCache` of zeros, length 0.

    Raises:
      ValueError: a size is below 1.
    """
    checks.at_least(1, batch_size=batch_size, max_length=max_length, num_heads=num_heads, head_dim=head_dim)
    shape = (batch_size, max_length, num_heads, head_dim)
    # Two buffers, as a donated cache must not name one twice.
    return AttentionCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((), jnp.int32))


def _extended(cache: AttentionCache, keys: Array, values: Array) -> AttentionCache:
    """The cache with further keys and values behind those it holds; NaN where they have no place."""
    checks.shape((cache.keys.shape[0], None, *cache.keys.shape[2:]), keys=keys, values=values)
    new = keys.shape[1]
    if new > cache.keys.shape[1]:
        raise ValueError(f"cache must have places for {new} positions, got {cache.keys.shape[1]}")
    # The update below would silently move to where there is place, over what stands there.
    fits = cache.length + new <= cache.keys.shape[1]

    def written(buffer: Array, part: Array) -> Array:
        part = jnp.where(fits, part, jnp.nan).astype(buffer.dtype)
        return lax.dynamic_update_slice_in_dim(buffer, part, cache.length, axis=1)

    return AttentionCache(written(cache.keys, keys), written(cache.values, values), cache.length + new)


class HeadProjection(linen.Module):
    """An affine map from or to several axes: `Dense`, with a kernel that shows the heads.

    Attributes:
      features: sizes of the output's last axes.
      num_axes: how many trailing axes of the input are mapped.
      use_bias, dtype, param_dtype, kernel_init, bias_init: as in `Dense`; fans are those of the flat kernel.
    """

    features: Sequence[int]
    num_axes: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., *I] to [..., *features]."""
        features, inputs = tuple(self.features), x.shape[x.ndim - self.num_axes :]
        flat = (math.prod(inputs), math.prod(features))

        def kernel_init(key: Array, shape: Sequence[int], dtype: Dtype) -> Array:
            return self.kernel_init(key, flat, dtype).reshape(shape)

        def bias_init(key: Array, shape: Sequence[int], dtype: Dtype) -> Array:
            return self.bias_init(key, flat[1:], dtype).reshape(shape)

        params = {
            "kernel": self.param("kernel", kernel_init, inputs + features, self.param_dtype).reshape(flat)
        }
        if self.use_bias:
            params["bias"] = self.param("bias", bias_init, features, self.param_dtype).reshape(-1)
        lead = x.shape[: x.ndim - self.num_axes]
        dense = Dense(flat[1], self.use_bias, self.dtype, self.param_dtype, parent=None)
        y: Any = dense.apply({"params": params}, x.reshape(*lead, flat[0]))
        return y.reshape(*lead, *features)


class MultiHeadAttention(linen.Module):
    """Attention in several learned subspaces at once.

    y = concat(head_1, ..., head_H) W_out + b_out, head_h = attention(x_q W_h^query, x_k W_h^key, x_v W_h^value), with
    `scaled_dot_product_attention`. Self-attention takes one input, cross-attention the queries' and the memory.

    The parameters `query`, `key`, `value` (`kernel` [D, H, d], `bias` [H, d]) and `out` (`kernel` [H, d, F], `bias`
    [F]) are those of linen.MultiHeadDotProductAttention. There are F (H d) + F + 3 (D H d + H d) numbers for one D
    and K = H, 4 D^2 + 4 D where H d = F = D.

    While training, weights are dropped from the stream "dropout". Where the collection "intermediates" is
    mutable, the weights are left in it, for all layers of a net at once.

    Attributes:
      num_heads: H.
      qkv_features: H d, a multiple of H; None for the queries' D.
      out_features: F; None for the queries' D.
      num_kv_heads: K, a divisor of H; None for H. Fewer make the cache smaller (Ainslie et al., "GQA", 2023).
      use_bias: whether the four maps have biases (T5: not).
      causal: whether a position sees only itself and what came before it.
      scale: of the scores; None for 1 / sqrt(d) (T5: 1).
      rotary_base: base of `rotary_embedding`, applied to queries and keys; None leaves them alone.
      dropout_rate: probability of dropping a weight while training.
      implementation: see `scaled_dot_product_attention`.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initial kernels.
      bias_init: initial biases.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2.
    Differs from linen in the cache, which is an argument and a result instead of a collection; in masked rows and
    dropout as `scaled_dot_product_attention` does. From torch in the mask, which there is True for what is hidden.
    """

    num_heads: int
    qkv_features: int | None = None
    out_features: int | None = None
    num_kv_heads: int | None = None
    use_bias: bool = True
    causal: bool = False
    scale: float | None = None
    rotary_base: float | None = None
    dropout_rate: float = 0.0
    implementation: Literal["xla", "cudnn"] | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(
        self,
        query: Array,
        key: Array | None = None,
        value: Array | None = None,
        mask: Array | None = None,
        bias: Array | None = None,
        *,
        cache: AttentionCache | None = None,
        return_weights: bool = False,
        train: bool,
    ) -> Any:
        """Maps float [..., T, D] to [..., T, F].

        Args:
          query: float [..., T, D].
          key: what keys are made of, float [..., S, D']; None for the queries.
          value: what values are made of, float [..., S, D'']; None for what keys are made of.
          mask: bool, broadcastable to [..., H, T, S]; True: may attend. With a cache, S is its N.
          bias: float, broadcastable likewise, added to the scores.
          cache: what earlier calls saw. This call's keys and values are written behind it, as many as there are (a
            prompt at once, then one by one), and the queries see both. With `causal`, query t sees the places up
            to cache.length + t. For cross-attention, give the memory once and `memory[:, :0]` from then on. What
            does not fit into the cache becomes NaN.
          return_weights: whether to return the weights, before dropout.
          train: whether to drop weights.

        Returns:
          y; or a tuple of y, the weights [..., H, T, S] if asked for, and the new cache if one was given.

        Raises:
          TypeError: a wrong dtype.
          ValueError: shapes that do not fit, or H does not divide qkv_features, or K not H.
        """
        checks.floating(query=query)
        if query.ndim < 2:
            raise ValueError(f"query must have the axes [..., T, D], got shape {query.shape}")
        key = query if key is None else key
        value = key if value is None else value
        checks.rank(query.ndim, key=key, value=value)
        qkv_features = query.shape[-1] if self.qkv_features is None else self.qkv_features
        kv_heads = self.num_heads if self.num_kv_heads is None else self.num_kv_heads
        checks.at_least(1, num_heads=self.num_heads, num_kv_heads=kv_heads, qkv_features=qkv_features)
        checks.divisible(self.num_heads, "num_heads", qkv_features=qkv_features)
        checks.divisible(kv_heads, "num_kv_heads", num_heads=self.num_heads)
        head_dim = qkv_features // self.num_heads

        def projected(x: Array, name: str, features: Sequence[int], num_axes: int = 1) -> Array:
            return HeadProjection(
                features,
                num_axes,
                self.use_bias,
                self.dtype,
                self.param_dtype,
                self.kernel_init,
                self.bias_init,
                name=name,
            )(x)

        q = projected(query, "query", (self.num_heads, head_dim))
        k = projected(key, "key", (kv_heads, head_dim))
        v = projected(value, "value", (kv_heads, head_dim))
        if self.rotary_base is not None:
            start = 0 if cache is None else cache.length
            q, k = (
                rotary_embedding(
                    x, None if cache is None else start + jnp.arange(x.shape[-3]), self.rotary_base
                )
                for x in (q, k)
            )
        causal = self.causal
        if cache is not None:
            checks.rank(3, query=query)
            mask = self._reach(cache, query.shape[1], key.shape[1], mask)
            cache, causal = _extended(cache, k, v), False
            k, v = cache.keys, cache.values
        collected = self.is_mutable_collection("intermediates")
        rate = self.dropout_rate if train else 0.0
        attended = scaled_dot_product_attention(
            q,
            k,
            v,
            mask,
            bias,
            causal=causal,
            scale=self.scale,
            dropout_rate=rate,
            dropout_key=self.make_rng("dropout") if rate > 0 else None,
            return_weights=return_weights or collected,
            implementation=self.implementation,
        )
        context, *weights = attended if isinstance(attended, tuple) else (attended,)
        if collected:
            self.sow("intermediates", "weights", weights[0])
        features = query.shape[-1] if self.out_features is None else self.out_features
        y = projected(context, "out", (features,), 2)
        results = (y, *(weights if return_weights else ()), *(() if cache is None else (cache,)))
        return results if len(results) > 1 else y

    def _reach(self, cache: AttentionCache, num_queries: int, new: int, mask: Array | None) -> Array:
        """The places of the cache that the queries may attend to, once `new` ones are filled."""
        places = cache.keys.shape[1]
        reach = (
            causal_mask(num_queries, places, cache.length)
            if self.causal
            else (jnp.arange(places) < cache.length + new)[None, None, None]
        )
        if mask is None:
            return reach
        checks.boolean(mask=mask)
        return reach & fit_to_scores(mask, (cache.keys.shape[0], self.num_heads, num_queries, places), "mask")
