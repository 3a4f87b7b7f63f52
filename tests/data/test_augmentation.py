"""Rotation, translation, zoom, stretch against scipy.ndimage."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import random_rotate, random_stretch, random_translate, random_zoom
from jaxdl.data.augmentation import affine_transform

IMAGE = np.random.default_rng(0).uniform(size=(9, 12, 3)).astype(np.float32)
ALL = [random_rotate, random_translate, random_zoom, random_stretch]


def scipy_affine(image, matrix, offset, fill=0.0):
    ndimage = pytest.importorskip("scipy.ndimage")
    return np.stack(
        [
            ndimage.affine_transform(
                image[..., c].astype(np.float64), matrix, offset, order=1, mode="grid-constant", cval=fill
            )
            for c in range(image.shape[-1])
        ],
        axis=-1,
    )


@pytest.mark.parametrize("fill", [0.0, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_affine_equals_scipy(seed, fill):
    rng = np.random.default_rng(seed)
    matrix, offset = np.eye(2) + rng.normal(0, 0.4, (2, 2)), rng.normal(0, 3, 2)
    got = affine_transform(IMAGE, jnp.asarray(matrix, jnp.float32), jnp.asarray(offset, jnp.float32), fill)
    np.testing.assert_allclose(got, scipy_affine(IMAGE, matrix, offset, fill), atol=2e-5)


def test_rotation_equals_scipy_rotate(key):
    ndimage = pytest.importorskip("scipy.ndimage")
    angle = float(jax.random.uniform(key, minval=-40, maxval=40))
    got = random_rotate(key, IMAGE, 40.0, 0.3)
    want = ndimage.rotate(
        IMAGE.astype(np.float64), angle, (1, 0), reshape=False, order=1, mode="grid-constant", cval=0.3
    )
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_right_angle_is_a_permutation_of_pixels(key, turns):
    image = IMAGE[:, :9]
    drawn = float(jax.random.uniform(key, minval=-1.0, maxval=1.0))
    degrees = 90.0 * (turns if drawn > 0 else 4 - turns)
    got = random_rotate(key, image, degrees / abs(drawn))
    np.testing.assert_allclose(got, np.rot90(image, turns), atol=2e-5)


def test_translation_equals_scipy_shift(key):
    ndimage = pytest.importorskip("scipy.ndimage")
    shift = np.asarray(jax.random.uniform(key, (2,), minval=-0.3, maxval=0.3)) * IMAGE.shape[:2]
    want = ndimage.shift(IMAGE.astype(np.float64), (*shift, 0), order=1, mode="grid-constant")
    np.testing.assert_allclose(random_translate(key, IMAGE, 0.3), want, atol=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_zoom_equals_scipy(seed):
    key = jax.random.key(seed)
    factor = float(jax.random.uniform(key, minval=0.5, maxval=1.5))
    centre = (np.array(IMAGE.shape[:2]) - 1) / 2
    want = scipy_affine(IMAGE, np.eye(2) / factor, centre - centre / factor)
    np.testing.assert_allclose(random_zoom(key, IMAGE, 0.5), want, atol=2e-5)


def test_stretch_equals_scipy_with_two_factors():
    key = jax.random.key(1)
    factors = np.asarray(jax.random.uniform(key, (2,), minval=0.5, maxval=1.5), np.float64)
    assert abs(factors[0] - factors[1]) > 0.05
    centre = (np.array(IMAGE.shape[:2]) - 1) / 2
    want = scipy_affine(IMAGE, np.diag(1 / factors), centre - centre / factors, 0.3)
    np.testing.assert_allclose(random_stretch(key, IMAGE, 0.5, 0.3), want, atol=2e-5)


@pytest.mark.parametrize("change", ALL)
def test_none_is_the_identity(change, key):
    np.testing.assert_allclose(change(key, IMAGE, 0.0), IMAGE, atol=1e-6)


@pytest.mark.parametrize("change", ALL)
def test_vmap_and_jit_equal_one_by_one(change):
    keys = jax.random.split(jax.random.key(1), 4)
    images = jnp.stack([jnp.asarray(IMAGE) + i for i in range(4)])
    limit = 20.0 if change is random_rotate else 0.2
    batched = jax.jit(jax.vmap(lambda k, i: change(k, i, limit, 0.5)))(keys, images)
    for k in range(4):
        np.testing.assert_allclose(batched[k], change(keys[k], images[k], limit, 0.5), atol=1e-5)
    assert len({float(b.sum()) for b in batched - images}) == 4


@pytest.mark.parametrize("change", ALL)
def test_gradient_with_respect_to_the_image(change, key):
    image = jnp.asarray(IMAGE[:4, :5])
    chex.assert_numerical_grads(
        lambda i: (change(key, i, 0.4) ** 2).sum(), (image,), order=1, atol=1e-2, rtol=1e-2
    )


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.bfloat16, jnp.float32])
def test_dtype_is_kept_and_bytes_are_rounded(dtype, key):
    image = jnp.asarray(IMAGE * 255).astype(dtype)
    got = random_rotate(key, image, 30.0)
    assert got.dtype == dtype
    exact = random_rotate(key, image.astype(jnp.float32), 30.0)
    chex.assert_trees_all_equal(got, (jnp.round(exact) if dtype == jnp.uint8 else exact).astype(dtype))


@pytest.mark.parametrize(("call", "message"), [
    (lambda k: random_rotate(k, IMAGE[..., 0]), "image must have rank 3"),
    (lambda k: random_rotate(k, IMAGE, -1.0), "max_degrees must be at least 0"),
    (lambda k: random_translate(k, IMAGE, 1.5), "max_fraction must be between 0 and 1"),
    (lambda k: random_zoom(k, IMAGE, 1.0), "max_fraction must be below 1"),
    (lambda k: random_zoom(k, IMAGE[None]), "image must have rank 3"),
    (lambda k: random_stretch(k, IMAGE, 1.0), "max_fraction must be at least 0 and below 1"),
])  # fmt: skip
def test_bad_input(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)
