"""Regions of one image without learning: by threshold, by edges, by clusters of colours. On the device.

H, W, C: height, width, channels. Each returns a map [H, W]; they are the classical yardsticks of a segmentation net.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data.neighbourhoods import dilate, weighted_sum
from jaxdl.data.pixel_ranges import picture, wide
from jaxdl.nn import sobel_x, sobel_y
from jaxdl.types import Array

_CROSS = ((0, 1, 0), (1, 1, 1), (0, 1, 0))


def _grey(image: Array) -> Array:
    """Wide [H, W] of a grey image [H, W, 1]."""
    checks.shape((None, None, 1), image=image)
    return wide(picture(image))[..., 0]


def otsu_threshold(image: Array, num_bins: int = 256) -> Array:
    """The threshold that parts the pixels into the two most different classes.

    argmax over t of w_0(t) w_1(t) (mean_0(t) - mean_1(t))^2: w_0 pixels up to t and w_1 above, t over the parts of a
    histogram from the darkest to the brightest pixel; the first of equals.

    Args:
      image: float or integer [H, W, 1].
      num_bins: parts of the histogram, at least 2. Of uint8, each value is its own part.

    Returns:
      float[], the middle of the last part of the dark class; `image > threshold` is the bright one. The value of an
      image that has only one.

    Raises:
      ValueError: not one channel, or fewer than two parts.
      TypeError: neither integers nor floating point.

    Source: N. Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.
    """
    checks.at_least(2, num_bins=num_bins)
    grey = _grey(image)
    if jnp.asarray(image).dtype == jnp.uint8:
        num_bins, low, width = 256, jnp.zeros(()), jnp.ones(())
        middles = jnp.arange(256, dtype=grey.dtype)
    else:
        low = jnp.min(grey)
        width = (jnp.max(grey) - low) / num_bins
        middles = low + (jnp.arange(num_bins, dtype=grey.dtype) + 0.5) * width
    part = jnp.floor((grey - low) / jnp.where(width > 0, width, 1)).astype(jnp.int32)
    counts = jnp.zeros(num_bins, jnp.int32).at[jnp.minimum(part, num_bins - 1).reshape(-1)].add(1)
    # Measured from the mean, the sums below do not cancel.
    offsets = counts * (middles - jnp.mean(grey))
    dark = jnp.cumsum(counts)
    bright = grey.size - dark
    sums = jnp.cumsum(offsets)
    apart = sums / jnp.maximum(dark, 1) - (jnp.sum(offsets) - sums) / jnp.maximum(bright, 1)
    between = dark.astype(grey.dtype) * bright.astype(grey.dtype) * apart**2
    return jnp.where(width > 0, middles[jnp.argmax(between)], low)


def threshold_segment(image: Array, thresholds: float | Array | None = None) -> Array:
    """Regions of similar brightness: each pixel's number of thresholds that it exceeds.

    Args:
      image: float or integer [H, W, 1].
      thresholds: float[] or float [k], values of the image's range; None is the one of `otsu_threshold`.

    Returns:
      int32 [H, W] in [0, k], 0 for the darkest region.

    Raises:
      ValueError: not one channel, or thresholds of a higher rank.
      TypeError: neither integers nor floating point.

    `binarize` keeps the channels and gives a mask. Where light and ground vary over the picture, `edge_segment` needs
    no common level; where colours tell regions apart, take `cluster_segment`.
    """
    grey = _grey(image)
    thresholds = jnp.asarray(otsu_threshold(image) if thresholds is None else thresholds, grey.dtype)
    checks.rank((0, 1), thresholds=thresholds)
    return jnp.sum(grey[..., None] > thresholds.reshape(1, 1, -1), axis=-1, dtype=jnp.int32)


def slope(image: Array) -> Array:
    """How steeply brightness changes, per pixel: sqrt(g_x^2 + g_y^2) / 8 of the Sobel kernels, float [H, W]."""
    grey = _grey(image)
    across, down = (weighted_sum(grey, kernel(grey.dtype)) for kernel in (sobel_x, sobel_y))
    return jnp.sqrt(across**2 + down**2) / 8


def fill_holes(mask: Array) -> Array:
    """What cannot be reached from the frame over sides of pixels outside the mask, bool [H, W]."""
    frame = jnp.pad(jnp.zeros((mask.shape[0] - 2, mask.shape[1] - 2), bool), 1, constant_values=True)
    free = ~mask

    def spread(state: tuple[Array, Array]) -> tuple[Array, Array]:
        reached, _ = state
        further = dilate(reached, _CROSS) & free
        return further, jnp.any(further != reached)

    reached, _ = jax.lax.while_loop(lambda state: state[1], spread, (frame & free, jnp.any(free)))
    return ~reached


def edge_segment(image: Array, threshold: float | Array | None = None, filled: bool = True) -> Array:
    """Things by their outlines: where brightness changes steeply, and what such lines enclose.

    `slope > threshold`, with slope = sqrt(g_x^2 + g_y^2) / 8 of the Sobel kernels in brightness per pixel; then
    everything is added that no path over sides of pixels connects to the frame.

    Args:
      image: float or integer [H, W, 1], 3 pixels or more along both axes. Outside, the border is repeated.
      threshold: of the slope; None takes that of `otsu_threshold` for the slopes.
      filled: whether to add what lines enclose; False gives the lines, about two pixels wide.

    Returns:
      bool [H, W].

    Raises:
      ValueError: not one channel, or smaller than 3 pixels.
      TypeError: neither integers nor floating point.

    The line around a region that is already a mask is `boundary`.
    """
    steepness = slope(image)
    checks.at_least(3, **{"image height": steepness.shape[0], "image width": steepness.shape[1]})
    limit = otsu_threshold(steepness[..., None]) if threshold is None else threshold
    edges = steepness > limit
    return fill_holes(edges) if filled else edges


def _squared_distances(points: Array, centres: Array) -> Array:
    """[N, K] of [N, C] and [K, C]; by differences, which do not cancel."""
    return jnp.sum((points[:, None] - centres[None]) ** 2, axis=-1)


def spread_out(key: Array, points: Array, num_clusters: int) -> Array:
    """k-means++: each next centre is a point drawn in proportion to its squared distance from those before."""

    def draw(nearest: Array, uniform: Array) -> tuple[Array, Array]:
        up_to = jnp.cumsum(nearest)
        chosen = jnp.searchsorted(up_to, uniform * up_to[-1], side="right")
        # Where every point is a centre already the sum is 0, and any will do.
        centre = points[jnp.minimum(chosen, len(points) - 1)]
        return jnp.minimum(nearest, _squared_distances(points, centre[None])[:, 0]), centre

    drawn = jax.random.uniform(key, (num_clusters,))
    start = points[jnp.floor(drawn[0] * len(points)).astype(jnp.int32)]
    _, others = jax.lax.scan(draw, _squared_distances(points, start[None])[:, 0], drawn[1:])
    return jnp.concatenate([start[None], others])


def lloyd(points: Array, centres: Array, num_steps: int) -> Array:
    """k-means: each centre moves to the mean of the points that are nearest to it; without any, it stays."""

    def move(centres: Array, _) -> tuple[Array, None]:
        own = jax.nn.one_hot(jnp.argmin(_squared_distances(points, centres), axis=1), len(centres))
        counts = jnp.sum(own, axis=0)[:, None]
        sums = jnp.matmul(own.T, points, precision="highest")
        return jnp.where(counts > 0, sums / jnp.maximum(counts, 1), centres), None

    return jax.lax.scan(move, centres, length=num_steps)[0]


def cluster_segment(key: Array, image: Array, num_clusters: int, num_steps: int = 20) -> tuple[Array, Array]:
    """Regions of similar colour, by k-means: pixels go to the nearest of K colours, the means of their pixels.

    Minimises the sum of |x(p) - c_label(p)|^2 over labels and colours, one after the other, from k-means++.

    Args:
      key: a JAX key, for the first colours.
      image: float or integer [H, W, C].
      num_clusters: K, at least 1.
      num_steps: of both, at least 1.

    Returns:
      int32 [H, W] in [0, K), and the colours, float32 at least [K, C], ordered by their sums: 0 is the darkest. With
      fewer than K different colours in the image, some have no pixel.

    Raises:
      ValueError: wrong rank or a setting below 1.
      TypeError: neither integers nor floating point.

    Source: S. Lloyd, "Least squares quantization in PCM", 1982; D. Arthur and S. Vassilvitskii, "k-means++: The
    Advantages of Careful Seeding", 2007.
    Differs from sklearn.cluster.KMeans: a fixed number of steps, one start, and colours without pixels stay.
    """
    image = picture(image)
    checks.at_least(1, num_clusters=num_clusters, num_steps=num_steps)
    points = wide(image).reshape(-1, image.shape[-1])
    centres = lloyd(points, spread_out(key, points, num_clusters), num_steps)
    centres = centres[jnp.argsort(jnp.sum(centres, axis=1))]
    labels = jnp.argmin(_squared_distances(points, centres), axis=1)
    return labels.reshape(image.shape[:2]).astype(jnp.int32), centres
