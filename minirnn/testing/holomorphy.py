"""Where a step is not differentiable in the complex plane: the operations that a complex step does not pass through."""

import linecache
import warnings

import numpy as np

from minirnn.testing.differences import SAFETY, differentiate
from minirnn.testing.point import NO_COMPLEX, STEP, Point, equal
from minirnn.testing.recording import Operation, Overrides, Ref, Tape, Value, record

SPELT = {"absolute": "np.abs", "real": ".real", "imag": ".imag", "var": ".var()", "astype": ".astype"}


def broken_by(point: Point) -> list[str]:
    """The operations of ``step`` whose complex step is no derivative, with their lines; [] where they are not seen."""
    labels = [str(k) for k in range(2 + len(point.flow) + len(point.units))]
    try:
        tape = record(point.stage.step, (point.p, point.q, point.flow, *point.units), labels)
    except Exception:  # noqa: BLE001 - where a reader's code cannot be recorded, the place stays unsaid
        return []
    rng = np.random.default_rng(0)
    places = {}
    for node in tape.nodes:
        if node.function is not None and node.inner and not _passes(node, tape, rng):
            line = linecache.getline(tape.file, node.inner).strip()
            name = SPELT.get(node.label, f"np.{node.label}")
            places[node.label, node.inner] = f"{name} in line {node.inner}" + (f": {line}" if line else "")
    return list(places.values())


def _passes(node: Operation, tape: Tape, rng: np.random.Generator) -> bool:
    """Whether the complex step of one operation is its derivative, along a random direction."""
    ways = {k: rng.normal(size=np.shape(tape.nodes[k].value)) for k in node.refs if _real(tape.nodes[k].value)}
    if not ways or not _real(node.value):
        return True

    def at(h: complex) -> Value:
        values = {k: tape.nodes[k].value + h * way for k, way in ways.items()}
        return node.function(*_replaced(node.args, values, tape), **_replaced(node.kwargs, values, tape))  # type: ignore[misc]

    try:
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            exact = np.asarray(at(1j * STEP)).imag / STEP
    except NO_COMPLEX:
        return False
    near = differentiate(at)
    judged = np.isfinite(near.error)
    error = float(near.error[judged].max(initial=0.0)) * SAFETY
    return equal(exact[judged], near.value[judged], 1e-5 + error)


def _real(value: object) -> bool:
    return isinstance(value, (np.ndarray, np.number)) and np.asarray(value).dtype.kind == "f"


def _replaced(value: Value, values: Overrides, tape: Tape) -> Value:
    if type(value) in (tuple, list):
        return type(value)(_replaced(part, values, tape) for part in value)
    if type(value) is dict:
        return {key: _replaced(part, values, tape) for key, part in value.items()}
    return values.get(value.node, tape.nodes[value.node].value) if isinstance(value, Ref) else value
