"""Weights put into a network that a file describes, each checked before it is used."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minirnn.core.backend import Array, get_backend, get_compute, get_dtype
from minirnn.core.files import ModelFileError
from minirnn.core.module import Weighted
from minirnn.core.parameters import Parameters, cast

Model = TypeVar("Model", bound=Weighted)


def filled(
    network: Model,
    values: Callable[[str], Array],
    path: str | os.PathLike[str],
    *,
    backend: str = "auto",
    dtype: Any,
    compute: str | None = None,
) -> Model:
    """``network``, which has no weights yet, with those that ``values`` gives by name.

    Raises ModelFileError, which names ``path`` and the weight, where a value is of another shape, is not finite or does
    not fit ``dtype``.
    """
    chosen = get_backend(backend, dtype)
    specs = network.all_specs()
    wanted = get_dtype(chosen, dtype)
    parameters = Parameters(specs, chosen, wanted, get_compute(chosen, wanted, compute))
    network.bind(parameters)
    for name, view in network.named_weights().items():
        array = values(name)
        if array.shape != view.shape:
            raise ModelFileError(f"{path}: weight {name} must have shape {view.shape}; it has {array.shape}")
        if not np.isfinite(array).all():
            raise ModelFileError(f"{path}: weight {name} must be finite; it holds NaN or infinity")
        if specs[name].role == "variance" and (array < 0).any():
            raise ModelFileError(f"{path}: weight {name}, a variance, must not be below 0; it holds {array.min():.3g}")
        try:
            view[...] = chosen.xp.asarray(cast(array, parameters.dtype))
        except ValueError as error:
            raise ModelFileError(f"{path}, {name}: {error}") from None
    return network
