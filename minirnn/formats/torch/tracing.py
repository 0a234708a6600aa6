"""What a program of torch's computes, followed from its inputs: tensors, and the layers that make each of others.

A program is TorchScript's code or a graph of torch.export; ``rules`` and ``moves`` say what its operations are here.
Which axis of a tensor has rows, steps or features is often known only by what reads it later: an axis is a number until
then, and "B", "T" or "D" afterwards.  How many there are may be unknown too.
"""

from typing import Any, NamedTuple, TypeAlias

from minirnn.formats.torch.outline import Node, Outline, ProgramGraph, ProgramInput, Settings, Step

MOST_STEPS = 400  # layers that are called
ONE = "1"  # an axis of one number, as pooling over all steps leaves

Axis: TypeAlias = int | str
Axes: TypeAlias = int | tuple[int | str, ...]
Value: TypeAlias = Any  # of those below, or a constant, a list, a tuple


class NotFollowedError(Exception):
    """Why a program is no graph of layers, in words."""


class Unknown(NamedTuple):
    """What no layer stands for, in words."""

    words: str


class Weight(NamedTuple):
    """A tensor of the file, by its name in the state dict."""

    name: str


class Zeros(NamedTuple):
    """A tensor of zeros, as initial states are."""


class Tensor(NamedTuple):
    """What a node makes of the inputs."""

    node: int
    axes: Axes


class States(NamedTuple):
    """The final states of a recurrent module whose output is ``y``: how many, in how many directions, h or c."""

    y: Tensor
    number: int
    directions: int
    name: str


class FinalState(NamedTuple):
    """One of them, by its place among them."""

    of: States
    place: int


class Halfway(NamedTuple):
    """A part of softsign, x / (|x| + 1), which torch computes so: ``name`` is "abs" or "abs + 1"."""

    x: Tensor
    name: str


