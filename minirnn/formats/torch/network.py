"""A state dict as a chain of layers: which of its modules, in which order, and a network of them with their weights."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any, TypedDict, TypeVar

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError, warn
from minirnn.core.layer import Layer
from minirnn.formats.filling import filled
from minirnn.formats.opening import some
from minirnn.formats.torch.assumptions import Assumption, assumptions, is_number, settled
from minirnn.formats.torch.modules import (
    Link,
    MatrixModule,
    Module,
    Plain,
    Unknown,
    identified,
    is_plain,
    is_weight,
    plain,
)
from minirnn.formats.torch.reading import Named, StoredTensors
from minirnn.layers.compose import Sequential
from minirnn.layers.feedforward import Embedding, Linear

FLOATS = ("F64", "F32", "F16", "BF16")
MOST_MODULES = 200  # in a chain
MOST_TRIED = 1000  # beginnings of chains, in the search for an order
MOST_SHOWN = 8  # names in an error
LONGEST_PATH = 200  # letters in which numbers are looked for

Value = TypeVar("Value")


class StateDictOptions(TypedDict, total=False):
    """Options for a state dict; ``load`` tells what each means."""

    backend: str
    dtype: Any
    nonlinearity: str
    prefix: str
    modules: Sequence[str | Layer] | None
    kinds: Mapping[str, str] | None


def check(options: StateDictOptions) -> None:
    """Raise ValueError for options that make no sense, whatever the state dict is."""
    nonlinearity, modules = options.get("nonlinearity", "tanh"), options.get("modules")
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be tanh or relu; got {nonlinearity!r}")
    if modules is None:
        return
    names = [] if isinstance(modules, str) else [entry for entry in modules if isinstance(entry, str)]
    paths = [name for name in names if not is_plain(name)]
    sound = all(isinstance(entry, (str, Layer)) for entry in modules)
    if not names or not sound or len({*paths}) < len(paths):
        raise ValueError(f"modules must be the paths of different modules; got {modules!r:.80}")


def network(
    source: StoredTensors,
    *,
    backend: str = "auto",
    dtype: Any = None,
    nonlinearity: str = "tanh",
    prefix: str = "",
    modules: Sequence[str | Layer] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Layer:
    """The layer that a state dict is, or the Sequential; the options are those of ``load``."""
    start = f"{prefix.removesuffix('.')}." if prefix else ""
    chain, order = _chain(source, _modules(source, start, modules, dict(kinds or {})), named=modules is not None)
    layers: list[Layer] = []
    values: dict[str, Callable[[], Array]] = {}
    frozen: set[str] = set()
    taken: list[Named] = []
    for k, (module, kind) in enumerate(chain):
        layer, weights, still = module.build(kind, _fetching(source, start, module), nonlinearity)
        place = f"{k}." if len(chain) > 1 else ""
        first = layers[0] if layers else None
        if isinstance(layer, Linear) and isinstance(first, Embedding) and _same(module, chain[0][0]):
            layer = Linear(layer.in_features, layer.out_features, bias=layer.bias, tie=first)
            del weights["W"]
        layers.append(layer)
        values |= {place + name: get for name, get in weights.items()}
        frozen |= {place + name for name in still}
        taken += module.tensors.values()
    whole = Sequential(*layers) if len(layers) > 1 else layers[0]
    if dtype is None:
        dtype = "float64" if any(tensor.dtype == "F64" for tensor in taken) else "float32"
    assumed = [] if modules is not None else assumptions(chain, order)
    if assumed or source.rivals:
        _warn(source, chain, assumed)
    filled(whole, lambda name: values[name](), source.where, backend=backend, dtype=dtype)
    whole.bound.frozen = frozen
    return whole


def _warn(source: StoredTensors, chain: Sequence[Link], assumed: Sequence[Assumption]) -> None:
    """Say what was assumed, in one warning."""
    details = [one.words for one in assumed]
    ways = [settled(chain, assumed)] if assumed else []
    if source.rivals:
        details.append(f"these tensors are meant, not those of {some(source.rivals, MOST_SHOWN)}")
        ways.append("part= names those that are meant")
    shown = "; ".join(f"({k}) {words}" for k, words in enumerate(details[:MOST_SHOWN], start=1))
    shown += f"; and {len(details) - MOST_SHOWN} more" if len(details) > MOST_SHOWN else ""
    ways_out = "; ".join(ways)
    words = f"{source.where}: the file does not say all that its model computes. Assumed: {shown}. {ways_out}"
    warn(words, details, ways_out)


def _fetching(source: StoredTensors, start: str, module: Module) -> Callable[[str], Array]:
    before = f"{start}{module.path}." if module.path else start
    return lambda name: source.fetch(before + name)


def _same(module: Module, embedding: Module) -> bool:
    """Whether a Linear's weight is an Embedding's: the same numbers in memory, not equal ones."""
    return module.tensors["weight"].identity == embedding.tensors["weight"].identity


def _modules(
    source: StoredTensors, start: str, entries: Sequence[str | Layer] | None, kinds: dict[str, str]
) -> list[Module]:
    """The modules under ``start``, or those of them that ``entries`` names, each known, and the layers between them."""
    groups = _grouped(source.tensors, start)
    others = _grouped(source.others, start)
    if not groups:
        under = f" under {start[:-1]!r:.60}" if start else ""
        raise ModelFileError(f"{source.where} has no tensors{under}; it has {some(source.tensors, MOST_SHOWN)}")
    paths = [entry for entry in entries or () if isinstance(entry, str) and (entry in groups or not is_plain(entry))]
    for path in [*paths, *kinds]:
        if path not in groups:
            between = (
                "" if path in kinds else "; between modules may stand 'last', 'final', an activation such as 'relu'"
            )
            raise ModelFileError(
                f"{source.where} has no module {path!r:.60}; it has {some(groups, MOST_SHOWN)}{between}"
            )
    if len(set(paths)) < len(paths) or (entries is not None and not paths):
        raise ValueError(f"modules must name modules of {source.where}, each once; got {entries!r:.200}")
    chosen: list[Module] = []
    for entry in groups if entries is None else entries:
        if not isinstance(entry, str) or entry not in groups:
            chosen.append(plain(entry, chosen))
            continue
        path = entry
        for last, words in others.get(path, {}).items():
            if is_weight(last):
                raise ModelFileError(f"{source.where}: {last} of {path!r:.60} must be a tensor; it is {words}")
        try:
            module = identified(path, groups[path])
        except ValueError as error:
            raise ModelFileError(f"{source.where}: {error}") from None
        if path in kinds:
            if kinds[path] not in module.kinds:
                raise ModelFileError(f"{source.where}: {module.describe()} is no {kinds[path]!r:.40}")
            module = MatrixModule(path, groups[path], (kinds[path],)) if isinstance(module, MatrixModule) else module
        odd = [name for name, tensor in module.tensors.items() if tensor.dtype not in FLOATS]
        if odd and module.kinds:
            raise ModelFileError(
                f"{source.where}: {odd[0]!r:.60} of {path!r:.60} must be of floating point; "
                f"it is {module.tensors[odd[0]].dtype}"
            )
        chosen.append(module)
    return chosen


def _grouped(values: Mapping[str, Value], start: str) -> dict[str, dict[str, Value]]:
    """Values whose names begin with ``start``, by their module's path and the last part of their name."""
    groups: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        if name.startswith(start):
            path, _, last = name[len(start) :].rpartition(".")
            groups.setdefault(path, {})[last] = value
    return groups


