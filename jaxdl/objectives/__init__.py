"""Objectives: `(params, model_state, batch, key) -> (loss, (model_state, metrics))`, from a model and a loss.

Each has a twin for evaluation, `(params, model_state, batch) -> {name: (sum, count)}`.
"""

from jaxdl.objectives.embeddings import metric_learning, metric_learning_metrics
from jaxdl.objectives.several_labels import multi_label, multi_label_metrics
from jaxdl.objectives.several_tasks import multi_task, multi_task_metrics
from jaxdl.objectives.supervised import (
    classification,
    classification_metrics,
    regression,
    regression_metrics,
)

__all__ = [
    "classification",
    "classification_metrics",
    "metric_learning",
    "metric_learning_metrics",
    "multi_label",
    "multi_label_metrics",
    "multi_task",
    "multi_task_metrics",
    "regression",
    "regression_metrics",
]
