"""What a metric is: a function of whole arrays that can also be fed in pieces."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.types import Array

State = Any  # pytree of arrays


class Mean(NamedTuple):
    """A sum and how many terms it has."""

    total: Array  # [], float32 or int32
    count: Array  # int32[]

    def value(self) -> Array:
        """total / count, float32[]; NaN when nothing was counted."""
        return self.total.astype(jnp.float32) / self.count.astype(jnp.float32)


def add(a: State, b: State) -> State:
    """Leaf by leaf: the merge of states that are sums."""
    return jax.tree.map(jnp.add, a, b)


class Parts(NamedTuple):
    """The four functions of a metric whose settings are known."""

    start: Callable[[], State]
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
        state = metric.init()
        for batch in batches:
            state = metric.update(state, batch["logits"], batch["label"], where=batch["mask"])
        metric.compute(state)

    The result is the same up to the rounding of sums. `merge` joins the states of two processes. A bound
    metric is hashable and equal to one bound alike, so it can be a static argument.

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

    def init(self) -> State:
        """The state before any data."""
        return self.parts.start()

    def measure(self, *arrays: Any, where: Array | None = None) -> State:
        """The state of these arrays alone."""
        return self.parts.measure(*arrays, where)

    def update(self, state: State, *arrays: Any, where: Array | None = None) -> State:
        """The state after these arrays too."""
        return self.merge(state, self.measure(*arrays, where=where))

    def merge(self, a: State, b: State) -> State:
        """The state after the data of both."""
        return self.parts.merge(a, b)

    def compute(self, state: State) -> Any:
        """The metric of all data so far."""
        return self.parts.finish(state)

    def __call__(self, *arrays: Any, where: Array | None = None, **settings: Any) -> Any:
        """The metric of these arrays."""
        metric = self.bind(**settings) if settings else self
        return metric.compute(metric.measure(*arrays, where=where))
