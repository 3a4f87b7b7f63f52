"""Sixteen-bit arithmetic that trains as float32 does."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxdl.train.gradients import averaged_over, backprop, microbatched
from jaxdl.train.parallel import data_mesh, pmap_step, shard_step
from jaxdl.train.precision import loss_scale, mixed_precision
from jaxdl.train.state import create_train_state
from jaxdl.train.update import make_update

DTYPES = ("float32", "bfloat16", "float16")


class Net(linen.Module):
    @linen.compact
    def __call__(self, x, *, train: bool):
        x = linen.Dense(16, use_bias=False)(
            x.reshape(x.shape[0], -1)
        )  # a bias would be lost in the next line
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return linen.Dense(3)(linen.relu(x))


MODEL = Net()


def objective(params, model_state, batch, key):
    logits, model_state = MODEL.apply(
        {"params": params, **model_state}, batch["image"], train=True, mutable=list(model_state)
    )
    logits = logits.astype(jnp.float32)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
    return loss, (model_state, {"accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"])})


def make_batch(n=32, seed=0):
    image = np.random.default_rng(seed).normal(size=(n, 6, 6, 1)).astype(np.float32)
    return {"image": image, "label": np.argmax(image[:, :3, 0, 0], axis=1).astype(np.int32)}


def make_variables():
    return MODEL.init(jax.random.key(0), jnp.ones((1, 6, 6, 1)), train=False)


def linear(params, model_state, batch, key):
    """Loss sum(w * x), whose gradient is x: overflow and underflow at will."""
    return jnp.sum(params["w"] * batch["x"]).astype(jnp.float32), (model_state, {})


def apply_linear(x, scale, dtype="float16", **kwargs):
    params = {"w": jnp.ones_like(x, jnp.float32)}
    state = loss_scale(scale)
    return mixed_precision(linear, dtype, **kwargs)(params, state, {"x": x}, jax.random.key(0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_objective_computes_in_the_dtype(dtype):
    seen = {}

    def spy(params, model_state, teacher, batch, key):
        seen.update(params=params, state=model_state, teacher=teacher, batch=batch, key=key)
        loss, aux = objective(params, model_state, batch, key)
        return loss, aux

    variables = {**make_variables(), **loss_scale()}
    teacher = {"w": jnp.ones(2), "key": jax.random.key(1)}
    state = {name: variables[name] for name in ("batch_stats", "loss_scale")}
    (loss, (new_state, metrics)), grads = jax.eval_shape(
        mixed_precision(spy, dtype), variables["params"], state, teacher, make_batch(), jax.random.key(0)
    )
    expected = jnp.dtype(dtype)
    assert {x.dtype for x in jax.tree.leaves(seen["params"])} == {expected}
    assert (seen["batch"]["image"].dtype, seen["batch"]["label"].dtype) == (expected, jnp.int32)
    assert (seen["teacher"]["w"].dtype, seen["teacher"]["key"].dtype) == (expected, teacher["key"].dtype)
    assert list(seen["state"]) == ["batch_stats"]
    assert loss.dtype == jnp.float32
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, variables["params"])
    chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)
    assert ("loss_scale" in metrics) == (dtype == "float16")


def test_float32_is_backprop():
    variables = make_variables()
    args = variables["params"], {"batch_stats": variables["batch_stats"]}, make_batch(), jax.random.key(0)
    chex.assert_trees_all_equal(
        jax.jit(mixed_precision(objective, jnp.float32))(*args), jax.jit(backprop(objective))(*args)
    )


@pytest.mark.parametrize(
    ("dtype", "atol"),
    # About twice the spacing of numbers at the largest gradient, 0.25: 2^-9 and 2^-12.
    [pytest.param("bfloat16", 4e-3, id="bfloat16"), pytest.param("float16", 5e-4, id="float16")],
)
def test_gradients_are_those_of_float32(dtype, atol):
    variables = make_variables()
    state = {"batch_stats": variables["batch_stats"]}
    batch, key = make_batch(), jax.random.key(0)
    (_, (expected_state, _)), expected = jax.jit(backprop(objective))(variables["params"], state, batch, key)
    (_, (new_state, _)), grads = jax.jit(mixed_precision(objective, dtype))(
        variables["params"], {**state, **loss_scale(2.0**10)}, batch, key
    )
    assert max(jnp.abs(g).max() for g in jax.tree.leaves(expected)) > 0.1
    chex.assert_trees_all_close(grads, expected, atol=atol)
    chex.assert_trees_all_close(new_state["batch_stats"], expected_state["batch_stats"], atol=atol)


def test_scaling_saves_gradients_that_underflow():
    """float16's smallest number is 2^-24: 2^-30 is 0 without scaling and exact with it."""

    def small(params, model_state, batch, key):
        return jnp.sum(params["w"] ** 2).astype(jnp.float32) * 2.0**-30, (model_state, {})

    params = {"w": jnp.asarray([0.5, 2.0])}
    for scale, expected in [(1.0, [0.0, 0.0]), (2.0**15, [2.0**-30, 2.0**-28])]:
        _, grads = mixed_precision(small, "float16")(params, loss_scale(scale), {}, jax.random.key(0))
        np.testing.assert_array_equal(grads["w"], np.asarray(expected, np.float32))


