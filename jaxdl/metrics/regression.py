"""Metrics of real-valued predictions. Every element counts alike, and the shapes must be equal."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxdl import checks, losses
from jaxdl.losses.masking import check_pair, widened
from jaxdl.metrics.moments import Moments, merge_moments, moments, no_moments
from jaxdl.metrics.streaming import Mean, Metric, Parts, counted, mean_of, no_values
from jaxdl.types import Array


def _mean_of(loss: Callable[..., Array]) -> Callable[..., Mean]:
    return lambda predictions, targets, where: mean_of(loss(predictions, targets, where=where), where)


@Metric
def mean_absolute_error() -> Parts:
    """Mean size of the errors.

    (1/N) sum |p - t|

    Args:
      predictions: float [...].
      targets: real numbers [...].
      where: bool [...], which elements count, or None for all.

    Returns:
      float32[], in the targets' unit; NaN when nothing counts.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ.
    """
    return Parts(no_values, _mean_of(losses.absolute_error), Mean.value)


@Metric
def root_mean_squared_error() -> Parts:
    """Root of the mean squared error.

    sqrt((1/N) sum (p - t)^2)

    Args, Raises: as for `mean_absolute_error`.

    Returns:
      float32[], in the targets' unit; NaN when nothing counts.

    Differs from scikit-learn for several outputs, where that takes the root for each and then the mean.
    """
    return Parts(no_values, _mean_of(losses.squared_error), lambda state: jnp.sqrt(state.value()))


@Metric
def mape() -> Parts:
    """Mean size of the errors relative to the targets, in percent.

    (100 / N) sum |p - t| / |t|

    Errors below a target cost at most 100 each, errors above it have no bound: it favours low forecasts.

    Args:
      predictions: float [...].
      targets: real numbers [...], not 0.
      where: bool [...], which elements count, or None for all.

    Returns:
      Percent, float32[]; NaN when nothing counts or a target is 0: mask those, or take `mean_absolute_error`.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Differs from scikit-learn, which gives a fraction, and a very large one where a target is 0.
    """

    return Parts(no_values, _mean_of(losses.mean_absolute_percentage_error), Mean.value)


def _column(predictions: Array, targets: Array, where: Array | None) -> tuple[Array, Array, Array]:
    """Checked predictions and targets of one output, and which of them count, all [N]."""
    check_pair(predictions=predictions, targets=targets)
    shape = jnp.shape(predictions)
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(
            f"predictions must have shape (N,) or (N, 1), got {shape}; vmap over several outputs"
        )
    chosen = counted(shape, where)
    predictions = widened(predictions)
    targets = jnp.asarray(targets).astype(predictions.dtype)
    return predictions.ravel(), targets.ravel(), chosen.ravel()


def _explained(left: Array, squares: Array) -> Array:
    """1 - left / squares; of targets that do not vary 1 where nothing is left, else 0."""
    varied = squares > 0
    score = 1 - left / jnp.where(varied, squares, 1)
    score = jnp.where(varied, score, jnp.where(left > 0, 0.0, 1.0))
    return jnp.where(jnp.isnan(left + squares), jnp.nan, score)


class Residuals(NamedTuple):
    """What R^2 needs."""

    squares: Array  # float32[], sum (t - p)^2
    targets: Moments


@Metric
def r2_score() -> Parts:
    """Share of the targets' variance that the predictions explain, a constant error held against them.

    1 - sum (t - p)^2 / sum (t - mean t)^2

    1 is perfect, 0 is no better than the mean, negative is worse. `explained_variance` forgives a constant
    error.

    Args:
      predictions: float [N] or [N, 1].
      targets: real numbers of the same shape.
      where: bool of the same shape, which examples count, or None for all.

    Returns:
      float32[]. NaN for fewer than two examples. For equal targets 1 where all predictions are right, else 0.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, or there are several outputs: `jax.vmap` it over them.
    """

    def measure(predictions: Array, targets: Array, where: Array | None) -> Residuals:
        predictions, targets, chosen = _column(predictions, targets, where)
        squares = jnp.sum(jnp.square(predictions - targets), where=chosen)
        return Residuals(squares, moments(targets, chosen))

    def merge(a: Residuals, b: Residuals) -> Residuals:
        return Residuals(a.squares + b.squares, merge_moments(a.targets, b.targets))

    def finish(state: Residuals) -> Array:
        score = _explained(state.squares, state.targets.squares)
        return jnp.where(state.targets.count > 1, score, jnp.nan)

    return Parts(lambda: Residuals(jnp.zeros(()), no_moments()), measure, finish, merge)


@Metric
def explained_variance() -> Parts:
    """Share of the targets' variance that the predictions explain, up to a constant error.

    1 - var(t - p) / var(t)

    `r2_score` is the same less what a bias of the predictions costs; the two agree where the mean error is 0.

    Args, Raises: as for `r2_score`.

    Returns:
      float32[]. NaN when nothing counts. For equal targets, and so for one, 1 where the error is constant, else
      0.
    """

    def measure(predictions: Array, targets: Array, where: Array | None) -> tuple[Moments, Moments]:
        predictions, targets, chosen = _column(predictions, targets, where)
        return moments(targets - predictions, chosen), moments(targets, chosen)

    def merge(a: tuple[Moments, Moments], b: tuple[Moments, Moments]) -> tuple[Moments, Moments]:
        return merge_moments(a[0], b[0]), merge_moments(a[1], b[1])

    def finish(state: tuple[Moments, Moments]) -> Array:
        errors, targets = state
        score = _explained(errors.squares, targets.squares)
        return jnp.where(targets.count > 0, score, jnp.nan)

    return Parts(lambda: (no_moments(), no_moments()), measure, finish, merge)


@Metric
def sharpe_ratio(*, risk_free: float = 0.0) -> Parts:
    """Mean return above the risk-free one, per unit of volatility: how a forecaster that trades is judged.

    mean(r - f) / std(r), with the sample deviation, over n - 1

    A year of n periods has sqrt(n) times the ratio of one period.

        metrics.sharpe_ratio(daily_returns, risk_free=1e-4) * 252**0.5

    Args:
      returns: float [N], of equal periods, such as 0.01 for one percent.
      where: bool [N], which periods count, or None for all.
      risk_free: f, the return of one period without risk.

    Returns:
      float32[]. Of equal returns infinite, with the sign of the mean above f, and NaN where that is 0; NaN for
      fewer than two.

    Raises:
      TypeError: returns are not floating point, or where is not bool.
      ValueError: returns are not [N].

    Source: Sharpe, "The Sharpe Ratio", 1994, equations 3 to 6.
    """

    def measure(returns: Array, where: Array | None) -> Moments:
        checks.floating(returns=returns)
        checks.rank(1, returns=returns)
        returns = widened(returns)
        return moments(returns, counted(returns.shape, where))

    def finish(state: Moments) -> Array:
        deviation = jnp.sqrt(state.squares / jnp.maximum(state.count - 1, 1))
        return jnp.where(state.count > 1, (state.mean - risk_free) / deviation, jnp.nan)

    return Parts(no_moments, measure, finish, merge_moments)
