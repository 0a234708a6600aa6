"""Graphs of layers: against the same computed by hand, gradients, streams, files, and what they refuse."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from minirnn import (
    GRU,
    LSTM,
    Activation,
    Bidirectional,
    Conv1d,
    Dropout,
    Embedding,
    GlobalAvgPool1d,
    Last,
    Linear,
    Masking,
    ModelFileError,
    Sequential,
    load,
    save,
    to_keras,
    to_onnx,
)
from minirnn.core.layer import Layer
from minirnn.formats.torch import save as to_state_dict
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import WAYS, Combine, Concatenate, Dot, Joining, unit
from minirnn.layers.reshaping import Exchange, Repeat, Reshape
from minirnn.layers.wiring import Call, Entry
from minirnn.testing import check_gradients

RNG = np.random.default_rng(11)
X = RNG.normal(size=(5, 2, 3))
Z = RNG.normal(size=(5, 2, 3))


def ready(model: Layer, seed: int = 0) -> Any:
    return model.init(seed, dtype="float64", backend="numpy")


def joined(layer: Joining, *entries: Entry) -> Any:
    """A graph of one layer that reads these."""
    names = [entry.name for entry in entries]
    return ready(LayerGraph(entries, {"join": layer}, [Call("y", "join", names)], ["y"]))


def residual() -> LayerGraph:
    calls = [Call("h", "gru", ["x"]), Call("s", "add", ["h", "x"]), Call("y", "head", ["s"])]
    return LayerGraph([Entry("x", 3)], {"gru": GRU(3, 3), "add": Combine(), "head": Linear(3, 2)}, calls, ["y"])


def translator() -> LayerGraph:
    """An encoder whose final state a decoder begins with; its outputs, and scores of steps."""
    layers = {"reads": LSTM(3, 2), "writes": LSTM(2, 2), "scores": Dot(), "tags": Linear(2, 4)}
    calls = [
        Call("h", "reads", ["source"], final=["h_end", "c_end"]),
        Call("d", "writes", ["target"], initial=["h_end", "c_end"]),
        Call("a", "scores", ["d", "h"]),
        Call("t", "tags", ["d"]),
    ]
    outputs = {"tags": "t", "scores": "a", "context": "c_end"}
    return LayerGraph([Entry("source", 3), Entry("target", 2)], layers, calls, outputs)


# ---------------------------------------------------------------------- what it computes


def test_a_residual_sum_is_that_of_its_layers() -> None:
    model = ready(residual())
    h, final = model.layers["gru"].to()(X)
    y, state = model(X)
    np.testing.assert_allclose(y, (h + X) @ model.named_weights()["head.W"] + model.named_weights()["head.b"])
    np.testing.assert_array_equal(state[0], final)
    outputs, other = model.run({"x": X})
    np.testing.assert_array_equal(outputs["y"], y)
    np.testing.assert_array_equal(other[0], final)
    np.testing.assert_array_equal(model(X.swapaxes(0, 1), batch_first=True)[0], y.swapaxes(0, 1))
    np.testing.assert_array_equal(model.run({"x": X.swapaxes(0, 1)}, batch_first=True)[0]["y"], y.swapaxes(0, 1))


def test_states_go_from_one_layer_to_another() -> None:
    model = ready(translator())
    target = RNG.normal(size=(4, 2, 2))
    outputs, state = model.run({"source": X, "target": target})
    h, (h_end, c_end) = model.layers["reads"].to()(X)
    d, _ = model.layers["writes"].to()(target, (h_end, c_end))
    tags, _ = model.layers["tags"].to()(d)
    np.testing.assert_allclose(outputs["tags"], tags)
    np.testing.assert_allclose(outputs["scores"], np.einsum("tbh,sbh->tbs", d, h))
    np.testing.assert_array_equal(outputs["context"], c_end[0])
    assert state[1] is None
    half, first = model.run({"source": X[:2], "target": target})
    rest, _ = model.run({"source": X[2:], "target": target}, first)
    np.testing.assert_allclose(rest["context"], c_end[0])
    assert half["scores"].shape == (4, 2, 2)


@pytest.mark.parametrize("how", WAYS)
def test_values_are_combined_entry_by_entry(how: str) -> None:
    model = joined(Combine(how), Entry("x", 3), Entry("z", 1, steps=False))
    z = Z[0, :, :1]
    wanted = {
        "sum": X + z,
        "difference": X - z,
        "product": X * z,
        "mean": (X + z) / 2,
        "max": np.maximum(X, z),
        "min": np.minimum(X, z),
    }[how]
    np.testing.assert_allclose(model.run({"x": X, "z": z})[0]["y"], wanted)
    assert model.output_size == 3
    three = joined(Combine("sum"), Entry("x", 3), Entry("z"), Entry("w", steps=False))
    np.testing.assert_allclose(three.run({"x": X, "z": Z[:1], "w": Z[0]})[0]["y"], X + Z[:1] + Z[0])


def test_values_side_by_side_and_one_after_another() -> None:
    beside = joined(Concatenate(), Entry("x", 3), Entry("z", 2, steps=False))
    y = beside.run({"x": X, "z": Z[0, :, :2]})[0]["y"]
    np.testing.assert_array_equal(y, np.concatenate([X, np.broadcast_to(Z[0, :, :2], (5, 2, 2))], axis=-1))
    after = joined(Concatenate(over_steps=True), Entry("x", 3), Entry("z", 3))
    np.testing.assert_array_equal(after.run({"x": X, "z": Z[:2]})[0]["y"], np.concatenate([X, Z[:2]]))


@pytest.mark.parametrize(
    ("first", "second", "equation"),
    [
        ("features", "features", "tbd,sbd->tbs"),
        ("steps", "steps", "tbd,tbe->dbe"),
        ("features", "steps", "tbs,sbe->tbe"),
        ("steps", "features", "tbd,sbt->dbs"),
    ],
)
def test_a_dot_is_a_sum_over_one_axis_of_each(first: str, second: str, equation: str) -> None:
    x = RNG.normal(size=(4, 2, 4))
    z = RNG.normal(size=(4, 2, 4) if first == second == "steps" else (6, 2, 4) if second == "features" else (4, 2, 3))
    model = joined(Dot(first, second), Entry("x", 4), Entry("z", z.shape[2]))
    np.testing.assert_allclose(model.run({"x": x, "z": z})[0]["y"], np.einsum(equation, x, z))
    flat = joined(Dot(), Entry("x", 4, steps=False), Entry("z", 4, steps=False))
    np.testing.assert_allclose(flat.run({"x": x[0], "z": x[1]})[0]["y"][:, 0], (x[0] * x[1]).sum(axis=-1))


def normalized(x: Any, axis: int) -> Any:
    """x divided by its norm along an axis, a norm below Keras' epsilon being that."""
    return x / np.maximum(np.linalg.norm(x, axis=axis, keepdims=True), 1e-7)


