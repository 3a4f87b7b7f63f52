"""Losses of sequences: alignments by enumeration, PyTorch, Optax, worked numbers."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from jaxdl import losses

RNG = np.random.default_rng(12)
B, T, K, D = 3, 4, 3, 2
LOGITS, LABELS = 2 * RNG.normal(size=(B, T, K)), RNG.integers(0, K, (B, T)).astype(np.int32)
SERIES, WANTED = RNG.normal(size=(B, T, D)), RNG.normal(size=(B, T, D))
FAR = np.where(np.arange(LOGITS.size).reshape(LOGITS.shape) % 2, 1e4, -1e4)
M = 4
MIXING, MEANS, LOG_SCALES = (
    RNG.normal(size=(B, M)),
    RNG.normal(size=(B, M, D)),
    0.3 * RNG.normal(size=(B, M, D)),
)
POINTS, TILT = RNG.normal(size=(B, D)), RNG.uniform(-0.8, 0.8, (B, M))


def nats(x, labels):
    return -np.take_along_axis(scipy.special.log_softmax(x, axis=-1), labels[..., None], -1)[..., 0]


def mixture(x, m, s, t, r=None):
    """Component by component, with scipy's densities."""
    out = []
    for b in range(len(x)):
        weights, total = scipy.special.softmax(x[b]), 0
        for k in range(x.shape[1]):
            scale = np.exp(s[b, k])
            covariance = np.diag(scale**2)
            if r is not None:
                covariance[0, 1] = covariance[1, 0] = r[b, k] * scale[0] * scale[1]
            total += weights[k] * scipy.stats.multivariate_normal(m[b, k], covariance).pdf(t[b])
        out.append(-np.log(total))
    return np.array(out)


def torch_mixture(f, x, m, s, t, r=None):
    from torch import distributions as d

    parts = d.Independent(d.Normal(m, s.exp()), 1)
    if r is not None:
        tilt = (r.new_tensor([[0.0, 1], [1, 0]]) * r[..., None, None]) + r.new_tensor([[1.0, 0], [0, 1]])
        scales = s.exp()
        parts = d.MultivariateNormal(m, scales[..., None] * tilt * scales[..., None, :])
    return -d.MixtureSameFamily(d.Categorical(logits=x), parts).log_prob(t)


def collapsed(path, blank):
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def aligned(x, x_padding, labels, padding, blank=0):
    """The loss by every path there is."""
    out = []
    for b in range(len(x)):
        log_p = scipy.special.log_softmax(x[b][x_padding[b] == 0], axis=-1)
        truth = tuple(labels[b][padding[b] == 0])
        paths = itertools.product(range(x.shape[2]), repeat=len(log_p))
        costs = [log_p[np.arange(len(p)), list(p)].sum() for p in paths if collapsed(p, blank) == truth]
        out.append(-scipy.special.logsumexp(costs) if costs else np.inf)
    return np.array(out)


# A repeat, a shorter sequence with padded frames, no label at all.
WORDS = np.array([[1, 1], [2, 9], [-5, 9]], np.int32)
WORD_PADDING = np.array([[0, 0], [0, 1], [1, 1]], np.int32)
PAIR_PADDING = np.array([[0, 0], [0, 1], [0, 0]], np.int32)
FRAME_PADDING = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], np.int32)

