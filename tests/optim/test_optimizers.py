"""Every optimizer of the table in `conftest.py`, the same invariants on every row."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl import optim, train

# Most of the time goes into compiling; these programs run once.
jit = functools.partial(
    jax.jit,
    compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
)

# Three problems side by side in one tree, so that one program trains all three: a noisy quadratic, ill-conditioned;
# softmax regression; and a net that sees two words of six a step, so that most of its table has no gradient.
STEPS = 100
DRAW = np.random.default_rng(0)
NOISE = DRAW.normal(size=(STEPS, 3)) * np.array([1e-2, 0.3, 3.0])
CURVATURE, TARGET = np.array([0.01, 0.3, 10.0]), np.array([1.0, -2.0, 3.0])
FEATURES, LABELS = DRAW.normal(size=(12, 4)), np.eye(3)[DRAW.integers(0, 3, 12)]
WORDS, WANTED = np.eye(6)[DRAW.integers(0, 6, (STEPS, 2))], DRAW.normal(size=(STEPS, 2, 2))
START = {
    "quadratic": DRAW.normal(size=3),
    "logistic": DRAW.normal(size=(4, 3)),
    "mlp/table": DRAW.normal(size=(6, 4)),
    "mlp/kernel": DRAW.normal(size=(4, 2)),
}
ENDS = np.cumsum([x.size for x in START.values()])


def join(xp, tree):
    return {"all": xp.concatenate([xp.ravel(tree[name]) for name in START])}


def split(vector):
    return {name: vector[end - x.size : end].reshape(x.shape) for (name, x), end in zip(START.items(), ENDS)}


def gradient(xp, params, noise, words, wanted):
    if "all" in params:
        return join(xp, gradient(xp, split(params["all"]), noise, words, wanted))
    p, dtype = params, params["quadratic"].dtype
    z = xp.exp(FEATURES.astype(dtype) @ p["logistic"])
    wrong = (z / z.sum(axis=1, keepdims=True) - LABELS.astype(dtype)) / len(LABELS)
    hidden = xp.tanh(words @ p["mlp/table"])
    error = hidden @ p["mlp/kernel"] - wanted
    return {
        "quadratic": CURVATURE.astype(dtype) * (p["quadratic"] - TARGET.astype(dtype)) + noise,
        "logistic": FEATURES.T.astype(dtype) @ wrong,
        "mlp/table": words.T @ ((1 - hidden**2) * (error @ p["mlp/kernel"].T)),
        "mlp/kernel": hidden.T @ error,
    }


compiled_gradient = jit(functools.partial(gradient, jnp))


def start_of(row):
    """One vector where an optimizer looks at entries alone: it compiles in a fraction of the time."""
    return dict(START) if row.layered else join(np, START)


@functools.cache
def stepper(make):
    """One compiled train step whose learning rate is an argument: it is traced, as in a population."""

    @jit
    def step(lr, params, state, grads):
        given = lambda *_: ((jnp.zeros(()), ({}, {})), grads)  # noqa: E731 - an estimator that knows its gradient
        update = train.make_update(given, make(lr), report_norms=False)
        before = train.TrainState(jnp.zeros((), jnp.int32), params, {}, state, jax.random.key(0))
        after, metrics = update(before)
        return after.params, after.opt_state, metrics

    return step


def train_on(row, make, steps=STEPS):
    """Parameters, state and metrics after so many steps of the three problems, in the float of the moment."""
    dtype = jnp.result_type(float)
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), start_of(row))
    state, step, lr = make(row.step).init(params), stepper(make), jnp.asarray(row.step, dtype)
    metrics = {}
    for data in zip(*(x.astype(dtype) for x in (NOISE[:steps], WORDS, WANTED))):
        params, state, metrics = step(lr, params, state, compiled_gradient(params, *data))
    return jax.tree.map(np.asarray, params), state, metrics


def train_in_numpy(row):
    params = start_of(row)
    steps = {name: row.paper(row.step) for name in params}
    for data in zip(NOISE, WORDS, WANTED):
        grads = gradient(np, params, *data)
        params = {name: steps[name](params[name], grads[name]) for name in params}
    return params


@functools.cache
def train_in_float64(row):
    with jax.enable_x64(True):
        return train_on(row, row.ours)[0]


def test_100_steps_on_three_problems_match_the_paper(row):
    got = train_in_float64(row)
    assert all(leaf.dtype == np.float64 for leaf in got.values())
    chex.assert_trees_all_close(got, train_in_numpy(row), rtol=1e-9, atol=1e-9)


def test_100_steps_in_float32_match_the_paper_and_report_the_rate(optimizer):
    got, _, metrics = train_on(optimizer, optimizer.ours)
    chex.assert_trees_all_close(got, train_in_numpy(optimizer), rtol=1e-5, atol=1e-5)
    names = {0: [], 1: ["learning_rate"], 2: ["learning_rate/0", "learning_rate/1"]}[optimizer.rates]
    rates = {name: float(value) for name, value in metrics.items() if name != "loss"}
    assert rates == dict.fromkeys(names, np.float32(optimizer.step))


def test_100_steps_match_optax(twin):
    if twin.exact_library:
        want = train_on(twin, twin.library)[0]
        chex.assert_trees_all_close(train_on(twin, twin.ours)[0], want, rtol=1e-5, atol=1e-5)
    else:
        with jax.enable_x64(True):
            want = train_on(twin, twin.library)[0]
        chex.assert_trees_all_close(train_in_float64(twin), want, rtol=1e-9, atol=1e-9)


def test_100_steps_match_torch(torch_row):
    torch = pytest.importorskip("torch")
    params = {name: torch.tensor(x, requires_grad=True) for name, x in start_of(torch_row).items()}
    theirs = torch_row.torch(torch, list(params.values()), torch_row.step)
    for data in zip(NOISE, WORDS, WANTED):
        grads = gradient(np, {name: p.detach().numpy() for name, p in params.items()}, *data)
        for name, p in params.items():
            p.grad = torch.tensor(grads[name])
        theirs.step()
    want = {name: p.detach().numpy() for name, p in params.items()}
    chex.assert_trees_all_close(train_in_float64(torch_row), want, rtol=1e-9, atol=1e-9)


def test_nothing_from_nothing_and_nan_is_not_hidden(optimizer):
    # Zeros: no weights to decay.
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), start_of(optimizer))
    state, step = optimizer.ours(0.1).init(params), stepper(optimizer.ours)
    moved, state, _ = step(jnp.float32(0.1), params, state, params)
    size = max(float(jnp.abs(x).max()) for x in moved.values())
    # Yogi's first moment starts above 0, as Optax has it.
    assert size < 1e-4 if optimizer.id == "yogi" else size == 0
    name, zeros = next(iter(params.items()))
    first = (0,) * zeros.ndim
    moved, *_ = step(jnp.float32(0.1), params, state, params | {name: zeros.at[first].set(jnp.nan)})
    assert bool(jnp.isnan(moved[name][first]))
    assert optimizer.layered or int(jnp.isnan(moved[name]).sum()) == 1


def test_states_survive_a_checkpoint_bit_for_bit(all_rows, tmp_path):
    rows = [row for row in all_rows if "-" not in row.id]
    halves = {row.id: train_on(row, row.ours, 3) for row in rows}
    with_states = {id: {"params": params, "state": state} for id, (params, state, _) in halves.items()}
    saved = train.Checkpointer(tmp_path)
    saved.save(3, with_states)
    saved.close()
    blank = {row.id: train_on(row, row.ours, 0) for row in rows}
    like = {id: {"params": params, "state": state} for id, (params, state, _) in blank.items()}
    restored = saved.restore(like).state
    chex.assert_trees_all_equal(restored, with_states)
    for row in rows:
        went_on = stepper(row.ours)(
            jnp.float32(row.step), *with_states[row.id].values(), with_states[row.id]["params"]
        )
        resumed = stepper(row.ours)(
            jnp.float32(row.step), *restored[row.id].values(), restored[row.id]["params"]
        )
        chex.assert_trees_all_equal(went_on, resumed)


def test_compiles_once_and_keeps_dtypes(optimizer):
    tx = optimizer.ours(0.1)
    chex.clear_trace_counter()
    update = jit(chex.assert_max_traces(tx.update, n=1))
    params = {"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3), "h": jnp.full(2, 300, jnp.float16)}
    state = tx.init(params)
    for _ in range(3):
        updates, new_state = update(params, state, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)
        state = new_state
    chex.assert_tree_all_finite(
        (updates, state)
    )  # 300^2 overflows float16, whose moments are float32 therefore
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {jnp.dtype(jnp.int32), jnp.dtype(jnp.float32)}


def test_reaches_the_minimum_of_a_quadratic(optimizer):
    target, curvature = jnp.array([1.0, -2.0, 3.0]), jnp.array([1.0, 3.0, 10.0])
    tx = optimizer.ours(optimizer.rate)

    @jit
    def descend():
        def body(carry, _):
            params, state = carry
            updates, state = tx.update(curvature * (params - target), state, params)
            return (optax.apply_updates(params, updates), state), None

        start = jnp.array([2.0, -1.0, 1.0])
        return jax.lax.scan(body, (start, tx.init(start)), length=4000)[0][0]

    np.testing.assert_allclose(descend(), target, atol=2e-2)


def test_composes_with_optax_and_accumulation(optimizer):
    grads = np.random.default_rng(1).normal(size=(4, 3, 2))
    start = np.random.default_rng(2).normal(size=(3, 2))
    paper, want = optimizer.paper(0.1), start
    for g in grads:
        want = paper(want, g)

    def chained(lr):
        return optax.chain(
            optax.scale(2.0),
            optax.clip_by_global_norm(1e6),
            optax.scale(0.5),
            optax.masked(optimizer.ours(lr), {"masked": True, "labelled": False, "rest": False}),
            optax.multi_transform(
                {"ours": optimizer.ours(lr), "none": optax.identity()},
                {"masked": "none", "labelled": "ours", "rest": "none"},
            ),
        )

    tx = optim.accumulate(optax.inject_hyperparams(chained)(0.1), 2)
    params = {name: jnp.asarray(start, jnp.float32) for name in ("masked", "labelled", "rest")}
    state, update = tx.init(params), jit(tx.update)
    for g in np.repeat(grads, 2, axis=0) * np.tile([0.5, 1.5], 4)[:, None, None]:
        updates, state = update({name: jnp.asarray(g, jnp.float32) for name in params}, state, params)
        params = optax.apply_updates(params, updates)
    for name in ("masked", "labelled"):
        np.testing.assert_allclose(params[name], want, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(params["rest"], start + grads.sum(axis=0), rtol=1e-5)  # untouched gradients
    assert float(state.inner.hyperparams["lr"]) == np.float32(0.1)


LAYERED = ["adam", "adafactor-factored", "lamb", "muon"]  # and one that is not


@pytest.mark.parametrize("id", [*LAYERED, pytest.param("others", marks=pytest.mark.slow)])
def test_sharded_over_devices_gives_the_same(id, all_rows):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    place = NamedSharding(mesh, PartitionSpec(None, "data"))
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(8, 16)), jnp.float32)}

    @functools.partial(jit, static_argnums=0)
    def two_steps(tx, params):
        state = tx.init(params)
        for scale in (1.0, -0.3):
            updates, state = tx.update({"w": scale * jnp.sin(3 * params["w"])}, state, params)
            params = optax.apply_updates(params, updates)
        return params

    for row in all_rows:
        if row.id == id or (id == "others" and row.id not in LAYERED):
            tx = row.ours(0.1)
            got = two_steps(tx, jax.device_put(params, place))
            assert got["w"].sharding.is_equivalent_to(place, 2), row.id
            chex.assert_trees_all_close(got, two_steps(tx, params), rtol=1e-4, atol=1e-6)


SAME_NAME = """
    sgd adagrad adadelta rmsprop adam adamw nadam adamax amsgrad radam adabelief yogi adafactor lamb lars lion rprop
    lookahead scale_by_adam scale_by_adadelta scale_by_adamax scale_by_amsgrad scale_by_belief scale_by_radam
    scale_by_rprop scale_by_sign scale_by_trust_ratio scale_by_yogi scale_by_lbfgs add_decayed_weights
    clip_by_global_norm exponential_decay
