"""Launching kernels: each argument packed as the source declares it, each compiled once.

CuPy packs a Python float as a double and an int as 8 bytes, whatever the kernel declares: a ``float`` parameter would
silently read half of a double.  So types come from the declaration itself, and arrays are held against it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

FOLDER = Path(__file__).parent
OPTIONS = ("--std=c++17",)  # CuPy finds what it has compiled by the source's text and these
TYPES = {"float16": ("__half", "float"), "float32": ("float", "float"), "float64": ("double", "double")}  # S, F
Array: TypeAlias = Any  # of CuPy's
SCALARS: dict[str, type[np.generic]] = {"i64": np.int64, "double": np.float64, "float": np.float32}
POINTED = {"i64": "int64", "double": "float64", "float": "float32", "__half": "float16"}
_KERNEL = re.compile(r"(?:template <(?P<template>[^>]*)>\s*)?__global__ void (?P<name>\w+)\((?P<parameters>[^)]*)\)")


class Parameter(NamedTuple):
    """One parameter of a kernel: its name, what it is or points to (S and F are template parameters), and which."""

    name: str
    kind: str
    pointer: bool


class Declaration(NamedTuple):
    """A kernel as its source declares it."""

    template: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def declarations(code: str) -> dict[str, Declaration]:
    """The kernels of a source, by name."""
    kernels = {}
    for kernel in _KERNEL.finditer(code):
        template = tuple(word.split()[-1] for word in (kernel["template"] or "").split(",") if word)
        parameters = []
        for text in kernel["parameters"].split(","):
            words = text.replace("const ", "").replace("*", " ").split()
            parameters.append(Parameter(words[-1], words[0], "*" in text))
        kernels[kernel["name"]] = Declaration(template, tuple(parameters))
    return kernels


@dataclass(frozen=True, eq=False)
class Source:
    """What is compiled, one text, and the kernels that it declares."""

    name: str
    code: str
    kernels: Mapping[str, Declaration]

    @classmethod
    def of(cls, name: str, code: str) -> Self:
        return cls(name, code, declarations(code))

    def expression(self, kernel: str, types: Mapping[str, str]) -> str:
        """The name of a compiled kernel: ``step<Stage0, float, float>``."""
        template = self.kernels[kernel].template
        return f"{kernel}<{', '.join(types[word] for word in template)}>" if template else kernel


def types_of(dtype: "np.dtype[Any]", stage: int = 0) -> dict[str, str]:
    """The template's arguments: numbers are stored in ``dtype``, and computed in it or in float."""
    stored, computed = TYPES[dtype.name]
    return {"Stage": f"Stage{stage}", "S": stored, "F": computed}


@cache
def compiled(cupy: Any, source: Source, name: str) -> Any:
    """A kernel ready to be launched; CuPy keeps what it compiled on disk."""
    module = cupy.RawModule(code=source.code, options=OPTIONS, name_expressions=(name,))
    return module.get_function(name)


def launch(
    cupy: Any,
    source: Source,
    kernel: str,
    types: Mapping[str, str],
    blocks: int,
    threads: int,
    **arguments: Array | float | None,
) -> None:
    """Run a kernel on the current stream.

    For a pointer, pass a C-contiguous array of its type, an address (an int), or None.
    """
    declared = source.kernels[kernel].parameters
    names = [parameter.name for parameter in declared]
    if arguments.keys() != set(names):
        raise TypeError(f"kernel {kernel} takes {', '.join(names)}; got {', '.join(arguments)}")
    packed = []
    for name, word, pointer in declared:
        value, kind = arguments[name], types.get(word, word)
        packed.append(_address(kernel, name, kind, value) if pointer else SCALARS[kind](value))
    if blocks == 0:  # CuPy would launch one
        return
    try:
        compiled(cupy, source, source.expression(kernel, types))((blocks,), (threads,), tuple(packed))
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("cupy", "cupy_backends"):
            raise
        raise RuntimeError(f"the CUDA kernel {kernel} could not be run: {error}") from error


def _address(kernel: str, name: str, kind: str, value: Array | None) -> np.uint64:
    """A pointer, 8 bytes wide."""
    if value is None or isinstance(value, int):
        return np.uint64(value or 0)
    if value.dtype.name != POINTED[kind] or not value.flags.c_contiguous:
        raise TypeError(
            f"kernel {kernel} takes {name} as a contiguous array of {POINTED[kind]}; got {value.dtype.name}, strides "
            f"{value.strides} for shape {value.shape}"
        )
    return np.uint64(value.data.ptr)