def _chain(source: StoredTensors, modules: list[Module], *, named: bool) -> tuple[list[Link], str]:
    """The modules in the order in which they compute, each with its kind, and what that order assumes, in words."""
    problem = "they do not fit one after another"
    if any(isinstance(module, Unknown) for module in modules):
        problem = "not all of them are layers of minirnn"
    elif len(modules) > MOST_MODULES:
        problem = f"there are more than {MOST_MODULES}"
    else:
        numbered = None if named else _numbered(modules)
        if numbered or source.ordered or named or len(modules) == 1:
            chain = _fitting(numbered or modules)
            if chain:
                other = None if numbered or named else _another(chain)
                for (one, kind), (two, another) in zip(chain, other or (), strict=False):
                    if (one, kind) != (two, another):
                        places = f"{one.path!r:.60} computes before {two.path!r:.60}"
                        return chain, f"{places}, as the file lists them; widths allow either"
                return chain, ""
        if not named:
            chain, problem = _search(modules)
            if chain:
                order = "the modules compute in the only order in which their widths fit, which is not that of the file"
                return chain, order if source.ordered else ""
    described = "; ".join(module.describe() for module in modules[:MOST_SHOWN])
    advice = "" if named else ": name those to take, in the order in which they compute (modules=), or one (prefix=)"
    raise ModelFileError(
        f"{source.where}: its modules are no chain, since {problem}{advice}. "
        f"There are {described}{' ...' if len(modules) > MOST_SHOWN else ''}"
    )


