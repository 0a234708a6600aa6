"""Ctrl-C on the command line: exit code 130 and no traceback, also while modules are imported.

An import that is interrupted ends in whatever the module makes of it, an ImportError for example.  So while the
command imports what it needs, an interrupt ends the process at once; nothing has begun that could be lost.  Later it
raises KeyboardInterrupt, as ever, and ``came`` knows of it, whatever error that becomes on its way.

``import minirnn`` in another program changes nothing.
"""

import os
import sys

# nothing else is imported here: what comes before the last line below can be interrupted with a traceback; signal is
# imported by the command alone, since its enumerations would take longer than the rest of what other programs import

CODE = 128 + 2  # what a shell says of a command that Ctrl-C, which is SIGINT, has ended


def is_command(argv: list[str], original: list[str]) -> bool:
    """Whether a process with this ``sys.argv`` and ``sys.orig_argv`` is ``minirnn`` or ``python -m minirnn``."""
    if not argv:
        return False
    if argv[0] == "-m":  # which it is until the module is found
        return "-m" in original[:-1] and original[original.index("-m") + 1] == "minirnn"
    name = os.path.basename(argv[0])  # noqa: PTH119 - pathlib takes longer to import than the rest of this
    return name in ("minirnn", "minirnn.exe", "minirnn-script.py")


class Raised:
    """While a command runs, in a ``with`` block, an interrupt raises KeyboardInterrupt, and ``came`` remembers it.

    Where interrupts are handled elsewhere, ignored as in the background of a shell, or not this thread's, nothing
    changes.
    """

    came = False

    def __init__(self) -> None:
        self._before: object = None

    def __enter__(self) -> None:
        import signal

        Raised.came, before = False, signal.getsignal(signal.SIGINT)
        if before in (signal.default_int_handler, _exit):
            try:
                signal.signal(signal.SIGINT, _raise)
                self._before = before
            except ValueError:  # not the main thread
                self._before = None

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            import signal

            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]  # what getsignal returned


def _raise(*_: object) -> None:
    Raised.came = True
    raise KeyboardInterrupt


def _exit(*_: object) -> None:
    os._exit(CODE)


if is_command(sys.argv, sys.orig_argv):
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)
