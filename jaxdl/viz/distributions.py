"""How numbers are distributed: classes, features, anomaly scores."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl import checks
from jaxdl.viz import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx")


def class_counts(labels: Any, class_names: Sequence[str] | None = None) -> "Figure":
    """How many examples each class has.

        viz.class_counts(batch["label"], ["approved", "refused"])

    Args:
      labels: classes int [N], from 0.
      class_names: one for each class, also for those without examples; None for the numbers up to the largest.

    Returns:
      A figure with a bar for each class, its count and its share written beside it.

    Raises:
      ValueError: labels are not [N], one is negative or has no name.
      TypeError: labels are not integers.
    """
    labels = canvas.host(labels=labels)
    checks.rank(1, labels=labels)
    labels = canvas.classes(len(labels), labels=labels)
    counts = np.bincount(labels, minlength=0 if class_names is None else len(class_names))
    names = canvas.named(class_names, len(counts))
    figure, (axes,) = canvas.panels(1, columns=1, width=5.0, height=0.9 + 0.27 * len(counts))
    bars = axes.barh(range(len(counts)), counts, color=canvas.COLORS[0], height=0.72)
    axes.bar_label(
        bars,
        [f"{count:,}  ({count / len(labels):.1%})" for count in counts],
        padding=3,
        fontsize=canvas.TICK,
        color=canvas.INK,
    )
    axes.set_yticks(range(len(counts)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.28 * counts.max())  # room for the largest bar's count
    examples = f"{len(labels):,} example{'s' if len(labels) > 1 else ''}"
    canvas.style(axes, title=f"{examples} of {len(counts)} classes", x="examples")
    axes.grid(False, axis="y")
    return figure


def _edges(values: np.ndarray) -> np.ndarray:
    """Bars of one width: one for each value where these are few integers, else by the rule of Freedman and Diaconis,
    "On the Histogram as a Density Estimator", 1981, but from 10 to 60."""
    distinct = np.unique(values)
    if np.ptp(distinct) <= 40 and np.all(distinct == np.round(distinct)):
        return np.arange(distinct[0], distinct[-1] + 2) - 0.5
    box = np.subtract(*np.percentile(values, [75, 25]))
    bars = np.ptp(values) * np.cbrt(len(values)) / (2 * box) if box > 0 else 0
    return np.histogram_bin_edges(values, int(np.clip(math.ceil(bars), 10, 60)))


def _number(value: float) -> str:
    """Four digits; thousands in full."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def _column(name: str, values: Any) -> np.ndarray:
    """One feature [N]; NaN stands for a missing value, infinity for a mistake."""
    column = canvas.host(**{name: values}).astype(float)
    checks.rank(1, **{name: column})
    if np.isinf(column).any() or np.isnan(column).all():
        raise ValueError(
            f"{name} must have finite values, got {np.isinf(column).sum()} infinite of {len(column)}"
        )
    return column


