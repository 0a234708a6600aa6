"""A graph of ONNX while it is written: nodes with names that say where they stand, and the constants they need."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import onnx
from onnx import helper, numpy_helper

from minirnn.core.backend import Array


class Emitter:
    """The nodes of one graph, in the order in which they are to run, and what is constant in it.

    A value is known by its name, a string, which is what every method takes and returns.  ``inner`` is the emitter of a
    graph within this one, the body of a Scan: it sees the values and constants here, so no name is used twice.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype, self.kind, self.scope = dtype, helper.np_dtype_to_tensor_dtype(dtype), ""
        self.nodes: list[onnx.NodeProto] = []
        self.indices: set[str] = set()  # the values that are integers
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._taken: set[str] = set()

    @property
    def double(self) -> bool:
        """Whether the model is in float64, for which onnxruntime lacks some operators."""
        return self.dtype == np.float64

    def inner(self) -> Self:
        """An emitter for the body of a node of this graph."""
        body = copy.copy(self)
        body.nodes = []
        return body

    @contextmanager
    def within(self, prefix: str) -> Iterator[None]:
        """Name what is emitted here after the layer that stands at ``prefix``."""
        before, self.scope = self.scope, prefix
        yield
        self.scope = before

    def name(self, wanted: str) -> str:
        """``wanted``, or with a number behind it if that is taken, for a new value."""
        free, count = wanted, 1
        while free in self._taken:
            count += 1
            free = f"{wanted}_{count}"
        self._taken.add(free)
        return free

    # ------------------------------------------------------------------ nodes

    def many(self, kind: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """A node with ``count`` outputs; an input that is left out is ``""``."""
        name = self.name(self.scope + kind)
        outputs = [name] if count == 1 else [self.name(f"{name}.{k}") for k in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        return outputs

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.many(kind, inputs, 1, **attributes)[0]

    def port(self, name: str, shape: list[int | str], kind: int = 0) -> onnx.ValueInfoProto:
        """An input or output of the graph, in the model's dtype unless ``kind`` is another element type."""
        return helper.make_tensor_value_info(name, kind or self.kind, shape)

    def output(self, name: str, value: str) -> None:
        """Give a value the name of an output, a name that ``name`` returned."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))

    def index(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node whose output is indices, as its input was."""
        value = self(kind, *inputs, **attributes)
        self.indices.add(value)
        return value

    # ------------------------------------------------------------------ constants

    def weight(self, name: str, values: Array) -> str:
        """A weight of the layer that is being written, under its own name; the same name again is the same weight."""
        full = self.scope + name
        if full not in self.initializers:
            self._taken.add(full)
            self.initializers[full] = numpy_helper.from_array(np.ascontiguousarray(values), full)
        return full

    def constant(self, values: Any, dtype: Any) -> str:
        """A small constant; equal ones are one."""
        array = np.asarray(values, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            words = "_".join(str(v) for v in array.reshape(-1).tolist()) or "none"
            name = self.name(f"constant_{words}")
            self._constants[key] = name
            self.initializers[name] = numpy_helper.from_array(array, name)
        return self._constants[key]

    def number(self, value: float) -> str:
        """A number in the model's dtype."""
        return self.constant(value, self.dtype)

    def integers(self, *values: int) -> str:
        """A list of int64: axes, sizes, places."""
        return self.constant(values, np.int64)
