"""The limit on a student's code: it is raised where it is heard, again where it is caught, and gone afterwards."""

import gc
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from minirnn.testing.courses.limits import TimeUpError, seconds
from minirnn.testing.functions.memory import PAGES, little_more

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="no such signals on this system")


def spin(until: float) -> None:
    began = time.process_time()
    while time.process_time() - began < until:
        pass


def disarmed() -> bool:
    return all(signal.getitimer(timer) == (0, 0) for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL))


class Costly:
    """Its end takes long."""

    def __del__(self) -> None:
        spin(0.03)


def finalising() -> None:
    while True:
        Costly()
        spin(0.03)


@pytest.fixture
def slow_collector() -> Iterator[None]:
    def callback(_phase: str, _info: dict[str, int]) -> None:
        spin(0.03)

    gc.callbacks.append(callback)
    yield
    gc.callbacks.remove(callback)


def collecting() -> None:
    while True:
        gc.collect(0)
        spin(0.03)


def catching() -> None:
    for _ in range(3):
        try:
            spin(5)
        except:  # noqa: E722 - as students write
            spin(0.01)


def waiting() -> None:
    time.sleep(60)


@pytest.mark.parametrize("work", [finalising, collecting, catching, waiting])
@pytest.mark.usefixtures("slow_collector")
def test_code_that_never_ends_is_ended(work: Callable[[], None]) -> None:
    """Unraisable errors are errors here: none of them is lost on the way."""
    before = signal.getsignal(signal.SIGPROF)
    began = time.process_time()
    with seconds(0.02):  # caught as well, and so not raised through this
        try:
            work()
        except TimeUpError:
            ended = True
        else:
            ended = work is catching
    assert ended
    assert time.process_time() - began < 3
    assert disarmed()
    assert signal.getsignal(signal.SIGPROF) is before


def test_the_limit_is_raised_through_it_and_gone() -> None:
    with pytest.raises(TimeUpError), seconds(0.01):
        spin(60)
    assert disarmed()
    spin(0.1)


@pytest.mark.skipif(not PAGES.exists(), reason="only Linux says how much memory a process has")
def test_what_asks_for_much_more_memory_fails_at_once_and_only_inside() -> None:
    with little_more():
        np.ones(1 << 10)
        with pytest.raises(MemoryError):
            np.empty(1 << 27)  # a GiB
    np.empty(1 << 27)
