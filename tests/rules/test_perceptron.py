"""The perceptron rule and the delta rule: worked gates, the convergence bound, stopping, autodiff, least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import data, optim, rules, train

GATES = {
    "and": [0, 0, 0, 1],
    "or": [0, 1, 1, 1],
    "nand": [1, 1, 1, 0],
    "nor": [1, 0, 0, 0],
    "xor": [0, 1, 1, 0],
}
INPUTS = jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def learn(rule, x, y, max_epochs):
    """One row at a time until an epoch has no error: epochs, updates, (bias, w1, w2), errors of the last."""
    tx = optim.gradient_descent(1.0)
    params = {"Dense_0": {"kernel": jnp.zeros((2, 1)), "bias": jnp.zeros(1)}}

    @jax.jit
    def epoch(carry):
        def step(carry, batch):
            params, state = carry
            (_, (_, metrics)), grads = rule(params, {}, batch, None)
            updates, state = tx.update(grads, state)
            return (optax.apply_updates(params, updates), state), metrics["errors"]

        return jax.lax.scan(step, carry, {"x": x[:, None, :], "y": y[:, None, None]})

    carry, updates, epochs, errors = (params, tx.init(params)), 0, 0, jnp.ones(4)
    while epochs < max_epochs and errors.sum() > 0:
        carry, errors = epoch(carry)
        updates += int(errors.sum())
        epochs += 1
    layer = carry[0]["Dense_0"]
    return epochs, updates, [float(layer["bias"][0]), *map(float, layer["kernel"][:, 0])], int(errors.sum())


@pytest.mark.parametrize(
    ("gate", "epochs", "updates", "weights"),
    [("and", 6, 11, [-3, 2, 1]), ("or", 4, 5, [-1, 1, 1]), ("nand", 6, 10, [2, -2, -1])],
)
def test_golden_000_G16_bipolar_targets(gate, epochs, updates, weights):
    targets = 2.0 * jnp.array(GATES[gate]) - 1
    assert learn(rules.perceptron_rule(), INPUTS, targets, 20) == (epochs, updates, weights, 0)


@pytest.mark.parametrize("targets", [GATES["xor"], [1, 0, 0, 1]], ids=["xor", "xnor"])
def test_golden_000_G16_no_line_separates_xor(targets):
    assert learn(rules.perceptron_rule(), INPUTS, 2.0 * jnp.array(targets) - 1, 200)[3] > 0


@pytest.mark.parametrize(
    ("gate", "epochs", "weights"), [("and", 6, [-3, 2, 1]), ("or", 4, [-1, 1, 1]), ("nor", 4, [0, -1, -1])]
)
def test_golden_004a_12_binary_targets(gate, epochs, weights):
    count, _, got, _ = learn(rules.perceptron_rule(coding="binary"), INPUTS, jnp.array(GATES[gate]) * 1.0, 20)
    assert (count, got) == (epochs, weights)


def test_golden_002_D1_dead_zone():
    x = jnp.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    rule = rules.perceptron_rule(dead_zone=0.2)
    count, _, weights, _ = learn(rule, x, jnp.array([1.0, -1, -1, -1]), 10)
    assert (count, weights) == (2, [-1, 1, 1])
    # 002-D20: bipolar XOR has not converged after 500 epochs.
    assert learn(rule, x, jnp.array([-1.0, 1, 1, -1]), 500)[3] > 0


def updates_until_separated(x, y, rule, rate, epochs):
    """Updates on rows one by one, from a start at 0, and the errors of the last of so many epochs."""
    tx = optim.gradient_descent(rate)
    state = train.create_train_state(
        jax.random.key(0), {"params": {"unit": {"kernel": jnp.zeros((x.shape[1], 1))}}}, tx
    )
    update = train.make_update(rule, tx)

    def epoch(state, _):
        state, metrics = jax.lax.scan(update, state, {"x": x[:, None], "y": y[:, None, None]})
        return state, metrics["errors"].sum()

    errors = jax.lax.scan(epoch, state, length=epochs)[1]
    return errors.sum(), errors[-1]


@pytest.mark.parametrize(("dead_zone", "rate"), [(None, 1.0), (None, 0.03), (0.3, 1.0), (0.3, 0.2)], ids=str)
def test_updates_are_within_novikoffs_bound(dead_zone, rate):
    """(R^2 + 2 theta / alpha) / g^2 on 50 random sets of six dimensions, each separated by a plane with margin g."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 6, 1))
    plane /= np.linalg.norm(plane, axis=1, keepdims=True)
    x = rng.normal(size=(50, 30, 6))
    y = np.where(x @ plane >= 0, 1.0, -1.0)
    x += 0.3 * y * plane.swapaxes(1, 2)  # so that no row is nearer to the plane than this
    margin = (y * (x @ plane)).min(axis=(1, 2))
    assert margin.min() > 0.29
    bound = (np.square(x).sum(axis=2).max(axis=1) + 2 * (dead_zone or 0) / rate) / margin**2
    rule = rules.perceptron_rule(dead_zone=dead_zone)
    # An epoch has an error or is the last one, so more epochs than the bound cannot be needed.
    run = jax.jit(jax.vmap(lambda x, y: updates_until_separated(x, y, rule, rate, int(bound.max()) + 1)))
    updates, errors = run(jnp.asarray(x, jnp.float32), jnp.asarray(y[..., 0], jnp.float32))
    np.testing.assert_array_equal(errors, 0)
    assert (np.asarray(updates) <= bound).all()
    assert updates.min() > 1


