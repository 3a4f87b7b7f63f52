"""Diagnoses of layers, gradients and runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import metrics

RNG = np.random.default_rng(9)


def test_half_of_a_fresh_layer_is_active(key):
    """002-D19: weights and inputs of N(0, 1)."""
    x, w = RNG.normal(size=(400, 30)), RNG.normal(size=(30, 50))
    active = metrics.active_relu_fraction(np.float32(x @ w))
    np.testing.assert_allclose(active, 0.5, atol=0.02)


def test_dead_units_and_channels():
    x = np.float32(RNG.normal(size=(6, 3, 3, 4)))
    x[..., 1] = -np.abs(x[..., 1])
    x[..., 2] = 0
    x[:5, ..., 3], x[5, ..., 3] = -1, 1
    assert metrics.dead_relu_fraction(x) == 0.5
    assert metrics.dead_relu_fraction(np.maximum(x, 0)) == 0.5
    where = np.arange(6) < 5
    assert metrics.dead_relu_fraction(x, where=where) == 0.75
    assert metrics.dead_relu_fraction(x, where=where & False) == 1
    assert np.isnan(metrics.active_relu_fraction(x, where=where & False))
    np.testing.assert_allclose(metrics.active_relu_fraction(x, where=where), np.mean(x[:5] > 0), rtol=1e-6)


TREE = {
    "Dense_0": {
        "kernel": np.float32(RNG.normal(size=(3, 2, 4))),
        "bias": np.float32([1e-30, 0, -2e-30, 2e-30]),
    },
    "Dense_1": [np.float32([[3e30], [-4e30]]), np.zeros((2, 0), np.float32)],
}


def test_norms_of_every_array_at_any_size():
    kernel = TREE["Dense_0"]["kernel"].astype(np.float64)
    for norms in (metrics.gradient_norms, metrics.weight_norms):
        got = jax.jit(norms)(TREE)
        assert list(got) == ["Dense_0/bias", "Dense_0/kernel", "Dense_1/0", "Dense_1/1"]
        np.testing.assert_allclose(list(got.values()), [3e-30, np.linalg.norm(kernel), 5e30, 0], rtol=1e-6)
    each = jax.jit(lambda tree: metrics.weight_norms(tree, per_unit=True))(TREE)
    expected = np.linalg.norm(kernel.reshape(6, 4), axis=0)
    np.testing.assert_allclose(each["Dense_0/kernel"], expected, rtol=1e-6)
    np.testing.assert_allclose(each["Dense_0/bias"], [1e-30, 0, 2e-30, 2e-30])
    np.testing.assert_allclose(each["Dense_1/0"], [5e30], rtol=1e-6)
    bad = jax.jit(metrics.gradient_norms)({"a": np.float32([1, np.nan]), "b": np.float32([1, np.inf])})
    assert np.isnan(bad["a"])
    assert bad["b"] == np.inf


def test_vanishing_gradient_through_time():
    """002-D6: with a recurrent weight of 0.01 and sigmoids each step back keeps at most 0.0025."""
    inputs = jnp.linspace(-1, 1, 5)

    def last(states):
        h = 0.0
        for x, start in zip(inputs, states):
            h = jax.nn.sigmoid(0.01 * (h + start) + x)
        return h

    grads = jax.jit(jax.grad(lambda states: last(states)))([jnp.zeros(())] * 5)
    norms = np.array(list(jax.jit(metrics.gradient_norms)(grads).values()))
    ratios = norms[:-1] / norms[1:]
    assert (ratios <= 0.0025).all()
    assert 1e-13 < norms[0] / norms[4] < 4e-11


def test_similarity_of_units_equals_scikit_learn():
    cosine = pytest.importorskip("sklearn.metrics.pairwise").cosine_similarity
    kernel = np.float32(RNG.normal(size=(3, 3, 2, 5)))
    kernel[..., 3] = -7 * kernel[..., 0]
    kernel[..., 4] = 0
    columns = kernel.reshape(-1, 5).T.astype(np.float64)
    got = jax.jit(jax.vmap(metrics.co_adaptation))(np.stack([kernel, np.float32(1e-25) * kernel]))
    np.testing.assert_allclose(got, [cosine(columns)] * 2, atol=1e-6)


def test_bias_and_variance_add_up_to_the_error():
    models, targets = np.float32(RNG.normal(size=(7, 11, 2))) + 5, np.float32(RNG.normal(size=(11, 2)))
    f, t = models.astype(np.float64), targets.astype(np.float64)
    expected = (np.mean((f.mean(0) - t) ** 2), np.mean(f.var(0)), np.mean((f - t) ** 2))
    got = jax.jit(metrics.bias_variance)(models, targets)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(got.squared_bias + got.variance, got.error, rtol=1e-6)


STEPS = 40
FALLING = np.exp(-np.linspace(0, 3, STEPS)).astype(np.float32)
diagnose = jax.jit(metrics.diagnose_training, static_argnames="window")


def norms(**changes):
    return {"first": np.ones(STEPS, np.float32), "second": 3 * FALLING} | changes


@pytest.mark.parametrize(
    ("loss", "gradients", "words"),
    [
        pytest.param(FALLING, norms(), "nothing found", id="healthy"),
        pytest.param(0 * FALLING + 0.7, norms(), "loss is flat", id="flat"),
        pytest.param(
            np.where(np.arange(STEPS) == 31, np.nan, FALLING),
            norms(),
            "loss is not finite from step 31",
            id="NaN",
        ),
        pytest.param(
            np.where(np.arange(STEPS) == 22, np.inf, FALLING),
            norms(),
            "loss is not finite from step 22",
            id="infinite",
        ),
        pytest.param(
            FALLING, norms(first=1e-6 * FALLING), "gradients are vanishing in first", id="vanishing"
        ),
        pytest.param(
            FALLING, norms(second=0 * FALLING), "gradients are vanishing in second", id="no gradient"
        ),
        pytest.param(FALLING, norms(first=1e4 / FALLING), "gradients are exploding in first", id="exploding"),
        pytest.param(
            0 * FALLING,
            norms(first=FALLING * np.nan, second=FALLING * np.inf),
            "loss is flat; gradients are exploding in first, second",
            id="several",
        ),
    ],
)
def test_diagnosis(loss, gradients, words):
    found = diagnose(np.float32(loss), {name: np.float32(x) for name, x in gradients.items()}, window=20)
    if words == "gradients are exploding in first":
        words = "gradients are vanishing in second; " + words  # beside which the other is nothing
    assert str(found) == words


def test_diagnosis_of_a_loss_alone_and_of_a_late_recovery():
    assert str(diagnose(FALLING)) == "nothing found"
    early = np.where(np.arange(STEPS) < 10, np.float32(1e5), 1).astype(np.float32)
    assert not diagnose(FALLING, norms(first=early), window=20).exploding.any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: metrics.dead_relu_fraction(np.ones(3)),
            ValueError,
            r"activations must have shape \[..., U\]",
        ),
        (
            lambda: metrics.dead_relu_fraction(np.ones((3, 2)), num_units=4),
            ValueError,
            "activations must have",
        ),
        (lambda: metrics.gradient_norms({"a": np.ones(2, int)}), TypeError, "a must be floating"),
        (lambda: metrics.co_adaptation(np.ones(3)), ValueError, r"kernel must have shape \[..., U\]"),
        (lambda: metrics.bias_variance(np.ones((1, 3)), np.ones(3)), ValueError, "number of models must be"),
        (
            lambda: metrics.bias_variance(np.ones((4, 3)), np.ones(4)),
            ValueError,
            "predictions must have shape",
        ),
        (lambda: metrics.diagnose_training(FALLING[:1]), ValueError, "number of steps must be at least 2"),
        (
            lambda: metrics.diagnose_training(FALLING, {"a": FALLING[:3]}),
            ValueError,
            r"gradient_norms\['a'\]",
        ),
        (lambda: metrics.diagnose_training(FALLING, window=1), ValueError, "window must be at least 2"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
