"""The geometry of one region: its size, place, direction and shape in a few numbers, on the device."""

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data.neighbourhoods import weighted_sum
from jaxdl.types import Array


def _hu(eta: dict[tuple[int, int], Array]) -> Array:
    """Hu's seven invariants from the normalised central moments (powers of row, of column) of order 2 and 3."""
    n20, n02, n11 = eta[2, 0], eta[0, 2], eta[1, 1]
    n30, n03, n21, n12 = eta[3, 0], eta[0, 3], eta[2, 1], eta[1, 2]
    row, column = n30 + n12, n21 + n03
    row_rest, column_rest = n30 - 3 * n12, 3 * n21 - n03
    odd, even = row * (row**2 - 3 * column**2), column * (3 * row**2 - column**2)
    return jnp.stack([
        n20 + n02,
        (n20 - n02) ** 2 + 4 * n11**2,
        row_rest**2 + column_rest**2,
        row**2 + column**2,
        row_rest * odd + column_rest * even,
        (n20 - n02) * (row**2 - column**2) + 4 * n11 * row * column,
        column_rest * odd - row_rest * even,
    ])  # fmt: skip


def _perimeter(mask: Array) -> Array:
    """Length of the inner boundary, by how each of its pixels continues."""
    inside = mask.astype(jnp.float32)
    padded = jnp.pad(inside, 1)
    cross = jnp.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], jnp.float32)
    border = inside * (weighted_sum(padded, cross)[1:-1, 1:-1] < 4)
    code = weighted_sum(
        jnp.pad(border, 1), jnp.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], jnp.float32)
    ).astype(jnp.int32)[1:-1, 1:-1]
    lengths = jnp.zeros(50).at[jnp.array([5, 7, 15, 17, 25, 27])].set(1.0)
    lengths = lengths.at[jnp.array([21, 33])].set(2**0.5).at[jnp.array([13, 23])].set((1 + 2**0.5) / 2)
    return jnp.sum(lengths[code])


def shape_features(mask: Array) -> dict[str, Array]:
    """Describes the region of a mask by numbers that a classifier can take.

    With mu_rc the sum over the region of (row - mean)^r (column - mean)^c, and l_1 >= l_2 the eigenvalues of the
    covariance [[mu_20, mu_11], [mu_11, mu_02]] / area:

    - area: number of pixels; centroid: mean (row, column)
    - bounding_box: first row, first column, last row + 1, last column + 1; extent: area / area of the box
    - major_axis 4 sqrt(l_1), minor_axis 4 sqrt(l_2): of the ellipse with this covariance, in pixels
    - eccentricity: sqrt(1 - l_2 / l_1); 0 a circle, near 1 a line
    - orientation: 1/2 atan2(2 mu_11, mu_20 - mu_02), of the major axis from the row axis, in radians
    - perimeter: length of the inner boundary in pixels; diagonal steps count sqrt(2) and corners (1 + sqrt(2)) / 2
    - compactness: 4 pi area / perimeter^2; near 1 a disc, smaller what is long or ragged
    - hu_moments: seven functions of mu_rc / area^(1 + (r + c) / 2) that moving, turning and scaling do not change
      (mirroring changes the sign of the last)

    Args:
      mask: bool [H, W], one region; several count as one.

    Returns:
      float32 by name: [] but for centroid [2], bounding_box [4], hu_moments [7]. An empty mask has 0 everywhere.

    Raises:
      ValueError: wrong rank.
      TypeError: not bool.

    Source: M.-K. Hu, "Visual pattern recognition by moment invariants", 1962; K. Benkrid and D. Crookes, "Design
    and FPGA Implementation of a Perimeter Estimator", 2000. Names and values as in skimage.measure.regionprops.
    """
    mask = jnp.asarray(mask)
    checks.rank(2, mask=mask)
    checks.boolean(mask=mask)
    height, width = mask.shape
    inside = mask.astype(jnp.float32)
    rows, columns = jnp.arange(height, dtype=jnp.float32)[:, None], jnp.arange(width, dtype=jnp.float32)[None]
    area = jnp.sum(inside)
    divisor = jnp.maximum(area, 1)
    row, column = jnp.sum(inside * rows) / divisor, jnp.sum(inside * columns) / divisor

    def moment(r: int, c: int) -> Array:
        return jnp.sum(inside * (rows - row) ** r * (columns - column) ** c)

    mu = {(r, c): moment(r, c) for r in range(4) for c in range(4) if 2 <= r + c <= 3}
    down, right, skew = mu[2, 0] / divisor, mu[0, 2] / divisor, mu[1, 1] / divisor
    root = jnp.sqrt((down - right) ** 2 + 4 * skew**2)
    long, short = (down + right + root) / 2, jnp.maximum((down + right - root) / 2, 0)

    def span(axis: int, size: int) -> tuple[Array, Array]:
        hit = jnp.any(mask, axis=axis)
        first, last = jnp.argmax(hit), size - jnp.argmax(hit[::-1])
        return first, jnp.where(jnp.any(hit), last, 0)

    (top, bottom), (left, end) = span(1, height), span(0, width)
    perimeter = _perimeter(mask)
    return {
        "area": area,
        "centroid": jnp.stack([row, column]),
        "bounding_box": jnp.stack([top, left, bottom, end]).astype(jnp.float32),
        "extent": area / jnp.maximum((bottom - top) * (end - left), 1),
        "major_axis": 4 * jnp.sqrt(long),
        "minor_axis": 4 * jnp.sqrt(short),
        "eccentricity": jnp.where(long > 0, jnp.sqrt(1 - short / jnp.where(long > 0, long, 1)), 0.0),
        "orientation": jnp.arctan2(2 * skew, down - right) / 2,
        "perimeter": perimeter,
        "compactness": 4 * jnp.pi * area / jnp.where(perimeter > 0, perimeter, 1) ** 2
        * (perimeter > 0),
        "hu_moments": _hu({rc: value / divisor ** (1 + sum(rc) / 2) for rc, value in mu.items()}),
    }  # fmt: skip
