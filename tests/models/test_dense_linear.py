"""Linear models against scikit-learn, closed forms and the worked numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, nn, optim, rules, train
from jaxdl.models.dense import (
    Adaline,
    LassoRegression,
    LinearRegression,
    LinearSVM,
    LogisticRegression,
    RidgeRegression,
)
from jaxdl.objectives import regression


def table(rows=60, columns=5, outputs=2, seed=0):
    """Correlated columns away from 0, of which two do not matter."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) @ (np.eye(columns) + 0.4) + np.arange(columns)
    weights = rng.normal(size=(columns, outputs))
    weights[[1, 3]] = 0
    y = x @ weights + 0.3 * rng.normal(size=(rows, outputs)) - 2
    return np.float32(x), np.float32(y)


def kernel_and_bias(variables):
    layer = variables["params"]["Dense_0"]
    return np.asarray(layer["kernel"]), np.asarray(layer.get("bias", 0.0))


CASES = {
    "linear": (lambda b: LinearRegression(2, b), lambda m, b: m.LinearRegression(fit_intercept=b)),
    "ridge": (lambda b: RidgeRegression(2, b, l2=3.0), lambda m, b: m.Ridge(alpha=3.0, fit_intercept=b)),
    "lasso": (
        lambda b: LassoRegression(2, b, l1=0.2),
        lambda m, b: m.Lasso(alpha=0.2, fit_intercept=b, tol=1e-10, max_iter=100_000),
    ),
}


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "through-0"])
@pytest.mark.parametrize("name", CASES)
def test_fit_equals_sklearn(name, use_bias):
    linear_model = pytest.importorskip("sklearn.linear_model")
    make, make_oracle = CASES[name]
    model, (x, y) = make(use_bias), table()
    variables = jax.jit(model.fit)(x, y)
    oracle = make_oracle(linear_model, use_bias).fit(np.float64(x), np.float64(y))
    kernel, bias = kernel_and_bias(variables)
    np.testing.assert_allclose(kernel, oracle.coef_.T, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(bias, oracle.intercept_, rtol=2e-4, atol=2e-4)
    if name == "lasso":
        np.testing.assert_array_equal(kernel == 0, oracle.coef_.T == 0)
        assert (kernel == 0).any()
    predicted = model.apply(variables, x, train=False)
    np.testing.assert_allclose(predicted, oracle.predict(np.float64(x)), atol=1e-3)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)


def test_of_dependent_columns_the_shortest_weights():
    x, y = table(outputs=1)
    doubled = np.concatenate([x, x[:, :1]], axis=1)  # the first column twice: its weight is halved
    fit = jax.jit(LinearRegression().fit)
    (once, _), (twice, _) = kernel_and_bias(fit(x, y)), kernel_and_bias(fit(doubled, y))
    np.testing.assert_allclose(twice[[0, -1]], np.stack([once[0] / 2] * 2), rtol=1e-3, atol=1e-4)
    # With a constant column and more columns than rows there is still one answer, and it is finite.
    few = np.concatenate([doubled[:4], np.ones((4, 1), np.float32)], axis=1)
    for model in (LinearRegression(), RidgeRegression(), LassoRegression(l1=0.1)):
        assert np.isfinite(kernel_and_bias(jax.jit(model.fit)(few, y[:4]))[0]).all()


def test_lasso_path_starts_where_the_first_weight_does():
    x, y = table(outputs=1)
    top = np.abs((x - x.mean(0)).T @ (y - y.mean(0))).max() / len(x)
    none, bias = kernel_and_bias(LassoRegression(l1=1.001 * top).fit(x, y))
    np.testing.assert_array_equal(none, np.zeros((5, 1)))
    np.testing.assert_allclose(bias, y.mean(0), rtol=1e-5)
    assert np.sum(kernel_and_bias(LassoRegression(l1=0.99 * top).fit(x, y))[0] != 0) == 1


