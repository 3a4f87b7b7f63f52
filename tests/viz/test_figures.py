"""What each figure shows: the numbers that Matplotlib was given, and clear errors for wrong shapes."""

import io
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex

from jaxdl import viz

RNG = np.random.default_rng(0)
HISTORY = {
    "loss": ([1, 2, 3, 4], [2.0, 1.0, 0.5, 0.25]),
    "validation/loss": ([2, 4], [1.5, 1.75]),
    "accuracy": ([1, 2, 3, 4], [0.1, 0.5, 0.8, 0.9]),
    "validation/accuracy": ([2, 4], [0.4, 0.7]),
    "grad_norm": ([1, 2, 3, 4], [4.0, 3.0, 2.0, 1.0]),
}


def drawn(figure):
    """The figure's axes, after it has been rendered once: warnings while drawing fail the test."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


def picture(axes):
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


def test_import_is_light_and_leaves_no_global_state():
    code = (
        "import sys, jaxdl.viz\n"
        "assert not any(name.split('.')[0] == 'matplotlib' for name in sys.modules)\n"
        "jaxdl.viz.parameter_vs_loss([0, 1], [1, 0])\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_public_names_explain_themselves():
    for name in viz.__all__:
        assert callable(getattr(viz, name))
        assert getattr(viz, name).__doc__


# Curves.


def test_learning_curves():
    loss, accuracy = drawn(viz.learning_curves(HISTORY))
    assert [axes.get_title() for axes in (loss, accuracy)] == ["loss", "accuracy"]
    train, validation, best = loss.lines
    np.testing.assert_array_equal(train.get_xydata(), np.transpose(HISTORY["loss"]))
    np.testing.assert_array_equal(validation.get_xydata(), np.transpose(HISTORY["validation/loss"]))
    np.testing.assert_array_equal(best.get_xydata(), [[2, 1.5]])
    np.testing.assert_array_equal(accuracy.lines[-1].get_xydata(), [[4, 0.7]])
    texts = [text.get_text() for text in loss.get_legend().get_texts()]
    assert texts == ["training", "validation, best 1.5"]
    assert len({to_hex(line.get_color()) for line in (train, validation)}) == 2
    assert loss.get_yscale() == "linear"


def test_learning_curves_choices():
    axes = drawn(viz.learning_curves(HISTORY, metrics=("loss", "grad_norm", "perplexity"), log_loss=True))
    assert [a.get_title() for a in axes] == ["loss", "grad norm"]
    assert [a.get_yscale() for a in axes] == ["log", "linear"]
    assert axes[1].get_legend() is None  # one curve needs no names
    with pytest.raises(ValueError, match="history must have one of loss, accuracy, got grad_norm"):
        viz.learning_curves({"grad_norm": HISTORY["grad_norm"]})
    with pytest.raises(ValueError, match=r"loss must have the shape of steps of loss, \(2,\), got \(3,\)"):
        viz.learning_curves({"loss": ([1, 2], [1.0, 2.0, 3.0])})


def test_learning_curves_of_a_run_that_diverged():
    history = {"loss": ([1, 2], [1.0, np.nan]), "validation/loss": ([1, 2], [np.nan, np.nan])}
    (loss,) = drawn(viz.learning_curves(history))
    assert len(loss.lines) == 2  # nothing is best


def test_parameter_vs_loss():
    values = np.linspace(-1, 1, 21)
    (axes,) = drawn(viz.parameter_vs_loss(values, (values - 0.5) ** 2, name="weight"))
    np.testing.assert_allclose(axes.lines[0].get_xydata(), np.stack([values, (values - 0.5) ** 2], 1))
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.5, 0]], atol=1e-12)
    assert axes.get_xlabel() == "weight"
    with pytest.raises(ValueError, match="losses must have the shape of values"):
        viz.parameter_vs_loss([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="losses must have a finite value"):
        viz.parameter_vs_loss([1, 2], [np.nan, np.inf])


def test_weight_histograms():
    params = {"Dense_0": {"kernel": RNG.normal(size=(6, 5)), "bias": jnp.zeros(5, jnp.bfloat16)}}
    bias, kernel = drawn(viz.weight_histograms(params, bins=10))
    assert bias.get_title() == "Dense_0/bias\n5"
    assert kernel.get_title() == "Dense_0/kernel\n6×5"
    assert sum(bar.get_height() for bar in kernel.patches) == 30
    assert len(kernel.patches) == 10
    with pytest.raises(ValueError, match="params must have at least one array"):
        viz.weight_histograms({})
    with pytest.raises(ValueError, match="a/b must be finite, got 1 that are not"):
        viz.weight_histograms({"a": {"b": np.array([0.0, np.nan])}})


def test_gradient_flow():
    norms = {"sigmoid": {"a": 1e-9, "b": 0.0, "c": 1e-3}, "ReLU": {"a": 0.1, "c": 0.2}}
    (axes,) = drawn(viz.gradient_flow(norms))
    sigmoid, relu = axes.lines
    np.testing.assert_allclose(sigmoid.get_xydata(), [[1, 1e-9], [2, np.nan], [3, 1e-3]])
    np.testing.assert_allclose(relu.get_xydata(), [[1, 0.1], [2, 0.2]])
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sigmoid", "ReLU"]
    assert sigmoid.get_marker() != relu.get_marker()
    with pytest.raises(ValueError, match="norms must have at least one net"):
        viz.gradient_flow({})
    with pytest.raises(ValueError, match="norms of net must be finite and not negative"):
        viz.gradient_flow({"net": {"a": -1.0}})
    with pytest.raises(ValueError, match="norms of net must not be empty"):
        viz.gradient_flow({"net": {}})


def test_fitted_line():
    x, grid = np.array([0.0, 1.0, 2.0]), np.linspace(0, 2, 7)
    figure = viz.fitted_line(x, 2 * x, {"line": (grid, 2 * grid), "curve": (grid, grid**2)}, x_name="t in s")
    (axes,) = drawn(figure)
    points, line, curve = axes.lines
    np.testing.assert_allclose(points.get_xydata(), np.stack([x, 2 * x], 1))
    np.testing.assert_allclose(line.get_xydata(), np.stack([grid, 2 * grid], 1))
    np.testing.assert_allclose(curve.get_xydata(), np.stack([grid, grid**2], 1))
    assert line.get_linestyle() != curve.get_linestyle()
    assert axes.get_xlabel() == "t in s"
    with pytest.raises(ValueError, match="y must have the shape of x"):
        viz.fitted_line([1, 2], [1], {})
    with pytest.raises(ValueError, match="outputs of a"):
        viz.fitted_line([1, 2], [1, 2], {"a": ([1, 2], [1])})


# Pictures.


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 1), (5, 4, 3, 3)])
def test_image_grid(shape):
    images = RNG.uniform(size=shape).astype(np.float32)
    axes = drawn(viz.image_grid(images, titles=list("abcde"), columns=2))
    assert [a.get_title() for a in axes] == list("abcde")
    for a, image in zip(axes, images):
        np.testing.assert_allclose(picture(a), image[..., 0] if shape[-1] == 1 else image)
        if shape[-1] != 3 or len(shape) == 3:
            assert a.images[0].get_clim() == (images.min(), images.max())  # one scale for all
    spec = axes[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == (3, 2)


def test_image_grid_accepts_device_arrays_bytes_and_constants():
    assert len(drawn(viz.image_grid(jnp.zeros((3, 2, 2, 1), jnp.bfloat16)))) == 3
    (axes,) = drawn(viz.image_grid(np.full((1, 2, 2, 3), 255, np.uint8)))
    assert picture(axes).max() == 255


def test_filters():
    kernel = RNG.normal(size=(3, 5, 2, 4)).astype(np.float32)
    figure = viz.filters(kernel)
    axes = drawn(figure)[0]
    image = picture(axes)
    scale, gap = 8, 3
    assert image.shape == (2 * 3 * scale + gap, 4 * 5 * scale + 3 * gap)
    # Input channel 1, output channel 2, each weight a block of pixels.
    top, left = 3 * scale + gap, 2 * (5 * scale + gap)
    block = image[top : top + 3 * scale : scale, left : left + 5 * scale : scale]
    np.testing.assert_allclose(block, kernel[:, :, 1, 2])
    assert np.isnan(image[3 * scale : 3 * scale + gap]).all()
    low, high = axes.images[0].get_clim()
    assert -low == high == np.abs(kernel).max()  # white is zero
    assert axes.get_ylabel() == "input channel"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "1", "2", "3"]


def test_filters_of_one_input_channel_wrap():
    image = picture(drawn(viz.filters(np.ones((3, 3, 1, 10))))[0])
    assert image.shape == (3 * 24 + 2 * 2, 4 * 24 + 3 * 2)
    assert np.nansum(image) == 10 * 24 * 24


def test_feature_maps():
    activations = RNG.normal(size=(30, 30, 3))
    axes = drawn(viz.feature_maps(activations))[0]
    np.testing.assert_allclose(picture(axes)[:, :30], activations[:, :, 0], rtol=1e-6)
    np.testing.assert_allclose(picture(axes)[:, -30:], activations[:, :, 2], rtol=1e-6)
    assert axes.get_title() == "3 feature maps, 30×30"
    drawn(viz.feature_maps(np.zeros((2, 2, 1))))


# Predictions.


def test_confusion_matrix_plot():
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


def test_decision_boundary():
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
    for label, dots in enumerate(axes.collections):
        np.testing.assert_allclose(dots.get_offsets(), x[y == label])
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["0", "1"]
    drawn(viz.decision_boundary(lambda points: np.zeros(len(points), int), x[:1], y[:1]))


def test_predicted_vs_actual():
    targets = RNG.normal(size=30)
    (axes,) = drawn(viz.predicted_vs_actual(targets + 0.5, targets))
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.stack([targets, targets + 0.5], 1))
    assert axes.get_title() == "root mean squared error 0.5"
    np.testing.assert_allclose(*axes.lines[0].get_data())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: viz.image_grid(np.ones((4, 4))),
            ValueError,
            r"images must have rank 3 or 4, got shape \(4, 4\)",
        ),
        (lambda: viz.image_grid(np.ones((2, 4, 4, 2))), ValueError, "images must have 1 or 3 channels"),
        (
            lambda: viz.image_grid(np.full((1, 2, 2, 3), -1.0)),
            ValueError,
            r"in \[0, 1\], got values from -1 to",
        ),
        (
            lambda: viz.image_grid(np.ones((2, 4, 4)), ["one"]),
            ValueError,
            "titles must be as many as images, 2",
        ),
        (lambda: viz.image_grid(np.ones((0, 4, 4))), ValueError, "images must not be empty"),
        (lambda: viz.image_grid(np.array([[["a"]]])), TypeError, "images must hold real numbers"),
        (lambda: viz.image_grid(np.ones((2, 4, 4)), columns=0), ValueError, "columns must be at least 1"),
        (lambda: viz.filters(np.ones((3, 3))), ValueError, "kernel must have rank 4"),
        (lambda: viz.feature_maps(np.ones((1, 8, 8, 4))), ValueError, r"one example, \[H, W, C\], got shape"),
        (lambda: viz.confusion_matrix_plot(np.ones((2, 3))), ValueError, r"square, got shape \(2, 3\)"),
        (lambda: viz.confusion_matrix_plot(-np.eye(2)), ValueError, "matrix must hold counts"),
        (
            lambda: viz.confusion_matrix_plot(np.eye(2), ["a"]),
            ValueError,
            "class_names must be as many as rows",
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
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
