"""Which of the things in a pickle of torch's is the model: a dictionary of tensors by name, or a whole module."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from minirnn.core.files import ModelFileError
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.containers.pickle import Foreign
from minirnn.formats.torch import records
from minirnn.formats.torch.pickled import Choice, View

USUAL = ("state_dict", "model_state_dict", "model", "model_state", "state", "net", "network", "module", "weights")
LONGEST_NAME = 100  # of a dictionary within a file
MOST_PLACES = 10_000  # dictionaries at one depth that are looked through
DEEPEST = 4  # dictionaries within dictionaries that are looked through for the one with tensors
MOST_RIVALS = 20


def chosen(content: Any, where: str, part: str | None) -> Choice:
    """The state dict in what was pickled.

    It is that of ``part``, else the one under a usual name, all that there is, or the only one.  A whole module is
    its state dict, where there is no dictionary of tensors.  Raises ModelFileError if there is none, or none of that
    name.
    """
    states, modules = _candidates(content)
    if part is not None:
        if part not in states and part not in modules:
            raise ModelFileError(
                f"{where} has no part {part!r:.60} with tensors; it has {_list({**states, **modules})}"
            )
        return Choice(part, states[part]) if part in states else _of_module(modules[part], where, part)
    candidates: dict[str, Any] = states or modules
    usual = [name for name in USUAL if name in candidates]
    choices = usual[:1] or [name for name in candidates if not name] or list(candidates)
    if len(choices) != 1:
        advice = ": name one, part=..." if candidates else _objects(content)
        raise ModelFileError(f"{where} must hold a state dict; it holds {_list(candidates)}{advice}")
    name = choices[0]
    rivals = [
        other
        for other, state in states.items()
        if other not in ("", name) and any(type(value) is View and len(value.shape) > 1 for value in state.values())
    ]
    rivals += [other for other in modules if other != name]
    others = tuple(rivals[:MOST_RIVALS])
    if name in states:
        return Choice(name, states[name], others)
    return _of_module(modules[name], where, name)._replace(rivals=others)


def _of_module(module: Foreign, where: str, part: str) -> Choice:
    tensors = records.tensors_of(records.walked(module, where))
    if not any(type(value) is View for value in tensors.values()):
        raise ModelFileError(f"{where} must hold a model with weights; it holds {module!r}, which has none")
    return Choice(part, tensors, (), records.outline(module, where))


def _candidates(content: Any) -> tuple[dict[str, dict[Any, Any]], dict[str, Foreign]]:
    """All dictionaries that hold tensors by name, and all whole modules, by their own dotted names.

    One may stand in many places, of which only the first is looked into.
    """
    states: dict[str, dict[Any, Any]] = {}
    modules = {"": content} if records.is_module(content) else {}
    seen: dict[int, bool] = {}  # whether it holds some
    level = [("", content)] if type(content) is dict else []
    for _ in range(DEEPEST):
        below: list[tuple[str, Any]] = []
        for path, one in level:
            if id(one) not in seen:
                named = all(type(name) is str for name in one)
                seen[id(one)] = named and any(type(value) is View for value in one.values())
                inner = (
                    (f"{path}.{name}" if path else name, value)
                    for name, value in one.items()
                    if type(name) is str and len(name) <= LONGEST_NAME and type(value) in (dict, Foreign)
                )
                for place, value in islice(inner, max(0, MOST_PLACES - len(below))):
                    if type(value) is dict and named:
                        below.append((place, value))
                    elif records.is_module(value) and len(modules) < MOST_PLACES:
                        modules[place] = value
            if seen[id(one)]:
                states[path] = one
        level = below
    return states, modules


def _objects(content: Any) -> str:
    """Which objects may hold the tensors that were looked for, and what can be done about it."""
    if type(content) is Foreign:
        words = f"but an object of class {content!r}"
    else:
        entries = content.items() if type(content) is dict else ()
        objects = [f"{pickles.shown(name)} of class {value!r}" for name, value in entries if type(value) is Foreign]
        if not objects:
            return ""
        words = f"but {', '.join(objects[:3])}"
    return (
        f", {words}. Of objects that are no modules of torch nothing is read. Whoever has torch and that class can "
        "write the weights alone: torch.save(model.state_dict(), path)"
    )


def _list(names: Mapping[str, Any]) -> str:
    words = [repr(name)[:60] if name else "tensors" for name in list(names)[:10]]
    return ", ".join(words) + (" ..." if len(names) > 10 else "") if words else "no tensors by name"
