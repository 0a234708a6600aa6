"""The record of a run: ``run.json``, its options and machine, and ``metrics.jsonl``, its results.

``metrics.jsonl`` has a line of JSON for every few steps,

    {"step": 10, "epoch": 0, "loss": 2.9, "grad_norm": 1.7, "clipped_norm": 1.0, "lr": 0.001, "tokens_per_second": 4e4,
     "seconds": 0.3}

with the loss in nats a character, the gradients' norm before and after clipping; ``"skipped"`` says why a step changed
nothing.  After an evaluation there is a line ``{"step": 200, "validation_perplexity": 4.1}``.
"""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path

from minirnn.core.files import Json, atomic_write
from minirnn.core.version import VERSION
from minirnn.training.loop import Step

METRICS, RUN = "metrics.jsonl", "run.json"


class Record:
    """The record of one run in ``folder``; lines come every ``every`` steps."""

    def __init__(self, folder: Path, every: int = 10) -> None:
        self.path, self.every = folder / METRICS, every
        self._tokens, self._since = 0, 0.0
        self._about: Json = {}

    def begin(self, about: Json, step: int, seconds: float = 0.0) -> None:
        """Write ``run.json``, and go on after ``step``: lines of later steps, which come again, are removed."""
        self._about = about
        self.describe()
        lines = [line for line in read_lines(self.path) if line["step"] <= step] if self.path.exists() else []
        with atomic_write(self.path) as file:
            file.writelines(f"{as_json_line(line)}\n".encode() for line in lines)
        self._tokens, self._since = 0, seconds

    def describe(self) -> None:
        """Write ``run.json``, from which a run without checkpoint goes on."""
        with atomic_write(self.path.with_name(RUN)) as file:
            file.write(json.dumps(self._about, indent=1).encode())

    def step(self, step: Step, clip: float | None) -> None:
        """Count a step in, and write a line where one is due."""
        self._tokens += step.tokens
        if step.step % self.every and not step.skipped and step.step != 1:
            return
        norm, elapsed = float(step.norm), step.seconds - self._since
        line = {
            "step": step.step,
            "epoch": step.epoch,
            "loss": float(step.loss),
            "grad_norm": norm,
            "clipped_norm": norm if clip is None else min(norm, clip),
            "lr": step.lr,
            "tokens_per_second": round(self._tokens / elapsed, 1) if elapsed > 0 else None,
            "seconds": round(step.seconds, 3),
        }
        self._tokens, self._since = 0, step.seconds
        self.add(line | ({"skipped": step.skipped} if step.skipped else {}))

    def add(self, line: Json) -> None:
        """Write one line."""
        with self.path.open("ab") as file:
            file.write(f"{as_json_line(line)}\n".encode())


def as_json_line(record: Json) -> str:
    """One line of JSON, in which numbers that are not finite are null."""
    return json.dumps(finite(record))


def finite(record: Json) -> Json:
    """A record in which numbers that are not finite, which JSON does not have, have become None."""
    return {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in record.items()}


def read_lines(path: Path) -> list[Json]:
    """The lines of a ``metrics.jsonl``; one that was cut off as its process was killed is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def read_run(folder: Path) -> Json | None:
    """The contents of ``run.json`` in a folder, with ``options`` and the ``text``'s digest; None where there is none.

    ValueError where it is not what a run has written.
    """
    path = folder / RUN
    try:
        about = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        raise damaged(path, "it must be JSON") from None
    if not isinstance(about, dict) or not isinstance(about.get("options"), dict):
        raise damaged(path, "it has no options")
    if not isinstance(about.get("text"), str):
        raise damaged(path, "it does not say which text it is of")
    return about


def damaged(path: Path, why: str) -> ValueError:
    """The error for a ``run.json`` that no run has written."""
    return ValueError(
        f"{path} is damaged: {why}; bring it back to go on with the run, or begin anew in another directory"
    )


def circumstances() -> Json:
    """Time, command, versions and machine of a run."""
    packages = {name: _version(name) for name in ("numpy", "numba", "cupy", "mpi4py", "safetensors")}
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "versions": {"minirnn": VERSION, "python": platform.python_version()}
        | {name: number for name, number in packages.items() if number},
        "git": _revision(),
        "machine": f"{platform.node()}, {platform.machine()}, {os.cpu_count()} processors",
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The git revision of the working directory, ``…-dirty`` where it has changes; None outside of a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
