"""What a contestant's process answers; ``worker.py`` has the protocol."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.inputs import draw
from benchmarks.memory import growth
from benchmarks.peers import Job, Peer, UnsupportedError


def nothing() -> Any:
    """What a server runs before a case is prepared."""
    raise RuntimeError("no case is prepared")


IDLE = Job(nothing, nothing)


class Server:
    """Answers requests with a peer and the job it has prepared."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.job = IDLE

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request."""
        do = request.pop("do")
        try:
            return {"done": getattr(self, do)(**request)}
        except UnsupportedError as error:
            return {"unsupported": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever a library raises is for the parent to report
            return {"failed": one_line(error)}

    def prepare(self, case: dict[str, Any]) -> None:
        """Leave the last job, then set up this one."""
        self.job = IDLE
        chosen = Case(**case)
        self.job = self.peer.prepare(chosen, draw(chosen))

    def check(self, path: str) -> None:
        """Run the job and save what has to agree."""
        save: Any = np.savez  # whose options share the names' place
        save(path, **self.job.outputs())

    def calibrate(self, seconds: float) -> int:
        """How many calls make a sample of about ``seconds``; this also warms up what is compiled or allocated late."""
        self.job.call()
        repeats, fastest = 1, seconds_per_call(self.job.call, 1)
        while repeats * fastest < seconds / 2:
            repeats *= 2
            fastest = min(fastest, seconds_per_call(self.job.call, repeats))
        return max(1, round(seconds / fastest))

    def sample(self, repeats: int) -> float:
        """Seconds a call."""
        return seconds_per_call(self.job.call, repeats)

    def left(self) -> int | None:
        """Bytes that the job's forward leaves for its backward, where it counts them."""
        return self.job.left() if self.job.left else None

    def memory(self, case: dict[str, Any]) -> float | None:
        """Growth over some calls.  A tiny job goes first, so that what is loaded or compiled late is not counted."""
        self.prepare({**case, "T": 2, "B": 2, "D": 8, "H": 8})
        self.job.call()
        self.prepare(case)
        return growth(self.job.call)


def seconds_per_call(call: Callable[[], object], repeats: int) -> float:
    """The mean of ``repeats`` calls.  If they are short, one goes before that is not timed: the others have had the
    caches, and this one's threads have gone to sleep.
    """
    if repeats > 1:
        call()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def one_line(error: BaseException) -> str:
    """The error's kind and the first line of what it says."""
    lines = str(error).strip().splitlines() or [""]
    return (
        lines[0]
        if isinstance(error, ImportError | UnsupportedError) and lines[0]
        else f"{type(error).__name__}: {lines[0]}"
    )
