"""Transformer blocks and their feed-forward net."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def parameters(layer, *x):
    """Random parameters without running the layer's initializers."""
    shapes = jax.eval_shape(partial(layer.init, train=False), jax.random.key(0), *x)["params"]
    leaves, structure = jax.tree.flatten(shapes)
    return jax.tree.unflatten(structure, [0.4 * normal(*a.shape, seed=i) for i, a in enumerate(leaves)])


NAMES = {
    "attention": "self_attn",
    "cross_attention": "multihead_attn",
    "encoder": {"attention_norm": "norm1", "feed_forward_norm": "norm2"},
    "decoder": {"attention_norm": "norm1", "cross_attention_norm": "norm2", "feed_forward_norm": "norm3"},
}


def there(layer, kind):
    """Pairs of our path and torch's parameter, with how ours lies in theirs."""
    table = {
        **{(ours, "scale"): f"{theirs}.weight" for ours, theirs in NAMES[kind].items()},
        **{(ours, "bias"): f"{theirs}.bias" for ours, theirs in NAMES[kind].items()},
        ("feed_forward", "up", "kernel"): "linear1.weight",
        ("feed_forward", "up", "bias"): "linear1.bias",
        ("feed_forward", "down", "kernel"): "linear2.weight",
        ("feed_forward", "down", "bias"): "linear2.bias",
    }
    for ours in ("attention", "cross_attention")[: 1 + (kind == "decoder")]:
        table[ours, "out", "kernel"] = f"{NAMES[ours]}.out_proj.weight"
        table[ours, "out", "bias"] = f"{NAMES[ours]}.out_proj.bias"
        for i, name in enumerate(("query", "key", "value")):
            table[ours, name, "kernel"] = (f"{NAMES[ours]}.in_proj_weight", i)
            table[ours, name, "bias"] = (f"{NAMES[ours]}.in_proj_bias", i)
    own = dict(layer.named_parameters())
    for path, place in table.items():
        yield (
            path,
            (own[place], slice(None))
            if isinstance(place, str)
            else (
                own[place[0]],
                slice(8 * place[1], 8 * place[1] + 8),
            ),
        )


def flat(ours):
    """Ours as torch has it: heads joined, kernels turned."""
    paths = jax.tree_util.tree_flatten_with_path(ours)[0]
    return {tuple(k.key for k in path): x for path, x in paths}


def as_torch(path, x):
    if path[-1] == "kernel":
        return np.asarray(x).reshape(-1 if path[-2] == "out" else len(x), x.shape[-1] if x.ndim == 2 else 8).T
    return np.asarray(x).reshape(-1)


@pytest.mark.parametrize(
    ("kind", "norm_first", "activation"),
    [
        pytest.param("encoder", True, "gelu", id="encoder-pre-gelu"),
        pytest.param("decoder", False, "relu", id="decoder-post-relu"),
        pytest.param("encoder", False, "relu", id="encoder-post-relu", marks=pytest.mark.slow),
        pytest.param("encoder", True, "relu", id="encoder-pre-relu", marks=pytest.mark.slow),
        pytest.param("encoder", False, "gelu", id="encoder-post-gelu", marks=pytest.mark.slow),
        pytest.param("decoder", True, "gelu", id="decoder-pre-gelu", marks=pytest.mark.slow),
    ],
)
def test_matches_torch(kind, norm_first, activation):
    torch = pytest.importorskip("torch")
    make = {"encoder": torch.nn.TransformerEncoderLayer, "decoder": torch.nn.TransformerDecoderLayer}[kind]
    layer = make(8, 2, 16, 0.0, activation, batch_first=True, norm_first=norm_first).train()
    ours = {"encoder": nn.TransformerEncoderBlock, "decoder": nn.TransformerDecoderBlock}[kind](
        2,
        16,
        norm_first=norm_first,
        activation=getattr(nn, activation),
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    )
    x = (normal(2, 5, 8), normal(2, 7, 8, seed=1))[: 1 + (kind == "decoder")]
    params, g = parameters(ours, *x), normal(2, 5, 8, seed=3)
    with torch.no_grad():
        for path, (target, part) in there(layer, kind):
            target[part] = torch.tensor(as_torch(path, flat(params)[path]).copy())

    valid = np.arange(x[-1].shape[1])[None] < np.array([[7], [3]])
    mask = valid[:, None, None]
    inputs = [torch.tensor(a, requires_grad=True) for a in x]
    if kind == "encoder":
        y = layer(*inputs, src_key_padding_mask=torch.tensor(~valid))
    else:
        y = layer(
            *inputs,
            tgt_mask=torch.ones(5, 5, dtype=torch.bool).triu(1),
            memory_key_padding_mask=torch.tensor(~valid),
        )
    y.backward(torch.tensor(g))
    masks = {"mask": mask} if kind == "encoder" else {"memory_mask": mask}

    @jax.jit
    def compute(params, *x):
        y, pullback = jax.vjp(lambda p, *x: ours.apply({"params": p}, *x, **masks, train=False), params, *x)
        return y, *pullback(jnp.asarray(g))

    got, params_grad, *x_grads = compute(params, *x)
    np.testing.assert_allclose(got, y.detach(), rtol=1e-5, atol=1e-5)
    for ours_grad, a in zip(x_grads, inputs):
        np.testing.assert_allclose(ours_grad, a.grad, rtol=1e-5, atol=1e-5)
    grads = flat(params_grad)
    matched = set()
    for path, (target, part) in there(layer, kind):
        # A sum of a hundred terms of this size has an error of a few 1e-6 in either library.
        np.testing.assert_allclose(
            as_torch(path, grads[path]), target.grad[part], rtol=1e-5, atol=2e-5, err_msg=str(path)
        )
        matched.add(path)
    assert matched == set(grads)


