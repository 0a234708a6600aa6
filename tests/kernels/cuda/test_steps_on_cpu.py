"""A cell's CUDA source, run on a processor: the numbers of its operations in NumPy, and nothing outside the arrays.

Memory around what a kernel may touch is NaN: to write there shows, and so does to read it.
"""

from typing import Any, NamedTuple

import numpy as np
import on_cpu
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processor import SOUND, Fenced, Processor
from tiers import mostly_slow

from minirnn.core.backend import Array
from minirnn.core.graph import run
from minirnn.core.protocol import width_of
from minirnn.core.tracing import traced
from minirnn.kernels.cuda import launch
from minirnn.kernels.cuda.emitting import source_of
from minirnn.kernels.facts import Place, Program

DTYPES = ("float32", "float64")
K = 64  # of a step's results, in units of eps: tanh is good for a few, and each line of a cell adds one


class Row(NamedTuple):
    """One step's sizes."""

    B: int
    H: int
    threads: int
    ldh: int
    ld1: int
    ldy: int
    with_lengths: bool
    with_dy: bool
    with_back: bool
    in_place: bool
    size: float  # of the arguments: large ones saturate
    seed: int


@st.composite
def rows(draw: st.DrawFn) -> Row:
    H = draw(st.integers(1, 70))
    ldh, ld1, ldy = (draw(st.integers(0, 9)) for _ in range(3))  # beyond the row's width
    with_lengths, with_dy, with_back, in_place = (draw(st.booleans()) for _ in range(4))
    threads, size = draw(st.sampled_from((32, 64, 256))), draw(st.sampled_from((0.3, 1.0, 6.0)))
    B, seed = draw(st.integers(1, 6)), draw(st.integers(0, 2**32 - 1))
    return Row(B, H, threads, ldh, ld1, ldy, with_lengths, with_dy, with_back, in_place, size, seed)


STAGES = [(name, k) for name, cell in on_cpu.CELLS.items() for k in range(len(traced(cell).stages))]
SHOWN = [("GRUCell", 0), ("LSTMCell", 0), ("ProjectedLSTMCell", 1)]


