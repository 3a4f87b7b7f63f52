"""Activation functions and step responses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import viz


def test_activation_plots(drawn, legend):
    functions = {
        "sigmoid": jax.nn.sigmoid,
        "ReLU": jax.nn.relu,
        "step": lambda x: jnp.where(x >= 0.01, 1.0, 0.0),
    }
    figure = viz.activation_plots(functions, low=-3, high=3, resolution=101)
    axes = drawn(figure)
    assert [panel.get_title() for panel in axes] == list(functions)
    x = np.linspace(-3, 3, 101)
    sigmoid = 1 / (1 + np.exp(-x))
    expected = {
        "sigmoid": (sigmoid, sigmoid * (1 - sigmoid)),
        "ReLU": (np.maximum(x, 0), (x > 0) * 1.0),
        "step": ((x >= 0.01) * 1.0, 0 * x),
    }
    for panel, curves in zip(axes, expected.values()):
        for line, curve in zip(panel.lines, curves):
            # Every second point is one that was computed; those between them carry the line or break it.
            np.testing.assert_allclose(line.get_xdata()[::2], x, atol=1e-6)
            np.testing.assert_allclose(line.get_ydata()[::2], curve, atol=1e-6)
        assert panel.lines[0].get_linestyle() != panel.lines[1].get_linestyle()
        assert panel.get_xlabel() == "input"
    broken = [np.isnan(line.get_ydata()).sum() for panel in axes for line in panel.lines[:2]]
    assert broken == [0, 0, 0, 1, 1, 0]  # the derivative of the ReLU jumps, and so does the step
    assert legend(figure) == ["value", "derivative"]


# The second-order lag 1 / (s^2 + 2 z s + 1): overshoot exp(-pi z / sqrt(1 - z^2)).
TIME = np.linspace(0, 30, 3001)


def second_order(damping):
    frequency = np.sqrt(1 - damping**2)
    phase = np.cos(frequency * TIME) + damping / frequency * np.sin(frequency * TIME)
    return 1 - np.exp(-damping * TIME) * phase


def test_step_response(drawn, legend):
    lag, ringing = 20 - 10 * (1 - np.exp(-TIME / 2)), 20 - 10 * second_order(0.3)
    short = 20 - 4 * (1 - np.exp(-TIME))
    outputs = {"lag": lag, "ringing": ringing, "short": short}
    figure = viz.step_response(
        TIME, outputs, 10.0, inputs={"ringing": -TIME}, time_unit="min", output_name="level in m"
    )
    upper, lower = drawn(figure)
    setpoint, *curves = upper.lines
    np.testing.assert_array_equal(setpoint.get_ydata(), 10)
    for curve, values in zip(curves, outputs.values()):
        np.testing.assert_array_equal(curve.get_xydata(), np.stack([TIME, values], 1))
    np.testing.assert_array_equal(lower.lines[0].get_ydata(), -TIME)
    assert lower.lines[0].get_color() == curves[1].get_color()
    assert (upper.get_ylabel(), lower.get_xlabel()) == ("level in m", "time in min")
    texts = legend(figure)
    assert texts[:3] == [
        "within 2% of the step",
        "setpoint 10",
        f"lag: overshoot 0.0%, settled after {np.ceil(200 * np.log(50)) / 100} min",  # 7.83
    ]
    overshoot = np.exp(-np.pi * 0.3 / np.sqrt(1 - 0.3**2))  # 37.2 %
    outside = TIME[np.abs(ringing - 10) > 0.2].max()
    assert texts[3] == f"ringing: overshoot {overshoot:.1%}, settled after {outside + 0.01:.3g} min"
    assert texts[4] == "short: overshoot 0.0%, not settled"
    band = upper.patches[0]
    np.testing.assert_allclose([band.get_y(), band.get_height()], [9.8, 0.4])


def test_step_response_of_outputs_alone(drawn):
    (axes,) = drawn(viz.step_response([0, 1, 2], {"loop": [0, 1, 1]}, 1))
    assert axes.get_xlabel() == "time in s"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: viz.activation_plots({}), ValueError, "functions must have at least one"),
        (lambda: viz.activation_plots({"a": jnp.tanh}, low=1, high=1), ValueError, "low must be below high"),
        (
            lambda: viz.activation_plots({"pair": lambda x: jnp.stack([x, x])}),
            ValueError,
            "pair must map a number to a number",
        ),
        (
            lambda: viz.activation_plots({"a": jnp.tanh}, resolution=1),
            ValueError,
            "resolution must be at least 2",
        ),
        (lambda: viz.step_response([0, 1], {}, 1.0), ValueError, "outputs must have at least one loop"),
        (
            lambda: viz.step_response([0, 1], {"a": [0, 1, 2]}, 1.0),
            ValueError,
            "a must have the shape of time",
        ),
        (lambda: viz.step_response([0, 0], {"a": [0, 1]}, 1.0), ValueError, "time must rise"),
        (lambda: viz.step_response([0, 1], {"a": [0, np.nan]}, 1.0), ValueError, "a must be finite, got 1"),
        (
            lambda: viz.step_response([0, 1], {"a": [1, 1]}, 1.0),
            ValueError,
            "a must not start at the setpoint, 1.0",
        ),
        (
            lambda: viz.step_response([0, 1], {"a": [0, 1]}, 1.0, inputs={"b": [0, 1]}),
            ValueError,
            "inputs must belong to outputs a, got b",
        ),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
