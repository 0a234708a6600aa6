"""What each value of a graph is to a chain of layers: the graph is followed, not run.

``Transpose`` moves the letters of a value's axes, ``Squeeze`` takes a d away, ``Reshape`` makes an F of d and H; a
layer is found where a node stands on letters that its layer has.  What is found may still be wrong, where a shape is
computed in ways that are not followed: ``chain.py`` compares the layers with the graph, in numbers.
"""

from contextlib import suppress

from minirnn.formats.onnx.recognising.forms import ChainValue, FinalStates, Form, InitialState, Lengths, Other, Zeros
from minirnn.formats.onnx.recognising.layer_rules import LAYERS
from minirnn.formats.onnx.recognising.move_rules import MOVES
from minirnn.formats.onnx.running.program import Program
from minirnn.formats.onnx.structure import Node, Port

RULES = MOVES | LAYERS  # what comes out of a node: a form, one for each output, or None where no layer does that
STILL_ZEROS = ("Transpose", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Split", "Expand")  # of zeros
MEASURES = ("Shape", "Size")  # nodes that ask for sizes, and compute nothing from what flows


def source_of(graph: Program) -> Port | None:
    """The input that goes through the chain: the first that can be features or indices."""
    return next((port for port in graph.inputs if (port.dtype.kind, _rank(port)) in SOURCES), None)


SOURCES = {("f", 3): "TBF", ("f", 2): "BF", ("i", 2): "TB", ("u", 2): "TB"}


def _rank(port: Port) -> int:
    return -1 if port.shape is None else len(port.shape)


def trace(graph: Program, *, batch_first: bool) -> dict[str, Form]:
    """The form of every value of ``graph``, whose sequences have time first or the batch first."""
    forms: dict[str, Form] = dict(graph.constants)
    source = source_of(graph)
    for port in graph.inputs:
        rank, kind = _rank(port), port.dtype.kind
        if port is source:
            axes = SOURCES[kind, rank]
            forms[port.name] = ChainValue((), axes.replace("TB", "BT") if batch_first else axes)
        elif kind == "f" and rank in (2, 3):
            forms[port.name] = InitialState(port.name, "012"[:rank], port.shape or ())
        else:
            forms[port.name] = Lengths(port.name) if kind in "iu" and rank == 1 else Other(f"input {port} has no place")
    for node in graph.nodes:
        inputs = [forms.get(name, Other()) if name else None for name in node.inputs]
        for name, form in zip(node.outputs, _followed(node, inputs), strict=False):
            forms.setdefault(name, form)  # what is constant is known already
    return forms


def _followed(node: Node, inputs: list[Form]) -> list[Form]:
    """The forms of a node's outputs."""
    blocked = next((form for form in inputs if isinstance(form, Other) and form.why), None)
    outputs = None
    if node.op in STILL_ZEROS and inputs and isinstance(inputs[0], Zeros):
        outputs = inputs[:1] * len(node.outputs)
    elif not blocked and node.op in RULES:
        with suppress(IndexError, ValueError, ZeroDivisionError):  # of axes that are not there: running it says so
            outputs = RULES[node.op](node, inputs)
    if outputs is not None:
        return outputs if isinstance(outputs, list) else [outputs]
    followed = any(isinstance(form, (ChainValue, FinalStates, InitialState, Lengths)) for form in inputs)
    why = blocked or Other(f"{node} does what no layer does there" if followed and node.op not in MEASURES else "")
    return [why] * len(node.outputs)
