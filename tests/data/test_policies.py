"""RandAugment's operations against Pillow, SciPy and NumPy, its draws, and stored copies."""

import jax
import numpy as np
import pytest

from jaxdl.data import augmented_copies, digits, rand_augment, random_flip, to_grayscale
from jaxdl.data.policies import OPERATIONS, apply_operation

BYTES = np.random.default_rng(1).integers(20, 230, (12, 10, 3), np.uint8)
IMAGE = (BYTES / 255).astype(np.float32)
APPLY = jax.jit(apply_operation)
M = 0.6


def affine(matrix, shift):
    """Output to input about the centre, by SciPy in float64."""
    ndimage = pytest.importorskip("scipy.ndimage")
    centre = (np.array(IMAGE.shape[:2]) - 1) / 2
    offset = centre - matrix @ centre + shift
    channels = [
        ndimage.affine_transform(x, matrix, offset, order=1, mode="grid-constant", cval=0.5)
        for x in np.moveaxis(IMAGE.astype(np.float64), -1, 0)
    ]
    return np.stack(channels, -1)


def expected(name, m):
    """The operation by another library, or in NumPy from its formula, and how near its rounding lets us come."""
    image, enhance = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageEnhance")
    operations = pytest.importorskip("PIL.ImageOps")
    picture = image.fromarray(BYTES)
    angle = np.deg2rad(30 * m)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    height, width, _ = IMAGE.shape
    # Of two roundings: of the other picture's mean or smoothing, and of the result.
    byte, exact = 2 / 255, 3e-6
    factor = 1 + 0.9 * m
    bits = 8 - round(4 * abs(m))
    return {
        "identity": lambda: (IMAGE, 0),
        "shear_x": lambda: (affine(np.array([[1, 0], [0.3 * m, 1]]), 0), exact),
        "shear_y": lambda: (affine(np.array([[1, 0.3 * m], [0, 1]]), 0), exact),
        "translate_x": lambda: (affine(np.eye(2), [0, -150 / 331 * m * width]), exact),
        "translate_y": lambda: (affine(np.eye(2), [-150 / 331 * m * height, 0]), exact),
        "rotate": lambda: (affine(turn, 0), exact),
        "brightness": lambda: (np.clip(factor * IMAGE, 0, 1), exact),
        "color": lambda: (np.asarray(enhance.Color(picture).enhance(factor)) / 255, byte),
        "contrast": lambda: (np.asarray(enhance.Contrast(picture).enhance(factor)) / 255, byte),
        "sharpness": lambda: (np.asarray(enhance.Sharpness(picture).enhance(factor)) / 255, byte),
        "posterize": lambda: (np.asarray(operations.posterize(picture, bits)) / 255, exact),
        "solarize": lambda: (np.asarray(operations.solarize(picture, 255 * (1 - abs(m)))) / 255, exact),
        "autocontrast": lambda: (np.asarray(operations.autocontrast(picture)) / 255, byte),
        "equalize": lambda: (ranks(), exact),
    }[name]()


def ranks():
    counts = np.stack(
        [(BYTES[..., c].ravel()[:, None] >= BYTES[..., c].ravel()).sum(1) for c in range(3)], -1
    )
    return ((counts - counts.min(0)) / (120 - counts.min(0))).reshape(IMAGE.shape)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    for m in (M, -M):
        want, tolerance = expected(name, m)
        got = APPLY(IMAGE, list(OPERATIONS).index(name), m, 0.5)
        np.testing.assert_allclose(got, want, atol=tolerance, err_msg=f"strength {m}")


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("autocontrast", "equalize")])
def test_no_strength_is_no_change(name):
    got = APPLY(IMAGE, list(OPERATIONS).index(name), 0.0, 0.5)
    np.testing.assert_allclose(got, IMAGE, atol=1e-6)


def test_layers_are_operations_drawn_uniformly_one_after_the_other():
    stats = pytest.importorskip("scipy.stats")
    keys = jax.random.split(jax.random.key(2), 300)
    augment = jax.jit(jax.vmap(lambda k: rand_augment(k, IMAGE, 2, 30 * M, 0.5)))

    drawn = np.asarray(jax.vmap(lambda k: jax.random.uniform(k, (2, 2)))(keys))
    chosen, signs = (drawn[..., 0] * len(OPERATIONS)).astype(int), np.where(drawn[..., 1] < 0.5, -1, 1)
    for got, operations, sides in zip(np.asarray(augment(keys))[:40], chosen, signs):
        pixels = IMAGE
        for operation, sign in zip(operations, sides):
            pixels = APPLY(pixels, operation, sign * np.float32(M), 0.5)
        np.testing.assert_allclose(got, pixels, atol=1e-5)
    counts = np.zeros((len(OPERATIONS), 2))
    np.add.at(counts, (chosen, (signs > 0).astype(int)), 1)
    assert stats.chisquare(counts.sum(1)).pvalue > 1e-3
    assert stats.chisquare(counts.sum(0)).pvalue > 1e-3


def test_copies_are_stored_behind_the_originals(key):
    train = {name: rows[:6] for name, rows in digits("train").items()}
    larger = augmented_copies(key, train, random_flip, 3)
    assert larger["image"].dtype == np.uint8
    assert larger["image"].shape == (24, 8, 8, 1)
    np.testing.assert_array_equal(larger["image"][:6], train["image"])
    np.testing.assert_array_equal(larger["label"], np.tile(train["label"], 4))
    # Each is mirrored or not by a key of its own.
    copies, images = np.asarray(larger["image"][6:]).reshape(3, 6, 8, 8, 1), train["image"]
    mirrored, same = ((copies == x).all((2, 3, 4)) for x in (images[:, :, ::-1], images))
    assert (mirrored | same).all()
    assert len({tuple(row) for row in mirrored.tolist()}) == 3


BATCH = {"image": IMAGE[None], "label": np.zeros(1, np.int32)}


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda k: rand_augment(k, IMAGE, 0), ValueError, "num_layers must be at least 1"),
    (lambda k: rand_augment(k, IMAGE, 2, 31.0), ValueError, "magnitude must be between 0 and 30"),
    (lambda k: augmented_copies(k, BATCH, random_flip, 0), ValueError, "num_copies must be at least 1"),
    (lambda k: augmented_copies(k, BATCH, random_flip, 1, "x"), ValueError, "name must be one of 'image', 'label'"),
    (lambda k: augmented_copies(k, {**BATCH, "y": np.ones(2)}, random_flip, 1), ValueError, "y and image must agree"),
    (lambda k: augmented_copies(k, BATCH, lambda k, x: to_grayscale(x), 1), ValueError, "change must keep the shape"),
    (lambda k: augmented_copies(k, BATCH, lambda k, x: x > 0, 1), TypeError, "change must keep the dtype"),
])  # fmt: skip
def test_bad_input(call, error, message, key):
    with pytest.raises(error, match=message):
        call(key)
