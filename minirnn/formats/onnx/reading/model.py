"""From the messages of an ONNX file to its ``Model``: every node is checked against its operator; nothing is run."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.containers.protobuf import Message
from minirnn.formats.onnx.reading.external import ModelFolder
from minirnn.formats.onnx.reading.tensors import Room, array_of
from minirnn.formats.onnx.running.earlier import least_inputs
from minirnn.formats.onnx.running.operators import BEYOND, MANY, OPERATORS, since
from minirnn.formats.onnx.structure import FLOAT16, Body, Model, Node, Port, check_shape, dtype_of, short

OLDEST, NEWEST = 1, 28  # operator sets: until 28 all changes of what is read here are known
MOST_NODES = 1 << 12  # of a model: a node becomes some 3 kB
WIDENED = 24 << 20  # bytes, beyond twice those of the file, that numbers of fewer bits may become
ROOM_AHEAD, LEAST_ROOM = 24 << 20, 8 << 20  # bytes that what is computed when a file is read may take
BODIES = {"Scan": ("body",), "Loop": ("body",), "If": ("then_branch", "else_branch")}  # graphs within, by operator
DEEPEST = 8  # graphs within graphs
LONGEST_TEXT = 1 << 16  # bytes of an attribute's text, or of a list of them
KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}  # of attributes, by type
LISTS = ("floats", "ints", "strings")


@dataclass
class Names:
    """The values that a node can read: those of its graph so far, and of the graph around that."""

    own: set[str]
    around: Container[str] = ()
    depth: int = 0  # how many graphs are around

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.around


class ModelReader:
    """Reads one model, which takes ``size`` bytes of a file, and counts the memory that this takes."""

    def __init__(self, model: Message, size: int, backend: str, folder: ModelFolder) -> None:
        self.opset, self.backend = _opset(model), backend
        self.about, self.beside = model.get("graph"), {"producer": model.get("producer_name", "")}
        for entry in model.get("metadata_props", ()):
            self.beside[entry.get("key", "")] = entry.get("value", "")
        self.room = Room(2 * size + WIDENED)
        self.folder, self.file_size, self.nodes_left = folder, size, MOST_NODES

    def model(self) -> Model:
        """All of it."""
        about = self.about
        if not about:
            raise ModelFileError("an ONNX model must have a graph; there is none")
        constants = self.initializers(about)
        inputs = [port for port in self.ports(about, "input") if port.name not in constants]  # else: a default, kept
        outputs = self.ports(about, "output")
        known = Names({*(port.name for port in inputs), *constants})
        nodes = self.nodes(about, known)
        for port in outputs:
            if port.name not in known:
                raise ModelFileError(f"output {short(port.name)} must be computed by a node; none has it")
        if not outputs:
            raise ModelFileError("a graph must have outputs; there are none")
        size = self.file_size + self.folder.taken
        room = max(LEAST_ROOM, ROOM_AHEAD + (3 * size - self.room.taken) // 2)
        return Model(tuple(inputs), tuple(outputs), tuple(nodes), constants, self.beside, size, room)

    def initializers(self, about: Message) -> dict[str, Array]:
        """The constants of a graph."""
        if "sparse_initializer" in about:
            raise ModelFileError("weights must be dense; there are sparse ones")
        constants: dict[str, Array] = {}
        for tensor in about.pop("initializer", ()):
            name = _new(tensor.get("name", ""), constants, "an initializer")
            constants[name] = array_of(tensor, self.room, self.folder)
        return constants

    def ports(self, about: Message, word: str) -> list[Port]:
        """The inputs or outputs."""
        known: set[str] = set()
        ports = [_port(value) for value in about.get(word, ())]
        for port in ports:
            known.add(_new(port.name, known, f"an {word}"))
        return ports

    def nodes(self, about: Message, known: Names) -> list[Node]:
        """All nodes, each checked against its operator and against what is known before it."""
        self.nodes_left -= len(about.get("node", ()))
        if self.nodes_left < 0:
            raise ModelFileError(f"a model must have at most {MOST_NODES:,} nodes; it has more")
        nodes = []
        for one in about.get("node", ()):
            node = self.node(one, known)
            for name in node.inputs:
                if name and name not in known:
                    raise ModelFileError(f"{node} reads {short(name)}, which must be computed before; it is not")
            for name in node.outputs:
                if name:
                    known.own.add(_new(name, known, "an output of", node))
            nodes.append(node)
        return nodes

    def node(self, about: Message, known: Names) -> Node:
        """A node; a graph within it may use what is known before it."""
        op, domain = about.get("op_type", ""), about.get("domain", "")
        inputs, outputs = tuple(about.get("input", ())), tuple(about.get("output", ()))
        node = Node(op, about.get("name", ""), inputs, outputs, self.opset, self.backend)
        of_standard = domain in ("", "ai.onnx")
        if of_standard is (op in BEYOND) or domain not in ("", "ai.onnx", BEYOND.get(op)):
            raise ModelFileError(f"{node} is of the domain {short(domain)}; only the standard's own operators are run")
        if op not in OPERATORS:
            raise ModelFileError(f"{node}: {short(op)} is no operator that minirnn runs")
        if op in BODIES and known.depth == DEEPEST:
            raise ModelFileError(f"{node}: graphs within graphs may be {DEEPEST} deep; this one is deeper")
        operator = OPERATORS[op]
        if self.opset < since(op):
            raise ModelFileError(f"{node} needs operator set {since(op)}; the model has {self.opset}")
        least = least_inputs(op, self.opset, operator.least)
        needed = inputs[2 * (op == "Loop") :] if operator.most == MANY else inputs[:least]
        if not least <= len(inputs) <= operator.most or "" in needed:
            raise ModelFileError(f"{node} must have from {least} to {operator.most} inputs; it has {inputs!r:.60}")
        if not 1 <= len(outputs) <= operator.outputs:
            raise ModelFileError(f"{node} must have from 1 to {operator.outputs} outputs; it has {len(outputs)}")
        try:
            for attribute in about.get("attribute", ()):
                name = _new(attribute.get("name", ""), node.attributes, "an attribute")
                if name in BODIES.get(op, ()) and "g" in attribute:
                    node.attributes[name] = self.body(attribute["g"](), known)
                else:
                    node.attributes[name] = self.value(attribute)
            for name in BODIES.get(op, ()):
                if isinstance(node.attributes.get(name), Body):
                    node.inputs += node.attributes[name].captured
        except ModelFileError as error:
            raise ModelFileError(f"{node}: {error!s:.500}") from None
        node.unread = set(node.attributes)
        return node

    def body(self, about: Message, around: Names) -> Body:
        """The graph within a node; it may use what is known around it, and give no other value such a name."""
        constants, known = self.initializers(about), Names(set(), around, around.depth + 1)
        inputs, outputs = (tuple(v.get("name", "") for v in about.get(word, ())) for word in ("input", "output"))
        for name in (*constants, *inputs):
            known.own.add(_new(name, known, "a value within a node"))
        nodes = self.nodes(about, known)
        for name in outputs:
            if name not in known:
                raise ModelFileError(f"{short(name)} must be computed within the node; it is not")
        used = (*(name for node in nodes for name in node.inputs), *outputs)
        captured = dict.fromkeys(name for name in used if name and name not in known.own)
        return Body(inputs, outputs, tuple(nodes), constants, tuple(captured))

    def value(self, attribute: Message) -> Any:
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
        if field == "t":
            return array_of(value, self.room, self.folder)
        if field not in ("s", "strings"):
            return value
        encoded = [value] if field == "s" else value
        if sum(map(len, encoded)) > LONGEST_TEXT:
            raise ModelFileError(f"attribute {name} must be text of at most {LONGEST_TEXT:,} bytes; it has more")
        try:
            texts = [str(text, "utf-8") for text in encoded]
        except UnicodeDecodeError:
            raise ModelFileError(f"attribute {name} must be text in UTF-8; it is not") from None
        return texts[0] if field == "s" else texts


def _opset(model: Message) -> int:
    versions = [s.get("version", 0) for s in model.get("opset_import", ()) if s.get("domain", "") in ("", "ai.onnx")]
    if len(versions) != 1:
        raise ModelFileError(
            f"an ONNX model must name one set of the standard's operators; it names {len(versions)}: a tool may use "
            "the format for operators of its own, and only that tool can write what others read"
        )
    if not OLDEST <= versions[0] <= NEWEST:
        raise ModelFileError(f"the operator set must be from {OLDEST} to {NEWEST}; it is {versions[0]}")
    return int(versions[0])


def _new(name: str, known: Any, what: str, node: Node | None = None) -> str:
    if not name or name in known:
        raise ModelFileError(f"{what}{f' {node}' if node else ''} must have a name of its own; got {short(name)}")
    return name


def _port(value: Message) -> Port:
    name, about = value.get("name", ""), value.get("type", {})
    if "tensor_type" not in about:
        kind = next(iter(about), "nothing").removesuffix("_type")
        raise ModelFileError(f"{short(name)} must be a tensor; it is declared as {kind}")
    tensor = about["tensor_type"]
    dtype = dtype_of(tensor.get("elem_type", 0), short(name))
    shape: tuple[int | str | None, ...] | None = None
    if "shape" in tensor:
        dims = tensor["shape"].get("dim", ())
        check_shape(short(name), tuple(max(0, d.get("dim_value", 0)) for d in dims))
        shape = tuple(d["dim_value"] if d.get("dim_value", 0) > 0 else d.get("dim_param") or None for d in dims)
    return Port(name, shape, dtype, tensor["elem_type"] == FLOAT16)
