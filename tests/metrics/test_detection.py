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


def counted(x):
    """What pycocotools leaves at -1 is NaN here."""
    return np.where((x < 0).any(axis=tuple(range(x.ndim - 1))), np.nan, x.mean(axis=tuple(range(x.ndim - 1))))


@pytest.mark.parametrize(
    ("seed", "limit"),
    [(0, 100), (2, 2), *(pytest.param(s, 3, marks=pytest.mark.slow) for s in range(20))],
)
def test_equals_pycocotools(coco, seed, limit):
    predictions, truths = random_boxes(np.random.default_rng(seed), images=6, found=12, true=7, classes=3)
    expected = counted(coco(predictions, truths, 3, limit)[0])
    metric = metrics.mean_average_precision.bind(num_classes=3, max_detections=limit, average=None)
    halves = ([tuple(x[part] for x in y) for y in (predictions, truths)] for part in (slice(3), slice(3, 6)))
    state = metric.merge(*(metric.measure(*half) for half in halves))
    np.testing.assert_allclose(metric.compute(state), expected, rtol=1e-5)
    np.testing.assert_allclose(metric.bind(average="macro").compute(state), expected.mean(), rtol=1e-5)
    assert expected.mean() > 0.01


SIZES = {"small": (0, 400), "medium": (400, 900), "large": (900, 1e10)}  # both ends are areas of some boxes


def scene(seed, kind):
    """Crowds, objects smaller than their boxes, areas at the ends of a range; and sets that lack something."""
    rng = np.random.default_rng(seed)
    predictions, (boxes, classes) = random_boxes(rng, images=6, found=12, true=7, classes=3)
    boxes[:, 0, 2:] = boxes[:, 0, :2] + np.float32([20, 20])
    boxes[:, 1, 2:] = boxes[:, 1, :2] + np.float32([30, 30])
    crowd = rng.random(classes.shape) < 0.3
    sides = boxes[..., 2:] - boxes[..., :2]
    areas = np.floor(sides[..., 0] * sides[..., 1] * np.where(rng.random(classes.shape) < 0.5, 1, 0.7))
    # Detections deep inside a crowd, some of them twice.
    predictions[0][:, :3] = boxes[:, :3] + np.float32([2, 2, -2, -2])
    predictions[2][:, :3] = classes[:, :3]
    if kind == "only crowds":
        crowd[:] = True
    elif kind == "nothing true":
        classes = np.full_like(classes, -1)
    elif kind == "nothing found":
        predictions[2][:] = -1
    elif kind == "one class":
        classes, predictions[2][:] = np.minimum(classes, 0), np.minimum(predictions[2], 0)
    elif kind == "all scores equal":
        predictions[1][:] = 0.5
    return predictions, (boxes, classes, crowd, areas.astype(np.float32))


FEW = [("all", "medium", 10), ("all scores equal", "small", 1)]
MANY = ["all", "only crowds", "nothing true", "nothing found", "one class", "all scores equal"]


@pytest.mark.parametrize(
    ("kind", "size", "limit"),
    [
        *FEW,
        *(
            pytest.param(kind, size, limit, marks=pytest.mark.slow)
            for kind in MANY
            for size in (*SIZES, None)
            for limit in (1, 10, 100)
            if (kind, size, limit) not in FEW
        ),
    ],
)
def test_crowds_sizes_and_limits_equal_pycocotools(coco, kind, size, limit):
    settings = {"num_classes": 3, "max_detections": limit, "area_range": SIZES.get(size), "average": None}
    named = (metrics.mean_average_precision, metrics.mean_average_recall)

    @jax.jit
    def both(predictions, truths):
        return [metric(predictions, truths, **settings) for metric in named]

    for seed in range(3):
        predictions, truths = scene(seed, kind)
        expected = coco(predictions, truths, 3, limit, SIZES.get(size, (0, 1e10)))
        for got, x in zip(both(predictions, truths), expected):
            np.testing.assert_allclose(got, counted(x), rtol=1e-5, err_msg=str(seed))
    if kind == "all":
        assert np.nanmax(counted(expected[0])) > 0.05


