"""Convolution layers, and what every kind of them shares: how settings are written, checked and applied.

Shapes: B batch, C input channels, F output channels, k kernel size, s stride, d dilation.

As everywhere in this field, "convolution" is cross-correlation: the kernel is not flipped.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxdl import checks
from jaxdl.nn.convolution_forms import Pairs, convolution
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.types import Array, Dtype

Size = int | Sequence[int]
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
    return explicit_pairs(padding, rank)


def explicit_pairs(padding: int | Sequence[int | Sequence[int]], rank: int) -> Pairs:
    """A padding in numbers, as one (before, after) pair for each axis."""
    each = (padding,) * rank if isinstance(padding, int) else padding
    pairs = tuple((p, p) if isinstance(p, int) else tuple(p) for p in each)
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"padding must have one integer or one pair for each of {rank} axes, got {padding}")
    for pair in pairs:
        checks.at_least(0, padding=min(pair))
    return tuple((low, high) for low, high in pairs)


def kernel_window(kernel_size: Size) -> tuple[int, ...]:
    """The kernel's size on each axis; one integer is a square on two axes."""
    rank = 2 if isinstance(kernel_size, int) else len(kernel_size)
    if not 1 <= rank <= 3:
        raise ValueError(f"kernel_size must have one to three axes, got {kernel_size}")
    return per_axis(kernel_size, rank, "kernel_size")


def check_channels(x: Array, rank: int, features: int, groups: int) -> None:
    """That x is float [B, ..., C] with `rank` spatial axes, and that the groups divide C and the features."""
    checks.at_least(1, features=features, groups=groups)
    checks.floating(x=x)
    checks.rank(rank + 2, x=x)
    checks.divisible(groups, "groups", features=features, channels=x.shape[-1])


def kernel_and_bias(layer: Any, shape: Sequence[int]) -> tuple[Array, Array | None]:
    """The parameters `kernel` of this shape, the last axis F, and `bias` [F] of a layer that has our attributes."""
    kernel = layer.param("kernel", layer.kernel_init, tuple(shape), layer.param_dtype)
    if not layer.use_bias:
        return kernel, None
    return kernel, layer.param("bias", layer.bias_init, (shape[-1],), layer.param_dtype)


def add_bias(y: Array, bias: Array | None) -> Array:
    """y [..., F] plus bias [F]."""
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def apply_kernel(
    x: Array,
    kernel: Array,
    bias: Array | None,
    *,
    strides: Size = 1,
    padding: Padding = "SAME",
    dilation: Size = 1,
    groups: int = 1,
    dtype: Dtype | None = None,
) -> Array:
    """The checks, the promotion and the product that the layers share."""
    rank = kernel.ndim - 2
    window = kernel.shape[:-2]
    sizes = x.shape[1:-1]
    steps, gaps = per_axis(strides, rank, "strides"), per_axis(dilation, rank, "dilation")
    pairs = padding_pairs(padding, sizes, window, steps, gaps)
    for n, k, d, (low, high) in zip(sizes, window, gaps, pairs):
        if (k - 1) * d + 1 > n + low + high:
            raise ValueError(
                f"kernel_size must fit the padded input, got {window} with dilation {gaps} on {sizes}"
            )
    x, kernel, bias = linen.dtypes.promote_dtype(x, kernel, bias, dtype=dtype)
    return add_bias(convolution(x, kernel, steps, pairs, gaps, groups), bias)


def _grouped(layer: "Conv | GroupedConv", x: Array) -> Array:
    window = kernel_window(layer.kernel_size)
    check_channels(x, len(window), layer.features, layer.groups)
    kernel, bias = kernel_and_bias(layer, (*window, x.shape[-1] // layer.groups, layer.features))
    return apply_kernel(
        x,
        kernel,
        bias,
        strides=layer.strides,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        dtype=layer.dtype,
    )


class Conv(linen.Module):
    """Convolution (cross-correlation) over one to three spatial axes, channels last.

    y[b, i, j, f] = b_f + sum over p, q, c of W[p, q, c, f] x[b, s i + d p, s j + d q, c], with x padded by
    zeros.

    The layer is for a kernel that is learned and belongs to the model; `cross_correlate` is the same product as a
    function, for a kernel that is given: a fixed filter, a tied weight, the output of another net.

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
        return _grouped(self, x)


class GroupedConv(linen.Module):
    """Convolution in several groups that do not see each other, as in AlexNet's two towers or ResNeXt.

    With g = floor(f G / F) the group of output map f: y[b, i, j, f] = b_f + sum over p, q and c < C / G of
    W[p, q, c, f] x[b, s i + d p, s j + d q, g C / G + c]. One G-th of the weights and products of a full one.

    The same as `Conv` with `groups`, which is there for blocks that are grouped or not by a setting; this one
    says that it is, and has no default. `DepthwiseConv` is one group for each channel; `PartialConv` takes
    any table of connections.

    Attributes:
      features: F, a multiple of groups.
      kernel_size: k, as in `Conv`.
      groups: G, which divides C and F.
      strides, padding, dilation, use_bias, dtype, param_dtype, kernel_init, bias_init: as in `Conv`, with the
        same parameters `kernel` [k..., C / G, F] and `bias` [F].

    Source: Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
    2012, section 3.2; Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", 2017,
    section 3, arXiv:1611.05431.
    """

    features: int
    kernel_size: Size
    groups: int
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
        """Maps float [B, ..., C] to float [B, ..., F]. Raises as `Conv` does."""
        return _grouped(self, x)


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
        window = kernel_window(self.kernel_size)
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
        return apply_kernel(
            x,
            full,
            bias,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            dtype=self.dtype,
        )
