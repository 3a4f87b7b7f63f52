"""The rate that waits for the loss, against Optax and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim, train

DRAW = np.random.default_rng(0)
VALUES = np.concatenate(
    [1 / np.arange(1, 40), 0.03 + 1e-3 * DRAW.random(80), [np.nan], 0.02 - 1e-5 * np.arange(40)]
)


def scales(tx, read):
    def body(state, value):
        updates, state = tx.update(jnp.ones(2), state, value=value)
        return state, (read(state), updates[0])

    return jax.jit(lambda: jax.lax.scan(body, tx.init(jnp.ones(2)), jnp.asarray(VALUES, jnp.float32))[1])()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"factor": 0.5, "patience": 4, "cooldown": 3, "min_scale": 0.1}, id="cooldown"),
        pytest.param({"factor": 0.7, "patience": 2, "rtol": 0.0, "atol": 1e-3}, id="absolute"),
        pytest.param({"factor": 0.5, "patience": 2, "accumulation_size": 5}, id="means"),
    ],
)
def test_matches_optax_at_every_step(settings):
    got, updates = scales(optim.reduce_on_plateau(**settings), lambda state: state.scale)
    want, _ = scales(optax.contrib.reduce_on_plateau(**settings), lambda state: state.scale)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_array_equal(updates, got)
    assert len(set(np.asarray(got).tolist())) > 1


@pytest.mark.parametrize(("patience", "cooldown"), [(3, 0), (2, 4)])
def test_matches_torch_whose_patience_is_one_longer(patience, cooldown):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, cooldown=cooldown, threshold=1e-3, eps=0.0
    )
    want = []
    for value in VALUES.astype(np.float32):
        scheduler.step(float(value))
        want.append(scheduler.get_last_lr()[0])
    tx = optim.reduce_on_plateau(0.5, patience + 1, 1e-3, cooldown=cooldown)
    np.testing.assert_allclose(scales(tx, lambda state: state.scale)[0], want, rtol=1e-6)


def test_a_step_hands_it_the_loss():
    tx = optax.chain(optim.sgd(0.1), optim.reduce_on_plateau(0.5, patience=2))
    update = train.make_update(
        train.backprop(lambda p, model_state, batch, key: (batch * jnp.sum(p), (model_state, {}))), tx
    )
    state = train.create_train_state(jax.random.key(0), {"params": jnp.ones(1)}, tx)
    state, metrics = jax.jit(lambda s: jax.lax.scan(update, s, jnp.zeros(6)))(
        state
    )  # a loss that never moves
    assert float(optax.tree.get(state.opt_state, "scale")) == 0.25
    np.testing.assert_array_equal(metrics["learning_rate"], np.full(6, 0.1, np.float32))


def test_keeps_dtypes_and_asks_for_the_value():
    tx = optim.reduce_on_plateau(patience=1)
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}
    updates, _ = tx.update(params, tx.init(params), value=1.0)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {
        jnp.dtype(jnp.bfloat16),
        jnp.dtype(jnp.float32),
    }
    with pytest.raises(ValueError, match="value, the loss, must be given"):
        tx.update(params, tx.init(params))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1.0}, "factor must be at least 0 and below 1, got 1.0"),
        ({"factor": 0.0}, "factor must be positive and finite, got 0.0"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"rtol": 2.0}, "rtol must be between 0 and 1, got 2.0"),
        ({"rtol": 0.0}, "rtol . atol must be positive and finite, got 0.0"),
        ({"cooldown": -1}, "cooldown must be at least 0, got -1"),
        ({"accumulation_size": 0}, "accumulation_size must be at least 1, got 0"),
        ({"min_scale": -0.1}, "min_scale must be between 0 and 1, got -0.1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        optim.reduce_on_plateau(**settings)
