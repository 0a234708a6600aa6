"""Whether a backward pass reads what its forward pass read: x and the weights, which belong to the caller.

A backward pass reads ``x`` and the weights again instead of copying them.  If they were written in between, gradients
would be wrong, so a forward pass remembers some entries of both and its backward pass compares them: whole rows of a
few steps of x, and of every weight its first entry, its last one and some between.  That finds a buffer that was used
again or a step taken by hand, at the cost of a few microseconds.  With ``MINIRNN_CHECK_INPUTS=1`` in the environment
when a model gets its weights, all entries are copied and compared.  On a GPU, where looking at an entry means waiting
for the device, only that does.

States are copied by every forward pass, and a y that backward needs cannot be written (``Backend.locked``).
"""

import numpy as np

from minirnn.core.backend import Array, Dtype
from minirnn.core.module import Weighted

STEPS, LINES = 3, 32  # x is looked at every T // STEPS steps; (B, features), or integers (T, B), every T // LINES rows
ENTRIES = 64  # of all weights that are compared, but at least ``LEAST`` of each
LEAST = 3
ROUNDING = 4  # units in the last place of max(1, |a|): what (w + e) - e may differ from w by


class Inputs:
    """The arrays that a forward pass of ``layer`` on ``x`` reads, and its backward pass will read again."""

    __slots__ = ("every", "layer", "looks", "parameters", "places", "updates", "weights", "x", "x_seen")

    def __init__(self, layer: Weighted, x: Array) -> None:
        parameters = layer.bound
        self.layer, self.x, self.parameters = layer, x, parameters
        self.updates, self.every = parameters.updates, parameters.checks_all
        self.looks = self.every or not parameters.backend.on_device
        if self.every:
            self.x_seen, self.weights = self._all(x), self._all(parameters.weights)
        elif self.looks:
            self.x_seen, self.places = sample(x).tobytes(), places(layer)
            self.weights = parameters.weights.take(self.places).tobytes()

    def check(self) -> None:
        """Raise RuntimeError where the weights or x are no longer what they were."""
        if self.updates != self.parameters.updates:
            raise RuntimeError(
                "the weights have changed since this forward: call backward before the optimiser's step, "
                "or forward again to get gradients at the new weights"
            )
        if not self.looks:
            return
        x, weights = self.x, self.parameters.weights
        now = self._all(x) if self.every else sample(x).tobytes()
        if now != self.x_seen and differing(now, self.x_seen, x.dtype).any():
            raise RuntimeError(
                "x was changed in place between forward and backward, which reads it again: the gradients would be "
                "wrong; call backward first, or give forward a copy of x"
            )
        now = self._all(weights) if self.every else weights.take(self.places).tobytes()
        if now != self.weights:
            off = np.flatnonzero(differing(now, self.weights, weights.dtype))
            names = written(self.layer, off if self.every else self.places[off])
            if names:
                raise RuntimeError(
                    f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} written between forward and backward, "
                    f"which reads the weights again: the gradients would be wrong; call backward first, or forward "
                    f"again to get gradients at the new weights"
                )

    def _all(self, a: Array) -> bytes:
        return bytes(self.parameters.backend.host(a).tobytes())


def sample(x: Array) -> Array:
    """Some rows of x: features of the first and last row at a few steps; else whole rows."""
    if x.ndim == 3:
        return x[:: max(1, (len(x) - 1) // STEPS), :: max(1, x.shape[1] - 1)]
    return x[:: max(1, (len(x) - 1) // LINES)]


def places(layer: Weighted) -> Array:
    """Which entries of the flat vector of weights are compared for a pass of this layer."""
    key = ("compared", layer.prefix)
    entries: Array | None = layer.bound.prepared.get(key)
    if entries is None:
        slots = [layer.bound.slots[name] for name in names_of(layer)]
        count = max(LEAST, ENTRIES // max(1, len(slots)))
        parts = [slot.offset + np.linspace(0, slot.size - 1, min(count, slot.size)).astype(int) for slot in slots]
        entries = np.concatenate([np.zeros(0, int), *parts])
        layer.bound.prepare(key, entries)
    return entries


def names_of(layer: Weighted) -> list[str]:
    """Every weight that a pass of this layer reads, by its name in the model."""
    names = list(layer.all_specs(layer.prefix))
    for one in layer.walk():
        for other in one.partners():
            names += [name for name in other.all_specs(other.prefix) if name not in names]
    return names


def written(layer: Weighted, entries: Array) -> list[str]:
    """The names, as the layer says them, of the weights that these entries of the flat vector belong to."""
    slots, prefix = layer.bound.slots, layer.prefix
    return [
        name.removeprefix(prefix)
        for name in names_of(layer)
        if ((slots[name].offset <= entries) & (entries < slots[name].offset + slots[name].size)).any()
    ]


def differing(now: bytes, before: bytes, dtype: Dtype) -> Array:
    """Where two arrays differ by more than rounding; NaN is equal to NaN."""
    a, b = (np.frombuffer(data, dtype) for data in (now, before))
    if dtype.kind in "iu":
        return np.asarray(a != b)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.isfinite(b) & (abs(a - b) <= ROUNDING * np.finfo(dtype).eps * np.maximum(1, abs(b)))
    return np.asarray(~(near | (a == b) | (np.isnan(a) & np.isnan(b))))
