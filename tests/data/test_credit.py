"""The invented credit table against its stated model, in NumPy, and against logistic regression."""

import jax
import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.credit import CATEGORICAL, CONTINUOUS

NAMES = [*CATEGORICAL, *CONTINUOUS]


@pytest.fixture(scope="module")
def table():
    made = jax.jit(lambda key: data.credit_applications(key, 20_000, missing_rate=0.1))(jax.random.key(3))
    return {name: np.asarray(values) for name, values in made.items()}


def test_probabilities_follow_the_stated_score(table):
    x = dict(zip(NAMES, table["x"].T.astype(np.float64), strict=True))
    score = (
        0.9 * np.log2(x["annual_income"] / 180e3)
        + 0.04 * (x["age"] - 44)
        + 0.6 * (x["car_owner"] == x["property_owner"])
        + 0.1 * np.minimum(x["employed_days"] / 365, 10)
        - 0.9 * (x["unemployed_days"] > 0)
        - 0.35 * x["children"]
        + 0.25 * x["education"]
        - 0.6
    )
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-6 * score)), atol=2e-5)
    p = table["probability"]
    # Stated: 53 % approved, best accuracy 0.93; four standard errors at 20,000 rows are 0.014 and 0.004.
    assert abs(table["y"].mean() - 0.53) < 0.015
    assert abs(np.maximum(p, 1 - p).mean() - 0.928) < 0.005
    assert abs(((p > 0.5) == table["y"]).mean() - 0.928) < 0.008


def test_raw_columns_say_what_the_engineered_ones_do(table):
    x = dict(zip(NAMES, table["x"].T, strict=True))
    for name, classes in CATEGORICAL.items():
        assert set(np.unique(x[name])) == set(range(classes)), name
    employment = table["employment_days"]
    np.testing.assert_array_equal(x["employed_days"], np.maximum(-employment, 0))
    np.testing.assert_array_equal(x["unemployed_days"], np.maximum(employment, 0))
    assert ((x["employed_days"] > 0) != (x["unemployed_days"] > 0)).all()
    known = ~np.isnan(table["birth_days"])
    np.testing.assert_allclose(x["age"][known], -table["birth_days"][known] / 365, atol=0.004)
    for gone in (np.isnan(table["birth_days"]), np.isnan(table["annual_income"]), table["occupation"] < 0):
        np.testing.assert_allclose(gone.mean(), 0.1, atol=0.01)
    there = table["occupation"] >= 0
    np.testing.assert_array_equal(table["occupation"][there], x["occupation"][there])
    assert np.isfinite(table["x"]).all()


def test_a_linear_model_is_good_and_the_interaction_makes_it_better(table):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = np.asarray(table["x"], np.float64)
    x[:, NAMES.index("annual_income")] = np.log2(x[:, NAMES.index("annual_income")])
    both = x[:, NAMES.index("car_owner")] == x[:, NAMES.index("property_owner")]
    accuracy = []
    for inputs in (x, np.column_stack([x, both])):
        inputs = (inputs - inputs.mean(0)) / inputs.std(0)
        fitted = linear_model.LogisticRegression().fit(inputs[:15_000], table["y"][:15_000])
        accuracy.append(fitted.score(inputs[15_000:], table["y"][15_000:]))
    assert 0.85 < accuracy[0] < accuracy[1] - 0.01
    assert accuracy[1] < 0.945


def test_errors(key):
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        data.credit_applications(key, 0)
    with pytest.raises(ValueError, match="missing_rate must be between 0 and 1"):
        data.credit_applications(key, 5, missing_rate=1.5)
    with pytest.raises(ValueError, match="sharpness"):
        data.credit_applications(key, 5, sharpness=0.0)
