"""Which loss for which task."""

from collections.abc import Callable

from jaxdl import checks
from jaxdl.losses import (
    adversarial,
    classification,
    margins,
    metric_learning,
    regression,
    segmentation,
    sequences,
    temporal_classification,
    variational,
)
from jaxdl.types import Array

_BY_TASK: dict[str, Callable[..., Array]] = {
    "regression": regression.squared_error,
    "regression with outliers": regression.huber,
    "regression of a median": regression.absolute_error,
    "regression of a quantile": regression.quantile_loss,
    "regression with uncertainty": regression.gaussian_nll,
    "counts": regression.poisson_nll,
    "binary classification": classification.sigmoid_binary_cross_entropy,
    "multi-label classification": classification.sigmoid_binary_cross_entropy,
    "classification": classification.softmax_cross_entropy_with_integer_labels,
    "classification with soft labels": classification.softmax_cross_entropy,
    "imbalanced classification": classification.focal_loss,
    "support vector machine": margins.hinge,
    "verification": metric_learning.contrastive,
    "retrieval": metric_learning.triplet,
    "ranking": metric_learning.margin_ranking,
    "self-supervision": metric_learning.nt_xent,
    "segmentation": segmentation.pixelwise_cross_entropy,
    "imbalanced segmentation": segmentation.dice,
    "tagging": sequences.sequence_cross_entropy,
    "language modelling": sequences.sequence_cross_entropy,
    "forecasting": sequences.sequence_squared_error,
    "speech recognition": temporal_classification.ctc,
    "handwriting recognition": temporal_classification.ctc,
    "reconstruction": variational.reconstruction,
    "generation by a variational autoencoder": variational.elbo,
    "generation by an adversarial net": adversarial.non_saturating_generator,
}


def choose_loss(task: str) -> Callable[..., Array]:
    """The loss to try first for a task, as a function of this package; `help` on it says what it takes.

    (host) Outliers want `huber`, rare classes `focal_loss`, small regions `dice`, unknown alignments `ctc`.

    Args:
      task: one of the names in the error that any other name raises: "regression", "classification",
        "segmentation", "speech recognition", ...

    Returns:
      The function: `choose_loss("regression") is squared_error`.

    Raises:
      ValueError: the task is not in the table.
    """
    checks.one_of(tuple(_BY_TASK), task=task)
    return _BY_TASK[task]
