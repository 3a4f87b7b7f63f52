"""Labels and mixed batches: closed forms, shares drawn by NumPy after the papers, PyTorch, Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxdl import losses, nn, objectives
from jaxdl.data import Batches

LABELS = np.array([0, 2, 1, 2, 0, 1], np.int32)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


def test_label_smoothing_is_optaxs_and_torchs_loss():
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)

    @jax.jit
    def both(logits):
        smooth = nn.label_smoothing(LABELS, 0.3, num_classes=3)
        return smooth, nn.label_smoothing(ONE_HOT, 0.3), losses.softmax_cross_entropy(logits, smooth)

    from_classes, from_rows, loss = both(logits)
    np.testing.assert_allclose(from_classes, optax.smooth_labels(ONE_HOT, 0.3), rtol=1e-6)
    np.testing.assert_allclose(from_rows, from_classes)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(LABELS).long(), label_smoothing=0.3, reduction="none"
    )
    np.testing.assert_allclose(loss, theirs.numpy(), rtol=1e-5)


def test_label_smoothing_of_any_leading_axes_its_ends_and_impossible_classes():
    @jax.jit
    def everything(labels):
        none = nn.label_smoothing(labels.reshape(2, 3), 0.0, num_classes=3)
        whole = nn.label_smoothing(ONE_HOT, 1.0)
        half = nn.label_smoothing(jnp.asarray(ONE_HOT, jnp.bfloat16))
        return none, whole, half, nn.label_smoothing(np.array([-1, 1, 3]), 0.1, num_classes=3)

    none, whole, half, impossible = everything(LABELS)
    np.testing.assert_array_equal(none, ONE_HOT.reshape(2, 3, 3))
    np.testing.assert_allclose(whole, 1 / 3, rtol=1e-6)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.isnan(np.asarray(impossible)).all(1), [True, False, True])


def test_label_noise_share_and_evenness(key):
    labels = np.repeat(np.arange(5, dtype=np.int8), 8000)
    noisy = np.asarray(jax.jit(lambda key, rate: nn.label_noise(key, labels, rate, 5))(key, 0.3))
    assert noisy.dtype == np.int8
    confusion = np.zeros((5, 5))
    np.add.at(confusion, (labels, noisy), 1)
    wrong = 1 - np.trace(confusion) / labels.size
    assert abs(wrong - 0.3) < 5 * np.sqrt(0.3 * 0.7 / labels.size)
    off_diagonal = confusion[~np.eye(5, dtype=bool)]
    assert stats.chisquare(off_diagonal).pvalue > 1e-4


def test_label_noise_at_its_ends_and_outside(key):
    labels = np.stack([LABELS, LABELS - 3, LABELS + 3])
    noisy = jax.jit(jax.vmap(lambda rate: nn.label_noise(key, labels, rate, 3)))(np.float32([0, 1]))
    none, all_wrong = np.asarray(noisy)
    np.testing.assert_array_equal(none, labels)
    assert (all_wrong[0] != LABELS).all()
    np.testing.assert_array_equal(all_wrong[1:], labels[1:])


# Images that tell who they are, row i holds i everywhere, and labels that do too.
HEIGHT, WIDTH = 9, 12
IMAGES = np.broadcast_to(np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1), (6, HEIGHT, WIDTH, 2)).copy()
CLASSES = np.arange(6)
KEYS = 200
ALPHA = {"mixup": 0.4, "cutmix": 1.0}


def mix(name, key, images=IMAGES):
    return getattr(nn, name)(key, images, CLASSES, ALPHA[name], num_classes=6)


@pytest.fixture(scope="module")
def drawn():
    """name -> (images [KEYS, 6, H, W, C], targets [KEYS, 6, 6])."""
    both = jax.jit(jax.vmap(lambda key: {name: mix(name, key) for name in ALPHA}))
    return jax.tree.map(np.asarray, both(jax.random.split(jax.random.key(0), KEYS)))


def own_and_partner(targets):
    """The share that each row keeps of its label, and whose the rest is (its own index where nothing shows)."""
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)
    assert ((targets > 0).sum(-1) <= 2).all()
    own = targets[:, CLASSES, CLASSES]
    others = targets * (1 - np.eye(6))
    return own, np.where(others.any(-1), others.argmax(-1), CLASSES)


def test_mixup_blends_images_and_labels_alike(drawn):
    mixed, targets = drawn["mixup"]
    own, partner = own_and_partner(targets)
    assert np.ptp(mixed, axis=(2, 3, 4)).max() == 0
    np.testing.assert_allclose(mixed[..., 0, 0, 0], targets @ CLASSES, rtol=1e-5, atol=1e-5)
    for shown in np.where(own < 1, partner, -1):  # a permutation
        assert len(set(shown[shown >= 0])) == (shown >= 0).sum()
    # Who is paired with whom: each of the others as often as the next, oneself one time in six.
    pairs = np.zeros((6, 6))
    np.add.at(pairs, (np.broadcast_to(CLASSES, partner.shape), partner), 1)
    assert stats.chisquare(pairs.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0, 8.0, 300.0])
def test_shares_are_beta(alpha, key):
    size = 800
    images = np.eye(size, dtype=np.float32)
    mixed, targets = jitted_mixup(key, images, np.arange(size, dtype=np.float32), alpha)
    shares = np.diag(mixed)
    assert np.isfinite(targets).all()
    # Inside, since float32 rounds the most unequal shares to 0 and 1; one row may be its own partner.
    points = np.array([1e-3, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
    expected = stats.beta(alpha, alpha).cdf(points)
    found = (shares[:, None] < points[None]).mean(0)
    assert (abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / size) + 2 / size).all()


jitted_mixup = jax.jit(nn.mixup)  # one program for every alpha


def box_areas(alpha, size, height, width, rng):
    """The pixels that the authors' program of CutMix pastes, by NumPy."""
    share = rng.beta(alpha, alpha, size)
    cut_height = (height * np.sqrt(1 - share)).astype(int)
    cut_width = (width * np.sqrt(1 - share)).astype(int)
    row, column = rng.integers(0, height, size), rng.integers(0, width, size)
    top, bottom = (np.clip(row + s * (cut_height // 2), 0, height) for s in (-1, 1))
    left, right = (np.clip(column + s * (cut_width // 2), 0, width) for s in (-1, 1))
    return (bottom - top) * (right - left)


def test_cutmix_pastes_one_box_and_labels_by_its_area(drawn):
    mixed, targets = drawn["cutmix"]
    own, partner = own_and_partner(targets)
    pasted = (mixed != IMAGES[None])[..., 0]
    np.testing.assert_array_equal(
        np.where(pasted, partner[..., None, None], CLASSES[:, None, None]), mixed[..., 0]
    )
    np.testing.assert_array_equal(mixed[..., 0], mixed[..., 1])
    rows, columns = pasted.any(3), pasted.any(2)
    np.testing.assert_array_equal(pasted, rows[..., None] & columns[:, :, None])  # full rectangles
    for sides in (rows, columns):  # in one piece
        assert ((np.diff(sides.astype(int), prepend=0, append=0) == 1).sum(-1) <= 1).all()
    np.testing.assert_allclose(own, 1 - pasted.mean((2, 3)), rtol=1e-6)
    areas = pasted.sum((2, 3))[partner != CLASSES]
    reference = box_areas(1.0, 20000, HEIGHT, WIDTH, np.random.default_rng(0))
    assert stats.ks_2samp(areas, reference[reference > 0]).pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ALPHA)
def test_eager_equals_jitted_and_mapped(name, drawn):
    key = jax.random.split(jax.random.key(0), KEYS)[1]
    for images in (IMAGES, jnp.asarray(IMAGES, jnp.bfloat16)):
        mixed, targets = mix(name, key, images)
        assert mixed.dtype == images.dtype
        assert targets.dtype == jnp.float32
        tolerance = 1e-6 if images.dtype == np.float32 else 0.01
        np.testing.assert_allclose(
            mixed.astype(np.float32), drawn[name][0][1], rtol=tolerance, atol=tolerance
        )
        np.testing.assert_allclose(targets, drawn[name][1][1], rtol=1e-6, atol=1e-6)


def test_cutmix_takes_raw_pixels_and_mixup_real_targets(key):
    raw = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    assert nn.cutmix(key, raw, LABELS, num_classes=3)[0].dtype == jnp.uint8
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    mixed, targets = nn.mixup(key, x, 3 * x[:, 0])
    np.testing.assert_allclose(targets, 3 * mixed[:, 0], rtol=1e-5, atol=1e-5)


def test_in_a_step_over_batches(key):
    """The convention of the module's docstring, with the batches and objectives of this library."""

    class Linear:
        @staticmethod
        def apply(variables, x, *, train, rngs=None, mutable=()):
            return x[:, 0, :2, 0] @ variables["params"], {}

    plain = objectives.regression(Linear, losses.softmax_cross_entropy, inputs="image", targets="label")

    def objective(params, model_state, batch, key):
        mix_key, key = jax.random.split(key)
        images, targets = nn.cutmix(mix_key, batch["image"], batch["label"], num_classes=3)
        return plain(params, model_state, {**batch, "image": images, "label": targets}, key)

    (batch,) = Batches({"image": IMAGES, "label": LABELS}, 6, num_epochs=1)
    (loss, _), grads = jax.value_and_grad(objective, has_aux=True)(jnp.zeros((2, 3)), {}, batch, key)
    assert loss == pytest.approx(np.log(3), rel=1e-5)
    assert np.abs(grads).max() > 0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(
            lambda k, x: nn.label_smoothing(LABELS), ValueError, "num_classes must be given", id="classes"
        ),
        pytest.param(
            lambda k, x: nn.label_smoothing(ONE_HOT, 1.1), ValueError, "smoothing must be", id="share"
        ),
        pytest.param(
            lambda k, x: nn.label_smoothing(ONE_HOT, 0.1, 4), ValueError, "4 classes", id="other-classes"
        ),
        pytest.param(lambda k, x: nn.label_smoothing(ONE_HOT > 0), TypeError, "labels must be", id="bool"),
        pytest.param(
            lambda k, x: nn.label_noise(k, ONE_HOT, 0.1, 3), TypeError, "labels must be integers", id="rows"
        ),
        pytest.param(lambda k, x: nn.label_noise(k, LABELS, -0.1, 3), ValueError, "rate must be", id="rate"),
        pytest.param(
            lambda k, x: nn.label_noise(k, LABELS, 0.1, 1), ValueError, "num_classes must be", id="one"
        ),
        pytest.param(
            lambda k, x: nn.mixup(k, x, LABELS), ValueError, "num_classes must be given", id="mixup-classes"
        ),
        pytest.param(
            lambda k, x: nn.mixup(k, x, ONE_HOT, 0.0), ValueError, "alpha must be positive", id="alpha"
        ),
        pytest.param(lambda k, x: nn.mixup(k, x, ONE_HOT[:5]), ValueError, "must agree", id="lengths"),
        pytest.param(
            lambda k, x: nn.mixup(k, x, ONE_HOT.astype(int), num_classes=3),
            ValueError,
            "rank 1",
            id="int-one-hot",
        ),
        pytest.param(
            lambda k, x: nn.mixup(k, x.astype(np.uint8), ONE_HOT), TypeError, "images must be", id="raw"
        ),
        pytest.param(lambda k, x: nn.mixup(k, np.float32(1), ONE_HOT), ValueError, "batch axis", id="scalar"),
        pytest.param(
            lambda k, x: nn.cutmix(k, x[0], ONE_HOT), ValueError, "images must have rank 4", id="rank"
        ),
    ],
)
def test_bad_input(call, error, match, key):
    with pytest.raises(error, match=match):
        call(key, np.ones((6, 4, 4, 1), np.float32))
