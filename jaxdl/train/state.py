"""The state of one network under one optimizer."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxdl.types import Array, ModelState, Params


@struct.dataclass
class TrainState:
    """Arrays only, so it can be jitted, scanned, vmapped, donated, sharded and saved as it is.

    Attributes:
      step: number of updates taken, int32[].
      params: what the optimizer moves.
      model_state: what the objective reads and returns undifferentiated, by collection: batch statistics, a
        recurrent carry, a persistent Gibbs chain, a loss scale.
      opt_state: the Optax state for `params`.
      key: root key. Each update uses `fold_in(key, step)`, so a resumed run draws the same noise.
    """

    step: Array
    params: Params
    model_state: ModelState
    opt_state: optax.OptState
    key: Array


def create_train_state(
    key: Array, variables: Mapping[str, Any], tx: optax.GradientTransformation
) -> TrainState:
    """Builds a state at step 0 from `{"params": ..., **model_state}`, for example from `model.init(...)`.

    Every buffer is copied, so donating the state never deletes an array that the caller still holds.

    Args:
      key: root of all noise drawn in training; a typed key, `jax.random.key(seed)`.
      variables: the parameters under "params"; everything else becomes `model_state`.
      tx: the optimizer whose state is initialised.

    Raises:
      ValueError: `variables` has no "params".
    """
    if "params" not in variables:
        raise ValueError(f'variables must have a key "params", got {sorted(variables)}')
    model_state = {name: tree for name, tree in variables.items() if name != "params"}
    params = variables["params"]
    state = TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params), key)
    # The dtype said aloud makes it strong: a weakly typed leaf would compile the step a second time.
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype=jnp.asarray(leaf).dtype, copy=True), state)
