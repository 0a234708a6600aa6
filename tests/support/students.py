"""Cells as students write them: right ones, over functions of every kind, and the faults that students make in them."""

import ast
import copy
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice, product

HEAD = """import numpy as np


def sigmoid(a):
    return 0.5 * np.tanh(0.5 * a) + 0.5


def erf(a):  # Abramowitz and Stegun 7.1.26, in which abs(a) is not complex differentiable
    t = 1 / (1 + 0.3275911 * np.abs(a))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(a) * (1 - poly * np.exp(-a * a))


def d_erf(a):
    s, b = np.sign(a), np.abs(a)
    t = 1 / (1 + 0.3275911 * b)
    dt = -0.3275911 * t * t
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    dpoly = 0.254829592 + t * (2 * -0.284496736 + t * (3 * 1.421413741 + t * (4 * -1.453152027 + t * 5 * 1.061405429)))
    return s * (-dpoly * dt * s * np.exp(-b * b) + poly * 2 * b * s * np.exp(-b * b))
"""

FUNCTIONS = {  # of a, and its derivative
    # smooth
    "tanh": ("np.tanh(a)", "1 - np.tanh(a) ** 2"),
    "sigmoid": ("sigmoid(a)", "sigmoid(a) * (1 - sigmoid(a))"),
    "sine": ("np.sin(a)", "np.cos(a)"),
    "gauss": ("np.exp(-a * a)", "-2 * a * np.exp(-a * a)"),
    "arctan": ("np.arctan(a)", "1 / (1 + a * a)"),
    "swish": ("a * sigmoid(a)", "sigmoid(a) + a * sigmoid(a) * (1 - sigmoid(a))"),
    "square": ("a * a", "2 * a"),
    "root": ("np.sqrt(1 + a * a)", "a / np.sqrt(1 + a * a)"),
    "softplus": ("np.log1p(np.exp(a))", "sigmoid(a)"),
    "steep": ("np.tanh(20 * a)", "20 * (1 - np.tanh(20 * a) ** 2)"),
    "cosh": ("1e-3 * np.cosh(3 * a)", "3e-3 * np.sinh(3 * a)"),
    "large": ("1e3 * np.tanh(1e-3 * a)", "1 - np.tanh(1e-3 * a) ** 2"),
    "exponential": ("np.exp(a) * 1e-2", "np.exp(a) * 1e-2"),
    # kinked
    "relu": ("np.maximum(a, 0)", "(a > 0) * 1.0"),
    "relu by where": ("np.where(a > 0, a, 0 * a)", "np.where(a > 0, 1.0, 0.0)"),
    "leaky relu": ("np.where(a.real > 0, a, 0.1 * a)", "np.where(a > 0, 1.0, 0.1)"),
    "maximum": ("np.maximum(a, 0.1 * a)", "np.where(a > 0, 1.0, 0.1)"),
    "hard tanh": ("np.clip(a, -1, 1)", "(np.abs(a) < 1) * 1.0"),
    "hard sigmoid": ("np.minimum(np.maximum(0.2 * a + 0.5, 0), 1)", "0.2 * (np.abs(a) < 2.5)"),
    "steep hard sigmoid": ("np.clip(100 * a + 0.5, 0, 1)", "100.0 * (np.abs(100 * a) < 0.5)"),
    "elu": ("np.where(a > 0, a, np.expm1(a))", "np.where(a > 0, 1.0, np.exp(a))"),
    "shrink": ("np.sign(a) * np.maximum(np.abs(a) - 0.3, 0)", "(np.abs(a) > 0.3) * 1.0"),
    "triangle": ("np.maximum(1 - np.abs(a), 0)", "-np.sign(a) * (np.abs(a) < 1)"),
    # not complex differentiable
    "abs": ("np.abs(a)", "np.sign(a)"),
    "softsign": ("a / (1 + np.abs(a))", "1 / (1 + np.abs(a)) ** 2"),
    "real part": ("np.tanh(a.real)", "1 - np.tanh(a) ** 2"),
    "conjugate": ("np.tanh(np.conj(a))", "1 - np.tanh(a) ** 2"),
    "logaddexp": ("np.logaddexp(0, a)", "sigmoid(a)"),
    "hypot": ("np.hypot(a, 1.0)", "a / np.hypot(a, 1.0)"),
    "error function": ("erf(a)", "d_erf(a)"),
    "log of abs": ("np.sign(a) * np.log1p(np.abs(a))", "1 / (1 + np.abs(a))"),
    "fabs": ("np.fabs(a) * a", "2 * np.abs(a)"),
    "as float": ("np.tanh(a.astype(float))", "1 - np.tanh(a) ** 2"),
    "asarray of float": ("np.tanh(np.asarray(a, dtype=float))", "1 - np.tanh(a) ** 2"),
    "single precision": ("np.tanh(a.astype(np.float32))", "1 - np.tanh(a) ** 2"),
    "cases by a type": (
        "np.tanh(a) if a.dtype == np.float64 else np.tanh(a.real) + 0 * a.real",
        "1 - np.tanh(a) ** 2",
    ),
}

