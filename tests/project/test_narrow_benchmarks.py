"""Benchmarks of products in fewer bits: who agrees, whom they are compared with, and what limits them."""

import json
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from racing import CASE, PACE, REFERENCE, Fake, results_of, shown

from benchmarks.agreement import bound, compare
from benchmarks.cases import GRID, QUICK, TOY, Case, select
from benchmarks.inputs import Arrays, draw
from benchmarks.peers import CONTESTANTS, METERS, NARROW, OURS, OWN, UnsupportedError, build, takes_part
from benchmarks.race import race
from benchmarks.results import Row, Standing
from benchmarks.session import Plan

ROOT = Path(__file__).resolve().parents[2]
OURS_NARROW = [name for name in NARROW if name in OWN]
SHAPE = (20, 8, 32, 32)
FLAGS = {"peak-bf16": "avx512bf16", "peak-int8": "avx512vnni"}  # what a meter asks of the processor


@cache
def reference(case: Case) -> Arrays:
    return build("reference", 1).prepare(case, draw(case)).outputs()


def noisy(arrays: Arrays, part: float) -> Arrays:
    """The arrays with errors of this part of their entries' root mean square."""
    rng = np.random.default_rng(1)
    return {n: a + part * np.sqrt(np.mean(a**2)) * rng.standard_normal(a.shape) for n, a in arrays.items()}


def timed(*samples: float) -> Standing:
    return Standing("timed", error=0.0, bound=1.0, samples=list(samples))


