"""What a metric is: a function of whole arrays that can also be fed in pieces."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.losses.masking import check_where
from jaxdl.types import Array

State = Any  # pytree of arrays


class Mean(NamedTuple):
    """A sum and how many terms it has."""

    total: Array  # [], float32 or int32
    count: Array  # int32[]

    def value(self) -> Array:
        """total / count, float32[]; NaN when nothing was counted."""
        return self.total.astype(jnp.float32) / self.count.astype(jnp.float32)


def no_hits() -> Mean:
    """No term of a mean of counts."""
    return Mean(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def no_values() -> Mean:
    """No term of a mean of real numbers."""
    return Mean(jnp.zeros(()), jnp.zeros((), jnp.int32))


def count(x: Array) -> Array:
    """How many are True, int32[]."""
    return jnp.sum(x, dtype=jnp.int32)


def counted(shape: tuple[int, ...], where: Array | None) -> Array:
    """Which elements count, as a bool array of the shape: the checked mask, or all."""
    if where is None:
        return jnp.ones(shape, bool)
    check_where(where, shape)
    return jnp.asarray(where)


def mean_of(values: Array, where: Array | None) -> Mean:
    """The mean of the values that count, as a state; what is masked may be NaN."""
    chosen = counted(values.shape, where)
    return Mean(jnp.sum(values, where=chosen), count(chosen))


def needed(metric: str, **setting: int | None) -> int:
    """The one setting, without which the shape of the empty state is not known; ValueError when it is None."""
    ((name, value),) = setting.items()
    if value is None:
        raise ValueError(f"{name} must be bound to stream, as in metrics.{metric}.bind({name}=10)")
    return value


def add(a: State, b: State) -> State:
    """Leaf by leaf: the merge of states that are sums."""
    return jax.tree.map(jnp.add, a, b)


class Parts(NamedTuple):
    """The four functions of a metric whose settings are known."""

    zero: Callable[[], State]
    measure: Callable[..., State]  # (*arrays, where) -> the state of these arrays alone
    finish: Callable[[State], Any]
    merge: Callable[[State, State], State] = add


@dataclasses.dataclass(frozen=True, repr=False)
class Metric:
    """A metric: call it on whole arrays, or stream them through a state.

    On whole arrays:

        metrics.accuracy(logits, labels)
        metrics.top_k_accuracy(logits, labels, k=3)

    In pieces, of any lengths, in any order, masked or not; `update` can be jitted:

        metric = metrics.top_k_accuracy.bind(k=3)
        state = metric.zero
        for batch in batches:
            state = metric.update(state, batch["logits"], batch["label"], where=batch["mask"])
        metric.compute(state)

    The result is the same up to the rounding of sums. `merge` joins the states of two processes, `merge_over`
    those of all devices inside `shard_map` or `pmap`; in a program over global arrays nothing is to be done. A
    bound metric is hashable and equal to one bound alike, so it can be a static argument.

    `where` is bool of the labels' or targets' shape; what it masks is as if it were not there.
    """

    define: Callable[..., Parts]
    settings: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        for name in ("__doc__", "__name__", "__qualname__", "__module__"):
            object.__setattr__(self, name, getattr(self.define, name))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings)
        return f"metrics.{self.define.__name__}" + (f".bind({settings})" if settings else "")

    @functools.cached_property
    def parts(self) -> Parts:
        """The functions under these settings; TypeError when one is missing or unknown."""
        return self.define(**dict(self.settings))

    def bind(self, **settings: Any) -> "Metric":
        """The metric with these settings. They must be hashable."""
        bound = Metric(self.define, tuple(sorted({**dict(self.settings), **settings}.items())))
        bound.parts  # noqa: B018  wrong settings fail here, not at the first batch
        return bound

    @property
    def zero(self) -> State:
        """The state before any data: new arrays at each access, so that one may be donated."""
        return self.parts.zero()

    def measure(self, *arrays: Any, where: Array | None = None) -> State:
        """The state of these arrays alone."""
        leaves = jax.tree.leaves(arrays)
        if leaves and all(isinstance(x, (jax.Array, np.ndarray)) for x in leaves):
            return _measured(self, arrays, where)
        return self.parts.measure(*arrays, where)  # text, on the host

    def update(self, state: State, *arrays: Any, where: Array | None = None) -> State:
        """The state after these arrays too."""
        return self.merge(state, self.measure(*arrays, where=where))

    def merge(self, a: State, b: State) -> State:
        """The state after the data of both."""
        return self.parts.merge(a, b)

    def merge_over(self, state: State, axis_name: str) -> State:
        """The state after the data of all devices of a mapped axis, the same on each."""
        if self.parts.merge is add:
            return jax.lax.psum(state, axis_name)
        # A sum of arrays that are 0 but for the device's own place: unlike `all_gather`, it is known to be the
        # same everywhere, as an unsharded output of `shard_map` must be.
        place, size = jax.lax.axis_index(axis_name), jax.lax.axis_size(axis_name)

        def gathered(x: Array) -> Array:
            numbers = x.astype(jnp.int32) if x.dtype == bool else x
            rows = jnp.zeros((size, *x.shape), numbers.dtype).at[place].set(numbers)
            return jax.lax.psum(rows, axis_name).astype(x.dtype)

        states = jax.tree.map(gathered, state)
        each = [jax.tree.map(operator.itemgetter(i), states) for i in range(size)]
        return functools.reduce(self.merge, each)

    def compute(self, state: State) -> Any:
        """The metric of all data so far."""
        return self.parts.finish(state)

    def __call__(self, *arrays: Any, where: Array | None = None, **settings: Any) -> Any:
        """The metric of these arrays."""
        metric = self.bind(**settings) if settings else self
        return metric.compute(metric.measure(*arrays, where=where))


@functools.partial(jax.jit, static_argnums=0)
def _measured(metric: Metric, arrays: tuple[Any, ...], where: Any) -> State:
    # Outside a step a metric is one program too, not one for each of its operations.
    return metric.parts.measure(*arrays, where)
