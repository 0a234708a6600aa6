"""The proof over time: a layer's backward pass is the transpose of the unrolled network, at exact numbers.

A whole ``Recurrent`` layer, or a ``Bidirectional`` of two, runs as it stands, by its plain pass: ``scan.py``, the
products around it, depth, both directions, lengths, masks, gradient checkpointing.  Only its arrays are others.  With v
a random direction of all that the layer reads, x, the weights and the initial state, and derivatives of the unrolled
network (``unrolled.py``) by the chain rule (``exact.py``),

    ⟨dy, y's derivative along v⟩ + ⟨dstate, the final state's⟩  =  ⟨dx, v⟩ + ⟨weights' gradients, v⟩ + ⟨dstate₀, v⟩

where the right side is what ``backward`` returns.  The outputs are compared as well, in training and in inference.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from minirnn.core.backend import NUMPY, Array, Backend, Dtype
from minirnn.core.layer import Layer, blank
from minirnn.core.lengths import ends
from minirnn.core.noise import keep_mask
from minirnn.core.protocol import multiplies, stages_of
from minirnn.core.run import Run
from minirnn.core.symbolic import Namespace, Symbolic, Value, full
from minirnn.layers.compose import Bidirectional
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.networks import Recurrent
from minirnn.recurrent.zoneout import zones
from minirnn.testing.precision import AnyCell
from minirnn.testing.proof.exact import Point
from minirnn.testing.proof.stages import array, equal, paired
from minirnn.testing.proof.unrolled import Unrolled

NOTHING = ("nothing",)  # moves


class ExactBackend(Backend):
    """The plain equations on exact numbers."""

    def __init__(self, point: Point) -> None:
        super().__init__("exact", "numpy", ("float64",))
        self.__dict__ |= {"point": point, "xp": Namespace(point)}

    def zeros(self, size: int, dtype: Dtype) -> Value:
        return full((size,), 0.0, self.__dict__["point"])

    def locked(self, a: Array) -> Array:
        return a


@dataclass(frozen=True)
class Setting:
    """A layer and how it is run."""

    words: str
    lengths: tuple[float, ...] = ()  # as parts of all steps; (): one row without lengths
    every: float = 0.0  # the same, of gradient checkpointing
    one_hot: bool = False  # x is integers
    pair: bool = False  # two layers in a ``Bidirectional``, and steps that a mask skips
    options: dict[str, Value] = field(default_factory=dict)


SETTINGS = (
    Setting("one row, both directions", options={"bidirectional": True}),
    Setting("one row of integers, for one-hot inputs", one_hot=True),
    Setting(
        "two rows of different lengths, both directions, zoneout, weight dropout, gradient checkpointing, learnt h₀",
        lengths=(1, 0.6),
        every=0.4,
        options={"bidirectional": True, "zoneout": 0.3, "weight_dropout": 0.3, "trainable_state": True},
    ),
    Setting("two rows of different lengths with skipped steps, a pair of layers", lengths=(1, 0.6), pair=True),
    Setting(
        "one row, two layers with dropout between them, gradient checkpointing of both at once",
        every=0.4,
        options={"num_layers": 2, "dropout": 0.3},
    ),
)


def settings_of(cell: AnyCell) -> tuple[Setting, ...]:
    """The settings for a cell: without a product there is no U whose entries could be dropped."""
    if multiplies(stages_of(cell)[0]):
        return SETTINGS
    return tuple(
        replace(
            setting,
            words=setting.words.replace("weight dropout, ", ""),
            options={name: value for name, value in setting.options.items() if name != "weight_dropout"},
        )
        for setting in SETTINGS
    )


def gaps(T: int, lengths: Array) -> Array:
    """(T, B) True where a mask skips a step: in a row's first half only, so that backwards it skips others."""
    t = np.arange(T)[:, None]
    skip: Array = (t < lengths // 2) & (t % 2 == 0)
    return skip


@dataclass
class OverTime:
    """The result for one setting: the arrays that are wrong, and log10 of the probability of an error."""

    setting: Setting
    wrong: list[str]
    error: float


class Case:
    """A layer of exact numbers, along the random direction of what is ``moving``, or of everything.

    ``levels`` are its directions, depth by depth, and ``steps[b]`` those of row b that are neither skipped nor past its
    end.  States are (directions, B, width) arrays, one a state.
    """

    def __init__(
        self, cell: AnyCell, setting: Setting, T: int, H: int, seed: int, moving: tuple[str, ...] = ()
    ) -> None:
        D, B = 2, max(1, len(setting.lengths))
        self.point, self.moving, self.learnt = Point(seed), moving, "trainable_state" in setting.options
        self.cell, self.pair = cell, setting.pair
        one, other = (Recurrent(cell, D, H, **setting.options) for _ in range(2))
        self.layer: Layer = Bidirectional(one, other) if setting.pair else one
        self.layer.init(0, backend="numpy", dtype="float64")
        self.dropout, depth = one.dropout, one.num_layers
        directions = [one for one in self.layer.walk() if isinstance(one, Direction)]
        self.levels = np.array(directions, object).reshape(depth, -1).tolist()
        self.parameters = self._filled()
        self.x = self.read = array(self.point, T, B, D, moves=self.moves("x"))
        if setting.one_hot:
            self.x = np.arange(T * B).reshape(T, B) * 7 // 4 % D
            self.read = Symbolic.of(np.eye(D)[self.x], self.point)
        shapes = [(len(directions), B, width) for width in directions[0].widths]
        self.state = tuple(array(self.point, *shape, moves=self.moves("state")) for shape in shapes)
        lengths = np.array([max(1, round(T * part)) for part in setting.lengths] or [T])
        past, flipped = ends(lengths, T) if setting.lengths else (None, None)
        skip = gaps(T, lengths) | past if setting.pair else None
        every = round(T * setting.every)
        self.run = Run(self.parameters, training=True, call=0, past=past, flipped=flipped, skip=skip, every=every)
        absent = np.zeros((T, B), bool) if self.run.skipped is None else self.run.skipped
        self.steps = [np.flatnonzero(~absent[:, b]) for b in range(B)]

    def _filled(self) -> Value:
        """The layer's parameters, with exact numbers in place of those that were drawn."""
        parameters: Value = self.layer.bound
        size = parameters.weights.size
        parameters.backend = ExactBackend(self.point)
        parameters.prepared.clear()
        parameters.weights, parameters.grads = (full((size,), 0.0, self.point) for _ in range(2))
        parameters.grads[...] = array(self.point, size, moves=False)  # which backward adds to
        for name, slot in parameters.slots.items():
            parameters.weights[slot.extent] = array(self.point, slot.size, moves=self.moves(name))
        return parameters

    def moves(self, name: str) -> bool:
        return not self.moving or name in self.moving

    def arrays(self) -> list[str]:
        """The names of all that has a gradient."""
        inputs = [name for name, absent in (("x", self.x is not self.read), ("state", self.learnt)) if not absent]
        return [*inputs, *self.parameters.slots]

    def passed(self, *, training: bool) -> tuple[Value, tuple[Value, ...], Value]:
        """y, the states, and what goes back."""
        state = None if self.learnt else self.of_layer(self.state)
        y, final, pull, *_ = self.layer.apply(self.x, state, self.run._replace(training=training))
        y = y if self.run.past is None else blank(y, self.run.past)  # as the layer's edge does
        return y, self.of_directions(final), pull

    def of_layer(self, states: tuple[Value, ...]) -> Value:
        """States as the layer takes them: each of a pair has its own."""
        each = [tuple(s[i : i + 1] for s in states) for i in range(2)] if self.pair else [states]
        forms = tuple(one[0] if len(one) == 1 else one for one in each)
        return forms if self.pair else forms[0]

    def of_directions(self, state: Value) -> tuple[Value, ...]:
        """The states that the layer has returned."""
        each = [one if isinstance(one, tuple) else (one,) for one in (state if self.pair else (state,))]
        return tuple(np.concatenate(parts) for parts in zip(*each, strict=True))

    def unrolled(self, *, training: bool) -> tuple[Value, tuple[Value, ...]]:
        """The same y and states from the definition, with the masks that the pass drew."""
        (T, B), y, finals = self.x.shape[:2], self.read, tuple(full(s.shape, 0.0, self.point) for s in self.state)
        for k, level in enumerate(self.levels):
            x, n, R = y, len(level), level[0].widths[0]
            y = full((T, B, R * n), 0.0, self.point)
            for i, direction in enumerate(level):
                self.unroll(direction, x, y[:, :, i * R : (i + 1) * R], k * n + i, finals, training=training)
            if training and self.dropout and k + 1 < len(self.levels):
                mask = keep_mask(NUMPY, self.parameters.seed, str(k), self.run.call, y.shape, self.dropout)
                y = np.where(mask, y * (1 / (1 - self.dropout)), 0.0)
        return y, finals

    def unroll(
        self, direction: Direction, x: Value, y: Value, place: int, finals: tuple[Value, ...], *, training: bool
    ) -> None:
        """Write to ``y`` what a direction makes of ``x``, and to ``finals`` its states, at its ``place`` among all."""
        (T, B), prefix, view = x.shape[:2], direction.prefix, self.parameters.view
        weights = {n: view(self.parameters.weights, prefix + n) for n in direction.specs()}
        U: Value = weights.get("U")
        share, run = None if training else direction.zoneout, self.run._replace(training=training)
        masks = zones(direction.recurrence, prefix, run, T, B)
        if training and direction.weight_dropout:
            p = direction.weight_dropout
            mask = keep_mask(NUMPY, self.parameters.seed, f"{prefix}U", run.call, (1, *U.shape), p)[0]
            U = np.where(mask, U * (1 / (1 - p)), 0.0)
        one = Unrolled(self.cell, weights, U, reverse=direction.reverse or (self.pair and place == 1))
        for b, steps in enumerate(self.steps):
            row = tuple(None if mask is None else mask[:, b] for mask in masks)
            start = tuple(s[place, b : b + 1] for s in self.state)
            if self.learnt:
                start = tuple(weights[f"{n}0"][None] for n in self.cell.state)
            outputs, final = one.row(x[steps, b], start, row, share)
            for t, h in zip(steps, outputs, strict=True):
                y[t, b : b + 1] = h
            for whole, part in zip(finals, final, strict=True):
                whole[place, b : b + 1] = part

    def inference_holds(self) -> bool:
        """Whether y and the states are the unrolled network's, in inference."""
        y, finals, _ = self.passed(training=False)
        true, states = self.unrolled(training=False)
        return all(equal(a, b) for a, b in zip((y, *finals), (true, *states), strict=True))

    def training_holds(self) -> tuple[bool, bool]:
        """The same in training, and whether the equation above holds."""
        y, finals, pull = self.passed(training=True)
        true, states = self.unrolled(training=True)
        outputs = all(equal(a, b) for a, b in zip((y, *finals), (true, *states), strict=True))
        dy = array(self.point, *y.shape, moves=False)
        dy = dy if self.run.past is None else blank(dy, self.run.past)
        dfinal = tuple(array(self.point, *a.shape, moves=False) for a in finals)
        before = self.parameters.grads.copy()
        dx, dstate = pull(dy, self.of_layer(dfinal))
        dx = dx if self.run.past is None else blank(dx, self.run.past)
        back: list[Value] = [(dx, self.read), (self.parameters.grads - before, self.parameters.weights)]
        if not self.learnt:
            back += zip(self.of_directions(dstate), self.state, strict=True)
        return outputs, paired([(dy, true), *zip(dfinal, states, strict=True)]) == paired(back)


def holds(cell: AnyCell, T: int, H: int, seed: int) -> bool:
    """Whether ``over_time`` has nothing to say."""
    for setting in settings_of(cell):
        if not all(Case(cell, setting, T, H, seed).training_holds()):
            return False
        if not Case(cell, setting, T, H, seed, NOTHING).inference_holds():
            return False
    return True


def over_time(cell: AnyCell, T: int, H: int, seed: int) -> Iterator[OverTime]:
    """Every setting: whether all outputs are the unrolled network's and all gradients its derivatives."""
    for setting in settings_of(cell):
        case = Case(cell, setting, T, H, seed)
        outputs, gradients = case.training_holds()
        wrong = [] if outputs else ["y"]
        if not gradients:
            alone = ((name, Case(cell, setting, T, H, seed, (name,))) for name in case.arrays())
            wrong += [f"d{name}" for name, one in alone if not one.training_holds()[1]]
        if not Case(cell, setting, T, H, seed, NOTHING).inference_holds():
            wrong.append("y in inference")
        yield OverTime(setting, wrong, case.point.error())
