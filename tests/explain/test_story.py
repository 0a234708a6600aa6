"""What explain's page tells: every number is the trace's, in the order in which it was computed, in a safe file."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirnn import GRU, LSTM, Dropout, Embedding, LanguageModel, Linear, Sequential, Text, cross_entropy
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ReluCell, TanhCell
from minirnn.explain.engine.equations import equations_of
from minirnn.explain.engine.lines import Line, lines_of
from minirnn.explain.engine.scene import CELLS, Scene, Take
from minirnn.explain.engine.spelling import visible
from minirnn.explain.page import as_script_data, page_of, policy, write_page
from minirnn.explain.page.chart import chart_of
from minirnn.explain.page.story import PHASES, tell
from minirnn.explain.page.typeset import pieces, prose
from minirnn.optim.optimisers import SGD

TEXT = "so much depends"
HOSTILE = "a</script><script>alert(1)</script>\u2028 & \"'<!--"


def take_of(cell: str, **words: Any) -> Take:
    return Scene(TEXT, cell=cell, hidden_size=5, seed=3, scale=1.5, clip=0.1, **words).trace()


def line_of(lines: list[Line], phase: str, start: str) -> Line:
    (found,) = (line for line in lines if line.phase == phase and line.text.startswith(start))
    return found


def rows_of(line: Line) -> dict[str, Any]:
    return {row.name: row.values for row in line.rows}


# ---------------------------------------------------------------------- the scene


@pytest.mark.parametrize("cell", CELLS)
def test_a_scene_is_a_step_of_the_engine(cell: str) -> None:
    take = take_of(cell)
    model = take.scene.model()
    logits, _, backward = model.forward(take.x[:, None])
    loss, dlogits = cross_entropy(logits, take.targets[:, None])
    backward(dlogits)
    assert take.loss == pytest.approx(float(loss), rel=1e-12)
    assert take.losses.mean() == pytest.approx(take.loss, rel=1e-12)
    np.testing.assert_allclose(take.logits, logits[:, 0], rtol=1e-12)
    for name, gradient in model.named_grads().items():
        np.testing.assert_allclose(take.trace.grads[name], gradient, rtol=1e-10, atol=1e-15, err_msg=name)
    norm = SGD(model, lr=1.0, clip=0.1).step()
    assert take.norm == pytest.approx(norm, rel=1e-10)
    assert take.norm > 0.1
    assert take.clipped_norm == pytest.approx(0.1, rel=1e-12)
    for name, clipped in take.clipped.items():
        np.testing.assert_allclose(clipped, take.trace.grads[name] * 0.1 / take.norm, rtol=1e-10, atol=1e-15)


def test_scale_multiplies_the_recurrent_weights_alone() -> None:
    plain, scaled = (Scene(TEXT, scale=scale).model().named_weights() for scale in (1.0, 2.5))
    for name, weight in plain.items():
        np.testing.assert_array_equal(scaled[name], weight * (2.5 if name.endswith(".U") else 1.0))


def test_a_trained_model_is_looked_into_and_left_alone() -> None:
    text = Text.from_string(TEXT * 3)
    lm = LanguageModel.build(text.vocab, cell="lstm", hidden_size=6, num_layers=2, embedding_size=4).init(1)
    before = lm.network.weights.copy()
    scene = Scene.of_model(lm, "so deep", scale=2.0, clip=None, num_steps=4)
    take = scene.trace()
    np.testing.assert_array_equal(lm.network.weights, before)
    assert (scene.cell, scene.hidden_size, scene.T, take.read, take.wanted) == ("lstm", 6, 4, "so d", "o de")
    assert take.walk.name == "1.1"
    assert replace(scene, layer="1.0").trace().walk.name == "1.0"
    assert take.clipped_norm == take.norm
    assert tell(scene)["also"] == [("weights", "of a trained model"), ("layer", "1.1 of 1.0, 1.1")]


def test_noise_that_goes_by_the_equations_is_said() -> None:
    text = Text.from_string(TEXT)
    lm = LanguageModel.build(text.vocab, cell="rnn", hidden_size=4, zoneout=0.3, weight_dropout=0.3).init(0)
    assert [what for what, _ in tell(Scene.of_model(lm, TEXT))["also"]] == ["weights", "zoneout", "weight dropout"]
    assert tell(Scene(TEXT))["also"] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"text": "a"}, "a scene's text needs at least 2 characters, one to read and one to say; got 1"),
        ({"text": "a\ud800"}, "a scene's text must be characters that UTF-8 can write; half of a pair is not"),
        ({"cell": "gpt"}, "cell must be one of rnn, relu, gru, gru before, lstm; got 'gpt'"),
        ({"hidden_size": 0}, "hidden_size must be an integer of at least 1; got 0"),
        ({"seed": True}, "seed must be an integer of at least 0; got True"),
        ({"scale": float("nan")}, "scale must be a number from -100 to 100; got nan"),
        ({"clip": 0.0}, "clip must be a number above 0, or None; got 0.0"),
        ({"num_steps": 15}, "num_steps must be an integer from 1 to 14, for a text of 15 characters; got 15"),
    ],
)
def test_a_scene_that_cannot_be_is_one_sentence(words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Scene(**{"text": TEXT} | words)


def test_what_is_found_out_later_is_one_sentence_too() -> None:
    with pytest.raises(ArithmeticError, match=r"grow beyond what float64 holds in 299 steps at scale 100; take fewer"):
        Scene("abc" * 100, cell="relu", scale=100.0).trace()
    with pytest.raises(ValueError, match=r"layer must be one of 0\.0; got '7'"):
        Scene(TEXT, layer="7").trace()
    with pytest.raises(ValueError, match="a page draws at most 64 steps; this text has 99: take a shorter one, or"):
        tell(Scene("a" * 100))
    with pytest.raises(ValueError, match="a page draws at most 32 units; this network has 33"):
        tell(Scene(TEXT, hidden_size=33))


def test_a_model_that_cannot_be_looked_into_is_one_sentence() -> None:
    text = Text.from_string(TEXT)
    lm = LanguageModel.build(text.vocab, hidden_size=4).init(0)
    with pytest.raises(TypeError, match="a scene takes a LanguageModel; got Sequential"):
        Scene.of_model(lm.network, TEXT)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="a scene takes a model of task next; this one has task fill"):
        Scene.of_model(LanguageModel.build(text.vocab, task="fill", hidden_size=4).init(0), TEXT)
    with pytest.raises(ValueError, match="a model quantised to int8 has no gradients: take the original"):
        Scene.of_model(lm.quantize("int8"), TEXT)
    plain = Sequential(Embedding(len(text.vocab), 4), Linear(4, len(text.vocab))).init(0)
    with pytest.raises(ValueError, match="a scene takes a network with a recurrent layer; this one has none"):
        Scene.of_model(LanguageModel(plain, text.vocab), TEXT)


# ---------------------------------------------------------------------- the lines


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_said_around_the_cell_is_what_was_computed(cell: str) -> None:
    """The lines (a) to (d) are stated for the page; here they are computed from its numbers."""
    take = take_of(cell)
    walk, lines, weights = take.walk, lines_of(take), take.scene.model().named_weights()
    W, U, b = (weights[f"0.0.{name}"] for name in "WUb")
    bn = weights["0.0.bn"] if "0.0.bn" in weights else np.zeros(5)
    p = np.concatenate([row.values for row in line_of(lines, "forward", "p = x W + b").rows], axis=1)
    np.testing.assert_allclose(p, W[take.x] + b, rtol=1e-12)
    first = rows_of(line_of(lines, "forward", "q = h U"))
    q = np.concatenate([values for name, values in first.items() if name[0] == "q"], axis=1)
    product = first["h"] @ U[:, : q.shape[1]]
    product[:, -5:] += bn
    np.testing.assert_allclose(q, product, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(first["h"][1:], walk["h1"][:-1, 0])
    said = rows_of(line_of(lines, "forward", "ŷ"))["probabilities"]
    e = np.exp(take.logits)
    np.testing.assert_allclose(said.max(axis=1), (e / e.sum(1, keepdims=True)).max(1), rtol=1e-12)
    came = rows_of(line_of(lines, "backward", "dh' = dh + dy"))
    np.testing.assert_allclose(came["dh1"], came["next.dh"] + came["dy"], rtol=1e-12, atol=1e-17)
    np.testing.assert_array_equal(came["next.dh"][:-1], walk["dh"][1:, 0])
    assert not came["next.dh"][-1].any()
    if cell == "lstm":
        np.testing.assert_array_equal(came["next.dc"][:-1], walk["dc"][1:, 0])
    V = sorted({*take.x.tolist(), *take.targets.tolist(), *take.logits.argmax(1).tolist()})
    (logits,) = rows_of(line_of(lines, "forward", "logits = h' W_y + b_y")).values()
    np.testing.assert_allclose(logits, (walk["h1"][:, 0] @ weights["1.W"] + weights["1.b"])[:, V], rtol=1e-12)
    back = rows_of(line_of(lines, "backward", "dy = dlogits W_yᵀ"))
    np.testing.assert_array_equal(back["dlogits"], take.dlogits[:, V])
    np.testing.assert_allclose(back["dy"], take.dlogits @ weights["1.W"].T, rtol=1e-12, atol=1e-17)
    np.testing.assert_array_equal(came["dy"], back["dy"])
    sent = rows_of(next(line for line in lines if line.text.startswith("dh = dq Uᵀ")))["dh"]
    through = walk["dq"][:, 0, : q.shape[1]] @ U[:, : q.shape[1]].T
    direct = walk["direct.h"][:, 0] if "direct.h" in walk else 0
    np.testing.assert_allclose(sent, through + direct, rtol=1e-12, atol=1e-17)
    if cell == "gru before":
        made = rows_of(line_of(lines, "forward", "q_n = a U_n"))["q_n"]
        np.testing.assert_allclose(made, walk["a"][:, 0] @ U[:, 10:], rtol=1e-12)
        back = rows_of(line_of(lines, "backward", "da = dq_n U_nᵀ"))["da"]
        np.testing.assert_allclose(back, walk["dq_n"][:, 0] @ U[:, 10:].T, rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_the_cell_s_own_lines_are_its_docstring_s_with_the_trace_s_numbers(cell: str) -> None:
    take = take_of(cell)
    own = [line for line in lines_of(take) if re.match(r"\(\d+\)", line.label)]
    assert [line.text for line in own] == [equation.text for equation in take.walk.equations]
    for line, equation in zip(own, take.walk.equations, strict=True):
        found = take.walk.line(equation)
        assert line.rows, line.text
        assert {row.name for row in line.rows} == set(found)
        for row in line.rows:
            np.testing.assert_array_equal(row.values, found[row.name][:, 0])


@pytest.mark.parametrize("cell", CELLS)
def test_no_two_formulas_have_one_number(cell: str) -> None:
    """The cell's own, those around it, and the loss's: (1) is the cell's alone."""
    lines = lines_of(take_of(cell))
    assert {line.label for line in lines if line.phase == "loss"} == {"(L1)", "(L2)"}
    assert {line.label for line in lines if line.phase == "clip"} == {"(d)"}
    own = {line.label for line in lines if line.text in {equation.text for equation in take_of(cell).walk.equations}}
    assert own.isdisjoint(line.label for line in lines if line.label[1] in "Labcd")


