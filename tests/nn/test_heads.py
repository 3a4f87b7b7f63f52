"""MultiHeadAttention and its cache."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def parameters(layer, *x):
    """Random parameters without running the layer's initializers."""
    shapes = jax.eval_shape(partial(layer.init, train=False), jax.random.key(0), *x)["params"]
    leaves, structure = jax.tree.flatten(shapes)
    return jax.tree.unflatten(structure, [0.4 * normal(*a.shape, seed=i) for i, a in enumerate(leaves)])


def vjp(f, cotangent, *args):
    def both(*args):
        y, pullback = jax.vjp(f, *args)
        return y, pullback(cotangent)

    return jax.jit(both)(*args)


def assert_trees(a, b, rtol=1e-5, atol=5e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


@pytest.mark.parametrize(
    ("settings", "sources", "causal"),
    [
        pytest.param({}, 1, True, id="self-causal", marks=pytest.mark.slow),
        pytest.param(
            {"qkv_features": 12, "out_features": 5, "use_bias": False}, 3, False, id="sizes-no-bias"
        ),
    ],
)
def test_parameters_are_exchangeable_with_linens(settings, sources, causal, key):
    x = (normal(2, 5, 8), normal(2, 7, 6, seed=1), normal(2, 7, 4, seed=2))[:sources]
    ours = nn.MultiHeadAttention(2, causal=causal, **settings)
    theirs = linen.MultiHeadDotProductAttention(2, **settings)
    mask = nn.causal_mask(5) if causal else None
    params = parameters(ours, *x)
    shapes = jax.eval_shape(theirs.init, key, *x)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    g = normal(2, 5, settings.get("out_features", 8), seed=3)
    assert_trees(
        vjp(lambda p, *x: ours.apply({"params": p}, *x, train=False), g, params, *x),
        vjp(lambda p, *x: theirs.apply({"params": p}, *x, mask=mask), g, params, *x),
    )


def test_kernels_are_drawn_with_the_fans_of_the_flat_matrix(key):
    """linen draws [D, H d] and [H d, D], and the biases flat."""
    drawn = []

    def init(key, shape, dtype=jnp.float32):
        drawn.append(shape)
        return jnp.zeros(shape, dtype)

    layer = nn.MultiHeadAttention(2, qkv_features=12, kernel_init=init, bias_init=init)
    jax.eval_shape(partial(layer.init, train=False), key, np.zeros((1, 2, 8), np.float32))
    assert drawn == [(8, 12), (12,)] * 3 + [(12, 8), (8,)]


def from_torch(layer):
    """A torch.nn.MultiheadAttention's weights or gradients, by name, as ours."""
    heads, width = layer.num_heads, layer.embed_dim // layer.num_heads

    def get(x):
        return x if not hasattr(x, "grad") else (x.grad if x.grad is not None else x)

    kernels = (
        get(layer.in_proj_weight).chunk(3)
        if layer.in_proj_weight is not None
        else [get(getattr(layer, f"{n}_proj_weight")) for n in "qkv"]
    )
    biases = get(layer.in_proj_bias).chunk(3)
    params = {
        name: {
            "kernel": jnp.asarray(kernel.detach().numpy().T.reshape(-1, heads, width)),
            "bias": jnp.asarray(bias.detach().numpy().reshape(heads, width)),
        }
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases)
    }
    out = layer.out_proj
    params["out"] = {
        "kernel": jnp.asarray(get(out.weight).detach().numpy().T.reshape(heads, width, -1)),
        "bias": jnp.asarray(get(out.bias).detach().numpy()),
    }
    return params


