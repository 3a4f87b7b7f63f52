"""Convolution of arrays: published numbers, SciPy, PyTorch, NumPy enumeration, closed forms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import backends, nn

PIXELS = np.array(
    [
        [0, 0, 0, 0, 0.2, 0],
        [0, 0, 0, 0, 0.2, 0.3],
        [0, 0, 0.1, 0, 0.5, 0.2],
        [0, 0.2, 0, 0.2, 0.2, 0.6],
        [0, 0.2, 0, 0, 0.9, 0.7],
        [0, 0, 0, 0, 0, 0],
    ]
)
CROSS = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
HALVES = np.tile([10, 10, 10, 0, 0, 0], (6, 1))
NINE, FOUR = [[0, 1, 2], [3, 4, 5], [6, 7, 8]], [[0, 1], [2, 3]]
VERTICAL = [[1, 0, -1]] * 3
STEP = np.tile([0, 0, 0, 1, 1, 1], (6, 1))
EIGHT = [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]


def f32(values):
    return jnp.asarray(np.asarray(values, np.float32))


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(got, expected, tolerance=1e-5):
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def run(function, *arrays, **static):
    return jax.jit(functools.partial(function, **static))(*map(f32, arrays))


CROSS_CORRELATIONS = [
    pytest.param(
        PIXELS,
        CROSS,
        {},
        [[0.1, 0, 0.8, 0.4], [0, 0.5, 0.4, 1.6], [0.3, 0.2, 1.7, 1.1], [0.2, 0.4, 0.2, 1.7]],
        id="001-G5",
    ),
    pytest.param(PIXELS, CROSS, {"strides": 2}, [[0.1, 0.8], [0.3, 1.7]], id="001-G5-stride-2"),
    pytest.param(PIXELS, CROSS, {"strides": 3}, [[0.1, 0.4], [0.2, 1.7]], id="001-G5-stride-3"),
    pytest.param(
        PIXELS,
        CROSS,
        {"padding": "SAME"},
        [
            [0, 0, 0, 0.2, 0.5, 0.2],
            [0, 0.1, 0, 0.8, 0.4, 1.0],
            [0.2, 0, 0.5, 0.4, 1.6, 0.6],
            [0.2, 0.3, 0.2, 1.7, 1.1, 2.0],
            [0.2, 0.2, 0.4, 0.2, 1.7, 0.9],
            [0.2, 0, 0.2, 0.9, 0.7, 0.9],
        ],
        id="001-G5-same",
    ),
    pytest.param(HALVES, VERTICAL, {}, [[0, 30, 30, 0]] * 4, id="002-G1"),
    pytest.param(
        NINE,
        FOUR,
        {"padding": 1},
        [[0, 3, 8, 4], [9, 19, 25, 10], [21, 37, 43, 16], [6, 7, 8, 0]],
        id="002-G2",
    ),
    pytest.param(NINE, FOUR, {}, [[19, 25], [37, 43]], id="002-G2-valid"),
    pytest.param(NINE, FOUR, {"padding": 1, "strides": 2}, [[0, 8], [21, 43]], id="002-G2-stride"),
    pytest.param(np.arange(25).reshape(5, 5), VERTICAL, {"dilation": 2}, [[-12]], id="002-D16"),
    pytest.param(
        np.ones((5, 5)),
        EIGHT,
        {"padding": "SAME"},
        [[5, 3, 3, 3, 5], *[[3, 0, 0, 0, 3]] * 3, [5, 3, 3, 3, 5]],
        id="004a-7.14c-ones",
    ),
    pytest.param(
        STEP,
        EIGHT,
        {"padding": "SAME"},
        [[0, 0, -2, 5, 3, 5], *[[0, 0, -3, 3, 0, 3]] * 4, [0, 0, -2, 5, 3, 5]],
        id="004a-7.14c-step",
    ),
]


@pytest.mark.parametrize(("x", "kernel", "static", "expected"), CROSS_CORRELATIONS)
def test_published_cross_correlations(x, kernel, static, expected):
    close(run(nn.cross_correlate, x, kernel, **static), expected, 1e-6)


@pytest.mark.parametrize(
    ("x", "kernel", "static", "expected"),
    [
        pytest.param(HALVES, VERTICAL, {}, [[0, -30, -30, 0]] * 4, id="002-G1"),
        pytest.param(
            NINE,
            FOUR,
            {"padding": 1},
            [[0, 0, 1, 2], [0, 5, 11, 11], [6, 23, 29, 23], [12, 32, 37, 24]],
            id="002-G2",
        ),
        pytest.param(
            [1, 2, 3, 4], [1, 0, -1, 2], {"padding": "FULL"}, [1, 2, 2, 4, 1, 2, 8], id="002-G37-D14"
        ),
        pytest.param(
            [1, 2, 3], [0, 1, 0.5], {"padding": "FULL"}, [0, 1, 2.5, 4, 1.5], id="002-D14-one-delayed"
        ),
        pytest.param(
            [0, 1, 2, 3],
            [0, 0, 1, 0.5],
            {"padding": "FULL"},
            [0, 0, 0, 1, 2.5, 4, 1.5],
            id="002-D14-both-delayed-by-one",
        ),
    ],
)
def test_published_convolutions(x, kernel, static, expected):
    close(run(nn.convolve, x, kernel, **static), expected, 1e-6)


def test_from_pixels_to_pooled_maps():  # 001-G5, 004a-7.14c
    def chain(x, kernel, padding):
        maps = nn.cross_correlate(x, kernel, padding=padding)
        return nn.max_pool(jax.nn.relu(maps)[None, ..., None], 2)[0, ..., 0]

    close(run(chain, PIXELS, CROSS, padding="VALID"), [[0.5, 1.6], [0.4, 1.7]], 1e-6)
    close(run(chain, STEP, EIGHT, padding="SAME"), [[0, 5, 5], [0, 3, 3], [0, 5, 5]], 1e-6)
    shape = jax.eval_shape(functools.partial(chain, padding="SAME"), jnp.zeros((300, 300)), f32(EIGHT)).shape
    assert shape == (150, 150)


def test_adjoint():  # 002-D15
    x, kernel, y = [1, 2, 3, 4], [1, 0, -1], [2, 1, 0, -1, 3, 1]
    assert np.vdot(run(nn.convolve, x, kernel, padding="FULL"), y) == -11
    assert np.vdot(x, run(nn.cross_correlate, y, kernel)) == -11


def test_algebra():  # 002-2
    f, g, h, other = normal(0, 6, 5), normal(1, 3, 2), normal(2, 2, 3), normal(3, 6, 5)

    @jax.jit
    def forms(f, g, h, other):
        full = functools.partial(nn.convolve, padding="FULL")
        return {
            "commutative": (full(f, g), full(g, f)),
            "cascade": (full(full(f, g), h), full(f, full(g, h))),
            "linear": (full(2 * f - 3 * other, g), 2 * full(f, g) - 3 * full(other, g)),
        }

    for one, two in forms(f, g, h, other).values():
        close(one, two)


@pytest.mark.parametrize(
    ("size", "window"),
    [((11,), (4,)), ((5, 4, 6), (3, 3, 1)), ((4, 3, 5, 4), (2, 3, 2, 1))],
    ids=["1d", "3d", "4d"],
)
def test_scipy_on_any_number_of_axes(size, window):
    signal = pytest.importorskip("scipy.signal")
    x, kernel, grad = normal(0, *size), normal(1, *window), normal(2, *size)

    @jax.jit
    def forms(x, kernel, grad):
        same, pullback = jax.vjp(lambda x, k: nn.convolve(x, k, padding="SAME"), x, kernel)
        full = nn.convolve(x, kernel, padding="FULL")
        return full, nn.cross_correlate(x, kernel), same, *pullback(grad)

    full, valid, same, dx, dkernel = forms(x, kernel, grad)
    x, kernel, grad = (a.astype(np.float64) for a in (x, kernel, grad))
    expected = signal.convolve(x, kernel, "full", method="direct")
    close(full, expected)
    close(valid, signal.correlate(x, kernel, "valid", method="direct"))
    # SciPy's 'same' begins at (k - 1) // 2 of the full result: that is ours for odd kernels, one less for even.
    middle = tuple(slice(k // 2, k // 2 + n) for n, k in zip(size, window))
    close(same, expected[middle])
    if all(k % 2 for k in window):
        close(same, signal.convolve(x, kernel, "same", method="direct"))
    spread = np.zeros_like(expected)
    spread[middle] = grad
    close(dx, signal.correlate(spread, kernel, "valid", method="direct"))
    close(dkernel, signal.correlate(spread, x, "valid", method="direct"))


def test_groups_on_four_axes():
    x, kernel = normal(0, 2, 3, 4, 3, 4, 4), normal(1, 2, 2, 1, 3, 2, 6)
    got = run(nn.cross_correlate, x, kernel, strides=(1, 2, 1, 1), groups=2, channels=True)
    expected = np.zeros((2, 2, 2, 3, 2, 6))
    for i, j, k, l in itertools.product(range(2), range(2), range(3), range(2)):
        patch = x[:, i : i + 2, 2 * j : 2 * j + 2, k : k + 1, l : l + 3]
        for group in range(2):
            expected[:, i, j, k, l, 3 * group : 3 * group + 3] = np.einsum(
                "bpqrsc,pqrscf->bf",
                patch[..., 2 * group : 2 * group + 2],
                kernel[..., 3 * group : 3 * group + 3],
            )
    close(got, expected)


# input [B, ..., C], kernel [..., C / groups, F], ours, theirs
CHANNELS = [
    pytest.param((2, 12, 4), (3, 4, 5), {"strides": 2, "padding": 2}, {"stride": 2, "padding": 2}, id="1d"),
    pytest.param(
        (1, 11, 4),
        (5, 2, 6),
        {"padding": "SAME", "groups": 2},
        {"padding": "same", "groups": 2},
        id="1d-same",
    ),
    pytest.param(
        (2, 9, 8, 3),
        (3, 2, 3, 4),
        {"strides": (2, 1), "padding": (1, 2), "dilation": (2, 3)},
        {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 3)},
        id="2d",
    ),
    pytest.param(
        (2, 7, 8, 8),
        (3, 3, 1, 16),
        {"padding": 1, "groups": 8},
        {"padding": 1, "groups": 8},
        id="2d-depthwise",
    ),
    pytest.param(
        (1, 8, 7, 6),
        (2, 3, 3, 4),
        {"dilation": 2, "groups": 2, "strides": 2},
        {"dilation": 2, "groups": 2, "stride": 2},
        id="2d-groups-dilation-stride",
    ),
    pytest.param(
        (1, 5, 6, 4, 2),
        (2, 3, 2, 2, 3),
        {"strides": (1, 2, 1), "padding": 1},
        {"stride": (1, 2, 1), "padding": 1},
        id="3d",
    ),
]


def from_torch(flipped, x, kernel, theirs):
    """Values and gradients of torch's convN, in our order of axes."""
    torch = pytest.importorskip("torch")
    rank = x.ndim - 2
    flips = tuple(range(rank))
    kernel = np.flip(kernel, flips) if flipped else kernel
    there = [
        torch.tensor(np.ascontiguousarray(a), requires_grad=True)
        for a in (np.moveaxis(x, -1, 1), np.moveaxis(kernel, (-1, -2), (0, 1)))
    ]
    y = getattr(torch.nn.functional, f"conv{rank}d")(*there, **theirs)
    grad = np.random.default_rng(5).normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(grad))
    dx, dkernel = (a.grad.numpy() for a in there)
    dkernel = np.moveaxis(dkernel, (0, 1), (-1, -2))
    dkernel = np.flip(dkernel, flips) if flipped else dkernel
    back = (np.moveaxis(a, 1, -1) for a in (y.detach().numpy(), grad, dx))
    return *back, dkernel


