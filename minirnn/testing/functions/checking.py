"""``check``: is this backward pass the transposed derivative of this function?

The scalar that is differentiated is the sum of all outputs times random numbers dy, which the backward pass gets.
Every argument is moved along random directions; what the gradients say of these must be what the function does.  Where
it is not, entries are taken one by one, to say which are wrong and how.

How far the two may differ is no constant.  Both are computed again where all arguments are a rounding error away, and
by how much they change then is how well they are known; a difference estimates its own error.  So a function that loses
digits is not called wrong for it, and one that does not is held to all of them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minirnn.testing.functions.calling_faults import faults_of_calls
from minirnn.testing.functions.calls import Form, Function
from minirnn.testing.functions.comparing import LEAST, Check, Compared
from minirnn.testing.functions.faults import MEAN, SIGN, TRANSPOSED, UNKNOWN, UNSUMMED, Fault, Scene, faults_of
from minirnn.testing.functions.mending import LATEST, Mend
from minirnn.testing.functions.repair import repairs
from minirnn.testing.report import WORST, GradientError, Report, Row

CERTAIN = (SIGN, MEAN, TRANSPOSED, UNSUMMED)  # patterns of a whole gradient, which a line cannot say better
STREAM = 1970  # our own random numbers: default_rng(seed) is where many an argument comes from
NOTHING = 1e-8  # a derivative so small may be rounding


@dataclass(frozen=True, repr=False)
class FunctionReport(Report):
    """The report of ``check``: rows, what is wrong in words, and remarks on what could not be decided."""

    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if every gradient agrees, and nothing else is wrong."""
        return super().ok and not self.faults

    @property
    def words(self) -> tuple[str, ...]:
        """The faults, and the remarks, in words."""
        return (*map(str, self.faults), *self.remarks)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *self.words])


def check(
    f: Any,
    backward: Any = None,
    *args: Any,
    form: Form | None = None,
    wrt: Sequence[str] | None = None,
    into: Sequence[str] = (),
    accumulates: bool = False,
    fast: bool = False,
    seed: int = 0,
    raises: bool = True,
) -> FunctionReport:
    """Hold a backward pass by hand against derivatives of the function; return the report.

    ``f`` and ``backward`` have one of these forms, which is seen from what they return and take, or named by ``form``::

        "vjp"      f(*args) -> y                   backward(dy, *args) -> gradients
        "cache"    f(*args) -> (y, cache)          backward(dy, cache) -> gradients
        "closure"  f(*args) -> (y, backward)       no second argument
        "loss"     f(*args) -> (loss, gradients)   no second argument
        "object"   f.forward(*args) -> y           f.backward(dy) -> gradients of args; those of parameters in f

    Arguments may be arrays of any float type, which are made float64, numbers, and lists, tuples, dicts and dataclasses
    of them.  Integers, booleans and everything else are handed on as they are.  Gradients come in the order of the
    arguments, or in a dict by their names; ``wrt`` names the arguments that they are of, where they are not of the
    first, and nothing is remarked on the others then.  ``into`` names arguments of whose shapes backward gets arrays of
    zeros, last, to add to.  ``accumulates`` demands that a second call adds to an object's gradients.

    Random numbers of NumPy's and Python's global generators, and of generators among the arguments, are the same in
    every call.  At a kink, where there is no derivative, another point nearby decides.

    ``fast`` moves all arguments at once along one random direction, by a complex step where that passes: about ten
    calls of f, whatever the sizes; it says that something is wrong, not what.

    Raises GradientError with the report if something is wrong, unless ``raises`` is False; TypeError or ValueError
    where f and backward cannot be called so, where values are not finite, and where f is not the same twice.
    """
    if backward is not None and not callable(backward):
        args, backward = (backward, *args), None
    function = Function(f, backward, args, form=form, into=into)
    for name in wrt or ():
        if name not in function.names:
            raise ValueError(f"wrt must name arguments of f, {', '.join(function.names)}; got {name!r}")
    report = report_of(function, wrt=wrt, accumulates=accumulates, fast=fast, seed=seed)
    if raises and not report.ok:
        raise GradientError(f"a gradient differs from the derivative\n{report}")
    return report


