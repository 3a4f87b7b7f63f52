"""What objectives share: one pass of the model, and losses and hits that fit what it returns.

The model is anything with linen's `apply(variables, *inputs, train, rngs, mutable)`; its variables are
`{"params": params, **model_state}`. Outputs are cast to float32 before the loss.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jaxdl.losses.masking import widened
from jaxdl.types import Array, ModelState, Params

LossFn = Callable[..., Array]  # (outputs, targets) -> unreduced loss
# (params, model_state, batch) -> {name: (sum, count)}, float32[] each
MetricsFn = Callable[[Params, ModelState, Mapping[str, Any]], dict[str, tuple[Array, Array]]]


def training_pass(
    model: Any,
    params: Params,
    model_state: ModelState,
    inputs: Sequence[Array],
    key: Array,
    method: str | None = None,
) -> tuple[Any, ModelState]:
    """Outputs and new model state of one training pass; `method` names another than the model's call."""
    variables = {"params": params, **model_state}
    options = {} if method is None else {"method": method}
    # With a list, even an empty one, `apply` returns a pair: models with and without state share this line.
    return model.apply(
        variables, *inputs, train=True, rngs={"dropout": key}, mutable=list(model_state), **options
    )


def evaluation_pass(
    model: Any, params: Params, model_state: ModelState, inputs: Sequence[Array], method: str | None = None
) -> Any:
    """Outputs of one pass in which nothing is random and nothing changes."""
    options = {} if method is None else {"method": method}
    return model.apply({"params": params, **model_state}, *inputs, train=False, **options)


def unreduced(loss: Any, *shapes: tuple[int, ...]) -> Array:
    """The loss in float32; ValueError unless it has one of the shapes."""
    loss = widened(loss)
    if loss.shape not in shapes:
        allowed = " or ".join(map(str, dict.fromkeys(shapes)))
        raise ValueError(f"loss_fn must return unreduced values of shape {allowed}, got {loss.shape}")
    return loss


def evaluation_mask(mask: str | None, batch: Mapping[str, Any]) -> str | None:
    """The key of the mask: "mask" where none is named and the batch has it, as padded evaluation batches do."""
    return "mask" if mask is None and "mask" in batch else mask


def share(hits: Array, valid: Array | None) -> tuple[Array, Array]:
    """Sum over valid rows of hits bool [B, ...], and how many values that is, both float32[]."""
    if valid is None:
        return jnp.sum(hits, dtype=jnp.float32), jnp.asarray(hits.size, jnp.float32)
    counted = jnp.broadcast_to(valid.reshape(valid.shape + (1,) * (hits.ndim - 1)), hits.shape)
    return jnp.sum(hits & counted, dtype=jnp.float32), jnp.sum(counted, dtype=jnp.float32)
