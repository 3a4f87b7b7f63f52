"""What a model predicts, against what is so."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl import checks
from jaxdl.viz import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_matrix_plot(matrix: Any, class_names: Sequence[str] | None = None) -> "Figure":
    """Counts of each class taken for each; the shade is the share of the row, so rare classes show as well.

        confusion_matrix_plot(metrics.confusion_matrix(logits, labels, num_classes=10))

    Args:
      matrix: counts int [K, K], label by row, prediction by column.
      class_names: K names, or None for the numbers 0 to K - 1.

    Returns:
      A figure with the matrix and its scale; the accuracy is in the title.

    Raises:
      ValueError: the matrix is not square or has a negative count, or there are not K names.
    """
    matrix = canvas.host(matrix=matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be square, got shape {matrix.shape}")
    if matrix.min() < 0:
        raise ValueError(f"matrix must hold counts, got {matrix.min()}")
    classes = len(matrix)
    names = canvas.named(class_names, classes)
    total = matrix.sum()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(12.0, max(3.2, 0.42 * classes + 1.4))
    figure = canvas.blank(side + 0.6, side)
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    accuracy = np.trace(matrix) / total if total else float("nan")
    canvas.style(
        axes, title=f"accuracy {accuracy:.4f} ({np.trace(matrix):,} of {total:,})", x="predicted", y="true"
    )
    canvas.bare(axes)
    axes.tick_params(length=0)
    slanted = max(map(len, names)) > 3
    axes.set_xticks(range(classes), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(classes), names)
    digits = len(str(int(matrix.max())))
    size = min(9.0, 26 / digits) if classes <= 12 else max(3.5, 90 / classes)
    for i in range(classes):
        for j in range(classes):
            if matrix[i, j]:
                ink = "white" if shares[i, j] > 0.55 else canvas.INK
                axes.text(j, i, f"{matrix[i, j]}", ha="center", va="center", fontsize=size, color=ink)
    canvas.colorbar(figure, picture, axes, width=side - 1, label="share of the true class")
    return figure


def decision_boundary(
    predict: Callable[[np.ndarray], Any], x: Any, y: Any, *, resolution: int = 200
) -> "Figure":
    """The regions of the plane that a classifier assigns to each class, with the examples on top.

    Args:
      predict: points float32 [M, 2] -> classes int [M], or scores float [M, K].
      x: examples, float [N, 2].
      y: their classes, int [N], from 0.
      resolution: points along each side of the plane; `predict` gets all of them at once.

    Returns:
      A figure with one axes; each class has its colour and its marker.

    Raises:
      ValueError: shapes do not agree, a class is negative, or `predict` returns another shape.
      TypeError: classes are not integers.
    """
    from matplotlib.colors import ListedColormap, to_rgb

    x = canvas.host(x=x)
    checks.shape((None, 2), x=x)
    y = canvas.classes(len(x), y=y)
    checks.at_least(2, resolution=resolution)
    low, high = x.min(axis=0), x.max(axis=0)
    margin = np.where(high > low, 0.12 * (high - low), 1.0)
    low, high = low - margin, high + margin
    first, second = (np.linspace(low[i], high[i], resolution, dtype=np.float32) for i in range(2))
    points = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    classes = np.asarray(predict(points))
    if classes.ndim == 2 and len(classes) == len(points) and classes.shape[1] > 1:
        classes = classes.argmax(axis=-1)
    if classes.shape != (len(points),) or classes.dtype.kind not in "iu":
        raise ValueError(
            f"predict must return classes int ({len(points)},) or scores ({len(points)}, K) K at least 2, "
            f"got {classes.dtype} {classes.shape}"
        )
    count = int(max(classes.max(), y.max())) + 1
    palette = [to_rgb(canvas.look(i).color) for i in range(count)]
    pale = ListedColormap([[0.72 + 0.28 * channel for channel in color] for color in palette])
    figure, (axes,) = canvas.panels(1, columns=1, width=4.6, height=3.9)
    axes.imshow(
        classes.reshape(resolution, resolution),
        origin="lower",
        extent=(low[0], high[0], low[1], high[1]),
        aspect="auto",
        cmap=pale,
        vmin=-0.5,
        vmax=count - 0.5,
        interpolation="nearest",
    )
    regions = classes.reshape(resolution, resolution)
    for label in np.unique(classes)[1:]:  # borders: printed grey, the pale colours of two regions may be one
        axes.contour(first, second, regions == label, [0.5], colors=canvas.INK, linewidths=0.6, zorder=1)
    canvas.scatter(axes, x, y, canvas.named(None, count))
    canvas.style(axes, title="decision regions", x="$x_1$", y="$x_2$")
    axes.grid(False)
    canvas.legend_beside(axes, title="class")
    return figure


def predicted_vs_actual(predictions: Any, targets: Any) -> "Figure":
    """Each prediction over its target; on the line they are equal.

    Args:
      predictions: real numbers [N].
      targets: real numbers [N].

    Returns:
      A figure with one axes of equal scales.

    Raises:
      ValueError: the arrays are not of one rank-1 shape.
    """
    predictions, targets = canvas.paired(predictions=predictions, targets=targets)
    figure, (axes,) = canvas.panels(1, columns=1, width=4.0, height=4.0)
    both = np.concatenate([predictions, targets])
    ends = [float(np.nanmin(both)), float(np.nanmax(both))]
    axes.plot(ends, ends, color=canvas.INK, linewidth=1.0, zorder=1, label="predicted = actual")
    alpha = min(1.0, max(0.15, 200 / len(targets)))
    axes.scatter(targets, predictions, s=16, color=canvas.COLORS[0], alpha=alpha, linewidths=0, zorder=2)
    axes.set_aspect("equal", adjustable="datalim")
    error = float(np.sqrt(np.mean(np.square(predictions - targets))))
    canvas.style(axes, title=f"root mean squared error {error:.4g}", x="actual", y="predicted")
    canvas.legends_below(figure)
    return figure


def roc_plot(curves: Mapping[str, Sequence[Any]]) -> "Figure":
    """True against false positive rate at every threshold, for one or several classifiers.

        viz.roc_plot({"autoencoder": metrics.roc_curve(scores, labels), "distance": ...})

    The area below each curve, by the trapezoidal rule, is in the legend: 1 where every positive scores above every
    negative, 0.5 by chance.

    Args:
      curves: for each classifier, its false and its true positive rates, float [N] each in [0, 1] and not falling;
        what follows them in the sequence (a `metrics.RocCurve` has its thresholds there) is not looked at.

    Returns:
      A figure with one square axes: a line for each classifier and the diagonal of chance.

    Raises:
      ValueError: there is no curve, or one's rates differ in length, fall, or leave [0, 1] or are NaN.
    """
    if not curves:
        raise ValueError("curves must have at least one classifier, got none")
    figure, (axes,) = canvas.panels(1, columns=1, width=4.4, height=4.2)
    axes.plot([0, 1], [0, 1], color=canvas.FAINT, linewidth=1.2, label="chance, area 0.5")
    for i, (name, curve) in enumerate(curves.items()):
        rates = canvas.paired(
            **{f"false positive rates of {name}": curve[0], f"true positive rates of {name}": curve[1]}
        )
        for kind, rate in zip(("false", "true"), rates):
            if not (np.diff(rate, prepend=0, append=1) >= 0).all():
                raise ValueError(
                    f"{kind} positive rates of {name} must rise from 0 to 1, got {np.array2string(rate, threshold=8)}"
                )
        color, line, _ = canvas.look(i)
        area = np.trapezoid(rates[1].astype(float), rates[0].astype(float))
        axes.plot(*rates, color=color, linestyle=line, linewidth=1.8, label=f"{name}, area {area:.3f}")
    axes.set_aspect("equal")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    canvas.style(
        axes, title="receiver operating characteristic", x="false positive rate", y="true positive rate"
    )
    canvas.legends_below(figure)
    return figure
