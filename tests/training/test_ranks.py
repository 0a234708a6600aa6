"""Several ranks train as one process does: here without MPI, in threads that meet."""

import io
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import islice, pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meeting import together
from short_runs import CORPUS, OPTIMIZERS, begun, trained, weights
from tiers import marked_but

import minirnn
from minirnn import NonFiniteGradientError
from minirnn.cli import terminal
from minirnn.cli import together as ending
from minirnn.core.backend import NUMPY, get_backend
from minirnn.core.noise import keep_mask
from minirnn.language.evaluation import Evaluation
from minirnn.language.text import Text
from minirnn.training.checkpoints import Folder
from minirnn.training.keeper import Keeper
from minirnn.training.loop import Step, Training, TrainingState
from minirnn.training.metrics import Record, read_lines
from minirnn.training.ranks import Ranks, takes_device_arrays, world

# ---------------------------------------------------------------------- who computes what


@given(batch_size=st.integers(1, 300), size=st.integers(1, 40))
def test_each_row_has_one_rank_and_no_rank_two_more_than_another(batch_size: int, size: int) -> None:
    ranks = [Ranks() for _ in range(size)]
    for rank, one in enumerate(ranks):
        one.rank, one.size = rank, size
    if batch_size < size:
        with pytest.raises(ValueError, match=f"batch_size must be at least {size}, the number of ranks"):
            ranks[0].rows(batch_size)
        return
    rows = [one.rows(batch_size) for one in ranks]
    assert (rows[0].start, rows[-1].stop) == (0, batch_size)
    assert all(a.stop == b.start for a, b in pairwise(rows))
    counts = [r.stop - r.start for r in rows]
    assert max(counts) - min(counts) <= 1


@given(rows=st.integers(1, 9), start=st.integers(0, 8), seed=st.integers(0, 2**63))
def test_masks_of_some_rows_are_those_of_the_batch(rows: int, start: int, seed: int) -> None:
    whole = keep_mask(NUMPY, seed, "1", 4, (3, 17, 6), 0.5)
    part = keep_mask(NUMPY, seed, "1", 4, (3, rows, 6), 0.5, start)
    np.testing.assert_array_equal(part, whole[:, start : start + rows])


@pytest.mark.parametrize("first_row", [-1, 1.5, None])
def test_a_first_row_that_cannot_be_is_refused(first_row: Any) -> None:
    model = minirnn.Linear(2, 2).init()
    with pytest.raises(ValueError, match="first_row must be an integer of at least 0"):
        model.forward(np.zeros((3, 2), np.float32), first_row=first_row)


# ---------------------------------------------------------------------- the same steps as one process


