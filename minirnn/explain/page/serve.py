"""The page with controls, on this machine alone: what a reader changes is computed again by the engine.

``/`` is the page and ``/story`` its numbers as JSON; both take the controls as a query (``?text=abc&scale=2``).

A server that only this machine's browser should ask is still one that any page in that browser could.  So it listens on
127.0.0.1; answers only where a request names it as its host, which a page whose name was made to lead here does not;
and refuses what a browser says another page asked for.  It reads no body, and an address no longer than a scene needs.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from minirnn.core.files import Json
from minirnn.explain.engine.scene import Scene
from minirnn.explain.page.document import page_of, policy
from minirnn.explain.page.story import controls, tell
from minirnn.explain.page.writing import writer_of

HOST = "127.0.0.1"
LONGEST = 4096  # characters of an address: 64 characters of text take at most 768
FIELDS = 20  # of a query
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def serve(scene: Scene, port: int = 0, ready: Callable[[str], object] | None = None) -> None:
    """Serve the page of ``scene`` until Ctrl-C; ``ready`` is told its address.  Port 0 is any that is free.

    ValueError for a scene that cannot be shown, OSError for a port that cannot be had, each one sentence.
    """
    tell(scene)  # what is wrong with it is said now
    with suppress(KeyboardInterrupt), Server(scene, port) as server:
        if ready:
            ready(server.address)
        server.serve_forever()


class Server(ThreadingHTTPServer):
    """Listens on the loopback and holds the scene that a page begins with."""

    daemon_threads = True  # an answer that nobody waits for ends with the server

    def __init__(self, scene: Scene, port: int = 0) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
            raise ValueError(f"port must be an integer from 0 to {2**16 - 1}; got {port!r:.60}")
        self.scene, self.writer, self.computing = scene, writer_of(scene), Lock()
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise OSError(f"port {port} of {HOST} cannot be had: {error.strerror}; 0 is any that is free") from None

    def server_bind(self) -> None:
        """As of TCP: HTTP's asks the network for this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing for a browser that went away; a traceback for what should not happen."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def story(self, scene: Scene) -> Json:
        """Computed one at a time."""
        with self.computing:
            return tell(scene)


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; what else comes is refused in a sentence of plain text."""

    server: Server
    timeout = 10  # seconds that a request may take to come
    server_version, sys_version = "minirnn", ""
    error_message_format, error_content_type = "%(message)s\n", "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """The page, its numbers, or a refusal."""
        refusal = self._refusal()
        if refusal:
            self.send_error(*refusal)
            return
        place, query = urlsplit(self.path).path, urlsplit(self.path).query
        if place == "/":
            self._page(query)
        elif place == "/story":
            self._story(query)
        elif place == "/favicon.ico":
            self._answer("image/x-icon", b"")
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "there is / and /story here, and nothing else")

    do_HEAD = do_GET  # noqa: N815 - the base class looks for it; ``_answer`` leaves the body out

    def _refusal(self) -> tuple[HTTPStatus, str] | None:
        """Why a request is not answered."""
        hosts = [f"{name}:{self.server.server_port}" for name in (HOST, "localhost")]
        if len(self.path) > LONGEST:
            return HTTPStatus.REQUEST_URI_TOO_LONG, f"an address here has at most {LONGEST} characters"
        asked = self.headers.get_all("Host", [])
        if len(asked) != 1 or asked[0] not in hosts or not self.path.startswith("/"):
            return HTTPStatus.MISDIRECTED_REQUEST, f"this server answers to {' and '.join(hosts)} alone"
        origins = self.headers.get_all("Origin", [])
        sites = self.headers.get_all("Sec-Fetch-Site", [])
        if any(o != f"http://{asked[0]}" for o in origins) or any(s not in ("none", "same-origin") for s in sites):
            return HTTPStatus.FORBIDDEN, "this server answers its own page alone"
        return None

    def _page(self, query: str) -> None:
        try:
            story = self.server.story(scene_of(query, self.server.scene))
        except (ValueError, ArithmeticError) as error:
            begin = {"controls": controls(self.server.scene), "problem": str(error)}
            self._answer("text/html; charset=utf-8", page_of(begin, served=True).encode(), HTTPStatus.BAD_REQUEST)
            return
        page = page_of(story, served=True, writer=self.server.writer)
        self._answer("text/html; charset=utf-8", page.encode())

    def _story(self, query: str) -> None:
        """A mistake in the controls is an answer like any other: the page says what it is."""
        answer: Json
        try:
            answer = self.server.story(scene_of(query, self.server.scene))
        except (ValueError, ArithmeticError) as error:
            answer = {"problem": str(error)}
        self._answer("application/json", json.dumps(answer, allow_nan=False).encode())

    def _answer(self, kind: str, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        """With what every answer, a refusal too, tells the browser to keep to."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        rules = policy(served=True, writer=self.server.writer)
        self.send_header("Content-Security-Policy", f"{rules}; frame-ancestors 'none'")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing: the terminal is the reader's."""


def scene_of(query: str, base: Scene) -> Scene:
    """``base`` with what a query says of it, as a form writes it.  ValueError, one sentence, for what is no scene."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
    except UnicodeDecodeError:
        raise ValueError("what an address asks for must be written in UTF-8") from None
    except ValueError:
        raise ValueError(f"an address here says at most {FIELDS} things") from None
    known, said = controls(base), dict(pairs)
    for name in said:
        if name not in known:
            raise ValueError(f"there is no control {name!r:.60} here; there are {', '.join(known)}")
    if len(said) < len(pairs):
        raise ValueError("each control is given once")
    words: Json = {name: READERS[name](name, value) for name, value in said.items()}
    return replace(base, **words)


def _text(_name: str, value: str) -> str:
    return value.replace("\r\n", "\n")  # as some browsers write the end of a line


def _whole(name: str, value: str) -> int:
    try:
        return int(value[:20])
    except ValueError:
        raise ValueError(f"{name} must be a whole number; got {value!r:.60}") from None


def _number(name: str, value: str) -> float:
    try:
        return float(value[:60])
    except ValueError:
        raise ValueError(f"{name} must be a number; got {value!r:.60}") from None


READERS: dict[str, Callable[[str, str], object]] = {
    "text": _text,
    "num_steps": lambda name, value: _whole(name, value) if value else None,
    "scale": _number,
    "clip": lambda name, value: _number(name, value) if value else None,
    "cell": lambda _name, value: value,
    "hidden_size": _whole,
    "seed": _whole,
}