ROWS = {  # of a, whose units depend on one another: the value, and da of an upstream gradient d
    "variance": (
        "a / np.sqrt(a.var(-1, keepdims=True) + 0.1)",
        (
            "r = np.sqrt(a.var(-1, keepdims=True) + 0.1)\n"
            "        c = a - a.mean(-1, keepdims=True)\n"
            "        da = d / r - c * (d * a).mean(-1, keepdims=True) / r ** 3"
        ),
    ),
    "norm": (
        "a / (1 + np.linalg.norm(a, axis=-1, keepdims=True))",
        (
            "r = np.linalg.norm(a, axis=-1, keepdims=True)\n"
            "        da = d / (1 + r) - a / r * (d * a).sum(-1, keepdims=True) / (1 + r) ** 2"
        ),
    ),
    "softmax": (
        "np.exp(a - a.max(-1, keepdims=True)) / np.exp(a - a.max(-1, keepdims=True)).sum(-1, keepdims=True)",
        (
            "e = np.exp(a - a.max(-1, keepdims=True))\n"
            "        y = e / e.sum(-1, keepdims=True)\n"
            "        da = y * (d - (d * y).sum(-1, keepdims=True))"
        ),
    ),
    "largest": (
        "a / (1 + np.abs(a).max(-1, keepdims=True))",
        (
            "m = np.abs(a).max(-1, keepdims=True)\n"
            "        top = (np.abs(a) == m) * np.sign(a)\n"
            "        da = d / (1 + m) - top * (d * a).sum(-1, keepdims=True) / (1 + m) ** 2"
        ),
    ),
    "cumulated": (
        "np.tanh(np.cumsum(a, -1))",
        "e = d * (1 - np.tanh(np.cumsum(a, -1)) ** 2)\n        da = np.cumsum(e[:, ::-1], -1)[:, ::-1]",
    ),
    "sorted": ("np.sort(a, -1)", "da = np.zeros_like(d)\n        np.put_along_axis(da, np.argsort(a, -1), d, -1)"),
}

