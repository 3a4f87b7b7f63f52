"""Boxes against pycocotools."""

import jax
import numpy as np
import pytest

from jaxdl import metrics


def random_boxes(rng, images, found, true, classes):
    """True boxes, detections near some of them and elsewhere, scores with ties, in grid units."""
    corner = rng.integers(0, 60, (images, true, 2))
    true_boxes = np.concatenate([corner, corner + rng.integers(5, 40, corner.shape)], -1).astype(np.float32)
    true_classes = rng.integers(-1, classes, (images, true))
    near = true_boxes[:, rng.integers(0, true, found)] + rng.integers(-2, 3, (images, found, 4))
    kinds = true_classes[:, rng.integers(0, true, found)]
    kinds = np.where(rng.random(kinds.shape) < 0.3, rng.integers(-1, classes, kinds.shape), kinds)
    scores = rng.random((images, found)).round(1).astype(np.float32)
    return (near.astype(np.float32), scores, kinds.astype(np.int32)), (
        true_boxes,
        true_classes.astype(np.int32),
    )


@pytest.mark.parametrize(
    ("seed", "limit"),
    [(0, 100), (1, 100), (2, 2), *(pytest.param(s, 3, marks=pytest.mark.slow) for s in range(20))],
)
def test_equals_pycocotools(coco, seed, limit):
    predictions, truths = random_boxes(np.random.default_rng(seed), images=6, found=12, true=7, classes=3)
    expected = coco(predictions, truths, 3, limit).mean((0, 1))
    metric = metrics.mean_average_precision.bind(num_classes=3, max_detections=limit, average=None)
    halves = ([tuple(x[part] for x in y) for y in (predictions, truths)] for part in (slice(3), slice(3, 6)))
    state = metric.merge(*(metric.measure(*half) for half in halves))
    np.testing.assert_allclose(metric.compute(state), expected, rtol=1e-5)
    np.testing.assert_allclose(metric.bind(average="macro").compute(state), expected.mean(), rtol=1e-5)
    assert expected.mean() > 0.01


def test_overlap_equals_pycocotools():
    masks = pytest.importorskip("pycocotools.mask")
    predictions, truths = random_boxes(np.random.default_rng(5), images=1, found=6, true=7, classes=1)
    a, b = predictions[0][0], truths[0][0]
    sides = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], 1).astype(np.float64) for x in (a, b)]
    a[0], b[0] = 0, 0  # no area
    got = jax.jit(metrics.box_iou)(a, b)
    assert got[0, 0] == 0
    np.testing.assert_allclose(got[1:], masks.iou(*sides, [0] * 7)[1:] * (np.arange(7) > 0), rtol=1e-6)


ONE = np.float32([[[0, 0, 4, 4], [100, 100, 104, 104]]])
RIGHT = (ONE, np.float32([[0.9, 0.8]]), np.int32([[0, -1]]))
TRUTH = (ONE, np.int32([[0, -1]]))
NOWHERE = np.int32([[-1, -1]])
EACH = metrics.mean_average_precision.bind(num_classes=2, average=None, thresholds=(0.5, 1.0))


def test_degenerate_sets_have_documented_values():
    np.testing.assert_array_equal(EACH(RIGHT, TRUTH), [1, np.nan])
    np.testing.assert_array_equal(EACH((*RIGHT[:2], NOWHERE), TRUTH), [0, np.nan])
    np.testing.assert_array_equal(EACH(RIGHT, (ONE, NOWHERE)), [np.nan, np.nan])
    np.testing.assert_array_equal(EACH(RIGHT, TRUTH, where=np.zeros(1, bool)), [np.nan, np.nan])
    mean = EACH.bind(average="macro")
    assert mean.compute(EACH.measure(RIGHT, TRUTH)) == 1
    assert np.isnan(mean.compute(EACH.zero))
    # The second of two detections of one box is wrong: precision 1 up to a recall of a half.
    twice = (ONE[:, [0, 0]], RIGHT[1], np.int32([[0, 0]]))
    np.testing.assert_allclose(EACH(twice, (ONE, np.int32([[0, 0]])))[0], 51 / 101, rtol=1e-6)


def test_impossible_scores_and_classes_are_not_judged():
    for score, kind in ((np.nan, 0), (0.9, 2), (0.9, -2)):
        predictions = (ONE, np.float32([[0.9, score]]), np.int32([[0, kind]]))
        assert np.isnan(EACH(predictions, TRUTH)).all()
    assert np.isnan(EACH(RIGHT, (ONE, np.int32([[0, 2]])))).all()
    assert EACH((ONE, np.float32([[0.9, np.nan]]), RIGHT[2]), TRUTH)[0] == 1  # of no box
    binned = EACH.bind(num_bins=10)
    assert binned(RIGHT, TRUTH)[0] == 1
    assert np.isnan(binned((ONE, np.float32([[1.5, 0.8]]), RIGHT[2]), TRUTH)[0])


@pytest.mark.slow
def test_no_boxes_at_all():
    nothing = (ONE[:, :0], RIGHT[1][:, :0], RIGHT[2][:, :0])
    np.testing.assert_array_equal(EACH(nothing, TRUTH), [0, np.nan])
    np.testing.assert_array_equal(EACH(RIGHT, (ONE[:, :0], NOWHERE[:, :0])), [np.nan, np.nan])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1"),
        ({"thresholds": ()}, ValueError, "thresholds must be above 0"),
        ({"thresholds": (0.0,)}, ValueError, "thresholds must be above 0"),
        ({"average": "micro"}, ValueError, "average must be one of"),
        ({"num_bins": 1}, ValueError, "num_bins must be at least 2"),
        ({"predictions": (ONE[0], *RIGHT[1:])}, ValueError, "boxes must have rank 3"),
        ({"predictions": (ONE[..., :3], *RIGHT[1:])}, ValueError, r"boxes must have shape \(1, 2, 4\)"),
        ({"predictions": (ONE, RIGHT[1][0], RIGHT[2])}, ValueError, r"scores must have shape \(1, 2\)"),
        ({"predictions": (ONE, RIGHT[1], RIGHT[1])}, TypeError, "classes must be integers"),
        ({"targets": (ONE, TRUTH[1][0])}, ValueError, r"true_classes must have shape \(1, 2\)"),
        ({"where": np.ones((1, 1), bool)}, ValueError, r"where must have shape \(1,\)"),
    ],
)
def test_wrong_arguments(change, error, message):
    settings = {"predictions": RIGHT, "targets": TRUTH, "num_classes": 2} | change
    with pytest.raises(error, match=message):
        metrics.mean_average_precision(settings.pop("predictions"), settings.pop("targets"), **settings)
