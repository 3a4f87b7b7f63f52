"""Every metric with a state: mapped, scanned, masked, merged and on eight devices, it has the oracle's value."""

import functools
import inspect
import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl import metrics

RNG = np.random.default_rng(3)
N, K = 32, 4
LABELS = RNG.choice(K, N, p=[0.4, 0.3, 0.3, 0.0]).astype(np.int32)  # the last class does not occur
LOGITS = (RNG.normal(size=(N, K)) + np.eye(K)[LABELS]).astype(np.float32)
POSITIVE = LABELS > 0
SCORES = np.round(RNG.random(N) * 0.5 + 0.3 * POSITIVE, 1).astype(np.float32)  # many ties
TARGETS = (100 + 3 * RNG.normal(size=N)).astype(np.float32)
ESTIMATES = (TARGETS + RNG.normal(size=N) + 1).astype(np.float32)
MAPS = RNG.integers(0, 3, (2, N, 3, 5)).astype(np.int32)
IMAGES = RNG.random((N, 12, 13, 2)).astype(np.float32)
NOISY = np.clip(IMAGES + 0.1 * RNG.normal(size=IMAGES.shape), 0, 1).astype(np.float32)
FEATURES = RNG.normal(size=(2, N, 3)).astype(np.float32) * np.array([1, 2, 0.5], np.float32)
FEATURES[1] += 0.7
CENTERS = np.float32([[0, 0, 0], [1, 1, 1], [-1, 0, 2], [9, 9, 9]])
UNITS = RNG.normal(size=(6, 3)).astype(np.float32)
PLACES = np.indices((2, 3)).reshape(2, -1).T.astype(np.float32)
TOKENS = RNG.integers(-1, 4, (2, N, 7)).astype(np.int32)  # -1, no token, stands anywhere
# Boxes on a grid of eighths, so that overlaps are exact; scores all different, and in different hundredths.
TRUE_BOXES = RNG.integers(0, 40, (N, 3, 2)) / 8.0
TRUE_BOXES = np.concatenate([TRUE_BOXES, TRUE_BOXES + RNG.integers(4, 30, (N, 3, 2)) / 8.0], -1).astype(
    np.float32
)
TRUE_CLASSES = RNG.integers(-1, 2, (N, 3)).astype(np.int32)
CROWD = RNG.random((N, 3)) < 0.2
BOXES = (TRUE_BOXES + RNG.integers(-3, 4, TRUE_BOXES.shape) / 8.0).astype(np.float32)
BOX_SCORES = ((RNG.permutation(N * 3) + 0.5) / 100).reshape(N, 3).astype(np.float32)
CLASSES = np.where(RNG.random((N, 3)) < 0.2, 1, TRUE_CLASSES).astype(np.int32)


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def nats(x, y):
    return -np.mean(np.log(softmax(x)[np.arange(len(y)), y]))


def sk(name):
    module = pytest.importorskip("sklearn.metrics")
    return getattr(module, name)


def reported(x, y):
    """Precision, recall, F1 and support of each class, accuracy, and the two rows of means."""
    rates = functools.partial(sk("precision_recall_fscore_support"), y, x.argmax(-1), zero_division=0)
    means = [np.array(rates(average=average)[:3]) for average in ("macro", "weighted")]
    return [*rates(labels=range(K), average=None), np.mean(y == x.argmax(-1)), *means]


def roc_points(scores, positive, thresholds):
    above = scores[None] >= thresholds[:, None]
    return [(above & chosen).sum(1) / chosen.sum() for chosen in (~positive, positive)]


def roc_stored(s, y):
    thresholds = np.concatenate([[np.inf], np.sort(s)[::-1]])
    return [*roc_points(s, y, thresholds), thresholds]


def roc_binned(s, y):
    edges = np.append(np.inf, np.arange(19, -1, -1))
    return [*roc_points(np.floor(s * 20), y, edges), edges / 20]


