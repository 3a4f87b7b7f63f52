"""Losses: arrays in, unreduced values out.

Predictions, scores or logits come first, targets or labels second, everywhere; the mean and any weighting are
the caller's. `help(losses.huber)` has the equation and the unit of each.
"""

from jaxdl.losses.classification import (
    binary_cross_entropy,
    categorical_cross_entropy,
    hinge,
    perceptron_loss,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from jaxdl.losses.regression import absolute_error, half_squared_error, huber, squared_error

__all__ = [
    "absolute_error",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "half_squared_error",
    "hinge",
    "huber",
    "perceptron_loss",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "squared_error",
]
