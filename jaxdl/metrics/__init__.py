"""Metrics: callable on whole arrays, and streamed over batches by the same object.

    metrics.accuracy(logits, labels)

    state = metrics.accuracy.zero
    state = metrics.accuracy.update(state, logits, labels, where=mask)
    metrics.accuracy.compute(state)

Predictions come first, labels or targets second, everywhere. `help(metrics.accuracy)` explains one, and
`help(metrics.Metric)` the form that they share. What is a value of each example, a diagnosis or a function of a
distribution is a plain function.
"""

from jaxdl.metrics.anomaly import anomaly_threshold, discriminator_anomaly_score, latent_distance
from jaxdl.metrics.classification import accuracy, error_rate, log_loss, top_k_accuracy
from jaxdl.metrics.competitive import quantization_error, topographic_error
from jaxdl.metrics.confusion import (
    ClassificationReport,
    classification_report,
    confusion_matrix,
    f1_score,
    precision,
    recall,
)
from jaxdl.metrics.detection import box_iou, mean_average_precision, mean_average_recall
from jaxdl.metrics.diagnostics import (
    BiasVariance,
    TrainingDiagnosis,
    active_relu_fraction,
    bias_variance,
    co_adaptation,
    dead_relu_fraction,
    diagnose_training,
    gradient_norms,
    weight_norms,
)
from jaxdl.metrics.distributions import (
    discriminator_accuracy,
    earth_mover_distance,
    frechet_distance,
    inception_score,
    mode_coverage,
    vote_rate,
)
from jaxdl.metrics.images import compression_ratio, psnr, reconstruction_error, ssim
from jaxdl.metrics.impurity import (
    boolean_entropy,
    entropy,
    feature_importance,
    gini_impurity,
    information_gain,
    permutation_importance,
    split_entropy,
)
from jaxdl.metrics.ranking import RocCurve, average_precision, roc_auc, roc_curve
from jaxdl.metrics.regression import (
    explained_variance,
    mape,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
    sharpe_ratio,
)
from jaxdl.metrics.segmentation import dice_score, iou, mean_iou, pixel_accuracy
from jaxdl.metrics.streaming import Mean, Metric, Parts
from jaxdl.metrics.text import bits_per_character, bleu, edit_distance, perplexity, word_error_rate

__all__ = [
    "BiasVariance",
    "ClassificationReport",
    "Mean",
    "Metric",
    "Parts",
    "RocCurve",
    "TrainingDiagnosis",
    "accuracy",
    "active_relu_fraction",
    "anomaly_threshold",
    "average_precision",
    "bias_variance",
    "bits_per_character",
    "bleu",
    "boolean_entropy",
    "box_iou",
    "classification_report",
    "co_adaptation",
    "compression_ratio",
    "confusion_matrix",
    "dead_relu_fraction",
    "diagnose_training",
    "dice_score",
    "discriminator_accuracy",
    "discriminator_anomaly_score",
    "earth_mover_distance",
    "edit_distance",
    "entropy",
    "error_rate",
    "explained_variance",
    "f1_score",
    "feature_importance",
    "frechet_distance",
    "gini_impurity",
    "gradient_norms",
    "inception_score",
    "information_gain",
    "iou",
    "latent_distance",
    "log_loss",
    "mape",
    "mean_absolute_error",
    "mean_average_precision",
    "mean_average_recall",
    "mean_iou",
    "mode_coverage",
    "permutation_importance",
    "perplexity",
    "pixel_accuracy",
    "precision",
    "psnr",
    "quantization_error",
    "r2_score",
    "recall",
    "reconstruction_error",
    "roc_auc",
    "roc_curve",
    "root_mean_squared_error",
    "sharpe_ratio",
    "split_entropy",
    "ssim",
    "top_k_accuracy",
    "topographic_error",
    "vote_rate",
    "weight_norms",
    "word_error_rate",
]
