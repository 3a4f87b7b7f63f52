"""Codes, walks between them, and maps of prototypes."""

import numpy as np
import pytest

from jaxdl import viz

RNG = np.random.default_rng(0)


def test_latent_space_of_two_dimensions(drawn, legend):
    codes, labels = RNG.normal(size=(30, 2)), np.arange(30) % 3
    (axes,) = drawn(viz.latent_space(codes, labels, ["cat", "dog", "hen", "none"], name="codes of a VAE"))
    for label, dots in enumerate(axes.collections):
        np.testing.assert_allclose(dots.get_offsets(), codes[labels == label])
    assert legend(axes) == ["0 cat", "1 dog", "2 hen"]
    assert axes.get_title() == "codes of a VAE, 30 codes of 2 dimensions"
    for label, text in enumerate(axes.texts):
        assert text.get_text() == str(label)
        np.testing.assert_allclose(text.get_position(), np.median(codes[labels == label], axis=0))


def test_latent_space_of_more_dimensions(drawn):
    decomposition = pytest.importorskip("sklearn.decomposition")
    codes = RNG.normal(size=(40, 5)) * [3, 1, 0.5, 2, 0.1] + 7
    (axes,) = drawn(viz.latent_space(codes))
    expected = decomposition.PCA(2).fit(codes)
    points = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(np.abs(points), np.abs(expected.transform(codes)), rtol=1e-6)
    shares = expected.explained_variance_ratio_
    assert axes.get_xlabel() == f"principal component 1 ({shares[0]:.0%} of the variance)"
    assert axes.get_ylabel() == f"principal component 2 ({shares[1]:.0%} of the variance)"
    # The feature that varies most, of index 0, grows to the right.
    assert np.corrcoef(points[:, 0], codes[:, 0])[0, 1] > 0.9
    drawn(viz.latent_space(np.ones((3, 4))))  # nothing varies


def decoder(asked):
    def decode(codes):
        asked.append(codes)
        return np.broadcast_to(codes[:, :1, None], (len(codes), 24, 24))

    return decode


def test_latent_walk(drawn, picture):
    asked = []
    starts, ends = [[0.0, 1.0], [4.0, 0.0]], [[1.0, 3.0], [0.0, 0.0]]
    (axes,) = drawn(viz.latent_walk(decoder(asked), starts, ends, steps=5))
    t = np.linspace(0, 1, 5)
    expected = [np.stack([t, 1 + 2 * t], 1), np.stack([4 - 4 * t, 0 * t], 1)]
    np.testing.assert_allclose(asked[0], np.concatenate(expected))
    assert asked[0].dtype == np.float32
    np.testing.assert_allclose(picture(axes)[::26, ::26], [t, 4 - 4 * t])
    assert axes.images[0].get_clim() == (0, 4)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.25", "0.5", "0.75", "1"]


def test_latent_walk_on_the_sphere():
    spatial = pytest.importorskip("scipy.spatial")
    starts, ends = RNG.normal(size=(2, 3, 6))
    starts[2], ends[2] = [1, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]  # one direction: a straight way
    asked = []
    viz.latent_walk(decoder(asked), starts, ends, steps=7, spherical=True)
    t = np.linspace(0, 1, 7)
    unit = lambda codes: codes / np.linalg.norm(codes, axis=1, keepdims=True)  # noqa: E731
    for got, start, end in zip(asked[0].reshape(3, 7, 6)[:2], starts, ends):
        arc = spatial.geometric_slerp(unit(start[None])[0], unit(end[None])[0], t)
        np.testing.assert_allclose(unit(got), arc, atol=1e-6)
        lengths = (1 - t) * np.linalg.norm(start) + t * np.linalg.norm(end)
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), lengths, rtol=1e-6)
    np.testing.assert_allclose(asked[0][14:, 0], 1 + t, rtol=1e-6)


