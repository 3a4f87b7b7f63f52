"""Point sets against their geometry, their stated best accuracy (quadrature, closed forms) and scikit-learn."""

import math

import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.points import ring_centers

SIZE = 4200


def moons(key, noise):
    return data.moons(key, SIZE, noise=noise)


def spirals(key, noise):
    return data.spirals(key, SIZE, noise=noise)


def classes(key, class_sep, flip):
    return data.classification_data(
        key,
        SIZE,
        num_features=8,
        num_informative=3,
        num_redundant=2,
        num_classes=3,
        class_sep=class_sep,
        flip=flip,
    )


def curve_log_density(x, points, noise):
    """Of the curve through evenly likely points, smeared by a Gaussian."""
    distance = np.square(x[:, None] - points[None]).sum(-1) / (2 * noise**2)
    nearest = distance.min(1)
    return np.log(np.exp(nearest[:, None] - distance).mean(1)) - nearest


def best_accuracy(x, curves, noise):
    log_density = np.stack([curve_log_density(x.astype(np.float64), c, noise) for c in curves], 1)
    posterior = np.exp(log_density - log_density.max(1, keepdims=True))
    return (posterior.max(1) / posterior.sum(1)).mean(), log_density.argmax(1)


def moon_curves():
    t = (np.arange(150) + 0.5) / 150 * np.pi
    return [np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(t), 0.5 - np.sin(t)], 1)]


def spiral_curves(turns=1.5):
    r = np.sqrt((np.arange(300) + 0.5) / 300)
    angles = [2 * np.pi * (turns * r + k / 2) for k in range(2)]
    return [np.stack([r * np.cos(a), r * np.sin(a)], 1) for a in angles]


# Stated accuracies; the tolerances are four standard errors of the mean at 4,200 rows.
@pytest.mark.parametrize(
    ("task", "curves", "noise", "stated", "tolerance"),
    [
        pytest.param(moons, moon_curves(), 0.1, 0.9994, 0.0012, id="moons 0.1"),
        pytest.param(moons, moon_curves(), 0.2, 0.971, 0.005, id="moons 0.2"),
        pytest.param(moons, moon_curves(), 0.3, 0.915, 0.007, id="moons 0.3"),
        pytest.param(spirals, spiral_curves(), 0.05, 0.997, 0.002, id="spirals"),
    ],
)
def test_curves_have_the_stated_best_accuracy(task, curves, noise, stated, tolerance, made):
    table = made(task, noise)
    accuracy, guess = best_accuracy(table["x"], curves, noise)
    assert abs(accuracy - stated) < tolerance
    assert abs((guess == table["y"]).mean() - stated) < 3 * tolerance