def test_t5_block_in_float64():
    """RMS norm, no biases, unscaled scores, a bias of relative positions that gets a gradient."""
    block = nn.TransformerEncoderBlock(
        2,
        16,
        use_bias=False,
        norm_layer=nn.RMSNorm,
        attention_layer=partial(nn.MultiHeadAttention, scale=1.0, qkv_features=4),
    )
    x, bias = normal(2, 5, 8), normal(1, 2, 5, 5, seed=1)
    params = parameters(block, x)
    assert sum(p.size for p in jax.tree.leaves(params)) == 4 * 8 * 4 + 2 * 8 * 16 + 2 * 8

    @jax.jit
    def compute(params, x, bias):
        f = lambda bias: block.apply({"params": params}, x, bias=bias, train=False)  # noqa: E731
        return f(bias), jax.jvp(f, (bias,), (jnp.ones_like(bias) * normal(1, 2, 5, 5, seed=2),))[1]

    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale

    def transcribed(bias):
        h = norm(x.astype(np.float64), p["attention_norm"]["scale"])
        q, k, v = (
            np.einsum("btd,dhe->bhte", h, p["attention"][n]["kernel"]) for n in ("query", "key", "value")
        )
        e = np.exp(q @ k.swapaxes(-1, -2) + bias)
        attended = e / e.sum(-1, keepdims=True) @ v
        y = x + np.einsum("bhte,hed->btd", attended, p["attention"]["out"]["kernel"])
        h = norm(y, p["feed_forward_norm"]["scale"])
        return y + np.maximum(h @ p["feed_forward"]["up"]["kernel"], 0) @ p["feed_forward"]["down"]["kernel"]

    y, tangent = compute(params, x, bias)
    np.testing.assert_allclose(y, transcribed(bias.astype(np.float64)), rtol=1e-5, atol=1e-5)
    shift = 1e-5 * normal(1, 2, 5, 5, seed=2).astype(np.float64)
    difference = (transcribed(bias + shift) - transcribed(bias - shift)) / 2e-5
    np.testing.assert_allclose(tangent, difference, rtol=1e-4, atol=1e-5)


def test_feed_forward_by_hand():
    net = nn.FeedForward(3, out_features=2)
    params = {
        "up": {"kernel": jnp.array([[1.0, -1.0, 2.0], [0.0, 1.0, 1.0]]), "bias": jnp.array([0.0, 0.0, -4.0])},
        "down": {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "bias": jnp.array([0.5, 0.25])},
    }
    y = net.apply({"params": params}, jnp.array([[1.0, 2.0], [2.0, 1.0]]), train=False)
    # hidden (1, 1, 0) and (2, 0, 1)
    np.testing.assert_allclose(y, [[4.5, 6.25], [7.5, 10.25]])


def count(layer, *shapes):
    x = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    return sum(
        a.size
        for a in jax.tree.leaves(jax.eval_shape(partial(layer.init, train=False), jax.random.key(0), *x))
    )


