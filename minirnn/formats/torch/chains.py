"""The order in which modules compute: the file's, that of numbers in their names, or the only one that widths allow."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise, takewhile

from minirnn.core.files import ModelFileError
from minirnn.formats.opening import some
from minirnn.formats.torch.assumptions import Assumption, assumptions, is_number
from minirnn.formats.torch.modules import Link, Module, Plain, Unknown
from minirnn.formats.torch.outline import Outline, Step
from minirnn.formats.torch.stored import StoredTensors

MOST_MODULES = 200  # in a chain
MOST_TRIED = 1000  # beginnings of chains, in the search for an order
MOST_SHOWN = 8  # modules in an error
LONGEST_PATH = 200  # letters in which numbers are looked for


def chain_of(
    source: StoredTensors, modules: list[Module], outline: Outline, *, named: bool
) -> tuple[list[Link], list[Assumption]]:
    """The modules in the order in which they compute, each with its kind, and what is assumed in that.

    ``named`` tells whether the caller stated that order.  Raises ModelFileError, which lists the modules, where they
    are no chain.
    """
    problem = "they do not fit one after another"
    if any(isinstance(module, Unknown) for module in modules):
        problem = "not all of them are layers of minirnn"
    elif len(modules) > MOST_MODULES:
        problem = f"there are more than {MOST_MODULES}"
    else:
        numbered = None if named or outline.steps else _numbered(modules)
        if numbered or source.ordered or named or len(modules) == 1:
            chain = _fitting(numbered or modules)
            if chain and (named or outline.whole):
                return chain, []
            if chain:
                sure = numbered or all(step.stated for step in outline.steps[1:] or (Step(""),))
                return chain, assumptions(chain, "" if sure else _competing(chain), outline)
        if not named:
            weighted = [module for module in modules if not isinstance(module, Plain)]
            chain, problem = _search(weighted)
            if chain:
                order = "the modules compute in the only order in which their widths fit, which is not that of the file"
                left_out = [module.path for module in modules if isinstance(module, Plain)]
                if left_out:
                    order += f", and without {some(left_out)}, whose places are not known"
                return chain, assumptions(chain, order if source.ordered else "", outline)
    described = "; ".join(module.describe() for module in modules[:MOST_SHOWN])
    advice = "" if named else ": name those to take, in the order in which they compute (modules=), or one (prefix=)"
    raise ModelFileError(
        f"{source.where}: its modules are no chain, since {problem}{advice}. "
        f"There are {described}{' ...' if len(modules) > MOST_SHOWN else ''}"
    )


def _competing(chain: list[Link]) -> str:
    """Words about another order that the widths of this chain allow; "" if there is none."""
    weighted = [link for link in chain if not isinstance(link[0], Plain)]
    other = _another(weighted)
    for (one, kind), (two, another) in zip(weighted, other or (), strict=False):
        if (one, kind) != (two, another):
            return f"{one.path!r:.60} computes before {two.path!r:.60}, as the file lists them; widths allow either"
    return ""


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
        weighted = [link for link in chain if link[0].sized]
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
