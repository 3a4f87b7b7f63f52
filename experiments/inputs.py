"""A user's own images and tables, as the trained models expect them."""

import pathlib

import jax
import numpy as np

from jaxdl import checks


def read_images(path: pathlib.Path) -> list[np.ndarray]:
    """Grey images, float32 [H, W] in [0, 1], from a picture, a `.npy` array [H, W] or [N, H, W], or a `.csv` of rows.

    A row of a table holds the pixels of one square image. Values above 1 are divided by the largest of the file.

    Raises:
      ValueError: the file is none of these, is empty, or holds values that are not finite.
    """
    if path.suffix == ".npy":
        values = np.load(path, allow_pickle=False)
    elif path.suffix == ".csv":
        values = read_table(path)
        side = round(values.shape[1] ** 0.5)
        if side * side != values.shape[1]:
            raise ValueError(
                f"{path}: a row of a square image has a square number of values, got {values.shape[1]}"
            )
        values = values.reshape(-1, side, side)
    else:
        values = _read_picture(path)
    values = np.asarray(values, np.float32)
    if values.ndim == 2:
        values = values[None]
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3 or not values.size:
        raise ValueError(f"{path} must hold images [N, H, W] or one [H, W], got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{path} holds values that are not finite")
    top = values.max()
    return list(values / top if top > 1 else values)


def _read_picture(path: pathlib.Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"), np.float32) / 255
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} is not a picture that Pillow can read: {error}") from None


def read_table(path: pathlib.Path) -> np.ndarray:
    """Numbers of a `.csv` file, float32 [rows, columns]; a first line of names is skipped.

    Raises:
      ValueError: a row has another length or a value is not a number; names the line.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = [float(cell) for cell in line.split(",")]
        except ValueError:
            if number == 1:
                continue
            raise ValueError(f"{path}, line {number}: not all values are numbers: {line[:60]!r}") from None
        if rows and len(row) != len(rows[0]):
            raise ValueError(f"{path}, line {number}: {len(row)} values, the rows before have {len(rows[0])}")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} holds no rows of numbers")
    return np.asarray(rows, np.float32)


def center_ink(image: np.ndarray, size: int, box: int, *, by_mass: bool) -> np.ndarray:
    """One written character as the data sets show theirs: bright ink on a dark ground, sized and centred.

    The ground is what most of the border shows; a light one is inverted. The ink's bounding box is scaled to fit `box`
    pixels, aspect kept, and put in the middle of `size` x `size`, by its centre of mass as in MNIST or by its box.

    Args:
      image: float [H, W] in [0, 1].

    Returns:
      float32 [size, size, 1] in [0, 1].

    Raises:
      ValueError: the image shows nothing.
    """
    checks.rank(2, image=image)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    if np.median(border) > 0.5:
        image = 1 - image
    image = image - np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]))
    image = np.clip(image, 0, None)
    if image.max() < 0.1:
        raise ValueError("the image shows no ink: it is nearly uniform")
    image = image / image.max()
    rows, columns = np.where(image > 0.2)
    ink = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = box / max(ink.shape)
    shape = [max(1, round(side * scale)) for side in ink.shape]
    ink = np.asarray(jax.image.resize(ink, shape, "linear", antialias=True))
    if by_mass:
        weights = ink / ink.sum()
        middle = [(weights.sum(axis=1 - axis) * np.arange(ink.shape[axis])).sum() for axis in (0, 1)]
    else:
        middle = [(side - 1) / 2 for side in ink.shape]
    start = [int(np.clip(round((size - 1) / 2 - m), 0, size - side)) for m, side in zip(middle, ink.shape)]
    framed = np.zeros((size, size, 1), np.float32)
    framed[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1], 0] = np.clip(ink, 0, 1)
    return framed
