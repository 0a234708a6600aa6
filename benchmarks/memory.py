"""How much a process grows while it works: the peak of its resident set, on Linux."""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

STEPS = 10  # enough for whatever is kept from one to the next


def growth(call: Callable[[], object]) -> float | None:
    """MiB by which the resident set's peak over ``STEPS`` calls exceeds its size before the first; None: cannot tell.

    Memory that was freed before, but that the allocator has kept, is returned first: the calls would use it unseen.
    """
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes the present size
    except OSError:
        return None
    for _ in range(STEPS):
        call()
    peak = resident("VmHWM")
    return None if before is None or peak is None else max(0.0, peak - before)


def resident(field: str) -> float | None:
    """``VmRSS``, the resident set's size, or ``VmHWM``, its peak, in MiB; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return None