def feature_histogram(features: Mapping[str, Any]) -> "Figure":
    """The distribution of each feature: a histogram, and above it the box plot.

        viz.feature_histogram({"age in years": age, "income in $": income})

    The box reaches from the first to the third quartile with a line at the median; the whiskers to the last values
    within 1.5 boxes from it; dots are further out.

    Args:
      features: name, with its unit, to values [N]; NaN stands for a missing value.

    Returns:
      A figure with two axes for each feature, the box plot and below it the histogram; the title tells the mean,
      the standard deviation (of the population) and how many values are missing.

    Raises:
      ValueError: there is no feature, or one is not [N], is infinite somewhere or missing everywhere.

    Source: Tukey, "Exploratory Data Analysis", 1977, on the box plot.
    """
    if not features:
        raise ValueError("features must have at least one feature, got none")
    columns = min(3, len(features))
    rows = math.ceil(len(features) / columns)
    figure = canvas.blank(3.4 * columns if len(features) > 1 else 4.6, 3.0 * rows)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[1, 5] * rows)
    for i, (name, values) in enumerate(features.items()):
        column = _column(name, values)
        known = column[~np.isnan(column)]
        row, place = 2 * (i // columns), i % columns
        lower = figure.add_subplot(grid[row + 1, place])
        upper = figure.add_subplot(grid[row, place], sharex=lower)
        lower.hist(known, _edges(known).tolist(), color=canvas.COLORS[0], edgecolor="white", linewidth=0.4)
        upper.boxplot(
            known,
            orientation="horizontal",
            widths=0.6,
            patch_artist=True,
            boxprops={"facecolor": "#D6E6F2", "edgecolor": canvas.INK},
            medianprops={"color": canvas.COLORS[1], "linewidth": 2},
            whiskerprops={"color": canvas.INK},
            capprops={"color": canvas.INK},
            flierprops={"marker": ".", "markersize": 3, "alpha": 0.4, "markeredgecolor": canvas.INK},
        )
        missing = len(column) - len(known)
        title = f"mean {_number(known.mean())}, s.d. {_number(known.std())}" + (
            f", {missing:,} missing" if missing else ""
        )
        canvas.style(lower, x=name, y="examples" if place == 0 else "")
        canvas.style(upper, title=title)
        upper.title.set_fontsize(canvas.LABEL)
        upper.set_yticks([])
        upper.tick_params(labelbottom=False, length=0)
        upper.grid(False)
        for side in ("left", "bottom"):
            upper.spines[side].set_visible(False)
        lower.locator_params(axis="x", nbins=6)
    return figure


def feature_scatter(
    features: Mapping[str, Any],
    *,
    target: Any = None,
    labels: Any = None,
    target_name: str = "target",
    class_names: Sequence[str] | None = None,
) -> "Figure":
    """Features against a target that is a number, or against each other where it is a class.

        viz.feature_scatter({"size in m²": size, "age in years": age}, target=price, target_name="price in $")
        viz.feature_scatter({"petal length in cm": x[:, 2], "petal width in cm": x[:, 3]}, labels=species)

    Args:
      features: name, with its unit, to values [N].
      target: real numbers [N]: one panel for each feature, with its correlation with the target.
      labels: classes int [N] from 0: one panel for each pair of the 2 to 5 features.
      target_name: of the vertical axis.
      class_names: one for each class, or None for the numbers.

    Returns:
      A figure with those panels.

    Raises:
      ValueError: not exactly one of target and labels is given, lengths differ, or there are too few or too many
        features.
      TypeError: labels are not integers.
    """
    if (target is None) == (labels is None):
        raise ValueError("give either target or labels")
    if target is not None:
        return _against_target(features, target, target_name)
    if not 2 <= len(features) <= 5:
        raise ValueError(f"features with labels must be 2 to 5, got {len(features)}")
    (first, values), *_ = features.items()
    classes = canvas.classes(len(canvas.host(**{first: values})), labels=labels)
    names = canvas.named(class_names, max(int(classes.max()) + 1, len(class_names or ())))
    pairs = list(combinations(features, 2))
    figure, axes = canvas.panels(len(pairs), columns=3, width=3.0 if len(pairs) > 1 else 4.4, height=2.9)
    for panel, (x, y) in zip(axes, pairs):
        both = np.stack(canvas.paired(**{x: features[x], y: features[y]}), axis=1)
        checks.same_leading(1, labels=classes, **{y: both})
        canvas.scatter(panel, both, classes, names)
        canvas.style(panel, x=x, y=y)
    figure.suptitle(f"{len(classes):,} examples", fontsize=canvas.TITLE, color=canvas.INK)
    canvas.legend_beside(axes[min(len(pairs), 3) - 1], title="class")
    return figure


def _against_target(features: Mapping[str, Any], target: Any, target_name: str) -> "Figure":
    if not features:
        raise ValueError("features must have at least one feature, got none")
    figure, axes = canvas.panels(
        len(features), columns=3, width=3.0 if len(features) > 1 else 4.4, height=2.9
    )
    for i, (panel, name) in enumerate(zip(axes, features)):
        y, x = canvas.paired(**{target_name: target, name: features[name]})
        alpha = min(1.0, max(0.15, 200 / len(x)))
        panel.scatter(x, y, s=14, color=canvas.COLORS[0], alpha=alpha, linewidths=0)
        varies = np.ptp(x) > 0 and np.ptp(y) > 0
        correlation = f"{np.corrcoef(x, y)[0, 1]:.2f}" if varies else "none"
        canvas.style(panel, title=f"correlation {correlation}", x=name, y=target_name if i % 3 == 0 else "")
    return figure


def anomaly_histogram(
    scores: Mapping[str, Any], threshold: float | None = None, *, score_name: str = "anomaly score"
) -> "Figure":
    """Anomaly scores of normal and other examples, and how many of each lie above the threshold.

        viz.anomaly_histogram({"normal": errors, "anomalous": others}, threshold, score_name="squared error")

    The heights are shares of each group, so a few anomalies show beside many normal examples. The axis is
    logarithmic where all scores are positive and the largest is above 100 times the smallest median of a group.

    Args:
      scores: group to its scores, real [N].
      threshold: score above which an example is called an anomaly, or None.
      score_name: of the axis.

    Returns:
      A figure with one axes; the share above the threshold is in the legend.

    Raises:
      ValueError: there is no group, or one is not [N] or not finite.
    """
    if not scores:
        raise ValueError("scores must have at least one group, got none")
    groups = {}
    for name, values in scores.items():
        groups[name] = canvas.host(**{name: values}).astype(float)
        checks.rank(1, **{name: groups[name]})
        if not np.isfinite(groups[name]).all():
            raise ValueError(
                f"{name} must be finite, got {np.sum(~np.isfinite(groups[name]))} scores that are not"
            )
    every = np.concatenate(list(groups.values()))
    wide = every.min() > 0 and every.max() > 100 * min(np.median(group) for group in groups.values())
    bars = round(min(40, max(10, 3 * math.sqrt(min(map(len, groups.values()))))))
    if wide:
        edges = np.geomspace(every.min(), every.max(), bars + 1)
    else:
        edges = np.histogram_bin_edges(every, bars)
    # No bar holds scores of both sides; one on the threshold is not above it.
    if threshold is not None and edges[0] < threshold < edges[-1]:
        edges[np.abs(edges - threshold)[1:-1].argmin() + 1] = np.nextafter(threshold, np.inf)
    figure, (axes,) = canvas.panels(1, columns=1, width=5.4, height=3.4)
    for i, (name, group) in enumerate(groups.items()):
        share = np.histogram(group, edges)[0] / len(group)
        color, line, _ = canvas.look(i)
        label = f"{name} ({len(group):,})"
        if threshold is not None:
            label += f": {np.mean(group > threshold):.1%} above"
        axes.stairs(share, edges, fill=True, facecolor=color, alpha=0.25, hatch=HATCHES[i % len(HATCHES)])
        axes.stairs(share, edges, color=color, linestyle=line, linewidth=1.6, label=label)
    if threshold is not None:
        axes.axvline(threshold, color=canvas.INK, linewidth=1.4, label=f"threshold {threshold:.4g}")
    if wide:
        axes.set_xscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    canvas.style(axes, title="distribution of scores", x=score_name, y="share of the group")
    canvas.legends_below(figure)
    return figure
