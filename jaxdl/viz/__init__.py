"""Figures. Each function returns a Matplotlib `Figure`, made without pyplot: `figure.savefig("curves.png")`.

Colours are told apart with any colour vision, and line styles, markers and lightness carry the same when printed grey.
`sample_evolution` also writes a film; `random_directions` draws nothing, but makes what `loss_surface` is cut along.
Matplotlib is needed when a function is called, not to import this package.
"""

from jaxdl.viz.distributions import anomaly_histogram, class_counts, feature_histogram, feature_scatter
from jaxdl.viz.images import feature_maps, filters, image_grid, reconstructions, sample_evolution
from jaxdl.viz.latents import latent_space, latent_walk, som_map
from jaxdl.viz.predictions import confusion_matrix_plot, decision_boundary, predicted_vs_actual, roc_plot
from jaxdl.viz.responses import activation_plots, step_response
from jaxdl.viz.sequences import attention_map, unrolled_graph
from jaxdl.viz.surfaces import loss_surface, optimizer_paths, random_directions
from jaxdl.viz.training import (
    fitted_line,
    gradient_flow,
    learning_curves,
    parameter_vs_loss,
    weight_histograms,
)

__all__ = [
    "activation_plots",
    "anomaly_histogram",
    "attention_map",
    "class_counts",
    "confusion_matrix_plot",
    "decision_boundary",
    "feature_histogram",
    "feature_maps",
    "feature_scatter",
    "filters",
    "fitted_line",
    "gradient_flow",
    "image_grid",
    "latent_space",
    "latent_walk",
    "learning_curves",
    "loss_surface",
    "optimizer_paths",
    "parameter_vs_loss",
    "predicted_vs_actual",
    "random_directions",
    "reconstructions",
    "roc_plot",
    "sample_evolution",
    "som_map",
    "step_response",
    "unrolled_graph",
    "weight_histograms",
]
