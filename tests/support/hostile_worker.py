"""The process that loads what ``hostile.py`` spoils: one file after another, watched.

It says for each what became of it: a line of JSON with the outcome, the seconds of processor time, the growth of its
peak of memory, and what the loader did that no loader of data may do.
"""

import codecs
import copy
import importlib
import json
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minirnn
from minirnn import Layer, LayerGraph, ModelFileError, ModelFileWarning, save
from minirnn.formats import opening
from minirnn.formats.onnx import Graph

MEMORY = 8 * 2**30  # bytes of addresses that the process may have, so that a wild allocation fails by itself
FORBIDDEN = (
    "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.", "socket.", "urllib.",
    "http.", "ftplib.", "smtplib.", "exec", "compile", "code.__new__", "marshal.", "pickle.find_class", "ctypes.",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.putenv", "os.kill", "shutil.", "tempfile.", "import",
)  # fmt: skip
LONGEST_MESSAGE = 2000
LARGEST_INPUT = 2**16  # numbers
STEPS = 8  # of it; windows of few steps fit
LONG = 1.0  # seconds, after which a load has failed whatever it loaded
ADDRESSES = "minirnn.kernels.cpu.passes"  # which asks ctypes where an array lies, and calls nothing


class Watch:
    """What the interpreter reports while it is on: ``found`` collects what is forbidden, which does not happen."""

    def __init__(self) -> None:
        self.on, self.found = False, []  # type: bool, list[str]
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        asked = (
            event.startswith(("ctypes.cdata", "ctypes.addressof"))
            and sys._getframe(1).f_globals["__name__"] == ADDRESSES
        )
        if writing or (event.startswith(FORBIDDEN) and not asked):
            self.found.append(f"{event} {str(arguments[:1])[:100]}")
            raise RuntimeError(f"a loader of data may not {event}")


class Peak:
    """The growth of the process's peak of memory since ``reset``; None where the system does not tell."""

    def __init__(self) -> None:
        try:
            self.clear, self.status = (
                os.open("/proc/self/clear_refs", os.O_WRONLY),
                os.open("/proc/self/status", os.O_RDONLY),
            )
            self.reset()
            self.known = True
        except OSError:
            self.known = False

    def reset(self) -> None:
        os.pwrite(self.clear, b"5", 0)
        self.before = self.read()

    def read(self) -> int:
        text = os.pread(self.status, 1 << 16, 0)
        return int(text.split(b"VmHWM:")[1].split()[0]) * 1024


def load(loader: Callable[[Path], Any], path: Path, loaded: list[Layer] | None = None) -> tuple[str, str]:
    """The outcome, ``loaded``, ``refused`` or ``failed``, and words about it; a network is put into ``loaded``."""
    try:
        model = loader(path)
        if isinstance(model, Graph):
            return run(model)
    except ModelFileError as error:
        words = str(error)
        if "\n" in words or len(words) > LONGEST_MESSAGE or str(path) not in words:
            return "failed", f"a refusal in one line that names the file was expected; got {words[:500]!r}"
        return "refused", words
    except BaseException as error:  # noqa: BLE001 - what else comes is what is looked for
        return "failed", f"{type(error).__name__}: {error!s:.500}"
    network = getattr(model, "network", model)  # of a LanguageModel
    if not isinstance(network, Layer):
        return "failed", f"a model was expected; got {type(model).__name__}"
    if not np.isfinite(network.weights).all():
        return "failed", "the weights loaded are not finite"
    if loaded is not None:
        loaded.append(network)
    return "loaded", ""


def use(network: Layer) -> str:
    """What goes wrong when a network that was loaded is shown, copied, run, saved and loaded again, or nothing."""
    try:
        repr(network)
        twin = copy.deepcopy(network)
        width = network.input_size or 1
        if isinstance(twin, LayerGraph) and not twin.one_way:
            use_graph(twin)
        elif width <= LARGEST_INPUT:
            shape = (STEPS, 1, width)
            x = np.zeros(shape, network.bound.dtype) if network.floats else np.zeros(shape[:2], np.int64)
            twin(x, batch_first=False)
            if not network.bound.quantized and not network.bound.inference_only:
                twin.forward(x, batch_first=False)
        with tempfile.TemporaryDirectory() as folder:
            save(twin, Path(folder) / "again")
            minirnn.load(Path(folder) / "again", backend="numpy")
    except BaseException as error:  # noqa: BLE001 - what comes is what is looked for
        return f"loaded, but cannot be used: {type(error).__name__}: {error!s:.300}"
    return ""


def use_graph(graph: LayerGraph) -> None:
    """Run a graph of several inputs or outputs on small ones."""
    inputs = {}
    for entry in graph.entries:
        width = entry.features or 1
        shape = (STEPS, 1, width) if entry.steps else (1, width)
        if width > LARGEST_INPUT:
            return
        inputs[entry.name] = np.zeros((STEPS, 1), np.int64) if entry.indices else np.zeros(shape, graph.bound.dtype)
    graph.run(inputs, batch_first=False)


def run(graph: Graph) -> tuple[str, str]:
    """What only runs is run, on small inputs where it takes any, which it may refuse."""
    feed = {}
    for port in graph.inputs:
        shape = [n if isinstance(n, int) else 3 for n in port.shape or ()]
        if math.prod(shape) > LARGEST_INPUT:
            return "loaded", "its inputs are too large to be tried"
        feed[port.name] = (np.arange(math.prod(shape)) % 3).reshape(shape).astype(port.dtype)
    try:
        graph.run(feed)
    except ModelFileError as error:
        if "\n" in str(error) or len(str(error)) > LONGEST_MESSAGE:
            return "failed", f"a refusal in one line was expected; got {str(error)[:500]!r}"
        return "loaded", f"refused to run: {error}"
    return "loaded", ""


def main(name: str) -> None:
    """Warm up on the files named in the first line, then load those named in the lines that follow."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a loader prints is no answer
    module, _, function = name.partition(":")
    loader = getattr(importlib.import_module(module), function)
    for encoding in ("utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):  # which JSON may be in
        codecs.lookup(encoding)
    for needed in (*opening.FORMATS.values(), "safetensors"):  # which a spoilt beginning may send for
        importlib.import_module(needed)
    warnings.simplefilter("ignore", ModelFileWarning)  # what is assumed of thousands of files would fill the pipe
    watch, peak = Watch(), Peak()
    for path in json.loads(sys.stdin.readline()):
        load(loader, Path(path))
    limit()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        path = Path(json.loads(line))
        watch.found.clear()
        if peak.known:
            peak.reset()
        began = time.process_time()
        watch.on = True
        loaded: list[Layer] = []
        outcome, words = load(loader, path, loaded)
        watch.on = False
        seconds = time.process_time() - began
        growth = peak.read() - peak.before if peak.known else None
        problem = use(loaded[0]) if loaded and seconds < LONG else ""
        if problem:
            outcome, words = "failed", problem
        if watch.found:
            outcome, words = "failed", f"did what no loader may: {'; '.join(watch.found[:3])}"
        print(json.dumps([outcome, words, seconds, growth]), file=answers, flush=True)


def limit() -> None:
    """A wild allocation is to fail by itself, and leave the machine alone."""
    try:
        import resource
    except ImportError:  # not on this system
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main(sys.argv[1])