@pytest.mark.parametrize(("shape", "kernel_shape", "ours", "theirs"), CHANNELS)
def test_channels_match_torch(shape, kernel_shape, ours, theirs):
    x, kernel = normal(0, *shape), normal(1, *kernel_shape)
    function = nn.cross_correlate if shape[0] == 1 else nn.convolve  # the wider half of the table flips
    y, grad, dx, dkernel = from_torch(function is nn.convolve, x, kernel, theirs)

    @jax.jit
    def forms(x, kernel, grad):
        y, pullback = jax.vjp(functools.partial(function, channels=True, **ours), x, kernel)
        return y, *pullback(grad)

    for got, expected in zip(forms(x, kernel, grad), (y, dx, dkernel)):
        close(got, expected, 2e-5)  # sums of up to 100 products


AXES = st.lists(
    st.tuples(
        st.integers(4, 9),  # n
        st.integers(1, 3),  # k
        st.integers(1, 3),  # s
        st.integers(1, 2),  # d
        st.tuples(st.integers(0, 3), st.integers(0, 3)),  # padding
    ).filter(lambda axis: (axis[1] - 1) * axis[3] + 1 <= axis[0] + sum(axis[4])),
    min_size=1,
    max_size=3,
)


def any_geometry_matches_torch(axes, groups, widths):
    sizes, window, strides, dilation, pairs = zip(*axes)
    x = normal(0, 1, *sizes, groups * widths[0])
    kernel = normal(1, *window, widths[0], groups * widths[1])
    around = ((0, 0), *pairs, (0, 0))
    theirs = {"stride": strides, "dilation": dilation, "groups": groups}
    expected, grad, dx, dkernel = from_torch(False, np.pad(x, around), kernel, theirs)
    dx = dx[tuple(slice(low, low + n) for n, (low, _) in zip(x.shape, around))]
    static = dict(zip(("strides", "padding", "dilation", "groups"), (strides, pairs, dilation, groups)))

    @jax.jit
    def forms(x, kernel, grad):
        y, pullback = jax.vjp(functools.partial(nn.cross_correlate, channels=True, **static), x, kernel)
        return y, *pullback(grad)

    for got, there in zip(forms(x, kernel, grad), (expected, dx, dkernel)):
        close(got, there, 5e-5)
    outs = (
        nn.conv_output_size(n, k, s, pair, d)
        for n, k, s, d, pair in zip(sizes, window, strides, dilation, pairs)
    )
    assert tuple(outs) == expected.shape[1:-1]


