"""Layers over sequences: attention, a transformer block, recurrent layers."""

from typing import Any

import numpy as np

from benchmarks.layers import not_slower_than_flax, row, torch_leaf
from benchmarks.measure import Row, Target


def attention_row(batch: int = 12, length: int = 256, heads: int = 6, size: int = 64) -> Row:
    """Causal scaled dot-product attention, [B, T, H, d] in all JAX sides."""
    shape = (batch, length, heads, size)

    def ours():
        from jaxdl import nn

        return lambda params, q, k, v: nn.scaled_dot_product_attention(q, k, v, causal=True)

    def flax():
        import jax.numpy as jnp
        from flax import linen

        def apply(params, q, k, v):
            mask = linen.make_causal_mask(jnp.ones((batch, length)))
            return linen.dot_product_attention(q, k, v, mask=mask)

        return apply

    def jax_nn():
        import jax

        return lambda params, q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=True)

    def torch(params):
        from torch.nn import functional

        def apply(q, k, v):
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

        return apply, []

    return row(
        "attention",
        f"causal attention {batch}×{length}×{heads}×{size}",
        {},
        [shape] * 3,
        shape,
        {"jaxdl": ours, "flax": flax, "jax.nn": jax_nn},
        torch,
        [not_slower_than_flax()],
        units=4,
    )


def transformer_block_row(
    batch: int = 12, length: int = 256, features: int = 384, heads: int = 6, hidden: int = 1536
) -> Row:
    """A causal pre-norm block with GELU (tanh form), without dropout."""
    size = features // heads
    norm = {"scale": (features,), "bias": (features,)}
    projection = {"kernel": (features, heads, size), "bias": (heads, size)}
    shapes = {
        "attention_norm": norm,
        "attention": {
            "query": projection,
            "key": projection,
            "value": projection,
            "out": {"kernel": (heads, size, features), "bias": (features,)},
        },
        "feed_forward_norm": norm,
        "feed_forward": {
            "up": {"kernel": (features, hidden), "bias": (hidden,)},
            "down": {"kernel": (hidden, features), "bias": (features,)},
        },
    }

    def ours():
        import jax

        from jaxdl import nn

        block = nn.TransformerEncoderBlock(heads, hidden, activation=jax.nn.gelu, causal=True)
        return lambda params, x: block.apply({"params": params}, x, train=False)

    def flax():
        import jax.numpy as jnp
        from flax import linen

        attention, norm = linen.MultiHeadDotProductAttention(heads), linen.LayerNorm()
        up, down = linen.Dense(hidden), linen.Dense(features)

        def apply(params, x):
            mask = linen.make_causal_mask(jnp.ones((batch, length)))
            h: Any = norm.apply({"params": params["attention_norm"]}, x)
            x = x + attention.apply({"params": params["attention"]}, h, mask=mask)
            h = norm.apply({"params": params["feed_forward_norm"]}, x)
            wide: Any = up.apply({"params": params["feed_forward"]["up"]}, h)
            h = linen.gelu(wide)
            return x + down.apply({"params": params["feed_forward"]["down"]}, h)

        return apply

    def torch(params):
        from torch.nn import functional

        attention, mlp = params["attention"], params["feed_forward"]
        heads_in = [attention[name] for name in ("query", "key", "value")]
        # One product for the three, as PyTorch's own layer has it.
        w_in = torch_leaf(np.concatenate([p["kernel"].reshape(features, features) for p in heads_in], 1).T)
        b_in = torch_leaf(np.concatenate([p["bias"].reshape(-1) for p in heads_in]))
        w_out = torch_leaf(attention["out"]["kernel"].reshape(features, features).T)
        leaves = [w_in, b_in, w_out, torch_leaf(attention["out"]["bias"])]
        leaves += [torch_leaf(mlp[name][p].T) for name in ("up", "down") for p in ("kernel", "bias")]
        norms = [
            torch_leaf(params[name][p])
            for name in ("attention_norm", "feed_forward_norm")
            for p in ("scale", "bias")
        ]

        def apply(x):
            h = functional.layer_norm(x, (features,), norms[0], norms[1], eps=1e-6)
            h = functional.linear(h, w_in, b_in).view(batch, length, 3, heads, size).permute(2, 0, 3, 1, 4)
            query, key, value = h
            h = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + functional.linear(h.transpose(1, 2).reshape(x.shape), w_out, leaves[3])
            h = functional.layer_norm(x, (features,), norms[2], norms[3], eps=1e-6)
            h = functional.gelu(functional.linear(h, leaves[4], leaves[5]), approximate="tanh")
            return x + functional.linear(h, leaves[6], leaves[7])

        return apply, [*leaves, *norms]

    return row(
        "transformer_block",
        f"causal pre-norm block {batch}×{length}×{features}, {heads} heads, {hidden} hidden units",
        shapes,
        [(batch, length, features)],
        (batch, length, features),
        {"jaxdl": ours, "flax": flax},
        torch,
        [not_slower_than_flax(1.3)],
        units=2,
    )


GATES = {"lstm": "ifgo", "gru": "rzn"}


def recurrent_row(kind: str, batch: int, length: int, inputs: int, hidden: int, units: int) -> Row:
    """An LSTM or a GRU over whole sequences, from a carry of zeros."""
    gates = GATES[kind]
    # linen's names; its biases: LSTM one for each gate beside h, GRU one beside x and for n one beside h too.
    shapes: dict[str, Any] = {f"i{gate}": {"kernel": (inputs, hidden)} for gate in gates}
    shapes |= {f"h{gate}": {"kernel": (hidden, hidden)} for gate in gates}
    biased = [f"h{gate}" for gate in gates] if kind == "lstm" else ["ir", "iz", "in", "hn"]
    for name in biased:
        shapes[name] = {**shapes[name], "bias": (hidden,)}

    def ours():
        from jaxdl import nn

        layer = nn.RNN({"lstm": nn.LSTMCell, "gru": nn.GRUCell}[kind](hidden))
        return lambda params, x: layer.apply({"params": {"cell": params}}, x)[1]

    def flax():
        from flax import linen

        layer = linen.RNN({"lstm": linen.LSTMCell, "gru": linen.GRUCell}[kind](hidden))
        return lambda params, x: layer.apply({"params": {"cell": params}}, x)

    def torch(params):
        import torch as library

        layer = {"lstm": library.nn.LSTM, "gru": library.nn.GRU}[kind](inputs, hidden, batch_first=True)
        with library.no_grad():
            for side in "ih":
                kernels = np.concatenate([params[f"{side}{gate}"]["kernel"] for gate in gates], axis=1)
                getattr(layer, f"weight_{side}h_l0").copy_(library.from_numpy(kernels.T.copy()))
                getattr(layer, f"bias_{side}h_l0").zero_()
        return lambda x: layer(x)[0], list(layer.parameters())

    return row(
        f"{kind}_{batch}_{length}_{inputs}_{hidden}",
        f"{kind.upper()} {inputs} to {hidden}, batch {batch}, {length} steps",
        shapes,
        [(batch, length, inputs)],
        (batch, length, hidden),
        {"jaxdl": ours, "flax": flax},
        torch,
        [
            not_slower_than_flax(),
            Target("at least the speed of PyTorch (on two shapes of three)", "torch", "jaxdl", at_least=1.0),
        ],
        units=units,
    )


def recurrent_rows() -> list[Row]:
    """Both kinds on three shapes: wide, image rows as steps, and long."""
    shapes = ((32, 64, 128, 256, 2), (128, 28, 28, 128, 8), (8, 512, 64, 64, 4))
    return [recurrent_row(kind, *shape) for kind in GATES for shape in shapes]
