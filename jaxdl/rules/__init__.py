"""Learning rules written out, as gradient estimators that the ordinary update takes."""

from jaxdl.rules.backpropagation import manual_backprop
from jaxdl.rules.perceptron import delta_rule, perceptron_rule
from jaxdl.rules.sharpness import sharpness_aware

__all__ = ["delta_rule", "manual_backprop", "perceptron_rule", "sharpness_aware"]
