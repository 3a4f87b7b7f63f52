"""Depthwise and separable convolutions: PyTorch with gradients, composed kernels, Sobel, published counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def torchs(kernel):
    """[k..., C / G, F] as PyTorch's [F, C / G, k...]."""
    return np.moveaxis(np.asarray(kernel, np.float64), (-1, -2), (0, 1))


def compare(layer, params, x, forward):
    """Values and all gradients of a layer and of a function of PyTorch tensors in float64, to 1e-5."""
    torch = pytest.importorskip("torch")
    leaves, structure = jax.tree.flatten(params)

    def there(a):
        a = torchs(a) if a.ndim > 1 else np.asarray(a, np.float64)
        return torch.tensor(np.ascontiguousarray(a), requires_grad=True)

    tensors = [there(leaf) for leaf in leaves]
    image = torch.tensor(np.moveaxis(np.asarray(x, np.float64), -1, 1).copy(), requires_grad=True)
    y = forward(torch.nn.functional, image, jax.tree.unflatten(structure, tensors))
    g = np.random.default_rng(9).normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(g, dtype=torch.float64))

    @jax.jit
    def run(params, x, g):
        y, pullback = jax.vjp(lambda p, x: layer.apply({"params": p}, x), params, x)
        return y, pullback(g)

    got, (grads, dx) = run(params, x, np.moveaxis(g, 1, -1))
    pairs = [(np.moveaxis(got, -1, 1), y.detach().numpy()), (np.moveaxis(dx, -1, 1), image.grad.numpy())]
    for ours, tensor in zip(jax.tree.leaves(grads), tensors):
        pairs.append((torchs(ours) if ours.ndim > 1 else ours, tensor.grad.numpy()))
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(abs(theirs).max(), 1))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_matches_torch(multiplier):
    maps = 3 * multiplier
    params = {"kernel": normal(1, 3, 2, 1, maps), "bias": normal(2, maps)}
    layer = nn.DepthwiseConv((3, 2), multiplier, strides=(2, 1), padding=1)
    compare(
        layer,
        params,
        normal(0, 2, 6, 5, 3),
        lambda f, x, p: f.conv2d(x, p["kernel"], p["bias"], (2, 1), 1, groups=3),
    )


def test_separable_matches_torch():
    params = {
        "depthwise": {"kernel": normal(1, 3, 3, 1, 6)},
        "pointwise": {"kernel": normal(2, 1, 1, 6, 4), "bias": normal(3, 4)},
    }

    def forward(f, x, p):
        x = f.conv2d(x, p["depthwise"]["kernel"], None, 1, 2, 2, groups=3)
        return f.conv2d(x, p["pointwise"]["kernel"], p["pointwise"]["bias"])

    layer = nn.SeparableConv(4, 3, padding=2, dilation=2, multiplier=2)
    compare(layer, params, normal(0, 2, 6, 5, 3), forward)


def test_spatially_separable_matches_torchs_convolution_with_the_product_of_the_kernels():
    params = {
        "axis_0": {"kernel": normal(1, 3, 1, 2, 4)},
        "axis_1": {"kernel": normal(2, 1, 5, 4, 4), "bias": normal(3, 4)},
    }

    def forward(f, x, p):
        column, row = p["axis_0"]["kernel"][..., 0], p["axis_1"]["kernel"][:, :, 0]  # [M, C, p], [F, M, q]
        kernel = (row[:, :, None, None, :] * column[None, :, :, :, None]).sum(1)  # [F, C, p, q]
        return f.conv2d(x, kernel, p["axis_1"]["bias"], (2, 1), (1, 2))

    layer = nn.SpatiallySeparableConv(4, (3, 5), (2, 1), (1, 2))
    compare(layer, params, normal(0, 2, 6, 5, 2), forward)


