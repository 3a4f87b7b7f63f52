"""Layers whose statistics are those of each example, or of each position of it.

Shapes: B batch, ... any number of further axes, C channels, G groups of them, D normalized values.

Which one: `LayerNorm` and `RMSNorm` take each position by itself (Transformers, recurrent nets), `GroupNorm` each
group of channels of an image, `InstanceNorm` each channel of an image (style), `BatchNorm` each channel of a batch.
Only the last one behaves differently in training and evaluation. All compute their statistics in float32, and
accurately where the mean is large beside the deviation; linen's do not.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxdl import checks
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.nn.moments import (
    aligned,
    group_moments,
    mean_over,
    result_dtype,
    rough_mean,
    standardized,
    variance,
    widened,
)
from jaxdl.types import Array, Dtype


def _trailing(x: Array, num_axes: int, eps: float) -> tuple[int, ...]:
    """The checked shape of the last `num_axes` axes."""
    checks.floating(x=x)
    checks.at_least(1, num_axes=num_axes)
    checks.non_negative(eps=eps)
    if x.ndim < num_axes:
        raise ValueError(f"x must have at least {num_axes} axes to normalize, got shape {x.shape}")
    return x.shape[-num_axes:]


class LayerNorm(linen.Module):
    """Brings every position to mean 0 and variance 1 over its channels, then scales and shifts each channel.

    y = scale (x - m) / sqrt(v + eps) + bias, with m and v the mean and the biased variance over the last axis.

    Attributes:
      num_axes: how many trailing axes are normalized together, each value of them with its own scale and bias:
        3 for whole images [B, H, W, C], as torch.nn.LayerNorm((H, W, C)).
      eps: added to the variance; 0 or above. 1e-6 as in linen; PyTorch's default is 1e-5.
      use_scale, use_bias: whether there is a scale, a bias.
      dtype: dtype of the result; None promotes input with parameters. Statistics are at least float32.
      param_dtype: dtype of the parameters `scale` and `bias`, of the shape of the normalized axes, as linen's.
      scale_init: initial scale, ones.
      bias_init: initial bias, zeros.

    Source: Ba et al., "Layer Normalization", 2016, equation 3, arXiv:1607.06450.
    """

    num_axes: int = 1
    eps: float = 1e-6
    use_scale: bool = True
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    scale_init: Initializer = jax.nn.initializers.ones
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., C] to the same shape.

        Raises:
          TypeError: x is not floating point.
          ValueError: x has fewer axes than are normalized, or a setting is out of range.
        """
        shape = _trailing(x, self.num_axes, self.eps)
        scale = self.param("scale", self.scale_init, shape, self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, shape, self.param_dtype) if self.use_bias else None
        z, axes = widened(x), tuple(range(x.ndim - self.num_axes, x.ndim))
        z = z - rough_mean(z, axes)
        mean = mean_over(z, axes)
        y = standardized(z, mean, variance(mean, mean_over(jnp.square(z), axes)), None, None, self.eps)
        if scale is not None:
            y = y * aligned(scale, y)
        if bias is not None:
            y = y + aligned(bias, y)
        return y.astype(result_dtype(self.dtype, x, scale, bias))


def _over_root_mean_square(x: Array, num_axes: int, eps: float) -> Array:
    """x / sqrt(mean of x^2 over the last axes + eps)."""
    return x * lax.rsqrt(mean_over(jnp.square(x), tuple(range(x.ndim - num_axes, x.ndim))) + eps)


