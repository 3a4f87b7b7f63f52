"""Activations with parameters: a learned slope, a learned convex function, a polynomial.

Shapes: ... any leading axes, I inputs, F features.
"""

import functools
from itertools import combinations_with_replacement

import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxdl import checks
from jaxdl.nn.dense import Dense
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.types import Array, Dtype


class PReLU(linen.Module):
    """The rectifier with a learned slope for negative inputs.

    f(x) = x for x >= 0, a x for x < 0; df/da = min(x, 0). For a <= 1 it is max(x, a x), a `Maxout` of two
    pieces. Leave a out of weight decay, which would push it towards `relu`.

    Attributes:
      per_channel: one slope for each index of the last axis; False for one in all.
      negative_slope_init: initial a.
      param_dtype: dtype of the parameter `negative_slope`, [] or [I].

    Source: He et al., "Delving Deep into Rectifiers", 2015, equation 1, arXiv:1502.01852.
    Differs from linen.PReLU in the initial slope, 0.25 as in the paper and PyTorch, not 0.01; from PyTorch in
    the slope at exactly 0: 1 here, a there.
    """

    per_channel: bool = False
    negative_slope_init: float = 0.25
    param_dtype: Dtype = jnp.float32

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., I] to the same shape and dtype.

        Raises:
          TypeError: x is not floating point.
          ValueError: x is a scalar and per_channel is set.
        """
        checks.floating(x=x)
        if self.per_channel and jnp.ndim(x) == 0:
            raise ValueError("x must have a last axis of channels, got a scalar")
        shape = x.shape[-1:] if self.per_channel else ()
        slope = self.param(
            "negative_slope", lambda _: jnp.full(shape, self.negative_slope_init, self.param_dtype)
        )
        # Spread before the cast, so that the slope's gradient is summed in the parameter's dtype.
        slope = jnp.broadcast_to(slope, x.shape).astype(x.dtype)
        return jnp.where(x >= 0, x, slope * x)


class Maxout(linen.Module):
    """The largest of several affine maps: a convex activation that is learned with the layer.

    h_f = max_k (x W_fk + b_fk), k = 1 ... num_pieces. Pieces that tie share the gradient. The parameters are
    those of one `Dense` with F num_pieces features, the pieces of a feature side by side.

    Attributes:
      features: F, at least 1.
      num_pieces: affine maps of a feature, at least 1.
      use_bias: whether to add b.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initial W.
      bias_init: initial b.

    Source: Goodfellow et al., "Maxout Networks", 2013, section 3, arXiv:1302.4389.
    """

    features: int
    num_pieces: int = 2
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., I] to [..., F].

        Raises:
          TypeError: x is not floating point.
          ValueError: x is a scalar, or features or num_pieces is below 1.
        """
        checks.at_least(1, features=self.features, num_pieces=self.num_pieces)
        pieces = Dense(
            self.features * self.num_pieces,
            self.use_bias,
            self.dtype,
            self.param_dtype,
            self.kernel_init,
            self.bias_init,
        )(x)
        return jnp.max(pieces.reshape(*pieces.shape[:-1], self.features, self.num_pieces), axis=-1)


def polynomial_features(x: Array, degree: int = 2) -> Array:
    """All products of up to `degree` inputs, without the constant 1.

    x_1 ... x_I, then x_i x_j for i <= j, then x_i x_j x_k for i <= j <= k, and so on: scikit-learn's order. For
    two inputs u, v and degree 2: u, v, u^2, u v, v^2.

    Args:
      x: float [..., I].
      degree: at least 1.

    Returns:
      Float [..., M], with M = binomial(I + degree, degree) - 1.

    Raises:
      TypeError: x is not floating point.
      ValueError: x is a scalar, or degree is below 1.
    """
    checks.floating(x=x)
    checks.at_least(1, degree=degree)
    if jnp.ndim(x) == 0:
        raise ValueError("x must have at least one axis, got a scalar")
    products = []
    for size in range(1, degree + 1):
        factors = np.array(list(combinations_with_replacement(range(x.shape[-1]), size)), np.int32)
        columns = [x[..., factor] for factor in factors.reshape(-1, size).T]
        products.append(functools.reduce(jnp.multiply, columns))
    return jnp.concatenate(products, axis=-1)


class PolynomialUnit(linen.Module):
    """A polynomial of the inputs in place of an affine map: Ivakhnenko's neuron.

    y = b + sum_m w_m p_m(x), with p the `polynomial_features`. For two inputs and degree 2 that is
    y = b + w_1 u + w_2 v + w_3 u^2 + w_4 u v + w_5 v^2, of which one computes XOR: u + v - 2 u v. It is linear
    in its parameters, so least squares on the `polynomial_features` fit it too.

    Attributes:
      features: F, at least 1.
      degree: the highest, at least 1; 1 is `Dense`.
      use_bias: whether to add b.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initial w, [M, F].
      bias_init: initial b, [F].

    Source: Ivakhnenko, "Polynomial Theory of Complex Systems", 1971.
    """

    features: int
    degree: int = 2
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., I] to [..., F].

        Raises:
          TypeError: x is not floating point.
          ValueError: x is a scalar, or features or degree is below 1.
        """
        return Dense(
            self.features, self.use_bias, self.dtype, self.param_dtype, self.kernel_init, self.bias_init
        )(polynomial_features(x, self.degree))
