"""A run on the disk: checkpoints that are whole or not there, and the best model beside the newest.

    runs/poems/
        step-00000200.checkpoint   all that later steps depend on, the last few of them (``Training.state``)
        step-00000400.checkpoint
        best.safetensors           the model with the best validation perplexity
        metrics.jsonl, run.json    the run's record (``metrics.py``)

A checkpoint is a safetensors file.  Its metadata has the rest of the state in JSON, and a checksum of everything: what
a failing disk or a cut cable has done to a file is noticed, and the one before is taken.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import LARGEST_FILE, Json, ModelFileError, atomic_write
from minirnn.training.loop import TrainingState

NAME = re.compile(r"step-(\d{8,18})\.checkpoint")
BEST, LOCK = "best.safetensors", ".lock"
VERSION = 1


class Folder:
    """The directory of one run; ``keep`` checkpoints stay in it."""

    def __init__(self, path: str | os.PathLike[str], keep: int = 3) -> None:
        self.path, self.keep = Path(path), keep
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"a run is kept in a directory; {self.path} is none")
        self._lock: IO[bytes] | None = None

    @property
    def best(self) -> Path:
        """Where the best model is, if there is one."""
        return self.path / BEST

    def steps(self) -> list[int]:
        """The steps of the checkpoints, the newest first."""
        names = [NAME.fullmatch(path.name) for path in (self.path.iterdir() if self.path.is_dir() else ())]
        return sorted((int(name[1]) for name in names if name), reverse=True)

    def at(self, step: int) -> Path:
        """The file of a step's checkpoint."""
        return self.path / f"step-{step:08d}.checkpoint"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory, and keep other processes out of it: BlockingIOError where one is at work in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        try:
            for left in self.path.glob(".*.part"):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)
            yield
        finally:
            if self._lock:
                self._lock.close()
            self._lock = None

    def _take_lock(self) -> IO[bytes] | None:
        """The file that is locked, until it is closed or the process ends, however it does; None on Windows."""
        try:
            import fcntl
        except ImportError:
            return None
        lock = (self.path / LOCK).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise BlockingIOError(
                f"another process trains in {self.path}: wait for it, or take another directory"
            ) from None
        return lock

    def vanished(self) -> bool:
        """Whether the directory is no longer there, or is another one than that which was locked."""
        if self._lock is None:
            return not self.path.is_dir()
        try:
            return not os.path.samestat((self.path / LOCK).stat(), os.fstat(self._lock.fileno()))
        except FileNotFoundError:
            return True

    def remake(self) -> None:
        """Make the directory again after it has vanished, locked if it was: OSError where that cannot be."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._lock:
            old, self._lock = self._lock, self._take_lock()
            old.close()

    def write(self, state: TrainingState, more: Json) -> Path:
        """Write a checkpoint of ``state`` and of what else is to be found again, then remove the oldest.

        Raises OSError where the disk will not have it; what was there before stays.
        """
        for name, a in state.arrays.items():
            if not np.isfinite(a).all():
                raise ValueError(f"{name} must be finite to be kept; the model has diverged")
        now = state.about["step"]
        path = self.at(now)
        with atomic_write(path) as file:
            file.write(to_bytes(state, more))
        sound = [step for step in self.steps() if step <= now]  # of later steps are those that were damaged
        for step in sound[self.keep :]:
            self.at(step).unlink(missing_ok=True)
        return path

    def newest(self, report: Callable[[str], None]) -> tuple[TrainingState, Json] | None:
        """The newest sound checkpoint, None where there is none; ``report`` is told of each that is not sound."""
        steps = self.steps()
        for step in steps:
            try:
                return read(self.at(step))
            except ModelFileError as error:
                report(f"{error}; {'the one before is taken' if step > steps[-1] else 'there is none before'}")
        return None


def to_bytes(state: TrainingState, more: Json) -> bytes:
    """A checkpoint as a file."""
    from safetensors.numpy import save

    about = json.dumps({"version": VERSION, "about": state.about, "more": more})
    return save(state.arrays, metadata={"minirnn-checkpoint": about, "digest": digest(state.arrays, about)})


def read(path: Path) -> tuple[TrainingState, Json]:
    """The arguments of ``Folder.write``; ModelFileError where the file is damaged, or is something else."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ModelFileError(f"{path} must hold at most {LARGEST_FILE:,} bytes; it holds {path.stat().st_size:,}")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "minirnn-checkpoint" not in metadata:
                raise ModelFileError(f"{path} must be a checkpoint of minirnn; it is another file")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        if digest(arrays, metadata["minirnn-checkpoint"]) != metadata.get("digest"):
            raise ModelFileError(f"{path} is damaged: its checksum is not that of what it holds")
        whole = json.loads(metadata["minirnn-checkpoint"])
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is damaged: {error!s:.300}") from None
    if whole["version"] != VERSION:
        raise ModelFileError(f"{path} must be of version {VERSION}; it is of {whole['version']!r:.40}")
    return TrainingState(arrays, whole["about"]), whole["more"]


def digest(arrays: dict[str, Array], about: str) -> str:
    """A checksum of everything in a checkpoint."""
    checksum = hashlib.blake2b(about.encode(), digest_size=32)
    for name in sorted(arrays):
        a = arrays[name]
        checksum.update(f"{name} {a.dtype} {a.shape}".encode())
        checksum.update(np.ascontiguousarray(a).data)
    return checksum.hexdigest()
