"""Penalties and the max-norm projection: worked numbers, closed forms, PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn, optim

PARAMS = {
    "a": {
        "kernel": np.array([[1.0, -2.0], [0.0, 3.0]], np.float32),
        "bias": np.array([5.0, -0.5], np.float32),
    },
    "b": {"kernel": np.array([[0.25]], np.float32)},
}


def kernels(params):
    return jax.tree.map(lambda w: w.ndim >= 2, params)


PENALTIES = {  # ours, then the term in PyTorch
    "l1": (lambda p, mask=None: nn.l1_penalty(p, 0.3, mask), lambda w: 0.3 * w.abs().sum()),
    "l2": (lambda p, mask=None: nn.l2_penalty(p, 0.3, mask), lambda w: 0.15 * (w**2).sum()),
    "elastic_net": (
        lambda p, mask=None: nn.elastic_net_penalty(p, 0.3, 0.2, mask),
        lambda w: 0.3 * w.abs().sum() + 0.2 * (w**2).sum(),
    ),
}


@pytest.mark.parametrize("masked", [False, True], ids=["all", "kernels"])
@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_match_torch(name, masked):
    torch = pytest.importorskip("torch")
    ours, term = PENALTIES[name]
    value, gradient = jax.jit(jax.value_and_grad(lambda p: ours(p, kernels if masked else None)))(PARAMS)
    there = jax.tree.map(lambda w: torch.tensor(w.astype(np.float64), requires_grad=True), PARAMS)
    total = sum(term(w) for w in jax.tree.leaves(there) if w.ndim >= 2 or not masked)
    total.backward()
    assert value == pytest.approx(total.item(), rel=1e-6)
    theirs = jax.tree.map(lambda w: np.zeros(w.shape) if w.grad is None else w.grad.numpy(), there)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), gradient, theirs)


def test_masks_may_be_trees_prefixes_or_functions():
    masks = None, {"a": True, "b": False}, kernels(PARAMS), kernels, False
    values = jax.jit(lambda p: [nn.l1_penalty(p, 1.0, mask) for mask in masks])(PARAMS)
    np.testing.assert_allclose(values, [11.75, 11.5, 6.25, 6.25, 0], rtol=1e-6)
    assert nn.l1_penalty({}, 1.0) == 0
    with pytest.raises(ValueError, match="key|structure|arity"):
        nn.l1_penalty(PARAMS, 1.0, mask={"a": True})


def test_l2_gradient_is_the_coupled_decay():  # 004b-4.1
    tx = optim.coupled_l2(0.3)
    zeros = jax.tree.map(np.zeros_like, PARAMS)

    @jax.jit
    def both(params):
        updates, _ = tx.update(zeros, tx.init(params), params)
        return jax.grad(lambda p: nn.l2_penalty(p, 0.3))(params), updates

    gradient, updates = both(PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), gradient, updates)


def test_soft_sharing():  # 002-D13b
    a, b = np.array([[1.0, 2], [3, 4]], np.float32), np.array([[1.0, 0], [0, 4]], np.float32)

    @jax.jit
    def both(a, b):
        return jax.value_and_grad(lambda a, b: nn.soft_sharing_penalty({"w": a}, {"w": b}, 0.1), (0, 1))(a, b)

    value, (da, db) = both(a, b)
    assert value == pytest.approx(1.3)
    np.testing.assert_allclose(da, 0.2 * (a - b), rtol=1e-6)
    np.testing.assert_allclose(db, -0.2 * (a - b), rtol=1e-6)


def test_sums_in_float32():
    ones = jnp.ones((64, 64), jnp.bfloat16)  # a bfloat16 sum of ones stops at 256

    @jax.jit
    def everything(w):
        params = {"w": w}
        return (
            nn.l1_penalty(params, 1.0),
            nn.l2_penalty(params, 2.0),
            nn.elastic_net_penalty(params, 0.5, 0.5),
            nn.soft_sharing_penalty(params, {"w": -w}, 0.25),
            jax.grad(lambda w: nn.l2_penalty({"w": w}, 2.0))(w),
        )

    *sums, gradient = everything(ones)
    assert all(total.dtype == jnp.float32 for total in sums)
    np.testing.assert_array_equal(sums, 4096)
    assert gradient.dtype == jnp.bfloat16


WEIGHTS = np.array([[0.5, -0.2, 0.1], [0.3, 0.8, -0.6]], np.float32)


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        pytest.param(lambda x: nn.sigmoid(x @ WEIGHTS.T), (1, 0.5, -1), 0.0488015, id="001-G19"),
        pytest.param(
            lambda x: nn.sigmoid(x @ np.array([[0.5, 1], [-0.5, 0]], np.float32)),
            (1, 2),
            0.0662696,
            id="002-D13e",
        ),
        pytest.param(
            lambda x: nn.relu(
                x @ np.array([[0.1, -0.2], [0.3, 0.4], [-0.5, 0.6]], np.float32)
                + np.array([[0.05, -0.1]], np.float32)
            ),
            (1, 0.5, -1),
            0.35,
            id="004b-contractive-relu",
        ),
    ],
)
def test_jacobian_penalty_of_worked_layers(function, x, expected):
    x = np.array([x, x], np.float32)
    penalty = jax.jit(lambda x: nn.jacobian_penalty(function, x))
    np.testing.assert_allclose(penalty(x), [expected] * 2, rtol=1e-5)


def net(w, x):
    return jnp.tanh(x.reshape(x.shape[0], -1) @ w).reshape(-1, 2, 2)


def test_jacobian_penalty_matches_torch_with_its_gradient():
    """A net from [3, 2] to [2, 2], by PyTorch's Jacobian of each example; gradients too, which are of second order."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 3, 2)).astype(np.float32), rng.normal(size=(6, 4)).astype(np.float32)

    @jax.jit
    def both(w, x):
        value, pullback = jax.vjp(lambda w, x: nn.jacobian_penalty(lambda x: net(w, x), x), w, x)
        return value, pullback(jnp.ones(5))

    value, (dw, dx) = both(w, x)
    there = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (w, x)]
    jacobians = [
        torch.autograd.functional.jacobian(
            lambda x: torch.tanh(x.reshape(6) @ there[0]), row, create_graph=True
        )
        for row in there[1]
    ]
    penalties = torch.stack([(j**2).sum() for j in jacobians])
    penalties.sum().backward()
    np.testing.assert_allclose(value, penalties.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(dw, there[0].grad.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, there[1].grad.numpy(), rtol=1e-5, atol=1e-5)


def test_jacobian_penalty_is_estimated_without_bias(key):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 3, 2)).astype(np.float32), rng.normal(size=(6, 4)).astype(np.float32)

    @jax.jit
    def both(x):
        function = lambda x: net(w, x)  # noqa: E731
        estimate = jax.vmap(lambda k: nn.jacobian_penalty(function, x, k, num_projections=2))
        return nn.jacobian_penalty(function, x), estimate(jax.random.split(key, 2000))

    exact, estimates = map(np.asarray, both(x))
    assert (abs(estimates.mean(0) - exact) < 5 * estimates.std(0) / np.sqrt(2000)).all()
    assert (estimates.std(0) > 0.05 * exact).all()


