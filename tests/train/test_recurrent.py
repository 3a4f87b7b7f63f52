"""Truncated BPTT against published numbers, full BPTT and gradients taken window by window."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.train.gradients import backprop
from jaxdl.train.recurrent import make_truncated_bptt_step
from jaxdl.train.state import create_train_state


def unit(params, model_state, batch, key):
    """h_t = tanh(w h_{t-1} + v x_t + b) with the loss mean h_t^2 / 2 over batch [B, T]."""
    del key

    def cell(h, x):
        h = jnp.tanh(params["w"] * h + params["v"] * x + params["b"])
        return h, h

    carry, h = jax.lax.scan(cell, model_state["carry"], batch["x"].T)
    return 0.5 * jnp.mean(h**2), (model_state | {"carry": carry}, {"last": carry.mean()})


def unit_state(key, tx, batch_size=1):
    params = {name: jnp.asarray(value, float) for name, value in {"w": 0.5, "v": 1.0, "b": 0.0}.items()}
    return create_train_state(key, {"params": params, "carry": jnp.zeros(batch_size)}, tx)


@pytest.mark.parametrize(
    ("window", "gradient"),
    [
        pytest.param(3, [-0.3521602201, 0.6702013266, 0.1544419705], id="002-D5-full"),
        pytest.param(7, [-0.3521602201, 0.6702013266, 0.1544419705], id="002-D5-longer"),
        pytest.param(2, [-0.4079431353, 0.7280657658, 0.0658165375], id="002-D5-segments-of-2"),
        pytest.param(1, [-0.4079431353, 0.8086331067, 0.1463838783], id="002-D5-segments-of-1"),
    ],
)
def test_published_gradients(window, gradient):
    with jax.enable_x64(True):
        tx = optax.sgd(1.0)  # so that the update is minus the gradient, of the mean over T = 3
        step = jax.jit(make_truncated_bptt_step(backprop(unit), tx, window=window, accumulate=True))
        state = unit_state(jax.random.key(0), tx)
        after, metrics = step(state, {"x": jnp.asarray([[1.0, -1.0, 0.5]])})
        got = [3 * (state.params[name] - after.params[name]) for name in ("w", "v", "b")]
        np.testing.assert_allclose(got, gradient, atol=1e-10)
        np.testing.assert_allclose(3 * metrics["loss"], 0.4659998814, atol=1e-10)
        np.testing.assert_allclose(after.model_state["carry"], [0.2210060678], atol=1e-10)
        assert after.step == 1


def test_update_per_window_equals_updates_by_hand(key):
    """T = 7 in windows of 3: two full ones and one of 1."""
    tx, x = optax.sgd(0.1, momentum=0.9), jax.random.normal(key, (2, 7))
    state = unit_state(key, tx, 2)
    step = jax.jit(make_truncated_bptt_step(backprop(unit), tx, window=3))
    after, metrics = step(state, {"x": x})
    params, opt_state, model_state, losses = state.params, state.opt_state, state.model_state, []
    for window in (x[:, :3], x[:, 3:6], x[:, 6:]):
        (loss, (model_state, _)), grads = backprop(unit)(params, model_state, {"x": window}, None)
        updates, opt_state = tx.update(grads, opt_state, params)
        params, losses = optax.apply_updates(params, updates), [*losses, loss]
    chex.assert_trees_all_close((after.params, after.opt_state), (params, opt_state), rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], np.dot(losses, [3, 3, 1]) / 7, rtol=1e-6)
    assert after.step == 3


@pytest.mark.parametrize("accumulate", [False, True])
def test_a_window_of_the_whole_sequence_is_full_bptt(key, accumulate):
    tx, batch = optax.sgd(0.1), {"x": jax.random.normal(key, (4, 5))}
    state = unit_state(key, tx, 4)
    step = make_truncated_bptt_step(backprop(unit), tx, window=5, accumulate=accumulate)
    grads = backprop(unit)(state.params, state.model_state, batch, None)[1]
    want = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, grads)
    chex.assert_trees_all_close(step(state, batch)[0].params, want, rtol=1e-6)


@pytest.mark.parametrize("accumulate", [False, True])
def test_carry_starts_at_zero_or_goes_on(key, accumulate):
    tx, batch = optax.sgd(0.0), {"x": jnp.asarray([[0.3, 0.2]])}
    reset, kept = (
        make_truncated_bptt_step(backprop(unit), tx, window=1, accumulate=accumulate, stateful=stateful)
        for stateful in (False, True)
    )
    state = unit_state(key, tx)
    once, first = reset(state, batch)
    _, again = reset(once, batch)
    assert again["loss"] == first["loss"]
    twice, _ = kept(kept(state, batch)[0], batch)
    both = {"x": jnp.concatenate([batch["x"]] * 2, axis=1)}
    want, _ = reset(state, both)
    np.testing.assert_allclose(twice.model_state["carry"], want.model_state["carry"], rtol=1e-6)
    assert np.abs(twice.model_state["carry"] - once.model_state["carry"]) > 1e-2


def test_gradient_stops_at_the_border(key):
    """With windows of 1 the gradient of the recurrent weight is that of h_{t-1} held constant."""
    tx, x = optax.sgd(1.0), jnp.asarray([[0.3, -0.7]])
    state = unit_state(key, tx)
    step = make_truncated_bptt_step(backprop(unit), tx, window=1, accumulate=True)
    after, _ = step(state, {"x": x})
    h1 = np.tanh(0.3)
    h2 = np.tanh(0.5 * h1 - 0.7)
    np.testing.assert_allclose(state.params["w"] - after.params["w"], h2 * (1 - h2**2) * h1 / 2, rtol=1e-5)


def test_windows_draw_their_own_noise_and_keep_the_last_learning_rate(key):
    def objective(params, model_state, batch, key):
        return params * jax.random.normal(key), (model_state, {"noise": jax.random.normal(key)})

    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    state = create_train_state(key, {"params": jnp.ones(()), "carry": jnp.zeros(1)}, tx)
    for accumulate in (False, True):
        step = make_truncated_bptt_step(backprop(objective), tx, window=2, accumulate=accumulate)
        seen = [float(step(state, jnp.zeros((1, length)))[1]["noise"]) for length in (2, 4)]
        assert seen[0] != seen[1]
        np.testing.assert_allclose(step(state, jnp.zeros((1, 4)))[1]["learning_rate"], 0.1, rtol=1e-6)


@pytest.mark.parametrize("accumulate", [False, True])
def test_learns_to_recall_the_symbol_of_two_steps_before(key, accumulate):
    """Windows of 5 hold the delay of 2; chance is log 2 = 0.69 nats."""
    hidden = 16

    def objective(params, model_state, batch, key):
        def cell(h, x):
            h = jnp.tanh(x[:, None] * params["input"] + h @ params["recurrent"])
            return h, h @ params["output"]

        carry, logits = jax.lax.scan(cell, model_state["carry"], batch["x"].T)
        loss = optax.sigmoid_binary_cross_entropy(logits.T, batch["y"])
        return loss.mean(), ({"carry": carry}, {})

    shapes = {"input": (1, hidden), "recurrent": (hidden, hidden), "output": (hidden,)}
    params = {
        name: 0.3 * jax.random.normal(jax.random.fold_in(key, i), shape)
        for i, (name, shape) in enumerate(shapes.items())
    }
    tx = optax.adam(0.01)
    state = create_train_state(key, {"params": params, "carry": jnp.zeros((16, hidden))}, tx)
    step = jax.jit(make_truncated_bptt_step(backprop(objective), tx, window=5, accumulate=accumulate))
    rng = np.random.default_rng(0)
    for _ in range(400 if accumulate else 120):
        bits = rng.integers(0, 2, (16, 24))
        batch = {"x": jnp.asarray(2.0 * bits[:, 2:] - 1), "y": jnp.asarray(bits[:, :-2], jnp.float32)}
        state, metrics = step(state, batch)
    # The first two symbols of a sequence cannot be known: 2 log 2 / 22 remain.
    assert metrics["loss"] < 2 * np.log(2) / 22 + 0.05


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        pytest.param({"x": jnp.zeros(3)}, r"batch\['x'\] must have shape \[B, T", id="rank"),
        pytest.param({"x": jnp.zeros((1, 0))}, "T above 0", id="empty"),
        pytest.param({"x": jnp.zeros((1, 4)), "y": jnp.zeros((1, 3))}, "first 2 axes", id="length"),
    ],
)
def test_rejects_batches_that_are_not_sequences(key, batch, message):
    step = make_truncated_bptt_step(backprop(unit), optax.sgd(0.1), window=2)
    with pytest.raises(ValueError, match=message):
        step(unit_state(key, optax.sgd(0.1)), batch)


def test_rejects_bad_settings(key):
    with pytest.raises(ValueError, match="window must be at least 1"):
        make_truncated_bptt_step(backprop(unit), optax.sgd(0.1), window=0)
    state = create_train_state(key, {"params": jnp.ones(())}, optax.sgd(0.1))
    step = make_truncated_bptt_step(backprop(unit), optax.sgd(0.1), window=2)
    with pytest.raises(ValueError, match='"carry"'):
        step(state, {"x": jnp.zeros((1, 4))})


def test_compiles_once_and_can_be_donated(key):
    chex.clear_trace_counter()
    tx = optax.adam(0.1)
    step = make_truncated_bptt_step(backprop(unit), tx, window=2)
    step = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)
    state = unit_state(key, tx)
    for _ in range(3):
        state, _ = step(state, {"x": jnp.ones((1, 5))})
    assert state.step == 9
