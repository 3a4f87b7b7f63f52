"""Entropy in bits, what a split of the data gains, and what the features of a tree or of a model are worth.

K classes, V subsets, M nodes of a tree, F features. These are functions of distributions and tables of counts; the
tables of several batches add up.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.masking import poisoned, widened
from jaxdl.types import Array


def _bits(p: Array) -> Array:
    """-p log2 p, 0 at 0; NaN outside [0, 1], where p is no probability."""
    inside = (p > 0) & (p <= 1)
    safe = jnp.where(inside, p, 1)
    return poisoned(-safe * jnp.log2(safe), inside | (p == 0))


def entropy(probabilities: Array) -> Array:
    """Expected number of bits that it takes to learn which case is so.

    H = sum_k p_k log2(1 / p_k), 0 log 0 = 0

        metrics.entropy(jnp.array([0.5, 0.5]))            # 1, a fair coin

    Of counts: `entropy(counts / counts.sum())`.

    Args:
      probabilities: float [..., K], each in [0, 1], with sum 1 over the last axis.

    Returns:
      Bits, float [...], in [0, log2 K]; times log 2 in nats. NaN where a number is outside [0, 1]; the sum is not
      checked.

    Raises:
      TypeError: probabilities are not floating point.
      ValueError: there is no axis.

    Source: Shannon, "A Mathematical Theory of Communication", 1948, section 6.
    """
    return jnp.sum(_bits(_distribution(probabilities)), axis=-1)


def _distribution(probabilities: Array) -> Array:
    checks.floating(probabilities=probabilities)
    if np.ndim(probabilities) < 1:
        raise ValueError("probabilities must have a last axis of cases, got shape ()")
    return widened(probabilities)


def boolean_entropy(probability: Array) -> Array:
    """Entropy of a yes or no.

    B(q) = -(q log2 q + (1 - q) log2(1 - q))

    Of p examples of one kind and n of the other it is B(p / (p + n)). For more than two cases take `entropy`.

    Args:
      probability: q, float [...], in [0, 1].

    Returns:
      Bits, float [...], in [0, 1]; NaN outside [0, 1].

    Raises:
      TypeError: probability is not floating point.
    """
    checks.floating(probability=probability)
    q = widened(probability)
    return _bits(q) + _bits(1 - q)


def gini_impurity(probabilities: Array) -> Array:
    """Chance that two draws from a distribution differ.

    1 - sum_k p_k^2

    As a measure of impurity it is cheaper than `entropy`, and mostly picks the same splits.

    Args:
      probabilities: float [..., K], each in [0, 1], with sum 1 over the last axis.

    Returns:
      float [...], in [0, 1 - 1 / K]; NaN where a number is outside [0, 1].

    Raises:
      TypeError: probabilities are not floating point.
      ValueError: there is no axis.

    Source: Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984, section 4.3.
    """
    p = _distribution(probabilities)
    return poisoned(1 - jnp.sum(jnp.square(p), axis=-1), jnp.all((p >= 0) & (p <= 1), axis=-1))


def _shares(counts: Array) -> tuple[Array, Array]:
    """Shares of the classes in each subset, 0 where it is empty, and sizes of the subsets."""
    shape = np.shape(counts)
    if len(shape) < 2:
        raise ValueError(f"counts must have shape [..., V, K], got {shape}")
    counts = jnp.asarray(counts)
    if not jnp.issubdtype(counts.dtype, jnp.floating):
        checks.integer(counts=counts)
    counts = counts.astype(jnp.promote_types(counts.dtype, jnp.float32))
    counts = poisoned(counts, counts >= 0)
    sizes = jnp.sum(counts, axis=-1)
    return counts / jnp.where(sizes == 0, 1, sizes)[..., None], sizes


def split_entropy(counts: Array) -> Array:
    """Entropy of the class that is left once it is known in which subset an example is.

    sum_v (n_v / n) H(n_v1 / n_v, ..., n_vK / n_v)

    Args:
      counts: examples of each class in each subset, numbers of at least 0, [..., V, K]; a table of V values of a
        feature.

    Returns:
      Bits, float [...]; an empty subset weighs nothing. NaN where all are empty, or a count is negative.

    Raises:
      TypeError: counts are not real numbers.
      ValueError: counts have fewer than two axes.
    """
    shares, sizes = _shares(counts)
    total = jnp.sum(sizes, axis=-1, keepdims=True)
    return jnp.sum(sizes / total * entropy(shares), axis=-1)


def information_gain(counts: Array) -> Array:
    """Bits that the subset of an example tells about its class; a tree splits first on the feature that tells most.

    H(n_1 / n, ..., n_K / n) - `split_entropy`, n_k over all subsets

    It is the mutual information of subset and class, and favours features of many values.

    Args, Raises: as for `split_entropy`.

    Returns:
      Bits, float [...], at least 0 up to rounding. NaN where all subsets are empty, or a count is negative.

    Source: Quinlan, "Induction of Decision Trees", 1986, section 4.
    """
    shares, sizes = _shares(jnp.sum(jnp.asarray(counts), axis=-2, keepdims=True))
    before = jnp.where(sizes[..., 0] > 0, entropy(shares)[..., 0], jnp.nan)
    return before - split_entropy(counts)


def feature_importance(features: Array, decreases: Array, samples: Array, *, num_features: int) -> Array:
    """Share of each feature in what a tree's splits take off the impurity.

    I_f = sum over nodes m that split on f of n_m d_m, divided by the sum over all f

    with d_m = i_m - (n_left i_left + n_right i_right) / n_m the decrease of `gini_impurity` or `entropy`, for
    the latter the `information_gain` of the split. For a model that is no tree, or to see what its predictions owe to
    a feature, take `permutation_importance`.

    Args:
      features: which one each node splits on, int [M], negative for a leaf.
      decreases: d, float [M]; ignored at leaves.
      samples: n, how many examples reach each node, numbers [M].
      num_features: F, at least 1.

    Returns:
      float [F], with sum 1; all 0 of a tree that does not split. NaN when a feature is F or above.

    Raises:
      TypeError: features are not integers, or decreases are not floating point.
      ValueError: the shapes differ, are not [M], or num_features is below 1.

    Source: Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984, section 5.3.4.
    """
    checks.at_least(1, num_features=num_features)
    checks.integer(features=features)
    checks.floating(decreases=decreases)
    checks.rank(1, features=features)
    checks.same_shape(features=features, decreases=decreases, samples=samples)
    features, decreases = jnp.asarray(features), widened(decreases)
    worth = jnp.where(features >= 0, decreases * jnp.asarray(samples).astype(decreases.dtype), 0)
    # One place past the end takes the leaves.
    sums = (
        jnp.zeros(num_features + 1, worth.dtype)
        .at[jnp.where(features >= 0, features, num_features)]
        .add(worth)
    )
    sums = poisoned(sums[:num_features], ~jnp.any(features >= num_features))
    total = jnp.sum(sums)
    return sums / jnp.where(total == 0, 1, total)


def permutation_importance(
    key: Array,
    score: Callable[[Array, Array], Array],
    inputs: Array,
    targets: Any,
    *,
    num_repeats: int = 5,
) -> Array:
    """What a model's score loses when the values of one feature are dealt to other examples.

    I_f = score(x, y) - mean_r score(x with column f permuted, y)

        score = lambda x, y: metrics.accuracy(model.apply(variables, x, train=False), y)
        metrics.permutation_importance(key, score, test_inputs, test_labels)

    Of two features that say the same, each seems to be worth little. For the splits of a tree see
    `feature_importance`.

    Args:
      key: for the permutations.
      score: `(inputs, targets) -> float[]`, larger is better; traceable.
      inputs: numbers [N, F].
      targets: any arrays, passed on.
      num_repeats: permutations of each feature, at least 1.

    Returns:
      float32 [F], in the unit of the score; about 0 for a feature that is not used.

    Raises:
      ValueError: inputs are not [N, F], or num_repeats is below 1.

    Source: Breiman, "Random Forests", 2001, section 10, there with the examples out of bag.
    """
    checks.rank(2, inputs=inputs)
    checks.at_least(1, num_repeats=num_repeats)
    inputs = jnp.asarray(inputs)
    num_features = inputs.shape[1]

    def permuted(run: tuple[Array, Array]) -> Array:
        feature, key = run
        column = jax.random.permutation(key, jnp.take(inputs, feature, axis=1))
        return score(inputs.at[:, feature].set(column), targets)

    features = jnp.repeat(jnp.arange(num_features), num_repeats)
    keys = jax.random.split(key, len(features))
    # One after the other: all together would hold as many copies of the data.
    scores = jax.lax.map(permuted, (features, keys))
    return score(inputs, targets) - jnp.mean(scores.reshape(num_features, num_repeats), axis=1)
