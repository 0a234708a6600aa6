"""A Keras model's configuration as a chain: its layers in the order in which they are applied, one after another."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minirnn.formats.keras.settings import Settings

MODELS = ("Sequential", "Functional", "Model")
OPERATIONS = ("NotEqual", "Any")  # what Keras 3 lists beside layers where a mask is made
MOST = 1000  # layers
DEEPEST = 8  # models within models


class LayerNode(NamedTuple):
    """One layer.

    ``path`` is where Keras 3 keeps its weights; ``owner`` is the layer of the outermost model that it is or is part of,
    under whose name older files keep them.
    """

    kind: str
    name: str
    settings: Settings
    path: str
    owner: str
    trainable: bool


Call = tuple[str, str | None]  # of a layer: the one whose output it reads, and the one that its mask is from


class NoChainError(ValueError):
    """A model that may be sound, and whose layers do not each read the one before."""


def chain(model: Any) -> list[LayerNode]:
    """The layers of a model of ``to_json``'s form, those of models within it in their place.

    NoChainError for a model that is not a chain; ValueError for what is no model.
    """
    if not isinstance(model, Mapping) or model.get("class_name") not in MODELS:
        actual = model.get("class_name") if isinstance(model, Mapping) else model
        own = ": where its class is, model.save_weights('x.weights.h5'), and config= for its layers"
        raise ValueError(
            f"a model's configuration must be that of a {' or '.join(MODELS[:2])}; got {actual!r:.60}"
            f"{own if isinstance(model, Mapping) and isinstance(actual, str) else ''}"
        )
    nodes = _model(model["class_name"], model.get("config"), "layers", None, trainable=True, depth=0)
    return [node for node in nodes if node.kind != "InputLayer"]


def input_shape(model: Any) -> tuple[int | None, ...]:
    """The shape of a model's input without the batch, as its first layer has it; () where it is not said."""
    if isinstance(model, list):  # the layers of a Sequential, in Keras before 2.2.3
        model = model[0] if model else None
    config = model.get("config") if isinstance(model, Mapping) else None
    if isinstance(config, list):
        return input_shape(config)
    if not isinstance(config, Mapping):
        return ()
    for word in ("batch_shape", "batch_input_shape"):
        shape = config.get(word)
        if isinstance(shape, list) and len(shape) > 1 and all(n is None or type(n) is int for n in shape):
            return tuple(shape[1:])
    layers = config.get("layers")
    return input_shape(layers) if isinstance(layers, list) else ()


def snake(kind: str) -> str:
    """A class's name as Keras 3 writes it in paths: SimpleRNN, simple_rnn."""
    kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()


def numbered(kinds: Sequence[str]) -> list[str]:
    """The places that Keras 3 gives to these in a list of layers: lstm, dense, lstm_1."""
    count: dict[str, int] = {}
    places = []
    for kind in map(snake, kinds):
        count[kind] = count.get(kind, -1) + 1
        places.append(f"{kind}_{count[kind]}" if count[kind] else kind)
    return places


def below(*parts: str) -> str:
    """Parts of a path joined by slashes; those that are ``""`` are left out."""
    return "/".join(part for part in parts if part)


def layer_nodes(
    kind: str, config: Any, path: str, owner: str | None, *, trainable: bool
) -> tuple[Mapping[str, Any], list[Any], list[LayerNode]]:
    """What a model's configuration says, its layers as it lists them, and those read."""
    values: Any = config if isinstance(config, Mapping) else {"layers": config}  # a list, in Keras before 2.2.3
    items = values.get("layers")
    if not isinstance(items, list) or not all(isinstance(i, Mapping) for i in items) or not 1 <= len(items) <= MOST:
        raise ValueError(f"a {kind} must have a list of 1 to {MOST} layers; got {items!r:.60}")
    nodes = []
    places = numbered([str(item.get("class_name")) for item in items])
    for k, (item, place) in enumerate(zip(items, places, strict=True)):
        inner, own = item.get("class_name"), item.get("config")
        if not isinstance(inner, str):
            raise ValueError(f"layer {k} of a {kind} must have a class_name; got {inner!r:.60}")
        name = item.get("name", own.get("name") if isinstance(own, Mapping) else None)
        name = name if isinstance(name, str) else place
        settings = Settings(inner, name, {"layers": own} if isinstance(own, list) and inner in MODELS else own)
        trains = trainable and settings.flag("trainable", default=True)
        nodes.append(LayerNode(inner, name, settings, f"{path}/{place}", owner or name, trains))
    if len({node.name for node in nodes}) < len(nodes):
        raise ValueError(f"a {kind} must have layers of different names; one is there twice")
    return values, items, nodes


def _model(kind: str, config: Any, path: str, owner: str | None, *, trainable: bool, depth: int) -> list[LayerNode]:
    if depth > DEEPEST:
        raise ValueError(f"models must be nested at most {DEEPEST} deep")
    values, items, nodes = layer_nodes(kind, config, path, owner, trainable=trainable)
    ordered = nodes if kind == "Sequential" else _functional(values, items, nodes)
    whole: list[LayerNode] = []
    for node in ordered:
        if node.kind in MODELS:
            whole += _model(
                node.kind,
                node.settings.values,
                f"{node.path}/layers",
                node.owner,
                trainable=node.trainable,
                depth=depth + 1,
            )
        else:
            whole.append(node)
        if len(whole) > MOST:
            raise ValueError(f"a model must have at most {MOST} layers")
    return whole


