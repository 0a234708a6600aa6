"""torch's operations without weights: steps that are taken or pooled, axes that are moved, tensors that are joined.

A rule gives the tensor, ``Unknown`` with words, or None for what no layer stands for.
"""

from collections.abc import Callable, Sequence

from minirnn.core.layer import Layer
from minirnn.formats.torch.outline import Step, number
from minirnn.formats.torch.pools import pool
from minirnn.formats.torch.tracing import ONE, FinalState, Halfway, States, Tensor, Trace, Unknown, Value
from minirnn.layers.feedforward import Activation, Dropout, Last
from minirnn.layers.joining import Combine, Concatenate, Joining
from minirnn.layers.pooling import GlobalAvgPool1d, GlobalMaxPool1d

ENDS = (None, 2**63 - 1)  # what the end of a slice is that goes to the end
RANK = 3  # of a tensor with steps


def step_of(layer: Layer) -> Step:
    """A step of a layer without weights."""
    return Step("", layer, stated=True)


def _dropout(trace: Trace, x: Value, p: Value = 0.5, train: Value = False, *_: Value) -> Value:  # noqa: FBT002 - as torch has it
    return trace.same(step_of(Dropout(number(p, "p"))), x) if isinstance(x, Tensor) else None


def _softmax_of(name: str) -> Callable[..., Value]:
    """The rule of softmax or of its logarithm."""

    def compute(trace: Trace, x: Value, dim: Value, *_: Value, **__: Value) -> Value:
        if not isinstance(x, Tensor) or type(dim) is not int:
            return None
        axes = trace.axes(x)
        rank = len(axes) if axes else 0
        if dim not in (-1, rank - 1) or (axes and not trace.is_same(axes[-1], "D")):
            return Unknown(f"{name} is along axis {dim}, which is not that of features, as far as is known")
        return trace.same(step_of(Activation(name)), x)

    return compute


# ---------------------------------------------------------------------- steps


def _select(trace: Trace, x: Value, dim: Value, index: Value) -> Value:
    if isinstance(x, Tensor) and type(dim) is type(index) is int:
        axes = trace.axes(x)
        if axes and -len(axes) <= dim < len(axes) and axes[dim] == "T":
            if index == -1:
                return trace.add(step_of(Last()), x, axes=tuple(axis for axis in axes if axis != "T"))
            return Unknown("it takes another step than the last one")
    if isinstance(x, States) and dim == 0 and type(index) is int and -x.number <= index < x.number:
        return _state(trace, x, index % x.number)
    return None


def _take(_: Trace, x: Value, dim: Value = 0, start: Value = 0, end: Value = None, step: Value = 1) -> Value:
    """torch.slice, of all that there is."""
    whole = start in (None, 0) and end in ENDS and step == 1
    return x if whole and isinstance(x, (Tensor, States, FinalState)) else None


def _squeeze(trace: Trace, x: Value, dim: Value = None) -> Value:
    if isinstance(x, States):
        return _state(trace, x, 0) if x.number == 1 and dim == 0 else None
    axes = trace.axes(x) if isinstance(x, Tensor) else None
    if not axes or type(dim) is not int or not -len(axes) <= dim < len(axes) or axes[dim] != ONE:
        return None
    return x._replace(axes=tuple(axis for axis in axes if axis != ONE))


def _flatten(trace: Trace, x: Value, start_dim: Value = 0, end_dim: Value = -1) -> Value:
    """All behind the rows, of what has one step."""
    ones = isinstance(x, Tensor) and trace.letters(x) == f"BD{ONE}" and (start_dim, end_dim) in ((1, -1), (1, 2))
    return x._replace(axes=("B", "D")) if ones else None


def _state(trace: Trace, of: States, place: int) -> Value:
    """A final state; of the last layer, where there is one direction, h is the last step of the output."""
    if of.directions == 1 and place == of.number - 1 and of.name == "h":
        return trace.add(step_of(Last()), of.y, axes=("B", "D"))
    return FinalState(of, place)


