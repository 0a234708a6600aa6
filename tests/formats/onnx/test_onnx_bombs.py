"""Files of ONNX that ask for far more than they hold, or for what no reader of data may do: refused, or run within
bounds, in a watched process.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import hostile
import numpy as np
import pytest
from corpora import FORMATS
from mutations import Field, message, varint
from numpy.typing import NDArray
from onnx_bytes import FLOAT, INT64, attribute, graph, model, node, port, tensor, text, within

import minirnn
from minirnn import ModelFileError
from minirnn.formats.onnx import Graph, read

Array: TypeAlias = NDArray[Any]
Bomb: TypeAlias = Callable[[], bytes]

Y = [port("y", None)]
X = [port("x", ["T", "B", 3])]
LARGE = [2**22, 2**24, 2**40]


def zeros(name: str, *shape: int) -> list[Field]:
    return tensor(name, np.zeros(shape, np.float32))


def ints(name: str, *values: int) -> list[Field]:
    return tensor(name, np.array(values, np.int64))


def row(op: str, count: int, sources: int = 1, **attributes: Any) -> list[list[Field]]:
    """``count`` nodes one after another, from x to y, each of which reads what is before it so often."""
    names = ["x", *(f"v{k}" for k in range(1, count)), "y"]
    return [node(op, " ".join(names[k : k + 1] * sources), names[k + 1], **attributes) for k in range(count)]


def filled(*shape: int, to: str = "x", kind: Any = np.float32) -> tuple[list[Field], list[Field]]:
    """A node that makes an array of ones of that shape, and the constant that it reads."""
    return node("ConstantOfShape", f"{to}_shape", to, value=tensor("", np.ones(1, kind))), ints(f"{to}_shape", *shape)


def on_ones(op: str, n: int, inputs: str = "x", *more: list[Field], **attributes: Any) -> bytes:
    """A node on n ones."""
    made, shape = filled(n)
    return model([made, node(op, inputs, "y", **attributes)], [], Y, [shape, *more], opset=18)


def stack(count: int) -> list[list[Field]]:
    """Recurrent nodes, the steps of each squeezed for the next."""
    names = ["x", *(f"v{k}" for k in range(1, count)), "y"]
    nodes = []
    for k in range(count):
        nodes += [node("RNN", f"{names[k]} W R", f"r{k}"), node("Squeeze", f"r{k} one", names[k + 1])]
    return nodes


WEIGHTS = [zeros("W", 1, 1, 1), zeros("R", 1, 1, 1), ints("one", 1)]


def body(k: int = 0, *inner: list[Field]) -> bytes:
    """The sum of a state and a step."""
    nodes = [*inner, node("Add", f"h{k} z{k}", f"n{k}"), node("Identity", f"n{k}", f"o{k}")]
    ports = [[port(f"{letter}{k}", None) for letter in letters] for letters in ("hz", "no")]
    return message(graph(nodes, *ports))


def scans(count: int) -> list[list[Field]]:
    names = ["x", *(f"v{k}" for k in range(1, count)), "y"]
    return [
        node("Scan", f"h {names[k]}", f"e{k} {names[k + 1]}", body=body(k), num_scan_inputs=1) for k in range(count)
    ]


def nested(depth: int) -> bytes:
    """A Scan within a Scan, and so on."""
    made = body()
    for k in range(1, depth):
        made = body(k, node("Scan", f"h{k} z{k}", f"a{k} b{k}", body=made, num_scan_inputs=1))
    return model([node("Scan", "h x", "e y", body=made, num_scan_inputs=1)], X, Y, [zeros("h", 3)])


def bare(dims: list[int], kind: int, *parts: Field) -> bytes:
    """A model of one tensor, whose fields are given."""
    about: list[Field] = [*((1, 0, n) for n in dims), (2, 0, kind), *text(8, "x"), *parts]
    return model([node("Identity", "x", "y")], [], [port("y", None, kind)], [about])


def of_raw(inside: bytes) -> bytes:
    """A model whose graph is these bytes."""
    return message([(1, 0, 8), (7, 2, inside), *within(8, [(2, 0, 17)])])


def sized(n: int) -> dict[str, bytes]:
    """What asks for n of something."""
    made: dict[str, bytes] = {}
    for op in ("Tanh", "Softplus", "Erf", "Softmax", "Mish", "HardSigmoid", "Identity", "Neg", "LogSoftmax", "Abs"):
        made[f"{op} of ones"] = on_ones(op, n)
    made["Cast of ones"] = on_ones("Cast", n, to=11)
    made["TopK of ones"] = on_ones("TopK", n, "x k", ints("k", n), axis=0)
    made["CumSum of ones"] = on_ones("CumSum", n, "x k", ints("k", 0), exclusive=1)
    made["Range"] = model(
        [node("Range", "a b c", "y")], [], [port("y", None, INT64)], [ints("a", 0), ints("b", n), ints("c", 1)]
    )
    values = tensor("v", np.array([0, 1], np.float32))
    made["OneHot"] = model([node("OneHot", "i d v", "y")], [], Y, [ints("i", 1), ints("d", n), values])
    made["Expand"] = model([node("Expand", "x n", "y")], [], Y, [zeros("x", 1), ints("n", n)])
    index, shape = filled(n, to="i", kind=np.int64)
    made["Gather"] = model([index, node("Gather", "x i", "y")], [], Y, [zeros("x", 2), shape])
    for rows in (0, 1):
        steps, shape = filled(n, rows, 1)
        made[f"RNN over steps of {rows} rows"] = model([steps, node("RNN", "x W R", "y")], [], Y, [*WEIGHTS, shape])
        steps, shape = filled(n, rows)
        made[f"Scan over steps of {rows} numbers"] = model([steps, *scans(1)], [], Y, [shape, zeros("h", rows)])
    step, shape = filled(1, n, 1)
    made["RNN over rows"] = model([step, node("RNN", "x W R", "y")], [], Y, [*WEIGHTS, shape])
    side = int(n**0.5)
    for kind in (np.float32, np.int64):
        ones, shape = filled(side, side, kind=kind)
        code = INT64 if kind is np.int64 else FLOAT
        made[f"MatMul of {kind.__name__}"] = model(
            [ones, node("MatMul", "x x", "y")], [], [port("y", None, code)], [shape]
        )
    (a, a_shape), (b, b_shape) = filled(side, 1, to="a"), filled(1, side, to="b")
    made["Add of columns and rows"] = model([a, b, node("Add", "a b", "y")], [], Y, [a_shape, b_shape])
    unrolled = [node("RNN", "x W R", "r"), node("Squeeze", "r one", "y")]
    for word, sizes in {"steps": [n, 1, 1], "rows": [1, n, 1], "features": [1, 1, n]}.items():
        made[f"an input of as many {word}"] = model(unrolled, [port("x", sizes)], Y, WEIGHTS)
    unrolled[0] = node("RNN", "x W R - - h", "r")
    for sizes in ([1, n, 1], [n, 1, 1]):
        made[f"states {sizes.index(n)}"] = model(unrolled, [port("x", ["T", "B", 1]), port("h", sizes)], Y, WEIGHTS)
    made["a tensor"] = bare([n], 1, (9, 2, bytes(4)))
    return made


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hostile.Worker]:
    """A process that loads, and runs what only runs."""
    folder = tmp_path_factory.mktemp("bombs")
    warm = [folder / f"warm{k}" for k in range(200)]
    for path, data in zip(warm, FORMATS["onnx"].files(), strict=False):
        path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:  # kernels would be compiled for what is large
        patch.setenv("MINIRNN_BACKEND", "numpy")
        with hostile.Worker("minirnn:load", [str(path) for path in warm if path.exists()]) as started:
            yield started


def loaded(worker: hostile.Worker, path: Path, data: bytes) -> tuple[str, str]:
    """The outcome and words about it; AssertionError where a rule is broken."""
    path.write_bytes(data)
    outcome, words, seconds, growth = worker.load(str(path))
    broken = hostile.verdict(outcome, words, seconds, growth, len(data))
    assert not broken, broken
    return outcome, words


@pytest.mark.parametrize("n", LARGE)
def test_what_asks_for_much_is_refused_or_stays_small(n: int, worker: hostile.Worker, tmp_path: Path) -> None:
    broken, outcomes = [], []
    for name, data in sized(n).items():
        try:
            outcomes.append(loaded(worker, tmp_path / "bomb", data))
        except AssertionError as error:
            broken.append(f"{name}: {error}")
    assert not broken, "\n".join(broken)
    refused = sum(outcome == "refused" or bool(words) for outcome, words in outcomes)
    assert refused > (len(outcomes) - 6 if n >= 2**31 else 0)


DEEP = b"".join([b"\x0a" + varint(2**20)] * 1000)
MANY: dict[str, tuple[Bomb, str]] = {
    "nodes": (lambda: model(row("Identity", 30_000), X, Y), "a model must have at most"),
    "nodes within nodes": (lambda: model(scans(1500), X, Y, [zeros("h", 3)]), "a model must have at most"),
    "functions in a row": (lambda: model(row("Tanh", 4000), X, Y), ""),
    "constants worked out": (lambda: model(row("Tanh", 4000), [], Y, [zeros("x", 3)]), ""),
    "recurrent nodes": (lambda: model(stack(200), [port("x", ["T", "B", 1])], Y, WEIGHTS), ""),
    "recurrent nodes, too many for a chain": (lambda: model(stack(2000), [port("x", ["T", "B", 1])], Y, WEIGHTS), ""),
    "recurrent nodes on constants": (lambda: model(stack(2000), [], Y, [*WEIGHTS, zeros("x", 5, 1, 1)]), ""),
    "scans": (lambda: model(scans(1000), [port("x", ["T", 2])], Y, [zeros("h", 2)]), ""),
    "doublings": (lambda: model(row("Concat", 40, 2, axis=0), [], Y, [zeros("x", 1000)]), "at most"),
    "doublings of an input": (lambda: model(row("Concat", 40, 2, axis=0), [port("x", [1000])], Y), "at most"),
    "doublings by sums": (lambda: model(row("Add", 4000, 2), [], Y, [zeros("x", 1000)]), ""),
    "operands": (lambda: model(row("Concat", 1, 60_000, axis=0), [], Y, [zeros("x", 1000)]), "(limit="),
    "outputs of a node": (
        lambda: model(
            [node("Split", "x", " ".join(["y", *(f"v{k}" for k in range(60_000))]), axis=0)],
            [],
            Y,
            [zeros("x", 60_001)],
        ),
        "",
    ),
    "tensors": (lambda: model(row("Identity", 1), X, Y, [zeros(f"t{k}", 1) for k in range(20_000)]), ""),
    "inputs": (lambda: model(row("Identity", 1), [*X, *(port(f"x{k}", [1]) for k in range(20_000))], Y), ""),
    "axes of an input": (lambda: model(row("Identity", 1), [port("x", [1] * 20_000)], Y), "at most 32 axes"),
    "axes of a tensor": (lambda: bare([1] * 20_000, 1, (9, 2, bytes(4))), "at most 32 axes"),
    "numbers in an attribute": (
        lambda: model([node("Transpose", "x", "y", perm=list(range(100_000)))], [], Y, [zeros("x", 1)]),
        "a list of at most 32 integers is expected; got 100,000",
    ),
    "packed numbers in an attribute": (
        lambda: model(
            [[*node("Transpose", "x", "y"), *within(5, [*text(1, "perm"), (8, 2, bytes(2**22)), (20, 0, 7)])]],
            [],
            Y,
            [zeros("x", 1)],
        ),
        "fields",
    ),
    "fields": (lambda: of_raw(b"\x0a\x00" * 300_000), "fields"),
    "empty nodes": (lambda: of_raw(b"\x0a\x00" * 130_000), ""),
    "empty tensors": (lambda: of_raw(b"\x2a\x00" * 130_000), ""),
    "empty inputs": (lambda: of_raw(b"\x5a\x00" * 130_000), ""),
    "fields of no use": (lambda: of_raw(b"\x98\x3f\x00" * 200_000), ""),
    "operator sets": (lambda: message([(1, 0, 8), (7, 2, b"\x12\x00"), *[(8, 2, b"")] * 130_000]), ""),
    "integers of one byte": (lambda: bare([2**25], INT64, (7, 2, bytes(2**25))), "must be stored in raw_data"),
    "small integers of one byte": (lambda: bare([2**25], 6, (5, 2, bytes(2**25))), "must be stored in raw_data"),
    "halves of one byte": (lambda: bare([2**25], 10, (5, 2, bytes(2**25))), "must be stored in raw_data"),
    "integers that go on": (lambda: bare([2], INT64, (7, 2, b"\x00" + b"\xff" * 2**22 + b"\x00")), "must end"),
    "messages within messages": (lambda: of_raw(DEEP), "must end at byte"),
    "graphs within graphs": (lambda: nested(2000), "graphs within graphs may be 8 deep"),
}


@pytest.mark.parametrize(("make", "words"), MANY.values(), ids=MANY.keys())
def test_many_of_something_are_read_in_time_or_refused(
    make: Bomb, words: str, worker: hostile.Worker, tmp_path: Path
) -> None:
    outcome, said = loaded(worker, tmp_path / "bomb", make())
    assert words in said
    assert outcome == "loaded" or said


# ---------------------------------------------------------------------- what is refused, whatever its size


def with_attribute(op: str, *attributes: list[Field]) -> bytes:
    return model([[*node(op, "x", "y"), *within(5, *attributes)]], X, Y)


def external(location: str) -> bytes:
    """A tensor whose numbers are in another file."""
    where = within(13, [*text(1, "location"), *text(2, location)])
    return bare([1], 1, (14, 0, 1), *where)


THEN = message(graph([node("Identity", "x", "z")], [], [port("z", None)]))
NO_MODELS: dict[str, tuple[Bomb, str]] = {
    "a cycle": (
        lambda: model([node("Add", "x b", "a"), node("Add", "a x", "b"), node("Identity", "b", "y")], X, Y),
        r"node 'a' \(Add\) reads 'b', which must be computed before; it is not",
    ),
    "a node that reads itself": (lambda: model([node("Add", "x y", "y")], X, Y), "reads 'y', which must be computed"),
    "an output that nothing computes": (lambda: model([node("Tanh", "x", "z")], X, Y), "output 'y' must be computed"),
    "no outputs": (lambda: model([node("Tanh", "x", "z")], X), "a graph must have outputs"),
    "a name for two values": (
        lambda: model([node("Tanh", "x", "y"), node("Relu", "x", "y")], X, Y),
        r"an output of node 'y' \(Relu\) must have a name of its own; got 'y'",
    ),
    "a name for two tensors": (
        lambda: model([node("Tanh", "x", "y")], [], Y, [zeros("x", 1), zeros("x", 2)]),
        "an initializer must have a name of its own; got 'x'",
    ),
    "a name for two inputs": (lambda: model([node("Tanh", "x", "y")], [*X, *X], Y), "an input must have a name of its"),
    "a name for two outputs": (lambda: model([node("Tanh", "x", "y")], X, [*Y, *Y]), "an output must have a name of"),
    "an input without a name": (lambda: model([node("Tanh", "x", "y")], [*X, port("", [1])], Y), "got ''"),
    "an attribute twice": (
        lambda: with_attribute("Elu", attribute("alpha", 1.0), attribute("alpha", 2.0)),
        "an attribute must have a name of its own; got 'alpha'",
    ),
    "an attribute that is of no use": (lambda: model([node("Neg", "x", "y", beta=1.0)], X, Y), "no attribute 'beta'"),
    "an attribute of another kind": (lambda: model([node("Elu", "x", "y", alpha="1")], X, Y), "must be of kind float"),
    "an attribute that is a graph": (lambda: model([node("Elu", "x", "y", alpha=THEN)], X, Y), "it is of type 5"),
    "If without a branch": (
        lambda: model([node("If", "x", "y", then_branch=THEN)], X, Y),
        r"node 'y' \(If\): attribute else_branch must be given; it is missing",
    ),
    "a Loop of no state": (lambda: model([node("Loop", "- - x", "y", body=THEN)], X, Y), "must take the number of the"),
    "an operator that holds graphs": (
        lambda: model([node("SequenceMap", "x", "y", body=THEN)], X, Y),
        "'SequenceMap' is no operator that minirnn runs",
    ),
    "a made-up operator": (
        lambda: model([node("Evil\n" + "x" * 1000, "x", "y")], X, Y),
        r"node 'y' \('Evil\\nx+'\): 'Evil\\nx+'\.\.\. is no operator that minirnn runs$",
    ),
    "an operator of another domain": (
        lambda: model([[*node("Tanh", "x", "y"), *text(7, "com.evil")]], X, Y),
        "is of the domain 'com.evil'; only the standard's own operators are run",
    ),
    "no such operator set": (lambda: model([node("Tanh", "x", "y")], X, Y, opset=0), "must be from 1 to 28; it is 0"),
    "an older operator set": (
        lambda: model([node("TopK", "x", "y")], X, Y, opset=6),
        "needs operator set 7; the model",
    ),
    "a newer operator set": (lambda: model([node("Tanh", "x", "y")], X, Y, opset=29), "from 1 to 28; it is 29"),
    "an operator of a later set": (lambda: model([node("Gelu", "x", "y")], X, Y), "needs operator set 20; the model"),
    "too few inputs": (lambda: model([node("Add", "x", "y")], X, Y), "must have from 2 to 2 inputs"),
    "an input that is left out": (lambda: model([node("Max", "x - x", "y")], X, Y), "must have from 1 to 65536 inputs"),
    "too many outputs": (lambda: model([node("Tanh", "x", "y z")], X, Y), "must have from 1 to 1 outputs; it has 2"),
    "a tensor in another file": (
        lambda: external("weights.bin"),
        r"'x' is in another file, 'weights.bin': give the path",
    ),
    "a tensor in any file": (lambda: external("/etc/passwd"), r"'x' must be in a file of the model's own folder"),
    "a tensor in a file above": (
        lambda: external("../../weights.bin"),
        r"'x' must be in a file of the model's own folder",
    ),
    "texts of nine megabytes": (lambda: model([node("Tanh", "x" * 9_000_000, "y")], X, Y), "all texts of a file must"),
    "a tensor of text": (lambda: bare([1], 8, *text(6, "abc")), "got string"),
    "an input of text": (lambda: model([node("Identity", "x", "y")], [port("x", [1], 8)], Y), "'x': element types"),
    "a tensor of complex numbers": (lambda: bare([1], 14, (9, 2, bytes(8))), "got complex64"),
    "a tensor of nothing": (lambda: bare([1], 0, (9, 2, bytes(4))), "got none"),
    "a negative size": (lambda: bare([2**64 - 1], 1, (9, 2, b"")), "must have a size from 0"),
    "sizes whose product overflows": (lambda: bare([2**32, 2**32], 1, (9, 2, b"")), "must have a size from 0"),
    "sizes of which one is 0": (lambda: bare([2**40, 2**40, 0], 1, (9, 2, b"")), "must have a size from 0"),
    "too few numbers": (lambda: bare([2], 1, (9, 2, bytes(7))), r"shape \(2,\) must hold 2 numbers; it holds 7 bytes"),
    "too many numbers": (lambda: bare([2], 1, (4, 2, bytes(12))), r"must hold 2 numbers; it holds 3"),
    "numbers twice": (lambda: bare([1], 1, (4, 2, bytes(4)), (9, 2, bytes(4))), "must be stored in float_data or raw"),
    "numbers of another type": (lambda: bare([1], 1, (7, 2, b"\x00")), "must be stored in float_data or raw_data"),
    "a sparse tensor": (
        lambda: of_raw(message([*graph([node("Tanh", "x", "y")], X, Y), (15, 2, b"")])),
        "weights must be dense",
    ),
    "two graphs": (
        lambda: message([(1, 0, 8), *within(7, graph(row("Tanh", 1), X, Y)) * 2, *within(8, [(2, 0, 17)])]),
        "ModelProto.graph must come once",
    ),
    "no graph": (lambda: message([(1, 0, 8), *within(8, [(2, 0, 17)])]), "must have a graph; there is none"),
    "no operator set": (lambda: message([(1, 0, 8), *within(7, graph(row("Tanh", 1), X, Y))]), "it names 0"),
    "a shape that is no text": (lambda: model([node("Tanh", "x", "y")], [port("x", ["\udcff"])], Y), "text in UTF-8"),
    "a group": (lambda: b"\x08\x08\x3b\x00", "its encoding is 3"),
    "an end in a message": (lambda: b"\x08\x08\x3a\x7f\x00", "must end at byte 5, where what holds it ends"),
    "a Scan without a graph": (lambda: model([node("Scan", "x", "y", num_scan_inputs=1)], X, Y), "body must be given"),
    "a Scan of a text": (
        lambda: model([node("Scan", "x", "y", body="b", num_scan_inputs=1)], X, Y),
        "attribute body must be of kind Body",
    ),
    "a Scan of no sequence": (
        lambda: model([node("Scan", "x x", "e y", body=body(), num_scan_inputs=0)], X, Y),
        "there must be from 1 to 2 sequences",
    ),
    "a Scan of more sequences than inputs": (
        lambda: model([node("Scan", "x x", "e y", body=body(), num_scan_inputs=3)], X, Y),
        "num_scan_inputs is 3",
    ),
    "a Scan of another number of values": (
        lambda: model([node("Scan", "x x x", "e f y", body=body(), num_scan_inputs=1)], X, Y),
        "the graph within must have 3 inputs and 3 outputs, as the node; it has 2 and 2",
    ),
    "a Scan with a direction too many": (
        lambda: model([node("Scan", "x x", "e y", body=body(), num_scan_inputs=1, scan_input_directions=[0, 1])], X, Y),
        "scan_input_directions must have 1 numbers; it has 2",
    ),
    "a Scan that reads what is not there": (
        lambda: model([node("Scan", "x x", "e y", body=body(0, node("Tanh", "q", "r")), num_scan_inputs=1)], X, Y),
        r"node 'e' \(Scan\): node 'r' \(Tanh\) reads 'q', which must be computed before",
    ),
    "a Scan with a name from around it": (
        lambda: model([node("Scan", "x x", "e y", body=body(0, node("Tanh", "h0", "x")), num_scan_inputs=1)], X, Y),
        r"an output of node 'x' \(Tanh\) must have a name of its own",
    ),
    "a Scan with an unknown operator": (
        lambda: model([node("Scan", "x x", "e y", body=body(0, node("Evil", "h0", "r")), num_scan_inputs=1)], X, Y),
        r"node 'e' \(Scan\): node 'r' \(Evil\): 'Evil' is no operator",
    ),
}


@pytest.mark.parametrize(("make", "words"), NO_MODELS.values(), ids=NO_MODELS.keys())
def test_what_is_no_model_is_refused_in_one_sentence(make: Bomb, words: str) -> None:
    with pytest.raises(ModelFileError, match=words) as caught:
        read(make())
    said = str(caught.value)
    assert said.startswith("the model: ")
    assert "\n" not in said
    assert len(said) < 700


# ---------------------------------------------------------------------- and when it is run

STATE = zeros("h", 3)
RUNS: dict[str, tuple[Bomb, str]] = {
    "a state that grows": (
        lambda: model(
            [node("Scan", "h x", "e y", body=grown("Concat", axis=0), num_scan_inputs=1)],
            [port("x", ["T", 3])],
            Y,
            [STATE],
        ),
        r"node 'e' \(Scan\): state 0 must stay of shape \(3,\) float32; it becomes \(6,\) float32",
    ),
    "a state of another type": (
        lambda: model(
            [node("Scan", "h x", "e y", body=grown("Equal"), num_scan_inputs=1)], [port("x", ["T", 3])], Y, [STATE]
        ),
        r"state 0 must stay of shape \(3,\) float32; it becomes \(3,\) bool",
    ),
    "sequences of two lengths": (
        lambda: model(
            [node("Scan", "x w", "a y", body=pair(), num_scan_inputs=2)], [port("x", ["T", 3])], Y, [zeros("w", 5, 3)]
        ),
        "sequences must have one length, above 0; they have",
    ),
    "an index outside": (
        lambda: model([node("Gather", "w x", "y")], [port("x", ["T"], INT64)], Y, [zeros("w", 2)]),
        "indices must be from -2 to 1; they are from 0 to 2",
    ),
    "shapes that do not fit": (
        lambda: model([node("Add", "x w", "y")], [port("x", ["T"])], Y, [zeros("w", 5)]),
        r"node 'y' \(Add\) cannot be run: shape mismatch",
    ),
    "types that do not fit": (
        lambda: model([node("Add", "x w", "y")], [port("x", ["T"])], Y, [ints("w", 5)]),
        "operands must have one dtype; they have float32, int64",
    ),
    "an output of another type": (
        lambda: model([node("Shape", "x", "y")], [port("x", ["T"])], Y),
        "output 'y' of any shape float32 must be as declared; it is int64",
    ),
}


def grown(op: str, **attributes: Any) -> bytes:
    """A step after which the state is another."""
    return message(
        graph(
            [node(op, "s z", "n", **attributes), node("Identity", "n", "o")],
            [port("s", None), port("z", None)],
            [port("n", None), port("o", None)],
        )
    )


def pair() -> bytes:
    """Two sequences, handed through."""
    return message(
        graph(
            [node("Tanh", "p", "r"), node("Tanh", "q", "s")],
            [port("p", None), port("q", None)],
            [port("r", None), port("s", None)],
        )
    )


@pytest.mark.parametrize(("make", "words"), RUNS.values(), ids=RUNS.keys())
def test_what_cannot_be_run_says_which_node_and_why(make: Bomb, words: str) -> None:
    graph_ = read(make())
    feed = {}
    for one in graph_.inputs:
        shape = [n if isinstance(n, int) else 3 for n in one.shape or ()]
        feed[one.name] = (np.arange(np.prod(shape, dtype=int)) % 3).reshape(shape).astype(one.dtype)
    with pytest.raises(ModelFileError, match=words):
        graph_.run(feed)


ODD_AXES: dict[str, tuple[list[list[Field]], list[list[Field]]]] = {
    "Transpose": ([node("Transpose", "x", "a", perm=[0, 1, 7])], []),
    "Squeeze": ([node("Squeeze", "h k", "a")], [ints("k", 0, 1, 2)]),
    "Squeeze of nothing": ([node("Squeeze", "h k", "b"), node("Squeeze", "b k", "a")], [ints("k", 0, 1, 2)]),
    "Gather": ([node("Gather", "h k", "a", axis=9)], [tensor("k", np.int64(0))]),
    "Slice": ([node("Slice", "x s e k s", "a")], [ints("s", -1), ints("e", -(2**63)), ints("k", 9)]),
    "Slice of states": ([node("Slice", "h s e k", "a")], [ints("s", 0), ints("e", 1), ints("k", 9)]),
    "Split": ([node("Split", "h", "a b", axis=9)], []),
    "Softmax": ([node("Softmax", "x", "a", axis=9)], []),
}


@pytest.mark.parametrize(("nodes", "tensors"), ODD_AXES.values(), ids=ODD_AXES.keys())
def test_axes_that_are_not_there_make_no_layer(
    nodes: list[list[Field]], tensors: list[list[Field]], tmp_path: Path
) -> None:
    """The graph is read: whether an axis is there shows when it is run."""
    last = [node("RNN", "x W R - - a", "r"), node("Squeeze", "r one", "y")]
    inputs = [port("x", ["T", "B", 1]), port("h", [1, "B", 1])]
    (tmp_path / "m.onnx").write_bytes(model([*nodes, *last], inputs, Y, [*WEIGHTS, *tensors]))
    assert isinstance(minirnn.load(tmp_path / "m.onnx"), Graph)


def test_who_trusts_a_graph_may_give_it_room_and_time() -> None:
    graph_ = read(on_ones("Tanh", 2**24))
    assert isinstance(graph_, Graph)
    with pytest.raises(ModelFileError, match=r"results must take at most 41,943,... bytes together"):
        graph_.run({})
    assert graph_.run({}, limit=2**30)["y"].shape == (2**24,)
    steps, shape = filled(20_000, 1, 1)
    slow = read(model([steps, node("RNN", "x W R", "y")], [], Y, [*WEIGHTS, shape]), backend="numpy")
    with pytest.raises(ModelFileError, match="takes longer than goes with its weights and this input"):
        slow.run({})
    assert slow.run({}, limit=2**30)["y"].shape == (20_000, 1, 1, 1)


@pytest.mark.parametrize("kept", [4, 16])
def test_results_that_are_kept_are_counted_together(kept: int) -> None:
    """Each takes less than a tenth of the room: four fit in it, sixteen that are added up at last do not, and what is
    done with is not counted."""
    made, shape = filled(2**20, to="ones")
    names, sums = [f"v{k}" for k in range(kept)], ["v0", *(f"s{k}" for k in range(2, kept)), "y"]
    nodes = [made, *(node("Add", "ones x", name) for name in names)]
    nodes += [node("Add", f"{sums[k]} {names[k + 1]}", sums[k + 1]) for k in range(kept - 1)]
    many, feed = read(model(nodes, [port("x", [1])], Y, [shape])), {"x": np.ones(1, np.float32)}
    if kept == 4:
        np.testing.assert_array_equal(many.run(feed)["y"], np.full(2**20, 8, np.float32))
        chain = [made, node("Add", "ones x", "v1"), *row("Tanh", 20)[1:]]
        assert read(model(chain, [port("x", [1])], Y, [shape])).run(feed)["y"].shape == (2**20,)
    else:
        with pytest.raises(ModelFileError, match=r"results must take at most [\d,]+ bytes together"):
            many.run(feed)
