"""Scaled dot-product attention, its masks and its forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import backends, nn
from jaxdl.nn import attention


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Blocks of 16 queries, where it would take more than 128 queries to have any."""
    monkeypatch.setattr(attention, "_SHORTEST_BLOCK", 8)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs(queries, keys, heads=2, shared=2, width=4, values=4):
    shapes = ((2, queries, heads, width), (2, keys, shared, width), (2, keys, shared, values))
    return tuple(normal(*shape, seed=seed) for seed, shape in enumerate(shapes))


VALID = np.arange(7)[None] < np.array([[7], [4]])
SPARSE = np.random.default_rng(5).random((2, 2, 5, 7)) < 0.6
SPARSE[..., 0] = True


@pytest.mark.parametrize(
    ("sizes", "settings", "mask", "with_bias"),
    [
        pytest.param((5, 7), {"scale": 0.3}, VALID[:, None, None], False, id="padding-scale"),
        pytest.param((5, 7), {}, SPARSE, True, id="mask-bias"),
        pytest.param((5, 7, 4, 2, 4, 3), {}, None, False, id="grouped-heads-other-values"),
        pytest.param(
            (40, 40, 2, 1), {"causal": True}, np.arange(40)[None, None, None] != 5, True, id="causal-blocks"
        ),
        pytest.param((40, 36), {"causal": True}, None, False, id="causal-fewer-keys"),
    ],
)
def test_matches_torch(sizes, settings, mask, with_bias):
    torch = pytest.importorskip("torch")
    q, k, v = inputs(*sizes)
    heads, length, keys = q.shape[2], q.shape[1], k.shape[1]
    bias = normal(1, heads, length, keys, seed=4) if with_bias else None
    g = normal(2, length, heads, v.shape[-1], seed=9)

    allowed = torch.ones(1, 1, length, keys, dtype=torch.bool)
    if mask is not None:
        allowed = allowed & torch.tensor(mask)
    if settings.get("causal"):
        allowed = allowed & torch.ones(length, keys, dtype=torch.bool).tril()
    there = [torch.tensor(np.asarray(x), dtype=torch.float64, requires_grad=True) for x in (q, k, v)]
    extra = (
        torch.zeros(1, 1, length, keys, dtype=torch.float64)
        if bias is None
        else torch.tensor(np.asarray(bias))
    )
    extra = extra.double().requires_grad_()
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in there),
        attn_mask=extra.masked_fill(~allowed, -torch.inf),
        scale=settings.get("scale"),
        enable_gqa=True,
    ).transpose(1, 2)
    expected.backward(torch.tensor(g, dtype=torch.float64))

    @jax.jit
    def here(q, k, v, bias):
        f = partial(
            nn.scaled_dot_product_attention, mask=None if mask is None else jnp.asarray(mask), **settings
        )
        y, pullback = jax.vjp(lambda q, k, v, bias: f(q, k, v, bias=bias), q, k, v, bias)
        return y, pullback(jnp.asarray(g))

    y, grads = here(q, k, v, bias)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-5, atol=1e-6)
    for got, x in zip(grads, (*there, extra)):
        if got is not None:
            np.testing.assert_allclose(got, x.grad, rtol=1e-5, atol=5e-6)


def test_the_softmax_of_worked_scores():  # 002-D13f
    one, keys = np.ones((1, 1, 1), np.float32), np.arange(3, dtype=np.float32)[:, None, None]
    f = jax.jit(partial(nn.scaled_dot_product_attention, return_weights=True))
    context, weights = f(one, keys, keys + 1)
    np.testing.assert_allclose(weights[0, 0], [0.0900306, 0.2447285, 0.6652410], atol=1e-7)
    np.testing.assert_allclose(context, [[[2.5752104]]], rtol=1e-6)


def test_blocks_equal_the_plain_form_in_every_derivative():
    """Values, gradients, forward mode and Hessian-vector products, under vmap."""
    args = (
        *(jnp.stack([x, 2 * x]) for x in inputs(24, 24, shared=1)),
        jnp.asarray(normal(2, 2, 2, 24, 1, seed=3)),
    )
    tangents = tuple(normal(*x.shape, seed=6) for x in args)
    mask, weight = jnp.asarray(np.arange(24) % 7 != 3)[None], normal(2, 24, 2, 4, seed=8)

    def computed():
        def f(q, k, v, bias):
            return nn.scaled_dot_product_attention(q, k, v, mask, bias, causal=True)

        def loss(*args):
            y = f(*args)
            return jnp.sum(jnp.tanh(y) * weight), y

        def derivatives(args, tangents):
            return jax.jvp(jax.grad(loss, (0, 1, 2, 3), has_aux=True), args, tangents)

        text = str(jax.make_jaxpr(f)(*(x[0] for x in args)))
        return jax.jit(jax.vmap(derivatives))(args, tangents), text.count("= dot_general")

    fast, products = computed()
    with backends.plain_forms():
        plain, plain_products = computed()
    assert products == 2 * plain_products
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), fast, plain)


