"""torch's MultiheadAttention in files of torch's: whole modules, programs, state dicts, and what is written for it."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirnn import LSTM, LayerNorm, Linear, ModelFileError, ModelFileWarning, MultiHeadAttention, Sequential, to_torch
from minirnn.formats import torch as torch_files

torch: Any = pytest.importorskip("torch", reason="the extra 'oracles' (torch) is not installed")
nn: Any = torch.nn

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # of torch's, by itself

X = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("f4")


class Attentive(nn.Module):  # type: ignore[misc]  # torch may be absent where types are checked
    """An LSTM whose steps read each other, a norm, a Linear at every step."""

    def __init__(self, *, first: bool = True, bias: bool = True, affine: bool = True, **options: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=first)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=first, bias=bias, **options)
        self.norm = nn.LayerNorm(6, eps=0.1, elementwise_affine=affine)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        a, _ = self.attention(y, y, y)
        return self.fc(self.norm(a))


class OfEarlier(Attentive):
    """Each step reads those before it."""

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        mask = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
        a, _ = self.attention(y, y, y, attn_mask=mask)
        return self.fc(self.norm(a))


class OfTheInput(Attentive):
    """The keys are another sequence than the query."""

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        a, _ = self.attention(y, -y, -y)
        return self.fc(self.norm(a))


class Scores(Attentive):
    """The answer is which step reads which."""

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        _, a = self.attention(y, y, y)
        return self.fc(self.norm(y)) + a.sum()


def drawn(net: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.7)
    return net.eval()


def written(net: Any, way: str, path: Path) -> Path:
    x = torch.from_numpy(X)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's, about itself
        if way == "whole":
            torch.save(net, path)
        elif way == "exported":
            torch.export.save(torch.export.export(net, (x,)), path)
        else:
            program = torch.jit.script(net) if way == "scripted" else torch.jit.trace(net, x)
            program.save(str(path))
    return path


@pytest.mark.parametrize(
    ("way", "options"),
    # torch scripts none without biases, and traces one of time first with axes turned before it and behind it
    [
        *((way, {"affine": False}) for way in ("whole", "scripted", "traced", "exported")),
        *((way, {"first": False}) for way in ("whole", "scripted", "exported")),
        *((way, {"bias": False}) for way in ("whole", "exported")),
    ],
    ids=str,
)
def test_attention_in_a_file_computes_what_torch_computes(way: str, options: dict[str, Any], tmp_path: Path) -> None:
    net = drawn(Attentive(**options))
    x = X if options.get("first", True) else X.transpose(1, 0, 2).copy()
    path = written(net, way, tmp_path / "a.pt2")
    if way == "whole":  # its class does not say in which order it computes
        with pytest.warns(ModelFileWarning, match="'attention' reads one sequence as its query, its keys and its val"):
            model = torch_files.load(path)
    else:
        model = torch_files.load(path)  # silently: warnings are errors here
    assert isinstance(model, Sequential)
    assert model.batch_first is options.get("first", True)
    with torch.no_grad():
        np.testing.assert_allclose(model(x)[0], net(torch.from_numpy(x)).numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("cls", "way"),
    [*((cls, way) for cls in (OfEarlier, OfTheInput) for way in ("scripted", "exported")), (Scores, "exported")],
)
def test_what_reads_more_than_one_sequence_is_no_chain(cls: Any, way: str, tmp_path: Path) -> None:
    path = written(drawn(cls()), way, tmp_path / "a.pt2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ModelFileWarning)
        try:
            torch_files.load(path)
            said = str(caught[0].message)
        except ModelFileError as error:
            said = str(error)
    assert re.search("not all of its (code|graph) is layers|whose number of heads no state dict has", said)
    assert len(torch_files.load(path, modules=["lstm", "norm", "fc"]).layers) == 3  # type: ignore[attr-defined]


def test_a_state_dict_does_not_say_how_many_heads_there_are(tmp_path: Path) -> None:
    torch.save(drawn(Attentive()).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match=r"'attention' looks like an nn.MultiheadAttention, whose number of heads"):
        torch_files.load(tmp_path / "a.pt", modules=["lstm", "attention", "norm", "fc"])
    behind = torch_files.load(tmp_path / "a.pt", modules=["norm", "fc"])
    assert [type(layer) for layer in behind.layers] == [LayerNorm, Linear]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"add_bias_kv": True}, "'attention' unknown, with .*bias_k"),
        ({"add_zero_attn": True}, "add_zero_attn must be False; it is True"),
        ({"kdim": 5}, "not all of them are layers of minirnn"),
    ],
    ids=str,
)
def test_what_no_layer_does_is_refused(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    torch.save(Attentive(**options), tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match=words):
        torch_files.load(tmp_path / "a.pt")


@pytest.mark.parametrize("bias", [True, False])
def test_what_is_written_is_loaded_strictly(bias: bool) -> None:
    model = Sequential(LSTM(4, 6), MultiHeadAttention(6, 2, bias=bias), Linear(6, 2)).init(0)
    with pytest.warns(ModelFileWarning, match=r"without MultiHeadAttention's num_heads=2 \(layer 1\)"):
        state = to_torch(model, names=["lstm", "attention", "fc"])
    net = Attentive(first=False, bias=bias, affine=False)
    net.norm = nn.Identity()
    net.load_state_dict(state)
    x = X.transpose(1, 0, 2).copy()
    with torch.no_grad():
        np.testing.assert_allclose(net(torch.from_numpy(x)).numpy(), model(x)[0], rtol=0, atol=1e-6)


def test_heads_that_torch_has_not_are_not_written() -> None:
    with pytest.raises(ValueError, match="torch has no module like MultiHeadAttention"):
        to_torch(Sequential(MultiHeadAttention(6, 3, 4), Linear(6, 2)).init(0))
