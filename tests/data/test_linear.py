"""Linear data against least squares in float64 and the worked optimum."""

import numpy as np
import pytest

from jaxdl import data


def exact(key):
    return data.linear_regression_data(key, 1000)


def least_squares(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    design = np.column_stack([x, np.ones(len(x))])
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    return solution[:, 0], y - design @ solution


def test_without_noise_least_squares_is_exact(made):
    table = made(exact)
    assert table["x"].shape == (1000, 2)
    assert table["y"].shape == (1000, 1)
    solution, residual = least_squares(table["x"], table["y"])
    np.testing.assert_allclose(solution, [1.3, -1, -3.5], atol=1e-6)
    assert np.abs(residual).max() < 1e-5
    np.testing.assert_allclose(table["x"].mean(0), 0, atol=0.13)
    np.testing.assert_allclose(table["x"].std(0), 1, atol=0.1)


def test_gradient_descent_ends_where_the_worked_one_does(made):
    """004a-7.12a: lr 0.01, 1000 steps, from the printed start."""
    table = made(exact)
    w, b = np.array([-0.3239247, 0.5574488]), 0.5710429
    for _ in range(1000):
        error = table["x"] @ w + b - table["y"][:, 0]
        w, b = w - 0.02 * (table["x"].T @ error) / 1000, b - 0.02 * error.mean()
    np.testing.assert_allclose([*w, b], [1.29999999, -1.0, -3.49999999], atol=3e-6)


def test_noise_and_interval(made):
    table = made(
        lambda key: data.linear_regression_data(key, 4000, weights=(3,), bias=4, noise=1.0, interval=(0, 2))
    )
    assert 0 <= table["x"].min() < 0.01
    assert 1.99 < table["x"].max() < 2
    solution, residual = least_squares(table["x"], table["y"])
    # Covariance noise^2 (X^T X)^-1: standard errors 0.027 and 0.032.
    np.testing.assert_allclose(solution, [3, 4], atol=0.13)
    np.testing.assert_allclose(residual.std(), 1, atol=0.05)


def test_correlated_gaussian_has_the_worked_optimum(made):
    """004a-7.16a."""
    table = made(lambda key: data.correlated_gaussian(key, 20_000))
    (slope, intercept), residual = least_squares(table["x"], table["y"])
    np.testing.assert_allclose(slope, 0.95, atol=0.016)
    np.testing.assert_allclose(intercept, 1.25, atol=0.08)
    np.testing.assert_allclose(residual.var(), 0.2975, rtol=0.04)
    np.testing.assert_allclose(np.abs(residual).mean(), 0.4352, rtol=0.025)
    stated = table["y"] - 0.95 * table["x"] - 1.25
    np.testing.assert_allclose((stated**2).mean(), 0.2975, rtol=0.04)


def test_correlated_gaussian_of_three(made):
    mean, covariance = (1, 2, 3), np.array([[2, 0.5, 1], [0.5, 1, -0.3], [1, -0.3, 2]])
    table = made(lambda key: data.correlated_gaussian(key, 20_000, mean=mean, covariance=covariance))
    values = np.column_stack([table["x"], table["y"]])
    np.testing.assert_allclose(values.mean(0), mean, atol=0.045)
    np.testing.assert_allclose(np.cov(values.T), covariance, atol=0.09)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda k: data.linear_regression_data(k, 0), "size must be at least 1", id="size"),
        pytest.param(
            lambda k: data.linear_regression_data(k, 2, weights=3.0), "weights must have rank 1", id="rank"
        ),
        pytest.param(lambda k: data.linear_regression_data(k, 2, noise=-1), "noise", id="noise"),
        pytest.param(
            lambda k: data.linear_regression_data(k, 2, interval=(1, 1)), "low below high", id="interval"
        ),
        pytest.param(
            lambda k: data.correlated_gaussian(k, 2, mean=(0,), covariance=((1,),)),
            "length_of_mean",
            id="one",
        ),
        pytest.param(
            lambda k: data.correlated_gaussian(k, 2, covariance=((1, 2), (2, 1))),
            "positive definite",
            id="no",
        ),
        pytest.param(
            lambda k: data.correlated_gaussian(k, 2, covariance=((1, 0), (0.5, 1))), "symmetric", id="skew"
        ),
        pytest.param(lambda k: data.correlated_gaussian(k, 2, mean=(0, 0, 0)), r"shape \(3, 3\)", id="shape"),
    ],
)
def test_errors(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)
