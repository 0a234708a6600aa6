"""Searches end after some seconds of processor time: a slow machine must find what a fast one finds."""

import time
from importlib import import_module
from types import SimpleNamespace

import pytest

from minirnn.testing.courses.limits import LIMIT

SLOWER = 4  # than time goes
SEARCHES = ("expressions", "courses.grading", "courses.outputs", "functions.blame", "functions.mending")
LIMITED = ("cmu", "judging", "outputs", "owncells")


@pytest.fixture(autouse=True)
def _slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(process_time=lambda: time.process_time() / SLOWER)
    for name in SEARCHES:
        monkeypatch.setattr(import_module(f"minirnn.testing.{name}"), "time", clock)
    for name in LIMITED:
        monkeypatch.setattr(import_module(f"minirnn.testing.courses.{name}"), "LIMIT", SLOWER * LIMIT)
