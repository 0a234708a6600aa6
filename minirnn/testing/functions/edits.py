"""Small edits of a function's source: what an author would change to mend a usual mistake.

A room yields what may stand where one node of the syntax tree does: how far-fetched it is, the pattern of the mistake
that it would mend, a sentence, and the new node.  Here these become edits, which know their lines.
"""

import ast
from collections.abc import Iterator, Sequence

from minirnn.testing.functions import formulas
from minirnn.testing.functions.arrays import of_arrays
from minirnn.testing.functions.faults import EARLIER, FACTOR, SIGN, TERM
from minirnn.testing.functions.places import Edit, Place, Replacement, is_gradient, parsed, places_in, text_of
from minirnn.testing.functions.statements import of_statements
from minirnn.testing.functions.swaps import in_a_line, orders
from minirnn.testing.functions.vocabulary import FEW, Vocabulary

FREE = "_number_to_be_found"
NUMBER = "<number>"  # and in the words


def likely(statement: Place, known: Vocabulary) -> Iterator[Edit]:
    """The edits of a statement that are few."""
    for place in places_in(statement):
        for room in (formulas.likely, of_arrays, orders, of_statements):
            yield from _edits(place, room(place, known))
    yield from in_a_line(statement, known)


def far(statement: Place, known: Vocabulary) -> Iterator[Edit]:
    """The edits of a statement that are many: with operands in many forms, with a number that is still to be found."""
    places = places_in(statement)
    for place in places:
        yield from _edits(place, formulas.far(place, known))
    yield from _with_numbers(places, known.operands[:FEW])


def _edits(place: Place, replacements: Iterator[Replacement]) -> Iterator[Edit]:
    line = getattr(place.node, "lineno", 0)
    try:
        for cost, pattern, words, new in replacements:
            if place.inside and pattern in (SIGN, TERM, FACTOR):
                index = f"another index belongs there: {text_of(new)} where {text_of(place.node)} stands"
                yield Edit(cost, EARLIER, index, line, (place.change(new),))
            else:
                yield Edit(cost, pattern, words, line, (place.change(new),))
    except SyntaxError:  # no plain formula: an index within an index
        return


def _with_numbers(places: Sequence[Place], operands: Sequence[str]) -> Iterator[Edit]:
    """A factor of a part, or that of a term that is missing, which is still to be found."""
    free = ast.Name(FREE, ast.Load())
    gradients = [name for name in operands if is_gradient(name)]
    terms = [(3.6, one) for one in operands]
    terms += [(3.8, f"{one} * {other}") for one in gradients for other in operands if other != one]
    for place in places:
        node = place.node
        if place.inside or not isinstance(node, ast.expr) or isinstance(node, ast.Constant):
            continue
        if place.is_whole or (isinstance(place.parent, ast.BinOp) and not isinstance(place.parent.op, ast.Pow)):
            words = f"{text_of(node)} must be {NUMBER} times as large"
            new = ast.BinOp(free, ast.Mult(), node)
            yield Edit(3.4, FACTOR, words, node.lineno, (place.change(new),), free=True)
        for cost, text in terms if place.is_whole else ():
            new = ast.BinOp(node, ast.Add(), ast.BinOp(free, ast.Mult(), parsed(text)))
            words = f"the term {NUMBER} {text} is missing"
            yield Edit(cost, TERM, words, node.lineno, (place.change(new),), free=True)
