"""What adversarial nets are asked for besides looking real: a cycle, an identity, a target, a class, a code.

B is the batch. Outputs come first, targets second; one value for each example. Half precision is computed and
returned in float32. `where` is bool [B]; masked losses and their gradients are 0.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.classification import (
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from jaxdl.losses.masking import examplewise, mean_per_example, together, widened
from jaxdl.losses.regression import gaussian_nll
from jaxdl.types import Array


def _mean_absolute(where: Array | None, **arrays: Array) -> Array:
    outputs, targets = together(**arrays)
    if outputs.ndim < 2:
        raise ValueError(f"{next(iter(arrays))} must have a batch axis and others, got shape {outputs.shape}")
    return examplewise(
        lambda x, y: mean_per_example(jnp.abs(x - y)), outputs, targets, where=where, shape=outputs.shape[:1]
    )


def cycle_consistency(reconstructions: Array, images: Array, where: Array | None = None) -> Array:
    """Mean absolute difference between an image and its return from the other domain.

    l = mean |F(G(x)) - x|. Called once for the way forth and back, once for the way back and forth.

    Args:
      reconstructions: F(G(x)), float [B, ...].
      images: x, [B, ...].
      where: bool [B], or None for all.

    Returns:
      float [B], in the images' unit.

    Raises:
      TypeError: reconstructions are not floating point, or where is not bool.
      ValueError: the shapes differ, or there is nothing besides a batch axis.

    Source: Zhu, Park, Isola and Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
    Networks", 2017, equation 2; the mean instead of the sum over pixels, as in the authors' code.
    """
    return _mean_absolute(where, reconstructions=reconstructions, images=images)


def identity_mapping(outputs: Array, images: Array, where: Array | None = None) -> Array:
    """Mean absolute change by a generator of an image that is in its target domain already.

    l = mean |G(y) - y|; keeps colours as they are.

    Args:
      outputs: G(y), float [B, ...].
      images: y, [B, ...].
      where: bool [B], or None for all.

    Returns:
      float [B], in the images' unit.

    Raises:
      TypeError: outputs are not floating point, or where is not bool.
      ValueError: the shapes differ, or there is nothing besides a batch axis.

    Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", 2017,
    section 5.2.
    """
    return _mean_absolute(where, outputs=outputs, images=images)


def cycle_gan_generator(
    fake_scores: tuple[Array, Array],
    reconstructions: tuple[Array, Array],
    images: tuple[Array, Array],
    identities: tuple[Array, Array] | None = None,
    where: Array | None = None,
    *,
    cycle_weight: float = 10.0,
    identity_weight: float = 5.0,
) -> Array:
    """What both generators of a cycle minimise together, for the two domains x and y.

    l = (D_y(G(x)) - 1)^2 + (D_x(F(y)) - 1)^2 + cycle_weight (mean |F(G(x)) - x| + mean |G(F(y)) - y|)
        + identity_weight (mean |F(x) - x| + mean |G(y) - y|)

    Args:
      fake_scores: (D_y(G(x)), D_x(F(y))), float [B, ...], averaged over patches.
      reconstructions: (F(G(x)), G(F(y))), float [B, ...].
      images: (x, y), [B, ...].
      identities: (F(x), G(y)), float [B, ...], or None to leave that part out.
      where: bool [B], or None for all.
      cycle_weight: at least 0.
      identity_weight: at least 0; half the cycle's in the source.

    Returns:
      float [B]; the i-th of x and the i-th of y, unpaired as they are, share a value.

    Raises:
      TypeError: an array is not floating point, or where is not bool.
      ValueError: shapes or batch sizes differ, or a weight is negative.

    Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", 2017,
    equations 3 and 2, section 5.2 and, for the squares, section 4.
    """
    checks.non_negative(cycle_weight=cycle_weight, identity_weight=identity_weight)
    checks.floating(fake_scores=fake_scores[0], fake_scores_of_x=fake_scores[1])
    checks.same_leading(
        fake_scores=fake_scores[0], fake_scores_of_x=fake_scores[1], images=images[0], y=images[1]
    )

    def of(scores: Array) -> Array:
        return examplewise(
            lambda s: mean_per_example(jnp.square(s - 1)),
            widened(scores),
            where=where,
            shape=scores.shape[:1],
        )

    total = of(fake_scores[0]) + of(fake_scores[1])
    for returned, image in zip(reconstructions, images):
        total += cycle_weight * cycle_consistency(returned, image, where)
    for kept, image in zip(identities or (), images):
        total += identity_weight * identity_mapping(kept, image, where)
    return total


def adversarial_reconstruction(
    outputs: Array, targets: Array, fake_logits: Array, where: Array | None = None, *, weight: float = 1e-3
) -> Array:
    """Mean squared error of an image, plus a share of the cross-entropy of passing it off as real.

    l = mean (p - t)^2 - weight log D(p)

    Args:
      outputs: p, float [B, ...].
      targets: t, [B, ...].
      fake_logits: logits of D on the outputs, float [B, ...], averaged over patches.
      where: bool [B], or None for all.
      weight: of the adversarial part, at least 0.

    Returns:
      float [B]: the square of the targets' unit, plus weighted nats.

    Raises:
      TypeError: outputs or logits are not floating point, or where is not bool.
      ValueError: shapes or batch sizes differ, or the weight is negative.

    Source: Pathak et al., "Context Encoders", 2016, equation 3; Ledig et al., "Photo-Realistic Single Image
    Super-Resolution Using a Generative Adversarial Network", 2017, equation 3 (weight 0.001).
    """
    p, t = together(outputs=outputs, targets=targets)
    checks.floating(fake_logits=fake_logits)
    checks.non_negative(weight=weight)
    if p.ndim < 2:
        raise ValueError(f"outputs must have a batch axis and others, got shape {p.shape}")
    checks.same_leading(fake_logits=fake_logits, outputs=p)

    def formula(p: Array, t: Array, x: Array) -> Array:
        return mean_per_example(jnp.square(p - t)) + weight * mean_per_example(jax.nn.softplus(-x))

    return examplewise(formula, p, t, widened(fake_logits), where=where, shape=p.shape[:1])


def auxiliary_classifier(
    source_logits: Array,
    class_logits: Array,
    sources: Array,
    labels: Array,
    where: Array | None = None,
    *,
    class_weight: float = 1.0,
) -> Array:
    """Cross-entropy of where a sample comes from, plus that of its class.

    l = CE(real or generated) + class_weight CE(class)

    The discriminator minimises it on data (sources 1) and on samples (sources 0), the generator on its samples
    with sources 1: both want the class to be seen.

    Args:
      source_logits: float [B].
      class_logits: float [B, K].
      sources: what to say of the source, 1 or 0 or a probability, float, int or bool [B].
      labels: int [B], in [0, K).
      where: bool [B], or None for all.
      class_weight: at least 0.

    Returns:
      Nats, float [B]. NaN where a source is outside [0, 1] or a label outside [0, K).

    Raises:
      TypeError: logits are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not fit, or the weight is negative.

    Source: Odena, Olah and Shlens, "Conditional Image Synthesis with Auxiliary Classifier GANs", 2017,
    equations 2 and 3.
    """
    checks.non_negative(class_weight=class_weight)
    checks.same_shape(source_logits=source_logits, labels=labels)
    source = sigmoid_binary_cross_entropy(source_logits, sources, where)
    return source + class_weight * softmax_cross_entropy_with_integer_labels(class_logits, labels, where)


def mutual_information(
    category_logits: Array,
    categories: Array,
    means: Array,
    codes: Array,
    log_variance: Array | None = None,
    where: Array | None = None,
) -> Array:
    """Negative log-likelihood of the codes a sample was made from, as a recogniser reads them off the sample.

    l = -log Q(category | x) + sum_i (log v_i + (c_i - m_i)^2 / v_i + log(2 pi)) / 2

    The entropy of the codes less its mean is a lower bound of the mutual information between codes and samples;
    generator and recogniser minimise it together.

    Args:
      category_logits: float [B, K].
      categories: int [B], in [0, K).
      means: m of the continuous codes, float [B, D]; D may be 0.
      codes: c, [B, D].
      log_variance: log v, float [B, D], or None for a variance of 1.
      where: bool [B], or None for all.

    Returns:
      Nats, float [B]. NaN where a category is outside [0, K).

    Raises:
      TypeError: logits, means or log_variance are not floating point, categories are not integers, or where is
        not bool.
      ValueError: the shapes do not fit.

    Source: Chen et al., "InfoGAN", 2016, equation 5.
    """
    m, c = together(means=means, codes=codes)
    checks.rank(2, means=m)
    checks.same_leading(means=m, category_logits=category_logits)
    log_v = jnp.zeros_like(m) if log_variance is None else widened(log_variance)
    checks.floating(log_variance=log_v)
    checks.same_shape(means=m, log_variance=log_v)

    def continuous(m: Array, c: Array, log_v: Array) -> Array:
        return jnp.sum(gaussian_nll(m, c, log_v, full=True), axis=-1)

    category = softmax_cross_entropy_with_integer_labels(category_logits, categories, where)
    return category + examplewise(continuous, m, c, log_v, where=where, shape=m.shape[:1])
