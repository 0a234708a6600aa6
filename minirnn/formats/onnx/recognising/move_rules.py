"""Rules for nodes that move numbers: what becomes of a value's axes and pieces."""

from collections.abc import Callable

import numpy as np

from minirnn.formats.onnx.recognising.forms import (
    MOST_ROWS,
    ChainValue,
    Empty,
    FinalRow,
    FinalStates,
    Form,
    InitialState,
    Lengths,
    Lookup,
    Other,
    Past,
    Spread,
    Unit,
    Zeros,
    all_are,
    width_of,
)
from minirnn.formats.onnx.running.operands import optional
from minirnn.formats.onnx.structure import MOST_AXES, Node, dtype_of
from minirnn.layers.feedforward import Last, Reverse


def fixed(node: Node, inputs: list[Form], name: str, place: int = 1) -> list[int] | None:
    """A list of integers that is an attribute or a constant input; None where it is neither."""
    if name in node.attributes:
        return list(node.attributes[name])
    form = optional(inputs, place)
    if not isinstance(form, np.ndarray) or form.dtype.kind not in "iu" or form.size > MOST_AXES:
        return None
    return [int(v) for v in form.reshape(-1)]


def _last(form: FinalStates) -> Form:
    """One row of final h as the last step of a unit's output, where that has one direction and it is forward."""
    row = form.rows[0]
    if form.kind == 0 and form.axes == "BH" and row.unit.about.directions == (False,):
        return ChainValue(row.parts, "BF").then(Last())
    return form


def _both(rows: tuple[FinalRow, ...], kind: int) -> Form:
    """Final h of both directions, side by side."""
    if kind == 0 and [row.direction for row in rows] == [0, 1] and rows[0].unit is rows[1].unit:
        return ChainValue(rows[0].parts, "BF").then(Last(bidirectional=True))
    return None


def _same(node: Node, inputs: list[Form]) -> Form:
    return inputs[0]


def _cast(node: Node, inputs: list[Form]) -> Form:
    form, kind = inputs[0], dtype_of(node.attributes["to"]).kind
    features = isinstance(form, ChainValue) and form.axes[-1] in "FH"
    floats = features or isinstance(form, (InitialState, FinalStates, Zeros))
    return form if kind in ("f" if floats else "iu") else None


def _transpose(node: Node, inputs: list[Form]) -> Form:
    form = inputs[0]
    if not isinstance(form, (ChainValue, FinalStates, InitialState)):
        return None
    perm = node.attributes.get("perm", list(range(len(form.axes)))[::-1])
    return form._replace(axes="".join(form.axes[k] for k in perm)) if len(perm) == len(form.axes) else None


def _squeeze(node: Node, inputs: list[Form]) -> Form:
    form, axes = inputs[0], fixed(node, inputs, "axes")
    if not isinstance(form, (ChainValue, FinalStates, InitialState)) or axes is None:
        return None
    gone = {k % len(form.axes) for k in axes}
    left = "".join(letter for k, letter in enumerate(form.axes) if k not in gone)
    taken = "".join(form.axes[k] for k in sorted(gone))
    if isinstance(form, InitialState) or taken == "o":
        return form._replace(axes=left)
    if taken != "d":
        return None
    if isinstance(form, FinalStates):
        return _last(form._replace(axes=left)) if len(form.rows) == 1 else None
    unit = form.parts[-1]
    one = isinstance(unit, Unit) and len(unit.about.directions) == 1
    return form._replace(axes=left.replace("H", "F")) if one else None


def _unsqueeze(node: Node, inputs: list[Form]) -> Form:
    form, axes = inputs[0], fixed(node, inputs, "axes")
    if isinstance(form, (Past, Empty)):
        return form
    if not isinstance(form, InitialState) or axes is None or len(axes) != 1:
        return None
    k = axes[0] % (len(form.axes) + 1)
    return form._replace(axes=f"{form.axes[:k]}n{form.axes[k:]}")


def _reshape(node: Node, inputs: list[Form]) -> Form:
    form, shape = inputs
    if isinstance(form, FinalStates):
        return _both(form.rows, form.kind) if form.axes == "BdH" else None
    if not isinstance(form, ChainValue):
        return None
    rank = shape.size if isinstance(shape, np.ndarray) else len(form.axes) - ("d" in form.axes)
    if form.axes.endswith("dH") and rank == len(form.axes) - 1:
        return form._replace(axes=form.axes.removesuffix("dH") + "F")
    if form.axes in ("BTF", "BFT", "BFo", "BoF") and isinstance(shape, np.ndarray) and rank == 2:
        (begins, ends), D = (int(n) for n in shape.reshape(-1)), width_of(form.parts)
        if begins == 0 or (ends == -1 and begins != -1) or form.axes == "BFT" or (D and ends != D and ends % D == 0):
            return form._replace(axes={"BTF": "BX", "BFT": "BY"}.get(form.axes, "BF"))
    flat = {"TBF": "RF", "BTF": "rF"}  # all rows of all steps, one below the other
    if form.axes in flat and rank == 2:
        return form._replace(axes=flat[form.axes])
    deep = {letters: axes for axes, letters in flat.items()}
    if form.axes in deep and rank == 3:
        return form._replace(axes=deep[form.axes])
    return form if rank == len(form.axes) and form.axes[-1] == "F" else None


