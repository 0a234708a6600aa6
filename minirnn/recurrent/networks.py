"""The recurrent layers: any cell in any depth and direction; RNN, GRU and LSTM."""

from collections.abc import Sequence
from functools import partial
from inspect import Signature, signature
from itertools import chain
from types import ModuleType
from typing import Any, ClassVar, TypedDict, Unpack

from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell, split
from minirnn.core.backend import Array
from minirnn.core.layer import Layer, check_size
from minirnn.core.noise import check_probability, drop
from minirnn.core.protocol import Arrays, check_cell, multiplies, name_of, stages_of, trains, width_of, widths_of
from minirnn.core.run import Later, Pull, Result, Run, Saved, State, joined
from minirnn.recurrent.checkpointing import CheckpointedPass, Level, by_layer
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.fast_call import ShortCall, prepare
from minirnn.recurrent.masks import skipping
from minirnn.recurrent.zoneout import check_zoneout


class Options(TypedDict, total=False):
    """The keyword arguments of every recurrent layer; ``Recurrent`` says what they mean and has their defaults."""

    bidirectional: bool
    dropout: float
    locked: bool
    weight_dropout: float
    zoneout: float | Sequence[float]
    trainable_state: bool


SHARED = ("input_size", "hidden_size", "num_layers", *Options.__annotations__)  # arguments of every recurrent layer


