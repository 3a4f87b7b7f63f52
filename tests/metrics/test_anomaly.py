"""Scores of examples and their threshold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import metrics

RNG = np.random.default_rng(6)
SCORES = RNG.gamma(2, size=50).astype(np.float32)


threshold = jax.jit(metrics.anomaly_threshold, static_argnames="false_alarm_rate")


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.29])
def test_threshold_is_the_least_score_that_few_enough_exceed(rate):
    for number in (50, 23):
        where = np.arange(50) < number
        counted = SCORES[where]
        few = [s for s in counted if np.mean(s < counted) <= rate + 1e-9]
        assert threshold(np.where(where, SCORES, np.nan), where, false_alarm_rate=rate) == min(few)


def test_threshold_is_numpys_quantile_and_a_tie_and_nothing():
    for rate in (0.05, 0.29):
        expected = np.quantile(SCORES[:49], 1 - rate, method="inverted_cdf")
        assert threshold(SCORES[:49], false_alarm_rate=rate) == expected
    ties = np.float32([1, 1, 1, 1, 2])
    assert threshold(ties, false_alarm_rate=0.2) == 1
    assert threshold(ties, false_alarm_rate=0.1) == 2
    assert np.isnan(threshold(ties + np.float32([0, 0, np.nan, 0, 0]), false_alarm_rate=0.1))
    assert np.isnan(threshold(SCORES, np.zeros(50, bool), false_alarm_rate=0.05))
    assert np.isnan(metrics.anomaly_threshold(ties[:0]))


def test_scores_equal_scipy_mapped_and_in_half_precision():
    softplus = np.logaddexp(0, -SCORES.astype(np.float64))
    codes, others = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    apart = np.linalg.norm(codes.astype(np.float64) - others, axis=1)
    to_one = pytest.importorskip("scipy.spatial").distance.cdist(codes, others[:1])[:, 0]

    @jax.jit
    def all_of_them(scores, codes, others):
        half = metrics.latent_distance(codes.astype(jnp.bfloat16), others.astype(jnp.bfloat16))
        assert half.dtype == jnp.float32
        mapped = jax.vmap(metrics.latent_distance)(codes[None], others[None])[0]
        return (
            [
                metrics.discriminator_anomaly_score(scores),
                metrics.discriminator_anomaly_score(scores[:, None]),
            ],
            [metrics.latent_distance(codes, others), mapped],
            [metrics.latent_distance(codes, others[0])],
            half,
        )

    *got, half = all_of_them(SCORES, codes, others)
    for values, expected in zip(got, (softplus, apart, to_one)):
        for value in values:
            np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(half, apart, rtol=2e-2)


def test_discriminator_score_at_extremes():
    got = metrics.discriminator_anomaly_score(jnp.array([0.0, 1e4, -1e4]))
    np.testing.assert_allclose(got, [np.log(2), 0, 1e4], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: metrics.anomaly_threshold(SCORES, false_alarm_rate=1.0),
            ValueError,
            "false_alarm_rate must be at",
        ),
        (lambda: metrics.anomaly_threshold(SCORES[None]), ValueError, "scores must have rank 1"),
        (lambda: metrics.anomaly_threshold(SCORES > 1), TypeError, "scores must be floating"),
        (lambda: metrics.latent_distance(SCORES[None], SCORES[:3]), ValueError, "references must have shape"),
        (lambda: metrics.discriminator_anomaly_score(SCORES[None]), ValueError, "logits must have shape"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
