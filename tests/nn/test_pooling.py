"""Pooling: worked numbers, PyTorch with gradients, linen."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def image(rows):
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


G3 = [[0.1, 0, 1, 0.4], [0, 0.5, 0.4, 1.6], [0.3, 0.2, 1.7, 1.1], [0.2, 0.4, 1.1, 1.7]]
G4 = [[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]
G14 = [[3, 2, 0, 0], [0, 7, 1, 3], [5, 2, 3, 0], [0, 9, 2, 3]]
G11 = [[6, 2, 2, 3], [4, 6, 6, 8], [3, 1, 1, 0], [1, 2, 2, 4]]
G12 = [[4, 3, 1, 5], [1, 3, 4, 8], [4, 5, 4, 3], [6, 5, 9, 4]]
M = [[1, 3, 2, 9], [5, 6, 1, 7], [4, 2, 8, 6], [3, 5, 7, 2]]


@pytest.mark.parametrize(
    ("function", "rows", "strides", "expected"),
    [
        pytest.param(nn.max_pool, G3, None, [[0.5, 1.6], [0.4, 1.7]], id="001-G3-max"),
        pytest.param(nn.sum_pool, G3, None, [[0.6, 3.4], [1.1, 5.6]], id="001-G3-sum"),
        pytest.param(nn.average_pool, G3, None, [[0.15, 0.85], [0.275, 1.4]], id="001-G3-average"),
        pytest.param(nn.max_pool, G4, None, [[6, 8], [3, 4]], id="001-G4-max"),
        pytest.param(nn.sum_pool, G4, None, [[13, 21], [8, 8]], id="001-G4-sum"),
        pytest.param(nn.average_pool, G4, None, [[3.25, 5.25], [2, 2]], id="001-G4-average"),
        pytest.param(nn.max_pool, G14, None, [[7, 3], [9, 3]], id="000-G14-max"),
        pytest.param(nn.average_pool, G14, None, [[3, 1], [4, 2]], id="000-G14-average"),
        pytest.param(nn.sum_pool, G14, None, [[12, 4], [16, 8]], id="000-G14-sum"),
        pytest.param(nn.max_pool, G11, None, [[6, 8], [3, 4]], id="002-G11"),
        pytest.param(nn.average_pool, G12, None, [[2.75, 4.5], [5, 5]], id="002-G12-average"),
        pytest.param(nn.max_pool, G12, None, [[4, 8], [6, 9]], id="002-G12-max"),
        pytest.param(nn.max_pool, M, None, [[6, 9], [5, 8]], id="004b-7.4"),
        pytest.param(nn.average_pool, M, None, [[3.75, 4.75], [3.5, 5.75]], id="004b-7.5"),
        pytest.param(nn.max_pool, M, 1, [[6, 6, 9], [6, 8, 8], [5, 8, 8]], id="004b-7.6-max"),
        pytest.param(
            nn.average_pool,
            M,
            1,
            [[3.75, 3, 4.75], [4.25, 4.25, 5.5], [3.5, 5.5, 5.75]],
            id="004b-7.6-average",
        ),
    ],
)
def test_worked_windows(function, rows, strides, expected):
    got = function(image(rows), 2, strides)
    np.testing.assert_allclose(got[0, :, :, 0], expected, rtol=1e-6)
    reduction = {nn.max_pool: jnp.max, nn.sum_pool: jnp.sum, nn.average_pool: jnp.mean}[function]
    np.testing.assert_allclose(nn.pool(image(rows), reduction, 2, strides)[0, :, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "largest", "mean"),
    [
        pytest.param(G14, 9, 2.5, id="000-G14"),
        pytest.param(M, 9, 4.4375, id="004b-7.6"),
        pytest.param(G12, 9, 4.3125, id="002-G12"),
    ],
)
def test_worked_global(rows, largest, mean):
    x = jnp.concatenate([image(rows), -image(rows)], -1)
    np.testing.assert_allclose(nn.global_max_pool(x), [[largest, -np.min(rows)]])
    np.testing.assert_allclose(nn.global_average_pool(x), [[mean, -mean]])


def check_pooling(x, window, strides, padding):
    """Values and gradients equal PyTorch's, of the maximum and of the mean with and without the padding."""
    torch = pytest.importorskip("torch")
    rank = x.ndim - 2

    @jax.jit
    def ours(x, *weights):
        def pools(x):
            return (
                nn.max_pool(x, window, strides, padding),
                nn.average_pool(x, window, strides, padding),
                nn.average_pool(x, window, strides, padding, count_padding=False),
            )

        y, pullback = jax.vjp(pools, x)
        return y, [pullback(tuple(w * (i == j) for j, w in enumerate(weights)))[0] for i in range(3)]

    names, options = ("max", "avg", "avg"), ({}, {}, {"count_include_pad": False})
    theirs, weight = [], None
    for name, option in zip(names, options):
        there = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
        y = getattr(torch.nn.functional, f"{name}_pool{rank}d")(there, window, strides, padding, **option)
        if weight is None:
            weight = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
        y.backward(torch.tensor(weight))
        theirs.append((y.detach().numpy(), there.grad.numpy()))
    weight = np.moveaxis(weight, 1, -1)
    for y, gradient, (their_y, their_gradient) in zip(*ours(x, weight, weight, weight), theirs):
        np.testing.assert_allclose(np.moveaxis(y, -1, 1), their_y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.moveaxis(gradient, -1, 1), their_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding"),
    [
        pytest.param((8, 6), 2, None, 0, id="touching"),
        pytest.param((9, 7), 2, None, 0, id="touching-with-a-rest"),
        pytest.param((9, 8), (3, 2), None, 0, id="oblong"),
        pytest.param((10, 10), 5, None, 0, id="many-in-a-window"),
        pytest.param((9, 8), 3, 2, 0, id="overlapping"),
        pytest.param((8, 8), 3, 2, 1, id="overlapping-padded"),
        pytest.param((8, 8), 2, None, 1, id="touching-padded"),
        pytest.param((9, 9), 2, 3, 0, id="gaps"),
    ],
)
def test_matches_torch_with_gradients(size, window, strides, padding):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    check_pooling(x, window, strides, padding)


