"""The contestants: one module for each library, which alone imports it, and only in a process of its own.

A module has ``build(name, threads)``, which returns a ``Peer`` or raises: then that contestant is absent from the run.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from benchmarks.cases import Case
from benchmarks.inputs import Arrays

SUBJECT, PLAIN, TORCH = "minirnn", "minirnn-numpy", "torch"
QUANTISED = {"minirnn-f16": "f16", "minirnn-int8": "int8"}  # streams with fewer bits; the others have all of them
SEGMENTED = {"minirnn-sqrt": SUBJECT, "minirnn-numpy-sqrt": PLAIN}  # long sequences in less memory
OWN = (SUBJECT, PLAIN, *QUANTISED, *SEGMENTED)
CONTESTANTS = (*OWN, TORCH, "jax", "onnxruntime", "openvino")
REFERENCE, PEAK = "reference", "peak"

MODULES = {
    SUBJECT: "benchmarks.peers.own",
    PLAIN: "benchmarks.peers.own",
    REFERENCE: "benchmarks.peers.own",
    **dict.fromkeys([*QUANTISED, *SEGMENTED], "benchmarks.peers.own"),
    TORCH: "benchmarks.peers.pytorch",
    "jax": "benchmarks.peers.jaxscan",
    "onnxruntime": "benchmarks.peers.ort",
    "openvino": "benchmarks.peers.ov",
    PEAK: "benchmarks.peak",
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
    return name not in SEGMENTED and (case.kind == "stream" or name not in QUANTISED)


def build(name: str, threads: int) -> Peer:
    """The contestant called ``name``, in this process; raises what its library does where it cannot be built."""
    peer: Peer = importlib.import_module(MODULES[name]).build(name, threads)
    return peer
