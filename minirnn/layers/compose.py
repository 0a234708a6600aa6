"""Composition without autograd: a layer made of layers calls their backward passes in reverse."""

import copy
from types import ModuleType
from typing import Any

from minirnn.cells import split
from minirnn.core.backend import Array
from minirnn.core.layer import Layer, blank, each_step
from minirnn.core.module import brief
from minirnn.core.parameters import Parameters
from minirnn.core.protocol import Arrays
from minirnn.core.run import Pull, Result, Run, Saved, State, joined
from minirnn.scan import flip, reversed_run


class Composite(Layer):
    """The base of layers made of layers, whose state is a tuple with one entry for each of them, None for 0."""

    in_parts = True
    _joins: bool  # whether any of the layers had weights when they were joined

    def has_some(self) -> bool:
        return self.parameters is not None or self._joins

    def check_state(self, state: State, batch: int, *, cotangent: bool = False) -> State:
        layers = self.children()
        state = (None,) * len(layers) if state is None else state
        if not isinstance(state, (tuple, list)) or len(state) != len(layers):
            raise ValueError(
                f"a {type(self).__name__}'s state is a tuple with one entry a layer, here {len(layers)}; "
                f"got {type(state).__name__}{f' of {len(state)}' if isinstance(state, (tuple, list)) else ''}"
            )
        return tuple(
            layer.check_state(s, batch, cotangent=cotangent) for layer, s in zip(layers.values(), state, strict=True)
        )