@pytest.mark.parametrize(
    ("cross", "masked"),
    [pytest.param(False, "causal", id="self-causal"), pytest.param(True, "padding", id="cross-padding")],
)
def test_matches_torch(cross, masked):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    sizes = {"kdim": 6, "vdim": 4} if cross else {}
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True, **sizes)
    torch.nn.init.normal_(layer.in_proj_bias)
    torch.nn.init.normal_(layer.out_proj.bias)
    params = from_torch(layer)
    x = [normal(2, 5, 8), normal(2, 7, 6, seed=1), normal(2, 7, 4, seed=2)] if cross else [normal(2, 5, 8)]
    valid = np.arange(7)[None] < np.array([[7], [3]])
    there = [torch.tensor(np.asarray(a), requires_grad=True) for a in x]
    given = there if cross else there * 3
    hidden = (
        {"key_padding_mask": torch.tensor(~valid)}
        if cross
        else {"attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1)}
    )
    expected, expected_weights = layer(*given, **hidden, average_attn_weights=False)
    g = normal(2, 5, 8, seed=3)
    expected.backward(torch.tensor(np.asarray(g)))

    ours = nn.MultiHeadAttention(2, causal=masked == "causal")
    mask = nn.padding_mask(jnp.asarray(valid)) if cross else None

    def f(params, *x):
        return ours.apply({"params": params}, *x, mask=mask, train=False)

    y, (params_grad, *x_grads) = vjp(f, g, params, *x)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-5, atol=1e-6)
    assert_trees(params_grad, from_torch(layer))
    for got, a in zip(x_grads, there):
        np.testing.assert_allclose(got, a.grad, rtol=1e-5, atol=5e-6)
    get = partial(ours.apply, mask=mask, return_weights=True, train=False)
    _, weights = jax.jit(get)({"params": params}, *x)
    np.testing.assert_allclose(weights, expected_weights.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        pytest.param({}, 4 * 64 + 4 * 8, id="4DD+4D"),
        pytest.param({"use_bias": False}, 4 * 64, id="4DD"),
        pytest.param({"num_kv_heads": 1}, 2 * 64 + 2 * 8 * 2 + 2 * 8 + 2 * 2, id="one-kv-head"),
    ],
)
def test_parameter_count(settings, count, key):
    layer = nn.MultiHeadAttention(4, **settings)
    variables = jax.eval_shape(partial(layer.init, train=False), key, jnp.ones((1, 3, 8)))
    assert sum(x.size for x in jax.tree.leaves(variables)) == count


def applied(layer, **settings):
    """The layer as one compiled function of parameters and arrays."""
    return jax.jit(lambda params, *x, **arrays: layer.apply({"params": params}, *x, **settings, **arrays))


def test_shared_heads_equal_repeated_kernels():
    x = normal(2, 5, 8)
    grouped = nn.MultiHeadAttention(4, num_kv_heads=2)
    params = parameters(grouped, x)
    full = {
        name: jax.tree.map(lambda a: np.repeat(a, 2, axis=-2), part) if name in ("key", "value") else part
        for name, part in params.items()
    }
    y = applied(grouped, train=False)(params, x)
    expected = applied(nn.MultiHeadAttention(4), train=False)(full, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [pytest.param({}, id="plain"), pytest.param({"num_kv_heads": 1, "rotary_base": 100.0}, id="rotary")],
)
def test_decoding_with_a_cache_equals_the_whole_sequence(settings):
    x = normal(2, 9, 8)
    layer = nn.MultiHeadAttention(2, causal=True, **settings)
    params = parameters(layer, x)
    # The first two places of example 1 are padding before its prompt.
    valid = np.arange(12)[None] >= np.array([[0], [2]])
    whole = applied(layer, train=False)(params, x, mask=valid[:, None, None, :9])

    @jax.jit
    def decode(params, x):
        cache = nn.create_attention_cache(2, 12, settings.get("num_kv_heads", 2), 4)
        apply = partial(
            layer.apply, {"params": params}, mask=nn.padding_mask(jnp.asarray(valid)), train=False
        )
        first, cache = apply(x[:, :4], cache=cache)

        def step(cache, token):
            y, cache = apply(token[:, None], cache=cache)
            return cache, y[:, 0]

        cache, rest = jax.lax.scan(step, cache, x[:, 4:].swapaxes(0, 1))
        return jnp.concatenate([first, rest.swapaxes(0, 1)], axis=1), cache

    y, cache = decode(params, x)
    np.testing.assert_allclose(y, whole, rtol=1e-5, atol=1e-6)
    assert cache.length == 9
    assert (np.asarray(cache.keys)[:, 9:] == 0).all()


