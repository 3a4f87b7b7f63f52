"""Layers that compare an activation with its neighbours, in other channels or at other positions.

Shapes: B batch, ... any number of further axes, H height, W width, C channels.

Both are of the years before batch normalization: AlexNet has `LocalResponseNorm` (neighbours in channels),
ZFNet `LocalContrastNorm` (neighbours in space). Neither has parameters.
"""

import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import lax

from jaxdl import checks
from jaxdl.nn.moments import widened
from jaxdl.types import Array


class LocalResponseNorm(linen.Module):
    """Divides an activation by a power of the energy of the channels around its own.

    y_c = x_c / (k + alpha sum over j from c - floor(n / 2) to c + floor((n - 1) / 2) of x_j^2)^beta, with 0 beyond
    the first and the last channel.

    Attributes:
      size: n, channels in a window, at least 1.
      alpha: weight of the sum, 0 or above.
      beta: the power, 0 or above.
      k: positive.

    Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012, section
    3.3, with its constants.
    Differs from torch.nn.LocalResponseNorm, whose alpha multiplies the mean of the window and so is n times
    ours, and whose k is 1 by default.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., C] to the same shape and dtype.

        Raises:
          TypeError: x is not floating point.
          ValueError: x is a scalar, or a setting is out of range.
        """
        checks.floating(x=x)
        checks.at_least(1, size=self.size)
        checks.non_negative(alpha=self.alpha, beta=self.beta)
        checks.positive(k=self.k)
        if x.ndim == 0:
            raise ValueError("x must have a channel axis, got a scalar")
        channels, wide = x.shape[-1], widened(x)
        before = [(0, 0)] * (x.ndim - 1) + [(self.size // 2, (self.size - 1) // 2)]
        squares = jnp.pad(jnp.square(wide), before)
        energy = sum(lax.slice_in_dim(squares, i, i + channels, axis=-1) for i in range(self.size))
        return (wide * (self.k + self.alpha * energy) ** -self.beta).astype(x.dtype)


def _blur(size: int, kernel_size: int, sigma: float) -> np.ndarray:
    """float64 [size, size]: Gaussian weights of each position's neighbours, of sum 1 also at the border."""
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.where(abs(distance) <= kernel_size // 2, np.exp(-0.5 * (distance / sigma) ** 2), 0)
    return weights / weights.sum(1, keepdims=True)


class LocalContrastNorm(linen.Module):
    """Subtracts the local mean of all channels and divides by their local deviation.

    v = x - m, with m(i, j) = mean over channels of sum over p, q of w_pq x(i + p, j + q)
    y = v / max(s, mean of s over the image), with s(i, j)^2 the same weighted mean of v^2

    w is a Gaussian window of sum 1. At the border it is cut off and rescaled to sum 1, so a constant image has no
    contrast anywhere and gives 0.

    Attributes:
      kernel_size: odd side of the window.
      sigma: standard deviation of the Gaussian in pixels; None is a quarter of the side.
      eps: smallest divisor, positive.

    Source: Jarrett et al., "What is the Best Multi-Stage Architecture for Object Recognition?", 2009, section
    2.1, with its 9 by 9 window; the width of the Gaussian and the border are not given there.
    """

    kernel_size: int = 9
    sigma: float | None = None
    eps: float = 1e-4

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, H, W, C] to the same shape and dtype.

        Raises:
          TypeError: x is not floating point.
          ValueError: x is not of rank 4, the side is even, or a setting is out of range.
        """
        checks.floating(x=x)
        checks.rank(4, x=x)
        checks.at_least(1, kernel_size=self.kernel_size)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        sigma = self.kernel_size / 4 if self.sigma is None else self.sigma
        checks.positive(sigma=sigma, eps=self.eps)
        wide = widened(x)
        rows, columns = (
            jnp.asarray(_blur(size, self.kernel_size, sigma), wide.dtype) for size in x.shape[1:3]
        )

        def local_mean(value: Array) -> Array:
            # The window is a product, so blurring is a matrix product along each axis: no convolution, which
            # would be slow inside a loop on CPU.
            across = jnp.mean(value, axis=3)
            blurred = jnp.einsum("ih,bhw,jw->bij", rows, across, columns, precision=lax.Precision.HIGHEST)
            return blurred[..., None]

        # Constants do not matter; without this one, images far from 0 would lose their contrast to rounding.
        wide = wide - lax.stop_gradient(jnp.mean(wide, axis=(1, 2, 3), keepdims=True))
        v = wide - local_mean(wide)
        square = local_mean(jnp.square(v))
        flat = square <= 0
        deviation = jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, square)))
        typical = jnp.mean(deviation, axis=(1, 2), keepdims=True)
        divisor = jnp.maximum(jnp.maximum(deviation, typical), self.eps)
        return (v / divisor).astype(x.dtype)
