"""Graphs within nodes, numbers of 8 bits, and operator sets before 7: against onnxruntime and what torch wrote."""

import warnings
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import Layer, ModelFileError, load
from minirnn.formats.onnx import read

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed, which these graphs are written by")
onnxruntime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed, which they are run by")

pytestmark = pytest.mark.extras
helper: Any = onnx.helper
make: Any = onnx.helper.make_node

Array: TypeAlias = NDArray[Any]
FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
RNG = np.random.default_rng(3)


def port(name: str, shape: Any = None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def tensor(name: str, values: Any) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(values), name)


def model(nodes: Any, inputs: Any, outputs: Any, tensors: Any = (), opset: int = 17) -> Any:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(tensors))
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def body(nodes: Any, inputs: Any, outputs: Any, tensors: Any = ()) -> Any:
    return helper.make_graph(nodes, "within", inputs, outputs, list(tensors))


def session(proto: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def agree(proto: Any, feed: dict[str, Array], tolerance: float = 1e-6) -> Any:
    """The graph, once it computes what onnxruntime does."""
    graph, theirs = read(proto), session(proto).run(None, feed)
    for (name, ours), wanted in zip(graph.run(feed).items(), theirs, strict=True):
        assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype), name
        np.testing.assert_allclose(ours, wanted, atol=tolerance)
    return graph


