"""The server that is an example: whatever ``load`` opens is served, and whatever is asked is answered in JSON."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from onnx_bytes import model as onnx_model
from onnx_bytes import node, port, tensor

import minirnn
from minirnn import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Call,
    Combine,
    Embedding,
    Entry,
    LanguageModel,
    Last,
    Layer,
    LayerGraph,
    Linear,
    Masking,
    Sequential,
    Text,
)
from minirnn.formats.onnx import Graph

SERVE = Path(__file__).resolve().parents[2] / "examples/container/serve.py"
PROSE = "The light of the lamp fell upon the garden, and nobody spoke.\nIt was, he said; and yet it was not!\n"
ROWS = [[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]]


class Answer(NamedTuple):
    """A status and an object of JSON."""

    status: int
    body: dict[str, Any]


@contextmanager
def serving(path: Path) -> Iterator[tuple[Callable[..., Answer], int]]:
    """A server of a model file: what asks it, and its port."""
    command = [sys.executable, str(SERVE), str(path), "--port", "0"]
    environment = os.environ | {"MINIRNN_BACKEND": "numpy"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        address = process.stdout.readline().strip()

        def ask(question: Any = None, method: str | None = None) -> Answer:
            """POST what is given, GET where nothing is."""
            data = question if isinstance(question, bytes) else json.dumps(question).encode()
            request = urllib.request.Request(  # noqa: S310 - our own server
                address, None if question is None else data, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return Answer(answer.status, json.load(answer))
            except urllib.error.HTTPError as error:
                return Answer(error.code, json.load(error))

        try:
            yield ask, int(address.rpartition(":")[2])
        finally:
            process.kill()


def saved(model: Any, folder: Path) -> Path:
    path = folder / "model.safetensors"
    minirnn.save(model, path)
    return path


def init(layer: Layer) -> Any:
    return layer.init(0, backend="numpy")


STREAMED = {
    "lstm": lambda: Sequential(LSTM(2, 4), Linear(4, 3)),
    "deep gru": lambda: GRU(2, 3, num_layers=2),
    "reset before": lambda: GRU(2, 3, reset="before"),
    "zoneout": lambda: LSTM(2, 3, zoneout=0.1),
    "last": lambda: Sequential(RNN(2, 4), Last(), Linear(4, 1)),
    "no time": lambda: Sequential(Linear(2, 3), Activation("relu")),
}
WHOLE = {
    "bidirectional": lambda: Sequential(LSTM(2, 4, bidirectional=True), Linear(8, 3)),
    "last of two directions": lambda: Sequential(GRU(2, 4, bidirectional=True), Last(bidirectional=True), Linear(8, 3)),
    "masking": lambda: Sequential(Masking(), GRU(2, 4)),
}


@pytest.mark.parametrize("name", [*STREAMED, *WHOLE])
def test_layers_of_every_kind_are_served(name: str, tmp_path: Path) -> None:
    model = init((STREAMED | WHOLE)[name]())
    wanted, _ = model(np.array(ROWS, np.float32)[:, None])
    with serving(saved(model, tmp_path)) as (ask, _):
        status, body = ask({"x": ROWS})
        assert (status, list(body)) == (200, ["y"]), body
        every_step = model.keeps_time or name in STREAMED
        if not model.keeps_time and every_step:  # what it says after each step, as if that were the last
            wanted = np.array([model(np.array(ROWS[: t + 1], np.float32)[:, None])[0] for t in range(len(ROWS))])
        np.testing.assert_allclose(body["y"], wanted[:, 0] if every_step else wanted[0], rtol=0, atol=1e-6)
        about = ask().body
        assert about["takes"]["x"][0].startswith("[2 numbers]")
        assert isinstance(about["gives"]["y"], list) == every_step
        wrong: list[Any] = [
            [],
            [[0.1]],
            [0.5],
            [["a", "b"]],
            [[None, 1]],
            [[1, 2], [3]],
            {},
            None,
            "x",
            [[[1, 2]]],
            [{}],
        ]
        for x in wrong:
            status, body = ask({"x": x})
            assert (status, list(body)) == (400, ["error"]), (x, body)


def test_indices_are_served(tmp_path: Path) -> None:
    model = init(Sequential(Embedding(9, 4), GRU(4, 3, bidirectional=True), Linear(6, 2)))
    with serving(saved(model, tmp_path)) as (ask, _):
        wanted, _ = model(np.array([3, 1, 4])[:, None])
        np.testing.assert_allclose(ask({"x": [3, 1, 4]}).body["y"], wanted[:, 0], rtol=0, atol=1e-6)
        assert ask().body["takes"] == {"x": ["an index below 9", "..."]}
        for x in (b"[9]", b"[-1]", b"[1.5]", b"[[1.0]]", b"[1000000000000000000000000000000]"):
            assert ask(b'{"x": %s}' % x).status == 400, x


def test_each_request_begins_anew_and_they_run_side_by_side(tmp_path: Path) -> None:
    with serving(saved(init(GRU(2, 3)), tmp_path)) as (ask, _), ThreadPoolExecutor(8) as pool:
        alone = [ask({"x": ROWS[k : k + 1] * (k + 1)}) for k in range(3)]
        again = list(pool.map(lambda k: ask({"x": ROWS[k : k + 1] * (k + 1)}), [0, 1, 2] * 8))
        assert again == alone * 8


def test_a_graph_of_layers_is_served(tmp_path: Path) -> None:
    calls = [Call("h", "gru", ["x"]), Call("s", "add", ["h", "z"])]
    entries = [Entry("x", 2), Entry("z", 2, steps=False)]
    model = init(LayerGraph(entries, {"gru": GRU(2, 2), "add": Combine()}, calls, ["s", "h"]))
    x, z = np.array(ROWS, np.float32)[:, None], np.array(ROWS[:1], np.float32)
    wanted, _ = model.run({"x": x, "z": z})
    with serving(saved(model, tmp_path)) as (ask, _):
        assert ask().body["takes"] == {"inputs": {"x": "(T, B, 2)", "z": "(B, 2)"}}
        outputs = ask({"inputs": {"x": x.tolist(), "z": z.tolist()}}).body["outputs"]
        for name, y in wanted.items():
            np.testing.assert_allclose(outputs[name], y, rtol=0, atol=1e-6)
        for wrong in ({}, {"x": 1, "z": 2}, {"x": x.tolist()}, {"x": [[["a"]]], "z": z.tolist()}):
            status, body = ask({"inputs": wrong})
            assert (status, list(body)) == (400, ["error"])


def test_a_graph_is_served(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    W, R = (rng.normal(size=(1, 4, n)).astype(np.float32) for n in (2, 4))
    nodes = [node("RNN", "x W R - - h0", "y h", hidden_size=4), node("Exp", "y", "z")]
    ports = [port("x", ["T", 1, 2]), port("h0", [1, 1, 4])], [port("z", ["T", 1, 1, 4]), port("h", [1, 1, 4])]
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model(nodes, *ports, [tensor("W", W), tensor("R", R)], opset=17))
    graph = minirnn.load(path)
    assert isinstance(graph, Graph)
    inputs = {"x": [[row] for row in ROWS], "h0": [[[0.1, 0.2, 0.3, 0.4]]]}
    wanted = graph.run(inputs)
    with serving(path) as (ask, _):
        status, body = ask({"inputs": inputs})
        assert (status, sorted(body["outputs"])) == (200, ["h", "z"]), body
        for name, array in wanted.items():
            np.testing.assert_allclose(body["outputs"][name], array, rtol=1e-6)
        assert ask().body["takes"] == {"inputs": {"x": "'x' (T, 1, 2) float32", "h0": "'h0' (1, 1, 4) float32"}}
        for question, words in (
            ({"x": ROWS}, "'h0' (1, 1, 4) float32"),
            ({"inputs": {"x": inputs["x"]}}, "h0"),
            ({"inputs": inputs | {"h0": [[[1.0]]]}}, "got (1, 1, 1)"),
            ({"inputs": inputs | {"h0": "abc"}}, "h0"),
            ({"inputs": inputs | {"x": [[[1e30, 1e30]]]} | {"h0": [[[1e30] * 4]]}}, ""),
            ({"inputs": 3}, "inputs is 3"),
        ):
            status, body = ask(question)
            assert status == 400 or not words, (question, body)
            assert words in str(body)


def test_numbers_that_are_not_finite_are_no_json(tmp_path: Path) -> None:
    model = init(Linear(2, 1))
    model.named_weights()["W"] = np.float32(3e38)
    with serving(saved(model, tmp_path)) as (ask, _):
        assert ask({"x": [[3.0, 3.0]]}) == Answer(400, {"error": "the model answers with numbers that are not finite"})
        assert "no NaN" in ask(b'{"x": [[NaN, 1.0]]}').body["error"]


def test_a_server_of_text_answers_and_says_what_it_cannot(tmp_path: Path) -> None:
    lm = LanguageModel.build(Text.from_string(PROSE).vocab, hidden_size=4, embedding_size=3).init(0, backend="numpy")
    with serving(saved(lm, tmp_path)) as (ask, _):
        asked = {"prefix": "The ", "length": 9, "temperature": 0.0}
        assert ask(asked).body["text"] == "".join(lm.generate("The ", 9, temperature=0.0))
        assert ask(asked | {"temperature": 0}).body == ask(asked).body
        for question, words in {
            b'{"prefix": ': "Expecting",
            b"[1]": "JSON object",
            b'{"prefix": 3}': "prefix is 3",
            b'{"prefix": "The ", "length": 10000}': "from 1 to 1000",
            b'{"prefix": "The ", "length": true}': "length is true",
            b'{"prefix": "The ", "temperature": "hot"}': "temperature",
            b'{"prefix": "The ", "temperature": 1e999}': "temperature",
            b'{"prefix": "The ", "temperature": -1}': "temperature",
            b"{}": "at least one character",
            b"": "bytes",
            b"\xff": "utf-8",
            b"[" * 200_000: "nested too deeply",
        }.items():
            status, body = ask(question)
            assert status == 400, question
            assert words in body["error"], question


def test_what_fills_in_is_served(tmp_path: Path) -> None:
    lm = LanguageModel.build(Text.from_string(PROSE).vocab, task="fill", hidden_size=4).init(0, backend="numpy")
    with serving(saved(lm, tmp_path)) as (ask, _):
        assert ask({"text": "The l_ght"}) == Answer(200, {"text": lm.fill("The l_ght")})
        assert "_ for each character" in ask({"prefix": "The "}).body["error"]
        assert ask({"text": ""}).status == 400


def test_what_is_no_request_is_refused_in_json(tmp_path: Path) -> None:
    with serving(saved(init(GRU(2, 3)), tmp_path)) as (ask, number):
        assert ask({"x": ROWS}, method="DELETE").status == 501
        for head, words in (
            (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"invalid literal"),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"from 1 to 1,048,576 bytes"),
            (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"from 1 to"),
            (b"nonsense\r\n\r\n", b"error"),
        ):
            with socket.create_connection(("127.0.0.1", number), timeout=60) as client:
                client.sendall(head)
                answer = b"".join(iter(lambda: client.recv(4096), b""))
            assert words in answer, answer
            json.loads(answer.partition(b"\r\n\r\n")[2] or answer)
        assert ask({"x": ROWS}).status == 200  # and it goes on


def test_what_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "no.model").write_text("nothing", encoding="utf-8")
    for name in ("no.model", "missing"):
        done = subprocess.run(
            [sys.executable, str(SERVE), str(tmp_path / name)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 1
        assert done.stderr.startswith("serve.py: ")
        assert done.stderr.count("\n") == 1
