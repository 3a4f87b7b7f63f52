"""Hebb's and Oja's rules: worked nets, closed forms, autodiff, principal components of scikit-learn."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from jaxdl import data, optim, rules, train


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def layer(kernel, bias=None):
    return {
        "Dense_0": {"kernel": jnp.asarray(kernel)} | ({} if bias is None else {"bias": jnp.asarray(bias)})
    }


def learn(rule, tx, params, batches):
    """The layer after one update for each of the batches, leaves [num_updates, B, ...]."""
    state = train.create_train_state(jax.random.key(0), {"params": params}, tx)
    num_updates = len(jax.tree.leaves(batches)[0])
    step = jax.jit(train.scan_steps(train.make_update(rule, tx), num_updates))
    return step(state, batches)[0].params["Dense_0"]


@pytest.mark.parametrize(
    ("inputs", "targets", "weights"),
    [
        pytest.param("binary", "binary", [1, 1, 1], id="binary"),
        pytest.param("binary", "bipolar", [-2, 0, 0], id="targets bipolar"),
        pytest.param("bipolar", "bipolar", [-2, 2, 2], id="bipolar"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_hebb_net_for_and_as_in_fausett(inputs, targets, weights, at_once):
    """Three examples of section 2.2: only where both sides are bipolar does the net learn the gate."""
    x = data.logic_gates(bipolar=inputs == "bipolar")["x"]
    y = data.logic_gates(bipolar=targets == "bipolar")["and"]
    rows = (1, 4) if at_once else (4, 1)
    batches = {"x": x.reshape(*rows, 2), "y": y.reshape(*rows, 1)}
    got = learn(
        rules.hebbian_rule(targets="y"),
        optim.gradient_descent(1.0),
        layer(np.zeros((2, 1)), np.zeros(1)),
        batches,
    )
    assert [float(got["bias"][0]), *map(float, got["kernel"][:, 0])] == weights
    right = np.sign(x @ got["kernel"] + got["bias"][None]) == np.sign(2 * data.logic_gates()["and"] - 1)
    assert right.all() == (inputs == targets == "bipolar")


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("targets", [None, "y"])
@pytest.mark.parametrize("bias", [True, False])
def test_hebbian_is_the_gradient_of_its_loss(x64, targets, reduction, bias):
    draw = np.random.default_rng(0).normal
    params = layer(draw(size=(3, 2)), draw(size=2) if bias else None)
    batch = {"x": draw(size=(5, 3)), "y": draw(size=(5, 2))}

    def loss(params):
        net = batch["x"] @ params["Dense_0"]["kernel"]
        net = net + params["Dense_0"]["bias"][None] if bias else net
        per_row = -jnp.sum(net * batch["y"] if targets else net**2 / 2, axis=1)
        return per_row.sum() if reduction == "sum" else per_row.mean()

    rule = rules.hebbian_rule(targets=targets, reduction=reduction)
    (value, (_, metrics)), grads = rule(params, {}, batch, None)
    want, want_grads = jax.value_and_grad(loss)(params)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    chex.assert_trees_all_close(grads, want_grads, rtol=1e-12)
    net = batch["x"] @ params["Dense_0"]["kernel"] + (params["Dense_0"]["bias"][None] if bias else 0)
    np.testing.assert_allclose(metrics["mean_square_output"], np.mean(np.square(net)), rtol=1e-12)


def correlated(seed, rows=400):
    """Centred rows in five dimensions whose variances differ by a factor of about 2 from one axis to the next."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    x = rng.normal(size=(rows, 5)) * np.sqrt([4, 2, 1, 0.5, 0.25]) @ axes.T
    return x - x.mean(axis=0)


def test_hebbian_without_targets_grows_along_the_first_component(x64):
    """W_n = (I + alpha C)^n W_0, C the mean of x^T x."""
    x, start = correlated(0), np.random.default_rng(1).normal(size=(5, 1))
    rule = rules.hebbian_rule(reduction="mean")
    batches = {"x": np.broadcast_to(x, (60, *x.shape))}
    got = np.asarray(learn(rule, optim.gradient_descent(0.3), layer(start), batches)["kernel"])
    growth = np.linalg.matrix_power(np.eye(5) + 0.3 * x.T @ x / len(x), 60)
    np.testing.assert_allclose(got, growth @ start, rtol=1e-9)
    assert np.linalg.norm(got) > 1e10
    first = PCA(1).fit(x).components_[0]
    assert abs(got[:, 0] @ first) / np.linalg.norm(got) > 0.9999


