"""Spaces that a model makes: its codes, walks between them, maps of prototypes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl import checks
from jaxdl.viz import canvas, images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _plane(codes: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes [N, D] on the two directions in which they vary most, and the names of the axes."""
    if codes.shape[1] == 2:
        return codes, ["$z_1$", "$z_2$"]
    centred = codes - codes.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    # A singular vector has no sign of its own: its largest entry is made positive.
    rows = directions[:2]
    rows = rows * np.sign(rows[np.arange(2), np.abs(rows).argmax(axis=1)])[:, None]
    share = np.square(lengths) / max(np.sum(np.square(lengths)), np.finfo(float).tiny)
    return centred @ rows.T, [
        f"principal component {i + 1} ({share[i]:.0%} of the variance)" for i in range(2)
    ]


def latent_space(
    codes: Any, labels: Any = None, class_names: Sequence[str] | None = None, *, name: str = "latent space"
) -> "Figure":
    """Where an encoder puts the examples.

        viz.latent_space(encode(batch["image"]), batch["label"])

    Codes of two dimensions are drawn as they are, others on their first two principal components. The number of each
    class stands at the median of its codes.

    Args:
      codes: float [N, D], D at least 2, N at least 3.
      labels: classes int [N] from 0, or None.
      class_names: one for each class, or None for the numbers.
      name: of the space, for the title.

    Returns:
      A figure with one axes; each class has its colour and its marker. With principal components the axes tell their
      shares of the variance.

    Raises:
      ValueError: shapes do not agree, a code is not finite, or a class is negative or has no name.
      TypeError: labels are not integers.
    """
    from matplotlib.patheffects import withStroke

    codes = canvas.host(codes=codes).astype(float)
    checks.rank(2, codes=codes)
    if codes.shape[1] < 2 or len(codes) < 3:
        raise ValueError(f"codes must be at least 3 of at least 2 dimensions, got shape {codes.shape}")
    if not np.isfinite(codes).all():
        raise ValueError(f"codes must be finite, got {np.sum(~np.isfinite(codes))} that are not")
    points, (x, y) = _plane(codes)
    figure, (axes,) = canvas.panels(1, columns=1, width=5.2, height=4.4)
    if labels is None:
        alpha = min(1.0, max(0.15, 300 / len(points)))
        axes.scatter(*points.T, s=14, color=canvas.COLORS[0], alpha=alpha, linewidths=0)
    else:
        classes = canvas.classes(len(codes), labels=labels)
        names = canvas.named(class_names, max(int(classes.max()) + 1, len(class_names or ())))
        canvas.scatter(axes, points, classes, names)
        for label in np.unique(classes):
            x_middle, y_middle = np.median(points[classes == label], axis=0)
            axes.text(
                x_middle,
                y_middle,
                str(label),
                fontsize=canvas.TITLE,
                fontweight="bold",
                color=canvas.INK,
                ha="center",
                va="center",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
        if class_names is not None:  # so that the numbers in the picture are found
            names = [f"{i} {name}" for i, name in enumerate(names)]
            for artist, label in zip(axes.collections, np.unique(classes)):
                artist.set_label(names[label])
        canvas.legend_beside(axes, title="class")
    count, size = codes.shape
    canvas.style(axes, title=f"{name}, {count:,} codes of {size} dimensions", x=x, y=y)
    return figure


def _between(starts: np.ndarray, ends: np.ndarray, steps: int, spherical: bool) -> np.ndarray:
    """Codes [R, S, D] from each start to its end."""
    fractions = np.linspace(0, 1, steps)[None, :, None]
    if not spherical:
        return starts[:, None] * (1 - fractions) + ends[:, None] * fractions
    lengths = [np.linalg.norm(codes, axis=1, keepdims=True) for codes in (starts, ends)]
    for name, length in zip(("starts", "ends"), lengths):
        if not (length > 0).all():
            raise ValueError(f"{name} must not have a code of zeros: it has no direction")
    first, last = starts / lengths[0], ends / lengths[1]
    # By half angles: exact also where the cosine is near 1 or -1.
    angle = 2 * np.arctan2(
        np.linalg.norm(last - first, axis=1, keepdims=True),
        np.linalg.norm(last + first, axis=1, keepdims=True),
    )
    angle = angle[:, :, None]
    if (angle > np.pi - 1e-6).any():
        raise ValueError("starts and ends must not be opposite: no arc between them is the shortest")
    sine = np.sin(angle)
    straight = sine < 1e-6
    safe = np.where(straight, 1.0, sine)
    forth = np.where(straight, 1 - fractions, np.sin((1 - fractions) * angle) / safe)
    back = np.where(straight, fractions, np.sin(fractions * angle) / safe)
    length = lengths[0][:, None] * (1 - fractions) + lengths[1][:, None] * fractions
    return length * (forth * first[:, None] + back * last[:, None])


def latent_walk(
    decode: Callable[[np.ndarray], Any],
    starts: Any,
    ends: Any,
    *,
    steps: int = 9,
    spherical: bool = False,
) -> "Figure":
    """What a decoder makes of the codes on the way from one to another.

    z(t) = (1 - t) z_start + t z_end

        viz.latent_walk(decode, codes[:5], codes[5:10])
        heights = np.linspace(2, -2, 9)                         # the whole of a plane of codes
        viz.latent_walk(decode, [(-2, y) for y in heights], [(2, y) for y in heights])

    Args:
      decode: codes float32 [M, D] -> images [M, H, W], [M, H, W, 1] (grey) or [M, H, W, 3] (colours in [0, 1] or
        uint8). It gets all codes at once.
      starts: codes, float [R, D].
      ends: codes, float [R, D].
      steps: images on each way, both ends among them, at least 2.
      spherical: go round the origin, on the arc between the directions with the length changing evenly, as suits
        codes drawn from a normal distribution in many dimensions, whose straight ways pass through lengths that it
        never draws.

    Returns:
      A figure with a row for each pair; the columns tell t.

    Raises:
      ValueError: shapes do not agree, steps is below 2, `decode` returns another shape, or an arc is not defined.

    Source: White, "Sampling Generative Networks", 2016, section 2.1, on the spherical way.
    """
    starts, ends = canvas.host(starts=starts).astype(float), canvas.host(ends=ends).astype(float)
    checks.rank(2, starts=starts, ends=ends)
    checks.same_shape(starts=starts, ends=ends)
    checks.at_least(2, steps=steps)
    codes = _between(starts, ends, steps, spherical).astype(np.float32)
    rows = len(codes)
    decoded = np.asarray(decode(codes.reshape(rows * steps, -1)))
    if decoded.ndim not in (3, 4) or len(decoded) != rows * steps:
        raise ValueError(
            f"decode must return images ({rows * steps}, H, W) or ({rows * steps}, H, W, C), got {decoded.shape}"
        )
    pictures = images.pictures(3, decoded=decoded)
    return images.sheet(
        pictures.reshape(rows, steps, *pictures.shape[1:]),
        title="spherical walk" if spherical else "walk through the latent space",
        scale=images.limits(pictures),
        x="t, from start to end",
        column_names=[f"{t:.3g}" for t in np.linspace(0, 1, steps)],
    )


def _neighbour_distance(weights: np.ndarray) -> np.ndarray:
    """Mean distance of each prototype [R, C, D] from those above, below, left and right of it."""
    total, count = np.zeros(weights.shape[:2]), np.zeros(weights.shape[:2])
    for axis in (0, 1):
        apart = np.linalg.norm(np.diff(weights, axis=axis), axis=-1)
        before = [(0, 0), (0, 0)]
        after = [(0, 0), (0, 0)]
        before[axis], after[axis] = (1, 0), (0, 1)
        total += np.pad(apart, before) + np.pad(apart, after)
        count += np.pad(np.ones_like(apart), before) + np.pad(np.ones_like(apart), after)
    return total / np.maximum(count, 1)


def som_map(
    weights: Any, data: Any = None, labels: Any = None, class_names: Sequence[str] | None = None
) -> "Figure":
    """A self-organizing map: how far apart its neighbouring units are, and who answers to which data.

    Each cell is a unit; its shade is the mean distance of its prototype from those of its four neighbours (the
    U-matrix). Dark ridges divide clusters, light plains are inside of them. A mark in a cell grows with the number
    of examples that are nearest to the unit, and has the class that most of them have.

    Args:
      weights: prototypes, float [R, C, D]: those of the units in R rows and C columns.
      data: examples, float [N, D], or None.
      labels: their classes, int [N] from 0, or None; equally many of two classes give the lower one.
      class_names: one for each class, or None for the numbers.

    Returns:
      A figure with the U-matrix. Where D is 2 a second axes has the net of prototypes in the space of the data. With
      data, the title tells the quantization error: the mean distance of an example from its nearest prototype.

    Raises:
      ValueError: shapes do not agree, or labels come without data.
      TypeError: labels are not integers.

    Source: Ultsch and Siemon, "Kohonen's Self Organizing Feature Maps for Exploratory Data Analysis", 1990.
    """
    from matplotlib.colors import LinearSegmentedColormap

    weights = canvas.host(weights=weights).astype(float)
    checks.rank(3, weights=weights)
    rows, columns, size = weights.shape
    if labels is not None and data is None:
        raise ValueError("labels must come with data")
    classes, nearest, title = None, None, "U-matrix"
    if data is not None:
        data = canvas.host(data=data).astype(float)
        checks.shape((None, size), data=data)
        units = weights.reshape(-1, size)
        # One example at a time: all distances at once would need N times as much memory as the map.
        apart = np.stack([np.linalg.norm(units - example, axis=1) for example in data])
        nearest = apart.argmin(axis=1)
        title += f", quantization error {apart.min(axis=1).mean():.4g}"
        if labels is not None:
            classes = canvas.classes(len(data), labels=labels)
    names = canvas.named(
        class_names, max(0 if classes is None else int(classes.max()) + 1, len(class_names or ()))
    )
    cell = min(0.42, max(0.2, 5 / max(rows, columns)))
    width = max(2.6, cell * columns)
    figure, axes = canvas.panels(
        2 if size == 2 else 1, columns=2, width=width + 1.6, height=max(2.6, cell * rows) + 0.5
    )
    # Not down to black, so that the marks stand out.
    greys = LinearSegmentedColormap.from_list("greys", ["#FFFFFF", "#5A5A5A"])
    picture = axes[0].imshow(_neighbour_distance(weights), cmap=greys, interpolation="nearest")
    if nearest is not None:
        _mark_hits(axes[0], nearest, classes, names, columns, cell)
    canvas.style(axes[0], title=title)
    canvas.bare(axes[0])
    if classes is None:
        canvas.colorbar(figure, picture, axes[0], width=width, label="distance from neighbours")
    else:
        axes[0].set_xlabel("dark: far from the neighbours", fontsize=canvas.LABEL, color=canvas.INK)
        if size != 2:
            canvas.legend_beside(axes[0], title="class")
    if size == 2:
        _draw_net(axes[1], weights, data, classes, names)
    return figure


def _mark_hits(
    axes: "Axes",
    nearest: np.ndarray,
    classes: np.ndarray | None,
    names: Sequence[str],
    columns: int,
    cell: float,
) -> None:
    """A mark in each cell that is nearest to some example, in the look of the class of most of them."""
    units, hits = np.unique(nearest, return_counts=True)
    if classes is None:
        major = np.zeros(len(units), int)
    else:
        major = np.array([np.bincount(classes[nearest == unit]).argmax() for unit in units])
    area = np.square(54 * cell) * hits / hits.max()  # of the largest: three quarters of the cell
    for label in np.unique(major):
        own, (color, _, marker) = major == label, canvas.look(label)
        axes.scatter(
            units[own] % columns,
            units[own] // columns,
            s=np.maximum(area[own], 8),
            color=color,
            marker=marker,
            edgecolors="white",
            linewidths=0.8,
            label=names[label] if classes is not None else None,
        )


def _draw_net(
    axes: "Axes",
    weights: np.ndarray,
    data: np.ndarray | None,
    classes: np.ndarray | None,
    names: Sequence[str],
) -> None:
    """The prototypes in the plane of the data, neighbours joined."""
    if data is not None and classes is not None:
        canvas.scatter(axes, data, classes, names)
        canvas.legend_beside(axes, title="class")
    elif data is not None:
        axes.scatter(*data.T, s=10, color=canvas.FAINT, linewidths=0)
    for lines in (weights, weights.swapaxes(0, 1)):
        for line in lines:
            axes.plot(*line.T, color=canvas.INK, linewidth=0.9)
    axes.plot(*weights.reshape(-1, 2).T, "o", color=canvas.INK, markersize=2.5)
    canvas.style(axes, title="the net among the data", x="$x_1$", y="$x_2$")
