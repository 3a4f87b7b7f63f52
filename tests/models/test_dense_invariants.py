"""Every model of the dense family: shapes, parameter counts, and what holds for all of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn
from jaxdl.models.competitive import KMeans
from jaxdl.models.dense import (
    MLP,
    Adaline,
    HighwayNetwork,
    LassoRegression,
    LinearRegression,
    LinearSVM,
    LogisticRegression,
    MaxoutNetwork,
    MixtureOfExperts,
    ModularNetwork,
    MultiTaskNetwork,
    Perceptron,
    PolynomialNetwork,
    ProgressiveNetwork,
    RBFNetwork,
    RidgeRegression,
    SiameseNetwork,
    SoftmaxRegression,
    SoftSharedNetworks,
    Word2Vec,
    ZeroShotNetwork,
)

B, D, K = 8, 6, 4  # rows, inputs (of shape 3 x 2), outputs
TABLE = ((B, 3, 2),)


def low(model):
    return model.clone(dtype=jnp.bfloat16)


def of_encoder(model):
    return model.clone(encoder=low(model.encoder))


@dataclasses.dataclass(frozen=True)
class Row:
    """A model, the shapes of its inputs (int: tokens below that number), what it returns and how many parameters."""

    model: Any
    inputs: tuple
    outputs: Any
    count: int
    low: Callable = low
    frozen: str = ""  # parameters that get no gradient


ROWS = {
    "perceptron": Row(Perceptron(K), TABLE, (B, K), D * K + K),
    "softmax-regression": Row(SoftmaxRegression(K), TABLE, (B, K), D * K + K),
    "mlp": Row(MLP((6, 5), K, nn.tanh, dropout_rate=0.5), TABLE, (B, K), 42 + 35 + 24),
    "adaline": Row(Adaline(K), TABLE, (B, K), D * K + K),
    "linear": Row(LinearRegression(), TABLE, (B, 1), D + 1),  # 004a-M20: d + 1
    "linear-through-0": Row(LinearRegression(K, use_bias=False), TABLE, (B, K), D * K),
    "ridge": Row(RidgeRegression(K), TABLE, (B, K), D * K + K),
    "lasso": Row(LassoRegression(K), TABLE, (B, K), D * K + K),
    "logistic": Row(LogisticRegression(), TABLE, (B, 1), D + 1),  # 004a-M19: d + 1
    "svm": Row(LinearSVM(), TABLE, (B, 1), D + 1),  # 004a-M21: d + 1
    "maxout": Row(MaxoutNetwork((5,), K, 3, dropout_rate=0.5), TABLE, (B, K), (D + 1) * 5 * 3 + (5 + 1) * K),
    "highway": Row(
        HighwayNetwork(5, 2, K, nn.tanh, dropout_rate=0.5),
        TABLE,
        (B, K),
        (D + 1) * 5 + 2 * 2 * (5 + 1) * 5 + (5 + 1) * K,
    ),
    "rbf": Row(RBFNetwork(7, K), TABLE, (B, K), 7 * D + 7 + (7 + 1) * K),
    "polynomial": Row(PolynomialNetwork(2, 3), TABLE, (B, 1), 2 * 3 * 6),
    "polynomial-few-pairs": Row(PolynomialNetwork(1, 99), ((B, 3),), (B, 1), 3 * 6),
    "modular": Row(
        ModularNetwork((MLP((3,), 2), MLP((2,), 2)), ((0, 1, 2), (3, 5))),
        TABLE,
        (B, 4),
        20 + 12,
        lambda m: m.clone(modules=[low(net) for net in m.modules]),
    ),
    "modular-linear": Row(
        ModularNetwork((MLP((3,), 2), MLP((2,), 3)), ((0, 1, 2), (3, 5)), "linear", K),
        TABLE,
        (B, K),
        20 + 15 + (5 + 1) * K,
    ),
    "modular-mean": Row(
        ModularNetwork((MLP((3,), 2), MLP((2,), 2)), ((0, 1, 2), (3, 5)), "mean"),
        TABLE,
        (B, 2),
        20 + 12,
        lambda m: m.clone(modules=[low(net) for net in m.modules]),
    ),
    "modular-gated": Row(
        ModularNetwork((MLP((3,), 2), MLP((2,), 2)), ((0, 1, 2), (3, 5)), "gated"),
        TABLE,
        (B, 2),
        20 + 12 + (D + 1) * 2,
        lambda m: low(m).clone(modules=[low(net) for net in m.modules]),
    ),
    "experts": Row(
        MixtureOfExperts(MLP((3,), K, dropout_rate=0.5), 3),
        TABLE,
        (B, K),
        3 * (21 + 16) + (D + 1) * 3,
        lambda m: low(m).clone(expert=low(m.expert)),
    ),
    "experts-two-of-three": Row(
        MixtureOfExperts(MLP((3,), K), 3, num_active=2),
        TABLE,
        (B, K),
        3 * (21 + 16) + (D + 1) * 3,
        lambda m: low(m).clone(expert=low(m.expert)),
    ),
    "multi-task": Row(
        MultiTaskNetwork((5,), {"a": K, "b": 1}, (3,), dropout_rate=0.5),
        TABLE,
        {"a": (B, K), "b": (B, 1)},
        35 + (18 + 16) + (18 + 4),
    ),
    "soft-shared": Row(
        SoftSharedNetworks((5,), {"a": K, "b": 1}, dropout_rate=0.5),
        TABLE,
        {"a": (B, K), "b": (B, 1)},
        (35 + 24) + (35 + 6),
    ),
    "progressive": Row(
        ProgressiveNetwork((5, 3), (2, K)),
        TABLE,
        (B, K),
        (35 + 18 + 8) + (35 + 18 + 16) + (5 * 3 + 3 * K),
        frozen="column_0",
    ),
    "siamese": Row(SiameseNetwork(MLP((5,), 3), normalize=True), TABLE * 2, (B,), 35 + 18, of_encoder),
    "zero-shot": Row(
        ZeroShotNetwork(MLP((5,), 3), 3),
        (*TABLE, (10, 2)),
        (B, 10),
        35 + 18 + 2 * 3,
        lambda m: low(of_encoder(m)),
    ),
    "skip-gram": Row(Word2Vec(11, 4), (((B,), 11), ((B, 5), 11)), (B, 5), 2 * 11 * 4),
    "cbow": Row(Word2Vec(11, 4), (((B, 6), 11),), (B, 11), 2 * 11 * 4),
    "k-means": Row(KMeans(K), TABLE, (B, K), K * D, low=None),
}


def inputs_of(row):
    made = []
    for i, shape in enumerate(row.inputs):
        key = jax.random.fold_in(jax.random.key(3), i)
        if isinstance(shape[0], tuple):
            made.append(jax.random.randint(key, shape[0], 0, shape[1]))
        else:
            made.append(jax.random.normal(key, shape))
    return made


def shapes_of(row):
    def start(key):
        return row.model.init_with_output(key, *inputs_of(row), train=False)

    return jax.eval_shape(start, jax.random.key(0))


def scattered(row):
    """Variables with parameters away from zeros and other special values."""
    rng = np.random.default_rng(0)
    _, shapes = shapes_of(row)
    params = jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), shapes["params"])
    rest = set(shapes) - {"params"}
    made = row.model.init(jax.random.key(0), *inputs_of(row), train=False) if rest else {}
    return params, {name: made[name] for name in rest}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_counts_and_shapes(row):
    outputs, variables = shapes_of(row)
    assert jax.tree.map(lambda y: y.shape, outputs) == row.outputs
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == row.count
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}


# Each program runs once, so it is compiled without what would make it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_invariants(row):
    model, xs = row.model, inputs_of(row)
    params, rest = scattered(row)
    weights = jax.tree.map(
        lambda y: jnp.float32(np.random.default_rng(1).normal(size=y.shape)), shapes_of(row)[0]
    )

    def everything(params):
        def weighted(params):
            rngs = {"dropout": jax.random.key(2)}
            y = model.apply({"params": params, **rest}, *xs, train=True, rngs=rngs)
            return sum(jax.tree.leaves(jax.tree.map(lambda y, w: (y * w).sum(), y, weights)))

        variables = {"params": params, **rest}
        # A random stream that is there changes nothing.
        y = model.apply(variables, *xs, train=False, rngs={"dropout": jax.random.key(5)})
        narrow = None if row.low is None else row.low(model).apply(variables, *xs, train=False)
        return y, narrow, jax.grad(weighted)(params)

    y, narrow, grads = jax.jit(everything, compiler_options=QUICK)(params)
    eager = model.apply({"params": params, **rest}, *xs, train=False)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), eager, y)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.isfinite(leaf).all(), name
        assert leaf.any() == (not row.frozen or row.frozen not in name), name
    for a, b in zip(jax.tree.leaves(narrow), jax.tree.leaves(eager)):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(a), b, atol=0.1 * np.abs(b).max())
    with pytest.raises(TypeError, match="train"):
        model.apply({"params": params, **rest}, *xs)
