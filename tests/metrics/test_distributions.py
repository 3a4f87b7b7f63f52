"""Metrics of generated sets: SciPy, closed forms, and what has no spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import metrics

RNG = np.random.default_rng(4)
D = 5
MIX = RNG.normal(size=(D, D))
FIRST = (RNG.normal(size=(60, D)) @ MIX + 100).astype(np.float32)  # correlated, far from 0
SECOND = (RNG.normal(size=(40, D)) * 2 + 101).astype(np.float32)


def frechet(a, b):
    linalg = pytest.importorskip("scipy.linalg")
    first, second = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(first @ second).real
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first + second - 2 * root)


def test_frechet_distance_equals_the_root_by_scipy():
    a, b = FIRST.astype(np.float64), SECOND.astype(np.float64)
    np.testing.assert_allclose(metrics.frechet_distance(FIRST, SECOND), frechet(a, b), rtol=1e-5)


@pytest.mark.slow
def test_frechet_distance_in_float64():
    a, b = FIRST.astype(np.float64), SECOND.astype(np.float64)
    with jax.enable_x64(True):
        np.testing.assert_allclose(metrics.frechet_distance(a, b), frechet(a, b), rtol=1e-12)
        # Fewer examples than features: covariances without an inverse, whose product has no real root by rounding.
        few, other = a[:4], b[:60]
        np.testing.assert_allclose(metrics.frechet_distance(few, other), frechet(few, other), rtol=1e-6)


@pytest.mark.slow
def test_frechet_distance_equals_torchmetrics(torchvision):
    """With `torchvision`, which its import asks for; the features are the examples themselves."""
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("torchmetrics.image.fid")

    class Features(torch.nn.Module):
        num_features = D

        def forward(self, x):
            return x

    for a, b in ((FIRST, SECOND), (FIRST, FIRST[:30]), (SECOND - 101, FIRST)):
        distance = library.FrechetInceptionDistance(feature=Features(), normalize=True).set_dtype(
            torch.float64
        )
        distance.update(torch.tensor(np.float64(a)), real=False)
        distance.update(torch.tensor(np.float64(b)), real=True)
        np.testing.assert_allclose(metrics.frechet_distance(a, b), distance.compute(), rtol=1e-4, atol=1e-4)


def test_frechet_distance_in_closed_form():
    """Of sets whose covariances are diagonal: the sum of (m - n)^2 + (s - t)^2."""
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T  # sample deviation sqrt(8 / 7)
    scale = np.sqrt(7 / 8) * np.array([[1, 2, 3], [4, 0, 3]])
    a, b = (np.float32(signs * s + m) for s, m in zip(scale, (1.0, 1.5)))
    np.testing.assert_allclose(metrics.frechet_distance(a, b), 3 * 0.25 + 9 + 4, rtol=1e-5)
    assert metrics.frechet_distance(a, a) < 1e-4
    assert metrics.frechet_distance(a[:2] * 0, a[:2] * 0) == 0
    assert np.isnan(metrics.frechet_distance(a[:1], b))


def test_frechet_distance_with_two_masks():
    where = (np.arange(60) < 33, np.arange(40) < 21)
    spoilt = [np.where(mask[:, None], x, np.nan) for mask, x in zip(where, (FIRST, SECOND))]
    expected = frechet(FIRST[:33].astype(np.float64), SECOND[:21].astype(np.float64))
    np.testing.assert_allclose(metrics.frechet_distance(*spoilt, where=where), expected, rtol=1e-5)


def test_inception_score_at_its_ends():
    certain = np.float32(np.where(np.eye(4, dtype=bool), 0, -np.inf))
    np.testing.assert_allclose(metrics.inception_score(certain), 4, rtol=1e-6)
    np.testing.assert_allclose(metrics.inception_score(np.ones((4, 4), np.float32)), 1, rtol=1e-6)
    np.testing.assert_allclose(metrics.inception_score(np.float32(1e4 * np.eye(4))), 4, rtol=1e-6)
    assert np.isnan(metrics.inception_score(certain, where=np.zeros(4, bool)))


def test_earth_mover_distance_equals_scipy():
    distance = pytest.importorskip("scipy.stats").wasserstein_distance
    weights, others = RNG.random((2, 3, 9)).astype(np.float32)
    positions = RNG.normal(size=9).astype(np.float32)
    measure = jax.jit(metrics.earth_mover_distance)
    of_x = np.float32(np.arange(9) < 4)  # two samples: the first four positions, and the others
    weights[2], others[2] = of_x, 1 - of_x
    mapped = jax.jit(jax.vmap(metrics.earth_mover_distance, in_axes=(0, 0, None)))
    for got, at in (
        (measure(weights, others), np.arange(9)),
        (mapped(weights, others, positions), positions),
    ):
        expected = [distance(at, at, p, q) for p, q in zip(weights, others)]
        np.testing.assert_allclose(got, expected, rtol=2e-5)
    np.testing.assert_allclose(expected[2], distance(positions[:4], positions[4:]), rtol=1e-6)


def test_earth_mover_distance_worked_number():
    """004a-4.5, and weights that are no distributions."""
    p, q = np.float32([0.5, 0.5, 0]), np.float32([0, 0.5, 0.5])
    got = metrics.earth_mover_distance(np.stack([p, 8 * p, 0 * p, p - 0.1]), np.stack([q] * 4))
    np.testing.assert_array_equal(got, [1, 1, np.nan, np.nan])


def test_mode_coverage_of_a_ring_and_of_classes():
    angles = 2 * np.pi * np.arange(8) / 8
    ring = np.float32(np.stack([np.cos(angles), np.sin(angles)], 1))
    samples = np.repeat(ring[:6], 3, 0) + np.float32([0.01, 0])
    samples[-3:] = 0  # between the modes
    assert metrics.mode_coverage(samples, ring, radius=0.06) == 5 / 8
    assert metrics.mode_coverage(samples, ring, radius=0.06, where=np.zeros(18, bool)) == 0
    classes = np.eye(10, dtype=np.float32)[[1, 1, 7, 3]]
    np.testing.assert_allclose(metrics.mode_coverage(classes, np.eye(10, dtype=np.float32), radius=0.5), 0.3)


def test_discriminator_that_cannot_tell_is_right_half_of_the_time():
    zeros = jnp.zeros(7)
    assert metrics.discriminator_accuracy(zeros, zeros) == 0.5
    real, fake = jnp.array([1.0, 2.0, -1.0, jnp.nan]), jnp.array([[-3.0], [0.0]])
    np.testing.assert_allclose(metrics.discriminator_accuracy(real, fake), 3.5 / 6)
    where = (np.array([True, False, False, False]), np.array([False, True]))
    assert metrics.discriminator_accuracy(real, fake, where=where) == 0.75
    nothing = (np.zeros(4, bool), np.zeros(2, bool))
    assert np.isnan(metrics.discriminator_accuracy(real, fake, where=nothing))


def test_votes():
    votes = np.array([1, 0, 0, 1, 1, 5])
    assert metrics.vote_rate(votes, where=votes < 2) == np.float32(0.6)
    assert np.isnan(metrics.vote_rate(votes))
    assert np.isnan(metrics.vote_rate(votes[:0]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: metrics.frechet_distance(FIRST, SECOND[:, :3]),
            ValueError,
            r"references must have shape \(any, 5\)",
        ),
        (
            lambda: metrics.frechet_distance(FIRST, SECOND, num_features=4),
            ValueError,
            r"features must .* \(any, 4\)",
        ),
        (lambda: metrics.frechet_distance(FIRST[0], SECOND), ValueError, "features must have rank 2"),
        (
            lambda: metrics.frechet_distance(FIRST, SECOND, where=np.ones(60, bool)),
            ValueError,
            r"where must have shape \(40,\)",
        ),
        (lambda: metrics.inception_score(FIRST > 0), TypeError, "logits must be floating"),
        (
            lambda: metrics.inception_score(FIRST, num_classes=4),
            ValueError,
            r"logits must have shape \(any, 4\)",
        ),
        (
            lambda: metrics.earth_mover_distance(FIRST, SECOND),
            ValueError,
            "others must have the shape of weights",
        ),
        (
            lambda: metrics.earth_mover_distance(FIRST, FIRST, FIRST),
            ValueError,
            r"positions must have shape \(5\)",
        ),
        (lambda: metrics.mode_coverage(FIRST, SECOND, radius=-1.0), ValueError, "radius must be positive"),
        (
            lambda: metrics.mode_coverage(FIRST, SECOND[:, :3], radius=1.0),
            ValueError,
            "centers must have shape",
        ),
        (lambda: metrics.discriminator_accuracy(FIRST, SECOND), ValueError, "real_logits must have shape"),
        (lambda: metrics.vote_rate(FIRST), TypeError, "votes must be integers"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
