"""Losses: arrays in, unreduced values out.

Predictions, scores or logits come first, targets or labels second, everywhere; the mean and any weighting are
the caller's. `help(losses.huber)` has the equation and the unit of each; `losses.choose_loss` knows which to try
first for a task, and `losses.checked` makes any of them look at its inputs while a mistake is searched for.
"""

from jaxdl.losses.adaptation import capsule_margin, domain_confusion, maximum_mean_discrepancy
from jaxdl.losses.adversarial import (
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
    wasserstein_critic,
    wasserstein_generator,
)
from jaxdl.losses.boxes import box_smooth_l1, giou_loss, iou_loss
from jaxdl.losses.classification import (
    binary_cross_entropy,
    categorical_cross_entropy,
    focal_loss,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from jaxdl.losses.conditions import (
    adversarial_reconstruction,
    auxiliary_classifier,
    cycle_consistency,
    cycle_gan_generator,
    identity_mapping,
    mutual_information,
)
from jaxdl.losses.debugging import checked
from jaxdl.losses.detection import detection_loss, mask_loss, ssd_loss, yolo_loss
from jaxdl.losses.divergences import distillation, js_divergence, kl_divergence
from jaxdl.losses.guidance import choose_loss
from jaxdl.losses.margins import hinge, multiclass_hinge, perceptron_loss, squared_hinge
from jaxdl.losses.metric_learning import contrastive, info_nce, margin_ranking, nt_xent, triplet
from jaxdl.losses.penalties import (
    contractive_penalty,
    gradient_penalty,
    r1_penalty,
    relu_contractive_penalty,
    sigmoid_contractive_penalty,
)
from jaxdl.losses.regression import (
    absolute_error,
    cosine_distance,
    gaussian_nll,
    half_squared_error,
    huber,
    log_cosh,
    mean_absolute_percentage_error,
    mean_squared_logarithmic_error,
    poisson_nll,
    quantile_loss,
    squared_error,
)
from jaxdl.losses.reinforcement import (
    actor_critic_loss,
    ddpg_actor,
    ddpg_critic,
    double_dqn_loss,
    dqn_loss,
    entropy_bonus,
    policy_gradient,
    ppo_clip,
    td_error,
)
from jaxdl.losses.resemblance import charbonnier, feature_matching, gram_style, perceptual, ssim_loss
from jaxdl.losses.segmentation import dice, jaccard, pixelwise_cross_entropy, total_variation, tversky
from jaxdl.losses.sequences import mixture_density_nll, sequence_cross_entropy, sequence_squared_error
from jaxdl.losses.temporal_classification import ctc
from jaxdl.losses.variational import (
    bernoulli_kl,
    elbo,
    free_energy_difference,
    gaussian_kl,
    reconstruction,
    vector_quantization,
)

__all__ = [
    "absolute_error",
    "actor_critic_loss",
    "adversarial_reconstruction",
    "auxiliary_classifier",
    "bernoulli_kl",
    "binary_cross_entropy",
    "box_smooth_l1",
    "capsule_margin",
    "categorical_cross_entropy",
    "charbonnier",
    "checked",
    "choose_loss",
    "contractive_penalty",
    "contrastive",
    "cosine_distance",
    "ctc",
    "cycle_consistency",
    "cycle_gan_generator",
    "ddpg_actor",
    "ddpg_critic",
    "detection_loss",
    "dice",
    "distillation",
    "domain_confusion",
    "double_dqn_loss",
    "dqn_loss",
    "elbo",
    "entropy_bonus",
    "feature_matching",
    "focal_loss",
    "free_energy_difference",
    "gaussian_kl",
    "gaussian_nll",
    "giou_loss",
    "gradient_penalty",
    "gram_style",
    "half_squared_error",
    "hinge",
    "hinge_discriminator",
    "hinge_generator",
    "huber",
    "identity_mapping",
    "info_nce",
    "iou_loss",
    "jaccard",
    "js_divergence",
    "kl_divergence",
    "least_squares_discriminator",
    "least_squares_generator",
    "log_cosh",
    "margin_ranking",
    "mask_loss",
    "maximum_mean_discrepancy",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "minimax_discriminator",
    "minimax_generator",
    "mixture_density_nll",
    "multiclass_hinge",
    "mutual_information",
    "non_saturating_generator",
    "nt_xent",
    "perceptron_loss",
    "perceptual",
    "pixelwise_cross_entropy",
    "poisson_nll",
    "policy_gradient",
    "ppo_clip",
    "quantile_loss",
    "r1_penalty",
    "reconstruction",
    "relu_contractive_penalty",
    "sequence_cross_entropy",
    "sequence_squared_error",
    "sigmoid_binary_cross_entropy",
    "sigmoid_contractive_penalty",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "squared_error",
    "squared_hinge",
    "ssd_loss",
    "ssim_loss",
    "td_error",
    "total_variation",
    "triplet",
    "tversky",
    "vector_quantization",
    "wasserstein_critic",
    "wasserstein_generator",
    "yolo_loss",
]
