"""Convolutions that take channels, or axes, one at a time.

Shapes: B batch, C input channels, M maps for each of them, F output channels, k kernel size.
"""

import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.convolution import (
    Conv,
    Padding,
    Size,
    apply_kernel,
    check_channels,
    explicit_pairs,
    kernel_and_bias,
    kernel_window,
    per_axis,
)
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.types import Array, Dtype


class DepthwiseConv(linen.Module):
    """Convolution of every channel with kernels of its own: nothing mixes the channels.

    y[b, i, j, c M + m] = b_cm + sum over p, q of W[p, q, 0, c M + m] x[b, s i + d p, s j + d q, c].

    To mix them afterwards take `SeparableConv`, or this, a normalization and a `Conv` of kernel size 1.

    Attributes:
      kernel_size: k, as in `Conv`.
      multiplier: M, at least 1.
      strides, padding, dilation, use_bias, dtype, param_dtype, kernel_init, bias_init: as in `Conv`; the
        parameters are `kernel` [k..., 1, C M] and `bias` [C M].

    Source: Howard et al., "MobileNets", 2017, equation 3, arXiv:1704.04861.
    """

    kernel_size: Size
    multiplier: int = 1
    strides: Size = 1
    padding: Padding = "SAME"
    dilation: Size = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to float [B, ..., C M].

        Raises:
          TypeError: x is not floating point.
          ValueError: as `Conv`; or multiplier is below 1.
        """
        window = kernel_window(self.kernel_size)
        checks.at_least(1, multiplier=self.multiplier)
        checks.rank(len(window) + 2, x=x)
        channels = x.shape[-1]
        features = channels * self.multiplier
        check_channels(x, len(window), features, channels)
        kernel, bias = kernel_and_bias(self, (*window, 1, features))
        return apply_kernel(
            x,
            kernel,
            bias,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=channels,
            dtype=self.dtype,
        )


class SeparableConv(linen.Module):
    """A convolution of each channel in space, then a mixing of the channels at every place.

    y = b + P (D x) with D depthwise and P of kernel size 1: k^2 C M + C M F weights, where a full convolution
    has k^2 C F. With M = 1 that is 1 / F + 1 / k^2 of it, and as much of its products.

    There is nothing between the two; blocks that normalize there, as MobileNet's, are built of `DepthwiseConv`
    and `Conv`. To separate the axes of the kernel instead, take `SpatiallySeparableConv`.

    Attributes:
      features: F.
      kernel_size, strides, padding, dilation: of the depthwise convolution, as in `Conv`.
      multiplier: M, maps for each channel between the two.
      use_bias: whether to add b, after the mixing; the depthwise convolution has none.
      dtype, param_dtype, kernel_init, bias_init: as in `Conv`, for both. The parameters are
        `depthwise/kernel` [k..., 1, C M], `pointwise/kernel` [1..., C M, F] and `pointwise/bias` [F].

    Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, section 1.1,
    arXiv:1610.02357.
    """

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = "SAME"
    dilation: Size = 1
    multiplier: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to float [B, ..., F]. Raises as `DepthwiseConv` and `Conv` do."""
        window = kernel_window(self.kernel_size)
        shared = {"dtype": self.dtype, "param_dtype": self.param_dtype, "kernel_init": self.kernel_init}
        x = DepthwiseConv(
            window,
            self.multiplier,
            self.strides,
            self.padding,
            self.dilation,
            use_bias=False,
            name="depthwise",
            **shared,
        )(x)
        return Conv(
            self.features,
            (1,) * len(window),
            use_bias=self.use_bias,
            bias_init=self.bias_init,
            name="pointwise",
            **shared,
        )(x)


class SpatiallySeparableConv(linen.Module):
    """A convolution along each axis in turn: a column of weights, then a row.

    y[b, i, j, f] = b_f + sum over q, m of V[q, m, f] sum over p, c of U[p, c, m] x[b, s i + p, s j + q, c]

    It equals a convolution whose kernel is W[p, q, c, f] = sum over m of U[p, c, m] V[q, m, f], with k C F +
    k F F instead of k^2 C F weights: of one channel, every kernel that is an outer product, Sobel's for
    example, in 2 k weights.

    To separate the channels from space instead, take `SeparableConv`.

    Attributes:
      features: F, of every one of the convolutions.
      kernel_size: k, one integer (two axes) or one for each axis.
      strides, padding, dilation: as in `Conv`; each convolution uses what belongs to its axis.
      use_bias: whether to add b, after the last.
      dtype, param_dtype, kernel_init, bias_init: as in `Conv`. The parameters are `axis_0/kernel`
        [k, 1..., C, F], `axis_1/kernel` [1, k, ..., F, F] and so on, and `bias` of the last.

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, section 3.2,
    arXiv:1512.00567.
    """

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = "SAME"
    dilation: Size = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to float [B, ..., F]. Raises as `Conv` does."""
        window = kernel_window(self.kernel_size)
        rank = len(window)
        strides = per_axis(self.strides, rank, "strides")
        dilation = per_axis(self.dilation, rank, "dilation")
        padding = self.padding if isinstance(self.padding, str) else explicit_pairs(self.padding, rank)

        def only(axis: int, values, other):
            return tuple(values[axis] if i == axis else other for i in range(rank))

        for axis in range(rank):
            last = axis == rank - 1
            x = Conv(
                self.features,
                only(axis, window, 1),
                only(axis, strides, 1),
                padding if isinstance(padding, str) else only(axis, padding, (0, 0)),
                only(axis, dilation, 1),
                use_bias=self.use_bias and last,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=self.kernel_init,
                bias_init=self.bias_init,
                name=f"axis_{axis}",
            )(x)
        return x
