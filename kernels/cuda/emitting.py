"""A cell's equations in CUDA C++, written from its operations as ``minirnn.core.tracing`` has seen them.

``source_of`` is what ``scan.cu`` is compiled with: a struct for each stage, whose functions do one unit of one row, or
where units are added up a whole row, in several phases (``kernels/phases.py``).  Of each unit all is loaded before
anything is stored, since h1 may be h, and c1 c.
"""

from collections.abc import Iterable, Iterator
from functools import cache

from minirnn.kernels.cuda.launch import FOLDER, Source
from minirnn.kernels.cuda.launch import launch as launch
from minirnn.kernels.cuda.launch import types_of as types_of
from minirnn.kernels.facts import BINARY, COMPARISONS, LIMITS, REDUCTIONS, CellFacts, Place, Program
from minirnn.kernels.phases import Phase, phases_of

HEAD = """\
typedef long long i64;

// Pointers to one row of one step; several arrays of a kind lie a line apart.
template <typename S> struct Row {
    S* G;        // the gates' arguments without their products, H apart, then what is saved
    const S* Q;  // the products
    const S* v;  // the bias of a product that is kept apart
    S* u;        // those products
    const S* h;  // the first state before the step
    S* h1;       // and after it
    const S* c;  // the other states
    S* c1;
    S* a;        // what later stages' products read
    S* m;        // what else is saved
    S* s;        // and of that, one number a row
    const S* z;  // where states stay as they were
    const S* w;  // per-unit weights
    i64 H, line_c, line, line_s, line_z, line_w;
};

// The same of the backward pass; dy and back may be null.
template <typename S> struct Back {
    const S *dy, *back, *through;
    S *dh, *dc, *f, *dp, *dq, *dw;
    i64 line_d;
};

// The gradient that has come to h1.
template <typename F, typename S> __device__ inline F arrived(const Back<S>& b, i64 j) {
    F dh = F(b.dh[j]);
    if (b.back) dh += F(b.back[j]);
    if (b.dy) dh += F(b.dy[j]);
    return dh;
}
"""
WHOLE = """\

__device__ inline double infinite() { return 1e300 * 1e300; }  // NVRTC has no name for it

struct Add {
    template <typename F> __device__ static F of(F a, F b) { return a + b; }
};

// NaN where one is NaN.
struct Most {
    template <typename F> __device__ static F of(F a, F b) { return a > b ? a : b >= a ? b : a + b; }
};

struct Least {
    template <typename F> __device__ static F of(F a, F b) { return a < b ? a : b <= a ? b : a + b; }
};

// What a block's threads have comes to, pairwise: the same to each of them.
template <class Pair, typename F> __device__ inline F whole(F value) {
    __shared__ F parts[1024];
    unsigned k = threadIdx.x, count = blockDim.x;
    parts[k] = value;
    __syncthreads();
    while (count > 1) {
        unsigned half = (count + 1) / 2;
        if (k < count / 2) parts[k] = Pair::of(parts[k], parts[k + half]);
        __syncthreads();
        count = half;
    }
    value = parts[0];
    __syncthreads();  // before the next sum is put there
    return value;
}
"""
SUMS = {  # of each reduction: what it begins with, and the struct that combines two
    "sum": ("F(0)", "Add"),
    "mean": ("F(0)", "Add"),
    "max": ("F(-infinite())", "Most"),
    "min": ("F(infinite())", "Least"),
}
HALF = "#ifdef __CUDACC__\n#include <cuda_fp16.h>\n#endif\n"
ROW, BACK = "const Row<S>& r", "const Row<S>& r, const Back<S>& b"


def entry(array: str, k: int, line: str) -> str:
    """One unit of the k-th of several arrays."""
    return f"{array}[{f'{k} * {line} + ' if k else ''}j]"


