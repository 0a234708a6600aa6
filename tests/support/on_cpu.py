"""The CUDA sources compiled by g++ with ``on_cpu.hpp``, and their kernels called through ctypes."""

import ctypes
import getpass
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from staged_cells import Biased, Reduced

from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.protocol import name_of
from minirnn.core.tracing import traced
from minirnn.kernels.cuda.emitting import source_of
from minirnn.kernels.cuda.launch import FOLDER, TYPES, Source
from minirnn.more_cells import LayerNormGRUCell, LayerNormLSTMCell, MinGRUCell, PeepholeLSTMCell

HERE = Path(__file__).parent
CELLS: dict[str, Any] = {  # by name: one of each kind
    name_of(cell): cell
    for cell in (
        TanhCell,
        ReluCell,
        GRUCell,
        LSTMCell,
        GRUBeforeCell,
        ProjectedLSTMCell(3),
        MinGRUCell,
        PeepholeLSTMCell,
        LayerNormLSTMCell,
        LayerNormGRUCell,
        Reduced,
        Biased,
    )
}
BUILT = Path(tempfile.gettempdir()) / f"minirnn-cuda-on-cpu-{getpass.getuser()}"


@cache
def sources() -> dict[str, Source]:
    """What is compiled: the kernels of those cells, and the optimisers'."""
    updates = Source.of("updates", (FOLDER / "updates.cu").read_text())
    return {name: source_of(traced(cell)) for name, cell in CELLS.items()} | {"updates": updates}


def instances(source: Source) -> list[tuple[str, str, dict[str, str]]]:
    """(kernel, expression, types) of everything in a source that is ever compiled."""
    found: dict[str, tuple[str, str, dict[str, str]]] = {}
    stages = re.findall(r"^struct (Stage\d+)", source.code, re.MULTILINE) or [""]
    for kernel, declaration in source.kernels.items():
        for stage in stages if "Stage" in declaration.template else ("",):
            for stored, computed in TYPES.values():
                if stored != computed and kernel != "step":  # what is stored in float16 is for inference alone
                    continue
                types = {"Stage": stage, "S": stored, "F": computed}
                name = source.expression(kernel, types)
                found[name] = kernel, name, types
    return list(found.values())


def program(source: Source) -> str:
    """C++ that has every instance of a source under a C name."""
    lines = ['#include "on_cpu.hpp"', source.code, 'extern "C" {']
    for k, (kernel, name, types) in enumerate(instances(source)):
        arguments = [
            f"*({types.get(p.kind, p.kind)}{'*' if p.pointer else ''}*)a[{i}]"
            for i, p in enumerate(source.kernels[kernel].parameters)
        ]
        lines.append(
            f"void run_{k}(unsigned blocks, unsigned threads, void** a) "
            f"{{ on_cpu(blocks, threads, [=] {{ {name}({', '.join(arguments)}); }}); }}"
        )
    return "\n".join([*lines, "}"])


def build(source: Source, flags: Sequence[str] = ()) -> Path:
    """The shared library of a source."""
    text, shim = program(source), (HERE / "on_cpu.hpp").read_text()
    key = hashlib.sha256("\0".join([text, shim, *flags]).encode()).hexdigest()[:16]
    target = BUILT / key / "kernels.so"
    if not target.exists():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "program.cpp").write_text(text)
            command = ["g++", "-std=c++20", "-O1", "-g", "-shared", "-fPIC", "-pthread", "-Wall", "-Werror"]
            command += [f"-I{HERE}", *flags, "program.cpp", "-o", "program.so"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(f".{os.getpid()}")
            part.write_bytes((folder / "program.so").read_bytes())
            part.replace(target)
    return target


@cache
def library(path: Path) -> ctypes.CDLL:
    """The shared library, loaded once."""
    return ctypes.CDLL(str(path))


def function(source: Source, name: str, flags: Sequence[str] = ()) -> Any:
    """A kernel's instance by its expression: ``f(blocks, threads, addresses of the arguments)``."""
    names = [found for _, found, _ in instances(source)]
    return getattr(library(build(source, flags)), f"run_{names.index(name)}")