ROWS = {
    "sequence_cross_entropy": (
        losses.sequence_cross_entropy,
        (LOGITS, LABELS),
        lambda x, y: nats(x, y).sum(1),
        {
            "torch": lambda f, x, y: f.cross_entropy(x.movedim(-1, 1), y.long(), reduction="none").sum(1),
            "extremes": [(FAR, LABELS)],
        },
    ),
    "sequence_cross_entropy per step": (
        functools.partial(losses.sequence_cross_entropy, per_step=True),
        (LOGITS, LABELS),
        nats,
        {},
    ),
    "sequence_squared_error": (
        losses.sequence_squared_error,
        (SERIES, WANTED),
        lambda y, d: ((d - y) ** 2).sum((1, 2)),
        {
            "torch": lambda f, y, d: f.mse_loss(y, d, reduction="none").sum((1, 2)),
            "extremes": [(1e4 * SERIES, WANTED)],
        },
    ),
    "sequence_squared_error per step": (
        functools.partial(losses.sequence_squared_error, per_step=True),
        (SERIES, WANTED),
        lambda y, d: ((d - y) ** 2).sum(2),
        {},
    ),
    "mixture_density_nll": (
        losses.mixture_density_nll,
        (MIXING, MEANS, LOG_SCALES, POINTS),
        mixture,
        {
            "torch": torch_mixture,
            "extremes": [
                (1e4 * MIXING, MEANS, LOG_SCALES, POINTS),
                (MIXING, 1e4 * MEANS, LOG_SCALES, POINTS),
                (0 * MIXING, 0 * MEANS, 0 * LOG_SCALES - 40, 0 * POINTS),
            ],
        },
    ),
    "mixture_density_nll with correlations": (
        lambda x, m, s, t, r, where=None: losses.mixture_density_nll(x, m, s, t, where, correlations=r),
        (MIXING, MEANS, LOG_SCALES, POINTS, TILT),
        mixture,
        {"torch": torch_mixture, "extremes": [(MIXING, 1e4 * MEANS, LOG_SCALES, POINTS, TILT)]},
    ),
    "ctc": (
        losses.ctc,
        (LOGITS, FRAME_PADDING, WORDS, WORD_PADDING),
        aligned,
        {
            "extremes": [
                (FAR, FRAME_PADDING, WORDS, WORD_PADDING),
                (0 * FAR, FRAME_PADDING, WORDS, WORD_PADDING),
            ]
        },
    ),
    "ctc of another blank": (
        functools.partial(losses.ctc, blank_id=2),
        (LOGITS, FRAME_PADDING, np.array([[1, 0], [0, 9], [1, 1]], np.int32), PAIR_PADDING),
        functools.partial(aligned, blank=2),
        {},
    ),
}


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), ROWS.values(), ids=ROWS)
def test_transcription(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


def speech(b, t, k, n, seed=0):
    rng = np.random.default_rng(seed)
    frames, words = rng.integers(2 * n + 1, t + 1, b), rng.integers(1, n + 1, b)
    return (
        2 * rng.normal(size=(b, t, k)),
        (np.arange(t) >= frames[:, None]).astype(np.float32),
        rng.integers(1, k, (b, n)).astype(np.int32),
        (np.arange(n) >= words[:, None]).astype(np.float32),
        frames,
        words,
    )


def test_alignments_match_torch_and_optax(gradients_of):
    torch = pytest.importorskip("torch")
    x, x_padding, labels, padding, frames, words = speech(4, 30, 6, 8)
    tensor = torch.tensor(x, requires_grad=True)
    value = torch.nn.functional.ctc_loss(
        tensor.log_softmax(-1).transpose(0, 1), *map(torch.tensor, (labels, frames, words)), reduction="none"
    )
    value.sum().backward()
    got, gradient = gradients_of(losses.ctc, x, x_padding, labels, padding)
    np.testing.assert_allclose(got, value.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-5, atol=2e-6)
    library, library_gradient = gradients_of(optax.losses.ctc_loss, x, x_padding, labels, padding)
    np.testing.assert_allclose(got, library, rtol=1e-5)
    np.testing.assert_allclose(gradient, library_gradient, rtol=1e-5, atol=2e-5)


def test_every_order_of_derivative_of_an_alignment():
    """Forward mode, and the Hessian by central differences of the enumeration."""
    x, rest = LOGITS[:1, :3, :2], (np.zeros((1, 3)), np.array([[1]], np.int32), np.zeros((1, 1)))

    def loss(flat):
        return losses.ctc(flat.reshape(x.shape), *rest)[0]

    flat = jnp.asarray(x.ravel(), jnp.float32)
    gradient, forward, hessian, backward = jax.jit(
        lambda a: (
            jax.grad(loss)(a),
            jax.jacfwd(loss)(a),
            jax.hessian(loss)(a),
            jax.jacrev(jax.grad(loss))(a),
        )
    )(flat)
    np.testing.assert_allclose(forward, gradient, atol=1e-6)
    np.testing.assert_allclose(hessian, backward, atol=1e-6)
    step, eye = 1e-4, np.eye(x.size)

    def exact(v):
        return aligned(v.reshape(x.shape), *rest)[0]

    numeric = [
        [
            sum(a * b * exact(x.ravel() + step * (a * eye[i] + b * eye[j])) for a in (1, -1) for b in (1, -1))
            / (4 * step**2)
            for j in range(x.size)
        ]
        for i in range(x.size)
    ]
    np.testing.assert_allclose(hessian, numeric, atol=1e-5)


def test_printed_alignment(value_of):
    """004a-4.6."""
    x = np.log(np.tile([0.4, 0.6], (1, 2, 1)))
    loss = value_of(losses.ctc, x, np.zeros((1, 2)), np.array([[1]]), np.zeros((1, 1)))
    np.testing.assert_allclose(loss, [-np.log(0.84)], rtol=1e-6)
    np.testing.assert_allclose(loss, [0.1743533871], rtol=1e-6)


def test_the_posterior_is_the_gradient_even_where_sums_are_huge(gradients_of):
    """Logits of 1e4 over 50 frames: the classes of each frame still share one unit of probability."""
    x = 1e4 * np.sign(RNG.normal(size=(1, 50, 4)))
    value, gradient = gradients_of(
        losses.ctc, x, np.zeros((1, 50)), np.array([[1, 2, 2, 3]], np.int32), np.zeros((1, 4))
    )
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(-1), np.zeros((1, 50)), atol=1e-5)
    assert (np.abs(gradient) <= 1 + 1e-5).all()


