"""Steps and clipped ramps: elementwise, linear in pieces.

At a kink the slope is that of the flat side, 0, as in PyTorch's hardtanh and hardsigmoid. NaN stays NaN.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def _clipped(x: Array, low: float, high: float) -> Array:
    """x limited to [low, high], with slope 0 at both ends, where jnp.clip has a half or 1."""
    return jnp.where((x > low) & (x < high), x, jnp.clip(jax.lax.stop_gradient(x), low, high))


def _two_levels(x: Array, threshold: float | Array, low: float) -> Array:
    x = jnp.asarray(x)
    return jnp.where(jnp.isnan(x), x, jnp.where(x >= threshold, jnp.ones_like(x), jnp.full_like(x, low)))


def binary_step(x: Array, threshold: float | Array = 0.0) -> Array:
    """Fires or not: the Heaviside function, with 1 at the threshold itself.

    f(x) = 1 for x >= t, 0 for x < t; f'(x) = 0, so nothing in front of it learns by gradients.

    Args:
      x: float, any shape.
      threshold: t, a number or float of the shape of x.

    Returns:
      0 or 1, like x.

    Raises:
      TypeError: x is not floating point.

    Source: McCulloch & Pitts, "A logical calculus of the ideas immanent in nervous activity", 1943.
    """
    checks.floating(x=x)
    return _two_levels(x, threshold, 0)


def bipolar_step(x: Array, threshold: float | Array = 0.0) -> Array:
    """`binary_step` with the levels -1 and 1.

    f(x) = 1 for x >= t, -1 for x < t (some texts misprint 0 here); f'(x) = 0. Unlike `signum` it is never 0.

    Args:
      x: float, any shape.
      threshold: t, a number or float of the shape of x.

    Returns:
      -1 or 1, like x.

    Raises:
      TypeError: x is not floating point.
    """
    checks.floating(x=x)
    return _two_levels(x, threshold, -1)


def three_level_step(x: Array, threshold: float) -> Array:
    """Yes, no, or undecided: the answer of a perceptron with a dead zone.

    f(x) = 1 for x > t, 0 for -t <= x <= t, -1 for x < -t; f'(x) = 0. It is `signum` for t = 0.

    Args:
      x: float, any shape.
      threshold: t, half the width of the dead zone, at least 0.

    Returns:
      -1, 0 or 1, like x.

    Raises:
      TypeError: x is not floating point.
      ValueError: threshold is negative or not finite.

    Source: Fausett, "Fundamentals of Neural Networks", 1994, section 2.3.
    """
    checks.floating(x=x)
    checks.non_negative(threshold=threshold)
    return jnp.where(jnp.abs(x) <= threshold, jnp.zeros_like(x), jnp.sign(x))


def signum(x: Array) -> Array:
    """The sign: what `bipolar_sigmoid` tends to as its steepness grows.

    f(x) = 1 for x > 0, 0 for x = 0, -1 for x < 0; f'(x) = 0. Unlike `bipolar_step` it is 0 at 0.

    Args:
      x: float, any shape.

    Returns:
      -1, 0 or 1, like x.

    Raises:
      TypeError: x is not floating point.
    """
    checks.floating(x=x)
    return jnp.sign(x)


def ramp(x: Array) -> Array:
    """The identity, limited to [0, 1].

    f(x) = 0 for x < 0, x for 0 <= x <= 1, 1 for x > 1; f'(x) = 1 for 0 < x < 1, 0 elsewhere. (`relu` is called
    a ramp too; it has no upper limit.)

    Args:
      x: float, any shape.

    Returns:
      Values in [0, 1], like x.

    Raises:
      TypeError: x is not floating point.
    """
    checks.floating(x=x)
    return _clipped(x, 0, 1)


def hard_tanh(x: Array) -> Array:
    """The identity, limited to [-1, 1]: a tanh in three pieces.

    f(x) = -1 for x < -1, x for -1 <= x <= 1, 1 for x > 1 (some texts misprint -1 here); f'(x) = 1 for
    -1 < x < 1, 0 elsewhere.

    Args:
      x: float, any shape.

    Returns:
      Values in [-1, 1], like x.

    Raises:
      TypeError: x is not floating point.

    Source: Collobert, "Large Scale Machine Learning", 2004.
    Differs from jax.nn.hard_tanh in the slope at exactly -1 and 1: 0 here, 1 there.
    """
    checks.floating(x=x)
    return _clipped(x, -1, 1)


def hard_sigmoid(x: Array) -> Array:
    """A sigmoid in three pieces.

    f(x) = 0 for x <= -3, x / 6 + 1/2 for -3 < x < 3, 1 for x >= 3; f'(x) = 1/6 for -3 < x < 3, 0 elsewhere.

    Args:
      x: float, any shape.

    Returns:
      Values in [0, 1], like x.

    Raises:
      TypeError: x is not floating point.

    Source: Howard et al., "Searching for MobileNetV3", 2019, section 5.2, arXiv:1905.02244; PyTorch's too.
    Differs from Courbariaux et al. 2015 and Keras 2, whose slopes are 1/2 and 1/5.
    """
    checks.floating(x=x)
    return (_clipped(x, -3, 3) + 3) / 6
