"""What tests of kernels share."""

import pytest


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are worth their while for any work, and are waited for."""
    dispatch = "minirnn.kernels.cpu.dispatch"
    for name, value in {"TOGETHER": -1, "WAKING": -1, "MEETING": -1, "PATIENCE": 1_000_000}.items():
        monkeypatch.setattr(f"{dispatch}.{name}", value)
    monkeypatch.setattr("minirnn.kernels.cpu.runtime.TOGETHER", -1)  # which short calls read
