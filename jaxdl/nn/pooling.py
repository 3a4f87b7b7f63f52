"""Pooling: one number for every window.

Shapes: B batch, ... one to three spatial axes, C channels.

Windows that do not overlap are cut out by a reshape, which costs nothing and has a cheap gradient; on CPU the
gradient of XLA's own windowed maximum (select-and-scatter) is 3 to 5 times slower. Overlapping or padded ones
use XLA's.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import lax

from jaxdl import checks
from jaxdl.nn.activations import sigmoid
from jaxdl.nn.convolution import Padding, Pairs, Size, padding_pairs, per_axis
from jaxdl.types import Array, Dtype


def window_settings(
    x: Array, window: Size, strides: Size | None, padding: Padding
) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:
    """Window, stride and padding of each spatial axis, checked against the input."""
    checks.floating(x=x)
    checks.rank((3, 4, 5), x=x)
    sizes = x.shape[1:-1]
    windows = per_axis(window, len(sizes), "window")
    steps = windows if strides is None else per_axis(strides, len(sizes), "strides")
    pairs = padding_pairs(padding, sizes, windows, steps)
    for size, one, (low, high) in zip(sizes, windows, pairs):
        if one > size + low + high:
            raise ValueError(
                f"window must fit the padded input, got {windows} on {sizes} with padding {pairs}"
            )
        if max(low, high) >= one:
            raise ValueError(f"padding must be smaller than the window, got {pairs} and {windows}")
    return windows, steps, pairs


def _cut(x: Array, windows: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """[B, H, W, C] as [B, H / h, h, W / w, w, C], less what no window reaches, and the axes of the
    windows."""
    shape = [x.shape[0]]
    for axis, (size, window) in enumerate(zip(x.shape[1:-1], windows), start=1):
        x = x if size % window == 0 else lax.slice_in_dim(x, 0, size - size % window, axis=axis)
        shape += [size // window, window]
    return x.reshape(*shape, x.shape[-1]), tuple(range(2, len(shape), 2))


def _disjoint(windows: tuple[int, ...], steps: tuple[int, ...], pairs: Pairs) -> bool:
    return windows == steps and not any(map(any, pairs))


def _windowed(x: Array, start: float, combine: Callable, windows, steps, pairs) -> Array:
    """XLA's windowed reduction, which accumulates in the dtype of x."""
    # JAX knows how to differentiate it only where it can read the start, and inside `jax.jit` it reads no JAX array.
    return lax.reduce_window(
        x, np.asarray(start, x.dtype), combine, (1, *windows, 1), (1, *steps, 1), ((0, 0), *pairs, (0, 0))
    )


