"""Learning by competition: the unit nearest to an input moves, alone, with its neighbours, or away from it.

Shapes: B rows, D inputs, M units, P axes of the map. Parameters are one array in any tree, the units' weights [M, D],
such as {"weights": w}. c is the unit nearest to x, the first of them where several are. The rules sum over rows by
default; for the sequential algorithms of the books, scan an update over batches of one row.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.types import Array, GradFn, Metrics, Params


def _unit_weights(params: Params, x: Array) -> Array:
    leaves = jax.tree.leaves(params)
    if len(leaves) != 1:
        raise ValueError(f"params must hold one array, the units' weights, got {len(leaves)}")
    checks.floating(inputs=x, weights=leaves[0])
    checks.rank(2, inputs=x)
    checks.shape((None, x.shape[1]), weights=leaves[0])
    checks.at_least(1, **{"number of units": len(leaves[0])})
    return leaves[0]


def _squared_distances(x: Array, weights: Array) -> Array:
    """|x_b - w_m|^2, [B, M], from the differences: no digits are lost where units are close."""
    return jnp.sum(jnp.square(x[:, None] - weights[None]), axis=2)


def _pulled(params: Params, x: Array, shares: Array, squares: Array, scale: float) -> tuple[Array, Params]:
    """Half the sum of shares [B, M] times squared distances, and its gradient with the shares held fixed."""
    shares = shares.astype(squares.dtype)
    wide = jnp.promote_types(squares.dtype, jnp.float32)
    loss = scale * jnp.sum(shares * squares, dtype=wide) / 2

    def gradient(weights):
        pull = shares.sum(axis=0)[:, None] * weights - shares.T @ x
        return (scale * pull).astype(weights.dtype)

    return loss, jax.tree.map(gradient, params)


def _quantization_error(squares: Array) -> Array:
    nearest = jnp.sqrt(jnp.min(squares, axis=1))
    return jnp.mean(nearest, dtype=jnp.promote_types(nearest.dtype, jnp.float32))


def competitive_rule(*, loser_rate: float = 0.0, inputs: str = "x", reduction: str = "sum") -> GradFn:
    """The winner takes the input: each row moves the unit nearest to it, and that one alone.

    dE/dw_k = -sum over rows of h_k (x - w_k),  h_c = 1,  h_k = loser_rate for the other units

    so that descent at rate alpha moves the winner by alpha (x - w_c). Units settle in the means of the rows that they
    win: k-means, one row at a time. A unit that starts far from everything never wins; with a small loser_rate (leaky
    learning) it drifts to where the rows are.

    Args:
      loser_rate: what the others move by, as a share of what the winner moves by, in [0, 1).
      inputs: key of the batch with x, float [B, D].
      reduction: "sum" or "mean" over rows.

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. The loss is 1/2 sum over rows and
      units of h_k |x - w_k|^2, float[]; `grads` is its gradient. `quantization_error` is the mean distance from the
      nearest unit. Both are of before the update. The key is unused.

    Raises:
      ValueError: a setting out of its range; at the call, shapes that do not fit or more than one array.
      TypeError: at the call, inputs or weights are not floating point.

    Source: Rumelhart & Zipser, "Feature discovery by competitive learning", 1985; winner by distance: MacQueen, "Some
    methods for classification and analysis of multivariate observations", 1967.
    Differs from Rumelhart & Zipser, who take the largest inner product and normalize weights and inputs.
    """
    checks.decay(loser_rate=loser_rate)
    checks.one_of(("sum", "mean"), reduction=reduction)

    def fn(params, model_state, batch, key):
        del key
        x = batch[inputs]
        weights = _unit_weights(params, x)
        squares = _squared_distances(x, weights)
        wins = jax.nn.one_hot(jnp.argmin(squares, axis=1), len(weights), dtype=squares.dtype)
        shares = wins + loser_rate * (1 - wins)
        loss, grads = _pulled(params, x, shares, squares, 1 if reduction == "sum" else 1 / len(x))
        return (loss, (model_state, {"quantization_error": _quantization_error(squares)})), grads

    return fn


def kohonen_rule(
    positions: Any,
    radius: float | Callable[[Array], Array],
    *,
    neighbourhood: str = "gaussian",
    inputs: str = "x",
    reduction: str = "sum",
) -> GradFn:
    """A map that unfolds: the winner moves to the input, and its neighbours on the map go along.

    dE/dw_k = -sum over rows of h(c, k) (x - w_k)
    gaussian:  h(c, k) = exp(-|r_k - r_c|^2 / (2 s^2))
    bubble:    h(c, k) = 1 where |r_k - r_c| <= s, 0 elsewhere

    so that descent at rate alpha moves unit k by alpha h (x - w_k). r are the units' places on the map, s the radius.
    Both the rate and the radius fall in training; the rate's schedule is the optimizer's. The radius's is given here
    and counts updates in `model_state["step"]`:

        rule = kohonen_rule(positions, optim.exponential_decay(5.0, 1000, 0.1))
        state = train.create_train_state(key, {"params": {"weights": w}, "step": jnp.zeros((), jnp.int32)}, tx)

    Args:
      positions: places of the units on the map, real numbers [M, P], such as (row, column).
      radius: s, a number, or a function of the count of updates, such as a schedule of `jaxdl.optim`. Above 0; a
        bubble's may be 0, which leaves the winner alone.
      neighbourhood: "gaussian" or "bubble".
      inputs: key of the batch with x, float [B, D].
      reduction: "sum" or "mean" over rows.

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. The loss is 1/2 sum over rows and
      units of h |x - w_k|^2, float[]; `grads` is its gradient with the winners held fixed. `quantization_error` is the
      mean distance from the nearest unit, `radius` is s. All are of before the update. `model_state["step"]`, int32[],
      goes up by one; without a schedule the model state stays as it is. The key is unused.

    Raises:
      ValueError: a setting out of its range; at the call, shapes that do not fit, more than one array, or a schedule
        without `model_state["step"]`.
      TypeError: at the call, inputs or weights are not floating point.

    Source: Kohonen, "Self-organized formation of topologically correct feature maps", 1982; gaussian: "The
    self-organizing map", 1990, section III.
    """
    positions = np.asarray(positions)
    checks.rank(2, positions=positions)
    checks.one_of(("gaussian", "bubble"), neighbourhood=neighbourhood)
    checks.one_of(("sum", "mean"), reduction=reduction)
    if not callable(radius):
        (checks.positive if neighbourhood == "gaussian" else checks.non_negative)(radius=radius)
    apart = np.sum(np.square(positions[:, None] - positions[None]), axis=2)

    def fn(params, model_state, batch, key):
        del key
        x = batch[inputs]
        weights = _unit_weights(params, x)
        checks.shape((len(weights), None), positions=positions)
        if callable(radius):
            if "step" not in model_state:
                raise ValueError(
                    f'model_state must have a key "step" for the radius, got {sorted(model_state)}'
                )
            s = jnp.asarray(radius(model_state["step"]))
            model_state = {**model_state, "step": model_state["step"] + 1}
        else:
            s = jnp.asarray(radius)
        squares = _squared_distances(x, weights)
        s = s.astype(jnp.promote_types(squares.dtype, jnp.float32))
        between = jnp.asarray(apart, s.dtype)
        if neighbourhood == "gaussian":
            shares = jnp.exp(-between / (2 * jnp.square(s)))
        else:
            shares = between <= jnp.square(s)
        shares = shares[jnp.argmin(squares, axis=1)]
        loss, grads = _pulled(params, x, shares, squares, 1 if reduction == "sum" else 1 / len(x))
        metrics: Metrics = {"quantization_error": _quantization_error(squares), "radius": s}
        return (loss, (model_state, metrics)), grads

    return fn


def lvq_rule(unit_labels: Any, *, inputs: str = "x", targets: str = "y", reduction: str = "sum") -> GradFn:
    """Learning vector quantization: the nearest unit moves to a row of its own class, and away from one of another.

    dE/dw_c = -sum over rows of s (x - w_c),  s = +1 where the unit's class is the row's, -1 elsewhere

    so that descent at rate alpha moves the winner by alpha (x - w_c) or back by as much. The form LVQ1. Start the
    units on rows of their class, or at class means.

    Args:
      unit_labels: class of each unit, int [M]; a class may have several.
      inputs: key of the batch with x, float [B, D].
      targets: key of the batch with the rows' classes, int [B].
      reduction: "sum" or "mean" over rows.

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. The loss is 1/2 sum over rows of
      s |x - w_c|^2, float[], without a lower bound; `grads` is its gradient. `errors` is the number of rows that the
      nearest unit puts into a wrong class, float[]. Both are of before the update. The key is unused.

    Raises:
      ValueError: bad reduction; at the call, shapes that do not fit or more than one array.
      TypeError: labels are not integers; at the call, targets are not integers, inputs or weights not floating point.

    Source: Kohonen, "The self-organizing map", 1990, section V (LVQ1).
    """
    unit_labels = np.asarray(unit_labels)
    checks.rank(1, unit_labels=unit_labels)
    checks.integer(unit_labels=unit_labels)
    checks.one_of(("sum", "mean"), reduction=reduction)

    def fn(params, model_state, batch, key):
        del key
        x, y = batch[inputs], batch[targets]
        weights = _unit_weights(params, x)
        checks.shape((len(weights),), unit_labels=unit_labels)
        checks.shape((len(x),), targets=y)
        checks.integer(targets=y)
        squares = _squared_distances(x, weights)
        winners = jnp.argmin(squares, axis=1)
        right = jnp.asarray(unit_labels)[winners] == y
        wins = jax.nn.one_hot(winners, len(weights), dtype=squares.dtype)
        shares = wins * jnp.where(right, 1, -1)[:, None]
        loss, grads = _pulled(params, x, shares, squares, 1 if reduction == "sum" else 1 / len(x))
        return (loss, (model_state, {"errors": jnp.sum(~right, dtype=jnp.float32)})), grads

    return fn
