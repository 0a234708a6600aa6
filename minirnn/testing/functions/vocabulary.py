"""What the lines of a function may be made of: names, attributes and entries, as its author writes them."""

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import chain, permutations
from typing import NamedTuple, Self

from minirnn.testing.functions.places import index_of, text_of
from minirnn.testing.functions.source import TURN

FEW = 24  # operands of which many forms are tried
NAMES = 48  # operands that are tried as they are
MOST = 80  # entries
UNUSABLE = ("np", "numpy", "self", "range", "len")


class Vocabulary(NamedTuple):
    """Operands, names among them, what loops count with, functions that are called, entries and parts of arrays."""

    operands: list[str]
    names: list[str]
    loops: list[str]
    called: list[str]
    entries: list[str]
    parts: list[str]

    @classmethod
    def of(cls, tree: ast.Module, extra: Sequence[str] = ()) -> Self:
        """The vocabulary of a function; ``extra`` are operands that it may use beside its own."""
        operands = list(dict.fromkeys([*operands_of(tree), *extra]))
        read = {text_of(node) for node in ast.walk(tree) if isinstance(getattr(node, "ctx", None), ast.Load)}
        usable = [one for one in operands if not one.startswith("self.d") or one in read]  # else only to be added to
        names = [one for one in usable[:NAMES] if one.isidentifier() or one.startswith("self.") or "['" in one]
        called = {text_of(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)} - {TURN}
        targets = [node.target for node in ast.walk(tree) if isinstance(node, ast.For)]
        counted = chain.from_iterable(one.elts if isinstance(one, ast.Tuple) else [one] for one in targets)
        loops = sorted({one.id for one in counted if isinstance(one, ast.Name)})
        return cls(operands, names, loops, sorted(called), entries_of(tree, loops, extra), parts_of(tree, operands))


def operands_of(tree: ast.Module) -> list[str]:
    """Names, attributes of self and entries that a function uses, those that hold numbers as far as is seen."""
    operands: dict[str, None] = {}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    for name in (one.arg for one in definition.args.args):
        if name not in ("self", "cache"):
            operands.setdefault(name)
    for node in chain.from_iterable(map(ast.walk, definition.body)):
        if id(node) in called:
            continue
        if (isinstance(node, ast.Name) and node.id not in UNUSABLE) or _is_operand(node):
            operands.setdefault(text_of(node))
    containers = set(_containers(definition))  # a list within itself is a thing without an end
    return [text for text in operands if text.partition("[")[0] not in containers]


def _is_operand(node: ast.AST) -> bool:
    """Whether a node is an attribute of self, an entry, or a call of a method without arguments."""
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "self"
    if isinstance(node, ast.Call):
        return not node.args and not node.keywords and text_of(node.func).startswith("self.")
    return isinstance(node, ast.Subscript) and isinstance(node.slice, (ast.Constant, ast.Name))


def _containers(definition: ast.FunctionDef) -> Iterator[str]:
    """The names of a function that are made lists, dicts or sets somewhere in it."""
    kinds = (ast.List, ast.ListComp, ast.Dict, ast.DictComp, ast.Set, ast.SetComp, ast.GeneratorExp)
    for node in ast.walk(definition):
        for one, value in assigned(node):
            made = isinstance(value, ast.Call) and text_of(value.func) in ("list", "dict", "set")
            if made or isinstance(value, kinds):
                yield text_of(one)


def assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What an assignment puts where, one by one where it unpacks a tuple that is written out."""
    for target in node.targets if isinstance(node, ast.Assign) else ():
        assert isinstance(node, ast.Assign)
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def entries_of(tree: ast.Module, loops: Sequence[str], extra: Sequence[str] = ()) -> list[str]:
    """Entries of arrays: those that a function names, and its arrays at places where others are taken."""
    entries: dict[str, None] = {}
    arrays: dict[str, None] = {}
    indices: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
            index = index_of(node)
            if ":" not in index and not isinstance(node.slice, ast.Constant):
                entries |= dict.fromkeys([text_of(node), *_in_loops(node, loops)])
                indices[index] = None
        array = node.value if isinstance(node, (ast.Subscript, ast.Attribute)) else None
        if array is not None and text_of(array) not in UNUSABLE and not text_of(array).endswith(".shape"):
            arrays[text_of(array)] = None
        elif isinstance(node, ast.Attribute) and text_of(node.value) == "self":
            arrays[text_of(node)] = None
    arrays |= dict.fromkeys(one for one in extra if one.isidentifier() or one.startswith("self."))
    for index in [*indices, *(f":, {name}" for name in loops)]:
        entries |= dict.fromkeys(f"{one}[{index}]" for one in arrays)
    return [*entries][:MOST]


def _in_loops(node: ast.Subscript, loops: Sequence[str]) -> Iterator[str]:
    """The entry that loops come to, of one with numbers in its brackets: ``y[t, s]`` of ``y[0, 1]``."""
    numbers = [one for one in ast.walk(node.slice) if isinstance(one, ast.Constant) and isinstance(one.value, int)]
    if 0 < len(numbers) <= len(loops) and isinstance(node.slice, ast.Tuple):
        text = text_of(node)
        for names in permutations(loops, len(numbers)):
            new, at = text, text.index("[")
            for number, name in zip(numbers, names, strict=True):
                found = re.compile(rf"\b{number.value!r}\b").search(new, at)
                if found is None:
                    break
                new, at = f"{new[: found.start()]}{name}{new[found.end() :]}", found.start() + len(name)
            yield new


def parts_of(tree: ast.Module, operands: Sequence[str]) -> list[str]:
    """The parts of arrays that a function takes, and the same parts of the arrays in its dicts."""
    cut = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript) and ":" in index_of(node)]
    slices = dict.fromkeys(index_of(node) for node in cut)
    arrays = dict.fromkeys([*(text_of(node.value) for node in cut), *(one for one in operands if "['" in one)])
    return [f"{array}[{part}]" for array in arrays for part in slices][:MOST]
