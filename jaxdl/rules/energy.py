"""Gradients of energy-based models, from samples: contrastive divergence, and the same with persistent chains.

Shapes: B rows, C chains, D visible units. The model is two functions, so binary, Gaussian and deeper Boltzmann machines
use the same rule:

    free_energy(params, v [B, D]) -> [B]       F(v) = -log sum over h of exp(-E(v, h)), in nats
    gibbs_step(params, v [B, D], key) -> [B, D]    one sweep: h ~ p(h | v), then v ~ p(v | h)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import checks, loops, losses
from jaxdl.types import Array, GradFn, Params

FreeEnergy = Callable[[Params, Array], Array]
GibbsStep = Callable[[Params, Array, Array], Array]


def _chain(gibbs_step: GibbsStep, params: Params, start: Array, key: Array, k: int) -> tuple[Array, Array]:
    """What one and what k sweeps make of the start."""

    def sweep(v, key):
        return gibbs_step(params, v, key).astype(start.dtype), None

    keys = jax.random.split(key, k)
    first, _ = sweep(start, keys[0])
    last, _ = loops.scan(sweep, first, keys[1:]) if k > 1 else (first, None)
    return first, last


def _mean_energy(free_energy: FreeEnergy, params: Params, v: Array, name: str) -> Array:
    energies = free_energy(params, v)
    checks.shape((len(v),), **{f"free energy of the {name}": energies})
    return jnp.mean(energies, dtype=jnp.promote_types(energies.dtype, jnp.float32))


def _difference(
    free_energy: FreeEnergy, params: Params, data: Array, samples: Array
) -> tuple[Array, dict[str, Array]]:
    of_data = _mean_energy(free_energy, params, data, "inputs")
    of_samples = _mean_energy(free_energy, params, jax.lax.stop_gradient(samples), "samples")
    return losses.free_energy_difference(of_data, of_samples), {
        "data_energy": of_data,
        "sample_energy": of_samples,
    }


def contrastive_divergence(
    free_energy: FreeEnergy, gibbs_step: GibbsStep, *, k: int = 1, inputs: str = "x"
) -> GradFn:
    """CD-k: lowers the energy of the data and raises that of what k sweeps of Gibbs sampling make of it.

    g = mean over rows of dF(v_0)/dtheta - mean over rows of dF(v_k)/dtheta,  v_0 the data, v_k held fixed

    With k to infinity it is the gradient of the mean negative log-likelihood; with few sweeps the chains are still
    near the data, and the estimate is biased, but steady. For the weights of a restricted Boltzmann machine it is
    <v h>_k - <v h>_0, with p(h = 1 | v) for h in both.

    Args:
      free_energy: F, see the module.
      gibbs_step: one sweep, see the module.
      k: sweeps, at least 1.
      inputs: key of the batch with v, float [B, D].

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. The loss is mean F(v_0) - mean
      F(v_k), float[]: not a likelihood, of either sign and no measure of progress. `data_energy` and `sample_energy`
      are its two terms, `reconstruction_error` the mean of (v_0 - v_1)^2 over rows and units.

    Raises:
      ValueError: k is below 1; at the call, inputs of another rank, or energies that are not one for each row.
      TypeError: at the call, inputs are not floating point.

    Source: Hinton, "Training products of experts by minimizing contrastive divergence", 2002, equation 5.
    """
    checks.at_least(1, k=k)

    def objective(params, model_state, batch, key):
        v = batch[inputs]
        checks.floating(inputs=v)
        checks.rank(2, inputs=v)
        first, last = _chain(gibbs_step, params, v, key, k)
        loss, metrics = _difference(free_energy, params, v, last)
        metrics["reconstruction_error"] = jnp.mean(jnp.square(v - first), dtype=loss.dtype)
        return loss, (model_state, metrics)

    return jax.value_and_grad(objective, has_aux=True)


def persistent_contrastive_divergence(
    free_energy: FreeEnergy, gibbs_step: GibbsStep, *, k: int = 1, inputs: str = "x"
) -> GradFn:
    """PCD-k: contrastive divergence whose chains go on where the last update left them, not from the data.

    g = mean over rows of dF(v)/dtheta - mean over chains of dF(v')/dtheta,  v' = k sweeps from the last v', held fixed

    While the parameters move slowly, the chains stay close to the model's distribution and reach what the data never
    start them near, so the estimate is less biased than CD's at the same cost. It wants small rates.

    Args:
      free_energy: F, see the module.
      gibbs_step: one sweep, see the module.
      k: sweeps for each update, at least 1.
      inputs: key of the batch with v, float [B, D].

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. The chains are
      `model_state["chain"]`, [C, D], advanced by k sweeps; C need not be B. Give them a start with the parameters:
      `create_train_state(key, {"params": params, "chain": v}, tx)`. The loss is mean F(v) - mean F(v'), float[]: no
      measure of progress; `data_energy` and `sample_energy` are its two terms.

    Raises:
      ValueError: k is below 1; at the call, inputs of another rank, no chain or one of another width, or energies that
        are not one for each row.
      TypeError: at the call, inputs or chain are not floating point.

    Source: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", 2008;
    Younes, "On the convergence of Markovian stochastic algorithms with rapidly decreasing ergodicity rates",
    1999.
    """
    checks.at_least(1, k=k)

    def objective(params, model_state: Any, batch, key):
        v = batch[inputs]
        if "chain" not in model_state:
            raise ValueError(f'model_state must have a key "chain", got {sorted(model_state)}')
        chain = model_state["chain"]
        checks.floating(inputs=v, chain=chain)
        checks.rank(2, inputs=v)
        checks.shape((None, v.shape[1]), chain=chain)
        _, chain = _chain(gibbs_step, params, chain, key, k)
        loss, metrics = _difference(free_energy, params, v, chain)
        return loss, ({**model_state, "chain": jax.lax.stop_gradient(chain)}, metrics)

    return jax.value_and_grad(objective, has_aux=True)
