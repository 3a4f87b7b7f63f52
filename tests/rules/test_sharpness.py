"""Sharpness-aware gradients against their definition in float64, PyTorch, and how they compose."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import rules, train

DRAW = np.random.default_rng(0)
PARAMS = {"w": DRAW.normal(size=(3, 2)), "b": DRAW.normal(size=2)}
BATCH = {"x": DRAW.normal(size=(8, 3)), "y": DRAW.normal(size=(8, 2))}
PARAMS32, BATCH32 = (jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree) for tree in (PARAMS, BATCH))
KEY = jax.random.key(0)


def objective(params, model_state, batch, key):
    noise = 0.1 * jax.random.normal(key, batch["y"].shape)
    out = jnp.tanh(batch["x"] @ params["w"] + params["b"][None])
    seen = {"mean": model_state["mean"] + out.mean(axis=0)}
    return jnp.mean((out + noise - batch["y"]) ** 2), (seen, {"largest": jnp.abs(out).max()})


STATE = {"mean": jnp.zeros(2)}


def numpy_gradient(params, noise):
    out = np.tanh(BATCH["x"] @ params["w"] + params["b"])
    slope = 2 * (out + noise - BATCH["y"]) * (1 - out**2) / out.size
    return {"w": BATCH["x"].T @ slope, "b": slope.sum(axis=0)}


@pytest.mark.parametrize("rho", [0.05, 1.0])
def test_it_is_the_gradient_uphill_under_the_same_noise(rho):
    noise = np.asarray(0.1 * jax.random.normal(KEY, (8, 2)), np.float64)
    grads = numpy_gradient(PARAMS, noise)
    norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
    want = numpy_gradient({name: PARAMS[name] + rho * grads[name] / norm for name in PARAMS}, noise)
    grad_fn = train.backprop(objective)
    (result, got), (plain, _) = jax.jit(
        lambda: (
            rules.sharpness_aware(grad_fn, rho)(PARAMS32, STATE, BATCH32, KEY),
            grad_fn(PARAMS32, STATE, BATCH32, KEY),
        )
    )()
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(
        result, plain, rtol=1e-6
    )  # loss, state and metrics of the parameters themselves


def test_a_small_radius_adds_the_gradient_of_its_norm():
    """d/dtheta (L + rho |g|) = g + rho H g / |g|, which is what the estimate is to first order in rho."""
    grad_fn, rho = train.backprop(objective), 1e-3

    @jax.jit
    def both():
        def penalized(params):
            (loss, _), grads = grad_fn(params, STATE, BATCH32, KEY)
            return loss + rho * jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))

        return rules.sharpness_aware(grad_fn, rho)(PARAMS32, STATE, BATCH32, KEY)[1], jax.grad(penalized)(
            PARAMS32
        )

    chex.assert_trees_all_close(*both(), rtol=1e-4, atol=1e-6)


def test_composition_decides_what_is_perturbed():
    def loss(params, model_state, batch, key):  # a mean over rows, so slices add up to the batch
        del key
        out = jnp.tanh(batch["x"] @ params["w"] + params["b"][None])
        return jnp.mean((out - batch["y"]) ** 2), (model_state, {})

    grad_fn = train.backprop(loss)
    aware = rules.sharpness_aware(grad_fn, 0.3)

    @jax.jit
    def estimates():
        halves = [jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], BATCH32) for i in range(2)]
        each = [aware(PARAMS32, {}, half, KEY)[1] for half in halves]
        return (
            rules.sharpness_aware(train.microbatched(grad_fn, 2), 0.3)(PARAMS32, {}, BATCH32, KEY)[1],
            aware(PARAMS32, {}, BATCH32, KEY)[1],
            train.microbatched(aware, 2)(PARAMS32, {}, BATCH32, KEY)[1],
            jax.tree.map(lambda a, b: (a + b) / 2, *each),
        )

    of_the_whole, whole, of_slices, slices = estimates()
    chex.assert_trees_all_close(of_the_whole, whole, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(of_slices, slices, rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(whole["w"] - slices["w"]).max()) > 1e-3


def test_it_moves_along_a_valley_to_where_it_is_flat():
    """x = 0 is minimal for every y, with curvature 0.1 + y^2: descent keeps y, this estimate takes it to 0."""

    def loss(params, model_state, batch, key):
        del batch, key
        x, y = params
        return 0.5 * x**2 * (0.1 + y**2), (model_state, {})

    grad_fn = train.backprop(loss)

    def end(estimator):
        def body(params, _):
            return params - 0.5 * estimator(params, {}, None, KEY)[1], None

        return jax.lax.scan(body, jnp.array([0.1, 1.0]), length=1000)[0]

    plain, aware = jax.jit(lambda: (end(grad_fn), end(rules.sharpness_aware(grad_fn, 0.2))))()
    assert float(plain[1]) > 0.99
    assert abs(float(aware[1])) < 0.01


def test_zero_gradients_extremes_and_dtypes():
    def loss(params, model_state, batch, key):
        return sum(jnp.sum(batch * p.astype(jnp.float32)) for p in jax.tree.leaves(params)), (model_state, {})

    aware = jax.jit(lambda p, batch: rules.sharpness_aware(train.backprop(loss), 0.1)(p, {}, batch, KEY)[1])
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(3)}
    for scale in (0.0, 1e-15, 1e15):
        got = aware(params, jnp.float32(scale))
        chex.assert_trees_all_equal_shapes_and_dtypes(got, params)
        np.testing.assert_allclose(got["b"], np.full(3, scale), rtol=1e-6)


def test_bad_radius_is_named():
    with pytest.raises(ValueError, match="rho must be positive and finite, got 0.0"):
        rules.sharpness_aware(train.backprop(objective), 0.0)
