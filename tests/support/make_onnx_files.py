"""Writes ``onnx_files.json``: small graphs of ONNX of every kind that minirnn reads, with inputs and what comes out.

They are what is tested, and spoilt, where none of the packages is installed that write and run ONNX.  The graphs are
cases of the standard's own tests, one or more for every operator, with what those say comes out; recurrent nodes and
chains drawn at random, exports of torch, and models of minirnn, with what onnxruntime computes from them.

Run in an environment with the extra ``oracles``.
"""

import base64
import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx_cases import OPERATORS, draw, model_of
from onnx_chains import draw_chain, feed_of
from onnx_torch import EXPORTS, arrays, exported

from minirnn import GRU, LSTM, Bidirectional, Embedding, Last, Layer, Linear, Masking, Recurrent, Reverse, Sequential
from minirnn.formats.onnx.backend import MinirnnBackend
from minirnn.formats.onnx.writing import to_onnx
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary
from minirnn.layers.activations import Function
from minirnn.layers.feedforward import Activation
from minirnn.recurrent.variants import LSTMVariant

Array = NDArray[Any]
FILE = Path(__file__).with_name("onnx_files.json")
OF_EACH = 2  # of the standard's cases for an operator, at most
LARGEST = 900, 9000  # bytes that such a case may take, and the only one of an operator


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def array(a: Any) -> dict[str, Any]:
    a = np.asarray(a)
    a = a.astype(np.float32) if a.dtype.name == "bfloat16" else a
    return {"dtype": a.dtype.str, "shape": a.shape, "data": packed(np.ascontiguousarray(a).tobytes())}


