"""LeNet-5: published counts and shapes, a PyTorch twin, the invariants of every model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn
from jaxdl.models.vision import LeNet5, lenet_c3_connections

# LeCun et al. 1998, table I, one row for each map of S2.
TABLE = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


def shapes(model, size=32):
    return jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, size, size, 1)), train=False), jax.random.key(0)
    )


def test_connections_are_the_papers():
    table = np.array(lenet_c3_connections())
    printed = np.array([[c == "X" for c in row] for row in TABLE.split()])
    np.testing.assert_array_equal(table, printed)
    assert table.sum() == 60
    assert table.sum(0).tolist() == [3] * 6 + [4] * 9 + [6]
    assert table.sum(1).tolist() == [10] * 6


@pytest.mark.parametrize("size", [28, 30, 32])
@pytest.mark.parametrize(
    ("sparse", "c3", "total"),
    [pytest.param(False, 2_416, 61_706, id="dense"), pytest.param(True, 1_516, 60_806, id="sparse")],
)
def test_parameter_counts(size, sparse, c3, total):  # 001-1.7
    params = shapes(LeNet5(sparse_c3=sparse), size)["params"]
    counts = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in params.items()}
    assert counts == {
        "Conv_0": 156,
        "PartialConv_0" if sparse else "Conv_1": c3,
        "Dense_0": 48_120,
        "Dense_1": 10_164,
        "Dense_2": 850,
    }
    assert sum(counts.values()) == total


@pytest.mark.parametrize("size", [28, 32])
def test_shapes_of_the_maps(size):  # 001-G9
    seen = []

    def record(x):
        seen.append(x.shape[1:])
        return nn.tanh(x)

    def pool(x, window):
        y = nn.average_pool(x, window)
        seen.append(y.shape[1:])
        return y

    model = LeNet5(activation=record, pool=pool)
    logits = jax.eval_shape(
        lambda key: model.init_with_output(key, jnp.zeros((2, size, size, 1)), train=False)[0],
        jax.random.key(0),
    )
    assert seen == [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (120,), (84,)]
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_smaller_images_are_centred_in_the_field(sparse, key):
    x = jax.random.normal(key, (2, 28, 28, 1))
    model = LeNet5(sparse_c3=sparse)
    variables = model.init(key, x, train=False)
    framed = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(
        model.apply(variables, x, train=False), model.apply(variables, framed, train=False), atol=1e-6
    )


@pytest.mark.parametrize("form", ["relu-max", "tanh-average"])
def test_matches_a_torch_twin(form, key):
    torch = pytest.importorskip("torch")
    activation, pool = (nn.relu, nn.max_pool) if form == "relu-max" else (nn.tanh, nn.average_pool)
    act, pooling = (
        (torch.nn.ReLU, torch.nn.MaxPool2d) if form == "relu-max" else (torch.nn.Tanh, torch.nn.AvgPool2d)
    )
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 5, padding=2), act(), pooling(2),
        torch.nn.Conv2d(6, 16, 5), act(), pooling(2), torch.nn.Flatten(),
        torch.nn.Linear(400, 120), act(), torch.nn.Linear(120, 84), act(), torch.nn.Linear(84, 10),
    )  # fmt: skip
    there = {
        "Conv_0": twin[0],
        "Conv_1": twin[3],
        "Dense_0": twin[7],
        "Dense_1": twin[9],
        "Dense_2": twin[11],
    }

    def ours(name, array):  # PyTorch flattens channel, row, column
        if name == "Dense_0":
            array = array.reshape(120, 16, 5, 5).transpose(0, 2, 3, 1).reshape(120, 400)
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T

    params = {
        name: {
            "kernel": jnp.asarray(ours(name, layer.weight.detach().numpy())),
            "bias": jnp.asarray(layer.bias.detach().numpy()),
        }
        for name, layer in there.items()
    }
    x = np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype(np.float32)
    labels = np.array([3, 1, 4, 1])
    logits = twin(torch.tensor(x.transpose(0, 3, 1, 2)))
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
    model = LeNet5(activation=activation, pool=pool)

    def objective(params):
        got = model.apply({"params": params}, jnp.asarray(x), train=True)
        return -nn.log_softmax(got)[jnp.arange(4), labels].mean(), got

    (_, got), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    np.testing.assert_allclose(got, logits.detach().numpy(), rtol=1e-4, atol=1e-5)
    for name, layer in there.items():
        np.testing.assert_allclose(
            grads[name]["kernel"], ours(name, layer.weight.grad.numpy()), rtol=1e-3, atol=1e-5
        )
        np.testing.assert_allclose(grads[name]["bias"], layer.bias.grad.numpy(), rtol=1e-3, atol=1e-5)


def test_equals_plain_linen(key):
    class Plain(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.max_pool(linen.relu(linen.Conv(6, (5, 5))(x)), (2, 2), (2, 2))
            x = linen.max_pool(linen.relu(linen.Conv(16, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
            x = linen.relu(linen.Dense(120)(x.reshape(x.shape[0], -1)))
            x = linen.relu(linen.Dense(84)(x))
            return linen.Dense(10)(x)

    x = jax.random.normal(key, (3, 28, 28, 1))
    variables = LeNet5().init(key, x, train=False)
    plain = Plain().init(key, x)
    jax.tree.map(np.testing.assert_array_equal, variables, plain)  # also the same first weights

    def run(apply):
        return jax.jit(jax.value_and_grad(lambda v: jnp.sin(apply(v)).sum()))(variables)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        run(lambda v: LeNet5().apply(v, x, train=True)),
        run(lambda v: Plain().apply(v, x)),
    )


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_invariants(sparse, key):
    model = LeNet5(sparse_c3=sparse)
    x = jax.random.normal(key, (4, 28, 28, 1))
    variables = model.init(key, x, train=False)
    y = model.apply(variables, x, train=False)
    assert (y.shape, y.dtype) == ((4, 10), jnp.float32)
    np.testing.assert_array_equal(y, model.apply(variables, x, train=False))
    np.testing.assert_allclose(jax.jit(lambda v: model.apply(v, x, train=False))(variables), y, atol=1e-5)
    weight = jax.random.normal(jax.random.key(1), y.shape)
    grads = jax.jit(jax.grad(lambda v: (model.apply(v, x, train=True) * weight).sum()))(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert leaf.any(), path
    low = model.clone(dtype=jnp.bfloat16)
    assert jax.eval_shape(lambda v: low.apply(v, x, train=False), variables).dtype == jnp.bfloat16
    init = jax.eval_shape(lambda key: low.init(key, x, train=False), key)
    assert {leaf.dtype for leaf in jax.tree.leaves(init)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(low.apply(variables, x, train=False).astype(jnp.float32), y, atol=0.1)


def test_gradient_step_holds_no_convolution_on_cpu(key):
    """So a scan over steps is as fast as a loop over them."""
    model, x = LeNet5(), jnp.zeros((2, 28, 28, 1))
    gradient = jax.grad(lambda v: model.apply(v, x, train=True).sum())
    assert "conv_general_dilated" not in str(jax.make_jaxpr(gradient)(shapes(model, 28)))


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        pytest.param(jnp.zeros((1, 8, 8, 1)), ValueError, "x must have images of 28", id="small"),
        pytest.param(jnp.zeros((1, 28, 32, 1)), ValueError, "x must have images of 28", id="oblong"),
        pytest.param(jnp.zeros((1, 29, 29, 1)), ValueError, "x must have images of 28", id="odd"),
        pytest.param(jnp.zeros((28, 28, 1)), ValueError, "x must have rank 4", id="rank"),
        pytest.param(jnp.zeros((1, 28, 28, 1), jnp.uint8), TypeError, "x must be floating", id="dtype"),
    ],
)
def test_bad_input(x, error, match, key):
    with pytest.raises(error, match=match):
        LeNet5().init(key, x, train=False)
