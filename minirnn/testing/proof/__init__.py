"""Proof: that a cell's ``unstep`` is the transpose of its ``step``, and backpropagation through time the chain rule.

``prove`` decides it for all real numbers at once, where the other checks draw samples.  It runs the code as it stands
on other numbers (in arrays of ``core/symbolic.py``):

    exact     rational functions at a random point modulo a prime, with derivatives and degrees
    stages    a cell's stages, row by row
    unrolled  a layer from its definition, one row and one step at a time
    bptt      the same layer as minirnn computes it, compared with that
    terms     a wrong gradient in the cell's own names; ``testing/diagnosis.py`` has its line where those are too many

It says nothing of rounding, nor of the compiled kernels: conformance tests hold those against the plain equations.
"""

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.files import Json
from minirnn.core.layer import check_size
from minirnn.core.protocol import check_cell, name_of, trains
from minirnn.core.symbolic import SymbolicError
from minirnn.more_cells import NAMED
from minirnn.testing.diagnosis import diagnose
from minirnn.testing.precision import AnyCell
from minirnn.testing.proof.bptt import OverTime, over_time
from minirnn.testing.proof.exact import Point, UndecidedError
from minirnn.testing.proof.stages import Inputs, Place, Transposed, Wrong, places_of, transposed

__all__ = ["Proof", "ProofError", "UndecidedError", "prove"]

CELLS: tuple[AnyCell, ...] = (  # minirnn's
    *(TanhCell, ReluCell, GRUCell, GRUBeforeCell, LSTMCell, ProjectedLSTMCell(3)),
    *NAMED.values(),
)


class ProofError(AssertionError):
    """A gradient is not the derivative; the message says which, and by what term."""


@dataclass(repr=False)
class Proof:
    """The verdict on a cell: its ``stages`` row by row, its ``layers`` over time."""

    name: str
    num_steps: int
    hidden_size: int
    stages: list[Transposed]
    layers: list[OverTime]
    lines: list[str]  # of ``unstep`` that are wrong, where terms could not be named

    @property
    def ok(self) -> bool:
        """Whether every gradient is the derivative, for all numbers."""
        return not any(result.wrong for result in self.results)

    @property
    def error(self) -> float:
        """log10 of a bound on the probability that a cell with a wrong gradient passed."""
        return max(result.error for result in self.results)

    @property
    def results(self) -> list[Transposed | OverTime]:
        """Both, in the order in which they were come to."""
        return [*self.stages, *self.layers]

    def record(self) -> Json:
        """The result for JSON; of ``error`` its logarithm."""
        wrong = self._refuted() if not self.ok else []
        return {"cell": self.name, "ok": self.ok, "log10_error": self.error, "wrong": wrong}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}, {'proved' if self.ok else 'refuted'}>"

    def _repr_html_(self) -> str:
        """The verdict in words, for a notebook."""
        from minirnn.core.display import lines  # what is imported for a notebook only

        return lines(str(self).splitlines())

    def __str__(self) -> str:
        if not self.ok:
            return "\n".join([f"{self.name}: refuted", *(f"  {line}" for line in self._refuted())])
        cases, size = max(stage.cases for stage in self.stages), f"{self.num_steps} steps of {self.hidden_size} units"
        kinks = f", in each of the {cases} cases that its kinks make" if cases > 1 else ""
        return "\n".join(
            [
                f"{self.name}: proved for all real numbers; wrong with a probability below 1e{int(self.error)}",
                f"  unstep is the transpose of step{kinks}",
                f"  over {size} outputs and gradients are the unrolled network's:",
                *(f"    {layer.setting.words}" for layer in self.layers),
            ]
        )

    def _refuted(self) -> list[str]:
        lines = []
        for stage in self.stages:
            where = f" in {stage.place.name}" if len(self.stages) > 1 else ""
            lines += [f"{sentence}{where}" for sentence in _merged(stage.wrong)]
        lines += self.lines
        for layer in self.layers:
            if layer.wrong:
                names = ", ".join(layer.wrong)
                lines.append(f"over {self.num_steps} steps, {layer.setting.words}: not the unrolled network's: {names}")
        return lines


