"""One finished step on many devices and many machines.

`shard_step` is the road to take: the program is written for the whole batch and XLA inserts the
communication. `pmap_step` runs code that was written for one device's share, with its averages said aloud.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl import checks
from jaxdl.types import Metrics, Step

StateSpec = P | Callable[[Any], P]
SPLIT = P("data")
REPLICATED = P()


def initialize_distributed(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    local_device_ids: Sequence[int] | None = None,
) -> None:
    """Joins this process to the others of one training run, through JAX's own coordinator.

    Call it before the first use of a device, in every process alike. Under SLURM, Open MPI, Kubernetes and on
    Cloud TPU pods JAX finds all arguments itself. Without arguments outside of those, the process is alone
    and nothing happens, so one script serves a laptop and a pod. A second call does nothing.

    Args:
      coordinator_address: "host:port" of process 0; the environment's JAX_COORDINATOR_ADDRESS where None.
      num_processes: how many processes join.
      process_id: rank of this one, in [0, num_processes).
      local_device_ids: which of the machine's devices this process owns; all where None.

    Raises:
      ValueError: some arguments are given or found, but not all that are needed.
      RuntimeError: a device was used already, so it is too late to join.
    """
    if jax.distributed.is_initialized():
        return
    arguments = (coordinator_address, num_processes, process_id, local_device_ids)
    try:
        jax.distributed.initialize(*arguments)
    except ValueError as error:
        # Only a missing address means that there is no cluster. Anything else is a cluster set up wrongly,
        # where going on alone would train the same net once per process.
        if any(a is not None for a in arguments) or "coordinator_address" not in str(error):
            raise


def data_mesh(num_devices: int | None = None, axis_name: str = "data") -> Mesh:
    """A row of devices, over which the examples of a batch are split.

    Args:
      num_devices: how many of `jax.devices()`, those of all processes; None takes all.
      axis_name: name of the one axis.

    Returns:
      A mesh of shape [num_devices]. Its axis is of type Auto: the compiler chooses the layout inside the
      program. (Under `jax.make_mesh`'s default, Explicit, Linen's Dropout does not trace.)

    Raises:
      ValueError: there are fewer devices, or a process would have none.
    """
    devices = jax.devices()
    count = len(devices) if num_devices is None else num_devices
    checks.at_least(1, num_devices=count)
    if count > len(devices):
        raise ValueError(
            f"num_devices must be at most {len(devices)}, the devices of platform {devices[0].platform!r}, "
            f"got {count}. To simulate {count} devices on a CPU, set the environment variables "
            f"JAX_PLATFORMS=cpu and JAX_NUM_CPU_DEVICES={count} before Python starts"
        )
    if count < len(devices) and jax.process_count() > 1:
        raise ValueError(
            f"num_devices must be all {len(devices)} devices where {jax.process_count()} processes run, "
            f"got {count}"
        )
    return jax.make_mesh((count,), (axis_name,), axis_types=(AxisType.Auto,), devices=devices[:count])


def largest_axis_spec(mesh: Mesh, axis_name: str = "data", min_size: int = 2**12) -> Callable[[Any], P]:
    """State placement in which each device keeps one part of every large array (FSDP, ZeRO stage 3).

    An array is split along its largest axis that the device count divides; the first of several. Parameters
    and the optimizer's moments have equal shapes, so they are split alike, and each device holds about 1/D of
    both. XLA gathers a layer's parameters where the layer needs them.

    Args:
      mesh: the devices.
      axis_name: the mesh axis to split over.
      min_size: arrays with fewer elements are replicated, as are those with no axis that divides.

    Returns:
      `leaf -> PartitionSpec`, the `state_spec` of `shard_step`.

    Source: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020,
      section 5.
    """
    _check_axes(mesh, P(axis_name), "axis_name")
    count = mesh.shape[axis_name]

    def spec(leaf: Any) -> P:
        shape = np.shape(leaf)
        axes = [i for i, size in enumerate(shape) if size > 0 and size % count == 0]
        if not axes or math.prod(shape) < min_size:
            return P()
        largest = max(axes, key=lambda i: shape[i])
        return P(*(axis_name if i == largest else None for i in range(largest + 1)))

    return spec


class ShardedStep:
    """A compiled step on a mesh; obeys the step protocol. Made by `shard_step`.

    Attributes:
      mesh: the devices.
      batch_sharding: where a batch lives, such as `prefetch_to_device` asks for.
    """

    def __init__(self, step: Step, mesh: Mesh, batch_spec: P, state_spec: StateSpec):
        _check_axes(mesh, batch_spec, "batch_spec")
        if not callable(state_spec):
            _check_axes(mesh, state_spec, "state_spec")
        self.mesh = mesh
        self.batch_sharding = NamedSharding(mesh, batch_spec)
        self._step = step
        self._state_spec = state_spec
        self._plans: dict[Any, _Plan] = {}
        self._last: _Plan | None = None

    def _plan(self, leaves: list[Any], treedef: Any) -> "_Plan":
        """Where the leaves of such a state live, and the step compiled for that. Made once per structure."""
        shapes = tuple(np.shape(leaf) for leaf in leaves)
        if (treedef, shapes) not in self._plans:
            spec = self._state_spec
            shardings = [NamedSharding(self.mesh, spec(x) if callable(spec) else spec) for x in leaves]
            state = jax.tree.unflatten(treedef, shardings)
            compiled = jax.jit(
                self._step,
                in_shardings=(state, self.batch_sharding),
                out_shardings=(state, NamedSharding(self.mesh, P())),
                donate_argnums=0,
            )
            self._plans[treedef, shapes] = _Plan(treedef, shardings, compiled)
        return self._plans[treedef, shapes]

    def place(self, state: Any) -> Any:
        """Puts a state, fresh or restored, where the step wants it; leaves that are there stay.

        The result may share memory with `state`, and the step donates it.
        """
        leaves, treedef = jax.tree.flatten(state)
        return jax.tree.unflatten(treedef, _placed(leaves, self._plan(leaves, treedef).shardings))

    def place_batch(self, batch: Any) -> Any:
        """Splits a batch over the devices; with several processes, joins their shares to one global batch.

        Raises:
          ValueError: the devices cannot share the batch equally.
        """
        return jax.device_put(self._global(batch), self.batch_sharding)

    def _global(self, batch: Any) -> Any:
        """The batch as the compiled step takes it: NumPy arrays of one process travel with the call."""
        leaves = jax.tree.leaves(batch)
        local = jax.process_count() > 1 and any(getattr(x, "is_fully_addressable", True) for x in leaves)
        _check_split(self.mesh.local_mesh if local else self.mesh, self.batch_sharding.spec, batch)
        return jax.tree.map(self._joined if local else self._moved, batch)

    def _joined(self, leaf: Any) -> jax.Array:
        return jax.make_array_from_process_local_data(self.batch_sharding, np.asarray(leaf))

    def _moved(self, leaf: Any) -> Any:
        # The compiled step takes NumPy arrays, but refuses a device array that was put elsewhere.
        there = getattr(leaf, "sharding", self.batch_sharding) == self.batch_sharding
        return leaf if there else jax.device_put(leaf, self.batch_sharding)

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Metrics]:
        leaves, treedef = jax.tree.flatten(state)
        plan = self._last
        if plan is None or treedef != plan.treedef or not _are_placed(leaves, plan.shardings):
            plan = self._last = self._plan(leaves, treedef)
            state = jax.tree.unflatten(treedef, _placed(leaves, plan.shardings))
        return plan.compiled(state, self._global(batch))


class _Plan(NamedTuple):
    treedef: Any
    shardings: list[NamedSharding]
    compiled: Callable[..., Any]


def shard_step(
    step: Step, mesh: Mesh, batch_spec: P = SPLIT, state_spec: StateSpec = REPLICATED
) -> ShardedStep:
    """Compiles a step for a mesh: one program over the whole batch, its data split over the devices.

    A mean in the step is the mean over the whole batch and batch norm sees every example, so any number of
    devices computes what one device computes, up to the order of sums. Nothing in the step names a device.

    The state is donated: the caller's old state is gone after the call. The first call places the state.
    NumPy batches and device arrays both work. With several processes each passes its own equal share of the
    batch.

    Args:
      step: `(state, batch) -> (state, metrics)`, whose state keeps its structure and shapes.
      mesh: the devices, such as `data_mesh()`.
      batch_spec: how every leaf of the batch is split; `P("data")` splits the leading axis, `P(None, "data")`
        the second, for steps that take stacked batches.
      state_spec: how the state is split: one PartitionSpec for all leaves (`P()` replicates it), or
        `leaf -> PartitionSpec`, such as `largest_axis_spec(mesh)`.

    Returns:
      The step, with metrics replicated. `.place(state)` puts a state in place ahead of the first call, for
      example a restored one, and `.place_batch(batch)` a batch, for example while the step before still runs.

    Raises:
      ValueError: a spec names an axis that the mesh lacks; when called, the devices cannot share a batch
        equally.
    """
    return ShardedStep(step, mesh, batch_spec, state_spec)


def pmap_step(step: Step, axis_name: str = "data", devices: Sequence[jax.Device] | None = None) -> Step:
    """Compiles a step for one device's share of the batch and runs it on all, after the manner of `jax.pmap`.

    The step must average its gradients itself: `make_update(averaged_over(grad_fn, "data"), tx)`. Each device
    normalises with its own share's batch statistics, unlike under `shard_step`. State in and out carry no
    device axis; the state is donated.

    Args:
      step: `(state, batch) -> (state, metrics)` that uses `axis_name`.
      axis_name: name of the mapped axis.
      devices: which; all where None.

    Returns:
      `(state, batch) -> (state, metrics)` with batch leaves [B, ...], where D devices divide B. With several
      processes each passes its own share.

    Raises:
      ValueError: when called, the devices cannot share a batch equally.
    """
    mapped = jax.pmap(
        step, axis_name=axis_name, in_axes=(None, 0), out_axes=(None, None), devices=devices, donate_argnums=0
    )
    local = jax.local_devices()
    owned = local if devices is None else [device for device in devices if device in local]
    mesh = Mesh(np.asarray(owned), (axis_name,))
    everywhere = NamedSharding(mesh, P())

    def mapped_step(state: Any, batch: Any) -> tuple[Any, Metrics]:
        _check_split(mesh, P(axis_name), batch)
        count = len(owned)
        batch = jax.tree.map(lambda x: x.reshape((count, x.shape[0] // count, *x.shape[1:])), batch)
        # A state that lies elsewhere would be traced apart from the one that comes out.
        leaves, treedef = jax.tree.flatten(state)
        state = jax.tree.unflatten(treedef, _placed(leaves, [everywhere] * len(leaves)))
        return mapped(state, batch)

    return mapped_step


def _are_placed(leaves: list[Any], shardings: list[NamedSharding]) -> bool:
    return all(getattr(leaf, "sharding", None) == sharding for leaf, sharding in zip(leaves, shardings))


def _placed(leaves: list[Any], shardings: list[NamedSharding]) -> list[Any]:
    if _are_placed(leaves, shardings):
        return leaves
    if jax.process_count() == 1:
        return jax.device_put(leaves, shardings)
    return [_placed_globally(leaf, sharding) for leaf, sharding in zip(leaves, shardings)]


def _placed_globally(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """One value that every process holds, as one global array; JAX raises where the processes disagree."""
    if isinstance(leaf, jax.Array):
        if not leaf.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = _placed_globally(jax.random.key_data(leaf), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.device_put(np.asarray(leaf), sharding)


def _axis_names(entry: Any) -> tuple[str, ...]:
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)


def _check_axes(mesh: Mesh, spec: P, name: str) -> None:
    unknown = {axis for entry in spec for axis in _axis_names(entry)} - set(mesh.axis_names)
    if unknown:
        raise ValueError(
            f"{name} must name axes of the mesh, {mesh.axis_names}, got {', '.join(sorted(unknown))}"
        )


def _check_split(mesh: Mesh, spec: P, batch: Any) -> None:
    """Raises ValueError unless the mesh's devices can share the batch equally."""
    counts = [
        (axis, math.prod(mesh.shape[name] for name in _axis_names(entry)))
        for axis, entry in enumerate(spec)
        if entry is not None
    ]
    for i, leaf in enumerate(jax.tree.leaves(batch)):
        shape = np.shape(leaf)
        for axis, count in counts:
            if len(shape) <= axis or shape[axis] % count:
                path, _ = jax.tree_util.tree_leaves_with_path(batch)[i]
                name = f"batch{jax.tree_util.keystr(path)}"
                if len(shape) <= axis:
                    raise ValueError(
                        f"{name} must have an axis {axis} to split over {count} devices, got shape {shape}"
                    )
                raise ValueError(
                    f"{name} has size {shape[axis]} on axis {axis}, which {count} devices cannot share "
                    f"equally: choose a batch size that is a multiple of {count}, or fewer devices"
                )
