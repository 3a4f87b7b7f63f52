"""Metrics that are read off the counts of each class taken for each.

N is any batch shape, K the number of classes; predictions are scores, float [N, K], or classes, int [N].
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.metrics.classification import predicted_classes
from jaxdl.metrics.streaming import Mean, Metric, Parts
from jaxdl.types import Array

if TYPE_CHECKING:
    from rich.table import Table


def confusion_counts(num_classes: int) -> tuple[Callable[[], Array], Callable[..., Array]]:
    """Start and measure of the counts [K + 1, K + 1]; the last row and column hold what is outside [0, K)."""
    checks.at_least(2, num_classes=num_classes)
    side = num_classes + 1

    def measure(predictions: Array, labels: Array, where: Array | None) -> Array:
        shape = jnp.shape(predictions)
        if len(shape) > jnp.ndim(labels) and shape[-1] != num_classes:
            raise ValueError(f"scores must be for num_classes = {num_classes} classes, got shape {shape}")
        predicted, labels, counted = predicted_classes(predictions, labels, where)

        def bounded(classes: Array) -> Array:
            return jnp.where((classes >= 0) & (classes < num_classes), classes, num_classes)

        cell = bounded(labels) * side + bounded(predicted)
        counts = jnp.zeros(side * side, jnp.int32).at[cell.ravel()].add(counted.ravel().astype(jnp.int32))
        return counts.reshape(side, side)

    return lambda: jnp.zeros((side, side), jnp.int32), measure


def inside(counts: Array) -> Array:
    """The counts [K, K] without what is outside; ValueError, where the numbers are known, if anything is."""
    num_classes = counts.shape[0] - 1
    matrix = counts[:num_classes, :num_classes]
    if not isinstance(counts, jax.core.Tracer):
        outside = int(np.sum(counts) - np.sum(matrix))
        if outside:
            raise ValueError(f"labels and predictions must be in [0, {num_classes}), got {outside} outside")
    return matrix


@Metric
def confusion_matrix(*, num_classes: int) -> Parts:
    """How often each class was taken for each: row i, column j counts label i predicted as j.

        metrics.confusion_matrix(logits, labels, num_classes=10)

    Args:
      predictions: scores, float [N, K], or classes, int [N].
      labels: int [N].
      where: bool [N], which examples count, or None for all.
      num_classes: K, at least 2.

    Returns:
      int32 [K, K]; its sum is the number of examples.

    Raises:
      TypeError: labels are not integers, or where is not bool.
      ValueError: the shapes do not agree; or, when computed outside a traced function, a class is outside [0,
        K).
    """
    start, measure = confusion_counts(num_classes)
    return Parts(start, measure, inside)


@jax.jit
def _rates(matrix: Array) -> tuple[Array, Array, Array, Array]:
    """Precision, recall, F1 and support of each class; 0 / 0 is 0."""
    true = jnp.diagonal(matrix).astype(jnp.float32)
    predicted, support = jnp.sum(matrix, axis=0), jnp.sum(matrix, axis=1)

    def ratio(a: Array, b: Array) -> Array:
        return jnp.where(b > 0, a / jnp.maximum(b, 1), 0.0)

    return ratio(true, predicted), ratio(true, support), ratio(2 * true, predicted + support), support


@jax.jit
def mean_of_occurring(rates: Array, matrix: Array) -> Array:
    """Mean over the classes that occur, in labels or predictions, as in scikit-learn."""
    occurs = (jnp.sum(matrix, axis=0) > 0) | (jnp.sum(matrix, axis=1) > 0)
    return jnp.mean(rates, where=occurs)


AVERAGES = ("macro", "weighted", "micro", None)


def averaged(which: int, num_classes: int, average: str | None) -> Parts:
    """The parts of precision (0), recall (1) or F1 (2)."""
    checks.one_of(AVERAGES, average=average)
    start, measure = confusion_counts(num_classes)

    def finish(counts: Array) -> Array:
        matrix = inside(counts)
        total = jnp.sum(matrix)
        if average == "micro":
            return Mean(jnp.trace(matrix), total).value()
        *rates, support = _rates(matrix)
        if average == "weighted":
            return jnp.sum(rates[which] * support) / total
        return mean_of_occurring(rates[which], matrix) if average == "macro" else rates[which]

    return Parts(start, measure, finish)


@Metric
def precision(*, num_classes: int, average: str | None = "macro") -> Parts:
    """Of the examples predicted to be of a class, the share that is.

    TP / (TP + FP) for each class; 0 for a class that was never predicted.

        metrics.precision(logits, labels, num_classes=10)
        metrics.precision(classes, labels, num_classes=2, average=None)[1]     # of the positive class

    Args:
      predictions: scores, float [N, K], or classes, int [N].
      labels: int [N].
      where: bool [N], which examples count, or None for all.
      num_classes: K, at least 2.
      average: "macro", mean over the classes that occur in labels or predictions; "weighted", mean over
        examples' classes; "micro", over all decisions, which equals accuracy; None, one value for each class.

    Returns:
      float32[] or [K], in [0, 1]. NaN when nothing counts, except for None.

    Raises:
      TypeError: labels are not integers, or where is not bool.
      ValueError: the shapes do not agree, a setting is impossible; or, when computed outside a traced
        function, a class is outside [0, K).
    """
    return averaged(0, num_classes, average)


@Metric
def recall(*, num_classes: int, average: str | None = "macro") -> Parts:
    """Of the examples of a class, the share that was predicted to be.

    TP / (TP + FN) for each class; 0 for a class that does not occur.

    Args, Returns, Raises: as for `precision`.
    """
    return averaged(1, num_classes, average)


@Metric
def f1_score(*, num_classes: int, average: str | None = "macro") -> Parts:
    """Harmonic mean of precision and recall.

    2 TP / (2 TP + FP + FN) for each class; 0 for a class that neither occurs nor was predicted.

    Args, Returns, Raises: as for `precision`.
    """
    return averaged(2, num_classes, average)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassificationReport:
    """Precision, recall, F1 and support of each class, and their means; `print` shows a table, rich a
    coloured one.

    Attributes:
      precision: float32 [K].
      recall: float32 [K].
      f1: float32 [K].
      support: examples of each class, int32 [K].
      accuracy: float32[].
      macro: means of precision, recall and F1 over the classes that occur, float32 [3].
      weighted: the same, each class weighted by its support, float32 [3].
      class_names: one for each class.
    """

    precision: Array
    recall: Array
    f1: Array
    support: Array
    accuracy: Array
    macro: Array
    weighted: Array
    class_names: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    def rows(self) -> list[tuple[str, ...]]:
        """The table's cells: name, precision, recall, F1, support."""
        total = f"{int(np.sum(self.support))}"
        cells = [
            (
                name,
                *(f"{float(x[i]):.2f}" for x in (self.precision, self.recall, self.f1)),
                f"{int(self.support[i])}",
            )
            for i, name in enumerate(self.class_names)
        ]
        means = [
            (name, *(f"{float(x):.2f}" for x in values), total)
            for name, values in (("macro avg", self.macro), ("weighted avg", self.weighted))
        ]
        return [*cells, ("accuracy", "", "", f"{float(self.accuracy):.2f}", total), *means]

    def __str__(self) -> str:
        head = ("", "precision", "recall", "f1-score", "support")
        width = max(len(row[0]) for row in self.rows())

        def line(row: Sequence[str]) -> str:
            return row[0].rjust(width) + " " + "".join(cell.rjust(10) for cell in row[1:])

        rows = [line(row) for row in self.rows()]
        return "\n".join([line(head), "", *rows[:-3], "", *rows[-3:]])

    def __rich__(self) -> "Table":
        from rich.table import Table

        table = Table("class", title="classification report")
        for head in ("precision", "recall", "F1", "support"):
            table.add_column(head, justify="right")
        rows = self.rows()
        for i, row in enumerate(rows):
            table.add_row(*row, end_section=i == len(rows) - 4)
        return table


