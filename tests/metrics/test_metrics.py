"""Every metric against scikit-learn, on whole arrays and streamed in ragged, masked batches."""

import inspect
import pydoc

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

from jaxdl import metrics

RNG = np.random.default_rng(0)
N, K = 203, 6
LABELS = RNG.choice(K, N, p=[0.3, 0.25, 0.2, 0.15, 0.1, 0.0]).astype(np.int32)  # class 5 does not occur
LOGITS = (RNG.normal(size=(N, K)) + 1.5 * np.eye(K)[LABELS]).astype(np.float32)
LOGITS[:, 4] -= 9  # class 4 is never predicted
LOGITS[:, 5] -= 9  # class 5 neither occurs nor is predicted
CLASSES = LOGITS.argmax(-1).astype(np.int32)
TARGETS = (1e4 + 3 * RNG.normal(size=N)).astype(np.float32)  # far from 0: sums of squares would cancel
ESTIMATES = (TARGETS + RNG.normal(size=N)).astype(np.float32)


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def top_k(sk, p, y, k=5):
    return sk.top_k_accuracy_score(y, p, k=k, labels=range(K))


# metric, settings, predictions, labels or targets, scikit-learn's value
ROWS = {
    "accuracy": (metrics.accuracy, {}, LOGITS, LABELS, lambda sk, p, y: sk.accuracy_score(y, p.argmax(-1))),
    "accuracy of classes": (metrics.accuracy, {}, CLASSES, LABELS, lambda sk, p, y: sk.accuracy_score(y, p)),
    "error_rate": (
        metrics.error_rate,
        {},
        LOGITS,
        LABELS,
        lambda sk, p, y: sk.zero_one_loss(y, p.argmax(-1)),
    ),
    "top_1": (metrics.top_k_accuracy, {"k": 1}, LOGITS, LABELS, top_k),
    "top_2": (metrics.top_k_accuracy, {"k": 2}, LOGITS, LABELS, top_k),
    "top_5": (metrics.top_k_accuracy, {}, LOGITS, LABELS, top_k),
    "log_loss": (
        metrics.log_loss,
        {},
        LOGITS,
        LABELS,
        lambda sk, p, y: sk.log_loss(y, softmax(p), labels=range(K)),
    ),
    "recall": (
        metrics.recall,
        {"num_classes": K},
        LOGITS,
        LABELS,
        lambda sk, p, y, num_classes: sk.recall_score(y, p.argmax(-1), average="macro", zero_division=0),
    ),
    "confusion_matrix": (
        metrics.confusion_matrix,
        {"num_classes": K},
        LOGITS,
        LABELS,
        lambda sk, p, y, num_classes: sk.confusion_matrix(y, p.argmax(-1), labels=range(K)),
    ),
    "mean_absolute_error": (
        metrics.mean_absolute_error,
        {},
        ESTIMATES,
        TARGETS,
        lambda sk, p, y: sk.mean_absolute_error(y, p),
    ),
    "root_mean_squared_error": (
        metrics.root_mean_squared_error,
        {},
        ESTIMATES,
        TARGETS,
        lambda sk, p, y: sk.root_mean_squared_error(y, p),
    ),
    "r2_score": (metrics.r2_score, {}, ESTIMATES, TARGETS, lambda sk, p, y: sk.r2_score(y, p)),
}
every_row = pytest.mark.parametrize(
    ("metric", "settings", "predictions", "labels", "oracle"), ROWS.values(), ids=ROWS
)


@every_row
def test_equals_scikit_learn_whole_and_in_ragged_masked_batches(
    metric, settings, predictions, labels, oracle
):
    sk = pytest.importorskip("sklearn.metrics")
    expected = oracle(sk, predictions.astype(np.float64), labels, **settings)
    np.testing.assert_allclose(metric(predictions, labels, **settings), expected, rtol=2e-5, atol=1e-7)

    bound = metric.bind(**settings)
    update = jax.jit(bound.update)
    halves = []
    for part in (slice(0, 90), slice(90, N)):
        state = bound.zero
        p, y = predictions[part], labels[part]
        for start in range(0, len(y), 32):
            size = min(32, len(y) - start)
            # The last batch is padded with what must not count.
            rows = np.minimum(np.arange(32) + start, len(y) - 1)
            where = np.arange(32) < size
            batch_p, batch_y = p[rows], y[rows].copy()
            batch_y[~where] = -1
            state = update(state, batch_p, batch_y, where=where)
        halves.append(state)
    np.testing.assert_allclose(jax.jit(bound.compute)(bound.merge(*halves)), expected, rtol=2e-5, atol=1e-7)


