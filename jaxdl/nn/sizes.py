"""The arithmetic of convolution and pooling: sizes and parameter counts, in Python integers (host)."""

import math
from collections.abc import Sequence

import numpy as np

from jaxdl import checks

Size = int | Sequence[int]
Amount = str | int | tuple[int, int]


def _pad(size: int, window: int, stride: int, padding: Amount) -> tuple[int, int]:
    if isinstance(padding, str):
        checks.one_of(("SAME", "VALID"), padding=padding)
        total = max((-(-size // stride) - 1) * stride + window - size, 0) if padding == "SAME" else 0
        return total // 2, total - total // 2
    low, high = (padding, padding) if isinstance(padding, int) else padding
    checks.at_least(0, padding=min(low, high))
    return low, high


def conv_output_size(
    size: int,
    kernel_size: int,
    stride: int = 1,
    padding: Amount = 0,
    dilation: int = 1,
) -> int:
    """Length of a convolution's output along one axis.

    floor((n + p - d (k - 1) - 1) / s) + 1, where p counts the zeros on both sides.

    Args:
      size: n, at least 1.
      kernel_size: k, at least 1.
      stride: s, at least 1.
      padding: zeros on either side, a (before, after) pair, 'VALID' (none) or 'SAME' (output ceil(n / s)).
      dilation: d, at least 1.

    Returns:
      The number of positions, at least 1.

    Raises:
      ValueError: a setting is out of range, or the kernel is larger than the padded input.
    """
    checks.at_least(1, size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    window = dilation * (kernel_size - 1) + 1
    room = size + sum(_pad(size, window, stride, padding)) - window
    if room < 0:
        raise ValueError(
            f"kernel_size must fit the padded input, got a window of {window} on {room + window}"
        )
    return room // stride + 1


def pool_output_size(
    size: int,
    window: int,
    stride: int | None = None,
    padding: Amount = 0,
    ceil: bool = False,
) -> int:
    """Length of a pooling's output along one axis.

    floor((n + p - f) / s) + 1, which equals ceil((n + p - f + 1) / s); with `ceil`, ceil((n + p - f) / s) +
    1, unless the last window would lie in the padding behind alone.

    Args:
      size: n, at least 1.
      window: f, at least 1.
      stride: s, at least 1; None stands for the window.
      padding: as in `conv_output_size`.
      ceil: count a last window that reaches over the border.

    Returns:
      The number of windows, at least 1.

    Raises:
      ValueError: a setting is out of range, or the window is larger than the padded input.
    """
    stride = window if stride is None else stride
    checks.at_least(1, size=size, window=window, stride=stride)
    low, high = _pad(size, window, stride, padding)
    room = size + low + high - window
    if room < 0:
        raise ValueError(f"window must fit the padded input, got {window} on {room + window}")
    if not ceil:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + low else count


def transposed_conv_output_size(
    size: int,
    kernel_size: int,
    stride: int = 1,
    padding: Amount = 0,
    dilation: int = 1,
    output_padding: int = 0,
) -> int:
    """Length of a transposed convolution's output along one axis.

    (n - 1) s + d (k - 1) + 1 - p + o, where p counts what is cut off on both sides: the size of an input from which
    a convolution with the same settings makes n positions. Several sizes do; o chooses among them.

    Args:
      size: n, at least 1.
      kernel_size: k, at least 1.
      stride: s, at least 1.
      padding: that of the convolution it transposes: an integer for either side, a (before, after) pair, 'VALID'
        (none) or 'SAME' (output n s).
      dilation: d, at least 1.
      output_padding: o, extra places behind, at least 0 and less than s or d; 0 with 'SAME'.

    Returns:
      The number of positions, at least 1.

    Raises:
      ValueError: a setting is out of range, or nothing is left.
    """
    checks.at_least(1, size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    checks.between(0, max(stride, dilation) - 1, output_padding=output_padding)
    if padding == "SAME":
        checks.between(0, 0, output_padding=output_padding)
        return size * stride
    cut = sum(_pad(size, 1, 1, padding))
    length = (size - 1) * stride + dilation * (kernel_size - 1) + 1 - cut + output_padding
    if length < 1:
        raise ValueError(f"padding must leave some of the output, got {padding} of {length + cut}")
    return length


def same_padding(kernel_size: int, dilation: int = 1) -> int:
    """Zeros on either side with which a convolution of stride 1 keeps the size.

    P = d (k - 1) / 2, also called half padding.

    Args:
      kernel_size: k, at least 1.
      dilation: d, at least 1.

    Raises:
      ValueError: a number is below 1, or d (k - 1) is odd, so that no symmetric padding keeps the size ('SAME' puts
        the odd zero behind).
    """
    checks.at_least(1, kernel_size=kernel_size, dilation=dilation)
    checks.divisible(2, "the two sides", **{"dilation * (kernel_size - 1)": dilation * (kernel_size - 1)})
    return dilation * (kernel_size - 1) // 2


def padding_for_output(
    size: int, output_size: int, kernel_size: int, stride: int = 1, dilation: int = 1
) -> tuple[int, int]:
    """The fewest zeros (before, after) with which a convolution's output has a given length.

    p = max((o - 1) s + d (k - 1) + 1 - n, 0) in all, the odd one behind; 'SAME' is o = ceil(n / s).

    Args:
      size: n, at least 1.
      output_size: o, at least 1.
      kernel_size: k, at least 1.
      stride: s, at least 1.
      dilation: d, at least 1.

    Raises:
      ValueError: a number is below 1, or the output is longer even without padding.
    """
    checks.at_least(
        1, size=size, output_size=output_size, kernel_size=kernel_size, stride=stride, dilation=dilation
    )
    total = max((output_size - 1) * stride + dilation * (kernel_size - 1) + 1 - size, 0)
    pair = (total // 2, total - total // 2)
    length = conv_output_size(size, kernel_size, stride, pair, dilation)
    if length != output_size:
        raise ValueError(f"output_size must be at least that without padding, {length}, got {output_size}")
    return pair


def receptive_field(kernel_size: Size, strides: Size = 1, dilation: Size = 1) -> int:
    """How many inputs along one axis one output of a stack of layers sees.

    1 + sum over layers of d_l (k_l - 1) (product of the strides of the layers before).

    Args:
      kernel_size: k, that of one layer, or one for each layer from the input on; pooling windows count.
      strides: s, one for all layers or one for each.
      dilation: d, one for all layers or one for each.

    Returns:
      The length in inputs, borders aside.

    Raises:
      ValueError: a number is below 1, or not one for each layer.

    Source: Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", 2019, equation 2.
    """
    kernels = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
    every = {"kernel_size": kernels}
    for name, value in (("strides", strides), ("dilation", dilation)):
        every[name] = (value,) * len(kernels) if isinstance(value, int) else tuple(value)
        if len(every[name]) != len(kernels):
            raise ValueError(
                f"{name} must be an integer or one for each of {len(kernels)} layers, got {value}"
            )
    for name, values in every.items():
        for value in values:
            checks.at_least(1, **{name: value})
    field, step = 1, 1
    for k, s, d in zip(*every.values()):
        field += d * (k - 1) * step
        step *= s
    return field


def pixel_usage(
    size: Size,
    kernel_size: Size,
    strides: Size = 1,
    padding: str | int | Sequence[int | tuple[int, int]] = 0,
    dilation: Size = 1,
) -> np.ndarray:
    """How many outputs of a convolution use each input: few at the borders, which padding mends in part.

    Along one axis, input i counts the (o, q) with s o + d q = i + padding before, 0 <= o < outputs, 0 <= q < k; a
    picture's count is the product of its rows' and its columns'.

    Args:
      size: n; one integer is a square picture, a sequence has one for each axis.
      kernel_size, strides, dilation: one integer, or one for each axis.
      padding: as in `conv_output_size`; or one integer or pair for each axis.

    Returns:
      NumPy int64 [n...].

    Raises:
      ValueError: a setting is out of range, or the kernel is larger than the padded input.
    """
    sizes = (size,) * 2 if isinstance(size, int) else tuple(size)
    rank = len(sizes)
    shared = [(v,) * rank if isinstance(v, int) else tuple(v) for v in (kernel_size, strides, dilation)]
    pads = (padding,) * rank if isinstance(padding, (int, str)) else tuple(padding)
    if any(len(values) != rank for values in (*shared, pads)):
        raise ValueError(f"every setting must be one integer or {rank} of them, got {(*shared, pads)}")
    usage = np.ones((), np.int64)
    for n, k, s, d, amount in zip(sizes, *shared, pads):
        outs = conv_output_size(n, k, s, amount, d)
        low, high = _pad(n, d * (k - 1) + 1, s, amount)
        places = s * np.arange(outs)[:, None] + d * np.arange(k)
        usage = np.multiply.outer(usage, np.bincount(places.ravel(), minlength=low + n + high)[low : low + n])
    return usage


def conv_param_count(
    in_features: int, features: int, kernel_size: Size, groups: int = 1, use_bias: bool = True
) -> int:
    """Number of parameters of a convolution.

    (prod k) (C / groups) F + F.

    Args:
      in_features: C, a multiple of groups.
      features: F, a multiple of groups.
      kernel_size: k; an integer is a square kernel on two axes.
      groups: number of separate blocks of channels.
      use_bias: whether to count the F biases.

    Raises:
      ValueError: a number is below 1, or the groups do not divide the channels.
    """
    sizes = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
    checks.at_least(1, in_features=in_features, features=features, kernel_size=min(sizes), groups=groups)
    checks.divisible(groups, "groups", in_features=in_features, features=features)
    return math.prod(sizes) * (in_features // groups) * features + (features if use_bias else 0)


def dense_param_count(in_features: int, features: int, use_bias: bool = True) -> int:
    """Number of parameters of a dense layer.

    I F + F.

    Args:
      in_features: I, at least 1.
      features: F, at least 1.
      use_bias: whether to count the F biases.

    Raises:
      ValueError: a number is below 1.
    """
    checks.at_least(1, in_features=in_features, features=features)
    return in_features * features + (features if use_bias else 0)


def recurrent_param_count(
    in_features: int, features: int, cell: str = "simple", num_layers: int = 1, num_biases: int = 1
) -> int:
    """Number of parameters of a recurrent net, without the dense layer behind it.

    G (D H + H^2 + b H) in the first layer and G (2 H^2 + b H) in the others, with G = 1 ('simple'), 2
    ('minimal_gated'), 3 ('gru') or 4 ('lstm') blocks of weights.

    Args:
      in_features: D, at least 1.
      features: H, at least 1.
      cell: 'simple', 'minimal_gated', 'gru' or 'lstm'; without peepholes.
      num_layers: at least 1; each layer above the first sees the H states of the one below.
      num_biases: b, vectors of biases in a block: 0; 1; or 2, one for inputs and one for states, as in PyTorch and in
        a GRU that resets after the product.

    Raises:
      ValueError: a number is out of range, or another cell.
    """
    checks.at_least(1, in_features=in_features, features=features, num_layers=num_layers)
    blocks = {"simple": 1, "minimal_gated": 2, "gru": 3, "lstm": 4}
    checks.one_of(tuple(blocks), cell=cell)
    checks.one_of((0, 1, 2), num_biases=num_biases)
    rows = in_features + features + (num_layers - 1) * 2 * features + num_layers * num_biases
    return blocks[cell] * rows * features