@Metric
def classification_report(*, num_classes: int, class_names: tuple[str, ...] | None = None) -> Parts:
    """Precision, recall, F1 and support of each class with their means, in one object that prints as a table.

        report = metrics.classification_report(logits, labels, num_classes=2, class_names=("ham", "spam"))
        print(report)
        report.recall[1]

    Args:
      predictions: scores, float [N, K], or classes, int [N].
      labels: int [N].
      where: bool [N], which examples count, or None for all.
      num_classes: K, at least 2.
      class_names: a tuple of K names for the table; the numbers 0 to K - 1 when None.

    Returns:
      A `ClassificationReport`. 0 / 0 is 0, and the macro means are over the classes that occur in labels or
      predictions.

    Raises:
      TypeError: labels are not integers, or where is not bool.
      ValueError: the shapes do not agree, there are not K names; or, when computed outside a traced function,
        a class is outside [0, K).

    Differs from scikit-learn in showing classes that do not occur.
    """
    names = tuple(map(str, range(num_classes))) if class_names is None else tuple(class_names)
    if len(names) != num_classes:
        raise ValueError(f"class_names must have num_classes = {num_classes} names, got {len(names)}")
    start, measure = confusion_counts(num_classes)

    def finish(counts: Array) -> ClassificationReport:
        matrix = inside(counts)
        precisions, recalls, f1s, support = _rates(matrix)
        total = jnp.sum(matrix)
        rates = (precisions, recalls, f1s)
        return ClassificationReport(
            precisions,
            recalls,
            f1s,
            support,
            Mean(jnp.trace(matrix), total).value(),
            jnp.stack([mean_of_occurring(rate, matrix) for rate in rates]),
            jnp.stack([jnp.sum(rate * support) / total for rate in rates]),
            names,
        )

    return Parts(start, measure, finish)
