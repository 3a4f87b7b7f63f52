"""Losses of latent codes, domains and capsules against float64, PyTorch, scikit-learn and worked numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxdl import losses

RNG = np.random.default_rng(8)
B, D = 4, 3
MEAN, LOG_V = RNG.normal(size=(B, D)), RNG.normal(size=(B, D))
NATS = RNG.uniform(1, 3, B)
RATES, WANTED = RNG.uniform(0.05, 0.95, (B, D)), RNG.uniform(0.05, 0.95, (B, D))
IMAGES = RNG.normal(size=(B, 2, D))
SHARES = RNG.uniform(size=(B, 2, D))
LENGTHS, LABELS = RNG.uniform(size=(B, D)), np.array([0, 2, 1, 2], np.int32)
ZEROS, ONES = np.zeros((B, D)), np.ones((B, D))


def normal_divergence(m, s):
    return 0.5 * (m**2 + np.exp(s) - s - 1).sum(-1)


def sparsity(p, r):
    return scipy.special.rel_entr(r, p) + scipy.special.rel_entr(1 - r, 1 - p)


def bits(x, y):
    return (np.log1p(np.exp(x)) - x * y).sum((1, 2))


def torch_kl(f, m, s):
    import torch

    q = torch.distributions.Normal(m, (s / 2).exp())
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(m * 0, s * 0 + 1)).sum(-1)


def torch_sparsity(f, p, r):
    from torch.distributions import Bernoulli, kl_divergence

    return kl_divergence(Bernoulli(r), Bernoulli(p))


def margins(v, labels):
    right = np.eye(v.shape[1])[labels]
    return (right * np.maximum(0, 0.9 - v) ** 2 + 0.5 * (1 - right) * np.maximum(0, v - 0.1) ** 2).sum(-1)


ROWS = {
    "gaussian_kl": (
        losses.gaussian_kl,
        (MEAN, LOG_V),
        normal_divergence,
        {"torch": torch_kl, "extremes": [(ZEROS, ZEROS), (1e4 * MEAN, ZEROS - 1e4), (ZEROS, ZEROS + 80)]},
    ),
    "bernoulli_kl": (
        losses.bernoulli_kl,
        (RATES, WANTED),
        sparsity,
        {
            "torch": torch_sparsity,
            "which": [0],
            "extremes": [(ZEROS, WANTED), (ONES, WANTED), (ZEROS, ZEROS), (ONES, ONES)],
        },
    ),
    "elbo": (
        functools.partial(losses.elbo, beta=4.0),
        (NATS, MEAN, LOG_V),
        lambda n, m, s: n + 4 * normal_divergence(m, s),
        {"rtol": 2e-5},
    ),
    "vector_quantization codebook": (
        lambda z, e, where=None: losses.vector_quantization(z, e, where, commitment=0.0),
        (MEAN, LOG_V),
        lambda z, e: ((z - e) ** 2).sum(-1),
        {"which": [1], "extremes": [(ZEROS, 1e4 * ONES)]},
    ),
    "reconstruction": (
        losses.reconstruction,
        (IMAGES, SHARES),
        lambda x, y: ((x - y) ** 2).sum((1, 2)),
        {
            "torch": lambda f, x, y: f.mse_loss(x, y, reduction="none").sum((1, 2)),
            "extremes": [(1e4 * IMAGES, SHARES)],
        },
    ),
    "reconstruction of shares": (
        functools.partial(losses.reconstruction, kind="sigmoid_cross_entropy"),
        (IMAGES, SHARES),
        bits,
        {
            "torch": lambda f, x, y: f.binary_cross_entropy_with_logits(x, y, reduction="none").sum((1, 2)),
            "extremes": [(1e4 * IMAGES, SHARES)],
        },
    ),
    "free_energy_difference": (
        losses.free_energy_difference,
        (MEAN[:, 0], LOG_V[:, 0]),
        lambda a, b: a - b,
        {"extremes": [(np.full(B, 1e4), np.full(B, -1e4))]},
    ),
    "maximum_mean_discrepancy": (
        functools.partial(losses.maximum_mean_discrepancy, bandwidths=(0.5, 2.0)),
        (MEAN, LOG_V[:3]),
        lambda x, y: discrepancy(x, y, (0.5, 2.0)),
        {"maskable": False, "extremes": [(1e4 * MEAN, ZEROS[:3]), (ZEROS, ZEROS[:3])]},
    ),
    "maximum_mean_discrepancy unbiased": (
        functools.partial(losses.maximum_mean_discrepancy, unbiased=True),
        (MEAN, LOG_V[:3]),
        lambda x, y: discrepancy(x, y, (1.0,), own=False),
        {"maskable": False},
    ),
    "capsule_margin": (
        losses.capsule_margin,
        (LENGTHS, LABELS),
        margins,
        {"extremes": [(ZEROS, LABELS), (ONES, LABELS)]},
    ),
}


def discrepancy(x, y, widths, own=True):
    """Pair by pair."""

    def mean(a, b, same):
        pairs = [
            sum(np.exp(-((u - v) ** 2).sum() / 2 / w**2) for w in widths)
            for i, u in enumerate(a)
            for j, v in enumerate(b)
            if own or not (same and i == j)
        ]
        return np.mean(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), ROWS.values(), ids=ROWS)
def test_transcription(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


def test_discrepancy_with_scikit_learns_kernel(value_of):
    from sklearn.metrics.pairwise import rbf_kernel

    x, y = np.float32(MEAN), np.float32(LOG_V)
    k = functools.partial(rbf_kernel, gamma=1 / (2 * 1.5**2))
    expected = k(x).mean() + k(y).mean() - 2 * k(x, y).mean()
    got = value_of(losses.maximum_mean_discrepancy, x, y, bandwidths=(1.5,))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value_of(losses.maximum_mean_discrepancy, x, x[::-1]), 0, atol=1e-6)


def test_printed_divergences(value_of):
    """001-G18v, 004b-vae; 001-G18."""
    means = np.array([(1, -0.5), (0, 0), (1, -1), (0.5, -0.5)])
    variances = np.array([(1, 0.25), (1, 1), (1, 1), (0.25, 2)])
    got = value_of(losses.gaussian_kl, means, np.log(variances))
    np.testing.assert_allclose(got, [0.9431472, 0, 1.0, 0.721574], atol=5e-7)
    got = value_of(losses.bernoulli_kl, np.array([0.2, 0.05]), targets=0.05)
    np.testing.assert_allclose(got, [0.0939430, 0], atol=1e-7)


def test_near_the_prior_the_code_keeps_its_digits(value_of):
    small = np.float32([1e-3, -1e-3])
    exact = 0.5 * np.sum(np.exp(np.float64(small)) - np.float64(small) - 1)
    np.testing.assert_allclose(value_of(losses.gaussian_kl, np.zeros(2), small), exact, rtol=2e-4)


def test_loss_of_a_variational_autoencoder_as_listed(value_of):
    """784 times the mean cross-entropy is its sum."""
    logits, x = np.float32(RNG.normal(size=(2, 784))), np.float32(RNG.uniform(size=(2, 784)))
    nats = value_of(losses.reconstruction, logits, x, kind="sigmoid_cross_entropy")
    p = scipy.special.expit(np.float64(logits))
    listed = 784 * -(x * np.log(p) + (1 - x) * np.log(1 - p)).mean(1)
    np.testing.assert_allclose(nats, listed, rtol=1e-6)
    bound = value_of(losses.elbo, nats, MEAN[:2], LOG_V[:2])
    np.testing.assert_allclose(bound, listed + normal_divergence(MEAN[:2], LOG_V[:2]), rtol=1e-6)


def test_each_side_of_vector_quantization_moves_alone():
    z, e = np.float32(MEAN), np.float32(LOG_V)
    loss = lambda z, e: losses.vector_quantization(z, e, commitment=0.3).sum()  # noqa: E731
    value, (to_encoder, to_codebook) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(z, e)
    np.testing.assert_allclose(value, 1.3 * ((MEAN - LOG_V) ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(to_encoder, 0.6 * (z - e), rtol=1e-5)
    np.testing.assert_allclose(to_codebook, 2 * (e - z), rtol=1e-5)


def test_values_left_out_of_a_reconstruction(gradients_of):
    where = np.arange(B * 2 * D).reshape(B, 2, D) % 3 > 0
    value, gradient = gradients_of(
        losses.reconstruction, np.where(where, IMAGES, np.nan), SHARES, where=where
    )
    np.testing.assert_allclose(value, (where * (IMAGES - SHARES) ** 2).sum((1, 2)), rtol=1e-5)
    assert (gradient[~where] == 0).all()


def test_gradient_of_the_free_energy_difference_is_that_of_the_likelihood():
    """A distribution over three states: exp(-F), with samples in their exact shares."""
    energies = np.float32([0.3, -0.2, 1.0])
    shares = scipy.special.softmax(-np.float64(energies))
    data = np.float64([0.5, 0.25, 0.25])

    def loss(f):
        of_pairs = losses.free_energy_difference(jnp.repeat(f, 3), jnp.tile(f, 3))
        return jnp.sum(of_pairs * np.float32(np.outer(data, shares).ravel()))

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(energies), data - shares, rtol=1e-5)


def test_capsules_left_out_have_no_part(gradients_of):
    where = np.ones((B, D), bool)
    where[:, 0] = False
    lengths = np.where(where, LENGTHS, np.nan)
    labels = np.array([1, 2, 1, 2], np.int32)
    value, gradient = gradients_of(losses.capsule_margin, lengths, labels, where=where)
    np.testing.assert_allclose(value, margins(LENGTHS[:, 1:], labels - 1), rtol=1e-5)
    assert (gradient[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("loss", "inputs", "place", "values"),
    [
        pytest.param(losses.bernoulli_kl, (RATES[:, 0], WANTED[:, 0]), 0, [-0.1, 1.1], id="rate"),
        pytest.param(losses.bernoulli_kl, (RATES[:, 0], WANTED[:, 0]), 1, [-0.1, 1.1], id="target rate"),
        pytest.param(losses.capsule_margin, (LENGTHS, LABELS), 1, [-1, D], id="capsule label"),
        pytest.param(
            functools.partial(losses.reconstruction, kind="sigmoid_cross_entropy"),
            (IMAGES[:, 0, 0], SHARES[:, 0, 0]),
            1,
            [-0.1, 1.1],
            id="share",
        ),
    ],
)
def test_impossible_inputs_give_nan(gradients_of, loss, inputs, place, values):
    arrays = [np.concatenate([x] * len(values)) for x in inputs]
    arrays[place][1::B] = values
    nan = [i % B == 1 for i in range(B * len(values))]
    for result in gradients_of(loss, *arrays):
        assert np.isnan(result.reshape(len(nan), -1)).any(1).tolist() == nan


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.gaussian_kl(MEAN, LOG_V[0]), ValueError, "log_variance must have the shape of mean"),
        (lambda: losses.gaussian_kl(MEAN, LABELS), TypeError, "log_variance must be floating"),
        (lambda: losses.elbo(NATS[:2], MEAN, LOG_V), ValueError, "reconstruction_nats must have the shape"),
        (lambda: losses.elbo(NATS, MEAN, LOG_V, beta=-1), ValueError, "beta must be finite and at least 0"),
        (lambda: losses.reconstruction(IMAGES, SHARES, kind="l2"), ValueError, "kind must be one of"),
        (lambda: losses.vector_quantization(MEAN, LOG_V, commitment=-1), ValueError, "commitment must be"),
        (lambda: losses.bernoulli_kl(RATES, WANTED[0]), ValueError, "targets must have the shape of prob"),
        (lambda: losses.maximum_mean_discrepancy(MEAN, LOG_V[:, :2]), ValueError, "y must have shape"),
        (
            lambda: losses.maximum_mean_discrepancy(MEAN, LOG_V, bandwidths=()),
            ValueError,
            "bandwidths must be",
        ),
        (
            lambda: losses.maximum_mean_discrepancy(MEAN, LOG_V, bandwidths=(0,)),
            ValueError,
            "bandwidths must be",
        ),
        (
            lambda: losses.maximum_mean_discrepancy(MEAN, LOG_V[:1], unbiased=True),
            ValueError,
            "examples_of_y must be at least 2, got 1",
        ),
        (lambda: losses.capsule_margin(LENGTHS, LENGTHS), TypeError, "labels must be integers"),
        (lambda: losses.capsule_margin(LENGTHS, LABELS, absent=0.95), ValueError, "absent must be between"),
        (
            lambda: losses.free_energy_difference(NATS, NATS[:2]),
            ValueError,
            "model_energies must have the shape",
        ),
    ],
)
def test_wrong_shapes_dtypes_and_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()
