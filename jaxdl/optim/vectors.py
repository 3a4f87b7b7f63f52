"""A pytree of parameters as one vector: products, lengths, and the vector itself.

Sums run in float32 or wider, whatever the leaves are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxdl.types import Array, Params


def widen(tree: Params) -> Params:
    """Every leaf in float32 or its own dtype, whichever is wider."""
    return jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), tree)


def inner(a: Params, b: Params) -> Array:
    """sum_i a_i b_i over all leaves, float[]."""
    products = jax.tree.map(lambda x, y: jnp.sum(x * y), widen(a), widen(b))
    return jax.tree.reduce(jnp.add, products)


def length(tree: Params) -> Array:
    """Root of the sum of squares over all leaves, float[]."""
    return jnp.sqrt(inner(tree, tree))


def largest(tree: Params) -> Array:
    """Largest absolute entry over all leaves, float[]; 0 for leaves without entries."""
    return jax.tree.reduce(jnp.maximum, jax.tree.map(lambda x: jnp.max(jnp.abs(x), initial=0), widen(tree)))


def plus(a: Params, scale: Any, b: Params) -> Params:
    """a + scale b, leaf by leaf, in the wider dtype of the three."""
    return jax.tree.map(lambda x, y: x + scale * y, a, b)


def moved(params: Params, scale: Any, updates: Params) -> Params:
    """params + scale updates, in the dtypes of `params`: where a step of this size would end."""
    return jax.tree.map(lambda p, u: (p + scale * u).astype(p.dtype), params, updates)


def flatten(params: Params) -> tuple[Array, Callable[[Array], Params]]:
    """The leaves as one vector float[n], float32 or wider, and the way back to their shapes and dtypes."""
    vector, restore = ravel_pytree(widen(params))

    def back(x: Array) -> Params:
        return jax.tree.map(lambda leaf, p: leaf.astype(p.dtype), restore(x), params)

    return vector, back