def test_a_dot_of_what_is_normalized_is_of_cosines() -> None:
    model = joined(Dot(normalize=True), Entry("x", 3), Entry("z", 3))
    y = model.run({"x": X, "z": Z})[0]["y"]
    np.testing.assert_allclose(y, np.einsum("tbd,sbd->tbs", normalized(X, -1), normalized(Z, -1)))
    np.testing.assert_allclose(np.diagonal(model.run({"x": X, "z": 7 * X})[0]["y"], axis1=0, axis2=2), 1)
    flat = joined(Dot(normalize=True), Entry("x", 3, steps=False), Entry("z", 3, steps=False))
    np.testing.assert_allclose(flat.run({"x": X[0], "z": -2 * X[0]})[0]["y"], [[-1], [-1]])
    assert Dot("features", "steps", normalize=True).describe() == "Dot(second='steps', normalize=True)"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_norm_below_the_smallest_counts_as_that(dtype: str) -> None:
    model = joined(Dot(normalize=True), Entry("x", 3), Entry("z", 3)).to(dtype=dtype)
    x, z = X.astype(dtype), Z.astype(dtype)
    x[1], x[2, 0], x[3] = 0, [3e-8, 0, -4e-8], [6e-8, 0, 8e-8]
    y = model.run({"x": x, "z": z})[0]["y"]
    assert y.dtype == dtype
    assert not y[1].any()
    wanted = np.einsum("tbd,sbd->tbs", normalized(x.astype("float64"), -1), normalized(Z, -1))
    np.testing.assert_allclose(y, wanted, atol=1e-6 if dtype == "float32" else 1e-14)


