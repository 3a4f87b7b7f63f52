"""Layers whose statistics are those of the batch.

Shapes: B batch, ... any number of further axes, C channels, N values of one channel that count, K classes.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxdl import checks
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.nn.moments import aligned, result_dtype, rough_mean, standardized, variance, widened
from jaxdl.types import Array, Dtype

CONVENTIONS = ("decay", "rate")


def _total(values: Any, axis_name: str | None) -> Any:
    return values if axis_name is None else lax.psum(values, axis_name)


def _batch_moments(
    x: Array, mask: Array | None, axis_name: str | None
) -> tuple[Array, Array, Array, Array, Array | int]:
    """Statistics over the rows that count.

    Args:
      x: float32 or wider, [B, ..., C].
      mask: bool [B, ..., 1], or None.
      axis_name: mapped axis whose members count together, or None.

    Returns:
      z = x - k [B, ..., C], 0 in masked rows; the shift k; the mean and the variance of z; k, mean and variance
      are [1, ..., 1, C]; and the number of rows that count, an int where it is known.
    """
    rows = tuple(range(x.ndim - 1))
    if mask is None:
        shift = rough_mean(x, rows)
        shift = shift if axis_name is None else lax.pmean(shift, axis_name)
        z, own = x - shift, math.prod(x.shape[:-1])
    else:
        # Any sixteenth could be masked altogether, so here the shift is the mean itself.
        own = jnp.sum(mask, dtype=x.dtype)
        total, count = _total((jnp.sum(jnp.where(mask, x, 0), rows, keepdims=True), own), axis_name)
        shift = lax.stop_gradient(total / jnp.maximum(count, 1))
        z = jnp.where(mask, x - shift, 0)
    sums = (jnp.sum(value, rows, keepdims=True) for value in (z, jnp.square(z)))
    first, second, count = _total((*sums, own), axis_name)
    divisor = jnp.maximum(count, 1).astype(x.dtype)
    mean = first / divisor
    return z, shift, mean, variance(mean, second / divisor), count


class _Batch(linen.Module, kw_only=True):
    """What the layers below share: settings, running statistics, and the choice between those and the batch's."""

    momentum: float = 0.99
    momentum_convention: str = "decay"
    unbiased_running_var: bool = False
    eps: float = 1e-5
    axis_name: str | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def _moments(self, x: Array, train: bool, mask: Array | None) -> tuple[Array, Array, Array, Array | None]:
        """x less a shift, [B, ..., C], the mean of that and the variance, [1, ..., 1, C], and the mask [B, ..., 1]."""
        checks.floating(x=x)
        checks.between(0, 1, momentum=self.momentum)
        checks.one_of(CONVENTIONS, momentum_convention=self.momentum_convention)
        checks.non_negative(eps=self.eps)
        if x.ndim < 2:
            raise ValueError(f"x must have a batch axis and a channel axis, got shape {x.shape}")
        if mask is not None:
            checks.boolean(mask=mask)
            if not 1 <= mask.ndim < x.ndim or mask.shape != x.shape[: mask.ndim]:
                raise ValueError(
                    f"mask must have the shape of leading axes of x, {x.shape[:-1]} or fewer, got {mask.shape}"
                )
            mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
            mask = jnp.broadcast_to(mask, (*x.shape[:-1], 1))
        channels, wide = x.shape[-1], widened(x)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        if not train:
            mean, var = (aligned(one.value, wide) for one in (running_mean, running_var))
            z = wide - mean
            return z if mask is None else jnp.where(mask, z, 0), jnp.zeros_like(mean), var, mask

        starting = self.is_initializing()
        z, shift, mean, var, count = _batch_moments(wide, mask, None if starting else self.axis_name)
        if not starting:
            kept = self.momentum if self.momentum_convention == "decay" else 1 - self.momentum
            seen = var
            if self.unbiased_running_var:
                if isinstance(count, int) and count < 2:
                    raise ValueError(
                        f"x must have at least 2 values per channel for an unbiased variance, got {x.shape}"
                    )
                seen = var * (count / jnp.maximum(count - 1, 1))
            for running, new in ((running_mean, shift + mean), (running_var, seen)):
                new = kept * running.value + (1 - kept) * new.reshape(-1).astype(jnp.float32)
                # Without a row there is nothing to learn.
                running.value = jnp.where(jnp.asarray(count) > 0, new, running.value)
        return z, mean, var, mask