def test_a_memory_is_projected_once():
    x, memory = normal(2, 2, 8), normal(2, 5, 6, seed=1)
    layer = nn.MultiHeadAttention(2)
    params, mask = parameters(layer, x, memory), (np.arange(5)[None] < np.array([[5], [2]]))[:, None, None]
    attend = applied(layer, train=False)
    whole = attend(params, x, memory, mask=mask)
    cache = nn.create_attention_cache(2, 5, 2, 4)
    first, cache = attend(params, x[:, :1], memory, mask=mask, cache=cache)
    second, cache = attend(params, x[:, 1:], memory[:, :0], mask=mask, cache=cache)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=1e-5, atol=1e-6)
    assert cache.length == 5


def test_a_full_cache_gives_nan_not_wrong_values():
    x, layer = normal(1, 2, 8), nn.MultiHeadAttention(2, causal=True)
    params, attend = parameters(layer, x), applied(layer, train=False)
    y, cache = attend(params, x, cache=nn.create_attention_cache(1, 3, 2, 4))
    assert np.isfinite(y).all()
    y, _ = attend(params, x, cache=cache)
    assert np.isnan(y).all()
    with pytest.raises(ValueError, match="cache must have places for 2"):
        attend(params, x, cache=nn.create_attention_cache(1, 1, 2, 4))
    with pytest.raises(ValueError, match="keys must have shape"):
        attend(params, x, cache=nn.create_attention_cache(2, 3, 2, 4))


def test_rotary_attention_depends_on_distances_only():
    """Two tokens, then the same two behind three that are hidden: the same outputs."""
    x, layer = normal(1, 2, 8), nn.MultiHeadAttention(2, rotary_base=10.0)
    params, attend = parameters(layer, x), applied(layer, train=False)
    late = np.concatenate([normal(1, 3, 8, seed=5), x], axis=1)
    y = attend(params, late, mask=np.arange(5)[None, None, None] >= 3)[:, 3:]
    alone = attend(params, x)
    np.testing.assert_allclose(y, alone, rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(attend(params, x[:, ::-1]))[:, ::-1] - alone).max() > 1e-3


def test_weights_are_collected_on_request_and_dropout_needs_training(key):
    x, layer = normal(2, 5, 8), nn.MultiHeadAttention(2, dropout_rate=0.5)
    assert set(jax.eval_shape(partial(layer.init, train=False), key, x)) == {"params"}

    @jax.jit
    def compute(params, x):
        apply = partial(layer.apply, {"params": params}, x)
        return (
            apply(train=False, return_weights=True),
            apply(train=False, mutable="intermediates"),
            apply(train=True, rngs={"dropout": jax.random.key(0, impl="rbg")}),
        )

    (y, weights), (z, state), noisy = compute(parameters(layer, x), x)
    np.testing.assert_array_equal(state["intermediates"]["weights"][0], weights)
    np.testing.assert_allclose(y, z, rtol=1e-6)
    assert np.abs(noisy - y).max() > 1e-2


def test_bfloat16_is_near():
    x = normal(2, 5, 8)
    params = parameters(nn.MultiHeadAttention(2), x)
    y = applied(nn.MultiHeadAttention(2, dtype=jnp.bfloat16), train=False)(params, x)
    assert y.dtype == jnp.bfloat16
    exact = applied(nn.MultiHeadAttention(2), train=False)(params, x)
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, rtol=0.03, atol=0.03)


@pytest.mark.parametrize(
    ("layer", "x", "error", "match"),
    [
        pytest.param(
            nn.MultiHeadAttention(3), (2, 5, 8), ValueError, "qkv_features must be a multiple", id="heads"
        ),
        pytest.param(
            nn.MultiHeadAttention(4, num_kv_heads=3), (2, 5, 8), ValueError, "num_heads must be", id="shared"
        ),
        pytest.param(
            nn.MultiHeadAttention(0), (2, 5, 8), ValueError, "num_heads must be at least 1", id="none"
        ),
        pytest.param(nn.MultiHeadAttention(2), (8,), ValueError, "query must have the axes", id="rank"),
    ],
)
def test_bad_input(layer, x, error, match, key):
    with pytest.raises(error, match=match):
        jax.eval_shape(partial(layer.init, train=False), key, jnp.zeros(x))
    with pytest.raises(TypeError, match="query must be floating"):
        jax.eval_shape(partial(layer.init, train=False), key, jnp.zeros((2, 5, 8), int))
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        nn.create_attention_cache(1, 0, 1, 1)
