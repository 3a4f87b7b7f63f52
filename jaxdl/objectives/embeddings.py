"""Embeddings in which alike things are near and others far. B is the batch, F the width of an embedding."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import widened
from jaxdl.metrics.distributions import squared_distances
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


def metric_learning(
    model: Any,
    loss_fn: LossFn,
    *,
    inputs: str | Sequence[str] = "image",
    labels: str | None = "label",
    mask: str | None = None,
    method: str | None = None,
) -> Objective:
    """Mean loss of the embeddings of a labelled batch, of pairs, or of triplets.

    L = sum_n m_n loss_n / sum_n m_n, and 0 where no row is valid.

        metric_learning(encoder, losses.nt_xent)                                         # classes in a batch
        metric_learning(encoder, losses.triplet, inputs=("anchor", "like", "unlike"), labels=None)
        metric_learning(
            encoder, lambda a, b, alike: losses.contrastive(distance(a, b), alike),
            inputs=("first", "second"), labels="alike"
        )

    Several inputs go through the model in one pass, so batch statistics are those of all.

    Args:
      model: returns embeddings, float [B, F], from `(x, train=True)`. It may draw from the random stream "dropout"
        and change every collection of `model_state`.
      loss_fn: from the embeddings of each input, float32 [B, F], and the labels where there are any, to [B]. Where
        a mask is named it is also given `where`, bool [B], as the losses of `losses` take it.
      inputs: key, or several keys, of what the model reads: float [B, ...] of one shape, or integer tokens [B, T].
      labels: key of int or bool [B]: the class of each row, or whether the rows of a pair are alike; None for none.
      mask: key of a bool [B], or None when all rows count.
      method: name of the model's method that embeds; None for its call. `models.dense.SiameseNetwork` has "embed".

    Returns:
      `objective(params, model_state, batch, key) -> (loss, (model_state, metrics))`, float32[]; with one input and
      labels the metric `recall_at_1`, share of the rows whose nearest other row of the batch has the same label.

    Raises:
      ValueError: a key is missing, ranks or lengths do not agree, or the model or the loss returns a wrong shape.
      TypeError: labels are floating point, the mask is not bool, or the inputs are raw uint8 pixels. All while
        tracing.
    """
    names = [inputs] if isinstance(inputs, str) else list(inputs)
    if not names:
        raise ValueError("inputs must name at least one key, got none")

    def objective(params: Params, model_state: ModelState, batch: Batch, key: Array):
        xs, given, valid = _inputs(batch, names, labels, mask)
        outputs, model_state = training_pass(model, params, model_state, [_together(xs)], key, method)
        embeddings = _embeddings(outputs, xs)
        loss = counted_mean(_loss(loss_fn, embeddings, given, valid), valid)
        logged = {}
        if len(names) == 1 and given:
            hits, counted = _nearest(embeddings[0], given[0], valid)
            right, count = share(hits, counted)
            logged["recall_at_1"] = right / jnp.maximum(count, 1)
        return loss, (model_state, logged)

    return objective


def metric_learning_metrics(
    model: Any,
    loss_fn: LossFn,
    *,
    inputs: str | Sequence[str] = "image",
    labels: str | None = "label",
    mask: str | None = None,
    method: str | None = None,
) -> MetricsFn:
    """Sums and counts of loss and recall at 1 within each batch, for evaluation: `train=False`, nothing random.

    Args:
      model, loss_fn, inputs, labels, method: as for `metric_learning`.
      mask: key of a bool [B]. None reads "mask" where the batch has it, as padded evaluation batches do, and
        otherwise counts all rows.

    Returns:
      `metrics_fn(params, model_state, batch) -> {"loss": (sum, count)}`, float32[] each, and `recall_at_1` with one
      input and labels.

    Raises: as for `metric_learning`.
    """
    names = [inputs] if isinstance(inputs, str) else list(inputs)
    if not names:
        raise ValueError("inputs must name at least one key, got none")

    def metrics_fn(params: Params, model_state: ModelState, batch: Batch):
        xs, given, valid = _inputs(batch, names, labels, evaluation_mask(mask, batch))
        embeddings = _embeddings(evaluation_pass(model, params, model_state, [_together(xs)], method), xs)
        measured = {"loss": counted_sum(_loss(loss_fn, embeddings, given, valid), valid)}
        if len(names) == 1 and given:
            measured["recall_at_1"] = share(*_nearest(embeddings[0], given[0], valid))
        return measured

    return metrics_fn


def _inputs(
    batch: Batch, names: Sequence[str], labels: str | None, mask: str | None
) -> tuple[list[Array], list[Array], Array | None]:
    """Inputs with masked rows hidden, the labels as a list of none or one, and the mask."""
    xs = [model_inputs(batch, name) for name in names]
    checks.same_shape(**dict(zip(names, xs)))
    valid = None if mask is None else rows(batch, mask, xs[0])
    given = []
    if labels is not None:
        y = field(batch, labels, "the labels")
        if y.dtype != bool:
            checks.integer(**{labels: y})
        checks.shape(xs[0].shape[:1], **{labels: y})
        given.append(hidden(valid, y))
    return [hidden(valid, x) for x in xs], given, valid


def _together(xs: Sequence[Array]) -> Array:
    return xs[0] if len(xs) == 1 else jnp.concatenate(xs)


def _embeddings(outputs: Any, xs: Sequence[Array]) -> list[Array]:
    size = len(xs[0])
    shape = jnp.shape(outputs)
    if len(shape) != 2 or shape[0] != size * len(xs):
        raise ValueError(f"model must return embeddings of shape ({size * len(xs)}, features), got {shape}")
    return jnp.split(widened(outputs), len(xs))


def _loss(loss_fn: LossFn, embeddings: Sequence[Array], given: Sequence[Array], valid: Array | None) -> Array:
    where = {} if valid is None else {"where": valid}
    return unreduced(loss_fn(*embeddings, *given, **where), embeddings[0].shape[:1])


def _nearest(z: Array, labels: Array, valid: Array | None) -> tuple[Array, Array | None]:
    """Whether the nearest other valid row has the same label, bool [B], and which rows count."""
    apart = squared_distances(z, z) + jnp.diag(jnp.full(len(z), jnp.inf))
    if valid is not None:
        apart = jnp.where(valid[None], apart, jnp.inf)
    return labels[jnp.argmin(apart, axis=1)] == labels, valid