class Step:
    """The arrays of one step of stage k of a cell, and what its operations make of them in float64."""

    def __init__(self, cell: str, k: int, dtype: str, row: Row) -> None:
        self.facts, self.dtype, self.row, self.k = traced(on_cpu.CELLS[cell]), dtype, row, k
        self.source, self.stage = source_of(self.facts), self.facts.stages[k]
        self.R, self.t = width_of(on_cpu.CELLS[cell], row.H), 2
        self.rng = np.random.default_rng(row.seed)
        self.lengths = self.rng.integers(0, 5, row.B) if row.with_lengths else None
        self.lasts = np.full(row.B, fill_value=True) if self.lengths is None else self.lengths > self.t
        self.last = k == len(self.facts.stages) - 1
        self.memory: dict[Place, Array] = {}
        self.arrays: dict[str, Fenced | None] = {}

    def normal(self, columns: int, size: float = 1.0) -> Array:
        return (size * self.rng.normal(size=(self.row.B, columns))).astype(self.dtype)

    def nothing(self, columns: int, count: int = 1) -> Array:
        return np.full((count * self.row.B, columns), np.nan, self.dtype)

    def width(self, place: Place) -> int:
        if place.array[0] == "s":
            return 1
        return self.R if place.array in ("y", "dh") or (place.array == "dq" and self.stage.matrix) else self.row.H

    def read(self, *programs: Program) -> None:
        """Numbers for all that programs load."""
        for place in dict.fromkeys(op.operands[0] for one in programs for op in one.operations if op.name == "load"):
            size = self.row.size if place.array == "gates" else 1.0
            self.memory[place] = self.normal(self.width(place), size).astype("f8")
            if place.array == "w":
                self.memory[place] = self.memory[place][:1]

    def stacked(self, kind: str, *, before: bool = False) -> Array:
        """All arrays of a kind, one under another; NaN for those that are not read."""
        places = [Place(name, 0, before) for name in self.facts.arrays(kind)]
        parts = [self.memory.get(place, self.nothing(self.width(place))) for place in places]
        return np.concatenate(parts).astype(self.dtype) if parts else np.zeros((0, self.row.H), self.dtype)

    def products(self) -> Array:
        """u: the products that are kept apart, side by side; NaN for those that are not read."""
        parts = [self.memory.get(Place("u", k), self.nothing(self.row.H)) for k in range(self.facts.apart)]
        return np.concatenate(parts or [self.nothing(0)], axis=1).astype(self.dtype)

    def fenced(self, a: Array, apart: int | None = None) -> Fenced | None:
        return Fenced(a, apart) if a.size else None

    def gates(self, own: dict[int, Array]) -> Array:
        """G: ``own`` by gate, what is read of others, NaN elsewhere."""
        empty = self.nothing(self.row.H)
        parts = [own.get(k, self.memory.get(Place("gates", k), empty)) for k in range(self.facts.gates)]
        return np.concatenate(parts, axis=1).astype(self.dtype)

    def run(self, processor: Any, kernel: str, **numbers: int) -> None:
        row, widest = self.row, max(self.row.H, self.R)
        # each thread of a block that has barriers is one of the processor's: an odd number of them, and few
        threads, tiles = row.threads, -(-widest // row.threads)
        if self.facts.whole_rows:
            threads, tiles = row.threads // 16 + 1, 1
        lengths, w = None if self.lengths is None else Fenced(self.lengths), self.weights()
        arrays = self.arrays | {"lengths": lengths, "w": w, "z": None}
        addresses = {name: None if a is None else a.address for name, a in arrays.items()}
        lines = {
            "line_c": row.B * row.H,
            "line": row.B * row.H,
            "line_s": row.B,
            "row_z": 0,
            "line_z": 0,
            "line_w": row.H,
        }
        sizes = {"t": self.t, "H": row.H, "R": self.R, "tiles": tiles}
        types = launch.types_of(np.dtype(self.dtype), self.k)
        blocks = row.B * tiles
        launch.launch(processor, self.source, kernel, types, blocks, threads, **addresses, **lines, **sizes, **numbers)
        for a in arrays.values():
            if a is not None:
                a.assert_fences()

    def weights(self) -> Fenced | None:
        names = range(len(self.facts.units))
        parts = [self.memory.get(Place("w", k), np.zeros((1, self.row.H))) for k in names]
        return Fenced(np.concatenate(parts).astype(self.dtype)) if parts else None

    def found(self, place: Place) -> Array:
        """What a kernel left at a place."""
        H, kind, k = self.row.H, place.array, place.k
        names = {"gates": "G", "y": "h1"}
        array = self.arrays[names.get(kind, kind if kind in ("dh", "dc", "f", "dp", "dq", "dw", "u") else kind[0])]
        if kind[0] == "c":
            array = self.arrays["c1"]
        assert array is not None
        if kind in ("gates", "dp", "dw", "u") or (kind == "dq" and self.facts.apart):
            k = self.facts.gates - self.facts.apart + k if kind == "dq" else k
            return array.inside[:, k * H : (k + 1) * H]
        if kind in ("y", "dh", "dq"):
            return array.inside
        k = k if kind in ("dc", "f") else self.facts.arrays(kind[0]).index(kind)
        return array.inside[k * self.row.B : (k + 1) * self.row.B]

    def assert_close(self, found: Array, wanted: Array, what: object) -> None:
        wanted = np.broadcast_to(wanted, found.shape)
        scale = max(1.0, self.row.size, float(np.abs(wanted).max(initial=0)))
        error = np.abs(found - wanted).max(initial=0)
        assert error <= K * np.finfo(self.dtype).eps * scale, (what, error)  # NaN fails

    def assert_step(self, processor: Any) -> None:
        """``step`` leaves all results of its operations; a row that has ended is as before, its operand 0."""
        row, facts, stage, H = self.row, self.facts, self.stage, self.row.H
        programs = stage.step, stage.narrow_step
        self.read(*programs)
        own = range(stage.first, stage.first + stage.gates)
        p = {k: self.normal(H, row.size) for k in own}
        q = {k: self.normal(H, row.size) * stage.product for k in own}
        v = self.normal(H)[:1]
        for k in own:
            self.memory[Place("gates", k)] = p[k].astype("f8") + q[k]
        for i, k in enumerate(own[len(own) - facts.apart :]):
            self.memory[Place("gates", k)] = p[k].astype("f8")
            self.memory[Place("u", i)] = q[k].astype("f8") + (v if facts.bias else 0)
        Q = np.concatenate([q[k] for k in own], axis=1) if own else self.normal(self.R)
        if stage.matrix:
            self.memory[Place("y")] = Q.astype("f8")
        old = self.normal(self.R)
        h = Fenced(self.memory.get(Place("y", 0, True), old).astype(self.dtype), self.R + row.ldh)
        c = self.stacked("c", before=True)
        c[np.isnan(c)] = 0.25
        others = self.fenced(c)
        in_place = row.in_place and len(facts.stages) == 1
        self.arrays = {
            "G": Fenced(self.gates(p)),
            "Q": Fenced(Q) if stage.product else None,
            "v": Fenced(v) if facts.bias else None,
            "h": h,
            "h1": h if in_place else Fenced(self.nothing(self.R), self.R + row.ld1),
            "c": others,
            "c1": others if in_place else self.fenced(self.nothing(H, facts.states - 1)),
            "u": self.fenced(self.nothing(facts.apart * H)),
            "a": self.fenced(self.stacked("a")),
            "m": self.fenced(self.stacked("m")),
            "s": self.fenced(self.stacked("s")),
        }
        before, c_before = h.inside.copy(), c.copy()
        self.run(processor, "step", ldh=h.apart, ld1=h.apart if in_place else self.R + row.ld1)
        for program in programs:
            run(program, self.memory)
        for program in programs:
            for place, _ in program.results:
                wanted = np.broadcast_to(self.memory[place], (row.B, self.width(place)))
                self.assert_close(self.found(place)[self.lasts], wanted[self.lasts], place)
        ended = ~self.lasts
        if self.last:
            assert (self.found(Place("y"))[ended] == before[ended]).all()
            for k, name in enumerate(facts.arrays("c")):
                assert (self.found(Place(name))[ended] == c_before[k * row.B : (k + 1) * row.B][ended]).all()
        else:
            assert (self.found(facts.stages[self.k + 1].operand)[ended] == 0).all()

    def assert_unstep(self, processor: Any) -> None:
        """``unstep`` leaves its results; the gradient of a row that has ended passes through, and adds to nothing."""
        row, facts, stage, H, dtype = self.row, self.facts, self.stage, self.row.H, self.dtype
        programs = stage.unstep, stage.narrow_unstep
        self.read(*programs)
        dh, back, dy, through = (self.normal(n) for n in (self.R, self.R, self.R, H))
        dc = np.concatenate([self.normal(H) for _ in range(facts.states - 1)] or [np.zeros((0, H), dtype)])
        flows = np.concatenate([self.normal(H) for _ in range(facts.flows)] or [np.zeros((0, H), dtype)])
        arrived = dh.astype("f8") + (back if row.with_back else 0) + (dy if row.with_dy else 0)
        for k in range(facts.states - 1):
            self.memory[Place("dc", k)] = dc[k * row.B : (k + 1) * row.B].astype("f8")
        for k in range(facts.flows):
            self.memory[Place("f", k)] = flows[k * row.B : (k + 1) * row.B].astype("f8")
        self.memory[Place("dh")] = arrived
        if not self.last:
            sent = facts.stages[self.k + 1].back
            self.memory[sent] = self.memory[sent] + through
        empty = self.nothing(self.R)
        h = self.memory.get(Place("y", 0, True), empty).astype(dtype)
        h1 = self.memory.get(Place("y"), empty).astype(dtype)
        columns = facts.gates * H if facts.apart else self.R * bool(facts.matrix)
        self.arrays = {
            "G": Fenced(self.gates({})),
            "u": self.fenced(self.products()),
            "h": Fenced(h, self.R + row.ldh),
            "h1": Fenced(h1, self.R + row.ld1),
            "c": self.fenced(self.stacked("c", before=True)),
            "c1": self.fenced(self.stacked("c")),
            "a": self.fenced(self.stacked("a")),
            "m": self.fenced(self.stacked("m")),
            "s": self.fenced(self.stacked("s")),
            "dy": Fenced(dy, self.R + row.ldy) if row.with_dy else None,
            "back": Fenced(back) if row.with_back else None,
            "through": None if self.last else Fenced(through),
            "dh": Fenced(dh),
            "dc": self.fenced(dc),
            "f": self.fenced(flows),
            "dp": Fenced(self.nothing(facts.gates * H)),
            "dq": self.fenced(self.nothing(columns)),
            "dw": self.fenced(self.nothing(len(facts.units) * H)),
        }
        distances = {"ldh": self.R + row.ldh, "ld1": self.R + row.ld1, "ldy": self.R + row.ldy}
        self.run(processor, "unstep", line_d=row.B * H, **distances)
        for program in programs:
            run(program, self.memory)
        ended = ~self.lasts
        for program in programs:
            for place, _ in program.results:
                wanted = np.broadcast_to(self.memory[place], (row.B, self.width(place)))
                self.assert_close(self.found(place)[self.lasts], wanted[self.lasts], place)
                if self.last and place.array in ("dp", "dq", "dw"):
                    assert (self.found(place)[ended] == 0).all(), place
        if facts.apart:  # of the other gates dq is dp
            dq, dp = self.arrays["dq"], self.arrays["dp"]
            assert dq is not None and dp is not None  # noqa: PT018 - for the type checker
            together = (facts.gates - facts.apart) * H
            assert (dq.inside[:, :together] == dp.inside[:, :together]).all()
        passed = arrived if self.last else dh
        self.assert_close(self.found(Place("dh"))[ended], passed[ended], "dh")
        for name in ("G", "u", "h", "h1", "c", "c1", "a", "m", "s", "dy", "back", "through"):
            a = self.arrays[name]
            assert a is None or a.inside.tobytes() == a.before.tobytes(), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("cell", "k"), [pytest.param(*one, marks=[] if one in SHOWN else pytest.mark.slow) for one in STAGES]
)
@given(row=rows())
def test_step_is_the_equations_of_the_cell(cell: str, k: int, dtype: str, row: Row) -> None:
    Step(cell, k, dtype, row).assert_step(SOUND)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("cell", "k"), [pytest.param(*one, marks=[] if one in SHOWN else pytest.mark.slow) for one in STAGES]
)
@given(row=rows())
def test_unstep_is_their_transpose(cell: str, k: int, dtype: str, row: Row) -> None:
    Step(cell, k, dtype, row).assert_unstep(SOUND)


