"""explain --serve: the engine computes what the controls say, for this machine's own browser and nobody else."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from browser import Tab, chromium
from page_oracle import Oracle
from tiers import marked_but

from minirnn import LanguageModel, Text
from minirnn.explain.engine.scene import Scene
from minirnn.explain.page.serve import LONGEST, Server, scene_of, serve
from minirnn.explain.page.story import tell

SCENE = Scene("abcabd", hidden_size=3, seed=5, scale=1.2, clip=0.1)
CHANGES: list[dict[str, Any]] = [
    {"text": "<ba\n é & ba>"},
    {"cell": "lstm"},
    {"cell": "gru before"},
    {"hidden_size": 9},
    {"seed": 8},
    {"scale": 2.55},
    {"clip": 0.02},
    {"clip": None},
    {"num_steps": 2},
]


@contextmanager
def served(scene: Scene) -> Iterator[Server]:
    """A server in a thread of its own."""
    with Server(scene) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served(SCENE) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def ask(server: Server, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.headers), body


def raw(server: Server, request: bytes) -> str:
    """What comes back for any bytes at all."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def query_of(change: dict[str, Any]) -> str:
    return urlencode({name: "" if value is None else value for name, value in change.items()})


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_story_is_what_the_engine_computes_of_the_controls(change: dict[str, Any], server: Server) -> None:
    status, headers, body = ask(server, f"/story?{query_of(change)}")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == json.loads(json.dumps(tell(replace(SCENE, **change))))


def test_the_page_is_the_scene_s_or_that_of_its_query(server: Server) -> None:
    for query, scene in (("", SCENE), ("?cell=rnn&scale=0", replace(SCENE, cell="rnn", scale=0.0))):
        status, headers, body = ask(server, f"/{query}")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        (story,) = re.findall(r'id="story">(.*)</script>', body)
        assert json.loads(story)["values"] == json.loads(json.dumps(tell(scene)))["values"]
    assert ask(server, method="HEAD")[::2] == (200, "")
    assert ask(server, "/favicon.ico")[::2] == (200, "")


def test_of_a_trained_model_its_text_scale_and_clip_can_be_chosen() -> None:
    lm = LanguageModel.build(Text.from_string("abcd" * 9).vocab, cell="rnn", hidden_size=4).init(0)
    scene = Scene.of_model(lm, "abcd")
    with served(scene) as server:
        changed = json.loads(ask(server, "/story?text=dcba&scale=2&clip=0.1&num_steps=3")[2])
        wanted = tell(replace(scene, text="dcba", scale=2.0, clip=0.1, num_steps=3))
        assert changed["values"] == wanted["values"]
        problem = json.loads(ask(server, "/story?cell=gru")[2])["problem"]
        assert problem == "there is no control 'cell' here; there are text, num_steps, scale, clip"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("text=a", "a scene's text needs at least 2 characters, one to read and one to say; got 1"),
        ("text=" + "a" * 99, "a page draws at most 64 steps; this text has 98: take a shorter one, or num_steps"),
        ("hidden_size=1000000000", "a page draws at most 32 units; this network has 1000000000"),
        ("hidden_size=" + "9" * 999, "a page draws at most 32 units; this network has " + "9" * 20),
        ("hidden_size=8.5", "hidden_size must be a whole number; got '8.5'"),
        ("cell=<b>", "cell must be one of rnn, relu, gru, gru before, lstm; got '<b>'"),
        ("scale=nan", "scale must be a number from -100 to 100; got nan"),
        ("scale=", "scale must be a number; got ''"),
        ("clip=-1", "clip must be a number above 0, or None; got -1.0"),
        ("num_steps=6", "num_steps must be an integer from 1 to 5, for a text of 6 characters; got 6"),
        ("seed=-1", "seed must be an integer of at least 0; got -1"),
        ("lm=x", "there is no control 'lm' here; there are text, num_steps, scale, clip, cell, hidden_size, seed"),
        ("seed=1&seed=2", "each control is given once"),
        ("text=%ff%fe", "what an address asks for must be written in UTF-8"),
        ("&".join(f"a{k}=1" for k in range(30)), "an address here says at most 20 things"),
        (
            "cell=relu&scale=100&text=" + "ab" * 32,
            None,  # large, but float64 holds it
        ),
    ],
)
def test_a_mistake_in_the_controls_is_one_sentence(query: str, sentence: str | None, server: Server) -> None:
    status, _, body = ask(server, f"/story?{query}")
    assert (status, json.loads(body).get("problem")) == (200, sentence)
    if sentence:
        status, _, body = ask(server, f"/?{query}")
        assert status == 400
        (story,) = re.findall(r'id="story">(.*)</script>', body)
        assert json.loads(story)["problem"] == sentence
        assert "Traceback" not in body


