"""Competitive learning, maps and learning vector quantization: worked nets, MiniSom, scikit-learn, NumPy loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from minisom import MiniSom
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.neighbors import NearestCentroid

from jaxdl import metrics, optim, rules, train


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def learn(rule, tx, weights, batches, **model_state):
    """The units after one update for each of the batches, leaves [num_updates, B, ...], and the last state."""
    variables = {"params": {"weights": jnp.asarray(weights)}, **model_state}
    state = train.create_train_state(jax.random.key(0), variables, tx)
    num_updates = len(jax.tree.leaves(batches)[0])
    state, _ = jax.jit(train.scan_steps(train.make_update(rule, tx), num_updates))(state, batches)
    return np.asarray(state.params["weights"]), state


@pytest.mark.parametrize(
    "rule",
    [rules.competitive_rule(), rules.kohonen_rule([[0], [1]], 0, neighbourhood="bubble")],
    ids=["competitive", "kohonen of radius 0"],
)
def test_four_vectors_as_in_fausett(rule):
    """Section 4.2: two clusters, rate 0.6, the weights after each vector as printed."""
    weights = np.array([[0.2, 0.6, 0.5, 0.9], [0.8, 0.4, 0.7, 0.3]])
    vectors = np.array([[1.0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]])
    printed = [
        [[0.2, 0.6, 0.5, 0.9], [0.92, 0.76, 0.28, 0.12]],
        [[0.08, 0.24, 0.20, 0.96], [0.92, 0.76, 0.28, 0.12]],
        [[0.08, 0.24, 0.20, 0.96], [0.968, 0.304, 0.112, 0.048]],
        [[0.032, 0.096, 0.680, 0.984], [0.968, 0.304, 0.112, 0.048]],
    ]
    for row, want in zip(vectors, printed):
        weights, _ = learn(rule, optim.gradient_descent(0.6), weights, {"x": row[None, None]})
        np.testing.assert_allclose(weights, want, atol=1e-6)


def test_five_vectors_as_in_fausett():
    """Section 4.3: LVQ, rate 0.1; the last vector is won by a unit of the other class."""
    weights = np.array([[1.0, 1, 0, 0], [0, 0, 0, 1]])
    batches = {
        "x": np.array([[[0.0, 0, 1, 1]], [[1, 0, 0, 0]], [[0, 1, 1, 0]]]),
        "y": np.array([[2], [1], [2]]),
    }
    rule, tx = rules.lvq_rule([1, 2]), optim.gradient_descent(0.1)
    after_two, _ = learn(rule, tx, weights, jax.tree.map(lambda leaf: leaf[:2], batches))
    np.testing.assert_allclose(after_two, [[1, 0.9, 0, 0], [0, 0, 0.1, 1]], atol=1e-6)
    after_three, _ = learn(rule, tx, weights, batches)
    np.testing.assert_allclose(after_three, [[1.1, 0.89, -0.1, 0], [0, 0, 0.1, 1]], atol=1e-6)


# Transcriptions of the published equations, one row and one unit at a time.


def nearest(weights, x):
    return min(range(len(weights)), key=lambda m: sum((x - weights[m]) ** 2))


def competitive_numpy(weights, rows, rate, loser_rate):
    for x in rows:
        winner = nearest(weights, x)
        for m in range(len(weights)):
            weights[m] += rate * (1 if m == winner else loser_rate) * (x - weights[m])


def kohonen_numpy(weights, rows, rate, radius, places, gaussian):
    for t, x in enumerate(rows):
        winner, s = nearest(weights, x), radius(t)
        for m in range(len(weights)):
            between = np.sqrt(sum((places[m] - places[winner]) ** 2))
            h = np.exp(-(between**2) / (2 * s**2)) if gaussian else float(between <= s)
            weights[m] += rate(t) * h * (x - weights[m])


def lvq_numpy(weights, rows, labels, rate, unit_labels):
    for x, label in zip(rows, labels):
        winner = nearest(weights, x)
        sign = 1 if unit_labels[winner] == label else -1
        weights[winner] += sign * rate * (x - weights[winner])


PLACES = np.array([[i, j] for i in range(3) for j in range(2)])


@pytest.mark.parametrize("which", ["winner", "leaky", "gaussian", "bubble", "lvq"])
def test_equals_the_sequential_algorithm(x64, which):
    rng = np.random.default_rng(0)
    want, rows, labels = rng.normal(size=(6, 3)), rng.normal(size=(150, 3)), rng.integers(0, 3, 150)
    start, batches, state = want.copy(), {"x": rows[:, None], "y": labels[:, None]}, {}
    rate = 0.1
    if which in ("winner", "leaky"):
        loser_rate = 0.02 if which == "leaky" else 0.0
        rule = rules.competitive_rule(loser_rate=loser_rate)
        competitive_numpy(want, rows, rate, loser_rate)
    elif which == "lvq":
        unit_labels = [0, 1, 2, 0, 1, 2]
        rule = rules.lvq_rule(unit_labels)
        lvq_numpy(want, rows, labels, rate, unit_labels)
    else:
        rate, radius = (lambda t: 0.3 * 0.99**t), (lambda t: 1.5 * 0.985**t)
        rule = rules.kohonen_rule(PLACES, radius, neighbourhood=which)
        kohonen_numpy(want, rows, rate, radius, PLACES, which == "gaussian")
        state = {"step": jnp.zeros((), jnp.int32)}
    got, end = learn(rule, optim.gradient_descent(rate), start, batches, **state)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
    assert end.model_state.get("step", 150) == 150


def test_kohonen_equals_minisom(x64):
    rng = np.random.default_rng(0)
    start, rows = rng.uniform(size=(20, 3)), rng.uniform(size=(300, 3))
    # Its rate and its radius fall to a third of themselves, by its rule "asymptotic_decay".
    som = MiniSom(4, 5, 3, sigma=2.0, learning_rate=0.5)
    som._weights = start.reshape(4, 5, 3).copy()
    som.train(rows, 300)
    places = [(i, j) for i in range(4) for j in range(5)]
    got, _ = learn(
        rules.kohonen_rule(places, lambda step: 2 / (1 + step.astype(float) / 150)),
        optim.gradient_descent(lambda step: 0.5 / (1 + step.astype(float) / 150)),
        start,
        {"x": rows[:, None]},
        step=jnp.zeros((), jnp.int32),
    )
    np.testing.assert_allclose(got, som.get_weights().reshape(20, 3), rtol=1e-9)
    np.testing.assert_allclose(
        metrics.quantization_error(jnp.asarray(rows), jnp.asarray(got)),
        som.quantization_error(rows),
        rtol=1e-6,
    )


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("which", ["competitive", "leaky", "kohonen", "lvq"])
def test_is_the_gradient_of_its_loss_while_the_winners_stay(x64, which, reduction):
    rng = np.random.default_rng(1)
    weights, x, y = jnp.asarray(rng.normal(size=(6, 3))), rng.normal(size=(9, 3)), rng.integers(0, 2, 9)
    unit_labels = np.array([0, 1, 0, 1, 0, 1])
    squares = np.square(x[:, None] - np.asarray(weights)).sum(axis=2)
    winners = squares.argmin(axis=1)
    wins = np.eye(6)[winners]
    between = np.square(PLACES[:, None] - PLACES).sum(axis=2)
    rule, shares = {
        "competitive": (rules.competitive_rule(reduction=reduction), wins),
        "leaky": (rules.competitive_rule(loser_rate=0.25, reduction=reduction), 0.25 + 0.75 * wins),
        "kohonen": (rules.kohonen_rule(PLACES, 0.8, reduction=reduction), np.exp(-between[winners] / 1.28)),
        "lvq": (
            rules.lvq_rule(unit_labels, reduction=reduction),
            wins * np.where(unit_labels[winners] == y, 1, -1)[:, None],
        ),
    }[which]

    def loss(weights):
        per_row = jnp.sum(shares * jnp.sum((x[:, None] - weights[None]) ** 2, axis=2), axis=1) / 2
        return per_row.sum() if reduction == "sum" else per_row.mean()

    (value, (state, reported)), grads = rule([weights], {"kept": 1}, {"x": jnp.asarray(x), "y": y}, None)
    want, want_grads = jax.value_and_grad(loss)(weights)
    np.testing.assert_allclose(value, want, rtol=1e-10)
    chex.assert_trees_all_close(grads, [want_grads], rtol=1e-10, atol=1e-12)
    assert state == {"kept": 1}
    if which == "lvq":
        assert int(reported["errors"]) == (unit_labels[winners] != y).sum()
    else:
        np.testing.assert_allclose(
            reported["quantization_error"], np.sqrt(squares.min(axis=1)).mean(), rtol=1e-6
        )


def blobs(seed, rows=300):
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0], [4, 0], [0, 4], [4, 4]])
    return centres[np.arange(rows) % 4] + rng.normal(scale=0.6, size=(rows, 2))


def test_competition_ends_in_the_means_of_scikit_learn(x64):
    x = blobs(0)
    kmeans = KMeans(4, n_init=5, tol=0, random_state=0).fit(x)
    rule = rules.competitive_rule(reduction="mean")
    means = jnp.asarray(kmeans.cluster_centers_)
    (loss, _), grads = rule(means, {}, {"x": jnp.asarray(x)}, None)
    np.testing.assert_allclose(loss, kmeans.inertia_ / len(x) / 2, rtol=1e-9)
    np.testing.assert_allclose(grads, 0, atol=1e-12)
    got, _ = learn(
        rule,
        optim.gradient_descent(1.0),
        x[[0, 1, 2, 3]],  # one row of each blob
        {"x": np.broadcast_to(x, (150, *x.shape))},
    )
    order = [np.argmin(np.square(got - mean).sum(axis=1)) for mean in kmeans.cluster_centers_]
    np.testing.assert_allclose(got[order], kmeans.cluster_centers_, atol=1e-6)


def test_leaky_learning_brings_back_a_unit_that_never_wins():
    x = {"x": np.tile(blobs(1).astype(np.float32)[:, None], (4, 1, 1))}
    start = np.float32([[0, 0], [4, 0], [0, 4], [60, 60]])
    near = lambda weights: np.abs(weights[3] - 4).max() < 0.5  # noqa: E731 - the mean of its blob is (4, 4)
    tx = optim.gradient_descent(0.05)
    assert not near(learn(rules.competitive_rule(), tx, start, x)[0])
    assert near(learn(rules.competitive_rule(loser_rate=0.05), tx, start, x)[0])


def test_a_map_unfolds():
    """Rows of the unit square on a 6 x 6 map: both errors fall, from a random start and by the radius's schedule."""
    rng = np.random.default_rng(0)
    x, held_out = (
        rng.uniform(size=(2000, 2)).astype(np.float32),
        jnp.asarray(rng.uniform(size=(500, 2)), jnp.float32),
    )
    places = np.array([(i, j) for i in range(6) for j in range(6)])
    start = jnp.asarray(rng.uniform(size=(36, 2)), jnp.float32)
    errors = [metrics.quantization_error, lambda *args: metrics.topographic_error(*args, places)]
    got, state = learn(
        rules.kohonen_rule(places, optim.exponential_decay(3.0, 2000, 0.1)),
        optim.gradient_descent(optim.exponential_decay(0.5, 2000, 0.1)),
        start,
        {"x": x[:, None]},
        step=jnp.zeros((), jnp.int32),
    )
    before, after = ([float(error(held_out, jnp.asarray(w))) for error in errors] for w in (start, got))
    assert after[0] < 0.8 * before[0]
    assert before[1] > 0.5
    assert after[1] < 0.05
    (_, (_, reported)), _ = rules.kohonen_rule(places, optim.exponential_decay(3.0, 2000, 0.1))(
        state.params, state.model_state, {"x": held_out}, None
    )
    np.testing.assert_allclose(reported["radius"], 0.3, rtol=1e-5)


