"""From a file to a ``Graph``: everything is checked before anything is run, and what no input reaches is computed."""

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.backend import Array, get_backend
from minirnn.formats.files import LARGEST_FILE, ModelFileError
from minirnn.formats.onnx.graph import Graph, Meter, Node, Port, Step, TooMuchError, perform
from minirnn.formats.onnx.nodes import OPERATORS
from minirnn.formats.onnx.tensors import FLOAT16, array_of, dtype_of, short
from minirnn.formats.onnx.wire import Message, parse

OLDEST, NEWEST = 7, 28  # operator sets: 7 brought broadcasting; until 28 all changes of what is read here are known
AHEAD = 1 << 27  # operations that are done when a file is read
LOOPS = ("If", "Loop", "Scan")
KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}  # of attributes, by type
LISTS = ("floats", "ints", "strings")


def read(source: Any, *, backend: str = "auto") -> Graph:
    """Read a model: from a path, from bytes, or from an ``onnx.ModelProto``.

    Recurrent nodes run on ``backend``.  Reading needs no package.  Raises ModelFileError for what is no sound model of
    operator set 7 to 28, for a node that minirnn does not run, by its name, and for weights that are in other files;
    FileNotFoundError where there is none.
    """
    get_backend(backend)  # refused before the file is read
    if hasattr(source, "SerializeToString"):
        where, data = "the model", source.SerializeToString()
    elif isinstance(source, bytes):
        where, data = "the model", source
    else:
        where, data = str(source), _bytes(source)
    try:
        return _graph(parse(data), backend, where)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error}") from None


