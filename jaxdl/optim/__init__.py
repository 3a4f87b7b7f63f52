"""Optimizers from their published equations, as Optax transformations.

Each optimizer is a chain in one order: clip, coupled decay, `scale_by_*`, decoupled decay, learning rate. The
sign flips in the last link and nowhere else. (`lars` and `adafactor` have the rate further in, as published.)
Everything composes with `optax.chain`, `masked`, `inject_hyperparams` and `MultiSteps`.
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
from jaxdl.optim.adaptive_variants import (
    adadelta,
    amsgrad,
    nadam,
    radam,
    scale_by_adadelta,
    scale_by_amsgrad,
    scale_by_radam,
)
from jaxdl.optim.clipping import (
    adaptive_clip,
    clip_by_global_norm,
    clip_by_group,
    clip_by_norm,
    clip_by_value,
    scale_to_norm,
)
from jaxdl.optim.constrained import (
    ConstrainedMinimum,
    KKTResidual,
    augmented_lagrangian,
    kkt_residual,
    lagrange_multipliers,
    projected_gradient,
)
from jaxdl.optim.constraints import max_norm_projection, weight_clipping
from jaxdl.optim.cycles import cosine_restarts, cyclic, one_cycle
from jaxdl.optim.decay import add_decayed_weights, coupled_l2
from jaxdl.optim.factored import adafactor, scale_by_factored_rms
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
from jaxdl.optim.layerwise import lamb, lars, layerwise_learning_rates, scale_by_trust_ratio
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.line_search import backtracking_line_search, wolfe_line_search
from jaxdl.optim.minimization import Minimum, minimize
from jaxdl.optim.noise import add_gradient_noise
from jaxdl.optim.orthogonal import muon, scale_by_muon
from jaxdl.optim.paths import path_mask
from jaxdl.optim.plateau import reduce_on_plateau
from jaxdl.optim.quasi_newton import (
    bfgs,
    conjugate_gradient,
    lbfgs,
    scale_by_bfgs,
    scale_by_conjugate_gradient,
    scale_by_lbfgs,
)
from jaxdl.optim.schedules import (
    constant,
    cosine_decay,
    exponential_decay,
    linear_warmup,
    noam,
    piecewise_constant,
    polynomial_decay,
    step_decay,
    time_based_decay,
    warmup_cosine,
)
from jaxdl.optim.second_moments import (
    adabelief,
    adamax,
    adamomentum,
    scale_by_adamax,
    scale_by_adamomentum,
    scale_by_belief,
    scale_by_yogi,
    yogi,
)
from jaxdl.optim.second_order import (
    gauss_newton,
    hessian_free,
    newton,
    normal_equation,
    scale_by_gauss_newton,
    scale_by_hessian_free,
    scale_by_newton,
)
from jaxdl.optim.sign_based import (
    delta_bar_delta,
    lion,
    rprop,
    scale_by_delta_bar_delta,
    scale_by_lion,
    scale_by_rprop,
    scale_by_sign,
    signsgd,
)
from jaxdl.optim.wrappers import accumulate, exponential_moving_average, lookahead, sam

__all__ = [
    "ConstrainedMinimum",
    "KKTResidual",
    "Minimum",
    "accumulate",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamomentum",
    "adamw",
    "adaptive_clip",
    "add_decayed_weights",
    "add_gradient_noise",
    "amsgrad",
    "augmented_lagrangian",
    "backtracking_line_search",
    "bfgs",
    "clip_by_global_norm",
    "clip_by_group",
    "clip_by_norm",
    "clip_by_value",
    "conjugate_gradient",
    "constant",
    "cosine_decay",
    "cosine_restarts",
    "coupled_l2",
    "cyclic",
    "delta_bar_delta",
    "ema_momentum",
    "exponential_decay",
    "exponential_moving_average",
    "freeze",
    "gauss_newton",
    "gradient_descent",
    "hessian_free",
    "kkt_residual",
    "lagrange_multipliers",
    "lamb",
    "lars",
    "layerwise_learning_rates",
    "lbfgs",
    "linear_warmup",
    "lion",
    "lookahead",
    "max_norm_projection",
    "minimize",
    "momentum",
    "muon",
    "nadam",
    "nesterov",
    "nesterov_iterate",
    "newton",
    "noam",
    "normal_equation",
    "one_cycle",
    "path_mask",
    "piecewise_constant",
    "polynomial_decay",
    "projected_gradient",
    "radam",
    "reduce_on_plateau",
    "rmsprop",
    "rprop",
    "sam",
    "scale_by_adadelta",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_adamomentum",
    "scale_by_amsgrad",
    "scale_by_belief",
    "scale_by_bfgs",
    "scale_by_conjugate_gradient",
    "scale_by_delta_bar_delta",
    "scale_by_ema_momentum",
    "scale_by_factored_rms",
    "scale_by_gauss_newton",
    "scale_by_hessian_free",
    "scale_by_lbfgs",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_momentum",
    "scale_by_muon",
    "scale_by_nesterov",
    "scale_by_newton",
    "scale_by_radam",
    "scale_by_rmsprop",
    "scale_by_rprop",
    "scale_by_sign",
    "scale_by_trust_ratio",
    "scale_by_yogi",
    "scale_to_norm",
    "sgd",
    "signsgd",
    "skip_nonfinite",
    "step_decay",
    "time_based_decay",
    "warmup_cosine",
    "weight_clipping",
    "wolfe_line_search",
    "yogi",
]
