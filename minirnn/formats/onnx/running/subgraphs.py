"""The operators that hold graphs, Scan, If and Loop, and an If whose condition is known, which its branch takes the
place of.

A graph within reads values around it by name: a node lists these behind its own inputs (``Body.captured``).
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import Meter
from minirnn.formats.onnx.running.operands import axis_of, of_kind, optional, scalar
from minirnn.formats.onnx.running.perform import Operands, Operation, PreparedNode, around, perform
from minirnn.formats.onnx.structure import Body, Node

Prepare = Callable[[Iterable[Node], dict[str, Array], set[str]], "tuple[tuple[PreparedNode, ...], dict[str, Array]]"]


class Inner(NamedTuple):
    """A graph within a node, prepared: what it reads of the graph around, ``first`` of which is that input's place."""

    body: Body
    steps: tuple[PreparedNode, ...]
    constants: dict[str, Array]
    first: int

    @classmethod
    def of(cls, node: Node, body: Body, first: int, prepare: Prepare) -> "Inner":
        """Prepared with what is known of the values around it."""
        known = {
            name: a
            for name, a in zip(body.captured, node.constants[first : first + len(body.captured)], strict=True)
            if a is not None
        }
        steps, constants = prepare(copies(body, node.backend), known | body.constants, set(body.outputs))
        return cls(body, steps, constants, first)

    def around(self, operands: Operands) -> dict[str, Array]:
        """The values that are there before anything within is run."""
        read = operands[self.first : self.first + len(self.body.captured)]
        return dict(zip(self.body.captured, read, strict=True)) | self.constants

    def run(self, values: dict[str, Array], meter: Meter) -> list[Array]:
        """The outputs, of ``values``, to which those that are computed are added; ``forget`` takes them away."""
        for step in self.steps:
            perform(step, values, meter)
        return [values[name] for name in self.body.outputs]


def forget(values: dict[str, Array], before: set[str], meter: Meter) -> None:
    """Release what was computed since only the values ``before`` were there."""
    for name in values.keys() - before:
        meter.release(values[name])


def copies(body: Body, backend: str) -> Iterator[Node]:
    """The nodes of a graph within, for one use of it on a backend."""
    for inner in body.nodes:
        node = copy.copy(inner)
        node.backend, node.unread = backend, set(node.attributes)
        yield node


# ---------------------------------------------------------------------- If


def branches(node: Node) -> tuple[Body, Body]:
    """The graph for True and the one for False."""
    bodies: tuple[Body, Body] = (node.needed("then_branch", Body), node.needed("else_branch", Body))
    for body in bodies:
        if body.inputs or len(body.outputs) != len(node.outputs):
            raise ModelFileError(
                f"a branch must have no inputs and {len(node.outputs)} outputs, as the node; "
                f"it has {len(body.inputs)} and {len(body.outputs)}"
            )
    return bodies


def if_(node: Node, prepare: Prepare) -> Operation:
    """One of two graphs, by a condition (onnx.ai, If)."""
    yes, no = branches(node)
    first = node.declared
    inner = (Inner.of(node, yes, first, prepare), Inner.of(node, no, first + len(yes.captured), prepare))

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        chosen = inner[not scalar(of_kind(operands[0], "b"))]
        meter.spend(around(chosen.body))
        values = chosen.around(operands)
        before = set(values)
        outputs = chosen.run(values, meter)
        forget(values, before, meter)  # perform holds what is returned
        return outputs

    return run


def folded(node: Node, condition: Array, taken: set[str]) -> tuple[list[Node], dict[str, Array]]:
    """The nodes that an If with a known condition stands for, and their constants.

    Names within get new ones, none of those that are ``taken``, to which they are added.
    """
    bodies = branches(node)
    no = not scalar(of_kind(condition, "b"))
    body, first = bodies[no], node.declared + (len(bodies[0].captured) if no else 0)
    names = dict(zip(body.captured, node.inputs[first:], strict=False)) | {"": ""}
    title = next(filter(None, node.outputs), "")

    def renamed(name: str) -> str:
        k, new = 0, f"{title}/{name}"
        while new in taken:
            k, new = k + 1, f"{title}/{k}/{name}"
        taken.add(new)
        names[name] = new
        return new

    constants = {renamed(name): a for name, a in body.constants.items()}
    made = []
    for inner in copies(body, node.backend):
        inner.inputs = tuple(names[name] for name in inner.inputs)
        inner.outputs = tuple(renamed(name) if name else "" for name in inner.outputs)
        made.append(inner)
    for name, outer in zip(body.outputs, node.outputs, strict=True):
        if outer:
            made.append(Node("Identity", "", (names[name],), (outer,), node.opset, node.backend))
    return made, constants


# ---------------------------------------------------------------------- Loop


