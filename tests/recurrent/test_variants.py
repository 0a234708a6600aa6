"""Cells with options against scalar loops, against the standard cells, and against onnxruntime."""

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
from activation_formulas import SCALAR
from hypothesis import given
from hypothesis import strategies as st
from oracle_inputs import close, initial, weights_of
from tiers import marked_but, mostly_slow

from minirnn import GRU, LSTM, RNN, Linear, Recurrent, Sequential
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ReluCell, TanhCell
from minirnn.core.backend import BACKENDS
from minirnn.core.tree import arrays_in
from minirnn.layers.activations import Function
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant
from minirnn.testing.strategies import layers, lengths, states

NAMES = sorted(set(SCALAR) - {"exponential"})  # which explodes over time
CLIPS = [None, 0.3, 1.0]
BOUNDED = ["tanh", "sigmoid", "hard_sigmoid", "scaled_tanh", "softsign"]  # gates of others make a state run away


@st.composite
def variants(draw: st.DrawFn, names: list[str] = NAMES) -> RNNVariant | GRUVariant | LSTMVariant:
    def one(of: list[str]) -> Function:
        name = draw(st.sampled_from(of))
        return Function(name, *SCALAR[name][0])

    clip, kind = draw(st.sampled_from(CLIPS)), draw(st.sampled_from(["rnn", "gru", "lstm"]))
    if kind == "rnn":
        return RNNVariant(one(names), clip)
    gate = one(BOUNDED if clip is None else names)
    if kind == "gru":
        return GRUVariant(gate, one(names), draw(st.sampled_from(["after", "before"])), clip)
    return LSTMVariant(gate, one(names), one(names), clip, draw(st.booleans()), draw(st.booleans()))


def by_loops(cell: Any) -> tuple[str, oracle.Options]:
    """The oracle's words for a cell; its functions are written there one number at a time."""

    def one(f: Function) -> Any:
        return SCALAR[f.name][1]

    match cell:
        case RNNVariant():
            return "rnn_any", oracle.Options((one(cell.activation),), cell.clip)
        case GRUVariant():
            two = (one(cell.gate), one(cell.candidate))
            return "gru_any", oracle.Options(two, cell.clip, linear_before_reset=cell.reset == "after")
    three = (one(cell.gate), one(cell.candidate), one(cell.output))
    return "lstm_any", oracle.Options(three, cell.clip, input_forget=cell.coupled)


@given(variants(), st.data())
def test_every_variant_agrees_with_scalar_loops(cell: Any, data: st.DataObject) -> None:
    layer = data.draw(layers([cell], num_layers=2, dropout=False))
    T, B = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    for name, w in layer.named_weights().items():
        w[...] = rng.normal(0, 0.5, w.shape) if not name.endswith("0") else w
    x, valid, state = rng.normal(size=(T, B, layer.input_size or 1)), data.draw(lengths(T, B)), None
    if data.draw(st.booleans()):
        state = data.draw(states(layer, B))
    assert_loops(layer, x, state, valid)


