"""Graphs that are chains of layers become layers with the same numbers; what is none stays a graph, and says why."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_chains import Drawn, draw_chain, feed_of, helper, onnx

import minirnn
from minirnn import Bidirectional, Layer, ModelFileError, Recurrent, Sequential
from minirnn.formats.onnx import Graph, layers_of, load, read

pytestmark = pytest.mark.extras

Array = NDArray[Any]
SEEDS = range(120)


def layer_of(drawn: Drawn) -> Layer:
    layer = layers_of(read(drawn.model()))
    assert isinstance(layer, Layer)
    return layer


def in_onnxruntime(model: Any, feed: dict[str, Array]) -> list[Array]:
    runtime: Any = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, feed)
    return found


def state_of(layer: Layer, drawn: Drawn, feed: dict[str, Array]) -> Any:
    """The layer's state, where the graph has inputs for it."""
    units = iter([[feed[name] for name in names] for names in drawn.given])

    def one(part: Layer) -> Any:
        if isinstance(part, Sequential):
            return tuple(one(child) for child in part.layers)
        if isinstance(part, Bidirectional):
            arrays = next(units)
            ways = [[a[k : k + 1] for a in arrays] for k in range(2)]
            return tuple(packed(way) for way in ways) if arrays else None
        if not isinstance(part, Recurrent):
            return None
        mine = [next(units) for _ in range(part.num_layers)]
        return packed([np.concatenate(parts) for parts in zip(*mine, strict=True)]) if mine[0] else None

    return one(layer)


def packed(arrays: list[Array]) -> Any:
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chain_computes_what_its_graph_does_in_onnxruntime(seed: int, tmp_path: Path) -> None:
    drawn = draw_chain(seed)
    path = tmp_path / "chain.onnx"
    path.write_bytes(drawn.model().SerializeToString())
    layer = minirnn.load(path)
    assert isinstance(layer, Layer), layers_of(read(path))
    for T, B in ((1, 1), (6, 3)):
        feed = feed_of(drawn, T, B, seed)
        lens = feed.get("lens")
        y, _ = layer(feed["x"], state_of(layer, drawn, feed), lengths=lens)
        theirs, *_ = in_onnxruntime(drawn.model(), feed)
        ours, *_ = read(path)(*feed.values())
        assert np.abs(ours - theirs).max() <= 5e-6 * max(1, np.abs(theirs).max())
        if lens is not None and not drawn.reduced:
            theirs = np.where((np.arange(T)[:, None] >= lens)[:, :, None], 0, theirs)
        assert y.shape == theirs.shape
        assert np.abs(y - theirs).max() <= 5e-6 * max(1, np.abs(theirs).max())


def test_the_chains_have_every_kind_of_part() -> None:
    chains = [draw_chain(seed) for seed in SEEDS]
    described = [layer_of(drawn).describe() for drawn in chains]
    for word in (
        *("Embedding(", "Linear(", "Last(", "Last(bidirectional=True", "Activation('relu6')", "Activation('softmax')"),
        *("RNN(", "GRU(", "LSTM(", "reset='before'", "nonlinearity='relu'", "num_layers=2", "num_layers=3"),
        *(
            "bidirectional=True",
            "Bidirectional(",
            "Reverse(",
            "RNNVariant(",
            "GRUVariant(",
            "LSTMVariant(",
            "peepholes",
        ),
        *("trainable_state=True", "bias=False", "Sequential("),
    ):
        assert sum(word in text for text in described) > 1, word
    assert any(not text.startswith("Sequential") for text in described)
    assert sum(drawn.lengths for drawn in chains) > 10
    assert sum(any(drawn.given) for drawn in chains) > 10
    assert sum(len(drawn.outputs) > 1 for drawn in chains) > 10


def test_final_states_are_those_of_the_graph() -> None:
    drawn = Drawn(np.random.default_rng(0))
    x = drawn.input("x", onnx.TensorProto.FLOAT, ["T", "B", 3])
    initial = drawn.input("h", onnx.TensorProto.FLOAT, [2, "B", 4])
    ends = []
    for k, width in enumerate((3, 4)):
        cut = drawn.add("Slice", initial, *(drawn.constant(np.array([v])) for v in (k, k + 1, 0)))
        names = (drawn.weights(1, 12, width), drawn.weights(1, 12, 4), drawn.weights(1, 24), "", cut)
        y, end = drawn.add("GRU", x, *names, outputs=2, hidden_size=4, linear_before_reset=1)
        x = drawn.add("Squeeze", y, drawn.constant(np.array([1])))
        ends.append(end)
    drawn.output(x)
    drawn.output(drawn.add("Concat", *ends, axis=0))
    layer, feed = layer_of(drawn), feed_of(drawn, 5, 2, 0)
    assert layer.describe() == "GRU(3, 4, num_layers=2)"
    y, state = layer(feed["x"], feed["h"])
    theirs = in_onnxruntime(drawn.model(), feed)
    np.testing.assert_allclose(y, theirs[0], atol=1e-6)
    np.testing.assert_allclose(state, theirs[1], atol=1e-6)


