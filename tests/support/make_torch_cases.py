"""``python tests/support/make_torch_cases.py``, where torch is: ``torch_cases.json`` anew.

Modules whose state dicts do not say all that they compute, with what torch computes of an input.
"""

import json
from pathlib import Path
from typing import Any

import torch

nn: Any = torch.nn
PATH = Path(__file__).parents[1] / "formats/torch/torch_cases.json"


class Modules(nn.Module):  # type: ignore[misc]  # Any here
    """Modules by name."""

    def __init__(self, **modules: Any) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)


def net(**modules: Any) -> Any:
    """A module of these."""
    return Modules(**modules)


def cases() -> dict[str, tuple[Any, Any, Any, dict[str, Any]]]:
    """Of each case the module, its forward, its input, and the arguments of ``load`` that say what it computes."""
    indices, floats = torch.tensor([[0, 3], [4, 1], [2, 2]]), torch.randn(4, 2, 3)
    head = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Dropout(), nn.Linear(3, 2))
    gap = net(lstm=nn.LSTM(3, 3), head=head)
    two = net(gru=nn.GRU(3, 4), fc1=nn.Linear(4, 3), fc2=nn.Linear(3, 2))
    tagger = net(emb=nn.Embedding(5, 3), lstm=nn.LSTM(3, 2, 2, bidirectional=True), fc=nn.Linear(4, 2))
    last = net(rnn=nn.RNN(3, 4), out=nn.Sequential(nn.Dropout(), nn.Linear(4, 3), nn.LogSoftmax(-1)))
    parts = net(encoder=net(rnn=nn.GRU(3, 3), out=nn.Linear(3, 3)), decoder=net(rnn=nn.GRU(3, 3), out=nn.Linear(3, 2)))
    swapped = net(a=nn.GRU(3, 3), b=nn.LSTM(3, 3))
    enter = net(enter=nn.Linear(3, 4), lstm=nn.LSTM(4, 2), leave=nn.Linear(2, 1))
    return {
        "a gap in an nn.Sequential": (
            gap,
            lambda x: gap.head(gap.lstm(x)[0]),
            floats,
            {"modules": ["lstm", "head.0", "relu", "head.3"]},
        ),
        "two Linears in a row": (
            two,
            lambda x: two.fc2(torch.tanh(two.fc1(two.gru(x)[0]))),
            floats,
            {"modules": ["gru", "fc1", "tanh", "fc2"]},
        ),
        "final states of both directions": (
            tagger,
            lambda x: tagger.fc(torch.cat(list(tagger.lstm(tagger.emb(x))[1][0][-2:]), -1)),
            indices,
            {"modules": ["emb", "lstm", "final", "fc"]},
        ),
        "the last step of both directions": (
            tagger,
            lambda x: tagger.fc(tagger.lstm(tagger.emb(x))[0][-1]),
            indices,
            {"modules": ["emb", "lstm", "last", "fc"]},
        ),
        "the last step": (
            last,
            lambda x: last.out(last.rnn(x)[0][-1]),
            floats,
            {"modules": ["rnn", "last", "out.1", "log_softmax"]},
        ),
        "a decoder alone": (
            parts,
            lambda x: parts.decoder.out(parts.decoder.rnn(x)[0]),
            floats,
            {"prefix": "decoder."},
        ),
        "the order of the code": (swapped, lambda x: swapped.a(swapped.b(x)[0])[0], floats, {"modules": ["b", "a"]}),
        "an activation before a recurrent module": (
            enter,
            lambda x: torch.sigmoid(enter.leave(enter.lstm(torch.relu(enter.enter(x)))[0])),
            floats,
            {"modules": ["enter", "relu", "lstm", "leave", "sigmoid"]},
        ),
    }


def main() -> None:
    """Write the file."""
    torch.manual_seed(0)
    stored = {}
    for name, (module, forward, x, about) in cases().items():
        module.eval()
        with torch.no_grad():
            for p in module.parameters():
                p.copy_((0.7 * torch.randn(p.shape)).round(decimals=3))
            y = forward(x)
        state = {
            key: {"shape": list(t.shape), "values": [round(v, 3) for v in t.flatten().tolist()]}
            for key, t in module.state_dict().items()
        }
        stored[name] = {"state": state, "x": x.tolist(), "y": y.tolist(), "about": about}
    PATH.write_text(json.dumps({"torch": torch.__version__, "cases": stored}) + "\n")


if __name__ == "__main__":
    main()
