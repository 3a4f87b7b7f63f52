"""Nets for several tasks, for pairs, and for described classes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses, nn, optim, train
from jaxdl.models.dense import (
    MLP,
    MultiTaskNetwork,
    ProgressiveNetwork,
    SiameseNetwork,
    SoftSharedNetworks,
    ZeroShotNetwork,
)
from jaxdl.models.dense.matching import euclidean

# Compiled without what would make it fast: each program runs once.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def quick(function, *args):
    """The result of a program that runs once."""
    return jax.jit(function, compiler_options=QUICK)(*args)


def applied(model, variables, *xs, **options):
    """`model.apply` as one program."""
    return quick(lambda variables, xs: model.apply(variables, *xs, **options), variables, xs)


def started(model, key, *xs):
    """Fresh parameters."""
    return quick(lambda key: model.init(key, *xs, train=False)["params"], key)


def descend(loss, params, tx, num_steps):
    """Full-batch updates in one program; the last parameters and the losses."""

    def step(carry, _):
        params, opt_state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), values = quick(
        lambda params: jax.lax.scan(step, (params, tx.init(params)), length=num_steps), params
    )
    return params, values


def randomized(model, *xs, seed=0):
    shapes = jax.eval_shape(lambda key: model.init(key, *xs, train=False), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), shapes)["params"]


X = jnp.float32(np.random.default_rng(2).normal(size=(6, 4)))
TASKS = {"a": 3, "b": 1}


def test_hard_sharing_is_one_net_up_to_the_heads():
    model = MultiTaskNetwork((5,), TASKS, activation=nn.tanh)
    params = randomized(model, X)
    outputs = applied(model, {"params": params}, X, train=False)
    for task, size in TASKS.items():
        layers = {"Dense_0": params["trunk_0"], "Dense_1": params[f"head_{task}"]["Dense_0"]}
        alone = applied(MLP((5,), size, nn.tanh), {"params": layers}, X, train=False)
        np.testing.assert_allclose(outputs[task], alone, rtol=1e-5, atol=1e-6)
    # A task's loss moves the trunk and its own head.
    grads = quick(jax.grad(lambda p: model.apply({"params": p}, X, train=True)["a"].sum()), params)
    moved = {name: any(leaf.any() for leaf in jax.tree.leaves(tree)) for name, tree in grads.items()}
    assert moved == {"trunk_0": True, "head_a": True, "head_b": False}


def test_soft_sharing_between_separate_nets_and_one_trunk(key):
    model = SoftSharedNetworks((3,), {"a": 1, "b": 1, "c": 2}, nn.tanh)
    params = randomized(model, X)
    outputs = applied(model, {"params": params}, X, train=False)
    for task, size in model.outputs.items():
        alone = applied(MLP((3,), size, nn.tanh), {"params": params[task]}, X, train=False)
        np.testing.assert_array_equal(outputs[task], alone)
    apart = [
        sum(
            np.sum((np.float64(params[s]["Dense_0"][part]) - np.float64(params[t]["Dense_0"][part])) ** 2)
            for part in ("kernel", "bias")
        )
        for s, t in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    np.testing.assert_allclose(model.sharing_penalty(params, 0.1), 0.1 * sum(apart), rtol=1e-5)

    def gap(strength):
        def loss(params):
            y = model.apply({"params": params}, X, train=True)
            return jnp.mean(
                jnp.square(y["a"] - X[:, :1]) + jnp.square(y["b"] + X[:, :1])
            ) + model.sharing_penalty(params, strength)

        end, _ = descend(loss, params, optim.adam(0.05), 200)
        return float(model.sharing_penalty(end, 1.0))

    assert gap(10.0) < 1e-3 < 1 < gap(0.0)


def test_soft_sharing_worked():  # 002-D13
    model = SoftSharedNetworks((2,), {"a": 1, "b": 1})
    kernels = {"a": [[1.0, 2], [3, 4]], "b": [[1.0, 0], [0, 4]]}
    params = {
        task: {"Dense_0": {"kernel": jnp.array(kernels[task]), "bias": jnp.zeros(2)}, "Dense_1": {}}
        for task in kernels
    }
    np.testing.assert_allclose(model.sharing_penalty(params, 0.1), 1.3, rtol=1e-6)


def test_progressive_columns_are_the_equation():
    model = ProgressiveNetwork((5, 3), (2, 4), nn.tanh)
    params = randomized(model, X)
    x, old, new = np.float64(X), params["column_0"], params["column_1"]
    dense = lambda layer, h: h @ np.float64(layer["kernel"]) + np.float64(layer.get("bias", 0))  # noqa: E731
    first = [np.tanh(dense(old["layer_0"], x))]
    first.append(np.tanh(dense(old["layer_1"], first[0])))
    np.testing.assert_allclose(
        applied(model, {"params": params}, X, train=False, column=0),
        dense(old["layer_2"], first[1]),
        rtol=1e-4,
        atol=1e-5,
    )
    h = np.tanh(dense(new["layer_0"], x))
    h = np.tanh(dense(new["layer_1"], h) + dense(new["layer_1_from_0"], first[0]))
    y = dense(new["layer_2"], h) + dense(new["layer_2_from_0"], first[1])
    np.testing.assert_allclose(applied(model, {"params": params}, X, train=False), y, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="column must be one of 2, got 2"):
        applied(model, {"params": params}, X, train=False, column=2)


def test_progressive_net_grows_without_forgetting(key):
    """Parity of two inputs; then of three, which the first column's answer makes easy. The first stays to the bit."""
    x = jnp.array([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])
    first, second = x[:, :1] * x[:, 1:2], x[:, :1] * x[:, 1:2] * x[:, 2:]

    def loss(model, targets, column):
        def value(params):
            scores = model.apply({"params": params}, x, train=True, column=column)
            return jnp.mean(losses.squared_error(scores, targets))

        return value

    small, large = ProgressiveNetwork((6,), (1,), nn.tanh), ProgressiveNetwork((6,), (1, 1), nn.tanh)
    start = started(small, key, x)
    learned, values = descend(loss(small, first, 0), start, optim.adam(0.03), 300)
    assert values[-1] < 1e-2
    fresh = started(large, jax.random.key(1), x)
    grown, report = train.transfer(learned, fresh)
    assert not report.unused
    assert {path.split("/")[0] for path in report.missing} == {"column_1"}
    # Decay would shrink the old column, which has no gradient.
    tx = train.freeze_parameters(optim.adamw(0.03, weight_decay=1e-3), "^column_0/")
    end, values = descend(loss(large, second, 1), grown, tx, 400)
    assert values[-1] < 5e-2
    jax.tree.map(np.testing.assert_array_equal, end["column_0"], learned["column_0"])


