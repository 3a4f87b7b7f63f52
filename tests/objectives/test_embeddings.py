"""Metric learning: batches of classes, pairs and triplets, against the losses and scikit-learn's neighbours."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import losses
from jaxdl.models.dense import MLP, SiameseNetwork
from jaxdl.models.dense.matching import euclidean
from jaxdl.objectives import metric_learning, metric_learning_metrics

B, D, F = 8, 5, 3
ENCODER = MLP((6,), F, jnp.tanh)


def quick(function, *args):
    """The result of a program that runs once, compiled without what would make it fast."""
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    return jax.jit(function, compiler_options=options)(*args)


def value_and_grad(objective, *args):
    return quick(jax.value_and_grad(objective, has_aux=True), *args)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    names = ("image", "first", "second", "third")
    return {
        **{name: rng.normal(size=(B, D)).astype(np.float32) for name in names},
        "label": np.array([0, 1, 2, 0, 1, 2, 0, 0], np.int32),
        "alike": rng.random(B) < 0.5,
    }


def parameters(model, *xs):
    shapes = jax.eval_shape(lambda key: model.init(key, *xs, train=False), jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), shapes["params"])


def pair_loss(a, b, alike, where=None):
    return losses.contrastive(euclidean(a, b), alike, where)


def embed(params, x):
    return ENCODER.apply({"params": params}, x, train=False)


CASES = {
    "classes": ({}, losses.nt_xent, lambda p, b: losses.nt_xent(embed(p, b["image"]), b["label"])),
    "pairs": (
        {"inputs": ("first", "second"), "labels": "alike"},
        pair_loss,
        lambda p, b: losses.contrastive(
            jnp.linalg.norm(embed(p, b["first"]) - embed(p, b["second"]), axis=1), b["alike"]
        ),
    ),
    "triplets": (
        {"inputs": ("first", "second", "third"), "labels": None},
        losses.triplet,
        lambda p, b: losses.triplet(*(embed(p, b[name]) for name in ("first", "second", "third"))),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_and_masks(name, batch, key):
    options, loss_fn, expected = CASES[name]
    params = parameters(ENCODER, batch["image"])
    objective = metric_learning(ENCODER, loss_fn, **options)
    (loss, (state, measured)), grads = value_and_grad(objective, params, {}, batch, key)
    value, slopes = quick(jax.value_and_grad(lambda p: expected(p, batch).mean()), params)
    np.testing.assert_allclose(loss, value, rtol=1e-4)
    chex.assert_trees_all_close(grads, slopes, rtol=1e-3, atol=1e-5)
    assert state == {}
    assert set(measured) == ({"recall_at_1"} if name == "classes" else set())
    metrics_fn = metric_learning_metrics(ENCODER, loss_fn, **options)
    counted = quick(metrics_fn, params, {}, batch)
    np.testing.assert_allclose(counted["loss"][0] / counted["loss"][1], value, rtol=1e-4)

    valid = np.arange(B) % 3 != 1
    hidden = lambda x: np.where(valid[:, None], x, np.nan)  # noqa: E731
    garbage = {k: hidden(v) if v.dtype == np.float32 else v for k, v in batch.items()} | {"mask": valid}
    kept = {k: v[valid] for k, v in batch.items()}

    def run(batch, mask):
        return value_and_grad(metric_learning(ENCODER, loss_fn, mask=mask, **options), params, {}, batch, key)

    chex.assert_trees_all_close(run(garbage, "mask"), run(kept, None), rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(
        quick(metrics_fn, params, {}, garbage), quick(metrics_fn, params, {}, kept), rtol=1e-4
    )


def test_recall_is_that_of_the_nearest_other(batch, key):
    neighbors = pytest.importorskip("sklearn.neighbors")
    params = parameters(ENCODER, batch["image"])
    z = np.float64(embed(params, batch["image"]))
    nearest = neighbors.NearestNeighbors(n_neighbors=2).fit(z).kneighbors(z)[1][:, 1]
    right = batch["label"][nearest] == batch["label"]
    _, (_, measured) = quick(metric_learning(ENCODER, losses.nt_xent), params, {}, batch, key)
    np.testing.assert_allclose(measured["recall_at_1"], right.mean())
    counted = quick(metric_learning_metrics(ENCODER, losses.nt_xent), params, {}, batch)
    assert [float(x) for x in counted["recall_at_1"]] == [right.sum(), B]


def test_a_method_embeds_and_all_inputs_share_one_pass(batch, key):
    twins = SiameseNetwork(ENCODER)
    params = parameters(twins, batch["first"], batch["second"])
    options = {"inputs": ("first", "second"), "labels": "alike"}
    loss, _ = metric_learning(twins, pair_loss, method="embed", **options)(params, {}, batch, key)
    direct = metric_learning(ENCODER, pair_loss, **options)(params["encoder"], {}, batch, key)[0]
    assert loss == direct

    class Centered(linen.Module):
        @linen.compact
        def __call__(self, x, *, train):
            return linen.Dense(F)(x - jnp.mean(x, axis=0, keepdims=True))

    params = parameters(Centered(), batch["first"])
    seen = []

    def loss_fn(a, b, alike):
        seen.append(jnp.concatenate([a, b]))
        return pair_loss(a, b, alike)

    metric_learning(Centered(), loss_fn, **options)(params, {}, batch, key)
    both = np.concatenate([batch["first"], batch["second"]])
    np.testing.assert_allclose(
        seen[0], Centered().apply({"params": params}, both, train=True), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "change", "error", "message"),
    [
        pytest.param({"inputs": ()}, {}, ValueError, "inputs must name at least one key", id="no inputs"),
        pytest.param({}, {"label": np.zeros(B, np.float32)}, TypeError, "label must be integers", id="float"),
        pytest.param({}, {"label": np.zeros(3, np.int32)}, ValueError, r"label must have shape \(8\)", id="rows"),
        pytest.param(
            {"inputs": ("first", "second"), "labels": "alike"}, {"second": np.zeros((B, 2), np.float32)},
            ValueError, "second must have the shape of first", id="shapes",
        ),
        pytest.param({"labels": "kind"}, {}, ValueError, "the labels under 'kind'", id="no labels"),
    ],
)  # fmt: skip
def test_bad_batches(batch, options, change, error, message, key):
    params = parameters(ENCODER, batch["image"])
    with pytest.raises(error, match=message):
        jax.eval_shape(
            metric_learning(ENCODER, losses.nt_xent, **options), params, {}, {**batch, **change}, key
        )


def test_bad_models_and_losses(batch, key):
    params = parameters(ENCODER, batch["image"])
    with pytest.raises(ValueError, match=r"unreduced values of shape \(8,\), got \(\)"):
        metric_learning(ENCODER, lambda z, y: losses.nt_xent(z, y).mean())(params, {}, batch, key)

    class Flat:
        def apply(self, variables, x, *, train, rngs=None, mutable=()):
            return x[:, 0], {}

    with pytest.raises(ValueError, match=r"embeddings of shape \(8, features\), got \(8,\)"):
        metric_learning(Flat(), losses.nt_xent)({}, {}, batch, key)