FAULTS = {  # in what is written for a cell, or in scan.cu
    "a gate is saved in the place of another": ("r.G[1 * r.H + j] = S(", "r.G[0 * r.H + j] = S("),
    "a gate's product is not added": ("F(r.G[1 * r.H + j]) + F(r.Q[1 * r.H + j])", "F(r.G[1 * r.H + j])"),
    "the bias of a product is forgotten": (" + F(r.v[j])", ""),
    "GRUCell's dq is its dp": ("b.dq[2 * r.H + j] = S(t16);", "b.dq[2 * r.H + j] = S(t12 + 0 * t16);"),
    "h is read where h1 lies": ("F(r.h[j])", "F(r.h1[j])"),
    "relu lets a gradient through where it was 0": ("? t1 : t", "? t1 + 1 : t"),
    "a tanh is left out": ("= tanh(t", "= F(t"),
    "what comes back through the product is left out": ("if (b.back) dh += F(b.back[j]);", ""),
    "what the product of the next stage sends back is left out": (" + F(b.through[j])", ""),
    "dy has the rows of a contiguous array": ("dy ? dy + row * ldy : dy", "dy ? dy + own : dy"),
    "h1 has the rows of h": ("h1[row * ld1 + j] = h[row * ldh + j]", "h1[row * ldh + j] = h[row * ldh + j]"),
    "a row ends one step late": ("t >= lengths[row]", "t > lengths[row]"),
    "an ended row loses its gradient": ("dh[row * R + j] = S(arrived<F>(b, j));", "dh[row * R + j] = S(F(0));"),
    "an ended row's gradient of p is left as it was": ("b.dp[k * H + j] = S(F(0));", "(void)k;"),
    "an ended row's operand is left as it was": ("if (!Stage::last) a[Stage::number * line + own + j] = S(F(0));", ";"),
    "a sum is one thread's": ("if (k < count / 2) parts[k] = Pair::of(parts[k], parts[k + half]);", ""),
    "an odd thread's part of a sum is lost": ("unsigned half = (count + 1) / 2;", "unsigned half = count / 2;"),
    "a mean is of the threads": ("/ F(r.H)", "/ F(blockDim.x)"),
    "units beyond the first threads' are left out": ("j < r.H; j += blockDim.x", "j < r.H; j += r.H"),
    "a row's number is stored by the last thread": ("if (threadIdx.x == 0) r.s", "if (first == r.H) r.s"),
    "a product with a matrix is as wide as the gates": ("Stage::matrix ? R : Stage::gates * H", "Stage::gates * H"),
    "only the first tile of a row is worked on": ("blockIdx.x % tiles * blockDim.x + threadIdx.x", "threadIdx.x"),
}  # fmt: skip
HARD = [  # rows that between them meet every fault: tiles, lengths, rows apart, saturation
    Row(5, 70, 32, 1, 5, 3, True, True, True, in_place, size, seed)
    for seed, (size, in_place) in enumerate([(1.0, False), (0.3, True)] * 4)
]


@pytest.mark.parametrize("fault", mostly_slow(FAULTS))
def test_a_wrong_equation_is_found(fault: str) -> None:
    old, new = FAULTS[fault]
    having = [(name, k) for name, k in STAGES if old in on_cpu.sources()[name].code]
    assert having
    processor = Processor(old, new)
    with pytest.raises(AssertionError):  # noqa: PT012 - some row finds it
        for name, k in having:
            for row in HARD:
                Step(name, k, "float32", row).assert_step(processor)
                Step(name, k, "float32", row).assert_unstep(processor)