class Sequential(Composite):
    """Layers one after another: ``Sequential(Embedding(28, 32), GRU(32, 64), Linear(64, 28))``.

    The state is a tuple with one entry a layer, None for those without.  Layer k's weights are named ``k.…``.

    Layers that have weights already, their own or as parts of a model, are copied with them: the new model's weights
    lie in vectors of its own, and what the layers come from stays as it was.  ``Sequential(*model.layers[:2],
    Activation("relu"), model[2])`` is ready to use; where other layers have no weights yet, ``init`` draws those.
    Frozen weights stay frozen, tied ones tied.  All must be of one dtype on one backend (``layer.to``).
    """

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("Sequential expects at least one layer; got none")
        check_distinct("Sequential", layers)
        width: int | None = None
        timed, masked = True, False
        for k, layer in enumerate(layers):
            if k and not layer.floats:
                raise ValueError(f"layer {k}, {brief(layer)}, takes integers: it can only be the first")
            if not timed and not layer.timeless:
                raise ValueError(
                    f"layer {k}, {brief(layer)}, needs steps, and a layer before it has reduced them to one"
                )
            if masked and not layer.skips:
                raise ValueError(
                    f"layer {k}, {brief(layer)}, reads steps beside each other: it cannot go without those that a "
                    f"layer before it masks"
                )
            if width is not None and layer.input_size not in (None, width):
                raise ValueError(
                    f"layer {k}, {brief(layer)}, expects {layer.input_size} features; those before it give {width}"
                )
            width = layer.output_size or width
            timed = timed and layer.keeps_time
            masked = timed and (masked or (layer.masks and not isinstance(layer, Bidirectional)))
        self.layers = adopted("Sequential", layers)
        # layers that take any width hand it on, so the first that does not says what x must have
        self.input_size = next((layer.input_size for layer in layers if layer.input_size), None)
        self.output_size = width
        self.integers, self.floats = layers[0].integers, layers[0].floats
        self.keeps_time, self.timeless = timed, all(layer.timeless for layer in layers)
        self._joins = settle(self)

    def output_lengths(self, lengths: Any) -> Any:
        for layer in self.layers:
            lengths = layer.output_lengths(lengths)
        return lengths

    def check_steps(self, T: int) -> int:
        for layer in self.layers:
            T = layer.check_steps(T)
            if not layer.keeps_time:
                break
        return T

    def __getitem__(self, k: int) -> Layer:
        return self.layers[k]

    def __len__(self) -> int:
        return len(self.layers)

    def children(self) -> dict[str, Layer]:
        return {str(k): layer for k, layer in enumerate(self.layers)}

    def describe(self) -> str:
        lines = [f"  ({k}): {indent(layer.describe())}" for k, layer in enumerate(self.layers)]
        return "\n".join(["Sequential(", *lines, ")"])

    def apply(self, x: Array, state: State, run: Run) -> Result:
        pulls: list[Pull] = []
        finals: list[State] = []
        parts: list[tuple[str, Saved]] = []
        past = run.past
        for name, layer, initial in zip(self.children(), self.layers, state, strict=True):
            x, final, pull, saved, changed = layer.apply(x, initial, run)
            finals.append(final)
            if run.training:
                pulls.append(pull)
                parts.append((name, saved if run.past is past else ended(saved, run)))
            run = changed or run

        def pull_all(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            dinitials: list[State] = []
            for pull, dfinal in zip(reversed(pulls), reversed(dstate), strict=True):
                dy, dinitial = pull(dy, dfinal)
                dinitials.append(dinitial)
            return dy, tuple(reversed(dinitials))

        return Result(x, tuple(finals), pull_all, joined(parts), run)


def ended(saved: Saved, run: Run) -> Saved:
    """The same readers, 0 past the end of each row of ``run``, whose lengths an earlier layer has changed."""
    past = run.past
    return saved if past is None else each_step(saved, past.shape, lambda a: blank(a, past))


MERGES = ("concat", "sum", "mul", "ave")


class Bidirectional(Composite):
    """Two layers over the same input, one of them in reverse, and their outputs in one.

    ``reverse`` is a copy of ``forward`` unless it is given; layers that have weights are copied with them, as in a
    Sequential.  Within a row's length the second layer reads the steps last to first, and its output is turned back, so
    ``y[t]`` holds what both know at step t.  The two may also both reduce the steps to one, as in
    ``Bidirectional(Sequential(LSTM(2, 3), Last()))``; then ``y`` (B, ...) is what each knows at its end.  The state is
    a pair ``(forward's, reverse's)``; weights are named ``forward.…``, ``reverse.…``.

    ``merge`` is ``"concat"``, side by side on the features, ``"sum"``, ``"mul"`` or ``"ave"``, entry by entry.  Under a
    mask ``y`` is 0 at skipped steps, as in Keras; a mask that one of the two finds is its own.
    """

    def __init__(self, forward: Layer, reverse: Layer | None = None, merge: str = "concat") -> None:
        check_distinct("Bidirectional", (forward,) if reverse is None else (forward, reverse))
        if reverse is None:
            (self.ahead,) = adopted("Bidirectional", (forward,))
            (self.back,) = adopted("Bidirectional", (copy.deepcopy(forward) if self.ahead is forward else forward,))
        else:
            self.ahead, self.back = adopted("Bidirectional", (forward, reverse))
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(MERGES)}; got {merge!r:.60}")
        self.merge, self.keeps_time = merge, self.ahead.keeps_time
        if self.ahead.keeps_time is not self.back.keeps_time:
            one, other = (self.ahead, self.back) if self.ahead.keeps_time else (self.back, self.ahead)
            raise ValueError(
                f"Bidirectional joins two outputs of a kind: {brief(other)} reduces the steps to one, "
                f"{brief(one)} does not"
            )
        for layer in (self.ahead, self.back):
            if layer.changes_steps:
                raise ValueError(f"Bidirectional expects layers that keep the number of steps; {brief(layer)} does not")
        if forward.input_size != self.back.input_size:
            raise ValueError(
                f"Bidirectional expects two layers of one input; got {brief(forward)} and {brief(self.back)}"
            )
        self.input_size = forward.input_size
        widths = (self.ahead.output_size, self.back.output_size)
        if None in widths or widths[0] != widths[1]:
            raise ValueError(
                f"Bidirectional expects two layers with outputs of one width; got {widths[0]} and {widths[1]}"
            )
        self.output_size = (2 if merge == "concat" else 1) * (widths[0] or 0)
        self.integers = forward.integers and self.back.integers
        self.floats = forward.floats and self.back.floats
        if not self.integers and not self.floats:
            raise ValueError(
                f"Bidirectional expects two layers of one input; {brief(forward)} and {brief(self.back)} share none"
            )
        self._joins = settle(self)

    @property
    def reads_ahead(self) -> bool:
        return True

    def check_steps(self, T: int) -> int:
        return max(self.ahead.check_steps(T), self.back.check_steps(T))

    def children(self) -> dict[str, Layer]:
        return {"forward": self.ahead, "reverse": self.back}

    def describe(self) -> str:
        lines = [f"  {name}: {indent(layer.describe())}" for name, layer in self.children().items()]
        lines += [f"  merge={self.merge!r}"] if self.merge != "concat" else []
        return "\n".join(["Bidirectional(", *lines, ")"])

    def apply(self, x: Array, state: State, run: Run) -> Result:
        skip = run.skip if self.keeps_time else None
        ahead = self.ahead.apply(x, state[0], run)
        back = self.back.apply(flip(x, run), state[1], reversed_run(run))
        one, other = ahead.y, flip(back.y, run) if self.keeps_time else back.y
        y = merged(self.merge, run.parameters.backend.xp, one, other)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            dy = blank(dy, skip) if dy is not None and skip is not None else dy
            done, dother = (None, None) if dy is None else parted(self.merge, dy, one, other)
            dx, dstate_ahead = ahead.pull(done, dstate[0])
            dother = flip(dother, run) if dother is not None and self.keeps_time else dother
            dflipped, dstate_back = back.pull(dother, dstate[1])
            if dflipped is not None:
                dflipped = flip(dflipped, run)
                dx = dflipped if dx is None else dx + dflipped
            return dx, (dstate_ahead, dstate_back)

        reverse_saved = each_step(back.saved, x.shape[:2], lambda a: flip(a, run))
        saved = joined([("forward", ahead.saved), ("reverse", reverse_saved)])
        return Result(y if skip is None else blank(y, skip), (ahead.state, back.state), pull, saved)