class BatchNorm(_Batch, kw_only=True):
    """Brings every channel to mean 0 and variance 1 over the batch, then to a learned mean and deviation.

    y = scale (x - m) / sqrt(v + eps) + bias

    While training, m and v are the mean and the biased variance (divided by N) of the channel over all axes but
    the last, and running averages of them are kept; at evaluation m and v are those averages, so one example
    does not depend on the others. `bias` is the mean of the output and `scale` its standard deviation.

    The two conventions for the running average r of a statistic s:

      "decay" (Flax, Keras): r <- momentum r + (1 - momentum) s, with momentum near 1, such as 0.9 or 0.99
      "rate" (PyTorch):      r <- (1 - momentum) r + momentum s, with momentum near 0, such as 0.1

    A layer without a bias before this one loses nothing: the mean is subtracted.

    Attributes:
      momentum: weight in the running average, in [0, 1], read as `momentum_convention` says.
      momentum_convention: "decay" or "rate".
      unbiased_running_var: whether the running variance averages sum / (N - 1), as PyTorch's does, instead of
        sum / N. The batch itself is always normalized with the latter.
      eps: added to the variance; 0 or above.
      axis_name: mapped axis (of pmap, vmap or shard_map) over which the batch is spread: its members share
        their statistics, each weighted by its number of rows. A step that is jitted over a sharded batch needs
        no name, as it sees the whole batch.
      dtype: dtype of the result; None promotes input with parameters. Statistics are at least float32.
      param_dtype: dtype of the parameters `scale` and `bias`.
      use_scale: whether to multiply by `scale`.
      use_bias: whether to add `bias`.
      scale_init: initial scale, ones.
      bias_init: initial bias, zeros.

    Variables: `scale` and `bias` [C] in "params"; `mean` and `var` float32 [C] in "batch_stats", which must be
    mutable while training. Names and shapes are linen's.

    Source: Ioffe & Szegedy, "Batch Normalization", 2015, algorithms 1 and 2, arXiv:1502.03167.
    Differs from linen's in the argument `train`, the output of masked rows, and a variance that is accurate for
    channels far from 0; from torch.nn.BatchNorm2d by default in convention and running variance.
    """

    use_scale: bool = True
    use_bias: bool = True
    scale_init: Initializer = jax.nn.initializers.ones
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps float [B, ..., C] to the same shape.

        Args:
          x: float [B, ..., C].
          train: whether to use the batch's statistics and move the running ones.
          mask: bool [B], or [B, T] for sequences, in general of the shape of leading axes of x: True where x
            counts. What is masked, NaN included, reaches neither statistics nor gradients, and comes out as 0.
            Where nothing counts, the running statistics stay.

        Raises:
          TypeError: x is not floating point, or the mask is not bool.
          ValueError: x has fewer than two axes, the mask another shape, or a setting is out of range; or one
            value per channel, which has no unbiased variance, is to be averaged.
        """
        z, mean, var, mask = self._moments(x, train, mask)
        shape = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, shape, self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, shape, self.param_dtype) if self.use_bias else None
        y = standardized(z, mean, var, scale, bias, self.eps)
        y = y if mask is None else jnp.where(mask, y, 0)
        return y.astype(result_dtype(self.dtype, x, scale, bias))


class ConditionalBatchNorm(_Batch):
    """Batch normalization whose scale and bias depend on a class, or on a vector, of each example.

    y = scale(c) (x - m) / sqrt(v + eps) + bias(c), with m and v as in `BatchNorm`.

    For a class, scale and bias are rows of two tables, from ones and zeros. For a vector c they are
    1 + c W_s and c W_b. Take `AdaptiveInstanceNorm` where the statistics should be those of each image alone.

    Attributes:
      num_classes: K, for integer conditions; None for vectors.
      momentum, momentum_convention, unbiased_running_var, eps, axis_name, dtype, param_dtype: as in `BatchNorm`.
      kernel_init: initial W_s and W_b.

    Variables: `scale` and `bias` in "params", [K, C] for classes and [D, C] for vectors of D numbers; "batch_stats"
    as in `BatchNorm`.

    Source: de Vries et al., "Modulating early visual processing by language", 2017, section 4.1,
    arXiv:1707.00683; with tables, Dumoulin et al., "A Learned Representation for Artistic Style", 2016,
    equation 5, arXiv:1610.07629.
    """

    num_classes: int | None = None
    kernel_init: Initializer = lecun_normal()

    @linen.compact
    def __call__(self, x: Array, condition: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps float [B, ..., C] to the same shape.

        Args:
          x: float [B, ..., C].
          condition: int [B] in [0, K), or float [B, D] where `num_classes` is None. A class of K or above gives
            NaN.
          train, mask: as in `BatchNorm`.

        Raises:
          TypeError: x is not floating point, the mask is not bool, or the condition of the wrong kind.
          ValueError: a shape or a setting is wrong.
        """
        if self.num_classes is None:
            checks.floating(condition=condition)
            checks.rank(2, condition=condition)
        else:
            checks.at_least(1, num_classes=self.num_classes)
            checks.integer(condition=condition)
            checks.rank(1, condition=condition)
        checks.same_leading(1, x=x, condition=condition)
        z, mean, var, mask = self._moments(x, train, mask)
        channels = x.shape[-1]
        if self.num_classes is None:
            shape, start = (condition.shape[-1], channels), (self.kernel_init, self.kernel_init)
        else:
            shape, start = (self.num_classes, channels), (jax.nn.initializers.ones, zeros_init())
        tables = [
            self.param(name, init, shape, self.param_dtype) for name, init in zip(("scale", "bias"), start)
        ]
        dtype = result_dtype(self.dtype, x, *tables)
        if self.num_classes is None:
            scale, bias = (widened(condition) @ table.astype(jnp.float32) for table in tables)
            scale = 1 + scale
        else:
            scale, bias = (jnp.take(table, condition, axis=0) for table in tables)
        scale, bias = (part.reshape(x.shape[0], *(1,) * (x.ndim - 2), channels) for part in (scale, bias))
        y = standardized(z, mean, var, scale, bias, self.eps)
        y = y if mask is None else jnp.where(mask, y, 0)
        return y.astype(dtype)


