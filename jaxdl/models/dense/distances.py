"""Squared distances to centres, for nets of radial functions and for clusters.

Shapes: N points, C centres, D coordinates.
"""

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def squared_distances(x: Array, centers: Array) -> Array:
    """|x - c|^2 of every point and every centre, by one matrix product.

    |x|^2 - 2 x.c + |c|^2, both counted from the middle of the centres, where least of it cancels: the error is
    about 1e-7 of the squared distance from there.

    Args:
      x: float [N, D].
      centers: float [C, D].

    Returns:
      float32 at least, [N, C], at least 0.

    Raises:
      TypeError: an array is not floating point.
      ValueError: they are not [N, D] and [C, D].
    """
    checks.floating(x=x, centers=centers)
    checks.rank(2, x=x, centers=centers)
    checks.shape((None, jnp.shape(x)[1]), centers=centers)
    wide = jnp.promote_types(jnp.promote_types(x.dtype, centers.dtype), jnp.float32)
    x, centers = jnp.asarray(x, wide), jnp.asarray(centers, wide)
    middle = jnp.mean(centers, axis=0, keepdims=True)
    rows, columns = x - middle, centers - middle
    products = jnp.matmul(rows, columns.T, precision="highest")
    lengths = jnp.sum(jnp.square(rows), axis=1)[:, None] + jnp.sum(jnp.square(columns), axis=1)[None]
    return jnp.maximum(lengths - 2 * products, 0)