def _bytes(path: str | os.PathLike[str]) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {path}{': it is a directory' if path.is_dir() else ''}")
    if path.stat().st_size > LARGEST_FILE:
        raise ModelFileError(f"{path} must hold at most {LARGEST_FILE:,} bytes; it holds {path.stat().st_size:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None


def _graph(model: Message, backend: str, where: str) -> Graph:
    opset, graph = _opset(model), model.get("graph")
    if not graph:
        raise ModelFileError("an ONNX model must have a graph; there is none")
    if "sparse_initializer" in graph:
        raise ModelFileError("weights must be dense; there are sparse ones")
    constants: dict[str, Array] = {}
    for tensor in graph.get("initializer", ()):
        name = _new(tensor.get("name", ""), constants, "an initializer")
        constants[name] = array_of(tensor)
    ports = [_port(value) for value in graph.get("input", ())]
    inputs: dict[str, Port] = {}
    for port in ports:
        _new(port.name, inputs, "an input")
        inputs[port.name] = port
    inputs = {name: port for name, port in inputs.items() if name not in constants}  # else: a default, kept
    outputs: dict[str, Port] = {}
    for value in graph.get("output", ()):
        port = _port(value)
        _new(port.name, outputs, "an output")
        outputs[port.name] = port
    nodes = _nodes(graph, opset, backend, {*inputs, *constants})
    known = {*inputs, *constants, *(name for node in nodes for name in node.outputs)}
    for port in outputs.values():
        if port.name not in known:
            raise ModelFileError(f"output {short(port.name)} must be computed by a node; none has it")
    if not outputs:
        raise ModelFileError("a graph must have outputs; there are none")
    steps, constants = _made_ready(nodes, constants, set(outputs))
    return Graph(tuple(inputs.values()), tuple(outputs.values()), tuple(nodes), constants, steps, where)


def _opset(model: Message) -> int:
    versions = [s.get("version", 0) for s in model.get("opset_import", ()) if s.get("domain", "") in ("", "ai.onnx")]
    if len(versions) != 1:
        raise ModelFileError(f"an ONNX model must name one set of the standard's operators; it names {len(versions)}")
    if not OLDEST <= versions[0] <= NEWEST:
        raise ModelFileError(f"the operator set must be from {OLDEST} to {NEWEST}; it is {versions[0]}")
    return int(versions[0])


def _new(name: str, known: Any, what: str) -> str:
    if not name or name in known:
        raise ModelFileError(f"{what} must have a name of its own; got {short(name)}")
    return name


def _port(value: Message) -> Port:
    name, about = value.get("name", ""), value.get("type", {})
    if "tensor_type" not in about:
        kind = next(iter(about), "nothing").removesuffix("_type")
        raise ModelFileError(f"{short(name)} must be a tensor; it is declared as {kind}")
    tensor = about["tensor_type"]
    try:
        dtype = dtype_of(tensor.get("elem_type", 0))
    except ModelFileError as error:
        raise ModelFileError(f"{short(name)}: {error}") from None
    shape: tuple[int | str | None, ...] | None = None
    if "shape" in tensor:
        dims = tensor["shape"].get("dim", ())
        shape = tuple(d["dim_value"] if d.get("dim_value", 0) > 0 else d.get("dim_param") or None for d in dims)
    return Port(name, shape, dtype, tensor["elem_type"] == FLOAT16)


# ---------------------------------------------------------------------- nodes


def _nodes(graph: Message, opset: int, backend: str, known: set[str]) -> list[Node]:
    """All nodes, each checked against its operator and against what comes before it; ``known`` is what does."""
    nodes = []
    for about in graph.get("node", ()):
        node = _node(about, opset, backend)
        for name in node.inputs:
            if name and name not in known:
                raise ModelFileError(f"{node} reads {short(name)}, which must be computed before; it is not")
        for name in node.outputs:
            if name:
                known.add(_new(name, known, f"an output of {node}"))
        nodes.append(node)
    return nodes


def _node(about: Message, opset: int, backend: str) -> Node:
    op, domain = about.get("op_type", ""), about.get("domain", "")
    inputs, outputs = tuple(about.get("input", ())), tuple(about.get("output", ()))
    node = Node(op, about.get("name", ""), inputs, outputs, {}, opset, backend)
    if domain not in ("", "ai.onnx"):
        raise ModelFileError(f"{node} is of the domain {short(domain)}; only the standard's own operators are run")
    if op not in OPERATORS:
        why = ": it holds graphs of its own" if op in LOOPS else ""
        raise ModelFileError(f"{node}: {short(op)} is no operator that minirnn runs{why}")
    operator = OPERATORS[op]
    if opset < operator.since:
        raise ModelFileError(f"{node} needs operator set {operator.since}; the model has {opset}")
    if not operator.least <= len(inputs) <= operator.most or "" in inputs[: operator.least]:
        raise ModelFileError(f"{node} must have from {operator.least} to {operator.most} inputs; it has {inputs!r:.60}")
    if not 1 <= len(outputs) <= operator.outputs:
        raise ModelFileError(f"{node} must have from 1 to {operator.outputs} outputs; it has {len(outputs)}")
    try:
        for attribute in about.get("attribute", ()):
            name = _new(attribute.get("name", ""), node.attributes, "an attribute")
            node.attributes[name] = _value(attribute)
    except ModelFileError as error:
        raise ModelFileError(f"{node}: {error}") from None
    node.unread = set(node.attributes)
    return node


def _value(attribute: Message) -> Any:
    """An attribute as a number, a text, an array, or a list of numbers or texts."""
    code, name = attribute.get("type", 0), short(attribute["name"])
    if code == 0:  # older files leave the type to be seen
        code = next((c for c, field in KINDS.items() if field in attribute), 0)
    field = KINDS.get(code)
    if field is None or "ref_attr_name" in attribute:
        raise ModelFileError(f"attribute {name} must be numbers, text or a tensor; it is of type {code}")
    if field not in attribute and field not in LISTS:
        raise ModelFileError(f"attribute {name} must have a value; it has none")
    value = attribute.get(field, [])
    try:
        if field == "t":
            return array_of(value)
        if field == "s":
            return str(value, "utf-8")
        if field == "strings":
            return [str(v, "utf-8") for v in value]
    except UnicodeDecodeError:
        raise ModelFileError(f"attribute {name} must be text in UTF-8; it is not") from None
    return value


def placed(graph: Graph, backend: str) -> Graph:
    """The graph with its recurrent nodes on another backend."""
    steps = []
    for step in graph.steps:
        node = copy.copy(step.node)
        node.backend = backend
        steps.append(step._replace(node=node, run=OPERATORS[node.op].prepare(node)))
    return Graph(graph.inputs, graph.outputs, graph.nodes, graph.constants, tuple(steps), graph.where)


# ---------------------------------------------------------------------- what is done once


def _made_ready(
    nodes: list[Node], constants: dict[str, Array], kept: set[str]
) -> tuple[tuple[Step, ...], dict[str, Array]]:
    """The nodes that are left to run, and the constants that they or the outputs use.

    A node that reads constants alone is run here, once, unless it takes too much.
    """
    constants = dict(constants)
    meter = Meter(sum(a.nbytes for a in constants.values()), 0)
    meter.work = AHEAD
    left: list[Step] = []
    for node in nodes:
        node.constants = [constants.get(name) for name in node.inputs]
        try:
            step = Step(node, OPERATORS[node.op].prepare(node), ())
        except ModelFileError as error:
            raise ModelFileError(f"{node}: {error}") from None
        except ValueError as error:
            raise ModelFileError(f"{node}: {' '.join(str(error).split()):.300}") from None
        if node.unread:
            raise ModelFileError(f"{node} must have no attribute {short(min(node.unread))} in opset {node.opset}")
        if any(name and name not in constants for name in node.inputs):
            left.append(step)
            continue
        try:
            with np.errstate(all="ignore"):
                perform(step, constants, meter)
        except TooMuchError:
            left.append(step)
            continue
        for name in filter(None, node.outputs):
            constants[name].flags.writeable = False
    needed = {name for step in left for name in step.node.inputs} | kept
    made, used, steps = {name for step in left for name in step.node.outputs if name}, set(kept), []
    for step in reversed(left):
        ended = made.intersection((*step.node.inputs, *step.node.outputs)) - used
        used |= ended
        steps.append(step._replace(ended=tuple(ended)))
    return tuple(reversed(steps)), {name: a for name, a in constants.items() if name in needed}
