"""Edits that put one thing of a function in the place of another: names, functions, letters, the order of steps."""

import ast
from collections.abc import Iterator
from itertools import combinations

from minirnn.testing.functions.faults import EARLIER, FACTOR, SWAPPED, TRANSPOSED
from minirnn.testing.functions.places import Edit, Place, Replacement, nodes_in, parsed, text_of
from minirnn.testing.functions.vocabulary import Vocabulary

FUNCTIONS = ("np.tanh", "np.exp", "np.concatenate", "np.hstack", "np.vstack", "np.stack", "np.sin", "np.cos")
FILLED = ("np.zeros", "np.ones")
MOST = 24  # lines of which two are swapped
IN_LINE = 14  # names and numbers of one line


def orders(place: Place, known: Vocabulary) -> Iterator[Replacement]:
    """Another order of a tuple, of the steps of a loop or of an einsum's letters; another function."""
    node = place.node
    if isinstance(node, (ast.Tuple, ast.List)) and 1 < len(node.elts) < 9 and not place.inside:
        for i, j in combinations(range(len(node.elts)), 2):
            order = list(node.elts)
            order[i], order[j] = order[j], order[i]
            words = f"{text_of(node.elts[i])} and {text_of(node.elts[j])} are swapped"
            yield 0.8, SWAPPED, words, type(node)(order, node.ctx)
    if place.field == "func":
        name = text_of(node)
        filled = FILLED if name in FILLED else ()
        for other in sorted({*known.called, *FUNCTIONS, *filled} - {name}):
            if other.partition(".")[0] in name or "." not in other or other in (*FUNCTIONS, *filled):
                yield 0.9, FACTOR, f"{other} belongs where {name} stands", parsed(other)
    if isinstance(place.parent, (ast.For, ast.comprehension)) and place.field == "iter":
        yield backwards(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
        first = ast.Call(ast.Attribute(node.func.value, "insert", ast.Load()), [ast.Constant(0), *node.args], [])
        yield 1.0, EARLIER, "the steps must be put together in the other order", first
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "->" in node.value:
        letters = node.value
        for k in range(len(letters) - 1):
            if letters[k : k + 2].isalpha():
                new = f"{letters[:k]}{letters[k + 1]}{letters[k]}{letters[k + 2 :]}"
                yield 0.9, TRANSPOSED, f"the subscripts must be {new!r}", ast.Constant(new)


def backwards(steps: ast.AST) -> Replacement:
    """The steps of a loop the other way round."""
    text = text_of(steps)
    new = text.removeprefix("reversed") if text.startswith("reversed(") else f"list({text})[::-1]"
    return 1.0, EARLIER, "the steps must be taken in the other order", parsed(new)


def in_a_line(statement: Place, known: Vocabulary) -> Iterator[Edit]:
    """Two names, numbers or slices of a statement in one another's place; a name for another throughout."""
    node = statement.node
    if not isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)) or node.value is None:
        return
    parts = [*ast.walk(node.value)]
    names = [one for one in parts if isinstance(one, ast.Name) and one.id not in ("np", "self")]
    numbers = [one for one in parts if isinstance(one, ast.Constant)]
    slices = [one for one in parts if isinstance(one, ast.Subscript) and ":" in text_of(one.slice)]
    own = [one for one in parts if isinstance(one, ast.Attribute) and text_of(one.value) == "self"]
    fields = ((names, "id"), (own, "attr"), (numbers, "value"), (slices, "slice"))
    for several, field in fields:
        for one, other in combinations(several[:IN_LINE], 2):
            values = getattr(one, field), getattr(other, field)
            texts = [text_of(value) if isinstance(value, ast.AST) else str(value) for value in values]
            if texts[0] != texts[1]:
                words = f"{texts[0]} and {texts[1]} are swapped"
                yield Edit(0.85, SWAPPED, words, one.lineno, ((one, field, values[1]), (other, field, values[0])))
    yield from _throughout(statement, known)


def _throughout(statement: Place, known: Vocabulary) -> Iterator[Edit]:
    """A name for another, in all places where a statement reads it."""
    read: dict[str, list[ast.Name]] = {}
    for node in nodes_in(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in known.names:
            read.setdefault(node.id, []).append(node)
    for name, nodes in read.items():
        for other in known.names if len(nodes) > 1 else ():
            if other != name and other.isidentifier():
                words = f"{other} belongs where {name} stands"
                yield Edit(1.3, FACTOR, words, nodes[0].lineno, tuple((node, "id", other) for node in nodes))


def between_lines(tree: ast.Module) -> Iterator[Edit]:
    """Two lines whose right-hand sides are swapped."""
    lines = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Name)]
    for one, other in combinations(lines[:MOST], 2):
        words = f"{text_of(one.targets[0])} and {text_of(other.targets[0])} are swapped"
        yield Edit(1.5, SWAPPED, words, one.lineno, ((one, "targets", other.targets), (other, "targets", one.targets)))
