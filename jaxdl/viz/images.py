"""Pictures: examples, kernels, activations."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl import checks
from jaxdl.viz import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _check_range(images: np.ndarray) -> None:
    """Matplotlib would clip colours outside [0, 1] without saying so."""
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and not (low >= 0 and high <= 1):
        raise ValueError(f"images with 3 channels must be in [0, 1], got values from {low:.3g} to {high:.3g}")


def image_grid(images: Any, titles: Sequence[str] | None = None, columns: int | None = None) -> "Figure":
    """Images side by side.

        image_grid(batch["image"][:20], titles=[f"{t} read as {p}" for t, p in zip(labels, predictions)])

    Args:
      images: [N, H, W], [N, H, W, 1] (grey; one scale for all of them) or [N, H, W, 3] (colours: float in [0,
        1], or uint8).
      titles: one for each image, or None.
      columns: images in a row; about as many as rows when None.

    Returns:
      A figure with N axes, from left to right and top to bottom.

    Raises:
      ValueError: the images have another shape or colours out of range, or there are not N titles.
      TypeError: the images are not real numbers.
    """
    images = canvas.host(images=images)
    checks.rank((3, 4), images=images)
    if images.ndim == 4 and images.shape[-1] not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, got shape {images.shape}")
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.ndim == 4:
        _check_range(images)
    count, height, width = images.shape[:3]
    if titles is not None and len(titles) != count:
        raise ValueError(f"titles must be as many as images, {count}, got {len(titles)}")
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    checks.at_least(1, columns=columns)
    lines = 0 if titles is None else 1 + max(str(title).count("\n") for title in titles)
    side = 1.15
    figure, axes = canvas.panels(
        count,
        columns=columns,
        width=side * max(1.0, width / height),
        height=side * max(1.0, height / width) + 0.17 * lines,
    )
    low, high = float(images.min()), float(images.max())
    for i, cell in enumerate(axes):
        if images.ndim == 3:
            cell.imshow(
                images[i],
                cmap="gray",
                vmin=low,
                vmax=high if high > low else low + 1,
                interpolation="nearest",
            )
        else:
            cell.imshow(images[i], interpolation="nearest")
        canvas.bare(cell, title="" if titles is None else str(titles[i]))
    return figure


def mosaic(tiles: np.ndarray) -> tuple[np.ndarray, int]:
    """Tiles [rows, columns, H, W] as one image, and the gap between tiles in it.

    Tiles are enlarged to 24 pixels or more, so that the lines of NaN between them can be thin.
    """
    scale = -(-24 // min(24, *tiles.shape[2:]))
    tiles = tiles.repeat(scale, axis=2).repeat(scale, axis=3)
    rows, columns, height, width = tiles.shape
    gap = max(2, max(height, width) // 12)
    framed = np.full((rows, columns, height + gap, width + gap), np.nan, np.float32)
    framed[:, :, :height, :width] = tiles
    image = framed.transpose(0, 2, 1, 3).reshape(rows * (height + gap), columns * (width + gap))
    return image[:-gap, :-gap], gap


def _draw_mosaic(
    tiles: np.ndarray, *, title: str, x: str, y: str, cmap: str, limits: tuple[float, float]
) -> "Figure":
    rows, columns = tiles.shape[:2]
    image, gap = mosaic(tiles)
    cell = min(1.0, max(0.45, 7.0 / columns))
    wide = columns * cell
    tall = wide * image.shape[0] / image.shape[1]
    figure = canvas.blank(wide + 1.1, tall + (0.85 if x else 0.5))
    axes = figure.add_subplot()
    picture = axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    canvas.style(axes, title=title, x=x, y=y)
    canvas.bare(axes)
    axes.tick_params(length=0)
    if x:
        pitch = (image.shape[1] + gap) / columns
        axes.set_xticks([pitch * i + (pitch - gap - 1) / 2 for i in range(columns)], map(str, range(columns)))
    if y:
        pitch = (image.shape[0] + gap) / rows
        axes.set_yticks([pitch * i + (pitch - gap - 1) / 2 for i in range(rows)], map(str, range(rows)))
    canvas.colorbar(figure, picture, axes, width=wide)
    return figure


def filters(kernel: Any) -> "Figure":
    """The weights of a convolution, one square for each pair of channels.

    Blue is negative, white is zero, red is positive, on one scale for all.

        filters(state.params["Conv_0"]["kernel"])

    Args:
      kernel: float [H, W, I, O].

    Returns:
      A figure: a row for each input channel, a column for each output; with one input channel, wrapped into
        rows.

    Raises:
      ValueError: the kernel is not of rank 4.
    """
    kernel = canvas.host(kernel=kernel)
    checks.rank(4, kernel=kernel)
    tiles = kernel.transpose(2, 3, 0, 1)
    one_input = tiles.shape[0] == 1
    if one_input:
        tiles = wrapped(tiles[0])
    limit = float(np.abs(kernel).max()) or 1.0
    size = f"{kernel.shape[0]}×{kernel.shape[1]}"
    return _draw_mosaic(
        tiles,
        title=f"{kernel.shape[3]} filters, {size}",
        x="" if one_input else "output channel",
        y="" if one_input else "input channel",
        cmap="RdBu_r",
        limits=(-limit, limit),
    )


def wrapped(tiles: np.ndarray) -> np.ndarray:
    """Tiles [N, H, W] in rows about as many as columns, [rows, columns, H, W]; what is left over is NaN."""
    count = len(tiles)
    columns = count if count <= 8 else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = np.full((rows * columns, *tiles.shape[1:]), np.nan, np.float32)
    padded[:count] = tiles
    return padded.reshape(rows, columns, *tiles.shape[1:])


def feature_maps(activations: Any) -> "Figure":
    """What each channel of a layer answers to one image, on one scale.

    Args:
      activations: float [H, W, C], of one example.

    Returns:
      A figure with C squares, from left to right and top to bottom.

    Raises:
      ValueError: the activations are not of rank 3.
    """
    activations = canvas.host(activations=activations)
    if activations.ndim != 3:
        raise ValueError(f"activations must be of one example, [H, W, C], got shape {activations.shape}")
    low, high = float(activations.min()), float(activations.max())
    height, width, channels = activations.shape
    return _draw_mosaic(
        wrapped(activations.transpose(2, 0, 1)),
        title=f"{channels} feature maps, {height}×{width}",
        x="",
        y="",
        cmap="viridis",
        limits=(low, high if high > low else low + 1),
    )
