"""Equations of layers and cells for files in other languages: all of them run on symbols, none is stated again."""

import copy
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.drawn import scattered
from minirnn.core.graph import KNOWN, Graph, run
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.core.protocol import name_of
from minirnn.core.run import Run
from minirnn.core.symbolic import Symbolic, SymbolicError, Value
from minirnn.core.tracing import SIDE, traced
from minirnn.formats.sources.equations import CALLS, Equations
from minirnn.kernels.facts import COMPARISONS, CellFacts, Operation, Place, Program
from minirnn.layers.compose import merged
from minirnn.layers.joining import Joining

FUNCTIONS = KNOWN | frozenset(CALLS)
LARGEST = float(np.finfo(np.float32).max)
X, SECOND, Y = Place("x"), Place("x2"), Place("y")
DRAWN = 3  # rows on which a layer of a reader's own is held against its operations


def cell_facts(cell: Any, zoneout: tuple[float, ...], what: str) -> CellFacts:
    """A cell in inference; ValueError, which begins with ``what``, for one that symbols cannot follow."""
    zones = tuple(map(bool, zoneout)) if any(zoneout) else ()
    try:
        return traced(cell, zones, inference=True, functions=FUNCTIONS)
    except SymbolicError as error:
        raise ValueError(f"{what} cannot be written as source: its cell {name_of(cell)} {error}") from None
    except Exception as error:  # noqa: BLE001 - a cell's own code raises what it will of symbols
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{what} cannot be written as source: its cell {name_of(cell)} does not run on symbols: {words:.200}"
        ) from None


def saved_names(cell: Any, facts: CellFacts, stage: int, program: Program) -> dict[int, str]:
    """The names that a cell gives to what it saves, of the operations in one of its programs that compute it."""
    if any(facts.arrays("z")):
        return {}
    try:
        trained = traced(cell, functions=FUNCTIONS)
    except Exception:  # noqa: BLE001 - a cell without a transpose saves nothing, and names are no more than a help
        return {}
    if trained.inference:
        return {}
    one = trained.stages[stage]
    ends = dict(one.step.results)
    there = {name: ends.get(place) for name, place in trained.saved.items() if place in one.saved}
    spelt = _spelt(one.step)
    by_value = {spelt[end]: name for name, end in there.items() if end is not None}
    names: dict[int, str] = {}
    for k, value in enumerate(_spelt(program)):
        name = by_value.pop(value, None)
        if name is not None and program.operations[k].name not in ("load", "number"):
            names[k] = name
    return names


def _spelt(program: Program) -> list[str]:
    """Each operation in words that name what it is made of."""
    words: list[str] = []
    for name, operands in program.operations:
        inner = operands if name in ("load", "number") else tuple(words[k] for k in operands)
        words.append(f"{name}({', '.join(map(str, inner))})")
    return words


def with_numbers(program: Program, numbers: Mapping[Place, float]) -> Program:
    """The program with numbers in place of what it would load."""
    operations = tuple(
        Operation("number", (numbers[one.operands[0]],)) if one.name == "load" and one.operands[0] in numbers else one
        for one in program.operations
    )
    return program._replace(operations=operations)


def checked(program: Program, what: str) -> Program:
    """The program; ValueError where it has a number that float32 does not hold."""
    for one in program.operations:
        if one.name == "number" and abs(one.operands[0]) > LARGEST:
            raise ValueError(f"{what} computes with {one.operands[0]}, which float32 does not hold")
    return program


def layer_equations(
    layer: Layer, weights: Mapping[str, Array], parts: int = 1
) -> tuple[Equations, list[tuple[Place, Array]]]:
    """A layer that treats each row alone, ``apply`` run on symbols, and the arrays (D,) that it loads.

    Its x has ``parts`` times as many features as y, places "x" 0, 1 ...  What is made of weights alone is computed
    here, once, as NumPy does in float32.  Weights of one number are numbers.  ValueError for a layer that does
    something else.
    """
    graph, arrays = Graph(SIDE, FUNCTIONS), dict[Place, Array]()
    symbols: dict[str, Value] = {}
    for k, (name, array) in enumerate(weights.items()):
        if array.shape == (1,):
            symbols[name] = float(array[0])
        else:
            place = Place("w", k)
            arrays[place], symbols[name] = array, graph.load(place, (SIDE,))
    stand_in = copy.copy(layer)
    stand_in.__dict__["weight"] = symbols.__getitem__
    one = _symbolic_run()
    x: Any = np.concatenate([graph.load(X._replace(k=k), (SIDE, SIDE)) for k in range(parts)], axis=-1)
    return _settled(graph, lambda: stand_in.apply(x, None, one).y, brief(layer), arrays)


