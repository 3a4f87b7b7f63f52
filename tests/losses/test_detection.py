"""Boxes and detectors against float64 transcriptions, PyTorch and pycocotools; torchvision has a file of its own."""

import functools

import numpy as np
import pytest
import scipy.special

from jaxdl import losses

RNG = np.random.default_rng(11)
B, N, K = 2, 5, 3


def boxes(*shape):
    corner, size = RNG.uniform(0, 4, (*shape, 2)), RNG.uniform(0.5, 3, (*shape, 2))
    return np.concatenate([corner, corner + size], axis=-1)


P, T = boxes(B, N), boxes(B, N)
LOGITS = 2 * RNG.normal(size=(B, N, K))
LABELS = np.array([[0, 1, 0, 2, 0], [0, 0, 2, 0, 0]], np.int32)
APART = np.tile([10.0, 10, 11, 11], (B, N, 1))
POINT = np.zeros((B, N, 4))
FAR = np.where(np.arange(LOGITS.size).reshape(LOGITS.shape) % 2, 1e4, -1e4)


def smooth_l1(p, t, beta=1.0):
    r = abs(p - t)
    return np.where(r <= beta, r**2 / 2 / beta, r - beta / 2).sum(-1)


def area(b):
    return np.maximum(b[..., 2] - b[..., 0], 0) * np.maximum(b[..., 3] - b[..., 1], 0)


def shared(p, t):
    return area(np.concatenate([np.maximum(p, t)[..., :2], np.minimum(p, t)[..., 2:]], -1))


def iou(p, t):
    return shared(p, t) / (area(p) + area(t) - shared(p, t))


def giou(p, t):
    around = area(np.concatenate([np.minimum(p, t)[..., :2], np.maximum(p, t)[..., 2:]], -1))
    union = area(p) + area(t) - shared(p, t)
    return 1 - iou(p, t) + (around - union) / around


def nats(x, labels):
    return -np.take_along_axis(scipy.special.log_softmax(x, axis=-1), labels[..., None], -1)[..., 0]


def detected(x, p, labels, t, weight=2.0):
    return nats(x, labels) + weight * (labels > 0) * smooth_l1(p, t)


MASK_LOGITS, MASKS = RNG.normal(size=(B, 3, 2, K)), (RNG.uniform(size=(B, 3, 2)) < 0.5).astype(np.float32)
MASK_LABELS = np.array([2, 0], np.int32)


def masked(x, masks, labels):
    chosen = np.stack([a[..., k] for a, k in zip(x, labels)])
    return (np.log1p(np.exp(chosen)) - chosen * masks).mean((1, 2))


def single_shot(x, p, labels, t, negatives=3):
    out = []
    for xi, pi, yi, ti in zip(x, p, labels, t):
        cost, matched = nats(xi, yi), yi > 0
        number = matched.sum()
        worst = sorted(cost[~matched], reverse=True)[: negatives * number]
        total = cost[matched].sum() + sum(worst) + smooth_l1(pi, ti)[matched].sum()
        out.append(total / number if number else 0)
    return np.array(out)


# A grid of 2 rows and 3 columns with 2 boxes in each cell.
GRID = (B, 2, 3)
CELL_BOXES = RNG.uniform(0.2, 0.9, (*GRID, 2, 4)).round(3)
CONFIDENCES, SCORES = RNG.uniform(size=(*GRID, 2)), RNG.uniform(size=(*GRID, K))
TRUE_BOXES = RNG.uniform(0.2, 0.9, (*GRID, 4))
CELL_LABELS = np.where(RNG.uniform(size=GRID) < 0.5, RNG.integers(0, K, GRID), -1).astype(np.int32)


def on_image(x, y, w, h, row, column):
    cx, cy = (column + x) / 3, (row + y) / 2
    return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])


def looked_once(p, c, s, t, labels):
    """Cell by cell, on the image. What fits best and how well is judged where the test stands, not where it is
    moved to: those get no gradient."""
    out = []
    for b in range(B):
        total = 0
        for row, column in np.ndindex(2, 3):
            i = (b, row, column)
            if labels[i] < 0:
                total += 0.5 * (c[i] ** 2).sum()
                continue
            truth = on_image(*t[i], row, column)
            near = np.round(p[i], 3)
            judged = np.where(abs(p[i] - near) < 3e-6, near, p[i])
            fits = [iou(on_image(*q[:2], *q[2:] ** 2, row, column), truth) for q in judged]
            best = int(np.argmax(fits))
            for k in range(2):
                if k != best:
                    total += 0.5 * c[i][k] ** 2
            x, y, rw, rh = p[i][best]
            total += 5 * ((x - t[i][0]) ** 2 + (y - t[i][1]) ** 2)
            total += 5 * ((rw - t[i][2] ** 0.5) ** 2 + (rh - t[i][3] ** 0.5) ** 2)
            total += (c[i][best] - fits[best]) ** 2
            total += ((s[i] - np.eye(K)[labels[i]]) ** 2).sum()
        out.append(total)
    return np.array(out)


