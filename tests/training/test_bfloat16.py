"""Training with products that round to bfloat16: the loss beside that of float32, checkpoints and the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from minirnn import Adam, load
from minirnn.cli.app import main
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.training.loop import train

TEXT = Text.from_string("the quick brown fox jumps over the lazy dog, and the dog does not mind. " * 40)


def training(compute: str | None, backend: str = "auto", steps: int = 60) -> Any:
    lm = LanguageModel.build(TEXT.vocab, cell="gru", hidden_size=32, embedding_size=16)
    lm.init(0, backend=backend, compute=compute)
    return train(lm, TEXT, Adam(lm.network, 0.01, clip=1.0), batch_size=8, num_steps=20, seed=0, steps=steps)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_loss_falls_as_that_of_float32_does(backend: str) -> None:
    curves = [[step.loss for step in training(compute, backend)] for compute in (None, "bfloat16")]
    plain, narrow = (np.array(curve) for curve in curves)
    assert plain[-1] < plain[0] / 3
    assert (np.abs(narrow - plain) < 0.02 * plain[0]).all()
    assert (narrow[1:] != plain[1:]).any()


def test_a_checkpoint_goes_on_bit_for_bit_and_with_the_same_products_alone() -> None:
    whole, first = training("bfloat16", steps=8), training("bfloat16", steps=8)
    for _ in whole:
        pass
    steps = iter(first)
    for _ in range(4):
        next(steps)
    state, second = first.state(), training("bfloat16", steps=8)
    second.restore(state)
    for _ in second:
        pass
    np.testing.assert_array_equal(second.lm.network.weights, whole.lm.network.weights)
    with pytest.raises(ValueError, match="another compute: compute was bfloat16, and is None"):
        training(None).restore(state)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_command_line_trains_resumes_and_shows_it(tmp_path: Path) -> None:
    file, run, out = tmp_path / "text", tmp_path / "run", tmp_path / "model.safetensors"
    file.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    small = ("--hidden-size", 16, "--batch-size", 4, "--checkpoint", run, "--every", 2, "--out", out)
    result = invoke("train", file, *small, "--steps", 4, "--compute", "bfloat16")
    assert result.exit_code == 0, result.output
    assert load(out).network.bound.compute == "bfloat16"
    assert "parameters, float32, products in bfloat16" in invoke("inspect", out).stdout
    assert json.loads(invoke("inspect", out, "--json").stdout)["compute"] == "bfloat16"
    result = invoke("train", "--checkpoint", run, "--resume", "--steps", 6)
    assert result.exit_code == 0, result.output
    assert load(out).network.bound.compute == "bfloat16"
    other = ("--dtype", "float64", "--compute", "bfloat16", "--checkpoint", tmp_path / "other")
    refused = invoke("train", file, *small, *other)
    assert refused.exit_code == 2
    assert "is for models in float32; got float64" in refused.output