def entry(model: Any, inputs: dict[str, Array], outputs: dict[str, Array] | None = None) -> dict[str, Any]:
    """A graph with what goes in and comes out, by default in onnxruntime."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    if outputs is None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        outputs = dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))
    ports = {"inputs": inputs, "outputs": outputs}
    return {"file": packed(data)} | {
        word: {name: array(a) for name, a in found.items()} for word, found in ports.items()
    }


# ---------------------------------------------------------------------- what the standard brings


def of_the_standard() -> dict[str, Any]:
    """The smallest cases of each operator."""
    runs: list[Any]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = [case for case in load_model_tests(kind="node") if MinirnnBackend.is_compatible(case.model)]
    found: dict[str, list[tuple[int, str, Any]]] = {}
    for case in runs:
        if len(case.model.graph.node) == 1 and "training" not in case.name:
            (inputs, outputs), *_ = case.data_sets
            made = entry(case.model, named(case.model.graph.input, inputs), named(case.model.graph.output, outputs))
            found.setdefault(case.model.graph.node[0].op_type, []).append((len(json.dumps(made)), case.name, made))
    chosen = {}
    for cases in found.values():
        for k, (size, name, made) in enumerate(sorted(cases)[:OF_EACH]):
            if size < LARGEST[not k]:
                chosen[f"standard, {name.removeprefix('test_')}"] = made
    return chosen


def named(ports: Any, values: Any) -> dict[str, Array]:
    given = [numpy_helper.to_array(v) if isinstance(v, TensorProto) else np.asarray(v) for v in values]
    return {port.name: a for port, a in zip(ports, given, strict=True)}


# ---------------------------------------------------------------------- how numbers are stored

KINDS = ["float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool", "float16", "float64", "uint32"]
KINDS += ["uint64", "bfloat16"]


def stored(*, raw: bool) -> dict[str, Any]:
    """A graph of a tensor of every type, as bytes or as numbers in the field of that type."""
    nodes, tensors, outputs, expected = [], [], [], {}
    for name in KINDS:
        dtype = helper.tensor_dtype_to_np_dtype(
            getattr(TensorProto, {"float64": "DOUBLE", "float32": "FLOAT"}.get(name, name.upper()))
        )
        code = helper.np_dtype_to_tensor_dtype(dtype)
        values = (
            np.array([[0, 1], [3, 100]]) if name[:1] in "ub" and name != "bfloat16" else np.array([[0, -1], [3, 100]])
        )
        values = values.astype(dtype)
        tensor = numpy_helper.from_array(values, f"{name}_0")
        if not raw:
            plain = values.astype(np.float32 if name == "bfloat16" else dtype)
            tensor = helper.make_tensor(f"{name}_0", code, values.shape, plain.reshape(-1).tolist())
        tensors.append(tensor)
        nodes.append(helper.make_node("Identity", [f"{name}_0"], [name]))
        outputs.append(helper.make_tensor_value_info(name, code, values.shape))
        expected[name] = values
    graph = helper.make_graph(nodes, "types", [], outputs, tensors)
    return entry(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), {}, expected)


def old() -> dict[str, Any]:
    """A graph of operator set 7, where what became inputs were attributes."""
    nodes = [
        helper.make_node("Squeeze", ["x"], ["a"], axes=[1]),
        helper.make_node("Clip", ["a"], ["b"], min=-0.5, max=0.75),
        helper.make_node("Slice", ["b"], ["c"], starts=[0, 1], ends=[2, -1], axes=[0, 1]),
        helper.make_node("Unsqueeze", ["c"], ["d"], axes=[0, 3]),
        helper.make_node("Softmax", ["d"], ["e"], axis=1),
        helper.make_node("ReduceSum", ["e"], ["f"], axes=[1], keepdims=0),
        helper.make_node("Split", ["f"], ["g", "h"], axis=1, split=[1, 2]),
        helper.make_node("Dropout", ["g"], ["i"], ratio=0.25),
        helper.make_node("Concat", ["i", "h"], ["j"], axis=1),
        helper.make_node("ReduceMean", ["j"], ["y"], axes=[2]),
    ]
    x = np.random.default_rng(0).normal(size=(3, 1, 5)).astype(np.float32)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["A", 1, "C"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "old", inputs, outputs)
    return entry(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=3), {"x": x})


def mish() -> dict[str, Any]:
    """An operator of whose cases none is small."""
    node = helper.make_node("Mish", ["x"], ["y"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    graph = helper.make_graph([node], "mish", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return entry(model, {"x": np.array([-90, -1, 0, 0.5, 30], np.float32)})


def around() -> dict[str, Any]:
    """Convolution, pooling and norms of one dimension, of which the standard has few cases."""
    rng = np.random.default_rng(0)
    arrays = {"W": (4, 1, 2), "b": (4,), "g": (4,), "m": (4,), "v": (4,), "s": (4, 1), "n": (3,)}
    tensors = [numpy_helper.from_array(rng.random(shape).astype("f4"), name) for name, shape in arrays.items()]
    window: dict[str, Any] = {"kernel_shape": [2], "pads": [1, 0]}
    nodes = [
        helper.make_node("Conv", ["x", "W", "b"], ["c"], group=2, dilations=[2], kernel_shape=[2], pads=[1, 1]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["d"], epsilon=0.01),
        helper.make_node("HardSwish", ["d"], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], strides=[2], **window),
        helper.make_node("PRelu", ["f", "s"], ["h"]),
        helper.make_node("AveragePool", ["h"], ["i"], count_include_pad=1, **window),
        helper.make_node("LayerNormalization", ["i", "n"], ["j"], axis=-1),
        helper.make_node("GlobalAveragePool", ["j"], ["k"]),
        helper.make_node("GlobalMaxPool", ["j"], ["l"]),
        helper.make_node("Concat", ["k", "l"], ["y"], axis=2),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", n, None]) for name, n in (("x", 2), ("y", 4))]
    graph = helper.make_graph(nodes, "around", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return entry(model, {"x": rng.normal(size=(2, 2, 6)).astype("f4")})


def int8() -> dict[str, Any]:
    """onnxruntime's LSTM of 8 bits, with what the same of the widened weights gives."""
    rng, H = np.random.default_rng(0), 2
    arrays: dict[str, Array] = {
        "W": rng.integers(-127, 128, (1, 3, 4 * H)),
        "R": rng.integers(-127, 128, (1, H, 4 * H)),
    }
    arrays = {name: a.astype(np.int8) for name, a in arrays.items()}
    arrays |= {"s": np.linspace(0.004, 0.01, 4 * H).astype("f4")[None], "z": np.full((1, 4 * H), 3, np.int8)}
    names = ["x", "W", "R", "", "", "", "", "", "s", "z", "s", "z"]
    node = helper.make_node("DynamicQuantizeLSTM", names, ["y"], hidden_size=H, domain="com.microsoft")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    tensors = [numpy_helper.from_array(a, name) for name, a in arrays.items()]
    graph = helper.make_graph([node], "int8", ports[:1], ports[1:], tensors)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    wide = {
        name: ((arrays[name] - arrays["z"][:, None].astype("f4")) * arrays["s"][:, None]).swapaxes(1, 2)
        for name in "WR"
    }
    plain = helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=H)
    shapes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "B", 3])
    tensors = [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in wide.items()]
    graph = helper.make_graph([plain], "float", [shapes], ports[1:], tensors)
    feed = {"x": rng.normal(size=(4, 2, 3)).astype("f4")}
    made = entry(helper.make_model(graph, opset_imports=domains, ir_version=8), feed)
    return made | {"file": packed(model.SerializeToString())}