SHAPES = {  # a cell around a function f of a, with its derivative
    "vanilla": """
class Cell:
    state, gates, saves = ("h",), ("h",), ("a",)

    @staticmethod
    def step(p, q, state):
        a = p + q
        return (f(a),), (a,)

    @staticmethod
    def unstep(dstate, saved):
        (dh1,), (a,) = dstate, saved
        da = dh1 * df(a)
        return da, da, (None,)
""",
    "leaky": """
class Cell:
    state, gates, saves, units = ("h",), ("n",), ("a", "h"), ("w",)

    @staticmethod
    def step(p, q, state, w):
        (h,) = state
        a, s = p + q, sigmoid(w)
        return (s * h + (1 - s) * f(a),), (a, h)

    @staticmethod
    def unstep(dstate, saved, w):
        (dh1,), (a, h) = dstate, saved
        s = sigmoid(w)
        da = dh1 * (1 - s) * df(a)
        return da, da, (dh1 * s,), dh1 * (h - f(a)) * s * (1 - s)
""",
    "gated": """
class Cell:
    state, gates, saves = ("h",), ("z", "n"), ("z", "u", "a", "h")

    @staticmethod
    def step(p, q, state):
        (h,) = state
        (p_z, p_n), (q_z, u) = np.split(p, 2, -1), np.split(q, 2, -1)
        z = sigmoid(p_z + q_z)
        a = p_n + z * u
        return ((1 - z) * f(a) + z * h,), (z, u, a, h)

    @staticmethod
    def unstep(dstate, saved):
        (dh1,), (z, u, a, h) = dstate, saved
        da = dh1 * (1 - z) * df(a)
        dz = dh1 * (h - f(a)) + da * u
        da_z = dz * z * (1 - z)
        return np.concatenate([da_z, da], -1), np.concatenate([da_z, da * z], -1), (dh1 * z,)
""",
    "memory": """
class Cell:
    state, gates, saves, units = ("h", "c"), ("i", "f"), ("i", "a", "c", "c1"), ("w",)

    @staticmethod
    def step(p, q, state, w):
        _, c = state
        a_i, a = np.split(p + q, 2, -1)
        i = sigmoid(a_i + w * c)
        c1 = 0.5 * c + i * f(a)
        return (np.tanh(c1), c1), (i, a, c, c1)

    @staticmethod
    def unstep(dstate, saved, w):
        dh1, dc1 = dstate
        i, a, c, c1 = saved
        dc1 = dc1 + dh1 * (1 - np.tanh(c1) ** 2)
        da_i = dc1 * f(a) * i * (1 - i)
        da = np.concatenate([da_i, dc1 * i * df(a)], -1)
        return da, da, (None, 0.5 * dc1 + da_i * w), da_i * c
""",
    "two stages": """
class First:
    gates, saves = ("r",), ("a", "h")

    @staticmethod
    def step(p, q, state):
        (h,) = state
        a = p + q
        return (f(a) * h, h), (a, h)

    @staticmethod
    def unstep(dstate, saved):
        (ds, dh), (a, h) = dstate, saved
        d = ds * h * df(a)
        return d, d, (dh + ds * f(a),)


class Second:
    gates, saves = ("n",), ("n",)

    @staticmethod
    def step(p, q, state):
        _, h = state
        n = np.tanh(p + q)
        return (n + 0.5 * h,), (n,)

    @staticmethod
    def unstep(dstate, saved):
        (dh1,), (n,) = dstate, saved
        d = dh1 * (1 - n * n)
        return d, d, (None, 0.5 * dh1)


class Cell:
    state, stages = ("h",), (First, Second)
""",
    "without h": """
class Cell:
    state, gates, saves, units = ("h",), ("h",), ("p",), ("w",)

    @staticmethod
    def step(p, q, state, w):
        return (f(p) * (1 + w),), (p,)

    @staticmethod
    def unstep(dstate, saved, w):
        (dh1,), (p,) = dstate, saved
        return dh1 * df(p) * (1 + w), 0 * p, (None,), dh1 * f(p)
""",
}

ROW_SHAPE = """
class Cell:
    state, gates, saves = ("h",), ("n",), ("a",)

    @staticmethod
    def step(p, q, state):
        (h,) = state
        a = p + q
        return ({value} + 0.5 * h,), (a,)

    @staticmethod
    def unstep(dstate, saved):
        (d,), (a,) = dstate, saved
        {lines}
        return da, da, (0.5 * d,)
"""


