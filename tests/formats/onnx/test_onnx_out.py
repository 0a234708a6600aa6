"""Models written as ONNX: onnxruntime computes from the graph what the model computes, for any sizes and lengths; and
so does minirnn, which reads all that it writes.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import minirnn
from minirnn import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Layer,
    Linear,
    ModelFileError,
    Recurrent,
    Sequential,
)
from minirnn.cells import TanhCell
from minirnn.formats.onnx import Graph, load, read
from minirnn.formats.sources.planning import exact
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary
from minirnn.layers.activations import Function
from minirnn.layers.feedforward import Activation, Masking, Reverse
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'minirnn[onnx]'")
onnxruntime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from minirnn.formats.onnx.writing import save, to_onnx  # noqa: E402 - needs onnx

pytestmark = pytest.mark.extras

Array: TypeAlias = NDArray[Any]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}  # of max(1, max |y|)
onnxruntime.set_default_logger_severity(4)  # what fails is raised; nothing is to be printed

# ---------------------------------------------------------------------- running a graph beside its model


def ready(model: Layer, seed: int = 0, *, dtype: str = "float32", scale: float = 0.5) -> Layer:
    """``model`` with every weight drawn, those that start at 0 too."""
    model.init(seed, backend="numpy", dtype=dtype, overwrite=True)
    rng = np.random.default_rng(seed)
    for w in model.named_weights().values():
        w[...] = rng.normal(size=w.shape) * scale
    return model


class Session:
    """A model and, in onnxruntime, its graph, which has passed ONNX's own checks."""

    def __init__(self, model: Layer, **options: Any) -> None:
        self.model, self.options = model, options
        self.graph = to_onnx(model, **options)
        self.own = read(self.graph)
        onnx.checker.check_model(self.graph, full_check=True)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.graph.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in self.graph.graph.node}

    def feed(self, x: Array, lengths: Array | None, states: dict[str, Array]) -> dict[str, Array]:
        return {"x": x, **states} | ({} if lengths is None else {"lengths": lengths.astype(np.int32)})

    def run(self, x: Array, lengths: Array | None, states: dict[str, Array]) -> dict[str, Array]:
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, self.feed(x, lengths, states)), strict=True))

    def compare(self, x: Array, lengths: Array | None = None, states: dict[str, Array] | None = None) -> None:
        """Raise AssertionError unless the graph gives y and the final states of the model, in onnxruntime and here."""
        rounds = self.model.bound.quantized == "int8"  # what weights multiply, too, which a graph does not
        model = exact(self.model) if rounds else self.model
        y, final = model(x, state_of(self.model, states) if states else None, lengths=lengths)
        expected = {"y": y, **dict(named(self.model, final))}
        same(self.run(x, lengths, states or {}), expected)
        same(self.own.run(self.feed(x, lengths, states or {})), expected)


def same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert found[name].dtype == value.dtype, name
        error = np.abs(found[name] - value).max(initial=0) / max(1, np.abs(value).max(initial=0))
        assert error <= TOLERANCE[value.dtype.name], f"{name} differs by {error}"


def named(layer: Layer, final: Any, which: str = "n") -> Iterator[tuple[str, Array]]:
    """Each state of each recurrent layer under the name that it has in the graph."""
    if isinstance(layer, Recurrent):
        states = final if isinstance(final, tuple) else (final,)
        for name, state in zip(layer.cell.state, states, strict=True):
            yield f"{layer.prefix}{name}_{which}", state
    elif final is not None:
        for child, part in zip(layer.children().values(), final, strict=True):
            yield from named(child, part, which)


def state_of(layer: Layer, states: dict[str, Array]) -> Any:
    """The same the other way: the state that the layer takes."""
    if isinstance(layer, Recurrent):
        found = tuple(states[f"{layer.prefix}{name}_0"] for name in layer.cell.state)
        return found if len(found) > 1 else found[0]
    if isinstance(layer, (Sequential, Bidirectional)):
        return tuple(state_of(child, states) for child in layer.children().values())
    return None


def states_for(session: Session, B: int, rng: np.random.Generator) -> dict[str, Array]:
    """Random initial states for those inputs of the graph that are states."""
    return {
        port.name: rng.normal(size=[B if n == "B" else n for n in port.shape]).astype(session.model.bound.dtype)
        for port in session.session.get_inputs()
        if port.name not in ("x", "lengths")
    }


