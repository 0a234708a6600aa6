"""What calls the kernels of streams: how many threads a step gets."""

from minirnn.kernels.cpu.copies import spare
from minirnn.kernels.cpu.dispatch import leave, take, threads
from minirnn.kernels.cpu.passes import Array
from minirnn.kernels.cpu.stages import cell_of
from minirnn.kernels.cpu.streams import EMBEDDING, LINEAR, RECURRENT, stream

__all__ = ["EMBEDDING", "LINEAR", "RECURRENT", "cell_of", "spare", "step", "threads"]


def step(x: Array, integer: bool, out: Array, links: Array, operations: float) -> None:  # noqa: FBT001 - called once per step
    """One step of all links, of so many operations: see ``streams.stream``."""
    most = threads(operations)
    if most == 1:
        stream(x, integer, out, links, 0, 1, 0)
        return
    box, most, patience = take(operations, most)
    try:
        stream(x, integer, out, links, box, most, patience)
    finally:
        leave(box)
