"""Latent codes: what they cost in nats, what is lost through them, and codebooks.

B is any batch shape, D the size of a code. Half precision is computed and returned in float32. `where` is bool of the
result's shape; masked losses and their gradients are 0.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.classification import sigmoid_binary_cross_entropy
from jaxdl.losses.masking import elementwise, examplewise, poisoned, probable, together, widened
from jaxdl.types import Array


def gaussian_kl(mean: Array, log_variance: Array, where: Array | None = None) -> Array:
    """Divergence of a diagonal normal distribution from the standard one: what a code costs.

    l = sum_i (m_i^2 + v_i - log v_i - 1) / 2

    Args:
      mean: m, float [..., D].
      log_variance: log v, float [..., D]; above 88 the variance overflows in float32, and so does the loss.
      where: bool [...], or None for all.

    Returns:
      Nats, float [...], at least 0; 0 for m = 0, v = 1.

    Raises:
      TypeError: mean or log_variance are not floating point, or where is not bool.
      ValueError: the shapes differ, or there is no last axis.

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, appendix B.
    """
    checks.floating(log_variance=log_variance)
    arrays = together(mean=mean, log_variance=log_variance)
    if arrays[0].ndim < 1:
        raise ValueError("mean must have a last axis, got shape ()")

    def formula(m: Array, log_v: Array) -> Array:
        # expm1: v - log v - 1 near v = 1 is the difference of almost equal numbers.
        return 0.5 * jnp.sum(jnp.square(m) + (jnp.expm1(log_v) - log_v), axis=-1)

    return examplewise(formula, *arrays, where=where, shape=arrays[0].shape[:-1])


def bernoulli_kl(probabilities: Array, targets: Array | float, where: Array | None = None) -> Array:
    """Divergence of how often a unit is active from how often it should be: sparsity.

    l = r log(r / p) + (1 - r) log((1 - r) / (1 - p)), with 0 log 0 = 0

    Each logarithm of p is taken of at least the smallest normal number of its dtype, so a unit that is never
    active costs at most r 87.3 nats, and at that floor its gradient is 0.

    Args:
      probabilities: p in [0, 1], usually the mean activation of each sigmoid unit over the batch, float [...].
      targets: r in [0, 1], real numbers [...], or one number for all.
      where: bool [...], or None for all.

    Returns:
      Nats, float [...]. NaN where p or r is outside [0, 1].

    Raises:
      TypeError: probabilities are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Ng, "Sparse autoencoder", CS294A lecture notes, 2011, section 3.
    """
    given = jnp.asarray(targets)
    if given.ndim == 0:
        given = jnp.broadcast_to(given, jnp.shape(probabilities))
    p, r = together(probabilities=probabilities, targets=given)
    floor = float(jnp.finfo(jnp.asarray(probabilities).dtype).tiny)

    def formula(p: Array, r: Array) -> Array:
        entropy = jax.scipy.special.entr(jnp.clip(r, 0, 1)) + jax.scipy.special.entr(jnp.clip(1 - r, 0, 1))
        cross = -r * jnp.log(jnp.maximum(p, floor)) - (1 - r) * jnp.log(jnp.maximum(1 - p, floor))
        return poisoned(cross - entropy, probable(p, probabilities) & probable(r, given))

    return elementwise(formula, p, r, where)


def reconstruction(
    predictions: Array, targets: Array, where: Array | None = None, *, kind: str = "squared_error"
) -> Array:
    """What an autoencoder loses of an example, summed over all that it consists of.

    "squared_error": l = |p - t|^2, for real values. "sigmoid_cross_entropy": l = sum of
    `sigmoid_binary_cross_entropy(p, t)` from logits p, for values in [0, 1]: nats, as `elbo` wants them.

    Args:
      predictions: p, values or logits, float [B, ...].
      targets: t, [B, ...]; the clean ones, where the inputs are noisy.
      where: bool [B], or [B, ...] to leave single values out, or None for all.
      kind: one of the two.

    Returns:
      float [B], in the square of the targets' unit, or nats. NaN where cross-entropy meets a target outside
      [0, 1].

    Raises:
      TypeError: predictions are not floating point, or where is not bool.
      ValueError: the shapes differ, there is no batch axis, or the kind is neither.
    """
    checks.one_of(("squared_error", "sigmoid_cross_entropy"), kind=kind)
    p, t = together(predictions=predictions, targets=targets)
    if p.ndim < 1:
        raise ValueError("predictions must have a batch axis, got shape ()")
    values = None
    if where is not None and jnp.shape(where) == p.shape:
        values, where = where, None

    def formula(p: Array, t: Array) -> Array:
        if kind == "squared_error":
            loss = elementwise(lambda p, t: jnp.square(p - t), p, t, values)
        else:
            loss = sigmoid_binary_cross_entropy(p, t, values)
        return jnp.sum(loss, axis=tuple(range(1, p.ndim)))

    return examplewise(formula, p, t, where=where, shape=p.shape[:1])


def elbo(
    reconstruction_nats: Array,
    mean: Array,
    log_variance: Array,
    where: Array | None = None,
    *,
    beta: float = 1.0,
) -> Array:
    """The negative of the lower bound of the log-likelihood, to be minimised.

    l = -log p(x | z) + beta KL(N(mean, variance) || N(0, 1))

    Args:
      reconstruction_nats: -log p(x | z), summed over x (`reconstruction`), float [...].
      mean: of the code, float [..., D].
      log_variance: of the code, float [..., D].
      where: bool [...], or None for all.
      beta: at least 0; above 1 the code is cheaper and, it is hoped, more orderly. A bound for beta >= 1.

    Returns:
      Nats, float [...].

    Raises:
      TypeError: an array is not floating point, or where is not bool.
      ValueError: the shapes do not fit, or beta is negative.

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, equation 10; Higgins et al.,
    "beta-VAE", 2017, equation 4.
    """
    checks.floating(reconstruction_nats=reconstruction_nats)
    checks.non_negative(beta=beta)
    divergence = gaussian_kl(mean, log_variance, where)
    checks.same_shape(mean_without_its_last_axis=divergence, reconstruction_nats=reconstruction_nats)
    nats = examplewise(lambda x: x, widened(reconstruction_nats), where=where, shape=divergence.shape)
    return nats + beta * divergence


def vector_quantization(
    encoded: Array, quantized: Array, where: Array | None = None, *, commitment: float = 0.25
) -> Array:
    """Moves a codebook's vector towards what was encoded, and the encoder, more slowly, towards the vector.

    l = |sg(z) - e|^2 + commitment |z - sg(e)|^2, where sg stops the gradient

    The reconstruction's gradient passes straight through in the model: z + sg(e - z).

    Args:
      encoded: z, float [..., D].
      quantized: e, the nearest vector of the codebook, float [..., D].
      where: bool [...], or None for all.
      commitment: at least 0.

    Returns:
      float [...].

    Raises:
      TypeError: an array is not floating point, or where is not bool.
      ValueError: the shapes differ, there is no last axis, or the commitment is negative.

    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural Discrete Representation Learning", 2017, equation 3.
    """
    checks.floating(quantized=quantized)
    z, e = together(encoded=encoded, quantized=quantized)
    checks.non_negative(commitment=commitment)
    if z.ndim < 1:
        raise ValueError("encoded must have a last axis, got shape ()")
    still = jax.lax.stop_gradient

    def formula(z: Array, e: Array) -> Array:
        return jnp.sum(jnp.square(still(z) - e) + commitment * jnp.square(z - still(e)), axis=-1)

    return examplewise(formula, z, e, where=where, shape=z.shape[:-1])


def free_energy_difference(data_energies: Array, model_energies: Array, where: Array | None = None) -> Array:
    """How much higher an energy model puts the data than its own samples.

    l = F(x) - F(x'). With x' drawn from the model and held fixed (`jax.lax.stop_gradient`), the gradient of the
    mean is that of the negative log-likelihood; with x' from k Gibbs steps, contrastive divergence.

    Args:
      data_energies: F(x), float [...].
      model_energies: F(x'), float [...].
      where: bool [...], or None for all.

    Returns:
      float [...], in nats for energies of a distribution exp(-F); no bound, and no measure of progress.

    Raises:
      TypeError: energies are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", 2002, equation 5.
    """
    checks.floating(model_energies=model_energies)
    data, model = together(data_energies=data_energies, model_energies=model_energies)
    return elementwise(jnp.subtract, data, model, where)