def input_for(session: Session, T: int, B: int, rng: np.random.Generator, *, masked: bool = False) -> Array:
    """Random features, some steps of them all 0 if ``masked``, or indices."""
    model = session.model
    if session.session.get_inputs()[0].type == "tensor(int64)":
        return rng.integers(0, model.input_size or 1, (T, B))
    x = rng.normal(size=(T, B, model.input_size or 3)).astype(model.bound.dtype)
    if masked:
        x[rng.random((T, B)) < 0.4] = 0
    return x


def spoilt(x: Array, lengths: Array) -> Array:
    """``x`` with what is past the rows' ends replaced by what must not be used."""
    past = np.arange(len(x))[:, None] >= lengths
    if x.ndim == 2:
        return np.where(past, 10**6, x)
    return np.where(past[:, :, None], np.nan, x).astype(x.dtype)


# ---------------------------------------------------------------------- all models, drawn

SQUASHING = ("tanh", "sigmoid", "hard_sigmoid", "softsign", "relu6", "softmax", "scaled_tanh")
functions = st.builds(Function, st.sampled_from(SQUASHING))
clips = st.sampled_from([None, None, 0.5, 2.0])
variants = st.one_of(
    st.builds(RNNVariant, functions, clips),
    st.builds(GRUVariant, functions, functions, st.sampled_from(["after", "before"]), clips),
    st.builds(LSTMVariant, functions, functions, functions, clips, st.booleans(), st.booleans()),
)


@st.composite
def recurrent(draw: st.DrawFn, D: int) -> Recurrent:
    """A recurrent layer of any cell, depth and direction."""
    H, depth = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    options: dict[str, Any] = {"bidirectional": draw(st.booleans()), "trainable_state": draw(st.booleans())}
    kind = draw(st.sampled_from(["rnn", "gru", "lstm", "variant"]))
    options["zoneout"] = draw(st.sampled_from([0.0, 0.0, 0.0, 0.3] + [(0.2, 0.0), (0.4, 0.6)] * (kind == "lstm")))
    if kind == "rnn":
        return RNN(D, H, depth, nonlinearity=draw(st.sampled_from(["tanh", "relu"])), **options)
    if kind == "gru":
        return GRU(D, H, depth, reset=draw(st.sampled_from(["after", "before"])), **options)
    if kind == "lstm":
        return LSTM(D, H, depth, proj_size=draw(st.integers(0, H - 1)), **options)
    return Recurrent(draw(variants), D, H, min(depth, 2), **options)


@st.composite
def pairs(draw: st.DrawFn, D: int) -> Bidirectional:
    """Two layers in one, which may both reduce the steps to one."""
    one, merge = draw(recurrent(D)), draw(st.sampled_from(["concat", "sum", "mul", "ave"]))
    width, kind = one.output_size or 0, draw(st.sampled_from([GRU, LSTM]))
    other: Layer = kind(D, width)
    if draw(st.booleans()):
        return Bidirectional(one, other, merge)
    return Bidirectional(Sequential(one, Last(bidirectional=one.bidirectional)), Sequential(other, Last()), merge)


@st.composite
def networks(draw: st.DrawFn) -> Layer:
    """Networks of every kind of layer, in any order that they admit."""
    D = draw(st.integers(1, 4))
    layers: list[Layer] = []
    embedding = Embedding(5, D, draw(st.sampled_from([None, 0, 2]))) if draw(st.booleans()) else None
    if embedding:
        layers.append(embedding)
    elif draw(st.booleans()):
        layers.append(Masking(0.0))
    for _ in range(draw(st.integers(0, 3))):
        plain = [Linear(D, 3), Dropout(0.3), Reverse(), Activation(draw(st.sampled_from(SQUASHING)))]
        layer: Layer = draw(st.one_of(recurrent(D), recurrent(D), pairs(D), st.sampled_from(plain)))
        layers.append(Sequential(layer) if draw(st.integers(0, 4)) == 0 else layer)
        D = layer.output_size or D
        if not layer.keeps_time:
            break
    if layers and layers[-1].keeps_time and draw(st.booleans()):
        layers.append(Last(bidirectional=D > 1 and draw(st.booleans())))
    if not layers or draw(st.booleans()):
        tied = embedding if embedding and embedding.embedding_dim == D else None
        layers.append(Linear(D, 5 if tied else 2, bias=draw(st.booleans()), tie=tied))
    if draw(st.booleans()):
        layers.append(Activation(draw(st.sampled_from(["softmax", "log_softmax", "relu"]))))
    return layers[0] if len(layers) == 1 else Sequential(*layers)


