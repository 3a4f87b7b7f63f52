"""Functions of two numbers, seen from above: what optimizers walk on."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.types import Array
from jaxdl.viz import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Percent of the plane that lie below each level: levels by rank suit a bowl and a steep valley alike.
_LEVELS = (0, 0.1, 0.3, 1, 3, 7, 15, 25, 35, 45, 55, 65, 75, 85, 100)


def _relief(
    figure: "Figure", axes: "Axes", first: np.ndarray, second: np.ndarray, heights: np.ndarray, label: str
) -> None:
    """Filled contours of heights [len(second), len(first)], dark where low, white where not finite."""
    known = np.isfinite(heights)
    levels = np.unique(np.percentile(heights[known], _LEVELS))
    if len(levels) < 2:
        levels = levels[0] + np.array([-0.5, 0.5])
    greys = [str(grey) for grey in np.linspace(0.66, 0.98, len(levels) - 1)]
    masked = np.ma.masked_where(~known, heights)
    filled = axes.contourf(first, second, masked, levels, colors=greys)
    if len(levels) > 2:
        axes.contour(first, second, masked, levels[1:-1], colors="#999999", linewidths=0.5)
    bar = figure.colorbar(filled, ax=axes, ticks=levels[:: 2 if len(levels) > 8 else 1], pad=0.02, aspect=30)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=canvas.TICK, color=canvas.FAINT, labelcolor=canvas.INK)
    bar.set_label(label, fontsize=canvas.LABEL, color=canvas.INK)


def optimizer_paths(
    function: Callable[[Array], Array],
    paths: Mapping[str, Any],
    *,
    minima: Any = None,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    name: str = "f",
    resolution: int = 161,
) -> "Figure":
    """The ways that optimizers take over a function of two numbers.

        viz.optimizer_paths(rosenbrock, {"momentum": [[-1.2, 1], ...], "Nesterov": ...}, minima=[[1, 1]])

    Args:
      function: float32 [2] -> float []; JAX maps it over the plane.
      paths: for each optimizer, the points it visits in order, float [T, 2]. It ends where they stop being finite.
      minima: known lowest points, float [K, 2], drawn as stars; or None.
      limits: the lowest and the highest value shown of the first and of the second number; None to show all paths
        and minima.
      name: of the function.
      resolution: points along each side of the plane.

    Returns:
      A figure with one axes. The legend tells what each path came to, and after how many steps; it says "diverged"
      where that is not finite.

    Raises:
      ValueError: there is no path or one does not start at a finite point, shapes do not agree, or the function is
        finite nowhere.
    """
    if not paths:
        raise ValueError("paths must have at least one optimizer, got none")
    checks.at_least(2, resolution=resolution)
    visited = {}
    for optimizer, path in paths.items():
        points = canvas.host(**{optimizer: path}).astype(np.float32)
        checks.shape((None, 2), **{optimizer: points})
        broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
        end = int(broken[0]) if len(broken) else len(points)
        if end == 0:
            raise ValueError(f"{optimizer} must start at a finite point, got {points[0]}")
        visited[optimizer] = points, end
    stars = np.zeros((0, 2), np.float32) if minima is None else canvas.host(minima=minima).astype(np.float32)
    checks.shape((None, 2), minima=stars)
    if limits is None:
        shown = np.concatenate([stars, *(points[:end] for points, end in visited.values())])
        low, high = shown.min(axis=0), shown.max(axis=0)
        margin = np.where(high > low, 0.12 * (high - low), 1.0)
        low, high = low - margin, high + margin
    else:
        if np.shape(limits) != (2, 2) or not np.all(np.diff(limits) > 0):
            raise ValueError(f"limits must be two pairs, each (low, high), got {limits}")
        low, high = np.transpose(limits)
    shape = jax.eval_shape(function, jax.ShapeDtypeStruct((2,), jnp.float32))
    if getattr(shape, "shape", None) != ():
        raise ValueError(f"function must return one number, got {shape}")
    first, second = (np.linspace(low[i], high[i], resolution, dtype=np.float32) for i in range(2))
    plane = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    # The last points ride along, so that all are measured by one program.
    ends = np.stack([points[end - 1] for points, end in visited.values()])
    values = np.asarray(jax.jit(jax.vmap(function))(np.concatenate([plane, ends])), float)
    heights, reached = values[: len(plane)].reshape(resolution, resolution), values[len(plane) :]
    if not np.isfinite(heights).any():
        raise ValueError("function must be finite somewhere in the plane shown")
    figure, (axes,) = canvas.panels(1, columns=1, width=5.6, height=4.2)
    _relief(figure, axes, first, second, heights, f"value of {name}")
    for i, (optimizer, (points, end)) in enumerate(visited.items()):
        color, line, marker = canvas.look(i)
        whole = end == len(points) and np.isfinite(reached[i])
        result = f"{reached[i]:.3g} after {len(points) - 1:,} steps" if whole else f"diverged at step {end:,}"
        axes.plot(
            *points[:end].T,
            color=color,
            linestyle=line,
            linewidth=1.5,
            marker=marker,
            markersize=4.5,
            markevery=max(1, end // 12),
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=f"{optimizer}: {result}",
        )
        axes.plot(*points[end - 1], marker=marker, color=color, markersize=8, markeredgecolor=canvas.INK)
    starts = np.unique([points[0] for points, _ in visited.values()], axis=0)
    axes.plot(
        *starts.T, "o", color=canvas.INK, fillstyle="none", markersize=9, linestyle="none", label="start"
    )
    if len(stars):
        axes.plot(
            *stars.T,
            "*",
            color=canvas.INK,
            markersize=11,
            markeredgecolor="white",
            linestyle="none",
            label="minimum",
        )
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    canvas.style(axes, title=f"paths on {name}", x="$x_1$", y="$x_2$")
    axes.grid(False)
    canvas.legends_below(figure)
    return figure


def random_directions(key: Array, params: Any) -> tuple[Any, Any]:
    """Two random directions in the space of the parameters, to cut a loss surface along.

    d <- d / |d| |w|, for each filter w of params and its part d of the direction

    The parts are normal; each is made as long as the filter that it changes, so that surfaces of nets whose weights
    differ in size can be compared: a net with batch or layer norm computes the same whatever that size is. A filter
    is what makes one output: all axes of a kernel but the last. Arrays of one axis (biases, scales) stay as they are:
    their directions are 0.

    Args:
      key: of JAX.
      params: pytree of floating-point arrays.

    Returns:
      Two pytrees like params.

    Raises:
      TypeError: a parameter is not floating point.

    Source: Li, Xu, Taylor, Studer and Goldstein, "Visualizing the Loss Landscape of Neural Nets", 2018, section 4.
    """
    leaves, tree = jax.tree.flatten(params)
    checks.floating(**{f"leaf {i} of params": leaf for i, leaf in enumerate(leaves)})

    def direction(key: Array) -> Any:
        return tree.unflatten([_like(k, leaf) for k, leaf in zip(jax.random.split(key, len(leaves)), leaves)])

    first, second = jax.random.split(key)
    return direction(first), direction(second)


def _like(key: Array, leaf: Array) -> Array:
    if jnp.ndim(leaf) < 2:
        return jnp.zeros_like(leaf)
    drawn = jax.random.normal(key, leaf.shape)
    drawn, filters = (x.reshape(-1, leaf.shape[-1]) for x in (drawn, leaf.astype(jnp.float32)))
    scale = jnp.linalg.norm(filters, axis=0) / jnp.linalg.norm(drawn, axis=0)
    return (drawn * scale[None]).reshape(leaf.shape).astype(leaf.dtype)


def loss_surface(
    loss: Callable[[Any], Array],
    params: Any,
    directions: tuple[Any, Any],
    *,
    radius: float = 1.0,
    resolution: int = 41,
    names: tuple[str, str] = ("along the first direction", "along the second direction"),
) -> "Figure":
    """The loss around the parameters, on the plane that two directions span.

    loss(params + a d_1 + b d_2)

        directions = viz.random_directions(key, state.params)
        viz.loss_surface(lambda params: objective(params, batch), state.params, directions)
        viz.loss_surface(loss, {"m": 2.0, "c": 1.0}, ({"m": 1.0, "c": 0.0}, {"m": 0.0, "c": 1.0}), names=("m", "c"))

    Args:
      loss: params -> float []; JAX maps it over the plane, one point after another, so a large net needs no more
        memory than once.
      params: pytree of floating-point arrays, at the middle of the plane.
      directions: two pytrees like params.
      radius: of the plane: a and b go from -radius to radius.
      resolution: points along each side of the plane; an odd number has params among them.
      names: of the axes.

    Returns:
      A figure with one axes: a across, b upwards, a cross at params and a diamond at the lowest point of those
      computed, where that is another.

    Raises:
      ValueError: a direction is not like params, the loss is not one number or is finite nowhere, or a setting is
        out of range.
    """
    checks.positive(radius=radius)
    checks.at_least(2, resolution=resolution)
    if len(directions) != 2:
        raise ValueError(f"directions must be two, got {len(directions)}")
    params = jax.tree.map(jnp.asarray, params)
    for name, direction in zip(("first", "second"), directions):
        if jax.tree.structure(direction) != jax.tree.structure(params):
            raise ValueError(
                f"the {name} direction must be like params, {jax.tree.structure(params)}, "
                f"got {jax.tree.structure(direction)}"
            )
        for (path, leaf), part in zip(
            jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(direction)
        ):
            where = jax.tree_util.keystr(path, simple=True, separator="/") or "params"
            checks.same_shape(**{where: leaf, f"the {name} direction of {where}": part})

    def at(steps: Array) -> Array:
        return loss(
            jax.tree.map(
                lambda p, d, e: p + (steps[0] * d + steps[1] * e).astype(p.dtype), params, *directions
            )
        )

    shape = jax.eval_shape(at, jax.ShapeDtypeStruct((2,), jnp.float32))
    if getattr(shape, "shape", None) != ():
        raise ValueError(f"loss must return one number, got {shape}")
    side = np.linspace(-radius, radius, resolution, dtype=np.float32)
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    points = np.concatenate([plane, np.zeros((1, 2), np.float32)])
    values = np.asarray(jax.jit(lambda points: jax.lax.map(at, points))(points), float)
    heights, middle = values[:-1].reshape(resolution, resolution), values[-1]
    if not np.isfinite(heights).any():
        raise ValueError("loss must be finite somewhere in the plane shown")
    figure, (axes,) = canvas.panels(1, columns=1, width=5.2, height=4.0)
    _relief(figure, axes, side, side, heights, "loss")
    axes.plot(
        0,
        0,
        "X",
        color=canvas.INK,
        markersize=9,
        markeredgecolor="white",
        linestyle="none",
        label=f"params: {middle:.4g}",
    )
    lowest = int(np.nanargmin(np.where(np.isfinite(heights), heights, np.nan)))
    if heights.flat[lowest] < middle:
        axes.plot(
            *plane[lowest],
            "D",
            color=canvas.COLORS[1],
            markersize=6.5,
            markeredgecolor="white",
            linestyle="none",
            clip_on=False,  # it may lie on the rim
            label=f"lowest here: {heights.flat[lowest]:.4g}",
        )
    axes.set_aspect("equal")
    canvas.style(axes, title="loss around the parameters", x=names[0], y=names[1])
    axes.grid(False)
    canvas.legends_below(figure)
    return figure