def test_lvq_learns_iris():
    """Three units for each class, from its first three flowers; errors are counted as scikit-learn counts them."""
    x, y = load_iris(return_X_y=True)
    x = x.astype(np.float32)

    def errors(rule, weights):
        (_, (_, reported)), _ = rule(
            jnp.asarray(weights), {}, {"x": jnp.asarray(x), "y": jnp.asarray(y)}, None
        )
        return int(reported["errors"])

    means = NearestCentroid().fit(x, y)
    assert errors(rules.lvq_rule([0, 1, 2]), means.centroids_) == (means.predict(x) != y).sum() == 11
    rule = rules.lvq_rule(np.repeat([0, 1, 2], 3))
    start = np.concatenate([x[y == label][:3] for label in range(3)])
    order = np.random.default_rng(0).permutation(np.tile(np.arange(150), 20))
    tx = optim.gradient_descent(optax.linear_schedule(0.1, 0.0, len(order)))
    end, _ = learn(rule, tx, start, {"x": x[order][:, None], "y": y[order][:, None]})
    assert errors(rule, start) == 14
    assert errors(rule, end) <= 5


def call(rule, weights=(4, 2), x=(3, 2), y=(3,), dtype=jnp.float32, model_state=None):
    batch = {"x": jnp.zeros(x, dtype), "y": jnp.zeros(y, jnp.int32)}
    return rule({"weights": jnp.zeros(weights)}, model_state or {}, batch, None)


