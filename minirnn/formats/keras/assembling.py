"""Keras' models that are no chains, as a ``LayerGraph``."""

from collections.abc import Sequence

from minirnn.formats.keras.attending import ATTENDING, attention
from minirnn.formats.keras.functional import Graph, LayerCall, MaskSource, Tensor
from minirnn.formats.keras.graph import LayerNode
from minirnn.formats.keras.layers import MERGES, OF_GRAPHS, Builder, Flow
from minirnn.formats.keras.settings import Settings
from minirnn.formats.keras.weights import Placed, placed_in
from minirnn.layers.feedforward import Activation
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import Combine, Concatenate, Dot, Joining, Kind, Sizes
from minirnn.layers.reshaping import Exchange, Repeat, Reshape
from minirnn.layers.wiring import Call, Entry, unused

UNDER_MASK = ("Add", "Subtract", "Average", "Concatenate")  # which read what a mask covers as if there were none


def assembled(graph: Graph, builder: Builder) -> Placed:
    """The layers of a graph with their weights, and the graph."""
    assembly = _Assembly(builder)
    readers: dict[Tensor, list[LayerNode]] = {}
    for call in graph.calls:
        for tensor in call.reads:
            readers.setdefault(tensor, []).append(call.node)
    for k, call in enumerate(graph.calls):
        if call.node.kind == "InputLayer":
            assembly.enter(k, call.node, readers.get(Tensor(k), []))
        else:
            assembly.add(k, call)
    outputs = {name: assembly.value(tensor) for name, tensor in graph.outputs.items()}
    if not assembly.calls:
        raise ValueError("a model must have a layer beside its inputs; it has none")
    whole = LayerGraph(
        assembly.entries, {name: one.layer for name, one in assembly.layers.items()}, assembly.calls, outputs
    )
    return placed_in(whole, assembly.layers)


