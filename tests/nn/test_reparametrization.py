"""Spectral and weight normalization: PyTorch over several steps, linen, singular values and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(got, expected, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, expected)


KINDS = {
    "dense": (nn.Dense(4), (5, 3), (3, 4)),
    "conv": (nn.Conv(4, 3, padding=1), (2, 5, 6, 3), (3, 3, 3, 4)),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def to_torch(torch, kernel):
    return torch.tensor(np.moveaxis(np.moveaxis(kernel, -1, 0), -1, 1).copy())


def from_torch(kernel):
    return np.moveaxis(np.moveaxis(kernel.detach().numpy(), 1, -1), 0, -1)


def torch_layer(torch, kind, kernel, bias):
    layer = torch.nn.Linear(3, 4) if kind == "dense" else torch.nn.Conv2d(3, 4, 3, padding=1)
    layer.weight.data.copy_(to_torch(torch, kernel))
    layer.bias.data.copy_(torch.tensor(bias))
    return layer


def channels_first(torch, x):
    return torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)


@pytest.mark.parametrize(
    ("kind", "n_steps"),
    [
        ("dense", 3),
        ("conv", 1),
        pytest.param("dense", 1, marks=pytest.mark.slow),
        pytest.param("conv", 3, marks=pytest.mark.slow),
    ],
)
def test_spectral_norm_matches_torch(kind, n_steps):
    torch = pytest.importorskip("torch")
    layer, shape, kernel_shape = KINDS[kind]
    kernel, bias, u = normal(0, *kernel_shape), normal(1, 4), normal(2, 1, 4)
    there = torch.nn.utils.spectral_norm(torch_layer(torch, kind, kernel, bias), n_power_iterations=n_steps)
    there.weight_u.copy_(torch.tensor(u[0]))
    ours = nn.SpectralNorm(layer, n_steps)
    stats = {"layer_instance/kernel/u": u, "layer_instance/kernel/sigma": np.ones(())}

    @jax.jit
    def run(params, stats, x, weight):
        def call(params, x):
            variables = {"params": params, "batch_stats": stats}
            return ours.apply(variables, x, train=True, mutable=["batch_stats"])

        y, pullback, new = jax.vjp(call, params, x, has_aux=True)
        return y, new["batch_stats"], *pullback(weight)

    for update in range(3):
        x, weight = normal(10 + update, *shape), normal(20 + update, *shape[:-1], 4)
        y, stats, params, dx = run({"layer_instance": {"kernel": kernel, "bias": bias}}, stats, x, weight)
        x = channels_first(torch, x)
        there.zero_grad()
        expected = there(x)
        expected.backward(channels_first(torch, weight))
        close(np.moveaxis(y, -1, 1), expected.detach().numpy())
        close(np.moveaxis(dx, -1, 1), x.grad.numpy())
        close(params["layer_instance"]["kernel"], from_torch(there.weight_orig.grad), 2e-5)
        close(params["layer_instance"]["bias"], there.bias.grad.numpy(), 2e-5)
        close(stats["layer_instance/kernel/u"][0], there.weight_u.numpy())
        kernel = kernel + 0.3 * normal(30 + update, *kernel_shape)
        there.weight_orig.data.copy_(to_torch(torch, kernel))


def test_spectral_norm_reaches_the_largest_singular_value():
    kernel, x = normal(0, 3, 3, 3, 4), normal(1, 2, 5, 6, 3)
    layer = nn.SpectralNorm(nn.Conv(4, 3, use_bias=False), 100)
    variables = {
        "params": {"layer_instance": {"kernel": kernel}},
        "batch_stats": {
            "layer_instance/kernel/u": normal(2, 1, 4),
            "layer_instance/kernel/sigma": np.ones(()),
        },
    }

    @jax.jit
    def run():
        y, new = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        again = layer.apply(variables, x, train=False)
        return (
            y,
            new["batch_stats"],
            again,
            nn.Conv(4, 3, use_bias=False).apply({"params": {"kernel": kernel}}, x),
        )

    y, stats, again, plain = run()
    largest = np.linalg.norm(np.float64(kernel).reshape(27, 4), 2)
    np.testing.assert_allclose(stats["layer_instance/kernel/sigma"], largest, rtol=1e-5)
    close(y, plain / largest)
    close(again, y, 1e-6)


def test_spectral_norm_at_evaluation_steps_from_the_kept_vector_and_keeps_it():
    kernel, u, x = normal(0, 3, 4), normal(1, 1, 4), normal(2, 5, 3)
    layer = nn.SpectralNorm(nn.Dense(4, use_bias=False))
    variables = {
        "params": {"layer_instance": {"kernel": kernel}},
        "batch_stats": {"layer_instance/kernel/u": u, "layer_instance/kernel/sigma": np.ones(())},
    }
    y, new = jax.jit(lambda: layer.apply(variables, x, train=False, mutable=["batch_stats"]))()
    w = np.float64(kernel)
    v = u @ w.T / np.linalg.norm(u @ w.T)
    close(y, x @ w / np.linalg.norm(v @ w))
    close(new["batch_stats"], variables["batch_stats"], 0)


def named(wrapper, dense, **settings):
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = dense(3)(x)
            return wrapper(dense(4), **settings)(x, **self.flags)

        flags = {"train": True} if wrapper is nn.SpectralNorm else {}
        if wrapper is linen.SpectralNorm:
            flags = {"update_stats": True}

    return Net()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(nn.SpectralNorm, linen.SpectralNorm, id="spectral"),
        pytest.param(nn.WeightNorm, linen.WeightNorm, id="weight"),
    ],
)
def test_loads_linens_variables_and_equals_it(ours, theirs, key):
    x = normal(0, 5, 3)
    ours, theirs = named(ours, nn.Dense), named(theirs, linen.Dense)
    created = jax.eval_shape(theirs.init, key, x)
    assert jax.eval_shape(ours.init, key, x) == created
    variables = jax.tree.map(lambda a: normal(1, *a.shape), created)

    @jax.jit
    def run(variables):
        return [net.apply(variables, x, mutable=["batch_stats"]) for net in (ours, theirs)]

    close(*run(variables))


@EACH_KIND
def test_weight_norm_matches_torch(kind):
    torch = pytest.importorskip("torch")
    layer, shape, kernel_shape = KINDS[kind]
    kernel, bias, scale = normal(0, *kernel_shape), normal(1, 4), normal(2, 4)
    x, weight = normal(3, *shape), normal(4, *shape[:-1], 4)
    there = torch.nn.utils.parametrizations.weight_norm(torch_layer(torch, kind, kernel, bias))
    lengths, directions = (
        there.parametrizations.weight.original0,
        there.parametrizations.weight.original1,
    )
    norms = lengths.detach().numpy().reshape(-1).copy()
    lengths.data.copy_(torch.tensor(scale).reshape(lengths.shape))
    x_there = channels_first(torch, x)
    expected = there(x_there)
    expected.backward(channels_first(torch, weight))

    ours = nn.WeightNorm(layer)
    inner = {"kernel": kernel, "bias": bias}

    @jax.jit
    def run(params, x):
        y, pullback = jax.vjp(lambda p, x: ours.apply({"params": p}, x), params, x)
        return y, *pullback(weight)

    y, grads, dx = run({"layer_instance": inner, "layer_instance/kernel/scale": scale}, x)
    close(np.moveaxis(y, -1, 1), expected.detach().numpy())
    close(np.moveaxis(dx, -1, 1), x_there.grad.numpy(), 2e-5)
    close(grads["layer_instance/kernel/scale"], lengths.grad.numpy().reshape(-1), 2e-5)
    close(grads["layer_instance"]["kernel"], from_torch(directions.grad), 2e-5)
    close(grads["layer_instance"]["bias"], there.bias.grad.numpy(), 2e-5)
    np.testing.assert_allclose(norms, np.sqrt((kernel**2).sum((*range(kernel.ndim - 1),))), rtol=1e-6)


def test_weight_norm_starts_as_the_layer_and_both_keep_its_kernel(key):
    x = normal(0, 5, 3)

    @jax.jit
    def run():
        # Alone, with the same key at the same place as in the wrapper.
        variables = nn.WeightNorm(nn.Dense(4)).init(key, x)
        kernel = variables["params"]["layer_instance"]["kernel"]
        other = nn.SpectralNorm(nn.Dense(4)).init(key, x, train=True)["params"]["layer_instance"]["kernel"]
        ones = nn.WeightNorm(nn.Dense(4), scale_init=jax.nn.initializers.ones).init(key, x)
        return nn.WeightNorm(nn.Dense(4)).apply(variables, x), x @ kernel, kernel, other, ones["params"]

    y, plain, kernel, other, ones = run()
    close(y, plain, 1e-6)
    close(kernel, other, 0)
    close(ones["layer_instance/kernel/scale"], np.ones(4), 0)


def test_several_layers_are_wrapped_at_once_and_given_train():
    class Inner(linen.Module):
        @linen.compact
        def __call__(self, x, *, train):
            x = nn.Dense(4, name="first")(x)
            return nn.Dense(2, name="second")(nn.BatchNorm()(x, train=train))

    x = normal(0, 5, 3)
    layer = nn.SpectralNorm(Inner(), 50)
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), x, train=True))
    variables = jax.tree.map(lambda a: normal(a.size, *a.shape), shapes)
    variables["batch_stats"]["layer_instance"]["BatchNorm_0"]["mean"] *= 0
    _, new = jax.jit(lambda v: layer.apply(v, x, train=True, mutable=["batch_stats"]))(variables)
    stats = new["batch_stats"]
    for name, singular in (("first", 4), ("second", 2)):
        kernel = variables["params"]["layer_instance"][name]["kernel"]
        assert kernel.shape[1] == singular
        np.testing.assert_allclose(
            stats[f"layer_instance/{name}/kernel/sigma"], np.linalg.norm(kernel, 2), rtol=1e-4
        )
    # The running statistics inside are those of the divided weights.
    divided = variables["params"]["layer_instance"]["first"]["kernel"] / np.linalg.norm(
        variables["params"]["layer_instance"]["first"]["kernel"], 2
    )
    mean = stats["layer_instance"]["BatchNorm_0"]["mean"]
    bias = variables["params"]["layer_instance"]["first"]["bias"]
    np.testing.assert_allclose(mean, 0.01 * ((x @ divided).mean(0) + bias), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["spectral", "weight"])
def test_jit_vmap_half_precision_and_zero_kernels(name):
    x = normal(0, 5, 3)
    layer = nn.SpectralNorm(nn.Dense(4)) if name == "spectral" else nn.WeightNorm(nn.Dense(4))
    flags = {"train": False} if name == "spectral" else {}
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), x, **({"train": True} if flags else {})))
    variables = jax.tree.map(lambda a: jnp.asarray(normal(a.ndim, *a.shape)), shapes)

    def call(variables, x=x):
        return layer.apply(variables, x, **flags)

    @jax.jit
    def run(variables):
        twice = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), variables)
        half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables)
        zero = jax.tree.map(jnp.zeros_like, variables["params"])
        gradient = jax.grad(lambda p: call(variables | {"params": p}).sum())(zero)
        return (
            call(variables),
            call(jax.tree.map(lambda a: 2 * a, variables)),
            jax.vmap(call)(twice),
            call(half, x.astype(jnp.bfloat16)),
            gradient,
        )

    y, double, mapped, half, gradient = run(variables)
    close(call(variables), y, 1e-5)
    close(mapped, jnp.stack([y, double]), 1e-5)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), y, rtol=0.05, atol=0.05)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_bad_input(key):
    with pytest.raises(ValueError, match="n_steps must be at least 1"):
        nn.SpectralNorm(nn.Dense(4), 0).init(key, jnp.ones((2, 3)), train=True)
    with pytest.raises(TypeError, match="train"):
        nn.SpectralNorm(nn.Dense(4)).init(key, jnp.ones((2, 3)))