def test_a_scene_of_a_query_is_the_base_with_changes() -> None:
    assert scene_of("", SCENE) == SCENE
    assert scene_of("text=x%0D%0Ay&clip=&num_steps=", SCENE) == replace(SCENE, text="x\ny", clip=None, num_steps=None)


# ---------------------------------------------------------------------- refusals


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.socket.family == socket.AF_INET


@pytest.mark.parametrize(
    ("headers", "path", "method", "status"),
    [
        ({"Host": "evil.example"}, "/", "GET", 421),
        ({"Host": "evil.example:PORT"}, "/story", "GET", 421),
        ({"Host": "127.0.0.1"}, "/", "GET", 421),
        ({"Host": "127.0.0.1.evil.example:PORT"}, "/", "GET", 421),
        ({}, "http://evil.example/", "GET", 421),
        ({"Origin": "http://evil.example"}, "/story", "GET", 403),
        ({"Origin": "null"}, "/story", "GET", 403),
        ({"Origin": "http://127.0.0.1:1"}, "/story", "GET", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "/", "GET", 403),
        ({"Sec-Fetch-Site": "same-site"}, "/story", "GET", 403),
        ({}, "/" + "a" * LONGEST, "GET", 414),
        ({}, "/story?text=" + "a" * 70_000, "GET", 414),
        ({}, "/../../etc/passwd", "GET", 404),
        ({}, "/story/", "GET", 404),
        ({}, "/", "POST", 501),
        ({}, "/", "OPTIONS", 501),
    ],
)
def test_what_others_ask_is_refused(
    headers: dict[str, str], path: str, method: str, status: int, server: Server
) -> None:
    given = {name: value.replace("PORT", str(server.server_port)) for name, value in headers.items()}
    found, answered, body = ask(server, path, method, **given)
    assert found == status
    assert re.fullmatch(r"[^\n<>]+\n", body), body
    assert answered["Content-Type"].startswith("text/plain")
    assert answered["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Access-Control-Allow-Origin" not in answered


def test_what_its_own_page_asks_is_answered(server: Server) -> None:
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{server.server_port}"
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert ask(server, "/story", **headers)[0] == 200
    assert ask(server, "/", **{"Sec-Fetch-Site": "none"})[0] == 200


def test_every_answer_says_how_it_is_to_be_kept(server: Server) -> None:
    for path in ("/", "/story", "/nothing"):
        _, headers, _ = ask(server, path)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Content-Security-Policy"].endswith("connect-src 'self'; frame-ancestors 'none'")
        assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET //127.0.0.1/story HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:99999\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=lambda b: repr(b)[:30],
)
def test_what_is_no_request_is_refused_too(request_: bytes, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    answer = raw(server, request_)
    assert not answer.startswith("HTTP/1.0 200")
    assert "Traceback" not in answer
    assert ask(server)[0] == 200
    assert capfd.readouterr() == ("", "")


def test_one_who_says_nothing_keeps_nobody_waiting(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)) as silent:
        silent.send(b"GET / HT")
        assert ask(server)[0] == 200


