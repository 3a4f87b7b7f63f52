"""Feed-forward networks: parameter counts, worked forward passes, the invariants of every model, PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn
from jaxdl.models.dense import MLP, Perceptron, SoftmaxRegression


def count(model, *shape):
    variables = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, *shape)), train=False), jax.random.key(0)
    )
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("model", "inputs", "expected"),
    [
        pytest.param(MLP((3,), 2), 3, 20, id="000-1.2"),
        pytest.param(MLP((2,), 1, use_bias=False), 3, 8, id="004a-M1"),
        pytest.param(MLP((8,), 1), 2, 33, id="004a-M2"),
        pytest.param(MLP((), 1), 2, 3, id="004a-M3"),
        pytest.param(MLP((2,), 1), 2, 9, id="004a-M6"),
        pytest.param(MLP((2,), 1, use_bias=False), 2, 6, id="004a-M7"),
        pytest.param(MLP((4,), 1), 2, 17, id="004a-M8"),
        pytest.param(MLP((256, 128), 10), 784, 235_146, id="004a-M4"),
        pytest.param(MLP((64,), 10), 784, 50_890, id="004a-M15"),
        pytest.param(MLP((128, 64), 10), 784, 109_386, id="004a-M16"),
        pytest.param(MLP((24,), 10), 784, 19_090, id="004b-1.1"),
        pytest.param(MLP((24,), 10, use_bias=False), 784, 19_056, id="004b-1.1-weights"),
        pytest.param(MLP((10, 10), 1), 18, 311, id="004b-1.8a"),
        pytest.param(MLP((10,) * 9, 1), 18, 1_081, id="004b-1.8a-nine"),
        pytest.param(MLP((10,) * 10, 1), 18, 1_191, id="004b-1.8a-ten"),
        pytest.param(MLP((128, 256, 128, 64), 1), 18, 76_673, id="004b-1.8a-wide"),
        pytest.param(MLP((24, 24), 2), 4, 770, id="004b-1.26"),
        pytest.param(SoftmaxRegression(10), 784, 7_850, id="softmax-regression"),
        pytest.param(Perceptron(), 2, 3, id="perceptron"),
        pytest.param(Perceptron(3, use_bias=False), 2, 6, id="perceptron-of-three"),
    ],
)
def test_parameter_count(model, inputs, expected):
    assert count(model, inputs) == expected


def test_images_are_flattened():
    assert count(MLP((256, 128), 10), 28, 28, 1) == 235_146


def layers(*arrays):
    """Parameters of an MLP from kernels and biases in turn; None for no bias."""
    pairs = zip(arrays[::2], arrays[1::2])
    return {
        "params": {
            f"Dense_{i}": {"kernel": jnp.asarray(w, jnp.float32)}
            | ({} if b is None else {"bias": jnp.asarray(b, jnp.float32)})
            for i, (w, b) in enumerate(pairs)
        }
    }


CORNERS = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    ("output", "bias", "expected"),
    [
        pytest.param([[1], [-2]], [0], [0, 1, 1, 0], id="000-G1-xor"),
        pytest.param([[-1], [2]], [1], [1, 0, 0, 1], id="000-1.3-xnor"),
    ],
)
def test_fixed_relu_net(output, bias, expected):
    variables = layers(np.ones((2, 2)), [0, -1], output, bias)
    y = nn.relu(MLP((2,), 1).apply(variables, CORNERS, train=False))
    np.testing.assert_array_equal(y[:, 0], expected)
    hidden = nn.relu(CORNERS @ jnp.ones((2, 2)) + jnp.array([[0.0, -1.0]]))
    np.testing.assert_array_equal(hidden, [[0, 0], [1, 0], [1, 0], [2, 1]])


def test_spam_net():  # 004a-7.1
    variables = layers([[0.5, 0.4], [-0.2, 0.1], [0.3, -0.5]], None, [[0.7], [0.2]], None)
    logit = MLP((2,), 1, use_bias=False).apply(variables, jnp.array([[1.0, 0.0, 1.0]]), train=False)
    np.testing.assert_allclose(logit, [[0.56]], rtol=1e-6)
    np.testing.assert_allclose(nn.sigmoid(logit), [[0.6364525402815664]], rtol=1e-6)


def test_two_layer_sigmoid_forward():  # 000-G3a
    variables = layers([[0.15, 0.25], [0.20, 0.30]], [0.35] * 2, [[0.40, 0.50], [0.45, 0.55]], [0.60] * 2)
    x = jnp.array([[0.05, 0.10]])
    y = nn.sigmoid(MLP((2,), 2, nn.sigmoid).apply(variables, x, train=False))
    np.testing.assert_allclose(y, [[0.751365069552, 0.772928465321]], rtol=1e-6)
    first = {"params": {"Dense_0": variables["params"]["Dense_0"]}}
    nets = MLP((), 2).apply(first, x, train=False)
    np.testing.assert_allclose(nets, [[0.3775, 0.3925]], rtol=1e-6)
    np.testing.assert_allclose(nn.sigmoid(nets), [[0.593269992107, 0.596884378260]], rtol=1e-6)


def test_two_two_one_forward():  # 004a-7.4a
    variables = layers([[0.2, 0.3], [0.2, 0.3]], None, [[0.3], [0.9]], None)
    x = jnp.array([[0.35, 0.7]])
    net = MLP((2,), 1, nn.sigmoid, use_bias=False).apply(variables, x, train=False)
    np.testing.assert_allclose(net, [[0.6859870825]], rtol=1e-6)
    np.testing.assert_allclose(nn.sigmoid(net), [[0.6650736395]], rtol=1e-6)


def test_linear_separator():  # 004a-7.2
    x = jnp.array([[5.0, 2.0], [-1.0, 12.0], [3.0, -5.0], [-2.0, -1.0], [3.0, -2.0]])
    net = Perceptron().apply(layers([[0.5], [0.25]], [-2]), x, train=False)[:, 0]
    np.testing.assert_allclose(net, [1.0, 0.5, -1.75, -3.25, -1.0], rtol=1e-6)
    np.testing.assert_array_equal(jnp.where(net > 0, 1, 2), [1, 1, 2, 2, 2])


def test_zero_start_of_the_convex_models(key):
    for model in (Perceptron(2), SoftmaxRegression(2)):
        variables = model.init(key, jnp.ones((1, 3)), train=False)
        assert not any(leaf.any() for leaf in jax.tree.leaves(variables))


def test_a_linear_stack_is_one_linear_layer(key):  # 000-2304
    model = MLP((5, 4), 3, nn.identity, bias_init=nn.normal_init(1.0))
    x = jax.random.normal(key, (6, 7))
    variables = model.init(key, x, train=False)
    kernels, biases = zip(*((p["kernel"], p["bias"]) for p in variables["params"].values()))
    bias = (biases[0] @ kernels[1] + biases[1]) @ kernels[2] + biases[2]
    one = layers(kernels[0] @ kernels[1] @ kernels[2], bias)
    expected = MLP((), 3).apply(one, x, train=False)
    np.testing.assert_allclose(model.apply(variables, x, train=False), expected, rtol=1e-5, atol=1e-5)
    bent = MLP((5, 4), 3, nn.relu).apply(variables, x, train=False)
    assert abs(bent - expected).max() > 0.1


MODELS = [
    pytest.param(MLP((6, 5), 4), id="mlp"),
    pytest.param(MLP((6,), 4, nn.tanh, dropout_rate=0.5), id="mlp-dropout"),
    pytest.param(SoftmaxRegression(4), id="softmax-regression"),
    pytest.param(Perceptron(4), id="perceptron"),
]


@pytest.mark.parametrize("model", MODELS)
def test_invariants(model, key):
    x = jax.random.normal(key, (8, 3, 2))
    variables = model.init(key, x, train=False)
    rngs = {"dropout": key}
    y = model.apply(variables, x, train=False)
    assert (y.shape, y.dtype) == ((8, 4), jnp.float32)
    np.testing.assert_array_equal(
        y, model.apply(variables, x, train=False, rngs={"dropout": jax.random.key(5)})
    )
    np.testing.assert_allclose(
        jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, x), y, atol=1e-6
    )
    weight = jax.random.normal(jax.random.key(1), y.shape)
    grads = jax.grad(lambda v: (model.apply(v, x, train=True, rngs=rngs) * weight).sum())(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert leaf.any(), path
    low = model.clone(dtype=jnp.bfloat16)
    variables = low.init(key, x, train=False)
    assert low.apply(variables, x, train=False).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    with pytest.raises(TypeError, match="train"):
        model.apply(variables, x)


def test_cast_parameters_compute_in_bfloat16(key):
    model = MLP((6,), 4)
    x = jnp.ones((2, 3), jnp.bfloat16)
    variables = jax.tree.map(lambda a: a.astype(jnp.bfloat16), model.init(key, x, train=False))
    assert model.apply(variables, x, train=False).dtype == jnp.bfloat16


def test_dropout_acts_on_hidden_units_while_training(key):
    model = MLP((200,), 200, nn.identity, dropout_rate=0.5, use_bias=False)
    x = jnp.ones((1, 4))
    params = layers(np.ones((4, 200)), None, np.eye(200), None)
    y = model.apply(params, x, train=True, rngs={"dropout": key})
    assert set(np.unique(y)) == {0.0, 8.0}
    np.testing.assert_array_equal(model.apply(params, x, train=False), jnp.full((1, 200), 4.0))


def test_matches_torch(key):
    torch = pytest.importorskip("torch")
    twin = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)
    )
    linear = twin[::2]
    variables = layers(*(a for l in linear for a in (l.weight.detach().numpy().T, l.bias.detach().numpy())))
    x = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    labels = np.arange(9) % 3
    loss = torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(labels))
    loss.backward()

    def objective(variables):
        logits = MLP((8, 5), 3).apply(variables, jnp.asarray(x), train=True)
        return -nn.log_softmax(logits)[jnp.arange(9), labels].mean()

    value, grads = jax.jit(jax.value_and_grad(objective))(variables)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
    for i, l in enumerate(linear):
        ours = grads["params"][f"Dense_{i}"]
        np.testing.assert_allclose(ours["kernel"], l.weight.grad.numpy().T, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ours["bias"], l.bias.grad.numpy(), rtol=1e-4, atol=1e-6)
