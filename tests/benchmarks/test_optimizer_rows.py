"""The rows of optimizers and of search: all sides make the same updates, all searches find the minimum."""

import jax
import numpy as np
import pytest

from benchmarks import measure, optimizers, search
from benchmarks.optimizers import OPTIMIZERS


@pytest.mark.slow
@pytest.mark.parametrize("leaves", [2, 5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@jax.numpy_rank_promotion("allow")  # the other frameworks rely on it
def test_sides_make_the_same_updates(optimizer, leaves):
    pytest.importorskip("torch")
    row = optimizers.update_row(optimizer, leaves, 600)
    runs = {side.name: side.build() for side in row.sides}
    assert {"jaxdl", "optax"} <= set(runs)
    assert len(runs) == (2 if OPTIMIZERS[optimizer][1] is None else 4)
    for units in (1, 3, 4):  # the third block sees the first gradient again
        results = {name: run(units) for name, run in runs.items()}
        for name, result in results.items():
            np.testing.assert_allclose(result, results["optax"], rtol=2e-4, err_msg=name)
        moved, against = results["jaxdl"]
        assert 0 < against <= moved + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_another_learning_rate_is_noticed(optimizer, monkeypatch):
    row = optimizers.update_row(optimizer, 2, 600)
    right = row.sides[0].build()(1)
    monkeypatch.setattr(optimizers, "LEARNING_RATE", 1.1e-3)
    wrong = optimizers.update_row(optimizer, 2, 600).sides[0].build()(1)
    assert np.abs(wrong / right - 1).min() > 10 * row.tolerance


def test_the_rows_are_those_of_the_issue():
    rows = {row.name: row for row in optimizers.update_rows()}
    assert {"adam_1m_2", "adam_1m_200", "adam_25m_2", "adam_25m_200"} <= set(rows)
    for row in rows.values():
        assert [target.under for target in row.targets] == ["jaxdl"]
        assert [target.at_least for target in row.targets] == [0.97]


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [
        search.differential_evolution_row(40, 300, 4, chunk=100),
        search.cma_es_row(20, 300, 4, chunk=100),
    ],
    ids=lambda row: row.name,
)
@jax.numpy_rank_promotion("allow")
def test_searches_find_the_minimum(row, monkeypatch):
    monkeypatch.setattr(measure.machine, "matmul_rates", lambda: {"jax": 100.0})
    record = measure.measure(row, repeats=1)
    missing = {name for name, side in record["sides"].items() if "missing" in side}
    assert missing <= {"evosax"}  # where it is not installed
    assert record["loss_difference"] < row.tolerance
