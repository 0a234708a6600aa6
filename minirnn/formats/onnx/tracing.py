"""What each value of a graph is to a chain of layers, found by following the graph without running it.

``Transpose`` moves the letters of a value's axes, ``Squeeze`` takes a d away, ``Reshape`` makes an F of d and H; a
layer is found where a node stands on letters that its layer has.  What is found may still be wrong, where a shape is
computed in ways that are not followed: ``chain.py`` holds the layers against the graph, in numbers.
"""

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from minirnn.activations import Function
from minirnn.formats.onnx.computing import FUNCTIONS, function_of
from minirnn.formats.onnx.forms import (
    Applied,
    Dropped,
    Empty,
    Encoding,
    Ended,
    Form,
    Given,
    Lengths,
    Lookup,
    Other,
    Past,
    Product,
    Row,
    Spread,
    States,
    Stream,
    Turned,
    Unit,
    Zeros,
)
from minirnn.formats.onnx.graph import Graph, Node, Port
from minirnn.formats.onnx.operands import optional
from minirnn.formats.onnx.recurrences import Recurrence
from minirnn.formats.onnx.tensors import dtype_of


def source_of(graph: Graph) -> Port | None:
    """The input that goes through the chain: the first that can be features or indices."""
    return next((port for port in graph.inputs if (port.dtype.kind, _rank(port)) in SOURCES), None)


SOURCES = {("f", 3): "TBF", ("f", 2): "BF", ("i", 2): "TB", ("u", 2): "TB"}


def _rank(port: Port) -> int:
    return -1 if port.shape is None else len(port.shape)


def trace(graph: Graph, *, batch_first: bool) -> dict[str, Form]:
    """The form of every value of ``graph``, whose sequences have time first or the batch first."""
    forms: dict[str, Form] = dict(graph.constants)
    source = source_of(graph)
    for port in graph.inputs:
        rank, kind = _rank(port), port.dtype.kind
        if port is source:
            axes = SOURCES[kind, rank]
            forms[port.name] = Stream((), axes.replace("TB", "BT") if batch_first else axes)
        elif kind == "f" and rank in (2, 3):
            forms[port.name] = Given(port.name, "012"[:rank], port.shape or ())
        else:
            forms[port.name] = Lengths(port.name) if kind in "iu" and rank == 1 else Other(f"input {port} has no place")
    for node in graph.nodes:
        given = [forms.get(name, Other()) if name else None for name in node.inputs]
        for name, form in zip(node.outputs, _followed(node, given), strict=False):
            forms.setdefault(name, form)  # what is constant is known already
    return forms


def _followed(node: Node, given: list[Form]) -> list[Form]:
    """The forms of a node's outputs."""
    blocked = next((form for form in given if isinstance(form, Other) and form.why), None)
    found = None
    if not blocked and node.op in RULES:
        with suppress(IndexError, ValueError, ZeroDivisionError):  # of axes that are not there: running it says so
            found = RULES[node.op](node, given)
    if found is not None:
        return found if isinstance(found, list) else [found]
    followed = any(isinstance(form, (Stream, States, Given, Lengths)) for form in given)
    why = blocked or Other(f"{node} does what no layer does there" if followed and node.op not in MEASURES else "")
    return [why] * len(node.outputs)


MEASURES = ("Shape", "Size")  # which ask for sizes, and compute nothing from what flows


# ---------------------------------------------------------------------- node by node


def _fixed(node: Node, given: list[Form], name: str, place: int = 1) -> list[int] | None:
    """A list of integers that is an attribute or a constant input; None where it is neither."""
    if name in node.attributes:
        return list(node.attributes[name])
    form = optional(given, place)
    return [int(v) for v in form.reshape(-1)] if isinstance(form, np.ndarray) and form.dtype.kind in "iu" else None


def _moved(form: Form, axes: str) -> Form:
    return form._replace(axes=axes)


def _last(form: States) -> Form:
    """One row of final h as the last step of a unit's output, where that has one direction and it is forward."""
    row = form.rows[0]
    if form.kind == 0 and form.axes == "BH" and row.unit.about.directions == (False,):
        return Stream(row.parts, "BF").then(Ended(both=False))
    return form


def _both(rows: tuple[Row, ...], kind: int) -> Form:
    """Final h of both directions, side by side."""
    if kind == 0 and [row.direction for row in rows] == [0, 1] and rows[0].unit is rows[1].unit:
        return Stream(rows[0].parts, "BF").then(Ended(both=True))
    return None


def _same(node: Node, given: list[Form]) -> Form:
    return given[0]


def _cast(node: Node, given: list[Form]) -> Form:
    form, kind = given[0], dtype_of(node.attributes["to"]).kind
    features = isinstance(form, Stream) and form.axes[-1] in "FH"
    return form if (kind == "f") == (features or isinstance(form, (Given, States, Zeros))) and kind in "fiu" else None