def _numbered(modules: list[Module]) -> list[Module] | None:
    """The modules of an nn.Sequential, whose paths end in numbers where they differ, by these; None for others."""
    paths = [module.path.split(".") for module in modules]
    alike = sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, zip(*paths, strict=False)))  # at the beginning
    paths = [path[alike:] for path in paths]
    if not all(is_number(word) for path in paths for word in path):
        return None
    return [module for _, module in sorted(zip(paths, modules, strict=True), key=lambda pair: [*map(int, pair[0])])]


def _fitting(modules: list[Module]) -> list[Link] | None:
    """The modules in this order, if each takes what the one before it gives; only the first can be an Embedding."""
    for first in modules[0].kinds:
        chain = [(modules[0], first), *((module, module.kinds[-1]) for module in modules[1:])]
        weighted = [link for link in chain if not isinstance(link[0], Plain)]
        if all(_follows(link, before) for before, link in pairwise(weighted)):
            return chain
    return None


def _follows(link: Link, before: Link) -> bool:
    (module, kind), (other, other_kind) = link, before
    return kind != "Embedding" and module.widths(kind)[0] == other.widths(other_kind)[1]


Rank = tuple[str, list[int]]  # a path without its numbers, and those


def _ranks(modules: Iterable[Module]) -> dict[str, Rank]:
    """The rank of each module's path; names that differ by their numbers alone say in which order they compute."""
    ranks = {}
    for path in (module.path for module in modules):
        numbers = re.findall("[0-9]+", path) if len(path) <= LONGEST_PATH else []
        ranks[path] = (re.sub("[0-9]+", "0", path) if numbers else path, [int(number) for number in numbers])
    return ranks


def _free(modules: list[Module], used: set[str], ranks: dict[str, Rank]) -> list[Module]:
    """Those that may come next: of names that are alike, the one with the lowest number."""
    first: dict[str, Module] = {}
    for module in modules:
        if module.path not in used:
            alike, numbers = ranks[module.path]
            if alike not in first or numbers < ranks[first[alike].path][1]:
                first[alike] = module
    return [module for module in modules if first.get(ranks[module.path][0]) is module]


def _orders(modules: list[Module], kinds: Callable[[int, Module], Iterable[str]]) -> Iterator[list[Link] | None]:
    """The orders in which these modules fit, and None where the search for more was given up.

    ``kinds`` are those that a module may have in this place of the chain; the last is tried first.
    """
    ranks = _ranks(modules)
    waiting: list[list[Link]] = [[]]  # beginnings of chains, the one to go on with last
    for _ in range(MOST_TRIED):
        if not waiting:
            return
        chain = waiting.pop()
        if len(chain) == len(modules):
            yield chain
        free = _free(modules, {module.path for module, _ in chain}, ranks)
        links = [(module, kind) for module in free for kind in kinds(len(chain), module)]
        waiting += [[*chain, link] for link in links if not chain or _follows(link, chain[-1])]
    if waiting:
        yield None


def _another(chain: list[Link]) -> list[Link] | None:
    """Another order of this chain that its widths allow, with recurrent modules and matrices where they are now."""
    modules = [module for module, _ in chain]
    known = {module.path: kind for module, kind in chain}

    def kinds(place: int, module: Module) -> list[str]:
        (here, kind), own = chain[place], known[module.path]
        return [own] if type(module) is type(here) and (own == kind or "Linear" != kind != "Embedding") else []

    return next((other for other in _orders(modules, kinds) if other and other != chain), None)


def _search(modules: list[Module]) -> tuple[list[Link] | None, str]:
    """The one order in which the modules fit, or None and why there is not one."""
    fitting: dict[tuple[str, ...], list[Link]] = {}
    for chain in _orders(modules, lambda _, module: reversed(module.kinds)):
        if chain:
            fitting.setdefault(tuple(module.path for module, _ in chain), chain)
        if not chain or len(fitting) > 1:
            return None, "they fit in more than one order"
    return (fitting.popitem()[1], "") if fitting else (None, "they do not fit one after another")