def test_the_impossible_costs_infinity_and_a_bad_label_is_nan(gradients_of):
    x = np.tile(LOGITS[:1, :2], (5, 1, 1))
    labels = np.array(
        [[1, 1], [1, 2], [0, 1], [3, 1], [1, 2]], np.int32
    )  # too few frames, fine, blank, no class
    padding = np.array([[0, 0], [0, 0], [0, 0], [0, 0], [1, 0]])  # the last: padding first
    value, gradient = gradients_of(losses.ctc, x, np.zeros((5, 2)), labels, padding)
    assert value[0] == np.inf
    assert np.isfinite(value[1])
    assert np.isnan(value[2:]).all()
    assert np.isnan(gradient).any((1, 2)).tolist() == [True, False, True, True, True]
    value, gradient = gradients_of(
        losses.ctc, x, np.zeros((5, 2)), labels, padding, where=np.array([False, True, False, False, False])
    )
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


def test_a_class_ruled_out_and_no_labels_at_all(gradients_of):
    x = LOGITS.copy()
    x[..., 2] = -np.inf
    none = np.zeros((B, 0), np.int32)
    value, _ = gradients_of(losses.ctc, x, np.zeros((B, T)), none, np.zeros((B, 0)))
    np.testing.assert_allclose(value, nats(x[..., :2], np.zeros((B, T), int)).sum(1), rtol=1e-5)
    word = np.ones((B, 1), np.int32)
    value, gradient = gradients_of(losses.ctc, x, np.zeros((B, T)), word, np.zeros((B, 1)))
    np.testing.assert_allclose(
        value, aligned(x[..., :2], np.zeros((B, T)), word, np.zeros((B, 1))), rtol=1e-5
    )
    assert np.isfinite(gradient).all()
    value, _ = gradients_of(losses.ctc, x, np.zeros((B, T)), 2 * word, np.zeros((B, 1)))
    assert (value == np.inf).all()


def test_steps_left_out(gradients_of):
    where = np.arange(B * T).reshape(B, T) % 3 > 0
    x, y = np.where(where[..., None], LOGITS, np.nan), np.where(where, LABELS, -1)
    value, gradient = gradients_of(losses.sequence_cross_entropy, x, y, where=where)
    np.testing.assert_allclose(value, (where * nats(LOGITS, LABELS)).sum(1), rtol=1e-5)
    assert (gradient[~where] == 0).all()
    x = np.where(where[..., None], SERIES, np.nan)
    value, gradient = gradients_of(losses.sequence_squared_error, x, WANTED, where=where)
    np.testing.assert_allclose(value, (where[..., None] * (SERIES - WANTED) ** 2).sum((1, 2)), rtol=1e-5)
    assert (gradient[~where] == 0).all()


