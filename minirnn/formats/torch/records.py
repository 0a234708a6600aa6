"""Whole modules, as ``torch.save(model, path)`` pickles them, taken for what they hold: no class is made, nothing runs.

An object of a class that derives from nn.Module is pickled as its attributes.  Three of them are dictionaries:
``_parameters``, ``_buffers`` and ``_modules``, the last in the order in which the class sets its modules.  A program of
TorchScript's has tensors and modules as attributes of their own.  The names of tensors are those of the state dict.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from minirnn.core.files import ModelFileError
from minirnn.formats.containers.pickle import Foreign, shown
from minirnn.formats.torch import around
from minirnn.formats.torch.attending import ATTENTION
from minirnn.formats.torch.outline import DROPOUTS, SOFTMAX, Outline, Settings, Step, batched, of_class, settings
from minirnn.formats.torch.pickled import View
from minirnn.layers.feedforward import Activation, Dropout

RECURRENT = ("RNN", "GRU", "LSTM")
CELLS = ("RNNCell", "GRUCell", "LSTMCell")
WEIGHTED = (*RECURRENT, *CELLS, "Linear", "Embedding", *around.KINDS)
TORCH = "torch.nn."
DEEPEST = 32  # modules within modules
MOST_ENTRIES = 2**17  # attributes of all modules together, one that is there twice counted twice
LONGEST_NAME = 100  # of a module among those of another
MOST_MODULES = 2**12  # in a program or a whole module


class Members(NamedTuple):
    """What a module holds: tensors by name, objects of other kinds in their place, and modules."""

    tensors: Mapping[Any, Any]
    modules: Mapping[Any, Any]


class Record(NamedTuple):
    """A module: its path, its class as the pickle names it, its attributes, and what it holds."""

    path: str
    kind: Foreign
    attributes: Mapping[Any, Any]
    members: Members


def is_module(value: Any) -> bool:
    """Whether this stands for an object of a class that derives from nn.Module, with weights or modules in it."""
    state = value.state if type(value) is Foreign else None
    if state is None or not all(type(state.get(name)) is dict for name in ("_parameters", "_buffers", "_modules")):
        return False
    return bool(state["_parameters"] or state["_modules"])


def eager(attributes: Mapping[Any, Any]) -> Members:
    """What a module of Python's holds."""
    empty: dict[Any, Any] = {}
    tensors, buffers, modules = (
        one if type(one) is dict else empty
        for one in (attributes.get(name) for name in ("_parameters", "_buffers", "_modules"))
    )
    return Members({**tensors, **buffers}, modules)


def scripted(attributes: Mapping[Any, Any]) -> Members:
    """What a module of TorchScript's holds, whose tensors and modules are its attributes."""
    tensors = {name: value for name, value in attributes.items() if type(value) is View}
    modules = {name: value for name, value in attributes.items() if type(value) is Foreign and value.state is not None}
    return Members(tensors, modules)


def walked(
    root: Foreign, where: str, members: Callable[[Mapping[Any, Any]], Members] = eager, path: str = ""
) -> Iterator[Record]:
    """Every module, depth first, each before those within it; ModelFileError for more than a model has."""
    left, entries = MOST_MODULES, MOST_ENTRIES
    waiting = [(path, root, 0)]
    while waiting:
        path, one, depth = waiting.pop()
        attributes: dict[Any, Any] = one.state or {}
        own = members(attributes)
        left -= 1
        entries -= len(attributes) + len(own.tensors) + len(own.modules)
        if left < 0 or entries < 0 or depth > DEEPEST:
            raise ModelFileError(
                f"{where} may have {MOST_MODULES:,} modules of {MOST_ENTRIES:,} attributes, {DEEPEST} within each other"
            )
        yield Record(path, one, attributes, own)
        inner = []
        for name, value in own.modules.items():
            if type(name) is str and len(name) <= LONGEST_NAME and type(value) is Foreign:
                inner.append((f"{path}.{name}" if path else name, value, depth + 1))
        waiting += reversed(inner)


def tensors_of(records: Iterator[Record]) -> dict[str, Any]:
    """The entries of the modules' state dict: tensors, and what stands in the place of some."""
    entries: dict[str, Any] = {}
    for record in records:
        for name, value in record.members.tensors.items():
            if type(name) is str:
                entries[f"{record.path}.{name}" if record.path else name] = value
    return entries


def outline(root: Foreign, where: str) -> Outline:
    """What a whole module says of its computation: hyperparameters, layers without weights, and the order of both.

    Modules of an nn.Sequential compute one after another; those of any other class are in the order of its definition.
    Raises ModelFileError for hyperparameters that make no sense.
    """
    steps: list[Step] = []
    known: dict[str, Settings] = {}
    kinds: dict[str, str] = {}
    remarks: list[str] = []
    about: dict[str, dict[str, Any]] = {}
    attentions: set[str] = set()  # whose output's projection is no step of its own
    chains: dict[str, str] = {}  # of each nn.Sequential, the outermost one that it is directly within
    for record in walked(root, where):
        path, name = record.path, f"{record.kind.name:.40}"
        of_torch = record.kind.module.startswith(TORCH)
        if path.rpartition(".")[0] in attentions and path:
            continue
        chain = chains.get(path.rpartition(".")[0]) if path else None
        stated = chain is not None and bool(steps) and chains.get(steps[-1].path.rpartition(".")[0]) == chain
        if of_torch and name == "Sequential":
            chains[path] = path if chain is None else chain
            continue
        try:
            if of_torch and name in (*RECURRENT, *CELLS):
                known[path] = settings(name.removesuffix("Cell"), record.attributes)
            if of_torch and name in around.KINDS:
                about[path] = around.attributes_of(name, record.attributes)
            if of_torch and name == ATTENTION:
                attentions.add(path)
                known[path] = batched(record.attributes)
                remarks.append(f"{path!r:.60} reads one sequence as its query, its keys and its values")
            layer = of_class(name, record.attributes) if of_torch else None
        except ValueError as error:
            raise ModelFileError(f"{where}: {path!r:.60} ({name}): {error}") from None
        if layer is not None:
            dim = record.attributes.get("dim", -1)
            if name in SOFTMAX and dim != -1:
                remarks.append(f"{path!r:.60} is over the features, though it has dim={shown(dim)}")
            if not isinstance(layer, Dropout) and chain is None and path:
                shown_as = layer.function.name if isinstance(layer, Activation) else name
                remarks.append(f"{path!r:.60} ({shown_as}) computes in the place where its class lists it")
            steps.append(Step(path, layer, stated))
        elif any(type(value) is View for value in record.members.tensors.values()):
            steps.append(Step(path, stated=stated))
            if of_torch:
                kinds[path] = name.removesuffix("Cell") if name in WEIGHTED else ""
            elif not record.members.modules:
                remarks.append(f"{path!r:.60}, a {name} of another's, is what the shapes of its weights suggest")
        elif not record.members.modules and path and not _harmless(record):
            remarks.append(f"{path!r:.60}, a {name} without weights, is left out")
    return Outline(tuple(steps), known, kinds, tuple(remarks), about=about)


def _harmless(record: Record) -> bool:
    """Whether a module computes nothing in inference, or nothing of the model's output."""
    kind = record.kind
    return kind.module.startswith(TORCH) and (
        kind.name in ("Identity", *DROPOUTS) or kind.module.startswith(f"{TORCH}modules.loss")
    )
