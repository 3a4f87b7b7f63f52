"""The two sides of adversarial training: critics and discriminators of real and generated data, and generators.

Each loss is to be minimised by its own side, whatever the sign of the value that the source gives. Logits and
scores may have any shape: one for each example [B], or for each patch [B, H, W, 1]; the result is unreduced. A
discriminator's logit is log D - log(1 - D). Half precision is computed and returned in float32. `where` is bool
of the result's shape; masked losses and their gradients are 0.

A discriminator's losses on real and on generated data are put together in one of three ways, `combine`:
- "sum": real + fake, the negative of the minimax value;
- "mean": half of that, as least-squares and many other listings have it;
- "mixed": both one after the other along the first axis, as one batch of 2B, so that its mean is the "mean"
  where both have one size; they need not.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import examplewise, widened
from jaxdl.types import Array


def _both(
    on_real: Callable[[Array], Array],
    on_fake: Callable[[Array], Array],
    combine: str,
    where: Array | None,
    **scores: Array,
) -> Array:
    """A discriminator's loss: one formula for what is real, one for what is not, together as `combine` says."""
    checks.floating(**scores)
    checks.one_of(("sum", "mean", "mixed"), combine=combine)
    if combine != "mixed":
        checks.same_shape(**scores)
    real, fake = map(widened, scores.values())
    if combine != "mixed":
        share = 1.0 if combine == "sum" else 0.5
        return examplewise(
            lambda r, f: share * (on_real(r) + on_fake(f)), real, fake, where=where, shape=real.shape
        )
    (name, other), ndim = scores, max(real.ndim, 1)
    checks.rank(ndim, **scores)
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"{name} and {other} may differ in the first axis only, got {real.shape} and {fake.shape}"
        )
    is_real = jnp.arange(len(real) + len(fake)) < len(real)
    both = jnp.concatenate([real, fake])
    is_real = jnp.broadcast_to(is_real.reshape(-1, *(1,) * (ndim - 1)), both.shape)
    return examplewise(
        lambda x, real: jnp.where(real, on_real(x), on_fake(x)), both, is_real, where=where, shape=both.shape
    )


def _one(formula: Callable[[Array], Array], where: Array | None, **scores: Array) -> Array:
    """A generator's loss: a formula of what the other side says of its samples."""
    checks.floating(**scores)
    (x,) = map(widened, scores.values())
    return examplewise(formula, x, where=where, shape=x.shape)


def minimax_discriminator(
    real_logits: Array, fake_logits: Array, where: Array | None = None, *, combine: str = "sum"
) -> Array:
    """Cross-entropy of telling real from generated: the negative of the game's value.

    l = -log D(x) - log(1 - D(G(z)));  2 log 2 = 1.386 where D = 1/2, the end of the game. The best D is
    p_data / (p_data + p_generated).

    Args:
      real_logits: logits of D on data, float [...].
      fake_logits: on generated samples, float [...].
      where: bool of the result's shape, or None for all.
      combine: "sum", "mean" or "mixed"; see the head of this module.

    Returns:
      Nats, float [...]; [2B, ...] when mixed.

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: the shapes differ, or combine is none of the three.

    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, equation 1.
    """
    return _both(
        lambda x: jax.nn.softplus(-x),
        jax.nn.softplus,
        combine,
        where,
        real_logits=real_logits,
        fake_logits=fake_logits,
    )


def minimax_generator(fake_logits: Array, where: Array | None = None) -> Array:
    """The generator's part of the game's value, to be minimised.

    l = log(1 - D(G(z))), at most 0. It saturates: where D is sure of a fake, the gradient vanishes. Training
    takes `non_saturating_generator`.

    Args:
      fake_logits: logits of D on generated samples, float [...].
      where: bool [...], or None for all.

    Returns:
      Nats, float [...].

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: where has another shape.

    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, equation 1.
    """
    return _one(lambda x: -jax.nn.softplus(x), where, fake_logits=fake_logits)


def non_saturating_generator(fake_logits: Array, where: Array | None = None) -> Array:
    """Cross-entropy of passing generated samples off as real: strong gradients where D is sure of a fake.

    l = -log D(G(z));  log 2 = 0.693 where D = 1/2

    Args:
      fake_logits: logits of D on generated samples, float [...].
      where: bool [...], or None for all.

    Returns:
      Nats, float [...].

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: where has another shape.

    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, section 3.
    """
    return _one(lambda x: jax.nn.softplus(-x), where, fake_logits=fake_logits)


