"""Sequences: what attends to what, and a recurrent net unrolled in time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl import checks
from jaxdl.viz import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def attention_map(
    weights: Any, queries: Sequence[str] | None = None, keys: Sequence[str] | None = None
) -> "Figure":
    """How much each query attends to each key, for one or several heads on one scale.

        viz.attention_map(weights[0], "the cat sat".split(), "die Katze saß".split())

    Args:
      weights: float [Q, K], or [H, Q, K] of H heads; not negative. A masked key has 0.
      queries: Q names, such as tokens, or None for their numbers.
      keys: K names, or None for their numbers.

    Returns:
      A figure with one axes for each head, queries downwards, keys across; the darkest is the largest weight of
      all heads.

    Raises:
      ValueError: weights have another rank, are negative or not finite, or names are not as many as they.
    """
    from matplotlib.ticker import MaxNLocator

    weights = canvas.host(weights=weights).astype(float)
    checks.rank((2, 3), weights=weights)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights must be finite and not negative: give them after the softmax")
    heads = weights if weights.ndim == 3 else weights[None]
    count, rows, columns = heads.shape
    for name, names, length in (("queries", queries, rows), ("keys", keys, columns)):
        if names is not None and len(names) != length:
            raise ValueError(f"{name} must be as many as the weights', {length}, got {len(names)}")
    cell = min(0.3, 4.5 / max(rows, columns), 12 / (min(count, 4) * columns))
    wide, tall = max(1.5, cell * columns), max(0.6, cell * rows)
    below = 0.3 + (0.075 * max(map(len, keys)) if keys else 0.15)
    beside = 0.3 + (0.075 * max(map(len, queries)) if queries else 0.25)
    figure, axes = canvas.panels(
        count, columns=4, width=wide + beside / min(count, 4) + 0.45, height=tall + below + 0.45
    )
    top = float(heads.max()) or 1.0
    for i, (panel, head) in enumerate(zip(axes, heads)):
        picture = panel.imshow(head, cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
        canvas.style(
            panel,
            title=f"head {i}" if weights.ndim == 3 else "attention",
            x="key" if i >= count - 4 else "",
            y="query" if i % 4 == 0 else "",
        )
        panel.grid(False)
        panel.tick_params(length=0)
        for spine in panel.spines.values():
            spine.set_visible(True)
            spine.set_color(canvas.FAINT)
        for axis, names, outer in ((panel.xaxis, keys, True), (panel.yaxis, queries, i % 4 == 0)):
            if not outer:
                axis.set_ticks([])
            elif names is not None:
                axis.set_ticks(range(len(names)), [str(name) for name in names])
            else:
                axis.set_major_locator(MaxNLocator(8, integer=True))
        if keys is not None:
            panel.tick_params(axis="x", labelrotation=90)
        if i == min(count, 4) - 1:
            canvas.colorbar(figure, picture, panel, width=wide, label="weight")
    return figure


def _node(axes: "Axes", place: tuple[float, float], text: str, color: str) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle(place, 0.3, facecolor="white", edgecolor=color, linewidth=1.6, zorder=3))
    axes.text(*place, text, ha="center", va="center", fontsize=canvas.TITLE, color=canvas.INK, zorder=4)


def _arrow(
    axes: "Axes",
    start: tuple[float, float],
    end: tuple[float, float],
    text: str,
    color: str,
    *,
    bend: float = 0.0,
    cut: bool = False,
) -> None:
    """From the edge of one node to that of another, its weight beside it."""
    from matplotlib.patches import FancyArrowPatch

    direction = np.subtract(end, start) / np.hypot(*np.subtract(end, start))
    axes.add_patch(
        FancyArrowPatch(
            tuple(np.add(start, 0.32 * direction)),
            tuple(np.subtract(end, 0.32 * direction)),
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=0,
            shrinkB=0,
            linewidth=1.4,
            linestyle=":" if cut else "-",
            color=color,
            connectionstyle=f"arc3,rad={bend}",
            zorder=2,
        )
    )
    upwards = abs(direction[1]) > 0.5
    x, y = np.add(start, end) / 2
    axes.text(
        x + (0.08 if upwards else 0),
        y + (0 if upwards else 0.07),
        text,
        ha="left" if upwards else "center",
        va="center" if upwards else "bottom",
        fontsize=canvas.LABEL,
        color=color,
        zorder=4,
    )


def unrolled_graph(
    num_steps: int = 4, *, num_layers: int = 1, last_output: bool = False, window: int | None = None
) -> "Figure":
    """A recurrent net as it is written, and unrolled in time as it is differentiated.

    h_t = f(W_x x_t + W_h h_{t-1}),    y_t = g(W_y h_t)

    Every copy has the same weights, so the gradient of a weight is the sum over all arrows with its name.

    Args:
      num_steps: copies, from 1 to 12.
      num_layers: recurrent layers on top of each other, from 1 to 4; each reads the states of the one below.
      last_output: only the last step has an output (a sequence to one answer), not every step.
      window: truncated backpropagation: dotted arrows, after every so many steps, carry the state but no gradient;
        None for the whole.

    Returns:
      A figure with one axes: the folded net at the left, its copies at the right.

    Raises:
      ValueError: a setting is out of range.
    """
    checks.between(1, 12, num_steps=num_steps)
    checks.between(1, 4, num_layers=num_layers)
    if window is not None:
        checks.at_least(1, window=window)
    read, keep, write = canvas.COLORS[0], canvas.COLORS[1], canvas.COLORS[2]
    pitch, first = 1.55, 3.4
    figure = canvas.blank(0.62 * (first + pitch * num_steps) + 0.5, 0.62 * 1.25 * (num_layers + 2) + 0.3)
    axes = figure.add_subplot()

    def level(layer: int) -> float:
        return 1.25 * layer  # 0 are the inputs, num_layers + 1 the outputs

    def state(layer: int, step: str) -> str:
        return f"$h_{{{step}}}$" if num_layers == 1 else f"$h^{{{layer}}}_{{{step}}}$"

    def weight(name: str, layer: int) -> str:
        return f"$W_{name}$" if num_layers == 1 else f"$W^{{{layer}}}_{name}$"

    def column(x: float, step: str, output: bool) -> None:
        """One copy of the net, from its input upwards."""
        _node(axes, (x, level(0)), f"$x_{{{step}}}$", read)
        for layer in range(1, num_layers + 1):
            _node(axes, (x, level(layer)), state(layer, step), keep)
            _arrow(axes, (x, level(layer - 1)), (x, level(layer)), weight("x", layer), read)
        if output:
            _node(axes, (x, level(num_layers + 1)), f"$y_{{{step}}}$", write)
            _arrow(axes, (x, level(num_layers)), (x, level(num_layers + 1)), "$W_y$", write)

    column(0.0, "t", True)
    for layer in range(1, num_layers + 1):
        _loop(axes, (0.0, level(layer)), weight("h", layer), keep)
    middle = level(num_layers + 1) / 2
    axes.text(1.45, middle, "=", ha="center", va="center", fontsize=16, color=canvas.INK)
    for step in range(1, num_steps + 1):
        x = first + pitch * (step - 1)
        column(x, str(step), not last_output or step == num_steps)
        cut = window is not None and step > 1 and (step - 1) % window == 0
        for layer in range(1, num_layers + 1):
            if step == 1:
                axes.text(
                    x - 0.9 * pitch + 0.15,
                    level(layer),
                    state(layer, "0"),
                    ha="center",
                    va="center",
                    fontsize=canvas.TITLE,
                    color=canvas.INK,
                )
            start = (x - pitch + (0.15 if step == 1 else 0), level(layer))
            _arrow(axes, start, (x, level(layer)), weight("h", layer), keep, cut=cut)
    axes.set_xlim(-1.3, first + pitch * (num_steps - 1) + 0.6)
    axes.set_ylim(-0.45, level(num_layers + 1) + 0.45)
    axes.set_aspect("equal")
    title = f"recurrent net, unrolled over {num_steps} step{'s' if num_steps > 1 else ''}"
    if window is not None and window < num_steps:
        title += f"; dotted: no gradient, every {window}"
    axes.set_title(title, fontsize=canvas.TITLE, color=canvas.INK)
    canvas.bare(axes)
    return figure


def _loop(axes: "Axes", place: tuple[float, float], text: str, color: str) -> None:
    """An arrow from a node round to itself, at its left."""
    from matplotlib.patches import FancyArrowPatch

    x, y = place
    axes.add_patch(
        FancyArrowPatch(
            (x - 0.22, y + 0.24),
            (x - 0.22, y - 0.24),
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=0,
            shrinkB=0,
            linewidth=1.4,
            color=color,
            connectionstyle="arc3,rad=1.9",
            zorder=2,
        )
    )
    axes.text(x - 0.78, y, text, ha="right", va="center", fontsize=canvas.LABEL, color=color)