def test_jacobian_penalty_is_the_contractive_one():  # 004b-4.1
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    h = 1 / (1 + np.exp(-x.astype(np.float64) @ WEIGHTS.T))
    expected = ((h * (1 - h)) ** 2 @ (WEIGHTS.astype(np.float64) ** 2)).sum(1)
    penalty = jax.jit(lambda x: nn.jacobian_penalty(lambda x: nn.sigmoid(x @ WEIGHTS.T), x))
    np.testing.assert_allclose(penalty(x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "axis", "expected"),
    [
        pytest.param([3, 4], 0, [1.2, 1.6], id="002-D13c"),
        pytest.param([[3, 0.3], [4, 0.4]], None, [[1.2, 0.3], [1.6, 0.4]], id="004b-max"),
        pytest.param([[3, 4], [0.3, 0.4]], 1, [[1.2, 1.6], [0.3, 0.4]], id="rows"),
        pytest.param([[3e30, 0], [4e30, 0]], None, [[1.2, 0], [1.6, 0]], id="squares-overflow"),
        pytest.param([[3e-30, 1], [4e-30, 0]], None, [[3e-30, 1], [4e-30, 0]], id="squares-vanish"),
    ],
)
def test_max_norm(kernel, axis, expected):
    kernel, expected = np.array(kernel, np.float32), np.array(expected, np.float32)
    got = np.asarray(jax.jit(lambda w: nn.max_norm(w, 2.0, axis))(kernel))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_array_equal(got[expected == kernel], kernel[expected == kernel])  # to the last bit