def u_matrix(weights):
    """Mean distance from the four neighbours, unit by unit."""
    rows, columns, _ = weights.shape
    heights = np.zeros((rows, columns))
    for r in range(rows):
        for c in range(columns):
            around = [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
            inside = [(i, j) for i, j in around if 0 <= i < rows and 0 <= j < columns]
            heights[r, c] = np.mean([np.linalg.norm(weights[r, c] - weights[i, j]) for i, j in inside])
    return heights


def test_som_map(drawn, picture):
    weights = RNG.normal(size=(3, 4, 5))
    axes = drawn(viz.som_map(weights))
    np.testing.assert_allclose(picture(axes[0]), u_matrix(weights))
    assert axes[0].get_title() == "U-matrix"
    assert not axes[0].collections
    (line,) = drawn(viz.som_map(weights[:1]))
    np.testing.assert_allclose(picture(line), u_matrix(weights[:1]))
    (single,) = drawn(viz.som_map(weights[:1, :1]))
    np.testing.assert_array_equal(picture(single), [[0]])


def test_som_map_of_labelled_data(drawn, legend):
    weights = RNG.normal(size=(3, 4, 5))
    # Three examples at unit (1, 2), two of them of class 1; one at unit (2, 0), half a unit beside it.
    data = np.stack([weights[1, 2]] * 3 + [weights[2, 0] + [0.5, 0, 0, 0, 0]])
    axes = drawn(viz.som_map(weights, data, [1, 0, 1, 0]))[0]
    zero, one = axes.collections
    np.testing.assert_array_equal(zero.get_offsets(), [[0, 2]])
    np.testing.assert_array_equal(one.get_offsets(), [[2, 1]])
    np.testing.assert_allclose(one.get_sizes() / zero.get_sizes(), 3)
    assert legend(axes) == ["0", "1"]
    assert axes.get_title() == "U-matrix, quantization error 0.125"
    (every,) = drawn(viz.som_map(weights, data))[0].collections
    np.testing.assert_array_equal(every.get_offsets(), [[2, 1], [0, 2]])


def test_som_map_of_the_plane_draws_the_net(drawn):
    weights, data = RNG.normal(size=(2, 3, 2)), RNG.normal(size=(20, 2))
    _, net = drawn(viz.som_map(weights, data, np.arange(20) % 2))
    along, across = net.lines[:2], net.lines[2:5]
    np.testing.assert_array_equal([line.get_xydata() for line in along], weights)
    np.testing.assert_array_equal([line.get_xydata() for line in across], weights.swapaxes(0, 1))
    np.testing.assert_allclose(net.collections[1].get_offsets(), data[1::2])


ZEROS = np.zeros((2, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: viz.latent_space(np.ones((5, 1))), ValueError, r"at least 2 dimensions, got shape \(5, 1\)"),
        (lambda: viz.latent_space(np.full((5, 2), np.inf)), ValueError, "codes must be finite, got 10"),
        (lambda: viz.latent_space(np.ones((5, 2)), [0, 1]), ValueError, r"labels must have shape \(5\)"),
        (lambda: viz.latent_space(np.ones((5, 2)), np.ones(5)), TypeError, "labels must be integers"),
        (
            lambda: viz.latent_space(np.ones((5, 2)), [0, 1, 2, 0, 1], ["a", "b"]),
            ValueError,
            "class_names must be as many as classes, 3, got 2",
        ),
        (lambda: viz.latent_walk(len, ZEROS, ZEROS[:1]), ValueError, "ends must have the shape of starts"),
        (lambda: viz.latent_walk(len, ZEROS, ZEROS, steps=1), ValueError, "steps must be at least 2"),
        (
            lambda: viz.latent_walk(lambda z: z, ZEROS, ZEROS),
            ValueError,
            r"decode must return images \(18, H, W\) or \(18, H, W, C\), got \(18, 4\)",
        ),
        (
            lambda: viz.latent_walk(len, ZEROS, ZEROS + 1, spherical=True),
            ValueError,
            "starts must not have a code of zeros",
        ),
        (
            lambda: viz.latent_walk(len, ZEROS + 1, ZEROS - 2, spherical=True),
            ValueError,
            "must not be opposite",
        ),
        (lambda: viz.som_map(np.ones((3, 3))), ValueError, "weights must have rank 3"),
        (lambda: viz.som_map(np.ones((3, 3, 4)), np.ones((5, 2))), ValueError, "data must have shape"),
        (lambda: viz.som_map(np.ones((3, 3, 4)), labels=[0]), ValueError, "labels must come with data"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