@st.composite
def poolings(draw):
    rank = draw(st.sampled_from([1, 2]))

    def one(*values):
        return tuple(draw(st.sampled_from(values)) for _ in range(rank))

    sizes, window = one(5, 8), one(1, 2, 3)
    strides = window if draw(st.booleans()) else one(1, 2, 3)
    padding = tuple(draw(st.integers(0, f // 2)) for f in window)
    x = np.random.default_rng(0).normal(size=(2, *sizes, 3)).astype(np.float32)
    return x, window, strides, padding


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
@hypothesis.given(poolings())
def test_any_pooling_is_torchs(case):
    check_pooling(*case)


@pytest.mark.slow
@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(poolings())
def test_any_of_many_poolings_is_torchs(case):
    check_pooling(*case)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 0), (0, 1))], ids=str)
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_matches_linen(strides, padding):
    x = jax.random.normal(jax.random.key(0), (2, 8, 9, 3))

    @jax.jit
    def ours(x):
        means = (nn.average_pool(x, 3, strides, padding, counted) for counted in (True, False))
        return nn.max_pool(x, 3, strides, padding), *means

    @jax.jit
    def theirs(x):
        steps = (strides, strides)
        means = (linen.avg_pool(x, (3, 3), steps, padding, counted) for counted in (True, False))
        return linen.max_pool(x, (3, 3), steps, padding), *means

    for a, b in zip(ours(x), theirs(x)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 12, 3), (2, 6, 4, 8, 3)], ids=["one-axis", "three-axes"])
def test_other_ranks(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    window = (2,) * (len(shape) - 2)
    np.testing.assert_allclose(nn.max_pool(x, 2), linen.max_pool(x, window, window))
    np.testing.assert_allclose(nn.average_pool(x, 2), linen.avg_pool(x, window, window), rtol=1e-5, atol=1e-6)
    assert nn.global_average_pool(x).shape == (2, 3)
    jax.test_util.check_grads(jax.jit(lambda x: nn.max_pool(x, 2)), (x,), order=1, atol=1e-2, rtol=1e-2)


def test_equal_maxima_share_the_gradient():
    x = image([[1, 1, 0, 2], [1, 0, 2, 2]])
    gradient = jax.grad(lambda x: (nn.max_pool(x, 2) * jnp.array([3.0, 6.0])[None, None, :, None]).sum())(x)
    np.testing.assert_allclose(gradient[0, :, :, 0], [[1, 1, 0, 2], [1, 0, 2, 2]])
    by_jax = jax.grad(lambda x: (x.reshape(1, 1, 2, 2, 2, 1).max((2, 4))).sum())(x)
    np.testing.assert_allclose(jax.grad(lambda x: nn.max_pool(x, 2).sum())(x), by_jax)


def test_max_pool_second_derivative_and_vmap():
    x = jax.random.normal(jax.random.key(0), (4, 4, 4, 2))

    def f(x):
        return (nn.max_pool(x[None], 2) ** 2).sum()

    hessian = jax.jit(jax.hessian(f))(x[0]).reshape(32, 32)
    np.testing.assert_allclose(hessian, 2 * np.diag(np.diag(hessian) > 0), atol=1e-6)
    assert (np.diag(hessian) > 0).sum() == 8
    gradients = jax.vmap(jax.grad(f))(x)
    np.testing.assert_allclose(gradients[2], jax.grad(f)(x[2]))


def test_max_pool_keeps_bfloat16_and_shows_nan():
    x = jnp.ones((1, 4, 4, 1), jnp.bfloat16)
    assert nn.max_pool(x, 2).dtype == jnp.bfloat16
    assert jax.grad(lambda x: nn.max_pool(x, 2).astype(jnp.float32).sum())(x).dtype == jnp.bfloat16
    assert jnp.isnan(nn.max_pool(x.at[0, 0, 0, 0].set(jnp.nan), 2)[0, 0, 0, 0])


def test_overlapping_sums_accumulate_in_float32():
    """625 ones, of which bfloat16 itself would stop counting at 256."""
    x = jnp.ones((1, 26, 26, 1), jnp.bfloat16)
    for function, expected in ((nn.sum_pool, 624), (nn.average_pool, 1)):  # 624: the nearest in bfloat16
        y = function(x, 25, 1)
        assert y.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.asarray(y, np.float32), np.full((1, 2, 2, 1), expected))


