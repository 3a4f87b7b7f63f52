"""How a run went: curves over steps, distributions of weights."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxdl import checks
from jaxdl.viz import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]


def _split(name: str) -> tuple[str, str]:
    """'validation/loss' is the curve 'validation' of the panel 'loss'; a bare name is the training curve."""
    *split, metric = name.rsplit("/", 1)
    return (split[0] if split else "training"), metric


def _best(curve: str, metric: str, values: np.ndarray) -> int | None:
    """Where the lowest loss or the highest accuracy of a validation curve is.

    None for other metrics, whose direction is not known, and for other curves: the training loss is best where the
    net overfits most, and a choice made by a test curve spoils the test.
    """
    if curve.rsplit("/", 1)[-1] != "validation" or metric not in ("loss", "accuracy"):
        return None
    if not np.isfinite(values).any():
        return None
    return int(np.nanargmin(values) if metric == "loss" else np.nanargmax(values))


def learning_curves(
    history: Mapping[str, Curve], metrics: Sequence[str] = ("loss", "accuracy"), *, log_loss: bool = False
) -> "Figure":
    """Loss and accuracy over training, one panel each, training against validation.

        learning_curves(history)        # what `fit` returns
        learning_curves({"SGD/loss": sgd["loss"], "Adam/loss": adam["loss"]})
        learning_curves({f"{name}/validation/loss": run["validation/loss"] for name, run in runs.items()})

    Args:
      history: name to (steps, values). `loss` is a training curve; `validation/loss`, or any other words
        before the last slash, join its panel.
      metrics: the panels, in order; those that nothing was logged for are left out.
      log_loss: draw the loss on a logarithmic axis.

    Returns:
      A figure with one axes for each metric found. On curves named `validation`, or with `validation` as the last
      word before the metric, the lowest loss and the highest accuracy are ringed: of all curves only these are there
      to choose by.

    Raises:
      ValueError: no metric was logged, or steps and values differ in length.
    """
    found = {metric: [name for name in history if _split(name)[1] == metric] for metric in metrics}
    found = {metric: names for metric, names in found.items() if names}
    if not found:
        raise ValueError(
            f"history must have one of {', '.join(metrics)}, got {', '.join(history) or 'nothing'}"
        )
    figure, axes = canvas.panels(len(found), columns=2, width=4.4, height=3.2)
    for panel, (metric, names) in zip(axes, found.items()):
        names.sort(key=lambda name: "/" in name)
        for i, name in enumerate(names):
            steps, values = canvas.paired(**{f"steps of {name}": history[name][0], name: history[name][1]})
            curve = _split(name)[0]
            best = _best(curve, metric, values)
            label = curve.replace("/", ", ")
            if best is not None:
                label += f", best {values[best]:.4g}"
            color, line, marker = canvas.look(i)
            panel.plot(
                steps,
                values,
                label=label if names != [metric] else None,  # the title names the only curve
                color=color,
                linestyle=line,
                linewidth=1.6,
                # Few points are evaluations: show where they are.
                marker=marker if len(steps) <= 40 else None,
                markersize=3.5,
            )
            if best is not None:
                panel.plot(steps[best], values[best], "o", color=color, markersize=9, fillstyle="none")
        canvas.style(panel, title=metric.replace("_", " "), x="step")
        if metric == "loss" and log_loss:
            panel.set_yscale("log")
    canvas.legends_below(figure)
    return figure


def weight_histograms(params: Any, *, bins: int = 40) -> "Figure":
    """How the numbers of each parameter array are distributed.

    Args:
      params: pytree of arrays.
      bins: bars of each histogram, at least 1.

    Returns:
      A figure with one axes for each array, titled with its path, shape, mean and standard deviation.

    Raises:
      ValueError: there is no array, or one holds NaN or infinity (its path is named).
    """
    checks.at_least(1, bins=bins)
    leaves = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]
    if not leaves:
        raise ValueError("params must have at least one array, got none")
    figure, axes = canvas.panels(len(leaves), columns=4, width=2.5, height=2.0)
    for i, (panel, (path, leaf)) in enumerate(zip(axes, leaves)):
        values = canvas.host(**{path or "params": leaf})
        if not np.isfinite(values).all():
            raise ValueError(
                f"{path or 'params'} must be finite, got {np.sum(~np.isfinite(values))} that are not"
            )
        panel.hist(values.ravel(), bins=bins, color=canvas.COLORS[0])
        shape = "×".join(map(str, values.shape)) or "scalar"
        canvas.style(
            panel,
            title=f"{path}\n{shape}",
            x=f"mean {values.mean():.2g}, s.d. {values.std():.2g}",
            y="" if i % 4 else "count",
        )
        for text in (panel.title, panel.xaxis.label, panel.yaxis.label):
            text.set_fontsize(canvas.TICK)
        panel.locator_params(nbins=4)
    return figure


def parameter_vs_loss(values: Any, losses: Any, *, name: str = "parameter") -> "Figure":
    """The loss along one parameter, its lowest point marked.

    Args:
      values: of the parameter, in drawing order, [N].
      losses: the loss at each, [N].
      name: of the parameter, for the axis.

    Returns:
      A figure with one axes.

    Raises:
      ValueError: the lengths differ, or no loss is finite.
    """
    values, losses = canvas.paired(values=values, losses=losses)
    if not np.isfinite(losses).any():
        raise ValueError("losses must have a finite value, got none")
    best = int(np.nanargmin(losses))
    figure, (axes,) = canvas.panels(1, columns=1, width=4.6, height=3.4)
    axes.plot(values, losses, color=canvas.COLORS[0], linewidth=1.6)
    axes.plot(values[best], losses[best], "o", color=canvas.COLORS[1], markersize=6)
    axes.annotate(
        f"{losses[best]:.4g} at {values[best]:.4g}",
        (values[best], losses[best]),
        xytext=(0, -8),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=canvas.TICK,
        color=canvas.COLORS[1],
    )
    axes.margins(y=0.15)
    canvas.style(axes, title=f"loss along {name}", x=name, y="loss")
    return figure


def gradient_flow(
    norms: Mapping[str, Mapping[Any, float]], *, x_name: str = "layer, from the input"
) -> "Figure":
    """How large the gradient is in each layer, or at each time step, for one net or for several side by side.

        viz.gradient_flow({"sigmoid": {"Dense_0": 1e-9, "Dense_1": 1e-6}, "ReLU": {...}})

    A line that falls towards the first layers is a gradient that vanishes on its way back, one that rises is a
    gradient that explodes.

    Args:
      norms: for each net, the norm of each layer's gradient by the layer's name, first layer first. Zeros cannot
        be shown on the logarithmic axis and are left out.
      x_name: what is counted from 1 along the axis.

    Returns:
      A figure with one axes and one line for each net.

    Raises:
      ValueError: there is no net, or one has no layer or a norm that is negative or not finite.
    """
    if not norms:
        raise ValueError("norms must have at least one net, got none")
    figure, (axes,) = canvas.panels(1, columns=1, width=6.0, height=3.6)
    depth = max(len(layers) for layers in norms.values())
    many = depth > 20
    for i, (net, layers) in enumerate(norms.items()):
        values = canvas.host(**{f"norms of {net}": list(layers.values())}).astype(float)
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"norms of {net} must be finite and not negative, got {values.tolist()}")
        color, line, marker = canvas.look(i)
        axes.plot(
            np.arange(1, len(values) + 1),
            np.where(values > 0, values, np.nan),
            color=color,
            linestyle=line,
            linewidth=1.6,
            marker=marker,
            markersize=4.5,
            label=net,
            markevery=depth // 10 if many else 1,
        )
    axes.set_yscale("log")
    if not many:
        axes.set_xticks(np.arange(1, depth + 1))
    canvas.style(axes, title="gradient flow", x=x_name, y="L2 norm of the gradient")
    canvas.legends_below(figure)
    return figure


def fitted_line(
    x: Any,
    y: Any,
    fits: Mapping[str, Curve],
    *,
    x_name: str = "x",
    y_name: str = "y",
    data_name: str = "data",
) -> "Figure":
    """Data of one input and one output, and what one or several models make of them.

    Args:
      x, y: the data, [N] each.
      fits: for each model, the inputs in drawing order and its outputs, [M] each.
      x_name, y_name: of the axes, with their units.
      data_name: of the points.

    Returns:
      A figure with one axes: points for the data, a line for each fit.

    Raises:
      ValueError: lengths differ, or there is nothing to draw.
    """
    x, y = canvas.paired(x=x, y=y)
    figure, (axes,) = canvas.panels(1, columns=1, width=5.4, height=3.6)
    axes.plot(x, y, "o", color=canvas.FAINT, markersize=3, label=data_name)
    for i, (name, (inputs, outputs)) in enumerate(fits.items()):
        inputs, outputs = canvas.paired(**{f"inputs of {name}": inputs, f"outputs of {name}": outputs})
        color, line, _ = canvas.look(i)
        axes.plot(inputs, outputs, linestyle=line, color=color, linewidth=1.6, label=name)
    canvas.style(axes, title=f"{y_name} against {x_name}", x=x_name, y=y_name)
    canvas.legends_below(figure)
    return figure
