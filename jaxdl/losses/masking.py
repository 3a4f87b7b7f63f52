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


def probable(p: Array, given: Array) -> Array:
    """Whether each number is a probability, up to the rounding of a mean in the dtype it was given in."""
    dtype = jnp.asarray(given).dtype
    slack = 8 * float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
    return jnp.abs(p - 0.5) <= 0.5 + slack


def check_where(where: Array, *shapes: tuple[int, ...]) -> None:
    """Raises TypeError unless the mask is bool, ValueError unless it has one of the shapes."""
    checks.boolean(where=where)
    if jnp.shape(where) not in shapes:
        rule = " or ".join(map(str, dict.fromkeys(shapes)))
        raise ValueError(f"where must have shape {rule}, got {jnp.shape(where)}")


def split_where(where: Array | None, shape: tuple[int, ...]) -> tuple[Array | None, Array | None]:
    """The mask as (rows kept [B], classes kept [B, K]); at most one is not None."""
    if where is None:
        return None, None
    check_where(where, shape[:-1], shape)
    return (where, None) if jnp.shape(where) == shape[:-1] else (None, jnp.asarray(where))


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


def without(where: Array, x: Array) -> Array:
    """`x` with one, or class 0, where the mask over its leading axes is False."""
    instead = 1 if jnp.issubdtype(x.dtype, jnp.floating) else 0
    kept = jnp.reshape(where, jnp.shape(where) + (1,) * (x.ndim - jnp.ndim(where)))
    return jnp.where(kept, x, jnp.full((), instead, x.dtype))


def examplewise(
    formula: Callable[..., Array], *arrays: Array, where: Array | None, shape: tuple[int, ...]
) -> Array:
    """`formula` on arrays whose leading axes are `shape`, with a result of that shape; masked examples and
    their gradients are 0, even where they are NaN."""
    if where is None:
        return formula(*arrays)
    check_where(where, shape)
    return jnp.where(where, formula(*(without(where, x) for x in arrays)), 0)


def together(**arrays: Array) -> tuple[Array, ...]:
    """Arrays of one shape in the widened dtype of the first; raises TypeError unless that is floating point,
    ValueError unless the shapes are equal."""
    check_pair(**arrays)
    first = widened(next(iter(arrays.values())))
    return first, *(jnp.asarray(x).astype(first.dtype) for x in list(arrays.values())[1:])


def check_labels(**arrays: Array) -> None:
    """Raises TypeError unless the first array is floating point and the second integers, ValueError unless the
    second has the shape of the first without its last axis."""
    (name, scores), (labels_name, labels) = arrays.items()
    checks.floating(**{name: scores})
    checks.integer(**{labels_name: labels})
    if jnp.ndim(scores) < 1 or jnp.shape(labels) != jnp.shape(scores)[:-1]:
        raise ValueError(
            f"{labels_name} must have the shape of {name} without its last axis, got {labels_name} "
            f"{jnp.shape(labels)} and {name} {jnp.shape(scores)}"
        )


def at_label(scores: Array, labels: Array) -> Array:
    """The score of each label, NaN where the label is not among the classes."""
    labels = class_indices(labels)
    possible = (labels >= 0) & (labels < scores.shape[-1])
    index = jnp.where(possible, labels, 0)[..., None]
    return poisoned(jnp.take_along_axis(scores, index, axis=-1)[..., 0], possible)


def mean_per_example(x: Array) -> Array:
    """The mean over every axis but the first."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))


def log_or_zero(x: Array) -> Array:
    """log x, and 0 with gradient 0 where x is 0, for products that are 0 there: 0 log 0 = 0."""
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1)), 0)


def length(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """The Euclidean norm over the axes, whose gradient at 0 is 0."""
    square = jnp.sum(jnp.square(x), axis=axis)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
