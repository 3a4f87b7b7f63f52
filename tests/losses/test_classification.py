"""Classification losses against Optax, PyTorch, float64 and worked numbers."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses

RNG = np.random.default_rng(0)
N, K = 9, 5
LOGITS = (3 * RNG.normal(size=(N, K))).astype(np.float32)
CLASSES = RNG.integers(0, K, N).astype(np.int32)
ONE_HOT = np.eye(K, dtype=np.float32)[CLASSES]
SOFT = RNG.dirichlet(np.ones(K), N).astype(np.float32)
PROBABILITIES = RNG.dirichlet(np.ones(K), N).astype(np.float32)
SCORES = (2 * RNG.normal(size=N)).astype(np.float32)
BINARY = RNG.integers(0, 2, N).astype(np.int32)
SHARES = RNG.uniform(size=N).astype(np.float32)
CHANCES = RNG.uniform(0.01, 0.99, N).astype(np.float32)
SIGNS = (2 * BINARY - 1).astype(np.int32)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ours, inputs, the equation in float64, its derivative
ROWS = {
    "sigmoid_binary_cross_entropy": (
        losses.sigmoid_binary_cross_entropy,
        (SCORES, SHARES),
        lambda x, y: -y * np.log(sigmoid(x)) - (1 - y) * np.log(sigmoid(-x)),
        lambda x, y: sigmoid(x) - y,
    ),
    "sigmoid_binary_cross_entropy integer labels": (
        losses.sigmoid_binary_cross_entropy,
        (SCORES, BINARY),
        lambda x, y: -np.log(sigmoid(np.where(y == 1, x, -x))),
        lambda x, y: sigmoid(x) - y,
    ),
    "binary_cross_entropy": (
        losses.binary_cross_entropy,
        (CHANCES, SHARES),
        lambda p, y: -y * np.log(p) - (1 - y) * np.log(1 - p),
        lambda p, y: (p - y) / (p * (1 - p)),
    ),
    "categorical_cross_entropy": (
        losses.categorical_cross_entropy,
        (PROBABILITIES, SOFT),
        lambda p, y: -(y * np.log(p)).sum(-1),
        lambda p, y: -y / p,
    ),
    "softmax_cross_entropy": (
        losses.softmax_cross_entropy,
        (LOGITS, SOFT),
        lambda x, y: -(y * log_softmax(x)).sum(-1),
        lambda x, y: np.exp(log_softmax(x)) * y.sum(-1, keepdims=True) - y,
    ),
    "softmax_cross_entropy_with_integer_labels": (
        losses.softmax_cross_entropy_with_integer_labels,
        (LOGITS, CLASSES),
        lambda x, y: -log_softmax(x)[np.arange(N), y.astype(int)],
        lambda x, y: np.exp(log_softmax(x)) - ONE_HOT,
    ),
    "perceptron_loss": (
        losses.perceptron_loss,
        (SCORES, SIGNS),
        lambda s, t: np.maximum(0, -t * s),
        lambda s, t: np.where(t * s <= 0, -t, 0),
    ),
    "hinge": (
        losses.hinge,
        (SCORES, SIGNS),
        lambda s, t: np.maximum(0, 1 - t * s),
        lambda s, t: np.where(t * s < 1, -t, 0),
    ),
}


# Compiled quickly rather than well: each program runs once.
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@functools.partial(jax.jit, static_argnums=0, compiler_options=FAST)
def value_and_gradient(loss, x, *args):
    """Losses per row and the gradient of their sum."""
    value, pull = jax.vjp(lambda x: loss(x, *args), x)
    return value, pull(jnp.ones_like(value))[0]


every_row = pytest.mark.parametrize(("loss", "inputs", "equation", "derivative"), ROWS.values(), ids=ROWS)


@every_row
def test_equation_and_derivative(loss, inputs, equation, derivative):
    value, gradient = value_and_gradient(loss, *inputs)
    exact = [x.astype(np.float64) for x in inputs]
    chex.assert_shape(value, (N,))
    np.testing.assert_allclose(value, equation(*exact), rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(gradient, derivative(*exact), rtol=2e-5, atol=1e-6)


@pytest.mark.slow  # the derivatives above are closed forms
@every_row
def test_numerical_gradient(loss, inputs, equation, derivative):
    chex.assert_numerical_grads(lambda x: loss(x, inputs[1]).mean(), (inputs[0],), order=1, atol=5e-3)


@every_row
def test_row_mask_hides_values_gradients_and_nan(loss, inputs, equation, derivative):
    x, y = (array.copy() for array in inputs)
    where = np.arange(N) % 3 > 0
    x[~where] = np.nan
    y[~where] = -100 if y.dtype == np.int32 else np.nan
    value, gradient = value_and_gradient(loss, x, y, where)
    kept_value, kept_gradient = value_and_gradient(loss, x[where], y[where])
    np.testing.assert_allclose(value[where], kept_value, rtol=1e-6)
    np.testing.assert_allclose(gradient[where], kept_gradient, rtol=1e-6)
    assert (value[~where] == 0).all()
    assert (gradient[~where] == 0).all()


@every_row
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_extremes_are_finite(loss, inputs, equation, derivative, dtype):
    is_probability = inputs[0].min() >= 0
    big = 1.0 if is_probability else 1e4
    shape = inputs[0].shape
    # Every entry in turn is far above, then far below, the others.
    x = jnp.where(jnp.arange(inputs[0].size).reshape(shape) % 2 == 0, big, 0.0 if is_probability else -big)
    x, y = x.astype(dtype), jnp.asarray(inputs[1])
    value, gradient = value_and_gradient(loss, x, y)
    assert value.dtype == jnp.float32
    assert gradient.dtype == dtype
    chex.assert_tree_all_finite((value, gradient))
    if not is_probability:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            expected = equation(np.float64(x), inputs[1].astype(np.float64))
        if np.isfinite(expected).all():
            np.testing.assert_allclose(value, expected, rtol=1e-6)


@every_row
def test_nan_predictions_are_never_a_low_loss(loss, inputs, equation, derivative):
    x = inputs[0].copy()
    x.reshape(N, -1)[3, 0] = np.nan
    value = loss(x, inputs[1])
    assert np.isnan(value).tolist() == [i == 3 for i in range(N)]


@every_row
def test_vmap_equals_batch(loss, inputs, equation, derivative):
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(*inputs), jax.jit(loss)(*inputs), rtol=1e-6)


# Optax.


@pytest.mark.parametrize(
    ("ours", "library", "inputs"),
    [
        pytest.param(
            losses.sigmoid_binary_cross_entropy,
            optax.sigmoid_binary_cross_entropy,
            (SCORES, SHARES),
            id="sigmoid",
        ),
        pytest.param(losses.softmax_cross_entropy, optax.softmax_cross_entropy, (LOGITS, SOFT), id="softmax"),
        pytest.param(
            losses.softmax_cross_entropy_with_integer_labels,
            optax.softmax_cross_entropy_with_integer_labels,
            (LOGITS, CLASSES),
            id="integer",
        ),
        pytest.param(losses.hinge, optax.hinge_loss, (SCORES, SIGNS), id="hinge"),
        pytest.param(losses.perceptron_loss, optax.losses.perceptron_loss, (SCORES, SIGNS), id="perceptron"),
    ],
)
def test_matches_optax(ours, library, inputs):
    x, y = jnp.asarray(inputs[0]), jnp.asarray(inputs[1])
    for got, expected in zip(value_and_gradient(ours, x, y), value_and_gradient(library, x, y)):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("labels", ["integer", "distribution"])
def test_classes_left_out_match_optax(labels):
    where = np.random.default_rng(1).uniform(size=(N, K)) < 0.6
    where[np.arange(N), CLASSES] = True
    where[0] = False  # a row without classes counts nothing
    if labels == "integer":
        ours, library, y = (
            losses.softmax_cross_entropy_with_integer_labels,
            optax.softmax_cross_entropy_with_integer_labels,
            CLASSES,
        )
    else:
        ours, library, y = losses.softmax_cross_entropy, optax.softmax_cross_entropy, SOFT
    got, gradient = value_and_gradient(ours, LOGITS, y, where)
    expected, _ = value_and_gradient(functools.partial(library, where=where), LOGITS, y)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)
    assert got[0] == 0
    assert (gradient[~where] == 0).all()
    # A class left out is a logit of minus infinity.
    _, ruled_out = value_and_gradient(ours, np.where(where, LOGITS, -np.inf), y, where)
    np.testing.assert_allclose(gradient[1:], ruled_out[1:], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.vmap(ours))(LOGITS, y, where), got, rtol=1e-6, atol=1e-7)


def test_classes_left_out_of_probabilities_equal_those_left_out_of_logits():
    where = np.random.default_rng(2).uniform(size=(N, K)) < 0.6
    where[:, 0] = True
    where[3] = False
    probabilities = jax.nn.softmax(LOGITS)
    np.testing.assert_allclose(
        losses.categorical_cross_entropy(probabilities, SOFT, where),
        losses.softmax_cross_entropy(LOGITS, SOFT, where),
        rtol=1e-5,
        atol=1e-6,
    )


# PyTorch.


@pytest.mark.parametrize(
    ("ours", "inputs", "library"),
    [
        pytest.param(
            losses.sigmoid_binary_cross_entropy,
            (SCORES, SHARES),
            lambda f: f.binary_cross_entropy_with_logits,
            id="sigmoid",
        ),
        pytest.param(
            losses.binary_cross_entropy, (CHANCES, SHARES), lambda f: f.binary_cross_entropy, id="binary"
        ),
        pytest.param(losses.softmax_cross_entropy, (LOGITS, SOFT), lambda f: f.cross_entropy, id="softmax"),
        pytest.param(
            losses.softmax_cross_entropy_with_integer_labels,
            (LOGITS, CLASSES),
            lambda f: f.cross_entropy,
            id="integer",
        ),
    ],
)
def test_matches_torch(ours, inputs, library):
    torch = pytest.importorskip("torch")
    x = torch.tensor(inputs[0], requires_grad=True)
    y = torch.tensor(inputs[1])
    value = library(torch.nn.functional)(x, y.long() if y.dtype == torch.int32 else y, reduction="none")
    value.sum().backward()
    got, gradient = value_and_gradient(ours, *inputs)
    np.testing.assert_allclose(got, value.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-5, atol=1e-6)


# Worked numbers.


def test_worked_numbers():
    # 001-G14
    y, label = jnp.array([0.7, 0.2, 0.1]), jnp.array([1, 0, 0])
    np.testing.assert_allclose(losses.categorical_cross_entropy(y, label), 0.3566749, atol=5e-8)
    # 002-D13k
    np.testing.assert_allclose(losses.binary_cross_entropy(jnp.array(0.8), 1), 0.2231436, atol=1e-7)
    np.testing.assert_allclose(
        losses.softmax_cross_entropy_with_integer_labels(jnp.array([1.0, 2, 3]), 2), 0.4076060, atol=2e-7
    )
    # 004a-4.4
    y, p = jnp.array([1, 0, 1, 1]), jnp.array([0.9, 0.2, 0.8, 0.6])
    np.testing.assert_allclose(losses.binary_cross_entropy(p, y).mean(), 0.2656183105, rtol=1e-6)


def test_keyword_spam_net():
    """004a-7.1: two ReLU units without biases, a sigmoid and its cross-entropy."""
    x = jnp.array([1.0, 0, 1])
    hidden = jnp.array([[0.5, -0.2, 0.3], [0.4, 0.1, -0.5]]) @ x
    np.testing.assert_allclose(hidden, [0.8, -0.1], rtol=1e-6)
    logit = jnp.array([0.7, 0.2]) @ jax.nn.relu(hidden)
    p = jax.nn.sigmoid(logit)
    np.testing.assert_allclose(p, 0.6364525402815664, rtol=1e-6)
    np.testing.assert_allclose(losses.binary_cross_entropy(p, 1), 0.4518454273, rtol=1e-6)
    np.testing.assert_allclose(losses.sigmoid_binary_cross_entropy(logit, 1), 0.4518454273, rtol=1e-6)


def test_undecided_costs_the_logarithm_of_the_choices():
    zeros = jnp.zeros((2, 10))
    np.testing.assert_allclose(jax.jit(INTEGER)(zeros, jnp.array([3, 9])), np.log(10), rtol=1e-6)
    soft = jax.jit(losses.softmax_cross_entropy)(zeros, jnp.full((2, 10), 0.1))
    np.testing.assert_allclose(soft, np.log(10), rtol=1e-6)
    np.testing.assert_allclose(losses.sigmoid_binary_cross_entropy(0.0, 1), np.log(2), rtol=1e-6)


# Labels that cannot be.

INTEGER = losses.softmax_cross_entropy_with_integer_labels
IMPOSSIBLE = [
    pytest.param(INTEGER, LOGITS, CLASSES, [-1, K, 2**31 - 1, -(2**31)], id="integer"),
    pytest.param(losses.softmax_cross_entropy, LOGITS, ONE_HOT, [-0.1, 1.01, np.nan], id="softmax"),
    pytest.param(
        losses.categorical_cross_entropy, PROBABILITIES, ONE_HOT, [-0.1, 1.01, np.nan], id="categorical"
    ),
    pytest.param(losses.sigmoid_binary_cross_entropy, SCORES, SHARES, [-0.1, 1.01, np.nan], id="sigmoid"),
    pytest.param(losses.binary_cross_entropy, CHANCES, BINARY, [-1, 2], id="binary"),
    pytest.param(losses.hinge, SCORES, SIGNS, [0, 2], id="hinge"),
    pytest.param(losses.perceptron_loss, SCORES, SIGNS, [0, -2], id="perceptron"),
]


@pytest.mark.parametrize(("loss", "x", "y", "impossible"), IMPOSSIBLE)
def test_impossible_labels_give_nan_in_loss_and_gradient_of_their_row_only(loss, x, y, impossible):
    for label in impossible:
        bad = y.copy()
        bad.reshape(N, -1)[4, 0] = label
        value, gradient = value_and_gradient(loss, x, bad)
        others = np.arange(N) != 4
        assert np.isnan(value[4])
        assert np.isnan(gradient[4]).any()  # so a bad label between two logged batches is found as well
        assert np.isfinite(value[others]).all()
        assert np.isfinite(gradient[others]).all()


@pytest.mark.parametrize("p", [-0.1, 1.1, 3.0])
def test_logits_taken_for_probabilities_give_nan(p):
    assert np.isnan(losses.binary_cross_entropy(jnp.array(p), 1))
    assert np.isnan(losses.categorical_cross_entropy(jnp.array([p, 1 - p]), jnp.array([1, 0])))


def test_probabilities_rounded_past_one_are_fine():
    p = np.nextafter(np.float32(1), np.float32(2))
    np.testing.assert_allclose(losses.binary_cross_entropy(p, 1), 0, atol=1e-6)


def test_label_of_a_class_left_out_gives_nan():
    where = np.ones((N, K), bool)
    where[2, CLASSES[2]] = False
    assert np.isnan(INTEGER(LOGITS, CLASSES, where)).tolist() == [i == 2 for i in range(N)]


def test_logits_of_minus_infinity_rule_out_a_class():
    logits, labels = jnp.array([[0.0, -jnp.inf, 0.0]]), jnp.array([[0.5, 0.0, 0.5]])
    value, gradient = value_and_gradient(losses.softmax_cross_entropy, logits, labels)
    np.testing.assert_allclose(value, [np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros((1, 3)), atol=1e-7)
    np.testing.assert_allclose(jax.jit(INTEGER)(logits, jnp.array([0]))[0], np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "nats"), [(jnp.float16, 9.704), (jnp.bfloat16, 87.337), (jnp.float32, 87.337)]
)
def test_a_certain_mistake_costs_the_floor(dtype, nats):
    certain = jnp.array([0, 1], dtype)
    np.testing.assert_allclose(losses.binary_cross_entropy(certain, jnp.array([1, 0])), nats, rtol=1e-4)
    np.testing.assert_allclose(losses.binary_cross_entropy(certain, jnp.array([0, 1])), 0)
    np.testing.assert_allclose(losses.categorical_cross_entropy(certain, jnp.array([1, 0])), nats, rtol=1e-4)
    through_sigmoid = jax.grad(lambda x: losses.binary_cross_entropy(jax.nn.sigmoid(x), 1))(jnp.float32(-80))
    np.testing.assert_allclose(through_sigmoid, -1, rtol=1e-3)  # the steep logarithm meets the flat sigmoid


def test_perceptron_rule_starts_from_zero_weights():
    x, t = jnp.array([[1.0, 2.0]]), jnp.array([-1])
    gradient = jax.grad(lambda w: losses.perceptron_loss(x @ w, t).sum())(jnp.zeros(2))
    np.testing.assert_array_equal(gradient, [1, 2])  # w <- w + t x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: INTEGER(LOGITS, CLASSES[:3]), ValueError, r"labels .*\(3,\).*\(9, 5\)"),
        (lambda: INTEGER(LOGITS, CLASSES[:, None]), ValueError, r"labels .*\(9, 1\)"),
        (lambda: INTEGER(LOGITS, SHARES), TypeError, "labels must be integers, got float32"),
        (lambda: INTEGER(CLASSES, CLASSES[0]), TypeError, "logits must be floating point, got int32"),
        (
            lambda: INTEGER(LOGITS, CLASSES, np.ones(4, bool)),
            ValueError,
            r"where .*\(9,\) or \(9, 5\), got \(4,\)",
        ),
        (lambda: INTEGER(LOGITS, CLASSES, np.ones(N)), TypeError, "where must be bool, got float64"),
        (
            lambda: losses.softmax_cross_entropy(LOGITS, CLASSES),
            ValueError,
            "labels must have the shape of logits",
        ),
        (lambda: losses.softmax_cross_entropy(1.0, 1.0), ValueError, "logits must have a last axis"),
        (
            lambda: losses.categorical_cross_entropy(1.0, 1.0),
            ValueError,
            "probabilities must have a last axis",
        ),
        (lambda: losses.binary_cross_entropy(BINARY, BINARY), TypeError, "probabilities must be floating"),
        (
            lambda: losses.sigmoid_binary_cross_entropy(SCORES[:, None], BINARY),
            ValueError,
            "labels must have",
        ),
        (lambda: losses.hinge(SCORES[:, None], SIGNS), ValueError, "targets must have the shape of scores"),
        (
            lambda: losses.perceptron_loss(SCORES, SIGNS[:2]),
            ValueError,
            "targets must have the shape of scores",
        ),
    ],
)
def test_wrong_shapes_and_dtypes(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32])
def test_narrow_labels_and_many_classes(dtype):
    logits = RNG.normal(size=(N, 300)).astype(np.float32)
    np.testing.assert_array_equal(INTEGER(logits, CLASSES.astype(dtype)), INTEGER(logits, CLASSES))


def test_one_program_for_every_label():
    chex.clear_trace_counter()
    loss = jax.jit(chex.assert_max_traces(INTEGER, n=1))
    for i in range(3):
        loss(LOGITS, (CLASSES + i) % K)