def _dropout(node: Node, given: list[Form]) -> Form:
    form, ratio = given[0], node.attributes.get("ratio", 0.5)
    if isinstance(optional(given, 1), np.ndarray):
        ratio = float(given[1].reshape(-1)[0])
    if isinstance(form, Stream) and 0 < ratio < 1:
        return [form.then(Dropped(float(ratio))), Other()]
    return [form, Other()]


def _transpose(node: Node, given: list[Form]) -> Form:
    form = given[0]
    if not isinstance(form, (Stream, States, Given)):
        return form if isinstance(form, Zeros) else None
    perm = node.attributes.get("perm", list(range(len(form.axes)))[::-1])
    return _moved(form, "".join(form.axes[k] for k in perm)) if len(perm) == len(form.axes) else None


def _squeeze(node: Node, given: list[Form]) -> Form:
    form, axes = given[0], _fixed(node, given, "axes")
    if isinstance(form, Zeros):
        return form
    if not isinstance(form, (Stream, States, Given)) or axes is None:
        return None
    gone = {k % len(form.axes) for k in axes}
    left = "".join(letter for k, letter in enumerate(form.axes) if k not in gone)
    taken = "".join(form.axes[k] for k in sorted(gone))
    if isinstance(form, Given):
        return _moved(form, left)
    if taken != "d":
        return None
    if isinstance(form, States):
        return _last(_moved(form, left)) if len(form.rows) == 1 else None
    unit = form.parts[-1]
    one = isinstance(unit, Unit) and len(unit.about.directions) == 1
    return _moved(form, left.replace("H", "F")) if one else None


def _unsqueeze(node: Node, given: list[Form]) -> Form:
    form, axes = given[0], _fixed(node, given, "axes")
    if isinstance(form, (Zeros, Past, Empty)):
        return form
    if not isinstance(form, Given) or axes is None or len(axes) != 1:
        return None
    k = axes[0] % (len(form.axes) + 1)
    return _moved(form, f"{form.axes[:k]}n{form.axes[k:]}")


def _reshape(node: Node, given: list[Form]) -> Form:
    form, shape = given
    if isinstance(form, Zeros):
        return form
    if isinstance(form, States):
        return _both(form.rows, form.kind) if form.axes == "BdH" else None
    if not isinstance(form, Stream):
        return None
    rank = shape.size if isinstance(shape, np.ndarray) else len(form.axes) - ("d" in form.axes)
    if form.axes.endswith("dH") and rank == len(form.axes) - 1:
        return _moved(form, form.axes.removesuffix("dH") + "F")
    flat = {"TBF": "RF", "BTF": "rF"}  # all rows of all steps, one below the other
    if form.axes in flat and rank == 2:
        return _moved(form, flat[form.axes])
    deep = {letters: axes for axes, letters in flat.items()}
    if form.axes in deep and rank == 3:
        return _moved(form, deep[form.axes])
    return form if rank == len(form.axes) and form.axes[-1] == "F" else None


def _gather(node: Node, given: list[Form]) -> Form:
    (x, index), axis = given, node.attributes.get("axis", 0)
    if isinstance(x, np.ndarray) and isinstance(index, Stream) and index.axes in ("TB", "BT") and not index.parts:
        return Stream((Lookup(x),), f"{index.axes}F") if x.ndim == 2 and x.dtype.kind == "f" and axis == 0 else None
    if not isinstance(x, (Stream, States, Given)) or not isinstance(index, np.ndarray) or index.ndim:
        return None
    k, at = axis % len(x.axes), int(index)
    left = x.axes[:k] + x.axes[k + 1 :]
    if isinstance(x, Given):
        return x._replace(axes=left, cut=x.axes[k], start=at, stop=at + 1) if not x.cut and at >= 0 else None
    if isinstance(x, States):
        ours = x.axes[k] == "d" and -len(x.rows) <= at < len(x.rows)
        return _last(x._replace(rows=(x.rows[at],), axes=left)) if ours else None
    with_lens = any(isinstance(part, Unit) and part.lens for part in x.parts)
    if x.axes[k] != "T" or "F" not in left or at != -1 or with_lens:
        return None  # past a row's length there is a step that is not the last one
    return x.then(Ended(both=False), left)


def _one_hot(node: Node, given: list[Form]) -> Form:
    index, depth, values = given
    axis = node.attributes.get("axis", -1)
    plain = isinstance(index, Stream) and not index.parts and index.axes in ("TB", "BT") and axis in (-1, 2)
    fixed = all(isinstance(form, np.ndarray) for form in (depth, values))
    if not plain or not fixed or depth.size != 1 or values.dtype.kind != "f" or list(values) != [0, 1]:
        return None
    return Stream((Encoding(int(depth.reshape(-1)[0])),), f"{index.axes}F")


