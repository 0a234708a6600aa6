"""Short training runs of a small language model, alone or on one of several ranks."""

from typing import Any

import numpy as np

from minirnn import SGD, Adam, RMSProp
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.training.loop import Training, train
from minirnn.training.ranks import Ranks

CORPUS = Text.from_string("she sells sea shells\nby the sea shore" * 3)
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda model: SGD(model, 0.5, momentum=0.9, clip=0.2),
    "adam": lambda model: Adam(model, 0.01, clip=0.2),
    "rmsprop": lambda model: RMSProp(model, 0.01),
}


def begun(
    ranks: Ranks | None = None,
    *,
    task: str = "next",
    cell: str = "lstm",
    optimizer: str = "adam",
    backend: str = "numpy",
    dtype: str = "float64",
    text: Text = CORPUS,
    init: int = 0,
    noise: dict[str, Any] | None = None,
    **options: Any,
) -> Training:
    lm = LanguageModel.build(
        text.vocab, task=task, cell=cell, hidden_size=5, num_layers=2, **({"dropout": 0.3} | (noise or {}))
    )
    lm.init(init, backend=backend, dtype=dtype)
    sizes = {"batch_size": 5, "num_steps": 5, "steps": 30, "seed": 3}
    return train(lm, text, OPTIMIZERS[optimizer](lm.network), ranks=ranks, **(sizes | options))


def weights(training: Training) -> Any:
    p = training.lm.network.bound
    return p.backend.host(p.weights).copy()


def trained(ranks: Ranks | None = None, **options: Any) -> tuple[Any, Any]:
    """(loss, norm) of each step, and the weights in the end."""
    training = begun(ranks, **options)
    return np.array([(step.loss, float(step.norm)) for step in training]), weights(training)
