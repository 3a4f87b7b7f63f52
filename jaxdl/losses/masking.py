"""What every loss does around its formula: widen, check, hide what is masked, mark what is impossible."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def widened(x: Array) -> Array:
    """The array in at least float32: the square of 300 already overflows in float16."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def class_indices(labels: Array) -> Array:
    """The labels in at least 32 bits: a uint8 label cannot be compared with 1000 classes."""
    labels = jnp.asarray(labels)
    return labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels


def poisoned(loss: Array, possible: Array) -> Array:
    """The loss, with NaN values and NaN gradients where the input was impossible.

    A product, not a select: a select would pass a zero gradient, and training would run on over a bad label
    that no logged batch happens to hold. NaN in the parameters is found at the next look.
    """
    return loss * jnp.where(possible, 1.0, jnp.nan).astype(loss.dtype)


def check_where(where: Array, *shapes: tuple[int, ...]) -> None:
    """Raises TypeError unless the mask is bool, ValueError unless it has one of the shapes."""
    checks.boolean(where=where)
    if jnp.shape(where) not in shapes:
        rule = " or ".join(map(str, dict.fromkeys(shapes)))
        raise ValueError(f"where must have shape {rule}, got {jnp.shape(where)}")


def check_pair(**arrays: Array) -> None:
    """Raises TypeError unless the first array is floating point, ValueError unless both have one shape."""
    name, predictions = next(iter(arrays.items()))
    checks.floating(**{name: predictions})
    checks.same_shape(**{name: jnp.asarray(x) for name, x in arrays.items()})


def elementwise(
    formula: Callable[[Array, Array], Array], predictions: Array, targets: Array, where: Array | None
) -> Array:
    """`formula` on widened arrays of one shape; masked elements and their gradients are 0, even where they
    are NaN."""
    predictions = widened(predictions)
    targets = jnp.asarray(targets).astype(predictions.dtype)
    if where is None:
        return formula(predictions, targets)
    check_where(where, predictions.shape)
    # Hidden before the formula as well as after it: the derivative of a NaN times a zero cotangent is NaN.
    # One is a valid target of every loss: a number, a probability, a sign.
    loss = formula(jnp.where(where, predictions, 1), jnp.where(where, targets, 1))
    return jnp.where(where, loss, 0)