def least_squares_discriminator(
    real_scores: Array, fake_scores: Array, where: Array | None = None, *, combine: str = "sum"
) -> Array:
    """Squared distance of scores from 1 on real and from 0 on generated data.

    l = (D(x) - 1)^2 + D(G(z))^2

    Args:
      real_scores: scores (not squashed) of D on data, float [...].
      fake_scores: on generated samples, float [...].
      where: bool of the result's shape, or None for all.
      combine: "sum", "mean" or "mixed"; see the head of this module.

    Returns:
      float [...]; [2B, ...] when mixed.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: the shapes differ, or combine is none of the three.

    Source: Mao et al., "Least Squares Generative Adversarial Networks", 2017, equation 9.
    Differs from the source, which takes half: combine="mean".
    """
    return _both(
        lambda x: jnp.square(x - 1),
        jnp.square,
        combine,
        where,
        real_scores=real_scores,
        fake_scores=fake_scores,
    )


def least_squares_generator(fake_scores: Array, where: Array | None = None) -> Array:
    """Squared distance of the scores of generated samples from those of real ones.

    l = (D(G(z)) - 1)^2

    Args:
      fake_scores: scores of D on generated samples, float [...].
      where: bool [...], or None for all.

    Returns:
      float [...].

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: where has another shape.

    Source: Mao et al., "Least Squares Generative Adversarial Networks", 2017, equation 9, without its half.
    """
    return _one(lambda x: jnp.square(x - 1), where, fake_scores=fake_scores)


def wasserstein_critic(
    real_scores: Array, fake_scores: Array, where: Array | None = None, *, combine: str = "sum"
) -> Array:
    """How much higher a critic scores generated than real data.

    l = D(G(z)) - D(x). The negative of its mean is the critic's estimate of the earth mover's distance, up to
    its Lipschitz constant, which weight clipping or `gradient_penalty` must bound.

    Args:
      real_scores: scores of D on data, float [...].
      fake_scores: on generated samples, float [...].
      where: bool of the result's shape, or None for all.
      combine: "sum", "mean" or "mixed"; see the head of this module.

    Returns:
      float [...], in the scores' unit; [2B, ...] when mixed.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: the shapes differ, or combine is none of the three.

    Source: Arjovsky, Chintala and Bottou, "Wasserstein Generative Adversarial Networks", 2017, equation 3.
    """
    return _both(jnp.negative, lambda x: x, combine, where, real_scores=real_scores, fake_scores=fake_scores)


def wasserstein_generator(fake_scores: Array, where: Array | None = None) -> Array:
    """The negative of a critic's score of generated samples.

    l = -D(G(z))

    Args:
      fake_scores: scores of D on generated samples, float [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in the scores' unit.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: where has another shape.

    Source: Arjovsky, Chintala and Bottou, "Wasserstein Generative Adversarial Networks", 2017, section 3.
    """
    return _one(jnp.negative, where, fake_scores=fake_scores)


def hinge_discriminator(
    real_scores: Array, fake_scores: Array, where: Array | None = None, *, combine: str = "sum"
) -> Array:
    """How far scores fall short of 1 on real and of -1 on generated data; easy samples send no gradient.

    l = max(0, 1 - D(x)) + max(0, 1 + D(G(z)))

    Args:
      real_scores: scores of D on data, float [...].
      fake_scores: on generated samples, float [...].
      where: bool of the result's shape, or None for all.
      combine: "sum", "mean" or "mixed"; see the head of this module.

    Returns:
      float [...], in margins; [2B, ...] when mixed.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: the shapes differ, or combine is none of the three.

    Source: Lim and Ye, "Geometric GAN", 2017; Miyato et al., "Spectral Normalization for Generative
    Adversarial Networks", 2018, equation 16.
    """
    return _both(
        lambda x: jnp.where(x >= 1, 0, 1 - x),
        lambda x: jnp.where(x <= -1, 0, 1 + x),
        combine,
        where,
        real_scores=real_scores,
        fake_scores=fake_scores,
    )


def hinge_generator(fake_scores: Array, where: Array | None = None) -> Array:
    """What a generator minimises against `hinge_discriminator`: `wasserstein_generator` under its own name.

    l = -D(G(z))

    Args:
      fake_scores: scores of D on generated samples, float [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in margins.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: where has another shape.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018, equation 17.
    """
    return wasserstein_generator(fake_scores, where)
