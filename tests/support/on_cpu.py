"""The CUDA sources compiled by g++ with ``on_cpu.hpp``, and their kernels called through ctypes."""

import ctypes
import getpass
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from minirnn.kernels.cuda.launch import FOLDER, KERNELS, TYPES, expression

HERE = Path(__file__).parent
CELLS = ("TanhCell", "ReluCell", "GRUCell", "LSTMCell")
BUILT = Path(tempfile.gettempdir()) / f"minirnn-cuda-on-cpu-{getpass.getuser()}"


def instances(file: str) -> list[tuple[str, str, dict[str, str]]]:
    """(kernel, expression, types) of everything in a source that is ever compiled."""
    found: dict[str, tuple[str, str, dict[str, str]]] = {}
    for kernel, declaration in KERNELS.items():
        for cell in CELLS if "Cell" in declaration.template else ("",):
            for stored, computed in TYPES.values():
                if stored != computed and kernel != "step":  # what is stored in float16 is for inference alone
                    continue
                types = {"Cell": cell, "S": stored, "F": computed}
                name = expression(kernel, types)
                if declaration.file == file:
                    found[name] = kernel, name, types
    return list(found.values())


def program(file: str, source: str) -> str:
    """C++ that has every instance of a source under a C name."""
    lines = ['#include "on_cpu.hpp"', source, 'extern "C" {']
    for k, (kernel, name, types) in enumerate(instances(file)):
        arguments = [
            f"*({types.get(p.kind, p.kind)}{'*' if p.pointer else ''}*)a[{i}]"
            for i, p in enumerate(KERNELS[kernel].parameters)
        ]
        lines.append(
            f"void run_{k}(unsigned blocks, unsigned threads, void** a) "
            f"{{ on_cpu(blocks, threads, [=] {{ {name}({', '.join(arguments)}); }}); }}"
        )
    return "\n".join([*lines, "}"])


def build(file: str, source: str | None = None, flags: Sequence[str] = (), cells: str | None = None) -> Path:
    """The shared library of a source, or of ``source`` in its place (``cells``: in the place of cells.cuh)."""
    text = program(file, (FOLDER / file).read_text() if source is None else source)
    header = (FOLDER / "cells.cuh").read_text() if cells is None else cells
    shim = (HERE / "on_cpu.hpp").read_text()
    key = hashlib.sha256("\0".join([text, header, shim, *flags]).encode()).hexdigest()[:16]
    target = BUILT / key / f"{file}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "cells.cuh").write_text(header)
            (folder / "program.cpp").write_text(text)
            command = ["g++", "-std=c++20", "-O1", "-g", "-shared", "-fPIC", "-pthread", "-Wall", "-Werror"]
            command += [f"-I{folder}", f"-I{HERE}", *flags, "program.cpp", "-o", "program.so"]
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


def function(file: str, name: str, **options: Any) -> Any:
    """A kernel's instance by its expression: ``f(blocks, threads, addresses of the arguments)``."""
    names = [found for _, found, _ in instances(file)]
    return getattr(library(build(file, **options)), f"run_{names.index(name)}")
