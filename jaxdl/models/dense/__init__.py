"""Networks of dense layers."""

from jaxdl.models.dense.feedforward import MLP, Perceptron, SoftmaxRegression
from jaxdl.models.dense.highway import HighwayNetwork
from jaxdl.models.dense.linear import (
    Adaline,
    LassoRegression,
    LinearRegression,
    LinearSVM,
    LogisticRegression,
    RidgeRegression,
)
from jaxdl.models.dense.matching import SiameseNetwork, ZeroShotNetwork
from jaxdl.models.dense.maxout import MaxoutNetwork
from jaxdl.models.dense.modular import MixtureOfExperts, ModularNetwork
from jaxdl.models.dense.polynomial import PolynomialNetwork
from jaxdl.models.dense.radial import RBFNetwork
from jaxdl.models.dense.sharing import MultiTaskNetwork, ProgressiveNetwork, SoftSharedNetworks
from jaxdl.models.dense.sizing import hidden_layer_heuristic
from jaxdl.models.dense.threshold import McCullochPitts
from jaxdl.models.dense.words import Word2Vec, context_windows, negative_samples, skip_gram_pairs

__all__ = [  # noqa: RUF022  (plain order; it would put MLP first, as a constant)
    "Adaline",
    "HighwayNetwork",
    "LassoRegression",
    "LinearRegression",
    "LinearSVM",
    "LogisticRegression",
    "MLP",
    "MaxoutNetwork",
    "McCullochPitts",
    "MixtureOfExperts",
    "ModularNetwork",
    "MultiTaskNetwork",
    "Perceptron",
    "PolynomialNetwork",
    "ProgressiveNetwork",
    "RBFNetwork",
    "RidgeRegression",
    "SiameseNetwork",
    "SoftSharedNetworks",
    "SoftmaxRegression",
    "Word2Vec",
    "ZeroShotNetwork",
    "context_windows",
    "hidden_layer_heuristic",
    "negative_samples",
    "skip_gram_pairs",
]
