"""Gradient estimators. All have the signature of `jax.value_and_grad(objective, has_aux=True)`."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import checks, loops
from jaxdl.types import GradFn, Objective


def backprop(objective: Objective) -> GradFn:
    """Reverse-mode differentiation: dL/dtheta. Through a scan over time this is BPTT.

    Args:
      objective: `(params, model_state, *args, key) -> (loss, (model_state, metrics))`.

    Returns:
      `(params, model_state, *args, key) -> ((loss, (model_state, metrics)), grads)`.
    """
    return jax.value_and_grad(objective, has_aux=True)


def microbatched(grad_fn: GradFn, num_microbatches: int) -> GradFn:
    """Mean gradient over equal slices of the batch, one slice in memory at a time.

    g = (1/n) sum_i g_i, which is the big batch's gradient where the objective is a mean over examples that does not
    couple them. Batch statistics do couple them, and a mask does unless each slice has as many valid rows.
    `model_state` passes through the slices in order, each has its own key, and metrics are means over slices.

    Take this where the batch is at hand and only memory is short; `optim.accumulate` where the batches themselves come
    one by one and an update is wanted after several of them.

    Args:
      grad_fn: estimator whose last argument before the key is the batch, leaves [B, ...].
      num_microbatches: n; divides B.

    Raises:
      ValueError: n is below 1 or does not divide B.
    """
    checks.at_least(1, num_microbatches=num_microbatches)

    def fn(params, model_state, *args):
        *rest, batch, key = args
        for leaf in jax.tree.leaves(batch):
            checks.divisible(num_microbatches, "num_microbatches", batch_size=leaf.shape[0])
        slices = jax.tree.map(lambda x: x.reshape((num_microbatches, -1, *x.shape[1:])), batch)
        keys = jax.random.split(key, num_microbatches)

        def body(carry, xs):
            model_state, total = carry
            (loss, (model_state, metrics)), grads = grad_fn(params, model_state, *rest, *xs)
            return (model_state, jax.tree.map(jnp.add, total, grads)), (loss, metrics)

        start = (model_state, jax.tree.map(jnp.zeros_like, params))
        (model_state, total), (loss, metrics) = loops.scan(body, start, (slices, keys))
        grads = jax.tree.map(lambda g: g / num_microbatches, total)
        return (loss.mean(), (model_state, jax.tree.map(lambda m: m.mean(axis=0), metrics))), grads

    return fn


def averaged_over(grad_fn: GradFn, axis_name: str) -> GradFn:
    """Mean over the devices of a named axis: for steps under `pmap_step`, `jax.pmap` or `jax.shard_map`.

    g = (1/D) sum_d g_d; loss, metrics and floating model state (batch statistics) are averaged as well. Each device
    folds its index into the key, so its dropout noise is its own.

    Under `jax.shard_map`, differentiating with respect to a replicated input already sums over the devices, and a
    mean of that sum would be D times too large; here each device first takes its own copy of the parameters, so the
    same code is right under both.

    Args:
      grad_fn: estimator on one device's share of the batch.
      axis_name: name of the mapped axis.
    """

    def mean(x):
        return jax.lax.pmean(x, axis_name) if jnp.issubdtype(x.dtype, jnp.floating) else x

    def own_copy(x: Any):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        try:
            return jax.lax.pcast(x, axis_name, to="varying")
        except ValueError:  # each device holds its own copy already
            return x

    def fn(params, model_state, *args):
        *rest, key = args
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        params, model_state = jax.tree.map(own_copy, (params, model_state))
        return jax.tree.map(mean, grad_fn(params, model_state, *rest, key))

    return fn
