"""Chains of layers as ONNX graphs, drawn at random in the idioms of several exporters."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_cases import GATES

onnx: Any = pytest.importorskip("onnx")
helper: Any = onnx.helper

Array = NDArray[Any]
BOUNDED = ["Tanh", "Sigmoid", "Softsign", "Relu"]


@dataclass
class Drawn:
    """A graph in the making, and what its inputs are to a chain of layers."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    symbols: int = 0  # indices go in, below this; 0: features
    features: int = 0
    lengths: bool = False
    reduced: bool = False
    units: list[tuple[str, int, int, int]] = field(default_factory=list)  # operator, directions, H, rows in `state`
    given: list[list[str]] = field(default_factory=list)  # the inputs of each unit's initial states

    def model(self, opset: int = 17) -> Any:
        graph = helper.make_graph(self.nodes, "chain", self.inputs, self.outputs, self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)

    def name(self) -> str:
        return f"v{len(self.nodes)}"

    def constant(self, value: Any) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant((self.rng.normal(size=shape) * 0.6).astype(np.float32))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{self.name()}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def input(self, name: str, kind: Any, shape: Any) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one_of(self, words: list[Any]) -> Any:
        return words[int(self.rng.integers(len(words)))]


def draw_chain(seed: int) -> Drawn:
    """A chain of one to three recurrent nodes with what may stand before and after them."""
    drawn = Drawn(np.random.default_rng(seed))
    kinds = onnx.TensorProto
    start = drawn.one_of(["features", "features", "embedding", "one-hot"])
    width = int(drawn.rng.integers(2, 5))
    if start == "features":
        drawn.features = width
        x = drawn.input("x", kinds.FLOAT, ["T", "B", width])
    else:
        drawn.symbols = 6
        x = drawn.input("x", kinds.INT64, ["T", "B"])
        if start == "embedding":
            x = drawn.add("Gather", drawn.weights(6, width), x)
        else:
            x = drawn.add("OneHot", x, drawn.constant([6]), drawn.constant(np.array([0, 1], np.float32)))
            width = 6
    drawn.lengths = drawn.chance(0.3)
    lens = drawn.input("lens", kinds.INT32, ["B"]) if drawn.lengths else ""
    count, twin = int(drawn.rng.integers(1, 4)), drawn.chance(0.6)
    about: dict[str, Any] = {}
    states: list[list[str]] = []
    for k in range(count):
        if not about or not twin:
            about = unit(drawn)
        x, width, ends = recurrent(drawn, x, width, lens, about, k)
        states.append(ends)
    if drawn.chance(0.4):
        x = last(drawn, x, about, states[-1][0])
    if drawn.chance(0.6):
        x, width = product(drawn, x, width)
    for _ in range(int(drawn.rng.integers(0, 3))):
        x = function(drawn, x)
    drawn.output(x)
    if drawn.chance(0.5):
        for kind in range(len(states[0])):
            same = [ends[kind] for ends in states if len(ends) > kind]
            if len(same) > 1 and len({H for _, _, H, _ in drawn.units}) == 1 and drawn.chance(0.5):
                drawn.output(drawn.add("Concat", *same, axis=0))
            else:
                drawn.output(drawn.one_of(same))
    return drawn


def unit(drawn: Drawn) -> dict[str, Any]:
    """The configuration of a recurrent node."""
    op, direction = drawn.one_of(["RNN", "GRU", "LSTM"]), drawn.one_of(["forward", "reverse", "bidirectional"])
    attributes: dict[str, Any] = {"hidden_size": int(drawn.rng.integers(2, 5)), "direction": direction}
    n = 2 if direction == "bidirectional" else 1
    if drawn.chance(0.35):
        each = {"RNN": 1, "GRU": 2, "LSTM": 3}[op]
        names = [drawn.one_of(BOUNDED[:3] if op != "RNN" else BOUNDED) for _ in range(each)]
        other = [drawn.one_of(BOUNDED[:3]) for _ in range(each)] if drawn.chance(0.5) else names
        attributes["activations"] = names + other if n == 2 else names
    if op != "LSTM" and drawn.chance(0.15):
        attributes["clip"] = 0.7
    if op == "GRU" and drawn.chance(0.6):
        attributes["linear_before_reset"] = 1
    return {
        "op": op,
        "attributes": attributes,
        "B": drawn.chance(0.8),
        "P": op == "LSTM" and drawn.chance(0.2),
        "start": drawn.one_of(["none", "none", "zeros", "inputs", "stored"]),
        "squeezed": drawn.chance(0.5),
    }