def test_backpropagation_through_time_example():
    """000-G12: a scalar tanh net with a linear output."""
    x, targets, state = [1.0, -1.0, 0.5], [0.2, 0.1, -0.3], 0.0
    outputs = []
    for step in x:
        state = np.tanh(0.5 * step + 0.8 * state)
        outputs.append(1.2 * state)
    total = losses.sequence_squared_error(np.float32([outputs]), np.float32([targets]))
    np.testing.assert_allclose(total, [0.415996747179], rtol=1e-6)


def test_a_correlation_of_one_gives_nan(gradients_of):
    r = TILT.copy()
    r[1, 2] = 1.0

    def loss(m):
        return losses.mixture_density_nll(
            np.float32(MIXING), m, np.float32(LOG_SCALES), np.float32(POINTS), correlations=np.float32(r)
        )

    for result in gradients_of(loss, MEANS):
        assert np.isnan(result).reshape(B, -1).any(1).tolist() == [False, True, False]


ARGUMENTS = (LOGITS, FRAME_PADDING, WORDS, WORD_PADDING)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.ctc(LOGITS[0], *ARGUMENTS[1:]), ValueError, "logits must have rank 3"),
        (
            lambda: losses.ctc(LOGITS, FRAME_PADDING[:, :2], WORDS, WORD_PADDING),
            ValueError,
            "logit_paddings must",
        ),
        (
            lambda: losses.ctc(LOGITS, FRAME_PADDING, WORDS, WORD_PADDING[:1]),
            ValueError,
            "label_paddings must",
        ),
        (
            lambda: losses.ctc(LOGITS, FRAME_PADDING, WORDS[:2], WORD_PADDING[:2]),
            ValueError,
            "agree in the first axis",
        ),
        (
            lambda: losses.ctc(LOGITS, FRAME_PADDING, SERIES[:, :2, 0], WORD_PADDING),
            TypeError,
            "labels must be int",
        ),
        (lambda: losses.ctc(*ARGUMENTS, blank_id=K), ValueError, "blank_id must be between 0 and 2, got 3"),
        (lambda: losses.ctc(*ARGUMENTS, np.ones((B, T), bool)), ValueError, r"where must have shape \(3,\)"),
        (
            lambda: losses.ctc(LOGITS[:, :0], FRAME_PADDING[:, :0], WORDS, WORD_PADDING),
            ValueError,
            "number_of_frames",
        ),
        (lambda: losses.sequence_cross_entropy(LOGITS, SERIES[..., 0]), TypeError, "labels must be integers"),
        (lambda: losses.sequence_cross_entropy(LOGITS[0], LABELS[0]), ValueError, "logits must have rank 3"),
        (lambda: losses.sequence_squared_error(POINTS[0], POINTS[0]), ValueError, "axes of batch and time"),
        (
            lambda: losses.sequence_squared_error(SERIES, WANTED, np.ones(T, bool)),
            ValueError,
            "where must have",
        ),
        (
            lambda: losses.mixture_density_nll(MIXING, MEANS[:, :2], LOG_SCALES[:, :2], POINTS),
            ValueError,
            "means must have shape",
        ),
        (
            lambda: losses.mixture_density_nll(
                MIXING, MEANS[..., :1], LOG_SCALES[..., :1], POINTS[:, :1], correlations=TILT
            ),
            ValueError,
            "means_with_correlations must have shape",
        ),
    ],
)
def test_wrong_shapes_dtypes_and_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("regression", "squared_error"),
        ("regression with outliers", "huber"),
        ("classification", "softmax_cross_entropy_with_integer_labels"),
        ("imbalanced classification", "focal_loss"),
        ("ranking", "margin_ranking"),
        ("imbalanced segmentation", "dice"),
        ("support vector machine", "hinge"),
        ("speech recognition", "ctc"),
        ("counts", "poisson_nll"),
    ],
)
def test_the_loss_for_a_task(task, name):
    """004a, section 4.7."""
    assert losses.choose_loss(task) is getattr(losses, name)
    with pytest.raises(ValueError, match="task must be one of 'regression', .*got 'anything'"):
        losses.choose_loss("anything")
