"""What holds for every convolution, pooling and block: eager = jit = vmap, bfloat16, float32 parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

IMAGES = np.random.default_rng(0).normal(size=(3, 4, 4, 4)).astype(np.float32)
SOUNDS = IMAGES.reshape(3, 16, 4)

MODULES = {
    "GroupedConv": (nn.GroupedConv(4, 3, 2), IMAGES),
    "DepthwiseConv": (nn.DepthwiseConv(3), IMAGES),
    "SeparableConv": (nn.SeparableConv(5, 3), IMAGES),
    "SpatiallySeparableConv": (nn.SpatiallySeparableConv(3, 3), IMAGES),
    "ConvTranspose": (nn.ConvTranspose(3, 4, 2), IMAGES),
    "MaskedConv": (nn.MaskedConv(4, 3, "A", 2), IMAGES),
    "CausalConv": (nn.CausalConv(4, 2, 2), SOUNDS),
    "TrainableSubsampling": (nn.TrainableSubsampling(), IMAGES),
    "SkipConnection": (nn.SkipConnection([nn.Conv(4, 3), nn.tanh]), IMAGES),
    "InceptionBlock": (nn.InceptionBlock(1, 2, 2, 1, 2, 1), IMAGES),
    "SqueezeExcite": (nn.SqueezeExcite(2), IMAGES),
}
FUNCTIONS = {
    "max_pool_with_switches": lambda x: nn.max_pool_with_switches(x, 2)[0],
    "max_unpool": lambda x: nn.max_unpool(*nn.max_pool_with_switches(x, 2), (4, 4)),
    "upsample_nearest": lambda x: nn.upsample_nearest(x, sizes=(6, 8)),
    "upsample_bilinear": lambda x: nn.upsample_bilinear(x, 2),
    "unflatten": lambda x: nn.unflatten(nn.flatten(x), (2, 32)),
    "repeat_vector": lambda x: nn.repeat_vector(nn.flatten(x), 2),
}
TAKE_TRAIN = (nn.SkipConnection, nn.InceptionBlock)


def bound(name):
    """A function of variables and x, the variables, and x."""
    if name in FUNCTIONS:
        return lambda variables, x: FUNCTIONS[name](x), {}, jnp.asarray(IMAGES)
    module, x = MODULES[name]
    settings = {"train": False} if isinstance(module, TAKE_TRAIN) else {}
    shapes = jax.eval_shape(partial(module.init, **settings), jax.random.key(0), x)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda a: jnp.asarray(0.5 * rng.normal(size=a.shape), jnp.float32), shapes)
    return partial(module.apply, **settings), variables, jnp.asarray(x)


@pytest.mark.parametrize("name", [*MODULES, *FUNCTIONS])
def test_vmap_and_bfloat16(name):
    apply, variables, x = bound(name)

    @jax.jit
    def forms(variables, x):
        def half(tree):
            return jax.tree.map(lambda a: a.astype(jnp.bfloat16), tree)

        one_by_one = jax.vmap(lambda x: apply(variables, x[None])[0])(x)
        return apply(variables, x), one_by_one, apply(half(variables), half(x))

    y, one_by_one, coarse = forms(variables, x)
    np.testing.assert_allclose(one_by_one, y, rtol=1e-5, atol=1e-5)
    assert coarse.dtype == jnp.bfloat16
    np.testing.assert_allclose(coarse.astype(jnp.float32), y, rtol=0, atol=3e-2 * float(abs(y).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MODULES, *FUNCTIONS])
def test_eager_equals_jit_and_gradients_are_finite(name):
    apply, variables, x = bound(name)
    np.testing.assert_allclose(apply(variables, x), jax.jit(apply)(variables, x), rtol=1e-5, atol=1e-5)
    for scale in (0.0, 1e4):
        grads = jax.jit(jax.grad(lambda v, x: apply(v, x).sum(), (0, 1)))(variables, scale * x)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", MODULES)
def test_dtype_computes_in_bfloat16_with_float32_parameters(name):
    module, x = MODULES[name]
    if isinstance(module, nn.SkipConnection):
        pytest.skip("it has no computation of its own")
    settings = {"train": False} if isinstance(module, TAKE_TRAIN) else {}
    y, variables = jax.eval_shape(
        partial(module.clone(dtype=jnp.bfloat16).init_with_output, **settings), jax.random.key(0), x
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert y.dtype == jnp.bfloat16
    variables = jax.eval_shape(
        partial(module.clone(param_dtype=jnp.float16).init, **settings), jax.random.key(0), x
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float16")}
