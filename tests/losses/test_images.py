"""Segmentation, total variation, structural similarity, features and style against float64 and other libraries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from jaxdl import losses
from jaxdl.losses.structural_similarity import structural_similarity

RNG = np.random.default_rng(10)
B, H, W, K = 2, 3, 2, 3
LOGITS = 2 * RNG.normal(size=(B, H, W, K))
LABELS = RNG.integers(0, K, (B, H, W)).astype(np.int32)
ONE_HOT = np.eye(K)[LABELS]
FAR = np.where(np.arange(LOGITS.size).reshape(LOGITS.shape) % 2, 1e4, -1e4)
IMAGES, OTHERS = RNG.uniform(size=(B, 4, 5, 2)), RNG.uniform(size=(B, 4, 5, 2))


def overlap(p, t, alpha, beta, smooth=1.0):
    hit, extra, missed = (x.sum((1, 2)) for x in (p * t, p * (1 - t), (1 - p) * t))
    return (1 - (hit + smooth) / (hit + alpha * extra + beta * missed + smooth)).mean(-1)


def softmax(x):
    return scipy.special.softmax(x, axis=-1)


def variation(y, size):
    return size(np.diff(y, axis=1)).sum((1, 2, 3)) + size(np.diff(y, axis=2)).sum((1, 2, 3))


def grams(x):
    _, h, w, c = x.shape
    return np.stack([a.reshape(-1, c).T @ a.reshape(-1, c) / (h * w * c) for a in x])


KERNEL = np.float32(RNG.normal(size=(2, 3)))


def net(x):
    """Two layers of features: the images, and a mixture of their channels."""
    return {"first": x, "second": jnp.tanh(x @ KERNEL.astype(x.dtype))}


def perceived(x, y):
    first = ((x - y) ** 2).mean((1, 2, 3))
    second = (np.tanh(x @ np.float64(KERNEL)) - np.tanh(y @ np.float64(KERNEL))) ** 2
    return first + second.mean((1, 2, 3))


def torch_perceived(f, x, y):
    kernel = x.new_tensor(KERNEL.tolist())
    layers = ((x, y), ((x @ kernel).tanh(), (y @ kernel).tanh()))
    return sum(f.mse_loss(a, b, reduction="none").mean((1, 2, 3)) for a, b in layers)


ROWS = {
    "pixelwise_cross_entropy": (
        losses.pixelwise_cross_entropy,
        (LOGITS, LABELS),
        lambda x, y: -(scipy.special.log_softmax(x, axis=-1) * np.eye(K)[y]).sum((1, 2, 3)),
        {
            "torch": lambda f, x, y: f.cross_entropy(x.movedim(-1, 1), y.long(), reduction="none").sum(
                (1, 2)
            ),
            "extremes": [(FAR, LABELS), (0 * FAR, LABELS)],
        },
    ),
    "dice": (
        losses.dice,
        (LOGITS, ONE_HOT),
        lambda x, t: overlap(softmax(x), t, 0.5, 0.5),
        {
            "optax": optax.losses.dice_loss,
            "extremes": [(FAR, ONE_HOT), (FAR, 0 * ONE_HOT), (0 * FAR, ONE_HOT)],
        },
    ),
    "dice of one class": (
        functools.partial(losses.dice, smooth=0.5),
        (LOGITS[..., :1], ONE_HOT[..., :1]),
        lambda x, t: overlap(1 / (1 + np.exp(-x)), t, 0.5, 0.5, 0.5),
        {
            "optax": functools.partial(optax.losses.dice_loss, smooth=0.5),
            "extremes": [(FAR[..., :1], ONE_HOT[..., :1])],
        },
    ),
    "jaccard": (
        losses.jaccard,
        (LOGITS, ONE_HOT),
        lambda x, t: overlap(softmax(x), t, 1, 1),
        {
            "optax": functools.partial(optax.losses.dice_loss, alpha=1.0, beta=1.0),
            "extremes": [(FAR, ONE_HOT), (FAR, 0 * ONE_HOT)],
        },
    ),
    "tversky": (
        functools.partial(losses.tversky, alpha=0.3, beta=0.7),
        (LOGITS, ONE_HOT),
        lambda x, t: overlap(softmax(x), t, 0.3, 0.7),
        {
            "optax": functools.partial(optax.losses.dice_loss, alpha=0.3, beta=0.7),
            "extremes": [(FAR, ONE_HOT)],
        },
    ),
    "tversky of probabilities": (
        functools.partial(losses.tversky, alpha=0.3, beta=0.7, smooth=0.0, apply_softmax=False),
        (softmax(LOGITS), ONE_HOT),
        lambda p, t: overlap(p, t, 0.3, 0.7, 0.0),
        {
            "which": [0],
            "extremes": [(0 * LOGITS, 0 * ONE_HOT), (0 * LOGITS, ONE_HOT), (ONE_HOT, ONE_HOT)],
        },
    ),
    "total_variation": (
        losses.total_variation,
        (IMAGES,),
        lambda y: variation(y, np.square),
        {"extremes": [(1e4 * IMAGES,), (0 * IMAGES,)]},
    ),
    "total_variation absolute": (
        functools.partial(losses.total_variation, squared=False),
        (IMAGES,),
        lambda y: variation(y, np.abs),
        {"extremes": [(0 * IMAGES,)]},
    ),
    "perceptual": (
        functools.partial(losses.perceptual, net),
        (IMAGES, OTHERS),
        perceived,
        {
            "torch": torch_perceived,
            "half": False,
            "extremes": [(1e4 * IMAGES, OTHERS), (0 * IMAGES, 0 * OTHERS)],
        },
    ),
    "feature_matching": (
        lambda a, b, c, d, where=None: losses.feature_matching([a, b], [c, d], where),
        (IMAGES, LOGITS, OTHERS, FAR / 1e4),
        lambda a, b, c, d: abs(a - c).mean((1, 2, 3)) + abs(b - d).mean((1, 2, 3)),
        {
            "torch": lambda f, a, b, c, d: sum(
                f.l1_loss(x, y, reduction="none").mean((1, 2, 3)) for x, y in ((a, c), (b, d))
            )
        },
    ),
    "gram_style": (
        losses.gram_style,
        (IMAGES, OTHERS[:, :3]),
        lambda x, y: ((grams(x) - grams(y)) ** 2).sum((1, 2)),
        {"extremes": [(1e4 * IMAGES, OTHERS[:, :3]), (0 * IMAGES, 0 * OTHERS[:, :3])]},
    ),
    "ssim_loss": (
        functools.partial(losses.ssim_loss, data_range=1.0, window_size=3, sigma=0.8),
        (IMAGES, OTHERS),
        lambda x, y: dissimilar(x, y, 3, 0.8),
        {
            "extremes": [
                (0 * IMAGES, 0 * OTHERS),
                (0 * IMAGES, 0 * OTHERS + 1),
                (1e4 * IMAGES, -1e4 * OTHERS),
                (0 * IMAGES + 0.5, 0 * OTHERS + 0.5),
            ]
        },
    ),
}


def dissimilar(x, y, size, sigma, data_range=1.0):
    """Window by window."""
    place = np.arange(size) - size // 2
    weight = np.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * sigma**2))
    weight = (weight / weight.sum())[:, :, None]
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    out = []
    for a, b in zip(x, y):
        values = []
        for i in range(a.shape[0] - size + 1):
            for j in range(a.shape[1] - size + 1):
                u, v = a[i : i + size, j : j + size], b[i : i + size, j : j + size]
                mu, mv = (weight * u).sum((0, 1)), (weight * v).sum((0, 1))
                su, sv = (weight * (u - mu) ** 2).sum((0, 1)), (weight * (v - mv) ** 2).sum((0, 1))
                suv = (weight * (u - mu) * (v - mv)).sum((0, 1))
                values.append((2 * mu * mv + c1) * (2 * suv + c2) / (mu**2 + mv**2 + c1) / (su + sv + c2))
        out.append(1 - np.mean(values))
    return np.array(out)


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), ROWS.values(), ids=ROWS)
def test_transcription(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


def test_printed_overlaps(value_of):
    """004a-4.4."""
    y = np.array([1.0, 0, 1, 1])[None, :, None]
    p = np.array([0.9, 0.2, 0.8, 0.6])[None, :, None]
    plain = {"smooth": 0.0, "apply_softmax": False}
    np.testing.assert_allclose(value_of(losses.dice, p, y, **plain), [0.1636363636], rtol=1e-6)
    np.testing.assert_allclose(value_of(losses.jaccard, p, y, **plain), [0.28125], rtol=1e-6)


@pytest.mark.parametrize("left_out", ["pixels", "classes", "everything"])
def test_pixels_and_classes_left_out_of_a_region(gradients_of, left_out):
    where = {
        "pixels": RNG.uniform(size=(B, H, W)) < 0.6,
        "classes": np.broadcast_to(np.arange(K) > 0, LOGITS.shape),
        "everything": np.zeros((B, H, W), bool),
    }[left_out]
    full = where if where.ndim == 4 else where[..., None] & np.ones(K, bool)
    inputs = np.where(full, softmax(LOGITS), np.nan), np.where(full, ONE_HOT, np.nan)
    value, gradient = gradients_of(losses.dice, *inputs, where=where, smooth=0.1, apply_softmax=False)
    p, t = np.where(full, softmax(LOGITS), 0), np.where(full, ONE_HOT, 0)
    each = 1 - (2 * (p * t).sum((1, 2)) + 0.2) / ((p + t).sum((1, 2)) + 0.2)
    classes = full.any((1, 2))
    expected = [e[c].mean() if c.any() else 0 for e, c in zip(each, classes)]
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert (gradient[~full] == 0).all()
    assert np.isfinite(gradient).all()


def test_pixels_left_out_of_cross_entropy(gradients_of):
    where = np.arange(B * H * W).reshape(B, H, W) % 3 > 0
    labels = np.where(where, LABELS, 255)
    value, gradient = gradients_of(losses.pixelwise_cross_entropy, LOGITS, labels, where=where)
    nats = -(scipy.special.log_softmax(LOGITS, axis=-1) * ONE_HOT).sum(-1)
    np.testing.assert_allclose(value, (where * nats).sum((1, 2)), rtol=1e-5)
    assert (gradient[~where] == 0).all()
    value, _ = gradients_of(losses.pixelwise_cross_entropy, LOGITS, labels)
    assert np.isnan(value).all()


def test_impossible_targets_of_a_region_give_nan(gradients_of):
    bad = ONE_HOT.copy()
    bad[1, 0, 0, 0] = 1.5
    value, gradient = gradients_of(losses.dice, LOGITS, bad)
    assert np.isnan(value).tolist() == [False, True]
    assert np.isnan(gradient).any((1, 2, 3)).tolist() == [False, True]
    value, _ = gradients_of(functools.partial(losses.dice, apply_softmax=False), LOGITS, ONE_HOT)
    assert np.isnan(value).all()  # logits taken for probabilities


# Structural similarity.


@pytest.mark.parametrize(("data_range", "channels"), [(1.0, 3), (255.0, 1)])
def test_similarity_matches_scikit_image(data_range, channels):
    metrics = pytest.importorskip("skimage.metrics")
    x = data_range * RNG.uniform(size=(2, 16, 13, channels)).astype(np.float32)
    y = np.clip(x + 0.1 * data_range * RNG.normal(size=x.shape).astype(np.float32), 0, data_range)
    expected = [
        metrics.structural_similarity(
            a, b, data_range=data_range, gaussian_weights=True, use_sample_covariance=False, channel_axis=-1
        )
        for a, b in zip(np.float64(x), np.float64(y))
    ]
    got = jax.jit(lambda x, y: structural_similarity(x, y, data_range=data_range))(x, y)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.slow
def test_similarity_and_variation_and_their_gradients_match_torchmetrics(torchvision, equals_torch):
    """With `torchvision`, which its import asks for."""
    library = pytest.importorskip("torchmetrics.functional.image")
    x, y = RNG.uniform(size=(2, 2, 16, 13, 2))

    def similarity(x, y):
        """Of whole windows: there the mean is over windows of the mirrored border too."""
        settings = {"data_range": 1.0, "return_full_image": True}
        _, windows = library.structural_similarity_index_measure(
            x.movedim(-1, 1), y.movedim(-1, 1), **settings
        )
        return 1 - windows[..., 5:-5, 5:-5].mean((1, 2, 3))

    equals_torch(functools.partial(losses.ssim_loss, data_range=1.0), similarity, x, y, which=(0, 1))
    equals_torch(
        functools.partial(losses.total_variation, squared=False),
        lambda x: library.total_variation(x.movedim(-1, 1), reduction="none"),
        x,
    )


def test_similarity_has_forward_and_second_derivatives():
    x, y = jnp.asarray(IMAGES[:1, :3, :3, :1], jnp.float32), jnp.asarray(OTHERS[:1, :3, :3, :1], jnp.float32)

    def similarity(x):
        return structural_similarity(x, y, data_range=1.0, window_size=3).sum()

    @jax.jit
    def derivatives(x, direction):
        gradient, change = jax.jvp(jax.grad(similarity), (x,), (direction,))
        _, slope = jax.jvp(similarity, (x,), (direction,))
        return gradient, slope, change

    direction = jnp.asarray(RNG.normal(size=x.shape), jnp.float32)
    gradient, slope, change = derivatives(x, direction)
    np.testing.assert_allclose(slope, jnp.vdot(gradient, direction), rtol=1e-4)
    step = 1e-2
    ahead, behind = (derivatives(x + s * step * direction, direction)[0] for s in (1, -1))
    np.testing.assert_allclose(
        change, (ahead - behind) / (2 * step), rtol=0.05, atol=0.05 * np.abs(change).max()
    )


def test_equal_images_have_no_loss_and_no_gradient(gradients_of):
    flat = np.full((1, 11, 11, 1), 0.25)
    for image in (flat, RNG.uniform(size=(1, 11, 11, 1))):
        value, gradient = gradients_of(functools.partial(losses.ssim_loss, data_range=1.0), image, image)
        np.testing.assert_allclose(value, [0], atol=1e-6)
        np.testing.assert_allclose(gradient, np.zeros_like(image), atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.pixelwise_cross_entropy(LOGITS, ONE_HOT), TypeError, "labels must be integers"),
        (
            lambda: losses.pixelwise_cross_entropy(LOGITS, LABELS[0]),
            ValueError,
            "labels must have the shape of",
        ),
        (
            lambda: losses.pixelwise_cross_entropy(LOGITS, LABELS, np.ones((B, H), bool)),
            ValueError,
            r"where must have shape \(2,\) or \(2, 3, 2\), got \(2, 3\)",
        ),
        (lambda: losses.dice(LOGITS, LABELS), ValueError, "targets must have the shape of predictions"),
        (
            lambda: losses.dice(LOGITS[0, 0, 0], LOGITS[0, 0, 0]),
            ValueError,
            "predictions must have a batch axis",
        ),
        (
            lambda: losses.tversky(LOGITS, ONE_HOT, alpha=-1),
            ValueError,
            "alpha must be finite and at least 0",
        ),
        (lambda: losses.jaccard(LOGITS, ONE_HOT, np.ones((B, H), bool)), ValueError, r"where .*got \(2, 3\)"),
        (lambda: losses.total_variation(IMAGES[0]), ValueError, "images must have rank 4"),
        (lambda: losses.total_variation(LABELS[..., None]), TypeError, "images must be floating"),
        (
            lambda: losses.perceptual(net, IMAGES, OTHERS[:1]),
            ValueError,
            "references must have the shape of images",
        ),
        (
            lambda: losses.feature_matching([IMAGES], (IMAGES,)),
            ValueError,
            "references must have the structure",
        ),
        (lambda: losses.feature_matching([], []), ValueError, "at least one layer"),
        (
            lambda: losses.feature_matching([IMAGES], [OTHERS[:, :2]]),
            ValueError,
            "references_0 must have the shape",
        ),
        (
            lambda: losses.feature_matching([IMAGES, IMAGES[:1]], [IMAGES, IMAGES[:1]]),
            ValueError,
            "batch_of_features_1",
        ),
        (lambda: losses.gram_style(IMAGES[0], IMAGES[0]), ValueError, "features must have rank 4"),
        (lambda: losses.gram_style(IMAGES, OTHERS[..., :1]), ValueError, "references_0 must have the shape"),
        (
            lambda: losses.ssim_loss(IMAGES, OTHERS, data_range=1.0),
            ValueError,
            "window_size must be odd and at most",
        ),
        (
            lambda: losses.ssim_loss(IMAGES, OTHERS, data_range=1.0, window_size=2),
            ValueError,
            "window_size must be",
        ),
        (
            lambda: losses.ssim_loss(IMAGES, OTHERS, data_range=0, window_size=3),
            ValueError,
            "data_range must be",
        ),
        (
            lambda: losses.ssim_loss(IMAGES[0], OTHERS[0], data_range=1.0),
            ValueError,
            "images must have rank 4",
        ),
    ],
)
def test_wrong_shapes_dtypes_and_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()
