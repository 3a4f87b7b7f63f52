"""Contrastive divergence on a small restricted Boltzmann machine, all of whose states can be enumerated."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim, rules, train

VISIBLE, HIDDEN = 4, 3
STATES = np.array(list(itertools.product((0.0, 1.0), repeat=VISIBLE)))
HIDDEN_STATES = np.array(list(itertools.product((0.0, 1.0), repeat=HIDDEN)))
RNG = np.random.default_rng(0)
PARAMS = {
    "kernel": RNG.normal(scale=1.0, size=(VISIBLE, HIDDEN)),
    "visible_bias": RNG.normal(scale=0.5, size=VISIBLE),
    "hidden_bias": RNG.normal(scale=0.5, size=HIDDEN),
}
PARAMS32 = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), PARAMS)
DATA = STATES[[1, 2, 4, 8, 1, 7, 15]]
BATCH = {"x": jnp.asarray(DATA, jnp.float32)}


def free_energy(params, v):
    net = v @ params["kernel"] + params["hidden_bias"][None]
    return -v @ params["visible_bias"] - jnp.sum(jax.nn.softplus(net), axis=1)


def gibbs_step(params, v, key):
    hidden_key, visible_key = jax.random.split(key)
    h = jax.nn.sigmoid(v @ params["kernel"] + params["hidden_bias"][None])
    h = jax.random.bernoulli(hidden_key, h).astype(v.dtype)
    v = jax.nn.sigmoid(h @ params["kernel"].T + params["visible_bias"][None])
    return jax.random.bernoulli(visible_key, v).astype(h.dtype)


# The same machine in NumPy, by its energy E(v, h) = -b v - c h - v W h alone.


def joint(params):
    """p(v, h) over all states, [2^V, 2^H]."""
    energy = (
        -(STATES @ params["visible_bias"])[:, None]
        - (HIDDEN_STATES @ params["hidden_bias"])[None]
        - STATES @ params["kernel"] @ HIDDEN_STATES.T
    )
    weights = np.exp(-energy)
    return weights / weights.sum()


def one_sweep(params):
    """Transition matrix of v -> h -> v', [2^V, 2^V]."""
    p = joint(params)
    to_hidden = p / p.sum(axis=1, keepdims=True)
    to_visible = (p / p.sum(axis=0, keepdims=True)).T
    return to_hidden @ to_visible


def statistics(params, weights):
    """-dF/dtheta averaged over visible states: <v h>, <v>, <h>, h by p(h | v)."""
    p = joint(params)
    mean_h = (p / p.sum(axis=1, keepdims=True)) @ HIDDEN_STATES
    return {
        "kernel": (STATES * weights[:, None]).T @ mean_h,
        "visible_bias": weights @ STATES,
        "hidden_bias": weights @ mean_h,
    }


def share(rows):
    return np.mean([(row == STATES).all(axis=1) for row in rows], axis=0)


def expected(params, rows, k):
    """The mean of the estimate with chains of k sweeps from the rows; k = None for their limit."""
    start = share(rows)
    end = joint(params).sum(axis=1) if k is None else start @ np.linalg.matrix_power(one_sweep(params), k)
    data, model = statistics(params, start), statistics(params, end)
    return {name: model[name] - data[name] for name in data}


def log_likelihood(params, rows):
    return float(share(rows) @ np.log(joint(params).sum(axis=1)))


