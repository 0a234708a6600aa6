"""Convolution, pooling and norms in ONNX: operators against onnxruntime, exports of torch's as layers that train."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_torch import Export, expected, exported, exported_anew, nn, torch

from minirnn import GRU, LSTM, Layer, Linear, ModelFileError, Sequential, to_onnx
from minirnn.formats.onnx import layers_of, read
from minirnn.layers import (
    Activation,
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    Flatten,
    GlobalAvgPool1d,
    GlobalMaxPool1d,
    LayerNorm,
    Masking,
    MaxPool1d,
    PReLU,
)

onnx: Any = pytest.importorskip("onnx")
runtime: Any = pytest.importorskip("onnxruntime")
helper: Any = onnx.helper

pytestmark = pytest.mark.extras

Array = NDArray[Any]


# ---------------------------------------------------------------------- operators


def node_model(op: str, arrays: list[Array], **attributes: Any) -> Any:
    """A model of one node on x, with the other inputs in the file."""
    names = ["x", *(f"c{k}" for k in range(len(arrays) - 1))]
    tensors = [onnx.numpy_helper.from_array(a, name) for a, name in zip(arrays[1:], names[1:], strict=True)]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None] * arrays[0].ndim)
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(op, names, ["y"], **attributes)], "one", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def in_onnxruntime(model: Any, x: Array) -> Array:
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y: Array = session.run(None, {"x": x})[0]
    return y


def drawn_node(op: str, seed: int) -> tuple[Any, Array]:
    """A node with attributes drawn at random, and x for it."""
    rng = np.random.default_rng(seed)

    def floats(*shape: int) -> Array:
        return rng.normal(size=shape).astype("f4")

    D, T, kernel, stride = int(rng.integers(1, 5)), int(rng.integers(7, 12)), int(rng.integers(1, 4)), 1 + seed % 2
    x = floats(2, D, T)
    about: dict[str, Any] = {"kernel_shape": [kernel], "strides": [stride]}
    if seed % 3 == 0:
        about["auto_pad"] = ["SAME_UPPER", "SAME_LOWER", "VALID"][int(rng.integers(3))]
    else:
        about["pads"] = rng.integers(0, kernel, 2).tolist()
    if op == "Conv":
        groups = int(rng.choice([1, D]))
        dilation = 1 if "auto_pad" in about else int(rng.integers(1, 3))
        W, b = floats(2 * groups, D // groups, kernel), floats(2 * groups)
        return node_model(op, [x, W, b][: 2 + seed % 2], group=groups, dilations=[dilation], **about), x
    if op == "MaxPool":
        return node_model(op, [x], **about), x
    if op == "AveragePool":
        return node_model(op, [x], count_include_pad=int(rng.integers(2)), **about), x
    if op == "LayerNormalization":
        axis = int(rng.choice([-1, 1, 2]))
        shape = x.shape[axis:]
        return node_model(op, [x, floats(*shape), floats(*shape)][: 2 + seed % 2], axis=axis, epsilon=0.01), x
    if op == "BatchNormalization":
        x = floats(*x.shape[: 2 + seed % 2])
        return node_model(op, [x, floats(D), floats(D), floats(D), abs(floats(D))], epsilon=0.01), x
    if op == "PRelu":
        return node_model(op, [x, floats(*[(1,), (D, 1), (T,)][seed % 3])]), x
    return node_model(op, [x]), x


OPERATORS = ["Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "LayerNormalization"]
OPERATORS += ["BatchNormalization", "PRelu", "HardSwish"]


@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_computes_what_onnxruntime_does(op: str) -> None:
    for seed in range(12):
        model, x = drawn_node(op, seed)
        (y,), theirs = read(model).run({"x": x}).values(), in_onnxruntime(model, x)
        assert y.shape == theirs.shape
        np.testing.assert_allclose(y, theirs, rtol=0, atol=5e-6 * max(1, float(np.abs(theirs).max())))


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "words"),
    [
        ("Conv", [(1, 2, 5, 5), (2, 2, 3, 3)], {}, r"x must have three axes, \(B, D, T\)"),
        ("Conv", [(1, 3, 5), (2, 2, 3)], {}, r"W must be \(M, 3 / groups, K\)"),
        ("Conv", [(1, 2, 5), (2, 2, 3)], {"pads": [1, 1, 1, 1]}, "pads must have 2 sizes"),
        ("Conv", [(1, 2, 2), (2, 2, 3)], {}, "the steps of one window at least; it has 2"),
        ("MaxPool", [(1, 2, 5)], {"kernel_shape": [2], "ceil_mode": 1}, "ceil_mode and storage_order must be 0"),
        ("MaxPool", [(1, 2, 5)], {"kernel_shape": [2], "strides": [0]}, "a stride above 0"),
        ("MaxPool", [(1, 2, 5)], {"kernel_shape": [2], "pads": [2**40, 0]}, "results must take at most"),
        (
            "LayerNormalization",
            [(1, 2, 5), (3, 5)],
            {},
            "scale and bias must broadcast|could not be broadcast|mismatch",
        ),
        ("PRelu", [(1, 2, 5), (4, 2, 5)], {}, "the slope must have a shape that broadcasts"),
    ],
)
def test_what_an_operator_does_not_take_is_refused(
    op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any], words: str
) -> None:
    arrays = [np.ones(shape, "f4") for shape in shapes]
    with pytest.raises((ModelFileError, ValueError), match=words):
        read(node_model(op, arrays, **attributes)).run({"x": arrays[0]})


# ---------------------------------------------------------------------- graphs as layers


class Listener(nn.Module):  # type: ignore[misc]  # torch may be absent where types are checked
    """Convolutions, a recurrence, an end; x is (B, T, 5)."""

    def __init__(self, end: str, *before: Any, width: int = 8) -> None:
        super().__init__()
        self.before, self.rnn, self.end = nn.Sequential(*before), nn.GRU(width, 6, batch_first=True), end
        self.norm, self.out = nn.LayerNorm(6), nn.Linear(6 * 8 if "flat" in end else 6, 3)

    def forward(self, x: Any) -> Any:
        x = self.before(x.transpose(1, 2)).transpose(1, 2)
        y = self.norm(self.rnn(x)[0])
        if self.end == "mean":
            y = y.mean(1)
        elif self.end == "largest":
            y = y.amax(1)
        elif self.end == "flat":
            y = torch.relu(y.flatten(1))
        elif self.end == "flat, time last":
            y = y.transpose(1, 2).flatten(1)
        return self.out(y)


def batch_first(T: int, B: int) -> tuple[Any, ...]:
    return (torch.randn(B, T, 5),)


def deep() -> Listener:
    conv = nn.Conv1d(5, 8, 3, stride=2, padding=1)
    norm = nn.BatchNorm1d(8)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return Listener("each", conv, nn.Hardswish(), norm, nn.MaxPool1d(2), nn.Conv1d(8, 8, 2, groups=4), nn.PReLU(8))


CHAINS = {
    "strides": deep,
    "mean": lambda: Listener("mean", nn.Conv1d(5, 8, 3, padding="same"), nn.PReLU(), nn.AvgPool1d(3, 1, 1)),
    "largest": lambda: Listener("largest", nn.Conv1d(5, 8, 3, dilation=2)),
    "flat": lambda: Listener("flat", nn.Conv1d(5, 8, 1)),
    "flat, time last": lambda: Listener("flat, time last", nn.AvgPool1d(3, 1, 1, count_include_pad=False), width=5),
}
AS = {  # what the layers are
    "strides": "Conv1d Activation BatchNorm1d MaxPool1d Conv1d PReLU GRU LayerNorm Linear",
    "mean": "Conv1d PReLU AvgPool1d GRU LayerNorm GlobalAvgPool1d Linear",
    "largest": "Conv1d GRU LayerNorm GlobalMaxPool1d Linear",
    "flat": "Conv1d GRU LayerNorm Activation Flatten Linear",
    "flat, time last": "AvgPool1d GRU LayerNorm Flatten Linear",
}


class Heard(nn.Module):  # type: ignore[misc]  # as above
    """x (B, 5, T), as a convolution has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rnn, self.out = nn.Conv1d(5, 8, 3, padding=1), nn.GRU(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.out(self.rnn(torch.relu(self.conv(x)).transpose(1, 2))[0])


def test_features_may_come_before_time() -> None:
    case = Export(Heard, lambda T, B: (torch.randn(B, 5, T),), batch_first=True)
    network, data = exported(case, 7, 2, dynamic=False, opset=17)
    inputs = case.inputs(7, 2)
    layer = layers_of(read(data), either_first=True)
    assert [type(one).__name__ for one in layer.children().values()] == ["Conv1d", "Activation", "GRU", "Linear"]
    y, _ = layer(inputs[0].numpy().transpose(2, 0, 1))
    np.testing.assert_allclose(y.swapaxes(0, 1), expected(network, inputs)[0], rtol=0, atol=2e-6)
    with pytest.raises(ModelFileError):
        layers_of(read(data))


@pytest.mark.parametrize("anew", [False, True], ids=["older exporter", "newer exporter"])
@pytest.mark.parametrize("name", CHAINS)
def test_an_export_of_torch_becomes_layers(name: str, anew: bool) -> None:
    case = Export(CHAINS[name], batch_first, batch_first=True)
    T = 8 if "flat" in name else 12
    network, data = exported_anew(case, T, 2) if anew else exported(case, T, 2, dynamic=False, opset=17)
    inputs = case.inputs(T, 2)
    (wanted,) = expected(network, inputs)
    (y,) = read(data)(*[a.numpy() for a in inputs])
    room = 2e-6 * max(1.0, float(np.abs(wanted).max()))
    assert np.abs(y - wanted).max() <= room
    layer = layers_of(read(data), either_first=True)
    assert isinstance(layer, Layer)
    assert [type(one).__name__ for one in layer.children().values()] == AS[name].split()
    z, _ = layer(inputs[0].numpy(), batch_first=True)
    assert z.shape == wanted.shape
    assert np.abs(z - wanted).max() <= room


# ---------------------------------------------------------------------- layers as graphs

WRITTEN: dict[str, Layer] = {
    "convolutions": Sequential(
        *(
            Conv1d(4, 6, 3, 2, padding=(1, 0), groups=2),
            LayerNorm(6, 0.01, bias=False),
            PReLU(6),
            MaxPool1d(3, 1, "same"),
        ),
        *(GRU(6, 4, bidirectional=True), BatchNorm1d(8), AvgPool1d(2, count_padding=False), GlobalAvgPool1d()),
        *(BatchNorm1d(8), LayerNorm(8, gain=False), PReLU(), Linear(8, 3)),
    ),
    "flat": Sequential(Activation("hard_swish"), GRU(4, 3), Conv1d(3, 2, 3, padding="causal"), Flatten(9, 2)),
    "largest": Sequential(AvgPool1d(3, 2, 1), LSTM(4, 3), GlobalMaxPool1d()),
}


def with_weights(model: Layer) -> Layer:
    model.init(0, overwrite=True)
    rng = np.random.default_rng(0)
    for name, w in model.named_weights().items():
        w[...] = rng.random(w.shape) + 0.1 if name.endswith("var") else rng.normal(0, 0.5, w.shape)
    return model


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_computes_the_same_and_is_read_as_the_same_layers(name: str) -> None:
    model = with_weights(WRITTEN[name])
    x = np.random.default_rng(1).normal(size=(9, 2, 4)).astype("f4")
    y, written = model(x)[0], to_onnx(model)
    room = 5e-6 * max(1.0, float(np.abs(y).max()))
    assert np.abs(in_onnxruntime(written, x) - y).max() <= room
    graph = read(written)
    assert np.abs(graph.run({"x": x})["y"] - y).max() <= room
    if name == "flat":  # for any number of steps, so that no layer could say which
        return
    again = layers_of(graph)
    assert np.abs(again(x)[0] - y).max() <= room
    kinds = [type(layer).__name__ for layer in again.children().values()]
    assert kinds == [type(layer).__name__ for layer in model.children().values()]


def test_what_onnx_does_not_have_is_refused() -> None:
    pooled, causal = GlobalMaxPool1d().init(), Conv1d(2, 3, 2, padding="causal").init()
    with pytest.raises(ValueError, match=r"GlobalMaxPool1d\(\) cannot be written as ONNX with lengths"):
        to_onnx(pooled, lengths=True)
    with pytest.raises(ValueError, match=r"GlobalMaxPool1d.* cannot be written as ONNX with lengths or after a mask"):
        to_onnx(Sequential(Masking(), GlobalMaxPool1d()).init())
    with pytest.raises(
        ValueError, match=r"states=True writes the states of recurrent layers; Conv1d\(.*\) has one too"
    ):
        to_onnx(causal, states=True)
    with pytest.raises(ValueError, match=r"Conv1d\(.*\) cannot be written as ONNX in int8"):
        to_onnx(causal.quantize("int8"))
