"""Optimizers around an optimizer, each against what it shares its idea with."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim, rules, train

DRAW = np.random.default_rng(0)
START = {"w": jnp.asarray(DRAW.normal(size=(3, 2)), jnp.float32), "b": jnp.zeros(2)}
BATCHES = {
    "x": jnp.asarray(DRAW.normal(size=(12, 4, 3)), jnp.float32),
    "y": jnp.asarray(DRAW.normal(size=(12, 4, 2)), jnp.float32),
}


def loss(params, batch):
    return jnp.mean((jnp.tanh(batch["x"] @ params["w"] + params["b"][None]) - batch["y"]) ** 2)


def objective(params, model_state, batch, key):
    return loss(params, batch), (model_state, {})


gradient = jax.grad(loss)


def descend(tx, params=START, batches=BATCHES, grad=gradient):
    """Parameters and state after every step, in one compiled loop."""

    def body(carry, batch):
        params, state = carry
        updates, state = tx.update(grad(params, batch), state, params)
        carry = optax.apply_updates(params, updates), state
        return carry, carry

    return jax.jit(lambda: jax.lax.scan(body, (params, tx.init(params)), batches)[1])()


@pytest.mark.parametrize("reset", [False, True])
def test_lookahead_matches_optax(reset):
    params, state = descend(optim.lookahead(optim.momentum(0.3), 3, 0.4, reset))
    theirs = optax.lookahead(optax.sgd(0.3, 0.9), 3, 0.4, reset)
    want, _ = descend(
        theirs, optax.LookaheadParams.init_synced(START), grad=lambda p, batch: gradient(p.fast, batch)
    )
    chex.assert_trees_all_close(params, want.fast, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(optax.tree.get(state, "slow"), want.slow, rtol=1e-5, atol=1e-6)
    assert float(optax.tree.get(state, "learning_rate")[-1]) == np.float32(0.3)


def test_lookahead_passes_extra_arguments_on():
    inner = optax.chain(optim.sgd(0.1), optim.reduce_on_plateau(patience=1))
    tx = optim.lookahead(inner, 2, 0.5)
    state = tx.init(jnp.ones(2))
    for value in (1.0, 2.0):
        _, state = tx.update(jnp.ones(2), state, jnp.ones(2), value=value)
    np.testing.assert_allclose(optax.tree.get(state, "scale"), 0.1)


@pytest.mark.parametrize("k", [1, 3, lambda step: jnp.where(step < 2, 1, 5)], ids=["1", "3", "schedule"])
def test_accumulation_matches_optax(k):
    params, state = descend(optim.accumulate(optim.adam(0.1), k))
    theirs = optax.MultiSteps(optax.adam(0.1), k)
    want, their_state = descend(optax.GradientTransformation(theirs.init, theirs.update))
    chex.assert_trees_all_close(params, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(state.gradient_step, their_state.gradient_step)
    np.testing.assert_array_equal(state.mini_step, their_state.mini_step)


def test_accumulated_calls_are_one_microbatched_step():
    """Four batches of four rows in four calls, or the sixteen rows in one call, sliced."""
    grad_fn = train.backprop(objective)
    big = jax.tree.map(lambda x: x.reshape(3, 16, -1), BATCHES)
    tx = optim.adam(0.1)

    @jax.jit
    def both():
        one = train.make_update(train.microbatched(grad_fn, 4), tx)
        many = train.make_update(grad_fn, optim.accumulate(tx, 4))
        key = jax.random.key(0)
        one_state, _ = jax.lax.scan(one, train.create_train_state(key, {"params": START}, tx), big)
        first = train.create_train_state(key, {"params": START}, optim.accumulate(tx, 4))
        many_state, metrics = jax.lax.scan(many, first, BATCHES)
        return one_state, many_state, metrics

    one_state, many_state, metrics = both()
    chex.assert_trees_all_close(one_state.params, many_state.params, rtol=1e-5, atol=1e-6)
    assert (int(one_state.step), int(many_state.step)) == (3, 12)
    np.testing.assert_array_equal(metrics["update_norm"] > 0, [i % 4 == 3 for i in range(12)])
    np.testing.assert_array_equal(metrics["learning_rate"], np.full(12, 0.1, np.float32))


def test_accumulation_keeps_a_mean_in_float32():
    tx = optim.accumulate(optim.sgd(1.0), 256)
    params = jnp.zeros(2, jnp.bfloat16)
    state, update = tx.init(params), jax.jit(tx.update)
    for i in range(256):
        updates, state = update(jnp.full(2, 1.0 + (i % 2), jnp.bfloat16), state, params)
    assert updates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(updates, jnp.full(2, -1.5, jnp.bfloat16))


def test_the_average_is_that_of_optax_and_torch():
    torch = pytest.importorskip("torch")
    params, state = descend(optax.chain(optim.momentum(0.3), optim.exponential_moving_average(0.8)))
    got = optax.tree.get(state, "averaged_params")
    theirs = optax.ema(0.8)
    average = theirs.init(START)
    for i in range(12):
        want, average = theirs.update(jax.tree.map(lambda x, i=i: x[i], params), average)
        chex.assert_trees_all_close(jax.tree.map(lambda x, i=i: x[i], got), want, rtol=1e-5, atol=1e-6)

    plain, state = descend(optax.chain(optim.momentum(0.3), optim.exponential_moving_average(0.8, False)))
    chex.assert_trees_all_close(plain, params)  # the updates are left alone
    module = torch.nn.Linear(3, 2)
    copy = torch.optim.swa_utils.AveragedModel(
        module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    )
    for step in [START, *(jax.tree.map(lambda x, i=i: x[i], params) for i in range(12))]:
        with torch.no_grad():
            module.weight.copy_(torch.tensor(np.asarray(step["w"]).T))
        copy.update_parameters(module)
    want = copy.module.weight.detach().numpy().T
    np.testing.assert_allclose(optax.tree.get(state, "averaged_params")["w"][-1], want, rtol=1e-5)


def test_the_average_is_the_target_of_a_target_step():
    tx = optim.momentum(0.3)
    step = train.make_target_step(
        train.make_update(
            train.backprop(
                lambda params, model_state, target, batch, key: objective(params, model_state, batch, key)
            ),
            tx,
        ),
        0.2,
    )
    online = train.create_train_state(jax.random.key(0), {"params": START}, tx)
    state, _ = jax.jit(lambda s: jax.lax.scan(step, s, BATCHES))(train.create_target_state(online))
    _, opt_state = descend(optax.chain(tx, optim.exponential_moving_average(0.8, debias=False)))
    average = jax.tree.map(lambda x: x[-1], optax.tree.get(opt_state, "averaged_params"))
    chex.assert_trees_all_close(average, state.target, rtol=1e-5, atol=1e-6)


def test_the_average_keeps_float32_under_bfloat16_and_counts_what_is_applied():
    params = jnp.ones(3, jnp.bfloat16)
    tx = optim.exponential_moving_average(0.5, debias=False)
    updates, state = tx.update(jnp.full(3, 1e-3, jnp.bfloat16), tx.init(params), params)
    assert updates.dtype == jnp.bfloat16
    assert state.averaged_params.dtype == jnp.float32
    np.testing.assert_array_equal(state.averaged_params, jnp.ones(3))  # 1 + 1e-3 rounds back to 1
    half = optim.exponential_moving_average(0.5, accumulator_dtype=jnp.bfloat16)
    assert half.update(params, half.init(params), params)[1].averaged_params.dtype == jnp.bfloat16


RHO = 0.1


def uphill(library):
    scale = optim.scale_to_norm(1.0) if library is optim else optax.contrib.normalize()
    return optax.chain(scale, library.sgd(RHO))


@pytest.mark.parametrize(("period", "reset"), [(2, True), (3, False)])
def test_transparent_sam_matches_optax(period, reset):
    params, state = descend(optim.sam(optim.momentum(0.3), uphill(optim), period, reset))
    want, _ = descend(optax.contrib.sam(optax.sgd(0.3, 0.9), uphill(optax), period, reset))
    chex.assert_trees_all_close(params, want, rtol=1e-5, atol=1e-6)
    rates = [float(r[-1]) for _, r in optax.tree.get_all_with_path(state, "learning_rate")]
    assert rates == [np.float32(0.3), np.float32(RHO)]


def test_sam_of_period_one_is_the_optimizer_alone():  # Optax steps from the point before, there
    params, _ = descend(optim.sam(optim.momentum(0.3), uphill(optim), 1))
    chex.assert_trees_all_close(params, descend(optim.momentum(0.3))[0], rtol=1e-5, atol=1e-6)


def test_sam_and_the_sharpness_aware_rule_agree():
    """The rule, sam in one call, and sam in two calls on one batch: the same steps."""
    grad_fn = train.backprop(objective)
    opaque = optim.sam(optim.momentum(0.3), uphill(optim), opaque_mode=True)

    @jax.jit
    def all_three():
        key = jax.random.key(0)
        by_rule = train.make_update(rules.sharpness_aware(grad_fn, RHO), optim.momentum(0.3))
        rule, rule_metrics = jax.lax.scan(
            by_rule, train.create_train_state(key, {"params": START}, optim.momentum(0.3)), BATCHES
        )
        in_one, metrics = jax.lax.scan(
            train.make_update(grad_fn, opaque),
            train.create_train_state(key, {"params": START}, opaque),
            BATCHES,
        )
        return rule.params, in_one.params, rule_metrics["loss"], metrics["loss"]

    rule, in_one, rule_losses, losses = all_three()
    chex.assert_trees_all_close(rule, in_one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rule_losses, losses, rtol=1e-5)  # both of the parameters before they climb
    twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), BATCHES)
    params, _ = descend(optim.sam(optim.momentum(0.3), uphill(optim)), batches=twice)
    chex.assert_trees_all_close(rule, jax.tree.map(lambda x: x[-1], params), rtol=1e-5, atol=1e-6)


def test_opaque_sam_takes_the_gradient_function_of_optax():
    def last(library, momentum):
        tx = (library.sam if library is optim else optax.contrib.sam)(
            momentum, uphill(library), sync_period=3, opaque_mode=True
        )

        def body(carry, batch):
            params, state = carry
            grads = gradient(params, batch)
            grad_fn = lambda p, i: jax.tree.map(lambda g: g * (1 + i), gradient(p, batch))  # noqa: E731
            updates, state = tx.update(grads, state, params, grad_fn=grad_fn)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (START, tx.init(START)), BATCHES)[0][0]

    ours, theirs = jax.jit(lambda: (last(optim, optim.momentum(0.3)), last(optax, optax.sgd(0.3, 0.9))))()
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_opaque_sam_averages_over_devices():
    tx = optim.sam(optim.sgd(0.3), uphill(optim), opaque_mode=True, batch_axis_name="devices")
    batch = jax.tree.map(lambda x: x[0], BATCHES)  # four rows, two on each of two devices
    halves = jax.tree.map(lambda x: x.reshape(2, 2, -1), batch)

    def step(share):
        grads = jax.lax.pmean(gradient(START, share), "devices")
        updates, _ = tx.update(grads, tx.init(START), START, grad_fn=lambda p, i: gradient(p, share))
        return updates

    got = jax.jit(jax.vmap(step, axis_name="devices"))(halves)
    whole = optim.sam(optim.sgd(0.3), uphill(optim), opaque_mode=True)
    want, _ = whole.update(
        gradient(START, batch), whole.init(START), START, value_fn=lambda p: loss(p, batch)
    )
    chex.assert_trees_all_close(got, jax.tree.map(lambda x: jnp.stack([x, x]), want), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "tx",
    [
        optim.lookahead(optim.adam(0.1), 3, 0.5),
        optim.accumulate(optim.adam(0.1), 2),
        optax.chain(optim.sgd(0.1), optim.exponential_moving_average(0.9)),
        optim.sam(optim.sgd(0.1), optim.sgd(0.05)),
    ],
    ids=["lookahead", "accumulate", "exponential_moving_average", "sam"],
)
def test_wrappers_keep_dtypes_compile_once_and_share_no_buffer(tx):
    params = {"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3), "h": jnp.full(2, 300, jnp.float16)}

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, state):
        updates, state = tx.update(params, state, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
        return optax.apply_updates(params, updates), state

    chex.clear_trace_counter()
    state = tx.init(params)
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((params, state)) if leaf.size]
    assert len(buffers) == len(set(buffers))  # so that both may be donated
    for _ in range(4):
        params, new_state = step(params, state)
        chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)
        state = new_state
    chex.assert_tree_all_finite((params, state))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.lookahead(optim.sgd(0.1), 0, 0.5), "sync_period must be at least 1, got 0"),
        (
            lambda: optim.lookahead(optim.sgd(0.1), 5, 0.0),
            "slow_step_size must be positive and finite, got 0.0",
        ),
        (lambda: optim.lookahead(optim.sgd(0.1), 5, 1.5), "slow_step_size must be between 0 and 1, got 1.5"),
        (lambda: optim.accumulate(optim.sgd(0.1), 0), "every_k_schedule must be at least 1, got 0"),
        (lambda: optim.exponential_moving_average(1.0), "decay must be at least 0 and below 1, got 1.0"),
        (lambda: optim.sam(optim.sgd(0.1), optim.sgd(0.1), 0), "sync_period must be at least 1, got 0"),
        (
            lambda: (tx := optim.exponential_moving_average(0.9)).update(jnp.ones(2), tx.init(jnp.ones(2))),
            "params must be given to update",
        ),
        (
            lambda: (tx := optim.sam(optim.sgd(0.1), optim.sgd(0.1), opaque_mode=True)).update(
                jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2)
            ),
            "one of grad_fn and value_fn must be given",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
