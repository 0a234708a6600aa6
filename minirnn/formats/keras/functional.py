"""A Keras model's configuration as calls of layers on tensors: whatever Functional models can be, models within models.

``graph.py`` reads those that are a chain; this reads the others.  The calls come in an order in which each reads what
earlier ones have made.  A model that is called is replaced by the calls within it, one that is called twice by two
sets of calls of the same layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from minirnn.formats.keras.graph import DEEPEST, MODELS, MOST, LayerNode, input_shape, layer_nodes
from minirnn.formats.keras.settings import Settings

MASKING = (  # operations that Keras 3 lists where masks are made, passed on, or joined
    *("NotEqual", "Any", "All", "LogicalOr", "LogicalAnd"),
    *("ExpandDims", "ZerosLike", "Concatenate", "ConvertToTensor"),
)


class Tensor(NamedTuple):
    """An output of a call: the first is y, those after it the final state."""

    call: int
    output: int = 0


MaskSource = tuple[Tensor, float]  # a mask is where a tensor is not equal to a number


class LayerCall(NamedTuple):
    """A layer called on tensors: ``initial`` are those of its initial state, ``options`` what else a call says.

    ``mask`` are the masks that the call names, one for each tensor read, None where it names none.
    """

    node: LayerNode
    reads: tuple[Tensor, ...]
    initial: tuple[Tensor, ...] = ()
    mask: tuple[MaskSource | None, ...] | None = None
    options: Mapping[str, Any] = {}


class Graph(NamedTuple):
    """All calls, the inputs among them; ``inputs`` and ``outputs`` have the names that the model gives them."""

    calls: list[LayerCall]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class Place(NamedTuple):
    """A tensor as a configuration names it: a layer, which of its calls, which output."""

    name: str
    call: int
    output: int


@dataclass
class Model:
    """One model: its layers by name, what each is called on, and where it begins and ends."""

    title: str
    nodes: dict[str, LayerNode]
    inbound: dict[str, list[Any]]
    inputs: list[Place]
    outputs: list[Place]
    within: "dict[str, Model]" = field(default_factory=dict)

    def used(self, places: Sequence[Place]) -> set[str]:
        """The layers that tensors are computed by."""
        known, waiting = set[str](), [place.name for place in places]
        while waiting:
            name = waiting.pop()
            if name not in known and name in self.nodes:
                known.add(name)
                for call in self.inbound[name]:
                    beside = (
                        [one[3] for one in call if _is_place(one) and len(one) == 4] if isinstance(call, list) else []
                    )
                    waiting += [place.name for part in (call, *beside) for place in tensors_in(part)]
        return known


def functional(model: Any) -> Graph:
    """The calls of a model of ``to_json``'s form; ValueError for what is none."""
    whole = _parsed(model["class_name"], model.get("config"), "layers", None, trainable=True, depth=0)
    reader = _Reader()
    inputs: dict[str, Tensor] = {}
    bound = []
    for place in whole.inputs:
        node = whole.nodes.get(place.name, _entry(model) if place.name == "" else None)
        if node is None or node.kind != "InputLayer" or node.name in inputs:
            raise ValueError(f"an input must be an InputLayer, there once; {place.name!r:.60} is none")
        bound.append(reader.add(LayerCall(node, ())))
        inputs[node.name] = bound[-1]
    ends = reader.called(whole, bound)
    outputs: dict[str, Tensor] = {}
    for place, tensor in zip(whole.outputs, ends, strict=True):
        name, k = place.name, 1
        while name in outputs:
            name, k = f"{place.name}_{k}", k + 1
        outputs[name] = tensor
    return Graph(reader.calls, inputs, outputs)


def _entry(model: Any) -> LayerNode:
    """The input of a Sequential that has no layer for it."""
    settings = Settings("InputLayer", "input", {"batch_shape": [None, *input_shape(model)]})
    return LayerNode("InputLayer", "input", settings, "", "", trainable=True)


def _parsed(kind: str, config: Any, path: str, owner: str | None, *, trainable: bool, depth: int) -> Model:
    """A model and those within it."""
    if depth > DEEPEST:
        raise ValueError(f"models must be nested at most {DEEPEST} deep")
    values, items, nodes = layer_nodes(kind, config, path, owner, trainable=trainable)
    by_name = {node.name: node for node in nodes}
    if kind == "Sequential":
        inner = [node.name for node in nodes if node.kind != "InputLayer"]
        begins = next((node.name for node in nodes if node.kind == "InputLayer"), "")
        chain = [begins, *inner]
        inbound: dict[str, list[Any]] = {begins: []}
        inbound |= {name: [[[before, 0, 0, {}]]] for before, name in zip(chain, inner, strict=False)}
        model = Model(kind, by_name, inbound, [Place(begins, 0, 0)], [Place(chain[-1], 0, 0)])
    else:
        lists = {node.name: item.get("inbound_nodes") for node, item in zip(nodes, items, strict=True)}
        for node in nodes:
            if not isinstance(lists[node.name], list) or len(lists[node.name]) > MOST:
                raise node.settings.fault(f"must have a list of calls; got {lists[node.name]!r:.60}")
        inputs, outputs = (_ends(values, word) for word in ("input_layers", "output_layers"))
        model = Model(kind, by_name, lists, inputs, outputs)
        used = model.used([*outputs, *inputs])
        for node in nodes:
            if node.name not in used and node.kind not in MASKING:
                raise node.settings.fault("must be on a way from an input to an output; it is on none")
    for node in nodes:
        if node.kind in MODELS:
            model.within[node.name] = _parsed(
                node.kind,
                node.settings.values,
                f"{node.path}/layers",
                node.owner,
                trainable=node.trainable,
                depth=depth + 1,
            )
    return model


