"""Ranking metrics against scikit-learn, with ties, one class, nothing, and scores without a bin."""

import jax
import numpy as np
import pytest

from jaxdl import metrics

RNG = np.random.default_rng(1)
N = 40
POSITIVE = RNG.random(N) < 0.3
SPREAD = RNG.normal(size=N).astype(np.float32)
CASES = {
    "no ties": SPREAD,
    "ties": np.round(SPREAD + POSITIVE, 0),
    "all tied": np.zeros(N, np.float32),
    "perfect": POSITIVE.astype(np.float32),
    "reversed": -POSITIVE.astype(np.float32),
    "infinite": np.where(np.arange(N) % 5 == 0, np.inf, np.where(np.arange(N) % 7 == 0, -np.inf, SPREAD)),
}


@jax.jit
def every_metric(scores, positive):
    named = (metrics.roc_auc, metrics.average_precision, metrics.roc_curve)
    return [metric(scores, positive) for metric in named]


@pytest.mark.parametrize("name", CASES)
def test_equals_scikit_learn(name):
    sk = pytest.importorskip("sklearn.metrics")
    scores = np.float32(CASES[name])
    area, precision, curve = every_metric(scores, POSITIVE)
    finite = np.nan_to_num(scores, posinf=1e6, neginf=-1e6)  # it takes no infinities; the order is the same
    np.testing.assert_allclose(area, sk.roc_auc_score(POSITIVE, finite), rtol=1e-6)
    np.testing.assert_allclose(precision, sk.average_precision_score(POSITIVE, finite), rtol=1e-6)
    expected = sk.roc_curve(POSITIVE, finite, drop_intermediate=False)
    points = np.stack(curve, axis=1)
    _, first = np.unique(-points[1:, 2], return_index=True)
    points = points[[0, *(first + 1)]]
    np.testing.assert_allclose(points[:, :2], np.stack(expected[:2], axis=1), atol=1e-6)
    np.testing.assert_array_equal(np.nan_to_num(points[1:, 2], posinf=1e6, neginf=-1e6), expected[2][1:])


def test_degenerate_sets_have_documented_values():
    none, all_of_them = np.zeros(N, bool), np.ones(N, bool)
    for labels in (none, all_of_them):
        area, precision, curve = every_metric(SPREAD, labels)
        assert np.isnan(area)
        np.testing.assert_allclose(precision, labels[0], rtol=1e-6)
        assert np.isnan(curve.true_positive_rate).all() == (not labels[0])
        assert np.isnan(curve.false_positive_rate).all() == labels[0]
    for metric in (metrics.roc_auc, metrics.average_precision):
        assert np.isnan(metric(SPREAD, POSITIVE, where=none))
        assert np.isnan(metric.compute(metric.zero))
        binned = metric.bind(num_bins=4)
        assert np.isnan(binned.compute(binned.zero))


@pytest.mark.parametrize("num_bins", [None, 8])
def test_impossible_scores_and_labels_are_not_ranked(num_bins):
    metric = metrics.roc_auc.bind(num_bins=num_bins)
    scores, labels = np.linspace(0, 1, N, dtype=np.float32), POSITIVE.astype(np.int32)
    wrong_labels, nan = np.where(np.arange(N) == 3, 2, labels), np.where(np.arange(N) == 3, np.nan, scores)
    counted = np.arange(N) != 3
    whole = metric(scores, labels, where=counted)
    assert 0 < whole < 1
    for s, y in ((scores, wrong_labels), (nan, labels)):
        assert np.isnan(metric(s, y))
        assert metric(s, y, where=counted) == whole
    outside = np.where(np.arange(N) == 3, np.float32(1.001), scores)
    assert np.isnan(metric(outside, labels)) == (num_bins is not None)


def test_bins_cost_at_most_the_pairs_that_share_one():
    scores = 1 / (1 + np.exp(-SPREAD))
    exact = metrics.roc_auc(scores, POSITIVE)
    bins = np.floor(scores * 16)
    shared = np.mean(bins[POSITIVE][:, None] == bins[~POSITIVE][None])
    assert 0 < abs(metrics.roc_auc(scores, POSITIVE, num_bins=16) - exact) <= shared / 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.roc_auc(POSITIVE, POSITIVE), TypeError, "scores must be floating"),
        (lambda: metrics.roc_auc(SPREAD, SPREAD), TypeError, "labels must be integers"),
        (
            lambda: metrics.roc_auc(SPREAD[:, None], POSITIVE),
            ValueError,
            "labels must have the shape of scores",
        ),
        (lambda: metrics.roc_curve(SPREAD, POSITIVE, where=SPREAD), TypeError, "where must be bool"),
        (
            lambda: metrics.average_precision.bind(num_bins=1),
            ValueError,
            "num_bins must be at least 2, got 1",
        ),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