def test_numbers_move_between_steps_and_features() -> None:
    np.testing.assert_array_equal(joined(Repeat(4), Entry("x", 3, steps=False)).run({"x": X[0]})[0]["y"], [X[0]] * 4)
    np.testing.assert_array_equal(joined(Exchange(), Entry("x", 3)).run({"x": X})[0]["y"], X.transpose(2, 1, 0))
    rows = X.swapaxes(0, 1).reshape(2, 15)
    np.testing.assert_array_equal(joined(Reshape(None, 15), Entry("x", 3)).run({"x": X})[0]["y"], rows)
    for T, D in ((5, 3), (-1, 3), (5, -1)):
        model = joined(Reshape(T, D), Entry("x", 15, steps=False))
        np.testing.assert_array_equal(model.run({"x": rows})[0]["y"], X)


def test_a_layer_that_is_called_twice_has_one_set_of_weights() -> None:
    layers: dict[str, Layer] = {"read": Sequential(Embedding(9, 4), GRU(4, 3), Last()), "less": Combine("difference")}
    calls = [Call("p", "read", ["a"]), Call("q", "read", ["b"]), Call("y", "less", ["p", "q"])]
    twins = ready(LayerGraph([Entry("a", 9, indices=True), Entry("b", 9, indices=True)], layers, calls, ["y"]))
    a, b = RNG.integers(0, 9, (4, 2)), RNG.integers(0, 9, (6, 2))
    alone = twins.layers["read"].to()
    np.testing.assert_allclose(twins.run({"a": a, "b": b})[0]["y"], alone(a)[0] - alone(b)[0])
    assert twins.bound.count == alone.bound.count
    short = twins.run({"a": a, "b": b}, lengths={"b": [2, 6]})[0]["y"]
    np.testing.assert_allclose(short, alone(a)[0] - alone(b, lengths=[2, 6])[0])


def test_lengths_and_masks_go_with_the_values() -> None:
    model, lengths = ready(residual()), [2, 5]
    y, _ = model(X, lengths=lengths)
    np.testing.assert_allclose(y[:2, :1], model(X[:2, :1])[0])
    assert not y[2:, 0].any()
    np.testing.assert_array_equal(model.run({"x": X}, lengths=lengths)[0]["y"], y)
    layers = {"mask": Masking(), "gru": GRU(3, 3), "add": Combine(), "lstm": LSTM(3, 2), "last": Last()}
    calls = [
        *(Call("m", "mask", ["x"]), Call("h", "gru", ["m"]), Call("s", "add", ["m", "h"])),
        *(Call("o", "lstm", ["s"]), Call("y", "last", ["o"])),
    ]
    masked = ready(LayerGraph([Entry("x", 3)], layers, calls, ["y"]))
    x = X.copy()
    x[1], x[3, 0] = 0, 0
    np.testing.assert_allclose(masked(x)[0][1:], masked(np.delete(x, 1, axis=0))[0][1:])
    np.testing.assert_allclose(masked(x)[0][:1], masked(x[[0, 2, 4], :1])[0])


def test_a_graph_is_a_layer_of_a_sequential_and_streams() -> None:
    model = ready(Sequential(Linear(3, 3), residual(), GRU(2, 2)))
    stream, y = model.stream(2), model(X)[0]
    np.testing.assert_allclose([stream(x) for x in X], y, rtol=1e-12)
    convolved = LayerGraph(
        [Entry("x", 3)],
        {"conv": Conv1d(3, 2, 3, 2), "gru": GRU(2, 2), "add": Combine()},
        [Call("c", "conv", ["x"]), Call("h", "gru", ["c"]), Call("y", "add", ["c", "h"])],
        ["y"],
    )
    assert convolved.output_lengths(5) == convolved.check_steps(5) == len(ready(convolved)(X)[0]) == 2


# ---------------------------------------------------------------------- gradients