@given(networks(), st.data())
def test_onnxruntime_computes_what_the_model_does(model: Layer, data: st.DataObject) -> None:
    seed, dtype = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.sampled_from(["float32", "float32", "float64"]))
    rng, options = np.random.default_rng(seed), {name: data.draw(st.booleans()) for name in ("states", "lengths")}
    integers = True if model.integers and model.floats and data.draw(st.booleans()) else None
    session = Session(ready(model, seed, dtype=dtype), integers=integers, **options)
    masked = any(isinstance(layer, Masking) for layer in model.walk())
    for _ in range(2):  # a graph knows neither T nor B
        T, B = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))
        x, lengths = input_for(session, T, B, rng, masked=masked), None
        if options["lengths"]:
            lengths = np.array(data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B)))
            x = spoilt(x, lengths)
        session.compare(x, lengths, states_for(session, B, rng))


@given(recurrent(3), st.integers(0, 2**32 - 1), st.lists(st.integers(1, 4), min_size=2, max_size=3))
def test_pieces_are_the_whole(layer: Recurrent, seed: int, pieces: list[int]) -> None:
    if layer.bidirectional:
        return
    model = ready(Sequential(Linear(2, 3), layer), seed)
    session, rng = Session(model, states=True), np.random.default_rng(seed)
    x, states = input_for(session, sum(pieces), 2, rng), states_for(session, 2, rng)
    whole, outputs, start = session.run(x, None, states), [], 0
    for n in pieces:
        found = session.run(x[start : start + n], None, states)
        outputs.append(found.pop("y"))
        states, start = {f"{name[:-1]}0": value for name, value in found.items()}, start + n
    np.testing.assert_allclose(np.concatenate(outputs), whole.pop("y"), atol=2e-6)
    for name, value in whole.items():
        np.testing.assert_allclose(states[f"{name[:-1]}0"], value, atol=2e-6)


# ---------------------------------------------------------------------- which operators a model becomes

NATIVE: dict[str, list[Recurrent]] = {
    "RNN": [RNN(3, 4), RNN(3, 4, nonlinearity="relu")],
    "GRU": [GRU(3, 4, 2), GRU(3, 4, reset="before", bidirectional=True)],
    "LSTM": [LSTM(3, 4, 2, bidirectional=True, trainable_state=True)],
}


@pytest.mark.parametrize(("operator", "layer"), [(op, layer) for op, layers in NATIVE.items() for layer in layers])
def test_the_usual_layers_are_operators_of_their_own(operator: str, layer: Recurrent) -> None:
    session = Session(ready(layer))
    assert [n.op_type for n in session.graph.graph.node].count(operator) == layer.num_layers
    assert "Scan" not in session.operators
    defaults = [a.name for node in session.graph.graph.node if node.op_type == operator for a in node.attribute]
    assert ("activations" in defaults) == (layer.cell.__name__ == "ReluCell")
    weights = sum(w.size for w in layer.named_weights().values())
    stored = sum(np.prod(t.dims) for t in session.graph.graph.initializer)
    assert stored < weights + 2 * layer.num_layers * layer.num_directions * 4 * 4 + 20  # a second bias, a few constants


