"""Smooth activations: sigmoids, and the softmax family over an axis. Pure, differentiable in both modes."""

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


def algebraic_sigmoid(x: Array) -> Array:
    """A sigmoid without an exponential: it approaches its limits as 1 / x^2, not exponentially.

    f(x) = x / sqrt(1 + x^2), f'(x) = (1 + x^2)^(-3/2) = f^3 / x^3, which is 1 at 0.

    Args:
      x: float, any shape; its square may overflow.

    Returns:
      Values in (-1, 1), like x.

    Raises:
      TypeError: x is not floating point.
    """
    checks.floating(x=x)
    x = jnp.asarray(x)
    small = jnp.abs(x) <= 1
    # Neither branch may see the other's numbers: where x^2 overflows, its gradient would be NaN in both.
    inner, outer = jnp.where(small, x, 0), jnp.where(small, 1, x)
    return jnp.where(
        small, inner * jax.lax.rsqrt(1 + inner**2), jnp.sign(outer) * jax.lax.rsqrt(1 + (1 / outer) ** 2)
    )


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


def log_sum_exp(x: Array, axis: int | tuple[int, ...] = -1, keepdims: bool = False) -> Array:
    """A smooth maximum: the logarithm of summed exponentials.

    f(x) = log sum_j exp(x_j), df/dx_j = softmax_j(x); max(x) <= f(x) <= max(x) + log n.

    Take it to normalise log-probabilities (`log_softmax` is x minus it), `log_sum_exp_plus` for a smooth
    maximum that has 0 among its choices.

    Args:
      x: float, any shape; -inf leaves a value out of the sum.
      axis: the axis, or axes, summed over.
      keepdims: keep those axes, with size 1.

    Returns:
      Nats where x are log-probabilities, [...] without the axes; -inf with gradient 0 where all x are -inf.

    Raises:
      TypeError: x is not floating point.

    Differs from jax.nn.logsumexp and torch.logsumexp where all x are -inf: the gradient is 0, not NaN.
    """
    checks.floating(x=x)
    x = jnp.asarray(x)
    empty = jnp.all(jnp.isneginf(x), axis, keepdims=True)
    total = jax.nn.logsumexp(jnp.where(empty, 0, x), axis, keepdims=True)
    total = jnp.where(empty, -jnp.inf, total)
    return total if keepdims else jnp.squeeze(total, axis)


def log_sum_exp_plus(x: Array, axis: int | tuple[int, ...] = -1, keepdims: bool = False) -> Array:
    """`log_sum_exp` with one more argument, 0: softplus for many inputs.

    f(x) = log(1 + sum_j exp(x_j)), df/dx_j = exp(x_j) / (1 + sum_i exp(x_i)). It is strictly convex, where
    `log_sum_exp` is linear along (1, ..., 1); for one input it is `softplus`.

    Args:
      x: float, any shape; -inf leaves a value out of the sum.
      axis: the axis, or axes, summed over.
      keepdims: keep those axes, with size 1.

    Returns:
      Non-negative values, [...] without the axes; no overflow for large x.

    Raises:
      TypeError: x is not floating point.
    """
    return jax.nn.softplus(log_sum_exp(x, axis, keepdims))