def test_twins_share_weights_and_measure_distances():
    model = SiameseNetwork(MLP((5,), 3))
    params = randomized(model, X, X)
    other = X[::-1] + 0.5
    embed = lambda x: np.float64(applied(MLP((5,), 3), {"params": params["encoder"]}, x, train=False))  # noqa: E731
    d = applied(model, {"params": params}, X, other, train=False)
    np.testing.assert_allclose(d, np.linalg.norm(embed(X) - embed(other), axis=1), rtol=1e-5)
    np.testing.assert_allclose(d, applied(model, {"params": params}, other, X, train=False), rtol=1e-6)
    same = quick(jax.value_and_grad(lambda p: model.apply({"params": p}, X, X, train=True).sum()), params)
    assert same[0] <= 6.1e-6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(same[1]))
    unit = SiameseNetwork(MLP((5,), 3), normalize=True)
    z = applied(unit, {"params": params}, X, train=False, method="embed")
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), np.ones(6), rtol=1e-5)
    assert (applied(unit, {"params": params}, X, other, train=False) <= 2).all()
    manhattan = SiameseNetwork(MLP((5,), 3), lambda a, b: jnp.abs(a - b).sum(axis=-1))
    np.testing.assert_allclose(
        applied(manhattan, {"params": params}, X, other, train=False),
        np.abs(embed(X) - embed(other)).sum(1),
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="second must have the shape of first"):
        applied(model, {"params": params}, X, X[:3], train=False)


