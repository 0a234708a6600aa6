"""A cell's equations in CUDA C++, written from its operations as ``minirnn.core.tracing`` has seen them.

``source_of`` is what ``scan.cu`` is compiled with: a struct for each stage, whose functions do one unit of one row.
All is loaded before anything is stored, since h1 may be h, and c1 c.
"""

from collections.abc import Iterator
from functools import cache

from minirnn.kernels.cuda.launch import FOLDER, Source
from minirnn.kernels.cuda.launch import launch as launch
from minirnn.kernels.cuda.launch import types_of as types_of
from minirnn.kernels.facts import COMPARISONS, CellFacts, Place, Program

HEAD = """\
typedef long long i64;

// Pointers to one row of one step; several arrays of a kind lie a line apart.
template <typename S> struct Row {
    S* G;        // the gates' arguments without their products, H apart, then what is saved
    const S* Q;  // the products
    const S* v;  // the bias of a product that is kept apart
    S* u;        // that product
    const S* h;  // the first state before the step
    S* h1;       // and after it
    const S* c;  // the other states
    S* c1;
    S* a;        // what later stages' products read
    S* m;        // what else is saved
    const S* z;  // where states stay as they were
    const S* w;  // per-unit weights
    i64 H, line_c, line, line_z, line_w;
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
HALF = "#ifdef __CUDACC__\n#include <cuda_fp16.h>\n#endif\n"
BINARY = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
LIMITS = {"maximum": "<", "minimum": ">"}  # of a value and a number, which takes its place where this holds
ROW, BACK = "const Row<S>& r, i64 j", "const Row<S>& r, const Back<S>& b, i64 j"


def entry(array: str, k: int, line: str) -> str:
    """One unit of the k-th of several arrays."""
    return f"{array}[{f'{k} * {line} + ' if k else ''}j]"


def placed(facts: CellFacts, place: Place) -> str:
    """Where a quantity lies."""
    array, k, before = place
    kind = array[0]
    if array in ("gates", "dp", "w", "dw", "dc", "f"):
        name = {"gates": "r.G", "w": "r.w"}.get(array, f"b.{array}")
        return entry(name, k, {"w": "r.line_w", "dc": "b.line_d", "f": "b.line_d"}.get(array, "r.H"))
    if array == "y":
        return "r.h[j]" if before else "r.h1[j]"
    if array == "u":
        return "r.u[j]"
    if array == "dq":
        return entry("b.dq", facts.gates - 1 if facts.apart else 0, "r.H")
    if array == "dh":
        return "b.dh[j]"
    k = facts.arrays(kind).index(array)
    if kind == "c":
        return entry("r.c", k, "r.line_c") if before else entry("r.c1", k, "r.line")
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
    last = facts.apart and k == facts.gates - 1
    if array == "gates" and stage.product and stage.first <= k < stage.first + stage.gates and not last:
        return f"{value} + F({entry('r.Q', k - stage.first, 'r.H')})"
    if array == "u":
        bias = " + F(r.v[j])" if facts.bias else ""
        return f"F({entry('r.Q', facts.gates - 1, 'r.H')}){bias}"
    if array == "y" and not place.before:
        return "F(r.Q[j])"
    return value


def lines_of(facts: CellFacts, number: int, program: Program, *, backward: bool) -> Iterator[str]:
    """The body of a function that does a program."""
    for k, (name, operands) in enumerate(program.operations):
        if name in COMPARISONS:
            continue  # a part of ``where``
        a = [f"t{operand}" for operand in operands] if name not in ("load", "number") else []
        if name == "number":
            value = f"F({operands[0]!r})"
        elif name == "load":
            value = loaded(facts, number, operands[0], backward=backward)
        elif name in BINARY:
            value = f"{a[0]} {BINARY[name]} {a[1]}"
        elif name == "negative":
            value = f"-{a[0]}"
        elif name == "where":
            one = program.operations[operands[0]]
            x, y = (f"t{operand}" for operand in one.operands)
            value = f"{x} {COMPARISONS[one.name]} {y} ? {a[1]} : {a[2]}"
        elif name in LIMITS:
            value = f"{a[0]} {LIMITS[name]} {a[1]} ? {a[1]} : {a[0]}"
        else:
            value = f"{name}({a[0]})"
        yield f"F t{k} = {value};"
    for k, (name, operands) in enumerate(program.operations):
        if not backward and (name, *operands) == ("load", Place("u")):
            yield f"r.u[j] = S(t{k});"  # for the backward pass
    for place, end in program.results:
        target, same = placed(facts, place), end is not None and program.operations[end] == ("load", (place,))
        if not same or loaded(facts, number, place, backward=backward) != f"F({target})":  # it is not there already
            yield f"{target} = S({'F(0)' if end is None else f't{end}'});"
    if backward and facts.apart and program.results:  # of the other gates dq is dp
        ends = dict(program.results)
        for k in range(facts.gates - 1):
            yield f"{entry('b.dq', k, 'r.H')} = S(t{ends[Place('dp', k)]});"


def function(name: str, arguments: str, body: Iterator[str]) -> str:
    """A function of a stage."""
    lines = "".join(f"        {line}\n" for line in body)
    return f"\n    template <typename F, typename S> __device__ static void {name}({arguments}) {{\n{lines}    }}\n"


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
        "apart": int(facts.apart),
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
        text += function(name, arguments, lines_of(facts, number, program, backward="un" in name))
    return text + "};\n"


@cache
def _source(key: str, text: str) -> Source:
    return Source.of(f"scan-{key}", text)


def source_of(facts: CellFacts) -> Source:
    """The kernels of a cell."""
    structs = "".join(struct(facts, k) for k in range(len(facts.stages)))
    return _source(facts.key, f"{HALF}{HEAD}{structs}\n{(FOLDER / 'scan.cu').read_text()}")
