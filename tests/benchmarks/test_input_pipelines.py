"""The rows of input pipelines: every side makes the same changes of the same images."""

import functools
import importlib.util
import itertools

import jax
import numpy as np
import pytest

from benchmarks import input_pipelines
from benchmarks.input_pipelines import Images

CIFAR = Images("cifar10", 40, (8, 6, 3), 8, padding=2, mirror=True, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
MNIST = Images("mnist", 40, (9, 9, 1), 8, padding=1, degrees=30.0, mean=(0.2,), std=(0.5,))
PLAIN = Images("plain", 20, (3, 4, 1), 4, padding=0, std=(1 / 255,))


def resident_batches(images):
    """Every batch of the program, one batch a call."""
    advance, state, arrays = input_pipelines.resident(images, 1)
    while True:
        state = advance(state, arrays)
        yield np.array(state["batch"])


STREAMS = {
    "resident": resident_batches,
    "jaxdl": input_pipelines.jaxdl_stream,
    "torch": lambda images: (
        batch.permute(0, 2, 3, 1).numpy() for batch in input_pipelines.torch_stream(images, 0)
    ),
    "keras": input_pipelines.keras_stream,
    "grain": input_pipelines.grain_stream,
}


def stream(name, images):
    """Batches of a side; those of a framework that is not installed are skipped."""
    if name in ("torch", "keras", "grain") and importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    input_pipelines.pixels.cache_clear()
    return STREAMS[name](images)


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
@jax.numpy_rank_promotion("allow")  # the other frameworks rely on it
def test_each_epoch_has_every_image_once_in_a_new_order(name):
    batches = stream(name, PLAIN)
    known = {image.astype(np.float32).tobytes(): i for i, image in enumerate(input_pipelines.pixels(PLAIN))}
    epochs = []
    for _ in range(3):
        images = np.concatenate([np.asarray(next(batches)) for _ in range(PLAIN.batches)])
        assert images.dtype == np.float32
        epochs.append([known[np.round(image).tobytes()] for image in images])
    assert [sorted(epoch) for epoch in epochs] == [list(range(20))] * 3
    assert len(set(map(tuple, epochs))) == 3


@functools.cache
def moments(name, images):
    """Mean and mean square of every pixel over 150 batches, and how many images these are."""
    arrays = np.concatenate([np.asarray(batch) for batch in itertools.islice(stream(name, images), 150)])
    return arrays.mean(0), (arrays**2).mean(0), len(arrays)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STREAMS if name != "resident"])
@pytest.mark.parametrize("images", [CIFAR, MNIST], ids=lambda images: images.name)
@jax.numpy_rank_promotion("allow")
def test_each_pixel_has_the_moments_of_ours(name, images):
    """Crops, mirror images and turns move the frame of padding over the pixels: each has its own mean and spread."""
    pytest.importorskip("scipy")
    expected, squares, n = moments("resident", images)
    got, got_squares, m = moments(name, images)
    assert got.shape == images.shape
    # Five standard errors of both.
    sigma = 5 * np.sqrt((squares - expected**2) * (1 / n + 1 / m))
    assert (np.abs(got - expected) < sigma + 1e-3).all()
    np.testing.assert_allclose(got_squares, squares, rtol=0.25)
    # And the test would see a frame of another width.
    assert expected[0].mean() < expected[4].mean() - 3 * sigma.mean() / np.sqrt(images.shape[1])


@pytest.mark.slow
@pytest.mark.parametrize("images", [CIFAR, MNIST], ids=lambda images: images.name)
def test_the_program_sums_the_means_of_its_batches(images):
    advance, state, arrays = input_pipelines.resident(images, 5)
    single = resident_batches(images)
    for _ in range(2):  # two epochs
        before = float(state["total"])
        state = advance(state, arrays)
        batches = [next(single) for _ in range(5)]
        np.testing.assert_allclose(float(state["total"]) - before, sum(b.mean() for b in batches), rtol=1e-4)
        np.testing.assert_allclose(state["batch"], batches[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@jax.numpy_rank_promotion("allow")
def test_every_side_of_a_row_runs():
    for images in (CIFAR, MNIST):
        input_pipelines.pixels.cache_clear()
        row = input_pipelines.row(images, steps=5, tolerance=1.0)
        present = [side for side in row.sides if all(map(importlib.util.find_spec, side.needs))]
        means = [side.build()(10) for side in present]
        np.testing.assert_allclose(means, means[0], atol=0.3)
        assert {target.over for target in row.targets} == {side.name for side in row.sides[2:]}


def test_blocks_divide_the_epochs():
    for row in (input_pipelines.cifar10_row(), input_pipelines.mnist_row()):
        images = int(row.trains.split(" ")[0].replace(",", ""))
        assert (images // 128) % row.units == 0 == row.check_units % row.units