@pytest.mark.parametrize("layer", ["", "1.0"])
@pytest.mark.parametrize("tied", [False, True])
def test_how_the_loss_reaches_the_layer_is_said_as_it_is(layer: str, *, tied: bool) -> None:
    """By W_y where the output layer stands on the one that is looked at; where others are between, by these."""
    vocab = Text.from_string(TEXT).vocab
    lm = LanguageModel.build(vocab, cell="gru", hidden_size=4, embedding_size=4, num_layers=2, tied=tied).init(2)
    take = Scene.of_model(lm, TEXT, layer=layer).trace()
    lines = lines_of(take)
    texts = [line.text for line in lines if line.label == "(c)"]
    if layer:
        assert texts == ["ŷ = softmax(logits)", "dy = dlogits ∂logits/∂h'", "dh' = dh + dy"]
    else:
        assert texts == ["logits = h' W_y + b_y", "ŷ = softmax(logits)", "dy = dlogits W_yᵀ", "dh' = dh + dy"]
    came = rows_of(line_of(lines, "backward", "dy = "))
    np.testing.assert_array_equal(came["dy"], take.walk["dy"][:, 0])
    W = take.scene.model().named_weights()["0.W" if tied else "2.W"]
    through = take.dlogits @ (W if tied else W.T)
    assert np.allclose(came["dy"], through, rtol=1e-9, atol=1e-12) == (layer == "")


