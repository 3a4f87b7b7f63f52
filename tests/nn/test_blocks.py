"""Blocks: PyTorch's layers put together the same way, published counts, sums over a stack, names of outputs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def numbers_like(shapes, scale=0.3):
    """Reproducible parameters in the shapes of a tree."""
    leaves, structure = jax.tree.flatten(shapes)
    return jax.tree.unflatten(structure, [scale * normal(i, *leaf.shape) for i, leaf in enumerate(leaves)])


def parameters(module, x, **settings):
    return jax.eval_shape(partial(module.init, **settings), jax.random.key(0), x)["params"]


def compare(run, params, x, forward):
    """Values and all gradients of a module and of a function of PyTorch tensors in float64, to 1e-5."""
    torch = pytest.importorskip("torch")

    def there(a):
        a = np.asarray(a, np.float64)
        a = np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim == 4 else a.T
        return torch.tensor(np.ascontiguousarray(a), requires_grad=True)

    tensors = jax.tree.map(there, params)
    image = torch.tensor(np.moveaxis(np.asarray(x, np.float64), -1, 1).copy(), requires_grad=True)
    y = forward(torch, image, tensors)
    g = np.random.default_rng(99).normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(g, dtype=torch.float64))

    @jax.jit
    def ours(params, x, g):
        y, pullback = jax.vjp(run, params, x)
        return y, pullback(g)

    got, (grads, dx) = ours(params, x, np.moveaxis(g, 1, -1))
    pairs = [(np.moveaxis(got, -1, 1), y.detach().numpy()), (np.moveaxis(dx, -1, 1), image.grad.numpy())]
    for a, tensor in zip(jax.tree.leaves(grads), jax.tree.leaves(tensors)):
        a = np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim == 4 else a.T
        pairs.append((a, tensor.grad.numpy()))
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(abs(b).max(), 1))


@pytest.mark.parametrize("combine", ["add", "concatenate"])
def test_skip_matches_torch(combine):
    block = nn.SkipConnection([nn.Conv(3, 1), nn.tanh], combine)
    x = normal(0, 2, 4, 5, 3)

    def forward(torch, x, p):
        f = torch.nn.functional
        y = torch.tanh(f.conv2d(x, p["layers_0"]["kernel"], p["layers_0"]["bias"]))
        return x + y if combine == "add" else torch.cat([x, y], 1)

    params = numbers_like(parameters(block, x, train=False))
    compare(lambda p, x: block.apply({"params": p}, x, train=False), params, x, forward)


def test_a_stack_of_sums_adds_up_whatever_the_span():  # 002-G39
    """x_L = x_0 + F_1(x_0) + F_2(x_1) + ..., and the identity is in the Jacobian."""
    spans = (1, 2, 3)
    functions = [[nn.Dense(4), nn.tanh, nn.Dense(4)][:span] for span in spans]
    stack = nn.Sequential([nn.SkipConnection(layers) for layers in functions])
    x = normal(0, 2, 4)
    params = numbers_like(parameters(stack, x, train=False))
    outputs = nn.layer_outputs(stack, {"params": params}, x, train=False)
    last = [f"layers_{i}/layers_{span - 1}" for i, span in enumerate(spans)]
    total = x + sum(outputs[name] for name in last)
    np.testing.assert_allclose(outputs[""], total, rtol=1e-6, atol=1e-6)
    still = jax.tree.map(jnp.zeros_like, params)
    gradient = jax.grad(lambda x: stack.apply({"params": still}, x, train=False).sum())(x)
    np.testing.assert_array_equal(gradient, 1)


def test_skip_gives_train_to_those_who_take_it():
    block = nn.SkipConnection([nn.Dropout(0.5)])
    x = jnp.ones((2, 50))
    np.testing.assert_array_equal(block.apply({}, x, train=False), 2 * x)
    noisy = block.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(noisy)) == {1, 3}


WIDTHS = {  # one, three_reduce, three, five_reduce, five, pool: the table of GoogLeNet
    "3a": (192, (64, 96, 128, 16, 32, 32), 163_696),
    "3b": (256, (128, 128, 192, 32, 96, 64), 388_736),
    "4a": (480, (192, 96, 208, 16, 48, 64), 376_176),
    "4b": (512, (160, 112, 224, 24, 64, 64), 449_160),
    "4c": (512, (128, 128, 256, 24, 64, 64), 510_104),
    "4d": (512, (112, 144, 288, 32, 64, 64), 605_376),
    "4e": (528, (256, 160, 320, 32, 128, 128), 868_352),
    "5a": (832, (256, 160, 320, 32, 128, 128), 1_043_456),
    "5b": (832, (384, 192, 384, 48, 128, 128), 1_444_080),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_inception_parameter_counts(name):  # 001-1.10
    channels, widths, expected = WIDTHS[name]
    block, x = nn.InceptionBlock(*widths), jnp.ones((1, 7, 7, channels))
    params = parameters(block, x, train=False)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected
    one, _, three, five_reduce, five, pool = widths
    y = jax.eval_shape(lambda p, x: block.apply({"params": p}, x, train=False), params, x)
    assert y.shape == (1, 7, 7, one + three + five + pool)
    # 002-D17: what the 1 x 1 in front of the large kernel saves
    saved = nn.conv_param_count(five_reduce, five, 5) + nn.conv_param_count(channels, five_reduce, 1)
    assert saved < nn.conv_param_count(channels, five, 5)


@pytest.mark.parametrize(
    ("pooling", "five_size"),
    [
        pytest.param("parallel", 5, id="published"),
        pytest.param("after", 3, id="sequential-pooling"),
    ],
)
def test_inception_matches_torch(pooling, five_size):
    widths = (2, 3, 4, 1, 2, 3 if pooling == "parallel" else 0)
    block = nn.InceptionBlock(*widths, five_size=five_size, pooling=pooling, activation=nn.tanh)
    x = normal(0, 2, 5, 4, 3)

    def forward(torch, x, p):
        def unit(x, name):
            kernel = p[name]["kernel"]
            padding = kernel.shape[-1] // 2
            return torch.tanh(torch.nn.functional.conv2d(x, kernel, p[name]["bias"], padding=padding))

        branches = [unit(x, "one"), unit(unit(x, "three_reduce"), "three")]
        branches.append(unit(unit(x, "five_reduce"), "five"))
        pool = partial(torch.nn.functional.max_pool2d, kernel_size=3, stride=1, padding=1)
        if pooling == "after":
            return pool(torch.cat(branches, 1))
        return torch.cat([*branches, unit(pool(x), "pool_project")], 1)

    params = numbers_like(parameters(block, x, train=False))
    compare(lambda p, x: block.apply({"params": p}, x, train=False), params, x, forward)


def test_inception_normalizes_every_convolution():
    """With batch norm the convolutions lose their biases; the norms are given train and the mask."""

    class Doubled(linen.Module):
        dtype: object = None
        param_dtype: object = jnp.float32

        @linen.compact
        def __call__(self, x, *, train, mask=None):
            assert mask is not None
            return 2 * x if train else x

    widths, x, mask = (2, 3, 4, 1, 2, 3), normal(0, 2, 4, 4, 3), jnp.array([True, False])
    block = nn.InceptionBlock(*widths, norm=Doubled)
    params = numbers_like(parameters(block, x, train=False, mask=mask))
    assert all(set(layer) == {"kernel"} for layer in params.values())
    once, twice = (block.apply({"params": params}, x, train=train, mask=mask) for train in (False, True))
    factor = np.repeat([2, 4, 4, 2], (2, 4, 2, 3))  # twice where two convolutions follow each other
    np.testing.assert_allclose(twice, once * factor.reshape(1, 1, 1, -1), rtol=1e-5)
    params = parameters(nn.InceptionBlock(*widths, norm=nn.BatchNorm), x, train=True)
    assert {name for name in params if name.endswith("_norm")} == {
        f"{name}_norm" for name in params if not name.endswith("_norm")
    }


@pytest.mark.parametrize("gate", ["sigmoid", "tanh"])
def test_squeeze_excite_matches_torch(gate):
    block = nn.SqueezeExcite(3, gate=getattr(nn, gate))
    x = normal(0, 2, 5, 4, 6)
    params = numbers_like(parameters(block, x))

    def forward(torch, x, p):
        f = torch.nn.functional
        s = f.adaptive_avg_pool2d(x, 1).flatten(1)
        s = torch.relu(f.linear(s, p["squeeze"]["kernel"], p["squeeze"]["bias"]))
        s = getattr(torch, gate)(f.linear(s, p["excite"]["kernel"], p["excite"]["bias"]))
        return x * s[:, :, None, None]

    compare(lambda p, x: block.apply({"params": p}, x), params, x, forward)


def test_squeeze_excite_gate_and_any_axes():
    """A gate of one leaves x alone, in one spatial axis as in three."""
    block = nn.SqueezeExcite(2, gate=jnp.ones_like)
    for shape in ((2, 7, 3), (2, 2, 3, 2, 3)):
        x = normal(0, *shape)
        params = numbers_like(parameters(block, x))
        np.testing.assert_array_equal(block.apply({"params": params}, x), x)


class Twice(linen.Module):
    """One layer called two times, and a value that it sows."""

    @linen.compact
    def __call__(self, x, *, train):
        del train
        layer = nn.Dense(3, name="shared")
        x = layer(layer(x))
        self.sow("intermediates", "sown", x.sum())
        return x


def test_layer_outputs_by_name():
    net = nn.Sequential([nn.Dense(3), nn.relu, Twice(), nn.SkipConnection([nn.relu, nn.Dense(3)])])
    x = normal(0, 2, 4)
    params = numbers_like(parameters(net, x, train=False))
    outputs = nn.layer_outputs(net, {"params": params}, x, train=False)

    def dense(x, p):
        return np.asarray(x, np.float64) @ np.asarray(p["kernel"]) + np.asarray(p["bias"])

    first = dense(x, params["layers_0"])
    shared = dense(np.maximum(first, 0), params["layers_2"]["shared"])
    again = dense(shared, params["layers_2"]["shared"])
    inner = dense(np.maximum(again, 0), params["layers_3"]["layers_1"])
    expected = {
        "layers_0": first,
        "layers_1": np.maximum(first, 0),
        "layers_2/shared": shared,
        "layers_2/shared[1]": again,
        "layers_2/sown": again.sum(),
        "layers_2": again,
        "layers_3/layers_0": np.maximum(again, 0),
        "layers_3/layers_1": inner,
        "layers_3": again + inner,
        "": again + inner,
    }
    assert set(outputs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_layer_outputs_in_training_under_jit_and_gradient():
    """Batch statistics may move inside, dropout draws from rngs, and the outputs are differentiable."""
    net = nn.Sequential([nn.Dense(3), nn.BatchNorm(), nn.Dropout(0.5)])
    x = normal(0, 4, 2)
    variables = net.init(jax.random.key(0), x, train=False)
    before = jax.tree.map(np.asarray, variables)

    @jax.jit
    def outputs(variables, x, key):
        return nn.layer_outputs(net, variables, x, train=True, rngs={"dropout": key})

    found = outputs(variables, x, jax.random.key(1))
    np.testing.assert_allclose(found["layers_1"].mean(0), 0, atol=1e-5)
    kept = found["layers_2"] != 0
    np.testing.assert_allclose(found["layers_2"], jnp.where(kept, 2 * found["layers_1"], 0), rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    again = nn.layer_outputs(net, {**variables, "intermediates": found}, x, train=False)
    assert set(again) == set(found)

    def first(params):
        return nn.layer_outputs(net, {**variables, "params": params}, x, train=False)["layers_0"].sum()

    gradient = jax.grad(first)(variables["params"])
    np.testing.assert_allclose(gradient["layers_0"]["bias"], np.full(3, 4.0))
    np.testing.assert_array_equal(gradient["layers_1"]["scale"], 0)


IMAGE = jnp.ones((1, 4, 4, 2))


@pytest.mark.parametrize(
    ("module", "x", "error", "match"),
    [
        pytest.param(nn.SkipConnection([]), IMAGE, ValueError, "layers must be at least 1", id="empty"),
        pytest.param(
            nn.SkipConnection([nn.relu], "join"), IMAGE, ValueError, "combine must be one of", id="combine"
        ),
        pytest.param(
            nn.SkipConnection([nn.Conv(3, 1)]), IMAGE, ValueError, "must have the shape of x", id="features"
        ),
        pytest.param(
            nn.SkipConnection([nn.Conv(2, 1, 2)], "concatenate"),
            IMAGE,
            ValueError,
            "must have shape",
            id="size",
        ),
        pytest.param(
            nn.SkipConnection([nn.relu]), IMAGE.astype(int), TypeError, "x must be floating", id="skip-dtype"
        ),
        pytest.param(
            nn.InceptionBlock(1, 1, 1, 1, 1, 1, pooling="after"),
            IMAGE,
            ValueError,
            "pool must be 0",
            id="pool",
        ),
        pytest.param(
            nn.InceptionBlock(1, 1, 1, 1, 1, 1, pooling="max"),
            IMAGE,
            ValueError,
            "pooling must be",
            id="pooling",
        ),
        pytest.param(
            nn.InceptionBlock(0, 1, 1, 1, 1, 1), IMAGE, ValueError, "features must be at least 1", id="width"
        ),
        pytest.param(
            nn.InceptionBlock(1, 1, 1, 1, 1, 1), IMAGE[0], ValueError, "x must have rank", id="rank"
        ),
        pytest.param(nn.SqueezeExcite(0), IMAGE, ValueError, "squeeze_features must be", id="squeeze"),
        pytest.param(nn.SqueezeExcite(2), IMAGE[0, 0], ValueError, "x must have rank", id="squeeze-rank"),
    ],
)
def test_bad_input(module, x, error, match):
    settings = {} if isinstance(module, nn.SqueezeExcite) else {"train": False}
    with pytest.raises(error, match=match):
        jax.eval_shape(partial(module.init, **settings), jax.random.key(0), x)
