"""The blocks of Transformers.

Shapes: B batch, ... any leading axes, T positions, S positions of a memory, D features, F hidden features, H heads.

What published models set, besides the sizes:
  Vaswani et al. 2017: norm_first=False, norm_layer=partial(LayerNorm, eps=1e-5)
  GPT-2: causal=True, activation=partial(gelu, approximate=True), norm_layer=partial(LayerNorm, eps=1e-5)
  BERT: norm_first=False, activation=gelu, norm_layer=partial(LayerNorm, eps=1e-12)
  ViT: activation=gelu
  T5: use_bias=False, norm_layer=RMSNorm, attention_layer=partial(MultiHeadAttention, scale=1.0), and `bias` from
    relative positions
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.dense import Dense
from jaxdl.nn.heads import AttentionCache, MultiHeadAttention
from jaxdl.nn.initializers import Initializer, lecun_normal
from jaxdl.nn.normalization import LayerNorm
from jaxdl.nn.rectifiers import relu
from jaxdl.nn.regularization import Dropout
from jaxdl.types import Array, Dtype

ModuleFactory = Callable[..., linen.Module]


class FeedForward(linen.Module):
    """Two dense layers at each position by itself, the first one wider.

    y = dropout(f(x W_up + b_up)) W_down + b_down, with `up` (`kernel` [D, F], `bias` [F]) and `down` (`kernel`
    [F, D], `bias` [D]): 2 D F + F + D numbers.

    Attributes:
      hidden_features: F, usually 4 D.
      out_features: None for D.
      activation: f.
      use_bias: whether there are b_up and b_down.
      dropout_rate: probability of dropping a hidden value while training.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initial kernels.

    Source: Vaswani et al., "Attention Is All You Need", 2017, equation 2.
    """

    hidden_features: int
    out_features: int | None = None
    activation: Callable[[Array], Array] = relu
    use_bias: bool = True
    dropout_rate: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [..., D] to [..., out_features].

        Raises:
          TypeError: x is not floating point.
          ValueError: hidden_features is below 1, or a bad rate.
        """
        checks.at_least(1, hidden_features=self.hidden_features)
        checks.floating(x=x)

        def dense(features: int, name: str) -> Dense:
            return Dense(features, self.use_bias, self.dtype, self.param_dtype, self.kernel_init, name=name)

        hidden = self.activation(dense(self.hidden_features, "up")(x))
        hidden = Dropout(self.dropout_rate)(hidden, train=train)
        return dense(x.shape[-1] if self.out_features is None else self.out_features, "down")(hidden)


class _Block(linen.Module):
    """What encoder and decoder blocks share: settings, and how a sublayer joins the stream."""

    num_heads: int
    hidden_features: int
    norm_first: bool = True
    activation: Callable[[Array], Array] = relu
    use_bias: bool = True
    dropout_rate: float = 0.0
    norm_layer: ModuleFactory = LayerNorm
    attention_layer: ModuleFactory = MultiHeadAttention
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()

    def _residual(
        self, x: Array, name: str, sublayer: Callable[[Array], tuple[Array, Any]], train: bool
    ) -> tuple[Array, Any]:
        """x + sublayer(norm(x)), or norm(x + sublayer(x)); and what else the sublayer returns."""
        norm = self.norm_layer(dtype=self.dtype, param_dtype=self.param_dtype, name=f"{name}_norm")
        y, more = sublayer(norm(x) if self.norm_first else x)
        y = x + Dropout(self.dropout_rate)(y, train=train)
        return (y if self.norm_first else norm(y)), more

    def _attend(
        self, x: Array, memory: Array | None, name: str, causal: bool, train: bool, cache: Any, **where: Any
    ) -> tuple[Array, Any]:
        layer = self.attention_layer(
            num_heads=self.num_heads,
            use_bias=self.use_bias,
            causal=causal,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            name=name,
        )
        y = layer(x, memory, cache=cache, train=train, **where)
        return y if cache is not None else (y, None)

    def _feed_forward(self, x: Array, train: bool) -> Array:
        layer = FeedForward(
            self.hidden_features,
            None,
            self.activation,
            self.use_bias,
            self.dropout_rate,
            self.dtype,
            self.param_dtype,
            self.kernel_init,
            name="feed_forward",
        )
        return self._residual(x, "feed_forward", lambda y: (layer(y, train=train), None), train)[0]


