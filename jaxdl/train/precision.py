"""Training in 16 bits: the arithmetic is low, parameters and optimizer stay float32."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array, Dtype, GradFn, ModelState, Objective

COLLECTION = "loss_scale"


def loss_scale(initial_scale: float = 2.0**15) -> dict[str, dict[str, Array]]:
    """What float16 adds to a model's variables: `create_train_state(key, {**variables, **loss_scale()}, tx)`.

    Args:
      initial_scale: first factor of the loss. A large one costs a few skipped updates, a small one small
        gradients.

    Returns:
      `{"loss_scale": {"scale": float32[], "streak": int32[]}}`; the streak counts finite updates since the
      last change.
    """
    checks.positive(initial_scale=initial_scale)
    return {
        COLLECTION: {"scale": jnp.asarray(initial_scale, jnp.float32), "streak": jnp.zeros((), jnp.int32)}
    }


def mixed_precision(
    objective: Objective, dtype: Dtype, *, growth_interval: int = 2000, axis_name: str | None = None
) -> GradFn:
    """Backpropagation with the forward and backward pass in `dtype` and gradients in float32.

    Floating parameters, and floating leaves of every argument between `model_state` and the key, enter the
    objective in `dtype`; integers do not change. A layer whose own `dtype` is None then computes in it.
    Targets are rounded with the rest of the batch: three digits in bfloat16, so standardise what needs more.
    `model_state` keeps the dtypes it has.

    float16 underflows below 6e-8. There the gradient is taken of s * loss and divided by s in float32, with s
    in `model_state["loss_scale"]`, which the objective never sees:

      any gradient not finite:            s <- s / 2, streak <- 0, and the other model state stays as it was
      `growth_interval` finite in a row:  s <- 2 s,   streak <- 0

    The gradients of an overflow are not finite, for `make_update(..., skip_nonfinite=True)` to skip. bfloat16
    has float32's range and needs none of this; float32 is `backprop`.

    Args:
      objective: `(params, model_state, *args, key) -> (loss float32[], (model_state, metrics))`.
      dtype: float32, bfloat16 or float16, as a dtype or its name.
      growth_interval: finite updates in a row after which s is doubled.
      axis_name: the mapped axis where this goes inside `averaged_over(..., axis_name)` or another map over
        devices: then an overflow on one device is an overflow on all, and they keep one s.

    Returns:
      `(params, model_state, *args, key) -> ((loss, (model_state, metrics)), grads)`. In float16 the metrics
      hold `loss_scale`, the s of this update.

    Raises:
      ValueError: another dtype; float16 without `loss_scale()` in the model state.

    Source: Micikevicius et al., "Mixed Precision Training", 2018, sections 3.1 and 3.2, arXiv:1710.03740.
    """
    checks.one_of(("float32", "bfloat16", "float16"), dtype=jnp.dtype(dtype).name)
    checks.at_least(1, growth_interval=growth_interval)
    dtype = jnp.dtype(dtype)
    scaled = dtype == jnp.float16

    def fn(params, model_state, *args):
        *rest, key = args
        visible = {name: tree for name, tree in model_state.items() if name != COLLECTION}
        hidden = {COLLECTION: model_state[COLLECTION]} if COLLECTION in model_state else {}
        if scaled and not hidden:
            raise ValueError(
                'model_state must have a key "loss_scale" for float16: create the state from '
                f"{{**variables, **loss_scale()}}, got {sorted(model_state)}"
            )
        scale = hidden[COLLECTION]["scale"] if scaled else None

        def low(params):
            params, arguments = (params, rest) if dtype == jnp.float32 else _cast((params, rest), dtype)
            loss, aux = objective(params, visible, *arguments, key)
            loss = loss.astype(jnp.float32)
            return loss if scale is None else loss * scale, (loss, aux)

        (_, (loss, (new_state, metrics))), grads = jax.value_and_grad(low, has_aux=True)(params)
        new_state = jax.tree.map(_as_before, new_state, visible)
        if scale is not None:
            grads = jax.tree.map(lambda g: g / scale.astype(g.dtype), grads)
            finite = _all_finite(grads)
            if axis_name is not None:
                finite = jax.lax.pmin(finite.astype(jnp.int32), axis_name) > 0
            new_state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new_state, visible)
            hidden = {COLLECTION: _next_scale(hidden[COLLECTION], finite, growth_interval)}
            metrics = {**metrics, "loss_scale": scale}
        return (loss, ({**new_state, **hidden}, metrics)), grads

    return fn


def _is_floating(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def _cast(tree: Any, dtype: Dtype) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if _is_floating(x) else x, tree)


def _as_before(new: Any, old: Any) -> Any:
    return jnp.asarray(new, jnp.result_type(old)) if _is_floating(old) else new


def _all_finite(tree: Any) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def _next_scale(state: ModelState, finite: Array, growth_interval: int) -> ModelState:
    scale, streak = state["scale"], state["streak"] + 1
    grows = streak >= growth_interval
    # A scale that reached infinity or 0 could never come back.
    limits = jnp.finfo(jnp.float32)
    doubled = jnp.minimum(scale * 2, 2.0**limits.maxexp / 2)
    halved = jnp.maximum(scale / 2, limits.tiny)
    return {
        "scale": jnp.where(finite, jnp.where(grows, doubled, scale), halved),
        "streak": jnp.where(finite & ~grows, streak, 0),
    }