def _concat(node: Node, given: list[Form]) -> Form:
    if all(isinstance(form, Zeros) for form in given):
        return Zeros()
    if not all(isinstance(form, States) for form in given) or len({(f.kind, f.axes) for f in given}) > 1:
        return None
    rows = tuple(row for form in given for row in form.rows)
    letter = given[0].axes[node.attributes["axis"] % len(given[0].axes)]
    if letter == "d":
        return given[0]._replace(rows=rows)
    return _both(rows, given[0].kind) if letter == "H" and given[0].axes == "BH" else None


def _slice(node: Node, given: list[Form]) -> Form:
    form = given[0]
    if isinstance(form, Zeros):
        return form
    names = ("starts", "ends", "axes", "steps")
    starts, ends, axes, steps = (_fixed(node, given, name, place) for place, name in enumerate(names, start=1))
    if starts is None or ends is None:
        return None
    axes = list(range(len(starts))) if axes is None else axes
    if isinstance(form, Stream):
        whole = starts == [-1] and steps == [-1] and len(ends) == 1 and ends[0] <= -(2**31)
        return form.then(Turned()) if whole and [form.axes[k] for k in axes] == ["T"] else None
    if not isinstance(form, (Given, States)) or steps not in (None, [1]):
        return None
    if len(axes) != 1 or starts[0] < 0 or ends[0] < 0:
        return None
    letter, stop = form.axes[axes[0] % len(form.axes)], None if ends[0] >= 2**31 - 1 else ends[0]
    if isinstance(form, Given):
        return None if form.cut else form._replace(cut=letter, start=starts[0], stop=stop)
    return form._replace(rows=form.rows[starts[0] : stop]) if letter == "d" else None