ROWS = {
    "box_smooth_l1": (
        functools.partial(losses.box_smooth_l1, beta=0.5),
        (P, T),
        functools.partial(smooth_l1, beta=0.5),
        {
            "torch": lambda f, p, t: f.smooth_l1_loss(p, t, beta=0.5, reduction="none").sum(-1),
            "extremes": [(1e4 * P, -1e4 * T), (P, P)],
        },
    ),
    "iou_loss": (
        losses.iou_loss,
        (P, T),
        lambda p, t: 1 - iou(p, t),
        {"extremes": [(POINT, POINT), (P[..., ::-1], T), (P, APART), (1e4 * P, 1e4 * P)]},
    ),
    "giou_loss": (
        losses.giou_loss,
        (P, T),
        giou,
        {"extremes": [(POINT, POINT), (P[..., ::-1], T), (P, APART), (1e4 * P, 1e4 * P)]},
    ),
    "detection_loss": (
        functools.partial(losses.detection_loss, box_weight=2.0),
        (LOGITS, P, LABELS, T),
        detected,
        {"extremes": [(FAR, 1e4 * P, LABELS, T)]},
    ),
    "mask_loss": (
        losses.mask_loss,
        (MASK_LOGITS, MASKS, MASK_LABELS),
        masked,
        {"which": [0], "extremes": [(1e4 * MASK_LOGITS, MASKS, MASK_LABELS)]},
    ),
    "ssd_loss": (
        losses.ssd_loss,
        (LOGITS, P, LABELS, T),
        single_shot,
        {"which": [0, 1], "extremes": [(FAR, 1e4 * P, LABELS, T), (LOGITS, P, 0 * LABELS, T)]},
    ),
    "ssd_loss with few negatives": (
        functools.partial(losses.ssd_loss, negatives=1),
        (LOGITS, P, LABELS, T),
        functools.partial(single_shot, negatives=1),
        {"which": [0, 1]},
    ),
    "yolo_loss": (
        losses.yolo_loss,
        (CELL_BOXES, CONFIDENCES, SCORES, TRUE_BOXES, CELL_LABELS),
        looked_once,
        {
            "which": [0, 1, 2],
            "extremes": [
                (0 * CELL_BOXES, CONFIDENCES, SCORES, 0 * TRUE_BOXES, CELL_LABELS),
                (1e4 * CELL_BOXES, 1e4 * CONFIDENCES, -1e4 * SCORES, TRUE_BOXES, CELL_LABELS),
            ],
        },
    ),
}


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), ROWS.values(), ids=ROWS)
def test_transcription(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


def test_overlap_matches_pycocotools(value_of):
    mask = pytest.importorskip("pycocotools.mask")

    def coco(b):
        return np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1)

    p, t = P.reshape(-1, 4), T.reshape(-1, 4)
    expected = 1 - np.diag(mask.iou(coco(p), coco(t), [0] * len(p)))
    np.testing.assert_allclose(value_of(losses.iou_loss, p, t), expected, rtol=1e-5)


