"""Fixed kernels: published entries, SciPy's and scikit-image's filters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


def picture():
    return np.random.default_rng(0).normal(size=(8, 9))


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        pytest.param(nn.sobel_x, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], id="sobel_x"),
        pytest.param(nn.sobel_y, [[1, 2, 1], [0, 0, 0], [-1, -2, -1]], id="sobel_y"),
        pytest.param(nn.edge_kernel, [[1, 0, -1]] * 3, id="002-G1"),
        pytest.param(
            lambda dtype: nn.edge_kernel("eight_neighbour", dtype),
            [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
            id="004a-7.14c",
        ),
        pytest.param(nn.sharpen_kernel, [[0, -1, 0], [-1, 5, -1], [0, -1, 0]], id="sharpen_kernel"),
        pytest.param(lambda dtype: nn.box_kernel((1, 4), dtype), [[0.25] * 4], id="box_kernel"),
    ],
)
def test_entries(kernel, expected):
    got = kernel(dtype=jnp.bfloat16)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got.astype(jnp.float32), expected)


def test_sobel_is_an_outer_product():  # 002-G10
    np.testing.assert_array_equal(nn.sobel_x(), np.outer([1, 2, 1], [-1, 0, 1]))
    np.testing.assert_array_equal(nn.sobel_y(), np.outer([1, 0, -1], [1, 2, 1]))
    image = jnp.asarray(np.tile([10.0, 10, 10, 0, 0, 0], (6, 1)), jnp.float32)
    correlate = jax.jit(nn.cross_correlate)
    np.testing.assert_array_equal(correlate(image, nn.sobel_x()), [[0, -40, -40, 0]] * 4)
    np.testing.assert_array_equal(correlate(image, nn.sobel_y()), np.zeros((4, 4)))


def test_against_scipy_and_scikit_image():
    ndimage = pytest.importorskip("scipy.ndimage")
    filters = pytest.importorskip("skimage.filters")
    x = picture()

    @jax.jit
    def forms(x):
        kernels = {
            "x": nn.sobel_x(),
            "y": nn.sobel_y(),
            "vertical": nn.edge_kernel(),
            "eight": nn.edge_kernel("eight_neighbour"),
            "sharp": nn.sharpen_kernel(),
            "box": nn.box_kernel(),
            "gauss": nn.gaussian_kernel(5, 0.8),
        }
        return {name: nn.cross_correlate(x, kernel) for name, kernel in kernels.items()}

    got = forms(jnp.asarray(x, jnp.float32))
    expected = {
        "x": ndimage.sobel(x, 1),
        "y": -ndimage.sobel(x, 0),
        "vertical": -ndimage.prewitt(x, 1),
        "eight": 9 * (x - ndimage.uniform_filter(x, 3)),
        "sharp": x - ndimage.laplace(x),
        "box": ndimage.uniform_filter(x, 3),
        "gauss": ndimage.gaussian_filter(x, 0.8, radius=2),
    }
    for name, one in expected.items():
        edge = 2 if name == "gauss" else 1
        np.testing.assert_allclose(got[name], one[edge:-edge, edge:-edge], rtol=1e-5, atol=1e-5, err_msg=name)
    # scikit-image turns the kernel and divides by the sum of the smoothing weights.
    np.testing.assert_allclose(got["y"], -4 * filters.sobel_h(x)[1:-1, 1:-1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got["x"], 4 * filters.sobel_v(x)[1:-1, 1:-1], rtol=1e-5, atol=1e-5)


def test_box_sums():  # 001-G5, kernel of ones
    x = np.zeros((6, 6), np.float32)
    x[0:2, 4], x[1, 5], x[2, [2, 4, 5]], x[3, [1, 3, 4, 5]] = 0.2, 0.3, (0.1, 0.5, 0.2), (0.2, 0.2, 0.2, 0.6)
    x[4, [1, 4, 5]] = 0.2, 0.9, 0.7
    correlate = jax.jit(nn.cross_correlate)
    sums = correlate(x, 9 * nn.box_kernel())
    expected = [[0.1, 0.1, 1.0, 1.4], [0.3, 0.5, 1.2, 2.2], [0.5, 0.7, 1.9, 3.3], [0.4, 0.6, 1.3, 2.6]]
    np.testing.assert_allclose(sums, expected, atol=1e-6)
    slopes = correlate(x, nn.sobel_x())
    expected = [[0.1, 0, 1.0, 0.8], [0.2, 0, 1.2, 1.1], [0.1, -0.2, 1.7, 1.7], [0, -0.4, 2.0, 1.8]]
    np.testing.assert_allclose(slopes, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 5, 2)], ids=str)
def test_gaussian(shape):
    kernel = jax.jit(lambda sigma: nn.gaussian_kernel(shape, sigma))(1.3)
    offsets = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    expected = np.exp(-sum(o**2 for o in offsets) / (2 * 1.3**2))
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-6)


def test_gabor_is_scikit_images():
    theirs = pytest.importorskip("skimage.filters").gabor_kernel
    ours = jax.jit(nn.gabor_kernel, static_argnums=0)
    for theta, phase in ((0.0, 0.0), (0.6, 1.1), (-2.0, 0.0), (np.pi / 2, -0.5)):
        kernel = theirs(0.25, theta, sigma_x=1.5, sigma_y=3.0, n_stds=1, offset=phase)
        expected = kernel.real * 2 * np.pi * 1.5 * 3.0
        got = ours(kernel.shape, 4.0, theta, 1.5, 0.5, phase)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_gabor_answers_to_its_texture():
    columns = np.tile(np.cos(2 * np.pi * np.arange(32) / 4), (32, 1)).astype(np.float32)

    @jax.jit
    def energy(image, theta, wavelength):
        answers = [
            nn.cross_correlate(image, nn.gabor_kernel(13, wavelength, theta, 2.0, phase=phase))
            for phase in (0, jnp.pi / 2)
        ]
        return jnp.sqrt(sum(jnp.square(a) for a in answers)).mean()

    along = energy(columns, 0.0, 4.0)
    assert energy(columns.T, jnp.pi / 2, 4.0) == pytest.approx(float(along), rel=1e-4)
    assert energy(columns, jnp.pi / 2, 4.0) < 0.01 * along
    # A kernel tuned to another frequency keeps exp(-(sigma (difference of angular frequencies))^2 / 2).
    kept = energy(columns, 0.0, 8.0) / along
    np.testing.assert_allclose(kept, np.exp(-((2 * (np.pi / 2 - np.pi / 4)) ** 2) / 2), rtol=1e-2)


def test_widths_are_differentiable():
    def weights(sigma, theta):
        return jnp.sum(nn.gaussian_kernel(5, sigma)[0] + nn.gabor_kernel(5, 3.0, theta, sigma)[1])

    here = jnp.array(1.2), jnp.array(0.4)
    gradients = jax.jit(jax.grad(weights, (0, 1)))(*here)
    with jax.enable_x64(True):

        @jax.jit
        def wide(sigma, theta):
            gauss = nn.gaussian_kernel(5, sigma, jnp.float64)[0]
            return jnp.sum(gauss + nn.gabor_kernel(5, 3.0, theta, sigma, dtype=jnp.float64)[1])

        numeric = (
            wide(1.2 + 1e-6, 0.4) - wide(1.2 - 1e-6, 0.4),
            wide(1.2, 0.4 + 1e-6) - wide(1.2, 0.4 - 1e-6),
        )
    np.testing.assert_allclose(gradients, np.array(numeric) / 2e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        pytest.param(lambda: nn.edge_kernel("sobel"), "kind must be one of", id="kind"),
        pytest.param(lambda: nn.box_kernel(0), "kernel_size must be at least 1", id="size"),
        pytest.param(lambda: nn.gaussian_kernel(3, 0.0), "sigma must be positive", id="sigma"),
        pytest.param(
            lambda: nn.gabor_kernel(3, -1.0, 0.0, 1.0), "wavelength must be positive", id="wavelength"
        ),
        pytest.param(lambda: nn.gabor_kernel((3,), 4.0, 0.0, 1.0), "kernel_size must be", id="axes"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()