def placed(facts: CellFacts, place: Place) -> str:
    """Where a quantity lies."""
    array, k, before = place
    kind = array[0]
    if array in ("gates", "u", "dp", "w", "dw", "dc", "f"):
        name = {"gates": "r.G", "u": "r.u", "w": "r.w"}.get(array, f"b.{array}")
        return entry(name, k, {"w": "r.line_w", "dc": "b.line_d", "f": "b.line_d"}.get(array, "r.H"))
    if array == "y":
        return "r.h[j]" if before else "r.h1[j]"
    if array == "dq":
        return entry("b.dq", facts.gates - facts.apart + k if facts.apart else 0, "r.H")
    if array == "dh":
        return "b.dh[j]"
    k = facts.arrays(kind).index(array)
    if kind == "c":
        return entry("r.c", k, "r.line_c") if before else entry("r.c1", k, "r.line")
    if kind == "s":
        return f"r.s[{k} * r.line_s]"
    return entry(f"r.{kind}", k, "r.line_z" if kind == "z" else "r.line")


def loaded(facts: CellFacts, number: int, place: Place, *, backward: bool) -> str:
    """The value of what lies at a place for a stage, products added that come in arrays of their own."""
    stage, array, k = facts.stages[number], place.array, place.k
    value = f"F({placed(facts, place)})"
    if backward:
        if array == "dh":
            return "arrived<F>(b, j)"
        after = facts.stages[number + 1].back if number + 1 < len(facts.stages) else None
        return f"{value} + F(b.through[j])" if place == after else value
    together = facts.gates - facts.apart
    if array == "gates" and stage.product and stage.first <= k < stage.first + stage.gates and k < together:
        return f"{value} + F({entry('r.Q', k - stage.first, 'r.H')})"
    if array == "u":
        bias = " + F(r.v[j])" if facts.bias else ""
        return f"F({entry('r.Q', together + k, 'r.H')}){bias}"
    if array == "y" and not place.before:
        return "F(r.Q[j])"
    return value


def written(program: Program, place: int) -> str:
    """One operation, of the names of those before it."""
    name, operands = program.operations[place]
    if name == "number":
        return f"F({operands[0]!r})"
    if name in REDUCTIONS:
        whole = f"whole<{SUMS[name][1]}>(a{place})"
        return f"{whole} / F(r.H)" if name == "mean" else whole
    a = [f"t{operand}" for operand in operands]
    if name in BINARY:
        return f"{a[0]} {BINARY[name]} {a[1]}"
    if name == "negative":
        return f"-{a[0]}"
    if name == "where":
        one = program.operations[operands[0]]
        x, y = (f"t{operand}" for operand in one.operands)
        return f"{x} {COMPARISONS[one.name]} {y} ? {a[1]} : {a[2]}"
    if name in LIMITS:
        return f"{a[0]} {LIMITS[name]} {a[1]} ? {a[1]} : {a[0]}"
    return f"{name}({a[0]})"