def test_twins_learn_what_alike_means_and_apply_it_to_new_classes(key):
    """Two of ten coordinates tell the class, the others are louder. Nearest neighbours among classes never seen."""
    rng = np.random.default_rng(0)

    def points(centers, labels):
        loud = 3 * rng.normal(size=(len(labels), 8))
        return np.float32(np.c_[centers[labels] + 0.15 * rng.normal(size=(len(labels), 2)), loud])

    angles = 2 * np.pi * np.arange(16) / 16
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 2
    known, new = circle[::2], circle[1::2]
    labels = rng.integers(0, 8, (2, 400))
    labels[1, ::2] = labels[0, ::2]  # half of the pairs alike
    first, second = points(known, labels[0]), points(known, labels[1])
    alike = jnp.asarray(labels[0] == labels[1])
    model = SiameseNetwork(MLP((), 2))

    def loss(params):
        d = model.apply({"params": params}, first, second, train=True)
        return jnp.mean(losses.contrastive(d, alike, margin=2.0))

    params, _ = descend(loss, started(model, key, first, second), optim.adam(0.02), 400)
    examples = points(new, np.arange(8))
    queries, truth = points(new, np.repeat(np.arange(8), 20)), np.repeat(np.arange(8), 20)

    def share_right(a, b):
        nearest = np.argmin(((np.asarray(a)[:, None] - np.asarray(b)[None]) ** 2).sum(-1), axis=1)
        return np.mean(nearest == truth)

    embed = lambda x: applied(model, {"params": params}, x, train=False, method="embed")  # noqa: E731
    assert share_right(queries, examples) < 0.4
    assert share_right(embed(queries), embed(examples)) > 0.85


def test_euclidean_is_flat_at_0():
    value, slope = jax.value_and_grad(lambda a: euclidean(a, jnp.zeros((1, 3)))[0])(jnp.zeros((1, 3)))
    assert value == pytest.approx(1e-6)
    np.testing.assert_array_equal(slope, np.zeros((1, 3)))


def test_described_classes_that_were_never_seen(key):
    """Sixteen classes of four yes-or-no properties each, mixed into eight inputs; four classes are never trained on."""
    rng = np.random.default_rng(1)
    codes = np.float32([[2 * ((k >> i) & 1) - 1 for i in range(4)] for k in range(16)])
    mixing = rng.normal(size=(4, 8))
    unseen = np.array([1, 6, 11, 12])
    seen = np.setdiff1d(np.arange(16), unseen)

    def points(classes, count):
        labels = rng.integers(0, len(classes), count)
        return np.float32(codes[classes[labels]] @ mixing + 0.3 * rng.normal(size=(count, 8))), labels

    x, labels = points(seen, 300)
    model = ZeroShotNetwork(MLP((), 4), 4)

    def loss(params):
        logits = model.apply({"params": params}, x, codes[seen], train=True)
        return jnp.mean(losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    params, _ = descend(loss, started(model, key, x, codes[seen]), optim.adam(0.05), 150)
    new_x, new_labels = points(unseen, 200)
    logits = applied(model, {"params": params}, new_x, codes[unseen], train=False)
    assert logits.shape == (200, 4)
    assert np.mean(np.argmax(logits, axis=1) == new_labels) > 0.95
    # Against all sixteen, of which it knows twelve and prefers those; chance is one in sixteen.
    everyone = applied(model, {"params": params}, new_x, codes, train=False)
    assert np.mean(np.argmax(everyone, axis=1) == unseen[new_labels]) > 0.3
    # The scores are bilinear: F(x, t) = f(x) . (t V).
    z = applied(MLP((), 4), {"params": params["encoder"]}, new_x, train=False)
    np.testing.assert_allclose(
        logits, z @ (codes[unseen] @ params["descriptions"]["kernel"]).T, rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ValueError, match="encoder must have shape"):
        ZeroShotNetwork(MLP((), 3), 4).init(key, x, codes, train=False)
