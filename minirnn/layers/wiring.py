"""What a graph of layers is made of, and what its values are: known before a pass, refused where parts do not fit."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from minirnn.core.layer import Layer, check_size
from minirnn.core.module import brief
from minirnn.layers.compose import Bidirectional
from minirnn.layers.joining import Joining, Kind


class Entry(NamedTuple):
    """An input of a graph: floats (T, B, features), or (B, features) where ``steps`` is False.

    With ``indices`` it is integers (T, B) from 0 to ``features`` - 1.  ``features`` None is any number.
    """

    name: str
    features: int | None = None
    steps: bool = True
    indices: bool = False

    @property
    def shape(self) -> str:
        """The axes of its arrays, in words."""
        if self.indices:
            return "integers (T, B)"
        features = "features" if self.features is None else self.features
        return f"(T, B, {features})" if self.steps else f"(B, {features})"

    @property
    def words(self) -> str:
        """Its name, and that."""
        return f"{self.name} {self.shape}"


class Call(NamedTuple):
    """A layer called on values: ``name`` is that of y, ``layer`` the layer's, ``reads`` are the values it reads.

    ``initial`` are the values, each (B, H), that its state begins with, direction by direction: h, of an LSTM h and c,
    forward, then in reverse.  ``final`` names those that its state ends with, in the same order.
    """

    name: str
    layer: str
    reads: Sequence[str]
    initial: Sequence[str] = ()
    final: Sequence[str] = ()


def kinds_of(
    entries: Sequence[Entry], layers: Mapping[str, Layer], calls: Sequence[Call], outputs: Iterable[str]
) -> dict[str, Kind]:
    """What each value of a graph is; ValueError where calls do not fit what they read."""
    kinds: dict[str, Kind] = {}
    for entry in entries:
        _new(entry.name, kinds)
        if not isinstance(entry.steps, bool) or not isinstance(entry.indices, bool):
            raise ValueError(f"steps and indices of {entry.name!r:.60} must be true or false")
        if entry.features is not None or entry.indices:
            check_size(f"the features of {entry.name!r:.60}", entry.features or 0)
        kinds[entry.name] = Kind(entry.features, entry.steps or entry.indices, indices=entry.indices)
    used = {call.layer for call in calls}
    for name in layers:
        if name not in used:
            raise ValueError(f"layer {name!r:.60} is called nowhere in the graph")
    for call in calls:
        layer = layers.get(call.layer)
        if layer is None:
            raise ValueError(f"{title(call)} calls {call.layer!r:.60}, which is no layer of the graph")
        for name in (*call.reads, *call.initial):
            if name not in kinds:
                raise ValueError(f"{title(call)} reads {name!r:.60}, which nothing before it makes")
        try:
            kind = kind_of(layer, [kinds[name] for name in call.reads])
            widths = state_widths(layer, call)
            for name, width in zip(call.initial, widths, strict=False):
                if kinds[name].timed or kinds[name].features not in (None, width):
                    raise ValueError(f"its state begins with values (B, {width}); {name!r:.60} is another")
        except ValueError as error:
            raise ValueError(f"{title(call)}, {brief(layer):.200}: {error}") from None
        _new(call.name, kinds)
        kinds[call.name] = kind
        for name, width in zip(call.final, widths, strict=False):
            _new(name, kinds)
            kinds[name] = Kind(width, timed=False)
    for name in outputs:
        if name not in kinds:
            raise ValueError(f"output {name!r:.60} must be a value of the graph; nothing makes it")
    return kinds


def state_widths(layer: Layer, call: Call) -> list[int]:
    """The widths of the arrays (B, width) that a layer's state is made of, direction by direction."""
    if not call.initial and not call.final:
        return []
    shapes = layer.state_shapes(1)
    widths = [shape[2] for _ in range(shapes[0][0]) for shape in shapes] if shapes else []
    for names, word in ((call.initial, "begins"), (call.final, "ends")):
        if names and len(names) != len(widths):
            raise ValueError(f"its state {word} with {len(widths)} values; {len(names)} are named")
    return widths


def kind_of(layer: Layer, kinds: Sequence[Kind]) -> Kind:
    """What a layer makes of values of these kinds."""
    if isinstance(layer, Joining):
        if not layer.least <= len(kinds) <= (layer.most or len(kinds)):
            most = "" if layer.most == layer.least else f" to {layer.most}" if layer.most else " or more"
            raise ValueError(f"reads {layer.least}{most} values; it is called on {len(kinds)}")
        if any(kind.indices for kind in kinds):
            raise ValueError("reads features; it is called on integers")
        if not layer.skips and any(kind.masked for kind in kinds):
            raise ValueError("cannot go without steps that a layer before it masks")
        return layer.kind(kinds)
    if len(kinds) != 1:
        raise ValueError(f"reads one value; it is called on {len(kinds)}")
    (x,) = kinds
    if x.indices and not layer.integers:
        raise ValueError("reads features; it is called on integers")
    if not x.indices and not layer.floats:
        raise ValueError("reads integers; it is called on features")
    if not x.timed and not layer.timeless:
        raise ValueError("needs steps; the value that it reads has none")
    if x.masked and not layer.skips:
        raise ValueError("reads steps beside each other: it cannot go without those that a layer before it masks")
    fits = x.features == layer.input_size or (x.indices and (x.features or 0) < (layer.input_size or 0))
    if None not in (x.features, layer.input_size) and not fits:
        raise ValueError(f"expects {layer.input_size} features; it is called on {x.features}")
    timed = x.timed and layer.keeps_time
    masks = layer.masks and not isinstance(layer, Bidirectional)  # whose mask is its own
    width = layer.output_size or (None if x.indices else x.features)
    return Kind(width, timed, timed and (x.masked or masks))


def checked(call: Call) -> Call:
    """A call with tuples of names; TypeError for a single name, whose letters are no names."""
    call = Call(*call)
    for names in call[2:]:
        if isinstance(names, str):
            raise TypeError(f"{title(call)} reads a list of values; got {names!r:.60}")
    return call._replace(reads=tuple(call.reads), initial=tuple(call.initial), final=tuple(call.final))


def title(call: Call) -> str:
    """How errors speak of a call."""
    return f"call {call.name!r:.60}"


def unused(name: str, known: Container[str]) -> str:
    """``name``, with a number behind it where it is known already."""
    k, whole = 1, name
    while whole in known:
        whole, k = f"{name}_{k}", k + 1
    return whole


def _new(name: str, known: Mapping[str, Kind]) -> None:
    if not isinstance(name, str) or not name or name in known:
        raise ValueError(f"each value of a graph must have a name of its own; got {name!r:.60}")
