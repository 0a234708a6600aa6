"""Norms, convolutions and pools in files of torch's: whole modules, state dicts, and what is written for torch."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirnn import GRU, LSTM, Layer, Linear, ModelFileError, ModelFileWarning, Sequential, to_torch
from minirnn.formats import torch as torch_files
from minirnn.layers import (
    Activation,
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    Flatten,
    GlobalAvgPool1d,
    LayerNorm,
    MaxPool1d,
    PReLU,
)

torch: Any = pytest.importorskip("torch", reason="the extra 'oracles' (torch) is not installed")
nn: Any = torch.nn

pytestmark = pytest.mark.extras


class Listener(nn.Module):  # type: ignore[misc]  # torch may be absent where types are checked
    """x (B, T, 4): convolutions, a pool, a recurrence, a norm, a Linear at every step."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(4, 6, 3, **options),
            nn.Hardswish(),
            nn.BatchNorm1d(6, eps=0.01),
            nn.MaxPool1d(2),
            nn.Conv1d(6, 6, 1, groups=3, bias=False),
            nn.PReLU(),
            nn.AvgPool1d(3, 1, padding=1, count_include_pad=False),
        )
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.norm = nn.LayerNorm(5, eps=0.1)
        self.slopes = nn.PReLU(5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        y, _ = self.lstm(self.front(x.transpose(1, 2)).transpose(1, 2))
        return self.fc(self.slopes(self.norm(y).transpose(1, 2)).transpose(1, 2))


def drawn(net: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.dtype == torch.float32:
                tensor.uniform_(0.2, 1) if name.endswith("var") else tensor.normal_(0, 0.5)
    return net.eval()


def computed(net: Any, x: Any) -> Any:
    with torch.no_grad():
        return net(torch.from_numpy(x)).numpy()


X = np.random.default_rng(0).normal(size=(3, 12, 4)).astype("f4")


@pytest.mark.parametrize(
    "options",
    [{"padding": "same"}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}, {"padding": (2,), "bias": False}],
    ids=str,
)
def test_a_whole_module_says_what_its_layers_were_made_with(options: dict[str, Any], tmp_path: Path) -> None:
    net = drawn(Listener(**options))
    torch.save(net, tmp_path / "a.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelFileWarning)
        model = torch_files.load(tmp_path / "a.pt")
    assert isinstance(model, Sequential)
    kinds = "Conv1d Activation BatchNorm1d MaxPool1d Conv1d PReLU AvgPool1d LSTM LayerNorm PReLU Linear"
    assert [type(layer).__name__ for layer in model.layers] == kinds.split()
    np.testing.assert_allclose(model(X, batch_first=True)[0], computed(net, X), rtol=0, atol=3e-6)


class Tagger(nn.Module):  # type: ignore[misc]  # as above
    """Of layers that a state dict shows whole."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.before, self.gru = nn.BatchNorm1d(4, **options), nn.GRU(4, 5, batch_first=True)
        self.norm, self.fc, self.slope = nn.LayerNorm(5), nn.Linear(5, 3), nn.PReLU(3)

    def forward(self, x: Any) -> Any:
        y, _ = self.gru(self.before(x.transpose(1, 2)).transpose(1, 2))
        return self.slope(self.fc(self.norm(y)).transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("affine", [True, False])
def test_norms_are_known_by_a_state_dict_with_torchs_epsilon(affine: bool, tmp_path: Path) -> None:
    net = drawn(Tagger(affine=affine))
    torch.save(net.state_dict(), tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match=r"modules are no chain.*'slope', an nn.PReLU or a LayerNorm without"):
        torch_files.load(tmp_path / "a.pt")
    with pytest.warns(ModelFileWarning) as caught:
        model = torch_files.load(tmp_path / "a.pt", kinds={"slope": "PReLU"})
    assert [str(words) for words in caught[0].message.details] == [  # type: ignore[union-attr] # it has details
        "'before' is an nn.BatchNorm1d with eps 1e-05, torch's default",
        "'norm' is an nn.LayerNorm with eps 1e-05, torch's default",
    ]
    np.testing.assert_allclose(model(X, batch_first=True)[0], computed(net, X), rtol=0, atol=3e-6)
    named = torch_files.load(
        tmp_path / "a.pt", modules=["before", "gru", "norm", "fc", "slope"], kinds={"slope": "PReLU"}
    )
    np.testing.assert_array_equal(named(X, batch_first=True)[0], model(X, batch_first=True)[0])


def test_a_convolution_of_a_state_dict_is_refused_and_what_is_behind_it_is_not(tmp_path: Path) -> None:
    net = drawn(Listener())
    torch.save(net.state_dict(), tmp_path / "a.pt")
    with pytest.raises(
        ModelFileError, match=r"'front.0' looks like an nn.Conv1d, whose stride, padding and dilation no"
    ):
        torch_files.load(tmp_path / "a.pt", modules=["front.0", "lstm"])
    behind: list[str | Layer] = ["lstm", "norm", MaxPool1d(2), GlobalAvgPool1d(), "fc"]
    model = torch_files.load(tmp_path / "a.pt", modules=behind)
    assert isinstance(model, Sequential)
    assert [type(layer).__name__ for layer in model.layers[2:]] == ["MaxPool1d", "GlobalAvgPool1d", "Linear"]


def test_a_flatten_between_modules_has_a_width_of_its_own(tmp_path: Path) -> None:
    torch.save({"gru.weight_ih_l0": torch.zeros(6, 3), "gru.weight_hh_l0": torch.zeros(6, 2),
                "fc.weight": torch.zeros(4, 10)}, tmp_path / "a.pt")  # fmt: skip
    model = torch_files.load(tmp_path / "a.pt", modules=["gru", Flatten(5, 2), "fc"])
    assert model(np.zeros((5, 1, 3), "f4"))[0].shape == (1, 4)
    with pytest.raises(ModelFileError, match="they do not fit one after another"):
        torch_files.load(tmp_path / "a.pt", modules=["gru", Flatten(4, 2), "fc"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Listener(padding_mode="circular", padding=1), "padding_mode must be zeros; it is 'circular'"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.MaxPool1d(2, ceil_mode=True)), "ceil_mode must be 0|must be False"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.AdaptiveAvgPool1d(2)), "output_size must be 1; it is 2"),
        (lambda: Listener(stride=2, padding=5), "padding may be at most 2 steps"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4)), "not all of them are layers of minirnn"),
    ],
)
def test_what_no_layer_does_is_refused(make: Any, words: str, tmp_path: Path) -> None:
    torch.save(make(), tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match=words):
        torch_files.load(tmp_path / "a.pt")


def test_a_variance_below_zero_is_refused(tmp_path: Path) -> None:
    state = nn.BatchNorm1d(2).state_dict() | {"running_var": torch.tensor([1.0, -1.0])}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match="weight var, a variance, must not be below 0; it holds -1"):
        torch_files.load(tmp_path / "a.pt", modules=[""])


# ---------------------------------------------------------------------- written


def test_what_is_written_is_loaded_strictly() -> None:
    model: Layer = Sequential(
        *(Conv1d(4, 6, 3, 2, padding=1, groups=2), BatchNorm1d(6), PReLU(6), GRU(6, 5), LayerNorm(5, gain=False)),
        *(AvgPool1d(2), Activation("relu"), LSTM(5, 2), LayerNorm(2, gain=False, bias=False), Linear(2, 3)),
    ).init(0)
    with pytest.warns(ModelFileWarning, match=r"Conv1d's stride=2 \(layer 0\), Conv1d's padding=1 .*AvgPool1d"):
        state = to_torch(model)
    net = nn.Sequential(
        *(nn.Conv1d(4, 6, 3, 2, 1, groups=2), nn.BatchNorm1d(6), nn.PReLU(6), nn.GRU(6, 5), nn.LayerNorm(5)),
        *(nn.AvgPool1d(2), nn.ReLU(), nn.LSTM(5, 2), nn.LayerNorm(2, elementwise_affine=False), nn.Linear(2, 3)),
    )
    net.load_state_dict(state)
    x = np.random.default_rng(0).normal(size=(9, 2, 4)).astype("f4")
    with torch.no_grad():
        theirs = net[0](torch.from_numpy(x).permute(1, 2, 0)).permute(2, 0, 1).numpy()
    np.testing.assert_allclose(model.layers[0].to()(x)[0], theirs, rtol=0, atol=1e-6)  # type: ignore[attr-defined]
