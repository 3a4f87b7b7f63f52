"""LSTM cells on feature maps, and with attention over the whole sequence.

Shapes: B batch, T time steps, D inputs, H hidden units or maps (features), A hidden features of the attention's score.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.activations import sigmoid, tanh
from jaxdl.nn.attention import masked_softmax
from jaxdl.nn.cells import Cell, Gates, KernelAndBias, kernels, promote, recurrent_product, widen
from jaxdl.nn.convolution import Padding, Size, kernel_window, padding_pairs
from jaxdl.nn.convolution_forms import convolution
from jaxdl.nn.gated_cells import lstm_update
from jaxdl.nn.initializers import Initializer
from jaxdl.nn.time_loop import Carry, Weights
from jaxdl.types import Array


class ConvLSTMCell(Cell):
    """An LSTM whose products are convolutions: memory and state are feature maps, for video and rain.

    i, g, f, o = the four blocks of W * x + U * h + b, with * a convolution
    c' = s(f + 1) c + s(i) tanh(g)      h' = s(o) tanh(c'),  y = h'

    with s the sigmoid; the 1 is the usual start of a forget bias, so b starts at 0. The carry is (c, h), each
    [B, H, W, features]. Parameters as linen's: `ih` and `hh`, each `kernel` [k..., D or features, 4 features] and
    `bias`. The gates on request: "input", "forget", "candidate", "output".

    A sequence's inputs are convolved in one call before the loop. On CPU the loop over time is unrolled (XLA's
    convolution gradients are slow in loops there), so compile time grows with T.

    Attributes:
      features: number of maps, at least 1.
      dtype, param_dtype, kernel_init, recurrent_kernel_init, bias_init: as in `LSTMCell`.
      kernel_size: k; one integer is a square kernel on two axes, a sequence has one for each of one to three axes.
      padding: must keep the size: 'SAME', or the (before, after) pairs that do.
      use_bias: whether to add b.

    Source: Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", 2015,
    arXiv:1506.04214, equation 3, without its peepholes.
    Differs from linen.ConvLSTMCell: no strides, which its carry does not allow; recurrent_kernel_init starts out
    orthogonal.
    """

    kernel_size: Size = 3
    padding: Padding = "SAME"
    use_bias: bool = True
    gate_fn: ClassVar[Callable[[Array], Array]] = staticmethod(sigmoid)
    activation_fn: ClassVar[Callable[[Array], Array]] = staticmethod(tanh)

    convolves: ClassVar[bool] = True

    @property
    def num_feature_axes(self) -> int:
        """How many of the last axes of an input are no batch."""
        return len(kernel_window(self.kernel_size)) + 1

    @linen.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> tuple[Array, Array]:
        """(c, h) of zeros for inputs of this shape; rng is not used."""
        shape = (*input_shape[:-1], self.features)
        return self.zeros(shape), self.zeros(shape)

    @linen.compact
    def constants(self, x: Array) -> Weights:
        window = kernel_window(self.kernel_size)
        sizes = x.shape[-len(window) - 1 : -1]
        for (low, high), k in zip(padding_pairs(self.padding, sizes, window, (1,) * len(window)), window):
            if low + high != k - 1:
                raise ValueError(f"padding must keep the size, got {self.padding} for a kernel of {window}")

        def parameters(name, inputs, init):
            return KernelAndBias(
                (*window, inputs, 4 * self.features),
                init,
                self.bias_init if self.use_bias else None,
                self.param_dtype,
                name=name,
            )()

        w, b = parameters("ih", x.shape[-1], self.kernel_init)
        u, d = parameters("hh", self.features, self.recurrent_kernel_init)
        return promote(self, x, Weights(w, u, b, d))

    @linen.nowrap
    def _convolve(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        window = kernel.shape[:-2]
        ones = (1,) * len(window)
        lead = x.shape[: -len(window) - 1]
        flat = x.astype(kernel.dtype).reshape(-1, *x.shape[-len(window) - 1 :])
        pairs = padding_pairs(self.padding, flat.shape[1:-1], window, ones)
        y = convolution(flat, kernel, ones, pairs, ones, 1)
        y = y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))
        return y.reshape(*lead, *y.shape[1:])

    @linen.nowrap
    def project(self, constants: Weights, x: Array) -> Array:
        return self._convolve(x, constants.input, constants.bias)

    @linen.nowrap
    def advance(self, constants: Weights, carry: tuple[Array, Array], u: Array) -> tuple[Carry, Array, Gates]:
        c, h = carry
        sums = u + self._convolve(h, constants.recurrent, constants.recurrent_bias)
        i, g, f, o = jnp.split(sums, 4, axis=-1)
        return lstm_update(self, jnp.concatenate([i, f + 1, g, o], axis=-1), c, h.dtype)


class _Attending(NamedTuple):
    """Parameters of an attention LSTM, and the sequence it attends to."""

    lstm: Weights
    query: Array  # W_a [H, A]
    score: Array  # v [A]
    memory: Array  # [B, S, D]
    keys: Array  # U_a x_s, [B, S, A]
    mask: Array | None  # [B, S]


class AttentionLSTMCell(Cell):
    """An LSTM that looks at the whole sequence in each step, asking with its last state.

    e_s = v . tanh(W_a h + U_a m_s)     a = softmax over s of e      k = sum over s of a_s m_s
    combine "input": an LSTM step with the input [x; k];  combine "state": with the input [h; k]

    The memory m is the sequence itself (in `RNN`) or what the caller gives. The carry is (c, h). Parameters: the
    LSTM's, as in `LSTMCell`, for D + D inputs ("input") or H + D ("state"), and `attention` with `query` W_a [H, A],
    `key` U_a [D, A] and `score` v [A, 1] (a `kernel` each, as in `AdditiveAttention`). With "state" the input of a step
    only counts through the memory. The gates on request: those of the LSTM and "attention" a [B, S].

    For a decoder that attends to an encoder's outputs, `AdditiveAttention` beside a plain cell is the usual form.

    Attributes:
      features: H, at least 1.
      dtype, param_dtype, kernel_init, recurrent_kernel_init, bias_init, forget_bias_init: as in `LSTMCell`.
      attention_features: A; None for H.
      combine: "input" or "state".

    Source: the score is Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and Translate",
    2015, appendix A.1.2.
    Differs from texts that score only the current step, e_t = v . tanh(W_a h_t + U_a x_t), of which there is nothing
    to take a softmax.
    """

    forget_bias_init: Initializer = jax.nn.initializers.ones
    attention_features: int | None = None
    combine: str = "input"
    gate_fn: ClassVar[Callable[[Array], Array]] = staticmethod(sigmoid)
    activation_fn: ClassVar[Callable[[Array], Array]] = staticmethod(tanh)

    attends: ClassVar[bool] = True

    @linen.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> tuple[Array, Array]:
        """(c, h) of zeros for inputs of this shape; rng is not used."""
        shape = (*input_shape[:-1], self.features)
        return self.zeros(shape), self.zeros(shape)

    @linen.compact
    def constants(  # pyrefly: ignore[bad-override]
        self, x: Array, memory: Array, mask: Array | None = None
    ) -> _Attending:
        checks.one_of(("input", "state"), combine=self.combine)
        hidden, inputs, width = self.features, x.shape[-1], memory.shape[-1]
        score_width = hidden if self.attention_features is None else self.attention_features
        checks.at_least(1, attention_features=score_width)
        init = self.bias_init
        biases = {"i": init, "f": self.forget_bias_init, "g": init, "o": init}
        first = inputs if self.combine == "input" else hidden
        w, _ = kernels(self, "i", "ifgo", first + width, self.kernel_init, {})
        u, b = kernels(self, "h", "ifgo", hidden, self.recurrent_kernel_init, biases)
        query, key, score = _ScoreParameters(
            hidden, width, score_width, self.kernel_init, self.param_dtype, name="attention"
        )()
        if mask is not None:  # padding may hold anything, and 0 times NaN is NaN
            memory = jnp.where(mask[..., None], memory, jnp.zeros_like(memory))
        w, u, b, query, key, score, memory = promote(self, x, (w, u, b, query, key, score, memory))
        return _Attending(Weights(w, u, b), query, score[:, 0], memory, memory @ key, mask)

    @linen.nowrap
    def project(self, constants: _Attending, x: Array) -> Array:
        """Of "input", the share of x in the LSTM's sums; of "state", only as many zeros as there are steps."""
        kernel = constants.lstm.input
        if self.combine == "state":
            return jnp.zeros((*x.shape[:-1], kernel.shape[1]), kernel.dtype)
        return jnp.matmul(x.astype(kernel.dtype), kernel[: x.shape[-1]])

    @linen.nowrap
    def advance(
        self, constants: _Attending, carry: tuple[Array, Array], u: Array
    ) -> tuple[Carry, Array, Gates]:
        weights, query, score, memory, keys, mask = constants
        c, h = carry
        asked = recurrent_product(h, query)[:, None]
        (scores,) = widen(jnp.tanh(asked + keys) @ score)
        attention = masked_softmax(scores, mask)
        context = jnp.einsum("bs,bsd->bd", attention.astype(memory.dtype), memory)
        width = memory.shape[-1]
        sums = u + context @ weights.input[-width:] + recurrent_product(h, weights.recurrent, weights.bias)
        if self.combine == "state":
            sums = sums + recurrent_product(h, weights.input[: self.features])
        carry, y, gates = lstm_update(self, sums, c, h.dtype)
        return carry, y, {**gates, "attention": attention.astype(y.dtype)}

    def __call__(  # pyrefly: ignore[bad-override]
        self,
        carry: Carry,
        x: Array,
        memory: Array,
        memory_mask: Array | None = None,
        *,
        return_gates: bool = False,
    ) -> Any:
        """One time step.

        Args:
          carry: (c, h), each float [B, H].
          x: float [B, D].
          memory: m, float [B, S, M].
          memory_mask: bool [B, S]; True: may attend. With none the context is 0.
          return_gates: also return a dict of the gates' values.

        Returns:
          The new carry and the output [B, H]; and the gates if asked for.

        Raises:
          TypeError: x or memory is not floating point, or memory_mask not bool.
          ValueError: shapes that do not fit together, or a setting is out of range.
        """
        self.check(carry, x)
        checks.rank(2, x=x)
        checks.floating(memory=memory)
        checks.shape((x.shape[0], None, None), memory=memory)
        if memory_mask is not None:
            checks.boolean(memory_mask=memory_mask)
            checks.shape(memory.shape[:2], memory_mask=memory_mask)
        constants = self.constants(x, memory, memory_mask)
        return self.results(*self.advance(constants, carry, self.project(constants, x)), return_gates)


class _ScoreParameters(linen.Module):
    queries: int
    keys: int
    features: int
    kernel_init: Initializer
    param_dtype: Any

    @linen.compact
    def __call__(self) -> tuple[Array, Array, Array]:
        shapes = {
            "query": (self.queries, self.features),
            "key": (self.keys, self.features),
            "score": (self.features, 1),
        }
        return tuple(  # pyrefly: ignore[bad-return]
            KernelAndBias(shape, self.kernel_init, None, self.param_dtype, name=name)()[0]
            for name, shape in shapes.items()
        )