def test_a_chain_is_saved_and_comes_back_with_the_same_bits(tmp_path: Path) -> None:
    for seed in SEEDS:
        drawn = draw_chain(seed)
        layer, feed = layer_of(drawn), feed_of(drawn, 4, 2, seed)
        minirnn.save(layer, tmp_path / "m.safetensors")
        again = minirnn.load(tmp_path / "m.safetensors")
        assert again.describe() == layer.describe()
        state, lens = state_of(layer, drawn, feed), feed.get("lens")
        found, wanted = ([*bytes_of(one(feed["x"], state, lengths=lens))] for one in (again, layer))
        assert found == wanted


def bytes_of(value: Any) -> Iterator[bytes]:
    """An output's arrays, and its state's."""
    for part in value if isinstance(value, tuple) else (value,):
        if part is not None:
            yield from bytes_of(part) if isinstance(part, tuple) else (part.tobytes(),)


def test_a_chain_trains_unless_it_has_cells_with_options() -> None:
    trained = 0
    for seed in SEEDS:
        drawn = draw_chain(seed)
        layer = layer_of(drawn)
        x = feed_of(drawn, 4, 2, seed)["x"]
        if "Variant" in layer.describe():
            with pytest.raises(ValueError, match="is for inference only"):
                layer.forward(x)
            continue
        y, _, backward = layer.forward(x)
        backward(np.random.default_rng(seed).normal(size=y.shape).astype(y.dtype))
        assert layer.grads.any() or not y.any()  # a relu at the end that is flat for all
        trained += 1
    assert trained > 30


def test_weights_are_converted_when_another_dtype_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "chain.onnx"
    path.write_bytes(draw_chain(0).model().SerializeToString())
    for dtype in ("float32", "float64"):
        assert load(path, dtype=dtype, backend="numpy").bound.dtype == dtype  # type: ignore[union-attr]  # a layer
        assert load(path, dtype=dtype, backend="numpy").bound.backend.name == "numpy"  # type: ignore[union-attr]  # so


# ---------------------------------------------------------------------- no chains


def one_unit(drawn: Drawn, *, layout: int = 0, lens: str = "", state: str = "", direction: str = "forward") -> Any:
    """x, and Y with Y_h of a GRU(3, 4) on it."""
    shape = ["B", "T", 3] if layout else ["T", "B", 3]
    x = drawn.input("x", onnx.TensorProto.FLOAT, shape)
    n = 2 if direction == "bidirectional" else 1
    names = (drawn.weights(n, 12, 3), drawn.weights(n, 12, 4), drawn.weights(n, 24), lens, state)
    return x, drawn.add("GRU", x, *names, outputs=2, hidden_size=4, layout=layout, direction=direction)


def raw(drawn: Drawn) -> None:
    _, (y, _) = one_unit(drawn)
    drawn.output(y)


def skip(drawn: Drawn) -> None:
    x, (y, _) = one_unit(drawn)
    drawn.output(drawn.add("Concat", drawn.add("Squeeze", y, drawn.constant(np.array([1]))), x, axis=2))


def scaled(drawn: Drawn) -> None:
    _, (y, _) = one_unit(drawn)
    y = drawn.add("Squeeze", y, drawn.constant(np.array([1])))
    drawn.output(drawn.add("Mul", y, drawn.constant(np.float32(2))))


def first_step(drawn: Drawn) -> None:
    _, (y, _) = one_unit(drawn)
    y = drawn.add("Squeeze", y, drawn.constant(np.array([1])))
    drawn.output(drawn.add("Gather", y, drawn.constant(np.array(0)), axis=0))


def last_step_with_lengths(drawn: Drawn) -> None:
    _, (y, _) = one_unit(drawn, lens=drawn.input("lens", onnx.TensorProto.INT32, ["B"]))
    y = drawn.add("Squeeze", y, drawn.constant(np.array([1])))
    drawn.output(drawn.add("Gather", y, drawn.constant(np.array(-1)), axis=0))


def misread(drawn: Drawn) -> None:
    """Looks like putting directions side by side, and exchanges steps and rows."""
    _, (y, _) = one_unit(drawn, direction="bidirectional")
    y = drawn.add("Transpose", y, perm=[0, 2, 1, 3])
    drawn.output(drawn.add("Reshape", y, drawn.constant(np.array([3, 5, 8]))))


def wrong_start(drawn: Drawn) -> None:
    """A state that is the same number everywhere, but not 0."""
    shape = drawn.constant(np.array([1, 3, 4]))
    ones = helper.make_tensor("ones", onnx.TensorProto.FLOAT, [1], [1.0])
    _, (y, _) = one_unit(drawn, state=drawn.add("ConstantOfShape", shape, value=ones))
    drawn.output(drawn.add("Squeeze", y, drawn.constant(np.array([1]))))


