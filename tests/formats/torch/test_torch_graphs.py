"""Programs of torch's that are no chains, as torch writes them today."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_graphs import NETS, WAYS, Cells, Turned, outputs_of, program

from minirnn import LayerGraph, Sequential, load, save

pytestmark = pytest.mark.extras

# of attention to another sequence a trace and a graph have products of parts of its weights
CASES = [(cls, way) for cls in NETS for way in WAYS if cls is not Cells or way == "scripted"]


@pytest.mark.parametrize(("cls", "way"), CASES)
def test_a_program_computes_what_it_computes_in_torch(cls: Any, way: str, tmp_path: Path) -> None:
    net, data = program(cls, way)
    (tmp_path / "a.pt2").write_bytes(data)
    model = load(tmp_path / "a.pt2")  # silently: warnings are errors here
    assert model.batch_first is (cls.batch_first or cls is Turned)
    inputs, wanted = [x.numpy() for x in net.inputs], outputs_of(net)
    if isinstance(model, Sequential):
        assert tuple(type(layer).__name__ for layer in model.layers) == cls.kinds
        outputs = [model(inputs[0])[0]]
    else:
        assert isinstance(model, LayerGraph)
        assert cls.kinds == ("LayerGraph",)
        named = {entry.name: x for entry, x in zip(model.entries, inputs, strict=True)}
        outputs = list(model.run(named)[0].values())
    assert len(outputs) == len(wanted)
    for y, theirs in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(y, theirs, rtol=0, atol=2e-6)
    save(model, tmp_path / "a.safetensors")  # and is one of minirnn's own from then on
    assert repr(load(tmp_path / "a.safetensors")) == repr(model)
