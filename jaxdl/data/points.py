"""Points of several classes, made from a key, with the best that any classifier can do on them.

All functions are pure, jittable with static sizes, and vmappable over the key. Every class has its share of the rows,
to within one, and the rows are shuffled. N: rows, D: features, C: classes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array


def _classes(key: Array, size: int, num_classes: int) -> Array:
    """Equal shares in random order, int32 [N]."""
    return jnp.argsort(draws.uniform(key, (size,))).astype(jnp.int32) % num_classes


def moons(key: Array, size: int, *, noise: float = 0.1) -> dict[str, Array]:
    """Two half circles, one reaching into the other: what no straight line separates.

    class 0: (cos t, sin t), class 1: (1 - cos t, 1/2 - sin t), t ~ U[0, pi), plus noise N(0, 1) in each coordinate

    Without noise the classes can be told apart without error; with noise 0.1, 0.2 and 0.3 the best possible accuracy is
    0.9994, 0.971 and 0.915 (the densities are those of a half circle smeared by a Gaussian). A straight line gets about
    0.88 at noise 0.1.

    Args:
      key: PRNG key.
      size: rows N, at least 1.
      noise: standard deviation, at least 0.

    Returns:
      `x` float32 [N, 2]; `y` int32 [N], 0 or 1.

    Differs from scikit-learn's `make_moons`, which spaces t evenly.
    """
    checks.at_least(1, size=size)
    checks.non_negative(noise=noise)
    class_key, t_key, noise_key = jax.random.split(key, 3)
    y = _classes(class_key, size, 2)
    t = jnp.pi * draws.uniform(t_key, (size,))
    first = jnp.where(y == 0, jnp.cos(t), 1 - jnp.cos(t))
    second = jnp.where(y == 0, jnp.sin(t), 0.5 - jnp.sin(t))
    x = jnp.stack([first, second], axis=1) + noise * draws.normal(noise_key, (size, 2))
    return {"x": x, "y": y}


def spirals(
    key: Array, size: int, *, num_arms: int = 2, turns: float = 1.5, noise: float = 0.05
) -> dict[str, Array]:
    """Arms wound around each other, one class each: what needs a strongly curved boundary.

    x = r (cos a, sin a), a = 2 pi (turns r + y / num_arms), r = sqrt(u), u ~ U[0, 1), plus noise N(0, 1) in each
    coordinate

    Points are spread evenly by area, and neighbouring arms are 1 / (turns num_arms) apart along a ray. Without noise
    the arm of a point is known from its polar coordinates: y = num_arms (a / 2 pi - turns r) mod num_arms. The best
    possible accuracy at the default settings is 0.997, limited by the centre; a straight line gets about
    0.66.

    Args:
      key: PRNG key.
      size: rows N, at least 1.
      num_arms: C, at least 2.
      turns: of each arm from the centre to radius 1, above 0.
      noise: standard deviation, at least 0.

    Returns:
      `x` float32 [N, 2]; `y` int32 [N], in [0, C).
    """
    checks.at_least(1, size=size)
    checks.at_least(2, num_arms=num_arms)
    checks.positive(turns=turns)
    checks.non_negative(noise=noise)
    class_key, r_key, noise_key = jax.random.split(key, 3)
    y = _classes(class_key, size, num_arms)
    r = jnp.sqrt(draws.uniform(r_key, (size,)))
    angle = 2 * jnp.pi * (turns * r + y / num_arms)
    x = r[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return {"x": x + noise * draws.normal(noise_key, (size, 2)), "y": y}


def blobs(
    key: Array,
    size: int,
    centers: Any = ((-2.0, -2.0), (-2.0, 2.0), (2.0, -2.0), (2.0, 2.0)),
    *,
    spread: float = 1.0,
) -> dict[str, Array]:
    """One round Gaussian cloud for each class.

    x ~ N(centers[y], spread^2 I);  P(y = c | x) = softmax over c of -|x - centers[c]|^2 / (2 spread^2)

    The best classifier takes the nearest centre. For two centres d apart its accuracy is Phi(d / (2 spread)), Phi the
    normal distribution function; for the default square it is Phi(2)^2 = 0.955.

    Args:
      key: PRNG key.
      size: rows N, at least 1.
      centers: float [C, D], C at least 2.
      spread: standard deviation of each cloud in each coordinate, above 0.

    Returns:
      `x` float32 [N, D]; `y` int32 [N], in [0, C); `probability` float32 [N, C], of each class given x.
    """
    centers = jnp.asarray(centers, jnp.float32)
    checks.at_least(1, size=size)
    checks.rank(2, centers=centers)
    checks.at_least(2, number_of_centers=len(centers))
    checks.positive(spread=spread)
    class_key, noise_key = jax.random.split(key)
    y = _classes(class_key, size, len(centers))
    x = centers[y] + spread * draws.normal(noise_key, (size, centers.shape[1]))
    distance = jnp.sum(jnp.square((x[:, None] - centers[None]) / spread), axis=-1)
    return {"x": x, "y": y, "probability": jax.nn.softmax(-distance / 2)}


def ring_centers(num_modes: int = 8, radius: float = 2.0) -> np.ndarray:
    """The modes of `gaussian_ring`, counter-clockwise from (radius, 0): float32 [num_modes, 2]."""
    checks.at_least(1, num_modes=num_modes)
    angles = 2 * np.pi * np.arange(num_modes) / num_modes
    return (radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def gaussian_ring(
    key: Array, size: int, *, num_modes: int = 8, radius: float = 2.0, spread: float = 0.02
) -> dict[str, Array]:
    """Small Gaussians on a circle: where a generator that forgets modes is seen to do so.

    x ~ N(c_y, spread^2 I),  c_k = radius (cos(2 pi k / num_modes), sin(2 pi k / num_modes))

    The right answer covers all modes with a share of 1 / num_modes each, and has 1 - exp(-9/2) = 98.9 % of its points
    within three standard deviations of their mode (`ring_centers`).

    Args:
      key: PRNG key.
      size: rows N, at least 1.
      num_modes: at least 1.
      radius: of the circle, above 0.
      spread: standard deviation of each mode in each coordinate, above 0.

    Returns:
      `x` float32 [N, 2]; `y` int32 [N], the mode.

    Source: Metz, Poole, Pfau and Sohl-Dickstein, "Unrolled Generative Adversarial Networks" (2017), section 3.1.
    """
    checks.at_least(1, size=size, num_modes=num_modes)
    checks.positive(radius=radius, spread=spread)
    class_key, noise_key = jax.random.split(key)
    y = _classes(class_key, size, num_modes)
    x = jnp.asarray(ring_centers(num_modes, radius))[y] + spread * draws.normal(noise_key, (size, 2))
    return {"x": x, "y": y}


def classification_data(
    key: Array,
    size: int,
    *,
    num_features: int = 20,
    num_informative: int = 2,
    num_redundant: int = 2,
    num_classes: int = 2,
    clusters_per_class: int = 2,
    class_sep: float = 1.0,
    flip: float = 0.01,
) -> dict[str, Array]:
    """Classes made of Gaussian clusters on corners of a hypercube, among features that repeat them or say nothing.

    informative: z ~ N(class_sep v_k, A_k^T A_k), v_k distinct corners of {-1, 1}^num_informative, A_k ~ U(-1, 1)
    redundant: z B, B ~ U(-1, 1);  the rest: N(0, 1).  Cluster k belongs to class k mod C; a share `flip` of the labels
    is replaced by a uniform class.

    The corners, A and B come from the key as well: training and test set are parts of one call. The best classifier
    knows the clusters; its answer to each row is returned, and the mean over rows of the largest probability is the
    best possible accuracy.

    Args:
      key: PRNG key.
      size: rows N, at least 1.
      num_features: D, at least num_informative + num_redundant.
      num_informative: d, at least 1.
      num_redundant: at least 0.
      num_classes: C, at least 2.
      clusters_per_class: at least 1; C times it at most 2^min(d, 12).
      class_sep: half the side of the hypercube, above 0.
      flip: in [0, 1].

    Returns:
      `x` float32 [N, D]: informative, redundant, then meaningless columns; `y` int32 [N], in [0, C); `probability`
      float32 [N, C], of each class given x, flips included.

    Differs from scikit-learn's `make_classification`: neither columns nor labels are shuffled beyond the rows, no
    column is repeated, and the probabilities come along.
    """
    checks.at_least(1, size=size, num_informative=num_informative, clusters_per_class=clusters_per_class)
    checks.at_least(0, num_redundant=num_redundant)
    checks.at_least(2, num_classes=num_classes)
    checks.at_least(num_informative + num_redundant, num_features=num_features)
    checks.positive(class_sep=class_sep)
    checks.between(0, 1, flip=flip)
    clusters, numbered = num_classes * clusters_per_class, min(num_informative, 12)
    if clusters > 2**numbered:
        raise ValueError(
            f"num_classes times clusters_per_class must be at most {2**numbered}, the corners of "
            f"num_informative = {num_informative} dimensions (of 12 where there are more), got {clusters}"
        )
    class_key, corner_key, uniform_key, normal_key = jax.random.split(key, 4)
    cluster = _classes(class_key, size, clusters)
    # Twelve bits keep the corners apart; those of further dimensions may be anything.
    numbers = draws.uniform(corner_key, (2**numbered + clusters * (num_informative - numbered),))
    corner = jnp.argsort(numbers[: 2**numbered])[:clusters]
    bits = (corner[:, None] >> jnp.arange(numbered)[None]) & 1
    others = numbers[2**numbered :].reshape(clusters, num_informative - numbered) < 0.5
    centers = class_sep * (2.0 * jnp.concatenate([bits, others], axis=1) - 1)
    square = clusters * num_informative**2
    entries = (square, num_informative * num_redundant, size, size)
    mixing, weights, flips, picks = jnp.split(
        draws.uniform(uniform_key, (sum(entries),)), np.cumsum(entries)[:-1].tolist()
    )
    mixing = 2 * mixing.reshape(clusters, num_informative, num_informative) - 1
    weights = 2 * weights.reshape(num_informative, num_redundant) - 1
    noise = draws.normal(normal_key, (size, num_features - num_redundant))
    noise, rest = noise[:, :num_informative], noise[:, num_informative:]
    informative = centers[cluster] + jnp.einsum("nd,nde->ne", noise, mixing[cluster], precision="highest")
    redundant = jnp.dot(informative, weights, precision="highest")

    # log N(z; m, A^T A) up to a constant is -|(z - m) A^-1|^2 / 2 - log |det A|.
    inverse, (_, log_det) = jnp.linalg.inv(mixing), jnp.linalg.slogdet(mixing)
    whitened = jnp.einsum("nkd,kde->nke", informative[:, None] - centers[None], inverse, precision="highest")
    logits = -jnp.sum(jnp.square(whitened), axis=-1) / 2 - log_det[None]
    shares = jnp.bincount(cluster, length=clusters) / size
    posterior = jax.nn.softmax(logits + jnp.log(shares)[None])
    posterior = jnp.sum(posterior.reshape(size, clusters_per_class, num_classes), axis=1)
    y = jnp.where(flips < flip, draws.below(num_classes, picks), cluster % num_classes)
    return {
        "x": jnp.concatenate([informative, redundant, rest], axis=1),
        "y": y.astype(jnp.int32),
        "probability": (1 - flip) * posterior + flip / num_classes,
    }