def frechet(a, b):
    linalg = pytest.importorskip("scipy.linalg")
    a, b = a.astype(np.float64), b.astype(np.float64)
    first, second = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(first @ second).real
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first + second - 2 * root)


def inception(x):
    p = softmax(x)
    return np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), axis=1)))


def distances(a, b):
    return pytest.importorskip("scipy.spatial").distance.cdist(a, b)


def covered(samples, centers):
    d = distances(samples, centers)
    return len(set(d.argmin(1)[d.min(1) <= 1.0])) / len(centers)


def topographic(x, w, positions):
    first, second = np.argsort(distances(x, w), axis=1).T[:2]
    return np.mean(np.abs(positions[first] - positions[second]).max(1) > 1)


def edits(p, t):
    """The definition, by recursion from the ends."""
    p, t = [x for x in p if x >= 0], [x for x in t if x >= 0]

    @functools.lru_cache(None)
    def between(i, j):
        if not i or not j:
            return i + j
        same = between(i - 1, j - 1) + (p[i - 1] != t[j - 1])
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, same)

    return between(len(p), len(t))


def structural(x, y):
    similarity = pytest.importorskip("skimage.metrics").structural_similarity
    settings = {
        "data_range": 1.0,
        "gaussian_weights": True,
        "use_sample_covariance": False,
        "channel_axis": -1,
    }
    return np.mean([similarity(a.astype(np.float64), b.astype(np.float64), **settings) for a, b in zip(x, y)])


def peak_ratio(x, y):
    ratio = pytest.importorskip("skimage.metrics").peak_signal_noise_ratio
    return np.mean([ratio(b, a, data_range=1.0) for a, b in zip(x, y)])