class _Reader:
    """Collects calls, at most ``MOST``, those of models and inputs included."""

    def __init__(self) -> None:
        self.calls: list[LayerCall] = []
        self.left = MOST

    def add(self, call: LayerCall) -> Tensor:
        self.calls.append(call)
        return Tensor(len(self.calls) - 1)

    def called(self, model: Model, bound: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of a model that is called on these tensors."""
        if len(bound) != len(model.inputs):
            raise ValueError(f"a {model.title} must be called on {len(model.inputs)} tensors; got {len(bound)}")
        values = {(place.name, 0): [tensor] for place, tensor in zip(model.inputs, bound, strict=True)}
        waiting = [self._call_of(model, place) for place in reversed(model.outputs)]
        started, masks = set[tuple[str, int]](), dict[Place, MaskSource]()
        while waiting:
            here = waiting[-1]
            if here in values:
                waiting.pop()
                continue
            before = self._before(model, here)
            missing = [place for place in before if place not in values]
            if missing:
                if here in started:
                    raise ValueError(f"layer {here[0]!r:.60} must not read its own output; it does, on some way")
                started.add(here)
                waiting += missing
                continue
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"a model must have at most {MOST} calls of layers")
            values[here] = self._made(model, here, values, masks)
            waiting.pop()
        return [self._tensor(model, place, values) for place in model.outputs]

    def _before(self, model: Model, here: tuple[str, int]) -> list[tuple[str, int]]:
        """The calls whose tensors a call reads, those that make its mask left out."""
        node, calls = model.nodes[here[0]], model.inbound[here[0]]
        if here[1] >= len(calls):
            raise node.settings.fault("must be an input of the model, or be called; it is neither")
        call = Arguments.of(node, calls[here[1]])
        return [self._call_of(model, place) for place in (*call.reads, *call.initial)]

    def _call_of(self, model: Model, place: Place) -> tuple[str, int]:
        """Which call makes a tensor.

        Its number counts some that are not part of the model, so it says nothing where there is only one.
        """
        if place.name not in model.nodes and not (place.name == "" and model.title == "Sequential"):
            raise ValueError(f"a layer must be called on another one's output; {place.name!r:.60} is not there")
        count = len(model.inbound[place.name])
        k = 0 if count <= 1 else place.call
        if not 0 <= k < max(1, count):
            raise ValueError(f"{place.name!r:.60} is called {count} times; call {k} of it is read")
        return place.name, k

    def _tensor(self, model: Model, place: Place, values: Mapping[tuple[str, int], list[Tensor]]) -> Tensor:
        made = values[self._call_of(model, place)]
        if place.output and any(place.name == one.name for one in model.inputs):
            raise ValueError(f"input {place.name!r:.60} has one output; output {place.output} of it is read")
        if len(made) == 1 and place.name not in model.within:  # a layer: the outputs after the first are its state
            return made[0]._replace(output=made[0].output + place.output) if place.output else made[0]
        if not 0 <= place.output < len(made):
            raise ValueError(f"{place.name!r:.60} has {len(made)} outputs; output {place.output} of it is read")
        return made[place.output]

    def _made(
        self,
        model: Model,
        here: tuple[str, int],
        values: Mapping[tuple[str, int], list[Tensor]],
        masks: dict[Place, MaskSource],
    ) -> list[Tensor]:
        """The outputs of one call, all of whose tensors are there."""
        node = model.nodes[here[0]]
        call = Arguments.of(node, model.inbound[here[0]][here[1]])
        reads = tuple(self._tensor(model, place, values) for place in call.reads)
        if here[0] in model.within:
            return self.called(model.within[here[0]], reads)
        initial = tuple(self._tensor(model, place, values) for place in call.initial)
        for place in call.masks or ():
            if place is not None and place not in masks:
                masks[place] = self._mask(model, node, place, values)
        mask = None if call.masks is None else tuple(None if place is None else masks[place] for place in call.masks)
        return [self.add(LayerCall(node, reads, initial, mask, call.options))]

    def _mask(
        self, model: Model, node: LayerNode, place: Place, values: Mapping[tuple[str, int], list[Tensor]]
    ) -> MaskSource:
        """What a mask comes from: where a tensor that is there is not equal to a number, however it was passed on."""
        sources: set[MaskSource] = set()
        waiting, seen = [place], set[Place]()
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            operation = model.nodes.get(one.name)
            calls = model.inbound.get(one.name, [])
            if operation is None or operation.kind not in MASKING or len(calls) != 1 or not calls[0]:
                raise node.settings.fault("is called with a mask of its own, which is not supported")
            if operation.kind == "ZerosLike":
                continue
            read = list(tensors_in(calls[0]))
            if operation.kind == "NotEqual":
                arguments = calls[0].get("args") if isinstance(calls[0], Mapping) else None
                number = arguments[1] if isinstance(arguments, list) and len(arguments) == 2 else None
                there = len(read) == 1 and self._call_of(model, read[0]) in values
                if isinstance(number, bool) or not isinstance(number, (int, float)) or not there:
                    raise node.settings.fault("is called with a mask of its own, which is not supported")
                sources.add((self._tensor(model, read[0], values), float(number)))
            else:
                waiting += read
        if len(sources) != 1:
            raise node.settings.fault("is called with a mask that several layers make, which is not supported")
        return sources.pop()


# ---------------------------------------------------------------------- calls as configurations have them


class Arguments(NamedTuple):
    """One call of a layer: the tensors that it reads, those of its initial state, and what else it says."""

    reads: list[Place]
    initial: list[Place]
    masks: list[Place | None] | None
    options: dict[str, Any]

    @classmethod
    def of(cls, node: LayerNode, call: Any) -> "Arguments":
        """Read from a call as Keras 3 or as Keras 2 writes it; ValueError, which names the layer, for any other."""
        fault = node.settings.fault
        options: dict[str, Any] = {}
        if isinstance(call, Mapping):
            args, kwargs = call.get("args"), call.get("kwargs", {})
            if not isinstance(args, list) or not isinstance(kwargs, Mapping):
                raise fault(f"must be called with args and kwargs; got {call!r:.60}")
            numbers = [a for a in args if isinstance(a, (int, float, str)) and not isinstance(a, bool)]
            if numbers and node.kind not in MASKING:
                raise fault(f"is called with {numbers[0]!r:.40}, which is not supported")
            reads = list(tensors_in(args))
            options = dict(kwargs)
        elif isinstance(call, list) and all(_is_place(one) for one in call):
            reads = []
            for one in call:
                reads.append(Place(*one[:3]))
                options |= one[3] if len(one) == 4 else {}
        else:
            raise fault(f"must be called on the outputs of other layers; got {call!r:.60}")
        masks = options.pop("mask", None)
        initial = list(tensors_in(options.pop("initial_state", None)))
        for word in ("query", "value", "key"):
            reads += tensors_in(options.pop(word, None))
        if node.kind in RECURRENT and len(reads) > 1:  # Keras 2 has the initial state beside x
            reads, initial = reads[:1], [*reads[1:], *initial]
        masked = None
        if isinstance(masks, list) and not _is_place(masks):
            masked = [next(tensors_in(one), None) for one in masks]
        elif masks is not None:
            masked = [next(tensors_in(masks), None)]
            if masked == [None]:
                raise fault("is called with a mask of its own, which is not supported")
        elif node.kind == "MultiHeadAttention":
            named = [next(tensors_in(options.pop(f"{word}_mask", None)), None) for word in ("query", "value", "key")]
            masked = named[: len(reads)] if any(named) else None
        rest = {name: value for name, value in options.items() if name != "training" and value not in (None, False)}
        if not reads and node.kind != "InputLayer":
            raise fault("must be called on the output of another layer; it is called on none")
        return cls(reads, initial, masked, rest)


RECURRENT = ("SimpleRNN", "GRU", "LSTM", "CuDNNGRU", "CuDNNLSTM", "RNN", "Bidirectional")


def tensors_in(value: Any) -> Iterator[Place]:
    """The tensors that a part of a call names, in order."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if _is_place(one):
            yield Place(*one[:3])
        elif isinstance(one, list):
            waiting += reversed(one)
        elif isinstance(one, Mapping):
            inner = one.get("config")
            history = inner.get("keras_history") if isinstance(inner, Mapping) else None
            if _is_place(history):
                yield Place(*history[:3])
            elif "args" in one or "kwargs" in one:
                waiting += [one.get("kwargs"), one.get("args")]
            elif "class_name" not in one:
                waiting += reversed(list(one.values()))


def _is_place(value: Any) -> TypeGuard[list[Any]]:
    """Whether this is ``[layer, call, output]``, with settings after it in Keras 2."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(type(n) is int and n >= 0 for n in value[1:3])
        and (len(value) == 3 or isinstance(value[3], Mapping))
    )


def _ends(config: Mapping[str, Any], which: str) -> list[Place]:
    """The tensors that a model begins or ends with."""
    ends = config.get(which)
    places = [Place(*ends)] if _is_place(ends) else list(tensors_in(ends))
    if not 1 <= len(places) <= MOST:
        raise ValueError(f"a model must have from 1 to {MOST} {which}; got {ends!r:.80}")
    return places