def test_boxes_by_hand(value_of):
    """Half a box shared; two boxes side by side with a gap as wide as each."""
    p, t = (
        np.float32([[0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]]),
        np.float32([[1, 0, 3, 2], [2, 0, 3, 1], [0, 0, 0, 0]]),
    )
    np.testing.assert_allclose(value_of(losses.iou_loss, p, t), [2 / 3, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(value_of(losses.giou_loss, p, t), [2 / 3, 1 + 1 / 3, 1], rtol=1e-6)


def test_distant_boxes_attract_each_other(gradients_of):
    far, truth = np.array([[0.0, 0, 1, 1]]), np.array([[5.0, 0, 6, 1]])
    assert (gradients_of(losses.iou_loss, far, truth)[1] == 0).all()
    gradient = gradients_of(losses.giou_loss, far, truth)[1]
    assert gradient[0, 2] < 0  # descent moves the right side to the right


def test_true_boxes_inside_out_give_nan(gradients_of):
    for loss in (losses.iou_loss, losses.giou_loss):
        value, gradient = gradients_of(loss, P[0, :2], np.stack([T[0, 0], T[0, 1, ::-1]]))
        assert np.isnan(value).tolist() == [False, True]
        assert np.isnan(gradient).any(1).tolist() == [False, True]


def test_default_boxes_left_out_equal_boxes_sliced_away(gradients_of):
    keep = np.array([True, True, False, True, True])
    where = np.tile(keep, (B, 1))
    hidden = (
        np.where(where[..., None], LOGITS, np.nan),
        np.where(where[..., None], P, np.nan),
        np.where(where, LABELS, 99),
        np.where(where[..., None], T, np.nan),
    )
    value, gradient = gradients_of(losses.ssd_loss, *hidden, where=where)
    expected, sliced = gradients_of(losses.ssd_loss, *(a[:, keep] for a in (LOGITS, P, LABELS, T)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, keep], sliced, rtol=1e-6, atol=1e-7)
    assert (gradient[:, ~keep] == 0).all()


def test_background_has_no_box_and_no_match_no_loss(value_of):
    wild = np.where(LABELS[..., None] > 0, P, 1e30)
    loss = value_of(losses.detection_loss, LOGITS, wild, LABELS, T)
    np.testing.assert_allclose(loss, detected(LOGITS, P, LABELS, T, 1.0), rtol=1e-5)
    assert (value_of(losses.ssd_loss, LOGITS, P, 0 * LABELS, T) == 0).all()


@pytest.mark.parametrize(
    ("loss", "inputs", "place", "bad"),
    [
        pytest.param(losses.detection_loss, (LOGITS, P, LABELS, T), 2, K, id="detection_loss"),
        pytest.param(losses.mask_loss, (MASK_LOGITS, MASKS, MASK_LABELS), 2, K, id="mask_loss"),
        pytest.param(losses.mask_loss, (MASK_LOGITS, MASKS, MASK_LABELS), 1, 2, id="mask_loss mask"),
        pytest.param(losses.ssd_loss, (LOGITS, P, LABELS, T), 2, -1, id="ssd_loss"),
        pytest.param(
            losses.yolo_loss, (CELL_BOXES, CONFIDENCES, SCORES, TRUE_BOXES, CELL_LABELS), 4, K, id="yolo_loss"
        ),
    ],
)
def test_impossible_labels_give_nan(gradients_of, loss, inputs, place, bad):
    arrays = [a.copy() for a in inputs]
    arrays[place][1, ...].reshape(-1)[:1] = bad
    if arrays[place].ndim == 1:
        arrays[place][1] = bad
    value, gradient = gradients_of(loss, *arrays)
    assert np.isnan(value).reshape(B, -1).any(1).tolist() == [False, True]
    assert np.isnan(gradient).reshape(B, -1).any(1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.box_smooth_l1(P, T[0]), ValueError, "targets must have the shape of predictions"),
        (
            lambda: losses.box_smooth_l1(P[..., :3], T[..., :3]),
            ValueError,
            r"predictions must have shape \(2, 5, 4\)",
        ),
        (lambda: losses.box_smooth_l1(P, T, beta=0), ValueError, "beta must be positive"),
        (lambda: losses.iou_loss(P.astype(int), T), TypeError, "boxes must be floating"),
        (lambda: losses.detection_loss(LOGITS[0], P, LABELS, T), ValueError, "boxes_without_theirs"),
        (lambda: losses.detection_loss(LOGITS, P, LOGITS[..., 0], T), TypeError, "labels must be integers"),
        (
            lambda: losses.mask_loss(MASK_LOGITS, MASKS[:, :2], MASK_LABELS),
            ValueError,
            "masks must have shape",
        ),
        (
            lambda: losses.mask_loss(MASK_LOGITS[0], MASKS, MASK_LABELS),
            ValueError,
            "mask_logits must have shape",
        ),
        (
            lambda: losses.ssd_loss(LOGITS[0], P[0], LABELS[0], T[0]),
            ValueError,
            "class_logits must have rank 3",
        ),
        (
            lambda: losses.ssd_loss(LOGITS, P, LABELS, T, negatives=-1),
            ValueError,
            "negatives must be finite and at",
        ),
        (
            lambda: losses.yolo_loss(CELL_BOXES, CONFIDENCES[..., :1], SCORES, TRUE_BOXES, CELL_LABELS),
            ValueError,
            "boxes must have shape",
        ),
        (
            lambda: losses.yolo_loss(CELL_BOXES, CONFIDENCES, SCORES, CELL_BOXES, CELL_LABELS),
            ValueError,
            "target_boxes must have shape",
        ),
    ],
)
def test_wrong_shapes_dtypes_and_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()
