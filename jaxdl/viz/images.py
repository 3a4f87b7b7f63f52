"""Pictures: examples, kernels, activations."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl import checks, files
from jaxdl.viz import canvas

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


def pictures(rank: int, /, **arrays: Any) -> np.ndarray:
    """The one array of images given, on the host, with so many axes besides its channels: [..., H, W] when grey,
    [..., H, W, 3] when coloured.

    Colours must be uint8 or in [0, 1]: Matplotlib would clip others without saying so.
    """
    ((name, value),) = arrays.items()
    images = canvas.host(**{name: value})
    checks.rank((rank, rank + 1), **{name: images})
    if images.ndim == rank:
        return images
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"{name} must have 1 or 3 channels, got shape {images.shape}")
    if images.shape[-1] == 1:
        return images[..., 0]
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and not (low >= 0 and high <= 1):
        raise ValueError(f"{name} with 3 channels must be in [0, 1], got values from {low:.3g} to {high:.3g}")
    return images


def limits(images: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest value, apart also where all are one; ends of a scale."""
    low, high = float(np.nanmin(images)), float(np.nanmax(images))
    return low, high if high > low else low + 1


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
    images = pictures(3, images=images)
    count, height, width = images.shape[:3]
    if titles is not None and len(titles) != count:
        raise ValueError(f"titles must be as many as images, {count}, got {len(titles)}")
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    checks.at_least(1, columns=columns)
    written = [] if titles is None else [str(title).split("\n") for title in titles]
    lines = max(map(len, written), default=0)
    longest = max((len(line) for title in written for line in title), default=0)
    side = 1.15
    figure, axes = canvas.panels(
        count,
        columns=columns,
        width=max(side * max(1.0, width / height), 0.068 * longest + 0.15),
        height=side * max(1.0, height / width) + 0.17 * lines,
    )
    low, high = limits(images)
    for i, cell in enumerate(axes):  # the scale matters to grey images alone
        cell.imshow(images[i], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        canvas.bare(cell, title="" if titles is None else str(titles[i]))
    return figure


def mosaic(tiles: np.ndarray) -> tuple[np.ndarray, int]:
    """Tiles [rows, columns, H, W] or [rows, columns, H, W, 3] as one image, and the gap between tiles in it.

    Tiles are enlarged to 24 pixels or more, so that the lines of NaN (white among colours) between them can be thin.
    """
    if tiles.ndim == 5 and tiles.dtype == np.uint8:
        tiles = tiles / np.float32(255)
    rows, columns, height, width, *channels = tiles.shape
    scale = -(-24 // min(24, height, width))
    tiles = tiles.repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = scale * height, scale * width
    gap = max(2, max(height, width) // 12)
    empty = 1.0 if channels else np.nan
    framed = np.full((rows, columns, height + gap, width + gap, *channels), empty, np.float32)
    framed[:, :, :height, :width] = tiles
    image = framed.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), *channels)
    return image[:-gap, :-gap], gap


def sheet(
    tiles: np.ndarray,
    *,
    title: str,
    scale: tuple[float, float],
    cmap: "str | Colormap" = "gray",
    bar: bool = False,
    x: str = "",
    y: str = "",
    column_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
) -> "Figure":
    """Tiles in rows and columns on one axes, as `mosaic` lays them; with a bar that explains the scale."""
    rows, columns = tiles.shape[:2]
    image, gap = mosaic(tiles)
    cell = min(1.0, max(0.45, 7.0 / columns))
    wide = columns * cell
    tall = wide * image.shape[0] / image.shape[1]
    names = 0.1 + 0.075 * max(map(len, "\n".join(row_names).split("\n"))) if row_names else 0
    below = (0.25 if column_names else 0) + (0.2 if x else 0)
    figure = canvas.blank(
        max(wide + 0.2 + (0.9 if bar else 0) + (0.25 if y else 0) + names, 0.3 + 0.075 * len(title)),
        tall + 0.5 + below,
    )
    axes = figure.add_subplot()
    picture = axes.imshow(image, cmap=cmap, vmin=scale[0], vmax=scale[1], interpolation="nearest")
    canvas.style(axes, title=title, x=x, y=y)
    canvas.bare(axes)
    axes.tick_params(length=0)
    if column_names:
        pitch = (image.shape[1] + gap) / columns
        axes.set_xticks([pitch * i + (pitch - gap - 1) / 2 for i in range(columns)], column_names)
    if row_names:
        pitch = (image.shape[0] + gap) / rows
        axes.set_yticks([pitch * i + (pitch - gap - 1) / 2 for i in range(rows)], row_names)
    if bar:
        canvas.colorbar(figure, picture, axes, width=wide)
    canvas.settle(figure)
    return figure


def filters(kernel: Any) -> "Figure":
    """The weights of a convolution, one square for each pair of channels.

    Dark blue is negative, grey is zero, light orange is positive, on one scale for all.

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
    inputs, outputs = kernel.shape[2:]
    return sheet(
        tiles,
        title=f"{outputs} filters, {kernel.shape[0]}×{kernel.shape[1]}",
        scale=(-limit, limit),
        cmap=canvas.diverging(),
        bar=True,
        x="" if one_input else "output channel",
        y="" if one_input else "input channel",
        column_names=None if one_input else [str(i) for i in range(outputs)],
        row_names=None if one_input else [str(i) for i in range(inputs)],
    )


def wrapped(tiles: np.ndarray) -> np.ndarray:
    """Tiles [N, H, W(, 3)] in rows about as many as columns; what is left over is empty, as in `mosaic`."""
    count = len(tiles)
    columns = count if count <= 8 else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    if tiles.ndim == 4 and tiles.dtype == np.uint8:
        tiles = tiles / np.float32(255)
    empty = 1.0 if tiles.ndim == 4 else np.nan
    padded = np.full((rows * columns, *tiles.shape[1:]), empty, np.float32)
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
    height, width, channels = activations.shape
    return sheet(
        wrapped(activations.transpose(2, 0, 1)),
        title=f"{channels} feature maps, {height}×{width}",
        scale=limits(activations),
        cmap="viridis",
        bar=True,
    )


def reconstructions(rows: Mapping[str, Any]) -> "Figure":
    """Images in the first row, and below each what was made of it.

        viz.reconstructions({"original": x[:10], "noisy": noisy[:10], "denoised": decoded[:10]})

    Args:
      rows: name to images, all of one shape: [N, H, W], [N, H, W, 1] (grey) or [N, H, W, 3] (colours: float in [0,
        1], or uint8). Grey images have the scale of the first row; what lies beyond is drawn black or white.

    Returns:
      A figure with one row for each name, a column for each image; the mean squared error against the first row
      stands below the name, over all that is drawn and in the square of its unit.

    Raises:
      ValueError: there are fewer than two rows, shapes differ, or colours are out of range.
    """
    if len(rows) < 2:
        raise ValueError(f"rows must be at least 2, got {', '.join(rows) or 'none'}")
    drawn = {name: pictures(3, **{name: images}) for name, images in rows.items()}
    checks.same_shape(**drawn)
    first, *others = (images.astype(float) for images in drawn.values())
    errors = [""] + [f"\nerror {np.mean(np.square(other - first)):.3g}" for other in others]
    names = list(drawn)
    many = len(names) > 4
    return sheet(
        np.stack(list(drawn.values())),
        title=f"{names[0]} and {len(others)} others" if many else f"{', '.join(names[:-1])} and {names[-1]}",
        scale=limits(first),
        row_names=[name + error for name, error in zip(drawn, errors)],
    )


def sample_evolution(
    samples: Mapping[int, Any], path: files.Path, *, step_name: str = "step", frame_seconds: float = 0.3
) -> "Figure":
    """How the samples of a generative model change while it trains: a film, and a strip of its frames.

        codes = jax.random.normal(key, (16, latent_dim))        # the same at every step
        samples[step] = generate(state.params, codes)
        viz.sample_evolution(samples, folder / "samples.gif").savefig(folder / "samples.png")

    The film repeats for ever and holds its last frame for two seconds.

    Args:
      samples: training step to images, all of one shape: [N, H, W], [N, H, W, 1] (grey; one scale for all) or
        [N, H, W, 3] (colours: float in [0, 1], or uint8). Shown in rising order of the steps.
      path: the file to write, ending in .gif; whole or absent, also when the process is killed.
      step_name: what the steps count, such as "epoch".
      frame_seconds: how long a frame is shown; GIF counts in 0.01 s and players slow down what is below 0.02.

    Returns:
      A figure of at most 8 of the steps, evenly chosen with the first and the last: a row for each, its columns the
      first 12 samples at most. The file has a frame with all samples for each step.

    Raises:
      ValueError: there is no step, shapes differ, colours are out of range, frame_seconds is below 0.02, or the path
        does not end in .gif.
      OSError: the file cannot be written; the message names it.

    Needs Pillow.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    if not samples:
        raise ValueError("samples must have at least one step, got none")
    checks.at_least(0.02, frame_seconds=frame_seconds)
    if pathlib.Path(path).suffix.lower() != ".gif":
        raise ValueError(f"path must end in .gif, got {path}")
    steps = sorted(samples)
    drawn = {f"{step_name} {step:,}": pictures(3, **{f"samples[{step}]": samples[step]}) for step in steps}
    checks.same_shape(**drawn)
    images = np.stack(list(drawn.values()))
    scale = limits(images)
    titles = list(drawn)
    widest = max(titles, key=len)
    film = sheet(wrapped(images[0]), title=widest, scale=scale)
    agg = FigureCanvasAgg(film)
    film.set_dpi(100)
    agg.draw()
    film.set_layout_engine("none")  # the picture stands still
    (axes,) = film.axes
    frames = []
    for title, sample in zip(titles, images):
        axes.images[0].set_data(mosaic(wrapped(sample))[0])
        axes.set_title(title, fontsize=canvas.TITLE, color=canvas.INK)
        agg.draw()
        frames.append(Image.fromarray(np.array(agg.buffer_rgba())[..., :3]))
    milliseconds = [round(1000 * frame_seconds)] * (len(frames) - 1) + [2000]
    with files.atomic_path(path) as part:
        frames[0].save(part, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    chosen = np.unique(np.linspace(0, len(steps) - 1, 8).round().astype(int))
    return sheet(
        images[chosen, :12],
        title="samples during training",
        scale=scale,
        y=step_name,
        row_names=[f"{steps[i]:,}" for i in chosen],
    )
