"""Objectives on a small linen model, against values and gradients worked out by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxdl import losses, objectives
from jaxdl.objectives import classification, classification_metrics, regression, regression_metrics

B, H, K = 6, 4, 3
CROSS_ENTROPY = losses.softmax_cross_entropy_with_integer_labels


class Linear(linen.Module):
    """One affine map of the flattened input: its gradients have a closed form."""

    features: int
    flat: bool = False

    @linen.compact
    def __call__(self, x, *, train):
        y = linen.Dense(self.features)(x.reshape(x.shape[0], -1))
        return y[:, 0] if self.flat else y


class Net(linen.Module):
    """Dropout and batch statistics, as real models have."""

    @linen.compact
    def __call__(self, x, *, train):
        x = linen.Dense(8)(x.reshape(x.shape[0], -1))
        x = linen.BatchNorm(use_running_average=not train)(x)
        x = linen.Dropout(0.5, deterministic=not train)(linen.relu(x))
        return linen.Dense(K)(x)


def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images():
    return {
        "image": rng().normal(size=(B, H, H, 1)).astype(np.float32),
        "label": np.array([0, 2, 1, 1, 0, 2], np.int32),
    }


@pytest.fixture
def table():
    return {
        "x": rng().normal(size=(B, 5)).astype(np.float32),
        "y": rng().normal(size=(B, 2)).astype(np.float32),
    }


def start(model, x):
    variables = jax.jit(model.init, static_argnames="train")(jax.random.key(1), x, train=False)
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}


def value_and_grad(objective, *args):
    return jax.jit(jax.value_and_grad(objective, has_aux=True))(*args)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_classification_with_distributions_by_hand(images, key):
    model = Linear(K)
    params, model_state = start(model, images["image"])
    targets = softmax(rng().normal(size=(B, K))).astype(np.float32)
    batch = {**images, "label": targets, "mask": np.array([True] * 5 + [False])}
    objective = classification(model, losses.softmax_cross_entropy, mask="mask")
    (loss, (_, metrics)), grads = value_and_grad(objective, params, model_state, batch, key)
    x, t = np.float64(images["image"]).reshape(B, -1)[:5], np.float64(targets)[:5]
    logits = x @ np.float64(params["Dense_0"]["kernel"]) + np.float64(params["Dense_0"]["bias"])
    p = softmax(logits)
    np.testing.assert_allclose(loss, -np.sum(t * np.log(p)) / 5, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(logits.argmax(1) == t.argmax(1)), rtol=1e-6)
    np.testing.assert_allclose(grads["Dense_0"]["kernel"], x.T @ (p - t) / 5, rtol=1e-4, atol=1e-6)
    totals = classification_metrics(model, losses.softmax_cross_entropy)(params, model_state, batch)
    np.testing.assert_allclose(totals["loss"][0] / totals["loss"][1], loss, rtol=1e-6)
    with pytest.raises(ValueError, match=r"labels must have shape \(6, 3\), got \(6, 4\)"):
        objective(params, model_state, {**batch, "label": np.ones((B, 4), np.float32)}, key)


def test_classification_by_hand(images, key):
    model = Linear(K)
    params, model_state = start(model, images["image"])
    objective = classification(model, CROSS_ENTROPY)
    (loss, (after, metrics)), grads = value_and_grad(objective, params, model_state, images, key)
    x, y = np.float64(images["image"]).reshape(B, -1), images["label"]
    w, b = np.float64(params["Dense_0"]["kernel"]), np.float64(params["Dense_0"]["bias"])
    p = softmax(x @ w + b)
    np.testing.assert_allclose(loss, -np.log(p[np.arange(B), y]).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (p.argmax(-1) == y).mean(), rtol=1e-6)
    error = (p - np.eye(K)[y]) / B
    np.testing.assert_allclose(grads["Dense_0"]["kernel"], x.T @ error, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(grads["Dense_0"]["bias"], error.sum(0), rtol=1e-4, atol=1e-6)
    assert after == {}
    assert loss.shape == ()
    assert loss.dtype == metrics["accuracy"].dtype == jnp.float32


def test_regression_by_hand(table, key):
    model = Linear(2)
    params, model_state = start(model, table["x"])
    objective = regression(model, losses.squared_error)
    (loss, (_, metrics)), grads = value_and_grad(objective, params, model_state, table, key)
    x, y = np.float64(table["x"]), np.float64(table["y"])
    error = x @ np.float64(params["Dense_0"]["kernel"]) + np.float64(params["Dense_0"]["bias"]) - y
    np.testing.assert_allclose(loss, np.mean(error**2), rtol=1e-5)
    np.testing.assert_allclose(metrics["squared_error"], np.mean(error**2), rtol=1e-5)
    np.testing.assert_allclose(metrics["absolute_error"], np.mean(np.abs(error)), rtol=1e-5)
    np.testing.assert_allclose(
        grads["Dense_0"]["kernel"], x.T @ (2 * error / error.size), rtol=1e-4, atol=1e-6
    )


def test_the_loss_may_be_per_example(table, key):
    params, model_state = start(Linear(2), table["x"])
    by_row = regression(Linear(2), lambda p, t: losses.squared_error(p, t).mean(axis=-1))
    by_element = regression(Linear(2), losses.squared_error)
    np.testing.assert_allclose(
        by_row(params, model_state, table, key)[0], by_element(params, model_state, table, key)[0], rtol=1e-6
    )


# Masks.


def masked(batch, inputs, outputs):
    """The batch with garbage in the rows that do not count."""
    valid = np.array([True, True, False, True, False, True])
    shape = (B,) + (1,) * (batch[inputs].ndim - 1)
    garbage = {inputs: np.where(valid.reshape(shape), batch[inputs], np.nan)}
    if batch[outputs].dtype == np.int32:
        garbage[outputs] = np.where(valid, batch[outputs], -7)
    else:
        garbage[outputs] = np.where(valid[:, None], batch[outputs], np.inf)
    return {**garbage, "valid": valid}, {name: x[valid] for name, x in batch.items()}


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_masked_rows_count_nothing(kind, images, table, key):
    if kind == "classification":
        names, batch, model, loss_fn = ("image", "label"), images, Linear(K), CROSS_ENTROPY
    else:
        names, batch, model, loss_fn = ("x", "y"), table, Linear(2), losses.absolute_error
    make, make_metrics = getattr(objectives, kind), getattr(objectives, f"{kind}_metrics")
    params, model_state = start(model, batch[names[0]])
    garbage, kept = masked(batch, *names)
    got = value_and_grad(make(model, loss_fn, mask="valid"), params, model_state, garbage, key)
    expected = value_and_grad(make(model, loss_fn), params, model_state, kept, key)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_close(
        make_metrics(model, loss_fn, mask="valid")(params, model_state, garbage),
        make_metrics(model, loss_fn)(params, model_state, kept),
        rtol=1e-5,
    )
    # No row at all: loss 0 and gradients 0, not NaN.
    garbage["valid"] = np.zeros(B, bool)
    (loss, (_, metrics)), grads = value_and_grad(
        make(model, loss_fn, mask="valid"), params, model_state, garbage, key
    )
    chex.assert_trees_all_equal((loss, metrics, grads), jax.tree.map(jnp.zeros_like, (loss, metrics, grads)))


# State and randomness.


def test_dropout_and_batch_statistics(images, key):
    model = Net()
    params, model_state = start(model, images["image"])
    objective = jax.jit(classification(model, CROSS_ENTROPY))
    loss, (after, _) = objective(params, model_state, images, key)
    x = np.float64(images["image"]).reshape(B, -1)
    hidden = x @ np.float64(params["Dense_0"]["kernel"])
    statistics = after["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.01 * hidden.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], 0.99 + 0.01 * hidden.var(0), rtol=1e-5)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, model_state)
    assert loss == objective(params, model_state, images, key)[0]  # the key is the only source of noise
    assert loss != objective(params, model_state, images, jax.random.key(7))[0]
    outputs, _ = model.apply(
        {"params": params, **model_state},
        images["image"],
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )
    np.testing.assert_allclose(loss, CROSS_ENTROPY(outputs, images["label"]).mean(), rtol=1e-6)


def test_evaluation_is_deterministic_and_changes_nothing(images):
    model = Net()
    params, model_state = start(model, images["image"])
    metrics_fn = jax.jit(classification_metrics(model, CROSS_ENTROPY))
    got = metrics_fn(params, model_state, images)
    logits = model.apply({"params": params, **model_state}, images["image"], train=False)
    np.testing.assert_allclose(got["loss"][0], CROSS_ENTROPY(logits, images["label"]).sum(), rtol=1e-6)
    assert got["accuracy"][0] == (np.argmax(logits, -1) == images["label"]).sum()
    assert got["loss"][1] == got["accuracy"][1] == B
    chex.assert_trees_all_equal(got, metrics_fn(params, model_state, images))
    chex.assert_type(jax.tree.leaves(got), jnp.float32)


def test_evaluation_reads_the_mask_of_a_padded_batch_by_itself(images, table):
    params, model_state = start(Linear(K), images["image"])
    padded = {**images, "mask": np.arange(B) < 4}
    got = classification_metrics(Linear(K), CROSS_ENTROPY)(params, model_state, padded)
    first = classification_metrics(Linear(K), CROSS_ENTROPY)(
        params, model_state, {name: x[:4] for name, x in images.items()}
    )
    chex.assert_trees_all_close(got, first, rtol=1e-6)

    params, model_state = start(Linear(2), table["x"])
    got = regression_metrics(Linear(2), losses.huber)(
        params, model_state, {**table, "mask": np.arange(B) < 4}
    )
    assert {name: float(count) for name, (_, count) in got.items()} == {
        "loss": 8,
        "squared_error": 8,
        "absolute_error": 8,
    }


# Precision, transformations, other models.


def test_bfloat16_computes_narrow_and_reports_wide(images, key):
    model = Net()
    params, model_state = start(model, images["image"])
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    batch = {**images, "image": jnp.asarray(images["image"], jnp.bfloat16)}
    objective = classification(model, CROSS_ENTROPY)
    (loss, (after, metrics)), grads = value_and_grad(objective, narrow, model_state, batch, key)
    assert loss.dtype == metrics["accuracy"].dtype == jnp.float32
    chex.assert_trees_all_equal_dtypes(grads, narrow)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, model_state)
    chex.assert_tree_all_finite((loss, grads))
    np.testing.assert_allclose(loss, jax.jit(objective)(params, model_state, images, key)[0], rtol=0.05)


def test_one_trace_and_vmap_over_keys(images, key):
    chex.clear_trace_counter()
    params, model_state = start(Net(), images["image"])
    objective = jax.jit(chex.assert_max_traces(classification(Net(), CROSS_ENTROPY), n=1))
    keys = jax.random.split(key, 3)
    one_by_one = [objective(params, model_state, images, k)[0] for k in keys]
    over_keys = jax.vmap(classification(Net(), CROSS_ENTROPY), in_axes=(None, None, None, 0))
    together = jax.jit(over_keys)(params, model_state, images, keys)[0]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-5)


def test_a_model_is_anything_with_apply(table, key):
    class Handwritten:
        def apply(self, variables, x, *, train, rngs=None, mutable=()):
            outputs = x @ variables["params"]["w"]
            calls = {"calls": variables["counts"]["calls"] + 1}
            return (outputs, {"counts": calls}) if train else outputs

    params, model_state = {"w": jnp.zeros((5, 2))}, {"counts": {"calls": jnp.zeros((), jnp.int32)}}
    loss, (after, _) = regression(Handwritten(), losses.half_squared_error)(params, model_state, table, key)
    np.testing.assert_allclose(loss, 0.5 * np.mean(table["y"] ** 2), rtol=1e-5)
    assert after["counts"]["calls"] == 1


def test_tokens_keys_and_optax_losses(key):
    class Tagger(linen.Module):
        @linen.compact
        def __call__(self, x, *, train):
            return linen.Dense(K)(linen.Embed(11, 4)(x).mean(axis=1))

    batch = {"tokens": np.arange(12).reshape(4, 3) % 11, "sense": np.array([0, 1, 2, 0], np.uint8)}
    params, model_state = start(Tagger(), batch["tokens"])
    names = {"inputs": "tokens", "labels": "sense"}
    ours = classification(Tagger(), CROSS_ENTROPY, **names)(params, model_state, batch, key)
    library = classification(Tagger(), optax.softmax_cross_entropy_with_integer_labels, **names)
    chex.assert_trees_all_close(ours, library(params, model_state, batch, key), rtol=1e-6)


def test_gradient_descent_learns(images, key):
    model = Linear(K)
    params, model_state = start(model, images["image"])
    step = jax.jit(jax.value_and_grad(classification(model, CROSS_ENTROPY), has_aux=True))
    (first, _), _ = step(params, model_state, images, key)
    for _ in range(60):
        (loss, (_, metrics)), grads = step(params, model_state, images, key)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    assert loss < 0.1 * first
    assert metrics["accuracy"] == 1


# Bad batches, models and losses: one message that names the thing, while tracing.


def changed(batch, **changes):
    batch = {**batch, **changes}
    return {name: x for name, x in batch.items() if x is not None}


ONES = np.ones((B, H, H, 1), np.float32)
BAD_IMAGES = [
    pytest.param(
        {"label": None}, ValueError, r"the labels under 'label', got the keys 'image'", id="no label"
    ),
    pytest.param({"image": None}, ValueError, r"under 'image', got the keys 'label'", id="no image"),
    pytest.param(
        {"image": (255 * ONES).astype(np.uint8)}, TypeError, "image .*uint8.*data.scale_pixels", id="uint8"
    ),
    pytest.param({"image": ONES > 0}, TypeError, "image must be floating point.*got bool", id="bool image"),
    pytest.param({"image": ONES[:, 0, 0, 0]}, ValueError, r"image .*got shape \(6,\)", id="image rank"),
    pytest.param(
        {"image": ONES[:4]}, ValueError, r"image and label .*\(4, 4, 4, 1\) and \(6,\)", id="length"
    ),
    pytest.param(
        {"label": np.zeros(B, np.float32)}, TypeError, "label must be integers, got float32", id="float"
    ),
    pytest.param(
        {"label": np.zeros((B, 1), np.int32)}, ValueError, r"label must have rank 1.*\(6, 1\)", id="rank"
    ),
    pytest.param(
        {"label": np.zeros(3, np.int32)}, ValueError, "image and label must agree", id="fewer labels"
    ),
    pytest.param(
        {"mask": None}, ValueError, "a mask under 'mask', got the keys 'image', 'label'", id="no mask"
    ),
    pytest.param({"mask": np.ones(B)}, TypeError, "mask must be bool, got float", id="float mask"),
    pytest.param(
        {"mask": np.ones((B, 1), bool)}, ValueError, r"mask must have shape \(6\), got", id="mask rank"
    ),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD_IMAGES)
def test_bad_classification_batches(images, key, changes, error, message):
    params, model_state = start(Linear(K), ONES)
    batch = changed({**images, "mask": np.ones(B, bool)}, **changes)
    mask = "mask" if "mask" in changes else None
    with pytest.raises(error, match=message):
        jax.eval_shape(classification(Linear(K), CROSS_ENTROPY, mask=mask), params, model_state, batch, key)
    with pytest.raises(error, match=message):
        jax.eval_shape(
            classification_metrics(Linear(K), CROSS_ENTROPY, mask=mask), params, model_state, batch
        )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param({"y": None}, ValueError, "the targets under 'y', got the keys 'x'", id="no targets"),
        pytest.param(
            {"y": np.ones((B, 2), int)}, TypeError, "y must be floating point, got int", id="integer"
        ),
        pytest.param(
            {"y": np.ones(B, np.float32)}, ValueError, r"targets' shape \(6,\), got \(6, 2\)", id="rank"
        ),
        pytest.param({"y": np.ones((3, 2), np.float32)}, ValueError, "x and y must agree", id="length"),
        pytest.param({"y": np.float32(1)}, ValueError, "y must have a batch axis", id="scalar"),
    ],
)
def test_bad_regression_batches(table, key, changes, error, message):
    params, model_state = start(Linear(2), table["x"])
    batch = changed(table, **changes)
    with pytest.raises(error, match=message):
        jax.eval_shape(regression(Linear(2), losses.squared_error), params, model_state, batch, key)
    with pytest.raises(error, match=message):
        jax.eval_shape(regression_metrics(Linear(2), losses.squared_error), params, model_state, batch)


def test_column_of_predictions_against_flat_targets_is_refused(table, key):
    """004a-7.12b, one level up."""
    batch = {"x": table["x"], "y": table["y"][:, 0]}
    params, model_state = start(Linear(1), table["x"])
    with pytest.raises(ValueError, match=r"targets' shape \(6,\), got \(6, 1\)"):
        regression(Linear(1), losses.squared_error)(params, model_state, batch, key)
    regression(Linear(1, flat=True), losses.squared_error)(params, model_state, batch, key)


def test_bad_models_and_losses(images, key):
    params, model_state = start(Linear(1), images["image"])
    with pytest.raises(ValueError, match=r"logits of shape \(6, number of classes\), got \(6, 1\)"):
        classification(Linear(1), CROSS_ENTROPY)(params, model_state, images, key)
    params, model_state = start(Linear(K), images["image"])
    with pytest.raises(ValueError, match=r"loss_fn must return unreduced values of shape \(6,\), got \(\)"):
        classification(Linear(K), lambda x, y: CROSS_ENTROPY(x, y).mean())(params, model_state, images, key)
    with pytest.raises(TypeError, match="batch must be a dict of arrays, got tuple"):
        classification(Linear(K), CROSS_ENTROPY)(params, model_state, tuple(images.values()), key)


def test_labels_out_of_range_give_nan_loss_and_gradients(images, key):
    params, model_state = start(Linear(K), images["image"])
    batch = {**images, "label": np.array([0, 1, 2, 3, 0, 0], np.int32)}
    (loss, _), grads = value_and_grad(
        classification(Linear(K), CROSS_ENTROPY), params, model_state, batch, key
    )
    assert np.isnan(loss)
    assert np.isnan(grads["Dense_0"]["bias"]).any()