@functools.cache
def estimates(which, k, count=4000):
    """Many independent estimates, leaves [count, ...]. A persistent chain starts far away and has run for a while."""
    keys = jax.random.split(jax.random.key(1), count)
    if which == "cd":
        rule = rules.contrastive_divergence(free_energy, gibbs_step, k=k)
        return jax.jit(jax.vmap(lambda key: rule(PARAMS32, {}, BATCH, key)[1]))(keys)
    rule = rules.persistent_contrastive_divergence(free_energy, gibbs_step, k=k)
    # Without an update between them, 31 calls are one chain of 31 k sweeps.
    tx = optim.gradient_descent(0.0)
    update = train.make_update(rule, tx)

    def last(key):
        state = train.create_train_state(key, {"params": PARAMS32, "chain": jnp.zeros((3, VISIBLE))}, tx)
        state, _ = jax.lax.scan(lambda state, _: (update(state, BATCH)[0], None), state, length=30)
        return rule(state.params, state.model_state, BATCH, key)[1]

    return jax.jit(jax.vmap(last))(keys)


def distances(estimates, want):
    """Of the mean of independent estimates from what it should be, in standard errors; and the largest error."""
    scores, errors = [], []
    for name in want:
        values = np.asarray(estimates[name], np.float64)
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        scores.append(np.ravel((values.mean(axis=0) - want[name]) / error))
        errors.append(np.ravel(error))
    return np.abs(np.concatenate(scores)), np.concatenate(errors).max()


# Of 19 normal scores the largest is above this once in 5,000 draws.
LIMIT = 4.4


def test_enumeration_agrees_with_itself():
    """The limit is the gradient of the log-likelihood, by differences of its enumerated values."""
    want = expected(PARAMS, DATA, None)
    for name, values in PARAMS.items():
        for index in np.ndindex(values.shape):
            step = np.zeros_like(values)
            step[index] = 1e-5
            up, down = (log_likelihood({**PARAMS, name: values + sign * step}, DATA) for sign in (1, -1))
            np.testing.assert_allclose(want[name][index], (down - up) / 2e-5, atol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 5, 40])
def test_expected_gradient_of_cd_k_is_that_of_k_exact_sweeps(k):
    scores, error = distances(estimates("cd", k), expected(PARAMS, DATA, k))
    assert scores.max() < LIMIT
    assert error < 0.006


@pytest.mark.parametrize(("which", "k"), [("cd", 40), ("pcd", 1), ("pcd", 2)])
def test_many_sweeps_give_the_gradient_of_the_log_likelihood(which, k):
    scores, error = distances(estimates(which, k), expected(PARAMS, DATA, None))
    assert scores.max() < LIMIT
    assert error < 0.006


def test_one_sweep_is_biased():
    """So the tests above would notice chains that are too short."""
    assert distances(estimates("cd", 1), expected(PARAMS, DATA, None))[0].max() > 10


@pytest.mark.parametrize("which", ["cd", "pcd"])
@pytest.mark.parametrize("k", [1, 3])
def test_estimate_equals_the_published_program_on_the_same_uniforms(which, k):
    """Hinton's program in NumPy: v -> h -> v' by comparison with uniforms, p(h | v) in both statistics."""
    chains = len(DATA) if which == "cd" else 3
    uniforms = RNG.uniform(size=(chains, HIDDEN)), RNG.uniform(size=(chains, VISIBLE))

    def sweep(params, v, key):
        del key
        h = (jax.nn.sigmoid(v @ params["kernel"] + params["hidden_bias"][None]) > uniforms[0]).astype(v.dtype)
        return jax.nn.sigmoid(h @ params["kernel"].T + params["visible_bias"][None]) > uniforms[1]

    with jax.enable_x64(True):
        start = DATA if which == "cd" else STATES[[3, 5, 11]]
        make = rules.contrastive_divergence if which == "cd" else rules.persistent_contrastive_divergence
        rule = make(free_energy, sweep, k=k)
        model_state = {} if which == "cd" else {"chain": jnp.asarray(start)}
        params = jax.tree.map(jnp.asarray, PARAMS)
        (loss, (model_state, metrics)), grads = rule(
            params, model_state, {"x": jnp.asarray(DATA)}, jax.random.key(0)
        )

        def sigmoid(z):
            return 1 / (1 + np.exp(-z))

        v, chain = start, [start]
        for _ in range(k):
            h = (sigmoid(v @ PARAMS["kernel"] + PARAMS["hidden_bias"]) > uniforms[0]) * 1.0
            v = (sigmoid(h @ PARAMS["kernel"].T + PARAMS["visible_bias"]) > uniforms[1]) * 1.0
            chain.append(v)
        hidden = [sigmoid(rows @ PARAMS["kernel"] + PARAMS["hidden_bias"]) for rows in (DATA, v)]
        want = {
            "kernel": v.T @ hidden[1] / len(v) - DATA.T @ hidden[0] / len(DATA),
            "visible_bias": v.mean(axis=0) - DATA.mean(axis=0),
            "hidden_bias": hidden[1].mean(axis=0) - hidden[0].mean(axis=0),
        }
        for name in want:
            np.testing.assert_allclose(grads[name], want[name], atol=1e-12)
        np.testing.assert_allclose(metrics["data_energy"] - metrics["sample_energy"], loss, atol=1e-12)
        if which == "cd":
            np.testing.assert_allclose(metrics["reconstruction_error"], np.mean((DATA - chain[1]) ** 2))
        else:
            np.testing.assert_array_equal(model_state["chain"], v)