# metric, its arrays (trees with a first axis of N; `fixed` ones without), oracle (or which of pycocotools' two values)
ROWS = {
    "accuracy": (metrics.accuracy, (LOGITS, LABELS), lambda x, y: sk("accuracy_score")(y, x.argmax(-1))),
    "error_rate": (metrics.error_rate, (LOGITS, LABELS), lambda x, y: sk("zero_one_loss")(y, x.argmax(-1))),
    "top_k_accuracy": (
        metrics.top_k_accuracy.bind(k=2),
        (LOGITS, LABELS),
        lambda x, y: sk("top_k_accuracy_score")(y, x, k=2, labels=range(K)),
    ),
    "log_loss": (
        metrics.log_loss,
        (LOGITS, LABELS),
        lambda x, y: sk("log_loss")(y, softmax(x), labels=range(K)),
    ),
    "confusion_matrix": (
        metrics.confusion_matrix.bind(num_classes=K),
        (LOGITS, LABELS),
        lambda x, y: sk("confusion_matrix")(y, x.argmax(-1), labels=range(K)),
    ),
    "precision": (
        metrics.precision.bind(num_classes=K),
        (LOGITS, LABELS),
        lambda x, y: sk("precision_score")(y, x.argmax(-1), average="macro", zero_division=0),
    ),
    "recall": (
        metrics.recall.bind(num_classes=K, average="weighted"),
        (LOGITS, LABELS),
        lambda x, y: sk("recall_score")(y, x.argmax(-1), average="weighted", zero_division=0),
    ),
    "f1_score": (
        metrics.f1_score.bind(num_classes=K, average=None),
        (LOGITS, LABELS),
        lambda x, y: sk("f1_score")(y, x.argmax(-1), labels=range(K), average=None, zero_division=0),
    ),
    "classification_report": (metrics.classification_report.bind(num_classes=K), (LOGITS, LABELS), reported),
    "mean_absolute_error": (
        metrics.mean_absolute_error,
        (ESTIMATES, TARGETS),
        lambda p, t: sk("mean_absolute_error")(t.astype(np.float64), p),
    ),
    "root_mean_squared_error": (
        metrics.root_mean_squared_error,
        (ESTIMATES, TARGETS),
        lambda p, t: sk("root_mean_squared_error")(t.astype(np.float64), p),
    ),
    "r2_score": (
        metrics.r2_score,
        (ESTIMATES, TARGETS),
        lambda p, t: sk("r2_score")(t.astype(np.float64), p.astype(np.float64)),
    ),
    "roc_auc": (metrics.roc_auc, (SCORES, POSITIVE), lambda s, y: sk("roc_auc_score")(y, s)),
    "roc_auc binned": (
        metrics.roc_auc.bind(num_bins=4),
        (SCORES, POSITIVE.astype(np.int32)),
        lambda s, y: sk("roc_auc_score")(y, np.floor(s * 4)),
    ),
    "average_precision": (
        metrics.average_precision,
        (SCORES, POSITIVE),
        lambda s, y: sk("average_precision_score")(y, s),
    ),
    "average_precision binned": (
        metrics.average_precision.bind(num_bins=4),
        (SCORES, POSITIVE),
        lambda s, y: sk("average_precision_score")(y, np.floor(s * 4)),
    ),
    "roc_curve": (metrics.roc_curve, (SCORES, POSITIVE), roc_stored),
    "roc_curve binned": (metrics.roc_curve.bind(num_bins=20), (SCORES, POSITIVE), roc_binned),
    "mape": (
        metrics.mape,
        (ESTIMATES, TARGETS),
        lambda p, t: 100 * sk("mean_absolute_percentage_error")(t, p),
    ),
    "explained_variance": (
        metrics.explained_variance,
        (ESTIMATES, TARGETS),
        lambda p, t: sk("explained_variance_score")(t.astype(np.float64), p.astype(np.float64)),
    ),
    "sharpe_ratio": (
        metrics.sharpe_ratio.bind(risk_free=99.0),
        (TARGETS,),
        lambda r: (r.astype(np.float64).mean() - 99) / r.astype(np.float64).std(ddof=1),
    ),
    "perplexity": (metrics.perplexity, (LOGITS, LABELS), lambda x, y: np.exp(nats(x, y))),
    "bits_per_character": (metrics.bits_per_character, (LOGITS, LABELS), lambda x, y: nats(x, y) / np.log(2)),
    "word_error_rate": (
        metrics.word_error_rate,
        tuple(TOKENS),
        lambda p, t: sum(edits(tuple(a), tuple(b)) for a, b in zip(p, t)) / (t >= 0).sum(),
    ),
    "pixel_accuracy": (metrics.pixel_accuracy, tuple(MAPS), lambda p, t: np.mean(p == t)),
    "iou": (
        metrics.iou.bind(num_classes=4),
        tuple(MAPS),
        lambda p, t: sk("jaccard_score")(
            t.ravel(), p.ravel(), labels=range(4), average=None, zero_division=0
        ),
    ),
    "mean_iou": (
        metrics.mean_iou.bind(num_classes=4),
        tuple(MAPS),
        lambda p, t: sk("jaccard_score")(t.ravel(), p.ravel(), average="macro"),
    ),
    "dice_score": (
        metrics.dice_score.bind(num_classes=4),
        tuple(MAPS),
        lambda p, t: sk("f1_score")(t.ravel(), p.ravel(), average="macro"),
    ),
    "mean_average_precision": (
        metrics.mean_average_precision.bind(num_classes=3, max_detections=2),
        ((BOXES, BOX_SCORES, CLASSES), (TRUE_BOXES, TRUE_CLASSES, CROWD)),
        0,
    ),
    "mean_average_precision binned": (
        metrics.mean_average_precision.bind(num_classes=3, max_detections=2, num_bins=100),
        ((BOXES, BOX_SCORES, CLASSES), (TRUE_BOXES, TRUE_CLASSES, CROWD)),
        0,
    ),
    "mean_average_recall": (
        metrics.mean_average_recall.bind(num_classes=3, max_detections=2),
        ((BOXES, BOX_SCORES, CLASSES), (TRUE_BOXES, TRUE_CLASSES, CROWD)),
        1,
    ),
    "psnr": (metrics.psnr.bind(data_range=1.0), (NOISY, IMAGES), peak_ratio),
    "ssim": (metrics.ssim.bind(data_range=1.0), (NOISY, IMAGES), structural),
    "frechet_distance": (metrics.frechet_distance.bind(num_features=3), tuple(FEATURES), frechet),
    "inception_score": (metrics.inception_score.bind(num_classes=K), (LOGITS,), inception),
    "mode_coverage": (
        metrics.mode_coverage.bind(radius=1.0, num_modes=4),
        (FEATURES[0], CENTERS),
        covered,
    ),
    "discriminator_accuracy": (
        metrics.discriminator_accuracy,
        (LOGITS[:, 0], LOGITS[:, 1:2]),
        lambda real, fake: (np.mean(real > 0) + np.mean(fake < 0)) / 2,
    ),
    "vote_rate": (metrics.vote_rate, (POSITIVE,), np.mean),
    "quantization_error": (
        metrics.quantization_error,
        (FEATURES[0], UNITS),
        lambda x, w: distances(x, w).min(1).mean(),
    ),
    "topographic_error": (metrics.topographic_error, (FEATURES[0], UNITS, PLACES), topographic),
    "dead_relu_fraction": (
        metrics.dead_relu_fraction.bind(num_units=3),
        (IMAGES[:, :, :3, :1] - np.float32([0, 1, 0.5]),),
        lambda a: 1 / 3,
    ),
    "active_relu_fraction": (metrics.active_relu_fraction, (NOISY - 0.4,), lambda a: np.mean(a > 0)),
}
FIXED = {id(x) for x in (CENTERS, UNITS, PLACES)}  # the same for every batch
STORED = ("roc_auc", "average_precision", "roc_curve", "mean_average_precision")
PIXELS = ("pixel_accuracy", "iou", "mean_iou", "dice_score")
SEEN = 21
ON_HOST = {"bleu"}  # its measure reads strings; its state and the rest are in the tests of text
# Functions of whole arrays, of which nothing can be streamed: each has tests in the file of its family.
PLAIN = {
    *(
        "anomaly_threshold",
        "bias_variance",
        "boolean_entropy",
        "box_iou",
        "co_adaptation",
        "compression_ratio",
    ),
    *("diagnose_training", "discriminator_anomaly_score", "earth_mover_distance", "edit_distance", "entropy"),
    *("feature_importance", "gini_impurity", "gradient_norms", "information_gain", "latent_distance"),
    *("permutation_importance", "reconstruction_error", "split_entropy", "weight_norms"),
}


