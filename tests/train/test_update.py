"""The update, with plain functions for networks unless a test says otherwise."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from jaxdl.train.gradients import backprop
from jaxdl.train.state import create_train_state
from jaxdl.train.update import make_update

SLOPE = np.asarray([2.0, -1.0, 0.5], np.float32)


def line(params, model_state, batch, key):
    """Mean squared error of a line: a network of nothing but functions."""
    del key
    error = batch["x"] @ params["w"] + params["b"] - batch["y"]
    return jnp.mean(error**2), (model_state, {"mae": jnp.mean(jnp.abs(error))})


def noisy_line(params, model_state, batch, key):
    noise = jax.random.normal(key, batch["y"].shape)
    return line(params, model_state, batch | {"y": batch["y"] + 0.1 * noise}, key)


def line_batch(seed=0, size=16):
    x = np.random.default_rng(seed).normal(size=(size, 3)).astype(np.float32)
    return {"x": jnp.asarray(x), "y": jnp.asarray(x @ SLOPE + 1)}


def line_state(key, tx, **model_state):
    return create_train_state(key, {"params": {"w": jnp.zeros(3), "b": jnp.zeros(())}, **model_state}, tx)


@pytest.mark.parametrize("tx", [optax.sgd(0.1), optax.adam(0.1)], ids=["sgd", "adam"])
def test_equals_the_loop_written_by_hand(key, tx):
    update, state = jax.jit(make_update(backprop(line), tx)), line_state(key, tx)
    params, opt_state = state.params, state.opt_state
    for seed in range(5):
        batch = line_batch(seed)
        state, metrics = update(state, batch)
        loss, grads = jax.value_and_grad(lambda p, batch=batch: line(p, {}, batch, None)[0])(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        chex.assert_trees_all_close(state.params, params, rtol=1e-6)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
        np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(grads), rtol=1e-6)
        np.testing.assert_allclose(metrics["update_norm"], optax.tree.norm(updates), rtol=1e-6)
    assert state.step == 5
    assert set(metrics) == {"loss", "grad_norm", "update_norm", "mae"}


# Weights in columns: w1..w4 to the hidden units, w5..w8 to the outputs.
TWO_LAYERS = {"v": [[0.15, 0.25], [0.20, 0.30]], "w": [[0.40, 0.50], [0.45, 0.55]]}
BIASES = {"bv": 0.35, "bw": 0.60}  # one for each layer


@pytest.mark.parametrize(
    ("train_biases", "first", "last", "outputs"),
    [
        pytest.param(False, 0.291027774, 3.510188e-5, [0.0159136204, 0.9840642735], id="000-G3c-d"),
        pytest.param(True, 0.285750886699, 4.355e-6, [0.012102159, 0.987928390], id="000-G3f"),
    ],
)
def test_two_layer_sigmoid_network(train_biases, first, last, outputs):
    with jax.enable_x64(True):
        weights, biases = jax.tree.map(
            jnp.asarray, (TWO_LAYERS, BIASES), is_leaf=lambda x: isinstance(x, list)
        )
        x, target = jnp.asarray([0.05, 0.10]), jnp.asarray([0.01, 0.99])

        def forward(p):
            return jax.nn.sigmoid(jax.nn.sigmoid(x @ p["v"] + p["bv"]) @ p["w"] + p["bw"])

        def objective(params, model_state, target, key):
            loss = 0.5 * jnp.sum((forward({**biases, **params}) - target) ** 2)
            return loss, (model_state, {})

        tx = optax.sgd(0.5)
        params = {**weights, **biases} if train_biases else weights
        update = make_update(backprop(objective), tx)
        start = create_train_state(jax.random.key(0), {"params": params}, tx)
        state, metrics = update(start, target)
        np.testing.assert_allclose(metrics["loss"], 0.298371108760, rtol=1e-11)
        if not train_biases:
            v = [[0.149780716133, 0.249751143632], [0.199561432266, 0.299502287265]]
            w = [[0.358916479718, 0.511301270239], [0.408666186076, 0.561370121108]]
            np.testing.assert_allclose(state.params["v"], v, atol=1e-12)
            np.testing.assert_allclose(state.params["w"], w, atol=1e-12)
        np.testing.assert_allclose(objective(state.params, {}, target, None)[0], first, atol=1e-9)
        state, _ = jax.lax.scan(lambda s, _: update(s, target), start, length=10_000)
        np.testing.assert_allclose(objective(state.params, {}, target, None)[0], last, rtol=2e-4)
        np.testing.assert_allclose(forward({**biases, **state.params}), outputs, atol=1e-9)


def test_line_search_gets_the_value_and_the_function(key):
    """Steps of 1 diverge on this quadratic; the search asks for value, grad, value_fn, and shortens them."""
    batch = line_batch()
    batch = batch | {"x": 3 * batch["x"]}
    losses = {}
    for name, tx in {
        "plain": optax.sgd(1.0),
        "searched": optax.chain(
            optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=20)
        ),
    }.items():
        update, state = jax.jit(make_update(backprop(line), tx)), line_state(key, tx)
        for _ in range(30):
            state, metrics = update(state, batch)
        losses[name] = metrics["loss"]
    assert not losses["plain"] < 1e3
    assert losses["searched"] < 1e-3


def test_plateau_schedule_gets_the_value(key):
    tx = optax.chain(optax.sgd(1e-6), optax.contrib.reduce_on_plateau(patience=2, factor=0.5, rtol=0.1))
    update, state = jax.jit(make_update(backprop(line), tx)), line_state(key, tx)
    for _ in range(10):
        state, _ = update(state, line_batch())
    assert optax.tree_utils.tree_get(state.opt_state, "scale") < 0.2


def test_reports_the_learning_rate_that_a_state_keeps(key):
    schedule = optax.linear_schedule(0.4, 0.0, 4)
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)
    update, state = jax.jit(make_update(backprop(line), tx)), line_state(key, tx)
    rates = []
    for _ in range(3):
        state, metrics = update(state, line_batch())
        rates.append(metrics["learning_rate"])
    np.testing.assert_allclose(rates, [0.4, 0.3, 0.2], rtol=1e-6)


def test_reports_several_learning_rates_apart(key):
    sgd = optax.inject_hyperparams(optax.sgd)
    tx = optax.partition({"w": sgd(0.1), "b": sgd(0.2)}, {"w": "w", "b": "b"})
    _, metrics = make_update(backprop(line), tx)(line_state(key, tx), line_batch())
    rates = [metrics["learning_rate/0"], metrics["learning_rate/1"]]
    np.testing.assert_allclose(sorted(rates), [0.1, 0.2], rtol=1e-6)


@pytest.mark.parametrize("skip", [False, True])
def test_nonfinite_gradients(key, skip):
    tx = optax.adam(0.1)
    update = jax.jit(make_update(backprop(line), tx, skip_nonfinite=skip))
    state, metrics = update(line_state(key, tx), line_batch())
    bad = line_batch() | {"y": jnp.full(16, jnp.nan)}
    after, bad_metrics = update(state, bad)
    if not skip:
        assert "skipped" not in bad_metrics
        assert not np.isfinite(after.params["b"])
        return
    assert metrics["skipped"] == 0
    assert bad_metrics["skipped"] == 1
    assert bad_metrics["update_norm"] == 0
    chex.assert_trees_all_equal(after.params, state.params)
    chex.assert_trees_all_equal(after.opt_state, state.opt_state)
    assert after.step == state.step + 1
    resumed, _ = update(after, line_batch())
    assert np.isfinite(resumed.params["b"])


def test_compiles_once(key):
    chex.clear_trace_counter()
    tx = optax.adam(0.1)
    update = jax.jit(chex.assert_max_traces(make_update(backprop(noisy_line), tx), n=1))
    state = line_state(key, tx)
    for seed in range(3):
        state, _ = update(state, line_batch(seed))


def test_compiles_once_from_parameters_that_are_python_numbers(key):
    """`jnp.asarray(0.5)` is weakly typed, what an update returns is not."""
    chex.clear_trace_counter()
    tx = optax.sgd(0.1)
    update = jax.jit(chex.assert_max_traces(make_update(backprop(line), tx), n=1))
    state = create_train_state(key, {"params": {"w": jnp.zeros(3), "b": jnp.asarray(0.5)}}, tx)
    for _ in range(2):
        state, _ = update(state, line_batch())


def test_donation_leaves_the_caller_his_arrays(key):
    tx = optax.adam(0.1)
    variables = {"params": {"w": jnp.zeros(3), "b": jnp.zeros(())}, "statistics": jnp.ones(2)}
    update = jax.jit(make_update(backprop(noisy_line), tx), donate_argnums=0)
    for _ in range(2):  # a second state from the same arrays
        state = create_train_state(key, variables, tx)
        for _ in range(2):
            state, _ = update(state, line_batch())
    np.testing.assert_array_equal(variables["params"]["w"], 0)
    np.testing.assert_array_equal(variables["statistics"], 1)
    jax.random.normal(key)


def test_noise_follows_the_key_and_the_step(key):
    tx = optax.sgd(0.0)
    update = jax.jit(make_update(backprop(noisy_line), tx))

    def losses(key):
        state, losses = line_state(key, tx), []
        for _ in range(3):
            state, metrics = update(state, line_batch())
            losses.append(float(metrics["loss"]))
        return losses

    assert losses(key) == losses(key)
    assert len(set(losses(key))) == 3
    assert not set(losses(key)) & set(losses(jax.random.key(1)))


def test_resume_equals_no_interruption(key):
    tx = optax.adam(0.1)
    update = jax.jit(make_update(backprop(noisy_line), tx))

    def run(state, seeds):
        for seed in seeds:
            state, _ = update(state, line_batch(seed))
        return state

    def on_disk(leaf):
        return np.asarray(
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )

    whole = run(line_state(key, tx), range(6))
    leaves, structure = jax.tree.flatten(jax.tree.map(on_disk, run(line_state(key, tx), range(3))))
    loaded = jax.tree.unflatten(structure, leaves)
    loaded = jax.tree.map(jnp.asarray, loaded.replace(key=jax.random.wrap_key_data(loaded.key)))
    chex.assert_trees_all_equal(jax.tree.map(on_disk, run(loaded, range(3, 6))), jax.tree.map(on_disk, whole))


def test_more_arguments_travel_undifferentiated(key):
    def objective(params, model_state, teacher, batch, key):
        gap = params["w"] - teacher["w"]
        return jnp.sum(gap**2) + jnp.mean(batch["x"]) * 0, (model_state, {})

    tx = optax.sgd(0.5)
    teacher = {"w": jnp.asarray([1.0, 2.0, 3.0])}
    state, _ = jax.jit(make_update(backprop(objective), tx))(line_state(key, tx), teacher, line_batch())
    np.testing.assert_allclose(state.params["w"], teacher["w"])


def test_model_state_is_threaded_not_differentiated(key):
    def objective(params, model_state, batch, key):
        loss, (model_state, metrics) = line(params, model_state, batch, key)
        return loss, ({"count": model_state["count"] + 1}, metrics)

    tx = optax.sgd(0.1)
    state = line_state(key, tx, count=jnp.zeros((), jnp.int32))
    for _ in range(3):
        state, _ = make_update(backprop(objective), tx)(state, line_batch())
    assert state.model_state == {"count": 3}


def test_a_state_needs_parameters(key):
    with pytest.raises(ValueError, match='"params"'):
        create_train_state(key, {"batch_stats": {}}, optax.sgd(0.1))


def test_linen_with_batch_statistics_and_dropout(key):
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, *, train):
            x = linen.BatchNorm(use_running_average=not train, momentum=0.5)(linen.Dense(8)(x))
            return linen.Dense(1)(linen.Dropout(0.1, deterministic=not train)(linen.relu(x)))

    def objective(params, model_state, batch, key):
        variables = {"params": params, **model_state}
        prediction, model_state = Net().apply(
            variables, batch["x"], train=True, mutable=list(model_state), rngs={"dropout": key}
        )
        return jnp.mean((prediction[:, 0] - batch["y"]) ** 2), (model_state, {})

    tx, batch = optax.adam(0.03), line_batch(size=32)
    state = create_train_state(key, Net().init(key, batch["x"], train=False), tx)
    update, losses = jax.jit(make_update(backprop(objective), tx)), []
    for _ in range(80):
        state, metrics = update(state, batch)
        losses.append(metrics["loss"])
    assert np.mean(losses[-5:]) < 0.2 * losses[0]
    mean = state.model_state["batch_stats"]["BatchNorm_0"]["mean"]
    assert np.all(mean != 0)


def test_nnx_by_split_and_merge(key):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = nnx.Linear(3, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

        def __call__(self, x):
            return self.second(nnx.tanh(self.first(x)))

    graph, params = nnx.split(Net(nnx.Rngs(0)), nnx.Param)

    def objective(params, model_state, batch, key):
        prediction = nnx.merge(graph, params)(batch["x"])[:, 0]
        return jnp.mean((prediction - batch["y"]) ** 2), (model_state, {})

    tx = optax.adam(0.05)
    state = create_train_state(key, {"params": params}, tx)
    update = jax.jit(make_update(backprop(objective), tx), donate_argnums=0)
    for _ in range(60):
        state, metrics = update(state, line_batch())
    assert metrics["loss"] < 0.1


def test_norms_are_global_l2_norms_and_can_be_left_out(key):
    def objective(params, model_state, batch, key):
        return 3 * params["a"][0] + 4 * params["b"][0, 0], (model_state, {})

    tx = optax.sgd(0.1)
    state = create_train_state(key, {"params": {"a": jnp.ones(2), "b": jnp.ones((1, 1))}}, tx)
    with_norms, metrics = make_update(backprop(objective), tx)(state, None)
    np.testing.assert_allclose(metrics["grad_norm"], 5.0, rtol=1e-6)
    np.testing.assert_allclose(metrics["update_norm"], 0.5, rtol=1e-6)
    without, metrics = make_update(backprop(objective), tx, report_norms=False)(state, None)
    assert set(metrics) == {"loss"}
    chex.assert_trees_all_equal(with_norms, without)


def test_a_spoiled_model_state_goes_back_with_a_skipped_update(key):
    def objective(params, model_state, batch, key):
        loss = jnp.mean(params["w"] * batch)
        return loss, ({"mean": model_state["mean"] + jnp.mean(batch), "count": model_state["count"] + 1}, {})

    tx = optax.sgd(0.1)
    variables = {"params": {"w": jnp.ones(2)}, "mean": jnp.zeros(()), "count": jnp.zeros((), jnp.int32)}
    update = jax.jit(make_update(backprop(objective), tx, skip_nonfinite=True))
    state, metrics = update(create_train_state(key, variables, tx), jnp.array([1.0, jnp.inf]))
    assert float(metrics["skipped"]) == 1.0
    assert float(state.model_state["mean"]) == 0.0
    assert int(state.model_state["count"]) == 1
    state, metrics = update(state, jnp.array([1.0, 3.0]))
    assert float(metrics["skipped"]) == 0.0
    assert float(state.model_state["mean"]) == 2.0
