"""The contestants: one module for each library, which alone imports it, and only in a process of its own.

A module has ``build(name, threads)``, which returns a ``Peer`` or raises: then that contestant is absent from the run.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from benchmarks.cases import Case
from benchmarks.inputs import Arrays

SUBJECT, PLAIN, TORCH = "minirnn", "minirnn-numpy", "torch"
SEGMENTED = {"minirnn-sqrt": SUBJECT, "minirnn-numpy-sqrt": PLAIN}  # long sequences in less memory
REFERENCE = "reference"

F4, F16, BF16, INT8 = "f4", "f16", "bf16", "int8"  # what products multiply


class Narrow(NamedTuple):
    """A contestant that multiplies in fewer bits: which numbers, and in which kinds of cases."""

    arithmetic: str
    kinds: tuple[str, ...] = ("inference", "stream")


NARROW = {
    "minirnn-f16": Narrow(F16, ("stream",)),
    "minirnn-bf16": Narrow(BF16, ("training", "inference", "stream")),
    "minirnn-int8": Narrow(INT8),
    "torch-bf16": Narrow(BF16),
    "torch-autocast": Narrow(BF16, ("training", "inference", "stream")),
    "torch-int8": Narrow(INT8),
    "onnxruntime-int8": Narrow(INT8),
    "openvino-bf16": Narrow(BF16),
    "openvino-int8": Narrow(INT8, ("inference",)),
}
OURS = {F4: (SUBJECT, PLAIN), F16: ("minirnn-f16",), BF16: ("minirnn-bf16",), INT8: ("minirnn-int8",)}
OWN = (*(name for names in OURS.values() for name in names), *SEGMENTED)
CONTESTANTS = (*OWN, TORCH, "jax", "onnxruntime", "openvino", *(name for name in NARROW if name not in OWN))

METERS = {F4: "peak-f4", BF16: "peak-bf16", INT8: "peak-int8"}  # each measures the peak of one instruction

MODULES = {
    **dict.fromkeys([*OWN, REFERENCE], "benchmarks.peers.own"),
    **dict.fromkeys([TORCH, "torch-bf16", "torch-autocast", "torch-int8"], "benchmarks.peers.pytorch"),
    "jax": "benchmarks.peers.jaxscan",
    **dict.fromkeys(["onnxruntime", "onnxruntime-int8"], "benchmarks.peers.ort"),
    **dict.fromkeys(["openvino", "openvino-bf16", "openvino-int8"], "benchmarks.peers.ov"),
    **dict.fromkeys(METERS.values(), "benchmarks.peak"),
}


class UnsupportedError(Exception):
    """A contestant does not take part in this case; the message says why."""


class Job(NamedTuple):
    """A case, prepared by a contestant.

    ``outputs`` runs it and returns what has to agree; it is called once, before any ``call``.

        training    y, the final state ``h`` (and ``c``) (layers · directions, B, H), dx, and each weight's gradient
                    under its name in ``inputs.draw`` with ``d`` before it
        inference   y and the final state
        stream      y (STREAM, B, H) of the first STREAM steps, and the state after them
        chapter     losses (LOSSES), of the first steps

    ``call`` is what is timed: the same work, finished on return.  What it returns is dropped.
    ``left`` counts the bytes that forward leaves for backward beside x and y; None where nobody asks.
    """

    call: Callable[[], object]
    outputs: Callable[[], Arrays]
    left: Callable[[], int] | None = None


class Peer(Protocol):
    """A library set up for a number of threads.  ``info`` is reported, versions above all."""

    info: dict[str, str | float]

    def prepare(self, case: Case, arrays: Arrays) -> Job:
        """Everything that is done once: building the model, converting ``arrays``.  May raise UnsupportedError."""


def takes_part(name: str, case: Case) -> bool:
    """Whether a contestant is there for cases of this kind."""
    if case.kind == "long":
        return name in (SUBJECT, PLAIN, *SEGMENTED)
    if name in NARROW:
        return case.narrow and case.kind in NARROW[name].kinds
    return name not in SEGMENTED


def arithmetic(name: str) -> str:
    """What a contestant's products multiply."""
    return NARROW[name].arithmetic if name in NARROW else F4


def instruction(name: str) -> str:
    """Whose peak limits a contestant: a key of ``METERS``.  Weights in float16 are multiplied as float32."""
    return F4 if arithmetic(name) == F16 else arithmetic(name)


def build(name: str, threads: int) -> Peer:
    """The contestant called ``name``, in this process; raises what its library does where it cannot be built."""
    peer: Peer = importlib.import_module(MODULES[name]).build(name, threads)
    return peer
