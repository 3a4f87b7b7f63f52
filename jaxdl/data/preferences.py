"""Who liked what: ratings made from a key, and a small table of real size to work by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array


def ratings(
    key: Array,
    size: int,
    *,
    num_items: int = 40,
    rank: int = 3,
    noise: float = 0.3,
    observed: float = 0.3,
) -> dict[str, Array]:
    """Ratings of items by users whose tastes have few dimensions; most ratings are missing.

    r_ui = 3 + a_u + b_i + p_u . q_i / sqrt(rank) + noise n_ui;  a ~ N(0, 0.3^2), b ~ N(0, 0.5^2), p, q, n ~ N(0, 1)

    The best possible error on ratings that were not seen is `noise` (root mean square), by someone who knows
    `expected`; an item's mean leaves sqrt(0.3^2 + |q_i|^2 / rank + noise^2), sqrt(0.09 + 1 + noise^2) on average:
    1.09 at the default. `movie_ratings` is the table to work by hand.

    Args:
      key: PRNG key.
      size: users N, at least 1.
      num_items: items I, at least 1.
      rank: dimensions of taste, at least 1.
      noise: standard deviation, at least 0.
      observed: share of the ratings that is seen, in [0, 1], each independently.

    Returns:
      `x` float32 [N, I], 0 where not seen; `mask` bool [N, I], what was seen; `y` float32 [N, I], all ratings, to
      test the unseen by; `expected` float32 [N, I], without noise. The items come from the key too: users for a test
      are rows of the same call.
    """
    checks.at_least(1, size=size, num_items=num_items, rank=rank)
    checks.non_negative(noise=noise)
    checks.between(0, 1, observed=observed)
    user_key, item_key, noise_key, mask_key = jax.random.split(key, 4)
    users = draws.normal(user_key, (size, rank + 1))
    items = draws.normal(item_key, (num_items, rank + 1))
    tastes = jnp.dot(users[:, 1:], items[:, 1:].T, precision="highest") / rank**0.5
    expected = 3 + 0.3 * users[:, :1] + 0.5 * items[:, :1].T + tastes
    y = expected + noise * draws.normal(noise_key, expected.shape)
    mask = draws.uniform(mask_key, expected.shape) < observed
    return {"x": jnp.where(mask, y, 0), "mask": mask, "y": y, "expected": expected}


def movie_ratings() -> dict[str, np.ndarray]:
    """Five users, six films, 1 for liked and 0 for not; five of the thirty are missing.

    The means of what was seen are 0.5, 0.5, 0.75, 0.6, 0.5 and 0.75 by film. `ratings` makes larger tables.

    Returns:
      `x` float32 [5, 6], NaN where missing; `mask` bool [5, 6], what was seen.
    """
    gone = np.nan
    x = np.array(
        [
            [1, 0, gone, 1, 1, 1],
            [0, 1, 0, 0, 1, 0],
            [gone, 1, 1, 0, 0, gone],
            [1, 0, 1, 1, 0, 1],
            [0, gone, 1, 1, gone, 1],
        ],
        np.float32,
    )
    return {"x": x, "mask": ~np.isnan(x)}
