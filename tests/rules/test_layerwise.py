"""Greedy training: each layer alone in its turn, as if the layers below were a fixed transformation of the data."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim, rules, train

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(20, 6)), jnp.float32)
WIDTHS = {"first": (6, 5), "second": (5, 4), "third": (4, 3)}


def autoencoder(params, model_state, batch, key):
    """Tied weights, tanh code: the squared error of the layer's own input."""
    del key
    code = jnp.tanh(batch["x"] @ params["kernel"])
    error = jnp.mean(jnp.square(code @ params["kernel"].T - batch["x"]))
    return error, (model_state, {"mean_code": jnp.mean(code)})


def encode(params, batch):
    return {"x": jnp.tanh(batch["x"] @ params["kernel"])}


LAYERS = {name: (train.backprop(autoencoder), encode) for name in WIDTHS}
PARAMS = {
    name: {"kernel": jnp.asarray(0.5 * RNG.normal(size=shape), jnp.float32)} for name, shape in WIDTHS.items()
}
HEAD = {"head": {"kernel": jnp.ones((3, 1))}}


def start(tx, **more):
    variables = {"params": {**PARAMS, **HEAD}, "step": jnp.zeros((), jnp.int32), **more}
    return train.create_train_state(KEY, variables, tx)


def trajectory(rule, tx, steps, **more):
    """Parameters before every update and after the last, and the metrics."""
    state = start(tx, **more)
    update = train.make_update(rule, tx)

    def body(state, _):
        new, metrics = update(state, {"x": X})
        return new, (new.params, metrics)

    _, (params, metrics) = jax.jit(lambda state: jax.lax.scan(body, state, length=steps))(state)
    whole = jax.tree.map(lambda first, rest: np.concatenate([first[None], rest]), state.params, params)
    return whole, metrics


def moved(params, name):
    """Numbers of the updates that changed a layer."""
    kernel = params[name]["kernel"]
    return [i for i in range(len(kernel) - 1) if (kernel[i] != kernel[i + 1]).any()]


def by_layer(make, ends):
    """One optimizer for each layer, asleep outside its turn, as the docstring says."""
    turn = lambda l: lambda step: jnp.minimum(jnp.sum(step >= jnp.array(ends)), 2) == l  # noqa: E731
    own = {name: optax.transforms.conditionally_mask(make(), turn(l)) for l, name in enumerate(LAYERS)}
    return optax.partition({**own, "head": optax.set_to_zero()}, {name: name for name in [*LAYERS, "head"]})


@pytest.mark.parametrize("optimizer", ["gradient descent", "adamw"])
@pytest.mark.parametrize("turns", [4, (4, 2, 5)])
def test_each_layer_moves_in_its_turn_and_no_other(optimizer, turns):
    ends = np.cumsum((4, 4) if turns == 4 else (4, 2))
    make = lambda: optim.adamw(0.01, weight_decay=0.1)  # noqa: E731
    tx = optim.gradient_descent(0.1) if optimizer == "gradient descent" else by_layer(make, ends)
    params, metrics = trajectory(rules.greedy_layerwise(LAYERS, turns), tx, 14)
    turn = [range(ends[0]), range(ends[0], ends[1]), range(ends[1], 14)]  # the last goes on
    for name, steps in zip(LAYERS, turn):
        assert moved(params, name) == list(steps)
    assert moved(params, "head") == []
    np.testing.assert_array_equal(metrics["layer"], np.repeat([0, 1, 2], [len(steps) for steps in turn]))
    np.testing.assert_array_equal(metrics["grad_norm"] > 0, True)


def test_momentum_without_those_optimizers_moves_a_finished_layer():
    """Which is why the docstring asks for them."""
    params, _ = trajectory(rules.greedy_layerwise(LAYERS, 3), optim.adam(0.01), 9)
    assert moved(params, "first") == list(range(9))


def test_equals_training_the_layers_one_after_the_other():
    """Each by an ordinary update of its own, on data that the finished layers have encoded before."""
    tx = by_layer(lambda: optim.adam(0.02), (30, 60))
    params, metrics = trajectory(rules.greedy_layerwise(LAYERS, 30), tx, 90)
    batch, losses = {"x": X}, []
    for name in LAYERS:
        own = optim.adam(0.02)
        state = train.create_train_state(KEY, {"params": PARAMS[name]}, own)
        update = jax.jit(train.make_update(train.backprop(autoencoder), own))
        for _ in range(30):
            state, reported = update(state, batch)
            losses.append(float(reported["loss"]))
        np.testing.assert_allclose(params[name]["kernel"][-1], state.params["kernel"], rtol=1e-5, atol=1e-6)
        batch = encode(state.params, batch)
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-5)
    assert all(losses[30 * l + 29] < losses[30 * l] for l in range(3))


def test_a_layer_has_its_own_state_and_key():
    """The states of the layers differ in shape, as chains of different widths do."""

    def drawing(params, model_state, batch, key):
        noise = jax.random.normal(key, model_state["seen"].shape)
        loss = jnp.sum(params["kernel"] ** 2)
        return loss, ({"seen": model_state["seen"] + noise}, {"total": jnp.sum(noise)})

    layers = {name: (train.backprop(drawing), lambda params, batch: batch) for name in ("first", "second")}
    rule = rules.greedy_layerwise(layers, 2)
    state = {"first": {"seen": jnp.zeros(2)}, "second": {"seen": jnp.zeros(3)}, "step": jnp.int32(1)}
    for step, name, other in ((1, "first", "second"), (2, "second", "first")):
        assert state["step"] == step
        before = state
        (_, (state, metrics)), _ = rule(PARAMS, state, {"x": X}, jax.random.key(step))
        chex.assert_trees_all_equal(state[other], before[other])
        np.testing.assert_allclose(
            metrics["total"], jnp.sum(state[name]["seen"] - before[name]["seen"]), rtol=1e-5
        )


def call(layers=LAYERS, turns=2, params=PARAMS, state=None):
    state = {"step": jnp.int32(0)} if state is None else state
    return rules.greedy_layerwise(layers, turns)(params, state, {"x": X}, KEY)


def other_metrics(params, model_state, batch, key):
    return jnp.sum(params["kernel"]), (model_state, {"something": jnp.zeros(())})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: call(layers={}), "layers must hold at least one layer, got none"),
        (lambda: call(turns=0), "updates_per_layer must be at least 1, got 0"),
        (lambda: call(turns=(3, 0, 3)), "updates_per_layer must be at least 1, got 0"),
        (lambda: call(turns=(3, 3)), "updates_per_layer must be one number or 3, got 2"),
        (lambda: call(state={}), r'model_state must have a key "step", got \[\]'),
        (
            lambda: call(params={"first": PARAMS["first"]}),
            r"params must hold every layer of \['first', 'second', 'third'\], got \['first'\]",
        ),
        (
            lambda: call(layers={**LAYERS, "third": (train.backprop(other_metrics), encode)}),
            "all layers must report metrics of the same names, got .*'third': .'something'",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
