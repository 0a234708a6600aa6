"""Networks of torch's that are no chains: branches, sums, several inputs and outputs, states handed on, axes moved."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="the extra 'oracles' (torch) is not installed")
nn: Any = torch.nn
WAYS = ("scripted", "traced", "exported")


class Net(nn.Module):  # type: ignore[misc]  # torch may be absent where types are checked
    """The base: of these modules it has those of its ``parts``."""

    batch_first = True
    kinds: tuple[str, ...] = ("LayerGraph",)

    parts: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        first = self.batch_first
        known: dict[str, Callable[[], Any]] = {
            "embedding": lambda: nn.Embedding(7, 4),
            "lstm": lambda: nn.LSTM(4, 4, batch_first=first),
            "back": lambda: nn.LSTM(4, 4, bidirectional=True, batch_first=first),
            "gru": lambda: nn.GRU(4, 4, 2, batch_first=first),
            "next": lambda: nn.GRU(4, 4, 2, batch_first=first),
            "fc": lambda: nn.Linear(4, 4),
            "value": lambda: nn.Linear(4, 1),
            "pair": lambda: nn.Linear(8, 3),
            "conv": lambda: nn.Conv1d(4, 4, 3, padding=1),
            "norm": lambda: nn.BatchNorm1d(4),
            "slope": lambda: nn.PReLU(4),
            "attention": lambda: nn.MultiheadAttention(4, 2, batch_first=first),
            "ln": lambda: nn.LayerNorm(4),
            "largest": lambda: nn.AdaptiveMaxPool1d(1),
            "mean": lambda: nn.AdaptiveAvgPool1d(1),
        }
        for name in self.parts:
            setattr(self, name, known[name]())


def floats(*sizes: int) -> Any:
    return torch.from_numpy(np.random.default_rng(sum(sizes)).normal(size=sizes).astype("f4"))


class Residual(Net):
    """A sum around a recurrence and one around attention."""

    parts = (
        "lstm",
        "attention",
        "fc",
        "ln",
    )
    inputs = (floats(3, 5, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        y = y + x
        a, _ = self.attention(y, y, y)
        return self.fc(self.ln(torch.relu(a + y)))


class Gated(Net):
    """Products, differences, a largest."""

    parts = (
        "gru",
        "fc",
    )
    inputs = (floats(3, 5, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.gru(x)
        gate = torch.sigmoid(self.fc(x))
        return torch.maximum(gate * y - x, y)


class Heads(Net):
    """Two outputs, as an actor and a critic have."""

    parts = (
        "gru",
        "fc",
        "value",
    )
    inputs = (floats(3, 5, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.gru(x)
        y = y[:, -1]
        return self.fc(y), self.value(y)


class Inputs(Net):
    """Indices and floats that have no steps."""

    parts = (
        "lstm",
        "embedding",
        "pair",
        "fc",
    )
    inputs = (torch.tensor([[1, 2, 3], [4, 5, 6]]), floats(2, 4))

    def forward(self, x, z):  # type: ignore[no-untyped-def]
        _, (h, _) = self.lstm(self.embedding(x))
        return self.pair(torch.cat([h[-1], self.fc(z)], dim=1))


class Siamese(Net):
    """A layer that is called twice."""

    parts = (
        "gru",
        "embedding",
        "pair",
    )
    inputs = (torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[0, 1], [2, 3]]))

    def forward(self, x, z):  # type: ignore[no-untyped-def]
        _, h = self.gru(self.embedding(x))
        _, g = self.gru(self.embedding(z))
        return self.pair(torch.cat((h[-1], g[0]), dim=-1))


class Decoder(Net):
    """States from one layer to another, and a state of the first of two layers."""

    parts = (
        "gru",
        "next",
        "fc",
        "value",
    )
    inputs = (floats(3, 5, 4), floats(3, 2, 4))

    def forward(self, x, z):  # type: ignore[no-untyped-def]
        _, h = self.gru(x)
        y, _ = self.next(z, h)
        return self.fc(y), torch.relu(self.value(h[0]))


class Cells(Net):
    """c as well as h, and attention over what was read, with time first."""

    batch_first = False
    parts = (
        "lstm",
        "attention",
    )
    inputs = (floats(5, 3, 4), floats(2, 3, 4))

    def forward(self, x, z):  # type: ignore[no-untyped-def]
        memory, state = self.lstm(x)
        y, (_, c) = self.lstm(z, state)
        a, _ = self.attention(y, memory, memory)
        return torch.cat([a, y], dim=2), c[0]


class Fronted(Net):
    """A chain: a convolution and a norm over (B, D, T), a mean over steps."""

    kinds = ("Conv1d", "BatchNorm1d", "PReLU", "MaxPool1d", "LSTM", "GlobalAvgPool1d", "Linear")
    parts = (
        "slope",
        "norm",
        "conv",
        "lstm",
        "fc",
    )
    inputs = (floats(3, 6, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = torch.max_pool1d(self.slope(self.norm(self.conv(x.permute(0, 2, 1)))), 2)
        y, _ = self.lstm(x.transpose(1, 2))
        return self.fc(y.mean(dim=1))


class Turned(Net):
    """Rows first outside, time first within."""

    batch_first = False
    kinds = ("LSTM", "GlobalMaxPool1d", "Linear")
    parts = (
        "back",
        "pair",
    )
    inputs = (floats(3, 6, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.back(x.transpose(0, 1))
        return self.pair(torch.max(y, dim=0)[0])


class Pooled(Net):
    """The largest and the mean of all steps side by side, through torch's modules for it."""

    parts = (
        "gru",
        "pair",
        "largest",
        "mean",
    )
    inputs = (floats(3, 6, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y = self.gru(x)[0].transpose(1, 2)
        return self.pair(torch.cat([self.largest(y).squeeze(-1), self.mean(y).flatten(1)], dim=1))


NETS = (Residual, Gated, Heads, Inputs, Siamese, Decoder, Cells, Fronted, Turned, Pooled)


def program(cls: Any, way: str) -> tuple[Any, bytes]:
    """A network with weights drawn, and it as a program of that kind."""
    torch.manual_seed(0)
    net, file = cls().eval(), io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's, about itself
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                tensor.uniform_(0.2, 1) if name.endswith("var") else tensor.normal_(0, 0.5)
        if way == "exported":
            torch.export.save(torch.export.export(net, net.inputs), file)
        else:
            torch.jit.save(torch.jit.script(net) if way == "scripted" else torch.jit.trace(net, net.inputs), file)
    return net, file.getvalue()


def outputs_of(net: Any) -> list[Any]:
    """What it makes of its inputs, as arrays."""
    with torch.no_grad():
        made = net(*net.inputs)
    return [y.numpy() for y in (made if isinstance(made, tuple) else (made,))]
