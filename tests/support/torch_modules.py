"""Networks of torch's, drawn, and what it takes to hold them against minirnn's."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import Layer

torch: Any = pytest.importorskip(
    "torch", reason="the extra 'oracles' (torch) is not installed: its files are not compared with it"
)
from safetensors.torch import load_file as load_file  # noqa: E402 - needs torch; for tests
from safetensors.torch import save_file  # noqa: E402

torch.set_num_threads(1)

Array: TypeAlias = NDArray[Any]
T, B = 4, 2
KINDS = ["RNN", "GRU", "LSTM"]
ENDINGS = [".pt", ".pth", ".safetensors"]
every_ending = pytest.mark.parametrize("ending", ENDINGS)


class Net(torch.nn.Module):  # type: ignore[misc]  # torch is Any here
    """Modules one after another, as attributes by name."""

    def __init__(self, **modules: Any) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Any) -> Any:
        for module in self.children():
            x = module(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


def drawn(module: Any, dtype: str = "float32", seed: int = 0) -> Any:
    """The module with every parameter drawn, so that none can take another's place unseen."""
    module = module.to(getattr(torch, dtype)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def write(state: Any, path: Path) -> Path:
    save_file(dict(state), path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def an_input(layer: Layer) -> Array:
    rng = np.random.default_rng(1)
    if layer.floats:
        return rng.normal(size=(T, B, layer.input_size or 0)).astype(layer.bound.dtype)
    return rng.integers(0, layer.input_size or 0, (T, B))


def of_torch(module: Any, x: Array) -> Array:
    with torch.no_grad():
        y = module(torch.tensor(x))
    found: Array = (y[0] if isinstance(y, tuple) else y).numpy()
    return found


def off(a: Array, b: Array) -> float:
    """How far apart two outputs are, as a part of the tolerance of their dtype."""
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    tolerance = 2e-6 if a.dtype == np.float32 else 1e-13
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()) / tolerance)


def assert_computes(layer: Layer, module: Any) -> None:
    x = an_input(layer)
    assert off(layer(x)[0], of_torch(module, x)) < 1


@st.composite
def recurrent(draw: st.DrawFn, input_size: int | None = None) -> tuple[Any, str]:
    """A recurrent module of torch's, and its nonlinearity."""
    kind, size = draw(st.sampled_from(KINDS)), st.integers(1, 4)
    options: dict[str, Any] = {
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    nonlinearity = draw(st.sampled_from(["tanh", "relu"]))
    H = draw(size)
    if kind == "RNN":
        options["nonlinearity"] = nonlinearity
    elif kind == "LSTM":
        options["proj_size"] = draw(st.integers(0, H - 1))
    return getattr(torch.nn, kind)(input_size or draw(size), H, **options), nonlinearity


def width_of(module: Any) -> int:
    """Features that a recurrent module puts out."""
    width: int = (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    return width


def ready(model: Layer, dtype: str = "float32", seed: int = 0) -> Layer:
    model.init(dtype=dtype, overwrite=True)
    rng = np.random.default_rng(seed)
    for w in model.named_weights().values():
        w[...] = rng.normal(0, 0.6, w.shape)
    return model