def lstm_weights(D: int, H: int, n: int = 1) -> dict[str, Array]:
    shapes = {"W": (n, 4 * H, D), "R": (n, 4 * H, H), "B": (n, 8 * H)}
    return {name: RNG.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


# ---------------------------------------------------------------------- If


def chosen(condition: list[Any], tensors: Any = (), inputs: Any = ()) -> Any:
    """An LSTM in one branch, with a branch within the other, both reading values around them."""
    weights = lstm_weights(3, 4)
    recurrent = body(
        [make("LSTM", ["x", "W", "R", "B"], ["y", "h", ""], hidden_size=4), make("Squeeze", ["y", "one"], ["then"])],
        [],
        [port("then")],
        [tensor("one", np.array([1]))],
    )
    inner = [body([make(op, ["x"], ["z"])], [], [port("z")]) for op in ("Tanh", "Neg")]
    other = body(
        [
            make("If", ["also"], ["z"], then_branch=inner[0], else_branch=inner[1]),
            make("Concat", ["z", "tail"], ["else"], axis=2),
        ],
        [],
        [port("else")],
    )
    nodes = [*condition, make("If", ["c"], ["chosen"], then_branch=recurrent, else_branch=other)]
    nodes.append(make("Relu", ["chosen"], ["out"]))
    extra = [tensor("tail", np.ones((5, 2, 1), np.float32)), *(tensor(name, w) for name, w in weights.items())]
    return model(nodes, [port("x", [5, 2, 3]), *inputs], [port("out", [None, None, 4])], [*extra, *tensors])


def test_a_branch_is_run_by_a_condition_that_comes_in() -> None:
    proto = chosen([], inputs=[port("c", [], BOOL), port("also", [], BOOL)])
    x = RNG.normal(size=(5, 2, 3)).astype(np.float32)
    for c in (True, False):
        for also in (True, False):
            agree(proto, {"x": x, "c": np.array(c), "also": np.array(also)})


@pytest.mark.parametrize("c", [True, False])
def test_a_condition_that_is_known_takes_the_branch_alone(c: bool, tmp_path: Path) -> None:
    known = [
        make("Shape", ["W"], ["sizes"]),  # computed when the graph is read
        make("Gather", ["sizes", "place"], ["size"]),
        make("Equal", ["size", "three"], ["c"]),
        make("Not", ["c"], ["also"]),
    ]
    numbers = [tensor("place", np.array(2)), tensor("three", np.array(3 if c else 4))]
    graph = agree(chosen(known, numbers), {"x": RNG.normal(size=(5, 2, 3)).astype(np.float32)})
    assert not any(node.op == "If" for node in graph.nodes)
    onnx.save(chosen(known, numbers), tmp_path / "m.onnx")
    assert isinstance(load(tmp_path / "m.onnx"), Layer) is c


def test_what_is_no_branch_is_refused() -> None:
    one, two = (body([make("Tanh", ["x"], ["z"])], [], [port("z")] * n) for n in (1, 2))
    taking = body([make("Tanh", ["z"], ["w"])], [port("z")], [port("w")])
    wrong = (
        ({"then_branch": one}, "else_branch must be given"),
        ({"then_branch": one, "else_branch": two}, "no inputs and 1 outputs, as the node; it has 0 and 2"),
        ({"then_branch": taking, "else_branch": one}, "no inputs and 1 outputs, as the node; it has 1 and 1"),
        ({"then_branch": one, "else_branch": one, "extra": 1}, "no attribute 'extra'"),
    )
    for inputs, tensors in (([port("c", [], BOOL)], []), ([], [tensor("c", np.array(True))])):
        for attributes, words in wrong:
            proto = model([make("If", ["c"], ["y"], **attributes)], [port("x", [2]), *inputs], [port("y")], tensors)
            with pytest.raises(ModelFileError, match=rf"\(If\).*{words}"):
                read(proto)
    proto = model(
        [make("If", ["c"], ["y"], then_branch=one, else_branch=one)],
        [port("x", [2]), port("c", [2], BOOL)],
        [port("y")],
    )
    with pytest.raises(ValueError, match="one number is expected"):
        read(proto).run({"x": np.zeros(2, np.float32), "c": np.array([True, False])})


# ---------------------------------------------------------------------- Loop


def looped(*, most: bool, condition: bool, recurrent: bool = False) -> Any:
    """A state that halves, and the steps of it, while the sum of it is above a number or for a number of times."""
    cell = [make("Mul", ["v", "half"], ["w"])]
    if recurrent:
        cell = [
            make("Gather", ["x", "t"], ["row"]),
            make("Unsqueeze", ["row", "zero"], ["step"]),
            make("Unsqueeze", ["v", "zero"], ["state"]),
            make("GRU", ["step", "W", "R", "", "", "state"], ["", "end"], hidden_size=4),
            make("Squeeze", ["end", "zero"], ["w"]),
        ]
    inner = [*cell, make("ReduceSum", ["w"], ["sum"], keepdims=0), make("Greater", ["sum", "bound"], ["again"])]
    inner += [make("Identity", ["w"], ["scan"]), make("Cast", ["t"], ["number"], to=FLOAT)]
    inside = body(
        inner,
        [port("t", [], INT64), port("go", [], BOOL), port("v", [2, 4])],
        [port("again" if condition else "go", [], BOOL), port("w", [2, 4]), port("scan", [2, 4]), port("number", [])],
    )
    arrays = {"half": np.array(0.5, np.float32), "bound": np.array(0.3, np.float32), "zero": np.array([0])}
    arrays |= {"W": RNG.normal(0, 0.5, (1, 12, 3)).astype("f4"), "R": RNG.normal(0, 0.5, (1, 12, 4)).astype("f4")}
    nodes = [
        make("Loop", ["n" if most else "", "on" if condition else "", "start"], ["last", "steps", "t_s"], body=inside)
    ]
    inputs = [port("start", [2, 4]), *([port("x", ["T", 2, 3])] if recurrent else [])]
    inputs += ([port("n", [], INT64)] if most else []) + ([port("on", [], BOOL)] if condition else [])
    outputs = [port("last", [2, 4]), port("steps", [None, 2, 4]), port("t_s", [None])]
    return model(nodes, inputs, outputs, [tensor(name, a) for name, a in arrays.items()])


@pytest.mark.parametrize(("most", "condition"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("recurrent", [False, True])
def test_a_loop_computes_what_onnxruntime_does(most: bool, condition: bool, recurrent: bool) -> None:
    proto = looped(most=most, condition=condition, recurrent=recurrent)
    for n in (1, 4):
        feed = {"start": np.abs(RNG.normal(size=(2, 4))).astype(np.float32)}
        feed |= {"x": RNG.normal(size=(40, 2, 3)).astype(np.float32)} if recurrent else {}
        feed |= {"n": np.array(n)} if most else {}
        feed |= {"on": np.array(True)} if condition else {}
        if recurrent and condition and not most:
            continue  # it may go on past the end of x, in both
        agree(proto, feed)


def test_a_loop_that_does_not_run() -> None:
    proto = looped(most=True, condition=False)
    with pytest.raises(ModelFileError, match="a Loop that gives sequences must run at least once"):
        read(proto).run({"start": np.ones((2, 4), np.float32), "n": np.array(0)})


def test_a_loop_that_goes_on_for_ever_is_ended() -> None:
    inside = body(
        [make("Add", ["v", "v"], ["w"])],
        [port("t", [], INT64), port("go", [], BOOL), port("v", [1])],
        [port("go", [], BOOL), port("w", [1])],
    )
    proto = model([make("Loop", ["", "", "x"], ["y"], body=inside)], [port("x", [1])], [port("y", [1])])
    with pytest.raises(ModelFileError, match="takes longer than goes with its weights"):
        read(proto).run({"x": np.ones(1, np.float32)})
    growing = body(
        [make("Concat", ["v", "v"], ["w"], axis=0)],
        [port("t", [], INT64), port("go", [], BOOL), port("v", [None])],
        [port("go", [], BOOL), port("w", [None])],
    )
    proto = model([make("Loop", ["", "", "x"], ["y"], body=growing)], [port("x", [1])], [port("y", [None])])
    with pytest.raises(ModelFileError, match="results must take at most"):
        read(proto).run({"x": np.ones(1, np.float32)})


def test_what_is_no_loop_is_refused() -> None:
    inside = body([make("Tanh", ["v"], ["w"])], [port("t"), port("go"), port("v")], [port("go"), port("w")])
    for inputs, outputs, words in (
        (["", ""], ["y"], "0 states, and give a condition"),
        (["", "", "x", "x"], ["y", "z"], "2 states, and give a condition, those states and sequences; it has 3 inputs"),
        (["", "", "x"], ["y", "z"], "it has 3 inputs and 2 outputs"),
    ):
        proto = model([make("Loop", inputs, outputs, body=inside)], [port("x", [2])], [port("y")])
        with pytest.raises(ModelFileError, match=words):
            read(proto)


def test_a_loop_needs_all_of_its_states() -> None:
    inside = body([make("Tanh", ["v"], ["w"])], [port("t"), port("go"), port("v")], [port("go"), port("w")])
    proto = model([make("Loop", ["n", "", ""], ["y"], body=inside)], [port("n", [], INT64)], [port("y")])
    with pytest.raises(ModelFileError, match=r"\(Loop\) must have from 2 to 65536 inputs; it has \('n', '', ''\)"):
        read(proto)


def test_a_scan_within_a_branch_and_a_branch_within_a_scan() -> None:
    step = body(
        [make("If", ["c"], ["o"], then_branch=body([make("Tanh", ["s"], ["p"])], [], [port("p")]),
              else_branch=body([make("Add", ["s", "v"], ["p"])], [], [port("p")]))],
        [port("h", [3]), port("s", [3])],
        [port("o", [3]), port("s2", [3])],
    )  # fmt: skip
    step.node.append(make("Mul", ["o", "h"], ["s2"]))
    scan = make("Scan", ["start", "x"], ["end", "ys"], body=step, num_scan_inputs=1)
    yes = body([scan], [], [port("ys")])
    no = body([make("Neg", ["x"], ["z"])], [], [port("z")])
    inputs = [port("x", [4, 3]), port("start", [3]), port("v", [3]), port("c", [], BOOL), port("d", [], BOOL)]
    proto = model([make("If", ["d"], ["y"], then_branch=yes, else_branch=no)], inputs, [port("y", [4, 3])])
    arrays = {name: RNG.normal(size=shape).astype("f4") for name, shape in (("x", (4, 3)), ("start", 3), ("v", 3))}
    for c in (True, False):
        for d in (True, False):
            agree(proto, {**arrays, "c": np.array(c), "d": np.array(d)})


def test_graphs_within_graphs_have_an_end() -> None:
    inner = body([make("Tanh", ["x"], ["z"])], [], [port("z")])
    for depth in range(12):
        proto = model(
            [make("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
            [port("x", [2]), port("c", [], BOOL)],
            [port("y", [2])],
        )
        if depth < 8:
            agree(proto, {"x": np.ones(2, np.float32), "c": np.array(True)})
        else:
            with pytest.raises(ModelFileError, match="graphs within graphs may be 8 deep"):
                read(proto)
        inner = body([make("If", ["c"], [f"z{depth}"], then_branch=inner, else_branch=inner)], [], [port(f"z{depth}")])


# ---------------------------------------------------------------------- 8 bits


def test_weights_of_8_bits_become_an_lstm(tmp_path: Path) -> None:
    """DequantizeLinear on constants, one scale for all and one for each row."""
    tensors, nodes = [], []
    for name, w in lstm_weights(3, 4).items():
        rows = name == "W"
        scale = (np.abs(w).max(axis=(0, 2)) if rows else np.abs(w).max()) / 127
        q = np.rint(w / (scale[:, None] if rows else scale)).astype(np.int8)
        tensors += [tensor(f"{name}_q", q), tensor(f"{name}_s", np.asarray(scale, np.float32))]
        nodes.append(make("DequantizeLinear", [f"{name}_q", f"{name}_s"], [name], axis=1 if rows else 0))
    nodes += [make("LSTM", ["x", "W", "R", "B"], ["y4"], hidden_size=4), make("Squeeze", ["y4", "one"], ["y"])]
    proto = model(nodes, [port("x", ["T", "B", 3])], [port("y", ["T", "B", 4])], [*tensors, tensor("one", [1])])
    x = RNG.normal(size=(5, 2, 3)).astype(np.float32)
    agree(proto, {"x": x}, 2e-6)
    onnx.save(proto, tmp_path / "m.onnx")
    layer = load(tmp_path / "m.onnx")
    assert isinstance(layer, Layer)
    np.testing.assert_allclose(layer(x)[0], session(proto).run(None, {"x": x})[0], atol=2e-6)


@pytest.mark.parametrize("per_channel", [False, True])
def test_what_onnxruntime_quantised_computes_what_was_quantised(tmp_path: Path, per_channel: bool) -> None:
    quantization: Any = pytest.importorskip("onnxruntime.quantization")
    tensors = {**lstm_weights(8, 16, 2), "M": RNG.normal(0, 0.3, (32, 4)).astype("f4"), "shape": np.array([0, 0, -1])}
    nodes = [
        make("LSTM", ["x", "W", "R", "B"], ["y4", "h", "c"], hidden_size=16, direction="bidirectional"),
        make("Transpose", ["y4"], ["turned"], perm=[0, 2, 1, 3]),
        make("Reshape", ["turned", "shape"], ["wide"]),
        make("MatMul", ["wide", "M"], ["y"]),
    ]
    outputs = [port("y", ["T", "B", 4]), port("h", [2, "B", 16])]
    proto = model(nodes, [port("x", ["T", "B", 8])], outputs, [tensor(name, a) for name, a in tensors.items()])
    before, after = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(proto, before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_dynamic(before, after, per_channel=per_channel, op_types_to_quantize=["LSTM", "MatMul"])
    small = onnx.load(after)
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= {node.op_type for node in small.graph.node}
    x = RNG.normal(size=(7, 3, 8)).astype(np.float32)
    ours, theirs = read(small).run({"x": x}), session(small).run(None, {"x": x})
    for (name, y), rounded, exact in zip(ours.items(), theirs, session(proto).run(None, {"x": x}), strict=True):
        assert np.abs(y - exact).max() < 0.05, name
        assert np.abs(y - rounded).mean() < 0.1  # which rounds h and x at every product too
        assert np.abs(y - exact).max() < np.abs(rounded - exact).max()


def test_a_quantised_lstm_that_lacks_something_is_refused() -> None:
    arrays = {"W": np.ones((1, 3, 8), np.int8), "R": np.ones((1, 2, 8), np.int8), "s": np.ones(1, np.float32)}
    arrays |= {"z": np.zeros(1, np.int8), "t": np.ones(3, np.float32)}
    names = ["x", "W", "R", "", "", "", "", "", "s", "z", "s", "z"]

    def made(inputs: list[str], domain: str = "com.microsoft") -> Any:
        node = make("DynamicQuantizeLSTM", inputs, ["y"], hidden_size=2, domain=domain)
        return model([node], [port("x", [4, 1, 3])], [port("y", None)], [tensor(name, a) for name, a in arrays.items()])

    x = np.ones((4, 1, 3), np.float32)
    assert read(made(names)).run({"x": x})["y"].shape == (4, 1, 1, 2)
    for inputs, words in (
        (names[:3], "scales of W and R must be given"),
        ([*names[:8], "", "", "", ""], "scales of W and R must be given"),
        ([*names[:8], "t", "z", "s", "z"], r"a scale must go with \(1, 3, 8\); it has shape \(3,\)"),
        ([*names[:8], "z", "z", "s", "z"], "operands must be floats"),
    ):
        with pytest.raises(ModelFileError, match=words):
            read(made(inputs)).run({"x": x})
    with pytest.raises(ModelFileError, match="is of the domain ''"):
        read(made(names, ""))


# ---------------------------------------------------------------------- operator sets before 7


def test_recurrent_operators_of_set_1() -> None:
    """As CNTK and torch wrote them; what they compute is what set 7 does."""
    arrays = {"W": RNG.normal(0, 0.5, (1, 12, 3)).astype("f4"), "R": RNG.normal(0, 0.5, (1, 12, 4)).astype("f4")}
    arrays |= {"b": RNG.normal(size=4).astype("f4"), "c": RNG.normal(size=(5, 1)).astype("f4")}
    x = RNG.normal(size=(5, 2, 3)).astype("f4")
    old = [
        make("GRU", ["x", "W", "R"], ["y4", "h"], hidden_size=4, output_sequence=1),
        make("Squeeze", ["y4"], ["y3"], axes=[1]),
        make("Add", ["y3", "b"], ["y2"], broadcast=1),
        make("Mul", ["y2", "c"], ["y1"], broadcast=1, axis=0),
        make("Reshape", ["y1"], ["y0"], shape=[0, -1], consumed_inputs=[0]),
        make("Cast", ["y0"], ["wide"], to="DOUBLE"),
        make("Dropout", ["y0"], ["kept"], is_test=1, ratio=0.5),
        make("Concat", ["kept", "y0"], ["y"]),
    ]
    new = [
        make("GRU", ["x", "W", "R"], ["y4", "h"], hidden_size=4),
        make("Squeeze", ["y4"], ["y3"], axes=[1]),
        make("Add", ["y3", "b"], ["y2"]),
        make("Unsqueeze", ["c"], ["c3"], axes=[2]),
        make("Mul", ["y2", "c3"], ["y1"]),
        make("Reshape", ["y1", "shape"], ["y0"]),
        make("Cast", ["y0"], ["wide"], to=onnx.TensorProto.DOUBLE),
        make("Concat", ["y0", "y0"], ["y"], axis=1),
    ]
    outputs = [port("y", None), port("h", None), port("wide", None, onnx.TensorProto.DOUBLE)]
    tensors = [tensor(name, a) for name, a in arrays.items()]
    arrays["c3"] = arrays["c"][..., None]
    arrays["c3"].shape = (5, 1, 1)
    made = [model(old, [port("x", [5, 2, 3])], outputs, tensors, opset=1)]
    made.append(model(new, [port("x", [5, 2, 3])], outputs, [*tensors, tensor("shape", np.array([0, -1]))], opset=7))
    results, wanted = read(made[0]).run({"x": x}), session(made[1]).run(None, {"x": x})
    for y, expected in zip(results.values(), wanted, strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([make("Add", ["x", "b"], ["y"])], r"operands must have one shape; they have \(2, 3\) and \(3,\)"),
        ([make("Add", ["x", "b"], ["y"], broadcast=1, axis=0)], r"\(3,\) must go along \(2, 3\) from axis 0 on"),
        ([make("Reshape", ["x"], ["y"])], "shape must be given"),
        ([make("Cast", ["x"], ["y"], to="HALF")], "to must name an element type; got 'HALF'"),
        ([make("TopK", ["x"], ["y", "z"], k=1)], "needs operator set 7; the model has 1"),
    ],
)
def test_what_is_wrong_before_set_7_is_named(nodes: Any, words: str) -> None:
    proto = model(nodes, [port("x", [2, 3])], [port("y", None)], [tensor("b", np.ones(3, np.float32))], opset=1)
    with pytest.raises(ModelFileError, match=words):
        read(proto).run({"x": np.ones((2, 3), np.float32)})


@pytest.mark.parametrize("kind", ["pytorch-operator", "pytorch-converted"])
def test_models_that_torch_wrote_in_set_6_give_its_outputs(kind: str) -> None:
    """Those that come with the package onnx: operators, and modules of nn."""
    from onnx.backend.test.loader import load_model_tests

    from minirnn.formats.onnx.backend import MinirnnBackend

    ran = 0
    for case in load_model_tests(kind=kind):
        place = Path(str(case.model_dir))
        proto = onnx.load(place / "model.onnx")
        if not MinirnnBackend.is_compatible(proto):
            continue
        prepared = MinirnnBackend.prepare(proto)
        for folder in place.glob("test_data_set_*"):
            inputs, outputs = (
                [onnx.numpy_helper.to_array(onnx.load_tensor(path)) for path in sorted(folder.glob(f"{word}_*.pb"))]
                for word in ("input", "output")
            )
            for y, wanted in zip(prepared.run(inputs), outputs, strict=True):
                assert y.shape == wanted.shape, case.name
                np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5, err_msg=case.name)
            ran += 1
    assert ran >= 25