def attributes(session: Session) -> dict[str, Any]:
    (node,) = [node for node in session.graph.graph.node if node.op_type in NATIVE]
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def test_options_of_a_cell_are_attributes_of_the_operator() -> None:
    leaky, hard = Function("leaky_relu", 0.25), Function("hard_sigmoid", 0.125, 0.375)
    gru = Session(ready(Recurrent(GRUVariant(hard, leaky, "after", 3.0), 3, 4, bidirectional=True)))
    assert attributes(gru) == {
        "hidden_size": 4,
        "direction": b"bidirectional",
        "activations": [b"HardSigmoid", b"LeakyRelu"] * 2,
        "activation_alpha": [0.125, 0.25] * 2,
        "activation_beta": [0.375] * 2,
        "linear_before_reset": 1,
        "clip": 3.0,
    }
    lstm = Session(ready(Recurrent(LSTMVariant(coupled=True, peepholes=True), 3, 4)))
    assert attributes(lstm) == {"hidden_size": 4, "direction": b"forward", "input_forget": 1}
    linear = Session(ready(Recurrent(RNNVariant(Function("linear")), 3, 4)))
    assert attributes(linear)["activations"] == [b"Affine"]
    for session in (gru, lstm, linear):
        session.compare(input_for(session, 6, 3, np.random.default_rng(0)))


ALL = [
    "linear", "tanh", "sigmoid", "relu", "relu6", "hard_sigmoid", "affine", "leaky_relu", "thresholded_relu",
    "scaled_tanh", "elu", "selu", "softsign", "softplus", "silu", "gelu", "gelu_tanh", "exponential", "mish", "softmax",
    "log_softmax",
]  # fmt: skip
CONSTANTS = {
    "hard_sigmoid": (0.3, 0.4),
    "affine": (0.7, 0.3),
    "leaky_relu": (0.2,),
    "thresholded_relu": (0.4,),
    "scaled_tanh": (1.5, 0.7),
    "elu": (0.6,),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ALL)
def test_every_function(name: str, dtype: str) -> None:
    model = ready(Sequential(Activation(name, *CONSTANTS.get(name, ())), Dropout(0.1)), dtype=dtype)
    if (name, dtype) == ("gelu", "float64"):
        with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented, match="Erf"):
            Session(model)
        return
    session = Session(model)
    x = np.concatenate([np.linspace(-6, 6, 61), [-80.0, -20, 0, 20, 80]]).astype(dtype).reshape(-1, 1, 6)
    session.compare(x)
    if name not in ("exponential", "affine", "linear"):
        session.compare(np.array([[[-1e30, 1e30, 0.5]]], dtype))  # no overflow on the way


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_function_in_every_cell(name: str, bidirectional: bool) -> None:
    f, tanh, rng = Function(name, *CONSTANTS.get(name, ())), Function("tanh"), np.random.default_rng(5)
    for cell in (
        RNNVariant(f, clip=1.5),
        GRUVariant(candidate=f),
        GRUVariant(f, tanh, "before", 1.0),
        LSTMVariant(candidate=f),
        LSTMVariant(output=f, peepholes=True),
        LSTMVariant(f, tanh, tanh, 1.0),
    ):
        session = Session(ready(Recurrent(cell, 3, 4, bidirectional=bidirectional), 5, scale=0.3), lengths=True)
        x = input_for(session, 5, 3, rng)
        session.compare(x, np.array([5, 0, 3]))


BACK = {
    "deep": lambda: RNN(3, 4, 2, nonlinearity="relu"),
    "both directions": lambda: GRU(3, 4, 2, bidirectional=True),
    "reset before": lambda: GRU(3, 4, 3, reset="before"),
    "others before and after": lambda: Sequential(
        Linear(2, 3), Activation("tanh"), LSTM(3, 4), Reverse(), GRU(4, 3, 2), Reverse(), Linear(3, 2, bias=False)
    ),
    "indices": lambda: Sequential(Embedding(6, 4), LSTM(4, 4, 2), Linear(4, 6), Activation("log_softmax")),
    "options": lambda: Recurrent(LSTMVariant(Function("hard_sigmoid", 0.25), peepholes=True), 3, 4, 2),
}


@pytest.mark.parametrize("options", [{}, {"states": True}, {"lengths": True}, {"states": True, "lengths": True}])
@pytest.mark.parametrize("make", BACK.values(), ids=BACK.keys())
def test_what_fits_the_operators_comes_back_as_layers(
    make: Callable[[], Layer], options: dict[str, bool], tmp_path: Path
) -> None:
    model, rng = ready(make()), np.random.default_rng(0)
    save(model, tmp_path / "m.onnx", **options)
    layer = load(tmp_path / "m.onnx")
    assert isinstance(layer, Layer)
    assert layer.describe() == model.describe()
    x = rng.integers(0, 6, (5, 3)) if not model.floats else rng.normal(size=(5, 3, model.input_size or 1)).astype("f4")
    for lengths in (None, np.array([5, 0, 3])):
        one, other = layer(x, lengths=lengths)[0], model(x, lengths=lengths)[0]
        assert np.abs(one - other).max() <= 2e-6 * max(1, np.abs(other).max())


