"""Training a language model: the loop, checkpoints, metrics, several processes, plots."""

from minirnn.training.loop import Step, Training, train
from minirnn.training.progress import with_progress
from minirnn.training.ranks import Ranks, world

__all__ = ["Ranks", "Step", "Training", "train", "with_progress", "world"]