class RMSNorm(linen.Module):
    """Divides every position by the root mean square of its channels, then scales each channel.

    y = scale x / sqrt(mean(x^2) + eps)

    Cheaper than `LayerNorm` by the mean, which most Transformers do not miss. `PixelNorm` is the same without a
    scale, under the name that generators give it.

    Attributes:
      num_axes: how many trailing axes are normalized together, each value of them with its own scale.
      eps: added to the mean square; 0 or above.
      use_scale: whether there is a scale.
      dtype: dtype of the result; None promotes input with parameters. Statistics are at least float32.
      param_dtype: dtype of the parameter `scale`, of the shape of the normalized axes, as linen's.
      scale_init: initial scale, ones.

    Source: Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019, equation 4, arXiv:1910.07467.
    Differs from torch.nn.RMSNorm in eps, which there is the dtype's machine epsilon unless given.
    """

    num_axes: int = 1
    eps: float = 1e-6
    use_scale: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    scale_init: Initializer = jax.nn.initializers.ones

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., C] to the same shape.

        Raises:
          TypeError: x is not floating point.
          ValueError: x has fewer axes than are normalized, or a setting is out of range.
        """
        shape = _trailing(x, self.num_axes, self.eps)
        scale = self.param("scale", self.scale_init, shape, self.param_dtype) if self.use_scale else None
        y = _over_root_mean_square(widened(x), self.num_axes, self.eps)
        if scale is not None:
            y = y * aligned(scale, y)
        return y.astype(result_dtype(self.dtype, x, scale))


class PixelNorm(linen.Module):
    """Divides the feature vector of every pixel by its root mean square.

    y = x / sqrt(mean(x^2) + eps), the mean over the channels; without parameters.

    Attributes:
      eps: added to the mean square; 0 or above.

    Source: Karras et al., "Progressive Growing of GANs", 2017, section 4.2, arXiv:1710.10196. See `RMSNorm` for
    the same with a learned scale.
    """

    eps: float = 1e-8

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., C] to the same shape and dtype.

        Raises:
          TypeError: x is not floating point.
          ValueError: x is a scalar, or eps is negative.
        """
        _trailing(x, 1, self.eps)
        return _over_root_mean_square(widened(x), 1, self.eps).astype(x.dtype)


def _checked(x: Array, eps: float) -> Array:
    """x [B, ..., C], at least float32."""
    checks.floating(x=x)
    checks.non_negative(eps=eps)
    if x.ndim < 2:
        raise ValueError(f"x must have a batch axis and a channel axis, got shape {x.shape}")
    return widened(x)


class GroupNorm(linen.Module):
    """Brings every group of channels of every example to mean 0 and variance 1, then scales and shifts channels.

    y = scale (x - m) / sqrt(v + eps) + bias, with m and v the mean and the biased variance over all positions and
    the C / G channels of the group.

    With G = 1 it is `LayerNorm` over the whole example, but one scale for each channel; with G = C it is
    `InstanceNorm`.

    Attributes:
      num_groups: G, a divisor of C.
      eps: added to the variance; 0 or above. 1e-6 as in linen; PyTorch's default is 1e-5.
      use_scale, use_bias: whether there is a scale, a bias.
      dtype: dtype of the result; None promotes input with parameters. Statistics are at least float32.
      param_dtype: dtype of the parameters `scale` and `bias` [C], as linen's.
      scale_init: initial scale, ones.
      bias_init: initial bias, zeros.

    Source: Wu & He, "Group Normalization", 2018, equations 1 to 7, arXiv:1803.08494.
    """

    num_groups: int = 32
    eps: float = 1e-6
    use_scale: bool = True
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    scale_init: Initializer = jax.nn.initializers.ones
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to the same shape.

        Raises:
          TypeError: x is not floating point.
          ValueError: x has fewer than two axes, the groups do not divide its channels, or eps is negative.
        """
        wide, channels = _checked(x, self.eps), x.shape[-1]
        checks.at_least(1, num_groups=self.num_groups)
        checks.divisible(self.num_groups, "num_groups", channels=channels)
        scale = (
            self.param("scale", self.scale_init, (channels,), self.param_dtype) if self.use_scale else None
        )
        bias = self.param("bias", self.bias_init, (channels,), self.param_dtype) if self.use_bias else None
        y = standardized(*group_moments(wide, self.num_groups), scale, bias, self.eps)
        return y.astype(result_dtype(self.dtype, x, scale, bias))


class InstanceNorm(linen.Module):
    """Brings every channel of every example to mean 0 and variance 1, then scales and shifts it.

    y = scale (x - m) / sqrt(v + eps) + bias, with m and v the mean and the biased variance over the positions of
    one channel of one example.

    Attributes:
      eps: added to the variance; 0 or above. 1e-6 as in linen; PyTorch's default is 1e-5.
      use_scale, use_bias: whether there is a scale, a bias; both by default as in linen, neither in PyTorch.
      dtype, param_dtype, scale_init, bias_init: as in `GroupNorm`.

    Source: Ulyanov et al., "Instance Normalization", 2016, equation 5, arXiv:1607.08022. See
    `AdaptiveInstanceNorm` for scale and bias from a style.
    """

    eps: float = 1e-6
    use_scale: bool = True
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    scale_init: Initializer = jax.nn.initializers.ones
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C], with at least one axis between batch and channels, to the same shape.

        Raises:
          TypeError: x is not floating point.
          ValueError: x has fewer than three axes or one position alone, or eps is negative.
        """
        channels = _instance_channels(x)
        scale = (
            self.param("scale", self.scale_init, (channels,), self.param_dtype) if self.use_scale else None
        )
        bias = self.param("bias", self.bias_init, (channels,), self.param_dtype) if self.use_bias else None
        y = standardized(*group_moments(_checked(x, self.eps), channels), scale, bias, self.eps)
        return y.astype(result_dtype(self.dtype, x, scale, bias))