GEOMETRY = given(axes=AXES, groups=st.integers(1, 3), widths=st.tuples(st.integers(1, 3), st.integers(1, 2)))


@settings(max_examples=5, deadline=None, derandomize=True)
@GEOMETRY
def test_any_geometry_matches_torch(axes, groups, widths):
    any_geometry_matches_torch(axes, groups, widths)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@GEOMETRY
def test_every_geometry_matches_torch(axes, groups, widths):
    any_geometry_matches_torch(axes, groups, widths)


def test_is_the_layer_without_its_parameters():
    layer = nn.Conv(6, 3, (1, 2), "SAME", 2, 2, use_bias=False)

    @jax.jit
    def both(x, kernel):
        y = nn.cross_correlate(x, kernel, (1, 2), "SAME", 2, 2, channels=True)
        return y, layer.apply({"params": {"kernel": kernel}}, x)

    y, expected = both(normal(0, 2, 7, 6, 4), normal(1, 3, 3, 2, 6))
    close(y, expected, 1e-6)


def test_long_signals_and_large_kernels_compile_to_little():
    signal = pytest.importorskip("scipy.signal")
    for n, k in ((48_000, 5), (2_000, 600)):
        x, kernel = normal(0, n), normal(1, k)
        lowered = jax.jit(nn.convolve).lower(f32(x), f32(kernel))
        assert lowered.as_text().count("\n") < 100
        close(lowered.compile()(f32(x), f32(kernel)), signal.convolve(x, kernel, "valid"), 1e-4)


