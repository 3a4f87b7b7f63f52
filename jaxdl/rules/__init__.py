"""Learning rules written out, as gradient estimators that the ordinary update takes."""

from jaxdl.rules.backpropagation import manual_backprop
from jaxdl.rules.competitive import competitive_rule, kohonen_rule, lvq_rule
from jaxdl.rules.energy import contrastive_divergence, persistent_contrastive_divergence
from jaxdl.rules.evolution import evolution_gradient
from jaxdl.rules.hebbian import hebbian_rule, oja_rule
from jaxdl.rules.layerwise import greedy_layerwise
from jaxdl.rules.perceptron import delta_rule, perceptron_rule
from jaxdl.rules.sharpness import sharpness_aware

__all__ = [
    "competitive_rule",
    "contrastive_divergence",
    "delta_rule",
    "evolution_gradient",
    "greedy_layerwise",
    "hebbian_rule",
    "kohonen_rule",
    "lvq_rule",
    "manual_backprop",
    "oja_rule",
    "perceptron_rule",
    "persistent_contrastive_divergence",
    "sharpness_aware",
]
