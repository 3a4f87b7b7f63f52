"""Training of nets that are small beside a step's overhead: many updates in one program."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.run import Run
from experiments.settings import estimator
from jaxdl import data, train
from jaxdl.types import Objective

UPDATES_PER_CALL = 20


class Repeated:
    """The same batch for ever."""

    def __init__(self, batch: Any):
        self.batch = batch

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield self.batch


def num_calls(
    num_epochs: int, num_rows: int, batch_size: int, updates_per_call: int = UPDATES_PER_CALL
) -> int:
    """Calls of the compiled step, of so many updates each, that make so many passes over the rows."""
    return max(1, num_epochs * (num_rows // batch_size) // updates_per_call)


def train_net(
    run: Run,
    part: str,
    state: train.TrainState,
    objective: Objective,
    tx: Any,
    training: Mapping[str, np.ndarray],
    *,
    num_epochs: int,
    batch_size: int,
    look: Callable[[train.TrainState], Mapping[str, float]] | None = None,
    hooks: Sequence[Any] = (),
    updates_per_call: int = UPDATES_PER_CALL,
    look_every: int | None = None,
    seed: int | None = None,
) -> tuple[train.TrainState, train.History]:
    """Trains one net on shuffled batches of arrays, several updates in one call.

    Args:
      part: the net's name in the run folder.
      look: from the state to what is measured on held-out rows.
      hooks: further hooks of `train.fit`, after `look`.
      look_every: calls between two looks; an epoch of them when None.
      seed: of the order of the rows; the run's when None.
    """
    config = run.config
    calls = num_calls(num_epochs, len(next(iter(training.values()))), batch_size, updates_per_call)
    epoch = max(1, calls // num_epochs)
    update = train.make_update(estimator(objective, config), tx, skip_nonfinite=config.precision == "float16")
    step = train.shard_step(
        train.scan_steps(update, updates_per_call), train.data_mesh(config.devices), jax.P(None, "data")
    )
    evaluation = [] if look is None else [train.make_evaluation(look, every=look_every or epoch)]
    return run.fit(
        step,
        state,
        data.Batches(
            training, batch_size, seed=config.seed if seed is None else seed, stack=updates_per_call
        ),
        num_steps=calls,
        part=part,
        hooks=[*evaluation, *hooks],
        log_every=epoch,
        progress="epoch",
        steps_per_epoch=epoch,
    )
