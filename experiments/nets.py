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


def num_calls(num_epochs: int, num_rows: int, batch_size: int) -> int:
    """Calls of the compiled step, each of UPDATES_PER_CALL updates, that make so many passes over the rows."""
    return max(1, num_epochs * (num_rows // batch_size) // UPDATES_PER_CALL)


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
) -> tuple[train.TrainState, train.History]:
    """Trains one net on shuffled batches of arrays, UPDATES_PER_CALL updates in one call.

    Args:
      part: the net's name in the run folder.
      look: from the state to what is measured on held-out rows, once in an epoch.
      hooks: further hooks of `train.fit`, after `look`.
    """
    config = run.config
    calls = num_calls(num_epochs, len(next(iter(training.values()))), batch_size)
    epoch = max(1, calls // num_epochs)
    update = train.make_update(estimator(objective, config), tx, skip_nonfinite=config.precision == "float16")
    step = train.shard_step(
        train.scan_steps(update, UPDATES_PER_CALL), train.data_mesh(config.devices), jax.P(None, "data")
    )
    evaluation = [] if look is None else [train.make_evaluation(look, every=epoch)]
    return run.fit(
        step,
        state,
        data.Batches(training, batch_size, seed=config.seed, stack=UPDATES_PER_CALL),
        num_steps=calls,
        part=part,
        hooks=[*evaluation, *hooks],
        log_every=epoch,
        progress="epoch",
        steps_per_epoch=epoch,
    )
