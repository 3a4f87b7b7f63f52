"""Where two names touch one idea, they agree; each docstring says when to take the other.

More of these stand beside what they share their data with: `sam` and `rules.sharpness_aware`, `accumulate` and
`train.microbatched`, `exponential_moving_average` and `train.make_target_step` in `test_wrappers.py`,
`max_norm_projection` and `nn.max_norm` in `test_constraints.py`, `freeze` and `train.freeze_parameters` in
`tests/train/test_transferring.py`, `coupled_l2` and `nn.l2_penalty` in `tests/nn/test_penalties.py`.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import nn, optim, train

DRAW = np.random.default_rng(0)
TREES = [
    {
        "a": jnp.asarray(DRAW.normal(size=(2, 3)), jnp.float32),
        "b": jnp.asarray(DRAW.normal(size=3), jnp.float32),
    }
    for _ in range(4)
]


def clipped(params):
    return jax.tree.map(lambda p: jnp.clip(p, -0.5, 0.5), params)


PAIRS = {
    "gradient_descent-sgd": (optim.gradient_descent(0.1), optim.sgd(0.1)),
    "momentum-sgd": (optim.momentum(0.1, 0.8), optim.sgd(0.1, 0.8)),
    "nesterov-sgd": (optim.nesterov(0.1, 0.8), optim.sgd(0.1, 0.8, nesterov=True)),
    "nadam-adam": (optim.nadam(0.1), optim.adam(0.1, nesterov=True)),
    "adamw-adam": (optim.adamw(0.1, weight_decay=0.0), optim.adam(0.1)),
    "ema_momentum-momentum": (optim.ema_momentum(0.5, 0.8), optim.momentum(0.1, 0.8)),
    "clip_by_group-clip_by_value": (optim.clip_by_group({"": 0.5}), optim.clip_by_value(0.5)),
    "clip_by_norm-clip_by_global_norm": (
        optim.clip_by_norm(0.5),
        optax.chain(*(optax.masked(optim.clip_by_global_norm(0.5), optim.path_mask(name)) for name in "ab")),
    ),
    "freeze-layerwise_learning_rates": (
        optax.chain(optim.adam(0.1), optim.freeze("a")),
        optax.chain(optim.adam(0.1), optim.layerwise_learning_rates({"a": 0.0})),
    ),
    "projected_gradient-weight_clipping": (
        optim.projected_gradient(0.1, clipped),
        optax.chain(optim.gradient_descent(0.1), optim.weight_clipping(0.5)),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_two_names_of_one_algorithm(pair):
    ends = []
    for tx in PAIRS[pair]:
        params, state = TREES[0], tx.init(TREES[0])
        for grads in TREES[1:]:
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        ends.append(params)
    chex.assert_trees_all_close(*ends, rtol=2e-6, atol=1e-7)
    assert float(jnp.abs(ends[0]["b"] - TREES[0]["b"]).max()) > 0.05


def linear(params, model_state, batch, key):
    return jnp.vdot(batch, jnp.tanh(params)), (model_state, {})


def test_skipped_updates():
    """Up to the limit the wrapper and the step leave out the same; beyond it the wrapper gives up."""
    batches = DRAW.normal(size=(9, 3)).astype(np.float32)
    batches[[1, 4, 5, 8], [0, 2, 1, 0]] = np.nan, np.inf, np.nan, np.nan

    def trained(tx, batches, **settings):
        update = train.make_update(train.backprop(linear), tx, **settings)
        state = train.create_train_state(jax.random.key(0), {"params": jnp.ones(3)}, tx)
        return jax.lax.scan(update, state, batches)

    wrapped = optim.skip_nonfinite(optim.adam(0.1), 2)

    @jax.jit
    def both(batches):
        return trained(wrapped, batches), trained(optim.adam(0.1), batches, skip_nonfinite=True)

    (by_tx, _), (by_step, metrics) = both(batches)
    chex.assert_trees_all_close(by_tx.params, by_step.params, rtol=1e-6)
    chex.assert_trees_all_close(by_tx.opt_state.inner, by_step.opt_state, rtol=1e-6)
    assert int(by_tx.opt_state.total) == int(metrics["skipped"].sum()) == 4
    batches[6] = np.nan
    (by_tx, _), (by_step, metrics) = both(batches)
    assert bool(jnp.isnan(by_tx.params).any())  # three in a row
    assert bool(jnp.isfinite(by_step.params).all())
    assert int(metrics["skipped"].sum()) == 5


def test_clipping_of_parameters_and_of_what_flows_back():
    """Around the parameters themselves the identity that clips its gradient is the link that does."""
    x = DRAW.normal(size=(5, 2)).astype(np.float32)

    def loss(params):
        return jnp.sum(jnp.square(x @ params["a"] + params["b"][None]))

    free = jax.grad(loss)(TREES[0])
    inside = jax.grad(lambda p: loss(jax.tree.map(lambda w: nn.gradient_clip_identity(w, 3.0), p)))(TREES[0])
    tx = optim.clip_by_value(3.0)
    chex.assert_trees_all_equal(inside, tx.update(free, tx.init(free))[0])
    sizes = [float(jnp.abs(g).max()) for g in (free["a"], inside["a"])]
    assert sizes[0] > 3 == sizes[1]


@functools.cache
def bowl():
    root = np.random.default_rng(1).normal(size=(6, 6))
    matrix = jnp.asarray(root @ root.T / 6 + np.eye(6), jnp.float32)

    def value_fn(params):
        x = jnp.concatenate([jnp.ravel(p) for p in params.values()])
        return jnp.vdot(x - 1, matrix @ (x - 1)) / 2

    return value_fn


@pytest.mark.slow
def test_minimize_makes_the_steps_of_an_update(optimizer):
    """Every optimizer of the table under `minimize` and under `train.make_update` at one batch over and over."""
    tx, value_fn = optimizer.ours(0.02), bowl()
    start = {"w": jnp.linspace(-1, 2, 4).reshape(2, 2), "b": jnp.array([0.3, -0.4])}
    update = train.make_update(
        train.backprop(lambda params, model_state, batch, key: (value_fn(params), (model_state, {}))), tx
    )

    @jax.jit
    def both(start):
        end = optim.minimize(value_fn, start, tx, max_iterations=20, tolerance=0.0)
        state = train.create_train_state(jax.random.key(0), {"params": start}, tx)

        def body(state, _):
            state, metrics = update(state, None)
            return state, (state.params, metrics["loss"])

        return end, jax.lax.scan(body, state, length=20)

    end, (state, (path, losses)) = both(start)
    assert int(end.iterations) == 20
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1:], end.trajectory), path, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[0], end.trajectory), start)
    np.testing.assert_allclose(end.values[:-1], losses, rtol=1e-4)
    chex.assert_trees_all_close(end.params, state.params, rtol=1e-4, atol=1e-5)
    assert float(end.value) < float(end.values[0])
