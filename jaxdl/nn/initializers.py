"""Initial values of parameters: functions `(key, shape, dtype=float32) -> Array`, as linen expects them.

The fans of a kernel [..., C, F] are counted as everywhere: fan_in = receptive field times C, fan_out =
receptive field times F. The normal members of a family are truncated at two standard deviations and rescaled,
so that their variance is the stated one.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array, Dtype

Initializer = Callable[..., Array]


def zeros_init() -> Initializer:
    """All zeros: the usual start of biases. Kernels that start so, in more than one layer, never differ."""
    return jax.nn.initializers.zeros


def normal_init(stddev: float = 0.01, mean: float = 0.0) -> Initializer:
    """Independent normal values, not truncated.

    w ~ N(mean, stddev^2).

    Raises:
      ValueError: stddev is negative.
    """
    checks.at_least(0, stddev=stddev)

    def init(key: Array, shape: Sequence[int], dtype: Dtype = jnp.float32) -> Array:
        return mean + stddev * jax.random.normal(key, shape, dtype)

    return init


def uniform_init(low: float = -0.05, high: float = 0.05) -> Initializer:
    """Independent uniform values in [low, high).

    Raises:
      ValueError: high is not above low.
    """
    if not high > low:
        raise ValueError(f"high must be above low, got {low} and {high}")

    def init(key: Array, shape: Sequence[int], dtype: Dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, low, high)

    return init


def glorot_uniform() -> Initializer:
    """Uniform with the variance that keeps activations and gradients level in tanh nets.

    w ~ U(-r, r), r = sqrt(6 / (fan_in + fan_out)).

    Source: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    2010, equation 16.
    """
    return jax.nn.initializers.glorot_uniform()


def glorot_normal() -> Initializer:
    """Truncated normal, variance 2 / (fan_in + fan_out).

    Source: Glorot & Bengio 2010, equation 12.
    """
    return jax.nn.initializers.glorot_normal()


def he_uniform() -> Initializer:
    """Uniform with the variance that keeps activations level in ReLU nets.

    w ~ U(-r, r), r = sqrt(6 / fan_in).

    Source: He et al., "Delving Deep into Rectifiers", 2015, equation 10, arXiv:1502.01852.
    """
    return jax.nn.initializers.he_uniform()


def he_normal() -> Initializer:
    """Truncated normal, variance 2 / fan_in.

    Source: He et al. 2015, equation 10.
    Differs from PyTorch's kaiming_normal_, which does not truncate.
    """
    return jax.nn.initializers.he_normal()


def lecun_normal() -> Initializer:
    """Truncated normal, variance 1 / fan_in: the default of our layers, as of linen's.

    Source: LeCun et al., "Efficient BackProp", 1998, equation 16.
    """
    return jax.nn.initializers.lecun_normal()


def _check_matrix(shape: Sequence[int]) -> None:
    if len(shape) < 2:
        raise ValueError(f"shape must have at least two axes, inputs and features, got {tuple(shape)}")


def orthogonal(scale: float = 1.0) -> Initializer:
    """A random rotation, so that a vector keeps its length through many layers or time steps.

    W = scale Q, uniform over the matrices with Q^T Q = I, or Q Q^T = I where there are more columns than rows. A
    kernel [..., C, F] counts as the matrix of F columns, the receptive field times C long.

    Args:
      scale: the length that a unit vector gets; sqrt 2 in front of ReLUs.

    Raises:
      ValueError: scale is negative or not finite; the array has fewer than two axes.

    Source: Saxe, McClelland & Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", 2014, arXiv:1312.6120.
    """
    checks.non_negative(scale=scale)

    def init(key: Array, shape: Sequence[int], dtype: Dtype = jnp.float32) -> Array:
        _check_matrix(shape)
        # There is no QR in half precision.
        wide = jnp.promote_types(dtype, jnp.float32)
        return jax.nn.initializers.orthogonal(scale)(key, tuple(shape), wide).astype(dtype)

    return init


def identity_init(scale: float = 1.0) -> Initializer:
    """The identity: a layer that starts by passing its inputs on, so that gradients survive many steps.

    W = scale I, for a kernel [I, F]; where I and F differ, the first min(I, F) inputs pass and other outputs
    are 0. In a convolution kernel [..., C, F] the identity stands in the middle of the receptive field, so with
    padding "SAME" and stride 1 the maps pass.

    Args:
      scale: what the inputs are multiplied with.

    Raises:
      ValueError: scale is not finite; the array has fewer than two axes.

    Source: Le, Jaitly & Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
    2015, arXiv:1504.00941, for the recurrent kernel of a ReLU net.
    Differs from torch.nn.init.dirac_ in windows of even size, whose middle is the earlier one here.
    """
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite, got {scale}")

    def init(key: Array, shape: Sequence[int], dtype: Dtype = jnp.float32) -> Array:
        del key
        _check_matrix(shape)
        middle = tuple((size - 1) // 2 for size in shape[:-2])
        return jnp.zeros(shape, dtype).at[middle].set(scale * jnp.eye(*shape[-2:], dtype=dtype))

    return init


def torch_default_init(fan_in: int | None = None) -> Initializer:
    """What torch.nn.Linear and torch.nn.Conv2d start from.

    w ~ U(-r, r), r = 1 / sqrt(fan_in), for the kernel and for the bias, both with the kernel's fan_in.

    Args:
      fan_in: inputs of one unit. None counts them from a kernel's shape; a bias does not show them, so there
        the number is needed.

    Raises:
      ValueError: fan_in is below 1, or None for an array without a fan.
    """
    if fan_in is not None:
        checks.at_least(1, fan_in=fan_in)

    def init(key: Array, shape: Sequence[int], dtype: Dtype = jnp.float32) -> Array:
        if fan_in is None and len(shape) < 2:
            raise ValueError(
                f"fan_in must be given for an array of shape {tuple(shape)}, which does not show it"
            )
        limit = 1 / math.sqrt(fan_in or math.prod(shape[:-1]))
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init
