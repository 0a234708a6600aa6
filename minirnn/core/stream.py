"""A stream: the state of some rows between single steps.

``Layer.stream`` makes one of a ``Snapshot`` (``minirnn.inference.streams``): the weights as they were, and what
computes a step.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.core.backend import NUMPY, Array, check_indices, converted, takes
from minirnn.core.edge import as_floats
from minirnn.core.files import ModelFileError, atomic_write
from minirnn.core.run import State
from minirnn.core.tree import arrays_in, filled_in, rebuilt

VERSION = 1  # of the file that ``save`` writes


class Stream:
    """The state of ``batch_size`` rows of which a model has read something; made by ``model.stream``.

    ``stream(x)`` reads one step more: x (B, features), floats of any width, or integers (B,) where the model takes
    indices.  It has no axis of time, so ``batch_first`` is nothing to it.  It returns y (B, outputs), in ``out`` if
    that is given: an array of that shape, C-contiguous, in the model's dtype.  One thread at a time may call a stream;
    streams of one model may run in different threads.
    """

    def __init__(self, snapshot: Any, batch_size: int) -> None:
        self.snapshot, self.batch_size, self.dtype = snapshot, batch_size, snapshot.dtype
        self._shape, self._out_shape = (batch_size, snapshot.input_size), (batch_size, snapshot.output_size)
        self._floats = snapshot.floats
        self._x = np.zeros(self._shape if self._floats else (0, 0), self.dtype)  # what was given, where it
        self._index = np.zeros(batch_size, np.int64)  # cannot be read as it is
        self._space = snapshot.space(batch_size)
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
