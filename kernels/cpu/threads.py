"""How many threads kernels may use."""

import os
from numbers import Integral


def asked_for() -> int | None:
    """Threads that the environment asks for, by the first of these names that it has."""
    for name in ("MINIRNN_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 0:
            return int(os.environ[name])
    return None


def processors() -> set[int]:
    """The processors that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def chosen_number() -> int:
    """Threads that the environment asks for, else one a processor."""
    return asked_for() or len(processors())


_number = chosen_number()


def set_num_threads(n: int) -> None:
    """Let kernels use up to ``n`` threads, 1 or more; results are the same, bit for bit, whatever ``n`` is.

    At first it is ``MINIRNN_NUM_THREADS``, ``NUMBA_NUM_THREADS`` or ``OMP_NUM_THREADS``, the first that is set, or the
    number of processors that this process may use.  NumPy's own threads are its library's affair.
    """
    global _number  # noqa: PLW0603 - one number for the whole process, which is what is meant
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"the number of threads must be an integer of at least 1; got {n!r}")
    _number = int(n)


def get_num_threads() -> int:
    """How many threads kernels may use."""
    return _number