def test_parameter_counts_of_published_models():
    d, encoder = (1, 2, 768), nn.TransformerEncoderBlock
    gpt2 = 12 * count(encoder(12, 3072, causal=True), d) + (50257 + 1024 + 2) * 768
    assert gpt2 == 124_439_808
    bert = 12 * count(encoder(12, 3072, norm_first=False), d) + (30522 + 512 + 2 + 2 + 768 + 1) * 768
    assert bert == 109_482_240
    d = (1, 2, 512)
    base = count(encoder(8, 2048), d) + count(nn.TransformerDecoderBlock(8, 2048), d, d)
    assert 6 * base + 37_000 * 512 == 63_082_496
    assert count(nn.FeedForward(16), (1, 2, 8)) == 2 * 8 * 16 + 16 + 8


def test_cached_decoding_of_blocks_equals_the_whole():
    """A decoder-only block, then an encoder-decoder's; the prompt at once, the rest one by one."""
    x, memory = normal(2, 6, 8), normal(2, 3, 8, seed=1)
    gpt, decoder = nn.TransformerEncoderBlock(2, 16, causal=True), nn.TransformerDecoderBlock(2, 16)
    params = [parameters(gpt, x), parameters(decoder, x, memory)]
    memory_mask = np.array([[1, 1, 1], [1, 0, 1]], bool)[:, None, None]

    def whole(params, x, memory):
        x = gpt.apply({"params": params[0]}, x, train=False)
        return decoder.apply({"params": params[1]}, x, memory, memory_mask=memory_mask, train=False)

    def part(params, x, memory, caches):
        x, own = gpt.apply({"params": params[0]}, x, cache=caches[0], train=False)
        y, pair = decoder.apply(
            {"params": params[1]}, x, memory, memory_mask=memory_mask, cache=caches[1], train=False
        )
        return y, (own, pair)

    @jax.jit
    def decode(params, x, memory):
        cache = nn.create_attention_cache(2, 8, 2, 4)
        caches = (cache, nn.DecoderCache(cache, nn.create_attention_cache(2, 3, 2, 4)))
        first, caches = part(params, x[:, :3], memory, caches)

        def step(caches, token):
            y, caches = part(params, token[:, None], memory[:, :0], caches)
            return caches, y[:, 0]

        _, rest = jax.lax.scan(step, caches, x[:, 3:].swapaxes(0, 1))
        return whole(params, x, memory), jnp.concatenate([first, rest.swapaxes(0, 1)], 1)

    expected, decoded = decode(params, x, memory)
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-5)


def test_decoder_ignores_the_future_and_dropout_only_trains():
    x, memory = normal(2, 5, 8), normal(2, 3, 8, seed=1)
    block = nn.TransformerDecoderBlock(2, 16, dropout_rate=0.3)
    params = parameters(block, x, memory)

    @jax.jit
    def compute(x):
        apply = partial(block.apply, {"params": params})
        noisy = apply(x, memory, train=True, rngs={"dropout": jax.random.key(0, impl="rbg")})
        low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
        half = block.apply({"params": low}, *(a.astype(jnp.bfloat16) for a in (x, memory)), train=False)
        mapped = jax.vmap(lambda x, memory: apply(x[None], memory[None], train=False)[0])(x, memory)
        return mapped, noisy, half

    y, noisy, half = compute(x)
    assert np.abs(noisy - y).max() > 0.01
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(half, np.float32), y, rtol=0.1, atol=0.15)
    later = x.copy()
    later[:, 3:] += 1
    changed = compute(later)[0]
    np.testing.assert_array_equal(changed[:, :3], y[:, :3])
    assert (np.abs(changed[:, 3:] - y[:, 3:]) > 0).any(-1).all()


@pytest.mark.parametrize(
    ("layer", "error", "match"),
    [
        pytest.param(
            nn.TransformerEncoderBlock(3, 16), ValueError, "must be a multiple of num_heads", id="heads"
        ),
        pytest.param(
            nn.TransformerEncoderBlock(2, 0), ValueError, "hidden_features must be at least 1", id="hidden"
        ),
        pytest.param(
            nn.TransformerEncoderBlock(2, 16, dropout_rate=1.0), ValueError, "rate must be", id="rate"
        ),
    ],
)
def test_bad_input(layer, error, match):
    with pytest.raises(error, match=match):
        jax.eval_shape(partial(layer.init, train=True), jax.random.key(0), np.zeros((2, 5, 8), np.float32))