@pytest.mark.parametrize("n", [1, 5, 12])
def test_novikoffs_bound_is_reached(n):
    """Orthonormal rows of one class: R = 1, g = 1 / sqrt(n), and each row needs an update of its own."""
    x, y = jnp.eye(n), -jnp.ones(n)
    updates, errors = updates_until_separated(x, y, rules.perceptron_rule(), 1.0, 2)
    assert (updates, errors) == (n, 0)


@pytest.mark.parametrize(
    ("gate", "stop", "epochs", "reason"),
    [
        ("and", {"error_limit": 0}, 6, "errors 0 is at or below 0"),
        ("or", {"error_limit": 0}, 4, "errors 0 is at or below 0"),
        ("and", {"error_limit": 0, "iterations": 3}, 3, "3 iterations"),
        ("xor", {"error_limit": 0, "iterations": 25}, 25, "25 iterations"),
        ("and", {"error_limit": 0.25}, 5, "errors 0.25 is at or below 0.25"),
    ],
)
def test_training_stops_without_errors_or_after_so_many_epochs(gate, stop, epochs, reason):
    """As the docstring says; `errors` is the mean over the four updates of an epoch."""
    table, tx = data.logic_gates(), optim.gradient_descent(1.0)
    variables = {"params": {"Dense_0": {"kernel": jnp.zeros((2, 1)), "bias": jnp.zeros(1)}}}
    epoch = train.scan_steps(train.make_update(rules.perceptron_rule(coding="binary"), tx), 4)
    batch = {"x": table["x"][:, None], "y": table[gate][:, None]}
    _, history = train.fit(
        jax.jit(epoch),
        train.create_train_state(jax.random.key(0), variables, tx),
        [batch] * 40,
        num_steps=40,
        hooks=[train.StoppingCriterion(monitor="errors", **stop)],
        log_every=1,
        progress=None,
    )
    assert len(history["errors"][0]) == epochs
    assert reason in history.stopped


def random_layer(seed, outputs=3):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "Dense_0": {
            "kernel": jax.random.normal(keys[0], (4, outputs)),
            "bias": jax.random.normal(keys[1], (outputs,)),
        }
    }
    return params, jax.random.normal(keys[2], (6, 4)), jax.random.normal(keys[3], (6, outputs))


@pytest.mark.parametrize("dead_zone", [None, 0.0, 0.7])
@pytest.mark.parametrize("coding", ["bipolar", "binary"])
def test_gradient_is_that_of_the_perceptron_criterion(dead_zone, coding):
    params, x, noise = random_layer(0)
    sign = jnp.where(noise > 0, 1.0, -1.0)
    y = sign if coding == "bipolar" else (sign + 1) / 2
    rule = rules.perceptron_rule(coding=coding, dead_zone=dead_zone)
    (loss, (_, metrics)), grads = rule(params, {}, {"x": x, "y": y}, None)

    def criterion(params):
        net = x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]
        return jnp.sum(jnp.maximum((dead_zone or 0.0) - sign * net, 0))

    want, want_grads = jax.value_and_grad(criterion)(params)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), grads, want_grads)
    net = x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]
    assert int(metrics["errors"]) == int((sign * net <= (dead_zone or 0.0)).sum())


@pytest.mark.parametrize(
    "activation", [None, (jnp.tanh, lambda z: 1 - jnp.tanh(z) ** 2)], ids=["linear", "tanh"]
)
def test_delta_rule_equals_autodiff(activation):
    params, x, y = random_layer(1)
    rule = rules.delta_rule(**({"activation": activation} if activation else {}), reduction="mean")
    f = activation[0] if activation else (lambda z: z)

    def loss(params):
        net = x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]
        return jnp.mean(jnp.sum((f(net) - y) ** 2, axis=1)) / 2

    (value, _), grads = rule(params, {}, {"x": x, "y": y}, None)
    want, want_grads = jax.value_and_grad(loss)(params)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), grads, want_grads)


def test_delta_rule_reaches_least_squares():
    params, x, y = random_layer(2)
    tx, rule = optim.gradient_descent(0.05), rules.delta_rule()

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(rule(params, {}, {"x": x, "y": y}, None)[1], state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(body, (params, tx.init(params)), length=20_000)
    want = np.linalg.lstsq(np.hstack([x, np.ones((6, 1))]), np.asarray(y), rcond=None)[0]
    np.testing.assert_allclose(params["Dense_0"]["kernel"], want[:-1], atol=1e-4)
    np.testing.assert_allclose(params["Dense_0"]["bias"], want[-1], atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: rules.perceptron_rule(coding="ternary"),
            "coding must be one of 'bipolar', 'binary', got 'ternary'",
        ),
        (lambda: rules.perceptron_rule(dead_zone=-1), "dead_zone must be finite and at least 0, got -1"),
        (lambda: rules.delta_rule(reduction="max"), "reduction must be one of 'sum', 'mean', got 'max'"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("rule", [rules.perceptron_rule(), rules.delta_rule()], ids=["perceptron", "delta"])
def test_one_layer_of_the_right_shape(rule):
    layer = {"kernel": jnp.zeros((2, 1))}
    with pytest.raises(ValueError, match=r"params must be one dense layer, got \['a', 'b'\]"):
        rule({"a": layer, "b": layer}, {}, {"x": INPUTS, "y": jnp.zeros((4, 1))}, None)
    with pytest.raises(ValueError, match=r"targets must have shape \(4, 1\), got \(4,\)"):
        rule({"a": layer}, {}, {"x": INPUTS, "y": jnp.zeros(4)}, None)
    _, grads = rule({"a": layer}, {}, {"x": INPUTS, "y": jnp.ones((4, 1))}, None)
    assert list(grads["a"]) == ["kernel"]
