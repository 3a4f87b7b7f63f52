"""What every random change of an image promises: one table over all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data

RNG = np.random.default_rng(0)
BYTES = jnp.asarray(RNG.integers(0, 256, (2, 12, 10, 3), np.uint8))
IMAGES = BYTES.astype(jnp.float32) / 255
MARK = np.float32([[1, 0.5, 0], [0, 0.25, 1]])
KEYS = jax.random.split(jax.random.key(11), 2)

# Settings under which the two keys above do change the image.
CHANGES = {
    "random_flip": functools.partial(data.random_flip, horizontal=0.9, vertical=0.5),
    "random_crop": functools.partial(data.random_crop, size=(12, 10), padding=3),
    "random_stretch": functools.partial(data.random_stretch, max_fraction=0.4),
    "random_erasing": functools.partial(data.random_erasing, probability=1.0),
    "color_jitter": data.color_jitter,
    "salt_and_pepper": functools.partial(data.salt_and_pepper, amount=0.3),
    "gaussian_blur": functools.partial(data.gaussian_blur, min_sigma=0.5, max_sigma=1.0),
    "sharpen": data.sharpen,
    "watermark": functools.partial(data.watermark, mark=MARK),
    "rand_augment": functools.partial(data.rand_augment, magnitude=15.0),
}


# Dear to compile, and each run over a batch of keys in the tests of its own file.
SLOW = ("random_erasing", "salt_and_pepper", "rand_augment")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CHANGES]
)
def test_a_batch_is_changed_one_by_one_and_keeps_dtype_and_range(name):
    change = CHANGES[name]

    @jax.jit
    def run(keys, images, numbers):
        return jax.vmap(change)(keys, images), change(keys[1], numbers[1])

    batch, of_bytes = jax.device_get(run(KEYS, IMAGES, BYTES))
    assert np.abs(batch - IMAGES).max((1, 2, 3)).min() > 0.01, "changes nothing"
    assert batch.dtype == np.float32
    assert 0 <= batch.min() < batch.max() <= 1
    assert of_bytes.dtype == np.uint8
    # One picture alone, in bytes: a change of two layers rounds twice.
    np.testing.assert_allclose(of_bytes, 255 * batch[1], atol=1 if name == "rand_augment" else 0.501)
    half = jax.eval_shape(change, KEYS[0], IMAGES[0].astype(jnp.bfloat16))
    assert (half.dtype, half.shape) == (jnp.bfloat16, (12, 10, 3))


@pytest.mark.parametrize("name", CHANGES)
def test_the_range_must_be_known_or_does_not_matter(name):
    numbers = BYTES[0].astype(jnp.int32)
    free = ("random_flip", "random_crop", "random_stretch", "gaussian_blur")
    if name in free:
        assert jax.eval_shape(CHANGES[name], KEYS[0], numbers).dtype == jnp.int32
        return
    with pytest.raises(ValueError, match="max_value must be given for int32"):
        jax.eval_shape(CHANGES[name], KEYS[0], numbers)
    white = "value" if name == "watermark" else "max_value"
    known = functools.partial(CHANGES[name], **{white: 300})
    assert jax.eval_shape(known, KEYS[0], numbers).dtype == jnp.int32


def test_bfloat16_is_computed_in_float32():
    half = IMAGES[0].astype(jnp.bfloat16)
    names = ("color_jitter", "gaussian_blur")

    @jax.jit
    def both(image):
        wide = image.astype(jnp.float32)
        return [(CHANGES[n](KEYS[1], image), CHANGES[n](KEYS[1], wide).astype(jnp.bfloat16)) for n in names]

    for name, (got, want) in zip(names, both(half)):
        np.testing.assert_allclose(
            *(np.asarray(x, np.float32) for x in (got, want)), atol=1 / 256, err_msg=name
        )
