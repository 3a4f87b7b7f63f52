"""Embed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn

TOKENS = np.array([[3, 0, 5], [3, 1, 0]])


@pytest.mark.parametrize("mask_zero", [False, True])
def test_lookup_and_tied_output_match_torch(mask_zero):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    table, g, h = (rng.normal(size=s).astype(np.float32) for s in ((6, 4), (2, 3, 4), (2, 3, 6)))
    if mask_zero:
        table[0] = 0
    layer = torch.nn.Embedding(6, 4, padding_idx=0 if mask_zero else None, _weight=torch.tensor(table))
    y = layer(torch.tensor(TOKENS))
    (lookup,) = torch.autograd.grad(y, [layer.weight], torch.tensor(g))
    x = torch.tensor(g, requires_grad=True)
    logits = torch.nn.functional.linear(x, layer.weight)
    tied = torch.autograd.grad(logits, [layer.weight, x], torch.tensor(h))
    ours = nn.Embed(6, 4, mask_zero)

    @jax.jit
    def compute(table):
        variables = {"params": {"embedding": table}}
        y, back = jax.vjp(lambda v: ours.apply(v, TOKENS), variables)
        logits, back_tied = jax.vjp(lambda v, x: ours.apply(v, x, method="attend"), variables, jnp.asarray(g))
        return y, back(jnp.asarray(g)), logits, back_tied(jnp.asarray(h))

    got, grads, got_logits, tied_grads = compute(table)
    np.testing.assert_array_equal(got, y.detach())
    np.testing.assert_allclose(grads[0]["params"]["embedding"], lookup, rtol=1e-6)
    np.testing.assert_allclose(got_logits, logits.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tied_grads[0]["params"]["embedding"], tied[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tied_grads[1], tied[1], rtol=1e-5, atol=1e-5)


def test_parameters_are_exchangeable_with_linens(key):
    ours, theirs = nn.Embed(6, 4), linen.Embed(6, 4)

    @jax.jit
    def compute(key):
        variables, same = ours.init(key, TOKENS), theirs.init(key, TOKENS)
        return variables, same, ours.apply(same, TOKENS), theirs.apply(variables, TOKENS)

    variables, same, y, expected = compute(key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), variables, same)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_padding_is_zero_whatever_its_row_holds(key):
    layer = nn.Embed(6, 4, mask_zero=True)
    table = jax.jit(layer.init)(key, TOKENS)["params"]["embedding"]
    np.testing.assert_array_equal((table == 0).all(-1), [True, False, False, False, False, False])
    y = jax.jit(layer.apply)({"params": {"embedding": np.ones((6, 4), np.float32)}}, TOKENS)
    np.testing.assert_array_equal(y[..., 0], TOKENS != 0)


def test_tokens_out_of_range_give_nan():
    variables = {"params": {"embedding": np.ones((6, 4), np.float32)}}
    y = jax.jit(nn.Embed(6, 4).apply)(variables, jnp.array([-1, 0, 5, 6]))
    np.testing.assert_array_equal(np.isnan(y).all(-1), [True, False, False, True])


def test_computes_in_bfloat16():
    layer, table = nn.Embed(6, 4, dtype=jnp.bfloat16), np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)
    y = layer.apply({"params": {"embedding": table}}, TOKENS)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float32), table[TOKENS], atol=4e-3)


def test_bad_input(key):
    with pytest.raises(TypeError, match="tokens must be integers"):
        jax.eval_shape(nn.Embed(6, 4).init, key, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="num_embeddings must be at least 1"):
        jax.eval_shape(nn.Embed(0, 4).init, key, TOKENS)
    with pytest.raises(ValueError, match=r"x must have shape \(2, 4\)"):
        jax.eval_shape(partial(nn.Embed(6, 4).init, method="attend"), key, np.zeros((2, 3), np.float32))
