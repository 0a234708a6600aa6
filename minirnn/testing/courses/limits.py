"""A limit on how long a student's code may run."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 6  # times the limit by the clock, for code that waits: processor time alone would never end that


class TimeUpError(BaseException):
    """The time is up; no ``except Exception`` in a student's code catches it."""


@contextmanager
def seconds(number: float) -> Iterator[None]:
    """Inside, raise TimeUpError after so many seconds of processor time, whatever else the machine does.

    There is no limit where there are no such signals, nor in another thread than the first.
    """
    if not hasattr(signal, "SIGPROF") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def up(_number: int, _frame: FrameType | None) -> None:
        raise TimeUpError

    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, number),
        (signal.SIGALRM, signal.ITIMER_REAL, PATIENCE * number),
    )
    before = [signal.signal(kind, up) for kind, _, _ in timers]
    try:
        for _, timer, limit in timers:
            signal.setitimer(timer, limit)
        yield
    finally:
        for (kind, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(kind, handler)
