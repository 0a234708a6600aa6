"""Opening a file of torch's and hearing what was assumed."""

import warnings
from pathlib import Path
from typing import Any

from minirnn import Layer, load


def written(data: bytes, tmp_path: Path) -> Path:
    """The path of a file with these bytes."""
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    return path


def said(path: Path, **about: Any) -> tuple[Layer, tuple[str, ...]]:
    """The model, and what was assumed, in one warning at most."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = load(path, backend="numpy", **about)
    assert len(seen) <= 1
    return model, tuple(detail for one in seen for detail in one.message.details)  # type: ignore[union-attr]