def test_causal_attention_ignores_the_future():
    q, k, v = (x[0] for x in inputs(40, 40))

    def summed(q, k, v):
        return nn.scaled_dot_product_attention(q, k, v, causal=True).sum((1, 2))

    jacobians = jax.jit(jax.jacrev(summed, (0, 1, 2)))(q, k, v)
    reach = [np.abs(jacobian).sum((2, 3)) for jacobian in jacobians]
    later = np.triu(np.ones((40, 40), bool), 1)
    assert (reach[0][~np.eye(40, dtype=bool)] == 0).all()
    assert (reach[1][later] == 0).all()
    assert (reach[1][1:][~later[1:]] > 0).all()
    assert (reach[2][later] == 0).all()
    assert (reach[2][~later] > 0).all()


@pytest.mark.parametrize(("causal", "implementation"), [(False, None), (True, None), (True, "xla")])
def test_masked_rows_are_zero_and_pass_no_gradient(causal, implementation):
    q, k, v = inputs(5, 5)
    mask = np.ones((2, 1, 5, 5), bool)
    mask[0, :, 2] = False
    mask[1, :, :, 0] = False  # with a causal mask, query 0 has no key left

    def f(q, k, v):
        return nn.scaled_dot_product_attention(
            q, k, v, jnp.asarray(mask), causal=causal, implementation=implementation
        )

    y, grads = jax.jit(lambda *a: (lambda y, pullback: (y, pullback(jnp.ones_like(y))))(*jax.vjp(f, *a)))(
        q, k, v
    )
    assert (np.asarray(y)[0, 2] == 0).all()
    assert (np.asarray(grads[0])[0, 2] == 0).all()
    assert (np.asarray(y)[1, 0] == 0).all() == causal
    assert (np.asarray(grads[2])[1, 0] == 0).all()
    assert np.isfinite(y).all()
    assert all(np.isfinite(g).all() for g in grads)
    allowed = mask & np.tril(np.ones((5, 5), bool)) if causal else mask
    np.testing.assert_allclose(y, reference(q, k, v, allowed), rtol=1e-5, atol=1e-6)