@every_row
def test_state_is_arrays_of_fixed_shape_and_zero_is_neutral(metric, settings, predictions, labels, oracle):
    bound = metric.bind(**settings)

    @jax.jit
    def merged(predictions, labels):
        state = bound.measure(predictions, labels)
        masked = bound.update(state, predictions, labels, where=jnp.zeros(N, bool))
        return state, bound.merge(bound.zero, state), bound.merge(state, bound.zero), masked

    state, *others = merged(predictions, labels)
    chex.assert_trees_all_equal_shapes_and_dtypes(jax.eval_shape(lambda: bound.zero), state)
    for other in others:
        chex.assert_trees_all_close(other, state, rtol=1e-6)


@pytest.mark.parametrize("name", ["precision", "recall", "f1_score"])
def test_averages_equal_scikit_learn(name):
    sk = pytest.importorskip("sklearn.metrics")
    score = getattr(sk, name.removesuffix("_score") + "_score")
    state = metrics.confusion_matrix.bind(num_classes=K).measure(LOGITS, LABELS)
    for average in ("macro", "weighted", "micro", None):
        expected = score(
            LABELS, CLASSES, labels=range(K) if average is None else None, average=average, zero_division=0
        )
        metric = getattr(metrics, name).bind(num_classes=K, average=average)
        np.testing.assert_allclose(metric.compute(state), expected, rtol=2e-5, err_msg=str(average))


def test_public_names_explain_themselves():
    for name in metrics.__all__:
        value = getattr(metrics, name)
        assert callable(value), name
        assert value.__doc__, name
        if isinstance(value, metrics.Metric):
            assert value.__doc__ != metrics.Metric.__doc__
            assert value.__name__ == name
            assert value.__doc__.splitlines()[0] in pydoc.render_doc(value)
            assert not inspect.isclass(value)


def test_bound_metrics_are_values():
    assert metrics.precision.bind(num_classes=3) == metrics.precision.bind(num_classes=3)
    assert metrics.precision.bind(num_classes=3) != metrics.precision.bind(num_classes=4)
    rebound = metrics.precision.bind(num_classes=3).bind(average=None)
    assert repr(rebound) == "metrics.precision.bind(average=None, num_classes=3)"
    assert hash(rebound) == hash(metrics.precision.bind(average=None, num_classes=3))
    assert repr(metrics.accuracy) == "metrics.accuracy"


def test_one_trace_for_all_batches():
    chex.clear_trace_counter()
    update = jax.jit(chex.assert_max_traces(metrics.accuracy.update, n=1))
    state = metrics.accuracy.zero
    for i in range(3):
        state = update(state, LOGITS[i : i + 64], LABELS[i : i + 64])
    assert state.count == 192


def test_images_of_labels():
    labels, scores = LABELS[:200].reshape(2, 10, 10), LOGITS[:200].reshape(2, 10, 10, K)
    where = labels != 0
    assert metrics.accuracy(scores, labels, where=where) == metrics.accuracy(scores[where], labels[where])
    np.testing.assert_array_equal(
        metrics.confusion_matrix(scores, labels, num_classes=K, where=where),
        metrics.confusion_matrix(scores[where], labels[where], num_classes=K),
    )


# Worked numbers: two reports from their confusion matrices.


def pairs(matrix):
    labels, predicted = np.indices(np.shape(matrix)).reshape(2, -1)
    counts = np.ravel(matrix)
    return np.repeat(predicted, counts), np.repeat(labels, counts)


