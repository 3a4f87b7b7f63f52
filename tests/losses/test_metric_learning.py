"""Losses on distances against Optax, PyTorch, float64 enumerations and worked numbers."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses

RNG = np.random.default_rng(6)
B, D = 4, 3
A, P, N = (RNG.normal(size=(B, D)) for _ in range(3))
DISTANCES = RNG.uniform(0.1, 2, (B,))
MATCH = np.array([1, 0, 0, 1], np.int32)
SCORES, RIVALS = RNG.normal(size=B), RNG.normal(size=B)
SIGNS = np.array([1, -1, 1, -1], np.int32)
LABELS = np.array([0, 1, 0, 1], np.int32)
FAR, ZEROS = np.where(np.arange(B * D).reshape(B, D) % 2, 1e4, -1e4), np.zeros((B, D))


def tripled(a, p, n, squared=False, margin=1.0, eps=1e-6):
    near, far = ((a - p) ** 2).sum(-1), ((a - n) ** 2).sum(-1)
    return np.maximum(0, (near - far if squared else np.sqrt(near + eps) - np.sqrt(far + eps)) + margin)


def cosines(a, b):
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


def pairs(z, labels, temperature=0.5):
    """The loss of each example, pair by pair."""
    s = cosines(z, z) / temperature
    out = np.zeros(len(z))
    for i in range(len(z)):
        rivals = sum(np.exp(s[i, k]) for k in range(len(z)) if labels[k] != labels[i])
        likes = [j for j in range(len(z)) if j != i and labels[j] == labels[i]]
        terms = [-np.log(np.exp(s[i, j]) / (np.exp(s[i, j]) + rivals)) for j in likes]
        out[i] = np.mean(terms) if terms else 0
    return out


def found(q, k, temperature=0.5):
    s = cosines(q, k) / temperature
    return np.array([np.log(np.exp(s[i]).sum()) - s[i, i] for i in range(len(q))])


ROWS = {
    "contrastive": (
        losses.contrastive,
        (DISTANCES, MATCH),
        lambda d, y: (y * d**2 + (1 - y) * np.maximum(0, 1 - d) ** 2) / 2,
        {"extremes": [(np.zeros(B), MATCH), (np.full(B, 1e4), MATCH)]},
    ),
    "contrastive linear": (
        functools.partial(losses.contrastive, squared=False, margin=1.5),
        (DISTANCES, MATCH),
        lambda d, y: (y * d + (1 - y) * np.maximum(0, 1.5 - d)) / 2,
        {
            "torch": lambda f, d, y: f.hinge_embedding_loss(d, 2 * y - 1, margin=1.5, reduction="none") / 2,
            "extremes": [(np.zeros(B), MATCH)],
        },
    ),
    "triplet": (
        losses.triplet,
        (A, P, N),
        tripled,
        {"optax": optax.losses.triplet_margin_loss, "extremes": [(ZEROS, ZEROS, ZEROS), (FAR, -FAR, FAR)]},
    ),
    "triplet eps": (
        functools.partial(losses.triplet, margin=0.4, eps=1e-3),
        (A, P, N),
        functools.partial(tripled, margin=0.4, eps=1e-3),
        {
            "optax": functools.partial(optax.losses.triplet_margin_loss, margin=0.4, eps=1e-3),
            "torch": lambda f, a, p, n: f.triplet_margin_with_distance_loss(
                a,
                p,
                n,
                distance_function=lambda x, y: ((x - y).square().sum(-1) + 1e-3).sqrt(),
                margin=0.4,
                reduction="none",
            ),
        },
    ),
    "triplet squared": (
        functools.partial(losses.triplet, squared=True),
        (A, P, N),
        functools.partial(tripled, squared=True),
        {"extremes": [(ZEROS, ZEROS, ZEROS), (FAR, -FAR, FAR)]},
    ),
    "margin_ranking": (
        functools.partial(losses.margin_ranking, margin=0.3),
        (SCORES, RIVALS, SIGNS),
        lambda a, b, t: np.maximum(0, -t * (a - b) + 0.3),
        {
            "torch": lambda f, a, b, t: f.margin_ranking_loss(a, b, t, margin=0.3, reduction="none"),
            "extremes": [(np.full(B, 1e4), np.full(B, -1e4), SIGNS)],
        },
    ),
    "nt_xent": (
        losses.nt_xent,
        (A, LABELS),
        functools.partial(pairs, temperature=0.07),
        {"maskable": False, "extremes": [(ZEROS, LABELS), (FAR, LABELS)], "atol": 3e-6},
    ),
    "nt_xent mean": (
        lambda z, labels: losses.nt_xent(z, labels, 0.5).mean(),
        (A, LABELS),
        lambda z, labels: pairs(z, labels, 0.5).mean(),
        {"maskable": False, "optax": lambda z, labels: optax.losses.ntxent(z, labels, 0.5)},
    ),
    "info_nce": (
        functools.partial(losses.info_nce, temperature=0.5),
        (A, np.concatenate([P, N])),
        found,
        {
            "maskable": False,
            "torch": lambda f, q, k: f.cross_entropy(
                f.normalize(q) @ f.normalize(k).T / 0.5, q.argmax(-1).new_tensor(range(B)), reduction="none"
            ),
            "extremes": [(ZEROS, np.zeros((2 * B, D))), (FAR, np.concatenate([FAR, -FAR]))],
        },
    ),
}


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), ROWS.values(), ids=ROWS)
def test_transcription(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


def test_triplet_of_torch_differs_by_its_epsilon_only(value_of):
    torch = pytest.importorskip("torch")
    library = torch.nn.functional.triplet_margin_loss(*map(torch.tensor, (A, P, N)), reduction="none")
    np.testing.assert_allclose(value_of(losses.triplet, A, P, N), library.numpy(), atol=1e-5)


def test_printed_contrastive_losses():
    """004a-4.3."""
    d, y = jnp.array([0.5, 0.3]), jnp.array([1, 0])
    np.testing.assert_allclose(losses.contrastive(d, y, squared=False).mean(), 0.3, rtol=1e-6)
    np.testing.assert_allclose(losses.contrastive(d, y).mean(), 0.185, rtol=1e-6)


@pytest.mark.parametrize("name", ["nt_xent", "info_nce"])
def test_masked_examples_are_no_rivals(gradients_of, name):
    keep = np.array([True, False, True, True, False, True])
    z = RNG.normal(size=(6, D)).astype(np.float32)
    other = RNG.normal(size=(8, D)).astype(np.float32)  # two more keys than queries
    labels = np.array([0, 0, 1, 1, 2, 2])
    hidden = np.where(keep[:, None], z, np.nan)
    if name == "nt_xent":
        full, sliced = (hidden, labels), (z[keep], labels[keep])
    else:
        hidden_keys = other.copy()
        hidden_keys[:6][~keep] = np.nan
        full, sliced = (hidden, hidden_keys), (z[keep], other[np.append(keep, [True, True])])
    loss = getattr(losses, name)
    value, gradient = gradients_of(loss, *full, where=keep)
    expected, expected_gradient = gradients_of(loss, *sliced)
    np.testing.assert_allclose(value[keep], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[keep], expected_gradient, rtol=1e-5, atol=1e-5)
    assert (value[~keep] == 0).all()
    assert (gradient[~keep] == 0).all()


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_alone_or_without_rivals_costs_nothing(gradients_of, labels):
    value, gradient = gradients_of(losses.nt_xent, A, np.array(labels))
    assert (value == 0).all()
    assert (gradient == 0).all()


def test_guessing_costs_the_logarithm_of_the_keys(value_of):
    value = value_of(losses.info_nce, np.ones((B, D)), np.ones((9, D)))
    np.testing.assert_allclose(value, np.full(B, np.log(9)), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "inputs", "place", "values"),
    [
        pytest.param(losses.contrastive, (DISTANCES, MATCH), 1, [2, -1], id="contrastive label"),
        pytest.param(losses.contrastive, (DISTANCES, MATCH), 0, [-0.1], id="contrastive distance"),
        pytest.param(losses.margin_ranking, (SCORES, RIVALS, SIGNS), 2, [0, 2], id="margin_ranking"),
    ],
)
def test_impossible_inputs_give_nan(gradients_of, loss, inputs, place, values):
    arrays = [np.concatenate([x] * len(values)) for x in inputs]
    arrays[place][1 :: len(inputs[0])] = values
    nan = [i % B == 1 for i in range(B * len(values))]
    for result in gradients_of(loss, *arrays):
        assert np.isnan(result).tolist() == nan


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.contrastive(DISTANCES, MATCH, margin=0), ValueError, "margin must be positive"),
        (
            lambda: losses.contrastive(DISTANCES, MATCH[:2]),
            ValueError,
            "labels must have the shape of distances",
        ),
        (lambda: losses.triplet(A, P, N[:2]), ValueError, "negatives must have the shape of anchors"),
        (lambda: losses.triplet(A, P, LABELS), TypeError, "negatives must be floating"),
        (lambda: losses.triplet(A, P, N, eps=0), ValueError, "eps must be positive"),
        (lambda: losses.margin_ranking(SCORES, SIGNS, SIGNS), TypeError, "second must be floating"),
        (lambda: losses.nt_xent(A, LABELS[:2]), ValueError, r"labels must have shape \(4\), got \(2,\)"),
        (lambda: losses.nt_xent(A, MATCH == 1), TypeError, "labels must be integers"),
        (lambda: losses.nt_xent(A[None], LABELS), ValueError, "embeddings must have rank 2"),
        (lambda: losses.nt_xent(A, LABELS, 0.0), ValueError, "temperature must be positive"),
        (
            lambda: losses.info_nce(A, P[:2]),
            ValueError,
            "keys must be at least as many as queries, got 2 and 4",
        ),
        (lambda: losses.info_nce(A, P[:, :2]), ValueError, "keys must have shape"),
    ],
)
def test_wrong_shapes_dtypes_and_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()