def test_without_noise_the_class_follows_from_the_place(made):
    table = made(moons, 0.0)
    x, y = table["x"], table["y"]
    on_upper = np.abs(np.hypot(x[:, 0], x[:, 1]) - 1) < 1e-5
    on_lower = np.abs(np.hypot(x[:, 0] - 1, x[:, 1] - 0.5) - 1) < 1e-5
    np.testing.assert_array_equal(y == 0, on_upper & (x[:, 1] > -1e-6))
    np.testing.assert_array_equal(y == 1, on_lower & (x[:, 1] < 0.5 + 1e-6))
    table = made(spirals, 0.0)
    radius, angle = np.hypot(*table["x"].T), np.arctan2(table["x"][:, 1], table["x"][:, 0])
    arm = 2 * (angle / (2 * np.pi) - 1.5 * radius)
    np.testing.assert_allclose(np.cos(2 * np.pi * (arm - table["y"]) / 2), 1, atol=1e-6)
    # Evenly by area: the share within radius r is r^2.
    assert abs((radius < 0.5).mean() - 0.25) < 0.025
    for made_set in (table, {"y": y}):
        assert np.bincount(made_set["y"]).tolist() == [SIZE // 2] * 2


def test_moons_span_what_scikit_learn_draws_and_no_line_separates(made):
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = datasets.make_moons(500, noise=0.0, random_state=0)
    ours = made(moons, 0.0)
    for k in (0, 1):
        theirs, own = x[y == k], ours["x"][ours["y"] == k]
        np.testing.assert_allclose(own.min(0), theirs.min(0), atol=0.01)
        np.testing.assert_allclose(own.max(0), theirs.max(0), atol=0.01)
    for task, noise, stated in ((moons, 0.1, 0.88), (spirals, 0.05, 0.66)):
        table = made(task, noise)
        line = linear_model.LogisticRegression().fit(table["x"], table["y"])
        assert abs(line.score(table["x"], table["y"]) - stated) < 0.02


def test_blobs_know_their_posterior(made):
    discriminant = pytest.importorskip("sklearn.discriminant_analysis")
    table = made(lambda key: data.blobs(key, SIZE))
    x, y, p = table["x"], table["y"], table["probability"]
    centers = np.array([[-2, -2], [-2, 2], [2, -2], [2, 2]], np.float64)
    np.testing.assert_array_equal(p.argmax(1), np.square(x[:, None] - centers).sum(-1).argmin(1))
    phi = 0.5 * (1 + math.erf(2 / math.sqrt(2)))
    np.testing.assert_allclose(p.max(1).mean(), phi**2, atol=0.006)
    np.testing.assert_allclose((p.argmax(1) == y).mean(), phi**2, atol=0.011)
    fitted = discriminant.LinearDiscriminantAnalysis().fit(x, y)
    np.testing.assert_allclose(fitted.means_, centers, atol=0.11)
    np.testing.assert_allclose(fitted.predict_proba(x), p, atol=0.08)
    assert np.bincount(y).tolist() == [SIZE // 4] * 4


def test_ring_covers_its_modes(made):
    table = made(lambda key: data.gaussian_ring(key, SIZE))
    centers = ring_centers()
    np.testing.assert_allclose(centers[[0, 2, 5]], [[2, 0], [0, 2], [-(2**0.5), -(2**0.5)]], atol=1e-6)
    distance = np.linalg.norm(table["x"][:, None] - centers[None], axis=-1)
    np.testing.assert_array_equal(distance.argmin(1), table["y"])
    assert np.bincount(table["y"]).tolist() == [SIZE // 8] * 8
    np.testing.assert_allclose((distance.min(1) < 0.06).mean(), 1 - math.exp(-4.5), atol=0.006)


def test_classification_data_has_the_stated_structure_and_posterior(made):
    table = made(classes, 1.0, 0.1, seed=3)
    x, y, p = table["x"].astype(np.float64), table["y"], table["probability"]
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert p.min() >= 0.1 / 3 - 1e-6
    # Redundant columns are linear in the informative ones; the last three are normal and tied to nothing.
    solution, *_ = np.linalg.lstsq(x[:, :3], x[:, 3:5], rcond=None)
    np.testing.assert_allclose(x[:, :3] @ solution, x[:, 3:5], atol=1e-4)
    assert np.abs(solution).max() <= 1
    np.testing.assert_allclose(np.cov(x[:, 5:].T), np.eye(3), atol=0.08)
    assert np.abs(np.corrcoef(x.T)[5:, :5]).max() < 0.06
    # A posterior is calibrated: among rows with P(c) about q, a share of q belongs to c.
    for low, high in ((0.03, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.95)):
        for c in range(3):
            rows = (p[:, c] >= low) & (p[:, c] < high)
            if rows.sum() > 100:
                error = 4.5 * 0.5 / rows.sum() ** 0.5
                assert abs((y[rows] == c).mean() - p[rows, c].mean()) < error
    # And as sharp as what the clusters allow: a mixture fitted by class is no better.
    assert abs((p.argmax(1) == y).mean() - p.max(1).mean()) < 0.025


def test_clusters_sit_on_different_corners(made):
    table = made(classes, 50.0, 0.0)
    x = table["x"][:, :3]
    corners = np.round(x / 50)
    assert len(np.unique(corners, axis=0)) == 6
    np.testing.assert_array_equal(np.abs(corners), 1)
    for corner in np.unique(corners, axis=0):
        rows = (corners == corner).all(1)
        assert rows.sum() == SIZE // 6
        assert (
            len(np.unique(table["y"][rows])) == 1
        )  # one class per corner, and the answer is certain that far apart
        # z - c = n A with |A| <= 1: no covariance of the uniform mixing is wider.
        assert np.abs(np.cov((x[rows] - 50 * corner).T)).max() < 3.3
    assert np.bincount(table["y"]).tolist() == [SIZE // 3] * 3
    np.testing.assert_allclose(table["probability"].max(1), 1, atol=1e-5)


def test_the_posterior_is_that_of_the_clusters(made):
    """Clusters as estimated from the rows themselves, 700 each, in float64 by SciPy."""
    stats = pytest.importorskip("scipy.stats")
    far, near = made(classes, 50.0, 0.0), made(classes, 1.0, 0.0)  # the same numbers, corners closer together
    corners = np.round(far["x"][:, :3] / 50)
    density = np.zeros((SIZE, 3))
    for corner in np.unique(corners, axis=0):
        rows = (corners == corner).all(1)
        covariance = np.cov((far["x"][rows, :3] - 50 * corner).T.astype(np.float64))
        cluster = stats.multivariate_normal(corner, covariance, allow_singular=True)
        density[:, far["y"][rows][0]] += cluster.pdf(near["x"][:, :3])
    posterior = density / density.sum(1, keepdims=True)
    # Estimated covariances of 700 rows are off by some per cent, which is all that may differ.
    assert np.abs(posterior - near["probability"]).mean() < 0.01
    assert (posterior.argmax(1) == near["probability"].argmax(1)).mean() > 0.985


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda k: data.moons(k, 0), "size must be at least 1, got 0", id="size"),
        pytest.param(
            lambda k: data.moons(k, 2, noise=-1.0), "noise must be finite and at least 0", id="noise"
        ),
        pytest.param(lambda k: data.spirals(k, 2, num_arms=1), "num_arms must be at least 2", id="arms"),
        pytest.param(lambda k: data.blobs(k, 2, (1.0, 2.0)), "centers must have rank 2", id="centers"),
        pytest.param(lambda k: data.blobs(k, 2, spread=0.0), "spread must be positive", id="spread"),
        pytest.param(lambda k: data.gaussian_ring(k, 2, radius=0.0), "radius must be positive", id="radius"),
        pytest.param(
            lambda k: data.classification_data(k, 2, num_features=3), "num_features must be", id="features"
        ),
        pytest.param(
            lambda k: data.classification_data(k, 2, num_classes=3), "at most 4, the corners", id="corners"
        ),
        pytest.param(lambda k: data.classification_data(k, 2, flip=1.1), "flip must be between", id="flip"),
    ],
)
def test_errors(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)
