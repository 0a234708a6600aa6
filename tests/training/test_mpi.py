"""Several ranks as mpiexec starts them: the steps of one process, and what becomes of a run that one of them leaves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killing import newest, same
from short_runs import trained

import minirnn
from benchmarks.scale import run as timed
from minirnn.training.metrics import read_lines

pytestmark = pytest.mark.process

TEXT = "the quick brown fox jumps over the lazy dog, and nobody knows why it was the fox.\n" * 40
SMALL = "--hidden-size 12 --embedding-size 6 --batch-size 5 --num-steps 10 --num-layers 2 --dropout 0.2 --cell lstm"
TRAIN = """
import os, sys
from minirnn.cli.app import main
from minirnn.training.ranks import world
ranks = world()
open(f"{sys.argv[1]}.{ranks.rank}", "w").write(str(os.getpid()))
main(["train", *sys.argv[2:]])
"""


FAILING = """
from minirnn.training.loop import Training
ranks, step = world(), Training._step
def fails(training, x, y):
    if (training.done, ranks.rank) == (7, 1):
        raise MemoryError("this machine has none left")
    return step(training, x, y)
Training._step = fails
"""


def mpiexec() -> str:
    """The mpiexec of the MPI that mpi4py uses; the test is skipped where there is none."""
    if not find_spec("mpi4py"):
        pytest.skip("mpi4py is not installed: pip install 'minirnn[mpi]'")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("mpiexec is not installed: pip install 'minirnn[mpi]'")
    return found


class Job:
    """``minirnn train`` on so many ranks, 0 for none of mpiexec's; ``pid(k)`` is that of rank k."""

    def __init__(self, size: int, folder: Path, *arguments: Any, code: str = TRAIN) -> None:
        started = [mpiexec(), "-n", str(size)] if size else []
        self.pids = folder / "pid"
        for old in folder.glob("pid.*"):
            old.unlink()
        self.process = subprocess.Popen(
            [*started, sys.executable, "-c", code, self.pids, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pid(self, rank: int) -> int:
        return int(Path(f"{self.pids}.{rank}").read_text(encoding="utf-8"))

    def end(self) -> tuple[int, str, str]:
        """The exit code, what came out, and what was said."""
        out, said = self.process.communicate(timeout=300)
        return self.process.returncode, out, said

    def reach(self, folder: Path, step: int) -> None:
        """Wait for a checkpoint of ``step`` or a later one."""
        while newest(folder) < step:
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def finished(size: int, tmp_path: Path, *arguments: Any) -> tuple[str, str]:
    """What came out of a job that ended well, and what was said."""
    code, out, said = Job(size, tmp_path, *arguments).end()
    assert code == 0, said
    return out, said


def test_two_processes_take_the_steps_of_one() -> None:
    worker = Path(__file__).parents[1] / "support/mpi_worker.py"
    run = [mpiexec(), "-n", "2", sys.executable, str(worker)]
    known = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    paths = os.pathsep.join([str(Path(minirnn.__file__).parents[1]), str(worker.parent)])
    done = subprocess.run(run, env=known | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    steps, _ = trained(steps=200, num_steps=4, backend="auto")
    single, _ = trained(steps=1, dtype="float32", backend="auto")
    assert len(found["losses"]) == 200
    np.testing.assert_allclose(found["losses"], steps[:, 0], rtol=0, atol=1e-9)
    assert abs(found["first loss in float32"] - single[0, 0]) < 1e-6
    assert found["same again"]
    assert found["same everywhere"]
    assert found["rows of the state"] == 5
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert found["threads"] == [max(1, processors // 2)] * 2


def test_a_run_on_three_ranks_goes_on_with_two_and_with_one(text: Path, tmp_path: Path) -> None:
    run, parts, whole = tmp_path / "run", tmp_path / "parts.safetensors", tmp_path / "whole.safetensors"
    options = [text, *SMALL.split(), "--dtype", "float64", "--schedule", "constant"]
    finished(0, tmp_path, *options, "--steps", 30, "--out", whole)
    out, said = finished(3, tmp_path, *options, "--steps", 10, "--checkpoint", run, "--out", parts)
    assert out.count("saved") == 1
    assert "3 ranks" in said
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["ranks"] == 3
    for size, steps in ((2, 20), (0, 30)):
        _, said = finished(size, tmp_path, "--resume", "--checkpoint", run, "--steps", steps)
        assert said.count(f"going on after step {steps - 10}") == 1
    a, b = (minirnn.load(path).network.weights for path in (parts, whole))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_a_rank_that_is_killed_ends_the_job_and_loses_nothing_that_was_kept(text: Path, tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"

    def run(folder: Path, steps: int, *more: Any) -> list[Any]:
        kept = ["--every", 20, "--checkpoint", folder, "--out", f"{folder}.safetensors"]
        return [text, *SMALL.split(), "--schedule", "constant", "--steps", steps, *kept, *more]

    for rank in (1, 0):
        before = newest(rough)
        job = Job(2, tmp_path, *run(rough, 10**6, "--resume"))
        job.reach(rough, before + 20)
        os.kill(job.pid(rank), signal.SIGKILL)
        code, _, said = job.end()
        assert code
        (line,) = [line for line in said.splitlines() if "a rank was lost, and with it all others" in line]
        found = re.fullmatch(f".*; {rough} has the run up to step ([0-9]+): --resume goes on from there", line)
        assert found
        assert int(found[1]) in (newest(rough), newest(rough) - 20)  # where it was killed before it could say so
        for left in (0, 1):
            with pytest.raises(ProcessLookupError):
                os.kill(job.pid(left), 0)
    steps = newest(rough) + 30
    finished(2, tmp_path, *run(rough, steps, "--resume"))
    finished(2, tmp_path, *run(calm, steps))
    assert same(tmp_path / "calm.safetensors", tmp_path / "rough.safetensors")


def test_a_signal_to_one_process_ends_all_after_one_step(text: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    options = [text, *SMALL.split(), "--steps", 10**6, "--every", 5, "--checkpoint", run, "--out", out]
    job = Job(2, tmp_path, *options)
    job.reach(run, 5)
    os.kill(job.pid(1), signal.SIGTERM)
    code, printed, said = job.end()
    assert code == 128 + signal.SIGTERM, said
    assert "stopped; saved" in printed
    assert "a rank was lost" not in said
    assert read_lines(run / "metrics.jsonl")[-1]["step"] <= newest(run)
    assert minirnn.load(out)


def test_an_error_on_one_rank_ends_the_job_and_is_said(text: Path, tmp_path: Path) -> None:
    code = TRAIN.replace("ranks = world()\n", FAILING)
    run = tmp_path / "run"
    options = [text, *SMALL.split(), "--every", 5, "--checkpoint", run, "--out", tmp_path / "m.safetensors"]
    code_of_job, _, said = Job(2, tmp_path, *options, code=code).end()
    assert code_of_job
    assert "minirnn: not enough memory: this machine has none left" in said
    assert f"{run} has the run up to step 5" in said


def test_what_all_ranks_run_into_is_said_once(text: Path, tmp_path: Path) -> None:
    code, _, said = Job(3, tmp_path, text, *SMALL.split(), "--batch-size", 2, "--steps", 1).end()
    assert code
    assert said.count("batch_size must be at least 3, the number of ranks") == 1


def test_the_benchmark_has_ranks_and_threads_take_turns() -> None:
    mpiexec()
    for ranks, threads in ((2, 1), (1, 2)):
        found = timed(ranks, threads, hidden_size=8, batch_size=4, steps=2)
        assert (found["ranks"], found["threads"]) == (ranks, threads)
        assert min(found[name] for name in ("tokens_per_second", "seconds_per_step", "seconds_per_sum")) > 0
