"""A program of torch's that is no chain, as a ``LayerGraph``: branches, sums, several inputs and outputs."""

from collections.abc import Mapping

from minirnn.core.layer import Layer
from minirnn.formats.torch.outline import Node, ProgramGraph
from minirnn.layers.feedforward import Embedding
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import Joining
from minirnn.layers.wiring import Call, Entry, unused

Named = tuple[str, Layer]  # the name that a layer has in the graph


def assembled(graph: ProgramGraph, layers: Mapping[str, Named]) -> LayerGraph:
    """The graph of these layers, which are by path; ValueError where they do not fit one another."""
    values: dict[int, str] = {}
    finals: dict[int, list[str]] = {}  # names of final states, by the node that gives them
    plain: dict[str, Layer] = {}
    calls: dict[int, Call] = {}
    known = {name for name, _ in layers.values()}

    def new(name: str) -> str:
        return unused(name, {*values.values(), *(one for names in finals.values() for one in names)})

    def layer_of(node: Node) -> Named:
        assert node.step is not None  # an input is no call
        if node.step.layer is None:
            return layers[node.step.path]
        name = unused(type(node.step.layer).__name__.lower(), {*known, *plain})
        plain[name] = node.step.layer
        return name, node.step.layer

    def states_of(one: int) -> list[str]:
        """The names of a call's final states, which it gives from now on."""
        if one not in finals:
            call = calls[one]
            shapes = called[one].state_shapes(1)
            count = shapes[0][0] * len(shapes) if shapes else 0
            finals[one] = [new(f"{call.name}_state_{k}") for k in range(count)]
            calls[one] = call._replace(final=tuple(finals[one]))
        return finals[one]

    called: dict[int, Layer] = {}  # by the node that calls it
    for k, node in graph.nodes.items():
        if k in graph.inputs:
            values[k] = new(graph.inputs[k].name or "x")
        elif node.state is not None:
            (one,), (place, name) = node.reads, node.state
            count = len(called[one].state_shapes(1))  # an LSTM's are h and c, by turns
            values[k] = states_of(one)[place * count + "hc".index(name)]
        else:
            name, called[k] = layer_of(node)
            initial = states_of(node.initial) if node.initial is not None else []
            values[k] = new(name)
            calls[k] = Call(values[k], name, [values[one] for one in node.reads], initial)
    entries = [_entry(k, values[k], graph, called) for k in graph.inputs]
    outputs = _outputs(graph, values, calls)
    return LayerGraph(entries, {**dict(layers.values()), **plain}, calls.values(), outputs)


def _entry(k: int, name: str, graph: ProgramGraph, called: Mapping[int, Layer]) -> Entry:
    """An input, as those that read it take it."""
    readers = [called[one] for one, node in graph.nodes.items() if k in node.reads and one in called]
    embeddings = [layer for layer in readers if isinstance(layer, Embedding)]
    if embeddings:
        return Entry(name, min(layer.num_embeddings for layer in embeddings), indices=True)
    widths = [layer.input_size for layer in readers if not isinstance(layer, Joining) and layer.input_size]
    return Entry(
        name, widths[0] if widths else None, "T" in graph.inputs[k].axes or len(graph.inputs[k].axes) != len("BD")
    )


def _outputs(graph: ProgramGraph, values: Mapping[int, str], calls: Mapping[int, Call]) -> dict[str, str]:
    """The outputs, each by the name of the layer that gives it, where that is another for each."""
    names: dict[str, str] = {}
    for one in graph.outputs:
        name = calls[one].layer if one in calls else values[one]
        names[unused(name, set(names))] = values[one]
    return names
