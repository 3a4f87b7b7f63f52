"""Dense and Sequential."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (2, 1, 4, 3), (0, 3)], ids=str)
def test_dense_equals_linens(shape, key):
    x = jax.random.normal(key, shape)
    ours, theirs = nn.Dense(7, bias_init=nn.normal_init(1.0)), linen.Dense(7)
    variables = ours.init(key, x)
    y = ours.apply(variables, x)
    assert y.shape == (*shape[:-1], 7)
    np.testing.assert_allclose(y, theirs.apply(variables, x), rtol=1e-6, atol=1e-6)
    weight = jax.random.normal(jax.random.key(1), y.shape)

    def gradients(layer):
        return jax.jit(jax.grad(lambda v, x: (layer.apply(v, x) * weight).sum(), (0, 1)))(variables, x)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        gradients(ours),
        gradients(theirs),
    )


def test_dense_matches_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w, b, g = (rng.normal(size=s).astype(np.float32) for s in ((6, 5), (5, 4), (4,), (6, 4)))
    there = [torch.tensor(a, requires_grad=True) for a in (x, w.T.copy(), b)]
    y = torch.nn.functional.linear(*there)
    y.backward(torch.tensor(g))
    params = {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)}
    ours, pullback = jax.vjp(lambda p, x: nn.Dense(4).apply({"params": p}, x), params, jnp.asarray(x))
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=1e-5, atol=1e-6)
    grads, dx = pullback(jnp.asarray(g))
    np.testing.assert_allclose(dx, there[0].grad.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads["kernel"], there[1].grad.numpy().T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads["bias"], there[2].grad.numpy(), rtol=1e-5, atol=1e-6)


def test_dense_in_forward_mode_second_order_and_vmap(key):
    x, layer = jax.random.normal(key, (3, 4)), nn.Dense(2)
    variables = layer.init(key, x)

    def f(kernel, x):
        return jnp.tanh(layer.apply({"params": {**variables["params"], "kernel": kernel}}, x)).sum()

    def plain(kernel, x):
        return jnp.tanh(x @ kernel).sum()

    kernel = variables["params"]["kernel"]
    for transform in (jax.hessian, jax.jacfwd, jax.jacrev):
        got, expected = (jax.jit(transform(function))(kernel, x) for function in (f, plain))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    kernels = jnp.stack([kernel, 2 * kernel])
    got, expected = (jax.vmap(jax.grad(function), (0, None))(kernels, x) for function in (f, plain))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_single_layer_rows_times_matrix():  # 001-G13
    kernel = jnp.arange(1.0, 7.0).reshape(2, 3)
    z = nn.Dense(3, use_bias=False).apply({"params": {"kernel": kernel}}, jnp.array([0.5, -0.25]))
    np.testing.assert_allclose(z, [-0.5, -0.25, 0.0], atol=1e-7)
    np.testing.assert_allclose(nn.sigmoid(z), [0.3775407, 0.4378235, 0.5], atol=1e-7)


def test_forward_propagation_of_one_neuron():  # 004a-7.3
    kernel = np.random.RandomState(1).randn(2, 1).astype(np.float32) * np.float32(0.01)
    x = jnp.array([[8.5, 85.0], [9.2, 92.0], [7.8, 78.0]])
    z = nn.Dense(1).apply({"params": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(1)}}, x)
    np.testing.assert_allclose(z[:, 0], [-0.3819236, -0.41337613, -0.35047106], rtol=1e-6)
    np.testing.assert_allclose(nn.sigmoid(z)[:, 0], [0.40566303, 0.39810287, 0.41326819], rtol=1e-6)


def test_row_and_column_conventions_agree(key):  # 000-1.2t
    x, w1, w2 = (jax.random.normal(k, s) for k, s in zip(jax.random.split(key, 3), ((2, 3), (3, 4), (4, 5))))
    rows = nn.tanh(nn.tanh(x @ w1) @ w2)
    columns = nn.tanh(w2.T @ nn.tanh(w1.T @ x.T))
    layers = nn.Sequential([nn.Dense(4, False), nn.tanh, nn.Dense(5, False), nn.tanh])
    params = {"layers_0": {"kernel": w1}, "layers_2": {"kernel": w2}}
    y = layers.apply({"params": params}, x, train=False)
    np.testing.assert_allclose(y, rows, atol=1e-6)
    np.testing.assert_allclose(y, columns.T, atol=1e-6)


@pytest.mark.parametrize("layer", [nn.Dense(4, dtype=jnp.bfloat16), nn.Conv(4, 3, dtype=jnp.bfloat16)])
def test_computes_in_bfloat16_with_float32_parameters(layer, key):
    x = jnp.ones((2, 6, 6, 1))
    variables = layer.init(key, x)
    assert layer.apply(variables, x).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("make", [nn.Dense, lambda f, **k: nn.Conv(f, 3, **k)])
def test_dtype_follows_cast_parameters_and_param_dtype(make, key):
    x = jnp.ones((2, 6, 6, 1), jnp.bfloat16)
    variables = make(4, param_dtype=jnp.bfloat16).init(key, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("bfloat16")}
    assert make(4).apply(variables, x).dtype == jnp.bfloat16
    assert make(4).apply(variables, x.astype(jnp.float32)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("layer", "x", "error", "match"),
    [
        pytest.param(nn.Dense(0), jnp.ones((2, 3)), ValueError, "features must be at least 1", id="features"),
        pytest.param(nn.Dense(2), jnp.ones((2, 3), int), TypeError, "x must be floating", id="dtype"),
        pytest.param(nn.Dense(2), jnp.float32(1), ValueError, "x must have at least one axis", id="scalar"),
    ],
)
def test_dense_bad_input(layer, x, error, match, key):
    with pytest.raises(error, match=match):
        layer.init(key, x)


def test_sequential_gives_train_to_those_who_take_it(key):
    net = nn.Sequential([nn.Dense(64), nn.relu, nn.Dropout(0.5), nn.flatten])
    x = jnp.ones((3, 2, 8))
    variables = net.init(key, x, train=False)
    assert set(variables["params"]) == {"layers_0"}
    y = net.apply(variables, x, train=False)
    assert y.shape == (3, 128)
    by_hand = nn.relu(nn.Dense(64).apply({"params": variables["params"]["layers_0"]}, x)).reshape(3, 128)
    np.testing.assert_allclose(y, by_hand, rtol=1e-6)
    noisy = net.apply(variables, x, train=True, rngs={"dropout": key})
    kept = noisy != 0
    assert (~kept).sum() > (y == 0).sum()
    np.testing.assert_allclose(jnp.where(kept, noisy, 0), jnp.where(kept, 2 * y, 0), rtol=1e-6)
    with pytest.raises(TypeError, match="train"):
        net.apply(variables, x)
