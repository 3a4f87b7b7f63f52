"""Random numbers in programs that compile fast.

XLA's CPU backend takes ten times longer to compile the generator for an array of three or more axes (2.0 s) than for
the same numbers in a row (0.2 s), and compiling it costs far more than running it: so one draw, in a row, for many.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl.types import Array


def uniform(key: Array, shape: Sequence[int]) -> Array:
    """Numbers from [0, 1), float32."""
    return jax.random.uniform(key, (math.prod(shape),)).reshape(shape)


def normal(key: Array, shape: Sequence[int]) -> Array:
    """Numbers from N(0, 1), float32."""
    return jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def below(n: int, u: Array) -> Array:
    """Integers from 0 to n - 1 by numbers u from [0, 1), int32 of the same shape."""
    return jnp.floor(n * u).astype(jnp.int32)
