"""A plan as C99: one file, without memory of its own, and a header for those who call it."""

from collections.abc import Iterator

import numpy as np

from minirnn.formats.sources.c_code import Code
from minirnn.formats.sources.c_library import (
    DRAW,
    EXP,
    NARROW,
    PARTS,
    PICKED,
    PICKED_NARROW,
    PRODUCT,
    SYMBOLS,
    TANH,
)
from minirnn.formats.sources.plan import Pick, Plan, Product, Rows, Windows
from minirnn.formats.sources.words import in_lines

TOLERANCE = 1e-5  # of the self-test


class C(Code):
    """The work of writing the files of a plan."""

    def header(self) -> str:
        """What others may call."""
        return "\n".join([*self._about(), "", *self._declared(), ""])

    def source(self) -> str:
        """All of it."""
        parts = [
            *self._about(),
            "",
            *self._declared(),
            "",
            "#include <math.h>",
            "",
            *self._weights(),
            *self._helpers(),
        ]
        for function in self.plan.functions:
            parts += ["", *self._function(function)]
        parts += ["", *self._reset(), "", *(self._steps() if self.plan.stepwise else self._whole())]
        if self.plan.symbols:
            parts += ["", *self._text()]
        return "\n".join([*parts, "", *self._test(), ""])

    def _about(self) -> Iterator[str]:
        yield "/*"
        for line in self.plan.about:
            yield f" * {line}".rstrip()
        yield " */"

    def _declared(self) -> Iterator[str]:
        plan, S, M = self.plan, self.stem, self.upper
        yield from (f"#ifndef {M}_H", f"#define {M}_H", "", "#include <stdint.h>", "")
        what = "indices that x may be" if plan.index else "numbers of a step of x"
        yield f"#define {M}_INPUTS {plan.inputs} /* {what} */"
        yield f"#define {M}_OUTPUTS {plan.outputs} /* numbers of a step of y */"
        if not plan.stepwise:
            yield f"#define {M}_STEPS {plan.steps} /* the most steps of x in one call */"
            yield f"#define {M}_OUTPUT_STEPS {self._most()} /* the most steps of y that a call writes */"
        yield from ("", "/* Everything that changes. Several may be in use at once. */", "typedef struct {")
        members = [f"    float {one.name}[{one.size}];" for one in plan.states]
        if not plan.stepwise:
            sizes = [(one, max(1, one.steps * self._width(one))) for one in plan.rows]
            members += [f"    {self._kind(one)} {one.name}[{size}];" for one, size in sizes]
        yield from members or ["    char nothing;"]
        yield from (f"}} {S}_state;", "", "#ifdef __cplusplus", 'extern "C" {', "#endif", "")
        yield from ("/* Begins a sequence. */", f"void {S}_reset({S}_state *s);", "")
        x = "const int *x" if plan.index else "const float *x"
        if plan.stepwise:
            yield from (
                f"/* One step: reads {'an index' if plan.index else f'x[{M}_INPUTS]'}, writes y[{M}_OUTPUTS]. */",
                f"void {S}_step({S}_state *s, {'int x' if plan.index else x}, float *y);",
                "",
            )
        yield from (
            f"/* All steps of x{'' if plan.index else f'[steps][{M}_INPUTS]'}, of which {self._needs()}.",
            f" * Writes y[][{M}_OUTPUTS] and returns how many steps of it{', 1' if plan.one else ''};",
            " * -1, and nothing is written, for another number of steps. */",
            f"int {S}_run({S}_state *s, {x}, int steps, float *y);",
        )
        if plan.symbols:
            yield from (
                "",
                "/* The code points of the symbols; the first stands for all that are not there. */",
                f"#define {M}_SYMBOLS {len(plan.symbols)}",
                f"extern const uint32_t {S}_symbols[{M}_SYMBOLS];",
                "/* The index of a code point. */",
                f"int {S}_encode(uint32_t code);",
                "/* A symbol in UTF-8, 1 to 4 bytes, and how many. */",
                f"int {S}_decode(int index, char *utf8);",
            )
            if plan.task == "next":
                yield from (
                    "/* An index drawn from y, never 0, at temperature 0 the likeliest; seed is not 0, and changes. */",
                    f"int {S}_draw(const float *y, float temperature, uint32_t *seed);",
                )
        yield from ("", "#ifdef __cplusplus", "}", "#endif", "", "#endif")

    def _needs(self) -> str:
        if self.plan.stepwise:
            return "there is at least 1"
        least, most = self.plan.least, self.plan.steps
        return f"there are {least}" if least == most else f"there are {least} to {most}"

    def _most(self) -> int:
        ends = [one.target.steps for one in self.plan.operations if one.target.name == "y"]
        return max(ends, default=1)

    def _kind(self, rows: Rows) -> str:
        return "int" if rows.index else "float"

    def _width(self, rows: Rows) -> int:
        return 1 if rows.index else rows.width

    def _weights(self) -> Iterator[str]:
        for one in self.plan.weights:
            kind, suffix = ("int8_t", "") if one.values.dtype == np.int8 else ("float", "f")
            shape = " * ".join(map(str, one.values.shape))
            yield f"static const {kind} {self.stem}_{one.name}[{shape}] = {{"
            yield from (f"    {line}" for line in in_lines(one.values, suffix))
            yield from ("};", "")

    def _helpers(self) -> Iterator[str]:
        """The functions that something here uses."""
        statements = [one for function in self.plan.functions for one in function.statements]
        products = [one.weight for one in statements if isinstance(one, Product)]
        products += [one for step in self.plan.operations if isinstance(step, Windows) for one in step.weights]
        picks = [one.weight for one in statements if isinstance(one, Pick)]
        calls = self.plan.calls()
        wanted = [
            (PARTS, bool({"tanh", "exp"} & calls) or self._draws()),
            (TANH, "tanh" in calls),
            (EXP, "exp" in calls or self._draws()),
            (PRODUCT, any(one.scale is None for one in products)),
            (NARROW, any(one.scale is not None for one in products)),
            (PICKED, any(one.scale is None for one in picks)),
            (PICKED_NARROW, any(one.scale is not None for one in picks)),
        ]
        for text, used in wanted:
            if used:
                yield text.replace("STEM", self.stem)

    def _draws(self) -> bool:
        return bool(self.plan.symbols) and self.plan.task == "next"

    def _reset(self) -> Iterator[str]:
        yield f"void {self.stem}_reset({self.stem}_state *s) {{"
        for one in self.plan.states:
            source = f"{self.stem}_{one.initial.name}[j]" if one.initial else "0.0f"
            yield f"    for (int j = 0; j < {one.size}; j++) s->{one.name}[j] = {source};"
        if not self.plan.states:
            yield "    (void)s;"
        yield "}"

    def _text(self) -> Iterator[str]:
        yield f"const uint32_t {self.stem}_symbols[{self.upper}_SYMBOLS] = {{"
        yield from (f"    {line}" for line in in_lines(np.array(self.plan.symbols, np.int64)))
        yield from ("};", "")
        yield SYMBOLS.replace("STEM", self.stem).replace("UPPER", self.upper)
        if self._draws():
            yield DRAW.replace("STEM", self.stem).replace("UPPER", self.upper)

    def _test(self) -> Iterator[str]:
        """The program of the self-test."""
        assert self.plan.sample is not None
        (x, y), S = self.plan.sample, self.stem
        names = dict.fromkeys(["MODEL_TEST", f"{self.upper}_TEST"])
        yield f"#if {' || '.join(f'defined({name})' for name in names)}"
        yield "#include <stdio.h>"
        yield ""
        yield "/* What minirnn computed, and the largest difference from it; 0 is returned if that is small. */"
        yield "int main(void) {"
        kind, suffix = ("int", "") if self.plan.index else ("float", "f")
        for name, array, word, end in (("x", x, kind, suffix), ("expected", y, "float", "f")):
            yield f"    static const {word} {name}[] = {{"
            yield from (f"        {line}" for line in in_lines(array, end, 104))
            yield "    };"
        yield f"    static {S}_state s;"
        yield f"    static float y[{y.size}];"
        yield "    double most = 0.0;"
        yield "    int same;"
        yield f"    {S}_reset(&s);"
        yield f"    same = {S}_run(&s, x, {len(x)}, y) == {len(y)};"
        yield f"    for (int j = 0; j < {y.size}; j++) {{"
        yield "        const double off = fabs((double)y[j] - (double)expected[j]) / (1.0 + fabs((double)expected[j]));"
        yield "        if (!(off <= most)) most = off; /* NaN too */"
        yield "    }"
        yield f"    same = same && most <= {TOLERANCE!r};"
        yield '    const char *words = same ? "the numbers of minirnn" : "OTHER NUMBERS";'
        yield f'    printf("{S}: %s, the largest difference is %.2g\\n", words, most);'
        yield "    return !same;"
        yield "}"
        yield "#endif"


def written(plan: Plan, stem: str) -> tuple[str, str]:
    """The source and its header."""
    one = C(plan, stem)
    return one.source(), one.header()
