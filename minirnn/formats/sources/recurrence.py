"""One step of a recurrent layer in one direction: its products, and between them the traced equations of its cell."""

import re
from typing import Any, TypeAlias

from minirnn.core.protocol import name_of
from minirnn.formats.sources.equations import Equations
from minirnn.formats.sources.plan import Compute, Fill, Function, Pick, Product, Rows, Slot
from minirnn.formats.sources.planner import Planner
from minirnn.formats.sources.tracing import cell_facts, checked, saved_names, with_numbers
from minirnn.kernels.facts import Place, Program, named
from minirnn.recurrent.direction import Direction

Places: TypeAlias = dict[Place, Slot]


def step_of(planner: Planner, layer: Direction, name: str, source: Rows) -> Function:
    """The function of a direction, with its weights and its state."""
    return _Step(planner, layer, name, source).function


class _Step:
    """The work of making the function."""

    def __init__(self, planner: Planner, layer: Direction, name: str, source: Rows) -> None:
        self.planner, self.layer, self.name, self.H = planner, layer, name, layer.hidden_size
        self.facts = facts = cell_facts(layer.cell, layer.zoneout, name_of(layer.cell))
        R, H = layer.widths[0], self.H
        about = f"{name_of(layer.cell)} of {H} units{', in reverse' if layer.reverse else ''}"
        self.function = planner.function(name, about, source.width, R, index=source.index)
        self.p = self.function.local("p", facts.gates * H)
        self._input(source)
        self.shares = {Place(named("z", k)): share for k, share in enumerate(p for p in layer.zoneout if p)}
        self.states = [
            planner.state(f"{name}_{word}", width, layer.weight(f"{state}0") if layer.trainable_state else None)
            for state, word, width in zip(layer.cell.state, _words(layer.cell.state), layer.widths, strict=True)
        ]
        self.units = []
        for unit, word in zip(facts.units, _words(facts.units), strict=True):
            self.units.append(Slot("weight", planner.weight(f"{name}_{word}", layer.weight(unit)).name))
        self.beside: dict[str, Slot] = {}
        for k, stage in enumerate(facts.stages):
            q = self._product(k)
            loads, stores = self._places(q, matrix=bool(stage.matrix))
            for program, width in ((stage.narrow_step, R), (stage.step, H)):
                self._compute(k, program, width, loads, stores)
        self.function.statements.append(Fill(Slot("y", "y"), self.states[0], R))

    def _input(self, source: Rows) -> None:
        """p = x W + b."""
        b = self.planner.weight(f"{self.name}_b", self.layer.weight("b"))
        W = self.planner.weight(f"{self.name}_W", self.layer.weight("W"))
        x = Pick(self.p, W) if source.index else Product(self.p, Slot("x", "x"), W, 0, source.width)
        self.function.statements += [Fill(self.p, Slot("weight", b.name), W.values.shape[1]), x]

    def _product(self, k: int) -> Slot | None:
        """The product of stage k is added to its gates' arguments; what is to be kept apart gets an array, returned."""
        facts, H, layer, statements = self.facts, self.H, self.layer, self.function.statements
        stage = facts.stages[k]
        if not stage.product:
            return None
        source = self.states[0] if k == 0 else self._local(stage.operand.array, H)
        rows = layer.widths[0] if k == 0 else H
        if stage.matrix:
            M = self.planner.weight(f"{self.name}_{_words([stage.matrix])[0]}", layer.weight(stage.matrix))
            q = self.function.local("q", layer.widths[0])
            statements += [Fill(q, None, layer.widths[0]), Product(q, source, M, 0, rows)]
            return q
        first, last = stage.first * H, (stage.first + stage.gates) * H
        middle = last - facts.apart * H
        word = f"{self.name}_U{k if len(facts.stages) > 1 else ''}"
        U = layer.weight("U")
        if middle > first:
            weight = self.planner.weight(word, U[:, first:middle])
            statements.append(Product(self.p._replace(first=first), source, weight, 0, rows))
        if not facts.apart:
            return None
        q = self.function.local("q", facts.apart * H)
        bias = None
        if facts.bias:
            bias = Slot("weight", self.planner.weight(f"{self.name}_{facts.bias}", layer.weight(facts.bias)).name)
        weight = self.planner.weight(f"{word}_apart", U[:, middle:last])
        statements += [Fill(q, bias, facts.apart * H), Product(q, source, weight, 0, rows)]
        return q

    def _local(self, array: str, size: int) -> Slot:
        """An array within the step."""
        if array not in self.beside:
            self.beside[array] = self.function.local(array, size)
        return self.beside[array]

    def _places(self, q: Slot | None, *, matrix: bool) -> tuple[Places, Places]:
        """Where a stage's programs load from, and where they store."""
        facts, H = self.facts, self.H
        stores = {Place("y"): self.states[0]}
        stores |= {Place(named("c", k)): state for k, state in enumerate(self.states[1:])}
        for array in facts.beside:
            if array[0] in "ams":
                stores[Place(array)] = self._local(array, 1 if array[0] == "s" else H)
        loads = dict(stores)
        loads |= {place._replace(before=True): slot for place, slot in stores.items()}
        loads |= {Place("gates", k): self.p._replace(first=k * H) for k in range(facts.gates)}
        loads |= {Place("w", k): slot for k, slot in enumerate(self.units)}
        if q is not None and matrix:
            loads[Place("y")] = q
        elif q is not None:
            loads |= {Place("u", k): q._replace(first=k * H) for k in range(facts.apart)}
        return loads, stores

    def _compute(self, k: int, program: Program, width: int, loads: Places, stores: Places) -> None:
        if not program.results:
            return
        names = saved_names(self.layer.cell, self.facts, k, program)
        settled = checked(with_numbers(program, self.shares), name_of(self.layer.cell))
        equations = Equations(settled, names)
        self.function.statements.append(Compute(equations, width, loads, stores))


def _words(names: Any) -> list[str]:
    """Parts of names in any language, one for each of a cell's own, all different."""
    words: list[str] = []
    for k, name in enumerate(names):
        word = re.sub(r"[^0-9A-Za-z_]", "", str(name))
        words.append(word if word and word not in words else f"{word}{k}")
    return words
