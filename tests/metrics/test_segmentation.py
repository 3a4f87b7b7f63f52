"""Metrics of label maps: the worked example, SciPy, ignored pixels, classes that are missing."""

import numpy as np
import pytest

from jaxdl import metrics

PREDICTED = np.array([[0, 0, 1], [1, 1, 2], [2, 2, 2]])
LABELS = np.array([[0, 1, 1], [1, 1, 2], [2, 0, 2]])


def test_worked_example():
    """004b-iou."""
    np.testing.assert_allclose(metrics.pixel_accuracy(PREDICTED, LABELS), 0.777778, atol=5e-7)
    shares = metrics.iou(PREDICTED, LABELS, num_classes=3)
    np.testing.assert_allclose(shares, [1 / 3, 3 / 4, 3 / 4], rtol=1e-6)
    np.testing.assert_allclose(metrics.mean_iou(PREDICTED, LABELS, num_classes=3), 0.611111, atol=5e-7)
    dice = metrics.dice_score(PREDICTED, LABELS, num_classes=3, average=None)
    np.testing.assert_allclose(dice, 2 * shares / (1 + shares), rtol=1e-6)
    distance = pytest.importorskip("scipy.spatial.distance").dice
    expected = [1 - distance(PREDICTED.ravel() == k, LABELS.ravel() == k) for k in range(3)]
    np.testing.assert_allclose(dice, expected, rtol=1e-6)
    np.testing.assert_allclose(
        metrics.dice_score(PREDICTED, LABELS, num_classes=3), np.mean(expected), rtol=1e-6
    )


def test_scores_are_maps_too_and_ignored_pixels_do_not_count():
    scores = np.eye(3, dtype=np.float32)[PREDICTED]
    ignored = np.where(np.eye(3, dtype=bool), 255, LABELS)
    where = ignored != 255
    for metric, settings in ((metrics.pixel_accuracy, {}), (metrics.mean_iou, {"num_classes": 3})):
        assert metric(scores, LABELS, **settings) == metric(PREDICTED, LABELS, **settings)
        kept = metric(PREDICTED[where][None], LABELS[where][None], **settings)
        assert metric(PREDICTED, ignored, where=where, **settings) == kept
    with pytest.raises(ValueError, match=r"must be in \[0, 3\), got 3 outside"):
        metrics.iou(PREDICTED, ignored, num_classes=3)


def test_missing_classes_and_empty_maps():
    """A class that is nowhere has 0 and is not in the mean; one that is only predicted is."""
    np.testing.assert_allclose(
        metrics.iou(PREDICTED, LABELS, num_classes=4), [1 / 3, 3 / 4, 3 / 4, 0], rtol=1e-6
    )
    for metric in (metrics.mean_iou, metrics.dice_score):
        few, more = (metric(PREDICTED, LABELS, num_classes=k) for k in (3, 4))
        np.testing.assert_allclose(few, more, rtol=1e-6)
        assert np.isnan(metric(PREDICTED, LABELS, where=LABELS < 0, num_classes=3))
    assert np.isnan(metrics.pixel_accuracy(PREDICTED, LABELS, where=LABELS < 0))
    only_predicted = metrics.mean_iou(np.full((2, 2), 1), np.zeros((2, 2), np.int32), num_classes=3)
    assert only_predicted == 0


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"labels must be maps \[\.\.\., H, W\], got shape \(9,\)"):
        metrics.pixel_accuracy(PREDICTED.ravel(), LABELS.ravel())
    with pytest.raises(ValueError, match="num_classes = 4"):
        metrics.iou(np.eye(3, dtype=np.float32)[PREDICTED], LABELS, num_classes=4)
    with pytest.raises(ValueError, match="average must be one of 'macro', None"):
        metrics.dice_score(PREDICTED, LABELS, num_classes=3, average="micro")