@pytest.mark.parametrize(
    ("matrix", "accuracy", "rates", "macro", "weighted", "decimals"),
    [
        pytest.param(
            [[306, 46], [0, 335]],
            0.933042,
            [[1.00, 0.88], [0.87, 1.00], [0.93, 0.94]],
            [0.94, 0.93, 0.93],
            [0.94, 0.93, 0.93],
            2,
            id="004b-7.12",
        ),
        pytest.param(
            [[261, 91], [4, 331]],
            0.861718,
            [[0.98, 0.78], [0.74, 0.99], [0.85, 0.87]],
            [0.8846, 0.8648, 0.8603],
            [0.8871, 0.8617, 0.8599],
            4,
            id="004b-7.13",
        ),
    ],
)
def test_printed_reports(matrix, accuracy, rates, macro, weighted, decimals):
    predicted, labels = pairs(matrix)
    report = metrics.classification_report(predicted, labels, num_classes=2)
    np.testing.assert_array_equal(metrics.confusion_matrix(predicted, labels, num_classes=2), matrix)
    np.testing.assert_allclose(report.accuracy, accuracy, atol=5e-7)
    np.testing.assert_array_equal(report.support, [352, 335])
    got = np.round(np.stack([report.precision, report.recall, report.f1]), 2)
    np.testing.assert_allclose(got, rates, atol=1e-6)
    np.testing.assert_allclose(np.round(report.macro, decimals), macro, atol=1e-6)
    np.testing.assert_allclose(np.round(report.weighted, decimals), weighted, atol=1e-6)


def test_accuracy_is_the_float32_quotient():
    """004b-7.14."""
    predicted, labels = pairs([[18_573, 25_000 - 18_573], [0, 0]])
    assert float(metrics.accuracy(predicted, labels)) == 0.7429199814796448


# The report as text.


def test_report_prints_as_scikit_learn_does():
    sk = pytest.importorskip("sklearn.metrics")
    names = ("ant", "bee", "caterpillar", "dragonfly")
    keep = (LABELS < 4) & (CLASSES < 4)
    predicted, labels = CLASSES[keep], LABELS[keep]
    report = metrics.classification_report(predicted, labels, num_classes=4, class_names=names)
    expected = sk.classification_report(labels, predicted, target_names=names)
    assert [line.split() for line in str(report).splitlines()] == [
        line.split() for line in expected.splitlines()
    ]
    console = rich.console.Console(width=80)
    with console.capture() as capture:
        console.print(report)
    table = capture.get()
    assert "caterpillar" in table
    assert f"{float(report.f1[2]):.2f}" in table


def test_report_streams_and_is_a_pytree():
    metric = metrics.classification_report.bind(num_classes=K, class_names=tuple("abcdef"))
    state = metric.update(metric.measure(LOGITS[:100], LABELS[:100]), LOGITS[100:], LABELS[100:])
    report = jax.jit(metric.compute)(state)
    chex.assert_trees_all_close(report, metric(LOGITS, LABELS), rtol=1e-6)
    assert report.class_names == tuple("abcdef")


def test_percentage_worked_number():
    """001-G14, and a target of 0, which has no percentage."""
    targets, predictions = np.float32([100, 200, 400]), np.float32([110, 180, 400])
    np.testing.assert_allclose(metrics.mape(predictions, targets), 6.6666667, atol=1e-6)
    assert np.isnan(metrics.mape(predictions, targets - 100))


def test_base_rate_plateau():
    """004b-7.11: a network that says the majority's share has its accuracy and its entropy."""
    labels = np.repeat([1, 0], [1054, 1005])
    logits = np.tile(np.log(np.float32([1005, 1054]) / 2059), (2059, 1))
    np.testing.assert_allclose(metrics.accuracy(logits, labels), 0.5119, atol=5e-5)
    np.testing.assert_allclose(metrics.log_loss(logits, labels), 0.692864, atol=1e-6)


def test_returns_that_do_not_vary():
    returns = np.full(5, 0.1, np.float32)
    assert metrics.sharpe_ratio(returns) == np.inf
    assert metrics.sharpe_ratio(returns, risk_free=0.2) == -np.inf
    assert np.isnan(metrics.sharpe_ratio(returns * 0))
    assert np.isnan(metrics.sharpe_ratio(returns, where=np.arange(5) < 1))
    assert np.isnan(metrics.sharpe_ratio(returns, where=np.arange(5) < 0))


def test_explained_variance_of_equal_targets_and_of_none():
    sk = pytest.importorskip("sklearn.metrics")
    y = np.full(3, 2, np.float32)
    for p in (y + 1, y + np.float32([0, 1, 2])):
        assert metrics.explained_variance(p, y) == sk.explained_variance_score(y, p)
    assert metrics.explained_variance(y, y, where=np.arange(3) < 1) == 1
    assert np.isnan(metrics.explained_variance(y, y, where=np.arange(3) < 0))


# Edges.

