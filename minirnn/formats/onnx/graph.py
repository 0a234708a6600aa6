"""An ONNX graph as something that can be run: nodes in order, and the constants they use."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.core.backend import Array, converted, takes
from minirnn.core.files import ModelFileError
from minirnn.core.layer import Layer
from minirnn.formats.onnx.meter import CALL, LEAST, NAME, ROOM, STEP, Meter, memory_of, owner
from minirnn.formats.onnx.tensors import short

Given: TypeAlias = Sequence[Any]  # arrays; None for an input that is left out
Run: TypeAlias = "Callable[[Meter, Given], Sequence[Array]]"


class Node:
    """One node: an operator of the standard, the names it reads and writes, and its attributes.

    ``constants`` are those of its inputs that are known before any run.  Of the names that it reads, the first
    ``declared`` are the operator's inputs; what follows is used by a graph within it.
    """

    def __init__(
        self,
        op: str,
        name: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        opset: int,
        backend: str,
    ) -> None:
        self.op, self.name, self.inputs, self.outputs = op, name, inputs, outputs
        self.opset, self.backend, self.declared = opset, backend, len(inputs)
        self.attributes: dict[str, Any] = {}
        self.unread: set[str] = set()
        self.constants: list[Array | None] = [None] * len(inputs)

    def __str__(self) -> str:
        named = self.name or next(filter(None, self.outputs), "")
        op = self.op[:60]  # which a file may have made up
        return f"node {short(named)} ({op if op.isidentifier() else repr(op)})"

    def attribute(self, name: str, kind: type, default: Any = None) -> Any:
        """An attribute, which must be of that kind, or its default."""
        self.unread.discard(name)
        if name not in self.attributes:
            return default
        value = self.attributes[name]
        if not isinstance(value, kind):
            raise ModelFileError(f"attribute {name} must be of kind {kind.__name__}; got {type(value).__name__}")
        return value

    def needed(self, name: str, kind: type) -> Any:
        """An attribute that must be there."""
        value = self.attribute(name, kind)
        if value is None:
            raise ModelFileError(f"attribute {name} must be given; it is missing")
        return value

    def flag(self, name: str, *, default: int = 0) -> bool:
        """An attribute that is 0 or 1."""
        return bool(self.attribute(name, int, default))

    def values(self, name: str, kind: type) -> list[Any] | None:
        """An attribute that is a list of one kind."""
        found = self.attribute(name, list)
        for value in found or ():
            if not isinstance(value, kind):
                raise ModelFileError(f"attribute {name} must hold {kind.__name__}s; it holds {type(value).__name__}s")
        return found  # type: ignore[no-any-return]  # a list, or None


class Body(NamedTuple):
    """A graph within a node: names of what goes in and comes out, and of what it uses of the graph around it.

    ``constants`` are its own.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    captured: tuple[str, ...]


def around(body: Body) -> int:
    """The time for one step of a Scan, beside its nodes': all of its values are handed on, by name."""
    return CALL + NAME * sum(map(len, (body.inputs, body.outputs, body.captured, body.constants)))


