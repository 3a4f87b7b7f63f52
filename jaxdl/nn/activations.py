"""Activation functions: pure, elementwise except the softmax pair, differentiable in both modes."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def identity(x: Array) -> Array:
    """x itself, for a layer without a nonlinearity.

    f(x) = x, f'(x) = 1. A stack of linear layers with this activation equals one linear layer.

    Args:
      x: any array.

    Returns:
      The same array.
    """
    return x


def sigmoid(x: Array, steepness: float = 1.0) -> Array:
    """The logistic function.

    f(x) = 1 / (1 + exp(-a x)), f'(x) = a f (1 - f), at most a / 4.

    Args:
      x: float, any shape.
      steepness: a, positive.

    Returns:
      Values in (0, 1), like x.

    Raises:
      TypeError: x is not floating point.
      ValueError: steepness is not positive.
    """
    checks.floating(x=x)
    checks.positive(steepness=steepness)
    return jax.nn.sigmoid(steepness * x)


def bipolar_sigmoid(x: Array, steepness: float = 1.0) -> Array:
    """The logistic function stretched to (-1, 1).

    f(x) = (1 - exp(-a x)) / (1 + exp(-a x)) = tanh(a x / 2), f'(x) = (a / 2) (1 + f) (1 - f).

    Args:
      x: float, any shape.
      steepness: a, positive; the function tends to the sign of x as a grows.

    Returns:
      Values in (-1, 1), like x.

    Raises:
      TypeError: x is not floating point.
      ValueError: steepness is not positive.
    """
    checks.floating(x=x)
    checks.positive(steepness=steepness)
    return jnp.tanh(0.5 * steepness * x)


def tanh(x: Array) -> Array:
    """The hyperbolic tangent.

    f(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)) = 2 sigmoid(2 x) - 1, f'(x) = 1 - f^2.

    Args:
      x: float, any shape.

    Returns:
      Values in (-1, 1), like x.

    Raises:
      TypeError: x is not floating point.
    """
    checks.floating(x=x)
    return jnp.tanh(x)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _relu(x, derivative_at_zero):
    return jnp.maximum(x, 0)


@_relu.defjvp
def _relu_jvp(derivative_at_zero, primals, tangents):
    (x,), (t,) = primals, tangents
    slope = jnp.where(x > 0, 1.0, jnp.where(x == 0, derivative_at_zero, 0.0)).astype(x.dtype)
    return _relu(x, derivative_at_zero), slope * t


def relu(x: Array, derivative_at_zero: float = 0.0) -> Array:
    """The rectifier.

    f(x) = max(x, 0); f'(x) = 1 for x > 0, 0 for x < 0. At 0 every slope in [0, 1] is a subgradient.

    Args:
      x: float, any shape.
      derivative_at_zero: the slope used at exactly 0, in [0, 1]; 0 as in PyTorch and jax.nn.relu.

    Returns:
      Non-negative values, like x.

    Raises:
      TypeError: x is not floating point.
      ValueError: derivative_at_zero lies outside [0, 1].

    Source: Nair & Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", 2010.
    """
    checks.floating(x=x)
    checks.between(0, 1, derivative_at_zero=derivative_at_zero)
    return jax.nn.relu(x) if derivative_at_zero == 0 else _relu(x, derivative_at_zero)


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """The rectifier with a small slope for negative inputs, so that no unit stops learning.

    f(x) = x for x >= 0, a x for x < 0; f'(x) = 1 for x >= 0, a for x < 0.

    Args:
      x: float, any shape.
      negative_slope: a, at least 0.

    Returns:
      Like x.

    Raises:
      TypeError: x is not floating point.
      ValueError: negative_slope is negative.

    Source: Maas, Hannun & Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models", 2013,
    equation 2.
    Differs from PyTorch in the slope at exactly 0: 1 here, a there.
    """
    checks.floating(x=x)
    checks.at_least(0, negative_slope=negative_slope)
    return jax.nn.leaky_relu(x, negative_slope)


def softplus(x: Array, sharpness: float = 1.0) -> Array:
    """A smooth rectifier.

    f(x) = log(1 + exp(K x)) / K, f'(x) = sigmoid(K x); tends to relu as K grows.

    Args:
      x: float, any shape.
      sharpness: K, positive.

    Returns:
      Positive values, like x; no overflow for large x.

    Raises:
      TypeError: x is not floating point.
      ValueError: sharpness is not positive.

    Source: Dugas et al., "Incorporating Second-Order Functional Knowledge for Better Option Pricing", 2000.
    """
    checks.floating(x=x)
    checks.positive(sharpness=sharpness)
    return jax.nn.softplus(sharpness * x) / sharpness


def softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Probabilities from unnormalised log-probabilities.

    f_i(x) = exp(x_i) / sum_j exp(x_j), df_i/dx_j = f_i (1[i = j] - f_j). The maximum is subtracted first, so
    nothing overflows.

    Args:
      x: float, any shape.
      axis: the axis, or axes, that sum to 1.

    Returns:
      Probabilities, like x.

    Raises:
      TypeError: x is not floating point.
    """
    checks.floating(x=x)
    return jax.nn.softmax(x, axis)


def log_softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Log-probabilities, in nats, from unnormalised ones.

    f_i(x) = x_i - log sum_j exp(x_j), df_i/dx_j = 1[i = j] - softmax_j(x).

    Args:
      x: float, any shape.
      axis: the axis, or axes, whose exponentials sum to 1.

    Returns:
      Values at most 0, like x; finite where softmax itself would underflow.

    Raises:
      TypeError: x is not floating point.
    """
    checks.floating(x=x)
    return jax.nn.log_softmax(x, axis)
