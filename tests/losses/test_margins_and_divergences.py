"""Margins, focal weights, divergences and teachers against float64, Optax, PyTorch, SciPy and worked numbers."""

import functools

import jax
import numpy as np
import optax
import pytest
import scipy.spatial.distance
import scipy.special

from jaxdl import losses

RNG = np.random.default_rng(5)
B, K = 4, 3
LOGITS, OTHER = 2 * RNG.normal(size=(B, K)), 2 * RNG.normal(size=(B, K))
LABELS = np.array([0, 2, 1, 2], np.int32)
SHARES = RNG.uniform(0.05, 0.95, (B, K))
SIGNS = np.where(RNG.uniform(size=(B, K)) < 0.5, -1, 1).astype(np.int32)
TARGETS = RNG.dirichlet(np.ones(K), B)
LOG_P = np.log(RNG.dirichlet(np.ones(K), B))
FAR = np.where(np.arange(B * K).reshape(B, K) % 2 == 0, 1e4, -1e4)
ZEROS = np.zeros((B, K))
CORNER = np.eye(K)[LABELS]
LOG_CORNER = np.where(CORNER == 1, 0, -np.inf)
SOME = np.arange(B * K).reshape(B, K) % 4 != 1


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def focal(x, y, alpha, gamma):
    right = y * sigmoid(x) + (1 - y) * sigmoid(-x)
    weight = (alpha * y + (1 - alpha) * (1 - y)) if alpha is not None else 1
    return weight * (1 - right) ** gamma * -(y * np.log(sigmoid(x)) + (1 - y) * np.log(sigmoid(-x)))


def worst_rival(s, y):
    return np.array([max(0, 1 + max(np.delete(row, k)) - row[k]) for row, k in zip(s, y)])


def divergence(log_q, p):
    return scipy.special.rel_entr(p, np.exp(log_q)).sum(-1)


def jensen_shannon(log_q, p):
    m = (np.exp(log_q) + p) / 2
    return (scipy.special.rel_entr(p, m) + scipy.special.rel_entr(np.exp(log_q), m)).sum(-1) / 2


def softened(x, teacher, temperature=3.0):
    q, p = (scipy.special.softmax(a / temperature, axis=-1) for a in (x, teacher))
    return temperature**2 * scipy.special.rel_entr(p, q).sum(-1)