def test_one_who_goes_away_is_no_error(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            gone.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
    assert ask(server)[0] == 200
    assert capfd.readouterr().err == ""


# ---------------------------------------------------------------------- beginning and end


def test_what_cannot_be_served_is_one_sentence() -> None:
    taken = r"^port \d+ of 127\.0\.0\.1 cannot be had: .*; 0 is any that is free$"
    with served(SCENE) as other, pytest.raises(OSError, match=taken):
        serve(SCENE, other.server_port)
    with pytest.raises(ValueError, match=r"^port must be an integer from 0 to 65535; got 65536$"):
        serve(SCENE, 65536)
    with pytest.raises(ValueError, match=r"^a page draws at most 32 units; this network has 40$"):
        serve(replace(SCENE, hidden_size=40))


def test_ctrl_c_ends_it_quietly() -> None:
    code = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
    code += "from minirnn.explain.engine.scene import Scene\nfrom minirnn.explain.page.serve import serve\n"
    code += "serve(Scene('abc'), ready=lambda address: print(address, flush=True))"
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert server.stdout is not None
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", server.stdout.readline())
    server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=30)
    assert (server.returncode, out, err) == (0, "", "")


# ---------------------------------------------------------------------- in a browser


def fill(tab: Tab, name: str, value: str) -> None:
    """Change a control as a reader does, and wait for what comes back."""
    with tab.page.expect_response("**/story?*") as answer:
        field = tab.page.locator(f"[name={name}]")
        if name == "cell":
            field.select_option(value)
        else:
            field.fill(value)
    answer.value.finished()
    tab.page.wait_for_timeout(150)


@pytest.mark.parametrize("change", marked_but(CHANGES[:2], CHANGES, "long"))
def test_a_control_changes_the_numbers_to_the_engine_s(change: dict[str, Any], server: Server, browser: Any) -> None:
    tab = Tab(browser, f"{server.address}#backward-1-5")
    Oracle(SCENE.trace()).check(tab.numbers())
    ((name, value),) = change.items()
    said = tab.said()
    fill(tab, name, "" if value is None else str(value))
    oracle = Oracle(replace(SCENE, **change).trace())
    oracle.check(tab.numbers())
    assert tab.said().partition(" of ")[0] == said.partition(" of ")[0]  # one stays where one was
    for key in ("Home", "PageDown", "End", "PageUp", "PageUp"):
        tab.press(key)
        oracle.check(tab.numbers())
    assert tab.page.inner_text("#problem") == ""
    tab.page.reload()  # the address has the scene
    oracle.check(tab.numbers())
    assert tab.violations() == []
    tab.close()


def test_a_mistake_is_said_and_the_last_good_numbers_stay(server: Server, browser: Any) -> None:
    tab = Tab(browser, server.address)
    oracle = Oracle(SCENE.trace())
    for name, value, sentence in (
        ("text", "<", "a scene's text needs at least 2 characters, one to read and one to say; got 1"),
        ("hidden_size", "33", "a page draws at most 32 units; this network has 33"),
        ("clip", "-3", "clip must be a number above 0, or None; got -3.0"),
    ):
        before = tab.page.input_value(f"[name={name}]")
        fill(tab, name, value)
        assert tab.page.get_by_role("alert").inner_text() == sentence
        oracle.check(tab.numbers())
        assert tab.violations() == []
        assert tab.page.evaluate("document.activeElement.name") == name  # and the reader where the reader was
        fill(tab, name, before)
        assert tab.page.inner_text("#problem") == ""
    tab.page.focus("[name=text]")
    said = tab.said()
    tab.press("ArrowRight")
    tab.press("Home")
    tab.press(" ")
    assert tab.said() == said  # keys belong to the field
    tab.close()


def test_an_address_with_a_mistake_is_a_page_that_says_so(server: Server, browser: Any) -> None:
    tab = Tab(browser, server.address)
    tab.page.goto(f"{server.address}?text=a")
    assert "at least 2 characters" in tab.page.get_by_role("alert").inner_text()
    fill(tab, "text", "abab")
    assert tab.page.inner_text("#problem") == ""
    Oracle(replace(SCENE, text="abab").trace()).check(tab.numbers())
    assert all("400" in complaint for complaint in tab.complaints)  # the browser's own line for the page's status
    tab.complaints.clear()
    tab.close()


def test_a_server_that_has_gone_is_said(browser: Any) -> None:
    with served(SCENE) as server:
        tab = Tab(browser, server.address)
    tab.page.fill("[name=text]", "abab")
    tab.page.wait_for_function("() => document.querySelector('#problem').textContent.includes('does not answer')")
    tab.complaints.clear()  # the browser's own line for a connection that was refused
    tab.close()
