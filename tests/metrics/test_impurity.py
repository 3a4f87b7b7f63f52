"""Entropy, splits and importance: worked numbers, SciPy, scikit-learn, enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import metrics

RNG = np.random.default_rng(8)
TABLES = RNG.integers(0, 9, (4, 3, 5))  # of four features: three values, five classes
TABLES[0, 1] = 0


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        pytest.param(metrics.entropy, [0.5, 0.5], 1, id="002-G18"),
        pytest.param(metrics.entropy, [0.25] * 4, 2, id="002-G19"),
        pytest.param(metrics.entropy, [0.99, 0.01], 0.0807931, id="002-G20"),
        pytest.param(metrics.boolean_entropy, 0.99, 0.0807931, id="002-G20 boolean"),
        pytest.param(metrics.boolean_entropy, 9 / 14, 0.9402860, id="002-D13h"),
        pytest.param(metrics.gini_impurity, [9 / 14, 5 / 14], 0.4591837, id="002-D13h Gini"),
        pytest.param(metrics.entropy, [1.0, 0.0], 0, id="certain"),
        pytest.param(metrics.boolean_entropy, 0.0, 0, id="never"),
        pytest.param(metrics.gini_impurity, [0.0, 1.0], 0, id="pure"),
        pytest.param(metrics.entropy, [1.5, -0.5], np.nan, id="no distribution"),
        pytest.param(metrics.boolean_entropy, 1.1, np.nan, id="no probability"),
        pytest.param(metrics.gini_impurity, [1.5, -0.5], np.nan, id="no distribution Gini"),
    ],
)
def test_worked_numbers(metric, value, expected):
    got = jax.jit(metric)(np.float32(value))
    np.testing.assert_allclose(got, expected, atol=5e-7)
    if metric is metrics.entropy and value == [0.99, 0.01]:
        np.testing.assert_allclose(got * np.log(2), 0.0560015, atol=5e-7)


def by_hand(table):
    """Entropy of a split and its gain from single examples, as mutual information."""
    stats = pytest.importorskip("scipy.stats")
    joint = table / table.sum()
    after = sum(row.sum() * stats.entropy(row / row.sum(), base=2) for row in joint if row.sum())
    both = stats.entropy(joint.ravel(), base=2)
    gain = stats.entropy(joint.sum(0), base=2) + stats.entropy(joint.sum(1), base=2) - both
    return after, gain


def test_splits_equal_scipy():
    expected = np.array([by_hand(table) for table in TABLES]).T
    functions = (metrics.split_entropy, metrics.information_gain)
    tables = np.concatenate([TABLES, [0 * TABLES[0], -TABLES[1]]])
    whole = jax.jit(lambda x: [function(x) for function in functions])
    mapped = jax.jit(jax.vmap(lambda x: [function(x) for function in functions]))
    for got in (np.array(whole(tables)), np.array(mapped(tables))):
        np.testing.assert_allclose(got[:, :4], expected, rtol=1e-5, atol=1e-6)
        assert np.isnan(got[:, 4:]).all()  # empty, negative


def test_feature_importance_equals_scikit_learns_trees():
    trees = pytest.importorskip("sklearn.tree")
    x = RNG.normal(size=(200, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] ** 2 + 0.3 * RNG.normal(size=200) > 1).astype(int)
    importance = jax.jit(metrics.feature_importance, static_argnames="num_features")
    for criterion, depth in (("gini", 4), ("entropy", 4), ("gini", 1)):
        model = trees.DecisionTreeClassifier(criterion=criterion, max_depth=depth, random_state=0).fit(x, y)
        tree = model.tree_
        split = tree.children_left >= 0
        decreases = np.zeros(tree.node_count)
        shares = tree.value[:, 0] / tree.value[:, 0].sum(1, keepdims=True)
        impurity = jax.jit({"gini": metrics.gini_impurity, "entropy": metrics.entropy}[criterion])
        padding = np.tile([1.0, 0.0], (40 - len(shares), 1))  # one program for all trees
        got = impurity(np.concatenate([shares, padding]))[: len(shares)]
        np.testing.assert_allclose(got, tree.impurity, atol=1e-6)
        n = tree.n_node_samples
        for m in np.flatnonzero(split):
            left, right = tree.children_left[m], tree.children_right[m]
            decreases[m] = (
                tree.impurity[m] - (n[left] * tree.impurity[left] + n[right] * tree.impurity[right]) / n[m]
            )
        features = np.pad(
            tree.feature, (0, 40 - tree.node_count), constant_values=-1
        )  # one program for all trees
        decreases, n = (np.pad(x, (0, 40 - tree.node_count)) for x in (decreases, n))
        got = importance(features, decreases, n, num_features=4)
        np.testing.assert_allclose(got, model.feature_importances_, atol=1e-6)
    leaves = np.full_like(features, -1)
    np.testing.assert_array_equal(importance(leaves, decreases, n, num_features=4), np.zeros(4))
    leaves[3] = 4
    assert np.isnan(importance(leaves, decreases, n, num_features=4)).all()


def test_permutation_importance_equals_the_mean_over_all_permutations(key):
    x = RNG.normal(size=(4, 3)).astype(np.float32)
    y = x @ np.float32([2, -1, 0])

    def score(x, y):
        return -jnp.mean(jnp.square(x @ jnp.array([2.0, -1.0, 0.0]) - y))

    def drop(j):
        weight = (2, -1, 0)[j]
        orders = itertools.permutations(range(4))
        return np.mean([np.mean((weight * (x[list(order), j] - x[:, j])) ** 2) for order in orders])

    got = jax.jit(lambda key, x, y: metrics.permutation_importance(key, score, x, y, num_repeats=4000))(
        key, x, y
    )
    np.testing.assert_allclose(got, [drop(j) for j in range(3)], rtol=0.05, atol=1e-6)
    assert got[2] == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.entropy(np.arange(3)), TypeError, "probabilities must be floating"),
        (lambda: metrics.entropy(np.float32(0.5)), ValueError, "probabilities must have a last axis"),
        (lambda: metrics.boolean_entropy(1), TypeError, "probability must be floating"),
        (lambda: metrics.split_entropy(np.ones(3)), ValueError, r"counts must have shape \[..., V, K\]"),
        (lambda: metrics.information_gain(np.ones((3, 2), bool)), TypeError, "counts must be integers"),
        (
            lambda: metrics.feature_importance(np.ones(2), np.ones(2), np.ones(2), num_features=2),
            TypeError,
            "features must be integers",
        ),
        (
            lambda: metrics.feature_importance(np.ones(2, int), np.ones(3), np.ones(2), num_features=2),
            ValueError,
            "decreases must have the shape of features",
        ),
        (
            lambda: metrics.permutation_importance(jax.random.key(0), sum, np.ones(3), None),
            ValueError,
            "inputs must have rank 2",
        ),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
