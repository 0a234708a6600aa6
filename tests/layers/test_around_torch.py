"""torch as an outside oracle for layers around a recurrence: outputs and gradients in float64, of drawn sizes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import (
    Activation,
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    GlobalAvgPool1d,
    GlobalMaxPool1d,
    LayerNorm,
    MaxPool1d,
    PReLU,
)
from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.testing.strategies import arrays, neighbours

torch: Any = pytest.importorskip(
    "torch", reason="the extra 'oracles' (torch) is not installed: the comparisons with torch are left out"
)

pytestmark = pytest.mark.extras
nn, F = torch.nn, torch.nn.functional


def of_torch(layer: Any, leaves: dict[str, Any], x: Any) -> Any:
    """What torch makes of x (B, D, T) with a layer's weights; (B, D', T') or (B, D')."""
    if isinstance(layer, LayerNorm):
        y = F.layer_norm(x.mT, (layer.num_features,), leaves.get("g"), leaves.get("b"), layer.eps)
        return y.mT
    if isinstance(layer, BatchNorm1d):
        return F.batch_norm(x, leaves["mean"].detach(), leaves["var"].detach(), leaves["g"], leaves["b"], eps=layer.eps)
    if isinstance(layer, PReLU):
        return F.prelu(x, leaves["a"])
    if isinstance(layer, Activation):
        return F.hardswish(x)
    if isinstance(layer, GlobalMaxPool1d):
        return F.adaptive_max_pool1d(x, 1)[:, :, 0]
    if isinstance(layer, GlobalAvgPool1d):
        return F.adaptive_avg_pool1d(x, 1)[:, :, 0]
    sides, kernel, stride = (layer.left, layer.right), layer.kernel_size, layer.stride
    if isinstance(layer, Conv1d):
        weight = leaves["W"].reshape(kernel, -1, layer.out_channels).permute(2, 1, 0)
        padded = F.pad(x, sides)
        return F.conv1d(padded, weight, leaves.get("b"), stride, 0, layer.dilation, layer.groups)
    if isinstance(layer, MaxPool1d):
        return F.max_pool1d(F.pad(x, sides, value=-torch.inf), kernel, stride)
    total = F.avg_pool1d(F.pad(x, sides), kernel, stride)
    return total if layer.count_padding else total / F.avg_pool1d(F.pad(torch.ones_like(x), sides), kernel, stride)


def compare(layer: Layer, x: Array, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer.init(dtype="float64", backend="numpy")
    for name, weight in layer.named_weights().items():
        weight[...] = rng.random(weight.shape) + 0.1 if name == "var" else rng.normal(size=weight.shape)
    leaves = {name: torch.tensor(w, requires_grad=True) for name, w in layer.named_weights().items()}
    tx = torch.tensor(x.transpose(1, 2, 0).copy(), requires_grad=True)
    wanted = of_torch(layer, leaves, tx)
    ours = layer(x)[0]
    assert_close(ours if ours.ndim == 2 else ours.transpose(1, 2, 0), wanted)
    if layer.inference_only:
        return
    y, _, backward = layer.forward(x)
    dy = rng.normal(size=y.shape)
    dx, _ = backward(dy)
    (torch.tensor(dy if dy.ndim == 2 else dy.transpose(1, 2, 0).copy()) * wanted).sum().backward()
    assert dx is not None
    assert_close(dx.transpose(1, 2, 0), tx.grad)
    for name, gradient in layer.named_grads().items():
        assert_close(gradient, leaves[name].grad)


def assert_close(ours: Array, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-11, atol=1e-12)


COMPARED = (LayerNorm, PReLU, Conv1d, MaxPool1d, AvgPool1d)


@given(data=st.data())
def test_drawn_layers_agree_with_torch(data: st.DataObject) -> None:
    layer = data.draw(neighbours(data.draw(st.integers(1, 4))).filter(lambda one: isinstance(one, COMPARED)))
    x = data.draw(arrays((data.draw(st.integers(5, 9)), data.draw(st.integers(1, 3)), layer.input_size or 3)))
    compare(layer, x, data.draw(st.integers(0, 2**32 - 1)))


@pytest.mark.parametrize(
    "layer",
    [BatchNorm1d(3, 0.01), GlobalMaxPool1d(), GlobalAvgPool1d(), Activation("hard_swish")],
    ids=lambda layer: layer.describe(),
)
def test_other_layers_agree_with_torch(layer: Layer) -> None:
    compare(layer, np.random.default_rng(0).normal(0, 3, (6, 2, 3)), 1)


@pytest.mark.filterwarnings("ignore:Using padding")  # of an even kernel it makes a copy
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_same_padding_has_torchs_sides(kernel: int, dilation: int) -> None:
    ours = Conv1d(2, 3, kernel, padding="same", dilation=dilation).init(1, dtype="float64")
    theirs = nn.Conv1d(2, 3, kernel, padding="same", dilation=dilation).double()
    weights = ours.named_weights()
    with torch.no_grad():
        theirs.weight[...] = torch.tensor(weights["W"].reshape(kernel, 2, 3).transpose(2, 1, 0).copy())
        theirs.bias[...] = torch.tensor(weights["b"])
    x = np.random.default_rng(0).normal(size=(9, 2, 2))
    assert_close(ours(x)[0].transpose(1, 2, 0), theirs(torch.tensor(x.transpose(1, 2, 0).copy())))
