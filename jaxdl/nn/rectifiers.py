"""Rectifiers: activations that pass large positive inputs. Pure, elementwise, differentiable in both modes."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


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


def elu(x: Array, alpha: float = 1.0) -> Array:
    """The rectifier with an exponential branch, so that means stay near 0.

    f(x) = x for x > 0, a (exp(x) - 1) for x <= 0; f'(x) = 1 for x > 0, a exp(x) = f + a for x <= 0.

    Args:
      x: float, any shape.
      alpha: a, at least 0; the limit is -a, and the slope is continuous at 0 for a = 1 alone.

    Returns:
      Values not below -a, like x.

    Raises:
      TypeError: x is not floating point.
      ValueError: alpha is negative or not finite.

    Source: Clevert, Unterthiner & Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear
    Units (ELUs)", 2016, arXiv:1511.07289.
    """
    checks.floating(x=x)
    checks.non_negative(alpha=alpha)
    return jax.nn.elu(x, alpha)


def selu(x: Array) -> Array:
    """The scaled `elu` under which a deep net keeps mean 0 and variance 1 by itself.

    f(x) = s x for x > 0, s a (exp(x) - 1) for x <= 0, with s = 1.0507010 and a = 1.6732632;
    f'(x) = s for x > 0, f + s a for x <= 0. Mean and variance stay with `lecun_normal` kernels.

    Args:
      x: float, any shape.

    Returns:
      Values not below -1.7580994, like x.

    Raises:
      TypeError: x is not floating point.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", 2017, equation 2, arXiv:1706.02515.
    """
    checks.floating(x=x)
    return jax.nn.selu(x)


def gelu(x: Array, approximate: bool = False) -> Array:
    """The input times the probability that a standard normal number lies below it.

    f(x) = x Phi(x), f'(x) = Phi(x) + x phi(x), with Phi(x) = (1 + erf(x / sqrt 2)) / 2 and
    phi(x) = exp(-x^2 / 2) / sqrt(2 pi). Approximately
    f(x) = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, within 5e-4.

    Args:
      x: float, any shape.
      approximate: take the second form, which GPT-2 and BERT's first weights were trained with.

    Returns:
      Values above -0.17, the least near -0.75; like x.

    Raises:
      TypeError: x is not floating point.

    Source: Hendrycks & Gimpel, "Gaussian Error Linear Units (GELUs)", 2016, section 2, arXiv:1606.08415.
    Differs from jax.nn.gelu and linen.gelu in the default: exact here, as in PyTorch, approximate there.
    """
    checks.floating(x=x)
    if not approximate:
        return jax.nn.gelu(x, approximate=False)
    # (1 + tanh u) / 2 = sigmoid(2 u), without the cancellation for negative u. Beyond 30 it is 0 or 1 in float64
    # too, while the cube of 41 overflows float16.
    bounded = jnp.clip(x, -30, 30)
    return x * jax.nn.sigmoid(math.sqrt(8 / math.pi) * (bounded + 0.044715 * bounded**3))


def silu(x: Array) -> Array:
    """The input times its sigmoid; also called swish.

    f(x) = x sigmoid(x), f'(x) = s + x s (1 - s) with s = sigmoid(x).

    Args:
      x: float, any shape.

    Returns:
      Values above -0.279, the least at -1.278; like x.

    Raises:
      TypeError: x is not floating point.

    Source: Elfwing, Uchibe & Doya, "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in
    Reinforcement Learning", 2018, arXiv:1702.03118.
    """
    checks.floating(x=x)
    return jax.nn.silu(x)


def mish(x: Array) -> Array:
    """The input times the tanh of its softplus.

    f(x) = x tanh(log(1 + exp(x))), f'(x) = t + x (1 - t^2) sigmoid(x) with t = tanh(softplus(x)).

    Args:
      x: float, any shape.

    Returns:
      Values above -0.309, the least at -1.192; like x.

    Raises:
      TypeError: x is not floating point.

    Source: Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2020,
    arXiv:1908.08681.
    """
    checks.floating(x=x)
    return jax.nn.mish(x)
