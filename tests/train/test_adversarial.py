"""Alternating updates: who moves, who does not, how often, and that it learns."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.train.adversarial import AdversarialState, make_adversarial_step, unrolled
from jaxdl.train.gradients import backprop
from jaxdl.train.state import create_train_state
from jaxdl.train.target import create_target_state, make_target_step
from jaxdl.train.update import make_update

SIZE = 64


def sample(params, key):
    return params["mean"] + params["scale"] * jax.random.normal(key, (SIZE,))


def features(x):
    return jnp.stack([x, x**2], axis=-1)


def score(params, x):
    return features(x) @ params["w"] + params["b"]


def discriminator_objective(params, model_state, generator, batch, key):
    fake = sample(generator.params, key)
    loss = jax.nn.softplus(-score(params, batch)) + jax.nn.softplus(score(params, fake))
    return loss.mean() + 0.05 * jnp.sum(params["w"] ** 2), (model_state, {})


def generator_objective(params, model_state, discriminator, batch, key):
    return jax.nn.softplus(-score(discriminator.params, sample(params, key))).mean(), (model_state, {})


def critic_objective(params, model_state, generator, batch, key):
    """Wasserstein critic with a zero-centred penalty on its slope between the two distributions."""
    fake = sample(generator.params, key)
    between = 0.5 * (fake + batch)
    slope = jax.vmap(jax.grad(lambda x: score(params, x)))(between)
    value = score(params, fake).mean() - score(params, batch).mean()
    return value + 0.5 * jnp.mean(slope**2), (model_state, {})


def wasserstein_objective(params, model_state, critic, batch, key):
    return -score(critic.params, sample(params, key)).mean(), (model_state, {})


def two_states(key, generator_tx, discriminator_tx):
    g, d = jax.random.split(key)
    generator = {"mean": jnp.zeros(()), "scale": jnp.ones(())}
    discriminator = {"w": jnp.zeros(2), "b": jnp.zeros(())}
    return AdversarialState(
        create_train_state(g, {"params": generator}, generator_tx),
        create_train_state(d, {"params": discriminator}, discriminator_tx),
    )


def real(rng, *lead):
    return jnp.asarray(2 + 0.5 * rng.normal(size=(*lead, SIZE)), jnp.float32)


@pytest.mark.parametrize(
    ("objectives", "k"),
    [
        pytest.param((discriminator_objective, generator_objective), 1, id="gan"),
        pytest.param((critic_objective, wasserstein_objective), 5, id="wasserstein-k5"),
    ],
)
def test_generator_finds_the_mean_of_the_data(key, objectives, k):
    txs = optax.adam(0.03, b1=0.5), optax.adam(0.03, b1=0.5)
    updates = [make_update(backprop(o), tx) for o, tx in zip(objectives, reversed(txs))]
    step = jax.jit(make_adversarial_step(*updates, discriminator_steps=k), donate_argnums=0)
    state, rng, means = two_states(key, *txs), np.random.default_rng(0), []
    for i in range(500):
        state, metrics = step(state, real(rng, k) if k > 1 else real(rng))
        if i >= 300:
            means.append(float(state.generator.params["mean"]))
    np.testing.assert_allclose(np.mean(means), 2, atol=0.15)
    assert state.discriminator.step == 500 * k
    assert state.generator.step == 500
    assert {"discriminator/loss", "generator/loss", "generator/grad_norm"} <= set(metrics)


def test_opponents_do_not_move(key):
    """Each side's parameters change by its own update and by nothing else."""
    tx = optax.sgd(0.1)
    state, batch = two_states(key, tx, tx), jnp.linspace(0, 1, SIZE)
    update_d, update_g = (
        make_update(backprop(o), tx) for o in (discriminator_objective, generator_objective)
    )
    after, _ = make_adversarial_step(update_d, update_g)(state, batch)
    discriminator, _ = update_d(state.discriminator, state.generator, batch)
    generator, _ = update_g(state.generator, discriminator, batch)
    chex.assert_trees_all_close(after.discriminator.params, discriminator.params, rtol=1e-6)
    chex.assert_trees_all_close(after.generator.params, generator.params, rtol=1e-6)
    frozen = lambda state, opponent, batch: (state, {"loss": jnp.zeros(())})  # noqa: E731
    after, _ = make_adversarial_step(frozen, update_g)(state, batch)
    chex.assert_trees_all_equal(after.discriminator.params, state.discriminator.params)
    after, _ = make_adversarial_step(update_d, frozen)(state, batch)
    chex.assert_trees_all_equal(after.generator.params, state.generator.params)


