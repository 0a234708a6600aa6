"""One pool of threads for all kernels."""

import os
import threading
from numbers import Integral
from queue import SimpleQueue
from typing import Any


class Pool:
    """Threads that run one kernel at a time together with the thread that asks for it."""

    def __init__(self) -> None:
        self.size = chosen_size()
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """No threads yet; a forked child has none of its parent's."""
        self._tasks: list[SimpleQueue[Any]] = []
        self._busy = threading.Lock()

    def run(self, task: Any, parts: int, stop: Any = None) -> None:
        """``task(part, parts)`` for every part at once, ``parts`` or fewer; all are done on return, even by an error.

        While another thread has the pool, the caller works alone: kernels give the same bits for any number of parts.
        ``stop()`` is called if the caller's own part fails, so that no other waits for it.
        """
        parts = min(parts, self.size)
        if parts < 2 or not self._busy.acquire(blocking=False):
            task(0, 1)
            return
        try:
            while len(self._tasks) < parts - 1:
                tasks: SimpleQueue[Any] = SimpleQueue()
                threading.Thread(target=_work, args=(tasks,), daemon=True, name="minirnn").start()
                self._tasks.append(tasks)
            done: SimpleQueue[BaseException | None] = SimpleQueue()
            errors: list[BaseException] = []
            sent = 0
            try:
                for part in range(1, parts):
                    self._tasks[part - 1].put((task, part, parts, done))
                    sent += 1
                task(0, parts)
            except BaseException as error:  # noqa: BLE001 - raised again when nobody works on the arrays any more
                errors.append(error)
                if stop:
                    stop()
            while sent:
                try:
                    error_there = done.get()
                    sent -= 1
                    errors += [error_there] if error_there else []
                except KeyboardInterrupt as error:
                    errors.append(error)
        finally:
            self._busy.release()
        if errors:
            raise errors[0]


def _work(tasks: SimpleQueue[Any]) -> None:
    while True:
        task, part, parts, done = tasks.get()
        try:
            task(part, parts)
            done.put(None)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            done.put(error)


def chosen_size() -> int:
    """Threads that the environment asks for, by the first of these names that it has, else one a processor."""
    for name in ("MINIRNN_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 0:
            return int(os.environ[name])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


POOL = Pool()


def set_num_threads(n: int) -> None:
    """Let kernels use up to ``n`` threads, 1 or more; results are the same, bit for bit, whatever ``n`` is.

    At first it is ``MINIRNN_NUM_THREADS``, ``NUMBA_NUM_THREADS`` or ``OMP_NUM_THREADS``, the first that is set, or the
    number of processors that this process may use.  NumPy's own threads are its library's affair.
    """
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"the number of threads must be an integer of at least 1; got {n!r}")
    POOL.size = int(n)


def get_num_threads() -> int:
    """How many threads kernels may use."""
    return POOL.size