def holds(layer: Layer, equations: Equations, arrays: list[tuple[Place, Array]], width: int, parts: int) -> bool:
    """Whether traced equations compute what the layer does, on drawn rows."""
    x = scattered(7, DRAWN, width * parts).astype(layer.bound.dtype)
    memory: dict[Place, Any] = dict(arrays)
    memory |= {X._replace(k=k): x[:, k * width : (k + 1) * width] for k in range(parts)}
    with np.errstate(all="ignore"):
        run(equations.program, memory)
        y = layer.apply(x, None, Run(layer.bound, training=False, call=0)).y
    return y.shape == (DRAWN, width) and bool(np.allclose(memory[Y], y, 1e-4, 1e-5, equal_nan=True))


def merging(how: str) -> Equations:
    """Two outputs in one, those of ``Bidirectional``."""
    return _of_two(lambda a, b, _: merged(how, np, a, b), "Bidirectional")


def combining(layer: Joining) -> Equations:
    """Two values of a graph in one."""
    return _of_two(lambda a, b, one: layer.join([a, b], [one, one]).y, brief(layer))


def _of_two(join: Callable[[Any, Any, Any], Value], what: str) -> Equations:
    graph = Graph(SIDE, FUNCTIONS)
    a, b = (graph.load(place, (SIDE, SIDE)) for place in (X, SECOND))
    return _settled(graph, lambda: join(a, b, _symbolic_run()), what, {})[0]


def _symbolic_run() -> Any:
    """A run of symbols, which have no weights of their own."""
    backend = SimpleNamespace(xp=np, locked=lambda a: a)
    parameters: Any = SimpleNamespace(backend=backend)
    return Run(parameters, training=False, call=0)


def _settled(
    graph: Graph, compute: Callable[[], Value], what: str, arrays: dict[Place, Array]
) -> tuple[Equations, list[tuple[Place, Array]]]:
    try:
        y = compute()
        end = graph.operation(Symbolic.of(y, graph))
    except SymbolicError as error:
        raise ValueError(f"{what} cannot be written as source: it {error}") from None
    except Exception as error:  # noqa: BLE001 - a layer's own code raises what it will of symbols
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{what} cannot be written as source: it does not run on symbols: {words:.200}") from None
    program, settled = _once(checked(graph.program([(Y, end)], {}), what), arrays)
    return Equations(program), list(settled.items())


def _once(program: Program, arrays: Mapping[Place, Array]) -> tuple[Program, dict[Place, Array]]:
    """The program with everything that is made of weights alone loaded from arrays of its own."""
    values: dict[int, Any] = {}
    read: set[int] = set()
    for k, (name, operands) in enumerate(program.operations):
        if name == "number":
            values[k] = float(operands[0])
        elif name == "load":
            if operands[0] in arrays:
                values[k] = arrays[operands[0]]
        elif name not in COMPARISONS and all(one in values for one in operands):
            with np.errstate(all="ignore"):
                values[k] = getattr(np, name)(*(values[one] for one in operands))
        else:
            read |= {one for one in operands if isinstance(values.get(one), np.ndarray)}
    read |= {end for _, end in program.results if end is not None and isinstance(values.get(end), np.ndarray)}
    places = {k: Place("w", i) for i, k in enumerate(sorted(read))}
    graph = Graph(SIDE, FUNCTIONS)
    now: dict[int, int] = {}
    for k, (name, operands) in enumerate(program.operations):
        if k in places:
            now[k] = graph.place("load", places[k])
        elif name in ("number", "load"):
            now[k] = graph.place(name, *operands)
        else:
            now[k] = graph.place(name, *(now[one] for one in operands))
    results = [(place, None if end is None else now[end]) for place, end in program.results]
    return graph.program(results, {}), {place: values[k] for k, place in places.items()}
