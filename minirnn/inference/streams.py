"""Streaming inference: one step at a time, with the state kept between calls.

    stream = model.stream()
    y = stream(x_t)  # (1, features) or indices (1,) -> (1, outputs)

A stream computes step by step what ``model(x)`` computes of a whole sequence.  It is a snapshot: weights written later
do not reach it.  Forks share the snapshot, and ``stream_many`` runs them together as one batch.

Where the backend has kernels for every layer, the weights are laid out in blocks when the stream is made
(``program.py``), and a step is one call of a kernel (``kernels/cpu/streams.py``) that with ``out=`` allocates nothing.
Elsewhere a step is ``model(x[None], state)``.
"""

import json
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.core.backend import NUMPY, Array, check_indices, converted, takes
from minirnn.core.edge import as_floats
from minirnn.core.files import ModelFileError, atomic_write
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.core.run import State
from minirnn.core.tree import arrays_in, filled_in, rebuilt
from minirnn.inference.program import Space, StepProgram

VERSION = 1  # of the file that ``save`` writes
GROUPS = 4  # numbers of rows for which ``stream_many`` keeps memory


class Snapshot:
    """The weights that the streams of one model share, as they were: a program of kernels, or a copy of the model."""

    def __init__(self, model: Any) -> None:
        p, name = model.bound, brief(model)
        model.check_whole("stream")
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