def _gather(node: Node, inputs: list[Form]) -> Form:
    (x, index), axis = inputs, node.attributes.get("axis", 0)
    if isinstance(x, np.ndarray) and isinstance(index, ChainValue) and index.axes in ("TB", "BT") and not index.parts:
        return ChainValue((Lookup(x),), f"{index.axes}F") if x.ndim == 2 and x.dtype.kind == "f" and axis == 0 else None
    if not isinstance(x, (ChainValue, FinalStates, InitialState)) or not isinstance(index, np.ndarray) or index.ndim:
        return None
    k, at = axis % len(x.axes), int(index)
    left = x.axes[:k] + x.axes[k + 1 :]
    if isinstance(x, InitialState):
        return x._replace(axes=left, cut=x.axes[k], start=at, stop=at + 1) if not x.cut and at >= 0 else None
    if isinstance(x, FinalStates):
        ours = x.axes[k] == "d" and -len(x.rows) <= at < len(x.rows)
        return _last(x._replace(rows=(x.rows[at],), axes=left)) if ours else None
    with_lens = any(isinstance(part, Unit) and part.lens for part in x.parts)
    if x.axes[k] != "T" or "F" not in left or at != -1 or with_lens:
        return None  # past a row's length there is a step that is not the last one
    return x.then(Last(), left)


def _concat(node: Node, inputs: list[Form]) -> Form:
    if all(isinstance(form, Zeros) for form in inputs):
        return Zeros()
    if not all(isinstance(form, FinalStates) for form in inputs) or len({(f.kind, f.axes) for f in inputs}) > 1:
        return None
    if sum(len(form.rows) for form in inputs) > MOST_ROWS:
        return None
    rows = tuple(row for form in inputs for row in form.rows)
    letter = inputs[0].axes[node.attributes["axis"] % len(inputs[0].axes)]
    if letter == "d":
        return inputs[0]._replace(rows=rows)
    return _both(rows, inputs[0].kind) if letter == "H" and inputs[0].axes == "BH" else None


def _slice(node: Node, inputs: list[Form]) -> Form:
    form = inputs[0]
    names = ("starts", "ends", "axes", "steps")
    starts, ends, axes, steps = (fixed(node, inputs, name, place) for place, name in enumerate(names, start=1))
    if starts is None or ends is None:
        return None
    axes = list(range(len(starts))) if axes is None else axes
    if isinstance(form, ChainValue):
        whole = starts == [-1] and steps == [-1] and len(ends) == 1 and ends[0] <= -(2**31)
        return form.then(Reverse()) if whole and [form.axes[k] for k in axes] == ["T"] else None
    if not isinstance(form, (InitialState, FinalStates)) or steps not in (None, [1]):
        return None
    if len(axes) != 1 or starts[0] < 0 or ends[0] < 0:
        return None
    letter, stop = form.axes[axes[0] % len(form.axes)], None if ends[0] >= 2**31 - 1 else ends[0]
    if isinstance(form, InitialState):
        return None if form.cut else form._replace(cut=letter, start=starts[0], stop=stop)
    return form._replace(rows=form.rows[starts[0] : stop]) if letter == "d" else None


def _split(node: Node, inputs: list[Form]) -> Form:
    form, sizes = inputs[0], fixed(node, inputs, "split")
    if not isinstance(form, InitialState) or form.cut:
        return None
    letter, count = form.axes[node.attributes.get("axis", 0) % len(form.axes)], len(node.outputs)
    if sizes is None and letter != "n":
        whole = form.shape[int(letter)]
        sizes = [whole // count] * count if isinstance(whole, int) and whole % count == 0 else None
    if sizes is None or len(sizes) != count:
        return None
    ends = np.cumsum(sizes).tolist()
    return [form._replace(cut=letter, start=end - n, stop=end) for n, end in zip(sizes, ends, strict=True)]


def _past(node: Node, inputs: list[Form]) -> Form:
    return Past() if isinstance(inputs[1], Lengths) else None


def _empty(node: Node, inputs: list[Form]) -> Form:
    form, value = inputs
    return Empty() if isinstance(form, Lengths) and all_are(value, 0) else None


def _at_least_one(node: Node, inputs: list[Form]) -> Form:
    """Lengths of which none is 0, for an operator that turns rows, where those of one step stay as they are."""
    form, *others = inputs
    return form if isinstance(form, Lengths) and all(all_are(value, 1) for value in others) else None


def _where(node: Node, inputs: list[Form]) -> Form:
    """Past a row's length there is nothing; a row without steps is in the graph as it is in layers."""
    condition, chosen, form = inputs
    if isinstance(condition, Past) and isinstance(form, ChainValue):
        return form if all_are(chosen, 0) else None
    return form if isinstance(condition, Empty) and isinstance(form, FinalStates) else None


def _reversed(node: Node, inputs: list[Form]) -> Form:
    form, lengths = inputs
    ways = {name: node.attributes.get(name, default) for name, default in (("time_axis", 0), ("batch_axis", 1))}
    if not isinstance(form, ChainValue) or not isinstance(lengths, Lengths):
        return None
    return form.then(Reverse()) if [form.axes[k] for k in ways.values()] == ["T", "B"] else None


def _expand(node: Node, inputs: list[Form]) -> Form:
    form = inputs[0]
    if not isinstance(form, np.ndarray) or form.dtype.kind != "f":
        return None
    if all_are(form, 0):
        return Zeros()
    return Spread(form) if form.ndim == 3 and form.shape[1] == 1 else None


def _constant_of_shape(node: Node, inputs: list[Form]) -> Form:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return Zeros() if value.dtype.kind == "f" and all_are(value, 0) else Other()


MOVES: dict[str, Callable[[Node, list[Form]], Form]] = {
    "Identity": _same,
    "Cast": _cast,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "ReverseSequence": _reversed,
    "GreaterOrEqual": _past,
    "Equal": _empty,
    "Max": _at_least_one,
    "Where": _where,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
}
