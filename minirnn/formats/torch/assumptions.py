"""Assumptions about a state dict: those that a chain of its modules rests on, in words, and how to settle them.

What stands between two modules, which belong together and in which order they compute is Python code in torch.  Names
and shapes give hints: a number that is missing in an nn.Sequential, a Linear that feeds another product directly.
``assumptions`` looks for those, and says nothing about an Embedding, a recurrent module and a Linear in usual order.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from minirnn.core.layer import Layer
from minirnn.formats.torch.around import AroundModule
from minirnn.formats.torch.modules import Link, Plain, RecurrentModule
from minirnn.formats.torch.outline import Outline
from minirnn.layers.feedforward import Last, Linear
from minirnn.recurrent.networks import RNN, Recurrent

DEEPEST = 32  # parts of a module's path that are looked at
MOST_NAMED = 12  # modules in a message
WITHOUT_EFFECT = ("Dropout",)  # kinds of layers between which an activation is as usual as without them
RIVALS = (  # networks that are trained together, and do not compute one after another
    ("generator", "discriminator"),
    ("actor", "critic"),
    ("policy", "value"),
    ("student", "teacher"),
    ("online", "target"),
)
HALVES = (("encoder", "decoder"), ("enc", "dec"))  # so are these, where both are recurrent


class Assumption(NamedTuple):
    """``words`` say what was assumed; ``before`` and ``entry`` are an example of what ``modules=`` may say instead.

    ``entry`` would stand before the module in that place of the chain.
    """

    words: str
    before: int | None = None
    entry: str = ""


def is_number(word: str) -> bool:
    """Whether part of a path is a number, as of a module in an nn.Sequential."""
    return len(word) < 10 and word.isascii() and word.isdigit()


def assumptions(chain: Sequence[Link], order: str, outline: Outline) -> list[Assumption]:
    """The assumptions of this chain; ``order`` is that about the order of its modules in words, "" for none.

    ``outline`` has what the file says beside the weights.
    """
    gaps = [] if outline.steps else _gaps(chain)  # of a whole module every number is known
    assumed = [*_networks(chain), *([Assumption(order)] if order else []), *gaps]
    assumed += [Assumption(words) for words in outline.remarks]
    for module, kind in chain:
        if isinstance(module, AroundModule) and module.about is None and kind != "PReLU":
            assumed.append(Assumption(f"{module.path!r:.60} is an nn.{kind} with eps 1e-05, torch's default"))
    said = {step.path for step in outline.steps if step.stated}  # what directly follows the module before it
    computing = [(k, module) for k, (module, kind) in enumerate(chain) if kind not in WITHOUT_EFFECT]
    for (place, before), (k, after) in pairwise(computing):
        follows = not isinstance(after, (Plain, AroundModule)) and after.path not in said
        bare = chain[place][1] == "Linear" and follows
        if bare and all(gap.before != k for gap in gaps):
            words = f"nothing stands between {before.path!r:.60} and {after.path!r:.60}, where an activation is usual"
            assumed.append(Assumption(words, k, "relu"))
    recurrent = [k for k, (module, _) in enumerate(chain) if isinstance(module, RecurrentModule)]
    for k in recurrent[-1:]:
        module = chain[k][0]
        reader = next((other for other, _ in chain[k + 1 :] if not isinstance(other, Plain)), None)
        # Without the reverse direction the last step of y is the final state, and either reading gives the same.
        if reader and isinstance(module, RecurrentModule) and len(module.directions) > 1:
            both = f"both directions of {module.path!r:.60} at the same step, not their final states"
            assumed.append(Assumption(f"{reader.path!r:.60} reads {both}", k + 1, "final"))
    return assumed


def settled(chain: Sequence[Link], assumed: Sequence[Assumption]) -> str:
    """How to say what was assumed, with an example of what ``modules=`` might be."""
    example: list[str] = []
    for k, (module, _) in enumerate(chain[:MOST_NAMED]):
        example += [one.entry for one in assumed if one.before == k]
        example.append(module.path)
    shown = ", ".join(f"{name!r:.60}" for name in example[: 2 * MOST_NAMED])
    return (
        "modules= (--module) settles it: the modules in their order, and between them activations by name, 'last' (the "
        f"last step) or 'final' (the final states of both directions), for example modules=[{shown}]"
    )


# ---------------------------------------------------------------------- a number that is missing


def _gaps(chain: Sequence[Link]) -> list[Assumption]:
    """Where numbers of an nn.Sequential are missing: modules without weights stood there."""
    places: dict[tuple[str, ...], dict[int, int]] = {}  # of each container, the first place in the chain of each number
    for k, (module, _) in enumerate(chain):
        words = module.path.split(".", DEEPEST)[:DEEPEST]
        for depth, word in enumerate(words):
            if is_number(word):
                places.setdefault(tuple(words[:depth]), {}).setdefault(int(word), k)
    assumed = []
    for container, numbers in places.items():
        for low, high in pairwise([-1, *sorted(numbers)]):
            if high - low > 1:
                first, last = (".".join([*container, str(n)]) for n in (low + 1, high - 1))
                missing = f"{first!r:.60}" + (f" to {last!r:.60}" if first != last else "")
                after = chain[numbers[high]][0].path
                before = f"between {'.'.join([*container, str(low)])!r:.60} and" if low >= 0 else "before"
                verb = "are" if first != last else "is"
                sentence = f"nothing stands {before} {after!r:.60}, though {missing} {verb} missing there"
                assumed.append(Assumption(sentence, numbers[high], "relu"))
    return assumed


# ---------------------------------------------------------------------- two networks in one file


def _networks(chain: Sequence[Link]) -> list[Assumption]:
    """Whether the modules seem to be those of several networks."""
    paths = [module.path.split(".", DEEPEST)[:DEEPEST] for module, _ in chain]
    while len({path[0] for path in paths}) == 1 and all(len(path) > 1 for path in paths):
        paths = [path[1:] for path in paths]
    roots: dict[str, list[int]] = {}
    for k, path in enumerate(paths):
        roots.setdefault(path[0], []).append(k)
    containers = {root for root, places in roots.items() if any(len(paths[k]) > 1 for k in places)}
    recurrent = [
        root for root, places in roots.items() if any(isinstance(chain[k][0], RecurrentModule) for k in places)
    ]
    several = _pair(RIVALS, list(roots)) or _pair(HALVES, recurrent)
    if not several:
        alike = {re.sub("[0-9]+", "", root) for root in recurrent}
        several = recurrent if len(alike) > 1 and containers & set(recurrent) else []
    if not several:
        return []
    last = several[-1]  # the example, with its whole path, as prefix= needs it
    full = chain[roots[last][0]][0].path
    whole = full[: len(full) - len(".".join(paths[roots[last][0]]))] + last
    advice = f"prefix={whole!r:.60} takes one alone" if last in containers else "modules= takes those of one alone"
    names = " and ".join(f"{root!r:.60}" for root in several[:3])
    return [Assumption(f"{names} are parts of one network, each computing on what the one before it gives ({advice})")]


def _pair(pairs: Sequence[tuple[str, str]], roots: list[str]) -> list[str]:
    """The names among ``roots`` that have the words of one pair, if both occur."""
    for pair in pairs:
        named = [next((r for r in roots if word in re.split("[^a-z]+", r.lower())), None) for word in pair]
        if None not in named:
            return [root for root in roots if root in named]
    return []


# ---------------------------------------------------------------------- what no file can tell


def notes(model: Layer, outline: Outline) -> list[str]:
    """Remarks on what the file does not tell about such a model, whatever the names and shapes in it."""
    if outline.whole:
        return []
    layers = list(model.walk())
    remarks = []
    if any(isinstance(layer, RNN) for layer in layers) and not outline.settings:
        remarks.append("whether an nn.RNN has tanh or relu: nonlinearity= says it")
    steps = [layer for layer in layers if isinstance(layer, (Recurrent, Linear, Last))]
    recurrent = any(isinstance(layer, Recurrent) for layer in steps)
    if recurrent and isinstance(steps[-1], Linear) and not any(isinstance(layer, Last) for layer in steps):
        remarks.append("whether a Linear reads every step, as here, or the last one alone: 'last' in modules= says it")
    return remarks
