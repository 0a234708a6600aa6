"""A plan as Python that imports NumPy alone: equations of whole rows, as a cell's own."""

import itertools
import keyword
from collections.abc import Iterator

import numpy as np

from minirnn.core.backend import Array
from minirnn.formats.sources import python_library as library
from minirnn.formats.sources.equations import Value
from minirnn.formats.sources.expressions import Where
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
    Shift,
    Slot,
    Statement,
    Weight,
    Whole,
    Windows,
)
from minirnn.formats.sources.words import in_lines, spelt
from minirnn.kernels.facts import BINARY, COMPARISONS, Place

TAKEN = {"np", "f4", "s", "x", "x2", "y", "p", "q", "index", "tanh", "exp", "parts", "windows", "numbers", "State"}
BINDS = {"add": 1, "subtract": 1, "multiply": 2, "divide": 2, "negative": 3}
WIDTH = 112


class Python:
    """The work of writing a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def source(self) -> str:
        """All of it."""
        plan = self.plan
        calls, operations = plan.calls(), plan.operations
        lines = ['"""', *plan.about, '"""', "", "import numpy as np", "", "f4 = np.float32"]
        if plan.symbols:
            lines += ["SYMBOLS = [  # code points; the first stands for all that are not there"]
            lines += [*(f"    {line}" for line in in_lines(np.array(plan.symbols, np.int64))), "]"]
        helpers = [library.NUMBERS]
        helpers += [library.PARTS] if {"tanh", "exp"} & calls else []
        helpers += [library.TANH] if "tanh" in calls else []
        helpers += [library.EXP] if "exp" in calls else []
        helpers += [library.WINDOWS] if any(isinstance(one, Windows) for one in operations) else []
        lines += [line for text in helpers for line in ("", *text.rstrip().split("\n"))]
        lines += ["", "", *self._weights(), "", "", *self._state()]
        for function in plan.functions:
            lines += ["", "", *self._function(function)]
        lines += ["", "", *(self._steps() if plan.stepwise else self._whole())]
        if plan.symbols:
            lines += library.TEXT.rstrip().split("\n")
            lines += library.DRAW.rstrip().split("\n") if plan.task == "next" else []
        return "\n".join([*lines, "", "", *self._test(), ""])

    def _weights(self) -> Iterator[str]:
        scales = {id(one.scale): one for one in self.plan.weights if one.scale is not None}
        for one in self.plan.weights:
            if id(one) not in scales:
                yield from self._numbers(one)
            if one.scale is not None:
                yield from self._numbers(one.scale)
                scale = f"{one.scale.name}[:, None]" if one.by_row else one.scale.name
                yield f"{one.name} = {one.name}.astype(f4) * {scale}"

    def _numbers(self, weight: Weight) -> Iterator[str]:
        dtype = '"i1"' if weight.values.dtype == np.int8 else '"<f4"'
        shape = ", ".join(map(str, weight.values.shape))
        yield f'{weight.name} = numbers("""'
        yield from _hexadecimal(weight.values)
        yield f'""", {dtype}, {shape})'

    def _state(self) -> Iterator[str]:
        yield "class State:"
        yield '    """Everything that changes: a new one begins a sequence."""'
        yield ""
        yield "    def __init__(self):"
        for one in self.plan.states:
            yield f"        self.{one.name} = {one.initial.name if one.initial else f'np.zeros({one.size}, f4)'}"
        if not self.plan.states:
            yield "        pass"

    # ------------------------------------------------------------------ one step of a layer

    def _function(self, function: Function) -> Iterator[str]:
        x = [
            *(["s"] if function.stateful else []),
            "index" if function.index else "x",
            *(["x2"] if function.pair else []),
        ]
        yield f"def {function.name}({', '.join(x)}):"
        yield f'    """{function.about}: {function.inputs} to {function.outputs}."""'
        body = list(self._statements(function))
        if body[-1].startswith("y = "):
            body[-1] = f"return {body[-1][4:]}"
        else:
            body.append("return y")
        yield from (f"    {line}" for line in body)

    def _statements(self, function: Function) -> Iterator[str]:
        """Lines; an array that is filled and then added to is written as one sum."""
        waiting = list(function.statements)
        sizes = {**function.locals, "y": function.outputs, "x": function.inputs, "x2": function.inputs}
        sizes |= {one.name: one.size for one in self.plan.states}
        self.sizes = sizes
        while waiting:
            one = waiting.pop(0)
            after = waiting[0] if waiting else None
            if isinstance(one, Fill) and isinstance(after, (Product, Pick)) and self._fills(one, after):
                waiting.pop(0)
                start = "" if one.source is None else f" + {self._slot(one.source, one.size)}"
                yield f"{self._slot(one.target, one.size)} = {self._product(after)}{start}"
            else:
                yield from self._statement(one, waiting)

    def _fills(self, one: Fill, after: Product | Pick) -> bool:
        return one.target == after.target and one.size == after.weight.values.shape[1] == self.sizes[one.target.array]

    def _slot(self, slot: Slot, size: int) -> str:
        """Some numbers of an array."""
        kind, array, first = slot
        name = f"s.{array}" if kind == "state" else array
        whole = self.sizes.get(array, size) if kind != "weight" else size
        return name if first == 0 and size == whole else f"{name}[{first}:{first + size}]"

    def _product(self, one: Product | Pick) -> str:
        if isinstance(one, Pick):
            return f"{one.weight.name}[index]"
        K = one.weight.values.shape[0]
        rows = "" if (one.first, one.rows) == (0, K) else f"[{one.first}:{one.first + one.rows}]"
        return f"{self._slot(one.source, one.rows)} @ {one.weight.name}{rows}"

    def _statement(self, one: Statement, later: list[Statement]) -> Iterator[str]:
        if isinstance(one, Fill):
            changed = any(isinstance(two, (Product, Pick)) and two.target.array == one.target.array for two in later)
            source = f"np.zeros({one.size}, f4)" if one.source is None else self._slot(one.source, one.size)
            copied = ".copy()" if changed and one.source is not None else ""
            yield f"{self._slot(one.target, one.size)} = {source}{copied}"
        elif isinstance(one, (Product, Pick)):
            yield f"{self._slot(one.target, one.weight.values.shape[1])} += {self._product(one)}"
        elif isinstance(one, Shift):
            target = self._slot(one.target, one.size)
            yield f"{target} = np.concatenate([{target}, {self._slot(one.source, one.width)}])[{one.width}:]"
        else:
            yield from self._compute(one)

    def _compute(self, one: Compute) -> Iterator[str]:
        names, stores = one.equations.whole
        words = self._words([name for name, _ in names])

        def at(place: Place) -> str:
            slot = one.loads[place]
            return slot.array if place.array[0] == "s" and slot.kind == "local" else self._slot(slot, one.width)

        for name, value in names:
            yield f"{words[name]} = {self._value(value, at, words)}"
        moved = [(place, value) for place, value in stores if one.moves(place, value)]
        if moved:
            targets = ", ".join(self._target(one, place) for place, _ in moved)
            yield f"{targets} = {', '.join(self._value(value, at, words) for _, value in moved)}"

    def _target(self, one: Compute, place: Place) -> str:
        slot = one.stores[place]
        return slot.array if place.array[0] == "s" and slot.kind == "local" else self._slot(slot, one.width)

    def _words(self, names: list[str]) -> dict[str, str]:
        """The names as Python has them: those of the cell where they can be."""
        taken = (
            TAKEN
            | set(self.sizes)
            | {one.name for one in self.plan.weights}
            | {one.name for one in self.plan.functions}
        )
        words: dict[str, str] = {}
        for k, name in enumerate(names):
            good = name.isascii() and name.isidentifier() and not keyword.iskeyword(name) and name not in taken
            words[name] = name if good else f"v{k}"
            taken.add(words[name])
        return words

    def _value(self, value: Value, at: Where, words: dict[str, str], above: int = 0) -> str:
        """An expression, in parentheses where what is ``above`` it binds as much or more."""
        name, *operands = value
        if name == "number":
            return spelt(operands[0])
        if name == "name":
            return words[operands[0]]
        if name == "load":
            return at(operands[0])
        sign = BINARY.get(name) or COMPARISONS.get(name)
        if not sign and name != "negative":
            own = "" if name in ("tanh", "exp") else "np."
            return f"{own}{name}({', '.join(self._value(one, at, words) for one in operands)})"
        level = BINDS.get(name, 0)
        sides = [self._value(one, at, words, level + (k > 0)) for k, one in enumerate(operands)]
        text = f"{sides[0]} {sign} {sides[1]}" if sign else f"-{self._value(operands[0], at, words, 4)}"
        return f"({text})" if level < above else text

    # ------------------------------------------------------------------ sequences

    def _call(self, function: Function, *sources: str) -> str:
        arguments = [*(["s"] if function.stateful else []), *sources]
        return f"{function.name}({', '.join(arguments)})"

    def _steps(self) -> Iterator[str]:
        plan = self.plan
        x = "an index" if plan.index else f"({plan.inputs},)"
        yield "def step(s, x):"
        yield f'    """One step: x {x} -> y ({plan.outputs},)."""'
        wires = plan.wires()
        chain = all(one.sources == [before.target] for before, one in itertools.pairwise(wires))
        begun: set[str] = set()
        for one in wires:
            y = self._call(one.function, *(["x"] if chain else one.sources))
            if one.width == one.function.outputs:
                yield f"    {'x' if chain else one.target} = {y}"
                continue
            if one.target not in begun:
                begun.add(one.target)
                yield f"    {one.target} = np.empty({one.width}, f4)"
            yield f"    {one.target}[{one.first}:{one.first + one.function.outputs}] = {y}"
        yield f"    return {'x' if chain else 'y'}"
        yield from ("", "")
        yield "def run(s, x):"
        x, T = "(T)" if plan.index else f"(T, {plan.inputs})", 1 if plan.one else "T"
        yield f'    """All steps: x {x} -> y ({T}, {plan.outputs})."""'
        yield "    y = np.array([step(s, row) for row in x], f4)"
        yield f"    return y{'[-1:]' if plan.one else ''}"

    def _whole(self) -> Iterator[str]:
        plan = self.plan
        yield "def run(s, x):"
        x = "(T)" if plan.index else f"(T, {plan.inputs})"
        yield f'    """A whole sequence: x {x} -> y (steps, {plan.outputs})."""'
        yield "    x = np.asarray(x)"
        yield f"    if len(x) < {plan.least}:"
        yield f'        raise ValueError(f"x must have at least {plan.least} steps; got {{len(x)}}")'
        begun: set[str] = set()
        for one in plan.operations:
            yield from (f"    {line}" for line in self._operation(one, begun))
        yield "    return y"

    def _operation(self, one: Operation, begun: set[str]) -> Iterator[str]:
        source, target = one.source.name, one.target.name
        if isinstance(one, Each):
            pair = f"zip({source}, {one.second.name})" if one.second else ""
            back = "[::-1]" if one.reverse else ""
            call = self._call(one.function, *(["row", "other"] if pair else ["row"]))
            rows = f"[{call} for {'row, other' if pair else 'row'} in {pair or source + back}]"
            if one.function.outputs == one.target.width:
                yield f"{target} = np.array({rows}, f4){back}"
                return
            if target not in begun:
                begun.add(target)
                yield f"{target} = np.empty((len({source}), {one.target.width}), f4)"
            yield f"{target}[:, {one.first}:{one.first + one.function.outputs}] = np.array({rows}, f4){back}"
        elif isinstance(one, Reversed):
            yield f"{target} = {source}[::-1]"
        elif isinstance(one, Windows):
            yield from self._windows(one)
        elif isinstance(one, Whole):
            half = one.source.width // 2
            if one.kind == "flat":
                steps = one.target.width // one.source.width
                yield f"if len({source}) != {steps}:"
                words = f"{{len(x)}} steps of x come to {{len({source})}} here, where {steps} are needed"
                yield f'    raise ValueError(f"{words}")'
            yield (
                f"{target} = "
                + {
                    "last": f"{source}[-1:]",
                    "ends": f"np.concatenate([{source}[-1:, :{half}], {source}[:1, {half}:]], axis=1)",
                    "largest": f"{source}.max(axis=0, keepdims=True)",
                    "mean": f"{source}.mean(axis=0, keepdims=True)",
                    "flat": f"{source}.reshape(1, -1)",
                }[one.kind]
            )

    def _windows(self, one: Windows) -> Iterator[str]:
        source, target = one.source.name, one.target.name
        sizes = f"{one.kernel}, {one.stride}, {one.left}, {one.right}, {one.dilation}"
        fill = "-np.inf" if one.kind == "largest" else "0"
        if one.kind == "convolution":
            D = one.source.width // len(one.weights)
            b = f" + {one.bias.name}" if one.bias else ""
            yield f"w = windows({source}, {sizes}, {fill})"
            parts = [
                f"w[:, :, {g * D}:{(g + 1) * D}].reshape(len(w), -1) @ {weight.name}"
                for g, weight in enumerate(one.weights)
            ]
            joined = parts[0] if len(parts) == 1 else f"np.concatenate([{', '.join(parts)}], axis=1)"
            yield f"{target} = {joined}{b}"
        elif one.kind == "largest":
            yield f"{target} = windows({source}, {sizes}, {fill}).max(axis=1)"
        elif one.kind == "mean":
            yield f"{target} = windows({source}, {sizes}, {fill}).sum(axis=1) / {one.kernel}"
        else:
            yield f"w = windows({source}, {sizes}, {fill})"
            yield f"{target} = w.sum(axis=1) / windows(np.ones((len({source}), 1), f4), {sizes}, 0).sum(axis=1)"

    def _test(self) -> Iterator[str]:
        assert self.plan.sample is not None
        x, y = self.plan.sample
        yield 'if __name__ == "__main__":  # compare with what minirnn computed'
        yield f"    x = {self._literal(x)}"
        yield f"    expected = {self._literal(y)}"
        yield "    off = float(np.max(np.abs(run(State(), x) - expected) / (1 + np.abs(expected))))"
        yield "    same = off <= 1e-5"
        yield '    words = "the numbers of minirnn" if same else "OTHER NUMBERS"'
        yield '    print(f"{words}, the largest difference is {off:.2g}")'
        yield "    raise SystemExit(not same)"

    @staticmethod
    def _literal(array: Array) -> str:
        if array.dtype.kind in "iu":
            return str(array.tolist())
        text = ", ".join(map(str, array.ravel().tolist()))
        return f"np.array([{text}], f4).reshape({', '.join(map(str, array.shape))})"


def _hexadecimal(values: Array) -> Iterator[str]:
    """The bytes of an array, the lowest first, in lines."""
    text = values.astype("i1" if values.dtype == np.int8 else "<f4").tobytes().hex()
    yield from (text[k : k + WIDTH] for k in range(0, len(text), WIDTH))


def written(plan: Plan) -> str:
    """The file."""
    return Python(plan).source()
