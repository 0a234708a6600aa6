"""Ctrl-C on the command line: exit code 130 and no traceback, also while modules are imported.

An import that is interrupted ends in whatever the module makes of it, an ImportError for example.  So while the
command imports what it needs, an interrupt ends the process at once; nothing has begun that could be lost.  Later it
raises KeyboardInterrupt, as ever, and ``came`` knows of it, whatever error that becomes on its way.

``import minirnn`` in another program changes nothing.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CODE = 128 + signal.SIGINT  # what a shell says of a command that Ctrl-C has ended
_came = False


def is_command(argv: list[str], original: list[str]) -> bool:
    """Whether a process with this ``sys.argv`` and ``sys.orig_argv`` is ``minirnn`` or ``python -m minirnn``."""
    if not argv:
        return False
    if argv[0] == "-m":  # which it is until the module is found
        return "-m" in original[:-1] and original[original.index("-m") + 1] == "minirnn"
    name = os.path.basename(argv[0])  # noqa: PTH119 - pathlib takes longer to import than the rest of this
    return name in ("minirnn", "minirnn.exe", "minirnn-script.py")


def came() -> bool:
    """Whether an interrupt came while a command ran."""
    return _came


@contextmanager
def raised() -> Iterator[None]:
    """While a command runs, an interrupt raises KeyboardInterrupt and is remembered."""
    global _came
    _came, ours = False, (signal.default_int_handler, _exit)
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before not in ours:
        yield  # handled elsewhere, or ignored, as in the background of a shell
        return
    signal.signal(signal.SIGINT, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _raise(*_: Any) -> None:
    global _came  # noqa: PLW0603 - as above
    _came = True
    raise KeyboardInterrupt


def _exit(*_: Any) -> None:
    os._exit(CODE)


if is_command(sys.argv, sys.orig_argv) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _exit)
