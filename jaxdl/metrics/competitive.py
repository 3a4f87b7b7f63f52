"""Metrics of codebooks and self-organising maps: units that stand for the inputs nearest to them.

N inputs, D features, M units, P axes of the map.
"""

import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.masking import widened
from jaxdl.metrics.distributions import squared_distances
from jaxdl.metrics.streaming import Mean, Metric, Parts, count, counted, mean_of, no_hits, no_values
from jaxdl.types import Array


def _to_units(inputs: Array, weights: Array) -> Array:
    checks.floating(inputs=inputs, weights=weights)
    checks.rank(2, inputs=inputs, weights=weights)
    checks.shape((None, np.shape(inputs)[1]), weights=weights)
    return squared_distances(inputs, weights)


@Metric
def quantization_error() -> Parts:
    """Mean distance of the inputs from their nearest unit: what is lost when the unit stands for the input.

    (1/N) sum_n min_m |x_n - w_m|

    It falls with the number of units, whatever their order on the map; `topographic_error` judges the order.

    Args:
      inputs: float [N, D].
      weights: of the units, float [M, D].
      where: bool [N], which inputs count, or None for all.

    Returns:
      float32[], in the unit of the inputs; NaN when nothing counts.

    Raises:
      TypeError: inputs or weights are not floating point, or where is not bool.
      ValueError: they are not [N, D] and [M, D].

    Source: Kohonen, "Self-Organizing Maps", 1995, section 2.9.
    """

    def measure(inputs: Array, weights: Array, where: Array | None) -> Mean:
        return mean_of(jnp.sqrt(jnp.min(_to_units(inputs, weights), axis=1)), where)

    return Parts(no_values, measure, Mean.value)


@Metric
def topographic_error(*, reach: float = 1.5) -> Parts:
    """Share of the inputs whose two nearest units are not neighbours on the map.

    (1/N) sum_n [|r_a - r_b| > reach], a and b the nearest and the second nearest unit of x_n, r their places

        metrics.topographic_error(inputs, weights, positions)             # positions such as (row, column)

    Args:
      inputs: float [N, D].
      weights: of the units, float [M, D], M at least 2.
      positions: of the units on the map, real numbers [M, P].
      where: bool [N], which inputs count, or None for all.
      reach: how far apart neighbours are. On a square grid 1.5 takes the diagonal ones in, 1 leaves them out.

    Returns:
      float32[] in [0, 1]; of units equally near the first is nearest. NaN when nothing counts.

    Raises:
      TypeError: inputs or weights are not floating point, or where is not bool.
      ValueError: the shapes do not agree, there is one unit only, or reach is not positive.

    Source: Kiviluoto, "Topology preservation in self-organizing maps", 1996, section 2.
    """
    checks.positive(reach=reach)

    def measure(inputs: Array, weights: Array, positions: Array, where: Array | None) -> Mean:
        squares = _to_units(inputs, weights)
        units = squares.shape[1]
        checks.at_least(2, **{"number of units": units})
        checks.rank(2, positions=positions)
        checks.same_leading(1, positions=positions, weights=weights)
        chosen = counted(squares.shape[:1], where)
        nearest = jnp.argmin(squares, axis=1)
        others = jnp.where(jnp.arange(units)[None] == nearest[:, None], jnp.inf, squares)
        places = widened(positions)
        apart = jnp.sum(jnp.square(places[nearest] - places[jnp.argmin(others, axis=1)]), axis=1)
        return Mean(count((apart > reach**2) & chosen), count(chosen))

    return Parts(no_hits, measure, Mean.value)
