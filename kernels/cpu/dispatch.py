"""From Python into a compiled kernel: how many threads it gets, and the call.

Threads are waited for, and woken, only where a kernel has work enough to be worth it.
"""

from array import array
from collections.abc import Sequence

from minirnn.kernels.cpu.compiling import Kernel
from minirnn.kernels.cpu.passes import Dtype
from minirnn.kernels.cpu.pool import POOL
from minirnn.kernels.cpu.team import lead
from minirnn.kernels.cpu.threads import get_num_threads

# floating-point operations above which, of a whole kernel or of one of its steps,
TOGETHER = 5e5  # another thread is of use
WAKING = 3e7  # it is worth waiting for one that has to be woken: so many looks
PATIENCE = 10_000
MEETING = 5e4  # threads may meet after every step


def threads(work: float) -> int:
    """Threads for so many floating-point operations."""
    return get_num_threads() if work > TOGETHER else 1


def threads_over_time(work: float, rows: int, step: float) -> int:
    """The same for a pass over time, of which each step is ``step`` operations on so many rows.

    With fewer rows than threads these meet after every step, unless a step multiplies nothing: then they share units.
    """
    count = threads(work)
    return 1 if rows < count and 0 < step < MEETING else count


def take(work: float, most: int) -> tuple[int, int, int]:
    """Up to ``most`` threads for so many operations: ``box``, ``most`` and ``patience`` of ``team.lead``.

    Give ``box`` to ``leave`` afterwards.
    """
    if most < 2:
        return 0, 1, 0
    return *POOL.take(most), PATIENCE if work > WAKING else 0


leave = POOL.leave


def run(kernel: Kernel, dtype: Dtype, arguments: Sequence[int], work: float, most: int | None = None) -> None:
    """Run a kernel with these arguments, which does so many operations, on up to ``most`` threads.

    An interrupt is raised before the kernel begins or after all its threads have ended.
    """
    data = arguments if isinstance(arguments, array) else array("q", arguments)
    box, most, patience = take(work, most or threads(work))
    try:
        lead(box, kernel[dtype], data.buffer_info()[0], most, patience)
    finally:
        leave(box)