SMALL, CHOICES = 12, 3
ONE_CLASS = np.zeros(SMALL, np.int32)
MIXED = np.arange(SMALL, dtype=np.int32) % CHOICES
DEGENERATE = {
    "one class, all right": (ONE_CLASS, ONE_CLASS),
    "one class, all wrong": (ONE_CLASS + 1, ONE_CLASS),
    "one class, many predicted": (MIXED, ONE_CLASS),
    "many classes, one predicted": (ONE_CLASS + 2, MIXED),
    "all wrong": ((MIXED + 1) % CHOICES, MIXED),
    "the last class alone": (ONE_CLASS + 2, ONE_CLASS + 2),
}


@jax.jit
def every_metric_of_classes(predicted, labels):
    counts = metrics.confusion_matrix.bind(num_classes=CHOICES).measure(predicted, labels)
    rates = {
        f"{name} {average}": getattr(metrics, name).bind(num_classes=CHOICES, average=average).compute(counts)
        for name in ("precision", "recall", "f1_score")
        for average in ("macro", "weighted", "micro", None)
    }
    of_maps = {
        "jaccard of each": metrics.iou.bind(num_classes=CHOICES),
        "jaccard": metrics.mean_iou.bind(num_classes=CHOICES),
        "dice": metrics.dice_score.bind(num_classes=CHOICES),
    }
    others = {name: metric.compute(counts) for name, metric in of_maps.items()}
    others |= {
        "accuracy": metrics.accuracy(predicted, labels),
        "error": metrics.error_rate(predicted, labels),
    }
    scores = 9 * jax.nn.one_hot(predicted, CHOICES)
    return (
        rates,
        others,
        metrics.log_loss(scores, labels),
        metrics.classification_report.bind(num_classes=CHOICES).compute(counts),
    )


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_sets_equal_scikit_learn(name):
    sk = pytest.importorskip("sklearn.metrics")
    predicted, labels = DEGENERATE[name]
    rates, others, nats, report = every_metric_of_classes(predicted, labels)
    every = range(CHOICES)
    for key, got in rates.items():
        score, average = key.split()
        oracle = getattr(sk, score.removesuffix("_score") + "_score")
        among, average = (every, None) if average == "None" else (None, average)
        expected = oracle(labels, predicted, labels=among, average=average, zero_division=0)
        np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=key)
    expected = {
        "jaccard of each": sk.jaccard_score(labels, predicted, labels=every, average=None, zero_division=0),
        "jaccard": sk.jaccard_score(labels, predicted, average="macro", zero_division=0),
        "dice": sk.f1_score(labels, predicted, average="macro", zero_division=0),
        "accuracy": sk.accuracy_score(labels, predicted),
        "error": sk.zero_one_loss(labels, predicted),
    }
    for key, value in expected.items():
        np.testing.assert_allclose(others[key], value, rtol=1e-6, err_msg=key)
    probabilities = softmax(9 * np.eye(CHOICES)[predicted])
    np.testing.assert_allclose(nats, sk.log_loss(labels, probabilities, labels=every), rtol=1e-5, atol=1e-6)
    listed = sk.classification_report(labels, predicted, output_dict=True, zero_division=0)
    names = ("precision", "recall", "f1-score")
    for mean in ("macro", "weighted"):
        got = getattr(report, mean)
        np.testing.assert_allclose(got, [listed[f"{mean} avg"][x] for x in names], rtol=1e-6, err_msg=mean)


def test_ties_go_to_the_lower_class():
    scores, labels = jnp.zeros((3, 4)), jnp.array([0, 1, 3])
    for k, hits in ((1, 1), (2, 2), (3, 2), (4, 3)):
        np.testing.assert_allclose(metrics.top_k_accuracy(scores, labels, k=k), hits / 3, rtol=1e-6)
    assert metrics.accuracy(scores, labels) == metrics.top_k_accuracy(scores, labels, k=1)


