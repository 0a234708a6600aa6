"""A model behind HTTP, with the standard library alone: ``python serve.py MODEL [--port 8000]``.

    GET /                                       what the model takes and gives
    POST /  {"x": [[0.1, 0.2], [0.3, 0.4]]}     layers: the steps of one sequence, numbers or indices
            {"y": [[...], [...]]}               what the model gives after each step, or after the last
    POST /  {"inputs": {"x": [...]}}            a graph of ONNX: its inputs by name
            {"outputs": {"y": [...]}}
    POST /  {"prefix": "The ", "length": 80}    a character language model
            {"text": "..."}
    POST /  {"text": "th_ st_tement"}           one that fills in
            {"text": "..."}

MODEL is any file that ``minirnn.load`` opens.  Layers that read forward answer step by step, by a stream; those that
need the whole sequence, such as a bidirectional one, get it at once.  Requests run side by side: each has a state of
its own, the weights are shared.
"""

import argparse
import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import minirnn
from minirnn.formats.onnx import Graph

LARGEST = 2**20  # bytes of a request
LONGEST = 1000  # characters of an answer


class Server:
    """What one kind of model takes and gives, and its answer to a request: ValueError for one that cannot be met."""

    def __init__(self, model: Any, takes: Any, gives: Any) -> None:
        self.model, self.takes, self.gives = model, takes, gives

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, which is an object of JSON."""
        raise NotImplementedError

    def value(self, request: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
        """An entry of the request."""
        value = request.get(name, default)
        if type(value) is not kind:
            raise ValueError(f"a request must be {json.dumps(self.takes)}; {name} is {json.dumps(value):.40}")
        return value


class Writing(Server):
    """A language model that goes on where a text ends."""

    def __init__(self, model: minirnn.LanguageModel) -> None:
        takes = {"prefix": "text", "length": f"from 1 to {LONGEST}", "temperature": "0.7"}
        super().__init__(model, takes, {"text": "text"})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        temperature = request.get("temperature", 0.7)
        if type(temperature) is not int:
            temperature = self.value(request, "temperature", float, 0.7)
        prefix, length = self.value(request, "prefix", str, ""), self.value(request, "length", int, 80)
        if not 0 < length <= LONGEST:
            raise ValueError(f"length must be from 1 to {LONGEST}; got {length}")
        return {"text": "".join(self.model.generate(prefix, length, temperature=temperature))}


class Filling(Server):
    """A language model that restores characters."""

    def __init__(self, model: minirnn.LanguageModel) -> None:
        super().__init__(model, {"text": "text with _ for each character to fill in"}, {"text": "text"})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"text": self.model.fill(self.value(request, "text", str))}


class Sequences(Server):
    """Layers, of which one sequence is asked."""

    def __init__(self, model: Any) -> None:
        size = model.input_size or "any"
        steps = [f"[{size} numbers]"] * model.floats + [f"an index below {size}"] * model.integers
        try:
            self.stream: Callable[[], Any] | None = model.stream().fork  # forks share one copy of the weights
        except ValueError:  # a network that needs the whole sequence
            self.stream = None
        every_step = self.stream or model.keeps_time
        gives = {"y": ["[numbers]", "..."] if every_step else "[numbers]"}
        super().__init__(model, {"x": [" or ".join(steps), "..."]}, gives)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        steps = self.value(request, "x", list)
        if not steps:
            raise ValueError("x must have at least one step; it has none")
        if self.stream:
            stream = self.stream()
            return {"y": [stream([step])[0].tolist() for step in steps]}
        y, _ = self.model([[step] for step in steps])  # (T, B, outputs) or (B, outputs), B = 1
        return {"y": y[:, 0].tolist() if self.model.keeps_time else y[0].tolist()}


class LayerGraphs(Server):
    """A graph of layers with several inputs or outputs: each is an array as ``run`` has it, time first."""

    def __init__(self, model: minirnn.LayerGraph) -> None:
        inputs = {entry.name: entry.shape for entry in model.entries}
        super().__init__(model, {"inputs": inputs}, {"outputs": dict.fromkeys(model.outputs, "an array")})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        outputs, _ = self.model.run(self.value(request, "inputs", dict, {}))
        return {"outputs": {name: array.tolist() for name, array in outputs.items()}}


class Graphs(Server):
    """A graph of ONNX, which is run as it is."""

    def __init__(self, model: Graph) -> None:
        inputs, outputs = ({port.name: str(port) for port in ports} for ports in (model.inputs, model.outputs))
        super().__init__(model, {"inputs": inputs}, {"outputs": outputs})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        outputs = self.model.run(self.value(request, "inputs", dict, {}))
        return {"outputs": {name: array.tolist() for name, array in outputs.items()}}


def server_of(model: Any) -> Server:
    """What serves a model that ``minirnn.load`` returned."""
    if isinstance(model, Graph):
        return Graphs(model)
    if isinstance(model, minirnn.LanguageModel):
        return Writing(model) if model.task == "next" else Filling(model)
    if isinstance(model, minirnn.LayerGraph) and not model.one_way:
        return LayerGraphs(model)
    return Sequences(model)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server_of_model: Server
    timeout = 30  # seconds that a client may keep silent

    def do_GET(self) -> None:
        """Say what the model takes and gives."""
        known = self.server_of_model
        self.reply(200, {"model": repr(known.model), "takes": known.takes, "gives": known.gives})

    def do_POST(self) -> None:
        """Answer in JSON: 200 with a result, 400 with the one sentence that says what was wrong."""
        try:
            self.reply(200, self.server_of_model.answer(self.request_of_client()))
        except RecursionError:
            self.reply(400, {"error": "the request is nested too deeply"})
        except ValueError as error:  # of JSON and of minirnn too
            self.reply(400, {"error": str(error)})
        except Exception as error:  # noqa: BLE001 - a fault of the server's own must not leave a client without answer
            self.reply(500, {"error": f"{type(error).__name__}: {error}"})

    def request_of_client(self) -> dict[str, Any]:
        """The object that was sent."""
        size = int(self.headers.get("Content-Length", 0))
        if not 0 < size <= LARGEST:
            self.close_connection = True
            raise ValueError(f"a request must have from 1 to {LARGEST:,} bytes; this one has {size:,}")
        request = json.loads(self.rfile.read(size), parse_constant=refused)
        if not isinstance(request, dict):
            raise ValueError("a request must be a JSON object")
        return request

    def reply(self, status: int, message: dict[str, Any]) -> None:
        """Send an answer."""
        try:
            body = json.dumps(message, allow_nan=False).encode()
        except ValueError:
            status, body = 400, b'{"error": "the model answers with numbers that are not finite"}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request of ours, in JSON too."""
        self.close_connection = True
        self.reply(code, {"error": message or explain or "refused"})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' word
        """Log nothing."""


def refused(name: str) -> None:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(f"a request must be JSON, which has no {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    chosen = parser.parse_args()
    try:
        Handler.server_of_model = server_of(minirnn.load(chosen.model))
        server = ThreadingHTTPServer((chosen.host, chosen.port), Handler)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"serve.py: {error}")
    with server:
        print(f"http://{server.server_address[0]!s}:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