def test_every_public_metric_has_a_row():
    public = {name: getattr(metrics, name) for name in metrics.__all__}
    streamed = {name for name, value in public.items() if isinstance(value, metrics.Metric)}
    assert streamed == {metric.__name__ for metric, *_ in ROWS.values()} | ON_HOST
    assert {
        name for name, value in public.items() if name not in streamed and not inspect.isclass(value)
    } == PLAIN


def of_rows(rows, arrays):
    return jax.tree.map(lambda x: x if id(x) in FIXED else x[rows], arrays)


def assert_close(got, expected):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)


def nonsense(x):
    """What no metric could bear if it looked."""
    if np.issubdtype(x.dtype, np.floating):
        return np.full_like(x, np.nan)
    return x if x.dtype == bool else np.full_like(x, -100)


@pytest.mark.parametrize("name", ROWS)
def test_on_eight_devices_in_masked_pieces_it_has_the_value_of_the_oracle(name, coco):
    """Each device has two pieces of two examples, of which some are masked, and a third of nonsense that is wholly
    masked: measured under vmap, merged onto zero in a scan, over all devices, computed, in one program. Whole arrays
    are in the tests of each family, and for means below."""
    metric, arrays, oracle = ROWS[name]
    if oracle in (0, 1):
        part = oracle
        oracle = lambda p, t: coco(p, t, 2, limit=2)[part].mean()  # noqa: E731
    leaves, tree = jax.tree.flatten(arrays)
    fixed = [id(x) in FIXED for x in leaves]
    where = np.arange(N) < SEEN
    if name in PIXELS:
        where = np.broadcast_to(where[:, None, None], leaves[0].shape)

    def pieces(x, hidden):
        x, hidden = (a.reshape(8, 2, 2, *a.shape[1:]) for a in (x, hidden))
        return np.concatenate([x, hidden[:, :1]], axis=1)

    cut = [x if still else pieces(x, nonsense(x)) for x, still in zip(leaves, fixed)]
    mesh = Mesh(np.array(jax.devices()), ("device",))
    specs = [P() if still else P("device") for still in fixed]

    def local(cut, where):
        def measured(varying, mask):
            varying = iter(varying)
            given = [x if still else next(varying) for x, still in zip(cut, fixed)]
            return metric.measure(*jax.tree.unflatten(tree, given), where=mask)

        states = jax.vmap(measured)([x[0] for x, still in zip(cut, fixed) if not still], where[0])
        if name in STORED:  # it grows, so it is no carry
            each = [jax.tree.map(operator.itemgetter(i), states) for i in range(3)]
            state = functools.reduce(metric.merge, each, metric.zero)
        else:
            zero = jax.tree.map(lambda x: jax.lax.pcast(x, "device", to="varying"), metric.zero)
            state, _ = jax.lax.scan(lambda a, b: (metric.merge(a, b), None), zero, states)
        return metric.merge_over(state, "device")

    over_devices = jax.shard_map(local, mesh=mesh, in_specs=(specs, P("device")), out_specs=P())
    got = jax.jit(lambda cut, where: metric.compute(over_devices(cut, where)))(
        cut, pieces(where, where & False)
    )
    if name == "roc_curve":  # masked scores repeat the last point
        rest = jax.tree.map(lambda x: x[SEEN + 1 :], got)
        masked = len(got.thresholds) - SEEN - 1
        assert_close(rest, [np.ones(masked), np.ones(masked), np.full(masked, -np.inf)])
        got = jax.tree.map(lambda x: x[: SEEN + 1], got)
    assert_close(got, oracle(*of_rows(slice(SEEN), arrays)))


