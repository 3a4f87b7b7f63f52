"""Several steps as one, several networks as one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxdl.train.gradients import backprop
from jaxdl.train.state import create_train_state
from jaxdl.train.stepping import population_step, scan_steps
from jaxdl.train.update import make_update


class MLP(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(1)(jnp.tanh(linen.Dense(8)(x)))[..., 0]


class ConvNet(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(1)(linen.relu(linen.Conv(4, (3,))(x[..., None])).mean(axis=1))[..., 0]


def objective_of(net, noise=0.1):
    def objective(params, model_state, batch, key):
        target = batch["y"] + noise * jax.random.normal(key, batch["y"].shape)
        return jnp.mean((net.apply({"params": params}, batch["x"]) - target) ** 2), (model_state, {})

    return objective


def batches(num, size=16, features=4):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, size, features)).astype(np.float32)
    return {"x": jnp.asarray(x), "y": jnp.asarray(np.sin(x).sum(axis=-1))}


def create(net, key, tx):
    return create_train_state(key, net.init(key, jnp.zeros((1, 4))), tx)


def falling_rate():
    """Descent with the rate 0.1, 0.09, 0.08 ..., kept in the state."""

    def update_fn(updates, state, params=None):
        rate = state["learning_rate"] - 0.01
        return jax.tree.map(lambda u: -rate * u, updates), {"learning_rate": rate}

    return optax.GradientTransformation(
        lambda params: {"learning_rate": jnp.full((), 0.11, float)}, update_fn
    )


@pytest.mark.parametrize("net", [MLP(), ConvNet()], ids=["mlp", "convolutions"])
def test_scan_of_n_steps_equals_n_steps(key, net):
    tx = optax.chain(optax.trace(0.9), falling_rate())
    step = make_update(backprop(objective_of(net)), tx)
    single, many = jax.jit(step), jax.jit(scan_steps(step, 5))
    state, seen = create(net, key, tx), []
    for i in range(5):
        batch = jax.tree.map(lambda x, i=i: x[i], batches(5))
        state, metrics = single(state, batch)
        seen.append(metrics)
    after, metrics = many(create(net, key, tx), batches(5))
    # Bit for bit on CPU, where a loop's body compiles as a step does; elsewhere it may be fused differently.
    rtol, atol = (0, 0) if jax.default_backend() == "cpu" else (1e-5, 1e-6)
    chex.assert_trees_all_close(
        (after.params, after.opt_state), (state.params, state.opt_state), rtol=rtol, atol=atol
    )
    chex.assert_trees_all_equal(jax.random.key_data(after.key), jax.random.key_data(state.key))
    assert after.step == 5
    np.testing.assert_allclose(metrics["loss"], np.mean([m["loss"] for m in seen]), rtol=1e-5)
    np.testing.assert_allclose(metrics["learning_rate"], seen[-1]["learning_rate"], rtol=1e-6)


def test_scan_of_scans(key):
    tx = optax.sgd(0.1)
    step = make_update(backprop(objective_of(MLP())), tx)
    nested = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), batches(6))
    got, _ = jax.jit(scan_steps(scan_steps(step, 3), 2))(create(MLP(), key, tx), nested)
    want, _ = jax.jit(scan_steps(step, 6))(create(MLP(), key, tx), batches(6))
    chex.assert_trees_all_close(got.params, want.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("leaf", [jnp.zeros((2, 4)), jnp.zeros(())])
def test_scan_rejects_another_number_of_batches(leaf):
    with pytest.raises(ValueError, match="3 batches on the leading axis"):
        scan_steps(lambda state, batch: (state, {}), 3)(0, leaf)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        scan_steps(lambda state, batch: (state, {}), 0)


def test_scan_compiles_once(key):
    chex.clear_trace_counter()
    tx = optax.adam(0.1)
    step = scan_steps(make_update(backprop(objective_of(MLP())), tx), 3)
    step = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)
    state = create(MLP(), key, tx)
    for _ in range(3):
        state, _ = step(state, batches(3))


def test_hundred_seeds_equal_hundred_runs(key):
    tx = optax.adam(0.05)
    step = make_update(backprop(objective_of(MLP())), tx)
    keys = jax.random.split(key, 100)
    states = jax.jit(jax.vmap(lambda key: create(MLP(), key, tx)))(keys)
    single, many = jax.jit(scan_steps(step, 4)), jax.jit(scan_steps(population_step(step), 4))
    states, metrics = many(states, batches(4))
    assert metrics["loss"].shape == (100,)
    assert len(np.unique(metrics["loss"])) == 100
    for i in range(100):
        alone, alone_metrics = single(create(MLP(), keys[i], tx), batches(4))
        member = jax.tree.map(lambda x, i=i: x[i], states.params)
        chex.assert_trees_all_close(member, alone.params, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(metrics["loss"][i], alone_metrics["loss"], rtol=1e-4)


def scale_by_own_rate():
    """Descent with a rate that lies in the state, as an array."""
    return optax.GradientTransformation(
        lambda params: {"learning_rate": jnp.zeros(())},
        lambda updates, state, params=None: (
            jax.tree.map(lambda u: -state["learning_rate"] * u, updates),
            state,
        ),
    )


@pytest.mark.parametrize("where", ["injected", "own state"])
def test_many_learning_rates(key, where):
    rates = jnp.asarray([0.0, 0.01, 0.1, 0.3])
    inject = optax.inject_hyperparams(optax.sgd)
    tx = inject(learning_rate=0.0) if where == "injected" else scale_by_own_rate()

    def create_with(rate):
        if where == "injected":
            return create(MLP(), key, inject(learning_rate=rate))
        return create(MLP(), key, tx).replace(opt_state={"learning_rate": rate})

    states = jax.vmap(create_with)(rates)
    step = jax.jit(population_step(make_update(backprop(objective_of(MLP())), tx)))
    for i in range(3):
        states, metrics = step(states, jax.tree.map(lambda x, i=i: x[i], batches(3)))
    np.testing.assert_allclose(metrics["learning_rate"], rates, rtol=1e-6)
    for i, rate in enumerate(rates):
        plain = optax.sgd(float(rate))
        alone = create(MLP(), key, plain)
        for j in range(3):
            batch = jax.tree.map(lambda x, j=j: x[j], batches(3))
            alone, _ = make_update(backprop(objective_of(MLP())), plain)(alone, batch)
        member = jax.tree.map(lambda x, i=i: x[i], states.params)
        chex.assert_trees_all_close(member, alone.params, rtol=1e-4, atol=1e-6)


def test_each_member_may_have_its_own_batch(key):
    tx = optax.sgd(0.1)
    step = make_update(backprop(objective_of(MLP())), tx)
    states = jax.vmap(lambda key: create(MLP(), key, tx))(jnp.stack([key] * 3))
    states, _ = population_step(step, shared_batch=False)(states, batches(3))
    for i in range(3):
        alone, _ = step(create(MLP(), key, tx), jax.tree.map(lambda x, i=i: x[i], batches(3)))
        member = jax.tree.map(lambda x, i=i: x[i], states.params)
        chex.assert_trees_all_close(member, alone.params, rtol=1e-5, atol=1e-6)
