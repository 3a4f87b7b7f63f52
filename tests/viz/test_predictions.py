"""What a model predicts, against what is so."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import viz

RNG = np.random.default_rng(0)


def test_confusion_matrix_plot(drawn, picture):
    matrix = jnp.array([[306, 46, 0], [0, 335, 0], [0, 0, 0]])
    axes = drawn(viz.confusion_matrix_plot(matrix, ("approved", "refused", "none")))[0]
    np.testing.assert_allclose(picture(axes), [[306 / 352, 46 / 352, 0], [0, 1, 0], [0, 0, 0]])
    assert {t.get_text(): t.get_position() for t in axes.texts} == {
        "306": (0, 0),
        "46": (1, 0),
        "335": (1, 1),
    }
    assert "0.9330" in axes.get_title()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["approved", "refused", "none"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_decision_boundary(drawn, picture):
    x = RNG.normal(size=(40, 2)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    asked = []

    def predict(points):
        asked.append(points)
        return jnp.stack([-points[:, 0], points[:, 0]], axis=-1)

    (axes,) = drawn(viz.decision_boundary(predict, x, y, resolution=50))
    regions = picture(axes)
    assert regions.shape == (50, 50)
    left, right, bottom, top = axes.images[0].get_extent()
    columns = np.linspace(left, right, 50)
    np.testing.assert_array_equal(regions, np.tile(columns > 0, (50, 1)))
    np.testing.assert_allclose([asked[0].min(axis=0), asked[0].max(axis=0)], [[left, bottom], [right, top]])
    border = axes.collections[0].get_paths()[0].vertices
    right_of_it = np.argmax(columns > 0)
    np.testing.assert_allclose(border[:, 0], columns[right_of_it - 1 : right_of_it + 1].mean(), atol=1e-6)
    for label, dots in enumerate(axes.collections[1:]):
        np.testing.assert_allclose(dots.get_offsets(), x[y == label])
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["0", "1"]
    drawn(viz.decision_boundary(lambda points: np.zeros(len(points), int), x[:1], y[:1]))


def test_predicted_vs_actual(drawn):
    targets = RNG.normal(size=30)
    (axes,) = drawn(viz.predicted_vs_actual(targets + 0.5, targets))
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.stack([targets, targets + 0.5], 1))
    assert axes.get_title() == "root mean squared error 0.5"
    np.testing.assert_allclose(*axes.lines[0].get_data())


def test_roc_plot(drawn, legend):
    sklearn = pytest.importorskip("sklearn.metrics")
    labels = RNG.integers(0, 2, 60)
    scores = labels + RNG.normal(size=60)
    good, noise = sklearn.roc_curve(labels, scores), sklearn.roc_curve(labels, RNG.integers(0, 4, 60))
    (axes,) = drawn(viz.roc_plot({"net": good, "noise": noise}))
    chance, net, _ = axes.lines
    np.testing.assert_array_equal(chance.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_array_equal(net.get_xydata(), np.stack(good[:2], 1))
    assert legend(axes) == [
        "chance, area 0.5",
        f"net, area {sklearn.roc_auc_score(labels, scores):.3f}",
        f"noise, area {sklearn.auc(*noise[:2]):.3f}",
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false positive rate", "true positive rate")
    assert axes.get_aspect() == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: viz.confusion_matrix_plot(np.ones((2, 3))), ValueError, r"square, got shape \(2, 3\)"),
        (lambda: viz.confusion_matrix_plot(-np.eye(2)), ValueError, "matrix must hold counts"),
        (
            lambda: viz.confusion_matrix_plot(np.eye(2), ["a"]),
            ValueError,
            "class_names must be as many as classes, 2",
        ),
        (
            lambda: viz.decision_boundary(len, np.ones((3, 3)), np.ones(3, int)),
            ValueError,
            r"x must have shape",
        ),
        (
            lambda: viz.decision_boundary(len, np.ones((3, 2)), np.ones(4, int)),
            ValueError,
            "y must have shape",
        ),
        (lambda: viz.decision_boundary(len, np.ones((3, 2)), np.ones(3)), TypeError, "y must be integers"),
        (lambda: viz.decision_boundary(len, np.ones((1, 2)), np.array([-1])), ValueError, "from 0, got -1"),
        (
            lambda: viz.decision_boundary(lambda p: p[:, :1], np.ones((3, 2)), np.ones(3, int)),
            ValueError,
            r"predict must return classes int \(40000,\).*got float32 \(40000, 1\)",
        ),
        (
            lambda: viz.predicted_vs_actual(np.ones((3, 1)), np.ones(3)),
            ValueError,
            "predictions must have rank 1",
        ),
        (lambda: viz.roc_plot({}), ValueError, "curves must have at least one classifier"),
        (
            lambda: viz.roc_plot({"net": ([0, 1], [0, 0.5, 1])}),
            ValueError,
            "true positive rates of net must have the shape of false positive rates of net",
        ),
        (
            lambda: viz.roc_plot({"net": ([0, 0.5, 0.4], [0, 1, 1])}),
            ValueError,
            "false positive rates of net must rise from 0 to 1",
        ),
        (
            lambda: viz.roc_plot({"net": ([0, 1], [0, np.nan])}),
            ValueError,
            "true positive rates of net must rise",
        ),
        (lambda: viz.roc_plot({"net": ([0, 1], [0, 2])}), ValueError, "true positive rates of net must rise"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