def test_what_does_not_comes_back_as_a_graph(tmp_path: Path) -> None:
    for model in (Bidirectional(LSTM(3, 4)), Recurrent(LSTMVariant(clip=1.0), 3, 4), Sequential(Masking(), GRU(3, 4))):
        save(ready(model), tmp_path / "m.onnx")
        graph = load(tmp_path / "m.onnx")
        assert isinstance(graph, Graph)
        with pytest.raises(ValueError, match=r"^node '\S+' \(\w+\) does what no layer does there$"):
            graph.layers()


def test_an_lstm_that_clips_is_a_scan() -> None:
    """The standard clips what goes into every function; onnxruntime's operator leaves the third's out."""
    session = Session(ready(Recurrent(LSTMVariant(candidate=Function("sigmoid"), clip=0.2), 3, 4)))
    assert "Scan" in session.operators
    session.compare(input_for(session, 8, 3, np.random.default_rng(0)))


def test_a_layer_that_reads_backwards_is_an_operator_that_does() -> None:
    session = Session(ready(Bidirectional(LSTM(3, 4), GRU(3, 4, 2), merge="sum")), lengths=True)
    directions = [a.s for n in session.graph.graph.node for a in n.attribute if a.name == "direction"]
    assert directions == [b"forward", b"reverse", b"reverse"]
    assert not session.operators & {"ReverseSequence", "Slice"}
    session.compare(input_for(session, 5, 3, np.random.default_rng(0)), np.array([3, 0, 5]))


def test_in_float64_recurrent_layers_are_scans() -> None:
    session = Session(ready(GRU(3, 4, bidirectional=True), dtype="float64"))
    assert "Scan" in session.operators
    assert not session.operators & NATIVE.keys()
    session.compare(input_for(session, 9, 2, np.random.default_rng(0)))


def test_a_tied_weight_is_stored_once() -> None:
    embedding = Embedding(50, 8)
    model = ready(Sequential(embedding, GRU(8, 8), Linear(8, 50, tie=embedding)))
    session = Session(model)
    assert [list(t.dims) for t in session.graph.graph.initializer].count([50, 8]) == 1
    session.compare(input_for(session, 5, 2, np.random.default_rng(0)))


@pytest.mark.parametrize("kind", ["int8", "f16"])
def test_a_quantised_model_keeps_its_bits(kind: str) -> None:
    embedding, rng = Embedding(90, 8), np.random.default_rng(0)
    whole = ready(
        Sequential(
            embedding,
            LSTM(8, 8, 2, bidirectional=True),
            Recurrent(LSTMVariant(Function("mish"), coupled=True), 16, 8),
            Recurrent(GRUVariant(candidate=Function("gelu"), reset="before"), 8, 8),
            LSTM(8, 12, proj_size=8),
            Linear(8, 90, tie=embedding),
        )
    )
    session, wide = Session(whole.quantize(kind)), Session(whole)
    narrow = onnx.TensorProto.INT8 if kind == "int8" else onnx.TensorProto.FLOAT16
    matrices = [
        t for t in session.graph.graph.initializer if t.name.split(".")[-1] in ("W", "R", "U", "U_rz", "U_n", "P")
    ]
    assert {t.data_type for t in matrices} == {narrow}
    stored = sum(w.size for w in whole.named_weights().values() if w.ndim == 2)
    assert sum(len(t.raw_data) for t in matrices) == stored * (1 if kind == "int8" else 2)
    x = input_for(session, 6, 2, rng)
    session.compare(x)
    assert not np.allclose(session.run(x, None, {})["y"], wide.run(x, None, {})["y"], atol=1e-5)
    one_hot = Session(ready(GRU(9, 4, bidirectional=True)).quantize(kind), integers=True, lengths=True)
    one_hot.compare(input_for(one_hot, 5, 3, rng), np.array([5, 0, 2]))


