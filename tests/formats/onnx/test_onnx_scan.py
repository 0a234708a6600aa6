"""Scan with every attribute against onnxruntime: states, sequences along any axis and either way, values around it."""

from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn.formats.onnx import read

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed, which these graphs are written by")
onnxruntime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed, which they are run by")

pytestmark = pytest.mark.extras
helper: Any = onnx.helper

Array: TypeAlias = NDArray[Any]
FLOAT = onnx.TensorProto.FLOAT


def info(name: str) -> Any:
    return helper.make_tensor_value_info(name, FLOAT, None)


@st.composite
def scans(draw: st.DrawFn) -> tuple[Any, dict[str, Array]]:
    """A model of one Scan, after and before other nodes, and its inputs."""
    T, width = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    states, sequences, stacked = draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
    stacked += not states + stacked
    axis, way = st.integers(-2, 1), st.integers(0, 1)
    axes_in, axes_out = (draw(st.lists(axis, min_size=n, max_size=n)) for n in (sequences, stacked))
    ways_in, ways_out = (draw(st.lists(way, min_size=n, max_size=n)) for n in (sequences, stacked))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    flow, steps = [f"h{k}" for k in range(states)], [f"z{k}" for k in range(sequences)]
    inside, known = [], [*flow, *steps, "w", "inner"]
    for k in range(draw(st.integers(1, 4))):
        op, given = draw(st.sampled_from(["Add", "Mul", "Sub"])), [draw(st.sampled_from(known)) for _ in range(2)]
        inside.append(helper.make_node(op, given, [f"a{k}"]))
        known.append(f"a{k}")
    results = [f"o{k}" for k in range(states + stacked)]
    inside += [helper.make_node("Tanh", [draw(st.sampled_from(known))], [name]) for name in results]
    inner = onnx.numpy_helper.from_array(rng.normal(size=width).astype(np.float32), "inner")
    body = helper.make_graph(inside, "step", [*map(info, [*flow, *steps])], [*map(info, results)], [inner])
    node = helper.make_node(
        "Scan",
        [*(f"start{k}" for k in range(states)), *(f"x{k}" for k in range(sequences))],
        [f"y{k}" for k in range(states + stacked)],
        body=body,
        num_scan_inputs=sequences,
        **({"scan_input_axes": axes_in} if any(axes_in) or draw(st.booleans()) else {}),
        **({"scan_output_axes": axes_out} if any(axes_out) or (stacked and draw(st.booleans())) else {}),
        **({"scan_input_directions": ways_in} if any(ways_in) or draw(st.booleans()) else {}),
        **({"scan_output_directions": ways_out} if any(ways_out) or (stacked and draw(st.booleans())) else {}),
    )
    feed = {"v": rng.normal(size=width).astype(np.float32)}
    feed |= {f"start{k}": rng.normal(size=width).astype(np.float32) for k in range(states)}
    for k, along in enumerate(axes_in):
        feed[f"x{k}"] = np.moveaxis(rng.normal(size=(T, width)), 0, along).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Exp", ["v"], ["e"]), helper.make_node("Tanh", ["e"], ["w"]), node],
        "scan",
        [*map(info, feed)],
        [*map(info, node.output)],
    )
    for port in graph.input:  # onnxruntime asks for ranks
        port.CopyFrom(helper.make_tensor_value_info(port.name, FLOAT, feed[port.name].shape))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), feed


@given(scans())
def test_a_scan_computes_what_onnxruntime_does(case: tuple[Any, dict[str, Array]]) -> None:
    model, feed = case
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    found = read(model).run(feed)
    for name, theirs in zip(names, session.run(names, feed), strict=True):
        assert found[name].shape == theirs.shape
        np.testing.assert_allclose(found[name], theirs, atol=1e-6)