def test_trainable_subsampling_matches_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, scale, bias = (rng.normal(size=s).astype(np.float32) for s in ((2, 6, 4, 3), (3,), (3,)))
    there = [torch.tensor(a, requires_grad=True) for a in (x.transpose(0, 3, 1, 2).copy(), scale, bias)]
    mean = torch.nn.functional.avg_pool2d(there[0], 2)
    y = torch.sigmoid(mean * there[1][:, None, None] + there[2][:, None, None])
    g = rng.normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(g))

    @jax.jit
    def run(p, x, g):
        y, pullback = jax.vjp(lambda p, x: nn.TrainableSubsampling().apply({"params": p}, x), p, x)
        return y, pullback(g)

    got, (grads, dx) = run({"scale": scale, "bias": bias}, x, g.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(got.transpose(0, 3, 1, 2), y.detach().numpy(), rtol=1e-5, atol=1e-6)
    for ours, tensor in zip((dx.transpose(0, 3, 1, 2), grads["scale"], grads["bias"]), there):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_trainable_subsampling_of_lenet():  # 001-1.7
    """S2 and S4: 12 and 32 parameters; a gain of 4 times the paper's, as the paper adds where we average."""
    for maps, size in ((6, 28), (16, 10)):
        shapes = jax.eval_shape(
            nn.TrainableSubsampling().init, jax.random.key(0), jnp.ones((1, size, size, maps))
        )
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2 * maps
    layer = nn.TrainableSubsampling(activation=nn.tanh)
    params = {"scale": jnp.array([4 * 0.25]), "bias": jnp.array([-1.0])}
    got = layer.apply({"params": params}, image(M))[0, :, :, 0]
    np.testing.assert_allclose(got, np.tanh(0.25 * np.array([[15, 19], [14, 23]]) - 1), rtol=1e-5)


def test_pooling_keeps_depth_and_is_equivariant_to_shifts_by_the_window():
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 5))
    for function in (nn.max_pool, nn.average_pool, nn.sum_pool):
        y = function(x, 2)
        assert y.shape == (1, 4, 4, 5)
        np.testing.assert_allclose(function(jnp.roll(x, 2, 1), 2), jnp.roll(y, 1, 1), rtol=1e-6)


def test_pool_takes_any_reduction():
    x = jax.random.normal(jax.random.key(0), (1, 5, 5, 2))
    got = nn.pool(x, jnp.median, 3, 2, 1, padding_value=7.0)
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=7.0)
    for i, j, c in np.ndindex(3, 3, 2):
        window = padded[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, c]
        np.testing.assert_allclose(got[0, i, j, c], np.median(window), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(lambda: nn.max_pool(jnp.ones((4, 4)), 2), ValueError, "x must have rank", id="rank"),
        pytest.param(lambda: nn.max_pool(jnp.ones((1, 4, 4, 1), int), 2), TypeError, "floating", id="dtype"),
        pytest.param(lambda: nn.max_pool(image(M), 5), ValueError, "window must fit", id="window"),
        pytest.param(lambda: nn.max_pool(image(M), 0), ValueError, "window must be at least 1", id="zero"),
        pytest.param(
            lambda: nn.sum_pool(image(M), (2, 2, 2)), ValueError, "window must be an int", id="axes"
        ),
        pytest.param(lambda: nn.average_pool(image(M), 2, 0), ValueError, "strides must be", id="strides"),
        pytest.param(lambda: nn.max_pool(image(M), 2, 2, 2), ValueError, "smaller than the window", id="pad"),
        pytest.param(
            lambda: nn.pool(image(M), jnp.max, 2, 2, "same"), ValueError, "padding must be", id="name"
        ),
        pytest.param(
            lambda: nn.global_max_pool(jnp.ones((2, 3))), ValueError, "x must have rank", id="global"
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
