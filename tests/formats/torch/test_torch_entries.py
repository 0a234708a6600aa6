"""``layers=`` and ``modules=`` that say what weights do not show; weights of weight_norm."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import minirnn
from minirnn import Call, Entry, Layer, LayerGraph, ModelFileError
from minirnn.formats.torch import StateDict, from_state_dict
from minirnn.formats.torch.entries import split

RNG = np.random.default_rng(0)


def arrays_of(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name.replace("__", "."): RNG.normal(size=shape).astype("f4") for name, shape in shapes.items()}


ARRAYS = arrays_of(
    conv__weight=(8, 3, 3),
    conv__bias=(8,),
    rnn__weight_ih_l0=(4, 8),
    rnn__weight_hh_l0=(4, 4),
    rnn__bias_ih_l0=(4,),
    rnn__bias_hh_l0=(4,),
    fc__weight=(2, 4),
    fc__bias=(2,),
)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a, b", ["a", "b"]),
        (
            "conv(padding=(1, 2), stride=2), MaxPool1d(2, 1),fc",
            ["conv(padding=(1, 2), stride=2)", "MaxPool1d(2, 1)", "fc"],
        ),
        ("a(", ["a("]),
        ("", [""]),
    ],
)
def test_entries_stand_between_commas_outside_parentheses(text: str, entries: list[str]) -> None:
    assert split(text) == entries


def test_entries_say_what_weights_do_not_show() -> None:
    entries = ["conv(padding=1, stride=2)", "elu(0.5)", "MaxPool1d(2)", "rnn(nonlinearity='relu')", "last", "fc"]
    model = from_state_dict(ARRAYS, modules=entries)
    conv, elu, pool, rnn = model.layers[:4]  # type: ignore[attr-defined]  # of a Sequential
    assert (conv.stride, conv.left, conv.right) == (2, 1, 1)
    assert repr(elu).startswith("Activation('elu', alpha=0.5)")
    assert pool.kernel_size == 2
    assert rnn.nonlinearity == "relu"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("conv(kernel_size=3)", "an nn.Conv1d, modules may say stride, padding, dilation, groups, by name"),
        ("conv(1)", "by name; got 1"),
        ("conv(padding=-1)", "padding must be a number from 0"),
        ("conv(padding=print(1))", "must have literals"),
        ("conv(**{'padding': 1})", "must have literals"),
        ("conv(padding=1)(2)", "must have literals"),
        ("MaxPool1d()", "has not the arguments of minirnn's MaxPool1d"),
        ("Linear(3, 8)", "without weights"),
        ("Entry(1)", "a layer without weights"),
        ("rnn(hidden_size=4)", "an nn.RNN, modules may say nonlinearity"),
        ("rnn(nonlinearity='gelu')", "nonlinearity must be tanh or relu"),
        ("fc(bias=False)", "its weights show all"),
    ],
)
def test_what_entries_cannot_say_is_refused(entry: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_state_dict(ARRAYS, modules=[entry, "rnn"] if not entry.startswith("rnn") else ["conv(padding=1)", entry])


def test_a_convolution_of_a_state_dict_is_refused_with_the_way_out() -> None:
    with pytest.raises(ModelFileError, match=r'say them, layers="conv\(stride=1, padding=1\)'):
        from_state_dict(ARRAYS)


# ---------------------------------------------------------------------- weight_norm


def split_in_two(name: str, names: tuple[str, str]) -> dict[str, Any]:
    """ARRAYS with a weight as its length and a direction three times as long, by those names."""
    v = 3 * ARRAYS[name]
    g = np.sqrt((ARRAYS[name] ** 2).sum(axis=tuple(range(1, v.ndim)), keepdims=True))
    before = name.rpartition(".")[0]
    pair = {f"{before}.{names[0]}": g, f"{before}.{names[1]}": v}
    return {one: array for one, array in ARRAYS.items() if one != name} | pair


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("conv.weight", ("weight_g", "weight_v")),
        ("conv.weight", ("parametrizations.weight.original0", "parametrizations.weight.original1")),
        ("rnn.weight_hh_l0", ("weight_hh_l0_g", "weight_hh_l0_v")),
        ("fc.weight", ("parametrizations.weight.original0", "parametrizations.weight.original1")),
    ],
)
def test_a_length_and_a_direction_are_one_weight(name: str, names: tuple[str, str]) -> None:
    entries = ["conv(padding=1)", "rnn", "fc"]
    x = RNG.normal(size=(5, 2, 3)).astype("f4")
    wanted = from_state_dict(ARRAYS, modules=entries)(x)[0]
    y = from_state_dict(split_in_two(name, names), modules=entries)(x)[0]
    assert np.allclose(y, wanted, rtol=0, atol=2e-6)


def test_two_tensors_that_do_not_fit_are_no_weight() -> None:
    odd = {"fc.weight_g": np.ones((5, 1)), "fc.weight_v": np.ones((2, 4)), "fc.bias": np.ones(2)}
    with pytest.raises(ModelFileError, match="unknown, with 'weight_g'"):
        from_state_dict(odd)


# ---------------------------------------------------------------------- functions, as docs/deploy.md has them

GATES = ["input", "forget", "candidate", "output"]


def by_hand(arrays: StateDict) -> Layer:
    weight, bias = (np.concatenate([arrays[f"{gate}.{word}"] for gate in GATES]) for word in ("weight", "bias"))
    H = len(bias) // 4
    lstm = {"weight_ih_l0": weight[:, :-H], "weight_hh_l0": weight[:, -H:], "bias_ih_l0": bias, "bias_hh_l0": 0 * bias}
    return from_state_dict(lstm)


def test_four_linears_of_a_cell_written_by_hand_are_an_lstm(tmp_path: Path) -> None:
    D, H, T, B = 2, 3, 5, 4
    arrays = {f"{gate}.weight": RNG.normal(size=(H, D + H)).astype("f4") for gate in sorted(GATES)}
    arrays |= {f"{gate}.bias": RNG.normal(size=H).astype("f4") for gate in GATES}
    save_file(arrays, tmp_path / "cell.safetensors")
    x, h, c = RNG.normal(size=(T, B, D)), np.zeros((B, H)), np.zeros((B, H))
    model = minirnn.load(tmp_path / "cell.safetensors", layers=by_hand)
    y, _ = model(x)
    for t in range(T):
        z = {g: np.concatenate([x[t], h], 1) @ arrays[f"{g}.weight"].T + arrays[f"{g}.bias"] for g in GATES}
        i, f, o = (1 / (1 + np.exp(-z[g])) for g in ("input", "forget", "output"))
        c = f * c + i * np.tanh(z["candidate"])
        h = o * np.tanh(c)
        assert np.allclose(y[t], h, rtol=0, atol=2e-6)


def translating(arrays: StateDict) -> Layer:
    paths = ["encoder.embedding", "encoder.lstm", "decoder.embedding", "decoder.lstm", "decoder.fc"]
    layers = {path.replace(".", "_"): from_state_dict(arrays, prefix=path) for path in paths}
    calls = [
        Call("e", "encoder_embedding", ["source"]),
        Call("read", "encoder_lstm", ["e"], final=["h", "c"]),
        Call("d", "decoder_embedding", ["target"]),
        Call("written", "decoder_lstm", ["d"], initial=["h", "c"]),
        Call("scores", "decoder_fc", ["written"]),
    ]
    return LayerGraph([Entry("source", 9, indices=True), Entry("target", 7, indices=True)], layers, calls, ["scores"])


# ---------------------------------------------------------------------- torch itself


@pytest.mark.extras
def test_an_encoder_and_a_decoder_of_a_state_dict_are_a_graph(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="the extra 'oracles' (torch) is not installed")
    nn = torch.nn
    encoder = nn.ModuleDict({"embedding": nn.Embedding(9, 4), "lstm": nn.LSTM(4, 5)})
    decoder = nn.ModuleDict({"embedding": nn.Embedding(7, 3), "lstm": nn.LSTM(3, 5), "fc": nn.Linear(5, 7)})
    torch.save(nn.ModuleDict({"encoder": encoder, "decoder": decoder}).state_dict(), tmp_path / "model.pt")
    source, target = np.array([[1, 2], [3, 8], [0, 5]]), np.array([[1, 6], [2, 0]])
    with torch.no_grad():
        _, state = encoder["lstm"](encoder["embedding"](torch.tensor(source)))
        wanted = decoder["fc"](decoder["lstm"](decoder["embedding"](torch.tensor(target)), state)[0]).numpy()
    model = minirnn.load(tmp_path / "model.pt", layers=translating)
    outputs, _ = model.run({"source": source, "target": target})
    assert np.allclose(outputs["scores"], wanted, rtol=0, atol=2e-6)


@pytest.mark.extras
def test_a_state_dict_with_convolution_and_attention_equals_torch(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="the extra 'oracles' (torch) is not installed")
    nn = torch.nn
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 8, 3, padding=1))
    lstm = nn.utils.parametrizations.weight_norm(nn.LSTM(8, 4, batch_first=True), "weight_hh_l0")
    parts = {"conv": conv, "norm": nn.BatchNorm1d(8), "lstm": lstm, "attention": nn.MultiheadAttention(4, 2)}
    whole = nn.ModuleDict(parts | {"fc": nn.Linear(4, 2)}).eval()
    torch.save(whole.state_dict(), tmp_path / "model.pt")
    x = torch.randn(2, 10, 3)
    with torch.no_grad():
        y = nn.functional.leaky_relu(whole["norm"](whole["conv"](x.mT)), 0.2)
        y, _ = whole["lstm"](nn.functional.max_pool1d(y, 2).mT)
        y, _ = whole["attention"](*(y.swapaxes(0, 1),) * 3)
        wanted = whole["fc"](y.mean(0)).numpy()
    text = "conv(padding=1), norm, leaky_relu(0.2), MaxPool1d(2), lstm, attention(num_heads=2), GlobalAvgPool1d, fc"
    model = minirnn.load(tmp_path / "model.pt", layers=text)
    assert np.allclose(model(x.numpy(), batch_first=True)[0], wanted, rtol=0, atol=2e-6)


@pytest.mark.extras
def test_a_function_of_a_whole_module_may_be_named_twice(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="the extra 'oracles' (torch) is not installed")
    nn = torch.nn
    parts = {"lstm": nn.LSTM(3, 4), "fc": nn.Linear(4, 5), "out": nn.Linear(5, 2), "relu": nn.ReLU()}
    torch.save(nn.ModuleDict(parts), tmp_path / "model.pt")
    x = torch.randn(6, 2, 3)
    with torch.no_grad():
        hidden = parts["relu"](parts["lstm"](x)[1][0][-1])
        wanted = parts["out"](parts["relu"](parts["fc"](hidden))).numpy()
    model = minirnn.load(tmp_path / "model.pt", layers="lstm, final, relu, fc, relu, out")
    assert np.allclose(model(x.numpy())[0], wanted, rtol=0, atol=2e-6)