def report_of(
    function: Function,
    *,
    wrt: Sequence[str] | None = None,
    accumulates: bool = False,
    fast: bool = False,
    seed: int = 0,
) -> FunctionReport:
    """``check`` of what is a ``Function`` already."""
    point = Check(function, np.random.default_rng([seed, STREAM]), wrt)
    return _fast(point) if fast else _whole(point, accumulates=accumulates)


def _whole(point: Check, *, accumulates: bool) -> FunctionReport:
    """Everything that can be said at a point."""
    compared = [point.compared(leaf) for leaf in point.judged]
    wrong = [one for one in compared if not one.holds]
    if wrong and not point.sees_derivatives(wrong):
        wrong = [one for one in point.away_from_kinks(wrong) if point.contradicted(one)]
    scene = Scene(point.function, point.result, point.dys, point.values)
    mends = repairs(point, {one.leaf.path: one.d for one in wrong}) if wrong else []
    faults: list[Fault] = []
    for one in wrong:
        mend = next((repair.mend for repair in mends if one.leaf.path in repair.paths), None)
        found = mend is not None and mend.pattern != UNKNOWN
        quick = found or point.function.formula is not None or time.process_time() > LATEST.get()
        fault = faults_of(one, point.gradients[one.leaf.path], scene, quick=quick)
        faults.append(fault if mend is None else mended(fault, mend))
    faults += faults_of_calls(point, accumulates=accumulates)
    remarks = [*point.remarks, *(_on_the_rest(point) if point.wrt is None else ())]
    paths = {one.leaf.path for one in wrong}
    rows = tuple(_row(one, _method(point), wrong=one.leaf.path in paths) for one in compared)
    return FunctionReport(rows, point.exact is not False, tuple(faults), tuple(remarks))


def _fast(point: Check) -> FunctionReport:
    """All arrays moved at once, along one direction."""
    way = {leaf.path: point.rng.normal(size=leaf.array.shape) for leaf in point.judged}
    terms = [point.said(leaf, way[leaf.path]) for leaf in point.judged]
    d, off = point.paired(point.slope(way, sure=False))
    said = float(sum(value for value, _ in terms))
    allowed = off + LEAST * (sum(size for _, size in terms) + abs(d))
    row = Row("all arguments", (), "y", _method(point), abs(said - d), abs(d), allowed / max(1.0, abs(d)), ())
    return FunctionReport((row,), point.exact is not False)


def _method(point: Check) -> str:
    return "complex step" if point.exact else "difference"


def _row(one: Compared, method: str, *, wrong: bool) -> Row:
    shape, scale = one.leaf.array.shape, float(np.abs(one.d).max(initial=0.0))
    if one.g.shape != one.d.shape:
        return Row(one.leaf.name, shape, "y", method, np.inf, scale, 0.0, ())
    off, allowed = np.nan_to_num(np.abs(one.g - one.d), nan=np.inf).ravel(), one.allowed.ravel()
    error = float(off.max(initial=0.0))
    tolerance = float(allowed[off.argmax()] if off.size else 0.0) / max(1.0, scale)
    if not wrong:  # what a kink or rounding explains is no error of the gradient's
        tolerance = max(tolerance, error / max(1.0, scale))
    worst = [int(k) for k in np.argsort(-off)[:WORST] if off[k] > allowed[k]] if wrong else []
    spelt = tuple(
        (tuple(int(n) for n in np.unravel_index(k, shape)), float(one.g.ravel()[k]), float(one.d.ravel()[k]))
        for k in worst
    )
    return Row(one.leaf.name, shape, "y", method, error, scale, tolerance, spelt)


def _on_the_rest(point: Check) -> Iterator[str]:
    """Remarks on arguments of which no gradient was returned though f depends on them."""
    for leaf in point.function.leaves:
        if leaf.path not in point.gradients and leaf.array.size and leaf.array.ndim:
            slope = point.slope({leaf.path: point.rng.normal(size=leaf.array.shape)}, sure=False)
            if np.abs(slope.value).max(initial=0.0) > NOTHING:
                yield f"{leaf.name}: f depends on it, and no gradient was returned; that was not judged"


def mended(fault: Fault, mend: Mend) -> Fault:
    """A fault with the line that mends it; what the line says is believed where the numbers say little."""
    pattern, words = fault.pattern, fault.words
    if pattern not in CERTAIN and mend.pattern != UNKNOWN:
        pattern, words = mend.pattern, mend.words
    return replace(fault, pattern=pattern, words=words, line=mend.line, source=mend.source)
