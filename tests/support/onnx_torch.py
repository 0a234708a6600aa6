"""Networks of torch, and their exports to ONNX by both of its exporters."""

import io
import logging
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

torch: Any = pytest.importorskip("torch")
pytest.importorskip("onnx")
nn: Any = torch.nn

Array = NDArray[Any]


class Tagger(nn.Module):  # type: ignore[misc]  # torch may be absent where types are checked
    """Indices in, a score of each class at each step out."""

    def __init__(self, recurrent: Any, *, last: bool = False) -> None:
        super().__init__()
        ways = 2 if recurrent.bidirectional else 1
        self.embedding, self.recurrent = nn.Embedding(7, 5), recurrent
        self.out, self.last = nn.Linear(ways * 6, 3), last

    def forward(self, x: Any) -> Any:
        y, _ = self.recurrent(self.embedding(x))
        y = self.out(y[:, -1] if self.recurrent.batch_first else y[-1]) if self.last else self.out(y)
        return torch.log_softmax(y, -1)


class Packed(nn.Module):  # type: ignore[misc]  # as above
    """With lengths."""

    def __init__(self, recurrent: Any) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths)
        y, state = self.recurrent(packed)
        return nn.utils.rnn.pad_packed_sequence(y)[0], state


class Export(NamedTuple):
    """A network, what a call takes, and what of it varies in size."""

    make: Callable[[], Any]
    inputs: Callable[[int, int], tuple[Any, ...]]  # for T and B
    batch_first: bool = False


def floats(*, batch_first: bool = False) -> Callable[[int, int], tuple[Any, ...]]:
    return lambda T, B: (torch.randn(*((B, T) if batch_first else (T, B)), 5),)


def symbols(*, batch_first: bool = False) -> Callable[[int, int], tuple[Any, ...]]:
    return lambda T, B: (torch.randint(0, 7, (B, T) if batch_first else (T, B)),)


def with_state(rows: int, count: int) -> Callable[[int, int], tuple[Any, ...]]:
    def make(T: int, B: int) -> tuple[Any, ...]:
        state = tuple(torch.randn(rows, B, 6) for _ in range(count))
        return (torch.randn(T, B, 5), state if count > 1 else state[0])

    return make


def with_lengths(T: int, B: int) -> tuple[Any, ...]:
    return torch.randn(T, B, 5), torch.tensor([T, *([max(1, T - 1)] * (B - 1))])


EXPORTS = {
    "rnn": Export(lambda: nn.RNN(5, 6), floats()),
    "rnn relu, deep, both ways": Export(lambda: nn.RNN(5, 6, 2, "relu", bidirectional=True), floats()),
    "gru": Export(lambda: nn.GRU(5, 6), floats()),
    "gru, deep": Export(lambda: nn.GRU(5, 6, 3), floats()),
    "gru, no bias": Export(lambda: nn.GRU(5, 6, bias=False), floats()),
    "gru, batch first, both ways": Export(
        lambda: nn.GRU(5, 6, bidirectional=True, batch_first=True), floats(batch_first=True), batch_first=True
    ),
    "lstm": Export(lambda: nn.LSTM(5, 6), floats()),
    "lstm, deep, both ways": Export(lambda: nn.LSTM(5, 6, 2, bidirectional=True), floats()),
    "lstm, batch first": Export(lambda: nn.LSTM(5, 6, 2, batch_first=True), floats(batch_first=True), batch_first=True),
    "rnn, state": Export(lambda: nn.RNN(5, 6, 2), with_state(2, 1)),
    "gru, state": Export(lambda: nn.GRU(5, 6, bidirectional=True), with_state(2, 1)),
    "lstm, state": Export(lambda: nn.LSTM(5, 6, 2), with_state(2, 2)),
    "tagger": Export(lambda: Tagger(nn.LSTM(5, 6, 2, dropout=0.1)), symbols()),
    "tagger, batch first": Export(
        lambda: Tagger(nn.GRU(5, 6, bidirectional=True, batch_first=True)), symbols(batch_first=True), batch_first=True
    ),
    "classifier": Export(lambda: Tagger(nn.LSTM(5, 6), last=True), symbols()),
}


def flat(values: Any) -> list[Any]:
    return [v for value in values for v in flat(value)] if isinstance(values, (tuple, list)) else [values]


def exported(case: Export, T: int, B: int, *, dynamic: bool = True, opset: int | None = None) -> tuple[Any, bytes]:
    """The network, and its export by the exporter that torch has without further packages."""
    torch.manual_seed(0)
    network = case.make().eval()
    inputs, buffer = case.inputs(T, B), io.BytesIO()
    names = ["x", *(f"state_{k}" for k in range(len(flat(inputs)) - 1))]
    axes = {name: {1: "B"} for name in names} | {"x": {0: "B", 1: "T"} if case.batch_first else {0: "T", 1: "B"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            inputs,
            buffer,
            dynamo=False,
            input_names=names,
            dynamic_axes=axes if dynamic else None,
            opset_version=opset,
        )
    return network, buffer.getvalue()


def exported_anew(case: Export, T: int, B: int) -> tuple[Any, bytes]:
    """The same by torch's newer exporter, which needs onnxscript."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = case.make().eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, case.inputs(T, B), dynamo=True, verbose=False)
    data: bytes = program.model_proto.SerializeToString()
    return network, data


def expected(network: Any, inputs: tuple[Any, ...]) -> list[Array]:
    with torch.no_grad():
        return [y.numpy() for y in flat(network(*inputs))]


def arrays(inputs: tuple[Any, ...]) -> list[Array]:
    return [np.asarray(v.numpy()) for v in flat(inputs)]
