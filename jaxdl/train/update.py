"""The one place where gradients become parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl.train.state import TrainState
from jaxdl.types import GradFn, Metrics


def _learning_rates(opt_state: optax.OptState) -> Metrics:
    """Every scalar `learning_rate` that a transformation keeps in its state; empty where none does."""
    found = [
        (path, rate)
        for path, rate in optax.tree.get_all_with_path(opt_state, "learning_rate")
        if not isinstance(rate, tuple) and jnp.ndim(rate) == 0  # a tuple is the state of an injected schedule
    ]
    # `optax.inject_hyperparams` keeps the rate a second time, as what it injects into the link that applies it.
    applied = [rate for path, rate in found if "hyperparams" not in jax.tree_util.keystr(path)]
    rates = applied or [rate for _, rate in found]
    if len(rates) == 1:
        return {"learning_rate": rates[0]}
    return {f"learning_rate/{i}": rate for i, rate in enumerate(rates)}


def _isfinite(x: Any) -> Any:
    return jnp.isfinite(x) if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.ones((), bool)


def make_update(
    grad_fn: GradFn,
    tx: optax.GradientTransformation,
    *,
    skip_nonfinite: bool = False,
    report_norms: bool = True,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Returns `update(state, *args) -> (state, metrics)`: one optimizer step on `state.params`.

    theta <- theta + tx(g),  g = grad_fn(theta, model_state, *args, fold_in(key, step))

    With one argument, the batch, the update is a finished step. More arguments travel to `grad_fn` unchanged and are
    not differentiated, so an opponent's or a teacher's parameters can be among them without `stop_gradient`.

    Args:
      grad_fn: gradient estimator, such as `backprop(objective)`.
      tx: any Optax transformation; those that ask for it (line searches, plateau schedules) get `value`, `grad` and
        `value_fn`.
      skip_nonfinite: where a gradient is not finite, leave parameters, optimizer and every array of the model state
        that is not finite as they were, and report `skipped` = 1, with no limit: what dynamic loss scaling needs.
        Otherwise the values go through, and `fit` stops on them. To endure a few in float32, take
        `optim.skip_nonfinite`, which counts them and then gives up.

      report_norms: whether the metrics hold `grad_norm` and `update_norm`. Each is one more pass over arrays as
        large as the parameters, which shows where a step takes a millisecond on a CPU and nowhere else.

    Returns:
      A pure function. Its metrics are those of `grad_fn` with `loss`, `grad_norm`, `update_norm` (global L2 norms)
      and, where a transformation keeps one, `learning_rate`; all stay on the device.
    """
    tx = optax.with_extra_args_support(tx)

    def update(state: TrainState, *args: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, (model_state, metrics)), grads = grad_fn(state.params, state.model_state, *args, key)
        updates, opt_state = tx.update(
            grads,
            state.opt_state,
            state.params,
            value=loss,
            grad=grads,
            value_fn=lambda params: grad_fn(params, state.model_state, *args, key)[0][0],
        )
        params = optax.apply_updates(state.params, updates)
        norms = {"grad_norm": grads, "update_norm": updates} if report_norms else {}
        report = {name: optax.tree.norm(tree) for name, tree in norms.items()}
        if skip_nonfinite:
            finite = jnp.all(jnp.stack([jnp.all(_isfinite(g)) for g in jax.tree.leaves(grads)]))
            params, opt_state = jax.tree.map(
                lambda new, old: jnp.where(finite, new, old),
                (params, opt_state),
                (state.params, state.opt_state),
            )
            # What the forward pass spoiled goes back; what `grad_fn` keeps on purpose, a loss scale, is finite.
            model_state = jax.tree.map(
                lambda new, old: jnp.where(finite | jnp.all(_isfinite(new)), new, old),
                model_state,
                state.model_state,
            )
            report = {name: jnp.where(finite, norm, jnp.zeros_like(norm)) for name, norm in report.items()}
            report["skipped"] = jnp.where(finite, 0.0, 1.0)
        state = state.replace(  # pyrefly: ignore[missing-attribute] - flax.struct adds it
            step=state.step + 1, params=params, model_state=model_state, opt_state=opt_state
        )
        return state, {"loss": loss, **report, **_learning_rates(opt_state), **metrics}

    return update
