"""Truncated backpropagation through time (Williams & Peng 1990).

Shapes: B batch, T time, W window.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks, loops
from jaxdl.train.stepping import average_metrics
from jaxdl.train.update import make_update
from jaxdl.types import Array, GradFn, Step


def _cut(batch: Any, window: int) -> tuple[Any, Any, Array]:
    """Leaves [B, T, ...] as full windows [N, B, W, ...], the rest [B, T % W, ...] or None, and lengths."""
    leaves = {f"batch{jax.tree_util.keystr(path)}": leaf for path, leaf in jax.tree.leaves_with_path(batch)}
    for name, leaf in leaves.items():
        if leaf.ndim < 2 or leaf.shape[1] == 0:
            raise ValueError(f"{name} must have shape [B, T, ...] with T above 0, got {leaf.shape}")
    checks.same_leading(2, **leaves)
    steps = next(iter(leaves.values())).shape[1]
    window = min(window, steps)
    count, rest = divmod(steps, window)

    def full(x):
        return jnp.moveaxis(x[:, : count * window].reshape(x.shape[0], count, window, *x.shape[2:]), 1, 0)

    tail = jax.tree.map(lambda x: x[:, count * window :], batch) if rest else None
    return jax.tree.map(full, batch), tail, jnp.asarray([window] * count + [rest] * bool(rest), jnp.float32)


def _join(full: Any, rest: Any) -> Any:
    """Stacked values [N, ...] and one more [...] as [N + 1, ...]."""
    return jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), full, rest)


def _accumulated(grad_fn: GradFn, window: int) -> GradFn:
    """Mean gradient over the windows of a batch, weighted by their lengths, all at the same parameters."""

    def fn(params, model_state, batch, key):
        windows, tail, lengths = _cut(batch, window)
        weights = lengths / lengths.sum()
        keys = jax.random.split(key, len(lengths))

        def add(carry, xs):
            model_state, total = carry
            *xs, weight = xs
            (loss, (model_state, metrics)), grads = grad_fn(params, model_state, *xs)
            total = jax.tree.map(lambda t, g: t + weight.astype(g.dtype) * g, total, grads)
            return (model_state, total), (loss, metrics)

        count = len(lengths) - (tail is not None)
        carry = (model_state, jax.tree.map(jnp.zeros_like, params))
        carry, report = loops.scan(add, carry, (windows, keys[:count], weights[:count]))
        if tail is not None:
            carry, last = add(carry, (tail, keys[-1], weights[-1]))
            report = _join(report, last)
        (model_state, grads), (loss, metrics) = carry, report
        return (jnp.dot(weights, loss), (model_state, average_metrics(metrics, weights))), grads

    return fn


def make_truncated_bptt_step(
    grad_fn: GradFn,
    tx: optax.GradientTransformation,
    *,
    window: int,
    accumulate: bool = False,
    stateful: bool = False,
    skip_nonfinite: bool = False,
) -> Step:
    """Returns a step over a batch of sequences that backpropagates through at most `window` time steps.

    The recurrent carry travels from window to window in `model_state["carry"]`. There it is an input of a
    gradient, not a function of the parameters, so gradients stop at the windows' borders without
    `stop_gradient`:

    theta_{i+1} = theta_i + tx(g_i),  g_i = dL_i(theta_i, carry_i) / dtheta  with carry_i held constant

    or, accumulated, one update with g = sum_i W_i g_i / T, all at the same theta. With a window of T or more
    this is full backpropagation through time.

    Args:
      grad_fn: estimator `(params, model_state, batch, key)` on one window, whose loss is a mean over time and
        whose returned `model_state["carry"]` is the carry after the window, as large as before.
      tx: the optimizer.
      window: W, at least 1. Where it does not divide T the last window is shorter.
      accumulate: one update for each batch instead of one for each window.
      stateful: go on from the carry of the last batch, for text cut into consecutive batches; otherwise the
        carry starts at zero in each.
      skip_nonfinite: as in `make_update`.

    Returns:
      A step whose batch has leaves [B, T, ...]. Metrics are means over the windows weighted by their lengths,
      but `learning_rate` is the last one.

    Raises:
      ValueError: `window` is below 1; `model_state` has no "carry"; leaves do not share [B, T] (at trace
        time).

    Source: Williams & Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network
      Trajectories", 1990, BPTT(h; h').
    Differs from it: a gradient reaches back to its window's start, not a fixed number of steps: h = h' = W.
    """
    checks.at_least(1, window=window)
    estimator = _accumulated(grad_fn, window) if accumulate else grad_fn
    update = make_update(estimator, tx, skip_nonfinite=skip_nonfinite)

    def step(state, batch):
        if "carry" not in state.model_state:
            raise ValueError(f'model_state must have a key "carry", got {sorted(state.model_state)}')
        if not stateful:
            carry = jax.tree.map(jnp.zeros_like, state.model_state["carry"])
            state = state.replace(model_state={**state.model_state, "carry": carry})
        if accumulate:
            return update(state, batch)
        windows, tail, lengths = _cut(batch, window)
        state, metrics = loops.scan(update, state, windows)
        if tail is not None:
            state, last = update(state, tail)
            metrics = _join(metrics, last)
        return state, average_metrics(metrics, lengths)

    return step