# ---------------------------------------------------------------------- what a graph says of itself


def test_names_and_sizes_of_what_goes_in_and_comes_out() -> None:
    model = ready(
        Sequential(Embedding(7, 3), LSTM(3, 4, 2, bidirectional=True), Bidirectional(GRU(8, 2)), Linear(4, 5))
    )
    session = Session(model, states=True, lengths=True)
    ports = {
        port.name: (port.type, port.shape) for port in [*session.session.get_inputs(), *session.session.get_outputs()]
    }
    assert ports == {
        "x": ("tensor(int64)", ["T", "B"]),
        "lengths": ("tensor(int32)", ["B"]),
        "1.h_0": ("tensor(float)", [4, "B", 4]),
        "1.c_0": ("tensor(float)", [4, "B", 4]),
        "2.forward.h_0": ("tensor(float)", [1, "B", 2]),
        "2.reverse.h_0": ("tensor(float)", [1, "B", 2]),
        "y": ("tensor(float)", ["T", "B", 5]),
        "1.h_n": ("tensor(float)", [4, "B", 4]),
        "1.c_n": ("tensor(float)", [4, "B", 4]),
        "2.forward.h_n": ("tensor(float)", [1, "B", 2]),
        "2.reverse.h_n": ("tensor(float)", [1, "B", 2]),
    }
    alone = Session(ready(GRU(3, 4)), states=True)
    assert [port.name for port in alone.session.get_inputs()] == ["x", "h_0"]
    assert [port.name for port in alone.session.get_outputs()] == ["y", "h_n"]


def test_a_graph_says_who_made_it_and_what_can_read_it() -> None:
    graph = to_onnx(ready(GRU(3, 4)))
    assert graph.producer_name == "minirnn"
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 13)]
    assert graph.ir_version == 7
    assert graph.doc_string == "GRU(3, 4)"
    assert not graph.metadata_props


@pytest.mark.parametrize("task", ["next", "fill"])
def test_a_language_model_takes_its_vocabulary_with_it(task: str) -> None:
    vocab = Vocabulary.of('"quick"\n\ud800 brown 🦊')
    lm = LanguageModel.build(vocab, task=task, hidden_size=4).init(0, backend="numpy")
    graph = to_onnx(lm)
    about = {prop.key: prop.value for prop in graph.metadata_props}
    assert about["task"] == task
    assert json.loads(about["vocabulary"]) == list(vocab.symbols)
    session, x = Session(lm.network, integers=True), vocab.encode("quick fox")[:, None]
    assert session.graph.graph == graph.graph
    session.compare(x)


@pytest.mark.parametrize("options", [{}, {"cell": "lstm", "num_layers": 2, "embedding_size": 5}, {"task": "fill"}])
def test_a_language_model_comes_back_as_one(options: dict[str, Any], tmp_path: Path) -> None:
    vocab = Vocabulary.of('"quick"\n\ud800 brown 🦊')
    lm = LanguageModel.build(vocab, hidden_size=4, **options).init(0, backend="numpy")
    save(lm, tmp_path / "lm.onnx")
    found = load(tmp_path / "lm.onnx")
    assert isinstance(found, LanguageModel)
    assert (found.vocab, found.task) == (vocab, lm.task)
    assert found.network.describe() == lm.network.describe()
    if lm.task == "next":
        assert "".join(found.generate("qu", 20, seed=0)) == "".join(lm.generate("qu", 20, seed=0))
    graph = to_onnx(lm)
    for wrong in ("[]", "5", "{", "[" * 10**5, json.dumps([UNKNOWN, ["a"]]), json.dumps([UNKNOWN, "a", "b"])):
        onnx.helper.set_model_props(graph, {"task": lm.task, "vocabulary": wrong})
        (tmp_path / "lm.onnx").write_bytes(graph.SerializeToString())
        with pytest.raises(
            ModelFileError, match=r"lm\.onnx: vocabulary and task must be a language model's; \w+Error: "
        ):
            load(tmp_path / "lm.onnx")
    graph.producer_name = "another"  # whose words mean what they may
    (tmp_path / "lm.onnx").write_bytes(graph.SerializeToString())
    assert isinstance(load(tmp_path / "lm.onnx"), Layer)


