"""Exact on any number of examples, whatever the batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.train.evaluation import (
    Prediction,
    class_probabilities,
    ensemble_predict,
    evaluate,
    predict,
)
from jaxdl.train.parallel import data_mesh


class Net(linen.Module):
    @linen.compact
    def __call__(self, x, *, train: bool):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(3)(linen.relu(x))


MODEL = Net()


def apply_fn(params, model_state, batch):
    return MODEL.apply({"params": params, **model_state}, batch["x"], train=False)


def metrics_fn(params, model_state, batch):
    logits, mask = apply_fn(params, model_state, batch), batch["mask"]
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    correct = jnp.argmax(logits, axis=-1) == batch["label"]
    return {
        "loss": (jnp.sum(jnp.where(mask, loss, 0)), jnp.sum(mask)),
        "accuracy": (jnp.sum(correct & mask), jnp.sum(mask)),
    }


@pytest.fixture(scope="module")
def variables():
    variables = MODEL.init(jax.random.key(0), jnp.ones((1, 4)), train=False)
    return variables["params"], {"batch_stats": variables["batch_stats"]}


def make_data(n, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(n, 4)).astype(np.float32), "label": rng.integers(0, 3, n).astype(np.int32)}


def batches_of(data, size):
    n = len(data["label"])
    return [{name: x[i : i + size] for name, x in data.items()} for i in range(0, n, size)]


def expected_metrics(variables, data):
    """In float64 NumPy, from the logits of all rows at once."""
    logits = np.asarray(apply_fn(*variables, data), np.float64)
    label = np.asarray(data["label"])
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(label)), label]
    return {"loss": loss.mean(), "accuracy": (logits.argmax(axis=1) == label).mean()}


def assert_metrics(got, expected):
    assert set(got) == set(expected)
    assert all(type(value) is float for value in got.values())
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 50], ids=lambda n: f"{n}-rows")
@pytest.mark.parametrize("to", [lambda x: x, jax.device_put], ids=["numpy", "device"])
@pytest.mark.parametrize("mesh", [None, 8], ids=["one-device", "mesh"])
def test_evaluate_is_exact(n, to, mesh, variables):
    data = make_data(n)
    got = evaluate(
        metrics_fn,
        *variables,
        map(to, batches_of(data, 16)),
        mesh=None if mesh is None else data_mesh(mesh),
    )
    assert_metrics(got, expected_metrics(variables, data))


def test_a_mesh_that_does_not_divide_the_batch(variables):
    data = make_data(23)
    got = evaluate(metrics_fn, *variables, batches_of(data, 10), mesh=data_mesh(8))
    assert_metrics(got, expected_metrics(variables, data))


@pytest.mark.parametrize("spec", [P(), P("data")], ids=["replicated", "split"])
@pytest.mark.parametrize(
    "to", [lambda x: x, lambda x: jax.device_put(x, jax.devices()[2])], ids=["np", "elsewhere"]
)
def test_parameters_that_live_on_a_mesh(spec, to, variables):
    """The batch follows them, and is split over their devices."""
    data, mesh, seen = make_data(50), data_mesh(2), []

    def place(x):
        return jax.device_put(x, NamedSharding(mesh, spec if x.shape[0] % 2 == 0 else P()))

    def watched(params, model_state, batch):
        jax.debug.inspect_array_sharding(batch["x"], callback=seen.append)
        return metrics_fn(params, model_state, batch)

    params = jax.tree.map(place, variables[0])
    got = evaluate(watched, params, variables[1], map(to, batches_of(data, 16)))
    assert_metrics(got, expected_metrics(variables, data))
    assert seen[0].shard_shape((16, 4)) == (8, 4)
    prediction = predict(apply_fn, params, variables[1], map(to, batches_of(data, 16)))
    np.testing.assert_allclose(prediction.logits, apply_fn(*variables, data), rtol=1e-5, atol=1e-6)


def test_evaluation_again_traces_nothing(variables):
    traces = []

    def counted(params, model_state, batch):
        traces.append(1)
        return metrics_fn(params, model_state, batch)

    def applied(params, model_state, batch):
        traces.append(1)
        return apply_fn(params, model_state, batch)

    for seed in range(3):
        data = make_data(41, seed)
        evaluate(counted, *variables, batches_of(data, 16))
        predict(applied, *variables, batches_of(data, 16))
        members = jax.tree.map(lambda x: jnp.stack([x, x]), variables)
        ensemble_predict(applied, *members, batches_of(data, 16))
    assert len(traces) == 3  # one program each


def test_sums_are_added_in_float64():
    """2^24 + 1 + 1 + ... stands still in float32."""
    batches = [{"x": np.asarray([2.0**24], np.float32)}] + [{"x": np.ones(1, np.float32)}] * 10
    got = evaluate(lambda p, s, b: {"mean": (b["x"].sum(), jnp.sum(b["mask"]))}, {}, {}, batches)
    assert got["mean"] == (2.0**24 + 10) / 11


def test_a_mask_of_the_batch_is_kept(variables):
    data = make_data(21)
    data["mask"] = np.arange(21) % 3 > 0
    kept = {name: x[data["mask"]] for name, x in data.items()}
    got = evaluate(metrics_fn, *variables, batches_of(data, 8))
    assert_metrics(got, expected_metrics(variables, kept))


def test_a_mask_of_tokens_is_padded_with_false():
    mask = np.random.default_rng(0).random((7, 5)) < 0.5
    x = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    batches = [{"x": x[:4], "mask": mask[:4]}, {"x": x[4:], "mask": mask[4:]}]

    def fn(params, model_state, batch):
        return {"mean": (jnp.sum(jnp.where(batch["mask"], batch["x"], 0)), batch["mask"].sum())}

    np.testing.assert_allclose(
        evaluate(fn, {}, {}, batches)["mean"], x[mask].mean(dtype=np.float64), rtol=1e-6
    )


def test_padding_repeats_a_row_so_the_net_sees_nothing_new():
    """Rows of zeros could divide by zero; 0 * NaN would then spoil a sum that multiplies by the mask."""

    def fn(params, model_state, batch):
        unit = batch["x"] / jnp.linalg.norm(batch["x"], axis=1, keepdims=True)
        return {"first": (jnp.sum(unit[:, 0] * batch["mask"]), batch["mask"].sum())}

    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    got = evaluate(fn, {}, {}, [{"x": x[:3]}, {"x": x[3:]}])["first"]
    np.testing.assert_allclose(got, (x[:, 0] / np.linalg.norm(x, axis=1)).mean(), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_numbers_propagate(bad):
    fn = lambda p, s, b: {"mean": (jnp.sum(jnp.where(b["mask"], b["x"], 0)), b["mask"].sum())}  # noqa: E731
    x = np.asarray([1.0, 2.0, bad, 4.0, 5.0], np.float32)
    np.testing.assert_equal(evaluate(fn, {}, {}, [{"x": x[:2]}, {"x": x[2:4]}, {"x": x[4:]}])["mean"], bad)


def test_nothing_counted_is_nan():
    fn = lambda p, s, b: {"recall": (jnp.zeros(()), jnp.sum(b["mask"] & (b["x"] > 5)))}  # noqa: E731
    assert np.isnan(evaluate(fn, {}, {}, [{"x": np.ones(3)}])["recall"])


def test_batches_without_rows(variables):
    """What a process gets of a last batch that is smaller than the number of processes."""
    data = make_data(16)
    batches = [*batches_of(data, 16), {name: x[:0] for name, x in data.items()}]
    assert_metrics(evaluate(metrics_fn, *variables, batches), expected_metrics(variables, data))
    assert len(predict(apply_fn, *variables, batches).labels) == 16


class TestEvaluateErrors:
    def test_no_batches(self, variables):
        for call in (evaluate, predict):
            with pytest.raises(ValueError, match="at least one batch"):
                call(metrics_fn, *variables, [])

    def test_a_larger_batch(self, variables):
        data = make_data(24)
        with pytest.raises(ValueError, match="batch 1 must have at most the first batch's 8 rows, got 16"):
            evaluate(metrics_fn, *variables, [*batches_of(data, 8)[:1], *batches_of(data, 16)])

    def test_padded_rows_that_would_count(self):
        def blind(params, model_state, batch):
            return {"mean": (batch["x"].sum(), jnp.asarray(batch["x"].size))}

        x = np.ones(5, np.float32)
        assert evaluate(blind, {}, {}, [{"x": x[:2]}, {"x": x[2:4]}]) == {"mean": 1.0}
        with pytest.raises(ValueError, match=r'must read batch\["mask"\], since a batch of 1 rows .* to 2'):
            evaluate(blind, {}, {}, [{"x": x[:2]}, {"x": x[2:4]}, {"x": x[4:]}])

    def test_leaves_of_different_length(self, variables):
        data = make_data(8)
        data["label"] = data["label"][:7]
        with pytest.raises(ValueError, match=r"batch\['x'\] .* must agree in the first axis"):
            evaluate(metrics_fn, *variables, [{"label": data["label"], "x": data["x"]}])

    @pytest.mark.parametrize("bad", [{}, {"x": np.float32(1)}], ids=["empty", "scalar"])
    def test_batches_without_arrays(self, bad, variables):
        with pytest.raises(ValueError, match=r"batch 0 must hold arrays \[B, ...\], got"):
            evaluate(metrics_fn, *variables, [bad])

    def test_a_mask_that_is_not_bool(self, variables):
        with pytest.raises(TypeError, match="mask must be bool, got float32"):
            evaluate(metrics_fn, *variables, [{**make_data(4), "mask": np.ones(4, np.float32)}])

    def test_metrics_that_are_not_scalars(self, variables):
        with pytest.raises(ValueError, match=r"sum of metric 'x' must have shape \(\), got \(4,\)"):
            evaluate(lambda p, s, b: {"x": (b["x"].sum(0), b["mask"].sum())}, *variables, [make_data(4)])


@pytest.mark.parametrize("n", [1, 16, 37], ids=lambda n: f"{n}-rows")
@pytest.mark.parametrize("to", [lambda x: x, jax.device_put], ids=["numpy", "device"])
def test_predict_gives_every_row_in_order(n, to, variables):
    data = make_data(n)
    del data["label"]
    batches = [{"x": data["x"][i : i + 16]} for i in range(0, n, 16)]
    got = predict(apply_fn, *variables, map(to, batches))
    logits = apply_fn(*variables, data)
    assert all(isinstance(leaf, np.ndarray) and len(leaf) == n for leaf in jax.tree.leaves(got))
    np.testing.assert_allclose(got.logits, logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.probabilities, jax.nn.softmax(logits), rtol=1e-5)
    np.testing.assert_array_equal(got.labels, np.argmax(logits, axis=1))
    assert got.labels.dtype == np.int32


def test_predict_without_decoding(variables):
    data = make_data(19)
    got = predict(
        lambda p, s, b: {"y": apply_fn(p, s, b), "norm": jnp.linalg.norm(b["x"], axis=1)},
        *variables,
        batches_of(data, 8),
        decode=None,
    )
    np.testing.assert_allclose(got["y"], apply_fn(*variables, data), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["norm"], np.linalg.norm(data["x"], axis=1), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_class_probabilities_at_the_extremes(dtype):
    got = class_probabilities(jnp.asarray([[1e4, -1e4, 0], [3, 3, 3], [-1e4, -1e4, -1e4]], dtype))
    np.testing.assert_array_equal(got.labels, [0, 0, 0])
    np.testing.assert_allclose(got.probabilities, [[1, 0, 0], [1 / 3] * 3, [1 / 3] * 3], rtol=1e-6)
    assert got.probabilities.dtype == got.logits.dtype == jnp.float32
    assert class_probabilities(jnp.zeros((2, 7, 5))).labels.shape == (2, 7)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_class_probabilities_want_classes(shape):
    with pytest.raises(ValueError, match="at least 2 classes"):
        class_probabilities(jnp.zeros(shape))


class TestEnsemble:
    """Members that return fixed logits, so the answers can be written down."""

    P = np.asarray(
        [
            [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]],
            [[0.1, 0.8, 0.1], [0.4, 0.35, 0.25]],
            [[0.45, 0.2, 0.35], [0.3, 0.1, 0.6]],
        ]
    )

    @staticmethod
    def apply(params, model_state, batch):
        return params["logits"][batch["row"]] + model_state["shift"]

    def predict(self, **kwargs):
        members = {"logits": jnp.log(jnp.asarray(self.P, jnp.float32))}
        states = {"shift": jnp.asarray([[[1.0]], [[-2.0]], [[0.0]]])}  # softmax does not see a shift
        batches = [{"row": np.asarray([0])}, {"row": np.asarray([1])}, {"row": np.asarray([1])}]
        return ensemble_predict(self.apply, members, states, batches, **kwargs)

    def test_mean(self):
        got = self.predict()
        expected = self.P.mean(axis=0)[[0, 1, 1]]
        np.testing.assert_allclose(got.probabilities, expected, rtol=1e-6)
        np.testing.assert_allclose(got.logits, np.log(expected), rtol=1e-5)
        np.testing.assert_array_equal(got.labels, [1, 2, 2])

    def test_vote(self):
        got = self.predict(vote=True)
        expected = np.asarray([[2, 1, 0], [1, 1, 1]])[[0, 1, 1]] / 3
        np.testing.assert_allclose(got.probabilities, expected, rtol=1e-6)
        np.testing.assert_array_equal(got.labels, [0, 0, 0])
        assert got.logits[0, 2] == -np.inf

    def test_equals_scikit_learn(self):
        from sklearn.ensemble import VotingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import LabelEncoder

        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(90, 4)).astype(np.float32), rng.integers(0, 3, 90)
        fits = [LogisticRegression(C=c).fit(x[i::3], y[i::3]) for i, c in enumerate((0.01, 1.0, 100.0))]
        members = {
            "w": jnp.stack([jnp.asarray(f.coef_.T, jnp.float32) for f in fits]),
            "b": jnp.stack([jnp.asarray(f.intercept_[None], jnp.float32) for f in fits]),
        }
        batches = [{"x": x[i : i + 32]} for i in range(0, 90, 32)]
        for vote, kind in ((False, "soft"), (True, "hard")):
            voter = VotingClassifier([(str(i), f) for i, f in enumerate(fits)], voting=kind)
            voter.estimators_, voter.le_ = fits, LabelEncoder().fit(y)
            got = ensemble_predict(lambda p, s, b: b["x"] @ p["w"] + p["b"], members, {}, batches, vote=vote)
            np.testing.assert_array_equal(got.labels, voter.predict(x))
            if not vote:
                np.testing.assert_allclose(got.probabilities, voter.predict_proba(x), atol=1e-5)

    def test_leading_axes_must_agree(self):
        with pytest.raises(ValueError, match=r"must share their leading axis M, got \[\(2,\), \(3,\)\]"):
            ensemble_predict(self.apply, {"logits": jnp.zeros((3, 2, 3))}, {"shift": jnp.zeros(2)}, [])


def test_a_prediction_is_a_tree():
    doubled = jax.tree.map(lambda x: 2 * x, Prediction(*map(jnp.ones, ((2,), (2, 3), (2, 3)))))
    assert float(doubled.logits.sum()) == 12
