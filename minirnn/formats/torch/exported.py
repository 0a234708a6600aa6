"""Programs of torch.export (``.pt2``): their weights, and the computation where all of their graph is layers.

Such a file is a zip.  ``models/NAME.json`` has the graph, ``data/weights/NAME_weights_config.json`` says in which entry
the numbers of each weight lie.  Until torch 2.6 the graph was ``serialized_exported_program.json`` and the weights were
``serialized_state_dict.pt``, a file of ``torch.save`` within the file.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any
from zipfile import ZIP_STORED

from minirnn.core.files import ModelFileError
from minirnn.formats.containers.pickle import UnreadableError, shown
from minirnn.formats.containers.zip import SLACK, Archive
from minirnn.formats.opening import LARGEST_JSON, parsed
from minirnn.formats.torch.attending import ATTENTION, WITHIN
from minirnn.formats.torch.operations import call
from minirnn.formats.torch.outline import Outline
from minirnn.formats.torch.pickled import Choice, Odd, Storage, View, rebuilt
from minirnn.formats.torch.rules import attention
from minirnn.formats.torch.tracing import NotFollowedError, Tensor, Trace, Unknown, Value, Weight

FORMAT = "archive_format"
OLD = "serialized_exported_program.json"
OLD_WEIGHTS = "serialized_state_dict.pt"
ATEN = "torch.ops.aten."
MOST_AXES = 8  # of an input
SCALAR_TYPES = {  # as the format numbers them
    1: "U8", 2: "I8", 3: "I16", 4: "I32", 5: "I64", 6: "F16", 7: "F32", 8: "F64", 12: "BOOL", 13: "BF16",
}  # fmt: skip


def is_program(archive: Archive) -> bool:
    """Whether the zip is one."""
    return any(name == OLD or name.rpartition("/")[2] == FORMAT for name in archive.entries)


def inner(archive: Archive) -> Archive | None:
    """The file of weights within a file of the older layout; None for one of the newer."""
    if OLD not in archive.entries:
        return None
    if OLD_WEIGHTS not in archive.entries:
        raise ModelFileError(f"{archive.path} must have weights in {OLD_WEIGHTS}; it has none")
    info = archive.entries[OLD_WEIGHTS]
    # A zip that is deflated in a zip might hold ten thousand times the bytes of the file.
    if info.compress_type != ZIP_STORED and info.file_size > SLACK:
        raise ModelFileError(f"{archive.path}: {OLD_WEIGHTS} must be stored as it is, as torch does")
    return Archive(io.BytesIO(archive.read(OLD_WEIGHTS)), archive.path)


def root_of(archive: Archive) -> str:
    """The folder in which a program of the newer layout is."""
    return next(name for name in archive.entries if name.rpartition("/")[2] == FORMAT).removesuffix(FORMAT)


def choice(archive: Archive) -> Choice:
    """The state dict of a program of the newer layout, and what its graph says of it."""
    root = root_of(archive)
    names = [
        name.removeprefix(f"{root}models/").removesuffix(".json")
        for name in archive.entries
        if name.startswith(f"{root}models/") and name.endswith(".json")
    ]
    if len(names) != 1:
        raise ModelFileError(f"{archive.path} must hold one program of torch.export; it holds {len(names)}")
    config = f"{root}data/weights/{names[0]}_weights_config.json"
    content = _json(archive, config)
    entries = content.get("config") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise ModelFileError(f"{archive.path}, {config:.100} must have a config; it has none")
    state = {name: _weight(archive, f"{root}data/weights/", name, about) for name, about in entries.items()}
    return Choice("", state, (), outline(archive, f"{root}models/{names[0]}.json"))


def _json(archive: Archive, name: str) -> Any:
    if name in archive.entries and archive.entries[name].file_size > LARGEST_JSON:
        raise ModelFileError(f"{archive.path}, {name:.100} may have {LARGEST_JSON:,} bytes")
    try:
        return parsed(archive.read(name), f"{name:.100}")
    except ValueError as error:
        raise ModelFileError(str(error) if isinstance(error, ModelFileError) else f"{archive.path}: {error}") from None


def _weight(archive: Archive, folder: str, name: str, about: Any) -> View | Odd:
    """A weight as its entry describes it; words about one that is not stored as numbers."""
    about = about if isinstance(about, dict) else {}
    meta, entry = about.get("tensor_meta"), about.get("path_name")
    if about.get("use_pickle") is not False or not isinstance(meta, dict) or not isinstance(entry, str):
        return Odd("an object")
    where = f"{archive.path}, weight {name!r:.60}"
    kind = meta.get("dtype")
    dtype = SCALAR_TYPES.get(kind) if type(kind) is int else None
    if dtype is None:
        return Odd(f"numbers of type {shown(kind)}")
    if f"{folder}{entry}" not in archive.entries:
        raise ModelFileError(f"{where}: there is no entry {entry!r:.60}")
    size = archive.entries[f"{folder}{entry}"].file_size
    storage = Storage(f"{folder}{entry}", dtype, 0)
    storage = storage._replace(length=size // storage.itemsize)
    try:
        shape, strides = (_sizes(meta.get(word)) for word in ("sizes", "strides"))
        return rebuilt((storage, _size(meta.get("storage_offset")), shape, strides))
    except UnreadableError as error:
        raise ModelFileError(f"{where}: {error}") from None


def _sizes(values: Any) -> tuple[Any, ...]:
    return tuple(map(_size, values)) if isinstance(values, list) else ()


def _size(value: Any) -> Any:
    """A size, which may stand for itself alone."""
    return value.get("as_int") if isinstance(value, dict) else value


# ---------------------------------------------------------------------- the graph


def outline(archive: Archive, name: str) -> Outline:
    """What the graph in this entry says of the computation; where not all of it is layers, why not."""
    trace = Trace()
    try:
        return trace.outline(_followed(_json(archive, name), trace))
    except ModelFileError as error:
        words = str(error).removeprefix(f"{archive.path}")
    except NotFollowedError as error:
        words = str(error)
    remark = f"modules compute in the order of the file, since not all of its graph is layers: {words:.200}"
    return Outline(settings=trace.settings, remarks=(remark,))


def _followed(program: Any, trace: Trace) -> Value:
    """What the graph makes of its inputs."""
    module = _field(program, "graph_module", dict)
    graph, signature = _field(module, "graph", dict), _field(module, "signature", dict)
    values: dict[str, Value] = {}
    attentions: dict[str, Pieces] = {}
    for spec in _field(signature, "input_specs", list):
        for kind, about in spec.items() if isinstance(spec, dict) else ():
            name = _named(_field(about, "arg", dict))
            if kind in ("parameter", "buffer"):
                values[name] = Weight(_field(about, f"{kind}_name", str))
            elif kind == "user_input":
                values[name] = trace.input(name, _rank(graph, name))
            else:
                values[name] = Unknown(f"an input is a {kind!r:.40}")
    for node in _field(graph, "nodes", list):
        target = _field(node, "target", str)
        arguments = list(_arguments(node, values))
        outputs = [name for one in _field(node, "outputs", list) for name in _names(one)]
        operation = target.removeprefix(ATEN).partition(".")[0]
        path = _attention_of(node)
        if path is not None and target.startswith(ATEN):
            pieces = attentions.setdefault(path, Pieces(path, trace))
            made = pieces.call(operation, [value for _, value in arguments])
        elif target.startswith(ATEN):
            # The first is called self in one operation and input in another, and comes first in all.
            made = call(trace, operation, [value for _, value in arguments[:1]], dict(arguments[1:]))
        else:
            made = Unknown(f"{target:.60} stands for no layer")
        parts = made if type(made) in (tuple, list) and len(made) == len(outputs) else [made] * len(outputs)
        values |= dict(zip(outputs, parts, strict=True))
    results = [name for one in _field(graph, "outputs", list) for name in _names(one)]
    specs = signature.get("output_specs")
    if isinstance(specs, list) and len(specs) == len(results):  # what else is there are buffers that change
        results = [
            name for name, spec in zip(results, specs, strict=True) if isinstance(spec, dict) and "user_output" in spec
        ]
    if not results or not all(name in values for name in results):
        raise NotFollowedError("it has no output")
    return [values[name] for name in results]


def _rank(graph: Any, name: str) -> int | None:
    """How many axes an input has; None where the graph does not say."""
    about = _field(graph, "tensor_values", dict).get(name)
    sizes = about.get("sizes") if isinstance(about, dict) else None
    return len(sizes) if isinstance(sizes, list) and len(sizes) <= MOST_AXES else None


class Pieces:
    """A MultiheadAttention, which a graph has in pieces, one product after another, each with the module it is of."""

    USUAL = (  # operations of one that reads one sequence, without a mask
        *("transpose", "linear", "unflatten", "unsqueeze", "squeeze", "contiguous", "select", "view", "reshape"),
        *("mul", "bmm", "softmax", "mean", "scaled_dot_product_attention"),
    )

    def __init__(self, path: str, trace: Trace) -> None:
        self.path, self.trace = path, trace
        self.x: Value = None
        self.batch_first = False
        self.sizes: list[Value] = []  # of all features, and of those of one head
        self.y: Value = None

    def call(self, name: str, arguments: list[Value]) -> Value:
        """What one operation makes; all but the output is unknown outside."""
        first = arguments[0] if arguments else None
        masked = name == "scaled_dot_product_attention" and any(one not in (None, 0.0) for one in arguments[3:])
        if name not in self.USUAL or masked:
            self.y = self.y or Unknown(f"{self.path!r:.60} is not given one sequence alone: {name} stands for no layer")
        elif name == "linear" and len(arguments) > 1 and isinstance(arguments[1], Weight):
            if arguments[1].name.endswith("in_proj_weight"):
                self.x = first
            elif arguments[1].name.endswith(f"{WITHIN}.weight"):
                self.y = self.y or self.output()
                return self.y
        elif isinstance(first, Tensor):  # before the projections, or after them
            self.batch_first |= name == "transpose"
            return first
        elif name in ("unflatten", "view") and isinstance(arguments[-1], list) and len(self.sizes) < 2:
            self.sizes.append(arguments[-1][-1])
        return Unknown(f"what is within {self.path!r:.60} is used")

    def output(self) -> Value:
        """The layer's output."""
        if len(self.sizes) < 2 or not all(type(size) is int and size > 0 for size in self.sizes):
            return Unknown(f"{self.path!r:.60} has an unknown number of heads")
        about = {"num_heads": self.sizes[0] // self.sizes[1]}
        made = attention(self.trace, [self.x] * 3, self.path, about, batch_first=self.batch_first, masks=[])
        return made[0] if type(made) is tuple else made


def _attention_of(node: Any) -> str | None:
    """The path of the MultiheadAttention that a node computes within; None for other nodes."""
    metadata = node.get("metadata") if isinstance(node, dict) else None
    stack = metadata.get("nn_module_stack") if isinstance(metadata, dict) else None
    module = stack.rpartition(";")[2].split(",") if isinstance(stack, str) else []
    return module[1] if len(module) == 3 and module[2] == f"torch.nn.modules.activation.{ATTENTION}" else None


def _arguments(node: Any, values: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    for one in _field(node, "inputs", list):
        ((kind, value),) = _field(one, "arg", dict).items() or ((None, None),)
        if kind == "as_tensor":
            argument: Value = _value(value, values)
        elif kind == "as_tensors" and isinstance(value, list):
            argument = [_value(each, values) for each in value]
        elif kind in ("as_int", "as_float", "as_bool", "as_string"):
            argument = value
        elif kind in ("as_ints", "as_sym_ints") and isinstance(value, list):
            argument = [each.get("as_int") if isinstance(each, dict) else each for each in value]
        elif kind == "as_none":
            argument = None
        else:
            argument = Unknown(f"an argument is {kind!r:.40}")
        yield _field(one, "name", str), argument


def _value(about: Any, values: Mapping[str, Value]) -> Value:
    return values.get(_field(about, "name", str), Unknown("a tensor is not made before it is used"))


def _names(output: Any) -> Iterator[str]:
    """The names of what a node gives, or the program."""
    for kind, value in output.items() if isinstance(output, dict) else ():
        for one in value if kind == "as_tensors" and isinstance(value, list) else [value]:
            yield _field(one, "name", str) if isinstance(one, dict) else ""


def _named(argument: dict[str, Any]) -> str:
    """The name of an input, of which a user's is within what says its kind."""
    within = argument.get("as_tensor", argument)
    return str(within.get("name", "")) if isinstance(within, dict) else ""


def _field(value: Any, name: str, kind: type) -> Any:
    """An entry of an object of JSON, of that type."""
    entry = value.get(name) if isinstance(value, dict) else None
    if not isinstance(entry, kind):
        raise NotFollowedError(f"its description has no {name!r} where one belongs")
    return entry