def recurrent(drawn: Drawn, x: str, width: int, lens: str, about: dict[str, Any], k: int) -> tuple[str, int, list[str]]:
    """A node, and its output as a sequence again; its final states are the third."""
    op, attributes = about["op"], about["attributes"]
    n, H, gates = 2 if attributes["direction"] == "bidirectional" else 1, attributes["hidden_size"], GATES[op]
    names = [drawn.weights(n, gates * H, width), drawn.weights(n, gates * H, H)]
    names.append(drawn.weights(n, 2 * gates * H) if about["B"] else "")
    names.append(lens)
    count, given = 2 if op == "LSTM" else 1, []
    for kind in range(count):
        if about["start"] == "inputs":
            given.append(drawn.input(f"state_{k}_{kind}", onnx.TensorProto.FLOAT, [n, "B", H]))
            names.append(given[-1])
        elif about["start"] == "none":
            names.append("")
        else:  # made as large as the batch
            rows = drawn.add("Gather", drawn.add("Shape", x), drawn.constant(np.array([1])), axis=0)
            sizes = (drawn.constant(np.array([n])), rows, drawn.constant(np.array([H])))
            shape = drawn.add("Concat", *sizes, axis=0)
            if about["start"] == "zeros":
                names.append(drawn.add("ConstantOfShape", shape))
            else:
                names.append(drawn.add("Expand", drawn.weights(n, 1, H), shape))
    drawn.given.append(given)
    drawn.units.append((op, n, H, count))
    if about["P"]:
        names += [""] * (6 - len(names)) + [drawn.weights(n, 3 * H)]
    y, *ends = drawn.add(op, x, *names, outputs=1 + count, **attributes)
    if n == 1 and about["squeezed"]:
        return drawn.add("Squeeze", y, drawn.constant(np.array([1]))), H, ends
    y = drawn.add("Transpose", y, perm=[0, 2, 1, 3])
    return drawn.add("Reshape", y, drawn.constant(np.array([0, 0, -1]))), n * H, ends


def last(drawn: Drawn, x: str, about: dict[str, Any], h: str) -> str:
    """What is left of a sequence: its last step, by one of the ways that are the same."""
    direction, ways = about["attributes"]["direction"], []
    if not drawn.lengths:
        ways.append("step")
    if direction == "forward":
        ways.append("state")
    if direction == "bidirectional":
        ways += ["both", "halves"]
    if not ways:
        return x
    drawn.reduced, way = True, drawn.one_of(ways)
    if way == "step":
        return str(drawn.add("Gather", x, drawn.constant(np.array(-1)), axis=0))
    if way == "state":
        return str(drawn.add("Squeeze", h, drawn.constant(np.array([0]))))
    if way == "both":
        turned = drawn.add("Transpose", h, perm=[1, 0, 2])
        return str(drawn.add("Reshape", turned, drawn.constant(np.array([0, -1]))))
    halves = [drawn.add("Gather", h, drawn.constant(np.array(k - 2)), axis=0) for k in range(2)]
    return str(drawn.add("Concat", *halves, axis=-1))


def product(drawn: Drawn, x: str, width: int) -> tuple[str, int]:
    """A product with or without a bias."""
    out = int(drawn.rng.integers(1, 5))
    if drawn.reduced and drawn.chance(0.5):
        return drawn.add("Gemm", x, drawn.weights(out, width), drawn.weights(out), transB=1, alpha=0.5, beta=2.0), out
    x = drawn.add("MatMul", x, drawn.weights(width, out))
    if drawn.chance(0.7):
        pair = (x, drawn.weights(out))
        x = drawn.add("Add", *(pair if drawn.chance(0.5) else pair[::-1]))
    return x, out


def function(drawn: Drawn, x: str) -> str:
    """Something between layers."""
    op = drawn.one_of(["Relu", "Tanh", "Sigmoid", "Elu", "LeakyRelu", "Softmax", "LogSoftmax", "Identity", "Clip"])
    attributes = {"alpha": 0.3} if op in ("Elu", "LeakyRelu") else {"axis": -1} if "Soft" in op else {}
    bounds = [drawn.constant(np.float32(v)) for v in (0, 6)] if op == "Clip" else []
    return str(drawn.add(op, x, *bounds, **attributes))


def feed_of(drawn: Drawn, T: int, B: int, seed: int) -> dict[str, Array]:
    """Inputs of those sizes."""
    rng = np.random.default_rng(seed)
    feed: dict[str, Array] = {}
    for info in drawn.inputs:
        shape = [{"T": T, "B": B}.get(d.dim_param) or d.dim_value for d in info.type.tensor_type.shape.dim]
        if info.name == "x" and drawn.symbols:
            feed["x"] = rng.integers(0, drawn.symbols, shape)
        elif info.name == "lens":
            feed["lens"] = rng.integers(1, T + 1, B).astype(np.int32)
        else:
            feed[info.name] = rng.normal(size=shape).astype(np.float32)
    return feed
