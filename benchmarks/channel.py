"""The parent's end of the line to a contestant's process."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.cases import Case
from benchmarks.inputs import Arrays
from benchmarks.machine import environment
from benchmarks.peers import UnsupportedError

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 900  # seconds; the largest case compiles and runs in a small part of it


class AbsentError(Exception):
    """A contestant cannot be built here; the message says why."""


class FailedError(Exception):
    """A contestant raised something or died; the message says what is known."""


class Contestant(Protocol):
    """What a race asks for; ``Remote`` is one in a process of its own."""

    name: str

    def prepare(self, case: Case) -> None:
        """Get ready.  Raises UnsupportedError where the contestant does not take part, as all here FailedError."""

    def check(self) -> Arrays:
        """What it computes, by the names of ``benchmarks.peers.Job``."""

    def calibrate(self, seconds: float) -> int:
        """The number of calls that take about ``seconds``."""

    def sample(self, repeats: int) -> float:
        """Seconds a call, the mean of ``repeats``."""


class Remote:
    """The contestant called ``name`` in a process of its own, with ``threads`` threads.

    ``folder`` is for files that pass between the two.  The process starts at once; ``greet`` waits for it.  While it
    has nothing to answer it is stopped, where the system can do that: some libraries' idle threads spin for longer than
    others' turns take, and would slow down whoever comes after them.
    """

    def __init__(self, name: str, threads: int, folder: Path) -> None:
        self.name, self.threads, self.folder = name, threads, folder
        self.log = folder / f"{name}.{threads}.{os.urandom(4).hex()}.log"
        self.info: dict[str, Any] = {}
        self._start()

    def greet(self) -> None:
        """Wait until the contestant is there.  Raises AbsentError where it cannot be built."""
        try:
            reply = self._receive()
        except FailedError as error:
            raise AbsentError(str(error)) from None
        if "absent" in reply:
            self.process.wait()
            raise AbsentError(reply["absent"])
        self.info = reply["ready"]
        self._signal("SIGSTOP")

    def prepare(self, case: Case) -> None:
        """Set up ``case``, in a new process where the last one has died."""
        if self.process.poll() is not None:
            self.close()
            self._start()
            try:
                self.greet()
            except AbsentError as error:
                raise FailedError(str(error)) from None
        self._ask("prepare", case=asdict(case))

    def check(self) -> Arrays:
        """What the contestant computes."""
        path = self.log.with_suffix(".npz")
        self._ask("check", path=str(path))
        try:
            with np.load(path) as arrays:
                return dict(arrays)
        finally:
            path.unlink()

    def calibrate(self, seconds: float) -> int:
        """The number of calls that take about ``seconds``."""
        return int(self._ask("calibrate", seconds=seconds))

    def sample(self, repeats: int) -> float:
        """Seconds a call."""
        return float(self._ask("sample", repeats=repeats))

    def left(self) -> int | None:
        """Bytes that the prepared job's forward leaves for its backward; None where it does not count them."""
        found = self._ask("left")
        return None if found is None else int(found)

    def memory(self, case: Case) -> float | None:
        """MiB by which the process grows in training ``case``; ask a fresh one.  None: the system does not tell."""
        grown = self._ask("memory", case=asdict(case))
        return None if grown is None else float(grown)

    def close(self) -> None:
        """End the process: it is idle, or has nothing to lose."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what was left to write has no reader
                pipe.close()

    def _start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", self.name, str(self.threads)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(  # noqa: S603 - this very package
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                env=environment(self.threads),
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C is for the parent, which then ends its children
            )

    def _ask(self, do: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        self._signal("SIGCONT")
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise FailedError(self._last_words()) from None
        reply = self._receive()
        self._signal("SIGSTOP")
        if "unsupported" in reply:
            raise UnsupportedError(reply["unsupported"])
        if "failed" in reply:
            raise FailedError(reply["failed"])
        return reply["done"]

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self.process.poll() is None:
            self.process.send_signal(getattr(signal, name))

    def _receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise FailedError(self._last_words())
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _last_words(self) -> str:
        code = self.process.wait()
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"its process was {how}" if code < 0 else f"its process {how}: {lines[-1] if lines else 'no words'}"