@pytest.mark.parametrize(
    ("ours", "numpys", "torchs"),
    [("zero", "constant", "constant"), ("reflect", "reflect", "reflect"), ("replicate", "edge", "replicate")],
)
def test_pad(ours, numpys, torchs):
    torch = pytest.importorskip("torch")
    x, pairs = normal(0, 2, 4, 5, 3), ((2, 1), (0, 4))

    @jax.jit
    def forms(x, weight):
        y, pullback = jax.vjp(lambda x: nn.pad(x, pairs, ours, channels=True), x)
        return y, *pullback(weight), nn.pad(x[0, ..., 0], 2, ours)

    weight = normal(1, 2, 7, 9, 3)
    y, dx, plain = forms(x, weight)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), *pairs, (0, 0)), numpys))
    np.testing.assert_array_equal(plain, np.pad(x[0, ..., 0], 2, numpys))
    there = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    torch.nn.functional.pad(there, (0, 4, 2, 1), torchs).backward(
        torch.tensor(np.moveaxis(weight, -1, 1).copy())
    )
    close(dx, np.moveaxis(there.grad.numpy(), 1, -1), 1e-6)
    integers = nn.pad(jnp.arange(3), 2, ours)
    np.testing.assert_array_equal(integers, np.pad(np.arange(3), 2, numpys))