@st.composite
def graphs(draw: st.DrawFn) -> LayerGraph:
    """A graph of one input, in which values of 3 features are read by any number of layers."""
    layers: dict[str, Layer] = {}
    calls: list[Call] = []
    values, states = ["x"], list[tuple[str, ...]]()
    for k in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["gru", "lstm", "both", "linear", "tanh", "combine", "concat", "again", "dot"]))
        read = draw(st.sampled_from(values))
        one, more = f"l{k}", list[str]()
        initial: tuple[str, ...] = ()
        final: tuple[str, ...] = ()
        if kind == "again" and calls and layers[calls[-1].layer].input_size == 3:
            one = calls[-1].layer
        elif kind == "lstm":
            layers[one] = LSTM(3, 3)
            final = (f"h{k}", f"c{k}")
            initial = draw(st.sampled_from([(), *states]))
        elif kind == "gru":
            layers[one] = GRU(3, 3)
        elif kind == "both":
            layers[one] = Sequential(Bidirectional(GRU(3, 3)), Linear(6, 3))
        elif kind == "combine":
            layers[one] = Combine(draw(st.sampled_from(["sum", "product", "mean", "difference"])))
            more = [draw(st.sampled_from(values))]
        elif kind == "concat":
            layers[f"c{k}"] = Concatenate()
            calls.append(Call(f"v{k}", f"c{k}", [read, draw(st.sampled_from(values))]))
            layers[one], read = Linear(6, 3), f"v{k}"
        elif kind == "dot":
            layers[f"d{k}"] = Dot(normalize=draw(st.booleans()))
            calls.append(Call(f"w{k}", f"d{k}", [read, draw(st.sampled_from(values))]))
            layers[one] = Dot("features", "steps", normalize=draw(st.booleans()))
            read, more = f"w{k}", [draw(st.sampled_from(values))]
        else:
            layers[one] = Activation("tanh") if kind == "tanh" else Linear(3, 3)
        calls.append(Call(f"y{k}", one, [read, *more], initial, final))
        values.append(f"y{k}")
        if final:
            states.append(final)
            if draw(st.booleans()):
                calls.append(Call(f"e{k}", f"e{k}", [f"y{k}", draw(st.sampled_from(final))]))
                layers[f"e{k}"] = Combine("product")
                values.append(f"e{k}")
    calls.append(Call("all", "all", [*values[1:], "x"]))
    return LayerGraph([Entry("x", 3)], layers | {"all": Combine()}, calls, ["all"])


@given(graphs(), st.integers(0, 1000), st.sampled_from([None, [3, 1]]))
def test_a_gradient_is_the_sum_of_what_all_readers_send_back(
    graph: LayerGraph, seed: int, lengths: list[int] | None
) -> None:
    model = graph.init(seed, dtype="float64", backend="numpy")
    x = np.random.default_rng(seed).normal(size=(3, 2, 3))
    lengths = lengths if model.takes_lengths else None
    check_gradients(model, x, lengths=lengths)
    np.testing.assert_array_equal(model(x, lengths=lengths)[0], model.run({"x": x}, lengths=lengths)[0]["all"])


@pytest.mark.parametrize(
    "layer",
    [
        *map(Combine, WAYS),
        Concatenate(),
        Concatenate(over_steps=True),
        *(Dot(a, b, normalize=n) for n in (False, True) for a in ("features", "steps") for b in ("features", "steps")),
    ],
)
def test_the_transpose_of_every_join(layer: Joining) -> None:
    layers = {"a": Linear(3, 3), "b": Linear(3, 3), "join": layer}
    calls = [Call("p", "a", ["x"]), Call("q", "b", ["x"]), Call("y", "join", ["p", "q"])]
    check_gradients(ready(LayerGraph([Entry("x", 3)], layers, calls, ["y"])), X[:3], entries="all")


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("times", [0.0, 1e-9, 1e-8, 1.0])
def test_the_transpose_of_a_norm_above_and_below_the_smallest(times: float, axis: int) -> None:
    """By complex steps alone: differences would step over the kink."""
    x, dn, v = X * times, Z, RNG.normal(size=X.shape)
    _, to_dx = unit(np, x, axis)
    slope = (dn * unit(np, x + 1e-30j * v, axis)[0].imag).sum() / 1e-30
    np.testing.assert_allclose((to_dx(dn) * v).sum(), slope, rtol=1e-10)


