"""ONNX graphs as data: nodes with their attributes, graphs within nodes, ports, element types, names of functions."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError

LARGEST_DIM = 2**40  # entries along one axis
MOST_AXES = 32

FLOAT, FLOAT16, DOUBLE, BFLOAT16, INT64 = 1, 10, 11, 16, 7
# what is computed with: float16 and bfloat16 are widened to float32, which holds all of their numbers
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float32",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "float32",
}
NAMES = {
    0: "none",
    8: "string",
    14: "complex64",
    15: "complex128",
    17: "float8e4m3fn",
    18: "float8e4m3fnuz",
    19: "float8e5m2",
    20: "float8e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4e2m1",
}
# functions of minirnn by what ONNX calls them; these are operators, and activations of recurrent nodes
SHARED = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "LeakyRelu": "leaky_relu",
    "ThresholdedRelu": "thresholded_relu",
    "HardSigmoid": "hard_sigmoid",
    "Elu": "elu",
    "Softplus": "softplus",
    "Softsign": "softsign",
}
ACTIVATIONS = SHARED | {"Affine": "affine", "ScaledTanh": "scaled_tanh"}
FUNCTIONS = SHARED | {
    "Exp": "exponential",
    "Mish": "mish",
    "HardSwish": "hard_swish",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}


def short(text: str) -> str:
    """A name of the file for a sentence: quoted, in one line, and no longer than a line."""
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}..."


def dtype_of(code: int, what: str = "") -> np.dtype[Any]:
    """The dtype that stands for an element type, or ModelFileError, which begins with ``what`` has it."""
    if code not in DTYPES:
        named, begins = NAMES.get(code, f"number {code}"), f"{what}: " if what else ""
        raise ModelFileError(f"{begins}element types must be floats of 16 to 64 bits, integers or bool; got {named}")
    return np.dtype(DTYPES[code])


def check_shape(what: str, shape: tuple[int, ...]) -> None:
    """Raise ModelFileError for a shape that no array has."""
    if len(shape) > MOST_AXES:
        raise ModelFileError(f"{what} must have at most {MOST_AXES} axes; it has {len(shape)}")
    if any(not 0 <= n <= LARGEST_DIM for n in shape) or math.prod(n for n in shape if n) > LARGEST_DIM:
        raise ModelFileError(f"{what} must have a size from 0 to {LARGEST_DIM:,} along each axis; it has {shape}")


@dataclass(eq=False)
class Node:
    """One node: an operator of the standard, the names it reads and writes, and its attributes.

    ``constants`` are those of its inputs that are known before any run.  Of the names that it reads, the first
    ``declared`` are the operator's inputs; what follows is used by a graph within it.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    backend: str
    attributes: dict[str, Any] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.declared = len(self.inputs)
        self.constants: list[Array | None] = [None] * self.declared

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
        listed = self.attribute(name, list)
        for value in listed or ():
            if not isinstance(value, kind):
                raise ModelFileError(f"attribute {name} must hold {kind.__name__}s; it holds {type(value).__name__}s")
        return listed  # type: ignore[no-any-return]  # a list, or None


class Body(NamedTuple):
    """A graph within a node: names of what goes in and comes out, and of what it uses of the graph around it.

    ``constants`` are its own.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    captured: tuple[str, ...]


class Port(NamedTuple):
    """An input or output of a graph: a name, a shape, and the dtype that stands for the element type.

    A size is a number, or a name or None where any will do; a shape is None where any will do.
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: np.dtype[Any]
    half: bool = False  # float16 in the file: computed in float32 all the same

    def __str__(self) -> str:
        sizes = ", ".join("?" if n is None else str(n) for n in self.shape or ())
        shape = "of any shape" if self.shape is None else f"({sizes})"
        return f"{short(self.name)} {shape} {self.dtype}"


class Model(NamedTuple):
    """A file's content: ``constants`` are values by name, ``about`` its producer and metadata, ``size`` its bytes.

    ``room`` is how many bytes may be taken by what is computed once, when the file is read.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    about: dict[str, str]
    size: int
    room: int
