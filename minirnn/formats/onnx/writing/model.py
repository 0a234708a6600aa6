"""Models written as ONNX, for runtimes that know nothing of minirnn: ``to_onnx`` and ``save``."""

import json
import os

from minirnn.core.files import atomic_write
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.core.version import VERSION
from minirnn.formats.models import check_chain, check_finite, network_of
from minirnn.language.model import LanguageModel
from minirnn.layers.convolution import Conv1d
from minirnn.layers.normalisation import LayerNorm
from minirnn.recurrent.networks import Recurrent

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise ImportError("ONNX files need the onnx package: pip install 'minirnn[onnx]'") from error

from minirnn.formats.onnx.writing.around import NORM_OPSET
from minirnn.formats.onnx.writing.emitter import Emitter
from minirnn.formats.onnx.writing.layers import LayerWriter
from minirnn.formats.onnx.writing.steps import Steps

OPSET = 13  # the first whose Softmax runs over one axis; nothing here needs a later one but LayerNorm
IR_VERSION = 7  # the one that came with it; onnxruntime 1.17 reads up to 9
LARGEST = 2**31 - 2**24  # bytes of weights: one message of Protocol Buffers holds 2**31, and the nodes need some


def to_onnx(
    model: Layer | LanguageModel, *, states: bool = False, lengths: bool = False, integers: bool | None = None
) -> onnx.ModelProto:
    """The model as a graph of ONNX, its weights in it.

    Inputs, for any number of steps T and rows B:

    ``x``        (T, B, features) in the model's dtype, or int64 (T, B) for a model that takes indices: a LanguageModel,
                 one that begins with an Embedding, and with ``integers=True`` any recurrent layer, to which an index
                 is a one-hot vector.
    ``lengths``  int32 (B,), with ``lengths=True``: how many steps of each row are valid, from 0 to T.  Whatever x holds
                 past them is not used, and y is 0 there.
    states       with ``states=True``: the state before the first step of each recurrent layer, named by where the layer
                 stands, ``h_0`` of the model itself, ``1.h_0`` and ``1.c_0`` of an LSTM that is layer 1 of a
                 Sequential, each (num_layers · directions, B, H).  Without, it is zeros, or the layer's trainable
                 initial state.

    Outputs are ``y`` and the final states, ``h_n``, ``1.h_n``, ``1.c_n``: what came out of one call is what the next
    one takes in, so that a stream is run in pieces.

    Everything is an operator of opset 13, with a LayerNorm of 17.  Convolution and pooling have no lengths, and a
    causal convolution no state: it begins with zeros.  Recurrent layers are RNN, GRU and LSTM; a Scan stands for what
    those cannot do, an LSTM's ``proj_size``, zoneout, and functions that they have no name for.  In float64 all
    recurrent layers are Scans, since onnxruntime has no kernels for the others there (nor for Conv, nor for Erf, which
    gelu is made of).  Of a LanguageModel, ``metadata_props`` has the ``task``, and the ``vocabulary`` as a JSON list of
    its symbols.  A quantised model's matrices are stored as they are, in int8 or float16, and widened by the graph.

    Raises ValueError for what ONNX has no words for, a cell or a layer of your own, and for other dtypes.
    """
    network = network_of(model, "to_onnx takes")
    check_chain(network, "ONNX")
    dtype = network.bound.dtype
    network.check_whole("to_onnx")
    if dtype.name not in ("float32", "float64"):
        raise ValueError(f"ONNX is written in float32 or float64; got {dtype.name}: model.to(dtype=...) first")
    if network.bound.quantized == "bf16":
        raise ValueError("ONNX is not written in bf16: quantise to f16 or int8, or write the original")
    _check_size(network.bound.nbytes)  # before as much memory is taken again
    indices = _takes_indices(model, network, integers=integers)
    e, x = Emitter(dtype), "x"
    if indices:
        inputs = [e.port(e.name(x), ["T", "B"], TensorProto.INT64)]
        e.indices.add(x)
    else:
        inputs = [e.port(e.name(x), ["T", "B", network.input_size or "features"])]
    if lengths:
        inputs.append(e.port(e.name("lengths"), ["B"], TensorProto.INT32))
    recurrent = [layer for layer in network.walk() if isinstance(layer, Recurrent)]
    for layer in network.walk() if states else ():
        if isinstance(layer, Conv1d) and layer.remembered:
            raise ValueError(f"states=True writes the states of recurrent layers; {brief(layer)} has one too")
    writer = LayerWriter(e)
    if states:
        for layer in recurrent:
            infos = _states(e, layer, "0")
            inputs += infos
            writer.initial[layer.prefix] = [info.name for info in infos]
    width = network.output_size or network.input_size or "features"
    outputs = [e.port(e.name("y"), ["T", "B", width] if network.keeps_time else ["B", width])]
    finals = {layer.prefix: _states(e, layer, "n") for layer in recurrent}
    steps = Steps(e, x, "lengths" if lengths else None)
    y, _ = writer.write(network, steps.blank(x) if lengths else x, steps)
    if lengths and network.keeps_time:
        y = steps.blank(y)
    e.output("y", y)
    for prefix, infos in finals.items():
        for name, info in zip(writer.finals[prefix], infos, strict=True):
            e.output(info.name, name)
            outputs.append(info)
    _check_size(sum(len(tensor.raw_data) for tensor in e.initializers.values()))
    graph = helper.make_graph(e.nodes, "minirnn", inputs, outputs, list(e.initializers.values()))
    return _described(model, network, graph)