def merged(how: str, xp: ModuleType, a: Array, b: Array) -> Array:
    """Two outputs in one."""
    if how == "concat":
        joint: Array = xp.concatenate([a, b], axis=-1)
        return joint
    return a * b if how == "mul" else a + b if how == "sum" else (a + b) * 0.5


def parted(how: str, dy: Array, a: Array, b: Array) -> Arrays:
    """The transpose of ``merged``: the gradients of a and b."""
    if how == "concat":
        return split(dy, 2)
    if how == "mul":
        return dy * b, dy * a
    return (dy, dy) if how == "sum" else (dy * 0.5, dy * 0.5)


def check_distinct(what: str, layers: tuple[Layer, ...]) -> None:
    """Raise ValueError where one layer object stands in two places, TypeError where something is no layer."""
    seen: set[int] = set()
    for k, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"{what} expects layers; got {type(layer).__name__} in place {k}")
        if id(layer) in seen:
            raise ValueError(
                f"{what} has {brief(layer)} in two places; each needs a layer of its own (copy.deepcopy makes one)"
            )
        seen.add(id(layer))


def adopted(what: str, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers that a new model consists of: copies of those with weights, which still refer to where these are.

    A layer that is tied to one of those is copied too, so that its copy is tied to the copy.  Raises ValueError where
    weights are not stored alike, or a layer with weights uses those of another that is not here.
    """
    if not any(layer.has_some() for layer in layers):
        return layers
    inside = [part for layer in layers for part in layer.walk()]
    kinds: dict[str, Layer] = {}
    memo: dict[int, object] = {}  # of copies: they share what holds the weights, until they are given their own
    copied: set[int] = set()
    for layer in layers:
        full = [part for part in layer.walk() if part.parameters is not None]
        for part in full:
            memo[id(part.bound)] = part.bound
            if part.specs():
                kinds.setdefault(part.bound.kind, layer)
            for other in part.partners():
                if not any(other is one for one in inside):
                    raise ValueError(
                        f"{brief(part)} uses the weights of {brief(other)}, which {what} does not join with it"
                    )
        copied |= {id(part) for part in layer.walk()} if full else set()
    if len(kinds) > 1:
        both = " and ".join(f"{kind} ({brief(layer)})" for kind, layer in kinds.items())
        raise ValueError(
            f"{what} joins weights of one dtype on one backend; got {both}: convert layers with to(), "
            f"and quantise the whole"
        )

    def copies(layer: Layer) -> bool:
        parts = list(layer.walk())
        return any(id(one) in copied for part in parts for one in (part, *part.partners()))

    return tuple(copy.deepcopy(layer, memo) if copies(layer) else layer for layer in layers)


def settle(model: Layer) -> bool:
    """Give a model of adopted layers vectors of its own, with their weights, where none are missing.

    Else every part with weights has its own, until ``init`` draws those that are missing.  Returns whether any layer
    had weights; asked of each model once, since models may be nested deep.
    """
    if not any(child.has_some() for child in model.children().values()):
        return False
    full = [part for part in model.walk() if part.parameters is not None]
    like = next((part.bound for part in full if part.specs()), full[0].bound)
    missing = model.missing()
    if missing is None:
        _separate(model, like)
        return True
    if like.quantized:
        raise ValueError(
            f"{brief(missing)} has no weights yet, and other layers are quantised to {like.quantized}: "
            f"join layers first, and quantise the whole"
        )
    stack: list[Any] = list(model.children().values())
    while stack:
        part = stack.pop()
        if part.parameters is None:
            stack += part.children().values()
        else:
            _separate(part, part.bound)
    return True


def _separate(layer: Layer, like: Parameters) -> None:
    """Give a layer that shares vectors with others, and all in it, vectors of their own with the same weights."""
    new = like.gathered(layer.all_specs(), layer.sources())
    for part in layer.walk():
        part.parameters = None  # so that what pends on the shared ones may go on
    layer.bind(new)


def indent(text: str) -> str:
    """All lines after the first moved in by two, for a description within a description."""
    return text.replace("\n", "\n  ")