def test_max_norm_matches_torchs_renorm_with_its_gradient():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    w, weight = rng.normal(size=(2, 3, 3, 2, 5)).astype(np.float32)
    w[..., 0] = 0  # a unit without weights has a gradient all the same
    there = torch.tensor(w.astype(np.float64), requires_grad=True)
    norms = (there**2).sum((0, 1, 2), keepdim=True)
    y = there * torch.where(norms > 9, 3 / norms.clamp_min(1e-30).sqrt(), 1)
    (y * torch.tensor(weight.astype(np.float64))).sum().backward()
    assert 0 < (norms > 9).sum() < 5

    @jax.jit
    def both(w):
        value, pullback = jax.vjp(lambda w: nn.max_norm(w, 3.0), w)
        return value, pullback(jnp.asarray(weight))[0]

    value, gradient = both(w)
    renorm = torch.tensor(w).renorm(2, 3, 3.0)  # whose epsilon is 1e-7
    np.testing.assert_allclose(value, renorm.numpy(), rtol=1e-5)
    np.testing.assert_allclose(value, y.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(gradient, there.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_max_norm_keeps_the_dtype_and_maps():
    w = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)

    @jax.jit
    def everything(w):
        project = lambda w: nn.max_norm(w, 1.5)  # noqa: E731
        return jax.vmap(project)(w), project(w[2]), project(w[2].astype(jnp.bfloat16))

    mapped, one, half = everything(w)
    np.testing.assert_allclose(mapped[2], one, rtol=1e-6)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), one, rtol=0.02)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(lambda w: nn.l1_penalty(w, -1.0), ValueError, "strength must be", id="l1"),
        pytest.param(lambda w: nn.l2_penalty(w, np.inf), ValueError, "strength must be finite", id="l2"),
        pytest.param(lambda w: nn.elastic_net_penalty(w, 0.1, -1.0), ValueError, "l2 must be", id="elastic"),
        pytest.param(
            lambda w: nn.l1_penalty(np.arange(3), 1.0), TypeError, r"params\[0\] must be float", id="int"
        ),
        pytest.param(
            lambda w: nn.soft_sharing_penalty(w, w[:1], 1.0), ValueError, "params_b must have", id="shapes"
        ),
        pytest.param(
            lambda w: nn.soft_sharing_penalty({"a": w}, {"b": w}, 1.0), ValueError, "key", id="structures"
        ),
        pytest.param(lambda w: nn.max_norm(w, 0.0), ValueError, "limit must be positive", id="limit"),
        pytest.param(lambda w: nn.max_norm(w[0], 1.0), ValueError, "axis must be given", id="vector"),
        pytest.param(
            lambda w: nn.max_norm(np.ones((2, 2), int), 1.0), TypeError, "kernel must be", id="int-w"
        ),
        pytest.param(lambda w: nn.jacobian_penalty(jnp.sum, w), ValueError, "first axis", id="summed"),
        pytest.param(lambda w: nn.jacobian_penalty(lambda x: x[:1], w), ValueError, "must agree", id="rows"),
        pytest.param(
            lambda w: nn.jacobian_penalty(jnp.sin, np.arange(3)), TypeError, "x must be", id="int-x"
        ),
        pytest.param(
            lambda w: nn.jacobian_penalty(jnp.sin, w, jax.random.key(0), 0),
            ValueError,
            "num_projections",
            id="none",
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call(np.ones((2, 3), np.float32))
