"""Measuring and applying a trained model, exact on any number of examples.

Shapes: B rows of a batch, N rows of all batches, K classes, M members of an ensemble.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl import checks
from jaxdl.types import Array, ModelState, Params

Batch = Mapping[str, Any]
# (params, model_state, batch) -> logits, or whatever the network returns
ApplyFn = Callable[[Params, ModelState, Batch], Any]
# (params, model_state, batch) -> {name: (sum, count)}
MetricsFn = Callable[[Params, ModelState, Batch], Mapping[str, tuple[Array, Array]]]


@struct.dataclass
class Prediction:
    """What a classifier says of N examples.

    Attributes:
      labels: the most probable class, int32[N]; the first of several.
      probabilities: float32[N, K].
      logits: float32[N, K]; their softmax gives the probabilities.
    """

    labels: Any
    probabilities: Any
    logits: Any


def class_probabilities(logits: Array) -> Prediction:
    """Labels and softmax probabilities of logits: p_k = exp(z_k) / sum_j exp(z_j).

    Args:
      logits: float[..., K], K at least 2.

    Returns:
      A prediction with leading axes as in `logits`.

    Raises:
      ValueError: there is no axis of examples, or only one class.
    """
    if logits.ndim < 2 or logits.shape[-1] < 2:
        raise ValueError(
            f"logits must have shape [N, ..., K] with at least 2 classes, got {logits.shape}; decode=None "
            "returns outputs that are no logits as they are"
        )
    logits = logits.astype(jnp.float32)
    return Prediction(jnp.argmax(logits, axis=-1).astype(jnp.int32), jax.nn.softmax(logits), logits)


def evaluate(
    metrics_fn: MetricsFn,
    params: Params,
    model_state: ModelState,
    batches: Iterable[Batch],
    *,
    mesh: Mesh | None = None,
) -> dict[str, float]:
    """Means over all examples: sum_b sum(b) / sum_b count(b), divided once, at the end.

    Every batch is padded to the size of the first and gets a bool[B] entry "mask", False on padded rows, so
    one compiled program serves all and a last partial batch counts by its rows. A "mask" that a batch has
    already is kept, padded with False. Sums are added in float64 on the host. Nothing is compiled again in a
    later call with the same `metrics_fn`, parameter shapes and batch size.

    With several processes each passes its own batches, in any number, and all get the metrics over the
    examples of all processes.

    Args:
      metrics_fn: `(params, model_state, batch) -> {name: (sum, count)}`, scalars over the rows where
        `batch["mask"]` holds. Keep one function rather than making it anew for each call.
      params: parameters, on the host, one device or many.
      model_state: batch statistics and the like.
      batches: dicts of arrays [B, ...]; the first is the largest.
      mesh: devices to split each batch over, by the mesh's first axis; None takes those that hold `params`.

    Returns:
      `{name: mean}`; NaN where the count is 0 or the data are NaN.

    Raises:
      ValueError: no batches; a batch larger than the first; a partial batch while `metrics_fn` does not read
        the mask.
    """
    params, model_state, mesh = _local(params, model_state, mesh)
    found = []
    for batch, rows in _padded(batches, mesh):
        if rows < batch["mask"].shape[0] and not _reads_mask(metrics_fn, params, model_state, batch):
            raise ValueError(
                f'metrics_fn must read batch["mask"], since a batch of {rows} rows was padded to '
                f'{batch["mask"].shape[0]}: make it with mask="mask"'
            )
        found.append(_measure(metrics_fn, params, model_state, batch))
    found = jax.device_get(found)
    _check_not_empty(len(found))
    names = sorted(found[0])
    for name, (total, count) in found[0].items():
        checks.shape((), **{f"sum of metric {name!r}": total, f"count of metric {name!r}": count})
    with np.errstate(invalid="ignore"):  # infinities of both signs
        totals = np.asarray([[metrics[name] for name in names] for metrics in found], np.float64).sum(axis=0)
    if jax.process_count() > 1:
        # As bits: without 64-bit types JAX would carry the sums as float32.
        bits = np.asarray(multihost_utils.process_allgather(totals.view(np.uint32)))
        totals = bits.view(np.float64).sum(axis=0)
    return {name: float(total / count) if count else math.nan for name, (total, count) in zip(names, totals)}


def predict(
    apply_fn: ApplyFn,
    params: Params,
    model_state: ModelState,
    batches: Iterable[Batch],
    *,
    decode: Callable[[Any], Any] | None = class_probabilities,
) -> Any:
    """What the network says of every example, in order, as host arrays of exactly N rows.

    Batches are padded as in `evaluate`, and the padded rows are dropped again.

    Args:
      apply_fn: `(params, model_state, batch) -> logits`, or any tree of arrays [B, ...].
      params: parameters.
      model_state: batch statistics and the like.
      batches: dicts of arrays [B, ...]; the first is the largest.
      decode: from one batch of outputs to what is returned of it, such as `class_probabilities`; None returns
        the outputs themselves, for regression.

    Returns:
      A `Prediction` with NumPy leaves [N, ...], or the tree that `decode` or `apply_fn` returns. With several
      processes: of this process's own batches.

    Raises:
      ValueError: no batches; a batch larger than the first.
    """
    params, model_state, mesh = _local(params, model_state, None)
    return _collected(functools.partial(_apply, apply_fn, decode, params, model_state), batches, mesh)


def ensemble_predict(
    apply_fn: ApplyFn,
    members: Params,
    model_states: ModelState,
    batches: Iterable[Batch],
    *,
    vote: bool = False,
) -> Prediction:
    """What M networks of one architecture say together.

    mean:  p = (1/M) sum_m softmax(z_m)
    vote:  p_k = (1/M) |{m : argmax z_m = k}|, the share of members that choose class k

    Args:
      apply_fn: `(params, model_state, batch) -> logits [B, K]` of one member.
      members: stacked parameters, leaves [M, ...], for example of a population trained under `jax.vmap`.
      model_states: stacked model states, leaves [M, ...]; `{}` where there are none.
      batches: dicts of arrays [B, ...]; the first is the largest.
      vote: count votes instead of averaging probabilities; a tie goes to the first class.

    Returns:
      A `Prediction` on the host whose logits are log p; -inf for a class without a vote.

    Raises:
      ValueError: no batches; a batch larger than the first; leaves that disagree in M.

    Source: Breiman, "Bagging Predictors", 1996, section 1 (vote) and section 6.1 (averaged probabilities).
    """
    leaves = jax.tree.leaves((members, model_states))
    counts = {np.shape(leaf)[:1] for leaf in leaves}
    if len(counts) != 1 or counts == {()}:
        raise ValueError(f"members and model_states must share their leading axis M, got {sorted(counts)}")
    members, model_states, mesh = _local(members, model_states, None)
    return _collected(functools.partial(_ensemble, apply_fn, vote, members, model_states), batches, mesh)


# Compiled once per function and shapes: the caller's function is a static argument, known by its identity.


@functools.partial(jax.jit, static_argnums=0)
def _measure(metrics_fn, params, model_state, batch):
    return dict(metrics_fn(params, model_state, batch))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(apply_fn, decode, params, model_state, batch):
    outputs = apply_fn(params, model_state, batch)
    return outputs if decode is None else decode(outputs)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _ensemble(apply_fn, vote, members, model_states, batch):
    logits = jax.vmap(apply_fn, in_axes=(0, 0, None))(members, model_states, batch)
    checks.rank(3, **{"logits of all members": logits})
    each = class_probabilities(logits)
    if vote:
        votes = jax.nn.one_hot(each.labels, logits.shape[-1], dtype=jnp.float32)
        probabilities = votes.mean(axis=0)
        together = jnp.log(probabilities)
    else:
        log_probabilities = jax.nn.log_softmax(each.logits)
        together = jax.nn.logsumexp(log_probabilities, axis=0) - math.log(logits.shape[0])
        probabilities = jnp.exp(together)
    return Prediction(jnp.argmax(probabilities, axis=-1).astype(jnp.int32), probabilities, together)


def _reads_mask(metrics_fn, params, model_state, batch) -> bool:
    """Whether the mask enters the computation at all, seen in the program that is compiled anyway."""
    jaxpr = _measure.trace(metrics_fn, params, model_state, batch).jaxpr.jaxpr
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path((params, model_state, batch))[0]]
    mask = jaxpr.invars[[jax.tree_util.keystr(path) for path in paths].index("[2]['mask']")]
    return any(mask is variable for equation in jaxpr.eqns for variable in equation.invars)


def _collected(function: Callable[[Batch], Any], batches: Iterable[Batch], mesh: Mesh | None) -> Any:
    """Outputs of all batches on the host, without the padded rows."""
    outputs, sizes = [], []
    for batch, rows in _padded(batches, mesh):
        outputs.append(function(batch))
        sizes.append(rows)
        if len(outputs) > 1:
            # One batch behind: the device works on the next while this one is copied.
            outputs[-2] = jax.device_get(outputs[-2])
    _check_not_empty(len(outputs))
    outputs = jax.device_get(outputs)
    return jax.tree.map(lambda *xs: np.concatenate([x[:n] for x, n in zip(xs, sizes)]), *outputs)


def _padded(batches: Iterable[Batch], mesh: Mesh | None) -> Iterator[tuple[dict[str, Any], int]]:
    """Batches of one size with a mask, and how many of their rows are real."""
    sharding = NamedSharding(mesh, P(mesh.axis_names[0])) if mesh is not None else None
    multiple = mesh.shape[mesh.axis_names[0]] if mesh is not None else 1
    size = None
    for i, batch in enumerate(batches):
        leaves = jax.tree_util.tree_leaves_with_path(batch)
        if not leaves or any(np.ndim(x) < 1 for _, x in leaves):
            raise ValueError(f"batch {i} must hold arrays [B, ...], got {jax.tree.map(np.shape, batch)}")
        checks.same_leading(**{f"batch{jax.tree_util.keystr(path)}": x for path, x in leaves})
        rows = leaves[0][1].shape[0]
        mask = batch.get("mask", np.ones(rows, np.bool_))
        checks.boolean(mask=mask)
        if size is None:
            size = max(-(-rows // multiple), 1) * multiple
        if rows > size:
            raise ValueError(f"batch {i} must have at most the first batch's {size} rows, got {rows}")
        padded = {name: _padded_rows(x, size) for name, x in batch.items() if name != "mask"}
        xp = jnp if isinstance(mask, jax.Array) else np
        padded["mask"] = xp.concatenate([mask, xp.zeros((size - rows, *mask.shape[1:]), np.bool_)])
        yield (padded if sharding is None else jax.device_put(padded, sharding)), rows


def _padded_rows(tree: Any, size: int) -> Any:
    def pad(x):
        missing = size - x.shape[0]
        if missing == 0:
            return x
        xp = jnp if isinstance(x, jax.Array) else np
        # Copies of a real row keep the network's arithmetic as harmless as the row itself; zeros may not be.
        last = x[-1:] if x.shape[0] else xp.zeros((1, *x.shape[1:]), x.dtype)
        return xp.concatenate([x, xp.repeat(last, missing, axis=0)])

    return jax.tree.map(pad, tree)


def _local(
    params: Params, model_state: ModelState, mesh: Mesh | None
) -> tuple[Params, ModelState, Mesh | None]:
    """The variables and the devices that this process computes with.

    Processes compute on their own and only add up at the end, so they may have different numbers of batches.
    """
    if mesh is None:
        shardings = [x.sharding for x in jax.tree.leaves(params) if isinstance(x, jax.Array)]
        meshes = (s.mesh for s in shardings if isinstance(s, NamedSharding) and s.num_devices > 1)
        mesh = next((held for held in meshes if isinstance(held, Mesh)), None)
    params, model_state = jax.tree.map(_addressable, (params, model_state))
    if mesh is None:
        return params, model_state, None
    mesh = mesh.local_mesh
    devices = set(mesh.devices.flat)

    def put(x):
        there = isinstance(x, jax.Array) and x.sharding.device_set == devices
        return x if there else jax.device_put(x, NamedSharding(mesh, P()))

    return *jax.tree.map(put, (params, model_state)), mesh


def _addressable(x: Any) -> Any:
    """An array that lives on several processes, as one that lives on this one."""
    if not isinstance(x, jax.Array) or x.is_fully_addressable:
        return x
    if x.is_fully_replicated:
        return x.addressable_data(0)
    return multihost_utils.process_allgather(x, tiled=True)


def _check_not_empty(count: int) -> None:
    """Raises on every process when one has nothing: one that raised alone would leave the others waiting."""
    counts = np.asarray([count])
    if jax.process_count() > 1:
        counts = np.asarray(multihost_utils.process_allgather(counts)).reshape(-1)
    if not counts.all():
        where = f" on process {int(np.argmin(counts))}" if len(counts) > 1 else ""
        raise ValueError(f"batches must hold at least one batch, got none{where}")