class Recurrent(Layer):
    """Any cell, unrolled over time, in any depth and direction.

    x (T, B, input_size) or integers (T, B), which stand for one-hot vectors; y (T, B, hidden_size · directions), of a
    bidirectional layer the forward half first.  The state has torch's shape, (num_layers · directions, B, hidden_size)
    with layer by layer forward before reverse: one array, or a tuple of arrays for a cell with more than one (the
    LSTM's ``(h, c)``).  Of a cell with an ``output_size`` that is the width of y and of the first state.

    ``dropout`` acts on the output of every layer but the last; ``locked``, it has one mask for all steps (``Dropout``).
    ``weight_dropout`` acts on the entries of every U, with one mask a pass (derived in ``weight_dropout.py``).
    ``zoneout``, one probability or one for each state, leaves units as they were for a step; in inference a state is
    mixed with the one before in that proportion (derived in ``zoneout.py``).

    Weights of layer k are named ``k.W``, ``k.U``, ``k.b`` ..., of its reverse direction ``k.reverse.W`` ...

    ``cell`` is one of ``minirnn.cells`` or follows ``minirnn.core.protocol`` as they do; with one that has no
    transpose, as those of ``minirnn.recurrent.variants``, the layer is for inference only.
    """

    integers = True
    arguments = ("cell", *SHARED)
    _short: ShortCall | None = None
    __signature__: ClassVar[Signature]

    def __init_subclass__(cls) -> None:
        """A subclass that takes ``**options`` shows them one by one, with the defaults that they have here.

        ``help``, the documentation and ``repr`` read signatures; type checkers read ``Unpack[Options]``.
        """
        own = signature(cls.__init__)
        _, *parameters = own.parameters.values()
        if parameters and parameters[-1].annotation == Unpack[Options]:
            every = signature(Recurrent.__init__).parameters
            parameters[-1:] = [every[name] for name in Options.__annotations__]
        cls.__signature__ = own.replace(parameters=parameters)

    def __init__(
        self,
        cell: Any,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        locked: bool = False,
        weight_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        trainable_state: bool = False,
    ) -> None:
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        check_cell(cell, self.hidden_size)
        self.cell = cell
        self.inference_only = "" if trains(cell) else "its cell has no unstep"
        self.num_layers = check_size("num_layers", num_layers)
        self.bidirectional, self.trainable_state = bool(bidirectional), bool(trainable_state)
        self.dropout, self.locked = check_probability("dropout", dropout), bool(locked)
        self.weight_dropout = check_probability("weight_dropout", weight_dropout)
        if self.weight_dropout and not multiplies(stages_of(cell)[0]):
            raise ValueError(
                f"weight_dropout drops entries of U, which {name_of(cell)} has none of; got {weight_dropout}"
            )
        zoned = check_zoneout(cell, zoneout)
        self.zoneout = zoned[0] if len(set(zoned)) == 1 else zoned
        self.num_directions = 2 if bidirectional else 1
        self.output_size = width_of(cell, self.hidden_size) * self.num_directions
        self.directions = [
            Direction(
                cell,
                self.input_size if layer == 0 else self.output_size,
                self.hidden_size,
                reverse=bool(reverse),
                trainable_state=self.trainable_state,
                weight_dropout=self.weight_dropout,
                zoneout=zoned,
            )
            for layer in range(self.num_layers)
            for reverse in range(self.num_directions)
        ]
        self.names = [
            f"{i // self.num_directions}{'.reverse' if direction.reverse else ''}"
            for i, direction in enumerate(self.directions)
        ]

    def children(self) -> dict[str, Layer]:
        return dict(zip(self.names, self.directions, strict=True))

    def remarks(self) -> list[str]:
        return [f"{name_of(self.cell)} is for inference only: {self.inference_only}"] if self.inference_only else []

    def state_shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """The shape of each array of a state of ``batch`` rows."""
        return [(len(self.directions), batch, width) for width in widths_of(self.cell, self.hidden_size)]

    def check_state(self, state: State, batch: int, *, cotangent: bool = False) -> State:
        if state is None:
            return None
        names = self.cell.state
        if len(names) == 1:
            arrays: tuple[State, ...] = (state,)
        elif isinstance(state, (tuple, list)) and len(state) == len(names):
            arrays = tuple(state)
        else:
            raise ValueError(f"{type(self).__name__}'s state must be a tuple ({', '.join(names)}); got {_name(state)}")
        admitted = []
        for name, value, shape in zip(names, arrays, self.state_shapes(batch), strict=True):
            if value is None and cotangent:
                array = self.bound.backend.xp.zeros(shape, self.bound.dtype)
            else:
                array = self._admit_floats(f"state {name}", value)
            if array.shape != shape:
                width = "hidden_size" if shape[-1] == self.hidden_size else "output_size"
                raise ValueError(
                    f"state {name} must have shape (num_layers * directions, B, {width}) = {shape}; got {array.shape}"
                )
            admitted.append(array)
        return tuple(admitted) if len(names) > 1 else admitted[0]

    def __call__(
        self, x: Any, state: State = None, *, lengths: Any = None, batch_first: bool | None = None
    ) -> tuple[Array, State]:
        if lengths is None and not batch_first:
            if self.parameters is not self._prepared_for:
                self._short, self._prepared_for = prepare(self.directions, self.num_directions), self.bound
            result = self._short(x, state) if self._short else None
            if result:
                return result
        return super().__call__(x, state, lengths=lengths, batch_first=batch_first)

    def apply(self, x: Array, state: State, run: Run) -> Result:
        if run.skip is not None:
            return skipping(self, x, state, run, zero=self.bidirectional)
        backend, n = run.parameters.backend, self.num_directions
        if n == 1 < self.num_layers and run.in_segments(len(x)):
            return self._in_segments(x, state, run)
        rows = self._per_direction(state)
        pulls: list[tuple[list[Pull], Pull]] = []
        parts: list[tuple[str, Saved]] = []
        finals: list[State] = []
        for layer in range(self.num_layers):
            here = range(layer * n, (layer + 1) * n)
            if n == 1:
                results = [self.directions[layer].apply(x, rows[layer], run)]
                x = results[0].y
            else:  # both directions write their half of one output
                x, below = backend.empty((*x.shape[:2], n * self.directions[0].widths[0]), run.parameters.dtype), x
                halves = zip(here, split(x, n), strict=True)
                results = [self.directions[i].apply(below, rows[i], run, half) for i, half in halves]
            x = backend.locked(x) if run.training else x
            finals += [r.state for r in results]
            dropped = self._dropped(layer, x, run)
            x = dropped.y
            if run.training:
                pulls.append(([r.pull for r in results], dropped.pull))
                parts += [(self.names[i], result.saved) for i, result in zip(here, results, strict=True)]
                parts.append((f"{layer}.dropout", dropped.saved))

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            dfinals = self._per_direction(dstate)
            dinitials: list[State] = []
            for layer in reversed(range(self.num_layers)):
                inner, undrop = pulls[layer]
                dy, _ = undrop(dy, None)
                dhalves = (None,) * n if dy is None else split(dy, n)
                back = [inner[k](dhalves[k], dfinals[layer * n + k]) for k in range(n)]
                dinitials = [d for _, d in back] + dinitials
                sums = [dx for dx, _ in back if dx is not None]
                dy = sums[0] if sums else None
                for part in sums[1:]:
                    dy += part
            return dy, self._stacked(dinitials, backend.xp)

        return Result(x, self._stacked(finals, backend.xp), pull, joined(parts))

    def _in_segments(self, x: Array, state: State, run: Run) -> Result:
        """``apply`` of layers that read forward, with gradient checkpointing: each segment goes through all of them."""
        B, xp, layers, initial = x.shape[1], run.parameters.backend.xp, self.directions, state is None
        weights = [layer.weights_of(run) for layer in layers]
        levels = [
            Level(layer.recurrence, own, layer.simple_pass, f"{name}.", partial(self._dropped, k))
            for k, (layer, own, name) in enumerate(zip(layers, weights, self.names, strict=True))
        ]
        rest, spares = initial and not self.trainable_state, layers[0].spares(run)
        whole = CheckpointedPass(levels, run, reverse=False, rest=rest, spares=spares)
        starts = [layer.start(s, B, run) for layer, s in zip(layers, self._per_direction(state), strict=True)]
        y, final = whole.forward(x, tuple(chain(*starts)), None)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            zeros = [layer.zeros(B, run) for layer in layers]
            if dy is None and dstate is None:
                return None, self._stacked(zeros, xp)
            dfinals = zeros if dstate is None else self._per_direction(dstate)
            dx, dstate = whole.backward(dy, tuple(chain(*dfinals)))
            dinitials = by_layer(dstate, len(layers))
            for layer, own, dinitial in zip(layers, weights, dinitials, strict=True):
                layer.settle(own, dinitial, initial=initial)
            return dx, self._stacked(dinitials, xp)

        drawn = [(name, own.named()) for name, own in zip(self.names, weights, strict=True)]
        saved = Later(lambda: {**whole.named(), **joined(drawn)})
        return Result(run.parameters.backend.locked(y), self._stacked(by_layer(final, len(layers)), xp), pull, saved)

    def _dropped(self, layer: int, y: Array, run: Run) -> Result:
        """Dropout of a layer's output: of every one but the last."""
        p = self.dropout if layer + 1 < self.num_layers else 0.0
        return drop(y, p, f"{self.prefix}{layer}", run, locked=self.locked)

    def _per_direction(self, state: State) -> list[Arrays | None]:
        if state is None:
            return [None] * len(self.directions)
        arrays = state if isinstance(state, tuple) else (state,)
        return [tuple(a[i] for a in arrays) for i in range(len(self.directions))]

    def _stacked(self, states: list[State], xp: ModuleType) -> State:
        arrays = [s[0][None].copy() if len(s) == 1 else xp.stack(s) for s in zip(*states, strict=True)]
        return tuple(arrays) if len(arrays) > 1 else arrays[0]


