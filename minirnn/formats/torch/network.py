"""A state dict as a chain of layers: which of its modules, in which order, and a network of them with their weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict, TypeVar

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError, warn
from minirnn.core.layer import Layer
from minirnn.formats.filling import filled
from minirnn.formats.opening import some
from minirnn.formats.torch import attending, entries, graphs, normed
from minirnn.formats.torch.around import AroundModule, Undecided, around, having
from minirnn.formats.torch.assumptions import Assumption, settled
from minirnn.formats.torch.chains import chain_of
from minirnn.formats.torch.modules import (
    Link,
    MatrixModule,
    Module,
    Plain,
    RecurrentModule,
    Unknown,
    identified,
    is_field,
    is_plain,
    is_weight,
    plain,
)
from minirnn.formats.torch.outline import Outline, ProgramGraph, Settings
from minirnn.formats.torch.stored import Named, StoredTensors
from minirnn.layers.compose import Sequential
from minirnn.layers.feedforward import Embedding, Linear
from minirnn.layers.graph import LayerGraph
from minirnn.layers.wiring import unused

FLOATS = ("F64", "F32", "F16", "BF16")
MOST_SHOWN = 8  # names in an error
WRAPPERS = (  # names that trainers put a model under
    *("model", "module", "net", "network"),
    *("_orig_mod", "_forward_module"),
)
MOST_WRAPPERS = 4  # one within another

Value = TypeVar("Value")


class StateDictOptions(TypedDict, total=False):
    """Options for a state dict; ``load`` tells what each means."""

    backend: str
    dtype: Any
    nonlinearity: str | None
    prefix: str
    modules: Sequence[str | Layer] | None
    kinds: Mapping[str, str] | None


def check(options: StateDictOptions) -> None:
    """Raise ValueError for options that make no sense, whatever the state dict is."""
    nonlinearity, modules = options.get("nonlinearity"), options.get("modules")
    if nonlinearity not in ("tanh", "relu", None):
        raise ValueError(f"nonlinearity must be tanh or relu; got {nonlinearity!r}")
    if modules is None:
        return
    names = [] if isinstance(modules, str) else [entry for entry in modules if isinstance(entry, str)]
    paths = [name for name in names if not entries.is_layer(name)]
    sound = all(isinstance(entry, (str, Layer)) for entry in modules)
    if not names or not sound or len({*paths}) < len(paths):
        raise ValueError(f"modules must be the paths of different modules; got {modules!r:.80}")


def network(
    source: StoredTensors,
    *,
    backend: str = "auto",
    dtype: Any = None,
    nonlinearity: str | None = None,
    prefix: str = "",
    modules: Sequence[str | Layer] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Layer:
    """The layer that a state dict is, or the Sequential; the options are those of ``load``."""
    source = normed.joined(source)
    start, assumed = _start(source, prefix)
    outline = (source.outline or Outline()).under(start).having(_grouped(source.tensors, start))
    graph = outline.graph if modules is None else None
    named = modules if graph is None else list(dict.fromkeys(graph.paths))
    ordered, outline = _modules(source, start, named, dict(kinds or {}), outline)
    if graph is not None:
        links, more = [(module, _only_kind(source, module)) for module in ordered], list[Assumption]()
    else:
        if modules is None:
            ordered, fields = _without_fields(ordered)
            assumed += fields
        links, more = chain_of(source, ordered, outline, named=modules is not None)
    building = Building(source, start, outline, nonlinearity)
    if graph is not None:
        whole: Layer = building.graph(graph, links)
    else:
        layers = [building.layer(f"{k}." if len(links) > 1 else "", *link) for k, link in enumerate(links)]
        whole = Sequential(*layers) if len(layers) > 1 else layers[0]
    if dtype is None:
        dtype = "float64" if any(tensor.dtype == "F64" for tensor in building.taken) else "float32"
    orders = {outline.settings[module.path].batch_first for module, _ in links if module.path in outline.settings}
    if len(orders) > 1 and not outline.whole:
        more.append(Assumption("time comes first in all modules, though some of them have batch_first=True"))
    assumed = [*assumed, *more] if modules is None else []  # nothing is, where the caller stated the computation
    if assumed or source.rivals:
        _warn(source, links, assumed)
    filled(whole, lambda name: building.values[name](), source.where, backend=backend, dtype=dtype)
    whole.bound.frozen = building.frozen
    whole.batch_first = orders == {True} if outline.batch_first is None else outline.batch_first
    return whole


class Building:
    """Layers made of modules, and where their weights come from: by the names that the whole model has for them."""

    def __init__(self, source: StoredTensors, start: str, outline: Outline, nonlinearity: str | None) -> None:
        self.source, self.start, self.outline, self.nonlinearity = source, start, outline, nonlinearity
        self.values: dict[str, Callable[[], Array]] = {}
        self.frozen: set[str] = set()
        self.taken: list[Named] = []
        self.first: tuple[Module, Layer] | None = None

    def layer(self, place: str, module: Module, kind: str) -> Layer:
        """The layer that a module is, whose weights' names begin with ``place``."""
        source, own = self.source, self.outline.settings.get(module.path, Settings())
        if self.nonlinearity:
            own = own._replace(nonlinearity=self.nonlinearity)
        try:  # a layer of its own kind may not take what the file says
            layer, weights, still = module.build(kind, _fetching(source, self.start, module), own)
        except ModelFileError:
            raise
        except ValueError as error:
            raise ModelFileError(f"{source.where}: {error}") from None
        before, first = self.first or (module, layer)
        if isinstance(layer, Linear) and isinstance(first, Embedding) and _same(module, before):
            layer = Linear(layer.in_features, layer.out_features, bias=layer.bias, tie=first)
            del weights["W"]
        self.first = before, first
        self.values |= {place + name: get for name, get in weights.items()}
        self.frozen |= {place + name for name in still}
        self.taken += module.tensors.values()
        return layer

    def graph(self, graph: ProgramGraph, links: Sequence[Link]) -> LayerGraph:
        """The graph that a program is."""
        layers: dict[str, tuple[str, Layer]] = {}
        for module, kind in links:
            name = unused(module.path.replace(".", "_") or "layer", {one for one, _ in layers.values()})
            layers[module.path] = name, self.layer(f"{name}.", module, kind)
        try:
            return graphs.assembled(graph, layers)
        except ValueError as error:
            raise ModelFileError(f"{self.source.where}: {error}") from None