class Trace:
    """The nodes of a program, and what it says of the modules that were met: as an ``Outline`` has them, by path."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: dict[int, tuple[str, Axes]] = {}  # names and axes, by node
        self.settings: dict[str, Settings] = {}
        self.kinds: dict[str, str] = {}
        self.about: dict[str, dict[str, Any]] = {}
        self._axes: dict[int, Axis] = {}
        self._shapes: dict[int, Axes] = {}
        self._count = 0

    # ------------------------------------------------------------------ nodes

    def input(self, name: str, rank: int | None = None) -> Tensor:
        """A new input."""
        axes = self.some() if rank is None else tuple(self.some() for _ in range(rank))
        self.inputs[len(self.nodes)] = name, axes
        return self._added(Node(None), axes)

    def add(self, step: Step, *reads: Tensor, axes: Axes, initial: int | None = None) -> Tensor:
        """What a layer makes of others."""
        return self._added(Node(step, tuple(x.node for x in reads), initial), axes)

    def same(self, step: Step, x: Tensor) -> Tensor:
        """What a layer makes whose axes are those of what it reads."""
        return self.add(step, x, axes=x.axes)

    def state(self, of: FinalState) -> Tensor:
        """A final state as a tensor of its own."""
        return self._added(Node(None, (of.of.y.node,), state=(of.place, of.of.name)), ("B", "D"))

    def _added(self, node: Node, axes: Axes) -> Tensor:
        if len(self.nodes) > MOST_STEPS:
            raise NotFollowedError(f"it has more than {MOST_STEPS} steps")
        self.nodes.append(node)
        return Tensor(len(self.nodes) - 1, axes)

    # ------------------------------------------------------------------ axes

    def some(self) -> int:
        """An axis, or axes, of which nothing is known."""
        self._count += 1
        return self._count

    def axes(self, x: Tensor | Axes) -> tuple[Axis, ...] | None:
        """Those of a tensor, as far as they are known; None where not even their number is."""
        axes = x.axes if isinstance(x, Tensor) else x
        while isinstance(axes, int) and axes in self._shapes:
            axes = self._shapes[axes]
        return None if isinstance(axes, int) else tuple(self._found(axis) for axis in axes)

    def letters(self, x: Tensor | Axes) -> str:
        """The same in one word, "?" for an axis that is not known, and for all of them."""
        return "".join(axis if isinstance(axis, str) else "?" for axis in self.axes(x) or "?")

    def fits(self, x: Tensor, letters: str) -> bool:
        """Whether these may be its axes; from now on they are."""
        return self.alike(x.axes, tuple(letters))

    def alike(self, one: Axes, other: Axes) -> bool:
        """Whether two tensors may have the same axes; from now on they have."""
        while isinstance(one, int) and one in self._shapes:
            one = self._shapes[one]
        while isinstance(other, int) and other in self._shapes:
            other = self._shapes[other]
        if isinstance(one, int):
            if one != other:
                self._shapes[one] = other
            return True
        if isinstance(other, int):
            self._shapes[other] = one
            return True
        return len(one) == len(other) and all(self.is_same(a, b) for a, b in zip(one, other, strict=True))

    def is_same(self, one: Axis, other: Axis) -> bool:
        """Whether two axes may be the same; from now on they are."""
        one, other = self._found(one), self._found(other)
        if isinstance(one, int) and one != other:
            self._axes[one] = other
        elif isinstance(other, int) and one != other:
            self._axes[other] = one
        return one == other or not (isinstance(one, str) and isinstance(other, str))

    def of_rank(self, x: Tensor, rank: int) -> tuple[Axis, ...] | None:
        """Its axes, which from now on are as many, unless they are known to be others."""
        axes = self.axes(x)
        if axes is None:
            axes = tuple(self.some() for _ in range(rank))
            self.alike(x.axes, axes)
        return axes if len(axes) == rank else None

    def _found(self, axis: Axis) -> Axis:
        while isinstance(axis, int) and axis in self._axes:
            axis = self._axes[axis]
        return axis

    # ------------------------------------------------------------------ what was followed

    def outline(self, result: Value) -> Outline:
        """What a program says that gives this, a tensor, or a tuple of them or that begins with one."""
        results = list(result) if type(result) in (tuple, list) and result else [result]
        results = [self.state(one) if isinstance(one, FinalState) else one for one in results]
        if not all(isinstance(one, Tensor) for one in results):  # what follows is for the one who trains
            results = results[:1]
        if isinstance(results[0], Unknown):
            raise NotFollowedError(results[0].words)
        nodes = [one.node for one in results if isinstance(one, Tensor) and one.node not in self.inputs]
        if not nodes:
            raise NotFollowedError("its output is not what layers make of its input")
        steps = self._chain(nodes[0]) if len(set(nodes)) == 1 else None
        graph = None if steps is not None else self._graph(nodes)
        orders = [self.letters(axes) for _, axes in self.inputs.values()]
        first = next((letters.index("B") < letters.index("T") for letters in orders if {*"BT"} <= {*letters}), None)
        steps = steps or ()
        return Outline(steps, self.settings, self.kinds, (), True, self.about, graph, first)  # noqa: FBT003 - a field

    def _graph(self, outputs: list[int]) -> ProgramGraph:
        """The nodes that these outputs are made of."""
        needed: set[int] = set()
        waiting = list(outputs)
        while waiting:
            one = waiting.pop()
            if one not in needed:
                needed.add(one)
                node = self.nodes[one]
                waiting += [*node.reads, *([node.initial] if node.initial is not None else [])]
        nodes = {one: self.nodes[one] for one in sorted(needed)}
        inputs = {one: ProgramInput(name, self.letters(axes)) for one, (name, axes) in self.inputs.items()}
        return ProgramGraph(nodes, {one: about for one, about in inputs.items() if one in needed}, tuple(outputs))

    def _chain(self, node: int) -> tuple[Step, ...] | None:
        """The steps from the only input to this node; None where there are branches, or a module computes twice."""
        steps: list[Step] = []
        while node not in self.inputs:
            one = self.nodes[node]
            if one.step is None or len(one.reads) != 1 or one.initial is not None:
                return None
            steps.append(one.step)
            (node,) = one.reads
        paths = [step.path for step in steps if step.layer is None]
        return tuple(reversed(steps)) if len(set(paths)) == len(paths) else None
