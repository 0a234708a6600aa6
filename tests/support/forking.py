"""Tests run in forks of one process, which has imported what takes long to import, but not minirnn.

Each line of input is a job in JSON: the folder that holds the package to test, pytest's arguments, changes to the
environment, where output goes, and seconds after which it is killed.  Each line of output is the exit status.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn, Self

WARM = (
    "_hypothesis_pytestplugin", "click.testing", "ctypes", "email.message", "http.server", "hypothesis",
    "hypothesis.strategies", "json", "multiprocessing", "numba", "numpy", "numpy.testing", "pickle", "pytest",
    "rich.console", "rich.progress", "rich.table", "safetensors.numpy", "sqlite3", "tracemalloc", "unittest.mock",
    "urllib.request", "zipfile",
)  # fmt: skip


def run(job: dict[str, Any]) -> NoReturn:
    """What a fork does: the job's tests, on the package in its folder."""
    import pytest

    with open(job["output"], "wb") as file:  # noqa: PTH123 - only its descriptor is wanted
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.path.insert(0, job["folder"])
    status = 70
    try:
        status = int(pytest.main(job["arguments"]))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - it is said, and this process ends
        traceback.print_exc()
    finally:
        os._exit(status)


def wait_for(process: int, seconds: float) -> int:
    """The exit status of a fork, which is killed after so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def serve() -> None:
    for name in WARM:
        with contextlib.suppress(ImportError):
            __import__(name)
    assert "minirnn" not in sys.modules
    for line in sys.stdin:
        job = json.loads(line)
        process = os.fork()
        if not process:
            os.setpgid(0, 0)
            run(job)
        print(wait_for(process, job["seconds"]), flush=True)


class Forks:
    """The process that forks, and what is asked of it."""

    def __enter__(self) -> Self:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate()

    def run(self, folder: Path, arguments: list[str], seconds: float, **environment: str) -> tuple[int, str]:
        """Pytest's exit status and output, for the package in ``folder``."""
        output = folder / "output.txt"
        job = {
            "folder": str(folder),
            "arguments": arguments,
            "environment": {"PYTHONPATH": str(folder)} | environment,
            "output": str(output),
            "seconds": seconds,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(job), file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        return status, output.read_text(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    serve()
