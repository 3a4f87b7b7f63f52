"""The look that all figures share. Matplotlib is imported when a figure is made, never before."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdl import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Told apart with any colour vision: Okabe and Ito, "Color Universal Design", 2008, without its yellow and black; then
# three of Tol, "Colour Schemes", 2021 (muted).
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#882255",
    "#332288",
    "#999933",
    "#666666",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", "h")
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)),
)
INK, FAINT = "#333333", "#BBBBBB"
TITLE, LABEL, TICK = 10, 9, 8  # points
_LEGEND: Any = {"frameon": False, "fontsize": TICK, "labelcolor": INK, "handlelength": 2.6}


def blank(width: float, height: float) -> "Figure":
    """An empty figure of so many inches. It belongs to no window and to no global list, so nothing needs
    closing."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07)
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def panels(count: int, *, columns: int, width: float, height: float) -> tuple["Figure", list["Axes"]]:
    """A figure with `count` axes in rows of `columns`, each of so many inches."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = blank(columns * width, rows * height)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def style(axes: "Axes", *, title: str = "", x: str = "", y: str = "") -> None:
    """Titles and labels of one size, no box, a grid that stays in the background."""
    axes.set_title(title, fontsize=TITLE, color=INK)
    axes.set_xlabel(x, fontsize=LABEL, color=INK)
    axes.set_ylabel(y, fontsize=LABEL, color=INK)
    axes.tick_params(which="both", labelsize=TICK, color=FAINT, labelcolor=INK)
    axes.grid(True, color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def bare(axes: "Axes", *, title: str = "", size: int = TICK) -> None:
    """An axes for a picture: no ticks, no grid and no box."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=size, color=INK, pad=3)


def diverging() -> "Colormap":
    """Blue below the middle, orange above it, and lighter all the way, so that printed grey it keeps the sign."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "blue_grey_orange", ["#001A4D", "#3A6FB5", "#A9A9A9", "#F2A64B", "#FFF6D6"]
    )


def colorbar(figure: "Figure", image: Any, axes: "Axes", *, width: float, label: str = "") -> None:
    """A thin scale beside a picture that is so many inches wide, as tall as the picture."""
    bar = figure.colorbar(image, cax=axes.inset_axes((1 + 0.12 / width, 0, 0.12 / width, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=TICK, color=FAINT, labelcolor=INK)
    bar.set_label(label, fontsize=LABEL, color=INK)


class Look(NamedTuple):
    """How one of several curves or classes is drawn."""

    color: str
    line: Any
    marker: str


def look(index: int) -> Look:
    """The look of the curve or class of that number. 50 curves and 100 classes differ, the first ones also without
    colour."""
    kinds = len(COLORS)
    turn = index + index // kinds
    return Look(COLORS[index % kinds], LINES[turn % len(LINES)], MARKERS[turn % len(MARKERS)])


def _legend_columns(names: Sequence[str], width: float) -> int:
    """How many entries fit beside each other into so many inches."""
    return min(len(names), max(1, int(width / (0.55 + 0.06 * max(map(len, names))))))


def legends_below(figure: "Figure") -> None:
    """A legend under each axes that names something: never over its curves, wherever they run. The figure grows by
    it."""
    from matplotlib.transforms import ScaledTranslation

    lines = rows = 0
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        if not names:
            continue
        spec = axes.get_subplotspec()
        assert spec is not None
        rows, across = spec.get_gridspec().get_geometry()
        columns = _legend_columns(names, figure.get_figwidth() / across - 0.7)
        lines = max(lines, math.ceil(len(names) / columns))
        axes.legend(
            handles,
            names,
            loc="upper left",
            bbox_to_anchor=(0, 0),
            # Room for tick labels and the name of the axis, in inches.
            bbox_transform=axes.transAxes + ScaledTranslation(0, -0.47, figure.dpi_scale_trans),
            borderpad=0,
            borderaxespad=0,
            ncols=columns,
            **_LEGEND,
        )
    figure.set_figheight(figure.get_figheight() + rows * (0.19 * lines + 0.05))
    settle(figure)


def settle(figure: "Figure") -> None:
    """Lays the figure out beforehand: of axes of a fixed shape Matplotlib's layout is right at the second time only."""
    if any(axes.get_aspect() != "auto" for axes in figure.axes):
        figure.draw_without_rendering()


def shared_legend(figure: "Figure") -> None:
    """One legend at the foot of the figure for what any of its axes names. The figure grows by it."""
    names = [name for axes in figure.axes for name in axes.get_legend_handles_labels()[1]]
    columns = _legend_columns(names, figure.get_figwidth() - 0.7)
    figure.legend(loc="outside lower center", ncols=columns, **_LEGEND)
    figure.set_figheight(figure.get_figheight() + 0.19 * math.ceil(len(names) / columns) + 0.1)


def legend_beside(axes: "Axes", *, title: str = "") -> None:
    """A legend to the right of the axes, one line and one mark of the same size for each class."""
    legend = axes.legend(title=title, title_fontsize=TICK, loc="upper left", bbox_to_anchor=(1, 1), **_LEGEND)
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([26])


def named(class_names: Sequence[str] | None, count: int) -> list[str]:
    """The names of so many classes; their numbers where none are given. ValueError when there are not as many."""
    if class_names is None:
        return [str(i) for i in range(count)]
    if len(class_names) != count:
        raise ValueError(f"class_names must be as many as classes, {count}, got {len(class_names)}")
    return [str(name) for name in class_names]


def scatter(axes: "Axes", points: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    """Points [N, 2], each with the colour and marker of its class."""
    for label in np.unique(labels):
        own, (color, _, marker) = points[labels == label], look(label)
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=(26 if len(points) <= 500 else 14) * (2 if marker == "*" else 1),  # which is mostly points
            color=color,
            marker=marker,
            edgecolors="white",
            linewidths=0.7 if len(points) <= 500 else 0.3,
            label=names[label],
        )


def host(**array: Any) -> np.ndarray:
    """The one array given, on the host; half precision as float32. ValueError when it is empty or not
    numeric."""
    ((name, value),) = array.items()
    x = np.asarray(value)
    if x.dtype.name in ("bfloat16", "float16"):
        x = x.astype(np.float32)
    if x.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {x.shape}")
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {x.dtype}")
    return x


def classes(count: int, /, **labels: Any) -> np.ndarray:
    """The one array of labels given, int [count] from 0, on the host."""
    ((name, value),) = labels.items()
    y = host(**{name: value})
    checks.shape((count,), **{name: y})
    checks.integer(**{name: y})
    if y.min() < 0:
        raise ValueError(f"{name} must hold classes from 0, got {y.min()}")
    return y


def paired(**arrays: Any) -> list[np.ndarray]:
    """The arrays on the host, each a row of numbers and all equally long."""
    rows = {name: host(**{name: value}) for name, value in arrays.items()}
    checks.rank(1, **rows)
    checks.same_shape(**rows)
    return list(rows.values())