def save(
    model: Layer | LanguageModel,
    path: str | os.PathLike[str],
    *,
    states: bool = False,
    lengths: bool = False,
    integers: bool | None = None,
) -> None:
    """Write ``to_onnx(model, ...)`` to ``path``, ``.onnx`` by custom, whole or not at all."""
    write(to_onnx(model, states=states, lengths=lengths, integers=integers), path)


def write(made: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Write what ``to_onnx`` made to ``path``; ValueError where a weight is not finite."""
    check_finite((f"weight {tensor.name}", numpy_helper.to_array(tensor)) for tensor in made.graph.initializer)
    data = made.SerializeToString()
    with atomic_write(path) as file:
        file.write(data)


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"a file of ONNX holds at most {LARGEST:,} bytes; the weights of this model take {size:,}")


def _takes_indices(model: Layer | LanguageModel, network: Layer, *, integers: bool | None) -> bool:
    """Whether x is to be indices, after a check that the network can take what is asked for."""
    if integers is None:
        return isinstance(model, LanguageModel) or not network.floats
    if not (network.integers if integers else network.floats):
        wanted, taken = ("indices", "features") if integers else ("features", "indices")
        raise ValueError(f"integers={integers} asks for a graph that takes {wanted}; {brief(network)} takes {taken}")
    return integers


def _states(e: Emitter, layer: Recurrent, which: str) -> list[onnx.ValueInfoProto]:
    """The layer's states as inputs or outputs of the graph; ``which`` is 0 for the first, n for the last."""
    names, widths = layer.cell.state, layer.directions[0].widths
    return [
        e.port(e.name(f"{layer.prefix}{name}_{which}"), [len(layer.directions), "B", width])
        for name, width in zip(names, widths, strict=True)
    ]


def _described(model: Layer | LanguageModel, network: Layer, graph: onnx.GraphProto) -> onnx.ModelProto:
    """The graph as a model that says where it comes from."""
    normed = any(isinstance(layer, LayerNorm) for layer in network.walk())
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", NORM_OPSET if normed else OPSET)],
        ir_version=IR_VERSION,
        producer_name="minirnn",
        producer_version=VERSION,
        doc_string=network.describe(),
    )
    if isinstance(model, LanguageModel):
        helper.set_model_props(made, {"task": model.task, "vocabulary": json.dumps(model.vocab.symbols)})
    return made
