"""The operations of torch's programs on a chain of layers: what TorchScript's code and the graphs of torch.export call.

A program is followed from its input to its output.  A tensor there is a ``ChainValue``: the layers that made it of the
input.  An operation that no layer stands for gives an ``Unknown``, which says so where it reaches the output.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

from minirnn.formats.torch.attending import ATTENTION, WITHIN
from minirnn.formats.torch.outline import MODES, SOFTMAX, Outline, Settings, Step, activation, number, settings
from minirnn.layers.feedforward import Activation, Dropout, Last
from minirnn.layers.normalisation import LayerNorm

MOST_STEPS = 400  # in a chain
ENDS = (None, 2**63 - 1)  # what the end of a slice is that goes to the end


class NotAChainError(Exception):
    """Why a program is no plain chain of layers, in words."""


class Unknown(NamedTuple):
    """What no layer stands for, in words."""

    words: str


class Weight(NamedTuple):
    """A tensor of the file, by its name in the state dict."""

    name: str


class Zeros(NamedTuple):
    """A tensor of zeros, as initial states are."""


class ChainValue(NamedTuple):
    """What ``steps`` make of the input; its number of axes and the one of time, None where they are not known."""

    steps: tuple[Step, ...] = ()
    rank: int | None = None
    time: int | None = None

    def then(self, step: Step, rank: int | None = None, time: int | None = None) -> "ChainValue":
        """The value after one more step, of these axes."""
        if len(self.steps) >= MOST_STEPS:
            raise NotAChainError(f"it has more than {MOST_STEPS} steps")
        return ChainValue((*self.steps, step), rank, time)

    def same(self, step: Step) -> "ChainValue":
        """The same with the axes that there are now."""
        return self.then(step, self.rank, self.time)


class FinalStates(NamedTuple):
    """The final states h of a recurrent module, of which ``chain`` is the output: how many, in how many directions."""

    chain: ChainValue
    states: int
    directions: int


class FinalState(NamedTuple):
    """One of them, by its place among them."""

    of: FinalStates
    place: int


class Halfway(NamedTuple):
    """A part of softsign, x / (|x| + 1), which torch computes so: ``name`` is "abs" or "abs + 1"."""

    x: ChainValue
    name: str


Value: TypeAlias = Any  # of those above, or a constant, a list, a tuple


class Operations:
    """Operations by name; ``settings``, ``kinds`` and ``about`` are an Outline's, of the modules that were met."""

    def __init__(self) -> None:
        self.settings: dict[str, Settings] = {}
        self.kinds: dict[str, str] = {}
        self.about: dict[str, dict[str, Any]] = {}
        self._known: dict[str, Callable[..., Value]] = {
            "embedding": self._embedding,
            "linear": self._linear,
            "layer_norm": self._layer_norm,
            "_native_multi_head_attention": self._attention,
            "dropout": self._dropout,
            "select": self._select,
            "slice": self._slice,
            "squeeze": self._squeeze,
            "cat": self._cat,
            "abs": lambda x: Halfway(x, "abs") if isinstance(x, ChainValue) else None,
            "add": self._add,
            "div": self._div,
            **{name: self._softmax(name) for name in SOFTMAX.values()},
            **{mode.lower(): self._recurrent(mode) for mode in MODES},
        }

    def call(self, name: str, arguments: Sequence[Value], named: Mapping[str, Value]) -> Value:
        """What ``torch.<name>`` makes of its arguments."""
        if name in ("zeros", "zeros_like", "new_zeros"):
            return Zeros()
        operands = [*arguments, *named.values()]
        operands += [one for several in operands if type(several) is list for one in several]
        unknown = next((one for one in operands if isinstance(one, Unknown)), None)
        if name in ("contiguous", "clone", "detach", "alias") and operands:
            return operands[0]
        try:
            if name in self._known:
                made = self._known[name](*arguments, **named)
                return made if made is not None else unknown or Unknown(f"{name} stands for no layer there")
            first = arguments[0] if arguments else None
            if isinstance(first, ChainValue):
                layer = activation(name, *arguments[1:], **named)
                if layer is not None:
                    return first.same(Step("", layer, stated=True))
        except (TypeError, ValueError):  # of arguments that such an operation does not have
            return unknown or Unknown(f"{name} is called in a way that is not known")
        return unknown or Unknown(f"{name} stands for no layer")

    def outline(self, result: Value) -> Outline:
        """What a program says whose output this is, a tensor or a tuple that begins with one."""
        if isinstance(result, (tuple, list)) and type(result) in (tuple, list) and result:
            result = result[0]
        if isinstance(result, Unknown):
            raise NotAChainError(result.words)
        if not isinstance(result, ChainValue) or not result.steps:
            raise NotAChainError("its output is not what layers make of its input")
        paths = [step.path for step in result.steps if step.layer is None]
        if len(set(paths)) < len(paths):
            raise NotAChainError("a module computes twice")
        return Outline(result.steps, self.settings, self.kinds, whole=True, about=self.about)

    # ------------------------------------------------------------------ modules with weights

    def _embedding(self, weight: Value, indices: Value, *_: Value, **__: Value) -> Value:
        if isinstance(indices, ChainValue) and not indices.steps and isinstance(weight, Weight):
            return indices.then(Step(_path(weight, "weight"), stated=True), 3)
        return None

    def _linear(self, x: Value, weight: Value, bias: Value = None) -> Value:
        if not isinstance(x, ChainValue) or not isinstance(weight, Weight):
            return None
        path = _path(weight, "weight")
        if bias is not None and (not isinstance(bias, Weight) or _path(bias, "bias") != path):
            return Unknown("a Linear has its weight and its bias from two modules")
        return x.same(Step(path, stated=True))

    def _layer_norm(
        self,
        x: Value,
        normalized_shape: Value,
        weight: Value = None,
        bias: Value = None,
        eps: Value = 1e-5,
        *_: Value,
        **__: Value,
    ) -> Value:
        if not isinstance(x, ChainValue) or not isinstance(normalized_shape, list) or len(normalized_shape) != 1:
            return None
        if weight is None and bias is None:
            layer = LayerNorm(normalized_shape[0], number(eps, "eps"), gain=False, bias=False)
            return x.same(Step("", layer, stated=True))
        if not isinstance(weight, Weight) or not (bias is None or isinstance(bias, Weight)):
            return None
        path = _path(weight, "weight")
        if bias is not None and _path(bias, "bias") != path:
            return Unknown("a LayerNorm has its weight and its bias from two modules")
        self.kinds[path], self.about[path] = "LayerNorm", {"eps": number(eps, "eps")}
        return x.same(Step(path, stated=True))

    def _attention(  # as torch orders them
        self,
        query: Value,
        key: Value,
        value: Value,
        embed_dim: Value,
        num_heads: Value,
        qkv_weight: Value,
        qkv_bias: Value,
        proj_weight: Value,
        proj_bias: Value,
        mask: Value = None,
        *_: Value,
    ) -> Value:
        if not isinstance(query, ChainValue) or not isinstance(qkv_weight, Weight) or type(num_heads) is not int:
            return None
        path = _path(qkv_weight, "in_proj_weight")
        if proj_weight != Weight(f"{path}.{WITHIN}.weight" if path else f"{WITHIN}.weight"):
            return Unknown("attention has its projections from two modules")
        return self.attention((query, key, value), path, {"num_heads": num_heads}, batch_first=True, masks=[mask])

    def attention(
        self,
        read: Sequence[Value],
        path: str,
        about: dict[str, Any],
        *,
        batch_first: bool,
        masks: Sequence[Value],
    ) -> Value:
        """What a MultiheadAttention makes of its query, keys and values, and its scores, which no layer gives."""
        x, time = read[0], 1 if batch_first else 0
        if not isinstance(x, ChainValue) or any(other != x for other in read):
            return Unknown(f"{path!r:.60} reads other keys than its query")
        if any(mask is not None for mask in masks):
            return Unknown(f"{path!r:.60} is given a mask")
        if x.time not in (None, time) or x.rank == 2:
            raise NotAChainError(f"the steps that {path!r:.60} reads are not along the axis of time")
        self.settings[path], self.kinds[path], self.about[path] = Settings(batch_first=batch_first), ATTENTION, about
        return (x.then(Step(path, stated=True), 3, time), Unknown(f"the scores of {path!r:.60} are used"))

    def _recurrent(self, mode: str) -> Callable[..., Value]:
        kind, nonlinearity = MODES[mode]

        def compute(  # as torch orders them
            x: Value,
            hx: Value,
            params: Value,
            has_biases: Value,
            num_layers: Value,
            dropout: Value,
            train: Value,
            bidirectional: Value,
            batch_first: Value,
        ) -> Value:
            if not isinstance(x, ChainValue) or not isinstance(params, list):
                return None
            if not _are_zeros(hx):
                return Unknown("initial states are given")
            about = {"num_layers": num_layers, "dropout": dropout, "bidirectional": bidirectional}
            about |= {"batch_first": batch_first}
            own = settings(kind, about)._replace(proj_size=None, nonlinearity=nonlinearity)
            path = _path_of_all(params, own, biases=has_biases is True)
            return self.recurrent(x, path, own, flat=True)

        return compute

    def recurrent(self, x: ChainValue, path: str, own: Settings, *, flat: bool) -> Value:
        """The outputs of a recurrent module: those of its function if ``flat``, else those of the module."""
        time = 1 if own.batch_first else 0
        if x.time not in (None, time) or x.rank == 2:
            raise NotAChainError(f"the steps that {path!r:.60} reads are not along the axis of time")
        self.settings[path] = own
        y = x.then(Step(path, stated=True), 3, time)
        directions = 2 if own.bidirectional else 1
        h = FinalStates(y, (own.num_layers or 1) * directions, directions)
        c = Unknown(f"the state c of {path!r:.60} is used")
        if own.kind != "LSTM":
            return (y, h)
        return (y, h, c) if flat else (y, (h, c))

    # ------------------------------------------------------------------ without weights

    def _dropout(self, x: Value, p: Value = 0.5, train: Value = False, *_: Value) -> Value:  # noqa: FBT002 - as torch has it
        if not isinstance(x, ChainValue):
            return None
        return x.same(Step("", Dropout(number(p, "p")), stated=True))

    def _softmax(self, name: str) -> Callable[..., Value]:
        def compute(x: Value, dim: Value, *_: Value, **__: Value) -> Value:
            if not isinstance(x, ChainValue) or type(dim) is not int:
                return None
            if dim != -1 and dim != (x.rank or 0) - 1:
                return Unknown(f"{name} is along axis {dim}, which is not that of features, as far as is known")
            return x.same(Step("", Activation(name), stated=True))

        return compute

    def _select(self, x: Value, dim: Value, index: Value) -> Value:
        if isinstance(x, ChainValue) and x.rank == 3 and x.time is not None and type(dim) is type(index) is int:
            if dim in (x.time, x.time - 3) and index == -1:
                return x.then(Step("", Last(), stated=True), 2)
            return Unknown("it takes another step than the last one")
        if isinstance(x, FinalStates) and dim == 0 and type(index) is int and -x.states <= index < x.states:
            return _state(x, index % x.states)
        return None

    def _slice(self, x: Value, dim: Value = 0, start: Value = 0, end: Value = None, step: Value = 1) -> Value:
        whole = start in (None, 0) and end in ENDS and step == 1
        return x if whole and isinstance(x, (ChainValue, FinalStates, FinalState)) else None

    def _squeeze(self, x: Value, dim: Value = None) -> Value:
        return _state(x, 0) if isinstance(x, FinalStates) and x.states == 1 and dim == 0 else None

    def _add(self, x: Value, other: Value, alpha: Value = 1) -> Value:
        one = isinstance(x, Halfway) and x.name == "abs" and other == alpha == 1
        return x._replace(name="abs + 1") if one else None

    def _div(self, x: Value, other: Value) -> Value:
        if isinstance(x, ChainValue) and other == Halfway(x, "abs + 1"):
            return x.same(Step("", Activation("softsign"), stated=True))
        return None

    def _cat(self, tensors: Value, dim: Value = 0) -> Value:
        """The final states of both directions of the last layer, side by side."""
        if not isinstance(tensors, list) or len(tensors) != 2 or dim not in (1, -1):
            return None
        ahead, back = tensors
        if not isinstance(ahead, FinalState) or not isinstance(back, FinalState) or ahead.of != back.of:
            return None
        of = ahead.of
        if of.directions != 2 or (ahead.place, back.place) != (of.states - 2, of.states - 1):
            return None
        return of.chain.then(Step("", Last(bidirectional=True), stated=True), 2)