def test_the_loss_is_told_in_the_words_of_cross_entropy() -> None:
    take = take_of("gru")
    first, second = (line for line in lines_of(take) if line.phase == "loss")
    assert (first.text, second.text) == ("loss = -1/N Σ log y[target]", "dlogits = (y - onehot(target)) / N")
    np.testing.assert_allclose(rows_of(first)["losses"][0], np.log(take.probabilities[range(14), take.targets]))
    assert rows_of(first)["loss"] == -rows_of(first)["losses"].mean()
    assert [row.at for row in second.rows] == list(range(14))


def test_a_cell_without_numbered_lines_is_told_in_its_code() -> None:
    class Plain:
        state, gates, saves = ("h",), ("h",), ("h1",)

        @staticmethod
        def step(p: Any, q: Any, state: Any) -> Any:
            h1 = np.tanh(p + q)
            return (h1,), (h1,)

        @staticmethod
        def unstep(dstate: Any, saved: Any) -> Any:
            da = dstate[0] * (1 - saved[0] ** 2)
            return da, da, (None,)

    from minirnn import Recurrent

    vocab = Text.from_string(TEXT).vocab
    network = Sequential(Recurrent(Plain, len(vocab), 4), Dropout(0.2), Linear(4, len(vocab))).init(0)
    story = tell(Scene.of_model(LanguageModel(network, vocab), TEXT))
    texts = {line["text"]: line for line in story["lines"]}
    assert texts["h1 = np.tanh(p + q)"]["math"] == [("t", "h1 = np.tanh(p + q)")]
    assert texts["da = dstate[0] * (1 - saved[0] ** 2)"]["rows"][0]["name"] == "da"


