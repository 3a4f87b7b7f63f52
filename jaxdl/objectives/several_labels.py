"""Several questions of yes or no about each row: a picture may show a dog and a ball. B is the batch, K questions."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import widened
from jaxdl.objectives.batches import counted_mean, counted_sum, field, hidden, model_inputs, rows
from jaxdl.objectives.passes import (
    LossFn,
    MetricsFn,
    evaluation_mask,
    evaluation_pass,
    share,
    training_pass,
    unreduced,
)
from jaxdl.types import Array, ModelState, Objective, Params

Batch = Mapping[str, Any]


def multi_label(
    model: Any, loss_fn: LossFn, *, inputs: str = "image", labels: str = "label", mask: str | None = None
) -> Objective:
    """Mean loss over all questions of the valid rows; each has an answer of its own, and any number may be yes.

    L = sum_n m_n sum_k loss(model(x_n)_k, y_nk) / (K sum_n m_n), and 0 where no row is valid.

        objective = multi_label(MLP((64,), 5), losses.sigmoid_binary_cross_entropy)

    Where exactly one class is right, take `classification`.

    Args:
      model: returns logits, float [B, K], from `(x, train=True)`; above 0 is yes. It may draw from the random
        stream "dropout" and change every collection of `model_state`.
      loss_fn: `(logits float32 [B, K], labels float32 [B, K]) -> [B, K] or [B]`.
      inputs: key of what the model reads: float [B, ...], or integer tokens [B, T].
      labels: key of the answers, 0 or 1 as bool, int or float (a probability, where they are uncertain), [B, K].
      mask: key of a bool [B], or None when all rows count.

    Returns:
      `objective(params, model_state, batch, key) -> (loss, (model_state, metrics))` with the metrics `accuracy`,
      share of the answers that are right, and `exact_match`, share of the rows with no wrong one; all float32[].

    Raises:
      ValueError: a key is missing, ranks or lengths do not agree, or the model or the loss returns a wrong shape.
      TypeError: the mask is not bool, or the inputs are raw uint8 pixels. All while tracing.
    """

    def objective(params: Params, model_state: ModelState, batch: Batch, key: Array):
        x, y, valid = _answers(batch, inputs, labels, mask)
        outputs, model_state = training_pass(model, params, model_state, [x], key)
        logits = _logits(outputs, y, valid)
        loss = counted_mean(unreduced(loss_fn(logits, y), y.shape, y.shape[:1]), valid)
        shares = {
            name: right / jnp.maximum(count, 1) for name, (right, count) in _hits(logits, y, valid).items()
        }
        return loss, (model_state, shares)

    return objective


def multi_label_metrics(
    model: Any, loss_fn: LossFn, *, inputs: str = "image", labels: str = "label", mask: str | None = None
) -> MetricsFn:
    """Sums and counts of loss, accuracy and exact match, for evaluation: `train=False`, nothing random.

    Args:
      model, loss_fn, inputs, labels: as for `multi_label`.
      mask: key of a bool [B]. None reads "mask" where the batch has it, as padded evaluation batches do, and
        otherwise counts all rows.

    Returns:
      `metrics_fn(params, model_state, batch) -> {name: (sum, count)}`, float32[] each, for `loss`, `accuracy` and
      `exact_match`.

    Raises: as for `multi_label`.
    """

    def metrics_fn(params: Params, model_state: ModelState, batch: Batch):
        x, y, valid = _answers(batch, inputs, labels, evaluation_mask(mask, batch))
        logits = _logits(evaluation_pass(model, params, model_state, [x]), y, valid)
        loss = unreduced(loss_fn(logits, y), y.shape, y.shape[:1])
        return {"loss": counted_sum(loss, valid), **_hits(logits, y, valid)}

    return metrics_fn


def _answers(batch: Batch, inputs: str, labels: str, mask: str | None) -> tuple[Array, Array, Array | None]:
    x, y = model_inputs(batch, inputs), field(batch, labels, "the labels")
    checks.rank(2, **{labels: y})
    checks.same_leading(1, **{labels: y, inputs: x})
    valid = None if mask is None else rows(batch, mask, y)
    return hidden(valid, x), hidden(valid, widened(y)), valid


def _logits(outputs: Any, labels: Array, valid: Array | None) -> Array:
    if jnp.shape(outputs) != labels.shape:
        raise ValueError(
            f"model must return logits of the labels' shape {labels.shape}, got {jnp.shape(outputs)}"
        )
    return hidden(valid, widened(outputs))


def _hits(logits: Array, labels: Array, valid: Array | None) -> dict[str, tuple[Array, Array]]:
    right = (logits > 0) == (labels > 0.5)
    return {"accuracy": share(right, valid), "exact_match": share(jnp.all(right, axis=1), valid)}