def test_fir_filter_is_scipys():
    signal = pytest.importorskip("scipy.signal")
    x, taps, grad = normal(0, 2, 9, 3), normal(1, 4), normal(2, 2, 9, 3)

    @jax.jit
    def forms(x, taps, grad):
        y, pullback = jax.vjp(lambda x, taps: nn.fir_filter(x, taps, axis=-2), x, taps)
        return y, *pullback(grad), nn.fir_filter(x[0, :2, 0], taps)

    y, dx, dtaps, short = forms(x, taps, grad)
    close(y, signal.lfilter(taps, 1, x, axis=1))
    close(dx, signal.lfilter(taps, 1, grad[:, ::-1], axis=1)[:, ::-1])  # the adjoint runs back in time
    delayed = [np.sum(grad[:, k:] * x[:, : 9 - k], dtype=np.float64) for k in range(4)]
    close(dtaps, delayed)
    close(short, signal.lfilter(taps, 1, x[0, :2, 0]))  # shorter than the filter


def test_circular_convolution():
    f, g = [1, 2, 3, 4], [1, 0, -1, 2]
    printed = [sum(f[k] * g[(n + k) % 4] for k in range(4)) for n in range(4)]
    assert printed == [6, 8, 6, 0]  # 002-D14: g(t + u) instead of g(t - u)
    x, kernel = normal(0, 5, 4), normal(1, 2, 3)
    expected = np.zeros((5, 4))
    for i, j, p, q in np.ndindex(5, 4, 2, 3):
        expected[i, j] += kernel[p, q] * x[i - p, j - q]
    weight = normal(2, 5, 4)
    dx, dkernel = np.zeros((5, 4)), np.zeros((2, 3))
    for i, j, p, q in np.ndindex(5, 4, 2, 3):
        dx[i - p, j - q] += kernel[p, q] * weight[i, j]
        dkernel[p, q] += x[i - p, j - q] * weight[i, j]
    for method in ("direct", "fft"):
        close(run(nn.circular_convolve, f, g, method=method), [2, 4, 10, 4], 1e-6)  # 002-G37, D14

        @jax.jit
        def forms(x, kernel, weight, method=method):
            y, pullback = jax.vjp(lambda x, k: nn.circular_convolve(x, k, method), x, kernel)
            return y, *pullback(weight)

        for got, there in zip(forms(x, kernel, weight), (expected, dx, dkernel)):
            close(got, there)


def test_deconvolve_inverts_like_scipy():
    signal = pytest.importorskip("scipy.signal")
    kernel, noisy = np.array([2, -1, 0.5], np.float32), normal(0, 9)
    quotient, _ = signal.deconvolve(noisy.astype(np.float64), kernel.astype(np.float64))
    x = normal(1, 7)

    @jax.jit
    def forms(x, kernel, noisy):
        y = nn.convolve(x, kernel, padding="FULL")
        grads = jax.grad(lambda y, k: nn.deconvolve(y, k) @ jnp.arange(7.0), (0, 1))(noisy, kernel)
        fourier = nn.deconvolve(y, kernel, "fft")
        return nn.deconvolve(y, kernel), fourier, nn.deconvolve(noisy, kernel), grads

    direct, fourier, ours, (dy, dkernel) = forms(x, kernel, noisy)
    close(direct, x)
    close(fourier, x)
    close(ours, quotient)
    # x = A^-1 y with A the lower triangle of the kernel, so dy = A^-T g and dA = -dy x^T.
    matrix = sum(np.eye(7, k=-i) * w for i, w in enumerate(kernel.astype(np.float64)))
    expected = np.linalg.solve(matrix.T, np.arange(7.0))
    close(dy, [*expected, 0, 0])
    close(dkernel, [-sum(expected[i + k] * quotient[i] for i in range(7 - k)) for k in range(3)], 2e-5)
    close(nn.deconvolve(f32([2, 4, 6]), f32([2])), [1, 2, 3])


