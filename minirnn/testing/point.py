"""A stage of a cell and numbers where its Jacobian is taken: what its ``unstep`` says, and what is true."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import Arrays, Stage, units_of
from minirnn.testing.differences import EPS, SAFETY, Estimate, differentiate
from minirnn.testing.recording import Value

ROWS, UNITS, STEP = 96, 3, 1e-30
FEWEST = 8  # rows that differences must be able to judge
EXACT, ROUGH, LOST = 1e-8, 1e-5, 0.02  # of the largest entry: what counts as equal; at best, still good, and useless
FLOOR = 1e-4  # where all entries are smaller than this, of what
NO_COMPLEX = (TypeError, ValueError, AttributeError, ArithmeticError)  # what a step raises that takes real numbers only
Returned: TypeAlias = tuple[Value, ...]  # by ``unstep``
Function: TypeAlias = Callable[[complex], Array]  # of how far one argument is moved
FORMS: dict[str, Callable[[Array], Array]] = {  # what stands in a derivative beside a quantity s
    "{}": lambda s: s,
    "(1 - {})": lambda s: 1 - s,
    "(1 - {}²)": lambda s: 1 - s * s,
    "{0} (1 - {0})": lambda s: s * (1 - s),
}


def equal(a: Array, b: Array, tolerance: float) -> bool:
    """Whether two arrays are, to some part of the largest entry."""
    return bool(np.abs(a - b).max(initial=0.0) <= tolerance * max(FLOOR, float(np.abs(b).max(initial=0.0))))


@dataclass(frozen=True)
class Item:
    """One gradient: what ``unstep`` says and what is true, (k, ROWS, H), for each state after the step alone."""

    gate: str
    name: str  # "dp of n"
    said: Array
    true: Array
    grows: bool = True  # twice what comes back makes twice what is said


class Point:
    """A stage, and numbers where its Jacobian is taken.

    The Jacobian is found by complex steps and by differences with estimated errors.  Where the two disagree, ``step``
    is not differentiable in the complex plane (``exact`` is False), and differences are believed.  Rows that come too
    near a kink for a difference to be trusted are left out; ``judged`` is False where hardly any is left.
    """

    def __init__(
        self,
        stage: Stage,
        states: tuple[str, ...],
        p: Array,
        q: Array,
        flow: Arrays,
        units: list[Array],
        *,
        rng: np.random.Generator,
        precision: float = EPS,
    ) -> None:
        self.stage, self.p, self.q, self.flow, self.units = stage, p, q, tuple(flow), units
        self.out, self.saved = self._step(p, q, *flow, *units)
        self.before: list[str] = [states[k] if k < len(states) else f"input {k}" for k in range(len(flow))]
        self.after: list[str] = [states[k] if k < len(states) else f"output {k}" for k in range(len(self.out))]
        self.douts = [rng.normal(size=np.shape(a)) for a in self.out]
        self.precision = precision
        self.exact, self.judged, self.tolerance = True, True, EXACT
        self.true = self._jacobian()
        self.known: dict[str, Array] = {}  # what formulas are made of, by name
        for name, value in zip(stage.saves, self.saved, strict=True):
            self._learn(name, value)
        for name, w in zip(units_of(stage), units, strict=True):
            self._learn(name, np.broadcast_to(w, (len(self.p), UNITS)))
        self.pairs: set[tuple[str, str]] = set()  # what stands for one quantity before the step and after it
        for name, old, new in ((n, a, b) for n, a, m, b in self._states() if n == m):
            for form, make in (("{}", lambda s: s), ("tanh({})", np.tanh)):
                self.pairs.add(
                    (self._learn(form.format(name), make(old)), self._learn(form.format(f"{name}'"), make(new)))
                )
        self.items = list(self._gradients()) if self.judged else []

    def _states(self) -> Iterator[tuple[str, Array, str, Array]]:
        for name, a in zip(self.before, self.flow, strict=True):
            for other, b in zip(self.after, self.out, strict=True):
                yield name, a, other, b

    def _learn(self, name: str, value: Array) -> str:
        """Take note of a quantity; the name under which it is known already, if it is."""
        if np.shape(value) != (len(self.p), UNITS):
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
        reached = [i for i in self.items if i.true[j].shape == shape and np.abs(i.true[j]).min() > 0]
        sent = [i.true[k] * self.douts[j] / i.true[j] for i in reached]
        return [i for i, a in zip(reached, sent, strict=True) if sum(equal(a, b, 1e-6) for b in sent) * 2 > len(sent)]

    def through(self, k: int, j: int) -> tuple[Array, Array]:
        """The gradient of the j-th state by what the k-th sends, as each hanging item has it: said, and true."""
        hanging = self.hanging(k, j)
        shape = (len(hanging), *self.douts[j].shape)
        said = np.array([i.said[k] * self.douts[j] / i.true[j] for i in hanging]).reshape(shape)
        return said, np.array([i.true[k] * self.douts[j] / i.true[j] for i in hanging]).reshape(shape)

    def _gradients(self) -> Iterator[Item]:
        """Every gradient that ``unstep`` returns."""
        alone = self._alone()
        said = [self._unstep(d) for d in alone]
        twice = [self._unstep(tuple(2 * a for a in d)) for d in alone]

        def item(gate: str, name: str, pick: Callable[[Returned], Array | None], true: Array) -> Item:
            one, two = (
                np.stack(
                    [np.zeros(true.shape[1:]) if a is None else np.broadcast_to(a, true.shape[1:]) for a in gradients]
                )
                for gradients in (map(pick, said), map(pick, twice))
            )
            return Item(gate, name, one, true, equal(two, 2 * one, self.tolerance))

        for place, (name, a) in enumerate((("dp", self.p), ("dq", self.q))):
            if not a.size:
                continue
            true = self.true[place]
            gates = self.stage.gates or ("h",)
            width = a.shape[1] // len(gates)
            for k, gate in enumerate(gates):
                part = slice(k * width, (k + 1) * width)
                yield item(gate, f"{name} of {gate}", partial(_columns, place, part), true[:, :, part])
        for k, name in enumerate(self.before):
            yield item(name, f"d{name}, the direct path", partial(_direct, k), self.true[2 + k])
        for k, name in enumerate(units_of(self.stage)):
            yield item(name, f"d{name}", itemgetter(3 + k), self.true[2 + len(self.flow) + k])

    def _alone(self) -> list[tuple[Array, ...]]:
        """The gradients that come back from each of the states after the step alone."""
        numbers = range(len(self.douts))
        return [tuple(d if k == i else 0 * d for k, d in enumerate(self.douts)) for i in numbers]

    def _step(self, *inputs: Array) -> tuple[Arrays, Arrays]:
        """``step`` on p, q, the states and the units, of which it gets copies."""
        p, q, *rest = (np.array(a) for a in inputs)
        n = len(self.flow)
        return self.stage.step(p, q, tuple(rest[:n]), *rest[n:])

    def _unstep(self, douts: Arrays) -> Returned:
        """The result of ``unstep``, which gets copies."""
        saved = tuple(np.array(a) for a in self.saved)
        return self.stage.unstep(tuple(np.array(a) for a in douts), saved, *(np.array(w) for w in self.units))

    def _jacobian(self) -> list[Array]:
        """Σ dout · ∂out/∂a for each argument a and each of the states after, (states, rows, width of a).

        Leaves out the rows of all arrays in which a difference is not to be trusted.
        """
        wide = [np.broadcast_to(w, (len(self.p), UNITS)) for w in self.units]
        inputs = [self.p, self.q, *self.flow, *wide]
        rough = [self._derivative(inputs, place, self._difference) for place in range(len(inputs))]
        doubt = np.zeros(len(self.p))
        for value, error in rough:
            size = np.abs(value).max(initial=0.0, where=np.isfinite(error))
            doubt = np.maximum(doubt, (SAFETY * error / max(FLOOR, size)).max((0, 2), initial=0.0))
        order = np.argsort(doubt, kind="stable")
        rows = np.sort(order[: max(FEWEST, int((doubt <= ROUGH).sum()))])
        self.tolerance = max(EXACT, float(doubt[rows].max()))
        self.judged = self.tolerance <= LOST
        true = [value[:, rows] for value, _ in rough]
        try:
            with warnings.catch_warnings(action="ignore"):  # a cast to real numbers warns
                fine = [self._derivative(inputs, place, self._complex)[0][:, rows] for place in range(len(inputs))]
            self.exact = all(equal(a, b, max(1e-6, self.tolerance)) for a, b in zip(fine, true, strict=True))
        except NO_COMPLEX:
            self.exact = False
        if self.exact:
            true = fine
        self.p, self.q = self.p[rows], self.q[rows]
        self.flow, self.out, self.saved = (
            tuple(np.asarray(a)[rows] for a in arrays) for arrays in (self.flow, self.out, self.saved)
        )
        self.douts = [d[rows] for d in self.douts]
        return true

    def _derivative(
        self, inputs: list[Array], place: int, method: Callable[[Function], Estimate]
    ) -> tuple[Array, Array]:
        """The derivative by the ``place``-th input and its error, column by column, all rows at once."""
        a, alone = inputs[place], self._alone()
        value, error = (np.zeros((len(alone), *a.shape)) for _ in range(2))
        for j in range(a.shape[1]):
            towards = np.zeros(a.shape)
            towards[:, j] = 1

            def outputs(h: complex, towards: Array = towards) -> Array:
                out, _ = self._step(*inputs[:place], a + h * towards, *inputs[place + 1 :])
                sums = [sum((o * d).sum(1) for o, d in zip(out, one, strict=True)) for one in alone]
                return np.array(sums)

            estimate = method(outputs)
            value[:, :, j], error[:, :, j] = estimate.value, estimate.error
        return value, error

    def _difference(self, f: Function) -> Estimate:
        return differentiate(f, self.precision)

    @staticmethod
    def _complex(f: Function) -> Estimate:
        with np.errstate(all="ignore"):
            value = f(1j * STEP)
        return Estimate(value.imag / STEP, np.zeros(value.shape))


def _columns(place: int, part: slice, returned: Returned) -> Array | None:
    """Some columns of what ``unstep`` returned, None if that is None."""
    return None if returned[place] is None else returned[place][:, part]


def _direct(k: int, returned: Returned) -> Array | None:
    """The direct path of the k-th state, of what ``unstep`` returned."""
    direct: Array | None = returned[2][k]
    return direct
