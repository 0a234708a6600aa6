"""What ``modules=`` may name: a module of the file, with what its weights do not show, or a layer without weights.

An entry is a name, or a name with arguments as in Python: ``"conv1(padding=1)"`` of a module, ``"MaxPool1d(2)"`` of a
layer of minirnn, ``"elu(0.5)"`` of an activation.  Arguments are literals; nothing is evaluated.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from minirnn import layers
from minirnn.core.files import ModelFileError
from minirnn.core.layer import Layer
from minirnn.formats.torch.around import around, attributes_of
from minirnn.formats.torch.modules import identified, is_plain
from minirnn.formats.torch.outline import Outline, Settings
from minirnn.formats.torch.stored import Named
from minirnn.layers.activations import NAMES
from minirnn.layers.feedforward import Activation

LONGEST = 1000  # letters of an entry
WORDS = {  # what may be said of a module of each kind, in torch's words
    "Conv1d": ("stride", "padding", "dilation", "groups"),
    "MultiheadAttention": ("num_heads",),
    "LayerNorm": ("eps",),
    "BatchNorm1d": ("eps",),
    "RNN": ("nonlinearity",),
}
_CALL = re.compile(r"([^()]*)\((.*)\)", re.DOTALL)

Entries = Sequence[str | Layer]


class Spoken(NamedTuple):
    """A name, and its arguments; ``called`` is False where there are no parentheses."""

    name: str
    called: bool = False
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}


def split(text: str) -> list[str]:
    """The entries of one string: what stands between commas, those within parentheses not counted."""
    entries, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            entries.append("")
        else:
            entries[-1] += letter
    return [entry.strip() for entry in entries]


def spoken(entry: str) -> Spoken:
    """An entry taken apart; ValueError for arguments that are no literals."""
    call = _CALL.fullmatch(entry.strip()) if len(entry) <= LONGEST else None
    if call is None:
        return Spoken(entry)
    name, arguments = call[1].strip(), call[2]
    problem = f"in modules, {entry!r:.80} must have literals as arguments, as in 'conv1(padding=1)' or 'MaxPool1d(2)'"
    try:
        tree = ast.parse(f"f({arguments})", mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
            raise ValueError(problem)
        args = tuple(ast.literal_eval(value) for value in tree.args)
        kwargs = {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise ValueError(problem) from None
    if None in kwargs:  # **{...}
        raise ValueError(problem)
    return Spoken(name, called=True, args=args, kwargs={str(word): value for word, value in kwargs.items()})


def is_layer(entry: str) -> bool:
    """Whether an entry can be a layer without weights."""
    name = spoken(entry).name
    return is_plain(name) or name in layers.__all__


def understood(
    entries: Entries,
    outline: Outline,
    groups: Mapping[str, Mapping[str, Named]],
    known: Callable[[str], str],
) -> tuple[list[str | Layer], Outline]:
    """The entries as paths, plain names and layers, and the outline with what they say of modules.

    ``groups`` are the tensors of each module, ``known`` gives the path of one by the name that the caller has for it.
    ValueError for arguments that a module or a layer cannot have.
    """
    about, settings = dict(outline.about), dict(outline.settings)
    plain: list[str | Layer] = []
    for entry in entries:
        if not isinstance(entry, str):
            plain.append(entry)
            continue
        one = spoken(entry)
        path = known(one.name)
        if path not in groups:
            plain.append(path if path in outline.layers and not one.called else _layer(entry, one))
            continue
        plain.append(path)
        if one.called:
            kind, said = _said(path, one, groups[path])
            if kind == "RNN":
                settings[path] = settings.get(path, Settings())._replace(**said)
            else:
                about[path] = {**about.get(path, {}), **said} if path in about else said
    return plain, replace(outline, about=about, settings=settings)


def _layer(entry: str, one: Spoken) -> str | Layer:
    """The layer that an entry makes, or its name where that is all."""
    if not one.called and one.name not in layers.__all__:
        return one.name
    try:
        if one.name in layers.__all__:
            make: Callable[..., Any] = getattr(layers, one.name)
            made = make(*one.args, **one.kwargs)
        elif one.name in NAMES:
            made = Activation(one.name, *one.args, **one.kwargs)
        else:
            return one.name
    except TypeError:
        raise ValueError(f"in modules, {entry!r:.80} has not the arguments of minirnn's {one.name}") from None
    if not isinstance(made, Layer):
        raise ValueError(f"in modules, {entry!r:.80} must be a module of the file or a layer without weights")
    return made


def _said(path: str, one: Spoken, tensors: Mapping[str, Named]) -> tuple[str, dict[str, Any]]:
    """The kind of a module, and what an entry says of it; ValueError for what cannot be said of it."""
    module = around(path, tensors) or identified(path, dict(tensors))
    kind = next((kind for kind in module.kinds if kind in WORDS), "")
    if not kind:
        raise ValueError(
            f"{module.describe()} has no arguments in modules: its weights show all; got {one.kwargs!r:.60}"
        )
    words = WORDS[kind]
    odd = [word for word in one.kwargs if word not in words]
    if one.args or odd:
        raise ValueError(
            f"of {path!r:.60}, an nn.{kind}, modules may say {', '.join(words)}, by name; "
            f"got {(odd or list(one.args))[0]!r:.60}"
        )
    if kind == "RNN":
        if one.kwargs.get("nonlinearity", "tanh") not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be tanh or relu; got {one.kwargs['nonlinearity']!r:.60}")
        return kind, dict(one.kwargs)
    try:
        return kind, attributes_of(kind, one.kwargs)
    except ModelFileError:
        raise
    except ValueError as error:
        raise ValueError(f"of {path!r:.60}, an nn.{kind}: {error}") from None
