"""An ONNX graph that can be run: prepared nodes in order, and the constants they use."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from minirnn.core.backend import Array, converted, takes
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import LEAST, ROOM, Meter, memory_of, owner
from minirnn.formats.onnx.running.perform import PreparedNode, perform, step_of
from minirnn.formats.onnx.structure import Model


class Program:
    """A model with its nodes prepared.  ``where`` names the file in errors."""

    def __init__(self, model: Model, steps: tuple[PreparedNode, ...], where: str) -> None:
        self.inputs, self.outputs, self.nodes, self.constants, self.about, self.size, _ = model
        self.steps, self.where = steps, where
        self._constants = memory_of(self.constants.values())
        self._step = sum(step_of(step.node) for step in steps)

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(map(str, ports)) for ports in (self.inputs, self.outputs))
        counts = Counter(node.op for node in self.nodes)
        operators = ", ".join(op if n == 1 else f"{n} {op}" for op, n in counts.items())
        return f"{type(self).__name__}({inputs} -> {outputs}; {len(self.nodes)} nodes: {operators})"

    def __call__(self, *arrays: Any) -> tuple[Array, ...]:
        """The outputs in their order, for the inputs in theirs."""
        if len(arrays) != len(self.inputs):
            raise ValueError(f"the graph takes {self._wanted()}; got {len(arrays)} arrays")
        results = self.run({port.name: array for port, array in zip(self.inputs, arrays, strict=True)})
        return tuple(results[port.name] for port in self.outputs)

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
        shared = {id(owner(a)) for a in values.values()}
        values |= self.constants
        with np.errstate(all="ignore"):  # infinities and NaN are results like others
            for step in self.steps:
                perform(step, values, meter)
        results: dict[str, Array] = {}
        for port in self.outputs:
            array = values[port.name]
            if array.dtype != port.dtype:
                raise ModelFileError(f"output {port} must be as declared; it is {array.dtype}")
            if port.half or not array.flags.writeable or id(owner(array)) in shared:
                meter.claim(array.shape, array.itemsize)
                with np.errstate(all="ignore"):  # a copy: what the caller gets is the caller's
                    array = array.astype(np.float16 if port.half else array.dtype)
                meter.hold(array)
            shared.add(id(owner(array)))
            results[port.name] = array
        return results

    def _admit(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        names = {port.name for port in self.inputs}
        if set(inputs) != names:
            raise ValueError(f"the graph takes {self._wanted()}; got {', '.join(map(repr, inputs)) or 'none'}")
        admitted = {}
        for port in self.inputs:
            value = inputs[port.name]
            try:
                array = np.asarray(value)
            except ValueError as error:
                raise ValueError(f"input {port} must be one array; {error}") from None
            if not hasattr(value, "dtype") and array.dtype.kind in ("iuf" if port.dtype.kind == "f" else "iu"):
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