# ---------------------------------------------------------------------- Functional models


def _functional(config: Mapping[str, Any], items: list[Any], nodes: list[LayerNode]) -> list[LayerNode]:
    """The layers from the one input to the one output, by what each is called on."""
    by_name = {node.name: node for node in nodes}
    inbound = {node.name: item.get("inbound_nodes") for node, item in zip(nodes, items, strict=True)}
    first, name = _end(config, "input_layers"), _end(config, "output_layers")
    path: list[LayerNode] = []
    calls: dict[str, Call] = {}
    while True:
        if name not in by_name or name in calls:
            raise NoChainError(
                f"a layer must be called on another one's output; {name!r:.60} is not there, or is a circle"
            )
        node = by_name[name]
        path.append(node)
        if name == first:
            break
        calls[name] = _call(node, inbound[name])
        name, _ = calls[name]
    path.reverse()
    operations = {n.name: n for n in nodes if n.kind in OPERATIONS}
    for node in nodes:
        if node.name != first and node.name not in calls and node.name not in operations:
            raise NoChainError("must be on the one way from the input to the output; only chains are supported")
    _check_masks(path, calls, operations, inbound)
    return path


def _end(config: Mapping[str, Any], which: str) -> str:
    """The one layer that a model begins or ends with."""
    ends = config.get(which)
    if isinstance(ends, list) and len(ends) == 1:
        ends = ends[0]
    name = _history(ends)
    if name is None:
        raise NoChainError(
            f"a model must have one input and one output, the first that a layer gives; got {ends!r:.80}"
        )
    return name


def _call(node: LayerNode, calls: Any) -> Call:
    """The one call of a layer, as Keras 3 or as Keras 2 writes it."""
    if not isinstance(calls, list) or len(calls) != 1:
        raise NoChainError(f"must be called once; it is called {len(calls) if isinstance(calls, list) else 0} times")
    (call,) = calls
    if isinstance(call, Mapping):
        args, options = call.get("args"), call.get("kwargs")
        tensors = [a for a in args if not isinstance(a, (int, float))] if isinstance(args, list) else []
        source = _tensor(tensors[0]) if len(tensors) == 1 else None
    elif isinstance(call, list) and len(call) == 1 and isinstance(call[0], list) and len(call[0]) in (3, 4):
        source, options = _history(call[0][:3]), call[0][3] if len(call[0]) == 4 else {}
    else:
        source, options = None, {}
    if source is None or not isinstance(options, Mapping):
        raise NoChainError("must be called on the output of one other layer, the first if it has several")
    for name, value in options.items():
        if name not in ("training", "mask") and value is not None:
            raise NoChainError(f"is called with {name}={value!r:.40}, which is not supported")
    mask = options.get("mask")
    if mask is not None and _tensor(mask) is None:
        raise NoChainError("is called with a mask of its own, which is not supported")
    return source, _tensor(mask)


def _tensor(value: Any) -> str | None:
    """The layer whose output a tensor of Keras 3 is."""
    inner = value.get("config") if isinstance(value, Mapping) else None
    return _history(inner.get("keras_history")) if isinstance(inner, Mapping) else None


def _history(value: Any) -> str | None:
    """The layer that gives an output: ``[name, call, output]``, of which the first output is meant.

    The number of the call counts some that are not part of the model, so it says nothing where there is only one.
    """
    sound = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and value[2] == 0
    return value[0] if sound else None


def _check_masks(
    path: list[LayerNode], calls: dict[str, Call], operations: dict[str, LayerNode], inbound: dict[str, Any]
) -> None:
    """Raise unless every mask that is passed on is the one that the layer before makes of its own input."""
    made: set[str] = set()  # operations whose output is such a mask
    for node in path:
        if node.name not in calls:  # the input
            continue
        source, mask = calls[node.name]
        if node.kind in ("Embedding", "Masking"):
            value = 0.0 if node.kind == "Embedding" else node.settings.number("mask_value", 0.0)
            made = {name for name in operations if _compares(name, operations, inbound, source, value)}
        if mask is not None and mask not in made:
            raise NoChainError("is called with a mask of its own, which is not supported")


def _compares(name: str, operations: dict[str, LayerNode], inbound: dict[str, Any], source: str, value: float) -> bool:
    """Whether an operation is ``source != value``, or any(source != value) over the features."""
    calls = inbound[name]
    arguments = calls[0].get("args") if isinstance(calls, list) and calls and isinstance(calls[0], Mapping) else None
    if not isinstance(arguments, list) or not arguments:
        return False
    before = _tensor(arguments[0])
    if operations[name].kind == "Any":
        over = operations[name].settings.values.get("axis")
        return (
            over in (-1, [-1])
            and before in operations
            and operations[before].kind == "NotEqual"
            and _compares(before, operations, inbound, source, value)
        )
    return before == source and arguments[1:] == [value]
