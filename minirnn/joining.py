"""Weights of several models in the vectors of a new one, which is made of their layers.

Values are copied, so that the models that the layers come from go on as they were.
"""

from collections.abc import Mapping
from typing import TypeAlias

from minirnn.parameters import Parameters, Spec
from minirnn.quantize import NarrowParameters

Sources: TypeAlias = Mapping[str, tuple[Parameters, str]]  # by a weight's name: where it is, and its name there


def gathered(specs: dict[str, Spec], sources: Sources, like: Parameters) -> Parameters:
    """New vectors laid out for ``specs``, with a copy of every weight; all are stored as those of ``like`` are.

    Dropout's masks have its seed.
    """
    if not like.quantized:
        new = Parameters(specs, like.backend, like.dtype)
        new.take(sources)
    else:
        matrices = {}
        for name, (source, there) in sources.items():
            assert isinstance(source, NarrowParameters)  # for the type checker: they are of one kind
            if there in source.matrices:
                matrices[name] = source.matrices[there]  # which nothing writes to
        new = NarrowParameters(specs, matrices, like.quantized, like.backend)
        new.take({name: sources[name] for name in new.slots})
        for name in matrices:
            new.inherit(name, *sources[name])
    new.seed, new.batch_first = like.seed, new.batch_first or like.batch_first
    return new


def kind_of(parameters: Parameters) -> str:
    """How and where weights are stored, which must be the same for all of a model."""
    return f"{parameters.quantized or parameters.dtype.name} on backend {parameters.backend.name}"
