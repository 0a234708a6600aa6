"""The functions of a C file: expressions, one step of a layer, and what runs them over a sequence."""

from collections.abc import Iterator

from minirnn.formats.sources.equations import Value
from minirnn.formats.sources.expressions import Expressions
from minirnn.formats.sources.plan import (
    Compute,
    Each,
    Fill,
    Function,
    Operation,
    Pick,
    Plan,
    Product,
    Reversed,
    Rows,
    Shift,
    Slot,
    Statement,
    Weight,
    Whole,
    Windows,
)
from minirnn.formats.sources.words import spelt
from minirnn.kernels.facts import Place

LIBRARY = {"sqrt": "sqrtf", "log": "logf", "log1p": "log1pf", "expm1": "expm1f", "sin": "sinf", "cos": "cosf"}


class Code(Expressions):
    """The work of writing the functions of a plan, all names of which begin with ``stem``."""

    def __init__(self, plan: Plan, stem: str) -> None:
        self.plan, self.stem, self.upper = plan, stem, stem.upper()

    def number(self, number: float) -> str:
        return f"{spelt(number)}f"

    def call(self, function: str, argument: str) -> str:
        name = LIBRARY.get(function, f"{self.stem}_{function}")  # tanh and exp are the file's own
        return f"{name}({argument})"

    # ------------------------------------------------------------------ functions of one step

    def _function(self, function: Function) -> Iterator[str]:
        yield f"/* {function.about}: {function.inputs} to {function.outputs}. */"
        x = ["int index"] if function.index else ["const float *restrict x"]
        x += ["const float *restrict x2"] if function.pair else []
        state = [f"{self.stem}_state *restrict s"] if function.stateful else []
        arguments = ", ".join([*state, *x, "float *restrict y"])
        yield f"static void {self.stem}_{function.name}({arguments}) {{"
        for name, size in function.locals.items():
            yield f"    float {name}[{size}];"
        for one in function.statements:
            yield from (f"    {line}" for line in self._statement(one))
        yield "}"

    def _slot(self, slot: Slot, index: str = "") -> str:
        """A pointer to numbers, or with an ``index`` one of them."""
        kind, array, first = slot
        name = {"state": f"s->{array}", "weight": f"{self.stem}_{array}"}.get(kind, array)
        if not index:
            return f"{name} + {first}" if first else name
        if first and index != "0":
            return f"{name}[{first} + {index}]"
        return f"{name}[{first or index}]"

    def _statement(self, one: Statement) -> Iterator[str]:
        if isinstance(one, Fill):
            source = self._slot(one.source, "j") if one.source else "0.0f"
            yield f"for (int j = 0; j < {one.size}; j++) {self._slot(one.target, 'j')} = {source};"
        elif isinstance(one, Product):
            yield self._product(one.weight, self._slot(one.source), self._slot(one.target), one.first, str(one.rows))
        elif isinstance(one, Pick):
            weight, N = one.weight, one.weight.values.shape[1]
            name, target = f"{self.stem}_{weight.name}", self._slot(one.target)
            if weight.scale is None:
                yield f"{self.stem}_pick({N}, {name} + (long)index * {N}, {target});"
            else:
                scale = f"{self.stem}_{weight.scale.name}"
                scales = f"{scale} + index, 0" if weight.by_row else f"{scale}, 1"
                yield f"{self.stem}_pick8({N}, {name} + (long)index * {N}, {scales}, {target});"
        elif isinstance(one, Shift):
            rest, target = one.size - one.width, self._slot(one.target)
            if rest:
                yield f"for (int j = 0; j < {rest}; j++) {target}[j] = {target}[{one.width} + j];"
            yield f"for (int j = 0; j < {one.width}; j++) {target}[{rest} + j] = {self._slot(one.source, 'j')};"
        else:
            yield from self._compute(one)

    def _product(self, weight: Weight, source: str, target: str, first: int | str, rows: str) -> str:
        N, W = weight.values.shape[1], f"{self.stem}_{weight.name}"
        if first:
            W += f" + {first * N}" if isinstance(first, int) else f" + {first} * {N}"
        if weight.scale is None:
            return f"{self.stem}_product({rows}, {N}, {source}, {W}, {target});"
        return f"{self.stem}_product8({rows}, {N}, {source}, {W}, {self.stem}_{weight.scale.name}, {target});"

    def _compute(self, one: Compute) -> Iterator[str]:
        yield "{"
        for line in self._phases(one):
            yield f"    {line}"
        yield "}"

    def _phases(self, one: Compute) -> Iterator[str]:
        def at_unit(place: Place) -> str:
            slot = one.loads[place]
            return self._slot(slot, "0" if place.array[0] == "s" else "j")

        for part in one.equations.parts:
            for name, value in part.row_names:
                yield f"const float {name} = {self._row_value(value, one)};"
            for place, value in part.row_stores:
                yield f"{self._slot(one.stores[place], '0')} = {self.value(value, at_unit)};"
            for total in part.sums:
                start = {"max": "-INFINITY", "min": "INFINITY"}.get(total.kind, "0.0f")
                yield f"float {total.name} = {start};"
            if not part.loops:
                continue
            yield f"for (int j = 0; j < {one.width}; j++) {{"
            for name, value in part.names:
                yield f"    const float {name} = {self.value(value, at_unit)};"
            for total in part.sums:
                yield f"    {self._added(total.name, total.kind, self.value(total.value, at_unit))}"
            for place, value in part.stores:
                if one.moves(place, value):
                    yield f"    {self._slot(one.stores[place], 'j')} = {self.value(value, at_unit)};"
            yield "}"

    def _row_value(self, value: Value, one: Compute) -> str:
        """A number of the row; a mean is divided here."""
        if value[0] in ("sum", "max", "min"):
            return str(value[1][1])
        if value[0] == "mean":
            return f"{value[1][1]} / {one.width}.0f"
        return self.value(value, lambda place: self._slot(one.loads[place], "0"))

    def _added(self, name: str, kind: str, value: str) -> str:
        if kind in ("sum", "mean"):
            return f"{name} += {value};"
        sign = ">" if kind == "max" else "<"
        return f"{{ const float v = {value}; if (v {sign} {name} || v != v) {name} = v; }}"

    # ------------------------------------------------------------------ sequences

    def _call(self, function: Function, *sources: str, target: str) -> str:
        arguments = [*(["s"] if function.stateful else []), *sources, target]
        return f"{self.stem}_{function.name}({', '.join(arguments)});"

    def _steps(self) -> Iterator[str]:
        """A step, and all steps of a sequence."""
        plan, S = self.plan, self.stem
        wires = plan.wires()
        x = "int x" if plan.index else "const float *x"
        yield f"void {S}_step({S}_state *s, {x}, float *y) {{"
        for name, width in {one.target: one.width for one in wires if one.target != "y"}.items():
            yield f"    float {name}[{width}];"
        if not any(one.function.stateful for one in wires):
            yield "    (void)s;"
        for one in wires:
            target = f"{one.target} + {one.first}" if one.first else one.target
            yield f"    {self._call(one.function, *one.sources, target=target)}"
        yield "}"
        yield ""
        xs = "const int *x" if plan.index else "const float *x"
        yield f"int {S}_run({S}_state *s, {xs}, int steps, float *y) {{"
        yield "    if (steps < 1) return -1;"
        step = "x[t]" if plan.index else f"x + (long)t * {plan.inputs}"
        target = "y" if plan.one else f"y + (long)t * {plan.outputs}"
        yield f"    for (int t = 0; t < steps; t++) {S}_step(s, {step}, {target});"
        yield f"    return {'1' if plan.one else 'steps'};"
        yield "}"

    def _whole(self) -> Iterator[str]:
        """All steps at once, layer after layer."""
        plan, S = self.plan, self.stem
        x = "const int *x" if plan.index else "const float *x"
        yield f"int {S}_run({S}_state *s, {x}, int steps, float *y) {{"
        body = [line for one in plan.operations for line in self._operation(one)]
        text = "\n".join(body)
        counts = [one.target.count for one in plan.operations if isinstance(one, Windows)]
        yield "    const int n0 = steps;"
        if counts:
            yield f"    int {', '.join(counts)};"
        yield f"    if (n0 < {plan.least} || n0 > {plan.steps}) return -1;"
        flat = [one for one in plan.operations if isinstance(one, Whole) and one.kind == "flat"]
        for one in plan.operations:
            if isinstance(one, Windows):
                yield f"    {one.target.count} = {self._count(one)};"
                yield f"    if ({one.target.count} < 1) return -1;"
        for one in flat:
            yield f"    if ({one.source.count} != {one.target.width // one.source.width}) return -1;"
        if "s->" not in text and "(s, " not in text:
            yield "    (void)s;"
        yield from (f"    {line}" for line in body)
        ends = [one.target.count for one in plan.operations if one.target.name == "y"]
        yield f"    return {ends[-1]};"
        yield "}"

    def _count(self, one: Windows) -> str:
        reach = one.dilation * (one.kernel - 1)
        padded, reach = f"{one.source.count} + {one.left + one.right}", one.dilation * (one.kernel - 1)
        return f"{padded} < {reach + 1} ? 0 : ({padded} - {reach + 1}) / {one.stride} + 1"

    def _at(self, rows: Rows, t: str, first: int = 0) -> str:
        """A pointer to a step; of integers the number itself."""
        name = rows.name if rows.name in ("x", "y") else f"s->{rows.name}"
        if rows.index:
            return f"{name}[{t}]"
        at = f"{name} + (long){t} * {rows.width}" if t != "0" else name
        return f"{at} + {first}" if first else at

    def _operation(self, one: Operation) -> Iterator[str]:
        source, target = one.source, one.target
        yield f"/* {source.name} to {target.name} */"
        if isinstance(one, Each):
            up, down = f"int t = 0; t < {source.count}; t++", f"int t = {source.count} - 1; t >= 0; t--"
            sources = [self._at(rows, "t") for rows in (source, one.second) if rows]
            loop = f"for ({down if one.reverse else up})"
            yield f"{loop} {self._call(one.function, *sources, target=self._at(target, 't', one.first))}"
        elif isinstance(one, Reversed):
            yield f"for (int t = 0; t < {source.count}; t++)"
            if source.index:
                yield f"    {self._at(target, 't')} = {self._at(source, f'({source.count} - 1 - t)')};"
            else:
                a, b = self._at(target, "t"), self._at(source, f"({source.count} - 1 - t)")
                yield f"    for (int j = 0; j < {source.width}; j++) ({a})[j] = ({b})[j];"
        elif isinstance(one, Windows):
            yield from self._windows(one)
        else:
            yield from self._of_all(one)

    def _windows(self, one: Windows) -> Iterator[str]:
        source, target, D = one.source, one.target, one.source.width
        begins, step = (
            f"{one.stride} * t" if one.stride > 1 else "t",
            f"{one.dilation} * k" if one.dilation > 1 else "k",
        )
        i = f"{begins} - {one.left} + {step}"
        yield f"for (int t = 0; t < {target.count}; t++) {{"
        yield f"    float *const row = {self._at(target, 't')};"
        start = f"{self.stem}_{one.bias.name}[j]" if one.bias else "-INFINITY" if one.kind == "largest" else "0.0f"
        if one.kind.startswith("mean"):
            yield "    int there = 0;"
        yield f"    for (int j = 0; j < {target.width}; j++) row[j] = {start};"
        yield f"    for (int k = 0; k < {one.kernel}; k++) {{"
        yield f"        const int i = {i};"
        yield f"        if (i < 0 || i >= {source.count}) continue;"
        step = self._at(source, "i")
        if one.kind == "convolution":
            K = D // len(one.weights)
            for g, weight in enumerate(one.weights):
                N = weight.values.shape[1]
                begin, end = (f"{step} + {g * K}", f"row + {g * N}") if g else (step, "row")
                yield f"        {self._product(weight, begin, end, f'(long)k * {K}', str(K))}"
        elif one.kind == "largest":
            yield f"        for (int j = 0; j < {D}; j++) {{"
            yield f"            const float v = ({step})[j];"
            yield "            if (v > row[j] || v != v) row[j] = v;"
            yield "        }"
        else:
            yield "        there++;"
            yield f"        for (int j = 0; j < {D}; j++) row[j] += ({step})[j];"
        yield "    }"
        if one.kind == "mean":
            yield "    (void)there;"
            yield f"    for (int j = 0; j < {D}; j++) row[j] /= {one.kernel}.0f;"
        elif one.kind == "mean of some":
            yield f"    for (int j = 0; j < {D}; j++) row[j] /= (float)there;"
        yield "}"

    def _of_all(self, one: Whole) -> Iterator[str]:
        source, target, D = one.source, one.target, one.source.width
        n, to = source.count, self._at(target, "0")
        if one.kind == "flat":
            yield f"for (int j = 0; j < {target.width}; j++) ({to})[j] = ({self._at(source, '0')})[j];"
        elif one.kind in ("last", "ends"):
            half = D if one.kind == "last" else D // 2
            yield f"for (int j = 0; j < {half}; j++) ({to})[j] = ({self._at(source, f'({n} - 1)')})[j];"
            if half < D:
                yield f"for (int j = {half}; j < {D}; j++) ({to})[j] = ({self._at(source, '0')})[j];"
        else:
            yield f"for (int j = 0; j < {D}; j++) ({to})[j] = {'-INFINITY' if one.kind == 'largest' else '0.0f'};"
            yield f"for (int t = 0; t < {n}; t++)"
            yield f"    for (int j = 0; j < {D}; j++) {{"
            yield f"        const float v = ({self._at(source, 't')})[j];"
            if one.kind == "largest":
                yield f"        if (v > ({to})[j] || v != v) ({to})[j] = v;"
            else:
                yield f"        ({to})[j] += v;"
            yield "    }"
            if one.kind == "mean":
                yield f"for (int j = 0; j < {D}; j++) ({to})[j] /= (float){n};"