class TransformerEncoderBlock(_Block):
    """Self-attention, then a feed-forward net, each around a residual connection.

    Pre-norm: x = x + attention(norm(x)); x = x + feed_forward(norm(x)). Post-norm: x = norm(x + attention(x));
    x = norm(x + feed_forward(x)). Pre-norm trains without warm-up; a stack of such blocks ends with one more norm,
    which is the model's. With `causal` it is the block of decoder-only models (GPT).

    The parameters are `attention`, `attention_norm`, `feed_forward` and `feed_forward_norm`: with biases and layer norm
    4 D^2 + 4 D + 2 D F + F + D + 4 D numbers.

    Attributes:
      num_heads: H, a divisor of D.
      hidden_features: F.
      norm_first: pre-norm (Xiong et al. 2020) or post-norm (Vaswani et al. 2017).
      activation: of the feed-forward net.
      use_bias: whether dense layers and attention have biases.
      dropout_rate: probability of dropping attention weights, hidden values and outputs of sublayers while training.
      norm_layer: makes a norm, called with dtype, param_dtype and name; `partial` sets the rest.
      attention_layer: makes an attention layer that is called as `MultiHeadAttention`; `partial` sets what is not
        named here.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initial kernels.
      causal: whether a position sees only itself and what came before it.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.1; Xiong et al., "On Layer Normalization in the
    Transformer Architecture", 2020, arXiv:2002.04745, for pre-norm.
    """

    causal: bool = False

    @linen.compact
    def __call__(
        self,
        x: Array,
        mask: Array | None = None,
        bias: Array | None = None,
        *,
        cache: AttentionCache | None = None,
        train: bool,
    ) -> Any:
        """Maps float [..., T, D] to the same shape.

        Args:
          x: float [..., T, D].
          mask: bool, broadcastable to [..., H, T, T]; True: may attend. With a cache, the last axis is its N.
          bias: float, broadcastable likewise, added to the scores (relative positions).
          cache: see `MultiHeadAttention`.
          train: whether to drop.

        Returns:
          y, or y and the new cache if one was given.

        Raises:
          TypeError: a wrong dtype.
          ValueError: shapes or settings that do not fit.
        """
        x, new_cache = self._residual(
            x,
            "attention",
            lambda y: self._attend(y, None, "attention", self.causal, train, cache, mask=mask, bias=bias),
            train,
        )
        y = self._feed_forward(x, train)
        return y if cache is None else (y, new_cache)


class DecoderCache(NamedTuple):
    """What a `TransformerDecoderBlock` has seen: of its own sequence, and of the memory."""

    attention: AttentionCache
    cross_attention: AttentionCache


class TransformerDecoderBlock(_Block):
    """Causal self-attention, attention to a memory, then a feed-forward net, each around a residual connection.

    Pre-norm: x = x + attention(norm(x)); x = x + cross_attention(norm(x), memory); x = x + feed_forward(norm(x)).
    Post-norm: each norm after its sum. For decoder-only models take `TransformerEncoderBlock` with `causal`.

    The parameters are those of `TransformerEncoderBlock` with `cross_attention` and `cross_attention_norm`: with
    biases and layer norm 8 D^2 + 8 D + 2 D F + F + D + 6 D numbers.

    Attributes:
      num_heads: H, a divisor of D.
      hidden_features: F.
      norm_first: pre-norm or post-norm.
      activation: of the feed-forward net.
      use_bias: whether dense layers and attention have biases.
      dropout_rate: probability of dropping attention weights, hidden values and outputs of sublayers while training.
      norm_layer: makes a norm, called with dtype, param_dtype and name; `partial` sets the rest.
      attention_layer: makes an attention layer that is called as `MultiHeadAttention`; `partial` sets what is not
        named here.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initial kernels.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.1.
    """

    @linen.compact
    def __call__(
        self,
        x: Array,
        memory: Array,
        mask: Array | None = None,
        memory_mask: Array | None = None,
        bias: Array | None = None,
        *,
        cache: DecoderCache | None = None,
        train: bool,
    ) -> Any:
        """Maps float [..., T, D] to the same shape.

        Args:
          x: float [..., T, D].
          memory: the encoder's outputs, float [..., S, D']. With a cache: the whole at the first call, `memory[:, :0]`
            from then on.
          mask: bool, broadcastable to [..., H, T, T]; True: may attend, if also not later. With a cache, the last
            axis is its N.
          memory_mask: bool, broadcastable to [..., H, T, S]; with a cache, S is its N.
          bias: float, added to the scores of the self-attention (relative positions).
          cache: see `MultiHeadAttention`.
          train: whether to drop.

        Returns:
          y, or y and the new cache if one was given.

        Raises:
          TypeError: a wrong dtype.
          ValueError: shapes or settings that do not fit.
        """
        own, of_memory = cache or (None, None)
        x, own = self._residual(
            x,
            "attention",
            lambda y: self._attend(y, None, "attention", True, train, own, mask=mask, bias=bias),
            train,
        )
        x, of_memory = self._residual(
            x,
            "cross_attention",
            lambda y: self._attend(y, memory, "cross_attention", False, train, of_memory, mask=memory_mask),
            train,
        )
        y = self._feed_forward(x, train)
        return y if cache is None else (y, DecoderCache(own, of_memory))
