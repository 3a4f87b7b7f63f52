"""What a run does between steps. A hook is any callable `hook(step, state, metrics) -> None | Stop`.

`metrics` is the step's dict of device arrays; a hook that adds to it (an evaluation) is read by the hooks after it
(early stopping) and by the history. A hook that needs a memory across an interruption has `state()` and
`restore(state)`, which `fit` keeps in its checkpoints.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import checks

Hook = Callable[[int, Any, dict[str, Any]], "Stop | None"]


class Stop(NamedTuple):
    """A hook's wish to end training.

    Attributes:
      reason: one sentence for the history.
      state: what `fit` returns in place of the last state, or None for the last state.
    """

    reason: str
    state: Any = None


def make_evaluation(
    evaluate: Callable[[Any], Mapping[str, float]], every: int, prefix: str = "validation/"
) -> Hook:
    """Returns a hook that adds `evaluate(state)` to the metrics every so many steps.

    Args:
      evaluate: from the state to named numbers, for example a closure over `train.evaluate` and a held-out set.
      every: steps between evaluations, at least 1.
      prefix: put before each name.
    """
    checks.at_least(1, every=every)

    def hook(step: int, state: Any, metrics: dict[str, Any]) -> None:
        if step % every == 0:
            metrics.update({prefix + name: value for name, value in evaluate(state).items()})

    return hook


def _sign(mode: str) -> float:
    checks.one_of(("min", "max"), mode=mode)
    return 1.0 if mode == "min" else -1.0


class EarlyStopping:
    """Stops when a metric has not improved for `patience` evaluations, and gives back the best state.

    The metric counts as better when it is below (mode "min") or above ("max") the best so far by more than
    `min_delta`. With the best value at evaluation 60 and patience 10, training stops at evaluation 70.

    Args:
      monitor: a metric's name, such as "validation/loss". Steps that do not report it are not counted.
      patience: evaluations without improvement that are endured, at least 1.
      mode: "min" for losses, "max" for accuracies.
      min_delta: improvement that counts, in the metric's unit, not negative.
      restore_best: return the state of the best evaluation, not the last one; costs one copy of the state.

    Source: Prechelt, "Early Stopping - But When?", 1998, the criterion UP_s counted over evaluations.
    """

    def __init__(
        self,
        monitor: str = "validation/loss",
        *,
        patience: int = 10,
        mode: str = "min",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ):
        checks.at_least(1, patience=patience)
        checks.at_least(0, min_delta=min_delta)
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.restore_best, self._direction = restore_best, _sign(mode)
        self.best = math.inf * self._direction
        self.best_step = 0
        self.evaluations_since_best = 0
        self._best_leaves: list[Any] | None = None

    def __call__(self, step: int, state: Any, metrics: dict[str, Any]) -> Stop | None:
        if self.monitor not in metrics:
            return None
        value = float(metrics[self.monitor])
        if self._direction * (self.best - value) > self.min_delta or math.isinf(self.best):
            self.best, self.best_step, self.evaluations_since_best = value, step, 0
            if self.restore_best:  # a copy: the next step may donate the buffers
                self._best_leaves = [jnp.copy(leaf) for leaf in jax.tree.leaves(state)]
            return None
        self.evaluations_since_best += 1
        if self.evaluations_since_best < self.patience:
            return None
        reason = f"{self.monitor} has not improved since step {self.best_step} ({self.best:.6g})"
        return Stop(reason, self.best_state(state))

    def best_state(self, like: Any) -> Any:
        """The best state so far, in the structure of `like`; None when none is kept."""
        if self._best_leaves is None:
            return None
        leaves, structure = jax.tree.flatten(like)
        typed = [
            jax.random.wrap_key_data(best, impl=jax.random.key_impl(leaf))
            if _is_key(leaf) and not _is_key(best)
            else best
            for leaf, best in zip(leaves, self._best_leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, [jnp.copy(leaf) for leaf in typed])

    def state(self) -> dict[str, Any]:
        """The best value, its step, the count since, and the best state's arrays."""
        leaves = self._best_leaves
        arrays = None if leaves is None else [jax.random.key_data(x) if _is_key(x) else x for x in leaves]
        return {
            "best": self.best,
            "best_step": self.best_step,
            "evaluations_since_best": self.evaluations_since_best,
            "best_leaves": arrays,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from `state()`."""
        self.best, self.best_step = state["best"], state["best_step"]
        self.evaluations_since_best = state["evaluations_since_best"]
        leaves = state["best_leaves"]
        self._best_leaves = None if leaves is None else [jnp.asarray(leaf) for leaf in leaves]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class StoppingCriterion:
    """Stops on a low error, a cost that has come to rest, or a number of iterations: whichever is met first.

    Args:
      error_limit: stop when the metric is at or below this.
      cost_change: stop when |metric - its previous value| is at or below this.
      iterations: stop after this many steps.
      monitor: the metric watched.
      every: steps between looks. Each look waits for the device, so 1 is for small problems.

    Raises:
      ValueError: no criterion is given, or one has an impossible value.
    """

    def __init__(
        self,
        *,
        error_limit: float | None = None,
        cost_change: float | None = None,
        iterations: int | None = None,
        monitor: str = "loss",
        every: int = 1,
    ):
        if error_limit is None and cost_change is None and iterations is None:
            raise ValueError("one of error_limit, cost_change and iterations must be given, got none")
        checks.at_least(1, every=every)
        if iterations is not None:
            checks.at_least(1, iterations=iterations)
        if cost_change is not None:
            checks.at_least(0, cost_change=cost_change)
        self.error_limit, self.cost_change, self.iterations = error_limit, cost_change, iterations
        self.monitor, self.every = monitor, every
        self._previous: float | None = None

    def __call__(self, step: int, state: Any, metrics: dict[str, Any]) -> Stop | None:
        if self.iterations is not None and step >= self.iterations:
            return Stop(f"{step} iterations")
        if step % self.every or self.monitor not in metrics:
            return None
        value, previous = float(metrics[self.monitor]), self._previous
        self._previous = value
        if self.error_limit is not None and value <= self.error_limit:
            return Stop(f"{self.monitor} {value:.6g} is at or below {self.error_limit:.6g}")
        if (
            self.cost_change is not None
            and previous is not None
            and abs(value - previous) <= self.cost_change
        ):
            return Stop(
                f"{self.monitor} changed by {abs(value - previous):.3g}, not more than {self.cost_change:.3g}"
            )
        return None

    def state(self) -> dict[str, Any]:
        """The previous value."""
        return {"previous": self._previous}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from `state()`."""
        self._previous = state["previous"]
