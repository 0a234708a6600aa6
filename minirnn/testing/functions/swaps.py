"""Edits that put one thing of a function in the place of another: names, functions, axes, the order of steps."""

import ast
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import combinations

from minirnn.testing.functions.faults import EARLIER, FACTOR, SWAPPED
from minirnn.testing.functions.places import Edit, Place, nodes_in, parsed

FUNCTIONS = ("np.tanh", "np.exp", "np.concatenate", "np.hstack", "np.vstack", "np.stack", "np.sin", "np.cos")


def swaps(statement: Place, called: AbstractSet[str]) -> Iterator[Edit]:
    """Edits of a statement: two of its names swapped, a function for another, a number in brackets for another."""
    yield from _in_one_expression(statement.node)
    yield from _in_other_blocks(statement)
    for node in nodes_in(statement):
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.Tuple, ast.List)) and 1 < len(node.elts) < 9:
            for i, j in combinations(range(len(node.elts)), 2):
                order = list(node.elts)
                order[i], order[j] = order[j], order[i]
                words = f"{ast.unparse(node.elts[i])} and {ast.unparse(node.elts[j])} are swapped"
                yield Edit(0.8, SWAPPED, words, line, ((node, "elts", order),))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            for other in sorted({*called, *FUNCTIONS} - {name}):
                if other.partition(".")[0] in name or "." not in other or other in FUNCTIONS:
                    new = ast.parse(other, mode="eval").body
                    yield Edit(0.9, FACTOR, f"{other} belongs where {name} stands", line, ((node, "func", new),))
        if isinstance(node, (ast.For, ast.comprehension)):
            new = parsed(f"list({ast.unparse(node.iter)})[::-1]")
            words = "the steps must be taken in the other order"
            yield Edit(1.0, EARLIER, words, node.iter.lineno, ((node, "iter", new),))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "reversed":
            yield Edit(
                1.0,
                EARLIER,
                "the steps must be taken in the other order",
                line,
                ((node, "func", ast.Name("list", ast.Load())),),
            )
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            yield from _indices(node, line)
        if isinstance(node, ast.keyword) and node.arg == "axis":
            for axis in (0, 1, 2, -1):
                yield Edit(
                    1.1,
                    "wrong axis",
                    f"axis {axis} is needed",
                    getattr(node.value, "lineno", line),
                    ((node, "value", ast.Constant(axis)),),
                )


def _indices(node: ast.Subscript, line: int) -> Iterator[Edit]:
    """Another slice of the gates, an index in another place."""
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for i, j in combinations(range(len(parts)), 2):
        order = list(parts)
        order[i], order[j] = order[j], order[i]
        new = ast.Tuple(order, ast.Load())
        yield Edit(1.0, "wrong axis", f"{ast.unparse(node.value)}[{ast.unparse(new)}]", line, ((node, "slice", new),))
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
        for k in range(-1, 4):
            if k != node.slice.value:
                yield Edit(1.2, EARLIER, f"[{k}] is needed", line, ((node, "slice", ast.Constant(k)),))


def _in_one_expression(statement: ast.AST) -> Iterator[Edit]:
    """Two names in one another's place within a statement."""
    if not isinstance(statement, (ast.Assign, ast.AugAssign, ast.Return)) or statement.value is None:
        return
    names = [node for node in ast.walk(statement.value) if isinstance(node, (ast.Name, ast.Constant))]
    names = [node for node in names if not (isinstance(node, ast.Name) and node.id in ("np", "self"))]
    for one, other in combinations(names[:14], 2):
        if isinstance(one, ast.Name) and isinstance(other, ast.Name) and one.id != other.id:
            words = f"{one.id} and {other.id} are swapped"
            yield Edit(0.85, SWAPPED, words, one.lineno, ((one, "id", other.id), (other, "id", one.id)))
        elif isinstance(one, ast.Constant) and isinstance(other, ast.Constant) and one.value != other.value:
            words = f"{one.value!r} and {other.value!r} are swapped"
            yield Edit(0.85, SWAPPED, words, one.lineno, ((one, "value", other.value), (other, "value", one.value)))
    parts = [node for node in ast.walk(statement.value) if isinstance(node, ast.Subscript)]
    for first, second in combinations(parts[:8], 2):
        texts = [ast.unparse(part.slice) for part in (first, second)]
        within = second in ast.walk(first) or first in ast.walk(second)
        if texts[0] != texts[1] and any(":" in text for text in texts) and not within:
            words = f"[{texts[0]}] and [{texts[1]}] are swapped"
            slices = (first, "slice", second.slice), (second, "slice", first.slice)
            yield Edit(0.85, SWAPPED, words, first.lineno, slices)


def _in_other_blocks(place: Place) -> Iterator[Edit]:
    """Two lines that fill an array, ``a[:n] = x`` and ``a[n:] = y``, in the other order."""
    if place.at is None:
        return
    two = getattr(place.parent, place.field)[place.at : place.at + 2]
    assigned = [one.targets[0] for one in two if isinstance(one, ast.Assign)]
    targets = [one for one in assigned if isinstance(one, ast.Subscript)]
    if len(targets) < 2:
        return
    if ast.unparse(targets[0].value) != ast.unparse(targets[1].value):
        return
    axes = {_cut(one.slice) for one in targets}
    axis = axes.pop()
    if axes or axis is None:
        return
    x, y = (ast.unparse(one.value) for one in two)
    lead = ":, " * axis
    indexed = [parsed(f"a[{lead}{text}]") for text in (f":np.shape({y})[{axis}]", f"np.shape({y})[{axis}]:")]
    slices = [one.slice for one in indexed if isinstance(one, ast.Subscript)]
    changes = [(one, "value", other.value) for one, other in zip(two, two[::-1], strict=True)]
    changes += [(target, "slice", new) for target, new in zip(targets, slices, strict=True)]
    yield Edit(0.9, SWAPPED, f"{y} comes first, and then {x}", two[0].lineno, tuple(changes))


def _cut(index: ast.expr) -> int | None:
    """The axis along which an index has a start or an end, and not both."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    cut = [isinstance(one, ast.Slice) and (one.lower is None) != (one.upper is None) for one in parts]
    return cut.index(True) if any(cut) else None


def swapped_targets(tree: ast.Module) -> Iterator[Edit]:
    """Two lines whose right-hand sides are swapped."""
    lines = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Name)]
    for one, other in combinations(lines[:24], 2):
        words = f"{ast.unparse(one.targets[0])} and {ast.unparse(other.targets[0])} are swapped"
        yield Edit(1.5, SWAPPED, words, one.lineno, ((one, "targets", other.targets), (other, "targets", one.targets)))
