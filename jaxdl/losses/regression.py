"""Losses on real-valued predictions, element by element.

Predictions come first, targets second, and their shapes must be equal: targets `(n,)` against predictions
`(n, 1)` would otherwise broadcast to n times n errors and train towards the mean. Half-precision inputs are
computed and returned in float32. `where` is bool of the inputs' shape; masked elements and their gradients
are 0.
"""

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import check_pair, elementwise
from jaxdl.types import Array


def squared_error(predictions: Array, targets: Array, where: Array | None = None) -> Array:
    """Squared difference of each element.

    l = (p - t)^2

    Args:
      predictions: float [...].
      targets: real numbers [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in the square of the targets' unit; its mean is the mean squared error.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Differs from optax.squared_error: targets are required, and half precision gives float32.
    """
    check_pair(predictions=predictions, targets=targets)
    return elementwise(lambda p, t: jnp.square(p - t), predictions, targets, where)


def half_squared_error(predictions: Array, targets: Array, where: Array | None = None) -> Array:
    """Half the squared difference of each element, whose gradient is the plain error p - t.

    l = (p - t)^2 / 2; the sum over outputs and the mean over examples is the quadratic cost.

    Args:
      predictions: float [...].
      targets: real numbers [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in the square of the targets' unit.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", 1986,
    equation 3.
    """
    return 0.5 * squared_error(predictions, targets, where)


def absolute_error(predictions: Array, targets: Array, where: Array | None = None) -> Array:
    """Size of each difference.

    l = |p - t|; the gradient is the sign of p - t, and 0 where they are equal.

    Args:
      predictions: float [...].
      targets: real numbers [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in the targets' unit; its mean is the mean absolute error.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ.
    """
    check_pair(predictions=predictions, targets=targets)
    return elementwise(lambda p, t: jnp.abs(p - t), predictions, targets, where)


def huber(predictions: Array, targets: Array, where: Array | None = None, *, delta: float = 1.0) -> Array:
    """Quadratic for small errors, linear for large ones, so that outliers pull with bounded force.

    With r = p - t:  l = r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2). The gradient is r clipped
    to [-delta, delta].

    Args:
      predictions: float [...].
      targets: real numbers [...].
      where: bool [...], or None for all.
      delta: where the two parts meet, in the targets' unit; positive.

    Returns:
      float [...].

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, or delta is not positive.

    Source: Huber, "Robust Estimation of a Location Parameter", 1964, section 1.
    """
    check_pair(predictions=predictions, targets=targets)
    checks.positive(delta=delta)

    def formula(p: Array, t: Array) -> Array:
        size = jnp.abs(p - t)
        quadratic = jnp.minimum(size, delta)
        return 0.5 * jnp.square(quadratic) + delta * (size - quadratic)

    return elementwise(formula, predictions, targets, where)
