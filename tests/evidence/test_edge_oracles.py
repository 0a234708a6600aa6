"""Joined models, float types and the order of axes, held against torch, ONNX and Keras."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minirnn
from minirnn import GRU, LSTM, Activation, Linear, Sequential, cross_entropy, mse
from minirnn.core.files import ModelFileWarning
from minirnn.formats.onnx import Graph, read

torch: Any = pytest.importorskip("torch", reason="torch is not installed, which these are held against")
ml_dtypes: Any = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed, which has bfloat16")
onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'minirnn[onnx]'")
pytest.importorskip("h5py", reason="h5py is not installed: pip install 'minirnn[keras]'")

pytestmark = pytest.mark.extras

RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 2, 3)).astype("f4")
KINDS = [np.float16, np.float64, np.longdouble, ml_dtypes.bfloat16]


def test_an_activation_between_loaded_layers_gives_what_torch_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lstm, fc = torch.nn.LSTM(3, 4), torch.nn.Linear(4, 2)
    state = {f"lstm.{k}": v for k, v in lstm.state_dict().items()} | {f"fc.{k}": v for k, v in fc.state_dict().items()}
    torch.save(state, tmp_path / "model.pt")
    loaded = minirnn.load(tmp_path / "model.pt", backend="numpy")
    net = Sequential(loaded[0], Activation("elu"), loaded[1])

    x = torch.tensor(X, requires_grad=True)
    wanted = fc(torch.nn.functional.elu(lstm(x)[0]))
    y, _, backward = net.forward(X)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(net(X)[0], y, rtol=0, atol=1e-6)
    dx, _ = backward(y)
    wanted.backward(wanted.detach())
    np.testing.assert_allclose(dx, x.grad, rtol=0, atol=1e-5)  # type: ignore[arg-type] # there is one
    grads = {
        name: dict(module.named_parameters())[there].grad
        for name, (module, there) in {
            "2.W": (fc, "weight"),
            "2.b": (fc, "bias"),
            "0.0.W": (lstm, "weight_ih_l0"),
            "0.0.U": (lstm, "weight_hh_l0"),
        }.items()
    }
    for name, grad in grads.items():
        assert grad is not None
        np.testing.assert_allclose(net.named_grads()[name], grad.numpy().T, rtol=1e-5, atol=1e-5)

    half = loaded.to(dtype="float64")
    np.testing.assert_array_equal(half.weights, loaded.weights)


def test_a_joined_model_is_converted_like_any_other(tmp_path: Path) -> None:
    model = Sequential(LSTM(3, 4), Linear(4, 5), GRU(5, 3), Linear(3, 2)).init(7, backend="numpy")
    model.weights = model.weights * 1.5
    net = Sequential(*model.layers[:3], Activation("relu"), model[3])
    y = net(X)[0]
    with pytest.warns(ModelFileWarning, match="without Activation"):
        assert set(minirnn.to_torch(net)) >= {"0.weight_ih_l0", "4.bias"}
    minirnn.to_onnx(net, tmp_path / "net.onnx")
    np.testing.assert_allclose(minirnn.load(tmp_path / "net.onnx", backend="numpy")(X)[0], y, rtol=1e-5, atol=1e-6)
    minirnn.to_keras(net, tmp_path / "net.keras")
    np.testing.assert_allclose(minirnn.load(tmp_path / "net.keras", backend="numpy")(X)[0], y, rtol=1e-5, atol=1e-6)


def test_a_module_of_torchs_with_the_batch_first_gives_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lstm, fc = torch.nn.LSTM(3, 4, batch_first=True), torch.nn.Linear(4, 3)
    state = {f"lstm.{k}": v for k, v in lstm.state_dict().items()} | {f"fc.{k}": v for k, v in fc.state_dict().items()}
    torch.save(state, tmp_path / "model.pt")
    model = minirnn.load(tmp_path / "model.pt", backend="numpy", batch_first=True)
    x = torch.tensor(X.swapaxes(0, 1).copy(), requires_grad=True)
    out, (h, c) = lstm(x)
    wanted = fc(out)
    y, (final, _) = model(x.detach())
    assert y.shape == (2, 6, 3)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(final[0], h.detach().numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(final[1], c.detach().numpy(), rtol=0, atol=1e-6)
    z, _, backward = model.forward(x.detach().numpy().astype("f8"))
    wanted.backward(torch.ones_like(wanted))
    assert x.grad is not None
    np.testing.assert_allclose(backward(np.ones(z.shape))[0], x.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_onnx_has_time_first_and_a_graph_its_own_order(tmp_path: Path) -> None:
    model = GRU(3, 4).init(0, backend="numpy")
    y, turned = model(X)[0], X.swapaxes(0, 1)
    model.batch_first = True
    minirnn.to_onnx(model, tmp_path / "gru.onnx")
    np.testing.assert_allclose(minirnn.load(tmp_path / "gru.onnx", backend="numpy")(X)[0], y, rtol=1e-5, atol=1e-6)
    both = minirnn.load(tmp_path / "gru.onnx", backend="numpy", batch_first=True)
    np.testing.assert_allclose(both(turned)[0], y.swapaxes(0, 1), rtol=1e-5, atol=1e-6)
    minirnn.to_onnx(Sequential(GRU(3, 4), Activation("softmax")).init(0, backend="numpy"), tmp_path / "graph.onnx")
    data = onnx.load(tmp_path / "graph.onnx")
    data.graph.node.append(onnx.helper.make_node("Mul", [data.graph.output[0].name] * 2, ["squared"]))
    data.graph.output[0].name = "squared"
    onnx.save(data, tmp_path / "graph.onnx")
    assert isinstance(minirnn.load(tmp_path / "graph.onnx"), Graph)
    with pytest.raises(ValueError, match=r"batch_first=True is for layers; .* holds a Graph"):
        minirnn.load(tmp_path / "graph.onnx", batch_first=True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_a_graph_takes_arrays_of_any_float_type(kind: Any, tmp_path: Path) -> None:
    model = Sequential(LSTM(3, 4), Linear(4, 2)).init(0, backend="numpy")
    minirnn.to_onnx(model, tmp_path / "model.onnx")
    graph, x = read(tmp_path / "model.onnx"), RNG.integers(-8, 9, (6, 2, 3)) / 8
    assert isinstance(graph, Graph)
    for got, wanted in zip(graph(x.astype(kind)), graph(x.astype("f4")), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_allclose(graph(x.astype(kind))[0], model(x.astype("f4"))[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"input x has numbers that are too large for float32"):
        graph(np.full((6, 2, 3), 1e300))
    for bad in (x.astype(int), x * 1j):
        with pytest.raises(ValueError, match=r"is expected; got"):
            graph(bad)


def test_bfloat16_is_taken_like_any_float() -> None:
    model, x = LSTM(3, 4).init(0, backend="numpy"), (RNG.integers(-8, 9, (6, 2, 3)) / 8).astype("f4")
    narrow = x.astype(ml_dtypes.bfloat16)
    y, _, backward = model.forward(narrow, lengths=[6, 2])
    z, _, back = model.forward(x, lengths=[6, 2])
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(backward(np.ones(y.shape, ml_dtypes.bfloat16))[0], back(np.ones(y.shape, "f4"))[0])
    np.testing.assert_array_equal(model.quantize("int8")(narrow)[0], model.quantize("int8")(x)[0])
    stream = model.stream(2)
    np.testing.assert_allclose([stream(step) for step in narrow], model(x)[0], rtol=1e-5, atol=1e-6)
    target, mask = np.ones(y.shape, ml_dtypes.bfloat16), np.eye(6, 2)
    (loss, dy), (wanted, dwanted) = mse(y, target, mask.astype(ml_dtypes.bfloat16)), mse(y, np.ones(y.shape), mask)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    np.testing.assert_allclose(dy, dwanted, rtol=1e-6)
    one, other = (cross_entropy(y, np.zeros((6, 2), int), m)[1] for m in (mask.astype(ml_dtypes.bfloat16), mask > 0))
    np.testing.assert_array_equal(one, other)
