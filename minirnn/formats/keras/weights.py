"""Keras' layouts of weights and minirnn's, each from the other.

Keras has (D, G·H) and (H, G·H) kernels as minirnn does, the gates of the LSTM in minirnn's order i f g o, and those of
the GRU as z r h; a GRU that resets after the product has its two biases as (2, 3H).  The ``CuDNN`` layers of Keras 2,
known by a bias twice as long, keep every gate's kernels transposed, and the input's in addition in Fortran's order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.formats.keras.settings import Settings
from minirnn.formats.keras.stores import Stored, values

Getter = Callable[[], Array]
GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


@dataclass
class Placed:
    """A layer without weights yet, and by name how to get each weight that is not zero."""

    layer: Layer
    sources: dict[str, Getter] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)


def placed_in(whole: Layer, parts: dict[str, Placed]) -> Placed:
    """A layer made of others, which have these names in it."""
    return Placed(
        whole,
        {f"{name}.{own}": source for name, part in parts.items() for own, source in part.sources.items()},
        {f"{name}.{own}" for name, part in parts.items() for own in part.frozen},
    )


def expect(settings: Settings, dataset: Stored, *shapes: tuple[int, ...]) -> None:
    """Raise unless a stored array has one of these shapes."""
    if dataset.shape not in shapes:
        raise settings.fault(
            f"must have weights of shape {' or '.join(map(str, shapes))}; {dataset.name.rsplit('/', 1)[-1]:.40} "
            f"has {dataset.shape}"
        )


def plain(dataset: Stored) -> Getter:
    """The array as it is."""
    return lambda: values(dataset)


def recurrent(
    kind: str, settings: Settings, stored: Sequence[Stored], units: int, *, after: bool
) -> tuple[int, dict[str, Getter]]:
    """D, and how to get W, U, b and bn, for a cell of ``kind`` with ``stored`` arrays.

    Every shape is checked here, before anything is made or read.
    """
    G, H = GATES[kind], units
    if len(stored[0].shape) != 2 or stored[0].shape[0] < 1:
        raise settings.fault(f"must have a kernel of shape (D, {G * H}); it has {stored[0].shape}")
    D = stored[0].shape[0]
    expect(settings, stored[0], (D, G * H))
    expect(settings, stored[1], (H, G * H))
    cudnn = False
    if len(stored) == 3:
        own = (2, G * H) if kind == "GRU" and after else (G * H,)
        twice = kind == "LSTM" or (kind == "GRU" and after)
        expect(settings, stored[2], own, *([(2 * G * H,)] if twice else []))
        cudnn = stored[2].shape != own

    def kernel(dataset: Stored, turn: Callable[[Array], Array]) -> Getter:
        def whole() -> Array:
            blocks = np.split(values(dataset), G, axis=1)
            return np.concatenate([turn(blocks[k]) if cudnn else blocks[k] for k in _order(kind)], axis=1)

        return plain(dataset) if not cudnn and kind != "GRU" else whole

    def biases() -> Array:
        """(2, G, H): the input's and the state's; (1, G, H) where there is one."""
        return values(stored[2]).reshape(-1, G, H)[:, _order(kind)]

    def bias() -> Array:
        both = biases()
        if kind == "GRU" and after:
            both[1, 2] = 0  # stands apart, as bn
        total: Array = both.sum(axis=0).reshape(-1)
        return total

    sources: dict[str, Getter] = {
        "W": kernel(stored[0], lambda k: k.T.reshape(k.shape, order="F")),
        "U": kernel(stored[1], lambda k: k.T),
    }
    if len(stored) == 3:
        sources["b"] = bias
        if kind == "GRU" and after:
            sources["bn"] = lambda: biases()[1, 2]
    return D, sources


def keras_arrays(kind: str, weights: dict[str, Array], *, bias: bool, after: bool) -> dict[str, Array]:
    """Keras' arrays of a cell of ``kind``, by their names there, from W, U, b and bn: what ``recurrent`` reads."""
    G, order = GATES[kind], _order(kind)

    def reordered(a: Array) -> Array:
        return np.concatenate([np.split(a, G, axis=-1)[k] for k in order], axis=-1)

    arrays = {"kernel": reordered(weights["W"]), "recurrent_kernel": reordered(weights["U"])}
    if bias:
        arrays["bias"] = reordered(weights["b"])
    if bias and kind == "GRU" and after:
        inner = np.zeros_like(arrays["bias"])
        inner[-len(weights["bn"]) :] = weights["bn"]
        arrays["bias"] = np.stack([arrays["bias"], inner])
    return arrays


def _order(kind: str) -> list[int]:
    """Which of Keras' gates is each of minirnn's, and the other way round: z r h becomes r z n."""
    return [1, 0, 2] if kind == "GRU" else list(range(GATES[kind]))
