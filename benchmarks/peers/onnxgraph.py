"""A case's recurrent layers as an ONNX model: one RNN, GRU or LSTM node a layer."""

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from benchmarks.cases import GATES, Case
from benchmarks.inputs import Array, Arrays

OPSET, IR = 17, 8  # what any runtime of the last years reads
ORDER = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}  # ONNX has z r h and i o f c


def model_of(case: Case, arrays: Arrays, *, states: bool) -> bytes:
    """The model: from x (T, B, D) to y (T, B, H · directions) and the final state h (and c).

    With ``states``, of one layer, the initial state is given as ``h0`` (and ``c0``) (directions, B, H); else it is 0.
    """
    assert not states or case.layers == 1
    T, B, H, n = case.T, case.B, case.H, case.directions
    names = ["h", "c"] if case.cell == "lstm" else ["h"]
    options: dict[str, Any] = {"hidden_size": H, "direction": "bidirectional" if n == 2 else "forward"}
    if case.cell == "gru":
        options["linear_before_reset"] = 1
    initializers = [numpy_helper.from_array(np.array([0, 0, -1]), "merged")]
    nodes, x = [], "x"
    for k in range(case.layers):
        for name, value in layer_weights(case, arrays, k).items():
            initializers.append(numpy_helper.from_array(value, f"{name}_{k}"))
        inputs = [x, f"W_{k}", f"R_{k}", f"B_{k}", "", *(f"{name}0" for name in names if states)]
        outputs = [f"Y_{k}", *(f"{name}_{k}" for name in names)]
        nodes.append(helper.make_node(case.cell.upper(), inputs, outputs, **options))
        x = "y" if k + 1 == case.layers else f"x_{k + 1}"  # from (T, directions, B, H) to (T, B, directions · H)
        nodes.append(helper.make_node("Transpose", [f"Y_{k}"], [f"turned_{k}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"turned_{k}", "merged"], [x]))
    for name in names:
        parts = [f"{name}_{k}" for k in range(case.layers)]
        nodes.append(helper.make_node("Concat", parts, [name], axis=0))

    def tensor(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "recurrent",
        [tensor("x", T, B, case.D), *(tensor(f"{name}0", n, B, H) for name in names if states)],
        [tensor("y", T, B, n * H), *(tensor(name, n * case.layers, B, H) for name in names)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def layer_weights(case: Case, arrays: Arrays, k: int) -> Arrays:
    """Layer ``k``'s W (directions, G·H, D), R (directions, G·H, H) and B (directions, 2·G·H): both biases."""

    def blocks(a: Array) -> Array:
        """The gates, (..., G·H), in ONNX's order, and they first."""
        gates = np.split(a, GATES[case.cell], axis=-1)
        return np.concatenate([gates[g] for g in ORDER[case.cell]], axis=-1).T

    weights: dict[str, list[Array]] = {"W": [], "R": [], "B": []}
    for prefix in [f"{k}", f"{k}.reverse"][: case.directions]:
        b = arrays[f"{prefix}.b"]
        recurrent_bias = np.zeros_like(b)
        if case.cell == "gru":
            recurrent_bias[2 * case.H :] = arrays[f"{prefix}.bn"]
        weights["W"].append(blocks(arrays[f"{prefix}.W"]))
        weights["R"].append(blocks(arrays[f"{prefix}.U"]))
        weights["B"].append(np.concatenate([blocks(b), blocks(recurrent_bias)]))
    return {name: np.stack(parts) for name, parts in weights.items()}


def zero_state(case: Case) -> Arrays:
    """The initial state that starts a stream, by the model's input names."""
    names = ["h0", "c0"] if case.cell == "lstm" else ["h0"]
    return {name: np.zeros((case.directions, case.B, case.H), np.float32) for name in names}
