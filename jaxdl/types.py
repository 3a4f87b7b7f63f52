"""Names for the shapes of things. No code."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

Array = jax.Array
Params = Any  # pytree that is differentiated
ModelState = Any  # pytree that is threaded through a step but never differentiated
Metrics = Mapping[str, Array]  # float32[] each
Dtype = Any  # what `jnp.dtype` accepts; None promotes the inputs with the parameters

# (params, model_state, *args, key) -> (loss float32[], (model_state, metrics))
Objective = Callable[..., tuple[Array, tuple[ModelState, Metrics]]]
# (params, model_state, *args, key) -> ((loss, (model_state, metrics)), grads)
GradFn = Callable[..., tuple[tuple[Array, tuple[ModelState, Metrics]], Params]]
# (state, batch) -> (state, metrics)
Step = Callable[[Any, Any], tuple[Any, Metrics]]