def test_overflow_halves_the_scale_and_keeps_the_rest():
    def counting(params, model_state, batch, key):
        loss, _ = linear(params, {}, batch, key)
        return loss, ({"count": model_state["count"] + 1}, {})

    grad_fn = mixed_precision(counting, "float16")
    params, key = {"w": jnp.ones(2)}, jax.random.key(0)
    state = {"count": jnp.zeros(()), **loss_scale(2.0**16)}
    # float16 ends at 65504 < 2^16.
    (loss, (state, metrics)), grads = grad_fn(params, state, {"x": jnp.asarray([1.0, 0.5])}, key)
    assert not np.isfinite(grads["w"][0])
    assert np.isfinite(loss)
    assert float(metrics["loss_scale"]) == 2.0**16
    assert jax.tree.map(float, state) == {"count": 0.0, "loss_scale": {"scale": 2.0**15, "streak": 0.0}}
    (_, (state, metrics)), grads = grad_fn(params, state, {"x": jnp.asarray([1.0, 0.5])}, key)
    np.testing.assert_array_equal(grads["w"], [1.0, 0.5])
    assert jax.tree.map(float, state) == {"count": 1.0, "loss_scale": {"scale": 2.0**15, "streak": 1.0}}


def test_scale_follows_the_recurrence():
    """A transcription in Python, over overflows at any place of a streak."""
    rng = np.random.default_rng(0)
    xs = np.where(rng.random(60) < 0.15, np.inf, 1.0).astype(np.float32)
    grad_fn = mixed_precision(linear, "float16", growth_interval=4)

    def body(state, x):
        (_, (state, _)), _ = grad_fn({"w": jnp.ones(1)}, state, {"x": x[None]}, jax.random.key(0))
        return state, state["loss_scale"]

    _, got = jax.lax.scan(body, loss_scale(8.0), jnp.asarray(xs))
    scale, streak, expected = 8.0, 0, []
    for x in xs:
        overflows = not np.isfinite(np.float16(x) * np.float16(min(scale, 1e5)))
        streak = 0 if overflows else streak + 1
        if overflows:
            scale /= 2
        elif streak == 4:
            scale, streak = scale * 2, 0
        expected.append((scale, streak))
    np.testing.assert_array_equal(np.stack([got["scale"], got["streak"]], axis=1), expected)
    assert len(set(got["scale"].tolist())) > 2


def test_the_scale_never_leaves_the_numbers_from_which_it_returns():
    def flat(params, model_state, batch, key):
        return jnp.sum(params["w"].astype(jnp.float32) * 0), (model_state, {})

    args = {"w": jnp.ones(1)}, loss_scale(2.0**127), {}, jax.random.key(0)
    (_, (state, _)), grads = mixed_precision(flat, "float16", growth_interval=1)(*args)
    assert float(grads["w"][0]) == 0
    assert float(state["loss_scale"]["scale"]) == 2.0**127
    (_, (state, _)), _ = apply_linear(jnp.full(1, jnp.nan), 2.0**-126)
    assert float(state["loss_scale"]["scale"]) == 2.0**-126