OPTIONS = {  # each by itself, where the draw may have others
    "coupled": LSTMVariant(coupled=True),
    "peepholes": LSTMVariant(peepholes=True),
    "coupled, with peepholes and a clip": LSTMVariant(coupled=True, peepholes=True, clip=1.0),
    "clip": RNNVariant(clip=0.3),
    "reset before": GRUVariant(reset="before"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_agrees_with_scalar_loops(name: str) -> None:
    layer, rng = Recurrent(OPTIONS[name], 3, 4).init(0, backend="numpy", dtype="float64"), np.random.default_rng(0)
    for w in layer.named_weights().values():
        w[...] = rng.normal(0, 0.7, w.shape)
    assert_loops(layer, rng.normal(size=(5, 2, 3)), None, np.array([5, 3]))


KERNELS = OPTIONS | {
    name: RNNVariant(Function(name, *SCALAR[name][0]), clip=2.0)
    for name in ("hard_sigmoid", "scaled_tanh", "leaky_relu", "softsign", "thresholded_relu")
}


@pytest.mark.slow
@pytest.mark.parametrize("name", marked_but([*KERNELS][::4], KERNELS, "long"))
def test_variants_have_kernels(name: str) -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install 'minirnn[fast]'")
    rng = np.random.default_rng(0)
    for T, B, D, H in ((1, 1, 1, 1), (5, 3, 4, 37), (40, 9, 16, 32)):
        plain = Recurrent(KERNELS[name], D, H, 2, bidirectional=True).init(1, backend="numpy", dtype="float64")
        fast, x = plain.to(backend="numba"), rng.normal(size=(T, B, D))
        assert "no kernel" not in repr(fast)
        for valid in (None, rng.integers(0, T + 1, B)):
            for a, b in zip(arrays_in(fast(x, lengths=valid)), arrays_in(plain(x, lengths=valid)), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
        network = Recurrent(KERNELS[name], D, H).init(1, backend="numba", dtype="float64")
        y, stream = network(x)[0], network.stream(B)
        assert stream.snapshot.program.whole
        for t in range(T):
            np.testing.assert_allclose(stream(x[t]), y[t], rtol=1e-11, atol=1e-12)


def assert_loops(layer: Recurrent, x: Any, state: Any, valid: Any) -> None:
    kind, options = by_loops(layer.cell)
    y, final = layer(x, state, lengths=valid)
    wanted, end = oracle.run(
        kind, x.tolist(), weights_of(layer), initial(layer, state, x.shape[1]), valid.tolist(), options=options
    )
    close(y, wanted)
    for actual, expected in zip(final if isinstance(final, tuple) else (final,), end, strict=True):
        close(actual, expected)


STANDARD: list[tuple[Any, Any]] = [
    (RNNVariant(), TanhCell),
    (RNNVariant(Function("relu")), ReluCell),
    (GRUVariant(), GRUCell),
    (GRUVariant(reset="before"), GRUBeforeCell),
    (LSTMVariant(), LSTMCell),
]


@pytest.mark.parametrize(("variant", "cell"), STANDARD, ids=lambda v: str(getattr(v, "__name__", "")))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_at_its_defaults_a_variant_is_the_standard_cell_to_the_last_bit(variant: Any, cell: Any, dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(dtype)
    found = []
    for one in (variant, cell):
        layer = Recurrent(one, 4, 5, 2, bidirectional=True).init(3, backend="numpy", dtype=dtype)
        y, state = layer(x, lengths=[6, 0, 3])
        found.append([y, *(state if isinstance(state, tuple) else (state,))])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_peepholes_at_zero_and_a_far_clip_change_nothing() -> None:
    plain = Recurrent(LSTMCell, 2, 3).init(0, backend="numpy", dtype="float64")
    peeping = Recurrent(LSTMVariant(peepholes=True, clip=1e9), 2, 3).init(0, backend="numpy", dtype="float64")
    for name, w in peeping.named_weights().items():
        w[...] = plain.named_weights().get(name, 0)
    x = np.random.default_rng(0).normal(size=(4, 3, 2))
    np.testing.assert_array_equal(peeping(x)[0], plain(x)[0])


def test_weights_have_the_names_that_readers_need() -> None:
    assert list(Recurrent(LSTMVariant(peepholes=True), 2, 3).all_specs()) == [
        "0.W",
        "0.U",
        "0.b",
        "0.p_i",
        "0.p_f",
        "0.p_o",
    ]
    coupled = Recurrent(LSTMVariant(peepholes=True, coupled=True), 2, 3).all_specs()
    assert {name: spec.shape for name, spec in coupled.items()} == {
        "0.W": (2, 9),
        "0.U": (3, 9),
        "0.b": (9,),
        "0.p_i": (3,),
        "0.p_o": (3,),
    }
    assert coupled["0.W"].gates == ("W_xi", "W_xc", "W_xo")
    assert "0.bn" in Recurrent(GRUVariant(), 2, 3).all_specs()
    assert "0.bn" not in Recurrent(GRUVariant(reset="before"), 2, 3).all_specs()


@pytest.mark.parametrize("backend", [n for n, b in BACKENDS.items() if not b.on_device])
@pytest.mark.parametrize("variant", mostly_slow(v for v, _ in STANDARD))
def test_a_training_forward_is_refused_before_anything_is_computed(variant: Any, backend: str) -> None:
    model = Sequential(Linear(2, 2), Recurrent(variant, 2, 3), Linear(3, 1)).init(0, backend=backend)
    calls, x = model.bound.calls, np.zeros((4, 3, 2), "f4")
    words = (
        rf"^Recurrent\({type(variant).__name__}.*, 2, 3\) is for inference only, model\(x\): its cell has no unstep$"
    )
    with pytest.raises(ValueError, match=words):
        model.forward(x)
    assert model.bound.calls == calls
    assert model(x)[0].shape == (4, 3, 1)
    y, _, backward = model[0].forward(x)  # a part that can be trained still is
    backward(y)
    assert f"{type(variant).__name__} is for inference only: its cell has no unstep" in repr(model)
    with pytest.raises(ValueError, match="for inference only"):
        copy.deepcopy(model).forward(x)
    with pytest.raises(ValueError, match="for inference only"):
        model.to(dtype="float64").forward(x)


def test_a_cell_is_a_value() -> None:
    for cell, _ in STANDARD:
        assert cell == copy.deepcopy(cell) == pickle.loads(pickle.dumps(cell))  # noqa: S301 - our own bytes
    whole = LSTMVariant(Function("hard_sigmoid"), Function("softsign"), Function("relu"), 3, coupled=True)
    assert repr(whole) == (
        "LSTMVariant(gate=Function('hard_sigmoid'), candidate=Function('softsign'), output=Function('relu'), clip=3.0, "
        "coupled=True)"
    )
    assert json.loads(json.dumps(whole.config())) == {
        "gate": {"name": "hard_sigmoid", "alpha": 0.2, "beta": 0.5},
        "candidate": {"name": "softsign"},
        "output": {"name": "relu"},
        "clip": 3.0,
        "coupled": True,
        "peepholes": False,
    }


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        (RNNVariant, {"activation": "tanh"}, r"activation must be a Function, as in Function\('tanh'\); got 'tanh'"),
        (LSTMVariant, {"output": np.tanh}, "output must be a Function"),
        (GRUVariant, {"clip": 0}, "clip must be a number above 0, or None; got 0"),
        (GRUVariant, {"clip": float("nan")}, "clip must be a number above 0, or None; got nan"),
        (GRUVariant, {"clip": "1"}, "clip must be a number above 0"),
        (GRUVariant, {"reset": "never"}, "reset must be one of after, before; got 'never'"),
        (LSTMVariant, {"coupled": 1}, "coupled must be True or False; got 1"),
        (LSTMVariant, {"peepholes": "yes"}, "peepholes must be True or False; got 'yes'"),
    ],
)
def test_bad_options_are_refused(cell: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cell(**options)


# ---------------------------------------------------------------------- onnxruntime

ONNX = {  # those that its recurrent operators take
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "affine": "Affine",
    "leaky_relu": "LeakyRelu",
    "thresholded_relu": "ThresholdedRelu",
    "scaled_tanh": "ScaledTanh",
    "hard_sigmoid": "HardSigmoid",
    "elu": "Elu",
    "softsign": "Softsign",
    "softplus": "Softplus",
}
ORDERS = {"rnn": ["h"], "gru": ["z", "r", "n"], "lstm": ["i", "o", "f", "g"]}


def in_onnxruntime(layer: Recurrent, x: Any, state: Any, valid: Any) -> list[Any]:
    """The layer, one of one direction or two, as one node: Y (T, dirs, B, H), Y_h, and Y_c of an LSTM."""
    onnx: Any = pytest.importorskip("onnx")
    runtime: Any = pytest.importorskip("onnxruntime")
    cell, H, n = layer.cell, layer.hidden_size, layer.num_directions
    kind = type(cell).__name__.removesuffix("Variant").lower()
    functions = [f for f in vars(cell).values() if isinstance(f, Function)] * n
    attributes: dict[str, Any] = {
        "hidden_size": H,
        "direction": "bidirectional" if n == 2 else "forward",
        "activations": [ONNX[f.name] for f in functions],
    }
    for word in ("alpha", "beta"):
        constants = [getattr(f, word) for f in functions if getattr(f, word) is not None]
        attributes |= {f"activation_{word}": constants} if constants else {}
    if cell.clip is not None:
        attributes["clip"] = cell.clip
    if kind == "gru":
        attributes["linear_before_reset"] = int(cell.reset == "after")
    if kind == "lstm":
        attributes["input_forget"] = int(cell.coupled)

    def blocks(a: Any) -> list[Any]:
        gates = dict(zip(layer.directions[0].gates, np.split(a, len(layer.directions[0].gates), axis=-1), strict=True))
        unused = np.full_like(gates[layer.directions[0].gates[0]], 0.7)  # a coupled forget gate's
        return [gates.get(gate, unused) for gate in ORDERS[kind]]

    W, R, B, P = [], [], [], []
    for direction in layer.directions:
        w = direction.named_weights()
        W.append(np.concatenate([block.T for block in blocks(w["W"])]))
        R.append(np.concatenate([block.T for block in blocks(w["U"])]))
        recurrent = [np.zeros(H, "f4")] * (len(ORDERS[kind]) - 1) + [w.get("bn", np.zeros(H, "f4"))]
        B.append(np.concatenate([*blocks(w["b"]), *recurrent]))
        if kind == "lstm" and cell.peepholes:
            P.append(np.concatenate([w["p_i"], w["p_o"], w.get("p_f", np.full(H, 0.7, "f4"))]))
    inputs: dict[str, Any] = {"X": x, "W": np.stack(W), "R": np.stack(R), "B": np.stack(B)}
    inputs |= {"lengths": valid.astype("i4"), "h0": state[0] if isinstance(state, tuple) else state}
    if kind == "lstm":
        inputs["c0"] = state[1]
    if P:
        inputs["P"] = np.stack(P)
    outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "lstm" else 2]
    helper = onnx.helper
    node = helper.make_node(kind.upper(), list(inputs), outputs, **attributes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in inputs.items()
    ]
    results = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    model = helper.make_model(
        helper.make_graph([node], "one", infos, results), opset_imports=[helper.make_opsetid("", 14)], ir_version=8
    )
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, inputs)
    return found


@pytest.mark.extras
@given(variants(sorted(ONNX)), st.booleans(), st.integers(0, 2**32 - 1))
def test_every_variant_agrees_with_onnxruntime(cell: Any, bidirectional: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    if isinstance(cell, LSTMVariant) and cell.clip is not None:
        # onnxruntime does not clip what the third function gets; one that is constant from the clip on does not care
        cell = replace(cell, output=Function("hard_sigmoid", 1.0, 0.5), clip=0.5)
    layer = Recurrent(cell, 3, 4, bidirectional=bidirectional).init(0, backend="numpy")
    for w in layer.named_weights().values():
        w[...] = rng.normal(0, 0.4, w.shape)
    x, valid = rng.normal(size=(5, 3, 3)).astype("f4"), np.array([5, 1, 3])
    shape = (layer.num_directions, 3, 4)
    arrays = tuple(rng.normal(size=shape).astype("f4") for _ in cell.state)
    state = arrays if len(arrays) > 1 else arrays[0]
    y, final = layer(x, state, lengths=valid)
    theirs = in_onnxruntime(layer, x, state, valid)
    ours = [np.moveaxis(y.reshape(5, 3, -1, 4), 2, 1), *(final if isinstance(final, tuple) else (final,))]
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() <= 2e-6 * max(1.0, float(np.abs(b).max()))


@pytest.mark.parametrize(("kind", "variant"), [(RNN, RNNVariant()), (GRU, GRUVariant()), (LSTM, LSTMVariant())])
def test_a_variant_may_stand_in_for_the_layer_that_trains(kind: Any, variant: Any) -> None:
    trained = kind(2, 3, 2).init(0, backend="numpy")
    stand_in = Recurrent(variant, 2, 3, 2).init(1, backend="numpy")
    stand_in.weights = trained.weights
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("f4")
    np.testing.assert_allclose(stand_in(x)[0], trained(x)[0], atol=1e-6)