def _only_kind(source: StoredTensors, module: Module) -> str:
    """The kind of a module that a program calls; ModelFileError where no layer is of that kind."""
    if not module.kinds:
        raise ModelFileError(f"{source.where}: there is no layer like {module.describe()}")
    return module.kinds[-1]


def _start(source: StoredTensors, prefix: str) -> tuple[str, list[Assumption]]:
    """What the names of the tensors begin with that are taken, and what was assumed in that.

    Trainers put a model under a name of theirs, ``model.`` or ``module.``, and little beside it: a counter, weights of
    a loss.  A ``prefix`` may be one within that name.
    """
    start = f"{prefix.removesuffix('.')}." if prefix else ""
    if any(name.startswith(start) for name in source.tensors) and prefix:
        return start, []
    wrapper = _wrapper(source)
    if prefix:
        return (wrapper + start if any(name.startswith(wrapper + start) for name in source.tensors) else start), []
    beside = [name for name in source.tensors if not name.startswith(wrapper)]
    if not beside:
        return "", []
    return wrapper, [Assumption(f"what is under {wrapper[:-1]!r:.60} is the model, without {some(beside)} beside it")]


def _without_fields(modules: list[Module]) -> tuple[list[Module], list[Assumption]]:
    """The modules without a conditional random field behind them, which is no layer, and what that assumes."""
    fields = [module for module in modules if is_field(module)]
    if len(fields) in (0, len(modules)):
        return modules, []
    names = some(module.path or "transitions" for module in fields)
    words = (
        f"{names} is a conditional random field, which chooses among the scores that are computed here: it is left out"
    )
    return [module for module in modules if module not in fields], [Assumption(words)]


