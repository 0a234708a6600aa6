"""What torch exports to ONNX computes here what it computes in torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_torch import EXPORTS, Export, Packed, arrays, expected, exported, exported_anew, torch, with_lengths

import minirnn
from minirnn import Layer
from minirnn.formats.onnx import Graph, read

pytestmark = pytest.mark.extras

Array = NDArray[Any]
every_export = pytest.mark.parametrize("case", EXPORTS.values(), ids=EXPORTS.keys())


def assert_close(found: Any, wanted: list[Array]) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 2e-6 * max(1.0, float(np.abs(b).max()))


@every_export
def test_an_export_computes_the_same_at_other_sizes(case: Export) -> None:
    network, data = exported(case, 4, 2)
    graph = read(data)
    for T, B in ((4, 2), (1, 1), (9, 3)):
        inputs = case.inputs(T, B)
        assert_close(graph(*arrays(inputs)), expected(network, inputs))


@every_export
def test_an_export_of_fixed_sizes_computes_the_same_at_those(case: Export) -> None:
    network, data = exported(case, 4, 2, dynamic=False)
    inputs = case.inputs(4, 2)
    assert_close(read(data)(*arrays(inputs)), expected(network, inputs))
    with pytest.raises(ValueError, match=r"input '.*' \(.*4.*\) .* is expected; got"):
        read(data)(*arrays(case.inputs(5, 2)))


@pytest.mark.parametrize(
    "name", ["rnn, state", "gru, batch first, both ways", "lstm, deep, both ways", "tagger", "classifier"]
)
def test_what_the_newer_exporter_writes_computes_the_same(name: str) -> None:
    case = EXPORTS[name]
    network, data = exported_anew(case, 4, 2)
    inputs = case.inputs(4, 2)
    assert_close(read(data)(*arrays(inputs)), expected(network, inputs))


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 18, 20])
def test_older_operator_sets_are_read(opset: int) -> None:
    for name in ("lstm, deep, both ways", "gru, batch first, both ways", "tagger", "classifier"):
        network, data = exported(EXPORTS[name], 4, 2, opset=opset)
        inputs = EXPORTS[name].inputs(6, 3)
        assert_close(read(data)(*arrays(inputs)), expected(network, inputs))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequences_become_lengths(bidirectional: bool) -> None:
    case = Export(lambda: Packed(torch.nn.LSTM(5, 6, bidirectional=bidirectional)), with_lengths)
    network, data = exported(case, 4, 3, dynamic=False)
    x, _ = with_lengths(4, 3)
    lengths = torch.tensor([4, 3, 1])  # sorted: else the exporter writes a sort
    assert_close(read(data)(*arrays((x, lengths))), expected(network, (x, lengths)))


@every_export
def test_the_layers_of_an_export_compute_the_same_with_time_first(case: Export) -> None:
    network, data = exported(case, 4, 2)
    layer = read(data).layers()
    for T, B in ((4, 2), (1, 1), (9, 3)):
        inputs = case.inputs(T, B)
        x, *states = arrays(inputs)
        state = None if not states else states[0] if len(states) == 1 else tuple(states)
        y, final = layer(x.swapaxes(0, 1) if case.batch_first else x, state)
        wanted, *ends = expected(network, inputs)
        assert_close([y], [wanted.swapaxes(0, 1) if case.batch_first and wanted.ndim == 3 else wanted])
        if ends:
            assert_close(final if isinstance(final, tuple) else (final,), ends)


@every_export
def test_a_plain_load_gives_layers_unless_the_batch_is_first(case: Export, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported(case, 4, 2)[1])
    assert isinstance(minirnn.load(path), Graph if case.batch_first else Layer)


# ---------------------------------------------------------------------- what is no chain


class Pooled(torch.nn.Module):  # type: ignore[misc]  # torch has no types
    """Steps weighed by scores of theirs: Linear(H, 1), softmax over time, a weighted sum."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(5, 6, batch_first=True, bidirectional=True)
        self.score, self.fc = torch.nn.Linear(12, 1), torch.nn.Linear(12, 3)

    def forward(self, x: Any) -> Any:
        h, _ = self.gru(x)
        weights = torch.softmax(torch.tanh(self.score(h)), dim=1)
        return self.fc((weights * h).sum(dim=1)), weights


class Heads(torch.nn.Module):  # type: ignore[misc]  # as above
    """MultiheadAttention over an LSTM, with a residual sum and a norm; two heads of answers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.norm = torch.nn.LSTM(5, 8, batch_first=True), torch.nn.LayerNorm(8)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.tags, self.score = torch.nn.Linear(8, 4), torch.nn.Linear(16, 1)

    def forward(self, x: Any) -> Any:
        h, (last, _) = self.lstm(x)
        attended, _ = self.attention(h, h, h, need_weights=False)
        y = self.norm(h + attended)
        return self.tags(y), self.score(torch.cat([y.amax(dim=1), last[0]], dim=-1))


class Translator(torch.nn.Module):  # type: ignore[misc]  # as above
    """An encoder and a decoder that scores the encoder's steps by products, and reads two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.writes = torch.nn.GRU(5, 6), torch.nn.GRU(4, 6)
        self.fc = torch.nn.Linear(12, 3)

    def forward(self, source: Any, target: Any) -> Any:
        h, end = self.reads(source)
        d, _ = self.writes(target, end)
        scores = torch.bmm(d.transpose(0, 1), h.permute(1, 2, 0))
        context = torch.bmm(torch.softmax(scores / 6**0.5, dim=-1), h.transpose(0, 1)).transpose(0, 1)
        return torch.log_softmax(self.fc(torch.cat([d, context], dim=-1)), dim=-1)


def batches(T: int, B: int) -> Any:
    return (torch.randn(B, T, 5),)


GRAPHS = {
    "pooled by scores": Export(Pooled, batches, batch_first=True),
    "heads": Export(Heads, batches, batch_first=True),
    "a translator": Export(Translator, lambda T, B: (torch.randn(T, B, 5), torch.randn(T, B, 4))),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("newer", [False, True])
def test_branches_and_attention_compute_the_same(name: str, newer: bool, tmp_path: Path) -> None:
    case = GRAPHS[name]
    network, data = exported_anew(case, 4, 2) if newer else exported(case, 4, 2, opset=17)
    (tmp_path / "model.onnx").write_bytes(data)
    graph = minirnn.load(tmp_path / "model.onnx")
    assert isinstance(graph, Graph)
    for T, B in ((4, 2),) if newer else ((4, 2), (4, 3)):
        inputs = case.inputs(T, B)
        assert_close(graph(*arrays(inputs)), expected(network, inputs))
