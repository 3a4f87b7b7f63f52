"""The arithmetic of convolution and pooling: sizes and parameter counts, in Python integers (host)."""

import math
from collections.abc import Sequence

from jaxdl import checks


def _pad(size: int, window: int, stride: int, padding: str | int | tuple[int, int]) -> tuple[int, int]:
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
    padding: str | int | tuple[int, int] = 0,
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
    padding: str | int | tuple[int, int] = 0,
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


def conv_param_count(
    in_features: int, features: int, kernel_size: int | Sequence[int], groups: int = 1, use_bias: bool = True
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
