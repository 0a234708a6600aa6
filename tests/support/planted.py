"""Loaders with a fault each, which ``hostile.py`` must find, and two without."""

import math
import os
import pickle
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from minirnn import Linear, ModelFileError, load
from minirnn.formats import native, opening
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.containers.hdf5 import chunks
from minirnn.formats.containers.hdf5.source import Source
from minirnn.formats.onnx.running import meter as onnx_meter
from minirnn.formats.onnx.running import operands as onnx_operands
from minirnn.formats.torch import records

KEPT: list[Any] = []


def sound(path: Path) -> Any:
    """Loads, and uses memory that the file's size allows."""
    assert np.ones(2**22).sum() == 2**22  # 32 MB
    return Linear(2, 2).init()


def refuses(path: Path) -> Any:
    raise ModelFileError(f"{path} is not what was expected")


def hangs(path: Path) -> Any:
    while True:
        time.sleep(1)


def takes_long(path: Path) -> Any:
    began = time.process_time()
    while time.process_time() < began + 1:
        pass
    refuses(path)


def takes_memory(path: Path) -> Any:
    KEPT.append(np.ones(2**24))  # 128 MB
    KEPT.clear()
    refuses(path)


def asks_for_all_memory(path: Path) -> Any:
    return np.empty(2**40)


def dies(path: Path) -> Any:
    os.abort()


def exits(path: Path) -> Any:
    os._exit(0)


def raises_key_error(path: Path) -> Any:
    return dict[str, int]()["weights"]


def recurses(path: Path) -> Any:
    return recurses(path)


def says_nothing(path: Path) -> Any:
    raise ModelFileError("bad file")


def says_too_much(path: Path) -> Any:
    raise ModelFileError(f"{path} is bad:\n{'x' * 10_000}")


def loads_nothing(path: Path) -> Any:
    return {}


def loads_infinity(path: Path) -> Any:
    model = Linear(2, 2).init()
    model.weights[...] = np.inf
    return model


def runs_code(path: Path) -> Any:
    exec(path.read_bytes())  # noqa: S102 - the fault
    refuses(path)


def compiles(path: Path) -> Any:
    compile(path.read_text(), "model", "exec")
    refuses(path)


def unpickles(path: Path) -> Any:
    pickle.loads(b"cos\ngetcwd\n)R.")  # noqa: S301 - the fault
    refuses(path)


def starts_a_program(path: Path) -> Any:
    subprocess.run(["true"], check=True)
    refuses(path)


def calls_the_shell(path: Path) -> Any:
    os.system("true")  # noqa: S605 - the fault
    refuses(path)


def connects(path: Path) -> Any:
    socket.socket()


def writes_beside(path: Path) -> Any:
    path.with_suffix(".out").write_text("x")
    refuses(path)


def removes(path: Path) -> Any:
    path.unlink()
    refuses(path)


def imports(path: Path) -> Any:
    import this  # noqa: F401 - the fault

    refuses(path)


def hides_what_it_did(path: Path) -> Any:
    """The hook's own exception caught: it is on record all the same."""
    try:
        os.system("true")  # noqa: S605 - the fault
    except RuntimeError:
        refuses(path)


# ---------------------------------------------------------------------- readers of ONNX that do not count


def nothing(*_: Any) -> None:
    """What is not done."""


def counts_nothing_of_empty_arrays(path: Path) -> Any:
    """An axis of size 0 makes an array nothing, whatever its other axes are."""
    onnx_meter.extent = math.prod  # type: ignore[assignment]  # the fault
    return load(path)


def walks_for_nothing(path: Path) -> Any:
    onnx_meter.Meter.spend = nothing  # type: ignore[assignment]  # the fault
    return load(path)


def lists_whatever_comes(path: Path) -> Any:
    onnx_operands.check_count = nothing  # type: ignore[assignment]  # the fault
    return load(path)


# ---------------------------------------------------------------------- minirnn's own loader, without one of its bounds

ENDLESS = 2**62


def counts_no_bytes(path: Path) -> Any:
    """Of a pickle only the instructions are counted, not what they make."""
    with mock.patch.object(pickles, "MOST_HELD", ENDLESS):
        return load(path)


def takes_any_key(path: Path) -> Any:
    with mock.patch.object(pickles, "is_key", return_value=True):
        return load(path)


def walks_any_module(path: Path) -> Any:
    """Modules that are within each other by reference are looked into wherever they are."""
    with mock.patch.multiple(records, MOST_MODULES=2**18, MOST_ENTRIES=2**24):
        return load(path)


def expands_any_chunk(path: Path) -> Any:
    with (
        mock.patch.object(chunks, "LARGEST_SMALL", ENDLESS),
        mock.patch.object(Source, "expand"),
    ):
        return load(path)


def makes_up_any_array(path: Path) -> Any:
    with mock.patch.object(Source, "make_up"):
        return load(path)


def parses_any_header(path: Path) -> Any:
    with mock.patch.multiple(opening, LARGEST_HEADER=ENDLESS, MOST_TENSORS=ENDLESS):
        return load(path)


def builds_any_number_of_layers(path: Path) -> Any:
    with (
        mock.patch.multiple(opening, LARGEST_HEADER=ENDLESS, MOST_TENSORS=ENDLESS, LARGEST_JSON=ENDLESS),
        mock.patch.object(opening, "MOST_VALUES", ENDLESS),
        mock.patch.object(native, "MOST_LAYERS", ENDLESS),
    ):
        return load(path)


def builds_layers_of_any_depth(path: Path) -> Any:
    with mock.patch.object(native, "DEEPEST", ENDLESS):
        return load(path)


def parses_any_description(path: Path) -> Any:
    with (
        mock.patch.multiple(opening, LARGEST_HEADER=ENDLESS, MOST_TENSORS=ENDLESS, LARGEST_JSON=ENDLESS),
        mock.patch.object(opening, "MOST_VALUES", ENDLESS),
    ):
        return load(path)


def takes_any_seed(path: Path) -> Any:
    """One that no file may have."""
    model = load(path)
    model.bound.seed += 1
    return model
