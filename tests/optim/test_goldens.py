"""Worked numbers: the first iterates of textbooks and papers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim


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
        pytest.param(optim.adadelta(rho=0.95), [4.99552786, 4.99100073, 4.98643776], id="adadelta"),
        pytest.param(optim.adamomentum(0.1), [4, 3.35852055, 2.88257089], id="adamomentum"),
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
