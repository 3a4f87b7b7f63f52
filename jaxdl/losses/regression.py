"""Losses on real-valued predictions, element by element (`cosine_distance`: vector by vector).

Predictions come first, targets second, and their shapes must be equal: targets `(n,)` against predictions
`(n, 1)` would otherwise broadcast to n times n errors and train towards the mean. Half-precision inputs are
computed and returned in float32. `where` is bool of the inputs' shape; masked elements and their gradients
are 0. A target that cannot be (a negative count, a percentage of 0) makes its loss and gradient NaN.
"""

import math

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import check_pair, check_where, elementwise, examplewise, poisoned, together
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


def log_cosh(predictions: Array, targets: Array, where: Array | None = None) -> Array:
    """Half the squared error where it is small, the absolute error less log 2 where it is large.

    l = log cosh(p - t). Smooth to every order, unlike `huber`; its gradient is tanh(p - t).

    Args:
      predictions: float [...].
      targets: real numbers [...].
      where: bool [...], or None for all.

    Returns:
      float [...]. Errors are counted in the targets' unit, so scale targets to size 1.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Chen, Chen, Chen and Nevatia, "Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder", 2019.
    Differs from optax.log_cosh, which is the difference of two numbers near log 2 for small errors and keeps few
    digits of them: an error of 0.001 costs 5.0e-7, there 5.4e-7 in float32.
    """
    check_pair(predictions=predictions, targets=targets)

    def formula(p: Array, t: Array) -> Array:
        # log cosh r = log(1 + 2 sinh^2(r / 2)): exact for small r; the sum of logarithms for large.
        error = p - t
        size = jnp.abs(error)
        near = jnp.log1p(2 * jnp.square(jnp.sinh(jnp.clip(error, -1, 1) / 2)))
        return jnp.where(size < 1, near, size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2))

    return elementwise(formula, predictions, targets, where)


def quantile_loss(
    predictions: Array, targets: Array, where: Array | None = None, *, quantile: float
) -> Array:
    """Tilted absolute error, least in expectation at a quantile of the targets.

    With e = t - p:  l = q e where e > 0, else (q - 1) e. Half of `absolute_error` at q = 1/2. The gradient at
    e = 0 is the mean of those on either side, 1/2 - q.

    Args:
      predictions: float [...].
      targets: real numbers [...].
      where: bool [...], or None for all.
      quantile: q, the share of targets below the prediction, in [0, 1].

    Returns:
      float [...], in the targets' unit.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, or the quantile is outside [0, 1].

    Source: Koenker and Bassett, "Regression Quantiles", 1978, equation 3.1.
    """
    check_pair(predictions=predictions, targets=targets)
    checks.between(0, 1, quantile=quantile)

    def formula(p: Array, t: Array) -> Array:
        error = t - p
        return jnp.maximum(quantile * error, (quantile - 1) * error)

    return elementwise(formula, predictions, targets, where)


def mean_squared_logarithmic_error(predictions: Array, targets: Array, where: Array | None = None) -> Array:
    """Squared difference of the logarithms of one plus each number: relative errors of counts.

    l = (log(1 + p) - log(1 + t))^2; its mean is what the name says.

    Args:
      predictions: above -1, float [...].
      targets: above -1, real numbers [...].
      where: bool [...], or None for all.

    Returns:
      Squared nats, float [...]. NaN where a number is -1 or below.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Differs from Keras's function of this name: no mean is taken, and negative numbers are not set to 0.
    """
    check_pair(predictions=predictions, targets=targets)

    def formula(p: Array, t: Array) -> Array:
        return poisoned(jnp.square(jnp.log1p(p) - jnp.log1p(t)), (p > -1) & (t > -1))

    return elementwise(formula, predictions, targets, where)


def mean_absolute_percentage_error(predictions: Array, targets: Array, where: Array | None = None) -> Array:
    """Size of each difference in percent of the target.

    l = 100 |p - t| / |t|; its mean is what the name says.

    Args:
      predictions: float [...].
      targets: real numbers other than 0 [...].
      where: bool [...], or None for all.

    Returns:
      Percent, float [...]. NaN where the target is 0.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Differs from Keras's and scikit-learn's, which divide by at least 1e-7 and 2.2e-16: there one target of 0
    outweighs all others.
    """
    check_pair(predictions=predictions, targets=targets)

    def formula(p: Array, t: Array) -> Array:
        return poisoned(100 * jnp.abs((p - t) / jnp.where(t == 0, 1, t)), t != 0)

    return elementwise(formula, predictions, targets, where)


