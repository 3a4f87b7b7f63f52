"""Bahdanau's and Luong's attention."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

Q, K, F = 3, 5, 4
VALID = np.arange(6)[None] < np.array([[6], [2]])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def below(k):
    """The key under Q zeros: what makes [q; k] of [q; 0]."""
    return k.new_tensor(np.eye(Q + K, K, -Q)) @ k


# The score of one query and one key, from the papers, for parameters as torch tensors.
SCORES = {
    "additive": lambda p, q, k: p["v"] @ (p["w"] @ q + p["u"] @ k).tanh(),
    "dot": lambda p, q, k: q @ k,
    "general": lambda p, q, k: q @ (p["w"] @ k),
    "concat": lambda p, q, k: p["v"] @ (p["w"] @ (q.new_tensor(np.eye(Q + K, Q)) @ q + below(k))).tanh(),
}
CASES = {
    "additive": (
        nn.AdditiveAttention(F),
        {"w": (F, Q), "u": (F, K), "v": (F,)},
        lambda p: {
            "query": {"kernel": p["w"].T},
            "key": {"kernel": p["u"].T},
            "score": {"kernel": p["v"][:, None]},
        },
    ),
    "dot": (nn.MultiplicativeAttention("dot"), {}, lambda p: {}),
    "general": (nn.MultiplicativeAttention(), {"w": (Q, K)}, lambda p: {"key": {"kernel": p["w"].T}}),
    "concat": (
        nn.MultiplicativeAttention("concat", F),
        {"w": (F, Q + K), "v": (F,)},
        lambda p: {"concat": {"kernel": p["w"].T}, "score": {"kernel": p["v"][:, None]}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_matches_the_papers_in_float64(name):
    """Values, weights and gradients, query by query, by torch's autodiff in float64."""
    torch = pytest.importorskip("torch")
    layer, shapes, ours = CASES[name]
    p = {n: normal(*s, seed=10 + i) for i, (n, s) in enumerate(shapes.items())}
    query, keys = normal(2, 2, K if name == "dot" else Q), normal(2, 6, K, seed=1)
    values, g = normal(2, 6, 3, seed=2), normal(2, 2, 3, seed=3)

    there = {n: torch.tensor(a, dtype=torch.float64, requires_grad=True) for n, a in p.items()}
    tq, tk, tv = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (query, keys, values))
    rows, weights = [], []
    for b, t in np.ndindex(2, 2):
        seen = np.flatnonzero(VALID[b])
        e = torch.stack([SCORES[name](there, tq[b, t], tk[b, s]) for s in seen]).exp()
        rows.append(sum(w * tv[b, s] for w, s in zip(e / e.sum(), seen)))
        weights.append(np.zeros(6))
        weights[-1][seen] = (e / e.sum()).detach().numpy()
    expected = torch.stack(rows).reshape(2, 2, 3)
    expected.backward(torch.tensor(g, dtype=torch.float64))

    @jax.jit
    def compute(p, query, keys, values):
        def f(p, query, keys, values):
            return layer.apply({"params": ours(p)}, query, keys, values, VALID[:, None])

        context, pullback, w = jax.vjp(f, p, query, keys, values, has_aux=True)
        single, _ = layer.apply({"params": ours(p)}, query[:, 0], keys, values, VALID)
        return context, w, single, pullback(jnp.asarray(g))

    context, w, single, grads = compute(p, query, keys, values)
    np.testing.assert_allclose(context, expected.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(single, context[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(w, np.reshape(weights, (2, 2, 6)), rtol=1e-5, atol=1e-6)
    for got, x in zip((*grads[0].values(), *grads[1:]), (*(there[n] for n in grads[0]), tq, tk, tv)):
        np.testing.assert_allclose(got, x.grad, rtol=1e-5, atol=5e-6)
    sizes = jax.eval_shape(layer.init, jax.random.key(0), query, keys).get("params", {})
    assert jax.tree.map(jnp.shape, sizes) == jax.tree.map(jnp.shape, ours(p))
    assert (
        sum(x.size for x in jax.tree.leaves(sizes))
        == {"additive": (Q + K + 1) * F, "dot": 0, "general": Q * K, "concat": (Q + K + 1) * F}[name]
    )


def test_additive_attention_of_worked_scores():  # 002-D13f
    layer = nn.AdditiveAttention(1)
    params = {
        name: {"kernel": np.full((1, 1), x, np.float32)}
        for name, x in (("query", 0), ("key", 1), ("score", 4))
    }
    keys = np.arctanh(np.arange(3, dtype=np.float32) / 4)[:, None]
    values = np.arange(1, 4, dtype=np.float32)[:, None]
    context, weights = layer.apply({"params": params}, np.ones(1, np.float32), keys, values)
    np.testing.assert_allclose(weights, [0.0900306, 0.2447285, 0.6652410], atol=1e-6)
    np.testing.assert_allclose(context, [2.5752104], rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_nothing_to_attend_to_projected_keys_and_bfloat16(name):
    layer, shapes, ours = CASES[name]
    variables = {"params": ours({n: normal(*s, seed=i) for i, (n, s) in enumerate(shapes.items())})}
    query, keys = normal(2, K if name == "dot" else Q), normal(2, 6, K, seed=1)
    nothing = VALID & np.array([[True], [False]])

    @jax.jit
    def compute(query, keys):
        (context, weights), pullback = jax.vjp(
            lambda q, k: layer.apply(variables, q, k, mask=nothing), query, keys
        )
        low = layer.clone(dtype=jnp.bfloat16).apply(variables, query, keys, mask=nothing)[0]
        again = context
        if name == "additive":
            projected = layer.apply(variables, keys, method="project")
            again, _ = layer.apply(variables, query, keys, mask=nothing, projected=projected)
        return context, weights, pullback((jnp.ones_like(context), weights)), low, again

    context, weights, grads, low, again = compute(query, keys)
    assert (np.asarray(context)[1] == 0).all()
    assert (np.asarray(weights)[1] == 0).all()
    np.testing.assert_allclose(weights[0].sum(), 1.0, rtol=1e-6)
    assert all(np.isfinite(x).all() and (np.asarray(x)[1] == 0).all() for x in grads)
    np.testing.assert_allclose(again, context, rtol=1e-6)
    np.testing.assert_allclose(low, context, rtol=0.1, atol=0.1)


def call(layer, query=(2, 3), keys=(2, 6, 3), values=(2, 6, 4), mask=None):
    arrays = (np.zeros(s, np.float32) for s in (query, keys, values))
    jax.eval_shape(layer.init, jax.random.key(0), *arrays, mask)


@pytest.mark.parametrize(
    ("f", "error", "match"),
    [
        pytest.param(
            partial(call, nn.MultiplicativeAttention("sum")), ValueError, "score must be one of", id="score"
        ),
        pytest.param(
            partial(call, nn.MultiplicativeAttention("concat")), ValueError, "features must be", id="none"
        ),
        pytest.param(
            partial(call, nn.MultiplicativeAttention("dot", 3)), ValueError, "features must be", id="given"
        ),
        pytest.param(
            partial(call, nn.MultiplicativeAttention("dot"), (2, 4)),
            ValueError,
            "query must have the feat",
            id="dot",
        ),
        pytest.param(
            partial(call, nn.AdditiveAttention(2), (3,)), ValueError, "query must have rank", id="query"
        ),
        pytest.param(
            partial(call, nn.AdditiveAttention(2), (4, 3)), ValueError, "must agree in the first", id="batch"
        ),
        pytest.param(
            partial(call, nn.AdditiveAttention(2), values=(2, 5, 4)),
            ValueError,
            "values must have shape",
            id="values",
        ),
        pytest.param(
            partial(call, nn.AdditiveAttention(2), mask=np.ones((2, 5), bool)),
            ValueError,
            "mask must",
            id="mask",
        ),
        pytest.param(
            partial(call, nn.AdditiveAttention(2), mask=np.ones((2, 6))), TypeError, "mask must", id="bool"
        ),
        pytest.param(
            partial(call, nn.AdditiveAttention(0)), ValueError, "features must be at least 1", id="width"
        ),
    ],
)
def test_bad_input(f, error, match):
    with pytest.raises(error, match=match):
        f()
