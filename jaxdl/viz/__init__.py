"""Figures. Each function returns a Matplotlib `Figure`, made without pyplot: `figure.savefig("curves.png")`.

Matplotlib is needed when a function is called, not to import this package.
"""

from jaxdl.viz.images import feature_maps, filters, image_grid
from jaxdl.viz.predictions import confusion_matrix_plot, decision_boundary, predicted_vs_actual
from jaxdl.viz.training import (
    fitted_line,
    gradient_flow,
    learning_curves,
    parameter_vs_loss,
    weight_histograms,
)

__all__ = [
    "confusion_matrix_plot",
    "decision_boundary",
    "feature_maps",
    "filters",
    "fitted_line",
    "gradient_flow",
    "image_grid",
    "learning_curves",
    "parameter_vs_loss",
    "predicted_vs_actual",
    "weight_histograms",
]