def test_crowds_by_hand():
    """A detection in a crowd is neither right nor wrong, as often as it comes; one beside it is wrong."""
    boxes = np.float32([[[0, 0, 4, 4], [1, 1, 2, 2], [2, 2, 3, 3], [50, 50, 54, 54]]])
    scores = np.float32([[0.6, 0.9, 0.8, 0.7]])
    truths = (np.float32([[[0, 0, 4, 4], [1, 0, 11, 10]]]), np.zeros((1, 2), np.int32))
    metric = metrics.mean_average_precision.bind(num_classes=1, thresholds=(0.5,))
    recall = metrics.mean_average_recall.bind(num_classes=1, thresholds=(0.5,))

    @jax.jit
    def both(classes, crowd):
        return metric((boxes, scores, classes), (*truths, crowd)), recall(
            (boxes, scores, classes), (*truths, crowd)
        )

    crowd, nowhere = np.array([[False, True]]), np.array([[False, False]])
    classes = np.int32([[0, 0, 0, -1]])
    np.testing.assert_allclose(both(classes, crowd), [1, 1], rtol=1e-6)
    np.testing.assert_allclose(both(classes, nowhere), [51 / 101 / 3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(both(np.int32([[0, 0, 0, 0]]), crowd), [0.5, 1], rtol=1e-6)


def test_overlap_equals_pycocotools():
    masks = pytest.importorskip("pycocotools.mask")
    predictions, truths = random_boxes(np.random.default_rng(5), images=1, found=6, true=7, classes=1)
    a, b = predictions[0][0], truths[0][0]
    sides = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], 1).astype(np.float64) for x in (a, b)]
    a[0], b[0] = 0, 0  # no area
    got = jax.jit(metrics.box_iou)(a, b)
    assert got[0, 0] == 0
    np.testing.assert_allclose(got[1:], masks.iou(*sides, [0] * 7)[1:] * (np.arange(7) > 0), rtol=1e-6)


def test_overlap_equals_torchvision(torchvision):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    corner, size = rng.uniform(0, 60, (2, 9, 2)), rng.uniform(0, 40, (2, 9, 2))
    a, b = np.float32(np.concatenate([corner, corner + size], axis=-1))
    expected = torchvision.ops.box_iou(*(torch.tensor(np.float64(x)) for x in (a, b[:5])))
    np.testing.assert_allclose(metrics.box_iou(a, b[:5]), expected.numpy(), rtol=1e-5, atol=1e-7)
    stack = np.stack([a, b])
    np.testing.assert_allclose(metrics.box_iou(stack, stack[:, :5])[0], metrics.box_iou(a, a[:5]), rtol=1e-6)


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
    found = metrics.mean_average_recall.bind(num_classes=2, thresholds=(0.5, 1.0))
    assert np.isnan(found.compute(found.zero))
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
        ({"area_range": (9, 4)}, ValueError, "area_range must be"),
        ({"targets": (*TRUTH, TRUTH[1])}, TypeError, "crowd must be bool"),
        ({"targets": (*TRUTH, np.zeros((1, 1), bool))}, ValueError, r"crowd must have shape \(1, 2\)"),
        ({"targets": (*TRUTH, TRUTH[1] > 5, ONE)}, ValueError, r"areas must have shape \(1, 2\)"),
        (
            {"targets": (*TRUTH, TRUTH[1] > 5, TRUTH[1], TRUTH[1])},
            ValueError,
            "targets must be boxes, classes",
        ),
    ],
)
def test_wrong_arguments(change, error, message):
    settings = {"predictions": RIGHT, "targets": TRUTH, "num_classes": 2} | change
    arrays = settings.pop("predictions"), settings.pop("targets")
    with pytest.raises(error, match=message):
        metrics.mean_average_precision(*arrays, **settings)
    if "num_bins" not in change:
        with pytest.raises(error, match=message):
            metrics.mean_average_recall(*arrays, **settings)
