"""Metrics of whole sets: generated against real.

N and M examples, D features, K classes or modes. Where a metric compares two sets, `where` is a mask for both, or a
pair (mask of the first, mask of the second), each bool with the shape of its set's first axis.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.masking import widened
from jaxdl.metrics.moments import Moments, merge_moments, moments, no_moments
from jaxdl.metrics.streaming import Mean, Metric, Parts, count, counted, needed, no_hits, no_values
from jaxdl.types import Array

Masks = Array | tuple[Array | None, Array | None] | None


def _both(where: Masks, first: Array, second: Array) -> tuple[Array, Array]:
    masks = where if isinstance(where, tuple) else (where, where)
    return counted(first.shape[:1], masks[0]), counted(second.shape[:1], masks[1])


_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _root(covariance: Array) -> Array:
    """A with A A^T = C, for C symmetric; eigenvalues that rounding made negative are 0."""
    values, vectors = jnp.linalg.eigh(covariance)
    return vectors * jnp.sqrt(jnp.maximum(values, 0))[None]


@Metric
def frechet_distance(*, num_features: int | None = None) -> Parts:
    """Distance of two sets of features, as that of two Gaussians with their means and covariances.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), C over n - 1

    The features are any function of the examples. Those of an Inception network at its last pooling layer make it the
    Frechet inception distance; the examples themselves do for small ones.

        metrics.frechet_distance(features_of(generated), features_of(real))
        metric = metrics.frechet_distance.bind(num_features=2048)         # to stream

    The trace of the root is the sum of the singular values of A1^T A2, with C = A A^T from the symmetric
    eigendecomposition: no root of a matrix that is not symmetric, and nothing imaginary to drop. It is to be
    computed, not differentiated: equal eigenvalues have no derivative.

    Args:
      features: float [N, D].
      references: float [M, D].
      where: bool [N] for both, a pair of bool [N] and bool [M], or None for all.
      num_features: D, needed for `zero` alone.

    Returns:
      float32[], at least 0 (a difference that rounding makes negative is 0), in the square of the features' unit;
      float64 of float64 features. NaN when a set has fewer than two examples. With no more examples than features
      it is biased up and the smallest eigenvalues are rounding: take more examples, or float64.

    Raises:
      TypeError: features are not floating point, or where is not bool.
      ValueError: the sets are not [N, D] and [M, D], or D is not num_features.

    Source: Dowson and Landau, "The Frechet Distance between Multivariate Normal Distributions", 1982, equation 4; for
    the features Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    2017, equation 6.
    """

    def measure(features: Array, references: Array, where: Masks) -> tuple[Moments, Moments]:
        checks.floating(features=features, references=references)
        checks.rank(2, features=features, references=references)
        size = num_features or np.shape(features)[1]
        checks.shape((None, size), features=features, references=references)
        features, references = widened(features), widened(references)
        chosen = _both(where, features, references)
        return moments(features, chosen[0]), moments(references, chosen[1])

    def zero() -> tuple[Moments, Moments]:
        size = needed("frechet_distance", num_features=num_features)
        return no_moments(size), no_moments(size)

    def merge(a: tuple[Moments, Moments], b: tuple[Moments, Moments]) -> tuple[Moments, Moments]:
        return merge_moments(a[0], b[0]), merge_moments(a[1], b[1])

    def finish(state: tuple[Moments, Moments]) -> Array:
        first, second = (x.squares / jnp.maximum(x.count - 1, 1) for x in state)
        cross = jnp.linalg.svd(_product(_root(first).T, _root(second)), compute_uv=False)
        apart = jnp.sum(jnp.square(state[0].mean - state[1].mean))
        distance = apart + jnp.trace(first) + jnp.trace(second) - 2 * jnp.sum(cross)
        enough = (state[0].count > 1) & (state[1].count > 1)
        # The maximum hands NaN on.
        return jnp.where(enough, jnp.maximum(distance, 0), jnp.nan)

    return Parts(zero, measure, finish, merge)


class Certainty(NamedTuple):
    """Sums over examples."""

    probabilities: Array  # float32[K]
    negative_entropy: Array  # float32[], in nats
    count: Array  # int32[]


@Metric
def inception_score(*, num_classes: int | None = None) -> Parts:
    """How certain a classifier is of each example, and how various its answers are.

    exp(mean_n KL(p(y | x_n) || p(y))), p(y) = mean_n p(y | x_n)

        metrics.inception_score(classifier_logits)

    It sees neither the real examples nor more than one good example of a class; `frechet_distance` does.

    Args:
      logits: of a classifier on the generated examples, float [N, K].
      where: bool [N], which examples count, or None for all.
      num_classes: K, needed for `zero` alone.

    Returns:
      float32[] in [1, K]; 1 when all answers are alike, K when they are certain and equally spread. NaN when nothing
      counts.

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: logits are not [N, K], or K is not num_classes.

    Source: Salimans et al., "Improved Techniques for Training GANs", 2016, section 4. That work means ten scores of
    a tenth of the examples each; this is one score of all.
    """

    def measure(logits: Array, where: Array | None) -> Certainty:
        checks.floating(logits=logits)
        checks.shape((None, num_classes), logits=logits)
        chosen = counted(np.shape(logits)[:1], where)
        log_p = jax.nn.log_softmax(jnp.where(chosen[:, None], widened(logits), 0))
        p = jnp.where(chosen[:, None], jnp.exp(log_p), 0)
        # A class that is out of the question has p = 0 and log p = -inf, and adds nothing.
        return Certainty(jnp.sum(p, axis=0), jnp.sum(jnp.where(p > 0, p * log_p, 0)), count(chosen))

    def zero() -> Certainty:
        size = needed("inception_score", num_classes=num_classes)
        return Certainty(jnp.zeros(size), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def finish(state: Certainty) -> Array:
        marginal = state.probabilities / state.count
        entropy = -jnp.sum(jax.scipy.special.xlogy(marginal, marginal))
        return jnp.exp(entropy + state.negative_entropy / state.count)

    return Parts(zero, measure, finish)


def earth_mover_distance(weights: Array, others: Array, positions: Array | None = None) -> Array:
    """Least work that turns one distribution on the line into another: mass times distance.

    W = integral |F(x) - G(x)| dx, of the distribution functions

        metrics.earth_mover_distance(histogram, other_histogram)

    Two samples x [N] and y [M] are distributions on their joint positions:

        ones, none = jnp.ones, jnp.zeros
        metrics.earth_mover_distance(
            jnp.concatenate([ones(N), none(M)]), jnp.concatenate([none(N), ones(M)]), jnp.concatenate([x, y])
        )

    It does not stream; histograms do, by adding them up.

    Args:
      weights: float [..., K], at least 0; divided by their sum.
      others: float of the same shape, likewise.
      positions: float [K], in any order; 0, 1, ..., K - 1 when None.

    Returns:
      float32 [...], in the unit of positions. NaN where all weights are 0 or one is negative.

    Raises:
      TypeError: weights or positions are not floating point.
      ValueError: the shapes differ.

    Source: Vallender, "Calculation of the Wasserstein Distance between Probability Distributions on the Line", 1974.
    """
    checks.floating(weights=weights, others=others)
    checks.same_shape(weights=weights, others=others)
    weights, others = widened(weights), widened(others)
    if not weights.shape[-1:] or not weights.shape[-1]:
        raise ValueError(f"weights must have a last axis of positions, got shape {weights.shape}")
    if positions is None:
        gaps = jnp.ones(weights.shape[-1:])
    else:
        checks.floating(positions=positions)
        checks.shape(weights.shape[-1:], positions=positions)
        order = jnp.argsort(positions)
        weights, others, positions = weights[..., order], others[..., order], widened(positions)[order]
        gaps = jnp.append(jnp.diff(positions), 0)
    bad = jnp.any((weights < 0) | (others < 0), axis=-1)
    # One sum of differences: two running sums would each round.
    apart = jnp.cumsum(_share(weights) - _share(others), axis=-1)
    work = jnp.sum((jnp.abs(apart) * gaps.reshape((1,) * (apart.ndim - 1) + gaps.shape))[..., :-1], axis=-1)
    return jnp.where(bad | jnp.isnan(apart[..., -1]), jnp.nan, work)


def _share(weights: Array) -> Array:
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


@Metric
def mode_coverage(*, radius: float, num_modes: int | None = None) -> Parts:
    """Share of the modes of the data that the generated examples reach: 1 less the modes that were dropped.

    A mode is reached when it is the nearest of some example, and within the radius of it.

        metrics.mode_coverage(generated, centers, radius=3 * deviation)          # a ring of Gaussians
        answers = jax.nn.one_hot(classifier_logits.argmax(-1), 10)               # classes of images
        metrics.mode_coverage(answers, jnp.eye(10), radius=0.5)

    Args:
      samples: generated examples, float [N, D].
      centers: of the modes, float [K, D].
      where: bool [N], which examples count, or None for all.
      radius: what is further from a center is between the modes; positive, in the unit of the samples.
      num_modes: K, needed for `zero` alone.

    Returns:
      float32[] in [0, 1]; 0 when nothing counts.

    Raises:
      TypeError: samples or centers are not floating point, or where is not bool.
      ValueError: they are not [N, D] and [K, D], K is not num_modes, or a setting is wrong.

    Source: Srivastava et al., "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning", 2017,
    section 4.1, with a radius of three standard deviations.
    """
    checks.positive(radius=radius)

    def measure(samples: Array, centers: Array, where: Array | None) -> Array:
        checks.floating(samples=samples, centers=centers)
        checks.rank(2, samples=samples, centers=centers)
        checks.shape((num_modes, np.shape(samples)[1]), centers=centers)
        squares = squared_distances(samples, centers)
        near = (jnp.min(squares, axis=1) <= radius**2) & counted(np.shape(samples)[:1], where)
        nearest = jnp.argmin(squares, axis=1)
        return jnp.zeros(np.shape(centers)[0], jnp.int32).at[nearest].add(near.astype(jnp.int32))

    def zero() -> Array:
        return jnp.zeros(needed("mode_coverage", num_modes=num_modes), jnp.int32)

    return Parts(zero, measure, lambda counts: jnp.mean(counts > 0))


def squared_distances(samples: Array, centers: Array) -> Array:
    """|x_n - c_k|^2, float [N, K]; by differences, as |x|^2 - 2 x c + |c|^2 cancels far from 0."""
    apart = widened(samples)[:, None] - widened(centers)[None]
    return jnp.sum(jnp.square(apart), axis=-1)


@Metric
def discriminator_accuracy() -> Parts:
    """Share of real and generated examples that the discriminator tells for what they are.

    (sum [real logit > 0] + sum [fake logit < 0]) / (N + M), a logit of 0 counting one half

    Near 1 the generator deceives nobody, near 0.5 the discriminator can tell no longer, as at the optimum D = 1/2.

    Args:
      real_logits: float [N] or [N, 1].
      fake_logits: float [M] or [M, 1].
      where: bool [N] for both, a pair of bool [N] and bool [M], or None for all.

    Returns:
      float32[] in [0, 1]; NaN when nothing counts. A NaN logit is a miss.

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: logits are not [N] or [N, 1].
    """

    def halves(logits: Array, chosen: Array) -> Array:
        """Half points of logits that should be positive."""
        return jnp.sum(jnp.where(chosen, 2 * (logits > 0) + (logits == 0), 0), dtype=jnp.int32)

    def measure(real_logits: Array, fake_logits: Array, where: Masks) -> Mean:
        real, fake = judgements(real_logits=real_logits), judgements(fake_logits=fake_logits)
        chosen = _both(where, real, fake)
        points = halves(real, chosen[0]) + halves(-fake, chosen[1])
        return Mean(points, 2 * (count(chosen[0]) + count(chosen[1])))

    return Parts(no_hits, measure, Mean.value)


def judgements(**logits: Any) -> Array:
    """The one array, checked to be float [N] or [N, 1], as [N]."""
    ((name, x),) = logits.items()
    checks.floating(**logits)
    shape = np.shape(x)
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(f"{name} must have shape (N,) or (N, 1), got {shape}")
    return widened(x).reshape(-1)


@Metric
def vote_rate() -> Parts:
    """Share of votes "real" that people gave to generated examples: how often they are fooled.

    (1/N) sum_n v_n, with the standard error sqrt(rate (1 - rate) / N) where the votes are independent

    Who is shown one real and one generated example and cannot tell them apart gives 0.5.

    Args:
      votes: bool [...] or int [...] of 0 and 1; True for "real".
      where: bool [...], which votes count, or None for all.

    Returns:
      float32[] in [0, 1]; NaN when nothing counts or a vote is not 0 or 1.

    Raises:
      TypeError: votes are real numbers, or where is not bool.
      ValueError: where has another shape.
    """

    def measure(votes: Array, where: Array | None) -> Mean:
        votes = jnp.asarray(votes)
        if votes.dtype != bool:
            checks.integer(votes=votes)
        chosen = counted(votes.shape, where)
        possible = jnp.all((votes == 0) | (votes == 1) | ~chosen)
        total = count((votes == 1) & chosen)
        return Mean(jnp.where(possible, total, jnp.nan), count(chosen))

    return Parts(no_values, measure, Mean.value)
