"""Train steps, and the one loop that runs them."""

from jaxdl.train.checkpoint import Checkpointer
from jaxdl.train.gradients import averaged_over, backprop, microbatched
from jaxdl.train.history import History
from jaxdl.train.hooks import EarlyStopping, Stop, StoppingCriterion, make_evaluation
from jaxdl.train.loop import TrainingInterrupted, fit
from jaxdl.train.state import TrainState, create_train_state
from jaxdl.train.update import make_update

__all__ = [
    "Checkpointer",
    "EarlyStopping",
    "History",
    "Stop",
    "StoppingCriterion",
    "TrainState",
    "TrainingInterrupted",
    "averaged_over",
    "backprop",
    "create_train_state",
    "fit",
    "make_evaluation",
    "make_update",
    "microbatched",
]