# ---------------------------------------------------------------------- the story


@pytest.mark.parametrize("cell", CELLS)
def test_moments_come_in_the_order_of_the_computation(cell: str) -> None:
    story = tell(Scene(TEXT, cell=cell, hidden_size=4))
    lines, T = story["lines"], 14
    seen = [(lines[line]["phase"], t) for line, t, *_ in story["moments"]]
    steps = list(dict.fromkeys(seen))
    forward, backward = [("forward", t) for t in range(T)], [("backward", t) for t in reversed(range(T))]
    assert steps == [*forward, ("loss", -1), *backward, ("clip", -1)]
    assert tuple(dict.fromkeys(phase for phase, _ in seen)) == PHASES
    for phase, t in steps:
        here = [line for line, when, *_ in story["moments"] if (lines[line]["phase"], when) == (phase, t)]
        assert here == [k for k, line in enumerate(lines) if line["phase"] == phase]


@pytest.mark.parametrize("cell", CELLS)
def test_sums_grow_when_their_line_is_reached_and_end_at_the_gradient(cell: str) -> None:
    scene = Scene(TEXT, cell=cell, hidden_size=4, clip=0.1)
    story, take = tell(scene), scene.trace()
    for k, one in enumerate(story["sums"]):
        name, before = one["name"], 0
        for line, t, *done in story["moments"]:
            added = done[k] - before
            before = done[k]
            assert added == (story["lines"][line]["adds"] == name or story["lines"][line]["phase"] == "clip")
            if 0 < done[k] <= 14 and added:
                assert done[k] == 14 - t
        assert before == 15
        frames = one["frames"]
        rows = np.zeros((len(one["rows"]), one["shape"][-1]))
        sums = take.walk.sums(name)
        for done, frame in enumerate(frames[:-1]):
            if isinstance(frame, dict):
                rows[frame["row"]] = frame["values"]
            else:
                rows[...] = frame
            whole = sums[13 - done].reshape(-1, one["shape"][-1])
            np.testing.assert_array_equal(rows, whole[list(one["places"])])
            assert np.count_nonzero(whole) == np.count_nonzero(rows)  # what is not shown is 0
        clipped = take.clipped[f"0.0.{name}"].reshape(-1, one["shape"][-1])
        np.testing.assert_array_equal(frames[-1], clipped[list(one["places"])])


def test_values_are_the_trace_s_and_no_two_share_a_key() -> None:
    scene = Scene(TEXT, hidden_size=4)
    story, lines = tell(scene), lines_of(scene.trace())
    for told, line in zip(story["lines"], lines, strict=True):
        for row, wanted in zip(told["rows"], line.rows, strict=True):
            np.testing.assert_array_equal(story["values"][row["key"]], wanted.values)
            assert story["peaks"][row["key"]] == np.abs(wanted.values).max()
    assert json.loads(json.dumps(story, allow_nan=False))["values"] == story["values"]  # digits survive the file


def test_a_matrix_with_many_rows_is_not_drawn() -> None:
    vocab = Text.from_string(TEXT).vocab
    network = Sequential(Embedding(len(vocab), 65), GRU(65, 4), LSTM(4, 3), Linear(3, len(vocab))).init(0)
    scene = Scene.of_model(LanguageModel(network, vocab), TEXT)
    assert {one["name"]: one["frames"] is None for one in tell(scene)["sums"]} == dict.fromkeys("WUb", False)
    sums = tell(replace(scene, layer="1.0"))["sums"]
    assert {one["name"]: one["frames"] is None for one in sums} == {"W": True, "U": False, "b": False, "bn": False}


