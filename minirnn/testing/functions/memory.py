"""A limit on memory while edits are tried: one may ask for an array whose shape is an array."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path

MORE = 1 << 29  # bytes beside what the process has
PAGES = Path("/proc/self/statm")


@contextlib.contextmanager
def little_more() -> Iterator[None]:
    """Inside, raise MemoryError for much more memory than there is; nothing where Linux does not say how much."""
    if not PAGES.exists():
        yield
        return
    resource = importlib.import_module("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = int(PAGES.read_text(encoding="ascii").split()[0]) * resource.getpagesize() + MORE
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