def test_nan_scores_and_impossible_labels_are_misses():
    scores = jnp.array([[jnp.nan, 0.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    assert metrics.top_k_accuracy(scores, jnp.array([2, 3, -1]), k=3) == 0
    assert metrics.accuracy(jnp.full((4, 3), jnp.nan), jnp.full(4, -1)) == 0
    with pytest.raises(ValueError, match="got 1 outside"):
        metrics.confusion_matrix(scores, jnp.zeros(3, jnp.int32), num_classes=3)


def test_impossible_labels_are_found():
    bad = LABELS.copy()
    bad[[3, 8]] = K, -1
    for metric in (metrics.confusion_matrix, metrics.precision, metrics.classification_report):
        with pytest.raises(ValueError, match=r"must be in \[0, 6\), got 2 outside"):
            metric(LOGITS, bad, num_classes=K)
    assert np.isnan(metrics.log_loss(LOGITS, bad))
    masked = metrics.confusion_matrix(LOGITS, bad, num_classes=K, where=(bad >= 0) & (bad < K))
    assert masked.sum() == N - 2


def test_nothing_counted_is_nan_not_a_number():
    nothing = np.zeros(N, bool)
    for metric in (metrics.accuracy, metrics.log_loss):
        assert np.isnan(metric(LOGITS, LABELS, where=nothing))
    for metric in (metrics.mean_absolute_error, metrics.r2_score):
        assert np.isnan(metric(ESTIMATES, TARGETS, where=nothing))
    assert np.isnan(metrics.recall(LOGITS, LABELS, where=nothing, num_classes=K))


def test_r2_of_equal_targets_and_merge_of_empty():
    sk = pytest.importorskip("sklearn.metrics")
    for p in ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]):
        y = [2.0, 2.0, 2.0]
        assert metrics.r2_score(jnp.array(p), jnp.array(y)) == sk.r2_score(y, p)
    metric = metrics.r2_score
    assert np.isnan(metric.compute(metric.merge(metric.zero, metric.zero)))
    assert metric(ESTIMATES[:, None], TARGETS[:, None]) == metric(ESTIMATES, TARGETS)
    assert np.isnan(metric(jnp.array([1.0, jnp.nan]), jnp.array([1.0, 1.0])))


def test_masked_nan_does_not_spread():
    where = np.arange(N) % 4 > 0
    p, y = np.where(where, ESTIMATES, np.nan), np.where(where, TARGETS, np.nan)
    for metric in (metrics.mean_absolute_error, metrics.root_mean_squared_error, metrics.r2_score):
        np.testing.assert_allclose(
            metric(p, y, where=where), metric(ESTIMATES[where], TARGETS[where]), rtol=1e-5
        )
    logits = np.where(where[:, None], LOGITS, np.nan)
    np.testing.assert_allclose(
        metrics.log_loss(logits, LABELS, where=where),
        metrics.log_loss(LOGITS[where], LABELS[where]),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.accuracy(LOGITS, LABELS[:5]), ValueError, r"scores .*\(203, 6\) and labels \(5,\)"),
        (
            lambda: metrics.accuracy(CLASSES, LABELS[:, None]),
            ValueError,
            "labels must have the shape",
        ),
        (lambda: metrics.accuracy(LOGITS, LABELS * 1.0), TypeError, "labels must be integers"),
        (lambda: metrics.accuracy(LOGITS, LABELS, where=LABELS[:5] > 0), ValueError, "where must have shape"),
        (lambda: metrics.accuracy(LOGITS, LABELS, where=LABELS), TypeError, "where must be bool"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, k=0), ValueError, "k must be at least 1, got 0"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, k=7), ValueError, "k must be between 1 and 6, got 7"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, kk=1), TypeError, "top_k_accuracy.* 'kk'"),
        (lambda: metrics.confusion_matrix(LOGITS, LABELS), TypeError, "confusion_matrix.* 'num_classes'"),
        (lambda: metrics.confusion_matrix(LOGITS, LABELS, num_classes=1), ValueError, "num_classes must be"),
        (lambda: metrics.confusion_matrix(LOGITS, LABELS, num_classes=9), ValueError, "num_classes = 9"),
        (
            lambda: metrics.recall(LOGITS, LABELS, num_classes=K, average="mean"),
            ValueError,
            "average must be one",
        ),
        (
            lambda: metrics.classification_report(LOGITS, LABELS, num_classes=K, class_names=("a",)),
            ValueError,
            "class_names must have num_classes = 6 names, got 1",
        ),
        (lambda: metrics.log_loss(LOGITS, LABELS[:5]), ValueError, "labels must have the shape of logits"),
        (lambda: metrics.mean_absolute_error(ESTIMATES[:, None], TARGETS), ValueError, "targets must have"),
        (lambda: metrics.r2_score(LOGITS, LOGITS), ValueError, r"must have shape \(N,\) or \(N, 1\)"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
