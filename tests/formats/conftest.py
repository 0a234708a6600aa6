"""Networks of model files have cells and functions of every kind: kernels of each would be compiled, for one call."""

import pytest


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIRNN_BACKEND", "numpy")