@pytest.mark.parametrize("name", ["accuracy", "r2_score", "roc_auc binned", "ssim", "frechet_distance"])
def test_a_program_over_global_arrays_needs_no_merge(name):
    """Inside a step whose batch is split over eight devices, the metric's own code sees the whole batch."""
    metric, arrays, oracle = ROWS[name]
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("device",)), P("device"))

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, *batch):
        state = metric.update(state, *batch)
        return state, metric.compute(state)

    state, value = step(metric.zero, *jax.device_put(arrays, sharding))
    assert_close(value, oracle(*arrays))
    assert_close(metric.compute(state), value)


NOTHING = {  # where it is not NaN
    "confusion_matrix": 0,
    "f1_score": 0,  # of each class
    "iou": 0,
    "mode_coverage": 0,
    "dead_relu_fraction": 1,
    "roc_curve": None,  # NaN rates and infinite thresholds: in the tests of ranking
    "roc_curve binned": None,
    "classification_report": None,  # below
}


@pytest.mark.parametrize("name", ROWS)
def test_of_nothing_it_has_the_documented_value(name):
    metric, *_ = ROWS[name]
    expected = NOTHING.get(name, np.nan)
    if expected is not None:
        value = np.asarray(jax.jit(metric.compute)(metric.zero))
        np.testing.assert_array_equal(value, np.full_like(value, expected))


def test_a_report_of_nothing():
    metric, *_ = ROWS["classification_report"]
    report = jax.jit(metric.compute)(metric.zero)
    for rates in (report.precision, report.recall, report.f1, report.support):
        np.testing.assert_array_equal(rates, np.zeros(K))
    for mean in (report.accuracy, report.macro, report.weighted):
        assert np.isnan(mean).all()


