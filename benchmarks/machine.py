"""The machine: which cores a contestant gets, what tells its libraries how many threads to use, what it is called."""

import ctypes
import os
import platform
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def available() -> list[int]:
    """The logical CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores(n: int) -> list[int]:
    """``n`` of the available CPUs, or all if there are fewer; no two on one physical core as long as that can be."""
    first: list[int] = []
    rest: list[int] = []
    seen: set[str] = set()
    for cpu in available():
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text().strip() if siblings.is_file() else str(cpu)
        (rest if core in seen else first).append(cpu)
        seen.add(core)
    return (first[::-1] + rest[::-1])[:n]  # the last ones first: the first CPU often serves the devices


def pin(threads: int) -> None:
    """Keep this process on ``threads`` cores, where the system can; libraries read it when they are loaded."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores(threads))


def end_with_parent() -> None:
    """Have the system end this process when its parent is gone, even where it is stopped: on Linux."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def environment(threads: int) -> dict[str, str]:
    """The environment of a contestant that shall use ``threads`` threads."""
    chosen = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    chosen |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if threads == 1:
        chosen["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return chosen


def describe() -> dict[str, str | int | list[float]]:
    """The machine as it stands in the results; ``load`` is the average number of running processes before the run."""
    described: dict[str, str | int | list[float]] = {
        "cpu": cpu_name(),
        "cores": len(available()),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
    if hasattr(os, "getloadavg"):
        described["load"] = [round(load, 2) for load in os.getloadavg()]
    return described


def cpu_name() -> str:
    """The processor's name, as far as the system knows it."""
    info = Path("/proc/cpuinfo")  # platform.processor() is empty on most Linux systems
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class Others:
    """How many cores other processes kept busy, ``cores``; None until it is known, and where the system cannot tell."""

    cores: float | None = None


@contextmanager
def others(pids: Iterable[int]) -> Iterator[Others]:
    """Measure what is not this process nor one of ``pids``.  Threads that wait by spinning suffer most from it."""
    ours, found = [os.getpid(), *pids], Others()
    before, start = foreign_seconds(ours), time.perf_counter()
    yield found
    after = foreign_seconds(ours)
    if before is not None and after is not None:
        found.cores = max(0.0, (after - before) / (time.perf_counter() - start))


def foreign_seconds(ours: Iterable[int]) -> float | None:
    """Seconds that all cores have worked so far, without what ``ours`` did; None where there is no /proc."""
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        total = sum(ticks) - ticks[3] - ticks[4]  # without idling and waiting for a disk
        for pid in ours:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total -= int(after_name[11]) + int(after_name[12])  # user and system
    except (OSError, IndexError, ValueError):  # another system, or a process that has ended
        return None
    return float(total / os.sysconf("SC_CLK_TCK"))
