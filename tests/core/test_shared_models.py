"""One model, several threads: gradients add up, and whatever cannot be right is an error."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from interpreters import python

from minirnn import GRU, SGD, Dropout, Layer, Linear, Sequential
from minirnn.core.backend import Array
from minirnn.core.parameters import Spec
from minirnn.core.run import Result, Run, State

X = np.ones((2, 3, 1))


class Slow(Layer):
    """y = w x, whose passes tell when they have begun, and end when they may.

    Its gradient is added as NumPy does it, reading, adding and writing, with room between the three.
    """

    timeless = True

    def __init__(self) -> None:
        self.input_size = self.output_size = 1
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()
        self.slow_forward = False
        self.calls: list[int] = []

    def specs(self) -> dict[str, Spec]:
        return {"w": Spec((1,), "unit", 1)}

    def apply(self, x: Array, state: State, run: Run) -> Result:
        self.calls.append(run.call)
        w = self.weight("w").copy()
        if self.slow_forward:
            self.wait()

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            assert dy is not None
            before = self.grad("w").copy()
            self.wait()
            self.grad("w")[...] = before + (dy * x).sum()
            return dy * w, None

        return Result(w * x, None, pull, {})

    def wait(self) -> None:
        self.begun.set()
        assert self.may_end.wait(20), "it was never told to end"
        threading.Event().wait(0.005)


def slow() -> Slow:
    layer = Slow().init(backend="numpy", dtype="float64")
    layer.weights[...] = 1
    return layer


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def one_pass(model: Layer) -> None:
    y, _, backward = model.forward(X)
    backward(np.ones_like(y))


def test_gradients_of_passes_in_several_threads_add_up(threads: ThreadPoolExecutor) -> None:
    model = slow()
    list(threads.map(lambda _: one_pass(model), range(12)))
    assert model.named_grads()["w"] == 12 * X.size


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("every", [None, 3])
def test_gradients_of_recurrent_passes_in_several_threads_add_up(
    backend: str, every: int | None, threads: ThreadPoolExecutor
) -> None:
    model = Sequential(GRU(8, 48, weight_dropout=0.0, trainable_state=True), Linear(48, 40))
    model.init(backend=backend, dtype="float64")
    x = np.random.default_rng(0).normal(size=(8, 4, 8))

    def add(_: int) -> None:
        y, _, backward = model.forward(x, checkpoint_every=every)
        backward(np.ones_like(y))

    add(0)
    one = model.grads.copy()
    model.zero_grads()
    list(threads.map(add, range(96)))
    np.testing.assert_allclose(model.grads / 96, one, rtol=0, atol=1e-11 * abs(one).max())


def test_one_backward_in_two_threads_adds_once(threads: ThreadPoolExecutor) -> None:
    model = slow()
    y, _, backward = model.forward(X)
    both = [threads.submit(backward, np.ones_like(y)) for _ in range(2)]
    errors = [one.exception(20) for one in both]
    assert sorted(str(error)[:17] for error in errors) == ["None", "this backward has"]
    assert model.named_grads()["w"] == X.size


@pytest.mark.parametrize("what", ["step", "zero_grads"])
def test_a_step_waits_for_the_backward_pass_that_runs(what: str, threads: ThreadPoolExecutor) -> None:
    model = slow()
    sgd = SGD(model, lr=0.5)
    model.may_end.clear()
    running = threads.submit(one_pass, model)
    assert model.begun.wait(20)
    after = threads.submit(sgd.step if what == "step" else model.zero_grads)
    with pytest.raises(TimeoutError):
        after.result(0.1)
    model.may_end.set()
    running.result(20)
    after.result(20)
    assert model.named_grads()["w"] == 0
    assert model.named_weights()["w"] == (1 - 0.5 * X.size if what == "step" else 1)


def test_a_pass_whose_weights_changed_while_it_ran_is_refused(threads: ThreadPoolExecutor) -> None:
    model = slow()
    sgd = SGD(model, lr=0.5)
    model.grads[...] = 1
    model.slow_forward = True
    model.may_end.clear()
    running = threads.submit(model.forward, X)
    assert model.begun.wait(20)
    sgd.step()
    model.may_end.set()
    y, _, backward = running.result(20)
    with pytest.raises(RuntimeError, match=r"^the weights have changed since this forward"):
        backward(np.ones_like(y))
    assert model.named_grads()["w"] == 0


def test_models_of_their_own_do_not_wait_for_each_other(threads: ThreadPoolExecutor) -> None:
    one, other = slow(), slow()
    one.may_end.clear()
    running = threads.submit(one_pass, one)
    assert one.begun.wait(20)
    threads.submit(one_pass, other).result(20)
    assert not running.done()
    one.may_end.set()
    running.result(20)


def test_a_pull_may_call_another_backward_of_its_model() -> None:
    class Outer(Layer):
        input_size = output_size = 1

        def __init__(self) -> None:
            self.inner = Linear(1, 1, bias=False)

        def children(self) -> dict[str, Layer]:
            return {"inner": self.inner}

        def apply(self, x: Array, state: State, run: Run) -> Result:
            y, _, backward = self.inner.forward(x)
            return Result(y, None, lambda dy, _: backward(dy), {})

    model = Outer().init(backend="numpy", dtype="float64")
    one_pass(model)
    assert model.named_grads()["inner.W"] == X.size


def test_no_two_training_forwards_have_the_same_number(threads: ThreadPoolExecutor) -> None:
    """Or they would have the same dropout masks."""
    model = Sequential(Dropout(0.5), Slow()).init(backend="numpy", dtype="float64")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        list(threads.map(lambda _: model.forward(X), range(2000)))
    finally:
        sys.setswitchinterval(interval)
    layer: Any = model[1]
    assert sorted(layer.calls) == list(range(2000))
    assert model.bound.calls == 2000


FORKED = """
import json, os, threading
import numpy as np
from minirnn import Linear

model = Linear(1, 1).init(backend="numpy")
held, done = threading.Event(), threading.Event()

def hold():
    with model.bound.changing:
        held.set()
        done.wait(20)

threading.Thread(target=hold).start()
held.wait(20)
child = os.fork()
if child == 0:
    threading.Timer(20, os._exit, (1,)).start()
    y, _, backward = model.forward(np.ones((2, 1, 1), "float32"))
    backward(np.ones_like(y))
    os._exit(int(model.grads[0] != 2))
status = os.waitpid(child, 0)[1]
done.set()
print(json.dumps(os.waitstatus_to_exitcode(status)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    assert python(FORKED) == 0
