"""From a file to a ``Graph``: everything is checked before anything is run, and what no input reaches is computed."""

import os
from pathlib import Path
from typing import Any

from minirnn.backend import Array, get_backend
from minirnn.formats.files import LARGEST_FILE, ModelFileError
from minirnn.formats.onnx.graph import Body, Graph, Node, Port
from minirnn.formats.onnx.nodes import MANY, OPERATORS
from minirnn.formats.onnx.ready import made_ready
from minirnn.formats.onnx.tensors import FLOAT16, array_of, dtype_of, short
from minirnn.formats.onnx.wire import Message, parse

OLDEST, NEWEST = 7, 28  # operator sets: 7 brought broadcasting; until 28 all changes of what is read here are known
LOOPS = ("If", "Loop", "SequenceMap")
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
    constants = _initializers(graph)
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
    nodes = _nodes(graph, opset, backend, Names({*inputs, *constants}))
    known = {*inputs, *constants, *(name for node in nodes for name in node.outputs)}
    for port in outputs.values():
        if port.name not in known:
            raise ModelFileError(f"output {short(port.name)} must be computed by a node; none has it")
    if not outputs:
        raise ModelFileError("a graph must have outputs; there are none")
    steps, constants = made_ready(nodes, constants, set(outputs))
    return Graph(tuple(inputs.values()), tuple(outputs.values()), tuple(nodes), constants, steps, where)


def _initializers(graph: Message) -> dict[str, Array]:
    """The constants of a graph."""
    if "sparse_initializer" in graph:
        raise ModelFileError("weights must be dense; there are sparse ones")
    constants: dict[str, Array] = {}
    for tensor in graph.get("initializer", ()):
        name = _new(tensor.get("name", ""), constants, "an initializer")
        constants[name] = array_of(tensor)
    return constants


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


class Names:
    """What is known where a node stands: the values of its graph so far, and those of the graph around that."""

    def __init__(self, own: set[str], around: "Names | None" = None) -> None:
        self.own, self.around = own, around

    def __contains__(self, name: str) -> bool:
        return name in self.own or (self.around is not None and name in self.around)


def _nodes(graph: Message, opset: int, backend: str, known: Names) -> list[Node]:
    """All nodes, each checked against its operator and against what is known before it."""
    nodes = []
    for about in graph.get("node", ()):
        node = _node(about, opset, backend, known)
        for name in node.inputs:
            if name and name not in known:
                raise ModelFileError(f"{node} reads {short(name)}, which must be computed before; it is not")
        for name in node.outputs:
            if name:
                known.own.add(_new(name, known, f"an output of {node}"))
        nodes.append(node)
    return nodes


def _node(about: Message, opset: int, backend: str, known: Names) -> Node:
    """A node; a graph within it may use what is known before it."""
    op, domain = about.get("op_type", ""), about.get("domain", "")
    inputs, outputs = tuple(about.get("input", ())), tuple(about.get("output", ()))
    node = Node(op, about.get("name", ""), inputs, outputs, opset, backend)
    if domain not in ("", "ai.onnx"):
        raise ModelFileError(f"{node} is of the domain {short(domain)}; only the standard's own operators are run")
    deep = op == "Scan" and known.around is not None
    if op not in OPERATORS or deep:
        why = ": it holds graphs of its own" if op in LOOPS else " within another" if deep else ""
        raise ModelFileError(f"{node}: {short(op)} is no operator that minirnn runs{why}")
    operator = OPERATORS[op]
    if opset < operator.since:
        raise ModelFileError(f"{node} needs operator set {operator.since}; the model has {opset}")
    needed = inputs if operator.most == MANY else inputs[: operator.least]
    if not operator.least <= len(inputs) <= operator.most or "" in needed:
        raise ModelFileError(f"{node} must have from {operator.least} to {operator.most} inputs; it has {inputs!r:.60}")
    if not 1 <= len(outputs) <= operator.outputs:
        raise ModelFileError(f"{node} must have from 1 to {operator.outputs} outputs; it has {len(outputs)}")
    try:
        for attribute in about.get("attribute", ()):
            name = _new(attribute.get("name", ""), node.attributes, "an attribute")
            if op == "Scan" and "g" in attribute:
                node.attributes[name] = body = _body(attribute["g"](), opset, backend, known)
                node.inputs = (*inputs, *body.captured)
            else:
                node.attributes[name] = _value(attribute)
    except ModelFileError as error:
        raise ModelFileError(f"{node}: {error}") from None
    node.unread = set(node.attributes)
    return node


def _body(graph: Message, opset: int, backend: str, around: Names) -> Body:
    """The graph within a node; it may use what is known around it, and give no other value such a name."""
    constants, known = _initializers(graph), Names(set(), around)
    inputs, outputs = (tuple(v.get("name", "") for v in graph.get(word, ())) for word in ("input", "output"))
    for name in (*constants, *inputs):
        known.own.add(_new(name, known, "a value within a node"))
    nodes = _nodes(graph, opset, backend, known)
    for name in outputs:
        if name not in known:
            raise ModelFileError(f"{short(name)} must be computed within the node; it is not")
    used = (*(name for node in nodes for name in node.inputs), *outputs)
    captured = dict.fromkeys(name for name in used if name and name not in known.own)
    return Body(inputs, outputs, tuple(nodes), constants, tuple(captured))


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