def recorder(name):
    """An update that adds its batch to a list of what it saw and of the opponent's count."""

    def update(state, opponent, batch):
        seen = state["seen"].at[state["count"]].set(batch)
        met = state["met"].at[state["count"]].set(opponent["count"])
        state = {"seen": seen, "met": met, "count": state["count"] + 1}
        return state, {"batch": batch, "learning_rate": batch}

    return update


@pytest.mark.parametrize(
    ("k", "m", "d_batches", "g_batches"),
    [
        (3, 1, [0, 1, 2], [2]),
        (1, 2, [0], [0, 1]),
        (3, 2, [0, 1, 2], [1, 2]),
        (4, 4, [0, 1, 2, 3], [0, 1, 2, 3]),
    ],
)
def test_schedule(k, m, d_batches, g_batches):
    def empty():
        return {"seen": jnp.full(6, -1.0), "met": jnp.full(6, -1), "count": jnp.zeros((), jnp.int32)}

    step = make_adversarial_step(recorder("d"), recorder("g"), discriminator_steps=k, generator_steps=m)
    state, metrics = jax.jit(step)(AdversarialState(empty(), empty()), jnp.arange(float(max(k, m))))
    np.testing.assert_array_equal(state.discriminator["seen"][:k], d_batches)
    np.testing.assert_array_equal(state.generator["seen"][:m], g_batches)
    np.testing.assert_array_equal(state.discriminator["met"][:k], 0)
    np.testing.assert_array_equal(state.generator["met"][:m], k)
    assert state.discriminator["count"] == k
    assert state.generator["count"] == m
    np.testing.assert_allclose(metrics["discriminator/batch"], np.mean(d_batches))
    np.testing.assert_allclose(metrics["generator/learning_rate"], g_batches[-1])


def test_several_networks_on_a_side(key):
    """Two discriminators with optimizers of their own, and one generator that both judge."""
    tx, slow = optax.sgd(0.1), optax.sgd(0.01)
    state, batch = two_states(key, tx, tx), jnp.linspace(0, 1, SIZE)
    discriminators = {
        name: create_train_state(jax.random.key(i), {"params": state.discriminator.params}, tx)
        for i, name in enumerate(["fast", "slow"])
    }
    updates = {
        "fast": make_update(backprop(discriminator_objective), tx),
        "slow": make_update(backprop(discriminator_objective), slow),
    }

    def against_both(params, model_state, opponents, batch, key):
        losses = [generator_objective(params, {}, d, batch, key)[0] for d in opponents.values()]
        return sum(losses), (model_state, {})

    step = make_adversarial_step(updates, make_update(backprop(against_both), tx), discriminator_steps=2)
    after, metrics = jax.jit(step)(AdversarialState(state.generator, discriminators), jnp.stack([batch] * 2))
    for name in updates:
        alone = discriminators[name]
        for _ in range(2):
            alone, _ = updates[name](alone, state.generator, batch)
        chex.assert_trees_all_close(after.discriminator[name].params, alone.params, rtol=1e-5)
    assert {"discriminator/fast/loss", "discriminator/slow/loss", "generator/loss"} <= set(metrics)
    assert after.generator.params["mean"] != 0