def test_worked_line():  # 004a-7.13o
    stream = np.random.RandomState(42)
    x = 2 * stream.rand(100, 1)
    y = 4 + 3 * x + stream.randn(100, 1)
    x, y = np.float32(x), np.float32(y)
    model = LinearRegression()
    variables = model.fit(x, y)
    kernel, bias = kernel_and_bias(variables)
    np.testing.assert_allclose([bias[0], kernel[0, 0]], [4.21509616, 2.77011339], rtol=1e-5)
    error = np.mean((model.apply(variables, x, train=False) - y) ** 2)
    np.testing.assert_allclose(error, 0.8065845640, rtol=1e-5)


def worked_rows():
    """The 1,000 rows of 004a-7.12, whose generator is spelled out there: blocks of 16 words of the Mersenne Twister."""
    words = np.random.RandomState(42).randint(0, 2**32, 2000, np.uint32).reshape(-1, 2, 8)
    uniform = (words & (2**24 - 1)) / 2.0**24
    r, angle = np.sqrt(-2 * np.log(1 - uniform[:, 0])), 2 * np.pi * uniform[:, 1]
    x = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1).reshape(1000, 2)
    return {"x": x, "y": x @ [[1.3], [-1.0]] - 3.5}


def test_gradient_descent_on_the_worked_rows(key):  # 004a-7.12a
    batch = worked_rows()
    np.testing.assert_allclose(batch["x"][0], [1.92691529, 1.48728406], rtol=1e-6)
    with jax.enable_x64(True):
        batch = jax.tree.map(jnp.asarray, batch)
        objective = regression(LinearRegression(), losses.squared_error)

        def descend(rate):
            tx = optim.gradient_descent(rate)
            start = {"kernel": jnp.array([[-0.3239247], [0.5574488]]), "bias": jnp.array([0.5710429])}
            state = train.create_train_state(key, {"params": {"Dense_0": start}}, tx)
            update = train.make_update(train.backprop(objective), tx)

            def step(state, _):
                state, metrics = update(state, batch)
                layer = state.params["Dense_0"]
                return state, (jnp.append(layer["kernel"][:, 0], layer["bias"]), metrics["loss"])

            return jax.jit(lambda state: jax.lax.scan(step, state, length=1000)[1])(state)

        path, error = descend(0.001)
        np.testing.assert_allclose(error[0], 21.7440388, rtol=1e-7)
        np.testing.assert_allclose(
            path[np.array([99, 499, 999])],
            [
                [-0.045726, 0.270079, -0.176591],
                [0.665543, -0.437432, -2.024235],
                [1.052251, -0.795964, -2.965297],
            ],
            atol=1e-6,
        )
        np.testing.assert_allclose(error[np.array([99, 499, 999])], [14.5963, 2.9193, 0.3914], atol=1e-4)
        np.testing.assert_allclose(descend(0.01)[0][-1], [1.29999999, -1.0, -3.49999999], atol=1e-8)
    kernel, bias = kernel_and_bias(LinearRegression().fit(*map(np.float32, worked_rows().values())))
    np.testing.assert_allclose([*kernel[:, 0], *bias], [1.3, -1, -3.5], rtol=1e-5)


def test_adaline_ends_at_least_squares_where_no_line_separates(key):
    rng = np.random.default_rng(3)
    t = np.where(np.arange(80) % 2, 1.0, -1.0)[:, None]
    x = np.float32(0.8 * t * [1.0, 0.5] + rng.normal(size=(80, 2)))
    batch = {"x": x, "y": np.float32(t)}
    model, tx = Adaline(), optim.gradient_descent(0.1)
    state = train.create_train_state(key, model.init(key, x, train=False), tx)
    update = train.make_update(rules.delta_rule(reduction="mean"), tx)
    state, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: update(s, batch), s, length=300))(state)
    kernel, bias = kernel_and_bias({"params": state.params})
    line, offset = kernel_and_bias(LinearRegression().fit(x, batch["y"]))
    np.testing.assert_allclose(kernel, line, rtol=1e-4)
    np.testing.assert_allclose(bias, offset, atol=1e-4)
    wrong = np.mean(np.sign(model.apply({"params": state.params}, x, train=False)) != t)
    assert 0 < wrong < 0.35


def minimum(model, loss, x, tolerance=1e-5):
    params = model.init(jax.random.key(0), x, train=False)["params"]
    end = jax.jit(
        lambda params: optim.minimize(
            loss, params, optim.lbfgs(), max_iterations=100, tolerance=tolerance, keep_trajectory=False
        )
    )(params)
    return end.params


