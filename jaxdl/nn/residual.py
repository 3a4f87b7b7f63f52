"""Residual blocks of convolutional nets: what a block computes is added to what it got.

Shapes: B batch, H height, W width, C input channels, F output channels, M channels inside, s stride.

Paddings are symmetric, (k - 1) / 2, so that weights of PyTorch's nets fit at every stride. `mask` is handed to
normalization layers that take one, as `BatchNorm` does.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxdl import checks
from jaxdl.nn.batch_normalization import BatchNorm
from jaxdl.nn.convolution import Conv
from jaxdl.nn.initializers import Initializer, he_normal
from jaxdl.nn.regularization import DropPath
from jaxdl.types import Array, Dtype

KINDS = ("basic", "bottleneck")
ORDERS = ("post", "pre", "after")
SHORTCUTS = ("projection", "padding")


class _Block(linen.Module):
    """What the blocks below share: settings of every layer, and making one."""

    features: int
    strides: int = 1
    norm: Callable[..., linen.Module] | None = BatchNorm
    squeeze_excite: Callable[..., linen.Module] | None = None
    drop_path_rate: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = he_normal()

    def _conv(
        self, x: Array, name: str, features: int, kernel_size: int, strides: int = 1, groups: int = 1
    ) -> Array:
        return Conv(
            features,
            (kernel_size, kernel_size),
            strides,
            (kernel_size - 1) // 2,
            groups=groups,
            use_bias=self.norm is None,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            name=name,
        )(x)

    def _norm(self, x: Array, name: str, train: bool, mask: Array | None) -> Array:
        if self.norm is None:
            return x
        layer = self.norm(dtype=self.dtype, param_dtype=self.param_dtype, name=name)
        takes = inspect.signature(layer).parameters
        offered: dict[str, Any] = {"train": train, "mask": mask}
        return layer(x, **{key: value for key, value in offered.items() if key in takes})

    def _squeeze_excite(self, x: Array) -> Array:
        return x if self.squeeze_excite is None else self.squeeze_excite(name="squeeze_excite")(x)

    def _drop_path(self, x: Array, train: bool) -> Array:
        return x if self.drop_path_rate == 0 else DropPath(self.drop_path_rate)(x, train=train)

    def _check(self, x: Array) -> None:
        checks.floating(x=x)
        checks.rank(4, x=x)
        checks.at_least(1, features=self.features, strides=self.strides)


class ResidualBlock(_Block):
    """Two or three convolutions whose result is added to the input.

    With F(x) the convolutions, n normalization, f the activation and s(x) the shortcut:

      "post":  y = f(F(x) + s(x)); inside, each convolution is followed by n, and by f but for the last
      "pre":   y = F(x) + s(x); each convolution is preceded by n and f
      "after": y = f(F(x)) + s(x); inside as "post"

    kind "basic": 3 x 3 to M with stride s, 3 x 3 to F. kind "bottleneck": 1 x 1 to M, 3 x 3 to M with stride s, 1 x 1
    to F. As nothing acts on the sum of "pre" and "after", there a stack adds up: x_L = x_l + sum of what the blocks
    between computed, and gradients have a way to every block through nothing but sums. "after" is how some texts
    describe the block; published nets are "post" (He et al. 2015) or "pre" (2016).

    The shortcut is the input itself where shapes agree. Otherwise "projection" is a 1 x 1 convolution with stride s,
    and n after it (in "pre" it reads what the first convolution reads, and has no n); "padding" takes every s-th
    pixel and adds channels of zeros on both sides, without parameters.

    Some nets: ResNet-18 stage 2 `ResidualBlock(128, strides=2)`; ResNet-50 stage 1 `ResidualBlock(256,
    kind="bottleneck")`; ResNeXt-50 32x4d `ResidualBlock(256, kind="bottleneck", width=128, groups=32)`; Wide
    ResNet-50-2 the same without groups; of CIFAR, option A is `shortcut="padding"`, B "projection".

    Attributes:
      features: F.
      strides: s, at least 1. In a bottleneck the 3 x 3 has it, as in torchvision ("v1.5"), not the first 1 x 1.
      norm: makes n, called with `dtype`, `param_dtype` and `name`, such as `partial(BatchNorm, momentum=0.9)`. None
        for no normalization; then the convolutions have biases.
      squeeze_excite: makes a layer for the end of F, called with `name`, such as
        `partial(SqueezeExcite, 16)`.
      drop_path_rate: probability of dropping F for an example while training.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initial kernels.
      kind: "basic" or "bottleneck".
      order: "post", "pre" or "after".
      shortcut: "projection" or "padding".
      width: M; None is F for a basic block and F / 4 for a bottleneck.
      groups: groups of the 3 x 3 of a bottleneck, and of both of a basic block.
      activation: f.

    Variables: `conv1`, `norm1`, ... in the order of the computation; `shortcut_conv` and `shortcut_norm`.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, sections 3.2, 4.1 and 4.2,
    arXiv:1512.03385; "pre" He et al., "Identity Mappings in Deep Residual Networks", 2016, arXiv:1603.05027; groups
    Xie et al., 2017, arXiv:1611.05431.
    """

    kind: str = "basic"
    order: str = "post"
    shortcut: str = "projection"
    width: int | None = None
    groups: int = 1
    activation: Callable[[Array], Array] = linen.relu

    @linen.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps float [B, H, W, C] to float [B, ceil(H / s), ceil(W / s), F].

        Args:
          x: float [B, H, W, C].
          train: handed to normalization and dropped paths.
          mask: bool [B] of the rows that count in batch statistics, or None.

        Raises:
          TypeError: x is not floating point.
          ValueError: x is not of rank 4, a setting is out of range or not among the choices; a bottleneck without
            width has F that 4 does not divide; or "padding" would have to drop channels.
        """
        self._check(x)
        checks.one_of(KINDS, kind=self.kind)
        checks.one_of(ORDERS, order=self.order)
        checks.one_of(SHORTCUTS, shortcut=self.shortcut)
        basic, width, s = self.kind == "basic", self.width, self.strides
        if width is None:
            if not basic:
                checks.divisible(4, "4 (or a width given)", features=self.features)
            width = self.features if basic else self.features // 4
        # (features, kernel size, stride, groups)
        layers = (
            [(width, 3, s, self.groups), (self.features, 3, 1, self.groups)]
            if basic
            else [(width, 1, 1, 1), (width, 3, s, self.groups), (self.features, 1, 1, 1)]
        )
        first = y = x
        for i, (features, kernel_size, strides, groups) in enumerate(layers, start=1):
            if self.order == "pre":
                y = self.activation(self._norm(y, f"norm{i}", train, mask))
                first = y if i == 1 else first
            y = self._conv(y, f"conv{i}", features, kernel_size, strides, groups)
            if self.order != "pre":
                y = self._norm(y, f"norm{i}", train, mask)
                y = y if i == len(layers) else self.activation(y)
        y = self._squeeze_excite(y)
        if self.order == "after":
            y = self.activation(y)
        y = self._drop_path(y, train)
        y = y + self._shortcut(x, first, train, mask).astype(y.dtype)
        return self.activation(y) if self.order == "post" else y

    def _shortcut(self, x: Array, first: Array, train: bool, mask: Array | None) -> Array:
        s, missing = self.strides, self.features - x.shape[-1]
        if s == 1 and missing == 0:
            return x
        if self.shortcut == "projection":
            y = self._conv(first, "shortcut_conv", self.features, 1, s)
            return y if self.order == "pre" else self._norm(y, "shortcut_norm", train, mask)
        if missing < 0:
            raise ValueError(
                f"features must be at least the input's channels to pad, got {self.features} for {x.shape}"
            )
        return lax.pad(
            x[:, ::s, ::s],
            jnp.zeros((), x.dtype),
            [(0, 0, 0)] * 3 + [(missing // 2, missing - missing // 2, 0)],
        )


class InvertedResidualBlock(_Block):
    """A residual block that is widest inside, where each channel is convolved by itself (MBConv).

    F(x) = n(1 x 1 to F)( q( f(n(depthwise k x k, stride s)( f(n(1 x 1 to M)(x)) )) ) ); y = F(x) + x where the stride
    is 1 and the shapes agree, else F(x). q is squeeze-excitation, if any. Nothing acts on the narrow ends, which
    would lose information there.

    Where M equals C there is no first convolution, as in the first blocks of MobileNetV2 and EfficientNet.

    Some nets: MobileNetV2 `InvertedResidualBlock(24, strides=2, activation=relu6)`; EfficientNet-B0
    `InvertedResidualBlock(40, strides=2, kernel_size=5, activation=silu, squeeze_excite=partial(SqueezeExcite, 6,
    activation=silu))`.

    Attributes:
      features, norm, drop_path_rate, dtype, param_dtype, kernel_init: as in `ResidualBlock`.
      strides: s of the depthwise convolution.
      squeeze_excite: makes q, called with `name`, such as `partial(SqueezeExcite, 8)`.
      kernel_size: k, odd.
      expansion: M / C, at least 1.
      width: M itself, instead of `expansion`, as MobileNetV3 tabulates it.
      activation: f.

    Variables: `expand_conv`, `expand_norm`, `depthwise_conv`, `depthwise_norm`, `squeeze_excite`, `project_conv`,
    `project_norm`.

    Source: Sandler et al., "MobileNetV2", 2018, section 3.3, arXiv:1801.04381; with q, Tan et al., "MnasNet", 2018,
    arXiv:1807.11626.
    """

    kernel_size: int = 3
    expansion: int = 6
    width: int | None = None
    activation: Callable[[Array], Array] = linen.relu6

    @linen.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps float [B, H, W, C] to float [B, ceil(H / s), ceil(W / s), F].

        Args:
          x: float [B, H, W, C].
          train: handed to normalization and dropped paths.
          mask: bool [B] of the rows that count in batch statistics, or None.

        Raises:
          TypeError: x is not floating point.
          ValueError: x is not of rank 4, the kernel is even, or a setting is out of range.
        """
        self._check(x)
        checks.at_least(1, kernel_size=self.kernel_size, expansion=self.expansion)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        channels = x.shape[-1]
        width = channels * self.expansion if self.width is None else self.width
        y = x
        if width != channels:
            y = self._conv(y, "expand_conv", width, 1)
            y = self.activation(self._norm(y, "expand_norm", train, mask))
        y = self._conv(y, "depthwise_conv", width, self.kernel_size, self.strides, groups=width)
        y = self._squeeze_excite(self.activation(self._norm(y, "depthwise_norm", train, mask)))
        y = self._norm(self._conv(y, "project_conv", self.features, 1), "project_norm", train, mask)
        if self.strides > 1 or self.features != channels:
            return y
        return self._drop_path(y, train) + x.astype(y.dtype)
