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


# Every other function of float images, on one that is the channel of a colour image where it wants grey.
FUNCTIONS = CHANGES | {
    "random_rotate": data.random_rotate,
    "random_translate": data.random_translate,
    "random_zoom": functools.partial(data.random_zoom, max_fraction=0.4),
    "resize": lambda _, x: [
        data.resize(x, (7, 13), method) for method in ("nearest", "bilinear", "bicubic", "lanczos")
    ],
    "pad_to_size": lambda _, x: data.pad_to_size(x, 14, 0.3),
    "scale_pixels": lambda _, x: data.scale_pixels(x, -1, 1, max_value=0.7),
    "to_grayscale": lambda _, x: data.to_grayscale(x),
    "grayscale_to_rgb": lambda _, x: data.grayscale_to_rgb(x[..., :1]),
    "binarize": lambda _, x: data.binarize(x, 0.37),
    "complement": lambda _, x: data.complement(x),
    "contrast_stretch": lambda _, x: data.contrast_stretch(x, 5, 95),
    "quantize_levels": lambda _, x: data.quantize_levels(x, 7),
    "histogram_equalize": lambda _, x: data.histogram_equalize(x, 64),
    "color_histogram": lambda _, x: data.color_histogram(x, 7),
    "median_filter": lambda _, x: data.median_filter(x),
    "morphology": lambda _, x: [f(x) for f in (data.erode, data.dilate, data.opening, data.closing)],
    "laplacian_pyramid": lambda _, x: data.laplacian_pyramid(x, 2),
    "wavelet_transform": lambda _, x: data.wavelet_transform(x),
    "otsu_threshold": lambda _, x: data.otsu_threshold(x[..., :1]),
    "threshold_segment": lambda _, x: data.threshold_segment(x[..., :1]),
    "edge_segment": lambda _, x: data.edge_segment(x[..., :1]),
    "cluster_segment": lambda key, x: data.cluster_segment(key, x, 3),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in FUNCTIONS]
)
def test_bfloat16_is_computed_in_float32(name):
    """What comes out is the result of float32, rounded once; what is no picture is that result."""
    half = IMAGES[0].astype(jnp.bfloat16)

    @jax.jit
    def both(image):
        return FUNCTIONS[name](KEYS[1], image), FUNCTIONS[name](KEYS[1], image.astype(jnp.float32))

    for got, want in zip(*map(jax.tree.leaves, both(half)), strict=True):
        assert got.dtype in (jnp.bfloat16, want.dtype)
        tolerance = 2**-8 if got.dtype == jnp.bfloat16 else 1e-6
        np.testing.assert_allclose(np.asarray(got, np.float32), np.asarray(want), rtol=tolerance, atol=1e-6)
