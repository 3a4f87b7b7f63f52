"""How a convolution is computed: the forms of one product, and the two places that choose among them.

Shapes: B batch, C input channels, F output channels, k kernel size, s stride, d dilation, G groups. Everything
here has been checked by its caller.

The forms are equal up to rounding in values and in all derivatives, and all are ordinary differentiable code.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl import backends
from jaxdl.types import Array

Pairs = tuple[tuple[int, int], ...]

# The most input channels for which the banded form is the faster one on CPU, forward and backward. Measured
# on two cores for kernels of 3, 5 and 7: 1 channel 2.9 to 4.3 times, 3 to 4 channels 1.3 to 2.3, 6 channels
# 1.0 to 2.5, 8 channels 0.6 to 0.9.
BANDED_CHANNELS = 6
# The banded and the shifted form write one slice for each strip or weight: no more than the compiler likes.
MOST_SLICES = 256
# Grouped convolutions on CPU run in blocks of about so many channels. Forward and backward, XLA's own takes
# 6,490 ms for 32 groups of 4 on 32 images of 16 x 16; blocks of 8, 16, 32, 64 and 128 channels 67, 27, 26, 73
# and 83.
BLOCK_CHANNELS = 32
MOST_BLOCKS = 64


def lax_convolution(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int,
    input_dilation: Sequence[int] | None = None,
) -> Array:
    """XLA's own convolution of x [B, ..., C] with kernel [..., C / G, F]."""
    spatial = "DHW"[-(x.ndim - 2) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        lhs_dilation=input_dilation,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def _output_sizes(x: Array, kernel: Array, strides: Sequence[int], padding: Pairs, dilation: Sequence[int]):
    return [
        (n + low + high - (k - 1) * d - 1) // s + 1
        for n, (low, high), k, s, d in zip(x.shape[1:-1], padding, kernel.shape, strides, dilation)
    ]


def _tile(width: int, kernel: int) -> int:
    """Adjacent outputs computed together: near the kernel's width, a divisor of the output's if it can."""
    near = range(max(2 * kernel // 3, 1), 2 * kernel)
    divisors = [t for t in near if width % t == 0]
    return min(divisors, key=lambda t: abs(t - kernel)) if divisors else min(kernel, width)


def banded_convolution(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    tile: int | None = None,
) -> Array:
    """The same as one matrix product of input strips with a banded kernel matrix.

    Ordinary patches repeat every input k_H k_W times and multiply them with a matrix of F columns: many
    copies for a thin product. Here one row of the patch matrix serves `tile` adjacent outputs: it holds, for
    each kernel row, the strip of (tile - 1) s + (k_W - 1) d + 1 columns that they see together, and the
    kernel stands `tile` times on the diagonals of a [k_H strip C, tile F] matrix. With tile = k_W the copies
    shrink by k_W / 2 and the product has tile times the columns, for less than twice the multiplications. The
    product's rows are the output in NHWC order.

    Equal to XLA's convolution up to rounding in values and all derivatives; only an input that is not finite
    reaches every output of its tiles, as 0 times it is not 0.
    """
    *lead, k, c, f = kernel.shape
    *lead_strides, s = strides
    *lead_dilation, d = dilation
    batch, *sizes = x.shape[:-1]
    outs = _output_sizes(x, kernel, strides, padding, dilation)
    t = tile or _tile(outs[-1], k)
    num_tiles = -(-outs[-1] // t)
    strip = (t - 1) * s + (k - 1) * d + 1
    low = padding[-1][0]
    # What the strips cover: it may pass the border or leave a rest unread, so the last pad may be negative.
    width = (num_tiles - 1) * t * s + strip
    pads = [(0, 0, 0), *((*pair, 0) for pair in padding[:-1]), (low, width - low - sizes[-1], 0), (0, 0, 0)]
    if any(pad != (0, 0, 0) for pad in pads):
        x = lax.pad(x, jnp.zeros((), x.dtype), pads)

    starts = [i * t * s for i in range(num_tiles)]
    strips = jnp.stack(  # [B, ..., tiles, strip C]
        [lax.slice_in_dim(x, i, i + strip, axis=-2).reshape(*x.shape[:-2], strip * c) for i in starts],
        axis=-2,
    )
    rows = []
    for offsets in itertools.product(*map(range, lead)):
        row = strips
        for axis, (o, n, s_, d_) in enumerate(zip(offsets, outs, lead_strides, lead_dilation), start=1):
            row = lax.slice_in_dim(row, o * d_, o * d_ + (n - 1) * s_ + 1, s_, axis)
        rows.append(row)
    patches = jnp.concatenate(rows, axis=-1).reshape(-1, len(rows) * strip * c)

    kernel = kernel.reshape(len(rows), k, c, f)
    zero, reach = jnp.zeros((), kernel.dtype), (k - 1) * d + 1
    columns = [
        lax.pad(kernel, zero, [(0, 0, 0), (i * s, strip - reach - i * s, d - 1), (0, 0, 0), (0, 0, 0)])
        for i in range(t)
    ]
    # [kernel rows, strip, C, tile, F]: zero where an output does not see the input.
    matrix = jnp.stack(columns, axis=-2)
    y = patches @ matrix.reshape(len(rows) * strip * c, t * f)
    y = y.reshape(batch, *outs[:-1], num_tiles * t, f)
    return y if num_tiles * t == outs[-1] else lax.slice_in_dim(y, 0, outs[-1], axis=-2)


def shifted_convolution(
    x: Array, kernel: Array, strides: Sequence[int], padding: Pairs, dilation: Sequence[int]
) -> Array:
    """The same with one group for each channel: shifted images times one weight for each map, and their sum.

    A depthwise product has nothing to sum over but the kernel's places, so it needs no patches; the compiler
    makes one loop of it. On CPU, forward and backward, it is 2 to 5 times faster than XLA's own for kernels of
    3 x 3, 1.2 to 1.5 times for 7 x 7 (most of it the sums that are the kernel's gradient), and 30 times with
    two maps for each channel; forward alone 20 times.
    """
    *window, _, features = kernel.shape
    wide = jnp.promote_types(x.dtype, jnp.float32)  # many small terms
    outs = _output_sizes(x, kernel, strides, padding, dilation)
    if any(map(any, padding)):
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pair, 0) for pair in padding), (0, 0, 0)])
    if features > x.shape[-1]:
        x = jnp.repeat(x, features // x.shape[-1], axis=-1)
    y = jnp.zeros((x.shape[0], *outs, features), wide)
    for offsets in itertools.product(*map(range, window)):
        place = x
        for axis, (o, n, s, d) in enumerate(zip(offsets, outs, strides, dilation), start=1):
            place = lax.slice_in_dim(place, o * d, o * d + (n - 1) * s + 1, s, axis)
        y += place.astype(wide) * kernel[offsets].reshape((1,) * (x.ndim - 1) + (features,)).astype(wide)
    return y.astype(x.dtype)


def _in_blocks(convolve: Callable[[Array, Array], Array], x: Array, kernel: Array, groups: int) -> Array:
    """A grouped product as a few products of one group each.

    Groups too small for a product of their own are joined to blocks: the kernel of a block has the groups'
    kernels on its diagonal and zeros elsewhere. Only an input that is not finite shows in the other maps of
    its block, as 0 times it is not 0.
    """
    *window, c, features = kernel.shape
    f = features // groups
    joined = next(
        n
        for n in range(1, groups + 1)
        if n == groups or (groups % n == 0 and n * c >= BLOCK_CHANNELS and groups // n <= MOST_BLOCKS)
    )
    blocks = groups // joined
    ones = (1,) * len(window)
    own = np.eye(joined, dtype=bool).reshape(*ones, joined, 1, 1, joined, 1)
    kernel = jnp.where(own, kernel.reshape(*window, 1, c, blocks, joined, f), 0)
    kernel = kernel.reshape(*window, joined * c, features)
    return jnp.concatenate(
        [convolve(*pair) for pair in zip(jnp.split(x, blocks, -1), jnp.split(kernel, blocks, -1))], axis=-1
    )


def convolution(
    x: Array, kernel: Array, strides: Sequence[int], padding: Pairs, dilation: Sequence[int], groups: int
) -> Array:
    """x [B, ..., C] with kernel [..., C / G, F], in the form that is fastest on this backend.

    The banded and the shifted form also hold no convolution for XLA, so on CPU their gradients are as fast
    inside `lax.scan` as outside, and `vmap` over kernels makes them batched products.
    """
    if not backends.compiles_for_cpu():
        return lax_convolution(x, kernel, strides, padding, dilation, groups)
    *window, c, _ = kernel.shape
    if groups > 1:
        if c == 1 and math.prod(window) <= MOST_SLICES:
            return shifted_convolution(x, kernel, strides, padding, dilation)
        return _in_blocks(
            lambda x, kernel: convolution(x, kernel, strides, padding, dilation, 1), x, kernel, groups
        )
    width = _output_sizes(x, kernel, strides, padding, dilation)[-1]
    slices = math.prod(window[:-1]) + width // _tile(width, window[-1])
    if c <= BANDED_CHANNELS and window[-1] > 1 and slices <= MOST_SLICES:
        return banded_convolution(x, kernel, strides, padding, dilation)
    return lax_convolution(x, kernel, strides, padding, dilation, 1)


def phased_convolution(
    x: Array, kernel: Array, strides: Sequence[int], padding: Pairs, extra: Sequence[int]
) -> Array:
    """A transposed convolution without dilation as one matrix product and a few shifted sums.

    Every input is multiplied with the whole kernel. Output s i + r, for r < s, is the sum over q of what input
    i - q gave to its kernel's place s q + r: a sum of ceil(k / s) images, one value in each for every r. XLA's
    form convolves an input with zeros between its values, most of its products with a zero: forward and
    backward 1.5 to 10 times slower.
    """
    *window, c, f = kernel.shape
    rank, sizes, wide = len(window), x.shape[1:-1], jnp.promote_types(x.dtype, jnp.float32)
    reaches = [-(-k // s) for k, s in zip(window, strides)]
    whole, zero = (0, 0, 0), jnp.zeros((), kernel.dtype)
    fill = [(0, q * s - k, 0) for k, q, s in zip(window, reaches, strides)]
    kernel = lax.pad(kernel, zero, [*fill, whole, whole])
    kernel = kernel.reshape(*itertools.chain(*zip(reaches, strides)), c, f)
    order = (2 * rank, *range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank + 1)
    matrix = kernel.transpose(order).reshape(c, -1)
    parts = jnp.matmul(x.reshape(-1, c), matrix, preferred_element_type=wide)
    parts = parts.reshape(x.shape[0], *sizes, *reaches, *strides, f)

    y = jnp.zeros((), wide)
    for place in itertools.product(*map(range, reaches)):
        part = parts[(slice(None), *(slice(None),) * rank, *place)]
        shift = [(q, reach - 1 - q, 0) for q, reach in zip(place, reaches)]
        part = lax.pad(part, jnp.zeros((), wide), [whole, *shift, *(whole,) * (rank + 1)])
        y = part if y.ndim == 0 else y + part
    pairs = [axis for one in range(1, rank + 1) for axis in (one, one + rank)]
    full = [(n + q - 1) * s for n, q, s in zip(sizes, reaches, strides)]
    y = y.transpose(0, *pairs, 2 * rank + 1).reshape(x.shape[0], *full, f)
    outs = _transposed_sizes(sizes, window, strides, padding, (1,) * rank, extra)
    ends = [(-low, low + out - n, 0) for (low, _), out, n in zip(padding, outs, full)]
    return lax.pad(y, jnp.zeros((), wide), [whole, *ends, whole]).astype(x.dtype)


def _transposed_sizes(sizes, window, strides, padding: Pairs, dilation, extra) -> list[int]:
    return [
        (n - 1) * s + (k - 1) * d + 1 + e - low - high
        for n, k, s, (low, high), d, e in zip(sizes, window, strides, padding, dilation, extra)
    ]


def transposed_convolution(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int,
    extra: Sequence[int],
) -> Array:
    """What the convolution from [B, ..., F] to x's shape gives back along its weights.

    y[s i + d p - low] += W[p] x[i] for kernel [..., C / G, F]; `extra` zeros stand behind each axis before
    `padding` is cut off.
    """
    rank = x.ndim - 2
    ones = (1,) * rank
    strided = any(s > 1 for s in strides)
    if backends.compiles_for_cpu() and strided and all(d == 1 for d in dilation):

        def of_one_group(x: Array, kernel: Array) -> Array:
            return phased_convolution(x, kernel, strides, padding, extra)

        return of_one_group(x, kernel) if groups == 1 else _in_blocks(of_one_group, x, kernel, groups)
    reach = [(k - 1) * d for k, d in zip(kernel.shape, dilation)]
    pads = tuple((r - low, r - high + e) for r, (low, high), e in zip(reach, padding, extra))
    turned = lax.rev(kernel, tuple(range(rank)))
    if strided:
        return lax_convolution(x, turned, ones, pads, dilation, groups, input_dilation=strides)
    return convolution(x, turned, ones, pads, dilation, groups)
