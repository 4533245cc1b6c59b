"""The training loop, its schedule, its checkpoints, and what makes it deterministic."""

from longctx.training.checkpoints import Checkpoints, DamagedCheckpointError, load_weights, save_weights
from longctx.training.environment import deterministic
from longctx.training.loop import Batches, Progress, train
from longctx.training.optimiser import TrainingSpec, build_optimiser, learning_rate

__all__ = [
    "Batches",
    "Checkpoints",
    "DamagedCheckpointError",
    "Progress",
    "TrainingSpec",
    "build_optimiser",
    "deterministic",
    "learning_rate",
    "load_weights",
    "save_weights",
    "train",
]