def test_deconvolve_pictures():
    x, blur = normal(0, 6, 5), np.array([[4, 1], [1, 0.5]], np.float32)

    @jax.jit
    def forms(x, blur, difference):
        undone = nn.deconvolve(nn.convolve(x, blur, padding="FULL"), blur, "fft")
        flat = nn.convolve(x, difference, padding="FULL")  # has no mean left
        return undone, flat, nn.deconvolve(flat, difference, "fft", 1e-2)

    undone, flat, wiener = forms(x, blur, f32([[1, -1]]))
    close(undone, x)
    spectrum, response = np.fft.fft2(flat), np.fft.fft2([[1, -1]], flat.shape)
    expected = np.fft.ifft2(spectrum * response.conj() / (abs(response) ** 2 + 1e-2)).real[:, :-1]
    close(wiener, expected)
    assert not np.isfinite(nn.deconvolve(flat, f32([[1, -1]]), "fft")).any()


def bell(variance):
    return lambda u: jnp.exp(-(u**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def test_continuous_convolution():
    integrate = pytest.importorskip("scipy.integrate")
    t = f32([-1.0, 0.0, 0.5, 2.0, 7.0])

    def decay(u):
        return jnp.exp(-u)

    @jax.jit
    def forms(t):
        causal, slope = jax.jvp(lambda t: nn.continuous_convolve(decay, decay, t), (t,), (jnp.ones_like(t),))
        two_sided, climb = jax.jvp(
            lambda t: nn.continuous_convolve(bell(0.5), bell(1.5), t, (-6, 6)), (t,), (jnp.ones_like(t),)
        )
        other = nn.continuous_convolve(jnp.cos, lambda u: u * jnp.exp(-u), t)
        square = nn.continuous_convolve(
            lambda u: jnp.where(abs(u) < 0.5, 1.0, 0.0),
            lambda u: jnp.where(abs(u) < 0.5, 1.0, 0.0),
            t,
            (-0.5, 0.5),
        )
        return causal, slope, two_sided, climb, other, square

    causal, slope, two_sided, climb, other, square = forms(t)
    u = np.maximum(np.asarray(t, np.float64), 0)
    close(causal, u * np.exp(-u), 1e-6)
    close(slope[2:], ((1 - u) * np.exp(-u))[2:], 1e-6)
    assert slope[0] == 0
    u = np.asarray(t, np.float64)
    density = np.exp(-(u**2) / 4) / np.sqrt(4 * np.pi)  # variances add
    close(two_sided, density, 1e-6)
    close(climb, -u / 2 * density, 1e-6)
    quad = [integrate.quad(lambda u, t=t: np.cos(u) * (t - u) * np.exp(u - t), 0, t)[0] for t in u[1:]]
    close(other, [0, *quad], 1e-6)
    np.testing.assert_allclose(square, np.maximum(1 - abs(u), 0), atol=1 / 64)  # a jump costs a panel


def test_continuous_convolution_shifts():  # 002-G37
    def delayed(f, by):
        return lambda u: f(u - by)

    @jax.jit
    def forms(t):
        f, g = bell(0.5), bell(1.0)
        plain = nn.continuous_convolve(f, g, t - 2, (-6, 8))
        once = nn.continuous_convolve(f, delayed(g, 2), t, (-6, 8))
        return plain, once, nn.continuous_convolve(delayed(f, 1), delayed(g, 1), t, (-6, 8))

    plain, once, both = forms(jnp.linspace(-1, 3, 7).reshape(7, 1))
    assert plain.shape == (7, 1)
    close(once, plain, 1e-6)
    close(both, plain, 1e-6)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        pytest.param(nn.cross_correlate, [(6,), (3,)], id="cross_correlate"),
        pytest.param(lambda x, k: nn.convolve(x, k, padding="CAUSAL"), [(6,), (3,)], id="convolve"),
        pytest.param(
            lambda x, k: nn.cross_correlate(x, k, channels=True), [(1, 6, 7), (3, 7, 2)], id="channels"
        ),
        pytest.param(lambda x: nn.pad(x, 2, "reflect"), [(6,)], id="pad"),
        pytest.param(nn.fir_filter, [(6,), (3,)], id="fir_filter"),
        pytest.param(nn.circular_convolve, [(6,), (6,)], id="circular_convolve"),
        pytest.param(lambda y, k: nn.deconvolve(y, k + 4, "fft"), [(6,), (3,)], id="deconvolve-fft"),
        pytest.param(lambda y, k: nn.deconvolve(y, k + 4), [(6,), (2,)], id="deconvolve"),
        pytest.param(lambda t: nn.continuous_convolve(jnp.cos, jnp.cos, t), [(6,)], id="continuous_convolve"),
    ],
)
def test_eager_jit_vmap_and_bfloat16(function, shapes):
    arrays = [f32(normal(i, 2, *shape)) for i, shape in enumerate(shapes)]
    with backends.plain_forms():  # few operations to compile one by one
        eager = function(*(a[1] for a in arrays))
    mapped, half = jax.jit(
        lambda *a: (jax.vmap(function)(*a), function(*(b[1].astype(jnp.bfloat16) for b in a)))
    )(*arrays)
    close(mapped[1], eager)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), eager, rtol=0.05, atol=0.05)


