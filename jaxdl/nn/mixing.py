"""Softened, wrong and mixed labels, and images mixed with them: changes of a batch while training.

They run inside the step, where the key is:

    def objective(params, model_state, batch, key):
        mix_key, key = jax.random.split(key)
        images, targets = nn.mixup(mix_key, batch["image"], batch["label"], num_classes=10)
        return plain(params, model_state, {**batch, "image": images, "label": targets}, key)

with a `plain` objective whose loss takes distributions, such as `losses.softmax_cross_entropy`. Labels are
classes, int [B] with `num_classes`, or already distributions or one-hot rows, float [B, K]. A class outside
[0, K) makes its row of the targets NaN, so that training stops.

B is the batch size, K the number of classes.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def _targets(labels: Array, num_classes: int | None) -> Array:
    """One-hot rows of classes; float labels as they are."""
    labels = jnp.asarray(labels)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        if num_classes is None:
            raise ValueError("num_classes must be given for integer labels")
        checks.at_least(1, num_classes=num_classes)
        one_hot = jax.nn.one_hot(labels, num_classes)
        known = (labels >= 0) & (labels < num_classes)
        return jnp.where(known[..., None], one_hot, jnp.nan)
    checks.floating(labels=labels)
    if num_classes is not None and labels.shape[-1:] != (num_classes,):
        raise ValueError(f"labels must have {num_classes} classes on the last axis, got shape {labels.shape}")
    return labels


def _batch_targets(labels: Array, num_classes: int | None) -> Array:
    if jnp.issubdtype(jnp.asarray(labels).dtype, jnp.integer):
        checks.rank(1, labels=labels)  # one-hot rows of integers would pass for labels of B x K examples
    return _targets(labels, num_classes)


def label_smoothing(labels: Array, smoothing: float = 0.1, num_classes: int | None = None) -> Array:
    """Moves a share of the certainty to all classes alike.

    q_k = (1 - smoothing) y_k + smoothing / K

    Args:
      labels: y, int [...] or float [..., K].
      smoothing: share that is spread over all K classes, the right one too; in [0, 1].
      num_classes: K, needed for integer labels.

    Returns:
      Distributions, float [..., K]: float32, or of the labels' dtype where they are float.

    Raises:
      TypeError: labels are neither integers nor floating point.
      ValueError: smoothing lies outside [0, 1], or num_classes is missing or does not fit.

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, section 7,
    arXiv:1512.00567.
    """
    checks.between(0, 1, smoothing=smoothing)
    targets = _targets(labels, num_classes)
    if targets.ndim == 0:
        raise ValueError("labels must have a last axis of classes, got shape ()")
    smoothed = (1 - smoothing) * targets + smoothing / targets.shape[-1]
    return smoothed.astype(targets.dtype)


def label_noise(key: Array, labels: Array, rate: float | Array, num_classes: int) -> Array:
    """Replaces labels by wrong ones.

    With probability `rate`, y becomes one of the other K - 1 classes, each as likely as the next. Real-valued
    targets take Gaussian noise instead: `targets + stddev * jax.random.normal(key, targets.shape)`.

    Args:
      key: a JAX key.
      labels: y, int [...], in [0, K); others stay as they are.
      rate: probability of a wrong label, in [0, 1].
      num_classes: K, at least 2.

    Returns:
      Like labels.

    Raises:
      TypeError: labels are not integers.
      ValueError: rate lies outside [0, 1], or num_classes is below 2.

    Differs from noise that draws among all K classes, the right one too: there a share rate (K - 1) / K is
    wrong.
    """
    checks.integer(labels=labels)
    checks.between(0, 1, rate=rate)
    checks.at_least(2, num_classes=num_classes)
    labels = jnp.asarray(labels)
    flip_key, step_key = jax.random.split(key)
    wrong = jax.random.bernoulli(flip_key, rate, labels.shape) & (labels >= 0) & (labels < num_classes)
    step = jax.random.randint(step_key, labels.shape, 1, num_classes)
    return jnp.where(wrong, (labels + step) % num_classes, labels).astype(labels.dtype)


def _symmetric_beta(key: Array, alpha: float | Array, shape: tuple[int, ...]) -> Array:
    """Draws from Beta(alpha, alpha), as 1/2 + t / (2 sqrt(2 alpha + t^2)) of a Student t of 2 alpha degrees.

    By Bailey's polar method t = sqrt(2 alpha (u^(-1/alpha) - 1)) cos(2 pi v), with u and v uniform, written so
    that no power overflows. There is no rejection, as in jax.random.beta, whose loops compile for a second.
    """
    radius_key, angle_key = jax.random.split(key)
    log_power = jnp.log(jax.random.uniform(radius_key, shape)) / alpha
    cosine = jnp.cos(2 * jnp.pi * jax.random.uniform(angle_key, shape))
    square = jnp.square(cosine) * -jnp.expm1(log_power)
    return 0.5 + 0.5 * jnp.sign(cosine) * jnp.sqrt(square / (jnp.exp(log_power) + square))


def _pairs(key: Array, images: Array, targets: Array, alpha: float | Array) -> tuple[Array, Array]:
    """A partner for each row and the row's own share, int32 [B] and float32 [B]."""
    checks.positive(alpha=alpha)
    if images.ndim == 0 or targets.ndim == 0:
        raise ValueError(
            f"images and labels must have a batch axis, got shapes {images.shape} and {targets.shape}"
        )
    checks.same_leading(1, labels=targets, images=images)
    partner_key, share_key = jax.random.split(key)
    partners = jax.random.permutation(partner_key, images.shape[0])
    return partners, _symmetric_beta(share_key, alpha, images.shape[:1])