def _state(of: FinalStates, place: int) -> Value:
    """One of the final states; that of the last layer, where there is one direction, is the last step of the output."""
    if of.directions == 1 and place == of.states - 1:
        return of.chain.then(Step("", Last(), stated=True), 2)
    return FinalState(of, place)


def _are_zeros(hx: Value) -> bool:
    states = hx if type(hx) in (list, tuple) else [hx]
    return all(one is None or type(one) is Zeros for one in states)


def _path(weight: Weight, leaf: str) -> str:
    """The path of the module that has this weight under the name ``leaf``."""
    path, _, last = weight.name.rpartition(".")
    if last != leaf:
        raise NotAChainError(f"{weight.name!r:.60} is used as the {leaf} of a layer")
    return path


def _path_of_all(params: list[Value], own: Settings, *, biases: bool) -> str:
    """The path of the recurrent module that has these weights, in torch's order."""
    if not params or not all(isinstance(one, Weight) for one in params):
        raise NotAChainError("the weights of a recurrent module are not in the file")
    path = str(params[0].name.rpartition(".")[0])
    leaves = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if biases else [])]
    per_direction, projected = len(leaves), len(leaves) + 1
    directions = ("", "_reverse") if own.bidirectional else ("",)
    count = (own.num_layers or 0) * len(directions)
    if len(params) == count * projected:
        leaves.append("weight_hr")
    elif len(params) != count * per_direction:
        raise NotAChainError(f"{path!r:.60} has other weights than its function takes")
    names = [f"{leaf}_l{k}{end}" for k, end, leaf in product(range(own.num_layers or 0), directions, leaves)]
    if [one.name for one in params] != [f"{path}.{name}" if path else name for name in names]:
        raise NotAChainError(f"the weights of {path!r:.60} are not in their order")
    return path