X = jnp.zeros((4, 4))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(lambda: nn.convolve(X.astype(int), X), TypeError, "x must be floating", id="integers"),
        pytest.param(lambda: nn.convolve(X, X[0]), ValueError, "kernel must have rank 2", id="rank"),
        pytest.param(lambda: nn.convolve(X[0, 0], X), ValueError, "x must have rank 1 or more", id="scalar"),
        pytest.param(lambda: nn.convolve(X, X[:0]), ValueError, "kernel must not be empty", id="empty"),
        pytest.param(lambda: nn.convolve(X, X, groups=2), ValueError, "groups must be 1", id="plain-groups"),
        pytest.param(
            lambda: nn.cross_correlate(X, X, channels=True),
            ValueError,
            "x must have rank 3",
            id="no-channels",
        ),
        pytest.param(
            lambda: nn.cross_correlate(X[None], jnp.zeros((2, 3, 2)), channels=True),
            ValueError,
            "kernel must have shape",
            id="channels",
        ),
        pytest.param(
            lambda: nn.cross_correlate(X[None], jnp.zeros((2, 2, 3)), groups=2, channels=True),
            ValueError,
            "features must be a multiple of groups",
            id="groups",
        ),
        pytest.param(lambda: nn.convolve(X[:2], X), ValueError, "kernel must fit", id="kernel"),
        pytest.param(
            lambda: nn.convolve(X, X, padding="same"), ValueError, "padding must be one", id="string"
        ),
        pytest.param(
            lambda: nn.convolve(X, X, padding="CAUSAL"), ValueError, "must have one axis", id="causal"
        ),
        pytest.param(lambda: nn.convolve(X, X, 0), ValueError, "strides must be at least 1", id="strides"),
        pytest.param(lambda: nn.pad(X, "SAME"), ValueError, "padding must be an integer", id="pad-string"),
        pytest.param(lambda: nn.pad(X, 1, "wrap"), ValueError, "mode must be one of", id="pad-mode"),
        pytest.param(lambda: nn.pad(X, -1), ValueError, "padding must be at least 0", id="pad-negative"),
        pytest.param(lambda: nn.pad(X, 4, "reflect"), ValueError, "padding must be less", id="pad-reflect"),
        pytest.param(lambda: nn.fir_filter(X, X), ValueError, "taps must have rank 1", id="taps"),
        pytest.param(lambda: nn.fir_filter(X, X[0], 2), ValueError, "axis must be between", id="axis"),
        pytest.param(lambda: nn.circular_convolve(X, X, "no"), ValueError, "method must be one", id="method"),
        pytest.param(
            lambda: nn.circular_convolve(X[:3], X), ValueError, "kernel must be no larger", id="circular-size"
        ),
        pytest.param(lambda: nn.deconvolve(X, X), ValueError, "y must have rank 1", id="division-in-2d"),
        pytest.param(
            lambda: nn.deconvolve(X[0], X[0], regularization=1.0),
            ValueError,
            "regularization must be 0",
            id="r",
        ),
        pytest.param(
            lambda: nn.deconvolve(X[0], X[0], "fft", -1.0),
            ValueError,
            "regularization must be",
            id="r-negative",
        ),
        pytest.param(
            lambda: nn.continuous_convolve(jnp.cos, jnp.cos, X, (1, 1)),
            ValueError,
            "width of interval",
            id="width",
        ),
        pytest.param(
            lambda: nn.continuous_convolve(jnp.cos, jnp.cos, X, (0, float("inf"))),
            ValueError,
            "width of interval",
            id="infinite",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