@pytest.mark.parametrize("form", ["ordered", "subspace"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_oja_equals_its_equation_term_by_term(x64, form, reduction):
    draw = np.random.default_rng(0).normal
    w, x = draw(size=(4, 3)), draw(size=(6, 4))
    change = np.zeros_like(w)
    for row in x:
        y = [sum(row[i] * w[i, j] for i in range(4)) for j in range(3)]
        for j in range(3):
            for i in range(4):
                earlier = range(j + 1) if form == "ordered" else range(3)
                change[i, j] += y[j] * (row[i] - sum(y[k] * w[i, k] for k in earlier))
    scale = 1 if reduction == "sum" else 1 / 6
    rule = rules.oja_rule(form=form, reduction=reduction)
    (loss, (_, metrics)), grads = rule(layer(w), {}, {"x": x}, None)
    np.testing.assert_allclose(grads["Dense_0"]["kernel"], -scale * change, rtol=1e-10)
    np.testing.assert_allclose(loss, scale * np.sum((x - x @ w @ w.T) ** 2) / 2, rtol=1e-12)
    np.testing.assert_allclose(metrics["mean_square_output"], np.mean((x @ w) ** 2), rtol=1e-12)


@pytest.mark.parametrize("form", ["ordered", "subspace"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_oja_tends_to_the_principal_components(x64, form, outputs):
    """All rows at once, from four random starts in one program: scikit-learn's components to 1e-6."""
    x = correlated(2)
    tx = optim.gradient_descent(0.1)
    update = train.make_update(rules.oja_rule(form=form, reduction="mean"), tx)

    def end(key):
        params = layer(0.5 * jax.random.normal(key, (5, outputs)))
        state = train.create_train_state(key, {"params": params}, tx)

        def step(state, _):
            return update(state, {"x": jnp.asarray(x)})[0], None

        return jax.lax.scan(step, state, length=1500)[0].params["Dense_0"]["kernel"]

    found = np.asarray(jax.jit(jax.vmap(end))(jax.random.split(jax.random.key(0), 4)))
    want = PCA(outputs).fit(x).components_.T
    for w in found:
        np.testing.assert_allclose(w @ w.T, want @ want.T, atol=1e-6)
        if form == "ordered":
            np.testing.assert_allclose(np.abs(w), np.abs(want), atol=1e-6)
            np.testing.assert_allclose(w, want * np.sign(np.sum(w * want, axis=0)), atol=1e-6)


def test_oja_one_row_at_a_time_tends_to_the_first_component():
    """As published: the rate falls as 1/t; five passes over 2,000 rows end within two degrees of scikit-learn's."""
    x = correlated(3, rows=2000).astype(np.float32)
    start = layer(np.float32([[0.0], [0], [0], [0], [1]]))
    rows = {"x": np.tile(x[:, None], (5, 1, 1))}
    w = np.asarray(
        learn(rules.oja_rule(), optim.gradient_descent(lambda step: 1 / (50 + step)), start, rows)["kernel"]
    )[:, 0]
    np.testing.assert_allclose(np.linalg.norm(w), 1, atol=0.02)
    assert abs(w @ PCA(1).fit(x).components_[0]) / np.linalg.norm(w) > np.cos(np.radians(2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: rules.hebbian_rule(reduction="max"),
            ValueError,
            "reduction must be one of 'sum', 'mean', got 'max'",
        ),
        (
            lambda: rules.oja_rule(reduction="max"),
            ValueError,
            "reduction must be one of 'sum', 'mean', got 'max'",
        ),
        (
            lambda: rules.oja_rule(form="any"),
            ValueError,
            "form must be one of 'ordered', 'subspace', got 'any'",
        ),
        (
            lambda: rules.oja_rule()(
                layer(np.zeros((3, 1)), np.zeros(1)), {}, {"x": jnp.zeros((2, 3))}, None
            ),
            ValueError,
            r"Dense_0 must hold a kernel and no bias, got \['bias', 'kernel'\]",
        ),
        (
            lambda: rules.oja_rule()(layer(np.zeros((3, 1))), {}, {"x": jnp.zeros((2, 4))}, None),
            ValueError,
            r"Dense_0/kernel must have shape \(4, any\), got \(3, 1\)",
        ),
        (
            lambda: rules.hebbian_rule(targets="y")(
                layer(np.zeros((3, 1))), {}, {"x": jnp.zeros((2, 3)), "y": jnp.zeros(2)}, None
            ),
            ValueError,
            r"targets must have shape \(2, 1\), got \(2,\)",
        ),
        (
            lambda: rules.hebbian_rule()({}, {}, {"x": jnp.zeros((2, 3))}, None),
            ValueError,
            r"params must be one dense layer, got \[\]",
        ),
        (
            lambda: rules.hebbian_rule()(
                layer(np.zeros((3, 1), np.int32)), {}, {"x": jnp.zeros((2, 3))}, None
            ),
            TypeError,
            "Dense_0/kernel must be floating point, got int32",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
