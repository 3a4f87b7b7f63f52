"""Train steps, and the one loop that runs them."""

from jaxdl.train.adversarial import AdversarialState, make_adversarial_step, unrolled
from jaxdl.train.checkpoint import Checkpointer
from jaxdl.train.evaluation import Prediction, class_probabilities, ensemble_predict, evaluate, predict
from jaxdl.train.gradients import averaged_over, backprop, microbatched
from jaxdl.train.history import History
from jaxdl.train.hooks import EarlyStopping, Stop, StoppingCriterion, make_evaluation
from jaxdl.train.inspection import export_stablehlo, summary
from jaxdl.train.loop import TrainingInterrupted, fit
from jaxdl.train.parallel import (
    ShardedStep,
    data_mesh,
    initialize_distributed,
    largest_axis_spec,
    pmap_step,
    shard_step,
)
from jaxdl.train.precision import loss_scale, mixed_precision
from jaxdl.train.recurrent import make_truncated_bptt_step
from jaxdl.train.rollout import AgentState, make_on_policy_step, make_replay_step
from jaxdl.train.state import TrainState, create_train_state
from jaxdl.train.stepping import population_step, scan_steps
from jaxdl.train.target import TargetState, create_target_state, make_target_step
from jaxdl.train.transferring import freeze_parameters, transfer
from jaxdl.train.update import make_update

__all__ = [
    "AdversarialState",
    "AgentState",
    "Checkpointer",
    "EarlyStopping",
    "History",
    "Prediction",
    "ShardedStep",
    "Stop",
    "StoppingCriterion",
    "TargetState",
    "TrainState",
    "TrainingInterrupted",
    "averaged_over",
    "backprop",
    "class_probabilities",
    "create_target_state",
    "create_train_state",
    "data_mesh",
    "ensemble_predict",
    "evaluate",
    "export_stablehlo",
    "fit",
    "freeze_parameters",
    "initialize_distributed",
    "largest_axis_spec",
    "loss_scale",
    "make_adversarial_step",
    "make_evaluation",
    "make_on_policy_step",
    "make_replay_step",
    "make_target_step",
    "make_truncated_bptt_step",
    "make_update",
    "microbatched",
    "mixed_precision",
    "pmap_step",
    "population_step",
    "predict",
    "scan_steps",
    "shard_step",
    "summary",
    "transfer",
    "unrolled",
]
