"""Convolution layers, and the one place that decides how a convolution is computed.

Shapes: B batch, H height, W width, C input channels, F output channels, k kernel size, s stride, d dilation.

As everywhere in this field, "convolution" is cross-correlation: the kernel is not flipped.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import lax

from jaxdl import backends, checks
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.types import Array, Dtype

Size = int | Sequence[int]
Pairs = tuple[tuple[int, int], ...]
Padding = str | int | Sequence[int | Sequence[int]]


def per_axis(value: Size, rank: int, name: str, minimum: int = 1) -> tuple[int, ...]:
    """One integer per spatial axis; a single one is repeated."""
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank:
        raise ValueError(f"{name} must be an integer or {rank} of them, got {value}")
    for one in values:
        checks.at_least(minimum, **{name: one})
    return values


def padding_pairs(
    padding: Padding,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int] | None = None,
) -> Pairs:
    """Zeros before and after each spatial axis, from any way of writing a padding.

    'VALID' adds none. 'SAME' makes the output ceil(n / s) long; an odd total puts the extra zero behind, as
    in TensorFlow and unlike PyTorch, whose paddings are symmetric. An integer pads every side; a sequence has
    one integer or one (before, after) pair per axis.

    Raises:
      ValueError: another string, a negative amount, or not one entry per axis.
    """
    rank = len(sizes)
    dilation = dilation or (1,) * rank
    if isinstance(padding, str):
        checks.one_of(("SAME", "VALID"), padding=padding)
        if padding == "VALID":
            return ((0, 0),) * rank
        totals = [
            max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            for n, k, s, d in zip(sizes, window, strides, dilation)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, int):
        padding = (padding,) * rank
    pairs = tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"padding must have one integer or one pair for each of {rank} axes, got {padding}")
    for pair in pairs:
        checks.at_least(0, padding=min(pair))
    return tuple((low, high) for low, high in pairs)


def _tile(width: int, kernel: int) -> int:
    """Adjacent outputs computed together: near the kernel's width, a divisor of the output's if it can."""
    near = range(max(2 * kernel // 3, 1), 2 * kernel)
    divisors = [t for t in near if width % t == 0]
    return min(divisors, key=lambda t: abs(t - kernel)) if divisors else min(kernel, width)


def _lax_convolution(
    x: Array, kernel: Array, strides: Sequence[int], padding: Pairs, dilation: Sequence[int], groups: int
) -> Array:
    """XLA's own convolution of x [B, ..., C] with kernel [..., C / groups, F]."""
    spatial = "DHW"[-(x.ndim - 2) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def _banded_convolution(
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
    outs = [
        (n + low + high - (k_ - 1) * d_ - 1) // s_ + 1
        for n, (low, high), k_, s_, d_ in zip(sizes, padding, kernel.shape, strides, dilation)
    ]
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


# The most input channels for which the banded form is the faster one on CPU, forward and backward. Measured
# on two cores for kernels of 3, 5 and 7: 1 channel 2.9 to 4.3 times, 3 to 4 channels 1.3 to 2.3, 6 channels
# 1.0 to 2.5, 8 channels 0.6 to 0.9.
BANDED_CHANNELS = 6


def _convolution(
    x: Array, kernel: Array, strides: Sequence[int], padding: Pairs, dilation: Sequence[int], groups: int
) -> Array:
    """x [B, ..., C] with kernel [..., C / groups, F], in the form that is faster on this backend.

    The banded form also holds no convolution for XLA, so on CPU its gradient is as fast inside `lax.scan` as
    outside, and `vmap` over kernels makes it a batched product.
    """
    few = backends.compiles_for_cpu() and groups == 1 and x.shape[-1] <= BANDED_CHANNELS
    if few and kernel.shape[-3] > 1:
        return _banded_convolution(x, kernel, strides, padding, dilation)
    return _lax_convolution(x, kernel, strides, padding, dilation, groups)


def _kernel_size(value: Size) -> tuple[int, ...]:
    return per_axis(value, 2 if isinstance(value, int) else len(value), "kernel_size")


def _apply(x: Array, kernel: Array, bias: Array | None, layer: "Conv | PartialConv", groups: int) -> Array:
    """The checks, the promotion and the product that the layers below share."""
    rank = kernel.ndim - 2
    window = kernel.shape[:-2]
    sizes = x.shape[1:-1]
    strides = per_axis(layer.strides, rank, "strides")
    dilation = per_axis(layer.dilation, rank, "dilation")
    padding = padding_pairs(layer.padding, sizes, window, strides, dilation)
    for n, k, d, (low, high) in zip(sizes, window, dilation, padding):
        if (k - 1) * d + 1 > n + low + high:
            raise ValueError(
                f"kernel_size must fit the padded input, got {window} with dilation {dilation} on {sizes}"
            )
    x, kernel, bias = linen.dtypes.promote_dtype(x, kernel, bias, dtype=layer.dtype)
    y = _convolution(x, kernel, strides, padding, dilation, groups)
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


class Conv(linen.Module):
    """Convolution (cross-correlation) over one to three spatial axes, channels last.

    y[b, i, j, f] = b_f + sum over p, q, c of W[p, q, c, f] x[b, s i + d p, s j + d q, c], with x padded by
    zeros.

    Attributes:
      features: F, a multiple of groups.
      kernel_size: k; one integer is a square kernel on two axes, a sequence has one for each axis.
      strides: s, one integer or one for each axis.
      padding: 'SAME' (output ceil(n / s), odd rests behind), 'VALID', an integer for all sides, or one
        integer or (before, after) pair for each axis.
      dilation: d, the distance between the inputs of neighbouring weights.
      groups: blocks of channels that are convolved apart; C makes it depthwise.
      use_bias: whether to add b.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters `kernel` [k..., C / groups, F] and `bias` [F].
      kernel_init: initial W.
      bias_init: initial b.

    Differs from linen.Conv: `dilation` and `groups` are its `kernel_dilation` and `feature_group_count`, and
    one integer as `kernel_size` is square, not one-dimensional.
    """

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = "SAME"
    dilation: Size = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to float [B, ..., F].

        Raises:
          TypeError: x is not floating point (scale images first).
          ValueError: x has not one axis more on either side than the kernel, a setting is out of range, or
            the kernel is larger than the padded input.
        """
        window = _kernel_size(self.kernel_size)
        checks.at_least(1, features=self.features, groups=self.groups)
        checks.floating(x=x)
        checks.rank(len(window) + 2, x=x)
        checks.divisible(self.groups, "groups", features=self.features, channels=x.shape[-1])
        shape = (*window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = (
            self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        )
        return _apply(x, kernel, bias, self, self.groups)


class PartialConv(linen.Module):
    """Convolution in which each output map sees only some of the input maps.

    y[b, i, j, f] = b_f + sum over p, q and the c with connections[c][f] of
    W[p, q, n(c, f)] x[b, s i + d p, s j + d q, c].

    Only the connected weights exist: n(c, f) numbers the connections in the order of the table's rows.

    Attributes:
      connections: C rows of F truth values; row c says which output maps see input map c. At least one each.
      kernel_size, strides, padding, dilation, use_bias, dtype, param_dtype, bias_init: as in `Conv`.
      kernel_init: initial weights of the full kernel [k..., C, F], of which the connected ones are taken; the
        parameter `kernel` is [k..., number of connections].

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, section II.B, layer
    C3.
    """

    connections: Sequence[Sequence[bool]]
    kernel_size: Size
    strides: Size = 1
    padding: Padding = "SAME"
    dilation: Size = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to float [B, ..., F].

        Raises:
          TypeError: x is not floating point.
          ValueError: as `Conv`; or connections is not a table, has another number of rows than x channels, or
            leaves a map without any connection.
        """
        table = np.asarray(self.connections, bool)
        window = _kernel_size(self.kernel_size)
        checks.floating(x=x)
        checks.rank(len(window) + 2, x=x)
        checks.shape((x.shape[-1], None), connections=table)
        if not (table.any(0).all() and table.any(1).all()):
            raise ValueError("connections must give every map at least one, got an empty row or column")

        def init(key: Array, shape: Sequence[int], dtype: Dtype) -> Array:
            return self.kernel_init(key, (*window, *table.shape), dtype)[..., table]

        kernel = self.param("kernel", init, (*window, int(table.sum())), self.param_dtype)
        features = table.shape[1]
        bias = self.param("bias", self.bias_init, (features,), self.param_dtype) if self.use_bias else None
        number = np.where(table, np.cumsum(table).reshape(table.shape) - 1, 0)
        full = jnp.where(table.reshape((1,) * len(window) + table.shape), kernel[..., number], 0)
        return _apply(x, full, bias, self, 1)