def loop(node: Node, prepare: Prepare) -> Operation:
    """A graph run again and again, each time on the state that it gave before (onnx.ai, Loop).

    It takes the number of the time, a condition and the state; it gives whether to go on, the state, and a step of each
    sequence that comes out.  There is a greatest number of times, or a condition, or both.
    """
    body: Body = node.needed("body", Body)
    states = node.declared - 2
    stacked = len(body.outputs) - 1 - states
    if states < 0 or len(body.inputs) != states + 2 or stacked < 0 or len(node.outputs) > states + stacked:
        raise ModelFileError(
            f"the graph within must take the number of the time, a condition and {max(0, states)} states, and give a "
            f"condition, those states and sequences; it has {len(body.inputs)} inputs and {len(body.outputs)} outputs"
        )
    inner = Inner.of(node, body, node.declared, prepare)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        times, going = optional(operands, 0), optional(operands, 1)
        most = None if times is None else int(scalar(of_kind(times, "iu")))
        on = True if going is None else bool(scalar(of_kind(going, "b")))
        fixed, flow = inner.around(operands), list(operands[2 : node.declared])
        pieces: list[list[Array]] = [[] for _ in range(stacked)]
        t = 0
        while on and (most is None or t < most):
            meter.spend(around(body))
            values = fixed | dict(zip(body.inputs, [np.array(t, np.int64), np.array(on), *flow], strict=True))
            before = set(values)
            go_on, *after = inner.run(values, meter)
            on, flow, t = bool(scalar(of_kind(go_on, "b"))), after[:states], t + 1
            for k, piece in enumerate(after[states:]):
                if pieces[k] and (piece.shape, piece.dtype) != (pieces[k][0].shape, pieces[k][0].dtype):
                    raise ModelFileError(f"every time must give shape {pieces[k][0].shape}; one gives {piece.shape}")
                meter.claim(piece.shape, piece.itemsize)
                pieces[k].append(piece.copy())
                meter.hold(pieces[k][-1])
            forget(values, before, meter)
        if stacked and not t:
            raise ModelFileError("a Loop that gives sequences must run at least once; it does not")
        sequences = []
        for each in pieces:
            meter.claim((len(each), *each[0].shape), each[0].itemsize)
            sequences.append(np.stack(each))
            for piece in each:
                meter.release(piece)
        return [*flow, *sequences]

    return run


# ---------------------------------------------------------------------- Scan


def scan(node: Node, prepare: Prepare) -> Operation:
    """States, then sequences, into final states, then sequences (onnx.ai, Scan, opset 9 and later).

    The graph within takes the states and one step of each sequence, and gives the next states and a step of each
    sequence that comes out.  All sequences have one length, T; which axis that is, and whether they run from its end to
    its beginning, are attributes.
    """
    body: Body = node.needed("body", Body)
    sequences = node.needed("num_scan_inputs", int)
    states, stacked = node.declared - sequences, len(node.outputs) - (node.declared - sequences)
    if sequences < 1 or states < 0 or stacked < 0:
        raise ModelFileError(
            f"there must be from 1 to {node.declared} sequences, and an output for each state; "
            f"num_scan_inputs is {sequences}, and there are {len(node.outputs)} outputs"
        )
    if (len(body.inputs), len(body.outputs)) != (node.declared, len(node.outputs)):
        raise ModelFileError(
            f"the graph within must have {node.declared} inputs and {len(node.outputs)} outputs, as the node; "
            f"it has {len(body.inputs)} and {len(body.outputs)}"
        )
    axes_in, axes_out = (
        per_sequence(node, f"scan_{word}_axes", n) for word, n in (("input", sequences), ("output", stacked))
    )
    back_in, back_out = (
        [bool(way) for way in per_sequence(node, f"scan_{word}_directions", n)]
        for word, n in (("input", sequences), ("output", stacked))
    )
    inner = Inner.of(node, body, node.declared, prepare)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        flow = list(operands[:states])
        read = [
            (np.moveaxis(a, axis_of(axis, a.ndim), 0), back)
            for a, axis, back in zip(operands[states : node.declared], axes_in, back_in, strict=True)
        ]
        lengths = {len(a) for a, _ in read}
        T = lengths.pop()
        if lengths or not T:
            raise ModelFileError(f"sequences must have one length, above 0; they have {sorted({T, *lengths})}")
        meter.spend(T * around(body))
        fixed = inner.around(operands)
        made: list[Array] = []
        for t in range(T):
            now = [np.asarray(a[-1 - t if back else t]) for a, back in read]
            values = fixed | dict(zip(body.inputs, [*flow, *now], strict=True))
            before = set(values)
            after = inner.run(values, meter)
            for k, (old, new) in enumerate(zip(flow, after, strict=False)):
                if (old.shape, old.dtype) != (new.shape, new.dtype):
                    raise ModelFileError(
                        f"state {k} must stay of shape {old.shape} {old.dtype}; it becomes {new.shape} {new.dtype}"
                    )
            flow = after[:states]
            if not t:
                for a in after[states:]:
                    meter.claim((T, *a.shape), a.itemsize)
                    made.append(np.empty((T, *a.shape), a.dtype))
                    meter.hold(made[-1])
            for a, whole, back in zip(after[states:], made, back_out, strict=True):
                if (a.shape, a.dtype) != (whole.shape[1:], whole.dtype):
                    raise ModelFileError(
                        f"every step must give shape {whole.shape[1:]} {whole.dtype}; one gives {a.shape}"
                    )
                whole[-1 - t if back else t] = a
            forget(values, before, meter)
        for whole in made:
            meter.release(whole)  # and perform holds what is returned
        return [*flow, *(np.moveaxis(a, 0, axis_of(axis, a.ndim)) for a, axis in zip(made, axes_out, strict=True))]

    return run


def per_sequence(node: Node, name: str, count: int) -> list[int]:
    """An attribute that has a number for each sequence, by default 0."""
    numbers: list[int] = node.values(name, int) or [0] * count
    if len(numbers) != count:
        raise ModelFileError(f"{name} must have {count} numbers; it has {len(numbers)}")
    return numbers
