"""A plan as JavaScript: an ES module without dependencies, which computes the bits that the C file computes."""

from collections.abc import Iterator

import numpy as np

from minirnn.core.backend import Array
from minirnn.formats.sources import javascript_library as library
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
    Windows,
)
from minirnn.formats.sources.words import in_lines
from minirnn.kernels.facts import Place

DIGITS = [code for code in range(35, 122) if chr(code) not in "<\\"]  # of base 85


class JavaScript(Expressions):
    """The work of writing a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def source(self) -> str:
        """All of it."""
        plan = self.plan
        lines = ["/*", *(f" * {line}".rstrip() for line in plan.about), " */", ""]
        lines += [f"export const inputs = {plan.inputs};", f"export const outputs = {plan.outputs};"]
        if plan.symbols:
            lines += ["/* Code points; the first stands for all that are not there. */", "export const symbols = ["]
            lines += [*(f"  {line}" for line in in_lines(np.array(plan.symbols, np.int64))), "];"]
        lines += ["", *(line for text in self._helpers() for line in text.split("\n")), *self._weights(), ""]
        lines += [*self._state()]
        for function in plan.functions:
            lines += ["", *self._function(function)]
        lines += ["", *(self._steps() if plan.stepwise else self._whole())]
        if plan.symbols:
            lines += ["", *library.SYMBOLS.rstrip().split("\n")]
            lines += ["", *library.WRITE.rstrip().split("\n")] if plan.task == "next" else []
        return "\n".join([*lines, "", *self._test(), ""])

    def _helpers(self) -> Iterator[str]:
        plan = self.plan
        statements = [one for function in plan.functions for one in function.statements]
        products = [one.weight for one in statements if isinstance(one, Product)]
        products += [one for step in plan.operations if isinstance(step, Windows) for one in step.weights]
        picks = [one.weight for one in statements if isinstance(one, Pick)]
        calls, kinds = plan.calls(), {one.values.dtype for one in plan.weights}
        for text, used in (
            (library.HEAD, True),
            (library.BYTES, True),
            (library.FLOATS, np.dtype(np.float32) in kinds),
            (library.INTEGERS, np.dtype(np.int8) in kinds),
            (library.PARTS, bool({"tanh", "exp"} & calls)),
            (library.TANH, "tanh" in calls),
            (library.EXP, "exp" in calls),
            (library.PRODUCT, bool(products)),
            (library.NARROW, any(one.scale is not None for one in products)),
            (library.PICKED, any(one.scale is None for one in picks)),
            (library.PICKED_NARROW, any(one.scale is not None for one in picks)),
        ):
            if used:
                yield text

    def _weights(self) -> Iterator[str]:
        for one in self.plan.weights:
            shape, kind = (
                " * ".join(map(str, one.values.shape)),
                "integers" if one.values.dtype == np.int8 else "floats",
            )
            yield f'const {one.name} = {kind}({shape}, "{_characters(one.values)}");'

    def _state(self) -> Iterator[str]:
        yield "/* Everything that changes: a new one begins a sequence. */"
        yield "export function state() {"
        inner = [
            f"{one.name}: {f'{one.initial.name}.slice()' if one.initial else f'new Float32Array({one.size})'}"
            for one in self.plan.states
        ]
        yield f"  return {{ {', '.join(inner)} }};" if inner else "  return {};"
        yield "}"

    # ------------------------------------------------------------------ one step of a layer

    def _function(self, function: Function) -> Iterator[str]:
        prefix = function.name
        self.locals = {name: f"{prefix}_{name}" for name in function.locals}
        for name, size in function.locals.items():
            yield f"const {self.locals[name]} = new Float32Array({size});"
        yield f"/* {function.about}: {function.inputs} to {function.outputs}. */"
        arguments = ["s"] if function.stateful else []
        arguments += ["index"] if function.index else ["x", "xo"]
        arguments += ["x2", "x2o"] if function.pair else []
        yield f"function {prefix}({', '.join([*arguments, 'y', 'yo'])}) {{"
        for one in function.statements:
            yield from (f"  {line}" for line in self._statement(one))
        yield "}"

    def _array(self, slot: Slot) -> tuple[str, str]:
        """The name of an array, and the place of its first number that counts."""
        kind, array, first = slot
        if kind in ("x", "x2", "y"):
            return array, f"{array}o + {first}" if first else f"{array}o"
        return {"state": f"s.{array}", "local": self.locals.get(array, array)}.get(kind, array), str(first)

    def _entry(self, slot: Slot, index: str = "j") -> str:
        name, first = self._array(slot)
        place = index if first == "0" else first if index == "0" else f"{first} + {index}"
        return f"{name}[{place}]"

    def _statement(self, one: Statement) -> Iterator[str]:
        if isinstance(one, Fill):
            source = self._entry(one.source) if one.source else "0"
            yield f"for (let j = 0; j < {one.size}; j++) {self._entry(one.target)} = {source};"
        elif isinstance(one, Product):
            yield self._product(one.weight, self._array(one.source), self._array(one.target), one.first, one.rows)
        elif isinstance(one, Pick):
            weight, N = one.weight, one.weight.values.shape[1]
            name, first = self._array(one.target)
            target = name if first == "0" else f"{name}.subarray({first}, {first} + {N})"
            if weight.scale is None:
                yield f"pick({N}, {weight.name}, index, {target});"
            else:
                by_row = str(weight.by_row).lower()
                yield f"pick8({N}, {weight.name}, index, {weight.scale.name}, {by_row}, {target});"
        elif isinstance(one, Shift):
            name, _ = self._array(one.target)
            rest = one.size - one.width
            yield f"{name}.copyWithin(0, {one.width});"
            yield f"for (let j = 0; j < {one.width}; j++) {name}[{rest} + j] = {self._entry(one.source)};"
        else:
            yield from self._phases(one)

    def _product(
        self, weight: Weight, source: tuple[str, str], target: tuple[str, str], first: int | str, rows: int
    ) -> str:
        N = weight.values.shape[1]
        at = str(first * N) if isinstance(first, int) else f"{first} * {N}"
        where = f"{rows}, {N}, {source[0]}, {source[1]}, {weight.name}, {at}"
        if weight.scale is None:
            return f"product({where}, {target[0]}, {target[1]});"
        return f"product8({where}, {weight.scale.name}, {target[0]}, {target[1]});"

    def _phases(self, one: Compute) -> Iterator[str]:
        def at_unit(place: Place) -> str:
            return self._entry(one.loads[place], "0" if place.array[0] == "s" else "j")

        def of_row(place: Place) -> str:
            return self._entry(one.loads[place], "0")

        yield "{"
        for part in one.equations.parts:
            for name, value in part.row_names:
                if value[0] in ("sum", "max", "min"):
                    yield f"  const {name} = {value[1][1]};"
                elif value[0] == "mean":
                    yield f"  const {name} = f({value[1][1]} / {one.width});"
                else:
                    yield f"  const {name} = {self.value(value, of_row)};"
            for place, value in part.row_stores:
                yield f"  {self._entry(one.stores[place], '0')} = {self.value(value, at_unit)};"
            for total in part.sums:
                yield f"  let {total.name} = {({'max': '-Infinity', 'min': 'Infinity'}).get(total.kind, '0')};"
            if not part.loops:
                continue
            yield f"  for (let j = 0; j < {one.width}; j++) {{"
            for name, value in part.names:
                yield f"    const {name} = {self.value(value, at_unit)};"
            for total in part.sums:
                added = self.value(total.value, at_unit)
                if total.kind in ("sum", "mean"):
                    yield f"    {total.name} = f({total.name} + {added});"
                else:
                    yield f"    {total.name} = Math.{total.kind}({total.name}, {added});"
            for place, value in part.stores:
                if one.moves(place, value):
                    yield f"    {self._entry(one.stores[place])} = {self.value(value, at_unit)};"
            yield "  }"
        yield "}"

    def number(self, number: float) -> str:
        return repr(float(np.float32(number)))

    def call(self, function: str, argument: str) -> str:
        own = function in ("tanh", "exp")
        return f"{function}({argument})" if own else f"f(Math.{function}({argument}))"

    def rounded(self, expression: str) -> str:
        return f"f{expression}"

    # ------------------------------------------------------------------ sequences

    def _call(self, function: Function, source: list[str], target: list[str]) -> str:
        return f"{function.name}({', '.join([*(['s'] if function.stateful else []), *source, *target])});"

    def _steps(self) -> Iterator[str]:
        """A step, and all steps of a sequence."""
        plan = self.plan
        wires = plan.wires()
        for name, width in {one.target: one.width for one in wires if one.target != "y"}.items():
            yield f"const {name} = new Float32Array({width});"
        x = "an index" if plan.index else "inputs numbers"
        yield f"/* One step: x is {x}; returns y, a Float32Array of outputs numbers. */"
        yield "export function step(s, x, y = new Float32Array(outputs)) {"
        for one in wires:
            sources = [part for name in one.sources for part in ([name] if one.function.index else [name, "0"])]
            yield f"  {self._call(one.function, sources, [one.target, str(one.first)])}"
        yield from ("  return y;", "}", "")
        yield from self._about_run()
        yield "export function run(s, x) {"
        if plan.index:
            yield "  const steps = x.length;"
        else:
            yield f"  const steps = x.length / {plan.inputs};"
        yield "  if (!Number.isInteger(steps) || steps < 1)"
        yield '    throw new RangeError("x must have whole steps, 1 at least");'
        yield f"  const y = new Float32Array({'outputs' if plan.one else 'steps * outputs'});"
        row = "x[t]" if plan.index else f"x.subarray(t * {plan.inputs}, (t + 1) * {plan.inputs})"
        out = "y" if plan.one else "y.subarray(t * outputs, (t + 1) * outputs)"
        yield f"  for (let t = 0; t < steps; t++) step(s, {row}, {out});"
        yield from ("  return y;", "}")

    def _about_run(self) -> Iterator[str]:
        x = "of indices" if self.plan.index else "a Float32Array of steps times inputs numbers"
        yield f"/* All steps of x, {x}; returns those of y in one Float32Array. */"

    def _whole(self) -> Iterator[str]:
        """All steps at once, layer after layer."""
        plan = self.plan
        yield from self._about_run()
        yield "export function run(s, x) {"
        yield f"  const n0 = x.length{'' if plan.index else f' / {plan.inputs}'};"
        yield f"  if (!Number.isInteger(n0) || n0 < {plan.least})"
        yield f'    throw new RangeError("x must have whole steps, {plan.least} at least");'
        begun: set[str] = set()
        for one in plan.operations:
            if isinstance(one, Windows):
                reach, sides = one.dilation * (one.kernel - 1) + 1, one.left + one.right
                n = one.target.count
                yield f"  const {n} = Math.floor(({one.source.count} + {sides - reach}) / {one.stride}) + 1;"
                yield f'  if ({n} < 1) throw new RangeError("x has too few steps");'
            if one.target.name not in begun:
                begun.add(one.target.name)
                kind, width = ("Int32Array", 1) if one.target.index else ("Float32Array", one.target.width)
                yield f"  const {one.target.name} = new {kind}({one.target.count} * {width});"
            yield from (f"  {line}" for line in self._operation(one))
        yield from ("  return y;", "}")

    def _at(self, rows: Rows, t: str, first: int = 0) -> list[str]:
        """A step as arguments: the array and where it begins; of integers the number itself."""
        if rows.index:
            return [f"{rows.name}[{t}]"]
        at = f"{t} * {rows.width}" if t != "0" else "0"
        return [rows.name, f"{at} + {first}" if first else at]

    def _operation(self, one: Operation) -> Iterator[str]:
        source, target, D = one.source, one.target, one.source.width
        n = source.count
        if isinstance(one, Each):
            up, down = f"let t = 0; t < {n}; t++", f"let t = {n} - 1; t >= 0; t--"
            inputs = [*self._at(source, "t"), *(self._at(one.second, "t") if one.second else [])]
            yield f"for ({down if one.reverse else up})"
            yield f"  {self._call(one.function, inputs, self._at(target, 't', one.first))}"
        elif isinstance(one, Reversed):
            width = 1 if source.index else D
            yield f"for (let t = 0; t < {n}; t++)"
            yield f"  for (let j = 0; j < {width}; j++)"
            yield f"    {target.name}[t * {width} + j] = {source.name}[({n} - 1 - t) * {width} + j];"
        elif isinstance(one, Windows):
            yield from self._windows(one)
        elif one.kind == "flat":
            yield f"if ({n} !== {target.width // D})"
            yield '  throw new RangeError("x must have another number of steps");'
            yield f"{target.name}.set({source.name});"
        elif one.kind in ("last", "ends"):
            half = D if one.kind == "last" else D // 2
            yield f"for (let j = 0; j < {D}; j++)"
            yield f"  {target.name}[j] = {source.name}[j < {half} ? ({n} - 1) * {D} + j : j];"
        else:
            start = "-Infinity" if one.kind == "largest" else "0"
            yield f"{target.name}.fill({start});"
            yield f"for (let t = 0; t < {n}; t++)"
            yield f"  for (let j = 0; j < {D}; j++)"
            entry, step = f"{target.name}[j]", f"{source.name}[t * {D} + j]"
            yield f"    {entry} = {f'Math.max({entry}, {step})' if one.kind == 'largest' else f'f({entry} + {step})'};"
            if one.kind == "mean":
                yield f"for (let j = 0; j < {D}; j++) {entry} = f({entry} / {n});"

    def _windows(self, one: Windows) -> Iterator[str]:
        source, target, D = one.source, one.target, one.source.width
        yield f"for (let t = 0; t < {target.count}; t++) {{"
        start = f"{one.bias.name}[j]" if one.bias else "-Infinity" if one.kind == "largest" else "0"
        yield f"  const row = t * {target.width};"
        yield "  let there = 0;" if one.kind == "mean of some" else "  // one window"
        yield f"  for (let j = 0; j < {target.width}; j++) {target.name}[row + j] = {start};"
        yield f"  for (let k = 0; k < {one.kernel}; k++) {{"
        yield f"    const i = {one.stride} * t - {one.left} + {one.dilation} * k;"
        yield f"    if (i < 0 || i >= {source.count}) continue;"
        entry, step = f"{target.name}[row + j]", f"{source.name}[i * {D} + j]"
        if one.kind == "convolution":
            K = D // len(one.weights)
            for g, weight in enumerate(one.weights):
                N = weight.values.shape[1]
                inner = (source.name, f"i * {D} + {g * K}"), (target.name, f"row + {g * N}")
                yield f"    {self._product(weight, *inner, f'k * {K}', K)}"
        elif one.kind == "largest":
            yield f"    for (let j = 0; j < {D}; j++) {entry} = Math.max({entry}, {step});"
        else:
            yield from ["    there++;"] if one.kind == "mean of some" else []
            yield f"    for (let j = 0; j < {D}; j++) {entry} = f({entry} + {step});"
        yield "  }"
        if one.kind.startswith("mean"):
            count = "there" if one.kind == "mean of some" else one.kernel
            yield f"  for (let j = 0; j < {D}; j++) {entry} = f({entry} / {count});"
        yield "}"

    def _test(self) -> Iterator[str]:
        assert self.plan.sample is not None
        x, y = self.plan.sample
        yield "/* Whether a drawn input gives what minirnn computed. */"
        yield "export function selfTest() {"
        for name, array in (("x", x), ("expected", y)):
            numbers = ", ".join(map(str, array.ravel().tolist()))
            made = f"[{numbers}]" if array.dtype.kind in "iu" else f"Float32Array.of({numbers})"
            yield f"  const {name} = {made};"
        yield "  const y = run(state(), x);"
        yield "  return y.length === expected.length"
        yield "    && y.every((v, k) => Math.abs(v - expected[k]) <= 1e-5 * (1 + Math.abs(expected[k])));"
        yield "}"


def _characters(values: Array) -> str:
    """The bytes of numbers in characters, which ``bytes`` of the file reads."""
    data = values.astype("i1" if values.dtype == np.int8 else "<f4").tobytes()
    words = np.frombuffer(data + bytes(-len(data) % 4), "<u4")
    digits = words[:, None] // 85 ** np.arange(4, -1, -1, dtype=np.uint32) % 85
    return np.array(DIGITS, np.uint8)[digits].tobytes().decode("ascii")


def written(plan: Plan) -> str:
    """The file."""
    return JavaScript(plan).source()