def _windowed_sum(x: Array, windows, steps, pairs) -> Array:
    """In float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return _windowed(wide, 0.0, lax.add, windows, steps, pairs)


@jax.custom_jvp
def _max_of_cut(x: Array) -> Array:
    """Maximum over every second axis of [B, n, h, m, w, C]."""
    return jnp.max(x, tuple(range(2, x.ndim - 1, 2)))


@_max_of_cut.defjvp
def _max_of_cut_jvp(primals, tangents):
    # The rule of `jnp.max`, written so that XLA makes one cheap loop of its transpose: the division keeps the
    # number of maxima from being counted again for every input, and slices count faster than a reduction.
    (x,), (t,) = primals, tangents
    axes = tuple(range(2, x.ndim - 1, 2))
    y = _max_of_cut(x)
    ties = jnp.zeros_like(y)
    for place in itertools.product(*(range(x.shape[axis]) for axis in axes)):
        index = [slice(None)] * x.ndim
        for axis, i in zip(axes, place):
            index[axis] = i
        ties += x[tuple(index)] == y
    chosen = jnp.where(x == jnp.expand_dims(y, axes), t, jnp.zeros_like(t))
    return y, jnp.sum(chosen, axes) / ties


def max_pool(x: Array, window: Size, strides: Size | None = None, padding: Padding = "VALID") -> Array:
    """The largest value of each window.

    y[i, j] = max over 0 <= p, q < f of x[s i + p, s j + q]; the padding is minus infinity.

    Args:
      x: float [B, ..., C].
      window: f, one integer or one for each spatial axis.
      strides: s; None stands for the window, so that windows touch and do not overlap.
      padding: 'VALID', 'SAME', an integer, or one integer or pair for each axis, less than the window.

    Returns:
      float [B, ..., C], the spatial axes floor((n + p - f) / s) + 1 long.

    Raises:
      TypeError: x is not floating point.
      ValueError: wrong rank, a setting out of range, or a window larger than the padded input.

    Where the places of the maxima are wanted too, to unpool or to compare with PyTorch's gradient of equal
    values, take `max_pool_with_switches`.

    Differs from PyTorch and linen where several values of a window that touches no other are equally large:
    they share the gradient in equal parts, where those give all to the first.
    """
    windows, steps, pairs = window_settings(x, window, strides, padding)
    if not _disjoint(windows, steps, pairs):
        return _windowed(x, -jnp.inf, lax.max, windows, steps, pairs)
    cut, axes = _cut(x, windows)
    return _max_of_cut(cut) if math.prod(windows) <= 16 else jnp.max(cut, axes)


def sum_pool(x: Array, window: Size, strides: Size | None = None, padding: Padding = "VALID") -> Array:
    """The sum of each window.

    y[i, j] = sum over 0 <= p, q < f of x[s i + p, s j + q]; the padding is 0.

    Args, Returns and Raises are those of `max_pool`.
    """
    windows, steps, pairs = window_settings(x, window, strides, padding)
    if not _disjoint(windows, steps, pairs):
        return _windowed_sum(x, windows, steps, pairs).astype(x.dtype)
    cut, axes = _cut(x, windows)
    return jnp.sum(cut, axes)


def average_pool(
    x: Array,
    window: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    count_padding: bool = True,
) -> Array:
    """The mean of each window.

    y[i, j] = sum of the window / f^2, or / the number of its places inside x.

    Args:
      x, window, strides, padding: as in `max_pool`.
      count_padding: whether padded places count in the mean, as by default in PyTorch and linen; TensorFlow
        leaves them out.

    Returns and Raises are those of `max_pool`.
    """
    windows, steps, pairs = window_settings(x, window, strides, padding)
    if _disjoint(windows, steps, pairs):
        cut, axes = _cut(x, windows)
        return jnp.mean(cut, axes)
    total = _windowed_sum(x, windows, steps, pairs)
    count = math.prod(windows)
    if not count_padding:
        count = _windowed_sum(jnp.ones((1, *x.shape[1:-1], 1)), windows, steps, pairs)
    return (total / count).astype(x.dtype)


def pool(
    x: Array,
    reduction: Callable[..., Array],
    window: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    padding_value: float = 0.0,
) -> Array:
    """Any reduction of each window, a median or a root mean square for example.

    y[i, j] = reduction of the f^2 values x[s i + p, s j + q].

    Args:
      x, window, strides, padding: as in `max_pool`.
      reduction: `(values [B, ..., f^2, C], axis=-2) -> [B, ..., C]`, such as `jnp.median`.
      padding_value: what stands outside x.

    Returns and Raises are those of `max_pool`. It holds all windows at once; the other functions here do not.
    """
    windows, steps, pairs = window_settings(x, window, strides, padding)
    x = jnp.pad(x, ((0, 0), *pairs, (0, 0)), constant_values=padding_value)
    outs = [(n - f) // s + 1 for n, f, s in zip(x.shape[1:-1], windows, steps)]
    places = []
    for start in itertools.product(*map(range, windows)):
        place = x
        for axis, (i, n, s) in enumerate(zip(start, outs, steps), start=1):
            place = lax.slice_in_dim(place, i, i + (n - 1) * s + 1, s, axis)
        places.append(place)
    return reduction(jnp.stack(places, axis=-2), axis=-2)


def _spatial(x: Array) -> Sequence[int]:
    checks.floating(x=x)
    checks.rank((3, 4, 5), x=x)
    return tuple(range(1, x.ndim - 1))


def global_max_pool(x: Array) -> Array:
    """The largest value of each map: float [B, ..., C] -> [B, C]; the equally large share the gradient.

    Raises:
      TypeError: x is not floating point.
      ValueError: x has fewer than three or more than five axes.
    """
    return jnp.max(x, _spatial(x))


def global_average_pool(x: Array) -> Array:
    """The mean of each map: float [B, ..., C] -> [B, C].

    Raises:
      TypeError: x is not floating point.
      ValueError: x has fewer than three or more than five axes.

    Source: Lin, Chen & Yan, "Network In Network", 2013, section 3.2, arXiv:1312.4400.
    """
    return jnp.mean(x, _spatial(x))


class TrainableSubsampling(linen.Module):
    """The mean of each window, with a gain and a bias for each map, and a squashing function.

    y[b, i, j, c] = f(g_c mean of the window + b_c), from 2 C parameters.

    Attributes:
      window: one integer or one for each spatial axis.
      strides: None stands for the window.
      padding: as in `max_pool`.
      activation: f.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters `scale` [C], g, which starts at 1, and `bias` [C], which starts at 0.

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, section II.B, layer
    S2.
    Differs from the paper, which adds the window: its gain is ours divided by the number of values in one.
    """

    window: Size = 2
    strides: Size | None = None
    padding: Padding = "VALID"
    activation: Callable[[Array], Array] = sigmoid
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to float [B, ..., C], of the size that `average_pool` gives. Raises as it does."""
        mean = average_pool(x, self.window, self.strides, self.padding)
        shape = (x.shape[-1],)
        scale = self.param("scale", linen.initializers.ones, shape, self.param_dtype)
        bias = self.param("bias", linen.initializers.zeros, shape, self.param_dtype)
        mean, scale, bias = linen.dtypes.promote_dtype(mean, scale, bias, dtype=self.dtype)
        ones = (1,) * (mean.ndim - 1)
        return self.activation(mean * scale.reshape(*ones, -1) + bias.reshape(*ones, -1))
