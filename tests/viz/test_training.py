"""Curves of a run, distributions of its weights."""

import jax.numpy as jnp
import numpy as np
import pytest
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


def test_learning_curves(drawn, legend):
    loss, accuracy = drawn(viz.learning_curves(HISTORY))
    assert [axes.get_title() for axes in (loss, accuracy)] == ["loss", "accuracy"]
    train, validation, best = loss.lines
    np.testing.assert_array_equal(train.get_xydata(), np.transpose(HISTORY["loss"]))
    np.testing.assert_array_equal(validation.get_xydata(), np.transpose(HISTORY["validation/loss"]))
    np.testing.assert_array_equal(best.get_xydata(), [[2, 1.5]])
    np.testing.assert_array_equal(accuracy.lines[-1].get_xydata(), [[4, 0.7]])
    assert legend(loss) == ["training", "validation, best 1.5"]
    assert len({to_hex(line.get_color()) for line in (train, validation)}) == 2
    assert loss.get_yscale() == "linear"


def test_learning_curves_choices(drawn):
    axes = drawn(viz.learning_curves(HISTORY, metrics=("loss", "grad_norm", "perplexity"), log_loss=True))
    assert [a.get_title() for a in axes] == ["loss", "grad norm"]
    assert [a.get_yscale() for a in axes] == ["log", "linear"]
    assert axes[1].get_legend() is None  # one curve needs no names
    with pytest.raises(ValueError, match="history must have one of loss, accuracy, got grad_norm"):
        viz.learning_curves({"grad_norm": HISTORY["grad_norm"]})
    with pytest.raises(ValueError, match=r"loss must have the shape of steps of loss, \(2,\), got \(3,\)"):
        viz.learning_curves({"loss": ([1, 2], [1.0, 2.0, 3.0])})


def test_learning_curves_of_several_nets(drawn, legend):
    history = {
        f"{net}/{name}": HISTORY[name] for net in ("SGD", "Adam") for name in ("loss", "validation/loss")
    }
    history["test/loss"] = HISTORY["validation/loss"]
    (axes,) = drawn(viz.learning_curves(history))
    # Only a validation curve is there to choose by.
    assert legend(axes) == [
        "SGD",
        "SGD, validation, best 1.5",
        "Adam",
        "Adam, validation, best 1.5",
        "test",
    ]
    curves = [line for line in axes.lines if len(line.get_xydata()) > 1]
    assert len(axes.lines) == len(curves) + 2
    assert len({(line.get_color(), line.get_marker()) for line in curves}) == 5
    below = axes.get_legend().get_window_extent()
    assert below.y1 < axes.get_window_extent().y0  # over no curve


def test_learning_curves_of_a_run_that_diverged(drawn):
    history = {"loss": ([1, 2], [1.0, np.nan]), "validation/loss": ([1, 2], [np.nan, np.nan])}
    (loss,) = drawn(viz.learning_curves(history))
    assert len(loss.lines) == 2  # nothing is best


def test_parameter_vs_loss(drawn):
    values = np.linspace(-1, 1, 21)
    (axes,) = drawn(viz.parameter_vs_loss(values, (values - 0.5) ** 2, name="weight"))
    np.testing.assert_allclose(axes.lines[0].get_xydata(), np.stack([values, (values - 0.5) ** 2], 1))
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.5, 0]], atol=1e-12)
    assert axes.get_xlabel() == "weight"
    with pytest.raises(ValueError, match="losses must have the shape of values"):
        viz.parameter_vs_loss([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="losses must have a finite value"):
        viz.parameter_vs_loss([1, 2], [np.nan, np.inf])


def test_weight_histograms(drawn):
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


def test_gradient_flow(drawn, legend):
    norms = {"sigmoid": {"a": 1e-9, "b": 0.0, "c": 1e-3}, "ReLU": {"a": 0.1, "c": 0.2}}
    (axes,) = drawn(viz.gradient_flow(norms))
    sigmoid, relu = axes.lines
    np.testing.assert_allclose(sigmoid.get_xydata(), [[1, 1e-9], [2, np.nan], [3, 1e-3]])
    np.testing.assert_allclose(relu.get_xydata(), [[1, 0.1], [2, 0.2]])
    assert axes.get_yscale() == "log"
    assert legend(axes) == ["sigmoid", "ReLU"]
    assert sigmoid.get_marker() != relu.get_marker()
    with pytest.raises(ValueError, match="norms must have at least one net"):
        viz.gradient_flow({})
    with pytest.raises(ValueError, match="norms of net must be finite and not negative"):
        viz.gradient_flow({"net": {"a": -1.0}})
    with pytest.raises(ValueError, match="norms of net must not be empty"):
        viz.gradient_flow({"net": {}})


def test_fitted_line(drawn):
    x, grid = np.array([0.0, 1.0, 2.0]), np.linspace(0, 2, 7)
    figure = viz.fitted_line(x, 2 * x, {"line": (grid, 2 * grid), "curve": (grid, grid**2)}, x_name="t in s")
    (axes,) = drawn(figure)
    points, line, curve = axes.lines
    np.testing.assert_allclose(points.get_xydata(), np.stack([x, 2 * x], 1))
    np.testing.assert_allclose(line.get_xydata(), np.stack([grid, 2 * grid], 1))
    np.testing.assert_allclose(curve.get_xydata(), np.stack([grid, grid**2], 1))
    assert line.get_linestyle() != curve.get_linestyle()
    assert axes.get_xlabel() == "t in s"
    assert axes.get_title() == "y against t in s"
    with pytest.raises(ValueError, match="y must have the shape of x"):
        viz.fitted_line([1, 2], [1], {})
    with pytest.raises(ValueError, match="outputs of a"):
        viz.fitted_line([1, 2], [1, 2], {"a": ([1, 2], [1])})
