"""The look that all figures share. Matplotlib is imported when a figure is made, never before."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart with any colour vision: Okabe and Ito, "Color Universal Design", 2008, without its yellow and
# black.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT = "#333333", "#BBBBBB"
TITLE, LABEL, TICK = 10, 9, 8  # points


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


def colorbar(figure: "Figure", image: Any, axes: "Axes", *, width: float, label: str = "") -> None:
    """A thin scale beside a picture that is so many inches wide, as tall as the picture."""
    bar = figure.colorbar(image, cax=axes.inset_axes((1 + 0.12 / width, 0, 0.12 / width, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=TICK, color=FAINT, labelcolor=INK)
    bar.set_label(label, fontsize=LABEL, color=INK)


def colors() -> Iterator[str]:
    """The palette, over and over."""
    while True:
        yield from COLORS


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


def paired(**arrays: Any) -> list[np.ndarray]:
    """The arrays on the host, each a row of numbers and all equally long."""
    rows = {name: host(**{name: value}) for name, value in arrays.items()}
    checks.rank(1, **rows)
    checks.same_shape(**rows)
    return list(rows.values())