class Body:
    """A stage's function that does a program: for unit j, or with ``whole`` for a row, each thread some units."""

    def __init__(self, facts: CellFacts, number: int, program: Program, *, backward: bool, whole: bool) -> None:
        self.facts, self.number, self.program = facts, number, program
        self.backward, self.whole, self.saved = backward, whole, facts.saved.values()

    def lines(self) -> Iterator[str]:
        """The function's lines."""
        yield from self._constants()
        for phase in phases_of(self.program):
            if not self.whole:  # this is the only one
                yield from self._computed(phase.units, phase)
                yield from self._stored(phase.results)
                return
            yield from self._computed(phase.rows, phase)
            for place, end in phase.row_results:
                yield f"if (threadIdx.x == 0) {placed(self.facts, place)} = S(t{end});"
            if not phase.sums and not phase.results:
                continue
            for k in phase.sums:
                yield f"F a{k} = {SUMS[self.program.operations[k].name][0]};"
            yield "for (i64 j = first; j < r.H; j += blockDim.x) {"
            for line in (*self._computed(phase.units, phase), *self._stored(phase.results), *self._added(phase)):
                yield f"    {line}"
            yield "}"

    def _constants(self) -> Iterator[str]:
        for k, one in enumerate(self.program.operations):
            if one.name == "number":
                yield f"const F t{k} = {written(self.program, k)};"

    def _computed(self, operations: Iterable[int], phase: Phase) -> Iterator[str]:
        """What is computed; a product that is kept apart is stored for the backward pass."""
        for k in operations:
            name, operands = self.program.operations[k]
            if name in COMPARISONS or name == "number":
                continue  # a part of ``where``, or a constant
            if k in phase.loads:
                value = f"F({placed(self.facts, phase.loads[k])})"
            elif name == "load":
                value = loaded(self.facts, self.number, operands[0], backward=self.backward)
            else:
                value = written(self.program, k)
            yield f"F t{k} = {value};"
            if not self.backward and name == "load" and operands[0].array == "u" and operands[0] in self.saved:
                yield f"{placed(self.facts, operands[0])} = S(t{k});"

    def _stored(self, results: Iterable[tuple[Place, int | None]]) -> Iterator[str]:
        """What is stored of a unit where it is not there already; dq is dp of gates whose q is not kept apart."""
        facts, number = self.facts, self.number
        for place, end in results:
            target = placed(facts, place)
            same = end is not None and self.program.operations[end] == ("load", (place,))
            if not same or loaded(facts, number, place, backward=self.backward) != f"F({target})":
                yield f"{target} = S({'F(0)' if end is None else f't{end}'});"
            if facts.apart and place.array == "dp" and place.k < facts.gates - facts.apart:
                yield f"{entry('b.dq', place.k, 'r.H')} = S(t{end});"

    def _added(self, phase: Phase) -> Iterator[str]:
        for k in phase.sums:
            name, operands = self.program.operations[k]
            yield f"a{k} = {SUMS[name][1]}::of(a{k}, t{operands[0]});"


def function(name: str, arguments: str, body: Body) -> str:
    """A function of a stage."""
    lines, unit = "".join(f"        {line}\n" for line in body.lines()), "first" if body.whole else "j"
    head = f"template <typename F, typename S> __device__ static void {name}({arguments}, i64 {unit})"
    return f"\n    {head} {{\n{lines}    }}\n"


def struct(facts: CellFacts, number: int) -> str:
    """A stage."""
    stage = facts.stages[number]
    constants = {
        "number": number,
        "last": int(number == len(facts.stages) - 1),
        "gates": stage.gates,
        "all": facts.gates,
        "others": facts.states - 1,
        "units": len(facts.units),
        "apart": facts.apart,
        "whole_rows": int(facts.whole_rows),
        "matrix": int(bool(stage.matrix)),
    }
    numbers = ", ".join(f"{name} = {value}" for name, value in constants.items())
    text = f"\nstruct Stage{number} {{\n    static constexpr int {numbers};\n"
    for name, arguments, program in (
        ("step", ROW, stage.step),
        ("narrow_step", ROW, stage.narrow_step),
        ("unstep", BACK, stage.unstep),
        ("narrow_unstep", BACK, stage.narrow_unstep),
    ):
        whole = facts.whole_rows and "narrow" not in name
        text += function(name, arguments, Body(facts, number, program, backward="un" in name, whole=whole))
    return text + "};\n"


@cache
def _source(key: str, text: str) -> Source:
    return Source.of(f"scan-{key}", text)


def source_of(facts: CellFacts) -> Source:
    """The kernels of a cell."""
    structs = "".join(struct(facts, k) for k in range(len(facts.stages)))
    whole = WHOLE if facts.whole_rows else ""
    return _source(facts.key, f"{HALF}{HEAD}{whole}{structs}\n{(FOLDER / 'scan.cu').read_text()}")
