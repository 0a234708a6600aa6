"""The base of all passes: what each is handed, and the order in which it takes the steps.

A pass is one forward pass of a direction, with what its backward pass needs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from minirnn.core.backend import Array
from minirnn.core.protocol import Arrays, Cell
from minirnn.core.run import Reader, Run
from minirnn.kernels.facts import CellFacts
from minirnn.recurrent.weights import Weights
from minirnn.scan import flip


class Recurrence(NamedTuple):
    """The computation of a direction without its weights and the way it reads: the cell and its sizes."""

    cell: Cell
    input_size: int
    hidden_size: int
    gates: tuple[str, ...]  # of all stages
    widths: tuple[int, ...]  # of the states
    zoneout: tuple[float, ...]  # a probability for each state
    facts: CellFacts | None  # of the cell in inference; None where it has no kernels
    trained: CellFacts | None  # of the cell in training: with zoneout it is another


def matrices_of(facts: CellFacts, H: int, weight: Callable[[str], Array]) -> list[Array]:
    """What each stage multiplies with: columns of U, or a matrix of its own; none where there is no product."""
    return [
        weight(stage.matrix) if stage.matrix else weight("U")[:, stage.first * H : (stage.first + stage.gates) * H]
        for stage in facts.stages
        if stage.product
    ]


class Pass(ABC):
    """One forward pass, and what its backward pass needs; a subclass computes it in ``_forward`` and ``_backward``.

    A reverse direction with lengths starts at each row's own end: rows are reversed within their lengths on the way in
    and out, here, and the subclass computes a forward direction.  Without lengths a subclass that ``reads_backwards``
    gets x as it is and takes the steps from the last to the first where ``reverse`` is True.

    ``rest`` says that the initial state is one of zeros that no one writes to.
    """

    reads_backwards = True

    def __init__(
        self, recurrence: Recurrence, weights: Weights, run: Run, *, reverse: bool, rest: bool = False
    ) -> None:
        self.recurrence, self.weights, self.run, self.rest = recurrence, weights, run, rest
        self.flipped = reverse and (run.past is not None or not self.reads_backwards)
        self.reverse = reverse and not self.flipped

    def forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool = False) -> tuple[Array, Arrays]:
        """Return y, in ``out`` if that is an array, and the final state.

        ``known`` says that ``out`` holds y already: only what the backward pass needs is to be computed.
        """
        if not self.flipped:
            return self._forward(x, state, out, known=known)
        run, inner = self.run, None
        if known and out is not None:
            inner = flip(out, run)
        y, final = self._forward(flip(x, run), state, inner, known=known)
        return placed(flip(y, run), None if known else out), final

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """Return the gradients of x, None for integers, and of the initial state; add those of the weights."""
        if not self.flipped:
            return self._backward(dy, dstate)
        dx, dinitial = self._backward(None if dy is None else flip(dy, self.run), dstate)
        return None if dx is None else flip(dx, self.run), dinitial

    def named(self) -> dict[str, Reader]:
        """Readers of what was saved, by the names of ``cells.py``, each (T, B, ...) in the order of x's steps."""
        if not self.flipped:
            return self._named()
        return {name: partial(self._flipped, read) for name, read in self._named().items()}

    def _flipped(self, read: Reader) -> Array:
        return flip(read(), self.run)

    @abstractmethod
    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        """``forward`` of rows that need no reversal."""

    @abstractmethod
    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """``backward`` of the same."""

    @abstractmethod
    def _named(self) -> dict[str, Reader]:
        """``named``, each in the order of the steps that were computed."""


class KernelPass(Pass):
    """A pass by the backend's kernels, which ``facts`` describe: where they save what."""

    initial: Arrays  # the state that the forward pass began from

    def __init__(
        self, recurrence: Recurrence, weights: Weights, run: Run, *, reverse: bool, rest: bool = False
    ) -> None:
        super().__init__(recurrence, weights, run, reverse=reverse, rest=rest)
        facts = recurrence.trained if run.training else recurrence.facts
        assert facts is not None
        self.kernels: Any = run.parameters.backend.scans()  # a module
        self.facts, self.dtype = facts, run.parameters.dtype
        self.lengths = None if run.past is None else (len(run.past) - run.past.sum(0)).astype("int64")

    def _named(self) -> dict[str, Reader]:
        return {name: self._reader(name) for name in self.facts.saved}

    def _reader(self, name: str) -> Reader:
        array, gate, before = self.facts.saved[name]
        if not before:
            return lambda: self._saved(array, gate)
        initial = self.initial[0 if array == "y" else 1 + self.facts.arrays("c").index(array)]
        return lambda: self._before(self._saved(array, gate), initial)

    def _before(self, after: Array, initial: Array) -> Array:
        """The state before each step, (T, B, ...) in the order of x's steps, of those after it and the initial one."""
        parts = (after[1:], initial[None]) if self.reverse else (initial[None], after[:-1])
        joined: Array = self.run.parameters.backend.xp.concatenate(parts)
        return joined

    @abstractmethod
    def _saved(self, array: str, gate: int) -> Array:
        """One of the arrays that ``facts`` name, or a gate."""


def placed(a: Array, out: Array | None) -> Array:
    """``a``, in ``out`` if that is an array."""
    if out is None:
        return a
    out[...] = a
    return out