def _name(state: State) -> str:
    if isinstance(state, (tuple, list)):
        return f"{type(state).__name__} of {len(state)}"
    return f"{type(state).__name__} of shape {getattr(state, 'shape', '?')}"


class RNN(Recurrent):
    """The vanilla network, h' = tanh(x W + h U + b), or relu with ``nonlinearity="relu"``; else as ``Recurrent``."""

    arguments = (*SHARED, "nonlinearity")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        **options: Unpack[Options],
    ) -> None:
        cell = _choose("nonlinearity", nonlinearity, {"tanh": TanhCell, "relu": ReluCell})
        self.nonlinearity = nonlinearity
        super().__init__(cell, input_size, hidden_size, num_layers, **_known(type(self), options))


class GRU(Recurrent):
    """The gated recurrent unit; else as ``Recurrent``.

    ``reset="after"`` is the form of torch and cuDNN and has one more weight ``bn (H)``, the bias inside the reset
    product; at zero and frozen, the layer is the chapter's concise GRU.  ``reset="before"`` is the form of the
    paper, and of the chapter's implementation from scratch.
    """

    arguments = (*SHARED, "reset")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset: str = "after",
        **options: Unpack[Options],
    ) -> None:
        cell = _choose("reset", reset, {"after": GRUCell, "before": GRUBeforeCell})
        self.reset = reset
        super().__init__(cell, input_size, hidden_size, num_layers, **_known(type(self), options))


class LSTM(Recurrent):
    """Long short-term memory with state ``(h, c)``; else as ``Recurrent``.

    With ``proj_size`` above 0, h is projected to that width by one more weight ``P (hidden_size, proj_size)``: y has
    proj_size features a direction, U is (proj_size, 4·hidden_size), and of the state h is (.., B, proj_size), c
    (.., B, hidden_size).  ``minirnn.cells.ProjectedLSTMCell`` derives it.
    """

    arguments = (*SHARED, "proj_size")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        proj_size: int = 0,
        **options: Unpack[Options],
    ) -> None:
        self.proj_size = check_size("proj_size", proj_size, least=0)
        if self.proj_size >= check_size("hidden_size", hidden_size):
            raise ValueError(f"proj_size must be less than hidden_size, {hidden_size}, or 0; got {proj_size}")
        cell = ProjectedLSTMCell(self.proj_size) if self.proj_size else LSTMCell
        super().__init__(cell, input_size, hidden_size, num_layers, **_known(type(self), options))


def _known(kind: type[Recurrent], options: Options) -> Options:
    """``options``, or the error that Python has for a keyword that the signature does not show."""
    for name in options:
        if name not in Options.__annotations__:
            raise TypeError(f"{kind.__name__}.__init__() got an unexpected keyword argument {name!r}")
    return options


def _choose(what: str, word: str, choices: dict[str, Any]) -> Any:
    if word not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}; got {word!r}")
    return choices[word]
