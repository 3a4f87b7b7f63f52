"""What an objective asks of a batch, checked while it is traced."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def field(batch: Mapping[str, Any], name: str, role: str) -> Array:
    """The array under a key; ValueError names the key and those that are there."""
    if not isinstance(batch, Mapping):
        raise TypeError(f"batch must be a dict of arrays, got {type(batch).__name__}")
    if name not in batch:
        present = ", ".join(map(repr, batch)) or "none"
        raise ValueError(f"batch must have {role} under {name!r}, got the keys {present}")
    return jnp.asarray(batch[name])


def rows(batch: Mapping[str, Any], name: str, targets: Array) -> Array:
    """The mask bool [B] under a key, checked against the targets [B, ...]."""
    mask = field(batch, name, "a mask")
    checks.boolean(**{name: mask})
    checks.shape(targets.shape[:1], **{name: mask})
    return mask


def model_inputs(batch: Mapping[str, Any], name: str) -> Array:
    """What the model reads: real numbers [B, ...] or integer tokens, never raw pixels."""
    x = field(batch, name, "the model's inputs")
    if x.dtype == jnp.uint8:
        raise TypeError(f"{name} must be floating point, got uint8; scale raw pixels with data.scale_pixels")
    if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)):
        raise TypeError(f"{name} must be floating point, or integer tokens, got {x.dtype}")
    if x.ndim < 2:
        raise ValueError(f"{name} must have a batch axis and at least one more, got shape {x.shape}")
    return x


def hidden(mask: Array | None, x: Array) -> Array:
    """The array with zeros in masked rows, so that nothing in them, NaN either, reaches a value or a
    gradient."""
    if mask is None:
        return x
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))


def counted_sum(values: Array, mask: Array | None) -> tuple[Array, Array]:
    """Sum over valid rows of values [B, ...] and how many values that is, both float32[]."""
    if mask is None:
        return jnp.sum(values), jnp.asarray(values.size, values.dtype)
    per_row = math.prod(values.shape[1:])
    return jnp.sum(hidden(mask, values)), jnp.sum(mask, dtype=values.dtype) * per_row


def counted_mean(values: Array, mask: Array | None) -> Array:
    """Mean over valid rows, float32[]; 0 when there are none."""
    total, count = counted_sum(values, mask)
    return total / jnp.maximum(count, 1)
