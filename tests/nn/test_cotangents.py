"""Identities with another derivative: PyTorch's hooks, and both inside jit, vmap, grad and scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


def test_clip_limits_what_flows_back():  # 000-G8
    x, cotangent = np.array([1.0, 2.0, 3.0], np.float32), jnp.array([-250.0, 50.0, 15.0])

    @jax.jit
    def both(limit):
        y, pullback = jax.vjp(lambda x: nn.gradient_clip_identity(x, limit), x)
        return y, pullback(cotangent)[0]

    for limit, expected in ((100.0, [-100, 50, 15]), (10.0, [-10, 10, 10])):
        y, gradient = both(limit)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(gradient, expected)


def test_clip_in_a_recurrent_net_matches_torchs_hooks():
    """h_t = tanh(x_t + h_{t-1} U), the cotangent of each pre-activation clipped at 0.1, as in Graves 2013."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    xs, u = (
        rng.normal(scale=0.3, size=(6, 2, 3)).astype(np.float32),
        rng.normal(size=(3, 3)).astype(np.float32),
    )

    def loss(u, xs, clip):
        def step(h, x):
            z = x + h @ u
            return jnp.tanh(nn.gradient_clip_identity(z, 0.1) if clip else z), None

        return jax.lax.scan(step, jnp.zeros((2, 3)), xs)[0].sum()

    def theirs(clip):
        there = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (u, xs)]
        h = torch.zeros(2, 3, dtype=torch.float64)
        for x in there[1]:
            z = x + h @ there[0]
            if clip:
                z.register_hook(lambda g: g.clamp(-0.1, 0.1))
            h = torch.tanh(z)
        h.sum().backward()
        return [t.grad.numpy() for t in there]

    clipped, free = jax.jit(lambda u, xs: [jax.grad(loss, (0, 1))(u, xs, clip) for clip in (True, False)])(
        u, xs
    )
    for ours, there in zip((*clipped, *free), (*theirs(True), *theirs(False))):
        np.testing.assert_allclose(ours, there, rtol=1e-5, atol=1e-6)
    assert abs(clipped[1]).max() <= np.float32(0.1) < abs(free[1]).max()


def test_reversal_turns_the_gradient_and_takes_a_traced_scale():
    torch = pytest.importorskip("torch")

    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.view_as(x)

        @staticmethod
        def backward(context, gradient):
            return -0.7 * gradient

    rng = np.random.default_rng(0)
    x, encoder, head = (rng.normal(size=s).astype(np.float32) for s in ((4, 3), (3, 2), (2, 1)))

    @jax.jit
    def ours(encoder, head, scale):
        return jax.grad(
            lambda e, h: jnp.sum(jnp.tanh(nn.gradient_reversal(jnp.tanh(x @ e), scale) @ h)), (0, 1)
        )(encoder, head)

    there = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (encoder, head)]
    torch.tanh(
        Reverse.apply(torch.tanh(torch.tensor(x, dtype=torch.float64) @ there[0])) @ there[1]
    ).sum().backward()
    for a, b in zip(ours(encoder, head, 0.7), there):
        np.testing.assert_allclose(a, b.grad.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        ours(encoder, head, 0.0)[0], 0
    )  # nothing flows, as at the start of a schedule


def test_reversal_in_forward_mode_and_to_second_order():
    x = jnp.array([0.5, -2.0, 3.0])

    @jax.jit
    def everything(x):
        y, tangent = jax.jvp(lambda x: nn.gradient_reversal(x, 2.0), (x,), (jnp.ones(3),))
        scale_slope = jax.grad(lambda s: nn.gradient_reversal(x, s).sum())(2.0)
        gradient = jax.grad(lambda x: jnp.sum(nn.gradient_reversal(x, 2.0) ** 3))
        return y, tangent, scale_slope, gradient(x), jax.jacfwd(gradient)(x), jax.jacrev(gradient)(x)

    y, tangent, scale_slope, gradient, *hessians = everything(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(tangent, -2)
    assert scale_slope == 0
    np.testing.assert_allclose(gradient, -6 * x**2)
    for hessian in hessians:  # what the gradient really does when x moves
        np.testing.assert_allclose(hessian, np.diag(-12 * x))


IDENTITIES = {"reversal": (nn.gradient_reversal, -3.0), "clip": (nn.gradient_clip_identity, 0.5)}


@pytest.mark.parametrize("name", IDENTITIES)
def test_under_vmap_eager_and_bfloat16(name):
    function, slope = IDENTITIES[name]
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    setting = 3 if name == "reversal" else 0.5  # an int is a number too

    def slopes(x):
        return jax.grad(lambda x: function(x, setting).sum())(x)

    batched, mapped, half = jax.jit(
        lambda x: (slopes(x), jax.vmap(slopes)(x), slopes(x.astype(jnp.bfloat16)))
    )(x)
    np.testing.assert_array_equal(batched, np.full((4, 3), slope))
    np.testing.assert_array_equal(mapped, batched)
    np.testing.assert_array_equal(slopes(jnp.asarray(x)), batched)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half.astype(np.float32), batched)
    per_example = jax.vmap(lambda x, s: jax.grad(lambda x: function(x, s).sum())(x))
    limits = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    sign = -1 if name == "reversal" else 1
    np.testing.assert_allclose(per_example(x, limits), np.repeat(sign * limits[:, None], 3, 1), rtol=1e-6)


def test_nan_flows_back_through_the_clip():
    _, pullback = jax.vjp(lambda x: nn.gradient_clip_identity(x, 1.0), jnp.ones(2))
    np.testing.assert_array_equal(pullback(jnp.array([jnp.nan, jnp.inf]))[0], [np.nan, 1])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(
            lambda x: nn.gradient_clip_identity(x, 0.0), ValueError, "limit must be positive", id="limit"
        ),
        pytest.param(
            lambda x: nn.gradient_clip_identity(x, jnp.ones(3)), ValueError, "limit must have", id="rank"
        ),
        pytest.param(
            lambda x: nn.gradient_clip_identity(np.arange(3), 1.0), TypeError, "x must be", id="int"
        ),
        pytest.param(lambda x: nn.gradient_reversal(x, -1.0), ValueError, "scale must be", id="scale"),
        pytest.param(
            lambda x: nn.gradient_reversal(x, jnp.ones(3)), ValueError, "scale must have", id="scales"
        ),
        pytest.param(lambda x: nn.gradient_reversal(np.arange(3)), TypeError, "x must be", id="int-reversal"),
        pytest.param(
            lambda x: jax.jvp(lambda x: nn.gradient_clip_identity(x, 1.0), (x,), (x,)),
            TypeError,
            "",
            id="forward",
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match or None):
        call(jnp.ones(3))
