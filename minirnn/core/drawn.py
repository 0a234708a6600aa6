"""A traced cell held against itself: its programs and its own functions on the same numbers."""

import math
from typing import TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.graph import run
from minirnn.core.protocol import Stage, units_of
from minirnn.core.symbolic import Value
from minirnn.core.zones import Zones
from minirnn.kernels.facts import CellFacts, Place, named, state_place

SHAPE = 3, 5  # rows and units
DRAWN = 2  # times
Pairs: TypeAlias = list[tuple[Value, Value]]  # of what must be equal


def agrees(facts: CellFacts, stages: tuple[Stage, ...], zoneout: Zones, *, wider: int) -> bool:
    """Whether the programs in ``facts`` compute what these stages do; h is wider than other states by ``wider``."""
    pairs = Pairs()
    with np.errstate(all="ignore"):
        for seed in range(DRAWN):
            drawn = _Drawn(facts, stages, zoneout, wider, seed)
            pairs += drawn.forward()
            if not zoneout.inference:
                pairs += drawn.backward()
        return all(np.allclose(a, b, 1e-9, 1e-12, equal_nan=True) for a, b in pairs)


class _Drawn:
    """A cell and its programs on the numbers of one ``seed``: pairs of what must be equal."""

    def __init__(self, facts: CellFacts, stages: tuple[Stage, ...], zoneout: Zones, wider: int, seed: int) -> None:
        self.facts, self.stages, self.zoneout, self.seed = facts, stages, zoneout, seed
        B, H = SHAPE
        self.widths = [H + wider, *[H] * (facts.states - 1)]
        self.states = [scattered(seed + k, B, n) for k, n in enumerate(self.widths)]
        self.w = [scattered(seed + 20 + k, H) for k in range(len(facts.units))]
        widths = [self.widths[k] for k in zoneout.zoned]
        self.zones = [(scattered(seed + 30 + k, B, n) > 0).astype(float) for k, n in enumerate(widths)]
        self.memory = {Place("w", k): w for k, w in enumerate(self.w)}
        self.memory |= {Place(named("z", k)): zone for k, zone in enumerate(self.zones)}

    def units(self, k: int) -> list[Array]:
        """The per-unit weights of stage k without biases."""
        start = self.facts.stages[k].weights + len(self.facts.stages[k].biases)
        return self.w[start : start + len(units_of(self.stages[k]))]

    def forward(self) -> Pairs:
        """Each stage's step, between products that are drawn too."""
        (B, H), facts = SHAPE, self.facts
        flow, memory, pairs, self.saved = tuple(self.states), self.memory, Pairs(), list[tuple[Array, ...]]()
        memory |= {state_place(k, before=True): s for k, s in enumerate(self.states)}
        for k, (stage, one) in enumerate(zip(self.stages, facts.stages, strict=True)):
            if one.matrix:
                p, q = np.zeros((B, 0)), scattered(self.seed + 10 + k, B, self.widths[0])
                memory[Place("y")] = q
            else:
                p, q = scattered(self.seed + 10 + k, 2, B, len(stage.gates) * H) * [[[1]], [[one.product]]]
                sums, parts = ([*np.split(a, len(stage.gates), axis=-1)] for a in (p + q, q))
                for i, at in enumerate(range(one.gates - facts.apart, one.gates)):
                    sums[at], memory[Place("u", i)] = sums[at] - parts[at], parts[at].copy()
                memory |= {Place("gates", one.first + i): a for i, a in enumerate(sums)}
                for i, gate in enumerate(one.biases):  # which the programs add: parts of q
                    parts[stage.gates.index(gate)] += self.w[one.weights + i]
            flow, saved = stage.step(p, q if one.product else q[:, :0], flow, *self.units(k))
            self.saved.append(saved)
            run(one.narrow_step, memory)
            run(one.step, memory)
            if one is not facts.stages[-1]:
                pairs.append((memory[facts.stages[k + 1].operand], flow[0]))
        after = self.zoneout.after(self.states, flow, self.zones)
        pairs += [(memory[state_place(k, before=False)], a) for k, a in enumerate(after)]
        for one, saved in zip(facts.stages, self.saved, strict=True):
            pairs += [(memory[place], a) for place, a in zip(one.saved, saved, strict=not self.zoneout.inference)]
        return pairs

    def backward(self) -> Pairs:
        """Each stage's transpose, the last first."""
        (B, H), facts, memory, pairs = SHAPE, self.facts, self.memory, Pairs()
        dstate = [scattered(self.seed + 40 + k, B, n) for k, n in enumerate(self.widths)]
        memory |= {Place("dc", k - 1) if k else Place("dh"): d for k, d in enumerate(dstate)}
        flow = self.zoneout.passed_on(dstate, self.zones)
        for k, one in reversed(list(enumerate(facts.stages))):
            stage = self.stages[k]
            dp, dq, direct, *dw = stage.unstep(flow, self.saved[k], *self.units(k))
            run(one.narrow_unstep, memory)
            run(one.unstep, memory)
            if one.matrix:
                pairs.append((memory[Place("dq")], dq))
            else:
                dps, dqs = (np.split(d, one.gates, axis=-1) for d in (dp, dq if one.product else dp))
                places = [Place("dp", one.first + i) for i in range(one.gates)]
                pairs += [(memory[place], d) for place, d in zip(places, dps, strict=True)]
                places[one.gates - facts.apart :] = [Place("dq", i) for i in range(facts.apart)]
                pairs += [(memory[place], d) for place, d in zip(places, dqs, strict=True)]
                dw = [*(dqs[stage.gates.index(gate)] for gate in one.biases), *dw]
            pairs += [(memory[Place("dw", one.weights + i)], d) for i, d in enumerate(dw)]
            if k:
                through = scattered(self.seed + 50 + k, B, H)  # what comes back through the product
                memory[one.back] = memory[one.back] + through
                flow = (through if direct[0] is None else through + direct[0], *direct[1:])
        back = self.zoneout.sent_back(dstate, direct, self.zones)
        for k, d in enumerate(back):
            pairs.append((memory[Place("dc", k - 1) if k else Place("dh")], 0.0 if d is None else d))
        return pairs


def scattered(seed: int, *shape: int) -> Array:
    """Numbers of both signs, up to 2 in size; NumPy's generator would take longer to import than all the rest."""
    k = np.arange(1.0, 1.0 + math.prod(shape))
    numbers: Array = 2 * np.sin(k * k + 7 * seed + shape[0])
    return numbers.reshape(shape)