def minibatch_stddev(x: Array, group_size: int | None = None, eps: float = 1e-8) -> Array:
    """Appends a channel that says how much the examples of a group differ: a critic sees a collapsed generator.

    s = mean over positions and channels of sqrt(var over the group + eps), the variance divided by the group's
    size; every position of every example of the group gets s.

    Args:
      x: float [B, ..., C], at least one axis besides batch and channel or none.
      group_size: examples that are compared, a divisor of B; the B / group_size groups are strided, so group i
        has the examples i, i + B / group_size, and so on. None compares the whole batch.
      eps: added to the variance, positive, so that equal examples have a gradient.

    Returns:
      float [B, ..., C + 1], the last channel s.

    Raises:
      TypeError: x is not floating point.
      ValueError: x has fewer than two axes, the group size does not divide B, or eps is not positive.

    Source: Karras et al., "Progressive Growing of GANs", 2017, section 3, arXiv:1710.10196; the groups are those
    of its code.
    """
    checks.floating(x=x)
    checks.positive(eps=eps)
    if x.ndim < 2:
        raise ValueError(f"x must have a batch axis and a channel axis, got shape {x.shape}")
    size = x.shape[0] if group_size is None else group_size
    checks.at_least(1, group_size=size)
    checks.divisible(size, "group_size", batch=x.shape[0])
    grouped = widened(x).reshape(size, x.shape[0] // size, -1)
    deviation = jnp.sqrt(jnp.var(grouped, axis=0) + eps)
    s = jnp.tile(jnp.mean(deviation, axis=1), size).astype(x.dtype)
    s = s.reshape((-1,) + (1,) * (x.ndim - 1))
    return jnp.concatenate([x, jnp.broadcast_to(s, (*x.shape[:-1], 1))], axis=-1)