class _Assembly:
    """A ``LayerGraph`` in the making: layers by name, calls, and what is known of each tensor."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.entries: list[Entry] = []
        self.layers: dict[str, Placed] = {}
        self.calls: list[Call] = []
        self.values: dict[Tensor, str] = {}
        self.flows: dict[Tensor, Flow] = {}
        self.masks: dict[Tensor, MaskSource] = {}
        self.built: dict[int, list[str]] = {}  # by a layer of Keras: the layers that it became
        self.finals: dict[int, int] = {}  # by a call: where it stands in ``calls``, if it has states
        self.names: set[str] = set()

    def value(self, tensor: Tensor) -> str:
        """The name of a tensor's value; of a final state, which the call then gives."""
        if tensor in self.values:
            return self.values[tensor]
        if tensor.call not in self.finals:
            raise ValueError(f"output {tensor.output} of a layer is read, and it has one output")
        place = self.finals[tensor.call]
        call = self.calls[place]
        shapes = self.layers[call.layer].layer.state_shapes(1)
        widths = [shape[2] for _ in range(shapes[0][0]) for shape in shapes]
        if tensor.output > len(widths):
            raise ValueError(f"output {tensor.output} of a layer is read, and its state has {len(widths)} arrays")
        names = [self._new(f"{call.name}_state_{k}") for k in range(len(widths))]
        self.calls[place] = call._replace(final=tuple(names))
        for k, (name, width) in enumerate(zip(names, widths, strict=True), start=1):
            self.values[Tensor(tensor.call, k)] = name
            self.flows[Tensor(tensor.call, k)] = Flow(None, width, timed=False)
        return self.values[tensor]

    def enter(self, k: int, node: LayerNode, readers: Sequence[LayerNode]) -> None:
        """Add an input; what reads it says whether it is integers."""
        shape = node.settings.values.get("batch_shape", node.settings.values.get("batch_input_shape"))
        sizes = shape[1:] if isinstance(shape, list) else []
        if len(sizes) not in (1, 2) or not all(n is None or (type(n) is int and n > 0) for n in sizes):
            raise node.settings.fault(f"must be of shape (steps, features) or (features,); it is {shape!r:.60}")
        embeddings = [reader for reader in readers if reader.kind == "Embedding"]
        name = self._new(node.name)
        if embeddings:
            if len(sizes) > 1:
                raise node.settings.fault(f"must be of shape (steps,) for an Embedding; it is {shape!r:.60}")
            most = min(reader.settings.size("input_dim") for reader in embeddings)
            self.entries.append(Entry(name, most, indices=True))
            flow = Flow(sizes[0], None, timed=True)
        else:
            timed = len(sizes) == 2
            self.entries.append(Entry(name, sizes[-1], timed))
            flow = Flow(sizes[0] if timed else None, sizes[-1], timed)
        self.values[Tensor(k)], self.flows[Tensor(k)] = name, flow

    def add(self, k: int, call: LayerCall) -> None:
        """Add one call of a layer of Keras: one of a graph's own, or as many as its layers are."""
        node, fault = call.node, call.node.settings.fault
        reads = [self.value(tensor) for tensor in call.reads]
        flows = [self.flows[tensor] for tensor in call.reads]
        masks = [self.masks.get(tensor) for tensor in call.reads]
        options = dict(call.options)
        causal = node.kind in ATTENDING and options.pop("use_causal_mask", False) is True
        if options:
            name, value = next(iter(options.items()))
            raise fault(f"is called with {name}={value!r:.40}, which is not supported")
        if call.mask is not None and list(call.mask) != masks[: len(call.mask)]:
            raise fault("is called with a mask of its own, which is not supported")
        mask: MaskSource | None
        if node.kind in ATTENDING:
            if masks[0] is not None and node.kind == "MultiHeadAttention":
                raise fault("of a query under a mask is not supported")
            widths = [flow.width for flow in flows]
            placed = attention(
                node.kind, node.settings, widths, lambda part: self.builder.find(node, part), causal=causal
            )
            placed.frozen = set() if node.trainable else set(placed.layer.all_specs())
            (name,) = self._layers(node, [placed])
            assert isinstance(placed.layer, Joining)
            mask = masks[0]
            self._call(Tensor(k), node.name, name, reads, _after(node, placed.layer, flows))
        elif node.kind in OF_GRAPHS:
            layer = joining(node, flows)
            timed = [one for one, flow in zip(masks, flows, strict=True) if flow.timed]
            if any(timed) and (len(set(timed)) > 1 or node.kind not in UNDER_MASK):
                raise fault("under a mask, or under several, is not supported")
            mask = timed[0] if timed else None
            (name,) = self._layers(node, [Placed(layer)])
            self._call(Tensor(k), node.name, name, reads, _after(node, layer, flows))
        elif node.kind == "Softmax" and _over_steps(node.settings, flows[0]):
            names = self._layers(node, [Placed(Exchange()), Placed(Activation("softmax")), Placed(Exchange())])
            if masks[0] is not None:
                raise fault("under a mask is not supported")
            mask = None
            for place, name in enumerate(names):
                last = place == 2
                reads = [self._call(Tensor(k) if last else None, node.name, name, reads, flows[0])]
        else:
            mask = self._one(k, call, reads, flows, masks)
        if mask is not None:
            self.masks[Tensor(k)] = mask

    def _one(
        self, k: int, call: LayerCall, reads: list[str], flows: list[Flow], masks: list[MaskSource | None]
    ) -> MaskSource | None:
        """Add a layer that is one in a chain too; the mask that goes on behind it."""
        node, builder, fault = call.node, self.builder, call.node.settings.fault
        if len(reads) != 1:
            raise fault(f"must be called on the output of one other layer; it is called on {len(reads)}")
        builder.flow = flows[0]
        names = self._layers(node, builder.build(node))
        after = builder.flow
        if not names:  # noise, or a Flatten of what is flat
            self.values[Tensor(k)], self.flows[Tensor(k)] = reads[0], after
            return masks[0] if after.masked else None
        states = [name for name in names if self.layers[name].layer.state_shapes(1)]
        if call.initial and len(states) != 1:
            raise fault("with an initial state must be one recurrent layer; it is several, or none")
        initial = [self.value(tensor) for tensor in call.initial]
        for place, name in enumerate(names):
            last = place + 1 == len(names)
            if [name] == states:
                self.finals[k] = len(self.calls)
            own = initial if name in states else []
            reads = [self._call(Tensor(k) if last else None, node.name, name, reads, after, own)]
        if not after.masked:
            return None
        if node.kind in ("Embedding", "Masking") and masks[0] is None:
            value = 0.0 if node.kind == "Embedding" else node.settings.number("mask_value", 0.0)
            return call.reads[0], value
        return masks[0]

    def _layers(self, node: LayerNode, placed: list[Placed]) -> list[str]:
        """The names of a layer's layers; one that is called again has those that it had."""
        if id(node) in self.built:
            names = self.built[id(node)]
            before = [self.layers[name].layer.describe() for name in names]
            if before != [one.layer.describe() for one in placed]:
                raise node.settings.fault("must be called on values of one kind; it is called on two")
            return names
        names = []
        for place, one in enumerate(placed):
            name = node.name.replace(".", "_") or "layer"
            name = f"{name}_{type(one.layer).__name__.lower()}" if place and not one.sources else name
            name = unused(name, self.layers)
            names.append(name)
            self.layers[name] = one
        self.built[id(node)] = names
        return names

    def _call(
        self,
        tensor: Tensor | None,
        title: str,
        layer: str,
        reads: Sequence[str],
        flow: Flow,
        initial: Sequence[str] = (),
    ) -> str:
        """Add a call; ``tensor`` is what it makes, None for a value that nothing else reads."""
        name = self._new(title if tensor is not None else f"{title}_{layer}")
        self.calls.append(Call(name, layer, tuple(reads), tuple(initial)))
        if tensor is not None:
            self.values[tensor], self.flows[tensor] = name, flow
        return name

    def _new(self, name: str) -> str:
        name = unused(name or "value", self.names)
        self.names.add(name)
        return name


