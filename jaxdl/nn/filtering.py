"""Convolution as a function of two arrays: signals and images with a given kernel.

Shapes: n sizes of x, k sizes of the kernel, s strides, d dilation; with channels B batch, C input channels, F
output channels.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl import checks
from jaxdl.nn.convolution import Padding, Size, explicit_pairs, padding_pairs, per_axis
from jaxdl.nn.convolution_forms import Pairs, convolution, lax_convolution
from jaxdl.types import Array

# The most rows and columns of a kernel to write out one by one; XLA's own form takes larger ones.
MOST_OPERATIONS = 64

Geometry = tuple[tuple[int, ...], Pairs, tuple[int, ...]]


def _at_least_rank(minimum: int, x: Array) -> None:
    if x.ndim < minimum:
        raise ValueError(f"x must have rank {minimum} or more, got shape {x.shape}")


def geometry(
    x: Array, kernel: Array, strides: Size, padding: Padding, dilation: Size, groups: int, channels: bool
) -> Geometry:
    """The checks of `cross_correlate`, and its strides, padding and dilation, one of each for every axis."""
    checks.floating(x=x, kernel=kernel)
    checks.at_least(1, groups=groups)
    if channels:
        _at_least_rank(3, x)
        checks.rank(x.ndim, kernel=kernel)
        checks.divisible(groups, "groups", features=kernel.shape[-1], channels=x.shape[-1])
        checks.shape((*(None,) * (x.ndim - 2), x.shape[-1] // groups, None), kernel=kernel)
        sizes, window = x.shape[1:-1], kernel.shape[:-2]
    else:
        _at_least_rank(1, x)
        checks.rank(x.ndim, kernel=kernel)
        if groups != 1:
            raise ValueError(f"groups must be 1 without channels, got {groups}")
        sizes, window = x.shape, kernel.shape
    if 0 in window:
        raise ValueError(f"kernel must not be empty, got shape {kernel.shape}")
    rank = len(sizes)
    steps, gaps = per_axis(strides, rank, "strides"), per_axis(dilation, rank, "dilation")
    reach = [(k - 1) * d for k, d in zip(window, gaps)]
    if isinstance(padding, str):
        checks.one_of(("VALID", "SAME", "CAUSAL", "FULL"), padding=padding)
        if padding == "CAUSAL" and rank != 1:
            raise ValueError(f"padding 'CAUSAL' must have one axis, that of time, got {rank}")
    if padding == "FULL":
        pairs = tuple((r, r) for r in reach)
    elif padding == "CAUSAL":
        pairs = ((reach[0], 0),)
    else:
        pairs = padding_pairs(padding, sizes, window, steps, gaps)
    for n, r, (low, high) in zip(sizes, reach, pairs):
        if r + 1 > n + low + high:
            raise ValueError(f"kernel must fit the padded x, got {window} with dilation {gaps} on {sizes}")
    return steps, pairs, gaps


def correlate(
    x: Array, kernel: Array, strides: Sequence[int], pairs: Pairs, dilation: Sequence[int], groups: int = 1
) -> Array:
    """x [B, ..., C] with kernel [..., C / groups, F], both already checked, over any number of axes."""
    if x.ndim > 5:
        last = x.ndim - 1
        spec = (0, last, *range(1, last))
        numbers = lax.ConvDimensionNumbers(spec, (last, last - 1, *range(last - 1)), spec)
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pairs,
            rhs_dilation=dilation,
            dimension_numbers=numbers,
            feature_group_count=groups,
        )
    # The forms that are faster for a layer's small kernels have an operation for each of a kernel's rows and
    # columns: many for the compiler where it is a long filter or a picture.
    *lead, last = kernel.shape[:-2]
    form = lax_convolution if math.prod(lead) + last > MOST_OPERATIONS else convolution
    return form(x, kernel, strides, pairs, dilation, groups)


def cross_correlate(
    x: Array,
    kernel: Array,
    strides: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
    channels: bool = False,
) -> Array:
    """Slides a kernel over x, as it is: what layers of neural networks call convolution.

    y[i, j] = sum over p, q of w[p, q] x[s i + d p, s j + d q], with x padded by zeros; with channels
    y[b, i, j, f] = sum over p, q, c of w[p, q, c, f] x[b, s i + d p, s j + d q, c].

    Use it where the kernel is given: a fixed filter, a tied weight, the output of another net. `Conv` is the
    layer that owns and learns its kernel; `convolve` is the same with the kernel flipped, the operation of
    signal processing. It is the adjoint of `convolve`: <convolve(x, w), y> = <x, cross_correlate(y, w)> with
    'FULL' padding on the left and 'VALID' on the right.

    Args:
      x: float [n...] of any rank, all axes spatial; with channels [B, n..., C].
      kernel: w, float [k...] of the same rank; with channels [k..., C / groups, F].
      strides: s, one integer or one for each spatial axis.
      padding: 'VALID'; 'SAME' (output ceil(n / s), odd rests behind); 'FULL', wherever kernel and x meet;
        'CAUSAL', all before and none behind, one spatial axis only; an integer for all sides; or one integer
        or (before, after) pair for each axis. For other borders than zeros see `pad`.
      dilation: d, the distance between the inputs of neighbouring weights.
      groups: blocks of channels that are filtered apart; C makes it depthwise. Needs channels.
      channels: whether the arrays have a batch axis and channels.

    Returns:
      float, the spatial axes floor((n + p - d (k - 1) - 1) / s) + 1 long, with batch and F where x has them.

    Raises:
      TypeError: x or kernel is not floating point.
      ValueError: ranks or channels differ, a setting is out of range, or the kernel is larger than the padded
        x.
    """
    steps, pairs, gaps = geometry(x, kernel, strides, padding, dilation, groups, channels)
    dtype = jnp.result_type(x, kernel)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if channels:
        return correlate(x, kernel, steps, pairs, gaps, groups)
    return correlate(x[None, ..., None], kernel[..., None, None], steps, pairs, gaps)[0, ..., 0]


def flip(kernel: Array, channels: bool = False) -> Array:
    """The kernel, reversed along its spatial axes: turned by 180 degrees on two."""
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2)) if channels else None)


def convolve(
    x: Array,
    kernel: Array,
    strides: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
    channels: bool = False,
) -> Array:
    """Convolution of signal processing: the kernel runs backwards.

    y[n] = sum over m of w[m] x[n - m], for every n where they meet ('FULL'); on more axes
    y[i, j] = sum over p, q of w[p, q] x[i - p, j - q]. The other paddings keep a part of that: it is
    `cross_correlate(x, flipped kernel)` with the same settings.

    Commutative, associative and linear in both (with 'FULL'); filtering by one kernel and then another is
    filtering by their convolution. Use it for filters and impulse responses, `cross_correlate` for kernels in the
    sense of neural networks, `circular_convolve` for periodic signals.

    Args, Returns and Raises are those of `cross_correlate`. With 'CAUSAL', y[n] depends on x up to n, and w[0]
    weighs the present.

    Differs from scipy.signal.convolve: 'VALID' never exchanges x and the kernel, and for even kernels 'SAME'
    puts the odd zero behind where its 'same' puts it before.
    """
    return cross_correlate(x, flip(kernel, channels), strides, padding, dilation, groups, channels)


def pad(x: Array, padding: Padding, mode: str = "zero", channels: bool = False) -> Array:
    """Continues x beyond its borders.

    Of a b c, two before and two behind, 'zero' makes 0 0 a b c 0 0; 'reflect' c b a b c b a, the border once;
    'replicate' a a a b c c c.

    Args:
      x: array of any dtype [n...]; with channels [B, n..., C], of which only the spatial axes are padded.
      padding: an integer for all sides, or one integer or (before, after) pair for each axis.
      mode: 'zero', 'reflect' (less than n on each side) or 'replicate'.
      channels: whether x has a batch axis and channels.

    Returns:
      Like x, each padded axis n + before + after long.

    Raises:
      ValueError: another mode, a negative amount, not one entry per axis, or more to reflect than there is.
    """
    checks.one_of(("zero", "reflect", "replicate"), mode=mode)
    _at_least_rank(3 if channels else 1, x)
    if isinstance(padding, str):
        raise ValueError(f"padding must be an integer or one for each axis, got {padding!r}")
    sizes = x.shape[1:-1] if channels else x.shape
    pairs = explicit_pairs(padding, len(sizes))
    if mode == "reflect":
        for n, pair in zip(sizes, pairs):
            if max(pair) >= n:
                raise ValueError(f"padding must be less than the axis it reflects, got {pairs} on {sizes}")
    pairs = ((0, 0), *pairs, (0, 0)) if channels else pairs
    return jnp.pad(x, pairs, {"zero": "constant", "reflect": "reflect", "replicate": "edge"}[mode])


def fir_filter(x: Array, taps: Array, axis: int = -1) -> Array:
    """Filters series with a finite impulse response.

    y[t] = sum over k of taps[k] x[t - k], with x = 0 before the start: as long as x, and never ahead of it.

    Args:
      x: float, one or many series.
      taps: float [K], the response to the series 1, 0, 0, ...; taps[0] weighs the present.
      axis: that of time; -2 for batch-major [B, T, D].

    Returns:
      float, of the shape of x.

    Raises:
      TypeError: x or taps is not floating point.
      ValueError: taps is not a vector, or x has no such axis.
    """
    checks.floating(x=x, taps=taps)
    checks.rank(1, taps=taps)
    checks.between(-x.ndim, x.ndim - 1, axis=axis)
    rows = jnp.moveaxis(x, axis, -1)
    y = convolve(
        rows.reshape(-1, rows.shape[-1], 1), taps[:, None, None], padding="CAUSAL", channels=True
    ).reshape(rows.shape)
    return jnp.moveaxis(y, -1, axis)


def _spectra(x: Array, kernel: Array) -> tuple[Array, Array]:
    """Both spectra on the grid of x, the kernel continued by zeros."""
    axes = tuple(range(x.ndim))
    return jnp.fft.rfftn(x, axes=axes), jnp.fft.rfftn(kernel, x.shape, axes)


def _same_rank(x: Array, kernel: Array) -> tuple[Array, Array, jnp.dtype]:
    """Checked, in at least float32, which Fourier transforms and recursions need; and the dtype to return."""
    checks.floating(x=x, kernel=kernel)
    _at_least_rank(1, x)
    checks.rank(x.ndim, kernel=kernel)
    if not all(1 <= k <= n for k, n in zip(kernel.shape, x.shape)):
        raise ValueError(f"kernel must be no larger than x, got {kernel.shape} and {x.shape}")
    dtype = jnp.result_type(x, kernel)
    wide = jnp.promote_types(dtype, jnp.float32)
    return x.astype(wide), kernel.astype(wide), dtype


def circular_convolve(x: Array, kernel: Array, method: str = "fft") -> Array:
    """Convolution of periodic signals: what leaves at one end comes in at the other.

    y[n] = sum over m of w[m] x[(n - m) mod N] = IFFT(FFT(x) FFT(w)), over every axis.

    Args:
      x: float [N...], one period.
      kernel: w, float of the same rank, no axis longer than x's; shorter ones continue with zeros.
      method: 'fft', N log N operations; or 'direct', N times the kernel's size, better for kernels of a few
        weights.

    Returns:
      float [N...].

    Raises:
      TypeError: x or kernel is not floating point.
      ValueError: ranks differ, the kernel is larger than x, or another method.
    """
    checks.one_of(("fft", "direct"), method=method)
    x, kernel, dtype = _same_rank(x, kernel)
    if method == "direct":
        wrapped = jnp.pad(x, [(k - 1, 0) for k in kernel.shape], "wrap")
        return convolve(wrapped, kernel).astype(dtype)
    spectrum, response = _spectra(x, kernel)
    return jnp.fft.irfftn(spectrum * response, x.shape, tuple(range(x.ndim))).astype(dtype)


def deconvolve(y: Array, kernel: Array, method: str = "direct", regularization: float = 0.0) -> Array:
    """Undoes a convolution: x such that convolve(x, kernel, padding='FULL') is y.

    'direct' is long division, on one axis: x[n] = (y[n] - sum over m >= 1 of w[m] x[n - m]) / w[0]. It is exact
    for any kernel with w[0] != 0, but rounding grows with n unless all zeros of the kernel's polynomial lie
    inside the unit circle. 'fft' divides spectra, on any number of axes: X = Y conj(W) / (|W|^2 + r). With r = 0
    it needs a kernel whose spectrum is nowhere 0 and returns values that are not finite otherwise; r > 0, about
    the power of the noise over that of the signal (Wiener), keeps the frequencies that the kernel has removed
    from exploding.

    Args:
      y: float [M...].
      kernel: w, float [K...] of the same rank.
      method: 'direct' or 'fft'.
      regularization: r, at least 0; for 'fft' only.

    Returns:
      x, float [M - K + 1...]. What it cannot explain is y - convolve(x, kernel, padding='FULL').

    Raises:
      TypeError: y or kernel is not floating point.
      ValueError: ranks differ, the kernel is larger than y, 'direct' with more than one axis or with
        regularization, or another method.

    Differs from scipy.signal.deconvolve: it returns the quotient only; w[0] = 0 gives values that are not
    finite.
    """
    checks.one_of(("direct", "fft"), method=method)
    checks.non_negative(regularization=regularization)
    y, kernel, dtype = _same_rank(y, kernel)
    if method == "fft":
        spectrum, response = _spectra(y, kernel)
        power = (response * jnp.conj(response)).real + regularization
        x = jnp.fft.irfftn(spectrum * jnp.conj(response) / power, y.shape, tuple(range(y.ndim)))
        return x[tuple(slice(n - k + 1) for n, k in zip(y.shape, kernel.shape))].astype(dtype)
    checks.rank(1, y=y)
    if not isinstance(regularization, jax.Array) and regularization != 0:
        raise ValueError(f"regularization must be 0 with method 'direct', got {regularization}")

    def divide(past: Array, value: Array) -> tuple[Array, Array]:
        x = (value - jnp.sum(past * kernel[1:])) / kernel[0]
        return jnp.concatenate([x[None], past])[:-1], x

    past = jnp.zeros(kernel.shape[0] - 1, y.dtype)
    return lax.scan(divide, past, y[: y.shape[0] - kernel.shape[0] + 1])[1].astype(dtype)


def continuous_convolve(
    f: Callable[[Array], Array],
    g: Callable[[Array], Array],
    t: Array,
    interval: tuple[float, float] | None = None,
    num_panels: int = 64,
) -> Array:
    """Convolution of two functions of a real variable, by numerical integration.

    (f * g)(t) = integral of f(u) g(t - u) du: over all u where f is not 0 (two-sided), or, for functions that
    are 0 before 0, over 0 <= u <= t (causal).

    Gauss-Legendre quadrature with 8 points in each of equally wide panels: exact up to rounding for smooth
    functions; a jump inside a panel costs about its width. Delaying either function delays the result by as
    much, so delaying both by t0 delays it by 2 t0.

    Args:
      f, g: elementwise functions of a float array of any shape.
      t: float, any shape.
      interval: (low, high), outside of which f is 0 or small enough to leave out; None is causal, with 0 for
        t < 0.
      num_panels: at least 1.

    Returns:
      float, of the shape of t; differentiable in t.

    Raises:
      TypeError: t is not floating point.
      ValueError: interval is not finite and increasing, or num_panels is below 1.
    """
    checks.floating(t=t)
    checks.at_least(1, num_panels=num_panels)
    points, weights = np.polynomial.legendre.leggauss(8)
    places = (np.arange(num_panels)[:, None] + (points + 1) / 2) / num_panels  # in (0, 1)
    nodes = (1,) * t.ndim + (-1,)
    u = jnp.asarray(places.reshape(nodes), t.dtype)
    weights = jnp.asarray(np.tile(weights / 2 / num_panels, num_panels).reshape(nodes), t.dtype)
    t = t[..., None]
    if interval is None:
        t = jnp.maximum(t, 0)
        low, width = 0.0, t
    else:
        low, width = interval[0], interval[1] - interval[0]
        checks.positive(**{"width of interval": width})
    u = low + width * u
    return jnp.sum(f(u) * g(t - u) * (width * weights), -1)
