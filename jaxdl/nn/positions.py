"""What tells a Transformer the order of its inputs.

Shapes: ... any leading axes, T positions, D features, H heads, d features of a head.
"""

import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxdl import checks
from jaxdl.nn.initializers import Initializer, normal_init
from jaxdl.types import Array, Dtype

Positions = Array | np.ndarray


def _sines_and_cosines(positions: Positions, features: int, base: float) -> tuple[Array, Array]:
    """sin and cos of p base^(-2i/D), float32 [..., D / 2] each."""
    checks.divisible(2, "two", features=features)
    checks.positive(base=base)
    frequencies = base ** (-np.arange(0, features, 2) / features)
    if isinstance(positions, np.ndarray):
        # Known while tracing: exact, and no sine is left for the program.
        angles = positions[..., None] * frequencies
        return jnp.asarray(np.sin(angles), jnp.float32), jnp.asarray(np.cos(angles), jnp.float32)
    frequencies = jnp.asarray(frequencies, jnp.float32).reshape((1,) * positions.ndim + (-1,))
    angles = positions.astype(jnp.float32)[..., None] * frequencies
    return jnp.sin(angles), jnp.cos(angles)


def sinusoidal_embedding(positions: Positions, features: int, base: float = 10_000.0) -> Array:
    """Sines and cosines of a position, at wavelengths from 2 pi to nearly 2 pi base.

    e[2i] = sin(p base^(-2i/D)), e[2i+1] = cos(p base^(-2i/D)). A shift by n turns each pair by the angle
    n base^(-2i/D), so e(p + n) is a linear function of e(p).

    `SinusoidalPositions` adds these to a sequence; this function also serves other quantities, such as the time
    of a diffusion.

    Args:
      positions: integer or float [...]. A NumPy array gives exact float32 values; a JAX array is multiplied in
        float32, an error in the angle of 6e-8 times the position.
      features: D, even.
      base: above 0.

    Returns:
      float32 [..., D].

    Raises:
      ValueError: features is odd, or base is not positive.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.5.
    """
    sines, cosines = _sines_and_cosines(positions, features, base)
    return jnp.stack([sines, cosines], axis=-1).reshape(*sines.shape[:-1], features)


def _along(positions: Positions | None, shape: tuple[int, ...]) -> Positions:
    """Positions for the axes [..., T], with axes of length 1 where they are the same for all."""
    if positions is None:
        positions = np.arange(shape[-1])
    checks.integer(positions=positions)
    fits = positions.shape in (shape[-1:], shape)
    if not fits:
        raise ValueError(f"positions must have shape {shape[-1:]} or {shape}, got {positions.shape}")
    return positions.reshape((1,) * (len(shape) - positions.ndim) + positions.shape)


def _sequence(x: Array) -> None:
    checks.floating(x=x)
    if x.ndim < 2:
        raise ValueError(f"x must have the axes [..., T, D], got shape {x.shape}")


class SinusoidalPositions(linen.Module):
    """Adds to a sequence the sines and cosines of its positions; no parameters, any length.

    y_t = x_t + e(t), e of `sinusoidal_embedding`. Take `LearnedPositions` for GPT-2, BERT and ViT, and
    `rotary_embedding` where only distances should count.

    Attributes:
      base: above 0.

    Source: Vaswani et al. 2017, section 3.5.
    """

    base: float = 10_000.0

    @linen.compact
    def __call__(self, x: Array, positions: Positions | None = None) -> Array:
        """Maps float [..., T, D] to the same shape.

        Args:
          x: float [..., T, D], D even.
          positions: integers [T] or [..., T]; None counts from 0. When decoding, `cache.length + arange(T)`.

        Raises:
          TypeError: x is not floating point, or positions are not integers.
          ValueError: D is odd, or positions do not fit x.
        """
        _sequence(x)
        positions = _along(positions, x.shape[:-1])
        return x + sinusoidal_embedding(positions, x.shape[-1], self.base).astype(x.dtype)


class LearnedPositions(linen.Module):
    """Adds to a sequence a trained vector for each position.

    y_t = x_t + E[t], with `embedding` E [max_length, D].

    Attributes:
      max_length: the number of positions that have a vector.
      dtype: computation dtype; None promotes x with E.
      param_dtype: dtype of `embedding`.
      embedding_init: initial E.

    Source: Gehring et al., "Convolutional Sequence to Sequence Learning", 2017, section 3.1.
    """

    max_length: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    embedding_init: Initializer = normal_init(0.02)

    @linen.compact
    def __call__(self, x: Array, positions: Positions | None = None) -> Array:
        """Maps float [..., T, D] to the same shape.

        Args:
          x: float [..., T, D].
          positions: integers [T] or [..., T]; None counts from 0. One outside [0, max_length) gives NaN.

        Raises:
          TypeError: x is not floating point, or positions are not integers.
          ValueError: x is longer than max_length, or positions do not fit x.
        """
        checks.at_least(1, max_length=self.max_length)
        _sequence(x)
        known = positions is None
        positions = _along(positions, x.shape[:-1])
        if known and x.shape[-2] > self.max_length:
            raise ValueError(
                f"x must have at most max_length = {self.max_length} positions, got {x.shape[-2]}"
            )
        embedding = self.param(
            "embedding", self.embedding_init, (self.max_length, x.shape[-1]), self.param_dtype
        )
        x, embedding = linen.dtypes.promote_dtype(x, embedding, dtype=self.dtype)
        if known:  # a slice has a cheaper gradient than a gather
            return x + embedding[: x.shape[-2]].reshape((1,) * (x.ndim - 2) + x.shape[-2:])
        return x + embedding.at[positions].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def rotary_embedding(x: Array, positions: Positions | None = None, base: float = 10_000.0) -> Array:
    """Turns queries and keys by angles that grow with their position.

    (x_i + j x_{i + d/2}) exp(j t base^(-2i/d)) for i < d/2. The product of a turned query and a turned key depends
    on their positions only by the difference.

    Args:
      x: queries or keys, float [..., T, H, d], d even.
      positions: integers [T] or [..., T]; None counts from 0.
      base: above 0.

    Returns:
      Like x, with the same norms; computed in float32.

    Raises:
      TypeError: x is not floating point, or positions are not integers.
      ValueError: d is odd, or positions do not fit x.

    Source: Su et al., "RoFormer", 2021, equation 34, arXiv:2104.09864.
    Differs from the paper in what makes a pair: i and i + d/2, as GPT-NeoX and Llama have it, where the paper has
    2i and 2i + 1. The order of a head's features is free, but weights trained one way need their rows permuted
    for the other.
    """
    checks.floating(x=x)
    if x.ndim < 3:
        raise ValueError(f"x must have the axes [..., T, H, d], got shape {x.shape}")
    sines, cosines = _sines_and_cosines(_along(positions, x.shape[:-2]), x.shape[-1], base)
    sines, cosines = sines[..., None, :], cosines[..., None, :]
    first, second = jnp.split(x.astype(jnp.promote_types(x.dtype, jnp.float32)), 2, axis=-1)
    turned = (first * cosines - second * sines, second * cosines + first * sines)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
