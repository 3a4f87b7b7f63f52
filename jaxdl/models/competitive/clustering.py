"""Clusters around means.

Shapes: B batch, N training rows, ... any input axes (flattened), D their product, K clusters.
"""

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import checks, nn
from jaxdl.models.dense.distances import squared_distances
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array


class KMeans(linen.Module):
    """Distances to the means of K clusters, the nearest of which is an input's own.

    centers = argmin sum_n min_k |x_n - m_k|^2, a local minimum

    `fit` finds them by Lloyd's algorithm: every row joins its nearest centre, every centre moves to the mean of
    its rows, until nothing changes. It starts from given centres, or with a key from k-means++ (each next centre
    is a row drawn in proportion to its squared distance from the nearest one so far), several times, and keeps the
    best. The columns should have one scale.

        variables = KMeans(3).fit(x, key=key)
        labels = KMeans(3).apply(variables, x, method="assign")

    Attributes:
      num_clusters: K, at least 1.
      num_starts: how often `fit` starts anew from a key, at least 1.
      max_steps: of Lloyd's algorithm from each start, at least 1.
      center_init: initial centres of `init`, [K, D].

    Source: Lloyd, "Least Squares Quantization in PCM", 1982; Arthur & Vassilvitskii, "k-means++: The Advantages of
    Careful Seeding", 2007.
    Differs from sklearn.cluster.KMeans: a centre that loses all its rows stays where it is; k-means++ draws one
    candidate for each centre, not the best of several.
    """

    num_clusters: int
    num_starts: int = 4
    max_steps: int = 100
    center_init: Initializer = nn.normal_init(1.0)

    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to its distances from the centres, float32 at least, [B, K]. `train` changes nothing."""
        del train
        squares = self._squares(x)
        near = squares > 0
        # The slope of a root at 0 is infinite; here it counts as 0.
        return jnp.where(near, jnp.sqrt(jnp.where(near, squares, 1)), 0)

    def assign(self, x: Array) -> Array:
        """The nearest centre of each input [B, ...], the first of equally near ones, int32 [B]."""
        return jnp.argmin(self._squares(x), axis=1).astype(jnp.int32)

    @linen.compact
    def _squares(self, x: Array) -> Array:
        checks.at_least(1, num_clusters=self.num_clusters)
        x = nn.flatten(x)
        return squared_distances(x, self.param("centers", self.center_init, (self.num_clusters, x.shape[-1])))

    def fit(self, x: Array, *, key: Array | None = None, centers: Array | None = None) -> dict:
        """The variables at a local minimum; jittable.

        Args:
          x: float [N, ...].
          key: for k-means++; None where centres are given.
          centers: to start from, float [K, D]; None to draw them.

        Returns:
          `{"params": {"centers": float32 [K, D]}}`, as `init` gives it.

        Raises:
          ValueError: neither or both of key and centers, a setting below 1, fewer rows than clusters, or shapes
            that do not fit.
          TypeError: an array is not floating point.
        """
        checks.at_least(
            1, num_clusters=self.num_clusters, num_starts=self.num_starts, max_steps=self.max_steps
        )
        checks.floating(x=x)
        x = nn.flatten(x).astype(jnp.float32)
        checks.at_least(self.num_clusters, **{"number of rows": len(x)})
        # From the rows' mean: far from 0, squares would lose their last digits.
        middle = jnp.mean(x, axis=0, keepdims=True)
        rows = x - middle
        if centers is not None and key is not None:
            raise ValueError("key or centers must be given, got both")
        if centers is not None:
            checks.floating(centers=centers)
            checks.shape((self.num_clusters, x.shape[1]), centers=centers)
            starts = (jnp.asarray(centers, jnp.float32) - middle)[None]
        elif key is not None:
            keys = jax.random.split(key, self.num_starts)
            starts = jax.lax.map(lambda key: _spread_out(key, rows, self.num_clusters), keys)
        else:
            raise ValueError("key or centers must be given, got neither")
        ends, errors = jax.lax.map(lambda start: _lloyd(rows, start, self.max_steps), starts)
        return {"params": {"centers": ends[jnp.argmin(errors)] + middle}}


def _spread_out(key: Array, rows: Array, num_clusters: int) -> Array:
    """The first centres, by k-means++: float [K, D]."""
    drawn = jax.random.uniform(key, (num_clusters,))

    def draw(nearest: Array, uniform: Array) -> tuple[Array, Array]:
        up_to = jnp.cumsum(nearest)
        chosen = jnp.searchsorted(up_to, uniform * up_to[-1], side="right")
        # Where every row is a centre already the sum is 0, and any will do.
        center = rows[jnp.minimum(chosen, len(rows) - 1)]
        return jnp.minimum(nearest, squared_distances(rows, center[None])[:, 0]), center

    first = rows[jnp.floor(drawn[0] * len(rows)).astype(jnp.int32)]
    _, others = jax.lax.scan(draw, squared_distances(rows, first[None])[:, 0], drawn[1:])
    return jnp.concatenate([first[None], others])


def _lloyd(rows: Array, centers: Array, max_steps: int) -> tuple[Array, Array]:
    """Centres [K, D] that no row wants to leave, or those after `max_steps`, and the sum of squared distances, []."""

    def move(state):
        centers, labels, _, step = state
        own = jax.nn.one_hot(labels, len(centers))
        counts = jnp.sum(own, axis=0)[:, None]
        means = jnp.matmul(own.T, rows, precision="highest") / jnp.maximum(counts, 1)
        centers = jnp.where(counts > 0, means, centers)
        new = jnp.argmin(squared_distances(rows, centers), axis=1)
        return centers, new, jnp.any(new != labels), step + 1

    labels = jnp.argmin(squared_distances(rows, centers), axis=1)
    start = (centers, labels, jnp.array(True), jnp.array(0))
    centers, *_ = jax.lax.while_loop(lambda state: state[2] & (state[3] < max_steps), move, start)
    return centers, jnp.sum(jnp.min(squared_distances(rows, centers), axis=1))