def make_step(dtype, tx, **kwargs):
    return make_update(mixed_precision(objective, dtype, **kwargs), tx, skip_nonfinite=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_learns_and_keeps_float32_parameters(dtype):
    tx = optax.sgd(0.2, momentum=0.9)
    state = create_train_state(jax.random.key(0), {**make_variables(), **loss_scale()}, tx)
    traces = []

    def step(state, batch):
        traces.append(1)
        return make_step(dtype, tx, growth_interval=5)(state, batch)

    step, losses, scales = jax.jit(step), [], []
    for _ in range(40):
        state, metrics = step(state, make_batch())
        losses.append(float(metrics["loss"]))
        scales.append(float(metrics.get("loss_scale", 0)))
    assert len(traces) == 1
    assert losses[-1] < 0.05 < 0.8 < losses[0]
    assert {x.dtype for x in jax.tree.leaves((state.params, state.opt_state))} == {jnp.dtype("float32")}
    if dtype == "float16":
        assert max(scales) > 2.0**15  # it grew, and training went on


def test_training_recovers_from_an_overflow():
    tx = optax.sgd(0.1, momentum=0.9)
    variables = {**make_variables(), **loss_scale(2.0**24)}
    step = jax.jit(make_step("float16", tx))
    state = create_train_state(jax.random.key(0), variables, tx)
    skipped = []
    for _ in range(20):
        before = state
        state, metrics = step(state, make_batch())
        skipped.append(float(metrics["skipped"]))
        if skipped[-1]:
            chex.assert_trees_all_equal(
                (state.params, state.opt_state, state.model_state["batch_stats"]),
                (before.params, before.opt_state, before.model_state["batch_stats"]),
            )
        assert np.isfinite(metrics["loss"])
    n = int(sum(skipped))
    assert 0 < n < 15
    assert skipped == [1.0] * n + [0.0] * (20 - n)
    assert float(state.model_state["loss_scale"]["scale"]) == 2.0 ** (24 - n)


def test_microbatches_share_one_scale():
    batch = {"x": jnp.asarray([[0.5], [1.0], [0.25], [0.25]])}

    def fn(params, model_state, batch, key):
        return jnp.mean(params["w"] * batch["x"]).astype(jnp.float32), (model_state, {})

    grad_fn = microbatched(mixed_precision(fn, "float16"), 2)
    args = {"w": jnp.ones((1, 1))}, batch, jax.random.key(0)
    (_, (state, _)), grads = grad_fn(args[0], loss_scale(2.0**10), *args[1:])
    np.testing.assert_array_equal(grads["w"], [[0.5]])
    assert int(state["loss_scale"]["streak"]) == 2
    (_, (state, _)), grads = grad_fn(args[0], loss_scale(2.0**16), *args[1:])
    assert not np.isfinite(grads["w"][0])
    assert float(state["loss_scale"]["scale"]) == 2.0**15  # the first slice overflowed, the second no longer


@pytest.mark.parametrize("make", ["shard", "pmap"])
def test_one_device_that_overflows_is_all(make):
    """Only the last of eight devices sees the overflow; all must skip, with one scale."""
    tx = optax.sgd(0.5)

    def fn(params, model_state, batch, key):
        return jnp.mean(params["w"] * batch["x"]).astype(jnp.float32), (model_state, {})

    if make == "pmap":
        grad_fn = averaged_over(mixed_precision(fn, "float16", axis_name="data"), "data")
        step = pmap_step(make_update(grad_fn, tx, skip_nonfinite=True))
    else:
        step = shard_step(make_update(mixed_precision(fn, "float16"), tx, skip_nonfinite=True), data_mesh())
    state = create_train_state(jax.random.key(0), {"params": {"w": jnp.ones(())}, **loss_scale(4.0)}, tx)
    bad = np.ones(8, np.float32)
    bad[7] = 1e6
    for x, scale, streak, w in [(np.ones(8, np.float32), 4.0, 1, 0.5), (bad, 2.0, 0, 0.5)]:
        state, metrics = step(state, {"x": x})
        assert jax.tree.map(float, state.model_state["loss_scale"]) == {"scale": scale, "streak": streak}
        assert float(state.params["w"]) == w
    assert float(metrics["skipped"]) == 1


def test_errors():
    for bad in ("float64", "int32", jnp.float64):
        with pytest.raises(ValueError, match="dtype must be one of 'float32', 'bfloat16', 'float16'"):
            mixed_precision(linear, bad)
    with pytest.raises(ValueError, match=r"\"loss_scale\" for float16.*loss_scale\(\)"):
        mixed_precision(linear, "float16")({"w": jnp.ones(1)}, {}, {"x": jnp.ones(1)}, jax.random.key(0))
    with pytest.raises(ValueError, match="growth_interval must be at least 1"):
        mixed_precision(linear, "float16", growth_interval=0)
    with pytest.raises(ValueError, match="initial_scale must be positive"):
        loss_scale(0.0)
