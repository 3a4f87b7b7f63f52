"""Several labels, several tasks: by hand, masks, state, bad batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from sklearn import metrics as sklearn_metrics

from jaxdl import losses
from jaxdl.models.dense import MLP, LogisticRegression, MultiTaskNetwork
from jaxdl.objectives import multi_label, multi_label_metrics, multi_task, multi_task_metrics

B, D, K = 7, 4, 3
BCE = losses.sigmoid_binary_cross_entropy
CROSS_ENTROPY = losses.softmax_cross_entropy_with_integer_labels


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(B, D)).astype(np.float32),
        "label": rng.integers(0, 2, (B, K)).astype(bool),
    }


@pytest.fixture
def tasks():
    rng = np.random.default_rng(1)
    return {
        "x": rng.normal(size=(B, D)).astype(np.float32),
        "kind": rng.integers(0, K, B).astype(np.int32),
        "size": rng.normal(size=(B, 2)).astype(np.float32),
    }


def quick(function, *args):
    """The result of a program that runs once, compiled without what would make it fast."""
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    return jax.jit(function, compiler_options=options)(*args)


def value_and_grad(objective, *args):
    return quick(jax.value_and_grad(objective, has_aux=True), *args)


def parameters(model, x, seed=0):
    shapes = jax.eval_shape(lambda key: model.init(key, x, train=False), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), shapes["params"])


class Noisy(linen.Module):
    """Dropout and a counter: randomness and state that an objective has to carry."""

    outputs: int

    @linen.compact
    def __call__(self, x, *, train):
        calls = self.variable("counts", "calls", lambda: jnp.zeros((), jnp.int32))
        if train and not self.is_initializing():
            calls.value = calls.value + 1
        return linen.Dense(self.outputs)(linen.Dropout(0.5, deterministic=not train)(x))


# Several labels.


def test_labels_by_hand(rows, key):
    model = LogisticRegression(K)
    params = parameters(model, rows["image"])
    loss, (state, measured) = quick(multi_label(model, BCE), params, {}, rows, key)
    logits = np.asarray(model.apply({"params": params}, rows["image"], train=False), np.float64)
    y = rows["label"]
    by_hand = np.log1p(np.exp(-np.where(y, logits, -logits)))
    np.testing.assert_allclose(loss, by_hand.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        measured["accuracy"], 1 - sklearn_metrics.hamming_loss(y, logits > 0), rtol=1e-6
    )
    np.testing.assert_allclose(
        measured["exact_match"], sklearn_metrics.accuracy_score(y, logits > 0), rtol=1e-6
    )
    assert state == {}
    counted = multi_label_metrics(model, BCE)(params, {}, rows)
    for name, value in {"loss": loss, **measured}.items():
        np.testing.assert_allclose(counted[name][0] / counted[name][1], value, rtol=1e-5)
    assert [float(counted[name][1]) for name in ("loss", "accuracy", "exact_match")] == [B * K, B * K, B]
    # The same from integers, from floats, and with a loss per row.
    for dtype in (np.int32, np.float32):
        again = quick(multi_label(model, BCE), params, {}, {**rows, "label": y.astype(dtype)}, key)
        chex.assert_trees_all_close(again[0], loss)
    per_row = quick(multi_label(model, lambda s, t: BCE(s, t).mean(axis=1)), params, {}, rows, key)
    np.testing.assert_allclose(per_row[0], loss, rtol=1e-6)


def test_masked_labels_count_nothing(rows, key):
    model = LogisticRegression(K)
    params = parameters(model, rows["image"])
    valid = np.array([True, False, True, True, False, True, True])
    garbage = {
        "image": np.where(valid[:, None], rows["image"], np.nan),
        "label": np.where(valid[:, None], rows["label"], np.nan).astype(np.float32),
        "mask": valid,
    }
    kept = {name: x[valid] for name, x in rows.items()}

    def run(batch, mask):
        return value_and_grad(multi_label(model, BCE, mask=mask), params, {}, batch, key)

    chex.assert_trees_all_close(run(garbage, "mask"), run(kept, None), rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_close(
        quick(multi_label_metrics(model, BCE), params, {}, garbage),
        quick(multi_label_metrics(model, BCE), params, {}, kept),
        rtol=1e-5,
    )
    nothing = run({**garbage, "mask": np.zeros(B, bool)}, "mask")
    chex.assert_trees_all_equal(nothing, jax.tree.map(jnp.zeros_like, nothing))


def test_state_and_randomness(rows, key):
    model = Noisy(K)
    variables = model.init(key, rows["image"], train=False)
    params, state = variables["params"], {"counts": variables["counts"]}
    objective = jax.jit(multi_label(model, BCE))
    loss, (after, _) = objective(params, state, rows, key)
    assert after["counts"]["calls"] == 1
    assert (
        loss == objective(params, state, rows, key)[0] != objective(params, state, rows, jax.random.key(1))[0]
    )
    first, second = (multi_label_metrics(model, BCE)(params, state, rows) for _ in range(2))
    chex.assert_trees_all_equal(first, second)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(
            {"label": np.zeros((B, 2))}, ValueError, r"labels' shape \(7, 2\), got \(7, 3\)", id="k"
        ),
        pytest.param({"label": np.zeros(B, int)}, ValueError, "label must have rank 2", id="rank"),
        pytest.param({"label": np.zeros((2, K))}, ValueError, "image must agree|image and label", id="rows"),
        pytest.param({"image": np.zeros((B, D), np.uint8)}, TypeError, "uint8", id="pixels"),
    ],
)
def test_bad_labels(rows, change, error, message, key):
    model = LogisticRegression(K)
    params = parameters(model, rows["image"])
    with pytest.raises(error, match=message):
        jax.eval_shape(multi_label(model, BCE), params, {}, {**rows, **change}, key)
    with pytest.raises(ValueError, match="unreduced values of shape"):
        multi_label(model, lambda s, t: BCE(s, t).mean())(params, {}, rows, key)


# Several tasks.

NET = MultiTaskNetwork((5,), {"kind": K, "size": 2}, activation=jnp.tanh)
LOSSES = {"kind": CROSS_ENTROPY, "size": losses.squared_error}


def test_tasks_by_hand(tasks, key):
    params = parameters(NET, tasks["x"])
    loss, (state, measured) = quick(multi_task(NET, LOSSES, weights={"size": 0.25}), params, {}, tasks, key)
    outputs = NET.apply({"params": params}, tasks["x"], train=False)
    kind = CROSS_ENTROPY(outputs["kind"], tasks["kind"]).mean()
    size = np.mean((np.asarray(outputs["size"]) - tasks["size"]) ** 2)
    np.testing.assert_allclose(measured["kind/loss"], kind, rtol=1e-6)
    np.testing.assert_allclose(measured["size/loss"], size, rtol=1e-5)
    np.testing.assert_allclose(loss, kind + 0.25 * size, rtol=1e-5)
    right = np.mean(np.argmax(outputs["kind"], axis=1) == tasks["kind"])
    np.testing.assert_allclose(measured["kind/accuracy"], right, rtol=1e-6)
    assert set(measured) == {"kind/loss", "kind/accuracy", "size/loss"}
    assert state == {}
    counted = quick(multi_task_metrics(NET, LOSSES), params, {}, tasks)
    assert set(counted) == set(measured)
    for name, value in measured.items():
        np.testing.assert_allclose(counted[name][0] / counted[name][1], value, rtol=1e-5)


def test_rows_of_one_task_only(tasks, key):
    """Each row has a target for one task: the loss is that of two data sets side by side."""
    params = parameters(NET, tasks["x"])
    has_kind = np.arange(B) < 4
    batch = {
        **tasks,
        "kind": np.where(has_kind, tasks["kind"], -9).astype(np.int32),
        "size": np.where(has_kind[:, None], np.nan, tasks["size"]).astype(np.float32),
        "has kind": has_kind,
        "has size": ~has_kind,
    }
    masks = {"kind": "has kind", "size": "has size"}
    objective, metrics_fn = (make(NET, LOSSES, masks=masks) for make in (multi_task, multi_task_metrics))
    (loss, (_, measured)), grads = value_and_grad(objective, params, {}, batch, key)

    def apart(params):
        outputs = NET.apply({"params": params}, tasks["x"], train=True)
        kind = CROSS_ENTROPY(outputs["kind"][:4], tasks["kind"][:4]).mean()
        return kind + jnp.square(outputs["size"][4:] - tasks["size"][4:]).mean()

    expected, slopes = quick(jax.value_and_grad(apart), params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    chex.assert_trees_all_close(grads, slopes, rtol=1e-4, atol=1e-6)
    counted = quick(metrics_fn, params, {}, batch)
    assert float(counted["kind/accuracy"][1]) == 4
    assert float(counted["size/loss"][1]) == 2 * 3
    np.testing.assert_allclose(counted["size/loss"][0] / 6, measured["size/loss"], rtol=1e-5)
    none = {**batch, "has kind": np.zeros(B, bool)}
    assert quick(objective, params, {}, none, key)[1][1]["kind/loss"] == 0
    padded = {**tasks, "mask": has_kind}
    first = {name: x[:4] for name, x in tasks.items()}
    plain = multi_task_metrics(NET, LOSSES)
    chex.assert_trees_all_close(quick(plain, params, {}, padded), quick(plain, params, {}, first), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda p, t, k: multi_task(NET, {}), ValueError, "at least one task", id="none"),
        pytest.param(
            lambda p, t, k: multi_task(NET, LOSSES, weights={"colour": 1.0}), ValueError,
            r"weights must name tasks of loss_fns \(kind, size\), got colour", id="weight of nothing",
        ),
        pytest.param(
            lambda p, t, k: multi_task(NET, LOSSES, weights={"kind": -1.0}), ValueError, "weight of kind", id="sign"
        ),
        pytest.param(
            lambda p, t, k: multi_task(NET, LOSSES, masks={"colour": "m"}), ValueError, "masks must name", id="mask"
        ),
        pytest.param(
            lambda p, t, k: multi_task(NET, {"colour": BCE})(p, {}, t, k), ValueError, "outputs of 'colour'", id="task"
        ),
        pytest.param(
            lambda p, t, k: multi_task(NET, LOSSES)(p, {}, {**t, "size": t["size"][:, :1]}, k), ValueError,
            "outputs of size must have the shape of size", id="shape",
        ),
        pytest.param(
            lambda p, t, k: multi_task(NET, LOSSES)(p, {}, {**t, "kind": t["kind"][:, None]}, k), ValueError,
            "kind must have rank 1", id="rank",
        ),
        pytest.param(
            lambda p, t, k: multi_task(MLP((), K), LOSSES)(parameters(MLP((), K), t["x"]), {}, t, k), TypeError,
            "model must return a dict", id="no dict",
        ),
    ],
)  # fmt: skip
def test_bad_tasks(tasks, call, error, message, key):
    with pytest.raises(error, match=message):
        call(parameters(NET, tasks["x"]), tasks, key)
