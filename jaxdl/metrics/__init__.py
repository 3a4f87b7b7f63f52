"""Metrics: callable on whole arrays, and streamed over batches by the same object.

    metrics.accuracy(logits, labels)

    state = metrics.accuracy.init()
    state = metrics.accuracy.update(state, logits, labels, where=mask)
    metrics.accuracy.compute(state)

Predictions come first, labels or targets second, everywhere. `help(metrics.accuracy)` explains one, and
`help(metrics.Metric)` the form that they share.
"""

from jaxdl.metrics.classification import accuracy, error_rate, log_loss, top_k_accuracy
from jaxdl.metrics.confusion import (
    ClassificationReport,
    classification_report,
    confusion_matrix,
    f1_score,
    precision,
    recall,
)
from jaxdl.metrics.regression import mean_absolute_error, r2_score, root_mean_squared_error
from jaxdl.metrics.streaming import Mean, Metric, Parts

__all__ = [
    "ClassificationReport",
    "Mean",
    "Metric",
    "Parts",
    "accuracy",
    "classification_report",
    "confusion_matrix",
    "error_rate",
    "f1_score",
    "log_loss",
    "mean_absolute_error",
    "precision",
    "r2_score",
    "recall",
    "root_mean_squared_error",
    "top_k_accuracy",
]