# ---------------------------------------------------------------------- pools


def _over_steps(layer: Callable[[], Layer], *, pair: bool = False) -> Callable[..., Value]:
    """The rule of what is taken over all steps; ``pair`` where torch gives places too."""

    def compute(trace: Trace, x: Value, dim: Value = None, keepdim: Value = False, **__: Value) -> Value:  # noqa: FBT002 - as torch has it
        dim = dim[0] if type(dim) is list and len(dim) == 1 else dim
        axes = trace.axes(x) if isinstance(x, Tensor) else None
        if not axes or type(dim) is not int or keepdim is not False or not -len(axes) <= dim < len(axes):
            return None
        if axes[dim] != "T":
            return Unknown("it is taken over another axis than that of time, as far as is known")
        y = trace.add(step_of(layer()), x, axes=tuple(axis for axis in axes if axis != "T"))
        return (y, Unknown("the places of what is largest are used")) if pair else y

    return compute


def _adaptive(name: str, layer: Callable[[], Layer], *, pair: bool = False) -> Callable[..., Value]:
    """The rule of a pool that makes one step of all."""

    def compute(trace: Trace, x: Value, output_size: Value, *_: Value) -> Value:
        if not isinstance(x, Tensor) or output_size not in (1, [1]) or not trace.fits(x, "BDT"):
            return Unknown(f"{name} makes more than one step")
        y = trace.add(step_of(layer()), x, axes=("B", "D", ONE))
        return (y, Unknown("the places of what is largest are used")) if pair else y

    return compute


def _max_pool1d(
    trace: Trace,
    x: Value,
    kernel_size: Value,
    stride: Value = None,
    padding: Value = 0,
    dilation: Value = 1,
    ceil_mode: Value = False,  # noqa: FBT002 - as torch has it
) -> Value:
    about = {"kernel_size": kernel_size, "stride": stride or None, "padding": padding, "dilation": dilation}
    return _pooled(trace, x, "MaxPool1d", about | {"ceil_mode": ceil_mode})


def _avg_pool1d(
    trace: Trace,
    x: Value,
    kernel_size: Value,
    stride: Value = None,
    padding: Value = 0,
    ceil_mode: Value = False,  # noqa: FBT002 - as torch has it
    count_include_pad: Value = True,  # noqa: FBT002
) -> Value:
    about = {"kernel_size": kernel_size, "stride": stride or None, "padding": padding, "ceil_mode": ceil_mode}
    return _pooled(trace, x, "AvgPool1d", about | {"count_include_pad": count_include_pad})


def _pooled(trace: Trace, x: Value, name: str, about: dict[str, Value]) -> Value:
    if not isinstance(x, Tensor) or not trace.fits(x, "BDT"):
        return None
    layer = pool(name, {word: tuple(value) if type(value) is list else value for word, value in about.items()})
    return trace.same(step_of(layer), x) if layer else None


# ---------------------------------------------------------------------- axes


def _transpose(trace: Trace, x: Value, dim0: Value, dim1: Value) -> Value:
    axes = trace.of_rank(x, RANK) if isinstance(x, Tensor) else None
    if axes is None or not all(type(dim) is int and -RANK <= dim < RANK for dim in (dim0, dim1)):
        return None
    moved = list(axes)
    moved[dim0], moved[dim1] = moved[dim1], moved[dim0]
    return x._replace(axes=tuple(moved))


def _permute(trace: Trace, x: Value, dims: Value) -> Value:
    axes = trace.of_rank(x, RANK) if isinstance(x, Tensor) else None
    places = [dim % RANK for dim in dims if type(dim) is int] if type(dims) is list else []
    if axes is None or sorted(places) != [0, 1, 2] or len(dims) != RANK:
        return None
    return x._replace(axes=tuple(axes[place] for place in places))


# ---------------------------------------------------------------------- joins


def _halfway(_: Trace, x: Value) -> Value:
    return Halfway(x, "abs") if isinstance(x, Tensor) else None


