"""Faults to be planted in a copy of the package, one by one, each with the test that must fail on it.

A fault that no test sees in a gradient check is the interesting kind: a swapped gate that is swapped back on the way
back, a mask that is never drawn anew, a check that comes too late.
"""

from importlib import import_module
from pathlib import Path

from faults.fault import Fault

ROOMS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "fault"))


def collected() -> dict[str, Fault]:
    """The faults of all rooms by name."""
    faults: dict[str, Fault] = {}
    for room in ROOMS:
        planted: dict[str, Fault] = import_module(f"faults.{room}").FAULTS
        assert not faults.keys() & planted.keys(), f"two faults of one name in {room}"
        faults |= planted
    return faults


FAULTS = collected()
