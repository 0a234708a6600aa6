"""Streaming inference: one step at a time, with the state kept between calls.

    stream = model.stream()
    y = stream(x_t)  # (1, features) or indices (1,) -> (1, outputs)

A stream computes step by step what ``model(x)`` computes of a whole sequence.  It is a snapshot: weights written later
do not reach it.  Forks share the snapshot, and ``stream_many`` runs them together as one batch.

Where the backend has kernels for every layer, the weights are laid out in blocks when the stream is made
(``program.py``), and a step is one call of a kernel (``kernels/cpu/streams.py``) that with ``out=`` allocates nothing.
Elsewhere a step is ``model(x[None], state)``.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.core.stream import Stream
from minirnn.inference.program import Space, StepProgram

GROUPS = 4  # numbers of rows for which ``stream_many`` keeps memory


class Snapshot:
    """The weights that the streams of one model share, as they were: a program of kernels, or a copy of the model."""

    def __init__(self, model: Any) -> None:
        p, name = model.bound, brief(model)
        model.check_whole("stream")
        if model.changes_steps:
            raise ValueError(f"a stream has one y for each x; got {name}, which changes the number of steps")
        if model.reads_ahead:
            raise ValueError(f"a stream takes a network that reads forward only; got {name}")
        if model.masks:
            raise ValueError(f"a stream skips no steps: give it those that count; got {name}, which masks some")
        if p.backend.on_device:
            raise ValueError(f"a stream runs on the host; this model is on {p.backend.name}: model.to(backend='auto')")
        self.dtype, self.integers, self.floats = p.dtype, model.integers, model.floats
        if model.input_size is None:
            raise ValueError(f"a stream takes a network that knows how many features it reads; got {name}")
        self.input_size: int = model.input_size
        self.output_size: int = model.output_size or model.input_size
        self.program = StepProgram(model)
        self.model: Any = None if self.program.whole else model.to()
        x = np.zeros((1, 1, self.input_size), p.dtype) if self.floats else np.zeros((1, 1), np.int64)
        _, self.initial = model(x, lengths=[0], batch_first=False)  # the state of a row that has read nothing
        self.groups: dict[int, Stream] = {}  # of ``stream_many``, by their number of rows

    def space(self, batch_size: int) -> Space | None:
        """The memory of a step of so many rows by kernels; None where the model computes it."""
        return Space(self.program, batch_size) if self.program.whole else None


def stream_of(model: Layer, batch_size: int) -> Stream:
    """A stream of this model; streams of the same weights share one snapshot."""
    digest = model.bound.digest()
    snapshots = model.bound.prepared.setdefault("streams", weakref.WeakValueDictionary())
    snapshot = snapshots.get(digest)
    if snapshot is None:
        snapshots[digest] = snapshot = Snapshot(model)
    return Stream(snapshot, batch_size)


def stream_many(streams: Sequence[Stream], x: Any, *, out: Array | None = None) -> Array:
    """One step of several streams of one model as one batch: their rows one under another in x and in y.

    Streams of one model are forks of one, or were made by ``model.stream`` while its weights were the same.  Each goes
    on from its own state.  A matrix is then read once for all of them, which is most of what a step costs.
    """
    if not streams or not all(isinstance(stream, Stream) for stream in streams):
        raise TypeError("stream_many takes a sequence of streams, at least one")
    snapshot = streams[0].snapshot
    if any(stream.snapshot is not snapshot for stream in streams):
        raise ValueError("stream_many takes streams of one model with the same weights: fork one to get more")
    if len({id(stream) for stream in streams}) < len(streams):
        raise ValueError("stream_many takes each stream once; one is there twice")
    rows = sum(stream.batch_size for stream in streams)
    together = snapshot.groups.pop(rows, None) or Stream(snapshot, rows)  # taken, so that another thread makes its own
    cuts = np.cumsum([0, *(stream.batch_size for stream in streams)])
    own = [stream._places() for stream in streams]  # noqa: SLF001 - a stream's friend
    for k, layers in enumerate(together._places()):  # noqa: SLF001
        for i, place in enumerate(layers):
            np.concatenate([places[k][i] for places in own], out=place)
    y = together(x, out=out)
    for k, layers in enumerate(together._places()):  # noqa: SLF001
        for i, place in enumerate(layers):
            for places, start, stop in zip(own, cuts, cuts[1:], strict=False):
                places[k][i][...] = place[start:stop]
    if len(snapshot.groups) < GROUPS:
        snapshot.groups[rows] = together
    return y
