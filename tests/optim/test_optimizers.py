"""Every optimizer in one table, the same invariants on every row."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim


# The papers' recurrences in float64 NumPy: (gradients [T, n], start, settings) -> parameters after T steps.
def numpy_descent(grads, start, lr):
    return start - lr * grads.sum(axis=0)


def numpy_momentum(grads, start, lr, mu=0.9):
    theta, v = start, 0.0
    for g in grads:
        v = mu * v + g
        theta = theta - lr * v
    return theta


def numpy_ema_momentum(grads, start, lr, beta=0.9):
    theta, v = start, 0.0
    for g in grads:
        v = beta * v + (1 - beta) * g
        theta = theta - lr * v
    return theta


def numpy_nesterov(grads, start, lr, mu=0.9):
    """The published form; returns the look-ahead point, where the next gradient would be taken."""
    theta, v = start, 0.0
    for g in grads:
        v = mu * v - lr * g
        theta = theta + v
    return theta + mu * v


def numpy_adagrad(grads, start, lr, total=0.1, eps=1e-7):
    theta = start
    for g in grads:
        total = total + g**2
        theta = theta - lr * g / np.sqrt(total + eps)
    return theta


def numpy_rmsprop(
    grads, start, lr, rho=0.9, eps=1e-8, scale=0.0, inside=True, centered=False, mu=None, lead=False
):
    theta, v, m, velocity = start, scale, 0.0, 0.0
    for g in grads:
        v, m = rho * v + (1 - rho) * g**2, rho * m + (1 - rho) * g
        power = v - m**2 if centered else v
        u = g / (np.sqrt(power + eps) if inside else np.sqrt(power) + eps)
        velocity = (mu or 0.0) * velocity + u
        theta = theta - lr * (u + mu * velocity if lead else velocity)
    return theta


def numpy_adam(grads, start, lr, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, nesterov=False):
    theta, m, v = start, 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        theta = theta - lr * (m_hat / (np.sqrt(v / (1 - b2**t)) + eps) + decay * theta)
    return theta


class Row(NamedTuple):
    ours: Callable[..., optax.GradientTransformation]  # of the learning rate
    paper: Callable[..., Any]  # (grads, start, learning rate)
    library: Callable[..., optax.GradientTransformation] | None  # Optax's twin, of the learning rate
    torch: Callable[..., Any] | None = None  # (torch, params, learning rate) -> torch optimizer
    rate: float = 0.1  # reaches the minimum of the quadratic with it


def row(id, *args, **kwargs):
    return pytest.param(Row(*args, **kwargs), id=id)


OPTIMIZERS = [
    row(
        "gradient_descent",
        optim.gradient_descent,
        numpy_descent,
        optax.sgd,
        lambda torch, p, lr: torch.optim.SGD(p, lr),
    ),
    row("sgd", optim.sgd, numpy_descent, optax.sgd, lambda torch, p, lr: torch.optim.SGD(p, lr)),
    row(
        "sgd-momentum",
        lambda lr: optim.sgd(lr, 0.8),
        lambda g, start, lr: numpy_momentum(g, start, lr, 0.8),
        lambda lr: optax.sgd(lr, 0.8),
        lambda torch, p, lr: torch.optim.SGD(p, lr, momentum=0.8),
    ),
    row(
        "sgd-nesterov",
        lambda lr: optim.sgd(lr, 0.8, nesterov=True),
        lambda g, start, lr: numpy_nesterov(g, start, lr, 0.8),
        lambda lr: optax.sgd(lr, 0.8, nesterov=True),
        lambda torch, p, lr: torch.optim.SGD(p, lr, momentum=0.8, nesterov=True),
    ),
    row(
        "momentum",
        optim.momentum,
        numpy_momentum,
        lambda lr: optax.sgd(lr, 0.9),
        lambda torch, p, lr: torch.optim.SGD(p, lr, momentum=0.9),
    ),
    row(
        "ema_momentum",
        optim.ema_momentum,
        numpy_ema_momentum,
        lambda lr: optax.chain(optax.ema(0.9, debias=False), optax.scale_by_learning_rate(lr)),
    ),
    row(
        "nesterov",
        optim.nesterov,
        numpy_nesterov,
        lambda lr: optax.sgd(lr, 0.9, nesterov=True),
        lambda torch, p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
    ),
    row("adagrad", optim.adagrad, numpy_adagrad, optax.adagrad, rate=1.0),
    row(
        "adagrad-eps-0",
        lambda lr: optim.adagrad(lr, 0.5, 0.0),
        lambda g, start, lr: numpy_adagrad(g, start, lr, 0.5, 0.0),
        lambda lr: optax.adagrad(lr, 0.5, 0.0),
        lambda torch, p, lr: torch.optim.Adagrad(p, lr, initial_accumulator_value=0.5, eps=0.0),
        rate=1.0,
    ),
    row("rmsprop", optim.rmsprop, numpy_rmsprop, optax.rmsprop, rate=0.01),
    row(
        "rmsprop-outside",
        lambda lr: optim.rmsprop(lr, 0.95, 1e-4, 0.2, eps_in_sqrt=False),
        lambda g, start, lr: numpy_rmsprop(g, start, lr, 0.95, 1e-4, 0.2, False),
        lambda lr: optax.rmsprop(lr, 0.95, 1e-4, 0.2, eps_in_sqrt=False),
        rate=0.01,
    ),
    row(
        "rmsprop-centered-momentum",
        lambda lr: optim.rmsprop(lr, 0.9, 1e-3, eps_in_sqrt=False, centered=True, momentum=0.5),
        lambda g, start, lr: numpy_rmsprop(g, start, lr, 0.9, 1e-3, 0.0, False, True, 0.5),
        lambda lr: optax.rmsprop(lr, 0.9, 1e-3, eps_in_sqrt=False, centered=True, momentum=0.5),
        lambda torch, p, lr: torch.optim.RMSprop(p, lr, 0.9, 1e-3, momentum=0.5, centered=True),
        rate=1e-3,
    ),
    row(
        "rmsprop-nesterov",
        lambda lr: optim.rmsprop(lr, momentum=0.5, nesterov=True),
        lambda g, start, lr: numpy_rmsprop(g, start, lr, mu=0.5, lead=True),
        lambda lr: optax.rmsprop(lr, momentum=0.5, nesterov=True),
        rate=5e-3,
    ),
    row(
        "rmsprop-corrected",  # Adam without a first moment
        lambda lr: optim.rmsprop(lr, 0.99, eps_in_sqrt=False, bias_correction=True),
        lambda g, start, lr: numpy_adam(g, start, lr, 0.0, 0.99),
        lambda lr: optax.rmsprop(lr, 0.99, eps_in_sqrt=False, bias_correction=True),
        lambda torch, p, lr: torch.optim.Adam(p, lr, (0.0, 0.99)),
        rate=0.01,
    ),
    row("adam", optim.adam, numpy_adam, optax.adam, lambda torch, p, lr: torch.optim.Adam(p, lr)),
    row(
        "adam-settings",
        lambda lr: optim.adam(lr, 0.8, 0.99, 1e-3),
        lambda g, start, lr: numpy_adam(g, start, lr, 0.8, 0.99, 1e-3),
        lambda lr: optax.adam(lr, 0.8, 0.99, 1e-3),
        lambda torch, p, lr: torch.optim.Adam(p, lr, (0.8, 0.99), 1e-3),
    ),
    row(
        "adam-nesterov",
        lambda lr: optim.adam(lr, nesterov=True),
        lambda g, start, lr: numpy_adam(g, start, lr, nesterov=True),
        lambda lr: optax.adam(lr, nesterov=True),
    ),
    row(
        "adamw",
        lambda lr: optim.adamw(lr, weight_decay=1e-3),
        lambda g, start, lr: numpy_adam(g, start, lr, decay=1e-3),
        lambda lr: optax.adamw(lr, weight_decay=1e-3),
        lambda torch, p, lr: torch.optim.AdamW(p, lr, weight_decay=1e-3),
    ),
]
every_optimizer = pytest.mark.parametrize("row", OPTIMIZERS)

GRADS = np.random.default_rng(0).normal(size=(100, 3)) * np.array([1e-2, 1.0, 30.0])
START = np.array([1.0, -2.0, 0.5])


def run(tx, grads, params):
    """Parameters after one step per gradient; one compiled program."""

    def body(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(body, (params, tx.init(params)), grads)[0]


@every_optimizer
def test_matches_the_paper_and_optax_over_100_steps(row):
    want = row.paper(GRADS, START, 0.1)
    got, _ = run(row.ours(0.1), jnp.asarray(GRADS, jnp.float32), jnp.asarray(START, jnp.float32))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    with jax.enable_x64(True):
        got, library = (
            run(tx, jnp.asarray(GRADS), jnp.asarray(START))[0] for tx in (row.ours(0.1), row.library(0.1))
        )
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(got, library, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("row", [param for param in OPTIMIZERS if param.values[0].torch])
def test_matches_torch_over_100_steps(row):
    torch = pytest.importorskip("torch")
    params = torch.tensor(START, requires_grad=True)
    theirs = row.torch(torch, [params], 0.1)
    for g in GRADS:
        params.grad = torch.tensor(g)
        theirs.step()
    with jax.enable_x64(True):
        got, _ = run(row.ours(0.1), jnp.asarray(GRADS), jnp.asarray(START))
        np.testing.assert_allclose(got, params.detach().numpy(), rtol=1e-10, atol=1e-10)


def test_ema_momentum_matches_torch_once_its_average_started_at_zero():
    # PyTorch's buffer starts at the first gradient; when that is 0 both start alike.
    torch = pytest.importorskip("torch")
    grads = np.concatenate([np.zeros((1, 3)), GRADS])
    params = torch.tensor(START, requires_grad=True)
    theirs = torch.optim.SGD([params], 0.1, momentum=0.9, dampening=0.9)
    for g in grads:
        params.grad = torch.tensor(g)
        theirs.step()
    with jax.enable_x64(True):
        got, _ = run(optim.ema_momentum(0.1), jnp.asarray(grads), jnp.asarray(START))
        np.testing.assert_allclose(got, params.detach().numpy(), rtol=1e-11)


def iterates(tx, grad, start, steps, read=lambda params, state: params):
    """What `read` gives after each step of descent along `grad`, from one number."""
    params = jnp.asarray(start, jnp.result_type(float))
    state, seen = tx.init(params), []
    for _ in range(steps):
        updates, state = tx.update(grad(params), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(float(read(params, state)))
    return seen


@pytest.mark.parametrize(
    ("tx", "want"),
    [
        pytest.param(optim.momentum(0.1), [0.9, 0.72, 0.486], id="002-D3-momentum"),
        pytest.param(
            optim.adagrad(0.1, 0.0, 1e-8), [0.9000000005, 0.8331035275, 0.7804561821], id="002-D3-adagrad"
        ),
        pytest.param(
            optim.rmsprop(0.1, 0.9, 1e-10), [0.6837722341, 0.4988706071, 0.3691805534], id="002-D3-rmsprop"
        ),
        pytest.param(optim.adam(0.1), [0.9000000010, 0.8004122297, 0.7015862745], id="002-D3-adam"),
        pytest.param(optim.nesterov(0.1), [0.81, 0.5751, 0.327321], id="002-D7-nesterov"),
    ],
)
def test_three_steps_on_half_a_square(tx, want):
    np.testing.assert_allclose(iterates(tx, lambda w: w, 1.0, 3), want, rtol=1e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(iterates(tx, lambda w: w, 1.0, 3), want, atol=1.01e-10)


@pytest.mark.parametrize(
    ("tx", "want"),
    [
        pytest.param(optim.gradient_descent(0.1), [4, 3.2, 2.56], id="descent"),
        pytest.param(optim.sgd(0.1), [4, 3.2, 2.56], id="sgd"),
        pytest.param(optim.ema_momentum(0.1), [4.9, 4.712, 4.44856], id="ema_momentum"),
        pytest.param(optim.adagrad(0.1, 0.0, 1e-8), [4.9, 4.83000714, 4.77321848], id="adagrad"),
        pytest.param(optim.rmsprop(0.1), [4.68377223, 4.46158461, 4.27928873], id="rmsprop"),
        pytest.param(optim.adam(0.1), [4.9, 4.80005776, 4.70021329], id="adam"),
    ],
)
def test_golden_004a_5_1(tx, want):
    np.testing.assert_allclose(iterates(tx, lambda x: 2 * x, 5.0, 3), want, rtol=1e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(iterates(tx, lambda x: 2 * x, 5.0, 3), want, atol=1.01e-8)


@pytest.mark.parametrize(
    ("grad", "start", "want"),
    [
        pytest.param(lambda w: w, 1.0, [0.9, 0.729, 0.51759], id="002-D3"),
        pytest.param(lambda x: 2 * x, 5.0, [4, 2.48, 0.8896], id="004a-5.1"),
    ],
)
@pytest.mark.parametrize(
    "tx", [optim.nesterov(0.1), optim.sgd(0.1, 0.9, nesterov=True)], ids=["nesterov", "sgd"]
)
def test_nesterov_iterate_is_the_published_one(tx, grad, start, want):
    with jax.enable_x64(True):
        np.testing.assert_allclose(iterates(tx, grad, start, 3, optim.nesterov_iterate), want, rtol=1e-12)


def test_nesterov_iterate_needs_one_nesterov_state():
    params = jnp.ones(2)
    with pytest.raises(ValueError, match="exactly one ScaleByNesterovState, got 0"):
        optim.nesterov_iterate(params, optim.momentum(0.1).init(params))


def test_golden_001_G2_gradient_descent_on_one_weight():
    def loss(w):
        return 0.5 * (6 - 2 * w) ** 2

    assert float(jax.grad(loss)(5.0)) == 8
    with jax.enable_x64(True):
        weights = [5.0, *iterates(optim.gradient_descent(0.1), jax.grad(loss), 5.0, 7)]
        want = [5, 4.2, 3.72, 3.432, 3.2592, 3.15552, 3.093312, 3.0559872]
        np.testing.assert_allclose(weights, want, rtol=1e-14)
        np.testing.assert_allclose(np.array(weights) - 3, 2 * 0.6 ** np.arange(8), rtol=1e-12)
        losses = [8, 2.88, 1.0368, 0.373248, 0.13436928, 0.0483729408]
        np.testing.assert_allclose([loss(w) for w in weights[:6]], losses, rtol=1e-12)


def test_golden_004a_7_6_fifty_steps_on_a_square():
    with jax.enable_x64(True):
        got = iterates(optim.gradient_descent(0.1), lambda x: 2 * x, 5.0, 50)[-1]
        np.testing.assert_allclose(got, 7.136238463529802e-05, rtol=1e-13)
    # The factor per step is 1 - 2 lr, so it converges where 0 < lr < 1 and nowhere else.
    ends = [
        abs(iterates(optim.gradient_descent(lr), lambda x: 2 * x, 5.0, 50)[-1]) for lr in (0.99, 1.0, 1.01)
    ]
    assert ends[0] < 5
    assert ends[1] == 5
    assert ends[2] > 5


def test_golden_004a_7_13_sgd_on_the_exact_stream():
    stream = np.random.RandomState(42)
    x = 2 * stream.rand(100, 1)
    y = 4 + 3 * x + stream.randn(100, 1)
    design = np.hstack([np.ones((100, 1)), x])
    theta = stream.randn(2, 1)
    order = np.concatenate([stream.permutation(100) for _ in range(1000)])
    with jax.enable_x64(True):
        tx = optim.sgd(0.1)

        def cost(theta):
            return jnp.mean((design @ theta - y) ** 2)

        def body(carry, row):
            theta, state = carry
            x, y = row
            grad = jax.grad(lambda theta: jnp.sum((x @ theta - y) ** 2))(theta)
            updates, state = tx.update(grad, state)
            return (optax.apply_updates(theta, updates), state), theta

        rows = (jnp.asarray(design)[order][:, None, :], jnp.asarray(y)[order][:, None, :])
        start = jnp.asarray(theta)
        (theta, _), before = jax.lax.scan(body, (start, tx.init(start)), rows)
        np.testing.assert_allclose(theta[:, 0], [4.17209292, 2.72564644], atol=1.01e-8)
        np.testing.assert_allclose(cost(theta), 0.8144716638, atol=1.01e-10)
        want = [1.581821686856939, 1.5664692700155733, 1.4445422391173144, 1.7037674963102662]
        want += [0.9101999515899212, 0.8184497904316664, 0.8352333304446237, 0.8542729530055074]
        want += [1.0508310318687628, 0.8261971232182218]
        after = jnp.concatenate([before[1:], theta[None]])[99::100]  # at the end of each epoch
        np.testing.assert_allclose([cost(t) for t in after[::100]], want, rtol=1e-12)


def test_golden_004a_7_12a_regression_by_gradient_descent():
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(42)
    x = torch.randn(1000, 2, generator=generator).double().numpy()
    y = x @ [1.3, -1.0] - 3.5
    start = {"w": np.array([-0.3239247, 0.5574488]), "b": np.array(0.5710429)}
    with jax.enable_x64(True):

        def cost(p):
            return jnp.mean((x @ p["w"] + p["b"] - y) ** 2)

        def descend(lr, steps):
            tx = optim.gradient_descent(lr)

            def body(carry, _):
                p, state = carry
                updates, state = tx.update(jax.grad(cost)(p), state)
                return (optax.apply_updates(p, updates), state), (p, cost(p))

            p = jax.tree.map(jnp.asarray, start)
            (p, _), history = jax.lax.scan(body, (p, tx.init(p)), length=steps)
            return p, history

        p, (before, costs) = descend(0.001, 1001)
        np.testing.assert_allclose(costs[0], 21.7440388, atol=2e-6)  # the start is printed to seven digits
        table = {
            100: (-0.045726, 0.270079, -0.176591, 14.5963),
            500: (0.665543, -0.437432, -2.024235, 2.9193),
            1000: (1.052251, -0.795964, -2.965297, 0.3914),
        }
        for step, (w1, w2, b, loss) in table.items():
            np.testing.assert_allclose([*before["w"][step], before["b"][step]], [w1, w2, b], atol=1.01e-6)
            np.testing.assert_allclose(costs[step - 1], loss, atol=1.01e-4)
        p, _ = descend(0.01, 1000)
        np.testing.assert_allclose([*p["w"], p["b"]], [1.29999999, -1.0, -3.49999999], atol=1.01e-8)


def test_maximize_climbs():
    params, _ = run(optim.gradient_descent(0.1, maximize=True), jnp.ones((3, 2)), jnp.zeros(2))
    np.testing.assert_allclose(params, [0.3, 0.3], rtol=1e-6)


TWINS = ["sgd", "adagrad", "rmsprop", "adam", "adamw"]


@pytest.mark.parametrize("name", [*TWINS, "scale_by_adam", "add_decayed_weights", "clip_by_global_norm"])
def test_signature_is_that_of_the_optax_twin(name):
    ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (optim, optax))
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


@every_optimizer
def test_compiles_once_and_keeps_dtypes(row):
    tx = row.ours(0.1)
    chex.clear_trace_counter()
    update = jax.jit(chex.assert_max_traces(tx.update, n=1))
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


@pytest.mark.parametrize(
    "tx",
    [
        optim.sgd(0.1, 0.9, accumulator_dtype=jnp.bfloat16),
        optim.sgd(0.1, 0.9, True, accumulator_dtype=jnp.bfloat16),
        optim.ema_momentum(0.1, accumulator_dtype=jnp.bfloat16),
        optim.adam(0.1, mu_dtype=jnp.bfloat16),
    ],
    ids=["momentum", "nesterov", "ema_momentum", "adam"],
)
def test_accumulator_dtype_is_kept(tx):
    params = jnp.ones(3)
    _, state = run(tx, jnp.ones((2, 3)), params)
    assert next(leaf.dtype for leaf in jax.tree.leaves(state) if leaf.shape == (3,)) == jnp.bfloat16


def test_small_squares_still_add_up_under_bfloat16():
    # 1e-3 g^2 is lost beside v in eight bits: a bfloat16 v would stall far below E[g^2] = 1.
    params = jnp.zeros(1, jnp.bfloat16)
    _, state = run(optim.adam(1e-3), jnp.ones((4000, 1), jnp.bfloat16), params)
    np.testing.assert_allclose(state[0].nu, [1 - 0.999**4000], rtol=1e-4)


@every_optimizer
def test_reaches_the_minimum_of_a_quadratic(row):
    target, curvature = jnp.array([1.0, -2.0, 3.0]), jnp.array([1.0, 3.0, 10.0])
    tx = row.ours(row.rate)

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(curvature * (params - target), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(body, (jnp.zeros(3), tx.init(jnp.zeros(3))), length=4000)
    np.testing.assert_allclose(params, target, atol=2e-2)


@every_optimizer
def test_state_is_restored_bit_for_bit(row):
    tx = row.ours(optim.cosine_decay(0.1, 40))
    grads, start = jnp.asarray(GRADS[:20], jnp.float32), jnp.asarray(START, jnp.float32)
    update = jax.jit(tx.update)

    def steps(params, state, grads):
        for g in grads:
            updates, state = update(g, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    params, state = steps(start, tx.init(start), grads[:10])
    saved = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    blank = tx.init(start)
    restored = jax.tree.unflatten(jax.tree.structure(blank), [jnp.asarray(leaf) for leaf in saved])
    chex.assert_trees_all_equal_shapes_and_dtypes(restored, blank)
    resumed, straight = (steps(params, s, grads[10:]) for s in (restored, state))
    chex.assert_trees_all_equal(resumed, straight)


@every_optimizer
def test_composes_with_optax(row):
    few = GRADS[:6]
    grads, start = jnp.asarray(few, jnp.float32), jnp.asarray(START, jnp.float32)
    want = row.paper(few, START, 0.1)

    masked = optax.masked(row.ours(0.1), {"a": True, "b": False})
    both, _ = run(masked, {"a": grads, "b": grads}, {"a": start, "b": start})
    np.testing.assert_allclose(both["a"], want, rtol=1e-5)
    np.testing.assert_allclose(both["b"], START + few.sum(axis=0), rtol=1e-5)  # Optax passes these through

    twice = optax.MultiSteps(row.ours(0.1), 2)
    halves = jnp.repeat(grads, 2, axis=0) * jnp.tile(jnp.array([0.5, 1.5]), 6)[:, None]
    np.testing.assert_allclose(run(twice, halves, start)[0], want, rtol=1e-5)

    chained = optax.chain(optax.scale(2.0), optax.clip_by_global_norm(1e6), optax.scale(0.5), row.ours(0.1))
    np.testing.assert_allclose(run(chained, grads, start)[0], want, rtol=1e-5)

    injected = optax.inject_hyperparams(row.ours)(0.1)
    np.testing.assert_allclose(run(injected, grads, start)[0], want, rtol=1e-5)
    assert [float(value) for value in injected.init(start).hyperparams.values()][:1] == [np.float32(0.1)]


@every_optimizer
def test_learning_rate_may_be_traced(row):
    grads, start = jnp.asarray(GRADS[:6], jnp.float32), jnp.asarray(START, jnp.float32)
    rates = jnp.array([0.01, 0.1, 1.0])
    population = jax.vmap(lambda lr: run(row.ours(lr), grads, start)[0])(rates)
    want = [row.paper(GRADS[:6], START, lr) for lr in (0.01, 0.1, 1.0)]
    np.testing.assert_allclose(population, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TWINS)
def test_every_setting_may_be_injected(name):
    """Every number of the signature as an array in the state: none is judged while it is traced."""
    grads, start = jnp.asarray(GRADS[:6], jnp.float32), jnp.asarray(START, jnp.float32)
    settings = {"sgd": {"momentum": 0.9}, "rmsprop": {"momentum": 0.9}}.get(name, {})
    injected = optax.inject_hyperparams(getattr(optim, name))(0.1, **settings)
    want, _ = run(getattr(optim, name)(0.1, **settings), grads, start)
    np.testing.assert_allclose(run(injected, grads, start)[0], want, rtol=1e-4, atol=1e-5)


def test_the_rate_of_the_last_update_is_in_the_state():
    tx = optim.adam(optim.exponential_decay(0.1, 1, 0.5))
    params = jnp.ones(2)
    state, rates = tx.init(params), []
    for _ in range(3):
        _, state = tx.update(params, state, params)
        ((_, rate),) = optax.tree_utils.tree_get_all_with_path(state, "learning_rate")
        rates.append(float(rate))
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.025], rtol=1e-6)
    assert rate.dtype == jnp.float32


def test_bias_correction_is_exact_in_float32():
    # 1 - 0.999^1 in float32 is wrong in the fifth digit; the first step of Adam is learning_rate sign(g).
    updates, _ = optim.adam(1.0, eps=0.0).update(jnp.array([3.0]), optim.adam(1.0).init(jnp.zeros(1)))
    np.testing.assert_allclose(updates, [-1.0], rtol=3e-7)


def test_centered_rmsprop_survives_a_constant_gradient():
    # v - m^2 tends to 0 from both sides in float32; Optax takes the root of the negative ones.
    params, _ = run(optim.rmsprop(0.1, centered=True), jnp.full((500, 3), 10.0), jnp.zeros(3))
    assert bool(jnp.isfinite(params).all())


@every_optimizer
def test_nothing_from_nothing_and_nan_is_not_hidden(row):
    tx, params = row.ours(0.1), jnp.zeros(2)  # no weights to decay
    updates, state = tx.update(jnp.zeros(2), tx.init(params), params)
    np.testing.assert_array_equal(updates, jnp.zeros(2))
    updates, _ = tx.update(jnp.array([jnp.nan, 0.0]), state, params)
    np.testing.assert_array_equal(jnp.isnan(updates), [True, False])


def test_adagrad_without_eps_stays_where_it_never_saw_a_gradient():
    tx = optim.adagrad(0.1, 0.0, 0.0)
    updates, _ = tx.update(jnp.array([0.0, 2.0]), tx.init(jnp.ones(2)))
    np.testing.assert_allclose(updates, [0.0, -0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.adam(-1e-3), "learning_rate must be finite and at least 0, got -0.001"),
        (lambda: optim.sgd(float("nan")), "learning_rate must be finite and at least 0, got nan"),
        (
            lambda: optim.gradient_descent(float("inf")),
            "learning_rate must be finite and at least 0, got inf",
        ),
        (lambda: optim.adam(1e-3, b1=1.0), "b1 must be at least 0 and below 1, got 1.0"),
        (lambda: optim.adamw(1e-3, b2=-0.1), "b2 must be at least 0 and below 1, got -0.1"),
        (lambda: optim.adam(1e-3, eps=-1), "eps must be finite and at least 0, got -1"),
        (lambda: optim.adamw(1e-3, weight_decay=-1), "weight_decay must be finite and at least 0, got -1"),
        (lambda: optim.sgd(1e-3, momentum=1), "momentum must be at least 0 and below 1, got 1"),
        (lambda: optim.sgd(1e-3, nesterov=True), "nesterov=True needs momentum"),
        (lambda: optim.momentum(1e-3, decay=2), "decay must be at least 0 and below 1, got 2"),
        (lambda: optim.ema_momentum(1e-3, decay=2), "decay must be at least 0 and below 1, got 2"),
        (lambda: optim.nesterov(1e-3, decay=2), "decay must be at least 0 and below 1, got 2"),
        (
            lambda: optim.adagrad(1e-3, -0.1),
            "initial_accumulator_value must be finite and at least 0, got -0.1",
        ),
        (lambda: optim.rmsprop(1e-3, 1.5), "decay must be at least 0 and below 1, got 1.5"),
        (lambda: optim.rmsprop(1e-3, nesterov=True), "nesterov=True needs momentum"),
        (lambda: optim.rmsprop(1e-3, momentum=-1), "momentum must be at least 0 and below 1, got -1"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make()


def test_integer_parameters_are_named():
    with pytest.raises(TypeError, match="layer/count must be floating point, got int32"):
        optim.adam(1e-3).init({"layer": {"count": jnp.zeros(2, jnp.int32)}})