# ---------------------------------------------------------------------- nodes, chains, exports, models


def nodes() -> dict[str, Any]:
    """Recurrent nodes with every choice of every attribute, of which onnxruntime has all but the batch first."""
    found = {}
    for op in OPERATORS:
        cases = (draw(op, seed) for seed in range(200))
        seen: set[tuple[str, str]] = set()
        for case in cases:
            chosen = {(name, str(value)) for name, value in case.features.items()}
            if not case.attributes.get("layout") and not case.departures and not chosen <= seen:
                found[f"node, {op} {len(seen)}"] = entry(model_of(case), case.feed)
                seen |= chosen
    return found


def chains() -> dict[str, Any]:
    """Chains of layers in the ways of several exporters."""
    found = {}
    for seed in range(10):
        drawn = draw_chain(seed)
        feed = feed_of(drawn, 4, 2, seed)
        found[f"chain {seed}"] = entry(drawn.model(), feed)
    return found


def exports() -> dict[str, Any]:
    """What torch writes."""
    found = {}
    for name in ("lstm, deep, both ways", "tagger", "tagger, batch first", "classifier", "gru, state"):
        _, data = exported(EXPORTS[name], 4, 2)
        torch.manual_seed(1)
        given = arrays(EXPORTS[name].inputs(3, 2))
        ports = [port.name for port in onnx.load_model_from_string(data).graph.input]
        found[f"torch, {name}"] = entry(data, dict(zip(ports, given, strict=True)))
    return found


def models() -> dict[str, Any]:
    """What minirnn writes."""
    rng, embedding = np.random.default_rng(0), Embedding(6, 4)
    both = Bidirectional(LSTM(3, 4), GRU(3, 4), merge="ave")
    clipped = Recurrent(LSTMVariant(Function("hard_sigmoid"), clip=0.5, peepholes=True), 3, 4, bidirectional=True)
    speaking = LanguageModel.build(Vocabulary.of("a天"), embedding_size=2, hidden_size=3)
    made: dict[str, tuple[Layer | LanguageModel, dict[str, Any]]] = {
        "a language model": (speaking, {}),
        "tied": (Sequential(embedding, GRU(4, 4, 2), Linear(4, 6, tie=embedding)), {"states": True}),
        "int8": (Sequential(Embedding(6, 4), LSTM(4, 3, bidirectional=True), Linear(6, 2)), {"int8": True}),
        "lengths": (Sequential(both, GRU(4, 3, bidirectional=True), Last(bidirectional=True)), {"lengths": True}),
        "masked": (Sequential(Masking(), GRU(3, 4, reset="before"), Reverse(), Last(), Linear(4, 2)), {}),
        "masked indices": (Sequential(Embedding(6, 3, 2), LSTM(3, 4), Activation("gelu")), {"lengths": True}),
        "a scan": (Sequential(clipped, Activation("mish")), {"lengths": True, "states": True}),
        "float64": (Sequential(GRU(6, 4), Activation("softplus")), {"dtype": "float64", "integers": True}),
    }
    found = {}
    for name, (model, options) in made.items():
        dtype = options.pop("dtype", "float32")
        network = model.network if isinstance(model, LanguageModel) else model
        network.init(0, backend="numpy", dtype=dtype)
        for w in network.named_weights().values():
            w[...] = rng.normal(size=w.shape) * 0.5
        written = to_onnx(network.quantize("int8") if options.pop("int8", False) else model, **options)
        feed: dict[str, Array] = {}
        for port in written.graph.input:
            shape = [{"T": 4, "B": 2}.get(d.dim_param) or d.dim_value for d in port.type.tensor_type.shape.dim]
            feed[port.name] = rng.normal(size=shape).astype(dtype)
            if name == "masked":
                feed[port.name][[0, 2], [1, 0]] = 0
            if port.type.tensor_type.elem_type == TensorProto.INT64:
                feed[port.name] = rng.integers(0, min(6, network.input_size or 6), shape)
            if port.name == "lengths":
                feed[port.name] = np.array([4, 2], np.int32)
        found[f"minirnn, {name}"] = entry(written, feed)
    return found


if __name__ == "__main__":
    everything = exports() | models() | chains() | nodes() | of_the_standard()
    everything |= {
        "types, raw": stored(raw=True),
        "types, numbers": stored(raw=False),
        "old": old(),
        "mish": mish(),
        "around": around(),
        "int8": int8(),
    }
    FILE.write_text(json.dumps(everything, indent=0) + "\n")
    print(f"{len(everything)} graphs, {FILE.stat().st_size:,} bytes")
