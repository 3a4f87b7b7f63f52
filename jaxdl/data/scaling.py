"""Scaling that is fitted on the training set and applied to any other, on the host. N: examples."""

import dataclasses
from typing import Any

import numpy as np

from jaxdl import checks

Axis = int | tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """The map `x -> (x - offset) / scale`, with `inverse` back.

    Attributes:
      offset: float64, of the rank of the data, 1 along the axes it was fitted over.
      scale: like `offset`, never 0.
    """

    offset: np.ndarray
    scale: np.ndarray

    def __call__(self, x: Any) -> np.ndarray:
        """Scales `x`; float input keeps its dtype, integers become float32.

        Raises:
          ValueError: `x` has another rank or feature shape than the training set.
        """
        x, dtype = self._prepare(x)
        return ((x - self.offset) / self.scale).astype(dtype)

    def inverse(self, x: Any) -> np.ndarray:
        """Undoes the scaling, for instance of a prediction.

        Raises:
          ValueError: `x` has another rank or feature shape than the training set.
        """
        x, dtype = self._prepare(x)
        return (x * self.scale + self.offset).astype(dtype)

    def _prepare(self, x: Any) -> tuple[np.ndarray, np.dtype]:
        x = np.asarray(x)
        checks.shape([None if size == 1 else size for size in self.offset.shape], x=x)
        return x, x.dtype if np.issubdtype(x.dtype, np.floating) else np.dtype(np.float32)


def _fit_input(train: Any) -> np.ndarray:
    train = np.asarray(train)
    if train.ndim == 0 or train.size == 0:
        raise ValueError(f"train must hold at least one example, got shape {train.shape}")
    if not (np.issubdtype(train.dtype, np.floating) or np.issubdtype(train.dtype, np.integer)):
        raise TypeError(f"train must be numbers, got {train.dtype}")
    finite = np.isfinite(train).reshape(len(train), -1).all(axis=1)
    if not finite.all():
        raise ValueError(f"train holds NaN or infinity, first in row {int(np.argmin(finite))}")
    return train.astype(np.float64)


def _range(train: np.ndarray, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    return train.min(axis, keepdims=True), train.max(axis, keepdims=True)


def _mean(train: np.ndarray, axis: Axis) -> np.ndarray:
    low, high = _range(train, axis)
    # The sum of equal values rounds; their mean is the value itself.
    return np.where(low == high, low, train.mean(axis, keepdims=True))


def _or_one(scale: np.ndarray) -> np.ndarray:
    """Replaces the spread of a constant feature, or one too small to divide by."""
    return np.where(scale > np.finfo(np.float64).tiny, scale, 1.0)


def standardize(train: Any, axis: Axis = 0) -> Scaling:
    """Fits `(x - mean) / std`, std with divisor N: zero mean, unit variance; a constant is only centred.

        scale = standardize(train["x"])
        train["x"], test["x"] = scale(train["x"]), scale(test["x"])

    Args:
      train: the training set alone, float or integer [N, ...]. Statistics are taken in float64.
      axis: axes to take statistics over: 0 for one per feature, (0, 1, 2) for one per channel of [N, H, W,
        C].

    Returns:
      The fitted `Scaling`, a function.

    Raises:
      ValueError: no example, NaN or infinity (names the row).
      TypeError: not numbers.
    """
    train = _fit_input(train)
    mean = _mean(train, axis)
    return Scaling(mean, _or_one(np.sqrt(np.square(train - mean).mean(axis, keepdims=True))))


def min_max_scale(train: Any, low: float = 0.0, high: float = 1.0, axis: Axis = 0) -> Scaling:
    """Fits the range: `low + (high - low) (x - min) / (max - min)`; a constant feature maps to `low`.

    Args:
      train: the training set alone, float or integer [N, ...].
      low: where the training minimum goes.
      high: where the training maximum goes, above `low`. Other data may fall outside: nothing is clipped.
      axis: axes to take the range over.

    Returns:
      The fitted `Scaling`, a function.

    Raises:
      ValueError: `high` not above `low`, no example, NaN or infinity.
      TypeError: not numbers.
    """
    if not high > low:
        raise ValueError(f"high must be above low, got {high} and {low}")
    minimum, maximum = _range(_fit_input(train), axis)
    scale = _or_one(maximum - minimum) / (high - low)
    return Scaling(minimum - low * scale, scale)


def mean_normalize(train: Any, axis: Axis = 0) -> Scaling:
    """Fits `(x - mean) / (max - min)`: zero mean, range 1; a constant feature is only centred.

    Args:
      train: the training set alone, float or integer [N, ...].
      axis: axes to take statistics over.

    Returns:
      The fitted `Scaling`, a function.

    Raises:
      ValueError: no example, NaN or infinity.
      TypeError: not numbers.
    """
    train = _fit_input(train)
    low, high = _range(train, axis)
    return Scaling(_mean(train, axis), _or_one(high - low))


def scale_pixels(image: Any, low: float = 0.0, high: float = 1.0, *, max_value: float = 255.0) -> Any:
    """Maps pixels from [0, max_value] to [low, high]: `low + (high - low) image / max_value`.

    Args:
      image: pixels of any shape, uint8 or float; a NumPy array on the host, or a JAX array inside a program.
      low: what a pixel of 0 becomes; -1 for [-1, 1].
      high: what a pixel of `max_value` becomes, above `low`.
      max_value: the brightest possible pixel: 255 for 8 bits, 16 for `digits`.

    Returns:
      An array of the same kind and shape; integers become float32, floats keep their dtype, half precision rounded
      once.

    Raises:
      ValueError: `high` not above `low`, or `max_value` not positive.
    """
    if not high > low:
        raise ValueError(f"high must be above low, got {high} and {low}")
    checks.positive(max_value=max_value)
    image = image if hasattr(image, "astype") else np.asarray(image)
    floating = np.issubdtype(image.dtype, np.floating) or str(image.dtype) == "bfloat16"
    dtype = image.dtype if floating else np.dtype(np.float32)
    wide = image if dtype.itemsize >= 4 and floating else image.astype(np.float32)
    scaled = wide / float(max_value) * float(high - low) + float(low)
    return scaled if scaled.dtype == dtype else scaled.astype(dtype)


def one_hot(labels: Any, num_classes: int) -> np.ndarray:
    """Rows of zeros with a one at each label.

    Args:
      labels: integers in [0, num_classes), any shape.
      num_classes: length of the new last axis.

    Returns:
      float32, shape of `labels` + [num_classes].

    Raises:
      ValueError: a label out of range; the message names the first.
      TypeError: labels that are not integers.

    Differs from `jax.nn.one_hot`, which runs on the device and turns a label out of range into zeros.
    """
    labels = np.asarray(labels)
    checks.integer(labels=labels)
    checks.at_least(1, num_classes=num_classes)
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        raise ValueError(f"labels must lie in [0, {num_classes}), got {wrong.flat[0]}")
    return np.eye(num_classes, dtype=np.float32)[labels]
