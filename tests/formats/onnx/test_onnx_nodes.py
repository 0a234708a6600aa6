"""The operators RNN, GRU and LSTM with every attribute: against scalar loops written from the standard, and against
onnxruntime, where that reads the standard otherwise against loops that do as well.
"""

import collections
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_cases import OPERATORS, Case, draw, model_of
from onnx_oracle import ACTIVATIONS, ONNXRUNTIME, STANDARD

from minirnn.formats.onnx import read

onnx: Any = pytest.importorskip("onnx")

pytestmark = pytest.mark.extras

Array = NDArray[Any]
COUNT = 200  # of each operator
CASES = {f"{op}-{seed}": draw(op, seed) for op in OPERATORS for seed in range(COUNT)}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def ours(case: Case, backend: str = "auto") -> dict[str, Array]:
    return read(model_of(case), backend=backend).run(case.feed)


def assert_equal(found: dict[str, Array], expected: dict[str, Array], case: Case, tolerance: float = 1e-5) -> None:
    assert set(found) == set(case.outputs)
    for name, y in found.items():
        assert y.shape == expected[name].shape, (name, str(case))
        error = np.abs(y - expected[name]).max(initial=0) / max(1, np.abs(expected[name]).max(initial=0))
        assert error < tolerance, (name, error, str(case))


@every_case
def test_a_node_computes_what_the_standard_says(case: Case) -> None:
    assert_equal(ours(case), case.expected(), case)


@pytest.mark.parametrize("op", OPERATORS)
def test_in_float64_too(op: str) -> None:
    for seed in range(30):
        case = draw(op, 1000 + seed, "float64")
        found = ours(case)
        assert all(y.dtype == np.float64 for y in found.values())
        assert_equal(found, case.expected(), case, 1e-12)


@pytest.mark.parametrize("op", OPERATORS)
def test_the_plain_equations_compute_the_same(op: str) -> None:
    for seed in range(30):
        case = CASES[f"{op}-{seed}"]
        assert_equal(ours(case, "numpy"), case.expected(), case)


# ---------------------------------------------------------------------- onnxruntime


def in_onnxruntime(case: Case) -> dict[str, Array]:
    runtime: Any = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = runtime.InferenceSession(model_of(case).SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, case.feed), strict=True))


@every_case
def test_a_node_computes_what_onnxruntime_does(case: Case) -> None:
    compare(case)


@given(st.sampled_from(OPERATORS), st.integers(COUNT, 2**32 - 1))
def test_any_other_node_does_so_too(op: str, seed: int) -> None:
    case = draw(op, seed)
    assert_equal(ours(case), case.expected(), case)
    compare(case)


def compare(case: Case) -> None:
    """Raise AssertionError unless onnxruntime computes the same, or departs from the standard as is known."""
    if case.attributes.get("layout"):
        with pytest.raises(Exception, match="layout_ == 0 was false"):
            in_onnxruntime(case)
        return
    theirs = in_onnxruntime(case)
    if not case.departures:
        assert_equal(ours(case), theirs, case)
    assert_equal(theirs, case.expected(ONNXRUNTIME), case)  # and nothing else is read otherwise


def test_the_cases_cover_every_choice_and_every_pair_of_choices() -> None:
    for op in OPERATORS:
        seen = [case.features for case in CASES.values() if case.op == op]
        choices = {name: sorted({str(f[name]) for f in seen}) for name in seen[0]}
        assert all(len(values) > 1 for values in choices.values())
        for one, other in itertools.combinations(choices, 2):
            pairs = {(str(f[one]), str(f[other])) for f in seen}
            assert pairs == set(itertools.product(choices[one], choices[other])), (op, one, other)
        used = collections.Counter(
            (name, k)
            for case in CASES.values()
            if case.op == op
            for k, name in enumerate(case.attributes.get("activations", []))
        )
        per_direction = {"RNN": 1, "GRU": 2, "LSTM": 3}[op]
        for name in ACTIVATIONS:  # as f, g and h, of either direction
            assert sum(used[name, k] for k in range(per_direction)) > 0, (op, name)
            assert sum(used[name, k] for k in range(per_direction, 2 * per_direction)) > 0, (op, name)


def test_most_cases_are_compared_with_onnxruntime_directly() -> None:
    refused = [case for case in CASES.values() if case.attributes.get("layout")]
    counts = collections.Counter(word for case in CASES.values() for word in case.departures if case not in refused)
    direct = [case for case in CASES.values() if not case.departures and case not in refused]
    assert len(CASES) == len(OPERATORS) * COUNT
    assert len(direct) > 300
    assert all(count > 15 for count in counts.values())
    assert len(counts) == 3


def test_the_readings_differ_where_they_are_said_to() -> None:
    """So that the cases in which onnxruntime departs would be noticed if minirnn departed with it."""
    for word in ("defaults of constants", "h is not clipped", "empty rows"):
        differ = 0
        for case in CASES.values():
            if case.departures == {word}:
                one, other = case.expected(STANDARD), case.expected(ONNXRUNTIME)
                differ += any(np.abs(one[name] - other[name]).max() > 1e-3 for name in case.outputs)
        assert differ > 5, word