@given(st.data())
def test_the_transpose_of_a_norm_along_any_axis(data: st.DataObject) -> None:
    size, axes = st.integers(2, 4), st.sampled_from(["features", "steps"])
    T, B, first, second = data.draw(size), data.draw(st.integers(1, 3)), data.draw(axes), data.draw(axes)
    P = T if (first, second) == ("features", "steps") else data.draw(size)
    Q = P if first == second == "features" else T if (first, second) == ("steps", "features") else data.draw(size)
    layers = {"a": Linear(3, P), "b": Linear(3, Q), "join": Dot(first, second, normalize=True)}
    calls = [Call("p", "a", ["x"]), Call("q", "b", ["x"]), Call("y", "join", ["p", "q"])]
    model = ready(LayerGraph([Entry("x", 3)], layers, calls, ["y"]), data.draw(st.integers(0, 1000)))
    x = np.random.default_rng(data.draw(st.integers(0, 1000))).normal(size=(T, B, 3))
    p, q = (model.layers[name].to()(x)[0] for name in "ab")
    n, m = normalized(p, -1 if first == "features" else 0), normalized(q, -1 if second == "features" else 0)
    equation = {"features": "tbk", "steps": "kbt"}[first] + "," + {"features": "sbk", "steps": "kbs"}[second] + "->tbs"
    np.testing.assert_allclose(model(x)[0], np.einsum(equation, n, m), atol=1e-12)
    check_gradients(model, x, entries="all")


@pytest.mark.parametrize("way", ["sum", "product", "mean", "max", "concat"])
def test_what_stands_for_the_same_at_every_step_gets_the_sum_of_its_gradients(way: str) -> None:
    layers = {"a": Linear(3, 1), "pool": GlobalAvgPool1d(), "join": Concatenate() if way == "concat" else Combine(way)}
    calls = [Call("p", "a", ["x"]), Call("q", "pool", ["x"]), Call("y", "join", ["p", "q"])]
    model = ready(LayerGraph([Entry("x", 3)], layers, calls, ["y"]))
    assert model(X)[0].shape == (5, 2, 4 if way == "concat" else 3)
    check_gradients(model, X, entries="all")


def test_the_transposes_of_what_moves_numbers() -> None:
    layers = {"a": Exchange(), "b": Reshape(None, 9), "c": Linear(9, 4), "d": Repeat(3), "e": Reshape(-1, 2)}
    calls = [Call(name, name, [before]) for before, name in zip(["x", *"abcd"], "abcde", strict=True)]
    check_gradients(ready(LayerGraph([Entry("x", 3)], layers, calls, ["e"])), X[:3], entries="all")


# ---------------------------------------------------------------------- files


def test_a_graph_is_saved_copied_and_quantised(tmp_path: Path) -> None:
    layers = {"gru": GRU(3, 3), "dot": Dot("steps", "steps", normalize=True)}
    cosines = LayerGraph([Entry("x", 3)], layers, [Call("h", "gru", ["x"]), Call("y", "dot", ["x", "h"])], ["y"])
    both = {"source": X, "target": X[:, :, :2]}
    for model, inputs in ((residual(), {"x": X}), (cosines, {"x": X}), (translator(), both)):
        model.init(3, dtype="float64", backend="numpy").freeze(next(iter(model.layers)))
        save(model, tmp_path / "g.safetensors")
        wanted, _ = model.run(inputs)
        loaded = load(tmp_path / "g.safetensors", backend="numpy")
        assert loaded.bound.frozen == model.bound.frozen
        for other in (loaded, model.to(), copy.deepcopy(model)):
            assert other.describe() == model.describe()
            outputs, _ = other.run(inputs)
            for name, y in wanted.items():
                np.testing.assert_array_equal(outputs[name], y)
        small, _ = model.to(dtype="float32").quantize("int8").run(inputs)
        np.testing.assert_allclose(next(iter(small.values())), next(iter(wanted.values())), atol=0.05)


