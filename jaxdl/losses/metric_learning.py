"""Losses on distances and similarities: alike close together, unlike far apart.

B is the batch, D the size of an embedding. Half-precision inputs are computed and returned in float32. `where` is
bool of the result's shape; masked losses and their gradients are 0, and a masked example is no rival to others.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.classification import softmax_cross_entropy_with_integer_labels
from jaxdl.losses.margins import sign
from jaxdl.losses.masking import (
    check_pair,
    check_where,
    elementwise,
    examplewise,
    length,
    poisoned,
    together,
    widened,
    without,
)
from jaxdl.types import Array


def contrastive(
    distances: Array, labels: Array, where: Array | None = None, *, margin: float = 1.0, squared: bool = True
) -> Array:
    """Pulls a matching pair together and pushes another pair apart up to a margin.

    Squared: l = (y d^2 + (1 - y) max(0, margin - d)^2) / 2.  Linear: l = (y d + (1 - y) max(0, margin - d)) / 2.

    The distance should have a finite gradient at 0: the square root of a sum of squares plus 1e-12, say.

    Args:
      distances: d, at least 0, float [...].
      labels: y, 1 for a matching pair, 0 for another, int, bool or float [...].
      where: bool [...], or None for all.
      margin: how far apart is far enough, in the unit of the distances; positive.
      squared: the published form, or the linear one.

    Returns:
      float [...]. NaN where the label is neither 0 nor 1, or the distance negative.

    Raises:
      TypeError: distances are not floating point, or where is not bool.
      ValueError: the shapes differ, or the margin is not positive.

    Source: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", 2006,
    equation 4.
    Differs from the source, where 0 is the label of a matching pair.
    """
    check_pair(distances=distances, labels=labels)
    checks.positive(margin=margin)

    def formula(d: Array, y: Array) -> Array:
        cost = jnp.where(y == 1, d, jnp.maximum(0, margin - d))
        return poisoned(0.5 * (jnp.square(cost) if squared else cost), ((y == 0) | (y == 1)) & (d >= 0))

    return elementwise(formula, distances, labels, where)


def triplet(
    anchors: Array,
    positives: Array,
    negatives: Array,
    *,
    where: Array | None = None,
    margin: float = 1.0,
    eps: float = 1e-6,
    squared: bool = False,
) -> Array:
    """How far an anchor is from being closer to its like than to its unlike by a margin.

    l = max(0, d(a, p) - d(a, n) + margin),  d(a, b) = sqrt(|a - b|^2 + eps), or |a - b|^2 when squared

    Args:
      anchors: a, float [..., D].
      positives: p, embeddings of the same thing, float [..., D].
      negatives: n, embeddings of another, float [..., D].
      where: bool [...], or None for all.
      margin: in the unit of the distance, its square when squared; positive.
      eps: makes the gradient of a distance of 0 finite; positive.
      squared: squared distances, as in the source (where the margin is 0.2 on the unit sphere).

    Returns:
      float [...].

    Raises:
      TypeError: an embedding is not floating point, or where is not bool.
      ValueError: the shapes differ, there is no last axis, or a setting is not positive.

    Source: Schroff, Kalenichenko and Philbin, "FaceNet: A Unified Embedding for Face Recognition and
    Clustering", 2015, equation 3 (squared=True).
    Differs from torch.nn.functional.triplet_margin_loss, which adds eps to each coordinate's difference.
    """
    checks.floating(positives=positives, negatives=negatives)
    arrays = together(anchors=anchors, positives=positives, negatives=negatives)
    checks.positive(margin=margin, eps=eps)
    if arrays[0].ndim < 1:
        raise ValueError("anchors must have a last axis of coordinates, got shape ()")

    def formula(a: Array, p: Array, n: Array) -> Array:
        near, far = jnp.sum(jnp.square(a - p), axis=-1), jnp.sum(jnp.square(a - n), axis=-1)
        if not squared:
            near, far = jnp.sqrt(near + eps), jnp.sqrt(far + eps)
        return jnp.maximum(0, near - far + margin)

    return examplewise(formula, *arrays, where=where, shape=arrays[0].shape[:-1])


def margin_ranking(
    first: Array, second: Array, targets: Array, where: Array | None = None, *, margin: float = 0.0
) -> Array:
    """How far the score that should be higher falls short of leading the other by a margin.

    l = max(0, -t (first - second) + margin)

    Args:
      first: scores, float [...].
      second: scores of their rivals, float [...].
      targets: t, 1 where the first should be higher, -1 where the second, float or int [...].
      where: bool [...], or None for all.
      margin: in the scores' unit, at least 0.

    Returns:
      float [...], in the scores' unit. NaN where the target is neither -1 nor 1.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: the shapes differ, or the margin is negative.
    """
    checks.floating(second=second)
    arrays = together(first=first, second=second, targets=targets)
    checks.non_negative(margin=margin)

    def formula(first: Array, second: Array, t: Array) -> Array:
        lead = sign(t) * (first - second) - margin
        return jnp.where(lead > 0, 0, -lead)

    return examplewise(formula, *arrays, where=where, shape=arrays[0].shape)


def _unit(x: Array) -> Array:
    """Vectors of length 1; zero stays zero, without a gradient."""
    size = length(x)[..., None]
    return x / jnp.where(size > 0, size, 1)


def nt_xent(
    embeddings: Array, labels: Array, temperature: float = 0.07, *, where: Array | None = None
) -> Array:
    """Cross-entropy of telling an example's like from all unlike ones in the batch, by cosine.

    With s_ij = cos(z_i, z_j) / temperature, over the others j of the same label:
    l_i = mean_j log(1 + sum_{k unlike i} exp(s_ik - s_ij))

    Two views of n images: embeddings [2n, D] with labels 0 .. n-1 twice. Where queries and keys come from two
    networks, take `info_nce`.

    Args:
      embeddings: z, of any length, float [B, D].
      labels: equal for alike examples, int [B].
      temperature: positive; small ones look at the nearest rivals only.
      where: bool [B], or None for all.

    Returns:
      Nats, float [B]; 0, which counts in a mean, for an example that has no like.

    Raises:
      TypeError: embeddings are not floating point, labels are not integers, or where is not bool.
      ValueError: embeddings are not [B, D], labels not [B], or the temperature is not positive.

    Source: Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual
    Representations", 2020, equation 1.
    Differs from optax.losses.ntxent, which returns the mean over all pairs of likes: the mean of ours where
    each example has as many. An embedding of zero has cosine 0 to all, there NaN in the gradient.
    """
    checks.floating(embeddings=embeddings)
    checks.integer(labels=labels)
    checks.rank(2, embeddings=embeddings)
    checks.shape((embeddings.shape[0],), labels=labels)
    checks.positive(temperature=temperature)
    z, labels = widened(embeddings), jnp.asarray(labels)
    present = jnp.ones(labels.shape, bool)
    if where is not None:
        check_where(where, labels.shape)
        z, present = without(where, z), jnp.asarray(where)
    unit = _unit(z)
    similarity = jnp.matmul(unit, unit.T, precision="highest") / temperature
    same = labels[:, None] == labels[None, :]
    both = present[:, None] & present[None, :]
    like = same & both & ~jnp.eye(len(labels), dtype=bool)
    # Logarithm of the sum over unlike ones; a batch of one label has none, and each of its losses is 0.
    unlike = jnp.where(~same & both, similarity, -jnp.inf)
    alone = ~jnp.any(~same & both, axis=-1)
    rivals = jax.nn.logsumexp(jnp.where(alone[:, None], 0, unlike), axis=-1)
    cost = jnp.where(like & ~alone[:, None], jax.nn.softplus(rivals[:, None] - similarity), 0)
    return jnp.sum(cost, axis=-1) / jnp.maximum(jnp.sum(like, axis=-1), 1)


def info_nce(queries: Array, keys: Array, where: Array | None = None, *, temperature: float = 0.07) -> Array:
    """Cross-entropy of finding each query's own key among all keys, by cosine.

    l_i = -log(exp(s_ii) / sum_j exp(s_ij)),  s_ij = cos(q_i, k_j) / temperature

    log N less its mean is a lower bound of the mutual information, at most log N. Half the sum with queries
    and keys exchanged is the symmetric loss of CLIP.

    Args:
      queries: float [B, D].
      keys: float [N, D], N at least B: the first B are the queries' own, in order, the rest (a queue, say)
        are everyone's rivals.
      where: bool [B], or None for all; the key of a masked query is no rival.
      temperature: positive.

    Returns:
      Nats, float [B]; log N where all keys are equally near.

    Raises:
      TypeError: queries or keys are not floating point, or where is not bool.
      ValueError: they are not matrices of one width, there are fewer keys than queries, or the temperature
        is not positive.

    Source: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018,
    equation 4; with the cosine, He et al., "Momentum Contrast", 2020, equation 1.
    """
    checks.floating(queries=queries, keys=keys)
    checks.rank(2, queries=queries, keys=keys)
    checks.positive(temperature=temperature)
    (size, width), (number, _) = jnp.shape(queries), jnp.shape(keys)
    checks.shape((None, width), keys=keys)
    if number < size:
        raise ValueError(f"keys must be at least as many as queries, got {number} and {size}")
    q, k = widened(queries), widened(keys)
    among = None
    if where is not None:
        check_where(where, (size,))
        kept = jnp.concatenate([where, jnp.ones(number - size, bool)])
        q, k = without(where, q), without(kept, k)
        among = kept[None, :] & where[:, None]  # a row that keeps no class has loss 0
    similarity = jnp.matmul(_unit(q), _unit(k).T, precision="highest") / temperature
    return softmax_cross_entropy_with_integer_labels(similarity, jnp.arange(size), among)
