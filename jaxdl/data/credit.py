"""A table of credit applications, invented: a stand-in for what banks do not publish."""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array

# Column and number of classes; each class k is drawn in proportion to 1 / (1 + k / 2).
CATEGORICAL = {
    "gender": 2,
    "car_owner": 2,
    "property_owner": 2,
    "income_type": 4,
    "education": 5,
    "marital_status": 5,
    "housing_type": 6,
    "mobile_phone": 2,
    "work_phone": 2,
    "phone": 2,
    "email": 2,
    "occupation": 18,
}
CONTINUOUS = ("children", "annual_income", "age", "employed_days", "unemployed_days", "family_members")


def credit_applications(
    key: Array, size: int, *, missing_rate: float = 0.0, sharpness: float = 6.0
) -> dict[str, Array]:
    """Applications for a credit card: 18 columns of very different scales, and whether each was approved.

    P(approved) = sigmoid(sharpness s),  s = 0.9 log2(income / 180,000) + 0.08 (age - 44) / 2
      + 0.6 [both or neither of car and property] + 0.5 min(years employed, 10) / 5
      - 0.9 [unemployed] - 0.35 children + 0.25 (education - 1) - 0.35

    The columns that s does not name carry nothing. About 53 % are approved, and the best possible accuracy,
    the mean of max(p, 1 - p), is 0.93 at the default sharpness. The raw table holds days as banks do:
    `birth_days` below 0, `employment_days` below 0 while employed and above 0 for days without work.

    Args:
      key: PRNG key.
      size: rows, at least 1.
      missing_rate: share of `annual_income`, `birth_days` and `occupation` that is missing, in [0, 1): NaN, and -1
        for the category.
      sharpness: how certain the decisions are, above 0.

    Returns:
      The raw columns by name, int32 or float32 [size]; `x` float32 [size, 18], the twelve categories as numbers
      and the six engineered columns (unscaled, nothing missing), in the order of `CATEGORICAL` and `CONTINUOUS`;
      `y` int32 [size], 1 for approved; `probability` float32 [size], P(approved) given the row.
    """
    checks.at_least(1, size=size)
    checks.between(0, 1, missing_rate=missing_rate)
    checks.positive(sharpness=sharpness)
    keys = iter(jax.random.split(key, len(CATEGORICAL) + 10))
    columns = {}
    for name, classes in CATEGORICAL.items():
        logits = -jnp.log1p(jnp.arange(classes) / 2)
        columns[name] = jax.random.categorical(next(keys), logits, shape=(size,)).astype(jnp.int32)
    children = jnp.minimum(jax.random.poisson(next(keys), 0.7, (size,)), 6).astype(jnp.float32)
    income = 180_000 * jnp.exp2(0.8 * jax.random.normal(next(keys), (size,)))
    age = jax.random.uniform(next(keys), (size,), minval=21.0, maxval=68.0)
    unemployed = jax.random.bernoulli(next(keys), 0.17, (size,))
    days = 365 * jnp.minimum(6 * jax.random.exponential(next(keys), (size,)), age - 18)
    days = jnp.ceil(days) + 1
    family = 1 + children + jax.random.bernoulli(next(keys), 0.6, (size,)).astype(jnp.float32)
    employed_days, unemployed_days = jnp.where(unemployed, 0, days), jnp.where(unemployed, days, 0)
    agree = columns["car_owner"] == columns["property_owner"]
    score = (
        0.9 * jnp.log2(income / 180_000)
        + 0.08 * (age - 44) / 2
        + 0.6 * agree
        + 0.5 * jnp.minimum(employed_days / 365, 10) / 5
        - 0.9 * unemployed
        - 0.35 * children
        + 0.25 * (columns["education"] - 1)
        - 0.35
    )
    probability = jax.nn.sigmoid(sharpness * score)
    y = jax.random.bernoulli(next(keys), probability).astype(jnp.int32)
    continuous = (children, income, age, employed_days, unemployed_days, family)
    x = jnp.stack([column.astype(jnp.float32) for column in (*columns.values(), *continuous)], axis=1)
    gone = jax.random.bernoulli(next(keys), missing_rate, (3, size))
    raw = {
        **columns,
        "occupation": jnp.where(gone[0], -1, columns["occupation"]),
        "children": children,
        "annual_income": jnp.where(gone[1], jnp.nan, income),
        "birth_days": jnp.where(gone[2], jnp.nan, -jnp.floor(365 * age)),
        "employment_days": jnp.where(unemployed, days, -days),
        "family_members": family,
    }
    return {**raw, "x": x, "y": y, "probability": probability}
