"""Directives for what a chapter shows of the code; a page that differs from the code is not built.

    ```{equations} LSTMCell
    c' = f c + i g                        (5)
    ```

are lines of the docstring of ``minirnn.cells.LSTMCell``, word for word, so that the page can be read as it stands.  In
the book they are typeset, beside the lines of ``step`` or ``unstep`` that have the same numbers.

    ```{quoted} minirnn/scan.py
    ...
    ```

are lines of a file, word for word, and lead to them.
"""

from itertools import groupby
from typing import Any

from docutils import nodes
from quoting import code_of, equations_in, is_python, quoted, shown
from sources import link
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typesetting import equation_in_latex

from minirnn.explain import Equation


class Equations(SphinxDirective):
    """``{equations} Cell``."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table: number, equations, code."""
        name = self.arguments[0]
        try:
            lines, method = equations_in(name, "\n".join(self.content))
        except ValueError as error:
            raise self.error(str(error)) from None
        code, first = code_of(name, method)
        rows = [row(number, list(group), code) for number, group in groupby(lines, lambda line: line.numbers[0])]
        what = nodes.paragraph("", "the equations" if method == "step" else "transposed")
        where = nodes.paragraph("", "", link("minirnn/cells.py", first, literal(f"{name}.{method}")))
        head = nodes.row("", nodes.entry(), nodes.entry("", what), nodes.entry("", where))
        columns = [nodes.colspec(colwidth=width) for width in (5, 40, 55)]
        group = nodes.tgroup("", *columns, nodes.thead("", head), nodes.tbody("", *rows), cols=3)
        return [nodes.table("", group, classes=["equations"])]


def row(number: int, group: list[Equation], code: list[tuple[list[int], str]]) -> nodes.row:
    """The equations that have one number, and their code."""
    lines = []
    for equation in group:
        latex = equation_in_latex(equation.text)
        note = [nodes.inline("", f"  {equation.remark}", classes=["note"])] if equation.remark else []
        lines.append(nodes.line("", "", nodes.math(latex, latex), *note))
    text = "\n".join(shown(number, code))
    return nodes.row(
        "",
        nodes.entry("", nodes.paragraph("", f"({number})")),
        nodes.entry("", nodes.line_block("", *lines)),
        nodes.entry("", nodes.literal_block(text, text, language="python")),
    )


class Quoted(SphinxDirective):
    """``{quoted} path``."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The lines, and where they are."""
        target, text = self.arguments[0], "\n".join(self.content)
        try:
            first = quoted(target, text)
        except (ValueError, OSError) as error:
            raise self.error(str(error)) from None
        line = nodes.Text(f", line {first}")
        where = nodes.paragraph("", "", link(target, first, literal(target)), line, classes=["where"])
        language = "python" if is_python(text) else "none"
        return [nodes.literal_block(text, text, language=language, classes=["quoted"]), where]


def literal(text: str) -> nodes.literal:
    """Text as code."""
    return nodes.literal(text, text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("equations", Equations)
    app.add_directive("quoted", Quoted)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