ROWS = {
    "focal_loss": (
        losses.focal_loss,
        (LOGITS, SHARES),
        lambda x, y: focal(x, y, None, 2.0),
        {
            "optax": optax.sigmoid_focal_loss,
            "extremes": [(FAR, CORNER), (-FAR, CORNER), (FAR, SHARES)],
        },
    ),
    "focal_loss alpha": (
        functools.partial(losses.focal_loss, alpha=0.25, gamma=0.5),
        (LOGITS, CORNER),
        lambda x, y: focal(x, y, 0.25, 0.5),
        {
            "which": [0],
            "optax": functools.partial(optax.sigmoid_focal_loss, alpha=0.25, gamma=0.5),
            "extremes": [(FAR, CORNER), (-FAR, CORNER)],
        },
    ),
    "focal_loss without focus": (
        functools.partial(losses.focal_loss, gamma=0.0),
        (LOGITS, SHARES),
        lambda x, y: focal(x, y, None, 0.0),
        {"torch": lambda f, x, y: f.binary_cross_entropy_with_logits(x, y, reduction="none")},
    ),
    "squared_hinge": (
        losses.squared_hinge,
        (LOGITS, SIGNS),
        lambda s, t: np.maximum(0, 1 - t * s) ** 2,
        {"extremes": [(FAR, SIGNS), (-FAR, SIGNS)]},
    ),
    "multiclass_hinge": (
        losses.multiclass_hinge,
        (LOGITS, LABELS),
        worst_rival,
        {"optax": optax.losses.multiclass_hinge_loss, "extremes": [(FAR, LABELS), (ZEROS, LABELS)]},
    ),
    "kl_divergence": (
        losses.kl_divergence,
        (LOG_P, TARGETS),
        divergence,
        {
            "optax": optax.kl_divergence,
            "torch": lambda f, q, p: f.kl_div(q, p, reduction="none").sum(-1),
            "extremes": [(LOG_CORNER, CORNER), (np.minimum(FAR, 0), TARGETS), (LOG_P, CORNER)],
        },
    ),
    "kl_divergence some classes": (
        functools.partial(losses.kl_divergence, where=SOME),
        (LOG_P, TARGETS),
        lambda log_q, p: (scipy.special.rel_entr(p, np.exp(log_q)) * SOME).sum(-1),
        {"maskable": False, "optax": functools.partial(optax.kl_divergence, where=SOME)},
    ),
    "js_divergence": (
        losses.js_divergence,
        (LOG_P, TARGETS),
        jensen_shannon,
        {"extremes": [(LOG_CORNER, CORNER), (LOG_CORNER, TARGETS), (np.minimum(FAR, 0), CORNER)]},
    ),
    "distillation": (
        functools.partial(losses.distillation, temperature=3.0),
        (LOGITS, OTHER),
        softened,
        {
            "which": [0],
            "torch": lambda f, x, t: (
                9 * f.kl_div((x / 3).log_softmax(-1), (t / 3).softmax(-1), reduction="none").sum(-1)
            ),
            "extremes": [(FAR, -FAR), (FAR, FAR), (ZEROS, FAR)],
        },
    ),
    "domain_confusion": (
        losses.domain_confusion,
        (LOGITS,),
        lambda x: -scipy.special.log_softmax(x, axis=-1).mean(-1),
        {
            "torch": lambda f, x: f.cross_entropy(x, x.detach() * 0 + 1 / K, reduction="none"),
            "extremes": [(FAR,), (ZEROS,)],
        },
    ),
}


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), ROWS.values(), ids=ROWS)
def test_transcription(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


def test_js_divergence_is_the_square_of_scipys_distance_and_bounded(value_of):
    got = value_of(losses.js_divergence, LOG_P, TARGETS)
    np.testing.assert_allclose(
        got, scipy.spatial.distance.jensenshannon(np.exp(LOG_P), TARGETS, axis=-1) ** 2, rtol=1e-5
    )
    apart = value_of(losses.js_divergence, LOG_CORNER, np.roll(CORNER, 1, axis=-1))
    np.testing.assert_allclose(apart, np.full(B, np.log(2)), rtol=1e-6)


def test_printed_divergence(value_of):
    """004a-4.2."""
    p, q = np.array([0.1, 0.4, 0.5]), np.array([0.8, 0.15, 0.05])
    np.testing.assert_allclose(value_of(losses.kl_divergence, np.log(q), p), 1.3356800935, rtol=1e-6)


def test_equal_distributions_cost_nothing_and_absent_classes_neither(value_of):
    assert (value_of(losses.kl_divergence, LOG_CORNER, CORNER) == 0).all()
    assert (value_of(losses.distillation, LOGITS, LOGITS, temperature=2.0) == 0).all()


def test_no_gradient_reaches_the_teacher():
    gradient = jax.jit(jax.grad(lambda t: losses.distillation(np.float32(LOGITS), t).sum()))(
        np.float32(OTHER)
    )
    assert (gradient == 0).all()


def test_hinge_of_two_classes_matches_torch(equals_torch):
    """Of two classes the worst rival is the only one; PyTorch divides by their number."""
    from torch.nn import functional

    equals_torch(
        losses.multiclass_hinge,
        lambda s, y: 2 * functional.multi_margin_loss(s, y, reduction="none"),
        LOGITS[:, :2],
        np.array([0, 1, 1, 0], np.int32),
    )


@pytest.mark.parametrize("loss", [losses.multiclass_hinge, losses.distillation, losses.domain_confusion])
def test_classes_left_out_equal_classes_sliced_away(gradients_of, loss):
    where = np.ones((B, K), bool)
    where[:, 1] = False
    where[3] = False
    x = np.where(where, LOGITS, np.nan).astype(np.float32)
    inputs = {
        losses.multiclass_hinge: (np.array([0, 2, 0, 1]),),
        losses.distillation: (np.float32(OTHER),),
        losses.domain_confusion: (),
    }[loss]
    value, gradient = gradients_of(loss, x, *inputs, where=where)
    kept = [0, 2]
    sliced = [np.array([0, 1, 0, 1]) if a.ndim == 1 else a[:, kept] for a in inputs]
    expected, expected_gradient = gradients_of(loss, LOGITS[:, kept], *sliced)
    np.testing.assert_allclose(value[:3], expected[:3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[:3][:, kept], expected_gradient[:3], rtol=1e-5, atol=1e-6)
    assert value[3] == 0
    assert (gradient[~where] == 0).all()


def test_a_right_class_left_out_gives_nan(gradients_of):
    where = np.ones((B, K), bool)
    where[1, LABELS[1]] = False
    value, gradient = gradients_of(losses.multiclass_hinge, LOGITS, LABELS, where=where)
    assert np.isnan(value).tolist() == [False, True, False, False]
    assert np.isnan(gradient[1]).any()


@pytest.mark.parametrize(
    ("loss", "x", "y", "impossible"),
    [
        pytest.param(losses.multiclass_hinge, LOGITS, LABELS, [-1, K], id="multiclass_hinge"),
        pytest.param(losses.focal_loss, LOGITS, SHARES, [-0.1, 1.01], id="focal_loss"),
        pytest.param(losses.squared_hinge, LOGITS, SIGNS, [0, 2], id="squared_hinge"),
        pytest.param(losses.kl_divergence, LOG_P, TARGETS, [-0.1, 1.01], id="kl_divergence"),
        pytest.param(losses.js_divergence, LOG_P, TARGETS, [-0.1, 1.01], id="js_divergence"),
    ],
)
def test_impossible_labels_give_nan_in_their_row_only(gradients_of, loss, x, y, impossible):
    rows = len(impossible) * B
    x, bad = np.concatenate([x] * len(impossible)), np.concatenate([y] * len(impossible))
    for i, label in enumerate(impossible):
        bad.reshape(rows, -1)[B * i + 2, 0] = label
    value, gradient = gradients_of(loss, x, bad)
    nan = np.arange(rows) % B == 2
    assert np.isnan(value.reshape(rows, -1)).any(1).tolist() == nan.tolist()
    assert np.isnan(gradient).any(1).tolist() == nan.tolist()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.multiclass_hinge(LOGITS, CORNER), TypeError, "labels must be integers"),
        (
            lambda: losses.multiclass_hinge(LOGITS, LABELS[:, None]),
            ValueError,
            "labels must have the shape of scores",
        ),
        (lambda: losses.focal_loss(LOGITS, LABELS), ValueError, "labels must have the shape of logits"),
        (lambda: losses.focal_loss(LOGITS, CORNER, alpha=2), ValueError, "alpha must be between 0 and 1"),
        (lambda: losses.focal_loss(LOGITS, CORNER, gamma=-1), ValueError, "gamma must be at least 0"),
        (
            lambda: losses.kl_divergence(LOG_P, TARGETS[0]),
            ValueError,
            "targets must have the shape of log_pred",
        ),
        (lambda: losses.kl_divergence(0.0, 1.0), ValueError, "log_predictions must have a last axis"),
        (
            lambda: losses.distillation(LOGITS, OTHER, temperature=0),
            ValueError,
            "temperature must be positive",
        ),
        (lambda: losses.distillation(LOGITS, SIGNS), TypeError, "teacher_logits must be floating"),
        (lambda: losses.squared_hinge(LOGITS, SIGNS[0]), ValueError, "targets must have the shape of scores"),
        (lambda: losses.domain_confusion(1.0), ValueError, "domain_logits must have a last axis"),
    ],
)
def test_wrong_shapes_dtypes_and_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()