def test_a_generator_with_an_average_of_itself(key):
    tx = optax.sgd(0.1)
    state, batch = two_states(key, tx, tx), jnp.linspace(0, 1, SIZE)
    update = make_update(backprop(generator_objective), tx)
    averaged = make_target_step(lambda online, _, *args: update(online, *args), 0.25)
    watch = make_update(backprop(discriminator_objective), tx)
    step = make_adversarial_step(lambda d, g, batch: watch(d, g.online, batch), averaged)
    after, _ = step(AdversarialState(create_target_state(state.generator), state.discriminator), batch)
    want = jax.tree.map(
        lambda old, new: 0.75 * old + 0.25 * new, state.generator.params, after.generator.online.params
    )
    chex.assert_trees_all_close(after.generator.target, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("tx", "num_steps", "indirect"),
    [
        pytest.param(optax.sgd(0.5), 0, 0, id="0"),
        pytest.param(optax.sgd(0.5), 3, 1e-4, id="sgd-3"),
        pytest.param(optax.adam(0.1, eps_root=1e-8), 1, 1e-6, id="adam-1"),
    ],
)
def test_unrolled_gradient_equals_finite_differences(tx, num_steps, indirect):
    with jax.enable_x64(True):
        params = {"w": jnp.asarray([0.3, -0.2]), "b": jnp.full((), 0.1)}
        discriminator = create_train_state(jax.random.key(3), {"params": params}, tx)
        batch, key = 2 + jnp.linspace(-1, 1, SIZE), jax.random.key(5)
        update = make_update(backprop(discriminator_objective), tx)
        objective = unrolled(generator_objective, update, num_steps)

        def generator(mean):
            return {"mean": mean, "scale": jnp.full((), 0.7)}

        @jax.jit
        def loss(mean):
            return objective(generator(mean), {}, discriminator, batch, key)[0]

        h = 1e-5
        got = jax.grad(loss)(0.4)
        np.testing.assert_allclose(got, (loss(0.4 + h) - loss(0.4 - h)) / (2 * h), rtol=1e-7)

        # Against the same discriminator held still, the gradient is another one.
        opponent = create_train_state(key, {"params": generator(jnp.full((), 0.4))}, optax.sgd(0.1))
        ahead = discriminator
        for _ in range(num_steps):
            ahead, _ = jax.jit(update)(ahead, opponent, batch)
        inner = jax.random.split(key)[0]
        direct = jax.grad(lambda mean: generator_objective(generator(mean), {}, ahead, batch, inner)[0])(0.4)
        if num_steps == 0:
            np.testing.assert_allclose(got, direct, rtol=1e-12)
        else:
            assert abs(got - direct) > indirect


def test_unrolled_step_learns_and_moves_the_discriminator_once(key):
    txs = optax.adam(0.03, b1=0.5), optax.sgd(0.1)
    update_d = make_update(backprop(discriminator_objective), txs[1])
    update_g = make_update(backprop(unrolled(generator_objective, update_d, 3)), txs[0])
    step = jax.jit(make_adversarial_step(update_d, update_g))
    state, batch = two_states(key, *txs), real(np.random.default_rng(0))
    after, _ = step(state, batch)
    want, _ = update_d(state.discriminator, state.generator, batch)
    chex.assert_trees_all_close(after.discriminator.params, want.params, rtol=1e-6)
    assert after.discriminator.step == 1
    rng, means = np.random.default_rng(0), []
    for i in range(300):
        state, _ = step(state, real(rng))
        if i >= 200:
            means.append(float(state.generator.params["mean"]))
    np.testing.assert_allclose(np.mean(means), 2, atol=0.15)


def test_rejects_bad_settings(key):
    tx = optax.sgd(0.1)
    state = two_states(key, tx, tx)
    update = make_update(backprop(discriminator_objective), tx)
    with pytest.raises(ValueError, match="discriminator_steps must be at least 1"):
        make_adversarial_step(update, update, discriminator_steps=0)
    with pytest.raises(ValueError, match="3 batches on the leading axis"):
        make_adversarial_step(update, update, discriminator_steps=3)(state, jnp.zeros((2, SIZE)))
    with pytest.raises(ValueError, match=r"names of the updates, \['a'\]"):
        make_adversarial_step({"a": update}, update)(state, jnp.zeros(SIZE))
    with pytest.raises(ValueError, match="num_steps must be at least 0"):
        unrolled(generator_objective, update, -1)


def test_compiles_once(key):
    chex.clear_trace_counter()
    tx = optax.adam(0.1)
    step = make_adversarial_step(
        make_update(backprop(discriminator_objective), tx),
        make_update(backprop(generator_objective), tx),
        discriminator_steps=2,
    )
    step = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)
    state = two_states(key, tx, tx)
    for _ in range(3):
        state, _ = step(state, jnp.zeros((2, SIZE)))
