"""The parts of a plan, as layers add them one after another."""

from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.formats.sources.plan import Each, Function, Operation, Reversed, Rows, Slot, State, Weight, Whole, Windows
from minirnn.formats.sources.words import harmless
from minirnn.inference.blocks import BlockedMatrix


class Planner:
    """The work of making a plan."""

    def __init__(self, network: Layer, *, index: bool, steps: int) -> None:
        self.network, self.steps = network, steps
        self.functions: list[Function] = []
        self.operations: list[Operation] = []
        self.rows: list[Rows] = []
        self.states: list[State] = []
        self.weights: list[Weight] = []
        self.counts = 1
        self.places: dict[int, str] = {}
        self._number(network, "")
        self.x = Rows("x", network.input_size or 0, steps, "n0", index)

    def _number(self, layer: Layer, place: str) -> None:
        """Name a layer and those in it by where they stand: names of a file's own might not be names here, or alike."""
        self.places[id(layer)] = f"layer_{place or 'whole'}"
        for k, child in enumerate(layer.children().values()):
            self._number(child, f"{place}_{k}" if place else str(k))

    def place(self, layer: Layer) -> str:
        """The name of a layer's function, with which those of its weights begin."""
        return self.places[id(layer)]

    def weight(self, name: str, weight: Any) -> Weight:
        """A weight of the model as a constant, with its scales if it has some; other narrow ones are widened."""
        scale = None
        by_row = False
        if isinstance(weight, BlockedMatrix):
            values = weight.dense() if weight.scale is None else weight.values()
            if weight.scale is not None:
                by_row = weight.transposed
                scale = Weight(f"{name}_scale", np.asarray(weight.scale[weight.columns], np.float32))
        else:
            values = weight
        dtype = np.int8 if values.dtype == np.int8 else np.float32
        made = Weight(name, np.ascontiguousarray(values, dtype), scale, by_row)
        self.weights += [made] if scale is None else [made, scale]
        return made

    def state(self, name: str, size: int, initial: Array | None = None) -> Slot:
        """A part of the state."""
        began = None if initial is None else self.weight(f"{name}_initial", initial)
        self.states.append(State(name, size, began))
        return Slot("state", name)

    def function(self, name: str, about: str, inputs: int, outputs: int, *, index: bool = False) -> Function:
        """A new function of one step."""
        made = Function(name, harmless(about), inputs, outputs, index)
        self.functions.append(made)
        return made

    def array(self, width: int, like: Rows, *, index: bool = False) -> Rows:
        """Rows for as many steps as others have."""
        made = Rows(f"rows{len(self.rows)}", width, like.steps, like.count, index)
        self.rows.append(made)
        return made

    def each(self, function: Function, source: Rows, *, reverse: bool = False) -> Rows:
        """A function at every step."""
        target = self.array(function.outputs, source)
        self.operations.append(Each(function, source, target, reverse=reverse))
        return target

    def reversed(self, source: Rows) -> Rows:
        """The steps in reverse."""
        target = self.array(source.width, source, index=source.index)
        self.operations.append(Reversed(source, target))
        return target

    def windows(self, layer: Any, kind: str, source: Rows, width: int, **more: Any) -> Rows:
        """A layer that reads windows of steps."""
        steps = int(layer.output_lengths(source.steps)) if source.steps else 0
        target = Rows(f"rows{len(self.rows)}", width, steps, f"n{self.counts}")
        self.counts += 1
        self.rows.append(target)
        sizes = layer.kernel_size, layer.stride, layer.left, layer.right, layer.dilation
        self.operations.append(Windows(kind, source, target, *sizes, **more))
        return target

    def whole(self, kind: str, source: Rows, width: int) -> Rows:
        """One step of all."""
        target = Rows(f"rows{len(self.rows)}", width, 1, "1")
        self.rows.append(target)
        self.operations.append(Whole(kind, source, target))
        return target
