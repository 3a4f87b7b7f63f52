"""Networks of dense layers."""

from jaxdl.models.dense.feedforward import MLP, Perceptron, SoftmaxRegression

__all__ = ["MLP", "Perceptron", "SoftmaxRegression"]