def prove(cell: AnyCell, *, num_steps: int = 12, hidden_size: int = 4, seed: int = 0, raises: bool = True) -> Proof:
    """Prove that every gradient of ``cell`` is the derivative of what it computes, or find the one that is not.

    The verdict holds for all real numbers that the cell is defined at, and in exact arithmetic: rounding is left out.
    Over time it holds for a layer of ``num_steps`` steps and ``hidden_size`` units, with two inputs: one row; two rows
    in both directions with lengths, zoneout, weight dropout, gradient checkpointing and trained initial states; two
    rows with lengths and skipped steps in a ``Bidirectional``; and one row through two layers with dropout between
    them and gradient checkpointing.
    Numbers are drawn with ``seed``; what is wrong passes with a probability below ``10 ** Proof.error``.

    ProofError, with the sentence of ``str(proof)``, where a gradient is wrong and ``raises``.  With SymPy installed
    (``pip install 'minirnn[prove]'``) it names the term; without it, or where the terms are too many, the line.
    TypeError for what is no cell or has no ``unstep``,
    ``UndecidedError`` for a cell that computes what exact numbers cannot follow.
    """
    check_cell(cell, check_size("hidden_size", hidden_size))
    if not trains(cell):
        raise TypeError(f"{name_of(cell)} has no unstep: there is no gradient to prove")
    num_steps = check_size("num_steps", num_steps)
    try:
        stages = [_named(transposed(place, seed), seed) for place in places_of(cell)]
        layers = list(over_time(cell, num_steps, hidden_size, seed)) if not any(s.wrong for s in stages) else []
    except SymbolicError as error:
        raise UndecidedError(f"{name_of(cell)} cannot be proved: it {error}") from None
    unnamed = any(not wrong.terms for stage in stages for wrong in stage.wrong)
    proof = Proof(name_of(cell), num_steps, hidden_size, stages, layers, _lines(cell, seed) if unnamed else [])
    if raises and not proof.ok:
        raise ProofError(str(proof))
    return proof


def _merged(wrong: list[Wrong]) -> list[str]:
    """A sentence for each wrong gradient; one for dp and dq of a gate where the same is wrong with both."""
    unnamed = [each.gradient for each in wrong if not each.terms]
    merged = [f"{each} is not the derivative" for each in unnamed[:1]]
    if len(unnamed) > 1:
        more = f" and {len(unnamed) - 6} more" if len(unnamed) > 6 else ""
        merged = [f"{', '.join(unnamed[:6])}{more} are not the derivatives"]
    sentences = {each.gradient: each.terms for each in wrong if each.terms}
    for gradient, sentence in sentences.items():
        twin = "dp" + gradient[2:] if gradient.startswith("dq") else ""
        if twin in sentences and sentences[twin] == sentence.replace("dq", "dp"):
            merged[merged.index(sentences[twin])] += " (and so for dq)"
        else:
            merged.append(sentence)
    return merged


def _lines(cell: AnyCell, seed: int) -> list[str]:
    """What is wrong in which line, as far as numbers can tell."""
    return [f"line {one.line}, {one.source}: {one.words}" for one in diagnose(cell, seed=seed) if one.line]


def _named(result: Transposed, seed: int) -> Transposed:
    """The same, with the terms of the wrong gradients where SymPy can tell them."""
    if not result.wrong or not find_spec("sympy"):
        return result
    from minirnn.testing.proof.terms import named

    for wrong in result.wrong:
        inputs = _smallest(wrong, seed)
        with suppress(UndecidedError):  # a gradient is wrong, whether or not its terms can be named
            wrong.terms = named(inputs, wrong.gradient) + ("" if inputs.H == 1 else f", with {inputs.H} units")
    return result


def _smallest(wrong: Wrong, seed: int) -> Inputs:
    """Inputs at which a gradient is wrong, with as few units as will do: a mean over one shows nothing."""
    for units in (1, 2):
        place: Place = wrong.place.of(units)
        for k in range(seed, seed + 32):
            if not Inputs(place, Point(k), (wrong.gradient,)).holds():
                return Inputs(place, Point(k), (wrong.gradient,))
    return Inputs(wrong.place, Point(wrong.seed), (wrong.gradient,))
