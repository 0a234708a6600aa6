"""A model behind HTTP, with the standard library alone: ``python serve.py MODEL [--port 8000]``.

    POST /  {"x": [[0.1, 0.2], [0.3, 0.4]]}     steps of one row, indices for a model that takes those
            {"y": [[...], [...]]}               what the model gives after each step
    POST /  {"prefix": "The ", "length": 80}    of a character language model
            {"text": "..."}

Requests run side by side: a stream of single steps keeps its state to itself, the weights are shared.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import minirnn

LARGEST = 2**20  # bytes of a request
LONGEST = 1000  # characters of an answer


def answer(model: Any, asked: Any) -> dict[str, Any]:
    """What a request gets; ValueError for one that cannot be met."""
    if not isinstance(asked, dict):
        raise ValueError("a request must be a JSON object")
    if isinstance(model, minirnn.LanguageModel):
        prefix, length, temperature = (
            asked.get(*one) for one in (("prefix", ""), ("length", 80), ("temperature", 0.7))
        )
        if not isinstance(prefix, str) or type(length) is not int or not 0 < length <= LONGEST:
            raise ValueError(f'a request must be {{"prefix": text, "length": from 1 to {LONGEST}}}')
        if not isinstance(temperature, (int, float)):
            raise ValueError(f"temperature must be a number; got {temperature!r:.40}")
        return {"text": "".join(model.generate(prefix, length, temperature=temperature))}
    steps = asked.get("x")
    if not isinstance(steps, list) or not steps:
        raise ValueError('a request must be {"x": [step, step, ...]}')
    stream = model.stream()
    return {"y": [stream([step])[0].tolist() for step in steps]}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    model: Any

    def do_POST(self) -> None:
        """Answer in JSON: 200 with a result, 400 with the one sentence that says what was wrong."""
        try:
            size = int(self.headers.get("Content-Length", 0))
            if not 0 < size <= LARGEST:
                raise ValueError(f"a request must have from 1 to {LARGEST:,} bytes; this one has {size:,}")
            status, said = 200, answer(self.model, json.loads(self.rfile.read(size)))
        except ValueError as error:  # of JSON and of minirnn too
            status, said = 400, {"error": str(error)}
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' word
        """Log nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    chosen = parser.parse_args()
    Handler.model = minirnn.load(chosen.model)
    with ThreadingHTTPServer((chosen.host, chosen.port), Handler) as server:
        print(f"http://{server.server_address[0]!s}:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
