"""The node tests that the package ``onnx`` ships with the standard, run by its own adapter for backends."""

import unittest
import warnings
from typing import Any

import numpy as np
import pytest

from minirnn.formats.onnx.running.operators import OPERATORS

onnx: Any = pytest.importorskip("onnx")

pytestmark = pytest.mark.extras

KINDS = ("simple_rnn", "gru", "lstm")
CHECKED = ("defaults", "with_initial_bias", "batchwise", "reverse", "bidirectional")
RECURRENT = {f"test_{kind}_{what}" for kind in KINDS for what in CHECKED}
RECURRENT |= {"test_gru_seq_length", "test_rnn_seq_length", "test_lstm_with_peepholes"}
TRAINING = {  # a graph is for inference
    *(f"test_training_dropout{rest}" for rest in ("", "_mask", "_default", "_default_mask")),
    *(f"test_training_dropout_zero_ratio{rest}" for rest in ("", "_mask")),
}


@pytest.fixture(scope="module")
def node_tests() -> dict[str, Any]:
    """All of them by name."""
    loader: Any = pytest.importorskip("onnx.backend.test.loader")
    with warnings.catch_warnings():  # of NumPy's, while the cases are computed
        warnings.simplefilter("ignore", RuntimeWarning)
        return {case.name: case for case in loader.load_model_tests(kind="node")}


def passes(case: Any) -> None:
    """Run a case as the package's runner does."""
    from onnx.backend.test.runner import Runner

    from minirnn.formats.onnx.backend import MinirnnBackend

    prepared = MinirnnBackend.prepare(case.model, "CPU")
    for inputs, expected in case.data_sets:
        found = prepared.run([widened(item) for item in inputs])
        Runner.assert_similar_outputs([widened(item) for item in expected], found, case.rtol, case.atol)


def widened(item: Any) -> Any:
    """An array; bfloat16, which NumPy lacks, as float32."""
    array = onnx.numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else np.asarray(item)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def test_there_are_eighteen_of_recurrent_operators_and_no_more(node_tests: dict[str, Any]) -> None:
    assert len(RECURRENT) == 18
    found = {
        name for name, case in node_tests.items() if {n.op_type for n in case.model.graph.node} & {"RNN", "GRU", "LSTM"}
    }
    assert found == RECURRENT


@pytest.mark.parametrize("name", sorted(RECURRENT))
def test_a_recurrent_case_passes(name: str, node_tests: dict[str, Any]) -> None:
    passes(node_tests[name])


def test_every_case_of_operators_that_are_run_passes(node_tests: dict[str, Any]) -> None:
    from minirnn.formats.onnx.backend import MinirnnBackend

    ran: dict[str, int] = dict.fromkeys(OPERATORS, 0)
    names = [name for name, case in node_tests.items() if MinirnnBackend.is_compatible(case.model)]
    for name in sorted({*names} - TRAINING):
        passes(node_tests[name])
        for node in node_tests[name].model.graph.node:
            ran[node.op_type] += 1
    assert {*names} >= TRAINING
    assert len(names) > 500
    assert {op for op, count in ran.items() if not count} == {"DynamicQuantizeLSTM"}  # which is onnxruntime's


def test_the_adapter_runs_a_model_in_one_call_and_by_names(node_tests: dict[str, Any]) -> None:
    from minirnn.formats.onnx import backend

    case = node_tests["test_gru_seq_length"]
    (inputs, expected), names = case.data_sets[0], [port.name for port in case.model.graph.input]
    for given in (inputs, dict(zip(names, inputs, strict=True)), [onnx.numpy_helper.from_array(a) for a in inputs]):
        (y_h,) = backend.run_model(case.model, given)
        np.testing.assert_allclose(y_h, expected[0], rtol=1e-4, atol=1e-6)
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(ValueError, match="device must be CPU; got 'CUDA:0'"):
        backend.prepare(case.model, "CUDA:0")


def test_the_packages_runner_collects_cases_for_it() -> None:
    runner: Any = pytest.importorskip("onnx.backend.test")
    from minirnn.formats.onnx.backend import MinirnnBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        suite = runner.BackendTest(MinirnnBackend, __name__)
    suite.include("^test_.*(rnn|gru|lstm)_.*_cpu$").exclude("expanded")
    result = unittest.TestResult()
    suite.test_suite.run(result)
    assert not result.failures
    assert not result.errors
    assert result.testsRun - len(result.skipped) == 18