@pytest.mark.slow
def test_a_toy_run_of_fewer_bits_alone_compares_and_says_how_much_they_gain(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--toy", "--narrow", "--threads", "1", "--json", str(path)]
    chosen = [word for name in ("minirnn", *OURS_NARROW) for word in ("--only", name)]
    done = subprocess.run([*command, *chosen], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(path.read_text(encoding="utf-8"))
    assert [row["name"] for row in found["rows"]] == [case.name for case in TOY if case.narrow]
    assert not any(row["memory"] for row in found["rows"])
    for row in found["rows"]:
        kind = row["case"]["kind"]
        wanted = {"training": {"bf16"}, "inference": {"bf16", "int8"}, "stream": {"f16", "bf16", "int8"}}[kind]
        assert row["narrow"].keys() == wanted
        assert all(numbers["gain"]["median"] > 0 for numbers in row["narrow"].values())
        assert row["contestants"].keys() == {"minirnn", *(OURS[numbers][0] for numbers in wanted)}
        assert row["peaks"].keys() == {"f4", *(wanted - {"f16"})} - {n for n in METERS if METERS[n] in found["absent"]}
    assert "minirnn / minirnn-bf16" in done.stdout
    assert "fastest peer / minirnn " not in done.stdout


@pytest.mark.parametrize(
    ("name", "case"),
    [pytest.param(n, c, id=f"{n} {c.name}") for n in OURS_NARROW for c in TOY if takes_part(n, c)],
)
def test_our_own_in_fewer_bits_agree_and_round(name: str, case: Case) -> None:
    found = build(name, 1).prepare(case, draw(case)).outputs()
    assert compare(found, reference(case), name)[0] <= bound(case, name)
    assert compare(found, reference(case))[0] > bound(case)


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_who_computes_something_else_in_fewer_bits_is_refused(name: str, cell: str) -> None:
    case, arrays = Case("inference", cell, *SHAPE), draw(Case("inference", cell, *SHAPE))
    right, limit = reference(case), bound(case, name)
    assert compare(noisy(right, limit / 2), right, name)[0] <= limit
    assert compare(noisy(right, 2 * limit), right, name)[0] > limit
    forgetful = arrays | {"0.b": np.zeros_like(arrays["0.b"])}
    one_row = {n: a.copy() for n, a in right.items()}
    one_row["y"][:, -1] = one_row["y"][:, 0]
    one_entry = {n: a.copy() for n, a in right.items()}
    one_entry["y"][3, 2, 1] += 1.0
    misread = arrays | {"0.W": np.roll(arrays["0.W"], 32 if cell != "rnn" else 1, axis=1)}  # gates, or units, in order
    infinite = {n: np.where(np.arange(a.size).reshape(a.shape) == 5, np.inf, a) for n, a in right.items()}
    peer = build("reference", 1)
    faulty = [peer.prepare(case, planted).outputs() for planted in (forgetful, misread)]
    for found in [*faulty, one_row, one_entry, infinite]:
        assert compare(found, right, name)[0] > limit


def test_bounds_in_fewer_bits_are_far_below_the_numbers() -> None:
    for case in GRID:
        for name in NARROW:
            if takes_part(name, case):
                limits = {"f16": 1e-3, "bf16": 0.06, "int8": 0.06}
                limit = 0.2 if name == "openvino-int8" else limits[NARROW[name].arithmetic]
                assert bound(case) < bound(case, name) < limit


def test_who_rounds_nothing_takes_no_part() -> None:
    row = race(CASE, 1, [Fake("torch-bf16", REFERENCE), Fake("minirnn", REFERENCE)], REFERENCE, PACE)
    assert row.standings["torch-bf16"].status == "unsupported"
    code, text = shown(results_of(row))
    assert code == 0
    assert "torch-bf16 took no part in 1 of 1: rounds nothing here" in text


def test_each_is_compared_with_those_who_multiply_the_same_and_with_its_own_peak() -> None:
    standings = {"minirnn": timed(4.0, 4.0, 8.0), "torch": timed(6.0, 6.0, 6.0), "torch-bf16": timed(3.0, 3.0, 3.0)}
    standings["torch-bf16"].error = 0.012
    standings |= {"minirnn-bf16": timed(2.0, 2.0, 2.0), "openvino-bf16": timed(5.0, 5.0, 5.0)}
    standings |= {"minirnn-int8": timed(8.0, 8.0, 8.0), "minirnn-f16": timed(4.0, 4.0, 4.0)}
    peaks = {"f4": [CASE.flops / 2.0], "bf16": [CASE.flops * 1.0, CASE.flops * 0.5]}
    row = Row(CASE, 1, 1e-6, standings, peaks=peaks)
    assert row.fastest == ("torch", 0.75, 1.5, 1.5)
    assert row.fastest_in("bf16") == ("torch-bf16", 1.5, 1.5, 1.5)
    assert row.fastest_in("int8") is None
    assert row.gain == {
        "bf16": ("minirnn", 2.0, 2.0, 4.0),
        "int8": ("minirnn", 0.5, 0.5, 1.0),
        "f16": ("minirnn", 1.0, 1.0, 2.0),
    }
    shares = {name: row.share(name) for name in standings}
    assert shares["minirnn"] == shares["minirnn-f16"] == 0.5
    assert (shares["minirnn-bf16"], shares["openvino-bf16"], shares["minirnn-int8"]) == (0.5, 0.2, None)
    results = results_of(row)
    results.options["contestants"] = list(CONTESTANTS)
    results.absent["peak-int8"] = "the processor has no avx512vnni"
    found = json.loads(json.dumps(results.as_json(), allow_nan=False))
    fastest = {"peer": "torch-bf16", "low": 1.5, "median": 1.5, "high": 1.5}
    assert found["rows"][0]["narrow"]["bf16"]["fastest"] == fastest
    assert [(means["arithmetic"], means["fastest"], means["gain"]) for means in found["narrow_means"]] == [
        ("f16", None, 1.0),
        ("bf16", pytest.approx(1.5), pytest.approx(2.0)),
        ("int8", None, 0.5),
    ]
    _, text = shown(results)
    assert "fastest peer / minirnn-bf16" in text
    assert "1.50 1.50 1.50 torch-bf16" in text
    assert "2.00 2.00 4.00" in text
    assert "in fewer bits results are off by at most, of their root mean square: torch-bf16 1.2%, " in text
    assert "peak in int8: not here: the processor has no avx512vnni" in text
    assert "absent: peak-int8" not in text


def test_only_peaks_that_limit_someone_are_measured() -> None:
    asked: list[str] = []

    def measured(numbers: str) -> float:
        asked.append(numbers)
        return 1.0

    meters = {numbers: partial(measured, numbers) for numbers in METERS}
    noise = noisy(REFERENCE, 1e-3)
    row = race(CASE, 1, [Fake("minirnn", REFERENCE), Fake("minirnn-bf16", noise)], REFERENCE, PACE, meters)
    assert asked == ["f4", "bf16"] * (PACE.rounds + 1)
    assert row.peaks == {"f4": [1.0] * 4, "bf16": [1.0] * 4}


def test_only_those_who_take_part_are_started() -> None:
    def started(**chosen: Any) -> list[str]:
        return Plan(select(GRID, **chosen), CONTESTANTS, [1], PACE).started

    assert started(kinds=["long"]) == ["minirnn", "minirnn-numpy", "minirnn-sqrt", "minirnn-numpy-sqrt", "peak-f4"]
    assert not set(started(kinds=["chapter"])) & {*NARROW, "peak-bf16", "peak-int8"}
    assert set(started(kinds=["training"])) & set(NARROW) == {"minirnn-bf16", "torch-autocast"}
    assert set(NARROW) - set(started(kinds=["inference"])) == {"minirnn-f16"}
    assert {*METERS.values()} <= set(started(kinds=["stream"]))


def test_fewer_bits_are_measured_in_chosen_cases() -> None:
    narrow = [case for case in GRID if case.narrow]
    assert {case.kind for case in narrow} == {"training", "inference", "stream"}
    assert len([case for case in narrow if case.kind == "inference"]) == 4 * 3
    assert any(case.narrow for case in QUICK)
    assert len([case for case in GRID if (case.T, case.B, case.D, case.H) == (50, 32, 1760, 1760)]) == 2 * 3


@pytest.mark.parametrize("meter", METERS.values())
def test_a_meter_counts_what_its_instruction_does_or_says_that_the_processor_lacks_it(
    meter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding: Any = pytest.importorskip("llvmlite.binding")
    features = binding.get_host_cpu_features()
    flag = FLAGS.get(meter)
    if flag is None or features.get(flag):
        peer = build(meter, 1)
        peer.prepare(CASE, {}).call()
        lanes = float(peer.info["bits"]) / 32
        per_lane = {"peak-f4": 2, "peak-bf16": 4, "peak-int8": 8}[meter]
        assert float(peer.info["operations"]) % (lanes * per_lane) == 0
    if flag is not None:
        monkeypatch.setattr(binding, "get_host_cpu_features", dict)
        with pytest.raises(UnsupportedError, match=f"the processor has no {flag}"):
            build(meter, 1)