def test_spatially_separable_in_three_axes():
    x, kernels = normal(0, 1, 3, 4, 3, 1), [normal(i, 2) for i in range(3)]
    shapes = [(2, 1, 1, 1, 1), (1, 2, 1, 1, 1), (1, 1, 2, 1, 1)]
    params = {f"axis_{i}": {"kernel": k.reshape(s)} for i, (k, s) in enumerate(zip(kernels, shapes))}
    layer = nn.SpatiallySeparableConv(1, (2, 2, 2), padding="VALID", use_bias=False)
    got = layer.apply({"params": params}, x)[0, ..., 0]
    cube = np.einsum("i,j,k->ijk", *kernels)
    expected = np.zeros((2, 3, 2))
    for i, j, k in np.ndindex(expected.shape):
        expected[i, j, k] = (np.asarray(x)[0, i : i + 2, j : j + 2, k : k + 2, 0] * cube).sum()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_sobel_in_six_weights():  # 002-G10
    image = jnp.broadcast_to(jnp.array([10.0, 10, 10, 0, 0, 0]), (6, 6))[None, :, :, None]
    layer = nn.SpatiallySeparableConv(1, 3, padding="VALID", use_bias=False)
    smooth, slope = jnp.array([1.0, 2, 1]), jnp.array([-1.0, 0, 1])

    def apply(column, row):
        params = {
            "axis_0": {"kernel": column.reshape(3, 1, 1, 1)},
            "axis_1": {"kernel": row.reshape(1, 3, 1, 1)},
        }
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 6
        return layer.apply({"params": params}, image)[0, :, :, 0]

    np.testing.assert_array_equal(apply(smooth, slope), [[0, -40, -40, 0]] * 4)
    np.testing.assert_array_equal(apply(-slope, smooth), np.zeros((4, 4)))


def count(layer, channels):
    x = jnp.ones((1, 8, 8, channels))
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(layer.init, jax.random.key(0), x)))


def test_parameter_counts():
    full = nn.conv_param_count(512, 512, 3, use_bias=False)
    separable = count(nn.SeparableConv(512, 3, use_bias=False), 512)
    assert separable == 9 * 512 + 512 * 512  # 004b-2.2
    np.testing.assert_allclose(separable / full, 1 / 512 + 1 / 9, rtol=1e-12)  # 001-1.13
    assert round(separable / full, 5) == 0.11306
    assert count(nn.SeparableConv(7, 5, multiplier=2), 3) == 25 * 6 + 6 * 7 + 7
    assert count(nn.DepthwiseConv(3, 2), 6) == nn.conv_param_count(6, 12, 3, groups=6)
    assert count(nn.SpatiallySeparableConv(8, 3), 4) == 3 * 4 * 8 + 3 * 8 * 8 + 8
    assert count(nn.GroupedConv(256, 5, 2), 96) == 307_456  # 001-1.8, second layer of AlexNet


IMAGE = jnp.ones((1, 6, 6, 2))


@pytest.mark.parametrize(
    ("layer", "x", "error", "match"),
    [
        pytest.param(nn.DepthwiseConv(3, 0), IMAGE, ValueError, "multiplier must be at least 1", id="maps"),
        pytest.param(nn.DepthwiseConv(3), IMAGE[0], ValueError, "x must have rank 4", id="rank"),
        pytest.param(nn.DepthwiseConv(3), IMAGE.astype(int), TypeError, "x must be floating", id="dtype"),
        pytest.param(nn.SeparableConv(0, 3), IMAGE, ValueError, "features must be at least 1", id="features"),
        pytest.param(
            nn.SpatiallySeparableConv(4, 7, padding="VALID"), IMAGE, ValueError, "kernel_size must", id="size"
        ),
        pytest.param(
            nn.SpatiallySeparableConv(4, 3, padding=(1,)), IMAGE, ValueError, "padding must have", id="pairs"
        ),
    ],
)
def test_bad_input(layer, x, error, match, key):
    with pytest.raises(error, match=match):
        jax.eval_shape(layer.init, key, x)