def classes(seed=1):
    x, score = table(80, outputs=1, seed=seed)
    noise = np.random.default_rng(seed).normal(size=score.shape)
    return x - x.mean(0), (score - np.median(score) + noise > 0)


def test_logistic_regression_equals_sklearn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, yes = classes()
    model, c = LogisticRegression(), 0.7

    def loss(params):
        logits = model.apply({"params": params}, x, train=True)
        data_loss = jnp.mean(losses.sigmoid_binary_cross_entropy(logits, jnp.float32(yes)))
        return data_loss + nn.l2_penalty(params["Dense_0"]["kernel"], 1 / (c * len(x)))

    kernel, bias = kernel_and_bias({"params": minimum(model, loss, x)})
    oracle = linear_model.LogisticRegression(C=c, tol=1e-10).fit(np.float64(x), yes[:, 0])
    np.testing.assert_allclose(kernel[:, 0], oracle.coef_[0], rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(bias, oracle.intercept_, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("form", ["hinge", "squared_hinge"])
def test_linear_svm_equals_sklearn(form):
    svm = pytest.importorskip("sklearn.svm")
    x, yes = classes()
    t, c = jnp.where(yes, 1.0, -1.0), 0.5
    squared = form == "squared_hinge"
    # LinearSVC shrinks its intercept too, so that one has none; SVC solves the dual of the hinge exactly.
    model = LinearSVM(use_bias=not squared)
    oracle = (
        svm.LinearSVC(C=c, loss=form, fit_intercept=False, tol=1e-10, max_iter=100_000, dual=False)
        if squared
        else svm.SVC(C=c, kernel="linear", tol=1e-8)
    ).fit(np.float64(x), yes[:, 0])

    def loss(params):
        scores = model.apply({"params": params}, x, train=True)
        return jnp.mean(getattr(losses, form)(scores, t)) + nn.l2_penalty(
            params["Dense_0"]["kernel"], 1 / (c * len(x))
        )

    best = {"kernel": jnp.float32(oracle.coef_.T)}
    if squared:
        params = minimum(model, loss, x)
        np.testing.assert_allclose(params["Dense_0"]["kernel"], best["kernel"], rtol=2e-3, atol=1e-4)
        return
    best["bias"] = jnp.float32(oracle.intercept_)
    # Subgradient steps, as in Pegasos, with the mean of the second half of the iterates.
    strength, start = 1 / (c * len(x)), model.init(jax.random.key(0), x, train=False)["params"]

    def step(params, i):
        rate = 1 / (strength * (i + 100))
        params = jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))
        return params, params

    _, path = jax.jit(lambda p: jax.lax.scan(step, p, jnp.arange(4000.0)))(start)
    end = jax.tree.map(lambda p: jnp.mean(p[2000:], axis=0), path)
    least = loss({"Dense_0": best})
    assert least <= loss(end) < 1.002 * least
    np.testing.assert_allclose(end["Dense_0"]["kernel"], best["kernel"], atol=0.03)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda x, y: LinearRegression(2).fit(x, y[:, :1]),
            ValueError,
            r"targets .*\(any, 2\)",
            id="outputs",
        ),
        pytest.param(
            lambda x, y: LinearRegression().fit(x, y[:, 0]), ValueError, r"targets .*got \(60,\)", id="flat"
        ),
        pytest.param(lambda x, y: RidgeRegression(2).fit(x[:9], y), ValueError, "first axis", id="rows"),
        pytest.param(
            lambda x, y: RidgeRegression(2, l2=-1.0).fit(x, y), ValueError, "l2 must be", id="negative-l2"
        ),
        pytest.param(lambda x, y: LassoRegression(2, l1=-1.0).fit(x, y), ValueError, "l1", id="negative-l1"),
        pytest.param(
            lambda x, y: LassoRegression(2).fit(x, y, max_sweeps=0), ValueError, "max_sweeps", id="sweeps"
        ),
        pytest.param(lambda x, y: LinearRegression(2).fit(x, y > 0), TypeError, "targets", id="bool"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(*table())
