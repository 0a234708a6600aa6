"""What a trace shows over time, drawn: the numbers are those of the trace."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from minirnn import GRU, LSTM, Linear, Sequential, cross_entropy
from minirnn.cli.app import main
from minirnn.explain import trace
from minirnn.explain.pictures import FAINTEST, draw_flow, draw_gates, draw_text, flow_of
from minirnn.language.text import Text

TEXT = Text.from_string("the unrolled network")


def test_flow_is_the_gradient_of_each_steps_loss_alone() -> None:
    network = Sequential(GRU(TEXT.vocab_size, 6), Linear(6, TEXT.vocab_size)).init(1, dtype="float64")
    x, targets = TEXT.indices[:-1], TEXT.indices[1:]
    flow = flow_of(network, x, targets)
    T = len(x)
    assert flow.norms.shape == (T, T)
    assert not np.triu(flow.norms, 1).any()  # a loss does not depend on what comes after it
    assert (np.tril(flow.norms)[np.tri(T, dtype=bool)] > 0).all()
    logits, _ = network(x[:, None])
    _, dlogits = cross_entropy(logits, targets[:, None])
    for s in (0, 7, T - 1):
        dy = np.zeros_like(dlogits)
        dy[s] = T * dlogits[s]
        np.testing.assert_allclose(flow.norms[s], trace(network, x[:, None], dy)["0.0"].norms[:, 0], rtol=1e-12)
    whole = trace(network, x[:, None], dlogits).grads
    np.testing.assert_allclose(flow.norm, np.sqrt(sum((g**2).sum() for g in whole.values())), rtol=1e-12)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is drawn as heat maps from now on."""
    from matplotlib.axes import Axes

    shown: list[Any] = []
    own = Axes.imshow

    def imshow(axis: Any, a: Any, **words: Any) -> Any:
        shown.append(a)
        return own(axis, a, **words)

    monkeypatch.setattr(Axes, "imshow", imshow)
    return shown


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'minirnn[plot]'")
    return tmp_path


@pytest.mark.extras
def test_cells_side_by_side_with_and_without_the_clip(drawn: Path) -> None:
    result = CliRunner().invoke(main, ["explain", str(TEXT), "--flow", str(drawn / "flow.svg"), "--clip", "0.1"])
    assert result.exit_code == 0, result.stderr
    words = (drawn / "flow.svg").read_text(encoding="utf-8")
    for name in ("vanilla RNN", "GRU", "LSTM"):
        assert f">{name}, ‖dθ‖ = " in words
    assert words.count(">clipped at 0.1: × ") == 3


@pytest.mark.extras
def test_what_is_drawn_of_a_flow(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = watched(monkeypatch)
    network = Sequential(LSTM(TEXT.vocab_size, 4), Linear(4, TEXT.vocab_size)).init(2)
    flow = flow_of(network, TEXT.indices[:-1], TEXT.indices[1:])
    draw_flow({"one": flow}, str(TEXT)[:-1], drawn / "flow.png", clip=flow.norm / 4)
    plain, clipped = shown
    lower = np.tri(len(flow.norms), dtype=bool)
    assert np.isnan(plain[~lower]).all()
    np.testing.assert_allclose(plain[lower], np.maximum(flow.norms[lower], FAINTEST * flow.norms.max()))
    np.testing.assert_allclose(clipped[lower], np.maximum(flow.norms[lower] / 4, FAINTEST * flow.norms.max()))


@pytest.mark.extras
def test_every_gate_and_state_is_drawn(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = watched(monkeypatch)
    x = np.random.default_rng(0).normal(size=(6, 2, 3))
    walk = trace(LSTM(3, 4).init(dtype="float64"), x)["0"]
    draw_gates(walk, "abc\ne ", drawn / "gates.svg", row=1)
    for value, name in zip(shown, ("i", "f", "g", "o", "h1", "c1"), strict=True):
        np.testing.assert_array_equal(value, walk[name][:, 1].T)


@pytest.mark.extras
def test_a_text_is_coloured_by_a_unit(drawn: Path) -> None:
    picture = draw_text(np.array([1.0, -0.5, 0.0]), "a b", title="unit 0")  # which a notebook shows
    assert picture._repr_png_().startswith(b"\x89PNG")
    picture.save(drawn / "text.svg")
    words = (drawn / "text.svg").read_text(encoding="utf-8")
    assert ">unit 0</text>" in words
    assert words.count("fill: #") >= 3
    with pytest.raises(ValueError, match="the picture's name must end in"):
        draw_text(np.zeros(1), "a", drawn / "text.gif")