LINE = [[0], [1], [2], [3]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: rules.competitive_rule(loser_rate=1.0),
            ValueError,
            "loser_rate must be at least 0 and below 1, got 1.0",
        ),
        (
            lambda: rules.competitive_rule(reduction="max"),
            ValueError,
            "reduction must be one of 'sum', 'mean', got 'max'",
        ),
        (lambda: rules.kohonen_rule(LINE, 0.0), ValueError, "radius must be positive and finite, got 0.0"),
        (
            lambda: rules.kohonen_rule(LINE, -1, neighbourhood="bubble"),
            ValueError,
            "radius must be finite and at least 0, got -1",
        ),
        (
            lambda: rules.kohonen_rule(LINE, 1, neighbourhood="hat"),
            ValueError,
            "neighbourhood must be one of 'gaussian', 'bubble', got 'hat'",
        ),
        (lambda: rules.kohonen_rule([0, 1], 1), ValueError, r"positions must have rank 2, got shape \(2,\)"),
        (
            lambda: call(rules.kohonen_rule(LINE[:3], 1)),
            ValueError,
            r"positions must have shape \(4, any\), got \(3, 1\)",
        ),
        (
            lambda: call(rules.kohonen_rule(LINE, lambda step: 1.0)),
            ValueError,
            r'model_state must have a key "step" for the radius, got \[\]',
        ),
        (lambda: rules.lvq_rule([0.0, 1.0]), TypeError, "unit_labels must be integers, got float64"),
        (lambda: rules.lvq_rule([[0], [1]]), ValueError, r"unit_labels must have rank 1, got shape \(2, 1\)"),
        (lambda: call(rules.lvq_rule([0, 1])), ValueError, r"unit_labels must have shape \(4\), got \(2,\)"),
        (
            lambda: call(rules.lvq_rule([0, 1, 0, 1]), y=(3, 1)),
            ValueError,
            r"targets must have shape \(3\), got \(3, 1\)",
        ),
        (
            lambda: call(rules.competitive_rule(), x=(3, 5)),
            ValueError,
            r"weights must have shape \(any, 5\), got \(4, 2\)",
        ),
        (
            lambda: call(rules.competitive_rule(), x=(2,)),
            ValueError,
            r"inputs must have rank 2, got shape \(2,\)",
        ),
        (
            lambda: call(rules.competitive_rule(), weights=(0, 2)),
            ValueError,
            "number of units must be at least 1, got 0",
        ),
        (
            lambda: call(rules.competitive_rule(), dtype=jnp.int32),
            TypeError,
            "inputs must be floating point, got int32",
        ),
        (
            lambda: rules.competitive_rule()({"a": 1.0, "b": 2.0}, {}, {"x": jnp.zeros((1, 2))}, None),
            ValueError,
            "params must hold one array, the units' weights, got 2",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
