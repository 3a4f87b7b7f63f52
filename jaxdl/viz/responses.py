"""What comes out for what goes in: activation functions, closed loops."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.types import Array
from jaxdl.viz import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _broken(values: np.ndarray) -> np.ndarray:
    """Halves of the way between neighbours, NaN where they are apart by a jump, so that no line crosses it."""
    span = np.ptp(values[np.isfinite(values)]) if np.isfinite(values).any() else 0.0
    middle = (values[1:] + values[:-1]) / 2
    with np.errstate(invalid="ignore"):
        middle[np.abs(np.diff(values)) > 0.3 * span] = np.nan
    return np.insert(values, np.arange(1, len(values)), middle)


def activation_plots(
    functions: Mapping[str, Callable[[Array], Array]],
    *,
    low: float = -5.0,
    high: float = 5.0,
    resolution: int = 801,
) -> "Figure":
    """Activation functions and their derivatives.

        viz.activation_plots({"ReLU": nn.relu, "GELU": nn.gelu, "steep": functools.partial(nn.sigmoid, steepness=3.0)})

    The derivative is JAX's own, so what a function defines at a kink is what is drawn there. A change of more than 0.3
    of the range from one point to the next is a jump, and no line is drawn across it.

    Args:
      functions: name to function, float32 [] -> float []; JAX maps and differentiates it.
      low, high: the inputs drawn, low below high.
      resolution: points from low to high, at least 2.

    Returns:
      A figure with one axes for each function: its value and its derivative.

    Raises:
      ValueError: there is no function, one does not map a number to a number, or low is not below high.
    """
    if not functions:
        raise ValueError("functions must have at least one function, got none")
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    checks.at_least(2, resolution=resolution)
    x = np.linspace(low, high, resolution, dtype=np.float32)
    between = np.insert(x, np.arange(1, len(x)), (x[1:] + x[:-1]) / 2)
    figure, axes = canvas.panels(len(functions), columns=4, width=2.5, height=2.1)
    for i, (panel, (name, function)) in enumerate(zip(axes, functions.items())):
        out = jax.eval_shape(function, jax.ShapeDtypeStruct((), jnp.float32))
        if getattr(out, "shape", None) != ():
            raise ValueError(f"{name} must map a number to a number, got {out}")
        values, slopes = jax.jit(jax.vmap(jax.value_and_grad(function)))(x)
        for kind, numbers in enumerate((values, slopes)):
            color, line, _ = canvas.look(kind)
            panel.plot(
                between,
                _broken(np.asarray(numbers, float)),
                color=color,
                linestyle=line,
                linewidth=1.8 if kind == 0 else 1.4,
                label=("value", "derivative")[kind] if i == 0 else None,
            )
        canvas.style(panel, title=name, x="input" if i >= len(axes) - 4 else "")
        panel.axhline(0, color=canvas.FAINT, linewidth=0.8, zorder=0)
        panel.axvline(0, color=canvas.FAINT, linewidth=0.8, zorder=0)
        panel.locator_params(nbins=5)
    canvas.shared_legend(figure)
    return figure


def _quality(time: np.ndarray, values: np.ndarray, setpoint: float) -> str:
    """Overshoot and settling time in words; see `step_response`."""
    change = setpoint - values[0]
    overshoot = max(0.0, float(np.max((values - setpoint) / change)))
    outside = np.flatnonzero(~(np.abs(values - setpoint) <= 0.02 * abs(change)))
    if outside[-1] == len(values) - 1:
        return f"overshoot {overshoot:.1%}, not settled"
    return f"overshoot {overshoot:.1%}, settled after {time[outside[-1] + 1] - time[0]:.3g}"


def step_response(
    time: Any,
    outputs: Mapping[str, Any],
    setpoint: float,
    *,
    inputs: Mapping[str, Any] | None = None,
    time_unit: str = "s",
    output_name: str = "process value",
    input_name: str = "controller output",
) -> "Figure":
    """How closed loops follow a step of the setpoint.

        viz.step_response(time, {"PI": y, "PID": y2}, 1.0, inputs={"PI": u, "PID": u2}, output_name="level in m")

    The step goes from the first output to the setpoint, at the first time. The overshoot is how far the output
    passes beyond the setpoint; it has settled when it stays within 2 % of it; both as shares of the step.

    Args:
      time: rising, float [T].
      outputs: for each loop, the process value at each time, float [T].
      setpoint: where the process should go; other than the first value of each output.
      inputs: for each loop, what its controller asked for, float [T]; or None.
      time_unit: of time and of the settling times.
      output_name: of the upper axis, with its unit.
      input_name: of the lower axis, with its unit.

    Returns:
      A figure with one axes for the outputs, the band of 2 % around the setpoint and the setpoint itself, and a
      second one below for the inputs where there are any. The legend tells overshoot and settling time.

    Raises:
      ValueError: there is no loop, inputs belong to no output, lengths differ, time does not rise, a value is not
        finite, or an output starts at the setpoint.
    """
    if not outputs:
        raise ValueError("outputs must have at least one loop, got none")
    if inputs is not None and not set(inputs) <= set(outputs):
        raise ValueError(f"inputs must belong to outputs {', '.join(outputs)}, got {', '.join(inputs)}")
    drawn = {name: canvas.paired(time=time, **{name: values})[1] for name, values in outputs.items()}
    acted = {name: canvas.paired(time=time, **{name: values})[1] for name, values in (inputs or {}).items()}
    time = canvas.host(time=time).astype(float)
    if not (np.diff(time) > 0).all():
        raise ValueError("time must rise from one value to the next")
    for name, values in (*drawn.items(), *acted.items()):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite, got {np.sum(~np.isfinite(values))} values that are not")
    for name, values in drawn.items():
        if math.isclose(values[0], setpoint, rel_tol=1e-9, abs_tol=1e-12):
            raise ValueError(f"{name} must not start at the setpoint, {setpoint}: there is no step")
    figure = canvas.blank(6.0, 3.4 + (1.9 if acted else 0))
    grid = figure.add_gridspec(2 if acted else 1, 1, height_ratios=[2, 1] if acted else None)
    upper = figure.add_subplot(grid[0])
    band = 0.02 * max(abs(setpoint - values[0]) for values in drawn.values())
    upper.axhspan(setpoint - band, setpoint + band, color="#E6E6E6", zorder=0, label="within 2% of the step")
    upper.axhline(setpoint, color=canvas.INK, linewidth=1.0, zorder=1, label=f"setpoint {setpoint:.4g}")
    for i, (name, values) in enumerate(drawn.items()):
        color, line, _ = canvas.look(i)
        label = f"{name}: {_quality(time, values.astype(float), setpoint)}"
        if "settled after" in label:
            label += f" {time_unit}"
        upper.plot(time, values, color=color, linestyle=line, linewidth=1.7, label=label)
    canvas.style(upper, title="step response", x="" if acted else f"time in {time_unit}", y=output_name)
    if acted:
        lower = figure.add_subplot(grid[1], sharex=upper)
        for i, name in enumerate(drawn):
            if name in acted:
                color, line, _ = canvas.look(i)
                lower.plot(
                    time, acted[name], color=color, linestyle=line, linewidth=1.5, drawstyle="steps-post"
                )
        canvas.style(lower, x=f"time in {time_unit}", y=input_name)
    canvas.shared_legend(figure)
    return figure