def _add(trace: Trace, x: Value, other: Value, alpha: Value = 1) -> Value:
    if isinstance(x, Halfway):
        return x._replace(name="abs + 1") if x.name == "abs" and other == alpha == 1 else None
    return _joined(trace, Combine("sum"), x, other) if alpha == 1 else None


def _subtract(trace: Trace, x: Value, other: Value, alpha: Value = 1) -> Value:
    return _joined(trace, Combine("difference"), x, other) if alpha == 1 else None


def _combine(how: str) -> Callable[..., Value]:
    """The rule of what is combined entry by entry."""
    return lambda trace, x, other: _joined(trace, Combine(how), x, other)


def _divide(trace: Trace, x: Value, other: Value) -> Value:
    if isinstance(x, Tensor) and isinstance(other, Halfway) and other == Halfway(x, "abs + 1"):
        return trace.same(step_of(Activation("softsign")), x)
    return None


def _concatenate(trace: Trace, tensors: Value, dim: Value = 0) -> Value:
    """Features or steps side by side; of both final states of the last layer the last step of both directions."""
    if not isinstance(tensors, list) or len(tensors) < 2 or type(dim) is not int:
        return None
    if len(tensors) == 2 and all(isinstance(one, FinalState) for one in tensors) and dim in (1, -1):
        ahead, back = tensors
        of = ahead.of
        last = (ahead.place, back.place) == (of.number - 2, of.number - 1)
        if of == back.of and of.directions == 2 and of.name == "h" and last:
            return trace.add(step_of(Last(bidirectional=True)), of.y, axes=("B", "D"))
    parts = [trace.state(one) if isinstance(one, FinalState) else one for one in tensors]
    if not all(isinstance(one, Tensor) and trace.alike(parts[0].axes, one.axes) for one in parts):
        return None
    axes = trace.axes(parts[0])
    if axes is None:
        return _join(trace, Concatenate(), parts) if dim == -1 else None
    if not -len(axes) <= dim < len(axes):
        return None
    if axes[dim] == "T":
        return _join(trace, Concatenate(over_steps=True), parts)
    features = dim in (-1, len(axes) - 1) and trace.is_same(axes[dim], "D")
    return _join(trace, Concatenate(), parts) if features or axes[dim] == "D" else None


def _joined(trace: Trace, layer: Joining, *operands: Value) -> Value:
    """What is combined of tensors that have the same axes."""
    if not all(isinstance(one, Tensor) and trace.alike(operands[0].axes, one.axes) for one in operands):
        return None
    return _join(trace, layer, operands)


def _join(trace: Trace, layer: Joining, parts: Sequence[Tensor]) -> Value:
    return trace.add(step_of(layer), *parts, axes=parts[0].axes)


RULES: dict[str, Callable[..., Value]] = {
    "dropout": _dropout,
    "softmax": _softmax_of("softmax"),
    "log_softmax": _softmax_of("log_softmax"),
    "select": _select,
    "slice": _take,
    "squeeze": _squeeze,
    "flatten": _flatten,
    "mean": _over_steps(GlobalAvgPool1d),
    "amax": _over_steps(GlobalMaxPool1d),
    "max": _over_steps(GlobalMaxPool1d, pair=True),
    "adaptive_avg_pool1d": _adaptive("adaptive_avg_pool1d", GlobalAvgPool1d),
    "adaptive_max_pool1d": _adaptive("adaptive_max_pool1d", GlobalMaxPool1d, pair=True),
    "_adaptive_max_pool1d": _adaptive("adaptive_max_pool1d", GlobalMaxPool1d),  # without places
    "max_pool1d": _max_pool1d,
    "avg_pool1d": _avg_pool1d,
    "transpose": _transpose,
    "permute": _permute,
    "abs": _halfway,
    "add": _add,
    "sub": _subtract,
    "mul": _combine("product"),
    "maximum": _combine("max"),
    "minimum": _combine("min"),
    "div": _divide,
    "cat": _concatenate,
}