def reference(q, k, v, allowed):
    """Softmax over a list of allowed keys, one query at a time, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    allowed = np.broadcast_to(allowed, (q.shape[0], q.shape[2], q.shape[1], k.shape[1]))
    for b, t, h in np.ndindex(*q.shape[:3]):
        seen = np.flatnonzero(allowed[b, h, t])
        if len(seen):
            e = np.exp(k[b, seen, h] @ q[b, t, h] / np.sqrt(q.shape[-1]))
            out[b, t, h] = e @ v[b, seen, h] / e.sum()
    return out


def test_rows_of_minus_infinity_extreme_scores_and_no_keys():
    q, k, v = inputs(3, 4)
    bias = np.zeros((1, 1, 3, 4), np.float32)
    bias[..., 0, :] = -np.inf

    @jax.jit
    def f(q, k, v, bias):
        y, pullback = jax.vjp(nn.scaled_dot_product_attention, q, k, v, None, bias)
        return y, pullback(jnp.ones_like(y))

    y, grads = f(q, k, v, bias)
    assert (np.asarray(y)[:, 0] == 0).all()
    assert (np.asarray(y)[:, 1:] != 0).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    y, grads = f(1e4 * np.asarray(q), 1e4 * np.asarray(k), v, 0 * bias.clip(0))
    best = np.einsum("bthd,bshd->bhts", q, k).argmax(-1)  # one key takes all
    picked = np.take_along_axis(np.asarray(v).transpose(0, 2, 1, 3), best[..., None], 2)
    np.testing.assert_allclose(y, picked.transpose(0, 2, 1, 3), rtol=1e-6)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert (np.asarray(f(q, k[:, :0], v[:, :0], bias[..., :0])[0]) == 0).all()


def test_eager_equals_jit_equals_vmap_and_bfloat16_is_near():
    q, k, v = inputs(5, 5)
    f = partial(nn.scaled_dot_product_attention, causal=True)
    halves = [x.astype(jnp.bfloat16) for x in (q, k, v)]

    @jax.jit
    def compute(args, halves):
        y, pullback = jax.vjp(f, *halves)
        exact = f(*(x.astype(jnp.float32) for x in halves))
        return f(*args), jax.vmap(f)(*args), exact, y, pullback(y)

    compiled, mapped, exact, half, grads = compute((q, k, v), halves)
    np.testing.assert_allclose(f(q, k, v), compiled, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mapped, compiled, rtol=1e-5, atol=1e-6)
    assert {x.dtype for x in (half, *grads)} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(np.asarray(half, np.float32), exact, rtol=0.02, atol=0.02)


def test_weights_on_request():
    q, k, v = inputs(5, 7)
    f = jax.jit(partial(nn.scaled_dot_product_attention, return_weights=True))
    y, weights = f(q, k, v, VALID[:, None, None])
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-6)
    assert (np.asarray(weights)[1, ..., 4:] == 0).all()
    np.testing.assert_allclose(np.einsum("bhts,bshd->bthd", weights, v), y, rtol=1e-5, atol=1e-6)


def test_dropout_drops_weights_and_scales_the_rest(key):
    q, k, _ = inputs(40, 50)
    v = np.broadcast_to(
        np.eye(50, dtype=np.float32)[None, :, None], (2, 50, 2, 50)
    )  # the context is the weights
    f = jax.jit(partial(nn.scaled_dot_product_attention, dropout_rate=0.3, return_weights=True))
    y, weights = (np.asarray(x) for x in f(q, k, v, dropout_key=key))
    y = y.transpose(0, 2, 1, 3)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(y[y > 0], weights[y > 0] / 0.7, rtol=1e-5)
    assert abs((y == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / y.size)


def test_masks_are_what_they_say():
    np.testing.assert_array_equal(nn.causal_mask(3)[0, 0], [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(nn.causal_mask(2, 4, offset=1)[0, 0], [[1, 1, 0, 0], [1, 1, 1, 0]])
    np.testing.assert_array_equal(
        jax.jit(partial(nn.causal_mask, 1, 3))(offset=jnp.int32(1))[0, 0], [[1, 1, 0]]
    )
    mask = nn.padding_mask(jnp.array([[True, True, False]]))
    assert mask.shape == (1, 1, 1, 3)
    assert mask.dtype == bool
    np.testing.assert_array_equal((mask & nn.causal_mask(3))[0, 0], [[1, 0, 0], [1, 1, 0], [1, 1, 0]])


def test_masked_softmax_rows():
    scores = jnp.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]], jnp.bfloat16)
    weights = attention.masked_softmax(scores, jnp.array([[True, False, True], [False, False, False]]))
    assert weights.dtype == jnp.bfloat16
    np.testing.assert_allclose(weights.astype(jnp.float32), [[0.1192, 0, 0.8808], [0, 0, 0]], atol=4e-3)


def attend(q=(2, 5, 4, 8), k=(2, 7, 2, 8), v=(2, 7, 2, 3), **settings):
    q, k, v = (x if hasattr(x, "dtype") else jnp.zeros(x) for x in (q, k, v))
    return nn.scaled_dot_product_attention(q, k, v, **settings)


@pytest.mark.parametrize(
    ("f", "error", "match"),
    [
        pytest.param(
            partial(attend, q=jnp.zeros((2, 5, 4, 8), int)), TypeError, "query must be floating", id="dtype"
        ),
        pytest.param(partial(attend, q=(4, 8)), ValueError, r"query must have the axes \[..., T", id="rank"),
        pytest.param(partial(attend, k=(2, 7, 2, 6)), ValueError, "key must have shape", id="width"),
        pytest.param(partial(attend, v=(2, 6, 2, 8)), ValueError, "value must have shape", id="values"),
        pytest.param(
            partial(attend, q=(2, 5, 3, 8)), ValueError, "heads_of_query must be a multiple", id="heads"
        ),
        pytest.param(
            partial(attend, mask=jnp.ones((1, 1, 5, 7))), TypeError, "mask must be bool", id="mask-dtype"
        ),
        pytest.param(
            partial(attend, mask=jnp.ones((2, 7), bool)), ValueError, "mask must broadcast", id="mask"
        ),
        pytest.param(
            partial(attend, bias=jnp.ones((1, 2, 5, 7))), ValueError, "bias must broadcast", id="bias"
        ),
        pytest.param(partial(attend, dropout_rate=0.1), ValueError, "dropout_key must be given", id="key"),
        pytest.param(partial(attend, dropout_rate=1.0), ValueError, "dropout_rate must be", id="rate"),
        pytest.param(
            partial(attend, implementation="flash"), ValueError, "implementation must be one", id="name"
        ),
        pytest.param(
            partial(attend, implementation="xla", return_weights=True),
            ValueError,
            "None for weights",
            id="weights",
        ),
        pytest.param(partial(nn.causal_mask, -1), ValueError, "num_queries must be at least 0", id="causal"),
        pytest.param(
            partial(nn.padding_mask, jnp.ones((2, 3), int)), TypeError, "valid must be bool", id="lengths"
        ),
        pytest.param(
            partial(nn.padding_mask, jnp.ones(3, bool)), ValueError, "valid must have rank 2", id="valid"
        ),
    ],
)
def test_bad_input(f, error, match):
    with pytest.raises(error, match=match):
        f()