def test_the_chart_is_a_log_scale() -> None:
    chart = chart_of(np.array([1e-3, 0.0, 1e-1, 10.0]))
    low, none, middle, high = chart["heights"]
    assert none is None
    assert 0 < low < middle < high < 1
    assert middle - low == pytest.approx(high - middle)
    assert [label for label, _ in chart["ticks"]] == ["0.001", "0.01", "0.1", "1", "10"]
    assert dict(chart["ticks"])["0.1"] == pytest.approx(middle)
    assert len(chart_of(np.array([0.031, 0.044]))["ticks"]) >= 2
    assert chart_of(np.zeros(3)) == {"heights": [None, None, None], "ticks": []}
    assert len(chart_of(np.array([1e-200, 1e100]))["ticks"]) < 9


def test_the_text_of_a_formula_is_all_there_when_it_is_set() -> None:
    assert pieces("dq_n U_nᵀ")[-3:] == [("i", "U"), ("sub", "n"), ("sup", "T")]
    assert pieces("da_n = dn (1 - n²)") == [
        ("d", "d"), ("i", "a"), ("sub", "n"), ("t", " = "), ("d", "d"), ("i", "n"), ("t", " (1 − "), ("i", "n"),
        ("sup", "2"), ("t", ")"),
    ]  # fmt: skip
    assert pieces("dh' = dh' where a > 0, else 0")[:3] == [("d", "d"), ("i", "h"), ("t", "′")]
    back = {"−": "-", "′": "'"}
    for cell in (TanhCell, ReluCell, GRUCell, GRUBeforeCell, LSTMCell):
        for line in equations_of(cell):
            text = "".join({"sub": "_", "sup": ""}.get(kind, "") + what for kind, what in pieces(line.text))
            assert "".join(back.get(c, c) for c in text) == line.text.replace("²", "2")
    assert prose("a line, with a_n = h'") == [("t", "a line, with "), ("i", "a"), ("sub", "n"), ("t", " = h′")]
    assert [visible(c) for c in "a \n\0é"] == ["a", "␣", "⏎", "U+0000", "é"]


# ---------------------------------------------------------------------- the file


class Parts(HTMLParser):
    """Scripts, styles, and everything that could make a request."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style", "title"):
            self.blocks.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem or (self.blocks and self.lasttag == "title"):
            tag, attributes, text = self.blocks.pop()
            self.blocks.append((tag, attributes, text + data))


def test_a_hostile_text_stays_text() -> None:
    scene = Scene(HOSTILE, hidden_size=2)
    page = page_of(tell(scene))
    parts = Parts(page)
    assert [tag for tag, *_ in parts.blocks] == ["title", "style", "script", "script"]
    (data,) = (text for tag, attributes, text in parts.blocks if attributes.get("type") == "application/json")
    assert not set("<>&\u2028\u2029") & set(data)
    assert json.loads(data)["controls"]["text"] == HOSTILE
    assert json.loads(as_script_data({"t": HOSTILE})) == {"t": HOSTILE}


def test_a_page_needs_nothing_else_and_its_policy_allows_nothing_else() -> None:
    page = page_of(tell(Scene(TEXT, hidden_size=2)))
    parts = Parts(page)
    for tag, attributes in parts.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base"), tag
        assert not {"src", "style", "srcdoc"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(\"?[^#\"]|@import|eval\(|innerHTML", page)
    (allowed,) = (a["content"] for tag, a in parts.tags if "Content-Security-Policy" in a.values())
    for tag, attributes, text in parts.blocks:
        if tag in ("style", "script") and "type" not in attributes:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in str(allowed)
    assert str(allowed).startswith("default-src 'none'; ")
    assert "unsafe" not in str(allowed)
    assert "connect-src" not in policy(served=False)
    assert policy(served=True).endswith("connect-src 'self'")


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "explain.html"
    write_page(path, Scene(TEXT, hidden_size=8))
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert len(page.encode()) < 400_000
    with pytest.raises(ValueError, match="a page draws at most 64 steps"):
        write_page(path, Scene("a" * 100))
    assert path.read_text(encoding="utf-8") == page
    assert [p.name for p in tmp_path.iterdir()] == ["explain.html"]