def poisson_nll(
    log_rates: Array,
    targets: Array,
    where: Array | None = None,
    *,
    log_input: bool = True,
    full: bool = False,
) -> Array:
    """Negative log-likelihood of a count under a Poisson distribution, from the logarithm of its rate.

    l = exp(x) - t x, plus log t! when full. With log_input=False, x is the rate: l = x - t log x, with
    0 log 0 = 0 and the logarithm of at least the smallest normal number.

    Args:
      log_rates: x, float [...]; above 88.7 the rate overflows in float32, and so do the loss and its gradient.
      targets: counts t, at least 0, real numbers [...].
      where: bool [...], or None for all.
      log_input: whether x is the logarithm of the rate, or the rate itself.
      full: add log t!, on which no gradient depends, for a value in true nats.

    Returns:
      Nats, up to log t! unless full, float [...]. NaN where a count, or a rate, is negative.

    Raises:
      TypeError: log_rates are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Differs from torch.nn.functional.poisson_nll_loss: log t! is exact, not Stirling's formula; eps is 0 but for
    a rate of 0; negative counts give NaN.
    """
    check_pair(log_rates=log_rates, targets=targets)

    def formula(x: Array, t: Array) -> Array:
        if log_input:
            loss, possible = jnp.exp(x) - t * x, t >= 0
        else:
            # A select, not a maximum: the slope at the floor, t / 1e-38, may overflow.
            floor = float(jnp.finfo(x.dtype).tiny)
            log_rate = jnp.log(jnp.where(x > floor, x, floor))
            loss, possible = x - t * log_rate, (t >= 0) & (x >= 0)
        if full:
            loss += jax.lax.lgamma(jnp.abs(t) + 1)
        return poisoned(loss, possible)

    return elementwise(formula, log_rates, targets, where)


def gaussian_nll(
    predictions: Array,
    targets: Array,
    log_variance: Array,
    where: Array | None = None,
    *,
    full: bool = False,
) -> Array:
    """Negative log-likelihood of each target under a normal distribution with a learned variance.

    l = (log v + (t - p)^2 / v) / 2, plus log(2 pi) / 2 when full.

    Args:
      predictions: the mean p, float [...].
      targets: t, real numbers [...].
      log_variance: log v, float [...]; below -87 or so 1 / v overflows in float32, and so does the loss.
      where: bool [...], or None for all.
      full: add log(2 pi) / 2 = 0.919, on which no gradient depends, for a value in true nats.

    Returns:
      Nats, up to log(2 pi) / 2 unless full, float [...].

    Raises:
      TypeError: predictions or log_variance are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Nix and Weigend, "Estimating the mean and variance of the target probability distribution", 1994.
    Differs from torch.nn.functional.gaussian_nll_loss, which takes the variance and raises it to at least 1e-6.
    """
    checks.floating(log_variance=log_variance)
    arrays = together(predictions=predictions, targets=targets, log_variance=log_variance)

    def formula(p: Array, t: Array, log_v: Array) -> Array:
        loss = 0.5 * (log_v + jnp.square(t - p) * jnp.exp(-log_v))
        return loss + 0.5 * math.log(2 * math.pi) if full else loss

    return examplewise(formula, *arrays, where=where, shape=arrays[0].shape)


def cosine_distance(
    predictions: Array, targets: Array, where: Array | None = None, *, epsilon: float = 0.0
) -> Array:
    """One less the cosine of the angle between two vectors, whatever their lengths.

    l = 1 - p . t / sqrt(max(|p|^2, epsilon) max(|t|^2, epsilon))

    Args:
      predictions: p, float [..., D].
      targets: t, real numbers [..., D].
      where: bool [...] (vectors) or [..., D] (coordinates, which are left out), or None for all.
      epsilon: least square of a length in the denominator, at least 0.

    Returns:
      float [...], in [0, 2]; 1 where a vector is zero, without a gradient to it unless epsilon is positive.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, there is no last axis, or epsilon is negative.

    Differs from optax.cosine_distance, which is NaN for a zero vector unless epsilon is positive.
    """
    p, t = together(predictions=predictions, targets=targets)
    checks.non_negative(epsilon=epsilon)
    if p.ndim < 1:
        raise ValueError("predictions must have a last axis of coordinates, got shape ()")
    if where is not None:
        check_where(where, p.shape[:-1], p.shape)
        if jnp.shape(where) == p.shape:
            p, t, where = jnp.where(where, p, 0), jnp.where(where, t, 0), None

    def unit(x: Array) -> Array:
        square = jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), epsilon)
        return jnp.where(square > 0, x / jnp.sqrt(jnp.where(square > 0, square, 1)), 0)

    return examplewise(
        lambda p, t: 1 - jnp.sum(unit(p) * unit(t), axis=-1), p, t, where=where, shape=p.shape[:-1]
    )
