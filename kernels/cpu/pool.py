"""One pool of threads for all kernels: Python's threads, which work and wait in compiled code."""

import os
import threading

import numpy as np

from minirnn.kernels.cpu.team import ASLEEP, LINE, WORKERS, serve
from minirnn.kernels.cpu.threads import get_num_threads

MOST = 512  # threads at once


class Pool:
    """Threads that run one kernel at a time together with the thread that asks for it."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """No threads yet; a forked child has none of its parent's."""
        raw = np.zeros(WORKERS + (MOST + 1) * LINE, np.int64)
        self._box = raw[-(raw.ctypes.data // 8) % LINE :]
        self._place = self._box.ctypes.data
        self._states = self._box[WORKERS::LINE]
        self._alarms: list[threading.Lock] = []  # a worker sleeps while it cannot take its own
        self._busy = threading.Lock()

    def take(self, most: int) -> tuple[int, int]:
        """Have up to ``most`` threads: ``box`` and ``most`` for ``team.lead``, and ``box`` for ``leave``.

        While another thread has the pool, the caller works alone: kernels give the same bits for any number of threads.
        """
        most = min(most, get_num_threads(), MOST)
        if most < 2 or not self._busy.acquire(blocking=False):
            return 0, 1
        try:
            self._wake(most - 1)
        except RuntimeError:  # the system has no more threads to give: those that are there will do
            most = 1 + len(self._alarms)
        except BaseException:
            self._busy.release()
            raise
        return self._place, most

    def leave(self, box: int) -> None:
        """Let others have what ``take`` took."""
        if box:
            self._busy.release()

    def _wake(self, count: int) -> None:
        for k in range(count):
            if k == len(self._alarms):
                alarm = threading.Lock()
                arguments = self._box, k, alarm
                threading.Thread(target=_work, args=arguments, daemon=True, name="minirnn").start()
                self._alarms.append(alarm)
            elif self._states[k] == ASLEEP and self._alarms[k].locked():
                self._alarms[k].release()


def _work(box: np.ndarray[tuple[int], np.dtype[np.int64]], k: int, alarm: threading.Lock) -> None:
    alarm.acquire()
    while True:
        serve(box.ctypes.data, k)
        alarm.acquire()


POOL = Pool()
