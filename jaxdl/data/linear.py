"""Data for a straight line, made from a key, with the line and the error that it leaves.

Both functions are pure, jittable with a static size, and vmappable over the key. N: rows, D: features.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array


def linear_regression_data(
    key: Array,
    size: int,
    *,
    weights: Any = (1.3, -1.0),
    bias: float = -3.5,
    noise: float = 0.0,
    interval: tuple[float, float] | None = None,
) -> dict[str, Array]:
    """A linear function of random inputs, with noise.

    y = x . weights + bias + noise n,  x ~ N(0, 1) or U[interval), n ~ N(0, 1)

    The best possible mean squared error is noise^2, at the weights themselves; least squares on N rows finds them up to
    a covariance of noise^2 (X^T X)^-1. `weights=(3,), bias=4, noise=1, interval=(0, 2)` is the usual y = 4 + 3 x.

    Args:
      key: PRNG key.
      size: rows N, at least 1.
      weights: float [D], D at least 1.
      bias: a number.
      noise: standard deviation, at least 0.
      interval: (low, high) of uniform inputs, low below high; None for normal ones.

    Returns:
      `x` float32 [N, D]; `y` float32 [N, 1]: a column, as a net's output is. A vector here would broadcast against
      that into [N, N], and such a net learns nothing but the mean.
    """
    weights = jnp.asarray(weights, jnp.float32)
    checks.at_least(1, size=size)
    checks.rank(1, weights=weights)
    checks.at_least(1, number_of_weights=len(weights))
    checks.non_negative(noise=noise)
    x_key, noise_key = jax.random.split(key)
    shape = (size, len(weights))
    if interval is None:
        x = draws.normal(x_key, shape)
    else:
        low, high = interval
        if not low < high:
            raise ValueError(f"interval must be (low, high) with low below high, got {interval}")
        x = low + (high - low) * draws.uniform(x_key, shape)
    y = jnp.dot(x, weights, precision="highest") + bias
    return {"x": x, "y": (y + noise * draws.normal(noise_key, (size,)))[:, None]}


def correlated_gaussian(
    key: Array,
    size: int,
    *,
    mean: Any = (5.0, 6.0),
    covariance: Any = ((1.0, 0.95), (0.95, 1.2)),
) -> dict[str, Array]:
    """A Gaussian of correlated coordinates, the last of which is to be predicted from the others.

    (x, y) ~ N(mean, covariance);  E[y | x] = m_y + S_yx S_xx^-1 (x - m_x)

    The best prediction is linear. Its residual is normal, with variance v = S_yy - S_yx S_xx^-1 S_xy, so the best mean
    squared error is v and the best mean absolute error sqrt(2 v / pi). At the default: slope 0.95, intercept 1.25, v =
    0.2975, mean absolute error 0.4352.

    Args:
      key: PRNG key.
      size: rows N, at least 1.
      mean: float [D + 1], D at least 1.
      covariance: [D + 1, D + 1], symmetric and positive definite: numbers, not a traced array.

    Returns:
      `x` float32 [N, D]; `y` float32 [N, 1].

    Raises:
      ValueError: shapes that do not fit, or a covariance that is not symmetric and positive definite.
    """
    checks.at_least(1, size=size)
    mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    checks.rank(1, mean=mean)
    checks.at_least(2, length_of_mean=len(mean))
    checks.shape((len(mean), len(mean)), covariance=covariance)
    if not np.allclose(covariance, covariance.T):
        raise ValueError(f"covariance must be symmetric, got {covariance.tolist()}")
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(f"covariance must be positive definite, got {covariance.tolist()}") from None
    noise = draws.normal(key, (size, len(mean)))
    values = jnp.dot(noise, jnp.asarray(factor.T, jnp.float32), precision="highest")
    values = values + jnp.asarray(mean, jnp.float32)[None]
    return {"x": values[:, :-1], "y": values[:, -1:]}
