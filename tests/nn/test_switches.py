"""Maximum pooling with switches, and unpooling: PyTorch with gradients, ties, adjoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding"),
    [
        pytest.param((2, 6, 5, 3), 2, 2, 0, id="touching"),
        pytest.param((2, 7, 8, 3), (3, 2), (3, 2), (1, 0), id="padded"),
        pytest.param((2, 7, 3), 3, 3, 1, id="one-axis"),
        pytest.param((1, 4, 5, 4, 2), 2, 2, 0, id="three-axes", marks=pytest.mark.slow),
    ],
)
def test_pool_and_unpool_match_torch(shape, window, strides, padding):
    torch = pytest.importorskip("torch")
    rank, sizes = len(shape) - 2, shape[1:-1]
    x = np.round(normal(0, *shape), 1)  # with equal values: the first one of a window has it
    there = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    functional = torch.nn.functional
    y, index = getattr(functional, f"max_pool{rank}d")(there, window, strides, padding, return_indices=True)
    back = getattr(functional, f"max_unpool{rank}d")(2 * y, index, window, strides, padding, sizes)
    gy, gback = normal(1, *y.shape), normal(2, *back.shape)
    torch.autograd.backward([y, back], [torch.tensor(gy), torch.tensor(gback)])

    @jax.jit
    def run(x, gy, gback):
        def both(x):
            y, switches = nn.max_pool_with_switches(x, window, strides, padding)
            return (y, nn.max_unpool(2 * y, switches, sizes)), switches

        outputs, pullback, switches = jax.vjp(both, x, has_aux=True)
        return outputs, switches, pullback((gy, gback))[0]

    (ours, ours_back), switches, dx = run(x, np.moveaxis(gy, 1, -1), np.moveaxis(gback, 1, -1))
    assert switches.dtype == jnp.int32
    np.testing.assert_array_equal(np.moveaxis(switches, -1, 1), index.numpy())
    np.testing.assert_array_equal(np.moveaxis(ours, -1, 1), y.detach().numpy())
    np.testing.assert_array_equal(np.moveaxis(ours_back, -1, 1), back.detach().numpy())
    np.testing.assert_allclose(np.moveaxis(dx, -1, 1), there.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_overlapping_windows_add_up_and_give_the_pullback_of_the_pooling():
    """Unpooling a cotangent is the gradient of the pooling: 4 is the maximum of all four windows."""
    x = jnp.array([[1.0, 2, 0], [0, 4, 1], [3, 0, 2]])[None, :, :, None]
    y, switches = nn.max_pool_with_switches(x, 2, 1)
    np.testing.assert_array_equal(switches[0, :, :, 0], [[4, 4], [4, 4]])
    np.testing.assert_array_equal(y, nn.max_pool(x, 2, 1))
    cotangent = jnp.array([[1.0, 2], [3, 5]])[None, :, :, None]
    back = nn.max_unpool(cotangent, switches, (3, 3))
    expected = np.zeros((3, 3))
    expected[1, 1] = 11
    np.testing.assert_array_equal(back[0, :, :, 0], expected)
    (gradient,) = jax.vjp(lambda x: nn.max_pool(x, 2, 1), x)[1](cotangent)
    np.testing.assert_array_equal(gradient, back)


def test_switches_stay_inside_and_show_what_is_not_a_number():
    low = jnp.full((1, 3, 3, 1), -jnp.inf)
    y, switches = nn.max_pool_with_switches(low, 2, 2, 1)
    assert (y == -jnp.inf).all()
    np.testing.assert_array_equal(switches[0, :, :, 0], [[0, 1], [3, 4]])
    y, switches = nn.max_pool_with_switches(jnp.ones((1, 2, 2, 1)).at[0, 1, 0, 0].set(jnp.nan), 2)
    assert jnp.isnan(y).all()
    assert switches.item() == 2


POOLED = jnp.ones((1, 2, 2, 3))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(
            lambda: nn.max_pool_with_switches(POOLED, 3), ValueError, "window must fit", id="window"
        ),
        pytest.param(
            lambda: nn.max_unpool(POOLED, jnp.zeros((1, 2, 2, 3)), (4, 4)),
            TypeError,
            "switches must be",
            id="float",
        ),
        pytest.param(
            lambda: nn.max_unpool(POOLED, jnp.zeros((1, 2, 2, 1), int), (4, 4)),
            ValueError,
            "shape of x",
            id="shape",
        ),
        pytest.param(
            lambda: nn.max_unpool(POOLED, jnp.zeros((1, 2, 2, 3), int), (4,)),
            ValueError,
            "sizes must",
            id="axes",
        ),
        pytest.param(
            lambda: nn.max_unpool(POOLED, jnp.zeros((1, 2, 2, 3), int), (4, 0)),
            ValueError,
            "sizes must",
            id="zero",
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