LABELLED = (
    "accuracy",
    "error_rate",
    "top_k_accuracy",
    "log_loss",
    "confusion_matrix",
    "precision",
    "recall",
    "f1_score",
)
LABELLED += ("classification_report", "perplexity", "bits_per_character")
PAIRED = (
    "mean_absolute_error",
    "root_mean_squared_error",
    "r2_score",
    "mape",
    "explained_variance",
    "psnr",
    "ssim",
)
UNLIKE = (
    "word_error_rate",
    "frechet_distance",
    "discriminator_accuracy",
)  # the second may be as long as it likes


def refused(metric, arrays, **mask):
    """The error that a call ends in, or None: nothing is compiled and nothing runs."""
    try:
        jax.eval_shape(lambda x: metric.measure(*x, **mask), arrays)
    except (TypeError, ValueError) as error:
        return error


@pytest.mark.parametrize("name", ROWS)
def test_wrong_dtypes_shapes_and_masks_are_errors(name):
    metric, arrays, _ = ROWS[name]
    assert refused(metric, arrays) is None
    rows = jax.tree.leaves(arrays)[0].shape if name in PIXELS else (N,)
    if name in PAIRED[:5]:
        rows = arrays[0].shape
    if name not in ("frechet_distance", "discriminator_accuracy"):  # which take a pair of masks too
        assert isinstance(refused(metric, arrays, where=np.ones((7, *rows), bool)), ValueError)
    assert isinstance(refused(metric, arrays, where=np.ones(rows, np.float32)), TypeError)
    first, *others = arrays
    if others and not any(id(x) in FIXED for x in jax.tree.leaves(others)) and name not in UNLIKE:
        fewer = jax.tree.map(lambda x: x[:-1], others)
        assert isinstance(refused(metric, (first, *fewer)), ValueError), "fewer examples"
    if name in LABELLED:
        labels = arrays[1]
        assert isinstance(refused(metric, (first, labels.astype(np.float32))), TypeError), "real labels"
        assert isinstance(refused(metric, (first, np.eye(K, dtype=np.int32)[labels])), ValueError), (
            "one-hot labels"
        )
        assert isinstance(refused(metric, (first[:, 0], labels)), (TypeError, ValueError)), (
            "scores without classes"
        )
    if name in PAIRED or name in ("log_loss", "perplexity", "bits_per_character", "top_k_accuracy"):
        assert isinstance(refused(metric, (np.ones(first.shape, np.int32), *others)), TypeError), "integers"


@pytest.mark.parametrize(
    "name", ["mape", "explained_variance", "sharpe_ratio", "roc_curve", "roc_curve binned"]
)
def test_whole_arrays(name):
    metric, arrays, oracle = ROWS[name]
    assert_close(metric(*arrays), oracle(*arrays))


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_half_precision_only_rounds_the_inputs(name):
    """Sums and statistics are kept in float32."""
    metric, arrays, _ = ROWS[name]
    is_float = lambda x: x.dtype == np.float32  # noqa: E731
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if is_float(x) else x, arrays)
    rounded = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == jnp.bfloat16 else x, half)
    got = metric(*half)
    assert_close(got, metric(*rounded))
    assert all(x.dtype in (jnp.float32, jnp.int32) for x in jax.tree.leaves(got))


@pytest.mark.parametrize("name", [name for name in ROWS if name not in STORED])
def test_zero_is_a_state(name):
    metric, arrays, _ = ROWS[name]
    zero, state = jax.eval_shape(lambda: metric.zero), jax.eval_shape(metric.measure, *arrays)
    chex.assert_trees_all_equal_shapes_and_dtypes(zero, state)


@pytest.mark.parametrize(
    ("metric", "setting"),
    [
        (metrics.frechet_distance, "num_features"),
        (metrics.inception_score, "num_classes"),
        (metrics.mode_coverage.bind(radius=1.0), "num_modes"),
        (metrics.dead_relu_fraction, "num_units"),
    ],
)
def test_zero_of_unknown_shape(metric, setting):
    with pytest.raises(ValueError, match=rf"{setting} must be bound to stream, as in metrics.*{setting}=10"):
        _ = metric.zero
