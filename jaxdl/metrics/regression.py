"""Metrics of real-valued predictions. Every element counts alike, and the shapes must be equal."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxdl import losses
from jaxdl.losses.masking import check_pair, check_where, widened
from jaxdl.metrics.streaming import Mean, Metric, Parts
from jaxdl.types import Array


def _start() -> Mean:
    return Mean(jnp.zeros(()), jnp.zeros((), jnp.int32))


def _mean_of(loss):
    def measure(predictions: Array, targets: Array, where: Array | None) -> Mean:
        errors = loss(predictions, targets, where=where)
        count = jnp.asarray(errors.size) if where is None else jnp.sum(where)
        return Mean(jnp.sum(errors), count.astype(jnp.int32))

    return measure


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
    return Parts(_start, _mean_of(losses.absolute_error), Mean.value)


@Metric
def root_mean_squared_error() -> Parts:
    """Root of the mean squared error.

    sqrt((1/N) sum (p - t)^2)

    Args, Raises: as for `mean_absolute_error`.

    Returns:
      float32[], in the targets' unit; NaN when nothing counts.

    Differs from scikit-learn for several outputs, where that takes the root for each and then the mean.
    """
    return Parts(_start, _mean_of(losses.squared_error), lambda state: jnp.sqrt(state.value()))


class Spread(NamedTuple):
    """What R^2 needs: exact under merging, without the cancellation of sums of squares far from 0."""

    residual: Array  # float32[], sum (t - p)^2
    count: Array  # int32[]
    mean: Array  # float32[], of the targets
    squares: Array  # float32[], sum (t - mean)^2


@Metric
def r2_score() -> Parts:
    """Share of the targets' variance that the predictions explain.

    1 - sum (t - p)^2 / sum (t - mean t)^2

    1 is perfect, 0 is no better than the mean, negative is worse.

    Args:
      predictions: float [N] or [N, 1].
      targets: real numbers of the same shape.
      where: bool of the same shape, which examples count, or None for all.

    Returns:
      float32[]. NaN for fewer than two examples. For equal targets 1 where all predictions are right, else 0.

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, or there are several outputs: `jax.vmap` it over them.

    Source: for the merging of variances, Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm
    for Computing Sample Variances", 1979, equation 2.1.
    """

    def start() -> Spread:
        return Spread(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros(()), jnp.zeros(()))

    def measure(predictions: Array, targets: Array, where: Array | None) -> Spread:
        check_pair(predictions=predictions, targets=targets)
        shape = jnp.shape(predictions)
        if len(shape) != 1 and shape[1:] != (1,):
            raise ValueError(
                f"predictions must have shape (N,) or (N, 1), got {shape}; vmap over several outputs"
            )
        if where is not None:
            check_where(where, shape)
        counted = jnp.ones(shape, bool) if where is None else jnp.asarray(where)
        residual = jnp.sum(losses.squared_error(predictions, targets, where=counted))
        count = jnp.sum(counted, dtype=jnp.int32)
        targets = jnp.where(counted, widened(targets), 0)
        # Two passes: the mean first, then the squares about it.
        mean = jnp.sum(targets) / jnp.maximum(count, 1)
        squares = jnp.sum(jnp.square(targets - mean), where=counted)
        return Spread(residual, count, mean, squares)

    def merge(a: Spread, b: Spread) -> Spread:
        count = a.count + b.count
        share = b.count / jnp.maximum(count, 1)
        apart = b.mean - a.mean
        return Spread(
            a.residual + b.residual,
            count,
            a.mean + apart * share,
            a.squares + b.squares + jnp.square(apart) * a.count * share,
        )

    def finish(state: Spread) -> Array:
        varied = state.squares > 0
        score = 1 - state.residual / jnp.where(varied, state.squares, 1)
        score = jnp.where(varied, score, jnp.where(state.residual > 0, 0.0, 1.0))
        return jnp.where(state.count > 1, jnp.where(jnp.isnan(state.residual), jnp.nan, score), jnp.nan)

    return Parts(start, measure, finish, merge)
