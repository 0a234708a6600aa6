"""The benchmarks run, say who is wrong, and count right.  No test here looks at a time."""

import json
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from racing import CASE, PACE, REFERENCE, Declines, Fake, results_of, shown

from benchmarks.agreement import bound, compare
from benchmarks.cases import GRID, KINDS, QUICK, TOY, Case, chapter, select
from benchmarks.channel import FailedError, Remote
from benchmarks.inputs import Arrays, draw
from benchmarks.peers import Job, build
from benchmarks.race import race
from benchmarks.report import price
from benchmarks.results import Row, Standing
from benchmarks.scale import LINKS, RANKS, WHOLE, Cost, Link, predict, summing
from benchmarks.server import Server

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_toy_run_agrees_and_writes_everything_down(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--toy", "--threads", "1", "--only", "minirnn-numpy"]
    done = subprocess.run([*command, "--json", str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["agreed"] is True
    assert [row["name"] for row in found["rows"]] == [case.name for case in TOY]
    assert found["options"] | {"size": "toy", "threads": [1], "contestants": ["minirnn-numpy"]} == found["options"]
    assert found["info"]["minirnn-numpy"]["numpy"] == np.__version__
    assert found["machine"]["cpu"]
    assert {row["kind"] for row in found["geometric_means"]} == set(KINDS)
    for row in found["rows"]:
        standing = row["contestants"]["minirnn-numpy"]
        assert standing["status"] == "timed"
        assert standing["error"] < row["bound"] < 1e-4
        assert len(standing["samples"]) == found["options"]["rounds"] == 2
        assert row["subject"] == "minirnn-numpy"
        assert row["threads"] == 1
        assert row["fastest"] is None
        assert row["flops"] > 0
        assert ("minirnn-numpy" in row["memory"]) == (row["case"]["kind"] == "training")
        assert ("minirnn-numpy" in row["left"]) == (row["case"]["kind"] == "long")
    assert "training, 1 thread" in done.stdout


def test_a_long_sequence_says_what_less_memory_costs() -> None:
    row = Row(Case("long", "gru", 9, 2, 4, 5), 1, 1e-4, {})
    for name, seconds in {"minirnn": 2.0, "minirnn-sqrt": 2.5, "minirnn-numpy": 8.0, "minirnn-numpy-sqrt": 9.0}.items():
        row.standings[name] = Standing("timed", error=0.0, bound=1.0, samples=[seconds, seconds])
    row.left = {"minirnn": 10 * 2**20, "minirnn-sqrt": 2**20, "minirnn-numpy": 40 * 2**20}
    assert price(row) == (["1.25", "1.12 numpy"], ["0.100 of 10.0 MiB"])
    _, out = shown(results_of(row))
    assert "1.25, 1.12 numpy" in out
    assert "fastest peer" not in out


def test_who_cannot_be_built_is_absent_and_the_reason_is_said(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text('raise ImportError("planted:\\nno such library")\n', encoding="utf-8")
    program = "import sys; sys.path.insert(0, sys.argv[1]); from benchmarks.worker import main; main('onnxruntime', 1)"
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    reason = json.loads(line)["absent"]
    assert reason in ("planted:", "No module named 'onnx'")  # the graph comes first, where onnx is not installed
    results = results_of()
    results.absent["onnxruntime"] = reason
    code, text = shown(results)
    assert (code, f"absent: onnxruntime: {reason}" in text) == (0, True)


@pytest.mark.parametrize(
    "planted",
    [
        {"y": np.array([1.0, 2.1]), "dx": REFERENCE["dx"]},
        {"y": np.array([1.0, np.nan]), "dx": REFERENCE["dx"]},
        {"y": REFERENCE["y"], "dx": REFERENCE["dx"][None]},
        {"y": REFERENCE["y"]},
        {**REFERENCE, "dW": np.zeros(3)},
    ],
    ids=["value", "nan", "shape", "missing", "surplus"],
)
def test_who_computes_something_else_is_wrong_and_not_timed_and_the_run_fails(planted: Arrays) -> None:
    wrong, right = Fake("torch", planted), Fake("minirnn", REFERENCE)
    row = race(CASE, 1, [wrong, right], REFERENCE, PACE)
    assert (row.standings["torch"].status, wrong.turns) == ("wrong", [])
    assert (row.standings["minirnn"].status, len(right.turns)) == ("timed", 3)
    code, text = shown(results_of(row))
    assert code == 1
    assert f"WRONG: torch, {CASE.name}, threads 1:" in text
    json.dumps(results_of(row).as_json(), allow_nan=False)


def test_who_fails_is_said_and_the_run_fails() -> None:
    failing = Fake("torch", REFERENCE, fails_in_round=1)
    row = race(CASE, 1, [failing, Fake("minirnn", REFERENCE)], REFERENCE, PACE)
    assert row.standings["torch"].status == "failed"
    assert row.fastest is None
    code, text = shown(results_of(row))
    assert code == 1
    assert "FAILED: torch" in text
    assert "killed by signal 9" in text


def test_who_declines_is_no_failure() -> None:
    row = race(CASE, 1, [Declines("jax", {}), Fake("minirnn", REFERENCE)], REFERENCE, PACE)
    code, text = shown(results_of(row))
    assert code == 0
    assert "jax took no part in 1 of 1: inference only" in text


def test_everyone_has_one_turn_a_round_in_an_order_that_moves_on() -> None:
    clock, contestants = count(), [Fake(name, REFERENCE) for name in ("minirnn", "torch", "jax")]
    for contestant in contestants:
        contestant.clock = clock
    peaks = iter([3.0, 5.0, 4.0, 1.0])
    row = race(CASE, 1, contestants, REFERENCE, PACE, {"f4": lambda: next(peaks)})
    assert [contestant.turns for contestant in contestants] == [[0, 5, 7], [1, 3, 8], [2, 4, 6]]
    assert row.peaks == {"f4": [3.0, 5.0, 4.0, 1.0]}


def test_ratios_are_paired_by_rounds_and_against_the_fastest_of_the_others() -> None:
    def standing(*samples: float) -> Standing:
        return Standing("timed", samples=list(samples))

    standings = {"minirnn": standing(1.0, 2.0, 4.0), "minirnn-numpy": standing(0.5, 0.5, 0.5)}
    standings |= {"torch": standing(3.0, 4.0, 20.0), "jax": standing(2.0, 2.0, 6.0)}
    row = Row(CASE, 2, 1e-6, standings, peaks={"f4": [CASE.flops * 1.0, CASE.flops * 2.0]})
    assert row.fastest == ("jax", 1.0, 1.5, 2.0)
    assert row.against("torch") == ("torch", 2.0, 3.0, 5.0)
    assert row.share("minirnn") == 0.25  # 2 s at the median, at most twice the case's operations a second
    (means,) = results_of(row).as_json()["geometric_means"]
    assert means == {"kind": "training", "threads": 2, "cases": 1, "fastest": 1.5, "torch": pytest.approx(3.0)}


def test_an_error_is_relative_to_the_largest_entry_or_to_1() -> None:
    assert compare({"y": np.array([100.0, 1.0])}, {"y": np.array([100.0, 2.0])}) == (0.01, "y")
    assert compare({"y": np.array([0.25])}, {"y": np.array([0.0])}) == (0.25, "y")
    assert compare({"y": np.empty(0)}, {"y": np.empty(0)}) == (0.0, "y")
    assert all(bound(case) < (1e-3 if case.kind == "long" else 2e-4) for case in GRID)


def test_a_process_that_dies_is_a_failure_and_the_next_case_has_a_new_one(tmp_path: Path) -> None:
    remote = Remote("reference", 1, tmp_path)
    try:
        remote.greet()
        remote.prepare(CASE)
        expected = remote.check()
        remote.process.kill()
        with pytest.raises(FailedError, match="killed by signal 9"):
            remote.sample(1)
        remote.prepare(CASE)
        assert compare(remote.check(), expected) == (0.0, "y")
        remote.prepare(Case("inference", "gru", 0, 2, 4, 5))
        with pytest.raises(FailedError, match="at least one step"):
            remote.check()
        remote.prepare(CASE)  # what was raised has not ended it
    finally:
        remote.close()


@pytest.mark.skipif("linux" not in sys.platform, reason="reads /proc")
def test_a_process_that_has_nothing_to_answer_is_stopped_and_ends_with_its_parent(tmp_path: Path) -> None:
    def state(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return "gone"

    def becomes(pid: int, *wanted: str) -> bool:
        end = time.monotonic() + 20
        while state(pid) not in wanted and time.monotonic() < end:
            time.sleep(0.01)
        return state(pid) in wanted

    remote = Remote("reference", 1, tmp_path)
    try:
        remote.greet()
        assert becomes(remote.process.pid, "T")
        remote.prepare(CASE)
        assert remote.sample(1) > 0
        assert becomes(remote.process.pid, "T")
    finally:
        remote.close()
    code = (
        "import os, pathlib, sys; from benchmarks.channel import Remote; "
        "remote = Remote('reference', 1, pathlib.Path(sys.argv[1])); remote.greet(); "
        "print(remote.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert becomes(int(parent.stdout), "gone", "Z")


def test_short_jobs_are_repeated() -> None:
    server = Server(build("reference", 1))
    server.job = Job(lambda: None, dict)
    assert server.calibrate(0.01) > 10


def test_cases_have_names_of_their_own_and_can_be_chosen() -> None:
    for cases in (GRID, QUICK, TOY):
        assert len({case.name for case in cases}) == len(cases)
    assert set(QUICK) <= set(GRID)
    assert [case.H for case in select(GRID, ["stream"], ["gru"])] == [64, 256]
    assert [case.name for case in select(GRID, match="LSTM t35 b32 d256 h256 l2")] == [
        "training lstm T35 B32 D256 H256 L2 bi"
    ]


def test_operations_are_counted() -> None:
    assert Case("inference", "rnn", 5, 3, 4, 6).flops == 2 * 5 * 3 * (4 + 6) * 6
    two = Case("training", "lstm", 5, 3, 4, 6, 2, bidirectional=True)
    assert two.flops == 3 * 2 * (2 * 15 * (4 + 6) * 24 + 2 * 15 * (12 + 6) * 24)
    assert chapter("gru", 7, 0, T=4, B=3, H=6).flops == 3 * (2 * 12 * 6 * 18 + 2 * 12 * 6 * 7)


@pytest.mark.parametrize("case", [c for c in TOY if c.kind != "chapter"], ids=lambda case: case.name)
def test_everyone_is_asked_for_the_same_arrays(case: Case) -> None:
    outputs = build("reference", 1).prepare(case, draw(case)).outputs()
    names = {"y", "h"} | ({"c"} if case.cell == "lstm" else set())
    if case.kind in ("training", "long"):
        names |= {"dx"} | {f"d{name}" for name in draw(case) if name not in ("x", "dy")}
    assert outputs.keys() == names
    assert all(array.dtype == np.float64 for array in outputs.values())
    assert all(np.any(array) for array in outputs.values())


# ---------------------------------------------------------------------- ranks


def test_a_sum_over_ranks_costs_what_is_sent_and_what_is_waited_for() -> None:
    link = Link("slow", latency=1e-3, bandwidth=1e6)
    assert summing(2, 10**6, link) == pytest.approx(2e-3 + 1.0)
    assert summing(8, 10**6, link) == pytest.approx(6e-3 + 1.75)


@pytest.mark.parametrize("whole", [None, WHOLE])
def test_the_table_of_what_ranks_would_do_is_what_the_model_says(whole: int | None) -> None:
    cost, shown = Cost(1.11e-3, 0.405e-3, 1_120_704), (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    for ranks in RANKS:
        found = [predict(ranks, whole / ranks if whole else 32, 32, cost, link) for link in LINKS]
        line = " | ".join(f"{100 * plain:.0f} % ({100 * overlapped:.0f} %)" for plain, overlapped in found)
        assert f"| {ranks:,} | {line} |" in shown


def test_ranks_lose_what_they_wait_for_and_what_each_does_anew() -> None:
    cost, at_once = Cost(fixed=1e-3, row=5e-4, nbytes=10**6), Link("at once", 0.0, float("inf"))
    assert predict(64, 32, 32, cost, at_once) == (1.0, 1.0)
    assert predict(64, 2, 32, cost, at_once)[0] == pytest.approx((2 / 2e-3) / (32 / 17e-3))
    told = summing(8, 10**6, LINKS[1])
    plain, overlapped = predict(8, 32, 32, cost, LINKS[1])
    assert plain == pytest.approx(17e-3 / (17e-3 + told))
    assert overlapped == 1.0  # all of it behind the pass backward
    slow = Link("slow", 0.0, 1e6)
    assert predict(2, 32, 32, cost, slow)[1] == pytest.approx(17e-3 / (17e-3 + 1.0 - 2 / 3 * 17e-3))
