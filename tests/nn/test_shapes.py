"""flatten, unflatten, repeat_vector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


def test_flatten_keeps_the_batch_and_the_order():
    x = jnp.arange(24).reshape(2, 3, 2, 2)
    np.testing.assert_array_equal(nn.flatten(x), jnp.arange(24).reshape(2, 12))
    assert nn.flatten(jnp.ones(3)).shape == (3, 1)
    assert nn.flatten(jnp.ones((0, 4, 5))).shape == (0, 20)


@pytest.mark.parametrize("shape", [(4, 2, 3), (24,), (2, 12), ()], ids=str)
def test_unflatten_is_the_inverse(shape):
    x = np.arange(2 * int(np.prod(shape))).reshape(2, *shape)
    there = nn.unflatten(nn.flatten(jnp.asarray(x)), shape)
    np.testing.assert_array_equal(there, x)


def test_repeat_vector_is_the_same_at_every_step():
    x = jnp.array([[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(nn.repeat_vector(x, 3), [[[1, 2]] * 3, [[3, 4]] * 3])
    gradient = jax.grad(lambda x: (nn.repeat_vector(x, 3) * jnp.arange(3.0).reshape(1, 3, 1)).sum())(x)
    np.testing.assert_array_equal(gradient, np.full((2, 2), 3))
    assert nn.repeat_vector(jnp.ones((2, 4, 3)), 5).shape == (2, 5, 4, 3)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        pytest.param(lambda: nn.flatten(jnp.float32(1)), "x must have at least one axis", id="flatten"),
        pytest.param(lambda: nn.unflatten(jnp.ones((2, 6)), (2, 2)), "shape must have 6 values", id="size"),
        pytest.param(
            lambda: nn.unflatten(jnp.ones((2, 6)), (-2, -3)), "shape must have 6 values", id="negative"
        ),
        pytest.param(lambda: nn.unflatten(jnp.ones((2, 2, 3)), (6,)), "x must have rank 2", id="rank"),
        pytest.param(lambda: nn.repeat_vector(jnp.ones((2, 3)), 0), "count must be at least 1", id="count"),
        pytest.param(lambda: nn.repeat_vector(jnp.float32(1), 2), "x must have at least one", id="scalar"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