@pytest.mark.parametrize("which", ["cd", "pcd"])
def test_learns_a_thermometer(which):
    """Five of sixteen patterns: the enumerated log-likelihood comes near its bound -log 5, from four seeds at once."""
    rows = STATES[[0, 1, 3, 7, 15]]
    make = rules.contrastive_divergence if which == "cd" else rules.persistent_contrastive_divergence
    tx = optim.gradient_descent(optim.exponential_decay(0.5, 800, 0.1))
    update = train.make_update(make(free_energy, gibbs_step), tx)

    def learn(key):
        start = jax.tree.map(lambda p: 0.1 * jax.random.normal(key, p.shape), PARAMS32)
        model_state = {} if which == "cd" else {"chain": jnp.zeros((50, VISIBLE))}
        state = train.create_train_state(key, {"params": start, **model_state}, tx)
        batch = {"x": jnp.asarray(np.repeat(rows, 10, axis=0), jnp.float32)}
        return jax.lax.scan(lambda state, _: (update(state, batch)[0], None), state, length=800)[0].params

    learned = jax.device_get(jax.jit(jax.vmap(learn))(jax.random.split(jax.random.key(0), 4)))
    for i in range(4):
        reached = log_likelihood(jax.tree.map(lambda p, i=i: p[i].astype(float), learned), rows)
        assert -np.log(5) > reached > -np.log(5) - 0.2


def call(
    make=rules.contrastive_divergence, x=(5, 4), energy=free_energy, state=None, dtype=jnp.float32, **settings
):
    rule = make(energy, gibbs_step, **settings)
    return rule(PARAMS32, state or {}, {"x": jnp.zeros(x, dtype)}, jax.random.key(0))


PCD = rules.persistent_contrastive_divergence


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: call(k=0), ValueError, "k must be at least 1, got 0"),
        (lambda: call(PCD, k=-1), ValueError, "k must be at least 1, got -1"),
        (lambda: call(x=(4,)), ValueError, r"inputs must have rank 2, got shape \(4,\)"),
        (lambda: call(dtype=jnp.int32), TypeError, "inputs must be floating point, got int32"),
        (
            lambda: call(energy=lambda params, v: jnp.sum(free_energy(params, v))),
            ValueError,
            r"free energy of the inputs must have shape \(5\), got \(\)",
        ),
        (lambda: call(PCD), ValueError, r'model_state must have a key "chain", got \[\]'),
        (
            lambda: call(PCD, state={"chain": jnp.zeros((2, 3))}),
            ValueError,
            r"chain must have shape \(any, 4\), got \(2, 3\)",
        ),
        (
            lambda: call(PCD, state={"chain": jnp.zeros((2, 4), jnp.int32)}),
            TypeError,
            "chain must be floating point, got int32",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
