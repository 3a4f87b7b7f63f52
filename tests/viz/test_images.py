"""Pictures: the numbers that Matplotlib was given."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import viz

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 1), (5, 4, 3, 3)])
def test_image_grid(shape, drawn, picture):
    images = RNG.uniform(size=shape).astype(np.float32)
    axes = drawn(viz.image_grid(images, titles=list("abcde"), columns=2))
    assert [a.get_title() for a in axes] == list("abcde")
    for a, image in zip(axes, images):
        np.testing.assert_allclose(picture(a), image[..., 0] if shape[-1] == 1 else image)
        if shape[-1] != 3 or len(shape) == 3:
            assert a.images[0].get_clim() == (images.min(), images.max())  # one scale for all
    spec = axes[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == (3, 2)


def test_image_grid_accepts_device_arrays_bytes_and_constants(drawn, picture):
    assert len(drawn(viz.image_grid(jnp.zeros((3, 2, 2, 1), jnp.bfloat16)))) == 3
    (axes,) = drawn(viz.image_grid(np.full((1, 2, 2, 3), 255, np.uint8)))
    assert picture(axes).max() == 255


def test_filters(drawn, picture):
    kernel = RNG.normal(size=(3, 5, 2, 4)).astype(np.float32)
    figure = viz.filters(kernel)
    axes = drawn(figure)[0]
    image = picture(axes)
    scale, gap = 8, 3
    assert image.shape == (2 * 3 * scale + gap, 4 * 5 * scale + 3 * gap)
    # Input channel 1, output channel 2, each weight a block of pixels.
    top, left = 3 * scale + gap, 2 * (5 * scale + gap)
    block = image[top : top + 3 * scale : scale, left : left + 5 * scale : scale]
    np.testing.assert_allclose(block, kernel[:, :, 1, 2])
    assert np.isnan(image[3 * scale : 3 * scale + gap]).all()
    low, high = axes.images[0].get_clim()
    assert -low == high == np.abs(kernel).max()  # the middle is zero
    assert axes.get_ylabel() == "input channel"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "1", "2", "3"]


def test_filters_of_one_input_channel_wrap(drawn, picture):
    image = picture(drawn(viz.filters(np.ones((3, 3, 1, 10))))[0])
    assert image.shape == (3 * 24 + 2 * 2, 4 * 24 + 3 * 2)
    assert np.nansum(image) == 10 * 24 * 24


def test_feature_maps(drawn, picture):
    activations = RNG.normal(size=(30, 30, 3))
    axes = drawn(viz.feature_maps(activations))[0]
    np.testing.assert_allclose(picture(axes)[:, :30], activations[:, :, 0], rtol=1e-6)
    np.testing.assert_allclose(picture(axes)[:, -30:], activations[:, :, 2], rtol=1e-6)
    assert axes.get_title() == "3 feature maps, 30×30"
    drawn(viz.feature_maps(np.zeros((2, 2, 1))))


def row_names(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def test_reconstructions(drawn, picture):
    first = RNG.uniform(0.2, 0.7, size=(3, 30, 30)).astype(np.float32)
    (axes,) = drawn(viz.reconstructions({"original": first, "noisy": first + 0.5, "decoded": first[:, ::-1]}))
    error = np.mean((first - first[:, ::-1]) ** 2)
    assert row_names(axes) == ["original", "noisy\nerror 0.25", f"decoded\nerror {error:.3g}"]
    image = picture(axes)
    gap = 2
    np.testing.assert_array_equal(image[:30, 30 + gap : 60 + gap], first[1])
    np.testing.assert_array_equal(image[60 + 2 * gap :, :30], first[0, ::-1])
    assert axes.images[0].get_clim() == (first.min(), first.max())
    assert axes.get_title() == "original, noisy and decoded"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_reconstructions_in_colour(drawn, picture, dtype):
    first = RNG.integers(0, 256, size=(2, 24, 24, 3)).astype(np.uint8)
    shown = first if dtype == np.uint8 else first / np.float32(255)
    (axes,) = drawn(viz.reconstructions({"a": shown, "b": shown}))
    np.testing.assert_allclose(picture(axes)[:24, 26:50], first[1] / 255, atol=1e-6)
    assert (picture(axes)[24:26] == 1).all()  # white between the rows


def frames_of(path):
    from PIL import Image

    with Image.open(path) as film:
        pictures, durations = [], []
        for i in range(film.n_frames):
            film.seek(i)
            durations.append(film.info["duration"])
            pictures.append(np.asarray(film.convert("L"), float))
        return pictures, durations, film.info["loop"]


def test_sample_evolution(drawn, picture, tmp_path):
    # One square of grey, darker from step to step, beside one that stays black and one that stays white.
    samples = {
        step: np.stack([np.full((4, 4, 1), g, np.float32) for g in (0, 1, level)])
        for step, level in ((2000, 0.2), (0, 0.9), (1000, 0.6))
    }
    path = tmp_path / "new" / "samples.gif"
    figure = viz.sample_evolution(samples, path, step_name="update", frame_seconds=0.2)
    pictures, durations, loop = frames_of(path)
    assert durations == [200, 200, 2000]
    assert loop == 0
    assert [file.name for file in path.parent.iterdir()] == ["samples.gif"]
    height, width = pictures[0].shape
    third = [frame[height // 2, round(width * 5 / 6)] / 255 for frame in pictures]
    np.testing.assert_allclose(third, [0.9, 0.6, 0.2], atol=0.01)
    np.testing.assert_array_equal([frame[height // 2, width // 6] for frame in pictures], 0)
    # Only the title above the tiles and the third tile change.
    moves = np.abs(pictures[1] - pictures[0]) > 1
    assert moves[: height // 4].any()
    assert not moves[height // 2, : width // 2].any()
    (axes,) = drawn(figure)
    assert row_names(axes) == ["0", "1,000", "2,000"]
    assert axes.get_ylabel() == "update"
    np.testing.assert_allclose(picture(axes)[::26, 2 * 26 + 3], [0.9, 0.6, 0.2])


def test_sample_evolution_chooses_rows_and_columns(drawn, picture, tmp_path):
    samples = {step: np.full((14, 24, 24, 3), step / 20) for step in range(21)}
    (axes,) = drawn(viz.sample_evolution(samples, tmp_path / "a.gif"))
    assert row_names(axes) == ["0", "3", "6", "9", "11", "14", "17", "20"]
    assert picture(axes).shape == (8 * 26 - 2, 12 * 26 - 2, 3)
    assert len(frames_of(tmp_path / "a.gif")[0]) == 21


def test_sample_evolution_leaves_the_old_film_when_writing_fails(tmp_path, monkeypatch):
    from PIL import Image

    def save(image, path, *arguments, **settings):
        pathlib.Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "film.gif"
    path.write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match=r"cannot write .*film.gif: No space left"):
        viz.sample_evolution({0: np.zeros((1, 2, 2))}, path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: viz.image_grid(np.ones((4, 4))),
            ValueError,
            r"images must have rank 3 or 4, got shape \(4, 4\)",
        ),
        (lambda: viz.image_grid(np.ones((2, 4, 4, 2))), ValueError, "images must have 1 or 3 channels"),
        (
            lambda: viz.image_grid(np.full((1, 2, 2, 3), -1.0)),
            ValueError,
            r"in \[0, 1\], got values from -1 to",
        ),
        (
            lambda: viz.image_grid(np.ones((2, 4, 4)), ["one"]),
            ValueError,
            "titles must be as many as images, 2",
        ),
        (lambda: viz.image_grid(np.ones((0, 4, 4))), ValueError, "images must not be empty"),
        (lambda: viz.image_grid(np.array([[["a"]]])), TypeError, "images must hold real numbers"),
        (lambda: viz.image_grid(np.ones((2, 4, 4)), columns=0), ValueError, "columns must be at least 1"),
        (lambda: viz.filters(np.ones((3, 3))), ValueError, "kernel must have rank 4"),
        (lambda: viz.feature_maps(np.ones((1, 8, 8, 4))), ValueError, r"one example, \[H, W, C\], got shape"),
        (
            lambda: viz.reconstructions({"a": np.ones((2, 4, 4))}),
            ValueError,
            "rows must be at least 2, got a",
        ),
        (
            lambda: viz.reconstructions({"a": np.ones((2, 4, 4)), "b": np.ones((3, 4, 4))}),
            ValueError,
            r"b must have the shape of a, \(2, 4, 4\), got \(3, 4, 4\)",
        ),
        (
            lambda: viz.reconstructions({"a": np.ones((2, 4, 4, 3)), "b": np.full((2, 4, 4, 3), 1.5)}),
            ValueError,
            r"b with 3 channels must be in \[0, 1\]",
        ),
        (lambda: viz.sample_evolution({}, "a.gif"), ValueError, "samples must have at least one step"),
        (
            lambda: viz.sample_evolution({0: np.ones((1, 2, 2))}, "a.png"),
            ValueError,
            "path must end in .gif, got a.png",
        ),
        (
            lambda: viz.sample_evolution({0: np.ones((1, 2, 2))}, "a.gif", frame_seconds=0.01),
            ValueError,
            "frame_seconds must be at least 0.02",
        ),
        (
            lambda: viz.sample_evolution({0: np.ones((1, 2, 2)), 5: np.ones((2, 2, 2))}, "a.gif"),
            ValueError,
            "step 5 must have the shape of step 0",
        ),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