def _instance_channels(x: Array) -> int:
    if x.ndim < 3 or math.prod(x.shape[1:-1]) < 2:
        raise ValueError(f"x must have at least 2 positions between batch and channels, got shape {x.shape}")
    return x.shape[-1]


class AdaptiveInstanceNorm(linen.Module):
    """Gives every channel of every example the mean and the deviation of a style.

    y = scale (x - m(x)) / sqrt(v(x) + eps) + bias, with m and v over the positions of one channel of one example.

    The style is either a feature map s, and then scale = sqrt(v(s) + eps) and bias = m(s), without parameters
    (style transfer); or a vector w, and then scale = 1 + w W_s + b_s and bias = w W_b + b_b (StyleGAN).

    Attributes:
      eps: added to both variances; 0 or above.
      dtype: dtype of the result; None promotes input, style and parameters. Statistics are at least float32.
      param_dtype: dtype of the parameters.
      kernel_init: initial W_s and W_b.

    Variables, for vectors only: `kernel` [D, 2 C] and `bias` [2 C], scales before biases.

    Source: Huang & Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", 2017,
    equation 8, arXiv:1703.06868; vectors as in Karras et al., "A Style-Based Generator Architecture", 2018,
    equation 1, arXiv:1812.04948.
    """

    eps: float = 1e-5
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()

    @linen.compact
    def __call__(self, x: Array, style: Array) -> Array:
        """Maps float [B, ..., C] to the same shape.

        Args:
          x: float [B, ..., C], with at least one axis between batch and channels.
          style: float [B, ..., C] of the rank of x and any number of positions, or float [B, D].

        Raises:
          TypeError: x or style is not floating point.
          ValueError: x has fewer than three axes or one position alone, the style does not fit, or eps is
            negative.
        """
        checks.floating(style=style)
        checks.rank((2, x.ndim), style=style)
        checks.same_leading(1, style=style, x=x)
        channels, kernel = _instance_channels(x), None
        z, mean, var = group_moments(_checked(x, self.eps), channels)
        if style.ndim == 2:
            kernel = self.param("kernel", self.kernel_init, (style.shape[-1], 2 * channels), self.param_dtype)
            bias = self.param("bias", zeros_init(), (2 * channels,), self.param_dtype)
            affine = widened(style) @ kernel.astype(z.dtype) + bias.astype(z.dtype)[None]
            affine = affine.reshape(x.shape[0], *(1,) * (x.ndim - 2), 2 * channels)
            scale, bias = 1 + affine[..., :channels], affine[..., channels:]
        else:
            checks.shape((None,) * (x.ndim - 1) + (channels,), style=style)
            _instance_channels(style)
            wide = _checked(style, self.eps)
            _, _, style_var = group_moments(wide, channels)
            scale, bias = jnp.sqrt(style_var + self.eps), mean_over(wide, tuple(range(1, x.ndim - 1)))
        y = standardized(z, mean, var, scale, bias, self.eps)
        return y.astype(result_dtype(self.dtype, x, style, kernel))
