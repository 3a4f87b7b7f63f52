"""Scaled dot-product attention, the masks it takes, and a softmax that knows masks.

Shapes: ... any leading axes, B batch, T queries, S keys, H heads, K heads of keys and values, d features of a
head, e features of a head's values.

One convention everywhere: a mask is bool, and True means that the query may attend to the key. A query that may
attend to nothing gets zeros, with gradients of 0.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl import backends, checks
from jaxdl.types import Array

_BLOCKS, _SHORTEST_BLOCK = 4, 64


def causal_mask(num_queries: int, num_keys: int | None = None, offset: int | Array = 0) -> Array:
    """The mask that lets every position see itself and what came before it.

    mask[0, 0, t, s] = (s <= t + offset). Masks join by `&`.

    Args:
      num_queries: T.
      num_keys: S; None for T.
      offset: position of the first query among the keys, an integer or int32[]: what a cache already holds.

    Returns:
      bool [1, 1, T, S].

    Raises:
      ValueError: num_queries or num_keys is negative.
    """
    num_keys = num_queries if num_keys is None else num_keys
    checks.at_least(0, num_queries=num_queries, num_keys=num_keys)
    return (jnp.arange(num_keys)[None, :] <= (jnp.arange(num_queries) + offset)[:, None])[None, None]


def padding_mask(valid: Array) -> Array:
    """The mask that hides padding from every query and head.

    mask[b, 0, 0, s] = valid[b, s].

    Args:
      valid: bool [B, S], True at real tokens: `tokens != 0`, or `sequence_mask(lengths, S)`.

    Returns:
      bool [B, 1, 1, S].

    Raises:
      TypeError: valid is not bool (lengths or tokens would be taken for True).
      ValueError: valid is not of rank 2.
    """
    checks.boolean(valid=valid)
    checks.rank(2, valid=valid)
    return valid[:, None, None, :]


def fit_to_scores(x: Array, shape: tuple[int, ...], name: str) -> Array:
    """Adds leading axes of length 1 and checks that x then broadcasts to the shape of the scores.

    Raises:
      ValueError: it does not.
    """
    fits = x.ndim <= len(shape)
    x = x.reshape((1,) * (len(shape) - x.ndim) + x.shape) if fits else x
    if not fits or any(n not in (1, m) for n, m in zip(x.shape, shape)):
        raise ValueError(f"{name} must broadcast to the scores' shape {shape}, got {x.shape}")
    return x


def _exponentials(scores: Array, mask: Array | None) -> tuple[Array, Array]:
    """exp(score - largest), 0 where masked, and one over their sum: the softmax before its last step."""
    if mask is not None:
        # Added, not selected: then the backward pass has nothing to do for it, the exponentials being 0 there.
        scores = scores + jnp.where(mask, 0.0, -jnp.inf).astype(scores.dtype)
    # A shift changes no value, so it needs no derivative. The least number, not -inf, for a row without keys.
    least = float(jnp.finfo(scores.dtype).min)
    largest = jnp.max(lax.stop_gradient(scores), axis=-1, keepdims=True, initial=least)
    exponentials = jnp.exp(scores - largest)
    total = exponentials.sum(-1, keepdims=True)
    return exponentials, 1 / jnp.where(total == 0, 1, total)


def masked_softmax(scores: Array, mask: Array | None = None) -> Array:
    """Weights over the last axis that leave out what is masked, and are all 0 where everything is.

    w_s = m_s exp(x_s) / sum_r m_r exp(x_r), or 0 where every m_r is 0.

    Args:
      scores: float [..., S].
      mask: bool of the scores' rank, broadcastable to them.

    Returns:
      Like scores, computed in float32 at least.
    """
    wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    exponentials, reciprocal = _exponentials(wide, mask)
    return (exponentials * reciprocal).astype(scores.dtype)


def _attend(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    bias: Array | None,
    kept: Array | None = None,
    rate: float = 0.0,
) -> tuple[Array, Array, Array]:
    """The context of one block of queries, and its weights in two factors. Heads come before positions.

    The sum of the exponentials divides the context instead of the weights: T d numbers instead of T S, and the
    derivative of that quotient is the short form of the softmax's that fused kernels use.
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("...td,...sd->...ts", query, key, preferred_element_type=wide)
    if bias is not None:
        scores = scores + bias.astype(wide)
    exponentials, reciprocal = _exponentials(scores, mask)
    weights = exponentials if kept is None else jnp.where(kept, exponentials / (1 - rate), 0)
    context = jnp.einsum(
        "...ts,...se->...te", weights.astype(value.dtype), value, preferred_element_type=wide
    )
    return (context * reciprocal).astype(value.dtype), exponentials, reciprocal


def _part(x: Array | None, start: int, stop: int, num_keys: int) -> Array | None:
    """The rows and columns of a mask or bias that belong to one block of queries."""
    if x is None:
        return None
    x = x[..., start:stop, :] if x.shape[-2] > 1 else x
    return x[..., :num_keys] if x.shape[-1] > 1 else x