@pytest.mark.slow
@given(
    size=st.integers(2, 5),
    task=st.sampled_from(["next", "fill"]),
    cell=st.sampled_from(["rnn", "gru", "lstm"]),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    sampling=st.sampled_from(["sequential", "random"]),
    stride=st.sampled_from([None, 2]),
    noise=st.sampled_from([{}, {"locked": True}, {"weight_dropout": 0.3}, {"zoneout": 0.2}]),
    backend=st.sampled_from(["numpy", "numba"]),
)
def test_ranks_take_the_steps_of_one_process(
    size: int,
    task: str,
    cell: str,
    optimizer: str,
    sampling: str,
    stride: int | None,
    noise: dict[str, Any],
    backend: str,
) -> None:
    options: dict[str, Any] = {"task": task, "cell": cell, "optimizer": optimizer, "sampling": sampling, "noise": noise}
    options["backend"], options["stride"] = backend, None if sampling == "random" else stride
    wanted, end = trained(**options)
    found = together(size, lambda ranks: trained(ranks, **options))
    for steps, weights_of_rank in found:
        np.testing.assert_allclose(steps, wanted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(weights_of_rank, end, rtol=0, atol=1e-9)
        assert np.array_equal(weights_of_rank, found[0][1])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_float32_agrees_in_the_first_step_and_with_itself_in_all(backend: str) -> None:
    wanted, _ = trained(dtype="float32", backend=backend)
    first, again = (together(3, lambda ranks: trained(ranks, dtype="float32", backend=backend)) for _ in range(2))
    assert abs(first[0][0][0, 0] - wanted[0, 0]) < 1e-6
    assert all(
        np.array_equal(a, b) for one, other in zip(first, again, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_a_rank_alone_computes_the_same_bits_as_no_ranks() -> None:
    (one,) = together(1, trained)
    assert all(np.array_equal(a, b) for a, b in zip(one, trained(), strict=True))


def test_one_sum_over_all_gradients_and_one_over_the_losses_a_step() -> None:
    def sums(ranks: Ranks) -> Any:
        training = begun(ranks)
        for _ in islice(training, 2):
            pass
        return ranks._comm.sums, training.lm.network.grads.size

    for found, size in together(2, sums):
        assert found == [size, 1, size, 1]


def test_a_step_counts_the_characters_of_all_ranks() -> None:
    assert together(2, lambda ranks: next(begun(ranks)).tokens) == [25, 25]


# ---------------------------------------------------------------------- stopping and going on


@pytest.mark.parametrize("stop", marked_but([7], [0, 7, 11], "slow"))
@pytest.mark.parametrize("task", ["next", "fill"])
def test_a_run_goes_on_with_another_number_of_ranks(task: str, stop: int) -> None:
    wanted, end = trained(task=task)

    def part(
        ranks: Ranks, state: TrainingState | None = None, steps: int | None = None
    ) -> tuple[Any, TrainingState, Any]:
        training = begun(ranks, task=task)
        if state:
            training.restore(state)
        found = [(step.loss, float(step.norm)) for step in islice(training, steps)]
        return found, training.state(), weights(training)

    whole = together(3, lambda ranks: part(ranks, steps=stop))
    for _, state, _ in whole[1:]:
        assert state.about["state"] == whole[0][1].about["state"]
        for name, a in state.arrays.items():
            np.testing.assert_array_equal(a, whole[0][1].arrays[name])
    for size in (1, 2, 5):
        for rest, _, last in together(size, lambda ranks: part(ranks, whole[0][1])):
            np.testing.assert_allclose(np.array(whole[0][0] + rest), wanted, rtol=0, atol=1e-9)
            np.testing.assert_allclose(last, end, rtol=0, atol=1e-9)
    undisturbed = together(3, part)
    for (rest, _, last), (steps, _, last_undisturbed) in zip(
        together(3, lambda ranks: part(ranks, whole[0][1])), undisturbed, strict=True
    ):
        assert whole[0][0] + rest == steps  # on as many ranks, to the bit
        assert np.array_equal(last, last_undisturbed)


def test_ranks_that_drifted_apart_are_not_kept() -> None:
    def drift(ranks: Ranks) -> None:
        training = begun(ranks)
        next(training)
        if ranks.rank == 1:
            training.lm.network.weights[3] += 1e-9
        training.state()

    with pytest.raises(ValueError, match="the weights must be the same on every rank; on rank 1 not that of rank 0"):
        together(3, drift)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the options of training", {"seed": 4}),
        ("the text", {"text": Text.from_string(str(CORPUS)[::-1])}),
        ("the weights", {"init": 1}),
    ],
)
def test_ranks_that_would_take_other_steps_are_refused(what: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{what} must be the same on every rank; on rank 2"):
        together(4, lambda ranks: begun(ranks, **(change if ranks.rank == 2 else {})))


def test_the_time_limit_is_by_one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(ranks: Ranks) -> int:
        training = begun(ranks, steps=None, seconds=1000)
        if ranks.rank:
            training._before = 1e6  # this one's clock says that time is long up
        list(islice(training, 5))
        training._before = 0.0 if ranks.rank else 1e6
        return len(list(training))

    assert together(3, timed) == [0, 0, 0]


# ---------------------------------------------------------------------- what one rank does for all


def keep_up(ranks: Ranks, folder: Path, **options: Any) -> Keeper:
    """A run of 6 steps, kept every 2; each rank is told of another folder, and only the first may write."""
    own = folder if ranks.rank == 0 else folder / str(ranks.rank)
    own.mkdir(exist_ok=ranks.rank == 0)
    training, record = begun(ranks, steps=6), Record(own, 1)
    ranks.gather(None)
    keeper = Keeper(training, Folder(own), record, CORPUS, print, **({"steps": 2} | options))
    for step in training:
        if keeper(step):
            break
    return keeper


def test_the_first_rank_keeps_the_run(tmp_path: Path) -> None:
    keepers = together(3, lambda ranks: keep_up(ranks, tmp_path))
    assert Folder(tmp_path).steps() == [6, 4, 2]
    assert {"best.safetensors", "metrics.jsonl"} < {path.name for path in tmp_path.iterdir()}
    assert not list((tmp_path / "1").iterdir())
    assert not list((tmp_path / "2").iterdir())
    assert len({(keeper.saved, keeper.best, keeper.best_step) for keeper in keepers}) == 1
    assert (keepers[0].saved, len(read_lines(tmp_path / "metrics.jsonl"))) == (6, 9)


def test_ranks_agree_on_what_was_not_kept_and_when_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("minirnn.training.keeper.save", full)
    five = Evaluation(math.log(5), 0.0, 1)
    keepers = together(2, lambda ranks: keep_up(ranks, tmp_path, patience=1, examine=lambda *_: five))
    assert [(keeper.best, keeper.training.done) for keeper in keepers] == [(float("inf"), 6)] * 2
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "1")
    keepers = together(2, lambda ranks: keep_up(ranks, tmp_path, patience=1, examine=lambda *_: five))
    found = [(keeper.best, keeper.worse, keeper.training.done) for keeper in keepers]
    assert found == [(five.perplexity, 1, 4)] * 2


def test_checkpoints_by_the_clock_are_by_one_clock(tmp_path: Path) -> None:
    keepers = together(3, lambda ranks: keep_up(ranks, tmp_path, steps=None, seconds=1e9 if ranks.rank else 1e-9))
    assert [keeper.saved for keeper in keepers] == [6, 6, 6]


def test_a_signal_to_one_rank_ends_all_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.local()

    class Known(terminal.Signals):
        def __init__(self) -> None:
            super().__init__()
            here.signals = self

    def followed(ranks: Ranks) -> tuple[int, int]:
        def after(step: Step) -> bool:
            if (step.step, ranks.rank) == (4, 2):
                here.signals._catch(signal.SIGTERM, None)
            return False

        training = begun(ranks)
        run = terminal.follow(training, None, after)
        return training.done, run.signal

    monkeypatch.setattr(terminal, "Signals", Known)
    assert together(3, followed) == [(4, signal.SIGTERM)] * 3


def test_a_rank_that_is_interrupted_at_once_ends_all_and_saves_nothing() -> None:
    def followed(ranks: Ranks) -> None:
        def after(step: Step) -> bool:
            raise KeyboardInterrupt

        terminal.follow(begun(ranks), None, after)

    with pytest.raises(KeyboardInterrupt):
        together(2, followed)


# ---------------------------------------------------------------------- gradients that are not finite


def poisoned(ranks: Ranks, **options: Any) -> Training:
    """A training in which the gradients of the last rank alone hold NaN in step 4."""
    training = begun(ranks, **options)
    forward, calls = training.lm.forward, iter(range(1, 99))

    def spoilt(*batch: Any, **how: Any) -> Any:
        loss, state, backward = forward(*batch, **how)
        if next(calls) == 4 and ranks.rank == ranks.size - 1:
            training.lm.network.named_grads()["0.0.U"][0, 0] = np.nan
        return loss, state, backward

    training.lm.forward = spoilt  # type: ignore[method-assign]  # a fault, planted
    return training


def test_all_ranks_stop_in_the_step_that_is_not_finite_on_one() -> None:
    def stopped(ranks: Ranks) -> tuple[str, int]:
        training = poisoned(ranks)
        with pytest.raises(NonFiniteGradientError) as error:
            list(training)
        return str(error.value), training.done

    found = together(3, stopped)
    assert "the gradient of 0.0.U is not finite" in found[0][0]
    assert set(found) == {(found[0][0], 3)}


def test_all_ranks_skip_it_if_asked() -> None:
    def skipping(ranks: Ranks) -> tuple[list[int], Any]:
        training = poisoned(ranks, on_nonfinite="halve-lr")
        return [step.step for step in training if step.skipped], (
            training.optimizer.factor,
            weights(training).tobytes(),
        )

    found = together(3, skipping)
    assert [steps for steps, _ in found] == [[4]] * 3
    assert found[0][1][0] == 0.5
    assert all(end == found[0][1] for _, end in found)


# ---------------------------------------------------------------------- on a GPU


@pytest.mark.parametrize("backend", ["cupy", "cuda"])
@pytest.mark.parametrize("direct", [False, True], ids=["staged", "direct"])
def test_gradients_on_a_device_are_summed(device: ModuleType, backend: str, direct: bool) -> None:
    options: dict[str, Any] = {"cell": "gru", "steps": 6}
    wanted, end = trained(**options)
    found = together(2, lambda ranks: trained(ranks, backend=backend, **options), device_arrays=direct)
    for steps, weights_of_rank in found:
        np.testing.assert_allclose(steps, wanted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(weights_of_rank, end, rtol=0, atol=1e-9)


def test_all_ranks_learn_of_a_gradient_on_a_device_that_is_not_finite_in_one_step(device: ModuleType) -> None:
    def stopped(ranks: Ranks) -> int:
        training = begun(ranks, backend="cupy")
        list(islice(training, 2))
        if ranks.rank:
            training.lm.network.grads[0:1] = float("nan")
        with pytest.raises(NonFiniteGradientError, match="of step 3 are not finite"):
            next(training)
        return training.done

    assert together(2, stopped) == [2, 2]


# ---------------------------------------------------------------------- the machine's processors


@pytest.mark.parametrize(("asked", "wanted"), [({}, [2, 2, 2]), ({"OMP_NUM_THREADS": "5"}, [9, 9, 9])])
def test_ranks_share_the_processors(asked: dict[str, str], wanted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINIRNN_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("minirnn.training.ranks.processors", lambda: set(range(7)))
    before = minirnn.get_num_threads()
    minirnn.set_num_threads(9)

    def settled(ranks: Ranks) -> int:
        ranks.settle(get_backend("numpy"))
        ranks.gather(None)
        return minirnn.get_num_threads()

    try:
        assert together(3, settled) == wanted
    finally:
        minirnn.set_num_threads(before)


def test_ranks_of_a_machine_take_its_gpus_in_turn(device: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    if device.__name__ != "strict_cupy":
        pytest.skip("this machine's devices are what they are")
    monkeypatch.setattr(device.cuda.runtime, "getDeviceCount", lambda: 2)
    monkeypatch.setattr(device.cuda.Device, "taken", [])
    monkeypatch.setattr("minirnn.training.ranks.set_num_threads", lambda _: None)
    here = threading.local()
    monkeypatch.setattr("minirnn.training.ranks.platform", SimpleNamespace(node=lambda: here.node))

    def settled(ranks: Ranks) -> None:
        here.node = ["one", "other", "one", "one", "other"][ranks.rank]
        ranks.settle(get_backend("cupy"))

    together(5, settled)
    assert sorted(device.cuda.Device.taken) == [0, 0, 0, 1, 1]  # two machines: 0, 1, 0 and 0, 1


@pytest.mark.parametrize(("kinds", "wanted"), [("mpi,system", False), ("mpi,system,cuda:device", True), (None, False)])
def test_mpi_says_what_memory_it_takes_arrays_from(kinds: str | None, wanted: bool) -> None:
    import _ctypes

    info = SimpleNamespace(Get={"mpi_memory_alloc_kinds": kinds}.get)
    comm = SimpleNamespace(Get_info=lambda: info)
    fake = SimpleNamespace(COMM_WORLD=comm, __file__=_ctypes.__file__)  # a library without the older function
    assert takes_device_arrays(fake) == wanted


# ---------------------------------------------------------------------- how a rank ends


class Ended(BaseException):
    """In the place of the process."""


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("the text is too short"), "minirnn: the text is too short\n"),
        (KeyboardInterrupt(), "minirnn: stopped at once\n"),
        (KeyError("a fault"), "KeyError: 'a fault'\n"),
    ],
    ids=["a sentence", "stopped", "a fault"],
)
def test_a_rank_that_raises_says_so_and_ends_all(
    rank: int, error: BaseException, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ranks, slept, codes = Ranks(), list[float](), list[int]()
    ranks.rank, ranks.size = rank, 2

    def end(code: int) -> None:
        raise Ended

    monkeypatch.setattr(ranks, "abort", codes.append)
    monkeypatch.setattr(ending, "os", SimpleNamespace(_exit=end))
    monkeypatch.setattr(ending, "time", SimpleNamespace(sleep=slept.append, monotonic=time.monotonic))

    def work() -> None:
        terminal.say("progress")
        raise error

    try:
        with pytest.raises(Ended), ending.together(ranks):
            work()
    finally:
        terminal.console.quiet = terminal.output.quiet = False
    said = capsys.readouterr().err
    assert said.endswith(words)
    assert ("progress" in said) == (rank == 0)
    assert (codes, bool(slept)) == ([2], rank == 1)  # the first may say it before


@pytest.mark.skipif(sys.platform == "win32", reason="nobody can be asked there")
def test_what_a_rank_said_is_read_before_all_are_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = os.pipe()
    with os.fdopen(there, "rb") as reader, os.fdopen(here, "w", encoding="utf-8") as writer:
        ending.wait_until_read(writer)  # where nothing is to be read
        writer.write("words")
        writer.flush()
        read = list[bytes]()
        monkeypatch.setattr(
            ending, "time", SimpleNamespace(sleep=lambda _: read.append(os.read(there, 3)), monotonic=time.monotonic)
        )
        ending.wait_until_read(writer)
        assert read == [b"wor", b"ds"]
        writer.write("words")
        writer.flush()
        instants = iter(range(9))
        monkeypatch.setattr(ending, "time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(instants)))
        ending.wait_until_read(writer)  # and nobody ever reads
        assert reader.read(5) == b"words"
    ending.wait_until_read(io.StringIO())


def test_a_rank_alone_ends_as_ever() -> None:
    with pytest.raises(ValueError, match="a mistake"), ending.together(Ranks()):
        raise ValueError("a mistake")


def test_what_all_agreed_upon_ends_nothing_early() -> None:
    ranks = Ranks()
    ranks.size = 2
    with pytest.raises(SystemExit), ending.together(ranks):
        sys.exit(3)


LAST = """
import os, signal, sys
from minirnn.cli.together import last_words
from minirnn.training.ranks import Ranks
ranks, steps = Ranks(), [0]
ranks.rank, ranks.size = {rank}, {size}
with last_words(ranks, lambda: f"up to step {{steps[-1]}}") as renew:
    steps.append(40)
    {renew}
    {end}
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "up to step 40\n"),
        ({"renew": "pass"}, "up to step 0\n"),
        ({"rank": 1}, ""),
        ({"size": 1}, ""),
        ({"end": "pass"}, ""),
        ({"end": "sys.exit(0)"}, ""),
    ],
)
def test_a_first_rank_that_is_killed_leaves_its_last_words(words: dict[str, Any], said: str) -> None:
    usual = {"rank": 0, "size": 2, "renew": "renew()", "end": "os.kill(os.getpid(), signal.SIGKILL)"}
    done = python(LAST.format(**(usual | words)))
    assert done.returncode == (0 if "end" in words else -signal.SIGKILL)
    assert done.stderr == said


# ---------------------------------------------------------------------- whether there are any


def python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "OMPI"))}
    return subprocess.run(
        [sys.executable, "-c", code], env=known | environment, capture_output=True, text=True, check=False
    )


def test_without_mpiexec_nothing_of_mpi_is_imported() -> None:
    code = "import sys; from minirnn.ranks import world; r = world(); print(r.rank, r.size, 'mpi4py' in sys.modules)"
    assert python(code).stdout.split() == ["0", "1", "False"]


@pytest.mark.parametrize("name", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK"])
def test_under_mpiexec_without_mpi4py_one_sentence_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("mpi4py", "mpi4py.MPI"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv(name, "2")
    with pytest.raises(ImportError, match=r"pip install 'minirnn\[mpi\]'"):
        world()


def test_mpiexec_of_another_mpi_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = SimpleNamespace(Get_rank=lambda: 0, Get_size=lambda: 1)
    monkeypatch.setattr("minirnn.training.ranks.takes_device_arrays", lambda _: False)
    fake: Any = SimpleNamespace(COMM_WORLD=alone, Get_library_version=lambda: "MPICH Version: 5\nmore")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", fake)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(ImportError, match="mpiexec started 4 processes, but mpi4py knows of 1"):
        world()
    monkeypatch.delenv("OMPI_COMM_WORLD_SIZE")
    assert world().size == 1


def test_the_command_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['mpi4py'] = None; from minirnn.cli.app import main; main(['train', '--steps', '1'])"
    done = python(code, PMI_SIZE="2")
    assert done.returncode == 2
    assert "pip install 'minirnn[mpi]'" in done.stderr
    assert "Traceback" not in done.stderr
