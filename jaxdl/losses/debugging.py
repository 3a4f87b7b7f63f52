"""A loss that looks at what it is given each time it runs, for the search of a mistake.

What shapes and dtypes tell is checked everywhere, while a function is traced. Some mistakes are in the numbers alone.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.types import Array

# So many yes-or-no logits must all look like probabilities before they are taken for them.
_ENOUGH = 16


def checked(loss: Callable[..., Array]) -> Callable[..., Array]:
    """The loss, which stops where its inputs cannot be what it takes them for: a mode for debugging.

    Three mistakes that no shape betrays:
    - Probabilities given as logits: a model that ends in a softmax or a sigmoid trains, slowly, to a bad end. Logits
      (an argument `logits` or `..._logits`) are taken for them where all rows are in [0, 1] and sum to 1; or, in a loss
      of yes or no, where all of at least 16 numbers are in [0, 1] and not only 0 and 1.
    - Logits given as probabilities: an argument `probabilities` outside [0, 1].
    - Labels or targets that cannot be, such as a class outside [0, K) or a negative count: a loss of NaN from inputs
      without one. Without this mode the NaN reaches the parameters, and the run stops without a place.

        loss = losses.checked(losses.softmax_cross_entropy_with_integer_labels)
        step = train.make_update(train.backprop(classification(model, loss)), tx)

    Values and gradients are the loss's own. The numbers travel to the host in each call, so take it out again for
    speed. What `where` leaves out is not looked at.

    Args:
      loss: of this package, or another whose arguments have such names.

    Returns:
      A function with the loss's arguments and result.

    Raises (when the result is called):
      ValueError: as above, with the argument, the rule, a value and its place. Inside compiled functions it is a
        `jax.errors.JaxRuntimeError` with that text, raised where the result is waited for.
    """
    signature, name = inspect.signature(loss), getattr(loss, "__name__", repr(loss))

    @functools.wraps(loss)
    def watched(*args: Any, **settings: Any) -> Array:
        value = loss(*args, **settings)
        given = signature.bind(*args, **settings).arguments
        arrays = {key: x for key, x in given.items() if key != "where" and _has_numbers(x)}
        jax.debug.callback(functools.partial(_look, name), value, arrays, given.get("where"))
        return value

    return watched


def _has_numbers(x: Any) -> bool:
    is_array = isinstance(x, (jax.Array, np.ndarray))
    return is_array and not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)  # a random key


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _look(loss: str, value: Any, given: Mapping[str, Any], where: Any) -> None:
    mask = None if where is None else np.asarray(where)
    value = np.asarray(value)
    # bfloat16 is no number to NumPy.
    arrays = {name: np.asarray(x, np.float64 if _is_float(x) else None) for name, x in given.items()}
    for name, x in arrays.items():
        kept = _kept(mask, x.shape)
        if name == "probabilities" and (kept & (np.abs(x - 0.5) > 0.51)).any():
            place = _first(kept & (np.abs(x - 0.5) > 0.51))
            raise ValueError(
                f"{loss}: {name} must be in [0, 1], got {x[place]:.6g} at {place}: are they logits?"
            )
        if name.endswith("logits") and _probable(x, kept, x.shape == value.shape, given[name].dtype):
            raise ValueError(
                f"{loss}: {name} must be what goes into a softmax or sigmoid, got what looks like its result: "
                + ("numbers in [0, 1]" if x.shape == value.shape else "rows in [0, 1] that sum to 1")
            )
    bad = np.isnan(value) & _kept(mask, value.shape)
    diverged = any(_is_float(x) and (np.isnan(x) & _kept(mask, x.shape)).any() for x in arrays.values())
    if bad.any() and not diverged:
        place = _first(bad)
        there = [f"{name} {x[place].tolist()}" for name, x in arrays.items() if x.shape == value.shape]
        raise ValueError(
            f"{loss}: labels and targets must be possible, got NaN at {place}, from {', '.join(there) or 'its inputs'}"
        )


def _first(chosen: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(chosen)[0])


def _kept(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Which numbers count: the mask over the leading axes, or all where it has other axes."""
    if mask is None or shape[: mask.ndim] != mask.shape:
        return np.ones(shape, bool)
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def _probable(x: np.ndarray, kept: np.ndarray, yes_or_no: bool, dtype: Any) -> bool:
    """Whether logits look like what comes out of a sigmoid, or of a softmax over the last axis."""
    if not kept.any() or not ((x >= 0) & (x <= 1))[kept].all():
        return False
    if yes_or_no:
        return kept.sum() >= _ENOUGH and bool(((x > 0) & (x < 1))[kept].any())
    slack = max(1e-4, 8 * float(jnp.finfo(dtype).eps))
    sums = np.sum(x, axis=-1, where=kept)[kept.any(axis=-1)]
    return x.shape[-1] > 1 and bool((np.abs(sums - 1) <= slack).all())
