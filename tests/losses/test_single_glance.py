"""The loss of a detector that looks once, term by term, worked by hand."""

import numpy as np
import pytest

from jaxdl import losses

# One cell on one image, so that centres are in the image's own unit; one object, 0.5 by 0.5 in the middle, of class 0
# of two; two boxes: one like the object, one in the corner.
OBJECT = np.array([0.5, 0.5, 0.5, 0.5])
ROOT = 0.5**0.5
ALIKE, ELSEWHERE = [0.5, 0.5, ROOT, ROOT], [0.05, 0.05, 0.2, 0.2]


def glanced(
    gradients_of, boxes=(ALIKE, ELSEWHERE), confidences=(1.0, 0.0), scores=(1.0, 0.0), label=0, **weights
):
    """The loss and its gradients for the boxes, the confidences and the scores."""
    arrays = [np.array(x, np.float64)[None, None, None] for x in (boxes, confidences, scores)]
    truth = (OBJECT[None, None, None], np.full((1, 1, 1), label, np.int32))
    value, slopes = None, []
    for i in range(3):
        loss = lambda x, i=i: losses.yolo_loss(*arrays[:i], x, *arrays[i + 1 :], *truth, **weights)  # noqa: E731
        value, slope = gradients_of(lambda x, loss=loss: loss(x), arrays[i])
        slopes.append(slope[0, 0, 0])
    return value[0], slopes


@pytest.mark.parametrize(
    ("change", "loss", "place", "slope"),
    [
        pytest.param({}, 0, 0, 0 * np.ones((2, 4)), id="perfect"),
        # Moved by 0.2 the boxes share 0.3 * 0.5 of 0.35, so 3/7, which the confidence says.
        pytest.param(
            {"boxes": ([0.7, 0.5, ROOT, ROOT], ELSEWHERE), "confidences": (3 / 7, 0)},
            5 * 0.04,
            0,
            [[5 * 2 * 0.2, 0, 0, 0], [0, 0, 0, 0]],
            id="x",
        ),
        pytest.param(
            {"boxes": (ELSEWHERE, [0.5, 0.3, ROOT, ROOT]), "confidences": (0, 3 / 7)},
            5 * 0.04,
            0,
            [[0, 0, 0, 0], [0, -5 * 2 * 0.2, 0, 0]],
            id="y of the second box",
        ),
        # As wide as the image: half of it is the object.
        pytest.param(
            {"boxes": ([0.5, 0.5, 1.0, ROOT], ELSEWHERE), "confidences": (0.5, 0)},
            5 * (1 - ROOT) ** 2,
            0,
            [[0, 0, 10 * (1 - ROOT), 0], [0, 0, 0, 0]],
            id="width",
        ),
        # Half as high: half of the object.
        pytest.param(
            {"boxes": ([0.5, 0.5, ROOT, 0.5], ELSEWHERE), "confidences": (0.5, 0), "box_weight": 2.0},
            2 * (ROOT - 0.5) ** 2,
            0,
            [[0, 0, 0, -4 * (ROOT - 0.5)], [0, 0, 0, 0]],
            id="height, weighted",
        ),
        pytest.param({"confidences": (0.7, 0)}, 0.3**2, 1, [-2 * 0.3, 0], id="confidence of the best"),
        pytest.param({"confidences": (1, 0.4)}, 0.5 * 0.16, 1, [0, 0.4], id="confidence of the other"),
        pytest.param({"scores": (0.75, 0.5)}, 0.0625 + 0.25, 2, [-0.5, 1.0], id="class"),
        pytest.param({"scores": (0.0, 1.0), "label": 1}, 0, 2, [0, 0], id="the other class"),
        # Without an object only confidences count: not the boxes, not the classes.
        pytest.param(
            {"label": -1, "scores": (7, 7), "confidences": (0.6, 0.2)},
            0.5 * 0.4,
            1,
            [0.6, 0.2],
            id="empty cell",
        ),
        pytest.param(
            {"label": -1, "confidences": (0.6, 0.2), "empty_weight": 2.0},
            0.8,
            1,
            [2.4, 0.8],
            id="empty, weighted",
        ),
        pytest.param({"boxes": (ALIKE, ALIKE)}, 0, 1, [0, 0], id="of two best the first"),
    ],
)
def test_every_term_of_a_single_glance_by_hand(gradients_of, change, loss, place, slope):
    """Redmon et al., 2016, equation 3, term by term."""
    value, slopes = glanced(gradients_of, **change)
    np.testing.assert_allclose(value, loss, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slopes[place], slope, rtol=1e-5, atol=1e-6)
    for other in {0, 1, 2} - {place}:
        np.testing.assert_allclose(slopes[other], np.zeros_like(slopes[other]), atol=1e-6)


def test_cells_of_a_grid_add_up_each_with_its_own_size(value_of):
    """Two columns, one row: a cell is half the image wide, so 0.4 cells are 0.2 of the image."""
    boxes = np.array([[0.9, 0.5, ROOT, ROOT], ELSEWHERE])
    cell = np.stack([boxes, boxes[::-1]])[None, None]
    confidences = np.array([[[[3 / 7, 0], [0.4, 0.2]]]])
    truth = np.broadcast_to(OBJECT, (1, 1, 2, 4))
    scores, labels = np.zeros((1, 1, 2, 2)), np.array([[[1, -1]]], np.int32)
    loss = value_of(losses.yolo_loss, cell, confidences, scores, truth, labels)
    np.testing.assert_allclose(loss, [5 * 0.16 + 1 + 0.5 * (0.16 + 0.04)], rtol=1e-5)