def _over_steps(settings: Settings, flow: Flow) -> bool:
    """Whether a Softmax is over the steps of what it reads."""
    axis = settings.values.get("axis", -1)
    return flow.timed and axis in (1, -2, [1], [-2]) and not isinstance(axis, bool)


def joining(node: LayerNode, flows: Sequence[Flow]) -> Joining:
    """The layer of a graph that one of ``OF_GRAPHS`` is."""
    settings, kind = node.settings, node.kind
    if kind in MERGES:
        return Combine(MERGES[kind])
    if kind == "Concatenate":
        axis, rank = settings.values.get("axis", -1), max(3 if flow.timed else 2 for flow in flows)
        if type(axis) is not int or axis not in (-1, rank - 1, 1, -2):
            raise settings.fault(f"axis={axis!r:.40} is not supported: it joins features or steps")
        return Concatenate(over_steps=axis not in (-1, rank - 1))
    if kind == "Dot":
        return _dot(settings, flows)
    if kind == "RepeatVector":
        return Repeat(settings.size("n"))
    if kind == "Permute":
        if settings.values.get("dims") != [2, 1]:
            raise settings.fault(f"dims={settings.values.get('dims')!r:.40} is not supported, only (2, 1)")
        return Exchange()
    shape = settings.values.get("target_shape")
    if not isinstance(shape, list) or not all(type(n) is int and (n > 0 or n == -1) for n in shape):
        raise settings.fault(f"target_shape must be sizes; got {shape!r:.60}")
    if len(shape) not in (1, 2) or shape.count(-1) > 1:
        raise settings.fault(f"target_shape must be (steps, features) or (features,); got {shape!r:.60}")
    return Reshape(shape[0] if len(shape) == 2 else None, shape[-1])


def _dot(settings: Settings, flows: Sequence[Flow]) -> Dot:
    axes = settings.values.get("axes")
    both = axes if isinstance(axes, list) else [axes, axes]
    if len(both) != 2 or len(flows) != 2 or not all(type(axis) is int for axis in both):
        raise settings.fault(f"axes must be one or two numbers, of two values; got {axes!r:.40}")
    words = []
    for axis, flow in zip(both, flows, strict=True):
        rank = 3 if flow.timed else 2
        place = axis + rank if axis < 0 else axis
        if not 1 <= place < rank:
            raise settings.fault(f"axes={axes!r:.40} is not supported for values of {rank} axes")
        words.append("features" if place == rank - 1 else "steps")
    return Dot(*words, normalize=settings.flag("normalize"))


def _after(node: LayerNode, layer: Joining, flows: Sequence[Flow]) -> Flow:
    """What is known of the value that it makes."""
    try:
        made = layer.kind([Kind(flow.width, flow.timed, flow.masked) for flow in flows])
        sizes = layer.sizes([Sizes(flow.steps if flow.timed else None, flow.width) for flow in flows])
    except ValueError as error:
        raise node.settings.fault(str(error)) from None
    return Flow(sizes.steps if made.timed else None, sizes.features, made.timed, made.masked)