def test_the_same_model_gives_the_same_bytes() -> None:
    model = ready(Sequential(Masking(), Recurrent(LSTMVariant(peepholes=True, clip=1.0), 3, 4, 2, bidirectional=True)))
    assert to_onnx(model, lengths=True).SerializeToString() == to_onnx(model, lengths=True).SerializeToString()


def test_saving_writes_the_whole_graph_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = tmp_path / "m.onnx", ready(GRU(3, 4))
    save(model, path, states=True)
    before = path.read_bytes()
    assert before == to_onnx(model, states=True).SerializeToString()
    model.weights[0] = np.nan
    with pytest.raises(ValueError, match=r"weight 0\.W is not finite"):
        save(model, path)
    monkeypatch.setattr("minirnn.formats.onnx.writing.model.LARGEST", 100)
    with pytest.raises(ValueError, match="holds at most 100 bytes; the weights of this model take"):
        save(ready(model), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_the_public_name_makes_the_same_graph_and_writes_it_where_asked(tmp_path: Path) -> None:
    model, path = ready(GRU(3, 4)), tmp_path / "m.onnx"
    made = minirnn.to_onnx(model, states=True, lengths=True, integers=True)
    assert made == to_onnx(model, states=True, lengths=True, integers=True)
    assert not path.exists()
    assert minirnn.to_onnx(model, path, states=True) == to_onnx(model, states=True)
    save(model, tmp_path / "other.onnx", states=True)
    assert path.read_bytes() == (tmp_path / "other.onnx").read_bytes()
    model.weights[0] = np.nan
    with pytest.raises(ValueError, match=r"weight 0\.W is not finite"):
        minirnn.to_onnx(model, path)
    assert path.read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_an_lstm_with_a_projection_is_a_scan() -> None:
    model = ready(LSTM(3, 7, 2, bidirectional=True, trainable_state=True, proj_size=4))
    session = Session(model, lengths=True)
    assert "Scan" in session.operators
    assert not session.operators & NATIVE.keys()
    rng = np.random.default_rng(0)
    session.compare(input_for(session, 6, 3, rng), np.array([6, 0, 4]))
    given = Session(model, states=True)
    assert [(port.name, port.shape) for port in given.session.get_inputs()[1:]] == [
        ("h_0", [4, "B", 4]),
        ("c_0", [4, "B", 7]),
    ]
    given.compare(input_for(given, 5, 2, rng), None, states_for(given, 2, rng))


# ---------------------------------------------------------------------- what has no words in ONNX


class OwnCell(TanhCell):
    """A cell of one's own."""


class OwnLayer(Dropout):
    """A layer of one's own."""


class Alone(Layer):
    """Another."""


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Recurrent(OwnCell, 3, 4), "has no words for the cell OwnCell"),
        (Sequential(Linear(3, 3), Recurrent(OwnCell(), 3, 4)), "has no words for the cell OwnCell"),
        (
            Sequential(Linear(3, 3), Alone()),
            r"Alone\(\) cannot be written as ONNX: its kind is not one of minirnn's own",
        ),
        (Sequential(OwnLayer(0.2)), r"OwnLayer\(p=0.2\) cannot be written as ONNX"),
    ],
)
def test_what_is_of_ones_own_is_named(model: Layer, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_onnx(ready(model))


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a model made of layers or a LanguageModel; got str"):
        to_onnx("model")  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(RuntimeError, match="no weights yet"):
        to_onnx(GRU(3, 4))
    with pytest.raises(ValueError, match="float32 or float64; got complex128"):
        to_onnx(GRU(3, 4).init(0, backend="numpy", dtype="complex128"))
    with pytest.raises(ValueError, match="is part of a larger one"):
        to_onnx(ready(Sequential(GRU(3, 4)))[0])  # type: ignore[index]  # a Sequential
    with pytest.raises(ValueError, match="asks for a graph that takes features; Embedding"):
        to_onnx(ready(Embedding(3, 4)), integers=False)
    with pytest.raises(ValueError, match="asks for a graph that takes indices; Linear"):
        to_onnx(ready(Linear(3, 4)), integers=True)