@pytest.mark.parametrize(
    ("write", "ending", "words"),
    [
        (to_state_dict, "pt", "A state dict"),
        pytest.param(to_keras, "keras", "A file of Keras", marks=pytest.mark.extras),
        pytest.param(to_onnx, "onnx", "ONNX", marks=pytest.mark.extras),
    ],
)
def test_other_formats_say_that_they_have_chains(write: Any, ending: str, words: str, tmp_path: Path) -> None:
    model = Sequential(Linear(3, 3), residual()).init()
    with pytest.raises(ValueError, match=f"{words} is written of layers one after another; this model has a Layer"):
        write(model, tmp_path / f"model.{ending}")
    assert not list(tmp_path.iterdir())


def test_a_description_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    save(ready(residual()), path)
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["minirnn"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    for part, value, words in (
        (
            "calls",
            [["h", name, ["h"], [], []] for name in ("gru", "add", "head")],
            "reads 'h', which nothing before it makes",
        ),
        ("calls", [["h", "gru", ["x"], [], []]] * 20_000, "layers can be called"),
        ("calls", 7, "not valid"),
        ("calls", [[[], {}, [[]], [], []]], "not valid"),
        ("entries", [["x", 2**50, True, False]], "not valid"),
        ("entries", [["x", 3, 1, False]], "true or false"),
        ("outputs", {"y": "z"}, "must be a value of the graph"),
        ("layers", {"a.b": {"kind": "Dot"}}, "no dot"),
        ("layers", {"add": {"kind": "Dot", "normalize": 1}}, "normalize must be true or false; got 1"),
        ("layers", [], "not valid"),
    ):
        changed = copy.deepcopy(about)
        changed["network"][part] = value
        save_file(tensors, path, {"minirnn": json.dumps(changed)})
        with pytest.raises(ModelFileError, match=words):
            load(path)


# ---------------------------------------------------------------------- what it refuses


ONE = (Entry("x", 3),)


def graph(*calls: Call, entries: Any = ONE, outputs: Any = ("y",), **layers: Layer) -> LayerGraph:
    return LayerGraph(entries, layers, calls, outputs)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LayerGraph([], {}, [], []), "at least one entry, one call and one output"),
        (lambda: graph(Call("y", "a", ["z"]), a=Linear(3, 3)), "reads 'z', which nothing before it makes"),
        (lambda: graph(Call("y", "b", ["x"]), a=Linear(3, 3)), "'a' is called nowhere"),
        (lambda: graph(Call("y", "b", ["x"]), Call("z", "a", ["x"]), a=Linear(3, 3)), "'b', which is no layer"),
        (lambda: graph(Call("x", "a", ["x"]), a=Linear(3, 3)), "a name of its own; got 'x'"),
        (lambda: graph(Call("y", "a", ["x"]), a=Linear(4, 3)), "expects 4 features; it is called on 3"),
        (lambda: graph(Call("y", "a", ["x", "x"]), a=Linear(3, 3)), "reads one value; it is called on 2"),
        (lambda: graph(Call("y", "a", ["x"]), a=Combine()), "reads 2 or more values; it is called on 1"),
        (lambda: graph(Call("y", "a", ["x"] * 3), a=Combine("difference")), "reads 2 values; it is called on 3"),
        (lambda: graph(Call("y", "a", ["x"]), a=Embedding(3, 2)), "reads integers; it is called on features"),
        (lambda: graph(Call("y", "a", ["x"]), outputs=["z"], a=Linear(3, 3)), "output 'z' must be a value"),
        (lambda: graph(Call("y", "a", "x"), a=Linear(3, 3)), "reads a list of values; got 'x'"),
        (
            lambda: graph(Call("l", "last", ["x"]), Call("y", "a", ["l"]), last=Last(), a=GRU(3, 3)),
            "needs steps; the value that it reads has none",
        ),
        (
            lambda: graph(Call("m", "m", ["x"]), Call("y", "a", ["m"]), m=Masking(), a=Conv1d(3, 3, 2)),
            "cannot go without those that a layer before it masks",
        ),
        (
            lambda: graph(Call("m", "m", ["x"]), Call("y", "a", ["m", "m"]), m=Masking(), a=Dot()),
            "cannot go without steps that a layer before it masks",
        ),
        (lambda: graph(Call("y", "a", ["x"], final=["h"]), a=LSTM(3, 2)), "ends with 2 values; 1 are named"),
        (lambda: graph(Call("y", "a", ["x"], initial=["x"]), a=GRU(3, 3)), "values \\(B, 3\\); 'x' is another"),
        (lambda: graph(Call("y", "a", ["x"], final=["h"]), a=Dropout(0.1)), "ends with 0 values"),
        (lambda: graph(Call("y", "a", ["x"]), entries=[Entry("x", 0)], a=Linear(3, 3)), "at least 1; got 0"),
        (lambda: Combine("median"), "how must be one of sum, difference"),
        (lambda: Dot("rows"), "first must be one of features, steps"),
        (lambda: Reshape(-1, -1), "both are"),
        (lambda: Repeat(2**40), "at most 65,536; got 1,099,511,627,776"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_made(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_what_needs_a_chain_says_so() -> None:
    model = ready(translator())
    inputs = {"source": X, "target": X[:, :, :2]}
    takes = r"needs a graph of one input and one output; this one takes source \(T, B, 3\), target \(T, B, 2\)"
    for call, words in (
        (lambda: model(X), f"a call with one array {takes}"),
        (lambda: model.forward(X), f"training {takes} and gives tags, scores, context"),
        (model.stream, f"a stream {takes}"),
        (lambda: Sequential(Linear(3, 3).init(dtype="float64", backend="numpy"), model)(X), takes),
        (lambda: model.run(X), "takes arrays by name, source, target; got ndarray"),
        (lambda: model.run({"source": X}), "by name, source, target; got source"),
        (lambda: model.run(inputs | {"target": X}), "input 'target' must have 2 features"),
        (lambda: model.run(inputs | {"target": X[0]}), r"'target' must be \(T, B, features\); got float64 of shape"),
        (lambda: model.run(inputs | {"target": X[:, :1, :2]}), "one number of rows; got 1, 2"),
        (lambda: model.run(inputs | {"target": X[:0, :, :2]}), "at least one step"),
        (lambda: model.run(inputs, (None,)), "one entry a call, here 4; got tuple of 1"),
        (lambda: model.run(inputs, (None, (X, X), None, None)), "begins with a state that the graph gives"),
        (lambda: model.run(inputs, lengths=[1, 2]), "takes rows of one length"),
        (lambda: ready(Sequential(Combine()))(X), "reads several values: it is called in a LayerGraph"),
    ):
        with pytest.raises((ValueError, RuntimeError), match=words):
            call()


def test_sizes_that_do_not_fit_are_refused_before_anything_is_computed() -> None:
    entries = [Entry("x"), Entry("z")]
    add = joined(Combine(), *entries)
    for z, words in (
        (Z[:4], "number of steps, or of 1; got 4, 5"),
        (Z[:, :, :2], "number of features, or of 1; got 2, 3"),
    ):
        with pytest.raises(ValueError, match=words):
            add.run({"x": X, "z": z})
    with pytest.raises(ValueError, match="lengths or masks differ"):
        add.run({"x": X, "z": Z}, lengths={"x": [1, 2]})
    with pytest.raises(ValueError, match="sums over as many features as features; got"):
        joined(Dot(), *entries).run({"x": X, "z": Z[:, :, :2]})
    with pytest.raises(ValueError, match="needs 4 numbers a row; got 15"):
        joined(Reshape(2, 2), Entry("x")).run({"x": X})
    calls = [Call(f"v{k + 1}", "cat", [f"v{k}"] * 2) for k in range(40)]
    bomb = ready(LayerGraph([Entry("v0", 3)], {"cat": Concatenate()}, calls, ["v40"]))
    with pytest.raises(ValueError, match="67,108,864 numbers a row together"):
        bomb.run({"v0": X})
    with pytest.raises(ValueError, match="67,108,864 numbers a row together"):
        bomb(X)
    many = joined(Concatenate(over_steps=True), *(Entry(name, 1) for name in "ab"))
    with pytest.raises(ValueError, match="1,048,576 steps; it would make 1,048,578"):
        many.run({"a": np.zeros((2**20, 1, 1)), "b": np.zeros((2, 1, 1))})
