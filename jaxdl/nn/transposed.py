"""Transposed convolution: back from what a convolution gives to the size of what it was given.

Shapes: B batch, C input channels, F output channels, n size, k kernel size, s stride, d dilation, o output
padding.
"""

import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.convolution import (
    Padding,
    Size,
    add_bias,
    check_channels,
    explicit_pairs,
    kernel_and_bias,
    kernel_window,
    per_axis,
)
from jaxdl.nn.convolution_forms import Pairs, transposed_convolution
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.types import Array, Dtype


class ConvTranspose(linen.Module):
    """Every input writes the kernel, times its value, into the output; what falls on one place is added.

    y[b, s i + d p - low, f] += W[p, c, f] x[b, i, c], over all i, p and c, then + b_f: the adjoint of `Conv`
    with this kernel (C and F exchanged), strides, padding and dilation. It restores the size of what that
    convolution was given, not the values. Each axis is (n - 1) s - low - high + d (k - 1) + 1 + o long.

    Where k is not a multiple of s, neighbouring outputs get different numbers of terms, which shows as a
    checkerboard; `upsample_nearest` and a `Conv` do not have it.

    Attributes:
      features: F, a multiple of groups.
      kernel_size: k; one integer is a square kernel on two axes, a sequence has one for each axis.
      strides: s, one integer or one for each axis.
      padding: what is cut off each end: the padding of the convolution that this one is the adjoint of, as in
        PyTorch. An integer, or one integer or (low, high) pair for each axis. 'VALID' cuts nothing. 'SAME'
        makes the output n s long: of d (k - 1) + 1 - s it cuts half, odd rests behind; where that is
        negative, it adds zeros behind.
      output_padding: o, output behind each axis that sees fewer inputs, or none; below s or below d. It
        chooses among the sizes that the convolution would bring to n. 0 with 'SAME'.
      dilation: d, the distance between the outputs of neighbouring weights.
      groups: blocks of channels that are treated apart.
      use_bias: whether to add b.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters `kernel` [k..., C / groups, F] and `bias` [F].
      kernel_init: initial W. With fan_in k^2 C, `lecun_normal` is small by s^2 in variance, as an output sees
        only k^2 C / s^2 weights.
      bias_init: initial b.

    Source: Zeiler et al., "Deconvolutional Networks", 2010; Dumoulin & Visin, "A guide to convolution
    arithmetic for deep learning", 2016, relationship 14, arXiv:1603.07285.
    Differs from torch.nn.ConvTranspose2d in the order of the kernel's axes alone: its weight is [C, F /
    groups, k...]. Differs from linen.ConvTranspose, which has the same parameters but by default writes the
    kernel turned by half a turn, so a checkpoint of it needs `kernel[::-1, ::-1]`; its (low, high) pairs are
    zeros around the spread input, d (k - 1) less what is cut here.
    """

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = "SAME"
    output_padding: Size = 0
    dilation: Size = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    def _cut(self, reach, strides) -> tuple[Pairs, tuple[int, ...]]:
        """What is cut off each axis, and what is put behind it before."""
        rank = len(reach)
        extra = per_axis(self.output_padding, rank, "output_padding", minimum=0)
        if not isinstance(self.padding, str):
            return explicit_pairs(self.padding, rank), extra
        checks.one_of(("SAME", "VALID"), padding=self.padding)
        if self.padding == "VALID":
            return ((0, 0),) * rank, extra
        if any(extra):
            raise ValueError(f"output_padding must be 0 with padding 'SAME', got {self.output_padding}")
        surplus = [r + 1 - s for r, s in zip(reach, strides)]
        pairs = tuple((max(n, 0) // 2, max(n, 0) - max(n, 0) // 2) for n in surplus)
        return pairs, tuple(max(-n, 0) for n in surplus)

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to float [B, ..., F].

        Raises:
          TypeError: x is not floating point.
          ValueError: x has not one axis more on either side than the kernel, a setting is out of range,
            output_padding is not below the stride or the dilation, or nothing is left after the padding.
        """
        window = kernel_window(self.kernel_size)
        rank = len(window)
        check_channels(x, rank, self.features, self.groups)
        strides = per_axis(self.strides, rank, "strides")
        dilation = per_axis(self.dilation, rank, "dilation")
        reach = [(k - 1) * d for k, d in zip(window, dilation)]
        pairs, extra = self._cut(reach, strides)
        if self.padding != "SAME" and any(o >= max(s, d) for o, s, d in zip(extra, strides, dilation)):
            raise ValueError(
                f"output_padding must be below the stride or the dilation, got {extra}, {strides} and {dilation}"
            )
        sizes = x.shape[1:-1]
        full = [(n - 1) * s + r + 1 + o for n, s, r, o in zip(sizes, strides, reach, extra)]
        if any(n <= low + high for n, (low, high) in zip(full, pairs)):
            raise ValueError(f"padding must leave some of the output, got {pairs} of {tuple(full)}")
        kernel, bias = kernel_and_bias(self, (*window, x.shape[-1] // self.groups, self.features))
        x, kernel, bias = linen.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return add_bias(transposed_convolution(x, kernel, strides, pairs, dilation, self.groups, extra), bias)
