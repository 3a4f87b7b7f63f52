"""Residual blocks: transcriptions in PyTorch with the same weights, worked counts, telescoped sums."""

from functools import partial

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


TORCH_NORM = partial(nn.BatchNorm, momentum=0.1, momentum_convention="rate", unbiased_running_var=True)
SHAPE = (3, 6, 5, 4)


def variables_of(block, x=None, **settings):
    """Random parameters and statistics, without compiling the initialization."""
    x = jnp.ones(SHAPE) if x is None else x
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=True, **settings))
    seeds = iter(range(100))
    variables = jax.tree.map(lambda a: 0.4 * normal(next(seeds), *a.shape), shapes)
    return variables | {"batch_stats": jax.tree.map(np.exp, variables.get("batch_stats", {}))}


def transcription(torch, layers, order, act, shortcut, gate=None, add=True):
    """A block in PyTorch; layers: name -> convolution or norm, called in the order of the dict."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleDict(layers | shortcut)

        def forward(self, x):
            m, first, y = self.layers, x, x
            names = list(layers)
            for i, name in enumerate(names):
                y = m[name](y)
                norm = "norm" in name
                if norm and (order == "pre" or i < len(names) - 1) and "project" not in name:
                    y = act(y)
                    if gate and "depthwise" in name:
                        y = gate(y)
                if order == "pre" and i == 0:
                    first = y
            if order == "after":
                y = act(y)
            if not add:
                return y
            for name in shortcut:
                first = m[name](first)
            y = y + (first if shortcut else x)
            return act(y) if order == "post" else y

    return Block()


def torch_layers(torch, table):
    """name -> (in, out, kernel, stride, groups) or channels of a norm."""

    def one(value):
        if isinstance(value, int):
            return torch.nn.BatchNorm2d(value)
        c, f, k, s, g = value
        return torch.nn.Conv2d(c, f, k, s, k // 2, groups=g, bias=False)

    return {name: one(value) for name, value in table.items()}


RELU, RELU6 = (lambda t: t.nn.functional.relu), (lambda t: t.nn.functional.relu6)
CONV3 = {"conv1": (4, 4, 3, 1, 1), "norm1": 4, "conv2": (4, 4, 3, 1, 1), "norm2": 4}
BOTTLENECK = {
    "conv1": (4, 6, 1, 1, 1),
    "norm1": 6,
    "conv2": (6, 6, 3, 2, 2),
    "norm2": 6,
    "conv3": (6, 12, 1, 1, 1),
    "norm3": 12,
}
MBCONV = {
    "expand_conv": (4, 8, 1, 1, 1),
    "expand_norm": 8,
    "depthwise_conv": (8, 8, 3, 1, 8),
    "depthwise_norm": 8,
    "project_conv": (8, 4, 1, 1, 1),
    "project_norm": 4,
}

BLOCKS = [
    pytest.param(nn.ResidualBlock(4, norm=TORCH_NORM), CONV3, {}, "post", RELU, True, id="basic"),
    pytest.param(
        nn.ResidualBlock(12, 2, kind="bottleneck", width=6, groups=2, norm=TORCH_NORM),
        BOTTLENECK,
        {"shortcut_conv": (4, 12, 1, 2, 1), "shortcut_norm": 12},
        "post",
        RELU,
        True,
        id="bottleneck-stride-groups-projection",
    ),
    pytest.param(
        nn.ResidualBlock(6, 2, order="pre", norm=TORCH_NORM),
        {"norm1": 4, "conv1": (4, 6, 3, 2, 1), "norm2": 6, "conv2": (6, 6, 3, 1, 1)},
        {"shortcut_conv": (4, 6, 1, 2, 1)},
        "pre",
        RELU,
        True,
        id="pre-activation",
    ),
    pytest.param(
        nn.ResidualBlock(4, order="after", norm=TORCH_NORM),
        CONV3,
        {},
        "after",
        RELU,
        True,
        id="after",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        nn.InvertedResidualBlock(4, expansion=2, norm=TORCH_NORM),
        MBCONV,
        {},
        "linear",
        RELU6,
        True,
        id="inverted",
    ),
    pytest.param(
        nn.InvertedResidualBlock(10, 2, kernel_size=5, expansion=1, norm=TORCH_NORM),
        {
            "depthwise_conv": (4, 4, 5, 2, 4),
            "depthwise_norm": 4,
            "project_conv": (4, 10, 1, 1, 1),
            "project_norm": 10,
        },
        {},
        "linear",
        RELU6,
        False,
        id="inverted-without-expansion",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("block", "table", "shortcut", "order", "act", "add"), BLOCKS)
def test_matches_a_transcription_in_torch(block, table, shortcut, order, act, add):
    torch = pytest.importorskip("torch")
    parts = torch_layers(torch, table), torch_layers(torch, shortcut)
    there = transcription(torch, parts[0], order, act(torch), parts[1], add=add)
    variables = variables_of(block)
    assert set(variables["params"]) == set(table) | set(shortcut)

    def modules():
        return [(name, there.layers[name]) for name in variables["params"]]

    for name, module in modules():
        params = variables["params"][name]
        if "conv" in name:
            module.weight.data.copy_(torch.tensor(params["kernel"].transpose(3, 2, 0, 1)))
        else:
            module.weight.data.copy_(torch.tensor(params["scale"]))
            module.bias.data.copy_(torch.tensor(params["bias"]))
            stats = variables["batch_stats"][name]
            module.running_mean.copy_(torch.tensor(stats["mean"]))
            module.running_var.copy_(torch.tensor(stats["var"]))

    x = normal(200, *SHAPE)
    weight = normal(201, *jax.eval_shape(lambda: block.apply(variables, x, train=False)).shape)

    @jax.jit
    def run(variables):
        def call(params, x, train):
            return block.apply(variables | {"params": params}, x, train=train, mutable=["batch_stats"])

        def derivatives(train):
            y, pullback, new = jax.vjp(lambda p, x: call(p, x, train), variables["params"], x, has_aux=True)
            return y, *pullback(weight), new["batch_stats"]

        return derivatives(False), derivatives(True)

    for train, (y, grads, dx, stats) in zip((False, True), run(variables)):
        there.train(train)
        there.zero_grad()
        x_there = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
        expected = there(x_there)
        expected.backward(torch.tensor(weight.transpose(0, 3, 1, 2).copy()))
        close(y.transpose(0, 3, 1, 2), expected.detach().numpy(), 2e-5)
        close(dx.transpose(0, 3, 1, 2), x_there.grad.numpy(), 2e-5)
        for name, module in modules():
            if "conv" in name:
                close(grads[name]["kernel"].transpose(3, 2, 0, 1), module.weight.grad.numpy(), 5e-5)
            else:
                close(grads[name]["scale"], module.weight.grad.numpy(), 5e-5)
                close(grads[name]["bias"], module.bias.grad.numpy(), 5e-5)
                close(stats[name]["mean"], module.running_mean.numpy(), 2e-5)
                close(stats[name]["var"], module.running_var.numpy(), 2e-5)


def count(block, channels, size=8):
    shapes = jax.eval_shape(
        lambda: block.init(jax.random.key(0), jnp.ones((1, size, size, channels)), train=False)
    )
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(
    ("block", "channels", "expected"),
    [
        pytest.param(
            nn.ResidualBlock(256, kind="bottleneck"), 256, 69_632 + 2 * 384, id="002-G29-bottleneck"
        ),
        pytest.param(nn.ResidualBlock(256), 256, 1_179_648 + 4 * 256, id="002-G29-basic"),
        # torchvision's layer1[0], layer2[0] of resnet50, layer1[1] of resnext50_32x4d and wide_resnet50_2,
        # layer2[0] of resnet18, in weights and twice the channels of every norm.
        pytest.param(
            nn.ResidualBlock(256, kind="bottleneck"),
            64,
            64 * 64 + 9 * 64 * 64 + 64 * 256 + 64 * 256 + 2 * (64 + 64 + 256 + 256),
            id="resnet50-layer1",
        ),
        pytest.param(
            nn.ResidualBlock(256, kind="bottleneck", width=128, groups=32),
            256,
            256 * 128 + 9 * 128 * 4 + 128 * 256 + 2 * (128 + 128 + 256),
            id="resnext50",
        ),
        pytest.param(
            nn.ResidualBlock(256, kind="bottleneck", width=128),
            256,
            256 * 128 + 9 * 128 * 128 + 128 * 256 + 2 * (128 + 128 + 256),
            id="wide-resnet50",
        ),
        pytest.param(
            nn.ResidualBlock(128, 2),
            64,
            9 * 64 * 128 + 9 * 128 * 128 + 64 * 128 + 2 * 3 * 128,
            id="resnet18-layer2",
        ),
        pytest.param(
            nn.ResidualBlock(32, 2, shortcut="padding"),
            16,
            9 * 16 * 32 + 9 * 32 * 32 + 2 * 2 * 32,
            id="cifar-a",
        ),
        pytest.param(nn.ResidualBlock(8, norm=None), 8, 2 * (9 * 8 * 8 + 8), id="biases-without-norm"),
        # features.2 of mobilenet_v2: expands 16 to 96, ends with 24.
        pytest.param(
            nn.InvertedResidualBlock(24, 2),
            16,
            16 * 96 + 9 * 96 + 96 * 24 + 2 * (96 + 96 + 24),
            id="mobilenet",
        ),
        # features.3.0 of efficientnet_b0.
        pytest.param(
            nn.InvertedResidualBlock(40, 2, kernel_size=5, squeeze_excite=partial(nn.SqueezeExcite, 6)),
            24,
            24 * 144 + 25 * 144 + 144 * 40 + 2 * (144 + 144 + 40) + 2 * 144 * 6 + 144 + 6,
            id="efficientnet",
        ),
        pytest.param(
            nn.InvertedResidualBlock(24, width=64),
            16,
            16 * 64 + 9 * 64 + 64 * 24 + 2 * (64 + 64 + 24),
            id="width",
        ),
    ],
)
def test_parameter_counts(block, channels, expected):
    assert count(block, channels) == expected


def test_shortcut_by_padding():
    x = normal(0, 2, 5, 6, 3)
    block = nn.ResidualBlock(8, 2, shortcut="padding", order="after", norm=None)
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), shapes)
    y = jax.jit(lambda: block.apply(zeros, x, train=False))()
    expected = np.zeros((2, 3, 3, 8), np.float32)
    expected[..., 2:5] = x[:, ::2, ::2]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("order", ["pre", "after"])
def test_a_stack_without_outer_activation_adds_up(order):  # 002-G39
    block = nn.ResidualBlock(4, order=order, norm=None, kind="bottleneck")
    first, second = variables_of(block), jax.tree.map(np.negative, variables_of(block))

    @jax.jit
    def run(x):
        middle = block.apply(first, x, train=False)
        end = block.apply(second, middle, train=False)
        return end, middle - x, end - middle

    x = normal(0, *SHAPE)
    end, one, two = run(x)
    np.testing.assert_allclose(end, x + one + two, rtol=1e-5, atol=1e-5)
    assert abs(one).max() > 0.1
    # "after" can only add, as the rectifier is the last thing that acts on a branch; "pre" has none at its end.
    assert (one.min() > -1e-6) == (order == "after")


def test_masked_rows_do_not_count():
    x, mask = normal(0, 4, 4, 4, 4), np.array([True, False, True, True])
    x[1] = 100
    block = nn.ResidualBlock(6, 2)
    variables = variables_of(block)

    @jax.jit
    def run():
        masked = block.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])
        return masked, block.apply(variables, x[mask], train=True, mutable=["batch_stats"])

    (y, stats), expected = run()
    close((y[mask], stats), expected)


@pytest.mark.parametrize(
    "plain", [nn.ResidualBlock(4, order="pre"), nn.InvertedResidualBlock(4, expansion=2)]
)
def test_squeeze_excite_and_dropped_paths(plain):
    class Half(linen.Module):
        @linen.compact
        def __call__(self, x):
            return x * self.param("scale", jax.nn.initializers.ones, ())

    x = normal(0, 64, 2, 2, 4)
    gated, dropped = plain.clone(squeeze_excite=Half), plain.clone(drop_path_rate=0.5)
    variables = variables_of(gated)
    variables["params"]["squeeze_excite"]["scale"] = np.float32(0.5)
    if "project_norm" in variables["params"]:  # so that the rest of the branch is linear
        variables["params"]["project_norm"]["bias"] *= 0
        variables["batch_stats"]["project_norm"]["mean"] *= 0

    @jax.jit
    def run():
        noise = {"dropout": jax.random.key(1)}
        return (
            plain.apply(variables, x, train=False) - x,
            gated.apply(variables, x, train=False) - x,
            dropped.apply(variables, x, train=False) - x,
            plain.apply(variables, x, train=True, mutable=["batch_stats"])[0] - x,
            dropped.apply(variables, x, train=True, mutable=["batch_stats"], rngs=noise)[0] - x,
        )

    branch, half, evaluated, trained, noisy = run()
    close(half, 0.5 * branch)
    close(evaluated, branch, 1e-6)
    kept = abs(noisy).max((1, 2, 3)) > 0
    assert 16 < kept.sum() < 48
    close(noisy[kept], 2 * trained[kept], 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("make", [nn.ResidualBlock, nn.InvertedResidualBlock])
def test_eager_jit_vmap_and_half_precision_agree(make):
    x = normal(0, 2, *SHAPE)
    full, block = make(4), make(4, dtype=jnp.bfloat16)
    variables = variables_of(full)

    @jax.jit
    def run(x):
        return (
            full.apply(variables, x[0], train=False),
            jax.vmap(lambda x: full.apply(variables, x, train=False))(x),
            block.apply(variables, x[0], train=False),
        )

    y, mapped, half = run(x)
    close(full.apply(variables, x[0], train=False), y)
    close(mapped[0], y)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), y, rtol=0.05, atol=0.05)


X = jnp.ones((1, 4, 4, 8))


@pytest.mark.parametrize(
    ("block", "x", "error", "match"),
    [
        pytest.param(nn.ResidualBlock(8), X[0], ValueError, "x must have rank 4", id="rank"),
        pytest.param(nn.ResidualBlock(8), X.astype(int), TypeError, "x must be floating", id="dtype"),
        pytest.param(nn.ResidualBlock(0), X, ValueError, "features must be at least 1", id="features"),
        pytest.param(nn.ResidualBlock(8, 0), X, ValueError, "strides must be at least 1", id="strides"),
        pytest.param(nn.ResidualBlock(8, kind="wide"), X, ValueError, "kind must be one of", id="kind"),
        pytest.param(nn.ResidualBlock(8, order="v2"), X, ValueError, "order must be one of", id="order"),
        pytest.param(
            nn.ResidualBlock(8, shortcut="A"), X, ValueError, "shortcut must be one of", id="shortcut"
        ),
        pytest.param(
            nn.ResidualBlock(6, kind="bottleneck"),
            X,
            ValueError,
            "features must be a multiple of 4",
            id="width",
        ),
        pytest.param(
            nn.ResidualBlock(4, shortcut="padding"), X, ValueError, "features must be at least", id="padding"
        ),
        pytest.param(
            nn.InvertedResidualBlock(8, kernel_size=4), X, ValueError, "kernel_size must be odd", id="even"
        ),
        pytest.param(
            nn.InvertedResidualBlock(8, expansion=0),
            X,
            ValueError,
            "expansion must be at least 1",
            id="expansion",
        ),
    ],
)
def test_bad_input(block, x, error, match, key):
    with pytest.raises(error, match=match):
        jax.eval_shape(lambda: block.init(key, x, train=False))