def two_outputs(drawn: Drawn) -> None:
    _, (y, _) = one_unit(drawn)
    y = drawn.add("Squeeze", y, drawn.constant(np.array([1])))
    drawn.output(y)
    drawn.output(drawn.add("Relu", y))


def unused_input(drawn: Drawn) -> None:
    _, (y, _) = one_unit(drawn)
    drawn.input("scale", onnx.TensorProto.FLOAT, [1])
    drawn.output(drawn.add("Squeeze", y, drawn.constant(np.array([1]))))


def over_steps(drawn: Drawn) -> None:
    _, (y, _) = one_unit(drawn)
    y = drawn.add("Squeeze", y, drawn.constant(np.array([1])))
    drawn.output(drawn.add("Softmax", y, axis=0))


def batch_first(drawn: Drawn) -> None:
    _, (y, _) = one_unit(drawn, layout=1)
    drawn.output(drawn.add("Squeeze", y, drawn.constant(np.array([2]))))


NO_CHAINS: dict[str, tuple[Callable[[Drawn], None], str]] = {
    "directions still apart": (raw, r"output 'v0_0' of any shape float32 is nothing that a layer gives"),
    "a connection around": (skip, r"node 'v2_0' \(Concat\)"),
    "scaled": (scaled, r"node 'v2_0' \(Mul\)"),
    "the first step": (first_step, r"node 'v2_0' \(Gather\)"),
    "the last step, whatever the length": (last_step_with_lengths, r"node 'v2_0' \(Gather\)"),
    "steps and rows exchanged": (misread, "output 'v2_0' .* must be what the layers give that its nodes look like"),
    "starts from ones": (wrong_start, r"node 'v1_0' \(GRU\)"),
    "two outputs": (two_outputs, "a chain of layers has one output; the graph has 2"),
    "an input too many": (unused_input, r"input 'scale' \(1\) float32 has no place"),
    "softmax over steps": (over_steps, r"node 'v2_0' \(Softmax\)"),
    "the batch first": (batch_first, r"node 'v0_0' \(GRU\)"),
}


@pytest.mark.parametrize(("build", "words"), NO_CHAINS.values(), ids=NO_CHAINS.keys())
def test_what_is_no_chain_stays_a_graph_and_says_why(
    build: Callable[[Drawn], None], words: str, tmp_path: Path
) -> None:
    drawn, path = Drawn(np.random.default_rng(0)), tmp_path / "m.onnx"
    build(drawn)
    path.write_bytes(drawn.model().SerializeToString())
    graph = minirnn.load(path)
    assert isinstance(graph, Graph)
    feed = feed_of(drawn, 5, 3, 0)
    if build is not batch_first:  # which onnxruntime refuses
        for ours, theirs in zip(graph(*feed.values()), in_onnxruntime(drawn.model(), feed), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    with pytest.raises(ModelFileError, match=words):
        layers_of(graph)
    with pytest.raises(TypeError, match="save takes a model made of layers or a LanguageModel; got Graph"):
        minirnn.save(graph, tmp_path / "m.safetensors")  # type: ignore[arg-type]  # what is tested
    assert not (tmp_path / "m.safetensors").exists()
    with pytest.raises(ValueError, match="dtype must be None for what only runs as a graph; got 'float64'"):
        minirnn.load(path, dtype="float64")


def test_the_batch_first_becomes_time_first_when_layers_are_asked_for(tmp_path: Path) -> None:
    drawn = Drawn(np.random.default_rng(0))
    batch_first(drawn)
    graph = read(drawn.model())
    layer = graph.layers()
    assert layer.describe() == "GRU(3, 4, reset='before')"
    x = feed_of(drawn, 5, 3, 0)["x"]
    np.testing.assert_allclose(layer(x.swapaxes(0, 1))[0].swapaxes(0, 1), graph(x)[0], atol=1e-6)


@pytest.mark.parametrize("build", [skip, scaled, two_outputs])
def test_layers_of_what_has_none_is_an_error_that_names_the_node(build: Callable[[Drawn], None]) -> None:
    drawn = Drawn(np.random.default_rng(0))
    build(drawn)
    with pytest.raises(ModelFileError, match=NO_CHAINS[next(k for k, v in NO_CHAINS.items() if v[0] is build)][1]):
        read(drawn.model()).layers()


def test_weights_that_are_not_finite_are_refused_as_layers() -> None:
    drawn = Drawn(np.random.default_rng(0))
    x = drawn.input("x", onnx.TensorProto.FLOAT, ["T", "B", 2])
    drawn.output(drawn.add("MatMul", x, drawn.constant(np.array([[1], [np.nan]], np.float32))))
    with pytest.raises(ModelFileError, match="weight W must be finite"):
        layers_of(read(drawn.model()))