def _wrapper(source: StoredTensors) -> str:
    """The one of WRAPPERS that all matrices are under, with a dot behind it, or several of them; "" for none."""
    names = [name for name, tensor in source.tensors.items() if len(tensor.shape) > 1]
    wrapper = ""
    for _ in range(MOST_WRAPPERS if names else 0):
        one = names[0][len(wrapper) :].partition(".")[0]
        if one not in WRAPPERS or not all(name.startswith(f"{wrapper}{one}.") for name in names):
            break
        wrapper += f"{one}."
    return wrapper


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
    source: StoredTensors,
    start: str,
    named: Sequence[str | Layer] | None,
    kinds: dict[str, str],
    outline: Outline,
) -> tuple[list[Module], Outline]:
    """The modules under ``start``, or those of them that ``named`` names, each known, and the layers between them.

    The outline comes back with what the names say of modules beside.
    """
    groups = _grouped(source.tensors, start)
    others = _grouped(source.others, start)
    if not groups:
        under = f" under {start[:-1]!r:.60}" if start else ""
        raise ModelFileError(f"{source.where} has no tensors{under}; it has {some(source.tensors, MOST_SHOWN)}")
    wrapper, plains = "" if start else _wrapper(source), outline.layers

    def known(path: str) -> str:
        """The path of a module, which may be named with what a trainer put before it, or without."""
        if path not in groups and path.removeprefix(start) in groups:
            return path.removeprefix(start)
        return wrapper + path if path not in groups and (wrapper + path in groups or wrapper + path in plains) else path

    stated: list[str | Layer] | None = None
    if named is not None:
        stated, outline = entries.understood(named, outline, groups, known)
    kinds = {known(path): kind for path, kind in kinds.items()}
    paths = [
        entry
        for entry in stated or ()
        if isinstance(entry, str) and (entry in groups or not (is_plain(entry) or entry in plains))
    ]
    for path in [*paths, *kinds]:
        if path not in groups:
            between = (
                ""
                if path in kinds
                else "; between modules may stand 'last', 'final', an activation such as 'relu', a layer 'MaxPool1d(2)'"
            )
            raise ModelFileError(
                f"{source.where} has no module {path!r:.60}; it has {some(groups, MOST_SHOWN)}{between}"
            )
    if len(set(paths)) < len(paths) or (stated is not None and not paths):
        raise ValueError(f"modules must name modules of {source.where}, each once; got {named!r:.200}")
    chosen: list[Module] = []
    for entry in (outline.entries(groups) or groups) if stated is None else stated:
        if isinstance(entry, str) and entry in groups:
            chosen.append(_module(source, entry, groups[entry], others.get(entry, {}), kinds, outline))
        elif isinstance(entry, str) and entry in plains:
            layer = type(plains[entry])(**plains[entry].config())  # a module may be named several times
            chosen.append(Plain(entry, {}, (type(layer).__name__,), layer))
        else:
            chosen.append(plain(entry, chosen))
    return chosen, outline


def _module(
    source: StoredTensors,
    path: str,
    tensors: dict[str, Named],
    others: Mapping[str, str],
    kinds: Mapping[str, str],
    outline: Outline,
) -> Module:
    """The module of that path, by its names and shapes, its class, and what the caller says of it.

    Raises ModelFileError where these contradict each other.
    """
    for last, words in others.items():
        if is_weight(last):
            raise ModelFileError(f"{source.where}: {last} of {path!r:.60} must be a tensor; it is {words}")
    try:
        module = having(around(path, tensors) or identified(path, tensors), outline.about.get(path))
        if isinstance(module, RecurrentModule) and path in outline.settings:
            module.check(outline.settings[path])
    except ValueError as error:
        raise ModelFileError(f"{source.where}: {error}") from None
    if path in kinds and kinds[path] not in module.kinds:
        raise ModelFileError(f"{source.where}: {module.describe()} is no {kinds[path]!r:.40}")
    kind = kinds.get(path, outline.kinds.get(path))
    if kind is not None and module.kinds and kind not in module.kinds:
        module = Unknown(path, tensors, ())  # a class of torch's whose weights only look like those of another
    elif kind is not None and isinstance(module, (MatrixModule, AroundModule)):
        module = replace(module, kinds=(kind,))
    elif isinstance(module, AroundModule) and len(module.kinds) > 1:
        module = Undecided(path, tensors, ())
    odd = [name for name, tensor in module.tensors.items() if tensor.dtype not in FLOATS]
    if odd and module.kinds:
        raise ModelFileError(
            f"{source.where}: {odd[0]!r:.60} of {path!r:.60} must be of floating point; it is {tensors[odd[0]].dtype}"
        )
    return module


def _grouped(values: Mapping[str, Value], start: str) -> dict[str, dict[str, Value]]:
    """Values whose names begin with ``start``, by their module's path and the last part of their name."""
    groups: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        if name.startswith(start):
            path, _, last = name[len(start) :].rpartition(".")
            groups.setdefault(path, {})[last] = value
    return attending.joined(groups)
