"""Convolutions that see only what came before, in a picture's reading order or in time.

Shapes: B batch, C input channels, F output channels, k kernel size, d dilation, T time.
"""

import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxdl import checks
from jaxdl.nn.convolution import (
    Size,
    apply_kernel,
    check_channels,
    kernel_and_bias,
    kernel_window,
    per_axis,
)
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.types import Array, Dtype


def _visible(window: tuple[int, ...], channels: int, features: int, mask: str, colors: int) -> np.ndarray:
    """Which weights [k..., C, F] look at what came before their output."""
    centre = np.ravel_multi_index([k // 2 for k in window], window)
    place = np.arange(np.prod(window)).reshape(*window, 1, 1)
    seen, made = (np.arange(n) * colors // n for n in (channels, features))
    before = np.less if mask == "A" else np.less_equal
    at_centre = before(seen[:, None], made[None]).reshape((1,) * len(window) + (channels, features))
    return (place < centre) | ((place == centre) & at_centre)


class MaskedConv(linen.Module):
    """Convolution that sees the pixels before its own, row by row from the top left, and no other.

    y[b, i, f] = b_f + sum over p and c of m[p, c, f] W[p, c, f] x[b, i + d (p - k // 2), c]. m is 1 where the
    place p comes before the kernel's centre in the order of reading and 0 where it comes after. At the centre
    the channels count: they are divided into `colors` equal blocks, the first read first, and m is 1 where
    the block of c is before that of f, with mask 'B' also where it is the same.

    The first layer takes 'A', which hides the value that is to be predicted, the others 'B', so that they see
    what the first has made of the pixels before. The rows below the centre, all hidden, are not computed.

    A stack of these does not see all that came before: to the right of the column above there is a blind
    triangle (van den Oord et al., "Conditional Image Generation with PixelCNN Decoders", 2016, figure 1).

    Attributes:
      features: F, a multiple of colors.
      kernel_size: k, odd; one integer is a square kernel on two axes, a sequence has one for each axis.
      mask: 'A' or 'B'.
      colors: blocks of channels that are predicted one after the other: 3 for RGB, with C and F multiples of
        3; 1 hides or shows the pixel as a whole.
      dilation: d.
      use_bias, dtype, param_dtype, bias_init: as in `Conv`.
      kernel_init: initial W, whose fans count the hidden weights too.

    The parameters are those of `Conv`: `kernel` [k..., C, F], of which the hidden weights have gradient 0, and
    `bias` [F]; the output has the size of the input.

    Source: van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016, section 3.4,
    arXiv:1601.06759.
    """

    features: int
    kernel_size: Size
    mask: str
    colors: int = 1
    dilation: Size = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to float [B, ..., F].

        Raises:
          TypeError: x is not floating point.
          ValueError: x has not one axis more on either side than the kernel, a setting is out of range,
            kernel_size is even, or colors does not divide C and F.
        """
        window = kernel_window(self.kernel_size)
        checks.one_of(("A", "B"), mask=self.mask)
        if any(k % 2 == 0 for k in window):
            raise ValueError(f"kernel_size must be odd, so that it has a centre, got {window}")
        checks.at_least(1, colors=self.colors)
        check_channels(x, len(window), self.features, 1)
        channels = x.shape[-1]
        checks.divisible(self.colors, "colors", features=self.features, channels=channels)
        kernel, bias = kernel_and_bias(self, (*window, channels, self.features))
        mask = _visible(window, channels, self.features, self.mask, self.colors)
        above = window[0] // 2 + 1
        dilation = per_axis(self.dilation, len(window), "dilation")
        before, *around = (k // 2 * d for k, d in zip(window, dilation))
        return apply_kernel(
            x,
            jnp.where(mask[:above], kernel[:above], 0),
            bias,
            padding=((before, 0), *((n, n) for n in around)),
            dilation=dilation,
            dtype=self.dtype,
        )


class CausalConv(linen.Module):
    """Convolution in time that sees no future.

    y[b, t, f] = b_f + sum over p, c of W[p, c, f] x[b, t - d (k - 1 - p), c], with x = 0 before its start: d
    (k - 1) zeros stand in front and none behind, so the output is as long as the input, and the last weight
    sees the present. Layers with d = 1, 2, 4, ..., 2^(L - 1) see the last (k - 1) (2^L - 1) + 1 steps.

    It sees step t itself. To predict step t, shift the input by one step or train on the targets of t + 1.

    Attributes:
      features: F, a multiple of groups.
      kernel_size: k, one integer.
      dilation: d.
      groups: blocks of channels that are convolved apart.
      use_bias, dtype, param_dtype, kernel_init, bias_init: as in `Conv`; the parameters are `kernel`
        [k, C / groups, F] and `bias` [F].

    Source: van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016, section 2.1,
    arXiv:1609.03499.
    """

    features: int
    kernel_size: int
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, T, C] to float [B, T, F].

        Raises:
          TypeError: x is not floating point.
          ValueError: x has not three axes, or a setting is out of range.
        """
        checks.at_least(1, kernel_size=self.kernel_size, dilation=self.dilation)
        check_channels(x, 1, self.features, self.groups)
        shape = (self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel, bias = kernel_and_bias(self, shape)
        return apply_kernel(
            x,
            kernel,
            bias,
            padding=(((self.kernel_size - 1) * self.dilation, 0),),
            dilation=self.dilation,
            groups=self.groups,
            dtype=self.dtype,
        )
