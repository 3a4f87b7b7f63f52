"""What all rules share: the signature of an estimator, compiled as well as not, and many seeds in one program."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim, rules, train

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(8, 3)), jnp.float32)
BITS = (X > 0).astype(jnp.float32)
SIGNS = jnp.asarray(RNG.choice([-1.0, 1.0], size=(8, 2)), jnp.float32)
CLASSES = jnp.asarray(RNG.integers(0, 2, 8))
STEP = {"step": jnp.zeros((), jnp.int32)}
PLACES = [[0], [1], [2], [3]]


def dense(key, *widths, bias=True):
    keys = jax.random.split(key, 2 * len(widths)).reshape(-1, 2)
    return {
        f"Dense_{i}": {"kernel": jax.random.normal(keys[i, 0], (n, m))}
        | ({"bias": jax.random.normal(keys[i, 1], (m,))} if bias else {})
        for i, (n, m) in enumerate(itertools.pairwise(widths))
    }


def layer(key):
    return dense(key, 3, 2)


def no_bias(key):
    return dense(key, 3, 2, bias=False)


def net(key):
    return dense(key, 3, 4, 2)


def units(key):
    return {"weights": jax.random.normal(key, (4, 3))}


def machine(key):
    return {"w": jax.random.normal(key, (3, 2)), "b": jnp.zeros(3), "c": jnp.zeros(2)}


def free_energy(params, v):
    return -v @ params["b"] - jnp.sum(jax.nn.softplus(v @ params["w"] + params["c"][None]), axis=1)


def sweep(params, v, key):
    keys = jax.random.split(key)
    h = jax.random.bernoulli(keys[0], jax.nn.sigmoid(v @ params["w"] + params["c"][None])).astype(v.dtype)
    return jax.random.bernoulli(keys[1], jax.nn.sigmoid(h @ params["w"].T + params["b"][None])).astype(
        v.dtype
    )


def objective(params, model_state, batch, key):
    noise = jax.random.normal(key, batch["y"].shape)
    outputs = batch["x"] @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]
    return jnp.mean((outputs - batch["y"] + 0.1 * noise) ** 2), (model_state, {"largest": jnp.max(outputs)})


def stack(key):
    first, second = jax.random.split(key)
    return {"first": dense(first, 3, 3, bias=False), "second": dense(second, 3, 2, bias=False)}


OJA = rules.oja_rule(reduction="mean")
STACK = rules.greedy_layerwise({name: (OJA, lambda params, batch: batch) for name in ("first", "second")}, 2)
CD = rules.contrastive_divergence(free_energy, sweep, k=2)
PCD = rules.persistent_contrastive_divergence(free_energy, sweep)

# rule, parameters from a key, model state, batch
RULES = {
    "perceptron_rule": (rules.perceptron_rule(), layer, {}, {"x": X, "y": SIGNS}),
    "delta_rule": (rules.delta_rule(), layer, {}, {"x": X, "y": SIGNS}),
    "manual_backprop": (rules.manual_backprop(), net, {}, {"x": X, "y": SIGNS}),
    "hebbian_rule": (rules.hebbian_rule(), layer, {}, {"x": X}),
    "oja_rule": (OJA, no_bias, {}, {"x": X}),
    "competitive_rule": (rules.competitive_rule(loser_rate=0.1), units, {}, {"x": X}),
    "kohonen_rule": (rules.kohonen_rule(PLACES, lambda step: 2 * 0.5**step), units, STEP, {"x": X}),
    "lvq_rule": (rules.lvq_rule([0, 1, 0, 1]), units, {}, {"x": X, "y": CLASSES}),
    "contrastive_divergence": (CD, machine, {}, {"x": BITS}),
    "persistent_contrastive_divergence": (PCD, machine, {"chain": BITS[:5]}, {"x": BITS}),
    "evolution_gradient": (
        rules.evolution_gradient(objective, num_directions=3),
        layer,
        {},
        {"x": X, "y": SIGNS},
    ),
    "sharpness_aware": (rules.sharpness_aware(train.backprop(objective)), layer, {}, {"x": X, "y": SIGNS}),
    "greedy_layerwise": (STACK, stack, STEP, {"x": X}),
}
every_rule = pytest.mark.parametrize("name", list(RULES))


def test_every_rule_is_here():
    assert sorted(RULES) == rules.__all__


@every_rule
def test_compiled_equals_eager_and_has_the_shapes_of_an_estimator(name, key):
    rule, make, model_state, batch = RULES[name]
    params = make(jax.random.key(1))
    (loss, (state, metrics)), grads = eager = rule(params, model_state, batch, key)
    chex.assert_trees_all_close(jax.jit(rule)(params, model_state, batch, key), eager, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, model_state)
    for value in (loss, *metrics.values()):
        assert value.dtype == jnp.float32
        assert value.shape == ()
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) > 0


@every_rule
def test_seeds_in_one_program_equal_one_after_the_other(name):
    """Three updates of the ordinary update from three seeds, traced once."""
    rule, make, model_state, batch = RULES[name]
    tx = optim.gradient_descent(0.01)
    traces = []

    def counted(*args):
        traces.append(1)
        return rule(*args)

    def create(key):
        return train.create_train_state(key, {"params": make(key), **model_state}, tx)

    steps = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape)), batch)
    keys = jax.random.split(jax.random.key(2), 3)
    step = jax.jit(train.scan_steps(train.population_step(train.make_update(counted, tx)), 3))
    together, metrics = step(jax.vmap(create)(keys), steps)
    count = len(traces)
    step(together, steps)
    assert len(traces) == count
    alone = jax.jit(train.make_update(rule, tx))
    for i in range(3):
        state, losses = create(keys[i]), []
        for _ in range(3):
            state, reported = alone(state, batch)
            losses.append(reported["loss"])
        member = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        chex.assert_trees_all_close(
            (member.params, member.model_state), (state.params, state.model_state), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(metrics["loss"][i], np.mean(losses), rtol=1e-5, atol=1e-6)
    assert not np.allclose(jax.tree.leaves(together.params)[0][0], jax.tree.leaves(together.params)[0][1])
