"""Many steps, or many networks, as one step."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxdl import checks, loops
from jaxdl.types import Array, Metrics, Step


def average_metrics(metrics: Mapping[str, Array], weights: Array | None = None) -> Metrics:
    """Mean of metrics float[N, ...] over N steps; of `learning_rate` the last, which is the one in force.

    Args:
      metrics: values with the steps on the leading axis.
      weights: weight of each step, float[N]; equal where None.
    """
    return {
        name: values[-1]
        if "learning_rate" in name.split("/")
        else jnp.average(values, axis=0, weights=weights)
        for name, values in metrics.items()
    }


def scan_steps(step: Step, num_steps: int) -> Step:
    """One step made of `num_steps`: fewer calls from Python, one larger program.

    The last state is that of calling `step` one batch at a time: bit for bit on CPU, where a loop's body
    compiles as a step does, and to rounding where the compiler fuses it differently.

    Args:
      step: `(state, batch) -> (state, metrics)`.
      num_steps: n, at least 1.

    Returns:
      A step whose batch has leaves [num_steps, B, ...]. Metrics are means over the steps, but `learning_rate`
      is the last one.

    Raises:
      ValueError: `num_steps` is below 1, or a leaf does not have that many batches (at trace time).
    """
    checks.at_least(1, num_steps=num_steps)

    def steps(state, batches):
        for leaf in jax.tree.leaves(batches):
            if leaf.ndim == 0 or leaf.shape[0] != num_steps:
                raise ValueError(
                    f"batches must have {num_steps} batches on the leading axis, got shape {leaf.shape}"
                )
        state, metrics = loops.scan(step, state, batches, num_steps)
        return state, average_metrics(metrics)

    return steps


def population_step(step: Step, *, shared_batch: bool = True) -> Step:
    """One step of N independent networks: `step` mapped over a leading axis of states.

    What differs between the members lies in their states: a seed, or a hyperparameter that the optimizer
    keeps there (`optax.inject_hyperparams`). Such states are made with `jax.vmap`:

        create = lambda key: create_train_state(key, model.init(key, x, train=False), tx)
        states = jax.vmap(create)(jax.random.split(key, 100))

    Args:
      step: `(state, batch) -> (state, metrics)`.
      shared_batch: all members see the same batch; otherwise its leaves are [N, B, ...].

    Returns:
      A step on states with leaves [N, ...]; its metrics are float32[N].
    """
    return jax.vmap(step, in_axes=(0, None if shared_batch else 0))
