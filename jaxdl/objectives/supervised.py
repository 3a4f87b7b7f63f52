"""Supervised learning: a model, a loss, and the keys of a batch that they read.

The model is anything with linen's `apply(variables, x, *, train, rngs, mutable)`; its variables are
`{"params": params, **model_state}`. Outputs are cast to float32 before the loss, so a model may compute in
bfloat16. B is the batch size, K the number of classes.

A mask names a bool [B] key of the batch. Rows where it is False count nothing in loss, gradients and metrics,
whatever they hold; only batch statistics still see them, as zeros.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from jaxdl import checks, losses, metrics
from jaxdl.losses.masking import widened
from jaxdl.objectives.batches import counted_mean, counted_sum, field, hidden, model_inputs, rows
from jaxdl.types import Array, Metrics, ModelState, Objective, Params

Batch = Mapping[str, Any]
LossFn = Callable[[Array, Array], Array]  # (outputs, targets) -> unreduced loss
# (params, model_state, batch) -> {name: (sum, count)}, float32[] each
MetricsFn = Callable[[Params, ModelState, Batch], dict[str, tuple[Array, Array]]]


def _classes(batch: Batch, inputs: str, labels: str, mask: str | None) -> tuple[Array, Array, Array | None]:
    """Checked inputs and labels with masked rows hidden, and the mask."""
    x, y = model_inputs(batch, inputs), field(batch, labels, "the labels")
    if not (jnp.issubdtype(y.dtype, jnp.floating) and y.ndim == 2):  # which is distributions over the classes
        checks.integer(**{labels: y})
        checks.rank(1, **{labels: y})
    checks.same_leading(1, **{labels: y, inputs: x})
    valid = None if mask is None else rows(batch, mask, y)
    return hidden(valid, x), hidden(valid, y), valid


def _logits(outputs: Any, labels: Array, valid: Array | None) -> Array:
    shape, batch_size = jnp.shape(outputs), labels.shape[0]
    if len(shape) != 2 or shape[0] != batch_size or shape[1] < 2:
        raise ValueError(f"model must return logits of shape ({batch_size}, number of classes), got {shape}")
    if labels.ndim == 2:
        checks.shape(shape, labels=labels)
    return hidden(valid, widened(outputs))


def _hits(logits: Array, labels: Array, valid: Array | None) -> tuple[Array, Array]:
    """How many rows are right, and how many count; of a distribution the likeliest class is the right one."""
    labels = labels if labels.ndim == 1 else jnp.argmax(labels, axis=1)
    return metrics.accuracy.measure(logits, labels, where=valid)


def _per_example(loss_fn: LossFn, outputs: Array, targets: Array) -> Array:
    """The loss, unreduced: one value per example, or per element of the targets."""
    loss = widened(loss_fn(outputs, targets))
    if loss.shape not in (targets.shape, targets.shape[:1]):
        allowed = " or ".join(map(str, dict.fromkeys((targets.shape[:1], targets.shape))))
        raise ValueError(f"loss_fn must return unreduced values of shape {allowed}, got {loss.shape}")
    return loss


def classification(
    model: Any, loss_fn: LossFn, *, inputs: str = "image", labels: str = "label", mask: str | None = None
) -> Objective:
    """Mean loss of a classifier over the valid rows of a batch.

    L = sum_n m_n loss(model(x_n), y_n) / sum_n m_n, and 0 where no row is valid.

        objective = classification(LeNet5(), losses.softmax_cross_entropy_with_integer_labels)
        step = make_update(backprop(objective), tx)

    Args:
      model: returns logits, float [B, K] with K at least 2, from `(x, train=True)`. It may draw from the
        random stream "dropout" and change every collection of `model_state`.
      loss_fn: `(logits float32 [B, K], labels) -> [B]`.
      inputs: key of what the model reads: float [B, ...], or integer tokens [B, T].
      labels: key of the right classes, int [B], in [0, K); or of distributions over them, float [B, K], as mixup,
        cutmix and label smoothing make them, for `losses.softmax_cross_entropy`.
      mask: key of a bool [B], or None when all rows count.

    Returns:
      `objective(params, model_state, batch, key) -> (loss, (model_state, {"accuracy": ...}))`, all float32[].

    Raises:
      ValueError: a key is missing, ranks or lengths do not agree, or the model or the loss returns a wrong
        shape.
      TypeError: labels are neither integers nor floating point, the mask is not bool, or the inputs are raw
        uint8 pixels. All while tracing.
    """

    def objective(params: Params, model_state: ModelState, batch: Batch, key: Array):
        x, y, valid = _classes(batch, inputs, labels, mask)
        outputs, model_state = _train(model, params, model_state, x, key)
        logits = _logits(outputs, y, valid)
        loss = counted_mean(_per_example(loss_fn, logits, y), valid)
        hits, count = _hits(logits, y, valid)
        accuracy = hits.astype(jnp.float32) / jnp.maximum(count, 1)
        return loss, (model_state, {"accuracy": accuracy})

    return objective


def classification_metrics(
    model: Any, loss_fn: LossFn, *, inputs: str = "image", labels: str = "label", mask: str | None = None
) -> MetricsFn:
    """Sums and counts of loss and accuracy of a classifier, for evaluation: `train=False`, nothing random.

    Args:
      model, loss_fn, inputs, labels: as for `classification`.
      mask: key of a bool [B]. None reads "mask" where the batch has it, as padded evaluation batches do, and
        otherwise counts all rows.

    Returns:
      `metrics_fn(params, model_state, batch) -> {"loss": (sum, count), "accuracy": (sum, count)}`, float32[]
      each.

    Raises: as for `classification`.
    """

    def metrics_fn(params: Params, model_state: ModelState, batch: Batch):
        x, y, valid = _classes(batch, inputs, labels, _evaluation_mask(mask, batch))
        logits = _logits(model.apply({"params": params, **model_state}, x, train=False), y, valid)
        hits, count = _hits(logits, y, valid)
        return {
            "loss": counted_sum(_per_example(loss_fn, logits, y), valid),
            "accuracy": (hits.astype(jnp.float32), count.astype(jnp.float32)),
        }

    return metrics_fn


def _values(batch: Batch, inputs: str, targets: str, mask: str | None) -> tuple[Array, Array, Array | None]:
    x, y = model_inputs(batch, inputs), field(batch, targets, "the targets")
    checks.floating(**{targets: y})
    if y.ndim < 1:
        raise ValueError(f"{targets} must have a batch axis, got shape ()")
    checks.same_leading(1, **{targets: y, inputs: x})
    valid = None if mask is None else rows(batch, mask, y)
    return hidden(valid, x), hidden(valid, widened(y)), valid


def _predictions(outputs: Any, targets: Array, valid: Array | None) -> Array:
    if jnp.shape(outputs) != targets.shape:
        raise ValueError(
            f"model must return predictions of the targets' shape {targets.shape}, got {jnp.shape(outputs)}"
        )
    return hidden(valid, widened(outputs))


def regression(
    model: Any, loss_fn: LossFn, *, inputs: str = "x", targets: str = "y", mask: str | None = None
) -> Objective:
    """Mean loss of a model of real numbers over the valid rows of a batch.

    L = sum_n m_n loss(model(x_n), y_n) / sum_n m_n, over the elements of each row too; 0 where no row is
    valid.

    Args:
      model: returns predictions of exactly the targets' shape from `(x, train=True)`; [B, 1] against [B]
        raises. It may draw from the random stream "dropout" and change every collection of `model_state`.
      loss_fn: `(predictions float32 [B, ...], targets float32 [B, ...]) -> [B, ...] or [B]`.
      inputs: key of what the model reads: float [B, ...], or integer tokens [B, T].
      targets: key of float [B, ...].
      mask: key of a bool [B], or None when all rows count.

    Returns:
      `objective(params, model_state, batch, key) -> (loss, (model_state, metrics))` with the metrics
      `squared_error` and `absolute_error`, means over elements; all float32[].

    Raises:
      ValueError: a key is missing, ranks or lengths do not agree, or the model or the loss returns a wrong
        shape.
      TypeError: targets are not floating point, the mask is not bool, or the inputs are raw uint8 pixels. All
        while tracing.
    """

    def objective(params: Params, model_state: ModelState, batch: Batch, key: Array):
        x, y, valid = _values(batch, inputs, targets, mask)
        outputs, model_state = _train(model, params, model_state, x, key)
        predictions = _predictions(outputs, y, valid)
        loss = counted_mean(_per_example(loss_fn, predictions, y), valid)
        errors = {name: counted_mean(error, valid) for name, error in _errors(predictions, y).items()}
        return loss, (model_state, errors)

    return objective


def regression_metrics(
    model: Any, loss_fn: LossFn, *, inputs: str = "x", targets: str = "y", mask: str | None = None
) -> MetricsFn:
    """Sums and counts of loss, squared and absolute error, for evaluation: `train=False`, nothing random.

    Args:
      model, loss_fn, inputs, targets: as for `regression`.
      mask: key of a bool [B]. None reads "mask" where the batch has it, as padded evaluation batches do, and
        otherwise counts all rows.

    Returns:
      `metrics_fn(params, model_state, batch) -> {name: (sum, count)}`, float32[] each, for `loss`,
      `squared_error` and `absolute_error`.

    Raises: as for `regression`.
    """

    def metrics_fn(params: Params, model_state: ModelState, batch: Batch):
        x, y, valid = _values(batch, inputs, targets, _evaluation_mask(mask, batch))
        predictions = _predictions(model.apply({"params": params, **model_state}, x, train=False), y, valid)
        values = {"loss": _per_example(loss_fn, predictions, y), **_errors(predictions, y)}
        return {name: counted_sum(value, valid) for name, value in values.items()}

    return metrics_fn


def _train(
    model: Any, params: Params, model_state: ModelState, x: Array, key: Array
) -> tuple[Any, ModelState]:
    """Outputs and new model state of one training pass."""
    variables = {"params": params, **model_state}
    # With a list, even an empty one, `apply` returns a pair: models with and without state share this line.
    return model.apply(variables, x, train=True, rngs={"dropout": key}, mutable=list(model_state))


def _errors(predictions: Array, targets: Array) -> Metrics:
    return {
        "squared_error": losses.squared_error(predictions, targets),
        "absolute_error": losses.absolute_error(predictions, targets),
    }


def _evaluation_mask(mask: str | None, batch: Batch) -> str | None:
    return "mask" if mask is None and "mask" in batch else mask
