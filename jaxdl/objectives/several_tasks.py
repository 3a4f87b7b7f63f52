"""Several tasks at once, from one model: what it learns for one may serve another. B is the batch."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import widened
from jaxdl.objectives.batches import counted_mean, counted_sum, field, hidden, model_inputs, rows
from jaxdl.objectives.passes import LossFn, MetricsFn, evaluation_pass, share, training_pass, unreduced
from jaxdl.types import Array, ModelState, Objective, Params

Batch = Mapping[str, Any]


def multi_task(
    model: Any,
    loss_fns: Mapping[str, LossFn],
    *,
    inputs: str = "x",
    weights: Mapping[str, float] | None = None,
    masks: Mapping[str, str] | None = None,
) -> Objective:
    """Weighted sum of the tasks' mean losses, each over the rows that have a target for it.

    L = sum_t w_t sum_n m_nt loss_t(model(x_n)_t, y_nt) / sum_n m_nt;  a task without a row counts 0.

        model = MultiTaskNetwork((64,), {"digit": 10, "slant": 1})
        objective = multi_task(
            model, {"digit": losses.softmax_cross_entropy_with_integer_labels, "slant": losses.squared_error}
        )

    Args:
      model: returns a dict from each task's name to its outputs, from `(x, train=True)`. It may draw from the
        random stream "dropout" and change every collection of `model_state`.
      loss_fns: for each task `(outputs float32, targets) -> unreduced loss`, of the targets' shape or [B].
      inputs: key of what the model reads: float [B, ...], or integer tokens [B, T].
      weights: w_t, at least 0, by task; 1 where None. A task that is not named has 1.
      masks: for tasks that not every row has a target for, the key of a bool [B].

    The targets stand in the batch under the task's name: classes int [B] (outputs [B, K]), or float of the
    outputs' shape.

    Returns:
      `objective(params, model_state, batch, key) -> (loss, (model_state, metrics))` with the metrics `TASK/loss`
      and, of classes, `TASK/accuracy`; all float32[].

    Raises:
      ValueError: no task, a weight below 0 or a weight or mask of a task that is none; a key is missing, the model
        lacks a task, ranks or lengths do not agree, or a loss has a wrong shape.
      TypeError: the model returns no dict, a mask is not bool, or the inputs are raw uint8 pixels. Those of a
        batch while tracing.
    """
    weights, masks = dict(weights or {}), dict(masks or {})
    _check_tasks(loss_fns, weights, masks)

    def objective(params: Params, model_state: ModelState, batch: Batch, key: Array):
        x = model_inputs(batch, inputs)
        outputs, model_state = training_pass(model, params, model_state, [x], key)
        total, logged = jnp.zeros(()), {}
        for task, loss_fn in loss_fns.items():
            loss, hits, valid = _task(task, loss_fn, outputs, x, batch, masks.get(task))
            mean = logged[f"{task}/loss"] = counted_mean(loss, valid)
            total = total + weights.get(task, 1.0) * mean
            if hits is not None:
                right, count = share(hits, valid)
                logged[f"{task}/accuracy"] = right / jnp.maximum(count, 1)
        return total, (model_state, logged)

    return objective


def multi_task_metrics(
    model: Any,
    loss_fns: Mapping[str, LossFn],
    *,
    inputs: str = "x",
    masks: Mapping[str, str] | None = None,
) -> MetricsFn:
    """Sums and counts of every task's loss and accuracy, for evaluation: `train=False`, nothing random.

    Args:
      model, loss_fns, inputs: as for `multi_task`.
      masks: for each task the key of a bool [B]. Tasks without one read "mask" where the batch has it, as padded
        evaluation batches do, and otherwise count all rows.

    Returns:
      `metrics_fn(params, model_state, batch) -> {name: (sum, count)}`, float32[] each, for every `TASK/loss` and,
      of classes, `TASK/accuracy`.

    Raises: as for `multi_task`.
    """
    masks = dict(masks or {})
    _check_tasks(loss_fns, {}, masks)

    def metrics_fn(params: Params, model_state: ModelState, batch: Batch):
        x = model_inputs(batch, inputs)
        outputs = evaluation_pass(model, params, model_state, [x])
        measured = {}
        for task, loss_fn in loss_fns.items():
            mask = masks.get(task, "mask" if "mask" in batch else None)
            loss, hits, valid = _task(task, loss_fn, outputs, x, batch, mask)
            measured[f"{task}/loss"] = counted_sum(loss, valid)
            if hits is not None:
                measured[f"{task}/accuracy"] = share(hits, valid)
        return measured

    return metrics_fn


def _check_tasks(
    loss_fns: Mapping[str, LossFn], weights: Mapping[str, float], masks: Mapping[str, str]
) -> None:
    if not loss_fns:
        raise ValueError("loss_fns must have at least one task, got none")
    for name, given in (("weights", weights), ("masks", masks)):
        unknown = sorted(set(given) - set(loss_fns))
        if unknown:
            tasks = ", ".join(loss_fns)
            raise ValueError(f"{name} must name tasks of loss_fns ({tasks}), got {', '.join(unknown)}")
    checks.non_negative(**{f"weight of {task}": weight for task, weight in weights.items()})


def _task(
    task: str, loss_fn: LossFn, outputs: Any, x: Array, batch: Batch, mask: str | None
) -> tuple[Array, Array | None, Array | None]:
    """One task's unreduced loss, its hits where its targets are classes, and its mask."""
    if not isinstance(outputs, Mapping):
        raise TypeError(f"model must return a dict of outputs by task, got {type(outputs).__name__}")
    if task not in outputs:
        raise ValueError(f"model must return outputs of {task!r}, got {', '.join(map(repr, outputs))}")
    y = field(batch, task, "the targets")
    checks.same_leading(1, **{task: y, "inputs": x})
    valid = None if mask is None else rows(batch, mask, y)
    predictions = hidden(valid, widened(outputs[task]))
    if jnp.issubdtype(y.dtype, jnp.integer):
        checks.rank(1, **{task: y})
        checks.shape((*y.shape, None), **{f"outputs of {task}": predictions})
        y = hidden(valid, y)
        hits = jnp.argmax(predictions, axis=-1) == y
    else:
        y = hidden(valid, widened(y))
        checks.same_shape(**{task: y, f"outputs of {task}": predictions})
        hits = None
    return unreduced(loss_fn(predictions, y), y.shape, y.shape[:1]), hits, valid
