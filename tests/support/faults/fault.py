"""What a planted fault is."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault in one file of the package, and the test that must fail on it."""

    file: str  # below minirnn/
    changes: tuple[tuple[str, str], ...]  # what stands there once, what is planted
    killed_by: str  # below tests/, as pytest names it
