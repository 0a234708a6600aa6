"""Programs of torch's that are no chains: branches, sums, several inputs and outputs, states handed on, axes moved."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirnn import LayerGraph, Sequential, load, save

torch: Any = pytest.importorskip("torch", reason="the extra 'oracles' (torch) is not installed")
nn: Any = torch.nn

pytestmark = pytest.mark.extras


class Net(nn.Module):  # type: ignore[misc]  # torch may be absent where types are checked
    """The base: an LSTM, a GRU, a Linear, an Embedding, each of some."""

    batch_first = True
    kinds: tuple[str, ...] = ("LayerGraph",)

    def __init__(self) -> None:
        super().__init__()
        first = self.batch_first
        self.embedding = nn.Embedding(7, 4)
        self.lstm, self.back = nn.LSTM(4, 4, batch_first=first), nn.LSTM(4, 4, bidirectional=True, batch_first=first)
        self.gru, self.next = nn.GRU(4, 4, 2, batch_first=first), nn.GRU(4, 4, 2, batch_first=first)
        self.fc, self.value, self.pair = nn.Linear(4, 4), nn.Linear(4, 1), nn.Linear(8, 3)
        self.conv, self.norm, self.slope = nn.Conv1d(4, 4, 3, padding=1), nn.BatchNorm1d(4), nn.PReLU(4)
        self.attention, self.ln = nn.MultiheadAttention(4, 2, batch_first=first), nn.LayerNorm(4)


def floats(*sizes: int) -> Any:
    return torch.from_numpy(np.random.default_rng(sum(sizes)).normal(size=sizes).astype("f4"))


class Residual(Net):
    """A sum around a recurrence and one around attention."""

    inputs = (floats(3, 5, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        y = y + x
        a, _ = self.attention(y, y, y)
        return self.fc(self.ln(torch.relu(a + y)))


class Gated(Net):
    """Products, differences, a largest."""

    inputs = (floats(3, 5, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.gru(x)
        gate = torch.sigmoid(self.fc(x))
        return torch.maximum(gate * y - x, y)


class Heads(Net):
    """Two outputs, as an actor and a critic have."""

    inputs = (floats(3, 5, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.gru(x)
        y = y[:, -1]
        return self.fc(y), self.value(y)


class Inputs(Net):
    """Indices and floats that have no steps."""

    inputs = (torch.tensor([[1, 2, 3], [4, 5, 6]]), floats(2, 4))

    def forward(self, x, z):  # type: ignore[no-untyped-def]
        _, (h, _) = self.lstm(self.embedding(x))
        return self.pair(torch.cat([h[-1], self.fc(z)], dim=1))


class Siamese(Net):
    """A layer that is called twice."""

    inputs = (torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[0, 1], [2, 3]]))

    def forward(self, x, z):  # type: ignore[no-untyped-def]
        _, h = self.gru(self.embedding(x))
        _, g = self.gru(self.embedding(z))
        return self.pair(torch.cat((h[-1], g[0]), dim=-1))


class Decoder(Net):
    """States from one layer to another, and a state of the first of two layers."""

    inputs = (floats(3, 5, 4), floats(3, 2, 4))

    def forward(self, x, z):  # type: ignore[no-untyped-def]
        _, h = self.gru(x)
        y, _ = self.next(z, h)
        return self.fc(y), torch.relu(self.value(h[0]))


class Cells(Net):
    """c as well as h, and attention over what was read, with time first."""

    batch_first = False
    inputs = (floats(5, 3, 4), floats(2, 3, 4))

    def forward(self, x, z):  # type: ignore[no-untyped-def]
        memory, state = self.lstm(x)
        y, (_, c) = self.lstm(z, state)
        a, _ = self.attention(y, memory, memory)
        return torch.cat([a, y], dim=2), c[0]


class Fronted(Net):
    """A chain: a convolution and a norm over (B, D, T), a mean over steps."""

    kinds = ("Conv1d", "BatchNorm1d", "PReLU", "MaxPool1d", "LSTM", "GlobalAvgPool1d", "Linear")
    inputs = (floats(3, 6, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = torch.max_pool1d(self.slope(self.norm(self.conv(x.permute(0, 2, 1)))), 2)
        y, _ = self.lstm(x.transpose(1, 2))
        return self.fc(y.mean(dim=1))


class Turned(Net):
    """Rows first outside, time first within."""

    batch_first = False
    kinds = ("LSTM", "GlobalMaxPool1d", "Linear")
    inputs = (floats(3, 6, 4),)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.back(x.transpose(0, 1))
        return self.pair(torch.max(y, dim=0)[0])


class Pooled(Net):
    """The largest and the mean of all steps side by side, through torch's modules for it."""

    inputs = (floats(3, 6, 4),)

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.mean = nn.AdaptiveMaxPool1d(1), nn.AdaptiveAvgPool1d(1)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y = self.gru(x)[0].transpose(1, 2)
        return self.pair(torch.cat([self.largest(y).squeeze(-1), self.mean(y).flatten(1)], dim=1))


NETS = (Residual, Gated, Heads, Inputs, Siamese, Decoder, Cells, Fronted, Turned, Pooled)


def written(cls: Any, way: str, path: Path) -> tuple[Any, Path]:
    torch.manual_seed(0)
    net = cls().eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's, about itself
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                tensor.uniform_(0.2, 1) if name.endswith("var") else tensor.normal_(0, 0.5)
        if way == "exported":
            torch.export.save(torch.export.export(net, net.inputs), path)
        else:
            program = torch.jit.script(net) if way == "scripted" else torch.jit.trace(net, net.inputs)
            program.save(str(path))
    return net, path


# of attention to another sequence a trace and a graph have products of parts of its weights
CASES = [
    (cls, way) for cls in NETS for way in ("scripted", "traced", "exported") if cls is not Cells or way == "scripted"
]


@pytest.mark.parametrize(("cls", "way"), CASES)
def test_a_program_computes_what_it_computes_in_torch(cls: Any, way: str, tmp_path: Path) -> None:
    net, path = written(cls, way, tmp_path / "a.pt2")
    with torch.no_grad():
        made = net(*net.inputs)
    wanted = [y.numpy() for y in (made if isinstance(made, tuple) else (made,))]
    model = load(path)  # silently: warnings are errors here
    first = model.batch_first
    assert first is (cls.batch_first or cls is Turned)
    if isinstance(model, Sequential):
        assert tuple(type(layer).__name__ for layer in model.layers) == cls.kinds
        outputs = [model(net.inputs[0].numpy())[0]]
    else:
        assert isinstance(model, LayerGraph)
        assert cls.kinds == ("LayerGraph",)
        names = [entry.name for entry in model.entries]
        outputs = list(model.run({name: x.numpy() for name, x in zip(names, net.inputs, strict=True)})[0].values())
    assert len(outputs) == len(wanted)
    for y, theirs in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(y, theirs, rtol=0, atol=2e-6)
    save(model, tmp_path / "a.safetensors")  # and is one of minirnn's own from then on
    assert repr(load(tmp_path / "a.safetensors")) == repr(model)
