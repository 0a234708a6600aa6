"""ONNX files whose structure is hostile: each is small, valid to its last byte, and asks for far more than it holds.

``NAMED`` has one for every way that was thought of.  ``structure`` draws others: arrays of odd shapes, some of them
empty, go through operators in a row.  ``hostile.py`` loads what it draws beside the files whose bytes are spoilt.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from mutations import Field, message
from onnx_bytes import FLOAT, INT64, KINDS, attribute, graph, model, node, port, tensor, text, within

Y = [port("y", None)]
X = [port("x", ["T", "B", 3])]
SIZES = [0, 0, 0, 1, 1, 2, 3, 7, 32, 1000, 2**12, 2**16, 2**20, 2**22, 2**31, 2**40]
OPSET = 18


def floats(name: str, *shape: int, value: float = 0) -> list[Field]:
    return tensor(name, np.full(shape, value, np.float32))


def ints(name: str, *values: int) -> list[Field]:
    return tensor(name, np.array(values, np.int64))


def filled(*shape: int, to: str = "x", kind: Any = np.float32) -> list[list[Field]]:
    """Nodes that make an array of ones of that shape."""
    return [
        node("Constant", "", f"{to}_shape", value=tensor("", np.array(shape, np.int64))),
        node("ConstantOfShape", f"{to}_shape", to, value=tensor("", np.ones(1, kind))),
    ]


def on(shape: tuple[int, ...], op: str, inputs: str = "x", *more: list[Field], **attributes: Any) -> bytes:
    """A node that reads ones of that shape."""
    return model([*filled(*shape), node(op, inputs, "y", **attributes)], [], Y, more, opset=OPSET)


RNN = [node("RNN", "x W R", "r h"), node("Squeeze", "r one", "y")]
WEIGHTS = [floats("W", 1, 2, 3), floats("R", 1, 2, 2), ints("one", 1)]


def beside(*nodes: list[Field], inputs: tuple[list[Field], ...] = (), tensors: tuple[list[Field], ...] = ()) -> bytes:
    """A chain of one layer, with other nodes in the graph."""
    return model([*RNN, *nodes], [*X, *inputs], Y, [*WEIGHTS, *tensors])


def doubled(count: int) -> list[list[Field]]:
    """Final states one after another, twice as many at each node."""
    names = ["h", *(f"s{k}" for k in range(count))]
    return [node("Concat", f"{a} {a}", b, axis=0) for a, b in pairwise(names)]


def scanned(shape: tuple[int, ...], *nodes: list[Field], tensors: tuple[list[Field], ...] = ()) -> bytes:
    """A Scan over ones of that shape; its nodes make b of a, or hand a through."""
    last = "b" if nodes else "a"
    body = message(graph(nodes, [port("a", None)], [port(last, None)], tensors))
    return model([*filled(*shape), node("Scan", "x", "y", body=body, num_scan_inputs=1)], [], Y, opset=OPSET)


def reversed_one_hot(depth: int) -> bytes:
    """One-hot vectors that a node reads in reverse: as layers, an embedding of depth times depth."""
    nodes = [
        node("OneHot", "x d v", "o"),
        node("RNN", "o W R", "r", direction="reverse"),
        node("Squeeze", "r one", "y"),
    ]
    values = tensor("v", np.array([0, 1], np.float32))
    tensors = [floats("W", 1, 1, depth), floats("R", 1, 1, 1), ints("one", 1), ints("d", depth), values]
    return model(nodes, [port("x", ["T", "B"], INT64)], Y, tensors)


def with_states(count: int) -> bytes:
    """Recurrent nodes, each of which has an input of a million numbers for its initial state."""
    names = ["x", *(f"v{k}" for k in range(1, count)), "y"]
    nodes = []
    for k in range(count):
        nodes += [
            node("RNN", f"{names[k]} W{min(k, 1)} R - - h{k}", f"r{k}"),
            node("Squeeze", f"r{k} one", names[k + 1]),
        ]
    states = [port(f"h{k}", [1, 1, 2**20]) for k in range(count)]
    weights = [floats("W0", 1, 2, 3), floats("W1", 1, 2, 2), floats("R", 1, 2, 2), ints("one", 1)]
    return model(nodes, [*X, *states], Y, weights)


def stored(count: int, kind: int, *numbers: Field) -> bytes:
    """A tensor whose numbers come one by one."""
    about: list[Field] = [(1, 0, count), (2, 0, kind), *text(8, "x"), *numbers]
    return model([node("Identity", "x", "y")], [], [port("y", None, kind)], [about])


def padded(value: int) -> bytes:
    """An integer in ten bytes, most of which say nothing."""
    return bytes([value >> 7 * k & 0x7F | 0x80 for k in range(9)]) + bytes([value >> 63])


def of_raw(inside: bytes) -> bytes:
    return message([(1, 0, 8), (7, 2, inside), *within(8, [(2, 0, 17)])])


def speaking(vocabulary: str) -> bytes:
    """A layer with what minirnn writes beside it."""
    entries = [[*text(1, "vocabulary"), *text(2, vocabulary)], [*text(1, "task"), *text(2, "next")]]
    about = within(7, graph(RNN, X, Y, WEIGHTS)) + within(8, [(2, 0, 17)]) + within(14, *entries)
    return message([(1, 0, 8), *text(2, "minirnn"), *about])


def scaled(count: int, **factors: float) -> bytes:
    """Products with one matrix, each with its own copy of it if one is made."""
    nodes = [node("Gemm", "x w c", f"g{k}" if k else "y", **factors) for k in range(count)]
    return model(nodes, [port("x", ["B", 1])], Y, [floats("w", 1, 2**18), floats("c", 2**18)])


BIG = 2_000_000
ONE = ints("one", 1)
NAMED: dict[str, Callable[[], bytes]] = {
    # ------------------------------------------------------------ empty arrays of which something large is made
    **{
        f"{op} over an axis of size 0": partial(on, (2**31, 0), op, "x one", ONE)
        for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean")
    },
    "Softmax over an axis of size 0": lambda: on((2**30, 0), "Softmax", axis=1),
    "CumSum of an empty array": lambda: on((2**30, 0), "CumSum", "x k", ints("k", 1)),
    "TopK of none": lambda: on((2**30, 0), "TopK", "x k", ints("k", 0), axis=1),
    "OneHot of no index": lambda: on((2**30, 0), "OneHot", "x d v", ints("d", 1000), floats("v", 2)),
    "ReverseSequence of empty steps": lambda: on(
        (2**20, 2**12, 0), "ReverseSequence", "x l", tensor("l", np.full(2**12, 3)), batch_axis=1, time_axis=0
    ),
    "GatherElements of an empty array": lambda: model(
        [*filled(2**30, 0), *filled(2**30, 0, to="i", kind=np.int64), node("GatherElements", "x i", "y", axis=1)], [], Y
    ),
    "GatherND of an empty array": lambda: model(
        [*filled(2**30, 0), *filled(2**30, 0, 1, to="i", kind=np.int64), node("GatherND", "x i", "y", batch_dims=1)],
        [],
        Y,
    ),
    "a product over an axis of size 0": lambda: model(
        [*filled(2**15, 0), *filled(0, 2**16, to="w"), node("MatMul", "x w", "y")], [], Y
    ),
    "Max of what is large before it is empty": lambda: model(
        [
            *filled(2**14, 1, 1, to="a"),
            *filled(1, 2**14, 1, to="b"),
            *filled(1, 1, 0, to="c"),
            node("Max", "a b c", "y"),
        ],
        [],
        Y,
    ),
    "an empty array in another shape": lambda: model(
        [node("Reshape", "x s", "q", allowzero=1), node("ReduceSum", "q one", "y")],
        [],
        Y,
        [floats("x", 0), ints("s", 2**31, 0), ONE],
        opset=OPSET,
    ),
    "an empty tensor of many rows": lambda: model(
        [node("TopK", "x k", "y i")], [], Y, [tensor("x", np.zeros(0, np.float32), dims=[2**31, 0]), ints("k", 0)]
    ),
    "an RNN over steps of no rows": lambda: model([*filled(2**22, 0, 3), node("RNN", "x W R", "y")], [], Y, WEIGHTS),
    # ------------------------------------------------------------ loops and lists of Python's
    "a Scan of no nodes": lambda: scanned((2**22,)),
    "a Scan of no nodes over empty steps": lambda: scanned((2**31, 0)),
    "a Scan of one node over empty steps": lambda: scanned((2**31, 0), node("Identity", "a", "b")),
    "a Scan of many constants": lambda: scanned(
        (1500, 1), node("Identity", "a", "b"), tensors=tuple(floats(f"c{k}", 1) for k in range(15_000))
    ),
    "a Scan of a node of many operands": lambda: scanned(
        (1000, 0), node("Concat", " ".join(["a"] * 50_000), "b", axis=0)
    ),
    "a Scan of a node of many outputs": lambda: scanned(
        (1000, 0), node("Split", "a", " ".join(["b", *(f"q{k}" for k in range(50_000))]), axis=0)
    ),
    "axes from a large array": lambda: model(
        [*filled(BIG, to="k", kind=np.int64), *(node("Squeeze", "x k", f"v{n}" if n else "y") for n in range(50))],
        [],
        Y,
        [floats("x", 1, 1)],
    ),
    "slices from large arrays": lambda: model(
        [
            *filled(BIG // 4, to="k", kind=np.int64),
            *(node("Slice", "x k k k k", f"v{n}" if n else "y") for n in range(50)),
        ],
        [],
        Y,
        [floats("x", 1, 1)],
    ),
    "a shape from a large array": lambda: model(
        [*filled(BIG, to="k", kind=np.int64), *(node("Reshape", "x k", f"v{n}" if n else "y") for n in range(50))],
        [],
        Y,
        [floats("x", 1, 1)],
    ),
    "many outputs of many nodes": lambda: model(
        [
            *(node("Split", "x", " ".join(f"q{j}_{k}" for k in range(60))) for j in range(1900)),
            node("Identity", "x", "y"),
        ],
        [],
        Y,
        [floats("x", 60)],
    ),
    "reductions over short rows": lambda: model(
        [*filled(2**20, 2), *(node("ReduceMax", "x", f"r{k}" if k else "y", axes=[1]) for k in range(2000))], [], Y
    ),
    # ------------------------------------------------------------ what is looked for in a graph, before it is run
    "final states doubled": lambda: beside(*doubled(40)),
    "final states doubled, as an output": lambda: model([*RNN, *doubled(20)], X, [*Y, port("s19", None)], WEIGHTS),
    "final states of many rows in many outputs": lambda: model(
        [*RNN, *doubled(9), *(node("Identity", "s8", f"i{k}") for k in range(4000))],
        X,
        [*Y, *(port(f"i{k}", None) for k in range(4000))],
        WEIGHTS,
    ),
    "a scaled matrix for each node": lambda: scaled(2000, alpha=2.0),
    "a scaled bias for each node": lambda: scaled(2000, beta=2.0),
    "Max with a large constant": lambda: beside(
        *(node("Max", "l c", f"m{k}") for k in range(4000)),
        inputs=(port("l", ["B"], INT64),),
        tensors=(tensor("c", np.ones(2 * BIG, np.int64)),),
    ),
    "Where with large zeros": lambda: beside(
        node("GreaterOrEqual", "t l", "p"),
        *(node("Where", "p c y", f"m{k}") for k in range(3000)),
        inputs=(port("l", ["B"], INT64),),
        tensors=(ints("t", 0), floats("c", BIG)),
    ),
    "Expand of large zeros": lambda: beside(
        *(node("Expand", "c s", f"m{k}") for k in range(3000)),
        inputs=(port("s", ["B"], INT64),),
        tensors=(floats("c", BIG),),
    ),
    "initial states of large zeros": lambda: beside(
        *(node("RNN", "x W R - - c", f"m{k}") for k in range(2000)), tensors=(floats("c", 1, 1, BIG),)
    ),
    "axes that are a large constant": lambda: beside(
        *(node("Squeeze", "r c", f"m{k}") for k in range(1000)), tensors=(tensor("c", np.ones(BIG // 2, np.int64)),)
    ),
    "OneHot of many values": lambda: model(
        [
            *(node("OneHot", "x d v", f"o{k}") for k in range(50)),
            node("RNN", "o0 W R", "r"),
            node("Squeeze", "r one", "y"),
        ],
        [port("x", ["T", "B"], INT64)],
        Y,
        [*WEIGHTS, ints("d", 3), floats("v", BIG)],
    ),
    "an embedding of one-hot vectors": lambda: reversed_one_hot(8000),
    "an embedding of a terabyte": lambda: reversed_one_hot(500_000),
    "work that no output needs": lambda: model(
        [*RNN, *(node("Erf", "x", f"e{k}") for k in range(500))], [port("x", [1, 2**18, 3])], Y, WEIGHTS
    ),
    "inputs that could be states": lambda: beside(inputs=tuple(port(f"g{k}", ["a", "b", "c"]) for k in range(8000))),
    "large inputs of states": lambda: with_states(60),
    # ------------------------------------------------------------ memory that is counted twice, or not at all
    "constants in one memory": lambda: model(
        [
            *(node("Identity", "w", f"v{k}") for k in range(400)),
            *(node("Add", f"v{k} x", f"a{k}") for k in range(9)),
            *(node("Mul", f"v{k} x", f"b{k}") for k in range(400)),
            node("Expand", "x s", "y"),
        ],
        [port("x", [1])],
        Y,
        [floats("w", 2**16), ints("s", 60_000_000)],
    ),
    "constants that were widened, and results": lambda: model(
        [node("Cast", "w", f"v{k}", to=11) for k in range(4000)],
        [],
        [port(f"v{k}", None, 11) for k in range(4000)],
        [floats("w", 250_000)],
    ),
    "one constant as many outputs": lambda: model(
        [node("Identity", "w", f"v{k}") for k in range(4000)],
        [],
        [port(f"v{k}", None) for k in range(4000)],
        [floats("w", 250_000)],
    ),
    # ------------------------------------------------------------ the file itself
    "fields whose headers are long": lambda: of_raw((padded(2003 << 3) + padded(1)) * 260_000),
    "nodes whose headers are long": lambda: of_raw((padded(1 << 3 | 2) + padded(0)) * 130_000),
    "integers one by one": lambda: stored(120_000, INT64, *[(7, 0, 5)] * 120_000),
    "runs of one integer": lambda: stored(120_000, INT64, *[(7, 2, b"\x05")] * 120_000),
    "floats one by one": lambda: stored(120_000, FLOAT, *[(4, 5, bytes(4))] * 120_000),
    "a long text in an attribute": lambda: model(
        [[*node("Gelu", "x", "y"), *within(5, attribute("approximate", "\U0001f600" + "a" * 30_000_000))]],
        X,
        Y,
        opset=20,
    ),
    "a vocabulary of lists": lambda: speaking("[" + "[]," * 2_000_000 + "[]]"),
    "a vocabulary of dicts": lambda: speaking("[" + "{}," * 2_000_000 + "{}]"),
    "a vocabulary within itself": lambda: speaking("[" * 200_000),
}


# ---------------------------------------------------------------------- drawn


def structure(rng: Random) -> bytes:
    """A graph of a few operators on arrays of odd shapes, with no inputs: loading it, or running it, makes them.

    Of most arrays one axis is long and one is empty or short; the others read by a node have shapes that go with it.
    """
    kind, shape = rng.choice([np.float32, np.float32, np.float32, np.float64, np.int64]), drawn_shape(rng)
    arrays = {
        "a": shape,
        "b": [n if rng.random() < 0.7 else 1 for n in shape],
        "w": [*shape[:-2], shape[-1], rng.choice([0, 1, 2**16])],
        "i": [n if rng.random() < 0.8 else 0 for n in shape],
        "n": [*shape[: rng.randrange(len(shape))], rng.choice([0, 1, 2**20]), 1],
        "l": [shape[1]],
    }
    nodes: list[list[Field]] = []
    tensors: list[list[Field]] = []
    used: set[str] = set()
    x = "a"
    for k in range(rng.choice([1, 1, 2, 3])):
        op = rng.choice(list(DRAWN))
        read, attributes = DRAWN[op]
        lists = {
            "axes": rng.sample(range(-len(shape), len(shape)), 1),
            "shape": rng.sample([n for n in SIZES if n <= 2**31], 2) + [0] * rng.randrange(2),
            "count": [rng.choice([0, 1, 3, 2**20])],
            "size": [rng.choice(SIZES)],
        }
        name = read.split()[-1] if read.split()[-1] in lists else "axes"
        tensors.append(ints(f"c{k}", *lists[name]))
        one = tensor(f"o{k}", np.array(rng.choice([0, 1, 2**22, 2**40]), np.int64))
        tensors += [one, tensor(f"v{k}", np.zeros(2, kind)), floats(f"W{k}", 1, 3, max(1, shape[-1] % 64))]
        words = {"x": x, name: f"c{k}", "one": f"o{k}", "values": f"v{k}", "W": f"W{k}"}
        used |= {words.get(word, word) for word in read.split()}
        options = {word: value(rng, len(shape)) for word, value in attributes.items()}
        nodes.append(node(op, " ".join(words.get(word, word) for word in read.split()), f"y{k}", **options))
        x = f"y{k}"
    before: list[list[Field]] = []
    for name in sorted(arrays.keys() & used):
        sizes, dtype = arrays[name], np.int64 if name in "inl" else kind
        if 0 in sizes and rng.random() < 0.3:
            tensors.append(tensor(name, np.zeros(0, dtype), dims=sizes))
        else:
            before += filled(*sizes, to=name, kind=dtype)
    return model([*before, *nodes], [], [port(x, None, KINDS[np.dtype(kind).name])], tensors, opset=OPSET)


def drawn_shape(rng: Random) -> list[int]:
    """A long axis, an empty or short one, and sometimes others."""
    short = rng.choice([0, 0, 0, 0, 1, 2])
    shape = [rng.choice([2**12, 2**16, 2**20, 2**22] + [2**31] * (not short)), short]
    shape += [rng.choice([0, 1, 2, 3]) for _ in range(rng.choice([0, 0, 1, 2]))]
    rng.shuffle(shape)
    return shape


def any_axis(rng: Random, rank: int) -> int:
    return rng.randrange(-rank, rank)


def either(rng: Random, rank: int) -> int:
    return rng.randrange(2)


def nothing_done(rng: Random, rank: int) -> bytes:
    """The graph of a Scan: a step is handed through, or goes through a node."""
    inner = [] if rng.random() < 0.5 else [node("Identity", "p", "q")]
    return message(graph(inner, [port("p", None)], [port("q" if inner else "p", None)]))


def fixed(value: Any) -> Callable[[Random, int], Any]:
    return lambda *_: value


# op: what it reads, and its attributes; x is what the node before it made
DRAWN: dict[str, tuple[str, dict[str, Callable[[Random, int], Any]]]] = {
    **dict.fromkeys(("Add", "Div", "Less"), ("x b", {})),
    **dict.fromkeys(("Neg", "Shape", "Size", "Identity", "Transpose", "Abs", "Relu", "Erf", "Softplus"), ("x", {})),
    **dict.fromkeys(("Max", "Min"), ("x b a", {})),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Flatten", "Split"), ("x", {"axis": any_axis})),
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean"), ("x axes", {"keepdims": either})),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), ("x axes", {})),
    "Reshape": ("x shape", {"allowzero": fixed(1)}),
    "Expand": ("x shape", {}),
    "ConstantOfShape": ("shape", {}),
    "Cast": ("x", {"to": fixed(11)}),
    "MatMul": ("x w", {}),
    "Gemm": ("x w", {"transA": either}),
    "Concat": ("x b x", {"axis": any_axis}),
    "Gather": ("x i", {"axis": any_axis}),
    "GatherElements": ("x i", {"axis": any_axis}),
    "GatherND": ("x n", {"batch_dims": either}),
    "OneHot": ("i one values", {"axis": any_axis}),
    "CumSum": ("x axes", {"reverse": either}),
    "TopK": ("x count", {"axis": any_axis}),
    "ReverseSequence": ("x l", {"batch_axis": fixed(1), "time_axis": fixed(0)}),
    "Slice": ("x axes axes", {}),
    "Range": ("one size size", {}),
    "RNN": ("x W W", {}),
    "Scan": ("x", {"num_scan_inputs": fixed(1), "body": nothing_done}),
}
