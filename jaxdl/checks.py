"""Argument checks that name the argument, the rule and the value.

All are static: they look at shapes, dtypes and Python numbers while a function is traced, and cost nothing when it
runs. Arrays and settings are passed by keyword, so the message can name them:

    checks.rank(1, real_logits=real_logits, fake_logits=fake_logits)
"""

import math
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

Size = int | None  # None matches any size


def _dtype(x: Any) -> np.dtype:
    return jnp.asarray(x).dtype if not hasattr(x, "dtype") else x.dtype


def rank(expected: int | Sequence[int], /, **arrays: Any) -> None:
    """Raises ValueError unless every array has the rank, or one of the ranks."""
    allowed = (expected,) if isinstance(expected, int) else tuple(expected)
    for name, x in arrays.items():
        try:
            chex.assert_rank(x, set(allowed))
        except AssertionError:
            rule = " or ".join(str(r) for r in allowed)
            raise ValueError(f"{name} must have rank {rule}, got shape {np.shape(x)}") from None


def shape(expected: Sequence[Size], /, **arrays: Any) -> None:
    """Raises ValueError unless every array has the shape; None matches any size, as in `(None, 10)`."""
    for name, x in arrays.items():
        got = np.shape(x)
        if len(got) != len(expected) or any(e not in (None, g) for e, g in zip(expected, got)):
            rule = ", ".join("any" if e is None else str(e) for e in expected)
            raise ValueError(f"{name} must have shape ({rule}), got {got}")


def same_shape(**arrays: Any) -> None:
    """Raises ValueError unless all arrays have one shape: nothing is broadcast."""
    (first, reference), *rest = arrays.items()
    for name, x in rest:
        if np.shape(x) != np.shape(reference):
            raise ValueError(
                f"{name} must have the shape of {first}, {np.shape(reference)}, got {np.shape(x)}"
            )


def same_leading(count: int = 1, /, **arrays: Any) -> None:
    """Raises ValueError unless all arrays agree in their first `count` axes."""
    (first, reference), *rest = arrays.items()
    for name, x in rest:
        if np.shape(x)[:count] != np.shape(reference)[:count]:
            axes = "first axis" if count == 1 else f"first {count} axes"
            raise ValueError(
                f"{name} and {first} must agree in the {axes}, got {np.shape(x)} and {np.shape(reference)}"
            )


def floating(**arrays: Any) -> None:
    """Raises TypeError unless every array is real floating point."""
    for name, x in arrays.items():
        if not jnp.issubdtype(_dtype(x), jnp.floating):
            raise TypeError(f"{name} must be floating point, got {_dtype(x)}")


def integer(**arrays: Any) -> None:
    """Raises TypeError unless every array holds integers (bool is not one)."""
    for name, x in arrays.items():
        if not jnp.issubdtype(_dtype(x), jnp.integer):
            raise TypeError(f"{name} must be integers, got {_dtype(x)}")


def boolean(**arrays: Any) -> None:
    """Raises TypeError unless every array is bool."""
    for name, x in arrays.items():
        if _dtype(x) != np.bool_:
            raise TypeError(f"{name} must be bool, got {_dtype(x)}")


def _settings(values: dict[str, Any]):
    """Python and NumPy numbers; a traced or device value is data and cannot be judged without a sync."""
    return [(name, value) for name, value in values.items() if not isinstance(value, jax.Array)]


def positive(**values: Any) -> None:
    """Raises ValueError unless every setting is a finite number above 0."""
    for name, value in _settings(values):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive and finite, got {value}")


def at_least(minimum: float, /, **values: Any) -> None:
    """Raises ValueError unless every setting is a number not below `minimum`."""
    for name, value in _settings(values):
        if not value >= minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {value}")


def between(low: float, high: float, /, **values: Any) -> None:
    """Raises ValueError unless low <= setting <= high."""
    for name, value in _settings(values):
        if not low <= value <= high:
            raise ValueError(f"{name} must be between {low} and {high}, got {value}")


def one_of(choices: Sequence[Any], /, **values: Any) -> None:
    """Raises ValueError unless every setting is one of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def divisible(by: int, by_name: str, /, **values: int) -> None:
    """Raises ValueError unless `by` divides every value."""
    for name, value in values.items():
        if value % by:
            raise ValueError(f"{name} must be a multiple of {by_name}, got {value} and {by}")


def non_negative(**values: Any) -> None:
    """Raises ValueError unless every setting is a finite number, 0 or above."""
    for name, value in _settings(values):
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be finite and at least 0, got {value}")


def decay(**values: Any) -> None:
    """Raises ValueError unless 0 <= setting < 1: what a running average keeps of its past."""
    for name, value in _settings(values):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