def right_cells(number: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Names and sources of modules with a right ``Cell``: all combinations in a fixed order, mixed by ``seed``."""
    every = [
        (f"{name} {shape}", _around(*FUNCTIONS[name], SHAPES[shape])) for name, shape in product(FUNCTIONS, SHAPES)
    ]
    every += [(name, HEAD + ROW_SHAPE.format(value=value, lines=lines)) for name, (value, lines) in ROWS.items()]
    stride = 53 + 2 * seed  # coprime to the number of them for most seeds: neighbours have little in common
    order = sorted(range(len(every)), key=lambda k: (k * stride + seed) % len(every))
    yield from islice((every[k] for k in order), number)


def _around(value: str, derivative: str, shape: str) -> str:
    functions = f"\n\ndef f(a):\n    return {value}\n\n\ndef df(a):\n    return {derivative}\n\n"
    return HEAD + functions + shape


# ---------------------------------------------------------------------- faults

SIGN, FACTOR, TERM, SWAPPED, EARLIER = "sign", "factor", "missing term", "two gates swapped", "previous step"
SUM, ORDER, PATH, CHANGED = "sum over rows", "order", "direct path", "changed in place"


@dataclass(frozen=True)
class Fault:
    """A module with a mistake in one cell: which line it is in, and the patterns by which it may be named."""

    name: str
    cell: str
    source: str
    lines: tuple[int, ...]
    patterns: tuple[tuple[str, ...], ...]  # for each line


def planted_in(source: str, cell: str) -> Iterator[Fault]:
    """Every usual mistake in every line of the ``unstep`` of ``cell``."""
    tree = ast.parse(source)
    owner = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == cell)
    unstep = next(part for part in owner.body if getattr(part, "name", "") == "unstep")
    assert isinstance(unstep, ast.FunctionDef)
    text = source.splitlines()
    for line in unstep.body:
        if isinstance(line, ast.Assign) and not isinstance(line.targets[0], ast.Tuple):
            for expression, patterns in _mistakes(line.value, ast.unparse(line.targets[0])):
                new = " " * line.col_offset + f"{ast.unparse(line.targets[0])} = {expression}"
                changed = [*text[: line.lineno - 1], new, *text[line.lineno :]]
                name = f"{cell}: {new.strip()}"
                yield Fault(name, cell, "\n".join(changed) + "\n", (line.lineno,), (patterns,))


def _mistakes(value: ast.expr, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The right-hand side of an assignment with one mistake, and the patterns by which it may be named."""
    if not isinstance(value, ast.BinOp):
        return
    if isinstance(value.op, ast.Mult):
        yield f"-({ast.unparse(value)})", (SIGN,)
        yield f"0.5 * {ast.unparse(value)}", (FACTOR,)
    if name.startswith("dw"):
        yield f"({ast.unparse(value)}).sum(0)", (SUM,)
    for node in ast.walk(value):
        if isinstance(node, ast.BinOp):
            for new, patterns in _changed(node):
                yield _with(value, node, new), patterns


def _changed(node: ast.BinOp) -> Iterator[tuple[ast.expr, tuple[str, ...]]]:
    left, right = node.left, node.right
    if isinstance(node.op, ast.Mult):
        square = ast.unparse(left) == ast.unparse(right)
        yield left, (FACTOR,)
        if not square:
            yield right, (FACTOR,)
    elif isinstance(node.op, ast.Sub):
        one = isinstance(left, ast.Constant)
        if one:
            yield ast.BinOp(left, ast.Add(), right), (FACTOR, SIGN)
            yield right, (FACTOR,)
        else:
            yield ast.BinOp(right, ast.Sub(), left), (SIGN,)
            yield left, (TERM,)
            yield ast.BinOp(left, ast.Add(), right), (SIGN,)
    elif isinstance(node.op, ast.Add):
        yield left, (TERM,)
        yield right, (TERM,)
        yield ast.BinOp(left, ast.Sub(), right), (SIGN,)


def _with(whole: ast.expr, old: ast.expr, new: ast.expr) -> str:
    class Exchange(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    before = ast.dump(whole)
    changed = ast.unparse(Exchange().visit(_copied(whole, old)))
    assert ast.dump(whole) == before
    return changed


def _copied(node: ast.expr, keep: ast.expr) -> ast.expr:
    """A copy in which ``keep`` is itself."""
    copied: ast.expr = copy.deepcopy(node, {id(keep): keep})
    return copied


def doubles_in(source: str, cell: str, number: int, seed: int = 0) -> Iterator[Fault]:
    """Two usual mistakes at once, in two lines of the ``unstep`` of ``cell``."""
    pairs = [pair for pair in combinations(planted_in(source, cell), 2) if pair[0].lines != pair[1].lines]
    rng = random.Random(seed)  # noqa: S311 - which mistakes are made is no secret
    rng.shuffle(pairs)
    made = 0
    for first, second in pairs:  # in the order of the lines
        (begin,), (line,) = first.lines, second.lines
        text, other = first.source.splitlines(), second.source.splitlines()
        text[line - 1] = other[line - 1]
        assigned = text[begin - 1].split()[0]
        if made == number or not re.search(rf"\b{assigned}\b", "\n".join(text[begin:])):
            continue  # nobody can see what a variable is that is not used any more
        made += 1
        name = f"{first.name}, and {other[line - 1].strip()}"
        lines, patterns = first.lines + second.lines, first.patterns + second.patterns
        yield Fault(name, cell, "\n".join(text) + "\n", lines, patterns)