class Port(NamedTuple):
    """What goes into a graph or comes out: a name, a shape, and the dtype that stands for the element type.

    A size is a number, or a name or None where any will do; a shape is None where any will do.
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: np.dtype[Any]
    half: bool = False  # float16 in the file: computed in float32 all the same

    def __str__(self) -> str:
        shape = (
            "of any shape" if self.shape is None else f"({', '.join('?' if n is None else str(n) for n in self.shape)})"
        )
        return f"{short(self.name)} {shape} {self.dtype}"


class Step(NamedTuple):
    """A node made ready: the function, and the names whose last use this is."""

    node: Node
    run: Run
    ended: tuple[str, ...]


class Graph:
    """A model of ONNX, for inference: ``outputs = graph.run({"x": x})``, or ``y, *more = graph(x, ...)`` in order.

    ``inputs`` and ``outputs`` are tuples of ``Port``: name, shape, dtype.  Recurrent nodes are run by minirnn's layers.
    What it computes is what the standard says, in the dtypes of the file; only float16 and bfloat16 are computed in
    float32, and an output of float16 is rounded to it.

    Made by ``read``.  ``nodes`` are all nodes in order, ``constants`` the values in use that no input reaches,
    ``where`` the file, for errors, ``about`` what the file says beside: its producer, and metadata by name, ``size``
    how many bytes it has.
    """

    def __init__(
        self,
        inputs: tuple[Port, ...],
        outputs: tuple[Port, ...],
        nodes: tuple[Node, ...],
        constants: dict[str, Array],
        steps: tuple[Step, ...],
        where: str,
        about: dict[str, str],
        size: int,
    ) -> None:
        self.inputs, self.outputs, self.nodes, self.constants, self.steps = inputs, outputs, nodes, constants, steps
        self.where, self.about, self.size = where, about, size
        self._constants = memory_of(constants.values())
        self._step = sum(step_of(step.node) for step in steps)

    def __repr__(self) -> str:
        ports = [", ".join(map(str, ports)) for ports in (self.inputs, self.outputs)]
        return f"Graph({ports[0]} -> {ports[1]}; {len(self.nodes)} nodes: {_counted(node.op for node in self.nodes)})"

    def __call__(self, *arrays: Any) -> tuple[Array, ...]:
        """The outputs in their order, for the inputs in theirs."""
        if len(arrays) != len(self.inputs):
            raise ValueError(f"the graph takes {self._wanted()}; got {len(arrays)} arrays")
        found = self.run({port.name: array for port, array in zip(self.inputs, arrays, strict=True)})
        return tuple(found[port.name] for port in self.outputs)

    def run(self, inputs: Mapping[str, Any], *, limit: int | None = None) -> dict[str, Array]:
        """The outputs by name.

        ``inputs`` has an array for each of the graph's inputs.  A graph may not be what it seems, so what it may take
        is limited: results to 40 MiB, twice the weights, and 4 KiB for each byte that goes in, at a time, less what was
        computed when it was read; and time, to what goes with the input and the weights.  Of a graph that you trust,
        ``limit`` is how many bytes results may take, and then it may take its time.

        Raises ValueError for inputs that do not fit, and ModelFileError, a ValueError, where a node cannot be run on
        what reaches it: the sentence names the node.
        """
        values = self._admit(inputs)
        fed = sum(a.nbytes for a in values.values())
        return self._run(values, Meter.running(self.size, self._constants, fed, self._step, limit))

    def trial(self, inputs: Mapping[str, Any], time: int) -> dict[str, Array]:
        """The outputs by name, of a run that may take so many nanoseconds and leaves memory for layers beside it."""
        values = self._admit(inputs)
        room = Meter.running(self.size, self._constants, 0, 0).room - ROOM // 2
        return self._run(values, Meter(max(LEAST, room), time))

    def _run(self, values: dict[str, Array], meter: Meter) -> dict[str, Array]:
        taken = {id(owner(a)) for a in values.values()}
        values |= self.constants
        with np.errstate(all="ignore"):  # infinities and NaN are results like others
            for step in self.steps:
                perform(step, values, meter)
        found: dict[str, Array] = {}
        for port in self.outputs:
            array = values[port.name]
            if array.dtype != port.dtype:
                raise ModelFileError(f"output {port} must be as declared; it is {array.dtype}")
            if port.half or not array.flags.writeable or id(owner(array)) in taken:
                meter.claim(array.shape, array.itemsize)
                with np.errstate(all="ignore"):  # a copy: what the caller gets is the caller's
                    array = array.astype(np.float16 if port.half else array.dtype)
                meter.hold(array)
            taken.add(id(owner(array)))
            found[port.name] = array
        return found

    def layers(self, *, backend: str = "auto", dtype: Any = None) -> Layer:
        """The chain of minirnn's layers that computes the same, time first whatever the graph has first.

        It can be trained, saved, streamed.  ModelFileError names the node for which there is no layer.
        """
        from minirnn.formats.onnx.chain import layers_of  # which stands on this module

        return layers_of(self, either_first=True, backend=backend, dtype=dtype)

    def _admit(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        names = {port.name for port in self.inputs}
        if set(inputs) != names:
            raise ValueError(f"the graph takes {self._wanted()}; got {', '.join(map(repr, inputs)) or 'none'}")
        admitted = {}
        for port in self.inputs:
            given = inputs[port.name]
            try:
                array = np.asarray(given)
            except ValueError as error:
                raise ValueError(f"input {port} must be one array; {error}") from None
            if not hasattr(given, "dtype") and array.dtype.kind in ("iuf" if port.dtype.kind == "f" else "iu"):
                array = array.astype(port.dtype)  # a list of numbers
            fits = port.shape is None or (
                len(port.shape) == array.ndim
                and all(not isinstance(n, int) or n == m for n, m in zip(port.shape, array.shape, strict=True))
            )
            floats = port.dtype.kind == "f" and takes(port.dtype, array.dtype)
            if not fits or not (floats or np.can_cast(array.dtype, port.dtype, "safe")):
                raise ValueError(f"input {port} is expected; got {array.shape} {array.dtype}")
            admitted[port.name] = converted(f"input {port.name}", array, port.dtype)
        return admitted

    def _wanted(self) -> str:
        return f"inputs {', '.join(map(str, self.inputs))}" if self.inputs else "no inputs"


def perform(step: Step, values: dict[str, Array], meter: Meter) -> None:
    """Run one node: its results join ``values``, and what nothing needs after it leaves."""
    node = step.node
    given = [values[name] if name else None for name in node.inputs]
    try:
        meter.spend(cost_of(node))
        results = step.run(meter, given)
        for name, result in zip(node.outputs, results, strict=False):  # those at the end may be left out
            if name:
                values[name] = np.asarray(result)
                meter.hold(values[name], given)
    except ModelFileError as error:
        raise type(error)(f"{node}: {error!s:.500}") from None
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"{node} cannot be run: {' '.join(str(error).split()):.300}") from None
    for name in step.ended:
        meter.release(values.pop(name))


def cost_of(node: Node) -> int:
    """The time around a node, whatever it computes."""
    return CALL + NAME * (len(node.inputs) + len(node.outputs))


def step_of(node: Node) -> int:
    """The time around one step, where a node is a recurrence."""
    body = node.attributes.get("body")
    if isinstance(body, Body):
        return around(body) + sum(map(cost_of, body.nodes))
    return 2 * STEP if node.op in ("RNN", "GRU", "LSTM") else 0


def _counted(words: Iterator[str]) -> str:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(word if n == 1 else f"{n} {word}" for word, n in counts.items())