class Stream:
    """The state of ``batch_size`` rows of which a model has read something; made by ``model.stream``.

    ``stream(x)`` reads one step more: x (B, features), floats of any width, or integers (B,) where the model takes
    indices.  It has no axis of time, so ``batch_first`` is nothing to it.  It returns y (B, outputs), in ``out`` if
    that is given: an array of that shape, C-contiguous, in the model's dtype.  One thread at a time may call a stream;
    streams of one model may run in different threads.
    """

    def __init__(self, snapshot: Snapshot, batch_size: int) -> None:
        self.snapshot, self.batch_size, self.dtype = snapshot, batch_size, snapshot.dtype
        self._shape, self._out_shape = (batch_size, snapshot.input_size), (batch_size, snapshot.output_size)
        self._floats = snapshot.floats
        self._x = np.zeros(self._shape if self._floats else (0, 0), self.dtype)  # what was given, where it
        self._index = np.zeros(batch_size, np.int64)  # cannot be read as it is
        self._space = Space(snapshot.program, batch_size) if snapshot.program.whole else None
        self._turn = 0  # which of h's two arrays in the space holds it
        self._state = rebuilt(snapshot.initial, lambda a: np.repeat(a, batch_size, axis=1))  # where there is no space
        self.reset()

    def __call__(self, x: Any, *, out: Array | None = None) -> Array:
        dtype, integer = self.dtype, False
        if not (
            type(x) is np.ndarray and x.dtype is dtype and x.shape == self._shape and x.flags.carray and self._floats
        ):
            x, integer = self._admit(x)
        if out is None:
            out = np.empty(self._out_shape, dtype)
        elif not (type(out) is np.ndarray and out.dtype == dtype and out.shape == self._out_shape and out.flags.carray):
            raise ValueError(
                f"out must be a C-contiguous array of shape {self._out_shape} and dtype {dtype.name}; "
                f"got {getattr(out, 'dtype', type(out).__name__)} of shape {getattr(out, 'shape', '?')}"
            )
        if self._space is not None:
            self._space.step(x, integer, out)
            self._turn ^= 1
        else:
            y, self._state = self.snapshot.model(x[None], self._state, batch_first=False)
            out[...] = y.reshape(self._out_shape)
        return out

    def _admit(self, x: Any) -> tuple[Array, bool]:
        """``x`` checked and in memory of the stream's own, and whether it holds indices."""
        snapshot, array, rows = self.snapshot, np.asarray(x), (self.batch_size,)
        if array.dtype.kind in "iu" and snapshot.integers and (hasattr(x, "dtype") or array.ndim < 2):
            index = array.reshape(1) if array.ndim == 0 and rows == (1,) else array
            if index.shape != rows:
                raise ValueError(f"this stream expects integers of shape {rows}; got shape {array.shape}")
            check_indices("indices", index, snapshot.input_size)
            self._index[...] = index
            return self._index, True
        if not self._floats:
            raise ValueError(f"this stream expects integers of shape {rows}; got {array.dtype} of shape {array.shape}")
        if array.shape != self._shape:
            also = f" or integers {rows}" if snapshot.integers else ""
            raise ValueError(f"this stream expects x of shape {self._shape}{also}; got shape {array.shape}")
        self._x[...] = converted("x", as_floats(NUMPY, self.dtype, "x", x), self.dtype)
        return self._x, False

    # ------------------------------------------------------------------ the state

    @property
    def state(self) -> State:
        """A copy of the state, put together as ``model(x)`` returns it; assigning one goes on from there."""
        return filled_in(self.snapshot.initial, [np.stack(layers) for layers in self._places()])

    @state.setter
    def state(self, value: State) -> None:
        arrays, places = list(arrays_in(value)), self._places()
        shapes = [(len(layers), *layers[0].shape) for layers in places]
        if [a.shape for a in arrays] != shapes or not all(takes(self.dtype, a.dtype) for a in arrays):
            raise ValueError(
                f"a state of this stream is {len(shapes)} arrays {self.dtype.name} of shapes {shapes}; "
                f"got {', '.join(f'{a.dtype} {a.shape}' for a in arrays) or 'none'}"
            )
        arrays = [converted("state", a, self.dtype) for a in arrays]
        for layers, array in zip(places, arrays, strict=True):
            for place, values in zip(layers, array, strict=True):
                place[...] = values

    def _places(self) -> list[list[Array]]:
        """Where the state is: for each of its arrays (layers, B, H), what each layer has of it."""
        if self._space is None:
            return [list(a) for a in arrays_in(self._state)]
        stacks = []
        for stack in self.snapshot.program.stacks:
            now = [[states[self._turn], *states[2:]] for states in (self._space.states[k] for k in stack)]
            stacks += [list(layers) for layers in zip(*now, strict=True)]
        return stacks

    def reset(self) -> None:
        """Begin again, from the model's initial state."""
        for layers, initial in zip(self._places(), arrays_in(self.snapshot.initial), strict=True):
            for place, values in zip(layers, initial, strict=True):
                place[...] = values

    def fork(self) -> "Stream":
        """A second stream that has read the same; weights are shared, states go their own ways."""
        other = Stream(self.snapshot, self.batch_size)
        other.state = self.state
        return other

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file, whole or not at all; ``restore`` reads it."""
        from safetensors.numpy import save as to_bytes  # 10 ms that most programs do not need

        arrays = {str(k): a for k, a in enumerate(arrays_in(self.state))}
        with atomic_write(path) as file:
            file.write(to_bytes(arrays, metadata={"minirnn-stream": json.dumps({"version": VERSION})}))

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on from a state that a stream of the same sizes has saved; ModelFileError for any other file."""
        self.state = _read(Path(path), self.state)


def _read(path: Path, like: State) -> State:
    """The state in a file, put together as ``like``."""
    from safetensors import SafetensorError, safe_open

    wanted = list(arrays_in(like))
    try:
        with safe_open(path, framework="numpy") as file:
            if "minirnn-stream" not in (file.metadata() or {}):
                raise ModelFileError(f"{path} must be a stream's state, as stream.save writes it; it is another file")
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
            if shapes != {str(k): a.shape for k, a in enumerate(wanted)}:
                raise ModelFileError(
                    f"{path} must hold arrays of shapes {[a.shape for a in wanted]}; got {list(shapes.values())}"
                )
            arrays = [file.get_tensor(str(k)) for k in range(len(wanted))]
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} cannot be read as a stream's state: {error}") from None
    if any(a.dtype != b.dtype for a, b in zip(arrays, wanted, strict=True)):
        raise ModelFileError(f"{path} must hold {wanted[0].dtype} numbers; got {arrays[0].dtype}")
    return filled_in(like, arrays)


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
