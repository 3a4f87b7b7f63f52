"""Backpropagation by hand against worked numbers and automatic differentiation."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import data, nn, optim, rules
from jaxdl.models.dense import MLP
from jaxdl.train import create_train_state, make_update


def float64(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def forward(params, x, activation=jax.nn.sigmoid, output_activation=jax.nn.sigmoid):
    """Outputs of every layer, first to last; for layers Dense_0, Dense_1, ..."""
    values = []
    for i in range(len(params)):
        layer = params[f"Dense_{i}"]
        x = x @ layer["kernel"] + (layer["bias"][None, :] if "bias" in layer else 0)
        x = (output_activation if i == len(params) - 1 else activation)(x)
        values.append(x)
    return values


def train(params, batch, rule, tx, steps):
    """States after each update, stacked, with the metrics of before it."""
    state = create_train_state(jax.random.key(0), {"params": params}, tx)
    update = make_update(rule, tx)

    def body(state, _):
        new, metrics = update(state, batch)
        return new, (new.params, metrics)

    return jax.lax.scan(body, state, length=steps)[1]


# Golden 000-G3: two inputs, two hidden units, two outputs, sigmoid throughout.
G3_PARAMS = {
    "Dense_0": {"kernel": [[0.15, 0.25], [0.20, 0.30]], "bias": [0.35, 0.35]},
    "Dense_1": {"kernel": [[0.40, 0.50], [0.45, 0.55]], "bias": [0.60, 0.60]},
}
G3_BATCH = {"x": [[0.05, 0.10]], "y": [[0.01, 0.99]]}
BIASES_FIXED = optax.chain(optim.gradient_descent(0.5), optim.freeze("bias$"))


def weights(params):
    """w1..w8 in the order of the worked example: by unit, not by input."""
    return jnp.concatenate([jnp.ravel(params[name]["kernel"].T) for name in ("Dense_0", "Dense_1")])


@pytest.fixture
def g3():
    with jax.enable_x64(True):
        params = jax.tree.map(np.asarray, G3_PARAMS, is_leaf=lambda x: isinstance(x, list))
        batch = jax.tree.map(np.asarray, G3_BATCH, is_leaf=lambda x: isinstance(x, list))
        yield float64(params), float64(batch)


def test_golden_000_G3_ab_forward_and_gradients(g3):
    params, batch = g3
    hidden, outputs = forward(params, batch["x"])
    np.testing.assert_allclose(hidden[0], [0.593269992107, 0.596884378260], atol=1e-12)
    np.testing.assert_allclose(outputs[0], [0.751365069552, 0.772928465321], atol=1e-12)
    (loss, (_, metrics)), grads = rules.manual_backprop()(params, {}, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, 0.298371108760, atol=1e-12)
    np.testing.assert_allclose(metrics["mean_squared_error"], 0.298371108760, atol=1e-12)  # two outputs
    want = [0.000438567734, 0.000877135469, 0.000497712735, 0.000995425471]
    want += [0.082167040564, 0.082667627848, -0.022602540477, -0.022740242216]
    np.testing.assert_allclose(weights(grads), want, atol=1e-12)
    # A bias gradient is its unit's delta.
    np.testing.assert_allclose(grads["Dense_1"]["bias"], [0.138498561629, -0.038098236517], atol=1e-12)
    np.testing.assert_allclose(grads["Dense_0"]["bias"], [0.008771354689, 0.009954254705], atol=1e-12)
    slope = hidden[0] * (1 - hidden[0])
    np.testing.assert_allclose(grads["Dense_0"]["bias"] / slope, [0.036350306393, 0.041370322649], atol=1e-12)


def test_golden_000_G3_cd_simultaneous_updates(g3):
    params, batch = g3
    history, metrics = train(params, batch, rules.manual_backprop(), BIASES_FIXED, 10_001)
    after = [0.149780716133, 0.199561432266, 0.249751143632, 0.299502287265]
    after += [0.358916479718, 0.408666186076, 0.511301270239, 0.561370121108]
    np.testing.assert_allclose(weights(jax.tree.map(lambda x: x[0], history)), after, atol=1e-12)
    np.testing.assert_allclose(metrics["loss"][1], 0.291027774, atol=1e-9)
    np.testing.assert_allclose(metrics["loss"][10_000], 3.510188e-5, atol=1e-11)
    np.testing.assert_allclose(metrics["loss"][9_999], 3.51085e-5, atol=1e-10)  # what the source printed
    last = jax.tree.map(lambda x: x[9_999], history)
    np.testing.assert_allclose(forward(last, batch["x"])[-1][0], [0.0159136204, 0.9840642735], atol=1e-10)
    np.testing.assert_array_equal(last["Dense_0"]["bias"], params["Dense_0"]["bias"])


def test_golden_000_G3_e_sequential_updates(g3):
    params, batch = g3
    rule = rules.manual_backprop(sequential_learning_rate=0.5)
    history, metrics = train(params, batch, rule, BIASES_FIXED, 10_001)
    after = [0.149817638561, 0.199635277122, 0.249788185198, 0.299576370396]
    np.testing.assert_allclose(weights(jax.tree.map(lambda x: x[0], history))[:4], after, atol=1e-12)
    np.testing.assert_allclose(metrics["loss"][1], 0.291027923905, atol=1e-12)
    np.testing.assert_allclose(metrics["loss"][10_000], 3.5084786e-5, atol=1e-12)
    last = jax.tree.map(lambda x: x[9_999], history)
    np.testing.assert_allclose(forward(last, batch["x"])[-1][0], [0.0159121963, 0.9840657345], atol=1e-10)


def test_golden_000_G3_f_biases_updated_too(g3):
    params, batch = g3
    # The example has one bias for all units of a layer: its gradient is the sum of theirs.
    share = optax.stateless(
        lambda grads, _: {
            name: {**layer, "bias": jnp.full_like(layer["bias"], layer["bias"].sum())}
            for name, layer in grads.items()
        }
    )
    tx = optax.chain(share, optim.gradient_descent(0.5))
    history, metrics = train(params, batch, rules.manual_backprop(), tx, 10_001)
    np.testing.assert_allclose(metrics["loss"][1], 0.285750886699, atol=1e-12)
    np.testing.assert_allclose(metrics["loss"][10_000], 4.355e-6, atol=1e-9)
    last = jax.tree.map(lambda x: x[9_999], history)
    np.testing.assert_allclose(forward(last, batch["x"])[-1][0], [0.012102159, 0.987928390], atol=1e-9)


def test_golden_002_D2_one_step():
    with jax.enable_x64(True):
        params = {
            "Dense_0": {"kernel": jnp.array([[0.6, -0.3], [-0.1, 0.4]]), "bias": jnp.array([0.3, 0.5])},
            "Dense_1": {"kernel": jnp.array([[0.4], [0.1]]), "bias": jnp.array([-0.2])},
        }
        batch = {"x": jnp.array([[0.0, 1.0]]), "y": jnp.array([[1.0]])}
        z, y = forward(params, batch["x"])
        np.testing.assert_allclose(z[0], [0.549834, 0.710950], atol=1e-6)
        np.testing.assert_allclose(y[0], [0.5227414], atol=1e-7)
        _, grads = rules.manual_backprop()(params, {}, batch, None)
        # The book's deltas point downhill.
        np.testing.assert_allclose(-grads["Dense_1"]["bias"], [0.1190678], atol=1e-7)
        np.testing.assert_allclose(-grads["Dense_0"]["bias"], [0.0117885, 0.0024469], atol=1e-7)
        history, _ = train(params, batch, rules.manual_backprop(), optim.gradient_descent(0.25), 1)
        new = jax.tree.map(lambda x: x[0], history)
        np.testing.assert_allclose(new["Dense_1"]["kernel"][:, 0], [0.4163669, 0.1211628], atol=1e-7)
        np.testing.assert_allclose(new["Dense_1"]["bias"], [-0.1702330], atol=1e-7)
        np.testing.assert_allclose(new["Dense_0"]["kernel"][1], [-0.0970529, 0.4006117], atol=1e-7)
        np.testing.assert_array_equal(new["Dense_0"]["kernel"][0], params["Dense_0"]["kernel"][0])
        np.testing.assert_allclose(new["Dense_0"]["bias"], [0.3029471, 0.5006117], atol=1e-7)


def test_golden_004a_7_4():
    with jax.enable_x64(True):
        params = {
            "Dense_0": {"kernel": jnp.array([[0.2, 0.3], [0.2, 0.3]])},  # rows x1, x2; columns h1, h2
            "Dense_1": {"kernel": jnp.array([[0.3], [0.9]])},
        }
        batch = {"x": jnp.array([[0.35, 0.7]]), "y": jnp.array([[0.5]])}
        hidden, output = forward(params, batch["x"])
        np.testing.assert_allclose(hidden[0], [0.5523079096, 0.5781052329], atol=1e-10)
        np.testing.assert_allclose(hidden @ params["Dense_1"]["kernel"], [[0.6859870825]], atol=1e-10)
        np.testing.assert_allclose(output[0], [0.6650736395], atol=1e-10)
        (loss, _), grads = rules.manual_backprop()(params, {}, batch, None)
        np.testing.assert_allclose(loss, 0.1650736395**2 / 2, atol=1e-10)
        first, second = (grads[name]["kernel"] for name in ("Dense_0", "Dense_1"))
        want = [0.0009546557, 0.0019093114, 0.0028249996, 0.0056499991]  # w11 w21 w12 w22
        np.testing.assert_allclose(jnp.ravel(first.T), want, atol=1e-10)
        np.testing.assert_allclose(second[:, 0], [0.0203085097, 0.0212570842], atol=1e-10)
        np.testing.assert_allclose(-first[0] / 0.35, [-0.0027275877, -0.0080714273], atol=1e-10)
        np.testing.assert_allclose(-second[:, 0] / hidden[0], [-0.0367702677] * 2, atol=1e-10)

        history, _ = train(params, batch, rules.manual_backprop(), optim.gradient_descent(1.0), 1000)
        new = jax.tree.map(lambda x: x[0], history)
        want = [[0.1990453443, 0.2971750004], [0.1980906886, 0.2943500009]]
        np.testing.assert_allclose(new["Dense_0"]["kernel"], want, atol=1e-10)
        np.testing.assert_allclose(new["Dense_1"]["kernel"][:, 0], [0.2796914903, 0.8787429158], atol=1e-10)
        hidden, output = forward(new, batch["x"])
        np.testing.assert_allclose(hidden[0], [0.5518947828, 0.5768989912], atol=1e-10)
        np.testing.assert_allclose(output[0], [0.6595537417], atol=1e-10)
        table = {1: 0.659554, 2: 0.654162, 5: 0.638784, 10: 0.615853, 50: 0.524780, 100: 0.503460, 1000: 0.5}
        for step, want in table.items():
            at = jax.tree.map(lambda x, step=step: x[step - 1], history)
            np.testing.assert_allclose(forward(at, batch["x"])[-1][0, 0], want, atol=5.1e-7)


def test_golden_004a_7_5_xor_from_100_seeds():
    batch = jax.tree.map(jnp.asarray, data.xor())
    printed = jnp.array([[0.03837966], [0.93898139], [0.94188724], [0.07318271]])
    np.testing.assert_allclose(jnp.mean((printed - batch["y"]) ** 2), 0.0034822677, rtol=1e-6)
    tx = optim.gradient_descent(0.1)
    update = make_update(rules.manual_backprop(), tx)

    model = MLP([4], 1, activation=nn.sigmoid, kernel_init=nn.normal_init(1.0))

    def learn(seed):
        init_key, key = jax.random.split(jax.random.key(seed))
        state = create_train_state(key, model.init(init_key, batch["x"], train=False), tx)
        state, _ = jax.lax.scan(lambda state, _: (update(state, batch)[0], None), state, length=10_000)
        return jax.nn.sigmoid(model.apply({"params": state.params}, batch["x"], train=False))

    outputs = jax.jit(jax.vmap(learn))(jnp.arange(100))
    errors = jnp.mean((outputs - batch["y"][None]) ** 2, axis=(1, 2))
    solved = (errors < 0.02) & (jnp.round(outputs) == batch["y"][None]).all(axis=(1, 2))
    assert int(solved.sum()) >= 97


TANH = (jnp.tanh, lambda z: 1 - jnp.tanh(z) ** 2)
SOFTPLUS = (jax.nn.softplus, jax.nn.sigmoid)
IDENTITY = (lambda z: z, jnp.ones_like)


def random_net(seed, widths, bias, rows):
    draw = np.random.default_rng(seed).normal
    params = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        params[f"Dense_{i}"] = {"kernel": draw(size=(fan_in, fan_out))}
        if bias:
            params[f"Dense_{i}"]["bias"] = draw(size=(fan_out,))
    batch = {"inputs": draw(size=(rows, widths[0])), "labels": draw(size=(rows, widths[-1]))}
    return jax.tree.map(jnp.asarray, (params, batch))


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 2**31 - 1),
    widths=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    bias=st.booleans(),
    rows=st.integers(1, 4),
    reduction=st.sampled_from(["sum", "mean"]),
    hidden=st.sampled_from([None, TANH, SOFTPLUS]),
    output=st.sampled_from([None, TANH, IDENTITY]),
)
def test_equals_autodiff_on_random_nets(seed, widths, bias, rows, reduction, hidden, output):
    with jax.enable_x64(True):
        params, batch = random_net(seed, widths, bias, rows)
        chosen = {"activation": hidden} if hidden else {}
        f = hidden[0] if hidden else jax.nn.sigmoid
        g = output[0] if output else f
        rule = rules.manual_backprop(
            **chosen, output_activation=output, inputs="inputs", targets="labels", reduction=reduction
        )

        def loss(params):
            error = forward(params, batch["inputs"], f, g)[-1] - batch["labels"]
            per_row = jnp.sum(error**2, axis=1) / 2
            return per_row.sum() if reduction == "sum" else per_row.mean()

        ((value, (model_state, _)), grads), (want, want_grads) = jax.jit(
            lambda params: (rule(params, {"kept": 1}, batch, None), jax.value_and_grad(loss)(params))
        )(params)
        np.testing.assert_allclose(value, want, rtol=1e-12)
        chex.assert_trees_all_close(grads, want_grads, rtol=1e-10, atol=1e-12)
        chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
        assert model_state == {"kept": 1}


@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_autodiff_through_the_model(use_bias, key):
    model = MLP([5, 3], 2, activation=nn.sigmoid, use_bias=use_bias, bias_init=nn.normal_init(1.0))
    _, batch = random_net(0, [4, 2], True, 6)
    params = model.init(key, batch["inputs"], train=False)["params"]

    def loss(params):
        outputs = jax.nn.sigmoid(model.apply({"params": params}, batch["inputs"], train=True))
        return jnp.sum((outputs - batch["labels"]) ** 2) / 2

    (value, _), grads = rules.manual_backprop(inputs="inputs", targets="labels")(params, {}, batch, key)
    want, want_grads = jax.value_and_grad(loss)(params)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    chex.assert_trees_all_close(grads, want_grads, rtol=1e-5, atol=1e-6)


def test_sequential_form_updates_the_layers_from_last_to_first():
    """Three layers against the program in words: update a layer in place, then look at the one below."""
    with jax.enable_x64(True):
        params, batch = random_net(3, [3, 4, 2, 2], True, 5)
        rate = 0.3
        rule = rules.manual_backprop(inputs="inputs", targets="labels", sequential_learning_rate=rate)
        _, grads = rule(params, {}, batch, None)
        kernels = [np.array(params[f"Dense_{i}"]["kernel"]) for i in range(3)]
        values = [np.array(batch["inputs"]), *map(np.array, forward(params, batch["inputs"]))]
        downward = values[3] - np.array(batch["labels"])
        for l in (2, 1, 0):
            delta = downward * values[l + 1] * (1 - values[l + 1])
            np.testing.assert_allclose(grads[f"Dense_{l}"]["bias"], delta.sum(axis=0), rtol=1e-12)
            kernels[l] -= rate * values[l].T @ delta
            downward = delta @ kernels[l].T
            new = params[f"Dense_{l}"]["kernel"] - rate * grads[f"Dense_{l}"]["kernel"]
            np.testing.assert_allclose(new, kernels[l], rtol=1e-12)


def test_layers_are_ordered_by_number_also_after_jit_sorted_them():
    params, batch = random_net(0, [2] * 12, True, 3)
    rule = rules.manual_backprop(inputs="inputs", targets="labels")
    assert list(jax.jit(lambda p: p)(params))[1] == "Dense_1"
    assert list(jax.jit(lambda p: p)(params))[2] == "Dense_10"
    (eager, _), grads = rule(params, {}, batch, None)
    (jitted, _), jitted_grads = jax.jit(rule)(params, {}, batch, None)
    np.testing.assert_allclose(eager, jitted, rtol=1e-6)
    chex.assert_trees_all_close(grads, jitted_grads, rtol=1e-4, atol=1e-9)
    renamed = {("in", "out")[i]: params[f"Dense_{i}"] for i in range(2)}
    two = {name: params[name] for name in ("Dense_0", "Dense_1")}
    by_name = rules.manual_backprop(inputs="inputs", targets="labels", layers=["in", "out"])
    assert float(by_name(renamed, {}, batch, None)[0][0]) == float(rule(two, {}, batch, None)[0][0])


def test_bfloat16_keeps_its_dtype_and_reports_float32():
    params, batch = random_net(0, [3, 4, 2], True, 5)
    params, batch = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (params, batch))
    rule = rules.manual_backprop(inputs="inputs", targets="labels", sequential_learning_rate=0.1)
    (loss, (_, metrics)), grads = rule(params, {}, batch, None)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    assert loss.dtype == metrics["mean_squared_error"].dtype == jnp.float32


def call(params, x=(4, 3), y=(4, 2), dtype=jnp.float32, **kwargs):
    return rules.manual_backprop(**kwargs)(params, {}, {"x": jnp.zeros(x, dtype), "y": jnp.zeros(y)}, None)


def dense(fan_in, fan_out, **more):
    return {"kernel": jnp.zeros((fan_in, fan_out)), **more}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: rules.manual_backprop(reduction="max"),
            ValueError,
            "reduction must be one of 'sum', 'mean', got 'max'",
        ),
        (
            lambda: rules.manual_backprop(sequential_learning_rate=0),
            ValueError,
            "sequential_learning_rate must be positive and finite, got 0",
        ),
        (
            lambda: call({"Dense_0": dense(5, 2)}),
            ValueError,
            r"Dense_0/kernel must have shape \(3, any\), got \(5, 2\)",
        ),
        (
            lambda: call({"Dense_0": dense(3, 4), "Dense_1": dense(5, 2)}),
            ValueError,
            r"Dense_1/kernel must have shape \(4, any\), got \(5, 2\)",
        ),
        (
            lambda: call({"Dense_0": dense(3, 2, bias=jnp.zeros(3))}),
            ValueError,
            r"Dense_0/bias must have shape \(2\), got \(3,\)",
        ),
        (
            lambda: call({"Dense_0": dense(3, 2)}, y=(4,)),
            ValueError,
            r"targets must have shape \(4, 2\), got \(4,\)",
        ),
        (
            lambda: call({"Dense_0": dense(3, 2)}, x=(3,)),
            ValueError,
            r"inputs must have rank 2, got shape \(3,\)",
        ),
        (
            lambda: call({"Dense_0": dense(3, 2)}, dtype=jnp.int32),
            TypeError,
            "inputs must be floating point, got int32",
        ),
        (
            lambda: call({"Dense_0": {"scale": 1}}),
            ValueError,
            "Dense_0 must hold a kernel and at most a bias",
        ),
        (lambda: call({}), ValueError, "params must be a dict of at least one layer"),
        (lambda: call({"a": dense(3, 2), "b": dense(2, 2)}), ValueError, "layers must be given"),
        (lambda: call({"a_1": dense(3, 2), "b_1": dense(2, 2)}), ValueError, "layers must be given"),
        (
            lambda: call({"a": dense(3, 2), "b": dense(2, 2)}, layers=["a"]),
            ValueError,
            r"layers must name every one of \['a', 'b'\] once, got \['a'\]",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
