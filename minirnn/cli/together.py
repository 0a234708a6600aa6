"""Several ranks run one command: a failure on any rank aborts all ranks and is reported once.

A rank that raises reports the error in one sentence and has MPI abort the others.  When a rank is killed, mpiexec kills
the others at once, and none can report the state of the run.  So the first rank leaves its last words with a small
process.
"""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from minirnn.cli.shared import sentence_for
from minirnn.cli.terminal import console, keep_quiet, say
from minirnn.training.ranks import Ranks

AT_MOST = 2.0  # seconds for mpiexec to read what a rank said last
HEAD_START = 1.0  # seconds for the first rank to say what all ran into: then that is said once
# says the last line that it heard, once whoever wrote it is gone
LISTEN = "import sys\nheard = b''\nfor heard in sys.stdin.buffer: pass\nsys.stderr.buffer.write(heard.lstrip())"


@contextmanager
def together(ranks: Ranks) -> Iterator[None]:
    """Abort all ranks when this one fails, after reporting the error; only rank 0 prints anything else."""
    if ranks.rank:
        keep_quiet()
    try:
        yield
    except SystemExit:  # which is agreed upon
        raise
    except BaseException as error:
        if ranks.size == 1:
            raise
        if ranks.rank:
            time.sleep(HEAD_START)
        console.quiet = False
        sentence = "minirnn: stopped at once" if isinstance(error, KeyboardInterrupt) else sentence_for(error)
        if sentence is None:
            traceback.print_exc()
        else:
            say((sentence, "bold red"))
        for note in getattr(error, "__notes__", ()):
            say(note)
        sys.stdout.flush()
        wait_until_read(sys.stderr)
        ranks.abort(2)
        os._exit(2)  # MPICH comes back from it, and would not from being finalised


def wait_until_read(pipe: TextIO) -> None:
    """Wait, ``AT_MOST`` seconds, until whoever is at a pipe's other end has read all that was written to it.

    Whoever hands on a rank's words to mpiexec is killed with the ranks, together with what it has not read.
    """
    try:
        import fcntl
        import termios
    except ImportError:  # Windows
        return
    end = time.monotonic() + AT_MOST
    with suppress(OSError):  # nothing of which this can be asked
        while time.monotonic() < end and any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))):
            time.sleep(0.01)


@contextmanager
def last_words(ranks: Ranks, sentence: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """Print ``sentence()`` if a rank is lost.  If a rank raises, ``together`` prints it beside the error.  If ranks are
    killed, a process that rank 0 starts prints it when its pipe closes.

    Call what this yields whenever the sentence may have changed.
    """
    if ranks.size == 1 or ranks.rank:
        try:
            yield lambda: None
        except Exception as error:
            if ranks.rank:
                error.add_note(sentence())
            raise
        return
    listener = subprocess.Popen(  # noqa: S603 - this Python, and the program above
        [sys.executable, "-S", "-c", LISTEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,  # what is sent to this process's group is not for that one
    )
    pipe, last = listener.stdin, ""
    assert pipe is not None  # for the type checker

    def tell(words: str) -> None:
        nonlocal last
        if words != last:
            with suppress(BrokenPipeError):  # it was killed itself: training goes on
                pipe.write(words.encode() + b"\n")
            last = words

    tell(sentence())
    try:
        yield lambda: tell(sentence())
    finally:
        tell("")
        pipe.close()
        listener.wait()
