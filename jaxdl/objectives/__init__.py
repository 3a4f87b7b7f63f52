"""Objectives: `(params, model_state, batch, key) -> (loss, (model_state, metrics))`, from a model and a loss.

Each has a twin for evaluation, `(params, model_state, batch) -> {name: (sum, count)}`.
"""

from jaxdl.objectives.supervised import (
    classification,
    classification_metrics,
    regression,
    regression_metrics,
)

__all__ = ["classification", "classification_metrics", "regression", "regression_metrics"]
