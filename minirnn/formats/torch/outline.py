"""What a file of torch's says of a computation beside its weights: hyperparameters, functions, the order of modules.

A state dict says none of it.  A whole module (``torch.save(model)``) says which class each of its modules has, and what
that was made with; a program (TorchScript, torch.export) says what computes after what.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from minirnn.core.layer import Layer
from minirnn.formats.containers.pickle import shown
from minirnn.formats.torch.pools import one, pool
from minirnn.layers.feedforward import Activation, Dropout
from minirnn.layers.normalisation import LayerNorm

DROPOUTS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
CLASSES = {  # of torch.nn, without weights: the function, and the attributes that are its arguments
    "ReLU": ("relu",),
    "ReLU6": ("relu6",),
    "Tanh": ("tanh",),
    "Sigmoid": ("sigmoid",),
    "LeakyReLU": ("leaky_relu", "negative_slope"),
    "ELU": ("elu", "alpha"),
    "SELU": ("selu",),
    "GELU": ("gelu", "approximate"),
    "SiLU": ("silu",),
    "Mish": ("mish",),
    "Softplus": ("softplus", "beta", "threshold"),
    "Softsign": ("softsign",),
    "Hardtanh": ("hardtanh", "min_val", "max_val"),
    "Hardsigmoid": ("hardsigmoid",),
    "Hardswish": ("hardswish",),
    "Threshold": ("threshold", "threshold", "value"),
}
SOFTMAX = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}
MODES = {"RNN_TANH": ("RNN", "tanh"), "RNN_RELU": ("RNN", "relu"), "GRU": ("GRU", None), "LSTM": ("LSTM", None)}


class Settings(NamedTuple):
    """Hyperparameters of a recurrent module; None where the file does not say."""

    kind: str | None = None
    nonlinearity: str | None = None
    num_layers: int | None = None
    bidirectional: bool | None = None
    proj_size: int | None = None
    hidden_size: int | None = None
    dropout: float = 0.0
    batch_first: bool = False


class Step(NamedTuple):
    """A module by its path, or a ``layer`` without weights, whose path is "" where a program calls a function.

    ``stated`` tells whether the file says that it computes directly after the step before it.
    """

    path: str
    layer: Layer | None = None
    stated: bool = False


class Node(NamedTuple):
    """A layer called on what other nodes make; without a ``step`` an input, or a final state of what it reads.

    ``initial`` is the node with whose final states its own begins, ``state`` the place of a final state, and its name.
    """

    step: Step | None
    reads: tuple[int, ...] = ()
    initial: int | None = None
    state: tuple[int, str] | None = None


class ProgramInput(NamedTuple):
    """An input's name, and its axes: B rows, T steps, D features, "?" for one, or all, that nothing tells."""

    name: str
    axes: str


class ProgramGraph(NamedTuple):
    """A program that is no chain: nodes by number, those of inputs and of outputs, each after what it reads."""

    nodes: Mapping[int, Node]
    inputs: Mapping[int, ProgramInput]
    outputs: tuple[int, ...]

    def under(self, start: str) -> "ProgramGraph | None":
        """With paths that begin with ``start`` without it; None where others do not."""
        paths = [node.step.path for node in self.nodes.values() if node.step and node.step.path]
        if not all(path.startswith(start) for path in paths):
            return None
        nodes = {
            k: node._replace(step=node.step._replace(path=node.step.path[len(start) :])) if node.step else node
            for k, node in self.nodes.items()
        }
        return self._replace(nodes=nodes)

    @property
    def paths(self) -> list[str]:
        """Those of the modules with weights."""
        return [node.step.path for node in self.nodes.values() if node.step and node.step.layer is None]