def _mixed(x: Array, other: Array, share: Array) -> Array:
    wide = jnp.promote_types(x.dtype, jnp.float32)
    share = share.reshape(share.shape + (1,) * (x.ndim - 1)).astype(wide)
    return (share * x.astype(wide) + (1 - share) * other.astype(wide)).astype(x.dtype)


def mixup(
    key: Array, images: Array, labels: Array, alpha: float | Array = 0.2, num_classes: int | None = None
) -> tuple[Array, Array]:
    """Blends each example, and its label, with another of the batch.

    x = s x_i + (1 - s) x_j, y = s y_i + (1 - s) y_j, s ~ Beta(alpha, alpha), j a random permutation of i

    Args:
      key: a JAX key.
      images: float [B, ...]; anything that may be blended.
      labels: int [B] classes, float [B, K] distributions, or real-valued targets [B, ...].
      alpha: above 0: near 0 one of the two prevails, 1 makes all shares alike.
      num_classes: K, needed for integer labels.

    Returns:
      Images like images, and targets, float [B, K] or like float labels.

    Raises:
      TypeError: images are not floating point (scale pixels first), or labels neither integers nor floating
        point.
      ValueError: alpha is not positive, ranks or lengths do not agree, or num_classes is missing or does not
        fit.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, equation 1, arXiv:1710.09412.
    Differs from the authors' program: a share for each pair, as in the equation, not one for the batch.
    """
    checks.floating(images=images)
    images = jnp.asarray(images)
    targets = _batch_targets(labels, num_classes)
    partners, share = _pairs(key, images, targets, alpha)
    return _mixed(images, images[partners], share), _mixed(targets, targets[partners], share)


def cutmix(
    key: Array, images: Array, labels: Array, alpha: float | Array = 1.0, num_classes: int | None = None
) -> tuple[Array, Array]:
    """Pastes a box of another image into each, and mixes the labels by area.

    x = x_j inside the box and x_i outside; y = a y_i + (1 - a) y_j, a the share of pixels outside the box. The
    box has its centre anywhere, sides H sqrt(1 - s) and W sqrt(1 - s) rounded down to even numbers, s ~
    Beta(alpha, alpha), and is cut at the border; j is a random permutation of i.

    Args:
      key: a JAX key.
      images: [B, H, W, C], any dtype: raw pixels too.
      labels: int [B] classes, float [B, K] distributions, or real-valued targets [B, ...].
      alpha: above 0: near 0 a box is whole or nothing, 1 makes all areas alike before the border cuts.
      num_classes: K, needed for integer labels.

    Returns:
      Images like images, and targets, float [B, K] or like float labels.

    Raises:
      TypeError: labels are neither integers nor floating point.
      ValueError: images do not have rank 4, alpha is not positive, lengths do not agree, or num_classes is
        missing or does not fit.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", 2019, equations 1 and 2, arXiv:1905.04899.
    Differs from the authors' program: a box for each pair, not one for the batch.
    """
    checks.rank(4, images=images)
    images = jnp.asarray(images)
    targets = _batch_targets(labels, num_classes)
    pair_key, row_key, column_key = jax.random.split(key, 3)
    partners, share = _pairs(pair_key, images, targets, alpha)
    side = jnp.sqrt(1 - share)

    def inside(key: Array, size: int) -> Array:
        """Which rows, or columns, the box covers: bool [B, size]."""
        half = jnp.floor(size * side).astype(jnp.int32) // 2
        centre = jax.random.randint(key, half.shape, 0, size)
        places = jnp.arange(size)[None]
        return (places >= (centre - half)[:, None]) & (places < (centre + half)[:, None])

    rows, columns = inside(row_key, images.shape[1]), inside(column_key, images.shape[2])
    box = rows[:, :, None] & columns[:, None, :]
    kept = 1 - jnp.mean(box, axis=(1, 2), dtype=jnp.float32)
    mixed = jnp.where(box[..., None], images[partners], images)
    return mixed, _mixed(targets, targets[partners], kept)
