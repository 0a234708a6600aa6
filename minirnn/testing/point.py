"""A stage of a cell and numbers where its Jacobian is taken: what its ``unstep`` says, and what is true."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minirnn.backend import Array
from minirnn.protocol import units_of

ROWS, UNITS, STEP, DELTA = 48, 3, 1e-30, 1e-6
EXACT, ROUGH = 1e-9, 1e-5  # of the largest entry: what counts as equal, by complex steps and by differences
FORMS: dict[str, Callable[[Any], Any]] = {  # what stands in a derivative beside a quantity s
    "{}": lambda s: s,
    "(1 - {})": lambda s: 1 - s,
    "(1 - {}²)": lambda s: 1 - s * s,
    "{0} (1 - {0})": lambda s: s * (1 - s),
}


def equal(a: Array, b: Array, tolerance: float) -> bool:
    """Whether two arrays are, to some part of the largest entry."""
    return bool(np.abs(a - b).max(initial=0.0) <= tolerance * max(1.0, float(np.abs(b).max(initial=0.0))))


@dataclass(frozen=True)
class Item:
    """One gradient: what ``unstep`` says and what is true, (k, ROWS, H), for each state after the step alone."""

    gate: str
    name: str  # "dp of n"
    said: Array
    true: Array
    grows: bool = True  # twice what comes back makes twice what is said


class Point:
    """A stage, and numbers where its Jacobian is taken."""

    def __init__(
        self, stage: Any, states: tuple[str, ...], p: Array, q: Array, flow: Any, units: list[Array], rng: Any
    ) -> None:
        self.stage, self.p, self.q, self.flow, self.units = stage, p, q, flow, units
        self.out, self.saved = stage.step(p, q, flow, *units)
        self.before: list[str] = [states[k] if k < len(states) else f"input {k}" for k in range(len(flow))]
        self.after: list[str] = [states[k] if k < len(states) else f"output {k}" for k in range(len(self.out))]
        self.exact = self._takes_complex()
        self.tolerance = EXACT if self.exact else ROUGH
        self.known: dict[str, Array] = {}  # what formulas are made of, by name
        for name, value in zip(stage.saves, self.saved, strict=True):
            self._learn(name, value)
        for name, w in zip(units_of(stage), units, strict=True):
            self._learn(name, np.broadcast_to(w, (ROWS, UNITS)))
        self.pairs: set[tuple[str, str]] = set()  # what stands for one quantity before the step and after it
        for name, old, new in ((n, a, b) for n, a, m, b in self._states() if n == m):
            for form, make in (("{}", lambda s: s), ("tanh({})", np.tanh)):
                self.pairs.add(
                    (self._learn(form.format(name), make(old)), self._learn(form.format(f"{name}'"), make(new)))
                )
        self.douts = [rng.normal(size=np.shape(a)) for a in self.out]
        self.items = list(self._gradients())

    def _states(self) -> Iterator[tuple[str, Array, str, Array]]:
        for name, a in zip(self.before, self.flow, strict=True):
            for other, b in zip(self.after, self.out, strict=True):
                yield name, a, other, b

    def _learn(self, name: str, value: Array) -> str:
        """Take note of a quantity; the name under which it is known already, if it is."""
        if np.shape(value) != (ROWS, UNITS):
            return name
        for known, a in self.known.items():
            if np.allclose(a, value, rtol=1e-12, atol=1e-12):
                return known
        self.known[name] = value
        return name

    def others(self, item: Item, k: int) -> Iterator[tuple[str, Array]]:
        """The true gradients of everything but this gate, for the k-th state after the step."""
        for other in self.items:
            if other.gate != item.gate and other.true[k].shape == item.true[0].shape:
                yield other.name, other.true[k]

    def reached(self, k: int) -> set[str]:
        """The names of the items that the k-th state after the step depends on."""
        return {item.name for item in self.items if np.abs(item.true[k]).max() > 0}

    def hanging(self, k: int, j: int) -> list[Item]:
        """The items that the k-th state after the step reaches through the j-th alone, with all their entries."""
        shape = self.douts[j].shape
        if self.douts[k].shape != shape or not self.reached(j) < self.reached(k):
            return []
        found = [i for i in self.items if i.true[j].shape == shape and np.abs(i.true[j]).min() > 0]
        sent = [i.true[k] * self.douts[j] / i.true[j] for i in found]
        return [i for i, a in zip(found, sent, strict=True) if sum(equal(a, b, 1e-6) for b in sent) * 2 > len(sent)]

    def through(self, k: int, j: int) -> tuple[Array, Array]:
        """The gradient of the j-th state by what the k-th sends, as each hanging item has it: said, and true."""
        hanging = self.hanging(k, j)
        shape = (len(hanging), *self.douts[j].shape)
        said = np.array([i.said[k] * self.douts[j] / i.true[j] for i in hanging]).reshape(shape)
        return said, np.array([i.true[k] * self.douts[j] / i.true[j] for i in hanging]).reshape(shape)

    def _takes_complex(self) -> bool:
        try:
            out, _ = self.stage.step(self.p + 0j, self.q, self.flow, *self.units)
        except TypeError:
            return False
        return all(np.iscomplexobj(a) or not self.p.size for a in out[:1])

    def _gradients(self) -> Iterator[Item]:
        """Every gradient that ``unstep`` returns."""
        H, numbers = UNITS, range(len(self.douts))
        alone = [tuple(d if k == i else 0 * d for k, d in enumerate(self.douts)) for i in numbers]
        said = [self.stage.unstep(d, self.saved, *self.units) for d in alone]
        twice = [self.stage.unstep(tuple(2 * a for a in d), self.saved, *self.units) for d in alone]

        def item(gate: str, name: str, pick: Any, true: Array) -> Item:
            one, two = (
                np.stack([np.zeros(true.shape[1:]) if a is None else np.broadcast_to(a, true.shape[1:]) for a in found])
                for found in (map(pick, said), map(pick, twice))
            )
            return Item(gate, name, one, true, equal(two, 2 * one, self.tolerance))

        for place, (name, a) in enumerate((("dp", self.p), ("dq", self.q))):
            if not a.size:
                continue
            true = self._derivative(alone, place, a)
            gates = self.stage.gates or ("h",)
            width = a.shape[1] // len(gates)
            for k, gate in enumerate(gates):
                part = slice(k * width, (k + 1) * width)
                yield item(gate, f"{name} of {gate}", partial(_columns, place, part), true[:, :, part])
        for k, name in enumerate(self.before):
            true = self._derivative(alone, 2 + k, self.flow[k])
            yield item(name, f"d{name}, the direct path", lambda one, k=k: one[2][k], true)
        for k, name in enumerate(units_of(self.stage)):
            wide = np.broadcast_to(self.units[k], (ROWS, H))
            true = self._derivative(alone, 2 + len(self.flow) + k, wide)
            yield item(name, f"d{name}", lambda one, k=k: one[3 + k], true)

    def _derivative(self, alone: Any, place: int, a: Array) -> Array:
        """Σ dout · ∂out/∂a for each of the cotangents, all rows at once, column by column."""
        found = np.zeros((len(alone), *a.shape))
        for j in range(a.shape[1]):
            moved = np.zeros(a.shape, complex if self.exact else float)
            moved[:, j] = 1j * STEP if self.exact else DELTA
            ahead = self._out(place, a + moved)
            change = [b.imag / STEP for b in ahead] if self.exact else []
            if not self.exact:
                back = self._out(place, a - moved)
                change = [(x - y) / (2 * DELTA) for x, y in zip(ahead, back, strict=True)]
            for i, d in enumerate(alone):
                found[i, :, j] = sum((c * e).sum(1) for c, e in zip(change, d, strict=True))
        return found

    def _out(self, place: int, a: Array) -> Any:
        """The outputs with the ``place``-th argument replaced."""
        inputs = [self.p, self.q, *self.flow, *self.units]
        inputs[place] = a
        n = len(self.flow)
        out, _ = self.stage.step(inputs[0], inputs[1], tuple(inputs[2 : 2 + n]), *inputs[2 + n :])
        return out


def _columns(place: int, part: slice, returned: Any) -> Any:
    """Some columns of what ``unstep`` returned, None if that is None."""
    return None if returned[place] is None else returned[place][:, part]
