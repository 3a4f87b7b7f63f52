"""Optimizers from their published equations, as Optax transformations.

Each optimizer is a chain in one order: clip, coupled decay, `scale_by_*`, decoupled decay, learning rate. The
sign flips in the last link and nowhere else. Everything composes with `optax.chain`, `masked`,
`inject_hyperparams` and `MultiSteps`.
"""

from jaxdl.optim.adaptive import (
    adagrad,
    adam,
    adamw,
    rmsprop,
    scale_by_adagrad,
    scale_by_adam,
    scale_by_rmsprop,
)
from jaxdl.optim.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from jaxdl.optim.constraints import max_norm_projection, weight_clipping
from jaxdl.optim.decay import add_decayed_weights, coupled_l2
from jaxdl.optim.first_order import (
    ema_momentum,
    gradient_descent,
    momentum,
    nesterov,
    nesterov_iterate,
    scale_by_ema_momentum,
    scale_by_momentum,
    scale_by_nesterov,
    sgd,
)
from jaxdl.optim.guards import freeze, skip_nonfinite
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.schedules import (
    constant,
    cosine_decay,
    exponential_decay,
    linear_warmup,
    piecewise_constant,
    polynomial_decay,
    step_decay,
    warmup_cosine,
)

__all__ = [
    "adagrad",
    "adam",
    "adamw",
    "add_decayed_weights",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "constant",
    "cosine_decay",
    "coupled_l2",
    "ema_momentum",
    "exponential_decay",
    "freeze",
    "gradient_descent",
    "linear_warmup",
    "max_norm_projection",
    "momentum",
    "nesterov",
    "nesterov_iterate",
    "piecewise_constant",
    "polynomial_decay",
    "rmsprop",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_ema_momentum",
    "scale_by_learning_rate",
    "scale_by_momentum",
    "scale_by_nesterov",
    "scale_by_rmsprop",
    "sgd",
    "skip_nonfinite",
    "step_decay",
    "warmup_cosine",
    "weight_clipping",
]
