"""Scores of single examples, larger for what is stranger, and the threshold above which one is an anomaly.

They are values of examples, not of sets, so they need no state; `roc_auc` and `average_precision` judge them where
anomalies are known.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.masking import widened
from jaxdl.metrics.distributions import judgements
from jaxdl.metrics.streaming import count, counted
from jaxdl.types import Array


def latent_distance(codes: Array, references: Array) -> Array:
    """Euclidean distance of each code from the one it should be near.

    d_n = |z_n - r_n|

        metrics.latent_distance(encode(decode(codes)), codes)         # what the decoder loses
        metrics.latent_distance(codes, normal_codes.mean(0))          # how far from the normal ones

    Args:
      codes: float [B, D].
      references: float [B, D], one for each; or [D], one for all.

    Returns:
      float [B], in the unit of the codes.

    Raises:
      TypeError: codes or references are not floating point.
      ValueError: codes are not [B, D], or references fit neither form.
    """
    checks.floating(codes=codes, references=references)
    checks.rank(2, codes=codes)
    shape = np.shape(codes)
    if np.shape(references) not in (shape, shape[1:]):
        raise ValueError(f"references must have shape {shape} or {shape[1:]}, got {np.shape(references)}")
    apart = widened(codes) - widened(references).reshape(-1, shape[1])
    return jnp.sqrt(jnp.sum(jnp.square(apart), axis=1))


def discriminator_anomaly_score(logits: Array) -> Array:
    """How unlike the real examples a discriminator, trained along with its generator on normal ones, finds each.

    -log D(x) = log(1 + exp(-logit))

    Args:
      logits: of the discriminator, float [B] or [B, 1].

    Returns:
      Nats, float [B], above 0; log 2 where it cannot tell. Finite for every finite logit.

    Raises:
      TypeError: logits are not floating point.
      ValueError: logits are not [B] or [B, 1].

    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, equation 1, for D.
    """
    return jax.nn.softplus(-judgements(logits=logits))


def anomaly_threshold(scores: Array, where: Array | None = None, *, false_alarm_rate: float = 0.05) -> Array:
    """Score above which an example is called an anomaly, from the scores of normal ones.

    The smallest of the scores that at most a share false_alarm_rate of them exceeds.

        threshold = metrics.anomaly_threshold(metrics.reconstruction_error(decoded, normal))
        strange = metrics.reconstruction_error(decoded_others, others) > threshold

    It is the exact quantile, so it needs all scores at once.

    Args:
      scores: of normal examples, float [N], other than those that the model was trained on.
      where: bool [N], which examples count, or None for all.
      false_alarm_rate: share of the normal examples that may be called anomalies, at least 0, below 1.

    Returns:
      float32[], one of the scores; NaN when nothing counts or a score is NaN.

    Raises:
      TypeError: scores are not floating point, or where is not bool.
      ValueError: scores are not [N], or the rate is out of range.

    Differs from numpy.quantile at 1 - false_alarm_rate, whose default interpolates between two scores and so can be
    exceeded by more.
    """
    checks.floating(scores=scores)
    checks.rank(1, scores=scores)
    checks.decay(false_alarm_rate=false_alarm_rate)
    scores = widened(scores)
    chosen = counted(scores.shape, where)
    if not len(scores):
        return jnp.full((), jnp.nan, scores.dtype)
    # Masked ones and NaN below all others.
    bad = jnp.any(jnp.isnan(scores) & chosen)
    fallen = jnp.sort(jnp.where(chosen & ~jnp.isnan(scores), scores, -jnp.inf), descending=True)
    place = jnp.floor(false_alarm_rate * count(chosen)).astype(jnp.int32)
    return jnp.where(bad | ~jnp.any(chosen), jnp.nan, fallen[place])
