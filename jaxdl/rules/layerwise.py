"""Deep nets one layer at a time."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks, loops
from jaxdl.types import GradFn, Params

# What a layer makes of a batch for the layer above it: (layer's params, batch) -> batch.
Encode = Callable[[Params, Any], Any]


def greedy_layerwise(
    layers: Mapping[str, tuple[GradFn, Encode]], updates_per_layer: int | Sequence[int]
) -> GradFn:
    """Trains a stack from the bottom: each layer by its own rule, on what the finished layers below make of the data.

    g_l = grad_fn_l(theta_l, x_l) while it is layer l's turn, 0 before and after
    x_1 = the batch,  x_{l+1} = encode_l(theta_l, x_l)

    The turns are counted in `model_state["step"]`; when all are over, the last layer goes on. A stack of restricted
    Boltzmann machines trained by `contrastive_divergence` is a deep belief net, one of autoencoders trained by
    `train.backprop` a stacked autoencoder. Then train the whole by backpropagation:

        layers = {"first": (contrastive_divergence(...), hidden), "second": (contrastive_divergence(...), hidden)}
        variables = {"params": {"first": ..., "second": ...}, "step": jnp.zeros((), jnp.int32)}
        update = train.make_update(greedy_layerwise(layers, 1000), optim.gradient_descent(0.1))

    A gradient of 0 leaves a layer where it is under an optimizer without momentum or weight decay. With any other, give
    each layer one of its own that sleeps outside its turn:

        turn = lambda l: lambda step: jnp.minimum(step // 1000, 1) == l
        tx = optax.partition(
            {name: optax.transforms.conditionally_mask(optim.adam(1e-3), turn(l)) for l, name in enumerate(layers)},
            {name: name for name in layers})

    Args:
      layers: for each name in `params`, first layer first, its estimator `(layer's params, layer's state, batch, key)`
        and what it hands up, `encode(layer's params, batch) -> batch`. The last one's encode is not used. All
        estimators report metrics of the same names.
      updates_per_layer: length of a turn, at least 1; or one for each layer.

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. `params` is {name: layer's
      params}; what it holds besides, such as an output layer, has gradient 0. `model_state` is {"step": int32[]} and,
      by name, the states of layers that have one. Loss and metrics are those of the layer whose turn it is; `layer`
      is its number from 0, float[].

    Raises:
      ValueError: no layers, a turn shorter than 1, or turns that are not as many as layers; at the call, a layer that
        `params` does not have, a model state without "step", or metrics of different names.

    Source: Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", 2006, section 4; Bengio et al.,
    "Greedy layer-wise training of deep networks", 2007.
    """
    if not layers:
        raise ValueError("layers must hold at least one layer, got none")
    turns = (
        list(updates_per_layer)
        if isinstance(updates_per_layer, Sequence)
        else [updates_per_layer] * len(layers)
    )
    if len(turns) != len(layers):
        raise ValueError(f"updates_per_layer must be one number or {len(layers)}, got {len(turns)}")
    for turn in turns:
        checks.at_least(1, updates_per_layer=turn)
    names = list(layers)
    ends = np.array(list(itertools.accumulate(turns)))

    def fn(params, model_state, batch, key):
        missing = [name for name in names if name not in params]
        if missing:
            raise ValueError(f"params must hold every layer of {names}, got {sorted(params)}")
        if "step" not in model_state:
            raise ValueError(f'model_state must have a key "step", got {sorted(model_state)}')
        step = model_state["step"]
        number = jnp.minimum(jnp.sum(step >= ends), len(names) - 1)
        zeros = jax.tree.map(jnp.zeros_like, params)
        states = {name: model_state[name] for name in names if name in model_state}
        reported: dict[str, list[str]] = {}

        def train_layer(l):
            def branch():
                name, x = names[l], batch
                for below in names[:l]:
                    x = layers[below][1](params[below], x)
                (loss, (state, metrics)), grads = layers[name][0](params[name], states.get(name, {}), x, key)
                reported[name] = sorted(metrics)
                if reported[name] != next(iter(reported.values())):
                    raise ValueError(f"all layers must report metrics of the same names, got {reported}")
                new = {**states, name: state} if name in states else states
                return loss, new, dict(metrics), {**zeros, name: grads}

            return branch

        def train_from(l):
            """The layer whose turn it is, of those from layer l up."""
            if l == len(names) - 1:
                return train_layer(l)
            return lambda: loops.cond(number <= l, train_layer(l), train_from(l + 1))

        loss, states, metrics, grads = train_from(0)()
        model_state = {**model_state, **states, "step": step + 1}
        return (loss, (model_state, {**metrics, "layer": number.astype(jnp.float32)})), grads

    return fn