"""
TWINS = {name: getattr(optax, name) for name in SAME_NAME.split()} | {
    "adaptive_clip": optax.adaptive_grad_clip,
    "clip_by_value": optax.clip,
    "constant": optax.constant_schedule,
    "cosine_decay": optax.cosine_decay_schedule,
    "exponential_moving_average": optax.ema,
    "linear_warmup": optax.warmup_constant_schedule,
    "muon": optax.contrib.muon,
    "one_cycle": optax.cosine_onecycle_schedule,
    "piecewise_constant": optax.piecewise_constant_schedule,
    "polynomial_decay": optax.polynomial_schedule,
    "reduce_on_plateau": optax.contrib.reduce_on_plateau,
    "sam": optax.contrib.sam,
    "scale_by_adagrad": optax.scale_by_rss,
    "scale_by_muon": optax.contrib.scale_by_muon,
    "signsgd": optax.sign_sgd,
    "skip_nonfinite": optax.apply_if_finite,
    "warmup_cosine": optax.warmup_cosine_decay_schedule,
}


@pytest.mark.parametrize("name", TWINS)
def test_signature_is_that_of_the_optax_twin(name):
    ours, theirs = (inspect.signature(f).parameters for f in (getattr(optim, name), TWINS[name]))
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


EVERY_NUMBER = {  # settings beside the learning rate, where the default is None
    "adafactor": {"momentum": 0.9, "weight_decay_rate": 1e-3},
    "muon": {"consistent_rms": 0.2},
    "rmsprop": {"momentum": 0.9},
    "sgd": {"momentum": 0.9},
}
OFTEN_INJECTED = ("sgd", "rmsprop", "adamw", "lion", "radam")
STATIC = ("min_dim_size_to_factor", "ns_steps", "dtype_momentum")  # decide shapes, a loop, a dtype


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in OFTEN_INJECTED else pytest.mark.slow)
        for name in TWINS
        if "learning_rate" in inspect.signature(getattr(optim, name)).parameters and "scale" not in name
    ],
)
def test_every_setting_may_be_injected(name):
    """Every number of the signature as an array in the state: none is judged while it is traced."""
    make = getattr(optim, name)
    static = [s for s in STATIC if s in inspect.signature(make).parameters]
    settings = {"learning_rate": 0.1, **EVERY_NUMBER.get(name, {})}
    params, grads = (
        {"w": jnp.asarray(x, jnp.float32)} for x in np.random.default_rng(0).normal(size=(2, 3, 2))
    )

    txs = optax.inject_hyperparams(make, static_args=static)(**settings), make(**settings)

    def second_update(tx):
        _, state = tx.update(grads, tx.init(params), params)
        return tx.update(jax.tree.map(jnp.negative, grads), state, params)[0]

    chex.assert_trees_all_close(*jit(lambda: list(map(second_update, txs)))(), rtol=1e-4, atol=1e-6)