def _causal_blocks(query: Array, key: Array, value: Array, mask: Array | None, bias: Array | None) -> Array:
    """Causal attention, a quarter of the queries at a time, each with the keys that it can see.

    Three of eight products and exponentials are never formed; smaller parts save little more and compile longer.
    """
    length, contexts = query.shape[-2], []
    rows = max(_SHORTEST_BLOCK, -(-length // (16 * _BLOCKS)) * 16)
    for start in range(0, length, rows):
        stop = min(start + rows, length)
        seen = min(stop, key.shape[-2])
        visible = causal_mask(stop - start, seen, start).reshape((1,) * (query.ndim - 2) + (-1, seen))
        allowed = _part(mask, start, stop, seen)
        context, _, _ = _attend(
            query[..., start:stop, :],
            key[..., :seen, :],
            value[..., :seen, :],
            visible if allowed is None else visible & allowed,
            _part(bias, start, stop, seen),
        )
        contexts.append(context)
    return jnp.concatenate(contexts, axis=-2)


def _library_attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    bias: Array | None,
    causal: bool,
    scale: float,
    implementation: Literal["xla", "cudnn"],
) -> Array:
    """`jax.nn.dot_product_attention`, with zeros where nothing may be attended to."""
    checks.rank((3, 4), query=query)
    context = jax.nn.dot_product_attention(
        query, key, value, bias, mask, scale=scale, is_causal=causal, implementation=implementation
    )
    if mask is None:
        return context
    if causal:
        visible = causal_mask(query.shape[-3], key.shape[-3])
        mask = mask & visible.reshape((1,) * (mask.ndim - 2) + visible.shape[-2:])
    some = mask.any(-1, keepdims=True).swapaxes(-3, -2)
    return jnp.where(some, context, 0)


def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    bias: Array | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
    return_weights: bool = False,
    implementation: Literal["xla", "cudnn"] | None = None,
) -> Array | tuple[Array, Array]:
    """For every query a mean of the values, weighted by how well their keys match it.

    out_t = sum_s w_ts v_s, w_t = softmax_s(scale q_t . k_s + bias_ts) over the keys that the mask allows. A query
    that may attend to no key gets zeros, and passes no gradient.

    Scores and softmax are computed in float32 at least. On CPU, causal attention over more than 128 queries skips
    most of what the mask hides. Derivatives of any order and mode exist, except with implementation="cudnn"
    (first-order reverse mode).

    Args:
      query: float [..., T, H, d].
      key: float [..., S, K, d]; K divides H, and H / K neighbouring heads of queries share one of keys (Shazeer
        2019: K = 1; Ainslie et al. 2023).
      value: float [..., S, K, e].
      mask: bool, broadcastable to [..., H, T, S]; leading axes may be left out. True: may attend.
      bias: float, broadcastable likewise, added to the scaled scores (relative positions).
      causal: whether query t sees only the keys 0 to t; counted from the first key also where S is not T (with a
        cache, use `causal_mask` with its offset).
      scale: None for 1 / sqrt(d).
      dropout_rate: probability of dropping a weight, in [0, 1); the rest are scaled up.
      dropout_key: PRNG key, needed where dropout_rate is above 0.
      return_weights: whether to return w, too (before dropout).
      implementation: None for this library's, or "xla" or "cudnn" for that of jax.nn.dot_product_attention. The
        latter is the fused kernel of NVIDIA GPUs, for float16 and bfloat16.

    Returns:
      float [..., T, H, e], and on request the weights, [..., H, T, S].

    Raises:
      TypeError: a wrong dtype.
      ValueError: shapes that do not fit together, a bad rate, dropout without a key, or weights or dropout
        asked of an implementation that has none.

    Source: Vaswani et al., "Attention Is All You Need", 2017, equation 1.
    Differs from torch and jax.nn in rows that are masked throughout: zeros here, NaN and a mean there; from
    linen, whose dropout by default repeats over examples and heads.
    """
    checks.floating(query=query, key=key, value=value)
    if query.ndim < 3:
        raise ValueError(f"query must have the axes [..., T, H, d], got shape {query.shape}")
    *lead, length, heads, width = query.shape
    checks.shape((*lead, None, None, width), key=key)
    checks.shape((*key.shape[:-1], None), value=value)
    num_keys, shared = key.shape[-3], key.shape[-2]
    checks.divisible(shared, "the heads of key", heads_of_query=heads)
    checks.decay(dropout_rate=dropout_rate)
    checks.one_of((None, "xla", "cudnn"), implementation=implementation)
    if dropout_rate > 0 and dropout_key is None:
        raise ValueError(f"dropout_key must be given for dropout_rate {dropout_rate}")
    if implementation is not None and (return_weights or dropout_rate > 0):
        raise ValueError(f"implementation must be None for weights or dropout, got {implementation!r}")
    shape = (*lead, heads, length, num_keys)
    if mask is not None:
        checks.boolean(mask=mask)
        mask = fit_to_scores(mask, shape, "mask")
    if bias is not None:
        checks.floating(bias=bias)
        bias = fit_to_scores(bias, shape, "bias")
    scale = width**-0.5 if scale is None else scale
    if implementation is not None:
        return _library_attention(query, key, value, mask, bias, causal, scale, implementation)

    if shared != heads:
        key, value = (jnp.repeat(x, heads // shared, axis=-2) for x in (key, value))
    query, key, value = (x.swapaxes(-3, -2) for x in (query * scale, key, value))
    many = length > 2 * _SHORTEST_BLOCK  # shorter ones gain nothing
    if causal and many and backends.compiles_for_cpu() and not (return_weights or dropout_rate):
        return _causal_blocks(query, key, value, mask, bias).swapaxes(-3, -2)
    if causal:
        visible = causal_mask(length, num_keys).reshape((1,) * (len(shape) - 2) + shape[-2:])
        mask = visible if mask is None else mask & visible
    kept = None
    if dropout_rate > 0 and dropout_key is not None:
        kept = jax.random.bernoulli(dropout_key, 1 - dropout_rate, shape)
    context, exponentials, reciprocal = _attend(query, key, value, mask, bias, kept, dropout_rate)
    context = context.swapaxes(-3, -2)
    if not return_weights:
        return context
    return context, (exponentials * reciprocal).astype(context.dtype)
