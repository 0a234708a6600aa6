"""Networks of torch's, drawn: an input, one or two recurrent modules, a head, and how the head reads what comes before.

Each is an object of a class of this module, so that it can be pickled whole, traced, scripted and exported, with its
input and with what ``load`` needs to be told where a file has weights alone.
"""

from random import Random
from typing import Any, NamedTuple

import torch

nn: Any = torch.nn

ACTIVATIONS = (
    nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Hardsigmoid,
    nn.ReLU6, lambda: nn.LeakyReLU(0.2), lambda: nn.ELU(0.5), lambda: nn.GELU(approximate="tanh"),
    lambda: nn.Threshold(0.1, 0.0),
)  # fmt: skip
NAMES = ("relu", "tanh", "sigmoid", "selu", "silu", "mish", "softplus", "softsign", "relu6")  # as minirnn has them


class Drawn(NamedTuple):
    """``modules`` are those of ``net`` and what stands between them, as ``load(..., modules=)`` takes them.

    ``x`` is an input for which ``batch_first`` says what its axes are.  ``plain`` is whether nothing has to be said.
    """

    net: Any
    x: Any
    batch_first: bool
    modules: list[str]
    nonlinearity: str
    plain: bool

    def expected(self) -> Any:
        """What torch computes, as an array."""
        with torch.no_grad():
            return self.net(self.x).numpy()


class Parts(nn.Module):  # type: ignore[misc]  # Any here
    """What the classes below have in common."""

    def __init__(self, front: Any, rnn: Any, head: Any) -> None:
        super().__init__()
        self.front, self.rnn, self.head = front, rnn, head


class EveryStep(Parts):
    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.rnn(self.front(x))
        return self.head(y)


class LastOfSteps(Parts):
    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.rnn(self.front(x))
        return self.head(y[-1])


class LastOfRows(Parts):
    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.rnn(self.front(x))
        return self.head(y[:, -1, :])


class FinalState(Parts):
    def forward(self, x):  # type: ignore[no-untyped-def]
        _, h = self.rnn(self.front(x))
        return self.head(h[-1])


class FinalStates(Parts):
    def forward(self, x):  # type: ignore[no-untyped-def]
        _, h = self.rnn(self.front(x))
        return self.head(torch.cat([h[-2], h[-1]], dim=1))


class FinalStateOfLSTM(Parts):
    def forward(self, x):  # type: ignore[no-untyped-def]
        _, (h, _) = self.rnn(self.front(x))
        return self.head(h[-1])


class FinalStatesOfLSTM(Parts):
    def forward(self, x):  # type: ignore[no-untyped-def]
        _, (h, _) = self.rnn(self.front(x))
        return self.head(torch.cat((h[-2, :, :], h[-1, :, :]), dim=-1))


def drawn(seed: int, *, named: bool = False) -> Drawn:
    """The network of that number; ``named`` ones have activations that a name without constants stands for."""
    rng = Random(seed)  # noqa: S311 - no secret
    torch.manual_seed(seed)
    D, H, out = rng.randint(1, 5), rng.randint(1, 5), rng.randint(1, 4)
    kind, both, first = rng.choice(["RNN", "GRU", "LSTM"]), rng.random() < 0.5, rng.random() < 0.5
    depth = rng.randint(1, 3)
    options: dict[str, Any] = {"bias": rng.random() < 0.8, "dropout": rng.choice([0.0, 0.3]) if depth > 1 else 0.0}
    if kind == "RNN":
        options["nonlinearity"] = rng.choice(["tanh", "relu"])
    if kind == "LSTM" and H > 1:
        options["proj_size"] = rng.choice([0, rng.randint(1, H - 1)])
    rnn = getattr(nn, kind)(D, H, depth, bidirectional=both, batch_first=first, **options)
    width = (options.get("proj_size") or H) * (2 if both else 1)

    def function() -> tuple[Any, str]:
        if named:
            name = rng.choice(NAMES)
            return {cls.__name__.lower(): cls for cls in ACTIVATIONS if isinstance(cls, type)}[name](), name
        return rng.choice(ACTIVATIONS)(), ""

    modules = []
    T, B, n = rng.randint(2, 5), rng.randint(2, 4), rng.randint(2, 9)
    begins = rng.choice(["embedding", "linear", "nothing"])
    if begins == "embedding":
        front: Any = nn.Embedding(n, D)
        modules.append("front")
        x = torch.randint(0, n, (B, T) if first else (T, B))
    else:
        width_in = rng.randint(1, 4) if begins == "linear" else D
        x = torch.randn((B, T, width_in) if first else (T, B, width_in))
        front = nn.Identity()
        if begins == "linear":
            layer, name = function()
            front = nn.Sequential(nn.Linear(width_in, D), layer)
            modules += ["front.0", name]
    reading = rng.choice(["every", "last", "final"])
    modules += ["rnn", *([] if reading == "every" else [reading])]
    ends = rng.choice(["nothing", "linear", "sequence"])
    head: Any = nn.Identity()
    if ends == "linear":
        head = nn.Linear(width, out, bias=rng.random() < 0.8)
        modules.append("head")
    elif ends == "sequence":
        layer, name = function()
        head = nn.Sequential(nn.Linear(width, 4), layer, nn.Dropout(0.2), nn.Linear(4, out))
        modules += ["head.0", name, "head.3"]
        if rng.random() < 0.5:
            head.append(nn.LogSoftmax(dim=-1))
            modules.append("log_softmax")
    lstm = kind == "LSTM"
    cls: Any = {
        "every": EveryStep,
        "last": LastOfRows if first else LastOfSteps,
        "final": ((FinalStatesOfLSTM if lstm else FinalStates) if both else (FinalStateOfLSTM if lstm else FinalState)),
    }[reading]
    net = cls(front, rnn, head).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape))
    plain = reading == "every" and begins != "linear" and not (both and ends != "nothing")
    return Drawn(net, x, first, [entry for entry in modules if entry], options.get("nonlinearity", "tanh"), plain)