@dataclass(frozen=True)
class Outline:
    """What a file says of its modules.

    ``steps`` are in the order of the computation where ``whole`` is true, else in that of the definition, which is that
    of the computation within an nn.Sequential.  ``settings`` has those of recurrent modules by path, ``kinds`` the
    layer that a module with weights is by its class, "" for none; ``about`` what norms and convolutions were made with,
    by path.  ``remarks`` say in words what has to be assumed of modules that are here.  A program that is no chain has
    a ``graph`` in place of steps; ``batch_first`` says whether its rows come before time, None where it does not say.
    """

    steps: tuple[Step, ...] = ()
    settings: Mapping[str, Settings] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    whole: bool = False
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    graph: ProgramGraph | None = None
    batch_first: bool | None = None

    def under(self, start: str) -> "Outline":
        """That of the modules under a path, which ends with a dot and is left out of theirs; "" for all of them."""
        if not start:
            return self

        def inner(path: str) -> str | None:
            """What is left of a path; None for one that is not under it."""
            if path == start[:-1]:
                return ""
            return path[len(start) :] if path.startswith(start) else None

        steps = [Step(cut, step.layer, step.stated) for step in self.steps if (cut := inner(step.path)) is not None]
        own = {cut: value for path, value in self.settings.items() if (cut := inner(path)) is not None}
        kinds = {cut: value for path, value in self.kinds.items() if (cut := inner(path)) is not None}
        about = {cut: value for path, value in self.about.items() if (cut := inner(path)) is not None}
        graph = self.graph.under(start) if self.graph else None
        whole = self.whole and graph is not None
        return Outline(tuple(steps), own, kinds, about=about, whole=whole, graph=graph, batch_first=self.batch_first)

    def having(self, weighted: Collection[str]) -> "Outline":
        """The same, unless it names modules with weights that are not among these."""
        paths = [step.path for step in self.steps if step.layer is None] + (self.graph.paths if self.graph else [])
        lacking = [path for path in paths if path not in weighted]
        if not lacking:
            return self
        remark = (
            f"modules compute in the order of the file, whose program names {lacking[0]!r:.60}, which has no weights"
        )
        return Outline(settings=self.settings, remarks=(remark,), about=self.about)

    def entries(self, weighted: Collection[str]) -> list[str | Layer]:
        """The steps, each as the path of a module or as a layer; ``weighted`` are the paths of modules with weights.

        Those that have weights and no step come last.
        """
        paths = {step.path for step in self.steps}
        steps: list[str | Layer] = [step.path or step.layer or "" for step in self.steps]
        return steps if self.whole or not steps else [*steps, *(path for path in weighted if path not in paths)]

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers without weights that have a path."""
        return {step.path: step.layer for step in self.steps if step.layer is not None and step.path}


def activation(name: str, *arguments: Any, **named: Any) -> Activation | None:
    """The layer of one of torch's functions, ``arguments`` those after its input; None where minirnn has no such.

    Raises ValueError for arguments that the function cannot have.
    """
    make = _FUNCTIONS.get(name.strip("_"))  # relu_, _threshold
    odd = [one for one in (*arguments, *named.values()) if type(one) not in (int, float, bool, str, type(None))]
    if make and odd:
        raise ValueError(f"an argument of {name} must be a number or a word; it is {a_kind(odd[0])}")
    try:
        return make(*arguments, **named) if make else None
    except TypeError:
        raise ValueError(f"{name} cannot have such arguments") from None


def _softplus(beta: Any = 1, threshold: Any = 20) -> Activation | None:
    return Activation("softplus") if beta == 1 and threshold == 20 else None  # above 20 they differ by 2e-9


def _gelu(approximate: Any = "none") -> Activation | None:
    name = {"none": "gelu", "tanh": "gelu_tanh"}.get(approximate) if isinstance(approximate, str) else None
    return Activation(name) if name else None


def _elu(alpha: Any = 1.0, scale: Any = 1, input_scale: Any = 1) -> Activation | None:
    return Activation("elu", alpha) if scale == input_scale == 1 else None


def _hardtanh(min_val: Any = -1.0, max_val: Any = 1.0) -> Activation | None:
    return Activation("relu6") if (min_val, max_val) == (0, 6) else None


def _threshold(threshold: Any, value: Any) -> Activation | None:
    return Activation("thresholded_relu", threshold) if value == 0 else None


_FUNCTIONS: dict[str, Callable[..., Activation | None]] = {
    **{
        name: (lambda name=name: Activation(name))
        for name in ("relu", "relu6", "tanh", "sigmoid", "selu", "silu", "mish", "softsign")
    },
    "leaky_relu": lambda negative_slope=0.01: Activation("leaky_relu", negative_slope),
    "elu": _elu,
    "gelu": _gelu,
    "softplus": _softplus,
    "hardtanh": _hardtanh,
    "hardsigmoid": lambda: Activation("hard_sigmoid", 1 / 6, 0.5),
    "hardswish": lambda: Activation("hard_swish"),
    "threshold": _threshold,
}


def of_class(name: str, attributes: Mapping[Any, Any]) -> Layer | None:
    """The layer without weights that an object of this class of torch.nn is; None for any other.

    Raises ValueError for attributes that it cannot have.
    """
    if name == "Dropout":
        return Dropout(number(attributes.get("p", 0.5), "p"))
    if name in SOFTMAX:
        return Activation(SOFTMAX[name])
    if name == "LayerNorm" and attributes.get("elementwise_affine") is False:
        return LayerNorm(
            one(attributes, "normalized_shape", 0), number(attributes.get("eps", 1e-5), "eps"), gain=False, bias=False
        )
    if name not in CLASSES:
        return pool(name, attributes)
    function, *words = CLASSES[name]
    return activation(function, *(attributes[word] for word in words if word in attributes))


def a_kind(value: Any) -> str:
    """The type of a value, for an error."""
    name = type(value).__name__
    return f"an {name}" if name[:1] in "aeiouAEIOU" else f"a {name}"


def number(value: Any, word: str) -> float:
    """``value`` as a float; ValueError unless it is a number."""
    if type(value) not in (int, float):
        raise ValueError(f"{word} must be a number; it is {a_kind(value)}")
    return float(value)


def batched(values: Mapping[Any, Any]) -> Settings:
    """Whether a module that is no recurrent one reads rows first; ValueError for a value of another type."""
    batch_first = values.get("batch_first", False)
    if type(batch_first) is not bool:
        raise ValueError(f"batch_first must be true or false; it is {a_kind(batch_first)}")
    return Settings(batch_first=batch_first)


def settings(kind: str, values: Mapping[Any, Any]) -> Settings:
    """Hyperparameters from the attributes of a recurrent module of torch's, or from the arguments of its function.

    Raises ValueError for a value of another type.
    """
    bidirectional, batch_first = values.get("bidirectional", False), batched(values).batch_first
    sizes = {word: values.get(word, default) for word, default in (("num_layers", 1), ("proj_size", 0))}
    sizes["hidden_size"] = values.get("hidden_size", 1)
    if type(bidirectional) is not bool:
        raise ValueError(f"bidirectional must be true or false; it is {a_kind(bidirectional)}")
    for word, value in sizes.items():
        if type(value) is not int:
            raise ValueError(f"{word} must be an integer; it is {a_kind(value)}")
    mode = values.get("mode")
    known = MODES.get(mode) if isinstance(mode, str) else None
    nonlinearity = known[1] if known else values.get("nonlinearity", "tanh" if kind == "RNN" else None)
    if nonlinearity is not None and (type(nonlinearity) is not str or nonlinearity not in ("tanh", "relu")):
        raise ValueError(f"nonlinearity must be tanh or relu; it is {shown(nonlinearity)}")
    dropout = number(values.get("dropout", 0.0), "dropout")
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout must be from 0 to 1; it is {dropout}")
    return Settings(
        kind,
        nonlinearity,
        sizes["num_layers"],
        bidirectional,
        sizes["proj_size"],
        sizes["hidden_size"] if "hidden_size" in values else None,
        dropout,
        batch_first,
    )