def _split(node: Node, given: list[Form]) -> Form:
    form, sizes = given[0], _fixed(node, given, "split")
    if isinstance(form, Zeros):
        return [form] * len(node.outputs)
    if not isinstance(form, Given) or form.cut:
        return None
    letter, count = form.axes[node.attributes.get("axis", 0) % len(form.axes)], len(node.outputs)
    if sizes is None and letter != "n":
        whole = form.shape[int(letter)]
        sizes = [whole // count] * count if isinstance(whole, int) and whole % count == 0 else None
    if sizes is None or len(sizes) != count:
        return None
    ends = np.cumsum(sizes).tolist()
    return [form._replace(cut=letter, start=end - n, stop=end) for n, end in zip(sizes, ends, strict=True)]


def _past(node: Node, given: list[Form]) -> Form:
    return Past() if isinstance(given[1], Lengths) else None


def _empty(node: Node, given: list[Form]) -> Form:
    form, value = given
    return Empty() if isinstance(form, Lengths) and isinstance(value, np.ndarray) and not value.any() else None


def _at_least_one(node: Node, given: list[Form]) -> Form:
    """Lengths of which none is 0, for an operator that turns rows, where those of one step stay as they are."""
    form, *others = given
    ones = all(isinstance(value, np.ndarray) and (value == 1).all() for value in others)
    return form if isinstance(form, Lengths) and ones else None


def _where(node: Node, given: list[Form]) -> Form:
    """What is past a row's length is nothing, and of a row without steps the graph says what layers say."""
    condition, chosen, form = given
    if isinstance(condition, Past) and isinstance(form, Stream):
        return form if isinstance(chosen, np.ndarray) and not chosen.any() else None
    return form if isinstance(condition, Empty) and isinstance(form, States) else None


def _turned(node: Node, given: list[Form]) -> Form:
    form, lengths = given
    ways = {name: node.attributes.get(name, default) for name, default in (("time_axis", 0), ("batch_axis", 1))}
    if not isinstance(form, Stream) or not isinstance(lengths, Lengths):
        return None
    return form.then(Turned()) if [form.axes[k] for k in ways.values()] == ["T", "B"] else None


def _expand(node: Node, given: list[Form]) -> Form:
    form = given[0]
    if isinstance(form, np.ndarray) and form.dtype.kind == "f":
        if not form.any():
            return Zeros()
        return Spread(form) if form.ndim == 3 and form.shape[1] == 1 else None
    return form if isinstance(form, Zeros) else None


def _constant_of_shape(node: Node, given: list[Form]) -> Form:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return Zeros() if value.dtype.kind == "f" and not value.any() else Other()


def _matmul(node: Node, given: list[Form]) -> Form:
    x, W = given
    if isinstance(x, Stream) and x.axes.endswith("F") and isinstance(W, np.ndarray) and W.ndim == 2:
        return x.then(Product(W, None))
    return None


def _add(node: Node, given: list[Form]) -> Form:
    x, b = given if isinstance(given[0], Stream) else given[::-1]
    last = x.parts[-1] if isinstance(x, Stream) and x.parts else None
    if not isinstance(last, Product) or last.b is not None or not isinstance(b, np.ndarray):
        return None
    if b.size != last.W.shape[1] or b.shape[-1:] != (b.size,) or b.ndim > len(x.axes):
        return None
    return Stream((*x.parts[:-1], Product(last.W, b.reshape(-1))), x.axes)


def _gemm(node: Node, given: list[Form]) -> Form:
    x, W, c = given[0], given[1], optional(given, 2)
    about = node.attributes
    if not isinstance(x, Stream) or len(x.axes) != 2 or not x.axes.endswith("F") or about.get("transA", 0):
        return None
    if not isinstance(W, np.ndarray) or not (c is None or isinstance(c, np.ndarray)):
        return None
    W = (W.T if about.get("transB", 0) else W) * W.dtype.type(about.get("alpha", 1.0))
    b = None
    if c is not None:
        if c.size not in (1, W.shape[1]) or (c.ndim == 2 and c.shape[0] != 1):
            return None
        b = np.broadcast_to(c.reshape(-1) * c.dtype.type(about.get("beta", 1.0)), W.shape[1:])
    return x.then(Product(W, b))


def _function(node: Node, given: list[Form]) -> Form:
    return _applied(given[0], function_of(node))


def _over_features(node: Node, given: list[Form]) -> Form:
    form, axis = given[0], node.attributes.get("axis", 1 if node.opset < 13 else -1)
    last = isinstance(form, Stream) and axis in (-1, len(form.axes) - 1)
    return _applied(form, function_of(node)) if last else None


def _clip(node: Node, given: list[Form]) -> Form:
    bounds = [node.attributes.get("min"), node.attributes.get("max")]
    if len(given) > 1:
        ends = (given[1], optional(given, 2))
        bounds = [float(b.reshape(-1)[0]) if isinstance(b, np.ndarray) else None for b in ends]
    return _applied(given[0], Function("relu6")) if bounds == [0, 6] else None


def _gelu(node: Node, given: list[Form]) -> Form:
    return _applied(given[0], Function("gelu" if node.attributes.get("approximate", "none") == "none" else "gelu_tanh"))


def _selu(node: Node, given: list[Form]) -> Form:
    plain = all(abs(node.attributes.get(w, v) - v) < 1e-6 for w, v in (("alpha", 1.6732632), ("gamma", 1.0507010)))
    return _applied(given[0], Function("selu")) if plain else None


def _applied(form: Form, function: Function) -> Form:
    if isinstance(form, Stream) and form.axes[-1] in "FH":
        return form.then(Applied(function)) if form.axes[-1] == "F" else None
    return None


def _recurrence(node: Node, given: list[Form]) -> Form:
    about = Recurrence.of(node)
    X, W, R, B, lens, h0, c0, P = (*given, *[None] * 8)[:8]
    weights = [W, R, B, P]
    if not isinstance(X, Stream) or X.axes != ("BTF" if about.batch_first else "TBF"):
        return None
    if any(a is not None and not isinstance(a, np.ndarray) for a in weights):
        return None
    if lens is not None and not isinstance(lens, Lengths):
        return None
    starts = []
    for form in (h0, c0) if node.op == "LSTM" else (h0,):
        known = form
        if isinstance(form, np.ndarray):
            known = Zeros() if not form.any() else None
        elif not (form is None or isinstance(form, (Given, Spread, Zeros))):
            return None
        if (known is None and form is not None) or (isinstance(known, Given) and len(known.axes) != 3):
            return None
        starts.append(known)
    unit = Unit(node, about, W, R, B, P, tuple(starts), lens and lens.name)
    y = X.then(unit, "BTdH" if about.batch_first else "TdBH")
    if isinstance(y, Other):
        return [y] * len(node.outputs)
    rows = tuple(Row(unit, k, y.parts) for k in range(len(about.directions)))
    return [y, *(States(kind, rows, "BdH" if about.batch_first else "dBH") for kind in range(len(starts)))]


RULES: dict[str, Callable[[Node, list[Form]], Form]] = {
    **dict.fromkeys(FUNCTIONS, _function),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrence),
    "Softmax": _over_features,
    "LogSoftmax": _over_features,
    "Clip": _clip,
    "Gelu": _gelu,
    "Selu": _selu,
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Gather": _gather,
    "OneHot": _one_hot,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "ReverseSequence": _turned,
    "GreaterOrEqual": _past,
    "Equal": _empty,
    "Max": _at_least_one,
    "Where": _where,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "MatMul": _matmul,
    "Add": _add,
    "Gemm": _gemm,
}
