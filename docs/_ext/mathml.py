"""Formulas as MathML, made when the pages are built: a browser draws them without a script or a font from anywhere."""

from typing import Any
from xml.etree import ElementTree as ET

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ET.register_namespace("", NAMESPACE)
KNOWN = "math mfrac mi mn mo mover mrow mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover"


def mathml(latex: str, node: nodes.Element, *, display: bool) -> str:
    """A formula; what has not been understood is a warning, which ends a strict build."""
    source: str = convert(latex, display="block" if display else "inline")
    try:
        root = ET.fromstring(source)  # noqa: S314 - of our own making
    except ET.ParseError as error:
        log.warning("the formula %r has become MathML that is not XML: %s", latex, error, location=node)
        return source
    unknown = sorted({element.tag.partition("}")[2] for element in root.iter()} - set(KNOWN.split()))
    if unknown or any(sign in "".join(root.itertext()) for sign in "\\&"):
        log.warning("the formula %r has parts that are not understood %s", latex, unknown, location=node)
    for element in root.iter(f"{{{NAMESPACE}}}msup"):
        base, index = element
        if index.text == "′":  # in most fonts it is raised already
            element.tag = f"{{{NAMESPACE}}}mrow"
            element[:] = [base, ET.Element(f"{{{NAMESPACE}}}mo", {"lspace": "0", "rspace": "0"})]
            element[1].text = "′"
    return ET.tostring(root, encoding="unicode")


def visit_inline(writer: Any, node: nodes.math) -> None:
    """``$...$``."""
    writer.body.append(mathml(node.astext(), node, display=False))
    raise nodes.SkipNode


def visit_block(writer: Any, node: nodes.math_block) -> None:
    """``$$...$$``."""
    writer.body.append(f'<div class="formula">{mathml(node.astext(), node, display=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
